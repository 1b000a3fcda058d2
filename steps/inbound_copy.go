package steps

import "context"

func init() {
	Register(Definition{
		Area: "mail", Sentence: `{account} receives a copy over IMAP within {duration}`,
		Does: "Waits until the message that was sent last, to whomever, is also in this account's INBOX, as a backup or journal mailbox gets it. Reads via port 993, TLS from the first byte. " +
			"Fails when it is not there in time. The copy is removed afterwards.",
		Measures: "From the start of the step until the copy is there. Measures mail_detection_lag_seconds and mail_delivery_seconds.",
		Example:  `Then "backup" receives a copy over IMAP within 60s`,
		Waits:    true,
		Prepare:  prepareMailbox,
		Func:     receiveCopy,
	})
}

func receiveCopy(ctx context.Context, w *World, a Args) error {
	box, within, err := mailboxOf(w, a)
	if err != nil {
		return err
	}
	box.reportOpening()
	if box.err != nil {
		return box.err
	}
	all := State[mail](w)
	s := all.last(nil)
	if s == nil || box.client == nil {
		return scenarioFault("nothing was sent before this step: begin with \"I send a message from …\"")
	}
	// A bounce of the message says nothing of the copy.
	if err := box.await(ctx, s, within, nil); err != nil {
		box.log.attach(w, "imap transcript")
		return err
	}
	all.receive(w, box.arrival(s))
	return nil
}
