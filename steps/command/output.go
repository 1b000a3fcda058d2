package command

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences that check the output and the exit status of commands.

func init() {
	steps.RegisterKind(steps.Kind{Name: "stream", Means: "what a command writes to: output (both), stdout or stderr",
		Pattern: `output|stdout|stderr`})
	steps.RegisterKind(steps.Kind{Name: "verdict", Means: "how a command ends: pass or fail", Pattern: `pass|fail`})
	const all = "of all commands that the scenario has run, in order; `output` is stdout followed by stderr"
	steps.Register(
		steps.Definition{Area: "command", Sentence: "the {stream} should contain {text}",
			Does:    "Fails unless the text is in the output " + all + ". \\n is a line break.",
			Example: `Then the output should contain "42"`, Func: outputShould(true, containing)},
		steps.Definition{Area: "command", Sentence: "the {stream} should not contain {text}",
			Does:    "Fails when the text is in the output " + all + ".",
			Example: `Then the stderr should not contain "warning"`, Func: outputShould(false, containing)},
		steps.Definition{Area: "command", Sentence: "the {stream} should contain:",
			Does:    "Fails unless the doc string below is in the output " + all + ".",
			Example: "Then the output should contain:\n  \"\"\"\n  42\n  \"\"\"", Func: outputShould(true, containing)},
		steps.Definition{Area: "command", Sentence: "the {stream} should not contain:",
			Does:    "Fails when the doc string below is in the output " + all + ".",
			Example: "Then the output should not contain:\n  \"\"\"\n  Traceback\n  \"\"\"", Func: outputShould(false, containing)},
		steps.Definition{Area: "command", Sentence: "the {stream} should contain exactly {text}",
			Does:    "Fails unless the text equals, to the last line break, the output " + all + ". \\n is a line break.",
			Example: `Then the output should contain exactly "42\n"`, Func: outputShould(true, equals)},
		steps.Definition{Area: "command", Sentence: "the {stream} should contain exactly:",
			Does:    "Fails unless the doc string below equals, to the last line break, the output " + all + ".",
			Example: "Then the stdout should contain exactly:\n  \"\"\"\n  42\n\n  \"\"\"", Func: outputShould(true, equals)},
		steps.Definition{Area: "command", Sentence: "the {stream} should match {regexp}",
			Does:    "Fails unless the regular expression matches part of the output " + all + ". A dot matches line breaks, ^ and $ match at each line.",
			Example: `Then the output should match /load average: [01]\./`, Func: outputShould(true, matchesPattern)},
		steps.Definition{Area: "command", Sentence: "the {stream} should match:",
			Does:    "Fails unless the regular expression in the doc string below matches part of the output " + all + ".",
			Example: "Then the output should match:\n  \"\"\"\n  ^\\d+ users\n  \"\"\"", Func: outputShould(true, matchesPattern)},

		steps.Definition{Area: "command", Sentence: "the {stream} from {text} should contain {text}",
			Does:    "Fails unless the text is in the output of the last run of the command.",
			Example: `Then the output from "uptime" should contain "load average"`, Func: outputFromShould(true, containing)},
		steps.Definition{Area: "command", Sentence: "the {stream} from {text} should not contain {text}",
			Does:    "Fails when the text is in the output of the last run of the command.",
			Example: `Then the stderr from "uptime" should not contain "error"`, Func: outputFromShould(false, containing)},
		steps.Definition{Area: "command", Sentence: "the {stream} from {text} contains:",
			Does:    "Fails unless the doc string below is in the output of the last run of the command.",
			Example: "Then the output from \"uptime\" contains:\n  \"\"\"\n  load average\n  \"\"\"", Func: outputFromShould(true, containing)},
		steps.Definition{Area: "command", Sentence: "the {stream} from {text} does not contain:",
			Does:    "Fails when the doc string below is in the output of the last run of the command.",
			Example: "Then the output from \"uptime\" does not contain:\n  \"\"\"\n  error\n  \"\"\"", Func: outputFromShould(false, containing)},
		steps.Definition{Area: "command", Sentence: "the {stream} from {text} contains exactly:",
			Does:    "Fails unless the doc string below equals, to the last line break, the output of the last run of the command.",
			Example: "Then the output from \"hostname\" contains exactly:\n  \"\"\"\n  mx1\n\n  \"\"\"", Func: outputFromShould(true, equals)},
		steps.Definition{Area: "command", Sentence: "the {stream} from {text} does not contain exactly:",
			Does:    "Fails when the doc string below equals the output of the last run of the command.",
			Example: "Then the output from \"hostname\" does not contain exactly:\n  \"\"\"\n  localhost\n\n  \"\"\"", Func: outputFromShould(false, equals)},

		steps.Definition{Area: "command", Sentence: "the exit status should be {int}", Also: []string{"it should exit {single}"},
			Does:    "Fails unless the last command ended with that exit status.",
			Example: `Then the exit status should be 0`, Func: exitShould(true)},
		steps.Definition{Area: "command", Sentence: "the exit status should not be {int}",
			Does:    "Fails when the last command ended with that exit status.",
			Example: `Then the exit status should not be 0`, Func: exitShould(false)},
		steps.Definition{Area: "command", Sentence: "it should exit from being signaled",
			Does:    "Fails unless a signal ended the last command.",
			Example: `Then it should exit from being signaled`, Func: signaled},
		steps.Definition{Area: "command", Sentence: "it should {verdict} with:",
			Does:    "Fails unless the last command had the exit status 0 (pass) or another one (fail), and the doc string below is in the output " + all + ".",
			Example: "Then it should pass with:\n  \"\"\"\n  42\n  \"\"\"", Func: shouldEnd(containing)},
		steps.Definition{Area: "command", Sentence: "it should {verdict} with exactly:",
			Does:    "Fails unless the last command had the exit status 0 (pass) or another one (fail), and the doc string below equals the output " + all + ".",
			Example: "Then it should fail with exactly:\n  \"\"\"\n  no such user\n\n  \"\"\"", Func: shouldEnd(equals)},
		steps.Definition{Area: "command", Sentence: "it should {verdict} with regexp:", Also: []string{"it should {verdict} with regex:"},
			Does:    "Fails unless the last command had the exit status 0 (pass) or another one (fail), and the regular expression in the doc string below matches part of the output " + all + ".",
			Example: "Then it should pass with regexp:\n  \"\"\"\n  ^\\d+$\n  \"\"\"", Func: shouldEnd(matchesPattern)},

		steps.Definition{Area: "command", Sentence: "{single} should have {single}",
			Does:    "Fails unless the regular expression matches part of the last command's 'stdout' or 'stderr'.",
			Example: `Then 'stdout' should have 'load average'`, Func: lastShould(true)},
		steps.Definition{Area: "command", Sentence: "{single} should not have {single}",
			Does:    "Fails when the regular expression matches part of the last command's 'stdout' or 'stderr'.",
			Example: `Then 'stderr' should not have 'error'`, Func: lastShould(false)},
		steps.Definition{Area: "command", Sentence: "{single} should appear on {single} {single} times",
			Does:    "Fails unless the regular expression matches that many lines of the last command's 'stdout' or 'stderr'.",
			Example: `Then 'apache2' should appear on 'stdout' '3' times`, Func: appears},
		steps.Definition{Area: "command", Sentence: "I should see {text} in the output",
			Does:    "Fails unless the regular expression matches part of the output of the last command.",
			Example: `Then I should see "load average" in the output`, Func: seeInOutput},
	)
}

// comparison compares the output with the text that a step expects.
type comparison struct {
	verb string
	fits func(printed, wanted string) (bool, error)
}

var (
	containing     = comparison{"contain", func(printed, wanted string) (bool, error) { return strings.Contains(printed, wanted), nil }}
	equals         = comparison{"be", func(printed, wanted string) (bool, error) { return printed == wanted, nil }}
	matchesPattern = comparison{"match", func(printed, wanted string) (bool, error) {
		re, err := steps.CompileRuby(wanted)
		return err == nil && re.MatchString(printed), err
	}}
)

// printed is the output of one or more commands.
type printed struct {
	of   string // in messages: "the output of 2 commands"
	text string
	cut  bool // the output was longer
}

// judge compares the output with wanted. Its error quotes the output.
func (c comparison) judge(w *steps.World, b *bench, p printed, wanted string, should bool) error {
	if wanted == "" && c.verb != equals.verb {
		return steps.FailScenario("the text is empty, and every output contains it: give a text")
	}
	fits, err := c.fits(p.text, wanted)
	if err != nil {
		return err
	}
	if p.cut && !(fits && should && c.verb != equals.verb) {
		return steps.Fail(result.ReasonTooLarge, result.BlameTarget, "expect %s to %s %s: unknown, because only the first %d KiB were kept", p.of, c.verb, wording.Quote(wanted), commandOutputLimit>>10)
	}
	if fits == should {
		return nil
	}
	b.keep(w)
	not := ""
	if !should {
		not = "not "
	}
	got := "it is empty"
	if p.text != "" {
		got = "got " + wording.Quote(withBreaks(p.text))
	}
	if should && c.verb == equals.verb && strings.TrimSuffix(p.text, "\n") == wanted {
		got += ", with a line break at its end: end the doc string with an empty line"
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %s %sto %s %s, %s", p.of, not, c.verb, wording.Quote(withBreaks(wanted)), got)
}

// withBreaks writes the line breaks of a text as \n.
func withBreaks(text string) string { return strings.ReplaceAll(text, "\n", `\n`) }

// commandsRun returns the commands that the scenario ran. All of them have ended.
func commandsRun(ctx context.Context, w *steps.World) (*bench, error) {
	b := steps.State[bench](w)
	if len(b.runs) == 0 {
		return nil, steps.FailScenario("no command has been run: write \"I run `uptime`\" before this step")
	}
	return b, b.settle(ctx, w)
}

// keep attaches the output of the commands.
func (b *bench) keep(w *steps.World) {
	for _, run := range b.runs {
		run.keep(w)
	}
}

func (run *commandRun) keep(w *steps.World) {
	for _, stream := range []struct{ name, text string }{{"output", run.stdout}, {"error output", run.stderr}} {
		if stream.text != "" {
			w.Attach(stream.name+" of "+wording.Quote(run.command), "text/plain; charset=utf-8", []byte(stream.text))
		}
	}
}

// read returns the output of runs on a stream.
func read(runs []*commandRun, stream string) printed {
	p := printed{of: fmt.Sprintf("the %s of %d commands", stream, len(runs))}
	if len(runs) == 1 {
		p.of = fmt.Sprintf("the %s of %s", stream, wording.Quote(runs[0].command))
	}
	var stdout, stderr strings.Builder
	for _, run := range runs {
		if stream != "stderr" {
			stdout.WriteString(run.stdout)
			p.cut = p.cut || run.stdoutCut
		}
		if stream != "stdout" {
			stderr.WriteString(run.stderr)
			p.cut = p.cut || run.stderrCut
		}
	}
	p.text = stdout.String() + stderr.String()
	return p
}

// expected returns the text that a step expects: the parameter at i, or else the doc string.
func expected(a steps.Args, i int) (string, error) {
	switch {
	case i < len(a.Captured):
		return unescape(a.Text(i)), nil
	case a.DocString == nil:
		return "", steps.FailScenario("the step needs a doc string below it, with the expected text")
	}
	return a.DocString.Content, nil
}

func outputShould(should bool, c comparison) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		b, err := commandsRun(ctx, w)
		if err != nil {
			return err
		}
		wanted, err := expected(a, 1)
		if err != nil {
			return err
		}
		return c.judge(w, b, read(b.runs, a.Text(0)), wanted, should)
	}
}

func outputFromShould(should bool, c comparison) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		b, err := commandsRun(ctx, w)
		if err != nil {
			return err
		}
		command := unescape(a.Text(1))
		var found []*commandRun
		for _, run := range b.runs {
			if run.command == command {
				found = []*commandRun{run}
			}
		}
		if found == nil {
			return steps.FailScenario("the scenario has not run %s: write the command exactly as in the step that ran it", wording.Quote(command))
		}
		wanted, err := expected(a, 2)
		if err != nil {
			return err
		}
		return c.judge(w, b, read(found, a.Text(0)), wanted, should)
	}
}

// last returns the last command.
func (b *bench) last() *commandRun { return b.runs[len(b.runs)-1] }

// judgeExit checks the exit status of the last command. It is -1 when a signal ended the command.
func (b *bench) judgeExit(w *steps.World, wanted string, fits func(status int) bool) error {
	run := b.last()
	if fits(run.exitStatus) {
		return nil
	}
	b.keep(w)
	got := fmt.Sprintf("got exit status %d", run.exitStatus)
	if run.exitStatus < 0 {
		got = "got a signal (" + run.signal + ")"
	}
	if line := wording.FirstLine([]byte(run.stderr + run.stdout)); line != "" {
		got += ", with the output " + wording.Quote(line)
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %s to %s, %s", wording.Quote(run.command), wanted, got)
}

func exitShould(should bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		b, err := commandsRun(ctx, w)
		if err != nil {
			return err
		}
		wanted, err := a.Int(0)
		if err != nil {
			return err
		}
		if should {
			return b.judgeExit(w, fmt.Sprintf("end with exit status %d", wanted), func(status int) bool { return status == wanted })
		}
		return b.judgeExit(w, fmt.Sprintf("end with an exit status other than %d", wanted), func(status int) bool { return status != wanted })
	}
}

func signaled(ctx context.Context, w *steps.World, _ steps.Args) error {
	b, err := commandsRun(ctx, w)
	if err != nil {
		return err
	}
	if run := b.last(); run.signal == "" {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %s to be ended by a signal, got exit status %d", wording.Quote(run.command), run.exitStatus)
	}
	return nil
}

func shouldEnd(c comparison) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		b, err := commandsRun(ctx, w)
		if err != nil {
			return err
		}
		wanted, err := expected(a, 1)
		if err != nil {
			return err
		}
		if err := c.judge(w, b, read(b.runs, "output"), wanted, true); err != nil {
			return err
		}
		if a.Text(0) == "pass" {
			return b.judgeExit(w, "succeed", func(status int) bool { return status == 0 })
		}
		return b.judgeExit(w, "fail", func(status int) bool { return status != 0 })
	}
}

// lastStream returns the output of the last command on a stream, as named in steps of cucumber-nagios 0.8.
func lastStream(ctx context.Context, w *steps.World, name string) (*bench, printed, error) {
	b, err := commandsRun(ctx, w)
	if err != nil {
		return nil, printed{}, err
	}
	if name != "stdout" && name != "stderr" {
		return nil, printed{}, steps.FailScenario("%q is neither 'stdout' nor 'stderr'", name)
	}
	return b, read([]*commandRun{b.last()}, name), nil
}

func lastShould(should bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		b, p, err := lastStream(ctx, w, a.Text(0))
		if err != nil {
			return err
		}
		return matchesPattern.judge(w, b, p, a.Text(1), should)
	}
}

func seeInOutput(ctx context.Context, w *steps.World, a steps.Args) error {
	b, err := commandsRun(ctx, w)
	if err != nil {
		return err
	}
	return matchesPattern.judge(w, b, read([]*commandRun{b.last()}, "output"), a.Text(0), true)
}

func appears(ctx context.Context, w *steps.World, a steps.Args) error {
	b, p, err := lastStream(ctx, w, a.Text(1))
	if err != nil {
		return err
	}
	re, err := steps.CompileRuby(a.Text(0))
	if err != nil {
		return err
	}
	wanted, err := steps.Args{Captured: []string{a.Text(2)}}.Int(0)
	if err != nil {
		return err
	}
	if p.cut {
		return steps.Fail(result.ReasonTooLarge, result.BlameTarget, "count %s in %s: only the first %d KiB were kept", wording.Quote(a.Text(0)), p.of, commandOutputLimit>>10)
	}
	if got := matchingLines(p.text, re); got != wanted {
		b.keep(w)
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %d lines of %s to match %s, got %d", wanted, p.of, wording.Quote(a.Text(0)), got)
	}
	return nil
}

func matchingLines(text string, re *regexp.Regexp) (count int) {
	for line := range strings.Lines(text) {
		if re.MatchString(strings.TrimSuffix(line, "\n")) {
			count++
		}
	}
	return count
}
