package history

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// cpu returns the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRun measures what a run costs in all: Export, the commit of each second, and sorting, with 1,000 scenarios of two
// steps at one run a second. The runs themselves are made before.
func BenchmarkRun(b *testing.B) {
	h := newBench(b, Options{})
	random := mathrand.New(mathrand.NewPCG(1, 2))
	const scenarios = 1000
	var spent time.Duration
	runs := 0
	for b.Loop() {
		second := makeSecond(random, h.clock, scenarios)
		from := cpu()
		for i := range second {
			h.Export(second[i])
		}
		h.commit()
		spent += cpu() - from
		runs += scenarios
		h.clock = h.clock.Add(time.Second)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(runs), "cpu-ns/run")
	b.ReportMetric(float64(h.Stats().Bytes)/float64(runs), "bytes/run")
}

// TestYear fills a history with a year of 500 scenarios at one run a minute and measures it: its size, and the queries of the page.
// Fifteen days are run after run; those before, of which only hours are kept, are copies of them. It needs ten minutes and 2 GB, so it
// runs only where HISTORY_YEAR names a directory; HISTORY_SCENARIOS is for a smaller one.
func TestYear(t *testing.T) {
	dir := os.Getenv("HISTORY_YEAR")
	if dir == "" {
		t.Skip("set HISTORY_YEAR to a directory with 2 GB to fill it with a year")
	}
	scenarios, days := number("HISTORY_SCENARIOS", 500), number("HISTORY_DAYS", 15)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := os.Stat(filepath.Join(dir, FileName))
	h := newBench(t, Options{Dir: dir})
	if err == nil { // filled by an earlier test
		h.clock = start.Add(time.Duration(days) * 24 * time.Hour)
		queries(t, h)
		return
	}
	began := time.Now()
	fill(h, scenarios, days)
	t.Logf("filled in %s: %d runs, %.1f MB", time.Since(began), scenarios*days*1440, float64(h.Stats().Bytes)/1e6)
	copied(t, h, days, 365)
	t.Logf("%.1f MB with the year before", float64(h.Stats().Bytes)/1e6)
	sizes(t, h)
	queries(t, h)
}

func number(name string, otherwise int) int {
	n := otherwise
	_, _ = fmt.Sscan(os.Getenv(name), &n)
	return n
}

// fill writes so many days of runs, one a minute and scenario.
func fill(h *bench, scenarios, days int) {
	random := mathrand.New(mathrand.NewPCG(3, 4))
	for minute := range days * 1440 {
		for n := range scenarios {
			h.Export(likely(random, n, h.clock.Add(time.Duration(n)*time.Minute/time.Duration(scenarios)), minute))
		}
		h.clock = h.clock.Add(time.Minute)
		h.commit()
		if h.oldest != 0 && len(h.wake) > 0 { // as the goroutine does
			<-h.wake
		}
	}
}

// copied fills a year with copies of the days that are over.
func copied(t *testing.T, h *bench, days, year int) {
	t.Helper()
	for back := days - 1; back < year; back += days - 1 {
		if err := h.db.Load().Write(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO days (scenario, day, ok, warning, critical, unknown, total_ok, total_warning, total_critical, total_unknown, hours)
				SELECT scenario, day - ?1, ok, warning, critical, unknown, 0, 0, 0, 0, hours FROM days WHERE day BETWEEN ?2 AND ?3 ORDER BY day, scenario`,
				back, dayNumber(start)+1, dayNumber(start)+int64(days)-1)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO spells (scenario, began, ended, last, runs, state, stale, reason, blame, step, summary)
				SELECT scenario, began - ?1, ended - ?1, last - ?1, runs, state, stale, reason, blame, step, summary FROM spells WHERE ended > 0 AND began > ?2`,
				int64(back)*dayMicros, start.UnixMicro())
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range h.numbers { // in small transactions, as the agent has them
		if err := h.db.Load().Write(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE days SET total_ok = s.ok, total_warning = s.warning, total_critical = s.critical, total_unknown = s.unknown FROM
				(SELECT number, sum(ok) OVER w ok, sum(warning) OVER w warning, sum(critical) OVER w critical, sum(unknown) OVER w unknown
				FROM days WHERE scenario = ?1 WINDOW w AS (ORDER BY day)) s WHERE s.number = days.number`, k.number)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func dayNumber(at time.Time) int64 { n, _ := dayOf(at.UnixMicro()); return n }

func makeSecond(random *mathrand.Rand, at time.Time, scenarios int) []*result.Result {
	all := make([]*result.Result, scenarios)
	for n := range all {
		all[n] = likely(random, n, at.Add(time.Duration(n)*time.Second/time.Duration(scenarios)), int(at.Unix()/60))
	}
	return all
}

// likely returns a run as they are in practice: the time of an answer varies by a third, has a slower part of the day, a scenario is
// down for some minutes every few days, and now and then one run fails.
func likely(random *mathrand.Rand, n int, at time.Time, minute int) *result.Result {
	base := float64(20+n%7*60) * 1e6 * (1 + 0.3*math.Sin(float64(minute)/1440*2*math.Pi))
	took := time.Duration(base * math.Exp(random.NormFloat64()*0.35))
	at = at.Add(time.Duration(random.IntN(3000)) * time.Microsecond)
	if random.IntN(2000) == 0 || (minute+n*977)%5000 < 7 {
		return failedRun(n, at, "timeout", fmt.Sprintf("open the page: no answer from 192.0.2.%d:443 within 10s", n%250))
	}
	res := passedRun(n, at, took)
	res.Delay = time.Duration(random.IntN(900)) * time.Microsecond
	res.Steps[1].Duration = time.Duration(10+random.IntN(9)) * time.Microsecond
	for i := range res.Steps[0].Phases {
		p := &res.Steps[0].Phases[i]
		p.Duration = time.Duration(float64(p.Duration) * math.Exp(random.NormFloat64()*0.3))
	}
	res.Steps[0].Measurements[1].Value += float64(random.IntN(400))
	res.Run = rand.Text()
	return res
}

// sizes logs what each table needs.
func sizes(t *testing.T, h *bench) {
	t.Helper()
	_ = h.read(t.Context(), func(q *query) error {
		for _, table := range []string{"blocks", "days", "today", "journal", "spells", "events", "shapes", "scenarios"} {
			column := map[string]string{"blocks": "records", "journal": "records", "days": "hours", "today": "hours"}[table]
			if column == "" {
				column = "''"
			}
			var rows, bytes int64
			if err := q.tx.QueryRowContext(q, fmt.Sprintf("SELECT count(*), ifnull(sum(length(%s)), 0) FROM %s", column, table)).Scan(&rows, &bytes); err != nil {
				t.Error(err)
			}
			t.Logf("%-9s %9d rows, %8.1f MB in blobs, %.0f bytes each", table, rows, float64(bytes)/1e6, float64(bytes)/float64(max(1, rows)))
		}
		return nil
	})
}

// queries measures the queries of the page.
func queries(t *testing.T, h *bench) {
	t.Helper()
	ctx := context.Background()
	id := identity(7).ID()
	now := h.clock
	runs, _, err := h.Runs(ctx, Query{Scenarios: []string{id}, Limit: 1})
	if err != nil || len(runs) == 0 {
		t.Fatal(err)
	}
	share := []float64{0.5, 0.95, 0.99}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const day = 24 * time.Hour
	for _, one := range []struct {
		name string
		ask  func() (int, error)
	}{
		{"heartbeats, 60 runs of all", func() (int, error) { m, err := h.Heartbeats(ctx, 60); return len(m), err }},
		{"uptime of all, 24 h", func() (int, error) { m, _, err := h.Uptime(ctx, ago(day), now); return len(m), err }},
		{"uptime of all, 30 d", func() (int, error) { m, _, err := h.Uptime(ctx, ago(30*day), now); return len(m), err }},
		{"uptime of all, 1 y", func() (int, error) { m, _, err := h.Uptime(ctx, ago(365*day), now); return len(m), err }},
		{"runs of one, 24 h", func() (int, error) {
			r, _, err := h.Runs(ctx, Query{Scenarios: []string{id}, Since: ago(day), Limit: 200})
			return len(r), err
		}},
		{"failed runs of one, 14 d", func() (int, error) {
			r, _, err := h.Runs(ctx, Query{Scenarios: []string{id}, Since: ago(14 * day), Failed: true, Limit: 200})
			return len(r), err
		}},
		{"failed runs of all, 24 h, the newest 200", func() (int, error) {
			r, _, err := h.Runs(ctx, Query{Since: ago(day), Failed: true, Limit: 200})
			return len(r), err
		}},
		{"one run", func() (int, error) { _, err := h.Run(ctx, runs[0].ID); return 1, err }},
		{"one run by its own id", func() (int, error) { _, err := h.Run(ctx, runs[0].Run); return 1, err }},
		{"percentiles of one, 24 h in 10 m", func() (int, error) {
			s, _, err := h.Percentiles(ctx, id, ago(day), now, 10*time.Minute, share)
			return len(s), err
		}},
		{"percentiles of one, 30 d in 6 h", func() (int, error) {
			s, _, err := h.Percentiles(ctx, id, ago(30*day), now, 6*time.Hour, share)
			return len(s), err
		}},
		{"percentiles of one, 1 y in 1 d", func() (int, error) {
			s, _, err := h.Percentiles(ctx, id, ago(365*day), now, day, share)
			return len(s), err
		}},
		{"what happened around a moment last night", func() (int, error) {
			a, err := h.Account(ctx, ago(8*time.Hour), ago(8*time.Hour-20*time.Minute), nil)
			return len(a.Spells), err
		}},
		{"what happened around a moment half a year ago", func() (int, error) {
			a, err := h.Account(ctx, ago(180*day), ago(180*day-20*time.Minute), nil)
			return len(a.Spells), err
		}},
		{"what happened, 24 h", func() (int, error) { a, err := h.Account(ctx, ago(day), now, nil); return len(a.Spells), err }},
	} {
		const times = 10
		best := time.Hour
		n, used := 0, cpu()
		for range times {
			from := time.Now()
			found, err := one.ask()
			if err != nil {
				t.Errorf("%s: %v", one.name, err)
			}
			n, best = found, min(best, time.Since(from))
		}
		used = cpu() - used
		t.Logf("%-46s %5d found, %6.1f ms of CPU, best %6.1f ms", one.name, n, float64(used.Microseconds())/1000/times, float64(best.Microseconds())/1000)
	}
}
