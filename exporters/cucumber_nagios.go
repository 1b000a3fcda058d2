package exporters

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// CucumberNagios writes results in the format of cucumber-nagios: the status line, five values, and a line for each
// failed step. took is the time of the whole run. It counts steps, and for a scenario outline its rows, but no skipped
// steps.
//
// It returns the exit code of the state in the status line, 0 to 3. (cucumber-nagios exited with 0 when steps were
// undefined, so Nagios showed OK next to the word WARNING.) If nothing was counted, or the run was stopped, the state
// is UNKNOWN.
func CucumberNagios(w io.Writer, results []*result.Result, took time.Duration) (exitCode int) {
	var passed, failed, undefined int
	var failures strings.Builder
	state := result.OK
	for _, r := range results {
		counts := map[result.Status]int{}
		for _, s := range r.Steps {
			switch s.Status {
			case result.Passed:
				counts[result.Passed]++
			case result.Failed:
				counts[result.Failed]++
				fmt.Fprintf(&failures, "Failed: %s %s in %s:%d on %s:%d\n", s.Keyword, plain(s.Text), r.Identity.File, r.Identity.Line, r.Identity.File, s.Line)
			case result.Undefined, result.Ambiguous, result.Pending:
				counts[result.Undefined]++
			}
		}
		if r.Identity.Example != "" {
			counts = asRow(counts)
		}
		passed, failed, undefined = passed+counts[result.Passed], failed+counts[result.Failed], undefined+counts[result.Undefined]
		switch {
		case r.Reason == result.ReasonCanceled || len(r.Steps) == 0:
			state = state.Worse(result.Unknown)
		case r.Reason == result.ReasonWarning: // a plugin reported it
			state = state.Worse(result.Warning)
		case counts[result.Failed] > 0:
			state = state.Worse(result.Critical)
		case counts[result.Undefined] > 0:
			state = state.Worse(result.Warning)
		default:
			state = state.Worse(r.State()) // too slow for its budget
		}
	}
	total := passed + failed + undefined
	if total == 0 {
		state = result.Unknown
	}
	line := fmt.Sprintf("CUCUMBER %s - Critical: %d, Warning: %d, %d okay | passed=%d; failed=%d; nosteps=%d; total=%d; time=%s\n",
		state, failed, undefined, passed, passed, failed, undefined, total, rubySeconds(took))
	if _, err := io.WriteString(w, line+failures.String()); err != nil {
		return int(result.Unknown)
	}
	return int(state)
}

// asRow counts a scenario of an outline as one row.
func asRow(counts map[result.Status]int) map[result.Status]int {
	for _, status := range []result.Status{result.Failed, result.Undefined, result.Passed} {
		if counts[status] > 0 {
			return map[result.Status]int{status: 1}
		}
	}
	return nil
}

// rubySeconds formats a time like a number in Ruby that is rounded to two decimals: "0.0", "0.25", "12.3".
func rubySeconds(d time.Duration) string {
	text := strconv.FormatFloat(math.Round(d.Seconds()*100)/100, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}
