package command

import (
	"context"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// Sentences of cuken and of Aruba that check nothing.

func init() {
	steps.Register(
		steps.Definition{Area: "cucumber-nagios", Sentence: "Assumption: {words}", Also: []string{"Explanation: {words}", "Instruction: {words}"},
			Does:    "Does nothing: the words are for the reader.",
			Example: `Given Assumption: the site was deployed today`, Func: nothingToDo},
		steps.Definition{Area: "cucumber-nagios", Sentence: "I'm using a clean gemset {text}",
			Does:    "Does nothing: the programs of a scenario have their own small environment, without gems.",
			Example: `Given I'm using a clean gemset "site"`, Func: nothingToDo},
		steps.Definition{Area: "cucumber-nagios", Sentence: "wait {text} seconds",
			Does:    "Waits that long. A wait longer than a run may take needs `@timeout`. Prefer a sentence with `within`: it continues as soon as its condition holds.",
			Example: `When wait "1.5" seconds`, Func: waitSeconds},
	)
}

func nothingToDo(context.Context, *steps.World, steps.Args) error { return nil }

func waitSeconds(ctx context.Context, _ *steps.World, a steps.Args) error {
	seconds, err := a.Number(0)
	if err != nil || seconds < 0 || seconds > steps.Day.Seconds() {
		return steps.FailScenario("%q is not a number of seconds to wait", a.Text(0))
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return steps.FailNet(ctx, ctx.Err(), result.BlameScenario, "wait "+a.Text(0)+" seconds")
	}
}
