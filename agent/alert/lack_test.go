package alert_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// TestLacks raises one alert however many scenarios meet a lack, and resolves it when the last of them no longer does.
func TestLacks(t *testing.T) {
	rule := alert.NewLacks()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var got []string
	observe := func(after time.Duration, scenario, kind string) {
		r := &result.Result{Identity: result.Identity{Scenario: scenario}, Status: result.Passed, Started: start.Add(after), Attempt: 1,
			Steps: []result.StepResult{{Status: result.Passed, Ran: true}}}
		switch kind {
		case "":
		case "timeout": // no lack
			r.Status, r.Reason, r.Blame = result.Failed, result.ReasonTimeout, result.BlameWeb
			r.Doubtful = true
		default:
			r.Status, r.Reason, r.Blame = result.Failed, result.ReasonLack, result.BlameMonitor
			r.Lack = &result.Lack{Kind: kind, Said: "no " + kind, Remedy: "get some"}
		}
		for _, a := range rule.Observe(r) {
			got = append(got, fmt.Sprintf("%s %s %s %s: %s", after, a.Lack.Kind, a.State, a.Severity, a.Summary))
		}
	}
	for i := range 200 {
		observe(time.Duration(i)*time.Millisecond, fmt.Sprint(i), "ports")
	}
	observe(time.Second, "0", "memory") // it no longer lacks ports, and now lacks memory
	for i := range 200 {
		observe(time.Duration(i+2)*time.Second, fmt.Sprint(i), "")
	}
	observe(time.Hour, "daily", "route")
	observe(time.Hour+time.Minute, "other", "")
	observe(3*time.Hour, "other", "")
	observe(4*time.Hour, "a", "uplink")
	observe(4*time.Hour, "b", "uplink")
	observe(4*time.Hour, "c", "ports")
	for _, scenario := range []string{"a", "b", "c"} { // they have ports, and may lack the uplink
		observe(4*time.Hour+time.Second, scenario, "timeout")
	}
	observe(4*time.Hour+time.Minute, "d", "") // it did not meet it
	observe(4*time.Hour+2*time.Minute, "b", "")
	for _, a := range append(rule.Own("evidence", &result.Lack{Kind: "disk", Said: "full", Remedy: "make space"}, start), rule.Own("evidence", nil, start)...) {
		got = append(got, fmt.Sprintf("evidence %s: %s", a.State, a.Summary))
	}
	const want = `0s ports hard UNKNOWN: no ports: get some; the scenarios that meet this are UNKNOWN, first : 0
1s memory hard UNKNOWN: no memory: get some; the scenarios that meet this are UNKNOWN, first : 0
2s memory resolved OK: no longer: no memory
3m21s ports resolved OK: no longer: no ports
1h0m0s route hard UNKNOWN: no route: get some; the scenarios that meet this are UNKNOWN, first : daily
3h0m0s route resolved OK: no longer: no route
4h0m0s uplink hard UNKNOWN: no uplink: get some; the scenarios that meet this are UNKNOWN, first : a
4h0m0s ports hard UNKNOWN: no ports: get some; the scenarios that meet this are UNKNOWN, first : c
4h0m1s ports resolved OK: no longer: no ports
4h2m0s uplink resolved OK: no longer: no uplink
evidence hard: full: make space
evidence resolved: no longer: full`
	if all := strings.Join(got, "\n"); all != want {
		t.Errorf("got\n%s\nwant\n%s", all, want)
	}
}
