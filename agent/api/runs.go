package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
)

// History is what happened.
type History interface {
	// Runs returns runs of a scenario, the newest first. more says that there are others that the limit left out.
	Runs(ctx context.Context, q RunQuery) (runs []Run, more bool, err error)
	// Run returns a run with its steps. found is false if there is none, or if it is older than what is kept.
	Run(ctx context.Context, id string) (run *RunDetail, found bool, err error)
}

// RunQuery selects runs.
type RunQuery struct {
	Scenario string    // result.Identity.ID
	Since    time.Time // the first start that is wanted; zero for all
	Until    time.Time // the first start that is not wanted; zero for all
	Failed   bool      // only runs that were not OK
	Limit    int
}

// Run is one run of a scenario.
type Run struct {
	ID         string        `json:"id"`          // result.Result.Run
	ScenarioID string        `json:"scenario_id"` // result.Identity.ID
	Started    time.Time     `json:"started"`
	State      result.State  `json:"state"`
	Status     result.Status `json:"status"`
	Attempt    int           `json:"attempt"`
	Duration   state.Seconds `json:"duration_seconds"`
	Delay      state.Seconds `json:"delay_seconds"` // stepwatch's own lateness
	Reason     result.Reason `json:"reason,omitempty"`
	Blame      result.Blame  `json:"blame,omitempty"`
	Summary    string        `json:"summary"`
	Stale      bool          `json:"stale,omitempty"` // no run took place
}

// RunDetail is a run with its steps.
type RunDetail struct {
	Run
	Scenario result.Identity `json:"scenario"`
	Steps    []Step          `json:"steps"`
}

// Step is a step of a run.
type Step struct {
	Keyword      string        `json:"keyword"`
	Text         string        `json:"text"`
	Line         int           `json:"line,omitempty"`
	Status       result.Status `json:"status"`
	Duration     *float64      `json:"duration_seconds,omitempty"` // absent for a step that never started
	Reason       result.Reason `json:"reason,omitempty"`
	Blame        result.Blame  `json:"blame,omitempty"`
	Error        string        `json:"error,omitempty"`
	Note         string        `json:"note,omitempty"`
	Phases       []Phase       `json:"phases,omitempty"`
	Measurements []Measurement `json:"measurements,omitempty"`
	Steps        []Step        `json:"steps,omitempty"` // of a sentence composed of others
}

// Phase is a named part of a step's time.
type Phase struct {
	Name     string        `json:"name"`
	Duration state.Seconds `json:"duration_seconds"`
	Note     string        `json:"note,omitempty"`
}

// Measurement is a value that a step read.
type Measurement struct {
	Name   string            `json:"name"`
	Value  float64           `json:"value"`
	Labels map[string]string `json:"labels,omitempty"`
}

// RunList is the answer to GET /api/scenarios/{id}/runs.
type RunList struct {
	Runs []Run  `json:"runs"`
	Next string `json:"next,omitempty"` // the cursor of the older ones; empty at the end
}

var runRoutes = []route{
	{http.MethodGet, "/api/scenarios/{id}/runs", []string{"since", "until", "failed", "limit", "cursor"}, listRuns},
	{http.MethodGet, "/api/runs/{run}", nil, getRun},
}

func (s *Sources) history() (History, error) {
	if s.History == nil {
		why := s.NoHistory
		if why == "" {
			why = "this agent keeps no history"
		}
		return nil, absent(why)
	}
	return s.History, nil
}

func listRuns(s *Sources, r *request) (any, error) {
	history, err := s.history()
	if err != nil {
		return nil, err
	}
	scenario, err := s.scenario(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	q := RunQuery{Scenario: scenario.ID}
	var e1, e2, e3, e4 error
	q.Since, e1 = r.moment("since", now)
	q.Until, e2 = r.moment("until", now)
	q.Failed, e3 = r.flag("failed")
	q.Limit, e4 = r.limit()
	for _, err := range []error{e1, e2, e3, e4} {
		if err != nil {
			return nil, err
		}
	}
	// A scenario never overlaps itself, so the start of a run identifies it.
	switch cursor, err := r.single("cursor"); {
	case err != nil:
		return nil, err
	case cursor != "":
		before, err := time.Parse(time.RFC3339Nano, cursor)
		if err != nil {
			return nil, bad("cursor", "the cursor %q is not one of this list: send next of the answer before", shorten(cursor))
		}
		if q.Until.IsZero() || before.Before(q.Until) {
			q.Until = before
		}
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return nil, bad("until", "until is not after since: no run can be between them")
	}
	runs, more, err := history.Runs(r.Context(), q)
	if err != nil {
		return nil, err
	}
	list := RunList{Runs: runs}
	if list.Runs == nil {
		list.Runs = []Run{}
	}
	if more && len(runs) > 0 {
		list.Next = runs[len(runs)-1].Started.UTC().Format(time.RFC3339Nano)
	}
	return list, nil
}

func getRun(s *Sources, r *request) (any, error) {
	history, err := s.history()
	if err != nil {
		return nil, err
	}
	run, found, err := history.Run(r.Context(), r.PathValue("run"))
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, missing("run", r.PathValue("run"), "single runs are kept for a time only (history.runs in stepwatch.yml); GET /api/scenarios/ID/runs lists those that are there")
	case run == nil:
		return nil, errors.New("the history returned no run")
	}
	if run.Steps == nil {
		run.Steps = []Step{}
	}
	return run, nil
}

// Steps returns the steps of a result.
func Steps(from []result.StepResult) []Step {
	if len(from) == 0 {
		return nil
	}
	to := make([]Step, len(from))
	for i := range from {
		f := &from[i]
		to[i] = Step{Keyword: f.Keyword, Text: f.Text, Line: f.Line, Status: f.Status, Reason: f.Reason, Blame: f.Blame, Error: f.Error, Note: f.Note, Steps: Steps(f.Steps)}
		if f.Ran {
			seconds := f.Duration.Seconds()
			to[i].Duration = &seconds
		}
		for _, p := range f.Phases {
			to[i].Phases = append(to[i].Phases, Phase{p.Name, state.Seconds(p.Duration), p.Note})
		}
		for _, m := range f.Measurements {
			measured := Measurement{Name: m.Name, Value: m.Value}
			for _, l := range m.Labels {
				if measured.Labels == nil {
					measured.Labels = make(map[string]string, len(m.Labels))
				}
				measured.Labels[l.Name] = l.Value
			}
			to[i].Measurements = append(to[i].Measurements, measured)
		}
	}
	return to
}

// Detail returns a result as a run with its steps.
func Detail(r *result.Result) *RunDetail {
	return &RunDetail{Scenario: r.Identity, Steps: Steps(r.Steps), Run: Run{ID: r.Run, ScenarioID: r.Identity.ID(), Started: r.Started, State: r.State(), Status: r.Status,
		Attempt: r.Attempt, Duration: state.Seconds(r.Duration), Delay: state.Seconds(r.Delay), Reason: r.Reason, Blame: r.Blame, Summary: r.Summary(), Stale: r.Stale}}
}
