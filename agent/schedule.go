package agent

import (
	"cmp"
	"hash/fnv"
	"math/bits"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// A scenario is due once an interval, at an offset that depends on the scenarios of the agent and on its name alone. So a
// restart moves nothing, and agents that watch the same site ask it at different times.
//
// Offsets lie on a grid, and its slots are filled evenly. A hash of its identity says which slot a scenario wants. A slot has
// room for as many as it would have on average. Those that find theirs full come into the next one, in the order of their
// hashes. So a scenario that is added moves some of the others by one slot. It moves some by a few slots when it raises the
// average to the next whole number. Short intervals are placed first, and count in each slot of a longer interval that they
// meet.

// grid is the size of a slot. With a thousand scenarios the machine wakes a hundred times a second instead of a thousand times,
// which saves a quarter of the CPU time of a loop of bare requests (bench/README.md, "The whole agent"). A coarser grid saves
// more, and makes reported times less true (docs/architecture.md).
const grid = 10 * time.Millisecond

// spread sets the offset of each entry. name distinguishes agents.
func spread(entries []*entry, name string) {
	byInterval := make(map[time.Duration][]*entry)
	for _, e := range entries {
		hash := hashOf(e.plan.Identity, name)
		e.offset = time.Duration(scale(hash, uint64(e.plan.Interval))) //nolint:gosec // below interval, so it fits
		if e.plan.Interval >= 10*grid && e.plan.Interval%grid == 0 {
			byInterval[e.plan.Interval] = append(byInterval[e.plan.Interval], e)
		} // otherwise a slot would be too coarse, or due times would leave the grid
	}
	var all []*slots
	intervals := make([]time.Duration, 0, len(byInterval))
	for interval := range byInterval {
		intervals = append(intervals, interval)
	}
	slices.Sort(intervals)
	for _, interval := range intervals {
		group := byInterval[interval]
		slices.SortStableFunc(group, func(a, b *entry) int { return cmp.Compare(a.offset, b.offset) })
		wanted := make([]int64, len(group))
		for i, e := range group {
			wanted[i] = int64(e.offset / grid)
		}
		s := newSlots(int64(interval/grid), len(group), all)
		for i, slot := range s.place(wanted) {
			group[i].offset = time.Duration(slot) * grid
		}
		if len(all) < intervalsMax {
			all = append(all, s)
		}
	}
}

// intervalsMax is how many intervals, the shortest, count when the scenarios of a longer one are placed. It keeps the work
// linear.
const intervalsMax = 32

// slots are the slots of one interval.
type slots struct {
	n         int64         // number
	scenarios int64         // of this interval
	room      int64         // of each, for shorter intervals, too
	taken     map[int64]int // by slot
	shorter   []*slots      // of which this interval is a multiple
}

// newSlots returns the empty slots of an interval. all has those of shorter ones.
func newSlots(n int64, scenarios int, all []*slots) *slots {
	s := &slots{n: n, scenarios: int64(scenarios)}
	runs := s.scenarios // in one interval
	for _, other := range all {
		if n%other.n == 0 { // another interval meets all of these slots in turn, so it tells none from another
			s.shorter = append(s.shorter, other)
			runs += other.scenarios * (n / other.n)
		}
	}
	s.room = (runs + n - 1) / n
	return s
}

// free returns how much room a slot has left.
func (s *slots) free(slot int64) int64 {
	free := s.room - int64(s.taken[slot])
	for _, other := range s.shorter {
		free -= int64(other.taken[slot%other.n])
	}
	return free
}

// place returns a slot for each scenario. wanted is sorted.
func (s *slots) place(wanted []int64) []int64 {
	placed, from := s.fill(wanted, 0)
	if from > 0 { // at the end, some had to begin again with the first slots, which others wanted more
		placed, _ = s.fill(wanted, from)
	}
	return placed
}

// fill places the scenarios one after another from the index on. If some of the last ones come into slots before those that
// the first ones wanted, next is the index after the last slot that was not filled; otherwise it is 0. From there on, all
// of them fit in their order.
func (s *slots) fill(wanted []int64, from int) (placed []int64, next int) {
	s.taken = make(map[int64]int, len(wanted))
	placed = make([]int64, len(wanted))
	last, at := from, wanted[from] // at is not reduced modulo n
	for i := range wanted {
		index := (from + i) % len(wanted)
		want := wanted[index]
		if index < from {
			want += s.n
		}
		if want > at {
			if s.free(at%s.n) > 0 || want > at+1 {
				last = index
			}
			at = want
		}
		for s.free(at%s.n) <= 0 {
			at++
		}
		placed[index] = at % s.n
		s.taken[at%s.n]++
	}
	if at < s.n+wanted[from] {
		return placed, 0
	}
	return placed, last
}

// hashOf returns a hash of a scenario and the agent that runs it.
func hashOf(identity result.Identity, name string) uint64 {
	h := fnv.New64a()
	for _, part := range []string{identity.File, identity.Feature, identity.Scenario, identity.Example, name} {
		_, _ = h.Write([]byte(part)) // a hash returns no error
		_, _ = h.Write([]byte{0})
	}
	return scramble(h.Sum64())
}

// scramble mixes the bits of FNV, whose high bits hardly depend on the last bytes of names that differ only in a digit (the
// finaliser of splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
func scramble(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// scale returns the place of a hash among n equal parts of all hashes, so that the order of hashes is that of the places.
func scale(hash, n uint64) uint64 {
	place, _ := bits.Mul64(hash, n)
	return place
}

// first returns the first due time at or after now. Later due times add the interval, on the monotonic clock, so that
// a step of the wall clock causes neither a pause nor a burst of runs.
func (e *entry) first(now time.Time) time.Time {
	interval := e.plan.Interval
	wait := (e.offset - time.Duration(now.UnixNano()%int64(interval))) % interval
	if wait < 0 {
		wait += interval
	}
	return now.Add(wait)
}
