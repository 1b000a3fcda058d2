package result

import "time"

// Stats is a snapshot of the agent's own operation: how it keeps the schedule, apart from the results of the runs.
type Stats struct {
	Scenarios []ScenarioStats
	Dropped   map[string]uint64 // results dropped because a sink's queue was full, by the sink's name
	Running   int               // runs in progress now
	Waiting   int               // due runs that wait for a place
	Workers   int               // runs that may be in progress at once
	Abandoned int               // scenarios with an abandoned step or clean-up that has not returned yet
	Unsettled []Unsettled       // scenarios that are neither simply OK nor simply failing
	Mistakes  map[string]int    // mistakes in the loaded files, by path; scenarios with mistakes are UNKNOWN
	Loaded    time.Time         // when the files in use were loaded
	Refused   bool              // the last attempt to load them again found mistakes, so those in use are older than the files
	History   *HistoryStats     // nil without a history
}

// HistoryStats is how the history works that the agent keeps.
type HistoryStats struct {
	Path      string    // of the file
	Bytes     int64     // of the file and its log
	LastWrite time.Time // of a run; zero before the first
	Dropped   uint64    // runs and events that could not be written, since the start
	Errors    uint64    // attempts to write that failed, since the start
	Problem   string    // why nothing can be written now; empty while all is well
	Aside     string    // where the last damaged file is; empty if there was none since the start
}

// Unsettled is a scenario about whose state there is more to say than the last result does.
type Unsettled struct {
	Identity Identity
	Soft     bool   // it is not OK, and may be a temporary problem
	Flapping bool   // its state changes too often
	Withheld string // the kind of reason why its alert is not told now: "silence", "maintenance", "needs", "uplink", "flapping"; or empty
}

// Last is how the last run of a scenario before a restart ended.
type Last struct {
	Identity Identity
	Interval time.Duration
	State    State
}

// ScenarioStats is the part of Stats for one scenario.
type ScenarioStats struct {
	Identity Identity
	Interval time.Duration
	Missed   uint64 // due runs that never started: the previous one was still in progress, or there was no place for it for a whole interval
	Late     uint64 // runs that started more than LateAfter past their due time
}

// LateAfter is the delay above which a run counts as late.
const LateAfter = 10 * time.Millisecond
