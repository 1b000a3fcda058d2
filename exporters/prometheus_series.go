package exporters

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/stepwatch/stepwatch/agent/result"
)

// scenarioKey is the part of an Identity that is unique.
type scenarioKey struct{ feature, scenario, example string }

func keyOf(id result.Identity) scenarioKey {
	return scenarioKey{id.Feature, id.Scenario, id.Example}
}

// compare defines the order on the page.
func (k scenarioKey) compare(other scenarioKey) int {
	return cmp.Or(
		strings.Compare(k.feature, other.feature),
		strings.Compare(k.scenario, other.scenario),
		strings.Compare(k.example, other.example),
	)
}

// scenarioSeries holds the series of one scenario. Runs change it under mu. A scrape reads only the atomic fields, each
// an immutable list, so a slow scrape never delays an Export.
type scenarioSeries struct {
	p       *Prometheus
	key     scenarioKey
	touched atomic.Int64 // when the scenario was last seen, in Unix nanoseconds

	samples    atomic.Pointer[[]sample]  // of the last run, and the counters
	histograms atomic.Pointer[[]*series] // of all runs
	info       atomic.Pointer[sample]
	alerts     atomic.Pointer[[]sample] // one for each rule that ever raised an alert; nil before the first

	mu        sync.Mutex
	identity  result.Identity // as shown in info
	labels    []*dto.LabelPair
	steps     []*stepSeries // in the order of the scenario
	durations map[result.Status]*series
	runs      map[result.Status]*counter
	failures  map[failureKey]*counter
}

// counter is a count with its labels.
type counter struct {
	labels []*dto.LabelPair
	value  uint64
}

// failureKey identifies a step that failed, and why.
type failureKey struct {
	step   string
	inner  string // the inner step, if its sentence is composed of others
	reason result.Reason
	blame  result.Blame
}

func (k failureKey) compare(other failureKey) int {
	return cmp.Or(strings.Compare(k.step, other.step), strings.Compare(k.inner, other.inner), cmp.Compare(k.reason, other.reason), cmp.Compare(k.blame, other.blame))
}

// stepSeries holds the series of one step.
type stepSeries struct {
	label     string // as in the result
	shown     string // as on the page
	labels    []*dto.LabelPair
	durations map[result.Status]*series
	phases    map[string]*phaseSeries
	inner     map[string]*innerSeries // by the path of labels, if its sentence is composed of others
}

// innerSeries holds the series of a step below another one.
type innerSeries struct {
	labels    []*dto.LabelPair
	durations map[result.Status]*series
}

// phaseSeries holds the series of one phase of a step.
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

// describe updates the properties of the scenario that a reload may have changed, so that an alert goes to the new
// owner at once and not after the next run. The caller holds mu, or is the only user.
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
	if r.Stale {
		s.takeStale(r)
		return
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
	if r.Backoff > 0 {
		gauge(f.backoff, r.Backoff.Seconds(), s.labels)
	}
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

// takeStale replaces the state. Everything else is still that of the last run, and no run is counted. The caller holds s.mu.
func (s *scenarioSeries) takeStale(r *result.Result) {
	f := &s.p.families
	replaced := func(other sample) bool {
		return other.family == f.state || other.family == f.success || other.family == f.failing
	}
	samples := slices.DeleteFunc(slices.Clone(*s.samples.Load()), replaced)
	samples = append(samples,
		sample{family: f.state, value: float64(r.State()), labels: s.labels},
		sample{family: f.success, value: 0, labels: s.labels},
		sample{family: f.failing, value: 1, labels: pairs(s.labels, "reason", string(r.Reason), "blame", string(r.Blame))})
	s.samples.Store(&samples)
}

// bind makes s.steps correspond to these steps, and reports whether anything changed. A step that still exists keeps
// its series.
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

// observe adds a duration to the histogram of its status, and reports whether that histogram is new.
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

// observeInner adds the inner steps of a sentence, and reports whether a histogram is new. path consists of the labels
// of the steps above them, without the scenario's own step.
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

// phase returns the series of a phase, and whether they are new.
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

// failure returns the counter for this kind of failure.
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

// listHistograms rebuilds the list that a scrape reads.
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

// gather adds the scenario's series to the page.
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
			continue // it never fails for a histogram without its own labels
		}
		m.Label = h.labels
		g.put(h.family, m)
	}
}

// sample is one value of a gauge or counter. It is immutable as soon as a scrape can see it. Its labels are always
// immutable, because series share them.
type sample struct {
	family *family
	labels []*dto.LabelPair
	value  float64
}

// series is one histogram of a family. Its labels are separate, because series share them, unlike those of
// client_golang's vectors.
type series struct {
	family    *family
	labels    []*dto.LabelPair
	histogram prometheus.Histogram
}

// exemplarRunMax keeps an exemplar below the limit of 128 characters in OpenMetrics. client_golang panics above it.
const exemplarRunMax = 64

// observe adds a duration, with the run's id, if there is one, as exemplar.
func (h *series) observe(d time.Duration, run string) {
	if run == "" || len(run) > exemplarRunMax || !utf8.ValidString(run) {
		h.histogram.Observe(d.Seconds())
		return
	}
	h.histogram.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{"run": run})
}

// laterMeasurement reports whether the same measurement follows again: the last one of a step counts.
func laterMeasurement(rest []result.Measurement, m result.Measurement) bool {
	return slices.ContainsFunc(rest, func(later result.Measurement) bool {
		return later.Name == m.Name && sameLabels(later.Labels, m.Labels)
	})
}

// sameLabels reports whether two measurements of one name are the same series. The order does not matter, and an empty
// value is the same as no label.
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

// nameBefore reports whether phases contains one with this name.
func nameBefore(phases []result.Phase, name string) bool {
	return slices.ContainsFunc(phases, func(p result.Phase) bool { return p.Name == name })
}

// total returns the sum of the phases with one name: a step may connect twice.
func total(phases []result.Phase, name string) (sum time.Duration) {
	for _, p := range phases {
		if p.Name == name {
			sum += p.Duration
		}
	}
	return sum
}
