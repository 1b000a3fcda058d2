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
	anchorMax = 1024      // bytes at the begin, and before the place, by which a file's content is recognised
	lineMax   = 64 << 10  // bytes of a line that are looked at
	bufferMax = 256 << 10 // bytes read at once
	packedMax = 32 << 10  // bytes of a compressed file read at once
	placesMax = 20        // files that are remembered
)

const (
	rotationPause = 20 * time.Millisecond // how long to wait before looking again at what a rotation left half done
	rotationTries = 10
	missingMax    = time.Minute // how long a log may be away after it was renamed
)

// place is how far a file was read.
type place struct {
	identity
	Log    bool   `json:"log,omitempty"` // it bore the log's own name
	Gz     bool   `json:"gz,omitempty"`
	Done   bool   `json:"done,omitempty"` // nothing of it is wanted any more
	Offset int64  `json:"offset"`         // behind the last whole line that was read, decompressed
	Head   string `json:"head,omitempty"` // hash of what it begins with, at most anchorMax bytes of what was read
	Tail   string `json:"tail,omitempty"` // hash of as many bytes before Offset
}

// anchorLen is how many bytes Head and Tail are of.
func (p *place) anchorLen() int { return int(min(p.Offset, anchorMax)) }

// files reads a log file and what it was before it was rotated.
//
// A file is recognised by what it begins with and by what stands before the place up to which it was read; its identity and its
// place among the others decide where contents are alike. A server goes on writing to a file that was renamed until it is told
// to open the new one, so all files are looked at again each time: nothing depends on how long that takes.
type files struct {
	Places  []place   `json:"places,omitempty"` // of the files that there were, the oldest first
	Begun   bool      `json:"begun"`
	Missing time.Time `json:"missing,omitzero"` // since when there is no file of the log's own name

	doubtful bool               // in this pass
	at       func(stage string) // called between the steps; only tests have it
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

// errRotated is why files do not fit together: a rotation goes on. Looking again helps.
var errRotated = errors.New("it was rotated just now")

// next hands every whole line that was written since the last call to handle, in order. doubtful says that some may be
// missing, or may have been handed over before. since is from when on lines are wanted the first time. What was handed over is
// remembered also when there is an error.
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

// pass looks at the files once. What is not sure is errRotated, unless it is the last time.
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
			p = &place{Done: true} // of before the log is watched, or so old that it is wanted no more
		default:
			p = &place{}
		}
		now, err := f.read(ctx, l, *p, handle)
		places = append(places, now)
		if err != nil { // what follows stays where it was; a file without a place is then found to be newer than all others
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

// recent goes to what is not more than limit bytes before the end of the log. Rotated files are still read from their begin, when
// next finds that they are recent enough.
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

// anchors are the bytes by which a place is found again.
type anchors struct{ head, tail []byte }

// anchorsAt reads what is at the place.
func (l *logFile) anchorsAt(p *place) (a anchors, err error) {
	if a.head, err = l.bytesAt(0, p.anchorLen()); err != nil {
		return a, err
	}
	a.tail, err = l.bytesAt(p.Offset-int64(p.anchorLen()), p.anchorLen())
	return a, err
}

// are says whether they are those of the place.
func (a anchors) are(p *place) bool { return sum(a.head) == p.Head && sum(a.tail) == p.Tail }

func (a anchors) mark(p *place) { p.Head, p.Tail = sum(a.head), sum(a.tail) }

// after gives those behind more bytes.
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

// read hands on the whole lines behind the place to the end, and gives the new place. A last line without its end is left for
// the next time, but in a compressed file, where none will come.
//
// A log may be truncated at any moment, and grow again. So what was read is handed on only when it is still there afterwards,
// behind what was there before.
func (f *files) read(ctx context.Context, l *logFile, p place, handle func(line []byte)) (place, error) {
	p.identity, p.Log, p.Gz = l.identity, l.current, l.gz
	if p.Done {
		return p, nil
	}
	r, ahead, err := l.behind(&p) // ahead is of what is behind all that was read
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
	var rest int         // bytes at the begin of the buffer that are the begin of a line
	var long []byte      // the begin of a line that is longer than the buffer
	position := p.Offset // of the buffer's begin
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
	return fmt.Errorf("the log %s is longer than could be read in time: %d bytes are left, the next run goes on there: %w",
		l.path, max(0, l.info.Size()-p.Offset), context.Cause(ctx))
}

// buffers hold what is read at once of a log: a log has several files, and is read again all the time.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, bufferMax)
	return &b
}}

// errOther is why a compressed file cannot be what was read before: it differs.
var errOther = errors.New("another content")

// behind gives what is behind the place, and what is before it.
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
			return r, known, nil // it was compressed while the server still wrote to it, and more was read of it than is left
		default:
			return nil, known, unreadable(l.path, err)
		}
	}
	if !known.are(p) {
		return nil, known, errOther
	}
	return r, known, nil
}

// still says whether the file has not been truncated since content was read of it.
func (l *logFile) still(p *place, position int64, content []byte) error {
	if l.gz {
		return nil
	}
	if l.current { // a log is copied before it is truncated
		if err := unchanged(l.path, l.beside); err != nil {
			return err
		}
	}
	for _, c := range l.copies { // what they hold is not read of them
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
