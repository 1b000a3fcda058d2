package mailhost

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/maillog"
	"github.com/stepwatch/stepwatch/steps/mailqueue"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Passage is what a log says about one message.
type Passage struct {
	IDs       map[string]bool // of the message
	seen      map[string]bool // of all messages
	Last      *maillog.Event  // with the outcome
	Delivered bool
	met       bool

	// A filter that gives a message back by sendmail(1) or under its own id says nothing of the new id: the Message-ID
	// leads there.
	messages map[string]bool     // Message-IDs of the message
	queued   map[string][]string // ids of all messages, by Message-ID
	handed   bool                // the message was given to a filter
}

// NewPassage follows the message that a server accepted under this queue id.
func NewPassage(id string) *Passage {
	return &Passage{IDs: map[string]bool{id: true}, seen: make(map[string]bool), messages: make(map[string]bool), queued: make(map[string][]string)}
}

// seenMax limits the remembered ids of other messages.
const seenMax = 100_000

// Take takes the next event of the log.
func (p *Passage) Take(e maillog.Event) {
	if e.QueueID == "" {
		return
	}
	if len(p.seen) < seenMax {
		p.seen[e.QueueID] = true
	}
	if e.MessageID != "" && len(p.queued) < seenMax {
		p.queued[e.MessageID] = append(p.queued[e.MessageID], e.QueueID)
		if p.handed && p.messages[e.MessageID] {
			p.IDs[e.QueueID] = true
		}
	}
	if !p.IDs[e.QueueID] {
		return
	}
	p.met = true
	if e.MessageID != "" {
		p.messages[e.MessageID] = true
	}
	switch e.Kind {
	case maillog.KindSent:
		p.Last = &e
		// A filter hands the message back to the server, under a new id that is logged before the filter's answer.
		p.Delivered = !p.seen[e.NextID] || p.IDs[e.NextID]
		if !p.Delivered {
			p.IDs[e.NextID] = true
		}
	case maillog.KindHandedOver:
		p.Last, p.Delivered, p.handed = &e, false, true
		if e.NextID != "" {
			p.IDs[e.NextID] = true
		}
		for message := range p.messages {
			for _, id := range p.queued[message] {
				p.IDs[id] = true
			}
		}
	case maillog.KindSkipped: // not an attempt: what came of the last one still holds
		if p.Last == nil {
			p.Last = &e
		}
	case maillog.KindDeferred, maillog.KindBounced, maillog.KindExpired, maillog.KindDiscarded:
		p.Last, p.Delivered = &e, false
	}
}

// Bounced reports whether the server has given the message up, or thrown it away.
func (p *Passage) Bounced() bool {
	return p.Last != nil && (p.Last.Kind == maillog.KindBounced || p.Last.Kind == maillog.KindExpired || p.Last.Kind == maillog.KindDiscarded)
}

// Kept reports whether a filter of the server has the message and did not give it back, or the server threw it away.
func (p *Passage) Kept() bool {
	return p.Last != nil && (p.Last.Kind == maillog.KindHandedOver || p.Last.Kind == maillog.KindDiscarded)
}

// MayMove reports whether the queue may soon change: the server is handing the message on and so does not report its
// earlier reason, or it moved the message from one queue to another during the listing.
func (p *Passage) MayMove(q *mailqueue.Queue) bool {
	if p.Delivered || p.Bounced() {
		return false
	}
	for _, m := range q.Sought {
		if p.Last != nil || m.Queue != mailqueue.Active || slices.ContainsFunc(m.Recipients, func(r mailqueue.Recipient) bool { return r.Reason != "" }) {
			return false
		}
	}
	return true
}

// Missing returns the failure for a message that was not delivered in time.
func (p *Passage) Missing(id string, host *steps.Host, limit time.Duration) error {
	switch {
	case p.Last != nil:
		return steps.Fail(result.ReasonDeferred, result.BlameTransfer, "%s was not delivered within %s: %s", id, limit, p.Said())
	case p.met:
		return steps.Fail(result.ReasonNotReceived, result.BlameQueue, "%s was not delivered within %s: the log of %q has lines of it, but none has the outcome", id, limit, host.Name)
	default:
		return steps.Fail(result.ReasonNotReceived, result.BlameQueue, "the log of %q has no line of %s: is it the log of the server that accepted the message?", host.Name, id)
	}
}

// Said describes the outcome of the message: "sent to mx.example.org[192.0.2.1]:25: 250 2.0.0 Ok; 0.120s before the
// queue, …".
func (p *Passage) Said() string {
	e := p.Last
	text := string(e.Kind)
	switch e.Kind {
	case maillog.KindHandedOver:
		text = "handed over"
	case maillog.KindSkipped:
		text = "not tried"
	}
	if e.Relay != "" && e.Relay != "none" {
		by := " to "
		if e.Kind == maillog.KindDiscarded {
			by = " by "
		}
		text += by + wording.OneLine(e.Relay, 100)
	}
	if e.Reply != "" {
		text += ": " + wording.OneLine(e.Reply, 200)
	}
	if e.Delays != nil {
		text += "; " + DelaysText(e.Delays)
	}
	return text
}

// delayStages are the parts of Postfix's delays= (postconf(5), delay_logging_resolution_limit), for labels and for
// people.
var delayStages = []struct{ label, text string }{
	{"before_queue", "before the queue"}, {"in_queue", "in the queue"}, {"connect", "connecting"}, {"transfer", "handing over"},
}

// DelaysText describes the delays: "41.2s in the queue, 0.010s connecting".
func DelaysText(delays []time.Duration) string {
	var parts []string
	for i, d := range delays[:min(len(delays), len(delayStages))] {
		if d > 0 {
			parts = append(parts, wording.Delay(d)+" "+delayStages[i].text)
		}
	}
	if len(parts) == 0 {
		return "no delay"
	}
	return strings.Join(parts, ", ")
}

// Measure measures where in the server the message spent its time.
func (p *Passage) Measure(w *steps.World) {
	if p.Last == nil {
		return
	}
	for i, d := range p.Last.Delays[:min(len(p.Last.Delays), len(delayStages))] {
		w.Measure("mail_queue_delay_seconds", "Time that the message spent in each stage inside the server, from Postfix's log (delays=).", d.Seconds(),
			result.Label{Name: "stage", Value: delayStages[i].label})
	}
}

// QueueDelays reports where in the accepting server a message with this queue id spent its time, if that server's log
// can be read; it reads the log from since on. It returns a part of the way's line, or nothing: a log that does not say
// is not a failure of the mail.
func QueueDelays(ctx context.Context, w *steps.World, server, id string, since time.Time) string {
	host := TakenBy(w.Target(), server, HasLog)
	if host == nil || id == "" {
		return ""
	}
	log, err := OpenLog(w.Target(), host)
	if err != nil {
		return ""
	}
	p := NewPassage(id)
	if err := log.Since(since).Read(ctx, p.Take); err != nil {
		return "the log of " + host.Name + " cannot be read: " + wording.OneLine(err.Error(), 150)
	}
	if p.Last == nil || p.Last.Delays == nil {
		return ""
	}
	p.Measure(w)
	return fmt.Sprintf("according to the log of %s: %s", host.Name, DelaysText(p.Last.Delays))
}

// AuthFault returns what the log of a server, or of another server with the same address, says since then of an
// authentication service or account lookup that fails, or an empty string: "according to the log of mx1, dovecot's
// account lookup passwd-file: open(/etc/dovecot/users) failed: Permission denied".
func AuthFault(ctx context.Context, w *steps.World, server string, since time.Time) string {
	for _, name := range slices.Sorted(maps.Keys(w.Target().Hosts)) {
		host := w.Target().Hosts[name]
		if !HasLog(host) || !strings.HasPrefix(server, host.Address+":") {
			continue
		}
		log, err := OpenLog(w.Target(), host)
		if err != nil {
			continue
		}
		var fault maillog.Event
		_ = log.Since(since).Read(ctx, func(e maillog.Event) { // a log that cannot be read leaves the doubt
			if e.Time.Before(since.Add(-time.Second)) {
				return
			}
			if e.Kind == maillog.KindAuthDown || e.Kind == maillog.KindLoginUnjudged && fault.Kind == "" {
				fault = e
			}
		})
		if fault.Kind != "" {
			return fmt.Sprintf("according to the log of %s, %s: %s", host.Name, fault.Service, wording.OneLine(fault.Reply, 200))
		}
	}
	return ""
}
