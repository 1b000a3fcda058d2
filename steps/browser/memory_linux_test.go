package browser

import (
	"os"
	"os/exec"
	"testing"
)

// TestAbove checks that the size of a process that shares most of its memory with its children is not overestimated.
func TestAbove(t *testing.T) {
	const sleepers = 24
	for range sleepers {
		sleeper := exec.Command("sleep", "60") // they share the program and its libraries
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = sleeper.Process.Kill()
			_ = sleeper.Wait()
		})
	}
	own := os.Getpid()
	var all int64
	members := family(own)
	for _, p := range members {
		all += p.resident
	}
	held := resident(own)
	if len(members) != sleepers+1 || held <= 0 || held >= all {
		t.Fatalf("%d processes hold %d bytes, with shared ones %d", len(members), held, all)
	}
	for limit, isAbove := range map[int64]bool{0: true, held / 2: true, (held + all) / 2: false, 2 * all: false} {
		if got := above(own, limit); (got > limit) != isAbove || !isAbove && got != 0 {
			t.Errorf("above %d of %d bytes: got %d", limit, held, got)
		}
	}
}
