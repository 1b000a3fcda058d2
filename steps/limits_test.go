package steps_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// All Worlds of one run share its account, and the end of the run gives everything back.
func TestMemoryOfARun(t *testing.T) {
	all := limit.NewPool(1 << 30)
	w := steps.NewWorld(new(steps.Target).Set(steps.Limits{Memory: 1000, All: all}), nil, "run", "scenario")
	for _, part := range []*steps.World{w, w.Aside(), w.Apart(), w.Beside()} {
		if err := part.Memory().Take(200); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Beside().Close(context.Background()); err != nil || all.Used() != 800 {
		t.Error(err, all.Used())
	}
	err := w.Memory().Take(201)
	f := (*steps.Failure)(nil)
	if !errors.As(steps.FailFor(result.BlameWeb, err), &f) || f.Reason != result.ReasonTooLarge || f.Blame != result.BlameWeb {
		t.Error(f)
	}
	if !errors.As(steps.FailNet(context.Background(), err, result.BlameWeb, "read"), &f) || f.Reason != result.ReasonTooLarge || f.Blame != result.BlameWeb {
		t.Error(f)
	}
	if err := w.Close(context.Background()); err != nil || all.Used() != 0 {
		t.Error(err, all.Used())
	}
}

// What runs lack because of other runs is the monitor's own lack.
func TestMemoryOfAllRunsBlamesTheMonitor(t *testing.T) {
	err := error(&limit.PoolError{Used: 2, Limit: 1})
	for _, failed := range []error{steps.FailFor(result.BlameWeb, err), steps.FailNet(context.Background(), err, result.BlameWeb, "read")} {
		f := (*steps.Failure)(nil)
		if !errors.As(failed, &f) || f.Blame != result.BlameMonitor || f.Reason != result.ReasonLack {
			t.Error(failed)
		}
	}
}
