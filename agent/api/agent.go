package api

import (
	"net/http"
	"time"

	"github.com/stepwatch/stepwatch/agent/recent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
)

// Agent is the answer to GET /api/agent: how the agent itself does, apart from the results of the runs.
type Agent struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Now     time.Time `json:"now"` // the agent's clock

	Scenarios map[string]int `json:"scenarios"` // how many are in each state: OK, WARNING, CRITICAL, UNKNOWN
	Stale     int            `json:"stale"`     // scenarios without a result for longer than their schedules allow
	Flapping  int            `json:"flapping"`  // scenarios whose state changes too often

	Running   int               `json:"running"`   // runs in progress
	Waiting   int               `json:"waiting"`   // due runs that wait for a place
	Workers   int               `json:"workers"`   // runs that may be in progress at once
	Abandoned int               `json:"abandoned"` // scenarios with a step that ignored its deadline and has not returned
	Late      uint64            `json:"late"`      // runs that began too late, since the start
	Missed    uint64            `json:"missed"`    // due runs that never began, since the start
	Dropped   map[string]uint64 `json:"dropped"`   // results that a sink did not get, by its name, since the start
	Mistakes  map[string]int    `json:"mistakes"`  // in the loaded files, by path; such scenarios are UNKNOWN

	Recent *recent.Counts `json:"recent,omitempty"` // how it keeps the schedule now; absent if it does not say

	Reload  *Reload  `json:"reload,omitempty"`  // absent if nothing was loaded again
	History *Storage `json:"history,omitempty"` // absent without a history
	States  *Storage `json:"states,omitempty"`  // absent if states are kept in memory only

	// Troubles are what somebody should look after, each in one line: a sink that cannot be reached, a file that cannot be
	// written, a web configuration with a mistake. Empty if there are none.
	Troubles []string `json:"troubles"`
}

// Reload is what came of reading the configuration and the features again.
type Reload struct {
	At       time.Time `json:"at"`
	Success  bool      `json:"success"`
	Mistakes []string  `json:"mistakes,omitempty"` // why nothing was changed
}

// Storage is a file that outlives the agent.
type Storage struct {
	Path      string    `json:"path"`
	Bytes     int64     `json:"bytes"`
	LastWrite time.Time `json:"last_write,omitzero"`
	Dropped   uint64    `json:"dropped"`             // what could not be written, since the start
	Error     string    `json:"error,omitempty"`     // why it cannot be written now, such as a full disk
	SetAside  string    `json:"set_aside,omitempty"` // the file that was damaged and replaced by a new one
}

var agentRoutes = []route{{http.MethodGet, "/api/agent", nil, getAgent}}

func getAgent(s *Sources, _ *request) (any, error) {
	if s.Agent == nil {
		return nil, absent("this agent does not say how it does")
	}
	a := s.Agent()
	if a.Now.IsZero() {
		a.Now = time.Now()
	}
	if s.Scenarios != nil {
		a.Count(s.Scenarios.Snapshot())
	}
	if a.Scenarios == nil {
		a.Scenarios = map[string]int{}
	}
	if a.Dropped == nil {
		a.Dropped = map[string]uint64{}
	}
	if a.Mistakes == nil {
		a.Mistakes = map[string]int{}
	}
	if a.Troubles == nil {
		a.Troubles = []string{}
	}
	return a, nil
}

// Take takes over how the agent keeps its schedule.
func (a *Agent) Take(s result.Stats) {
	a.Running, a.Waiting, a.Workers, a.Abandoned, a.Dropped, a.Mistakes = s.Running, s.Waiting, s.Workers, s.Abandoned, s.Dropped, s.Mistakes
	a.Late, a.Missed = 0, 0
	for i := range s.Scenarios {
		a.Late += s.Scenarios[i].Late
		a.Missed += s.Scenarios[i].Missed
	}
}

// Count counts the states of scenarios.
func (a *Agent) Count(all []state.Scenario) {
	a.Scenarios = map[string]int{"OK": 0, "WARNING": 0, "CRITICAL": 0, "UNKNOWN": 0}
	a.Stale, a.Flapping = 0, 0
	for i := range all {
		a.Scenarios[all[i].State.String()]++
		if all[i].Stale {
			a.Stale++
		}
		if all[i].Flapping {
			a.Flapping++
		}
	}
}
