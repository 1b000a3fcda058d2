package cucumber

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/cucumber/godog"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// hooks is the extra state of a run with a team's own hooks. A hook after a step or after the scenario may turn a pass into a
// failure, so the Run holds each result until the next step begins or the run ends. Only the goroutine of the run uses it.
type hooks struct {
	run    Run
	glue   *Own
	own    *ownRun
	ctx    context.Context // context of the run, later the last one derived from it
	seen   string          // godog's error for the step before its own hooks began
	shown  int             // number of attachments of the step that are already kept
	over   bool            // a step did not pass: later verdicts of godog do not count
	parted bool            // the hooks after the scenario have begun
	cancel context.CancelFunc
}

func newHooks(run Run, glue *Own) *hooks {
	run.Hold()
	own := steps.State[ownRun](run.World())
	own.library = run.Library()
	return &hooks{run: run, glue: glue, own: own}
}

// execute executes the run. A panic in it comes from a hook, or from the code that registers hooks and steps.
func (h *hooks) execute(ctx context.Context, script *Script) (passed bool) {
	ctx = steps.WithWorld(ctx, h.run.World())
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
	passed = execute(ctx, script, h.step, h)
	returned = true
	return passed
}

// register registers a team's own code between the first and the last hook of each kind.
func (h *hooks) register(sc *godog.ScenarioContext) {
	sc.StepContext().Before(func(ctx context.Context, _ *godog.Step) (context.Context, error) { return h.beforeHooks(ctx), nil })
	sc.StepContext().After(func(ctx context.Context, _ *godog.Step, _ godog.StepResultStatus, err error) (context.Context, error) {
		return h.stepEnded(ctx, err), nil
	})
	all, err := h.glue.register(sc)
	if err != nil {
		panic(err) // unreachable: Load has read the same
	}
	h.own.registered = all
	sc.StepContext().Before(func(ctx context.Context, _ *godog.Step) (context.Context, error) { return h.stepStarting(ctx), nil })
	sc.StepContext().After(func(ctx context.Context, _ *godog.Step, _ godog.StepResultStatus, err error) (context.Context, error) {
		h.stepHooksEnded(ctx, err)
		return ctx, nil
	})
	sc.After(func(ctx context.Context, _ *godog.Scenario, err error) (context.Context, error) {
		h.hooksEnded(ctx, "a hook after the scenario", err)
		return ctx, nil
	})
}

// step is the handler of every step.
func (h *hooks) step(ctx context.Context) (context.Context, error) {
	h.own.ctx = ctx
	err := h.run.Step(ctx)
	return h.own.ctx, err
}

// settle records the last step.
func (h *hooks) settle() {
	if !h.run.Settle() {
		h.over = true
	}
}

// beforeHooks is called before the team's hooks before a step.
func (h *hooks) beforeHooks(ctx context.Context) context.Context {
	h.settle()
	return h.rejoin(ctx)
}

// stepStarting is called after the team's hooks before a step.
func (h *hooks) stepStarting(ctx context.Context) context.Context { return h.rejoin(ctx) }

// rejoin repairs a context that own code did not derive from its argument. Otherwise the steps would not see the run's end.
func (h *hooks) rejoin(ctx context.Context) context.Context {
	if ctx.Done() == nil {
		ctx = &rejoined{h.ctx, ctx}
	}
	h.ctx = ctx
	return ctx
}

// rejoined is the context of a run with the additional values of another context.
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

// stepEnded is called before the team's hooks after a step. err is the error of the step, or of what prevented it. The hooks
// after the last step get a context that outlives the run's deadline, so that they can still clean up.
func (h *hooks) stepEnded(ctx context.Context, err error) context.Context {
	h.seen, h.shown = errorText(err), 0
	ctx = h.rejoin(ctx)
	left := h.run.Left()
	if h.over || left == 0 {
		return ctx
	}
	status, held := h.run.Held()
	if !held {
		if stack, panicked := panickedBefore(err); panicked {
			h.run.World().Attach("stack of the panic", "text/plain; charset=utf-8", stack)
			err = steps.Fail(result.ReasonPanic, result.BlameMonitor, "a hook before it panicked: %w", err)
		}
		if err == nil {
			err = steps.Fail(result.ReasonPanic, result.BlameMonitor, "a hook before it ended its goroutine (runtime.Goexit)")
		}
		h.run.Prevent(ownFailure(h.ctx, err))
		status = ownStatus(err)
	}
	if h.parted || status == result.Passed && left > 1 {
		return ctx
	}
	h.parted = true
	ctx, h.cancel = context.WithTimeout(context.WithoutCancel(ctx), h.run.Part())
	return ctx
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// stepHooksEnded is called after the team's hooks after a step. It ignores the hooks of skipped steps.
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
		h.run.World().Attach(f.FileName, f.MediaType, f.Body)
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

// amend adds the failure of a hook to the step before it.
func (h *hooks) amend(ctx context.Context, act string, err error) {
	h.run.Amend(act, err.Error(), ownFailure(ctx, err))
}

// broken is called if a hook or the registration has panicked with v or ended its goroutine.
func (h *hooks) broken(v any) {
	err := errors.New("ended its goroutine (runtime.Goexit)")
	if v != nil {
		err = fmt.Errorf("panicked: %v", v)
		h.run.World().Attach("stack of the panic", "text/plain; charset=utf-8", debug.Stack())
	}
	status, held := h.run.Held()
	switch {
	case !held && !h.over && h.run.Left() > 0:
		h.run.Prevent(steps.Fail(result.ReasonPanic, result.BlameMonitor, "the code that registers own steps and hooks %w", err))
	case status == result.Passed || v != nil:
		h.amend(h.ctx, "", steps.Fail(result.ReasonPanic, result.BlameMonitor, "a hook after it %w", err))
	}
}
