// Package state keeps the state of each scenario and its open alerts.
package state

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// Quiet says when the alerts of a scenario are not told: during a silence or a maintenance window.
type Quiet interface {
	// Quiet returns why the alerts of a scenario are not told at a time, such as `silence 3f2a: "moving the rack" by anna`.
	// It is called under a lock, often, and so must be quick. tags are as in Scenario.
	Quiet(id result.Identity, tags []string, now time.Time) (why string, quiet bool)
}

// Declaration is a loaded scenario and what its tags and the configuration say about its alerts.
type Declaration struct {
	Identity result.Identity
	Tags     []string      // as written, with "@"
	Interval time.Duration // of its schedule; zero without a schedule
	Timeout  time.Duration // of a run
	Retries  int
	Some, Of int      // @alert:3of5: hard when Some of the last Of runs were not OK; zero without
	Steady   bool     // @flapping:off
	Needs    []string // ids of the scenarios whose failure explains the failure of this one
}

// Tracker keeps the states. Its methods may be called from any goroutine.
type Tracker struct {
	mu        sync.Mutex
	scenarios map[string]*Scenario
	open      map[string]*alert.Alert // by scenario
	order     []string
}

// New returns a tracker that knows no scenario yet.
func New() *Tracker {
	return &Tracker{scenarios: make(map[string]*Scenario), open: make(map[string]*alert.Alert)}
}

// Declare sets the loaded scenarios.
func (t *Tracker) Declare(loaded []Declaration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.order = t.order[:0]
	for _, d := range loaded {
		s := t.scenario(d.Identity)
		s.Identity, s.Tags, s.Interval, s.Retries = d.Identity, d.Tags, Seconds(d.Interval), d.Retries
		t.order = append(t.order, s.ID)
	}
}

func (t *Tracker) scenario(id result.Identity) *Scenario {
	key := id.ID()
	s := t.scenarios[key]
	if s == nil {
		s = &Scenario{ID: key, Identity: id, State: result.Unknown, LastState: result.Unknown, Attempt: 1, LastSummary: "it has not run yet", Tags: []string{}}
		t.scenarios[key] = s
		t.order = append(t.order, key)
	}
	return s
}

// Observe takes a result and returns the alerts that it changes.
func (t *Tracker) Observe(r *result.Result) []alert.Alert {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.scenario(r.Identity)
	state := r.State()
	if s.LastState != state || s.Since.IsZero() {
		s.Since = r.Started
	}
	s.Identity = r.Identity
	s.Attempt, s.Retries, s.Interval, s.Backoff = r.Attempt, r.Retries, Seconds(r.Interval), Seconds(r.Backoff)
	if !r.Stale {
		s.LastRun, s.LastRunID, s.Duration = r.Started, r.Run, Seconds(r.Duration)
	}
	s.State, s.LastState, s.LastSummary, s.LastReason, s.Blame, s.Stale = state, state, r.Summary(), r.Reason, r.Blame, r.Stale
	s.Hard = state == result.OK || r.Attempt > r.Retries
	before := t.open[s.ID]
	if r.Lack != nil {
		s.ExplainedBy = r.Lack.Kind
		return nil
	}
	s.ExplainedBy = ""
	if state == result.OK {
		if before == nil {
			return nil
		}
		delete(t.open, s.ID)
		s.Alert, s.Acknowledged = "", nil
		a := *before
		a.State, a.Severity, a.Summary = alert.Resolved, result.OK, s.LastSummary
		return []alert.Alert{a}
	}
	now := alert.Alert{Rule: "failures", Identity: r.Identity, State: alert.Soft, Severity: state, Since: r.Started, Summary: s.LastSummary}
	if before != nil {
		now.Since, now.Acknowledged = before.Since, before.Acknowledged
	}
	now.ID = alert.NewID(now.Rule, s.ID, now.Since)
	if s.Hard || before != nil && before.State == alert.Hard {
		now.State = alert.Hard
	}
	t.open[s.ID], s.Alert = &now, now.ID
	if before != nil && before.State == now.State && before.Severity == now.Severity {
		return nil
	}
	return []alert.Alert{now}
}

// Snapshot returns the loaded scenarios in the order in which they are loaded.
func (t *Tracker) Snapshot() []Scenario {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Scenario, len(t.order))
	for i, id := range t.order {
		all[i] = *t.scenarios[id]
	}
	return all
}

// Scenario returns a loaded scenario by its id.
func (t *Tracker) Scenario(id string) (s Scenario, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.scenarios[id]; p != nil {
		return *p, true
	}
	return Scenario{}, false
}

// Alerts returns the open alerts, soft and hard, the oldest first. Withheld says which of them are not told.
func (t *Tracker) Alerts() []alert.Alert {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []alert.Alert
	for _, a := range t.open {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b alert.Alert) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// NoAlertError is that no open alert has an id.
type NoAlertError struct{ ID string }

// Error says what to do.
func (e *NoAlertError) Error() string {
	return fmt.Sprintf("no open alert has the id %q: it may be resolved; list the open ones", e.ID)
}

// Acknowledge notes that somebody takes care of an open alert. It returns a NoAlertError if there is no such alert.
func (t *Tracker) Acknowledge(alertID, author, comment string) error {
	return t.acknowledge(alertID, &alert.Acknowledgement{Author: author, Comment: comment, At: time.Now()})
}

// Unacknowledge withdraws what Acknowledge noted. It returns a NoAlertError if there is no such alert.
func (t *Tracker) Unacknowledge(alertID string) error { return t.acknowledge(alertID, nil) }

func (t *Tracker) acknowledge(alertID string, by *alert.Acknowledgement) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, a := range t.open {
		if a.ID == alertID {
			a.Acknowledged = by
			t.scenarios[id].Acknowledged = by
			return nil
		}
	}
	return &NoAlertError{alertID}
}

// Tick tells what the time alone changes: the end of a silence, or of a wait for another scenario.
func (t *Tracker) Tick(now time.Time) {}

// Close writes what is not written yet.
func (t *Tracker) Close() error { return nil }
