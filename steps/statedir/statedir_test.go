//go:build unix

package statedir

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// nobody is another user.
const nobody = 65534

// TestMain is also the process that is killed while it writes, and the one that claims a directory.
func TestMain(m *testing.M) {
	if path, is := os.LookupEnv("STATEDIR_TEST_OPEN"); is {
		_, err := Open(path)
		if err != nil {
			_, _ = os.Stdout.WriteString(err.Error())
		}
		os.Exit(0)
	}
	if stage, is := os.LookupEnv("STATEDIR_TEST_KILL"); is {
		d, err := Open(os.Getenv("STATEDIR_TEST_DIR"))
		if err != nil {
			panic(err)
		}
		d.at = func(now string) {
			if now == stage {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
		_ = d.WriteFile("file", []byte("new"))
		select {}
	}
	os.Exit(m.Run())
}

// newDir returns a directory that no umask makes others' too.
func newDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOpenRefuses(t *testing.T) {
	dir := newDir(t)
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	made := func(name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		must(os.Mkdir(path, 0o700), os.Chmod(path, mode))
		return path
	}
	world := made("world", 0o777)
	sticky := made("sticky", 0o777|fs.ModeSticky)
	must(os.Mkdir(filepath.Join(world, "below"), 0o700), os.Mkdir(filepath.Join(sticky, "below"), 0o700), os.Symlink(made("aim", 0o700), filepath.Join(dir, "link")))
	must(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	tests := []struct{ name, path, want string }{
		{"world-writable", world, world + ": other users may write it (mode drwxrwxrwx): chmod go-w " + world},
		{"sticky, but everybody may add to it", sticky, sticky + ": other users may write it (mode dtrwxrwxrwx): chmod go-w " + sticky},
		{"below a world-writable one", filepath.Join(world, "below"), world + ": every user may replace what is in it (mode drwxrwxrwx): chmod +t " + world},
		{"to be created below a world-writable one", filepath.Join(world, "new"), world + ": every user may replace what is in it (mode drwxrwxrwx): chmod +t " + world},
		{"below a sticky one", filepath.Join(sticky, "below"), ""},
		{"ours", made("ours", 0o755), ""},
		{"created", filepath.Join(dir, "a", "b"), ""},
		{"through our link", filepath.Join(dir, "link"), ""},
		{"a file", filepath.Join(dir, "file"), "mkdir " + filepath.Join(dir, "file") + ": not a directory"},
	}
	if os.Getuid() == 0 {
		theirs, grouped, link := made("theirs", 0o700), made("grouped", 0o775), filepath.Join(sticky, "link")
		must(os.Chown(theirs, nobody, nobody), os.Chown(grouped, 0, nobody), os.Symlink(filepath.Join(dir, "aim"), link), os.Lchown(link, nobody, nobody))
		tests = append(tests, []struct{ name, path, want string }{
			{"another user's", theirs, theirs + ": it belongs to another user (uid 65534, and stepwatch runs as uid 0): run stepwatch as that user, or choose another directory"},
			{"a group's", grouped, grouped + ": other users may write it (mode drwxrwxr-x): chmod go-w " + grouped},
			{"through another user's link", link, link + ": a symbolic link of another user (uid 65534): remove it, or name the directory that it leads to"},
			{"to be created through another user's link", filepath.Join(link, "new"), link + ": a symbolic link of another user (uid 65534): remove it, or name the directory that it leads to"},
		}...)
	} else {
		t.Log("without root: other users' directories are not tested")
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Open(tt.path)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				defer d.Close()
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	if _, err := os.Lstat(filepath.Join(dir, "aim", "new")); err == nil {
		t.Error("it created a directory through another user's link")
	}
}

// TestOpenAsAnotherUser holds that a directory of root is refused, and that a private group counts as the user.
func TestOpenAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	dir, err := os.MkdirTemp("", "statedir-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	theirs, roots, self := filepath.Join(dir, "theirs"), filepath.Join(dir, "roots"), filepath.Join(dir, "test")
	program, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.Mkdir(theirs, 0o700), os.Chmod(theirs, 0o775), os.Chown(theirs, nobody, nobody), os.Mkdir(roots, 0o755), os.WriteFile(self, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{theirs: "",
		roots: roots + ": it belongs to another user (uid 0, and stepwatch runs as uid 65534): run stepwatch as that user, or choose another directory"} {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env, cmd.Dir = append(os.Environ(), "STATEDIR_TEST_OPEN="+path), dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if got, err := cmd.CombinedOutput(); err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}

func TestCheckTemporary(t *testing.T) {
	dir := newDir(t)
	for mode, want := range map[fs.FileMode]string{0o777: dir + ": every user may replace what is in it (mode drwxrwxrwx): chmod +t " + dir, 0o777 | fs.ModeSticky: "", 0o700: ""} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := CheckTemporary(dir); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("mode %s: got %q, want %q", mode, got, want)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := newDir(t)
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, content := range []string{"one", "two"} {
		if err := d.WriteFile("file", []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.ReadFile("file", bytesOf(3)); err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "file")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want the mode 0600", info, err)
	}
	if _, err := d.ReadFile("file", bytesOf(2)); err == nil || err.Error() != filepath.Join(dir, "file")+": the file has more than 2 bytes, the limit" {
		t.Errorf("got %v", err)
	}
	sub, err := d.Sub("sub")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if info, err := os.Stat(filepath.Join(dir, "sub")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v, want the mode 0700", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestStrangers puts other things in the place of a file: none is read, written or waited for.
func TestStrangers(t *testing.T) {
	victim := filepath.Join(newDir(t), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, stranger := range map[string]struct {
		put  func(path string) error
		says string
	}{
		"link":        {func(path string) error { return os.Symlink(victim, path) }, "a symbolic link, not a file: remove it"},
		"link within": {func(path string) error { return os.Symlink("other", path) }, "a symbolic link, not a file: remove it"},
		"FIFO":        {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file (mode prw-------): remove it"},
		"hard link":   {func(path string) error { return os.Link(victim, path) }, "a file with 2 names (hard links): remove it"},
		"directory":   {func(path string) error { return os.Mkdir(path, 0o700) }, "a directory, not a file: remove it"},
		"somebody else": {func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o644), os.Chown(path, nobody, nobody))
		}, "it belongs to another user (uid 65534): remove it"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "somebody else" && os.Getuid() != 0 {
				t.Skip("needs root")
			}
			dir := newDir(t)
			d, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			path := filepath.Join(dir, "file")
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "other"), nil, 0o600), stranger.put(path)); err != nil {
				t.Fatal(err)
			}
			want := path + ": " + stranger.says
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := d.ReadFile("file", bytesOf(100)); err == nil || err.Error() != want {
					t.Errorf("read: got %v, want %s", err, want)
				}
				if err := d.WriteFile("file", []byte("x")); err == nil || err.Error() != want {
					t.Errorf("write: got %v, want %s", err, want)
				}
				if _, err := d.OpenLock("file"); err == nil || err.Error() != want {
					t.Errorf("lock: got %v, want %s", err, want)
				}
				if _, err := d.Sub("file"); (err == nil) != (name == "directory") {
					t.Errorf("directory: got %v", err)
				}
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("it waits for something")
			}
			if content, err := os.ReadFile(victim); err != nil || string(content) != "precious" {
				t.Errorf("the file of somebody else: %q, %v", content, err)
			}
		})
	}
}

// TestKilledWhileWriting kills a process in the middle of a write: the file is the old one, and what was being written is
// removed later.
func TestKilledWhileWriting(t *testing.T) {
	for _, stage := range []string{"written", "synced"} {
		t.Run(stage, func(t *testing.T) {
			dir := newDir(t)
			d, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if err := d.WriteFile("file", []byte("old")); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), "STATEDIR_TEST_KILL="+stage, "STATEDIR_TEST_DIR="+dir)
			_ = cmd.Run() // it is killed
			if got, err := d.ReadFile("file", bytesOf(100)); err != nil || string(got) != "old" {
				t.Errorf("got %q, %v", got, err)
			}
			left, _ := filepath.Glob(filepath.Join(dir, ".file.*.new"))
			if len(left) != 1 {
				t.Fatalf("left %v: this test could not fail", left)
			}
			d.RemoveStale()
			if _, err := os.Lstat(left[0]); err != nil {
				t.Errorf("a file that may be in use was removed: %v", err)
			}
			old := time.Now().Add(-2 * staleAfter)
			if err := os.Chtimes(left[0], old, old); err != nil {
				t.Fatal(err)
			}
			d.RemoveStale()
			if _, err := os.Lstat(left[0]); err == nil {
				t.Error("the file of a killed process is still there")
			}
		})
	}
}

func TestClaim(t *testing.T) {
	d, err := Open(newDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	claim, _, err := d.Claim()
	if err != nil || claim == nil {
		t.Fatalf("got %v, %v", claim, err)
	}
	if second, other, err := d.Claim(); second != nil || other != os.Getpid() || err != nil {
		t.Errorf("the second one got %v, %d, %v, want our process", second, other, err)
	}
	_ = claim.Close()
	if claim, _, err = d.Claim(); err != nil || claim == nil {
		t.Errorf("after the end of the first: %v, %v", claim, err)
	} else {
		_ = claim.Close()
	}
}

// TestClaimWithin waits for another one to end, but not for ever.
func TestClaimWithin(t *testing.T) {
	d, err := Open(newDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	first, _, err := d.ClaimWithin(time.Hour, func(int) { t.Error("waits although nobody has it") })
	if err != nil || first == nil {
		t.Fatalf("got %v, %v", first, err)
	}
	waited := 0
	if second, other, err := d.ClaimWithin(2*claimPause, func(int) { waited++ }); second != nil || other != os.Getpid() || err != nil || waited != 1 {
		t.Errorf("got %v, %d, %v, waited %d times", second, other, err, waited)
	}
	time.AfterFunc(2*claimPause, func() { _ = first.Close() })
	second, _, err := d.ClaimWithin(time.Minute, nil)
	if err != nil || second == nil {
		t.Fatalf("after the end of the first: %v, %v", second, err)
	}
	_ = second.Close()
}

func bytesOf(most int64) limit.Limit { return limit.Limit{What: "the file", Unit: "bytes", Most: most} }
