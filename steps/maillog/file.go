package maillog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	anchorMax = 1024      // bytes at the start of a file and before the place that identify its content
	lineMax   = 64 << 10  // bytes of a line that are examined
	bufferMax = 256 << 10 // bytes read at once
	packedMax = 32 << 10  // bytes of a compressed file read at once
	placesMax = 20        // files whose places are stored
)

const (
	rotationPause = 20 * time.Millisecond // pause before looking again during a rotation
	rotationTries = 10
	missingMax    = time.Minute // how long a log may be missing after it was renamed
)

// place is how far a file was read.
type place struct {
	identity
	Log    bool   `json:"log,omitempty"` // it had the log's own name
	Gz     bool   `json:"gz,omitempty"`
	Done   bool   `json:"done,omitempty"` // nothing more of it is needed
	Offset int64  `json:"offset"`         // after the last whole line that was read, decompressed
	Head   string `json:"head,omitempty"` // hash of its start, at most anchorMax bytes of what was read
	Tail   string `json:"tail,omitempty"` // hash of as many bytes before Offset
}

// anchorLen returns the number of bytes that Head and Tail are hashes of.
func (p *place) anchorLen() int { return int(min(p.Offset, anchorMax)) }

// files reads a log file and its rotated predecessors.
//
// A file is recognised by its start and by the content before the place up to which it was read. Its identity and its
// position among the others decide if contents are alike. A server continues to write to a renamed file until it is
// told to open the new one, so each call examines all files again: nothing depends on how long that takes.
type files struct {
	Places  []place   `json:"places,omitempty"` // of the files at that time, the oldest first
	Begun   bool      `json:"begun"`
	Missing time.Time `json:"missing,omitzero"` // since when no file has the log's own name

	doubtful bool               // in this pass
	at       func(stage string) // called between the steps; only for tests
}

func (f *files) stage(name string) {
	if f.at != nil {
		f.at(name)
	}
}

func (f *files) pause() {
	if f.at != nil {
		f.at("pause")
		return
	}
	time.Sleep(rotationPause)
}

// errRotated means that files do not fit together because of a rotation. Another look helps.
var errRotated = errors.New("it was rotated just now")

// next passes every whole line that was written since the last call to handle, in order. doubtful means that some lines
// may be missing or may have been passed before. since is the time of the oldest wanted lines in the first call. Lines
// that were passed are recorded even after an error.
func (f *files) next(ctx context.Context, path string, since time.Time, handle func(line []byte)) (doubtful bool, err error) {
	for tries := rotationTries; ; tries-- {
		doubt, err := f.pass(ctx, path, since, tries == 0, handle)
		doubtful = doubtful || doubt
		if !errors.Is(err, errRotated) || tries == 0 || ctx.Err() != nil {
			return doubtful, err
		}
		f.pause()
	}
}

// pass examines the files once. If something is uncertain it returns errRotated, except the last time.
func (f *files) pass(ctx context.Context, path string, since time.Time, last bool, handle func(line []byte)) (doubtful bool, err error) {
	found, err := f.snapshot(path, last)
	defer closeAll(found)
	if err != nil {
		return false, err
	}
	f.stage("recognise")
	m, err := f.recognise(found)
	switch {
	case err != nil:
		return false, err
	case m.doubtful && !last:
		return false, fmt.Errorf("the log %s: %w", path, errRotated)
	}
	f.doubtful = m.doubtful
	var places []place
	for i, l := range m.files {
		p := m.places[i]
		switch {
		case p != nil:
		case f.Begun && i < m.first, !f.Begun && l.info.ModTime().Before(since):
			p = &place{Done: true} // from before the first read, or too old to be needed
		default:
			p = &place{}
		}
		now, err := f.read(ctx, l, *p, handle)
		places = append(places, now)
		if err != nil { // the rest stays where it was; a file without a place then counts as newer than all others
			for _, p := range m.places[i+1:] {
				if p != nil {
					places = append(places, *p)
				}
			}
			f.keep(places)
			return f.doubtful, err
		}
	}
	f.keep(places)
	return f.doubtful, nil
}

func (f *files) keep(places []place) {
	f.Begun = true
	f.Places = slices.Clone(places[max(0, len(places)-placesMax):])
}

// recent starts at most limit bytes before the end of the log. Rotated files are still read from their start if next
// finds that they are recent enough.
func (f *files) recent(path string, limit int64) error {
	found, err := f.snapshot(path, true)
	defer closeAll(found)
	if err != nil {
		return err
	}
	l := found[len(found)-1]
	size, err := l.size()
	if err != nil || !l.current || size <= limit {
		return err
	}
	p := place{identity: l.identity, Log: true, Offset: size - limit}
	a, err := l.anchorsAt(&p)
	if err != nil {
		return err
	}
	a.mark(&p)
	f.Places = []place{p}
	return nil
}

// anchors are the bytes that identify a place.
type anchors struct{ head, tail []byte }

// anchorsAt reads the anchors at the place.
func (l *logFile) anchorsAt(p *place) (a anchors, err error) {
	if a.head, err = l.bytesAt(0, p.anchorLen()); err != nil {
		return a, err
	}
	a.tail, err = l.bytesAt(p.Offset-int64(p.anchorLen()), p.anchorLen())
	return a, err
}

// are reports whether these are the anchors of the place.
func (a anchors) are(p *place) bool { return sum(a.head) == p.Head && sum(a.tail) == p.Tail }

func (a anchors) mark(p *place) { p.Head, p.Tail = sum(a.head), sum(a.tail) }

// after returns the anchors after more bytes.
func (a anchors) after(b []byte) anchors {
	head := slices.Concat(a.head, b[:min(len(b), anchorMax-len(a.head))])
	tail := slices.Concat(a.tail, b[max(0, len(b)-anchorMax):])
	return anchors{head, tail[max(0, len(tail)-anchorMax):]}
}

func sum(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:16])
}

// read passes on the whole lines from the place to the end, and returns the new place. It leaves a last line without
// its end for the next call, except in a compressed file, which does not grow.
//
// A log may be truncated at any moment, and grow again. So read passes on what it read only if that is still there
// afterwards, after the content that was there before.
func (f *files) read(ctx context.Context, l *logFile, p place, handle func(line []byte)) (place, error) {
	p.identity, p.Log, p.Gz = l.identity, l.current, l.gz
	if p.Done {
		return p, nil
	}
	r, ahead, err := l.behind(&p) // ahead is the anchors after everything that was read
	switch {
	case errors.Is(err, errOther):
		f.doubtful, p.Done = true, true
		return p, nil
	case err != nil:
		return p, err
	}
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	buffer := *pooled
	var rest int         // bytes at the start of the buffer that begin a line
	var long []byte      // the start of a line that is longer than the buffer
	position := p.Offset // position of the buffer's start
	for {
		f.stage("read")
		n, err := io.ReadFull(r, buffer[rest:])
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return p, unreadable(l.path, err)
		}
		content := buffer[:rest+n]
		f.stage("check")
		if err := l.still(&p, position, content); err != nil {
			return p, err
		}
		done := 0
		for n := 0; ; n++ {
			length := bytes.IndexByte(content[done:], '\n') + 1
			if length == 0 && end && l.gz {
				length = len(content) - done
			}
			if length == 0 {
				break
			}
			if n%1000 == 0 && ctx.Err() != nil {
				if done > 0 {
					ahead.after(content[:done]).mark(&p)
				}
				return p, l.tooLong(ctx, &p)
			}
			line := content[done : done+length]
			if long != nil {
				line, long = long, nil
			}
			line = bytes.TrimRight(line, "\r\n")
			handle(line[:min(len(line), lineMax)])
			done += length
			p.Offset = position + int64(done)
		}
		if done > 0 {
			ahead = ahead.after(content[:done])
			ahead.mark(&p)
		}
		if end {
			p.Done = l.gz
			return p, nil
		}
		position += int64(done)
		if rest = copy(buffer, content[done:]); rest == len(buffer) {
			if long == nil {
				long = slices.Clone(buffer[:lineMax])
			}
			ahead = ahead.after(buffer)
			position, rest = position+int64(rest), 0
		}
	}
}

func (l *logFile) tooLong(ctx context.Context, p *place) error {
	return fmt.Errorf("the log %s is too long to read in time: %d bytes are left, the next run continues there: %w",
		l.path, max(0, l.info.Size()-p.Offset), context.Cause(ctx))
}

// buffers are reused: a log has several files, and is read again and again.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, bufferMax)
	return &b
}}

// errOther means that a compressed file cannot be the one that was read before: its content differs.
var errOther = errors.New("another content")

// behind returns the content after the place, and the anchors before it.
func (l *logFile) behind(p *place) (r io.Reader, known anchors, err error) {
	if !l.gz {
		if known, err = l.anchorsAt(p); err != nil {
			return nil, known, err
		}
		if !known.are(p) {
			return nil, known, fmt.Errorf("the log %s: %w", l.path, errRotated)
		}
		return io.NewSectionReader(l.open, p.Offset, math.MaxInt64-p.Offset), known, nil
	}
	if r, err = l.decompressed(); err != nil {
		return nil, known, unreadable(l.path, err)
	}
	skip := io.LimitReader(r, p.Offset)
	buffer := make([]byte, 32<<10)
	for at := int64(0); at < p.Offset; {
		n, err := io.ReadFull(skip, buffer)
		at += int64(n)
		known = known.after(buffer[:n])
		switch {
		case err == nil, at == p.Offset:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return r, known, nil // it was compressed while the server still wrote to it, and more was read of it than it now has
		default:
			return nil, known, unreadable(l.path, err)
		}
	}
	if !known.are(p) {
		return nil, known, errOther
	}
	return r, known, nil
}

// still returns an error if the file was truncated since content was read.
func (l *logFile) still(p *place, position int64, content []byte) error {
	if l.gz {
		return nil
	}
	if l.current { // a log is copied before it is truncated
		if err := unchanged(l.path, l.beside); err != nil {
			return err
		}
	}
	for _, c := range l.copies { // their content is not read from them
		copied, _, err := c.copyOf(c.original)
		if err != nil {
			return err
		}
		if !copied {
			return fmt.Errorf("the log %s: %w", l.path, errRotated)
		}
	}
	before, err := l.anchorsAt(p)
	if err != nil {
		return err
	}
	begin, err := l.bytesAt(position, min(len(content), anchorMax))
	if err != nil {
		return err
	}
	if !before.are(p) || !bytes.HasPrefix(content, begin) || len(begin) < min(len(content), anchorMax) {
		return fmt.Errorf("the log %s: %w", l.path, errRotated)
	}
	return nil
}
