package mail

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/imapclient"
)

// A message that the connection of the wait sees by now came late; the server did not hide it.
func TestMessageThatCameLate(t *testing.T) {
	conn, other := net.Pipe()
	defer func() { _, _ = conn.Close(), other.Close() }()
	bob := &steps.Account{Name: "bob"}
	stored := time.Date(2026, 11, 30, 7, 0, 0, 0, time.UTC)
	for _, known := range []bool{true, false} {
		m := &mailbox{account: bob, host: "mail.test", port: 993, client: imapclient.New(conn, nil), fresh: true}
		s := &Submission{Server: "mail.test:587", Accepted: time.Now().Add(-2 * time.Second)}
		err := m.overlooked(t.Context(), s, sighting{found: true, folder: listedFolder{name: inbox}, stored: stored}, time.Second, "NOOP", func(context.Context) bool { return known })
		want, blame := "the message came to bob's INBOX at mail.test:993 late: it was not there after 1.000s, and 2.0", result.BlameTarget
		if !known {
			want, blame = "the message is in bob's INBOX at mail.test:993, but the server did not announce it", result.BlameAccess
		}
		var failure *steps.Failure
		if !errors.As(err, &failure) || failure.Blame != blame || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "stored at 07:00:00 UTC") {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if m.client != nil || m.fresh {
			t.Error("the cleanup would not look anew")
		}
	}
}
