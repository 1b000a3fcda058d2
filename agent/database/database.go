// Package database opens a file of SQLite that outlives the process: it checks it, brings its tables up to date, and survives
// what happens to files over the years. It knows nothing of what is in the tables.
//
//   - A damaged file is renamed, never deleted, and a new one is begun: at once when it is opened, or when a broken page is found
//     later. The DamagedError names both.
//   - A file with tables of a newer stepwatch, or of another program, is refused.
//   - A full disk is an error (see Full). Nothing is half written, and the next Write succeeds when there is room.
//   - Every wait has an end: for another process's lock, and for a statement.
//
// One process writes, by one Write at a time. Any number of goroutines and of other processes read meanwhile: neither waits for
// the other (write-ahead log). What a process committed survives its death at any moment. With Options.Durable it also survives
// the loss of power; otherwise the commits of the last seconds may then be missing, but never a part of one.
//
// Times are stored as integers, in nanoseconds since 1970 in UTC: the driver would write a time.Time as text with its monotonic
// part.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/stepwatch/stepwatch/steps/statedir"
)

// Options say which file to open.
type Options struct {
	Dir  string // the state directory; created if it does not exist
	Name string // of the file, such as "history.db"

	// Migrations create the tables and bring older ones up to date. Each is a text of statements, which runs once and in one
	// transaction; the number of those that have run is kept in the file (PRAGMA user_version). A migration that was released
	// is never changed: append another one.
	Migrations []string

	Durable bool         // a commit survives the loss of power; it then waits for the disk
	Alone   bool         // no other process may have the file open for writing: Open then returns ErrInUse
	Log     *slog.Logger // is told of a file that is set aside; may be nil
}

// The bounds of every wait.
const (
	lockWait  = 5 * time.Second  // for a lock of another process
	WriteTime = 30 * time.Second // for a Write, if its context has no deadline
	ReadTime  = 10 * time.Second // for a Read, if its context has no deadline
)

// The bounds of what an open file uses.
const (
	readers    = 4    // connections that read at once
	cacheKB    = 1024 // of pages, a connection
	walBytes   = 16 << 20
	asidesMost = 10       // damaged files of one name that are kept; more of them mean that the disk is broken
	checkBytes = 64 << 20 // every page of a file up to this size is checked when it is opened
)

// application is SQLite's PRAGMA application_id of our files.
const application = 0x57415443 // "WATC"

// ErrInUse says that another process writes the file, and that Options.Alone forbids it.
var ErrInUse = errors.New("another agent writes it")

// DB is an open file. Any number of goroutines may use it.
type DB struct {
	o        Options
	path     string
	readOnly bool

	mu     sync.RWMutex // held for reading by each Write and Read, for writing while the file is exchanged
	open   *file        // nil after Close, and while no file could be begun in the place of a damaged one
	closed bool
	aside  string
	lock   *os.File // nil without Options.Alone
}

// file holds the connections to one file.
type file struct {
	write, read *sql.DB
	info        fs.FileInfo // which file it is; nil if only Read uses it
}

func (f *file) close() error {
	var errs []error
	for _, pool := range []*sql.DB{f.read, f.write} { // the last connection that closes tidies up, so it must be able to write
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(errs...)
}

// Open opens the file of a state directory for reading and writing, and creates it if it does not exist. It sets a damaged file
// aside and begins a new one; Aside tells. It returns
//
//   - a *statedir.UnsafeError if others may change what is in the directory,
//   - a *SchemaError if the tables are those of a newer stepwatch or of another program; the file stays as it is,
//   - an error for which Full is true if the disk is full.
func Open(ctx context.Context, o Options) (*DB, error) {
	d := &DB{o: o, path: filepath.Join(o.Dir, o.Name)}
	if d.o.Log == nil {
		d.o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := bounded(ctx, WriteTime)
	defer cancel()
	if err := d.take(); err != nil {
		return nil, err
	}
	if err := d.begin(ctx); err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

// take takes the file for this process, if it must be alone. The lock is a file of its own, because SQLite locks its file itself.
func (d *DB) take() error {
	if !d.o.Alone {
		return nil
	}
	dir, err := statedir.Open(d.o.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // the lock is open
	if d.lock, err = dir.OpenLock(d.o.Name + ".lock"); err != nil {
		return err
	}
	taken, err := statedir.TryLock(d.lock)
	if err == nil && !taken {
		err = fmt.Errorf("open %s: %w", d.path, ErrInUse)
	}
	if err != nil {
		d.release()
	}
	return err
}

func (d *DB) release() {
	if d.lock != nil {
		_ = d.lock.Close() // nothing was written
		d.lock = nil
	}
}

// OpenReadOnly opens an existing file for Read alone, while another process writes it, or none. It changes nothing, also not a
// damaged file. If there is no file, the error is fs.ErrNotExist.
func OpenReadOnly(ctx context.Context, o Options) (*DB, error) {
	d := &DB{o: o, path: filepath.Join(o.Dir, o.Name), readOnly: true}
	ctx, cancel := bounded(ctx, ReadTime)
	defer cancel()
	if _, err := os.Stat(d.path); err != nil {
		return nil, err
	}
	f, err := d.connect(ctx)
	if err != nil {
		return nil, d.explain("open", err)
	}
	d.open = f
	return d, nil
}

// begin opens the file, or a new one if it is damaged.
func (d *DB) begin(ctx context.Context) error {
	dir, err := statedir.Open(d.o.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // nothing is written through it after this function
	for attempt := 1; ; attempt++ {
		if err := create(dir, d.o.Name); err != nil {
			return err
		}
		f, err := d.connect(ctx)
		if err == nil {
			d.open = f
			return nil
		}
		err = d.explain("open", err)
		var damaged *DamagedError
		if !errors.As(err, &damaged) || attempt > 1 {
			return err
		}
		if err := d.setAside(dir, damaged); err != nil {
			return err
		}
	}
}

// create creates the file for our user alone. SQLite gives the same mode to the files that it puts beside it.
func create(dir *statedir.Dir, name string) error {
	if err := dir.CheckFile(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := dir.Root().OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// connect opens and checks the file as it is. It writes nothing before it knows that the file is good and ours.
func (d *DB) connect(ctx context.Context) (_ *file, err error) {
	f := new(file)
	defer func() {
		if err != nil {
			_ = f.close() // the first error says what is wrong
		}
	}()
	if err := d.length(); err != nil {
		return nil, err
	}
	if f.read, err = d.pool("ro", []string{"query_only(1)"}, readers); err != nil {
		return nil, err
	}
	version, fresh, err := d.version(ctx, f.read)
	if err != nil {
		return nil, err
	}
	if d.readOnly {
		if version < len(d.o.Migrations) {
			err = &SchemaError{d.path, fmt.Sprintf("has the tables of an older stepwatch (version %d, this one reads %d)", version, len(d.o.Migrations)),
				"start the agent of this version: it brings them up to date"}
		}
		return f, err
	}
	if err := d.check(ctx, f.read); err != nil {
		return nil, err
	}
	pragmas := []string{"journal_mode(WAL)", "synchronous(" + map[bool]string{true: "FULL", false: "NORMAL"}[d.o.Durable] + ")", "foreign_keys(1)",
		fmt.Sprintf("journal_size_limit(%d)", walBytes)}
	if fresh {
		pragmas = append([]string{"auto_vacuum(2)"}, pragmas...) // of a file without tables only
	}
	if f.write, err = d.pool("rw", pragmas, 1); err != nil {
		return nil, err
	}
	if err := d.migrate(ctx, f.write, version); err != nil {
		return nil, err
	}
	f.info, err = os.Stat(d.path)
	return f, err
}

// gone returns an error if the file was deleted or replaced since it was opened: SQLite goes on in a file without a name, and
// whatever it writes there is lost when it is closed.
func (d *DB) gone(f *file) error {
	info, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &DamagedError{Path: d.path, Problem: "it was deleted while it was open", gone: true}
	case err == nil && !os.SameFile(info, f.info):
		return &DamagedError{Path: d.path, Problem: "it was replaced while it was open", gone: true}
	}
	return nil // what else is wrong is found by whoever writes
}

// headerBytes is the length of the header of a database file (sqlite.org/fileformat2.html, 1.3).
const headerBytes = 100

// length finds files that SQLite would take for new ones, although something is lost.
func (d *DB) length() error {
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	wal, err := os.Stat(d.path + "-wal")
	switch lost := err == nil && wal.Size() > 0; { // the log is written only after the first page
	case info.Size() == 0 && lost:
		return &DamagedError{Path: d.path, Problem: "it is empty, but its write-ahead log is not"}
	case info.Size() > 0 && info.Size() < headerBytes:
		return &DamagedError{Path: d.path, Problem: fmt.Sprintf("it has %d bytes, less than the header of a database", info.Size())}
	}
	return nil
}

// check checks that a file contains whole pages, and the content of each if they are not too many.
func (d *DB) check(ctx context.Context, pool *sql.DB) error {
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	var page int64
	if err := pool.QueryRowContext(ctx, "PRAGMA page_size").Scan(&page); err != nil {
		return err
	}
	// While there is a log, the last page may be one that will be written again from it.
	if wal, err := os.Stat(d.path + "-wal"); page > 0 && info.Size()%page != 0 && (err != nil || wal.Size() == 0) {
		return &DamagedError{Path: d.path, Problem: fmt.Sprintf("it has %d bytes, and pages of %d", info.Size(), page)}
	}
	if info.Size() > checkBytes {
		return nil
	}
	var found string
	if err := pool.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return &DamagedError{Path: d.path, Problem: "its pages contradict each other"}
	}
	return nil
}

// pool returns up to so many connections.
func (d *DB) pool(mode string, pragmas []string, most int) (*sql.DB, error) {
	path, err := filepath.Abs(d.path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"mode": {mode}, "_txlock": {map[string]string{"rw": "immediate", "ro": "deferred"}[mode]}}
	q["_pragma"] = append([]string{fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()), "trusted_schema(0)", "cell_size_check(1)",
		fmt.Sprintf("cache_size(-%d)", cacheKB)}, pragmas...)
	pool, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(most)
	pool.SetMaxIdleConns(1)
	return pool, nil
}

// version returns how many migrations have run, and whether there are no tables yet.
func (d *DB) version(ctx context.Context, pool *sql.DB) (version int, fresh bool, err error) {
	var whose, tables int
	for _, q := range []struct {
		query string
		into  *int
	}{{"PRAGMA user_version", &version}, {"PRAGMA application_id", &whose}, {"SELECT count(*) FROM sqlite_schema", &tables}} {
		if err := pool.QueryRowContext(ctx, q.query).Scan(q.into); err != nil {
			return 0, false, err
		}
	}
	switch {
	case tables > 0 && whose != application:
		return 0, false, &SchemaError{d.path, "is a database of another program", "move it away, or set state in stepwatch.yml to another directory"}
	case version > len(d.o.Migrations):
		return 0, false, &SchemaError{d.path, fmt.Sprintf("has the tables of a newer stepwatch (version %d, this one knows %d)", version, len(d.o.Migrations)),
			"install that version again, or move the file away to begin a new one"}
	}
	return version, tables == 0, nil
}

// migrate runs the migrations that have not run.
func (d *DB) migrate(ctx context.Context, pool *sql.DB, version int) error {
	if version == len(d.o.Migrations) { // the connection is opened all the same, so that its problems are known
		return pool.PingContext(ctx)
	}
	for ; version < len(d.o.Migrations); version++ {
		tx, err := pool.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		for _, statement := range []string{d.o.Migrations[version], "PRAGMA application_id = " + strconv.Itoa(application), "PRAGMA user_version = " + strconv.Itoa(version+1)} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				_ = tx.Rollback() // the first error says what is wrong
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// bounded adds a deadline to a context that has none.
func bounded(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, most)
}

// Write calls a function in a transaction that may write, and commits it if the function returns nil. One runs at a time. The
// function must use the transaction only, and no method of the DB.
//
// If the file turns out to be damaged, or was deleted or replaced, Write sets it aside and begins a new, empty one, and returns a *DamagedError: the caller
// writes again, and everything if its tables must be complete. If that cannot be begun, as on a full disk, each later call tries
// again.
func (d *DB) Write(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	if d.readOnly {
		return fmt.Errorf("write %s: it is open for reading only", d.path)
	}
	ctx, cancel := bounded(ctx, WriteTime)
	defer cancel()
	return d.use(ctx, "write", func(f *file) error {
		tx, err := f.write.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := do(ctx, tx); err != nil {
			_ = tx.Rollback() // the first error says what is wrong
			return err
		}
		return tx.Commit()
	})
}

// Read calls a function in a transaction that reads one state of the file, whatever is committed meanwhile. It waits for no
// Write. The function must use the transaction only, and no method of the DB. For a damaged file, see Write.
func (d *DB) Read(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	ctx, cancel := bounded(ctx, ReadTime)
	defer cancel()
	return d.use(ctx, "read", func(f *file) error {
		tx, err := f.read.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // there is nothing to commit
		return do(ctx, tx)
	})
}

// Maintain calls a function with the connection that writes, outside of a transaction, for statements such as PRAGMA
// incremental_vacuum. For a damaged file, see Write.
func (d *DB) Maintain(ctx context.Context, do func(context.Context, *sql.Conn) error) error {
	if d.readOnly {
		return fmt.Errorf("write %s: it is open for reading only", d.path)
	}
	ctx, cancel := bounded(ctx, WriteTime)
	defer cancel()
	return d.use(ctx, "write", func(f *file) error {
		conn, err := f.write.Conn(ctx)
		if err != nil {
			return err
		}
		err = do(ctx, conn)
		return errors.Join(err, conn.Close())
	})
}

// use calls a function with the open file. It exchanges a damaged file for a new one.
func (d *DB) use(ctx context.Context, act string, do func(*file) error) error {
	d.mu.RLock()
	f, closed := d.open, d.closed
	if f == nil {
		d.mu.RUnlock()
		if closed {
			return fmt.Errorf("%s %s: it is closed", act, d.path)
		}
		if err := d.exchange(ctx, nil, nil); err != nil {
			return err
		}
		return d.use(ctx, act, do)
	}
	err := error(nil)
	if act == "write" {
		err = d.gone(f)
	}
	if err == nil {
		err = do(f)
	}
	d.mu.RUnlock()
	if err == nil {
		return nil
	}
	err = d.explain(act, err)
	var damaged *DamagedError
	if errors.As(err, &damaged) && !d.readOnly {
		if failed := d.exchange(ctx, f, damaged); failed != nil {
			return errors.Join(err, failed)
		}
	}
	return err
}

// exchange sets the damaged file aside, unless another goroutine has done so, and opens a new one.
func (d *DB) exchange(ctx context.Context, damaged *file, why *DamagedError) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.open != damaged {
		if why != nil {
			why.Aside = d.aside
		}
		return nil
	}
	// Whoever found the damage may have used up its time.
	ctx, cancel := bounded(context.WithoutCancel(ctx), WriteTime)
	defer cancel()
	if damaged != nil {
		d.open = nil
		_ = damaged.close() // its content is not trusted any more
	}
	if why != nil && why.gone {
		d.o.Log.Error("a database is not where it was: it is begun anew", "file", d.path, "problem", why.Problem)
	} else if damaged != nil {
		dir, err := statedir.Open(d.o.Dir)
		if err != nil {
			return err
		}
		err = d.setAside(dir, why)
		if err = errors.Join(err, dir.Close()); err != nil {
			return err
		}
	}
	return d.begin(ctx)
}

// setAside renames the files of a database, and tells the log and the error.
func (d *DB) setAside(dir *statedir.Dir, why *DamagedError) error {
	prefix := d.o.Name + ".damaged-"
	n, err := count(dir, prefix)
	if err != nil {
		return err
	}
	if n >= asidesMost {
		return fmt.Errorf("%w; %d damaged files are there already (%s*), so no new one is begun: check the disk, and move them away", why, n, dir.Path(prefix))
	}
	name := prefix + time.Now().UTC().Format("20060102T150405.000Z")
	// The log goes first. If the process dies in between, the damaged file is found damaged again. A log that stayed beside a
	// new file would be taken for its own.
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := dir.Root().Rename(d.o.Name+suffix, name+suffix); err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("set the damaged file aside: %w", err)
		}
	}
	d.aside, why.Aside = dir.Path(name), dir.Path(name)
	d.o.Log.Error("a database is damaged: it is set aside, and a new one is begun", "file", d.path, "problem", why.Problem, "aside", d.aside)
	return nil
}

// count returns how many databases are set aside.
func count(dir *statedir.Dir, prefix string) (n int, err error) {
	at, err := dir.Root().Open(".")
	if err != nil {
		return 0, err
	}
	names, err := at.Readdirnames(-1)
	for _, name := range names {
		if strings.HasPrefix(name, prefix) && !strings.HasSuffix(name, "-wal") && !strings.HasSuffix(name, "-shm") {
			n++
		}
	}
	return n, errors.Join(err, at.Close())
}

// Path returns the path of the file.
func (d *DB) Path() string { return d.path }

// Aside returns where this DB put the last damaged file, or "" if it found none.
func (d *DB) Aside() string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.aside
}

// Bytes returns the size of the file and of its write-ahead log.
func (d *DB) Bytes() int64 {
	var sum int64
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(d.path + suffix); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// Close waits for the Writes and Reads in progress, and closes the file. Later calls return an error.
func (d *DB) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.release()
	f := d.open
	d.open, d.closed = nil, true
	if f == nil {
		return nil
	}
	if err := f.close(); err != nil {
		return d.explain("close", err)
	}
	return nil
}
