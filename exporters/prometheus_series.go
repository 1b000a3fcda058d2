package exporters

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"

	"github.com/stepwatch/stepwatch/agent/result"
)

// scenarioKey is the part of an Identity that is unique.
type scenarioKey struct{ feature, scenario, example string }

func keyOf(id result.Identity) scenarioKey {
	return scenarioKey{id.Feature, id.Scenario, id.Example}
}

// compare defines the order on the page of an exporter that knows no list of loaded scenarios.
func (k scenarioKey) compare(other scenarioKey) int {
	return cmp.Or(
		strings.Compare(k.feature, other.feature),
		strings.Compare(k.scenario, other.scenario),
		strings.Compare(k.example, other.example),
	)
}

// layout says which series a scenario has on the page, and how their labels are written there. It is immutable: a run
// with the same series as the previous one changes values alone.
type layout struct {
	labels string   // of every series: `feature="The website",scenario="Home"`
	points []point  // in the order in which a run reports them, those of one family one after another
	sorted []uint16 // the order of the points on the page: alphabetically by family

	distributions int // the first point that is a distribution; all after it are
}

// point is the place of one series.
type point struct {
	family *family
	labels string // after those of the scenario
	at     int    // the place of its first value in a view
}

// pointsMax limits the series of a scenario, which a program that a step runs may name.
const pointsMax = 1<<16 - 1

// scenarioSeries holds the series of one scenario. Runs change it and scrapes copy its values under mu, which takes
// microseconds, so that neither delays the other, and a scrape shows one run.
type scenarioSeries struct {
	p       *Prometheus
	touched atomic.Int64 // when the scenario was last seen, in Unix nanoseconds

	mu       sync.Mutex
	identity result.Identity // as shown in info
	interval time.Duration
	layout   *layout
	info     string    // the labels of info
	reported []float64 // the values of the points after info
	alerts   []alertSeries
	all      []*distribution // in the order of the page
	scraped  uint64          // the number of the latest scrape that showed it

	steps    []stepSeries // in the order of the scenario
	runs     [len(statusLabels)]uint64
	flakes   uint64
	near     bool             // a run needed much of its deadline
	failures []failureCounter // in the order of the page
}

// statusLabels are the labels of the counters of runs, in the order of result.Statuses.
var statusLabels = [...]string{
	labels("status", string(result.Passed)), labels("status", string(result.Failed)), labels("status", string(result.Skipped)),
	labels("status", string(result.Pending)), labels("status", string(result.Undefined)), labels("status", string(result.Ambiguous)),
}

// alertSeries is the alert of one rule.
type alertSeries struct {
	labels string
	firing bool
}

// failureCounter counts the runs that failed at one step in one way.
type failureCounter struct {
	step   string
	inner  string // the inner step, if its sentence is composed of others
	reason result.Reason
	blame  result.Blame
	labels string
	count  uint64
}

func (c *failureCounter) compare(other *failureCounter) int {
	return cmp.Or(strings.Compare(c.step, other.step), strings.Compare(c.inner, other.inner),
		cmp.Compare(c.reason, other.reason), cmp.Compare(c.blame, other.blame))
}

// stepSeries holds the series of one step.
type stepSeries struct {
	label     string // as in the result
	shown     string // as on the page
	ordered   string // its labels with that of its place: `,step="I wait",order="01"`
	labels    string // the part of them without its place
	durations []*distribution
	measured  []measuredSeries // one for each measurement of the latest run, in its order

	// With phases shown, or a sentence composed of others:
	phases map[string]*phaseSeries
	inner  map[string]*innerSeries // by the path of labels
}

// measuredSeries is the series of a measurement of a step.
type measuredSeries struct {
	family *family // nil if the measurement is not shown
	labels []result.Label
	shown  string // the labels of the step and the measurement
}

// innerSeries holds the series of a step below another one.
type innerSeries struct {
	labels    string
	durations []*distribution
}

// phaseSeries holds the series of one phase of a step.
type phaseSeries struct {
	labels    string
	durations *distribution // nil unless phases are shown as histograms
}

func newScenarioSeries(p *Prometheus, id result.Identity, interval time.Duration) *scenarioSeries {
	s := &scenarioSeries{p: p}
	s.touched.Store(time.Now().UnixNano())
	s.layout = &layout{labels: strings.TrimPrefix(labels("feature", id.Feature, "scenario", id.Scenario, "example", id.Example), ",")}
	s.identify(id, interval)
	r := s.report()
	s.reportCounters(&r)
	s.lay(r.end())
	return s
}

// describe updates the properties of the scenario that a reload may have changed, so that an alert goes to the new
// owner at once and not after the next run. The caller holds mu.
func (s *scenarioSeries) describe(id result.Identity, interval time.Duration) {
	if s.identity == id && s.interval == interval {
		return
	}
	s.identify(id, interval)
	s.lay(s.layout.points[1:1+len(s.reported)], s.reported)
}

func (s *scenarioSeries) identify(id result.Identity, interval time.Duration) {
	s.identity, s.interval = id, interval
	every := ""
	if interval > 0 {
		every = short(interval)
	}
	s.info = labels("file", id.File, "owner", id.Owner, "severity", id.Severity, "location", id.Location, "interval", every)
}

// short returns a duration as in @every: "1m" rather than "1m0s".
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// deadlineShown is the share of its deadline from which on the time of a scenario's runs is shown: a series for each healthy
// scenario would say nothing.
const deadlineShown = 0.5

// report is what a run reports, compared with what the scenario has reported so far. As long as both have the same series
// in the same order, it changes only their values: a thousand runs a second then allocate nothing here.
type report struct {
	points []point
	values []float64
	n      int // how many are reported
	differ bool
}

// report begins a report.
func (s *scenarioSeries) report() report {
	if len(s.layout.points) == 0 {
		return report{}
	}
	return report{points: s.layout.points[1 : 1+len(s.reported)], values: s.reported}
}

// add reports a value.
func (r *report) add(f *family, labels string, value float64) {
	if !r.differ {
		if r.n < len(r.points) && r.points[r.n].family == f && r.points[r.n].labels == labels {
			r.values[r.n] = value
			r.n++
			return
		}
		r.cut()
	}
	if r.n < pointsMax {
		r.points, r.values = append(r.points, point{family: f, labels: labels}), append(r.values, value)
		r.n++
	}
}

// cut makes the report one of its own that ends here, because others may read what it was compared with.
func (r *report) cut() {
	r.points, r.values, r.differ = slices.Clone(r.points[:r.n]), slices.Clone(r.values[:r.n]), true
}

// end returns the series and their values.
func (r *report) end() ([]point, []float64) {
	if r.n < len(r.points) {
		r.cut()
	}
	return r.points, r.values
}

// lay makes a new layout for these reported series, the alerts and the distributions. The caller holds mu.
func (s *scenarioSeries) lay(reported []point, values []float64) {
	s.all = s.all[:0:0]
	for i := range s.steps {
		s.all = append(s.all, s.steps[i].durations...)
		for _, name := range slices.Sorted(maps.Keys(s.steps[i].inner)) {
			s.all = append(s.all, s.steps[i].inner[name].durations...)
		}
		for _, name := range slices.Sorted(maps.Keys(s.steps[i].phases)) {
			if d := s.steps[i].phases[name].durations; d != nil {
				s.all = append(s.all, d)
			}
		}
	}
	s.all = s.all[:min(len(s.all), max(0, pointsMax-1-len(reported)-len(s.alerts)))]

	l := &layout{labels: s.layout.labels, points: make([]point, 0, 1+len(reported)+len(s.alerts)+len(s.all))}
	l.points = append(l.points, point{family: s.p.families.info, labels: s.info})
	l.points = append(l.points, reported...)
	for i := range s.alerts {
		l.points = append(l.points, point{family: s.p.families.alertFiring, labels: s.alerts[i].labels})
	}
	l.distributions = len(l.points)
	for _, d := range s.all {
		l.points = append(l.points, point{family: d.family, labels: d.labels})
	}
	l.sorted = make([]uint16, len(l.points))
	at := 0
	for i := range l.points {
		l.sorted[i], l.points[i].at = uint16(i), at
		at += l.points[i].width()
	}
	slices.SortStableFunc(l.sorted, func(a, b uint16) int { return strings.Compare(l.points[a].family.name, l.points[b].family.name) })
	s.layout, s.reported = l, slices.Clip(values)
}

// width returns the number of values: two for a distribution, which are its count and its sum in seconds.
func (p *point) width() int {
	if p.family.kind == dto.MetricType_HISTOGRAM {
		return 2
	}
	return 1
}

// values adds the values of the points to others. The caller holds mu.
func (s *scenarioSeries) values(to []float64) []float64 {
	to = append(append(to, 1), s.reported...)
	for i := range s.alerts {
		to = append(to, boolean(s.alerts[i].firing))
	}
	for _, d := range s.all {
		to = append(to, float64(d.count), d.sum.Seconds())
	}
	return to
}

// alert shows whether the alert of a rule is firing. The caller holds mu.
func (s *scenarioSeries) alert(rule string, firing bool) {
	now := alertSeries{labels("rule", rule), firing}
	for i := range s.alerts {
		if s.alerts[i].labels == now.labels {
			s.alerts[i] = now
			return
		}
	}
	s.alerts = append(s.alerts, now)
	s.lay(s.layout.points[1:1+len(s.reported)], s.reported)
}

// reportCounters reports the scenario's counters: for what has happened, and for what every scenario is about, so that
// rate() sees it the first time.
func (s *scenarioSeries) reportCounters(r *report) {
	for i, status := range result.Statuses {
		if s.runs[i] > 0 || status == result.Passed || status == result.Failed {
			r.add(s.p.families.runs, statusLabels[i], float64(s.runs[i]))
		}
	}
	if s.flakes > 0 {
		r.add(s.p.families.flakes, "", float64(s.flakes))
	}
	for i := range s.failures {
		r.add(s.p.families.failures, s.failures[i].labels, float64(s.failures[i].count))
	}
}

// take adds a run. The caller holds mu.
func (s *scenarioSeries) take(r *result.Result, now time.Time) {
	f := &s.p.families
	s.touched.Store(now.UnixNano())
	if s.p.stats == nil {
		s.describe(r.Identity, r.Interval)
	}
	if r.Stale {
		s.takeStale(r)
		return
	}
	run := r.Run
	if len(run) > exemplarRunMax || !utf8.ValidString(run) {
		run = ""
	}
	isNew := s.bind(r.Steps)
	state := r.State()
	if i := slices.Index(result.Statuses, r.Status); i >= 0 {
		s.runs[i]++
	}
	var failed *failureCounter
	if state == result.Unknown || r.Status != result.Passed {
		failed = s.failure(r)
		failed.count++
	}

	if state == result.OK && r.Attempt > 1 && r.Attempt <= r.Retries+1 {
		s.flakes++
	}
	to := s.report()
	s.reportCounters(&to)
	to.add(f.state, "", float64(state))
	// "passed" alone is not enough: a run without steps proved nothing.
	to.add(f.success, "", boolean(r.Status == result.Passed && state != result.Unknown))
	to.add(f.lastRun, "", float64(r.Started.UnixMilli())/1000) // Prometheus' own times are no finer
	if r.Attempt > 1 {
		to.add(f.attempts, "", float64(r.Attempt))
	}
	if r.Timeout > 0 {
		share := (r.Prepare + r.Duration).Seconds() / r.Timeout.Seconds()
		if s.near = s.near || share > deadlineShown; s.near {
			to.add(f.deadline, "", share)
		}
	}
	if r.Backoff > 0 {
		to.add(f.backoff, "", r.Backoff.Seconds())
	}
	if failed != nil {
		to.add(f.failing, failed.labels, 1)
	}
	for i := range r.Steps {
		step, on := &r.Steps[i], &s.steps[i]
		if step.Ran {
			isNew = observe(&on.durations, f.stepDuration, on.labels, step, run, now) || isNew
			to.add(f.stepLast, on.ordered, step.Duration.Seconds())
			if s.p.config.Phases != "off" {
				isNew = s.takePhases(on, step.Phases, &to, now) || isNew
			}
		}
		isNew = s.takeInner(on, "", step.Steps, &to, run, now) || isNew
		s.takeMeasurements(on, step.Measurements, &to)
	}
	if points, values := to.end(); to.differ || isNew {
		s.lay(points, values)
	}
}

// restore shows how the last run before a restart ended, but not when it began: it may have begun so long ago that a rule about
// scenarios that stopped would fire at each start. The caller holds mu.
func (s *scenarioSeries) restore(l *result.Last) {
	if slices.ContainsFunc(s.layout.points, func(p point) bool { return p.family == s.p.families.state }) {
		return // it has run since
	}
	to := s.report()
	s.reportCounters(&to)
	to.add(s.p.families.state, "", float64(l.State))
	to.add(s.p.families.success, "", boolean(l.State == result.OK || l.State == result.Warning))
	s.lay(to.end())
}

// takeStale replaces the state. Everything else is still that of the last run, and no run is counted. The caller holds mu.
func (s *scenarioSeries) takeStale(r *result.Result) {
	f := &s.p.families
	var to report
	before := s.report()
	for i, old := range before.points {
		if old.family != f.state && old.family != f.success && old.family != f.failing {
			to.add(old.family, old.labels, before.values[i])
		}
	}
	to.add(f.state, "", float64(r.State()))
	to.add(f.success, "", 0)
	to.add(f.failing, labels("reason", string(r.Reason), "blame", string(r.Blame)), 1)
	s.lay(to.end())
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
	old := make(map[string]*stepSeries, len(s.steps))
	for i := range s.steps {
		old[s.steps[i].shown] = &s.steps[i]
	}
	used := make(map[string]bool, len(steps))
	bound := make([]stepSeries, len(steps))
	for i, step := range steps {
		shown := unused(label(step.Label), used)
		if before := old[shown]; before != nil {
			bound[i] = *before
		}
		ordered := labels("step", shown, "order", fmt.Sprintf("%02d", i+1))
		bound[i].label, bound[i].shown, bound[i].ordered = step.Label, shown, ordered
		bound[i].labels = ordered[:strings.LastIndex(ordered, `,order="`)]
	}
	s.steps = bound
	s.failures = slices.DeleteFunc(s.failures, func(c failureCounter) bool { return c.step != "" && !used[c.step] })
	return true
}

// observe adds the duration of a step to the distribution of its status, and reports whether that is new.
func observe(all *[]*distribution, f *family, above string, step *result.StepResult, run string, now time.Time) (isNew bool) {
	for _, d := range *all {
		if d.status == step.Status {
			d.observe(step.Duration, run, now)
			return false
		}
	}
	d := newDistribution(f, step.Status, above+labels("status", string(step.Status)), now)
	d.observe(step.Duration, run, now)
	*all = append(*all, d)
	slices.SortFunc(*all, func(a, b *distribution) int { return cmp.Compare(a.status, b.status) })
	return true
}

// takeInner adds the inner steps of a sentence, and reports whether a distribution is new. path consists of the labels
// of the steps above them, without the scenario's own step.
func (s *scenarioSeries) takeInner(on *stepSeries, path string, steps []result.StepResult, to *report, run string, now time.Time) (isNew bool) {
	if len(steps) == 0 {
		return false
	}
	used := make(map[string]bool, len(steps))
	for i := range steps {
		step := &steps[i]
		name := path + unused(step.Label, used)
		if step.Ran {
			inner := on.inner[name]
			if inner == nil {
				inner = &innerSeries{labels: on.labels + labels(innerLabel, name)}
				if on.inner == nil {
					on.inner = make(map[string]*innerSeries)
				}
				on.inner[name] = inner
			}
			isNew = observe(&inner.durations, s.p.families.innerDuration, inner.labels, step, run, now) || isNew
			to.add(s.p.families.innerLast, inner.labels, step.Duration.Seconds())
		}
		isNew = s.takeInner(on, name+result.Beneath, step.Steps, to, run, now) || isNew
	}
	return isNew
}

// takePhases adds the phases of a step, and reports whether a distribution is new.
func (s *scenarioSeries) takePhases(on *stepSeries, phases []result.Phase, to *report, now time.Time) (isNew bool) {
	for i, phase := range phases {
		if nameBefore(phases[:i], phase.Name) {
			continue
		}
		ph := on.phases[phase.Name]
		if ph == nil {
			ph = &phaseSeries{labels: on.labels + labels("phase", phase.Name)}
			if s.p.config.Phases == "histogram" {
				ph.durations = newDistribution(s.p.families.phaseDuration, "", ph.labels, now)
				isNew = true
			}
			if on.phases == nil {
				on.phases = make(map[string]*phaseSeries)
			}
			on.phases[phase.Name] = ph
		}
		took := total(phases[i:], phase.Name)
		to.add(s.p.families.phaseLast, ph.labels, took.Seconds())
		if ph.durations != nil {
			ph.durations.observe(took, "", now)
		}
	}
	return isNew
}

// takeMeasurements adds the measurements of a step. If they are those of the previous run, it looks up and writes no labels.
func (s *scenarioSeries) takeMeasurements(on *stepSeries, measurements []result.Measurement, to *report) {
	same := len(on.measured) == len(measurements)
	for i := 0; same && i < len(measurements); i++ {
		same = on.measured[i].is(&measurements[i])
	}
	if !same {
		on.measured = make([]measuredSeries, len(measurements))
		for i, m := range measurements {
			if laterMeasurement(measurements[i+1:], m) {
				continue
			}
			f := s.p.measured.family(m)
			if f == nil {
				continue
			}
			is := measuredSeries{family: f, shown: on.labels}
			for _, l := range m.Labels {
				is.labels = append(is.labels, result.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)})
				is.shown += labels(l.Name, l.Value)
			}
			on.measured[i] = is
		}
	}
	for i := range on.measured {
		if is := &on.measured[i]; is.family != nil {
			to.add(is.family, is.shown, measurements[i].Value)
		}
	}
}

// is reports whether this is certainly the series of a measurement. It is not if the measurement has a fault, which must be
// counted.
func (s *measuredSeries) is(m *result.Measurement) bool {
	return s.family != nil && s.family.name[len(namespace):] == m.Name && s.family.help == m.Help && slices.Equal(s.labels, m.Labels)
}

// failure returns the counter for this kind of failure.
func (s *scenarioSeries) failure(r *result.Result) *failureCounter {
	c := failureCounter{reason: r.Reason, blame: r.Blame}
	for i := range r.Steps {
		if status := r.Steps[i].Status; status != result.Passed && status != result.Skipped { // as in Result.Failing
			c.step = s.steps[i].shown
			path, _, _ := r.Steps[i].Inner()
			c.inner = strings.Join(path, result.Beneath)
			break
		}
	}
	i, found := slices.BinarySearchFunc(s.failures, &c, func(a failureCounter, b *failureCounter) int { return a.compare(b) })
	if !found {
		c.labels = labels("step", c.step, innerLabel, c.inner, "reason", string(c.reason), "blame", string(c.blame))
		s.failures = slices.Insert(s.failures, i, c)
	}
	return &s.failures[i]
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
