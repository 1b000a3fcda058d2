// Package latest keeps the last result of each scenario in memory, for who asks what a running agent saw last: GET /api/results.
//
// It needs neither history nor disk, so the answer is there when those are not. After a restart there is no result until the
// first new run, but the state before it (package state).
package latest

import (
	"slices"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// Results keeps the last result of each scenario, without its evidence. It is an alert.Source that raises no alert. The zero
// value is empty and ready; any number of goroutines may use it.
type Results struct {
	mu    sync.RWMutex
	last  map[key]*result.Result
	sweep int // with how many scenarios those that are gone are removed next
}

// key is the part of an Identity that is unique.
type key struct{ feature, scenario, example string }

func keyOf(id *result.Identity) key { return key{id.Feature, id.Scenario, id.Example} }

// sweepLeast is with how many scenarios those that are gone are removed for the first time.
const sweepLeast = 64

// Observe keeps a result.
func (l *Results) Observe(r *result.Result) []alert.Alert {
	if slices.ContainsFunc(r.Steps, hasEvidence) {
		r = withoutEvidence(r)
	}
	k := keyOf(&r.Identity)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.last[k]; !known {
		if l.last == nil {
			l.last, l.sweep = make(map[key]*result.Result), sweepLeast
		}
		if len(l.last) >= l.sweep { // each time twice as many, so it is linear
			l.removeGone(time.Now())
			l.sweep = max(sweepLeast, 2*len(l.last))
		}
	}
	l.last[k] = r
	return nil
}

// removeGone removes scenarios that a reload has removed: they have had no result for very long.
func (l *Results) removeGone(now time.Time) {
	for k, r := range l.last {
		if now.Sub(r.Started) > time.Hour+3*(max(r.Interval, r.Backoff)+r.Timeout) {
			delete(l.last, k)
		}
	}
}

// Of returns the last result of a scenario, or nil if there was none since the agent started.
func (l *Results) Of(id result.Identity) *result.Result {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last[keyOf(&id)]
}

func hasEvidence(s result.StepResult) bool {
	return len(s.Evidence) > 0 || slices.ContainsFunc(s.Steps, hasEvidence)
}

// withoutEvidence returns a copy without evidence, which may be a megabyte and is on the disk.
func withoutEvidence(r *result.Result) *result.Result {
	c := *r
	c.Steps = stepsWithoutEvidence(r.Steps)
	return &c
}

func stepsWithoutEvidence(steps []result.StepResult) []result.StepResult {
	c := slices.Clone(steps)
	for i := range c {
		c[i].Evidence, c[i].Steps = nil, stepsWithoutEvidence(c[i].Steps)
	}
	return c
}
