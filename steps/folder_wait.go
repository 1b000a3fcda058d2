package steps

import (
	"context"
	"errors"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// errNotThere ends a wait for something that did not come.
var errNotThere = errors.New("it did not come in time")

// awaitThere asks until there is what is waited for, for at most within, with pauses of at least gap that grow with the
// time waited. lag is by how much at most the answer is too late. A question that fails ends the wait with its error; time
// that runs out ends it with errNotThere.
func awaitThere(ctx context.Context, within, gap time.Duration, ask func(ctx context.Context) (there bool, err error)) (lag time.Duration, err error) {
	start := time.Now()
	deadline := start.Add(within)
	absent := start // when it was last asked for and was not there
	answer := time.Duration(0)
	asking, cancel := context.WithDeadline(ctx, deadline.Add(lookGrace))
	defer cancel()
	waiting.Add(1)
	defer waiting.Add(-1)
	for {
		asked := time.Now()
		there, err := ask(asking)
		if err != nil {
			// A server that was only just asked is not silent: what is waited for is what is missing.
			if asking.Err() == nil || time.Since(asked) >= lookGrace || errors.Is(context.Cause(ctx), ErrStopped) {
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
		if err := pause(ctx, min(max(pollGap(now.Sub(start), answer, waiting.Load()), gap), left)); err != nil {
			if errors.Is(context.Cause(ctx), ErrStopped) {
				return 0, FailNet(ctx, err, result.BlameAccess, "wait for mail")
			}
			return 0, errNotThere
		}
	}
}
