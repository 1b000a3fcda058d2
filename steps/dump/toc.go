package dump

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stepwatch/stepwatch/steps/archive"
)

// magic begins the custom format, and the table of contents of the directory and tar formats.
const magic = "PGDMP"

// The formats as the table of contents has them.
const (
	formatCustom    = 1
	formatTar       = 3
	formatDirectory = 5
)

// How the data of the custom format are compressed.
const (
	compressNone = 0
	compressGzip = 1
	compressLZ4  = 2
	compressZstd = 3
)

// toc is what the table of contents says (pg_backup_archiver.c of PostgreSQL, of the versions 8.0 to 18).
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
	data     map[int]entry // what has data, by its number
}

// entry is something with data.
type entry struct {
	what string // "table public.mails", "large objects"
	file string // of the directory and tar formats
	copy bool   // its data are those of a COPY, which ends with `\.`
}

const largeObjects = "the large objects"

// Versions of the archive in which something was added.
const (
	version1p8  = 1<<8 + 8
	version1p10 = 1<<8 + 10
	version1p11 = 1<<8 + 11
	version1p14 = 1<<8 + 14
	version1p15 = 1<<8 + 15
	version1p16 = 1<<8 + 16
)

// A table of contents is refused when it has more entries than this, or a name is longer.
const (
	mostEntries = 5_000_000
	longestName = 4096
)

// tocReader reads the numbers and texts of a table of contents. The first error stays.
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
		r.err = fmt.Errorf("%w: within its table of contents", archive.ErrTruncated)
	}
}

// int is a sign and as many bytes as the header says, the lowest first.
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
		r.fail(fmt.Errorf("%w: its table of contents has a number that cannot be", archive.ErrDamaged))
		return 0
	}
	if sign != 0 {
		return -int(n)
	}
	return int(n)
}

// string gives a text, cut when it is long, and whether there is one.
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

// skipString gives whether there was a text, and whether it had anything in it.
func (r *tocReader) skipString() (there, filled bool) {
	length := r.int()
	r.skip(length)
	return r.err == nil && length >= 0, length > 0
}

// readTOC reads a header and the table of contents behind it.
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
		return nil, fmt.Errorf("%w that is known here: its version is %d.%d, and known are those from 1.10 on (PostgreSQL 8.0)", ErrFormat, major, minor)
	}
	t.intSize, t.offSize, t.format = r.byte(), r.byte(), r.byte()
	r.intSize = t.intSize
	if r.err == nil && (t.intSize < 2 || t.intSize > 8 || t.offSize < 2 || t.offSize > 8) {
		return nil, fmt.Errorf("%w: its header says that numbers have %d bytes", archive.ErrDamaged, t.intSize)
	}
	if t.version >= version1p15 {
		t.compress = r.byte()
	} else if r.int() != 0 { // the level
		t.compress = compressGzip
	}
	for range 7 {
		r.int() // when it was made
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
	r.skipString() // the statement that makes it
	r.skipString() // that drops it
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
	for {          // what it depends on
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

// firstWord is "15.8" of "15.8 (Debian 15.8-0+deb12u1)".
func firstWord(text string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return word
}
