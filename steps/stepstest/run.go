// Package stepstest contains servers on loopback that behave or misbehave on request, and a runner for a scenario
// against a server. Tests use both. The demo verb uses the well-behaved servers, so the package does not import
// "testing".
package stepstest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// Scenario holds what a run needs besides the text. Only Target is required.
type Scenario struct {
	Library *steps.Library // nil means every sentence of the rooms that are linked
	Target  *steps.Target
	Secrets steps.Secrets // nil means that the configuration has none
	ID      string        // the run's id; empty means a new one
	Dir     string        // base of relative paths in the text; empty means the working directory
	Browser bool          // visit websites with the Target's browser, as @browser does
	Origin  string        // name of the scenario on this agent; empty means "test"
}

// Secrets maps the names of secrets to their values.
type Secrets map[string]string

// Secret returns the value called name.
func (s Secrets) Secret(_ context.Context, name string) (steps.Secret, error) {
	value, found := s[name]
	if !found {
		return steps.Secret{}, fmt.Errorf("no secret %q: add it under secrets in stepwatch.yml", name)
	}
	return steps.NewSecret(value), nil
}

// Outcome is the result of a scenario.
type Outcome struct {
	Steps []StepOutcome // the steps that ran; if one failed, it is the last
	Close error         // error of the World's cleanup
}

// StepOutcome is the result of one step.
type StepOutcome struct {
	Text     string
	Err      error
	Told     string // Err in a report: without secrets
	Report   steps.Report
	Duration time.Duration // of the step's function only, without what it reported to World.Idle
}

// Err returns the error of the step that failed, or nil.
func (o *Outcome) Err() error {
	if len(o.Steps) == 0 {
		return nil
	}
	return o.Steps[len(o.Steps)-1].Err
}

// Run runs text with the library against the target; a nil library means every sentence of the rooms that are linked. See
// Scenario.Run.
func Run(ctx context.Context, library *steps.Library, text string, target *steps.Target) (*Outcome, error) {
	return Scenario{Library: library, Target: target}.Run(ctx, text)
}

// Run binds each line of text to a sentence, prepares all steps, runs them in order until one fails and closes the
// World. A line is a step with or without its English keyword; lines that begin with "|" are the table, and lines
// between two lines of `"""` the doc string of the step above. The error means that text is not a scenario; the results
// of the steps are in the Outcome.
func (s Scenario) Run(ctx context.Context, text string) (*Outcome, error) {
	library := s.Library
	if library == nil {
		library = steps.Registered()
	}
	written, err := parse(text)
	if err != nil {
		return nil, err
	}
	bound := make([]*steps.Bound, len(written))
	for i, step := range written {
		if bound[i], err = library.Bind(step); err != nil {
			return nil, fmt.Errorf("line %d: %w", step.Line, err)
		}
		bound[i].Args.Dir = s.Dir
	}
	if s.ID == "" {
		s.ID = rand.Text()
	}
	if s.Origin == "" {
		s.Origin = "test"
	}
	w := steps.NewWorld(s.Target, s.Secrets, s.ID, s.Origin)
	if s.Browser {
		w.UseBrowser()
	}
	outcome := &Outcome{}
	// The cleanup runs even if the scenario's own time is over, as in the agent.
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		outcome.Close = w.Close(cleanup)
	}()
	var all []*steps.Bound
	for _, b := range bound {
		all = append(all, leaves(b)...)
	}
	for _, b := range all {
		if b.Definition.Prepare != nil {
			b.Definition.Prepare(ctx, w, b.Args)
		}
	}
	w.TakeReport()
	for _, b := range all {
		start := time.Now()
		err := b.Definition.Func(ctx, w, b.Args)
		took := time.Since(start) - w.TakeUntimed()
		w.RunAfter(ctx)
		told := ""
		if err != nil {
			told = w.Redacted(err.Error())
		}
		report := w.TakeReport()
		outcome.Steps = append(outcome.Steps, StepOutcome{Text: b.Step.Text, Err: err, Told: told, Report: report, Duration: max(0, took-report.Idle)})
		if err != nil {
			break
		}
	}
	return outcome, nil
}

// leaves returns the innermost steps of a sentence composed of others. For any other step it returns the step itself.
func leaves(b *steps.Bound) (all []*steps.Bound) {
	if len(b.Inner) == 0 {
		return []*steps.Bound{b}
	}
	for _, inner := range b.Inner {
		all = append(all, leaves(inner)...)
	}
	return all
}

// parse reads the steps of one scenario. It supports only the Gherkin needed for that: package features loads features.
func parse(text string) ([]features.Step, error) {
	var written []features.Step
	var doc []string
	inDoc, mediaType := false, ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		last := len(written) - 1
		switch {
		case strings.HasPrefix(line, `"""`) && last < 0:
			return nil, fmt.Errorf("line %d: a doc string without a step", i+1)
		case line == `"""` && inDoc:
			written[last].DocString = &features.DocString{MediaType: mediaType, Content: strings.Join(doc, "\n")}
			inDoc, doc = false, nil
		case inDoc:
			doc = append(doc, line)
		case strings.HasPrefix(line, `"""`):
			inDoc, mediaType = true, line[3:]
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "|") && last < 0:
			return nil, fmt.Errorf("line %d: a table without a step", i+1)
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			written[last].Table = append(written[last].Table, cells)
		default:
			keyword, rest, _ := strings.Cut(line, " ")
			switch keyword {
			case "Given", "When", "Then", "And", "But", "*":
				line = strings.TrimSpace(rest)
			default:
				keyword = "*"
			}
			written = append(written, features.Step{Keyword: keyword, Text: line, Label: line, Line: i + 1})
		}
	}
	if inDoc {
		return nil, fmt.Errorf("the doc string of %q has no end", written[len(written)-1].Text)
	}
	if len(written) == 0 {
		return nil, fmt.Errorf("the scenario has no step")
	}
	return written, nil
}
