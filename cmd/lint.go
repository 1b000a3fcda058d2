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
	kind         kind
}

// kind says how bad a finding is.
type kind string

const (
	mistaken kind = ""
	warned   kind = "warning: "
	hinted   kind = "hint: " // nothing is wrong
)

func (f finding) String() string {
	return features.Problem{Path: f.path, Line: f.line, Column: f.column, Message: string(f.kind) + f.message}.Error()
}

func found(p features.Problem, kind kind) finding {
	return finding{p.Path, p.Line, p.Column, p.Message, kind}
}

// lintVerb finds everything that can be known without running: files that do not parse, undefined and ambiguous steps,
// mistakes in sentences of one's own, unknown accounts, hosts, files and policy tags, schedules that cannot be kept.
func lintVerb(_ context.Context, t *terminal, args []string) int {
	f := flagSet("lint")
	load := loadFlags(t, f)
	if code, done := parse(t, f, "PATH…", args, exitNotRun); done {
		return code
	}
	set, err := load.read(f.Args())
	if err != nil {
		return notRun(t, err)
	}
	count := make(map[kind]int)
	for _, f := range append(set.findings(), set.unused()...) {
		fmt.Fprintln(t.out, f)
		count[f.kind]++
	}
	if text := set.snippets(); text != "" {
		fmt.Fprintf(t.out, "\n%s\n", text)
	}
	sentences := ""
	if n := len(set.sentences); n > 0 {
		sentences = counted(n, "sentence") + " of your own, "
	}
	fmt.Fprintf(t.out, "%s, %s%s, %s\n", counted(len(set.plans), "scenario"), sentences, counted(count[mistaken], "mistake"), counted(count[warned], "warning"))
	switch {
	case count[mistaken] > 0:
		return exitFailed
	case len(set.plans) == 0 && len(set.sentences) == 0:
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
	for _, p := range slices.Concat(s.problems, s.warnings, s.mistakes) {
		all = append(all, found(p, mistaken))
	}
	for _, plan := range s.plans {
		for _, p := range plan.Problems {
			if errors.As(p.Err, new(*steps.OwnError)) {
				continue // the definition's mistake is among s.mistakes
			}
			all = append(all, finding{p.Path, p.Line, p.Column, explain(p.Err), mistaken})
		}
		all = append(all, nameFindings(plan, s.target())...)
		all = append(all, passwordFindings(plan)...)
		if plan.Scenario.Policy.Browser {
			for _, problem := range s.config.Target.Browser.Problems() {
				all = append(all, finding{plan.Scenario.Path, plan.Scenario.Line, 1, "tagged @browser: " + problem.Error(), warned})
			}
		}
		if interval := plan.Schedule.Interval; plan.Timeout > interval && !plan.Scenario.Policy.Manual {
			all = append(all, finding{plan.Scenario.Path, plan.Scenario.Line, 1, fmt.Sprintf(
				"a run may take %s, longer than its interval of %s: runs will be missed while it waits; raise @every or lower the waits",
				plan.Timeout, interval), warned})
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
	var all []finding
	for _, bound := range plan.Steps() {
		if bound == nil {
			continue
		}
		for _, p := range bound.Unknown(target) {
			all = append(all, found(p, mistaken))
		}
	}
	return all
}

// unused hints at the sentences that no scenario uses, where all scenarios are at hand.
func (s *set) unused() []finding {
	if s.partial || len(s.plans) == 0 {
		return nil
	}
	used := make(map[*steps.Definition]bool)
	var use func(*steps.Bound)
	use = func(b *steps.Bound) {
		used[b.Definition] = true
		for _, inner := range b.Inner {
			use(inner)
		}
	}
	for _, plan := range s.plans {
		for _, b := range plan.Steps() {
			if b != nil {
				use(b)
			}
		}
	}
	broken := make(map[string]bool)
	for _, p := range s.mistakes {
		broken[p.Path] = true
	}
	var all []finding
	for _, d := range s.library.Definitions() {
		if d.File != "" && !used[d] && !broken[d.File] && slices.ContainsFunc(s.sentences, func(o *features.Sentence) bool {
			return o.Named && o.Path == d.File && o.Line == d.Line
		}) {
			all = append(all, finding{d.File, d.Line, 1, fmt.Sprintf("no scenario read here uses the sentence %q", d.Sentence), hinted})
		}
	}
	return all
}

// snippets gives the definitions that are missing, as somebody would begin to write them; empty when none is.
func (s *set) snippets() string {
	var all []string
	for _, plan := range s.plans {
		for _, p := range plan.Problems {
			var undefined *steps.UndefinedError
			if errors.As(p.Err, &undefined) && !errors.As(p.Err, new(*steps.OwnError)) && !slices.Contains(all, undefined.Snippet()) {
				all = append(all, undefined.Snippet())
			}
		}
	}
	if len(all) == 0 || len(s.problems) > 0 { // a file that cannot be read may define them
		return ""
	}
	return "To define what no sentence matches, put this beneath a \"Feature:\" line in a file such as steps/own.feature,\n" +
		"in the directory of your features, and write beneath each what it stands for:\n\n" + strings.Join(all, "\n")
}

// passwordFindings warns of passwords in tables, where everybody sees them who may read the feature.
func passwordFindings(plan *agent.Plan) []finding {
	var found []finding
	for _, step := range plan.Scenario.Steps {
		if len(step.Table) < 2 {
			continue
		}
		column := slices.Index(step.Table[0], "password")
		if column < 0 || !slices.ContainsFunc(step.Table[1:], func(row []string) bool { return column < len(row) && row[column] != "" }) {
			continue
		}
		found = append(found, finding{plan.Scenario.Path, step.Line, step.Column,
			`a password stands in the table: put it under secrets in stepwatch.yml, and its name into a column "secret"`, warned})
	}
	return found
}
