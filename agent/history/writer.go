package history

import (
	"context"
	"database/sql"
	"path/filepath"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// run is the goroutine that writes.
func (h *History) run() {
	defer close(h.done)
	ctx := context.Background() // every statement has its own deadline
	timer := time.NewTimer(slowly)
	defer timer.Stop()
	var since time.Time // when the buffer began to wait
	for {
		stopping := false
		select {
		case <-h.stop:
			stopping = true
		case <-h.wake:
			h.mu.Lock()
			wait := slowly
			if h.buffer.quick {
				wait = quickly
			}
			h.mu.Unlock()
			if since.IsZero() {
				since = time.Now()
			}
			if failing := h.failing.Load(); failing != nil {
				continue // the timer tries again
			}
			timer.Reset(max(0, wait-time.Since(since)))
			continue
		case <-timer.C:
		}
		since = time.Time{}
		timer.Reset(h.turn(ctx, stopping))
		if stopping {
			if db := h.db.Swap(nil); db != nil {
				if err := db.Close(); err != nil {
					h.failed("close", err)
				}
			}
			return
		}
	}
}

// turn does what is due, and returns when to come again at the latest.
func (h *History) turn(ctx context.Context, stopping bool) time.Duration {
	h.mu.Lock()
	open := h.open
	h.mu.Unlock()
	if !open {
		if stopping {
			return 0
		}
		if err := h.begin(ctx); err != nil {
			h.failed("open", err)
			return retryEvery
		}
	}
	err := h.commit(ctx, stopping)
	if isDamaged(err) { // there is a new file
		h.failed("write", err)
		err = h.commit(ctx, stopping)
	}
	if err != nil {
		h.failed("write", err)
		return retryEvery
	}
	h.works()
	if stopping {
		return 0
	}
	for _, chore := range []struct {
		act string
		do  func(context.Context) error
	}{{"sort", h.compact}, {"tidy up", h.tidy}} {
		if err := chore.do(ctx); err != nil {
			h.failed(chore.act, err)
			return retryEvery
		}
	}
	return sessionEvery
}

// failed counts a problem, and logs it when it is a new one, and once an hour while it stays.
func (h *History) failed(act string, err error) {
	h.errors.Add(1)
	if isDamaged(err) {
		h.renewed.Store(true)
		h.rouse()
		return // the database has told the log
	}
	text := err.Error()
	if h.told != text || time.Since(h.toldAt) > time.Hour {
		h.log.Error("the history cannot be written; the agent runs on, and tries again", "act", act, "error", err)
		h.told, h.toldAt = text, time.Now()
	}
	h.failing.Store(&text)
}

// works notes that there is no problem any more.
func (h *History) works() {
	if h.failing.Swap(nil) != nil {
		h.log.Info("the history is written again", "runs_lost_since_the_start", h.lost.Load())
		h.told = ""
	}
}

// restart is for a database that has become empty: everything in it must be stored again.
func (h *History) restart() {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := &h.buffer
	b.scenarios, b.shapes, b.spells = nil, nil, nil
	for _, k := range h.numbers {
		k.stored = h.now()
		b.scenarios = append(b.scenarios, k)
		for _, s := range k.shapes {
			s.stored = time.Time{}
		}
		if k.recent != nil {
			k.recent.stored = h.now()
			b.shapes = append(b.shapes, k.recent)
		}
		if k.spell != nil {
			h.put(*k.spell)
		}
	}
	// The shapes of the runs in the buffer may be others than the last ones.
	for _, k := range h.numbers {
		for _, s := range k.shapes {
			if s.stored.IsZero() {
				s.stored = h.now()
				b.shapes = append(b.shapes, s)
			}
		}
	}
	h.journaled, h.oldest, h.session = 0, 0, 0
	clear(h.seriesKnown)
	clear(h.shapesKnown)
}

// commit writes the buffer. If that fails, it stays in the buffer.
func (h *History) commit(ctx context.Context, stopping bool) error {
	if h.renewed.Swap(false) {
		h.restart()
	}
	h.mu.Lock()
	if stopping || h.sortingIsDue() { // afterwards, the journal cannot tell how many runs a time of failure had
		for _, k := range h.numbers {
			if s := k.spell; s != nil && s.dirty {
				s.stored, s.dirty = h.now(), false
				h.put(*s)
			}
		}
	}
	b := h.buffer
	h.buffer = batch{}
	h.mu.Unlock()
	now := h.now()
	beat := stopping || h.session == 0 || now.Sub(h.sessionAt) >= sessionEvery
	if b.empty() && !beat {
		return nil
	}
	db := h.db.Load()
	err := db.Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := h.store(ctx, tx, &b, now); err != nil {
			return err
		}
		return h.beat(ctx, tx, now, beat, stopping)
	})
	if err != nil {
		h.giveBack(&b)
		return err
	}
	if beat {
		h.sessionAt = now
	}
	if b.runs > 0 {
		h.lastWrite.Store(now.UnixMicro())
		if h.journaled == 0 {
			h.oldest = b.first
		}
		h.oldest = min(h.oldest, b.first)
		h.journaled += b.runs
	}
	return nil
}

// giveBack puts what could not be written before what came meanwhile.
func (h *History) giveBack(b *batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	later := h.buffer
	h.buffer = *b
	n := &h.buffer
	n.scenarios = append(n.scenarios, later.scenarios...)
	n.shapes = append(n.shapes, later.shapes...)
	n.events = append(n.events, later.events...)
	n.quick = n.quick || later.quick
	for number, s := range later.spells {
		if n.spells == nil {
			n.spells = later.spells
			break
		}
		n.spells[number] = s
	}
	if later.runs == 0 {
		return
	}
	if n.runs == 0 {
		n.records, n.first, n.last, n.before, n.runs, n.bad = later.records, later.first, later.last, later.before, later.runs, later.bad
		return
	}
	// The beginnings in records are distances from the run before, so those of a batch cannot follow those of another.
	records, err := rebase(later.records, n.before)
	if err != nil {
		h.lost.Add(uint64(later.runs)) //nolint:gosec // not negative
		h.log.Error("runs are lost", "runs", later.runs, "error", err)
		return
	}
	n.records = append(n.records, records...)
	n.first, n.last, n.before = min(n.first, later.first), max(n.last, later.last), later.before
	n.runs += later.runs
	n.bad += later.bad
}

// store writes a batch.
func (h *History) store(ctx context.Context, tx *sql.Tx, b *batch, now time.Time) error {
	for _, k := range b.scenarios {
		id := k.identity
		if _, err := tx.ExecContext(ctx, `INSERT INTO scenarios (number, id, feature, scenario, example, file, line, owner, severity, location, interval, seen)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET file = excluded.file, line = excluded.line,
			owner = excluded.owner, severity = excluded.severity, location = excluded.location, interval = excluded.interval, seen = excluded.seen`,
			k.number, id.ID(), id.Feature, id.Scenario, id.Example, id.File, id.Line, id.Owner, id.Severity, id.Location, int64(k.interval), now.UnixMicro()); err != nil {
			return err
		}
	}
	for _, s := range b.shapes {
		steps, err := s.encode()
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO shapes (number, seen, steps) VALUES (?, ?, ?) ON CONFLICT (number) DO UPDATE SET seen = excluded.seen", int64(s.id), now.UnixMicro(), steps); err != nil { //nolint:gosec // 56 bits
			return err
		}
	}
	if b.runs > 0 {
		if _, err := tx.ExecContext(ctx, "INSERT INTO journal (first, last, runs, bad, records) VALUES (?, ?, ?, ?, ?)", b.first, b.last, b.runs, b.bad, b.records); err != nil {
			return err
		}
	}
	for _, s := range b.spells {
		if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO spells (number, scenario, began, ended, last, runs, state, stale, reason, blame, step, summary)
			VALUES (?, ?, ?, nullif(?, 0), ?, ?, ?, ?, ?, ?, ?, ?)`, s.number, s.scenario, s.began, s.ended, s.last, s.runs, int(s.state), s.stale,
			string(s.reason), string(s.blame), s.step, s.summary); err != nil {
			return err
		}
	}
	for i := range b.events {
		e := &b.events[i]
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO events (at, kind, key, scenario, title, text, author, link, state, severity, rule, alert)
			VALUES (?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?, ?)`, e.at, e.kind, e.key, e.scenario, e.title, e.text, e.author, e.link,
			e.state, int(e.severity), e.rule, e.alert); err != nil {
			return err
		}
	}
	return nil
}

// beat says in the session that the agent works. In a new file, it begins a session.
func (h *History) beat(ctx context.Context, tx *sql.Tx, now time.Time, due, stopping bool) error {
	if h.session == 0 {
		begun, err := tx.ExecContext(ctx, "INSERT INTO sessions (began, last, lost, version) VALUES (?, ?, ?, ?)", now.UnixMicro(), now.UnixMicro(), int64(h.lost.Load()), h.o.Version) //nolint:gosec // a count
		if err != nil {
			return err
		}
		h.session, err = begun.LastInsertId()
		return err
	}
	if !due {
		return nil
	}
	var ended any
	if stopping {
		ended = now.UnixMicro()
	}
	_, err := tx.ExecContext(ctx, "UPDATE sessions SET last = ?, ended = ?, lost = ? WHERE number = ?", now.UnixMicro(), ended, int64(h.lost.Load()), h.session) //nolint:gosec // a count
	return err
}

// hourOf returns the hour of a time, counted from 1970.
func hourOf(micros int64) int64 {
	day, hour := dayOf(micros)
	return day*24 + int64(hour)
}

// Stats returns how the history works.
func (h *History) Stats() *result.HistoryStats {
	s := &result.HistoryStats{Path: filepath.Join(h.o.Dir, FileName), Dropped: h.lost.Load(), Errors: h.errors.Load()}
	if at := h.lastWrite.Load(); at != 0 {
		s.LastWrite = timeOf(at)
	}
	if problem := h.failing.Load(); problem != nil {
		s.Problem = *problem
	}
	if db := h.db.Load(); db != nil {
		s.Bytes, s.Aside = db.Bytes(), db.Aside()
	}
	return s
}
