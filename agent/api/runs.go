package api

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/history"
)

// History is what happened; *history.History is one.
type History interface {
	// Runs returns runs, the newest first, without their steps. more says that the limit left some out.
	Runs(ctx context.Context, q history.Query) (runs []history.Run, more bool, err error)
	// Run returns a run with its steps, by its id in the history or by Result.Run. If there is none, the error is fs.ErrNotExist.
	Run(ctx context.Context, id string) (history.Run, error)
	// Account returns what happened in a time, to these scenarios or to all.
	Account(ctx context.Context, since, until time.Time, ids []string) (history.Account, error)
	// Heartbeats returns the states of the last n runs of these scenarios, the oldest first, by their ids.
	Heartbeats(ctx context.Context, n int, ids ...string) (map[string][]history.Beat, error)
	// Uptime counts the runs of these scenarios by their states, and returns in which range it has.
	Uptime(ctx context.Context, since, until time.Time, ids ...string) (map[string]history.Counts, history.Range, error)
	// Percentiles returns how long the steps of a scenario took, in buckets that are at least so long.
	Percentiles(ctx context.Context, scenario string, since, until time.Time, bucket time.Duration, quantiles []float64) ([]history.Series, time.Duration, error)
	// Deployment and Note add an event. The error says that it is not kept.
	Deployment(at time.Time, what, text, author, link string) error
	Note(at time.Time, scenario, text, author string) error
}

// RunList is the answer to GET /api/scenarios/{id}/runs.
type RunList struct {
	Runs []history.Run `json:"runs"`
	Next string        `json:"next,omitempty"` // the cursor of the older ones; empty at the end
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
	kept, err := s.history()
	if err != nil {
		return nil, err
	}
	scenario, err := s.scenario(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	q := history.Query{Scenarios: []string{scenario.ID}}
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
	if !q.Until.IsZero() {
		q.Until = q.Until.Add(-time.Microsecond) // the history includes it, in whole microseconds
	}
	runs, more, err := kept.Runs(r.Context(), q)
	if err != nil {
		return nil, err
	}
	list := RunList{Runs: runs}
	if list.Runs == nil {
		list.Runs = []history.Run{}
	}
	if more && len(runs) > 0 {
		list.Next = runs[len(runs)-1].Started.UTC().Format(time.RFC3339Nano)
	}
	return list, nil
}

func getRun(s *Sources, r *request) (any, error) {
	kept, err := s.history()
	if err != nil {
		return nil, err
	}
	run, err := kept.Run(r.Context(), r.PathValue("run"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing("run", r.PathValue("run"), "single runs are kept for a time only (history.runs in stepwatch.yml); GET /api/scenarios/ID/runs lists those that are there")
	}
	finite(run.Steps)
	return run, err
}

// finite takes out the measurements that are no numbers in JSON (RFC 8259, section 6): those that are infinite or undefined.
func finite(steps []history.Step) {
	for i := range steps {
		steps[i].Measurements = slices.DeleteFunc(steps[i].Measurements, func(m history.Measurement) bool { return math.IsNaN(m.Value) || math.IsInf(m.Value, 0) })
		finite(steps[i].Steps)
	}
}
