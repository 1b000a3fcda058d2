package cmd

import (
	"fmt"
	"os"
	"slices"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/features/ruby"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/command"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// rubyWarnings warns of the definitions in the Ruby files next to the features, which do not run. It ignores the
// files that cucumber-nagios copied into each project.
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
		message := "stepwatch does not run Ruby, and no sentence means the same: define it in a .feature file, below @step and `Scenario: " + d.Sentence() + "`"
		switch {
		case d.Hook != "":
			message = fmt.Sprintf("stepwatch does not run Ruby, so the hook %s does not run", d.Hook)
		default:
			switch replacing := s.replacing(d); {
			case replacing == nil:
			case replacing.File != "" || shipped(d):
				continue
			default:
				message = fmt.Sprintf("replaced: stepwatch does not run this definition, because its own sentence %q means these steps. "+
					"If the definition does more, define a sentence in other words in a .feature file, below @step, and use that", replacing.Sentence)
			}
		}
		warnings = append(warnings, features.Problem{Path: path, Line: d.Line, Column: 1, Message: message, Rule: ruleRuby})
	}
	return warnings
}

// placeholder is a placeholder of ruby.Definition.Sentence.
var placeholder = regex.Lazy(`<[a-z]+(?: \d+)?(?::(int|word))?>`)

// replacing returns the sentence of the library that a step means which a Ruby definition matches, or nil.
func (s *set) replacing(d ruby.Definition) *steps.Definition {
	text, shipped := command.CucumberNagiosExample(d.Pattern)
	if !shipped {
		text = placeholder.ReplaceAllStringFunc(d.Sentence(), func(p string) string {
			if placeholder.FindStringSubmatch(p)[1] == "int" {
				return "1"
			}
			return "x"
		})
	}
	bound, err := s.library.Bind(features.Step{Text: text})
	if err != nil {
		return nil
	}
	return bound.Definition
}

// shipped reports whether a Ruby definition is one that came with cucumber-nagios, which stepwatch's sentence replaces fully.
func shipped(d ruby.Definition) bool {
	_, known := command.CucumberNagiosExample(d.Pattern)
	return known
}
