package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/cucumber"
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
	Own *cucumber.Own

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

// Run executes the plan once and always returns a result: within the plan's Timeout, Grace and CleanupTimeout (twice where own
// code has hooks) whatever the steps do. A step that panics or calls runtime.Goexit fails; one that ignores its deadline is left behind, named
// and counted by Abandoned. When ctx ends early with steps.ErrStopped as its cause the result's Reason is "canceled".
//
// When the browser breaks under a scheduled run, the run is done once more with a new one: nothing was learned of the
// website, and most often nothing will be wrong.
func (r *Runner) Run(ctx context.Context, p *Plan, o Occasion) *result.Result {
	res := r.once(ctx, p, o)
	if res.Reason == result.ReasonBrowser && p.Scenario.Policy.Browser && o.Observer == nil && ctx.Err() == nil {
		res = r.once(ctx, p, o)
	}
	return res
}

// once executes the plan, or what stands before its first mistake.
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
		cleanup: orDefault(r.CleanupTimeout, cleanupTimeout)}
	if err != nil {
		_ = rec.refuse(0, err) // the error is the executor's, which is not asked
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

// execute has the recorder's plan run, which is p or its beginning, and completes the result. The run gives its place back when
// its steps have returned and, if they did in time, its clean-up has too.
func (r *Runner) execute(ctx context.Context, p *Plan, rec *recorder, res *result.Result, release func()) {
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
		rec.judge(res, passed || rec.plan != p) // of a beginning the executor's verdict is that the rest is undefined
	} else {
		r.count(p, 1)
		go func() {
			<-ended
			r.count(p, -1)
			release()
		}()
		rec.abandon(until(runCtx, p.Timeout))
		rec.judge(res, false)
	}
	cancel()
	left, cleaned := r.cleanUp(ctx, rec.world)
	res.Cleanup = left
	if !returned {
		return
	}
	select {
	case <-cleaned:
		release()
	default:
		go func() { <-cleaned; release() }()
	}
}

// begin runs work in a goroutine, and closes ended when that is over, by runtime.Goexit too. Steps may hang in spite of their
// deadline, so that no work of theirs is done in the goroutine that waits for it. A new goroutine, whose stack has to grow, makes
// 82 µs of CPU time a run 110 (BenchmarkCost/runner-alone); a thousand scenarios take the same as with goroutines that are kept.
func begin(work func()) (ended <-chan struct{}) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		work()
	}()
	return over
}

// await waits for the end of work for as long as ctx lasts, and for grace after that. It reports whether the end came.
func await(ctx context.Context, ended <-chan struct{}, grace time.Duration) bool {
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return within(grace, ended)
	}
}

// within waits for the end of work for a time.
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

// cleanupTimeout is what Runner.CleanupTimeout says when it is zero.
const cleanupTimeout = 10 * time.Second

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

// count notes that a step of the plan was left behind, or has returned.
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
// returns what could not be put back, and what tells when the clean-up is over.
func (r *Runner) cleanUp(ctx context.Context, world *steps.World) (left string, ended <-chan struct{}) {
	limit := orDefault(r.CleanupTimeout, cleanupTimeout)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	outcome := "the clean-up ended its goroutine (runtime.Goexit)"
	ended = begin(func() {
		defer func() {
			if v := recover(); v != nil {
				outcome = fmt.Sprintf("the clean-up panicked: %v", v)
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

// errDeadline is the cause of a run's context when its time is up.
var errDeadline = errors.New("the scenario's time is up")
