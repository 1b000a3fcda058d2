package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

// loader has the flags of all verbs that take feature files: --config, --tags and --name.
type loader struct {
	config *string
	tags   *string
	names  *[]string // nil selects all
	compat *bool     // nil for verbs without this flag
	strict *bool     // same
	base   *string   // same
	glue   []cucumber.Glue
	before *config.Config // that the program already runs with; nil at the start
}

func loadFlags(t *terminal, f *pflag.FlagSet) *loader {
	return &loader{
		glue:   t.glue,
		config: f.StringP("config", "c", "", "the configuration (default: stepwatch.yml, if it exists)"),
		tags:   f.StringP("tags", "t", "", `only scenarios with these tags: "@mail and not @slow"`),
		names:  nameFlag(f),
	}
}

// runFlags adds the flags of the verbs that run or check scenarios.
func (l *loader) runFlags(f *pflag.FlagSet, strict bool) {
	l.base = f.String("base", "", "resolve relative addresses against this URL, whatever @base and web.base say")
	if strict {
		l.strict = f.Bool("strict", false, "run nothing if a feature has a mistake; otherwise only the scenarios with mistakes are UNKNOWN")
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
	broken   []*agent.Plan      // of files with problems, as far as readable: for checks
	refused  []*agent.Plan      // the same scenarios, or one for a whole file: they run nothing and name the mistake
	problems []features.Problem // mistakes of whole files and paths
	mistakes []features.Problem // in the definitions of sentences: steps that use them are undefined
	warnings []features.Problem // likely mistakes
	found    []finding          // of an agent, before it starts

	sentences []*features.Sentence // defined by the features
	library   *steps.Library       // with sentences
	partial   bool                 // the selection left scenarios out
	manual    int                  // scenarios tagged @manual that were left out because nobody named them
}

// read loads everything that it can. It returns an error only if nothing can be checked: an invalid configuration, no paths, a
// name that no scenario has.
func (l *loader) read(paths []string) (*set, error) { return l.readFor(paths, false) }

// readFor is read. If running is true, scenarios tagged @manual are left out unless they are named.
func (l *loader) readFor(paths []string, running bool) (*set, error) {
	c, err := l.configuration()
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
	if l.base != nil && *l.base != "" {
		if err := httpwire.CheckBase(*l.base); err != nil {
			return nil, fmt.Errorf("--base %s %w", features.HidePassword(*l.base), err)
		}
	}
	loaded, err := features.Load(paths, features.Options{Tags: *l.tags, Sentences: c.Sentences})
	var problems *features.Error
	if err != nil && !errors.As(err, &problems) {
		return nil, err
	}
	var unread []features.Problem
	if problems != nil {
		unread = problems.Problems
	}
	if l.names != nil {
		if err := selectNamed(loaded, *l.names, unread); err != nil {
			return nil, err
		}
	}
	manual := 0
	if running {
		manual = withoutManual(loaded)
	}
	if l.base != nil && *l.base != "" {
		for _, f := range slices.Concat(loaded.Features, loaded.Broken) {
			for _, scenario := range f.Scenarios {
				scenario.Policy.Base = *l.base
			}
		}
	}
	s, err := newSet(c, loaded, l.glue)
	if err != nil {
		return nil, err
	}
	s.manual = manual
	if problems != nil {
		s.refuse(loaded.Broken, problems.Problems)
	}
	return s, nil
}

func (l *loader) configuration() (*config.Config, error) {
	if l.before != nil {
		return config.Again(*l.config, l.before)
	}
	return config.Load(*l.config)
}

// refuse records the mistakes of whole files, and makes a plan that names them for each of their scenarios.
func (s *set) refuse(broken []*features.Feature, problems []features.Problem) {
	s.problems = problems
	plans := s.broken
	for _, f := range broken {
		var mistakes []features.Problem
		for _, p := range problems {
			if p.Path == f.Path {
				mistakes = append(mistakes, p)
			}
		}
		if len(mistakes) == 0 {
			continue
		}
		its := plans[:len(f.Scenarios)]
		plans = plans[len(f.Scenarios):]
		if len(its) == 0 {
			whole := &features.Scenario{Path: f.Path, Line: max(1, f.Line), Feature: f.Name, Name: wholeFile, Label: wholeFile, Policy: features.Policy{Retries: -1}}
			its = []*agent.Plan{agent.NewPlan(whole, s.library, s.config.Defaults)}
		}
		for _, plan := range its {
			s.refused = append(s.refused, plan.Refuse(mistakes))
		}
	}
}

// wholeFile is the scenario in the results of a file of which no scenario could be read.
const wholeFile = "(the whole file)"

// plans loads features to run them. The plans of scenarios and files with mistakes report them, and the rest runs. It is an
// error if nothing can run, and with --strict any mistake.
func (l *loader) plans(paths []string) (*set, error) {
	s, err := l.readFor(paths, true)
	if err == nil {
		err = l.runnable(s, paths)
	}
	if err != nil {
		return nil, err
	}
	s.plans = append(s.plans, s.refused...)
	return s, nil
}

// watched loads features for the agent. Unlike plans it is no error if nothing can run, as long as a file is named that can
// be watched: its mistakes are results. It lists the findings of lint in found.
func (l *loader) watched(paths []string) (*set, error) {
	s, err := l.read(paths)
	if err != nil {
		return nil, err
	}
	s.found = append(s.findings(), s.maintenance(time.Now())...)
	if len(s.plans) > 0 || len(s.refused) == 0 || l.strict != nil && *l.strict {
		if err := l.runnable(s, paths); err != nil {
			return nil, err
		}
	}
	s.plans = append(s.plans, s.refused...)
	return s, nil
}

// runnable returns why the set cannot run, or nil.
func (l *loader) runnable(s *set, paths []string) error {
	if l.strict != nil && *l.strict {
		if err := s.strict(); err != nil {
			return err
		}
	}
	return s.runnable(paths)
}

// strict returns all mistakes in the set.
func (s *set) strict() error {
	var mistakes []error
	for _, found := range s.findings() {
		if found.severity == mistaken {
			mistakes = append(mistakes, found)
		}
	}
	if len(mistakes) == 0 {
		return nil
	}
	return errors.Join(append(mistakes, errors.New("nothing was started, because of --strict: fix these errors; \"stepwatch lint\" lists them again"))...)
}

// runnable returns why the set cannot run, or nil.
func (s *set) runnable(paths []string) error {
	switch {
	case len(s.problems) > 0 && (len(s.plans) == 0 || slices.ContainsFunc(s.problems, func(p features.Problem) bool { return p.Path == "" })):
		return &features.Error{Problems: s.problems}
	case len(s.plans) == 0 && s.manual > 0:
		if s.manual == 1 {
			return errors.New("nothing to run: the scenario is tagged @manual, so it runs only when it is named: use --name \"Scenario\" or FILE:LINE")
		}
		return fmt.Errorf("nothing to run: all %d scenarios are tagged @manual, so they run only when they are named: use --name \"Scenario\" or FILE:LINE", s.manual)
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

// runner returns the runner for plans that run while the caller waits: everything runs in godog.
func (s *set) runner() *agent.Runner {
	return &agent.Runner{Target: s.config.Target, Secrets: s.config.Secrets, Own: s.own, Name: s.config.Name}
}

// agentRunner returns the runner for plans that run on a schedule.
func (s *set) agentRunner() *agent.Runner {
	r := s.runner()
	r.Direct = true
	return r
}
