package silence

import (
	"context"
	"database/sql"
)

// damage stores a silence that cannot be read.
func (s *FileStore) damage(ctx context.Context, id string) error {
	return s.db.Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO silences (id, silence) VALUES (?, '{')", id)
		return err
	})
}
