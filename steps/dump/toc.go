package dump

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stepwatch/stepwatch/steps/archive"
)

// magic is at the beginning of the custom format, and of the table of contents of the directory and tar formats.
const magic = "PGDMP"

// The formats in the table of contents.
const (
	formatCustom    = 1
	formatTar       = 3
	formatDirectory = 5
)

// The compressions of the custom format.
const (
	compressNone = 0
	compressGzip = 1
	compressLZ4  = 2
	compressZstd = 3
)

// toc is a table of contents (pg_backup_archiver.c of PostgreSQL, versions 8.0 to 18).
type toc struct {
	version  int // 1.14 is 1<<8 + 14
	intSize  int
	offSize  int
	format   int
	compress int
	database string
	server   string
	tables   int
	rows     int           // tables with data
	data     map[int]entry // entries with data, by their number
}

// entry is an entry with data.
type entry struct {
	what string // "table public.mails", "large objects"
	file string // of the directory and tar formats
	copy bool   // the data are those of a COPY, which end with `\.`
}

const largeObjects = "the large objects"

// Versions of the archive format that added something.
const (
	version1p8  = 1<<8 + 8
	version1p10 = 1<<8 + 10
	version1p11 = 1<<8 + 11
	version1p14 = 1<<8 + 14
	version1p15 = 1<<8 + 15
	version1p16 = 1<<8 + 16
)

// Limits of a table of contents: its entries, and the bytes of a name.
const (
	mostEntries = 5_000_000
	longestName = 4096
)

// tocReader reads the numbers and texts of a table of contents. It keeps the first error.
type tocReader struct {
	from    *bufio.Reader
	intSize int
	err     error
}

func (r *tocReader) byte() int {
	if r.err != nil {
		return 0
	}
	b, err := r.from.ReadByte()
	if err != nil {
		r.fail(err)
	}
	return int(b)
}

func (r *tocReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	if errors.Is(err, io.EOF) {
		r.err = fmt.Errorf("%w: in its table of contents", archive.ErrTruncated)
	}
}

// int reads a number: a sign, and the number of bytes in the header, the lowest first.
func (r *tocReader) int() int {
	sign := r.byte()
	n := uint64(0)
	for i := range r.intSize {
		b := uint64(r.byte()) //nolint:gosec // a byte
		if i < 8 {
			n |= b << (8 * i)
		}
	}
	if n > 1<<40 {
		r.fail(fmt.Errorf("%w: its table of contents has an impossible number", archive.ErrDamaged))
		return 0
	}
	if sign != 0 {
		return -int(n)
	}
	return int(n)
}

// string reads a text, shortened if it is long, and reports whether there is one.
func (r *tocReader) string() (string, bool) {
	length := r.int()
	if r.err != nil || length < 0 {
		return "", false
	}
	kept := make([]byte, min(length, longestName))
	if _, err := io.ReadFull(r.from, kept); err != nil {
		r.fail(io.EOF)
		return "", false
	}
	r.skip(length - len(kept))
	return string(kept), true
}

func (r *tocReader) skip(n int) {
	if r.err == nil && n > 0 {
		if _, err := io.CopyN(io.Discard, r.from, int64(n)); err != nil {
			r.fail(err)
		}
	}
}

// skipString skips a text. It reports whether there is one, and whether it is not empty.
func (r *tocReader) skipString() (there, filled bool) {
	length := r.int()
	r.skip(length)
	return r.err == nil && length >= 0, length > 0
}

// readTOC reads a header and the table of contents after it.
func readTOC(from *bufio.Reader) (*toc, error) {
	r := &tocReader{from: from}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(from, head); err != nil || string(head) != magic {
		return nil, ErrFormat
	}
	t := &toc{data: make(map[int]entry)}
	major, minor := r.byte(), r.byte()
	r.byte() // the revision
	t.version = major<<8 + minor
	if r.err == nil && (major != 1 || t.version < version1p10) {
		return nil, fmt.Errorf("%w of a known version: it has %d.%d, and the known ones start at 1.10 (PostgreSQL 8.0)", ErrFormat, major, minor)
	}
	t.intSize, t.offSize, t.format = r.byte(), r.byte(), r.byte()
	r.intSize = t.intSize
	if r.err == nil && (t.intSize < 2 || t.intSize > 8 || t.offSize < 2 || t.offSize > 8) {
		return nil, fmt.Errorf("%w: its header has numbers of %d bytes", archive.ErrDamaged, t.intSize)
	}
	if t.version >= version1p15 {
		t.compress = r.byte()
	} else if r.int() != 0 { // the level
		t.compress = compressGzip
	}
	for range 7 {
		r.int() // the time of the dump
	}
	t.database, _ = r.string()
	t.server, _ = r.string()
	r.string() // the version of pg_dump
	count := r.int()
	if r.err == nil && (count < 0 || count > mostEntries) {
		return nil, fmt.Errorf("%w: its table of contents has %d entries", archive.ErrDamaged, count)
	}
	for i := 0; i < count && r.err == nil; i++ {
		t.entry(r)
	}
	if r.err != nil {
		return nil, r.err
	}
	return t, nil
}

// entry reads one entry.
func (t *toc) entry(r *tocReader) {
	number := r.int()
	hasData := r.int() != 0
	r.skipString() // tableoid
	r.skipString() // oid
	name, _ := r.string()
	kind, _ := r.string()
	if t.version >= version1p11 {
		r.int() // section
	}
	r.skipString() // the statement that creates it
	r.skipString() // the statement that drops it
	_, copied := r.skipString()
	schema, _ := r.string()
	r.skipString() // tablespace
	if t.version >= version1p14 {
		r.skipString() // access method
	}
	if t.version >= version1p16 {
		r.int() // kind of relation
	}
	r.skipString() // owner
	r.skipString() // with OIDs
	for {          // dependencies
		if there, _ := r.skipString(); !there {
			break
		}
	}
	e := entry{what: kind + " " + name, copy: copied}
	switch t.format {
	case formatCustom:
		const noData = 3 // K_OFFSET_NO_DATA of pg_backup_archiver.h
		hasData = r.byte() != noData && hasData
		r.skip(t.offSize)
	default:
		e.file, _ = r.string()
		hasData = e.file != ""
	}
	switch kind {
	case "TABLE":
		t.tables++
	case "TABLE DATA":
		t.rows++
		e.what = "the table " + schema + "." + name
	case "BLOBS":
		e.what = largeObjects
	}
	if hasData && r.err == nil {
		t.data[number] = e
	}
}

func (t *toc) dump(format string) *Dump {
	d := &Dump{Format: format, Database: t.database, Server: firstWord(t.server), Tables: t.tables}
	if d.Tables == 0 {
		d.Tables = t.rows
	}
	return d
}

// firstWord returns the first word, such as "15.8" of "15.8 (Debian 15.8-0+deb12u1)".
func firstWord(text string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return word
}
