package latest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
)

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
