package recent_test

import (
	"context"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/recent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
)

// TestCountsForget holds that old trouble is told no more, and new trouble at once.
func TestCountsForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var missed, dropped atomic.Uint64
		r := recent.New(func() result.Stats {
			return result.Stats{Scenarios: []result.ScenarioStats{{Interval: time.Minute, Missed: missed.Load(), Late: 2 * missed.Load()}, {Interval: time.Second}, {}},
				Dropped: map[string]uint64{"history": dropped.Load(), "prometheus": 0}}
		})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go r.Run(ctx)
		want := func(what string, window time.Duration, count uint64) {
			t.Helper()
			none := recent.Counts{Window: state.Seconds(window), Due: uint64(window.Seconds() * (1 + 1./60)), Late: 2 * count, Missed: count, Dropped: map[string]uint64{}}
			if count > 0 {
				none.Dropped["history"] = count
			}
			if got := r.Counts(); !reflect.DeepEqual(got, none) {
				t.Errorf("%s: %+v, want %+v", what, got, none)
			}
		}
		add := func(n uint64) { missed.Add(n); dropped.Add(n) }
		want("at the start", 0, 0)
		time.Sleep(30 * time.Second)
		add(3)
		want("soon", 30*time.Second, 3)
		time.Sleep(14 * time.Minute)
		want("later", 14*time.Minute+30*time.Second, 3)
		time.Sleep(2 * time.Minute)
		want("when it is old", 15*time.Minute+30*time.Second, 0)
		time.Sleep(24 * time.Hour)
		add(1)
		want("the next day", 15*time.Minute+30*time.Second, 1)
		missed.Store(0)
		dropped.Store(0)
		want("after a reload without it", 15*time.Minute+30*time.Second, 0)
	})
}
