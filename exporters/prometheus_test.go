package exporters

import (
	"fmt"
	"io"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// webRun is a run of the two-step web scenario that the cost of an export is measured with.
func webRun(n int, took time.Duration) *result.Result {
	ms := took / 10
	return &result.Result{
		Identity: result.Identity{
			Feature: "The website", Scenario: fmt.Sprintf("A visitor finds the contact page of site %d", n),
			File: "features/web/contact.feature", Line: 3, Owner: "web",
		},
		Run: "01JD8Z3V5YQ8X4T2N6W1R7K9PC", Attempt: 1, Due: time.Unix(1000, 0), Started: time.Unix(1000, 1000), Delay: time.Microsecond,
		Duration: took + 20*time.Microsecond, Status: result.Passed, Interval: time.Second,
		Steps: []result.StepResult{
			{Keyword: "When", Text: "I go to", Label: `I go to "https://example.org/"`, Line: 4, Status: result.Passed, Ran: true, Duration: took,
				Phases: []result.Phase{
					{Name: "resolve", Duration: ms}, {Name: "connect", Duration: ms}, {Name: "tls", Duration: 2 * ms},
					{Name: "processing", Duration: 5 * ms}, {Name: "transfer", Duration: ms},
				},
				Measurements: []result.Measurement{{Name: "http_status_code", Help: "Status of the answer.", Value: 200}},
			},
			{Keyword: "Then", Text: "I should see", Label: `I should see "B50F BE3B 409A"`, Line: 5, Status: result.Passed, Ran: true, Duration: 20 * time.Microsecond},
		},
	}
}

// spread gives durations as a live site has them: most near the median, some far off.
func spread(i int) time.Duration {
	return time.Duration(10_000+(i*7919)%9000+(i%50/49)*400_000) * time.Microsecond
}

// BenchmarkPrometheusExport is what each run costs: an agent with 1000 scenarios a second calls this 1000 times.
func BenchmarkPrometheusExport(b *testing.B) {
	for _, phases := range []string{"histogram", "last"} {
		b.Run("phases="+phases, func(b *testing.B) {
			config := DefaultPrometheusConfig()
			config.Phases = phases
			p := NewPrometheus(*config, Host{})
			runs := make([]*result.Result, 1000)
			for i := range runs {
				runs[i] = webRun(i, spread(i))
				p.Export(runs[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Export(runs[i%len(runs)])
			}
		})
	}
}

// BenchmarkPrometheusScrape is one page of 1000 scenarios with two steps each, and what they keep in memory.
func BenchmarkPrometheusScrape(b *testing.B) {
	const text = "text/plain;version=0.0.4"
	const proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	for _, c := range []struct{ name, phases, accept, encoding string }{
		{"text", "histogram", text, ""}, {"text-gzip", "histogram", text, "gzip"}, {"text-gzip-last", "last", text, "gzip"},
		{"text-gzip-off", "off", text, "gzip"},
		{"openmetrics-gzip", "histogram", "application/openmetrics-text;version=1.0.0", "gzip"},
		{"protobuf-gzip", "histogram", proto, "gzip"},
	} {
		b.Run(c.name, func(b *testing.B) {
			config := DefaultPrometheusConfig()
			config.Phases = c.phases
			before := heap()
			p := NewPrometheus(*config, Host{})
			for i := range 1000 {
				for j := range 200 {
					p.Export(webRun(i, spread(i*31+j)))
				}
			}
			kept := heap() - before
			families, err := p.registry.Gather()
			if err != nil {
				b.Fatal(err)
			}
			samples := 0
			for _, f := range families {
				for _, m := range f.Metric {
					samples++
					if h := m.Histogram; h != nil {
						samples += len(h.Bucket) + 2
					}
				}
			}
			families = nil
			bytes := 0
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest("GET", "/metrics", nil)
				req.Header.Set("Accept", c.accept)
				req.Header.Set("Accept-Encoding", c.encoding)
				w := httptest.NewRecorder()
				p.Handler().ServeHTTP(w, req)
				n, _ := io.Copy(io.Discard, w.Body)
				bytes = int(n)
			}
			b.ReportMetric(float64(bytes), "page-bytes")
			b.ReportMetric(float64(samples), "samples")
			b.ReportMetric(float64(kept)/1e6, "kept-MB")
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/float64(samples)*7000, "ms/7000-samples")
			runtime.KeepAlive(p)
		})
	}
}

// heap is the live heap in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
