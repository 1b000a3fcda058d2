package mail

import (
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/message"
)

// The leg that a report is about, in the words of real servers.
func TestLegOfAReport(t *testing.T) {
	for name, c := range map[string]struct {
		reporter string
		to       message.Recipient
		want     result.Blame
	}{
		"a full mailbox": {"mx1.example.test", message.Recipient{Action: "failed", Status: "5.2.2", Remote: "mx1.example.test[private/dovecot-lmtp]",
			Diagnostic: "552 5.2.2 <full@example.test> Quota exceeded (mailbox for user is full)"}, result.BlameDelivery},
		"a full mailbox behind an MX": {"relay.example.org", message.Recipient{Action: "failed", Status: "5.2.2", Remote: "mx1.example.test"}, result.BlameDelivery},
		"no such user behind an MX":   {"relay.example.org", message.Recipient{Action: "failed", Status: "5.1.1", Remote: "mx1.example.test"}, result.BlameDelivery},
		"no such user here":           {"mx1.example.test", message.Recipient{Action: "failed", Status: "5.1.1"}, result.BlameDelivery},
		"policy of another":           {"relay.example.org", message.Recipient{Action: "failed", Status: "5.7.1", Remote: "mx1.example.test"}, result.BlameFiltering},
		"an MX that is down": {"relay.example.org", message.Recipient{Action: "delayed", Status: "4.4.1",
			Diagnostic: "connect to mx1.example.test[127.0.2.1]:25: Connection refused"}, result.BlameTransfer},
		"a store that is down": {"mx1.example.test", message.Recipient{Action: "delayed", Status: "4.4.1",
			Diagnostic: "connect to mx1.example.test[private/dovecot-lmtp]: No such file or directory"}, result.BlameDelivery},
		"another socket": {"mx1.example.test", message.Recipient{Action: "delayed", Status: "4.4.1",
			Diagnostic: "connect to mx1.example.test[/run/dovecot/lmtp]: Connection refused"}, result.BlameDelivery},
		"greylisting":         {"relay.example.org", message.Recipient{Action: "delayed", Status: "4.2.0", Remote: "mx1.example.test"}, result.BlameTransfer},
		"a delay of no cause": {"relay.example.org", message.Recipient{Action: "delayed", Status: "4.0.0"}, result.BlameQueue},
		"no status":           {"relay.example.org", message.Recipient{Action: "failed"}, result.BlameDelivery},
		"nonsense":            {"", message.Recipient{Action: "failed", Status: "...", Remote: "x"}, result.BlameTransfer},
	} {
		if got := (receivedReport{&message.Report{Reporter: c.reporter}, c.to}).blame(); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}
