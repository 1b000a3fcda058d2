package history

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// reader reads numbers and texts from bytes that may be damaged. Its first error stays; after it, everything is zero.
type reader struct {
	rest []byte
	size int
	part string // what is read, for the error
	in   *reader
	from int // where it begins in the other
	err  error
}

func newReader(b []byte, part string) *reader { return &reader{rest: b, size: len(b), part: part} }

// fail keeps the first error with its place.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: at byte %d of %d: %w", r.name(), r.size-len(r.rest), r.size, err)
	}
	r.rest = nil
}

func (r *reader) name() string {
	if r.in == nil {
		return r.part
	}
	return fmt.Sprintf("%s: %s at byte %d", r.in.name(), r.part, r.from)
}

var (
	errShort  = errors.New("it ends too early")
	errNumber = errors.New("a number is too large")
)

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail(map[bool]error{true: errShort, false: errNumber}[n == 0])
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail(map[bool]error{true: errShort, false: errNumber}[n == 0])
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail(errShort)
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// bytes returns the next n bytes, which belong to the reader's.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail(errShort)
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// section returns a reader of a part that follows its length.
func (r *reader) section(part string) *reader {
	n := r.uvarint()
	at := r.size - len(r.rest)
	b := r.bytes(n)
	return &reader{rest: b, size: len(b), part: part, in: r, from: at, err: r.err}
}

// count returns how many things follow: each has at least one byte.
func (r *reader) count(things string, most int) int {
	n := r.uvarint()
	if n > uint64(most) || n > uint64(len(r.rest)) { //nolint:gosec // most is not negative
		if r.err == nil {
			r.fail(fmt.Errorf("%d %s", n, things))
		}
		return 0
	}
	return int(n) //nolint:gosec // at most most
}

// end fails if something is left.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail(errors.New("more than there should be"))
	}
	return r.err
}
