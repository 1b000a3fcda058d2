package mail

import (
	"context"

	"github.com/stepwatch/stepwatch/steps"
)

func init() {
	steps.Register(steps.Definition{
		Area: "mail", Sentence: `{account} receives a copy over IMAP within {duration}`,
		Does: "Waits until the last sent message, whatever its recipient, is also in this account's INBOX, for example in a backup or journal mailbox. Reads via port 993, TLS from the first byte. " +
			"Fails when it is not there in time. The copy is removed afterwards.",
		Measures: "From the start of the step to the arrival of the copy. Measures mail_detection_lag_seconds and mail_delivery_seconds.",
		Example:  `Then "backup" receives a copy over IMAP within 60s`,
		Waits:    true,
		Prepare:  prepareMailbox,
		Func:     receiveCopy,
	})
}

func receiveCopy(ctx context.Context, w *steps.World, a steps.Args) error {
	box, within, err := mailboxOf(w, a)
	if err != nil {
		return err
	}
	box.reportOpening()
	if box.err != nil {
		return box.err
	}
	all := steps.State[Session](w)
	s := all.Last(nil)
	if s == nil || box.client == nil {
		return steps.FailScenario("nothing was sent before this step: begin with \"I send a message from …\"")
	}
	// A bounce of the message does not concern the copy.
	if err := box.await(ctx, s, within, nil); err != nil {
		box.log.Attach(w, "imap transcript")
		return err
	}
	all.Receive(w, box.arrival(s))
	return nil
}
