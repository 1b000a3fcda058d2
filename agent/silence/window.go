package silence

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	_ "time/tzdata" // for machines without the time zone database
)

// Window is a maintenance window of the configuration: scenarios, and when their alerts are not told. Its methods may be called
// from any goroutine.
type Window struct {
	Name     string
	Matchers Matchers
	Line     int // in the configuration; for messages

	matcher *matcher
	rules   []rule
	spec    WindowSpec
	seen    atomic.Pointer[seen]
}

// rule is one way in which a window occurs.
type rule interface {
	after(time.Time) (first span, ok bool) // the occurrence that ends after a moment, and of those the one that begins first
	around(time.Time) []span               // all that hold, begin or end at a moment
}

// seen is the answer of Next for a moment, which is the same for a while.
type seen struct {
	from  time.Time
	found span
	ok    bool
}

// WindowSpec is a window as it is written in the configuration.
type WindowSpec struct {
	Name      string     `yaml:"name"`
	Scenarios Matchers   `yaml:"scenarios"`
	When      []WhenSpec `yaml:"when"`
}

// WhenSpec is a calendar rule, in the words of Alertmanager's time intervals, or a single period. A list that is empty does not
// limit when the rule holds.
type WhenSpec struct {
	Times       []TimesSpec `yaml:"times"`         // of the day
	Weekdays    Values      `yaml:"weekdays"`      // "monday", "monday:friday"
	DaysOfMonth Values      `yaml:"days_of_month"` // "1", "1:7", "-1" for the last
	Months      Values      `yaml:"months"`        // "march", "3", "november:february"
	Years       Values      `yaml:"years"`         // "2027", "2027:2029"
	Location    string      `yaml:"location"`      // a name of the time zone database, or "Local"; default: UTC

	From  string `yaml:"from"`  // "2026-12-24 22:00" in Location, or with an offset (RFC 3339)
	Until string `yaml:"until"` // the first moment after it
}

// TimesSpec is a part of the day. If the end is not after the start, it is on the next day.
type TimesSpec struct {
	Start string `yaml:"start_time"` // "22:00"
	End   string `yaml:"end_time"`   // "04:00", also "24:00"
}

// The bounds of a configuration.
const (
	windowsMost = 200 // windows
	rulesMost   = 50  // rules of one window, and values of one list
	spanMost    = 10 * 365 * 24 * time.Hour
)

// Refuse reports a mistake in a setting below the window's, such as ".when[0].times[1].start_time".
type Refuse func(setting, format string, args ...any)

// NewWindows checks the windows of a configuration and returns those without mistakes. now is for rules that hold always.
func NewWindows(specs []WindowSpec, now time.Time, refuse Refuse) []*Window {
	if len(specs) > windowsMost {
		refuse("", "has %d windows, more than %d: put several rules into the when of one", len(specs), windowsMost)
		return nil
	}
	var all []*Window
	names := make(map[string]bool)
	for i, spec := range specs {
		bad := false
		its := func(setting, format string, args ...any) {
			bad = true
			refuse(fmt.Sprintf("[%d]%s", i, setting), format, args...)
		}
		switch problem := badText(spec.Name, authorMost); {
		case problem == "is empty":
			its(".name", "is missing: an alert that is not told names the window")
		case problem != "":
			its(".name", "%s", problem)
		case names[spec.Name]:
			its(".name", "%q is the name of another window, too: each needs its own", spec.Name)
		}
		names[spec.Name] = true
		if w := newWindow(spec, now, its); !bad {
			all = append(all, w)
		}
	}
	return all
}

func newWindow(spec WindowSpec, now time.Time, refuse Refuse) *Window {
	w := &Window{Name: spec.Name, Matchers: spec.Scenarios, spec: spec}
	m, err := spec.Scenarios.compile()
	if err != nil {
		setting, problem := ".scenarios", err.Error()
		if field := (*FieldError)(nil); errors.As(err, &field) && field.Field != "" {
			setting, problem = setting+"."+field.Field, field.Problem
		}
		refuse(setting, "%s", problem)
	}
	w.matcher = m
	switch {
	case len(spec.When) == 0:
		refuse(".when", "is missing: say when the window is, with times, weekdays, days_of_month, months or years, or from and until")
	case len(spec.When) > rulesMost:
		refuse(".when", "has %d rules, more than %d", len(spec.When), rulesMost)
		return w
	}
	bad := false
	for i, when := range spec.When {
		r := newRule(when, func(setting, format string, args ...any) {
			bad = true
			refuse(fmt.Sprintf(".when[%d]%s", i, setting), format, args...)
		})
		w.rules = append(w.rules, r)
	}
	if bad {
		return w
	}
	if found, ok := w.find(now); ok && found.end.Sub(found.start) >= spanMost {
		refuse(".when", "the window would last ten years or longer, and nobody would hear of an alert: limit it, remove the scenarios, or tag them @manual")
	}
	return w
}

// newRule checks and converts a rule.
func newRule(spec WhenSpec, refuse Refuse) rule {
	location, err := zone(spec.Location)
	if err != nil {
		refuse(".location", "%v", err)
		location = time.UTC
	}
	lists := []struct {
		name   string
		values Values
	}{{"times", make(Values, len(spec.Times))}, {"weekdays", spec.Weekdays}, {"days_of_month", spec.DaysOfMonth}, {"months", spec.Months}, {"years", spec.Years}}
	calendarSet := false
	for _, l := range lists {
		calendarSet = calendarSet || len(l.values) > 0
		if len(l.values) > rulesMost {
			refuse("."+l.name, "has %d values, more than %d", len(l.values), rulesMost)
			return nil
		}
	}
	period := spec.From != "" || spec.Until != ""
	switch {
	case period && calendarSet:
		refuse("", "has from or until and a calendar rule: write them as two elements of the list, because each holds alone")
		return nil
	case period:
		return newPeriod(spec, location, refuse)
	case !calendarSet:
		refuse("", "says no time, so it would hold always: set times, weekdays, days_of_month, months or years, or from and until")
		return nil
	}
	c := &calendar{location: location}
	bad := false
	its := func(setting, format string, args ...any) {
		bad = true
		refuse(setting, format, args...)
	}
	for i, t := range spec.Times {
		c.times = append(c.times, newDayTime(t, func(setting, format string, args ...any) {
			its(fmt.Sprintf(".times[%d]%s", i, setting), format, args...)
		}))
	}
	slices.SortFunc(c.times, func(a, b dayTime) int { return a.start - b.start })
	read := func(name string, values Values, parse func(string) (interval, error)) (all []interval) {
		for i, v := range values {
			r, err := parse(v)
			if err != nil {
				its(fmt.Sprintf(".%s[%d]", name, i), "%v", err)
			}
			all = append(all, r)
		}
		return all
	}
	c.weekdays = read("weekdays", spec.Weekdays, parseWeekdays)
	c.days = read("days_of_month", spec.DaysOfMonth, parseDays)
	c.months = read("months", spec.Months, parseMonths)
	c.years = read("years", spec.Years, parseYears)
	if bad {
		return nil
	}
	if _, ever := c.next(0); !ever {
		refuse("", "never occurs: no date has one of its weekdays, days_of_month, months and years at once")
		return nil
	}
	return c
}

// zone returns a time zone by its name.
func zone(name string) (*time.Location, error) {
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf(`%q is not a name of the time zone database: write it as "Europe/Berlin", "UTC", or "Local" for the zone of this machine`, name)
	}
	return location, nil
}

// newPeriod reads a single period.
func newPeriod(spec WhenSpec, location *time.Location, refuse Refuse) rule {
	switch {
	case spec.Until == "":
		refuse(".until", "is missing: say when the window ends")
		return nil
	case spec.From == "":
		refuse(".from", "is missing: say when the window begins")
		return nil
	}
	from, err := moment(spec.From, location, false)
	if err != nil {
		refuse(".from", "%v", err)
	}
	until, failed := moment(spec.Until, location, true)
	if failed != nil {
		refuse(".until", "%v", failed)
	}
	if err != nil || failed != nil {
		return nil
	}
	if !from.Before(until) {
		refuse(".until", "%s is not after from, %s, so the window never occurs", spec.Until, spec.From)
		return nil
	}
	return span{from, until}
}

// moment reads a time in a location, or one with an offset. Of a time that the clock shows twice it returns the first, or the
// last.
func moment(text string, location *time.Location, last bool) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		c := calendar{location: location}
		s := c.clock(dateOf(t), t.Hour()*60+t.Minute())
		switch {
		case !s.shown && layout == "2006-01-02":
			return s.jump, nil
		case !s.shown:
			return time.Time{}, fmt.Errorf("%s does not exist in %s: the clock jumps to %s there; write a time that it shows", text, location, s.jump.In(location).Format("15:04"))
		case last:
			return s.last, nil
		}
		return s.first, nil
	}
	return time.Time{}, fmt.Errorf(`%q is not a time: write it as "2026-12-24 22:00", or with an offset as "2026-12-24T22:00:00+01:00"`, text)
}

func newDayTime(spec TimesSpec, refuse Refuse) (d dayTime) {
	valid := true
	parse := func(setting, text string, most int) int {
		minutes, ok := parseClock(text)
		switch {
		case text == "":
			refuse("."+setting, `is missing: write it as "22:00"`)
		case !ok || minutes > most:
			refuse("."+setting, `%q is not a time of day: write it as "22:00", with two digits each; the end may be "24:00"`, text)
		default:
			return minutes
		}
		valid = false
		return 0
	}
	d = dayTime{parse("start_time", spec.Start, dayMinutes-1), parse("end_time", spec.End, dayMinutes)}
	if valid && d.start == d.end {
		refuse("", `start_time and end_time are both %s, so it never occurs: for the whole day write "00:00" and "24:00"`, spec.Start)
	}
	return d
}

// parseClock reads "HH:MM" up to "24:00".
func parseClock(text string) (minutes int, ok bool) {
	if len(text) != len("00:00") || text[2] != ':' {
		return 0, false
	}
	hour, err := strconv.ParseUint(text[:2], 10, 8)
	minute, bad := strconv.ParseUint(text[3:], 10, 8)
	minutes = int(hour*60 + minute) //nolint:gosec // both have two digits
	return minutes, err == nil && bad == nil && minute < 60 && minutes <= dayMinutes
}

// parseRange reads "a" or "a:b".
func parseRange(text string, value func(string) (int, bool), want string) (r interval, err error) {
	first, last, two := strings.Cut(text, ":")
	begin, ok := value(strings.ToLower(strings.TrimSpace(first)))
	end := begin
	if two && ok {
		end, ok = value(strings.ToLower(strings.TrimSpace(last)))
	}
	if !ok {
		return r, fmt.Errorf("%q is not %s", text, want)
	}
	return interval{begin, end}, nil
}

// named returns the place of a name in a list.
func named(names []string, from int) func(string) (int, bool) {
	return func(text string) (int, bool) {
		i := slices.Index(names, text)
		return i + from, i >= 0
	}
}

// number reads a whole number in a range.
func number(least, most int) func(string) (int, bool) {
	return func(text string) (int, bool) {
		n, err := strconv.Atoi(text)
		return n, err == nil && n >= least && n <= most && !strings.HasPrefix(text, "+")
	}
}

func parseWeekdays(text string) (interval, error) {
	names := []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
	return parseRange(text, named(names, 0), `a weekday: write "monday", or "monday:friday" for several`)
}

func parseMonths(text string) (interval, error) {
	names := []string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}
	value := func(text string) (int, bool) {
		if n, ok := named(names, 1)(text); ok {
			return n, true
		}
		return number(1, 12)(text)
	}
	return parseRange(text, value, `a month: write "march" or 3, or "november:february" for several`)
}

func parseYears(text string) (interval, error) {
	r, err := parseRange(text, number(1970, 9999), `a year: write 2027, or "2027:2029" for several`)
	if err == nil && r.begin > r.end {
		err = fmt.Errorf("%q ends before it begins: write the earlier year first", text)
	}
	return r, err
}

func parseDays(text string) (interval, error) {
	r, err := parseRange(text, number(-31, 31), `a day of the month: write 1 to 31, -1 for the last, or "1:7" for several`)
	switch {
	case err != nil:
	case r.begin == 0 || r.end == 0:
		err = fmt.Errorf("%q has the day 0: the first day is 1, and the last one -1", text)
	case r.begin < 0 && r.end > 0:
		err = fmt.Errorf("%q goes over the end of the month: write two, \"%d:-1\" and \"1:%d\"", text, r.begin, r.end)
	case r.begin < 0 && r.begin > r.end:
		err = fmt.Errorf("%q ends before it begins: write \"%d:%d\"", text, r.end, r.begin)
	case r.end > 0 && r.begin > r.end:
		err = fmt.Errorf("%q ends before it begins: write \"%d:%d\", or \"%d:31\" and \"1:%d\" for both ends of the month", text, r.end, r.begin, r.begin, r.end)
	}
	return r, err
}

// Next returns when the window is: the occurrence that holds at a moment, or else the next one. Occurrences without a pause
// between them are one. If ok is false, the window does not occur any more.
func (w *Window) Next(now time.Time) (start, end time.Time, ok bool) {
	s := w.seen.Load()
	if s == nil || now.Before(s.from) || s.ok && !now.Before(s.found.end) {
		found, ok := w.find(now)
		s = &seen{from: now, found: found, ok: ok}
		if ok && found.start.Before(now) {
			s.from = found.start
		}
		w.seen.Store(s)
	}
	return s.found.start, s.found.end, s.ok
}

// at returns the occurrence that holds at a moment.
func (w *Window) at(now time.Time) (start, end time.Time, in bool) {
	start, end, ok := w.Next(now)
	return start, end, ok && !now.Before(start)
}

func (w *Window) find(now time.Time) (found span, ok bool) {
	for _, r := range w.rules {
		if s, occurs := r.after(now); occurs && (!ok || s.start.Before(found.start)) {
			found, ok = s, true
		}
	}
	for grown := ok; grown && found.end.Sub(found.start) < spanMost; {
		grown = false
		for _, r := range w.rules {
			for _, s := range r.around(found.end) {
				if !s.start.After(found.end) && s.end.After(found.end) {
					found.end, grown = s.end, true
				}
			}
			for _, s := range r.around(found.start) {
				if !s.end.Before(found.start) && s.start.Before(found.start) && s.end.After(s.start) {
					found.start, grown = s.start, true
				}
			}
		}
	}
	return found, ok
}

// Selects reports whether the window is about a scenario.
func (w *Window) Selects(s Subject) bool {
	return w.matcher.match(&subject{id: &s.Identity, tags: s.Tags})
}

// AssumesUTC reports whether the window has times of day or dates and no location, so that they are those of UTC.
func (w *Window) AssumesUTC() bool {
	return slices.ContainsFunc(w.spec.When, func(s WhenSpec) bool {
		_, offset := time.Parse(time.RFC3339, s.From)
		return s.Location == "" && !(s.From != "" && offset == nil)
	})
}

// Occurrence is a window with its current or next time.
type Occurrence struct {
	Name     string    `json:"name"`
	Matchers Matchers  `json:"matchers"`
	Active   bool      `json:"active"`
	Start    time.Time `json:"start,omitzero"` // zero if the window does not occur any more
	End      time.Time `json:"end,omitzero"`
}

// Windows returns the maintenance windows with their current or next times.
func (b *Book) Windows(now time.Time) []Occurrence {
	windows := *b.windows.Load()
	all := make([]Occurrence, 0, len(windows))
	for _, w := range windows {
		o := Occurrence{Name: w.Name, Matchers: w.Matchers}
		if start, end, ok := w.Next(now); ok {
			o.Active, o.Start, o.End = !now.Before(start), start, end
		}
		all = append(all, o)
	}
	return all
}
