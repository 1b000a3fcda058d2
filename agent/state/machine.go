package state

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// The names of the rules of this package, as in alert.Alert.Rule.
const (
	RuleFailures = "failures" // a scenario that is not OK
	RuleFlapping = "flapping" // a scenario whose state changes too often
)

// The bounds of what alerts wait for.
const (
	quietPoll  = time.Minute      // how often a silence is looked at that may be ended early
	askAgain   = 5 * time.Second  // how often a needed scenario is asked for, at most
	needMargin = 10 * time.Second // for a needed scenario's run, in addition to its timeout
	needMost   = 2 * time.Minute  // for a needed scenario's run in all
	staleAfter = 3                // intervals without any result, after which a state is stale
)

// machine is the state of everything, without time of its own, goroutines and files. What happens comes in by observe, take,
// declare, acknowledge and tick; what is to be done because of it is in its output.
type machine struct {
	quiet    Quiet
	flapping Thresholds

	records map[key]*record
	byID    map[string]*record
	order   []*record // the loaded scenarios
	own     *record   // of the alerts about stepwatch itself
	open    map[*record]bool
	number  uint64 // of the last alert that was told
	wake    time.Time
	uplink  uplink

	output output
}

// output is what the machine wants done.
type output struct {
	told   []alert.Alert    // to be committed and then told, in this order
	held   []alert.Alert    // not told now, for the log: Withheld says why
	asked  []string         // ids of scenarios that are to run now
	dirty  map[*record]bool // to be written within a second
	gone   []string         // ids of scenarios that are to be deleted
	silent []alert.Alert    // ended without having been told, for the log
}

// key is the part of an identity that identifies.
type key struct{ feature, scenario, example string }

func keyOf(id result.Identity) key { return key{id.Feature, id.Scenario, id.Example} }

// record is all that is known of a scenario. Its JSON is what is kept.
type record struct {
	Scenario
	Results     history      `json:"results"` // all of them
	Certain     history      `json:"certain"` // those that were OK or hard, which flap detection looks at, as in Nagios
	NextAttempt int          `json:"next_attempt"`
	Proven      result.State `json:"proven"`              // of the last run that proved something
	ProvenAt    time.Time    `json:"proven_at,omitzero"`  // when that began
	Recovered   time.Time    `json:"recovered,omitzero"`  // start of the first good run after the last problem
	Failed      result.State `json:"failed"`              // the worst state in the last problem
	Uncertain   bool         `json:"uncertain,omitempty"` // its last failure may be the uplink's; it has to run again
	Forgive     bool         `json:"forgive,omitempty"`   // with Uncertain: the uplink was suspected, so that failure does not count
	Heard       time.Time    `json:"heard,omitzero"`      // when the last result came
	Targets     []string     `json:"targets,omitempty"`   // of the last run that got answers, "host:port"
	Problems    []*problem   `json:"problems,omitempty"`

	loaded     bool
	frozen     bool // its file could not be read, so nothing is said about it: what it needs may not be loaded either
	timeout    time.Duration
	some, of   int
	steady     bool
	needs      []*record
	dependents []*record
	hosts      []string  // of Targets, the remote ones
	asked      time.Time // when it was asked to run for somebody who needs it
	answered   bool      // its last run got an answer while the uplink was suspected, so the uplink did not make it fail
	touched    bool      // to be written some time
}

// problem is an alert, and what was told of it.
type problem struct {
	alert.Alert
	Told *told     `json:"told,omitempty"` // nil if nothing was
	Wait time.Time `json:"-"`              // until when it waits for a needed scenario; zero before that
}

// told is what the sinks know of an alert.
type told struct {
	State        alert.State            `json:"state"`
	Severity     result.State           `json:"severity"`
	Acknowledged *alert.Acknowledgement `json:"acknowledged,omitempty"`
}

func newMachine(quiet Quiet, flapping Thresholds) *machine {
	m := &machine{quiet: quiet, flapping: flapping, records: make(map[key]*record), byID: make(map[string]*record), open: make(map[*record]bool)}
	m.own = &record{Scenario: Scenario{Tags: []string{}}}
	m.byID[""] = m.own
	m.output.dirty = make(map[*record]bool)
	return m
}

// restore takes over what was kept.
func (m *machine) restore(k kept, now time.Time) {
	m.number = k.number
	for _, rec := range k.records {
		if rec.ID == "" {
			m.own = rec
			m.byID[""] = rec
		} else {
			m.add(rec)
			m.host(rec, remote(rec.Targets))
		}
		// The clock may have been set back meanwhile. What lies in the future would hide what comes now.
		for _, at := range []*time.Time{&rec.LastRun, &rec.ProvenAt, &rec.Recovered, &rec.Heard, &rec.Since} {
			if at.After(now) {
				*at = now
			}
		}
		if len(rec.Problems) > 0 {
			m.open[rec] = true
			m.wakeAt(now)
		}
		// A suspicion ended with the program, so what waited for it, or for a scenario that it needs, has to run again. What a
		// silence withheld may have failed for days: its failures count.
		if p := rec.find(RuleFailures); p != nil && p.Told == nil && rec.LastReason.OfNetwork() && !m.uplink.certain {
			kind, _, _ := strings.Cut(p.Withheld, " ")
			rec.Forgive = rec.Forgive || slices.Contains([]string{"uplink:", "needs", "waits"}, kind)
			rec.Uncertain = true
		}
	}
}

// forget drops the alerts of rules that do not know their open alerts after a restart.
func (m *machine) forget(remembers []string) {
	for rec := range m.open {
		rec.Problems = slices.DeleteFunc(rec.Problems, func(p *problem) bool {
			return p.Rule != RuleFailures && p.Rule != RuleFlapping && !slices.Contains(remembers, p.Rule)
		})
		if len(rec.Problems) == 0 {
			delete(m.open, rec)
		}
		m.output.dirty[rec] = true
	}
}

// record returns the record of a scenario. It creates it the first time.
func (m *machine) record(id result.Identity) *record {
	k := keyOf(id)
	rec := m.records[k]
	if rec == nil {
		rec = &record{Scenario: Scenario{ID: id.ID(), Identity: id, Tags: []string{}, State: result.Unknown, LastState: result.Unknown, Attempt: 1,
			LastSummary: "it has not run yet"}, NextAttempt: 1, Proven: result.Unknown}
		m.add(rec)
	}
	return rec
}

func (m *machine) add(rec *record) {
	m.records[keyOf(rec.Identity)], m.byID[rec.ID] = rec, rec
}

// declare sets the loaded scenarios. The alerts of the others end, unless whole is false: then some files could not be read, and
// what is not loaded may be in them.
func (m *machine) declare(loaded []Declaration, whole bool, now time.Time) {
	for _, rec := range m.byID {
		rec.loaded, rec.needs, rec.dependents, rec.frozen = false, nil, nil, true
	}
	m.own.frozen = false
	m.order = m.order[:0]
	for i := range loaded {
		d := &loaded[i]
		rec := m.record(d.Identity)
		rec.Identity, rec.Interval, rec.Retries = d.Identity, Seconds(d.Interval), d.Retries
		rec.Tags = slices.Concat([]string{}, d.Tags)
		rec.loaded, rec.timeout, rec.some, rec.of, rec.steady = true, d.Timeout, d.Some, d.Of, d.Steady
		m.order = append(m.order, rec)
	}
	for i := range loaded {
		rec := m.record(loaded[i].Identity)
		for _, id := range loaded[i].Needs {
			if needed := m.byID[id]; needed != nil && needed != rec && needed.loaded {
				rec.needs = append(rec.needs, needed)
				needed.dependents = append(needed.dependents, rec)
			}
		}
	}
	for _, rec := range m.records {
		if !rec.loaded && whole {
			m.remove(rec, now)
		}
	}
	for _, rec := range m.opened() {
		if rec.steady {
			m.endFlapping(rec, now, "its flapping is no longer looked at")
		}
		m.settle(rec, now)
	}
}

// remove ends the alerts of a scenario and forgets it.
func (m *machine) remove(rec *record, now time.Time) {
	for _, p := range rec.Problems {
		if p.Told != nil {
			p.State, p.Severity, p.Summary, p.Acknowledged = alert.Resolved, result.OK, "the scenario was removed: it is no longer loaded", nil
			m.tell(rec, p)
		}
	}
	rec.Problems = nil
	m.host(rec, nil)
	delete(m.open, rec)
	delete(m.output.dirty, rec)
	delete(m.records, keyOf(rec.Identity))
	delete(m.byID, rec.ID)
	m.output.gone = append(m.output.gone, rec.ID)
}

// observe takes a result that came now.
func (m *machine) observe(r *result.Result, now time.Time) {
	rec, state := m.record(r.Identity), r.State()
	rec.Identity, rec.Heard, rec.touched = r.Identity, now, true
	rec.Attempt, rec.Retries, rec.Backoff = r.Attempt, r.Retries, Seconds(r.Backoff)
	if r.Interval > 0 {
		rec.Interval = Seconds(r.Interval)
	}
	if !r.Stale {
		rec.LastRun, rec.LastRunID, rec.Duration = r.Started, r.Run, Seconds(r.Duration)
	}
	rec.LastState, rec.LastSummary, rec.LastReason, rec.Blame, rec.Stale = state, r.Summary(), r.Reason, r.Blame, r.Stale
	if r.Lack != nil { // it proved nothing
		rec.NextAttempt = r.Attempt
		rec.ExplainedBy = r.Lack.Kind
		m.show(rec, result.Unknown, r.Started)
		m.output.dirty[rec] = true
		return
	}
	rec.ExplainedBy = ""
	rec.NextAttempt = 1
	if state != result.OK {
		rec.NextAttempt = r.Attempt + 1
	}
	was := rec.Proven
	if !r.Stale {
		rec.Proven, rec.ProvenAt = state, r.Started
		if rec.Uncertain { // its last failures may not have been its own
			forgive := rec.Forgive
			rec.Uncertain, rec.Forgive = false, false
			if p := rec.find(RuleFailures); forgive && p != nil && p.Told == nil {
				rec.Results.forgive()
				rec.Certain.forgive()
				rec.Problems = slices.DeleteFunc(rec.Problems, func(other *problem) bool { return other == p })
			}
		}
		if m.confirmedMeanwhile(rec, r) {
			rec.Uncertain, rec.Forgive = true, true
		}
		switch {
		case state == result.OK && was != result.OK:
			rec.Recovered = r.Started
		case state != result.OK && was == result.OK:
			rec.Failed = state
		case state != result.OK:
			rec.Failed = rec.Failed.Worse(state)
		}
	}
	rec.answered = r.Refused || !m.uplink.began.IsZero() && r.Answered.After(m.uplink.silent)
	calm := state == result.OK && rec.Results.bad == 0 && len(rec.Problems) == 0
	rec.Results.push(state)
	if state == result.OK {
		rec.Certain.push(state)
	}
	if !calm {
		m.judge(rec, r, state, now)
	}
	shown := state
	if p := rec.find(RuleFailures); p != nil && p.State == alert.Hard {
		shown = p.Severity
	}
	m.show(rec, shown, r.Started)
	if !calm || was != result.OK {
		m.output.dirty[rec] = true
		m.settle(rec, now)
	}
	for _, other := range rec.dependents {
		if len(other.Problems) > 0 {
			m.settle(other, now)
		}
	}
	if !r.Stale {
		m.uplinkSees(rec, r, now)
	}
}

// show sets the state that people see.
func (m *machine) show(rec *record, state result.State, since time.Time) {
	if rec.State != state || rec.Since.IsZero() {
		rec.State, rec.Since = state, since
	}
	p := rec.find(RuleFailures)
	rec.Hard = p == nil || p.State == alert.Hard
}

// judge brings the alerts of a scenario up to date after a result.
func (m *machine) judge(rec *record, r *result.Result, state result.State, now time.Time) {
	p := rec.find(RuleFailures)
	bad := 0
	if rec.of > 0 {
		bad = rec.Results.notOK(rec.of)
	}
	switch {
	case state != result.OK:
		if p == nil {
			p = &problem{Alert: alert.Alert{ID: alert.NewID(RuleFailures, rec.ID, r.Started), Rule: RuleFailures, Since: r.Started, State: alert.Soft, Severity: state}}
			rec.Problems = append(rec.Problems, p)
			m.open[rec] = true
		}
		if state.Worse(p.Severity) != p.Severity {
			p.Acknowledged = nil // it was about something less bad
		}
		p.Severity, p.Summary = state, r.Summary()
		if rec.of > 0 {
			p.Summary += fmt.Sprintf(" (%d of the last %d runs were not OK)", bad, rec.of)
		}
		if rec.of > 0 && bad >= rec.some || rec.of == 0 && r.Attempt > r.Retries {
			p.State = alert.Hard
		}
	case p != nil && bad >= rec.some && rec.of > 0: // one good run among bad ones
	case p != nil:
		p.State, p.Severity, p.Summary = alert.Resolved, result.OK, r.Summary()
	}
	if state != result.OK && p.State == alert.Hard {
		rec.Certain.push(state)
	}
	if !rec.steady {
		rec.Change = rec.Certain.change()
		switch {
		case rec.Flapping && rec.Change <= m.flapping.Low:
			m.endFlapping(rec, now, "it no longer flaps: "+state.String()+": "+r.Summary())
		case !rec.Flapping && rec.Change >= m.flapping.High:
			rec.Flapping = true
			rec.Problems = append(rec.Problems, &problem{Alert: alert.Alert{ID: alert.NewID(RuleFlapping, rec.ID, r.Started), Rule: RuleFlapping, Since: r.Started,
				State: alert.Hard, Severity: rec.Certain.worst(), Flapping: true,
				Summary: fmt.Sprintf("it flaps: its state changed by %.1f %% over the last %d results, from %g %% on its changes are not told; now %s: %s",
					rec.Change, window, m.flapping.High, state, r.Summary())}})
			m.open[rec] = true
		}
	}
}

// endFlapping ends the flapping of a scenario.
func (m *machine) endFlapping(rec *record, _ time.Time, summary string) {
	rec.Flapping = false
	if p := rec.find(RuleFlapping); p != nil {
		p.State, p.Severity, p.Summary, p.Flapping = alert.Resolved, result.OK, summary, false
	}
}

// find returns the open alert of a rule, or nil.
func (rec *record) find(rule string) *problem {
	for _, p := range rec.Problems {
		if p.Rule == rule && p.State != alert.Resolved {
			return p
		}
	}
	return nil
}

// take takes a change that another rule reports.
func (m *machine) take(a alert.Alert, now time.Time) {
	rec, about := m.own, ""
	if a.Identity != (result.Identity{}) {
		rec = m.record(a.Identity)
		about = rec.ID
	}
	if a.Lack != nil {
		about = "lack " + a.Lack.Kind
	}
	i := slices.IndexFunc(rec.Problems, func(p *problem) bool {
		return p.Rule == a.Rule && p.State != alert.Resolved && (p.Lack == nil) == (a.Lack == nil) && (a.Lack == nil || p.Lack.Kind == a.Lack.Kind)
	})
	switch {
	case i < 0 && a.State == alert.Resolved:
		return // nobody knows of it
	case i < 0:
		a.ID = alert.NewID(a.Rule, about, a.Since)
		rec.Problems = append(rec.Problems, &problem{Alert: a})
		m.open[rec] = true
	default:
		p := rec.Problems[i]
		p.State, p.Severity, p.Summary, p.Lack = a.State, a.Severity, a.Summary, a.Lack
	}
	m.output.dirty[rec] = true
	m.settle(rec, now)
}

// settle tells of a scenario's alerts what is not told yet and not withheld.
func (m *machine) settle(rec *record, now time.Time) {
	if !rec.loaded && rec.frozen {
		return
	}
	rec.Withheld, rec.Alert, rec.Acknowledged = "", "", nil
	explained := ""
	for _, p := range rec.Problems {
		if p.State == alert.Resolved && p.Told == nil {
			continue
		}
		why, by := m.withheld(rec, p, now)
		if by != "" {
			explained = by
		}
		if p.Rule == RuleFailures && p.State != alert.Resolved {
			rec.Alert, rec.Acknowledged = p.ID, p.Acknowledged
		}
		if why != "" && rec.Withheld == "" {
			rec.Withheld = why
		}
		if why != p.Withheld {
			p.Withheld = why
			m.output.dirty[rec] = true
			if why != "" && p.news() && p.State == alert.Hard {
				a := p.Alert
				a.Identity = rec.Identity
				m.output.held = append(m.output.held, a)
			}
		}
		if why == "" && p.news() {
			m.tell(rec, p)
		}
	}
	if explained != "" || rec.LastReason != result.ReasonLack {
		rec.ExplainedBy = explained
	}
	if rec.ExplainedBy == KindUplink && rec.State != result.Unknown {
		rec.State = result.Unknown // nothing is known about it
	}
	before := len(rec.Problems)
	rec.Problems = slices.DeleteFunc(rec.Problems, func(p *problem) bool {
		ended := p.State == alert.Resolved && (p.Told == nil || p.Told.State == alert.Resolved)
		if ended && p.Told == nil {
			a := p.Alert
			a.Identity = rec.Identity
			m.output.silent = append(m.output.silent, a)
		}
		return ended
	})
	if len(rec.Problems) != before {
		m.output.dirty[rec] = true
	}
	if len(rec.Problems) == 0 {
		delete(m.open, rec)
		rec.Problems = nil
	}
}

// news reports whether the sinks do not know yet what is true.
func (p *problem) news() bool {
	switch {
	case p.Told == nil:
		return p.State != alert.Resolved
	case p.State == alert.Soft && p.Told.State == alert.Hard:
		return false
	}
	return p.Told.State != p.State || p.Told.Severity != p.Severity || !same(p.Told.Acknowledged, p.Acknowledged)
}

// same reports whether two acknowledgements are equal.
func same(a, b *alert.Acknowledgement) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Author == b.Author && a.Comment == b.Comment && a.At.Equal(b.At)
}

// tell puts an alert as it is now into the output.
func (m *machine) tell(rec *record, p *problem) {
	m.number++
	p.Told = &told{p.State, p.Severity, p.Acknowledged}
	a := p.Alert
	a.Number, a.Identity, a.Withheld = m.number, rec.Identity, ""
	m.output.told = append(m.output.told, a)
	m.output.dirty[rec] = true
}

// withheld returns why an alert is not told now, or "". by is the id of the scenario that explains it, or the kind of a lack.
func (m *machine) withheld(rec *record, p *problem, now time.Time) (why, by string) {
	if rec == m.own {
		return "", ""
	}
	if p.State != alert.Resolved && (p.Rule == RuleFailures || p.Rule == RuleFlapping) {
		why, by = m.explained(rec, p, now)
	}
	if m.quiet != nil {
		if quiet, until, is := m.quiet.Quiet(rec.Identity, rec.Tags, now); is {
			m.wakeAt(now.Add(quietPoll)) // it may be ended early
			if until.After(now) {
				m.wakeAt(until)
			}
			return quiet, by
		}
	}
	if p.Rule == RuleFailures && rec.Flapping {
		return "flapping", by
	}
	return why, by
}

// wakeAt has tick called at a time, or before.
func (m *machine) wakeAt(at time.Time) {
	if m.wake.IsZero() || at.Before(m.wake) {
		m.wake = at
	}
}

// explained returns why the failure of a scenario is not its own, and whose it is.
func (m *machine) explained(rec *record, p *problem, now time.Time) (why, by string) {
	if why := m.suspected(rec, p, now); why != "" {
		if rec.Uncertain {
			return why, KindUplink
		}
		return why, ""
	}
	waiting := (*record)(nil)
	for _, needed := range rec.needs {
		switch {
		case bad(needed.Proven) && covers(needed.Failed, p.Severity):
			p.Wait = time.Time{}
			return fmt.Sprintf("needs %q, which is %s", needed.Scenario.Scenario, needed.Proven), needed.ID
		case p.Rule == RuleFlapping && needed.Flapping:
			return fmt.Sprintf("needs %q, which flaps", needed.Scenario.Scenario), needed.ID
		case p.Rule == RuleFailures && needed.Recovered.After(rec.LastRun) && covers(needed.Failed, p.Severity):
			m.ask(rec, now) // it failed while the other one did
			m.wakeAt(now.Add(askAgain))
			p.Wait = time.Time{}
			return fmt.Sprintf("needs %q, which was %s until now: it has to run again", needed.Scenario.Scenario, needed.Failed), needed.ID
		case p.Rule == RuleFailures && p.news() && needed.ProvenAt.Before(rec.LastRun):
			waiting = needed
			m.ask(needed, now)
		}
	}
	if waiting == nil {
		p.Wait = time.Time{}
		return "", ""
	}
	if p.Wait.IsZero() {
		p.Wait = now.Add(min(waiting.timeout+needMargin, needMost))
	}
	if !now.Before(p.Wait) {
		return "", "" // the other one does not answer, so it explains nothing
	}
	m.wakeAt(min2(p.Wait, now.Add(askAgain)))
	return fmt.Sprintf("waits for a run of %q, which it needs", waiting.Scenario.Scenario), ""
}

func min2(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// bad reports whether a state proves a failure. UNKNOWN proves nothing.
func bad(s result.State) bool { return s == result.Warning || s == result.Critical }

// covers reports whether one failure can explain another: a lesser one does not explain a greater one.
func covers(one, other result.State) bool { return bad(one) && other.Worse(one) == one }

// ask has a scenario run at once, but not more often than every askAgain.
func (m *machine) ask(rec *record, now time.Time) {
	if ago := now.Sub(rec.asked); ago >= 0 && ago < askAgain { // the clock may be set back
		return
	}
	rec.asked = now
	m.output.asked = append(m.output.asked, rec.ID)
}

// tick tells what the time alone changes.
func (m *machine) tick(now time.Time) {
	m.wake = time.Time{}
	for _, rec := range m.opened() {
		m.settle(rec, now)
	}
}

// opened returns the scenarios with alerts in the order of their ids.
func (m *machine) opened() []*record {
	all := make([]*record, 0, len(m.open))
	for rec := range m.open {
		all = append(all, rec)
	}
	slices.SortFunc(all, func(a, b *record) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// acknowledge sets or withdraws the acknowledgement of an open alert. It reports whether there is such an alert.
func (m *machine) acknowledge(alertID string, by *alert.Acknowledgement, now time.Time) bool {
	for rec := range m.open {
		for _, p := range rec.Problems {
			if p.ID == alertID && p.State != alert.Resolved {
				p.Acknowledged = by
				m.output.dirty[rec] = true
				m.settle(rec, now)
				return true
			}
		}
	}
	return false
}
