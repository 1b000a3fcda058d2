package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// Runner executes plans. Its fields are set before the first Run and not changed afterwards; Run may be called from any
// number of goroutines, but not twice at once for one Plan.
type Runner struct {
	Target  *steps.Target
	Secrets steps.Secrets

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
}

// Observer watches one run as it happens. Its methods are called between steps, outside every step's time.
type Observer interface {
	StepStarting(index int)
	StepEnded(index int, step result.StepResult)
}

// errDeadline is the cause of a run's context when its time is up.
var errDeadline = errors.New("the scenario's time is up")

// Run executes the plan once and always returns a result: within the plan's Timeout, Grace and CleanupTimeout whatever
// the steps do. A step that panics or calls runtime.Goexit fails; one that ignores its deadline is left behind, named
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
	if len(p.Problems) > 0 {
		done(unrunnable(res, p))
		return
	}
	rec := &recorder{plan: p, observer: o.Observer, current: -1, steps: make([]result.StepResult, 0, len(p.bound)),
		world: steps.NewWorld(r.Target, r.Secrets, res.Run, r.Name+"\x00"+p.Identity.File+"\x00"+p.Identity.String())}
	if err == nil {
		err = r.refuse(p)
	}
	if err != nil {
		_ = rec.finish(0, time.Time{}, 0, err) // the error is godog's, which is not asked
		done(rec.judge(res, false))
		return
	}

	runCtx, cancel := context.WithTimeoutCause(ctx, p.Timeout, errDeadline)
	passed := false
	guard(runCtx, orDefault(r.Grace, time.Second), func() { passed = rec.run(runCtx) }, func(returned bool) {
		if returned {
			rec.judge(res, passed)
		} else {
			r.leaveBehind(p)
			rec.abandon(p.Timeout)
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
	if !p.Scenario.Policy.Browser || r.Target == nil || r.Target.Browser == nil {
		return func() {}, nil
	}
	release, err = r.Target.Browser.Acquire(ctx)
	if err != nil {
		return func() {}, steps.FailNet(ctx, err, result.BlameMonitor, "wait for the browser")
	}
	return release, nil
}

// guard runs work in this goroutine and then calls next(true), also after runtime.Goexit in work. When work goes on for
// longer than grace after ctx ended, next(false) is called at once, in a goroutine of its own, and returnedLate whenever
// work ends after that.
func guard(ctx context.Context, grace time.Duration, work func(), next func(returned bool), returnedLate func()) {
	var claimed atomic.Bool
	var timer atomic.Pointer[time.Timer]
	disarm := context.AfterFunc(ctx, func() {
		timer.Store(time.AfterFunc(grace, func() {
			if claimed.CompareAndSwap(false, true) {
				next(false)
			}
		}))
	})
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
	limit := orDefault(r.CleanupTimeout, 10*time.Second)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	left := "the clean-up ended its goroutine (runtime.Goexit)"
	guard(ctx, orDefault(r.Grace, time.Second), func() {
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

// recorder takes down one run. The run's goroutine writes it; once it is closed, what an abandoned step still does is
// ignored.
type recorder struct {
	plan     *Plan
	world    *steps.World
	observer Observer

	mu       sync.Mutex
	closed   bool
	steps    []result.StepResult
	current  int                      // index of the step at work, or being prepared; -1 between steps
	began    time.Time                // of the step at work; zero while it is only being prepared
	failed   func() result.StepResult // the step at work has failed and does what it left for afterwards; nil otherwise
	prepared time.Duration
	failures map[int]error // of preparations that panicked
}

func (rec *recorder) run(ctx context.Context) bool {
	if rec.plan.Scenario.Policy.Browser {
		rec.world.UseBrowser()
	}
	rec.prepare(ctx)
	return execute(ctx, rec.plan, rec.step)
}

func (rec *recorder) prepare(ctx context.Context) {
	start := time.Now()
	for i, b := range rec.plan.bound {
		if b.Definition.Prepare == nil {
			continue
		}
		rec.mark(i, time.Time{})
		rec.prepareStep(ctx, i, b)
	}
	rec.mark(-1, time.Time{})
	rec.mu.Lock()
	rec.prepared = time.Since(start)
	rec.mu.Unlock()
	rec.world.TakeReport() // no step is at work that it could belong to
}

func (rec *recorder) prepareStep(ctx context.Context, index int, b *steps.Bound) {
	returned := false
	defer func() {
		if v := recover(); !returned {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			if rec.failures == nil {
				rec.failures = make(map[int]error)
			}
			rec.failures[index] = panicked(v)
		}
	}()
	b.Definition.Prepare(ctx, rec.world, b.Args)
	returned = true
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
	err = rec.failures[index]
	rec.mu.Unlock()
	if closed || index >= len(rec.plan.bound) {
		return fmt.Errorf("step %d is beyond the run", index)
	}
	if err == nil && ctx.Err() != nil {
		err = ended(ctx, rec.plan.Timeout)
	}
	if err != nil {
		return rec.finish(index, time.Time{}, 0, err)
	}
	if rec.observer != nil {
		rec.observer.StepStarting(index)
	}
	bound := rec.plan.bound[index]
	var took time.Duration
	start := time.Now()
	rec.mark(index, start)
	start = time.Now()
	returned := false
	defer func() {
		if v := recover(); !returned { // no value and not returned: runtime.Goexit
			err = panicked(v)
			if took == 0 { // it was the step itself and not what it left for afterwards
				took = time.Since(start)
			}
		}
		err = rec.finish(index, start, took, err)
	}()
	err = bound.Definition.Func(ctx, rec.world, bound.Args)
	took = time.Since(start)
	if ctx.Err() != nil {
		if err == nil || !isFailure(err) {
			err = ended(ctx, rec.plan.Timeout)
		}
	}
	if err != nil {
		verdict := err
		rec.mu.Lock()
		rec.failed = func() result.StepResult { return rec.outcome(index, start, took, verdict) }
		rec.mu.Unlock()
	}
	rec.world.RunAfter(ctx)
	returned = true
	return err
}

func isFailure(err error) bool {
	var failure *steps.Failure
	return errors.As(err, &failure)
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

// finish takes down what became of a step. A zero start means that it never began. It returns err for godog.
func (rec *recorder) finish(index int, start time.Time, took time.Duration, err error) error {
	s := rec.outcome(index, start, took, err)
	rec.mu.Lock()
	if rec.closed {
		rec.mu.Unlock()
		return err
	}
	rec.steps = append(rec.steps, s)
	rec.current, rec.failed = -1, nil
	rec.mu.Unlock()
	if rec.observer != nil {
		rec.observer.StepEnded(index, s)
	}
	return err
}

// outcome is what became of a step, with what it reported.
func (rec *recorder) outcome(index int, start time.Time, took time.Duration, err error) result.StepResult {
	s := describe(rec.plan, index, result.Passed)
	s.Ran, s.Duration = !start.IsZero(), took
	if err != nil {
		s.Status = result.Failed
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
	return s
}

func (rec *recorder) classify(err error) (result.Reason, result.Blame, string) {
	var failure *steps.Failure
	if errors.As(err, &failure) {
		return failure.Reason, failure.Blame, rec.world.Redacted(err.Error())
	}
	return result.ReasonInternal, result.BlameMonitor, rec.world.Redacted(err.Error())
}

// abandon closes the recorder while a step is still at work, and names that step.
func (rec *recorder) abandon(timeout time.Duration) {
	rec.mu.Lock()
	index, began, failed := rec.current, rec.began, rec.failed
	if rec.closed = true; index < 0 || index < len(rec.steps) {
		index = len(rec.steps) // between two steps: the next one is what never came
	}
	rec.mu.Unlock()
	if index >= len(rec.plan.bound) {
		return // every step is taken down; judge asks godog's verdict
	}
	if failed != nil {
		rec.takeDown(index, failed()) // the step has its verdict; only what it does afterwards takes too long
		return
	}
	s := describe(rec.plan, index, result.Failed)
	s.Reason, s.Blame = result.ReasonAbandoned, result.BlameMonitor
	s.Error = fmt.Sprintf("ignored its deadline and was left behind: still at work after the scenario's %s; this is a defect of the step's code", timeout)
	if s.Ran = !began.IsZero(); s.Ran {
		s.Duration = time.Since(began)
	}
	rec.takeDown(index, s)
}

// takeDown adds the last step of a run that is left behind.
func (rec *recorder) takeDown(index int, s result.StepResult) {
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
		if s.Status == result.Failed && res.Status == "" {
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
