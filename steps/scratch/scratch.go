// Package scratch makes directories for what a run writes. Each is locked, and the kernel gives the lock up with the process, so
// that what a killed stepwatch left is removed by the next one, and nothing that is in use.
package scratch

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// prefix begins the names of the directories, and of nothing else.
const prefix = "stepwatch-scenario-"

// A directory is not looked at when it is younger than this, because it may be in the making, and others are looked for this
// often.
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

// New makes a directory where the system has its temporary files, which only our user may read, and removes those that
// a process of this user left there when it was killed.
func New() (*Dir, error) {
	parent := os.TempDir()
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

// Remove removes the directory with all that is in it.
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

// sweep removes the directories of which nobody has the lock. What cannot be removed stays: it may be another user's.
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
			_ = (&Dir{Path: path, lock: held}).Remove() // it is tried again
		}
	}
}
