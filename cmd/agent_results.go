package cmd

import (
	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/latest"
)

// keepResults keeps the last results of an agent, for GET /api/results and "check --agent".
func keepResults(a *agent.Agent) *latest.Results {
	results := new(latest.Results)
	a.Rules = append(a.Rules, results) // at once, and not through a queue: who asks sees the state and the result of one run
	return results
}
