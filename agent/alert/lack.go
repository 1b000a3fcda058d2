package alert

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// lacks is the name of the rule.
const lacks = "lack"

func init() { Builtin.Register(lacks, func() Source { return NewLacks() }) }

// Lacks raises one alert for everything that the machine of stepwatch lacks, however many scenarios meet it. The alert
// is hard at once, because the lack is certain, and has no scenario of its own. It is resolved when each scenario that
// met the lack has a later result without it, which for the uplink must not be a doubtful one; there, one of them that passes
// is enough. A scenario that runs seldom does not keep it open: without any result that has the lack for an hour it is
// resolved too.
type Lacks struct {
	mu   sync.Mutex
	open map[string]*lackAlert // by kind
}

type lackAlert struct {
	alert Alert
	met   map[result.Identity]bool // the scenarios whose last result has the lack
	last  time.Time                // start of the last run that met it
}

// lackHour is how long an alert stays open without another run that meets the lack.
const lackHour = time.Hour

// NewLacks returns the rule without open alerts.
func NewLacks() *Lacks { return &Lacks{open: make(map[string]*lackAlert)} }

// Observe implements Source.
func (l *Lacks) Observe(r *result.Result) []Alert {
	if r.Doubtful {
		return l.take(r.Identity.Key(), nil, r.Started, "", uplink)
	}
	if r.Status == result.Passed {
		l.answered(r.Identity.Key())
	}
	return l.take(r.Identity.Key(), r.Lack, r.Started, r.Identity.String())
}

// uplink is the kind of a lack of every way to other machines. One that answers again proves that there is a way.
const uplink = "uplink"

// answered takes note that a scenario passed.
func (l *Lacks) answered(who result.Identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.open[uplink]; a != nil && a.met[who] {
		clear(a.met)
	}
}

// Rule implements Rememberer.
func (l *Lacks) Rule() string { return lacks }

// Remember implements Rememberer.
func (l *Lacks) Remember(open Alert, lacking func(kind string) []result.Identity) {
	if open.Lack == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &lackAlert{alert: open, met: make(map[result.Identity]bool), last: time.Now()}
	for _, id := range lacking(open.Lack.Kind) {
		a.met[id.Key()] = true
	}
	l.open[open.Lack.Kind] = a
}

// Own takes what a part of stepwatch that is no scenario, such as the evidence, lacks at a time; nil is that it lacks
// nothing.
func (l *Lacks) Own(part string, own *result.Lack, at time.Time) []Alert {
	return l.take(result.Identity{Feature: "\x00" + part}, own, at, "")
}

// take processes what somebody lacks and returns the alerts that this changes. It leaves the unproven kinds as they are.
func (l *Lacks) take(who result.Identity, own *result.Lack, at time.Time, scenario string, unproven ...string) []Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	var changed []Alert
	kind := ""
	if own != nil {
		kind = own.Kind
		if l.open[kind] == nil {
			a := Alert{Rule: lacks, State: Hard, Severity: result.Unknown, Lack: own, Since: at, Summary: own.Said + ": " + own.Remedy}
			if scenario != "" {
				a.Summary += fmt.Sprintf("; the scenarios that meet this are UNKNOWN, first %s", scenario)
			}
			l.open[kind] = &lackAlert{met: make(map[result.Identity]bool), alert: a}
			changed = append(changed, a)
		}
		l.open[kind].met[who] = true
		l.open[kind].last = at
	}
	for other, a := range l.open {
		if other == kind || slices.Contains(unproven, other) {
			continue
		}
		delete(a.met, who)
		if len(a.met) > 0 && at.Sub(a.last) < lackHour {
			continue
		}
		delete(l.open, other)
		a.alert.State, a.alert.Severity = Resolved, result.OK
		a.alert.Summary = "no longer: " + a.alert.Lack.Said
		changed = append(changed, a.alert)
	}
	return changed
}

// Forget implements Forgetter. The alert is resolved if no other scenario meets the lack.
func (l *Lacks) Forget(id result.Identity, _ time.Time) []Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	var changed []Alert
	for kind, a := range l.open {
		if !a.met[id.Key()] {
			continue
		}
		delete(a.met, id.Key())
		if len(a.met) > 0 {
			continue
		}
		delete(l.open, kind)
		a.alert.State, a.alert.Severity = Resolved, result.OK
		a.alert.Summary = "removed: no scenario that met this is loaded any more, so nothing is known about it: " + a.alert.Lack.Said
		changed = append(changed, a.alert)
	}
	return changed
}
