package steps

import (
	"context"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/stepwatch/stepwatch/agent/result"
)

const (
	// returnAfter is how long a message is awaited before the sender's mailbox is opened to see whether it came back. Most
	// messages are there by then, and cost no second login.
	returnAfter = time.Second

	// returnGap is the pause between two looks into it.
	returnGap = 500 * time.Millisecond

	// explainLimit is what the last look for a bounce may take once a message is missing.
	explainLimit = 2 * time.Second
)

// returnWatch looks for a bounce in the sender's mailbox while the message is awaited in another: what came back will not come.
// It works beside the step, so it has a World of its own, whose report nobody reads, and removes the bounces that it found when
// the run ends.
type returnWatch struct {
	s    *submission
	w    *World
	stop context.CancelFunc
	done chan struct{} // closed when it looks no more

	box      *mailbox // the goroutine's until done
	examined map[imap.UID]bool

	mu    sync.Mutex
	found error           // the bounce, as a Failure
	late  *receivedReport // a notice of a delay
}

// watchReturn begins to watch for a bounce of s, for as long as ctx lasts or until end. Without access to the sender's mailbox
// it watches nothing.
func (m *mail) watchReturn(ctx context.Context, w *World, s *submission) *returnWatch {
	ctx, stop := context.WithCancel(ctx)
	r := &returnWatch{s: s, w: w.beside(), stop: stop, done: make(chan struct{}), examined: make(map[imap.UID]bool)}
	reader := readerOf(w.target, s.from)
	if reader == nil {
		close(r.done)
		return r
	}
	r.box = State[mail](r.w).mailbox(r.w, reader, 0)
	r.box.bounces = true
	w.Cleanup("remove the bounce from the mailbox of "+reader.Name, r.w.Close)
	go func() {
		defer close(r.done)
		for gap := returnAfter; r.bounced() == nil && pause(ctx, gap) == nil; gap = returnGap {
			if r.look(ctx) != nil {
				return // the message may come all the same
			}
		}
	}()
	return r
}

// bounced gives what is known by now: a Failure with the bounce's own reason and leg, or nil.
func (r *returnWatch) bounced() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found
}

// end ends the watch and notes on the message what became of it.
func (r *returnWatch) end() {
	r.stop()
	<-r.done
	r.s.returned = r.s.returned || r.found != nil
}

// look opens the sender's mailbox, unless it is open, and looks for reports on the message: the first time among all of the
// last days, as the mailbox was opened after the message was sent.
func (r *returnWatch) look(ctx context.Context) error {
	box := r.box
	if box.client != nil && !box.alive() {
		box.close()
	}
	if box.client == nil {
		if err := box.open(ctx); err != nil {
			return err
		}
		uids, err := box.searchReports(ctx, r.w.Run())
		if err != nil {
			return err
		}
		for _, uid := range uids {
			box.foreign[uid] = true
		}
		clear(r.examined)
	} else if err := box.look(ctx); err != nil {
		return err
	}
	reports, err := box.newReports(ctx, r.examined)
	for uid, report := range reports {
		if report.about(r.w.Run(), []*submission{r.s}) == 0 {
			continue
		}
		box.reports = append(box.reports, uid)
		for _, to := range report.recipients {
			got := receivedReport{report, to}
			r.mu.Lock()
			switch to.action {
			case "failed":
				r.found = got.failure(r.s)
			case "delayed":
				r.late = &got
			}
			r.mu.Unlock()
		}
	}
	return err
}

// failure is that a message came back, with the bounce's own reason and leg.
func (r receivedReport) failure(s *submission) error {
	return Fail(result.ReasonNotReceived, r.blame(), "the message to %s came back to %s: %s; %s had accepted it%s",
		s.to.Address, s.from.Address, r.reason(r.to), s.server, s.queued())
}
