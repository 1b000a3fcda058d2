// Package dump reads database dumps to their end and checks that they are complete: those of PostgreSQL's pg_dump and
// pg_dumpall, in each of their formats, and those of mysqldump and mariadb-dump.
//
// A dump is complete when its last line says so, or when all data of its table of contents exist and unpack. Only a
// restore can show that its statements are correct.
package dump

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/stepwatch/stepwatch/steps/archive"
)

// ErrFormat means that a file is not a dump. A truncated or damaged dump is an error of package archive.
var ErrFormat = errors.New("it is not a dump")

// Dump describes a complete dump. Fields are empty when the dump does not contain the value.
type Dump struct {
	Format   string // "plain", "custom", "directory", "tar"; with the compression of the whole file: "plain with gzip"
	Database string
	Server   string // version of its server
	Tables   int    // number of tables that it defines, or, if it defines none, whose rows it holds
}

// Postgres reads a dump of pg_dump or pg_dumpall: a file, or the directory of the directory format.
func Postgres(ctx context.Context, path string) (*Dump, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return readDirectory(ctx, path)
	}
	r, err := open(ctx, path, info.Size())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var d *Dump
	head, err := r.Peek(len(magic))
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case string(head) == magic:
		d, err = readCustom(r)
	default:
		d, err = readTar(ctx, r)
		if errors.Is(err, archive.ErrFormat) {
			d, err = readPlain(r, &postgres)
		}
	}
	return compressed(d, r), err
}

// MySQL reads a dump of mysqldump or mariadb-dump.
func MySQL(ctx context.Context, path string) (*Dump, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%w: it is a directory", ErrFormat)
	}
	r, err := open(ctx, path, info.Size())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	d, err := readPlain(r, &mysql)
	return compressed(d, r), err
}

func open(ctx context.Context, path string, size int64) (*archive.Reader, error) {
	r, err := archive.Open(ctx, path)
	if err == nil && size == 0 {
		r.Close()
		return nil, fmt.Errorf("%w: it is empty", archive.ErrTruncated)
	}
	return r, err
}

func compressed(d *Dump, r *archive.Reader) *Dump {
	if d != nil && r.Kind != "" {
		d.Format += " with " + r.Kind
	}
	return d
}

// dialect describes how a program begins and ends a dump.
type dialect struct {
	begins  map[string]string // the line that identifies the dump, and how its last line begins
	trailer []string          // beginnings of lines that may follow the last line
	server  string            // the text before the version of the server
	head    int               // number of lines in which the identifying line must be
}

var (
	postgres = dialect{
		begins: map[string]string{
			"-- PostgreSQL database dump":         "-- PostgreSQL database dump complete",
			"-- PostgreSQL database cluster dump": "-- PostgreSQL database cluster dump complete",
		},
		// The line of --verbose, and the end of \restrict in versions since August 2025.
		trailer: []string{"--\n", "-- Completed on ", `\unrestrict `},
		server:  "-- Dumped from database version ",
		head:    5,
	}
	mysql = dialect{
		begins:  map[string]string{"-- MySQL dump ": "-- Dump completed", "-- MariaDB dump ": "-- Dump completed"},
		trailer: []string{"--\n"},
		server:  "-- Server version",
		head:    5,
	}
)

// lineKept is the number of bytes of a line that are kept. The rows of a table may be one line of many megabytes.
const lineKept = 4096

// nextLine returns the beginning of the next line, with its line break if the line is short, and skips the rest. After
// the last line it returns io.EOF.
func nextLine(r *archive.Reader, into []byte) ([]byte, error) {
	into = into[:0]
	for {
		part, err := r.ReadSlice('\n')
		into = append(into, part[:min(len(part), lineKept-len(into))]...)
		switch {
		case errors.Is(err, io.EOF) && len(into) > 0:
			return into, nil
		case err == nil || !errors.Is(err, bufio.ErrBufferFull):
			return into, err
		}
	}
}

// readPlain reads a dump of SQL statements.
func readPlain(r *archive.Reader, as *dialect) (*Dump, error) {
	d := &Dump{Format: "plain"}
	end, last, copying, restricted := "", "", "", ""
	created, copied := 0, 0
	buffer := make([]byte, 0, lineKept)
	for number := 1; ; number++ {
		line, err := nextLine(r, buffer)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return d, err
		}
		if end == "" {
			for begins, ends := range as.begins {
				if text := string(line); strings.HasPrefix(text, begins) && (text == begins+"\n" || strings.HasSuffix(begins, " ")) {
					end = ends
				}
			}
			if end == "" && number >= as.head {
				return nil, ErrFormat
			}
		}
		switch {
		case copying != "":
			if bytes.Equal(line, []byte("\\.\n")) {
				copying = ""
			}
			continue
		case restricted == "" && bytes.HasPrefix(line, []byte(`\restrict `)):
			restricted = string(bytes.TrimSpace(line[len(`\restrict`):]))
		case restricted != "" && string(bytes.TrimSpace(line)) == `\unrestrict `+restricted:
			restricted = ""
		case bytes.HasPrefix(line, []byte("CREATE TABLE ")):
			created++
		case bytes.HasPrefix(line, []byte("COPY ")) && (bytes.HasSuffix(line, []byte(" FROM stdin;\n")) || len(line) == lineKept):
			copied++
			copying, _, _ = strings.Cut(string(line[len("COPY "):]), " ")
		case bytes.HasPrefix(line, []byte(as.server)) && d.Server == "":
			d.Server = firstWord(string(line[len(as.server):]))
		case bytes.HasPrefix(line, []byte("-- Host: ")): // mysqldump: "-- Host: localhost    Database: app"
			_, d.Database, _ = strings.Cut(strings.TrimSpace(string(line)), "Database: ")
		}
		if !as.trails(line) {
			last = string(line)
		}
	}
	d.Tables = created
	if created == 0 {
		d.Tables = copied
	}
	switch {
	case end == "":
		return nil, ErrFormat
	case copying != "":
		return d, fmt.Errorf("%w: in the rows of %s", archive.ErrTruncated, copying)
	case !strings.HasPrefix(last, end):
		return d, fmt.Errorf("%w: its last line is not %q", archive.ErrTruncated, end)
	case restricted != "": // a text in the database may look like the last line
		return d, fmt.Errorf(`%w: the line \unrestrict is missing`, archive.ErrTruncated)
	}
	return d, nil
}

// trails reports whether a line may follow the last line of a dump.
func (as *dialect) trails(line []byte) bool {
	if len(bytes.TrimSpace(line)) == 0 {
		return true
	}
	for _, t := range as.trailer {
		if bytes.HasPrefix(line, []byte(t)) {
			return true
		}
	}
	return false
}
