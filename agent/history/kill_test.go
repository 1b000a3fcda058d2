package history

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// writeUntilKilled writes a run every millisecond, and says the time of each that is committed for certain: what was exported more
// than the longest wait ago.
func writeUntilKilled(dir string) {
	h, err := Open(context.Background(), Options{Dir: dir, Version: "test"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		now := time.Now()
		if now.UnixMilli()%5 == 0 {
			h.Export(failedRun(2, now, result.ReasonTimeout, "no answer"))
		} else {
			h.Export(passedRun(1, now, time.Millisecond))
		}
		fmt.Println(now.UnixMicro())
		time.Sleep(time.Millisecond)
	}
}

// TestKilled kills a writing process several times. The history opens each time; it lacks nothing that was exported longer ago than a
// commit may wait, and has nothing twice.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	exported := 0
	for round := range 4 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(os.Environ(), "HISTORY_TEST_WRITER="+dir)
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(900+170*round)*time.Millisecond, func() { _ = writer.Process.Kill() })
		var lines bytes.Buffer
		_, _ = lines.ReadFrom(out)
		_ = writer.Wait()
		var times []int64
		for line := range bytes.Lines(lines.Bytes()) {
			if at, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64); err == nil {
				times = append(times, at)
			}
		}
		if len(times) < 100 {
			t.Fatalf("only %d runs were exported", len(times))
		}
		exported += len(times)
		r, err := OpenReader(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		runs, _, err := r.Runs(t.Context(), Query{})
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[int64]bool)
		for _, run := range runs {
			if at := run.Started.UnixMicro(); seen[at] {
				t.Errorf("%s is there twice", run.ID)
			} else {
				seen[at] = true
			}
		}
		// A failure comes every few milliseconds, so everything is committed quickly. The disk may be slow.
		last, lost := times[len(times)-1], 0
		for _, at := range times {
			if !seen[at] && last-at > (quickly+200*time.Millisecond).Microseconds() {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("round %d: %d runs are lost that were exported long before", round, lost)
		}
		_ = r.CloseReader()
	}
	r, err := OpenReader(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.CloseReader() }()
	a, err := r.Account(t.Context(), time.Now().Add(-time.Hour), time.Now(), nil)
	if err != nil || len(a.Sessions) != 4 || a.Sessions[0].Clean {
		t.Errorf("got %+v, %v", a.Sessions, err)
	}
	if c := a.Counts[identity(1).ID()]; int(c.Runs()) > exported || c.Runs() < 100 {
		t.Errorf("got %+v of %d", c, exported)
	}
}
