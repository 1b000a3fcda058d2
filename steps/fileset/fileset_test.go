package fileset_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/fileset"
)

// tree creates files. Each is an hour older and one byte larger than the previous one.
func tree(t *testing.T, paths ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, path := range paths {
		path = filepath.Join(dir, path)
		at := time.Now().Add(-time.Duration(i+1) * time.Hour)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, make([]byte, i+1), 0o644), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	dir := tree(t, "b/mail-2.tar", "a/mail-3.tar", "a/mail-1.tar", "a/.mail-0.tar", "a/other", "c")
	if err := errors.Join(os.Symlink("nowhere", filepath.Join(dir, "a/mail-4.tar")), os.Symlink("mail-5.tar", filepath.Join(dir, "a/mail-5.tar"))); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]string{
		"a/mail-1.tar":      "a/mail-1.tar",
		"a/mail-*.tar":      "a/mail-3.tar a/mail-1.tar",
		"a/mail-[12].tar":   "a/mail-1.tar",
		"*/mail-?.tar":      "b/mail-2.tar a/mail-3.tar a/mail-1.tar",
		"a/.*":              "a/.mail-0.tar",
		"a/*":               "a/mail-3.tar a/mail-1.tar a/other",
		"none/*":            "",
		"none":              "",
		"c/none":            "",
		"*/none/*":          "",
		"a/mail-1.tar/none": "",
	} {
		files, err := fileset.Find(t.Context(), filepath.Join(dir, pattern))
		var got []string
		for _, f := range files {
			name, _ := filepath.Rel(dir, f.Path)
			got = append(got, name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v", pattern, got, err)
		}
	}
	if _, err := fileset.Find(t.Context(), dir+"/a/[z"); !errors.Is(err, fileset.ErrPattern) {
		t.Errorf("got %v", err)
	}
	for _, link := range []string{"/a/mail-4.tar", "/a/mail-5.tar"} { // to nothing, and to itself
		if _, err := fileset.Find(t.Context(), dir+link); !errors.Is(err, fileset.ErrDangling) {
			t.Errorf("got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fileset.Find(ctx, dir+"/a/*"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := fileset.Root("/var/*/x/*.tar"); got != "/var" {
		t.Errorf("got %s", got)
	}
}

func TestDirectory(t *testing.T) {
	dir := tree(t, "dump/toc.dat", "dump/data/1.dat")
	old := time.Now().Add(-3 * time.Hour)
	for _, d := range []string{"dump/data", "dump"} {
		if err := os.Chtimes(filepath.Join(dir, d), old, old); err != nil {
			t.Fatal(err)
		}
	}
	files, err := fileset.Find(t.Context(), dir+"/dump*")
	if err != nil || len(files) != 1 || files[0].Size != 3 || time.Since(files[0].Modified).Round(time.Minute) != time.Hour {
		t.Errorf("got %+v, %v", files, err)
	}
}
