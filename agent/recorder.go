package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// recorder records one run. The goroutine of the run writes it. Once it is closed, it ignores an abandoned step. It is the
// cucumber.Run of an Executor.
type recorder struct {
	plan     *Plan
	world    *steps.World
	observer Observer
	cleanup  time.Duration // time for the hooks after the scenario
	grace    time.Duration // how long the runner waits after the deadline
	started  time.Time     // of the run

	mu       sync.Mutex
	closed   bool
	steps    []result.StepResult
	holds    bool                     // results are held because hooks may change them
	held     *result.StepResult       // of the last step; nil once it is recorded
	parting  bool                     // the hooks after the scenario have begun but have not had their extra time yet
	current  int                      // index of the current step or preparation; -1 between steps
	began    time.Time                // of the innermost current step; zero during preparation
	levels   []level                  // the current sentences made of others, outermost first
	failed   func() result.StepResult // set while a failed step runs its After functions; nil otherwise
	prepared time.Duration
	failures map[*steps.Bound]error // of preparations that panicked
}

// level is a sentence made of others while it runs.
type level struct {
	bound *steps.Bound
	done  []result.StepResult // of its steps
}

// run prepares the steps and executes them.
func (rec *recorder) run(ctx context.Context, e Executor) bool {
	rec.started = time.Now()
	if rec.plan.Scenario.Policy.Browser {
		rec.world.UseBrowser()
	}
	rec.world.Base = rec.plan.Scenario.Policy.Base
	rec.prepare(ctx)
	return e.Execute(ctx, rec.plan, rec)
}

// World returns the World of the run.
func (rec *recorder) World() *steps.World { return rec.world }

// Library returns the library that the plan's steps are bound to.
func (rec *recorder) Library() *steps.Library { return rec.plan.library }

func (rec *recorder) prepare(ctx context.Context) {
	start := time.Now()
	for i, b := range rec.plan.bound {
		rec.prepareStep(ctx, i, b)
	}
	rec.mark(-1, time.Time{})
	rec.mu.Lock()
	rec.prepared = time.Since(start)
	rec.mu.Unlock()
	rec.world.TakeReport() // it belongs to no step
}

func (rec *recorder) prepareStep(ctx context.Context, index int, b *steps.Bound) {
	for _, inner := range b.Inner {
		rec.prepareStep(ctx, index, inner)
	}
	if b.Definition.Prepare == nil {
		return
	}
	rec.mark(index, time.Time{})
	returned := false
	defer func() {
		if v := recover(); !returned {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			if rec.failures == nil {
				rec.failures = make(map[*steps.Bound]error)
			}
			rec.failures[b] = panicked(v)
		}
	}()
	b.Definition.Prepare(ctx, rec.world, b.Args)
	returned = true
}

// begin sets the start time of the current step.
func (rec *recorder) begin(at time.Time) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.began = at
}

func (rec *recorder) mark(index int, began time.Time) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.current, rec.began = index, began
}

// Step runs the next step of the plan and records its result.
func (rec *recorder) Step(ctx context.Context) (err error) {
	rec.mu.Lock()
	index, closed := len(rec.steps), rec.closed
	rec.mu.Unlock()
	if closed || index >= len(rec.plan.bound) {
		return fmt.Errorf("step %d is beyond the run", index)
	}
	bound := rec.plan.bound[index]
	if err := rec.unready(ctx, bound); err != nil {
		return rec.refuse(index, err)
	}
	if rec.observer != nil {
		rec.observer.StepStarting(index)
	}
	rec.mark(index, time.Now())
	s := describe(rec.plan, index, result.Passed)
	defer func() { rec.finish(s) }() // even after runtime.Goexit
	return rec.perform(ctx, bound, &s, 0)
}

// perform runs a step and stores its result in s, whatever happens.
func (rec *recorder) perform(ctx context.Context, b *steps.Bound, s *result.StepResult, depth int) (err error) {
	if len(b.Inner) > 0 {
		return rec.performInner(ctx, b, s, depth+1)
	}
	var took time.Duration
	if depth > 0 {
		rec.begin(time.Now())
	}
	rec.world.TakeUntimed()
	start := time.Now()
	returned := false
	defer func() {
		if v := recover(); !returned { // no value and not returned: runtime.Goexit
			err = panicked(v)
			if took == 0 { // the step itself, not its After functions
				took = time.Since(start)
			}
		}
		rec.takeDown(s, start, took, err)
	}()
	err = b.Definition.Func(ctx, rec.world, b.Args)
	took = time.Since(start) - rec.world.TakeUntimed()
	if ctx.Err() != nil {
		if err == nil || !isFailure(err) || cutShort(ctx, err) {
			err = ended(ctx, rec.plan.Timeout)
		}
	}
	if err != nil {
		described := *s
		conclude := func(verdict error) {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			rec.failed = func() result.StepResult { rec.takeDown(&described, start, took, verdict); return described }
		}
		conclude(err)
		err = rec.ownLack(ctx, err)
		conclude(err)
	}
	rec.world.RunAfter(ctx)
	returned = true
	return err
}

// performInner runs the steps of a sentence until one fails.
func (rec *recorder) performInner(ctx context.Context, b *steps.Bound, s *result.StepResult, depth int) (err error) {
	rec.mu.Lock()
	rec.levels = append(rec.levels, level{bound: b})
	rec.mu.Unlock()
	defer func() {
		rec.mu.Lock()
		top := len(rec.levels) - 1
		done := rec.levels[top].done
		rec.levels = rec.levels[:top]
		rec.mu.Unlock()
		gather(s, b, done)
	}()
	for _, inner := range b.Inner {
		if err := rec.stepBeneath(ctx, inner, depth); err != nil {
			return err
		}
	}
	return nil
}

// stepBeneath runs a nested step, like Step.
func (rec *recorder) stepBeneath(ctx context.Context, b *steps.Bound, depth int) error {
	s := describeInner(b, result.Passed)
	if err := rec.unready(ctx, b); err != nil {
		rec.takeDown(&s, time.Time{}, 0, err)
		gather(&s, b, nil)
		rec.finishBeneath(depth, s)
		return err
	}
	if rec.observer != nil {
		rec.observer.InnerStarting(depth, b)
	}
	defer func() { rec.finishBeneath(depth, s) }() // even after runtime.Goexit
	return rec.perform(ctx, b, &s, depth)
}

// finishBeneath records the result of a nested step.
func (rec *recorder) finishBeneath(depth int, s result.StepResult) {
	rec.mu.Lock()
	top := &rec.levels[len(rec.levels)-1]
	top.done = append(top.done, s)
	closed := rec.closed
	rec.failed = nil
	rec.mu.Unlock()
	if rec.observer != nil && !closed {
		rec.observer.InnerEnded(depth, s)
	}
}

// gather builds the result of a step from those of its nested steps; those not in done were skipped. A step that failed
// before any of them began already has its verdict.
func gather(s *result.StepResult, b *steps.Bound, done []result.StepResult) {
	s.Steps = done[:len(done):len(done)]
	for i := range done {
		inner := &done[i]
		s.Ran = s.Ran || inner.Ran
		s.Duration += inner.Duration
		s.Phases = append(s.Phases, inner.Phases...)
		s.Evidence = append(s.Evidence, inner.Evidence...)
		for _, m := range inner.Measurements {
			m.Labels = beneath(inner.Label, m.Labels)
			s.Measurements = append(s.Measurements, m)
		}
		if inner.Status != result.Passed && s.Status == result.Passed {
			s.Status, s.Reason, s.Blame, s.Lack = inner.Status, inner.Reason, inner.Blame, inner.Lack
			s.Error = fmt.Sprintf("at `%s` (%s:%d): %s", inner.Text, inner.File, inner.Line, inner.Error)
		}
	}
	for _, rest := range b.Inner[min(len(done), len(b.Inner)):] {
		skipped := describeInner(rest, result.Skipped)
		gather(&skipped, rest, nil)
		s.Steps = append(s.Steps, skipped)
	}
}

// innerLabel is the label with the nested step that measured a value.
const innerLabel = "inner_step"

// beneath prefixes the label of a nested step with the label of its outer step.
func beneath(step string, labels []result.Label) []result.Label {
	with := make([]result.Label, 0, len(labels)+1)
	for _, l := range labels {
		if l.Name == innerLabel {
			step += result.Beneath + l.Value
			continue
		}
		with = append(with, l)
	}
	return append(with, result.Label{Name: innerLabel, Value: step})
}

// unready returns why a step cannot begin: its preparation failed, or the scenario's time is up.
func (rec *recorder) unready(ctx context.Context, b *steps.Bound) error {
	rec.mu.Lock()
	err := rec.failures[b]
	rec.mu.Unlock()
	if err == nil && ctx.Err() != nil {
		err = ended(ctx, rec.plan.Timeout)
	}
	return err
}
func isFailure(err error) bool {
	var failure *steps.Failure
	return errors.As(err, &failure)
}

// cutShort reports whether a failure with a blame may only result from the stop: what the step waited for might still have
// come.
func cutShort(ctx context.Context, err error) bool {
	var failure *steps.Failure
	return errors.Is(context.Cause(ctx), steps.ErrStopped) && errors.As(err, &failure) && failure.Reason != result.ReasonCanceled
}

// until describes what ended the context of a run with this timeout.
func until(ctx context.Context, timeout time.Duration) string {
	if errors.Is(context.Cause(ctx), errDeadline) {
		return fmt.Sprintf("the scenario's %s", timeout)
	}
	return "stepwatch was told to stop"
}

// ended returns the failure for the end of ctx.
func ended(ctx context.Context, timeout time.Duration) error {
	if errors.Is(context.Cause(ctx), errDeadline) {
		return steps.Fail(result.ReasonTimeout, result.BlameTarget, "the scenario used up its %s: raise @timeout to give it more time", timeout)
	}
	return steps.Fail(result.ReasonCanceled, result.BlameMonitor, "%w", context.Cause(ctx))
}

func panicked(value any) error {
	if value == nil {
		return steps.Fail(result.ReasonPanic, result.BlameMonitor, "the step's code ended its goroutine (runtime.Goexit)")
	}
	return &panicError{steps.Fail(result.ReasonPanic, result.BlameMonitor, "the step's code panicked: %v", value), debug.Stack()}
}

// panicError has the stack for the evidence.
type panicError struct {
	error
	stack []byte
}

func (p *panicError) Unwrap() error { return p.error }

// finish records the result of a step of the scenario, or holds it while hooks can change it.
func (rec *recorder) finish(s result.StepResult) {
	rec.mu.Lock()
	holds := rec.holds
	if holds {
		held := s
		rec.held, rec.current, rec.failed = &held, -1, nil
	}
	rec.mu.Unlock()
	if !holds {
		rec.take(s)
	}
}

// Hold holds every result from now on until Settle is called.
func (rec *recorder) Hold() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.holds = true
}

// Held returns the status of the step whose result is held.
func (rec *recorder) Held() (status result.Status, held bool) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.held == nil {
		return "", false
	}
	return rec.held.Status, true
}

// Left returns the number of steps that are not recorded yet, including a held one.
func (rec *recorder) Left() int {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return len(rec.plan.bound) - len(rec.steps)
}

// Prevent holds the next step as one that could not begin because of failure.
func (rec *recorder) Prevent(failure error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.closed || len(rec.steps) >= len(rec.plan.bound) {
		return
	}
	s := describe(rec.plan, len(rec.steps), result.Passed)
	rec.fail(&s, "", failure)
	rec.held = &s
}

// Amend adds the failure of a hook to the step before it: to the error of a failed step, or as the verdict of a passed one.
func (rec *recorder) Amend(act, said string, failure error) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	s := rec.held
	if s == nil {
		if len(rec.steps) == 0 || rec.closed {
			return
		}
		s = &rec.steps[len(rec.steps)-1]
	}
	if s.Status != result.Passed {
		s.Error += "; and " + act + rec.world.Redacted(strings.Join(strings.Fields(said), " "))
		return
	}
	rec.fail(s, act, failure)
}

// fail marks a step as failed because of a hook.
func (rec *recorder) fail(s *result.StepResult, act string, failure error) {
	s.Status = statusOf(failure)
	s.Reason, s.Blame, s.Error, s.Lack = rec.classify(failure)
	s.Error = act + s.Error
}

// Settle records the held step with the reports of its hooks. Nothing can change its result afterwards. It reports whether
// the step passed or none was held.
func (rec *recorder) Settle() (passed bool) {
	rec.mu.Lock()
	if rec.held == nil {
		rec.mu.Unlock()
		return true
	}
	s := *rec.held
	rec.held = nil
	rec.mu.Unlock()
	report := rec.world.TakeReport()
	s.Phases, s.Measurements = append(s.Phases, report.Phases...), append(s.Measurements, report.Measurements...)
	if report.Note != "" {
		s.Note = report.Note
	}
	if s.Status != result.Passed {
		s.Evidence = append(s.Evidence, report.Evidence...)
	}
	rec.take(s)
	return s.Status == result.Passed
}

// Part marks the beginning of the hooks after the scenario. They have extra time beyond the run's deadline.
func (rec *recorder) Part() time.Duration {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.parting = true
	return rec.cleanup
}

// patience returns how much longer the runner waits: hooks after the scenario have extra time, once.
func (rec *recorder) patience() time.Duration {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.parting {
		return 0
	}
	rec.parting = false
	return rec.cleanup
}

// take adds the result of a step.
func (rec *recorder) take(s result.StepResult) {
	rec.mu.Lock()
	index := len(rec.steps)
	if rec.closed {
		rec.mu.Unlock()
		return
	}
	rec.steps = append(rec.steps, s)
	rec.current, rec.failed = -1, nil
	rec.mu.Unlock()
	if rec.observer != nil {
		rec.observer.StepEnded(index, s)
	}
}

// refuse records a step that cannot begin, with its nested steps. It returns err for the executor.
func (rec *recorder) refuse(index int, err error) error {
	s := describe(rec.plan, index, result.Passed)
	rec.takeDown(&s, time.Time{}, 0, err)
	if index < len(rec.plan.bound) {
		gather(&s, rec.plan.bound[index], nil)
	}
	rec.finish(s)
	return err
}

// takeDown stores the result and the reports of a step in s. A zero start means that it never began.
func (rec *recorder) takeDown(s *result.StepResult, start time.Time, took time.Duration, err error) {
	s.Ran = !start.IsZero()
	if err != nil {
		s.Status = statusOf(err)
		s.Reason, s.Blame, s.Error, s.Lack = rec.classify(err)
		var p *panicError
		if errors.As(err, &p) {
			rec.world.Attach("stack of the panic", "text/plain; charset=utf-8", p.stack)
		}
	}
	report := rec.world.TakeReport()
	s.Duration = max(0, took-report.Idle)
	s.Phases, s.Measurements, s.Note = report.Phases, report.Measurements, report.Note
	if err != nil {
		s.Evidence = report.Evidence
	}
}

// statusOf returns the status of a step that ended with err: failed, unless the error has another status.
func statusOf(err error) result.Status {
	var other interface{ Status() result.Status }
	if errors.As(err, &other) {
		return other.Status()
	}
	return result.Failed
}

// classify returns the verdict in an error. What this machine lacked decides, whatever the step made of it.
func (rec *recorder) classify(err error) (result.Reason, result.Blame, string, *result.Lack) {
	text := shortened(rec.world.Redacted(err.Error()))
	if own := lackOf(err); own != nil {
		if said := own.Said + ": " + own.Remedy; !strings.Contains(text, said) {
			text += ": " + said
		}
		return result.ReasonLack, result.BlameMonitor, text, own
	}
	rec.world.Connections().Refuse(err)
	var failure *steps.Failure
	if errors.As(err, &failure) {
		return failure.Reason, failure.Blame, text, nil
	}
	return result.ReasonInternal, result.BlameMonitor, text, nil
}

// errorMost is how much of an error's text is kept, in bytes: servers are quoted in it.
const errorMost = 4 << 10

// shortened leaves out the middle of a text that is too long: its end says what to do.
func shortened(text string) string {
	if len(text) <= errorMost {
		return text
	}
	const gap, end = " … ", errorMost / 4
	return strings.ToValidUTF8(text[:errorMost-end-len(gap)], "") + gap + strings.ToValidUTF8(text[len(text)-end:], "")
}

// abandon closes the recorder while a step still runs, and names that step. until is what should have ended the step.
func (rec *recorder) abandon(until string) {
	rec.mu.Lock()
	index, began, failed := rec.current, rec.began, rec.failed
	levels := slices.Clone(rec.levels) // their done lists only grow
	if rec.holds && index < 0 && len(rec.steps) < len(rec.plan.bound) {
		rec.closed = true
		s := rec.hung(until)
		index = len(rec.steps)
		rec.mu.Unlock()
		rec.finishLast(index, s)
		return
	}
	if rec.closed = true; index < 0 || index < len(rec.steps) {
		index = len(rec.steps) // between two steps: the next one never came
	}
	rec.mu.Unlock()
	if index >= len(rec.plan.bound) {
		return // every step is recorded; judge uses the executor's verdict
	}
	at := func(depth int, status result.Status) result.StepResult {
		if depth == 0 {
			return describe(rec.plan, index, status)
		}
		above := levels[depth-1]
		return describeInner(above.bound.Inner[min(len(above.done), len(above.bound.Inner)-1)], status)
	}
	s := at(len(levels), result.Failed)
	if failed != nil {
		s = failed() // the step has its verdict; only its After functions take too long
	} else {
		s.Reason, s.Blame = result.ReasonAbandoned, result.BlameMonitor
		s.Error = fmt.Sprintf("ignored its deadline and was abandoned: still running after %s; this is a bug in the code of the step", until)
		if s.Ran = !began.IsZero(); s.Ran {
			s.Duration = time.Since(began)
		}
	}
	for depth := len(levels) - 1; depth >= 0; depth-- {
		if rec.observer != nil {
			rec.observer.InnerEnded(depth+1, s)
		}
		done := append(slices.Clip(levels[depth].done), s)
		s = at(depth, result.Passed)
		gather(&s, levels[depth].bound, done)
	}
	rec.finishLast(index, s)
}

// hung returns the result of the step whose hook hangs: a hook after a step with a verdict, or one before a step. It is
// called under the lock, while no step runs.
func (rec *recorder) hung(until string) result.StepResult {
	if rec.held != nil {
		s := *rec.held
		if s.Status == result.Passed {
			s.Status, s.Reason, s.Blame = result.Failed, result.ReasonAbandoned, result.BlameMonitor
			s.Error = fmt.Sprintf("a hook after the step ignored its deadline and was abandoned: still running after %s; this is a bug in the code of the hook", until)
		} else {
			s.Error += "; and a hook after it ignored its deadline and was abandoned"
		}
		return s
	}
	s := describe(rec.plan, len(rec.steps), result.Failed)
	s.Reason, s.Blame = result.ReasonAbandoned, result.BlameMonitor
	s.Error = fmt.Sprintf("a hook before the step ignored its deadline and was abandoned: still running after %s; this is a bug in the code of the hook", until)
	return s
}

// finishLast adds the last step of an abandoned run.
func (rec *recorder) finishLast(index int, s result.StepResult) {
	rec.mu.Lock()
	for i := len(rec.steps); i < index; i++ { // a preparation of a later step hung
		rec.steps = append(rec.steps, describe(rec.plan, i, result.Skipped))
	}
	rec.steps = append(rec.steps, s)
	rec.mu.Unlock()
	if rec.observer != nil {
		rec.observer.StepEnded(index, s)
	}
}

// judge completes the result: the first step that did not pass decides. An executor's verdict that contradicts the steps is
// a fault of stepwatch, never a pass.
func (rec *recorder) judge(res *result.Result, passed bool) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.closed = true
	res.Steps = append(rec.steps[:len(rec.steps):len(rec.steps)], skipped(rec.plan, len(rec.steps))...)
	res.Prepare = rec.prepared
	for i := range res.Steps {
		s := &res.Steps[i]
		rec.world.Again(s)
		if s.Ran {
			res.Duration += s.Duration
		}
		if s.Status != result.Passed && s.Reason != "" && res.Status == "" {
			res.Status, res.Reason, res.Blame, res.Error, res.Lack = s.Status, s.Reason, s.Blame, s.Error, s.Lack
		}
	}
	if res.Status != "" {
		return
	}
	res.Status = result.Passed
	if !passed || len(rec.steps) != len(rec.plan.bound) || len(rec.steps) == 0 {
		res.Status, res.Reason, res.Blame = result.Failed, result.ReasonInternal, result.BlameMonitor
		res.Error = fmt.Sprintf("%d of %d steps ran and none failed, but the run as a whole did (the executor said passed: %t)", len(rec.steps), len(rec.plan.bound), passed)
	}
}

// skipped returns the results of the steps from index on, which did not run.
func skipped(p *Plan, index int) []result.StepResult {
	rest := make([]result.StepResult, 0, len(p.bound)-index)
	for i := index; i < len(p.bound); i++ {
		rest = append(rest, describe(p, i, result.Skipped))
	}
	return rest
}

func describe(p *Plan, index int, status result.Status) result.StepResult {
	s, shown := &p.Scenario.Steps[index], p.display(index)
	return result.StepResult{Keyword: s.Keyword, Text: shown.text, Label: shown.label, Line: s.Line, Status: status}
}

// describeInner is describe for a nested step.
func describeInner(b *steps.Bound, status result.Status) result.StepResult {
	return result.StepResult{Keyword: b.Step.Keyword, Text: b.Step.Text, Label: b.Step.Label, File: b.Step.Path, Line: b.Step.Line, Status: status}
}
