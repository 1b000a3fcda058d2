package mail

import (
	"context"
	"errors"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// errNotThere ends a wait for something that did not come in time.
var errNotThere = errors.New("it did not come in time")

// awaitThere calls ask until it reports true, for at most within. The pauses are at least gap and grow with the time
// waited. lag is the maximum delay of the answer. An error of ask ends the wait and is returned; at the deadline the
// error is errNotThere.
func awaitThere(ctx context.Context, within, gap time.Duration, ask func(ctx context.Context) (there bool, err error)) (lag time.Duration, err error) {
	start := time.Now()
	deadline := start.Add(within)
	absent := start // when the last unsuccessful question was asked
	answer := time.Duration(0)
	asking, cancel := context.WithDeadline(ctx, deadline.Add(lookGrace))
	defer cancel()
	waiting.Add(1)
	defer waiting.Add(-1)
	for {
		asked := time.Now()
		there, err := ask(asking)
		if err != nil {
			// A server that was asked only just before the deadline is not silent: the awaited thing is missing.
			if asking.Err() == nil || time.Since(asked) >= lookGrace || errors.Is(context.Cause(ctx), steps.ErrStopped) {
				return 0, err
			}
			return 0, errNotThere
		}
		now := time.Now()
		if there {
			return now.Sub(absent), nil
		}
		absent = asked
		answer = smooth(answer, now.Sub(asked))
		left := deadline.Sub(now)
		if left <= 0 {
			return 0, errNotThere
		}
		if err := steps.Pause(ctx, min(max(pollGap(now.Sub(start), answer, waiting.Load()), gap), left)); err != nil {
			if errors.Is(context.Cause(ctx), steps.ErrStopped) {
				return 0, steps.FailNet(ctx, err, result.BlameAccess, "wait for mail")
			}
			return 0, errNotThere
		}
	}
}
