package maillog

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// recognised is which files were read before.
type recognised struct {
	files    []*logFile // without copies of existing files
	places   []*place   // of each file; nil if it is new
	first    int        // files from here on are new, except those with a place
	doubtful bool       // the result is a guess
}

// recognise finds the places in the files. Both are in the order of writing, so it only needs to find the newest place:
// earlier places are in earlier files. Contents may be alike if the server logs the same within one second. Then it
// takes the file with which most of the others fit.
func (f *files) recognise(found []*logFile) (m recognised, err error) {
	if m.files, m.doubtful, err = f.withoutCopies(found); err != nil || len(f.Places) == 0 {
		m.places = make([]*place, len(m.files))
		return m, err
	}
	for newest := len(f.Places) - 1; newest >= 0; newest-- {
		best, err := f.find(m.files, newest)
		if err != nil {
			return m, err
		}
		if best.files != nil {
			m.places, m.first = best.files, best.at+1
			m.doubtful = m.doubtful || best.alike || best.unsure || newest < len(f.Places)-1
			return m, nil
		}
	}
	// None of the files is left.
	m.places, m.first, m.doubtful = make([]*place, len(m.files)), len(m.files)-1, true
	return m, nil
}

// alignment is a way to assign the places to the files.
type alignment struct {
	at     int      // the file of the newest place
	files  []*place // the place of each file
	odd    int      // how much of it no rotation produces
	same   int      // number of identical files
	found  int      // number of places that are in a file
	alike  bool     // another alignment is as good
	unsure bool     // there are unknown files, a file taken for another, or the copy of a log of which more was read
}

// better is negative if a is the better one of two.
func (a alignment) better(b alignment) int {
	return cmp.Or(cmp.Compare(a.odd, b.odd), cmp.Compare(b.same, a.same), cmp.Compare(b.found, a.found))
}

// find returns the best alignment with this place as the newest one, if there is any.
func (f *files) find(found []*logFile, newest int) (best alignment, err error) {
	for i := range found {
		a, err := f.align(found, i, newest)
		switch {
		case err != nil:
			return best, err
		case a.files == nil:
		case best.files == nil, a.better(best) < 0:
			best = a
		case a.better(best) == 0:
			best.alike = f.Places[newest].Offset > 0 // otherwise there are only empty files between
		}
	}
	return best, nil
}

// align assigns the newest place to one file, and the earlier places to the files before it.
func (f *files) align(found []*logFile, at, newest int) (a alignment, err error) {
	fit, err := f.fits(&f.Places[newest], found[at])
	if err != nil || !fit.content {
		return a, err
	}
	a = alignment{at: at, files: make([]*place, len(found))}
	for _, l := range found[at+1:] {
		if f.known(l) && !l.current { // newer than itself
			a.odd++
		}
	}
	n := newest
	for i := at; i >= 0; i-- {
		l := found[i]
		if n >= 0 {
			if fit, err = f.fits(&f.Places[n], l); err != nil {
				return a, err
			}
			if !fit.same && i < at {
				older := slices.IndexFunc(f.Places[:n], func(p place) bool { return p.is(l.identity) })
				if older >= 0 { // the ones between are gone
					a.odd += n - older
					n = older
					if fit, err = f.fits(&f.Places[n], l); err != nil {
						return a, err
					}
				}
			}
			if fit.content {
				a.files[i] = &f.Places[n]
				if fit.short { // the server wrote more between copying and truncating
					a.files[i], a.unsure = &place{Done: true}, true
				}
				if fit.same {
					a.same++
				}
				if !fit.usual {
					a.odd++
					a.unsure = a.unsure || f.known(l) // it only looks like this one, because the lines are the same
				}
				a.found++
				n--
				continue
			}
		}
		// It did not exist, and is not new.
		if !f.Begun || n < 0 && len(f.Places) == placesMax {
			continue
		}
		begin, err := l.begins()
		if err != nil {
			return a, err
		}
		if len(begin) > 0 {
			a.odd++
			a.unsure = true
		}
	}
	return a, nil
}

func (f *files) known(l *logFile) bool {
	return slices.ContainsFunc(f.Places, func(p place) bool { return p.is(l.identity) })
}

// fit is how well a place fits a file.
type fit struct {
	content bool // it may be this file
	same    bool // it is the same file
	usual   bool // a rotation of that file produces this one
	short   bool // it is the copy of a log of which more was read
}

func (f *files) fits(p *place, l *logFile) (fit, error) {
	var r fit
	r.same = p.is(l.identity) && p.Gz == l.gz
	r.usual = r.same || !f.known(l) && (l.gz && !p.Gz || p.Log && !l.current)
	if r.same && l.gz || p.Offset == 0 {
		r.content = r.usual
		return r, nil
	}
	if l.gz {
		begin, err := l.begins()
		r.content = len(begin) >= p.anchorLen() && sum(begin[:p.anchorLen()]) == p.Head
		return r, err
	}
	a, err := l.anchorsAt(p)
	if err != nil {
		return r, err
	}
	r.content = a.are(p)
	if r.content || r.same || !r.usual {
		return r, nil
	}
	size, err := l.size()
	r.short = size < p.Offset && sum(a.head) == p.Head
	r.content = r.short
	return r, err
}

// withoutCopies removes the copy of a log that is not truncated yet, and the copies of a log that was never truncated.
func (f *files) withoutCopies(found []*logFile) (kept []*logFile, doubtful bool, err error) {
	last := len(found) - 1
	if last < 1 || !found[last].current {
		return found, false, nil
	}
	log := found[last]
	if n := len(f.Places); n > 0 && f.Places[n-1].Log && !f.Places[n-1].is(log.identity) {
		return found, false, nil // it was renamed, not copied
	}
	kept, log.copies = []*logFile{log}, nil
	next := log
	for _, l := range slices.Backward(found[:last]) {
		if l.gz || f.known(l) || l.Born < log.Born {
			kept, next = append(kept, l), l
			continue
		}
		copied, sure, err := l.copyOf(next)
		if err != nil {
			return found, false, err
		}
		doubtful = doubtful || !sure
		if copied {
			l.original = next
			log.copies = append(log.copies, l)
		} else {
			kept, next = append(kept, l), l
		}
	}
	slices.Reverse(kept)
	return kept, doubtful, nil
}

// copyOf reports whether the file is a copy of the start of the other one.
func (l *logFile) copyOf(other *logFile) (copied, sure bool, err error) {
	mine, err := l.open.Stat()
	if err != nil {
		return false, false, unreadable(l.path, err)
	}
	others, err := other.open.Stat()
	if err != nil {
		return false, false, unreadable(other.path, err)
	}
	p := place{Offset: mine.Size()}
	a, err := l.anchorsAt(&p)
	if err != nil {
		return false, false, err
	}
	b := anchors{tail: a.tail} // for a compressed file the start must be enough
	if other.gz {
		b.head, err = other.begins()
		b.head = b.head[:min(len(b.head), p.anchorLen())]
	} else {
		b, err = other.anchorsAt(&p)
	}
	if err != nil {
		return false, false, err
	}
	switch {
	case p.Offset == 0:
		return true, true, nil
	case !other.gz && others.Size() < p.Offset, !bytes.Equal(a.head, b.head), !bytes.Equal(a.tail, b.tail):
		return false, true, nil
	case !a.ofOneSecond():
		return true, true, nil
	}
	// The server may have written the same again after the log was truncated.
	switch written := others.ModTime().Compare(mine.ModTime()); {
	case others.Size() > mine.Size() || written == 0:
		return true, false, nil
	default:
		return written < 0, true, nil
	}
}

// ofOneSecond reports whether the first and the last line may have the same time, so that later lines may be the same.
func (a anchors) ofOneSecond() bool {
	stamp := len(time.Stamp)
	if len(a.head) > 0 && a.head[0] >= '0' && a.head[0] <= '9' {
		stamp = len(time.DateTime)
	}
	lines := bytes.Split(a.tail, []byte("\n"))
	for _, line := range lines[min(1, len(lines)-1):] {
		if len(line) >= stamp && len(a.head) >= stamp && !bytes.Equal(line[:stamp], a.head[:stamp]) {
			return false
		}
	}
	return true
}
