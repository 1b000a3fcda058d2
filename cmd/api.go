package cmd

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/api"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/cmd/httpserver"
)

// api returns the handler of everything below /api/.
func (s *service) api(name string, web *httpserver.WebConfig) http.Handler {
	started := time.Now()
	sources := api.Sources{Scenarios: s.agent.States, Latest: s.latest, Alerts: s.agent.States, Silences: tellingSilences{s.keep.silences, s.agent.States}, User: httpserver.User, Log: s.log,
		Agent: func() api.Agent {
			counts := s.recent.Counts()
			a := api.Agent{Name: name, Version: version(), Started: started, Recent: &counts}
			stats := s.stats()
			a.Take(stats)
			a.States = s.keep.storage(s.agent.States.Trouble())
			if h := stats.History; h != nil {
				a.History = &api.Storage{Path: h.Path, Bytes: h.Bytes, LastWrite: h.LastWrite, Dropped: h.Dropped, Error: h.Problem, SetAside: h.Aside}
			}
			if s.reloads != nil {
				a.Reload = s.reloads.last.Load()
			}
			if err := web.Err(); err != nil {
				a.Troubles = append(a.Troubles, "the web configuration has a mistake, and the last good one is used: "+err.Error())
			}
			a.Troubles = append(a.Troubles, lacks(s.agent.States)...)
			a.Troubles = append(a.Troubles, s.keep.troubles()...)
			if err := s.inbox.Trouble(); err != nil {
				a.Troubles = append(a.Troubles, "reports of jobs cannot be kept: "+err.Error())
			}
			return a
		}}
	if s.keep.history != nil {
		sources.History = s.keep.history
	} else {
		sources.NoHistory = "this agent keeps no history: it is off in stepwatch.yml, or its log says at the start why there is none"
	}
	return api.New(sources)
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

// tellingSilences are silences whose end has told what they withheld.
type tellingSilences struct {
	*silence.Book
	states *state.Tracker
}

// End implements api.Silences.
func (t tellingSilences) End(ctx context.Context, id, by string) (*silence.Added, error) {
	ended, err := t.Book.End(ctx, id, by)
	t.states.Tick(time.Now())
	return ended, err
}
