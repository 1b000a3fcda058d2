package steps

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/mailqueue"
)

// traced is what the log and the queue of the server that took a message say of one that is missing.
type traced struct {
	blame result.Blame // empty when they know nothing that names a leg
	said  string       // a part of the failure; it can say something where blame is empty
	ask   string       // who has the message, or keeps it off
}

// trace reads them where hosts in stepwatch.yml have that server, which only a message that is missing is worth. It never
// fails: what cannot be read is said, beside the failure that there is.
func (s *submission) trace(ctx context.Context, w *World) traced {
	id := s.reply.QueueID()
	if id == "" || ctx.Err() != nil {
		return traced{}
	}
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	var problems []string
	p := newPassage(id)
	logged := takenBy(w.target, s.server, hasLog)
	if logged != nil {
		log, err := logOf(w.target, logged)
		if err == nil {
			err = log.Since(s.accepted.Add(-s.took)).Read(ctx, p.take)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("the log of %q cannot be read: %s", logged.Name, oneLine(err.Error(), 150)))
		}
	}
	if queued := takenBy(w.target, s.server, hasQueue); queued != nil {
		// A filter that hands the message back to the same server has given it another id, which the log tells.
		ids := slices.Sorted(maps.Keys(p.ids))
		q, err := readHostQueue(ctx, w, queued, ids...)
		for range triesLooked {
			if err != nil || !p.mayMove(q) || pause(ctx, tryTakes) != nil {
				break
			}
			q, err = readHostQueue(ctx, w, queued, ids...)
		}
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("the queue of %q cannot be read: %s", queued.Name, oneLine(err.Error(), 150)))
		case len(q.Sought) > 0:
			return s.inQueue(queued, q, p)
		case p.last == nil:
			problems = append(problems, fmt.Sprintf("%s is not in the queue of %q", id, queued.Name))
		}
	}
	if p.last == nil {
		return traced{said: strings.Join(problems, "; ")}
	}
	return s.inLog(logged, p)
}

// Where nobody takes the message a try ends after tryTakes at the most, as a rule, and one that does not is under way for long.
const (
	tryTakes    = 150 * time.Millisecond
	triesLooked = 2
)

// mayMove says whether the queue may say something else in a moment: the server is handing the message on, and so does not say
// why it could not before, or has moved it from one queue to the other while they were listed.
func (p *passage) mayMove(q *mailqueue.Queue) bool {
	if p.delivered || p.bounced() {
		return false
	}
	for _, m := range q.Sought {
		if p.last != nil || m.Queue != mailqueue.Active || slices.ContainsFunc(m.Recipients, func(r mailqueue.Recipient) bool { return r.Reason != "" }) {
			return false
		}
	}
	return true
}

// inQueue is the trace of a message that is in the queue still. The log adds where it has spent its time, when there is one.
func (s *submission) inQueue(host *Host, q *mailqueue.Queue, p *passage) traced {
	id := slices.Sorted(maps.Keys(q.Sought))[0]
	m := q.Sought[id]
	why := ""
	for _, r := range m.Recipients {
		if why == "" || strings.EqualFold(r.Address, s.to.Address) && r.Reason != "" {
			why = r.Reason
		}
	}
	if p.last != nil && why == "" { // a message that is being tried again has none
		why = p.last.Reply
	}
	t := traced{blame: result.BlameQueue, ask: s.server, said: fmt.Sprintf("it is still in the queue of %q as %s: %s", host.Name, id, m.Queue)}
	switch {
	case m.Queue == mailqueue.Hold, m.Queue == mailqueue.Frozen: // the reason is of an earlier try
	case why != "":
		t.said += ": " + oneLine(why, 200)
		t.blame, t.ask = s.keptOff(why, "")
	}
	if p.last != nil && p.last.Delays != nil {
		t.said += "; " + delaysText(p.last.Delays)
	}
	return t
}

// inLog is the trace of a message of which the log has the last word.
func (s *submission) inLog(host *Host, p *passage) traced {
	e := p.last
	t := traced{said: fmt.Sprintf("by the log of %q it was %s", host.Name, p.said())}
	relay, _, _ := strings.Cut(e.Relay, "[")
	switch {
	case !p.delivered:
		t.blame, t.ask = s.keptOff(e.Reply, e.Status)
	case socketName.MatchString(e.Relay): // by the store on its own machine
		t.blame, t.ask = result.BlameDelivery, s.server
	default:
		t.blame, t.ask = result.BlameTransfer, relay
	}
	if t.ask == "" {
		t.ask = s.server
	}
	return t
}

// otherHost is where Postfix names the host that it could not hand a message to: "connect to mx1.example.org[192.0.2.1]:25: Connection
// refused", "host mx1.example.org[192.0.2.1] said: 450 …", "lost connection with mx1.example.org[192.0.2.1] while …".
var otherHost = regexp.MustCompile(`(?:^| )(?:connect to|host|with) ([^\s\[\]]+)\[([^\]]*)\]`)

// saidStatus is the enhanced status code (RFC 3463) in what another server said.
var saidStatus = regexp.MustCompile(`(?:^| )([45]\.\d{1,3}\.\d{1,3}) `)

// keptOff is whose it is that a server could not hand the message on, for this reason and with this status, and whom to ask.
func (s *submission) keptOff(why, status string) (result.Blame, string) {
	if m := saidStatus.FindStringSubmatch(why); m != nil {
		status = m[1] // what the other side said is more than what became of it
	}
	ask := s.server
	other := otherHost.FindStringSubmatch(why)
	remote := ""
	if other != nil && !strings.Contains(other[2], "/") { // behind a slash is a socket of the same machine
		ask, remote = other[1], other[1]
	}
	return (receivedReport{&bounceReport{}, reportRecipient{action: "delayed", status: status, remote: remote, diagnostic: why}}).blame(), ask
}
