package latest

import (
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
)

// Answer is the JSON of GET /api/results.
type Answer struct {
	Now       time.Time  `json:"now"` // of the agent's clock, with which the age of what follows is known
	Scenarios []Scenario `json:"scenarios"`
	Unknown   []string   `json:"unknown,omitempty"` // ids of the query that no loaded scenario has
}

// Scenario is a scenario with its last result.
type Scenario struct {
	state.Scenario
	Explained string `json:"explained,omitempty"` // what ExplainedBy means, in words
	Result    *Run   `json:"result,omitempty"`    // nil if there was none since the agent started
}

// Run is a result in JSON: everything but the evidence.
type Run struct {
	ID       string        `json:"id,omitempty"`
	Started  time.Time     `json:"started,omitzero"`
	Attempt  int           `json:"attempt"`
	Retries  int           `json:"retries"`
	Prepare  state.Seconds `json:"prepare_seconds"`
	Duration state.Seconds `json:"duration_seconds"`
	Timeout  state.Seconds `json:"timeout_seconds"` // the deadline; zero if no run took place
	Interval state.Seconds `json:"interval_seconds"`
	Backoff  state.Seconds `json:"backoff_seconds,omitzero"`
	Timeouts int           `json:"timeouts,omitzero"`
	Warn     state.Seconds `json:"warn_seconds,omitzero"` // the budget of each step
	Crit     state.Seconds `json:"crit_seconds,omitzero"`
	Status   result.Status `json:"status"`
	Reason   result.Reason `json:"reason,omitempty"`
	Blame    result.Blame  `json:"blame,omitempty"`
	Error    string        `json:"error,omitempty"`
	Lack     *Lack         `json:"lack,omitempty"`
	Cleanup  string        `json:"cleanup,omitempty"`
	Stale    bool          `json:"stale,omitzero"`
	Steps    []Step        `json:"steps"`
}

// Lack is a result.Lack in JSON.
type Lack struct {
	Kind   string `json:"kind"`
	Said   string `json:"said"`
	Remedy string `json:"remedy"`
}

// Step is a result.StepResult in JSON.
type Step struct {
	Keyword      string        `json:"keyword"`
	Text         string        `json:"text"`
	Label        string        `json:"label"`
	File         string        `json:"file,omitempty"`
	Line         int           `json:"line"`
	Status       result.Status `json:"status"`
	Ran          bool          `json:"ran"`
	Duration     state.Seconds `json:"duration_seconds"`
	Reason       result.Reason `json:"reason,omitempty"`
	Blame        result.Blame  `json:"blame,omitempty"`
	Error        string        `json:"error,omitempty"`
	Note         string        `json:"note,omitempty"`
	Phases       []Phase       `json:"phases,omitempty"`
	Measurements []Measurement `json:"measurements,omitempty"`
	Steps        []Step        `json:"steps,omitempty"`
}

// Phase is a result.Phase in JSON.
type Phase struct {
	Name     string        `json:"name"`
	Duration state.Seconds `json:"duration_seconds"`
	Note     string        `json:"note,omitempty"`
}

// Measurement is a result.Measurement in JSON.
type Measurement struct {
	Name   string            `json:"name"`
	Value  Number            `json:"value"`
	Labels map[string]string `json:"labels,omitempty"`
}

// NewRun returns a result as JSON says it.
func NewRun(r *result.Result) *Run {
	run := &Run{ID: r.Run, Started: r.Started, Attempt: r.Attempt, Retries: r.Retries, Prepare: state.Seconds(r.Prepare),
		Duration: state.Seconds(r.Duration), Timeout: state.Seconds(r.Timeout), Interval: state.Seconds(r.Interval),
		Backoff: state.Seconds(r.Backoff), Timeouts: r.Timeouts, Warn: state.Seconds(r.Budget.Warn), Crit: state.Seconds(r.Budget.Crit),
		Status: r.Status, Reason: r.Reason, Blame: r.Blame, Error: r.Error, Cleanup: r.Cleanup, Stale: r.Stale, Steps: newSteps(r.Steps)}
	if r.Lack != nil {
		run.Lack = &Lack{r.Lack.Kind, r.Lack.Said, r.Lack.Remedy}
	}
	return run
}

func newSteps(steps []result.StepResult) []Step {
	all := make([]Step, 0, len(steps))
	for _, s := range steps {
		step := Step{Keyword: s.Keyword, Text: s.Text, Label: s.Label, File: s.File, Line: s.Line, Status: s.Status, Ran: s.Ran,
			Duration: state.Seconds(s.Duration), Reason: s.Reason, Blame: s.Blame, Error: s.Error, Note: s.Note, Steps: newSteps(s.Steps)}
		for _, p := range s.Phases {
			step.Phases = append(step.Phases, Phase{p.Name, state.Seconds(p.Duration), p.Note})
		}
		for _, m := range s.Measurements {
			measured := Measurement{Name: m.Name, Value: Number(m.Value)}
			for _, l := range m.Labels {
				if measured.Labels == nil {
					measured.Labels = make(map[string]string)
				}
				measured.Labels[l.Name] = l.Value
			}
			step.Measurements = append(step.Measurements, measured)
		}
		all = append(all, step)
	}
	return all
}

// Of returns the result of a scenario that the JSON says, without phases and measurements.
func (run *Run) Of(id result.Identity) *result.Result {
	r := &result.Result{Identity: id, Run: run.ID, Started: run.Started, Attempt: run.Attempt, Retries: run.Retries,
		Prepare: time.Duration(run.Prepare), Duration: time.Duration(run.Duration), Timeout: time.Duration(run.Timeout),
		Interval: time.Duration(run.Interval), Backoff: time.Duration(run.Backoff), Timeouts: run.Timeouts,
		Budget: result.Budget{Warn: time.Duration(run.Warn), Crit: time.Duration(run.Crit)},
		Status: run.Status, Reason: run.Reason, Blame: run.Blame, Error: run.Error, Cleanup: run.Cleanup, Stale: run.Stale, Steps: resultsOf(run.Steps)}
	if run.Lack != nil {
		r.Lack = &result.Lack{Kind: run.Lack.Kind, Said: run.Lack.Said, Remedy: run.Lack.Remedy}
	}
	return r
}

func resultsOf(steps []Step) []result.StepResult {
	var all []result.StepResult
	for _, s := range steps {
		all = append(all, result.StepResult{Keyword: s.Keyword, Text: s.Text, Label: s.Label, File: s.File, Line: s.Line, Status: s.Status,
			Ran: s.Ran, Duration: time.Duration(s.Duration), Reason: s.Reason, Blame: s.Blame, Error: s.Error, Note: s.Note, Steps: resultsOf(s.Steps)})
	}
	return all
}
