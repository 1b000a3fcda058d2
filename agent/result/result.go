// Package result is the contract between the agent and everything that looks at its work: what happened in one run of
// one scenario, how long each step took, and whose fault a failure was.
//
// A Result is built by the runner, handed over once and never changed afterwards, so any number of readers may hold it.
// Durations come from the monotonic clock and hold only the step's own work: hooks, the wait for a worker and the
// preparation before the first step are outside (Delay and Prepare have those). The package imports the standard
// library only, and it knows no step, no schedule and no exporter.
package result

import (
	"slices"
	"time"
)

// Status is the outcome of a step or of a run, in Cucumber's words.
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

// Identity says which scenario a result belongs to. Feature, Scenario and Example together are unique among the loaded
// scenarios, stable over restarts, and fit for labels: they hold what the author wrote and nothing met at run time.
type Identity struct {
	Feature  string // the feature's name
	Scenario string // the scenario's name as written, outline placeholders unfilled
	Example  string // the outline row, "relay=mx1, port=25"; empty outside outlines
	File     string // path of the feature file as it was given
	Line     int    // line of the scenario, or of the outline row; starts at 1
	Owner    string // @owner, or empty
	Severity string // @severity, or empty
	Location string // @location, or empty
}

// String gives the place and name as a person would look it up.
func (id Identity) String() string {
	if id.Example != "" {
		return id.Feature + ": " + id.Scenario + " (" + id.Example + ")"
	}
	return id.Feature + ": " + id.Scenario
}

// Budget is how long each step may take before the run is WARNING or CRITICAL although it passed. Zero means no limit.
type Budget struct {
	Warn time.Duration
	Crit time.Duration
}

// Result is one run of one scenario.
type Result struct {
	Identity Identity
	Run      string        // id of this run, unguessable, unique over all agents
	Attempt  int           // 1 after a good run or at the start, one more after each run that was not OK
	Retries  int           // how many attempts may fail before the failure is hard
	Due      time.Time     // when the schedule wanted it
	Started  time.Time     // when it began; wall clock
	Delay    time.Duration // Due to Started: stepwatch's own lateness, never part of a step
	Prepare  time.Duration // opening of what must stand before the first step, such as the mailbox; outside every step
	Duration time.Duration // the sum of the steps' durations
	Status   Status
	Reason   Reason // why it did not pass; empty when it passed
	Blame    Blame  // whose fault that is; empty when it passed
	Error    string // one line: the act, the object, wanted and got; empty when it passed
	Budget   Budget
	Interval time.Duration // the schedule's interval; zero for a run asked for by hand
	Steps    []StepResult  // every step of the scenario in order, those that did not run included
	Cleanup  string        // what could not be put back afterwards, such as a test mail left behind; normally empty
}

// StepResult is what became of one step.
type StepResult struct {
	Keyword      string // as written, trimmed: "When", "Und", "*"
	Text         string // the step's text, outline placeholders filled
	Label        string // the step's text as written, unique within the scenario, or within the step above; for labels
	File         string // of a step beneath another one: where it is written; empty for those of the scenario
	Line         int
	Status       Status
	Ran          bool          // false for a step that never began: it has no duration rather than zero
	Duration     time.Duration // of the step's own work; meaningful only when Ran
	Reason       Reason
	Blame        Blame
	Error        string
	Note         string // one line that the step has to say, passed or not, such as which way a mail took; normally empty
	Phases       []Phase
	Measurements []Measurement
	Evidence     []Evidence
	Steps        []StepResult // what the sentence stands for, where an operator has made it of others; what they report the step reports too
}

// Beneath stands between the labels of steps that lie beneath one another, the upper one first.
const Beneath = " › "

// Inner gives the step that decided it when the step's sentence is made of others and did not pass: the innermost one, with
// the texts of those on the way to it. It is false when there is none.
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
	Note     string // what the other side answered, such as "250 2.1.0 Ok"; free text, not for labels
}

// Measurement is a value that a step read, exported as a gauge whether or not the step passed.
type Measurement struct {
	Name   string // snake case with its base unit as suffix, without prefix: "http_status_code", "mail_queue_length"
	Help   string // one sentence
	Value  float64
	Labels []Label // tell apart what one step reads several times, such as the hops of a mail; normally none
}

// Label is a label of a measurement. Its values are few and known beforehand ("queue", "transfer"): never text that was
// met at run time, because each value is a time series for good.
type Label struct {
	Name  string // in snake case
	Value string
}

// Evidence is what a person wants to see of a failure: a transcript, a page's source. It is redacted before it gets here.
type Evidence struct {
	Name      string // "smtp transcript", "page"
	MediaType string // RFC 6838, such as "text/plain; charset=utf-8"
	Body      []byte
}

// Failing returns the step that decided the run: the first that neither passed nor was skipped. It is false when there
// is none.
func (r *Result) Failing() (StepResult, bool) {
	for _, s := range r.Steps {
		if s.Status != Passed && s.Status != Skipped {
			return s, true
		}
	}
	return StepResult{}, false
}
