//go:build unix

package scratch

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also the process that creates a directory and is then killed.
func TestMain(m *testing.M) {
	if os.Getenv("SCRATCH_TEST") == "make" {
		d, err := New()
		if err != nil {
			panic(err)
		}
		if err := os.WriteFile(filepath.Join(d.Path, "file"), []byte("x"), 0o600); err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString(d.Path + "\n")
		select {}
	}
	goleak.VerifyTestMain(m)
}

func age(t *testing.T, path string) {
	t.Helper()
	old := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestKilled(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), "SCRATCH_TEST=make")
	said, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSpace(line)
	age(t, path)
	sweep(os.TempDir())
	if !exists(path) {
		t.Error("the directory of a running process was removed")
	}
	_ = other.Process.Kill()
	_ = other.Wait() // the error is the kill
	swept = time.Time{}
	d, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if exists(path) {
		t.Error("the directory of a killed process still exists")
	}
	if err := d.Root.WriteFile("file", []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	if err := d.Remove(); err != nil || exists(d.Path) {
		t.Errorf("%s still exists: %v", d.Path, err)
	}
}

func TestSweepLeaves(t *testing.T) {
	dir := t.TempDir()
	elsewhere := t.TempDir()
	young, file, link, named := filepath.Join(dir, prefix+"1"), filepath.Join(dir, prefix+"2"), filepath.Join(dir, prefix+"3"), filepath.Join(dir, "stepwatch-4")
	if err := errors.Join(os.Mkdir(young, 0o700), os.Mkdir(named, 0o700), os.WriteFile(file, nil, 0o600), os.Symlink(elsewhere, link)); err != nil {
		t.Fatal(err)
	}
	used, err := makeIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer used.Remove()
	for _, path := range []string{file, elsewhere, named, used.Path} {
		age(t, path)
	}
	sweep(dir)
	for _, path := range []string{young, file, link, elsewhere, named, used.Path} {
		if !exists(path) {
			t.Errorf("%s was removed", path)
		}
	}
}
