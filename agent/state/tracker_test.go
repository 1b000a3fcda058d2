package state_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
)

// process is a tracker with its file, as an agent has it.
type process struct {
	t    *testing.T
	db   *database.DB
	log  bytes.Buffer
	undo map[string][]alert.Alert
	*state.Tracker

	mu   sync.Mutex
	told []alert.Alert
}

func start(t *testing.T, dir string, loaded ...string) *process {
	t.Helper()
	p := &process{t: t}
	log := slog.New(slog.NewTextHandler(&p.log, nil))
	var err error
	if p.db, err = database.Open(t.Context(), database.Options{Dir: dir, Name: state.File, Migrations: state.Migrations, Log: log}); err != nil {
		t.Fatal(err)
	}
	p.Tracker = state.Open(t.Context(), state.Options{DB: p.db, Log: log})
	var all []state.Declaration
	for _, name := range loaded {
		all = append(all, state.Declaration{Identity: identityOf(name), Interval: time.Minute, Timeout: 10 * time.Second, Tags: []string{"@mail"}, Retries: 1})
	}
	p.Declare(all, true)
	p.undo = p.Connect(state.Connection{Sinks: []string{"pager"}, Run: func(string) {}, Tell: func(alerts []alert.Alert) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = append(p.told, alerts...)
	}}, "lack")
	return p
}

// kill ends the tracker so that nothing that is not written yet is written.
func (p *process) kill() {
	p.t.Helper()
	if err := p.db.Close(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.Close() // it cannot write
}

// stop ends it as an agent does.
func (p *process) stop() {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Error(err)
	}
	if err := p.db.Close(); err != nil {
		p.t.Error(err)
	}
}

// heard waits until so many alerts were told, and returns them.
func (p *process) heard(n int) string {
	p.t.Helper()
	for range 500 {
		p.mu.Lock()
		done := len(p.told) >= n
		p.mu.Unlock()
		if done {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return shown(p.told)
}

// TestFreshAfterKill holds that a scenario that was OK until the program was killed is not stale when the next one begins: it
// would be UNKNOWN until its next run.
func TestFreshAfterKill(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		for _, lived := range []time.Duration{30 * time.Second, 4*time.Minute + 50*time.Second, 7 * time.Minute} {
			p := start(t, dir, "Log in")
			for began := time.Now(); time.Since(began) < lived; time.Sleep(time.Minute) {
				p.Observe(p.ran("Log in", true))
			}
			p.kill()
			next := start(t, dir, "Log in")
			if s := next.Snapshot()[0]; s.Stale || s.State != result.OK {
				t.Errorf("killed after %s: %s, stale %t, last run %s ago", lived, s.State, s.Stale, time.Since(s.LastRun))
			}
			next.stop()
		}
	})
}

func shown(alerts []alert.Alert) string {
	var all []string
	for _, a := range alerts {
		all = append(all, fmt.Sprintf("%d %s %s %s", a.Number, a.Identity.Scenario, a.State, a.Severity))
	}
	return strings.Join(all, "; ")
}

func identityOf(name string) result.Identity {
	return result.Identity{Feature: "Mail", Scenario: name, File: "mail.feature", Line: 3}
}

// ran returns the result of a run.
func (p *process) ran(name string, passed bool) *result.Result {
	r := &result.Result{Identity: identityOf(name), Run: "the run", Attempt: p.Attempt(identityOf(name)), Retries: 1, Started: time.Now(), Interval: time.Minute, Status: result.Passed,
		Duration: 2 * time.Second, Steps: []result.StepResult{{Keyword: "When", Text: "it works", Status: result.Passed, Ran: true}}}
	if !passed {
		r.Status, r.Reason, r.Blame = result.Failed, result.ReasonUnexpected, result.BlameWeb
		r.Steps[0].Status, r.Steps[0].Error = result.Failed, "it does not"
	}
	return r
}

func (p *process) run(name string, passed bool) { p.Observe(p.ran(name, passed)) }

// TestTrackerOverAKill holds that what was told is known after a kill, what was not delivered is delivered again with its number,
// and that the last state is there before the first run.
func TestTrackerOverAKill(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "a", "b")
	p.run("a", false)
	p.run("a", false)
	p.run("b", false)
	if got, want := p.heard(3), "1 a soft CRITICAL; 2 a hard CRITICAL; 3 b soft CRITICAL"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	p.Delivered("pager", 1)
	before, _ := p.Scenario(identityOf("a").ID())
	time.Sleep(1500 * time.Millisecond) // what is not an alert is written within a second
	p.kill()

	p = start(t, dir, "a", "b")
	if got, want := shown(p.undo["pager"]), "2 a hard CRITICAL; 3 b soft CRITICAL"; got != want {
		t.Errorf("delivered again: %s, want %s", got, want)
	}
	after, _ := p.Scenario(identityOf("a").ID())
	if after.State != result.Critical || !after.Hard || after.LastSummary != before.LastSummary || !after.Since.Equal(before.Since) || !after.LastRun.Equal(before.LastRun) ||
		after.Alert != before.Alert || after.Alert == "" || after.Duration != before.Duration || after.LastRunID != "the run" || after.Attempt != 2 || after.Stale {
		t.Errorf("got  %+v\nwant %+v", after, before)
	}
	if got := []int{p.Attempt(identityOf("a")), p.Attempt(identityOf("b")), p.Attempt(identityOf("c"))}; got[0] != 3 || got[1] != 2 || got[2] != 1 {
		t.Errorf("the next attempts are %v, want 3, 2 and 1", got)
	}
	if err := p.Acknowledge(after.Alert, "anna", "on it"); err != nil {
		t.Error(err)
	}
	p.run("b", false)
	p.run("a", false)
	if got, want := p.heard(2), "4 a hard CRITICAL; 5 b hard CRITICAL"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	p.kill()

	p = start(t, dir, "a", "b")
	if s, _ := p.Scenario(identityOf("a").ID()); s.Acknowledged == nil || s.Acknowledged.Author != "anna" || s.Acknowledged.Comment != "on it" {
		t.Errorf("the acknowledgement is %+v", s.Acknowledged)
	}
	p.run("a", true)
	p.run("b", true)
	if got, want := p.heard(2), "6 a resolved OK; 7 b resolved OK"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	p.Delivered("pager", 7)
	p.stop()

	p = start(t, dir, "a", "b")
	defer p.stop()
	if len(p.undo) > 0 || len(p.Alerts()) > 0 {
		t.Errorf("delivered again: %v, open: %v", p.undo, p.Alerts())
	}
	if s := p.Snapshot()[0]; s.State != result.OK || s.LastSummary != "1 steps passed in 2.000s" {
		t.Errorf("got %s: %s", s.State, s.LastSummary)
	}
}

// TestTrackerKeepsAlertsOfRules holds that the alerts of a rule that remembers go on after a restart, and that those of another
// end.
func TestTrackerKeepsAlertsOfRules(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "a")
	lack := alert.Alert{Rule: "lack", State: alert.Hard, Severity: result.Unknown, Lack: &result.Lack{Kind: "ports", Said: "no ports"}, Since: time.Now()}
	other := alert.Alert{Rule: "other", Identity: identityOf("a"), State: alert.Hard, Severity: result.Warning, Since: time.Now()}
	p.Take([]alert.Alert{lack, other})
	if got, want := p.heard(2), "1  hard UNKNOWN; 2 a hard WARNING"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	p.kill()
	p = start(t, dir, "a")
	defer p.stop()
	if told := p.Told(); len(told) != 1 || told[0].Lack == nil || told[0].Lack.Kind != "ports" {
		t.Errorf("open are %+v", told)
	}
	p.Take([]alert.Alert{lack}) // raised anew
	lack.State, lack.Severity = alert.Resolved, result.OK
	p.Take([]alert.Alert{lack})
	if got, want := p.heard(1), "3  resolved OK"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// TestTrackerWithoutItsFile holds that alerts are told although nothing can be written, that the log says so once, and that
// everything is written when it is possible again.
func TestTrackerWithoutItsFile(t *testing.T) {
	p := start(t, t.TempDir(), "a")
	if err := p.db.Close(); err != nil {
		t.Fatal(err)
	}
	p.run("a", false)
	p.run("a", false)
	p.run("a", true)
	if got, want := p.heard(3), "1 a soft CRITICAL; 2 a hard CRITICAL; 3 a resolved OK"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	if p.Trouble() == nil || p.Close() == nil {
		t.Error("nothing says that states are not kept")
	}
	if n := strings.Count(p.log.String(), "states cannot be kept"); n != 1 {
		t.Errorf("the log says so %d times: %s", n, &p.log)
	}
}

// TestTrackerReadsNoFile holds that a tracker without a file, and one with a file that cannot be read, work.
func TestTrackerReadsNoFile(t *testing.T) {
	db, err := database.Open(t.Context(), database.Options{Dir: t.TempDir(), Name: state.File, Migrations: state.Migrations})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	tracker := state.Open(context.Background(), state.Options{DB: db, Log: slog.New(slog.NewTextHandler(&log, nil))})
	p := &process{t: t, Tracker: tracker}
	p.run("a", false)
	if len(tracker.Alerts()) != 1 || !strings.Contains(log.String(), "the states of the last run cannot be read") {
		t.Errorf("alerts %v, log %s", tracker.Alerts(), &log)
	}
}

// TestTrackerForgetsRemovedScenarios holds that the alert of a scenario that is no longer loaded ends, unless a file could not be
// read.
func TestTrackerForgetsRemovedScenarios(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "a", "b")
	p.run("a", false)
	p.run("a", false)
	p.heard(2)
	p.Declare([]state.Declaration{{Identity: identityOf("b")}}, false)
	if alerts := p.Alerts(); len(alerts) != 1 || len(p.Snapshot()) != 1 {
		t.Errorf("the open alerts are %v, and %d scenarios are loaded", alerts, len(p.Snapshot()))
	}
	p.stop()
	p = start(t, dir, "b")
	if got, want := p.heard(1), "3 a resolved OK"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	p.stop()
	p = start(t, dir, "a", "b")
	defer p.stop()
	if s, _ := p.Scenario(identityOf("a").ID()); s.Ran() {
		t.Errorf("it is still known: %+v", s)
	}
}

// BenchmarkObserve reports what a further OK costs.
func BenchmarkObserve(b *testing.B) {
	tracker := state.Open(context.Background(), state.Options{})
	r := (&process{Tracker: tracker}).ran("a", true)
	r.Targets = []string{"www.example.org:443"}
	tracker.Observe(r)
	b.ReportAllocs()
	for b.Loop() {
		tracker.Observe(r)
	}
}

// TestTrackerCommitsBeforeItTells reads the file when an alert is told: it must be there.
func TestTrackerCommitsBeforeItTells(t *testing.T) {
	o := database.Options{Dir: t.TempDir(), Name: state.File, Migrations: state.Migrations}
	db, err := database.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tracker := state.Open(t.Context(), state.Options{DB: db})
	told := make(chan error, 10)
	tracker.Connect(state.Connection{Sinks: []string{"pager"}, Run: func(string) {}, Tell: func(alerts []alert.Alert) {
		told <- db.Read(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			for _, a := range alerts {
				var alerts, records int
				if err := tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM alert WHERE number = ?), (SELECT count(*) FROM scenario WHERE record LIKE '%' || ? || '%')", a.Number, a.ID).Scan(&alerts, &records); err != nil {
					return err
				}
				if alerts != 1 || records != 1 {
					return fmt.Errorf("the file has %d alerts %d and %d records of it", alerts, a.Number, records)
				}
			}
			return nil
		})
	}})
	p := &process{t: t, Tracker: tracker}
	p.run("a", false)
	if err := <-told; err != nil {
		t.Error(err)
	}
	if err := tracker.Close(); err != nil {
		t.Error(err)
	}
}

// TestTrackerGoesOnCounting holds that the numbers of alerts rise over a restart, also when nobody takes alerts.
func TestTrackerGoesOnCounting(t *testing.T) {
	o := database.Options{Dir: t.TempDir(), Name: state.File, Migrations: state.Migrations}
	for _, want := range []string{"1 a soft CRITICAL", "2 a hard CRITICAL", "3 a resolved OK"} {
		db, err := database.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		p := &process{t: t, db: db, Tracker: state.Open(t.Context(), state.Options{DB: db})}
		p.Connect(state.Connection{Run: func(string) {}, Tell: func(alerts []alert.Alert) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.told = append(p.told, alerts...)
		}})
		p.run("a", want[0] == '3')
		if got := p.heard(1); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		p.stop()
	}
}
