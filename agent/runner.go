package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
)

// Runner executes plans. Its fields are set before the first Run and not changed afterwards; Run may be called from any
// number of goroutines, but not twice at once for one Plan.
type Runner struct {
	Target  *steps.Target
	Secrets steps.Secrets

	// Own has a team's own definitions, the same as in the library of the plans; or nil.
	Own *cucumber.Own

	// Direct runs plans without a team's own code without godog, as an agent does that runs them all the time.
	Direct bool

	// Name distinguishes this agent from others that watch the same systems, so that it ignores their test mail.
	Name string

	// Grace is how long a step may run after its deadline before it is abandoned; zero means one second.
	Grace time.Duration

	// CleanupTimeout is the time for clean-up after a run, in addition to its deadline; zero means ten seconds.
	CleanupTimeout time.Duration

	// Log gets a line for each step that is abandoned, and for each that returns after all; nil means none.
	Log *slog.Logger

	mu        sync.Mutex
	abandoned map[*Plan]leftover // what has not returned yet, by its plan
}

// leftover is code of an ended run that has not returned: a step that ignored its deadline, a clean-up, or both.
type leftover struct {
	what  string // the first of them: "the step \"I wait\""
	since time.Time
	count int
}

// Occasion describes why a run takes place.
type Occasion struct {
	Due      time.Time     // due time of the schedule; zero for a manual run
	Attempt  int           // 1 for a scheduled run
	Observer Observer      // notified of each step as it happens; may be nil
	Interval time.Duration // the schedule's interval; zero for a manual run
	Begin    bool          // run a plan with mistakes up to the first of them
}

// Observer watches one run as it happens. Its methods are called between steps, outside every step's time.
type Observer interface {
	StepStarting(index int)
	StepEnded(index int, step result.StepResult)

	// InnerStarting and InnerEnded are called for nested steps. depth is 1 for those of a step of the scenario, and
	// increases with each level.
	InnerStarting(depth int, b *steps.Bound)
	InnerEnded(depth int, step result.StepResult)
}

// Run executes the plan once. Whatever the steps do, it returns a result within the plan's Timeout, Grace and CleanupTimeout
// (twice if own code has hooks). A step that panics or calls runtime.Goexit fails. A step that ignores its deadline is
// abandoned: its connections are closed, which ends every read, the result names it, and Abandoned counts it until it
// returns. As long as it does not, the plan does not start again, because each run could leave one more behind; no other plan
// is affected. If ctx ends early with the cause steps.ErrStopped, the result's Reason is "canceled".
//
// If the browser breaks in a scheduled run, Run repeats it once with a new browser: the first run says nothing about the
// website, which most often works.
func (r *Runner) Run(ctx context.Context, p *Plan, o Occasion) *result.Result {
	res := r.once(ctx, p, o)
	if res.Reason == result.ReasonBrowser && p.Scenario.Policy.Browser && o.Observer == nil && ctx.Err() == nil {
		res = r.once(ctx, p, o)
	}
	return res
}

// once executes the plan, or its part before the first mistake.
func (r *Runner) once(ctx context.Context, p *Plan, o Occasion) *result.Result {
	release, err := r.place(ctx, p)
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
			release()
			return unrunnable(res, p)
		}
	}
	if err == nil {
		err = r.refuse(p)
	}
	rec := &recorder{plan: work, observer: o.Observer, current: -1, steps: make([]result.StepResult, 0, len(p.bound)),
		world:   steps.NewWorld(r.Target, r.Secrets, res.Run, r.Name+"\x00"+p.Identity.File+"\x00"+p.Identity.String()),
		cleanup: orDefault(r.CleanupTimeout, cleanupTimeout), grace: orDefault(r.Grace, time.Second)}
	rec.world.Remember(p.seen)
	if err != nil {
		_ = rec.refuse(0, err) // the error is for the executor, which does not run
		rec.judge(res, false)
		release()
	} else {
		r.execute(ctx, p, rec, res, release)
	}
	if work != p {
		res = withMistakes(res, p)
	}
	return res
}

// execute runs the recorder's plan, which is p or its beginning, and completes the result. It keeps its place in the browser
// until its clean-up has ended or has used up its time.
func (r *Runner) execute(ctx context.Context, p *Plan, rec *recorder, res *result.Result, release func()) {
	defer release()
	runCtx, cancel := context.WithTimeoutCause(ctx, p.Timeout, errDeadline)
	defer cancel()
	passed := false
	ended := begin(func() { passed = rec.run(runCtx, r.executor()) })
	returned := await(runCtx, ended, orDefault(r.Grace, time.Second))
	for !returned {
		more := rec.patience()
		if more == 0 {
			break
		}
		returned = within(more, ended)
	}
	if returned {
		rec.judge(res, passed || rec.plan != p) // for a beginning, the executor reports the rest as undefined
	} else {
		rec.abandon(until(runCtx, p.Timeout))
		rec.judge(res, false)
		rec.world.Connections().Cut()
		r.leave(p, abandonedStep(res), ended)
	}
	cancel()
	left, cleaned := r.cleanUp(ctx, rec.world)
	res.Cleanup, res.Targets = left, rec.world.Connections().Reached()
	select {
	case <-cleaned:
	default:
		rec.world.Connections().Cut()
		r.leave(p, "the clean-up", cleaned)
	}
}

// abandonedStep returns which step of an abandoned run still runs, for messages.
func abandonedStep(res *result.Result) string {
	if step, found := res.Failing(); found {
		return fmt.Sprintf("the step %q", step.Text)
	}
	return "a hook"
}

// begin runs work in a goroutine, and closes ended when it is over, even by runtime.Goexit. Steps may hang despite their
// deadline, so they do not run in the goroutine that waits for them. The new goroutine, whose stack has to grow, raises the
// CPU time of a run without steps from 78 µs to 94 µs (BenchmarkCost/runner-alone); that of a run with two steps is the same
// within the noise (346 µs and 347 µs), and one goroutine for the steps and the clean-up together saves nothing.
func begin(work func()) (ended <-chan struct{}) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		work()
	}()
	return over
}

// await waits for the end of work until ctx ends, and for grace after that. It reports whether work ended.
func await(ctx context.Context, ended <-chan struct{}, grace time.Duration) bool {
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return within(grace, ended)
	}
}

// within waits up to d for the end of work, and reports whether it ended.
func within(d time.Duration, ended <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// place waits until the plan may run. Scenarios in a browser run one at a time: two at once would measure each other. The
// wait is before the start of the run, so it counts as its delay.
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

// cleanupTimeout is the default of Runner.CleanupTimeout.
const cleanupTimeout = 10 * time.Second

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// refuse returns why the plan must not start now, or nil.
func (r *Runner) refuse(p *Plan) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left, found := r.abandoned[p]; found {
		return steps.Fail(result.ReasonAbandoned, result.BlameMonitor,
			"not started: %s of an earlier run ignored its deadline %s ago and has not returned yet, which is a bug in its code: only this scenario waits for it; restart stepwatch to run it again",
			left.what, time.Since(left.since).Round(time.Second))
	}
	return nil
}

// leave records what still runs after the end of a run of the plan, until it returns.
func (r *Runner) leave(p *Plan, what string, ended <-chan struct{}) {
	since := time.Now()
	r.mu.Lock()
	if r.abandoned == nil {
		r.abandoned = make(map[*Plan]leftover)
	}
	left, more := r.abandoned[p]
	if !more {
		left = leftover{what: what, since: since}
	}
	left.count++
	r.abandoned[p] = left
	r.mu.Unlock()
	if r.Log != nil {
		r.Log.Warn("code ignores its deadline: its scenario does not run again until it returns", "scenario", p.Identity.String(), "code", what)
	}
	go func() {
		<-ended
		r.mu.Lock()
		left := r.abandoned[p]
		if left.count--; left.count > 0 {
			r.abandoned[p] = left
		} else {
			delete(r.abandoned, p)
		}
		r.mu.Unlock()
		if r.Log != nil {
			r.Log.Info("code that ignored its deadline has returned", "scenario", p.Identity.String(), "code", what, "after", time.Since(since).Round(time.Millisecond))
		}
	}()
}

// Addresses implements PlanRunner.
func (r *Runner) Addresses(p *Plan) []string {
	var all []string
	add := func(address string) {
		if len(all) < targetsMax && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	if base, err := address.Parse(p.Scenario.Policy.Base); err == nil && base.IsWeb() {
		add(base.HostPort())
	}
	for _, b := range p.bound {
		if b != nil && r.Target != nil {
			for _, address := range b.Addresses(r.Target) {
				add(address)
			}
		}
	}
	return all
}

// Abandoned returns the number of scenarios with code that ignored its deadline and has not returned yet.
func (r *Runner) Abandoned() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.abandoned)
}

// cleanUp closes the world with separate time, so that a run that used up its deadline still removes its mail. It returns
// what could not be cleaned up, and a channel that is closed at the end of the clean-up.
func (r *Runner) cleanUp(ctx context.Context, world *steps.World) (left string, ended <-chan struct{}) {
	limit := orDefault(r.CleanupTimeout, cleanupTimeout)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	outcome := "the clean-up ended its goroutine (runtime.Goexit)"
	ended = begin(func() {
		defer func() {
			if v := recover(); v != nil {
				outcome = world.Redacted(fmt.Sprintf("the clean-up panicked: %v", v))
			}
		}()
		err := world.Close(ctx)
		if outcome = ""; err != nil {
			outcome = err.Error()
		}
	})
	if !await(ctx, ended, orDefault(r.Grace, time.Second)) {
		return fmt.Sprintf("the clean-up did not end within %s", limit), ended
	}
	return outcome, ended
}

// errDeadline is the cause of the end of a run's context when its time is up.
var errDeadline = errors.New("the scenario's time is up")
