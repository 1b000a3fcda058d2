package cmd

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/api"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/cmd/httpserver"
)

// api returns the handler of everything below /api/.
func (s *service) api(name string, web *httpserver.WebConfig) http.Handler {
	started := time.Now()
	return api.New(api.Sources{Scenarios: s.agent.States, Latest: s.latest, Alerts: s.agent.States, User: httpserver.User, Log: s.log,
		Agent: func() api.Agent {
			counts := s.recent.Counts()
			a := api.Agent{Name: name, Version: version(), Started: started, Recent: &counts}
			a.Take(s.agent.Stats())
			if err := web.Err(); err != nil {
				a.Troubles = append(a.Troubles, "the web configuration has a mistake, and the last good one is used: "+err.Error())
			}
			a.Troubles = append(a.Troubles, lacks(s.agent.States)...)
			if err := s.agent.States.Trouble(); err != nil {
				a.Troubles = append(a.Troubles, "the states of the scenarios are not kept: "+err.Error())
			}
			return a
		}})
}

// lacks says what the machine of the agent lacks now, a browser that works included, and how many scenarios prove nothing
// because of that.
func lacks(states *state.Tracker) (said []string) {
	meet, inBrowser := make(map[string]int), 0
	for _, s := range states.Snapshot() {
		if s.LastReason == result.ReasonBrowser {
			inBrowser++
		}
		if s.ExplainedBy != "" {
			meet[s.ExplainedBy]++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(meet)) {
		if _, scenario := states.Scenario(kind); !scenario { // otherwise the failure of another scenario explains them
			said = append(said, fmt.Sprintf("a lack of the monitor (%s) keeps %s from proving anything", kind, counted(meet[kind], "scenario")))
		}
	}
	if inBrowser > 0 {
		said = append(said, fmt.Sprintf("the browser broke or cannot be started: %s proved nothing the last time", counted(inBrowser, "scenario")))
	}
	return said
}
