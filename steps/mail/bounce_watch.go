package mail

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/message"
)

const (
	// returnAfter is how long a step waits for a message before it opens the sender's mailbox to look for a bounce.
	// Most messages arrive earlier and cost no second login.
	returnAfter = time.Second

	// returnGap is the pause between two looks into the sender's mailbox.
	returnGap = 500 * time.Millisecond

	// explainLimit is the time limit of the last look for a bounce of a missing message.
	explainLimit = 2 * time.Second
)

// returnWatch looks for a bounce in the sender's mailbox while a step waits for the message in another mailbox: a
// bounced message will not arrive. It works beside the step, so it has a World of its own, whose report is discarded.
// It removes the bounces that it found when the run ends.
type returnWatch struct {
	s    *Submission
	w    *steps.World
	stop context.CancelFunc
	done chan struct{} // closed when the watch has ended

	box      *mailbox // owned by the goroutine until done
	examined map[imapclient.UID]bool
	seen     sighting // of the second look

	mu    sync.Mutex
	found error           // the bounce, as a Failure
	late  *receivedReport // a delay notice
}

// watchReturn begins to watch for a bounce of s, until ctx is done or end is called. Without access to the sender's
// mailbox it watches nothing.
func (m *Session) watchReturn(ctx context.Context, w *steps.World, s *Submission) *returnWatch {
	ctx, stop := context.WithCancel(ctx)
	r := &returnWatch{s: s, w: w.Beside(), stop: stop, done: make(chan struct{}), examined: make(map[imapclient.UID]bool)}
	reader := readerOf(w.Target(), s.from)
	if reader == nil {
		close(r.done)
		return r
	}
	r.box = steps.State[Session](r.w).mailbox(r.w, reader, 0)
	r.box.bounces = true
	w.Cleanup("remove the bounce from the mailbox of "+reader.Name, r.w.Close)
	go func() {
		defer close(r.done)
		for gap := returnAfter; r.bounced() == nil && steps.Pause(ctx, gap) == nil; gap = returnGap {
			if r.look(ctx) != nil {
				return // the message may still arrive
			}
		}
	}()
	return r
}

// bounced returns the bounce found so far, as a Failure with the bounce's own reason and leg, or nil.
func (r *returnWatch) bounced() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found
}

// end stops the watch and records the outcome in the message.
func (r *returnWatch) end() {
	r.stop()
	<-r.done
	r.s.returned = r.s.returned || r.found != nil
}

// look opens the sender's mailbox if it is not open, and looks for reports about the message. The first look covers the
// last days, because the mailbox was opened after the message was sent.
func (r *returnWatch) look(ctx context.Context) error {
	box := r.box
	if !box.alive() {
		box.close()
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
	r.take(reports)
	return err
}

// again looks in a second way, on a new connection and in all folders.
func (r *returnWatch) again(ctx context.Context) error {
	r.seen = r.box.reportsAgain(ctx, func(report *message.Report) (ours, enough bool) {
		ours = r.judge(report)
		return ours, ours && r.found != nil
	})
	return r.seen.err
}

// take records what these reports say about the message.
func (r *returnWatch) take(reports map[imapclient.UID]*message.Report) {
	for _, uid := range slices.Sorted(maps.Keys(reports)) {
		if r.judge(reports[uid]) {
			r.box.reports = append(r.box.reports, uid)
		}
	}
}

// judge records what a report says about the message, and reports whether it is about it.
func (r *returnWatch) judge(report *message.Report) bool {
	if aboutOurs(report, r.w.Run(), []*Submission{r.s}) == 0 {
		return false
	}
	for _, to := range report.Recipients {
		got := receivedReport{report, to}
		r.mu.Lock()
		switch to.Action {
		case "failed":
			r.found = got.failure(r.s)
		case "delayed":
			r.late = &got
		}
		r.mu.Unlock()
	}
	return true
}

// failure returns the failure for a bounced message, with the bounce's own reason and leg.
func (r receivedReport) failure(s *Submission) error {
	return steps.Fail(result.ReasonNotReceived, r.blame(), "the message to %s came back to %s: %s; %s had accepted it%s",
		s.To.Address, s.from.Address, r.Reason(r.to), s.Server, s.queued())
}

// sweepReturned removes the bounce of a message that a server accepted for an address without a mailbox that stepwatch
// reads, and bounces of earlier runs. A server that does not refuse such mail bounces it, usually at once; a bounce that
// comes after lastLook is left to the next run that tries the same.
func (m *Session) sweepReturned(ctx context.Context, w *steps.World, s *Submission) error {
	reader := readerOf(w.Target(), s.from)
	if s.returned || reader == nil { // a step has received the bounce and removes it, or the failure named the mailbox
		return nil
	}
	box := &mailbox{w: w, mail: m, account: reader, host: reader.IMAP, port: address.PortIMAPS}
	defer box.close()
	ctx, cancel := context.WithTimeout(ctx, reopenLimit+lastLook)
	defer cancel()
	err := box.open(ctx)
	for err == nil && !s.returned {
		var reports map[imapclient.UID]*message.Report
		reports, err = box.reportsAnywhere(ctx)
		for _, report := range reports {
			s.returned = s.returned || aboutOurs(report, w.Run(), []*Submission{s}) != 0
		}
		if time.Since(s.Accepted) > lastLook || !s.returned && steps.Pause(ctx, returnGap/2) != nil {
			break
		}
	}
	if err == nil {
		err = box.sweepReports(ctx)
	}
	if err != nil {
		return fmt.Errorf("a bounce of the message to %s may stay in the mailbox of %s until a later run removes it: %w", s.To.Address, reader.Name, err)
	}
	box.logout(ctx)
	return nil
}

// bounceMayCome names the mailbox to which a bounce of an accepted message may come, for a failure.
func (s *Submission) bounceMayCome(t *steps.Target) string {
	if readerOf(t, s.from) == nil {
		return ": a bounce of it may come to " + s.from.Address + ", whose mailbox no account reads over IMAP, so it stays there"
	}
	return ": a bounce of it may come to " + s.from.Address + ", where this run removes it, or the next one that tries the same"
}
