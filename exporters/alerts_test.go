package exporters_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/exporters/exporterstest"
)

// readmeRules returns the alert rules that README.md shows.
func readmeRules(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "```yaml\ngroups:\n")
	rules, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatal("README.md has no block of alert rules")
	}
	return "groups:\n" + rules + "\n"
}

// TestAlertRulesNameMetricsThatExist holds README.md's alert rules against a page, so that no rule waits for a metric
// that stepwatch no longer has.
func TestAlertRulesNameMetricsThatExist(t *testing.T) {
	p := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{Stats: func() result.Stats {
		stats := exporterstest.Stats()
		stats.Loaded = time.Now() // as of an agent that reloads
		return stats
	}})
	r := exporterstest.Typical()
	r.Steps[0].Measurements = append(r.Steps[0].Measurements, result.Measurement{
		Name: "tls_certificate_not_after_timestamp_seconds", Value: 1, Labels: []result.Label{{Name: "host", Value: "mail.example.org"}}})
	p.Export(r)
	flaky := exporterstest.Passing()
	flaky.Attempt, flaky.Retries, flaky.Timeout = 2, 1, flaky.Duration
	p.Export(flaky)
	p.Alert(alert.Alert{Rule: "failures", Identity: r.Identity, State: alert.Hard})
	p.Alert(alert.Alert{Rule: "lack", State: alert.Hard, Lack: &result.Lack{Kind: "ports"}})
	page := page(t, p, acceptText)
	names := regexp.MustCompile(`stepwatch_[a-z_]+`).FindAllString(readmeRules(t), -1)
	if len(names) < 10 {
		t.Fatalf("the rules name only %q", names)
	}
	for _, name := range names {
		if !strings.Contains(page, "\n"+name+"{") && !strings.Contains(page, "\n"+name+" ") {
			t.Errorf("the page has no %s", name)
		}
	}
}

// TestAlertRules has promtool evaluate README.md's alert rules: they fire when they should, and at no other time.
func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: package prometheus), so the alert rules are not evaluated")
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"rules.yml": readmeRules(t), "test.yml": ruleTests} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// ruleTests is the input of promtool: each case has a scenario in trouble and, where it matters, one that is well. Time
// begins at 0.
const ruleTests = `
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - name: a scenario fails, of two agents that run it
    interval: 1m
    input_series:
      - {series: 'up{job="stepwatch",instance="a"}', values: '1+0x20'}
      - {series: 'stepwatch_alert_firing{job="stepwatch",instance="a",feature="F",scenario="S",rule="failures"}', values: '0+0x4 1+0x10'}
      - {series: 'stepwatch_alert_firing{job="stepwatch",instance="b",feature="F",scenario="S",rule="failures"}', values: '0+0x20'}
      - {series: 'stepwatch_alert_firing{job="stepwatch",instance="a",feature="F",scenario="O",example="n=1",rule="failures"}', values: '1+0x20'}
      - {series: 'stepwatch_scenario_info{job="stepwatch",instance="a",feature="F",scenario="S",file="f.feature",owner="web",interval="1m"}', values: '1+0x20'}
      - {series: 'stepwatch_scenario_info{job="stepwatch",instance="b",feature="F",scenario="S",file="f.feature",owner="web",interval="1m"}', values: '1+0x20'}
      - {series: 'stepwatch_scenario_info{job="stepwatch",instance="a",feature="F",scenario="O",example="n=1",file="o.feature",interval="1m"}', values: '1+0x20'}
      - {series: 'stepwatch_scenario_info{job="stepwatch",instance="a",feature="F",scenario="O",example="n=2",file="o.feature",interval="1m"}', values: '1+0x20'}
    alert_rule_test:
      - alertname: ScenarioFails
        eval_time: 4m
        exp_alerts:
          - exp_labels: {job: stepwatch, instance: a, feature: F, scenario: O, example: n=1, rule: failures, file: o.feature}
            exp_annotations: {summary: 'O fails; its owner is '}
      - alertname: ScenarioFails
        eval_time: 6m
        exp_alerts:
          - exp_labels: {job: stepwatch, instance: a, feature: F, scenario: O, example: n=1, rule: failures, file: o.feature}
            exp_annotations: {summary: 'O fails; its owner is '}
          - exp_labels: {job: stepwatch, instance: a, feature: F, scenario: S, rule: failures, file: f.feature, owner: web}
            exp_annotations: {summary: 'S fails; its owner is web'}
      - {alertname: AgentIsDown, eval_time: 10m}
  - name: the agent is dead, and nothing else of it is there
    interval: 1m
    input_series:
      - {series: 'up{job="stepwatch",instance="a"}', values: '1+0x4 0+0x10'}
    alert_rule_test:
      - {alertname: AgentIsDown, eval_time: 6m}
      - alertname: AgentIsDown
        eval_time: 8m
        exp_alerts: [exp_labels: {job: stepwatch, instance: a}]
  - name: Prometheus knows no agent
    interval: 1m
    input_series:
      - {series: 'up{job="other",instance="a"}', values: '1+0x20'}
    alert_rule_test:
      - alertname: AgentIsDown
        eval_time: 3m
        exp_alerts: [exp_labels: {job: stepwatch}]
  - name: stepwatch's machine lacks something
    interval: 1m
    input_series:
      - {series: 'stepwatch_monitor_lack{job="stepwatch",instance="a",kind="ports"}', values: '0+0x4 1+0x4 0+0x4'}
    alert_rule_test:
      - {alertname: MonitorLacksSomething, eval_time: 4m}
      - alertname: MonitorLacksSomething
        eval_time: 7m
        exp_alerts: [exp_labels: {job: stepwatch, instance: a, kind: ports}]
      - {alertname: MonitorLacksSomething, eval_time: 11m}
  - name: a scenario never ran, and another one did
    interval: 1m
    input_series:
      - {series: 'stepwatch_scenario_info{instance="a",feature="F",scenario="Never",interval="5m"}', values: '1+0x90'}
      - {series: 'stepwatch_scenario_info{instance="a",feature="F",scenario="Did",interval="5m"}', values: '1+0x90'}
      - {series: 'stepwatch_scenario_info{instance="a",feature="F",scenario="Daily",interval="24h"}', values: '1+0x90'}
      - {series: 'stepwatch_scenario_last_run_timestamp_seconds{instance="a",feature="F",scenario="Did"}', values: '0+60x90'}
    alert_rule_test:
      - {alertname: ScenarioNeverRan, eval_time: 59m}
      - alertname: ScenarioNeverRan
        eval_time: 61m
        exp_alerts: [exp_labels: {instance: a, feature: F, scenario: Never, interval: 5m}]
      - {alertname: ScenarioStopped, eval_time: 61m}
  - name: a scenario stopped after ten minutes, and another has a longer interval
    interval: 1m
    input_series:
      - {series: 'stepwatch_scenario_info{instance="a",feature="F",scenario="S",owner="web",interval="1m"}', values: '1+0x90'}
      - {series: 'stepwatch_scenario_info{instance="a",feature="F",scenario="Long",interval="1h"}', values: '1+0x90'}
      - {series: 'stepwatch_scenario_last_run_timestamp_seconds{instance="a",feature="F",scenario="S"}', values: '0+60x10 600+0x20'}
      - {series: 'stepwatch_scenario_last_run_timestamp_seconds{instance="a",feature="F",scenario="Long"}', values: '0+0x30'}
    alert_rule_test:
      - {alertname: ScenarioStopped, eval_time: 13m}
      - alertname: ScenarioStopped
        eval_time: 14m
        exp_alerts: [exp_labels: {instance: a, feature: F, scenario: S, owner: web}]
      - {alertname: ScenarioNeverRan, eval_time: 20m}
  - name: runs are missed for the first time, and again later
    interval: 1m
    input_series:
      - {series: 'stepwatch_runs_missed_total{instance="a",feature="F",scenario="S"}', values: '_x5 1+0x24 2+0x30'}
    alert_rule_test:
      - {alertname: RunsMissed, eval_time: 4m}
      - alertname: RunsMissed
        eval_time: 6m
        exp_alerts: [exp_labels: {instance: a, feature: F, scenario: S}]
      - {alertname: RunsMissed, eval_time: 25m}
      - alertname: RunsMissed
        eval_time: 35m
        exp_alerts: [exp_labels: {instance: a, feature: F, scenario: S}]
      - {alertname: RunsMissed, eval_time: 50m}
  - name: retries hide failures of one scenario, and one failure of another
    interval: 10m
    input_series:
      - {series: 'stepwatch_scenario_flakes_total{instance="a",feature="F",scenario="Flaky"}', values: '_x5 1+0x6 2+0x6 3+0x6 4+0x60'}
      - {series: 'stepwatch_scenario_flakes_total{instance="a",feature="F",scenario="Once"}', values: '_x5 1+0x20 2+0x60'}
    alert_rule_test:
      - {alertname: RetriesHideFailures, eval_time: 2h}
      - alertname: RetriesHideFailures
        eval_time: 5h
        exp_alerts: [exp_labels: {instance: a, feature: F, scenario: Flaky}]
      - {alertname: RetriesHideFailures, eval_time: 11h}
  - name: the runs of one scenario come near their deadline, and one run of another
    interval: 1m
    input_series:
      - {series: 'stepwatch_scenario_deadline_ratio{instance="a",feature="F",scenario="Slow"}', values: '_x5 0.9+0x20 0.6+0x20'}
      - {series: 'stepwatch_scenario_deadline_ratio{instance="a",feature="F",scenario="Once"}', values: '_x5 1 0.1+0x40'}
    alert_rule_test:
      - {alertname: RunsNearTheirDeadline, eval_time: 14m}
      - alertname: RunsNearTheirDeadline
        eval_time: 17m
        exp_alerts: [exp_labels: {instance: a, feature: F, scenario: Slow}]
      - {alertname: RunsNearTheirDeadline, eval_time: 30m}
  - name: a certificate ends soon
    interval: 1m
    input_series:
      - {series: 'stepwatch_scenario_info{instance="a",feature="F",scenario="S",owner="web"}', values: '1+0x9'}
      - {series: 'stepwatch_tls_certificate_not_after_timestamp_seconds{instance="a",feature="F",scenario="S",step="I go",host="www.example.org"}', values: '1209700+0x9'}
      - {series: 'stepwatch_tls_certificate_not_after_timestamp_seconds{instance="a",feature="F",scenario="S",step="I go",host="example.org"}', values: '1299700+0x9'}
    alert_rule_test:
      - {alertname: CertificateEndsSoon, eval_time: 1m}
      - alertname: CertificateEndsSoon
        eval_time: 2m
        exp_alerts: [exp_labels: {instance: a, feature: F, scenario: S, step: I go, host: www.example.org, owner: web}]
`

// TestRestoredStates holds that a page has the states of the last runs before a restart until the next ones: a rule about them
// would end and begin again.
func TestRestoredStates(t *testing.T) {
	p := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{})
	r := exporterstest.Passing()
	p.Restore([]alert.Alert{{Rule: "failures", Identity: r.Identity, State: alert.Hard}}, []result.Last{{Identity: r.Identity, Interval: time.Minute, State: result.Critical}})
	restored := page(t, p, acceptText)
	for _, want := range []string{`stepwatch_alert_firing{`, `stepwatch_scenario_state{`, `stepwatch_scenario_success{`} {
		if !strings.Contains(restored, "\n"+want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if !regexp.MustCompile(`(?m)^stepwatch_scenario_state\{.*\} 2$`).MatchString(restored) || strings.Contains(restored, "\nstepwatch_scenario_last_run") {
		t.Errorf("the page has\n%s", restored)
	}
	p.Export(r)
	p.Restore(nil, []result.Last{{Identity: r.Identity, State: result.Critical}})
	if ran := page(t, p, acceptText); !regexp.MustCompile(`(?m)^stepwatch_scenario_state\{.*\} 0$`).MatchString(ran) || strings.Count(ran, "\nstepwatch_scenario_state{") != 1 {
		t.Errorf("after a run, the page has\n%s", ran)
	}
}
