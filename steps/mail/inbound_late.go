package mail

import (
	"context"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/stepwatch/stepwatch/steps/date"
	"github.com/stepwatch/stepwatch/steps/message"
)

// lateFrom is how long after its sending a message that no run removed must have arrived to be late. A killed run left
// those that arrived sooner.
const lateFrom = 10 * time.Second

// measureLate counts the messages of earlier runs that came late, which are not lost, and measures the longest of their
// delays: from their Date, which we wrote, until the server stored them (INTERNALDATE, RFC 9051 section 2.3.3).
func (m *mailbox) measureLate(ctx context.Context, uids []imap.UID) error {
	late, longest := 0, time.Duration(0)
	if len(uids) > 0 {
		sent := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Date"}, Peek: true}
		set := imap.UIDSetNum(uids...)
		err := m.do(ctx, "UID FETCH "+set.String()+" (INTERNALDATE BODY.PEEK[HEADER.FIELDS (DATE)])", func() error {
			messages, err := m.client.Fetch(set, &imap.FetchOptions{UID: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{sent}}).Collect()
			for _, found := range messages {
				if len(found.BodySection) == 0 {
					continue
				}
				header, _ := message.Read(found.BodySection[0].Bytes)
				written, err := date.Mail(header.Line("Date"))
				if delay := found.InternalDate.Sub(written); err == nil && delay >= lateFrom {
					late++
					longest = max(longest, delay)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	m.w.Measure("mail_late_messages", "Number of messages of earlier runs that came after their run had given up: late, not lost.", float64(late))
	if late > 0 {
		m.w.Measure("mail_late_delivery_seconds", "Time from the sending to the arrival of the latest of these messages.", longest.Seconds())
	}
	return nil
}
