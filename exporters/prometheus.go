package exporters

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

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
	// Buckets are the upper bounds of the classic buckets of the step histograms, rising. None means that these are
	// native histograms alone, of which text formats show sum and count. Phases and scenarios never have classic
	// buckets: with them, a thousand scenarios would come to a page of 200,000 lines.
	Buckets []time.Duration `yaml:"buckets"`
	// Phases says how the parts of a step are shown: "histogram" for native histograms and the last duration, "last" for
	// the last duration alone, "off" for nothing.
	Phases string `yaml:"phases"`
}

// DefaultPrometheusConfig returns the defaults of an empty configuration block. The buckets range from a step that
// compares two strings to the minute that a mail may take. Their bounds include those of sentences: "within 2s",
// "within 60s".
func DefaultPrometheusConfig() *PrometheusConfig {
	return &PrometheusConfig{
		Path: "/metrics",
		Buckets: []time.Duration{
			time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
			200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
			10 * time.Second, 30 * time.Second, time.Minute,
		},
		Phases: "histogram",
	}
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
	if !slices.Contains([]string{"histogram", "last", "off"}, c.Phases) {
		return fmt.Errorf("phases: want \"histogram\", \"last\" or \"off\", got %q", c.Phases)
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
// run: the last duration of a skipped step, a phase that did not happen, a measurement that was not read. One scrape
// shows one complete run of a scenario, except that the histograms may already count the next.
//
// If the host has Stats, the page shows exactly the scenarios listed there: a loaded scenario appears before its first
// run, with its counters at zero, and one that a reload removed disappears at the next scrape.
type Prometheus struct {
	config   PrometheusConfig
	stats    func() result.Stats
	log      *slog.Logger
	registry *prometheus.Registry
	handler  http.Handler
	families families

	delays prometheus.Histogram
	faults *prometheus.CounterVec

	mu        sync.RWMutex
	scenarios map[scenarioKey]*scenarioSeries
	lacks     map[string]bool // whether the machine lacks this now, by kind

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
		NativeHistogramBucketFactor:     nativeFactor,
		NativeHistogramMaxBucketNumber:  nativeBucketsMax,
		NativeHistogramMinResetDuration: nativeReset,
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
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        namespace + "build_info",
		Help:        "Always 1; the labels describe the running stepwatch.",
		ConstLabels: prometheus.Labels{"version": label(host.Version), "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	p.registry.MustRegister(p.delays, p.faults, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	p.handler = compressed(promhttp.HandlerFor(p, promhttp.HandlerOpts{
		DisableCompression: true,
		ErrorLog:           errorLog{p.log},
		ErrorHandling:      promhttp.ContinueOnError,
		Registry:           p.registry,
		EnableOpenMetrics:  true,
		CoalesceGather:     true, // simultaneous scrapes share one gathering
	}))
	return p
}

// Path implements Endpoint.
func (p *Prometheus) Path() string { return p.config.Path }

// Handler returns the handler of the page. It serves text, OpenMetrics or protobuf, as the scraper requests, and
// compresses the page if the scraper accepts that. Native histograms need protobuf; exemplars, the id of the run that
// fell into a bucket, need OpenMetrics or protobuf.
func (p *Prometheus) Handler() http.Handler { return p.handler }

// Export adds one run.
func (p *Prometheus) Export(r *result.Result) {
	if !r.Due.IsZero() && !r.Stale {
		p.delays.Observe(r.Delay.Seconds())
	}
	s := p.scenario(r.Identity)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(r)
}

// Alert adds a change of an alert's state. Only a hard alert is shown as firing: a soft one may be a temporary problem.
func (p *Prometheus) Alert(a alert.Alert) {
	if a.Lack != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lacks[a.Lack.Kind] = a.Firing()
		return
	}
	s := p.scenario(a.Identity)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := sample{family: p.families.alertFiring, value: boolean(a.Firing()), labels: pairs(s.labels, "rule", a.Rule)}
	var all []sample
	if before := s.alerts.Load(); before != nil {
		all = slices.Clone(*before)
	}
	same := func(other sample) bool { return slices.EqualFunc(other.labels, now.labels, equalPair) }
	if i := slices.IndexFunc(all, same); i >= 0 {
		all[i] = now
	} else {
		all = append(all, now)
	}
	s.alerts.Store(&all)
}

func equalPair(a, b *dto.LabelPair) bool {
	return a.GetName() == b.GetName() && a.GetValue() == b.GetValue()
}

// scenario returns the series of a scenario. It creates them the first time.
func (p *Prometheus) scenario(id result.Identity) *scenarioSeries {
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
	s = newScenarioSeries(p, id)
	p.scenarios[key] = s
	return s
}

// Gather collects the page. The registry compares every series with its family and with all others, which took a third
// of a scrape's time. The series of scenarios are by far the most, and they differ by construction (scenarioKey, bind,
// label, measuredNames). So Gather adds them without the registry, and in order.
func (p *Prometheus) Gather() ([]*dto.MetricFamily, error) {
	all, err := p.registry.Gather()
	g := gathering{families: make(map[*family]*dto.MetricFamily)}
	if p.stats == nil {
		p.mu.RLock()
		scenarios := slices.Collect(maps.Values(p.scenarios))
		p.mu.RUnlock()
		slices.SortFunc(scenarios, func(a, b *scenarioSeries) int { return a.key.compare(b.key) })
		for _, s := range scenarios {
			s.gather(&g)
		}
	} else {
		p.gatherLoaded(&g)
	}
	p.mu.RLock()
	for _, kind := range slices.Sorted(maps.Keys(p.lacks)) {
		g.add(&sample{family: p.families.lack, value: boolean(p.lacks[kind]), labels: pairs(nil, "kind", label(kind))})
	}
	p.mu.RUnlock()
	for _, f := range g.families {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all, err
}

// gatherLoaded collects the agent's statistics and the loaded scenarios. It drops the series of the others.
func (p *Prometheus) gatherLoaded(g *gathering) {
	f := &p.families
	stats := p.stats()
	scenarios := slices.Clone(stats.Scenarios)
	slices.SortFunc(scenarios, func(a, b result.ScenarioStats) int { return keyOf(a.Identity).compare(keyOf(b.Identity)) })
	loaded := make(map[scenarioKey]bool, len(scenarios))
	for i := range scenarios {
		st := &scenarios[i]
		if loaded[keyOf(st.Identity)] {
			continue
		}
		loaded[keyOf(st.Identity)] = true
		s := p.scenario(st.Identity)
		s.mu.Lock()
		s.describe(st.Identity)
		s.mu.Unlock()
		s.touched.Store(time.Now().UnixNano())
		s.gather(g)
		g.add(&sample{family: f.missed, value: float64(st.Missed), labels: s.labels})
		g.add(&sample{family: f.late, value: float64(st.Late), labels: s.labels})
		if st.Interval > 0 {
			g.add(&sample{family: f.interval, value: st.Interval.Seconds(), labels: s.labels})
		}
	}
	p.forgetExcept(loaded)
	g.add(&sample{family: f.inProgress, value: float64(stats.Running)})
	g.add(&sample{family: f.waiting, value: float64(stats.Waiting)})
	g.add(&sample{family: f.workers, value: float64(stats.Workers)})
	g.add(&sample{family: f.abandoned, value: float64(stats.Abandoned)})
	for _, file := range slices.Sorted(maps.Keys(stats.Mistakes)) {
		g.add(&sample{family: f.mistakes, value: float64(stats.Mistakes[file]), labels: pairs(nil, "file", label(file))})
	}
	for _, exporter := range slices.Sorted(maps.Keys(stats.Dropped)) {
		g.add(&sample{family: f.dropped, value: float64(stats.Dropped[exporter]), labels: pairs(nil, "exporter", exporter)})
	}
}

// gathering is a page that is being collected.
type gathering struct {
	families map[*family]*dto.MetricFamily
	last     *dto.MetricFamily // saves lookups of the same family in a row
	lastOf   *family
}

// add puts a sample on the page.
func (g *gathering) add(s *sample) {
	m := &dto.Metric{Label: s.labels}
	if s.family.kind == dto.MetricType_COUNTER {
		m.Counter = &dto.Counter{Value: &s.value}
	} else {
		m.Gauge = &dto.Gauge{Value: &s.value}
	}
	g.put(s.family, m)
}

// put adds a metric to its family.
func (g *gathering) put(f *family, m *dto.Metric) {
	if g.lastOf != f {
		on := g.families[f]
		if on == nil {
			on = &dto.MetricFamily{Name: &f.name, Help: &f.help, Type: &f.kind}
			g.families[f] = on
		}
		g.last, g.lastOf = on, f
	}
	g.last.Metric = append(g.last.Metric, m)
}

// forgetAfter is how long the series of a scenario that is no longer loaded are kept. The page stops showing them at
// once. The time is for a result that arrives before the new list of loaded scenarios, and for a file that returns
// unchanged and continues its counters.
const forgetAfter = 5 * time.Minute

// forgetExcept drops the series of scenarios that are not loaded and have not changed for forgetAfter.
func (p *Prometheus) forgetExcept(loaded map[scenarioKey]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.scenarios {
		if !loaded[key] && time.Since(time.Unix(0, s.touched.Load())) > forgetAfter {
			delete(p.scenarios, key)
		}
	}
}
