//go:build linux

package stack_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

const watched = `@every:1s @timeout:900ms
Feature: Watched
  Scenario: Passing
    When I go to "https://example.test/"
    Then I should see "Welcome"

  Scenario: Failing
    When I go to "https://closed.example.test/"
    Then I should see "Welcome"
`

// needPackage skips the test when a package is not installed that few tests need.
func needPackage(t *testing.T, name string) {
	t.Helper()
	if slices.ContainsFunc(stack.Missing(), func(p stack.Package) bool { return p.Name == name }) {
		t.Skipf("this needs the Debian package %s: run .ci/install", name)
	}
}

// query asks Prometheus and gives the value, or false when there is none yet.
func query(t *testing.T, expression string) (float64, bool) {
	t.Helper()
	response, err := http.Get("http://" + stack.PrometheusAddress + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Status string
		Error  string
		Data   struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("query %s: %v %s", expression, err, answer.Error)
	}
	if len(answer.Data.Result) == 0 {
		return 0, false
	}
	value, err := strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return value, true
}

func TestPrometheusScrapesTheAgent(t *testing.T) {
	s := need(t)
	needPackage(t, "prometheus")
	logs(t, "prometheus")
	const address = "127.0.0.1:9469"
	agent := exec.Command(stepwatch, "agent", "--config", filepath.Join(s.Dir, "stepwatch.yml"), "--listen", address, write(t, "watched.feature", watched))
	var said bytes.Buffer
	agent.Stderr = &said
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := agent.Wait(); err != nil {
			t.Errorf("the agent ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the agent said:\n%s", &said)
		}
	})
	if err := s.StartPrometheus(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Prometheus.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		expression string
		low, high  float64
	}{
		{`up{job="stepwatch"}`, 1, 1},
		{`stepwatch_scenario_success{scenario="Passing"}`, 1, 1},
		{`stepwatch_scenario_success{scenario="Failing"}`, 0, 0},
		{`stepwatch_step_duration_seconds_count{step="I go to \"https://example.test/\"",status="passed"}`, 1, 60},
		{`stepwatch_step_duration_seconds_sum{step="I go to \"https://example.test/\"",status="passed"} / stepwatch_step_duration_seconds_count`, 1e-4, 0.9},
		{`histogram_quantile(0.5, stepwatch_step_duration_seconds_bucket{step="I should see \"Welcome\"",status="passed"})`, 1e-9, 0.9},
		{`stepwatch_step_duration_seconds_count{scenario="Failing",status="failed"}`, 1, 60},
	} {
		var got float64
		eventually(t, 15*time.Second, c.expression, func() (found bool) {
			got, found = query(t, c.expression)
			return found
		})
		if got < c.low || got > c.high {
			t.Errorf("%s = %v, want %v to %v", c.expression, got, c.low, c.high)
		}
	}
}

// perfdata is one value of the Nagios Plugin Development Guidelines: 'label'=value[UOM];[warn];[crit];[min];[max]
var perfdata = regexp.MustCompile(`^('(?:[^'=]|'')+'|[^'= ]+)=-?[0-9.]+(us|ms|s|%|B|KB|MB|GB|TB|c)?(;[-0-9.:@~]*){0,4}$`)

// invalidPerfdata splits performance data at the spaces outside quotes and returns what does not fit.
func invalidPerfdata(data string) []string {
	var invalid []string
	for _, field := range regexp.MustCompile(`(?:'[^']*'|[^' ])+`).FindAllString(data, -1) {
		if !perfdata.MatchString(field) {
			invalid = append(invalid, field)
		}
	}
	return invalid
}

// services reads Nagios' status.dat: a map of settings for each service, by its description.
func services(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]map[string]string)
	for _, block := range regexp.MustCompile(`(?ms)^servicestatus \{\n(.*?)^\t\}`).FindAllSubmatch(content, -1) {
		settings := make(map[string]string)
		for line := range strings.Lines(string(block[1])) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			settings[name] = value
		}
		found[settings["service_description"]] = settings
	}
	return found
}

func TestNagiosRunsThePlugin(t *testing.T) {
	s := need(t)
	needPackage(t, "nagios4-core")
	logs(t, "nagios", "nagios.events")
	plugin := stack.Plugin{Program: stepwatch, Config: filepath.Join(s.Dir, "stepwatch.yml")}
	wanted := map[string]struct{ state, output string }{
		"Passing": {"0", `^STEPWATCH OK - `},
		"Failing": {"2", `^STEPWATCH CRITICAL - .*I go to "https://closed\.example\.test/".*\(connect, blame web\)`},
		"Mail":    {"0", `^STEPWATCH OK - `},
	}
	lines := strings.SplitAfter(watched, "\n\n")
	for name, content := range map[string]string{"Passing": lines[0], "Failing": "Feature: Watched\n" + lines[1], "Mail": mail} {
		plugin.Services = append(plugin.Services, stack.Service{Name: name, Path: write(t, strings.ToLower(name)+".feature", content)})
	}
	if err := s.StartNagios(t.Context(), plugin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Nagios.Stop(); err != nil {
			t.Error(err)
		}
	})
	var found map[string]map[string]string
	eventually(t, 30*time.Second, "Nagios has run every service, and the failing one until it is hard", func() bool {
		found = services(t, s.StatusFile())
		for name := range wanted {
			if found[name]["has_been_checked"] != "1" || found[name]["state_type"] != "1" {
				return false
			}
		}
		return true
	})
	for name, want := range wanted {
		got := found[name]
		if got["current_state"] != want.state || !regexp.MustCompile(want.output).MatchString(got["plugin_output"]) {
			t.Errorf("%s: state %s, output %q; want %s, %s", name, got["current_state"], got["plugin_output"], want.state, want.output)
		}
		data := got["performance_data"]
		if !strings.HasPrefix(data, "passed=") || !strings.Contains(data, "s;") {
			t.Errorf("%s: performance data %q", name, data)
		}
		if invalid := invalidPerfdata(data); len(invalid) > 0 {
			t.Errorf("%s: invalid performance data %q in %q", name, invalid, data)
		}
		t.Logf("%s: %s | %s", name, got["plugin_output"], data)
	}
}

// TestNagiosShowsAnAlert has Nagios run a shipped alert as a service while its cause comes and goes.
func TestNagiosShowsAnAlert(t *testing.T) {
	s := need(t)
	needPackage(t, "nagios4-core")
	logs(t, "nagios", "nagios.events", "postfix")
	emptyQueue(t)
	// Debian lets the group postdrop enter here, to which an operator adds the user nagios.
	public := filepath.Join(s.Dir, "postfix/queue/public")
	info, err := os.Stat(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(public, info.Mode().Perm()|0o001); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chmod(public, info.Mode().Perm()); err != nil {
			t.Error(err)
		}
	})
	feature, err := os.ReadFile("../../../features/alerts/queue.feature")
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(feature), ": Nothing is held back\n")
	if !found {
		t.Fatal("the shipped alerts have no scenario \"Nothing is held back\"")
	}
	const name = "Queue"
	err = s.StartNagios(t.Context(), stack.Plugin{
		Program:  stepwatch,
		Config:   write(t, "stepwatch.yml", fmt.Sprintf("hosts:\n  mx1: {queue: {showq: %s}}\n", filepath.Join(public, "showq"))),
		Services: []stack.Service{{Name: name, Path: fmt.Sprintf("%s:%d", write(t, "queue.feature", string(feature)), strings.Count(before, "\n")+1)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Nagios.Stop(); err != nil {
			t.Error(err)
		}
	})
	shows := func(state, output string) {
		t.Helper()
		var got map[string]string
		defer func() {
			if t.Failed() {
				t.Logf("Nagios shows state %s, %s", got["current_state"], got["plugin_output"])
			}
		}()
		eventually(t, 30*time.Second, "Nagios shows state "+state+", "+output, func() bool {
			got = services(t, s.StatusFile())[name]
			return got["has_been_checked"] == "1" && got["state_type"] == "1" && got["current_state"] == state &&
				regexp.MustCompile(output).MatchString(got["plugin_output"])
		})
	}
	shows("0", `^STEPWATCH OK - `)
	flood(t, 3, stack.Holding+":25")
	shows("2", `^STEPWATCH CRITICAL - .*the mail queue of "mx1" has 3 messages on hold`)
	if err := s.Postfix.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	shows("0", `^STEPWATCH OK - `)
}
