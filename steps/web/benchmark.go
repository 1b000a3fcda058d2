package web

import (
	"context"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// The sentences of benchmark_steps in cucumber-nagios.

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I am benchmarking",
			Does:    "Starts the clock that `the elapsed time should be less than` reads.",
			Example: `Given I am benchmarking`, Func: startBenchmark},
		steps.Definition{Area: "web", Sentence: "the elapsed time should be less than {duration}",
			Does:     "Fails when this much time or more has passed since `I am benchmarking`. Reading the clock does not reset it.",
			Measures: "Measurement http_elapsed_seconds.",
			Example:  `Then the elapsed time should be less than 5 seconds`, Func: elapsedLessThan},
	)
}

// stopwatch is the clock of a scenario.
type stopwatch struct {
	started time.Time
	idled   time.Duration // before it started
}

func startBenchmark(_ context.Context, w *steps.World, _ steps.Args) error {
	*steps.State[stopwatch](w) = stopwatch{time.Now(), w.Idled()}
	return nil
}

func elapsedLessThan(_ context.Context, w *steps.World, a steps.Args) error {
	clock := steps.State[stopwatch](w)
	if clock.started.IsZero() {
		return steps.FailScenario("no clock is running: write `I am benchmarking` before this step")
	}
	elapsed := time.Since(clock.started) - (w.Idled() - clock.idled)
	w.Measure("http_elapsed_seconds", "Time since the step \"I am benchmarking\".", elapsed.Seconds())
	limit, err := a.Duration(0)
	if err != nil || elapsed < limit {
		return err
	}
	return steps.Fail(result.ReasonSlow, result.BlameWeb, "expect less than %s since `I am benchmarking`, got %s", a.Text(0), elapsed.Round(time.Millisecond))
}
