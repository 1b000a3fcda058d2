package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
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

	mu   sync.Mutex
	left *leftovers // what has not returned yet
}

// leftovers is the code of ended runs that has not returned, by the scenario's plan and those that followed it after a reload.
type leftovers struct {
	mu    sync.Mutex
	known map[*steps.Seen]leftover
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
	ended := make(chan *result.Result, 1)
	r.Start(ctx, p, o, func(res *result.Result) { ended <- res })
	return <-ended
}

// Start is Run for a caller that does not wait: it returns at once, and done is called with the result from another goroutine.
func (r *Runner) Start(ctx context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	go func() {
		growStack()
		if !p.Scenario.Policy.Browser || o.Observer != nil {
			r.once(ctx, p, o, done)
			return
		}
		r.once(ctx, p, o, func(res *result.Result) {
			if res.Reason == result.ReasonBrowser && ctx.Err() == nil {
				r.once(ctx, p, o, done)
				return
			}
			done(res)
		})
	}()
}

// stackOfRun is how much of its stack a run over HTTP uses, in bytes.
const stackOfRun = 12 << 10

// growStack makes the stack of a new goroutine large enough for a run, in one step while there is nothing on it to copy.
// Growing it three times in the depth of the first connection takes 11 µs of CPU, this 1 µs (BenchmarkCost).
//
//go:noinline
func growStack() {
	var room [stackOfRun]byte
	room[0] = 1
	runtime.KeepAlive(&room)
}

// once executes the plan, or its part before the first mistake, and passes the result to done.
func (r *Runner) once(ctx context.Context, p *Plan, o Occasion, done func(*result.Result)) {
	release, err := r.place(ctx, p)
	started := time.Now()
	res := &result.Result{Identity: p.Identity, Run: rand.Text(), Attempt: max(1, o.Attempt), Due: o.Due, Started: started,
		Budget: p.Budget, Retries: p.Retries, Interval: o.Interval, Timeout: p.Timeout}
	if o.Due.IsZero() {
		res.Due = started
	} else {
		res.Delay = max(0, started.Sub(o.Due))
	}
	work := p
	if len(p.Problems) > 0 {
		if work = p.beginning(); !o.Begin || len(work.bound) == 0 {
			release()
			done(unrunnable(res, p))
			return
		}
	}
	if err == nil {
		err = r.refuse(p)
	}
	a := &attempt{runner: r, ctx: ctx, plan: p, res: res, release: release, done: done}
	a.rec = recorder{plan: work, observer: o.Observer, current: -1, steps: make([]result.StepResult, 0, len(p.bound)),
		world:   steps.NewWorld(r.Target, r.Secrets, res.Run, r.Name+"\x00"+p.Identity.File+"\x00"+p.Identity.String()),
		cleanup: orDefault(r.CleanupTimeout, cleanupTimeout), grace: orDefault(r.Grace, time.Second)}
	a.rec.world.Remember(p.seen)
	if err != nil {
		_ = a.rec.refuse(0, err) // the error is for the executor, which does not run
		a.rec.judge(res, false)
		a.deliver()
		return
	}
	a.perform() //nolint:contextcheck // what is closed at once needs no deadline
}

// attempt is one run of a plan in progress. Its steps and its clean-up run in one goroutine. Nobody waits for that: when the
// run's context has ended and its grace is over, another goroutine declares the steps abandoned and goes on from there.
type attempt struct {
	runner  *Runner
	ctx     context.Context    //nolint:containedctx // of the caller
	timed   context.Context    //nolint:containedctx // of the steps, which ends with the plan's Timeout
	cancel  context.CancelFunc // of timed
	plan    *Plan              // rec has it, or its beginning
	rec     recorder
	res     *result.Result
	release func() // gives back the place in the browser
	done    func(*result.Result)

	mu     sync.Mutex
	ended  bool          // the steps have ended, or are abandoned
	awaits chan struct{} // closed when the steps end; nil as long as nobody waits for that
}

// perform runs the recorder's plan, which is a.plan or its beginning, and completes the result. It keeps its place in the
// browser until its clean-up has ended or has used up its time.
func (a *attempt) perform() {
	a.timed, a.cancel = context.WithTimeoutCause(a.ctx, a.plan.Timeout, errDeadline)
	forget := context.AfterFunc(a.timed, a.contain)
	passed := false
	defer func() { // even after runtime.Goexit
		if !a.end() {
			return
		}
		forget()
		a.rec.judge(a.res, passed || a.rec.plan != a.plan) // for a beginning, the executor reports the rest as undefined
		a.cancel()
		if world := a.rec.world; world.CloseAtOnce() {
			a.reached()
			a.deliver()
			return
		}
		a.finish()
	}()
	passed = a.rec.run(a.timed, a.runner.executor())
}

// end notes that the steps have ended. It reports whether they were still in time.
func (a *attempt) end() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.awaits != nil {
		close(a.awaits)
	}
	inTime := !a.ended
	a.ended = true
	return inTime
}

// contain ends a run whose context has ended, if its steps do not end within the grace.
func (a *attempt) contain() {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return
	}
	awaits := make(chan struct{})
	a.awaits = awaits
	a.mu.Unlock()
	for wait := a.rec.grace; wait > 0; wait = a.rec.patience() {
		if within(wait, awaits) {
			return
		}
	}
	a.mu.Lock()
	late := a.ended
	a.ended = true
	a.mu.Unlock()
	if late { // they have just ended
		return
	}
	a.rec.abandon(until(a.timed, a.plan.Timeout))
	a.rec.judge(a.res, false)
	a.rec.world.Connections().Cut()
	a.runner.leave(a.plan, abandonedStep(a.res), awaits)
	a.cancel()
	a.finish()
}

// finish cleans up after the steps and delivers the result.
func (a *attempt) finish() {
	world := a.rec.world
	defer a.deliver()
	left, cleaned := a.runner.cleanUp(a.ctx, world)
	a.res.Cleanup = left
	a.reached()
	select {
	case <-cleaned:
	default:
		world.Connections().Cut()
		a.runner.leave(a.plan, "the clean-up", cleaned)
	}
}

// reached notes which hosts the run connected to, and whether they answered.
func (a *attempt) reached() {
	all := a.rec.world.Connections()
	a.res.Targets = all.Reached()
	a.res.Answered, a.res.Refused = all.Answered()
}

// deliver hands over the result.
func (a *attempt) deliver() {
	a.release()
	if a.rec.plan != a.plan {
		a.res = withMistakes(a.res, a.plan)
	}
	a.done(a.res)
}

// abandonedStep returns which step of an abandoned run still runs, for messages.
func abandonedStep(res *result.Result) string {
	if step, found := res.Failing(); found {
		return fmt.Sprintf("the step %q", step.Text)
	}
	return "a hook"
}

// begin runs work in a goroutine, and closes ended when it is over, even by runtime.Goexit.
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
		return placeless, nil
	}
	chromium := steps.SettingsOf[*browser.Browser](r.Target)
	if chromium == nil {
		return placeless, nil
	}
	release, err = chromium.Acquire(ctx)
	if err != nil {
		return placeless, steps.FailNet(ctx, err, result.BlameMonitor, "wait for the browser")
	}
	return release, nil
}

// placeless gives back no place.
func placeless() {}

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
	all := r.leftovers()
	all.mu.Lock()
	defer all.mu.Unlock()
	if left, found := all.known[p.seen]; found {
		return steps.Fail(result.ReasonAbandoned, result.BlameMonitor,
			"not started: %s of an earlier run ignored its deadline %s ago and has not returned yet, which is a bug in its code: only this scenario waits for it; restart stepwatch to run it again",
			left.what, time.Since(left.since).Round(time.Second))
	}
	return nil
}

// leave records what still runs after the end of a run of the plan, until it returns.
func (r *Runner) leave(p *Plan, what string, ended <-chan struct{}) {
	since, all := time.Now(), r.leftovers()
	all.mu.Lock()
	if all.known == nil {
		all.known = make(map[*steps.Seen]leftover)
	}
	left, more := all.known[p.seen]
	if !more {
		left = leftover{what: what, since: since}
	}
	left.count++
	all.known[p.seen] = left
	all.mu.Unlock()
	if r.Log != nil {
		r.Log.Warn("code ignores its deadline: its scenario does not run again until it returns", "scenario", p.Identity.String(), "code", what)
	}
	go func() {
		<-ended
		all.mu.Lock()
		left := all.known[p.seen]
		if left.count--; left.count > 0 {
			all.known[p.seen] = left
		} else {
			delete(all.known, p.seen)
		}
		all.mu.Unlock()
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
	all := r.leftovers()
	all.mu.Lock()
	defer all.mu.Unlock()
	return len(all.known)
}

// Follow makes the runner one of a reload: what runs of the runner before it have left is its own from now on. So no scenario
// starts while a step of it, loaded earlier, has not returned. It is called before the first run.
func (r *Runner) Follow(before *Runner) { r.left = before.leftovers() }

func (r *Runner) leftovers() *leftovers {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == nil {
		r.left = new(leftovers)
	}
	return r.left
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
