package cmd

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// watch runs the features, and runs them again each time that one of their files is saved, until ctx ends. It shows a
// mistake in a file and waits for the next change. It returns the exit code of the last run.
func (r *runOptions) watch(ctx context.Context, t *terminal) int {
	known := &watched{} // from the last set that could be loaded
	changes := newNotifier(lookOften, lookOften, restShort, func(text string) { fmt.Fprintln(t.err, "stepwatch: "+text) })
	defer changes.close()
	for {
		w := known.clone()
		w.follow(*r.load.config, r.flags.Args(), nil)
		unread, _ := w.look()
		set, err := r.load.readFor(r.flags.Args(), true)
		if err == nil {
			w = &watched{}
			w.follow(*r.load.config, r.flags.Args(), set)
			known = w
			if err = r.load.runnable(set, r.flags.Args()); err == nil {
				set.plans = append(set.plans, set.refused...)
			}
		}
		before, _ := w.look()
		maps.Copy(before, unread) // a file that changed while it was read counts as changed
		code := exitNotRun
		if err != nil {
			notRun(t, err)
		} else {
			code = r.run(ctx, t, set)
		}
		if ctx.Err() != nil {
			return code
		}
		fmt.Fprintf(t.out, "\nWatching %s. Press Ctrl-C to stop.\n", counted(len(before), "file"))
		changed := changes.change(ctx, func() (*watched, map[string]stamp) { return w, before })
		if changed == nil {
			return code
		}
		fmt.Fprintf(t.out, "\n── %s  %s\n\n", time.Now().Format(time.TimeOnly), strings.Join(changed, ", "))
	}
}

// watched lists the files that a run depends on.
type watched struct {
	files []string // existing or not
	flat  []string // directories whose features count
	deep  []string // directories whose features count, with subdirectories
}

// late returns the stamps of files that were read from begun on, so that those count as changed that changed meanwhile: what
// unread says of the time before, and those that are younger.
func late(stamps, unread map[string]stamp, begun time.Time) map[string]stamp {
	now := time.Now()
	for path, s := range stamps {
		if s.modified.After(begun.Add(-tick)) && s.modified.Before(now) { // a time in the future says nothing
			stamps[path] = stamp{}
		}
	}
	maps.Copy(stamps, unread)
	return stamps
}

// tick is how much earlier than it happened the kernel may say that a file changed.
const tick = 10 * time.Millisecond

func (w *watched) clone() *watched {
	return &watched{slices.Clone(w.files), slices.Clone(w.flat), slices.Clone(w.deep)}
}

// stamp identifies a version of a file.
type stamp struct {
	size     int64
	modified time.Time
}

var atLine = regex.Lazy(`:\d+$`)

// follow adds the files that a run with these arguments reads. s is nil if they could not be loaded.
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
		w.files = append(w.files, s.config.Files...)
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
			w.deep = append(w.deep, path) // it may become a file or a directory
		}
		path = atLine.ReplaceAllString(path, "")
		// Own sentences may be next to a feature, too.
		w.files, w.flat = append(w.files, path), append(w.flat, filepath.Dir(path))
		w.deep = append(w.deep, features.SentenceDirs(filepath.Dir(path))...)
	}
	for _, list := range []*[]string{&w.files, &w.flat, &w.deep} { // a file has many scenarios
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

// look returns the stamps of the existing files, and the directories below those that are watched with them. A file that cannot
// be read counts as missing.
func (w *watched) look() (found map[string]stamp, dirs []string) {
	found = make(map[string]stamp)
	add := func(path string) {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			found[filepath.Clean(path)] = stamp{info.Size(), info.ModTime()}
		}
	}
	for _, path := range w.files {
		add(path)
	}
	for _, dir := range w.flat {
		paths, _ := filepath.Glob(filepath.Join(dir, "*.feature*")) // for a directory with brackets the pattern finds less, but the file itself is listed
		for _, path := range paths {
			if features.Named(filepath.Base(path)) {
				add(path)
			}
		}
	}
	for _, dir := range w.deep {
		root := dir + string(filepath.Separator) // so that a symbolic link works
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir // as features.Load does
			}
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			if err == nil && features.Named(entry.Name()) {
				add(path)
			}
			return nil
		})
	}
	return found, dirs
}

// different returns the paths whose stamps differ between a and b.
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
