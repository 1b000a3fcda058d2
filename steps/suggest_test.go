package steps_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/builtin"
)

// TestNoSuggestionMeansTheOpposite holds that a suggestion never turns the step around and never changes its subject.
func TestNoSuggestionMeansTheOpposite(t *testing.T) {
	for text, never := range map[string][]string{
		`log in as "alice" with password "x"`:            {"wrong", "SSH", "try", "mail"},
		`log in as X with password Y`:                    {"wrong", "SSH", "try"},
		`I log in as "alice"`:                            {"wrong", "SSH", "try"},
		`I should not see the thing "x"`:                 {"should see"},
		`I can see "x"`:                                  {"not"},
		`I shouldn't see "x" anywhere`:                   {"should see"},
		`the message is refused`:                         {"accepted", "receives it"},
		`the message is accepted`:                        {"refused", "not"},
		`the port 25 of "mx1" is shut`:                   {"is open"},
		`port 25 of "mx1" must be opened`:                {"closed", "refused", "filtered"},
		`the file "x" is missing`:                        {"exists"},
		`the checkbox "x" is unchecked`:                  {"should be checked"},
		`I tick "x"`:                                     {"uncheck"},
		`the JSON at "x" should be over 5`:               {"below"},
		`the service is unhealthy`:                       {"is healthy"},
		`the host "mx1" is not listed on a blocklist of`: {},
		`I send an SMS to "bob"`:                         {"message from", "API"},
		`the user logs out`:                              {"log of"},
		`I upload the file "x"`:                          {"download"},
		`the disk is more than 10% full`:                 {"less"},
		`"bob" gets it over POP3 within 5s`:              {"IMAP"},
		`it fails`:                                       {"pass"},
		`I search for "x"`:                               {"log", "SSH", "DNS"},
		`the basket contains 3 items`:                    {"header", "answer", "file", "output"},
		`the url should match "x"`:                       {"{stream}"},
		`the response should not contain "x"`:            {"{stream}"},
		`the "x" element should not contain "y"`:         {"{stream}"},
		`the record of "x" is deleted`:                   {"SPF", "DKIM", "DMARC", "BIMI"},
	} {
		_, err := builtin.Library().Bind(features.Step{Text: text})
		var undefined *steps.UndefinedError
		if !errors.As(err, &undefined) {
			t.Errorf("%q: got %v", text, err)
			continue
		}
		for _, sentence := range undefined.Nearest {
			for _, word := range never {
				if strings.Contains(sentence, word) {
					t.Errorf("%q: %q is suggested", text, sentence)
				}
			}
		}
	}
}

// TestTheSameStepHasTheSameSuggestion holds that what is remembered belongs to the step that asks.
func TestTheSameStepHasTheSameSuggestion(t *testing.T) {
	library := builtin.Library()
	for line := range 3 {
		_, err := library.Bind(features.Step{Text: `I folow "Contact"`, Line: line})
		var undefined *steps.UndefinedError
		if !errors.As(err, &undefined) || undefined.Step.Line != line || undefined.Nearest[0] != "I follow {text}" {
			t.Errorf("line %d: got %+v", line, err)
		}
	}
}

// BenchmarkUndefined measures a step that no sentence matches, the first time and again.
func BenchmarkUndefined(b *testing.B) {
	library := builtin.Library()
	for _, c := range []struct {
		name string
		text func(i int) string
	}{
		{"same", func(int) string { return `the customer puts "Tea" into the basket` }},
		{"different", func(i int) string { return fmt.Sprintf(`the customer%d puts "Tea" into basket%d`, i, i) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for i := range b.N {
				if _, err := library.Bind(features.Step{Text: c.text(i)}); err == nil {
					b.Fatal("it is defined")
				}
			}
		})
	}
}
