package steps_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestATextEndsAtItsClosingQuote holds that what follows a text in quotes never belongs to the text: such a step is
// undefined, and it is said what follows the text and which sentence may be meant.
func TestATextEndsAtItsClosingQuote(t *testing.T) {
	for text, want := range map[string]string{
		`I should not see "Error" or "Fatal"`:                          "no sentence matches \"I should not see \\\"Error\\\" or \\\"Fatal\\\"\": a text ends at its closing quote, and after it \"I should not see {text}\" has no `or \"Fatal\"`: write another step for it, or \\\" for a quote inside a text",
		`I should not see "Error" within "#content"`:                   "no sentence matches \"I should not see \\\"Error\\\" within \\\"#content\\\"\": a text ends at its closing quote, and after it \"I should not see {text}\" has no `within \"#content\"`: did you mean \"within {text} I should not see {text}\"? (A quote inside a text is written \\\".)",
		`I should not see the link "About" in the "navigation"`:        "no sentence matches \"I should not see the link \\\"About\\\" in the \\\"navigation\\\"\": a text ends at its closing quote, and after it \"I should not see the link {text}\" has no `in the \"navigation\"`: write another step for it, or \\\" for a quote inside a text",
		`I should not see "A" before "B"`:                              "no sentence matches \"I should not see \\\"A\\\" before \\\"B\\\"\": a text ends at its closing quote, and after it \"I should not see {text}\" has no `before \"B\"`: write another step for it, or \\\" for a quote inside a text",
		`I press "X" within ".y"`:                                      "no sentence matches \"I press \\\"X\\\" within \\\".y\\\"\": a text ends at its closing quote, and after it \"I press {text}\" has no `within \".y\"`: write another step for it, or \\\" for a quote inside a text",
		`the sample "up{job="mta"}" is 1`:                              "no sentence matches \"the sample \\\"up{job=\\\"mta\\\"}\\\" is 1\": a text ends at its closing quote, and after it \"the sample {text} is {number}\" has no `mta\"}\"`: write another step for it, or \\\" for a quote inside a text",
		`the answer does not contain "a" or "b"`:                       "has no `or \"b\"`",
		`its header "Subject" is "a" or "b"`:                           "has no `or \"b\"`",
		`there is no file "/a" or "/b"`:                                "has no `or \"/b\"`",
		`it did not go through "mx1" or "mx2"`:                         "has no `or \"mx2\"`",
		`the output should not contain "ERROR" and not "FATAL"`:        "has no `and not \"FATAL\"`",
		`"192.0.2.1" is not banned and "192.0.2.2" is not banned`:      "has no `and \"192.0.2.2\" is not banned`",
		`I go to https://example.org/ and wait`:                        "\"I go to {url}\" ends before `and wait`: write another step for it",
		`I go to "https://example.org/`:                                "no sentence matches",
		`I go to https://example.org/"`:                                "no sentence matches",
		`the request should succeed and I should not see "Error"`:      "no sentence matches",
		`the page should show "x" and then the request should fail`:    "no sentence matches",
		`I fetch headers from "https://example.org/" and "https://b/"`: "no sentence matches",
		`the file "a" should not contain "x" or "y"`:                   "has no `or \"y\"`",
		`a file named 'a' should contain 'b' or 'c'`:                   "no sentence matches",
	} {
		_, err := builtin.Library().Bind(features.Step{Text: text})
		var undefined *steps.UndefinedError
		if !errors.As(err, &undefined) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestQuotesInsideATextAreWrittenWithABackslashOrInSingleQuotes(t *testing.T) {
	for text, want := range map[string][]string{
		`I should see "say \"hello\""`:                   {`say "hello"`},
		`I should see 'say "hello"'`:                     {`say "hello"`},
		`I should see 'it\'s "here"'`:                    {`it's "here"`},
		`I should see "it's here"`:                       {`it's here`},
		`I should see 'Contact'`:                         {`Contact`},
		`I should see ''`:                                {``},
		`I should see "\""`:                              {`"`},
		`I should see "C:\\"`:                            {`C:\`},
		`I should see "a\\b"`:                            {`a\\b`},
		`I should see "\d+\.\d"`:                         {`\d+\.\d`},
		`I should see "\\\""`:                            {`\"`},
		`I fill in 'Name' with "Alice \"Al\" A"`:         {`Name`, `Alice "Al" A`},
		`I fill in "Name" with 'Alice "Al" A'`:           {`Name`, `Alice "Al" A`},
		`the JSON at '$["a b"]' should be "1"`:           {`$["a b"]`, `1`},
		`the sample 'up{job="mta"}' is 1`:                {`up{job="mta"}`, `1`},
		`I go to 'https://example.org/'`:                 {`https://example.org/`},
		`I go to https://example.org/it's`:               {`https://example.org/it's`},
		"I run `echo \"a \\\"b\\\"\" 'c'`":               {`echo "a \"b\"" 'c'`},
		`I run 'echo "a"'`:                               {`echo "a"`},
		`the output should match /a "b" \"c\"/`:          {`output`, `a "b" \"c\"`},
		`I read the bans of fail2ban's jail 'a "b"'`:     {`a "b"`},
		`Assumption: it's "so" and \"so\"`:               {`it's "so" and \"so\"`},
		`within '#a "b"' I should not see "it's \"so\""`: {`#a "b"`, `it's "so"`},
	} {
		bound, err := builtin.Library().Bind(features.Step{Text: text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !slices.Equal(bound.Args.Captured, want) {
			t.Errorf("%s: got %q, want %q", text, bound.Args.Captured, want)
		}
	}
}

// TestEverySentenceEndsItsTextsAtTheClosingQuote tries each parameter in quotes of each sentence.
func TestEverySentenceEndsItsTextsAtTheClosingQuote(t *testing.T) {
	quoted := regexp.MustCompile(`"[^"]*"`)
	library, tried := builtin.Library(), 0
	for _, d := range library.Definitions() {
		first, _, _ := strings.Cut(d.Example, "\n")
		if keyword, rest, found := strings.Cut(first, " "); found && slices.Contains([]string{"Given", "When", "Then", "And", "But", "*"}, keyword) {
			first = rest
		}
		plain, err := library.Bind(features.Step{Text: first})
		if err != nil {
			t.Errorf("%s: %v", first, err)
			continue
		}
		for _, at := range quoted.FindAllStringIndex(first, -1) {
			value := first[at[0]+1 : at[1]-1]
			i := slices.Index(plain.Args.Captured, value)
			if i < 0 || slices.Contains(plain.Args.Captured[i+1:], value) || strings.Contains(first[:at[0]], "`") {
				continue
			}
			tried++
			if b, err := library.Bind(features.Step{Text: first[:at[0]] + `"` + value + `" or "` + value + `"` + first[at[1]:]}); err == nil {
				t.Errorf("%q takes %q", b.Definition.Sentence, b.Args.Captured)
			}
			if plain.Definition.Parameters()[i] == "url" { // takes no blanks
				continue
			}
			for _, written := range []string{`"x \"y\" z"`, `'x "y" z'`} {
				b, err := library.Bind(features.Step{Text: first[:at[0]] + written + first[at[1]:]})
				if err != nil && errors.As(err, new(*steps.UndefinedError)) {
					if plain.Definition.Parameters()[i] != "int" {
						t.Errorf("%q with %s: %v", d.Sentence, written, err)
					}
				} else if err == nil && (b.Definition != plain.Definition && b.Definition.Sentence != "I run {single}" || b.Args.Captured[i] != `x "y" z`) {
					t.Errorf("%q with %s means %q %q", d.Sentence, written, b.Definition.Sentence, b.Args.Captured)
				}
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d parameters were tried", tried)
	}
}

// TestCompatReadsQuotesAsCucumberNagiosDoes holds that nothing changes for a project of cucumber-nagios.
func TestCompatReadsQuotesAsCucumberNagiosDoes(t *testing.T) {
	for text, want := range map[string][]string{
		`I should not see "Error" or "Fatal"`:                  {`Error" or "Fatal`},
		`I should see "say \"hello\""`:                         {`say \"hello\"`},
		`I go to https://example.org/"x"`:                      {`https://example.org/"x`},
		`a file named 'a' should contain 'b' or 'c'`:           {"a", "b' or 'c"},
		`the first of "many" requests request should fail, so`: nil,
		`Given I fetch headers from "https://x/" and look`:     {"https://x/"},
		`I fill in "a" with "b" with "c"`:                      {`a" with "b`, `c`},
	} {
		bound, err := builtin.Library().Compat().Bind(features.Step{Text: text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !slices.Equal(bound.Args.Captured, want) {
			t.Errorf("%s: got %q, want %q", text, bound.Args.Captured, want)
		}
	}
}

func outline(t *testing.T, step, cell string) features.Step {
	t.Helper()
	text := "Feature: F\n  Scenario Outline: S\n    * " + step + "\n    Examples:\n      | c |\n      | " + cell + " |\n"
	path := t.TempDir() + "/f.feature"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := features.Load([]string{path}, features.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set.Scenarios()[0].Steps[0]
}

// TestTheQuotesOfACellBelongToTheText holds that the row of an outline fills in a text and makes no other step of it.
func TestTheQuotesOfACellBelongToTheText(t *testing.T) {
	for _, c := range []struct{ step, cell, sentence, want string }{
		{`I should see "<c>"`, `say "hello"`, "I should see {text}", `say "hello"`},
		{`I should see "<c>"`, `a" within 5s`, "I should see {text}", `a" within 5s`},
		{`I should see "<c>" within 5s`, `a" within "`, "I should see {text} within {duration}", `a" within "`},
		{`I should not see "<c>"`, `"`, "I should not see {text}", `"`},
		{`I should see "<c>"`, `it's`, "I should see {text}", `it's`},
		{`I should see '<c>'`, `it's "so"`, "I should see {text}", `it's "so"`},
		{`I should see "C:\<c>"`, `"x"`, "I should see {text}", `C:\"x"`},
		{`I should see "a <c> b \"c\""`, `"x" \"`, "I should see {text}", `a "x" \" b "c"`},
		{`I should see <c>`, `"hello"`, "I should see {text}", `hello`},
		{`I <c>`, `press "Go"`, "I press {text}", `Go`},
		{`I press "<c>"`, `\\`, "I press {text}", `\`},
		{`I press "<c>"`, ``, "I press {text}", ``},
		{`I go to "<c>"`, `/a"b`, "I go to {url}", `/a"b`},
		{`I go to <c>`, `/people`, "I go to {url}", `/people`},
	} {
		step := outline(t, c.step, c.cell)
		b, err := builtin.Library().Bind(step)
		if err != nil {
			t.Errorf("%s with %s: %v", c.step, c.cell, err)
		} else if b.Definition.Sentence != c.sentence || b.Args.Text(0) != c.want {
			t.Errorf("%s with %s: got %q %q, want %q", c.step, c.cell, b.Definition.Sentence, b.Args.Captured, c.want)
		}
	}
	for _, c := range [][2]string{{`I should see <c>`, `"a" or "b"`}, {`I go to <c>`, `/a"`}} {
		if b, err := builtin.Library().Bind(outline(t, c[0], c[1])); err == nil {
			t.Errorf("%s with %s means %q %q", c[0], c[1], b.Definition.Sentence, b.Args.Captured)
		}
	}
}

// TestTheQuotesOfAValueBelongToTheText holds the same for the sentences of operators.
func TestTheQuotesOfAValueBelongToTheText(t *testing.T) {
	library, mistakes := builtin.Library().Define(fixture.Sentences("own.feature", `I look for "<what>" in '<where>'
	within "<where>" I should see "see \"<what>\""
I say "it \"works\"" to "<whom>"
	I fill in 'To "whom"' with '<whom>'
I find "<what>"
	I look for "<what>" in 'a "b"'`))
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	for text, want := range map[string]string{
		`I look for "a \"b\"" in 'c "d" e'`:           `within {text} I should see {text} ["c \"d\" e" "see \"a \"b\"\""]` + "\n",
		`I say "it \"works\"" to "Al \"the man\" Bo"`: `I fill in {text} with {text} ["To \"whom\"" "Al \"the man\" Bo"]` + "\n",
		`I find 'x" I should see "'`:                  `within {text} I should see {text} ["a \"b\"" "see \"x\" I should see \"\""]` + "\n",
	} {
		b, err := library.Bind(features.Step{Text: text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := unfold(b); got != want {
			t.Errorf("%s: got %swant %s", text, got, want)
		}
	}
	if b, err := library.Bind(features.Step{Text: `I find "x" and "y"`}); err == nil {
		t.Errorf("it means %s", unfold(b))
	}
}

// FuzzQuotes holds that a quoted value is bound as it is, whatever it holds, and that no step binds a value with a quote
// that is not marked as such.
func FuzzQuotes(f *testing.F) {
	for _, s := range []string{`a`, `"`, `\`, `say "hello"`, `\"`, `'`, `it's`, "`", "\x01\x07", `C:\\`, `" within "`} {
		f.Add(s)
	}
	escape := regexp.MustCompile(`(\\*)("|$)`)
	library := builtin.Library()
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsAny(value, "\n\r") {
			t.Skip()
		}
		written := escape.ReplaceAllStringFunc(value, func(m string) string {
			slashes := strings.TrimSuffix(m, `"`)
			if slashes == m {
				return slashes + slashes
			}
			return slashes + slashes + `\"`
		})
		b, err := library.Bind(features.Step{Text: `I should not see "` + written + `"`})
		if err != nil || b.Definition.Sentence != "I should not see {text}" || b.Args.Text(0) != value {
			t.Errorf("%q written as %q: got %+v, %v", value, written, b, err)
		}
		from := len(`I should see "`)
		b, err = library.Bind(features.Step{Text: `I should see "` + value + `"`, Values: [][2]int{{from, from + len(value)}}})
		if err != nil || b.Definition.Sentence != "I should see {text}" || b.Args.Text(0) != value {
			t.Errorf("%q from a cell: got %+v, %v", value, b, err)
		}
		_, _ = library.Bind(features.Step{Text: value})
		_, _ = library.Bind(features.Step{Text: "I should see " + value})
	})
}
