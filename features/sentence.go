package features

import (
	"slices"
	"strings"

	messages "github.com/cucumber/messages/go/v34"
)

// definitionTag marks the scenarios that define a sentence.
const definitionTag = "step"

// defines reports whether a scenario defines a sentence. The tag may also be at its rule or feature.
func defines(f *messages.Feature, rule *messages.Rule, s *messages.Scenario) bool {
	marked := func(tags []*messages.Tag) bool {
		return slices.ContainsFunc(tags, func(t *messages.Tag) bool { return t.Name == "@"+definitionTag })
	}
	return marked(f.Tags) || marked(s.Tags) || rule != nil && marked(rule.Tags)
}

// sentence builds a Sentence from its pickle. It ignores the steps of backgrounds, which come first in steps: the scenario
// that uses the sentence has its own background.
func (c *compiler) sentence(u unit, steps []*messages.Step) *Sentence {
	s := &Sentence{Path: c.path, Line: int(u.written.Location.Line), Column: max(1, int(u.written.Location.Column)), Feature: c.ast.Name,
		Text: u.written.Name, Description: outdent(u.written.Description)}
	for _, t := range slices.Concat(c.ast.Tags, u.written.Tags) {
		s.Browser = s.Browser || t.Name == "@browser"
	}
	if u.rule != nil {
		s.Browser = s.Browser || slices.ContainsFunc(u.rule.Tags, func(t *messages.Tag) bool { return t.Name == "@browser" })
	}
	before := len(steps) - len(u.written.Steps)
	s.Steps = c.steps(steps[before:], u.pickle.Steps[before:])
	return s
}

// checkSentence finds mistakes in the Gherkin of a definition.
func (c *compiler) checkSentence(s *messages.Scenario) {
	c.checkTags(s.Tags, nil)
	c.checkDescription(s.Location, s.Description, inHeader) // prose, for the catalogue
	if strings.TrimSpace(s.Name) == "" {
		c.problem(RuleName, s.Location, "the name of a scenario tagged @step is the sentence that it defines: this one has no name")
	}
	if len(s.Steps) == 0 {
		c.problem(RuleNothing, s.Location, "the sentence %q has no steps", s.Name)
	}
	for _, e := range s.Examples {
		c.problem(RuleOutline, e.Location, "a scenario tagged @step takes no %s: the values come from the step that uses the sentence, and defaults are in the sentence: [ on the page \"<page=/login>\"]", e.Keyword)
	}
	for _, t := range s.Tags {
		if name, _ := cutTag(t.Name); name != "browser" && slices.Contains(policyTags, name) {
			c.warn(RuleTag, t.Location, "%s has no effect on a sentence: set it on the scenario that uses it", t.Name)
		}
	}
}
