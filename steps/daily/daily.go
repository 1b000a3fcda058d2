// Package daily computes when a daily event was due, and whether it came in time. Days are those of a time zone, with
// its daylight saving time.
package daily

import (
	"fmt"
	"slices"
	"time"
)

// Clock is a time of day.
type Clock struct{ Hour, Minute int }

// ParseClock reads "06:30", from 00:00 to 23:59.
func ParseClock(s string) (Clock, error) {
	t, err := time.Parse("15:04", s)
	if c := (Clock{t.Hour(), t.Minute()}); err == nil && c.String() == s {
		return c, nil
	}
	return Clock{}, fmt.Errorf("%q is not a time of day: write it as 06:30", s)
}

// String returns the time in the form "06:30".
func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", c.Hour, c.Minute) }

func (c Clock) before(o Clock) bool { return c.Hour*60+c.Minute < o.Hour*60+o.Minute }

// on returns the moment when clocks show c on a day. The number of the day may be out of the month's range. If clocks
// skip c, on returns the moment when they do. If they show c twice, last selects the second one.
func (c Clock) on(year int, month time.Month, day int, zone *time.Location, last bool) time.Time {
	t := time.Date(year, month, day, c.Hour, c.Minute, 0, 0, zone)
	from, to := t.ZoneBounds()
	if shown := (Clock{t.Hour(), t.Minute()}); shown != c {
		if shown.before(c) {
			return to.In(zone)
		}
		return from.In(zone)
	}
	_, offset := t.Zone()
	same := func(neighbour time.Time) (again time.Time, twice bool) {
		_, other := neighbour.Zone()
		again = t.Add(time.Duration(offset-other) * time.Second)
		return again, other != offset && again.Day() == t.Day() && again.Hour() == c.Hour && again.Minute() == c.Minute
	}
	if again, twice := same(to); last && !to.IsZero() && twice && again.After(t) {
		return again
	}
	if again, twice := same(from.Add(-time.Second)); !last && !from.IsZero() && twice && again.Before(t) {
		return again
	}
	return t
}

// Window is the daily window of an event: from From until By, which is on the next day when it is not after From.
type Window struct {
	From, By Clock
	Zone     *time.Location
}

// Span is the window of one day.
type Span struct{ From, By time.Time }

// holds reports whether t is in the span, including its ends.
func (s Span) holds(t time.Time) bool { return !t.Before(s.From) && !t.After(s.By) }

// Spans returns the last span that is over at now, in which the event was due, and the next span.
func (w Window) Spans(now time.Time) (due, next Span) {
	year, month, day := now.In(w.Zone).Date()
	due, next = w.span(year, month, day), w.span(year, month, day+1)
	if due.By.After(now) {
		due, next = w.span(year, month, day-1), due
	}
	return due, next
}

// span returns the span that ends on a day.
func (w Window) span(year int, month time.Month, day int) Span {
	first := day
	if !w.From.before(w.By) {
		first--
	}
	return Span{w.From.on(year, month, first, w.Zone, false), w.By.on(year, month, day, w.Zone, true)}
}

// State is the state of an event.
type State int

// The states.
const (
	InTime  State = iota // it came in its span
	WasLate              // it came after its span, but the next span has begun and now counts
	Late                 // it came after its span
	Missing              // it has not come
)

// Verdict is the result of Judge.
type Verdict struct {
	State State
	Span  Span          // the span that counts
	At    time.Time     // of the arrival; zero when it is missing
	Late  time.Duration // from the span's end to the arrival, or to now when it is missing; zero when it came in time
	Next  time.Time     // when the next one is due
}

// Judge checks the arrivals until now. A span that is not over counts only when something has arrived in it. Until then
// the previous span counts, and an arrival missing in it stays missing.
func (w Window) Judge(now time.Time, arrivals []time.Time) Verdict {
	due, next := w.Spans(now)
	sorted := slices.SortedFunc(slices.Values(arrivals), func(a, b time.Time) int { return b.Compare(a) })
	in := func(s Span) (at time.Time, found bool) {
		i := slices.IndexFunc(sorted, s.holds)
		if i < 0 {
			return time.Time{}, false
		}
		return sorted[i], true
	}
	if at, found := in(next); found {
		_, after := w.Spans(next.By)
		return Verdict{InTime, next, at, 0, after.By}
	}
	if at, found := in(due); found {
		return Verdict{InTime, due, at, 0, next.By}
	}
	for _, at := range slices.Backward(sorted) { // the first one after the span
		if at.After(due.By) && at.Before(next.From) {
			state := Late
			if !now.Before(next.From) {
				state = WasLate
			}
			return Verdict{state, due, at, at.Sub(due.By), next.By}
		}
	}
	return Verdict{Missing, due, time.Time{}, now.Sub(due.By), next.By}
}
