package cmd

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/history"
)

// TestKilledAgent kills an agent with SIGKILL every few seconds while it runs, with its supervisor, and holds that
//
//   - the history opens each time, and has each run that was over a moment before: only runs in progress and those that were
//     not yet committed are lost;
//   - states go on: an outage that spans kills is told once, and so is its end.
//
// It takes three kills. STEPWATCH_KILL_TIME=10m makes it take so long, and STEPWATCH_KILL_SCENARIOS=500 says with how many
// scenarios, each once a second.
func TestKilledAgent(t *testing.T) {
	const uncommitted = 1500 * time.Millisecond // a commit a second, and what a busy machine adds
	total, scenarios := 12*time.Second, 40
	if text := os.Getenv("STEPWATCH_KILL_TIME"); text != "" {
		var err error
		if total, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("STEPWATCH_KILL_SCENARIOS"); text != "" {
		var err error
		if scenarios, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	site := newFailingSite(scenarios)
	server := httptest.NewServer(site)
	defer server.Close()
	dir := t.TempDir()
	save := saver(t, dir)
	var feature strings.Builder
	feature.WriteString("@every:1s @timeout:20s @flapping:off\nFeature: Site\n")
	for i := range scenarios {
		fmt.Fprintf(&feature, "  Scenario: Page %d\n    When I go to \"%s/%d\"\n", i, server.URL, i)
	}
	save("a.feature", feature.String())
	save("stepwatch.yml", "features: [a.feature]\nstate: state\nuplink: {references: [\""+strings.TrimPrefix(server.URL, "http://")+"\"]}\n")
	config := filepath.Join(dir, "stepwatch.yml")
	state := filepath.Join(dir, "state")

	var kills []time.Time
	begun := time.Now()
	for time.Since(begun) < total {
		cmd := own(t, "agent", "--watch=false", "--listen", "127.0.0.1:0", "--config", config)
		cmd.Args[0] = "stepwatch"
		out := begin(t, cmd)
		t.Cleanup(func() {
			if t.Failed() && len(kills) == 0 {
				t.Logf("the agent said\n%s", out)
			}
		})
		until(t, "the agent", func() bool { return strings.Contains(out.String(), "metrics are at") })
		site.change()
		time.Sleep(2500*time.Millisecond + rand.N(2*time.Second))
		worker := childOf(cmd.Process.Pid)
		kills = append(kills, time.Now())
		_ = syscall.Kill(worker, syscall.SIGKILL)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for _, name := range []string{"history.db", "states.db", "silences.db"} {
			if found := check(t, filepath.Join(state, name)); found != "ok" {
				t.Fatalf("%s after %d kills: %s\n%s", name, len(kills), found, out)
			}
		}
		if said := out.String(); strings.Contains(said, "level=ERROR") {
			t.Errorf("the agent says\n%s", said)
		}
	}
	site.heal()
	cmd := own(t, "agent", "--watch=false", "--listen", "127.0.0.1:0", "--config", config)
	cmd.Args[0] = "stepwatch"
	out := begin(t, cmd)
	until(t, "the agent", func() bool { return strings.Contains(out.String(), "metrics are at") })
	time.Sleep(4 * time.Second)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if code := ended(t, cmd, 20*time.Second); code != exitPassed {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if aside, _ := filepath.Glob(filepath.Join(state, "*damaged*")); len(aside) > 0 {
		t.Errorf("set aside: %q", aside)
	}
	site.compare(t, state, kills, uncommitted)
}

// failingSite is a website whose pages fail at times. It knows when each page was asked for, and how often it failed.
type failingSite struct {
	mu      sync.Mutex
	asked   [][]time.Time
	failing []bool
	outages []int  // that somebody saw
	seen    []bool // the outage that lasts
}

func newFailingSite(pages int) *failingSite {
	return &failingSite{asked: make([][]time.Time, pages), failing: make([]bool, pages), outages: make([]int, pages), seen: make([]bool, pages)}
}

// ServeHTTP implements http.Handler.
func (s *failingSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page, err := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[page] = append(s.asked[page], time.Now())
	if s.failing[page] {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// change lets a fifth of the pages fail that did not, and ends the outages of half of the others. So most outages span kills.
func (s *failingSite) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for page, failing := range s.failing {
		switch {
		case !failing && rand.IntN(5) == 0:
			s.failing[page] = true
			s.outages[page]++
		case failing && rand.IntN(2) == 0:
			s.failing[page] = false
		}
	}
}

// heal ends all outages.
func (s *failingSite) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.failing)
}

// compare compares the history with what happened.
func (s *failingSite) compare(t *testing.T, state string, kills []time.Time, uncommitted time.Duration) {
	reader, err := history.OpenReader(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.CloseReader()
	all, err := reader.Scenarios(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	requests, lost, gone, hard, resolved, outages := 0, 0, 0, 0, 0, 0
	for _, scenario := range all {
		var page int
		if _, err := fmt.Sscanf(scenario.Scenario, "Page %d", &page); err != nil {
			t.Fatal(err)
		}
		started := make(map[int64]int) // runs by the hundredth of a second of their start
		query := history.Query{Scenarios: []string{scenario.ID}, Limit: 1000}
		for {
			runs, more, err := reader.Runs(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			for _, run := range runs {
				if !run.Stale {
					started[run.Started.UnixMilli()/10]++
				}
			}
			if !more {
				break
			}
			query.Until = runs[len(runs)-1].Started.Add(-time.Microsecond)
		}
		for _, at := range s.asked[page] {
			requests++
			if near(started, at) {
				continue
			}
			lost++
			if !before(kills, at, uncommitted) {
				gone++
				t.Errorf("%s: the run that asked at %s is lost", scenario.Scenario, at.Format(time.StampMilli))
			}
		}
		outages += s.outages[page]
	}
	account, err := reader.Account(t.Context(), time.Now().Add(-2*time.Hour), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	told, double := make(map[string]int), 0
	for _, event := range account.Events {
		if event.Kind != history.KindAlert || event.State == "soft" {
			continue
		}
		if told[event.Alert+" "+event.State]++; told[event.Alert+" "+event.State] > 1 {
			double++
		}
		if event.State == "hard" {
			hard++
		} else {
			resolved++
		}
	}
	t.Logf("%d kills, %d requests, %d runs lost in progress or before their commit (%.1f a kill), %d others; %d outages, %d told, %d ends told, %d told twice",
		len(kills), requests, lost-gone, float64(lost-gone)/float64(len(kills)), gone, outages, hard, resolved, double)
	if hard != outages || resolved != outages || double > 0 {
		t.Errorf("%d outages, but %d alerts and %d ends were told, %d of them twice", outages, hard, resolved, double)
	}
}

// near reports whether a run began a moment before a request, and takes it.
func near(started map[int64]int, at time.Time) bool {
	for hundredth := at.UnixMilli() / 10; hundredth > at.UnixMilli()/10-60; hundredth-- {
		if started[hundredth] > 0 {
			started[hundredth]--
			return true
		}
	}
	return false
}

// before reports whether a kill followed a moment so soon.
func before(kills []time.Time, at time.Time, within time.Duration) bool {
	for _, kill := range kills {
		if since := kill.Sub(at); since > -time.Second && since < within {
			return true
		}
	}
	return false
}

// check returns what SQLite says of a file: "ok" if it is whole.
func check(t *testing.T, path string) (found string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&found); err != nil {
		return err.Error()
	}
	return found
}
