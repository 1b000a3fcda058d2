package mail

import (
	"context"
	"time"

	"github.com/stepwatch/stepwatch/steps/date"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/message"
)

// lateFrom is how long after its sending a message that no run removed must have arrived to be late. A killed run left
// those that arrived sooner.
const lateFrom = 10 * time.Second

// measureLate counts the messages of earlier runs that came late, which are not lost, and measures the longest of their
// delays: from their Date, which we wrote, until the server stored them (INTERNALDATE, RFC 9051 section 2.3.3).
func (m *mailbox) measureLate(ctx context.Context, uids []imapclient.UID) error {
	late, longest := 0, time.Duration(0)
	for _, set := range imapclient.SetsOf(uids) {
		messages, err := m.client.Fetch(ctx, set, "INTERNALDATE", imapclient.HeaderFields("Date"))
		if err != nil {
			return m.failure(ctx, err)
		}
		for _, found := range messages {
			header, _ := message.Read(found.Body)
			written, err := date.Mail(header.Line("Date"))
			if delay := found.InternalDate.Sub(written); err == nil && !found.InternalDate.IsZero() && delay >= lateFrom {
				late++
				longest = max(longest, delay)
			}
		}
	}
	m.w.Measure("mail_late_messages", "Number of messages of earlier runs that came after their run had given up: late, not lost.", float64(late))
	if late > 0 {
		m.w.Measure("mail_late_delivery_seconds", "Time from the sending to the arrival of the latest of these messages.", longest.Seconds())
	}
	return nil
}
