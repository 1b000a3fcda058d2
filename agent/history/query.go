package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/result"
)

// Reader answers questions about the history. It waits for no writer, and holds none up. Its methods may be called from any
// goroutine; a query ends with its context, or after ten seconds.
type Reader struct {
	db      atomic.Pointer[database.DB]
	damaged func() // is told when the file was damaged, so that there is a new one

	mu     sync.Mutex
	shapes map[uint64]*shape
}

// ErrNotOpen is the error of every query while the agent cannot open the file.
var ErrNotOpen = errors.New("the history is not open: the log of the agent says why")

func newReaderOf(db *database.DB) *Reader {
	r := &Reader{shapes: make(map[uint64]*shape)}
	if db != nil {
		r.db.Store(db)
	}
	return r
}

// OpenReader opens the history of a state directory for reading, while an agent writes it, or none. If there is no history, the
// error is fs.ErrNotExist.
func OpenReader(ctx context.Context, dir string) (*Reader, error) {
	db, err := database.OpenReadOnly(ctx, database.Options{Dir: dir, Name: FileName, Migrations: migrations})
	if err != nil {
		return nil, err
	}
	return newReaderOf(db), nil
}

// CloseReader closes what OpenReader opened.
func (r *Reader) CloseReader() error {
	if db := r.db.Swap(nil); db != nil {
		return db.Close()
	}
	return nil
}

// query is one consistent state of the database.
type query struct {
	context.Context
	tx    *sql.Tx
	known shapes
	ids   map[uint64]*Scenario // by number
	ready map[string]*sql.Stmt
}

// prepare returns a statement that is asked once for each scenario.
func (q *query) prepare(text string) (*sql.Stmt, error) {
	if s := q.ready[text]; s != nil {
		return s, nil
	}
	s, err := q.tx.PrepareContext(q, text)
	if err == nil {
		q.ready[text] = s
	}
	return s, err
}

// read calls a function with one state of the database. The queries of a Reader that need shapes take turns.
func (r *Reader) read(ctx context.Context, do func(*query) error) error {
	db := r.db.Load()
	if db == nil {
		return ErrNotOpen
	}
	err := db.Read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		kept := lookup(ctx, tx, r.shapes)
		ready := make(map[string]*sql.Stmt)
		defer func() {
			for _, s := range ready {
				_ = s.Close() // it has done its work
			}
		}()
		return do(&query{Context: ctx, tx: tx, ready: ready, known: func(id uint64) (*shape, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return kept(id)
		}})
	})
	if isDamaged(err) && r.damaged != nil {
		r.damaged()
	}
	return err
}

// Scenario is a scenario of which there is any history.
type Scenario struct {
	ID string `json:"id"` // Identity.ID
	result.Identity
	Interval float64 `json:"interval_seconds"`

	number uint64
}

// scenarios reads the scenarios.
func (q *query) scenarios() error {
	q.ids = make(map[uint64]*Scenario)
	return each(q, q.tx, func(rows *sql.Rows) error {
		s := new(Scenario)
		var interval time.Duration
		err := rows.Scan(&s.number, &s.ID, &s.Feature, &s.Scenario, &s.Example, &s.File, &s.Line, &s.Owner, &s.Severity, &s.Location, &interval)
		s.Interval = interval.Seconds()
		q.ids[s.number] = s
		return err
	}, "SELECT number, id, feature, scenario, example, file, line, owner, severity, location, interval FROM scenarios")
}

// number returns the number of a scenario with an id; found is false if there is none.
func (q *query) number(id string) (number uint64, found bool, err error) {
	err = q.tx.QueryRowContext(q, "SELECT number FROM scenarios WHERE id = ?", id).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return number, err == nil, err
}

// Scenarios returns every scenario of which there is any history, by feature, scenario and example.
func (r *Reader) Scenarios(ctx context.Context) (all []Scenario, err error) {
	err = r.read(ctx, func(q *query) error {
		if err := q.scenarios(); err != nil {
			return err
		}
		for _, s := range q.ids {
			all = append(all, *s)
		}
		return nil
	})
	sortScenarios(all)
	return all, err
}

// Run is a run. Its steps are there in what Run returns, not in lists.
type Run struct {
	ID         string          `json:"id"`          // for Reader.Run: of the scenario and its beginning
	ScenarioID string          `json:"scenario_id"` // Identity.ID
	Identity   result.Identity `json:"identity"`    //
	Run        string          `json:"run"`         // Result.Run; empty if no run took place
	Started    time.Time       `json:"started"`     //
	Duration   float64         `json:"duration_seconds"`
	Delay      float64         `json:"delay_seconds"`
	Prepare    float64         `json:"prepare_seconds"`
	Attempt    int             `json:"attempt"`
	State      result.State    `json:"state"`
	Status     result.Status   `json:"status"`
	Stale      bool            `json:"stale"` // no run took place in time
	Reason     result.Reason   `json:"reason,omitempty"`
	Blame      result.Blame    `json:"blame,omitempty"`
	Step       string          `json:"step,omitempty"` // the step that decided, with those above it
	Summary    string          `json:"summary,omitempty"`
	Lack       *result.Lack    `json:"lack,omitempty"`
	Targets    []string        `json:"targets,omitempty"` // of runs that were not OK
	Cleanup    string          `json:"cleanup,omitempty"`
	Steps      []Step          `json:"steps,omitempty"`
}

// Step is a step of a run.
type Step struct {
	Keyword      string        `json:"keyword"`
	Text         string        `json:"text"`
	Label        string        `json:"label"`
	File         string        `json:"file,omitempty"`
	Line         int           `json:"line"`
	Status       result.Status `json:"status"`
	Ran          bool          `json:"ran"`
	Duration     float64       `json:"duration_seconds"` // meaningful only if it ran
	Reason       result.Reason `json:"reason,omitempty"`
	Blame        result.Blame  `json:"blame,omitempty"`
	Error        string        `json:"error,omitempty"`
	Note         string        `json:"note,omitempty"` // of runs that were not OK
	Phases       []Phase       `json:"phases,omitempty"`
	Measurements []Measurement `json:"measurements,omitempty"`
	Steps        []Step        `json:"steps,omitempty"`
}

// Phase is a part of a step's time.
type Phase struct {
	Name     string  `json:"name"`
	Duration float64 `json:"duration_seconds"`
	Note     string  `json:"note,omitempty"` // of runs that were not OK
}

// Measurement is a value that a step read.
type Measurement struct {
	Name   string         `json:"name"`
	Labels []result.Label `json:"labels,omitempty"`
	Value  float64        `json:"value"`
}

// runKey returns the id of a run in the history.
func runKey(scenario string, began int64) string {
	return scenario + "-" + strconv.FormatInt(began, 36)
}

func parseRunKey(key string) (scenario string, began int64, ok bool) {
	scenario, at, found := strings.Cut(key, "-")
	began, err := strconv.ParseInt(at, 36, 64)
	return scenario, began, found && err == nil
}

func seconds(micros uint64) float64 { return float64(micros) / 1e6 }

func timeOf(micros int64) time.Time { return time.UnixMicro(micros) }

// run returns a record as a Run.
func (q *query) run(rec *record, withSteps bool) (Run, error) {
	run := Run{Run: rec.runID(), Started: timeOf(rec.began), Delay: seconds(rec.delay), Prepare: seconds(rec.prepare), Attempt: int(rec.attempt), //nolint:gosec // a count
		State: rec.state, Status: result.Passed, Stale: rec.stale}
	if s := q.ids[rec.scenario]; s != nil {
		run.ScenarioID, run.Identity = s.ID, s.Identity
	}
	run.ID = runKey(run.ScenarioID, rec.began)
	var d details
	if rec.details != nil {
		if err := json.Unmarshal(rec.details, &d); err != nil {
			return run, fmt.Errorf("the details of run %s: %w", run.ID, err)
		}
		if d.Status != "" {
			run.Status = d.Status
		}
		run.Reason, run.Blame, run.Step, run.Summary, run.Lack, run.Targets, run.Cleanup = d.Reason, d.Blame, d.Step, d.Summary, d.Lack, d.Targets, d.Cleanup
	}
	s, err := q.known(rec.shape)
	if err != nil {
		return run, err
	}
	if len(rec.times) < s.times || len(rec.values) < s.measured {
		return run, fmt.Errorf("run %s has %d durations and %d values, its shape %d and %d", run.ID, len(rec.times), len(rec.values), s.times, s.measured)
	}
	fill := filler{rec: rec, notes: d.Steps}
	steps := fill.steps(s.steps)
	var sum float64
	for i := range steps {
		if steps[i].Ran {
			sum += steps[i].Duration
		}
	}
	run.Duration = float64(int64(sum*1e6+0.5)) / 1e6
	if withSteps {
		run.Steps = steps
	}
	return run, nil
}

// filler puts the numbers of a run into its shape.
type filler struct {
	rec         *record
	notes       map[int]stepNote
	at          int // step
	time, value int
}

func (f *filler) steps(shapes []shapeStep) []Step {
	if len(shapes) == 0 {
		return nil
	}
	steps := make([]Step, len(shapes))
	for i := range shapes {
		from, to := &shapes[i], &steps[i]
		note := f.notes[f.at]
		f.at++
		*to = Step{Keyword: from.Keyword, Text: from.Text, Label: from.label(), File: from.File, Line: from.Line, Status: from.Status, Ran: from.Ran,
			Reason: note.Reason, Blame: note.Blame, Error: note.Error, Note: note.Note}
		if to.Status == "" {
			to.Status = result.Passed
		}
		if from.Ran {
			to.Duration = seconds(f.rec.times[f.time])
			f.time++
		}
		for j, name := range from.Phases {
			to.Phases = append(to.Phases, Phase{name, seconds(f.rec.times[f.time]), note.Phases[j]})
			f.time++
		}
		for _, m := range from.Measured {
			to.Measurements = append(to.Measurements, Measurement{m.Name, m.Labels, f.rec.values[f.value]})
			f.value++
		}
		to.Steps = f.steps(from.Steps)
	}
	return steps
}
