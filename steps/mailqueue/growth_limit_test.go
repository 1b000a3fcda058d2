package mailqueue

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestGrowthLimit holds that readings which cannot be ours are not read, and that they begin anew.
func TestGrowthLimit(t *testing.T) {
	dir := t.TempDir()
	at := time.Unix(1_800_000_000, 0)
	first, err := Remember(dir, "queue", time.Hour, Reading{At: at, Messages: 1})
	if err != nil || first.Reach != 0 {
		t.Fatal(first, err)
	}
	if second, err := Remember(dir, "queue", time.Hour, Reading{At: at.Add(time.Minute), Messages: 3}); err != nil || second.Messages != 2 {
		t.Fatal(second, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, GrowthDir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(growthLimit.Most+1), f.Close()); err != nil {
		t.Fatal(err)
	}
	if third, err := Remember(dir, "queue", time.Hour, Reading{At: at.Add(2 * time.Minute), Messages: 9}); err != nil || third.Messages != 0 || third.Reach != 0 {
		t.Error(third, err)
	}
	if fourth, err := Remember(dir, "queue", time.Hour, Reading{At: at.Add(3 * time.Minute), Messages: 10}); err != nil || fourth.Messages != 1 {
		t.Error(fourth, err)
	}
}
