package silence

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/stepwatch/stepwatch/agent/database"
)

// File is the name of the file of silences in the state directory.
const File = "silences.db"

// tables creates the tables and brings older ones up to date (database.Options.Migrations). A silence is kept as the JSON of
// Silence: nobody asks the file for a part of one.
var tables = []string{"CREATE TABLE silences (id TEXT PRIMARY KEY, silence TEXT NOT NULL) STRICT, WITHOUT ROWID"}

// FileStore is a Store in a file of its own.
type FileStore struct{ db *database.DB }

// NewStore returns a Store in the state directory. Its errors are those of database.Open.
func NewStore(ctx context.Context, stateDir string, log *slog.Logger) (*FileStore, error) {
	db, err := database.Open(ctx, database.Options{Dir: stateDir, Name: File, Migrations: tables, Durable: true, Log: log})
	if err != nil {
		return nil, fmt.Errorf("open the silences: %w", err)
	}
	return &FileStore{db}, nil
}

// Close closes the file.
func (s *FileStore) Close() error { return s.db.Close() }

// Aside returns where the last damaged file is, or "" if none was damaged since the start.
func (s *FileStore) Aside() string { return s.db.Aside() }

// Load returns the silences in the file that can be read, and an error for the others.
func (s *FileStore) Load(ctx context.Context) (all []Silence, err error) {
	var unread []error
	err = s.db.Read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		all, unread = nil, nil
		rows, err := tx.QueryContext(ctx, "SELECT id, silence FROM silences")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // its error is also that of rows.Err
		for rows.Next() {
			var id, text string
			if err := rows.Scan(&id, &text); err != nil {
				return err
			}
			var kept Silence
			if err := json.Unmarshal([]byte(text), &kept); err != nil {
				unread = append(unread, fmt.Errorf("read the silence %s: %w", id, err))
				continue
			}
			all = append(all, kept)
		}
		return rows.Err()
	})
	return all, errors.Join(append(unread, err)...)
}

// Put stores silences, in the place of those with the same ids.
func (s *FileStore) Put(ctx context.Context, silences ...Silence) error {
	return s.db.Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, kept := range silences {
			text, err := json.Marshal(kept)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO silences (id, silence) VALUES (?, ?)", kept.ID, string(text)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Delete removes silences.
func (s *FileStore) Delete(ctx context.Context, ids ...string) error {
	return s.db.Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, "DELETE FROM silences WHERE id = ?", id); err != nil {
				return err
			}
		}
		return nil
	})
}
