package agent

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Limits bound how many runs may be in progress at once. The zero value has the defaults.
type Limits struct {
	Workers  int            // in all; zero means as many as the machine has room for
	Parallel int            // at one address of a target; zero means defaultParallel
	At       map[string]int // the same for single addresses, "host:port" or "host"
	Browser  int            // in the browser; zero means 1
}

// defaultParallel is how many runs may be in progress at one address. Servers limit the connections of a client, and others use
// them, too: Dovecot allows ten for one user from one address (mail_max_userip_connections).
const defaultParallel = 4

// admission decides which due runs may start, so that runs that get no answer never take the place of those that do. A run
// needs a place at each of its gates: all runs, its feature, each address that it connects to, and the browser if it uses one.
// Two more gates depend on how the scenario's last run ended: a quarter of the places is for scenarios that got their answers
// in time, and at most half of them for those that did not. In the browser these take turns in a tab of their own. So what is
// known to hang leaves room for what is healthy.
//
// A run takes all its places at once or none, so runs cannot wait for each other. At each gate the run that was due first
// starts first. Admission knows no clock and starts no goroutine: the dispatcher owns it.
type admission struct {
	limits   Limits
	all      *gate
	unproven *gate // runs of scenarios whose last run was not answered in time, or that have not run yet
	hung     *gate // the former alone
	browser  *gate
	hungTab  *gate // of the browser, for scenarios whose last run was not answered in time
	features map[string]*gate
	targets  map[string]*gate // those that a scenario connects to

	waiting atomic.Int64 // runs that are due and wait for a place
}

// gate has a number of places.
type gate struct {
	kind    gateKind
	name    string // of a feature or target, or what a browser's places are for
	limit   int
	used    int
	waiting []*entry        // by due time; each may wait at one gate only
	holders map[*entry]bool // of a target's places
	members int             // scenarios that connect to a target
	mixed   bool            // scenarios with a limit of their own (@parallel) have been here
}

type gateKind int

const (
	gateAll gateKind = iota
	gateUnproven
	gateHung
	gateFeature
	gateBrowser
	gateTarget
)

// newAdmission returns the admission of entries. limits.Workers is not zero.
func newAdmission(limits Limits, entries []*entry) *admission {
	if limits.Parallel == 0 {
		limits.Parallel = defaultParallel
	}
	a := &admission{
		limits:   limits,
		all:      &gate{kind: gateAll, limit: limits.Workers},
		unproven: &gate{kind: gateUnproven, limit: max(1, limits.Workers-limits.Workers/4)},
		hung:     &gate{kind: gateHung, limit: max(1, limits.Workers/2)},
		browser:  &gate{kind: gateBrowser, limit: max(1, limits.Browser)},
		hungTab:  &gate{kind: gateBrowser, name: " for scenarios whose last run got no answer in time", limit: 1},
		features: make(map[string]*gate),
		targets:  make(map[string]*gate),
	}
	a.admits(entries)
	return a
}

// admits makes the gates of the features of these entries. Those that there are stay as they are.
func (a *admission) admits(entries []*entry) {
	before := a.features
	a.features = make(map[string]*gate)
	for _, e := range entries {
		name := e.plan.Identity.Feature
		switch g := before[name]; {
		case a.features[name] != nil:
		case g != nil:
			a.features[name] = g
		default:
			a.features[name] = &gate{kind: gateFeature, name: name}
		}
	}
	limit := a.limits.Workers
	if len(a.features) > 1 { // one feature has nobody to leave room for
		limit = max(1, limit/2)
	}
	for _, g := range a.features {
		g.limit = limit
	}
}

// limit takes new limits for the runs to come. limits.Workers is not zero.
func (a *admission) limit(limits Limits) {
	fresh := newAdmission(limits, nil)
	a.limits = fresh.limits
	a.all.limit, a.unproven.limit, a.hung.limit, a.browser.limit = fresh.all.limit, fresh.unproven.limit, fresh.hung.limit, fresh.browser.limit
	for address, g := range a.targets {
		g.limit = a.limits.at(address)
	}
}

// at returns how many runs may be in progress at an address.
func (l *Limits) at(address string) int {
	if own, found := l.At[address]; found {
		return own
	}
	return l.Parallel
}

// connects sets the addresses that the entry's next runs connect to. The entry is idle.
func (a *admission) connects(e *entry, addresses []string) {
	if slices.EqualFunc(e.targets, addresses, func(g *gate, address string) bool { return g.name == address }) {
		return
	}
	before := e.targets
	e.targets = make([]*gate, len(addresses))
	for i, address := range addresses {
		g := a.targets[address]
		if g == nil {
			g = &gate{kind: gateTarget, name: address, limit: a.limits.at(address), holders: make(map[*entry]bool)}
			a.targets[address] = g
		}
		g.members++
		g.mixed = g.mixed || e.plan.parallel() > 0
		e.targets[i] = g
	}
	for _, g := range before {
		if g.members--; g.members == 0 {
			delete(a.targets, g.name)
		}
	}
}

// ask takes a place at every gate of an idle entry, or makes it wait at the first that is full.
func (a *admission) ask(e *entry) (admitted bool) {
	e.gates = append(e.gates[:0], e.targets...)
	switch {
	case !e.plan.Scenario.Policy.Browser:
	case e.standing == standingHung: // it would keep the others from the browser for all of its deadline, each time
		e.gates = append(e.gates, a.hungTab)
	default:
		e.gates = append(e.gates, a.browser)
	}
	wanted := []*gate{a.features[e.plan.Identity.Feature], nil, nil}
	if e.standing == standingHung {
		wanted[1] = a.hung
	}
	if e.standing != standingSound {
		wanted[2] = a.unproven
	}
	for _, g := range wanted {
		if g != nil && g.limit < a.all.limit { // with few places, a share may be all of them
			e.gates = append(e.gates, g)
		}
	}
	e.gates = append(e.gates, a.all)
	e.blocked = nil
	a.waiting.Add(1)
	return a.enter(e)
}

func (a *admission) enter(e *entry) (admitted bool) {
	for _, g := range e.gates {
		if g.used >= g.limitFor(e) {
			i, _ := slices.BinarySearchFunc(g.waiting, e.start, func(other *entry, start time.Time) int {
				if other.start.After(start) {
					return 1
				}
				return -1 // of those that were due at once, the later one goes last
			})
			g.waiting = slices.Insert(g.waiting, i, e)
			e.blocked = g
			return false
		}
	}
	for _, g := range e.gates {
		g.used++
		if g.holders != nil {
			g.holders[e] = true
		}
	}
	a.waiting.Add(-1)
	return true
}

// leave gives back the places of an entry whose run has ended, and calls start for each entry that takes one of them.
func (a *admission) leave(e *entry, start func(*entry)) {
	for _, g := range e.gates {
		g.used--
		delete(g.holders, e)
	}
	for _, g := range e.gates {
		a.wake(g, start)
	}
}

// withdraw takes back what an entry asked for that waits.
func (a *admission) withdraw(e *entry) {
	e.blocked.waiting = slices.DeleteFunc(e.blocked.waiting, func(other *entry) bool { return other == e })
	e.gates, e.blocked = e.gates[:0], nil
	a.waiting.Add(-1)
}

// wakeAll lets those enter who wait at a gate that has got more room.
func (a *admission) wakeAll(start func(*entry)) {
	for _, gates := range []map[string]*gate{a.features, a.targets} {
		for _, g := range gates {
			a.wake(g, start)
		}
	}
	for _, g := range []*gate{a.browser, a.hungTab, a.hung, a.unproven, a.all} {
		a.wake(g, start)
	}
}

// wake lets those enter who wait at a gate that has room, in their order. Who meets another gate that is full waits there.
func (a *admission) wake(g *gate, start func(*entry)) {
	for i := 0; i < len(g.waiting); {
		e := g.waiting[i]
		if g.used >= g.limitFor(e) {
			if !g.mixed {
				return
			}
			i++
			continue
		}
		g.waiting = slices.Delete(g.waiting, i, i+1)
		if a.enter(e) {
			start(e)
		}
	}
}

// limitFor returns the number of places that the gate has for an entry.
func (g *gate) limitFor(e *entry) int {
	if own := e.plan.parallel(); g.kind == gateTarget && own > 0 {
		return own
	}
	return g.limit
}

// parallel returns the limit of @parallel, or zero.
func (p *Plan) parallel() int { return p.Scenario.Policy.Parallel }

// place describes what an entry waits for at a gate.
func (g *gate) place(e *entry) string {
	switch g.kind {
	case gateTarget:
		return fmt.Sprintf("%s for runs at %s", aPlace(g.limitFor(e)), g.name)
	case gateBrowser:
		return fmt.Sprintf("%s in the browser%s", aPlace(g.limit), g.name)
	case gateFeature:
		return fmt.Sprintf("%s for runs of its feature, half of all", aPlace(g.limit))
	case gateHung:
		return fmt.Sprintf("%s for scenarios whose last run got no answer in time, half of all", aPlace(g.limit))
	case gateUnproven:
		return fmt.Sprintf("%s for scenarios that have not got an answer in time yet, three quarters of all", aPlace(g.limit))
	default:
		return fmt.Sprintf("%s of all runs", aPlace(g.limit))
	}
}

// taken says who has the places of a gate and what to do, and whether the target that the entry wants to ask is the cause: no
// run there gets an answer in the time that its scenario usually needs.
func (g *gate) taken(now time.Time) (text string, target bool) {
	switch g.kind {
	case gateTarget:
		for holder := range g.holders {
			if !holder.overdue(now) {
				return "taken by others: raise parallel in stepwatch.yml, or tag the scenario @parallel:N", false
			}
		}
		return "taken by others that get no answer there", true
	case gateBrowser:
		return "taken by others: run fewer scenarios in it or less often, or raise browser.tabs in stepwatch.yml", false
	default:
		return "taken by others: raise workers in stepwatch.yml", false
	}
}

func aPlace(n int) string {
	if n == 1 {
		return "the only place"
	}
	return fmt.Sprintf("one of the %d places", n)
}
