package mail

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// explain returns the failure for a message that was accepted and is not in the expected place. It ends the watch.
//
// A server that accepts a message must deliver it, keep it or report that it cannot (RFC 5321 section 6.1). So a bounce
// or a delay notice names the leg and the reason. Without either, explain asks the accepting server's own queue and
// log, if hosts in stepwatch.yml has them. If they do not say, the message is in the queue of that server or a later
// one, as far as that is visible from outside. If it cannot ask them, the leg is unknown, and the failure says so.
func (r *returnWatch) explain(ctx context.Context, missing error) error {
	r.end()
	s := r.s
	if s.stored {
		return steps.Fail(result.ReasonNotReceived, result.BlameDelivery, "%w; the LMTP server reported it as delivered: check the filters of that mailbox", missing)
	}
	unknown := r.lookOnce(ctx)
	switch {
	case r.found != nil:
		return r.found
	case r.late != nil:
		return steps.Fail(result.ReasonNotReceived, r.late.blame(), "the message to %s waits in the queue of %s: %s; %s had accepted it%s",
			s.To.Address, wording.OneLine(r.late.Reporter, 100), r.late.Reason(r.late.to), s.Server, s.queued())
	}
	t := s.trace(ctx, r.w)
	if t.blame != "" {
		return steps.Fail(result.ReasonNotReceived, t.blame, "%w; %s: ask the operator of %s", missing, t.said, t.ask)
	}
	also := ""
	if t.said != "" {
		also = "; " + t.said
	}
	if unknown != nil {
		return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "%w; whether it came back is unknown: %w%s: ask the operator of %s", missing, unknown, also, s.Server)
	}
	return steps.Fail(result.ReasonNotReceived, result.BlameQueue, "%w; nothing came back to %s%s%s: ask the operator of %s", missing, s.from.Address, r.seen.extent(), also, s.Server)
}

// refusedInto returns the failure for a message of which only a copy in a folder for refused mail is there. Servers that
// keep such copies refuse for the time being (4xx), so the sending server still has the message.
func (m *mailbox) refusedInto(f listedFolder, s *Submission) error {
	return steps.Fail(result.ReasonDeferred, result.BlameFiltering, "no message in %s: the receiving server refused the message and keeps a copy in the folder %q; the sending server may still try again: it was sent from %s and accepted by %s%s",
		m, f.name, s.from.Address, s.Server, s.queued())
}

// explainRefused returns the failure for a refused message of which there is a copy: the bounce or the delay notice where
// there is one, or otherwise what the sending server's own log and queue say. It ends the watch, which may be nil.
func (r *returnWatch) explainRefused(ctx context.Context, refused error) error {
	if r == nil {
		return refused
	}
	r.end()
	unknown := r.lookOnce(ctx)
	switch {
	case r.found != nil:
		return r.found
	case r.late != nil:
		return steps.Fail(result.ReasonDeferred, r.late.blame(), "%w; it waits in the queue of %s: %s", refused, wording.OneLine(r.late.Reporter, 100), r.late.Reason(r.late.to))
	}
	if t := r.s.trace(ctx, r.w); t.said != "" {
		return steps.Fail(result.ReasonDeferred, result.BlameFiltering, "%w; %s", refused, t.said)
	}
	if unknown != nil {
		return steps.Fail(result.ReasonDeferred, result.BlameFiltering, "%w; whether it came back is unknown: %w", refused, unknown)
	}
	return steps.Fail(result.ReasonDeferred, result.BlameFiltering, "%w; nothing came back to %s%s", refused, r.s.from.Address, r.seen.extent())
}

// lookOnce looks a last time into the sender's mailbox, and then in a second way. The error says why it could not.
func (r *returnWatch) lookOnce(ctx context.Context) error {
	switch {
	case r.box == nil:
		return errors.New("no account can read " + r.s.from.Address + " over IMAP")
	case r.found != nil:
		return nil
	case ctx.Err() != nil:
		return errors.New("no time was left to look")
	}
	if !r.s.asksFor([]string{"failed"}) {
		return errors.New("the message asked for no bounce (NOTIFY=" + r.s.notify + ")")
	}
	looking, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	err := r.look(looking)
	if r.found == nil && r.late == nil {
		err = r.again(ctx)
	}
	r.s.returned = r.s.returned || r.found != nil
	return err
}

// readerOf returns the account that can read the mail for another account's address, or nil. A machine that sends often
// has no mailbox of its own, but the person whose address it sends from has one.
func readerOf(t *steps.Target, account *steps.Account) *steps.Account {
	reads := func(a *steps.Account) bool {
		return a.IMAP != "" && a.Password != "" && strings.EqualFold(a.Address, account.Address)
	}
	if reads(account) {
		return account
	}
	for _, name := range slices.Sorted(maps.Keys(t.Accounts)) {
		if a := t.Accounts[name]; reads(a) {
			return a
		}
	}
	return nil
}

// socketName matches a unix socket where Postfix names a host: "mx1.example.org[private/dovecot-lmtp]".
var socketName = regex.Lazy(`\[(private)?/`)

// blame returns the leg that a report is about, by its status (RFC 3463 section 3), and otherwise by who refused.
func (r receivedReport) blame() result.Blame {
	_, detail, _ := strings.Cut(r.to.Status, ".")
	subject, detail, _ := strings.Cut(detail, ".")
	elsewhere := r.to.Remote != "" && r.to.Remote != r.Reporter
	switch {
	case subject == "7": // security and policy
		return result.BlameFiltering
	case subject == "2" && detail != "0", subject == "1" && (detail == "1" || detail == "6"): // full, disabled, missing; greylisting says 4.2.0
		return result.BlameDelivery
	case socketName.MatchString(r.to.Diagnostic + " " + r.to.Remote): // Postfix's name for the store on its own machine
		return result.BlameDelivery
	case subject == "4", elsewhere: // the network and routing
		return result.BlameTransfer
	case r.to.Action == "delayed":
		return result.BlameQueue
	default:
		return result.BlameDelivery
	}
}
