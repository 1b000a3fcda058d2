package exporters

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

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

// DefaultPrometheusConfig is what an empty configuration block means. The buckets reach from a step that compares two
// strings to the minute that a mail may take, and have bounds where sentences have them: "within 2s", "within 60s".
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

// bucketsMax bounds what one mistake in the configuration can cost: each bucket is a line per step and status.
const bucketsMax = 100

// Validate says what cannot work, by the name of the setting.
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
			return fmt.Errorf("buckets: want rising durations, got %s behind %s", b, c.Buckets[i-1])
		}
	}
	if !slices.Contains([]string{"histogram", "last", "off"}, c.Phases) {
		return fmt.Errorf("phases: want \"histogram\", \"last\" or \"off\", got %q", c.Phases)
	}
	return nil
}

// New makes the exporter.
func (c *PrometheusConfig) New(host Host) (Exporter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return NewPrometheus(*c, host), nil
}

// Prometheus keeps what the last run of each scenario found, counts and histograms over all runs, and shows them on a
// page of metrics. Its registry is its own, so two of them in one process do not meet.
//
// What a scenario's last run did not do is absent from the page, neither zero nor left over from an earlier run: the
// last duration of a step that was skipped, a phase that did not happen, a measurement that was not read. One scrape
// sees one run of a scenario whole, except that the histograms may already count the next.
//
// When the host has Stats, the scenarios listed there are exactly those on the page: a loaded scenario is there before
// its first run, with its counters at zero, and one that a reload removed is gone with the next scrape.
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

	measured measuredNames
}

// NewPrometheus makes the exporter from a configuration that Validate found nothing against.
func NewPrometheus(config PrometheusConfig, host Host) *Prometheus {
	p := &Prometheus{
		config:    config,
		stats:     host.Stats,
		log:       host.log(),
		registry:  prometheus.NewRegistry(),
		families:  newFamilies(config.Buckets),
		scenarios: make(map[scenarioKey]*scenarioSeries),
	}
	p.delays = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:                            namespace + "run_delay_seconds",
		Help:                            "How late runs began: from when the schedule wanted them to when they started. The monitor's own delay, never part of a step's duration.",
		Buckets:                         []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5, 10, 60},
		NativeHistogramBucketFactor:     nativeFactor,
		NativeHistogramMaxBucketNumber:  nativeBucketsMax,
		NativeHistogramMinResetDuration: nativeReset,
		NativeHistogramMaxExemplars:     -1,
	})
	p.faults = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: namespace + "measurement_faults_total",
		Help: "Measurements that could not be shown as the step gave them. Left out: fault=name (no valid metric name), fault=reserved (the name of one of stepwatch's own metrics), fault=count (too many names), fault=label (a label without a valid name, or with one that is taken). Shown with the HELP of another step: fault=help.",
	}, []string{"fault"})
	for _, fault := range []string{faultName, faultReserved, faultCount, faultHelp, faultLabel} {
		p.faults.WithLabelValues(fault)
	}
	p.measured = measuredNames{reserved: p.families.names(), faults: p.faults, log: p.log}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        namespace + "build_info",
		Help:        "Always 1; the labels name the stepwatch that runs.",
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
		CoalesceGather:     true, // several servers that scrape together cost one gathering
	}))
	return p
}

// Path is where the page wants to be.
func (p *Prometheus) Path() string { return p.config.Path }

// Handler serves the page: text, OpenMetrics or protobuf as the scraper asks, compressed when it can take that. Native
// histograms need protobuf; exemplars, the id of the run that fell into a bucket, need OpenMetrics or protobuf.
func (p *Prometheus) Handler() http.Handler { return p.handler }

// Export takes in one run.
func (p *Prometheus) Export(r *result.Result) {
	if !r.Due.IsZero() {
		p.delays.Observe(r.Delay.Seconds())
	}
	s := p.scenario(r.Identity)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(r)
}

// Alert takes in a change of an alert's state. It is shown as firing while it is hard: a soft one may be a hiccup.
func (p *Prometheus) Alert(a alert.Alert) {
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

// scenario gives the series of a scenario, new ones when it is met for the first time.
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

// Gather collects the page. The registry checks every series for its family and against all others, which took a third
// of a scrape's time; the series of scenarios, far the most, are unlike each other by the way they are made (scenarioKey,
// bind, label, measuredNames), so they come in from the side and in order.
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
	for _, f := range g.families {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all, err
}

// gatherLoaded collects what the agent says, and the scenarios that it has loaded; of the others it drops the memory.
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
	g.add(&sample{family: f.workers, value: float64(stats.Workers)})
	g.add(&sample{family: f.abandoned, value: float64(stats.Abandoned)})
	for _, exporter := range slices.Sorted(maps.Keys(stats.Dropped)) {
		g.add(&sample{family: f.dropped, value: float64(stats.Dropped[exporter]), labels: pairs(nil, "exporter", exporter)})
	}
}

// family is what all series of one name have in common.
type family struct {
	name, help string
	kind       dto.MetricType
	bounds     []float64 // of a histogram: the upper bounds of its classic buckets in seconds; none for native ones alone
}

// gathering is a page in the making.
type gathering struct {
	families map[*family]*dto.MetricFamily
	last     *dto.MetricFamily // saves looking up what comes in a row
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

// put puts a metric under its family.
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

// forgetAfter is how long a scenario that is not loaded keeps its memory. It is off the page at once; the time is for a
// result that overtakes the list of loaded scenarios, and for a file that comes back unchanged and finds its counters.
const forgetAfter = 5 * time.Minute

// forgetExcept drops the series of scenarios that are not loaded and have been quiet for forgetAfter.
func (p *Prometheus) forgetExcept(loaded map[scenarioKey]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, s := range p.scenarios {
		if !loaded[key] && time.Since(time.Unix(0, s.touched.Load())) > forgetAfter {
			delete(p.scenarios, key)
		}
	}
}

// scenarioKey is the part of an Identity that is unique.
type scenarioKey struct{ feature, scenario, example string }

func keyOf(id result.Identity) scenarioKey {
	return scenarioKey{id.Feature, id.Scenario, id.Example}
}

// compare gives the order on the page.
func (k scenarioKey) compare(other scenarioKey) int {
	return cmp.Or(
		strings.Compare(k.feature, other.feature),
		strings.Compare(k.scenario, other.scenario),
		strings.Compare(k.example, other.example),
	)
}

// scenarioSeries is what the page shows of one scenario. Runs change it under mu; a scrape reads only the atomic
// fields, each holding an immutable list, so that a slow scrape never holds up an Export.
type scenarioSeries struct {
	p       *Prometheus
	key     scenarioKey
	touched atomic.Int64 // when the scenario was last met, in Unix nanoseconds

	samples    atomic.Pointer[[]sample]  // of the last run, and the counters
	histograms atomic.Pointer[[]*series] // of all runs
	info       atomic.Pointer[sample]
	alerts     atomic.Pointer[[]sample] // a rule each that ever raised one; nil before the first

	mu        sync.Mutex
	identity  result.Identity // as info shows it
	labels    []*dto.LabelPair
	steps     []*stepSeries // in the order of the scenario
	durations map[result.Status]*series
	runs      map[result.Status]*counter
	failures  map[failureKey]*counter
}

// counter is a count and the labels that it is shown with.
type counter struct {
	labels []*dto.LabelPair
	value  uint64
}

// failureKey says which step failed and why.
type failureKey struct {
	step   string
	inner  string // which step beneath it, when its sentence is made of others
	reason result.Reason
	blame  result.Blame
}

func (k failureKey) compare(other failureKey) int {
	return cmp.Or(strings.Compare(k.step, other.step), strings.Compare(k.inner, other.inner), cmp.Compare(k.reason, other.reason), cmp.Compare(k.blame, other.blame))
}

// stepSeries is what the page shows of one step.
type stepSeries struct {
	label     string // as the result has it
	shown     string // as the page has it
	labels    []*dto.LabelPair
	durations map[result.Status]*series
	phases    map[string]*phaseSeries
	inner     map[string]*innerSeries // by the labels on the way, when its sentence is made of others
}

// innerSeries is what the page shows of a step beneath another one.
type innerSeries struct {
	labels    []*dto.LabelPair
	durations map[result.Status]*series
}

// phaseSeries is what the page shows of one phase of a step.
type phaseSeries struct {
	labels    []*dto.LabelPair
	durations *series // nil unless phases are shown as histograms
}

func newScenarioSeries(p *Prometheus, id result.Identity) *scenarioSeries {
	s := &scenarioSeries{
		p:         p,
		key:       keyOf(id),
		labels:    pairs(nil, "feature", id.Feature, "scenario", id.Scenario, "example", id.Example),
		durations: make(map[result.Status]*series),
		runs:      make(map[result.Status]*counter),
		failures:  make(map[failureKey]*counter),
	}
	for _, status := range result.Statuses {
		s.runs[status] = &counter{labels: pairs(s.labels, "status", string(status))}
	}
	s.describe(id)
	samples := s.counters(nil)
	s.samples.Store(&samples)
	s.histograms.Store(new([]*series))
	s.touched.Store(time.Now().UnixNano())
	return s
}

// describe takes over what a reload may have changed about the scenario without making it another one, so that an alert
// goes to the new owner at once and not after the next run. The caller holds mu, or is alone.
func (s *scenarioSeries) describe(id result.Identity) {
	if s.info.Load() != nil && s.identity == id {
		return
	}
	s.identity = id
	labels := pairs(s.labels, "owner", id.Owner, "severity", id.Severity, "location", id.Location, "file", id.File)
	s.info.Store(&sample{family: s.p.families.info, value: 1, labels: labels})
}

// counters adds the scenario's counters to samples.
func (s *scenarioSeries) counters(samples []sample) []sample {
	for _, status := range result.Statuses {
		c := s.runs[status]
		samples = append(samples, sample{family: s.p.families.runs, value: float64(c.value), labels: c.labels})
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.failures), failureKey.compare) {
		c := s.failures[key]
		samples = append(samples, sample{family: s.p.families.failures, value: float64(c.value), labels: c.labels})
	}
	return samples
}

// take adds a run. The caller holds mu.
func (s *scenarioSeries) take(r *result.Result) {
	f := &s.p.families
	s.touched.Store(time.Now().UnixNano())
	if s.p.stats == nil {
		s.describe(r.Identity)
	}
	changed := s.bind(r.Steps)

	previous := *s.samples.Load()
	samples := make([]sample, 0, len(previous)+8)
	gauge := func(family *family, value float64, labels []*dto.LabelPair) {
		samples = append(samples, sample{family: family, value: value, labels: labels})
	}
	state := r.State()
	gauge(f.state, float64(state), s.labels)
	// "passed" alone is not enough: a run without steps proved nothing.
	gauge(f.success, boolean(r.Status == result.Passed && state != result.Unknown), s.labels)
	gauge(f.lastRun, float64(r.Started.UnixNano())/1e9, s.labels)
	gauge(f.lastDuration, r.Duration.Seconds(), s.labels)
	if !r.Due.IsZero() {
		gauge(f.lastDelay, r.Delay.Seconds(), s.labels)
	}

	for i := range r.Steps {
		step := &r.Steps[i]
		on := s.steps[i]
		if step.Ran {
			changed = s.observe(on.durations, f.stepDuration, on.labels, step.Status, step.Duration, r.Run) || changed
			gauge(f.stepLast, step.Duration.Seconds(), on.labels)
			if s.p.config.Phases != "off" {
				for j, phase := range step.Phases {
					if nameBefore(step.Phases[:j], phase.Name) {
						continue
					}
					ph, isNew := s.phase(on, phase.Name)
					took := total(step.Phases[j:], phase.Name).Seconds()
					gauge(f.phaseLast, took, ph.labels)
					if ph.durations != nil {
						ph.durations.histogram.Observe(took)
						changed = changed || isNew
					}
				}
			}
		}
		changed = s.observeInner(on, "", step.Steps, gauge, r.Run) || changed
		for j, m := range step.Measurements {
			if laterMeasurement(step.Measurements[j+1:], m) {
				continue
			}
			if measured := s.p.measured.family(m); measured != nil {
				gauge(measured, m.Value, measuredLabels(on.labels, m.Labels))
			}
		}
	}
	if len(r.Steps) > 0 {
		changed = s.observe(s.durations, f.duration, s.labels, r.Status, r.Duration, r.Run) || changed
	}

	if c := s.runs[r.Status]; c != nil {
		c.value++
	}
	if state == result.Unknown || r.Status != result.Passed {
		c := s.failure(r)
		c.value++
		gauge(f.failing, 1, c.labels)
	}
	samples = s.counters(samples)
	s.samples.Store(&samples)
	if changed {
		s.listHistograms()
	}
}

// bind makes s.steps stand for these steps, one by one, and says whether anything changed. What a step has gathered is
// kept when the step is still there.
func (s *scenarioSeries) bind(steps []result.StepResult) (changed bool) {
	same := len(steps) == len(s.steps)
	for i := 0; same && i < len(steps); i++ {
		same = s.steps[i].label == steps[i].Label
	}
	if same {
		return false
	}
	old := s.steps
	used := make(map[string]bool, len(steps))
	s.steps = make([]*stepSeries, len(steps))
	for i, step := range steps {
		shown := unused(label(step.Label), used)
		if j := slices.IndexFunc(old, func(o *stepSeries) bool { return o.shown == shown }); j >= 0 {
			s.steps[i] = old[j]
			s.steps[i].label = step.Label
			continue
		}
		s.steps[i] = &stepSeries{
			label:     step.Label,
			shown:     shown,
			labels:    pairs(s.labels, "step", shown),
			durations: make(map[result.Status]*series),
			phases:    make(map[string]*phaseSeries),
		}
	}
	maps.DeleteFunc(s.failures, func(key failureKey, _ *counter) bool { return key.step != "" && !used[key.step] })
	return true
}

// observe adds a duration to the histogram of its status and says whether that histogram is new.
func (s *scenarioSeries) observe(by map[result.Status]*series, family *family, labels []*dto.LabelPair, status result.Status, d time.Duration, run string) (isNew bool) {
	h := by[status]
	if h == nil {
		h = family.series(pairs(labels, "status", string(status)))
		by[status] = h
		isNew = true
	}
	h.observe(d, run)
	return isNew
}

// observeInner takes in the steps that a sentence stands for, and says whether a histogram is new. path are the labels of
// those above them, but for the scenario's own step.
func (s *scenarioSeries) observeInner(on *stepSeries, path string, steps []result.StepResult, gauge func(*family, float64, []*dto.LabelPair), run string) (changed bool) {
	used := make(map[string]bool, len(steps))
	for i := range steps {
		step := &steps[i]
		name := path + unused(step.Label, used)
		if step.Ran {
			inner := on.inner[name]
			if inner == nil {
				inner = &innerSeries{labels: pairs(on.labels, innerLabel, name), durations: make(map[result.Status]*series)}
				if on.inner == nil {
					on.inner = make(map[string]*innerSeries)
				}
				on.inner[name] = inner
			}
			changed = s.observe(inner.durations, s.p.families.innerDuration, inner.labels, step.Status, step.Duration, run) || changed
			gauge(s.p.families.innerLast, step.Duration.Seconds(), inner.labels)
		}
		changed = s.observeInner(on, name+result.Beneath, step.Steps, gauge, run) || changed
	}
	return changed
}

// phase gives the series of a phase and says whether they are new.
func (s *scenarioSeries) phase(on *stepSeries, name string) (ph *phaseSeries, isNew bool) {
	if ph := on.phases[name]; ph != nil {
		return ph, false
	}
	ph = &phaseSeries{labels: pairs(on.labels, "phase", name)}
	if s.p.config.Phases == "histogram" {
		ph.durations = s.p.families.phaseDuration.series(ph.labels)
	}
	on.phases[name] = ph
	return ph, true
}

// failure gives the counter for how this run failed.
func (s *scenarioSeries) failure(r *result.Result) *counter {
	key := failureKey{reason: r.Reason, blame: r.Blame}
	for i := range r.Steps {
		if r.Steps[i].Status != result.Passed {
			key.step = s.steps[i].shown
			path, _, _ := r.Steps[i].Inner()
			key.inner = strings.Join(path, result.Beneath)
			break
		}
	}
	c := s.failures[key]
	if c == nil {
		c = &counter{labels: pairs(s.labels, "step", key.step, innerLabel, key.inner, "reason", string(key.reason), "blame", string(key.blame))}
		s.failures[key] = c
	}
	return c
}

// listHistograms renews the list that a scrape reads.
func (s *scenarioSeries) listHistograms() {
	var list []*series
	byStatus := func(histograms map[result.Status]*series) {
		for _, status := range slices.Sorted(maps.Keys(histograms)) {
			list = append(list, histograms[status])
		}
	}
	byStatus(s.durations)
	for _, step := range s.steps {
		byStatus(step.durations)
	}
	for _, step := range s.steps {
		for _, name := range slices.Sorted(maps.Keys(step.inner)) {
			byStatus(step.inner[name].durations)
		}
	}
	for _, step := range s.steps {
		for _, name := range slices.Sorted(maps.Keys(step.phases)) {
			if h := step.phases[name].durations; h != nil {
				list = append(list, h)
			}
		}
	}
	s.histograms.Store(&list)
}

// gather puts what runs have left on the page.
func (s *scenarioSeries) gather(g *gathering) {
	g.add(s.info.Load())
	samples := *s.samples.Load()
	for i := range samples {
		g.add(&samples[i])
	}
	if alerts := s.alerts.Load(); alerts != nil {
		for i := range *alerts {
			g.add(&(*alerts)[i])
		}
	}
	for _, h := range *s.histograms.Load() {
		m := new(dto.Metric)
		if err := h.histogram.Write(m); err != nil {
			continue // a histogram without labels of its own has nothing to complain of
		}
		m.Label = h.labels
		g.put(h.family, m)
	}
}

// sample is one value of a gauge or counter. It is never changed once a scrape can see it; its labels never at all, for
// they are shared between series.
type sample struct {
	family *family
	labels []*dto.LabelPair
	value  float64
}

// series is one histogram of a family. The labels are put on from outside, because they are shared with other series
// and those of client_golang's vectors are not.
type series struct {
	family    *family
	labels    []*dto.LabelPair
	histogram prometheus.Histogram
}

// exemplarRunMax keeps an exemplar below the 128 characters that OpenMetrics allows; client_golang panics above them.
const exemplarRunMax = 64

// observe adds a duration, with the run's id as exemplar when there is one.
func (h *series) observe(d time.Duration, run string) {
	if run == "" || len(run) > exemplarRunMax || !utf8.ValidString(run) {
		h.histogram.Observe(d.Seconds())
		return
	}
	h.histogram.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{"run": run})
}

// namespace begins the name of every metric.
const namespace = "stepwatch_"

// innerLabel is the label of what belongs to a step beneath another one.
const innerLabel = "inner_step"

// The shape of native histograms: buckets 10 % wide, which narrows a quantile down to 5 %. A scenario seldom spreads
// over more than 64 of them (a factor of 256 between fastest and slowest); if it does, they widen, or after an hour
// start anew, so that memory stays bounded.
const (
	nativeFactor     = 1.1
	nativeBucketsMax = 64
	nativeReset      = time.Hour
)

// series makes a histogram with the classic buckets of the family, beside the native ones that it always has.
func (f *family) series(labels []*dto.LabelPair) *series {
	return &series{
		family: f,
		labels: labels,
		histogram: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:                            f.name,
			Help:                            f.help,
			Buckets:                         f.bounds,
			NativeHistogramBucketFactor:     nativeFactor,
			NativeHistogramMaxBucketNumber:  nativeBucketsMax,
			NativeHistogramMinResetDuration: nativeReset,
			NativeHistogramMaxExemplars:     -1, // those of the classic buckets are enough
		}),
	}
}

// families are the metrics of scenarios and of the agent.
type families struct {
	stepDuration, innerDuration, phaseDuration, duration *family

	stepLast, innerLast, phaseLast                                            *family
	success, state, lastRun, lastDuration, lastDelay, failing, info, interval *family
	runs, failures, late, missed, alertFiring                                 *family
	dropped, inProgress, workers, abandoned                                   *family

	all []string
}

func newFamilies(buckets []time.Duration) families {
	var f families
	classic := make([]float64, len(buckets))
	for i, b := range buckets {
		classic[i] = b.Seconds()
	}
	add := func(kind dto.MetricType, name, help string) *family {
		f.all = append(f.all, namespace+name)
		return &family{name: namespace + name, help: help, kind: kind}
	}
	gauge := func(name, help string) *family { return add(dto.MetricType_GAUGE, name, help) }
	counter := func(name, help string) *family { return add(dto.MetricType_COUNTER, name, help) }
	histogram := func(name string, bounds []float64, help string) *family {
		h := add(dto.MetricType_HISTOGRAM, name, help)
		h.bounds = bounds
		return h
	}
	f.stepDuration = histogram("step_duration_seconds", classic, "How long a step took that ran, by how it ended. Hooks, waiting for a worker and preparation are outside.")
	f.stepLast = gauge("step_last_duration_seconds", "How long the step took in the scenario's last run; absent when it did not run then.")
	f.innerDuration = histogram("inner_step_duration_seconds", nil, "How long a step took that a sentence made of others stands for, by how it ended; native histogram without classic buckets. The step above has the sum.")
	f.innerLast = gauge("inner_step_last_duration_seconds", "How long a step took that a sentence made of others stands for, in the scenario's last run; absent when it did not run then.")
	f.phaseDuration = histogram("step_phase_duration_seconds", nil, "How long a part of a step took, such as connect or tls; native histogram without classic buckets.")
	f.phaseLast = gauge("step_phase_last_duration_seconds", "How long a part of the step took in the scenario's last run; absent when it did not happen then.")
	f.duration = histogram("scenario_duration_seconds", nil, "How long a run took, the sum of its steps, by how it ended; native histogram without classic buckets.")
	f.lastDuration = gauge("scenario_last_duration_seconds", "How long the last run took: the sum of its steps.")
	f.success = gauge("scenario_success", "Whether every step of the last run passed (1) or not (0). A step over its budget still passed: see stepwatch_scenario_state.")
	f.state = gauge("scenario_state", "What the last run means: 0 OK, 1 WARNING (over budget), 2 CRITICAL (failed, or far over budget), 3 UNKNOWN (nothing was proved).")
	f.failing = gauge("scenario_failing", "1 while the last run did not pass, with the step that did not and why; absent otherwise.")
	f.alertFiring = gauge("alert_firing", "Whether a rule's alert is hard (1) or not (0); absent for rules that never raised one. @retries decides how many failures in a row make it hard.")
	f.runs = counter("scenario_runs_total", "Runs by how they ended.")
	f.failures = counter("scenario_failures_total", "Runs that did not pass, by the first step that did not, the reason, and whose fault it was.")
	f.lastRun = gauge("scenario_last_run_timestamp_seconds", "When the last run began.")
	f.lastDelay = gauge("scenario_last_delay_seconds", "How late the last run began: the monitor's own delay.")
	f.interval = gauge("scenario_interval_seconds", "How often the schedule wants the scenario; no result for several of these means that nothing is known.")
	f.info = gauge("scenario_info", "Always 1; the labels describe a loaded scenario.")
	f.late = counter("runs_late_total", fmt.Sprintf("Runs that began more than %s after they were due.", result.LateAfter))
	f.missed = counter("runs_missed_total", "Due runs that never started, because the one before was still in progress or no worker was free.")
	f.dropped = counter("results_dropped_total", "Results that did not reach an exporter because its queue was full.")
	f.inProgress = gauge("runs_in_progress", "Runs in progress now.")
	f.workers = gauge("workers", "Runs that may be in progress at once.")
	f.abandoned = gauge("abandoned_steps", "Steps that ignored their deadline and have not come back yet.")
	return f
}

// names are the names that a measurement cannot have: all of ours, with what a histogram makes of its own.
func (f *families) names() map[string]bool {
	reserved := make(map[string]bool)
	own := append([]string{namespace + "run_delay_seconds", namespace + "build_info", namespace + "measurement_faults_total"}, f.all...)
	for _, name := range own {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count", "_created", "_total"} {
			reserved[name+suffix] = true
		}
		reserved[strings.TrimSuffix(name, "_total")] = true // OpenMetrics names a counter's family without it
	}
	return reserved
}

// What can be wrong with a measurement.
const (
	faultName     = "name"
	faultReserved = "reserved"
	faultCount    = "count"
	faultHelp     = "help"
	faultLabel    = "label"
)

// measuredNamesMax bounds the names of measurements, which may come from a program that a step runs.
const measuredNamesMax = 2000

// measuredNames decides under which name and HELP a measurement is shown. The HELP that comes first stays, since the
// exposition format has one for each name.
type measuredNames struct {
	reserved map[string]bool
	faults   *prometheus.CounterVec
	log      *slog.Logger

	mu     sync.RWMutex
	byName map[string]*family
	logged map[string]bool // name and fault
}

// family gives the family of a measurement, or nil when it cannot be shown.
func (n *measuredNames) family(m result.Measurement) *family {
	if !validLabels(m.Labels) {
		n.fault(m, faultLabel)
		return nil
	}
	m.Help = cmp.Or(strings.ToValidUTF8(m.Help, "\uFFFD"), "A value that a step read.") // promtool wants a HELP for everything
	n.mu.RLock()
	known := n.byName[m.Name]
	n.mu.RUnlock()
	if known == nil {
		known = n.add(m)
	}
	if known != nil && known.help != m.Help {
		n.fault(m, faultHelp)
	}
	return known
}

// add takes a new name, or gives nil and counts the fault.
func (n *measuredNames) add(m result.Measurement) *family {
	switch {
	case !validMetricName(m.Name):
		n.fault(m, faultName)
		return nil
	case n.reserved[namespace+m.Name]:
		n.fault(m, faultReserved)
		return nil
	}
	n.mu.Lock()
	if known := n.byName[m.Name]; known != nil {
		n.mu.Unlock()
		return known
	}
	if len(n.byName) >= measuredNamesMax {
		n.mu.Unlock()
		n.fault(m, faultCount)
		return nil
	}
	defer n.mu.Unlock()
	if n.byName == nil {
		n.byName = make(map[string]*family)
	}
	known := &family{name: namespace + m.Name, help: m.Help, kind: dto.MetricType_GAUGE}
	n.byName[m.Name] = known
	return known
}

// fault counts each time and logs once a name, for as many names as can be shown.
func (n *measuredNames) fault(m result.Measurement, fault string) {
	n.faults.WithLabelValues(fault).Inc()
	key := fault + " " + m.Name
	n.mu.Lock()
	tell := !n.logged[key] && len(n.logged) < measuredNamesMax
	if tell {
		if n.logged == nil {
			n.logged = make(map[string]bool)
		}
		n.logged[key] = true
	}
	n.mu.Unlock()
	if tell {
		n.log.Warn("measurement cannot be shown as it is", "measurement", m.Name, "fault", fault, "help", m.Help)
	}
}

// validMetricName holds to the names that every Prometheus takes, without the colons that recording rules have.
func validMetricName(name string) bool {
	if name == "" || len(name) > 200 {
		return false
	}
	for _, c := range []byte(name) {
		if !(c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			return false
		}
	}
	return true
}

// validLabels says whether a measurement's labels can stand beside those of its step.
func validLabels(labels []result.Label) bool {
	for i, l := range labels {
		switch {
		case !validMetricName(l.Name), '0' <= l.Name[0] && l.Name[0] <= '9', strings.HasPrefix(l.Name, "__"),
			slices.Contains([]string{"feature", "scenario", "example", "step", "le", "quantile"}, l.Name),
			slices.ContainsFunc(labels[:i], func(before result.Label) bool { return before.Name == l.Name }):
			return false
		}
	}
	return true
}

// measuredLabels adds a measurement's labels to those of its step.
func measuredLabels(base []*dto.LabelPair, labels []result.Label) []*dto.LabelPair {
	if len(labels) == 0 {
		return base
	}
	nameValue := make([]string, 0, 2*len(labels))
	for _, l := range labels {
		nameValue = append(nameValue, l.Name, l.Value)
	}
	return pairs(base, nameValue...)
}

// laterMeasurement says whether the same comes again: the last reading of a step counts.
func laterMeasurement(rest []result.Measurement, m result.Measurement) bool {
	return slices.ContainsFunc(rest, func(later result.Measurement) bool {
		return later.Name == m.Name && sameLabels(later.Labels, m.Labels)
	})
}

// sameLabels says whether two measurements of one name would be one series: order does not matter, and an empty value is
// the same as no label.
func sameLabels(a, b []result.Label) bool {
	within := func(some, others []result.Label) bool {
		for _, l := range some {
			if l.Value != "" && !slices.Contains(others, l) {
				return false
			}
		}
		return true
	}
	return within(a, b) && within(b, a)
}

// nameBefore says whether a phase of that name came already.
func nameBefore(phases []result.Phase, name string) bool {
	return slices.ContainsFunc(phases, func(p result.Phase) bool { return p.Name == name })
}

// total adds up the phases of one name: a step that connects twice has spent both.
func total(phases []result.Phase, name string) (sum time.Duration) {
	for _, p := range phases {
		if p.Name == name {
			sum += p.Duration
		}
	}
	return sum
}

// pairs adds labels, given as name and value in turn, to those of base. An empty value means no label, which is the same
// to Prometheus. The exposition wants them by name.
func pairs(base []*dto.LabelPair, nameValue ...string) []*dto.LabelPair {
	all := slices.Clone(base)
	for pair := range slices.Chunk(nameValue, 2) {
		if name, value := pair[0], pair[1]; value != "" {
			all = append(all, &dto.LabelPair{Name: &name, Value: new(label(value))})
		}
	}
	slices.SortFunc(all, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return slices.Clip(all)
}

// labelMax bounds a label's value in bytes. A step's text is repeated on every line of its histogram.
const labelMax = 256

// label makes text fit for a label's value: valid UTF-8 and not too long. Text that had to change gets a hash of the
// whole behind it, so that two values do not become one.
func label(text string) string {
	if len(text) <= labelMax && utf8.ValidString(text) {
		return text
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(text)) // a hash takes everything
	mark := fmt.Sprintf("... #%08x", hash.Sum32())
	clean := strings.ToValidUTF8(text, "\uFFFD")
	if len(clean) > labelMax-len(mark) {
		cut := labelMax - len(mark)
		for cut > 0 && !utf8.RuneStart(clean[cut]) {
			cut--
		}
		clean = clean[:cut]
	}
	return clean + mark
}

// boolean is how a gauge says yes or no.
func boolean(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// compressed lets a page be compressed. promhttp can do that too, but only at the level that takes two fifths of a
// scrape's time; this one takes a fifth, for a thirtieth of the bytes instead of a fortieth.
func compressed(page http.Handler) http.Handler {
	writers := sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			panic(err) // the level is a constant
		}
		return w
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		if !acceptsGzip(r.Header.Values("Accept-Encoding")) {
			page.ServeHTTP(w, r)
			return
		}
		z := writers.Get().(*gzip.Writer)
		defer writers.Put(z)
		z.Reset(w)
		w.Header().Set("Content-Encoding", "gzip")
		body := gzipWriter{w, z}
		page.ServeHTTP(body, r)
		if body.compressing() {
			_ = z.Close() // a scraper that has gone away is nobody to tell
		}
	})
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3) for gzip by its name.
func acceptsGzip(headers []string) bool {
	for _, coding := range strings.Split(strings.Join(headers, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, found := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
		return !found || strings.Trim(q, "0.") != ""
	}
	return false
}

// gzipWriter sends the body through the compressor, unless it is an error: http.Error takes the encoding back.
type gzipWriter struct {
	http.ResponseWriter
	body io.Writer
}

func (w gzipWriter) compressing() bool { return w.Header().Get("Content-Encoding") == "gzip" }

// Write takes a part of the body.
func (w gzipWriter) Write(b []byte) (int, error) {
	if !w.compressing() {
		return w.ResponseWriter.Write(b)
	}
	return w.body.Write(b)
}

// errorLog lets promhttp report through slog.
type errorLog struct{ log *slog.Logger }

// Println is promhttp's interface for a logger.
func (l errorLog) Println(v ...any) {
	err := fmt.Sprintln(v...)
	l.log.Error("serve metrics", "err", errors.New(strings.TrimSpace(err)))
}
