package features

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

// TestNeeds holds which scenarios @needs names, and what is wrong with it.
func TestNeeds(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a name with blanks", "Feature: F\n  Scenario: Log in\n    Given x\n  @needs:Log_in\n  Scenario: Read\n    Given x\n", "Read needs Log in"},
		{"in quotes", "Feature: F\n  Scenario: Log in\n    Given x\n  @needs:\"Log_in\"\n  Scenario: Read\n    Given x\n", "Read needs Log in"},
		{"several", "Feature: F\n  Scenario: a\n    Given x\n  Scenario: b\n    Given x\n  @needs:a @needs:b\n  Scenario: c\n    Given x\n", "c needs a; c needs b"},
		{"the feature's tag is for the others", "@needs:a\nFeature: F\n  Scenario: a\n    Given x\n  Scenario: b\n    Given x\n", "b needs a"},
		{"all rows of an outline", "Feature: F\n  Scenario Outline: port <p>\n    Given <p>\n    Examples:\n      | p |\n      | 1 |\n      | 2 |\n  @needs:port_<p>\n  Scenario: a\n    Given x\n",
			"a needs port <p> (p=1); a needs port <p> (p=2)"},
		{"the own feature first", "Feature: F\n  Scenario: a\n    Given x\n  @needs:a\n  Scenario: b\n    Given x\n|Feature: G\n  Scenario: a\n    Given x\n", "b needs a"},
		{"another feature", "Feature: F\n  @needs:G:_a\n  Scenario: a\n    Given x\n|Feature: G\n  Scenario: a\n    Given x\n", "a needs a"},
		{"nothing", "Feature: F\n  @needs:Log_on\n  Scenario: Read\n    Given x\n  Scenario: Log in\n    Given x\n", "f0.feature:2:1: @needs:Log_on names no scenario that is loaded: did you mean @needs:Log_in?"},
		{"itself", "Feature: F\n  @needs:a\n  Scenario: a\n    Given x\n", "f0.feature:2:1: @needs:a names the scenario itself: name the one whose failure explains this one"},
		{"manual", "Feature: F\n  @manual\n  Scenario: a\n    Given x\n  @needs:a\n  Scenario: b\n    Given x\n", "f0.feature:5:1: @needs:a names a scenario that is @manual, so it does not run and explains nothing"},
		{"several features", "Feature: F\n  @needs:a\n  Scenario: b\n    Given x\n|Feature: G\n  Scenario: a\n    Given x\n|Feature: H\n  Scenario: a\n    Given x\n",
			"f0.feature:2:1: @needs:a names scenarios of several features: write @needs:G:_a or @needs:H:_a"},
		{"a circle", "Feature: F\n  @needs:b\n  Scenario: a\n    Given x\n  @needs:c\n  Scenario: b\n    Given x\n  @needs:a\n  Scenario: c\n    Given x\n",
			`a needs b; b needs c; f0.feature:8:1: @needs goes in a circle, so no failure in it would be told: "a" needs "b" needs "c" needs "a": remove one of these tags`},
	} {
		files, paths := fstest.MapFS{}, []string{}
		for i, text := range strings.Split(test.text, "|Feature") {
			if i > 0 {
				text = "Feature" + text
			}
			path := fmt.Sprintf("f%d.feature", i)
			files[path], paths = &fstest.MapFile{Data: []byte(text)}, append(paths, path)
		}
		set, err := Load(paths, Options{FS: files})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		all := set.Scenarios()
		needed, mistakes := Needs(all)
		var got []string
		for i, its := range needed {
			for _, j := range its {
				name := all[j].Label
				if all[j].Example != "" {
					name += " (" + all[j].Example + ")"
				}
				got = append(got, all[i].Label+" needs "+name)
			}
		}
		for _, m := range mistakes {
			got = append(got, m.Error())
		}
		if text := strings.Join(got, "; "); text != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, text, test.want)
		}
	}
}
