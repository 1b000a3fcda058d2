package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPrometheusProbes has Debian's Prometheus schedule runs with the configuration of docs/probe.md.
func TestPrometheusProbes(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed (Debian: package prometheus), so nobody schedules probes")
	}
	doc, err := os.ReadFile("../docs/probe.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```yaml\nscrape_configs:\n")
	jobs, _, found := strings.Cut(rest, "```")
	_, rest, _ = strings.Cut(string(doc), "```gherkin\n")
	feature, _, shown := strings.Cut(rest, "```")
	if !found || !shown {
		t.Fatal("docs/probe.md has no scrape configuration or no feature")
	}
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(site.Close)
	_, port, _ := net.SplitHostPort(site.Listener.Addr().String())
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	agent := startAgent(t, "--config", write("stepwatch.yml", "probe: {targets: [localhost, 127.0.0.1]}\n"),
		write("x.feature", strings.Replace(feature, "https://www.example.org", "http://127.0.0.1:"+port, 1)))
	// 127.0.0.3 is not among the targets of the agent.
	config := strings.NewReplacer("[www.example.org, shop.example.org]", "[localhost, 127.0.0.1, 127.0.0.3]", "127.0.0.1:9469", strings.TrimPrefix(agent, "http://"),
		"scrape_interval: 1m", "scrape_interval: 1s", "scrape_timeout: 30s", "scrape_timeout: 1s").Replace(jobs)
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	cmd := exec.Command(program, "--config.file="+write("prometheus.yml", "scrape_configs:\n"+config), "--storage.tsdb.path="+dir, "--web.listen-address="+address)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() }) // it may end meanwhile
		defer late.Stop()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("prometheus ended with %v and said:\n%s", err, &log)
		}
	})
	value := func(query string) string {
		response, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return "" // it is about to listen
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		var answer struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		if json.Unmarshal(body, &answer) != nil || len(answer.Data.Result) != 1 {
			return ""
		}
		return fmt.Sprint(answer.Data.Result[0].Value[1])
	}
	for query, want := range map[string]string{
		`probe_success{job="stepwatch_probe",instance="localhost"}`:                                 "1",
		`probe_success{job="stepwatch_probe",instance="127.0.0.1"}`:                                 "1",
		`stepwatch_http_status_code{instance="localhost",feature="Websites"}`:                       "200",
		`count(stepwatch_step_last_duration_seconds{instance="localhost"} > 0)`:                     "2",
		`up{job="stepwatch_probe",instance="127.0.0.3"}`:                                            "0",
		`probe_duration_seconds{instance="localhost"} > bool 0 and probe_duration_seconds < bool 1`: "1",
	} {
		until(t, query+" is "+want, func() bool { return value(query) == want })
	}
}
