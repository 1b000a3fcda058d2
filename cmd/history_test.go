package cmd

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/history"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// told is a history of the last hour: two scenarios at one run a minute, of which one fails from 30 to 20 minutes ago and since 2
// minutes ago.
func told(t *testing.T, now time.Time) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stepwatch.yml"), []byte("state: state\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := history.Open(t.Context(), history.Options{Dir: filepath.Join(dir, "state"), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for minute := 60; minute > 0; minute-- {
		for line, name := range map[int]string{4: "Log in", 9: "Read the terms"} {
			res := &result.Result{Identity: result.Identity{Feature: "Webmail", Scenario: name, File: "features/web.feature", Line: line}, Attempt: 1, Interval: time.Minute,
				Run: fmt.Sprintf("run %d", minute), Started: now.Add(-time.Duration(minute) * time.Minute), Status: result.Passed, Duration: 20 * time.Millisecond,
				Steps: []result.StepResult{{Keyword: "When", Text: "I open the page", Label: "I open the page", Line: line + 1, Status: result.Passed, Ran: true, Duration: 20 * time.Millisecond}}}
			if line == 4 && (minute <= 30 && minute > 20 || minute <= 2) {
				res.Status, res.Reason, res.Blame, res.Error = result.Failed, result.ReasonHTTPStatus, result.BlameWeb, "want 200, got 503\x1b[2J"
				s := &res.Steps[0]
				s.Status, s.Reason, s.Blame, s.Error = res.Status, res.Reason, res.Blame, res.Error
			}
			h.Export(res)
		}
	}
	_ = h.Deployment(now.Add(-31*time.Minute), "webmail 2.4.1", "with the new editor", "ci", "https://ci.example.org/1")
	_ = h.Note(now.Add(-19*time.Minute), "", "rolled back", "anna")
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "state", "history.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "UPDATE sessions SET began = ?", now.Add(-time.Hour).UnixMicro()); err != nil { // the agent ran all the time
		t.Fatal(err)
	}
	return dir
}

var (
	aClock = regexp.MustCompile(`\d\d:\d\d:\d\d`)
	aDay   = regexp.MustCompile(`\w\w\w \d+ \w\w\w 20\d\d`)
)

// ask returns what "history" says, with every time and day replaced.
func ask(t *testing.T, dir string, now time.Time, o historyOptions) string {
	t.Helper()
	var out bytes.Buffer
	o.config = filepath.Join(dir, "stepwatch.yml")
	if o.since == "" {
		o.since = "24h"
	}
	if o.limit == 0 {
		o.limit = 200
	}
	if err := o.show(t.Context(), &terminal{out: &out, err: &out}, now); err != nil {
		return err.Error()
	}
	text := strings.ReplaceAll(aDay.ReplaceAllString(aClock.ReplaceAllString(out.String(), "TIME"), "DAY"), now.Format(" MST"), "")
	return regexp.MustCompile(`(?m)^.*no agent ran.*\n|\n  DAY\n|^\nDAY\n`).ReplaceAllString(text, "")
}

func TestHistoryText(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	dir := told(t, now)
	for _, c := range []struct {
		options historyOptions
		want    string
	}{
		{historyOptions{since: "2h"}, `DAY TIME to DAY TIME
2 scenarios, 120 runs, 12 not OK
    TIME deployed webmail 2.4.1  by ci  https://ci.example.org/1
                      with the new editor
    TIME CRITICAL Webmail: Log in  until TIME, 10m 0s, 10 runs
                      When I open the page: want 200, got 503?[2J  (http_status, web)
    TIME note     rolled back  by anna
    TIME CRITICAL Webmail: Log in  still so after 2m 0s, 2 runs
                      When I open the page: want 200, got 503?[2J  (http_status, web)

  Scenario                   uptime       runs   not OK
  Webmail: Log in           80.00 %         60       12
  Webmail: Read the terms     100 %         60        0
`},
		{historyOptions{at: "25m"}, `DAY TIME to DAY TIME
2 scenarios, 42 runs, 10 not OK

At DAY TIME, 1 of 2 scenarios was failing (marked with >).
    TIME deployed webmail 2.4.1  by ci  https://ci.example.org/1
                      with the new editor
  > TIME CRITICAL Webmail: Log in  until TIME, 10m 0s, 10 runs
                      When I open the page: want 200, got 503?[2J  (http_status, web)
    TIME note     rolled back  by anna
`},
		{historyOptions{at: "45m", names: []string{"Read the terms"}}, `DAY TIME to DAY TIME
1 scenario, 21 runs, 0 not OK

At DAY TIME, nothing was failing.
`},
		{historyOptions{at: "3h"}, `DAY TIME to DAY TIME
2 scenarios, 0 runs, 0 not OK

Nothing is known about DAY TIME: no run of then is in the history.
`},
		{historyOptions{since: "2h", until: "15m", failed: true, paths: []string{"features"}}, `DAY TIME to DAY TIME
2 scenarios, 92 runs, 10 not OK
    TIME CRITICAL Webmail: Log in  until TIME, 10m 0s, 10 runs
                      When I open the page: want 200, got 503?[2J  (http_status, web)

  Scenario           uptime       runs   not OK
  Webmail: Log in   78.26 %         46       10
`},
		{historyOptions{since: "2h", runs: true, failed: true, limit: 2, paths: []string{"features/web.feature:4"}}, `DAY TIME to DAY TIME
the newest 2 runs; there are more: --limit shows them
  TIME CRITICAL   0.020s  Webmail: Log in  When I open the page: want 200, got 503?[2J
  TIME CRITICAL   0.020s  Webmail: Log in  When I open the page: want 200, got 503?[2J
`},
		{historyOptions{names: []string{"Log out"}}, `no scenario of the history is called "Log out": it has "Log in" (features/web.feature:4), "Read the terms" (features/web.feature:9)`},
		{historyOptions{paths: []string{"other.feature"}}, `no scenario of the history is in other.feature: it has "Log in" (features/web.feature:4), "Read the terms" (features/web.feature:9)`},
		{historyOptions{since: "yesterday"}, `--since "yesterday" is not a time: write it as 03:12 (the last time it was that late), "2026-11-30 03:12", 2026-11-30, or 90m and 7d before now`},
	} {
		if got := ask(t, dir, now, c.options); got != c.want {
			t.Errorf("%+v: got\n%s\nwant\n%s", c.options, got, c.want)
		}
	}
}

func TestHistoryJSON(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	dir := told(t, now)
	var out bytes.Buffer
	arguments := []string{"history", "--config", filepath.Join(dir, "stepwatch.yml"), "--json", "--since", "2h"}
	if code := dispatch(t.Context(), &terminal{out: &out, err: &out}, arguments); code != exitPassed {
		t.Fatalf("exit %d: %s", code, out.String())
	}
	var a history.Account
	if err := json.Unmarshal(out.Bytes(), &a); err != nil || len(a.Spells) != 2 || len(a.Events) != 2 || len(a.Sessions) != 1 || !a.Sessions[0].Clean {
		t.Errorf("got %v, %s", err, out.String())
	}
	out.Reset()
	if code := dispatch(t.Context(), &terminal{out: &out, err: &out}, append(arguments, "--runs", "--limit", "7")); code != exitPassed {
		t.Fatalf("exit %d: %s", code, out.String())
	}
	var list struct {
		Runs []history.Run
		More bool
	}
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || len(list.Runs) != 7 || !list.More {
		t.Errorf("got %v, %s", err, out.String())
	}
	out.Reset()
	if code := dispatch(t.Context(), &terminal{out: io.Discard, err: &out}, append(arguments, "--at", "03:12")); code != exitNotRun || !strings.Contains(out.String(), "leave out --since and --until") {
		t.Errorf("exit %d: %s", code, out.String())
	}
}

func TestPastTime(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	now := time.Date(2026, 3, 29, 10, 0, 0, 0, zone) // the night in which the clocks went forward
	for text, want := range map[string]string{
		"03:12": "2026-03-29T03:12:00+02:00", "11:30": "2026-03-28T11:30:00+01:00", "10:00": "2026-03-29T10:00:00+02:00", "09:59:30": "2026-03-29T09:59:30+02:00",
		"24h": "2026-03-28T09:00:00+01:00", "7d": "2026-03-22T09:00:00+01:00", "2026-03-01": "2026-03-01T00:00:00+01:00", "2026-03-01 03:12": "2026-03-01T03:12:00+01:00",
		"2026-03-01T03:12:00Z": "2026-03-01T03:12:00Z", "now": "2026-03-29T10:00:00+02:00",
	} {
		if got, err := pastTime("--at", text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: got %s, %v; want %s", text, got.Format(time.RFC3339), err, want)
		}
	}
}

func TestNoHistory(t *testing.T) {
	dir := t.TempDir()
	for config, want := range map[string]string{
		"state: state\n":               `there is no history at DIR/state/history.db: "stepwatch agent" writes it while it runs; state in DIR/stepwatch.yml, or the environment, says where it is`,
		"state: state\nhistory: off\n": `there is no history at DIR/state/history.db, and history: off in DIR/stepwatch.yml keeps none: remove that, and start "stepwatch agent"`,
	} {
		path := filepath.Join(dir, "stepwatch.yml")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		code := dispatch(t.Context(), &terminal{out: io.Discard, err: &errs}, []string{"history", "--config", path})
		if got := strings.ReplaceAll(strings.TrimSpace(errs.String()), dir, "DIR"); code != exitNotRun || got != "stepwatch: "+want {
			t.Errorf("exit %d: got %s\nwant %s", code, got, want)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("it created %v", entries)
	}
}

// TestAgentKeepsHistory holds that the agent writes what runs, that it says so on its page, and that it keeps nothing with history: off.
func TestAgentKeepsHistory(t *testing.T) {
	site, err := stepstest.NewWebsite(stepstest.WebsiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = site.Close() })
	for _, off := range []string{"", "history: off\n"} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		feature := "Feature: Site\n  @every:1s\n  Scenario: Home\n    When I go to \"http://" + site.HTTPAddr + "/\"\n"
		config := filepath.Join(dir, "stepwatch.yml")
		for path, text := range map[string]string{filepath.Join(dir, "site.feature"): feature, config: "state: state\n" + off} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		errs, code := new(syncBuffer), make(chan int, 1)
		go func() {
			code <- dispatch(ctx, &terminal{out: io.Discard, err: errs}, []string{"agent", "--listen", "127.0.0.1:0", "--config", config, dir})
		}()
		address := regexp.MustCompile(`http://\S+/metrics`)
		until(t, "the agent", func() bool { return address.MatchString(errs.String()) })
		page := ""
		until(t, "a run", func() bool {
			page = get(t, address.FindString(errs.String()))
			return strings.Contains(page, "stepwatch_scenario_last_run_timestamp_seconds{") && (off != "" || strings.Contains(page, "stepwatch_history_last_write_timestamp_seconds "))
		})
		if strings.Contains(page, "stepwatch_history_") != (off == "") {
			t.Errorf("%q: %s", off, page)
		}
		ask := func() (int, string) {
			var out bytes.Buffer
			code := dispatch(t.Context(), &terminal{out: &out, err: &out}, []string{"history", "--config", config, "--name", "Home", "--json"})
			return code, out.String()
		}
		if got, text := ask(); (got == exitPassed) != (off == "") {
			t.Errorf("%q: exit %d: %s", off, got, text)
		}
		cancel()
		if got := <-code; got != exitPassed {
			t.Errorf("exit %d: %s", got, errs.String())
		}
		if _, text := ask(); off == "" && !strings.Contains(text, `"clean": true`) {
			t.Error(text)
		}
		if _, err := os.Stat(filepath.Join(dir, "state", "history.db")); (err == nil) != (off == "") {
			t.Errorf("%q: %v", off, err)
		}
	}
}
