package cmd

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// probed asks for a probe and returns the status, the Retry-After and the body.
func probed(t *testing.T, agent, query, timeout string) (status int, retry, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", agent+"/probe?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if timeout != "" {
		r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", timeout)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0, "", ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, response.Header.Get("Retry-After"), string(text)
}

// TestProbe asks a real agent for probes, good and bad ones.
func TestProbe(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	var parallel, most atomic.Int64
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), parallel.Add(1)))
		defer parallel.Add(-1)
		if r.URL.Path == "/hang" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		time.Sleep(20 * time.Millisecond)
		fmt.Fprintf(w, "<title>t</title><p>host %s</p>", r.Host)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(let)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.NewReplacer("SITE", server.URL, "PORT", port).Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	feature := write("site.feature", `Feature: Site
  @every:1h
  Scenario: Scheduled
    When I go to "SITE/"
  @manual
  Scenario: Home
    When I go to "SITE/"
    Then I should see "host"
  @manual
  Scenario: Fails
    When I go to "SITE/"
    Then I should see "no such text"
  @manual @timeout:30s
  Scenario: Hangs
    When I go to "SITE/hang"
  @manual @base:http://127.0.0.1:PORT/
  Scenario: Based
    When I visit "/based"
    Then I should see "host localhost"
  @manual
  Scenario: Placed
    When I go to "http://target.invalid:PORT/"
    Then I should see "host localhost"
  @manual
  Scenario Outline: Row <n>
    When I go to "SITE/<n>"
    Examples:
      | n |
      | 1 |
      | 2 |
  @manual
  Scenario: Wrong
    When the moon is full
`)
	config := write("stepwatch.yml", "probe: {targets: [localhost, \"localhost:PORT\", \"http://localhost:PORT\"]}\n")
	agent := startAgent(t, "--config", config, feature)
	until(t, "the agent", func() bool { s, _, _ := probed(t, agent, "scenario=Home", ""); return s == 200 })
	for _, c := range []struct {
		query   string
		timeout string
		status  int
		want    string
	}{
		{"scenario=Home", "10", 200, "probe_success 1\n"},
		{"scenario=Home&feature=Site", "", 200, `stepwatch_step_last_duration_seconds{feature="Site",scenario="Home",step="I go to`},
		{"scenario=Site:+Home", "", 200, "probe_success 1\n"},
		{"scenario=Home&debug=true", "", 200, "Scenario: Home"},
		{"scenario=Home&debug=true", "", 200, "1 scenario: 1 passed. 2 steps: 2 passed."},
		{"scenario=Home&debug=true", "", 200, "\nprobe_success 1\n"},
		{"scenario=Fails", "", 200, "probe_success 0\n"},
		{"scenario=Fails&debug=true", "", 200, "State CRITICAL (unexpected web)."},
		{"scenario=Hangs", "1.5", 200, "probe_success 0\n"},
		{"scenario=Hangs&debug=true", "1.5", 200, "State CRITICAL (timeout web). The run had 1s."},
		{"scenario=Wrong", "", 200, "probe_success 0\n"},
		{"scenario=Based&target=localhost", "", 200, "probe_success 1\n"},
		{"scenario=Based&target=localhost", "", 200, `stepwatch_scenario_success{feature="Site",scenario="Based"} 1`},
		{"scenario=Based&target=" + url.QueryEscape("http://localhost:"+port), "", 200, "probe_success 1\n"},
		{"scenario=Based", "", 200, "probe_success 0\n"},
		{"scenario=Placed&target=localhost", "", 200, "probe_success 1\n"},
		{"scenario=Placed", "", 200, "probe_success 0\n"},
		{"scenario=" + url.QueryEscape("Row <n> (n=2)"), "", 200, `example="n=2"`},
		{"scenario=" + url.QueryEscape("Row <n>"), "", 400, `2 scenarios are called "Row <n>"`},
		{"", "", 400, "no scenario is named"},
		{"feature=Site", "", 400, "no scenario is named"},
		{"scenario=Hone", "", 404, `no scenario is called "Hone": did you mean "Home"?`},
		{"scenario=Home&feature=Other", "", 404, `no loaded feature is called "Other"`},
		{"scenario=" + url.QueryEscape(feature), "", 404, "no scenario is called"},
		{"scenario=Home&module=http_2xx", "", 400, `the query has no "module"`},
		{"scenario=Home&scenario=Fails", "", 400, `2 times "scenario"`},
		{"scenario=Home&debug=yes", "", 400, `debug is "yes"`},
		{"scenario=Scheduled", "", 409, "the agent runs \"Site: Scheduled\" itself, every 1h0m0s"},
		{"scenario=Based&target=127.0.0.1", "", 403, `the target "127.0.0.1" is not allowed: add it to probe.targets`},
		{"scenario=Based&target=localhost:1", "", 403, "is not allowed"},
		{"scenario=Based&target=" + url.QueryEscape("file:///etc/passwd"), "", 400, "a scheme that is not http or https"},
		{"scenario=Based&target=" + url.QueryEscape("localhost/../x"), "", 400, "more than a host and a port"},
		{"scenario=Home&target=localhost", "", 400, "the scenario has no place for a target"},
		{"scenario=Home", "soon", 400, `X-Prometheus-Scrape-Timeout-Seconds is "soon"`},
		{"scenario=Home", "NaN", 400, "want a number of seconds"},
		{"scenario=Home", "0.5", 400, "raise scrape_timeout"},
	} {
		status, retry, body := probed(t, agent, c.query, c.timeout)
		if status != c.status || !strings.Contains(body, c.want) || (retry != "") != (status == 503) {
			t.Errorf("%s with timeout %q: status %d and\n%s\nwant %d and %q", c.query, c.timeout, status, body, c.status, c.want)
		}
	}
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "http://other.example"} { // browsers send the first over TLS and to loopback only
		r := httptest.NewRequest("GET", agent+"/probe?scenario=Home", nil)
		r.RequestURI = ""
		r.Header.Set(name, value)
		if response, err := http.DefaultClient.Do(r); err != nil || response.StatusCode != http.StatusForbidden {
			t.Errorf("a page of another site asks (%s): %v, %v", name, response, err)
		} else {
			response.Body.Close()
		}
	}
	until(t, "the end of the runs", func() bool { return parallel.Load() == 0 })
	if page := get(t, agent+"/metrics"); strings.Contains(page, `scenario="Home"`) || !strings.Contains(page, `scenario="Scheduled"`) {
		t.Error("the page of the agent has series of probes, or none of what it schedules")
	}

	most.Store(0) // probes of one scenario wait for each other
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			if status, _, body := probed(t, agent, "scenario=Home", "10"); status != 200 || !strings.Contains(body, "probe_success 1\n") {
				t.Errorf("one of several at once: status %d and\n%s", status, body)
			}
		})
	}
	others.Wait()
	if most.Load() != 1 {
		t.Errorf("%d runs of a scenario were at once", most.Load())
	}
	others.Go(func() { probed(t, agent, "scenario=Hangs", "10") })
	until(t, "the run that hangs", func() bool { return parallel.Load() == 1 })
	if status, retry, body := probed(t, agent, "scenario=Hangs", "1"); status != 503 || retry != "10" || !strings.Contains(body, "did not end in time") {
		t.Errorf("while it is busy: status %d, Retry-After %q and\n%s", status, retry, body)
	}
	let()
	others.Wait()
}

// TestProbeNeedsAPlace holds that a probe waits for a place among the runs of the agent, and says for which if there is none.
func TestProbeNeedsAPlace(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	var hanging atomic.Int64
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		hanging.Add(1)
		<-release
		hanging.Add(-1)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(let)
	dir := t.TempDir()
	feature, config := filepath.Join(dir, "site.feature"), filepath.Join(dir, "stepwatch.yml")
	text := strings.ReplaceAll("Feature: Site\n  @manual\n  Scenario: A\n    When I go to \"SITE/a\"\n  @manual\n  Scenario: B\n    When I go to \"SITE/b\"\n", "SITE", server.URL)
	for path, content := range map[string]string{feature: text, config: "probe: {}\nparallel: 1\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	agent := startAgent(t, "--config", config, feature)
	var first sync.WaitGroup
	first.Go(func() {
		if status, _, body := probed(t, agent, "scenario=A", "20"); status != 200 || !strings.Contains(body, "probe_success 1\n") {
			t.Errorf("the first: status %d and\n%s", status, body)
		}
	})
	until(t, "the first run", func() bool { return hanging.Load() == 1 })
	status, retry, body := probed(t, agent, "scenario=B", "1")
	if want := "the probe did not run: it waited for the only place for runs at " + server.Listener.Addr().String(); status != 503 || retry != "10" || !strings.Contains(body, want) {
		t.Errorf("without a place: status %d, Retry-After %q and\n%s\nwant %q", status, retry, body, want)
	}
	let()
	first.Wait()
	for _, scenario := range []string{"B", "A"} {
		if status, _, body := probed(t, agent, "scenario="+scenario, "10"); status != 200 {
			t.Errorf("%s after that: status %d and\n%s", scenario, status, body)
		}
	}
}

// TestProbesAreOffByDefault holds that nobody runs a scenario over HTTP unless the configuration says so.
func TestProbesAreOffByDefault(t *testing.T) {
	named(t)
	agent := startAgent(t, "features")
	if status, _, body := probed(t, agent, "scenario=Reset", ""); status != 403 || !strings.Contains(body, `add the block "probe: {}" to stepwatch.yml`) {
		t.Errorf("status %d and\n%s", status, body)
	}
}
