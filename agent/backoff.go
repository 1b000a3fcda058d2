package agent

import (
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// A target that does not answer is asked less often: each run that waits for it costs a connection here and there, and tells
// nothing new. A scenario whose runs get no answer in time keeps its schedule for the first timeouts, so that its failure is
// hard as soon as @retries or @alert wants it. From then on the time between its runs doubles with each timeout, up to backoffMost.
// The first answer restores the schedule, and that of the other scenarios that wait for the same target.

// backoffMost is the longest time between runs because of timeouts. A scenario with a longer interval keeps it.
const backoffMost = time.Minute

// backoffAfter is how many timeouts in a row change nothing, at least.
const backoffAfter = 2

// backoff returns the time between the runs of a plan after a number of timeouts in a row: a multiple of its interval, or
// zero while its schedule holds. patience is how many of them make its failure hard.
func backoff(interval time.Duration, timeouts, patience int) time.Duration {
	doublings := timeouts - max(backoffAfter, patience)
	if doublings <= 0 || interval <= 0 {
		return 0
	}
	most := int64(backoffMost / interval)
	if doublings < 62 {
		most = min(most, 1<<doublings)
	}
	if most < 2 {
		return 0
	}
	return time.Duration(most) * interval
}

// standing is how the last run of a scenario ended.
type standing int

const (
	standingNew   standing = iota // it has not run yet
	standingSound                 // it got its answers in time
	standingHung                  // it did not
)

// hung reports whether a run of a plan got no answer in time. A run that used up its time and did not pass did not, whatever
// its reason says: the resolver may be what hangs.
func hung(res *result.Result, p *Plan, took time.Duration) bool {
	return res.Reason == result.ReasonTimeout || res.Reason == result.ReasonAbandoned ||
		res.Status != result.Passed && p.Timeout > 0 && took >= p.Timeout-p.Timeout/10
}

// note completes the result of a run with what it means for the next ones. before is the number of timeouts in a row until
// then.
func note(res *result.Result, p *Plan, took time.Duration, before int) {
	if hung(res, p, took) {
		res.Timeouts = before + 1
		res.Backoff = backoff(p.Interval, res.Timeouts, p.patience())
	}
}

// remember takes over what a result says about the next runs of its entry. answered reports that a target that did not answer
// does so again.
func (e *entry) remember(res *result.Result, took time.Duration) (answered bool) {
	answered = e.pause > 0 && res.Timeouts == 0
	e.timeouts, e.pause = res.Timeouts, res.Backoff
	if e.timeouts > 0 {
		e.standing = standingHung
		return false
	}
	e.standing = standingSound
	e.usual = max(took, e.usual-e.usual/8) // it rises at once and falls slowly, so it is the longest of the last few runs
	return answered
}

// overdue reports whether the entry's run takes longer than its runs usually do, or did not get an answer the last time.
func (e *entry) overdue(now time.Time) bool {
	return e.standing == standingHung || now.Sub(e.began) > 2*e.usual+time.Second
}
