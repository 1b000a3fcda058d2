package cmd

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/features"
)

// lookEvery is how often the files are looked at. One that is just being written counts when it is the same twice.
const lookEvery = 200 * time.Millisecond

// watch runs the features, and again each time that one of the files which they come of is saved, until ctx ends. A mistake in a
// file is shown and waited out. It gives the exit code of the last run.
func (r *runOptions) watch(ctx context.Context, t *terminal) int {
	known := &watched{} // by the last set that could be loaded
	for {
		w := &watched{slices.Clip(known.files), slices.Clip(known.flat), slices.Clip(known.deep)}
		w.follow(*r.load.config, r.flags.Args(), nil)
		unread := w.look()
		set, err := r.load.read(r.flags.Args())
		if err == nil {
			w = &watched{}
			w.follow(*r.load.config, r.flags.Args(), set)
			known = w
			err = set.runnable(r.flags.Args())
		}
		before := w.look()
		maps.Copy(before, unread) // what was saved while it was read counts as saved
		code := exitNotRun
		if err != nil {
			notRun(t, err)
		} else {
			code = r.run(ctx, t, set)
		}
		if ctx.Err() != nil {
			return code
		}
		fmt.Fprintf(t.out, "\nWatching %s; Ctrl-C ends it.\n", counted(len(before), "file"))
		changed := w.wait(ctx, before)
		if changed == nil {
			return code
		}
		fmt.Fprintf(t.out, "\n── %s  %s\n\n", time.Now().Format(time.TimeOnly), strings.Join(changed, ", "))
	}
}

// watched is the files that a run comes of. They are compared with what they were: an editor that renames a new file into the place
// of the old one, a network file system and a directory of a container look the same that way.
type watched struct {
	files []string // whether they are there or not
	flat  []string // directories whose features count
	deep  []string // directories whose features count, with all beneath
}

// stamp is what a file is like.
type stamp struct {
	size     int64
	modified time.Time
}

var atLine = regexp.MustCompile(`:\d+$`)

// follow adds what a run with these arguments reads; s is nil when that could not be loaded.
func (w *watched) follow(configuration string, paths []string, s *set) {
	if configuration == "" {
		configuration = config.DefaultPath
	}
	w.files = append(w.files, configuration)
	if s != nil {
		if len(paths) == 0 {
			paths = s.config.Features
		}
		paths = append(slices.Clone(paths), s.config.Sentences...)
		for _, sentence := range s.sentences {
			w.files = append(w.files, sentence.Path)
		}
		for _, plan := range slices.Concat(s.plans, s.broken) {
			w.files = append(w.files, plan.Scenario.Path)
			for _, step := range plan.Steps() {
				if step != nil {
					w.files = append(w.files, step.Files()...)
				}
			}
		}
	}
	for _, path := range paths {
		switch info, err := os.Stat(path); {
		case err == nil && info.IsDir():
			w.deep = append(append(w.deep, path), features.SentenceDirs(path)...)
			continue
		case err != nil:
			w.deep = append(w.deep, path) // what it will be is not known yet
		}
		path = atLine.ReplaceAllString(path, "")
		// Sentences of one's own stand beside a feature too.
		w.files, w.flat = append(w.files, path), append(w.flat, filepath.Dir(path))
		w.deep = append(w.deep, features.SentenceDirs(filepath.Dir(path))...)
	}
}

// look gives what each of the files that are there is like. What cannot be looked at is not there.
func (w *watched) look() map[string]stamp {
	found := make(map[string]stamp)
	add := func(path string) {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			found[filepath.Clean(path)] = stamp{info.Size(), info.ModTime()}
		}
	}
	for _, path := range w.files {
		add(path)
	}
	for _, dir := range w.flat {
		paths, _ := filepath.Glob(filepath.Join(dir, "*.feature*")) // the pattern of a directory with brackets finds less, and its own file is there
		for _, path := range paths {
			if features.Named(filepath.Base(path)) {
				add(path)
			}
		}
	}
	for _, dir := range w.deep {
		root := dir + string(filepath.Separator) // so that it may be a symbolic link
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir // as features.Load does
			}
			if err == nil && features.Named(entry.Name()) {
				add(path)
			}
			return nil
		})
	}
	return found
}

// wait returns when files differ from before and have come to rest, and names them; nil when ctx ended.
func (w *watched) wait(ctx context.Context, before map[string]stamp) []string {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := before
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := w.look()
		if resting := maps.Equal(now, last); resting && !maps.Equal(now, before) {
			return different(before, now)
		}
		last = now
	}
}

// different names what is not in both alike.
func different(a, b map[string]stamp) []string {
	changed := make(map[string]bool)
	for path, was := range a {
		if is, there := b[path]; !there || is != was {
			changed[path] = true
		}
	}
	for path := range b {
		if _, there := a[path]; !there {
			changed[path] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}
