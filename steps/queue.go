package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/mailqueue"
)

func init() {
	Register(
		Definition{
			Area: "queue", Sentence: `I read the mail queue of {host}`,
			Does: "Reads the queue of a mail server, where hosts.NAME.queue in stepwatch.yml says: Postfix by postqueue or by its showq socket (as a member of the " +
				"group postdrop), Exim by -bp (as an admin user) or from its spool, or GET /queue/stats of the host's API. The sentences about the queue follow. " +
				"Fails when the queue cannot be read, which is never taken for an empty one. The note names the domain that most messages wait for, and why they do.",
			Measures: "Time to read it. Measurements mail_queue_messages{queue} for each queue, empty ones included (Postfix: active, deferred, hold, incoming, maildrop; " +
				"Exim: waiting, frozen; an API: those that it names), mail_queue_oldest_age_seconds and mail_queue_bytes (0 when the queue is empty; absent when an API does not say).",
			Example: `When I read the mail queue of "mx1"`,
			Func:    readQueue,
		},
		Definition{
			Area: "queue", Sentence: `it holds fewer than {int} messages`,
			Does:    "Fails when all queues together hold that many messages or more.",
			Example: `Then it holds fewer than 1000 messages`,
			Func:    judgeQueue(queueHolds),
		},
		Definition{
			Area: "queue", Sentence: `the {word} queue holds fewer than {int} messages`,
			Does: "Fails when the queue of that name holds that many messages or more. Postfix has active, deferred, hold, incoming and maildrop; Exim has waiting and frozen. " +
				"A name that the server does not have is a mistake in the scenario.",
			Example: `Then the deferred queue holds fewer than 100 messages`,
			Func:    judgeQueue(namedQueueHolds),
		},
		Definition{
			Area: "queue", Sentence: `the oldest message is younger than {duration}`,
			Does:    "Fails when a message has been in the queue for that long or longer, whichever queue it is in. An empty queue passes.",
			Example: `Then the oldest message is younger than 2 hours`,
			Func:    judgeQueue(oldestIsYounger),
		},
		Definition{
			Area: "queue", Sentence: `it grew by less than {int} messages in {duration}`,
			Does: "Compares with what earlier runs read, which is kept in the directory that `state` in stepwatch.yml names, and fails when the queue has grown by that many messages " +
				"or more since any reading within that time. As long as the readings reach back for less than half of it, and have not grown by as much already, there is nothing to compare with: " +
				"that is UNKNOWN, not passed. So run it at least twice within that time. Several agents and checks may share the directory.",
			Measures: "Measurement mail_queue_growth_messages, once there is something to compare with.",
			Example:  `Then it grew by less than 200 messages in 10 minutes`,
			Func:     judgeQueue(grewByLess),
		},
		Definition{
			Area: "queue", Sentence: `fewer than {int} messages wait for {text}`,
			Does:    "Fails when that many messages or more wait for recipients in this domain, in whichever queue. Recipients that have the message already do not count.",
			Example: `Then fewer than 50 messages wait for "gmail.com"`,
			Func:    judgeQueue(fewerWaitFor),
		},
		Definition{
			Area: "queue", Sentence: `fewer than {int} messages wait for any one destination`,
			Does:    "Fails when that many messages or more wait for recipients in one domain, whichever it is, and names it with the reason that most of them wait for.",
			Example: `Then fewer than 50 messages wait for any one destination`,
			Func:    judgeQueue(fewerWaitForAny),
		},
		Definition{
			Area: "queue", Sentence: `nothing is on hold`,
			Does:    "Fails when a message is kept from being sent until somebody lets it go: on hold (Postfix) or frozen (Exim).",
			Example: `Then nothing is on hold`,
			Func:    judgeQueue(nothingIsHeld),
		},
		Definition{
			Area: "queue", Sentence: `nothing is frozen`,
			Does:    "The same as \"nothing is on hold\", in Exim's word.",
			Example: `Then nothing is frozen`,
			Func:    judgeQueue(nothingIsHeld),
		},
	)
}

// queueReading is the queue that the scenario read last.
type queueReading struct {
	host  *Host
	queue *mailqueue.Queue // nil before the first
	at    time.Time
}

func readQueue(ctx context.Context, w *World, a Args) error {
	reading := State[queueReading](w)
	*reading = queueReading{}
	h, err := w.target.Host(a.Text(0))
	if err != nil {
		return err
	}
	if PartOf[*Queue](h) == nil {
		return h.Missing("queue")
	}
	q, err := readHostQueue(ctx, w, h)
	if err != nil {
		return queueFailure(ctx, h, err)
	}
	*reading = queueReading{host: h, queue: q, at: time.Now()}
	reading.measure(w)
	w.Note(reading.note())
	return nil
}

// queueFailure says what it means that a queue could not be read. A lack of rights or of a program proves nothing about
// the mail system.
func queueFailure(ctx context.Context, h *Host, err error) error {
	known := (*Failure)(nil)
	reason, blame := result.ReasonUnexpected, result.BlameMonitor
	switch {
	case errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return FailNet(ctx, err, result.BlameQueue, fmt.Sprintf("read the mail queue of %q", h.Name))
	case errors.Is(err, mailqueue.ErrDenied):
		reason = result.ReasonConfig
	case errors.Is(err, mailqueue.ErrMissing):
		reason, blame = result.ReasonConfig, result.BlameScenario
	case errors.Is(err, mailqueue.ErrDown):
		reason, blame = result.ReasonConnect, result.BlameQueue
	case errors.Is(err, mailqueue.ErrIncomplete):
		reason, blame = result.ReasonDisconnected, result.BlameQueue
	case errors.Is(err, mailqueue.ErrFormat):
		reason, blame = result.ReasonProtocol, result.BlameQueue
	case errors.Is(err, mailqueue.ErrTooLarge):
		reason, blame = result.ReasonTooLarge, result.BlameQueue
	}
	return Fail(reason, blame, "read the mail queue of %q: %w", h.Name, err)
}

func (r *queueReading) measure(w *World) {
	for _, name := range r.queue.Names() {
		w.Measure("mail_queue_messages", "Messages in the mail queue.", float64(r.queue.Counts[name]), result.Label{Name: "queue", Value: name})
	}
	if !r.queue.NoAge {
		w.Measure("mail_queue_oldest_age_seconds", "How long the oldest message has been in the mail queue; 0 when it is empty.", r.age().Seconds())
	}
	if !r.queue.NoBytes {
		w.Measure("mail_queue_bytes", "Size of all messages in the mail queue.", float64(r.queue.Bytes))
	}
}

// age is how long the oldest message has been there, or zero when there is none.
func (r *queueReading) age() time.Duration {
	if r.queue.Oldest.IsZero() {
		return 0
	}
	return max(0, r.at.Sub(r.queue.Oldest))
}

// note is what a person wants to know of the queue: "43 messages: active 2, deferred 41; the oldest 2h1m0s old; 38 wait for
// gmail.com: connection refused".
func (r *queueReading) note() string {
	note := fmt.Sprintf("%d messages", r.queue.Messages())
	if details := r.details(); details != "" {
		note += ": " + details
	}
	return note
}

// details is the note without the number of messages.
func (r *queueReading) details() string {
	var counts, details []string
	for _, name := range r.queue.Names() {
		if n := r.queue.Counts[name]; n > 0 {
			counts = append(counts, fmt.Sprintf("%s %d", name, n))
		}
	}
	if counts != nil {
		details = append(details, strings.Join(counts, ", "))
	}
	if age := r.age(); age > 0 {
		details = append(details, fmt.Sprintf("the oldest %s old", age.Round(time.Second)))
	}
	if domain, d := r.queue.Worst(); d != nil {
		details = append(details, fmt.Sprintf("%d wait for %s", d.Messages, waitingFor(domain, d)))
	}
	if r.queue.Warning != "" {
		details = append(details, "the server warns: "+shownLine(r.queue.Warning))
	}
	return strings.Join(details, "; ")
}

// waitingFor gives a domain and why messages wait for it, as far as that is known.
func waitingFor(domain string, d *mailqueue.Destination) string {
	reason := d.Reason()
	if reason == "" {
		return shownLine(domain)
	}
	return shownLine(domain) + ": " + shownLine(reason)
}

// shownLine is text from outside on one line and not too long.
func shownLine(text string) string {
	const most = 200
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// judgeQueue makes the function of a sentence about the queue that was read.
func judgeQueue(judge func(*queueReading, *World, Args) error) func(context.Context, *World, Args) error {
	return func(_ context.Context, w *World, a Args) error {
		reading := State[queueReading](w)
		if reading.queue == nil {
			return scenarioFault("no mail queue was read yet: write `I read the mail queue of \"mx1\"` before this step")
		}
		return judge(reading, w, a)
	}
}

func (r *queueReading) unexpected(format string, args ...any) error {
	return Fail(result.ReasonUnexpected, result.BlameQueue, "the mail queue of %q "+format, append([]any{r.host.Name}, args...)...)
}

// untold is the error for a sentence about what the host's API does not say.
func (r *queueReading) untold(what string) error {
	return Fail(result.ReasonConfig, result.BlameScenario, "the API of %q says nothing of %s of its queue: have GET /queue/stats answer with it too", r.host.Name, what)
}

func queueHolds(r *queueReading, _ *World, a Args) error {
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	if n := r.queue.Messages(); n >= limit {
		return r.unexpected("holds %d messages, wanted fewer than %d (%s)", n, limit, r.details())
	}
	return nil
}

func namedQueueHolds(r *queueReading, _ *World, a Args) error {
	limit, err := a.Int(1)
	if err != nil {
		return err
	}
	n, found := r.queue.Counts[a.Text(0)]
	if !found {
		return scenarioFault("%q has no queue called %q: it has %s", r.host.Name, a.Text(0), strings.Join(r.queue.Names(), ", "))
	}
	if n >= limit {
		return r.unexpected("holds %d %s messages, wanted fewer than %d (%s)", n, a.Text(0), limit, r.details())
	}
	return nil
}

func oldestIsYounger(r *queueReading, _ *World, a Args) error {
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	if r.queue.NoAge {
		return r.untold("the age (oldest_age_seconds)")
	}
	if age := r.age(); age >= limit && !r.queue.Oldest.IsZero() {
		return r.unexpected("has had a message for %s, wanted less than %s", age.Round(time.Second), limit)
	}
	return nil
}

func grewByLess(r *queueReading, w *World, a Args) error {
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	window, err := a.Duration(1)
	if err != nil {
		return err
	}
	if window < time.Second {
		return scenarioFault("a queue's growth in %s cannot be seen: give it a second at least", window)
	}
	if w.target.StateDir == "" {
		return Fail(result.ReasonConfig, result.BlameScenario, "there is nowhere to remember what was read: set state in stepwatch.yml")
	}
	now := mailqueue.Reading{At: r.at, Messages: r.queue.Messages()}
	growth, err := mailqueue.Remember(w.target.StateDir, fmt.Sprintf("%s %+v", r.host.Name, *PartOf[*Queue](r.host)), window, now)
	if err != nil {
		return Fail(result.ReasonConfig, result.BlameMonitor, "remember the mail queue of %q: %w: stepwatch's user must be able to write where state in stepwatch.yml says", r.host.Name, err)
	}
	shown := func(d time.Duration) time.Duration { return d.Round(time.Second) }
	if growth.Reach > 0 {
		w.Measure("mail_queue_growth_messages", "By how many messages the mail queue has grown within the time that the step names.", float64(growth.Messages))
	}
	switch {
	case growth.Reach > 0 && growth.Messages >= limit:
		return r.unexpected("grew by %d messages in %s, to %d; wanted less than %d in %s", growth.Messages, shown(growth.Over), now.Messages, limit, window)
	case growth.Reach == 0:
		return Fail(result.ReasonUnexpected, result.BlameMonitor, "there is nothing to compare the %d messages of %q with: no earlier reading within %s; this one is kept for the next run", now.Messages, r.host.Name, window)
	case growth.Reach < window/2:
		return Fail(result.ReasonUnexpected, result.BlameMonitor, "there is too little to compare the %d messages of %q with: readings reach back %s of %s", now.Messages, r.host.Name, shown(growth.Reach), window)
	}
	w.Note(fmt.Sprintf("grown by %d messages; readings reach back %s", growth.Messages, shown(growth.Reach)))
	return nil
}

func fewerWaitFor(r *queueReading, _ *World, a Args) error {
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	if r.queue.NoDestinations {
		return r.untold("the destinations (destinations)")
	}
	domain := a.Text(1)
	if n := r.queue.Waiting(domain); n >= limit {
		d := r.queue.Destinations[strings.ToLower(domain)]
		if d == nil {
			d = &mailqueue.Destination{}
		}
		return r.unexpected("holds %d messages for %s; wanted fewer than %d", n, waitingFor(domain, d), limit)
	}
	return nil
}

func fewerWaitForAny(r *queueReading, _ *World, a Args) error {
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	if r.queue.NoDestinations {
		return r.untold("the destinations (destinations)")
	}
	if domain, d := r.queue.Worst(); d != nil && d.Messages >= limit {
		return r.unexpected("holds %d messages for %s; wanted fewer than %d for any one destination", d.Messages, waitingFor(domain, d), limit)
	}
	return nil
}

func nothingIsHeld(r *queueReading, _ *World, _ Args) error {
	hold, holds := r.queue.Counts[mailqueue.Hold]
	frozen, freezes := r.queue.Counts[mailqueue.Frozen]
	switch {
	case !holds && !freezes:
		return r.untold("what is held back (hold, frozen)")
	case hold > 0:
		return r.unexpected("has %d messages on hold: look at why, then postsuper -H or -d", hold)
	case frozen > 0:
		return r.unexpected("has %d frozen messages: look at why (exim -Mvl ID), then exim -Mt or -Mrm", frozen)
	}
	return nil
}
