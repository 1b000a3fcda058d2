package steps_test

import (
	"context"
	"errors"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

func nothing(context.Context, *steps.World, steps.Args) error { return nil }

// TestBuiltinExamples holds that each example in the catalogue means the sentence that it stands beside.
func TestBuiltinExamples(t *testing.T) {
	library := builtin.Library()
	for _, d := range library.Definitions() {
		text := d.Example
		if keyword, rest, found := strings.Cut(text, " "); found && slices.Contains([]string{"Given", "When", "Then", "And", "But", "*"}, keyword) {
			text = rest
		}
		first, _, _ := strings.Cut(text, "\n")
		b, err := library.Bind(features.Step{Text: strings.TrimSpace(first)})
		if err != nil {
			t.Errorf("%q: its example: %v", d.Sentence, err)
		} else if b.Definition != d {
			t.Errorf("the example %q of %q means %q", d.Example, d.Sentence, b.Definition.Sentence)
		}
		if d.Area == "" || d.Does == "" || !strings.HasSuffix(d.Does, ".") {
			t.Errorf("%q: the catalogue needs an area and a whole sentence of what it does, got %q and %q", d.Sentence, d.Area, d.Does)
		}
	}
}

func TestBindNamesTheNearestSentence(t *testing.T) {
	for text, want := range map[string]string{
		`I goto "http://x/"`:                           `I go to {url}`,
		`I folow "Contact"`:                            `I follow {text}`,
		`I should se "x"`:                              `I should see {text}`,
		`I send a mesage from "a" to "b" via 587`:      `I send a message from {account} to {account} via {port}`,
		`the elapsed time must be less than 5 seconds`: `the elapsed time should be less than {duration}`,
		`I goto https://www.example.org/a/long/way`:    `I go to {url}`,
		`I see "Welcome"`:                              `I should see {text}`,
		`I press the "Log in" button`:                  `I press {text}`,
		`I click on "Log in"`:                          `I click {text}`,
		`"bob" receives it within 60s`:                 `{account} receives it over IMAP within {duration}`,
		`I wait 5 seconds`:                             `wait {text} seconds`,
		`I open "https://www.example.org/"`:            ``,
		`completely unrelated words about the weather`: ``,
	} {
		_, err := builtin.Library().Bind(features.Step{Text: text})
		var undefined *steps.UndefinedError
		if !errors.As(err, &undefined) {
			t.Errorf("%q: got %v", text, err)
			continue
		}
		got := ""
		if len(undefined.Nearest) > 0 {
			got = undefined.Nearest[0]
		}
		if got != want {
			t.Errorf("%q: nearest is %q, want %q", text, got, want)
		}
	}
}

func TestAlso(t *testing.T) {
	library := steps.NewLibrary(steps.Definition{Sentence: "I wait for {duration}", Also: []string{`/^wait "(.*)" seconds/`, "I sleep for {duration}"}, Func: nothing})
	for text, caught := range map[string]string{`I wait for 5s`: "5s", `I sleep for 2 minutes`: "2 minutes", `wait "3" seconds, then`: "3"} {
		bound, err := library.Bind(features.Step{Text: text})
		if err != nil || bound.Args.Text(0) != caught {
			t.Errorf("%q: got %+v, %v", text, bound, err)
		}
	}
}

func TestLibraryRefusesWhatIsWrong(t *testing.T) {
	for want, definitions := range map[string][]steps.Definition{
		`steps: "I pass" is defined twice`:                                                   {{Sentence: "I pass", Func: nothing}, {Sentence: "I pass", Func: nothing}},
		`steps: "^I (.*)$" is defined twice`:                                                 {{Sentence: "I {word}", Pattern: "^I (.*)$"}, {Sentence: "I do {word}", Pattern: "^I (.*)$"}},
		`steps: sentence "I {wrod}": unknown kind of parameter {wrod}`:                       {{Sentence: "I {wrod}"}},
		`steps: sentence "I {word}" has 1 parameters, its pattern ^I$ 0 groups`:              {{Sentence: "I {word}", Pattern: "^I$"}},
		`steps: sentence "I try {word}" has 1 parameters, its pattern ^I pass$ 0 groups`:     {{Sentence: "I try {word}", Also: []string{"/^I pass$/"}}},
		"steps: sentence \"I {word}\": error parsing regexp: missing closing ): `^I (\\w+$`": {{Sentence: "I {word}", Pattern: `^I (\w+$`}},
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("got %v, want %s", got, want)
				}
			}()
			_, err := steps.NewLibrary(definitions...).Bind(features.Step{Text: "I pass"})
			t.Error(err)
		}()
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"60s": time.Minute, "5 minutes": 5 * time.Minute, "1 minute": time.Minute, "1.5 s": 1500 * time.Millisecond, "200 ms": 200 * time.Millisecond,
		"200 milliseconds": 200 * time.Millisecond, "2 hours": 2 * time.Hour, "2h": 2 * time.Hour, "3 min": 3 * time.Minute, "0s": 0,
	} {
		if got, err := steps.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %s and %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "s", "5", "5 parsecs", "-5s", "1e300 hours", "99999999999999999999h"} {
		if got, err := steps.ParseDuration(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}

// TestPatternsAreFoundByHowTheyBegin holds that a pattern is tried on each text that it may match.
func TestPatternsAreFoundByHowTheyBegin(t *testing.T) {
	for pattern, text := range map[string]string{
		`^I pass$`:        "I pass",
		`^I pass(?:ed)?$`: "I passed",
		`^I passe?$`:      "I pass",
		`^I pas*$`:        "I pa",
		`^I pas{0,1}$`:    "I pa",
		`^I pass|we pass`: "there we pass",
		`I pass`:          "when I pass",
		`(?i)^i pass$`:    "I pass",
		`^é?t`:            "t",
		`^I pass`:         "I passed",
	} {
		library := steps.NewLibrary(steps.Definition{Sentence: "passing", Pattern: pattern, Func: nothing})
		if _, err := library.Bind(features.Step{Text: text}); err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

// TestLibraryAreas checks that each built-in area has a place in the catalogue of its own.
func TestLibraryAreas(t *testing.T) {
	places := make(map[int]string)
	for _, d := range builtin.Library().Definitions() {
		area := steps.AreaOf(d.Area)
		if area.Place == steps.AreaOf("another").Place {
			t.Errorf("area %q of %q is not registered", d.Area, d.Sentence)
		}
		if other, taken := places[area.Place]; taken && other != area.Name {
			t.Errorf("the areas %q and %q have the same place", other, area.Name)
		}
		places[area.Place] = area.Name
	}
	if got := steps.AreaOf("shop"); got.Title != "Shop" || got.Place <= steps.AreaOf("cucumber-nagios").Place {
		t.Errorf("got %+v for an area that is not registered, want it after all others", got)
	}
}
