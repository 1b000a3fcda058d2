package state

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// Scenario is what is known about a scenario now. Its JSON is an element of GET /api/scenarios.
type Scenario struct {
	ID string `json:"id"` // Identity.ID
	result.Identity
	Tags []string `json:"tags"` // as written, with "@", those of the feature too

	// State is what holds now. While an alert is hard, it is the alert's severity, although a single run may have passed
	// (@alert:3of5). It is UNKNOWN while nothing is known: before the first run, and while the last result is stale or proved nothing.
	State result.State `json:"state"`
	// Hard is false while the state may be a temporary problem. OK is always hard.
	Hard bool `json:"hard"`
	// Since is when the state began: the start of the first run that had it. Zero before the first run.
	Since time.Time `json:"since,omitzero"`

	Attempt     int           `json:"attempt"`                  // of the last run: 1, and one more after each run that was not OK
	Retries     int           `json:"retries"`                  // how many attempts may fail before a failure is hard
	LastRun     time.Time     `json:"last_run,omitzero"`        // start of the last run; zero if there was none
	LastRunID   string        `json:"last_run_id,omitempty"`    // Result.Run
	LastState   result.State  `json:"last_state"`               // of the last result; UNKNOWN if there was none
	LastSummary string        `json:"last_summary"`             // Result.Summary of the last result, in one line
	LastReason  result.Reason `json:"last_reason,omitempty"`    // why it did not pass; empty when it passed
	Blame       result.Blame  `json:"blame,omitempty"`          // whose fault that is; empty when it passed
	Duration    Seconds       `json:"duration_seconds"`         // of the last run's steps
	Interval    Seconds       `json:"interval_seconds"`         // of the schedule; zero without a schedule
	Backoff     Seconds       `json:"backoff_seconds,omitzero"` // the time between runs while the target does not answer; zero while Interval holds
	Next        time.Time     `json:"next_run,omitzero"`        // when it runs next, about; zero if unknown

	Stale        bool                   `json:"stale"`                  // no result for longer than its schedule allows, so State is UNKNOWN
	Flapping     bool                   `json:"flapping"`               // its state changes too often, so changes are not told
	Change       float64                `json:"state_change_percent"`   // weighted, of the last 21 results, as Nagios computes it
	ExplainedBy  string                 `json:"explained_by,omitempty"` // id of the needed scenario whose failure explains this one, or the kind of a lack, such as "uplink"
	Withheld     string                 `json:"withheld,omitempty"`     // why its alert is not told now, in words; empty if nothing is withheld
	Alert        string                 `json:"alert,omitempty"`        // id of its open alert, soft or hard
	Acknowledged *alert.Acknowledgement `json:"acknowledged,omitempty"` // of that alert
}

// Ran reports whether anything is known of the scenario at all.
func (s *Scenario) Ran() bool { return !s.LastRun.IsZero() }

// Seconds is a duration that is a number of seconds in JSON.
type Seconds time.Duration

// MarshalJSON returns the number of seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'g', -1, 64), nil
}

// UnmarshalJSON reads a number of seconds.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return fmt.Errorf("read a duration: want a number of seconds, got %q", text)
	}
	*s = Seconds(math.Round(n * float64(time.Second)))
	return nil
}
