package exporters_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/exporters/exporterstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file under testdata, or writes the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it with go test -update and git diff. Got:\n%s", file, got)
	}
}

// page requests the metrics in the format that accept names.
func page(t testing.TB, p *exporters.Prometheus, accept string) string {
	t.Helper()
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, req)
	if w.Code != 200 {
		t.Fatalf("GET /metrics: status %d:\n%s", w.Code, w.Body)
	}
	return w.Body.String()
}

// ours returns the part of the page about stepwatch that is the same on every machine.
func ours(page string) string {
	var b strings.Builder
	for line := range strings.Lines(page) {
		name := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "# UNIT ")
		if strings.HasPrefix(name, "stepwatch_") {
			b.WriteString(strings.ReplaceAll(line, runtime.Version(), "go"))
		}
	}
	return b.String()
}

// filled returns an exporter with every kind of series.
func filled() *exporters.Prometheus {
	p := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{Stats: exporterstest.Stats, Version: "1.2.3"})
	p.Export(exporterstest.Typical())
	p.Export(exporterstest.Passing())
	return p
}

func TestPrometheusPage(t *testing.T) {
	golden(t, "metrics.txt", ours(page(t, filled(), "text/plain")))
}

// Exemplars carry the time of the observation, which is taken out here.
func TestPrometheusOpenMetrics(t *testing.T) {
	got := page(t, filled(), "application/openmetrics-text;version=1.0.0")
	if !strings.HasSuffix(got, "# EOF\n") {
		t.Errorf("want # EOF at the end, got %q", got[max(0, len(got)-100):])
	}
	golden(t, "openmetrics.txt", regexp.MustCompile(`(# \{run="[^"]*"\} \S+) \S+`).ReplaceAllString(ours(got), "$1 TIME"))
}

// The page must follow the rules of Prometheus itself.
func TestPrometheusPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: package prometheus), so its checks are left out")
	}
	p := filled()
	for _, r := range exporterstest.Odd() {
		p.Export(r)
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(page(t, p, "text/plain"))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// lines returns the sample lines of the page that begin with one of the names, without the labels that all share.
func lines(t *testing.T, p *exporters.Prometheus, names ...string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(page(t, p, "text/plain")) {
		name, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "{")
		name, _, _ = strings.Cut(name, " ")
		if slices.Contains(names, name) {
			b.WriteString(strings.NewReplacer(`feature="f",`, "", `scenario="s",`, "", `scenario="s"`, "").Replace(line))
		}
	}
	return b.String()
}

// run returns a result of the scenario "s" in feature "f" with these steps.
func run(status result.Status, steps ...result.StepResult) *result.Result {
	r := &result.Result{Identity: result.Identity{Feature: "f", Scenario: "s"}, Status: status, Steps: steps, Started: time.Unix(1000, 0)}
	for _, s := range steps {
		r.Duration += s.Duration
	}
	return r
}

func did(label string, status result.Status, d time.Duration) result.StepResult {
	return result.StepResult{Keyword: "When", Text: label, Label: label, Status: status, Ran: true, Duration: d}
}

func skipped(label string) result.StepResult {
	return result.StepResult{Keyword: "When", Text: label, Label: label, Status: result.Skipped}
}

// withPhases returns an exporter that shows the last duration of phases.
func withPhases() *exporters.Prometheus {
	config := exporters.DefaultPrometheusConfig()
	config.Phases = "last"
	return exporters.NewPrometheus(*config, exporters.Host{})
}

func plainPrometheus() *exporters.Prometheus {
	return exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{})
}

// TestPrometheusNamesTheStepThatDecided holds that a step that was only skipped, because the scenario has a mistake further down
// and nothing of it ran, is not shown as the one that failed.
func TestPrometheusNamesTheStepThatDecided(t *testing.T) {
	undefined := skipped("b")
	undefined.Status, undefined.Reason, undefined.Blame = result.Undefined, result.ReasonScenario, result.BlameScenario
	for what, c := range map[string]struct {
		steps []result.StepResult
		want  string
	}{
		"a step":                       {[]result.StepResult{skipped("a"), undefined, skipped("c")}, `step="b",`},
		"the scenario, not one of its": {[]result.StepResult{skipped("a"), skipped("b")}, ""},
	} {
		p := plainPrometheus()
		r := run(result.Undefined, c.steps...)
		r.Reason, r.Blame = result.ReasonScenario, result.BlameScenario
		p.Export(r)
		labels := "{" + c.want + `reason="scenario",blame="scenario"} 1` + "\n"
		want := "stepwatch_scenario_failing" + labels + "stepwatch_scenario_failures_total" + labels
		if got := lines(t, p, "stepwatch_scenario_failing", "stepwatch_scenario_failures_total"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
		}
	}
}

// TestPrometheusWithoutAResult holds that a scenario whose due run is too late is UNKNOWN at once, that nothing is counted or
// timed that did not take place, and that the next run ends it.
func TestPrometheusWithoutAResult(t *testing.T) {
	p := plainPrometheus()
	names := []string{"stepwatch_scenario_state", "stepwatch_scenario_success", "stepwatch_scenario_failing", "stepwatch_scenario_last_run_timestamp_seconds",
		"stepwatch_step_last_duration_seconds", "stepwatch_step_duration_seconds_count",
		"stepwatch_scenario_failures_total", "stepwatch_run_delay_seconds_count", "stepwatch_scenario_backoff_seconds"}
	stale := run(result.Skipped, skipped("I wait"))
	stale.Stale, stale.Reason, stale.Blame, stale.Due, stale.Started = true, result.ReasonNotRun, result.BlameMonitor, time.Unix(2000, 0), time.Unix(3000, 0)
	const before = "stepwatch_run_delay_seconds_count 0\n"
	p.Export(stale)
	if got, want := lines(t, p, names...), before+`stepwatch_scenario_failing{reason="not_run",blame="monitor"} 1
stepwatch_scenario_state{} 3
stepwatch_scenario_success{} 0
`; got != want {
		t.Errorf("before the first run: got\n%s\nwant\n%s", got, want)
	}
	p.Export(run(result.Passed, did("I wait", result.Passed, time.Second)))
	p.Export(stale)
	p.Export(stale)
	if got, want := lines(t, p, append(names, "stepwatch_scenario_runs_total")...), before+`stepwatch_scenario_failing{reason="not_run",blame="monitor"} 1
stepwatch_scenario_last_run_timestamp_seconds{} 1000
stepwatch_scenario_runs_total{status="passed"} 1
stepwatch_scenario_runs_total{status="failed"} 0
stepwatch_scenario_state{} 3
stepwatch_scenario_success{} 0
stepwatch_step_duration_seconds_count{step="I wait",status="passed"} 1
stepwatch_step_last_duration_seconds{step="I wait",order="01"} 1
`; got != want {
		t.Errorf("after a run: got\n%s\nwant\n%s", got, want)
	}
	r := run(result.Passed, did("I wait", result.Passed, time.Second))
	r.Timeouts, r.Backoff = 6, 16*time.Second
	p.Export(r)
	if got, want := lines(t, p, names[0], names[1], names[2], "stepwatch_scenario_backoff_seconds"), `stepwatch_scenario_backoff_seconds{} 16
stepwatch_scenario_state{} 0
stepwatch_scenario_success{} 1
`; got != want {
		t.Errorf("after the next run: got\n%s\nwant\n%s", got, want)
	}
}

// A step, phase or measurement that the last run does not have has no value, neither zero nor an old one.
func TestPrometheusNothingStale(t *testing.T) {
	p := withPhases()
	names := []string{
		"stepwatch_step_last_duration_seconds", "stepwatch_step_phase_last_duration_seconds", "stepwatch_queue_length",
		"stepwatch_scenario_failing", "stepwatch_scenario_success", "stepwatch_scenario_state", "stepwatch_step_duration_seconds_count",
	}
	first := did("a", result.Passed, 2*time.Second)
	first.Phases = []result.Phase{{Name: "connect", Duration: time.Second}, {Name: "tls", Duration: time.Second}}
	first.Measurements = []result.Measurement{{Name: "queue_length", Help: "Mails waiting.", Value: 4}}
	p.Export(run(result.Passed, first, did("b", result.Passed, time.Second)))
	want := `stepwatch_queue_length{step="a"} 4
stepwatch_scenario_state{} 0
stepwatch_scenario_success{} 1
stepwatch_step_duration_seconds_count{step="a",status="passed"} 1
stepwatch_step_duration_seconds_count{step="b",status="passed"} 1
stepwatch_step_last_duration_seconds{step="a",order="01"} 2
stepwatch_step_last_duration_seconds{step="b",order="02"} 1
stepwatch_step_phase_last_duration_seconds{step="a",phase="connect"} 1
stepwatch_step_phase_last_duration_seconds{step="a",phase="tls"} 1
`
	if got := lines(t, p, names...); got != want {
		t.Errorf("after a run that passed:\n%s\nwant:\n%s", got, want)
	}

	broken := did("a", result.Failed, time.Second)
	broken.Phases = []result.Phase{{Name: "connect", Duration: time.Second}}
	r := run(result.Failed, broken, skipped("b"))
	r.Reason, r.Blame = result.ReasonTLS, result.BlameSubmission
	p.Export(r)
	want = `stepwatch_scenario_failing{step="a",reason="tls",blame="submission"} 1
stepwatch_scenario_state{} 2
stepwatch_scenario_success{} 0
stepwatch_step_duration_seconds_count{step="a",status="failed"} 1
stepwatch_step_duration_seconds_count{step="a",status="passed"} 1
stepwatch_step_duration_seconds_count{step="b",status="passed"} 1
stepwatch_step_last_duration_seconds{step="a",order="01"} 1
stepwatch_step_phase_last_duration_seconds{step="a",phase="connect"} 1
`
	if got := lines(t, p, names...); got != want {
		t.Errorf("after a run that failed:\n%s\nwant:\n%s", got, want)
	}

	p.Export(run(result.Passed, did("c", result.Passed, time.Second)))
	want = `stepwatch_scenario_state{} 0
stepwatch_scenario_success{} 1
stepwatch_step_duration_seconds_count{step="c",status="passed"} 1
stepwatch_step_last_duration_seconds{step="c",order="01"} 1
`
	if got := lines(t, p, names...); got != want {
		t.Errorf("after the scenario got other steps:\n%s\nwant:\n%s", got, want)
	}
}

func TestPrometheusInnerSteps(t *testing.T) {
	p := plainPrometheus()
	outer := did("I log in", result.Failed, 3*time.Second)
	deep := did("I press \"Log in\"", result.Failed, 2*time.Second)
	above := did("I send the form", result.Failed, 2*time.Second)
	above.Steps = []result.StepResult{deep, skipped("I wait")}
	outer.Steps = []result.StepResult{did("I open the page", result.Passed, time.Second), above}
	outer.Measurements = []result.Measurement{
		{Name: "http_status_code", Help: "Status.", Value: 200, Labels: []result.Label{{Name: "inner_step", Value: "I open the page"}}},
		{Name: "http_status_code", Help: "Status.", Value: 500, Labels: []result.Label{{Name: "inner_step", Value: "I send the form › I press \"Log in\""}}},
	}
	p.Export(run(result.Failed, outer))
	got := lines(t, p, "stepwatch_inner_step_last_duration_seconds", "stepwatch_step_last_duration_seconds", "stepwatch_http_status_code", "stepwatch_scenario_failing", "stepwatch_inner_step_duration_seconds_count")
	want := `stepwatch_http_status_code{step="I log in",inner_step="I open the page"} 200
stepwatch_http_status_code{step="I log in",inner_step="I send the form › I press \"Log in\""} 500
stepwatch_inner_step_duration_seconds_count{step="I log in",inner_step="I open the page",status="passed"} 1
stepwatch_inner_step_duration_seconds_count{step="I log in",inner_step="I send the form",status="failed"} 1
stepwatch_inner_step_duration_seconds_count{step="I log in",inner_step="I send the form › I press \"Log in\"",status="failed"} 1
stepwatch_inner_step_last_duration_seconds{step="I log in",inner_step="I open the page"} 1
stepwatch_inner_step_last_duration_seconds{step="I log in",inner_step="I send the form"} 2
stepwatch_inner_step_last_duration_seconds{step="I log in",inner_step="I send the form › I press \"Log in\""} 2
stepwatch_scenario_failing{step="I log in",inner_step="I send the form › I press \"Log in\""} 1
stepwatch_step_last_duration_seconds{step="I log in",order="01"} 3
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	passed := did("I log in", result.Passed, time.Second)
	passed.Steps = []result.StepResult{did("I open the page", result.Passed, time.Second), skipped("I send the form")}
	p.Export(run(result.Passed, passed))
	if got, want := lines(t, p, "stepwatch_inner_step_last_duration_seconds", "stepwatch_scenario_failing"), `stepwatch_inner_step_last_duration_seconds{step="I log in",inner_step="I open the page"} 1
`; got != want {
		t.Errorf("after another run: got\n%s\nwant\n%s", got, want)
	}
}

// A run that proved nothing is never a success.
func TestPrometheusNothingRanIsNoSuccess(t *testing.T) {
	for name, r := range map[string]*result.Result{
		"no step":    run(result.Passed),
		"undefined":  run(result.Undefined, skipped("a")),
		"not begun":  run(result.Passed, result.StepResult{Label: "a", Status: result.Passed}),
		"pending":    run(result.Pending, did("a", result.Pending, 0)),
		"no results": {Identity: result.Identity{Feature: "f", Scenario: "s"}},
	} {
		p := plainPrometheus()
		p.Export(r)
		want := "stepwatch_scenario_state{} 3\nstepwatch_scenario_success{} 0\n"
		if got := lines(t, p, "stepwatch_scenario_success", "stepwatch_scenario_state"); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
		}
	}
}

// The page shows the scenarios that the agent has loaded, from before their first run until they are removed.
func TestPrometheusFollowsTheLoadedScenarios(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		loaded := []result.ScenarioStats{{Identity: result.Identity{Feature: "f", Scenario: "s"}, Interval: time.Minute, Missed: 1}}
		set := func(s []result.ScenarioStats) { mu.Lock(); loaded = s; mu.Unlock() }
		p := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{Stats: func() result.Stats {
			mu.Lock()
			defer mu.Unlock()
			return result.Stats{Scenarios: loaded}
		}})
		names := []string{"stepwatch_scenario_runs_total", "stepwatch_runs_missed_total", "stepwatch_scenario_info", "stepwatch_scenario_success"}
		check := func(when, want string) {
			t.Helper()
			if got := lines(t, p, names...); got != want {
				t.Errorf("%s:\n%s\nwant:\n%s", when, got, want)
			}
		}
		runs := func(passed int) string {
			return fmt.Sprintf(`stepwatch_scenario_runs_total{status="passed"} %d
stepwatch_scenario_runs_total{status="failed"} 0
`, passed)
		}
		head := "stepwatch_runs_missed_total{} 1\nstepwatch_scenario_info{interval=\"1m\"} 1\n"
		check("before the first run", head+runs(0))
		p.Export(run(result.Passed, did("a", result.Passed, time.Second)))
		success := "stepwatch_scenario_success{} 1\n"
		check("after it", head+runs(1)+success)

		before := loaded
		set(nil)
		check("removed", "")
		p.Export(run(result.Passed, did("a", result.Passed, time.Second)))
		check("a late result of what was removed", "")
		set(before)
		check("back at once", head+runs(2)+success)

		set(nil)
		check("removed again", "")
		time.Sleep(time.Hour)
		check("an hour later", "")
		set(before)
		check("back after an hour", head+runs(0))
	})
}

// TestPrometheusFollowsWhatARunReports checks the series of runs that differ from the previous one: a status that was not
// seen before and stays, measurements that repeat each other, steps that change places.
func TestPrometheusFollowsWhatARunReports(t *testing.T) {
	p := plainPrometheus()
	names := []string{"stepwatch_scenario_runs_total", "stepwatch_x", "stepwatch_y", "stepwatch_step_last_duration_seconds"}
	a, b := did("a", result.Passed, time.Second), did("b", result.Passed, 2*time.Second)
	a.Measurements = []result.Measurement{{Name: "x", Help: "X.", Value: 1}, {Name: "y", Help: "Y.", Value: 2}}
	p.Export(run(result.Passed, a, b))
	p.Export(run(result.Undefined, skipped("a"), skipped("b")))
	a.Measurements = []result.Measurement{{Name: "x", Help: "X.", Value: 3}, {Name: "x", Help: "X.", Value: 4}}
	for range 4 {
		p.Export(run(result.Passed, b, a))
	}
	want := `stepwatch_scenario_runs_total{status="passed"} 5
stepwatch_scenario_runs_total{status="failed"} 0
stepwatch_scenario_runs_total{status="undefined"} 1
stepwatch_step_last_duration_seconds{step="b",order="01"} 2
stepwatch_step_last_duration_seconds{step="a",order="02"} 1
stepwatch_x{step="a"} 4
`
	if got := lines(t, p, names...); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestPrometheusMeasurements(t *testing.T) {
	var log bytes.Buffer
	p := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{Log: slog.New(slog.NewTextHandler(&log, nil))})
	s := did("a", result.Failed, time.Second)
	s.Measurements = []result.Measurement{
		{Name: "queue_length", Help: "Mails waiting.", Value: 1},
		{Name: "queue_length", Help: "Mails waiting.", Value: 2},
		{Name: "no good", Help: "x", Value: 1},
		{Name: "step_duration_seconds_sum", Help: "x", Value: 1},
		{Name: "scenario_runs", Help: "x", Value: 1},
		{Name: "hop_seconds", Help: "Hops.", Value: 1, Labels: []result.Label{{Name: "hop", Value: "queue"}, {Name: "end", Value: "a"}}},
		{Name: "hop_seconds", Help: "Hops.", Value: 2, Labels: []result.Label{{Name: "end", Value: "a"}, {Name: "hop", Value: "queue"}}},
		{Name: "hop_seconds", Help: "Hops.", Value: 3, Labels: []result.Label{{Name: "hop", Value: "a \"b\""}}},
		{Name: "hop_seconds", Help: "Hops.", Value: 4, Labels: []result.Label{{Name: "hop"}}},
		{Name: "hop_seconds", Help: "Hops.", Value: 5, Labels: []result.Label{{Name: "step", Value: "x"}}},
		{Name: "hop_seconds", Help: "Hops.", Value: 6, Labels: []result.Label{{Name: "0", Value: "x"}}},
		{Name: "hop_seconds", Help: "Hops.", Value: 7, Labels: []result.Label{{Name: "hop", Value: "x"}, {Name: "hop", Value: "y"}}},
	}
	other := did("b", result.Failed, time.Second)
	other.Measurements = []result.Measurement{{Name: "queue_length", Help: "Another text.", Value: 3}}
	for range 2 {
		p.Export(run(result.Failed, s, other))
	}
	want := `stepwatch_hop_seconds{step="a",end="a",hop="queue"} 2
stepwatch_hop_seconds{step="a",hop="a \"b\""} 3
stepwatch_hop_seconds{step="a"} 4
stepwatch_measurement_faults_total{fault="count"} 0
stepwatch_measurement_faults_total{fault="help"} 2
stepwatch_measurement_faults_total{fault="label"} 6
stepwatch_measurement_faults_total{fault="name"} 2
stepwatch_measurement_faults_total{fault="reserved"} 4
stepwatch_queue_length{step="a"} 2
stepwatch_queue_length{step="b"} 3
promhttp_metric_handler_errors_total{cause="encoding"} 0
promhttp_metric_handler_errors_total{cause="gathering"} 0
`
	got := lines(t, p, "stepwatch_hop_seconds", "stepwatch_measurement_faults_total", "stepwatch_queue_length") + lines(t, p, "promhttp_metric_handler_errors_total")
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if n := strings.Count(log.String(), "\n"); n != 5 {
		t.Errorf("want 5 log lines, one for each fault and name, got:\n%s", log.String())
	}
}

// Whatever is exported, the page stays complete and free of errors.
func TestPrometheusOddResults(t *testing.T) {
	var log bytes.Buffer
	p := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 {
		for _, r := range exporterstest.Odd() {
			p.Export(r)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page(t, p, "text/plain")))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families["promhttp_metric_handler_errors_total"].Metric {
		if m.Counter.GetValue() != 0 {
			t.Errorf("%v", m)
		}
	}
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("want no errors in the log, got:\n%s", log.String())
	}
	seen := make(map[string]bool)
	for name, f := range families {
		for _, m := range f.Metric {
			if series := name + fmt.Sprint(m.Label); seen[series] {
				t.Errorf("%s is on the page twice", series)
			} else {
				seen[series] = true
			}
			for _, l := range m.Label {
				if len(l.GetValue()) > 300 {
					t.Errorf("%s: label %s is %d bytes long", name, l.GetName(), len(l.GetValue()))
				}
			}
		}
	}
}

func TestPrometheusCompressesOnlyWhenAsked(t *testing.T) {
	p := filled()
	for _, c := range []struct {
		accept string
		want   bool
	}{
		{"", false}, {"gzip", true}, {"deflate, GZIP;q=0.5", true}, {"gzip; q=1.0", true}, {"identity, zstd", false},
		{"gzip;q=0", false}, {"gzip; q=0.000", false}, {"x-gzip", false}, {",;,", false},
	} {
		req := httptest.NewRequest("GET", "/metrics", nil)
		req.Header.Set("Accept-Encoding", c.accept)
		w := httptest.NewRecorder()
		p.Handler().ServeHTTP(w, req)
		body, encoding := w.Body.Bytes(), w.Header().Get("Content-Encoding")
		if got := encoding == "gzip" && bytes.HasPrefix(body, []byte{0x1f, 0x8b}); got != c.want || !got && (encoding != "" || body[0] != '#') {
			t.Errorf("Accept-Encoding %q: want gzip %t, got encoding %q and a body that begins with %q", c.accept, c.want, encoding, body[:2])
		}
	}
}

// Different texts stay different even if they must be changed for a label.
func TestPrometheusLongAndBrokenTextsStayApart(t *testing.T) {
	p := plainPrometheus()
	long := strings.Repeat("ü", 200)
	for _, name := range []string{long + "a", long + "b", "\xff", "\xfe", "\uFFFD"} {
		r := run(result.Passed, did(name+"1", result.Passed, 1), did(name+"2", result.Passed, 1))
		r.Identity.Scenario = name
		p.Export(r)
	}
	got := lines(t, p, "stepwatch_scenario_success") + lines(t, p, "stepwatch_step_last_duration_seconds")
	if n := strings.Count(got, "\n"); n != 15 {
		t.Errorf("want 5 scenarios and 10 steps, got %d lines:\n%s", n, got)
	}
}

// A new owner after a reload is shown before the next run.
func TestPrometheusInfoFollowsReload(t *testing.T) {
	id := result.Identity{Feature: "f", Scenario: "s", Owner: "web"}
	p := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{Stats: func() result.Stats {
		return result.Stats{Scenarios: []result.ScenarioStats{{Identity: id}}}
	}})
	r := run(result.Passed, did("a", result.Passed, 1))
	r.Identity = id
	p.Export(r)
	for _, owner := range []string{"web", "mail", ""} {
		id.Owner = owner
		want := `stepwatch_scenario_info{owner="` + owner + "\"} 1\n"
		if owner == "" {
			want = "stepwatch_scenario_info{} 1\n"
		}
		if got := strings.ReplaceAll(lines(t, p, "stepwatch_scenario_info"), `feature="f",`, ""); got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	}
}

func TestPrometheusFormats(t *testing.T) {
	p := filled()
	for _, c := range []struct{ accept, want string }{
		{"", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"},
		{"application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"},
	} {
		req := httptest.NewRequest("GET", "/metrics", nil)
		req.Header.Set("Accept", c.accept)
		req.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		p.Handler().ServeHTTP(w, req)
		if got := w.Header().Get("Content-Type"); got != c.want {
			t.Errorf("Accept %q: want %q, got %q", c.accept, c.want, got)
		}
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatalf("Accept %q: want gzip: %v", c.accept, err)
		}
		format := expfmt.ResponseFormat(w.Header())
		if strings.Contains(c.accept, "openmetrics") {
			continue // read back in TestPrometheusOpenMetrics
		}
		found := false
		for d := expfmt.NewDecoder(z, format); ; {
			var f dto.MetricFamily
			if err := d.Decode(&f); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if f.GetName() == "stepwatch_step_duration_seconds" {
				found = true
				native := f.Metric[0].GetHistogram().GetSchema() == 3 && len(f.Metric[0].Histogram.PositiveSpan) > 0
				if want := format.FormatType() == expfmt.TypeProtoDelim; native != want || f.Metric[0].GetSummary().GetSampleCount() > 0 == want {
					t.Errorf("Accept %q: want native histogram %t, or else a summary, got %v", c.accept, want, f.Metric[0])
				}
			}
		}
		if !found {
			t.Errorf("Accept %q: no step durations", c.accept)
		}
	}
}

func TestPrometheusConfig(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint(i + 1)
	}
	for _, c := range []struct{ block, err string }{
		{`{}`, ``},
		{`{"path": "/stepwatch/metrics", "buckets": [], "phases": "last"}`, ``},
		{`{"path": "metrics"}`, `path: want an absolute path such as "/metrics", got "metrics"`},
		{`{"path": ""}`, `path: want an absolute path such as "/metrics", got ""`},
		{`{"path": "/{x}"}`, `path: want an absolute path such as "/metrics", got "/{x}"`},
		{`{"buckets": [0]}`, `buckets: want durations above zero, got 0s`},
		{`{"buckets": [1000000, 1000000]}`, `buckets: want rising durations, got 1ms after 1ms`},
		{`{"buckets": [` + strings.Join(many, ",") + `]}`, `buckets: want at most 100, got 101`},
		{`{"phases": "all"}`, `phases: want "off", "last" or "histogram", got "all"`},
	} {
		want := c.err
		if want != "" {
			want = `settings of exporter "prometheus": ` + want
		}
		_, err := exporters.Builtin.Configure("prometheus", strict(c.block))
		if message(err) != want {
			t.Errorf("%s: want error %q, got %q", c.block, want, message(err))
		}
	}
}

// With phases off there are no phases, and without buckets the histograms are only native.
func TestPrometheusLean(t *testing.T) {
	config := exporters.DefaultPrometheusConfig()
	config.Phases, config.Buckets = "off", nil
	p := exporters.NewPrometheus(*config, exporters.Host{})
	p.Export(exporterstest.Typical())
	got := page(t, p, "text/plain")
	for _, unwanted := range []string{"stepwatch_step_phase", `le="1"`} {
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, "stepwatch_step_") && strings.Contains(line, unwanted) {
				t.Errorf("want no %s, got %s", unwanted, line)
			}
		}
	}
}

// webRun returns a run of a web scenario with two steps, to measure the cost of an export.
func webRun(n int, took time.Duration) *result.Result {
	ms := took / 10
	return &result.Result{
		Identity: result.Identity{
			Feature: "The website", Scenario: fmt.Sprintf("A visitor finds the contact page of site %d", n),
			File: "features/web/contact.feature", Line: 3, Owner: "web",
		},
		Run: "01JD8Z3V5YQ8X4T2N6W1R7K9PC", Attempt: 1, Due: time.Unix(1000, 0), Started: time.Unix(1000, 1000), Delay: time.Microsecond,
		Duration: took + 20*time.Microsecond, Status: result.Passed, Interval: time.Second,
		Steps: []result.StepResult{
			{Keyword: "When", Text: "I go to", Label: `I go to "https://example.org/"`, Line: 4, Status: result.Passed, Ran: true, Duration: took,
				Phases: []result.Phase{
					{Name: "resolve", Duration: ms}, {Name: "connect", Duration: ms}, {Name: "tls", Duration: 2 * ms},
					{Name: "processing", Duration: 5 * ms}, {Name: "transfer", Duration: ms},
				},
				Measurements: []result.Measurement{
					{Name: "http_status_code", Help: "Status of the answer.", Value: 200},
					{Name: "http_content_length_bytes", Help: "Length of the body.", Value: 2048},
				},
			},
			{Keyword: "Then", Text: "I should see", Label: `I should see "B50F BE3B 409A"`, Line: 5, Status: result.Passed, Ran: true, Duration: 20 * time.Microsecond},
		},
	}
}

// spread returns durations like those of a live site: most near the median, some far off.
func spread(i int) time.Duration {
	return time.Duration(10_000+(i*7919)%9000+(i%50/49)*400_000) * time.Microsecond
}

// BenchmarkPrometheusExport measures the cost of each run: an agent with 1000 runs a second calls it 1000 times.
func BenchmarkPrometheusExport(b *testing.B) {
	for name, config := range configurations() {
		b.Run(name, func(b *testing.B) {
			p := exporters.NewPrometheus(config, exporters.Host{})
			runs := make([]*result.Result, 1000)
			for i := range runs {
				runs[i] = webRun(i, spread(i))
				p.Export(runs[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Export(runs[i%len(runs)])
			}
		})
	}
}

// configurations returns the defaults, and what an operator may add to them.
func configurations() map[string]exporters.PrometheusConfig {
	all := make(map[string]exporters.PrometheusConfig)
	config := *exporters.DefaultPrometheusConfig()
	all["default"] = config
	config.Phases = "histogram"
	all["phases=histogram"] = config
	config.Phases = "off"
	config.Buckets = []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second}
	all["buckets=7"] = config
	return all
}

// The values of Accept that ask for each format.
const (
	acceptText     = "text/plain;version=0.0.4"
	acceptOpen     = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// BenchmarkPrometheusScrape measures one page of scenarios with two steps each, and their memory.
func BenchmarkPrometheusScrape(b *testing.B) {
	for _, c := range []struct {
		name, config, accept, encoding string
		scenarios                      int
	}{
		{"text", "default", acceptText, "", 1000}, {"text-gzip", "default", acceptText, "gzip", 1000},
		{"openmetrics-gzip", "default", acceptOpen, "gzip", 1000},
		{"protobuf-gzip", "default", acceptProtobuf, "gzip", 1000},
		{"text-gzip-phases", "phases=histogram", acceptText, "gzip", 1000},
		{"text-gzip-buckets", "buckets=7", acceptText, "gzip", 1000},
		{"text", "default", acceptText, "", 10000}, {"text-gzip", "default", acceptText, "gzip", 10000},
	} {
		b.Run(fmt.Sprint(c.name, "/", c.scenarios), func(b *testing.B) {
			var ids []result.ScenarioStats
			p := exporters.NewPrometheus(configurations()[c.config], exporters.Host{Stats: func() result.Stats { return result.Stats{Scenarios: ids} }})
			for i := range c.scenarios {
				ids = append(ids, result.ScenarioStats{Identity: webRun(i, 0).Identity, Interval: time.Minute})
			}
			before := heap()
			for i := range c.scenarios {
				for j := range 200 {
					p.Export(webRun(i, spread(i*31+j)))
				}
			}
			kept := heap() - before
			samples := 0 // as in the text format: a histogram counts as its buckets, sum and count
			for line := range strings.Lines(page(b, p, acceptText)) {
				if !strings.HasPrefix(line, "#") {
					samples++
				}
			}
			w := &counter{header: make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest("GET", "/metrics", nil)
				req.Header.Set("Accept", c.accept)
				req.Header.Set("Accept-Encoding", c.encoding)
				w.bytes = 0
				p.Handler().ServeHTTP(w, req)
			}
			b.ReportMetric(float64(w.bytes), "page-bytes")
			b.ReportMetric(float64(samples), "samples")
			b.ReportMetric(float64(kept)/float64(c.scenarios), "kept-B/scenario")
			runtime.KeepAlive(p)
		})
	}
}

// counter counts a page without keeping it.
type counter struct {
	header http.Header
	bytes  int
}

func (c *counter) Header() http.Header         { return c.header }
func (c *counter) WriteHeader(int)             {}
func (c *counter) Write(b []byte) (int, error) { c.bytes += len(b); return len(b), nil }

// heap returns the live heap in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestPrometheusAlertFiresWhileItIsHard(t *testing.T) {
	p := filled()
	a := alert.Alert{Rule: "failures", Identity: exporterstest.Typical().Identity}
	for _, step := range []struct {
		state alert.State
		want  string
	}{{alert.Soft, "0"}, {alert.Hard, "1"}, {alert.Resolved, "0"}} {
		a.State = step.state
		p.Alert(a)
		got := lines(t, p, "stepwatch_alert_firing")
		if !strings.Contains(got, `rule="failures"`) || !strings.HasSuffix(strings.TrimSpace(got), " "+step.want) || strings.Count(got, "\n") > 1 {
			t.Errorf("%s: got %q, want one series of value %s", step.state, got, step.want)
		}
	}
}

// TestPrometheusShowsHiddenFailures holds that a failure which a retry hides stays visible, and that a scenario without one has
// no series about it.
func TestPrometheusShowsHiddenFailures(t *testing.T) {
	p := plainPrometheus()
	about := func() (attempts, flakes string) {
		value := func(name string) string {
			line := strings.TrimSpace(lines(t, p, name))
			return line[strings.LastIndex(line, " ")+1:]
		}
		return value("stepwatch_scenario_attempts"), value("stepwatch_scenario_flakes_total")
	}
	for i, run := range []struct {
		passed           bool
		attempt          int
		attempts, flakes string
	}{
		{true, 1, "", ""},
		{false, 1, "", ""},
		{true, 2, "2", "1"}, // hidden
		{true, 1, "", "1"},
		{false, 1, "", "1"}, {false, 2, "2", "1"}, {false, 3, "3", "1"}, // hard, and told
		{true, 4, "4", "1"},
		{true, 1, "", "1"},
		{false, 1, "", "1"}, {false, 2, "2", "1"}, {true, 3, "3", "2"}, // hidden again
	} {
		r := exporterstest.Passing()
		if !run.passed {
			r.Status, r.Reason, r.Blame = result.Failed, result.ReasonUnexpected, result.BlameWeb
			r.Steps[1].Status = result.Failed
		}
		r.Attempt, r.Retries = run.attempt, 2
		p.Export(r)
		if attempts, flakes := about(); attempts != run.attempts || flakes != run.flakes {
			t.Errorf("after run %d: %q attempts and %q flakes, want %q and %q", i+1, attempts, flakes, run.attempts, run.flakes)
		}
	}
}

// TestPrometheusShowsTheShareOfTheDeadline holds that the share appears with the first run that needs much of its deadline, and
// then stays.
func TestPrometheusShowsTheShareOfTheDeadline(t *testing.T) {
	p := plainPrometheus()
	for _, run := range []struct {
		took, prepared, timeout time.Duration
		want                    string
	}{
		{time.Second, 0, 10 * time.Second, ""},
		{5 * time.Second, 0, 10 * time.Second, ""},
		{5 * time.Second, time.Second, 10 * time.Second, " 0.6\n"},
		{time.Second, 0, 10 * time.Second, " 0.1\n"},
		{time.Second, 0, 0, ""}, // nothing ran
		{10 * time.Second, 0, 10 * time.Second, " 1\n"},
	} {
		r := exporterstest.Passing()
		r.Duration, r.Prepare, r.Timeout = run.took, run.prepared, run.timeout
		p.Export(r)
		if got := lines(t, p, "stepwatch_scenario_deadline_ratio"); !strings.HasSuffix(got, run.want) || run.want == "" && got != "" {
			t.Errorf("%s and %s of %s: %q, want %q", run.prepared, run.took, run.timeout, got, run.want)
		}
	}
}
