package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/features"
)

// Latest has the last result of each scenario; *latest.Results is one.
type Latest interface {
	// Of returns nil if there was no result since the agent started.
	Of(id result.Identity) *result.Result
}

var resultRoutes = []route{{http.MethodGet, "/api/results", []string{"id", "name", "tags"}, listResults}}

// listResults answers with states and last results, as a plugin needs them. A scenario must have one of the ids or names, and
// match the tags. A name that no scenario has, and tags that none has, are errors, and such ids are listed: what is not there
// must not look like what is well.
func listResults(s *Sources, r *request) (any, error) {
	if s.Scenarios == nil || s.Latest == nil {
		return nil, absent("this agent keeps no results")
	}
	expression, err := r.single("tags")
	if err != nil {
		return nil, err
	}
	tagged := func([]string) bool { return true }
	if expression != "" {
		if tagged, err = features.TagExpression(expression); err != nil {
			return nil, bad("tags", "%s", err.Error())
		}
	}
	ids, names, loaded := r.query["id"], r.query["name"], s.Scenarios.Snapshot()
	answer := latest.Answer{Now: time.Now(), Scenarios: []latest.Scenario{}}
	for i := range loaded {
		is := &loaded[i]
		wanted := len(ids) == 0 && len(names) == 0 || slices.Contains(ids, is.ID) || slices.ContainsFunc(names, is.Named)
		if wanted && tagged(is.Tags) {
			answer.Scenarios = append(answer.Scenarios, s.latest(is, loaded))
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(loaded, func(s state.Scenario) bool { return s.Named(name) }) {
			return nil, &Problem{Status: http.StatusNotFound, Field: "name", Detail: "of those that the agent has on a schedule, " + latest.NobodyNamed(shorten(name), identities(loaded)).Error()}
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(loaded, func(s state.Scenario) bool { return s.ID == id }) {
			answer.Unknown = append(answer.Unknown, shorten(id))
		}
	}
	if expression != "" && len(answer.Scenarios) == 0 && len(answer.Unknown) == 0 {
		return nil, &Problem{Status: http.StatusNotFound, Field: "tags", Detail: "no scenario that the agent has on a schedule has tags that match \"" + shorten(expression) + "\""}
	}
	return answer, nil
}

// latest returns a scenario with its last result. loaded are all scenarios.
func (s *Sources) latest(is *state.Scenario, loaded []state.Scenario) latest.Scenario {
	one := latest.Scenario{Scenario: *is}
	if one.Tags == nil {
		one.Tags = []string{}
	}
	if why := is.ExplainedBy; why != "" {
		one.Explained = "a lack of the monitor (" + why + ")"
		if i := slices.IndexFunc(loaded, func(other state.Scenario) bool { return other.ID == why }); i >= 0 {
			one.Explained = "the failure of " + loaded[i].String()
		}
	}
	if r := s.Latest.Of(is.Identity); r != nil {
		one.Result = latest.NewRun(r)
	}
	return one
}

func identities(scenarios []state.Scenario) []result.Identity {
	all := make([]result.Identity, len(scenarios))
	for i := range scenarios {
		all[i] = scenarios[i].Identity
	}
	return all
}
