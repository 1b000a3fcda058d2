package silence

import (
	"time"
)

// span is the time from start on, without end.
type span struct{ start, end time.Time }

// A calendar rule occurs on the local dates that have one of its weekdays, of its days of the month, of its months and of its
// years; a list that is empty has all of them. On each it occurs at each of its times, or the whole day.
//
// What a window does when the clocks change follows from two rules. A time of day that the clock shows twice begins with the
// first and ends with the last, so a window in that hour lasts an hour longer. A window whose start or end the clock skips
// lasts as long as on other days, and begins at the latest when the clock jumps.
type calendar struct {
	times    []dayTime
	weekdays []interval // 0 is Sunday; the begin may be after the end
	days     []interval // of the month, from 1, or negative from its end
	months   []interval // the begin may be after the end
	years    []interval
	location *time.Location
}

// interval is a range with both ends.
type interval struct{ begin, end int }

// dayTime is a part of a day in minutes. An end up to the start is on the next day.
type dayTime struct{ start, end int }

// length returns how long it lasts when the clocks do not change.
func (d dayTime) length() time.Duration {
	minutes := d.end - d.start
	if minutes <= 0 {
		minutes += dayMinutes
	}
	return time.Duration(minutes) * time.Minute
}

const dayMinutes = 24 * 60

// date is a day of the calendar: how many days it is after the first of January 1970.
type date int

func dateOf(t time.Time) date {
	year, month, day := t.Date()
	return newDate(year, month, day)
}

func newDate(year int, month time.Month, day int) date {
	return date(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

func (d date) civil() (year int, month time.Month, day int) {
	return time.Unix(int64(d)*86400, 0).UTC().Date()
}

// weekday returns 0 for Sunday.
func (d date) weekday() int { return ((int(d)+4)%7 + 7) % 7 } // the first of January 1970 was a Thursday

// The bounds of searches in the calendar.
const (
	cycle  = 146097   // days after which the calendar repeats: 400 years
	runMax = 10 * 366 // days in a row of one occurrence
)

// in reports whether n is in one of the ranges, or there are none. Ranges of a cycle may go over its end.
func in(ranges []interval, n int) bool {
	for _, r := range ranges {
		if r.begin <= r.end && n >= r.begin && n <= r.end || r.begin > r.end && (n >= r.begin || n <= r.end) {
			return true
		}
	}
	return len(ranges) == 0
}

// on reports whether the rule occurs on a date.
func (c *calendar) on(d date) bool {
	year, month, day := d.civil()
	return in(c.years, year) && in(c.months, int(month)) && c.onDay(year, month, day) && in(c.weekdays, d.weekday())
}

// onDay reports whether a day of a month is one of the rule's.
func (c *calendar) onDay(year int, month time.Month, day int) bool {
	if len(c.days) == 0 {
		return true
	}
	most := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	from := func(n int) int {
		if n < 0 {
			return most + n + 1
		}
		return n
	}
	for _, r := range c.days {
		if day >= from(r.begin) && day <= from(r.end) {
			return true
		}
	}
	return false
}

// next returns the first date from d on at which the rule occurs, if there is one.
func (c *calendar) next(d date) (date, bool) {
	for last := d + cycle; d <= last; {
		year, month, _ := d.civil()
		switch {
		case !in(c.years, year):
			later := 0
			for _, r := range c.years {
				if r.begin > year && (later == 0 || r.begin < later) {
					later = r.begin
				}
			}
			if later == 0 {
				return 0, false
			}
			d = newDate(later, time.January, 1)
			last = d + cycle
		case !in(c.months, int(month)):
			d = newDate(year, month+1, 1)
		case c.on(d):
			return d, true
		default:
			d++
		}
	}
	return 0, false
}

// spans returns the occurrences that begin on a date. It must be one of the rule's. Of whole days it returns all in a row.
func (c *calendar) spans(d date) []span {
	if len(c.times) == 0 {
		first, last := d, d
		for d-first < runMax && c.on(first-1) {
			first--
		}
		for last-d < runMax && c.on(last+1) {
			last++
		}
		return []span{{c.begin(first), c.begin(last + 1)}}
	}
	if !c.begin(d).Before(c.begin(d + 1)) {
		return nil // the clock skipped the whole day, as on 30 December 2011 in Samoa
	}
	all := make([]span, 0, len(c.times))
	for _, t := range c.times {
		all = append(all, c.span(d, t))
	}
	return all
}

// span returns the occurrence of a part of a day.
func (c *calendar) span(d date, t dayTime) span {
	start := c.clock(d, t.start)
	at := d
	if t.end <= t.start {
		at++
	}
	end := c.clock(at, t.end)
	switch {
	case !start.shown:
		return span{start.jump, start.jump.Add(t.length())}
	case !end.shown:
		return span{start.first, start.first.Add(t.length())}
	}
	// If the end itself is shown twice, only the first one is meant, unless the minute before it is shown again, too.
	if before := c.clock(at, t.end-1); before.shown {
		return span{start.first, before.last.Add(time.Minute)}
	}
	return span{start.first, end.first}
}

// begin returns the first moment of a date.
func (c *calendar) begin(d date) time.Time {
	midnight := c.clock(d, 0)
	if !midnight.shown {
		return midnight.jump
	}
	return midnight.first
}

// shown is when a clock shows a time.
type shown struct {
	first, last time.Time // the same, unless it is shown twice
	shown       bool
	jump        time.Time // when it is skipped
}

// clock returns when the clock of the rule's location shows a minute of a date. Minutes may be less than 0 or more than a day.
func (c *calendar) clock(d date, minute int) (s shown) {
	wall := time.Unix(int64(d)*86400+int64(minute)*60, 0) // as if it were UTC
	year, month, day := wall.UTC().Date()
	near := time.Date(year, month, day, wall.UTC().Hour(), wall.UTC().Minute(), 0, 0, c.location)
	from, to := near.ZoneBounds()
	var offsets [3]int
	known := append(offsets[:0], offset(near))
	if !from.IsZero() {
		known = append(known, offset(from.Add(-1)))
	}
	if !to.IsZero() {
		known = append(known, offset(to))
	}
	for _, o := range known {
		at := wall.Add(-time.Duration(o) * time.Second).In(c.location)
		if offset(at) != o {
			continue
		}
		if !s.shown || at.Before(s.first) {
			s.first = at
		}
		if !s.shown || at.After(s.last) {
			s.last = at
		}
		s.shown = true
	}
	if s.shown {
		return s
	}
	for _, change := range [...]time.Time{from, to} {
		if change.IsZero() {
			continue
		}
		before, after := time.Duration(offset(change.Add(-1)))*time.Second, time.Duration(offset(change))*time.Second
		if !wall.Before(change.Add(before)) && wall.Before(change.Add(after)) {
			s.jump = change
			return s
		}
	}
	s.jump = near // no known zone is like this
	return s
}

// offset returns the seconds by which the clock is ahead of UTC.
func offset(t time.Time) int {
	_, seconds := t.Zone()
	return seconds
}

// after returns the occurrence that ends after a moment, and of those the one that begins first.
func (c *calendar) after(t time.Time) (first span, ok bool) {
	for d, found := c.next(dateOf(t.In(c.location)) - 2); found; d, found = c.next(d + 1) {
		for _, s := range c.spans(d) {
			if s.end.After(t) && s.end.After(s.start) && (!ok || s.start.Before(first.start)) {
				first, ok = s, true
			}
		}
		if ok {
			return first, true
		}
	}
	return span{}, false
}

// around returns the occurrences that begin on the dates around a moment.
func (c *calendar) around(t time.Time) (all []span) {
	today := dateOf(t.In(c.location))
	for d := today - 2; d <= today+1; d++ {
		if c.on(d) {
			all = append(all, c.spans(d)...)
		}
	}
	return all
}

// after implements rule for a single period.
func (s span) after(t time.Time) (span, bool) { return s, s.end.After(t) }

// around implements rule.
func (s span) around(time.Time) []span { return []span{s} }
