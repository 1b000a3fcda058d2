package history

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	mathrand "math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"errors"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("HISTORY_TEST_WRITER"); dir != "" {
		writeUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

var start = time.Date(2026, 3, 28, 22, 0, 0, 0, time.UTC)

// bench is a history whose clock and whose goroutine the test is.
type bench struct {
	*History
	t     testing.TB
	clock time.Time
	log   bytes.Buffer
}

func newBench(t testing.TB, o Options) *bench {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
		if err := os.Chmod(o.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{t: t, clock: start}
	o.Log = slog.New(slog.NewTextHandler(&b.log, nil))
	b.History = prepare(o)
	b.now = func() time.Time { return b.clock }
	if err := b.begin(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.end)
	return b
}

func (b *bench) end() {
	if db := b.db.Swap(nil); db != nil {
		_ = db.Close()
	}
}

func (b *bench) commit() {
	b.t.Helper()
	b.turn(context.Background(), false)
	if p := b.failing.Load(); p != nil {
		b.t.Fatal(*p)
	}
}

// again closes the history without a farewell, as a death of the process does, and opens it again.
func (b *bench) again() *bench {
	b.t.Helper()
	b.end()
	next := newBench(b.t, b.o)
	next.clock = b.clock
	return next
}

func identity(n int) result.Identity {
	return result.Identity{Feature: "Webmail", Scenario: fmt.Sprintf("Log in to mailbox %d", n), File: "features/webmail.feature", Line: 10 * n, Owner: "mail"}
}

// passed returns a run of two steps that took this long, and a little.
func passedRun(n int, at time.Time, took time.Duration) *result.Result {
	return &result.Result{Identity: identity(n), Run: rand.Text(), Attempt: 1, Due: at, Started: at, Delay: 300 * time.Microsecond, Prepare: 20 * time.Microsecond,
		Duration: took + 15*time.Microsecond, Status: result.Passed, Interval: time.Minute, Targets: []string{"www.example.org:443"},
		Steps: []result.StepResult{
			{Keyword: "When", Text: `I open "https://www.example.org/"`, Label: `I open "<url>"`, Line: 11, Status: result.Passed, Ran: true, Duration: took,
				Phases:       []result.Phase{{Name: "dns", Duration: took / 20}, {Name: "connect", Duration: took / 10}, {Name: "tls", Duration: took / 4}, {Name: "first_byte", Duration: took / 2}, {Name: "transfer", Duration: took / 100}},
				Measurements: []result.Measurement{{Name: "http_status_code", Value: 200}, {Name: "http_body_bytes", Value: 20_480}}},
			{Keyword: "Then", Text: `I see "Inbox"`, Label: `I see "Inbox"`, Line: 12, Status: result.Passed, Ran: true, Duration: 15 * time.Microsecond},
		}}
}

func failedRun(n int, at time.Time, reason result.Reason, text string) *result.Result {
	r := passedRun(n, at, 10*time.Millisecond)
	r.Status, r.Reason, r.Blame, r.Error = result.Failed, reason, result.BlameWeb, text
	s := &r.Steps[0]
	s.Status, s.Reason, s.Blame, s.Error, s.Note = result.Failed, reason, result.BlameWeb, text, "path: mx1, mx2"
	s.Phases, s.Measurements = s.Phases[:2], nil
	s.Phases[1].Note = "503 Service Unavailable"
	r.Steps[1] = result.StepResult{Keyword: "Then", Text: r.Steps[1].Text, Label: r.Steps[1].Label, Line: 12, Status: result.Skipped}
	r.Duration = s.Duration
	r.Attempt = 2
	return r
}

// compare checks that a run of the history says what the result said.
func compare(t *testing.T, run Run, res *result.Result) {
	t.Helper()
	state := res.State()
	micros := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }
	if run.Identity != res.Identity || run.ScenarioID != res.Identity.ID() || run.Run != res.Run || !run.Started.Equal(res.Started.Truncate(time.Microsecond)) ||
		run.Attempt != max(1, res.Attempt) || run.State != state || run.Status != res.Status || run.Stale != res.Stale || run.Reason != res.Reason || run.Blame != res.Blame ||
		run.Delay != micros(res.Delay) || run.Prepare != micros(res.Prepare) || run.Cleanup != res.Cleanup || !reflect.DeepEqual(run.Lack, res.Lack) {
		t.Errorf("got %+v\nof %+v", run, res)
	}
	if state != result.OK && (run.Summary != res.Summary() || !slices.Equal(run.Targets, res.Targets)) {
		t.Errorf("got %q and %q, want %q and %q", run.Summary, run.Targets, res.Summary(), res.Targets)
	}
	var walk func(got []Step, want []result.StepResult)
	walk = func(got []Step, want []result.StepResult) {
		if len(got) != len(want) {
			t.Fatalf("got %d steps, want %d", len(got), len(want))
		}
		for i, w := range want {
			g := got[i]
			if g.Keyword != w.Keyword || g.Text != w.Text || g.Label != w.Label || g.Line != w.Line || g.File != w.File || g.Status != w.Status || g.Ran != w.Ran ||
				w.Ran && g.Duration != micros(w.Duration) || g.Error != w.Error || g.Reason != w.Reason || g.Blame != w.Blame || state != result.OK && g.Note != w.Note {
				t.Errorf("step %d: got %+v, want %+v", i, g, w)
			}
			if len(g.Phases) != len(w.Phases) || len(g.Measurements) != len(w.Measurements) {
				t.Fatalf("step %d: got %d phases and %d measurements, want %d and %d", i, len(g.Phases), len(g.Measurements), len(w.Phases), len(w.Measurements))
			}
			for j, p := range w.Phases {
				if g.Phases[j].Name != p.Name || g.Phases[j].Duration != micros(p.Duration) || state != result.OK && g.Phases[j].Note != p.Note {
					t.Errorf("step %d: got %+v, want %+v", i, g.Phases[j], p)
				}
			}
			for j, m := range w.Measurements {
				if v := g.Measurements[j]; v.Name != m.Name || math.Float64bits(v.Value) != math.Float64bits(m.Value) || !slices.Equal(v.Labels, m.Labels) {
					t.Errorf("step %d: got %+v, want %+v", i, v, m)
				}
			}
			walk(g.Steps, w.Steps)
		}
	}
	walk(run.Steps, res.Steps)
}

// kinds are runs of every kind.
func kinds() []*result.Result {
	nested := passedRun(2, start, 30*time.Millisecond)
	nested.Steps[0].Steps = []result.StepResult{
		{Keyword: "When", Text: "I log in", Label: "I log in", File: "sentences.feature", Line: 3, Status: result.Passed, Ran: true, Duration: 25 * time.Millisecond,
			Phases: []result.Phase{{Name: "first_byte", Duration: 20 * time.Millisecond}}},
		{Keyword: "And", Text: "I wait", Label: "I wait", File: "sentences.feature", Line: 4, Status: result.Passed, Ran: true, Duration: 5 * time.Millisecond,
			Measurements: []result.Measurement{{Name: "mail_hop_seconds", Value: 0.25, Labels: []result.Label{{Name: "hop", Value: "queue"}}}, {Name: "odd", Value: math.Inf(-1)},
				{Name: "zero", Value: math.Copysign(0, -1)}, {Name: "minus", Value: -7}, {Name: "large", Value: 1 << 60}, {Name: "most", Value: 1<<52 - 1}}},
	}
	slow := passedRun(3, start.Add(time.Second), 800*time.Millisecond)
	slow.Budget = result.Budget{Warn: 500 * time.Millisecond, Crit: 5 * time.Second}
	lacking := failedRun(4, start.Add(2*time.Second), result.ReasonLack, "no descriptors")
	lacking.Blame, lacking.Lack = result.BlameMonitor, &result.Lack{Kind: "descriptors", Said: "no descriptor is free", Remedy: "raise LimitNOFILE="}
	stale := &result.Result{Identity: identity(5), Started: start.Add(3 * time.Second), Status: result.Skipped, Reason: result.ReasonNotRun, Blame: result.BlameTarget, Error: "it could not start", Stale: true,
		Interval: time.Minute, Steps: []result.StepResult{{Keyword: "When", Text: "x", Label: "x", Status: result.Skipped}}}
	left := passedRun(6, start.Add(4*time.Second), time.Millisecond)
	left.Cleanup = "a mail in INBOX"
	other := passedRun(7, start.Add(5*time.Second), time.Millisecond)
	other.Run = "a run of another agent"
	empty := &result.Result{Identity: identity(8), Run: rand.Text(), Started: start.Add(6 * time.Second), Status: result.Undefined, Reason: result.ReasonScenario, Blame: result.BlameScenario, Error: "no steps"}
	long := passedRun(9, start.Add(7*time.Second).Add(123456789), 3*time.Hour)
	return []*result.Result{passedRun(1, start.Add(500*time.Millisecond), 42*time.Millisecond), failedRun(1, start.Add(59*time.Second), result.ReasonHTTPStatus, "want 200, got 503"),
		nested, slow, lacking, stale, left, other, empty, long}
}

// TestKept holds that what a result says is there again: in the journal, in blocks, and after a restart.
func TestKept(t *testing.T) {
	b := newBench(t, Options{})
	all := kinds()
	for _, res := range all {
		b.Export(res)
	}
	check := func(t *testing.T, b *bench) {
		t.Helper()
		runs, more, err := b.Runs(t.Context(), Query{})
		if err != nil || more || len(runs) != len(all) {
			t.Fatalf("%d runs, %v, %v", len(runs), more, err)
		}
		if !slices.IsSortedFunc(runs, func(a, b Run) int { return b.Started.Compare(a.Started) }) {
			t.Error("the runs are not sorted")
		}
		for _, res := range all {
			i := slices.IndexFunc(runs, func(r Run) bool {
				return r.Identity == res.Identity && r.Started.Equal(res.Started.Truncate(time.Microsecond))
			})
			if i < 0 {
				t.Errorf("%s is missing", res.Identity)
				continue
			}
			run, err := b.Run(t.Context(), runs[i].ID)
			if err != nil {
				t.Error(err)
				continue
			}
			compare(t, run, res)
			if len(res.Run) == idLetters {
				if same, err := b.Run(t.Context(), res.Run); err != nil || !reflect.DeepEqual(same, run) {
					t.Errorf("by its id: %+v, %v", same, err)
				}
			}
		}
	}
	b.commit()
	check(t, b)
	if b.journaled != len(all) {
		t.Errorf("%d runs in the journal", b.journaled)
	}
	b = b.again()
	check(t, b)
	b.clock = b.clock.Add(time.Hour)
	b.commit()
	if b.journaled != 0 {
		t.Errorf("%d runs in the journal", b.journaled)
	}
	check(t, b)
	b = b.again()
	check(t, b)
	if b.lost.Load() != 0 || b.errors.Load() != 0 {
		t.Errorf("lost %d, %d errors: %s", b.lost.Load(), b.errors.Load(), b.log.String())
	}
	if _, err := b.Run(t.Context(), identity(1).ID()+"-zz"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestRestartAddsNothing holds that the same scenarios and steps are stored once, however often the agent starts.
func TestRestartAddsNothing(t *testing.T) {
	b := newBench(t, Options{})
	for range 5 {
		for n := range 3 {
			b.Export(passedRun(n, b.clock, time.Millisecond))
		}
		b.clock = b.clock.Add(time.Hour)
		b.commit()
		b = b.again()
	}
	for table, want := range map[string]int{"scenarios": 3, "shapes": 1, "series": 3 * 7, "blocks": 15} {
		var n int
		if err := b.read(t.Context(), func(q *query) error {
			return q.tx.QueryRowContext(q, "SELECT count(*) FROM "+table).Scan(&n)
		}); err != nil || n != want {
			t.Errorf("%s: %d rows, %v; want %d", table, n, err, want)
		}
	}
}

// TestNumbers compares what the history says after compaction with the runs themselves.
func TestNumbers(t *testing.T) {
	b := newBench(t, Options{})
	random := mathrand.New(mathrand.NewPCG(1, 2))
	var took []time.Duration
	want := make(map[string]Counts)
	for minute := range 3 * 24 * 60 {
		b.clock = start.Add(time.Duration(minute) * time.Minute)
		for n := range 2 {
			d := time.Duration(20e6*math.Exp(random.NormFloat64()/2)) * time.Nanosecond
			res := passedRun(n, b.clock, d)
			if random.IntN(50) == 0 {
				res = failedRun(n, b.clock, result.ReasonTimeout, "no answer")
			} else if n == 0 {
				took = append(took, d.Truncate(time.Microsecond))
			}
			c := want[res.Identity.ID()]
			c.add(res.State(), 1)
			want[res.Identity.ID()] = c
			b.Export(res)
		}
		if minute%7 == 0 {
			b.commit()
		}
	}
	b.commit()
	got, _, err := b.Uptime(t.Context(), start, b.clock)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("uptime: got %v, %v; want %v", got, err, want)
	}
	slices.Sort(took)
	series, width, err := b.Percentiles(t.Context(), identity(0).ID(), start, b.clock, 100*24*time.Hour, []float64{0.5, 0.95, 0.99})
	if err != nil || width != 100*24*time.Hour || len(series) != 7 {
		t.Fatalf("%d series of %s, %v", len(series), width, err)
	}
	for _, s := range series {
		if s.Step != `I open "<url>"` || s.Phase != "" {
			continue
		}
		if len(s.Points) != 1 || s.Points[0].Count != uint64(len(took)) || s.Points[0].Max != took[len(took)-1].Seconds() {
			t.Fatalf("got %+v, want %d runs", s.Points, len(took))
		}
		for i, share := range []float64{0.5, 0.95, 0.99} {
			exact := took[int(math.Ceil(share*float64(len(took))))-1].Seconds()
			if got := s.Points[0].Quantiles[i]; math.Abs(got-exact) > 1.001*sketchError*exact {
				t.Errorf("p%v: got %v, want %v", share, got, exact)
			}
		}
	}
	// An hour of it, run by run, and from the hours after the single runs are deleted.
	part := start.Add(30*time.Hour + 5*time.Minute)
	near, err := b.Account(t.Context(), part, part.Add(20*time.Minute), nil)
	if c := near.Counts[identity(0).ID()]; err != nil || c.Runs() != 21 || !near.Counted.Since.Equal(part) {
		t.Errorf("got %+v, %v", near, err)
	}
	defer func() {
		if err := b.db.Load().Write(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM blocks")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		far, err := b.Account(t.Context(), part, part.Add(20*time.Minute), nil)
		if c := far.Counts[identity(0).ID()]; err != nil || c.Runs() != 60 || !far.Counted.Since.Equal(start.Add(30*time.Hour)) || !far.Counted.Until.Equal(start.Add(31*time.Hour-time.Microsecond)) {
			t.Errorf("got %+v, %v", far, err)
		}
	}()
	// A day of it, run by run, and in whole hours: they count the same.
	day := start.Add(26 * time.Hour)
	exact, _, err := b.Percentiles(t.Context(), identity(0).ID(), day, day.Add(24*time.Hour-1), time.Hour, []float64{0.5})
	if err != nil || len(exact[0].Points) != 24 {
		t.Fatalf("%v, %v", exact, err)
	}
	beats, err := b.Heartbeats(t.Context(), 90)
	if err != nil || len(beats) != 2 || len(beats[identity(1).ID()]) != 90 {
		t.Fatalf("%d, %v", len(beats[identity(1).ID()]), err)
	}
	if last := beats[identity(1).ID()][89]; !last.Started.Equal(b.clock) {
		t.Errorf("got %v", last)
	}
	if n := len(b.log.String()); n > 0 {
		t.Error(b.log.String())
	}
}

// TestSpells holds that a time of failure has one row, which ends with the next good run, and goes on over a restart.
func TestSpells(t *testing.T) {
	b := newBench(t, Options{})
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	b.Export(passedRun(1, at(0), time.Millisecond))
	b.Export(failedRun(1, at(1), result.ReasonTimeout, "no answer"))
	b.Export(failedRun(1, at(2), result.ReasonTimeout, "no answer after 10s"))
	b.clock = at(3)
	b.Alert(alert.Alert{ID: "a1", Number: 7, Rule: "failures", Identity: identity(1), State: alert.Hard, Severity: result.Critical, Since: at(1), Summary: "no answer"})
	_ = b.Note(at(2), "", "the rack was moved", "anna")
	b.clock = at(3)
	b.commit()
	b = b.again()
	b.clock = at(3)
	b.Alert(alert.Alert{ID: "a1", Number: 7, Rule: "failures", Identity: identity(1), State: alert.Hard, Severity: result.Critical, Since: at(1), Summary: "no answer"}) // told again
	b.Export(failedRun(1, at(3), result.ReasonTimeout, "no answer"))
	b.Export(failedRun(1, at(4), result.ReasonConnect, "refused"))
	b.Export(passedRun(2, at(4), time.Millisecond))
	_ = b.Deployment(at(4), "webmail 2.4.1", "", "ci", "https://ci.example.org/1")
	b.Export(passedRun(1, at(5), time.Millisecond))
	b.Export(failedRun(2, at(6), result.ReasonAuth, "no"))
	b.clock = at(6)
	b.commit()

	a, err := b.Account(t.Context(), at(0), at(10), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range a.Spells {
		ended := "lasts"
		if !s.Lasts() {
			ended = s.Ended.UTC().Format("15:04")
		}
		got = append(got, fmt.Sprintf("%s %s–%s %d %s %s", s.Identity.Scenario, s.Began.UTC().Format("15:04"), ended, s.Runs, s.Reason, s.Step))
	}
	if want := []string{`Log in to mailbox 1 22:01–22:04 3 timeout I open "<url>"`, `Log in to mailbox 1 22:04–22:05 1 connect I open "<url>"`,
		`Log in to mailbox 2 22:06–lasts 1 auth I open "<url>"`}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	got = nil
	for _, e := range a.Events {
		got = append(got, e.Kind+" "+e.State+" "+e.Title+" "+e.Identity.Scenario)
	}
	if want := []string{"note  the rack was moved ", "alert hard no answer Log in to mailbox 1", "deployment  webmail 2.4.1 "}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if len(a.Sessions) != 2 || a.Scenarios != 2 || a.Counts[identity(1).ID()] != (Counts{OK: 2, Critical: 4}) {
		t.Errorf("got %+v", a)
	}
	// At one moment, and of one scenario.
	a, err = b.Account(t.Context(), at(4), at(4), []string{identity(2).ID()})
	if err != nil || len(a.Spells) != 0 || a.Scenarios != 1 || a.Counts[identity(2).ID()].OK != 1 || len(a.Events) != 1 {
		t.Errorf("got %+v, %v", a, err)
	}
	a, err = b.Account(t.Context(), at(-90), at(-80), nil)
	if err != nil || len(a.Spells) != 0 || len(a.Sessions) != 0 {
		t.Errorf("got %+v, %v", a, err)
	}
}

// TestLate holds that runs of a day that is over are counted where they belong, as after a clock that was set back.
func TestLate(t *testing.T) {
	b := newBench(t, Options{})
	want := Counts{}
	for _, day := range []int{0, 1, 2, 9, 1, 3, 2, 4, 0, 5} {
		for hour := range 3 {
			b.clock = start.Add(time.Duration(day)*24*time.Hour + time.Duration(hour-20)*time.Hour)
			b.Export(passedRun(1, b.clock, time.Millisecond))
			want.OK++
			b.clock = b.clock.Add(time.Hour)
			b.commit()
		}
	}
	for _, to := range []int{30, 6, 0} {
		counts, _, err := b.Uptime(t.Context(), start.Add(-10*24*time.Hour), start.Add(time.Duration(to)*24*time.Hour))
		got := counts[identity(1).ID()]
		expected := map[int]uint64{30: 30, 6: 27, 0: 6}[to]
		if err != nil || got.OK != expected {
			t.Errorf("up to day %d: got %+v, %v, want %d", to, got, err, expected)
		}
	}
	series, _, err := b.Percentiles(t.Context(), identity(1).ID(), start.Add(-20*time.Hour), start.Add(30*24*time.Hour), 1000*time.Hour, []float64{0.5})
	if err != nil || series[0].Points[0].Count != want.OK {
		t.Errorf("got %+v, %v", series, err)
	}
}

func TestRunsSelected(t *testing.T) {
	b := newBench(t, Options{})
	for minute := range 300 {
		b.clock = start.Add(time.Duration(minute) * time.Minute)
		for n := range 3 {
			if minute%100 == 10*n {
				b.Export(failedRun(n, b.clock, result.ReasonTimeout, "no answer"))
			} else {
				b.Export(passedRun(n, b.clock, time.Millisecond))
			}
		}
		b.commit()
	}
	for _, c := range []struct {
		query Query
		runs  int
		more  bool
	}{
		{Query{}, 900, false},
		{Query{Limit: 100}, 100, true},
		{Query{Limit: 900}, 900, false},
		{Query{Failed: true}, 9, false},
		{Query{Failed: true, Limit: 4}, 4, true},
		{Query{Scenarios: []string{identity(1).ID()}}, 300, false},
		{Query{Scenarios: []string{identity(1).ID(), identity(2).ID()}, Failed: true}, 6, false},
		{Query{Scenarios: []string{identity(1).ID()}, Since: start.Add(70 * time.Minute), Until: start.Add(190 * time.Minute)}, 121, false},
		{Query{Scenarios: []string{identity(1).ID()}, Since: start.Add(70 * time.Minute), Until: start.Add(190 * time.Minute), Failed: true}, 1, false},
		{Query{Since: start.Add(10 * time.Minute), Until: start.Add(10 * time.Minute)}, 3, false},
		{Query{Scenarios: []string{"000000000000"}}, 0, false},
	} {
		runs, more, err := b.Runs(t.Context(), c.query)
		if err != nil || len(runs) != c.runs || more != c.more {
			t.Errorf("%+v: %d runs, %v, %v; want %d, %v", c.query, len(runs), more, err, c.runs, c.more)
		}
		if !slices.IsSortedFunc(runs, func(a, b Run) int { return b.Started.Compare(a.Started) }) {
			t.Errorf("%+v: not sorted", c.query)
		}
		if c.query.Limit == 100 && !runs[99].Started.Equal(start.Add(266*time.Minute)) {
			t.Errorf("not the newest: the last one is of %s", runs[99].Started)
		}
	}
}
