package cmd

import (
	"net/http"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/cmd/httpserver"
)

// answerResults keeps the last results of an agent and answers who asks for them, as "check --agent" does.
func answerResults(a *agent.Agent, mux *http.ServeMux, pages *httpserver.Pages) {
	results := new(latest.Results)
	a.Rules = append(a.Rules, results) // at once, and not through a queue: who asks sees the state and the result of one run
	mux.Handle(latest.Pattern, pages.Bound(results.Handler(func() []state.Scenario { return a.Scenarios() })))
}
