package steps

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/maillog"
)

func init() {
	const (
		does = "Follows the last sent message through the log of the server that accepted it, by the queue id in the server's answer, also through a filter that hands it " +
			"back to the same server. Fails when the message bounces, or when the log does not report its delivery within this time"
		measures = "Until the line is in the log, read every 50 ms (the journal every 500 ms). Measures mail_queue_delay_seconds by stage, if Postfix accepted the message: " +
			"before_queue, in_queue, connect, transfer."
	)
	Register(
		Definition{
			Area: "log", Sentence: `the log of {host} shows it delivered within {duration}`,
			Does:     does + ".",
			Measures: measures,
			Example:  `And the log of "mx1" shows it delivered within 10s`,
			Waits:    true,
			Func:     deliveredInLog,
		},
		Definition{
			Area: "log", Sentence: `the log of {host} shows it delivered with {status} within {duration}`,
			Does:     does + ", or when the next server answered with another code.",
			Measures: measures,
			Example:  `And the log of "mx1" shows it delivered with 250 within 10s`,
			Waits:    true,
			Func:     deliveredInLog,
		},
	)
}

// passage is what a log says about one message.
type passage struct {
	ids       map[string]bool // of the message
	seen      map[string]bool // of all messages
	last      *maillog.Event  // with the outcome
	delivered bool
	met       bool
}

// newPassage follows the message that a server accepted under this queue id.
func newPassage(id string) *passage {
	return &passage{ids: map[string]bool{id: true}, seen: make(map[string]bool)}
}

// seenMax limits the remembered ids of other messages.
const seenMax = 100_000

func (p *passage) take(e maillog.Event) {
	if e.QueueID == "" {
		return
	}
	if len(p.seen) < seenMax {
		p.seen[e.QueueID] = true
	}
	if !p.ids[e.QueueID] {
		return
	}
	p.met = true
	switch e.Kind {
	case maillog.KindSent:
		p.last = &e
		// A filter hands the message back to the server, under a new id that is logged before the filter's answer.
		p.delivered = !p.seen[e.NextID] || p.ids[e.NextID]
		if !p.delivered {
			p.ids[e.NextID] = true
		}
	case maillog.KindDeferred, maillog.KindBounced, maillog.KindExpired:
		p.last, p.delivered = &e, false
	}
}

func (p *passage) bounced() bool {
	return p.last != nil && (p.last.Kind == maillog.KindBounced || p.last.Kind == maillog.KindExpired)
}

func deliveredInLog(ctx context.Context, w *World, a Args) error {
	host, err := w.target.Host(a.Text(0))
	if err != nil {
		return err
	}
	log, err := logOf(w.target, host)
	if err != nil {
		return err
	}
	limit, err := a.Duration(len(a.Captured) - 1)
	if err != nil {
		return err
	}
	s := State[mail](w).last(nil)
	if s == nil || s.accepted.IsZero() {
		return scenarioFault("nothing was accepted before this step: begin with \"I send a message from …\"")
	}
	id := s.reply.QueueID()
	if id == "" {
		return Fail(result.ReasonUnexpected, result.BlameSubmission, "the answer of %s to the message has no queue id: %s", s.server, oneLine(s.reply.String(), 200))
	}
	p := newPassage(id)
	trail := log.Since(s.accepted.Add(-s.took))
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	pause := time.NewTicker(trail.Poll())
	defer pause.Stop()
	for !p.delivered && !p.bounced() {
		if err := trail.Read(ctx, p.take); err != nil {
			return logFailure(host, err)
		}
		if p.delivered || p.bounced() {
			break
		}
		select {
		case <-pause.C:
		case <-deadline.C:
			return p.missing(id, host, limit)
		case <-ctx.Done():
			return FailNet(ctx, ctx.Err(), result.BlameQueue, "wait for "+id+" in the log of "+host.Name)
		}
	}
	said := p.said()
	w.Note(said)
	p.measure(w)
	switch {
	case p.bounced():
		return Fail(result.ReasonRefused, result.BlameTransfer, "%s was not delivered: %s", id, said)
	case len(a.Captured) == 3 && a.Text(1) != strconv.Itoa(p.last.Code) && a.Text(1) != p.last.Status:
		return Fail(result.ReasonUnexpected, result.BlameTransfer, "%s was not delivered with %s: %s", id, a.Text(1), said)
	}
	return nil
}

// missing returns the failure for a message that was not delivered in time.
func (p *passage) missing(id string, host *Host, limit time.Duration) error {
	switch {
	case p.last != nil:
		return Fail(result.ReasonDeferred, result.BlameTransfer, "%s was not delivered within %s: %s", id, limit, p.said())
	case p.met:
		return Fail(result.ReasonNotReceived, result.BlameQueue, "%s was not delivered within %s: the log of %q has lines of it, but none has the outcome", id, limit, host.Name)
	default:
		return Fail(result.ReasonNotReceived, result.BlameQueue, "the log of %q has no line of %s: is it the log of the server that accepted the message?", host.Name, id)
	}
}

// said describes the outcome of the message: "sent to mx.example.org[192.0.2.1]:25: 250 2.0.0 Ok; 0.120s before the
// queue, …".
func (p *passage) said() string {
	e := p.last
	text := string(e.Kind)
	if e.Relay != "" && e.Relay != "none" {
		text += " to " + oneLine(e.Relay, 100)
	}
	if e.Reply != "" {
		text += ": " + oneLine(e.Reply, 200)
	}
	if e.Delays != nil {
		text += "; " + delaysText(e.Delays)
	}
	return text
}

// delayStages are the parts of Postfix's delays= (postconf(5), delay_logging_resolution_limit), for labels and for
// people.
var delayStages = []struct{ label, text string }{
	{"before_queue", "before the queue"}, {"in_queue", "in the queue"}, {"connect", "connecting"}, {"transfer", "handing over"},
}

// delaysText describes the delays: "41.2s in the queue, 0.010s connecting".
func delaysText(delays []time.Duration) string {
	var parts []string
	for i, d := range delays[:min(len(delays), len(delayStages))] {
		if d > 0 {
			parts = append(parts, legTime(d)+" "+delayStages[i].text)
		}
	}
	if len(parts) == 0 {
		return "no delay"
	}
	return strings.Join(parts, ", ")
}

func (p *passage) measure(w *World) {
	if p.last == nil {
		return
	}
	for i, d := range p.last.Delays[:min(len(p.last.Delays), len(delayStages))] {
		w.Measure("mail_queue_delay_seconds", "Time that the message spent in each stage inside the server, from Postfix's log (delays=).", d.Seconds(),
			result.Label{Name: "stage", Value: delayStages[i].label})
	}
}

// takenBy returns the host that is the server "host:port", if has accepts it, or nil.
func takenBy(t *Target, server string, has func(*Host) bool) *Host {
	for _, name := range slices.Sorted(maps.Keys(t.Hosts)) {
		if h := t.Hosts[name]; has(h) && strings.HasPrefix(server, h.Address+":") {
			return h
		}
	}
	return nil
}

// hasLog and hasQueue report whether a host's log or queue can show the outcome of a message.
func hasLog(h *Host) bool   { return PartOf[*Log](h) != nil }
func hasQueue(h *Host) bool { q := PartOf[*Queue](h); return q != nil && !q.API }

// traces reports whether a message can be traced on a host.
func traces(h *Host) bool { return hasLog(h) || hasQueue(h) }

// queueDelays reports where in the accepting server a message with this queue id spent its time, if that server's log
// can be read; it reads the log from since on. It returns a part of the way's line, or nothing: a log that does not say
// is not a failure of the mail.
func queueDelays(ctx context.Context, w *World, server, id string, since time.Time) string {
	host := takenBy(w.target, server, hasLog)
	if host == nil || id == "" {
		return ""
	}
	log, err := logOf(w.target, host)
	if err != nil {
		return ""
	}
	p := newPassage(id)
	if err := log.Since(since).Read(ctx, p.take); err != nil {
		return "the log of " + host.Name + " cannot be read: " + oneLine(err.Error(), 150)
	}
	if p.last == nil || p.last.Delays == nil {
		return ""
	}
	p.measure(w)
	return fmt.Sprintf("according to the log of %s: %s", host.Name, delaysText(p.last.Delays))
}
