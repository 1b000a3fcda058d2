package agent

import (
	"context"

	"github.com/stepwatch/stepwatch/agent/cucumber"
)

// Executor has the steps of a run done, one after the other. It is called in a goroutine of the run's own, and may stay there for
// good when a step hangs.
type Executor interface {
	// Execute calls run.Step for each step of the plan in order until one returns an error, and reports whether it takes the
	// scenario for passed. The run keeps what became of the steps; a verdict that they do not bear out is a fault of stepwatch's.
	Execute(ctx context.Context, p *Plan, run cucumber.Run) (passed bool)
}

// executor decides how runs are executed.
func (r *Runner) executor() Executor { return suite{r.Own} }

// suite executes through godog, with a team's own steps and hooks where there are any.
type suite struct{ own *cucumber.Own }

func (s suite) Execute(ctx context.Context, p *Plan, run cucumber.Run) bool {
	return s.own.Execute(ctx, p.script, run)
}
