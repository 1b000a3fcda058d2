package agent

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/steps"
)

// An agent takes new plans while it runs. What is costly is done before, by the caller of Reload. The dispatcher then exchanges
// the plans between two runs: it compares the scenarios by their names (result.Identity.Key), and
//
//   - a scenario that is loaded again keeps its entry: its schedule, its counters, the number of its attempt, what its last
//     runs say about the next ones, and everything that rules and sinks keep about it. Its next run is one of the new plan;
//   - a run in progress ends under the plan, the runner and the settings that it began with;
//   - a scenario that is new gets an entry;
//   - a scenario that is no longer loaded starts no run. After its last result, rules and sinks forget it.
//
// A new scenario moves the due times of a few others by a slot (see spread). Such a scenario keeps its next due time, and moves
// with the one after it: so none of its runs is left out and none takes place twice.

// Loaded is what one reading of the files makes: plans, and what runs them.
type Loaded struct {
	Runner   PlanRunner
	Plans    []*Plan
	Limits   Limits
	Mistakes map[string]int // as in Agent

	// Ended is called from another goroutine once a later reload has replaced this and its last run in progress has ended. It
	// may be nil. It is not called for what is loaded when the agent stops.
	Ended func()
}

// Changes counts the scenarios on a schedule by what a reload did to them.
type Changes struct {
	Added, Changed, Unchanged, Removed int
}

// generation is a Loaded with its runs in progress. The dispatcher owns what changes.
type generation struct {
	Loaded
	inProgress int
	replaced   atomic.Bool
}

// left takes note of the end of a run.
func (g *generation) left() {
	g.inProgress--
	g.end()
}

// replace takes note that there is a later one.
func (g *generation) replace() {
	g.replaced.Store(true)
	g.end()
}

func (g *generation) end() {
	if g.replaced.Load() && g.inProgress == 0 && g.Ended != nil {
		go g.Ended()
	}
}

// roster are the scenarios on a schedule, for those who do not own the entries. It is not changed.
type roster struct {
	load      *generation
	loaded    time.Time
	workers   int
	scenarios []listed
}

// listed is a scenario of a roster.
type listed struct {
	entry *entry
	plan  *Plan
}

// list makes the roster of what is loaded.
func (a *Agent) list(workers int) {
	r := &roster{load: a.load, loaded: time.Now(), workers: workers, scenarios: make([]listed, len(a.entries))}
	for i, e := range a.entries {
		r.scenarios[i] = listed{e, e.plan}
	}
	a.roster.Store(r)
}

// reload is the work of the dispatcher for one reload.
type reload struct {
	load    *generation
	entries []*entry // as for an agent that begins with them
	changes Changes
	removed []*entry // those without a run in progress
	done    chan struct{}
}

// prepare makes an entry for each plan that has a schedule.
func (a *Agent) prepare(l Loaded) *reload {
	r := &reload{load: &generation{Loaded: l}, done: make(chan struct{})}
	for _, p := range l.Plans {
		if p.Interval > 0 && !p.Scenario.Policy.Manual {
			r.entries = append(r.entries, &entry{plan: p, load: r.load, attempt: a.States.Attempt(p.Identity), wants: l.Runner.Addresses(p)})
		}
	}
	spread(r.entries, a.Name)
	return r
}

// declared returns what the states have to know of the plans that have a schedule, and whether every file could be read.
func (r *reload) declared() (all []state.Declaration, whole bool) {
	plans := make([]*Plan, len(r.entries))
	for i, e := range r.entries {
		plans[i] = e.plan
	}
	return declarations(plans), len(r.load.Mistakes) == 0
}

// Reload replaces what the agent runs. It waits until the new plans are on the schedule, not for the runs in progress. The
// counters of Stats go on. Calls wait for each other. It is an error if the agent ends, or ctx ends before the agent has begun
// to run.
func (a *Agent) Reload(ctx context.Context, l Loaded) (Changes, error) {
	a.init()
	if l.Limits.Workers == 0 {
		l.Limits.Workers = capacity()
	}
	a.reloading.Lock()
	defer a.reloading.Unlock()
	a.Plans, a.Runner, a.Mistakes, a.Ended = nil, nil, nil, nil // which would stay in memory
	r := a.prepare(l)
	declared, whole := r.declared()
	for _, e := range r.entries {
		e.print = printOf(e.plan)
	}
	for _, e := range a.entries { // which only a reload changes, and this is the only one
		if e.print == (fingerprint{}) {
			e.print = printOf(e.plan)
		}
	}
	select {
	case a.reloads <- r:
		<-r.done
	case <-a.over:
		return Changes{}, steps.ErrStopped
	case <-ctx.Done():
		return Changes{}, context.Cause(ctx)
	}
	a.States.Declare(declared, whole)
	for _, e := range r.removed { // a rule or a log may be slow
		a.forget(e)
	}
	a.refused.Store(false)
	return r.changes, nil
}

// Refused notes that the files were loaded again and have mistakes, so that nothing has changed. Stats shows it until the next
// Reload.
func (a *Agent) Refused() { a.refused.Store(true) }

// forget lets rules and sinks forget a scenario that was removed.
func (a *Agent) forget(e *entry) {
	e.reporting.Lock()
	defer e.reporting.Unlock()
	a.States.Forget(e.plan.Identity)
	for _, rule := range a.Rules {
		if rule, forgets := rule.(alert.Forgetter); forgets {
			a.States.Take(rule.Forget(e.plan.Identity, time.Now()))
		}
	}
	a.States.Flush() // what this resolves is told before
	a.put(delivery{about: e.plan.Identity, forget: true})
}

// reload exchanges the entries.
func (d *dispatcher) reload(r *reload, now time.Time) {
	defer close(r.done)
	d.takeOver()
	a := d.agent
	before := make(map[result.Identity][]*entry, len(a.entries))
	for _, e := range a.entries {
		key := e.plan.Identity.Key()
		before[key] = append(before[key], e)
	}
	a.admission.limit(r.load.Limits)
	entries := make([]*entry, len(r.entries))
	var again []*entry
	for i, fresh := range r.entries {
		key := fresh.plan.Identity.Key()
		e := fresh
		switch same := before[key]; {
		case len(same) > 0:
			e = same[0]
			before[key] = same[1:]
			if waits := d.renew(e, fresh, now); waits {
				again = append(again, e)
			}
			if e.print == fresh.print {
				r.changes.Unchanged++
			} else {
				r.changes.Changed++
			}
			e.print = fresh.print
		case d.leaving[key] != nil:
			e = d.leaving[key]
			delete(d.leaving, key)
			e.leaving.Store(false)
			d.renew(e, fresh, now)
			e.due, e.shift, e.retry, e.print, e.renewed = e.first(now), 0, time.Time{}, fresh.print, true
			r.changes.Added++
		default:
			e.due = e.first(now)
			a.admission.connects(e, e.wants)
			r.changes.Added++
		}
		entries[i] = e
	}
	for _, gone := range before {
		for _, e := range gone {
			r.changes.Removed++
			if !d.remove(e) {
				r.removed = append(r.removed, e)
			}
		}
	}
	a.entries = entries
	a.admission.admits(entries)
	a.load.replace()
	a.load = r.load
	a.list(r.load.Limits.Workers)

	d.queue = slices.Grow(d.queue[:0], len(entries))
	for i, e := range entries {
		e.wake, e.index = e.next(), i
		d.queue = append(d.queue, e)
	}
	heap.Init(&d.queue)
	for _, e := range again {
		if a.admission.ask(e) {
			d.start(e)
		}
	}
	a.admission.wakeAll(d.start)
}

// renew gives an entry the plan of a fresh one. It reports whether the entry waits, and has to ask for its places again.
func (d *dispatcher) renew(e, fresh *entry, now time.Time) (again bool) {
	interval, other := fresh.plan.Interval, e.print != fresh.print || !slices.Equal(e.wants, fresh.wants)
	moved, rescheduled := fresh.offset-e.offset, interval != e.plan.Interval
	fresh.plan.seen = e.plan.seen
	e.plan, e.load, e.offset, e.wants = fresh.plan, fresh.load, fresh.offset, fresh.wants
	if rescheduled {
		e.due, e.shift = e.first(now), 0
	} else { // the shorter way round, so that the time between two runs stays more than half an interval
		e.shift = (e.shift+moved+interval+interval/2)%interval - interval/2
	}
	if !other {
		return false
	}
	e.hasten(now)
	e.timeouts, e.standing = 0, standingNew
	switch {
	case !e.busy:
		d.agent.admission.connects(e, e.wants)
	case e.began.IsZero():
		d.agent.admission.withdraw(e)
		d.agent.admission.connects(e, e.wants)
		return true
	default:
		e.renewed = true
	}
	return false
}

// remove takes an entry off the schedule. It reports whether a run of it is in progress.
func (d *dispatcher) remove(e *entry) (inProgress bool) {
	e.leaving.Store(true)
	if e.busy && !e.began.IsZero() {
		d.leaving[e.plan.Identity.Key()] = e
		return true
	}
	if e.busy {
		d.agent.admission.withdraw(e)
		e.busy = false
	}
	d.agent.admission.connects(e, nil)
	return false
}

// fingerprint tells plans apart that do other things, or at other times.
type fingerprint [sha256.Size]byte

// printOf returns the fingerprint of a plan. The lines of its file do not count.
func printOf(p *Plan) (sum fingerprint) {
	h := sha256.New()
	s := p.Scenario
	fmt.Fprintf(h, "%q %q %q %q %v %v %v %v %v\n", p.Identity.File, s.Rule, s.Name, s.Example, p.Interval, p.Timeout, p.Retries, p.Budget, s.Policy)
	for _, tag := range s.Tags {
		fmt.Fprintf(h, "%q %q\n", tag.Name, tag.Value)
	}
	for _, problem := range p.Problems {
		fmt.Fprintf(h, "%d %q\n", problem.Step, problem.Err.Error())
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		fmt.Fprintf(h, "%q %q %q %q", step.Keyword, step.Text, step.Label, step.Table)
		if step.DocString != nil {
			fmt.Fprintf(h, " %q %q", step.DocString.MediaType, step.DocString.Content)
		}
		_, _ = io.WriteString(h, "\n") // a hash returns no error
		if b := p.bound[i]; b != nil {
			printBound(h, b)
		}
	}
	h.Sum(sum[:0])
	return sum
}

// printBound adds what a step means.
func printBound(h hash.Hash, b *steps.Bound) {
	fmt.Fprintf(h, "%q\n", b.Definition.Sentence)
	for _, inner := range b.Inner {
		fmt.Fprintf(h, "%q %q %q %q", inner.Step.Path, inner.Step.Keyword, inner.Step.Text, inner.Step.Table)
		if inner.Step.DocString != nil {
			fmt.Fprintf(h, " %q %q", inner.Step.DocString.MediaType, inner.Step.DocString.Content)
		}
		printBound(h, inner)
	}
}
