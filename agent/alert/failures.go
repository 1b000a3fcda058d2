package alert

import (
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// failures is the name of the rule.
const failures = "failures"

func init() { Builtin.Register(failures, func() Source { return NewFailures() }) }

// Failures raises an alert for a scenario that is not OK: soft while it has retries left, hard after they are used up,
// and resolved by the first OK run. A run in which the machine of stepwatch lacked something proved nothing, and changes
// nothing: Lacks raises one alert for all of them.
type Failures struct {
	mu   sync.Mutex
	open map[result.Identity]failing
}

// failing is the part of an open alert that the next result needs. All scenarios may fail at once, so it is small.
type failing struct {
	state    State
	severity result.State
	since    time.Time
}

// NewFailures returns the rule without open alerts.
func NewFailures() *Failures { return &Failures{open: make(map[result.Identity]failing)} }

// Observe implements Source.
func (f *Failures) Observe(r *result.Result) []Alert {
	if r.Lack != nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := r.Identity.Key() // a scenario that moved in its file is the same
	before, isOpen := f.open[key]
	severity := r.State()
	if severity == result.OK {
		if !isOpen {
			return nil
		}
		f.remove(key)
		return []Alert{{Rule: failures, Identity: r.Identity, State: Resolved, Severity: result.OK, Since: before.since, Summary: r.Summary()}}
	}
	now := Alert{Rule: failures, Identity: r.Identity, State: Soft, Severity: severity, Since: r.Started, Summary: r.Summary()}
	if isOpen {
		now.Since = before.since
	}
	if r.Attempt > r.Retries || before.state == Hard {
		now.State = Hard
	}
	f.open[key] = failing{now.State, now.Severity, now.Since}
	if isOpen && before.state == now.State && before.severity == now.Severity {
		return nil
	}
	return []Alert{now}
}

// remove forgets an open alert. The caller holds mu.
func (f *Failures) remove(key result.Identity) {
	delete(f.open, key)
	if len(f.open) == 0 {
		f.open = make(map[result.Identity]failing) // a map does not shrink, and an outage may have filled it
	}
}

// Forget implements Forgetter.
func (f *Failures) Forget(id result.Identity, _ time.Time) []Alert {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, isOpen := f.open[id.Key()]
	if !isOpen {
		return nil
	}
	f.remove(id.Key())
	return []Alert{{Rule: failures, Identity: id, State: Resolved, Severity: result.OK, Since: before.since, Summary: removed}}
}
