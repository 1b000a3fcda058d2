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

// recorder takes down one run. The run's goroutine writes it; once it is closed, what an abandoned step still does is
// ignored. It is the cucumber.Run of an Executor.
type recorder struct {
	plan     *Plan
	world    *steps.World
	observer Observer
	cleanup  time.Duration // what hooks after the scenario may take

	mu       sync.Mutex
	closed   bool
	steps    []result.StepResult
	holds    bool                     // results are held, because hooks may change them
	held     *result.StepResult       // of the step that was done last; nil when it is taken down
	parting  bool                     // the hooks after the scenario have begun, and have not had their time yet
	current  int                      // index of the step at work, or being prepared; -1 between steps
	began    time.Time                // of the step at work, the innermost; zero while it is only being prepared
	levels   []level                  // the step at work where its sentence is made of others, and those like it beneath, outermost first
	failed   func() result.StepResult // the step at work has failed and does what it left for afterwards; nil otherwise
	prepared time.Duration
	failures map[*steps.Bound]error // of preparations that panicked
}

// level is a sentence made of others while it is at work.
type level struct {
	bound *steps.Bound
	done  []result.StepResult // of what it stands for
}

// run prepares the steps and has them executed.
func (rec *recorder) run(ctx context.Context, e Executor) bool {
	if rec.plan.Scenario.Policy.Browser {
		rec.world.UseBrowser()
	}
	rec.prepare(ctx)
	return e.Execute(ctx, rec.plan, rec)
}

// World is the run's.
func (rec *recorder) World() *steps.World { return rec.world }

// Library is the one that the plan's steps are bound to.
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
	rec.world.TakeReport() // no step is at work that it could belong to
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

// begin sets the clock of the step at work.
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

// Step does the next step of the plan and keeps what became of it.
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
	defer func() { rec.finish(s) }() // also after runtime.Goexit
	return rec.perform(ctx, bound, &s, 0)
}

// perform does a step and puts into s what became of it, whatever happens.
func (rec *recorder) perform(ctx context.Context, b *steps.Bound, s *result.StepResult, depth int) (err error) {
	if len(b.Inner) > 0 {
		return rec.performInner(ctx, b, s, depth+1)
	}
	var took time.Duration
	described := *s
	if depth > 0 {
		rec.begin(time.Now())
	}
	start := time.Now()
	returned := false
	defer func() {
		if v := recover(); !returned { // no value and not returned: runtime.Goexit
			err = panicked(v)
			if took == 0 { // it was the step itself and not what it left for afterwards
				took = time.Since(start)
			}
		}
		rec.takeDown(s, start, took, err)
	}()
	err = b.Definition.Func(ctx, rec.world, b.Args)
	took = time.Since(start)
	if ctx.Err() != nil {
		if err == nil || !isFailure(err) || cutShort(ctx, err) {
			err = ended(ctx, rec.plan.Timeout)
		}
	}
	if err != nil {
		verdict := err
		rec.mu.Lock()
		rec.failed = func() result.StepResult { rec.takeDown(&described, start, took, verdict); return described }
		rec.mu.Unlock()
	}
	rec.world.RunAfter(ctx)
	returned = true
	return err
}

// performInner does what a sentence stands for, until a step fails.
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

// stepBeneath is Step for one of those that a sentence stands for.
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
	defer func() { rec.finishBeneath(depth, s) }() // also after runtime.Goexit
	return rec.perform(ctx, b, &s, depth)
}

// finishBeneath takes down what became of a step beneath another one.
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

// gather makes a step's result of those of the steps that its sentence stands for, of which the rest was skipped. One that
// failed before any of them began has its verdict already.
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
			s.Status, s.Reason, s.Blame = inner.Status, inner.Reason, inner.Blame
			s.Error = fmt.Sprintf("at `%s` (%s:%d): %s", inner.Text, inner.File, inner.Line, inner.Error)
		}
	}
	for _, rest := range b.Inner[min(len(done), len(b.Inner)):] {
		skipped := describeInner(rest, result.Skipped)
		gather(&skipped, rest, nil)
		s.Steps = append(s.Steps, skipped)
	}
}

// innerLabel is the label that tells which step beneath a sentence measured something.
const innerLabel = "inner_step"

// beneath puts a step's label before those that say which step beneath it measured something.
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

// unready says why a step cannot begin: its preparation failed, or the scenario's time is up.
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

// cutShort says whether a step's failure may come of its being stopped, and blames somebody for it: what it waited for might
// have come yet.
func cutShort(ctx context.Context, err error) bool {
	var failure *steps.Failure
	return errors.Is(context.Cause(ctx), steps.ErrStopped) && errors.As(err, &failure) && failure.Reason != result.ReasonCanceled
}

// until says what ended a run's context, whose time was timeout.
func until(ctx context.Context, timeout time.Duration) string {
	if errors.Is(context.Cause(ctx), errDeadline) {
		return fmt.Sprintf("the scenario's %s", timeout)
	}
	return "stepwatch was told to stop"
}

// ended says why ctx is over.
func ended(ctx context.Context, timeout time.Duration) error {
	if errors.Is(context.Cause(ctx), errDeadline) {
		return steps.Fail(result.ReasonTimeout, result.BlameTarget, "the scenario's %s were used up; set @timeout to give it more", timeout)
	}
	return steps.Fail(result.ReasonCanceled, result.BlameMonitor, "%w", context.Cause(ctx))
}

func panicked(value any) error {
	if value == nil {
		return steps.Fail(result.ReasonPanic, result.BlameMonitor, "the step's code ended its goroutine (runtime.Goexit)")
	}
	return &panicError{steps.Fail(result.ReasonPanic, result.BlameMonitor, "the step's code panicked: %v", value), debug.Stack()}
}

// panicError carries the stack to the evidence.
type panicError struct {
	error
	stack []byte
}

func (p *panicError) Unwrap() error { return p.error }

// finish takes down what became of a step of the scenario, or holds it while hooks can change it.
func (rec *recorder) finish(s result.StepResult) {
	rec.mu.Lock()
	holds := rec.holds
	if holds {
		rec.held, rec.current, rec.failed = &s, -1, nil
	}
	rec.mu.Unlock()
	if !holds {
		rec.take(s)
	}
}

// Hold has every result held from now on until Settle is called.
func (rec *recorder) Hold() {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.holds = true
}

// Held is the status of the step whose result is held.
func (rec *recorder) Held() (status result.Status, held bool) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.held == nil {
		return "", false
	}
	return rec.held.Status, true
}

// Left is the number of steps that are not taken down yet, one that is held included.
func (rec *recorder) Left() int {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return len(rec.plan.bound) - len(rec.steps)
}

// Prevent holds the next step as one that failure has kept from beginning.
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

// Amend adds the failure of a hook to the step that it followed: to what a step that did not pass says already, or as its verdict.
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

// fail is for a step that did not pass for what a hook said.
func (rec *recorder) fail(s *result.StepResult, act string, failure error) {
	s.Status = statusOf(failure)
	s.Reason, s.Blame, s.Error = rec.classify(failure)
	s.Error = act + s.Error
}

// Settle takes down the step that is held, with what its hooks have reported: nothing can change its result any more. It reports
// whether the step has passed, or none was held.
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

// Part says that the hooks after the scenario begin. They have time of their own, beyond the run's deadline.
func (rec *recorder) Part() time.Duration {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.parting = true
	return rec.cleanup
}

// patience is how much longer than for a step the runner waits: hooks after the scenario have time of their own, once.
func (rec *recorder) patience() time.Duration {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.parting {
		return 0
	}
	rec.parting = false
	return rec.cleanup
}

// take adds the result of the step that was done.
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

// refuse takes down a step that cannot begin, with all beneath it. It returns err for the executor.
func (rec *recorder) refuse(index int, err error) error {
	s := describe(rec.plan, index, result.Passed)
	rec.takeDown(&s, time.Time{}, 0, err)
	if index < len(rec.plan.bound) {
		gather(&s, rec.plan.bound[index], nil)
	}
	rec.finish(s)
	return err
}

// takeDown puts into s what became of a step, with what it reported. A zero start means that it never began.
func (rec *recorder) takeDown(s *result.StepResult, start time.Time, took time.Duration, err error) {
	s.Ran, s.Duration = !start.IsZero(), took
	if err != nil {
		s.Status = statusOf(err)
		s.Reason, s.Blame, s.Error = rec.classify(err)
		var p *panicError
		if errors.As(err, &p) {
			rec.world.Attach("stack of the panic", "text/plain; charset=utf-8", p.stack)
		}
	}
	report := rec.world.TakeReport()
	s.Phases, s.Measurements, s.Note = report.Phases, report.Measurements, report.Note
	if err != nil {
		s.Evidence = report.Evidence
	}
}

// statusOf is the status of a step that ended with err: failed, unless the error knows another.
func statusOf(err error) result.Status {
	var other interface{ Status() result.Status }
	if errors.As(err, &other) {
		return other.Status()
	}
	return result.Failed
}

func (rec *recorder) classify(err error) (result.Reason, result.Blame, string) {
	var failure *steps.Failure
	if errors.As(err, &failure) {
		return failure.Reason, failure.Blame, rec.world.Redacted(err.Error())
	}
	return result.ReasonInternal, result.BlameMonitor, rec.world.Redacted(err.Error())
}

// abandon closes the recorder while a step is still at work, and names that step. until is what that should have ended with.
func (rec *recorder) abandon(until string) {
	rec.mu.Lock()
	index, began, failed := rec.current, rec.began, rec.failed
	levels := slices.Clone(rec.levels) // what is done on them is only added to
	if rec.holds && index < 0 && len(rec.steps) < len(rec.plan.bound) {
		rec.closed = true
		s := rec.hung(until)
		index = len(rec.steps)
		rec.mu.Unlock()
		rec.finishLast(index, s)
		return
	}
	if rec.closed = true; index < 0 || index < len(rec.steps) {
		index = len(rec.steps) // between two steps: the next one is what never came
	}
	rec.mu.Unlock()
	if index >= len(rec.plan.bound) {
		return // every step is taken down; judge asks the executor's verdict
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
		s = failed() // the step has its verdict; only what it does afterwards takes too long
	} else {
		s.Reason, s.Blame = result.ReasonAbandoned, result.BlameMonitor
		s.Error = fmt.Sprintf("ignored its deadline and was left behind: still at work after %s; this is a defect of the step's code", until)
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

// hung names what is at work when the watchdog gives up: a hook after a step that has its verdict, or one before a step. It is
// called under the lock, when no step is at work.
func (rec *recorder) hung(until string) result.StepResult {
	if rec.held != nil {
		s := *rec.held
		if s.Status == result.Passed {
			s.Status, s.Reason, s.Blame = result.Failed, result.ReasonAbandoned, result.BlameMonitor
			s.Error = fmt.Sprintf("a hook after the step ignored its deadline and was left behind: still at work after %s; this is a defect of the hook's code", until)
		} else {
			s.Error += "; and a hook after it ignored its deadline and was left behind"
		}
		return s
	}
	s := describe(rec.plan, len(rec.steps), result.Failed)
	s.Reason, s.Blame = result.ReasonAbandoned, result.BlameMonitor
	s.Error = fmt.Sprintf("a hook before the step ignored its deadline and was left behind: still at work after %s; this is a defect of the hook's code", until)
	return s
}

// finishLast adds the last step of a run that is left behind.
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

// judge completes the result: the first step that did not pass decides. A verdict of the executor's that the steps do not bear
// out is a fault of stepwatch's, never a pass.
func (rec *recorder) judge(res *result.Result, passed bool) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.closed = true
	res.Steps = append(rec.steps[:len(rec.steps):len(rec.steps)], skipped(rec.plan, len(rec.steps))...)
	res.Prepare = rec.prepared
	for i := range res.Steps {
		s := &res.Steps[i]
		if s.Ran {
			res.Duration += s.Duration
		}
		if s.Status != result.Passed && s.Reason != "" && res.Status == "" {
			res.Status, res.Reason, res.Blame, res.Error = s.Status, s.Reason, s.Blame, s.Error
		}
	}
	if res.Status != "" {
		return
	}
	res.Status = result.Passed
	if !passed || len(rec.steps) != len(rec.plan.bound) || len(rec.steps) == 0 {
		res.Status, res.Reason, res.Blame = result.Failed, result.ReasonInternal, result.BlameMonitor
		res.Error = fmt.Sprintf("%d of %d steps ran and none failed, but the run as a whole did (godog passed: %t)", len(rec.steps), len(rec.plan.bound), passed)
	}
}

// skipped are the steps from index on, none of them run.
func skipped(p *Plan, index int) []result.StepResult {
	rest := make([]result.StepResult, 0, len(p.bound)-index)
	for i := index; i < len(p.bound); i++ {
		rest = append(rest, describe(p, i, result.Skipped))
	}
	return rest
}

func describe(p *Plan, index int, status result.Status) result.StepResult {
	s := &p.Scenario.Steps[index]
	return result.StepResult{Keyword: s.Keyword, Text: p.texts[index], Label: p.labels[index], Line: s.Line, Status: status}
}

// describeInner is describe for a step beneath another one.
func describeInner(b *steps.Bound, status result.Status) result.StepResult {
	return result.StepResult{Keyword: b.Step.Keyword, Text: b.Step.Text, Label: b.Step.Label, File: b.Step.Path, Line: b.Step.Line, Status: status}
}
