package history

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// exactFor is up to which range runs are counted one by one. In a longer one, whole days in UTC are counted.
const exactFor = 48 * time.Hour

// Uptime returns how many runs of each scenario, or of those with these ids, had which state, by the scenario's id. In a
// range of more than two days, whole days in UTC are counted. In one that began before the oldest single runs that are kept,
// whole hours are. counted is the range in which they were counted.
func (r *Reader) Uptime(ctx context.Context, since, until time.Time, ids ...string) (all map[string]Counts, counted Range, err error) {
	all = make(map[string]Counts)
	err = r.read(ctx, func(q *query) error {
		if err := q.scenarios(); err != nil {
			return err
		}
		q.keep(ids)
		from, to := bounds(since, until)
		byNumber, first, last, err := q.counts(from, to)
		counted = Range{timeOf(first), timeOf(last)}
		for number, c := range byNumber {
			if s := q.ids[number]; s != nil && c.Runs() > 0 {
				all[s.ID] = c
			}
		}
		return err
	})
	return all, counted, err
}

// counts counts the runs of every scenario in a range, or in the whole hours or days that contain it, which it returns.
func (q *query) counts(from, to int64) (all map[uint64]Counts, since, until int64, err error) {
	all = make(map[uint64]Counts)
	exact, err := q.exact(from)
	if err != nil {
		return nil, from, to, err
	}
	one, width := q.countDays, dayMicros
	switch {
	case to-from > exactFor.Microseconds():
	case exact:
		one, width = q.countBlocks, 0
	default:
		one, width = q.countHours, hourMicros
	}
	if width > 0 {
		from -= from % width
		if to < 1<<61 {
			to += width - 1 - to%width
		}
	}
	if err := q.journal(from, to, false, q.kept, func(rec *record) {
		if rec.began >= from && rec.began <= to && !rec.stale {
			sum := all[rec.scenario]
			sum.add(rec.state, 1)
			all[rec.scenario] = sum
		}
	}); err != nil {
		return nil, from, to, err
	}
	for number := range q.ids {
		c, err := one(number, from, to)
		if err != nil {
			return nil, from, to, err
		}
		c.merge(all[number])
		all[number] = c
	}
	return all, from, to, nil
}

// countHours counts the runs in the hours of a scenario.
func (q *query) countHours(scenario uint64, from, to int64) (c Counts, err error) {
	first, _ := dayOf(from)
	last, _ := dayOf(to)
	statement, err := q.prepare(hoursOf)
	if err != nil {
		return c, err
	}
	rows, err := statement.QueryContext(q, int64(scenario), first, last) //nolint:gosec // a count
	if err != nil {
		return c, err
	}
	return c, eachOf(rows, func(rows *sql.Rows) error {
		var number int64
		var hours sql.RawBytes
		if err := rows.Scan(&number, &hours); err != nil {
			return err
		}
		return readHours(hours, fmt.Sprintf("day %d of scenario %d", number, scenario), func(n int, counts Counts, _ *reader, _ iter.Seq[uint64]) {
			if at := number*dayMicros + int64(n)*hourMicros; at >= from && at <= to {
				c.merge(counts)
			}
		})
	})
}

// hoursOf selects the hours of some days.
const hoursOf = "SELECT day, hours FROM days WHERE scenario = ?1 AND day BETWEEN ?2 AND ?3 UNION ALL SELECT day, hours FROM today WHERE scenario = ?1 AND day BETWEEN ?2 AND ?3"

// exact reports whether the single runs since a time are still there.
func (q *query) exact(from int64) (bool, error) {
	var blocks, days sql.NullInt64
	if err := q.tx.QueryRowContext(q, "SELECT (SELECT min(last) FROM blocks), (SELECT min(day) FROM days)").Scan(&blocks, &days); err != nil {
		return false, err
	}
	day, _ := dayOf(from)
	return !days.Valid || days.Int64 > day || blocks.Valid && blocks.Int64 <= from+hourMicros, nil
}

// countBlocks counts the runs in the blocks of a scenario. It reads only those that are not in the range as a whole.
func (q *query) countBlocks(scenario uint64, from, to int64) (c Counts, err error) {
	id := int64(scenario) //nolint:gosec // a count
	whole, err := q.prepare(`SELECT ifnull(sum(ok), 0), ifnull(sum(warning), 0), ifnull(sum(critical), 0), ifnull(sum(unknown), 0)
		FROM blocks INDEXED BY blocks_scenario WHERE scenario = ? AND first BETWEEN ? AND ?`)
	if err != nil {
		return c, err
	}
	if err := whole.QueryRowContext(q, id, from, to-hourMicros).Scan(&c.OK, &c.Warning, &c.Critical, &c.Unknown); err != nil {
		return c, err
	}
	parts, err := q.prepare("SELECT number, records FROM blocks WHERE scenario = ?1 AND (first BETWEEN ?2 AND ?3 - 1 OR first BETWEEN max(?3, ?4 + 1) AND ?5)")
	if err != nil {
		return c, err
	}
	rows, err := parts.QueryContext(q, id, from-hourMicros, from, to-hourMicros, to)
	if err != nil {
		return c, err
	}
	return c, eachOf(rows, func(rows *sql.Rows) error {
		var number int64
		var records sql.RawBytes
		if err := rows.Scan(&number, &records); err != nil {
			return err
		}
		runs, err := readBlock(records, fmt.Sprintf("block %d", number), scenario, nil, statesOnly)
		for i := range runs {
			if at := runs[i].began; at >= from && at <= to && !runs[i].stale {
				c.add(runs[i].state, 1)
			}
		}
		return err
	})
}

// countDays counts the runs in the days of a scenario, as differences of the totals.
func (q *query) countDays(scenario uint64, from, to int64) (c Counts, err error) {
	id := int64(scenario) //nolint:gosec // a count
	first, _ := dayOf(from)
	last, _ := dayOf(to)
	totals := func(query string, args ...any) (c Counts, found bool, err error) {
		statement, err := q.prepare(query)
		if err != nil {
			return c, false, err
		}
		err = statement.QueryRowContext(q, append([]any{id}, args...)...).Scan(&c.OK, &c.Warning, &c.Critical, &c.Unknown)
		if errors.Is(err, sql.ErrNoRows) {
			return c, false, nil
		}
		return c, err == nil, err
	}
	end, found, err := totals("SELECT total_ok, total_warning, total_critical, total_unknown FROM days WHERE scenario = ? AND day <= ? ORDER BY day DESC LIMIT 1", last)
	if err != nil {
		return c, err
	}
	if found {
		start, found, err := totals("SELECT total_ok, total_warning, total_critical, total_unknown FROM days WHERE scenario = ? AND day < ? ORDER BY day DESC LIMIT 1", first)
		if err != nil {
			return c, err
		}
		if !found { // what was before is deleted, but still in the totals
			if start, found, err = totals("SELECT total_ok - ok, total_warning - warning, total_critical - critical, total_unknown - unknown FROM days WHERE scenario = ? AND day >= ? ORDER BY day LIMIT 1", first); err != nil {
				return c, err
			}
		}
		if found {
			c = Counts{end.OK - start.OK, end.Warning - start.Warning, end.Critical - start.Critical, end.Unknown - start.Unknown}
		}
	}
	today, _, err := totals("SELECT ok, warning, critical, unknown FROM today WHERE scenario = ? AND day BETWEEN ? AND ?", first, last)
	c.merge(today)
	return c, err
}

// Series is how long a step, or a phase of it, took over time.
type Series struct {
	Step   string  `json:"step"`            // its label, after those of the steps above it
	Phase  string  `json:"phase,omitempty"` // empty for the step itself
	Points []Point `json:"points"`          // in order; a time without any run has none
}

// Point is how long a step took between two times, when it passed.
type Point struct {
	At        time.Time `json:"at"` // the beginning
	Count     uint64    `json:"count"`
	Mean      float64   `json:"mean_seconds"`
	Max       float64   `json:"max_seconds"`
	Quantiles []float64 `json:"quantiles_seconds"` // as asked for; wrong by at most 1.5 % of the value
}

// pointsMost is how many points a series has at most.
const pointsMost = 2000

// Percentiles returns how long each step and phase of a scenario took, in buckets of this length since the beginning. Only runs in
// which the step passed count. Quantiles are between 0 and 1. Buckets are at least so long that there are not more than 2,000, and
// whole hours if the range is longer than two days or older than the single runs that are kept; the length is returned.
func (r *Reader) Percentiles(ctx context.Context, scenario string, since, until time.Time, bucket time.Duration, quantiles []float64) (all []Series, _ time.Duration, err error) {
	bucket = max(bucket, until.Sub(since)/pointsMost, time.Second)
	err = r.read(ctx, func(q *query) error {
		number, found, err := q.number(scenario)
		if err != nil || !found {
			return err
		}
		from, to := bounds(since, until)
		exact, err := q.exact(from)
		if err != nil {
			return err
		}
		exact = exact && to-from <= exactFor.Microseconds()
		if !exact {
			if bucket%time.Hour != 0 {
				bucket += time.Hour - bucket%time.Hour
			}
			from -= from % hourMicros
		}
		c := &collected{from: from, to: to, width: bucket.Microseconds(), series: make(map[string]map[int64]*dense)}
		if exact {
			err = q.collectBlocks(c, number)
		} else {
			err = q.collectDays(c, number)
		}
		if err != nil {
			return err
		}
		if err := q.journal(from, to, false, func(n uint64) bool { return n == number }, func(rec *record) {
			if s, err := q.known(rec.shape); err == nil { // journal has asked for it
				c.run(rec, s)
			}
		}); err != nil {
			return err
		}
		all = c.points(quantiles)
		return nil
	})
	return all, bucket, err
}

// collected has sketches by the name of the series and the number of the bucket.
type collected struct {
	from, to, width int64
	series          map[string]map[int64]*dense
}

func (c *collected) at(series string, at int64) *dense {
	byBucket := c.series[series]
	if byBucket == nil {
		byBucket = make(map[int64]*dense)
		c.series[series] = byBucket
	}
	n := (at - c.from) / c.width
	s := byBucket[n]
	if s == nil {
		s = new(dense)
		byBucket[n] = s
	}
	return s
}

func (c *collected) run(rec *record, s *shape) {
	if rec.began < c.from || rec.began > c.to {
		return
	}
	i := 0
	s.timed(func(step, phase, status string) {
		if status == passed {
			d := c.at(seriesName(step, phase), rec.began)
			d.add(bucketOf(rec.times[i]), 1)
			d.sum += rec.times[i]
			d.most = max(d.most, rec.times[i])
		}
		i++
	})
}

func (q *query) collectBlocks(c *collected, scenario uint64) error {
	return each(q, q.tx, func(rows *sql.Rows) error {
		var number int64
		var records []byte
		if err := rows.Scan(&number, &records); err != nil {
			return err
		}
		runs, err := readBlock(records, fmt.Sprintf("block %d", number), scenario, q.known, numbersToo)
		for i := range runs {
			s, _ := q.known(runs[i].shape) // readBlock has asked for it
			c.run(&runs[i], s)
		}
		return err
	}, "SELECT number, records FROM blocks WHERE scenario = ? AND first BETWEEN ? AND ?", int64(scenario), c.from-hourMicros, c.to) //nolint:gosec // a count
}

func (q *query) collectDays(c *collected, scenario uint64) error {
	id := int64(scenario) //nolint:gosec // a count
	names := make(map[uint64]string)
	if err := each(q, q.tx, func(rows *sql.Rows) error {
		var number uint64
		var name string
		err := rows.Scan(&number, &name)
		names[number] = name
		return err
	}, "SELECT number, name FROM series WHERE scenario = ?", id); err != nil {
		return err
	}
	first, _ := dayOf(c.from)
	last, _ := dayOf(c.to)
	return each(q, q.tx, func(rows *sql.Rows) error {
		var number int64
		var hours sql.RawBytes
		if err := rows.Scan(&number, &hours); err != nil {
			return err
		}
		return readHours(hours, fmt.Sprintf("day %d of scenario %d", number, scenario), func(n int, _ Counts, in *reader, series iter.Seq[uint64]) {
			at := number*dayMicros + int64(n)*hourMicros
			if at < c.from || at > c.to {
				return
			}
			for one := range series {
				d := c.at(names[one], at)
				sum, most := in.buckets(d.add)
				d.sum += sum
				d.most = max(d.most, most)
			}
		})
	}, hoursOf, id, first, last)
}

func (c *collected) points(quantiles []float64) []Series {
	all := make([]Series, 0, len(c.series))
	for name, byBucket := range c.series {
		if name == "" { // of a series that is not known any more
			continue
		}
		step, phase := splitSeries(name)
		series := Series{Step: step, Phase: phase, Points: make([]Point, 0, len(byBucket))}
		for n, d := range byBucket {
			s := d.sketch()
			count := s.count()
			if count == 0 {
				continue
			}
			p := Point{At: timeOf(c.from + n*c.width), Count: count, Mean: seconds(s.sum) / float64(count), Max: seconds(s.most), Quantiles: make([]float64, len(quantiles))}
			for i, share := range quantiles {
				d, _ := s.quantile(share)
				p.Quantiles[i] = d.Seconds()
			}
			series.Points = append(series.Points, p)
		}
		slices.SortFunc(series.Points, func(a, b Point) int { return a.At.Compare(b.At) })
		all = append(all, series)
	}
	slices.SortFunc(all, func(a, b Series) int { return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.Phase, b.Phase)) })
	return all
}
