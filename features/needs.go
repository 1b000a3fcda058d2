package features

import (
	"fmt"
	"slices"
	"strings"
)

// RuleNeeds is the rule of a mistake in @needs.
const RuleNeeds Rule = "needs"

// needsName returns the form of a name in @needs: a tag has no blanks, so an underscore stands for them.
func needsName(name string) string { return strings.Join(strings.Fields(name), "_") }

// Needs returns, for each scenario, the indices of those that its @needs tags name, and the mistakes in these tags. A name means
// the scenario of the same feature, or else that of any other; "Feature:_Scenario" is a name, too. An outline's name means all of
// its rows. What goes in a circle is left out of the result: the failures in it would explain each other.
func Needs(all []*Scenario) (needed [][]int, mistakes []Problem) {
	needed = make([][]int, len(all))
	if !slices.ContainsFunc(all, func(s *Scenario) bool { return s.Policy.Needs != "" }) {
		return needed, nil
	}
	byName := make(map[string][]int)
	var names []string
	for i, s := range all {
		for _, name := range []string{needsName(s.Label), needsName(s.Feature + ": " + s.Label)} {
			byName[name] = append(byName[name], i)
			names = append(names, name)
		}
	}
	sharing := make(map[string]map[string]bool) // the labels of the scenarios that have a tag, by its place
	place := func(s *Scenario, t Tag) string { return fmt.Sprintf("%s:%d:%s", s.Path, t.Line, t) }
	eachNeed(all, func(_ int, s *Scenario, t Tag) {
		if sharing[place(s, t)] == nil {
			sharing[place(s, t)] = make(map[string]bool)
		}
		sharing[place(s, t)][s.Label] = true
	})
	add := func(s *Scenario, t Tag, format string, args ...any) {
		mistakes = append(mistakes, Problem{Path: s.Path, Line: t.Line, Column: 1, Message: t.String() + " " + fmt.Sprintf(format, args...), Rule: RuleNeeds})
	}
	eachNeed(all, func(i int, s *Scenario, t Tag) {
		named := byName[needsName(unquoted(t.Value))]
		same := slices.DeleteFunc(slices.Clone(named), func(j int) bool { return all[j].Feature != s.Feature })
		if len(same) > 0 {
			named = same
		}
		isSelf := func(j int) bool { return all[j].Feature == s.Feature && all[j].Label == s.Label }
		switch {
		case len(named) == 0:
			hint := ""
			if closest, slips := nearest(needsName(unquoted(t.Value)), names); slips <= max(2, len(closest)/3) {
				hint = ": did you mean @needs:" + closest + "?"
			}
			add(s, t, "names no scenario that is loaded%s", hint)
			return
		case slices.ContainsFunc(named, isSelf):
			if len(sharing[place(s, t)]) == 1 {
				add(s, t, "names the scenario itself: name the one whose failure explains this one")
			}
			return // otherwise it is the feature's tag, which is meant for the others
		}
		first := all[named[0]]
		for _, j := range named {
			switch {
			case all[j].Feature != first.Feature:
				add(s, t, "names scenarios of several features: write @needs:%s or @needs:%s", needsName(first.Feature+": "+first.Label), needsName(all[j].Feature+": "+all[j].Label))
				return
			case all[j].Policy.Manual:
				add(s, t, "names a scenario that is @manual, so it does not run and explains nothing")
				return
			}
		}
		for _, j := range named {
			if !slices.Contains(needed[i], j) {
				needed[i] = append(needed[i], j)
			}
		}
	})
	return needed, slices.Compact(append(mistakes, circles(all, needed)...))
}

// unquoted removes the quotes around a name, which are allowed.
func unquoted(name string) string {
	if len(name) > 1 && name[0] == '"' && name[len(name)-1] == '"' {
		return name[1 : len(name)-1]
	}
	return name
}

// eachNeed visits every @needs tag of every scenario.
func eachNeed(all []*Scenario, visit func(i int, s *Scenario, t Tag)) {
	for i, s := range all {
		for _, t := range s.Tags {
			if t.Name == "needs" && t.Value != "" {
				visit(i, s, t)
			}
		}
	}
}

// circles removes the needs that close a circle, and returns a mistake for each.
func circles(all []*Scenario, needed [][]int) (mistakes []Problem) {
	const (
		fresh = iota
		above // it is on the path to the scenario that is visited
		done
	)
	state := make([]int, len(all))
	var path []int
	var visit func(i int)
	visit = func(i int) {
		state[i] = above
		path = append(path, i)
		needed[i] = slices.DeleteFunc(needed[i], func(j int) bool {
			switch state[j] {
			case fresh:
				visit(j)
			case above:
				var names []string
				for _, k := range path[slices.Index(path, j):] {
					names = append(names, fmt.Sprintf("%q", all[k].Label))
				}
				s := all[i]
				line := s.Line
				eachNeed(all[i:i+1], func(_ int, _ *Scenario, t Tag) { line = t.Line })
				mistakes = append(mistakes, Problem{Path: s.Path, Line: line, Column: 1, Rule: RuleNeeds,
					Message: fmt.Sprintf("@needs goes in a circle, so no failure in it would be told: %s needs %q: remove one of these tags", strings.Join(names, " needs "), all[j].Label)})
				return true
			}
			return false
		})
		path = path[:len(path)-1]
		state[i] = done
	}
	for i := range all {
		if state[i] == fresh {
			visit(i)
		}
	}
	return mistakes
}
