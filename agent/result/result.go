// Package result is the contract between the agent and the users of its results: what happened in one run of one
// scenario, how long each step took, and whose fault a failure was.
//
// The runner builds a Result, passes it on once and never changes it afterwards, so any number of readers may hold it.
// Durations come from the monotonic clock and contain only the step's own work. Hooks, the wait for a worker and the
// preparation before the first step are not included (see Delay and Prepare). The package imports only the standard
// library, and knows no steps, schedules and exporters.
package result

import (
	"slices"
	"time"
)

// Status is the outcome of a step or of a run, in Cucumber's terms.
type Status string

// The six statuses. A run has the status of its first step that did not pass.
const (
	Passed    Status = "passed"
	Failed    Status = "failed"
	Skipped   Status = "skipped"
	Pending   Status = "pending"
	Undefined Status = "undefined"
	Ambiguous Status = "ambiguous"
)

// Statuses lists every Status, for exporters that start their counters at zero.
var Statuses = []Status{Passed, Failed, Skipped, Pending, Undefined, Ambiguous}

// Budget is the duration above which a passed step makes the run WARNING or CRITICAL. Zero means no limit.
type Budget struct {
	Warn time.Duration
	Crit time.Duration
}

// Result is one run of one scenario.
type Result struct {
	Identity Identity
	Run      string        // id of this run, unguessable, unique over all agents
	Attempt  int           // 1 after a good run or at the start, one more after each run that was not OK, except for a lack
	Retries  int           // how many attempts may fail before the failure is hard
	Due      time.Time     // when the schedule required it
	Started  time.Time     // when it began; wall clock
	Delay    time.Duration // Due to Started: stepwatch's own lateness, never part of a step
	Prepare  time.Duration // preparation before the first step, such as opening the mailbox; outside every step
	Duration time.Duration // the sum of the steps' durations
	Status   Status
	Reason   Reason // why it did not pass; empty when it passed
	Blame    Blame  // whose fault that is; empty when it passed
	Error    string // one line: action, object, wanted and got; empty when it passed
	Lack     *Lack  // what the machine of stepwatch lacks, if that is why; nil otherwise
	Budget   Budget
	Interval time.Duration // the schedule's interval; zero for a run started by hand
	Timeout  time.Duration // the deadline of the run, for Prepare and Duration; zero if nothing ran
	Steps    []StepResult  // every step of the scenario in order, including those that did not run
	Cleanup  string        // what could not be cleaned up afterwards, such as a test mail; normally empty

	// Stale means that no run took place: a due run could not start, or did not end, in time. Then nothing is known about the
	// target any more, so the state is UNKNOWN. Run, Delay and every duration are empty, no step ran, and Started is the time
	// of this statement. Such a result must not be counted as a run.
	Stale bool

	Targets  []string      // the addresses, "host:port", that the run connected to or tried to, at most eight
	Answered time.Time     // when another machine last accepted or refused a connection; zero if none did
	Doubtful bool          // the network of this machine may be why it failed: whether it is, the next runs of others decide
	Refused  bool          // the failure is such an answer: the other machine refused or closed the connection
	Timeouts int           // how many runs in a row, with this one, got no answer in time
	Backoff  time.Duration // the time between runs because of those timeouts; zero while Interval holds
}

// StepResult is the result of one step.
type StepResult struct {
	Keyword      string // as written, trimmed: "When", "Und", "*"
	Text         string // the step's text, outline placeholders filled
	Label        string // the step's text as written, unique within the scenario, or within the step above; for labels
	File         string // the file of a step below another one; empty for those of the scenario
	Line         int
	Status       Status
	Ran          bool          // false for a step that never started: it has no duration, not zero
	Duration     time.Duration // of the step's own work; meaningful only when Ran
	Reason       Reason
	Blame        Blame
	Error        string
	Lack         *Lack  // as in Result
	Note         string // one line of information, passed or not, such as the path of a mail; normally empty
	Phases       []Phase
	Measurements []Measurement
	Evidence     []Evidence
	Steps        []StepResult // the inner steps of a sentence composed of others; their reports are also in the step
}

// Lack is what the machine that stepwatch runs on lacked in a run, which so proved nothing about the target. All scenarios
// that meet the same lack have the same Kind.
type Lack struct {
	Kind   string `json:"kind"`   // one of a few, for labels: "descriptors", "route"
	Said   string `json:"said"`   // what is missing, in one line
	Remedy string `json:"remedy"` // what to do, in one line: "raise LimitNOFILE= of the unit, now 1024"
}

// Beneath separates the labels of nested steps, the outer one first.
const Beneath = " › "

// Inner returns the innermost step that did not pass, if the step's sentence is composed of others, with the labels of
// the steps on the path to it. found is false when there is none.
func (s *StepResult) Inner() (path []string, inner StepResult, found bool) {
	inner = *s
	for {
		i := slices.IndexFunc(inner.Steps, func(s StepResult) bool { return s.Status != Passed && s.Status != Skipped })
		if i < 0 {
			return path, inner, len(path) > 0
		}
		inner = inner.Steps[i]
		path = append(path, inner.Label)
	}
}

// Phase is a named part of a step's time, such as "connect" or "tls". A phase that did not happen is absent, never zero.
type Phase struct {
	Name     string
	Duration time.Duration
	Note     string // the server's answer, such as "250 2.1.0 Ok"; free text, not for labels
}

// Measurement is a value that a step read, exported as a gauge whether or not the step passed.
type Measurement struct {
	Name   string // snake case with its base unit as suffix, without prefix: "http_status_code", "mail_queue_length"
	Help   string // one sentence
	Value  float64
	Labels []Label // distinguish several values of one step, such as the hops of a mail; normally none
}

// Label is a label of a measurement. It has few values that are known beforehand ("queue", "transfer"), never text from
// run time, because each value is a new time series.
type Label struct {
	Name  string `json:"name"` // in snake case
	Value string `json:"value"`
}

// Evidence helps people to understand a failure: a transcript, a page's source. It is already redacted.
type Evidence struct {
	Name      string // "smtp transcript", "page"
	MediaType string // RFC 6838, such as "text/plain; charset=utf-8"
	Body      []byte
}

// Failing returns the step that decided the run: the first that neither passed nor was skipped. The bool is false when
// there is none.
func (r *Result) Failing() (StepResult, bool) {
	for _, s := range r.Steps {
		if s.Status != Passed && s.Status != Skipped {
			return s, true
		}
	}
	return StepResult{}, false
}
