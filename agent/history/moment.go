package history

import (
	"context"
	"database/sql"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The kinds of events.
const (
	KindAlert      = "alert"
	KindDeployment = "deployment"
	KindNote       = "note"
)

// Spell is a time in which a scenario was not OK for one reason.
type Spell struct {
	ScenarioID string          `json:"scenario_id"`
	Identity   result.Identity `json:"identity"`
	Began      time.Time       `json:"began"`            // the first run that was not OK
	Ended      time.Time       `json:"ended,omitzero"`   // the first run that was OK again, or failed otherwise; zero while it lasts
	Last       time.Time       `json:"last"`             // the last run in it
	Runs       uint64          `json:"runs"`             // in it
	State      result.State    `json:"state"`            //
	Stale      bool            `json:"stale,omitempty"`  // no run took place in time
	Reason     result.Reason   `json:"reason,omitempty"` // empty if the steps passed, over their budget
	Blame      result.Blame    `json:"blame,omitempty"`
	Step       string          `json:"step,omitempty"` // the step that decided
	Summary    string          `json:"summary"`        // of the first run
	Run        string          `json:"run"`            // Run.ID of the first run
}

// Lasts reports whether the scenario has not become OK since.
func (s *Spell) Lasts() bool { return s.Ended.IsZero() }

// Event is a change of an alert, a deployment or a note.
type Event struct {
	At         time.Time       `json:"at"`
	Kind       string          `json:"kind"`
	ScenarioID string          `json:"scenario_id,omitempty"` // empty if it is about none
	Identity   result.Identity `json:"identity,omitzero"`
	Title      string          `json:"title"`
	Text       string          `json:"text,omitempty"`
	Author     string          `json:"author,omitempty"`
	Link       string          `json:"link,omitempty"`
	State      string          `json:"state,omitempty"`    // of an alert: soft, hard or resolved
	Severity   result.State    `json:"severity,omitempty"` // of an alert
	Rule       string          `json:"rule,omitempty"`     // of an alert
	Alert      string          `json:"alert_id,omitempty"` // of an alert
}

// Session is a time in which an agent wrote the history.
type Session struct {
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`          // when it stopped, or when it was last known to work
	Clean   bool      `json:"clean"`          // it stopped; false while it works, and after a crash
	Lost    uint64    `json:"lost,omitempty"` // runs and events that it could not write
	Version string    `json:"version"`
}

// Account says what is known about a range of time.
type Account struct {
	Since     time.Time         `json:"since"`
	Until     time.Time         `json:"until"`
	Scenarios int               `json:"scenarios"` // that were asked about
	Counts    map[string]Counts `json:"counts"`    // runs by the scenario's id
	Counted   Range             `json:"counted"`   // in which they were counted: the range, or the whole hours or days that contain it
	Spells    []Spell           `json:"failures"`  // that had begun and not ended, by their beginning
	Events    []Event           `json:"events"`
	Sessions  []Session         `json:"sessions"` // none: no agent wrote, so nothing is known
	More      bool              `json:"more"`     // there are more failures or events than the limit
}

// Range is a range of time, with both ends.
type Range struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// AccountMost is how many failures, and how many events, an Account has at most.
const AccountMost = 10_000

// Account returns what happened between two times: which of the scenarios with these ids (all, if there are none) were not OK, and
// the events. It also says how much was looked at: without runs and sessions, no failure means nothing.
func (r *Reader) Account(ctx context.Context, since, until time.Time, ids []string) (a Account, err error) {
	a = Account{Since: since, Until: until, Counts: make(map[string]Counts), Spells: []Spell{}, Events: []Event{}, Sessions: []Session{}}
	err = r.read(ctx, func(q *query) error {
		if err := q.scenarios(); err != nil {
			return err
		}
		from, to := bounds(since, until)
		wanted, numbers := q.wanted(ids)
		if a.Scenarios = len(q.ids); len(ids) > 0 {
			a.Scenarios = len(numbers)
		}
		byNumber, first, last, err := q.counts(from, to)
		if err != nil {
			return err
		}
		a.Counted = Range{timeOf(first), timeOf(last)}
		for n, c := range byNumber {
			if s := q.ids[n]; s != nil && wanted(n) && c.Runs() > 0 {
				a.Counts[s.ID] = c
			}
		}
		if err := q.spells(&a, from, to, wanted); err != nil {
			return err
		}
		if err := q.recount(&a, to); err != nil {
			return err
		}
		if err := q.events(&a, from, to, ids); err != nil {
			return err
		}
		return q.sessions(&a, from, to)
	})
	return a, err
}

func (q *query) spells(a *Account, from, to int64, wanted func(uint64) bool) error {
	return enough(each(q, q.tx, func(rows *sql.Rows) error {
		var s Spell
		var scenario uint64
		var began, ended, last int64
		if err := rows.Scan(&scenario, &began, &ended, &last, &s.Runs, &s.State, &s.Stale, &s.Reason, &s.Blame, &s.Step, &s.Summary); err != nil {
			return err
		}
		known := q.ids[scenario]
		if known == nil || !wanted(scenario) {
			return nil
		}
		if len(a.Spells) == AccountMost {
			a.More = true
			return errEnough
		}
		s.ScenarioID, s.Identity, s.Began, s.Last, s.Run = known.ID, known.Identity, timeOf(began), timeOf(last), runKey(known.ID, began)
		if ended > 0 {
			s.Ended = timeOf(ended)
		}
		a.Spells = append(a.Spells, s)
		return nil
	}, `SELECT scenario, began, ifnull(ended, 0), last, runs, state, stale, reason, blame, step, summary FROM spells WHERE number IN
		(SELECT number FROM spells WHERE ended >= ?1 AND began <= ?2 UNION ALL SELECT number FROM spells WHERE ended IS NULL AND began <= ?2)
		ORDER BY began, scenario`, from, to))
}

// recount adds the runs since the last time that the row of a failure that lasts was written.
func (q *query) recount(a *Account, to int64) error {
	lasting := make(map[uint64]*Spell)
	numbers := make(map[string]uint64, len(q.ids))
	for n, s := range q.ids {
		numbers[s.ID] = n
	}
	for i := range a.Spells {
		if s := &a.Spells[i]; s.Lasts() {
			lasting[numbers[s.ScenarioID]] = s
		}
	}
	if len(lasting) == 0 {
		return nil
	}
	return q.journal(0, to, true, func(n uint64) bool { return lasting[n] != nil }, func(rec *record) {
		if s := lasting[rec.scenario]; timeOf(rec.began).After(s.Last) && rec.state == s.State && rec.stale == s.Stale {
			s.Runs++
			s.Last = timeOf(rec.began)
		}
	})
}

func (q *query) events(a *Account, from, to int64, ids []string) error {
	byID := make(map[string]*Scenario, len(q.ids))
	for _, s := range q.ids {
		byID[s.ID] = s
	}
	about := make(map[string]bool, len(ids))
	for _, id := range ids {
		about[id] = true
	}
	return enough(each(q, q.tx, func(rows *sql.Rows) error {
		var e Event
		var at int64
		if err := rows.Scan(&at, &e.Kind, &e.ScenarioID, &e.Title, &e.Text, &e.Author, &e.Link, &e.State, &e.Severity, &e.Rule, &e.Alert); err != nil {
			return err
		}
		if len(ids) > 0 && e.ScenarioID != "" && !about[e.ScenarioID] {
			return nil
		}
		if len(a.Events) == AccountMost {
			a.More = true
			return errEnough
		}
		if e.At = timeOf(at); byID[e.ScenarioID] != nil {
			e.Identity = byID[e.ScenarioID].Identity
		}
		a.Events = append(a.Events, e)
		return nil
	}, "SELECT at, kind, scenario, title, text, author, link, state, severity, rule, alert FROM events WHERE at BETWEEN ? AND ? ORDER BY at, number", from, to))
}

func (q *query) sessions(a *Account, from, to int64) error {
	return each(q, q.tx, func(rows *sql.Rows) error {
		var s Session
		var began, last int64
		var ended sql.NullInt64
		if err := rows.Scan(&began, &last, &ended, &s.Lost, &s.Version); err != nil {
			return err
		}
		s.Began, s.Ended, s.Clean = timeOf(began), timeOf(last), ended.Valid
		a.Sessions = append(a.Sessions, s)
		return nil
	}, "SELECT began, last, ended, lost, version FROM sessions WHERE began <= ? AND last >= ? ORDER BY number", to, from-sessionEvery.Microseconds())
}
