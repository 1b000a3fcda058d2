package steps

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// World is the state of one run of one scenario: connections, the current page, what the step at work reports. It dies
// with the scenario. Only the step at work uses it, one at a time, but an abandoned step may go on calling it from its
// own goroutine, so what is reported after the run was closed is dropped.
type World struct {
	target  *Target
	secrets Secrets
	run     string
	origin  string

	inBrowser bool // the web steps visit with a browser

	mu       sync.Mutex
	closed   bool
	report   Report
	states   map[reflect.Type]any
	after    []func(context.Context)
	cleanups []cleanup
	redacted []string // what must never be kept: secrets in every form they take on a wire

	masks map[string]*mask // of what is redacted, made when first needed
}

type cleanup struct {
	name string
	do   func(context.Context) error
}

// Report is what one step said beside its error.
type Report struct {
	Phases       []result.Phase
	Measurements []result.Measurement
	Evidence     []result.Evidence
	Note         string
}

// NewWorld makes the World of one run. run is the run's unguessable id; scenario names the scenario on this agent, the
// same for every run of it, and is used to recognise what an earlier run left behind.
func NewWorld(target *Target, secrets Secrets, run, scenario string) *World {
	return &World{target: target, secrets: secrets, run: run, origin: scenario}
}

// UseBrowser has the web steps of this run visit with a real browser. It is called before the first step.
func (w *World) UseBrowser() { w.inBrowser = true }

// aside gives a World for work of the same run whose phases and measurements nobody reads, such as the two hundredth page
// of a crawl.
func (w *World) aside() *World {
	return &World{target: w.target, secrets: w.secrets, run: w.run, origin: w.origin, inBrowser: w.inBrowser, closed: true}
}

// apart gives a World for work of the same run whose phases and measurements are its own.
func (w *World) apart() *World {
	a := w.aside()
	a.closed = false
	return a
}

// beside returns a World for work at the same time as the run's steps: of the same run, with states and a Close of its own.
func (w *World) beside() *World { return NewWorld(w.target, w.secrets, w.run, w.origin) }

// Target is the system under observation.
func (w *World) Target() *Target { return w.target }

// retarget has what follows see the system under observation with other limits.
func (w *World) retarget(t *Target) { w.target = t }

// Run is the id of this run: unguessable, and unique over all agents.
func (w *World) Run() string { return w.run }

// Origin is the same for every run of one scenario by one agent and says nothing of either: 32 hexadecimal digits.
func (w *World) Origin() string {
	sum := sha256.Sum256([]byte(w.origin))
	return hex.EncodeToString(sum[:16])
}

// Secret reveals a secret to a step and makes sure that nothing that the run keeps afterwards holds it.
func (w *World) Secret(ctx context.Context, name string) (Secret, error) {
	if w.secrets == nil {
		return Secret{}, Fail(result.ReasonConfig, result.BlameScenario, "no secret %q: stepwatch.yml names none", name)
	}
	s, err := w.secrets.Secret(ctx, name)
	if err != nil {
		return Secret{}, Fail(result.ReasonConfig, result.BlameScenario, "%w", err)
	}
	w.Redact(s.Reveal())
	return s, nil
}

// Redact hides value, and its forms in base64 and URLs, from everything that is reported from now on.
func (w *World) Redact(value string) {
	if value == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, form := range []string{value, url.QueryEscape(value), base64.StdEncoding.EncodeToString([]byte(value))} {
		if !slices.Contains(w.redacted, form) {
			w.redacted = append(w.redacted, form)
		}
	}
	slices.SortFunc(w.redacted, func(a, b string) int { return len(b) - len(a) })
}

// Redacted gives text without any secret.
func (w *World) Redacted(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.scrub([]byte(text)))
}

// Phase reports a part of the step's time. note is what the other side answered, or empty.
func (w *World) Phase(name string, d time.Duration, note string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.report.Phases = append(w.report.Phases, result.Phase{Name: name, Duration: d, Note: string(w.scrub([]byte(note)))})
	}
}

// Timed runs do and reports its duration as a phase, also when it fails. do returns the phase's note.
func (w *World) Timed(name string, do func() (note string, err error)) error {
	start := time.Now()
	note, err := do()
	w.Phase(name, time.Since(start), note)
	return err
}

// Measure reports a value that the step read. The name is in snake case and ends in its base unit; help is one sentence.
// labels tell apart what the step reads several times; their values must be few and known beforehand.
func (w *World) Measure(name, help string, value float64, labels ...result.Label) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.report.Measurements = append(w.report.Measurements, result.Measurement{Name: name, Help: help, Value: value, Labels: labels})
	}
}

// Note says one line about the step that a person wants to see also when it passed. A second one takes its place.
func (w *World) Note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.report.Note = string(w.scrub([]byte(text)))
	}
}

// After has do called once the step at work has returned, outside its time: for what the step reports and its duration
// must not hold. It is not for anything that could make the step fail. do stops when its ctx ends.
func (w *World) After(do func(ctx context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.after = append(w.after, do)
	}
}

// RunAfter does what the step left for After. The runner calls it before TakeReport.
func (w *World) RunAfter(ctx context.Context) {
	w.mu.Lock()
	after := w.after
	w.after = nil
	w.mu.Unlock()
	for _, do := range after {
		do(ctx)
	}
}

// evidenceLimit caps one piece of evidence in bytes, so that a thousand failing scenarios fit into memory.
const evidenceLimit = 256 << 10

// phaseCount is how many phases the step at work has reported.
func (w *World) phaseCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.report.Phases)
}

// phasesFrom gives the phases that were reported since there were so many.
func (w *World) phasesFrom(count int) []result.Phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.report.Phases[min(count, len(w.report.Phases)):])
}

// Attach keeps evidence of a failure. Secrets are taken out; what is beyond 256 KiB is cut off with a note. A picture is
// taken as it is, and left out when it is larger: its secrets must be painted over already.
func (w *World) Attach(name, mediaType string, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	picture := strings.HasPrefix(mediaType, "image/") && mediaType != "image/svg+xml"
	if picture && len(body) > evidenceLimit {
		return
	}
	if !picture {
		body = w.scrub(body)
	}
	if len(body) > evidenceLimit {
		body = append(bytes.Clone(body[:evidenceLimit]), fmt.Sprintf("\n[cut: %d bytes in all]", len(body))...)
	}
	w.report.Evidence = append(w.report.Evidence, result.Evidence{Name: name, MediaType: mediaType, Body: bytes.Clone(body)})
}

// TakeReport gives what was reported since the last call and starts afresh. The runner calls it between steps.
func (w *World) TakeReport() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.report
	w.report = Report{}
	return r
}

// Cleanup has do called when the scenario is over, whatever became of it, the last one registered first. do gets a
// context of its own that outlives the scenario's deadline. What it could not put back, its error says.
func (w *World) Cleanup(name string, do func(context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cleanups = append(w.cleanups, cleanup{name, do})
}

// Close ends the World: nothing is reported any more, every Cleanup is done and every state that is an io.Closer is
// closed. The error says what could not be put back.
func (w *World) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	cleanups, states := w.cleanups, w.states
	w.cleanups, w.states = nil, nil
	w.mu.Unlock()

	var errs []error
	for _, c := range slices.Backward(cleanups) {
		if err := c.do(ctx); err != nil {
			errs = append(errs, errors.New(w.Redacted(fmt.Sprintf("%s: %v", c.name, err))))
		}
	}
	for _, s := range states {
		if closer, ok := s.(io.Closer); ok {
			_ = closer.Close() // the run is judged already, and a connection that fails to close is closed
		}
	}
	return errors.Join(errs...)
}

// State returns the World's value of type T, a zero one at first. A protocol keeps its connections and its current page
// in a type of its own, so that adding one touches no other file. When *T is an io.Closer it is closed with the World.
func State[T any](w *World) *T {
	key := reflect.TypeFor[T]()
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, found := w.states[key]; found {
		return s.(*T)
	}
	s := new(T)
	if w.closed {
		return s // an abandoned step's: its context is over, so there is nothing that it could open
	}
	if w.states == nil {
		w.states = make(map[reflect.Type]any, 2)
	}
	w.states[key] = s
	return s
}
