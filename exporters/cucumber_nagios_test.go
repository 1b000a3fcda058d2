package exporters_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
)

func TestCucumberNagios(t *testing.T) {
	ran := func(example string, statuses ...result.Status) *result.Result {
		r := &result.Result{Identity: result.Identity{File: "features/a/b.feature", Line: 4, Example: example}, Status: result.Passed}
		for i, status := range statuses {
			r.Steps = append(r.Steps, result.StepResult{Keyword: "When", Text: "I go to \"/\"", Line: 5 + i, Status: status, Ran: true})
			if status != result.Passed && status != result.Skipped && r.Status == result.Passed {
				r.Status, r.Reason, r.Blame = status, result.ReasonUnexpected, result.BlameTarget
			}
		}
		return r
	}
	canceled := ran("", result.Passed, result.Failed)
	canceled.Reason = result.ReasonCanceled
	for name, c := range map[string]struct {
		results []*result.Result
		want    string
		code    int
	}{
		"passed": {[]*result.Result{ran("", result.Passed, result.Passed)}, "CUCUMBER OK - Critical: 0, Warning: 0, 2 okay | passed=2; failed=0; nosteps=0; total=2; time=0.25\n", 0},
		"failed": {[]*result.Result{ran("", result.Passed, result.Failed, result.Skipped)},
			"CUCUMBER CRITICAL - Critical: 1, Warning: 0, 1 okay | passed=1; failed=1; nosteps=0; total=2; time=0.25\nFailed: When I go to \"/\" in features/a/b.feature:4 on features/a/b.feature:6\n", 2},
		"undefined": {[]*result.Result{ran("", result.Passed, result.Undefined, result.Skipped, result.Undefined)}, "CUCUMBER WARNING - Critical: 0, Warning: 2, 1 okay | passed=1; failed=0; nosteps=2; total=3; time=0.25\n", 1},
		"outline": {[]*result.Result{ran("a=1", result.Passed, result.Passed), ran("a=2", result.Passed, result.Failed)},
			"CUCUMBER CRITICAL - Critical: 1, Warning: 0, 1 okay | passed=1; failed=1; nosteps=0; total=2; time=0.25\nFailed: When I go to \"/\" in features/a/b.feature:4 on features/a/b.feature:6\n", 2},
		"canceled": {[]*result.Result{canceled}, "CUCUMBER UNKNOWN - Critical: 1, Warning: 0, 1 okay | passed=1; failed=1; nosteps=0; total=2; time=0.25\nFailed: When I go to \"/\" in features/a/b.feature:4 on features/a/b.feature:6\n", 3},
		"nothing":  {nil, "CUCUMBER UNKNOWN - Critical: 0, Warning: 0, 0 okay | passed=0; failed=0; nosteps=0; total=0; time=0.25\n", 3},
	} {
		var b strings.Builder
		code := exporters.CucumberNagios(&b, c.results, 251*time.Millisecond)
		if b.String() != c.want || code != c.code {
			t.Errorf("%s: got %d\n%swant %d\n%s", name, code, &b, c.code, c.want)
		}
	}
	var b strings.Builder
	if exporters.CucumberNagios(&b, nil, 2*time.Second); !strings.HasSuffix(b.String(), "time=2.0\n") {
		t.Errorf("got %s", &b)
	}
}
