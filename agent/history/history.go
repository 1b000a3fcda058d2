// Package history keeps what happened, for years: runs with their steps, phases and measurements, the times in which a scenario
// was not OK, the changes of alerts, deployments and notes. It is a sink of the agent; other processes read meanwhile.
//
// What becomes of a run:
//
//  1. Export encodes it (record.go) into a buffer, and returns. What is the same in most runs of a scenario, such as the texts of
//     the steps, is stored once (shape.go).
//  2. One goroutine commits the buffer as one row of the journal: at most quickly (a quarter of a second) after a run that was not
//     OK, and within a second after others. That is all that a death of the process loses.
//  3. At the end of each hour, or after 60,000 runs, the journal is sorted into blocks of one scenario and hour (block.go), and
//     into hours (day.go): how many runs had which state, and a sketch of the durations of each step and phase (sketch.go).
//  4. After Limits.Runs the blocks are deleted, after Limits.Keep the rest. If the file is larger than Limits.Size, the oldest
//     goes first.
//
// Durations are kept in whole microseconds. The notes of steps that passed are not kept, and no evidence.
//
// The agent runs on, whatever happens to the file: what cannot be written is kept in a bounded buffer, then dropped and counted.
package history

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/result"
)

// FileName is the name of the file in the state directory.
const FileName = "history.db"

// Limits say what is kept for how long. Zero means the default.
type Limits struct {
	Runs time.Duration // how long single runs are kept
	Keep time.Duration // how long hours, times of failure, alerts, deployments and notes are kept
	Size int64         // bytes of the file
}

// Options say where the history is, and what is kept.
type Options struct {
	Limits
	Dir     string       // the state directory
	Version string       // of stepwatch, for the sessions
	Log     *slog.Logger // may be nil
}

// The defaults of Limits.
const (
	DefaultRuns = 14 * 24 * time.Hour
	DefaultKeep = 400 * 24 * time.Hour
	DefaultSize = 2 << 30
)

// When the buffer is committed after a run, and how large it may become meanwhile.
const (
	quickly    = 250 * time.Millisecond // after a run that was not OK, or an event
	slowly     = time.Second
	bufferMost = 4 << 20 // bytes of runs that cannot be written; about 90,000
	eventsMost = 10_000  // events that cannot be written
)

const (
	retryEvery   = 5 * time.Second  // while the file cannot be written
	sessionEvery = time.Minute      // the last row of sessions
	spellEvery   = time.Minute      // the number of runs of a time of failure that lasts
	compactRuns  = 60_000           // runs in the journal
	tidyEvery    = 10 * time.Minute // old rows are deleted
	storeAgain   = 24 * time.Hour   // scenarios and shapes, so that those in use are known
	scenarioMost = 100_000          // scenarios; runs of others are dropped
)

// History is the history that this process writes. Its methods may be called from any goroutine.
type History struct {
	*Reader
	o    Options
	log  *slog.Logger
	wake chan struct{}
	stop chan struct{}
	done chan struct{}

	mu        sync.Mutex
	open      bool // the database is known
	closed    bool
	buffer    batch
	numbers   map[string]*known // by result.Identity.ID
	known     map[result.Identity]*known
	scenarios uint64 // the highest number
	spells    uint64

	lost      atomic.Uint64
	errors    atomic.Uint64
	lastWrite atomic.Int64 // Unix microseconds
	failing   atomic.Pointer[string]
	renewed   atomic.Bool // the file was damaged, and is a new one

	// Only the writing goroutine uses these.
	journaled   int   // runs in the journal
	oldest      int64 // the first of them
	session     int64
	sessionAt   time.Time
	tidied      time.Time
	told        string // the last problem on the log
	toldAt      time.Time
	seriesKnown map[uint64]map[string]uint64 // by scenario and name
	shapesKnown map[uint64]*shape
	now         func() time.Time
}

// batch is what one commit writes.
type batch struct {
	records     []byte
	runs, bad   int
	first, last int64
	before      int64 // when the last run in records began
	quick       bool
	scenarios   []*known
	shapes      []*knownShape
	spells      map[uint64]spell
	events      []event
}

func (b *batch) empty() bool {
	return b.runs == 0 && len(b.scenarios) == 0 && len(b.shapes) == 0 && len(b.spells) == 0 && len(b.events) == 0
}

// known is a scenario that was exported.
type known struct {
	number   uint64
	identity result.Identity
	interval time.Duration
	stored   time.Time // zero if it must be stored
	recent   *knownShape
	shapes   map[uint64]*knownShape // by hashOf
	spell    *spell                 // the scenario is not OK since
}

type knownShape struct {
	*shape
	reduced bool
	stored  time.Time // zero if it must be stored
}

// spell is a time in which a scenario was not OK for one reason.
type spell struct {
	number, scenario   uint64
	began, ended, last int64 // ended is 0 while it lasts
	runs               uint64
	state              result.State
	stale              bool
	reason             result.Reason
	blame              result.Blame
	step, summary      string
	stored             time.Time
	dirty              bool // there were more runs than stored
}

// event is a row of events.
type event struct {
	at                                       int64
	kind, key, scenario, title, text, author string
	link, state, rule, alert                 string
	severity                                 result.State
}

// Open opens the history of a state directory, and begins to write. The error says why there can be none: others may change the
// directory, or the file is of a newer stepwatch. For everything else, such as a full disk, it tries again until Close.
func Open(ctx context.Context, o Options) (*History, error) {
	h := prepare(o)
	if err := h.begin(ctx); err != nil {
		if final(err) {
			return nil, err
		}
		h.failed("open", err)
	}
	go h.run() //nolint:gosec,contextcheck // it ends with Close
	return h, nil
}

func prepare(o Options) *History {
	o.Runs, o.Keep, o.Size = cmp.Or(o.Runs, DefaultRuns), cmp.Or(o.Keep, DefaultKeep), cmp.Or(o.Size, DefaultSize)
	h := &History{Reader: newReaderOf(nil), o: o, log: o.Log, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}), now: time.Now}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.damaged = func() { h.renewed.Store(true) }
	h.known, h.numbers = make(map[result.Identity]*known), make(map[string]*known)
	h.seriesKnown, h.shapesKnown = make(map[uint64]map[string]uint64), make(map[uint64]*shape)
	return h
}

// final reports whether an error needs a person.
func final(err error) bool {
	return !database.Full(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, database.ErrInUse) && !isDamaged(err)
}

func isDamaged(err error) bool {
	var damaged *database.DamagedError
	return errors.As(err, &damaged)
}

// begin opens the database and reads what the memory needs of it.
func (h *History) begin(ctx context.Context) error {
	db := h.db.Load()
	if db == nil {
		opened, err := database.Open(ctx, database.Options{Dir: h.o.Dir, Name: FileName, Migrations: migrations, Alone: true, Log: h.log})
		if err != nil {
			return err
		}
		db = opened
		h.db.Store(db)
	}
	if err := h.load(ctx, db); err != nil {
		return err
	}
	h.mu.Lock()
	h.open = true
	h.mu.Unlock()
	return nil
}

// load reads the scenarios, the times of failure that last, and what is in the journal; and it begins a session.
func (h *History) load(ctx context.Context, db *database.DB) error {
	return db.Write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		byNumber := make(map[uint64]*known)
		if err := each(ctx, tx, func(rows *sql.Rows) error {
			k := new(known)
			var id string
			if err := rows.Scan(&k.number, &id, &k.identity.Feature, &k.identity.Scenario, &k.identity.Example, &k.identity.File, &k.identity.Line,
				&k.identity.Owner, &k.identity.Severity, &k.identity.Location, &k.interval); err != nil {
				return err
			}
			h.numbers[id], byNumber[k.number] = k, k
			h.scenarios = max(h.scenarios, k.number)
			return nil
		}, "SELECT number, id, feature, scenario, example, file, line, owner, severity, location, interval FROM scenarios"); err != nil {
			return err
		}
		if err := each(ctx, tx, func(rows *sql.Rows) error {
			s := spell{stored: h.now()}
			if err := rows.Scan(&s.number, &s.scenario, &s.began, &s.last, &s.runs, &s.state, &s.stale, &s.reason, &s.blame, &s.step, &s.summary); err != nil {
				return err
			}
			if k := byNumber[s.scenario]; k != nil {
				k.spell = &s
			}
			return nil
		}, "SELECT number, scenario, began, last, runs, state, stale, reason, blame, step, summary FROM spells WHERE ended IS NULL"); err != nil {
			return err
		}
		if err := recount(ctx, tx, byNumber); err != nil {
			return err
		}
		for _, q := range []struct {
			query string
			into  []any
		}{
			{"SELECT ifnull(max(number), 0) FROM spells", []any{&h.spells}},
			{"SELECT ifnull(sum(runs), 0), ifnull(min(first), 0) FROM journal", []any{&h.journaled, &h.oldest}},
		} {
			if err := tx.QueryRowContext(ctx, q.query).Scan(q.into...); err != nil {
				return err
			}
		}
		now := h.now()
		begun, err := tx.ExecContext(ctx, "INSERT INTO sessions (began, last, lost, version) VALUES (?, ?, 0, ?)", now.UnixMicro(), now.UnixMicro(), h.o.Version)
		if err != nil {
			return err
		}
		h.session, err = begun.LastInsertId()
		h.sessionAt = now
		return err
	})
}

// recount adds to the times of failure what was only in the memory of a process that died: the runs in the journal.
func recount(ctx context.Context, tx *sql.Tx, scenarios map[uint64]*known) error {
	q := &query{Context: ctx, tx: tx, known: lookup(ctx, tx, make(map[uint64]*shape))}
	open := func(scenario uint64) bool { k := scenarios[scenario]; return k != nil && k.spell != nil }
	return q.journal(0, 1<<62, true, open, func(rec *record) {
		if s := scenarios[rec.scenario].spell; rec.began > s.last && rec.state == s.state && rec.stale == s.stale {
			s.runs++
			s.last, s.dirty = rec.began, true
		}
	})
}

// each calls a function for every row of a query.
func each(ctx context.Context, tx *sql.Tx, row func(*sql.Rows) error, query string, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return eachOf(rows, row)
}

// eachOf calls a function for every row, and closes them.
func eachOf(rows *sql.Rows, row func(*sql.Rows) error) error {
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Export implements agent.Sink. It waits for no disk.
func (h *History) Export(res *result.Result) {
	state := res.State()
	h.mu.Lock()
	ok := h.add(res, state)
	wake := h.buffer.runs == 1 || ok && state != result.OK && !h.buffer.quick
	h.buffer.quick = h.buffer.quick || state != result.OK
	h.mu.Unlock()
	if !ok {
		h.lost.Add(1)
	}
	if wake {
		h.rouse()
	}
}

func (h *History) rouse() {
	select {
	case h.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// add puts a run into the buffer.
func (h *History) add(res *result.Result, state result.State) bool {
	if !h.open || h.closed || len(h.buffer.records) >= bufferMost {
		return false
	}
	b := &h.buffer
	k := h.scenario(res)
	if k == nil {
		return false
	}
	s := h.shape(k, res)
	records, began, err := appendRun(b.records, res, state, k.number, s.id, s.reduced, b.before)
	if err != nil {
		h.log.Warn("a run is not in the history", "scenario", res.Identity.String(), "error", err)
		return false
	}
	if b.runs == 0 {
		b.first, b.last = began, began
	}
	b.first, b.last, b.before = min(b.first, began), max(b.last, began), began
	b.records = records
	b.runs++
	if state != result.OK {
		b.bad++
	}
	h.judge(k, res, state, began)
	return true
}

// scenario returns what is known of the scenario of a run; nil if there are too many.
func (h *History) scenario(res *result.Result) *known {
	k := h.known[res.Identity]
	if k != nil && k.interval == res.Interval && res.Started.Sub(k.stored) <= storeAgain {
		return k
	}
	id := res.Identity.ID()
	if k = h.numbers[id]; k == nil {
		if len(h.numbers) >= scenarioMost {
			return nil
		}
		h.scenarios++
		k = &known{number: h.scenarios}
		h.numbers[id] = k
	}
	if res.Started.Sub(k.stored) > storeAgain || k.identity != res.Identity || k.interval != res.Interval {
		k.identity, k.interval, k.stored = res.Identity, res.Interval, res.Started
		h.buffer.scenarios = append(h.buffer.scenarios, k)
	}
	if len(h.known) >= 2*scenarioMost { // they moved in their files for years
		clear(h.known)
	}
	h.known[res.Identity] = k
	return k
}

// shape returns the shape of a run.
func (h *History) shape(k *known, res *result.Result) *knownShape {
	s := k.recent
	if s == nil || !fits(s.steps, res.Steps, s.reduced) {
		s = h.findShape(k, res)
		k.recent = s
	}
	if res.Started.Sub(s.stored) > storeAgain {
		s.stored = res.Started
		h.buffer.shapes = append(h.buffer.shapes, s)
	}
	return s
}

func (h *History) findShape(k *known, res *result.Result) *knownShape {
	hash := hashOf(res.Steps)
	if s := k.shapes[hash]; s != nil && fits(s.steps, res.Steps, s.reduced) {
		return s
	}
	reduced := len(k.shapes) >= shapesMost
	s := &knownShape{shape: newShape(res.Steps, reduced), reduced: reduced}
	json, _ := s.encode() // nothing in it can fail
	if len(json) > shapeBytesMost || s.times+s.measured > valuesMost {
		s.shape, s.reduced = newShape(nil, true), true
		json, _ = s.encode()
	}
	sum := sha256.Sum256(json)
	s.id = binary.BigEndian.Uint64(sum[:]) >> 8
	if k.shapes == nil {
		k.shapes = make(map[uint64]*knownShape)
	}
	if len(k.shapes) < 2*shapesMost {
		k.shapes[hash] = s
	}
	return s
}

// judge keeps the times in which the scenario is not OK.
func (h *History) judge(k *known, res *result.Result, state result.State, began int64) {
	now := k.spell
	if state == result.OK && now == nil {
		return
	}
	if now != nil && now.state == state && now.reason == res.Reason && now.stale == res.Stale {
		now.runs++
		now.last = began
		now.dirty = true
		if at := h.now(); at.Sub(now.stored) >= spellEvery {
			now.stored, now.dirty = at, false
			h.put(*now)
		}
		return
	}
	if now != nil {
		now.ended = max(began, now.began)
		h.put(*now)
		k.spell = nil
	}
	if state == result.OK {
		return
	}
	h.spells++
	k.spell = &spell{number: h.spells, scenario: k.number, began: began, last: began, runs: 1, state: state, stale: res.Stale,
		reason: res.Reason, blame: res.Blame, step: decided(res), summary: res.Summary(), stored: h.now()}
	h.put(*k.spell)
}

func (h *History) put(s spell) {
	if h.buffer.spells == nil {
		h.buffer.spells = make(map[uint64]spell)
	}
	h.buffer.spells[s.number] = s
}

// Alert implements agent.AlertSink.
func (h *History) Alert(a alert.Alert) {
	e := event{at: h.now().UnixMicro(), kind: KindAlert, title: a.Summary, state: string(a.State), severity: a.Severity, rule: a.Rule, alert: a.ID}
	if a.Identity != (result.Identity{}) {
		e.scenario = a.Identity.ID()
	}
	if a.Number > 0 {
		e.key = fmt.Sprintf("alert %s %d", a.ID, a.Number)
	}
	_ = h.tell(e) // lost counts it
}

// Deployment adds that something was deployed: what ("webmail 2.4.1"), by whom, and where to read more. Empty texts are allowed
// but for the first. It is written within a second, or when the disk has place again; the error says that it is not kept.
func (h *History) Deployment(at time.Time, what, text, author, link string) error {
	return h.tell(event{at: at.UnixMicro(), kind: KindDeployment, title: what, text: text, author: author, link: link})
}

// Note adds what a person wants to be remembered, about the scenario with this id or about none. It is written as a deployment
// is.
func (h *History) Note(at time.Time, scenario, text, author string) error {
	return h.tell(event{at: at.UnixMicro(), kind: KindNote, scenario: scenario, title: text, author: author})
}

// ErrFull is the error of an event while so many wait for the disk that no other one is kept.
var ErrFull = errors.New("the history cannot be written, and too many events wait for that: the log of the agent says why")

func (h *History) tell(e event) (err error) {
	h.mu.Lock()
	switch {
	case !h.open || h.closed:
		err = ErrNotOpen
	case len(h.buffer.events) >= eventsMost:
		err = ErrFull
	default:
		h.buffer.events = append(h.buffer.events, e)
		h.buffer.quick = true
	}
	h.mu.Unlock()
	if err != nil {
		h.lost.Add(1)
	}
	h.rouse()
	return err
}

// Close commits what is in the buffer and closes the file. It returns when ctx ends, at the latest.
func (h *History) Close(ctx context.Context) error {
	h.mu.Lock()
	again := h.closed
	h.closed = true
	h.mu.Unlock()
	if !again {
		close(h.stop)
	}
	select {
	case <-h.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the history: the disk does not answer: %w", context.Cause(ctx))
	}
}
