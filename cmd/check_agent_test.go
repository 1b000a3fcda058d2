package cmd

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/api"
	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/recent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/exporters/exporterstest"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// startAgent starts an agent and returns its address.
func startAgent(t *testing.T, args ...string) (url string) {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.Background())
	var errs syncBuffer
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		dispatch(ctx, &terminal{out: &errs, err: &errs}, append([]string{"agent", "--listen", "127.0.0.1:0"}, args...))
	}()
	t.Cleanup(func() {
		stop(steps.ErrStopped)
		<-ended
		if t.Failed() {
			t.Log(errs.String())
		}
	})
	address := regexp.MustCompile(`(http://\S+)/metrics`)
	until(t, "the address", func() bool { return address.MatchString(errs.String()) })
	return address.FindStringSubmatch(errs.String())[1]
}

// withoutTimes replaces what differs from run to run.
func withoutTimes(text string) string {
	text = regexp.MustCompile(`[0-9]+\.[0-9]+s`).ReplaceAllString(text, "Ts")
	return regexp.MustCompile(` \[\d+s ago\]`).ReplaceAllString(text, "")
}

// TestCheckAsksTheAgent asks a real agent: its last result has the status line, the labels and the long output of a run.
func TestCheckAsksTheAgent(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	site, err := stepstest.NewWebsite(stepstest.WebsiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	file := filepath.Join(t.TempDir(), "site.feature")
	text := "@every:1s @timeout:10s @retries:100\nFeature: Site\n  Scenario: Home\n    When I go to \"http://" + site.HTTPAddr +
		"/\"\n    Then I should see \"Welcome\"\n  @manual\n  Scenario: By hand\n    When I go to \"http://" + site.HTTPAddr + "/\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(filepath.Dir(file), "other.feature")
	if err := os.WriteFile(other, []byte("Feature: Other\n  Scenario: Home\n    When I wait 1s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := startAgent(t, file)
	asked := func(args ...string) (int, string) {
		return said(t, append([]string{"check", "--agent", url}, args...)...)
	}
	until(t, "a result", func() bool { code, _ := asked("--name", "Home"); return code == 0 })
	for _, args := range [][]string{{file + ":3"}, {file}, {file, "--name", "Home"}, {file, "--tags", "@every:1s"}} {
		code, ran := said(t, append([]string{"check"}, args...)...)
		askedCode, answer := asked(args...)
		if code != askedCode || withoutTimes(answer) != withoutTimes(ran) {
			t.Errorf("check %q: a run says %d and\n%s\nand the agent %d and\n%s", args, code, ran, askedCode, answer)
		}
	}
	site.SetBroken(stepstest.Status500)
	until(t, "the failure", func() bool { code, _ := asked("--name", "Home"); return code == 2 })
	code, out := asked("--name", "Site: Home")
	if !regexp.MustCompile(`^STEPWATCH CRITICAL - When I go to .* \(http_status, blame web\) \[\d+s ago; soft, attempt \d+ of 101\] \| passed=0 failed=1 .*'Site/Home/I go to `).MatchString(out) {
		t.Errorf("the failure: code %d and\n%s", code, out)
	}
	code, out = asked("--hard", "--name", "Home")
	if code != 0 || !regexp.MustCompile(`^STEPWATCH OK - When .*; soft CRITICAL, attempt \d+ of 101\]`).MatchString(out) {
		t.Errorf("a soft failure with --hard: code %d and\n%s", code, out)
	}
	for _, c := range []struct{ args, want string }{
		{"--name|Hone", `of those that the agent has on a schedule, no scenario is called "Hone": did you mean "Home"?`},
		{"--tags|@nobody", `no scenario that the agent has on a schedule has tags that match "@nobody"`},
		{"--tags|mail", `"mail" is neither a tag (@name) nor`},
		{file + ":7", `STEPWATCH UNKNOWN - the agent does not run it, because it is tagged @manual: run it with "stepwatch check"`},
		{other, `the agent at ` + url + ` has no "Other: Home" on a schedule: is ` + other + ` among its features, with the same names?`},
		{"missing.feature", "missing.feature: no such file or directory"},
		{"--evidence|x", "--evidence has no effect with --agent"},
		{"--user|anna", "--user anna has no password"},
	} {
		if code, out := asked(strings.Split(c.args, "|")...); code != 3 || !strings.Contains(out, c.want) || !strings.HasPrefix(out, "STEPWATCH UNKNOWN - ") {
			t.Errorf("%s: code %d and\n%s\nwant %q", c.args, code, out, c.want)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"--agent|http://127.0.0.1:1", "ask the agent at http://127.0.0.1:1 (GET /api/results): nothing listens there"},
		{"--agent|127.0.0.1:9469", "is not the address of an agent"},
		{"--self", "name it with --agent URL, such as http://127.0.0.1:9469"},
		{"--user|anna|" + file, "name it with --agent URL, such as http://127.0.0.1:9469"},
	} {
		if code, out := said(t, append([]string{"check"}, strings.Split(c.args, "|")...)...); code != 3 || !strings.Contains(out, c.want) {
			t.Errorf("%s: code %d and\n%s\nwant %q", c.args, code, out, c.want)
		}
	}
}

// TestCheckJudgesWhatTheAgentSays has an agent with every kind of state.
func TestCheckJudgesWhatTheAgentSays(t *testing.T) {
	now := time.Now()
	passed := exporterstest.Passing()
	passed.Timeout, passed.Started = time.Minute, now.Add(-30*time.Second)
	failed := exporterstest.Typical()
	failed.Timeout, failed.Started = time.Minute, now.Add(-30*time.Second)
	of := func(r *result.Result, change func(*latest.Scenario)) latest.Scenario {
		s := latest.Scenario{Scenario: state.Scenario{ID: r.Identity.ID(), Identity: r.Identity, State: r.State(), Hard: true, Attempt: 1,
			LastRun: r.Started, LastState: r.State(), LastSummary: r.Summary(), LastReason: r.Reason, Blame: r.Blame, Interval: state.Seconds(time.Minute)},
			Result: latest.NewRun(r)}
		if change != nil {
			change(&s)
		}
		return s
	}
	late := func(s *latest.Scenario) { s.LastRun = now.Add(-3 * time.Minute) }
	never := func(s *latest.Scenario) {
		*s = latest.Scenario{Scenario: state.Scenario{Identity: s.Identity, LastState: result.Unknown, State: result.Unknown, Interval: s.Interval, LastSummary: "it has not run yet"}}
	}
	for _, c := range []struct {
		name string
		s    latest.Scenario
		args string
		code int
		want string // a regular expression for the whole status line
	}{
		{"OK", of(passed, nil), "", 0, `STEPWATCH OK - 2 steps passed in 0.083s \[30s ago\] \| passed=2 failed=0 nosteps=0 total=2 time=0.083021s '.*`},
		{"failed", of(failed, nil), "", 2, `STEPWATCH CRITICAL - Then "bob" receives it .* \(not_received, blame delivery\) \[30s ago\] \| passed=1 failed=1 .*`},
		{"OK, but too long ago", of(passed, late), "", 3, `STEPWATCH UNKNOWN - the last run began 3m0s ago, although it is due every 1m0s: the agent hangs, or has no place for it; the last result was OK: 2 steps passed in 0.083s \(not_run, blame monitor\)`},
		{"the same with --hard", of(passed, late), "--hard", 3, `STEPWATCH UNKNOWN - the last run began .*`},
		{"failed too long ago", of(failed, late), "", 3, `STEPWATCH UNKNOWN - the last run began 3m0s ago, .*; the last result was CRITICAL: Then .*`},
		{"less often because of timeouts", of(passed, func(s *latest.Scenario) { late(s); s.Backoff = state.Seconds(4 * time.Minute) }), "", 0, `STEPWATCH OK - .*`},
		{"has not run", of(passed, never), "", 3, `STEPWATCH UNKNOWN - it has not run yet \(not_run, blame monitor\)`},
		{"has not run, with --hard", of(passed, never), "--hard", 3, `STEPWATCH UNKNOWN - it has not run yet .*`},
		{"never runs", of(passed, func(s *latest.Scenario) { never(s); s.Interval = 0 }), "", 3, `STEPWATCH UNKNOWN - the agent never runs it: it is tagged @manual or has no interval.*`},
		{"since a restart", of(failed, func(s *latest.Scenario) { s.Result = nil }), "", 2, `STEPWATCH CRITICAL - Then "bob" receives it .* \(not_received, blame delivery\) \[from before the agent's restart; 30s ago\]`},
		{"stale", of(exporterstest.Stale(), func(s *latest.Scenario) { s.Stale = true }), "", 3, `STEPWATCH UNKNOWN - no result for 2m0s: .* \(not_run, blame target\)`},
		{"soft", of(failed, func(s *latest.Scenario) { s.Hard, s.Retries = false, 2 }), "", 2, `STEPWATCH CRITICAL - .* \[30s ago; soft, attempt 1 of 3\] \| .*`},
		{"soft, with --hard", of(failed, func(s *latest.Scenario) { s.Hard, s.Retries = false, 2 }), "--hard", 0, `STEPWATCH OK - Then .* \[30s ago; soft CRITICAL, attempt 1 of 3\] \| .*`},
		{"3 of 5 were not OK", of(passed, func(s *latest.Scenario) { s.State = result.Critical }), "", 0, `STEPWATCH OK - .*`},
		{"3 of 5 were not OK, with --hard", of(passed, func(s *latest.Scenario) { s.State = result.Critical }), "--hard", 2, `STEPWATCH CRITICAL - 2 steps passed in 0.083s \[30s ago; the alert is still CRITICAL, the last run was OK\] .*`},
		{"flapping", of(failed, func(s *latest.Scenario) { s.Flapping, s.Change = true, 42 }), "", 2, `STEPWATCH CRITICAL .* \[30s ago; flapping, 42 % of the last states differ\].*`},
		{"silenced", of(failed, func(s *latest.Scenario) { s.Withheld = `silence 3f2a: "moving the rack" by anna` }), "", 2, `STEPWATCH CRITICAL .* \[30s ago; not told: silence 3f2a: "moving the rack" by anna\].*`},
		{"explained", of(failed, func(s *latest.Scenario) { s.Explained = "the failure of Mail: The relay answers" }), "", 2, `STEPWATCH CRITICAL .* \[30s ago; explained by the failure of Mail: The relay answers\].*`},
		{"acknowledged", of(failed, func(s *latest.Scenario) { s.Acknowledged = &alert.Acknowledgement{Author: "anna", Comment: "on it"} }), "", 2, `STEPWATCH CRITICAL .* \[30s ago; acknowledged by anna: on it\].*`},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(latest.Answer{Now: now, Scenarios: []latest.Scenario{c.s}})
		}))
		code, out := said(t, append([]string{"check", "--agent", server.URL}, strings.Fields(c.args)...)...)
		line, _, _ := strings.Cut(out, "\n")
		if code != c.code || !regexp.MustCompile(`^`+c.want+`$`).MatchString(line) {
			t.Errorf("%s: code %d and\n%s\nwant %d and\n%s", c.name, code, out, c.code, c.want)
		}
		server.Close()
	}
}

// TestCheckLogsIn holds what the plugin says of an agent that wants a login, and that the password is not in the output.
func TestCheckLogsIn(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "anna" || password != "geheim" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"now":"2026-01-01T00:00:00Z","scenarios":[]}`))
	}))
	defer server.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	for _, c := range []struct{ password, args, want string }{
		{"geheim", "", "wants a login"},
		{"falsch", "--user|anna|--password-file|" + secret, `refuses the login of "anna"`},
		{"geheim", "--user|anna|--password-file|" + secret, "has loaded no scenario"},
	} {
		if err := os.WriteFile(secret, []byte(c.password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args := slices.DeleteFunc(append([]string{"check", "--agent", server.URL}, strings.Split(c.args, "|")...), func(s string) bool { return s == "" })
		if code, out := said(t, args...); code != 3 || !strings.Contains(out, c.want) || strings.Contains(out, c.password) {
			t.Errorf("%q: code %d and\n%s\nwant %q", args, code, out, c.want)
		}
	}
}

// TestResultsSurviveTheWire holds that the plugin says of a result that came over the API what it says of the result itself.
func TestResultsSurviveTheWire(t *testing.T) {
	for name, r := range exporterstest.Odd() {
		if name == "odd durations" { // as long as the universe, which a float of seconds does not hold to the nanosecond
			continue
		}
		text, err := json.Marshal(latest.NewRun(r))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var back latest.Run
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var want, got strings.Builder
		wantCode := exporters.Nagios(&want, []*result.Result{r}, exporters.NagiosOptions{})
		gotCode := exporters.Nagios(&got, []*result.Result{back.Of(r.Identity)}, exporters.NagiosOptions{})
		if wantCode != gotCode || strings.ToValidUTF8(got.String(), "\uFFFD") != strings.ToValidUTF8(want.String(), "\uFFFD") {
			t.Errorf("%s: got %d and\n%s\nwant %d and\n%s", name, gotCode, got.String(), wantCode, want.String())
		}
	}
}

// TestCheckSelf judges the agent itself: a real one, and what agents in every kind of trouble say.
func TestCheckSelf(t *testing.T) {
	named(t)
	if err := os.WriteFile("stepwatch.yml", []byte("defaults: {every: 1s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	real := startAgent(t, "features")
	until(t, "the results", func() bool { code, _ := said(t, "check", "--agent", real, "--name", "Home"); return code == 0 })
	code, out := said(t, "check", "--agent", real, "--self")
	if code != 0 || !regexp.MustCompile(`^STEPWATCH OK - the agent ".*" keeps its schedule: 5 scenarios, about \d+ runs? due in the last \d+s, none missed, \d+ late \| due=\d+;;;0; late=`).MatchString(out) {
		t.Errorf("a real agent: code %d and\n%s", code, out)
	}
	well := func() *api.Agent {
		return &api.Agent{Name: "eu-1", Scenarios: map[string]int{"OK": 90, "CRITICAL": 10}, Workers: 16, Running: 3,
			Recent: &recent.Counts{Window: state.Seconds(15 * time.Minute), Due: 1500, Late: 20}}
	}
	for _, c := range []struct {
		change func(*api.Agent)
		code   int
		want   string
	}{
		{func(*api.Agent) {}, 0, `OK - the agent "eu-1" keeps its schedule: 100 scenarios, about 1500 runs due in the last 15m0s, none missed, 20 late | due=1500;;;0; late=20;150;;0; missed=0;0;75;0; dropped=0;0;;0; stale=0;0;;0; abandoned=0;0;;0; mistakes=0;0;;0; waiting=0;;;0; running=3;;;0;16`},
		{func(a *api.Agent) { a.Recent.Late = 200 }, 1, "WARNING - 200 of about 1500 due runs began more than 10ms late in the last 15m0s"},
		{func(a *api.Agent) { a.Recent.Due, a.Recent.Late = 3, 2 }, 0, "OK - "},
		{func(a *api.Agent) { a.Recent.Missed = 1 }, 1, "WARNING - 1 of about 1500 due runs never began"},
		{func(a *api.Agent) { a.Recent.Missed = 76 }, 2, "CRITICAL - 76 of about 1500 due runs never began"},
		{func(a *api.Agent) { a.Recent.Dropped = map[string]uint64{"history": 4} }, 1, `WARNING - 4 results did not reach "history" in the last 15m0s`},
		{func(a *api.Agent) { a.Late, a.Missed, a.Dropped = 1e6, 1e6, map[string]uint64{"history": 9} }, 0, "OK - "}, // since the start, years ago
		{func(a *api.Agent) { a.Stale = 1 }, 1, "WARNING - 1 scenario of 100 without a result in time"},
		{func(a *api.Agent) { a.Stale = 11 }, 2, "CRITICAL - 11 scenarios of 100 without a result in time"},
		{func(a *api.Agent) { a.Abandoned = 2 }, 1, "WARNING - 2 scenarios with a step that ignored its deadline"},
		{func(a *api.Agent) { a.Mistakes = map[string]int{"a|b.feature": 1} }, 1, `WARNING - 1 mistake in a¦b.feature: its scenarios are UNKNOWN`},
		{func(a *api.Agent) { a.Reload = &api.Reload{Success: true} }, 0, "OK - "},
		{func(a *api.Agent) { a.Reload = &api.Reload{Mistakes: []string{"x.feature:3: no colon"}} }, 1, "failed and the last good set runs: x.feature:3: no colon"},
		{func(a *api.Agent) { a.States = &api.Storage{Error: "no space left on device"} }, 2, "CRITICAL - the file of the states cannot be written: no space left"},
		{func(a *api.Agent) { a.History = &api.Storage{Error: "no space left on device"} }, 1, "WARNING - the history cannot be written"},
		{func(a *api.Agent) { a.History = &api.Storage{SetAside: "history.db.2026-01-01"} }, 1, "WARNING - the history was damaged and begun anew"},
		{func(a *api.Agent) { a.Troubles = []string{"the browser cannot be started"} }, 1, "WARNING - the browser cannot be started"},
		{func(a *api.Agent) { a.Troubles = []string{"the disk is full"} }, 1, "WARNING - the disk is full"},
		{func(a *api.Agent) { a.Scenarios = nil }, 1, "WARNING - the agent has no scenario on a schedule"},
		{func(a *api.Agent) { a.Recent = nil }, 3, "UNKNOWN - the agent does not say how it keeps its schedule now"},
		{func(a *api.Agent) { a.Abandoned, a.Recent.Missed = 1, 1000 }, 2, "CRITICAL - 1000 of about 1500 due runs"}, // the worst first
	} {
		of := well()
		c.change(of)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(of)
		}))
		code, out := said(t, "check", "--agent", server.URL, "--self")
		line, _, _ := strings.Cut(out, "\n")
		if code != c.code || !strings.HasPrefix(line, "STEPWATCH ") || !strings.Contains(line, c.want) || strings.Count(line, "|") != 1 {
			t.Errorf("code %d and\n%s\nwant %d and %s", code, out, c.code, c.want)
		}
		server.Close()
	}
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hanging.Close()
	locked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer locked.Close()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--agent|http://127.0.0.1:1", 2, "STEPWATCH CRITICAL - ask the agent at http://127.0.0.1:1 (GET /api/agent): nothing listens there"},
		{"--agent|" + hanging.URL + "|--timeout|300ms", 2, "no answer within"},
		{"--agent|" + locked.URL, 3, "STEPWATCH UNKNOWN - the agent at " + locked.URL + " wants a login"},
		{"--agent|https://127.0.0.1:1", 2, "nothing listens there"},
		{"--agent|" + strings.Replace(locked.URL, "http:", "https:", 1), 3, "it speaks no TLS"},
		{"--agent|" + locked.URL + "|--name|x", 3, "--self checks the agent and no scenario"},
	} {
		if code, out := said(t, append([]string{"check", "--self"}, strings.Split(c.args, "|")...)...); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: code %d and\n%s\nwant %d and %s", c.args, code, out, c.code, c.want)
		}
	}
}

// TestLacksOfTheMonitor holds which of the states are the monitor's own trouble.
func TestLacksOfTheMonitor(t *testing.T) {
	states := state.Open(t.Context(), state.Options{})
	defer func() { _ = states.Close() }()
	run := func(scenario string, reason result.Reason, own *result.Lack) *result.Result {
		return &result.Result{Identity: result.Identity{Feature: "F", Scenario: scenario}, Started: time.Now(), Interval: time.Minute, Attempt: 1,
			Status: result.Failed, Reason: reason, Blame: result.BlameMonitor, Lack: own, Steps: []result.StepResult{{Status: result.Failed, Ran: true}}}
	}
	runs := []*result.Result{run("a", result.ReasonBrowser, nil), run("b", result.ReasonLack, &result.Lack{Kind: "ports"}), run("c", result.ReasonLack, &result.Lack{Kind: "ports"}), run("d", result.ReasonTimeout, nil)}
	var declared []state.Declaration
	for _, r := range runs {
		declared = append(declared, state.Declaration{Identity: r.Identity, Interval: time.Minute})
	}
	states.Declare(declared, true)
	for _, r := range runs {
		states.Observe(r)
	}
	want := []string{"a lack of the monitor (ports) keeps 2 scenarios from proving anything", "the browser broke or cannot be started: 1 scenario proved nothing the last time"}
	if got := lacks(states); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
