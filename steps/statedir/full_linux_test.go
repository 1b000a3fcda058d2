package statedir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk holds that what could not be written is an error, and that the old file stays.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	dir := newDir(t)
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		t.Skip("mount a small disk:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.WriteFile("file", []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFile("file", make([]byte, 1<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if got, err := d.ReadFile("file", bytesOf(100)); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left %v", strings.Join(left, ", "))
	}
}
