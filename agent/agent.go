package agent

import (
	"container/heap"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/steps"
)

// PlanRunner runs a plan once. Runner implements it and documents what a run guarantees.
type PlanRunner interface {
	// Start runs a plan once, and returns at once. It calls done with the result, from another goroutine.
	Start(ctx context.Context, p *Plan, o Occasion, done func(*result.Result))

	Abandoned() int

	// Addresses returns where a plan connects to as far as its text says: "host:port" or "host".
	Addresses(p *Plan) []string
}

// Sink takes results. The agent calls it from one goroutine at a time. The result is shared and must not be changed.
type Sink interface {
	Export(*result.Result)
}

// AlertSink is a Sink that also takes alerts. It gets an alert after the result that changed it, and after a restart those that
// it may not have got before: their Number is the same.
type AlertSink interface {
	Alert(alert.Alert)
}

// RestoredSink is an AlertSink that remembers nothing itself. Before the first run it gets the open alerts as it knew them before
// a restart, and how the last runs of the scenarios ended.
type RestoredSink interface {
	Restore(open []alert.Alert, last []result.Last)
}

// ForgettingSink is a Sink that keeps something for each scenario. The agent calls Forget when a reload has removed a scenario,
// after its last result and its last alert. A scenario of that identity may be loaded again later.
type ForgettingSink interface {
	Forget(result.Identity)
}

// Agent runs plans on their schedules until it is stopped. Its fields are set before Run. Reload replaces the plans later.
type Agent struct {
	Runner PlanRunner
	Plans  []*Plan
	Name   string          // distinguishes agents: those with the same plans run them at different times
	Sinks  map[string]Sink // by name, for the count of dropped results
	Rules  []alert.Source  // beside those of States
	States *state.Tracker  // the state of each scenario and its alerts; nil means one that remembers nothing
	Limits Limits          // how many runs may be in progress at once

	// References are asked whether the network of this machine works when a run fails as if it did not; nil means that the
	// runs of other scenarios must tell.
	References *References

	Grace time.Duration // time for runs in progress to end when the agent stops; zero means five seconds
	Log   *slog.Logger

	// Mistakes counts the mistakes in the loaded files, by path. It is part of Stats. While there are any, the alerts of
	// scenarios that are not loaded stay open.
	Mistakes map[string]int

	// Ended is Loaded.Ended for the plans above.
	Ended func()

	once      sync.Once
	entries   []*entry    // those of the dispatcher
	load      *generation // the latest
	dispatch  atomic.Pointer[dispatcher]
	started   chan struct{} // closed when dispatch is there
	admission *admission
	roster    atomic.Pointer[roster]
	refused   atomic.Bool
	reloading sync.Mutex // held by a reload
	reloads   chan *reload
	over      chan struct{} // closed when nobody takes reloads any more
	queues    map[string]*sinkQueue
	running   atomic.Int64
	ending    sync.RWMutex // guards ended, after which the queues are closed
	ended     bool
}

// queueLength is how many results may wait for a sink before those of one scenario replace each other.
const queueLength = 1024

// entry is the schedule of one plan. Only the dispatcher accesses it, except for the counters and what reporting guards.
type entry struct {
	plan    *Plan
	load    *generation   // that the plan belongs to
	print   fingerprint   // of the plan
	wants   []string      // the addresses that its text says
	offset  time.Duration // of its due times into each interval, counted from the Unix epoch
	due     time.Time     // of the next scheduled run
	shift   time.Duration // of the due time after that, because the offset has changed
	retry   time.Time     // of a quick repetition after a failure; zero if there is none
	start   time.Time     // due time of the waiting or current run
	asked   time.Time     // when it asked for its places
	began   time.Time     // of the current run; zero while it waits
	stale   time.Time     // when the waiting or current run is too late; zero if there is none, or that has been said
	busy    bool          // waiting for a place or in progress
	again   bool          // it is to run once more after the current run
	probe   *probe        // if it is one; then it is not in the heap
	attempt int           // of the next run
	wake    time.Time     // what next returned when the entry took its place in the heap
	index   int           // in the heap

	running *Plan       // of the current run
	renewed bool        // the current run says nothing about the next ones: it is one of an earlier plan
	leaving atomic.Bool // it was removed: it starts no run, and nothing more is said about it after its current one

	standing standing
	timeouts int           // runs in a row that got no answer in time
	pause    time.Duration // between runs because of them; zero while the schedule holds
	usual    time.Duration // that a run takes which gets its answers
	targets  []*gate       // of the addresses that its runs connect to
	gates    []*gate       // at which the current run has a place, or the waiting one wants one
	blocked  *gate         // at which it waits, or waited last; nil if it did not have to

	turn      uint64 // number of the waiting or current run
	reporting sync.Mutex
	reported  uint64 // number of the last run with a result

	missed atomic.Uint64
	late   atomic.Uint64
}

// next returns when the entry needs attention next.
func (e *entry) next() time.Time {
	next := e.due
	for _, other := range []time.Time{e.retry, e.stale} {
		if !other.IsZero() && other.Before(next) {
			next = other
		}
	}
	return next
}

func (a *Agent) init() {
	a.once.Do(func() {
		if a.Log == nil {
			a.Log = slog.New(slog.DiscardHandler)
		}
		if a.Limits.Workers == 0 {
			a.Limits.Workers = capacity()
		}
		if a.States == nil {
			a.States = state.Open(context.Background(), state.Options{Log: a.Log})
		}
		first := a.prepare(Loaded{Runner: a.Runner, Plans: a.Plans, Limits: a.Limits, Mistakes: a.Mistakes, Ended: a.Ended})
		a.entries, a.load = first.entries, first.load
		a.States.Declare(first.declared())
		a.admission = newAdmission(a.Limits, a.entries)
		for _, e := range a.entries {
			a.admission.connects(e, e.wants)
		}
		a.list(a.Limits.Workers)
		a.reloads, a.over, a.started = make(chan *reload), make(chan struct{}), make(chan struct{})
		a.queues = make(map[string]*sinkQueue, len(a.Sinks))
		for name, sink := range a.Sinks {
			a.queues[name] = &sinkQueue{sink: sink, items: make(chan delivery, queueLength), delivered: func(number uint64) { a.States.Delivered(name, number) }}
		}
	})
}

// Stats returns a snapshot of the agent's own state. It may be called at any time, from any goroutine.
func (a *Agent) Stats() result.Stats {
	a.init()
	now := a.roster.Load()
	s := result.Stats{Loaded: now.loaded, Refused: a.refused.Load(), Running: int(a.running.Load()), Waiting: int(a.admission.waiting.Load()), Workers: now.workers,
		Abandoned: now.load.Runner.Abandoned(), Mistakes: now.load.Mistakes, Scenarios: make([]result.ScenarioStats, 0, len(now.scenarios)), Dropped: make(map[string]uint64, len(a.queues))}
	for _, l := range now.scenarios {
		s.Scenarios = append(s.Scenarios, result.ScenarioStats{Identity: l.plan.Identity, Interval: l.plan.Interval,
			Missed: l.entry.missed.Load(), Late: l.entry.late.Load()})
	}
	for name, q := range a.queues {
		s.Dropped[name] = q.dropped.Load()
	}
	s.Unsettled = a.States.Unsettled()
	return s
}

// Scenarios returns the states of the loaded scenarios. It may be called at any time, from any goroutine.
func (a *Agent) Scenarios() []state.Scenario {
	a.init()
	return a.States.Snapshot()
}

// Run dispatches the plans until ctx ends. Then it starts no more runs and waits up to Grace for those in progress. It
// stops the rest, drops their results, which prove nothing, and lets them clean up. It returns once every sink has taken
// its queue, or Grace later. It must be called only once.
func (a *Agent) Run(ctx context.Context) {
	a.init()
	a.connect()
	var sinks sync.WaitGroup
	for _, q := range a.queues {
		sinks.Go(q.deliver)
	}
	runs, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	d := &dispatcher{agent: a, runs: runs, wake: make(chan struct{}, 1), leaving: make(map[result.Identity]*entry)}
	a.dispatch.Store(d)
	close(a.started)
	d.loop(ctx)
	close(a.over)
	d.drain(stop)
	d.reports.Wait()
	a.States.Flush() // the last alerts come into the queues
	a.ending.Lock()  // nobody else puts anything into the queues
	a.ended = true
	for _, q := range a.queues {
		close(q.items)
	}
	a.ending.Unlock()
	a.await(begin(sinks.Wait))
	if err := a.States.Close(); err != nil {
		a.Log.Error("the states were not written completely", "error", err)
	}
}

// await waits for the sinks to take what is queued for them, up to Grace. A sink that writes to a disk that no longer answers
// would never end.
func (a *Agent) await(taken <-chan struct{}) {
	if within(orDefault(a.Grace, defaultGrace), taken) {
		return
	}
	for name, q := range a.queues {
		if !q.done.Load() {
			a.Log.Error("an exporter did not take its last results in time", "exporter", name, "lost", len(q.items)+1)
		}
	}
}

// defaultGrace is the default of Agent.Grace.
const defaultGrace = 5 * time.Second

// completion is a run that has ended.
type completion struct {
	entry  *entry
	load   *generation
	result *result.Result
	at     time.Time
	took   time.Duration
}

// dispatcher runs the schedule in one goroutine, which owns every entry and the admission.
//
// It wakes up when an entry is due, and then takes over the runs that have ended in the meantime. A run that ends wakes it only
// if something may happen before the next due time because of that: if somebody waits for a place, if the run did not pass, or
// if it was one of an earlier set.
// So a thousand runs a second wake it a hundred times, not a thousand times.
type dispatcher struct {
	agent   *Agent
	runs    context.Context // parent context of every run
	queue   entryHeap
	leaving map[result.Identity]*entry // those that were removed, and have a run in progress
	wake    chan struct{}
	reports sync.WaitGroup // statements about runs that are too late

	mu       sync.Mutex
	ended    []completion
	wanted   []string // ids of the scenarios that are to run now
	work     []func() // what else is to be done
	draining bool     // every run that ends wakes the dispatcher

	taken []completion // those that it took over last; its array is used again
}

func (d *dispatcher) loop(ctx context.Context) {
	now := time.Now()
	for _, e := range d.agent.entries {
		e.due = e.first(now)
		e.wake, e.index = e.next(), len(d.queue)
		d.queue = append(d.queue, e)
	}
	heap.Init(&d.queue)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var set time.Time // when the timer ends
	for {
		d.takeOver()
		d.collect(time.Now())
		if d.agent.admission.waiting.Load() > 0 {
			d.takeOver() // from now on, runs that end find that somebody waits
		}
		if len(d.queue) > 0 && !set.Equal(d.queue[0].wake) {
			set = d.queue[0].wake
			timer.Reset(time.Until(set))
		}
		expected := set
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			set = time.Time{}
		case <-d.wake:
		case r := <-d.agent.reloads:
			d.reload(r, time.Now())
		}
		if !expected.IsZero() {
			d.stood(time.Since(expected))
		}
	}
}

// report hands a run that has ended to the dispatcher. Its pause is that before the run.
func (d *dispatcher) report(c completion, pause time.Duration) {
	d.agent.running.Add(-1)
	d.mu.Lock()
	d.ended = append(d.ended, c)
	draining := d.draining
	d.mu.Unlock()
	if draining || pause > 0 || c.load.replaced.Load() || c.result.State() != result.OK || d.agent.admission.waiting.Load() > 0 {
		select {
		case d.wake <- struct{}{}:
		default: // it wakes up anyway
		}
	}
}

// takeOver takes over the runs that have ended.
func (d *dispatcher) takeOver() {
	d.mu.Lock()
	d.taken, d.ended = d.ended, d.taken[:0]
	wanted, work := d.wanted, d.work
	d.wanted, d.work = nil, nil
	d.mu.Unlock()
	for _, do := range work {
		do()
	}
	for _, id := range wanted {
		if i := slices.IndexFunc(d.agent.entries, func(e *entry) bool { return e.plan.Identity.ID() == id }); i >= 0 {
			d.demand(d.agent.entries[i])
		}
	}
	for _, c := range d.taken {
		d.end(c)
	}
	clear(d.taken) // results may be large
}

// RunNow has a scenario run at once, out of its schedule. If it is running, it runs again afterwards. An id of no scheduled
// scenario does nothing.
func (a *Agent) RunNow(id string) {
	d := a.dispatch.Load()
	if d == nil {
		return // nothing runs yet
	}
	d.mu.Lock()
	d.wanted = append(d.wanted, id)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // it wakes up anyway
	}
}

// demand has an entry run as soon as possible.
func (d *dispatcher) demand(e *entry) {
	switch {
	case !e.busy:
		e.retry = time.Now()
		d.moved(e)
	case !e.began.IsZero(): // what that run sees may be too old
		e.again = true
	}
}

// moved puts an entry in its place in the heap after a change.
func (d *dispatcher) moved(e *entry) {
	if next := e.next(); !next.Equal(e.wake) {
		e.wake = next
		heap.Fix(&d.queue, e.index)
	}
}

// collect asks for a place for every due entry, counts missed runs, and reports those that are too late.
func (d *dispatcher) collect(now time.Time) {
	for len(d.queue) > 0 && !d.queue[0].wake.After(now) {
		e := d.queue[0]
		if !e.stale.IsZero() && !e.stale.After(now) {
			d.tell(e, now)
			d.moved(e)
			continue
		}
		due := e.wake
		if due.Equal(e.due) {
			e.due, e.shift = e.due.Add(e.plan.Interval+e.shift), 0
		}
		e.retry = time.Time{} // this run replaces the repetition
		if e.busy {
			e.missed.Add(1)
		} else {
			e.busy, e.start, e.asked, e.began = true, due, now, time.Time{}
			e.stale = due.Add(e.plan.Interval + e.plan.Timeout)
			if late := now.Sub(due); late >= standstill {
				e.stale = e.stale.Add(late) // nobody asked for its places before
			}
			e.turn++
			if d.agent.admission.ask(e) {
				d.start(e)
			}
		}
		d.moved(e)
	}
}

// start runs an entry that has its places.
func (d *dispatcher) start(e *entry) {
	if e.probe != nil {
		d.startProbe(e)
		return
	}
	a := d.agent
	e.began = time.Now()
	if e.began.Sub(e.start) > result.LateAfter {
		e.late.Add(1)
	}
	e.running = e.plan
	e.load.inProgress++
	a.running.Add(1)
	occasion := Occasion{Due: e.start, Attempt: e.attempt, Interval: e.plan.Interval}
	timeouts, pause, turn, began, plan, load := e.timeouts, e.pause, e.turn, e.began, e.plan, e.load
	load.Runner.Start(d.runs, plan, occasion, func(res *result.Result) {
		ended := time.Now()
		took := ended.Sub(began)
		note(res, plan, took, timeouts)
		a.explain(res)
		a.logBackoff(res, pause)
		e.reporting.Lock()
		e.reported = turn
		a.hand(res)
		e.reporting.Unlock()
		if e.leaving.Load() {
			a.forget(e)
		}
		d.report(completion{e, load, res, ended, took}, pause)
	})
}

// logBackoff logs the first increase of the time between runs, which was before, and its end.
func (a *Agent) logBackoff(res *result.Result, before time.Duration) {
	switch {
	case res.Reason == result.ReasonCanceled || (res.Backoff == 0) == (before == 0):
	case res.Backoff == 0:
		a.Log.Info("the target answers again: the schedule holds", "scenario", res.Identity.String(), "every", res.Interval)
	default:
		a.Log.Info("the target does not answer: it is asked less and less often until it does", "scenario", res.Identity.String(), "every", res.Backoff, "at_last", backoffMost, "instead_of", res.Interval, "timeouts", res.Timeouts)
	}
}

// end releases the entry and decides when it runs next.
func (d *dispatcher) end(c completion) {
	a, e := d.agent, c.entry
	if e.probe != nil {
		d.endProbe(e)
		return
	}
	a.admission.leave(e, d.start)
	e.busy, e.stale = false, time.Time{}
	c.load.left()
	e.running = nil
	switch {
	case e.leaving.Load():
		a.admission.connects(e, nil)
		if key := e.plan.Identity.Key(); d.leaving[key] == e {
			delete(d.leaving, key)
		}
		return
	case e.renewed:
		e.renewed = false
		a.admission.connects(e, e.wants)
	default:
		a.admission.connects(e, learned(e.targets, c.result))
		if e.remember(c.result, c.took) {
			d.restore(e)
		}
	}
	switch {
	case c.result.Lack != nil: // it proved nothing, so it is no attempt; a long interval is not waited for
		if e.plan.Interval > lackRetry {
			e.retry = c.at.Add(lackRetry)
		}
	case c.result.State() == result.OK:
		e.attempt = 1
	default:
		if e.attempt <= e.plan.Retries {
			e.retry = c.at.Add(retryAfter(e.plan.Interval))
		}
		e.attempt++
	}
	if e.again {
		e.again, e.retry = false, c.at
	}
	for earliest := e.start.Add(e.pause); e.due.Before(earliest); {
		e.due = e.due.Add(e.plan.Interval) // it is put off, not missed
	}
	d.moved(e)
}

// restore gives their schedules back to those that are asked less often because of a target that has answered e.
func (d *dispatcher) restore(e *entry) {
	now := time.Now()
	for _, other := range d.agent.entries {
		if other.pause == 0 || other.busy || !slices.ContainsFunc(other.targets, func(g *gate) bool { return slices.Contains(e.targets, g) }) {
			continue
		}
		other.hasten(now)
		d.moved(other)
	}
}

// hasten gives an entry its schedule back.
func (e *entry) hasten(now time.Time) {
	if early := e.due.Sub(now); early > e.plan.Interval {
		e.due = e.due.Add(-early.Truncate(e.plan.Interval))
	}
	e.pause = 0
}

// learned returns the addresses that the next runs of an entry connect to. A run that did not pass may not have come to all of
// them.
func learned(before []*gate, res *result.Result) []string {
	addresses := res.Targets
	if res.Status == result.Passed && len(addresses) > 0 {
		return addresses
	}
	for _, g := range before {
		if len(addresses) < targetsMax && !slices.Contains(addresses, g.name) {
			addresses = append(addresses[:len(addresses):len(addresses)], g.name)
		}
	}
	return addresses
}

// targetsMax is how many addresses of a scenario are remembered, as for a Result.
const targetsMax = 8

// lackRetry is the pause before the repetition of a run in which the machine of stepwatch lacked something.
const lackRetry = time.Minute

// retryAfter returns the pause before a quick repetition: a quarter of the interval, at most ten seconds.
func retryAfter(interval time.Duration) time.Duration { return min(interval/4, 10*time.Second) }

// drain waits for the runs in progress and stops them when Grace is over. It ends because every run ends.
func (d *dispatcher) drain(stop context.CancelCauseFunc) {
	grace := time.NewTimer(orDefault(d.agent.Grace, defaultGrace))
	defer grace.Stop()
	d.mu.Lock()
	d.draining = true
	d.mu.Unlock()
	for d.agent.running.Load() > 0 {
		select {
		case <-d.wake:
		case <-grace.C:
			stop(steps.ErrStopped)
		}
	}
}

// hand sends a result, and the alerts that it changes, to every sink.
func (a *Agent) hand(res *result.Result) {
	if res.Reason == result.ReasonCanceled {
		a.Log.Info("run stopped", "scenario", res.Identity.String())
		return
	}
	if res.Cleanup != "" {
		a.Log.Warn("clean-up incomplete", "scenario", res.Identity.String(), "left", res.Cleanup)
	}
	for _, q := range a.queues {
		q.put(delivery{about: res.Identity, result: res})
	}
	a.States.Observe(res)
	for _, rule := range a.Rules {
		if changes := rule.Observe(res); len(changes) > 0 {
			a.States.Take(changes)
		}
	}
}

// connect begins to take the alerts of the states, and restores what rules and sinks knew before a restart.
func (a *Agent) connect() {
	var remembers []string
	told := a.States.Told()
	for _, rule := range a.Rules {
		if rule, does := rule.(alert.Rememberer); does {
			name := rule.Rule()
			remembers = append(remembers, name)
			for _, open := range told {
				if open.Rule == name {
					rule.Remember(open, a.States.Lacking)
				}
			}
		}
	}
	told = slices.DeleteFunc(told, func(open alert.Alert) bool {
		return open.Rule != state.RuleFailures && open.Rule != state.RuleFlapping && !slices.Contains(remembers, open.Rule)
	})
	var last []result.Last
	for _, s := range a.States.Snapshot() {
		if s.LastRunID != "" && !s.Stale { // what is stale is not known
			last = append(last, result.Last{Identity: s.Identity, Interval: time.Duration(s.Interval), State: s.LastState})
		}
	}
	var names []string
	for name, q := range a.queues {
		if _, wants := q.sink.(AlertSink); wants {
			names = append(names, name)
		}
		if sink, restores := q.sink.(RestoredSink); restores {
			sink.Restore(told, last)
		}
	}
	undelivered := a.States.Connect(state.Connection{Tell: a.tell, Run: a.RunNow, Sinks: names}, remembers...)
	for name, alerts := range undelivered {
		a.queues[name].put(delivery{alerts: alerts})
	}
}

// tell logs alerts and sends them to every sink that takes some.
func (a *Agent) tell(alerts []alert.Alert) {
	for i := range alerts {
		a.logAlert(&alerts[i])
	}
	a.ending.RLock()
	defer a.ending.RUnlock()
	if a.ended {
		return // the next agent delivers them
	}
	for _, q := range a.queues {
		if _, wants := q.sink.(AlertSink); wants {
			q.put(delivery{alerts: alerts})
		}
	}
}

// logAlert logs an alert that is told.
func (a *Agent) logAlert(told *alert.Alert) {
	if told.Lack != nil {
		a.Log.Warn("alert "+string(told.State), "rule", told.Rule, "lack", told.Lack.Kind, "summary", told.Summary)
		return
	}
	more := []any{"rule", told.Rule, "scenario", told.Identity.String(), "state", told.Severity.String()}
	if by := told.Acknowledged; by != nil {
		more = append(more, "acknowledged", by.Author)
	}
	a.Log.Info("alert "+string(told.State), append(more, "summary", told.Summary)...)
}

// entryHeap orders entries by their next due time.
type entryHeap []*entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].wake.Before(h[j].wake) }
func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *entryHeap) Push(x any) { *h = append(*h, x.(*entry)) }

// Pop implements heap.Interface.
func (h *entryHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
