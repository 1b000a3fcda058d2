package mail

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/imapclient"
)

// A mailbox with many large bounces is read in several answers: all in one exceeded the limit of an answer.
func TestManyLargeReports(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	report := "From: MAILER-DAEMON@demo.test\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" +
		"Reporting-MTA: dns; mx.test\r\n\r\nFinal-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
	report += strings.Repeat("x", reportLimit-len(report))
	go func() {
		defer theirs.Close()
		for r := bufio.NewReader(theirs); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			var tag string
			var from, to int
			if _, err := fmt.Sscanf(line, "%s UID FETCH %d:%d ", &tag, &from, &to); err != nil {
				t.Errorf("%q: %v", line, err)
				return
			}
			for uid := from; uid <= to; uid++ {
				_, _ = fmt.Fprintf(theirs, "* %d FETCH (UID %[1]d BODY[]<0> {%d}\r\n%s)\r\n", uid, len(report), report)
			}
			_, _ = fmt.Fprintf(theirs, "%s OK done\r\n", tag)
		}
	}()
	m := &mailbox{client: imapclient.New(ours, nil)}
	uids := make([]imapclient.UID, 5*reportsAtOnce)
	for i := range uids {
		uids[i] = imapclient.UID(i + 1)
	}
	reports, err := m.readReports(t.Context(), uids)
	if err != nil || len(reports) != len(uids) {
		t.Error(len(reports), err)
	}
}
