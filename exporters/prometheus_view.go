package exporters

import (
	"iter"
	"maps"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/stepwatch/stepwatch/agent/result"
)

// view is a copy of everything on the page at one time, so that it can be written without a lock, however slowly.
type view struct {
	families  *families
	scenarios []scenarioView
	values    []float64      // of the points of all scenarios
	all       []distribution // of all scenarios, if the format shows more than count and sum
	agent     []agentSample
	others    []*dto.MetricFamily
	err       error // why others is incomplete
}

// scenarioView is the part of a view that shows one scenario.
type scenarioView struct {
	layout       *layout
	values       int // the place of its first value
	all          int // the place of its first distribution
	missed, late uint64
	next         int // the first of layout.sorted that is not written yet
}

// agentSample is a value of the agent itself.
type agentSample struct {
	family *family
	labels string
	value  float64
}

// look copies the page. full is for a format that shows the buckets of distributions.
func (p *Prometheus) look(full bool) *view {
	v := &view{families: &p.families}
	v.others, v.err = p.registry.Gather()
	p.scraping.Lock()
	defer p.scraping.Unlock()
	p.scrapes++
	if p.stats == nil {
		p.mu.RLock()
		scenarios := slices.Collect(maps.Values(p.scenarios))
		p.mu.RUnlock()
		slices.SortFunc(scenarios, func(a, b *scenarioSeries) int { return keyOf(a.identity).compare(keyOf(b.identity)) })
		for _, s := range scenarios {
			s.mu.Lock()
			v.add(s, full)
			s.mu.Unlock()
		}
	} else {
		p.lookAtLoaded(v, full)
	}
	p.mu.RLock()
	for _, kind := range slices.Sorted(maps.Keys(p.lacks)) {
		v.agent = append(v.agent, agentSample{p.families.lack, labels("kind", kind), boolean(p.lacks[kind])})
	}
	p.mu.RUnlock()
	return v
}

// lookAtLoaded copies the agent's statistics and the loaded scenarios, in the order in which they are loaded. It drops the
// series of the others.
func (p *Prometheus) lookAtLoaded(v *view, full bool) {
	f := &p.families
	stats, now := p.stats(), time.Now()
	v.scenarios = make([]scenarioView, 0, len(stats.Scenarios))
	v.values = make([]float64, 0, 18*len(stats.Scenarios))
	for i := range stats.Scenarios {
		st := &stats.Scenarios[i]
		s := p.scenario(st.Identity, st.Interval)
		s.touched.Store(now.UnixNano())
		s.mu.Lock()
		if s.scraped == p.scrapes {
			s.mu.Unlock()
			continue // listed twice
		}
		s.describe(st.Identity, st.Interval)
		one := v.add(s, full)
		s.mu.Unlock()
		one.missed, one.late = st.Missed, st.Late
	}
	p.forget(now)
	add := func(f *family, labels string, value float64) {
		v.agent = append(v.agent, agentSample{f, labels, value})
	}
	add(f.inProgress, "", float64(stats.Running))
	add(f.waiting, "", float64(stats.Waiting))
	add(f.workers, "", float64(stats.Workers))
	add(f.abandoned, "", float64(stats.Abandoned))
	if !stats.Loaded.IsZero() {
		add(f.reloaded, "", boolean(!stats.Refused))
		add(f.loaded, "", float64(stats.Loaded.UnixMilli())/1000)
	}
	for i := range stats.Unsettled {
		u := &stats.Unsettled[i]
		its := []string{"feature", u.Identity.Feature, "scenario", u.Identity.Scenario, "example", u.Identity.Example}
		if u.Soft {
			add(f.soft, labels(its...), 1)
		}
		if u.Flapping {
			add(f.flapping, labels(its...), 1)
		}
		if u.Withheld != "" {
			add(f.withheld, labels(append(its, "why", u.Withheld)...), 1)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(stats.Mistakes)) {
		add(f.mistakes, labels("file", file), float64(stats.Mistakes[file]))
	}
	for _, exporter := range slices.Sorted(maps.Keys(stats.Dropped)) {
		add(f.dropped, labels("exporter", exporter), float64(stats.Dropped[exporter]))
	}
	if stats.History != nil {
		f.addHistory(add, stats.History)
	}
}

// addHistory adds what is known of the history. What never happened is absent.
func (f *families) addHistory(add func(f *family, labels string, value float64), h *result.HistoryStats) {
	add(f.historyBytes, "", float64(h.Bytes))
	add(f.historyFailing, "", boolean(h.Problem != ""))
	if !h.LastWrite.IsZero() {
		add(f.historyWrite, "", float64(h.LastWrite.UnixMilli())/1000)
	}
	if h.Dropped > 0 {
		add(f.historyDropped, "", float64(h.Dropped))
	}
	if h.Errors > 0 {
		add(f.historyErrors, "", float64(h.Errors))
	}
	if h.Aside != "" {
		add(f.historyDamaged, "", 1)
	}
}

// add copies a scenario, whose lock the caller holds.
func (v *view) add(s *scenarioSeries, full bool) *scenarioView {
	s.scraped = s.p.scrapes
	v.scenarios = append(v.scenarios, scenarioView{layout: s.layout, values: len(v.values), all: len(v.all)})
	v.values = s.values(v.values)
	if full {
		for _, d := range s.all {
			v.all = append(v.all, d.clone())
		}
	}
	return &v.scenarios[len(v.scenarios)-1]
}

// series is one series of a view.
type series struct {
	scenario     string // the labels of its scenario
	labels       string // its other labels
	value        float64
	sum          float64       // of a distribution in seconds; value is its count
	distribution *distribution // if the view is full
}

// of returns the series of a family. It is to be called once for each family, in alphabetical order.
func (v *view) of(f *family) iter.Seq[series] {
	return func(yield func(series) bool) {
		for i := range v.agent {
			if s := &v.agent[i]; s.family == f && !yield(series{labels: s.labels, value: s.value}) {
				return
			}
		}
		for i := range v.scenarios {
			s := &v.scenarios[i]
			if n := v.counted(s, f); n > 0 && !yield(series{scenario: s.layout.labels, value: float64(n)}) {
				return
			}
			for ; s.next < len(s.layout.sorted); s.next++ {
				index := int(s.layout.sorted[s.next])
				point := &s.layout.points[index]
				if point.family != f {
					break
				}
				one := series{scenario: s.layout.labels, labels: point.labels, value: v.values[s.values+point.at]}
				if f.kind == dto.MetricType_HISTOGRAM {
					one.sum = v.values[s.values+point.at+1]
					if v.all != nil {
						one.distribution = &v.all[s.all+index-s.layout.distributions]
					}
				}
				if !yield(one) {
					return
				}
			}
		}
	}
}

// counted returns the scenario's value of a counter that the agent keeps, or zero if this is not one.
func (v *view) counted(s *scenarioView, f *family) uint64 {
	switch f {
	case v.families.missed:
		return s.missed
	case v.families.late:
		return s.late
	default:
		return 0
	}
}
