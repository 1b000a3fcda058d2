package steps_test

import (
	"errors"
	"fmt"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// unfold writes what a step stands for, a line each step that is left in the end.
func unfold(b *steps.Bound) string {
	if len(b.Inner) == 0 {
		return fmt.Sprintf("%s %q\n", b.Definition.Sentence, b.Args.Captured)
	}
	var all strings.Builder
	for _, inner := range b.Inner {
		all.WriteString(unfold(inner))
	}
	return all.String()
}

const shop = `I log in as "<user>"[ on the page "<page:text=/login>"]
	I open the page "<page>"
	I fill in "User" with "<user>"
	I press "Log in"
I open the page "<path>"
	I go to "https://shop.example.org<path>?a=1"
there are <n:int> articles['<what=tea>' ]as \[planned\]
	there should be <n> elements ".<what>"
it shows "<text>" within <limit:duration>
	I should see "<text>" within <limit>
	I should see "\<text>"
I see "<a>" in "<b>"
	within "<b>" I should see "<a>"
I read "<file:file>"
	the message has the attachment "<file>"
	the message has the attachment "always.pdf"`

func TestOwnSentences(t *testing.T) {
	library, mistakes := builtin.Library().Define(fixture.Sentences("features/steps/shop.feature", shop))
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	for text, want := range map[string]string{
		`I log in as "alice"`:                       "I go to {url} [\"https://shop.example.org/login?a=1\"]\nI fill in {text} with {text} [\"User\" \"alice\"]\nI press {text} [\"Log in\"]\n",
		`I log in as "alice" on the page "/b"`:      "I go to {url} [\"https://shop.example.org/b?a=1\"]\nI fill in {text} with {text} [\"User\" \"alice\"]\nI press {text} [\"Log in\"]\n",
		`I log in as "al\" on the \"ice"`:           "I go to {url} [\"https://shop.example.org/login?a=1\"]\nI fill in {text} with {text} [\"User\" \"al\\\" on the \\\"ice\"]\nI press {text} [\"Log in\"]\n",
		`I log in as 'al" on the "ice'`:             "I go to {url} [\"https://shop.example.org/login?a=1\"]\nI fill in {text} with {text} [\"User\" \"al\\\" on the \\\"ice\"]\nI press {text} [\"Log in\"]\n",
		`there are 3 articlesas [planned]`:          "there should be {int} elements {text} [\"3\" \".tea\"]\n",
		`there are 3 articles'wine' as [planned]`:   "there should be {int} elements {text} [\"3\" \".wine\"]\n",
		`it shows "x" within 90 seconds`:            "I should see {text} within {duration} [\"x\" \"90 seconds\"]\nI should see {text} [\"<text>\"]\n",
		`it shows "x\" within 2" within 90 seconds`: "I should see {text} within {duration} [\"x\\\" within 2\" \"90 seconds\"]\nI should see {text} [\"<text>\"]\n",
		`I see "Monday" in "Hours"`:                 "within {text} I should see {text} [\"Hours\" \"Monday\"]\n",
		`I read "a.pdf"`:                            "the message has the attachment {file} [\"../mail/a.pdf\"]\nthe message has the attachment {file} [\"always.pdf\"]\n",
		`I read "/a.pdf"`:                           "the message has the attachment {file} [\"/a.pdf\"]\nthe message has the attachment {file} [\"always.pdf\"]\n",
	} {
		b, err := library.Bind(features.Step{Text: text, Path: "features/mail/a.feature"})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := unfold(b); got != want {
			t.Errorf("%s: got\n%swant\n%s", text, got, want)
		}
	}
	b, err := library.Bind(features.Step{Text: `it shows "x" within 90 seconds`})
	if err != nil || b.Wait() != 90*time.Second {
		t.Errorf("it waits %s and %v, want 1m30s", b.Wait(), err)
	}
}

func TestOwnSentencesPassOnWhatLiesBeneath(t *testing.T) {
	const more = "\nthe cells:\n\tthe table \"x\" should have the rows:\nthe letter:\n\tthe table \"x\" should have the rows:"
	own := fixture.Sentences("a.feature", "I print \"<name>\":\n\tit prints\nthe rows of \"<name>\":\n\tthe table \"<name>\" should have the rows:\nI print for all:\n\tI print \"all\":"+more)
	own[0].Steps[0].DocString = &features.DocString{Content: "Dear <name>, <b>\n<doc string>"}
	own[1].Steps[0].Table = [][]string{{"Name", "<name>"}, {"<table>", ""}, {"last", ""}}
	own[2].Steps[0].DocString = &features.DocString{Content: "<doc string>!"}
	own[3].Steps[0].Table = [][]string{{"<table>"}, {"<table>"}}
	own[4].Steps[0].Table = [][]string{{"Letter", "<doc string>"}}
	library, mistakes := steps.NewLibrary(steps.Definition{Sentence: "it prints", DocString: steps.Optional, Func: nothing},
		steps.Definition{Sentence: "the table {text} should have the rows:", Table: steps.Required, Func: nothing}).Define(own)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	for _, d := range library.Definitions() {
		doc := strings.HasPrefix(d.Sentence, "I print") || d.Sentence == "the letter:"
		if d.File != "" && ((d.DocString == steps.Required) != doc || (d.Table == steps.Required) == doc) {
			t.Errorf("%q says %q of doc strings and %q of tables", d.Sentence, d.DocString, d.Table)
		}
	}
	doc := &features.DocString{MediaType: "text", Content: "yes"}
	b, err := library.Bind(features.Step{Text: "I print for all:", DocString: doc})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := *b.Inner[0].Inner[0].Args.DocString, (features.DocString{MediaType: "text", Content: "Dear all, <b>\nyes!"}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b, err = library.Bind(features.Step{Text: `the rows of "x":`, Table: [][]string{{"a", "1"}, {"b", "2"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(b.Inner[0].Args.Table), "[[Name x] [a 1] [b 2] [last ]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if b, err = library.Bind(features.Step{Text: `the cells:`, Table: [][]string{{"a", "b", "c"}}}); err != nil || fmt.Sprint(b.Inner[0].Args.Table) != "[[a b c] [a b c]]" {
		t.Errorf("got %+v and %v for a table of any width", b, err)
	}
	if b, err = library.Bind(features.Step{Text: `the letter:`, DocString: doc}); err != nil || fmt.Sprint(b.Inner[0].Args.Table) != "[[Letter yes]]" {
		t.Errorf("got %+v and %v for a doc string in a cell", b, err)
	}
	for _, test := range []struct {
		step features.Step
		want string
	}{
		{features.Step{Text: "I print for all:"}, `"I print for all:" needs a doc string below it, because a.feature:5 passes it on`},
		{features.Step{Text: `the rows of "x":`}, `"the rows of \"<name>\":" needs a table below it, because a.feature:3 passes it on`},
		{features.Step{Text: `the rows of "x":`, Table: [][]string{{"a", "1", "lost"}}}, `"the rows of \"<name>\":" needs a table of 2 columns below it, like the table that its rows go into (a.feature:4)`},
		{features.Step{Text: `the letter:`}, `"the letter:" needs a doc string below it, because a.feature:9 passes it on`},
		{features.Step{Text: `the rows of "x":`, DocString: doc}, `"the rows of \"<name>\":" needs a table below it, because a.feature:3 passes it on`},
		{features.Step{Text: `I print "x":`, DocString: doc, Table: [][]string{{"a"}}}, `"I print \"<name>\":" takes no table: no step of a.feature:1 passes it on, as <table>`},
	} {
		if _, err := library.Bind(test.step); err == nil || err.Error() != test.want {
			t.Errorf("%q: got %v, want %s", test.step.Text, err, test.want)
		}
	}
}

func TestOwnSentenceWithACellBesideTheTable(t *testing.T) {
	own := fixture.Sentences("x.feature", "the rows:\n\tthe redirects should be:")
	own[0].Steps[0].Table = [][]string{{"status", "location"}, {"<table>", "/en/"}}
	_, mistakes := builtin.Library().Define(own)
	if want := `x.feature:2:2: "/en/" is in the row of <table>, which stands for whole rows: leave the other cells empty`; len(mistakes) != 1 || mistakes[0].Error() != want {
		t.Errorf("got %v, want %s", mistakes, want)
	}
}

func TestOwnSentenceMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"I do <n>\n\tI press \"<n>\"":                                         `1:1: the sentence "I do <n>": <n> takes a value in quotes: write "<n>", or give it a type without quotes, as in <n:int> or <n:word>`,
		"I do <n:account>\n\tI press \"<n>\"":                                 `1:1: the sentence "I do <n:account>": <n:account> takes a value in quotes: write "<n:account>", or give it a type without quotes, as in <n:int> or <n:word>`,
		"I do <n:itn>\n\tI press \"<n>\"":                                     `1:1: the sentence "I do <n:itn>": <n:itn>: unknown type "itn": did you mean "int"?`,
		"I do <n:>\n\tI press \"<n>\"":                                        `1:1: the sentence "I do <n:>": "<n:>" is not a placeholder: write <name>, <name:type> or <name:type=default>, and \< for the sign itself`,
		"I do \"<n>\" \"<n>\"\n\tI press \"<n>\"":                             `1:1: the sentence "I do \"<n>\" \"<n>\"": <n> occurs twice`,
		"I do \"<n=1>\"\n\tI press \"<n>\"":                                   `1:1: the sentence "I do \"<n=1>\"": <n> has a default but is not optional: put brackets around the optional part, as in [ on the page "<page=/login>"]`,
		"I do[ \"<n>\"]\n\tI press \"<n>\"":                                   `1:1: the sentence "I do[ \"<n>\"]": <n> is in brackets, so it is optional and needs a default: <n=…>`,
		"I do[ <n:int=x>]\n\tI press \"<n>\"":                                 `1:1: the sentence "I do[ <n:int=x>]": <n:int=x>: the default "x" is not a {int}`,
		"I do[ it[ now]]\n\tI press \"x\"":                                    `1:1: the sentence "I do[ it[ now]]": a bracket is nested in brackets: write \[ for a bracket of the sentence itself`,
		"I do[ it\n\tI press \"x\"":                                           `1:1: the sentence "I do[ it": a bracket is not closed: write \[ for a bracket of the sentence itself`,
		"I do it]\n\tI press \"x\"":                                           `1:1: the sentence "I do it]": a closing bracket has no opening bracket: write \] for a bracket of the sentence itself`,
		"I do \"<table>\"\n\tI press \"x\"":                                   `1:1: the sentence "I do \"<table>\"": <table> means the doc string or table below the step that uses the sentence: write it only in the steps of the definition`,
		"I do \"<n>\"\n\tI press \"x\"":                                       `1:1: no step of "I do \"<n>\"" uses <n>, so any value would do: use it or remove it from the sentence`,
		"I do it\n\tI press \"<n>\"":                                          `2:2: <n> is not a placeholder of the sentence, which has none. Write \< for the sign itself`,
		"I do \"<name>\"\n\tI press \"<nmae>\"":                               `2:2: <nmae> is not a placeholder of the sentence: did you mean "name"?`,
		"I do \"<n>\"\n\tI press \"<n:text>\"":                                `2:2: <n:text>: the type and the default belong in the sentence: write <n> here`,
		"I do it\n\tI press \"<table>\"":                                      `2:2: <table> belongs below a step: in a doc string, or as the first cell of a row`,
		"I do it\n\tI folow \"x\"":                                            `2:2: no sentence matches "I folow \"x\"": did you mean "I follow {text}"?`,
		"I do \"<n>\"\n\tthere should be <n> elements \"x\"":                  `2:2: no sentence matches "there should be <n> elements \"x\"": did you mean "there should be {int} elements {text}"? (<n> is a {text} here: with the type <n:int> it would be "there should be {int} elements {text}")`,
		"I do <n:word>\n\tthe <n> request should succeed":                     `2:2: "the request should succeed" has no parameter at <n>, so its value would be lost`,
		"I follow \"<x>\"\n\tI press \"<x>\"":                                 `1:1: the sentence "I follow \"<x>\"" and the built-in "I follow {text}" can mean the same step, such as "I follow \"\"": choose other words`,
		"I do \"<x>\"\n\tI press \"<x>\"\nI do \"<y>\"\n\tI press \"<y>\"":    `3:1: the sentence "I do \"<y>\"" is already defined at x.feature:1`,
		"I do <x:word>\n\tI press \"<x>\"\nI do <y:int>\n\tI press \"<y>\"":   `3:1: the sentence "I do <y:int>" and "I do <x:word>" (x.feature:1) can mean the same step, such as "I do 0": choose other words`,
		"I do it\n\tI do it":                                                  `1:1: the sentence contains itself: "I do it" (x.feature:1) → "I do it" (x.feature:1)`,
		"I do\n\tI do b\nI do b\n\tI do c\n\tI press \"x\"\nI do c\n\tI do b": `3:1: the sentence contains itself: "I do b" (x.feature:3) → "I do c" (x.feature:6) → "I do b" (x.feature:3)`,
	} {
		library, mistakes := builtin.Library().Define(fixture.Sentences("x.feature", text))
		if len(mistakes) != 1 || mistakes[0].Error() != "x.feature:"+want {
			t.Errorf("%q: got %v, want x.feature:%s", text, mistakes, want)
		}
		first, _, _ := strings.Cut(text, "\n")
		b, err := library.Bind(features.Step{Text: strings.NewReplacer("<n>", "v", "<name>", "v", ":word", "", ":int", "").Replace(first)})
		if err == nil && len(b.Inner) > 0 && !strings.HasPrefix(want, "3:1: the sentence \"I do") {
			t.Errorf("%q: a step that means it can be run", text)
		}
	}
}

// TestOwnSentencesHidePasswords holds that what is said of a definition shows no password that stands in a URL.
func TestOwnSentencesHidePasswords(t *testing.T) {
	library, mistakes := builtin.Library().Define(fixture.Sentences("x.feature", "I do it\n\tI gooo to \"https://joe:s3cret@example.org/\"\nI go by word \"<u>\"\n\tI go to <u>\n"+
		"I go in\n\tI go to \"https://joe:s3cret@example.org/\""))
	if want := `x.feature:2:2: no sentence matches "I gooo to \"https://joe:[hidden]@example.org/\"": did you mean "I go to {url}"?`; len(mistakes) != 1 || mistakes[0].Error() != want {
		t.Errorf("got %v, want %s", mistakes, want)
	}
	for text, want := range map[string]string{
		"I do it": `the sentence "I do it" cannot be used: x.feature:2:2: no sentence matches "I gooo to \"https://joe:[hidden]@example.org/\"": did you mean "I go to {url}"?`,
		`I go by word "https://joe:s3cret@example.org/a b"`: `the values of "I go by word \"https://joe:[hidden]@example.org/a b\"" do not fit: ` +
			`"I go to https://joe:[hidden]@example.org/a b" (x.feature:4) does not match "I go to {url}" with them`,
	} {
		if _, err := library.Bind(features.Step{Text: text}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	for _, d := range library.Definitions() {
		if strings.Contains(d.Does, "s3cret") {
			t.Errorf("the catalogue says %s", d.Does)
		}
	}
}

func TestOwnSentencesStayWithinBounds(t *testing.T) {
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "I do %d \"<x>\"\n\tI do %d \"<x><x>\"\n\tI do %d \"<x>\"\n", i, i+1, i+1)
	}
	text.WriteString("I do 40 \"<x>\"\n\tI press \"<x>\"")
	library, mistakes := builtin.Library().Define(fixture.Sentences("x.feature", text.String()))
	if len(mistakes) == 0 || !strings.HasSuffix(mistakes[0].Error(), `expands to more than 1000 steps`) {
		t.Errorf("got %v, want that it is too many steps", mistakes)
	}
	if _, err := library.Bind(features.Step{Text: `I do 35 "x"`}); err != nil {
		t.Errorf("got %v for 32 steps", err)
	}
	if _, err := library.Bind(features.Step{Text: `I do 33 "` + strings.Repeat("x", 50_000) + `"`}); err == nil || !strings.HasSuffix(err.Error(), "expands to more than 1048576 bytes of steps") {
		t.Errorf("got %v for steps of many bytes", err)
	}
	var undefined *steps.UndefinedError
	library, _ = builtin.Library().Define(fixture.Sentences("x.feature", "I do it\n\tI folow \"x\"\nI do all\n\tI do it"))
	_, err := library.Bind(features.Step{Text: "I do all"})
	if want := `the sentence "I do all" cannot be used: x.feature:2:2: no sentence matches "I folow \"x\"": did you mean "I follow {text}"?`; err == nil || err.Error() != want || !errors.As(err, &undefined) {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = builtin.Library().Bind(features.Step{Text: "nothing of the kind"})
	if !errors.As(err, &undefined) {
		t.Fatal(err)
	}
	undefined = &steps.UndefinedError{Step: features.Step{Text: `[a] the status of "x" and "y" of https://x.org/1 is < 3.5 after 5 minutes, 2 times`, Table: [][]string{{"a"}}}}
	if got, want := undefined.Snippet(), "  @step\n  Scenario: \\[a\\] the status of \"<text>\" and \"<text 2>\" of <address:url> is \\< <number:number> after <duration:duration>, <number 2:int> times\n    * …\n      | <table> |\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// FuzzOwnSentences holds that whatever operators write as definitions is either a mistake with its place or can be used, and
// that no value of a step changes which sentences it stands for.
func FuzzOwnSentences(f *testing.F) {
	f.Add(shop, `I log in as "alice"`)
	f.Add("I do[ \"<n=1>\"]\n\tI press \"<n>\"", "I do")
	f.Add("a <n:int> '<b:url>' \\[ \\< <\n\tthere should be <n> elements \"<b>\"", `a 3 'x' [ < <`)
	f.Add("a \"<x>\"\n\tb \"<x>\" \"<x>\"\nb \"<x>\" \"<y>\"\n\ta \"<y>\"\n\tI fill in \"<x>\" with \"<y>\"", `b "x" with "y" "z"`)
	builtin := steps.NewLibrary(
		steps.Definition{Sentence: "I press {text}", Func: nothing}, steps.Definition{Sentence: "I go to {url}", Func: nothing},
		steps.Definition{Sentence: "I fill in {text} with {text}", Func: nothing}, steps.Definition{Sentence: "there should be {int} elements {text}", Func: nothing},
		steps.Definition{Sentence: "the request should succeed", Pattern: "^the (?:.*) ?request should succeed", Func: nothing},
		steps.Definition{Sentence: "I should see {text} within {duration}", Func: nothing, Waits: true}, steps.Definition{Sentence: "I should see {text}", Func: nothing})
	f.Fuzz(func(t *testing.T, text, step string) {
		if strings.HasPrefix(text, "\t") || len(text) > 5000 {
			return
		}
		start := time.Now()
		library, mistakes := builtin.Define(fixture.Sentences("x.feature", text))
		for _, m := range mistakes {
			if m.Message == "" || m.Line < 1 || m.Line > strings.Count(text, "\n")+1 {
				t.Errorf("mistake %+v", m)
			}
		}
		for _, d := range library.Definitions() {
			if d.File == "" {
				continue
			}
			example := strings.TrimPrefix(strings.SplitN(d.Example, "\n", 2)[0], "When ")
			_, err := library.Bind(features.Step{Text: example})
			if undefined := (*steps.UndefinedError)(nil); errors.As(err, &undefined) && !errors.As(err, new(*steps.OwnError)) && undefined.Step.Text == example {
				t.Errorf("the example %q does not mean %q", d.Example, d.Sentence)
			}
		}
		b, err := library.Bind(features.Step{Text: step})
		if undefined := (*steps.UndefinedError)(nil); errors.As(err, &undefined) {
			_ = undefined.Snippet()
		}
		if err == nil {
			_ = unfold(b)
			_ = b.Wait()
			_ = b.Mistakes(&steps.Target{}, nil)
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("%d bytes take %s", len(text), d)
		}
	})
}
