package mail

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// This file reads mailboxes whose server demands a pause between logins (LOGIN-DELAY, RFC 2449 section 6.6), often a
// minute. Each login is planned: the message is read and removed in the session that finds it, so that a run that is
// repeated each minute needs one login.

const (
	// sparseShare is the part of the pause, and earlyShare that of the wait, for which the first look waits at most: mail
	// needs a moment, and a look that comes too early uses the allowance up.
	sparseShare = 12
	earlyShare  = 4

	// soonest is the shortest pause after a login that the server refused as too early. Servers count whole seconds.
	soonest = time.Second
)

// nextLogin returns when the server allows the next login, as far as this process knows.
func (p *pop3Mailbox) nextLogin() time.Time {
	last := pop3Logins.mark(p.loginKey())
	if last == 0 || p.delay == 0 {
		return time.Time{}
	}
	return time.Unix(0, last).Add(p.delay)
}

// awaitSparsely waits until s is in the mailbox, with the logins that the server allows, and returns the unique ids of its
// copies. What the server demands is no failure, and what may be our own lag is not held against it: a look after the
// deadline counts, unless the message certainly came after it.
func (p *pop3Mailbox) awaitSparsely(ctx context.Context, s *Submission, within time.Duration) (ids []string, err error) {
	start := time.Now()
	deadline := start.Add(within)
	absent := s.Accepted // when it certainly was not there
	watch := p.mail.watchReturn(ctx, p.w, s)
	defer watch.end()
	next := start.Add(min(p.delay/sparseShare, within/earlyShare))
	var refused error // the last refusal of a login
	pause := soonest
	for {
		if allowed := p.nextLogin(); allowed.After(next) {
			next = allowed
		}
		if err := p.pauseUntil(ctx, next, watch); err != nil {
			return nil, p.undecided(ctx, err, refused, next)
		}
		asked := time.Now()
		before := pop3Logins.mark(p.loginKey())
		err := p.another(ctx, func(c *pop3Client) (err error) {
			ids, err = p.take(c, s)
			return err
		})
		now := time.Now()
		failure := (*steps.Failure)(nil)
		if refused != nil && p.delay == 0 && before != 0 && !errors.Is(err, errTooSoon) {
			p.delay = now.Sub(time.Unix(0, before))
			pop3Pauses.note(p.loginKey(), int64(p.delay))
		}
		switch {
		case errors.Is(err, errTooSoon):
			refused = err
			if now.After(deadline.Add(max(p.delay, pause))) {
				return nil, p.undecided(ctx, nil, refused, now)
			}
			next = now.Add(pause)
			if pause *= 2; p.delay > 0 { // it is over soon: another program, or a run before this process, logged in
				pause = max(soonest, p.delay/30)
			}
			continue
		case errors.As(err, &failure) && failure.Reason == result.ReasonDeferred && now.Before(deadline):
			refused, next = err, now.Add(min(pause, time.Until(deadline)))
			continue
		case err != nil:
			return nil, err
		case len(ids) > 0:
			s.lag = now.Sub(absent)
			p.w.Measure("mail_detection_lag_seconds", "Maximum time between the arrival of the message and its detection by the step.", s.lag.Seconds())
			p.w.Measure("mail_delivery_seconds", "Time from the server's acceptance of the message until it was seen in the mailbox.", time.Since(s.Accepted).Seconds())
			return ids, p.inTime(s, start, within, now)
		}
		refused, absent, pause = nil, asked, soonest
		left := deadline.Sub(asked)
		if left <= 0 {
			waited := time.Since(start)
			p.w.Untimed(func() { err = p.notReceived(ctx, s, waited, watch) })
			return nil, err
		}
		gap := max(p.delay, pop3Gap)
		if n := left / gap; n > 0 { // so that the last look is at the deadline
			gap = left / n
		}
		next = asked.Add(gap)
	}
}

// take looks for s. It reads and removes it in the same session, unless another mailbox of the account is read too.
func (p *pop3Mailbox) take(c *pop3Client, s *Submission) (ids []string, err error) {
	found, _, err := p.find(c, []*Submission{s})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	t := &taken{id: found[0].id}
	if t.raw, err = c.message(found[0].number); err == nil {
		err = c.failure("RETR", errors.Join(message.CheckHeader(t.raw), p.w.Memory().Take(int64(len(t.raw))))) // it is held until the end of the run
	}
	if err != nil {
		return nil, err
	}
	others := slices.ContainsFunc(*steps.State[pop3Mailboxes](p.w), func(box *pop3Mailbox) bool { return box != p && box.account == p.account })
	if !others && !p.mail.reads(p.account) {
		for _, m := range found {
			if err := c.remove(m.number); err != nil {
				return nil, err
			}
		}
		s.removed = true
	}
	if p.taken == nil {
		p.taken = make(map[int]*taken)
	}
	p.taken[s.Number] = t
	return uniqueIDs(found), nil
}

// inTime fails if the message certainly came after the deadline, by the times of its way.
func (p *pop3Mailbox) inTime(s *Submission, start time.Time, within time.Duration, seen time.Time) error {
	if !seen.After(start.Add(within)) {
		return nil
	}
	received := (&Arrival{Raw: p.taken[s.Number].raw}).received()
	if err := tooManyReceived(received); err != nil {
		return err
	}
	way := newWay(s, received, seen, s.lag)
	least := time.Duration(0) // until it was in the mailbox, from the start of the step that sent it
	for _, l := range way.legs {
		least += l.least
	}
	if came := s.Accepted.Add(-s.Took).Add(least); came.After(start.Add(within)) {
		return steps.Fail(result.ReasonNotReceived, result.BlameQueue, "the message came into %s at least %s after the step began, wanted within %s: %s", p, wording.Seconds(came.Sub(start)), within, way)
	}
	p.taken[s.Number].remark = "seen " + wording.Delay(seen.Sub(start.Add(within))) + " after the time was over, because the server allowed no earlier login (LOGIN-DELAY); the message may have been there in time"
	return nil
}

// pauseUntil waits until a time. It returns early with the bounce, if the message came back, or with the error of ctx.
func (p *pop3Mailbox) pauseUntil(ctx context.Context, until time.Time, watch *returnWatch) error {
	for {
		if err := watch.bounced(); err != nil {
			return err
		}
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		if err := steps.Pause(ctx, min(left, pop3Gap)); err != nil {
			return err
		}
	}
}

// undecided returns the outcome when the wait ends before the server allowed a look: nothing is proved.
func (p *pop3Mailbox) undecided(ctx context.Context, err, refused error, next time.Time) error {
	switch failure := (*steps.Failure)(nil); {
	case errors.As(err, &failure):
		return err
	case errors.Is(context.Cause(ctx), steps.ErrStopped):
		return steps.FailNet(ctx, err, result.BlameAccess, "wait for mail")
	case refused != nil:
		return steps.FailScenario("whether the message came into %s is unknown: %w: wait longer, or run less often than the server allows logins", p, refused)
	}
	return steps.FailScenario("whether the message came into %s is unknown: %s demands a pause of %s between logins (LOGIN-DELAY), so the next look was planned for %s, after the end of the run: "+
		"set @timeout to more than that pause and the wait together", p, p.server(), p.delay, next.UTC().Format("15:04:05 MST"))
}
