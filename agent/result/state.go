package result

import (
	"fmt"
	"time"
)

// State is the state of a run for operators, in Nagios' terms and numbers (Nagios Plugin Development Guidelines,
// "Plugin Return Codes").
type State int

// The four states; the numbers are the plugin's exit codes.
const (
	OK State = iota
	Warning
	Critical
	Unknown
)

// String returns the state as in a status line.
func (s State) String() string {
	switch s {
	case OK:
		return "OK"
	case Warning:
		return "WARNING"
	case Critical:
		return "CRITICAL"
	default:
		return "UNKNOWN"
	}
}

// MarshalText returns the state as in a status line, for JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText returned.
func (s *State) UnmarshalText(text []byte) error {
	for _, state := range []State{OK, Warning, Critical, Unknown} {
		if state.String() == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("read a state: want OK, WARNING, CRITICAL or UNKNOWN, got %q", text)
}

// Worse returns the worse of two states, in the order CRITICAL, WARNING, UNKNOWN, OK. UNKNOWN is worse only than OK: a
// run that proved nothing must not hide one that proved a failure.
func (s State) Worse(other State) State {
	rank := [...]int{OK: 0, Unknown: 1, Warning: 2, Critical: 3}
	if rank[other] > rank[s] {
		return other
	}
	return s
}

// State returns the state of the run. A failed run is CRITICAL, or WARNING if a plugin reported that. A step over its
// budget makes it WARNING or CRITICAL. A run that proved nothing is UNKNOWN: undefined, ambiguous, pending or skipped
// steps, no step at all, or a fault of the monitor or the scenario, which must never be reported as the target's.
func (r *Result) State() State {
	switch {
	case len(r.Steps) == 0, r.Stale:
		return Unknown
	case r.Status == Failed && (r.Blame == BlameMonitor || r.Blame == BlameScenario):
		return Unknown
	case r.Status == Failed && r.Reason == ReasonWarning:
		return Warning
	case r.Status == Failed:
		return Critical
	case r.Status != Passed:
		return Unknown
	}
	worst := OK
	for _, s := range r.Steps {
		if !s.Ran || s.Status != Passed {
			return Unknown
		}
		if over := r.Budget.Judge(s.Duration); over > worst {
			worst = over
		}
	}
	return worst
}

// Judge returns the state for a step of duration d under this budget.
func (b Budget) Judge(d time.Duration) State {
	switch {
	case b.Crit > 0 && d > b.Crit:
		return Critical
	case b.Warn > 0 && d > b.Warn:
		return Warning
	default:
		return OK
	}
}

// Summary returns the result in one line: the step that did not pass with its error, the step furthest over its budget,
// or the number of passed steps. It says if the scenario runs less often than its schedule wants. It may contain text from
// a server, so it must be escaped for its destination.
func (r *Result) Summary() string {
	if r.Backoff == 0 {
		return r.outcome()
	}
	return fmt.Sprintf("%s (asked every %s instead of %s after %d timeouts)", r.outcome(), r.Backoff, r.Interval, r.Timeouts)
}

func (r *Result) outcome() string {
	if r.Stale {
		return r.Error
	}
	if len(r.Steps) == 0 {
		return "no step ran"
	}
	if s, found := r.Failing(); found {
		where := s.Keyword + " " + s.Text
		switch {
		case s.Error != "":
			return where + ": " + s.Error
		case r.Error != "":
			return where + ": " + r.Error
		default:
			return where + ": " + string(s.Status)
		}
	}
	if r.Status != Passed {
		return r.Error
	}
	slowest, state := r.Steps[0], r.State()
	for _, s := range r.Steps[1:] {
		if s.Duration > slowest.Duration {
			slowest = s
		}
	}
	took := func(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }
	switch state {
	case Critical:
		return fmt.Sprintf("%s %s: took %s, budget %s", slowest.Keyword, slowest.Text, took(slowest.Duration), took(r.Budget.Crit))
	case Warning:
		return fmt.Sprintf("%s %s: took %s, budget %s", slowest.Keyword, slowest.Text, took(slowest.Duration), took(r.Budget.Warn))
	default:
		return fmt.Sprintf("%d steps passed in %s", len(r.Steps), took(r.Duration))
	}
}
