package latest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/result"
)

func run(scenario string, started time.Time) *result.Result {
	return &result.Result{Identity: result.Identity{Feature: "F", Scenario: scenario}, Run: scenario + started.String(), Started: started,
		Interval: time.Minute, Timeout: time.Minute, Status: result.Passed, Steps: []result.StepResult{{Label: "a", Status: result.Passed, Ran: true}}}
}

// TestResultsKeepTheLast holds that one result of each scenario is kept, without its evidence and without changing it.
func TestResultsKeepTheLast(t *testing.T) {
	var results latest.Results
	now := time.Now()
	first, second := run("S", now), run("S", now.Add(time.Minute))
	second.Steps[0].Steps = []result.StepResult{{Evidence: []result.Evidence{{Name: "page", Body: make([]byte, 1<<20)}}}}
	if got := results.Of(first.Identity); got != nil {
		t.Errorf("before the first run: %+v", got)
	}
	for _, r := range []*result.Result{first, second} {
		if alerts := results.Observe(r); len(alerts) > 0 {
			t.Errorf("it raised %v", alerts)
		}
	}
	got := results.Of(result.Identity{Feature: "F", Scenario: "S", File: "moved.feature"})
	if got == nil || got.Run != second.Run || got.Steps[0].Steps[0].Evidence != nil {
		t.Errorf("got %+v, want the second run without evidence", got)
	}
	if second.Steps[0].Steps[0].Evidence == nil {
		t.Error("the result itself was changed")
	}
}

// TestResultsForgetWhatIsGone holds that scenarios which reloads remove do not fill the memory.
func TestResultsForgetWhatIsGone(t *testing.T) {
	var results latest.Results
	old := time.Now().Add(-2 * time.Hour)
	for i := range 10_000 {
		results.Observe(run(fmt.Sprint("gone ", i), old))
		results.Observe(run("S", time.Now()))
	}
	kept := 0
	for i := range 10_000 {
		if results.Of(result.Identity{Feature: "F", Scenario: fmt.Sprint("gone ", i)}) != nil {
			kept++
		}
	}
	if kept > 100 || results.Of(result.Identity{Feature: "F", Scenario: "S"}) == nil {
		t.Errorf("%d of those that are gone are kept", kept)
	}
}

func BenchmarkObserve(b *testing.B) {
	var results latest.Results
	runs := make([]*result.Result, 1000)
	for i := range runs {
		runs[i] = run(fmt.Sprint(i), time.Now())
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		results.Observe(runs[i%len(runs)])
	}
}
