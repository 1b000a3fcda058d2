// Package dump reads database dumps to their end and says whether they are complete: what pg_dump and pg_dumpall of
// PostgreSQL write, in each of their formats, and what mysqldump and mariadb-dump write.
//
// A dump is complete when its last statement says so, or when all that its table of contents promises is there and unpacks.
// That the statements in it are right only a restore can show.
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

// ErrFormat says that a file is no dump. What is cut off or damaged is an error of package archive.
var ErrFormat = errors.New("it is no dump")

// Dump is what a complete dump says of itself. What it does not say is empty.
type Dump struct {
	Format   string // "plain", "custom", "directory", "tar"; with the compression of the whole file: "plain with gzip"
	Database string
	Server   string // version of the server that it is from
	Tables   int    // that it defines, or has the rows of when it defines none
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

// dialect is how a program begins and ends the statements that it writes.
type dialect struct {
	begins  map[string]string // the line that tells what it is, and how the last line then begins
	trailer []string          // what else may be at the end: lines that begin so
	server  string            // the version of the server is behind it
	head    int               // within how many lines the first must be
}

var (
	postgres = dialect{
		begins: map[string]string{
			"-- PostgreSQL database dump":         "-- PostgreSQL database dump complete",
			"-- PostgreSQL database cluster dump": "-- PostgreSQL database cluster dump complete",
		},
		// What --verbose adds, and what closes \restrict of the versions from August 2025 on.
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

// lineKept is how much is looked at of a line. The rows of a table may be one line of many megabytes.
const lineKept = 4096

// nextLine gives the beginning of a line, with its line break when that is in it, and reads the rest. It gives io.EOF behind
// the last.
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

// readPlain reads statements in SQL.
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
		return d, fmt.Errorf("%w: in the midst of the rows of %s", archive.ErrTruncated, copying)
	case !strings.HasPrefix(last, end):
		return d, fmt.Errorf("%w: its last line is not %q", archive.ErrTruncated, end)
	case restricted != "": // a text that a database holds may be the line above
		return d, fmt.Errorf(`%w: the line \unrestrict is missing`, archive.ErrTruncated)
	}
	return d, nil
}

// trails says whether a line may stand behind the one that ends a dump.
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
