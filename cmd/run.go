package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/evidence"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

func init() {
	registerVerb(verb{name: "run", args: "PATH[:LINE]…", summary: "run scenarios once and show each step as it runs", place: 20, run: runVerb})
}

func runVerb(ctx context.Context, t *terminal, args []string) int {
	const arguments = "PATH[:LINE]…"
	f := flagSet("run")
	r := runOptions{load: loadFlags(t, f), flags: f}
	r.load.runFlags(f, true)
	timeout := f.Duration("timeout", 0, "stop everything after this duration, such as 5m (default: only the limits of the scenarios)")
	f.IntVar(&r.repeat, "repeat", 1, "number of runs of each scenario")
	f.StringVar(&r.evidence, "evidence", "", "directory for the evidence of failures; --evidence= keeps none (default: \"evidence\" in the state directory)")
	f.BoolVarP(&r.verbose, "verbose", "v", false, "show the phases and measurements of every step")
	again := f.BoolP("watch", "w", false, "run again whenever a feature, the configuration or a file that a step names is saved, until Ctrl-C")
	if code, done := parse(t, f, arguments, args, exitNotRun); done {
		return code
	}
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, *timeout, errTimeout)
		defer cancel()
	}
	if *again {
		return r.watch(ctx, t)
	}
	set, err := r.load.plans(f.Args())
	if err != nil {
		return notRun(t, err)
	}
	return r.run(ctx, t, set)
}

// runOptions has the options of "run".
type runOptions struct {
	load     *loader
	flags    *pflag.FlagSet
	repeat   int
	evidence string
	verbose  bool
}

// run runs a set and closes it.
func (r *runOptions) run(ctx context.Context, t *terminal, set *set) int {
	defer set.close()
	for _, w := range append(set.warnings, set.rubyWarnings()...) {
		fmt.Fprintln(t.err, "warning:", w)
	}
	for _, m := range slices.Concat(set.problems, set.mistakes) {
		fmt.Fprintln(t.err, "stepwatch:", m)
	}
	p := &pretty{out: t.out, colour: t.colour, phases: r.verbose}
	if r.flags.Changed("evidence") {
		p.evidence = evidenceIn(r.evidence)
	} else {
		if err := checkState(set); err != nil {
			return notRun(t, err)
		}
		p.evidence = evidence.New(set.config.EvidenceDir(), set.config.Evidence, nil)
	}
	runner := set.runner()
	for range r.repeat {
		for _, plan := range set.plans {
			if ctx.Err() != nil {
				p.summary()
				return notRun(t, fmt.Errorf("not every scenario ran: %w", context.Cause(ctx)))
			}
			t.working(plan)
			p.begin(plan)
			p.end(runner.Run(ctx, plan, agent.Occasion{Observer: p}))
		}
	}
	if text := set.snippets(); text != "" {
		fmt.Fprintf(t.out, "\n%s", text)
	}
	p.summary()
	if set.manual > 0 {
		fmt.Fprintf(t.out, "%s tagged @manual left out: name what should run with --name or FILE:LINE.\n", counted(set.manual, "scenario"))
	}
	code := p.exitCode()
	if code != exitPassed && !r.flags.Changed("evidence") { // a run that passed adds none
		_ = p.evidence.Sweep(ctx, time.Now()) // the agent's log reports what it cannot remove
	}
	return code
}

// evidenceIn returns a store in a directory from the command line. It removes nothing there. A nil store keeps nothing.
func evidenceIn(dir string) *evidence.Store {
	if dir == "" {
		return nil
	}
	return evidence.NewShared(dir)
}

// exitCode returns 0 if every scenario passed within its budget, 1 if one failed or was too slow, and 3 if nothing ran or
// a scenario could not run.
func (p *pretty) exitCode() int {
	switch p.tally.worst {
	case result.OK:
		if p.tally.scenarios[result.Passed] == 0 {
			return exitNotRun
		}
		return exitPassed
	case result.Unknown:
		return exitNotRun
	default:
		return exitFailed
	}
}

// errTimeout is the cause of a context that ended by --timeout. It wraps ErrStopped: the rest was stopped and did not fail.
var errTimeout = fmt.Errorf("--timeout expired: %w", steps.ErrStopped)

// notRun reports why a verb could not do its work, one line for each problem.
func notRun(t *terminal, err error) int {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		for _, e := range many.Unwrap() {
			fmt.Fprintln(t.err, "stepwatch:", e)
		}
		return exitNotRun
	}
	fmt.Fprintln(t.err, "stepwatch:", err)
	return exitNotRun
}

// hostTimeout is below the 60 s that Nagios gives a plugin (service_check_timeout), so that Nagios gets the answer.
const hostTimeout = 55 * time.Second
