package maillog

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// filesMax limits the files that are examined to the newest ones.
const filesMax = 100

// identity distinguishes a file from all others on its disk, whatever its name, and from earlier ones.
type identity struct {
	Inode uint64 `json:"inode"`
	Born  int64  `json:"born,omitempty"` // in nanoseconds of the Unix epoch; 0 where the system does not report it
}

// is reports whether it is the same file. The inode of a deleted file is used again.
func (i identity) is(other identity) bool {
	return i.Inode == other.Inode && (i.Born == other.Born || i.Born == 0 || other.Born == 0)
}

// logFile is the log or a rotated file of it.
type logFile struct {
	path    string
	gz      bool
	current bool // it has the log's own name
	identity
	info     fs.FileInfo // when it was opened
	open     *os.File
	beside   []*logFile // of the log: all files, including itself
	copies   []*logFile // of the log that is not truncated yet
	original *logFile   // the file of which it is a copy
	begin    []byte     // of a compressed file, at most anchorMax bytes; nil until first read
}

// snapshot opens the log and its rotated siblings as they were at one moment, the oldest first and the log itself last.
// Between renaming and creating there is no log; the last attempt accepts that.
func (f *files) snapshot(path string, last bool) (found []*logFile, err error) {
	f.stage("list")
	if found, err = list(path); err != nil {
		return nil, err
	}
	f.stage("open")
	for _, l := range found {
		if l.open, err = os.Open(l.path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = errRotated
			}
			return found, unreadable(l.path, err)
		}
		now, err := l.open.Stat()
		if err != nil {
			return found, unreadable(l.path, err)
		}
		if !os.SameFile(now, l.info) {
			return found, fmt.Errorf("the log %s: %w", l.path, errRotated)
		}
		l.info, l.identity = now, identity{inode(now), born(l.open)}
	}
	// The inode of an open file is not used again. So if every name still means the same file, it did so all the time.
	f.stage("list again")
	if err := unchanged(path, found); err != nil {
		return found, err
	}
	if n := len(found); n > 0 && found[n-1].current {
		f.Missing = time.Time{}
		found[n-1].beside = found
		return found, nil
	}
	if f.Missing.IsZero() {
		f.Missing = time.Now()
	}
	if len(found) == 0 || time.Since(f.Missing) > missingMax {
		if _, err = os.Stat(path); err == nil {
			err = errRotated
		}
		return found, unreadable(path, err)
	}
	if !last {
		return found, fmt.Errorf("the log %s is not there although %s is: %w", path, found[len(found)-1].path, errRotated)
	}
	return found, nil
}

// list returns the names and identities of the files without opening them.
func list(path string) ([]*logFile, error) {
	found, err := siblings(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, unreadable(path, err)
	case info.IsDir():
		return nil, fmt.Errorf("the log %s is a directory: name the file in it", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("the log %s is not a regular file (%s)", path, info.Mode().Type())
	default:
		found = append(found, &logFile{path: path, info: info, current: true})
	}
	return found[max(0, len(found)-filesMax):], nil
}

// unchanged returns an error unless the files still have the names under which they were found.
func unchanged(path string, found []*logFile) error {
	again, err := list(path)
	if err == nil && !slices.EqualFunc(found, again, func(a, b *logFile) bool { return a.path == b.path && os.SameFile(a.info, b.info) }) {
		err = fmt.Errorf("the log %s: %w", path, errRotated)
	}
	return err
}

// unreadable returns what to do about a log that cannot be opened.
func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the log %s cannot be read: permission denied: add stepwatch's user to the group that may read it, mostly adm: %w", path, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the log %s does not exist: correct the path, or use journal if the system has no such file: %w", path, err)
	default:
		return fmt.Errorf("the log %s cannot be read: %w", path, err)
	}
}

func closeAll(found []*logFile) {
	for _, l := range found {
		if l.open != nil {
			_ = l.open.Close() // only read from
		}
	}
}

// siblings lists the files that logrotate makes of a log: path.1, path.2.gz, path-20260102, path-20260102.gz; the
// oldest first.
func siblings(path string) ([]*logFile, error) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil, unreadable(path, err)
	}
	byName := make(map[string]*logFile)
	for _, entry := range entries {
		suffix, ok := strings.CutPrefix(entry.Name(), base)
		plain, gz := strings.CutSuffix(suffix, ".gz")
		if !ok || len(plain) < 2 || plain[0] != '.' && plain[0] != '-' || strings.Trim(plain[1:], "0123456789-") != "" || plain[1] == '-' {
			continue
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // it is gone again
		}
		if other := byName[plain]; other == nil || other.gz { // during compression both exist
			byName[plain] = &logFile{path: dir + entry.Name(), gz: gz, info: info}
		}
	}
	found := make([]*logFile, 0, len(byName)+1)
	suffixes := make([]string, 0, len(byName))
	for suffix := range byName {
		suffixes = append(suffixes, suffix)
	}
	slices.SortFunc(suffixes, func(a, b string) int {
		m, ok1 := number(a[1:])
		n, ok2 := number(b[1:])
		switch {
		case ok1 && ok2 && m < 10000 && n < 10000:
			return cmp.Compare(n, m) // path.2 is older than path.1
		case a[0] == b[0] && len(a) == len(b):
			return strings.Compare(a, b) // dates
		default:
			return byName[a].info.ModTime().Compare(byName[b].info.ModTime())
		}
	})
	for _, suffix := range suffixes {
		found = append(found, byName[suffix])
	}
	return found, nil
}

// size returns the current length of the file.
func (l *logFile) size() (int64, error) {
	info, err := l.open.Stat()
	if err != nil {
		return 0, unreadable(l.path, err)
	}
	return info.Size(), nil
}

// bytesAt returns length bytes of a plain file, or fewer at its end.
func (l *logFile) bytesAt(offset int64, length int) ([]byte, error) {
	return head(io.NewSectionReader(l.open, offset, int64(length)), length, l.path)
}

func head(r io.Reader, length int, path string) ([]byte, error) {
	b := make([]byte, length)
	n, err := io.ReadFull(r, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, unreadable(path, err)
	}
	return b[:n], nil
}

// begins returns the start of the file, decompressed. An unreadable compressed file has an empty start.
func (l *logFile) begins() ([]byte, error) {
	if !l.gz {
		return l.bytesAt(0, anchorMax) // read each time: it may be truncated meanwhile
	}
	if l.begin == nil {
		l.begin = []byte{}
		if r, err := l.decompressed(); err == nil {
			if begin, err := head(r, anchorMax, l.path); err == nil {
				l.begin = begin
			}
		}
	}
	return l.begin, nil
}

// decompressed returns the content of a compressed file from its start.
func (l *logFile) decompressed() (io.Reader, error) {
	if _, err := l.open.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return gzip.NewReader(bufio.NewReaderSize(l.open, packedMax))
}
