package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// DamagedError says that a file is not what SQLite wrote: it was cut, overwritten, deleted, or a page of it is broken.
type DamagedError struct {
	Path    string
	Problem string
	Aside   string // where it is now; empty if it could not be moved, was open for reading only, or is gone

	gone bool // the file that was open has no name any more
}

// Error says what is wrong with which file, and where it is.
func (e *DamagedError) Error() string {
	if e.gone {
		return fmt.Sprintf("%s: %s, and is begun anew", e.Path, e.Problem)
	}
	if e.Aside == "" {
		return fmt.Sprintf("%s is damaged: %s", e.Path, e.Problem)
	}
	return fmt.Sprintf("%s was damaged (%s): it is now %s, and a new one was begun", e.Path, e.Problem, e.Aside)
}

// SchemaError says why the tables of a file are not used.
type SchemaError struct {
	Path    string
	Problem string // "has the tables of a newer stepwatch (version 7, this one knows 3)"
	Remedy  string
}

// Error says what is wrong with which file, and what to do.
func (e *SchemaError) Error() string { return fmt.Sprintf("%s %s: %s", e.Path, e.Problem, e.Remedy) }

// failure is an error of SQLite in our words.
type failure struct {
	act, path, problem string
	err                error
}

func (f *failure) Error() string { return f.act + " " + f.path + ": " + f.problem }

func (f *failure) Unwrap() error { return f.err }

// code returns the result code of SQLite, with and without its details; 0 for other errors.
func code(err error) (extended, primary int) {
	var found *sqlite.Error
	if !errors.As(err, &found) {
		return 0, 0
	}
	return found.Code(), found.Code() & 0xff
}

// Full reports whether an error says that the disk, the quota or the file is full.
func Full(err error) bool {
	extended, primary := code(err)
	return primary == sqlite3.SQLITE_FULL || extended == sqlite3.SQLITE_IOERR_SHMSIZE ||
		errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// explain returns an error of SQLite in words, and every other error as it is.
func (d *DB) explain(act string, err error) error {
	extended, primary := code(err)
	var problem string
	switch {
	case primary == sqlite3.SQLITE_NOTADB:
		return &DamagedError{Path: d.path, Problem: "it does not begin as a database of SQLite does"}
	case primary == sqlite3.SQLITE_CORRUPT:
		return &DamagedError{Path: d.path, Problem: "it is cut, or a page of it is broken"}
	case extended == sqlite3.SQLITE_IOERR_CORRUPTFS:
		return &DamagedError{Path: d.path, Problem: "the file system cannot read a part of it"}
	case Full(err):
		problem = "the disk is full"
	case primary == sqlite3.SQLITE_BUSY:
		problem = fmt.Sprintf("another process had it locked for %s", lockWait)
	case primary == sqlite3.SQLITE_READONLY:
		problem = "it may not be written"
	case primary == sqlite3.SQLITE_INTERRUPT, errors.Is(err, context.DeadlineExceeded):
		problem = "it took too long"
		if errors.Is(err, context.Canceled) {
			problem = "stopped"
		}
	case primary == sqlite3.SQLITE_CANTOPEN:
		problem = "it cannot be opened"
		if info, statErr := os.Stat(d.path); statErr == nil {
			problem = fmt.Sprintf("it cannot be opened (mode %s): run this as the user of the agent", info.Mode())
		} else if errors.Is(statErr, fs.ErrNotExist) {
			problem = "it is gone"
		}
	case primary == sqlite3.SQLITE_IOERR:
		problem = fmt.Sprintf("the disk answers with an error (SQLite's code %d)", extended)
	case primary != 0:
		problem = fmt.Sprintf("%v", err)
	default:
		return err
	}
	return &failure{act, d.path, problem, err}
}
