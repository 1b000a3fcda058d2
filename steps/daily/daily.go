// Package daily says when something that comes once a day was due, and what became of it. Days are those of a time zone, with
// its changes to and from summer time.
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
	return Clock{}, fmt.Errorf("%q is no time of day: write it as 06:30", s)
}

// String gives "06:30".
func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", c.Hour, c.Minute) }

func (c Clock) before(o Clock) bool { return c.Hour*60+c.Minute < o.Hour*60+o.Minute }

// on gives the moment when clocks show c on a day, of which the month's number may be out of its range. Where clocks are put
// forward over c it is the moment when they are. Where they show c twice last decides which.
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

// Window is when something is to come, every day: from From until By, which is the next day's when it is not behind From.
type Window struct {
	From, By Clock
	Zone     *time.Location
}

// Span is the window of one day.
type Span struct{ From, By time.Time }

// holds says whether t lies in the span, its ends included.
func (s Span) holds(t time.Time) bool { return !t.Before(s.From) && !t.After(s.By) }

// Spans gives the last span that was over at now, which something must have come in, and the next one.
func (w Window) Spans(now time.Time) (due, next Span) {
	year, month, day := now.In(w.Zone).Date()
	due, next = w.span(year, month, day), w.span(year, month, day+1)
	if due.By.After(now) {
		due, next = w.span(year, month, day-1), due
	}
	return due, next
}

// span is the one that ends on a day.
func (w Window) span(year int, month time.Month, day int) Span {
	first := day
	if !w.From.before(w.By) {
		first--
	}
	return Span{w.From.on(year, month, first, w.Zone, false), w.By.on(year, month, day, w.Zone, true)}
}

// State is what became of it.
type State int

// The states.
const (
	InTime  State = iota // it came within its span
	WasLate              // it came behind its span, and the next one has begun, so that the next is what counts
	Late                 // it came behind its span
	Missing              // it did not come
)

// Verdict is what arrivals make of a window.
type Verdict struct {
	State State
	Span  Span          // which it is about
	At    time.Time     // of the arrival; zero when it is missing
	Late  time.Duration // behind the span's end: of the arrival, or of now when it is missing; zero when it came in time
	Next  time.Time     // when the next one is due
}

// Judge judges what came until now. A span that is not over yet needs nothing in it, but is what counts once something is.
// Until then the one before counts, and stays missing until the next one comes.
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
	for _, at := range slices.Backward(sorted) { // the first that came behind it
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
