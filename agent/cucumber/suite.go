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

func init() { hidepath.Restore() } // godog is initialised by now

// Run is the run of a scenario that a suite executes: it does the steps and keeps what becomes of them.
type Run interface {
	World() *steps.World
	Library() *steps.Library // that the steps are bound to

	// Step does the next step. Its error ends the run.
	Step(ctx context.Context) error

	// Hold has each result held from now on: hooks after a step, or after the scenario, may turn what passed into a failure.
	Hold()
	// Held is the status of the step whose result is held.
	Held() (status result.Status, held bool)
	// Left is the number of steps that are not taken down yet, one that is held included.
	Left() int
	// Prevent holds the next step as one that failure has kept from beginning.
	Prevent(failure error)
	// Amend adds the failure of a hook to the step that it followed. Of one that had not passed already only what was said counts.
	Amend(act, said string, failure error)
	// Settle takes down the step that is held, and reports whether it has passed, or none was held.
	Settle() (passed bool)
	// Part says that the hooks after the scenario begin, which have the time that it returns, whatever the run's deadline is.
	Part() time.Duration
}

// Script is a scenario as godog runs it.
type Script struct {
	name     string
	path     string
	source   []byte
	patterns []*regexp.Regexp // one for each text that a step has
}

// NewScript makes a Script of the scenario. texts are those of the steps that the run does; others are undefined to godog.
func NewScript(s *features.Scenario, texts []string) *Script {
	script := &Script{name: s.Name, path: s.Path, source: s.Source}
	for _, text := range texts {
		pattern := "^" + regexp.QuoteMeta(text) + "$"
		if !slices.ContainsFunc(script.patterns, func(p *regexp.Regexp) bool { return p.String() == pattern }) {
			script.patterns = append(script.patterns, regexp.MustCompile(pattern))
		}
	}
	return script
}

// Execute runs the script through godog, which calls run.Step for each step, with the team's own steps and hooks where there are
// any. It returns godog's verdict.
func (o *Own) Execute(ctx context.Context, script *Script, run Run) (passed bool) {
	if o == nil || len(o.glue) == 0 {
		return execute(ctx, script, func(ctx context.Context) (context.Context, error) { return ctx, run.Step(ctx) }, nil)
	}
	return newHooks(run, o).execute(ctx, script)
}

const nullFormat = "stepwatch"

var registerNullFormat = sync.OnceFunc(func() {
	godog.Format(nullFormat, "Reports nothing: the runner times its own calls.",
		func(string, io.Writer) formatters.Formatter { return nullFormatter{} })
})

// execute runs the script and calls step for every step in order. It returns godog's verdict. hooks, when there are any, are
// called around what a team's own code registers.
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

// nullFormatter is the formatter that godog insists on.
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
