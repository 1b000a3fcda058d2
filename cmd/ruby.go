package cmd

import (
	"fmt"
	"os"
	"regexp"
	"slices"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/features/ruby"
	"github.com/stepwatch/stepwatch/steps"
)

// rubyWarnings tells of what the Ruby files beside the features define and stepwatch does not have. The copies of its own
// files that cucumber-nagios put into each project are not among it.
func (s *set) rubyWarnings() []features.Problem {
	var paths, files []string
	for _, plan := range s.plans {
		if !slices.Contains(paths, plan.Scenario.Path) {
			paths = append(paths, plan.Scenario.Path)
		}
	}
	var warnings []features.Problem
	for _, path := range paths {
		beside, err := ruby.Beside(path)
		if err != nil {
			warnings = append(warnings, features.Problem{Path: path, Line: 1, Column: 1, Message: err.Error(), Rule: ruleRuby})
		}
		for _, file := range beside {
			if !slices.Contains(files, file) {
				files = append(files, file)
				warnings = append(warnings, s.rubyFile(file)...)
			}
		}
	}
	return warnings
}

func (s *set) rubyFile(path string) []features.Problem {
	text, err := os.ReadFile(path)
	if err != nil {
		return []features.Problem{{Path: path, Line: 1, Column: 1, Message: err.Error(), Rule: ruleRuby}}
	}
	var warnings []features.Problem
	for _, d := range ruby.Parse(string(text)) {
		message := "Ruby is not run, and no sentence means the same: write it by others, in a .feature file, beneath @step and `Scenario: " + d.Sentence() + "`"
		switch {
		case d.Hook != "":
			message = fmt.Sprintf("Ruby is not run, and neither is the hook %s", d.Hook)
		case s.has(d):
			continue
		}
		warnings = append(warnings, features.Problem{Path: path, Line: d.Line, Column: 1, Message: message, Rule: ruleRuby})
	}
	return warnings
}

// placeholder is one of a sentence as Ruby's patterns give it.
var placeholder = regexp.MustCompile(`<[a-z]+(?: \d+)?(?::(int|word))?>`)

// has says whether a step that a Ruby definition matches means a sentence here.
func (s *set) has(d ruby.Definition) bool {
	text, shipped := steps.CucumberNagiosExample(d.Pattern)
	if !shipped {
		text = placeholder.ReplaceAllStringFunc(d.Sentence(), func(p string) string {
			if placeholder.FindStringSubmatch(p)[1] == "int" {
				return "1"
			}
			return "x"
		})
	}
	_, err := s.library.Bind(features.Step{Text: text})
	return err == nil
}
