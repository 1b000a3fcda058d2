package agent

import (
	"context"

	"github.com/stepwatch/stepwatch/agent/cucumber"
)

// Executor runs the steps of a run, one after another. It is called in a separate goroutine for each run, and never returns
// if a step hangs.
type Executor interface {
	// Execute calls run.Step for each step of the plan in order until one returns an error. It reports whether the scenario
	// passed in its view. The run keeps the results of the steps. A verdict that contradicts them is a fault of stepwatch.
	Execute(ctx context.Context, p *Plan, run cucumber.Run) (passed bool)
}

// executor returns the executor of a plan. Only here is decided which one that is: godog where a caller did not ask for the
// direct way, and wherever a team's own code takes part.
func (r *Runner) executor() Executor {
	if r.Direct && r.Own.Empty() {
		return direct{}
	}
	return suite{r.Own}
}

// suite executes through godog, with a team's own steps and hooks, if any.
type suite struct{ own *cucumber.Own }

// Execute implements Executor.
func (s suite) Execute(ctx context.Context, p *Plan, run cucumber.Run) bool {
	return s.own.Execute(ctx, p.script.get(), run)
}

// direct executes the steps in their order. For a plan whose steps are bound, godog would add a second parse, a database of
// what it parsed, and calls by reflection: half of the CPU time of a run of two steps. Its results are the same as those of
// suite (TestExecutorsAgree).
type direct struct{}

// Execute implements Executor.
func (direct) Execute(ctx context.Context, p *Plan, run cucumber.Run) bool {
	for range p.bound {
		if run.Step(ctx) != nil {
			return false
		}
	}
	return len(p.bound) > 0
}
