package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// fakeRunner takes as long as it is told and notes when it was called. With testing/synctest its sleeps cost nothing.
type fakeRunner struct {
	took      func(p *Plan) time.Duration
	tookRun   func(p *Plan, run int) time.Duration // instead of took, if not nil
	timeouts  func(p *Plan) bool
	fails     func(p *Plan, run int) bool
	addresses func(p *Plan) []string
	mu        sync.Mutex
	starts    map[string][]time.Time
	active    map[string]int
	most      int
	all       int
	errors    []string
}

func (f *fakeRunner) Abandoned() int { return 0 }

func (f *fakeRunner) Addresses(p *Plan) []string {
	if f.addresses == nil {
		return nil
	}
	return f.addresses(p)
}

func (f *fakeRunner) Start(ctx context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	go func() { done(f.run(ctx, p, o)) }()
}

func (f *fakeRunner) run(ctx context.Context, p *Plan, o Occasion) *result.Result {
	name := p.Identity.Scenario
	f.mu.Lock()
	if f.starts == nil {
		f.starts, f.active = make(map[string][]time.Time), make(map[string]int)
	}
	f.starts[name] = append(f.starts[name], time.Now())
	run := len(f.starts[name])
	f.all++
	f.most = max(f.most, f.all)
	if f.active[name]++; f.active[name] > 1 {
		f.errors = append(f.errors, name+" overlaps itself")
	}
	f.mu.Unlock()
	res := &result.Result{Identity: p.Identity, Due: o.Due, Started: time.Now(), Delay: time.Since(o.Due), Attempt: o.Attempt,
		Retries: p.Retries, Status: result.Passed, Steps: []result.StepResult{{Status: result.Passed, Ran: true}}}
	var took time.Duration
	if f.tookRun != nil {
		took = f.tookRun(p, run)
	} else {
		took = f.took(p)
	}
	times := f.timeouts != nil && f.timeouts(p)
	select {
	case <-time.After(took):
	case <-ctx.Done():
		res.Status, res.Reason, res.Blame = result.Failed, result.ReasonCanceled, result.BlameMonitor
	}
	if f.fails != nil && f.fails(p, run) {
		res.Status, res.Blame, res.Steps[0].Status = result.Failed, result.BlameWeb, result.Failed
	}
	if times && res.Reason == "" {
		res.Status, res.Reason, res.Blame, res.Interval, res.Steps[0].Status = result.Failed, result.ReasonTimeout, result.BlameWeb, o.Interval, result.Failed
	}
	res.Targets = f.Addresses(p)
	f.mu.Lock()
	f.all--
	f.active[name]--
	f.mu.Unlock()
	return res
}

func constant(d time.Duration) func(*Plan) time.Duration {
	return func(*Plan) time.Duration { return d }
}

func plans(n int, every time.Duration, retries int) []*Plan {
	all := make([]*Plan, n)
	for i := range all {
		s := scenario(fmt.Sprintf("scenario %d", i), "I pass")
		s.Policy.Every, s.Policy.Retries = every, retries
		all[i] = NewPlan(s, library(), Defaults{})
	}
	return all
}

type collectingSink struct {
	mu      sync.Mutex
	results []*result.Result
	alerts  []alert.Alert
	hold    chan struct{}
}

func (c *collectingSink) Export(r *result.Result) {
	if c.hold != nil {
		<-c.hold
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results = append(c.results, r)
}

func (c *collectingSink) Alert(a alert.Alert) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alerts = append(c.alerts, a)
}

// runFor runs the agent for d of the bubble's time and waits until it has stopped.
func runFor(a *Agent, d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	a.Run(ctx)
}

func TestEveryScenarioRunsOnceAnIntervalAtItsOwnOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(20 * time.Millisecond)}
		sink := &collectingSink{}
		a := &Agent{Runner: f, Plans: plans(1000, time.Minute, 0), Sinks: map[string]Sink{"test": sink}}
		started := time.Now()
		runFor(a, 10*time.Minute)
		if len(f.starts) != 1000 {
			t.Fatalf("%d scenarios ran, want 1000", len(f.starts))
		}
		perSecond := make(map[int]int)
		for name, starts := range f.starts {
			if len(starts) != 10 {
				t.Errorf("%s ran %d times in ten minutes", name, len(starts))
			}
			if first := starts[0].Sub(started); first > time.Minute {
				t.Errorf("%s ran first after %s", name, first)
			}
			perSecond[int(starts[0].Sub(started)/time.Second)]++
			for i := 1; i < len(starts); i++ {
				if gap := starts[i].Sub(starts[i-1]); gap != time.Minute {
					t.Errorf("%s ran after %s, want 1m", name, gap)
				}
			}
		}
		for second, n := range perSecond {
			if n > 40 { // 1000/60 on average; a Poisson spread stays below this with a probability beyond doubt
				t.Errorf("%d scenarios start in second %d", n, second)
			}
		}
		if len(sink.results) != 10000 {
			t.Errorf("the sink got %d results, want 10000", len(sink.results))
		}
		for _, s := range a.Stats().Scenarios {
			if s.Missed+s.Late > 0 {
				t.Errorf("%s: %d missed, %d late", s.Identity, s.Missed, s.Late)
			}
		}
	})
}

func TestLongRunIsNeverOverlappedAndItsMissesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(2500 * time.Millisecond)}
		a := &Agent{Runner: f, Plans: plans(1, time.Second, 0), Grace: time.Minute}
		runFor(a, 30*time.Second)
		s := a.Stats().Scenarios[0]
		starts := f.starts["scenario 0"]
		if len(f.errors) > 0 || len(starts)+int(s.Missed) != 30 || len(starts) != 10 {
			t.Errorf("%d runs, %d missed of 30 due, %v", len(starts), s.Missed, f.errors)
		}
	})
}

func TestWorkersAreBoundedAndWaitingIsCountedAsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(300 * time.Millisecond)}
		sink := &collectingSink{}
		a := &Agent{Runner: f, Plans: plans(20, time.Second, 0), Limits: Limits{Workers: 2}, Sinks: map[string]Sink{"test": sink}, Grace: time.Minute}
		runFor(a, 20*time.Second)
		var missed, late uint64
		for _, s := range a.Stats().Scenarios {
			missed += s.Missed
			late += s.Late
		}
		ran := 0
		for _, starts := range f.starts {
			ran += len(starts)
			if len(starts) == 0 {
				t.Error("a scenario never ran")
			}
		}
		if f.most != 2 {
			t.Errorf("%d runs at once, want 2", f.most)
		}
		// Two workers do 6.7 runs a second of 20 that are due.
		if ran < 130 || ran > 136 || missed == 0 || uint64(ran)+missed < 380 || late < 100 {
			t.Errorf("%d ran, %d missed, %d late", ran, missed, late)
		}
		for _, r := range sink.results {
			if !r.Stale && r.Delay != r.Started.Sub(r.Due) {
				t.Fatalf("delay %s, due to started %s", r.Delay, r.Started.Sub(r.Due))
			}
		}
	})
}

func TestFailureIsRepeatedQuicklyUntilItIsHard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(time.Millisecond), fails: func(_ *Plan, run int) bool { return run >= 2 && run <= 5 }}
		sink := &collectingSink{}
		a := &Agent{Runner: f, Plans: plans(1, time.Minute, 2), Sinks: map[string]Sink{"test": sink}}
		runFor(a, 5*time.Minute)
		var got []string
		for i, r := range sink.results {
			gap := time.Duration(0)
			if i > 0 {
				gap = r.Due.Sub(sink.results[i-1].Due).Round(10 * time.Millisecond)
			}
			got = append(got, fmt.Sprintf("%d %s +%s", r.Attempt, r.Status, gap))
		}
		want := []string{"1 passed +0s", "1 failed +1m0s", "2 failed +10s", "3 failed +10s", "4 failed +40s", "5 passed +1m0s", "1 passed +1m0s"}
		if !slices.Equal(got, want) {
			t.Errorf("runs: got %q, want %q", got, want)
		}
		var states []alert.State
		for _, al := range sink.alerts {
			states = append(states, al.State)
		}
		if want := []alert.State{alert.Soft, alert.Hard, alert.Resolved}; !slices.Equal(states, want) {
			t.Errorf("alerts: got %q, want %q", states, want)
		}
	})
}

func TestStoppingLetsRunsEndAndStopsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: func(p *Plan) time.Duration {
			if p.Identity.Scenario == "scenario 0" {
				return time.Hour
			}
			return 1500 * time.Millisecond
		}}
		sink := &collectingSink{}
		a := &Agent{Runner: f, Plans: plans(2, time.Second, 0), Sinks: map[string]Sink{"test": sink}, Grace: 3 * time.Second}
		start := time.Now()
		runFor(a, time.Second)
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("stopped after %s, want the second and the grace of three", took)
		}
		if len(sink.results) != 1 || sink.results[0].Identity.Scenario != "scenario 1" {
			t.Errorf("the sink got %d results, want the one that ended", len(sink.results))
		}
	})
}

func TestSlowSinkLosesResultsAndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(time.Millisecond)}
		slow, quick := &collectingSink{hold: make(chan struct{})}, &collectingSink{}
		a := &Agent{Runner: f, Plans: plans(200, time.Second, 0), Sinks: map[string]Sink{"slow": slow, "quick": quick}}
		go func() {
			time.Sleep(11 * time.Second)
			close(slow.hold)
		}()
		runFor(a, 10*time.Second-grid/2) // ends between two due times
		dropped := a.Stats().Dropped
		if len(quick.results) != 2000 || dropped["quick"] != 0 {
			t.Errorf("the quick sink got %d results, %d dropped", len(quick.results), dropped["quick"])
		}
		if len(slow.results)+int(dropped["slow"]) != 2000 || dropped["slow"] == 0 {
			t.Errorf("the slow sink got %d results, %d dropped, of 2000", len(slow.results), dropped["slow"])
		}
	})
}

// TestSlowSinkGetsTheLastResult holds that a sink which misses results does not keep an old state: the last result of each
// scenario, and the last alert, reach it.
func TestSlowSinkGetsTheLastResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		f := &fakeRunner{took: constant(time.Millisecond), fails: func(*Plan, int) bool { return time.Since(began) > 19*time.Second }}
		slow := &collectingSink{hold: make(chan struct{})}
		a := &Agent{Runner: f, Plans: plans(200, time.Second, 1), Sinks: map[string]Sink{"slow": slow}}
		go func() {
			time.Sleep(27 * time.Second) // within the grace after the end
			close(slow.hold)
		}()
		runFor(a, 25*time.Second-grid/2)
		last := make(map[string]*result.Result)
		for _, r := range slow.results {
			if before := last[r.Identity.Scenario]; before != nil && r.Due.Before(before.Due) {
				t.Errorf("%s: a result of %s after one of %s", r.Identity.Scenario, r.Due, before.Due)
			}
			last[r.Identity.Scenario] = r
		}
		hard := make(map[string]bool)
		for _, al := range slow.alerts {
			hard[al.Identity.Scenario] = al.State == alert.Hard
		}
		for _, p := range a.Plans {
			name := p.Identity.Scenario
			if r := last[name]; r == nil || r.State() != result.Critical || !hard[name] {
				t.Errorf("%s: the sink believes that it is OK, alert hard: %t", name, hard[name])
			}
		}
		if a.Stats().Dropped["slow"] == 0 {
			t.Error("nothing was dropped")
		}
	})
}

func TestManualScenariosAreNotScheduled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(0)}
		all := plans(2, time.Second, 0)
		all[0].Scenario.Policy.Manual = true
		runFor(&Agent{Runner: f, Plans: all}, 5*time.Second)
		if len(f.starts["scenario 0"]) != 0 || len(f.starts["scenario 1"]) != 5 {
			t.Errorf("runs: %d manual, %d scheduled", len(f.starts["scenario 0"]), len(f.starts["scenario 1"]))
		}
	})
}

var _ PlanRunner = (*Runner)(nil)
var _ steps.Secrets = password("")

// stuckSink takes nothing until it is released, like a disk that no longer answers.
type stuckSink chan struct{}

func (s stuckSink) Export(*result.Result) { <-s }

// TestStopDoesNotWaitForAStuckSink holds that an exporter that never returns delays the end of the agent by its Grace only, and
// that it is named.
func TestStopDoesNotWaitForAStuckSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		stuck, sound := make(stuckSink), &collectingSink{}
		a := &Agent{Runner: &fakeRunner{took: constant(time.Millisecond)}, Plans: plans(1, time.Second, 0), Grace: 3 * time.Second,
			Sinks: map[string]Sink{"evidence": stuck, "sound": sound}, Log: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		start := time.Now()
		a.Run(ctx)
		if took := time.Since(start); took != 8500*time.Millisecond {
			t.Errorf("the agent ended after %s, want 5.5s and the grace of 3s", took)
		}
		if said := log.String(); !strings.Contains(said, "exporter=evidence") || strings.Contains(said, "exporter=sound") {
			t.Errorf("the log says %q", said)
		}
		close(stuck)
	})
}

// stoppedRunner stands still in one Start, with the dispatcher that calls it, and so do the runs in progress then.
type stoppedRunner struct {
	*fakeRunner
	from time.Time
	stop time.Duration
	once sync.Once
}

func (s *stoppedRunner) Start(ctx context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	if !time.Now().Before(s.from) {
		s.once.Do(func() { time.Sleep(s.stop) })
	}
	s.fakeRunner.Start(ctx, p, o, done)
}

// TestStandstill holds that a stop of the program makes no scenario UNKNOWN: neither those that were due meanwhile, nor those
// that were running.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &stoppedRunner{from: time.Now().Add(time.Minute), stop: 10 * time.Minute}
		f.fakeRunner = &fakeRunner{took: func(p *Plan) time.Duration {
			if left := time.Until(f.from.Add(f.stop)); p.Identity.Scenario == "scenario 0" && left > 0 && left < f.stop+10*time.Second {
				return left + time.Second // in progress when the program stops
			}
			return 3 * time.Second
		}}
		var log bytes.Buffer
		sink := &collectingSink{}
		a := &Agent{Runner: f, Sinks: map[string]Sink{"test": sink}, Log: slog.New(slog.NewTextHandler(&log, nil))}
		for i := range 40 {
			a.Plans = append(a.Plans, watched(fmt.Sprintf("scenario %d", i), "Test", 20*time.Second, 20*time.Second, 0))
		}
		runFor(a, 15*time.Minute)
		for _, r := range sink.results {
			if r.Stale {
				t.Errorf("%s at %s: %s", r.Identity, r.Started, r.Error)
			}
		}
		if len(sink.alerts) > 0 {
			t.Errorf("got the alerts %v", sink.alerts)
		}
		if n := strings.Count(log.String(), "stepwatch stood still"); n != 1 {
			t.Errorf("the log says %d times that it stood still: %s", n, &log)
		}
		missed := uint64(0)
		for _, s := range a.Stats().Scenarios {
			missed += s.Missed
		}
		if missed < 40*20 {
			t.Errorf("%d runs are missed, want those of ten minutes", missed)
		}
	})
}
