package steps

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// explain gives the failure for a message that was accepted and is not where it is wanted. It ends the watch.
//
// Who takes a message must deliver it, keep it or report that it cannot (RFC 5321 section 6.1), so a bounce names leg and
// reason, and so does a notice of a delay. With neither the accepting server's own queue and log are asked, where hosts in
// stepwatch.yml have them. When they do not tell, the message is in a queue, that server's or one behind it, as far as that
// can be known from outside. When there is no asking, the leg is not known, and the failure says that.
func (r *returnWatch) explain(ctx context.Context, missing error) error {
	r.end()
	s := r.s
	if s.stored {
		return Fail(result.ReasonNotReceived, result.BlameDelivery, "%w; by LMTP it was taken for delivered: look into the filters of that mailbox", missing)
	}
	unknown := r.lookOnce(ctx)
	switch {
	case r.found != nil:
		return r.found
	case r.late != nil:
		return Fail(result.ReasonNotReceived, r.late.blame(), "the message to %s waits in the queue of %s: %s; %s had accepted it%s",
			s.to.Address, oneLine(r.late.reporter, 100), r.late.reason(r.late.to), s.server, s.queued())
	}
	t := s.trace(ctx, r.w)
	if t.blame != "" {
		return Fail(result.ReasonNotReceived, t.blame, "%w; %s: ask who runs %s", missing, t.said, t.ask)
	}
	also := ""
	if t.said != "" {
		also = "; " + t.said
	}
	if unknown != nil {
		return Fail(result.ReasonNotReceived, result.BlameTarget, "%w; whether it came back is not known: %w%s: ask who runs %s", missing, unknown, also, s.server)
	}
	return Fail(result.ReasonNotReceived, result.BlameQueue, "%w; nothing came back to %s%s: ask who runs %s", missing, s.from.Address, also, s.server)
}

// lookOnce is the last look into the sender's mailbox. The error says why there was none.
func (r *returnWatch) lookOnce(ctx context.Context) error {
	switch {
	case r.box == nil:
		return errors.New("no account can read " + r.s.from.Address + " over IMAP")
	case r.found != nil:
		return nil
	case ctx.Err() != nil:
		return errors.New("no time was left to look")
	}
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	err := r.look(ctx)
	r.s.returned = r.s.returned || r.found != nil
	return err
}

// readerOf is the account by which the mail for another's address can be read, or nil: a machine that sends has often none
// of its own, and the member whose address it sends from has.
func readerOf(t *Target, account *Account) *Account {
	reads := func(a *Account) bool {
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

// socketName is how Postfix names a unix socket where it names a host: "mx1.example.org[private/dovecot-lmtp]".
var socketName = regexp.MustCompile(`\[(private)?/`)

// blame is the leg that a report tells of, by its status (RFC 3463 section 3), and otherwise by who said no.
func (r receivedReport) blame() result.Blame {
	_, detail, _ := strings.Cut(r.to.status, ".")
	subject, detail, _ := strings.Cut(detail, ".")
	elsewhere := r.to.remote != "" && r.to.remote != r.reporter
	switch {
	case subject == "7": // security and policy
		return result.BlameFiltering
	case subject == "2" && detail != "0", subject == "1" && (detail == "1" || detail == "6"): // full, disabled, not there; 4.2.0 is what greylisting says
		return result.BlameDelivery
	case socketName.MatchString(r.to.diagnostic + " " + r.to.remote): // Postfix' word for the store on its own machine
		return result.BlameDelivery
	case subject == "4", elsewhere: // the network and routing
		return result.BlameTransfer
	case r.to.action == "delayed":
		return result.BlameQueue
	default:
		return result.BlameDelivery
	}
}
