package agent

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/features"
)

var (
	yearSeeds = flag.Uint64("seeds", 1, "how many years TestYear simulates")
	yearSeed  = flag.Uint64("seed", 1, "the first of them")
	yearDays  = flag.Int("days", yearDefault, "how many days they have")
)

// TestYear simulates a year of 500 scenarios, and compares what was told with what was made to happen: outages of single
// scenarios, of scenarios with all that need them, and of the uplink; flapping; silences that cover an outage, its beginning or
// its end; restarts, kills between any two instants and in the middle of a delivery, clocks that jump, and starts with a file
// that cannot be read. Nothing may be lost, told twice, or told during a silence.
//
// A longer sweep: go test ./agent -run TestYear -timeout 24h -args -seeds 200
func TestYear(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	for seed := *yearSeed; seed < *yearSeed+*yearSeeds; seed++ {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) { newYear(t, seed, dir).pass() })
		if t.Failed() {
			t.Fatalf("the seed is %d", seed)
		}
	}
}

// The extent of the simulation.
const (
	yearScenarios = 500
	yearHosts     = 60
	yearKills     = 160
	yearRestarts  = 80
	yearUplinks   = 4
	// slack is the time after an event until which everything that follows from it has been told: for runs that a restart
	// prevented.
	slack = 2 * time.Hour
)

func length() time.Duration { return time.Duration(*yearDays) * 24 * time.Hour }

// event is something that is made to happen to a scenario.
type event struct {
	kind     eventKind
	from, to time.Time // of the failures
	quiet    [2]time.Time
	reason   result.Reason
	done     time.Time // after which nothing that belongs to it is told
	past     bool      // a blip has happened
}

type eventKind int

const (
	outage       eventKind = iota
	blip                   // one attempt fails
	flaps                  // every second run fails
	quietAll               // an outage, with the alerts silenced from its beginning until after its end
	quietStart             // … until its middle
	quietEnd               // … from its middle until after its end
	explained              // an outage during that of the needed scenario
	eventsOfOnes = explained
)

// life is a scenario and what happens to it.
type life struct {
	plan   *Plan
	host   string
	parent *life
	events []event
	next   int // the first event that is not over
	told   []toldAt
}

// at returns the event of a time, or nil.
func (l *life) at(now time.Time) *event {
	for l.next < len(l.events) && !now.Before(l.events[l.next].done) {
		l.next++
	}
	if l.next < len(l.events) && !now.Before(l.events[l.next].from.Add(-time.Hour)) {
		return &l.events[l.next]
	}
	return nil
}

type toldAt struct {
	at time.Time
	alert.Alert
}

// year is the simulation. It is also the runner, the source of silences and the pager, which live longer than an agent.
type year struct {
	t          *testing.T
	seed       uint64
	dir        string
	rng        *rand.Rand
	start, end time.Time
	lives      []*life
	byName     map[string]*life
	uplinks    []event

	mu      sync.Mutex
	numbers map[uint64]alert.Alert
	highest uint64
	lacks   []toldAt
	again   int // alerts that were delivered once more
	softs   int
	runs    int
	dead    atomic.Bool   // nothing that the agent does now has an effect
	crash   chan struct{} // the agent is to be killed, in the middle of a delivery
	crashes *rand.Rand
}

func newYear(t *testing.T, seed uint64, dir string) *year {
	y := &year{t: t, seed: seed, dir: dir, rng: rand.New(rand.NewPCG(seed, 1)), crashes: rand.New(rand.NewPCG(seed, 2)), start: time.Now(),
		byName: make(map[string]*life), numbers: make(map[uint64]alert.Alert), crash: make(chan struct{}, 1)}
	y.end = y.start.Add(length())
	for i := range yearUplinks {
		from := y.start.Add(length()*time.Duration(i+1)/(yearUplinks+1) + time.Duration(y.rng.Int64N(int64(length()/(2*yearUplinks)))))
		y.uplinks = append(y.uplinks, event{from: from, to: from.Add(30*time.Minute + time.Duration(y.rng.Int64N(int64(30*time.Minute))))})
	}
	for i := range yearScenarios {
		s := scenario(fmt.Sprintf("scenario %d", i), "I pass")
		s.Feature, s.Label = fmt.Sprintf("Feature %d", i/10), s.Name
		l := &life{host: fmt.Sprintf("host%d", i%yearHosts)}
		p := &s.Policy
		p.Timeout = 20 * time.Second
		switch {
		case i%10 == 0: // what the rest of the feature may need
			p.Every = time.Hour
			if i%100 == 0 {
				p.Every = 15 * time.Minute
			}
			p.Retries = i / 10 % 3
		default:
			p.Every = 6 * time.Hour
			p.Retries = i % 3
			if i%10 < 4 {
				l.parent = y.lives[i-i%10]
				s.Tags = append(s.Tags, features.Tag{Name: "needs", Value: strings.ReplaceAll(l.parent.plan.Identity.Scenario, " ", "_")})
				p.Needs = s.Tags[0].Value
			}
			if i%10 == 5 {
				p.Some, p.Of, p.Retries = 3, 5, 0
			}
			if i%10 == 6 {
				p.Flapping = "off"
			}
		}
		l.plan = NewPlan(s, library(), Defaults{})
		y.lives = append(y.lives, l)
		y.byName[l.plan.Identity.Scenario] = l
	}
	for i, l := range y.lives {
		if i%10 == 0 {
			y.plan(l, y.lives[i:i+10])
		}
	}
	return y
}

// plan invents what happens to a scenario, and to those of its feature.
func (y *year) plan(first *life, feature []*life) {
	for _, l := range feature {
		now := y.start.Add(24 * time.Hour)
		var shared []event
		if l.parent != nil {
			shared = slices.DeleteFunc(slices.Clone(l.parent.events), func(e event) bool { return e.kind != outage || e.to.Sub(e.from) < 20*time.Hour })
		}
		for {
			every := l.plan.Interval
			now = now.Add(time.Duration(y.rng.Int64N(int64(25 * 24 * time.Hour))))
			e := event{kind: eventKind(y.rng.IntN(int(eventsOfOnes))), from: now, reason: result.ReasonUnexpected}
			e.to = e.from.Add(every*time.Duration(10+y.rng.IntN(30)) + time.Duration(y.rng.Int64N(int64(every))))
			if y.rng.IntN(2) == 0 {
				e.reason = result.ReasonConnect
			}
			if len(shared) > 0 && shared[0].from.Before(e.to.Add(100*every)) { // a part of the parent's outage
				if gap := shared[0].from.Sub(now); gap > -200*every {
					e.kind, e.from, e.to = explained, shared[0].from.Add(time.Hour), shared[0].to.Add(-time.Hour)
				}
				shared = shared[1:]
				if e.from.Before(now) && len(l.events) > 0 && e.from.Before(l.events[len(l.events)-1].done.Add(40*every)) {
					continue
				}
			} else if l.parent != nil {
				// not while something happens to the parent
				if i := slices.IndexFunc(l.parent.events, func(p event) bool { return p.from.Before(e.to.Add(slack+40*every)) && p.done.Add(slack).After(e.from) }); i >= 0 {
					now = l.parent.events[i].done.Add(slack)
					continue
				}
			}
			policy := &l.plan.Scenario.Policy
			half := e.from.Add(e.to.Sub(e.from) / 2)
			e.done = e.to.Add(6*every + slack)
			switch e.kind {
			case blip:
				if l.plan.Retries == 0 {
					continue
				}
				e.to = e.from.Add(every)
				e.done = e.to.Add(6*every + slack)
			case flaps:
				if policy.Flapping == "off" {
					continue
				}
				e.to = e.from.Add(26 * every)
				e.done = e.to.Add(30*every + slack)
			case quietAll:
				e.quiet = [2]time.Time{e.from.Add(-time.Minute), e.done}
			case quietStart:
				e.quiet = [2]time.Time{e.from.Add(-time.Minute), half}
			case quietEnd:
				e.quiet = [2]time.Time{half, e.done}
				e.done = e.done.Add(slack)
			}
			if i := slices.IndexFunc(y.uplinks, func(u event) bool {
				return u.from.Before(e.done.Add(slack)) && u.to.Add(slack+12*time.Hour).After(e.from)
			}); i >= 0 {
				now = y.uplinks[i].to.Add(slack + 12*time.Hour)
				continue
			}
			if e.done.After(y.end.Add(-24 * time.Hour)) {
				break
			}
			l.events = append(l.events, e)
			now = e.done.Add(40 * every)
		}
	}
	_ = first
}

// Abandoned implements PlanRunner.
func (y *year) Abandoned() int { return 0 }

// Addresses implements PlanRunner.
func (y *year) Addresses(*Plan) []string { return nil }

var passedSteps = []result.StepResult{{Keyword: "When", Text: "I pass", Label: "I pass", Status: result.Passed, Ran: true, Duration: time.Millisecond}}

// Start implements PlanRunner.
func (y *year) Start(_ context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	l, now := y.byName[p.Identity.Scenario], time.Now()
	y.mu.Lock()
	y.runs++
	reason := l.fails(now)
	for _, u := range y.uplinks {
		if !now.Before(u.from) && now.Before(u.to) {
			reason = result.ReasonTimeout
		}
	}
	y.mu.Unlock()
	res := &result.Result{Identity: p.Identity, Run: "run", Due: o.Due, Started: now, Attempt: o.Attempt, Retries: p.Retries, Interval: p.Interval,
		Status: result.Passed, Steps: passedSteps, Targets: []string{l.host + ":443"}}
	if reason != "" {
		res.Status, res.Reason, res.Blame, res.Error = result.Failed, reason, result.BlameWeb, "it is down"
		res.Steps = []result.StepResult{{Keyword: "When", Text: "I pass", Label: "I pass", Status: result.Failed, Ran: true, Error: "it is down", Reason: reason, Blame: result.BlameWeb}}
	}
	go done(res)
}

// fails returns why a run fails now, or "".
func (l *life) fails(now time.Time) result.Reason {
	e := l.at(now)
	if e == nil || now.Before(e.from) || !now.Before(e.to) {
		return ""
	}
	switch e.kind {
	case blip:
		if e.past {
			return ""
		}
		e.past = true
	case flaps:
		if now.Sub(e.from)/l.plan.Interval%2 == 1 {
			return ""
		}
	}
	return e.reason
}

// Quiet implements state.Quiet.
func (y *year) Quiet(id result.Identity, _ []string, now time.Time) (why string, until time.Time, quiet bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	e := y.byName[id.Scenario].at(now)
	if e == nil || now.Before(e.quiet[0]) || !now.Before(e.quiet[1]) {
		return "", time.Time{}, false
	}
	return "silence", e.quiet[1], true
}

// pager takes the alerts of one agent.
type pager struct {
	y    *year
	died chan struct{} // closed when the agent is killed
	dead bool
}

// Export implements Sink.
func (p *pager) Export(*result.Result) {}

// Alert implements AlertSink. Sometimes the program ends in the middle of it, before or after somebody was told.
func (p *pager) Alert(a alert.Alert) {
	y := p.y
	y.mu.Lock()
	if y.dead.Load() || p.dead {
		y.mu.Unlock()
		return
	}
	crash := y.crashes.IntN(400)
	if crash != 0 {
		y.take(a)
	}
	p.dead = crash < 2
	y.mu.Unlock()
	if crash < 2 {
		select {
		case y.crash <- struct{}{}:
		default:
		}
		<-p.died
	}
}

// take is what the operators get.
func (y *year) take(a alert.Alert) {
	now := time.Now()
	if before, seen := y.numbers[a.Number]; seen {
		y.again++
		if before.ID != a.ID || before.State != a.State || before.Rule != a.Rule {
			y.t.Errorf("%s: the number %d is %s %s, and was %s %s", now, a.Number, a.Rule, a.State, before.Rule, before.State)
		}
		return
	}
	if a.Number != y.highest+1 {
		y.t.Errorf("%s: the alert %d follows %d: %s %s %s", now, a.Number, y.highest, a.Identity, a.Rule, a.State)
	}
	y.numbers[a.Number], y.highest = a, a.Number
	switch {
	case a.Lack != nil:
		y.lacks = append(y.lacks, toldAt{now, a})
		return
	case a.State == alert.Soft:
		y.softs++
	}
	l := y.byName[a.Identity.Scenario]
	if e := l.at(now); e != nil && !now.Before(e.quiet[0]) && now.Before(e.quiet[1]) {
		y.t.Errorf("%s: told during a silence: %s %s %s", now, a.Identity, a.Rule, a.State)
	}
	l.told = append(l.told, toldAt{now, a})
}

// pass lets the year pass.
func (y *year) pass() {
	type incident struct {
		at   time.Time
		kill bool
	}
	var incidents []incident
	for i := range (yearKills + yearRestarts) * *yearDays / 365 {
		incidents = append(incidents, incident{y.start.Add(time.Duration(y.rng.Int64N(int64(length())))), i < yearKills**yearDays/365})
	}
	for _, u := range y.uplinks { // one in each outage of the uplink
		incidents = append(incidents, incident{u.from.Add(time.Duration(y.rng.Int64N(int64(20 * time.Minute)))), true})
	}
	slices.SortFunc(incidents, func(a, b incident) int { return a.at.Compare(b.at) })
	incidents = append(incidents, incident{y.end, false})
	partial, crashes, kills, restarts := false, 0, 0, 0
	for len(incidents) > 0 {
		plans, mistakes := make([]*Plan, 0, len(y.lives)), map[string]int{}
		for i, l := range y.lives {
			if !partial || i/10%7 != 3 {
				plans = append(plans, l.plan)
			}
		}
		if partial {
			mistakes["broken.feature"] = 1
		}
		ctx, cancel := context.WithCancel(context.Background())
		db, err := database.Open(ctx, database.Options{Dir: y.dir, Name: state.File, Migrations: state.Migrations})
		if err != nil {
			y.t.Fatal(err)
		}
		y.dead.Store(false)
		sink := &pager{y: y, died: make(chan struct{})}
		a := &Agent{Runner: y, Plans: plans, Mistakes: mistakes, Sinks: map[string]Sink{"pager": sink}, Rules: alert.Builtin.Sources(), Grace: time.Second,
			States: state.Open(ctx, state.Options{DB: db, Quiet: y})}
		ended := make(chan struct{})
		go func() {
			a.Run(ctx)
			close(ended)
		}()
		until := incidents[0].at
		if most := time.Now().Add(30 * time.Minute); partial && most.Before(until) {
			until = most
		}
		kill := incidents[0].kill
		select {
		case <-time.After(time.Until(until)):
		case <-y.crash:
			kill = true
			crashes++
		}
		if !time.Now().Before(incidents[0].at) {
			incidents = incidents[1:]
		}
		if kill {
			kills++
			y.dead.Store(true)
			if err := db.Close(); err != nil {
				y.t.Error(err)
			}
			close(sink.died)
		}
		cancel()
		<-ended
		if !kill {
			restarts++
			if err := db.Close(); err != nil {
				y.t.Error(err)
			}
		}
		if y.t.Failed() {
			return
		}
		time.Sleep(time.Duration(y.rng.Int64N(int64(5 * time.Minute))))
		if y.rng.IntN(3) == 0 {
			y.jump(time.Duration(y.rng.Int64N(int64(6*time.Hour))) - 3*time.Hour)
		}
		partial = !partial && y.rng.IntN(8) == 0
	}
	y.judge(crashes, kills-crashes, restarts)
}

// jump sets the clock: what is in the file is then so much older.
func (y *year) jump(by time.Duration) {
	db, err := database.Open(context.Background(), database.Options{Dir: y.dir, Name: state.File, Migrations: state.Migrations})
	if err != nil {
		y.t.Fatal(err)
	}
	defer db.Close()
	if err := db.Write(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT id, record FROM scenario")
		if err != nil {
			return err
		}
		shifted := make(map[string]string)
		for rows.Next() {
			var id, text string
			if err := rows.Scan(&id, &text); err != nil {
				return err
			}
			var record any
			if err := json.Unmarshal([]byte(text), &record); err != nil {
				return err
			}
			later, err := json.Marshal(shift(record, -by))
			if err != nil {
				return err
			}
			shifted[id] = string(later)
		}
		if err := rows.Close(); err != nil {
			return err
		}
		for id, text := range shifted {
			if _, err := tx.ExecContext(ctx, "UPDATE scenario SET record = ? WHERE id = ?", text, id); err != nil {
				return err
			}
		}
		return rows.Err()
	}); err != nil {
		y.t.Fatal(err)
	}
}

// shift moves every time in a JSON value.
func shift(v any, by time.Duration) any {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			v[name] = shift(value, by)
		}
	case []any:
		for i, value := range v {
			v[i] = shift(value, by)
		}
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			return at.Add(by).Format(time.RFC3339Nano)
		}
	}
	return v
}

// expectation is an alert that must be told.
type expectation struct {
	rule     string
	state    alert.State
	from, to time.Time
}

// expects returns what must be told of a scenario because of an event.
func (l *life) expects(e *event) []expectation {
	const hard, resolved = alert.Hard, alert.Resolved
	late := slack / 2 // the agent may be stopped, or may not have the file of the scenario
	switch e.kind {
	case outage:
		return []expectation{{state.RuleFailures, hard, e.from, e.to}, {state.RuleFailures, resolved, e.to, e.done}}
	case quietStart:
		return []expectation{{state.RuleFailures, hard, e.quiet[1], e.quiet[1].Add(late)}, {state.RuleFailures, resolved, e.to, e.done}}
	case quietEnd:
		return []expectation{{state.RuleFailures, hard, e.from, e.quiet[0]}, {state.RuleFailures, resolved, e.quiet[1], e.quiet[1].Add(late)}}
	case flaps:
		return []expectation{{state.RuleFlapping, hard, e.from, e.to}, {state.RuleFlapping, resolved, e.to, e.done}}
	}
	return nil
}

// judge compares what was told with what happened.
func (y *year) judge(crashes, kills, restarts int) {
	counts := make(map[eventKind]int)
	wanted, told := 0, 0
	for _, l := range y.lives {
		rest := slices.DeleteFunc(l.told, func(a toldAt) bool { return a.State == alert.Soft })
		open := make(map[string]alert.State) // by id
		kept := rest[:0:0]
		for _, a := range rest {
			before := open[a.ID]
			switch {
			case a.State == alert.Resolved && before == alert.Resolved, a.State == alert.Hard && before != "":
				y.t.Errorf("%s: %s: the alert %s was %s and is told as %s", a.at, a.Identity, a.ID, before, a.State)
			case a.State == alert.Resolved && before == "": // only a soft one was told
				open[a.ID] = a.State
				continue
			}
			open[a.ID] = a.State
			kept = append(kept, a)
		}
		for id, s := range open {
			if s != alert.Resolved {
				y.t.Errorf("%s: the alert %s is still %s", l.plan.Identity, id, s)
			}
		}
		for i := range l.events {
			e := &l.events[i]
			counts[e.kind]++
			its := kept[:0:0]
			for len(kept) > 0 && kept[0].at.Before(e.done) {
				if kept[0].at.Before(e.from) {
					y.t.Errorf("%s: %s %s %s without a reason", kept[0].at, l.plan.Identity, kept[0].Rule, kept[0].State)
				}
				if e.kind != flaps || kept[0].Rule != state.RuleFailures {
					its = append(its, kept[0])
				}
				kept = kept[1:]
			}
			want := l.expects(e)
			wanted, told = wanted+len(want), told+len(its)
			isAsWanted := len(want) == len(its)
			for j := range want {
				isAsWanted = isAsWanted && its[j].Rule == want[j].rule && its[j].State == want[j].state && !its[j].at.Before(want[j].from) && its[j].at.Before(want[j].to)
			}
			if !isAsWanted {
				text := fmt.Sprintf("%s every %s, retries %d, event %d from %s to %s, silence %s to %s, over %s: told", l.plan.Identity, l.plan.Interval, l.plan.Retries, e.kind, e.from, e.to, e.quiet[0], e.quiet[1], e.done)
				for _, a := range its {
					text += fmt.Sprintf("\n  %s %s %s %s", a.at, a.Rule, a.State, a.Summary)
				}
				text += "\n wanted"
				for _, w := range want {
					text += fmt.Sprintf("\n  %s %s between %s and %s", w.rule, w.state, w.from, w.to)
				}
				y.t.Error(text)
			}
		}
		for _, a := range kept {
			y.t.Errorf("%s: %s, every %s with %d retries: %s %s after the last event: %s", a.at, a.Identity, l.plan.Interval, l.plan.Retries, a.Rule, a.State, a.Summary)
		}
	}
	if len(y.lacks) != 2*yearUplinks {
		y.t.Errorf("%d alerts about the uplink, wanted %d", len(y.lacks), 2*yearUplinks)
	}
	for i, a := range y.lacks {
		u := y.uplinks[min(i/2, yearUplinks-1)]
		if want := [2]alert.State{alert.Hard, alert.Resolved}[i%2]; a.State != want || a.Lack.Kind != state.KindUplink || a.at.Before(u.from) || a.at.After(u.to.Add(slack)) {
			y.t.Errorf("%s: %s is %s, wanted %s: uplink down from %s to %s", a.at, a.Lack.Kind, a.State, want, u.from, u.to)
		}
	}
	y.t.Logf("seed %d: %d runs; events %v, %d outages of the uplink; %d restarts, %d kills, %d crashes in a delivery; %d alerts wanted, %d told, %d soft ones; %d delivered again with their number",
		y.seed, y.runs, counts, yearUplinks, restarts, kills, crashes, wanted, told, y.softs, y.again)
}
