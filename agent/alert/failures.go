package alert

import (
	"sync"

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
	open map[result.Identity]Alert
}

// NewFailures returns the rule without open alerts.
func NewFailures() *Failures { return &Failures{open: make(map[result.Identity]Alert)} }

// Observe implements Source.
func (f *Failures) Observe(r *result.Result) []Alert {
	if r.Lack != nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before, isOpen := f.open[r.Identity]
	severity := r.State()
	if severity == result.OK {
		if !isOpen {
			return nil
		}
		delete(f.open, r.Identity)
		before.State, before.Severity, before.Summary = Resolved, result.OK, r.Summary()
		return []Alert{before}
	}
	now := Alert{Rule: failures, Identity: r.Identity, State: Soft, Severity: severity, Since: r.Started, Summary: r.Summary()}
	if isOpen {
		now.Since = before.Since
	}
	if r.Attempt > r.Retries || before.State == Hard {
		now.State = Hard
	}
	f.open[r.Identity] = now
	if isOpen && before.State == now.State && before.Severity == now.Severity {
		return nil
	}
	return []Alert{now}
}
