package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// finding is one mistake in a feature file.
type finding struct {
	path         string
	line, column int
	message      string
	warning      bool
}

func (f finding) String() string {
	kind := ""
	if f.warning {
		kind = "warning: "
	}
	return features.Problem{Path: f.path, Line: f.line, Column: f.column, Message: kind + f.message}.Error()
}

// lintVerb finds everything that can be known without running: files that do not parse, undefined and ambiguous steps,
// unknown accounts, hosts, files and policy tags, schedules that cannot be kept.
func lintVerb(_ context.Context, t *terminal, args []string) int {
	f := flagSet("lint")
	load := loadFlags(f)
	if code, done := parse(t, f, "PATH…", args, exitNotRun); done {
		return code
	}
	set, err := load.read(f.Args())
	if err != nil {
		return notRun(t, err)
	}
	findings := set.findings()
	mistakes := 0
	for _, f := range findings {
		fmt.Fprintln(t.out, f)
		if !f.warning {
			mistakes++
		}
	}
	fmt.Fprintf(t.out, "%s, %s, %s\n", counted(len(set.plans), "scenario"), counted(mistakes, "mistake"), counted(len(findings)-mistakes, "warning"))
	switch {
	case mistakes > 0:
		return exitFailed
	case len(set.plans) == 0:
		return exitNotRun
	default:
		return exitPassed
	}
}

// counted gives "1 mistake", "2 mistakes".
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// findings lists the mistakes of a set by place, each once: a background's step belongs to every scenario of its file.
func (s *set) findings() []finding {
	var all []finding
	for _, p := range slices.Concat(s.problems, s.warnings) {
		all = append(all, finding{p.Path, p.Line, p.Column, p.Message, false})
	}
	for _, plan := range s.plans {
		for _, p := range plan.Problems {
			all = append(all, finding{p.Path, p.Line, p.Column, explain(p.Err), false})
		}
		all = append(all, nameFindings(plan, s.target())...)
		if plan.Scenario.Policy.Browser {
			for _, problem := range s.config.Target.Browser.Problems() {
				all = append(all, finding{plan.Scenario.Path, plan.Scenario.Line, 1, "tagged @browser: " + problem.Error(), true})
			}
		}
		if interval := plan.Schedule.Interval; plan.Timeout > interval && !plan.Scenario.Policy.Manual {
			all = append(all, finding{plan.Scenario.Path, plan.Scenario.Line, 1, fmt.Sprintf(
				"a run may take %s, longer than its interval of %s: runs will be missed while it waits; raise @every or lower the waits",
				plan.Timeout, interval), true})
		}
	}
	slices.SortStableFunc(all, func(a, b finding) int {
		return cmp.Or(strings.Compare(a.path, b.path), a.line-b.line, a.column-b.column, strings.Compare(a.message, b.message))
	})
	return slices.Compact(all)
}

// explain adds the other near sentences to an undefined step's message.
func explain(err error) string {
	var undefined *steps.UndefinedError
	if errors.As(err, &undefined) && len(undefined.Nearest) > 1 {
		return fmt.Sprintf("%v (or: %s)", err, strings.Join(undefined.Nearest[1:], " | "))
	}
	return err.Error()
}

// nameFindings reports names of accounts and hosts that the configuration does not have, and files that are not there.
func nameFindings(plan *agent.Plan, target *steps.Target) []finding {
	var found []finding
	for i, bound := range plan.Steps() {
		if bound == nil {
			continue
		}
		for _, err := range bound.Unknown(target) {
			step := plan.Scenario.Steps[i]
			found = append(found, finding{plan.Scenario.Path, step.Line, step.Column, err.Error(), false})
		}
	}
	return found
}
