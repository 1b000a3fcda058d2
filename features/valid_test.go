package features

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	gherkin "github.com/cucumber/gherkin/go/v42"
)

// TestDescriptionsMayHaveAnyWords holds for lines that resemble keywords: the file is valid and runs.
func TestDescriptionsMayHaveAnyWords(t *testing.T) {
	for _, line := range []string{
		"Featured: yes", "Role: editor", "Rules: none", "Scenaro: x", "scenario: x", "Scenario : x", "Example of use: x", "Exampels: 3",
		"Backgrounds: blue", "Background : x", "Feature : x", "feature: x", "Given: x", "Then: x", "And: more", "Given\tx", "Givn x", "Wen: x",
		"Senario Outline: x", "Scenarios are: many", "Ability : x", "Note: x", "Whenever: x", "https://example.org/",
	} {
		for place, text := range map[string]string{
			"feature":  "Feature: F\n  LINE\n  Scenario: a\n    Given b\n",
			"rule":     "Feature: F\n  Rule: r\n    LINE\n    Scenario: a\n      Given b\n",
			"scenario": "Feature: F\n  Scenario: a\n    LINE\n    Given b\n",
			"examples": "Feature: F\n  Scenario: a\n    Given <b>\n    Examples:\n      LINE\n      | b |\n      | c |\n",
		} {
			text = strings.Replace(text, "LINE", line, 1)
			set, err := Load([]string{"x.feature"}, Options{FS: files(map[string]string{"x.feature": text})})
			if err != nil || len(set.Scenarios()) != 1 || len(set.Scenarios()[0].Mistakes) > 0 {
				t.Errorf("%q in the description of a %s: %v", line, place, err)
			}
		}
		markdown := "# Feature: F\n## " + line + "\n## Scenario: a\n* Given b\n"
		if _, err := Load([]string{"x.feature.md"}, Options{FS: files(map[string]string{"x.feature.md": markdown})}); err != nil {
			t.Errorf("%q as a heading: %v", line, err)
		}
	}
}

// TestEveryLanguageLoads writes a feature with every keyword of each language.
func TestEveryLanguageLoads(t *testing.T) {
	all := dialects()
	if len(all) < 70 {
		t.Fatalf("%d languages", len(all))
	}
	step := func(keyword, text string) string { return "    " + keyword + text + "\n" }
	for _, d := range all {
		for _, feature := range d.FeatureKeywords() {
			text := fmt.Sprintf("# language: %s\n%s: F\n", d.Language, feature)
			text += fmt.Sprintf("  %s:\n", d.BackgroundKeywords()[0]) + step(d.StepKeywords()[0], "a")
			scenarios := 0
			for _, keyword := range d.ScenarioKeywords() {
				scenarios++
				text += fmt.Sprintf("  %s: s%d\n", keyword, scenarios)
				for i, k := range d.StepKeywords() {
					text += step(k, fmt.Sprintf("step %d", i))
				}
			}
			for _, keyword := range d.ScenarioOutlineKeywords() {
				for _, examples := range d.ExamplesKeywords() {
					scenarios++
					text += fmt.Sprintf("  %s: s%d\n", keyword, scenarios) + step(d.StepKeywords()[1], "<x>") + fmt.Sprintf("    %s:\n      | x |\n      | 1 |\n", examples)
				}
			}
			text += fmt.Sprintf("  %s: r\n    %s: last\n", d.RuleKeywords()[0], d.ScenarioKeywords()[0]) + step(d.StepKeywords()[1], "z")
			scenarios++
			set, err := Load([]string{"x.feature"}, Options{FS: files(map[string]string{"x.feature": text})})
			if err != nil || len(set.Scenarios()) != scenarios {
				t.Errorf("%s: %d scenarios instead of %d: %v\n%s", d.Language, len(set.Scenarios()), scenarios, err, text)
				continue
			}
			for _, s := range set.Scenarios() {
				if len(s.Mistakes) > 0 || len(s.Steps) < 2 || slices.ContainsFunc(s.Steps, func(step Step) bool { return step.Keyword == "" }) {
					t.Errorf("%s: %s: %v %v", d.Language, s.Label, s.Mistakes, s.Steps)
				}
				if d := gherkin.DialectsBuiltin().GetDialect(set.Features[0].Language); d == nil {
					t.Errorf("no language %q", set.Features[0].Language)
				}
			}
		}
	}
}

// TestMarkdownAsItIsWritten has what Markdown allows beside Gherkin.
func TestMarkdownAsItIsWritten(t *testing.T) {
	for name, text := range map[string]string{
		"front matter":             "---\ntitle: x\ntags: [a]\n---\n\n# Feature: F\n## Scenario: a\n* Given b\n",
		"front matter of TOML":     "+++\ntitle = 'x'\n+++\n# Feature: F\n## Scenario: a\n* Given b\n",
		"front matter with dots":   "---\ntitle: x\n...\n# Feature: F\n## Scenario: a\n* Given b\n",
		"a comment first":          "<!-- markdownlint-disable MD041 -->\n# Feature: F\n## Scenario: a\n* Given b\n",
		"a long comment first":     "<!--\n# Feature: Not this\n\n-->\n\n# Feature: F\n## Scenario: a\n* Given b\n",
		"a comment inside":         "# Feature: F\n<!--\n## Scenario: off\n* Given c\n-->\n## Scenario: a\n* Given b\n<!-- * Given c -->\n",
		"closed headings":          "# Feature: F #\n## Scenario: a ##  \n* Given b\n",
		"numbered steps":           "# Feature: F\n## Scenario: a\n1. Given b\n",
		"numbered with brackets":   "# Feature: F\n## Scenario: a\n1) Given b\n",
		"front matter and CRLF":    "---\r\ntitle: x\r\n---\r\n# Feature: F\r\n## Scenario: a\r\n* Given b\r\n",
		"the name without keyword": "---\na: b\n---\n# F #\n## Scenario: a\n* Given b\n",
		"tags first":               "<!-- x -->\n`@mail`\n# Feature: F\n## Scenario: a\n* Given b\n",
	} {
		set, err := Load([]string{"m.feature.md"}, Options{FS: files(map[string]string{"m.feature.md": text})})
		if err != nil || len(set.Scenarios()) != 1 || len(set.Warnings) > 0 {
			t.Errorf("%s: %v %v", name, err, set.Warnings)
			continue
		}
		s := set.Scenarios()[0]
		if s.Feature != "F" || s.Label != "a" || len(s.Steps) != 1 || s.Steps[0].Text != "b" || s.Line != strings.Count(text[:strings.Index(text, "## Scenario: a")], "\n")+1 {
			t.Errorf("%s: %q %q %d %v", name, s.Feature, s.Label, s.Line, s.Steps)
		}
	}
	// A "#" that belongs to the name, and a rule rather than front matter.
	set, err := Load([]string{"m.feature.md"}, Options{FS: files(map[string]string{"m.feature.md": "# Feature: C#\n---\n## Scenario: a \\#\n* Given b #\n"})})
	if err != nil || set.Scenarios()[0].Feature != "C#" || set.Scenarios()[0].Steps[0].Text != "b #" {
		t.Errorf("%v %+v", err, set)
	}
	// What is never closed is said, not swallowed.
	for text, want := range map[string]string{
		"<!--\n# Feature: F\n## Scenario: a\n* Given b\n":                "m.feature.md:1:1: the comment is never closed: close it with -->",
		"---\ntitle: x\n# Feature: F\n## Scenario: a\n* Given b\n":       "m.feature.md:1:1: the front matter is never closed: close it with ---",
		"# Feature: F\n<!-- x\n## Scenario: a\n* Given b\n":              "m.feature.md:2:1: the comment is never closed: close it with -->",
		"# Feature: F\n## Scenario: a\n* Given b\n<!--\n* Given c\n\n\n": "m.feature.md:4:1: the comment is never closed: close it with -->",
	} {
		if _, err := Load([]string{"m.feature.md"}, Options{FS: files(map[string]string{"m.feature.md": text})}); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// vanishing is a file system in which what is listed is gone when it is opened.
type vanishing struct {
	fstest.MapFS
	gone string
}

func (v vanishing) Open(name string) (fs.File, error) {
	if name == v.gone {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return v.MapFS.Open(name)
}

func (v vanishing) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == v.gone {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return v.MapFS.ReadDir(name)
}

// TestWhatVanishesWhileListedIsNotThere holds for a file or directory that somebody removes meanwhile, as editors and git do.
func TestWhatVanishesWhileListedIsNotThere(t *testing.T) {
	tree := files(map[string]string{
		"features/a.feature": "Feature: A\n  Scenario: a\n    Given b\n", "features/b.feature": "Feature: B\n  Scenario: a\n    Given b\n",
		"features/sub/c.feature": "Feature: C\n  Scenario: a\n    Given b\n",
	})
	for _, gone := range []string{"features/b.feature", "features/sub", "features/sub/c.feature"} {
		set, err := Load([]string{"features"}, Options{FS: vanishing{tree, gone}})
		if err != nil || len(set.Scenarios()) != 2 {
			t.Errorf("%s: %v", gone, err)
		}
	}
	if _, err := Load([]string{"features/a.feature"}, Options{FS: vanishing{tree, "features/a.feature"}}); err == nil {
		t.Error("a file that was named is absent, and nothing is said")
	}
}
