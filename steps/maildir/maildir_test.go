package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// folder returns a Maildir with these files.
func folder(t testing.TB, files ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, sub := range []string{"new", "cur", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		put(t, dir, file)
	}
	return dir
}

func put(t testing.TB, dir, file string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte("Subject: "+file+"\n\nbody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *Folder {
	t.Helper()
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func fresh(t *testing.T, f *Folder, want ...string) {
	t.Helper()
	got, err := f.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("fresh are %q, want %q", got, want)
	}
}

func TestFresh(t *testing.T) {
	dir := folder(t, "new/1.a.host", "cur/2.b.host:2,S", "tmp/3.c.host", "new/.hidden")
	f := open(t, dir)
	fresh(t, f, "1.a.host", "2.b.host")
	fresh(t, f)
	put(t, dir, "new/4.d.host")
	fresh(t, f, "4.d.host")
	// A mail program moves one while the next one arrives.
	if err := os.Rename(filepath.Join(dir, "new/4.d.host"), filepath.Join(dir, "cur/4.d.host:2,")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "new/5.e.host")
	fresh(t, f, "5.e.host")
}

// Fresh sees messages in a directory without recent changes, and messages within the same tick of the clock as the last
// look.
func TestFreshInARestedDirectory(t *testing.T) {
	dir := folder(t)
	past := time.Now().Add(-time.Hour)
	for _, sub := range []string{"new", "cur"} {
		if err := os.Chtimes(filepath.Join(dir, sub), past, past); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, dir)
	fresh(t, f)
	fresh(t, f)
	for i := range 200 {
		name := fmt.Sprintf("%d.x.host", i+1)
		put(t, dir, "new/"+name)
		fresh(t, f, name)
	}
}

func TestReadAndRemove(t *testing.T) {
	dir := folder(t, "new/1.a.host", "new/2.b.host", "new/3.c.host")
	if err := os.WriteFile(filepath.Join(dir, "maildirsize"), []byte("1000S\n75 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	fresh(t, f, "1.a.host", "2.b.host", "3.c.host")
	for name, moved := range map[string]string{"1.a.host": "cur/1.a.host:2,S", "2.b.host": "cur/2.b.host:2,"} {
		if err := os.Rename(filepath.Join(dir, "new", name), filepath.Join(dir, moved)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := f.Read("1.a.host", 16); string(got) != "Subject: new/1.a" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	for range 2 {
		if err := f.Remove("2.b.host"); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Read("2.b.host", 10); !errors.Is(err, ErrGone) {
		t.Errorf("read what is gone: %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "maildirsize")); string(got) != "1000S\n75 3\n-28 -1\n" {
		t.Errorf("the quota's count is %q", got)
	}
	if got, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(got) != 2 {
		t.Errorf("left are %q", got)
	}
}

func TestOpenFails(t *testing.T) {
	for name, dir := range map[string]string{"nothing": filepath.Join(t.TempDir(), "absent"), "no Maildir": t.TempDir()} {
		if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "mbox")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file: %v", err)
	}
}

// The mailbox's owner may put anything there, which a monitor that runs as root would read.
func TestReadNothingElse(t *testing.T) {
	dir := folder(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "new/1.link.host")); err != nil {
		t.Skip(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "new/2.dir.host"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	fresh(t, f, "1.link.host", "2.dir.host")
	for _, name := range []string{"1.link.host", "2.dir.host"} {
		if content, err := f.Read(name, 100); err == nil || len(content) > 0 {
			t.Errorf("%s: read %q, %v", name, content, err)
		}
	}
}

func TestDelivered(t *testing.T) {
	for name, want := range map[string]int64{"1700000000.M1P2.host,S=3": 1700000000, "x.y": 0, "13835348.host": 0, "": 0, "-5.x": 0, "99999999999999999999.x": 0} {
		if got := Delivered(name); want == 0 && !got.IsZero() || want != 0 && got.Unix() != want {
			t.Errorf("%q: %s", name, got)
		}
	}
}

func FuzzDelivered(f *testing.F) {
	f.Add("1700000000.M1P2.host:2,S")
	f.Fuzz(func(t *testing.T, entry string) {
		if at := Delivered(unique(entry)); !at.IsZero() && at.Unix() < 800_000_000 {
			t.Errorf("%q came at %s", entry, at)
		}
	})
}
