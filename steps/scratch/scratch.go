// Package scratch creates directories for the files of a run. Each is locked, and the kernel releases the lock when the
// process ends. So the next stepwatch removes the directories of a killed one, and none that is in use.
package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/steps/statedir"
)

// prefix is the beginning of the directories' names, and of no other names.
const prefix = "stepwatch-scenario-"

// Directories younger than staleAfter are left alone, because they may not be locked yet. sweepEvery is the interval of
// the search for old ones.
const (
	staleAfter = time.Minute
	sweepEvery = 10 * time.Minute
)

// Dir is a directory of one run.
type Dir struct {
	Path string
	Root *os.Root
	lock *os.File
}

// New creates a directory in the system's directory for temporary files, which only our user may read. It removes those
// that killed processes of this user left there. It refuses a directory for temporary files in which other users may replace
// them.
func New() (*Dir, error) {
	parent := os.TempDir()
	if err := statedir.CheckTemporary(parent); err != nil {
		return nil, fmt.Errorf("the directory for temporary files (TMPDIR): %w", err)
	}
	sweepNow(parent)
	return makeIn(parent)
}

func makeIn(parent string) (*Dir, error) {
	path, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	d := &Dir{Path: path}
	if d.lock, err = Lock(path, os.O_RDONLY); err == nil {
		d.Root, err = os.OpenRoot(path)
	}
	if err != nil {
		return nil, errors.Join(err, d.Remove())
	}
	return d, nil
}

// Remove removes the directory and its contents.
func (d *Dir) Remove() error {
	var errs []error
	if d.Root != nil {
		errs = append(errs, d.Root.Close())
	}
	errs = append(errs, os.RemoveAll(d.Path))
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

var (
	mu    sync.Mutex
	swept time.Time
)

func sweepNow(parent string) {
	mu.Lock()
	defer mu.Unlock()
	if swept.IsZero() || time.Since(swept) > sweepEvery {
		sweep(parent)
		swept = time.Now()
	}
}

// sweep removes the directories that no process has locked. It ignores those that it cannot remove: they may belong to
// another user.
func sweep(parent string) {
	left, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
	if err != nil {
		return
	}
	for _, path := range left {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || !ours(info) || time.Since(info.ModTime()) < staleAfter {
			continue
		}
		if held, err := Lock(path, os.O_RDONLY); err == nil {
			_ = (&Dir{Path: path, lock: held}).Remove() // the next sweep tries it again
		}
	}
}
