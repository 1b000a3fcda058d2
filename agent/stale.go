package agent

import (
	"fmt"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// A scenario whose due run could not start or end within its interval and its deadline has no state any more: what was true
// then may be wrong now. The agent says so at once with a result without a run (result.Result.Stale), to the rules and to
// every sink. It repeats it once an interval until the attempts of @retries, or the runs of @alert, are used up, so that the alert
// becomes hard as it would for failing runs.

// standstill is how late the dispatcher must wake up for the program to have stood still: it was stopped (SIGSTOP), or its machine
// was suspended or had no time for it. What had to happen meanwhile could not, so it is not too late yet.
const standstill = 2 * time.Second

// stood takes account of a standstill: the runs that wait or are in progress have so much more time.
func (d *dispatcher) stood(late time.Duration) {
	if late < standstill {
		return
	}
	d.agent.Log.Warn("stepwatch stood still: it was stopped, or its machine was suspended or overloaded; runs that were due meanwhile are missed", "for", shown(late))
	for _, e := range d.agent.entries {
		if !e.stale.IsZero() {
			e.stale = e.stale.Add(late)
			d.moved(e)
		}
	}
}

// tell reports that the run of a busy entry is too late.
func (d *dispatcher) tell(e *entry, now time.Time) {
	res := overdueResult(e, now)
	if e.stale = (time.Time{}); e.attempt < e.plan.patience() {
		e.stale = now.Add(e.plan.Interval)
	}
	e.attempt++
	turn := e.turn
	d.reports.Go(func() { // a log or a rule may be slow
		e.reporting.Lock()
		defer e.reporting.Unlock()
		if e.reported != turn && !e.leaving.Load() {
			d.agent.hand(res)
		}
	})
}

// overdueResult returns the result of a scenario whose due run has not ended in time.
func overdueResult(e *entry, now time.Time) *result.Result {
	p := e.plan
	res := &result.Result{Identity: p.Identity, Stale: true, Attempt: e.attempt, Retries: p.Retries, Due: e.start, Started: now,
		Status: result.Skipped, Reason: result.ReasonNotRun, Blame: result.BlameMonitor, Budget: p.Budget, Interval: p.Interval,
		Steps: skipped(p, 0), Timeouts: e.timeouts, Backoff: e.pause}
	limit := p.Timeout
	if e.running != nil { // the run may be one of an earlier plan
		limit = e.running.Timeout
	}
	var why string
	var target bool
	switch ran, came := now.Sub(e.began), e.asked.Sub(e.start); {
	case came > now.Sub(e.asked): // for most of the time, nobody had even asked for its places
		why = fmt.Sprintf("stepwatch came to its run only %s after it was due: the program was stopped, or its machine had no time for it", shown(came))
	case e.began.IsZero():
		why, target = e.blocked.taken(now)
		why = fmt.Sprintf("it waits for %s, %s", e.blocked.place(e), why)
	case ran < limit && e.blocked != nil:
		why = fmt.Sprintf("its run waited %s for %s, and is in progress for %s", shown(e.began.Sub(e.start)), e.blocked.place(e), shown(ran))
	default:
		why = fmt.Sprintf("the run that began %s ago has not ended, although its deadline is %s", shown(ran), limit)
	}
	if target {
		res.Blame = result.BlameTarget
	}
	res.Error = fmt.Sprintf("no result for %s: %s", shown(now.Sub(e.start)), why)
	return res
}

// shown rounds a duration for a message.
func shown(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
