package agent

import (
	"slices"

	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/features"
)

// declarations returns what the tracker of states needs to know of plans.
func declarations(plans []*Plan) []state.Declaration {
	scenarios := make([]*features.Scenario, len(plans))
	for i, p := range plans {
		scenarios[i] = p.Scenario
	}
	needs, _ := features.Needs(scenarios) // lint and cmd report the mistakes
	all := make([]state.Declaration, len(plans))
	for i, p := range plans {
		policy := &p.Scenario.Policy
		all[i] = state.Declaration{Identity: p.Identity, Tags: make([]string, len(p.Scenario.Tags)), Interval: p.Interval, Timeout: p.Timeout,
			Retries: p.Retries, Some: policy.Some, Of: policy.Of, Steady: policy.Flapping == "off"}
		for j, tag := range p.Scenario.Tags {
			all[i].Tags[j] = tag.String()
		}
		for _, j := range needs[i] {
			all[i].Needs = append(all[i].Needs, plans[j].Identity.ID())
		}
		slices.Sort(all[i].Needs)
	}
	return all
}
