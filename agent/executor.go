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

// executor returns the executor of the runs.
func (r *Runner) executor() Executor { return suite{r.Own} }

// suite executes through godog, with a team's own steps and hooks, if any.
type suite struct{ own *cucumber.Own }

func (s suite) Execute(ctx context.Context, p *Plan, run cucumber.Run) bool {
	return s.own.Execute(ctx, p.script, run)
}
