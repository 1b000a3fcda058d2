package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// A probe is a run that somebody else schedules, such as Prometheus. It needs the places of every other run, so probes take
// nothing that scheduled runs need. Its result goes to whoever asked, and to no rule, state and sink.

// probe is what an entry that is one has in addition.
type probe struct {
	run   context.Context //nolint:containedctx // of the run
	stage atomic.Int32    // probeWaits, and then one of the others
	done  chan *result.Result
}

const (
	probeWaits int32 = iota
	probeBegun
	probeGone // nobody waits for it any more
)

// ErrProbe is why a probe did not run. It says nothing about the target.
var ErrProbe = errors.New("the probe did not run")

// Probe runs a plan once, as soon as there is a place for it, and returns the result. The plan has no schedule, and no two
// probes of it are at the same time. ctx has a deadline, at which the run is over; if ctx is canceled before, the run is stopped.
// An error wraps ErrProbe: there was no place in time, or the agent stops.
func (a *Agent) Probe(ctx context.Context, p *Plan) (*result.Result, error) {
	a.init()
	select {
	case <-a.started:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: the agent has not started yet", ErrProbe)
	}
	d := a.dispatch.Load()
	deadline, limited := ctx.Deadline()
	if !limited {
		return nil, fmt.Errorf("%w: it has no deadline", ErrProbe)
	}
	timed, release := context.WithDeadlineCause(d.runs, deadline, errDeadline)
	defer release()
	run, stop := context.WithCancelCause(timed)
	defer stop(nil)
	one := &probe{run: run, done: make(chan *result.Result, 1)}
	e := &entry{plan: p, attempt: 1, probe: one}
	addresses := a.roster.Load().load.Runner.Addresses(p)
	d.do(func() {
		e.start, e.asked, e.busy = time.Now(), time.Now(), true
		a.admission.connects(e, addresses)
		if a.admission.ask(e) {
			d.start(e)
		}
	})
	select {
	case res := <-one.done:
		return res, nil
	case <-d.runs.Done():
	case <-ctx.Done():
	}
	if one.stage.CompareAndSwap(probeWaits, probeGone) {
		return nil, fmt.Errorf("%w: %s", ErrProbe, d.withdraw(e))
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		stop(steps.ErrStopped)
	}
	return <-one.done, nil // every run ends
}

// do runs work in the dispatcher's goroutine soon, unless the agent stops.
func (d *dispatcher) do(work func()) {
	d.mu.Lock()
	d.work = append(d.work, work)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // it wakes up anyway
	}
}

// withdraw takes an entry that waits for a place out of the line, and says what it waited for.
func (d *dispatcher) withdraw(e *entry) string {
	said := make(chan string, 1)
	d.do(func() {
		g := e.blocked
		if g == nil {
			said <- "it had no time left"
			return
		}
		why, _ := g.taken(time.Now())
		said <- fmt.Sprintf("it waited for %s, %s", g.place(e), why)
		d.agent.admission.withdraw(e)
		d.agent.admission.connects(e, nil)
	})
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case text := <-said:
		return text
	case <-timer.C:
		return "the agent stops, or its machine has no time for it"
	}
}

// startProbe runs an entry that is a probe and has its places.
func (d *dispatcher) startProbe(e *entry) {
	e.began, e.load = time.Now(), d.agent.load
	e.load.inProgress++
	d.agent.running.Add(1)
	if !e.probe.stage.CompareAndSwap(probeWaits, probeBegun) {
		go d.report(completion{entry: e, load: e.load, result: new(result.Result)}, 0) // the places are given back in the next turn
		return
	}
	began, load := e.began, e.load
	load.Runner.Start(e.probe.run, e.plan, Occasion{Attempt: 1}, func(res *result.Result) {
		if res.Cleanup != "" {
			d.agent.Log.Warn("clean-up incomplete", "scenario", res.Identity.String(), "left", res.Cleanup)
		}
		e.probe.done <- res
		ended := time.Now()
		d.report(completion{e, load, res, ended, ended.Sub(began)}, 0)
	})
}

// endProbe gives back the places of a probe.
func (d *dispatcher) endProbe(e *entry) {
	d.agent.admission.leave(e, d.start)
	d.agent.admission.connects(e, nil)
	e.load.left()
}
