package agent

import (
	"github.com/stepwatch/stepwatch/agent/state"
)

// declarations returns what the tracker of states needs to know of plans.
func declarations(plans []*Plan) []state.Declaration {
	all := make([]state.Declaration, len(plans))
	for i, p := range plans {
		tags := make([]string, len(p.Scenario.Tags))
		for j, tag := range p.Scenario.Tags {
			tags[j] = tag.Name
		}
		all[i] = state.Declaration{Identity: p.Identity, Tags: tags, Interval: p.Interval, Timeout: p.Timeout, Retries: p.Retries}
	}
	return all
}
