package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// compact moves the runs of the journal to blocks and hours, when an hour is over or there are many.
func (h *History) compact(ctx context.Context) error {
	for h.sortingIsDue() {
		moved := 0
		err := h.db.Load().Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
			var err error
			moved, err = h.move(ctx, tx)
			return err
		})
		if err != nil {
			clear(h.seriesKnown) // numbers of the transaction that was undone
			clear(h.shapesKnown)
			return err
		}
		h.journaled -= moved
		if moved == 0 {
			h.journaled = 0
		}
		h.oldest = h.now().UnixMicro() // what is left is of this hour
	}
	return nil
}

func (h *History) sortingIsDue() bool {
	return h.journaled >= compactRuns || h.journaled > 0 && hourOf(h.oldest) != hourOf(h.now().UnixMicro())
}

// move sorts the first runs of the journal, and returns how many.
func (h *History) move(ctx context.Context, tx *sql.Tx) (moved int, err error) {
	known := lookup(ctx, tx, h.shapesKnown)
	byScenario := make(map[uint64][]record)
	var to int64
	if err := h.gather(ctx, tx, known, byScenario, &moved, &to); err != nil {
		return 0, err
	}
	insert, err := tx.PrepareContext(ctx, "INSERT INTO blocks (scenario, first, last, ok, warning, critical, unknown, bad, records) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		return 0, err
	}
	defer func() { _ = insert.Close() }() // it has done its work
	var block []byte
	for _, scenario := range slices.Sorted(maps.Keys(byScenario)) {
		runs := byScenario[scenario]
		sortRuns(runs)
		days := make(map[int64]day)
		for len(runs) > 0 {
			hour := hourOf(runs[0].began)
			n := 1
			for n < len(runs) && n < blockRunsMost && hourOf(runs[n].began) == hour {
				n++
			}
			part := runs[:n]
			runs = runs[n:]
			block = appendBlock(block[:0], part)
			pieces := 1
			if len(block) > rowBest && len(block) < rowLarge {
				pieces = (len(block) + rowBest - 1) / rowBest
			}
			for piece := range slices.Chunk(part, (n+pieces-1)/pieces) {
				if pieces > 1 {
					block = appendBlock(block[:0], piece)
				}
				counts, bad := count(piece)
				if _, err := insert.ExecContext(ctx, int64(scenario), piece[0].began, piece[len(piece)-1].began, int64(counts.OK), int64(counts.Warning), int64(counts.Critical), int64(counts.Unknown), bad, block); err != nil { //nolint:gosec // counts
					return 0, err
				}
			}
			number, of := dayOf(part[0].began)
			if days[number] == nil {
				days[number] = make(day)
			}
			if err := h.sum(ctx, tx, known, scenario, part, days[number].hour(of)); err != nil {
				return 0, err
			}
		}
		for _, number := range slices.Sorted(maps.Keys(days)) {
			if err := addDay(ctx, tx, scenario, number, days[number]); err != nil {
				return 0, err
			}
		}
	}
	if err := closeDays(ctx, tx, h.now()); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM journal WHERE number <= ?", to)
	return moved, err
}

// A page of SQLite has room for three rows of rowBest bytes, but for one of a little more than half of the page. Rows of rowLarge
// and more waste little of the pages that they have for themselves.
const (
	rowBest  = 1280
	rowLarge = 8000
)

// gather reads the first rows of the journal. A row that cannot be read is left out, and logged.
func (h *History) gather(ctx context.Context, tx *sql.Tx, known shapes, into map[uint64][]record, moved *int, to *int64) error {
	enough := errors.New("enough")
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var number int64
		var runs int
		var records []byte
		if err := rows.Scan(&number, &runs, &records); err != nil {
			return err
		}
		r := newReader(records, fmt.Sprintf("row %d of the journal", number))
		before := int64(0)
		for len(r.rest) > 0 {
			var run record
			if before, _ = r.record(before, known, nil, &run); r.err == nil {
				into[run.scenario] = append(into[run.scenario], run)
			}
		}
		if r.err != nil {
			h.errors.Add(1)
			h.log.Error("a part of the history cannot be read, and is left out", "error", r.err)
		}
		*to = number
		if *moved += runs; *moved >= compactRuns {
			return enough
		}
		return nil
	}, "SELECT number, runs, records FROM journal ORDER BY number")
	if errors.Is(err, enough) {
		return nil
	}
	return err
}

// count counts runs by their state. Statements that no run took place count as bad, and not as runs.
func count(runs []record) (c Counts, bad int) {
	for i := range runs {
		if !runs[i].stale {
			c.add(runs[i].state, 1)
		}
		if runs[i].state != 0 {
			bad++
		}
	}
	return c, bad
}

// sum adds the runs of one hour to it.
func (h *History) sum(ctx context.Context, tx *sql.Tx, known shapes, scenario uint64, runs []record, into *hour) error {
	c, _ := count(runs)
	into.counts.merge(c)
	var last *shape
	var sketches []*sketch // of each duration of a run with that shape
	for i := range runs {
		r := &runs[i]
		if last == nil || r.shape != last.id {
			s, err := known(r.shape)
			if err != nil {
				return err
			}
			numbers, err := h.seriesOf(ctx, tx, scenario, s)
			if err != nil {
				return err
			}
			last, sketches = s, sketches[:0]
			for _, series := range numbers {
				var one *sketch
				if series != 0 {
					one = into.sketch(series)
				}
				sketches = append(sketches, one)
			}
		}
		for j, d := range r.times {
			if sketches[j] != nil {
				sketches[j].add(d)
			}
		}
	}
	return nil
}

// seriesOf returns the number of the series of each duration in a shape, and 0 for those of steps that did not pass.
func (h *History) seriesOf(ctx context.Context, tx *sql.Tx, scenario uint64, s *shape) ([]uint64, error) {
	known := h.seriesKnown[scenario]
	if known == nil {
		known = make(map[string]uint64)
		if err := each(ctx, tx, func(rows *sql.Rows) error {
			var number uint64
			var name string
			err := rows.Scan(&number, &name)
			known[name] = number
			return err
		}, "SELECT number, name FROM series WHERE scenario = ?", int64(scenario)); err != nil { //nolint:gosec // a count
			return nil, err
		}
		h.seriesKnown[scenario] = known
	}
	numbers := make([]uint64, 0, s.times)
	var failed error
	s.timed(func(step, phase string, status string) {
		name := seriesName(step, phase)
		number := known[name]
		switch {
		case failed != nil:
			return
		case status != passed:
			number = 0
		case number == 0:
			added, err := tx.ExecContext(ctx, "INSERT INTO series (scenario, name) VALUES (?, ?)", int64(scenario), name) //nolint:gosec // a count
			if err != nil {
				failed = err
				return
			}
			id, _ := added.LastInsertId() // SQLite always knows it
			number = uint64(id)           //nolint:gosec // positive
			known[name] = number
		}
		numbers = append(numbers, number)
	})
	return numbers, failed
}

// addDay adds hours to the current day of a scenario, or to a day that is over.
func addDay(ctx context.Context, tx *sql.Tx, scenario uint64, number int64, more day) error {
	var open int64
	var counts Counts
	var hours []byte
	err := tx.QueryRowContext(ctx, "SELECT day, ok, warning, critical, unknown, hours FROM today WHERE scenario = ?", int64(scenario)). //nolint:gosec // a count
																		Scan(&open, &counts.OK, &counts.Warning, &counts.Critical, &counts.Unknown, &hours)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	case open > number:
		return addOver(ctx, tx, scenario, number, more)
	case open < number:
		if err := closeDay(ctx, tx, scenario, open, counts, hours); err != nil {
			return err
		}
		counts, hours = Counts{}, nil
	}
	counts, hours, err = mergeDay(counts, hours, more, false, fmt.Sprintf("day %d of scenario %d", number, scenario))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO today (scenario, day, ok, warning, critical, unknown, hours) VALUES (?, ?, ?, ?, ?, ?, ?)",
		int64(scenario), number, int64(counts.OK), int64(counts.Warning), int64(counts.Critical), int64(counts.Unknown), hours) //nolint:gosec // counts
	return err
}

// mergeDay adds hours to those of a row. Hours that cannot be read are replaced: their counts stay.
func mergeDay(counts Counts, hours []byte, more day, over bool, part string) (Counts, []byte, error) {
	all := make(day)
	if len(hours) > 0 {
		if err := readDay(hours, part, all.hour); err != nil {
			all = make(day)
		}
	}
	for n, h := range more {
		into := all.hour(n)
		into.counts.merge(h.counts)
		counts.merge(h.counts)
		for series, s := range h.series {
			into.sketch(series).merge(s)
		}
	}
	return counts, all.append(nil, over), nil
}

// closeDay moves a day that is over from today to days.
func closeDay(ctx context.Context, tx *sql.Tx, scenario uint64, number int64, c Counts, hours []byte) error {
	id := int64(scenario) //nolint:gosec // a count
	var row int64
	err := tx.QueryRowContext(ctx, "SELECT number FROM days WHERE scenario = ? AND day = ?", id, number).Scan(&row)
	if err == nil { // a clock that was set back, and then went on
		more := make(day)
		if err := readDay(hours, fmt.Sprintf("day %d of scenario %d", number, scenario), more.hour); err != nil {
			return err
		}
		return addOver(ctx, tx, scenario, number, more)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if hours, err = packDay(hours); err != nil {
		return err
	}
	var total Counts
	err = tx.QueryRowContext(ctx, "SELECT total_ok, total_warning, total_critical, total_unknown FROM days WHERE scenario = ? AND day < ? ORDER BY day DESC LIMIT 1", id, number).
		Scan(&total.OK, &total.Warning, &total.Critical, &total.Unknown)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	total.merge(c)
	if _, err := tx.ExecContext(ctx, `INSERT INTO days (scenario, day, ok, warning, critical, unknown, total_ok, total_warning, total_critical, total_unknown, hours)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, id, number, int64(c.OK), int64(c.Warning), int64(c.Critical), int64(c.Unknown), //nolint:gosec // counts
		int64(total.OK), int64(total.Warning), int64(total.Critical), int64(total.Unknown), hours); err != nil { //nolint:gosec // counts
		return err
	}
	return raiseTotals(ctx, tx, id, number, c)
}

// packDay compresses the hours of a day that is over.
func packDay(hours []byte) ([]byte, error) {
	r := newReader(hours, "a day")
	version, in := r.byte(), r.packed("hours")
	if in.err != nil {
		return nil, in.err
	}
	return appendPacked([]byte{version}, in.rest), nil
}

// raiseTotals adds counts to the totals of all days after one.
func raiseTotals(ctx context.Context, tx *sql.Tx, scenario, after int64, c Counts) error {
	_, err := tx.ExecContext(ctx, `UPDATE days SET total_ok = total_ok + ?, total_warning = total_warning + ?, total_critical = total_critical + ?, total_unknown = total_unknown + ?
		WHERE scenario = ? AND day > ?`, int64(c.OK), int64(c.Warning), int64(c.Critical), int64(c.Unknown), scenario, after) //nolint:gosec // counts
	return err
}

// addOver adds hours to a day that is over: runs that came late, or a clock that was set back.
func addOver(ctx context.Context, tx *sql.Tx, scenario uint64, number int64, more day) error {
	id := int64(scenario) //nolint:gosec // a count
	var row int64
	var counts Counts
	var hours []byte
	err := tx.QueryRowContext(ctx, "SELECT number, ok, warning, critical, unknown, hours FROM days WHERE scenario = ? AND day = ?", id, number).
		Scan(&row, &counts.OK, &counts.Warning, &counts.Critical, &counts.Unknown, &hours)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	before := counts
	counts, hours, err2 := mergeDay(counts, hours, more, true, fmt.Sprintf("day %d of scenario %d", number, scenario))
	if err2 != nil {
		return err2
	}
	if err != nil {
		return closeDay(ctx, tx, scenario, number, counts, hours)
	}
	added := Counts{counts.OK - before.OK, counts.Warning - before.Warning, counts.Critical - before.Critical, counts.Unknown - before.Unknown}
	if _, err := tx.ExecContext(ctx, "UPDATE days SET ok = ?, warning = ?, critical = ?, unknown = ?, hours = ? WHERE number = ?",
		int64(counts.OK), int64(counts.Warning), int64(counts.Critical), int64(counts.Unknown), hours, row); err != nil { //nolint:gosec // counts
		return err
	}
	return raiseTotals(ctx, tx, id, number-1, added)
}

// closeDays moves the days that are over, also of scenarios that do not run any more.
func closeDays(ctx context.Context, tx *sql.Tx, now time.Time) error {
	current, _ := dayOf(now.UnixMicro())
	type row struct {
		scenario uint64
		day      int64
		counts   Counts
		hours    []byte
	}
	var over []row
	if err := each(ctx, tx, func(rows *sql.Rows) error {
		var r row
		err := rows.Scan(&r.scenario, &r.day, &r.counts.OK, &r.counts.Warning, &r.counts.Critical, &r.counts.Unknown, &r.hours)
		over = append(over, r)
		return err
	}, "SELECT scenario, day, ok, warning, critical, unknown, hours FROM today WHERE day < ? OR day > ? + 1", current, current); err != nil {
		return err
	}
	for _, r := range over {
		if err := closeDay(ctx, tx, r.scenario, r.day, r.counts, r.hours); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM today WHERE scenario = ?", int64(r.scenario)); err != nil { //nolint:gosec // a count
			return err
		}
	}
	return nil
}
