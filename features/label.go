package features

import (
	"fmt"

	messages "github.com/cucumber/messages/go/v34"
)

// unnamed is the label of a scenario without a name.
const unnamed = "(no name)"

// unique makes texts unique. It has the last number that was given to each text; 1 is that without a number.
type unique map[string]int

// number returns the text itself the first time, then the text followed by " (2)", " (3)" and so on.
func (u unique) number(text string) string {
	numbered, n := text, u[text]
	for u[numbered] > 0 {
		n++
		numbered = fmt.Sprintf("%s (%d)", text, n)
	}
	u[numbered] = max(u[numbered], 1)
	u[text] = max(u[text], n)
	return numbered
}

// qualify makes Scenario.Feature unique among the loaded files, Scenario.Label within its feature, and Scenario.Example
// within its outline. It warns of a label with a number, because it belongs to the order of the scenarios.
func qualify(documents []*document) (warnings []Problem) {
	names := make([]string, len(documents))
	for i, d := range documents {
		if names[i] = d.feature.Name; names[i] == "" {
			names[i] = d.feature.Path
			warnings = append(warnings, Problem{d.feature.Path, d.feature.Line, 1, "the feature has no name: its results have the name of the file", RuleName})
		}
	}
	distinguish(names, func(i int) string { return documents[i].feature.Path })
	for i, d := range documents {
		warnings = append(warnings, d.qualify(names[i])...)
	}
	return warnings
}

// qualify does the same within one file. name is the unique name of its feature.
func (d *document) qualify(name string) (warnings []Problem) {
	// All rows of an outline share its label, so the scenarios as written must be distinguished.
	var written []unit
	at := map[*messages.Scenario]int{}
	for _, u := range d.units {
		if _, known := at[u.written]; !known {
			at[u.written] = len(written)
			written = append(written, u)
		}
	}
	labels := make([]string, len(written))
	for i, u := range written {
		l := u.written.Location
		if labels[i] = u.scenario.Label; labels[i] == "" {
			labels[i] = unnamed
			warnings = append(warnings, Problem{d.feature.Path, int(l.Line), int(l.Column),
				fmt.Sprintf("the scenario has no name: its results are those of %q, with a number after the first", unnamed), RuleName})
		}
	}
	duplicates := distinguishOnce(labels, func(i int) string {
		if written[i].rule == nil {
			return ""
		}
		return written[i].rule.Name
	})
	if duplicates {
		// The first keeps its name, so that it has the same results when another scenario is added below it. Numbers do
		// not change with lines.
		taken := unique{}
		for i, label := range labels {
			if labels[i] = taken.number(label); labels[i] != label && written[i].written.Name != "" {
				l := written[i].written.Location
				warnings = append(warnings, Problem{d.feature.Path, int(l.Line), int(l.Column), fmt.Sprintf(
					"another scenario of the feature is also called %q: the results of this one are those of %q", written[i].written.Name, labels[i]), RuleName})
			}
		}
	}
	rows := make([]unique, len(written))
	for _, u := range d.units {
		i := at[u.written]
		u.scenario.Feature = name
		u.scenario.Label = labels[i]
		if u.row == nil {
			continue
		}
		if rows[i] == nil {
			rows[i] = unique{}
		}
		u.scenario.Example = rows[i].number(u.scenario.Example)
	}
	return warnings
}

// distinguish appends more to each text that occurs twice until none does. The results of more must differ from each other.
func distinguish(texts []string, more func(int) string) {
	for {
		twice := repeated(texts)
		if len(twice) == 0 {
			return
		}
		for _, i := range twice {
			texts[i] += " (" + more(i) + ")"
		}
	}
}

// distinguishOnce appends more, if not empty, to each text that occurs twice, and reports whether there were any.
func distinguishOnce(texts []string, more func(int) string) bool {
	twice := repeated(texts)
	for _, i := range twice {
		if m := more(i); m != "" {
			texts[i] += " (" + m + ")"
		}
	}
	return len(twice) > 0
}

// repeated returns the indices of all texts that occur more than once.
func repeated(texts []string) (indices []int) {
	if len(texts) < 2 {
		return nil
	}
	count := make(map[string]int, len(texts))
	for _, t := range texts {
		count[t]++
	}
	for i, t := range texts {
		if count[t] > 1 {
			indices = append(indices, i)
		}
	}
	return indices
}
