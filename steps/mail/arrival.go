package mail

import (
	"context"
	"fmt"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/message"
)

// Arrival is a message that a step has received, for the steps that judge it. Each step that receives mail, by IMAP or
// another way, hands one to mail.receive. The content of the message is read on demand, outside the time of its
// arrival.
type Arrival struct {
	Account *steps.Account
	sent    *Submission   // the message as this run sent it; nil for mail from somebody else
	Where   string        // for messages: "bob's INBOX at mail.example.org:993"
	Folder  string        // "INBOX", or the folder with the message
	At      time.Time     // when it was seen there
	lag     time.Duration // how long before At it may have been there already
	remark  string        // on the wait, for the step that received it; empty for none
	Read    func(ctx context.Context) ([]byte, error)
	box     *mailbox       // nil when it was not received over IMAP
	uid     imapclient.UID // in folder
	key     string         // how clients recognise the message, in the words of the protocol; empty when the protocol has no such key

	memory *limit.Memory // of the run, which holds Raw until its end
	Raw    []byte
	header message.Header
	way    *way
}

// Receive makes a the message that later steps call "it". After the step's time it finds out and reports the way of the
// message, once.
func (m *Session) Receive(w *steps.World, a *Arrival) {
	a.memory = w.Memory()
	m.Arrivals = append(m.Arrivals, a)
	if a.sent != nil {
		w.After(func(ctx context.Context) { a.reportWay(ctx, w) })
	}
}

// received returns the last received message.
func (m *Session) received() (*Arrival, error) {
	if len(m.Arrivals) == 0 {
		return nil, steps.FailScenario("no message was received before this step: begin with \"… receives it over IMAP within …\"")
	}
	return m.Arrivals[len(m.Arrivals)-1], nil
}

// message returns the whole message as it is in the mailbox (RFC 5322), with CRLF line ends. It is read once.
func (a *Arrival) message(ctx context.Context) ([]byte, error) {
	if a.Raw == nil {
		raw, err := a.Read(ctx)
		if err != nil {
			return nil, err
		}
		if err := message.CheckHeader(raw); err != nil {
			return nil, steps.FailFor(result.BlameDelivery, fmt.Errorf("read the message in %s: %w", a.Where, err))
		}
		if err := a.memory.Take(int64(len(raw))); err != nil {
			return nil, steps.FailFor(result.BlameAccess, fmt.Errorf("read the message in %s: %w", a.Where, err))
		}
		a.Raw = raw
	}
	return a.Raw, nil
}

// headers returns the message's header.
func (a *Arrival) headers(ctx context.Context) (message.Header, error) {
	raw, err := a.message(ctx)
	if err != nil || a.header != nil {
		return a.header, err
	}
	a.header, _ = message.Read(raw)
	return a.header, nil
}

// received returns the Received fields of a message that was read.
func (a *Arrival) received() []string {
	header, _ := message.Read(a.Raw)
	return header.Values("Received")
}
