package steps

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/redact"
)

// AddReport adds the contents of a taken report to the World again.
func (w *World) AddReport(r Report) {
	for _, p := range r.Phases {
		w.Phase(p.Name, p.Duration, p.Note)
	}
	for _, v := range r.Measurements {
		w.Measure(v.Name, v.Help, v.Value, v.Labels...)
	}
	for _, e := range r.Evidence {
		w.Attach(e.Name, e.MediaType, e.Body)
	}
	w.Idle(r.Idle)
}

type worldKey struct{}

// WithWorld returns a context that carries the World of a run for WorldFrom.
func WithWorld(ctx context.Context, w *World) context.Context {
	return context.WithValue(ctx, worldKey{}, w)
}

// WorldFrom returns the World of the run for a team's own step: to measure, to read a secret, to keep evidence. In any other
// context, such as a test of the team, it returns a World with an empty Target and no secrets, which drops reports and runs
// no Cleanup.
func WorldFrom(ctx context.Context) *World {
	if w, found := ctx.Value(worldKey{}).(*World); found {
		return w
	}
	return &World{target: &Target{}, known: new(known), closed: true}
}

// PhaseTime returns the sum of the phases that the current step has reported.
func (w *World) PhaseTime() (sum time.Duration) {
	for _, p := range w.PhasesSince(0) {
		sum += p.Duration
	}
	return sum
}

// Under calls do and adds prefix to the names of the phases that it reports. A connect phase without a note gets
// name as its note. Of a measurement that occurs more than once, the one with the smallest value is kept, with its labels.
func (w *World) Under(prefix, name string, do func() error) error {
	w.mu.Lock()
	begin := len(w.report.Phases)
	w.mu.Unlock()
	err := do()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := begin; i < len(w.report.Phases); i++ {
		phase := &w.report.Phases[i]
		if phase.Name == "connect" && phase.Note == "" {
			phase.Note = w.Redacted(name)
		}
		phase.Name = prefix + phase.Name
	}
	kept := w.report.Measurements[:0]
	for _, measured := range w.report.Measurements {
		i := slices.IndexFunc(kept, func(k result.Measurement) bool { return k.Name == measured.Name })
		if i < 0 {
			kept = append(kept, measured)
			continue
		}
		if measured.Value < kept[i].Value {
			kept[i] = measured
		}
	}
	w.report.Measurements = kept
	return err
}

// World is the state of one run of one scenario: connections, the current page, the report of the current step. It ends
// with the scenario. Only the current step uses it. An abandoned step may still call it from its own goroutine, so
// reports after the end of the run are dropped.
type World struct {
	target  *Target
	secrets Secrets
	run     string
	origin  string

	InBrowser bool // the web steps use a browser

	// Base is the address against which the relative addresses of the web steps resolve (@base); empty means that of
	// stepwatch.yml, if any. It is set before the first step.
	Base string

	mu       sync.Mutex
	closed   bool
	idle     time.Duration // of all steps
	report   Report
	states   []state
	after    []func(context.Context)
	untimed  time.Duration
	cleanups []cleanup
	known    *known
	peers    []netip.Addr

	memory      *limit.Memory   // of the run, shared by all of its Worlds
	connections *lifeline.Group // of the run; nil in a World without one
	beside      bool            // the run goes on after Close
}

// known is the set of secrets of a run. All Worlds of the run share it, because what one of them reads may be reported by
// another.
type known struct {
	mu       sync.Mutex
	secrets  []string
	redactor *redact.Redactor // of secrets, nil until it is needed
	used     bool             // a text was redacted
	late     bool             // a secret was added after that
	seen     *Seen            // where later runs learn of the secrets; may be nil
}

// Seen are the secrets that earlier runs of a scenario have read: a run that fails before its own step reads one must not
// keep it either. The zero value is ready. Runs may share it.
type Seen struct {
	mu     sync.Mutex
	values []string
}

// mostSeen bounds Seen: secrets change, but seldom.
const mostSeen = 32

// add remembers a secret instead of the oldest.
func (s *Seen) add(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.values, value) {
		return
	}
	s.values = append(s.values[max(0, len(s.values)+1-mostSeen):len(s.values):len(s.values)], value)
}

// Remember hides the secrets of earlier runs, and adds to seen those that this run reads. It is called before the first
// step.
func (w *World) Remember(seen *Seen) {
	seen.mu.Lock()
	values := seen.values
	seen.mu.Unlock()
	for _, value := range values {
		w.known.add(value)
	}
	w.known.seen = seen
}

// add adds a secret.
func (k *known) add(value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if value != "" && !slices.Contains(k.secrets, value) {
		k.secrets, k.redactor, k.late = append(k.secrets, value), nil, k.used
	}
}

// use returns the redactor of the secrets so far.
func (k *known) use() *redact.Redactor {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used = true
	if k.redactor == nil && len(k.secrets) > 0 {
		k.redactor = redact.New(k.secrets)
	}
	return k.redactor
}

type cleanup struct {
	name string
	do   func(context.Context) error
}

// Report is everything that one step reported except its error.
type Report struct {
	Phases       []result.Phase
	Measurements []result.Measurement
	Evidence     []result.Evidence
	Note         string
	Idle         time.Duration // see World.Idle; not part of the step's duration
}

// NewWorld returns the World of one run. run is the unguessable id of the run. scenario identifies the scenario on this
// agent. It is the same for all its runs, to recognise what an earlier run left behind.
func NewWorld(target *Target, secrets Secrets, run, scenario string) *World {
	var limits Limits
	if target != nil {
		limits = SettingsOf[Limits](target)
	}
	base := &struct { // one allocation
		World
		known       known
		connections lifeline.Group
		peer        [1]netip.Addr
		states      [3]state
	}{}
	w := &base.World
	w.target, w.secrets, w.run, w.origin, w.known, w.connections = target, secrets, run, scenario, &base.known, &base.connections
	w.memory, w.peers, w.states = limit.NewMemory(limits.Memory, limits.All), base.peer[:0], base.states[:0]
	return w
}

// Memory returns the account of what the run holds in memory of what it read. Readers count there what they keep.
func (w *World) Memory() *limit.Memory { return w.memory }

// UseBrowser makes the web steps of this run use a real browser. It is called before the first step.
func (w *World) UseBrowser() { w.InBrowser = true }

// Aside returns a World for work of the same run whose phases and measurements are dropped, such as the two hundredth page
// of a crawl.
func (w *World) Aside() *World {
	return &World{target: w.target, secrets: w.secrets, run: w.run, origin: w.origin, known: w.known, InBrowser: w.InBrowser, closed: true,
		connections: w.connections, memory: w.memory, beside: true}
}

// Apart returns a World for work of the same run with separate phases and measurements.
func (w *World) Apart() *World {
	a := w.Aside()
	a.closed = false
	return a
}

// Beside returns a World for work that runs concurrently with the steps. It belongs to the same run but has its own states
// and Close.
func (w *World) Beside() *World { return w.Apart() }

// SendsTo records the addresses that the run connects to, for Peers. Text that is not an address is ignored.
func (w *World) SendsTo(addresses []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peers = w.peers[:0]
	for _, a := range addresses {
		if to, err := netip.ParseAddr(a); err == nil {
			w.peers = append(w.peers, to)
		}
	}
}

// Peers returns the addresses that the run connected to last, or tried to.
func (w *World) Peers() []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.peers)
}

// Target returns the observed system.
func (w *World) Target() *Target { return w.target }

// Retarget replaces the target for the following steps, to apply other limits.
func (w *World) Retarget(t *Target) { w.target = t }

// Run returns the id of this run: unguessable, and unique across all agents.
func (w *World) Run() string { return w.run }

// Origin returns 32 hexadecimal digits that are the same for every run of one scenario by one agent, and reveal neither.
func (w *World) Origin() string {
	sum := sha256.Sum256([]byte(w.origin))
	return hex.EncodeToString(sum[:16])
}

// Secret returns a secret for a step and redacts it in everything that the run keeps afterwards.
func (w *World) Secret(ctx context.Context, name string) (Secret, error) {
	if w.secrets == nil {
		return Secret{}, Fail(result.ReasonConfig, result.BlameScenario, "no secret %q: stepwatch.yml names none", name)
	}
	s, err := w.secrets.Secret(ctx, name)
	if err != nil {
		return Secret{}, Fail(result.ReasonConfig, result.BlameScenario, "%w", err)
	}
	w.Redact(s.Reveal())
	if w.known.seen != nil {
		w.known.seen.add(s.Reveal())
	}
	return s, nil
}

// Redact hides value, in all forms of package redact, in everything that is reported from now on.
func (w *World) Redact(value string) { w.known.add(value) }

// Redacted returns text without any secret.
func (w *World) Redacted(text string) string { return w.known.use().String(text) }

// Again redacts the result of a step once more if the run has read another secret since its first report: what a page showed
// before the step that fills in the password must not be kept either.
func (w *World) Again(s *result.StepResult) {
	w.known.mu.Lock()
	late := w.known.late
	w.known.mu.Unlock()
	if !late {
		return
	}
	r := w.known.use()
	s.Error, s.Note = r.String(s.Error), r.String(s.Note)
	s.Phases, s.Evidence = slices.Clone(s.Phases), slices.Clone(s.Evidence)
	for i := range s.Phases {
		s.Phases[i].Note = r.String(s.Phases[i].Note)
	}
	for i := range s.Evidence {
		if !isPicture(s.Evidence[i].MediaType) {
			s.Evidence[i].Body = r.Bytes(s.Evidence[i].Body)
		}
	}
	for i := range s.Steps {
		w.Again(&s.Steps[i])
	}
}

// SecretPatterns returns JavaScript regular expressions for the secrets, in a text without white space.
func (w *World) SecretPatterns() []string { return w.known.use().Patterns() }

// usualReports is how many phases, and measurements, most steps with any report at most.
const usualReports = 4

// Phase reports a part of the step's time. note is the answer of the other side, or "".
func (w *World) Phase(name string, d time.Duration, note string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		if w.report.Phases == nil {
			w.report.Phases = make([]result.Phase, 0, usualReports)
		}
		w.report.Phases = append(w.report.Phases, result.Phase{Name: name, Duration: d, Note: w.Redacted(note)})
	}
}

// Timed runs do and reports its duration as a phase, even if it fails. do returns the note of the phase.
func (w *World) Timed(name string, do func() (note string, err error)) error {
	start := time.Now()
	note, err := do()
	w.Phase(name, time.Since(start), note)
	return err
}

// Measure reports a value that the step read. The name is in snake case and ends in its base unit. help is one sentence.
// labels distinguish several values of one step. Their values must be few and known in advance.
func (w *World) Measure(name, help string, value float64, labels ...result.Label) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		for i, l := range labels {
			if shown := w.Redacted(l.Value); shown != l.Value {
				labels = slices.Clone(labels)
				labels[i].Value = shown
			}
		}
		if w.report.Measurements == nil {
			w.report.Measurements = make([]result.Measurement, 0, usualReports)
		}
		w.report.Measurements = append(w.report.Measurements, result.Measurement{Name: name, Help: help, Value: value, Labels: labels})
	}
}

// Note reports one line about the step that is shown even if it passed. A second note replaces the first.
func (w *World) Note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.report.Note = w.Redacted(text)
	}
}

// Idle reports time that the current step spent after what it was about had ended, only to be sure that nothing follows. It
// does not count in the step's duration, because nobody else waits for it.
func (w *World) Idle(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d > 0 && !w.closed {
		w.report.Idle += d
		w.idle += d
	}
}

// Idled returns the sum of what all steps have reported to Idle.
func (w *World) Idled() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idle
}

// After calls do once the current step has returned, outside its time: for reports whose work must not count in its
// duration. do must not be able to make the step fail. It stops when its ctx ends.
func (w *World) After(do func(ctx context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.after = append(w.after, do)
	}
}

// RunAfter calls the functions of After. The runner calls it before TakeReport.
func (w *World) RunAfter(ctx context.Context) {
	w.mu.Lock()
	after := w.after
	w.after = nil
	w.mu.Unlock()
	for _, do := range after {
		do(ctx)
	}
}

// Untimed calls do, whose time is no part of the step's duration: for work after the awaited thing did not come, such as a
// second look that confirms it or says why.
func (w *World) Untimed(do func()) {
	start := time.Now()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.untimed += time.Since(start)
	}()
	do()
}

// TakeUntimed returns the time of Untimed since the last call. The runner subtracts it from the duration of the step.
func (w *World) TakeUntimed() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	took := w.untimed
	w.untimed = 0
	return took
}

// EvidenceLimit is the maximum size of one piece of evidence, so that a thousand failing scenarios fit into memory.
const EvidenceLimit = 256 << 10

// PhaseCount returns the number of phases that the current step has reported.
func (w *World) PhaseCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.report.Phases)
}

// PhasesSince returns the phases from index count on.
func (w *World) PhasesSince(count int) []result.Phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.report.Phases[min(count, len(w.report.Phases)):])
}

// Attach keeps evidence of a failure. It removes secrets and truncates at 256 KiB with a note. A picture is kept as it is,
// or dropped if it is larger: its secrets must already be painted over.
func (w *World) Attach(name, mediaType string, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	picture := isPicture(mediaType)
	if picture && len(body) > EvidenceLimit {
		return
	}
	total := len(body)
	if !picture {
		body = w.known.use().Head(body, EvidenceLimit)
	}
	if total > EvidenceLimit {
		body = fmt.Appendf(bytes.Clone(body), "\n[truncated: %d bytes in total]", total)
	}
	w.report.Evidence = append(w.report.Evidence, result.Evidence{Name: w.Redacted(name), MediaType: mediaType, Body: bytes.Clone(body)})
}

// isPicture reports whether evidence of this media type has no text.
func isPicture(mediaType string) bool {
	return strings.HasPrefix(mediaType, "image/") && mediaType != "image/svg+xml"
}

// TakeReport returns the reports since the last call and clears them. The runner calls it between steps.
func (w *World) TakeReport() Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.report
	w.report = Report{}
	return r
}

// Cleanup calls do at the end of the scenario, whatever its result, the last registered first. do gets a separate context
// that outlives the scenario's deadline. Its error says what it could not clean up.
func (w *World) Cleanup(name string, do func(context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cleanups = append(w.cleanups, cleanup{name, do})
}

// Close ends the World: it drops further reports, runs every Cleanup, closes every state that is an io.Closer, and then every
// connection that is still open. The error says what could not be cleaned up.
func (w *World) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	cleanups, states := w.cleanups, w.states
	w.cleanups, w.states = nil, nil
	w.mu.Unlock()
	if !w.beside { // even if a clean-up panics
		defer w.memory.Close()
		defer w.connections.End()
	}

	var errs []error
	for _, c := range slices.Backward(cleanups) {
		if err := c.do(ctx); err != nil {
			errs = append(errs, errors.New(w.Redacted(uncleaned(ctx, c.name, err))))
		}
	}
	for _, s := range states {
		if closer, ok := s.value.(io.Closer); ok {
			_ = closer.Close() // the run has its result, and a connection that fails to close is closed
		}
	}
	return errors.Join(errs...)
}

// uncleaned says why a Cleanup failed, in the words in which a step would.
func uncleaned(ctx context.Context, name string, err error) string {
	if worded := (*Failure)(nil); errors.As(err, &worded) {
		return name + ": " + err.Error()
	}
	return FailNet(ctx, err, result.BlameTarget, name).Error()
}

// AtOnce is implemented by a state (see State) whose Close may be called without a deadline.
type AtOnce interface {
	io.Closer

	// ClosesAtOnce reports whether Close, called now, waits for nobody.
	ClosesAtOnce() bool
}

// CloseAtOnce closes the World if that waits for nobody: no Cleanup is registered and no state may wait, see AtOnce. It
// reports whether it did; if not, nothing has changed, and Close is called with a deadline.
func (w *World) CloseAtOnce() bool {
	w.mu.Lock()
	prompt := len(w.cleanups) == 0
	for _, s := range w.states {
		if _, closes := s.value.(io.Closer); closes {
			state, is := s.value.(AtOnce)
			prompt = prompt && is && state.ClosesAtOnce()
		}
	}
	w.mu.Unlock()
	if prompt {
		_ = w.Close(context.Background()) // only what a Cleanup left would be an error
	}
	return prompt
}

// Connections returns what the run has opened. Dial adds to it. A step adds a connection that it opens in another way, unless
// that is bound to its context (package lifeline). Close ends it. Addresses are as the scenario writes them, whatever ConnectTo
// says.
func (w *World) Connections() *lifeline.Group { return w.connections }

// State returns the World's value of type T, initially zero. A protocol keeps its connections and its current page in its
// own type, so that a new protocol changes no other file. If *T is an io.Closer, it is closed with the World.
func State[T any](w *World) *T {
	key := reflect.TypeFor[T]()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.states { // there are few
		if s.of == key {
			return s.value.(*T) //nolint:forcetypeassert // it was made below
		}
	}
	s := new(T)
	if w.closed {
		return s // of an abandoned step: its context has ended, so it cannot open anything
	}
	w.states = append(w.states, state{key, s})
	return s
}

// state is what State returns for a type.
type state struct {
	of    reflect.Type
	value any
}
