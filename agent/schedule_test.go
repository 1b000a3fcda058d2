package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// scheduled returns the entries of n scenarios with an interval, whose names begin with name.
func scheduled(name string, n int, every time.Duration) []*entry {
	all := make([]*entry, n)
	for i := range all {
		all[i] = &entry{plan: watched(fmt.Sprintf("%s %d", name, i), "Web", every, every, 0)}
	}
	return all
}

// offsets returns the offset of each scenario after spread.
func offsets(entries []*entry, agent string) map[string]time.Duration {
	spread(entries, agent)
	all := make(map[string]time.Duration, len(entries))
	for _, e := range entries {
		all[e.plan.Identity.Scenario] = e.offset
	}
	return all
}

func TestRestartDoesNotMoveTheSchedule(t *testing.T) {
	entries := append(scheduled("a", 200, time.Minute), scheduled("b", 100, time.Second)...)
	before := offsets(entries, "eu-1")
	for range 10 {
		rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] }) // as another order of files
		for name, offset := range offsets(entries, "eu-1") {
			if offset != before[name] {
				t.Fatalf("%s is due at %s, and at %s in another order", name, before[name], offset)
			}
		}
	}
	now := time.Unix(1_800_000_000, 123_456_789)
	for _, e := range entries[:10] {
		first := e.first(now)
		for range 100 {
			now = now.Add(7919 * time.Millisecond)
			if off := e.first(now).Sub(first) % e.plan.Interval; off != 0 {
				t.Fatalf("after a restart at %s the run is due %s off", now, off)
			}
			if wait := e.first(now).Sub(now); wait < 0 || wait >= e.plan.Interval {
				t.Fatalf("first run in %s", wait)
			}
		}
	}
}

// TestSlotsAreFilledEvenly holds how many scenarios are due in one slot of the grid, at any time, for sets of intervals.
func TestSlotsAreFilledEvenly(t *testing.T) {
	for name, test := range map[string]struct {
		entries []*entry
		most    int
	}{
		"a thousand a second":      {scheduled("s", 1000, time.Second), 10},
		"one more":                 {scheduled("s", 1001, time.Second), 11},
		"as many as slots":         {scheduled("s", 100, time.Second), 1},
		"few":                      {scheduled("s", 7, time.Second), 1},
		"ten thousand a minute":    {scheduled("m", 10_000, time.Minute), 2},
		"intervals that share":     {slices.Concat(scheduled("s", 50, time.Second), scheduled("t", 500, 10*time.Second), scheduled("m", 2900, time.Minute), scheduled("f", 500, 5*time.Minute)), 2},
		"shorter ones first":       {slices.Concat(scheduled("m", 3000, time.Minute), scheduled("s", 50, time.Second)), 1},
		"some with a long one":     {slices.Concat(scheduled("d", 3, 24*time.Hour), scheduled("s", 1000, time.Second)), 11},
		"neither divides":          {slices.Concat(scheduled("a", 200, 2*time.Second), scheduled("b", 300, 3*time.Second)), 2},
		"an interval off the grid": {slices.Concat(scheduled("s", 100, time.Second), scheduled("o", 1, 1005*time.Millisecond)), 2},
	} {
		spread(test.entries, "")
		perSlot := make(map[time.Duration]int)
		most := 0
		for _, e := range test.entries {
			if e.offset < 0 || e.offset >= e.plan.Interval {
				t.Fatalf("%s: an offset of %s in %s", name, e.offset, e.plan.Interval)
			}
			for due := e.offset; due < 5*time.Minute || due == e.offset; due += e.plan.Interval {
				perSlot[due.Truncate(grid)]++
				most = max(most, perSlot[due.Truncate(grid)])
			}
		}
		if most > test.most {
			t.Errorf("%s: %d are due in one slot, want at most %d", name, most, test.most)
		}
	}
}

// TestAddedScenarioMovesFewOthers holds how far a scenario moves when others are added.
func TestAddedScenarioMovesFewOthers(t *testing.T) {
	for name, test := range map[string]struct {
		n, more  int
		every    time.Duration
		furthest time.Duration
		moved    int
	}{
		"where there is room":  {990, 1, time.Second, grid, 200},
		"where they are few":   {20, 1, time.Minute, 0, 0},
		"ten thousand":         {9990, 1, time.Minute, grid, 200},
		"one more than fit":    {1000, 1, time.Second, 10 * grid, 1000},
		"many more":            {1000, 500, time.Second, 10 * grid, 1000},
		"of a longer interval": {1000, 1, time.Hour, 0, 0},
	} {
		base := scheduled("a", test.n, test.every)
		added := scheduled("b", test.more, test.every)
		if name == "of a longer interval" {
			base = scheduled("a", test.n, time.Second)
		}
		before := offsets(base, "eu-1")
		after := offsets(append(base, added...), "eu-1")
		moved, furthest := 0, time.Duration(0)
		for scenario, offset := range before {
			every := base[0].plan.Interval
			by := (after[scenario] - offset).Abs()
			if by = min(by, every-by); by > 0 {
				moved++
			}
			furthest = max(furthest, by)
		}
		t.Logf("%s: %d of %d moved, by at most %s", name, moved, len(before), furthest)
		if furthest > test.furthest || moved > test.moved {
			t.Errorf("%s: %d of %d moved, by at most %s; want %d and %s", name, moved, len(before), furthest, test.moved, test.furthest)
		}
	}
}

// TestAgentsAskAtDifferentTimes holds that agents with the same scenarios do not ask all at once.
func TestAgentsAskAtDifferentTimes(t *testing.T) {
	one, other := offsets(scheduled("a", 600, time.Minute), "eu-1"), offsets(scheduled("a", 600, time.Minute), "eu-2")
	near := 0
	for name, offset := range one {
		if (other[name] - offset).Abs() < time.Second {
			near++
		}
	}
	if near > 60 { // 20 on average
		t.Errorf("%d of 600 scenarios are due within a second in both agents", near)
	}
	if spread := scheduled("a", 1, 50*time.Millisecond); offsets(spread, "eu-1")["a 0"]%grid == 0 {
		t.Error("a slot is a tenth of an interval of 50ms and more")
	}
}

// TestWhoWaitsStartsWhenAPlaceIsFree holds that a run that waits for the end of another does not wait for the next due time.
func TestWhoWaitsStartsWhenAPlaceIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRunner{took: constant(3 * time.Millisecond)}
		all := plans(2, time.Minute, 1)
		a := &Agent{Runner: f, Plans: all, Limits: Limits{Workers: 1}}
		a.init()
		for _, e := range a.entries { // both are due at once, and one has to wait
			e.offset = 30 * time.Second
		}
		runFor(a, 3*time.Minute-time.Second)
		one, other := f.starts["scenario 0"], f.starts["scenario 1"]
		if len(one) != 3 || len(other) != 3 {
			t.Fatalf("%d and %d runs", len(one), len(other))
		}
		for i := range one {
			if apart := other[i].Sub(one[i]).Abs(); apart != 3*time.Millisecond {
				t.Errorf("the one that waited started %s after the other, want 3ms", apart)
			}
		}
	})
}
