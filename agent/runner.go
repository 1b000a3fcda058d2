package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
)

// Runner executes plans. Its fields are set before the first Run and not changed afterwards; Run may be called from any
// number of goroutines, but not twice at once for one Plan.
type Runner struct {
	Target  *steps.Target
	Secrets steps.Secrets

	// Own are the definitions of a team's own, the same that the library has with which the plans were made; or nil.
	Own *Own

	// Name tells this agent from others that watch the same systems, so that none takes another's test mail for its own.
	Name string

	// Grace is how long a step may go on after its deadline before it is left behind; zero means one second.
	Grace time.Duration

	// CleanupTimeout is what putting things back may take after a run, its deadline spent or not; zero means ten seconds.
	CleanupTimeout time.Duration

	mu        sync.Mutex
	abandoned map[*Plan]int // plans with a step that has not returned yet
}

// maxAbandoned is how many steps may be left behind before the runner starts nothing any more: each holds memory and
// perhaps a connection, and a monitor that eats its machine is worse than one that says it cannot go on.
const maxAbandoned = 64

// Occasion says why a run takes place.
type Occasion struct {
	Due      time.Time     // when the schedule wanted the run; zero for one asked for by hand
	Attempt  int           // 1 for a scheduled run
	Observer Observer      // told of each step as it happens; may be nil
	Interval time.Duration // the schedule's interval; zero for a run asked for by hand
	Begin    bool          // of a plan that cannot run as a whole, run what stands before its first mistake
}

// Observer watches one run as it happens. Its methods are called between steps, outside every step's time.
type Observer interface {
	StepStarting(index int)
	StepEnded(index int, step result.StepResult)

	// InnerStarting and InnerEnded are told of the steps that a sentence made of others stands for. depth is 1 beneath a
	// step of the scenario, and one more with each such sentence on the way.
	InnerStarting(depth int, b *steps.Bound)
	InnerEnded(depth int, step result.StepResult)
}

// errDeadline is the cause of a run's context when its time is up.
var errDeadline = errors.New("the scenario's time is up")

// Run executes the plan once and always returns a result: within the plan's Timeout, Grace and CleanupTimeout (twice where own
// code has hooks) whatever the steps do. A step that panics or calls runtime.Goexit fails; one that ignores its deadline is left behind, named
// and counted by Abandoned. When ctx ends early with steps.ErrStopped as its cause the result's Reason is "canceled".
func (r *Runner) Run(ctx context.Context, p *Plan, o Occasion) *result.Result {
	results := make(chan *result.Result, 1)
	go r.Start(ctx, p, o, func(res *result.Result) { results <- res })
	return <-results
}

// Start is Run for a caller that gives it a goroutine: the steps run in it, which spares every run a hand-over between
// two. done gets the result, exactly once and in the time that Run promises; Start itself returns when the steps have,
// and not at all after runtime.Goexit in one.
//
// When the browser breaks under a scheduled run, the run is done once more with a new one: nothing was learned of the
// website, and most often nothing will be wrong.
func (r *Runner) Start(ctx context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	if !p.Scenario.Policy.Browser || o.Observer != nil {
		r.start(ctx, p, o, done)
		return
	}
	r.start(ctx, p, o, func(res *result.Result) {
		if res.Reason != result.ReasonBrowser || ctx.Err() != nil {
			done(res)
			return
		}
		go r.start(ctx, p, o, done) // the first one has yet to give its place back
	})
}

func (r *Runner) start(ctx context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	release, err := r.place(ctx, p)
	defer release()
	started := time.Now()
	res := &result.Result{Identity: p.Identity, Run: rand.Text(), Attempt: max(1, o.Attempt), Due: o.Due, Started: started,
		Budget: p.Budget, Retries: p.Retries, Interval: o.Interval}
	if o.Due.IsZero() {
		res.Due = started
	} else {
		res.Delay = max(0, started.Sub(o.Due))
	}
	work := p
	if len(p.Problems) > 0 {
		if work = p.beginning(); !o.Begin || len(work.bound) == 0 {
			done(unrunnable(res, p))
			return
		}
		whole := done
		done = func(res *result.Result) { whole(withMistakes(res, p)) }
	}
	rec := &recorder{plan: work, observer: o.Observer, current: -1, steps: make([]result.StepResult, 0, len(p.bound)),
		world: steps.NewWorld(r.Target, r.Secrets, res.Run, r.Name+"\x00"+p.Identity.File+"\x00"+p.Identity.String())}
	if err == nil {
		err = r.refuse(p)
	}
	if err != nil {
		_ = rec.refuse(0, err) // the error is godog's, which is not asked
		done(rec.judge(res, false))
		return
	}

	rec.hooks = newHooks(rec, r.Own, orDefault(r.CleanupTimeout, cleanupTimeout))
	runCtx, cancel := context.WithTimeoutCause(ctx, p.Timeout, errDeadline)
	passed := false
	guard(runCtx, orDefault(r.Grace, time.Second), rec.hooks.patience, func() { passed = rec.run(runCtx) }, func(returned bool) {
		if returned {
			rec.judge(res, passed || work != p) // of a beginning godog's verdict is that the rest is undefined
		} else {
			r.leaveBehind(p)
			rec.abandon(until(runCtx, p.Timeout))
			rec.judge(res, false)
		}
		cancel()
		r.cleanUp(ctx, rec.world, func(left string) {
			res.Cleanup = left
			done(res)
		})
	}, func() { r.takeBack(p) })
}

// place waits until the plan may run beside those that do. Scenarios in a browser take turns: two at once would measure
// each other. The wait is before the run's beginning, so it counts as its delay.
func (r *Runner) place(ctx context.Context, p *Plan) (release func(), err error) {
	if !p.Scenario.Policy.Browser || r.Target == nil {
		return func() {}, nil
	}
	chromium := steps.SettingsOf[*browser.Browser](r.Target)
	if chromium == nil {
		return func() {}, nil
	}
	release, err = chromium.Acquire(ctx)
	if err != nil {
		return func() {}, steps.FailNet(ctx, err, result.BlameMonitor, "wait for the browser")
	}
	return release, nil
}

// guard runs work in this goroutine and then calls next(true), also after runtime.Goexit in work. When work goes on for
// longer than grace after ctx ended, and than what patience then adds, next(false) is called at once, in a goroutine of its
// own, and returnedLate whenever work ends after that.
func guard(ctx context.Context, grace time.Duration, patience func() time.Duration, work func(), next func(returned bool), returnedLate func()) {
	var claimed atomic.Bool
	var timer atomic.Pointer[time.Timer]
	var giveUp func()
	giveUp = func() {
		if more := patience(); more > 0 {
			timer.Store(time.AfterFunc(more, giveUp))
		} else if claimed.CompareAndSwap(false, true) {
			next(false)
		}
	}
	disarm := context.AfterFunc(ctx, func() { timer.Store(time.AfterFunc(grace, giveUp)) })
	defer func() {
		if !disarm() {
			if t := timer.Load(); t != nil {
				t.Stop()
			}
		}
		if claimed.CompareAndSwap(false, true) {
			next(true)
		} else {
			returnedLate()
		}
	}()
	work()
}

// cleanupTimeout is what Runner.CleanupTimeout says when it is zero.
const cleanupTimeout = 10 * time.Second

// noPatience gives up at once.
func noPatience() time.Duration { return 0 }

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// refuse says why the plan must not be started now.
func (r *Runner) refuse(p *Plan) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.abandoned[p] > 0:
		return steps.Fail(result.ReasonAbandoned, result.BlameMonitor, "not started: a step of an earlier run ignored its deadline and has not returned yet")
	case len(r.abandoned) >= maxAbandoned:
		return steps.Fail(result.ReasonAbandoned, result.BlameMonitor, "not started: %d steps of other scenarios ignored their deadlines and have not returned; restart stepwatch", len(r.abandoned))
	}
	return nil
}

// leaveBehind and takeBack may come in either order when a step returns just as it is given up.
func (r *Runner) leaveBehind(p *Plan) { r.count(p, 1) }
func (r *Runner) takeBack(p *Plan)    { r.count(p, -1) }

func (r *Runner) count(p *Plan, change int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.abandoned == nil {
		r.abandoned = make(map[*Plan]int)
	}
	if r.abandoned[p] += change; r.abandoned[p] == 0 {
		delete(r.abandoned, p)
	}
}

// Abandoned is the number of steps that were left behind and have not returned yet.
func (r *Runner) Abandoned() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.abandoned)
}

// cleanUp closes the world with time of its own, so that a run that used up its deadline still removes its mail. It
// tells done what could not be put back.
func (r *Runner) cleanUp(ctx context.Context, world *steps.World, done func(left string)) {
	limit := orDefault(r.CleanupTimeout, cleanupTimeout)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	left := "the clean-up ended its goroutine (runtime.Goexit)"
	guard(ctx, orDefault(r.Grace, time.Second), noPatience, func() {
		defer func() {
			if v := recover(); v != nil {
				left = fmt.Sprintf("the clean-up panicked: %v", v)
			}
		}()
		err := world.Close(ctx)
		if left = ""; err != nil {
			left = err.Error()
		}
	}, func(returned bool) {
		cancel()
		if !returned {
			done(fmt.Sprintf("the clean-up did not end within %s", limit))
			return
		}
		done(left)
	}, func() {})
}

// unrunnable is the result of a plan with mistakes: each is reported at its step, and nothing is run.
func unrunnable(res *result.Result, p *Plan) *result.Result {
	res.Steps = skipped(p, 0)
	for i := len(p.Problems) - 1; i >= 0; i-- { // backwards, so that the first problem decides
		problem := p.Problems[i]
		status := result.Pending
		var undefined *steps.UndefinedError
		var ambiguous *steps.AmbiguousError
		switch {
		case errors.As(problem.Err, &undefined):
			status = result.Undefined
		case errors.As(problem.Err, &ambiguous):
			status = result.Ambiguous
		}
		if problem.Step >= 0 {
			s := &res.Steps[problem.Step]
			s.Status, s.Reason, s.Blame, s.Error = status, result.ReasonScenario, result.BlameScenario, problem.Err.Error()
		}
		res.Status, res.Error = status, problem.Err.Error()
	}
	res.Reason, res.Blame = result.ReasonScenario, result.BlameScenario
	return res
}

// beginning is the plan up to its first mistake; empty when that is not one of a step.
func (p *Plan) beginning() *Plan {
	first := len(p.bound)
	for _, problem := range p.Problems {
		first = min(first, max(0, problem.Step))
	}
	part := *p
	part.bound, part.Problems = p.bound[:first], nil
	return &part
}

// withMistakes completes the result of a plan's beginning: what comes after it did not run, and its mistakes are told. A step
// that failed before them decides.
func withMistakes(res *result.Result, p *Plan) *result.Result {
	whole := unrunnable(&result.Result{}, p)
	res.Steps = append(res.Steps, whole.Steps[len(res.Steps):]...)
	if res.Status == result.Passed {
		res.Status, res.Reason, res.Blame, res.Error = whole.Status, whole.Reason, whole.Blame, whole.Error
	}
	return res
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

// recorder takes down one run. The run's goroutine writes it; once it is closed, what an abandoned step still does is
// ignored.
type recorder struct {
	plan     *Plan
	world    *steps.World
	observer Observer
	hooks    *hooks // of a team's own code; nil when there is none

	mu       sync.Mutex
	closed   bool
	steps    []result.StepResult
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

func (rec *recorder) run(ctx context.Context) bool {
	if rec.plan.Scenario.Policy.Browser {
		rec.world.UseBrowser()
	}
	rec.prepare(ctx)
	if rec.hooks != nil {
		return rec.hooks.execute(ctx)
	}
	return execute(ctx, rec.plan, func(ctx context.Context) (context.Context, error) { return ctx, rec.step(ctx) }, nil)
}

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

// step is the handler of every step: godog calls it once for each, in order.
func (rec *recorder) step(ctx context.Context) (err error) {
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

// stepBeneath is step for one of those that a sentence stands for.
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

// finish takes down what became of a step of the scenario, once no hook can change it any more.
func (rec *recorder) finish(s result.StepResult) {
	if rec.hooks != nil {
		rec.hooks.hold(s)
	} else {
		rec.take(s)
	}
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

// refuse takes down a step that cannot begin, with all beneath it. It returns err for godog.
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
		s.Status = ownStatus(err)
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
	if rec.hooks != nil && index < 0 && len(rec.steps) < len(rec.plan.bound) {
		rec.closed = true
		s := rec.hooks.hung(until)
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
		return // every step is taken down; judge asks godog's verdict
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

// judge completes the result: the first step that did not pass decides. A verdict of godog's that the steps do not bear
// out is a fault of stepwatch's, never a pass.
func (rec *recorder) judge(res *result.Result, passed bool) *result.Result {
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
		return res
	}
	res.Status = result.Passed
	if !passed || len(rec.steps) != len(rec.plan.bound) || len(rec.steps) == 0 {
		res.Status, res.Reason, res.Blame = result.Failed, result.ReasonInternal, result.BlameMonitor
		res.Error = fmt.Sprintf("%d of %d steps ran and none failed, but the run as a whole did (godog passed: %t)", len(rec.steps), len(rec.plan.bound), passed)
	}
	return res
}
