package agent

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// Defaults apply if the tags of a scenario say nothing.
type Defaults struct {
	Every   time.Duration // the schedule's interval
	Timeout time.Duration // minimum deadline of a run; see Plan.Timeout
	Retries int           // quick repetitions before a failure is hard
}

// Plan is a scenario that is ready to run: every step is bound to its definition, and the policy is resolved. It is
// immutable, so runs may share it.
type Plan struct {
	Scenario *features.Scenario
	Identity result.Identity
	Interval time.Duration // of its schedule; zero if it has none
	Timeout  time.Duration // deadline of one run, with preparation and without clean-up
	Retries  int
	Budget   result.Budget
	Problems []Problem // why the plan cannot run; empty if it can

	displayed []display      // of each step; nil if they are as written
	bound     []*steps.Bound // one for each step; nil if the step has a problem
	library   *steps.Library // that the steps are bound to
	script    *script        // the same scenario for godog
	seen      *steps.Seen    // the secrets that its runs have read; a plan has those of the one that it follows after a reload
}

// display are the text and the label of a step without passwords.
type display struct{ text, label string }

// script is a scenario for godog, made on first use: an agent runs most plans without godog.
type script struct {
	plan *Plan // of which another may be a part
	once sync.Once
	made *cucumber.Script
}

// get returns the script. The steps of the plan with a problem are undefined in it.
func (s *script) get() *cucumber.Script {
	s.once.Do(func() {
		var texts []string
		for i, b := range s.plan.bound {
			if b != nil {
				texts = append(texts, s.plan.Scenario.Steps[i].Text)
			}
		}
		s.made = cucumber.NewScript(s.plan.Scenario, s.plan.Scenario.Source(), texts)
	})
	return s.made
}

// Problem is a mistake in a feature file, with its place.
type Problem struct {
	Path   string
	Line   int
	Column int
	Step   int // index of the step; -1 if it concerns the scenario
	Err    error
}

// Error returns "file:line:column: message".
func (p Problem) Error() string { return fmt.Sprintf("%s:%d:%d: %v", p.Path, p.Line, p.Column, p.Err) }

// Unwrap returns the error without its place.
func (p Problem) Unwrap() error { return p.Err }

// settleTime is the time of a run in addition to the waits of its steps, for everything else that they do.
const settleTime = 30 * time.Second

// NewPlan binds the scenario's steps to the library's definitions. For a scenario with mistakes it returns a Plan, too: its
// runs report them.
//
// Without @timeout a run may take Defaults.Timeout, but no longer than the interval, so that runs do not overlap. If the sum
// of the waits of its steps ("within 60s") plus 30 s is longer, that applies: a default never cuts short a wait that a
// scenario names.
func NewPlan(s *features.Scenario, library *steps.Library, d Defaults) *Plan {
	p := &Plan{
		Scenario: s,
		Identity: result.Identity{Feature: s.Feature, Scenario: s.Label, Example: s.Example, File: s.Path, Line: s.Line,
			Owner: s.Policy.Owner, Severity: s.Policy.Severity, Location: s.Policy.Location},
		Timeout: s.Policy.Timeout,
		Retries: s.Policy.Retries,
		Budget:  result.Budget{Warn: s.Policy.Warn, Crit: s.Policy.Crit},
		library: library,
		seen:    new(steps.Seen),
		bound:   make([]*steps.Bound, len(s.Steps)),
	}
	p.script = &script{plan: p}
	if p.Retries < 0 {
		p.Retries = d.Retries
		if s.Policy.Of > 0 {
			p.Retries = 0 // it looks at scheduled runs
		}
	}
	for _, m := range s.Mistakes {
		p.Problems = append(p.Problems, Problem{m.Path, m.Line, m.Column, -1, &unfit{m.Message, m}})
	}
	p.displayed = withoutPasswords(s.Steps)
	var waits time.Duration
	for i := range s.Steps {
		step := &s.Steps[i]
		if step.Path == "" {
			placed := *step
			placed.Path, step = s.Path, &placed
		}
		b, err := library.BindTo(step)
		if err != nil {
			hideIn(err)
			p.Problems = append(p.Problems, Problem{s.Path, step.Line, step.Column, i, err})
			continue
		}
		if d := b.NeedsBrowser(); d != nil && !s.Policy.Browser {
			p.Problems = append(p.Problems, Problem{s.Path, step.Line, step.Column, i,
				fmt.Errorf("%q (%s:%d) is tagged @browser: tag the scenario, too", d.Sentence, d.File, d.Line)})
			continue
		}
		showable(b.Inner)
		p.bound[i] = b
		waits += b.Wait()
	}
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
	p.Interval = max(0, interval)
	return p
}

// patience returns how many results in a row that are not OK make an alert hard.
func (p *Plan) patience() int {
	if p.Scenario != nil && p.Scenario.Policy.Of > 0 {
		return p.Scenario.Policy.Some
	}
	return p.Retries + 1
}

// withoutPasswords returns the texts and labels of steps without passwords, or nil if they have none.
func withoutPasswords(written []features.Step) []display {
	all, hidden := make([]display, len(written)), false
	for i := range written {
		s := &written[i]
		all[i] = display{features.HidePassword(s.Text), features.HidePassword(s.Label)}
		hidden = hidden || all[i] != display{s.Text, s.Label}
	}
	if !hidden {
		return nil
	}
	return all
}

// unfit is the mistake of a whole scenario or file.
type unfit struct {
	message string
	cause   features.Problem
}

func (u *unfit) Error() string { return u.message }

func (u *unfit) Unwrap() error { return u.cause }

// Refuse returns the plan for a scenario of a file with mistakes, of which only a part may be readable: it runs nothing, and
// its results name the first mistake. mistakes is not empty.
func (p *Plan) Refuse(mistakes []features.Problem) *Plan {
	refused, first := *p, mistakes[0]
	place := first.Path
	if first.Line > 0 {
		place = fmt.Sprintf("%s:%d:%d", first.Path, first.Line, first.Column)
	}
	message := fmt.Sprintf("the file has a mistake, so nothing of it runs: %s: %s", place, first.Message)
	if more := len(mistakes) - 1; more > 0 {
		message += fmt.Sprintf(" (and %d more, which \"stepwatch lint\" lists)", more)
	}
	refused.Problems = []Problem{{first.Path, first.Line, first.Column, -1, &unfit{message, first}}}
	return &refused
}

// showable hides passwords in the texts of nested steps.
func showable(inner []*steps.Bound) {
	for _, b := range inner {
		b.Step.Text, b.Step.Label = features.HidePassword(b.Step.Text), features.HidePassword(b.Step.Label)
		showable(b.Inner)
	}
}

// hideIn hides passwords in the text that an error of Bind quotes.
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

// StepText returns the text of a step, without passwords in URLs.
func (p *Plan) StepText(index int) string { return p.display(index).text }

// display returns the text and the label of a step, without passwords in URLs.
func (p *Plan) display(index int) display {
	if p.displayed != nil {
		return p.displayed[index]
	}
	s := &p.Scenario.Steps[index]
	return display{s.Text, s.Label}
}

// Steps returns the bound steps, nil for a step with a problem, for checks without a run.
func (p *Plan) Steps() []*steps.Bound { return p.bound }
