package latest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/exporters/exporterstest"
)

// FuzzAnswer has the plugin show what an agent answers, whatever that is. The output is never longer than its limit, and has one
// status line.
func FuzzAnswer(f *testing.F) {
	for _, r := range []*result.Result{exporterstest.Typical(), exporterstest.Stale()} {
		text, err := json.Marshal(latest.Answer{Scenarios: []latest.Scenario{{Result: latest.NewRun(r)}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"scenarios":[{"result":{"duration_seconds":1e300,"steps":[{"ran":true,"measurements":[{"value":"NaN"}]}]}},{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var answer latest.Answer
		if json.Unmarshal(text, &answer) != nil {
			return
		}
		var results []*result.Result
		for _, s := range answer.Scenarios {
			if s.Result != nil {
				results = append(results, s.Result.Of(s.Identity))
			}
		}
		var out strings.Builder
		exporters.Nagios(&out, results, exporters.NagiosOptions{Limit: exporters.NagiosOutputLeast})
		if line, _, _ := strings.Cut(out.String(), "\n"); out.Len() > 2*exporters.NagiosOutputLeast || !strings.HasPrefix(line, "STEPWATCH ") || strings.Count(line, "|") > 1 {
			t.Errorf("%d bytes: %s", out.Len(), out.String())
		}
	})
}
