package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// hooks is what a run has besides where a team's own code takes part in it. A hook after a step, or after the scenario, may
// turn what passed into a failure, so that the recorder holds each step's result until the next step begins or the run is over.
// Only the run's goroutine uses it, but for what is under the recorder's lock.
type hooks struct {
	rec     *recorder
	own     *Own
	run     *ownRun
	ctx     context.Context // the run's, and later the last one that ends with it
	cleanup time.Duration   // what hooks after the scenario may take
	seen    string          // the error that godog had for the step when its own hooks began
	shown   int             // attachments of the step that are kept already
	over    bool            // a step did not pass: what godog says of later ones is of no interest
	cancel  context.CancelFunc

	// Under the recorder's lock:
	held    *result.StepResult // of the step that was done last; nil when it is taken down
	parting bool               // the hooks after the scenario have begun
}

// newHooks gives nil when there is no code of a team's own.
func newHooks(rec *recorder, own *Own, cleanup time.Duration) *hooks {
	if own == nil || len(own.glue) == 0 {
		return nil
	}
	run := steps.State[ownRun](rec.world)
	run.library = rec.plan.library
	return &hooks{rec: rec, own: own, run: run, cleanup: cleanup}
}

// execute is the run as a whole. What panics in it is a hook, or the code that registers hooks and steps.
func (h *hooks) execute(ctx context.Context) (passed bool) {
	ctx = steps.WithWorld(ctx, h.rec.world)
	h.ctx = ctx
	returned := false
	defer func() {
		if v := recover(); !returned {
			h.broken(v)
		}
		h.settle()
		if h.cancel != nil {
			h.cancel()
		}
	}()
	passed = execute(ctx, h.rec.plan, h.step, h)
	returned = true
	return passed
}

// step is the handler of every step.
func (h *hooks) step(ctx context.Context) (context.Context, error) {
	h.run.ctx = ctx
	err := h.rec.step(ctx)
	return h.run.ctx, err
}

// hold keeps a step's result until its hooks are done.
func (h *hooks) hold(s result.StepResult) {
	h.rec.mu.Lock()
	defer h.rec.mu.Unlock()
	h.held, h.rec.current, h.rec.failed = &s, -1, nil
}

// beforeHooks is called before the team's hooks before a step.
func (h *hooks) beforeHooks(ctx context.Context) context.Context {
	h.settle()
	return h.rejoin(ctx)
}

// stepStarting is called after the team's hooks before a step.
func (h *hooks) stepStarting(ctx context.Context) context.Context { return h.rejoin(ctx) }

// rejoin mends a context that own code has not derived from the one that it got: it would keep the run's end from the steps.
func (h *hooks) rejoin(ctx context.Context) context.Context {
	if ctx.Done() == nil {
		ctx = &rejoined{h.ctx, ctx}
	}
	h.ctx = ctx
	return ctx
}

// rejoined is a run's context with the values of another one besides.
type rejoined struct {
	context.Context
	values context.Context
}

func (r *rejoined) Value(key any) any {
	if v := r.values.Value(key); v != nil {
		return v
	}
	return r.Context.Value(key)
}

// stepEnded is called before the team's hooks after a step. err is of the step, or of what kept it from running. The hooks of
// the step that ends the scenario get a context that outlives the run's deadline: what they put back must be put back then, too.
func (h *hooks) stepEnded(ctx context.Context, err error) context.Context {
	rec := h.rec
	rec.mu.Lock()
	defer rec.mu.Unlock()
	index := len(rec.steps)
	h.seen, h.shown = errorText(err), 0
	ctx = h.rejoin(ctx)
	if h.over || index >= len(rec.plan.bound) {
		return ctx
	}
	if h.held == nil {
		s := describe(rec.plan, index, result.Passed)
		if stack, panicked := panickedBefore(err); panicked {
			rec.world.Attach("stack of the panic", "text/plain; charset=utf-8", stack)
			err = steps.Fail(result.ReasonPanic, result.BlameMonitor, "a hook before it panicked: %w", err)
		}
		if err == nil {
			err = steps.Fail(result.ReasonPanic, result.BlameMonitor, "a hook before it ended its goroutine (runtime.Goexit)")
		}
		h.fail(&s, "", err)
		h.held = &s
	}
	if h.parting || h.held.Status == result.Passed && index < len(rec.plan.bound)-1 {
		return ctx
	}
	h.parting = true
	ctx, h.cancel = context.WithTimeout(context.WithoutCancel(ctx), h.cleanup)
	return ctx
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// stepHooksEnded is called after the team's hooks after a step, those that are skipped included, of which nothing counts.
func (h *hooks) stepHooksEnded(ctx context.Context, err error) {
	if h.over {
		h.seen = errorText(err)
		return
	}
	h.hooksEnded(ctx, "a hook after the step", err)
}

// hooksEnded is called after the team's hooks after a step or after the scenario. godog puts their errors before the step's.
func (h *hooks) hooksEnded(ctx context.Context, which string, err error) {
	files := attachments(ctx)
	for _, f := range files[min(h.shown, len(files)):] {
		h.rec.world.Attach(f.FileName, f.MediaType, f.Body)
	}
	h.shown = len(files)
	text := errorText(err)
	if text == h.seen {
		return
	}
	before := h.seen
	h.seen = text
	if before != "" {
		text = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(text, before), ", step error: "), ", ")
		err = errors.New(text)
	}
	h.amend(ctx, which+" failed: ", err)
}

// amend adds the failure of a hook to the step that it followed.
func (h *hooks) amend(ctx context.Context, act string, err error) {
	h.rec.mu.Lock()
	defer h.rec.mu.Unlock()
	s := h.held
	if s == nil {
		if len(h.rec.steps) == 0 || h.rec.closed {
			return
		}
		s = &h.rec.steps[len(h.rec.steps)-1]
	}
	if s.Status != result.Passed {
		s.Error += "; and " + act + h.rec.world.Redacted(strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	h.fail(s, act, ownFailure(ctx, err))
}

// fail is for a step that did not pass for what a hook said.
func (h *hooks) fail(s *result.StepResult, act string, err error) {
	s.Status = ownStatus(err)
	s.Reason, s.Blame, s.Error = h.rec.classify(ownFailure(h.ctx, err))
	s.Error = act + s.Error
}

// broken is called when a hook, or the registration, has panicked with v or ended its goroutine.
func (h *hooks) broken(v any) {
	err := errors.New("ended its goroutine (runtime.Goexit)")
	if v != nil {
		err = fmt.Errorf("panicked: %v", v)
		h.rec.world.Attach("stack of the panic", "text/plain; charset=utf-8", debug.Stack())
	}
	h.rec.mu.Lock()
	next := h.held == nil && !h.over && len(h.rec.steps) < len(h.rec.plan.bound)
	if next {
		s := describe(h.rec.plan, len(h.rec.steps), result.Passed)
		h.held = &s
	}
	passed := h.held != nil && h.held.Status == result.Passed
	h.rec.mu.Unlock()
	switch {
	case next:
		h.amend(h.ctx, "", steps.Fail(result.ReasonPanic, result.BlameMonitor, "the code that registers own steps and hooks %w", err))
	case passed || v != nil:
		h.amend(h.ctx, "", steps.Fail(result.ReasonPanic, result.BlameMonitor, "a hook after it %w", err))
	}
}

// settle takes down the step that was done last: nothing can change its result any more.
func (h *hooks) settle() {
	rec := h.rec
	rec.mu.Lock()
	if h.held == nil {
		rec.mu.Unlock()
		return
	}
	s := *h.held
	h.held, h.over = nil, h.over || s.Status != result.Passed
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
}

// patience is how much longer than for a step the watchdog waits: hooks after the scenario have time of their own, once.
func (h *hooks) patience() time.Duration {
	if h == nil {
		return 0
	}
	h.rec.mu.Lock()
	defer h.rec.mu.Unlock()
	if !h.parting {
		return 0
	}
	h.parting = false
	return h.cleanup
}

// hung names what is at work when the watchdog gives up: a hook after a step that has its verdict, or one before a step. It is
// called under the recorder's lock, when no step is at work.
func (h *hooks) hung(until string) result.StepResult {
	if h.held != nil {
		s := *h.held
		if s.Status == result.Passed {
			s.Status, s.Reason, s.Blame = result.Failed, result.ReasonAbandoned, result.BlameMonitor
			s.Error = fmt.Sprintf("a hook after the step ignored its deadline and was left behind: still at work after %s; this is a defect of the hook's code", until)
		} else {
			s.Error += "; and a hook after it ignored its deadline and was left behind"
		}
		return s
	}
	s := describe(h.rec.plan, len(h.rec.steps), result.Failed)
	s.Reason, s.Blame = result.ReasonAbandoned, result.BlameMonitor
	s.Error = fmt.Sprintf("a hook before the step ignored its deadline and was left behind: still at work after %s; this is a defect of the hook's code", until)
	return s
}
