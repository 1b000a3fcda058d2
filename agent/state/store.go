package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/database"
)

// File is the name of the database in the state directory.
const File = "states.db"

// Migrations create the tables of File.
var Migrations = []string{`
CREATE TABLE scenario (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID; -- JSON; the id '' is stepwatch itself
CREATE TABLE alert (number INTEGER PRIMARY KEY, alert TEXT NOT NULL);            -- JSON; until every sink has it
CREATE TABLE sink (name TEXT PRIMARY KEY, delivered INTEGER NOT NULL) WITHOUT ROWID; -- the number up to which it has every alert
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`}

// numberName is the counter of alerts.
const numberName = "alert"

// batch is what one transaction writes.
type batch struct {
	records map[string][]byte // by id
	gone    []string
	alerts  []alert.Alert
	number  uint64            // of the last alert
	counted bool              // number changed since the last write
	sinks   map[string]uint64 // what each of them has; nil if that did not change
}

func (b *batch) empty() bool {
	return len(b.records) == 0 && len(b.gone) == 0 && len(b.alerts) == 0 && b.sinks == nil
}

// write writes a batch as a whole or not at all.
func write(ctx context.Context, db *database.DB, b *batch) error {
	return db.Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		each := func(statement string, do func(*sql.Stmt) error) error {
			prepared, err := tx.PrepareContext(ctx, statement)
			if err != nil {
				return err
			}
			return errors.Join(do(prepared), prepared.Close())
		}
		if len(b.records) > 0 {
			if err := each("INSERT INTO scenario VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record", func(s *sql.Stmt) error {
				for id, record := range b.records {
					if _, err := s.ExecContext(ctx, id, string(record)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
		for _, id := range b.gone {
			if _, err := tx.ExecContext(ctx, "DELETE FROM scenario WHERE id = ?", id); err != nil {
				return err
			}
		}
		for _, a := range b.alerts {
			text, err := json.Marshal(a)
			if err != nil {
				return fmt.Errorf("write an alert: %w", err)
			}
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO alert VALUES (?, ?)", a.Number, string(text)); err != nil {
				return err
			}
		}
		if b.counted {
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO counter VALUES (?, ?)", numberName, b.number); err != nil {
				return err
			}
		}
		if b.sinks == nil {
			return nil
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sink"); err != nil {
			return err
		}
		everybody := b.number
		for name, delivered := range b.sinks {
			everybody = min(everybody, delivered)
			if _, err := tx.ExecContext(ctx, "INSERT INTO sink VALUES (?, ?)", name, delivered); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM alert WHERE number <= ?", everybody)
		return err
	})
}

// kept is what a file contains.
type kept struct {
	records []*record
	alerts  []alert.Alert // that some sink may not have, by number
	number  uint64
	sinks   map[string]uint64
	skipped int // records that could not be read
}

// read reads a file. What one record says does not depend on another, so one that cannot be read is left out and counted.
func read(ctx context.Context, db *database.DB) (k kept, err error) {
	err = db.Read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		k = kept{sinks: make(map[string]uint64)}
		var id, text string
		if err := rows(ctx, tx, "SELECT id, record FROM scenario", func() error {
			rec := new(record)
			if err := json.Unmarshal([]byte(text), rec); err != nil || rec.ID != id || id != "" && rec.Identity.ID() != id {
				k.skipped++
				return nil //nolint:nilerr // counted, and said by Open
			}
			rec.Problems = slices.DeleteFunc(rec.Problems, func(p *problem) bool { return p == nil || p.ID == "" })
			k.records = append(k.records, rec)
			return nil
		}, &id, &text); err != nil {
			return err
		}
		var number uint64
		if err := rows(ctx, tx, "SELECT number, alert FROM alert ORDER BY number", func() error {
			var a alert.Alert
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				k.skipped++
				return nil //nolint:nilerr // counted, and said by Open
			}
			a.Number = number
			k.alerts, k.number = append(k.alerts, a), max(k.number, number)
			return nil
		}, &number, &text); err != nil {
			return err
		}
		if err := rows(ctx, tx, "SELECT name, delivered FROM sink", func() error {
			k.sinks[id] = number
			k.number = max(k.number, number)
			return nil
		}, &id, &number); err != nil {
			return err
		}
		return rows(ctx, tx, "SELECT name, value FROM counter", func() error {
			if id == numberName {
				k.number = max(k.number, number)
			}
			return nil
		}, &id, &number)
	})
	return k, err
}

// rows calls a function for each row of a query, with its columns in into.
func rows(ctx context.Context, tx *sql.Tx, query string, each func() error, into ...any) error {
	found, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }() // Err has said what is wrong
	for found.Next() {
		if err := found.Scan(into...); err != nil {
			return err
		}
		if err := each(); err != nil {
			return err
		}
	}
	return found.Err()
}
