package steps_test

import (
	"errors"
	"fmt"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/vault"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// TestExamplesShowWhatStandsBeneath holds that a sentence that needs something beneath it shows it.
func TestExamplesShowWhatStandsBeneath(t *testing.T) {
	for _, d := range builtin.Library().Definitions() {
		_, beneath, _ := strings.Cut(d.Example, "\n")
		if beneath == "" && (d.Table == steps.Required || d.DocString == steps.Required) {
			t.Errorf("%q: its example lacks what must stand beneath it", d.Sentence)
		}
		if strings.HasSuffix(d.Sentence, ":") && d.Table == "" && d.DocString == "" {
			t.Errorf("%q ends with a colon and takes nothing beneath it", d.Sentence)
		}
	}
}

func TestBindRefusesWhatNothingLooksAt(t *testing.T) {
	table, doc := [][]string{{"a"}}, &features.DocString{Content: "a"}
	library := steps.NewLibrary(
		steps.Definition{Sentence: "I pass", Func: nothing},
		steps.Definition{Sentence: "I pass with:", Func: nothing, Table: steps.Required},
		steps.Definition{Sentence: "I pass saying", Func: nothing, DocString: steps.Optional},
		steps.Definition{Sentence: "I pass both", Func: nothing, Example: "I pass both\n  \"\"\"\n  text\n  \"\"\"\n  | cell |"},
	)
	for _, c := range []struct {
		step features.Step
		want string
	}{
		{features.Step{Text: "I pass", Table: table}, `"I pass" takes no table: remove it, or move it below the step that it belongs to`},
		{features.Step{Text: "I pass", DocString: doc}, `"I pass" takes no doc string: remove it, or move it below the step that it belongs to`},
		{features.Step{Text: "I pass with:", DocString: doc}, `"I pass with:" takes no doc string: write a table below it`},
		{features.Step{Text: "I pass saying", Table: table}, `"I pass saying" takes no table: write a doc string below it`},
		{features.Step{Text: "I pass with:", Table: table}, ""},
		{features.Step{Text: "I pass saying", DocString: doc}, ""},
		{features.Step{Text: "I pass saying"}, ""},
		{features.Step{Text: "I pass both", Table: table, DocString: doc}, ""},
		{features.Step{Text: "I pass both"}, ""},
		{features.Step{Text: "I pass with:", Table: table, DocString: doc}, `"I pass with:" takes no doc string: remove it, or move it below the step that it belongs to`},
		{features.Step{Text: "I pass saying", Table: table, DocString: doc}, `"I pass saying" takes no table: remove it, or move it below the step that it belongs to`},
	} {
		_, err := library.Bind(c.step)
		var argument *steps.ArgumentError
		if (err == nil) != (c.want == "") || err != nil && (err.Error() != c.want || !errors.As(err, &argument)) {
			t.Errorf("%+v: got %v, want %q", c.step, err, c.want)
		}
	}
}

func TestMistakesAreFoundWithoutRunning(t *testing.T) {
	secrets := vault.New("")
	if err := secrets.Add("members", vault.Source{Env: "MEMBERS"}); err != nil {
		t.Fatal(err)
	}
	target := &steps.Target{
		Accounts: map[string]*steps.Account{"alice": {Name: "alice"}},
		Hosts:    map[string]*steps.Host{"mx1": {Name: "mx1"}},
	}
	for text, want := range map[string]string{
		`the account "alice"`:                                         "",
		`the account "alcie"`:                                         `unknown: no account "alcie" in stepwatch.yml (it has alice): add it under accounts`,
		`I ask the API of "mx2" for "/health"`:                        `unknown: no host "mx2" in stepwatch.yml (it has mx1): add it under hosts`,
		`I fill in "Password" with the secret "members"`:              "",
		`I fill in "Password" with the secret "membres"`:              `unknown: no secret "membres" in stepwatch.yml (it has members): add it under secrets`,
		`the message has the attachment "absent.pdf"`:                 `missing-file: the file "absent.pdf" does not exist: a path is relative to the feature file`,
		`I look up the MXX of "example.org"`:                          `value: MXX is not a record type: write one as A, AAAA, MX or TXT`,
		`the page should load within 99999999999999999999h`:           `value: "99999999999999999999h" is not a duration: write it as "60s" or "5 minutes"`,
		`the answer has 99999999999999999999 records`:                 `value: "99999999999999999999" is not a whole number that fits`,
		`only ports 22, 70000 of "mx1" answer`:                        `value: 70000 is not a port: write a number from 1 to 65535`,
		`port 70000 of "mx1" is closed`:                               `value: 70000 is not a port: write a number from 1 to 65535`,
		`I send a message from "alice" to "alice" via 0`:              `value: 0 is not a port: write a number from 1 to 65535`,
		`"alice" receives it over IMAP via 99143 within 60s`:          `value: 99143 is not a port: write a number from 1 to 65535`,
		`only ports 25-22 of "mx1" answer`:                            `value: 25-22 is not a range of ports: write the smaller port first`,
		`I go to "htp://example.org/"`:                                `value: "htp://example.org/" is not the address of a page: write it as "https://www.example.org/"`,
		`I go to "www.example.org"`:                                   `value: "www.example.org" is not the address of a page: write it as "https://www.example.org/"`,
		`I go to "https:/example.org"`:                                `value: "https:/example.org" is not the address of a page: write it as "https://www.example.org/"`,
		`I go to "/contact"`:                                          "",
		`I go to "http://[::1]:8080/"`:                                "",
		`I go to „https://example.org/“`:                              `value: „https://example.org/“ is in typographic quotes: write "https://example.org/"`,
		`the redirects should be:`:                                    `argument: "the redirects should be:" needs a table: write its rows below the step, as in the example of "stepwatch steps"`,
		`"alice" has received a message like this in the last 2 days`: `argument: "{account} has received a message like this in the last {duration}" needs a table: write its rows below the step, as in the example of "stepwatch steps"`,
	} {
		bound, err := builtin.Library().Bind(features.Step{Text: text})
		if err != nil {
			t.Error(err)
			continue
		}
		var got []string
		for _, m := range bound.Mistakes(target, secrets) {
			got = append(got, string(m.Rule)+": "+m.Message)
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s: got %s, want %s", text, strings.Join(got, "; "), want)
		}
		for _, m := range bound.Mistakes(target, nil) {
			if m.Rule == steps.RuleUnknown && strings.Contains(m.Message, "secret") {
				t.Errorf("%s: without secrets it is not known which there are: %v", text, m)
			}
		}
	}
}

// TestUndefinedSaysHowToWriteIt holds that what looks right and is not is told as it would be right.
func TestUndefinedSaysHowToWriteIt(t *testing.T) {
	for text, want := range map[string]string{
		`I ping 192.0.2.1`:               `I ping "192.0.2.1"`,
		`port 25 of mx1 is open`:         `port 25 of "mx1" is open`,
		`I should see Welcome`:           `I should see "Welcome"`,
		`I fill in User with "Alice A"`:  `I fill in "User" with "Alice A"`,
		`I should see welcome`:           "",
		`I follow “Contact”`:             `I follow "Contact"`,
		`I follow „Contact“`:             `I follow "Contact"`,
		`I follow "Contact".`:            `I follow "Contact"`,
		`i follow "Contact"`:             `I follow "Contact"`,
		"I\u00a0follow \"Contact\"":      `I follow "Contact"`,
		`I  follow "Contact"`:            `I follow "Contact"`,
		`The response code should be 20`: "",
		`I folow "Contact"`:              "",
		`I fill in 'Name' with 'O'Hara'`: "",
		"":                               "",
	} {
		_, err := builtin.Library().Bind(features.Step{Text: text})
		var undefined *steps.UndefinedError
		if !errors.As(err, &undefined) || undefined.Write != want {
			t.Errorf("%q: got %v", text, err)
		} else if want != "" && err.Error() != fmt.Sprintf("no sentence matches %q: write %s", text, want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
