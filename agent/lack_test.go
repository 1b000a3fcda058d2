package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// TestLackDecides checks that what the machine lacked decides, whatever a step made of the error: a failure of its
// target, a mistake of the scenario, or an error of its own.
func TestLackDecides(t *testing.T) {
	few := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
	full := &fs.PathError{Op: "mkdir", Path: "/tmp/x", Err: syscall.ENOSPC}
	l := library(
		does(`I blame the target`, func(context.Context, *steps.World, steps.Args) error {
			return steps.Fail(result.ReasonConnect, result.BlameWeb, "connect: %w", few)
		}),
		does(`I blame the scenario`, func(context.Context, *steps.World, steps.Args) error {
			return steps.Fail(result.ReasonConfig, result.BlameScenario, "write: %w", full)
		}),
		does(`I am own code`, func(ctx context.Context, _ *steps.World, _ steps.Args) error {
			return steps.AsFailure(ctx, fmt.Errorf("own: %w", few))
		}),
		does(`I return the error`, func(context.Context, *steps.World, steps.Args) error { return few }),
		does(`I was stopped`, func(context.Context, *steps.World, steps.Args) error {
			return steps.Fail(result.ReasonCanceled, result.BlameMonitor, "%w", errors.Join(steps.ErrStopped, few))
		}),
	)
	l = define(t, l, []string{"I do it all", "I pass", "I blame the target"})
	for text, want := range map[string]string{
		"I blame the target": "descriptors", "I blame the scenario": "disk", "I am own code": "descriptors", "I return the error": "descriptors",
		"I do it all": "descriptors", "I was stopped": "",
	} {
		r := run(t, &Runner{}, scenario("One", text), l)
		if want == "" {
			if r.Lack != nil || r.Reason != result.ReasonCanceled {
				t.Errorf("%s: %s", text, outline(r))
			}
			continue
		}
		if r.State() != result.Unknown || r.Reason != result.ReasonLack || r.Blame != result.BlameMonitor || r.Lack == nil || r.Lack.Kind != want ||
			strings.Count(r.Error, r.Lack.Remedy) != 1 || strings.Count(r.Error, r.Lack.Said) != 1 {
			t.Errorf("%s: want a lack of %s, got %+v\n%s", text, want, r.Lack, outline(r))
		}
	}
}

// TestLackIsNoAttempt checks that a run that proved nothing uses up no retry, and that a long interval is not waited
// for.
func TestLackIsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(time.Millisecond)}
		sink := &collectingSink{}
		p := plans(1, time.Hour, 1)
		a := &Agent{Runner: lackingRunner{f, 3}, Plans: p, Sinks: map[string]Sink{"test": sink}, Rules: alert.Builtin.Sources()}
		runFor(a, 2*time.Hour)
		starts := f.starts[p[0].Identity.Scenario]
		if len(starts) < 4 || starts[3].Sub(starts[0]) > 4*lackRetry {
			t.Errorf("it ran at %v", starts)
		}
		for _, r := range sink.results {
			if r.Attempt != 1 {
				t.Errorf("attempt %d after a lack", r.Attempt)
			}
		}
		if len(sink.alerts) != 2 || sink.alerts[0].State != alert.Hard || sink.alerts[1].State != alert.Resolved {
			t.Errorf("alerts: %+v", sink.alerts)
		}
	})
}

// lackingRunner lacks something in its first runs.
type lackingRunner struct {
	*fakeRunner
	times int
}

func (l lackingRunner) Start(ctx context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	l.fakeRunner.Start(ctx, p, o, func(r *result.Result) {
		if len(l.starts[p.Identity.Scenario]) <= l.times {
			r.Status, r.Blame, r.Reason, r.Steps[0].Status = result.Failed, result.BlameMonitor, result.ReasonLack, result.Failed
			r.Lack = &result.Lack{Kind: "ports", Said: "none", Remedy: "get some"}
		}
		done(r)
	})
}

// TestLackingAtTheEnd has a part of stepwatch report lacks while the agent stops, as a sink does that empties its
// queue.
func TestLackingAtTheEnd(t *testing.T) {
	sink := &collectingSink{}
	a := &Agent{Runner: &fakeRunner{took: constant(time.Millisecond)}, Sinks: map[string]Sink{"test": sink}, Rules: alert.Builtin.Sources()}
	var reports sync.WaitGroup
	reports.Go(func() {
		for i := range 2000 {
			own := &result.Lack{Kind: "disk"}
			if i%2 == 1 {
				own = nil
			}
			a.Lacking("evidence", own)
		}
	})
	runFor(a, 5*time.Millisecond)
	reports.Wait()
}

// TestClockJump checks which failures depend on the clock. The clocks of a bubble never jump, so the start is moved.
func TestClockJump(t *testing.T) {
	for shift, want := range map[time.Duration]bool{0: false, time.Second: false, time.Hour: true, -time.Hour: true} {
		rec := &recorder{started: time.Now()}
		if got := rec.clockAt(result.ReasonCertExpired, rec.started.Round(0).Add(shift+time.Minute), time.Minute) != nil; got != want {
			t.Errorf("the clock jumped by %s: %t, want %t", shift, got, want)
		}
		if rec.clockAt(result.ReasonHTTPStatus, rec.started.Round(0).Add(shift), 0) != nil {
			t.Error("a status depends on the clock")
		}
	}
}
