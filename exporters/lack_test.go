package exporters_test

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
)

// lacking is a run of a scenario in which the machine of stepwatch had no free port.
func lacking(scenario string) *result.Result {
	own := &result.Lack{Kind: "ports", Said: "no free local port", Remedy: "widen net.ipv4.ip_local_port_range"}
	return &result.Result{Identity: result.Identity{Feature: "f", Scenario: scenario}, Status: result.Failed, Reason: result.ReasonLack, Blame: result.BlameMonitor,
		Error: "connect: no free local port", Lack: own, Steps: []result.StepResult{{Text: "a step", Status: result.Failed, Ran: true, Reason: result.ReasonLack,
			Blame: result.BlameMonitor, Error: "connect: no free local port", Lack: own}}}
}

// TestNagiosNamesALackOnce checks the status line of scenarios that all meet the same lack, and that a real failure is
// shown before it.
func TestNagiosNamesALackOnce(t *testing.T) {
	passed := &result.Result{Identity: result.Identity{Feature: "f", Scenario: "fine"}, Status: result.Passed, Steps: []result.StepResult{{Text: "a step", Status: result.Passed, Ran: true}}}
	failed := &result.Result{Identity: result.Identity{Feature: "f", Scenario: "broken"}, Status: result.Failed, Reason: result.ReasonConnect, Blame: result.BlameWeb, Error: "refused",
		Steps: []result.StepResult{{Text: "a step", Status: result.Failed, Ran: true, Reason: result.ReasonConnect, Blame: result.BlameWeb, Error: "refused"}}}
	for want, results := range map[string][]*result.Result{
		"STEPWATCH UNKNOWN - no free local port: widen net.ipv4.ip_local_port_range (lack of ports, blame monitor; 2 of 2 scenarios meet it) |":                        {lacking("a"), lacking("b")},
		"STEPWATCH UNKNOWN - no free local port: widen net.ipv4.ip_local_port_range (lack of ports, blame monitor; 2 of 3 scenarios meet it; other scenarios: 1 OK) |": {passed, lacking("a"), lacking("b")},
		"STEPWATCH CRITICAL - broken: a step: refused (connect, blame web) (other scenarios: 2 UNKNOWN) |":                                                             {lacking("a"), failed, lacking("b")},
	} {
		var out bytes.Buffer
		exporters.Nagios(&out, results, exporters.NagiosOptions{})
		if line, _, _ := strings.Cut(out.String(), "\n"); !strings.HasPrefix(line, want) {
			t.Errorf("got  %s\nwant %s", line, want)
		}
	}
}

// TestPrometheusShowsALack checks the gauge of a lack, which belongs to no scenario.
func TestPrometheusShowsALack(t *testing.T) {
	p := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{})
	page := func() string {
		recorder := httptest.NewRecorder()
		p.Handler().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
		return recorder.Body.String()
	}
	if strings.Contains(page(), "stepwatch_monitor_lack") {
		t.Error("a lack is shown that never was")
	}
	a := alert.Alert{Rule: "lack", State: alert.Hard, Severity: result.Unknown, Since: time.Now(), Lack: lacking("a").Lack}
	p.Alert(a)
	if got := page(); !strings.Contains(got, `stepwatch_monitor_lack{kind="ports"} 1`) || strings.Contains(got, "alert_firing") {
		t.Error(got)
	}
	a.State = alert.Resolved
	p.Alert(a)
	if got := page(); !strings.Contains(got, `stepwatch_monitor_lack{kind="ports"} 0`) {
		t.Error(got)
	}
}
