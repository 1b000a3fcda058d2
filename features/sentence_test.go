package features

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const definitions = `Feature: Ours
  Background:
    Given the account "alice"

  @step @browser
  Scenario: I log in as "<user>"
    As members do.
    When I fill in "User" with "<user>"
    And I press "Log in"

  Rule: Pages
    @step
    Scenario Outline: I open "<page>"
      When I go to "<page>"

  Scenario: One
    When I log in as "bob"
`

func TestSentences(t *testing.T) {
	set := load(t, definitions)
	if len(set.Scenarios()) != 1 || set.Scenarios()[0].Name != "One" || len(set.Scenarios()[0].Steps) != 2 {
		t.Errorf("got the scenarios %+v, want One alone", set.Scenarios())
	}
	want := []*Sentence{
		{Path: "x.feature", Line: 6, Column: 3, Feature: "Ours", Text: `I log in as "<user>"`, Description: "As members do.", Browser: true, Named: true, Steps: []Step{
			{Keyword: "When", Text: `I fill in "User" with "<user>"`, Label: `I fill in "User" with "<user>"`, Path: "x.feature", Type: "Action", Line: 8, Column: 5},
			{Keyword: "And", Text: `I press "Log in"`, Label: `I press "Log in"`, Path: "x.feature", Type: "Action", Line: 9, Column: 5},
		}},
		{Path: "x.feature", Line: 13, Column: 5, Feature: "Ours", Text: `I open "<page>"`, Named: true, Steps: []Step{
			{Keyword: "When", Text: `I go to "<page>"`, Label: `I go to "<page>"`, Path: "x.feature", Type: "Action", Line: 14, Column: 7},
		}},
	}
	if !reflect.DeepEqual(set.Sentences, want) {
		t.Errorf("got %+v and %+v", set.Sentences[0], set.Sentences[1])
	}
	whole := load(t, "@step\nFeature: F\n Scenario: a\n  Given b\n Scenario: c\n  Given d\n")
	if len(whole.Sentences) != 2 || len(whole.Scenarios()) != 0 {
		t.Errorf("the feature's tag gives %d sentences and %d scenarios, want 2 and 0", len(whole.Sentences), len(whole.Scenarios()))
	}
}

func TestSentenceMistakes(t *testing.T) {
	if got, want := said("x.feature", "Feature: F\n @step:1\n Scenario: a\n  Given b\n"), "alone: x.feature:2:2: @step takes no value: write it alone instead of \"@step:1\"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for text, want := range map[string]string{
		"Feature: F\n @step\n Scenario:\n  Given b\n":                                                  `x.feature:3:2: the name of a scenario tagged @step is the sentence that it defines: this one has no name`,
		"Feature: F\n @step\n Scenario: a\n":                                                           `x.feature:3:2: the sentence "a" has no steps`,
		"Feature: F\n @step\n Scenario: a\n  Given b\n  Examples:\n   | x |\n   | 1 |":                 `x.feature:5:3: a scenario tagged @step takes no Examples: the values come from the step that uses the sentence, and defaults are in the sentence: [ on the page "<page=/login>"]`,
		"Feature: F\n @step\n Scenario: a <x>\n  Given <x>\n  Examples:\n   | x |\n   | 1 |\n   | 2 |": `x.feature:5:3: a scenario tagged @step takes no Examples: the values come from the step that uses the sentence, and defaults are in the sentence: [ on the page "<page=/login>"]`,
		"Feature: F\n @step\n Scenario: a <x>\n  Given <x>\n  Examples:\n   | x |":                     `x.feature:5:3: a scenario tagged @step takes no Examples: the values come from the step that uses the sentence, and defaults are in the sentence: [ on the page "<page=/login>"]`,
	} {
		_, err := Load([]string{"x.feature"}, Options{FS: files(map[string]string{"x.feature": text})})
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"Feature: F\n @step @timeout:5s\n Scenario: a\n  Given b\n":                                                                                           `x.feature:2:8: @timeout:5s has no effect on a sentence: set it on the scenario that uses it`,
		"Feature: F\n Background:\n  Given c\n @step\n Scenario: a\n  Given b\n":                                                                              `x.feature:2:2: no scenario uses this Background:, and it does not apply to sentences (@step): write its steps into them, or remove it`,
		"Feature: F\n Background:\n  Given c\n Rule: R\n  Background:\n   Given d\n  @step\n  Scenario: a\n   Given b\n Rule: S\n  Scenario: s\n   Given b\n": `x.feature:5:3: no scenario uses this Background:, and it does not apply to sentences (@step): write its steps into them, or remove it`,
		"Feature: F\n @steps\n Scenario: a\n  Given b\n":                                                                                                      `x.feature:2:2: @steps is a plain tag: did you mean @step?`,
		"Feature: F\n @setp\n Scenario: a\n  Given b\n":                                                                                                       `x.feature:2:2: @setp is a plain tag: did you mean @step?`,
	} {
		set := load(t, text)
		if len(set.Warnings) != 1 || set.Warnings[0].Error() != want {
			t.Errorf("%q: got %v, want %s", text, set.Warnings, want)
		}
	}
	set, err := Load([]string{"x.feature"}, Options{FS: files(map[string]string{"x.feature": "Feature: F\n @step\n Scenario: a <x>\n  Given <x>\n  Examples:\n   | x |\n   | 1 |\n   | 2 |"})})
	if err == nil || len(set.Sentences) != 1 || set.Sentences[0].Steps[0].Text != "<x>" {
		t.Errorf("got %+v, want the sentence as it is written, without examples", set.Sentences)
	}
	_, err = Load([]string{"x.feature:8"}, Options{FS: files(map[string]string{"x.feature": definitions})})
	if want := `x.feature:8:1: line 8 belongs to the sentence "I log in as \"<user>\"" (@step), which runs only where a scenario uses it`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestSentencesBeside holds which definitions a file knows that is loaded alone.
func TestSentencesBeside(t *testing.T) {
	define := func(name string) string { return "Feature: F\n @step\n Scenario: " + name + "\n  Given b\n" }
	root := t.TempDir()
	t.Chdir(root)
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scenario := "Feature: S\n Scenario: s\n  Given a\n"
	write("steps/root.feature", define("at the root"))
	write("features/steps/deep/all.feature", define("of all features"))
	write("features/steps/none.feature", scenario+"\n Scenaro: not read\n")
	write("features/web/steps/web.feature", define("of web"))
	write("features/web/beside.feature", define("beside"))
	write("features/web/broken.feature", "Feature: no mark of a sentence\n Scenaro: x\n")
	write("features/web/a.feature", scenario)
	write("features/mail/steps/mail.feature", define("of mail"))
	write("checks/web/a.feature", scenario)
	write("checks/steps/c.feature", define("of checks"))
	write("more/m.feature", define("more"))
	if err := os.Symlink("nowhere.feature", "features/web/dangling.feature"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, dir string
		want      string
	}{
		{"features/web/a.feature", ".", "beside, of web, of all features"},
		{"a.feature", "features/web", "beside, of web, of all features"},
		{filepath.Join(root, "features/web/a.feature"), "/", "beside, of web, of all features"},
		{"checks/web/a.feature", ".", "of checks, at the root"},
		{filepath.Join(root, "checks/web/a.feature"), "/", ""},
	} {
		t.Chdir(filepath.Join(root, test.dir))
		if strings.HasPrefix(test.dir, "/") {
			t.Chdir(t.TempDir())
		}
		set, err := Load([]string{test.path}, Options{})
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		var names []string
		for _, s := range set.Sentences {
			if names = append(names, s.Text); s.Named {
				t.Errorf("%s: %q counts as asked for", test.path, s.Text)
			}
		}
		if got := strings.Join(names, ", "); got != test.want {
			t.Errorf("%s in %s knows %q, want %q", test.path, test.dir, got, test.want)
		}
	}
	t.Chdir(root)
	set, err := Load([]string{"checks/web", "checks/steps"}, Options{Sentences: []string{"more", "checks/steps/c.feature"}})
	if err != nil || len(set.Sentences) != 3 {
		t.Errorf("got %v and %v, want those of checks, of the root and more, each once", set.Sentences, err)
	}
	if _, err := Load([]string{"checks/web"}, Options{Sentences: []string{"nowhere"}}); !errors.As(err, new(*Error)) {
		t.Errorf("got %v, want an error for a directory of sentences that is not there", err)
	}
}
