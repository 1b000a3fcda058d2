package cmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/stepwatch/stepwatch/features"
)

// How changes of files are noticed. The kernel says in which directory something changed (inotify), and then the files are looked
// at: what counts is that one of them differs from before, not which event came. So editors that replace files by renaming, the
// symbolic links of a Kubernetes volume, and directories that vanish and come back are all the same. A network file system tells
// nothing about what others change, so the files are also looked at now and then.
const (
	restShort  = 100 * time.Millisecond // a change counts once the files have been the same for so long, where somebody waits for it
	restLong   = time.Second            // and for an agent, which should not see half of a deployment
	lookRarely = 30 * time.Second       // as long as the kernel tells about every directory
	lookOften  = 2 * time.Second        // if it does not
)

// notifier tells when to look at files.
type notifier struct {
	rarely, often, rest time.Duration
	warn                func(text string)

	kernel *fsnotify.Watcher // nil if there is none
	known  map[string]os.FileInfo
	names  map[string]bool // of files and directories that matter
	within map[string]bool // directories in which every new or removed entry matters
	blind  string          // why the kernel does not tell about everything; empty if it does
	said   string          // the last of these that was said
}

// newNotifier returns a notifier, to be closed. warn is told once why changes are noticed late.
func newNotifier(rarely, often, rest time.Duration, warn func(text string)) *notifier {
	n := &notifier{rarely: rarely, often: often, rest: rest, warn: warn, known: make(map[string]os.FileInfo)}
	if runtime.GOOS != "linux" { // elsewhere, each file in a directory takes a descriptor
		n.rarely = n.often
		return n
	}
	var err error
	if n.kernel, err = fsnotify.NewWatcher(); err != nil {
		n.cannot(err)
	}
	return n
}

func (n *notifier) close() {
	if n.kernel != nil {
		_ = n.kernel.Close() // nothing was written
	}
}

// cannot notes why the kernel does not tell about everything.
func (n *notifier) cannot(err error) {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		n.blind = "the kernel has no inotify watch left (fs.inotify.max_user_watches" + setTo("max_user_watches") + "): raise it with sysctl"
	case errors.Is(err, syscall.EMFILE):
		n.blind = "the kernel has no inotify instance left for this user (fs.inotify.max_user_instances" + setTo("max_user_instances") + "), or the process no descriptor: raise it with sysctl"
	default:
		n.blind = err.Error()
	}
}

// setTo returns ", now N" of a setting of inotify, or "" if it cannot be read.
func setTo(name string) string {
	text, err := os.ReadFile("/proc/sys/fs/inotify/" + name)
	if err != nil {
		return ""
	}
	return ", now " + strings.TrimSpace(string(text))
}

// follow asks the kernel about the directories of w. It reports whether there are new ones among them.
func (n *notifier) follow(w *watched, dirs []string) (more bool) {
	defer n.say()
	if n.kernel == nil {
		return false
	}
	n.blind = ""
	n.names, n.within = make(map[string]bool), make(map[string]bool)
	wanted := make(map[string]bool)
	add := func(dir string) {
		for { // the nearest that there is
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				wanted[dir] = true
				return
			}
			n.names[filepath.Base(dir)] = true
			up := filepath.Dir(dir)
			if up == dir {
				return
			}
			dir = up
		}
	}
	inside := func(dir string) {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return // without a working directory nothing is found
		}
		if n.within[dir] {
			return
		}
		n.within[dir] = true
		add(dir)
		add(filepath.Dir(dir)) // so that one that is replaced is noticed
		n.names[filepath.Base(dir)] = true
	}
	for _, path := range w.files {
		n.names[filepath.Base(path)] = true
		inside(filepath.Dir(path))
		if target, err := filepath.EvalSymlinks(path); err == nil && target != filepath.Clean(path) {
			if target, err = filepath.Abs(target); err == nil {
				n.names[filepath.Base(target)] = true
				add(filepath.Dir(target))
			}
		}
	}
	for _, dir := range slices.Concat(w.flat, dirs) {
		inside(dir)
	}
	for _, dir := range w.deep {
		inside(dir)
	}
	watching := make(map[string]bool)
	for _, dir := range n.kernel.WatchList() {
		watching[dir] = true
	}
	for dir, was := range n.known {
		is, err := os.Stat(dir)
		if !watching[dir] || !wanted[dir] || err != nil || !os.SameFile(was, is) { // another directory may have its name now
			_ = n.kernel.Remove(dir) // it may be gone
			delete(n.known, dir)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(wanted)) {
		if n.known[dir] != nil {
			continue
		}
		info, err := os.Stat(dir)
		if err != nil {
			continue // it is gone, which its parent tells
		}
		switch err := n.kernel.Add(dir); {
		case err == nil:
			n.known[dir], more = info, true
		case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
			// It is gone, or is only above what is watched: no file in it can be found. The rare look has to do.
		default:
			n.cannot(fmt.Errorf("watch %s: %w", dir, err))
			return more
		}
	}
	return more
}

// say warns if changes are noticed late, once for each reason.
func (n *notifier) say() {
	if n.blind != n.said && n.blind != "" && n.warn != nil {
		n.warn(fmt.Sprintf("changed files are noticed only every %s: %s", n.often, n.blind))
	}
	n.said = n.blind
}

// matters reports whether an event may be about what is watched.
func (n *notifier) matters(e fsnotify.Event) bool {
	base := filepath.Base(e.Name)
	if n.names[base] || features.Named(base) {
		return e.Op != fsnotify.Chmod
	}
	return n.within[filepath.Dir(e.Name)] && e.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) != 0
}

// wait waits until it is time to look at the files. It reports whether ctx is still there.
func (n *notifier) wait(ctx context.Context) bool {
	every := n.rarely
	if n.kernel == nil || n.blind != "" {
		every = n.often
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	var events <-chan fsnotify.Event
	var errs <-chan error
	if n.kernel != nil {
		events, errs = n.kernel.Events, n.kernel.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-errs: //nolint:errcheck // events were lost, whatever it says
			return true
		case e := <-events:
			if n.matters(e) {
				return true
			}
		}
	}
}

// change waits until the files of w differ from before and stop changing, and returns their names. It returns nil if ctx ends.
// state returns w and before; they may change meanwhile.
func (n *notifier) change(ctx context.Context, state func() (w *watched, before map[string]stamp)) []string {
	for {
		w, before := state()
		now, dirs := w.look()
		for more := 0; n.follow(w, dirs) && more < 3; more++ { // what changed before the kernel was asked
			now, dirs = w.look()
		}
		if !maps.Equal(now, before) {
			for resting := false; !resting; {
				if !pause(ctx, n.rest) {
					return nil
				}
				last := now
				now, _ = w.look()
				resting = maps.Equal(now, last)
			}
			if _, before = state(); !maps.Equal(now, before) {
				return different(before, now)
			}
			continue
		}
		if !n.wait(ctx) || !pause(ctx, restShort/2) {
			return nil
		}
	}
}

// pause waits, and reports whether ctx is still there.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
