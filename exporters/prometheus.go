package exporters

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

func init() {
	Builtin.Register("prometheus", func() Config { return DefaultPrometheusConfig() })
}

// PrometheusConfig is the configuration of the Prometheus exporter.
type PrometheusConfig struct {
	// Path of the page on the agent's listener.
	Path string `yaml:"path"`
	// Buckets are the upper bounds of the classic buckets of the step histograms, rising. None, the default, means that these
	// are native histograms alone, of which the text formats show count and sum. Each bucket is a series for each step and
	// status. Phases and inner steps never have classic buckets.
	Buckets []time.Duration `yaml:"buckets"`
	// Phases says how the parts of a step are shown: "off" for not at all, "last" for the last duration, "histogram" for native
	// histograms and the last duration.
	Phases string `yaml:"phases"`
}

// DefaultPrometheusConfig returns the defaults of an empty configuration block: a page of at most 16 series for a web
// scenario of two steps.
func DefaultPrometheusConfig() *PrometheusConfig {
	return &PrometheusConfig{Path: "/metrics", Phases: "off"}
}

// bucketsMax limits the cost of a mistake in the configuration: each bucket is a line for each step and status.
const bucketsMax = 100

// Validate implements Config.
func (c *PrometheusConfig) Validate() error {
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, " ?#{}") {
		return fmt.Errorf("path: want an absolute path such as \"/metrics\", got %q", c.Path)
	}
	if len(c.Buckets) > bucketsMax {
		return fmt.Errorf("buckets: want at most %d, got %d", bucketsMax, len(c.Buckets))
	}
	for i, b := range c.Buckets {
		if b <= 0 {
			return fmt.Errorf("buckets: want durations above zero, got %s", b)
		}
		if i > 0 && b <= c.Buckets[i-1] {
			return fmt.Errorf("buckets: want rising durations, got %s after %s", b, c.Buckets[i-1])
		}
	}
	if !slices.Contains([]string{"off", "last", "histogram"}, c.Phases) {
		return fmt.Errorf("phases: want \"off\", \"last\" or \"histogram\", got %q", c.Phases)
	}
	return nil
}

// New implements Config.
func (c *PrometheusConfig) New(host Host) (Exporter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return NewPrometheus(*c, host), nil
}

// Prometheus keeps the results of the last run of each scenario, and counters and histograms over all runs, and serves
// them as a page of metrics. It has its own registry, so several of them in one process are independent.
//
// A value that a scenario's last run does not have is absent from the page, neither zero nor left over from an earlier
// run: the last duration of a skipped step, a phase that did not happen, a measurement that was not read. What never
// happened is absent too, but a counter stays. One scrape shows one complete run of a scenario.
//
// If the host has Stats, the page shows exactly the scenarios listed there: a loaded scenario appears before its first
// run, with its counters at zero, and one that a reload removed disappears at the next scrape.
type Prometheus struct {
	config   PrometheusConfig
	stats    func() result.Stats
	log      *slog.Logger
	registry *prometheus.Registry // of everything that is not about scenarios and schedule
	families families

	delays prometheus.Histogram
	faults *prometheus.CounterVec
	errors *prometheus.CounterVec

	handler http.Handler

	mu        sync.RWMutex
	scenarios map[scenarioKey]*scenarioSeries
	lacks     map[string]bool // whether the machine lacks this now, by kind

	scraping sync.Mutex // held while the values are copied, not while they are sent
	scrapes  uint64

	measured measuredNames
}

// NewPrometheus returns the exporter for a valid configuration.
func NewPrometheus(config PrometheusConfig, host Host) *Prometheus {
	p := &Prometheus{
		config:    config,
		stats:     host.Stats,
		log:       host.log(),
		registry:  prometheus.NewRegistry(),
		families:  newFamilies(config.Buckets),
		scenarios: make(map[scenarioKey]*scenarioSeries),
		lacks:     make(map[string]bool),
	}
	p.delays = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:                            namespace + "run_delay_seconds",
		Help:                            "Time from when runs were due until they started. This is stepwatch's own delay, never part of a step's duration.",
		Buckets:                         []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5, 10, 60},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  nativeBucketsMax,
		NativeHistogramMinResetDuration: time.Hour,
		NativeHistogramMaxExemplars:     -1,
	})
	p.faults = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: namespace + "measurement_faults_total",
		Help: "Measurements that could not be exported unchanged. Left out: fault=name (invalid metric name), fault=reserved (name of one of stepwatch's own metrics), fault=count (too many names), fault=label (a label with an invalid or reserved name). Exported with the HELP of another step: fault=help.",
	}, []string{"fault"})
	for _, fault := range []string{faultName, faultReserved, faultCount, faultHelp, faultLabel} {
		p.faults.WithLabelValues(fault)
	}
	p.measured = measuredNames{reserved: p.families.names(), faults: p.faults, log: p.log}
	// As in every exporter that serves its page with promhttp.
	p.errors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "promhttp_metric_handler_errors_total",
		Help: "Total number of internal errors encountered by the promhttp metric handler.",
	}, []string{"cause"})
	for _, cause := range []string{"gathering", "encoding"} {
		p.errors.WithLabelValues(cause)
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        namespace + "build_info",
		Help:        "Always 1; the labels describe the running stepwatch.",
		ConstLabels: prometheus.Labels{"version": label(host.Version), "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	p.registry.MustRegister(p.delays, p.faults, p.errors, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.handler = compressed(http.HandlerFunc(p.serve))
	return p
}

// Path implements Endpoint.
func (p *Prometheus) Path() string { return p.config.Path }

// Handler returns the handler of the page. It serves text, OpenMetrics or protobuf, as the scraper requests, and
// compresses the page if the scraper accepts that. Native histograms need protobuf; exemplars, the id of the run that
// fell into a bucket, need protobuf, or OpenMetrics and classic buckets.
func (p *Prometheus) Handler() http.Handler { return p.handler }

// Export adds one run.
func (p *Prometheus) Export(r *result.Result) {
	if !r.Due.IsZero() && !r.Stale {
		p.delays.Observe(r.Delay.Seconds())
	}
	s := p.scenario(r.Identity, r.Interval)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(r, time.Now())
}

// Alert adds a change of an alert's state. Only a hard alert is shown as firing: a soft one may be a temporary problem.
func (p *Prometheus) Alert(a alert.Alert) {
	if a.Lack != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lacks[a.Lack.Kind] = a.Firing()
		return
	}
	s := p.scenario(a.Identity, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alert(a.Rule, a.Firing())
}

// Restore implements agent.RestoredSink: it adds the alerts that were open before a restart, and the states of then. Without
// them, a rule about stepwatch_scenario_state would end at a restart, and begin again with the next run.
func (p *Prometheus) Restore(open []alert.Alert, last []result.Last) {
	for i := range last {
		s := p.scenario(last[i].Identity, last[i].Interval)
		s.mu.Lock()
		s.restore(&last[i])
		s.mu.Unlock()
	}
	for _, a := range open {
		p.Alert(a)
	}
}

// scenario returns the series of a scenario. It creates them the first time.
func (p *Prometheus) scenario(id result.Identity, interval time.Duration) *scenarioSeries {
	key := keyOf(id)
	p.mu.RLock()
	s := p.scenarios[key]
	p.mu.RUnlock()
	if s != nil {
		return s
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.scenarios[key]; s != nil {
		return s
	}
	s = newScenarioSeries(p, id, interval)
	p.scenarios[key] = s
	return s
}

// forgetAfter is how long the series of a scenario that is no longer loaded are kept. The page stops showing them at
// once. The time is for a result that arrives before the new list of loaded scenarios, and for a file that returns
// unchanged and continues its counters.
const forgetAfter = 5 * time.Minute

// forget drops the series of scenarios that were neither loaded nor run for forgetAfter.
func (p *Prometheus) forget(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.scenarios {
		if now.Sub(time.Unix(0, s.touched.Load())) > forgetAfter {
			delete(p.scenarios, key)
		}
	}
}
