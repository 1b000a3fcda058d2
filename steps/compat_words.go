package steps

import (
	"context"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The sentences of cuken and of Aruba that look at nothing.

func init() {
	Register(
		Definition{Area: "cucumber-nagios", Sentence: "Assumption: {words}", Also: []string{"Explanation: {words}", "Instruction: {words}"},
			Does:    "Does nothing: the words are for the reader.",
			Example: `Given Assumption: the site was deployed today`, Func: nothingToDo},
		Definition{Area: "cucumber-nagios", Sentence: "I'm using a clean gemset {text}",
			Does:    "Does nothing: the programs of a scenario have a small environment of their own, without gems.",
			Example: `Given I'm using a clean gemset "site"`, Func: nothingToDo},
		Definition{Area: "cucumber-nagios", Sentence: "wait {text} seconds",
			Does:    "Waits that long; more than a run may take needs `@timeout`. A sentence with `within` is better: it goes on as soon as what it waits for is there.",
			Example: `When wait "1.5" seconds`, Func: waitSeconds},
	)
}

func nothingToDo(context.Context, *World, Args) error { return nil }

func waitSeconds(ctx context.Context, _ *World, a Args) error {
	seconds, err := a.Number(0)
	if err != nil || seconds < 0 || seconds > day.Seconds() {
		return scenarioFault("%q is no number of seconds to wait", a.Text(0))
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
