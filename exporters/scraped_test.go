package exporters_test

import (
	"bytes"
	"context"
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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
)

// httpsRun returns a run of a scenario with two steps over HTTPS, as the web steps report it.
func httpsRun(n int) *result.Result {
	r := webRun(n, spread(n))
	r.Steps[0].Measurements = append(r.Steps[0].Measurements, result.Measurement{Name: "tls_certificate_not_after_timestamp_seconds",
		Help: "Unix time of the end of the server's own certificate.", Value: 2e9, Labels: []result.Label{{Name: "host", Value: "example.org"}}})
	return r
}

// scenarioSeries is how many series a web scenario of two steps over HTTPS has by default, its measurements included. More
// than 16 would be too many.
const scenarioSeries = 15

// TestPrometheusSeriesOfAScenario counts the series of a scenario in each format: a healthy one has no more than promised.
func TestPrometheusSeriesOfAScenario(t *testing.T) {
	p := plainPrometheus()
	r := httpsRun(1)
	p.Export(r)
	p.Export(r)
	for _, accept := range []string{acceptText, acceptOpen} {
		series := 0
		for line := range strings.Lines(page(t, p, accept)) {
			if !strings.HasPrefix(line, "#") && strings.Contains(line, `scenario="`) {
				series++
			}
		}
		if series != scenarioSeries {
			t.Errorf("Accept %q: want %d series, got %d", accept, scenarioSeries, series)
		}
	}
	families, err := p.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, f := range families {
		for _, m := range f.Metric {
			if strings.Contains(fmt.Sprint(m.Label), "scenario") {
				series++
			}
		}
	}
	if want := scenarioSeries - 2; series != want { // a native histogram is one series, not a count and a sum
		t.Errorf("protobuf: want %d series, got %d", want, series)
	}
}

// startPrometheus starts Debian's Prometheus, which scrapes the exporters by the names of their jobs, and returns what
// evaluates a query: the only value, or false while there is none.
func startPrometheus(t *testing.T, jobs map[string]*exporters.Prometheus, args ...string) func(query string) (float64, bool) {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed (Debian: package prometheus), so no real scrape takes place")
	}
	dir := t.TempDir()
	config := "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n"
	for job, p := range jobs {
		server := httptest.NewServer(p.Handler())
		t.Cleanup(server.Close)
		config += fmt.Sprintf("  - {job_name: %s, metrics_path: /, static_configs: [{targets: ['%s']}]}\n", job, server.Listener.Addr())
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	cmd := exec.Command(program, append(args, "--config.file="+file, "--storage.tsdb.path="+dir, "--web.listen-address="+address)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() }) // it may end meanwhile
		defer late.Stop()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("prometheus ended with %v and said:\n%s", err, &said)
		}
	})
	return func(query string) (float64, bool) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+"/api/v1/query?query="+url.QueryEscape(query), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, false // it is about to listen
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return 0, false
		}
		var answer struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if json.Unmarshal(body, &answer) != nil || len(answer.Data.Result) != 1 {
			return 0, false
		}
		value, err := strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
		return value, err == nil
	}
}

// TestPrometheusIsScraped has a real Prometheus scrape the defaults and the one documented setting, in both of the formats
// that it asks for: OpenMetrics, and protobuf with native histograms.
func TestPrometheusIsScraped(t *testing.T) {
	slow := func(p *exporters.Prometheus) *exporters.Prometheus {
		for i := range 200 {
			r := httpsRun(1)
			r.Steps[0].Duration = time.Duration(100+i) * time.Millisecond // the median is 200 ms
			p.Export(r)
		}
		return p
	}
	const steps = `stepwatch_step_duration_seconds%s{step=~"I go to.*",status="passed"}`
	for name, c := range map[string]struct {
		args   []string
		expect map[string][2]float64 // low and high value, by query
	}{
		"without native histograms": {nil, map[string][2]float64{
			`up{job="default"}`:                     {1, 1},
			`count({job="default",scenario=~".+"})`: {scenarioSeries, scenarioSeries},
			`sum({job="default",__name__="stepwatch_step_duration_seconds_count",step=~"I go to.*"})`: {200, 200},
			`sum({job="default",__name__="stepwatch_step_duration_seconds_sum",step=~"I go to.*"})`:   {39.8, 40},
			`up{job="buckets"}`: {1, 1},
			`histogram_quantile(0.5, ` + strings.ReplaceAll(fmt.Sprintf(steps, "_bucket"), "{", `{job="buckets",`) + `)`: {0.18, 0.22},
			`count({job="buckets",scenario=~".+"})`: {31, 31},
		}},
		"with native histograms": {[]string{"--enable-feature=native-histograms"}, map[string][2]float64{
			`up{job="default"}`:                     {1, 1},
			`count({job="default",scenario=~".+"})`: {scenarioSeries - 2, scenarioSeries - 2},
			`histogram_quantile(0.5, ` + strings.ReplaceAll(fmt.Sprintf(steps, ""), "{", `{job="default",`) + `)`: {0.19, 0.21},
			`histogram_count(` + strings.ReplaceAll(fmt.Sprintf(steps, ""), "{", `{job="default",`) + `)`:         {200, 200},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			query := startPrometheus(t, map[string]*exporters.Prometheus{
				"default": slow(plainPrometheus()), "buckets": slow(exporters.NewPrometheus(configurations()["buckets=7"], exporters.Host{})),
			}, c.args...)
			for expression, want := range c.expect {
				got, found := query(expression)
				for deadline := time.Now().Add(time.Minute); !found && time.Now().Before(deadline); got, found = query(expression) {
					time.Sleep(200 * time.Millisecond)
				}
				if !found || got < want[0] || got > want[1] {
					t.Errorf("%s: got %v (found: %t), want %v to %v", expression, got, found, want[0], want[1])
				}
			}
		})
	}
}
