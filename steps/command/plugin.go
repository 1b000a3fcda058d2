package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/plugin"
	"github.com/stepwatch/stepwatch/steps/program"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences that run a Nagios plugin. The exit code is the verdict, the performance data are measurements, the output
// is the evidence.

func init() {
	steps.RegisterArea(steps.Area{Name: "plugin", Title: "Nagios plugins", Place: 130})
	steps.Register(
		steps.Definition{Area: "plugin", Sentence: "I run the plugin {text}",
			Does: "Runs a Nagios plugin. Blanks separate the arguments, except in quotes, and each cell of a table below is one more " +
				"argument. There is no shell. The plugin is searched for in the plugin directories of the distributions and in $PATH. Its exit code is the " +
				"verdict: 1 makes the run WARNING, 2 CRITICAL, any other except 0 UNKNOWN. When the scenario's time is over, the plugin is ended with all processes that it " +
				"started, except those that left its process group and cleared their environment. It gets a small environment, without stepwatch's variables.",
			Measures: "Measurements plugin_state (0 to 3) and plugin_perfdata_seconds, …_bytes, …_ratio, …_total or plugin_perfdata, for each of the first 50 values. " +
				"The label perfdata holds the value's label. For values with limits also plugin_perfdata_warning… and …_critical….",
			Table:   steps.Optional,
			Example: `When I run the plugin "check_disk -w 20% -c 10% -p /"`, Func: runPlugin},
		steps.Definition{Area: "plugin", Sentence: "the environment variable {text} holds the secret {secret}",
			Does:    "Puts a secret of stepwatch.yml into the environment of this scenario's plugins and programs, where process lists do not show it.",
			Example: `Given the environment variable "MYSQL_PWD" holds the secret "database"`, Func: giveSecret},
	)
}

// programs holds the environment that the programs of one scenario share.
type programs struct {
	env []string // "NAME=value"
}

func giveSecret(ctx context.Context, w *steps.World, a steps.Args) error {
	name := a.Text(0)
	if name == "" || strings.ContainsAny(name, "=\x00 ") {
		return steps.FailScenario("%q is not a name of an environment variable", name)
	}
	secret, err := w.Secret(ctx, a.Text(1))
	if err != nil {
		return err
	}
	s := steps.State[programs](w)
	s.env = append(s.env, name+"="+secret.Reveal())
	return nil
}

// pluginDirs are the plugin directories of the distributions.
var pluginDirs = []string{"/usr/lib/nagios/plugins", "/usr/lib64/nagios/plugins", "/usr/lib/monitoring-plugins", "/usr/local/lib/nagios/plugins",
	"/usr/local/libexec/nagios", "/usr/local/nagios/libexec", "/opt/homebrew/opt/monitoring-plugins/libexec"}

// findPlugin returns the path of a plugin, or its name for $PATH.
func findPlugin(name, dir string) string {
	if strings.ContainsRune(name, filepath.Separator) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		if absolute, err := filepath.Abs(name); err == nil { // the program runs in dir, so a path from here would lead nowhere
			name = absolute
		}
		return name
	}
	for _, d := range pluginDirs {
		path := filepath.Join(d, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return name
}

// commandLine returns the program and the arguments of a step: the words of line, and the cells of table.
func commandLine(line string, table [][]string) (path string, args []string, err error) {
	words, err := splitWords(line)
	if err != nil {
		return "", nil, err
	}
	for _, row := range table {
		words = append(words, row...)
	}
	if len(words) == 0 || words[0] == "" {
		return "", nil, steps.FailScenario("the step names no program")
	}
	return words[0], words[1:], nil
}

// splitWords splits a line at blanks. Single and double quotes protect blanks. A backslash protects the next character,
// except in single quotes. Nothing else of a shell has a meaning.
func splitWords(line string) ([]string, error) {
	var words []string
	var b strings.Builder
	begun, escaped := false, false
	quote := rune(0)
	for _, r := range line {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if begun {
				words = append(words, b.String())
			}
			b.Reset()
			begun = false
		default:
			b.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 || escaped {
		return nil, steps.FailScenario("the command %q ends inside quotes or after a backslash", line)
	}
	if begun {
		words = append(words, b.String())
	}
	return words, nil
}

func runPlugin(ctx context.Context, w *steps.World, a steps.Args) error {
	if err := noHostBehind("I run the plugin", a.Text(0)); err != nil {
		return err
	}
	name, args, err := commandLine(a.Text(0), a.Table)
	if err != nil {
		return err
	}
	ctx, cancel := lifeline.WithEvidenceTime(ctx)
	defer cancel()
	out, err := program.Run(ctx, program.Command{Path: findPlugin(name, a.Dir), Args: args, Dir: a.Dir, Env: steps.State[programs](w).env, Foreign: true})
	name = filepath.Base(name)
	if out != nil {
		keepOutput(w, name, out)
	}
	if err != nil {
		return programFailure(ctx, w, name, out, err)
	}
	return judgePlugin(w, name, out)
}

// judgePlugin reports the output of a plugin and returns its verdict.
func judgePlugin(w *steps.World, name string, out *program.Output) error {
	stdout := redacted(w, out.Stdout, out.StdoutCut)
	if end := strings.LastIndexAny(stdout, " \t\n"); out.StdoutCut && end >= 0 {
		stdout = stdout[:end] // the last word may be half a number
	}
	read := plugin.Parse(stdout)
	measurePlugin(w, read, out.ExitCode)
	line := wording.Cut(read.Line)
	if line == "" {
		line = "it printed nothing"
		if text := firstLine(w, out.Stderr, out.StderrCut); text != "" {
			line += " except on stderr: " + wording.Quote(text)
		}
	}
	note := line
	if len(read.Unread) > 0 {
		note += fmt.Sprintf(" (unreadable performance data: %s)", wording.Quote(strings.Join(read.Unread, " ")))
	}
	if more := len(read.Perfdata) - perfdataKept; more > 0 {
		note += fmt.Sprintf(" (%d values of its performance data are measured, %d more are not)", perfdataKept, more)
	}
	if out.StdoutCut {
		note += fmt.Sprintf(" (only the first %d KiB of its output are read)", program.DefaultOutputLimit>>10)
	}
	w.Note(note)
	switch out.ExitCode {
	case 0:
		return nil
	case 1:
		return steps.Fail(result.ReasonWarning, result.BlameTarget, "%s says WARNING: %s", name, line)
	case 2:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s says CRITICAL: %s", name, line)
	case 3:
		return steps.Fail(result.ReasonInternal, result.BlameMonitor, "%s says UNKNOWN: %s", name, line)
	case -1:
		return steps.Fail(result.ReasonInternal, result.BlameMonitor, "%s was ended by a signal (%s): %s", name, out.Signal, line)
	case 126, 127:
		return steps.Fail(result.ReasonInternal, result.BlameMonitor, "%s returned exit code %d: a shell could not run a program: %s", name, out.ExitCode, line)
	}
	if signal := out.ExitCode - 128; signal > 0 && signal < 32 {
		return steps.Fail(result.ReasonInternal, result.BlameMonitor, "%s returned exit code %d: a signal (%d) ended a program in a shell: %s", name, out.ExitCode, signal, line)
	}
	return steps.Fail(result.ReasonInternal, result.BlameMonitor, "%s returned exit code %d, not one of a plugin's (0 to 3): %s", name, out.ExitCode, line)
}

// programFailure returns the Failure for a program that did not run to its end.
func programFailure(ctx context.Context, w *steps.World, name string, out *program.Output, err error) error {
	tooLarge := (*limit.Error)(nil)
	switch {
	case errors.As(err, &tooLarge):
		return steps.FailFor(result.BlameTarget, err)
	case errors.Is(context.Cause(ctx), steps.ErrStopped):
		return steps.FailNet(ctx, err, result.BlameMonitor, "run "+name)
	case out == nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		return steps.Fail(result.ReasonTimeout, result.BlameTarget, "%s was not run: the previous steps left no time", name)
	case ctx.Err() != nil:
		said := "it had printed nothing"
		if text := firstLine(w, out.Stdout, out.StdoutCut); text != "" {
			said = "it had printed " + wording.Quote(text)
		}
		return steps.Fail(result.ReasonTimeout, result.BlameTarget, "%s did not end in time and was ended after %s, with all processes that it had started; %s",
			name, out.Duration.Round(10*time.Millisecond), said)
	default:
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "%w", err)
	}
}

// firstLine returns the first line of an output without secrets. A secret may go on in the second line.
func firstLine(w *steps.World, output []byte, cut bool) string {
	return wording.FirstLine([]byte(redacted(w, output, cut)))
}

// cutMark is what tells the redactor that a text was truncated: that its end may be the beginning of a secret.
const cutMark = "…"

// redacted returns an output without secrets, also without half of one at its end if it was cut.
func redacted(w *steps.World, output []byte, cut bool) string {
	if !cut {
		return w.Redacted(string(output))
	}
	return strings.TrimSuffix(w.Redacted(string(output)+cutMark), cutMark)
}

// keepOutput attaches the output of a program that failed.
func keepOutput(w *steps.World, name string, out *program.Output) {
	if out.ExitCode == 0 {
		return
	}
	for _, stream := range []struct {
		name string
		text []byte
		cut  bool
	}{{"output of " + name, out.Stdout, out.StdoutCut}, {"error output of " + name, out.Stderr, out.StderrCut}} {
		text := stream.text
		if stream.cut {
			text = append(bytes.Clone(text), cutMark+"\n[cut: there was more]"...)
		}
		if len(text) > 0 {
			w.Attach(stream.name, "text/plain; charset=utf-8", text)
		}
	}
}

// perfdataKept is the number of values of one plugin that become measurements: each is a time series.
const perfdataKept = 50

func measurePlugin(w *steps.World, read *plugin.Output, exitCode int) {
	state := float64(exitCode)
	if exitCode < 0 || exitCode > 3 {
		state = 3
	}
	w.Measure("plugin_state", "Verdict of the plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", state)
	for i, v := range read.Perfdata {
		if i == perfdataKept {
			break
		}
		label := result.Label{Name: "perfdata", Value: v.Label}
		value, unit := v.Base()
		if unit != "" {
			unit = "_" + unit
		}
		w.Measure("plugin_perfdata"+unit, "A value of the plugin's performance data, in its base unit.", value, label)
		warn, crit := v.Limits()
		if !math.IsNaN(warn) {
			w.Measure("plugin_perfdata_warning"+unit, "Above this value the plugin says WARNING.", warn, label)
		}
		if !math.IsNaN(crit) {
			w.Measure("plugin_perfdata_critical"+unit, "Above this value the plugin says CRITICAL.", crit, label)
		}
	}
}
