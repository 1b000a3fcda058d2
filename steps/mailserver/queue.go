package mailserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/mailqueue"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.RegisterArea(steps.Area{Name: "queue", Title: "Mail queue", Place: 50})
	steps.Register(
		steps.Definition{
			Area: "queue", Sentence: `I read the mail queue of {host}`,
			Does: "Reads the queue of a mail server, as hosts.NAME.queue in stepwatch.yml specifies: Postfix by postqueue or by its showq socket (as a member of the " +
				"group postdrop), Exim by -bp (as an admin user) or from its spool, OpenSMTPD by smtpctl (as root), or GET /queue/stats of the host's API. Later sentences judge this queue. " +
				"Fails when the queue cannot be read; an unreadable queue never counts as empty. The note names the domain with the most waiting messages, and the reason.",
			Measures: "Time to read the queue. Measures mail_queue_messages{queue} for each queue, empty ones included (Postfix: active, deferred, hold, incoming, maildrop; " +
				"Exim: waiting, frozen; OpenSMTPD: pending, inflight, held, suspended; an API: those that it names), mail_queue_oldest_age_seconds and mail_queue_bytes " +
				"(0 when the queue is empty; absent when the server does not report them: OpenSMTPD has no sizes).",
			Example: `When I read the mail queue of "mx1"`,
			Func:    readQueue,
		},
		steps.Definition{
			Area: "queue", Sentence: `it holds fewer than {int} messages`,
			Does:    "Fails when all queues together hold that many messages or more.",
			Example: `Then it holds fewer than 1000 messages`,
			Func:    judgeQueue(queueHolds),
		},
		steps.Definition{
			Area: "queue", Sentence: `the {word} queue holds fewer than {int} messages`,
			Does: "Fails when the queue of that name holds that many messages or more. Postfix has active, deferred, hold, incoming and maildrop; Exim has waiting and frozen; " +
				"OpenSMTPD has pending, inflight, held and suspended. An unknown name is a mistake in the scenario.",
			Example: `Then the deferred queue holds fewer than 100 messages`,
			Func:    judgeQueue(namedQueueHolds),
		},
		steps.Definition{
			Area: "queue", Sentence: `the oldest message is younger than {duration}`,
			Does:    "Fails when a message has been in any of the queues for that long or longer. An empty queue passes.",
			Example: `Then the oldest message is younger than 2 hours`,
			Func:    judgeQueue(oldestIsYounger),
		},
		steps.Definition{
			Area: "queue", Sentence: `it grew by less than {int} messages in {duration}`,
			Does: "Compares with the readings of earlier runs, which are kept in the directory `state` of stepwatch.yml. Fails when the queue has grown by that many messages " +
				"or more since any reading within that time. While the readings cover less than half of that time and have not grown by that much, there is too little to compare: " +
				"the result is UNKNOWN, not passed. So run it at least twice within that time. Several agents and checks may share the directory.",
			Measures: "mail_queue_growth_messages, once there is something to compare with.",
			Example:  `Then it grew by less than 200 messages in 10 minutes`,
			Func:     judgeQueue(grewByLess),
		},
		steps.Definition{
			Area: "queue", Sentence: `fewer than {int} messages wait for {text}`,
			Does:    "Fails when that many messages or more wait for recipients in this domain, in any queue. Recipients that already have the message do not count.",
			Example: `Then fewer than 50 messages wait for "gmail.com"`,
			Func:    judgeQueue(fewerWaitFor),
		},
		steps.Definition{
			Area: "queue", Sentence: `fewer than {int} messages wait for any one destination`,
			Does:    "Fails when that many messages or more wait for recipients in any single domain. Names the domain and the most frequent reason.",
			Example: `Then fewer than 50 messages wait for any one destination`,
			Func:    judgeQueue(fewerWaitForAny),
		},
		steps.Definition{
			Area: "queue", Sentence: `nothing is on hold`,
			Does:    "Fails when a message is not sent until somebody releases it: on hold (Postfix), frozen (Exim) or suspended (OpenSMTPD).",
			Example: `Then nothing is on hold`,
			Func:    judgeQueue(nothingIsHeld),
		},
		steps.Definition{
			Area: "queue", Sentence: `nothing is frozen`,
			Does:    "The same as \"nothing is on hold\", with Exim's word.",
			Example: `Then nothing is frozen`,
			Func:    judgeQueue(nothingIsHeld),
		},
	)
}

// queueReading is the queue that the scenario read last.
type queueReading struct {
	host  *steps.Host
	queue *mailqueue.Queue // nil before the first read
	at    time.Time
}

func readQueue(ctx context.Context, w *steps.World, a steps.Args) error {
	reading := steps.State[queueReading](w)
	*reading = queueReading{}
	h, err := w.Target().Host(a.Text(0))
	if err != nil {
		return err
	}
	if steps.PartOf[*mailhost.Queue](h) == nil {
		return h.Missing("queue")
	}
	q, err := mailhost.ReadQueue(ctx, w, h)
	if err != nil {
		return queueFailure(ctx, h, err)
	}
	*reading = queueReading{host: h, queue: q, at: time.Now()}
	reading.measure(w)
	w.Note(reading.note())
	return nil
}

// queueFailure returns the failure for an unreadable queue. Missing permissions or a missing program prove nothing
// about the mail system.
func queueFailure(ctx context.Context, h *steps.Host, err error) error {
	known := (*steps.Failure)(nil)
	reason, blame := result.ReasonUnexpected, result.BlameMonitor
	switch {
	case errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return steps.FailNet(ctx, err, result.BlameQueue, fmt.Sprintf("read the mail queue of %q", h.Name))
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
	case errors.As(err, new(*limit.Error)):
		reason, blame = result.ReasonTooLarge, result.BlameQueue
	}
	return steps.Fail(reason, blame, "read the mail queue of %q: %w", h.Name, err)
}

func (r *queueReading) measure(w *steps.World) {
	for _, name := range r.queue.Names() {
		w.Measure("mail_queue_messages", "Messages in the mail queue.", float64(r.queue.Counts[name]), result.Label{Name: "queue", Value: name})
	}
	if !r.queue.NoAge {
		w.Measure("mail_queue_oldest_age_seconds", "Age of the oldest message in the mail queue; 0 when the queue is empty.", r.age().Seconds())
	}
	if !r.queue.NoBytes {
		w.Measure("mail_queue_bytes", "Size of all messages in the mail queue.", float64(r.queue.Bytes))
	}
}

// age returns how long the oldest message has been there, or zero if there is none.
func (r *queueReading) age() time.Duration {
	if r.queue.Oldest.IsZero() {
		return 0
	}
	return max(0, r.at.Sub(r.queue.Oldest))
}

// note describes the queue for people: "43 messages: active 2, deferred 41; the oldest 2h1m0s old; 38 wait for
// gmail.com: connection refused".
func (r *queueReading) note() string {
	note := fmt.Sprintf("%d messages", r.queue.Messages())
	if details := r.details(); details != "" {
		note += ": " + details
	}
	return note
}

// details returns the note without the number of messages.
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
		details = append(details, "the server warns: "+wording.Excerpt(r.queue.Warning))
	}
	return strings.Join(details, "; ")
}

// waitingFor returns a domain and, as far as known, why messages wait for it.
func waitingFor(domain string, d *mailqueue.Destination) string {
	reason := d.Reason()
	if reason == "" {
		return wording.Excerpt(domain)
	}
	return wording.Excerpt(domain) + ": " + wording.Excerpt(reason)
}

// judgeQueue returns the function of a sentence about the last queue read.
func judgeQueue(judge func(*queueReading, *steps.World, steps.Args) error) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		reading := steps.State[queueReading](w)
		if reading.queue == nil {
			return steps.FailScenario("no mail queue was read before this step: begin with `I read the mail queue of \"mx1\"`")
		}
		return judge(reading, w, a)
	}
}

func (r *queueReading) unexpected(format string, args ...any) error {
	return steps.Fail(result.ReasonUnexpected, result.BlameQueue, "the mail queue of %q "+format, append([]any{r.host.Name}, args...)...)
}

// untold returns the error for a sentence about something that the host's API does not report.
func (r *queueReading) untold(what string) error {
	return steps.Fail(result.ReasonConfig, result.BlameScenario, "the API of %q does not report %s of its queue: add it to the answer of GET /queue/stats", r.host.Name, what)
}

func queueHolds(r *queueReading, _ *steps.World, a steps.Args) error {
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	if n := r.queue.Messages(); n >= limit {
		return r.unexpected("holds %d messages, wanted fewer than %d (%s)", n, limit, r.details())
	}
	return nil
}

func namedQueueHolds(r *queueReading, _ *steps.World, a steps.Args) error {
	limit, err := a.Int(1)
	if err != nil {
		return err
	}
	n, found := r.queue.Counts[a.Text(0)]
	if !found {
		return steps.FailScenario("%q has no queue called %q: it has %s", r.host.Name, a.Text(0), strings.Join(r.queue.Names(), ", "))
	}
	if n >= limit {
		return r.unexpected("holds %d %s messages, wanted fewer than %d (%s)", n, a.Text(0), limit, r.details())
	}
	return nil
}

func oldestIsYounger(r *queueReading, _ *steps.World, a steps.Args) error {
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

func grewByLess(r *queueReading, w *steps.World, a steps.Args) error {
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	window, err := a.Duration(1)
	if err != nil {
		return err
	}
	if window < time.Second {
		return steps.FailScenario("the growth of a queue in %s is not measurable: write at least a second", window)
	}
	if w.Target().StateDir == "" {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "there is no directory for the readings: set state in stepwatch.yml")
	}
	now := mailqueue.Reading{At: r.at, Messages: r.queue.Messages()}
	growth, err := mailqueue.Remember(w.Target().StateDir, fmt.Sprintf("%s %+v", r.host.Name, *steps.PartOf[*mailhost.Queue](r.host)), window, now)
	if err != nil {
		return steps.Fail(result.ReasonConfig, result.BlameMonitor, "store the reading of the mail queue of %q: %w: stepwatch's user must be able to write to the directory state of stepwatch.yml", r.host.Name, err)
	}
	shown := func(d time.Duration) time.Duration { return d.Round(time.Second) }
	if growth.Reach > 0 {
		w.Measure("mail_queue_growth_messages", "Growth of the mail queue in messages within the time in the step.", float64(growth.Messages))
	}
	switch {
	case growth.Reach > 0 && growth.Messages >= limit:
		return r.unexpected("grew by %d messages in %s, to %d; wanted less than %d in %s", growth.Messages, shown(growth.Over), now.Messages, limit, window)
	case growth.Reach == 0:
		return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "there is nothing to compare the %d messages of %q with: no earlier reading within %s; this one is kept for the next run", now.Messages, r.host.Name, window)
	case growth.Reach < window/2:
		return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "there is too little to compare the %d messages of %q with: the readings cover %s of %s", now.Messages, r.host.Name, shown(growth.Reach), window)
	}
	w.Note(fmt.Sprintf("grew by %d messages; the readings cover %s", growth.Messages, shown(growth.Reach)))
	return nil
}

func fewerWaitFor(r *queueReading, _ *steps.World, a steps.Args) error {
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

func fewerWaitForAny(r *queueReading, _ *steps.World, a steps.Args) error {
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

func nothingIsHeld(r *queueReading, _ *steps.World, _ steps.Args) error {
	hold, holds := r.queue.Counts[mailqueue.Hold]
	frozen, freezes := r.queue.Counts[mailqueue.Frozen]
	suspended, suspends := r.queue.Counts[mailqueue.Suspended]
	switch {
	case !holds && !freezes && !suspends:
		return r.untold("the held messages (hold, frozen)")
	case hold > 0:
		return r.unexpected("has %d messages on hold: find out why, then postsuper -H or -d", hold)
	case frozen > 0:
		return r.unexpected("has %d frozen messages: find out why (exim -Mvl ID), then exim -Mt or -Mrm", frozen)
	case suspended > 0:
		return r.unexpected("has %d suspended messages: find out why (smtpctl show message ID), then smtpctl resume envelope ID or remove ID", suspended)
	}
	return nil
}
