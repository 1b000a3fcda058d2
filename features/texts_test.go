package features

import (
	"strings"
	"testing"
	"unsafe"
)

// TestShared checks that equal texts and tags of all files are in memory once, and that none of them is a part of a longer text.
func TestShared(t *testing.T) {
	const one = `@every:1m @owner:web
Feature: One
  Scenario: Home
    When I go to "http://a.example/"
    Then I should see "All is well"

  Scenario Outline: Pages
    When I go to "<page>"
    Then I should see "All is well"
      | All is well |
    Examples:
      | page                    |
      | http://a.example/       |
      | http://a.example/second |
`
	const two = "Feature: Two\n  Scenario: Home\n    Then I should see \"All is well\"\n"
	set, err := Load([]string{"1.feature", "2.feature"}, Options{FS: files(map[string]string{"1.feature": one, "2.feature": two})})
	if err != nil {
		t.Fatal(err)
	}
	all := set.Scenarios()
	same := func(what, a, b string) {
		t.Helper()
		if a != b || unsafe.StringData(a) != unsafe.StringData(b) {
			t.Errorf("%s: %q and %q are not the same text in memory", what, a, b)
		}
	}
	last := all[3].Steps[0].Text // I should see "All is well"
	for _, s := range all[:3] {
		same("the text of a step", s.Steps[1].Text, last)
		same("its label", s.Steps[1].Label, last)
		same("the path", s.Path, all[0].Path)
		same("the value of a tag", s.Tags[1].Value, all[0].Tags[1].Value)
		same("the owner", s.Policy.Owner, all[0].Policy.Owner)
	}
	same("the text that a row fills in", all[1].Steps[0].Text, all[0].Steps[0].Text)
	same("the label of rows", all[2].Steps[0].Label, all[1].Steps[0].Label)
	same("a cell", all[2].Steps[1].Table[0][0], all[1].Steps[1].Table[0][0])
	same("a name", all[3].Name, all[0].Name)
	same("a name and its label", all[0].Label, all[0].Name)
	if &all[0].Tags[0] != &all[1].Tags[0] {
		t.Error("scenarios with the same tags have a copy each")
	}

	line := "    Then I should see \"All is well\""
	text := make(texts).share(line[9:])
	if unsafe.StringData(text) == unsafe.StringData(line[9:]) || text != strings.TrimSpace(line)[5:] {
		t.Errorf("%q is a part of its line", text)
	}
}
