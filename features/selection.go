package features

import (
	"fmt"
	"strings"

	messages "github.com/cucumber/messages/go/v34"
)

// selected returns the units that the document's lines select, in file order, and a problem for each line that selects none.
func (d *document) selected() (units []unit, problems []Problem) {
	for _, line := range d.asked {
		holds, itself := d.at(int64(line))
		for _, u := range d.units {
			u.scenario.Asked = u.scenario.Asked || itself && holds(u)
		}
	}
	if d.lines == nil {
		return d.units, nil
	}
	wanted := make([]bool, len(d.units))
	for _, line := range d.lines {
		holds, _ := d.at(int64(line))
		found := false
		for i, u := range d.units {
			if holds(u) {
				wanted[i], found = true, true
			}
		}
		if sentence := d.sentenceAt(line); !found && sentence != nil {
			problems = append(problems, Problem{d.feature.Path, line, 1, fmt.Sprintf(
				"line %d belongs to the sentence %q (@step), which runs only where a scenario uses it", line, sentence.Text), RuleFile})
		} else if !found {
			problems = append(problems, Problem{d.feature.Path, line, 1, fmt.Sprintf(
				"line %d has no scenario, step, row, rule or feature: %s", line, d.begins()), RuleFile})
		}
	}
	for i, u := range d.units {
		if wanted[i] {
			units = append(units, u)
		}
	}
	return units, problems
}

// sentenceAt returns the sentence that is defined at a line, or nil.
func (d *document) sentenceAt(line int) *Sentence {
	holds, _ := d.at(int64(line))
	for _, u := range d.defined {
		if holds(u) {
			return u.sentence
		}
	}
	return nil
}

// begins returns a text with the lines of the scenarios, for a line that selects none.
func (d *document) begins() string {
	var lines []string
	last := int64(0)
	for _, u := range d.units {
		if l := u.written.Location.Line; l != last {
			lines = append(lines, fmt.Sprint(l))
			last = l
		}
	}
	if len(lines) == 0 {
		return "the file only defines sentences"
	}
	if len(lines) == 1 {
		return "the scenario begins at line " + lines[0]
	}
	if len(lines) > 10 {
		lines = append(lines[:10], "…")
	}
	return "scenarios begin at lines " + strings.Join(lines, ", ")
}

// at returns a filter for the units that a line selects: it finds the innermost part of the file that contains the line.
// itself says that this is a scenario or a part of one, and not a feature, a rule or a background.
func (d *document) at(line int64) (holds func(unit) bool, itself bool) {
	f := d.ast
	if within(line, first(f.Tags, f.Location), endOfHeader(f.Location, f.Children)) {
		return func(unit) bool { return true }, false
	}
	for _, child := range f.Children {
		if b := child.Background; b != nil && within(line, b.Location.Line, lastLine(b.Location, b.Steps)) {
			return func(unit) bool { return true }, false
		}
		if holds := inScenario(line, child.Scenario); holds != nil {
			return holds, true
		}
		r := child.Rule
		if r == nil {
			continue
		}
		beneath := func(u unit) bool { return u.rule == r }
		if within(line, first(r.Tags, r.Location), endOfHeader(r.Location, r.Children)) {
			return beneath, false
		}
		for _, child := range r.Children {
			if b := child.Background; b != nil && within(line, b.Location.Line, lastLine(b.Location, b.Steps)) {
				return beneath, false
			}
			if holds := inScenario(line, child.Scenario); holds != nil {
				return holds, true
			}
		}
	}
	return func(unit) bool { return false }, false
}

// inScenario returns a filter for the units of the scenario that a line selects, or nil if the line is elsewhere. The
// scenario may be nil.
func inScenario(line int64, s *messages.Scenario) func(unit) bool {
	if s == nil {
		return nil
	}
	if within(line, first(s.Tags, s.Location), lastLine(s.Location, s.Steps)) {
		return func(u unit) bool { return u.written == s }
	}
	for _, e := range s.Examples {
		if e.TableHeader == nil { // a mistake; the file is only read for checks
			continue
		}
		if within(line, first(e.Tags, e.Location), e.TableHeader.Location.Line) {
			return func(u unit) bool { return u.examples == e }
		}
		for _, row := range e.TableBody {
			if row.Location.Line == line {
				return func(u unit) bool { return u.row == row }
			}
		}
	}
	return nil
}

func within(line, first, last int64) bool { return first <= line && line <= last }

// first returns the first line of a part of the file, with its tags.
func first(tags []*messages.Tag, keyword *messages.Location) int64 {
	if len(tags) > 0 {
		return tags[0].Location.Line
	}
	return keyword.Line
}

// endOfHeader returns the last line before the first child of a feature or rule.
func endOfHeader[C messages.FeatureChild | messages.RuleChild](keyword *messages.Location, children []*C) int64 {
	if len(children) == 0 {
		return keyword.Line
	}
	var background *messages.Background
	var scenario *messages.Scenario
	switch child := any(children[0]).(type) {
	case *messages.FeatureChild:
		if child.Rule != nil {
			return first(child.Rule.Tags, child.Rule.Location) - 1
		}
		background, scenario = child.Background, child.Scenario
	case *messages.RuleChild:
		background, scenario = child.Background, child.Scenario
	}
	if background != nil {
		return background.Location.Line - 1
	}
	return first(scenario.Tags, scenario.Location) - 1
}

// lastLine returns the last line of the last step below a keyword, with its argument.
func lastLine(keyword *messages.Location, steps []*messages.Step) int64 {
	if len(steps) == 0 {
		return keyword.Line
	}
	step := steps[len(steps)-1]
	last := step.Location.Line
	if step.DataTable != nil {
		last = step.DataTable.Rows[len(step.DataTable.Rows)-1].Location.Line
	}
	if s := step.DocString; s != nil {
		end := s.Location.Line + 1
		if s.Content != "" {
			end += int64(strings.Count(s.Content, "\n")) + 1
		}
		last = max(last, end)
	}
	return last
}
