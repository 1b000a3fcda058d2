package result

import "time"

// Stats is a snapshot of the agent's own conduct: what it did about the schedule, apart from what the runs found.
type Stats struct {
	Scenarios []ScenarioStats
	Dropped   map[string]uint64 // results that a sink's full queue lost, by the sink's name
	Running   int               // runs in progress now
	Workers   int               // runs that may be in progress at once
	Abandoned int               // steps left behind that have not returned yet
}

// ScenarioStats is one scenario's share of Stats.
type ScenarioStats struct {
	Identity Identity
	Interval time.Duration
	Missed   uint64 // due runs that never started: the one before was still in progress, or no worker was free for a whole interval
	Late     uint64 // runs that started more than LateAfter past their due time
}

// LateAfter is the delay from which a run counts as late.
const LateAfter = 10 * time.Millisecond
