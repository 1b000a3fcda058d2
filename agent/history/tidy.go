package history

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// The pieces in which the history is made smaller, so that runs are written in between.
const (
	tidyRows  = 500
	tidyPages = 2000 // 8 MB
)

// tidy deletes what is too old, then the oldest until the file is small enough, and gives the room back to the disk. It keeps at
// least the runs of the last hour. It returns after a piece of the work: then it is called again at once.
func (h *History) tidy(ctx context.Context) error {
	now := h.now()
	if !h.tidied.IsZero() && now.Sub(h.tidied) < tidyEvery {
		return nil
	}
	deleted, err := h.expire(ctx, now)
	if err != nil {
		return err
	}
	freed, err := h.shrink(ctx)
	if err != nil {
		return err
	}
	if deleted || freed {
		h.rouse()
		return nil
	}
	h.tidied = now
	return nil
}

// expire deletes a piece of what is too old or too much.
func (h *History) expire(ctx context.Context, now time.Time) (deleted bool, err error) {
	runs := now.Add(-h.o.Runs).UnixMicro()
	keep := now.Add(-h.o.Keep).UnixMicro()
	keepDay, _ := dayOf(keep)
	day := now.Add(-24 * time.Hour).UnixMicro()
	type rule struct {
		statement string
		args      []any
	}
	rules := []rule{
		{"DELETE FROM blocks WHERE number IN (SELECT number FROM blocks WHERE last < ? ORDER BY last LIMIT ?)", []any{runs, tidyRows}},
		{"DELETE FROM days WHERE number IN (SELECT number FROM days WHERE day < ? ORDER BY day LIMIT ?)", []any{keepDay, tidyRows}},
		{"DELETE FROM spells WHERE number IN (SELECT number FROM spells WHERE ended < ? LIMIT ?)", []any{keep, tidyRows}},
		{"DELETE FROM events WHERE number IN (SELECT number FROM events WHERE at < ? LIMIT ?)", []any{keep, tidyRows}},
		{"DELETE FROM sessions WHERE last < ?", []any{keep}},
		{"DELETE FROM series WHERE scenario IN (SELECT number FROM scenarios WHERE seen < ?)", []any{keep - 3*dayMicros}},
		{"DELETE FROM scenarios WHERE seen < ?", []any{keep - 3*dayMicros}},
		// Every shape in use is stored again once a day, as is every scenario.
		{"DELETE FROM shapes WHERE seen < ?", []any{runs - 3*dayMicros}},
		// Nobody will end what a scenario was in that does not run any more.
		{`UPDATE spells SET ended = last WHERE ended IS NULL AND last < ? - 3 * ifnull((SELECT interval / 1000 FROM scenarios WHERE scenarios.number = spells.scenario), 0)`, []any{day}},
	}
	full, err := h.tooLarge(ctx)
	if err != nil {
		return false, err
	}
	if full {
		hourAgo := now.Add(-time.Hour).UnixMicro()
		today, _ := dayOf(now.UnixMicro())
		rules = append(rules,
			rule{"DELETE FROM blocks WHERE number IN (SELECT number FROM blocks WHERE last < ? ORDER BY last LIMIT ?)", []any{hourAgo, tidyRows}},
			rule{"DELETE FROM days WHERE number IN (SELECT number FROM days WHERE day < ? AND NOT EXISTS (SELECT 1 FROM blocks WHERE last < ?) ORDER BY day LIMIT ?)", []any{today, hourAgo, tidyRows}})
	}
	err = h.db.Load().Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, r := range rules {
			done, err := tx.ExecContext(ctx, r.statement, r.args...)
			if err != nil {
				return err
			}
			n, _ := done.RowsAffected() // SQLite always knows it
			deleted = deleted || n >= tidyRows || full && n > 0
		}
		return nil
	})
	return deleted, err
}

const dayMicros = int64(24 * time.Hour / time.Microsecond)

// tooLarge reports whether the used pages are more than the limit.
func (h *History) tooLarge(ctx context.Context) (full bool, err error) {
	err = h.db.Load().Read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var pages, free, bytes int64
		if err := tx.QueryRowContext(ctx, "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size").Scan(&pages, &free, &bytes); err != nil {
			return err
		}
		full = (pages-free)*bytes > h.o.Size
		return nil
	})
	return full, err
}

// shrink gives unused pages back to the disk, if they are more than a tenth. Fewer are used again soon.
func (h *History) shrink(ctx context.Context) (freed bool, err error) {
	err = h.db.Load().Maintain(ctx, func(ctx context.Context, c *sql.Conn) error {
		var pages, free int64
		if err := c.QueryRowContext(ctx, "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count").Scan(&pages, &free); err != nil {
			return err
		}
		if free < max(pages/10, 1000) {
			return nil
		}
		freed = true
		rows, err := c.QueryContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", tidyPages))
		if err != nil {
			return err
		}
		for rows.Next() { // each step frees a page
		}
		return rows.Close()
	})
	return freed, err
}
