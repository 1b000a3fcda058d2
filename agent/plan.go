package agent

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// Defaults apply where a scenario's tags say nothing.
type Defaults struct {
	Every   time.Duration // the schedule's interval
	Timeout time.Duration // least deadline of a run; see Plan.Timeout
	Retries int           // quick repetitions before a failure is hard
}

// Plan is a scenario that is ready to run: every step bound to its definition, the policy settled. It is never changed,
// so runs may share it.
type Plan struct {
	Scenario *features.Scenario
	Identity result.Identity
	Schedule Schedule
	Timeout  time.Duration // deadline of one run, preparation included and cleaning up not
	Retries  int
	Budget   result.Budget
	Problems []Problem // why the plan cannot run; empty for one that can

	texts   []string         // of the steps, fit to be shown
	labels  []string         // likewise
	bound   []*steps.Bound   // one a step; nil where the step has a problem
	library *steps.Library   // that they are of
	script  *cucumber.Script // the same scenario, for godog
}

// Problem is a mistake in a feature file, with its place.
type Problem struct {
	Path   string
	Line   int
	Column int
	Step   int // index of the step that has it; -1 when it is the scenario's
	Err    error
}

// Error gives "file:line:column: message".
func (p Problem) Error() string { return fmt.Sprintf("%s:%d:%d: %v", p.Path, p.Line, p.Column, p.Err) }

// Unwrap gives the error without its place.
func (p Problem) Unwrap() error { return p.Err }

// settleTime is what a run gets beyond the waits that its steps name, for everything else that they do.
const settleTime = 30 * time.Second

// NewPlan binds the scenario's steps to the library's definitions. A scenario with mistakes gives a Plan too: its runs
// report them.
//
// Without @timeout a run may take Defaults.Timeout, but no longer than the interval, so that runs do not meet; or the sum
// of the waits that its steps name ("within 60s") and 30 s if that is longer: a wait that a scenario promises is never cut
// short by a default.
func NewPlan(s *features.Scenario, library *steps.Library, d Defaults) *Plan {
	p := &Plan{
		Scenario: s,
		Identity: result.Identity{Feature: s.Feature, Scenario: s.Label, Example: s.Example, File: s.Path, Line: s.Line,
			Owner: s.Policy.Owner, Severity: s.Policy.Severity, Location: s.Policy.Location},
		Timeout: s.Policy.Timeout,
		Retries: s.Policy.Retries,
		Budget:  result.Budget{Warn: s.Policy.Warn, Crit: s.Policy.Crit},
		library: library,
		texts:   make([]string, len(s.Steps)),
		labels:  make([]string, len(s.Steps)),
		bound:   make([]*steps.Bound, len(s.Steps)),
	}
	if p.Retries < 0 {
		p.Retries = d.Retries
	}
	var waits time.Duration
	var texts []string // of the steps that are bound
	for i, step := range s.Steps {
		p.texts[i], p.labels[i] = features.HidePassword(step.Text), features.HidePassword(step.Label)
		step.Path = cmp.Or(step.Path, s.Path)
		b, err := library.Bind(step)
		if err != nil {
			hideIn(err)
			p.Problems = append(p.Problems, Problem{s.Path, step.Line, step.Column, i, err})
			continue
		}
		if d := b.NeedsBrowser(); d != nil && !s.Policy.Browser {
			p.Problems = append(p.Problems, Problem{s.Path, step.Line, step.Column, i,
				fmt.Errorf("%q (%s:%d) is tagged @browser: tag the scenario too", d.Sentence, d.File, d.Line)})
			continue
		}
		showable(b.Inner)
		p.bound[i] = b
		waits += b.Wait()
		texts = append(texts, step.Text)
	}
	p.script = cucumber.NewScript(s, texts)
	interval := s.Policy.Every
	if interval == 0 {
		interval = d.Every
	}
	if p.Timeout == 0 {
		p.Timeout = d.Timeout
		if interval > 0 {
			p.Timeout = min(p.Timeout, interval)
		}
		if waits > 0 {
			p.Timeout = max(p.Timeout, waits+settleTime)
		}
	}
	p.Schedule = NewSchedule(interval, p.Identity)
	return p
}

// showable makes the texts of what sentences stand for fit to be shown.
func showable(inner []*steps.Bound) {
	for _, b := range inner {
		b.Step.Text, b.Step.Label = features.HidePassword(b.Step.Text), features.HidePassword(b.Step.Label)
		showable(b.Inner)
	}
}

// hideIn has an error of Bind quote the step as it may be shown.
func hideIn(err error) {
	var undefined *steps.UndefinedError
	var ambiguous *steps.AmbiguousError
	switch {
	case errors.As(err, &undefined):
		undefined.Step.Text, undefined.Write = features.HidePassword(undefined.Step.Text), features.HidePassword(undefined.Write)
	case errors.As(err, &ambiguous):
		ambiguous.Text = features.HidePassword(ambiguous.Text)
	}
}

// StepText gives a step's text, without any password that stands in a URL.
func (p *Plan) StepText(index int) string { return p.texts[index] }

// Steps gives the bound steps, nil where a step has a problem, for checks without running.
func (p *Plan) Steps() []*steps.Bound { return p.bound }
