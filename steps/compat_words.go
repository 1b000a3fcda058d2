package steps

import (
	"context"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// Sentences of cuken and of Aruba that check nothing.

func init() {
	Register(
		Definition{Area: "cucumber-nagios", Sentence: "Assumption: {words}", Also: []string{"Explanation: {words}", "Instruction: {words}"},
			Does:    "Does nothing: the words are for the reader.",
			Example: `Given Assumption: the site was deployed today`, Func: nothingToDo},
		Definition{Area: "cucumber-nagios", Sentence: "I'm using a clean gemset {text}",
			Does:    "Does nothing: the programs of a scenario have their own small environment, without gems.",
			Example: `Given I'm using a clean gemset "site"`, Func: nothingToDo},
		Definition{Area: "cucumber-nagios", Sentence: "wait {text} seconds",
			Does:    "Waits that long. A wait longer than a run may take needs `@timeout`. Prefer a sentence with `within`: it continues as soon as its condition holds.",
			Example: `When wait "1.5" seconds`, Func: waitSeconds},
	)
}

func nothingToDo(context.Context, *World, Args) error { return nil }

func waitSeconds(ctx context.Context, _ *World, a Args) error {
	seconds, err := a.Number(0)
	if err != nil || seconds < 0 || seconds > day.Seconds() {
		return scenarioFault("%q is not a number of seconds to wait", a.Text(0))
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return FailNet(ctx, ctx.Err(), result.BlameScenario, "wait "+a.Text(0)+" seconds")
	}
}
