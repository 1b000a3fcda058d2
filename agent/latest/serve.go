package latest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/features"
)

// Pattern is the route of Handler.
const Pattern = "GET /api/results"

// Handler answers with the states and the last results of the scenarios that the query selects, or of all. snapshot returns
// the loaded scenarios, as state.Tracker does.
//
// The query may have several "id" and "name" (result.Identity.Named), of which a scenario must have one, and a tag expression
// "tags", which it must match. A name that no loaded scenario has, and tags that none has, are an error (404), and ids that
// none has are in Answer.Unknown, because what is not there must not look like what is well.
func (l *Results) Handler(snapshot func() []state.Scenario) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		for name := range query {
			if !slices.Contains([]string{"id", "name", "tags"}, name) {
				problem(w, http.StatusBadRequest, fmt.Sprintf("the query has no %q: use id, name and tags", name))
				return
			}
		}
		tagged := func([]string) bool { return true }
		if expression := query.Get("tags"); expression != "" {
			matches, err := features.TagExpression(expression)
			if err != nil {
				problem(w, http.StatusBadRequest, err.Error())
				return
			}
			tagged = matches
		}
		loaded := snapshot()
		answer := Answer{Now: time.Now(), Scenarios: []Scenario{}}
		ids, names := query["id"], query["name"]
		found := make(map[string]bool)
		for _, s := range loaded {
			wanted := len(ids) == 0 && len(names) == 0
			for _, id := range ids {
				if id == s.ID {
					wanted, found["id "+id] = true, true
				}
			}
			for _, name := range names {
				if s.Named(name) {
					wanted, found["name "+name] = true, true
				}
			}
			if wanted && tagged(s.Tags) {
				answer.Scenarios = append(answer.Scenarios, l.of(s, loaded))
			}
		}
		for _, name := range names {
			if !found["name "+name] {
				problem(w, http.StatusNotFound, "of those that the agent has loaded, "+NobodyNamed(name, identities(loaded)).Error())
				return
			}
		}
		for _, id := range ids {
			if !found["id "+id] {
				answer.Unknown = append(answer.Unknown, id)
			}
		}
		if len(answer.Scenarios) == 0 && len(ids) == 0 && query.Get("tags") != "" {
			problem(w, http.StatusNotFound, fmt.Sprintf("no scenario that the agent has loaded has tags that match %q", query.Get("tags")))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(answer) // the client is gone
	})
}

// of adds the last result to a state. loaded are all scenarios.
func (l *Results) of(s state.Scenario, loaded []state.Scenario) Scenario {
	one := Scenario{Scenario: s, Explained: s.ExplainedBy}
	if i := slices.IndexFunc(loaded, func(other state.Scenario) bool { return s.ExplainedBy != "" && other.ID == s.ExplainedBy }); i >= 0 {
		one.Explained = "the failure of " + loaded[i].Identity.String()
	} else if s.ExplainedBy != "" {
		one.Explained = "a lack of the monitor (" + s.ExplainedBy + ")"
	}
	if r := l.Of(s.Identity); r != nil {
		one.Result = NewRun(r)
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

// problem answers with an error (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail}) // the client is gone
}

// similarMax is how many similar names an error lists.
const similarMax = 3

// NobodyNamed returns the error for a name that none of the scenarios has. It lists those that may be meant.
func NobodyNamed(name string, among []result.Identity) error {
	var scenarios, whole []string
	for _, id := range among {
		scenarios = append(scenarios, id.Scenario)
		whole = append(whole, result.Identity{Feature: id.Feature, Scenario: id.Scenario}.String())
	}
	similar := features.Similar(name, scenarios, similarMax)
	if len(similar) == 0 {
		similar = features.Similar(name, whole, similarMax)
	}
	slices.Sort(scenarios)
	all := slices.Compact(scenarios)
	switch {
	case len(among) == 0:
		return fmt.Errorf("no scenario is called %q: there is no scenario at all", name)
	case len(similar) > 0:
		return fmt.Errorf("no scenario is called %q: did you mean %s?", name, quoted(similar))
	case len(all) <= similarMax:
		return fmt.Errorf("no scenario is called %q: there are %s", name, quoted(all))
	default:
		return fmt.Errorf("no scenario is called %q, nor anything like it, among %d scenarios", name, len(among))
	}
}

// quoted lists names.
func quoted(names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(all, ", ")
}
