// Package command holds the sentences that run something: commands, plugins, other hosts over SSH, and the words of
// cucumber-nagios.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/program"
	"github.com/stepwatch/stepwatch/steps/scratch"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences that run commands: those of Aruba, of cuken and of cucumber-nagios 0.8. The sentences of output.go
// check their output and their exit status.

func init() {
	steps.RegisterArea(steps.Area{Name: "command", Title: "Commands", Place: 110})
	steps.RegisterKind(steps.Kind{Name: "single", Means: "a text in single quotes, as cucumber-nagios 0.8 wrote it", Pattern: `[^']+`, Compat: `.+`, Quote: "'"})
	steps.RegisterKind(steps.Kind{Name: "command", Means: "a command line, without a backtick", Pattern: "[^`]*", Quote: "`"})
	const (
		shell = "A command with any of * ? { } [ ] < > ( ) ~ & | \\ $ ; ' \" ` goes to /bin/sh, any other is started directly. It runs in the scenario's " +
			"own directory, with a small environment without stepwatch's variables. When the scenario's time is over, it is ended with all processes that it started."
		measures = "Time of the command. Measurement command_exit_status, unless a signal ended it."
	)
	steps.Register(
		steps.Definition{Area: "command", Sentence: "I run {command}",
			Does:     "Runs a command on the machine that stepwatch runs on, to its end. The next steps check its exit status. " + shell,
			Measures: measures, Example: "When I run `du -s /var/mail`", Func: runLocal(unescape, false)},
		steps.Definition{Area: "command", Sentence: "I run {text}",
			Does:     "Runs a command on the host that the scenario is logged in to by SSH, or without a login like `I run` with backticks.",
			Measures: measures, Example: `When I run "du -s /var/mail"`, Func: runAnywhere(false)},
		steps.Definition{Area: "command", Sentence: "I run {single}",
			Does:     "Runs a command on the machine that stepwatch runs on, like `I run` with backticks, even if the scenario is logged in by SSH.",
			Measures: measures, Example: `When I run 'du -s /var/mail'`, Func: runLocal(asIs, false)},
		steps.Definition{Area: "command", Sentence: "I successfully run {command}",
			Does:     "Runs a command on the machine that stepwatch runs on, and fails unless its exit status is 0. " + shell,
			Measures: measures, Example: "When I successfully run `make -C /srv/site check`", Func: runLocal(unescape, true)},
		steps.Definition{Area: "command", Sentence: "I successfully run {text}",
			Does:     "Runs a command on the host that the scenario is logged in to by SSH, or without a login on the machine that stepwatch runs on. Fails unless its exit status is 0.",
			Measures: measures, Example: `When I successfully run "make -C /srv/site check"`, Func: runAnywhere(true)},
		steps.Definition{Area: "command", Sentence: "I run {command} interactively", Also: []string{`/^I run "([^"]*)" interactively$/`},
			Does:    "Starts a command that reads what the next steps type. Its input ends when a step checks its output, its exit status or a file; it is ended if it still runs three seconds later. " + shell,
			Example: "When I run `bc` interactively", Func: runInteractively},
		steps.Definition{Area: "command", Sentence: "I type {text}",
			Does:    "Writes a line to the command that was started with `interactively`.",
			Example: `When I type "6 * 7"`, Func: typeLine},
		steps.Definition{Area: "command", Sentence: "I cd to {text}",
			Does:    "Changes to a directory below the scenario's current one. Fails when it does not exist.",
			Example: `Given I cd to "site"`, Func: changeDir},
		steps.Definition{Area: "command", Sentence: "the working directory is {text}",
			Does: "Sets the directory for the scenario's commands and files. A path with a leading slash is a directory of this machine; any other is created below the scenario's " +
				"own directory. The scenario can still write files only in its own directory.",
			Example: `Given the working directory is "/srv/site"`, Func: setDir},
	)
}

// commandRun is a command that ran, on this machine or over SSH.
type commandRun struct {
	command              string
	stdout, stderr       string // without secrets
	stdoutCut, stderrCut bool   // the output was longer
	exitStatus           int    // -1 when a signal ended it
	signal               string
	session              *interactive // while it runs
}

// interactive is a running command that reads what steps type.
type interactive struct {
	stdin  *os.File
	end    context.CancelFunc
	ended  chan struct{}
	out    *program.Output // after it has ended
	failed error
}

// bench is the directory of a scenario's commands, and their results.
type bench struct {
	root *os.Root // the scenario's own directory, created when first needed
	dir  string   // its path
	cwd  string
	runs []*commandRun
}

// benchOf returns the scenario's bench. It creates its directory, which is removed after the scenario.
func benchOf(w *steps.World) (*bench, error) {
	b := steps.State[bench](w)
	if b.root != nil {
		return b, nil
	}
	dir, err := scratch.New()
	if err != nil {
		return nil, steps.Fail(result.ReasonConfig, result.BlameMonitor, "create a directory for the scenario: %w", err)
	}
	b.root, b.dir, b.cwd = dir.Root, dir.Path, dir.Path
	w.Cleanup("remove the scenario's directory "+dir.Path, func(context.Context) error {
		for _, run := range b.runs {
			if run.session != nil {
				run.session.stop()
			}
		}
		return dir.Remove()
	})
	return b, nil
}

// path returns the path of a file that a step names.
func (b *bench) path(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(b.cwd, name)
}

// own returns the path of a file relative to the scenario's own directory. A scenario may change no other files.
func (b *bench) own(name string) (string, error) {
	inside, err := filepath.Rel(b.dir, b.path(name))
	if err != nil || !filepath.IsLocal(inside) {
		return "", steps.FailScenario("%q is not in the scenario's own directory, and a scenario writes nowhere else: use a path without a leading slash", name)
	}
	return inside, nil
}

// shellCharacters are the characters with a meaning in a shell, as in Ruby.
const shellCharacters = "*?{}[]<>()~&|\\$;'`\"\n"

// invocation returns the program of a command line and its arguments.
func invocation(line string) (path string, args []string, err error) {
	if strings.ContainsAny(line, shellCharacters) {
		return "/bin/sh", []string{"-c", line}, nil
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", nil, steps.FailScenario("the command is empty")
	}
	return words[0], words[1:], nil
}

// asIs reads a command as cucumber-nagios 0.8 does, unescape as Aruba does.
func asIs(line string) string { return line }

func unescape(line string) string { return strings.NewReplacer(`\n`, "\n", `\"`, `"`).Replace(line) }

func runLocal(read func(string) string, mustSucceed bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		b, err := benchOf(w)
		if err != nil {
			return err
		}
		run := &commandRun{command: read(a.Text(0))}
		if err := b.execute(ctx, w, run); err != nil {
			return err
		}
		return b.add(w, run, mustSucceed)
	}
}

// add records a command that has ended.
func (b *bench) add(w *steps.World, run *commandRun, mustSucceed bool) error {
	b.runs = append(b.runs, run)
	run.report(w)
	if mustSucceed {
		return b.judgeExit(w, "succeed", func(status int) bool { return status == 0 })
	}
	return nil
}

// execute runs a command to its end.
func (b *bench) execute(ctx context.Context, w *steps.World, run *commandRun) error {
	path, args, err := invocation(run.command)
	if err != nil {
		return err
	}
	if err := b.settle(ctx, w); err != nil {
		return err
	}
	ctx, cancel := lifeline.WithEvidenceTime(ctx)
	defer cancel()
	out, err := program.Run(ctx, program.Command{Path: path, Args: args, Dir: b.cwd, Env: steps.State[programs](w).env, Foreign: true})
	var full error
	if out != nil {
		full = run.take(w, out)
	}
	if err != nil {
		if out != nil {
			run.keep(w)
		}
		return programFailure(ctx, w, wording.Quote(run.command), out, err)
	}
	return full
}

// take keeps the output and the exit status of a command. Its error is that of the run's memory.
func (run *commandRun) take(w *steps.World, out *program.Output) error {
	run.stdout, run.stderr = redacted(w, out.Stdout, out.StdoutCut), redacted(w, out.Stderr, out.StderrCut)
	run.stdoutCut, run.stderrCut = out.StdoutCut, out.StderrCut
	run.exitStatus, run.signal = out.ExitCode, out.Signal
	return steps.FailFor(result.BlameTarget, w.Memory().Take(int64(len(run.stdout)+len(run.stderr))))
}

// report notes and measures how a command ended.
func (run *commandRun) report(w *steps.World) {
	note := "ended by a signal (" + run.signal + ")"
	if run.exitStatus >= 0 {
		w.Measure("command_exit_status", "Exit status of the command, 0 for success.", float64(run.exitStatus))
		note = fmt.Sprintf("exit status %d", run.exitStatus)
	}
	if line := wording.FirstLine([]byte(run.stdout + run.stderr)); line != "" {
		note += ": " + line
	}
	w.Note(note)
}

func runInteractively(ctx context.Context, w *steps.World, a steps.Args) error {
	b, err := benchOf(w)
	if err != nil {
		return err
	}
	run := &commandRun{command: unescape(a.Text(0))}
	path, args, err := invocation(run.command)
	if err != nil {
		return err
	}
	if err := b.settle(ctx, w); err != nil {
		return err
	}
	stdin, typed, err := os.Pipe()
	if err != nil {
		return steps.Fail(result.ReasonInternal, result.BlameMonitor, "run %s: %w", wording.Quote(run.command), err)
	}
	ctx, end := context.WithCancel(ctx)
	s := &interactive{stdin: typed, end: end, ended: make(chan struct{})}
	command := program.Command{Path: path, Args: args, Dir: b.cwd, Env: steps.State[programs](w).env, Foreign: true, Input: stdin}
	go func() {
		defer close(s.ended)
		s.out, s.failed = program.Run(ctx, command)
		_ = stdin.Close() // so that typing to it fails
	}()
	run.session = s
	b.runs = append(b.runs, run)
	return nil
}

// stop ends a running command.
func (s *interactive) stop() {
	_ = s.stdin.Close() // it may be closed already
	s.end()
	<-s.ended
}

// commandOutputLimit is the number of bytes of each output of a command that are kept.
const commandOutputLimit = program.DefaultOutputLimit

// interactivePatience is how long a command may run after its input has ended, as in Aruba.
const interactivePatience = 3 * time.Second

// settle ends the running commands, so that their results can be checked. It fails when one of them did not start.
func (b *bench) settle(ctx context.Context, w *steps.World) error {
	for _, run := range b.runs {
		s := run.session
		if s == nil {
			continue
		}
		_ = s.stdin.Close() // its input ends here
		timer := time.NewTimer(interactivePatience)
		select {
		case <-s.ended:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		s.stop()
		run.session = nil
		if s.out == nil {
			return programFailure(ctx, w, wording.Quote(run.command), nil, s.failed)
		}
		if errors.As(s.failed, new(*limit.Error)) {
			return programFailure(ctx, w, wording.Quote(run.command), s.out, s.failed)
		}
		return run.take(w, s.out)
	}
	return nil
}

func typeLine(ctx context.Context, w *steps.World, a steps.Args) error {
	b := steps.State[bench](w)
	if len(b.runs) == 0 || b.runs[len(b.runs)-1].session == nil {
		return steps.FailScenario("no running command reads input: write \"I run `bc` interactively\" before this step")
	}
	run := b.runs[len(b.runs)-1]
	deadline, _ := ctx.Deadline() // without a deadline the zero time, which means none here too
	_ = run.session.stdin.SetWriteDeadline(deadline)
	line := strings.TrimSuffix(unescape(a.Text(0)), "\n") + "\n"
	if _, err := run.session.stdin.WriteString(line); err != nil {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "type to %s: it accepts no more input: %w", wording.Quote(run.command), err)
	}
	return nil
}

func changeDir(_ context.Context, w *steps.World, a steps.Args) error {
	b, err := benchOf(w)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.cwd, a.Text(0))
	if inside, err := filepath.Rel(b.dir, dir); strings.HasPrefix(b.cwd, b.dir) && (err != nil || !filepath.IsLocal(inside)) {
		return steps.FailScenario("cd to %q: this leads out of the scenario's own directory: write `the working directory is \"/…\"`", a.Text(0))
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return steps.FailScenario("cd to %q: the scenario has no such directory: for one of this machine, write `the working directory is \"/…\"`", a.Text(0))
	}
	b.cwd = dir
	return nil
}

func setDir(_ context.Context, w *steps.World, a steps.Args) error {
	b, err := benchOf(w)
	if err != nil {
		return err
	}
	if filepath.IsAbs(a.Text(0)) {
		info, err := os.Stat(a.Text(0))
		if err == nil && !info.IsDir() {
			err = errors.New("it is not a directory")
		}
		if err != nil {
			return steps.Fail(result.ReasonConfig, result.BlameScenario, "work in %q: %w", a.Text(0), err)
		}
		b.cwd = filepath.Clean(a.Text(0))
		return nil
	}
	if !filepath.IsLocal(a.Text(0)) {
		return steps.FailScenario("work in %q: this leads out of the scenario's own directory", a.Text(0))
	}
	if err := b.root.MkdirAll(a.Text(0), 0o700); err != nil {
		return steps.FailScenario("work in %q: %w", a.Text(0), err)
	}
	b.cwd = filepath.Join(b.dir, a.Text(0))
	return nil
}

// runAnywhere runs a command on the host that the scenario is logged in to, or without a login here.
func runAnywhere(mustSucceed bool) func(context.Context, *steps.World, steps.Args) error {
	local := runLocal(unescape, mustSucceed)
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		if err := noHostBehind("I run", a.Text(0)); err != nil {
			return err
		}
		session := steps.State[sshSessions](w).last
		if session == nil {
			return local(ctx, w, a)
		}
		return session.run(ctx, w, a.Text(0), mustSucceed)
	}
}
