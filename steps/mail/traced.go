package mail

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/mailqueue"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// traced is what the accepting server's log and queue say about a missing message.
type traced struct {
	blame result.Blame // empty when they do not show the leg
	said  string       // a part of the failure; may be set although blame is empty
	ask   string       // who has the message, or refuses it
}

// trace reads the log and the queue of the accepting server if hosts in stepwatch.yml has them. Only a missing message
// is worth that. It never fails: its text says what it could not read, in addition to the failure.
func (s *Submission) trace(ctx context.Context, w *steps.World) traced {
	id := s.Reply.QueueID()
	if id == "" || ctx.Err() != nil {
		return traced{}
	}
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	var problems []string
	p := mailhost.NewPassage(id)
	logged := mailhost.TakenBy(w.Target(), s.Server, mailhost.HasLog)
	if logged != nil {
		log, err := mailhost.OpenLog(w.Target(), logged)
		if err == nil {
			err = log.Since(s.Accepted.Add(-s.Took)).Read(ctx, p.Take)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("the log of %q cannot be read: %s", logged.Name, wording.OneLine(err.Error(), 150)))
		}
	}
	if queued := mailhost.TakenBy(w.Target(), s.Server, mailhost.HasQueue); queued != nil {
		// A filter that hands the message back to the same server gives it a new id, which the log shows.
		ids := slices.Sorted(maps.Keys(p.IDs))
		q, err := mailhost.ReadQueue(ctx, w, queued, ids...)
		for range triesLooked {
			if err != nil || !p.MayMove(q) || steps.Pause(ctx, tryTakes) != nil {
				break
			}
			q, err = mailhost.ReadQueue(ctx, w, queued, ids...)
		}
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("the queue of %q cannot be read: %s", queued.Name, wording.OneLine(err.Error(), 150)))
		case len(q.Sought) > 0:
			return s.inQueue(queued, q, p)
		case p.Last == nil:
			problems = append(problems, fmt.Sprintf("%s is not in the queue of %q", id, queued.Name))
		}
	}
	if p.Last == nil {
		return traced{said: strings.Join(problems, "; ")}
	}
	return s.inLog(logged, p)
}

// When no host accepts the message, an attempt usually ends within tryTakes; otherwise it lasts long.
const (
	tryTakes    = 150 * time.Millisecond
	triesLooked = 2
)

// inQueue returns the trace of a message that is still in the queue. If there is a log, it adds where the message spent
// its time.
func (s *Submission) inQueue(host *steps.Host, q *mailqueue.Queue, p *mailhost.Passage) traced {
	id := slices.Sorted(maps.Keys(q.Sought))[0]
	m := q.Sought[id]
	why := ""
	for _, r := range m.Recipients {
		if why == "" || strings.EqualFold(r.Address, s.To.Address) && r.Reason != "" {
			why = r.Reason
		}
	}
	if p.Last != nil && why == "" { // a message has no reason during an attempt
		why = p.Last.Reply
	}
	t := traced{blame: result.BlameQueue, ask: s.Server, said: fmt.Sprintf("it is still in the queue of %q as %s: %s", host.Name, id, m.Queue)}
	switch {
	case m.Queue == mailqueue.Hold, m.Queue == mailqueue.Frozen: // the reason is from an earlier attempt
	case why != "":
		t.said += ": " + wording.OneLine(why, 200)
		t.blame, t.ask = s.keptOff(why, "")
	}
	if p.Last != nil && p.Last.Delays != nil {
		t.said += "; " + mailhost.DelaysText(p.Last.Delays)
	}
	return t
}

// inLog returns the trace of a message that has left the queue, by the log.
func (s *Submission) inLog(host *steps.Host, p *mailhost.Passage) traced {
	e := p.Last
	t := traced{said: fmt.Sprintf("according to the log of %q it was %s", host.Name, p.Said())}
	relay, _, _ := strings.Cut(e.Relay, "[")
	switch {
	case p.Kept():
		t.blame, t.ask = result.BlameQueue, s.Server
	case !p.Delivered:
		t.blame, t.ask = s.keptOff(e.Reply, e.Status)
	case socketName.MatchString(e.Relay): // from the store on its own machine
		t.blame, t.ask = result.BlameDelivery, s.Server
	default:
		t.blame, t.ask = result.BlameTransfer, relay
	}
	if t.ask == "" {
		t.ask = s.Server
	}
	return t
}

// otherHost matches the text where Postfix names the host that did not accept a message: "connect to
// mx1.example.org[192.0.2.1]:25: Connection refused", "host mx1.example.org[192.0.2.1] said: 450 …", "lost connection
// with mx1.example.org[192.0.2.1] while …".
var otherHost = regex.Lazy(`(?:^| )(?:connect to|host|with) ([^\s\[\]]+)\[([^\]]*)\]`)

// saidStatus matches the enhanced status code (RFC 3463) in another server's answer.
var saidStatus = regex.Lazy(`(?:^| )([45]\.\d{1,3}\.\d{1,3}) `)

// keptOff returns the leg that prevented a server from handing the message on, for this reason and with this status,
// and whom to ask.
func (s *Submission) keptOff(why, status string) (result.Blame, string) {
	if m := saidStatus.FindStringSubmatch(why); m != nil {
		status = m[1] // the other server's answer is more exact than the outcome
	}
	ask := s.Server
	other := otherHost.FindStringSubmatch(why)
	remote := ""
	if other != nil && !strings.Contains(other[2], "/") { // a slash begins the path of a socket on the same machine
		ask, remote = other[1], other[1]
	}
	return (receivedReport{&message.Report{}, message.Recipient{Action: "delayed", Status: status, Remote: remote, Diagnostic: why}}).blame(), ask
}
