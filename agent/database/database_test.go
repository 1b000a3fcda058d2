package database

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps/statedir"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("DATABASE_TEST_WRITER"); dir != "" {
		writeUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

var schema = []string{
	"CREATE TABLE items (id INTEGER PRIMARY KEY, text TEXT NOT NULL); CREATE TABLE others (id INTEGER PRIMARY KEY)",
	"ALTER TABLE items ADD COLUMN size INTEGER NOT NULL DEFAULT 0",
}

// stateDir returns a directory that is ours alone, with characters that mean something in an address.
func stateDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a ?b#c%41&mode=memory")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, o Options) *DB {
	t.Helper()
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func insert(ctx context.Context, d *DB, texts ...string) error {
	return d.Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, text := range texts {
			if _, err := tx.ExecContext(ctx, "INSERT INTO items (text) VALUES (?)", text); err != nil {
				return err
			}
		}
		return nil
	})
}

func items(ctx context.Context, d *DB) (n int, err error) {
	err = d.Read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT count(text) FROM items").Scan(&n)
	})
	return n, err
}

func wantItems(t *testing.T, d *DB, want int) {
	t.Helper()
	if n, err := items(t.Context(), d); n != want || err != nil {
		t.Errorf("got %d items, %v; want %d", n, err, want)
	}
}

func TestKept(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	d := open(t, o)
	if err := insert(t.Context(), d, "a", "b"); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("no")
	err := d.Write(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO items (text) VALUES ('c')")
		return errors.Join(err, failed)
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	entries, _ := os.ReadDir(o.Dir)
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if len(entries) != 3 {
		t.Errorf("there are %v", entries)
	}
	if d.Bytes() == 0 {
		t.Error("it has no size")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := insert(t.Context(), d, "later"); err == nil || !strings.Contains(err.Error(), "it is closed") {
		t.Errorf("got %v", err)
	}
	wantItems(t, open(t, o), 2)
}

// TestMigrations holds that each migration runs once, and that a file of another version is never written.
func TestMigrations(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema[:1]}
	d := open(t, o)
	if err := insert(t.Context(), d, "old"); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	o.Migrations = schema
	if _, err := OpenReadOnly(t.Context(), o); err == nil || !strings.Contains(err.Error(), "has the tables of an older stepwatch (version 1, this one reads 2): start the agent") {
		t.Errorf("got %v", err)
	}
	d = open(t, o)
	wantItems(t, d, 1)
	_ = d.Close()
	before, _ := os.ReadFile(d.Path())
	o.Migrations = schema[:1]
	for _, open := range []func(context.Context, Options) (*DB, error){Open, OpenReadOnly} {
		_, err := open(t.Context(), o)
		var newer *SchemaError
		if !errors.As(err, &newer) || !strings.Contains(err.Error(), "items.db has the tables of a newer stepwatch (version 2, this one knows 1): install that version again") {
			t.Errorf("got %v", err)
		}
	}
	if after, _ := os.ReadFile(d.Path()); !bytes.Equal(before, after) {
		t.Error("the file of a newer version was changed")
	}

	// A migration that fails leaves nothing behind.
	o.Migrations = append(schema[:len(schema):len(schema)], "CREATE TABLE half (id INTEGER); CREATE TABLE items (id INTEGER)")
	if _, err := Open(t.Context(), o); err == nil {
		t.Error("a wrong migration has run")
	}
	o.Migrations = append(schema[:len(schema):len(schema)], "CREATE TABLE half (id INTEGER)")
	wantItems(t, open(t, o), 1)
}

func TestForeignDatabase(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	other, err := sql.Open("sqlite", filepath.Join(filepath.Dir(o.Dir), "other.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ExecContext(t.Context(), "CREATE TABLE theirs (id INTEGER)"); err != nil {
		t.Fatal(err)
	}
	_ = other.Close()
	if err := os.Rename(filepath.Join(filepath.Dir(o.Dir), "other.db"), filepath.Join(o.Dir, o.Name)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(o.Dir, o.Name), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "is a database of another program: move it away") {
		t.Errorf("got %v", err)
	}
}

func TestUnsafeFile(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	if err := os.Symlink("/etc/passwd", filepath.Join(o.Dir, o.Name)); err != nil {
		t.Fatal(err)
	}
	var unsafe *statedir.UnsafeError
	if _, err := Open(t.Context(), o); !errors.As(err, &unsafe) {
		t.Errorf("got %v", err)
	}
}

// filled returns a closed file with many pages.
func filled(t *testing.T, o Options) {
	t.Helper()
	d := open(t, o)
	texts := make([]string, 200)
	for i := range texts {
		texts[i] = strings.Repeat(fmt.Sprint(i, " "), 200)
	}
	if err := insert(t.Context(), d, texts...); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// wantAside checks that one damaged file with this content is there.
func wantAside(t *testing.T, dir string, content []byte) {
	t.Helper()
	asides, _ := filepath.Glob(globbable(dir) + "/items.db.damaged-*Z")
	if len(asides) != 1 {
		t.Fatalf("set aside: %q", asides)
	}
	if got, err := os.ReadFile(asides[0]); err != nil || !bytes.Equal(got, content) {
		t.Errorf("what is set aside has %d bytes, %v; the damaged file had %d", len(got), err, len(content))
	}
}

func globbable(path string) string { return strings.ReplaceAll(path, "?", `\?`) }

func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(content []byte) []byte{
		"text":             func([]byte) []byte { return []byte(strings.Repeat("no database\n", 1000)) },
		"short text":       func([]byte) []byte { return []byte("x") },
		"cut":              func(b []byte) []byte { return b[:len(b)/2] },
		"cut in a header":  func(b []byte) []byte { return b[:99] },
		"cut in page one":  func(b []byte) []byte { return b[:600] },
		"cut in a page":    func(b []byte) []byte { return b[:len(b)-100] },
		"zeros":            func(b []byte) []byte { return make([]byte, len(b)) },
		"broken page":      func(b []byte) []byte { copy(b[5*4096:], bytes.Repeat([]byte{0xa5}, 4096)); return b },
		"broken schema":    func(b []byte) []byte { copy(b[100:], bytes.Repeat([]byte{0xff}, 3000)); return b },
		"swapped contents": func(b []byte) []byte { copy(b[6*4096:7*4096], b[2*4096:3*4096]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema, Log: slog.New(slog.NewTextHandler(&log, nil))}
			filled(t, o)
			path := filepath.Join(o.Dir, o.Name)
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content = damage(content)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			d := open(t, o)
			wantItems(t, d, 0)
			if err := insert(t.Context(), d, "new"); err != nil {
				t.Error(err)
			}
			wantAside(t, o.Dir, content)
			if !strings.HasPrefix(filepath.Base(d.Aside()), "items.db.damaged-20") || !strings.Contains(log.String(), "it is set aside, and a new one is begun") {
				t.Errorf("aside %q, log %q", d.Aside(), log.String())
			}
			_ = d.Close()
			d = open(t, o)
			wantItems(t, d, 1)
			if d.Aside() != "" {
				t.Errorf("a good file was set aside: %s", d.Aside())
			}
		})
	}
}

// TestDamagedMeanwhile holds that pages that break while the file is open are noticed by whoever meets them.
func TestDamagedMeanwhile(t *testing.T) {
	for name, meet := range map[string]func(*testing.T, *DB) error{
		"write": func(t *testing.T, d *DB) error { return insert(t.Context(), d, strings.Repeat("x", 10_000)) },
		"read":  func(t *testing.T, d *DB) error { _, err := items(t.Context(), d); return err },
		"maintain": func(t *testing.T, d *DB) error {
			return d.Maintain(t.Context(), func(ctx context.Context, c *sql.Conn) error {
				_, err := c.ExecContext(ctx, "DELETE FROM items")
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
			filled(t, o)
			d := open(t, o)
			content, err := os.ReadFile(d.Path())
			if err != nil {
				t.Fatal(err)
			}
			for at := 4 * 4096; at < len(content); at += 4096 {
				copy(content[at:at+4096], bytes.Repeat([]byte{0xa5}, 4096))
			}
			if err := os.WriteFile(d.Path(), content, 0o600); err != nil {
				t.Fatal(err)
			}
			// The file was changed under SQLite, so the pages that it keeps are let go.
			d.open.read.SetMaxIdleConns(-1)
			if err := d.Maintain(t.Context(), func(ctx context.Context, c *sql.Conn) error {
				_, err := c.ExecContext(ctx, "PRAGMA shrink_memory")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			err = meet(t, d)
			var damaged *DamagedError
			if !errors.As(err, &damaged) || damaged.Aside == "" || damaged.Aside != d.Aside() ||
				!strings.Contains(err.Error(), "items.db was damaged (it is cut, or a page of it is broken): it is now ") {
				t.Fatalf("got %v", err)
			}
			if err := insert(t.Context(), d, "new"); err != nil {
				t.Error(err)
			}
			wantItems(t, d, 1)
			wantAside(t, o.Dir, content)
		})
	}
}

// TestGone holds that a file which was deleted or replaced while it is open is noticed by the next write, and begun anew: SQLite
// goes on in a file without a name.
func TestGone(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, path string){
		"deleted": func(t *testing.T, path string) {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(path + suffix); err != nil {
					t.Fatal(err)
				}
			}
		},
		"deleted without its log": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"directory moved": func(t *testing.T, path string) {
			if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+"-old"); err != nil {
				t.Fatal(err)
			}
		},
		"replaced": func(t *testing.T, path string) {
			if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema, Log: slog.New(slog.NewTextHandler(&log, nil))}
			d := open(t, o)
			if err := insert(t.Context(), d, "old"); err != nil {
				t.Fatal(err)
			}
			lose(t, d.Path())
			err := insert(t.Context(), d, "lost")
			if !errors.As(err, new(*DamagedError)) || !strings.Contains(err.Error(), " while it was open, and is begun anew") {
				t.Errorf("got %v", err)
			}
			if err := insert(t.Context(), d, "new"); err != nil {
				t.Error(err)
			}
			if !strings.Contains(log.String(), "a database is not where it was") {
				t.Errorf("the log has %q", log.String())
			}
			_ = d.Close()
			d = open(t, o)
			wantItems(t, d, 1)
		})
	}
}

// TestDamagedForAll holds that many who meet the damage at once begin one new file.
func TestDamagedForAll(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	filled(t, o)
	d := open(t, o)
	content, _ := os.ReadFile(d.Path())
	for at := 4096; at < len(content); at++ {
		content[at] = 0xa5
	}
	if err := os.WriteFile(d.Path(), content, 0o600); err != nil {
		t.Fatal(err)
	}
	d.open.read.SetMaxIdleConns(-1)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { _, _ = items(t.Context(), d) })
		all.Go(func() { _ = insert(t.Context(), d, "new") })
	}
	all.Wait()
	wantAside(t, o.Dir, content)
	if err := insert(t.Context(), d, "last"); err != nil {
		t.Error(err)
	}
}

// TestTooManyDamaged holds that a broken disk is not filled with damaged files.
func TestTooManyDamaged(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	path := filepath.Join(o.Dir, o.Name)
	for i := range asidesMost + 2 {
		if err := os.WriteFile(path, []byte(strings.Repeat("no database", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), o)
		if i < asidesMost {
			if err != nil {
				t.Fatal(err)
			}
			_ = d.Close()
		} else if err == nil || !strings.Contains(err.Error(), "10 damaged files are there already") || !strings.Contains(err.Error(), "check the disk") {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Millisecond) // the names have the time
	}
}

// TestFull fills the file up to a quota, and makes room again.
func TestFull(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	d := open(t, o)
	quota := func(pages int) {
		if err := d.Maintain(t.Context(), func(ctx context.Context, c *sql.Conn) error {
			_, err := c.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	quota(20)
	big := strings.Repeat("x", 200_000)
	err := insert(t.Context(), d, "small", big)
	if !Full(err) || !strings.Contains(err.Error(), "items.db: the disk is full") {
		t.Errorf("got %v", err)
	}
	wantItems(t, d, 0)
	quota(1000)
	if err := insert(t.Context(), d, "small", big); err != nil {
		t.Error(err)
	}
	wantItems(t, d, 2)
	if d.Aside() != "" {
		t.Error("a full file was set aside")
	}
}

// TestReadOnly holds that another process reads while one writes, and that it changes nothing.
func TestReadOnly(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	if _, err := OpenReadOnly(t.Context(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(o.Dir); len(entries) > 0 {
		t.Errorf("it created %v", entries)
	}
	writer := open(t, o)
	reader, err := OpenReadOnly(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	if err := insert(t.Context(), reader, "no"); err == nil || !strings.Contains(err.Error(), "it is open for reading only") {
		t.Errorf("got %v", err)
	}
	// It sees one state, whatever is committed meanwhile, and nobody waits.
	if err := reader.Read(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		var before, after int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM items").Scan(&before); err != nil {
			return err
		}
		if err := insert(ctx, writer, "meanwhile"); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM items").Scan(&after); err != nil {
			return err
		}
		if before != after {
			t.Errorf("%d items became %d", before, after)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	wantItems(t, reader, 1)
}

// TestReadOnlyDamaged holds that who only reads leaves a damaged file where it is.
func TestReadOnlyDamaged(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	path := filepath.Join(o.Dir, o.Name)
	if err := os.WriteFile(path, []byte(strings.Repeat("no database", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenReadOnly(t.Context(), o)
	var damaged *DamagedError
	if !errors.As(err, &damaged) || err.Error() != path+" is damaged: it does not begin as a database of SQLite does" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestAlone holds that two agents do not write the same file.
func TestAlone(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema, Alone: true}
	d := open(t, o)
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrInUse) || err.Error() != "open "+d.Path()+": another agent writes it" {
		t.Errorf("got %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	wantItems(t, open(t, o), 0)
}

// TestBounded holds that a statement ends with its context.
func TestBounded(t *testing.T) {
	d := open(t, Options{Dir: stateDir(t), Name: "items.db", Migrations: schema})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := d.Read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var n int
		return tx.QueryRowContext(ctx, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n").Scan(&n)
	})
	if err == nil || !strings.Contains(err.Error(), "it took too long") {
		t.Errorf("got %v", err)
	}
}

// TestKilled kills a process that writes, several times, and opens the file each time: what it said is committed is there.
func TestKilled(t *testing.T) {
	o := Options{Dir: stateDir(t), Name: "items.db", Migrations: schema}
	said := 0
	for range 5 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(os.Environ(), "DATABASE_TEST_WRITER="+o.Dir)
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(300*time.Millisecond, func() { _ = writer.Process.Kill() })
		var lines bytes.Buffer
		_, _ = lines.ReadFrom(out)
		_ = writer.Wait()
		said += bytes.Count(lines.Bytes(), []byte{'\n'})
		d := open(t, o)
		n, err := items(t.Context(), d)
		if err != nil || n < said {
			t.Fatalf("%d items, %v; the writer committed %d", n, err, said)
		}
		said = n // one may have been committed without being said
		if d.Aside() != "" {
			t.Fatalf("set aside: %s", d.Aside())
		}
		_ = d.Close()
	}
	if said < 10 {
		t.Errorf("only %d items were written", said)
	}
}

func writeUntilKilled(dir string) {
	d, err := Open(context.Background(), Options{Dir: dir, Name: "items.db", Migrations: schema})
	for err == nil {
		if err = insert(context.Background(), d, strings.Repeat("x", 3000)); err == nil {
			_, err = fmt.Println("committed")
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
