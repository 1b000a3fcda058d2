// Package state keeps the state of each scenario: soft and hard, flapping, stale, explained by another one, withheld during a
// silence. It decides which alerts are told, and keeps all of that over restarts.
//
// The machine (machine.go) is the logic, without time, goroutines and files of its own. An alert there has what is true and what
// was told; settle compares the two whenever something happened, so what holds an alert back (a silence, flapping, a needed
// scenario, the uplink) needs no memory of what it held back. A Tracker runs the machine: it commits every change to the
// database before it has it told, and a goroutine of its own waits for what the time alone changes.
package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/result"
)

// Quiet says when the alerts of a scenario are not told: during a silence or a maintenance window.
type Quiet interface {
	// Quiet returns why the alerts of a scenario are not told at a time, such as "silence 5b1f02c9 of alice: upgrade", and until
	// when at least. It is called under a lock, often, and so must be quick. tags are as in Scenario.
	Quiet(id result.Identity, tags []string, now time.Time) (why string, until time.Time, quiet bool)
}

// Declaration is a loaded scenario and what its tags and the configuration say about its alerts.
type Declaration struct {
	Identity result.Identity
	Tags     []string      // as written, with "@"
	Interval time.Duration // of its schedule; zero without a schedule
	Timeout  time.Duration // of a run
	Retries  int
	Some, Of int      // @alert:3of5: hard when Some of the last Of runs were not OK; zero without
	Steady   bool     // @flapping:off
	Needs    []string // ids of the scenarios whose failure explains the failure of this one
}

// Thresholds say when a scenario flaps, in percent of the weighted changes of its state over its last 21 results: from High on,
// until it is Low or less.
type Thresholds struct {
	Low  float64 `yaml:"low"`
	High float64 `yaml:"high"`
}

// DefaultThresholds returns 20 and 30 percent.
func DefaultThresholds() Thresholds { return Thresholds{20, 30} }

// Options say how a Tracker works.
type Options struct {
	DB         *database.DB // where states are kept, see File; nil if they are only in memory. Whoever opened it closes it.
	Quiet      Quiet        // nil if there are no silences
	Flapping   Thresholds   // zero means the default
	References bool         // runs ask reference hosts about the uplink, so nothing is suspected here
	Log        *slog.Logger // may be nil
}

// Connection is what a Tracker needs of the agent.
type Connection struct {
	Tell  func([]alert.Alert) // takes alerts that are committed, in their order; called by one goroutine at a time
	Run   func(id string)     // runs a scenario now, if it has a schedule
	Sinks []string            // the names of those that get what Tell takes; each is kept until Delivered says so
}

// The times after which changes are written.
const (
	soon       = time.Second      // a result of a scenario that is not simply OK
	touch      = 2 * time.Minute  // a further OK: so often that one a minute is not stale after a crash
	writeWait  = 5 * time.Second  // how long an alert waits for a slow disk before it is told
	writeRetry = 10 * time.Second // before a failed write is repeated
	unsavedMax = 1000             // alerts that wait for a disk that takes nothing
)

// Tracker keeps the states. Its methods may be called from any goroutine.
type Tracker struct {
	o Options

	mu        sync.Mutex
	machine   *machine
	connected Connection
	pending   []alert.Alert // to be committed and told
	asks      []string
	held      []alert.Alert
	silent    []alert.Alert
	sinks     map[string]uint64 // what each has
	moved     bool              // sinks changed since the last write
	soonAt    time.Time         // when dirty records are to be written; zero if there are none
	touchAt   time.Time         // when touched records are to be written; zero if there are none
	planned   time.Time         // when the goroutine wakes up; zero for never
	closed    bool
	counted   uint64 // the number of the last alert in the file
	trouble   error  // why the last write failed; nil if it did not

	kick    chan struct{}
	ending  chan struct{}
	working sync.WaitGroup
	writing sync.Mutex    // held by work
	stuck   chan error    // of a write that has not ended in time; only work uses it
	unsaved []alert.Alert // that could not be committed; only work uses it
}

// Open returns a tracker with the states of the database. If they cannot be read, it begins without them, and says so on the log.
func Open(ctx context.Context, o Options) *Tracker {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Flapping == (Thresholds{}) {
		o.Flapping = DefaultThresholds()
	}
	t := &Tracker{o: o, machine: newMachine(o.Quiet, o.Flapping), sinks: make(map[string]uint64), kick: make(chan struct{}, 1), ending: make(chan struct{})}
	t.machine.uplink.certain = o.References
	if o.DB == nil {
		return t
	}
	k, err := read(ctx, o.DB)
	if err != nil {
		t.trouble = err
		o.Log.Error("the states of the last run cannot be read: every scenario begins anew, and alerts that are still true are told again", "file", o.DB.Path(), "error", err)
		return t
	}
	if k.skipped > 0 {
		o.Log.Error("some states of the last run cannot be read: these scenarios begin anew", "file", o.DB.Path(), "count", k.skipped)
	}
	t.machine.restore(k, time.Now())
	t.counted = k.number
	t.sinks = k.sinks
	t.unsaved = k.alerts // until Connect
	return t
}

// Close writes what is not written yet and ends the tracker. The states can still be read.
func (t *Tracker) Close() error {
	t.Flush()
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	close(t.ending)
	t.working.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trouble
}

// Declare sets the loaded scenarios. whole says that every file could be read: then the alerts of scenarios that are not loaded
// any more end.
func (t *Tracker) Declare(loaded []Declaration, whole bool) {
	t.change(func(m *machine, now time.Time) { m.declare(loaded, whole, now) })
}

// Configure changes when scenarios flap, and whether runs ask reference hosts about the uplink (see Options).
func (t *Tracker) Configure(flapping Thresholds, references bool) {
	if flapping == (Thresholds{}) {
		flapping = DefaultThresholds()
	}
	t.change(func(m *machine, _ time.Time) { m.flapping, m.uplink.certain = flapping, references })
}

// Forget lets go of a scenario that is not loaded any more. Its alerts end.
func (t *Tracker) Forget(id result.Identity) {
	t.change(func(m *machine, now time.Time) {
		if rec := m.byID[id.ID()]; rec != nil && !rec.loaded {
			m.remove(rec, now)
		}
	})
}

// Connect begins the telling. It returns, by the name of the sink, the alerts that were committed before but may not have been
// delivered. remembers are the names of the rules other than those of this package that know their open alerts (see
// alert.Rememberer); the alerts of others end with the program.
func (t *Tracker) Connect(c Connection, remembers ...string) (undelivered map[string][]alert.Alert) {
	t.mu.Lock()
	before := t.unsaved
	t.unsaved = nil
	t.connected = c
	t.machine.forget(remembers)
	undelivered = make(map[string][]alert.Alert)
	sinks := make(map[string]uint64, len(c.Sinks))
	for _, name := range c.Sinks {
		delivered, known := t.sinks[name]
		if !known {
			delivered = t.machine.number // it is new
		}
		sinks[name] = delivered
		for _, a := range before {
			if a.Number > delivered {
				undelivered[name] = append(undelivered[name], a)
			}
		}
	}
	t.sinks, t.moved = sinks, true
	t.after(time.Now())
	t.mu.Unlock()
	t.working.Go(t.loop)
	return undelivered
}

// Delivered notes that a sink has every alert up to a number.
func (t *Tracker) Delivered(sink string, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number > t.sinks[sink] {
		t.sinks[sink], t.moved = number, true
		t.plan(time.Now())
	}
}

// Observe takes a result. The alerts that it changes are told later, by another goroutine.
func (t *Tracker) Observe(r *result.Result) {
	t.change(func(m *machine, now time.Time) { m.observe(r, now) })
}

// Take takes the changes that other rules report. They are withheld, committed and told as those of this package.
func (t *Tracker) Take(changes []alert.Alert) {
	t.change(func(m *machine, now time.Time) {
		for _, a := range changes {
			m.take(a, now)
		}
	})
}

// Suspect returns the lack that explains a failed run if the network of this machine seems to be down; nil otherwise. doubtful says
// that it may be down, which the next runs of others decide. It is called with each run that did not pass, before Observe.
func (t *Tracker) Suspect(r *result.Result) (own *result.Lack, doubtful bool) {
	t.change(func(m *machine, now time.Time) { own, doubtful = m.suspect(r, now) })
	return own, doubtful
}

// Tick tells what the time alone changes: the end of a silence, or of a wait for another scenario. The tracker does so by
// itself in time. Whoever ends a silence early calls it; otherwise that is noticed within a minute.
func (t *Tracker) Tick(now time.Time) {
	t.change(func(m *machine, _ time.Time) { m.tick(now) })
}

// change changes the machine and has done what follows from that.
func (t *Tracker) change(do func(m *machine, now time.Time)) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	do(t.machine, now)
	t.after(now)
}

// after takes over the output of the machine.
func (t *Tracker) after(now time.Time) {
	o := &t.machine.output
	if len(o.told)+len(o.asked)+len(o.held)+len(o.silent) > 0 {
		t.pending, t.asks = append(t.pending, o.told...), append(t.asks, o.asked...)
		t.held, t.silent = append(t.held, o.held...), append(t.silent, o.silent...)
		o.told, o.asked, o.held, o.silent = nil, nil, nil, nil
	}
	t.plan(now)
}

// plan decides when the goroutine has to work next, and wakes it if that is earlier than it knows.
func (t *Tracker) plan(now time.Time) {
	if t.soonAt.IsZero() && (len(t.machine.output.dirty) > 0 || len(t.machine.output.gone) > 0 || t.moved) {
		t.soonAt = now.Add(soon)
	}
	if t.touchAt.IsZero() {
		t.touchAt = now.Add(touch)
	}
	if next := t.next(now); !next.IsZero() && (t.planned.IsZero() || next.Before(t.planned)) {
		t.planned = next
		select {
		case t.kick <- struct{}{}:
		default: // it wakes up anyway
		}
	}
}

// next returns when there is something to do; zero if there is nothing.
func (t *Tracker) next(now time.Time) time.Time {
	if len(t.pending)+len(t.asks)+len(t.held)+len(t.silent) > 0 {
		return now
	}
	var next time.Time
	for _, at := range []time.Time{t.machine.wake, t.soonAt, t.touchAt} {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// loop works whenever there is something to do, until Close.
func (t *Tracker) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.ending:
			return
		case <-t.kick:
		case <-timer.C:
		}
		t.work(false)
		now := time.Now()
		t.mu.Lock()
		t.planned = t.next(now)
		wait := t.planned.Sub(now)
		if t.planned.IsZero() {
			wait = time.Hour
		}
		t.mu.Unlock()
		timer.Reset(max(0, wait))
	}
}

// Flush commits and tells everything that is to be told, and writes every state.
func (t *Tracker) Flush() { t.work(true) }

// work does what is to be done now; all of it, if everything is set.
func (t *Tracker) work(everything bool) {
	t.writing.Lock()
	defer t.writing.Unlock()
	now := time.Now()
	t.mu.Lock()
	if w := t.machine.wake; !w.IsZero() && !w.After(now) {
		t.machine.tick(now)
		t.after(now)
	}
	alerts, asks, held, silent, tell, run := t.pending, t.asks, t.held, t.silent, t.connected.Tell, t.connected.Run
	t.pending, t.asks, t.held, t.silent = nil, nil, nil, nil
	b := t.collect(now, everything, alerts)
	t.mu.Unlock()
	for _, id := range asks {
		if run != nil {
			run(id)
		}
	}
	for _, a := range held {
		t.o.Log.Info("alert withheld", "rule", a.Rule, "scenario", a.Identity.String(), "state", a.Severity.String(), "why", a.Withheld, "summary", a.Summary)
	}
	for _, a := range silent {
		t.o.Log.Info("alert ended without having been told", "rule", a.Rule, "scenario", a.Identity.String(), "summary", a.Summary)
	}
	t.commit(b)
	if len(alerts) > 0 && tell != nil {
		tell(alerts)
	}
}

// collect returns what is to be written now.
func (t *Tracker) collect(now time.Time, everything bool, alerts []alert.Alert) *batch {
	o := &t.machine.output
	b := &batch{number: t.machine.number, alerts: slices.Concat(t.unsaved, alerts)}
	isSoon := everything || len(b.alerts) > 0 || !t.soonAt.IsZero() && !t.soonAt.After(now)
	isTouch := everything || !t.touchAt.IsZero() && !t.touchAt.After(now)
	if t.o.DB == nil {
		clear(o.dirty)
		o.gone, t.moved, t.soonAt = nil, false, time.Time{}
		if isTouch {
			t.touchAt = now.Add(time.Hour) // there is nothing to be written
		}
		return new(batch)
	}
	if t.stuck != nil && !everything || !isSoon && !isTouch {
		return new(batch)
	}
	b.records = make(map[string][]byte)
	add := func(rec *record) {
		text, err := json.Marshal(rec)
		if err != nil { // a number that is none
			t.o.Log.Error("a state cannot be written", "scenario", rec.String(), "error", err)
			return
		}
		b.records[rec.ID] = text
		rec.touched = false
	}
	for rec := range o.dirty {
		add(rec)
	}
	if isTouch {
		for _, rec := range t.machine.records {
			if _, done := b.records[rec.ID]; rec.touched && !done {
				add(rec)
			}
		}
		t.touchAt = time.Time{}
	}
	clear(o.dirty)
	b.gone, o.gone = o.gone, nil
	if t.moved {
		b.sinks = make(map[string]uint64, len(t.sinks))
		for name, delivered := range t.sinks {
			b.sinks[name] = delivered
		}
	}
	if len(t.connected.Sinks) == 0 {
		b.alerts = nil
	}
	b.counted = b.number != t.counted
	t.counted, t.moved, t.soonAt = b.number, false, time.Time{}
	return b
}

// commit writes a batch. It waits only so long for a disk that does not answer: an alert that is told twice after a crash is
// better than one that is not told.
func (t *Tracker) commit(b *batch) {
	if t.stuck != nil {
		select {
		case err := <-t.stuck:
			t.stuck = nil
			t.wrote(nil, err)
		default:
			t.keep(b)
			return
		}
	}
	if b.empty() {
		return
	}
	t.unsaved = nil
	done := make(chan error, 1)
	go func() { done <- write(context.Background(), t.o.DB, b) }()
	timer := time.NewTimer(writeWait)
	defer timer.Stop()
	select {
	case err := <-done:
		t.wrote(b, err)
	case <-timer.C:
		t.stuck = done
		t.wrote(nil, fmt.Errorf("write %s: the disk did not take it within %s", t.o.DB.Path(), writeWait))
	}
}

// wrote notes how a write ended. b is written again if it failed.
func (t *Tracker) wrote(b *batch, err error) {
	t.mu.Lock()
	before := t.trouble
	t.trouble = err
	t.mu.Unlock()
	switch {
	case err == nil && before != nil:
		t.o.Log.Info("states are kept again", "file", t.o.DB.Path())
	case err != nil && before == nil:
		t.o.Log.Error("states cannot be kept: after a restart scenarios begin as they were before, and alerts may be told again", "file", t.o.DB.Path(), "error", err)
	}
	if err == nil {
		return
	}
	if b != nil {
		t.keep(b)
	}
	if errors.As(err, new(*database.DamagedError)) { // a new file was begun: everything belongs into it
		t.mu.Lock()
		for _, rec := range t.machine.byID {
			t.machine.output.dirty[rec] = true
		}
		t.counted, t.moved, t.soonAt = 0, true, time.Now()
		t.mu.Unlock()
	}
}

// keep has a batch that was not written written later.
func (t *Tracker) keep(b *batch) {
	if b.empty() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unsaved = b.alerts[max(0, len(b.alerts)-unsavedMax):]
	for id := range b.records {
		if rec := t.machine.byID[id]; rec != nil {
			t.machine.output.dirty[rec] = true
		}
	}
	t.machine.output.gone = append(t.machine.output.gone, b.gone...)
	t.moved = t.moved || b.sinks != nil
	t.counted, t.soonAt = 0, time.Now().Add(writeRetry)
}

// Trouble returns why states cannot be kept now, or nil.
func (t *Tracker) Trouble() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trouble
}

// Attempt returns the number of a scenario's next attempt: 1, unless its last run was not OK.
func (t *Tracker) Attempt(id result.Identity) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rec := t.machine.records[keyOf(id)]; rec != nil {
		return rec.NextAttempt
	}
	return 1
}

// Snapshot returns the loaded scenarios in the order in which they are loaded.
func (t *Tracker) Snapshot() []Scenario {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Scenario, len(t.machine.order))
	for i, rec := range t.machine.order {
		all[i] = rec.at(now)
	}
	return all
}

// Scenario returns a loaded scenario by its id.
func (t *Tracker) Scenario(id string) (s Scenario, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rec := t.machine.byID[id]; rec != nil && rec.loaded {
		return rec.at(time.Now()), true
	}
	return Scenario{}, false
}

// at returns the scenario as it is seen at a time.
func (rec *record) at(now time.Time) Scenario {
	s := rec.Scenario
	every := max(s.Interval, s.Backoff)
	if every <= 0 || rec.Heard.IsZero() {
		return s
	}
	s.Next = s.LastRun.Add(time.Duration(every))
	if allowed := staleAfter*time.Duration(every) + rec.timeout; now.Sub(rec.Heard) > allowed && !s.Stale {
		s.Stale, s.State, s.Since = true, result.Unknown, rec.Heard.Add(allowed)
	}
	return s
}

// Unsettled returns the loaded scenarios that are neither simply OK nor simply failing, for metrics.
func (t *Tracker) Unsettled() (all []result.Unsettled) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.machine.open) == 0 {
		return nil
	}
	for _, rec := range t.machine.opened() {
		u := result.Unsettled{Identity: rec.Identity, Flapping: rec.Flapping}
		u.Withheld, _, _ = strings.Cut(rec.Withheld, " ")
		u.Withheld = strings.TrimSuffix(u.Withheld, ":")
		if u.Withheld == "waits" { // for a run of one that it needs
			u.Withheld = "needs"
		}
		p := rec.find(RuleFailures)
		u.Soft = p != nil && p.State == alert.Soft
		if rec.loaded && (u.Soft || u.Flapping || u.Withheld != "") {
			all = append(all, u)
		}
	}
	return all
}

// Alerts returns the open alerts, soft and hard, the oldest first. Withheld says which of them are not told.
func (t *Tracker) Alerts() []alert.Alert {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []alert.Alert
	for rec := range t.machine.open {
		for _, p := range rec.Problems {
			if p.State != alert.Resolved {
				a := p.Alert
				a.Identity = rec.Identity
				all = append(all, a)
			}
		}
	}
	slices.SortFunc(all, func(a, b alert.Alert) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Told returns the open alerts as the sinks know them, for a sink that has no memory of its own.
func (t *Tracker) Told() []alert.Alert {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []alert.Alert
	for _, rec := range t.machine.opened() {
		for _, p := range rec.Problems {
			if p.Told != nil && p.Told.State != alert.Resolved {
				a := p.Alert
				a.Identity, a.State, a.Severity, a.Withheld = rec.Identity, p.Told.State, p.Told.Severity, ""
				all = append(all, a)
			}
		}
	}
	return all
}

// Lacking returns the scenarios whose last run lacked something of a kind.
func (t *Tracker) Lacking(kind string) (all []result.Identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, rec := range t.machine.order {
		if rec.LastReason == result.ReasonLack && rec.ExplainedBy == kind {
			all = append(all, rec.Identity)
		}
	}
	return all
}

// NoAlertError is that no open alert has an id.
type NoAlertError struct{ ID string }

// Error says what to do.
func (e *NoAlertError) Error() string {
	return fmt.Sprintf("no open alert has the id %q: it may be resolved; list the open ones", e.ID)
}

// Acknowledge notes that somebody takes care of an open alert. It returns a NoAlertError if there is no such alert.
func (t *Tracker) Acknowledge(alertID, author, comment string) error {
	return t.acknowledge(alertID, &alert.Acknowledgement{Author: author, Comment: comment, At: time.Now().Round(0)})
}

// Unacknowledge withdraws what Acknowledge noted. It returns a NoAlertError if there is no such alert.
func (t *Tracker) Unacknowledge(alertID string) error { return t.acknowledge(alertID, nil) }

func (t *Tracker) acknowledge(alertID string, by *alert.Acknowledgement) (err error) {
	t.change(func(m *machine, now time.Time) {
		if !m.acknowledge(alertID, by, now) {
			err = &NoAlertError{alertID}
		}
	})
	return err
}
