package silence

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// window returns a window of rules.
func window(t testing.TB, when ...WhenSpec) *Window {
	t.Helper()
	all := NewWindows([]WindowSpec{{Name: "test", Scenarios: Matchers{All: true}, When: when}}, time.Now(), func(setting, format string, args ...any) {
		t.Errorf("%+v: %s: %s", when, setting, fmt.Sprintf(format, args...))
	})
	if len(all) != 1 {
		t.Fatal("no window")
	}
	return all[0]
}

// clockOf returns a time in a zone as its clock shows it.
func clockOf(t testing.TB, zone, text string) time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", text, location)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func daily(start, end string) []TimesSpec { return []TimesSpec{{start, end}} }

// TestNext has the windows on special days. The clocks of Berlin skip 02:00 to 03:00 on 28 March 2027 and show it twice on 31
// October; those of New York skip 02:00 to 03:00 on 14 March and show 01:00 to 02:00 twice on 7 November.
func TestNext(t *testing.T) {
	const berlin, newYork = "Europe/Berlin", "America/New_York"
	for _, test := range []struct {
		name, now string // by the clock of the rule's zone
		when      []WhenSpec
		want      string // two times and the length, or "never"
	}{
		{"an ordinary day", "2027-06-01 12:00", []WhenSpec{{Times: daily("02:00", "03:00"), Location: berlin}}, "2027-06-02 02:00 CEST to 2027-06-02 03:00 CEST, 1h0m0s"},
		{"within it", "2027-06-02 02:59", []WhenSpec{{Times: daily("02:00", "03:00"), Location: berlin}}, "2027-06-02 02:00 CEST to 2027-06-02 03:00 CEST, 1h0m0s"},
		{"at its end", "2027-06-02 03:00", []WhenSpec{{Times: daily("02:00", "03:00"), Location: berlin}}, "2027-06-03 02:00 CEST to 2027-06-03 03:00 CEST, 1h0m0s"},
		{"UTC is the default", "2027-06-01 12:00", []WhenSpec{{Times: daily("02:00", "03:00")}}, "2027-06-02 02:00 UTC to 2027-06-02 03:00 UTC, 1h0m0s"},

		{"the skipped hour", "2027-03-28 01:00", []WhenSpec{{Times: daily("02:00", "03:00"), Location: berlin}}, "2027-03-28 03:00 CEST to 2027-03-28 04:00 CEST, 1h0m0s"},
		{"its second half and more", "2027-03-28 01:00", []WhenSpec{{Times: daily("02:30", "03:30"), Location: berlin}}, "2027-03-28 03:00 CEST to 2027-03-28 04:00 CEST, 1h0m0s"},
		{"until the skipped hour", "2027-03-28 00:00", []WhenSpec{{Times: daily("01:00", "02:30"), Location: berlin}}, "2027-03-28 01:00 CET to 2027-03-28 03:30 CEST, 1h30m0s"},
		{"until just before it", "2027-03-28 00:00", []WhenSpec{{Times: daily("01:00", "02:00"), Location: berlin}}, "2027-03-28 01:00 CET to 2027-03-28 03:00 CEST, 1h0m0s"},
		{"until just after it", "2027-03-28 00:00", []WhenSpec{{Times: daily("01:00", "03:00"), Location: berlin}}, "2027-03-28 01:00 CET to 2027-03-28 03:00 CEST, 1h0m0s"},
		{"over it", "2027-03-28 00:00", []WhenSpec{{Times: daily("01:00", "05:00"), Location: berlin}}, "2027-03-28 01:00 CET to 2027-03-28 05:00 CEST, 3h0m0s"},
		{"across midnight into the skipped hour", "2027-03-27 23:00", []WhenSpec{{Times: daily("23:30", "02:30"), Location: berlin}}, "2027-03-27 23:30 CET to 2027-03-28 03:30 CEST, 3h0m0s"},
		{"from the skipped hour across midnight", "2027-03-28 01:00", []WhenSpec{{Times: daily("02:30", "01:30"), Location: berlin, Years: Values{"2027"}, Months: Values{"march"}, DaysOfMonth: Values{"28"}}},
			"2027-03-28 03:00 CEST to 2027-03-29 02:00 CEST, 23h0m0s"},
		{"a short day", "2027-03-28 12:00", []WhenSpec{{Weekdays: Values{"sunday"}, Location: berlin}}, "2027-03-28 00:00 CET to 2027-03-29 00:00 CEST, 23h0m0s"},

		{"the repeated hour", "2027-10-31 01:00", []WhenSpec{{Times: daily("02:00", "03:00"), Location: berlin}}, "2027-10-31 02:00 CEST to 2027-10-31 03:00 CET, 2h0m0s"},
		{"a part of it", "2027-10-31 01:00", []WhenSpec{{Times: daily("02:15", "02:30"), Location: berlin}}, "2027-10-31 02:15 CEST to 2027-10-31 02:30 CET, 1h15m0s"},
		{"until the repeated hour", "2027-10-31 00:00", []WhenSpec{{Times: daily("01:00", "02:00"), Location: berlin}}, "2027-10-31 01:00 CEST to 2027-10-31 02:00 CEST, 1h0m0s"},
		{"from the end of it", "2027-10-31 01:00", []WhenSpec{{Times: daily("03:00", "04:00"), Location: berlin}}, "2027-10-31 03:00 CET to 2027-10-31 04:00 CET, 1h0m0s"},
		{"over the repeated hour", "2027-10-31 01:00", []WhenSpec{{Times: daily("22:00", "04:00"), Location: berlin}}, "2027-10-30 22:00 CEST to 2027-10-31 04:00 CET, 7h0m0s"},
		{"until a part of it", "2027-10-31 00:00", []WhenSpec{{Times: daily("01:00", "02:30"), Location: berlin}}, "2027-10-31 01:00 CEST to 2027-10-31 02:30 CET, 2h30m0s"},
		{"from a part of it", "2027-10-31 00:00", []WhenSpec{{Times: daily("02:30", "03:30"), Location: berlin}}, "2027-10-31 02:30 CEST to 2027-10-31 03:30 CET, 2h0m0s"},
		{"a long day", "2027-10-31 12:00", []WhenSpec{{Weekdays: Values{"sunday"}, Location: berlin}}, "2027-10-31 00:00 CEST to 2027-11-01 00:00 CET, 25h0m0s"},

		{"New York in spring", "2027-03-14 01:00", []WhenSpec{{Times: daily("02:00", "03:00"), Location: newYork}}, "2027-03-14 03:00 EDT to 2027-03-14 04:00 EDT, 1h0m0s"},
		{"New York in autumn", "2027-11-07 00:30", []WhenSpec{{Times: daily("01:00", "02:00"), Location: newYork}}, "2027-11-07 01:00 EDT to 2027-11-07 02:00 EST, 2h0m0s"},
		{"New York until 01:00", "2027-11-06 23:30", []WhenSpec{{Times: daily("00:00", "01:00"), Location: newYork}}, "2027-11-07 00:00 EDT to 2027-11-07 01:00 EDT, 1h0m0s"},

		{"across midnight", "2027-06-01 23:00", []WhenSpec{{Times: daily("22:00", "04:00"), Location: berlin}}, "2027-06-01 22:00 CEST to 2027-06-02 04:00 CEST, 6h0m0s"},
		{"across midnight, after it", "2027-06-02 03:00", []WhenSpec{{Times: daily("22:00", "04:00"), Location: berlin}}, "2027-06-01 22:00 CEST to 2027-06-02 04:00 CEST, 6h0m0s"},
		{"across midnight in spring", "2027-03-28 01:00", []WhenSpec{{Times: daily("22:00", "04:00"), Location: berlin}}, "2027-03-27 22:00 CET to 2027-03-28 04:00 CEST, 5h0m0s"},
		{"the night of a weekday is that in which it ends", "2027-06-05 00:00", []WhenSpec{{Weekdays: Values{"saturday"}, Times: daily("22:00", "04:00"), Location: berlin}},
			"2027-06-05 22:00 CEST to 2027-06-06 04:00 CEST, 6h0m0s"},
		{"the night after it", "2027-06-06 03:59", []WhenSpec{{Weekdays: Values{"saturday"}, Times: daily("22:00", "04:00"), Location: berlin}},
			"2027-06-05 22:00 CEST to 2027-06-06 04:00 CEST, 6h0m0s"},
		{"two halves of a night are one", "2027-06-01 23:00", []WhenSpec{{Times: []TimesSpec{{"22:00", "24:00"}, {"00:00", "04:00"}}, Location: berlin}},
			"2027-06-01 22:00 CEST to 2027-06-02 04:00 CEST, 6h0m0s"},
		{"two halves of a night are one, after midnight", "2027-06-02 01:00", []WhenSpec{{Times: []TimesSpec{{"00:00", "04:00"}, {"22:00", "24:00"}}, Location: berlin}},
			"2027-06-01 22:00 CEST to 2027-06-02 04:00 CEST, 6h0m0s"},

		{"a weekend", "2027-06-02 12:00", []WhenSpec{{Weekdays: Values{"saturday:sunday"}, Location: berlin}}, "2027-06-05 00:00 CEST to 2027-06-07 00:00 CEST, 48h0m0s"},
		{"a weekend in two rules", "2027-06-06 12:00", []WhenSpec{{Weekdays: Values{"sunday"}, Location: berlin}, {Weekdays: Values{"saturday"}, Location: berlin}},
			"2027-06-05 00:00 CEST to 2027-06-07 00:00 CEST, 48h0m0s"},
		{"over the end of the week", "2027-06-02 12:00", []WhenSpec{{Weekdays: Values{"Friday : Monday"}, Location: berlin}}, "2027-06-04 00:00 CEST to 2027-06-08 00:00 CEST, 96h0m0s"},
		{"the last day of a month", "2028-02-10 00:00", []WhenSpec{{DaysOfMonth: Values{"-1"}}}, "2028-02-29 00:00 UTC to 2028-03-01 00:00 UTC, 24h0m0s"},
		{"the last week of a month", "2027-02-10 00:00", []WhenSpec{{DaysOfMonth: Values{"-7:-1"}}}, "2027-02-22 00:00 UTC to 2027-03-01 00:00 UTC, 168h0m0s"},
		{"the 31st, which February has not", "2027-02-01 00:00", []WhenSpec{{DaysOfMonth: Values{"31"}}}, "2027-03-31 00:00 UTC to 2027-04-01 00:00 UTC, 24h0m0s"},
		{"a leap day", "2097-01-01 00:00", []WhenSpec{{DaysOfMonth: Values{"29"}, Months: Values{"february"}}}, "2104-02-29 00:00 UTC to 2104-03-01 00:00 UTC, 24h0m0s"},
		{"a leap day that is a Sunday", "2027-01-01 00:00", []WhenSpec{{DaysOfMonth: Values{"29"}, Months: Values{"2"}, Weekdays: Values{"sunday"}}}, "2032-02-29 00:00 UTC to 2032-03-01 00:00 UTC, 24h0m0s"},
		{"the first Sunday of a month", "2027-06-07 00:00", []WhenSpec{{DaysOfMonth: Values{"1:7"}, Weekdays: Values{"sunday"}, Times: daily("02:00", "04:00")}}, "2027-07-04 02:00 UTC to 2027-07-04 04:00 UTC, 2h0m0s"},
		{"over the end of the year", "2027-06-01 00:00", []WhenSpec{{Months: Values{"december:january"}}}, "2027-12-01 00:00 UTC to 2028-02-01 00:00 UTC, 1488h0m0s"},
		{"years", "2027-06-01 00:00", []WhenSpec{{Years: Values{"2020:2025", "2030"}, Months: Values{"march"}}}, "2030-03-01 00:00 UTC to 2030-04-01 00:00 UTC, 744h0m0s"},
		{"years that are over", "2027-06-01 00:00", []WhenSpec{{Years: Values{"2020:2025"}}}, "never"},

		{"a single period", "2026-12-01 00:00", []WhenSpec{{From: "2026-12-24 22:00", Until: "2026-12-25T04:00", Location: berlin}}, "2026-12-24 22:00 CET to 2026-12-25 04:00 CET, 6h0m0s"},
		{"a single period with an offset", "2026-12-01 00:00", []WhenSpec{{From: "2026-12-24T22:00:00+01:00", Until: "2026-12-25"}}, "2026-12-24 21:00 UTC to 2026-12-25 00:00 UTC, 3h0m0s"},
		{"a single period that is over", "2027-06-01 00:00", []WhenSpec{{From: "2026-12-24 22:00", Until: "2026-12-25 04:00"}}, "never"},
		{"a period and a rule", "2026-12-24 23:00", []WhenSpec{{From: "2026-12-24 22:00", Until: "2026-12-25 02:00"}, {Times: daily("02:00", "03:00")}}, "2026-12-24 22:00 UTC to 2026-12-25 03:00 UTC, 5h0m0s"},
		{"the next of a period and a rule", "2026-12-24 20:00", []WhenSpec{{Times: daily("03:00", "04:00")}, {From: "2026-12-24 22:00", Until: "2026-12-25 02:00"}}, "2026-12-24 22:00 UTC to 2026-12-25 02:00 UTC, 4h0m0s"},
		{"a day that begins at one o'clock", "2022-09-01 00:00", []WhenSpec{{Weekdays: Values{"sunday"}, DaysOfMonth: Values{"11"}, Location: "America/Santiago"}},
			"2022-09-11 01:00 -03 to 2022-09-12 00:00 -03, 23h0m0s"},
		{"a day that no clock showed", "2011-12-28 00:00", []WhenSpec{{DaysOfMonth: Values{"30"}, Times: daily("12:00", "13:00"), Location: "Pacific/Apia"}},
			"2012-01-30 12:00 +14 to 2012-01-30 13:00 +14, 1h0m0s"},
		{"and a whole one", "2011-12-28 00:00", []WhenSpec{{DaysOfMonth: Values{"30"}, Location: "Pacific/Apia"}}, "2012-01-30 00:00 +14 to 2012-01-31 00:00 +14, 24h0m0s"},
	} {
		w := window(t, test.when...)
		got := "never"
		if start, end, ok := w.Next(clockOf(t, test.when[0].Location, test.now)); ok {
			location, _ := zone(test.when[0].Location)
			const layout = "2006-01-02 15:04 MST"
			got = fmt.Sprintf("%s to %s, %s", start.In(location).Format(layout), end.In(location).Format(layout), end.Sub(start))
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// oracle decides by the date and the time on the wall whether a rule holds.
type oracle struct {
	spec       WhenSpec
	times      [][2]int // in minutes
	date       string
	today, was bool // whether the date and the one before it fit
}

func newOracle(s WhenSpec) *oracle {
	o := &oracle{spec: s}
	for _, t := range s.Times {
		var h1, m1, h2, m2 int
		fmt.Sscanf(t.Start+" "+t.End, "%d:%d %d:%d", &h1, &m1, &h2, &m2)
		o.times = append(o.times, [2]int{h1*60 + m1, h2*60 + m2})
	}
	return o
}

func (o *oracle) holds(at time.Time) bool {
	if date := at.Format(time.DateOnly); date != o.date {
		noon := time.Date(at.Year(), at.Month(), at.Day(), 12, 0, 0, 0, time.UTC)
		o.date, o.today, o.was = date, dayFits(o.spec, noon), dayFits(o.spec, noon.AddDate(0, 0, -1))
	}
	now := at.Hour()*60 + at.Minute()
	for _, t := range o.times {
		if t[0] < t[1] && now >= t[0] && now < t[1] && o.today || t[0] > t[1] && (now >= t[0] && o.today || now < t[1] && o.was) {
			return true
		}
	}
	return len(o.times) == 0 && o.today
}

func dayFits(s WhenSpec, at time.Time) bool {
	// Both ends of the range are found by walking from the first to the last, over the end of the cycle if there is one.
	fits := func(values Values, n, cycle int, value func(string) int) bool {
		for _, v := range values {
			a, b, two := strings.Cut(v, ":")
			if !two {
				b = a
			}
			for i, end := value(a), value(b); ; i++ {
				if cycle > 0 && i%cycle == n%cycle || i == n {
					return true
				}
				if i == end || cycle > 0 && i%cycle == end%cycle || cycle == 0 && i > end {
					break
				}
			}
		}
		return len(values) == 0
	}
	most := time.Date(at.Year(), at.Month()+1, 0, 12, 0, 0, 0, time.UTC).Day()
	number := func(v string) (n int) {
		fmt.Sscan(v, &n)
		if n < 0 {
			n += most + 1
		}
		return n
	}
	weekday := func(v string) int {
		for d := time.Sunday; d <= time.Saturday; d++ {
			if strings.EqualFold(d.String(), v) {
				return int(d)
			}
		}
		panic(v)
	}
	return fits(s.Weekdays, int(at.Weekday()), 7, weekday) && fits(s.DaysOfMonth, at.Day(), 0, number) && fits(s.Months, int(at.Month()), 12, number)
}

// TestNextAgainstTheClock walks through a year in steps of five minutes (all times are multiples of fifteen). What the clock on
// the wall says and what Next says must be the same, except around a change of the clock: there Next may hold longer, and never
// less.
func TestNextAgainstTheClock(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(all ...string) string { return all[random.IntN(len(all))] }
	clock := func() string { return fmt.Sprintf("%02d:%02d", random.IntN(24), random.IntN(4)*15) }
	held, rules := 0, 0
	for range 60 {
		s := WhenSpec{Location: pick("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "America/Santiago", "Africa/Casablanca", "Asia/Kathmandu")}
		for range random.IntN(3) {
			if spec := (TimesSpec{pick(clock(), "02:00", "00:00", "22:00"), pick(clock(), "03:00", "24:00")}); spec.Start != spec.End {
				s.Times = append(s.Times, spec)
			}
		}
		for range random.IntN(2) {
			s.Weekdays = append(s.Weekdays, pick("sunday", "saturday:sunday", "friday:monday", "monday:friday"))
		}
		for range random.IntN(2) {
			s.DaysOfMonth = append(s.DaysOfMonth, pick("1", "-1", "1:7", "-7:-1", "25:-1", "31", "29:30"))
		}
		for range random.IntN(2) {
			s.Months = append(s.Months, pick("2", "3:4", "10:11", "12:1", "11"))
		}
		windows := NewWindows([]WindowSpec{{Name: "test", Scenarios: Matchers{All: true}, When: []WhenSpec{s}}}, time.Now(), func(string, string, ...any) {})
		if len(windows) == 0 {
			continue // always, or never
		}
		rules++
		w, o := windows[0], newOracle(s)
		location, _ := zone(s.Location)
		at := time.Date(2027, 1, 1, 0, 0, 0, 0, location)
		end := at.AddDate(1, 0, 0)
		from, until, ok := w.Next(at)
		wrong := 0
		near, checked := false, at
		for ; at.Before(end); at = at.Add(5 * time.Minute) {
			if ok && !at.Before(until) {
				from, until, ok = w.Next(at)
			}
			if !at.Before(checked) {
				checked = at.Add(24 * time.Hour)
				near = offset(at.Add(-48*time.Hour)) != offset(at.Add(72*time.Hour))
			}
			got, want := ok && !at.Before(from), o.holds(at)
			if got {
				held++
			}
			if got != want && !(got && near) {
				if wrong++; wrong < 4 {
					t.Errorf("%+v: at %s: got %v, want %v", s, at.Format("Mon 2006-01-02 15:04 MST"), got, want)
				}
			}
		}
	}
	if rules < 40 || held < rules*500 {
		t.Errorf("%d rules held %d times: that proves little", rules, held)
	}
}

func TestBadWindows(t *testing.T) {
	when := func(s ...WhenSpec) WindowSpec { return WindowSpec{Name: "w", Scenarios: Matchers{All: true}, When: s} }
	times := func(start, end string) WindowSpec { return when(WhenSpec{Times: daily(start, end)}) }
	for _, test := range []struct {
		spec WindowSpec
		want string
	}{
		{WindowSpec{Scenarios: Matchers{All: true}, When: []WhenSpec{{Weekdays: Values{"monday"}}}}, "[0].name: is missing: an alert that is not told names the window"},
		{WindowSpec{Name: "a\nb", Scenarios: Matchers{All: true}, When: []WhenSpec{{Weekdays: Values{"monday"}}}}, "[0].name: contains a line break or another control character: write it in one line"},
		{WindowSpec{Name: "w", When: []WhenSpec{{Weekdays: Values{"monday"}}}}, "[0].scenarios: no scenario is selected: set name, feature, owner, severity, location, file or tags, or all for every scenario"},
		{WindowSpec{Name: "w", Scenarios: Matchers{Tags: "mail"}, When: []WhenSpec{{Weekdays: Values{"monday"}}}},
			`[0].scenarios.tags: has a mistake: tag expression "mail": "mail" is neither a tag (@name) nor "and", "or" or "not"`},
		{when(), "[0].when: is missing: say when the window is, with times, weekdays, days_of_month, months or years, or from and until"},
		{when(make([]WhenSpec, 51)...), "[0].when: has 51 rules, more than 50"},
		{when(WhenSpec{}), "[0].when[0]: says no time, so it would hold always: set times, weekdays, days_of_month, months or years, or from and until"},
		{when(WhenSpec{Location: "Europe/Berlin"}), "[0].when[0]: says no time, so it would hold always: set times, weekdays, days_of_month, months or years, or from and until"},
		{when(WhenSpec{Weekdays: Values{"monday:sunday"}}), "[0].when: the window would last ten years or longer, and nobody would hear of an alert: limit it, remove the scenarios, or tag them @manual"},
		{when(WhenSpec{Weekdays: Values{"monday:friday"}}, WhenSpec{Weekdays: Values{"saturday:sunday"}, Times: daily("00:00", "24:00")}),
			"[0].when: the window would last ten years or longer, and nobody would hear of an alert: limit it, remove the scenarios, or tag them @manual"},
		{times("06:00", "06:00"), `[0].when[0].times[0]: start_time and end_time are both 06:00, so it never occurs: for the whole day write "00:00" and "24:00"`},
		{times("6:00", "07:00"), `[0].when[0].times[0].start_time: "6:00" is not a time of day: write it as "22:00", with two digits each; the end may be "24:00"`},
		{times("24:00", "07:00"), `[0].when[0].times[0].start_time: "24:00" is not a time of day: write it as "22:00", with two digits each; the end may be "24:00"`},
		{times("06:00", "24:01"), `[0].when[0].times[0].end_time: "24:01" is not a time of day: write it as "22:00", with two digits each; the end may be "24:00"`},
		{times("06:60", "07:00"), `[0].when[0].times[0].start_time: "06:60" is not a time of day: write it as "22:00", with two digits each; the end may be "24:00"`},
		{times("+6:00", "07:00"), `[0].when[0].times[0].start_time: "+6:00" is not a time of day: write it as "22:00", with two digits each; the end may be "24:00"`},
		{times("06:00", ""), `[0].when[0].times[0].end_time: is missing: write it as "22:00"`},
		{when(WhenSpec{Weekdays: Values{"mon"}}), `[0].when[0].weekdays[0]: "mon" is not a weekday: write "monday", or "monday:friday" for several`},
		{when(WhenSpec{Weekdays: Values{"monday", "monday:friday:sunday"}}), `[0].when[0].weekdays[1]: "monday:friday:sunday" is not a weekday: write "monday", or "monday:friday" for several`},
		{when(WhenSpec{DaysOfMonth: Values{"0"}}), `[0].when[0].days_of_month[0]: "0" has the day 0: the first day is 1, and the last one -1`},
		{when(WhenSpec{DaysOfMonth: Values{"32"}}), `[0].when[0].days_of_month[0]: "32" is not a day of the month: write 1 to 31, -1 for the last, or "1:7" for several`},
		{when(WhenSpec{DaysOfMonth: Values{"-3:2"}}), `[0].when[0].days_of_month[0]: "-3:2" goes over the end of the month: write two, "-3:-1" and "1:2"`},
		{when(WhenSpec{DaysOfMonth: Values{"20:5"}}), `[0].when[0].days_of_month[0]: "20:5" ends before it begins: write "5:20", or "20:31" and "1:5" for both ends of the month`},
		{when(WhenSpec{DaysOfMonth: Values{"-1:-3"}}), `[0].when[0].days_of_month[0]: "-1:-3" ends before it begins: write "-3:-1"`},
		{when(WhenSpec{Months: Values{"13"}}), `[0].when[0].months[0]: "13" is not a month: write "march" or 3, or "november:february" for several`},
		{when(WhenSpec{Years: Values{"27"}}), `[0].when[0].years[0]: "27" is not a year: write 2027, or "2027:2029" for several`},
		{when(WhenSpec{Years: Values{"2029:2027"}}), `[0].when[0].years[0]: "2029:2027" ends before it begins: write the earlier year first`},
		{when(WhenSpec{DaysOfMonth: Values{"30"}, Months: Values{"february"}}), "[0].when[0]: never occurs: no date has one of its weekdays, days_of_month, months and years at once"},
		{when(WhenSpec{DaysOfMonth: Values{"29"}, Months: Values{"february"}, Years: Values{"2027"}}), "[0].when[0]: never occurs: no date has one of its weekdays, days_of_month, months and years at once"},
		{when(WhenSpec{DaysOfMonth: Values{"5:-31"}}), "[0].when[0]: never occurs: no date has one of its weekdays, days_of_month, months and years at once"},
		{when(WhenSpec{Weekdays: Values{"monday"}, Location: "CEST"}), `[0].when[0].location: "CEST" is not a name of the time zone database: write it as "Europe/Berlin", "UTC", or "Local" for the zone of this machine`},
		{when(WhenSpec{Weekdays: Values{"monday"}, Location: "../../etc/passwd"}), `[0].when[0].location: "../../etc/passwd" is not a name of the time zone database: write it as "Europe/Berlin", "UTC", or "Local" for the zone of this machine`},
		{when(WhenSpec{From: "2026-12-24 22:00"}), "[0].when[0].until: is missing: say when the window ends"},
		{when(WhenSpec{Until: "2026-12-24 22:00"}), "[0].when[0].from: is missing: say when the window begins"},
		{when(WhenSpec{From: "2026-12-24 22:00", Until: "2026-12-24 22:00"}), "[0].when[0].until: 2026-12-24 22:00 is not after from, 2026-12-24 22:00, so the window never occurs"},
		{when(WhenSpec{From: "24.12.2026", Until: "2026-12-24 22:00"}), `[0].when[0].from: "24.12.2026" is not a time: write it as "2026-12-24 22:00", or with an offset as "2026-12-24T22:00:00+01:00"`},
		{when(WhenSpec{From: "2027-03-28 02:30", Until: "2027-03-28 04:00", Location: "Europe/Berlin"}),
			"[0].when[0].from: 2027-03-28 02:30 does not exist in Europe/Berlin: the clock jumps to 03:00 there; write a time that it shows"},
		{when(WhenSpec{From: "2026-12-24", Until: "2036-12-24"}), "[0].when: the window would last ten years or longer, and nobody would hear of an alert: limit it, remove the scenarios, or tag them @manual"},
		{when(WhenSpec{From: "2026-12-24", Until: "2026-12-25", Weekdays: Values{"monday"}}), "[0].when[0]: has from or until and a calendar rule: write them as two elements of the list, because each holds alone"},
	} {
		var got []string
		refuse := func(setting, format string, args ...any) {
			got = append(got, setting+": "+fmt.Sprintf(format, args...))
		}
		if all := NewWindows([]WindowSpec{test.spec}, time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), refuse); len(all) > 0 || strings.Join(got, "\n") != test.want {
			t.Errorf("%+v: got %d windows,\n%s\nwant\n%s", test.spec, len(all), strings.Join(got, "\n"), test.want)
		}
	}
	twice := ""
	same := times("01:00", "02:00")
	NewWindows([]WindowSpec{same, same}, time.Now(), func(setting, format string, args ...any) { twice += setting + ": " + fmt.Sprintf(format, args...) })
	if twice != `[1].name: "w" is the name of another window, too: each needs its own` {
		t.Error(twice)
	}
}

// FuzzWindow holds that no rule panics or hangs, and that what Next returns is later than now and the same from its start to
// its end.
func FuzzWindow(f *testing.F) {
	f.Add("22:00", "04:00", "friday:monday", "1:7", "3", "2027", "Europe/Berlin", "", "", int64(1800000000))
	f.Add("", "", "", "-7:-1", "february", "", "America/New_York", "", "", int64(1900000000))
	f.Add("", "", "", "", "", "", "Pacific/Apia", "2026-12-24 22:00", "2026-12-25", int64(1800000000))
	f.Add("23:59", "00:00", "", "31", "11:2", "1970:9999", "Africa/Casablanca", "", "", int64(-1))
	f.Fuzz(func(t *testing.T, start, end, weekdays, days, months, years, location, from, until string, unix int64) {
		timer := time.AfterFunc(2*time.Second, func() {
			panic(fmt.Sprintf("%q %q %q %q %q %q %q %q %q %d", start, end, weekdays, days, months, years, location, from, until, unix))
		})
		defer timer.Stop()
		list := func(text string) Values {
			if text == "" {
				return nil
			}
			return strings.Split(text, ",")
		}
		s := WhenSpec{Weekdays: list(weekdays), DaysOfMonth: list(days), Months: list(months), Years: list(years), Location: location, From: from, Until: until}
		if start != "" || end != "" {
			s.Times = daily(start, end)
		}
		now := time.Unix(unix%(200*365*86400), 0)
		all := NewWindows([]WindowSpec{{Name: "w", Scenarios: Matchers{All: true}, When: []WhenSpec{s}}}, now, func(string, string, ...any) {})
		for _, w := range all {
			for range 5 {
				first, last, ok := w.Next(now)
				if !ok {
					return
				}
				if !first.Before(last) || !last.After(now) {
					t.Fatalf("%+v at %s: %s to %s", s, now, first, last)
				}
				for _, at := range []time.Time{first, last.Add(-1), first.Add(last.Sub(first) / 2)} {
					fresh := Window{rules: w.rules}
					if a, b, ok := fresh.Next(at); !ok || !a.Equal(first) || !b.Equal(last) {
						t.Fatalf("%+v: at %s %s to %s, at %s %s to %s", s, now, first, last, at, a, b)
					}
				}
				now = last
			}
		}
	})
}

// TestQuietInWindow holds that a Book withholds alerts in a window, whichever ends last counts, and new windows replace the old.
func TestQuietInWindow(t *testing.T) {
	b := newBook(t, nil)
	spec := func(name, start, end string, m Matchers) WindowSpec {
		return WindowSpec{Name: name, Scenarios: m, When: []WhenSpec{{Times: daily(start, end)}}}
	}
	b.SetWindows(NewWindows([]WindowSpec{spec("backups", "02:00", "04:00", Matchers{Owner: Values{"mail"}}), spec("night", "03:00", "05:00", Matchers{All: true})}, time.Now(),
		func(setting, format string, args ...any) { t.Errorf(setting+format, args...) }))
	day := time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		at          time.Duration
		relay, site string
	}{
		{90 * time.Minute, "", ""},
		{150 * time.Minute, "maintenance window backups until 04:00", ""},
		{210 * time.Minute, "maintenance window night until 05:00", "maintenance window night until 05:00"},
		{300 * time.Minute, "", ""},
		{150 * time.Minute, "maintenance window backups until 04:00", ""}, // the clock is set back
	} {
		for _, s := range []struct {
			subject Subject
			want    string
		}{{relay, test.relay}, {site, test.site}} {
			got := ""
			if why, until, quiet := b.Quiet(s.subject.Identity, s.subject.Tags, day.Add(test.at)); quiet {
				got = why + " until " + until.Format("15:04")
			}
			if got != s.want {
				t.Errorf("%s: %s: got %q, want %q", test.at, s.subject.Identity, got, s.want)
			}
		}
	}
	got := ""
	for _, o := range b.Windows(day.Add(150 * time.Minute)) {
		got += fmt.Sprintf("%s %v %s %s\n", o.Name, o.Active, o.Start.Format("02 15:04"), o.End.Format("02 15:04"))
	}
	if got != "backups true 01 02:00 01 04:00\nnight false 01 03:00 01 05:00\n" {
		t.Error(got)
	}
	b.SetWindows(NewWindows([]WindowSpec{spec("long", "01:00", "06:00", Matchers{All: true}), spec("short", "02:00", "03:00", Matchers{All: true})}, time.Now(), nil))
	if why, _, _ := b.Quiet(relay.Identity, relay.Tags, day.Add(150*time.Minute)); why != "maintenance window long" {
		t.Errorf("got %s, not the window that ends last", why)
	}
	b.SetWindows(nil)
	if _, _, quiet := b.Quiet(relay.Identity, relay.Tags, day.Add(150*time.Minute)); quiet {
		t.Error("a removed window holds")
	}
}

func BenchmarkQuietInWindows(b *testing.B) {
	book, _ := Open(b.Context(), nil, nil)
	var specs []WindowSpec
	for i := range 20 {
		specs = append(specs, WindowSpec{Name: fmt.Sprint(i), Scenarios: Matchers{Owner: Values{"mail"}}, When: []WhenSpec{{Times: daily("02:00", "04:00"), Location: "Europe/Berlin"}}})
	}
	book.SetWindows(NewWindows(specs, time.Now(), func(string, string, ...any) {}))
	now := time.Now()
	for b.Loop() {
		book.Quiet(relay.Identity, relay.Tags, now)
	}
}

func BenchmarkFind(b *testing.B) {
	w := window(b, WhenSpec{Times: daily("02:00", "04:00"), Location: "Europe/Berlin", DaysOfMonth: Values{"1:7"}, Weekdays: Values{"sunday"}})
	now := time.Now()
	for b.Loop() {
		w.find(now)
	}
}
