// Package statedir opens the directories for what outlives a run, and reads and writes the files in them. Every file of
// stepwatch that another process may read later is written here.
//
// Only our user may change such a directory. Otherwise another user could put a symbolic link, a FIFO or a link to somebody's
// file in the place of a file, and stepwatch, which may run with more rights, would follow it. A directory that others may
// write is therefore refused. In one that only our user may write, nobody can exchange a file between the check and its use,
// and what such a directory contains from earlier times is checked before it is used.
//
// Files are readable by our user only. A file is replaced as a whole or not at all, even if the power fails meanwhile.
package statedir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Dir is an open directory. Its methods take names without a slash.
type Dir struct {
	root *os.Root
	path string

	at func(stage string) // called between the steps of a write; only for tests
}

// UnsafeError says why a directory or file is not used.
type UnsafeError struct {
	Path    string
	Problem string // "others may write it (mode drwxrwxrwx)"
	Remedy  string // "chmod go-w /path"
}

// Error says what is wrong with which path, and what to do.
func (e *UnsafeError) Error() string { return fmt.Sprintf("%s: %s: %s", e.Path, e.Problem, e.Remedy) }

// Open opens the directory of a path, and creates it and its parents if they do not exist. It refuses with an UnsafeError
//
//   - a directory that belongs to another user, or that others may write,
//   - one below a directory that everybody may write and that is not sticky, where everybody may exchange it,
//   - a path through a symbolic link of another user than us and root.
//
// A group with the number of our user counts as our user: many systems give each user such a group of its own.
func Open(path string) (*Dir, error) {
	d, err := open(path)
	if err != nil {
		return nil, err
	}
	info, err := d.root.Stat(".")
	if err == nil {
		err = private(path, info)
	}
	if err != nil {
		_ = d.Close() // nothing was written
		return nil, err
	}
	return d, nil
}

// OpenShared is Open for a directory that the user names for this purpose, and that others may write. Nothing that they put
// there leads outside of it.
func OpenShared(path string) (*Dir, error) { return open(path) }

func open(path string) (*Dir, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// First the part that exists, so that nothing is created behind somebody's link.
	if err := checkWay(absolute); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	if err := checkWay(absolute); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root, path: path}, nil
}

// Check is Open for a caller that uses the path itself, which is safe as long as nobody else may write the directory.
func Check(path string) error {
	d, err := Open(path)
	if err != nil {
		return err
	}
	return d.Close()
}

// CheckTemporary returns an UnsafeError if other users may replace what this process creates in a directory for temporary
// files.
func CheckTemporary(path string) error {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	return checkWay(filepath.Join(absolute, "new"))
}

// linksLimit is how many symbolic links a path may lead through, as for the kernel.
const linksLimit = 40

// checkWay checks the directories and symbolic links that lead to a path, as far as they exist.
func checkWay(path string) error {
	rest := strings.Split(strings.Trim(path, string(filepath.Separator)), string(filepath.Separator))
	at := filepath.VolumeName(path) + string(filepath.Separator)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		above, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if above.Mode().Perm()&0o002 != 0 && above.Mode()&fs.ModeSticky == 0 {
			return &UnsafeError{at, fmt.Sprintf("every user may replace what is in it (mode %s)", above.Mode()), "chmod +t " + at}
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if uid, known := owner(info); known && uid != 0 && uid != os.Geteuid() {
			return &UnsafeError{next, fmt.Sprintf("a symbolic link of another user (uid %d)", uid), "remove it, or name the directory that it leads to"}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if links++; links > linksLimit {
			return &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		if filepath.IsAbs(target) {
			at = filepath.VolumeName(target) + string(filepath.Separator)
		}
		rest = append(strings.Split(strings.Trim(target, string(filepath.Separator)), string(filepath.Separator)), rest...)
	}
	return nil
}

// private returns why a directory is not ours alone.
func private(path string, info fs.FileInfo) error {
	if uid, known := owner(info); known && uid != os.Geteuid() {
		return &UnsafeError{path, fmt.Sprintf("it belongs to another user (uid %d, and stepwatch runs as uid %d)", uid, os.Geteuid()),
			"run stepwatch as that user, or choose another directory"}
	}
	others := fs.FileMode(0o022)
	if gid, known := group(info); known && gid == os.Geteuid() {
		others = 0o002
	}
	if info.Mode().Perm()&others != 0 && unixModes {
		return &UnsafeError{path, fmt.Sprintf("other users may write it (mode %s)", info.Mode()), "chmod go-w " + path}
	}
	return nil
}

// file returns why a file of a directory is not used, or nil.
func (d *Dir) file(name string, info fs.FileInfo) error {
	path := d.Path(name)
	remove := "remove it"
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0:
		return &UnsafeError{path, "a symbolic link, not a file", remove}
	case mode.IsDir():
		return &UnsafeError{path, "a directory, not a file", remove}
	case !mode.IsRegular():
		return &UnsafeError{path, fmt.Sprintf("not a regular file (mode %s)", mode), remove}
	}
	if uid, known := owner(info); known && uid != os.Geteuid() {
		return &UnsafeError{path, fmt.Sprintf("it belongs to another user (uid %d)", uid), remove}
	}
	if n := names(info); n > 1 {
		return &UnsafeError{path, fmt.Sprintf("a file with %d names (hard links)", n), remove}
	}
	return nil
}

// CheckFile returns why a file of the directory must not be opened, or nil. It is for a caller that opens the file by its path,
// which is safe as long as nobody else may write the directory.
func (d *Dir) CheckFile(name string) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	return d.file(name, info)
}

// Root returns the directory for operations that this package does not have. It is closed by Close.
func (d *Dir) Root() *os.Root { return d.root }

// Path returns the path of a file for messages.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Close closes the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Sub opens a directory in the directory, and creates it if it does not exist. It is our user's alone.
func (d *Dir) Sub(name string) (*Dir, error) {
	if err := d.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &UnsafeError{d.Path(name), fmt.Sprintf("not a directory (mode %s)", info.Mode()), "remove it"}
	}
	if err := private(d.Path(name), info); err != nil {
		return nil, err
	}
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root, path: d.Path(name)}, nil
}

// ReadFile returns the content of a file. It refuses what is not a file of ours. The error of a file with more bytes than most
// wraps a *limit.Error.
func (d *Dir) ReadFile(name string, most limit.Limit) ([]byte, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if err := d.file(name, info); err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, most.Most+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(content)) > most.Most {
		return nil, fmt.Errorf("%s: %w", d.Path(name), most.Exceeded())
	}
	return content, nil
}

// temporary is the end of the names of files that are being written. One that is older than staleAfter is of a killed process.
const (
	temporary  = ".new"
	staleAfter = time.Hour
)

// WriteFile replaces a file as a whole. It refuses to replace what is not a file of ours.
func (d *Dir) WriteFile(name string, content []byte) (err error) {
	switch info, err := d.root.Lstat(name); {
	case err == nil:
		if err := d.file(name, info); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	next := "." + name + "." + rand.Text() + temporary
	f, err := d.root.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = d.root.Remove(next) // the first error says what is wrong
		}
	}()
	_, err = f.Write(content)
	d.stage("written")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	d.stage("synced")
	if err := d.root.Rename(next, name); err != nil {
		return err
	}
	return d.sync()
}

func (d *Dir) stage(name string) {
	if d.at != nil {
		d.at(name)
	}
}

// sync makes a rename in the directory survive a power failure.
func (d *Dir) sync() error {
	at, err := d.root.Open(".")
	if err != nil {
		return err
	}
	err = at.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrPermission) { // some file systems cannot
		err = nil
	}
	return errors.Join(err, at.Close())
}

// OpenLock opens a file that serves as a lock, and creates it if it does not exist.
func (d *Dir) OpenLock(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if err := d.file(name, info); err != nil {
		return nil, err
	}
	return d.root.OpenFile(name, os.O_RDWR, 0o600)
}

// RemoveStale removes the files that killed processes did not finish writing. It asks about no other entry: on one of them a
// disk may be mounted that never answers.
func (d *Dir) RemoveStale() {
	dir, err := d.root.Open(".")
	if err != nil {
		return // the next call tries again
	}
	defer func() { _ = dir.Close() }() // only read
	names, _ := dir.Readdirnames(-1)   // those that were read before an error are as good
	for _, name := range names {
		if !strings.HasPrefix(name, ".") || !strings.HasSuffix(name, temporary) {
			continue
		}
		if info, err := d.root.Lstat(name); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > staleAfter {
			_ = d.root.Remove(name)
		}
	}
}

// ownerFile is the lock of the process that uses the directory for a long time, with its process id in it.
const ownerFile = "owner.lock"

// Claim takes the directory for this process until the returned file is closed or the process ends. If another process has
// it, Claim returns nil and that process's id, as far as it is known. The claim keeps nobody out: it is there to be noticed.
func (d *Dir) Claim() (claim *os.File, other int, err error) {
	f, err := d.OpenLock(ownerFile)
	if err != nil {
		return nil, 0, err
	}
	taken, err := TryLock(f)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("lock %s: %w", d.Path(ownerFile), err), f.Close())
	}
	if !taken {
		text := make([]byte, 20)
		n, _ := f.ReadAt(text, 0)
		other, _ = strconv.Atoi(strings.TrimSpace(string(text[:n])))
		return nil, other, f.Close()
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // the lock works without the number
	}
	return f, 0, nil
}

// claimPause is the time between two attempts of ClaimWithin.
const claimPause = 100 * time.Millisecond

// ClaimWithin is Claim, but waits for the process that has the directory to end. It calls waiting once, when it begins to.
func (d *Dir) ClaimWithin(wait time.Duration, waiting func(other int)) (claim *os.File, other int, err error) {
	for end := time.Now().Add(wait); ; time.Sleep(claimPause) {
		claim, other, err = d.Claim()
		if claim != nil || err != nil || !time.Now().Before(end) {
			return claim, other, err
		}
		if waiting != nil {
			waiting(other)
			waiting = nil
		}
	}
}
