package features

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// inMarkdown has everything that Markdown with Gherkin has, and prose of all kinds around it.
const inMarkdown = "`@mail` `@every:1m`\n" +
	"# Feature: Mail\n" +
	"\n" +
	"Why we watch it, with `@nobody` told and a table:\n" +
	"\n" +
	"  | not | a step's |\n" +
	"\n" +
	"```gherkin\n" +
	"# Scenario: an example\n" +
	"* Given nothing\n" +
	"```\n" +
	"\n" +
	"## Background:\n" +
	"* Given a mailbox\n" +
	"\n" +
	"## Rule: It arrives\n" +
	"\n" +
	"`@warn:5s` and why\n" +
	"### Scenario Outline: to <whom>\n" +
	"- Steps are items of a list, and this is none.\n" +
	"- When I send a mail to \"<whom>\"\n" +
	"  | header  | value |\n" +
	"  | :------ | ----: |\n" +
	"  | Subject | a \\| b |\n" +
	"  | ------- | --- |\n" +
	"\n" +
	"  ````text/html\n" +
	"  Dear <whom>,\n" +
	"    ```\n" +
	"  \"\"\"\n" +
	"  ````\n" +
	"  + Then it is there\n" +
	"\n" +
	"#### Examples:\n" +
	"Prose between.\n" +
	"\n" +
	"  | whom  |\n" +
	"  | ----- |\n" +
	"  | alice |\n" +
	"  | bob   |\n" +
	"\n" +
	"## Notes\n" +
	"* Given that this is prose\n"

func TestMarkdown(t *testing.T) {
	set, err := Load([]string{"m.feature.md"}, Options{FS: files(map[string]string{"m.feature.md": inMarkdown})})
	if err != nil || len(set.Warnings) > 0 {
		t.Fatal(err, set.Warnings)
	}
	var got []string
	for _, s := range set.Scenarios() {
		got = append(got, fmt.Sprintf("%d %s/%s %s %v", s.Line, s.Feature, s.Rule, s.Name, s.Tags))
	}
	want := []string{"39 Mail/It arrives to alice [@mail @every:1m @warn:5s]", "40 Mail/It arrives to bob [@mail @every:1m @warn:5s]"}
	if !slices.Equal(got, want) {
		t.Errorf("scenarios\n%q\nwant\n%q", got, want)
	}
	steps := set.Scenarios()[1].Steps
	for i := range steps {
		steps[i].Label = ""
	}
	wantSteps := []Step{
		{Keyword: "Given", Text: "a mailbox", Path: "m.feature.md", Type: "Context", Line: 14, Column: 3},
		{Keyword: "When", Text: `I send a mail to "bob"`, Values: [][2]int{{18, 21}}, Path: "m.feature.md", Type: "Action", Line: 21, Column: 3,
			Table:      [][]string{{"header", "value"}, {"Subject", "a | b"}, {"-------", "---"}},
			tableFirst: true, DocString: &DocString{MediaType: "text/html", Content: "Dear bob,\n  ```\n\"\"\""}},
		{Keyword: "Then", Text: "it is there", Path: "m.feature.md", Type: "Outcome", Line: 32, Column: 5},
	}
	if !reflect.DeepEqual(steps, wantSteps) {
		t.Errorf("steps\n%+v\nwant\n%+v", steps, wantSteps)
	}
}

// TestMarkdownSelection selects by lines of the file as it is written.
func TestMarkdownSelection(t *testing.T) {
	for line, want := range map[int]int{1: 2, 6: 2, 14: 2, 18: 2, 22: 2, 30: 2, 31: 2, 37: 2, 39: 1, 40: 1, 42: 0} {
		set, err := Load([]string{fmt.Sprintf("m.feature.md:%d", line)}, Options{FS: files(map[string]string{"m.feature.md": inMarkdown})})
		if got := len(set.Scenarios()); got != want || (err != nil) != (want == 0) {
			t.Errorf("line %d selects %d scenarios, want %d (%v)", line, got, want, err)
		}
	}
}

// TestMarkdownBeside takes a directory with files of both kinds, and a sentence that Markdown defines.
func TestMarkdownBeside(t *testing.T) {
	set, err := Load([]string{"d"}, Options{FS: files(map[string]string{
		"d/a.feature":          "Feature: A\n  Scenario: a\n    Given b\n",
		"d/c.feature.md":       "# Feature: C\n## Scenario: c\n* Given b\n",
		"d/steps/b.feature.md": "# Feature: B\n`@step`\n## Scenario: b\n* When I goto \"/\"\n",
		"d/README.md":          "# Scenario: no feature\n",
		"d/.x.feature.md":      "what an editor left",
	})})
	if err != nil || len(set.Scenarios()) != 2 || len(set.Sentences) != 1 || set.Sentences[0].Line != 3 || set.Sentences[0].Text != "b" {
		t.Errorf("Load gives %d scenarios, %d sentences, %v", len(set.Scenarios()), len(set.Sentences), err)
	}
}

func TestMarkdownMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no heading for the feature", "The mail\n========\n# Scenario: a\n* Given b\n", ""},
		{"another part first", "# Scenario: a\n* Given b\n",
			`1:3: "Scenario:" comes before the feature: the file must begin with "Feature:"`},
		{"nothing", "\n\n", `the file contains no feature: it must begin with "Feature:"`},
		{"prose only", "# Notes\n\nNothing here.\n", `1:1: feature "Notes" contains no scenario, so nothing of it would run`},
		{"no bullets", "# Feature: F\n## Scenario: a\nGiven b\n",
			`alone: 2:4: scenario "a" has no steps, so it would run nothing: a step is an item of a list, such as "* Given …"`},
		{"wrong keywords", "# Feature: F\n## Scenario: a\n* Givn b\n* Given c\n## Scenaro: d\n* Given e\n",
			"warning: 3:3: the item counts as prose: \"Givn\" is not a keyword: did you mean \"Given\"?\n" +
				"warning: 5:4: the heading counts as prose: \"Scenaro:\" is not a keyword: did you mean \"Scenario:\"?"},
		{"table at the margin", "# Feature: F\n## Scenario: a\n* Given b\n\n| c |\n| - |\n",
			"warning: 5:1: the table counts as prose: indent it by two to five blanks"},
		{"doc string open", "# Feature: F\n## Scenario: a\n* Given b\n````\n```\n",
			"6:1: the file ends inside the doc string that line 4 opens: close it with ````"},
		{"doc string twice", "# Feature: F\n## Scenario: a\n* Given b\n  ```\n  ```\n  ```\n  ```\n",
			"6:3: a doc string must be directly below a step or its table, and a step takes only one doc string"},
		{"blank in a tag", "`@a b`\n# Feature: F\n## Scenario: a\n* Given b\n", `1:2: "b" is not a tag: each tag begins with @ and contains no blanks`},
		{"uneven table", "# Feature: F\n## Scenario: a\n* Given b\n  | c | d |\n  | - | - |\n  | e |\n",
			"6:3: the row has 1 cell, but the first row of its table, at line 4, has 2"},
		{"both escapes", "# Feature: F\n## Scenario: a\n* Given b\n  ```\n  \\\"\\\"\\\" \\`\\`\\`\n  ```\n",
			"4:3: a doc string cannot contain both \\\"\\\"\\\" and \\`\\`\\`"},
	} {
		got := strings.TrimSpace(said("x.feature.md", c.text))
		if got = strings.NewReplacer("x.feature.md: ", "", "x.feature.md:", "").Replace(got); got != c.want {
			t.Errorf("%s:\n%s\ngot:\n%s\nwant:\n%s", c.name, c.text, got, c.want)
		}
	}
}
