package cucumber

import (
	"context"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/cucumber/godog"
	"github.com/cucumber/godog/formatters"
	messages "github.com/cucumber/messages/go/v34"

	"github.com/stepwatch/stepwatch/agent/cucumber/hidepath"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

func init() { hidepath.Restore() } // godog is initialised here

// Run is the run of a scenario that a suite executes. It runs the steps and keeps their results.
type Run interface {
	World() *steps.World
	Library() *steps.Library // the library that the steps are bound to

	// Step runs the next step. An error ends the run.
	Step(ctx context.Context) error

	// Hold holds each result from now on: hooks after a step or after the scenario may turn a pass into a failure.
	Hold()
	// Held returns the status of the step whose result is held.
	Held() (status result.Status, held bool)
	// Left returns the number of steps that are not recorded yet, including a held one.
	Left() int
	// Prevent holds the next step as one that could not begin because of failure.
	Prevent(failure error)
	// Amend adds the failure of a hook to the step before it. If that step had not passed, only the text said is added.
	Amend(act, said string, failure error)
	// Settle records the held step, and reports whether it passed or none was held.
	Settle() (passed bool)
	// Part marks the beginning of the hooks after the scenario. It returns their time, which is independent of the deadline.
	Part() time.Duration
}

// Script is a scenario in the form that godog runs.
type Script struct {
	name     string
	path     string
	source   []byte
	patterns []*regexp.Regexp // one for each text of a step
}

// NewScript returns the Script of a scenario with its source. texts are the texts of the steps that the run executes. Other
// steps are undefined for godog.
func NewScript(s *features.Scenario, source []byte, texts []string) *Script {
	script := &Script{name: s.Name, path: s.Path, source: source}
	for _, text := range texts {
		pattern := "^" + regexp.QuoteMeta(text) + "$"
		if !slices.ContainsFunc(script.patterns, func(p *regexp.Regexp) bool { return p.String() == pattern }) {
			script.patterns = append(script.patterns, regexp.MustCompile(pattern))
		}
	}
	return script
}

// Empty reports whether there is no own code. A nil Own is empty.
func (o *Own) Empty() bool { return o == nil || len(o.glue) == 0 }

// Execute runs the script through godog, which calls run.Step for each step, with the team's own steps and hooks, if any. It
// returns godog's verdict.
func (o *Own) Execute(ctx context.Context, script *Script, run Run) (passed bool) {
	if o.Empty() {
		return execute(ctx, script, func(ctx context.Context) (context.Context, error) { return ctx, run.Step(ctx) }, nil)
	}
	return newHooks(run, o).execute(ctx, script)
}

const nullFormat = "stepwatch"

var registerNullFormat = sync.OnceFunc(func() {
	godog.Format(nullFormat, "Reports nothing: the runner times its own calls.",
		func(string, io.Writer) formatters.Formatter { return nullFormatter{} })
})

// execute runs the script and calls step for every step in order. It returns godog's verdict. hooks, if not nil, are called
// around a team's own hooks.
func execute(ctx context.Context, script *Script, step func(context.Context) (context.Context, error), hooks *hooks) (passed bool) {
	registerNullFormat()
	return godog.TestSuite{
		Name: script.name,
		Options: &godog.Options{
			Format: nullFormat, Output: io.Discard, NoColors: true, Strict: true, Concurrency: 1, DefaultContext: ctx,
			FeatureContents: []godog.Feature{{Name: script.path, Contents: script.source}},
		},
		ScenarioInitializer: func(sc *godog.ScenarioContext) {
			if hooks != nil {
				hooks.register(sc)
			}
			for _, p := range script.patterns {
				sc.Step(p, step)
			}
		},
	}.Run() == 0
}

// nullFormatter is the formatter that godog requires.
type nullFormatter struct{}

func (nullFormatter) TestRunStarted()                                                            {}
func (nullFormatter) Feature(*messages.GherkinDocument, string, []byte)                          {}
func (nullFormatter) Pickle(*messages.Pickle)                                                    {}
func (nullFormatter) Defined(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition) {}
func (nullFormatter) Failed(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition, error) {
}
func (nullFormatter) Passed(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition)    {}
func (nullFormatter) Skipped(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition)   {}
func (nullFormatter) Undefined(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition) {}
func (nullFormatter) Pending(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition)   {}
func (nullFormatter) Ambiguous(*messages.Pickle, *messages.PickleStep, *formatters.StepDefinition, error) {
}
func (nullFormatter) Summary() {}
