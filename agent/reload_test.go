package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
)

// reloads applies sets to a running agent, and notes what changed.
func reloads(t *testing.T, a *Agent, l Loaded) Changes {
	t.Helper()
	changes, err := a.Reload(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// running starts the agent and returns how to stop it.
func running(a *Agent) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := begin(func() { a.Run(ctx) })
	return func() {
		cancel()
		<-ended
	}
}

// pick returns the plans of some of n scenarios, newly compiled.
func pick(n int, every time.Duration, wanted func(i int) bool) []*Plan {
	var some []*Plan
	for i, p := range plans(n, every, 0) {
		if wanted(i) {
			some = append(some, p)
		}
	}
	return some
}

// TestReloadLosesAndDoublesNoRun adds and removes scenarios again and again while hundreds of others run, and counts the runs of
// those that stay: one in each interval, whatever slots they come into.
func TestReloadLosesAndDoublesNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const staying, all, every, minutes = 150, 300, 10 * time.Second, 15
		f := &fakeRunner{took: constant(2 * time.Second)} // so that runs are in progress at each reload
		a := &Agent{Runner: f, Plans: pick(all, every, func(i int) bool { return i < staying }), Limits: Limits{Workers: 2000}}
		stop := running(a)
		random := rand.New(rand.NewPCG(1, 2))
		begun, reloaded := time.Now(), 0
		for time.Since(begun) < minutes*time.Minute {
			time.Sleep(time.Duration(random.IntN(7000)) * time.Millisecond)
			most := staying + random.IntN(all-staying)
			changes := reloads(t, a, Loaded{Runner: f, Plans: pick(all, every, func(i int) bool { return i < most }), Limits: Limits{Workers: 2000}})
			if changes.Unchanged < staying || changes.Changed != 0 || changes.Unchanged+changes.Added != most {
				t.Fatalf("with %d scenarios: %+v", most, changes)
			}
			reloaded++
		}
		took := time.Since(begun)
		stats := a.Stats()
		stop()
		if len(f.errors) > 0 {
			t.Error(f.errors)
		}
		for _, s := range stats.Scenarios {
			if s.Missed > 0 || s.Late > 0 {
				t.Errorf("%s: %d missed, %d late", s.Identity.Scenario, s.Missed, s.Late)
			}
		}
		for i := range staying {
			starts := f.starts[fmt.Sprintf("scenario %d", i)]
			if want := float64(took) / float64(every); float64(len(starts)) < want-1.5 || float64(len(starts)) > want+1.5 {
				t.Errorf("scenario %d ran %d times, want %.1f", i, len(starts), want)
			}
			for j := 1; j < len(starts); j++ {
				if gap := starts[j].Sub(starts[j-1]); gap < every-time.Second || gap > every+time.Second {
					t.Errorf("scenario %d: %s between two runs", i, gap)
				}
			}
		}
		t.Logf("%d reloads", reloaded)
	})
}

// TestReloadKeepsSlots holds that after reloads the due times are those of an agent that begins with the same scenarios.
func TestReloadKeepsSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(time.Millisecond)}
		a := &Agent{Runner: f, Plans: plans(1000, time.Second, 0)}
		stop := running(a)
		time.Sleep(2500 * time.Millisecond)
		for _, n := range []int{1001, 900, 1500, 1200} {
			reloads(t, a, Loaded{Runner: f, Plans: plans(n, time.Second, 0)})
			time.Sleep(3 * time.Second)
		}
		stop()
		fresh := a.prepare(Loaded{Runner: f, Plans: plans(1200, time.Second, 0)})
		for _, e := range fresh.entries {
			starts := f.starts[e.plan.Identity.Scenario]
			if last := starts[len(starts)-1]; last.UnixNano()%int64(time.Second) != int64(e.offset) {
				t.Errorf("%s ran at %s, want an offset of %s", e.plan.Identity.Scenario, last.Format("05.000"), e.offset)
			}
		}
	})
}

// TestReloadKeepsWhatTheAgentKnows holds that counters and the number of the attempt go on, that a change of the text is a
// change of the plan alone, and that a removed scenario's alert ends with words.
func TestReloadKeepsWhatTheAgentKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &fakeRunner{took: constant(90 * time.Second), fails: func(p *Plan, _ int) bool { return true }} // each second run is missed
		sink := &forgettingSink{}
		a := &Agent{Runner: f, Plans: plans(2, time.Minute, 1), Sinks: map[string]Sink{"test": sink},
			Log: slog.New(slog.NewTextHandler(&log, nil))}
		stop := running(a)
		time.Sleep(10 * time.Minute)
		before := a.Stats().Scenarios[0]
		changed := plans(2, time.Minute, 1)
		changed[0].Identity.Line, changed[0].Scenario.Line = 99, 99 // somebody wrote lines above it
		changed[1].Scenario.Steps[0].Text = "I pass otherwise"
		if got := reloads(t, a, Loaded{Runner: f, Plans: changed}); got != (Changes{Changed: 1, Unchanged: 1}) {
			t.Errorf("got %+v", got)
		}
		if after := a.Stats().Scenarios[0]; after.Missed < before.Missed || before.Missed == 0 || after.Identity.Line != 99 {
			t.Errorf("got %+v after %+v", after, before)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		sink.mu.Lock()
		for _, al := range sink.alerts {
			if al.State == alert.Resolved {
				t.Errorf("the reload resolved %+v", al)
			}
		}
		first := true
		for _, r := range sink.results {
			if !r.Stale && r.Identity.Scenario == "scenario 1" && r.Attempt == 1 {
				if !first {
					t.Error("the attempts begin again")
				}
				first = false
			}
		}
		sink.mu.Unlock()
		if got := reloads(t, a, Loaded{Runner: f, Plans: changed[:1]}); got != (Changes{Unchanged: 1, Removed: 1}) {
			t.Errorf("got %+v", got)
		}
		time.Sleep(5 * time.Minute)
		if n := len(a.Stats().Scenarios); n != 1 {
			t.Errorf("%d scenarios", n)
		}
		stop()
		last := sink.last["scenario 1"]
		if len(last) == 0 || last[len(last)-1] != "forget" || !slices.ContainsFunc(last, func(s string) bool { return strings.HasPrefix(s, "resolved: the scenario was removed") }) {
			t.Errorf("the sink got %q", last)
		}
		if slices.Contains(sink.last["scenario 0"], "forget") {
			t.Error("a scenario that stays is forgotten")
		}
		if !strings.Contains(log.String(), "alert resolved") {
			t.Error("the log does not say that the alert is resolved")
		}
	})
}

// forgettingSink notes what it gets in order, by the scenario.
type forgettingSink struct {
	collectingSink
	last map[string][]string
}

func (s *forgettingSink) note(id result.Identity, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = make(map[string][]string)
	}
	s.last[id.Scenario] = append(s.last[id.Scenario], what)
}

func (s *forgettingSink) Export(r *result.Result) {
	s.collectingSink.Export(r)
	s.note(r.Identity, "result")
}

func (s *forgettingSink) Alert(a alert.Alert) {
	s.collectingSink.Alert(a)
	s.note(a.Identity, string(a.State)+": "+a.Summary)
}

func (s *forgettingSink) Forget(id result.Identity) { s.note(id, "forget") }

// ownRunner is the runner of one loaded set.
type ownRunner struct {
	*fakeRunner
	name string
	mu   *sync.Mutex
	runs *[]string
}

func (o ownRunner) Start(ctx context.Context, p *Plan, occasion Occasion, done func(*result.Result)) {
	o.mu.Lock()
	*o.runs = append(*o.runs, o.name)
	o.mu.Unlock()
	o.fakeRunner.Start(ctx, p, occasion, done)
}

// TestRunInProgressEndsUnderItsSet holds that a run keeps what it began with, also when its scenario changes or is removed, that
// Ended is called after the last of them, and that a scenario that comes back meanwhile does not overlap itself.
func TestRunInProgressEndsUnderItsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(30 * time.Second)}
		var mu sync.Mutex
		var runs []string
		var ended atomic.Int64
		set := func(name string, plans []*Plan) Loaded {
			return Loaded{Runner: ownRunner{f, name, &mu, &runs}, Plans: plans, Ended: func() {
				if name == "first" {
					ended.Store(time.Now().UnixNano())
				}
			}}
		}
		every := func() []*Plan { return plans(2, 5*time.Minute, 0) }
		first := set("first", every())
		sink := &forgettingSink{}
		a := &Agent{Runner: first.Runner, Plans: first.Plans, Ended: first.Ended, Sinks: map[string]Sink{"test": sink}}
		stop := running(a)
		for {
			time.Sleep(time.Second)
			synctest.Wait()
			if a.Stats().Running > 0 {
				break
			}
		}
		inProgress := f.startedNow()
		begun := time.Now()
		other := every()
		other = slices.DeleteFunc(other, func(p *Plan) bool { return p.Identity.Scenario == inProgress })
		if got := reloads(t, a, set("second", other)); got != (Changes{Unchanged: 1, Removed: 1}) {
			t.Errorf("got %+v", got)
		}
		if ended.Load() != 0 {
			t.Error("the first set ended with a run in progress")
		}
		time.Sleep(10 * time.Second)
		if got := reloads(t, a, set("third", every())); got != (Changes{Unchanged: 1, Added: 1}) {
			t.Errorf("got %+v", got)
		}
		time.Sleep(15 * time.Minute)
		if len(f.errors) > 0 {
			t.Error(f.errors)
		}
		mu.Lock()
		if runs[0] != "first" || slices.Contains(runs[1:], "first") || slices.Contains(runs, "second") || len(runs) < 5 {
			t.Errorf("the runs were of %q", runs)
		}
		mu.Unlock()
		if after := time.Unix(0, ended.Load()).Sub(begun); after > 30*time.Second || after < 0 {
			t.Errorf("the first set ended %s after the reload", after)
		}
		stop()
		if got := sink.last[inProgress]; slices.Contains(got, "forget") {
			t.Errorf("a scenario that came back is forgotten: %q", got)
		}
	})
}

// startedNow returns a scenario with a run in progress.
func (f *fakeRunner) startedNow() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range f.active {
		if n > 0 {
			return name
		}
	}
	return ""
}

// ran returns how many runs of a scenario have begun.
func (f *fakeRunner) ran(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.starts[name])
}

// TestReloadWhileRunsWait changes the limits and the scenarios while most runs wait for a place.
func TestReloadWhileRunsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(20 * time.Second), addresses: func(p *Plan) []string { return []string{"one:80", p.Identity.Scenario} }}
		a := &Agent{Runner: f, Plans: plans(40, time.Minute, 0), Limits: Limits{Workers: 40, Parallel: 1}}
		stop := running(a)
		time.Sleep(2 * time.Minute)
		if a.Stats().Waiting == 0 {
			t.Fatal("nothing waits")
		}
		for i := range 20 {
			some := plans(20+i, time.Minute, 0)
			for _, p := range some[10:] {
				p.Scenario.Steps[0].Text = fmt.Sprint("I pass ", i)
			}
			reloads(t, a, Loaded{Runner: f, Plans: some, Limits: Limits{Workers: 40, Parallel: 1}})
			time.Sleep(7 * time.Second)
		}
		f.mu.Lock()
		if f.most > 1 {
			t.Errorf("%d runs at once at an address for one", f.most)
		}
		f.mu.Unlock()
		reloads(t, a, Loaded{Runner: f, Plans: plans(40, time.Minute, 0), Limits: Limits{Workers: 40, Parallel: 40}})
		synctest.Wait()
		if n := a.Stats().Waiting; n != 0 {
			t.Errorf("%d wait although there is room for all", n)
		}
		time.Sleep(2 * time.Minute)
		missed := a.Stats().Scenarios
		time.Sleep(5 * time.Minute)
		for i, s := range a.Stats().Scenarios {
			if s.Missed != missed[i].Missed {
				t.Errorf("%s: %d missed", s.Identity.Scenario, s.Missed-missed[i].Missed)
			}
		}
		reloads(t, a, Loaded{Runner: f, Plans: plans(1, time.Minute, 0)})
		time.Sleep(time.Minute)
		stop()
		if n := len(a.admission.targets); n != 2 {
			t.Errorf("%d addresses are known, want those of one scenario", n)
		}
	})
}

// shownBy returns the page of metrics.
func shownBy(page *exporters.Prometheus) string {
	w := httptest.NewRecorder()
	page.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// TestReloadResetsNoSeries counts runs on the page of metrics over reloads.
func TestReloadResetsNoSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(time.Millisecond)}
		a := &Agent{Runner: f, Plans: plans(3, time.Second, 0), Sinks: make(map[string]Sink)}
		page := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{Stats: a.Stats})
		a.Sinks["prometheus"] = page
		stop := running(a)
		for i := range 30 {
			time.Sleep(10 * time.Second)
			some := plans(3, time.Second, 0)
			some[1].Scenario.Steps[0].Text = fmt.Sprint("I pass ", i)
			reloads(t, a, Loaded{Runner: f, Plans: some})
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		text := shownBy(page)
		for i := range 3 {
			name := fmt.Sprintf("scenario %d", i)
			f.mu.Lock()
			want := fmt.Sprintf("stepwatch_scenario_runs_total{feature=%q,scenario=%q,status=\"passed\"} %d\n", plans(1, 1, 0)[0].Identity.Feature, name, len(f.starts[name]))
			f.mu.Unlock()
			if !strings.Contains(text, want) {
				t.Errorf("the page does not have %s%s", want, text)
			}
		}
		reloads(t, a, Loaded{Runner: f, Plans: plans(2, time.Second, 0)})
		if text := shownBy(page); strings.Contains(text, "scenario 2") || !strings.Contains(text, "scenario 1") {
			t.Errorf("want scenario 1 and not scenario 2 on the page:\n%s", text)
		}
		stop()
	})
}

// TestReloadOfAnAgentThatEnds neither hangs nor changes anything.
func TestReloadOfAnAgentThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(time.Millisecond)}
		a := &Agent{Runner: f, Plans: plans(1, time.Second, 0)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Reload(ctx, Loaded{Runner: f, Plans: plans(2, time.Second, 0)}); err == nil {
			t.Error("an agent that does not run took plans")
		}
		running(a)()
		if _, err := a.Reload(t.Context(), Loaded{Runner: f, Plans: plans(2, time.Second, 0)}); err == nil {
			t.Error("an agent that has ended took plans")
		}
		if n := len(a.Stats().Scenarios); n != 1 {
			t.Errorf("%d scenarios", n)
		}
	})
}

// TestRunnerAfterAReloadKnowsWhatIsAbandoned holds that a step that never returns is counted after a reload, and that its
// scenario does not leave another one behind.
func TestRunnerAfterAReloadKnowsWhatIsAbandoned(t *testing.T) {
	first := &Runner{}
	plan := plans(1, time.Minute, 0)[0]
	release := make(chan struct{})
	first.leave(plan, "the step", release)
	second := &Runner{}
	second.Follow(first)
	next := plans(1, time.Minute, 0)[0]
	next.seen = plan.seen
	if second.Abandoned() != 1 || second.refuse(next) == nil {
		t.Error("the runner after a reload does not know of the step")
	}
	close(release)
	for second.Abandoned() > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := second.refuse(next); err != nil || first.Abandoned() != 0 {
		t.Errorf("after its return: %v", err)
	}
}

// TestReloadsAtRandom reloads sets of every kind at any time: scenarios come, go, come back, change their text, interval, feature,
// addresses and limits, while runs wait, hang, fail and are repeated. No scenario overlaps itself, every run that began ends once,
// counters never fall, every sink hears of the end of a scenario last, and at the end no place is taken and no address is known but
// those in use.
func TestReloadsAtRandom(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 15))
			const most = 30
			intervals := []time.Duration{time.Second, 10 * time.Second, time.Minute}
			set := func() Loaded {
				var some []*Plan
				var names []int
				for i := range most {
					if random.IntN(4) > 0 {
						names = append(names, i)
					}
				}
				for _, i := range names {
					s := scenario(fmt.Sprintf("scenario %d", i), fmt.Sprint("I pass ", random.IntN(3)))
					s.Feature = fmt.Sprint("feature ", i%3)
					s.Policy.Every, s.Policy.Retries = intervals[random.IntN(8)/6+random.IntN(2)], random.IntN(3)
					if random.IntN(5) == 0 {
						s.Policy.Parallel = 1 + random.IntN(3)
					}
					some = append(some, NewPlan(s, library(), Defaults{}))
				}
				return Loaded{Plans: some, Limits: Limits{Workers: 4 + random.IntN(20), Parallel: 1 + random.IntN(3)}}
			}
			var mu sync.Mutex
			draw := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return random.IntN(n)
			}
			f := &fakeRunner{
				took:      func(*Plan) time.Duration { return time.Duration(draw(3000)) * time.Millisecond },
				fails:     func(*Plan, int) bool { return draw(3) == 0 },
				timeouts:  func(*Plan) bool { return draw(5) == 0 },
				addresses: func(p *Plan) []string { return []string{"host:" + p.Scenario.Steps[0].Text, "shared:80"} },
			}
			sink := &forgettingSink{}
			first := set()
			a := &Agent{Runner: f, Plans: first.Plans, Limits: first.Limits, Sinks: map[string]Sink{"test": sink}, Rules: []alert.Source{alert.NewLacks()}}
			stop := running(a)
			var ends, sets atomic.Int64
			missed := make(map[string]uint64)
			for range 150 {
				time.Sleep(time.Duration(draw(9000)) * time.Millisecond)
				mu.Lock()
				next := set()
				mu.Unlock()
				next.Runner = f
				sets.Add(1)
				next.Ended = func() { ends.Add(1) }
				reloads(t, a, next)
				known := make(map[string]uint64)
				for _, s := range a.Stats().Scenarios {
					if n := missed[s.Identity.Scenario]; s.Missed < n {
						t.Errorf("seed %d: %s had %d missed runs, and now %d", seed, s.Identity.Scenario, n, s.Missed)
					}
					known[s.Identity.Scenario] = s.Missed
				}
				missed = known
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if ends.Load() != sets.Load()-1 {
				t.Errorf("seed %d: %d of %d sets ended", seed, ends.Load(), sets.Load()-1)
			}
			stop()
			if len(f.errors) > 0 {
				t.Errorf("seed %d: %v", seed, f.errors)
			}
			for _, e := range a.entries {
				a.admission.connects(e, nil)
			}
			if n := len(a.admission.targets); n != 0 || a.admission.waiting.Load() < 0 {
				t.Errorf("seed %d: %d addresses are left, %d wait", seed, n, a.admission.waiting.Load())
			}
			for name, got := range sink.last {
				if i := slices.Index(got, "forget"); i >= 0 && i+1 < len(got) && got[i+1] != "result" && !strings.HasPrefix(got[i+1], "soft") && !strings.HasPrefix(got[i+1], "hard") && got[i+1] != "forget" {
					t.Errorf("seed %d: %s: %q after it was forgotten", seed, name, got[i+1])
				}
			}
		})
	}
}

// TestChangedScenarioForgetsItsOldTarget holds that a run of the old text that got no answer says nothing about the new one.
func TestChangedScenarioForgetsItsOldTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(time.Second), timeouts: func(p *Plan) bool { return p.Scenario.Steps[0].Text == "I pass" },
			addresses: func(p *Plan) []string { return []string{p.Scenario.Steps[0].Text} }}
		a := &Agent{Runner: f, Plans: plans(1, 2*time.Second, 0)}
		stop := running(a)
		for range 100 { // until it is asked seldom, and a run is in progress
			time.Sleep(time.Second + 500*time.Millisecond)
			synctest.Wait()
		}
		for a.Stats().Running == 0 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		next := plans(1, 2*time.Second, 0)
		next[0].Scenario.Steps[0].Text = "I pass elsewhere"
		reloads(t, a, Loaded{Runner: f, Plans: next})
		before := f.ran("scenario 0")
		time.Sleep(20 * time.Second)
		stop()
		if n := f.ran("scenario 0") - before; n < 9 || n > 11 {
			t.Errorf("%d runs in 20 seconds, want one every 2 seconds", n)
		}
		if a.admission.targets["I pass"] != nil || a.admission.targets["I pass elsewhere"] == nil {
			t.Errorf("got %v", a.admission.targets)
		}
	})
}
