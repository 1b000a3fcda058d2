package agent

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// watched is a scenario of the tests: its name says how it behaves.
func watched(name, feature string, every, timeout time.Duration, retries int) *Plan {
	s := scenario(name, "I pass")
	s.Feature = feature
	s.Policy.Every, s.Policy.Timeout, s.Policy.Retries = every, timeout, retries
	return NewPlan(s, library(), Defaults{})
}

// hangingRunner runs the scenarios called "hangs …" until their deadline, as long as hangs says so, and the others for a
// moment. Each connects to the address after "at" in its name.
func hangingRunner(hangs func(p *Plan) bool) *fakeRunner {
	isHanging := func(p *Plan) bool {
		return strings.HasPrefix(p.Identity.Scenario, "hangs") && (hangs == nil || hangs(p))
	}
	return &fakeRunner{
		took: func(p *Plan) time.Duration {
			if isHanging(p) {
				return p.Timeout
			}
			return 5 * time.Millisecond
		},
		timeouts: isHanging,
		addresses: func(p *Plan) []string {
			if _, address, found := strings.Cut(p.Identity.Scenario, " at "); found {
				return []string{address}
			}
			return nil
		},
	}
}

// byScenario returns the results of each scenario in their order.
func byScenario(sink *collectingSink) map[string][]*result.Result {
	all := make(map[string][]*result.Result)
	for _, r := range sink.results {
		all[r.Identity.Scenario] = append(all[r.Identity.Scenario], r)
	}
	return all
}

// TestHangingScenariosDelayNobody holds that healthy scenarios run on time beside any number of others that get no answer,
// wherever those connect to and whatever features they are in. Only the first seconds may differ, in which nothing is known
// about any of them.
func TestHangingScenariosDelayNobody(t *testing.T) {
	const hanging, healthy = 1000, 50
	for name, test := range map[string]struct {
		workers int
		address func(i int) string
		feature func(i int) string
		settle  time.Duration // until when healthy scenarios may be late
		from    time.Duration // when the others begin to hang
	}{
		"one address":                   {256, func(int) string { return "10.0.0.1:80" }, func(i int) string { return fmt.Sprint("Feature ", i) }, 0, 0},
		"one feature":                   {256, func(i int) string { return fmt.Sprintf("10.0.%d.%d:80", i/250, i%250) }, func(int) string { return "Hanging" }, 0, 0},
		"nothing in common":             {2048, func(i int) string { return fmt.Sprintf("10.0.%d.%d:80", i/250, i%250) }, func(i int) string { return fmt.Sprint("Feature ", i) }, 0, 0},
		"an outage":                     {2048, func(i int) string { return fmt.Sprintf("10.0.%d.%d:80", i/250, i%250) }, func(i int) string { return fmt.Sprint("Feature ", i) }, 0, 10 * time.Second},
		"nothing in common, few places": {256, func(i int) string { return fmt.Sprintf("10.0.%d.%d:80", i/250, i%250) }, func(i int) string { return fmt.Sprint("Feature ", i) }, 10 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var all []*Plan
				for i := range hanging {
					all = append(all, watched(fmt.Sprintf("hangs %d at %s", i, test.address(i)), test.feature(i), time.Second, time.Second, 0))
				}
				for i := range healthy {
					all = append(all, watched(fmt.Sprintf("healthy %d at 192.0.2.%d:80", i, i), "Healthy", time.Second, time.Second, 0))
				}
				sink := &collectingSink{}
				began := time.Now()
				f := hangingRunner(func(*Plan) bool { return time.Since(began) >= test.from })
				a := &Agent{Runner: f, Plans: all, Limits: Limits{Workers: test.workers}, Sinks: map[string]Sink{"test": sink}, Grace: time.Minute}
				runFor(a, 30*time.Second)
				for scenario, results := range byScenario(sink) {
					if !strings.HasPrefix(scenario, "healthy") {
						continue
					}
					ran := 0
					for _, r := range results {
						if r.Started.Sub(began) < test.settle {
							continue
						}
						ran++
						if r.State() != result.OK || r.Delay > 0 {
							t.Errorf("%s: %s after %s: %s", scenario, r.State(), r.Delay, r.Error)
						}
					}
					if wanted := int((30*time.Second - test.settle) / time.Second); ran < wanted-1 {
						t.Errorf("%s ran %d times, want %d", scenario, ran, wanted)
					}
				}
				if test.settle > 0 {
					return
				}
				for _, s := range a.Stats().Scenarios {
					if strings.HasPrefix(s.Identity.Scenario, "healthy") && s.Missed+s.Late > 0 {
						t.Errorf("%s: %d missed, %d late", s.Identity, s.Missed, s.Late)
					}
				}
			})
		})
	}
}

// TestPageThatHangsKeepsNobodyFromTheBrowser holds that scenarios in the browser wait for one that hangs only once, although
// they take turns.
func TestPageThatHangsKeepsNobodyFromTheBrowser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*Plan
		for i := range 10 {
			all = append(all, watched(fmt.Sprint("healthy ", i), "Web", time.Minute, time.Minute, 0), watched(fmt.Sprint("hangs ", i), "Web", time.Minute, 50*time.Second, 0))
		}
		for _, p := range all {
			p.Scenario.Policy.Browser = true
		}
		sink := &collectingSink{}
		began := time.Now()
		runFor(&Agent{Runner: hangingRunner(nil), Plans: all, Sinks: map[string]Sink{"test": sink}, Grace: time.Minute}, time.Hour)
		ran := 0
		for _, r := range sink.results {
			if strings.HasPrefix(r.Identity.Scenario, "hangs") || r.Started.Sub(began) < 10*time.Minute {
				continue // each hangs once in the place of the others
			}
			if ran++; r.State() != result.OK || r.Delay > 100*time.Millisecond {
				t.Errorf("%s: %s after %s: %s", r.Identity.Scenario, r.State(), r.Delay, r.Error)
			}
		}
		if ran < 10*49 {
			t.Errorf("%d runs in 50 minutes, want 500", ran)
		}
	})
}

// TestPlacesAtATarget holds how many runs are in progress at one address: four, or what the configuration or @parallel says.
func TestPlacesAtATarget(t *testing.T) {
	for name, test := range map[string]struct {
		limits   Limits
		parallel int // of half of the scenarios
		want     int
	}{
		"default":          {Limits{}, 0, 4},
		"configured":       {Limits{Parallel: 7}, 0, 7},
		"this address":     {Limits{Parallel: 7, At: map[string]int{"mail.example.org:993": 2}}, 0, 2},
		"another address":  {Limits{At: map[string]int{"mail.example.org:143": 2}}, 0, 4},
		"@parallel":        {Limits{}, 9, 9},
		"@parallel below":  {Limits{Parallel: 7}, 1, 7}, // the other half does not have the tag
		"few workers also": {Limits{Workers: 3, Parallel: 7}, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := hangingRunner(nil)
				f.took, f.timeouts = constant(50*time.Second), nil
				var all []*Plan
				for i := range 40 {
					p := watched(fmt.Sprintf("mail %d at mail.example.org:993", i), "Mail", time.Minute, time.Minute, 0)
					if i%2 == 0 {
						p.Scenario.Policy.Parallel = test.parallel
					}
					all = append(all, p)
				}
				runFor(&Agent{Runner: f, Plans: all, Limits: test.limits, Grace: time.Minute}, 2*time.Minute)
				if f.most != test.want {
					t.Errorf("%d runs at once, want %d", f.most, test.want)
				}
			})
		})
	}
}

// TestTargetsAreLearned holds that the addresses of a scenario are those that its last run connected to.
func TestTargetsAreLearned(t *testing.T) {
	gates := func(names ...string) (all []*gate) {
		for _, name := range names {
			all = append(all, &gate{name: name})
		}
		return all
	}
	for name, test := range map[string]struct {
		before []*gate
		status result.Status
		run    []string
		want   []string
	}{
		"a passed run knows all":       {gates("mail.example.org"), result.Passed, []string{"mail.example.org:587", "mail.example.org:993"}, []string{"mail.example.org:587", "mail.example.org:993"}},
		"a failed one came not so far": {gates("a:1", "b:1"), result.Failed, []string{"a:1"}, []string{"a:1", "b:1"}},
		"in a browser nothing is seen": {gates("a:1"), result.Passed, nil, []string{"a:1"}},
		"eight at most":                {gates("a", "b", "c", "d", "e", "f", "g", "h"), result.Failed, []string{"i"}, []string{"i", "a", "b", "c", "d", "e", "f", "g"}},
	} {
		if got := learned(test.before, &result.Result{Status: test.status, Targets: test.run}); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
	// A target that no scenario connects to any more is forgotten: redirects may lead anywhere.
	p := watched("wanders", "Web", time.Minute, time.Minute, 0)
	e := &entry{plan: p}
	a := newAdmission(Limits{Workers: 8}, []*entry{e})
	for i := range 1000 {
		a.connects(e, []string{fmt.Sprintf("www%d.example.org:443", i), "www.example.org:443"})
	}
	if len(a.targets) != 2 {
		t.Errorf("%d targets are remembered, want 2", len(a.targets))
	}
}

// TestBackoff holds the times between runs in the course of an outage.
func TestBackoff(t *testing.T) {
	for _, test := range []struct {
		interval time.Duration
		retries  int
		want     string
	}{
		{time.Second, 0, "0s 0s 2s 4s 8s 16s 32s 1m0s 1m0s"},
		{time.Second, 4, "0s 0s 0s 0s 0s 2s 4s 8s 16s"}, // the failure is hard with the fifth
		{7 * time.Second, 0, "0s 0s 14s 28s 56s 56s 56s 56s 56s"},
		{20 * time.Second, 0, "0s 0s 40s 1m0s 1m0s 1m0s 1m0s 1m0s 1m0s"},
		{31 * time.Second, 0, "0s 0s 0s 0s 0s 0s 0s 0s 0s"}, // twice of it is more than a minute
		{time.Hour, 0, "0s 0s 0s 0s 0s 0s 0s 0s 0s"},
	} {
		var got []string
		for timeouts := range 9 {
			got = append(got, backoff(test.interval, timeouts+1, test.retries+1).String())
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("every %s, %d retries: got %s, want %s", test.interval, test.retries, got, test.want)
		}
	}
	if got := backoff(time.Nanosecond, 1<<40, 1); got != time.Minute {
		t.Errorf("after very many timeouts: %s", got)
	}
}

// TestTargetThatHangs holds that a target is asked less often while it does not answer, that its state stays true, and that
// the first answer gives all its scenarios their schedules back.
func TestTargetThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		outage := 10 * time.Minute
		f := hangingRunner(func(*Plan) bool { return time.Since(began) < outage })
		sink := &collectingSink{}
		all := []*Plan{
			watched("hangs 1 at www.example.org:443", "Web", time.Second, 1100*time.Millisecond, 0),
			watched("hangs 2 at www.example.org:443", "Web", time.Second, 1100*time.Millisecond, 0),
			watched("healthy at www.example.org:443", "Web", time.Second, time.Second, 0),
		}
		a := &Agent{Runner: f, Plans: all, Sinks: map[string]Sink{"test": sink}, Grace: time.Minute}
		runFor(a, outage+2*time.Minute)
		results := byScenario(sink)
		var recovered []time.Time
		for _, name := range []string{"hangs 1 at www.example.org:443", "hangs 2 at www.example.org:443"} {
			var gaps []string
			var last time.Time
			for _, r := range results[name] {
				if r.State() == result.OK {
					recovered = append(recovered, r.Started)
					break
				}
				if r.Stale || r.State() != result.Critical {
					t.Errorf("%s: %s %s", name, r.State(), r.Error)
				}
				if !last.IsZero() && len(gaps) < 8 {
					gaps = append(gaps, r.Due.Sub(last).String())
				}
				last = r.Due
			}
			// Each run takes more than a second, so the next due time is missed.
			if want := []string{"2s", "2s", "2s", "4s", "8s", "16s", "32s", "1m0s"}; !slices.Equal(gaps, want) {
				t.Errorf("%s: times between runs: got %q, want %q", name, gaps, want)
			}
			sixth := results[name][5]
			if want := " (asked every 16s instead of 1s after 6 timeouts)"; !strings.HasSuffix(sixth.Summary(), want) || sixth.Backoff != 16*time.Second {
				t.Errorf("%s: the sixth result says %q, want %q at its end", name, sixth.Summary(), want)
			}
			after := 0
			for _, r := range results[name] {
				if r.State() == result.OK {
					after++
				}
			}
			if after < 60 {
				t.Errorf("%s: %d runs since it answers again", name, after)
			}
		}
		for _, at := range recovered {
			if late := at.Sub(began.Add(outage)); late > time.Minute {
				t.Errorf("the recovery was noticed after %s, want at most a minute", late)
			}
		}
		if apart := recovered[0].Sub(recovered[1]).Abs(); apart > 2*time.Second {
			t.Errorf("the second scenario of the target ran %s after the first one had an answer", apart)
		}
		if n := len(results["healthy at www.example.org:443"]); n < 719 {
			t.Errorf("a scenario that gets its answers from the same target ran %d times, want 720", n)
		}
		var states []string
		for _, al := range sink.alerts {
			states = append(states, string(al.State)+" "+al.Severity.String())
		}
		if want := []string{"hard CRITICAL", "hard CRITICAL", "resolved OK", "resolved OK"}; !slices.Equal(states, want) {
			t.Errorf("alerts: got %q, want %q", states, want)
		}
	})
}

// TestStaleAtOnce holds that a scenario whose due run cannot start or end in time is UNKNOWN at once, for sinks and rules, with
// the true reason, and that no run is invented for it.
func TestStaleAtOnce(t *testing.T) {
	minute, hour := time.Minute, time.Hour
	plan := func(name, feature string, retries int) *Plan {
		return watched(name, feature, minute, 10*time.Second, retries)
	}
	browser := func(p *Plan) *Plan { p.Scenario.Policy.Browser = true; return p }
	for name, test := range map[string]struct {
		limits Limits
		plans  []*Plan
		hour   func(p *Plan, run int) bool // which runs take an hour
		stale  string                      // scenario that gets no result
		blame  result.Blame
		want   string
	}{
		"target": {Limits{Parallel: 1}, []*Plan{plan("first at a:1", "A", 0), plan("second at a:1", "B", 0)},
			func(p *Plan, run int) bool { return run > 2 && p.Identity.Scenario == "first at a:1" }, "second at a:1", result.BlameTarget,
			"no result for 1m10s: it waits for the only place for runs at a:1, taken by others that get no answer there"},
		"workers": {Limits{Workers: 1}, []*Plan{plan("first", "A", 0), plan("second", "A", 0)},
			func(p *Plan, run int) bool { return run > 2 && p.Identity.Scenario == "first" }, "second", result.BlameMonitor,
			"no result for 1m10s: it waits for the only place of all runs, taken by others: raise workers in stepwatch.yml"},
		"feature": {Limits{Workers: 2}, []*Plan{plan("first", "A", 0), plan("second", "A", 0), plan("third", "B", 0)},
			func(p *Plan, run int) bool { return run > 2 && p.Identity.Scenario == "first" }, "second", result.BlameMonitor,
			"no result for 1m10s: it waits for the only place for runs of its feature, half of all, taken by others: raise workers in stepwatch.yml"},
		"browser": {Limits{}, []*Plan{browser(plan("first", "A", 0)), browser(plan("second", "A", 0))},
			func(p *Plan, run int) bool { return run > 2 && p.Identity.Scenario == "first" }, "second", result.BlameMonitor,
			"no result for 1m10s: it waits for the only place in the browser, taken by others: run fewer scenarios in it or less often, or raise browser.tabs in stepwatch.yml"},
		"its own run": {Limits{}, []*Plan{plan("first", "A", 0)},
			func(p *Plan, run int) bool { return run > 2 }, "first", result.BlameMonitor,
			"no result for 1m10s: the run that began 1m10s ago has not ended, although its deadline is 10s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := hangingRunner(nil)
				f.tookRun = func(p *Plan, run int) time.Duration {
					if test.hour(p, run) {
						return hour
					}
					return time.Millisecond
				}
				sink := &collectingSink{}
				a := &Agent{Runner: f, Plans: test.plans, Limits: test.limits, Sinks: map[string]Sink{"test": sink},
					Grace: 2 * time.Hour}
				runFor(a, 30*time.Minute)
				var told []*result.Result
				for _, r := range byScenario(sink)[test.stale] {
					if r.Stale {
						told = append(told, r)
					}
				}
				if len(told) != 1 {
					t.Fatalf("%d statements that there is no result, want one", len(told))
				}
				r := told[0]
				if r.Error != test.want || r.Summary() != test.want || r.Blame != test.blame || r.State() != result.Unknown || r.Reason != result.ReasonNotRun {
					t.Errorf("got %s %s (blame %s)\n%s\nwant\n%s", r.State(), r.Reason, r.Blame, r.Error, test.want)
				}
				if r.Started.Sub(r.Due) != minute+10*time.Second || r.Run != "" || r.Delay+r.Duration+r.Prepare != 0 || r.Steps[0].Ran {
					t.Errorf("after %s: %+v", r.Started.Sub(r.Due), r)
				}
				found := false
				for _, al := range sink.alerts {
					found = found || al.Identity.Scenario == test.stale && al.State == alert.Hard && al.Severity == result.Unknown
				}
				if !found {
					t.Errorf("no alert about it: %v", sink.alerts)
				}
			})
		})
	}
}

// TestStaleAfterALateStart holds that a run which began late is not accused of having missed its own deadline.
func TestStaleAfterALateStart(t *testing.T) {
	now := time.Now()
	e := &entry{plan: watched("late", "A", time.Minute, 10*time.Second, 0), start: now.Add(-70 * time.Second), began: now.Add(-3 * time.Second),
		blocked: &gate{kind: gateTarget, name: "a:1", limit: 4}}
	const want = "no result for 1m10s: its run waited 1m7s for one of the 4 places for runs at a:1, and is in progress for 3s"
	if r := overdueResult(e, now); r.Error != want || r.Blame != result.BlameMonitor {
		t.Errorf("got %s (blame %s), want %s", r.Error, r.Blame, want)
	}
}

// stoppingRunner keeps the dispatcher for five minutes when it starts its first run, as a machine that stands still.
type stoppingRunner struct {
	*fakeRunner
	once sync.Once
}

func (s *stoppingRunner) Start(ctx context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	s.once.Do(func() { time.Sleep(5 * time.Minute) })
	s.fakeRunner.Start(ctx, p, o, done)
}

// TestStaleAfterAStandstill holds that no scenario is UNKNOWN because stepwatch itself came to its run too late: it runs now.
func TestStaleAfterAStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := hangingRunner(nil)
		f.tookRun = func(*Plan, int) time.Duration { return time.Second }
		var plans []*Plan
		for _, name := range []string{"one at a:1", "two at a:1", "three at a:1"} {
			plans = append(plans, watched(name, "A", time.Minute, 10*time.Second, 0))
		}
		sink := &collectingSink{}
		a := &Agent{Runner: &stoppingRunner{fakeRunner: f}, Plans: plans, Limits: Limits{Parallel: 1}, Sinks: map[string]Sink{"test": sink}}
		runFor(a, 10*time.Minute)
		ran := make(map[string]int)
		for _, r := range sink.results {
			ran[r.Identity.Scenario]++
			if r.Stale {
				t.Errorf("%s: got %s (blame %s)", r.Identity.Scenario, r.Error, r.Blame)
			}
		}
		for _, p := range plans {
			if n := ran[p.Identity.Scenario]; n < 5 || n > 6 {
				t.Errorf("%s ran %d times in the five minutes after the standstill", p.Identity.Scenario, n)
			}
		}
	})
}

// TestStaleUsesUpTheRetries holds that the alert of a scenario without results becomes hard after as many attempts as that of
// one that fails, and that its first result ends it.
func TestStaleUsesUpTheRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := hangingRunner(nil)
		f.tookRun = func(_ *Plan, run int) time.Duration {
			if run == 3 {
				return 10 * time.Minute
			}
			return time.Millisecond
		}
		sink := &collectingSink{}
		a := &Agent{Runner: f, Plans: []*Plan{watched("late", "A", time.Minute, 10*time.Second, 2)}, Sinks: map[string]Sink{"test": sink},
			Grace: time.Hour}
		runFor(a, 20*time.Minute)
		var got []string
		for _, al := range sink.alerts {
			got = append(got, string(al.State)+" "+al.Severity.String())
		}
		if want := []string{"soft UNKNOWN", "hard UNKNOWN", "resolved OK"}; !slices.Equal(got, want) {
			t.Errorf("alerts: got %q, want %q", got, want)
		}
		stale := 0
		for _, r := range sink.results {
			if r.Stale {
				if stale++; r.Attempt != stale {
					t.Errorf("statement %d is attempt %d", stale, r.Attempt)
				}
			}
		}
		if stale != 3 {
			t.Errorf("%d statements, want 3", stale)
		}
	})
}

func TestCapacity(t *testing.T) {
	for _, test := range []struct {
		files, bytes uint64
		want         int
	}{{0, 0, 2048}, {1 << 20, 1 << 40, 2048}, {1024, 8 << 30, 240}, {100, 8 << 30, 16}, {10, 1 << 30, 16}, {1 << 20, 1 << 30, 1024}, {1 << 20, 64 << 20, 64}} {
		if got := capacityFor(test.files, test.bytes); got != test.want {
			t.Errorf("%d descriptors and %d bytes: %d workers, want %d", test.files, test.bytes, got, test.want)
		}
	}
	if got := capacity(); got < workersMin || got > workersMax {
		t.Errorf("this machine: %d workers", got)
	}
}

// TestAdmissionLosesNobody holds, for random scenarios and orders, that no gate ever has more runs than places, that everybody
// gets in, and that nothing is left behind.
func TestAdmissionLosesNobody(t *testing.T) {
	for seed := range uint64(80) {
		random := rand.New(rand.NewPCG(seed, 13))
		entries := make([]*entry, 1+random.IntN(60))
		for i := range entries {
			p := watched(fmt.Sprint("scenario ", i), fmt.Sprint("Feature ", random.IntN(3)), time.Minute, time.Minute, 0)
			p.Scenario.Policy.Browser = random.IntN(4) == 0
			if random.IntN(4) == 0 {
				p.Scenario.Policy.Parallel = 1 + random.IntN(6)
			}
			entries[i] = &entry{plan: p, standing: standing(random.IntN(3)), start: time.Unix(int64(random.IntN(10)), 0)}
		}
		a := newAdmission(Limits{Workers: 1 + random.IntN(20), Parallel: 1 + random.IntN(3)}, entries)
		for _, e := range entries {
			var to []string
			for target := range 4 {
				if random.IntN(2) == 0 {
					to = append(to, fmt.Sprint("host:", target))
				}
			}
			a.connects(e, to)
		}
		var running []*entry
		ran := 0
		check := func() {
			for _, g := range append(slices.Collect(maps.Values(a.targets)), a.all, a.unproven, a.hung, a.browser, a.hungTab) {
				most := g.limit
				if g.kind == gateTarget && g.mixed {
					most = max(most, 6)
				}
				if g.used > most || g.used < 0 {
					t.Fatalf("seed %d: %d runs at %d places", seed, g.used, g.limit)
				}
			}
		}
		start := func(e *entry) { running = append(running, e); ran++ }
		for _, e := range entries {
			if a.ask(e) {
				start(e)
			}
			check()
		}
		for len(running) > 0 {
			i := random.IntN(len(running))
			e := running[i]
			running = slices.Delete(running, i, i+1)
			a.leave(e, start)
			check()
		}
		if ran != len(entries) || a.all.used != 0 || a.waiting.Load() != 0 {
			t.Fatalf("seed %d: %d of %d ran, %d hold a place, %d wait", seed, ran, len(entries), a.all.used, a.waiting.Load())
		}
		for _, e := range entries {
			a.connects(e, nil)
		}
		if len(a.targets) != 0 {
			t.Fatalf("seed %d: %d targets are left", seed, len(a.targets))
		}
	}
}
