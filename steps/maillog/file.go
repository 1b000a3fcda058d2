package maillog

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
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

const (
	headMax   = 1024      // bytes by which a file is recognised
	lineMax   = 64 << 10  // bytes of a line that are looked at
	bufferMax = 256 << 10 // bytes read at once
	placesMax = 4         // files that may still grow: the one that is written and those just rotated away
)

// rotationPause is how long a rotation may leave a log half renamed.
const rotationPause = 20 * time.Millisecond

// place is how far a file was read.
type place struct {
	Inode   uint64 `json:"inode"`
	Head    string `json:"head,omitempty"` // SHA-256 of the first HeadLen bytes
	HeadLen int    `json:"head_len"`
	Offset  int64  `json:"offset"` // behind the last whole line that was read
	Current bool   `json:"current"`
}

// files reads a log file and what it was before it was rotated.
//
// A server goes on writing to a file that was renamed until it is told to open the new one. So the last few files stay known
// and are looked at again, each time: nothing depends on how long that takes.
type files struct {
	Places  []place   `json:"places,omitempty"` // the oldest first
	Begun   bool      `json:"begun"`
	Rotated time.Time `json:"rotated"` // when the newest of the rotated files was written last: those of later are new
}

// logFile is a file that is the log or was.
type logFile struct {
	path    string
	gz      bool
	current bool
	info    fs.FileInfo
	open    *os.File
}

// next hands every whole line that was written since the last call to handle, in order. With an old place that is found
// nowhere, lost is true: the lines behind it were rotated away. since is from when on lines are wanted the first time. What
// was handed over is remembered also when there is an error.
func (f *files) next(ctx context.Context, path string, since time.Time, handle func(line []byte)) (lost bool, err error) {
	var found []*logFile
	var known map[*logFile]place
	var first int
	// A rotation while we look hides files for a moment: the list was made before the copy, and the log opened after.
	for tries := 5; ; tries-- {
		found, known, first, lost, err = f.locate(path, since)
		if !lost && !errors.Is(err, errRotated) || tries == 0 || ctx.Err() != nil {
			break
		}
		closeAll(found)
		time.Sleep(rotationPause)
	}
	defer closeAll(found)
	if err != nil {
		return false, err
	}
	var places []place
	for i, l := range found {
		p, again := known[l]
		if !again && i < first {
			continue
		}
		p, err := l.read(ctx, p, handle)
		if !l.gz { // what is compressed grows no more
			places = append(places, p)
		}
		if err != nil {
			f.keep(places, found[i+1:], known)
			return lost, err
		}
	}
	f.keep(places, nil, nil)
	for _, l := range found {
		if !l.current && l.info.ModTime().After(f.Rotated) {
			f.Rotated = l.info.ModTime()
		}
	}
	return lost, nil
}

// locate opens the files and finds in which of them the known places are, and from which file on all are new. lost says that
// the place in the log itself is in none.
func (f *files) locate(path string, since time.Time) (found []*logFile, known map[*logFile]place, first int, lost bool, err error) {
	if found, err = openAll(path, since); err != nil {
		return found, nil, 0, false, err
	}
	first = len(found) - 1
	known = make(map[*logFile]place)
	if !f.Begun {
		first = 0
	}
	places := slices.Clone(f.Places)
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(min(b.HeadLen, 1), min(a.HeadLen, 1)) }) // what is certain first
	for _, p := range places {
		at, err := find(found, p)
		if err != nil {
			return found, nil, 0, false, err
		}
		if at >= 0 {
			if _, taken := known[found[at]]; taken {
				at = -1 // by a file of the same inode that is gone
			} else {
				known[found[at]] = p
			}
		}
		if !p.Current {
			continue
		}
		if at >= 0 && p.HeadLen > 0 {
			first = at + 1
			continue
		}
		lost = p.HeadLen > 0 // otherwise it was empty, and looks like any other
		first = slices.IndexFunc(found, func(l *logFile) bool { return l.current || l.info.ModTime().After(f.Rotated) })
	}
	return found, known, first, lost, nil
}

// keep remembers how far the files were read. Those that an error kept from being read stay where they were; a new one is then
// found to be newer than all others.
func (f *files) keep(places []place, unread []*logFile, known map[*logFile]place) {
	for _, l := range unread {
		if p, ok := known[l]; ok {
			places = append(places, p)
		}
	}
	if len(places) == 0 {
		return
	}
	for i := range places {
		places[i].Current = i == len(places)-1
	}
	f.Begun = true
	f.Places = places[max(0, len(places)-placesMax):]
}

// recent goes to what is not more than limit bytes before the end of the log. Rotated files are still read from their begin, when
// next finds that they are recent enough.
func (f *files) recent(path string, limit int64) error {
	found, err := openAll(path, time.Now())
	defer closeAll(found)
	if err != nil {
		return err
	}
	l := found[len(found)-1]
	if l.info.Size() <= limit {
		return nil
	}
	begin, err := head(l.open, headMax)
	if err != nil {
		return unreadable(path, err)
	}
	f.Places = []place{{Inode: inode(l.info), Offset: l.info.Size() - limit, Head: sum(begin), HeadLen: len(begin)}}
	return nil
}

var errRotated = errors.New("it was rotated just now")

// openAll opens the log and its rotated siblings that were written since, the oldest first and the log itself last.
func openAll(path string, since time.Time) (found []*logFile, err error) {
	if found, err = siblings(path); err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(l *logFile) bool { return l.info.ModTime().Before(since) })
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && len(found) > 0 && time.Since(found[len(found)-1].info.ModTime()) < time.Minute {
		return nil, fmt.Errorf("the log %s is not there although %s is: %w", path, found[len(found)-1].path, errRotated)
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("the log %s is a directory: name the file in it", path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the log %s is no ordinary file (%s)", path, info.Mode().Type())
	}
	found = append(found, &logFile{path: path, info: info, current: true})
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
		l.info = now
	}
	return found, nil
}

// unreadable says what to do about a log that cannot be opened.
func unreadable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the log %s cannot be read: permission denied: add stepwatch's user to the group that may, mostly adm: %w", path, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the log %s does not exist: correct the path, or use journal where the system keeps no such file: %w", path, err)
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

// siblings lists what logrotate makes of a log: path.1, path.2.gz, path-20260102, path-20260102.gz; the oldest first.
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
			continue // gone again
		}
		if other := byName[plain]; other == nil || other.gz { // while it is compressed there are both
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

// find gives the file that a place is in, or -1. It is the file of that inode, whatever its name, or the copy of one that was
// truncated or compressed.
func find(found []*logFile, p place) (int, error) {
	order := make([]int, len(found))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { // those of the same inode first
		rank := func(i int) int {
			if inode(found[i].info) == p.Inode {
				return 0
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
	for _, i := range order {
		l := found[i]
		switch {
		case p.HeadLen == 0 && (l.gz || inode(l.info) != p.Inode), !l.gz && l.info.Size() < p.Offset:
			continue
		}
		same, err := l.begins(p)
		if err != nil {
			return -1, err
		}
		if same {
			return i, nil
		}
	}
	return -1, nil
}

// begins says whether the file begins as the place's does.
func (l *logFile) begins(p place) (bool, error) {
	r, err := l.content()
	if err != nil {
		if l.gz {
			return false, nil // it is being written, or is none; if it is the one, its lines are reported as lost
		}
		return false, err
	}
	begin, err := head(r, p.HeadLen)
	if err != nil && l.gz {
		return false, nil
	}
	return len(begin) == p.HeadLen && sum(begin) == p.Head, err
}

// content is the file's content from its begin, decompressed.
func (l *logFile) content() (io.Reader, error) {
	if _, err := l.open.Seek(0, io.SeekStart); err != nil {
		return nil, unreadable(l.path, err)
	}
	if !l.gz {
		return l.open, nil
	}
	return gzip.NewReader(bufio.NewReaderSize(l.open, bufferMax))
}

// head gives the first bytes, or as many as there are.
func head(r io.Reader, length int) ([]byte, error) {
	if at, ok := r.(io.ReaderAt); ok {
		r = io.NewSectionReader(at, 0, int64(length))
	}
	b := make([]byte, length)
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:n], err
}

func sum(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:16])
}

// read hands on the whole lines behind the place to the end, and gives the new place. A last line without its end is left for
// the next time, but in a compressed file, where none will come.
func (l *logFile) read(ctx context.Context, old place, handle func(line []byte)) (p place, err error) {
	p = old
	p.Inode = inode(l.info)
	if !l.gz {
		begin, err := head(l.open, headMax)
		if err != nil {
			return p, unreadable(l.path, err)
		}
		if len(begin) < old.HeadLen || sum(begin[:old.HeadLen]) != old.Head {
			return old, nil // truncated since it was found: the next time finds the copy
		}
		defer func() {
			begin = begin[:min(int64(len(begin)), p.Offset)]
			p.Head, p.HeadLen = sum(begin), len(begin)
		}()
	}
	r, err := l.content()
	if err != nil {
		return p, fmt.Errorf("the log %s cannot be read: %w", l.path, err)
	}
	if l.gz {
		if p.HeadLen == 0 {
			begin, err := head(r, headMax)
			if err != nil {
				return p, fmt.Errorf("the log %s cannot be read: %w", l.path, err)
			}
			p.Head, p.HeadLen = sum(begin), len(begin)
			r = io.MultiReader(bytes.NewReader(begin), r)
		}
		_, err = io.CopyN(io.Discard, r, p.Offset)
	} else {
		_, err = l.open.Seek(p.Offset, io.SeekStart)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return p, fmt.Errorf("the log %s cannot be read: %w", l.path, err)
	}
	lines := bufio.NewReaderSize(r, bufferMax)
	for n := 0; ; n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return p, fmt.Errorf("the log %s is longer than could be read in time: %d bytes are left, the next run goes on there: %w",
				l.path, max(0, l.info.Size()-p.Offset), context.Cause(ctx))
		}
		line, length, err := nextLine(lines)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && l.gz && length > 0:
		case errors.Is(err, io.EOF):
			return p, nil
		default:
			return p, fmt.Errorf("the log %s cannot be read: %w", l.path, err)
		}
		p.Offset += length
		handle(line)
		if err != nil {
			return p, nil
		}
	}
}

// nextLine gives the next line without its end, cut at lineMax, and how long it was with it. At the end of the file the error
// is io.EOF, and what is there of a line comes with it.
func nextLine(r *bufio.Reader) (line []byte, length int64, err error) {
	line, err = r.ReadSlice('\n')
	length = int64(len(line))
	if errors.Is(err, bufio.ErrBufferFull) {
		line = slices.Clone(line[:lineMax])
		for errors.Is(err, bufio.ErrBufferFull) {
			var more []byte
			more, err = r.ReadSlice('\n')
			length += int64(len(more))
		}
	}
	line = bytes.TrimRight(line, "\r\n")
	return line[:min(len(line), lineMax)], length, err
}
