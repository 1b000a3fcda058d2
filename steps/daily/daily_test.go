package daily

import (
	"testing"
	"time"
)

// berlin has clocks that change on 2026-03-29 from 02:00 to 03:00 and on 2026-10-25 from 03:00 to 02:00.
func berlin(t testing.TB) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("this machine knows no time zones: ", err)
	}
	return zone
}

func clock(t testing.TB, s string) Clock {
	t.Helper()
	c, err := ParseClock(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(t testing.TB, s string) time.Time {
	t.Helper()
	moment, err := time.Parse("2006-01-02 15:04:05 -0700", s)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

func TestSpans(t *testing.T) {
	zone := berlin(t)
	for _, c := range []struct{ name, from, by, now, due, next string }{
		{"after the deadline", "02:00", "06:30", "2026-11-21 08:00:00 +0100", "2026-11-21 02:00:00 +0100 2026-11-21 06:30:00 +0100", "2026-11-22 02:00:00 +0100 2026-11-22 06:30:00 +0100"},
		{"at the deadline", "02:00", "06:30", "2026-11-21 06:30:00 +0100", "2026-11-21 02:00:00 +0100 2026-11-21 06:30:00 +0100", "2026-11-22 02:00:00 +0100 2026-11-22 06:30:00 +0100"},
		{"before it", "02:00", "06:30", "2026-11-21 06:29:59 +0100", "2026-11-20 02:00:00 +0100 2026-11-20 06:30:00 +0100", "2026-11-21 02:00:00 +0100 2026-11-21 06:30:00 +0100"},
		{"just after midnight", "02:00", "06:30", "2026-11-21 00:00:01 +0100", "2026-11-20 02:00:00 +0100 2026-11-20 06:30:00 +0100", "2026-11-21 02:00:00 +0100 2026-11-21 06:30:00 +0100"},
		{"another day in UTC", "02:00", "06:30", "2026-11-20 23:30:00 +0000", "2026-11-20 02:00:00 +0100 2026-11-20 06:30:00 +0100", "2026-11-21 02:00:00 +0100 2026-11-21 06:30:00 +0100"},
		{"across midnight, evening", "22:00", "06:30", "2026-11-20 23:00:00 +0100", "2026-11-19 22:00:00 +0100 2026-11-20 06:30:00 +0100", "2026-11-20 22:00:00 +0100 2026-11-21 06:30:00 +0100"},
		{"across midnight, morning", "22:00", "06:30", "2026-11-21 07:00:00 +0100", "2026-11-20 22:00:00 +0100 2026-11-21 06:30:00 +0100", "2026-11-21 22:00:00 +0100 2026-11-22 06:30:00 +0100"},
		{"until midnight", "18:00", "00:00", "2026-11-21 00:00:00 +0100", "2026-11-20 18:00:00 +0100 2026-11-21 00:00:00 +0100", "2026-11-21 18:00:00 +0100 2026-11-22 00:00:00 +0100"},
		{"all day", "06:30", "06:30", "2026-11-21 07:00:00 +0100", "2026-11-20 06:30:00 +0100 2026-11-21 06:30:00 +0100", "2026-11-21 06:30:00 +0100 2026-11-22 06:30:00 +0100"},
		{"a month's first", "22:00", "06:30", "2026-03-01 07:00:00 +0100", "2026-02-28 22:00:00 +0100 2026-03-01 06:30:00 +0100", "2026-03-01 22:00:00 +0100 2026-03-02 06:30:00 +0100"},
		{"into summer time", "00:30", "06:30", "2026-03-29 07:00:00 +0200", "2026-03-29 00:30:00 +0100 2026-03-29 06:30:00 +0200", "2026-03-30 00:30:00 +0200 2026-03-30 06:30:00 +0200"},
		{"in the hour that is left out", "02:10", "02:40", "2026-03-29 03:30:00 +0200", "2026-03-29 03:00:00 +0200 2026-03-29 03:00:00 +0200", "2026-03-30 02:10:00 +0200 2026-03-30 02:40:00 +0200"},
		{"out of summer time", "00:30", "06:30", "2026-10-25 07:00:00 +0100", "2026-10-25 00:30:00 +0200 2026-10-25 06:30:00 +0100", "2026-10-26 00:30:00 +0100 2026-10-26 06:30:00 +0100"},
		{"in the hour that comes twice, its end", "02:10", "02:40", "2026-10-25 02:45:00 +0100", "2026-10-25 02:10:00 +0200 2026-10-25 02:40:00 +0100", "2026-10-26 02:10:00 +0100 2026-10-26 02:40:00 +0100"},
		{"in it, between", "02:10", "02:40", "2026-10-25 02:45:00 +0200", "2026-10-24 02:10:00 +0200 2026-10-24 02:40:00 +0200", "2026-10-25 02:10:00 +0200 2026-10-25 02:40:00 +0100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			due, next := Window{clock(t, c.from), clock(t, c.by), zone}.Spans(at(t, c.now))
			const layout = "2006-01-02 15:04:05 -0700"
			if got := due.From.Format(layout) + " " + due.By.Format(layout); got != c.due {
				t.Errorf("due is %s, want %s", got, c.due)
			}
			if got := next.From.Format(layout) + " " + next.By.Format(layout); got != c.next {
				t.Errorf("next is %s, want %s", got, c.next)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	w := Window{clock(t, "02:00"), clock(t, "06:30"), time.UTC}
	for _, c := range []struct {
		name, now string
		arrivals  []string
		state     State
		at        string // of the arrival
		late      time.Duration
		next      string
	}{
		{"in time", "21 08:00", []string{"21 05:12", "20 05:10"}, InTime, "21 05:12", 0, "22 06:30"},
		{"at the last moment", "21 08:00", []string{"21 06:30"}, InTime, "21 06:30", 0, "22 06:30"},
		{"already before the deadline", "21 06:00", []string{"21 05:12", "20 05:10"}, InTime, "21 05:12", 0, "22 06:30"},
		{"not due yet", "21 05:00", []string{"20 05:10"}, InTime, "20 05:10", 0, "21 06:30"},
		{"not due yet, between the windows", "21 00:30", []string{"20 05:10"}, InTime, "20 05:10", 0, "21 06:30"},
		{"missing", "21 06:31", []string{"20 05:10"}, Missing, "", time.Minute, "22 06:30"},
		{"too early", "21 08:00", []string{"21 01:59", "20 05:10"}, Missing, "", 90 * time.Minute, "22 06:30"},
		{"missing since yesterday", "21 05:00", nil, Missing, "", 22*time.Hour + 30*time.Minute, "21 06:30"},
		{"mended by the next", "21 05:00", []string{"21 04:00"}, InTime, "21 04:00", 0, "22 06:30"},
		{"late", "21 08:00", []string{"21 07:10"}, Late, "21 07:10", 40 * time.Minute, "22 06:30"},
		{"late twice", "21 09:00", []string{"21 08:10", "21 07:10"}, Late, "21 07:10", 40 * time.Minute, "22 06:30"},
		{"late, until the next window", "22 01:59", []string{"21 07:10"}, Late, "21 07:10", 40 * time.Minute, "22 06:30"},
		{"late is over", "22 02:00", []string{"21 07:10"}, WasLate, "21 07:10", 40 * time.Minute, "22 06:30"},
		{"in time and again later", "21 08:00", []string{"21 07:10", "21 05:12"}, InTime, "21 05:12", 0, "22 06:30"},
	} {
		t.Run(c.name, func(t *testing.T) {
			moment := func(s string) time.Time {
				if s == "" {
					return time.Time{}
				}
				return at(t, "2026-11-"+s+":00 +0000")
			}
			var arrivals []time.Time
			for _, a := range c.arrivals {
				arrivals = append(arrivals, moment(a))
			}
			v := w.Judge(moment(c.now), arrivals)
			if v.State != c.state || !v.At.Equal(moment(c.at)) || v.Late != c.late || !v.Next.Equal(moment(c.next)) {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestParseClock(t *testing.T) {
	for _, s := range []string{"", "6:30", "06:60", "24:00", "06:30:00", "-1:30", "06.30", "06:3x"} {
		if c, err := ParseClock(s); err == nil {
			t.Errorf("%q is read as %s", s, c)
		}
	}
}

// For any moment and zone, the last span is over, the next one is not, and their ends are one day apart.
func FuzzSpans(f *testing.F) {
	f.Add(int64(1_792_886_400), uint8(2), uint8(10), uint8(2), uint8(40))
	zone := berlin(f)
	f.Fuzz(func(t *testing.T, unix int64, h1, m1, h2, m2 uint8) {
		now := time.Unix(unix%4_000_000_000, 0)
		due, next := Window{Clock{int(h1 % 24), int(m1 % 60)}, Clock{int(h2 % 24), int(m2 % 60)}, zone}.Spans(now)
		if due.By.After(now) || !next.By.After(now) || due.From.After(due.By) || next.From.After(next.By) || next.From.Before(due.From) {
			t.Errorf("at %s: due %v, next %v", now, due, next)
		}
		if day := next.By.Sub(due.By); day < 22*time.Hour || day > 26*time.Hour {
			t.Errorf("at %s: %s between %v and %v", now, day, due, next)
		}
	})
}
