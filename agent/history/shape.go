package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// shape is everything about the steps of a run that is the same in most runs of its scenario: their texts, their statuses, which
// phases they had and what they measured. A run keeps the number of its shape and the numbers of its own: see appendRun.
type shape struct {
	id       uint64
	steps    []shapeStep
	times    int // durations of the steps and phases in it
	measured int // values
}

// shapeStep is a step of a shape. The names in JSON are short because every database has some thousand of them.
type shapeStep struct {
	Keyword  string        `json:"k,omitempty"`
	Text     string        `json:"t"`
	Label    string        `json:"l,omitempty"` // if it differs from the text
	File     string        `json:"f,omitempty"`
	Line     int           `json:"n,omitempty"`
	Status   result.Status `json:"s,omitempty"` // empty for passed
	Ran      bool          `json:"r,omitempty"`
	Phases   []string      `json:"p,omitempty"`
	Measured []shapeValue  `json:"m,omitempty"`
	Steps    []shapeStep   `json:"i,omitempty"`
}

type shapeValue struct {
	Name   string         `json:"n"`
	Labels []result.Label `json:"l,omitempty"`
}

// The bounds of shapes. Nothing but a mistake in a step definition exceeds them: labels have few values.
const (
	shapesMost     = 200     // of one scenario; later ones have no phases and measurements
	shapeBytesMost = 1 << 20 // of one in the database
	valuesMost     = 1 << 16 // durations and values of one run
)

// newShape returns the shape of steps.
func newShape(steps []result.StepResult, reduced bool) *shape {
	s := &shape{steps: shapeSteps(steps, reduced)}
	s.measure(s.steps)
	return s
}

func shapeSteps(steps []result.StepResult, reduced bool) []shapeStep {
	if len(steps) == 0 {
		return nil
	}
	shapes := make([]shapeStep, len(steps))
	for i := range steps {
		from := &steps[i]
		to := &shapes[i]
		*to = shapeStep{Keyword: from.Keyword, Text: from.Text, File: from.File, Line: from.Line, Ran: from.Ran, Steps: shapeSteps(from.Steps, reduced)}
		if from.Label != from.Text {
			to.Label = from.Label
		}
		if from.Status != result.Passed {
			to.Status = from.Status
		}
		if reduced {
			continue
		}
		for _, p := range from.Phases {
			to.Phases = append(to.Phases, p.Name)
		}
		for _, m := range from.Measurements {
			to.Measured = append(to.Measured, shapeValue{m.Name, m.Labels})
		}
	}
	return shapes
}

// measure counts what a run with this shape has.
func (s *shape) measure(steps []shapeStep) {
	for i := range steps {
		if steps[i].Ran {
			s.times++
		}
		s.times += len(steps[i].Phases)
		s.measured += len(steps[i].Measured)
		s.measure(steps[i].Steps)
	}
}

// fits reports whether a run's steps have this shape.
func fits(shapes []shapeStep, steps []result.StepResult, reduced bool) bool {
	if len(shapes) != len(steps) {
		return false
	}
	for i := range shapes {
		a, b := &shapes[i], &steps[i]
		status := a.Status
		if status == "" {
			status = result.Passed
		}
		if status != b.Status || a.Ran != b.Ran || a.Line != b.Line || a.Text != b.Text || a.Keyword != b.Keyword || a.File != b.File ||
			a.label() != b.Label || !fits(a.Steps, b.Steps, reduced) {
			return false
		}
		if reduced {
			continue
		}
		if len(a.Phases) != len(b.Phases) || len(a.Measured) != len(b.Measurements) {
			return false
		}
		for j := range a.Phases {
			if a.Phases[j] != b.Phases[j].Name {
				return false
			}
		}
		for j := range a.Measured {
			m := &b.Measurements[j]
			if a.Measured[j].Name != m.Name || len(a.Measured[j].Labels) != len(m.Labels) {
				return false
			}
			for k, l := range a.Measured[j].Labels {
				if l != m.Labels[k] {
					return false
				}
			}
		}
	}
	return true
}

func (s *shapeStep) label() string {
	if s.Label == "" {
		return s.Text
	}
	return s.Label
}

func (s *shape) encode() ([]byte, error) { return json.Marshal(s.steps) }

func decodeShape(id uint64, b []byte) (*shape, error) {
	if len(b) > shapeBytesMost {
		return nil, fmt.Errorf("shape %d has %d bytes", id, len(b))
	}
	s := &shape{id: id}
	if err := json.Unmarshal(b, &s.steps); err != nil {
		return nil, fmt.Errorf("shape %d: %w", id, err)
	}
	s.measure(s.steps)
	if s.times+s.measured > valuesMost {
		return nil, fmt.Errorf("shape %d has %d durations and values", id, s.times+s.measured)
	}
	return s, nil
}

// timed visits every duration of a run with this shape in their order in it: that of each step that ran, then those of its
// phases, then those of the steps within. step is the path of labels; phase is empty for the step itself.
func (s *shape) timed(visit func(step, phase string, status string)) {
	var walk func(above string, steps []shapeStep)
	walk = func(above string, steps []shapeStep) {
		for i := range steps {
			one := &steps[i]
			path := above + one.label()
			status := one.Status
			if status == "" {
				status = result.Passed
			}
			if one.Ran {
				visit(path, "", string(status))
			}
			for _, p := range one.Phases {
				visit(path, p, string(status))
			}
			walk(path+result.Beneath, one.Steps)
		}
	}
	walk("", s.steps)
}

const passed = string(result.Passed)

// shapesKept is how many shapes are kept in memory.
const shapesKept = 20_000

// lookup returns the shapes of the database, and keeps those that it read.
func lookup(ctx context.Context, tx *sql.Tx, kept map[uint64]*shape) shapes {
	return func(id uint64) (*shape, error) {
		if s := kept[id]; s != nil {
			return s, nil
		}
		var b []byte
		if err := tx.QueryRowContext(ctx, "SELECT steps FROM shapes WHERE number = ?", int64(id)).Scan(&b); err != nil { //nolint:gosec // 56 bits
			return nil, fmt.Errorf("shape %d: %w", id, err)
		}
		s, err := decodeShape(id, b)
		if err != nil {
			return nil, err
		}
		if len(kept) >= shapesKept {
			clear(kept)
		}
		kept[id] = s
		return s, nil
	}
}

var seed = maphash.MakeSeed()

// hashOf returns a hash of what a shape is made of.
func hashOf(steps []result.StepResult) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	var walk func([]result.StepResult)
	walk = func(steps []result.StepResult) {
		for i := range steps {
			s := &steps[i]
			_, _ = h.WriteString(s.Text)
			_, _ = h.WriteString(string(s.Status))
			for _, p := range s.Phases {
				_, _ = h.WriteString(p.Name)
			}
			for _, m := range s.Measurements {
				_, _ = h.WriteString(m.Name)
				for _, l := range m.Labels {
					_, _ = h.WriteString(l.Value)
				}
			}
			_ = h.WriteByte(0)
			walk(s.Steps)
		}
	}
	walk(steps)
	return h.Sum64()
}

// seriesName is the name of a step or phase in the database: the path of labels, and the phase after a NUL.
func seriesName(step, phase string) string {
	if phase == "" {
		return step
	}
	return step + "\x00" + phase
}

func splitSeries(name string) (step, phase string) {
	step, phase, _ = strings.Cut(name, "\x00")
	return step, phase
}
