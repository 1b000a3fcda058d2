package mailserver

import (
	"context"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does = "Follows the last sent message through the log of the server that accepted it, by the queue id in the server's answer, also through a filter that hands it " +
			"back to the same server. Fails when the message bounces, or when the log does not report its delivery within this time"
		measures = "Until the line is in the log, read every 50 ms (the journal every 500 ms). Measures mail_queue_delay_seconds by stage, if Postfix accepted the message: " +
			"before_queue, in_queue, connect, transfer."
	)
	steps.Register(
		steps.Definition{
			Area: "log", Sentence: `the log of {host} shows it delivered within {duration}`,
			Does:     does + ".",
			Measures: measures,
			Example:  `And the log of "mx1" shows it delivered within 10s`,
			Waits:    true,
			Func:     deliveredInLog,
		},
		steps.Definition{
			Area: "log", Sentence: `the log of {host} shows it delivered with {status} within {duration}`,
			Does:     does + ", or when the next server answered with another code.",
			Measures: measures,
			Example:  `And the log of "mx1" shows it delivered with 250 within 10s`,
			Waits:    true,
			Func:     deliveredInLog,
		},
	)
}

func deliveredInLog(ctx context.Context, w *steps.World, a steps.Args) error {
	host, err := w.Target().Host(a.Text(0))
	if err != nil {
		return err
	}
	log, err := mailhost.OpenLog(w.Target(), host)
	if err != nil {
		return err
	}
	limit, err := a.Duration(len(a.Captured) - 1)
	if err != nil {
		return err
	}
	s := steps.State[mail.Session](w).Last(nil)
	if s == nil || s.Accepted.IsZero() {
		return steps.FailScenario("nothing was accepted before this step: begin with \"I send a message from …\"")
	}
	id := s.Reply.QueueID()
	if id == "" {
		return steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "the answer of %s to the message has no queue id: %s", s.Server, wording.OneLine(s.Reply.String(), 200))
	}
	p := mailhost.NewPassage(id)
	trail := log.Since(s.Accepted.Add(-s.Took))
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	pause := time.NewTicker(trail.Poll())
	defer pause.Stop()
	for !p.Delivered && !p.Bounced() {
		if err := trail.Read(ctx, p.Take); err != nil {
			return mailhost.FailLog(host, err)
		}
		if p.Delivered || p.Bounced() {
			break
		}
		select {
		case <-pause.C:
		case <-deadline.C:
			return p.Missing(id, host, limit)
		case <-ctx.Done():
			return steps.FailNet(ctx, ctx.Err(), result.BlameQueue, "wait for "+id+" in the log of "+host.Name)
		}
	}
	said := p.Said()
	w.Note(said)
	p.Measure(w)
	switch {
	case p.Bounced():
		return steps.Fail(result.ReasonRefused, result.BlameTransfer, "%s was not delivered: %s", id, said)
	case len(a.Captured) == 3 && a.Text(1) != strconv.Itoa(p.Last.Code) && a.Text(1) != p.Last.Status:
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "%s was not delivered with %s: %s", id, a.Text(1), said)
	}
	return nil
}
