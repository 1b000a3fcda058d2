package database

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills a real small disk, and makes room again.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	dir := stateDir(t)
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m,mode=700"); err != nil {
		t.Skip("mount a small disk:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	o := Options{Dir: dir, Name: "items.db", Migrations: schema}
	d := open(t, o)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 500_000), 0o600); err != nil {
		t.Fatal(err)
	}
	written := 0
	var err error
	for err == nil && written < 1000 {
		if err = insert(t.Context(), d, strings.Repeat("x", 10_000)); err == nil {
			written++
		}
	}
	if !Full(err) || !strings.Contains(err.Error(), "write "+d.Path()+": the disk is full") {
		t.Errorf("got %v after %d", err, written)
	}
	wantItems(t, d, written)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := insert(t.Context(), d, "again"); err != nil {
		t.Error(err)
	}
	wantItems(t, d, written+1)
	if err := d.Close(); err != nil {
		t.Error(err)
	}

	// No file can be begun on a disk without room.
	if err := os.Rename(d.Path(), filepath.Join(dir, "old")); err != nil {
		t.Fatal(err)
	}
	full := make([]byte, 64)
	f, err := os.Create(ballast)
	for err == nil {
		_, err = f.Write(full)
	}
	_ = f.Close()
	if d, err := Open(t.Context(), o); !Full(err) {
		t.Errorf("got %v, %v", d, err)
	}
}
