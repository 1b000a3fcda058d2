package dump_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps/archive"
	"github.com/stepwatch/stepwatch/steps/dump"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestComplete reads dumps of PostgreSQL 15 and MariaDB 10.11.
func TestComplete(t *testing.T) {
	for _, c := range []struct {
		name string
		read func(context.Context, string) (*dump.Dump, error)
		want dump.Dump
	}{
		{"postgres15.sql", dump.Postgres, dump.Dump{Format: "plain", Server: "15.18", Tables: 2}},
		{"postgres15.dump", dump.Postgres, dump.Dump{Format: "custom", Database: "records", Server: "15.18", Tables: 2}},
		{"postgres15.tar", dump.Postgres, dump.Dump{Format: "tar", Database: "records", Server: "15.18", Tables: 2}},
		{"postgres15", dump.Postgres, dump.Dump{Format: "directory", Database: "records", Server: "15.18", Tables: 2}},
		{"mariadb.sql", dump.MySQL, dump.Dump{Format: "plain", Database: "app", Server: "10.11.19-MariaDB-0+deb12u1", Tables: 1}},
	} {
		d, err := c.read(t.Context(), filepath.Join("testdata", c.name))
		if err != nil || *d != c.want {
			t.Errorf("%s: got %+v, %v", c.name, d, err)
		}
	}
}

// TestCutOff checks that no truncated dump is complete, wherever it is cut off.
func TestCutOff(t *testing.T) {
	for name, read := range map[string]func(context.Context, string) (*dump.Dump, error){
		"postgres15.sql": dump.Postgres, "postgres15.dump": dump.Postgres, "postgres15.tar": dump.Postgres, "mariadb.sql": dump.MySQL,
	} {
		whole := content(t, name)
		needed := len(whole)
		switch {
		case strings.HasPrefix(name, "postgres15.sql"):
			needed = len(bytes.TrimSpace(whole))
		case name == "mariadb.sql":
			needed = bytes.Index(whole, []byte("completed"))
		case name == "postgres15.tar":
			needed -= 512 // the second block of zeros ends it; the rest fills the record
		}
		step := max(1, needed/100)
		path := filepath.Join(t.TempDir(), name)
		for n := 0; n < needed; n += step {
			write(t, path, whole[:n])
			d, err := read(t.Context(), path)
			if !errors.Is(err, archive.ErrTruncated) && !errors.Is(err, dump.ErrFormat) && !errors.Is(err, archive.ErrDamaged) {
				t.Fatalf("%s, cut off at %d of %d: got %+v, %v", name, n, len(whole), d, err)
			}
		}
	}
}

func TestWhatIsWrong(t *testing.T) {
	plain, custom := string(content(t, "postgres15.sql")), content(t, "postgres15.dump")
	my := string(content(t, "mariadb.sql"))
	middle := strings.Index(plain, "COPY public.mails") + 500
	flipped := bytes.Clone(custom)
	flipped[len(flipped)-600] ^= 0xff
	for _, c := range []struct {
		name, content string
		read          func(context.Context, string) (*dump.Dump, error)
		want          string
	}{
		{"empty", "", dump.Postgres, "it is truncated: it is empty"},
		{"within rows", plain[:middle], dump.Postgres, "it is truncated: in the rows of public.mails"},
		{"after the rows", plain[:strings.Index(plain, "PostgreSQL database dump complete")-20], dump.Postgres, `it is truncated: its last line is not "-- PostgreSQL database dump complete"`},
		{"after a text that looks like its end", strings.Split(plain, `\unrestrict`)[0], dump.Postgres, `it is truncated: the line \\unrestrict is missing`},
		{"something after it", plain + "DROP TABLE x;\n", dump.Postgres, `it is truncated: its last line is not "-- PostgreSQL database dump complete"`},
		{"MySQL, cut off", my[:len(my)-100], dump.MySQL, `it is truncated: its last line is not "-- Dump completed"`},
		{"another program's", my, dump.Postgres, "it is not a dump"},
		{"another program's", plain, dump.MySQL, "it is not a dump"},
		{"an error message", "pg_dump: error: connection to server failed\n", dump.Postgres, "it is not a dump"},
		{"custom, cut off in its table of contents", string(custom[:700]), dump.Postgres, "it is truncated: in its table of contents"},
		{"custom, cut off in its data", string(custom[:len(custom)-200]), dump.Postgres, "it is truncated: in the table public.mails"},
		{"custom, damaged", string(flipped), dump.Postgres, "it is damaged: the data of the table public.mails cannot be unpacked: .*"},
		{"custom, without data", string(archiveOf(16, 0, false, nil)), dump.Postgres, `it is truncated: the data of the table public.mails and of 0 more are missing`},
		{"of a future version", "PGDMP\x02\x01\x00\x04\x08\x01", dump.Postgres, `it is not a dump of a known version: it has 2\.1, .*`},
	} {
		path := filepath.Join(t.TempDir(), "dump")
		write(t, path, []byte(c.content))
		if _, err := c.read(t.Context(), path); err == nil || !matches(c.want, err.Error()) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// TestVersions reads the custom format of other versions of PostgreSQL.
func TestVersions(t *testing.T) {
	var zlibbed, zstded bytes.Buffer
	z := zlib.NewWriter(&zlibbed)
	s, err := zstd.NewWriter(&zstded)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []interface {
		Write([]byte) (int, error)
		Close() error
	}{z, s} {
		if _, err := w.Write([]byte("1\tone\n\\.\n\n\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name             string
		minor, algorithm int
		data             []byte
		want             string
	}{
		{"9.6", 12, 1, zlibbed.Bytes(), ""},
		{"11", 13, 1, zlibbed.Bytes(), ""},
		{"15", 14, 1, zlibbed.Bytes(), ""},
		{"15, not compressed", 14, 0, []byte("1\tone\n\\.\n\n\n"), ""},
		{"16 with zstd", 15, 3, zstded.Bytes(), ""},
		{"18", 16, 1, zlibbed.Bytes(), ""},
		{"18 with zstd", 16, 3, zstded.Bytes(), ""},
		{"18 with zstd, cut off", 16, 3, zstded.Bytes()[:zstded.Len()-6], "it is damaged: the data of the table public.mails cannot be unpacked: unexpected EOF"},
		{"18, rows without an end", 16, 0, []byte("1\tone\n"), "it is truncated: in the table public.mails"},
		{"18, no known compression", 16, 9, []byte("x"), "it is damaged: its header has the unknown compression 9"},
	} {
		path := filepath.Join(t.TempDir(), "dump")
		write(t, path, archiveOf(c.minor, c.algorithm, true, c.data))
		d, err := dump.Postgres(t.Context(), path)
		switch {
		case err != nil && err.Error() != c.want, err == nil && c.want != "":
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		case err == nil && (d.Tables != 1 || d.Database != "db"):
			t.Errorf("%s: got %+v", c.name, d)
		}
	}
}

func TestDirectory(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"whole", func(string) error { return nil }, ""},
		{"no table of contents", func(dir string) error { return os.Remove(dir + "/toc.dat") }, "it is not a dump: it is a directory without a toc.dat"},
		{"table of contents cut off", func(dir string) error { return os.Truncate(dir+"/toc.dat", 900) }, "it is truncated: in its table of contents"},
		{"data missing", func(dir string) error { return os.Remove(dir + "/" + largest(t, dir)) }, `it is truncated: the file \d+\.dat with the data of the table public\.mails is missing`},
		{"data cut off", func(dir string) error { return os.Truncate(dir+"/"+largest(t, dir), 100) }, `it is truncated \(\d+\.dat, the table public\.mails\)`},
		{"large object missing", func(dir string) error { return os.Remove(dir + "/blob_16400.dat.gz") }, `it is truncated: the file blob_16400\.dat with the data of a large object is missing`},
	} {
		dir := filepath.Join(t.TempDir(), "dump")
		if err := os.CopyFS(dir, os.DirFS("testdata/postgres15")); err != nil {
			t.Fatal(err)
		}
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		_, err := dump.Postgres(t.Context(), dir)
		if got := fmt.Sprint(err); err != nil && !matches(c.want, got) || err == nil && c.want != "" {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// largest returns the name of the largest data file: that of the table with rows.
func largest(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.dat.gz")
	if err != nil {
		t.Fatal(err)
	}
	name, most := "", int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > most {
			name, most = filepath.Base(f), info.Size()
		}
	}
	return name
}

// archiveOf returns a dump in the custom format, version 1.minor, with one table.
func archiveOf(minor, algorithm int, withData bool, data []byte) []byte {
	var b bytes.Buffer
	number := func(n int) { b.Write([]byte{0, byte(n), byte(n >> 8), 0, 0}) }
	text := func(s string) { number(len(s)); b.WriteString(s) }
	none := func() { b.Write([]byte{1, 1, 0, 0, 0}) }
	b.WriteString("PGDMP")
	b.Write([]byte{1, byte(minor), 0, 4, 8, 1})
	if minor >= 15 {
		b.WriteByte(byte(algorithm))
	} else {
		number(algorithm)
	}
	for range 7 {
		number(1)
	}
	text("db")
	text("18.1")
	text("18.1")
	number(1)
	number(7) // the entry's number
	number(1) // it has data
	text("0")
	text("16385")
	text("mails")
	text("TABLE DATA")
	number(3)
	text("")
	text("")
	text("COPY public.mails (id) FROM stdin;\n")
	text("public")
	text("")
	if minor >= 14 {
		none()
	}
	if minor >= 16 {
		number('r')
	}
	text("postgres")
	text("false")
	text("3")
	none()
	b.WriteByte(2)
	b.Write(make([]byte, 8))
	if withData {
		b.WriteByte(1)
		number(7)
		number(len(data))
		b.Write(data)
		number(0)
	}
	return b.Bytes()
}

func FuzzPostgres(f *testing.F) {
	for _, name := range []string{"postgres15.dump", "postgres15.sql"} {
		seed, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Add(archiveOf(16, 0, true, []byte("1\n\\.\n")))
	f.Add(archiveOf(12, 1, true, nil))
	path := filepath.Join(f.TempDir(), "dump")
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, path, b)
		d, err := dump.Postgres(t.Context(), path)
		if err == nil && (d == nil || len(b) == 0) {
			t.Errorf("got %+v of %q", d, b)
		}
	})
}

func content(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func matches(pattern, text string) bool {
	return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(text)
}

func FuzzMySQL(f *testing.F) {
	f.Add([]byte("-- MariaDB dump 10.19  Distrib 10.11.14-MariaDB\nCREATE TABLE `a` (\n  `b` int\n);\nINSERT INTO `a` VALUES (1,'x\\'y');\n-- Dump completed on 2026-11-30 10:52:28\n"))
	f.Add([]byte("-- MySQL dump 10.13\n/*!40000 ALTER TABLE */\n-- Dump completed\n"))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	path := filepath.Join(f.TempDir(), "dump")
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1 && (b[0] == 0xfd || b[0] == 4) {
			return // no programs here
		}
		write(t, path, b)
		d, err := dump.MySQL(t.Context(), path)
		if err == nil && (d == nil || len(b) == 0) {
			t.Errorf("got %+v of %q", d, b)
		}
	})
}
