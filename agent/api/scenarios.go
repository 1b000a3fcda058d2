package api

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/agent/state"
)

// Scenarios are the loaded scenarios; *state.Tracker is one.
type Scenarios interface {
	// Snapshot returns them in the order in which they are loaded.
	Snapshot() []state.Scenario
	Scenario(id string) (s state.Scenario, found bool)
}

// ScenarioList is the answer to GET /api/scenarios.
type ScenarioList struct {
	Scenarios []state.Scenario `json:"scenarios"`
	Next      string           `json:"next,omitempty"` // the cursor of the rest; empty at the end
}

var scenarioRoutes = []route{
	{http.MethodGet, "/api/scenarios", []string{"name", "feature", "owner", "tag", "state", "limit", "cursor"}, listScenarios},
	{http.MethodGet, "/api/scenarios/{id}", nil, getScenario},
}

func listScenarios(s *Sources, r *request) (any, error) {
	if s.Scenarios == nil {
		return nil, absent("this agent keeps no states of scenarios")
	}
	limit, err := r.limit()
	if err != nil {
		return nil, err
	}
	states, err := r.states()
	if err != nil {
		return nil, err
	}
	after, err := r.single("cursor")
	if err != nil {
		return nil, err
	}
	all := s.Scenarios.Snapshot()
	if after != "" {
		i := slices.IndexFunc(all, func(s state.Scenario) bool { return s.ID == after })
		if i < 0 {
			return nil, bad("cursor", "the cursor %q is of no scenario that is loaded now: list from the beginning", shorten(after))
		}
		all = all[i+1:]
	}
	list := ScenarioList{Scenarios: make([]state.Scenario, 0, min(len(all), limit))}
	for i := range all {
		if !r.selects(&all[i], states) {
			continue
		}
		if len(list.Scenarios) == limit {
			list.Next = list.Scenarios[limit-1].ID
			break
		}
		if all[i].Tags == nil {
			all[i].Tags = []string{}
		}
		list.Scenarios = append(list.Scenarios, all[i])
	}
	return list, nil
}

func getScenario(s *Sources, r *request) (any, error) {
	if s.Scenarios == nil {
		return nil, absent("this agent keeps no states of scenarios")
	}
	found, err := s.scenario(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if found.Tags == nil {
		found.Tags = []string{}
	}
	return found, nil
}

func (s *Sources) scenario(id string) (state.Scenario, error) {
	if s.Scenarios == nil {
		return state.Scenario{}, absent("this agent keeps no states of scenarios")
	}
	found, known := s.Scenarios.Scenario(id)
	if !known {
		return found, missing("scenario", id, "GET /api/scenarios lists those that are loaded, with their ids")
	}
	return found, nil
}

// states returns the values of the parameter "state".
func (r *request) states() ([]result.State, error) {
	var all []result.State
	for _, text := range r.query["state"] {
		var s result.State
		if err := s.UnmarshalText([]byte(text)); err != nil {
			return nil, bad("state", "state is %q: there are OK, WARNING, CRITICAL and UNKNOWN", shorten(text))
		}
		all = append(all, s)
	}
	return all, nil
}

// selects reports whether each parameter that is given has a value that fits a scenario.
func (r *request) selects(s *state.Scenario, states []result.State) bool {
	fits := func(name string, texts ...string) bool {
		patterns := r.query[name]
		return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
			return slices.ContainsFunc(texts, func(text string) bool { return silence.Glob(pattern, text) })
		})
	}
	names := []string{s.Scenario, s.String()}
	if s.Example != "" {
		names = append(names, fmt.Sprintf("%s (%s)", s.Scenario, s.Example))
	}
	return (len(states) == 0 || slices.Contains(states, s.State)) &&
		fits("name", names...) && fits("feature", s.Feature) && fits("owner", s.Owner) && fits("tag", s.Tags...)
}
