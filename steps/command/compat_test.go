package command_test

import (
	"github.com/stepwatch/stepwatch/steps/builtin"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/command"
)

// TestEverySentenceOfCucumberNagios checks that each step of an old project matches exactly one sentence.
func TestEverySentenceOfCucumberNagios(t *testing.T) {
	table, err := os.ReadFile("cucumber-nagios.txt")
	if err != nil {
		t.Fatal(err)
	}
	library := builtin.Library().Compat()
	for line := range strings.Lines(string(table)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, text, _ := strings.Cut(line, "\t")
		if _, shipped := command.CucumberNagiosExample(pattern); shipped == (pattern == "-") {
			t.Errorf("%s: got shipped %t, want %t", pattern, shipped, pattern != "-")
		}
		if pattern != "-" && !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("the old pattern %s does not match %q", pattern, text)
		}
		if _, err := library.Bind(features.Step{Text: text}); err != nil {
			t.Error(err)
		}
	}
}
