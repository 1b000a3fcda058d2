// Package recent tells how an agent keeps its schedule now. Its counters begin at the start, which may be years ago: what
// matters to whoever looks after it is what was added in the last quarter of an hour.
package recent

import (
	"context"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
)

// Window is the time that counts cover, or the time since the start if that is less.
const Window = 15 * time.Minute

// every is the time between two samples.
const every = time.Minute

// Counts are what was added to the agent's counters in a window.
type Counts struct {
	Window  state.Seconds     `json:"window_seconds"`
	Due     uint64            `json:"due"`     // runs that the schedules wanted in the window, about
	Late    uint64            `json:"late"`    // runs that began more than result.LateAfter past their due time
	Missed  uint64            `json:"missed"`  // due runs that never began
	Dropped map[string]uint64 `json:"dropped"` // results that a sink did not get, by its name; only those with any
}

// Recorder samples the counters of an agent. Its methods may be called from any goroutine.
type Recorder struct {
	stats func() result.Stats

	mu      sync.Mutex
	samples []sample // the oldest first
}

// sample are the counters at a time.
type sample struct {
	at           time.Time
	late, missed uint64
	perSecond    float64 // runs that the schedules want
	dropped      map[string]uint64
}

// New returns a recorder of an agent, whose counters begin now.
func New(stats func() result.Stats) *Recorder {
	return &Recorder{stats: stats, samples: []sample{{at: time.Now(), dropped: map[string]uint64{}}}}
}

// Run samples until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.add(r.take(time.Now()))
		}
	}
}

// take returns the counters of now.
func (r *Recorder) take(now time.Time) sample {
	stats := r.stats()
	s := sample{at: now, dropped: stats.Dropped}
	for i := range stats.Scenarios {
		one := &stats.Scenarios[i]
		s.late += one.Late
		s.missed += one.Missed
		if one.Interval > 0 {
			s.perSecond += 1 / one.Interval.Seconds()
		}
	}
	return s
}

// add keeps a sample, and as many before it as the window needs.
func (r *Recorder) add(s sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
	for len(r.samples) > 1 && s.at.Sub(r.samples[1].at) >= Window {
		r.samples = r.samples[1:]
	}
}

// Counts returns what was added in the window that ends now.
func (r *Recorder) Counts() Counts {
	now := r.take(time.Now())
	r.mu.Lock()
	first := r.samples[0]
	for _, s := range r.samples[1:] {
		if now.at.Sub(s.at) < Window {
			break
		}
		first = s
	}
	r.mu.Unlock()
	window := now.at.Sub(first.at)
	c := Counts{Window: state.Seconds(window.Round(time.Second)), Due: uint64(now.perSecond * max(0, window.Seconds())), Late: added(first.late, now.late), Missed: added(first.missed, now.missed), Dropped: map[string]uint64{}}
	for name, n := range now.dropped {
		if n = added(first.dropped[name], n); n > 0 {
			c.Dropped[name] = n
		}
	}
	return c
}

// added returns how much a counter has grown. A reload may take scenarios away together with what they counted.
func added(before, now uint64) uint64 {
	if now < before {
		return 0
	}
	return now - before
}
