package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
)

// probedPlan returns a plan without a schedule.
func probedPlan(name string) *Plan {
	return &Plan{Identity: result.Identity{Feature: "Probed", Scenario: name}, Timeout: time.Minute,
		Scenario: &features.Scenario{Feature: "Probed", Name: name, Label: name, Policy: features.Policy{Manual: true}}}
}

// TestProbes holds that probes take their places among all runs, that one without a place says so and leaves nothing, and that
// their results reach nobody but who asked.
func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runner := &fakeRunner{took: func(p *Plan) time.Duration {
			if strings.HasPrefix(p.Identity.Scenario, "long") {
				return 30 * time.Second
			}
			return time.Second
		}}
		sink := &collectingSink{}
		a := &Agent{Runner: runner, Limits: Limits{Workers: 2}, Sinks: map[string]Sink{"sink": sink}}
		within := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		if _, err := a.Probe(within(time.Second), probedPlan("a")); !errors.Is(err, ErrProbe) || !strings.Contains(err.Error(), "has not started") {
			t.Errorf("before the start: %v", err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { a.Run(ctx) })
		synctest.Wait()
		if _, err := a.Probe(ctx, probedPlan("a")); !errors.Is(err, ErrProbe) {
			t.Errorf("without a deadline: %v", err)
		}
		res, err := a.Probe(within(10*time.Second), probedPlan("a"))
		if err != nil || res.Status != result.Passed || res.Identity.Scenario != "a" {
			t.Errorf("alone: %+v, %v", res, err)
		}
		for i := range 2 {
			running.Go(func() {
				if res, err := a.Probe(within(time.Minute), probedPlan(fmt.Sprint("long ", i))); err != nil || res.Status != result.Passed {
					t.Errorf("a long one: %+v, %v", res, err)
				}
			})
		}
		time.Sleep(time.Second)
		if s := a.Stats(); s.Running != 2 {
			t.Errorf("%d runs are in progress, want 2", s.Running)
		}
		if _, err := a.Probe(within(5*time.Second), probedPlan("a")); !errors.Is(err, ErrProbe) || !strings.Contains(err.Error(), "it waited for one of the 2 places of all runs") {
			t.Errorf("without a place: %v", err)
		}
		synctest.Wait()
		if s := a.Stats(); s.Waiting != 0 || s.Running != 2 {
			t.Errorf("%d wait and %d are in progress after one gave up, want 0 and 2", s.Waiting, s.Running)
		}
		if res, err := a.Probe(within(40*time.Second), probedPlan("a")); err != nil || res.Status != result.Passed {
			t.Errorf("with time to wait: %+v, %v", res, err)
		}
		gone, leave := context.WithCancel(within(time.Minute))
		time.AfterFunc(3*time.Second, leave)
		if res, err := a.Probe(gone, probedPlan("long a")); err != nil || res.Reason != result.ReasonCanceled {
			t.Errorf("whoever asked is gone: %+v, %v", res, err)
		}
		synctest.Wait()
		if s := a.Stats(); s.Waiting != 0 || s.Running != 0 {
			t.Errorf("at the end %d wait and %d are in progress", s.Waiting, s.Running)
		}
		for range 3 { // every place was given back
			if res, err := a.Probe(within(5*time.Second), probedPlan("a")); err != nil || res.Status != result.Passed {
				t.Errorf("afterwards: %+v, %v", res, err)
			}
		}
		stop()
		running.Wait()
		if _, err := a.Probe(within(time.Second), probedPlan("a")); !errors.Is(err, ErrProbe) {
			t.Errorf("after the end: %v", err)
		}
		if n := len(sink.results); n > 0 {
			t.Errorf("%d results of probes reached a sink", n)
		}
	})
}
