package steps_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// notYet are the sentences of cucumber-nagios that stepwatch does not have so far.
var notYet = map[string]bool{
	"I have a AMQP server on rabbit.example.org":       true,
	"I want to check on the invoices queue":            true,
	"it should have less than 5 messages per consumer": true,
	"it should have less than 5 messages":              true,
	"it should have at least 5 messages":               true,
	"it should have more than 5 messages":              true,
	"It should have more than 5 consumers":             true,
	"It should have less than 5 consumers":             true,
	"It should have 5 consumers":                       true,
	"it should have at least 5 consumers":              true,
}

// TestEverySentenceOfCucumberNagios holds that each step of an old project means exactly one sentence.
func TestEverySentenceOfCucumberNagios(t *testing.T) {
	table, err := os.ReadFile("cucumber-nagios.txt")
	if err != nil {
		t.Fatal(err)
	}
	library := steps.Builtin()
	for line := range strings.Lines(string(table)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, text, _ := strings.Cut(line, "\t")
		if _, shipped := steps.CucumberNagiosExample(pattern); shipped == (pattern == "-") {
			t.Errorf("%s is not known as a pattern of cucumber-nagios, or is and should not be", pattern)
		}
		if pattern != "-" && !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("the old pattern %s does not match %q", pattern, text)
		}
		_, err := library.Bind(features.Step{Text: text})
		var undefined *steps.UndefinedError
		switch {
		case notYet[text] && !errors.As(err, &undefined):
			t.Errorf("%q is there now: take it out of notYet", text)
		case err != nil && !notYet[text]:
			t.Error(err)
		}
	}
}
