package job

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/jobreport"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// scene is a state directory with the record of one job.
type scene struct {
	*jobreport.Record
	state string
	store *jobreport.Store
	now   time.Time
}

func newScene(t *testing.T, job string) *scene {
	t.Helper()
	s := &scene{state: t.TempDir(), now: time.Now()}
	var err error
	if s.store, err = jobreport.Open(s.state); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	s.Record = jobreport.New(job, s.ago("240h"))
	s.listens(t, s.ago("240h"), s.now)
	return s
}

// listens makes an agent take reports from one moment until another.
func (s *scene) listens(t *testing.T, from, to time.Time) {
	t.Helper()
	if err := s.store.Begin(from); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.state, "jobs", "listening.json")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var p jobreport.Presence
	if err := json.Unmarshal(content, &p); err != nil {
		t.Fatal(err)
	}
	p.Last = to // as if it had noted every minute between them
	if content, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) ago(d string) time.Time {
	by, err := time.ParseDuration(d)
	if err != nil {
		panic(err)
	}
	return s.now.Add(-by)
}

// run returns "OK", or the state and the message of a step.
func (s *scene) run(t *testing.T, text string) (string, *stepstest.Outcome) {
	t.Helper()
	if err := s.store.Save(s.Record); err != nil {
		t.Fatal(err)
	}
	target := (&steps.Target{StateDir: s.state}).Set(jobreport.Jobs{"backup": {}, "invoices": {}})
	return judge(t, target, text)
}

func judge(t *testing.T, target *steps.Target, text string) (string, *stepstest.Outcome) {
	t.Helper()
	outcome, err := stepstest.Run(context.Background(), nil, text, target)
	if err != nil {
		t.Fatal(err)
	}
	failure, failed := outcome.Err().(*steps.Failure) //nolint:errorlint // a step returns it as it is
	switch {
	case outcome.Err() == nil:
		return "OK", outcome
	case !failed:
		t.Fatalf("no failure: %v", outcome.Err())
	}
	told := strings.NewReplacer("h 0m", "h", "m 0s", "m").Replace(failure.Error())
	switch {
	case failure.Blame == result.BlameMonitor || failure.Blame == result.BlameScenario:
		return "UNKNOWN " + string(failure.Reason) + ": " + told, outcome
	}
	return "CRITICAL " + string(failure.Reason) + ": " + told, outcome
}

const at = `\d\d:\d\d:\d\d [A-Z+0-9-]+ on \d+ [A-Z][a-z]+`

func TestSentences(t *testing.T) {
	const lately, last, took, running = `the job "backup" reported success in the last 26 hours`, `the last run of the job "backup" succeeded`,
		`the job "backup" took at most 2 hours`, `the job "backup" is not running for longer than 4 hours`
	for _, c := range []struct {
		name string
		make func(*scene)
		step string
		want string
	}{
		{"in time", func(s *scene) { s.AddEnd(s.ago("25h"), "", 0, "", false) }, lately, `OK`},
		{"failed after that", func(s *scene) { s.AddEnd(s.ago("25h"), "", 0, "", false); s.AddEnd(s.ago("1h"), "", 1, "", false) }, lately, `OK`},
		{"too long ago", func(s *scene) { s.AddEnd(s.ago("27h"), "", 0, "", false) }, lately,
			`CRITICAL not_received: the job "backup" reported success 27h ago \(` + at + `\), wanted in the last 26 hours`},
		{"and failed since", func(s *scene) {
			s.AddEnd(s.ago("27h"), "", 0, "", false)
			s.AddEnd(s.ago("3h"), "", 2, "dumping\nno space left", false)
		}, lately,
			`CRITICAL not_received: the job "backup" reported success 27h ago .*; its last run ended 3h ago with exit status 2, its log ends "no space left"`},
		{"in progress", func(s *scene) { s.AddEnd(s.ago("27h"), "", 0, "", false); s.AddStart(s.ago("1h"), "") }, lately,
			`CRITICAL not_received: .*; a run has been in progress since ` + at},
		{"never", func(*scene) {}, lately,
			`CRITICAL not_received: the job "backup" has never reported success: stepwatch has waited since ` + at + ` \(10 days\), wanted one in the last 26 hours: does it run, and does it reach the agent\?`},
		{"not yet", func(s *scene) { s.Since = s.ago("1h") }, lately,
			`UNKNOWN not_received: the job "backup" has not reported yet: stepwatch has waited since ` + at + `, and success is due by ` + at},
		{"added again", func(s *scene) { s.AddEnd(s.ago("100h"), "", 0, "", false); s.Since = s.ago("1h") }, lately,
			`UNKNOWN not_received: the job "backup" has not reported since it was added to stepwatch.yml again, at ` + at + `, and success is due by ` + at},
		{"added again, and failed", func(s *scene) {
			s.AddEnd(s.ago("100h"), "", 0, "", false)
			s.Since = s.ago("2h")
			s.AddEnd(s.ago("1h"), "", 1, "", false)
		}, lately,
			`CRITICAL not_received: the job "backup" reported success .*`},
		{"nothing but a failure", func(s *scene) { s.Since = s.ago("1h"); s.AddEnd(s.ago("5m"), "", jobreport.Unstated, "", false) }, lately,
			`CRITICAL not_received: the job "backup" has never reported success: .*; its last run ended 5m ago with failure`},
		{"from the future", func(s *scene) { s.AddEnd(s.ago("-2h"), "", 0, "", false) }, lately,
			`UNKNOWN lack: read the reports of the job "backup": the last report came (2h|1h 59m) from now, so the clock of this machine is wrong or was wrong then: .*`},
		{"waiting since the future", func(s *scene) { s.Since = s.ago("-2h") }, lately, `UNKNOWN lack: .*`},
		{"set aside", func(s *scene) { s.Since, s.SetAside = s.ago("1h"), "/state/backup.damaged" }, lately,
			`UNKNOWN not_received: .*; what was known before ` + at + ` is in /state/backup.damaged, which is damaged`},

		{"succeeded", func(s *scene) { s.AddEnd(s.ago("2h"), "", 1, "", false); s.AddEnd(s.ago("1h"), "", 0, "", false) }, last, `OK`},
		{"failed", func(s *scene) {
			s.AddEnd(s.ago("2h"), "", 0, "", false)
			s.AddEnd(s.ago("1h"), "", 3, "one line", false)
		}, last,
			`CRITICAL unexpected: the last run of the job "backup" ended 1h ago \(` + at + `\) with exit status 3, its log ends "one line"; it reported success last 2h ago`},
		{"failed after the clock was put back", func(s *scene) { s.AddEnd(s.ago("1h"), "", 0, "", false); s.AddEnd(s.ago("3h"), "", 3, "", false) }, last,
			`CRITICAL unexpected: .*`},
		{"never ended", func(*scene) {}, last, `UNKNOWN not_received: .*`},

		{"quick", func(s *scene) { s.AddStart(s.ago("3h"), ""); s.AddEnd(s.ago("2h"), "", 0, "", false) }, took, `OK`},
		{"slow", func(s *scene) { s.AddStart(s.ago("6h"), ""); s.AddEnd(s.ago("3h"), "", 0, "", false) }, took,
			`CRITICAL slow: the last run of the job "backup" took 3h, wanted at most 2 hours: it ended 3h ago with success`},
		{"slow, in progress", func(s *scene) {
			s.AddStart(s.ago("30h"), "1")
			s.AddEnd(s.ago("29h"), "1", 0, "", false)
			s.AddStart(s.ago("5h"), "2")
		}, took,
			`CRITICAL slow: a run of the job "backup" \(id "2"\) has been in progress for 5h, since ` + at + `, wanted at most 2 hours: it hangs, .*`},
		{"overlapping", func(s *scene) {
			s.AddStart(s.ago("4h"), "1")
			s.AddStart(s.ago("90m"), "2")
			s.AddEnd(s.ago("1h"), "1", 0, "", false)
		}, took, `CRITICAL slow: the last run of the job "backup" took 3h, .*`},
		{"without a start", func(s *scene) { s.AddEnd(s.ago("1h"), "", 0, "", false) }, took,
			`UNKNOWN config: it is not known how long the last run of the job "backup" took: it did not report its start: send /start .*`},
		{"clock put back", func(s *scene) { s.AddStart(s.ago("1h"), ""); s.AddEnd(s.ago("2h"), "", 0, "", false) }, took,
			`UNKNOWN not_received: it is not known how long .*: the clock of this machine was put back meanwhile; .*`},
		{"first run", func(s *scene) { s.AddStart(s.ago("1h"), "") }, took, `UNKNOWN not_received: the first run of the job "backup" has been in progress for 1h: .*`},
		{"nothing yet", func(*scene) {}, took, `UNKNOWN not_received: .*`},

		{"not running", func(s *scene) { s.AddStart(s.ago("9h"), ""); s.AddEnd(s.ago("1h"), "", 0, "", false) }, running, `OK`},
		{"running", func(s *scene) { s.AddStart(s.ago("3h"), "") }, running, `OK`},
		{"hangs", func(s *scene) { s.AddStart(s.ago("5h"), "") }, running, `CRITICAL slow: a run of the job "backup" has been in progress for 5h, .*`},
		{"no starts", func(s *scene) { s.AddEnd(s.ago("1h"), "", 0, "", false) }, running, `UNKNOWN config: the job "backup" has never reported a start .*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, "backup")
			c.make(s)
			if got, _ := s.run(t, c.step); !regexp.MustCompile(`^` + c.want + `$`).MatchString(got) {
				t.Errorf("%s\ngot  %s\nwant %s", c.step, got, c.want)
			}
		})
	}
}

// TestNobodyListened holds that a report that may have been lost is not one that was not sent.
func TestNobodyListened(t *testing.T) {
	const step = `the job "backup" reported success in the last 26 hours`
	for _, c := range []struct {
		name string
		make func(*scene)
		gap  [2]string
		want string
	}{
		{"a gap", func(s *scene) { s.AddEnd(s.ago("30h"), "", 0, "", false) }, [2]string{"8h", "6h"},
			`UNKNOWN not_received: no report of the job "backup" is known, but no agent took reports from ` + at + ` to ` + at + `, so one may be lost: report by hand .*`},
		{"before the time that is judged", func(s *scene) { s.AddEnd(s.ago("40h"), "", 0, "", false) }, [2]string{"30h", "28h"}, `CRITICAL .*`},
		{"a failure after it", func(s *scene) { s.AddEnd(s.ago("30h"), "", 0, "", false); s.AddEnd(s.ago("2h"), "", 1, "", false) }, [2]string{"8h", "6h"}, `CRITICAL .*`},
		{"a success after it", func(s *scene) { s.AddEnd(s.ago("2h"), "", 0, "", false) }, [2]string{"8h", "6h"}, `OK`},
		{"a restart", func(s *scene) { s.AddEnd(s.ago("30h"), "", 0, "", false) }, [2]string{"6h10s", "6h"}, `CRITICAL .*`},
		{"until now", func(s *scene) { s.AddEnd(s.ago("30h"), "", 0, "", false) }, [2]string{"8h", "0"},
			`UNKNOWN not_received: .* no agent took reports from ` + at + ` until now, so one may be lost: start .stepwatch agent.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, "backup")
			c.make(s)
			if err := os.Remove(filepath.Join(s.state, "jobs", "listening.json")); err != nil {
				t.Fatal(err)
			}
			s.listens(t, s.ago("240h"), s.ago(c.gap[0]))
			if c.gap[1] != "0" {
				s.listens(t, s.ago(c.gap[1]), s.now)
			}
			if got, _ := s.run(t, step); !regexp.MustCompile(`^` + c.want + `$`).MatchString(got) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestDaily judges windows around now, in UTC.
func TestDaily(t *testing.T) {
	now := time.Now().UTC()
	if now.Hour() == 0 && now.Minute() < 5 || now.Hour() == 23 && now.Minute() > 50 {
		t.Skip("the windows of this test cross midnight now")
	}
	clock := func(by time.Duration) string { return now.Add(by).Format("15:04") }
	ended := `the job "backup" reported success between ` + clock(-4*time.Hour) + ` and ` + clock(-2*time.Hour) + ` in UTC`
	running := `the job "backup" reported success between ` + clock(-time.Hour) + ` and ` + clock(time.Hour) + ` in UTC`
	for _, c := range []struct {
		name string
		make func(*scene)
		step string
		want string
	}{
		{"in time", func(s *scene) { s.AddEnd(s.ago("3h"), "", 0, "", false) }, ended, `OK`},
		{"only yesterday", func(s *scene) { s.AddEnd(s.ago("27h"), "", 0, "", false) }, ended, `CRITICAL not_received: the job "backup" reported success last at .*: it is overdue by 2h.*`},
		{"late", func(s *scene) { s.AddEnd(s.ago("90m"), "", 0, "", false) }, ended, `CRITICAL slow: the job "backup" reported success at .* too late: it was due .*`},
		{"too early", func(s *scene) { s.AddEnd(s.ago("5h"), "", 0, "", false) }, ended, `CRITICAL not_received: .*`},
		{"failed in it", func(s *scene) {
			s.AddEnd(s.ago("27h"), "", 0, "", false)
			s.AddEnd(s.ago("3h"), "", 1, "no space", false)
		}, ended,
			`CRITICAL not_received: .*; its last run ended 3h ago with exit status 1, its log ends "no space"`},
		{"before its end, yesterday's counts", func(s *scene) { s.AddEnd(s.ago("24h"), "", 0, "", false) }, running, `OK`},
		{"before its end, today's counts", func(s *scene) { s.AddEnd(s.ago("5m"), "", 0, "", false) }, running, `OK`},
		{"before its end, neither", func(s *scene) { s.AddEnd(s.ago("40h"), "", 0, "", false) }, running, `CRITICAL not_received: .*`},
		{"added within the window", func(s *scene) { s.Since = s.ago("3h") }, ended, `UNKNOWN not_received: it is not known whether .* after that window began; the first one to be judged ends at .*`},
		{"added today", func(s *scene) { s.Since = s.ago("1h") }, ended, `UNKNOWN not_received: .*`},
		{"never", func(*scene) {}, ended, `CRITICAL not_received: the job "backup" has never reported success \(stepwatch has waited since .*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, "backup")
			c.make(s)
			if got, _ := s.run(t, c.step); !regexp.MustCompile(`^` + c.want + `$`).MatchString(got) {
				t.Errorf("%s\ngot  %s\nwant %s", c.step, got, c.want)
			}
		})
	}
}

func TestWithoutAgent(t *testing.T) {
	const step = `the last run of the job "backup" succeeded`
	state := filepath.Join(t.TempDir(), "state")
	known := (&steps.Target{StateDir: state}).Set(jobreport.Jobs{"backup": {}})
	if got, _ := judge(t, known, step); !strings.Contains(got, "UNKNOWN config: no agent waits for reports of the job \"backup\": start `stepwatch agent`") {
		t.Error(got)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("a reader creates the state directory")
	}
	if got, _ := judge(t, &steps.Target{}, step); !strings.Contains(got, `no job "backup" in stepwatch.yml (it has none): add it under jobs`) {
		t.Error(got)
	}
	s := newScene(t, "backup")
	_, _ = s.run(t, step)
	if err := os.WriteFile(filepath.Join(s.state, "jobs", "backup.job.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := (&steps.Target{StateDir: s.state}).Set(jobreport.Jobs{"backup": {}})
	if got, _ := judge(t, target, step); !regexp.MustCompile(`^UNKNOWN config: .*backup.job.json is damaged: .*: the agent sets it aside`).MatchString(got) {
		t.Error(got)
	}
}

// TestEvidence holds that the log is attached, and measurements are there.
func TestEvidence(t *testing.T) {
	s := newScene(t, "backup")
	s.AddEnd(s.ago("5h"), "", 0, "", false)
	s.AddStart(s.ago("3h"), "")
	s.AddEnd(s.ago("1h"), "", 7, "a\nb", true)
	_, o := s.run(t, `the last run of the job "backup" succeeded`)
	report := o.Steps[0].Report
	if len(report.Evidence) != 1 || string(report.Evidence[0].Body) != "a\nb" || !strings.Contains(report.Evidence[0].Name, "(its end)") {
		t.Errorf("got %+v", report.Evidence)
	}
	values := make(map[string]float64)
	_, took := s.run(t, `the job "backup" took at most 3 hours`)
	for _, m := range append(report.Measurements, took.Steps[0].Report.Measurements...) {
		values[m.Name] = m.Value
	}
	if values["job_exit_status"] != 7 || values["job_success_age_seconds"] < 5*3600 || values["job_duration_seconds"] != 7200 {
		t.Errorf("got %v", values)
	}
}

// TestFeature breaks for each scenario of the shipped feature what it is there to watch.
func TestFeature(t *testing.T) {
	set, err := features.Load([]string{"../../features/hosts/jobs.feature"}, features.Options{})
	if err != nil {
		t.Fatal(err)
	}
	broken := map[string]func(*scene){
		"Last night's backup succeeded":             func(*scene) {},
		"The last backup did not fail":              func(s *scene) { s.AddEnd(s.now, "", 1, "", false) },
		"Invoices are sent every hour":              func(s *scene) { s.AddEnd(s.ago("71m"), "", 0, "", false) },
		"Invoices take no longer than they used to": func(s *scene) { s.AddStart(s.ago("20m"), ""); s.AddEnd(s.ago("5m"), "", 0, "", false) },
		"No run of the backup hangs":                func(s *scene) { s.AddStart(s.ago("5h"), "") },
	}
	for _, scenario := range set.Scenarios() {
		job := "backup"
		if strings.Contains(scenario.Steps[0].Text, "invoices") {
			job = "invoices"
		}
		good := newScene(t, job)
		for h := 48; h > 0; h-- { // whenever the test runs
			good.AddStart(good.now.Add(-time.Duration(h)*time.Hour+5*time.Minute), "")
			good.AddEnd(good.now.Add(-time.Duration(h)*time.Hour+6*time.Minute), "", 0, "", false)
		}
		if got, _ := good.run(t, scenario.Steps[0].Text); got != "OK" {
			t.Errorf("%s: %s", scenario.Name, got)
		}
		bad := newScene(t, job)
		if broken[scenario.Name] == nil {
			t.Errorf("nothing is known that makes %q fail: add it", scenario.Name)
			continue
		}
		broken[scenario.Name](bad)
		if got, _ := bad.run(t, scenario.Steps[0].Text); !strings.HasPrefix(got, "CRITICAL") {
			t.Errorf("%s, broken: %s", scenario.Name, got)
		}
	}
}
