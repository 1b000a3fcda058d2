package cmd

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestNoticesChanges changes files in every way in which editors and deployments do, and waits for the kernel's word alone.
func TestNoticesChanges(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	do := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string) error {
		return errors.Join(os.MkdirAll(filepath.Dir(at(name)), 0o755), os.WriteFile(at(name), []byte(content), 0o600))
	}
	do(write("stepwatch.yml", "a"), write("features/a.feature", "a"), write("features/deep/b.feature", "b"),
		write("elsewhere/c.feature", "c"), os.Symlink(at("elsewhere/c.feature"), at("features/c.feature")),
		write("releases/1/d.feature", "d"), os.Symlink("releases/1", at("current")),
		write("volume/..1/e.feature", "e"), os.Symlink("..1", at("volume/..data")), os.Symlink("..data/e.feature", at("volume/e.feature")))
	w := &watched{files: []string{at("stepwatch.yml"), at("features/c.feature"), at("volume/e.feature")}, deep: []string{at("features"), at("current"), at("volume"), at("later")}}
	n := newNotifier(time.Hour, time.Hour, restShort, func(text string) { t.Error(text) })
	defer n.close()
	before, _ := w.look()
	for _, change := range []struct {
		name string
		make func()
		want string // a part of one of the names; empty: no change
	}{
		{"a file is written", func() { do(write("features/a.feature", "other")) }, "a.feature"},
		{"an editor renames", func() {
			do(write("features/.a.swp", "another one"), os.Rename(at("features/.a.swp"), at("features/a.feature")))
		}, "a.feature"},
		{"the configuration", func() { do(write("stepwatch.yml", "other")) }, "stepwatch.yml"},
		{"a file that has nothing to do with it", func() {
			do(write("features/notes.txt", "x"), write("features/notes.txt", "xy"), os.Remove(at("features/notes.txt")))
		}, ""},
		{"a new directory", func() { do(write("features/new/deeper/f.feature", "f")) }, "f.feature"},
		{"a file in it", func() { do(write("features/new/deeper/f.feature", "other")) }, "f.feature"},
		{"a directory goes away", func() { do(os.Rename(at("features"), at("away"))) }, "a.feature"},
		{"and another one comes", func() { do(os.Rename(at("away"), at("features"))) }, "a.feature"},
		{"a file in it is written", func() { do(write("features/deep/b.feature", "other")) }, "b.feature"},
		{"the target of a link", func() { do(write("elsewhere/c.feature", "other")) }, "c.feature"},
		{"the next release", func() {
			do(write("releases/2/d.feature", "next"), os.Symlink("releases/2", at("next")), os.Rename(at("next"), at("current")))
		}, "d.feature"},
		{"a file in it", func() { do(write("releases/2/d.feature", "changed")) }, "d.feature"},
		{"a volume of Kubernetes", func() {
			do(write("volume/..2/e.feature", "next"), os.Symlink("..2", at("volume/..next")), os.Rename(at("volume/..next"), at("volume/..data")), os.RemoveAll(at("volume/..1")))
		}, "e.feature"},
		{"the same again", func() {
			do(write("volume/..3/e.feature", "more"), os.Symlink("..3", at("volume/..next")), os.Rename(at("volume/..next"), at("volume/..data")), os.RemoveAll(at("volume/..2")))
		}, "e.feature"},
		{"a path that was not there", func() { do(write("later/g.feature", "g")) }, "g.feature"},
		{"everything goes", func() { do(os.RemoveAll(at("later")), os.RemoveAll(at("features"))) }, "g.feature"},
	} {
		limit := 10 * time.Second
		if change.want == "" {
			limit = 500 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		timer := time.AfterFunc(100*time.Millisecond, change.make)
		changed := strings.Join(n.change(ctx, func() (*watched, map[string]stamp) { return w, before }), " ")
		cancel()
		timer.Stop()
		if (changed == "") != (change.want == "") || !strings.Contains(changed, change.want) {
			t.Errorf("%s: %q changed, want %q", change.name, changed, change.want)
		}
		before, _ = w.look()
	}
}

// TestTimesOfFiles holds that a file that changed while it was read counts as changed once, and that a time in the future, as after
// a step of the clock, does not count as a change again and again.
func TestTimesOfFiles(t *testing.T) {
	begun := time.Now().Add(-time.Second)
	old, young, future := stamp{1, begun.Add(-time.Hour)}, stamp{1, begun.Add(time.Millisecond)}, stamp{1, begun.Add(time.Hour)}
	got := late(map[string]stamp{"old": old, "young": young, "known": young, "future": future}, map[string]stamp{"known": old}, begun)
	want := map[string]stamp{"old": old, "young": {}, "known": old, "future": future}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestNoticesWithoutTheKernel holds that changes are noticed without inotify, and that somebody is told what to do.
func TestNoticesWithoutTheKernel(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.feature")
	w := &watched{files: []string{path}}
	var said []string
	n := &notifier{rarely: time.Hour, often: 20 * time.Millisecond, rest: restShort, warn: func(text string) { said = append(said, text) }}
	n.cannot(&os.SyscallError{Syscall: "inotify_init1", Err: syscall.EMFILE})
	time.AfterFunc(200*time.Millisecond, func() { _ = os.WriteFile(path, []byte("a"), 0o600) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if changed := n.change(ctx, func() (*watched, map[string]stamp) { return w, nil }); len(changed) != 1 {
		t.Errorf("%q changed", changed)
	}
	if len(said) != 1 || !strings.Contains(said[0], "raise it with sysctl") || !strings.Contains(said[0], "max_user_instances, now ") {
		t.Errorf("it said %q", said)
	}
}
