package result

import "strings"

// Named reports whether a person who writes this name means the scenario: the scenario's name, "feature: scenario" as String
// returns it, or either of them followed by the row of an outline, " (relay=mx1, port=25)". Without a row, a name means every
// row of the outline.
func (id Identity) Named(name string) bool {
	if id.Example != "" {
		if scenario, itsRow := strings.CutSuffix(name, " ("+id.Example+")"); itsRow && id.called(scenario) {
			return true
		}
	}
	return id.called(name)
}

// called is Named without rows.
func (id Identity) called(name string) bool {
	if name == id.Scenario {
		return true
	}
	rest, itsFeature := strings.CutPrefix(name, id.Feature)
	return itsFeature && rest == ": "+id.Scenario
}
