package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

func init() {
	registerVerb(verb{name: "lint", args: "PATH…", summary: "find mistakes in feature files without running them", place: 60, run: lintVerb})
}

// severity says how bad a finding is, in the words of compilers and of SARIF.
type severity string

const (
	mistaken severity = "error"
	warned   severity = "warning"
	note     severity = "note" // nothing is wrong
)

// finding is one mistake in a feature file, or what is most likely one.
type finding struct {
	features.Problem
	severity severity
}

// Error gives "file:line:column: severity: message", as compilers write it, so that editors can read it.
func (f finding) Error() string {
	p := f.Problem
	p.Message = string(f.severity) + ": " + printable(p.Message)
	return p.Error()
}

// The rules that a scenario as a whole can break, beside those of the packages features and steps.
const (
	rulePassword       features.Rule = "password"        // a password in a feature
	ruleTime           features.Rule = "time"            // times that do not fit each other
	ruleBrowser        features.Rule = "browser"         // settings that the browser does not follow
	ruleRuby           features.Rule = "ruby"            // Ruby code, which is not run
	ruleUnusedSentence features.Rule = "unused-sentence" // a sentence of one's own that no scenario uses
)

// lintVerb finds everything that can be known without running: files that do not parse, undefined and ambiguous steps,
// mistakes in sentences of one's own, unknown accounts, hosts, secrets, files and policy tags, values that cannot be meant,
// schedules that cannot be kept.
func lintVerb(_ context.Context, t *terminal, args []string) int {
	f := flagSet("lint")
	load := loadFlags(t, f)
	format := f.String("format", "text", "text, json, sarif or github")
	if code, done := parse(t, f, "PATH…", args, exitNotRun); done {
		return code
	}
	write, known := lintFormats[*format]
	if !known {
		return notRun(t, fmt.Errorf("--format %q: it is text, json, sarif or github", *format))
	}
	set, err := load.read(f.Args())
	if err != nil {
		return notRun(t, err)
	}
	findings := append(set.findings(), set.unused()...)
	if err := write(t.out, set, findings); err != nil {
		return notRun(t, fmt.Errorf("write the findings: %w", err))
	}
	switch {
	case slices.ContainsFunc(findings, func(f finding) bool { return f.severity == mistaken }):
		return exitFailed
	case len(set.plans) == 0 && len(set.sentences) == 0:
		return exitNotRun
	default:
		return exitPassed
	}
}

// lintText writes a line for each finding, the sentences that are missing, and a line that counts.
func lintText(w io.Writer, s *set, findings []finding) error {
	var b strings.Builder
	count := make(map[severity]int)
	for _, f := range findings {
		fmt.Fprintln(&b, f)
		count[f.severity]++
	}
	if text := s.snippets(); text != "" {
		fmt.Fprintf(&b, "\n%s\n", text)
	}
	sentences := ""
	if n := len(s.sentences); n > 0 {
		sentences = counted(n, "sentence") + " of your own, "
	}
	fmt.Fprintf(&b, "%s, %s%s, %s\n", counted(len(s.plans)+len(s.broken), "scenario"), sentences, counted(count[mistaken], "mistake"), counted(count[warned], "warning"))
	_, err := io.WriteString(w, b.String())
	return err
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
	for _, p := range slices.Concat(s.problems, s.mistakes, s.warnings) {
		f := finding{p, mistaken}
		if p.Rule == features.RuleUnused {
			f.severity = warned
		}
		all = append(all, f)
	}
	for _, p := range s.rubyWarnings() {
		all = append(all, finding{p, warned})
	}
	for _, sentence := range s.sentences {
		for _, step := range sentence.Steps {
			all = append(all, passwords(step)...)
		}
	}
	for _, plan := range s.plans {
		all = append(all, s.planFindings(plan)...)
	}
	for _, plan := range s.broken {
		// Where the examples could not be read, placeholders stand in the steps that nothing has filled in.
		all = append(all, slices.DeleteFunc(s.planFindings(plan), func(f finding) bool {
			return slices.ContainsFunc(plan.Scenario.Steps, func(step features.Step) bool {
				return step.Line == f.Line && strings.Contains(step.Text, "<")
			})
		})...)
	}
	slices.SortStableFunc(all, func(a, b finding) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(all)
}

// planFindings lists what is wrong with one scenario.
func (s *set) planFindings(plan *agent.Plan) []finding {
	var all []finding
	scenario := plan.Scenario
	add := func(line, column int, rule features.Rule, severity severity, format string, args ...any) {
		all = append(all, finding{features.Problem{Path: scenario.Path, Line: line, Column: column, Message: fmt.Sprintf(format, args...), Rule: rule}, severity})
	}
	for _, p := range plan.Problems {
		if !errors.As(p.Err, new(*steps.OwnError)) { // the definition's mistake is among s.mistakes
			add(p.Line, p.Column, steps.RuleOf(p.Err), mistaken, "%s", explain(p.Err))
		}
	}
	var waits time.Duration
	for i, bound := range plan.Steps() {
		step := scenario.Steps[i]
		step.Path = cmp.Or(step.Path, scenario.Path)
		all = append(all, passwords(step)...)
		if bound == nil {
			continue
		}
		for _, p := range bound.Mistakes(s.target(), s.config.Secrets) {
			all = append(all, finding{p, mistaken})
		}
		wait := bound.Wait()
		waits += wait
		if limit := scenario.Policy.Timeout; wait > 0 && limit > 0 && waits > limit {
			severity := mistaken
			if wait <= limit { // which it may get, when the steps before it wait for less than they may
				severity = warned
			}
			add(step.Line, step.Column, ruleTime, severity, "@timeout:%s ends the run before the %s of this step are over: raise @timeout above %s, or wait for less",
				limit, wait, waits)
		}
	}
	if scenario.Policy.Browser {
		for _, problem := range s.browser().Problems() {
			add(scenario.Line, 1, ruleBrowser, warned, "tagged @browser: %v", problem)
		}
	}
	if interval := plan.Schedule.Interval; plan.Timeout > interval && !scenario.Policy.Manual {
		add(scenario.Line, 1, ruleTime, warned, "a run may take %s, longer than its interval of %s: runs will be missed while it waits; raise @every or lower the waits",
			plan.Timeout, interval)
	}
	if slowest := max(plan.Budget.Warn, plan.Budget.Crit); slowest > plan.Timeout {
		add(scenario.Line, 1, ruleTime, warned, "no step can take %s, since a run ends after %s: lower @warn and @crit, or raise @timeout", slowest, plan.Timeout)
	}
	return all
}

// passwords warns of those that everybody sees who may read the step.
func passwords(step features.Step) []finding {
	var all []finding
	warn := func(message string) {
		all = append(all, finding{features.Problem{Path: step.Path, Line: step.Line, Column: step.Column, Message: message, Rule: rulePassword}, warned})
	}
	if features.HidePassword(step.Text) != step.Text {
		warn(`a password stands in a URL, where everybody reads it: keep it under secrets in stepwatch.yml, and write "I authenticate to … as … with the secret …" before this step`)
	}
	if passwordInTable(step.Table) {
		warn(`a password stands in the table: put it under secrets in stepwatch.yml, and its name into a column "secret"`)
	}
	return all
}

// explain adds the other near sentences to an undefined step's message.
func explain(err error) string {
	var undefined *steps.UndefinedError
	if errors.As(err, &undefined) && undefined.Write == "" && len(undefined.Nearest) > 1 {
		return fmt.Sprintf("%v (or: %s)", err, strings.Join(undefined.Nearest[1:], " | "))
	}
	return err.Error()
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
	for _, plan := range slices.Concat(s.plans, s.broken) {
		if slices.ContainsFunc(plan.Problems, func(p agent.Problem) bool { return !errors.As(p.Err, new(*steps.UndefinedError)) }) {
			return nil // which sentence that step uses is not known here
		}
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
		if d.File == "" || used[d] || broken[d.File] {
			continue
		}
		i := slices.IndexFunc(s.sentences, func(o *features.Sentence) bool { return o.Named && o.Path == d.File && o.Line == d.Line })
		if i >= 0 {
			all = append(all, finding{features.Problem{Path: d.File, Line: d.Line, Column: s.sentences[i].Column, Rule: ruleUnusedSentence,
				Message: fmt.Sprintf("no scenario read here uses the sentence %q", d.Sentence)}, note})
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
			if errors.As(p.Err, &undefined) && undefined.Write == "" && !errors.As(p.Err, new(*steps.OwnError)) && !slices.Contains(all, undefined.Snippet()) {
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

// passwordInTable reports whether a table has a password, which everybody sees who may read the feature.
func passwordInTable(table [][]string) bool {
	if len(table) < 2 {
		return false
	}
	column := slices.Index(table[0], "password")
	return column >= 0 && slices.ContainsFunc(table[1:], func(row []string) bool { return column < len(row) && row[column] != "" })
}
