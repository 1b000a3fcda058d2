package history

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/result"
)

func (b *bench) quota(pages int) {
	b.t.Helper()
	if err := b.db.Load().Maintain(context.Background(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
		return err
	}); err != nil {
		b.t.Fatal(err)
	}
}

// TestFull holds that runs wait in memory while the disk is full, up to a bound, that the log and the figures say so once, and that
// everything that waited is written when there is room.
func TestFull(t *testing.T) {
	b := newBench(t, Options{})
	b.Export(passedRun(1, start, time.Millisecond))
	b.commit()
	b.quota(1) // the least that SQLite allows is what there is
	exported := 1
	for minute := range 200 {
		b.clock = start.Add(time.Duration(minute) * time.Second)
		for n := range 20 {
			b.Export(failedRun(n, b.clock.Add(time.Duration(n)), result.ReasonTimeout, strings.Repeat("x", 100)))
			exported++
		}
		if again := b.turn(t.Context(), false); b.failing.Load() != nil && again != retryEvery {
			t.Fatalf("it comes again after %s", again)
		}
	}
	stats := b.Stats()
	if !strings.HasSuffix(stats.Problem, "history.db: the disk is full") || stats.Errors < 100 || stats.Dropped != 0 {
		t.Fatalf("got %+v", stats)
	}
	if n := strings.Count(b.log.String(), "level=ERROR"); n != 1 || !strings.Contains(b.log.String(), "the history cannot be written; the agent runs on, and tries again") {
		t.Errorf("%d errors: %s", n, b.log.String())
	}
	b.quota(1 << 20)
	b.turn(t.Context(), false)
	if stats := b.Stats(); stats.Problem != "" || !strings.Contains(b.log.String(), "the history is written again") {
		t.Errorf("got %+v, %s", stats, b.log.String())
	}
	runs, _, err := b.Runs(t.Context(), Query{})
	if err != nil || len(runs) != exported {
		t.Errorf("%d runs, %v; %d were exported", len(runs), err, exported)
	}

	// More than the buffer takes is counted.
	b.quota(1)
	b.turn(t.Context(), false)
	for n := range 30_000 {
		b.Export(failedRun(n%20, b.clock.Add(time.Duration(n)*time.Millisecond), result.ReasonTimeout, strings.Repeat("x", 100)))
		exported++
	}
	b.turn(t.Context(), false)
	dropped := b.Stats().Dropped
	if dropped == 0 || len(b.buffer.records) > bufferMost+10_000 {
		t.Fatalf("dropped %d, %d bytes wait", dropped, len(b.buffer.records))
	}
	b.quota(1 << 20)
	b.turn(t.Context(), false)
	counts, _, err := b.Uptime(t.Context(), start.Add(-time.Hour), start.Add(time.Hour))
	var sum uint64
	for _, c := range counts {
		sum += c.Runs()
	}
	if err != nil || sum+dropped != uint64(exported) {
		t.Errorf("%d kept and %d dropped of %d, %v", sum, dropped, exported, err)
	}
}

// TestDamaged holds that a file that breaks while the agent writes is set aside, and that the new one is whole: it has the scenarios,
// the steps and the failures that last.
func TestDamaged(t *testing.T) {
	for name, meet := range map[string]func(*bench) error{
		"write": func(b *bench) error { b.turn(b.t.Context(), false); return nil },
		"read":  func(b *bench) error { _, err := b.Heartbeats(b.t.Context(), 5); return err },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Options{})
			for n := range 200 {
				for range 20 {
					b.Export(passedRun(n, b.clock, time.Millisecond))
				}
			}
			b.Export(failedRun(7, b.clock, result.ReasonTimeout, "no answer"))
			b.clock = b.clock.Add(time.Hour)
			b.commit()
			b = b.again()
			b.Export(failedRun(7, b.clock, result.ReasonTimeout, "no answer"))
			content, err := os.ReadFile(b.db.Load().Path())
			if err != nil {
				t.Fatal(err)
			}
			for at := 4096; at < len(content); at += 4096 {
				copy(content[at:], bytes.Repeat([]byte{0xa5}, 4096))
			}
			if err := os.WriteFile(b.db.Load().Path(), content, 0o600); err != nil {
				t.Fatal(err)
			}
			_ = b.db.Load().Maintain(t.Context(), func(ctx context.Context, c *sql.Conn) error {
				_, err := c.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory")
				return err
			})
			if err := os.WriteFile(b.db.Load().Path(), content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := meet(b); name == "read" {
				var damaged *database.DamagedError
				if !errors.As(err, &damaged) {
					t.Fatalf("got %v", err)
				}
			}
			b.turn(t.Context(), false)
			b.Export(failedRun(7, b.clock.Add(time.Minute), result.ReasonTimeout, "no answer"))
			b.turn(t.Context(), false)
			if s := b.Stats(); s.Aside == "" || s.Problem != "" {
				t.Fatalf("got %+v\n%s", s, b.log.String())
			}
			if asides, _ := filepath.Glob(filepath.Join(b.o.Dir, "history.db.damaged-*Z")); len(asides) != 1 || asides[0] != b.Stats().Aside {
				t.Errorf("set aside: %q", asides)
			}
			b = b.again()
			a, err := b.Account(t.Context(), b.clock.Add(-time.Hour), b.clock.Add(time.Hour), nil)
			if err != nil || len(a.Spells) != 1 || a.Spells[0].Runs < 2 || a.Spells[0].Identity != identity(7) || a.Counts[identity(7).ID()].Critical < 1 {
				t.Errorf("got %+v, %v", a, err)
			}
			runs, _, err := b.Runs(t.Context(), Query{Failed: true})
			if err != nil || len(runs) == 0 || runs[0].Identity != identity(7) {
				t.Errorf("got %v, %v", runs, err)
			}
		})
	}
}

// TestSecondAgent holds that two agents in one state directory do not mix up their runs.
func TestSecondAgent(t *testing.T) {
	b := newBench(t, Options{})
	second, err := Open(t.Context(), Options{Dir: b.o.Dir})
	if err != nil {
		t.Fatal(err)
	}
	second.Export(passedRun(1, start, time.Millisecond))
	if s := second.Stats(); !strings.Contains(s.Problem, "another agent writes it") || s.Dropped != 1 {
		t.Errorf("got %+v", s)
	}
	if _, err := second.Heartbeats(t.Context(), 1); !errors.Is(err, ErrNotOpen) {
		t.Errorf("got %v", err)
	}
	if err := second.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestReadWhileWriting asks everything while runs are exported, committed and sorted.
func TestReadWhileWriting(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := OpenReader(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var all sync.WaitGroup
	exported := 0
	all.Go(func() {
		for minute := 0; ctx.Err() == nil; minute++ {
			for n := range 10 {
				h.Export(passedRun(n, now.Add(time.Duration(minute)*time.Minute), time.Millisecond))
				exported++
			}
			time.Sleep(100 * time.Microsecond)
		}
	})
	for _, r := range []*Reader{h.Reader, reader} {
		all.Go(func() {
			for ctx.Err() == nil {
				end := now.Add(1000 * time.Hour)
				_, err1 := r.Heartbeats(t.Context(), 10)
				_, _, err2 := r.Uptime(t.Context(), now, end)
				_, _, err3 := r.Percentiles(t.Context(), identity(1).ID(), now, end, time.Hour, []float64{0.5})
				_, _, err4 := r.Runs(t.Context(), Query{Limit: 10})
				_, err5 := r.Account(t.Context(), now, end, nil)
				if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
	counts, _, err := reader.Uptime(t.Context(), now.Add(-time.Hour), now.Add(100_000*time.Hour))
	var sum uint64
	for _, c := range counts {
		sum += c.Runs()
	}
	if err != nil || sum != uint64(exported) || exported < 1000 { //nolint:gosec // not negative
		t.Errorf("%d runs of %d, %v", sum, exported, err)
	}
	_ = reader.CloseReader()
}

// TestRetention holds that what is too old goes, and gives its room back.
func TestRetention(t *testing.T) {
	b := newBench(t, Options{Limits: Limits{Runs: 3 * 24 * time.Hour, Keep: 10 * 24 * time.Hour}})
	var largest int64
	for hour := range 24 * 14 {
		b.clock = start.Add(time.Duration(hour) * time.Hour)
		for n := range 20 {
			for minute := range 10 {
				b.Export(passedRun(n, b.clock.Add(time.Duration(minute)*time.Minute), time.Millisecond))
			}
		}
		if hour%24 == 0 {
			b.Export(failedRun(3, b.clock, result.ReasonTimeout, "no answer"))
			_ = b.Note(b.clock, "", "a note", "")
		}
		b.commit()
		for len(b.wake) > 0 { // as the goroutine does
			<-b.wake
			b.commit()
		}
		largest = max(largest, b.Stats().Bytes)
	}
	rows := func(statement string) (n int64) {
		t.Helper()
		if err := b.read(t.Context(), func(q *query) error { return q.tx.QueryRowContext(q, statement).Scan(&n) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if oldest := rows("SELECT min(last) FROM blocks"); timeOf(oldest).Before(b.clock.Add(-3*24*time.Hour-tidyEvery)) || rows("SELECT count(*) FROM blocks") < 20*24*2 {
		t.Errorf("a block of %s is there", timeOf(oldest))
	}
	if n := rows("SELECT count(DISTINCT day) FROM days"); n < 10 || n > 11 {
		t.Errorf("%d days", n)
	}
	if n := rows("SELECT count(*) FROM spells"); n < 10 || n > 11 {
		t.Errorf("%d times of failure", n)
	}
	if n := rows("SELECT count(*) FROM events"); n < 10 || n > 11 {
		t.Errorf("%d notes", n)
	}
	if n := rows("SELECT count(*) FROM shapes"); n != 2 {
		t.Errorf("%d shapes", n)
	}
	// The counts of what is left are right although the totals go back further.
	counts, _, err := b.Uptime(t.Context(), start, b.clock.Add(time.Hour))
	if c := counts[identity(5).ID()]; err != nil || c.OK < 10*24*10 || c.OK > 11*24*10 {
		t.Errorf("got %+v, %v", c, err)
	}

	// Less room than there is: the oldest runs go, then the oldest days, and the file becomes smaller.
	before := b.Stats().Bytes
	b.o.Size = before / 3
	b.tidied = time.Time{}
	b.commit()
	for len(b.wake) > 0 {
		<-b.wake
		b.commit()
	}
	if err := b.db.Load().Maintain(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(b.db.Load().Path())
	if err != nil || info.Size() > b.o.Size*5/4 {
		t.Errorf("the file has %d bytes, %v; the limit is %d", info.Size(), err, b.o.Size)
	}
	if _, _, err := b.Runs(t.Context(), Query{}); err != nil {
		t.Error(err)
	}
	if s := b.log.String(); s != "" {
		t.Error(s)
	}
}
