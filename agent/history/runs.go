package history

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// hourMicros is the longest time between two runs of a block.
const hourMicros = int64(time.Hour / time.Microsecond)

// RunsMost is how many runs one query returns at most.
const RunsMost = 10_000

// Query selects runs.
type Query struct {
	Scenarios    []string  // ids; empty for all
	Since, Until time.Time // of the beginning of a run; zero for no bound
	Failed       bool      // only those that were not OK
	Limit        int       // at most RunsMost, which is also what 0 means
}

// bounds returns the times in microseconds.
func bounds(since, until time.Time) (from, to int64) {
	from, to = 0, 1<<62
	if !since.IsZero() {
		from = since.UnixMicro()
	}
	if !until.IsZero() {
		to = until.UnixMicro()
	}
	return from, to
}

// Runs returns runs, the newest first, without their steps. more is true if the limit left some out.
func (r *Reader) Runs(ctx context.Context, want Query) (runs []Run, more bool, err error) {
	limit := want.Limit
	if limit <= 0 || limit > RunsMost {
		limit = RunsMost
	}
	err = r.read(ctx, func(q *query) error {
		if err := q.scenarios(); err != nil {
			return err
		}
		wanted, numbers := q.wanted(want.Scenarios)
		if len(want.Scenarios) > 0 && len(numbers) == 0 {
			return nil
		}
		from, to := bounds(want.Since, want.Until)
		found := &newest{limit: limit + 1}
		take := func(rec *record) {
			if rec.began >= from && rec.began <= to && (!want.Failed || rec.state != result.OK) {
				found.add(*rec)
			}
		}
		if err := q.journal(from, to, want.Failed, wanted, take); err != nil {
			return err
		}
		// Only the blocks whose last run may be newer than those that were found are read.
		block := func(rows *sql.Rows) error {
			var number, last int64
			var scenario uint64
			var records sql.RawBytes
			if err := rows.Scan(&number, &scenario, &last, &records); err != nil || !wanted(scenario) {
				return err
			}
			if found.enough(last) {
				return errEnough
			}
			list, err := readBlock(bytes.Clone(records), fmt.Sprintf("block %d", number), scenario, q.known, detailsToo)
			for i := range list {
				take(&list[i])
			}
			return err
		}
		bad := 0
		if want.Failed {
			bad = 1
		}
		var err error
		if len(numbers) > 0 && len(numbers) <= manyScenarios {
			for _, n := range numbers {
				err = each(q, q.tx, block, "SELECT number, scenario, first + ?, records FROM blocks WHERE scenario = ? AND first BETWEEN ? AND ? AND bad >= ? ORDER BY first DESC",
					hourMicros, int64(n), from-hourMicros, to, bad) //nolint:gosec // a count
				if err = enough(err); err != nil {
					return err
				}
			}
		} else {
			err = each(q, q.tx, block, "SELECT number, scenario, last, records FROM blocks WHERE last >= ? AND first <= ? AND bad >= ? ORDER BY last DESC", from, to, bad)
			if err = enough(err); err != nil {
				return err
			}
		}
		found.sort()
		more = len(found.runs) > limit
		for i := range found.runs[:min(limit, len(found.runs))] {
			run, err := q.run(&found.runs[i], false)
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		return nil
	})
	return runs, more, err
}

// manyScenarios is from how many scenarios on a query reads the blocks of all of them.
const manyScenarios = 50

// wanted returns the numbers of the scenarios with these ids, and whether a number is among them; of all if there are no ids.
func (q *query) wanted(ids []string) (wanted func(uint64) bool, numbers []uint64) {
	if len(ids) == 0 {
		return func(uint64) bool { return true }, nil
	}
	for n, s := range q.ids {
		if slices.Contains(ids, s.ID) {
			numbers = append(numbers, n)
		}
	}
	return func(n uint64) bool { return slices.Contains(numbers, n) }, numbers
}

// keep forgets the scenarios without these ids; without ids it keeps all.
func (q *query) keep(ids []string) {
	if len(ids) > 0 {
		maps.DeleteFunc(q.ids, func(_ uint64, s *Scenario) bool { return !slices.Contains(ids, s.ID) })
	}
}

// kept reports whether a scenario is one of those that keep has kept.
func (q *query) kept(number uint64) bool { return q.ids[number] != nil }

// newest keeps the newest runs.
type newest struct {
	runs  []record
	limit int
}

func (n *newest) add(r record) {
	r.times, r.values = slices.Clone(r.times), slices.Clone(r.values)
	n.runs = append(n.runs, r)
	if len(n.runs) >= n.limit+1000 {
		n.sort()
	}
}

// enough reports whether no run that is so old is needed.
func (n *newest) enough(last int64) bool {
	if len(n.runs) < n.limit {
		return false
	}
	n.sort()
	return n.runs[n.limit-1].began > last
}

func (n *newest) sort() {
	slices.SortStableFunc(n.runs, func(a, b record) int { return cmp.Compare(b.began, a.began) })
	if len(n.runs) > n.limit {
		clear(n.runs[n.limit:])
		n.runs = n.runs[:n.limit]
	}
}

var errEnough = fmt.Errorf("enough is found")

func enough(err error) error {
	if err == errEnough { //nolint:errorlint // each returns it as it is
		return nil
	}
	return err
}

// journal calls a function for each run in the journal in a range. The function must not keep the record's slices.
func (q *query) journal(from, to int64, bad bool, wanted func(uint64) bool, take func(*record)) error {
	least := 0
	if bad {
		least = 1
	}
	var run record
	return each(q, q.tx, func(rows *sql.Rows) error {
		var number int64
		var records []byte
		if err := rows.Scan(&number, &records); err != nil {
			return err
		}
		r := newReader(records, fmt.Sprintf("row %d of the journal", number))
		for before := int64(0); len(r.rest) > 0; {
			var found bool
			if before, found = r.record(before, q.known, wanted, &run); found {
				take(&run)
			}
		}
		return r.err
	}, "SELECT number, records FROM journal WHERE last >= ? AND first <= ? AND bad >= ? ORDER BY number", from, to, least)
}

// Run returns a run with its steps, by the id that Runs returns or by Result.Run. If there is none, the error is fs.ErrNotExist.
func (r *Reader) Run(ctx context.Context, id string) (run Run, err error) {
	err = r.read(ctx, func(q *query) error {
		if err := q.scenarios(); err != nil {
			return err
		}
		rec, err := q.find(id)
		if err != nil {
			return err
		}
		if rec == nil {
			return fmt.Errorf("there is no run %q in the history: %w", id, fs.ErrNotExist)
		}
		run, err = q.run(rec, true)
		return err
	})
	return run, err
}

func (q *query) find(id string) (found *record, err error) {
	scenario, began, isKey := parseRunKey(id)
	packed, isID := packID(strings.ToUpper(id))
	switch {
	case isKey:
		_, numbers := q.wanted([]string{scenario})
		if len(numbers) == 0 {
			return nil, nil
		}
		keep := func(rec *record) {
			if rec.began == began {
				one := *rec
				one.times, one.values = slices.Clone(rec.times), slices.Clone(rec.values)
				found = &one
			}
		}
		if err := q.journal(began, began, false, func(n uint64) bool { return n == numbers[0] }, keep); err != nil || found != nil {
			return found, err
		}
		return found, each(q, q.tx, func(rows *sql.Rows) error { return q.search(rows, keep) },
			"SELECT number, scenario, records FROM blocks WHERE scenario = ? AND first BETWEEN ? AND ?", int64(numbers[0]), began-hourMicros, began) //nolint:gosec // a count
	case isID:
		// There is no index of ids, which are as long as the rest of a run. The bytes are looked for, the newest first.
		keep := func(rec *record) {
			if rec.packed && bytes.Equal(rec.id, packed[:idBytes]) {
				one := *rec
				one.times, one.values = slices.Clone(rec.times), slices.Clone(rec.values)
				found = &one
			}
		}
		if err := q.journal(0, 1<<62, false, nil, keep); err != nil || found != nil {
			return found, err
		}
		err := each(q, q.tx, func(rows *sql.Rows) error {
			var number int64
			var scenario uint64
			var records sql.RawBytes
			if err := rows.Scan(&number, &scenario, &records); err != nil || !bytes.Contains(records, packed[:idBytes]) {
				return err
			}
			list, err := readBlock(bytes.Clone(records), fmt.Sprintf("block %d", number), scenario, q.known, detailsToo)
			for i := range list {
				keep(&list[i])
			}
			if err == nil && found != nil {
				err = errEnough
			}
			return err
		}, "SELECT number, scenario, records FROM blocks ORDER BY number DESC")
		return found, enough(err)
	}
	return nil, nil
}

// search reads the block of a row.
func (q *query) search(rows *sql.Rows, keep func(*record)) error {
	var number int64
	var scenario uint64
	var records []byte
	if err := rows.Scan(&number, &scenario, &records); err != nil {
		return err
	}
	list, err := readBlock(records, fmt.Sprintf("block %d", number), scenario, q.known, detailsToo)
	for i := range list {
		keep(&list[i])
	}
	return err
}

// Beat is the state of a run.
type Beat struct {
	Started time.Time    `json:"started"`
	State   result.State `json:"state"`
	Stale   bool         `json:"stale,omitempty"`
}

// BeatsMost is how many states of a scenario Heartbeats returns at most.
const BeatsMost = 200

// Heartbeats returns the states of the last n runs of each scenario, or of those with these ids, the oldest first, by the
// scenario's id.
func (r *Reader) Heartbeats(ctx context.Context, n int, ids ...string) (map[string][]Beat, error) {
	n = max(1, min(n, BeatsMost))
	all := make(map[string][]Beat)
	err := r.read(ctx, func(q *query) error {
		if err := q.scenarios(); err != nil {
			return err
		}
		q.keep(ids)
		byNumber := make(map[uint64][]record)
		if err := q.journal(0, 1<<62, false, q.kept, func(rec *record) {
			byNumber[rec.scenario] = append(byNumber[rec.scenario], record{began: rec.began, state: rec.state, stale: rec.stale})
		}); err != nil {
			return err
		}
		blocks, err := q.tx.PrepareContext(q, "SELECT number, records FROM blocks WHERE scenario = ? ORDER BY first DESC")
		if err != nil {
			return err
		}
		defer func() { _ = blocks.Close() }() // only read
		for number, s := range q.ids {
			runs := byNumber[number]
			if len(runs) < n {
				if runs, err = q.older(blocks, number, runs, n); err != nil {
					return err
				}
			}
			sortRuns(runs)
			for _, rec := range runs[max(0, len(runs)-n):] {
				all[s.ID] = append(all[s.ID], Beat{timeOf(rec.began), rec.state, rec.stale})
			}
		}
		return nil
	})
	return all, err
}

// older adds the states of the last blocks of a scenario until there are n.
func (q *query) older(blocks *sql.Stmt, scenario uint64, runs []record, n int) ([]record, error) {
	rows, err := blocks.QueryContext(q, int64(scenario)) //nolint:gosec // a count
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	for len(runs) < n && rows.Next() {
		var number int64
		var records sql.RawBytes
		if err := rows.Scan(&number, &records); err != nil {
			return nil, err
		}
		more, err := readBlock(records, fmt.Sprintf("block %d", number), scenario, nil, statesOnly)
		if err != nil {
			return nil, err
		}
		runs = append(runs, more...)
	}
	return runs, rows.Err()
}

func sortScenarios(all []Scenario) {
	slices.SortFunc(all, func(a, b Scenario) int {
		return cmp.Or(cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Example, b.Example))
	})
}
