package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/cmd/httpserver"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

func init() {
	registerVerb(verb{name: "lint", args: "PATH…", summary: "find mistakes in feature files without running them", place: 60, run: lintVerb})
}

// severity is the severity of a finding, in the terms of compilers and SARIF.
type severity string

const (
	mistaken severity = "error"
	warned   severity = "warning"
	note     severity = "note" // nothing is wrong
)

// finding is a mistake, or a likely mistake, in a feature file.
type finding struct {
	features.Problem
	severity severity
}

// Error returns "file:line:column: severity: message", the format of compilers, which editors can read.
func (f finding) Error() string {
	p := f.Problem
	p.Message = string(f.severity) + ": " + printable(p.Message)
	return p.Error()
}

// The rules for a scenario as a whole, in addition to those of the packages features and steps.
const (
	rulePassword       features.Rule = "password"        // a password in a feature
	ruleTime           features.Rule = "time"            // times that contradict each other
	ruleBrowser        features.Rule = "browser"         // settings that have no effect in the browser
	ruleRuby           features.Rule = "ruby"            // Ruby code, which stepwatch does not run
	ruleUnusedSentence features.Rule = "unused-sentence" // an own sentence that no scenario uses
)

// lintVerb finds all mistakes that are visible without a run: files that do not parse, undefined and ambiguous steps,
// mistakes in own sentences, unknown accounts, hosts, secrets, files and policy tags, invalid values, schedules that
// cannot be kept.
func lintVerb(_ context.Context, t *terminal, args []string) int {
	f := flagSet("lint")
	load := loadFlags(t, f)
	load.runFlags(f, false)
	load.compatFlag(f, "read the steps as check --compat does")
	format := f.String("format", "text", "text, json, sarif or github")
	if code, done := parse(t, f, "PATH…", args, exitNotRun); done {
		return code
	}
	write, known := lintFormats[*format]
	if !known {
		return notRun(t, fmt.Errorf("--format %q: choose text, json, sarif or github", *format))
	}
	set, err := load.read(f.Args())
	if err != nil {
		return notRun(t, err)
	}
	for _, name := range set.config.Exporters() {
		if _, err := exporters.Builtin.Configure(name, func(into any) error { return set.config.DecodeExporter(name, into) }); err != nil {
			return notRun(t, err)
		}
	}
	if set.config.WebConfig != "" {
		warnings, err := httpserver.CheckWebConfig(set.config.WebConfig)
		if err != nil {
			return notRun(t, err)
		}
		for _, w := range warnings {
			fmt.Fprintf(t.err, "%s: warning: %s\n", printable(set.config.WebConfig), printable(w))
		}
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

// lintText writes a line for each finding, the missing sentences, and a line with the counts.
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

// counted returns "1 mistake", "2 mistakes".
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// findings lists the mistakes of a set by place, each once: the step of a background belongs to every scenario of its file.
func (s *set) findings() []finding {
	var all []finding
	for _, p := range slices.Concat(s.problems, s.mistakes) {
		all = append(all, finding{p, mistaken})
	}
	for _, p := range s.warnings {
		f := finding{p, warned}
		if p.Rule == features.RuleSlip { // a step would have another text than its author means
			f.severity = mistaken
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
		// If the examples could not be read, the steps have unfilled placeholders.
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

// planFindings lists the mistakes of one scenario.
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
	all = append(all, s.withoutBase(plan)...)
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
			if wait <= limit { // enough if the earlier steps wait for less
				severity = warned
			}
			add(step.Line, step.Column, ruleTime, severity, "@timeout:%s ends the run before this step has waited %s: raise @timeout above %s, or lower the waits",
				limit, wait, waits)
		}
	}
	if scenario.Policy.Browser {
		for _, problem := range s.browser().Problems() {
			add(scenario.Line, 1, ruleBrowser, warned, "tagged @browser: %v", problem)
		}
	}
	if interval := plan.Interval; plan.Timeout > interval && !scenario.Policy.Manual {
		add(scenario.Line, 1, ruleTime, warned, "a run may take %s, longer than its interval of %s, so runs may be missed: raise @every or lower the waits",
			plan.Timeout, interval)
	}
	if slowest := max(plan.Budget.Warn, plan.Budget.Crit); slowest > plan.Timeout {
		add(scenario.Line, 1, ruleTime, warned, "no step can take %s, because a run ends after %s: lower @warn and @crit, or raise @timeout", slowest, plan.Timeout)
	}
	return all
}

// withoutBase lists the relative addresses of a scenario that have nothing to be relative to: no base is set, and no step
// before them can have opened a page.
func (s *set) withoutBase(plan *agent.Plan) (all []finding) {
	if cmp.Or(plan.Scenario.Policy.Base, steps.SettingsOf[httpwire.Web](s.target()).Base) != "" {
		return nil
	}
	opened := false
	var look func(*steps.Bound, features.Step)
	look = func(b *steps.Bound, step features.Step) {
		if b == nil {
			opened = true // what the step means is not known
			return
		}
		for _, inner := range b.Inner {
			look(inner, step)
		}
		if len(b.Inner) > 0 || opened {
			return
		}
		for i, kind := range b.Definition.Parameters() {
			if kind == "url" && relative(b.Args.Text(i)) {
				all = append(all, finding{features.Problem{Path: plan.Scenario.Path, Line: step.Line, Column: step.Column, Rule: steps.RuleValue, Message: fmt.Sprintf(
					"%q is not a whole address, and no page is open yet: write the whole address, set web.base in stepwatch.yml, tag the feature @base:https://www.example.org, or use --base",
					features.HidePassword(b.Args.Text(i)))}, mistaken})
				return
			}
		}
		opened = opens(b.Definition)
	}
	for i, bound := range plan.Steps() {
		look(bound, plan.Scenario.Steps[i])
	}
	return all
}

// relative reports whether an address needs a base.
func relative(address string) bool {
	u, err := url.Parse(strings.TrimSpace(address))
	return err == nil && u.Scheme == "" && u.Host == "" && !strings.Contains(address, "<") // a placeholder that is not filled in
}

// opens reports whether a step of a definition may open a page. A team's own step may do anything.
func opens(d *steps.Definition) bool {
	if d.File != "" {
		return true
	}
	for _, beginning := range []string{"I go to", "I visit", "I try to go", "I send", "I try to send", "I fetch", "I follow", "I open"} {
		if strings.HasPrefix(d.Sentence, beginning) && (d.Area == "web" || strings.Contains(d.Sentence, "link")) {
			return true
		}
	}
	return false
}

// passwords warns of passwords in the text or table of a step, which every reader of the feature sees.
func passwords(step features.Step) []finding {
	var all []finding
	warn := func(message string) {
		all = append(all, finding{features.Problem{Path: step.Path, Line: step.Line, Column: step.Column, Message: message, Rule: rulePassword}, warned})
	}
	if features.HidePassword(step.Text) != step.Text {
		warn(`a URL contains a password, which everybody can read: move it to secrets in stepwatch.yml, and write "I authenticate to … as … with the secret …" before this step`)
	}
	if passwordInTable(step.Table) {
		warn(`the table contains a password, which everybody can read: move it to secrets in stepwatch.yml, and put its name into a column "secret"`)
	}
	return all
}

// explain adds the other similar sentences to the message of an undefined step.
func explain(err error) string {
	var undefined *steps.UndefinedError
	if errors.As(err, &undefined) && undefined.Write == "" && undefined.Swallowing == "" && len(undefined.Nearest) > 1 {
		return fmt.Sprintf("%v (or: %s)", err, strings.Join(undefined.Nearest[1:], " | "))
	}
	return err.Error()
}

// unused lists the sentences that no scenario uses, if all scenarios were loaded.
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
			return nil // it is unknown which sentence that step uses
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
				Message: fmt.Sprintf("none of the scenarios read uses the sentence %q", d.Sentence)}, note})
		}
	}
	return all
}

// snippets returns drafts of the missing definitions, or "".
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
	return "To define the missing sentences, put this below a \"Feature:\" line in a file such as steps/own.feature,\n" +
		"in the directory of your features, and write the steps of each below it:\n\n" + strings.Join(all, "\n")
}

// passwordInTable reports whether a table contains a password.
func passwordInTable(table [][]string) bool {
	if len(table) < 2 {
		return false
	}
	column := slices.Index(table[0], "password")
	return column >= 0 && slices.ContainsFunc(table[1:], func(row []string) bool { return column < len(row) && row[column] != "" })
}
