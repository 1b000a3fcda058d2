package agent

import (
	"context"
	"io"
	"sync"

	"github.com/cucumber/godog"
	"github.com/cucumber/godog/formatters"
	messages "github.com/cucumber/messages/go/v34"

	"github.com/stepwatch/stepwatch/agent/hidepath"
)

func init() { hidepath.Restore() } // godog is initialised by now

// This file and glue.go are all that knows godog v0.16.0. What the runner relies on, and a contract test holds:
//   - a handler that takes nothing but a context is called once for each step that matches, in order, whatever the
//     pattern caught, and never again after one that failed;
//   - with Concurrency 1 everything happens in the calling goroutine;
//   - hooks are called in the order of their registration, those after a step and after the scenario also when it failed;
//   - Run returns 0 exactly when the scenario and all its steps passed (Strict), and also when nothing ran at all, which
//     is why the runner counts the calls.
//
// Every execution is a Run of its own over a source that holds one pickle: Concurrency above 1 mixes up the closures of
// different scenarios, and tags or line numbers cannot select an outline row.

const nullFormat = "stepwatch"

var registerNullFormat = sync.OnceFunc(func() {
	godog.Format(nullFormat, "Reports nothing: the runner times its own calls.",
		func(string, io.Writer) formatters.Formatter { return nullFormatter{} })
})

// execute runs the plan's scenario through godog and calls step for every step in order. It returns godog's verdict. hooks, when
// there are any, are called around what a team's own code registers.
func execute(ctx context.Context, p *Plan, step func(context.Context) (context.Context, error), hooks *hooks) (passed bool) {
	registerNullFormat()
	return godog.TestSuite{
		Name: p.Scenario.Name,
		Options: &godog.Options{
			Format: nullFormat, Output: io.Discard, NoColors: true, Strict: true, Concurrency: 1, DefaultContext: ctx,
			FeatureContents: []godog.Feature{{Name: p.Scenario.Path, Contents: p.Scenario.Source}},
		},
		ScenarioInitializer: func(sc *godog.ScenarioContext) {
			if hooks != nil {
				register(sc, hooks)
			}
			for _, m := range p.matchers {
				sc.Step(m, step)
			}
		},
	}.Run() == 0
}

// register registers a team's own code between the first and the last of each kind of hook.
func register(sc *godog.ScenarioContext, h *hooks) {
	sc.StepContext().Before(func(ctx context.Context, _ *godog.Step) (context.Context, error) { return h.beforeHooks(ctx), nil })
	sc.StepContext().After(func(ctx context.Context, _ *godog.Step, _ godog.StepResultStatus, err error) (context.Context, error) {
		return h.stepEnded(ctx, err), nil
	})
	h.register(sc)
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

// nullFormatter is the formatter that godog insists on.
type nullFormatter struct{}

func (nullFormatter) TestRunStarted()                                                            {}
func (nullFormatter) Feature(*messages.GherkinDocument, string, []byte)                          {}
func (nullFormatter) Pickle(*messages.Pickle)                                                    {}
func (nullFormatter) Defined(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition) {}
func (nullFormatter) Failed(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition, error) {
}
func (nullFormatter) Passed(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition)    {}
func (nullFormatter) Skipped(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition)   {}
func (nullFormatter) Undefined(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition) {}
func (nullFormatter) Pending(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition)   {}
func (nullFormatter) Ambiguous(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition, error) {
}
func (nullFormatter) Summary() {}
