package cmd

import (
	"strings"
	"testing"
)

// named is a project with scenarios of the same names, an outline, Markdown and manual scenarios.
func named(t *testing.T) {
	t.Helper()
	at := site(t)
	project(t, map[string]string{
		"features/a.feature": "Feature: A\n  Scenario: Home\n    When I go to \"" + at + "/a\"\n" +
			"  @manual\n  Scenario: Reset\n    When I go to \"" + at + "/reset\"\n",
		"features/b.feature": "Feature: B\n  Scenario: Home\n    When I go to \"" + at + "/b\"\n" +
			"  Scenario Outline: Page <name>\n    When I go to \"" + at + "/<name>\"\n    Examples:\n      | name |\n      | x    |\n      | y    |\n",
		"features/c.feature.md": "# Feature: C\n\n## Scenario: In Markdown\n\n* When I go to \"" + at + "/c\"\n",
		"manual/m.feature":      "@manual\nFeature: M\n  Scenario: One\n    When I go to \"" + at + "/1\"\n  Scenario: Two\n    When I go to \"" + at + "/2\"\n",
		"broken/good.feature":   "Feature: Good\n  Scenario: Fine\n    When I go to \"" + at + "/\"\n",
		"broken/bad.feature":    "Feature: Bad\n  Scenario: Torn\n    When I go to \"" + at + "/\"\n  Scenaro: Lost\n",
		"broken/manual.feature": "Feature: Half\n  @manual\n  Scenario: By hand\n    When I go to \"" + at + "/\"\n  Scenaro: Gone\n",
	})
}

// TestNames holds what --name selects, and what a name that selects nothing says.
func TestNames(t *testing.T) {
	named(t)
	for _, c := range []struct {
		args string
		code int
		want string // part of the output
	}{
		{"run|features|--name|Home", 0, "2 scenarios: 2 passed."},
		{"run|features|--name|B: Home", 0, "1 scenario: 1 passed."},
		{"run|features/a.feature|--name|Home", 0, "1 scenario: 1 passed."},
		{"run|features/a.feature:2|--name|Reset", 3, `no scenario is called "Reset": there are "Home"`},
		{"run|features|--name|Page <name>", 0, "2 scenarios: 2 passed."},
		{"run|features|--name|Page <name> (name=y)", 0, "1 scenario: 1 passed."},
		{"run|features|--name|B: Page <name> (name=y)", 0, "1 scenario: 1 passed."},
		{"run|features|--name|Page y", 0, "1 scenario: 1 passed."},
		{"run|features|--name|In Markdown", 0, "1 scenario: 1 passed."},
		{"run|features|--name|In Markdown|--name|Home", 0, "3 scenarios: 3 passed."},
		{"run|features|--name|home", 3, `stepwatch: no scenario is called "home": did you mean "Home"?`},
		{"run|features|--name|Markdown", 3, `did you mean "In Markdown"?`},
		{"run|features|--name|Home|--name|Hme", 3, `no scenario is called "Hme": did you mean "Home"?`},
		{"run|features|--name|C: In markdown", 3, `did you mean "In Markdown"?`},
		{"run|features|--name|zzzzzzzz", 3, `no scenario is called "zzzzzzzz", nor anything like it, among 6 scenarios`},
		{"run|broken|--name|Fine", 0, "1 scenario: 1 passed."},
		{"run|broken|--name|Torn", 3, `broken/bad.feature:4:3: "Scenaro:" is not a keyword`},
		{"run|broken|--name|Lost", 3, "2 mistakes, so a scenario of that name may be in what could not be read"},
		{"check|features|--name|Home", 0, "STEPWATCH OK - 2 scenarios, 2 steps passed"},
		{"check|features|--name|Hom", 3, `STEPWATCH UNKNOWN - no scenario is called "Hom": did you mean "Home"?`},
		{"lint|features|--name|Home", 0, "2 scenarios, 0 mistakes"},
		{"lint|features|--name|Hom", 3, `no scenario is called "Hom"`},
	} {
		code, out := said(t, strings.Split(c.args, "|")...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: code %d and\n%s\nwant %d and %q", c.args, code, out, c.code, c.want)
		}
	}
}

// TestLabelsOfANamedScenario holds that the labels of perfdata depend on the arguments alone: another scenario may get the name.
func TestLabelsOfANamedScenario(t *testing.T) {
	named(t)
	for _, args := range []string{"check|features/a.feature|--name|Home", "check|features|--name|A: Home", "check|features|--name|Home"} {
		if _, out := said(t, strings.Split(args, "|")...); !strings.Contains(out, "'A/Home/I go to") {
			t.Errorf("%s: the label is not that of the whole set:\n%s", args, out)
		}
	}
}

// TestManualScenarios holds that a scenario tagged @manual runs only when it is named.
func TestManualScenarios(t *testing.T) {
	named(t)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"run|features", 0, "5 scenarios: 5 passed."},
		{"run|features", 0, "1 scenario tagged @manual left out: name what should run with --name or FILE:LINE."},
		{"run|features/a.feature", 0, "1 scenario: 1 passed."},
		{"run|features/a.feature:1", 0, "1 scenario: 1 passed."}, // the line of the feature names no scenario
		{"run|features/a.feature:4", 0, "Scenario: Reset"},
		{"run|features/a.feature:6", 0, "Scenario: Reset"},
		{"run|features|features/a.feature:5", 0, "6 scenarios: 6 passed."},
		{"run|features/a.feature:5|features", 0, "6 scenarios: 6 passed."},
		{"run|features|--name|Reset", 0, "Scenario: Reset"},
		{"check|features", 0, "STEPWATCH OK - 5 scenarios"},
		{"check|features/a.feature:5", 0, "'I go to"},
		{"run|manual", 3, `all 2 scenarios are tagged @manual, so they run only when they are named: use --name "Scenario" or FILE:LINE`},
		{"run|manual|--tags|@manual", 3, `all 2 scenarios are tagged @manual`},
		{"run|manual/m.feature:2", 3, `all 2 scenarios are tagged @manual`},
		{"run|manual/m.feature:3", 0, "1 scenario: 1 passed."},
		{"check|manual", 3, "STEPWATCH UNKNOWN - nothing to run: all 2 scenarios are tagged @manual"},
		{"check|manual|--name|Two", 0, "STEPWATCH OK - 1 steps passed"},
		{"lint|manual", 0, "2 scenarios, 0 mistakes"},
		{"check|broken/manual.feature|broken/good.feature", 3, "the file has a mistake"}, // what is not readable may not be manual
	} {
		code, out := said(t, strings.Split(c.args, "|")...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: code %d and\n%s\nwant %d and %q", c.args, code, out, c.code, c.want)
		}
	}
}
