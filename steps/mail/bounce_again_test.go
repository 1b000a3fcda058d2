package mail_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// A bounce that the server does not announce is there: a new connection shows it.
func TestBounceThatIsNotAnnounced(t *testing.T) {
	for name, text := range map[string]string{
		"awaited": strings.ReplaceAll(bounced, "2s", "1500ms"),
		"of a missing message": `When I send a message from "alice" to "bob" via 587
			Then "bob" receives it over IMAP within 3s`,
	} {
		t.Run(name, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{})
			if err := bed.Break(stepstest.FaultBounce, stepstest.FaultIMAPTellsNoNews); err != nil {
				t.Fatal(err)
			}
			bed.SetDelay(1200 * time.Millisecond) // after the sender's mailbox was opened
			outcome := bed.Run(t, 10*time.Second, text)
			if name == "awaited" {
				fixture.Passed(t, outcome)
			} else {
				check(t, outcome, 1, result.ReasonNotReceived, result.BlameDelivery, `the message to bob@demo\.test came back to alice@demo\.test: 5\.2\.2 .*`)
			}
			if n := bed.Mailbox("alice"); n != 0 {
				t.Errorf("%d bounces left behind", n)
			}
		})
	}
}

// putFiled puts a bounce of the message into alice's folder Lists.
func putFiled(t *testing.T, bed *fixture.Mailbed) {
	if err := bed.Break(stepstest.FaultDropMail); err != nil {
		t.Fatal(err)
	}
	bed.OnceAccepted(t, func() {
		all := bed.Deliveries()
		header, _, _ := strings.Cut(string(all[len(all)-1].Message), "\r\n\r\n")
		_ = bed.File("alice", "Lists", fmt.Appendf(nil, "Return-Path: <>\r\nFrom: MAILER-DAEMON@demo.test\r\nTo: alice@demo.test\r\nSubject: Undelivered\r\n"+
			"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"+
			"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.demo.test\r\n\r\nFinal-Recipient: rfc822; bob@demo.test\r\nAction: failed\r\nStatus: 5.2.2\r\n"+
			"Diagnostic-Code: smtp; 552 5.2.2 full\r\n\r\n--b\r\nContent-Type: message/rfc822-headers\r\n\r\n%s\r\n\r\n--b--\r\n", header))
	})
}

// A bounce that a filter of the sender files elsewhere is found.
func TestBounceInAnotherFolder(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	putFiled(t, bed)
	check(t, bed.Run(t, 10*time.Second, strings.ReplaceAll(bounced, "2s", "500ms")), 1, result.ReasonNotReceived, result.BlameFiltering,
		`the report is in alice's folder "Lists" at mail\.demo\.test:993, not in the INBOX: a filter filed it there`)
	putFiled(t, bed)
	check(t, bed.Run(t, 10*time.Second, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 500ms")), 3, result.ReasonNotReceived, result.BlameDelivery,
		`the message to bob@demo\.test came back to alice@demo\.test: 5\.2\.2 .*`)
	if n := bed.Mailbox("alice"); n != 0 {
		t.Errorf("%d bounces left behind", n)
	}
}

// A bounce of a message that no step waits for, to an account whose mailbox nobody reads, is removed.
func TestBounceOfMailToAnAccountWithoutAMailbox(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.Target.Accounts["bob"].IMAP = ""
	bed.Target.Accounts["bob"].POP3 = ""
	if err := bed.Break(stepstest.FaultBounce); err != nil {
		t.Fatal(err)
	}
	bed.SetDelay(300 * time.Millisecond)
	fixture.Passed(t, bed.Run(t, 10*time.Second, `When I send a message from "alice" to "bob" via 587`))
	if n := bed.Mailbox("alice"); n != 0 {
		t.Errorf("%d bounces left behind", n)
	}
}
