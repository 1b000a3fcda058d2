package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

// loader has the flags of all verbs that take feature files: --config and --tags.
type loader struct {
	config *string
	tags   *string
	compat *bool // nil for verbs without this flag
	glue   []cucumber.Glue
}

func loadFlags(t *terminal, f *pflag.FlagSet) *loader {
	return &loader{
		glue:   t.glue,
		config: f.StringP("config", "c", "", "the configuration (default: stepwatch.yml, if it exists)"),
		tags:   f.StringP("tags", "t", "", `only scenarios with these tags: "@mail and not @slow"`),
	}
}

// compatFlag adds the flag of the verbs that read features as cucumber-nagios does.
func (l *loader) compatFlag(f *pflag.FlagSet, usage string) {
	l.compat = f.Bool("compat", false, usage)
}

// set is a configuration with the plans of the requested features.
type set struct {
	config   *config.Config
	own      *cucumber.Own
	plans    []*agent.Plan
	broken   []*agent.Plan      // of files with problems: these never run
	problems []features.Problem // errors that prevent a run
	mistakes []features.Problem // in the definitions of sentences: steps that use them are undefined
	warnings []features.Problem // likely mistakes

	sentences []*features.Sentence // defined by the features
	library   *steps.Library       // with sentences
	partial   bool                 // the selection left scenarios out
}

// read loads everything that it can. It returns an error only if nothing can be checked: an invalid configuration, no paths.
func (l *loader) read(paths []string) (*set, error) {
	c, err := config.Load(*l.config)
	if err != nil {
		return nil, err
	}
	web := steps.SettingsOf[httpwire.Web](c.Target)
	if l.compat != nil && *l.compat {
		web.CucumberNagios = true
		c.Target.Set(web)
	}
	if len(paths) == 0 {
		paths = c.Features
	}
	if len(paths) == 0 {
		return nil, errors.New("no features: name files or directories, or set features in stepwatch.yml")
	}
	loaded, err := features.Load(paths, features.Options{Tags: *l.tags, Sentences: c.Sentences})
	s, ownErr := newSet(c, loaded, l.glue)
	if ownErr != nil {
		return nil, ownErr
	}
	var problems *features.Error
	if errors.As(err, &problems) {
		s.problems = problems.Problems
		return s, nil
	}
	return s, err
}

// plans loads features to run them. A mistake in a file is an error.
func (l *loader) plans(paths []string) (*set, error) {
	s, err := l.read(paths)
	if err == nil {
		err = s.runnable(paths)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// runnable returns why the set cannot run, or nil.
func (s *set) runnable(paths []string) error {
	switch {
	case len(s.problems) > 0:
		return &features.Error{Problems: s.problems}
	case len(s.plans) == 0:
		return fmt.Errorf("nothing to run: %s only defines sentences (@step): name a feature that uses them", strings.Join(paths, ", "))
	}
	return nil
}

func newSet(c *config.Config, loaded *features.Set, glue []cucumber.Glue) (*set, error) {
	own, err := cucumber.Load(glue...)
	if err != nil {
		return nil, err
	}
	s := &set{config: c, own: own, warnings: loaded.Warnings, sentences: loaded.Sentences, partial: loaded.Partial}
	language := builtin.Library()
	if steps.SettingsOf[httpwire.Web](c.Target).CucumberNagios {
		language = language.Compat()
	}
	s.library, s.mistakes = language.With(own.Definitions()...).Define(loaded.Sentences)
	for _, scenario := range loaded.Scenarios() {
		s.plans = append(s.plans, agent.NewPlan(scenario, s.library, c.Defaults))
	}
	for _, feature := range loaded.Broken {
		for _, scenario := range feature.Scenarios {
			s.broken = append(s.broken, agent.NewPlan(scenario, s.library, c.Defaults))
		}
	}
	return s, nil
}

// close ends the browser that the runs share.
func (s *set) close() { _ = s.browser().Close() }

// browser returns the browser of scenarios tagged @browser.
func (s *set) browser() *browser.Browser { return steps.SettingsOf[*browser.Browser](s.target()) }

func (s *set) usesBrowser() bool {
	return slices.ContainsFunc(s.plans, func(p *agent.Plan) bool { return p.Scenario.Policy.Browser })
}

func (s *set) target() *steps.Target { return s.config.Target }

func (s *set) agentRunner() *agent.Runner {
	return &agent.Runner{Target: s.config.Target, Secrets: s.config.Secrets, Own: s.own, Name: s.config.Name}
}

// handRunner runs plans one after another while the caller waits.
type handRunner struct{ runner *agent.Runner }

func (s *set) runner() handRunner { return handRunner{s.agentRunner()} }

// Run executes one plan.
func (h handRunner) Run(ctx context.Context, plan *agent.Plan, o agent.Occasion) *result.Result {
	return h.runner.Run(ctx, plan, o)
}
