package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/program"
	"github.com/stepwatch/stepwatch/steps/scratch"
)

// The sentences that run commands: those of Aruba, of cuken and of cucumber-nagios 0.8. What they print and how they end is
// judged by the sentences of command_output.go.

func init() {
	RegisterKind(Kind{Name: "single", Means: "a text in single quotes, as cucumber-nagios 0.8 wrote it", Pattern: `.+`, Quote: "'"})
	RegisterKind(Kind{Name: "command", Means: "a command line, without a backtick", Pattern: "[^`]*", Quote: "`"})
	const (
		shell = "A command with any of * ? { } [ ] < > ( ) ~ & | \\ $ ; ' \" ` goes to /bin/sh, any other is started directly. It runs in a directory of the scenario's " +
			"own, with a small environment without the variables of stepwatch, and is ended with all that it started when the scenario's time is up."
		measures = "Time of the command. Measurement command_exit_status, unless a signal ended it."
	)
	Register(
		Definition{Area: "command", Sentence: "I run {command}",
			Does:     "Runs a command on the machine that stepwatch runs on, to its end. How it ends is for the next step. " + shell,
			Measures: measures, Example: "When I run `du -s /var/mail`", Func: runLocal(unescape, false)},
		Definition{Area: "command", Sentence: "I run {text}",
			Does:     "Runs a command where the scenario is logged in by SSH, and else as I run with backticks does.",
			Measures: measures, Example: `When I run "du -s /var/mail"`, Func: runAnywhere(false)},
		Definition{Area: "command", Sentence: "I run {single}",
			Does:     "Runs a command on the machine that stepwatch runs on, as I run with backticks does, whether the scenario is logged in by SSH or not.",
			Measures: measures, Example: `When I run 'du -s /var/mail'`, Func: runLocal(asIs, false)},
		Definition{Area: "command", Sentence: "I successfully run {command}",
			Does:     "Runs a command on the machine that stepwatch runs on, and fails unless its exit status is 0. " + shell,
			Measures: measures, Example: "When I successfully run `make -C /srv/site check`", Func: runLocal(unescape, true)},
		Definition{Area: "command", Sentence: "I successfully run {text}",
			Does:     "Runs a command where the scenario is logged in by SSH, and else on the machine that stepwatch runs on. Fails unless its exit status is 0.",
			Measures: measures, Example: `When I successfully run "make -C /srv/site check"`, Func: runAnywhere(true)},
		Definition{Area: "command", Sentence: "I run {command} interactively", Also: []string{`/^I run "([^"]*)" interactively$/`},
			Does:    "Starts a command that the next steps type to. Its input ends when its output, its exit status or a file is judged; it is ended when it goes on for three seconds after that. " + shell,
			Example: "When I run `bc` interactively", Func: runInteractively},
		Definition{Area: "command", Sentence: "I type {text}",
			Does:    "Writes a line to the command that was started with `interactively`.",
			Example: `When I type "6 * 7"`, Func: typeLine},
		Definition{Area: "command", Sentence: "I cd to {text}",
			Does:    "Changes to a directory beneath the one that the scenario's commands run in. Fails when there is none.",
			Example: `Given I cd to "site"`, Func: changeDir},
		Definition{Area: "command", Sentence: "the working directory is {text}",
			Does: "Has the scenario's commands run, and its files looked for, in a directory: one of this machine when the path begins with a slash, or else one beneath the scenario's " +
				"own directory, which is made. What the scenario writes must be in its own directory all the same.",
			Example: `Given the working directory is "/srv/site"`, Func: setDir},
	)
}

// commandRun is a command that ran, here or elsewhere.
type commandRun struct {
	command              string
	stdout, stderr       string // without secrets
	stdoutCut, stderrCut bool   // there was more
	exitStatus           int    // -1 when a signal ended it
	signal               string
	session              *interactive // while it goes on
}

// interactive is a command at work.
type interactive struct {
	stdin  *os.File
	end    context.CancelFunc
	ended  chan struct{}
	out    *program.Output // once it has ended
	failed error
}

// bench is where a scenario's commands run, and what has become of them.
type bench struct {
	root *os.Root // the scenario's own directory, made when it is first needed
	dir  string   // its path
	cwd  string
	runs []*commandRun
}

// benchOf gives the scenario's bench, with a directory of its own that goes with the scenario.
func benchOf(w *World) (*bench, error) {
	b := State[bench](w)
	if b.root != nil {
		return b, nil
	}
	dir, err := scratch.New()
	if err != nil {
		return nil, Fail(result.ReasonConfig, result.BlameMonitor, "make a directory for the scenario: %w", err)
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

// path gives where a file of a step is.
func (b *bench) path(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(b.cwd, name)
}

// own gives the path of a file within the scenario's own directory, for root. Any other is none that a scenario may change.
func (b *bench) own(name string) (string, error) {
	inside, err := filepath.Rel(b.dir, b.path(name))
	if err != nil || !filepath.IsLocal(inside) {
		return "", scenarioFault("%q is not in the scenario's own directory, and a scenario writes nowhere else: use a path without a slash before it", name)
	}
	return inside, nil
}

// shellCharacters are those that have a meaning in a shell, as Ruby has them.
const shellCharacters = "*?{}[]<>()~&|\\$;'`\"\n"

// invocation gives the program of a command line, and its arguments.
func invocation(line string) (path string, args []string, err error) {
	if strings.ContainsAny(line, shellCharacters) {
		return "/bin/sh", []string{"-c", line}, nil
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", nil, scenarioFault("no command is named")
	}
	return words[0], words[1:], nil
}

// asIs and unescape read a command as cucumber-nagios 0.8 and as Aruba do.
func asIs(line string) string { return line }

func unescape(line string) string { return strings.NewReplacer(`\n`, "\n", `\"`, `"`).Replace(line) }

func runLocal(read func(string) string, mustSucceed bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
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

// add takes down a command that has ended.
func (b *bench) add(w *World, run *commandRun, mustSucceed bool) error {
	b.runs = append(b.runs, run)
	run.report(w)
	if mustSucceed {
		return b.judgeExit(w, "succeed", func(status int) bool { return status == 0 })
	}
	return nil
}

// execute runs a command to its end.
func (b *bench) execute(ctx context.Context, w *World, run *commandRun) error {
	path, args, err := invocation(run.command)
	if err != nil {
		return err
	}
	if err := b.settle(ctx, w); err != nil {
		return err
	}
	ctx, cancel := withEvidenceTime(ctx)
	defer cancel()
	out, err := program.Run(ctx, program.Command{Path: path, Args: args, Dir: b.cwd, Env: State[programs](w).env, Foreign: true})
	if out != nil {
		run.take(w, out)
	}
	if err != nil {
		if out != nil {
			run.keep(w)
		}
		return programFailure(ctx, quote(run.command), out, err)
	}
	return nil
}

// take keeps what a command said.
func (run *commandRun) take(w *World, out *program.Output) {
	run.stdout, run.stderr = w.Redacted(string(out.Stdout)), w.Redacted(string(out.Stderr))
	run.stdoutCut, run.stderrCut = out.StdoutCut, out.StderrCut
	run.exitStatus, run.signal = out.ExitCode, out.Signal
}

// report says how a command ended.
func (run *commandRun) report(w *World) {
	note := "ended by a signal (" + run.signal + ")"
	if run.exitStatus >= 0 {
		w.Measure("command_exit_status", "Exit status of the command, 0 for success.", float64(run.exitStatus))
		note = fmt.Sprintf("exit status %d", run.exitStatus)
	}
	if line := firstLine([]byte(run.stdout + run.stderr)); line != "" {
		note += ": " + line
	}
	w.Note(note)
}

func runInteractively(ctx context.Context, w *World, a Args) error {
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
		return Fail(result.ReasonInternal, result.BlameMonitor, "run %s: %w", quote(run.command), err)
	}
	ctx, end := context.WithCancel(ctx)
	s := &interactive{stdin: typed, end: end, ended: make(chan struct{})}
	command := program.Command{Path: path, Args: args, Dir: b.cwd, Env: State[programs](w).env, Foreign: true, Input: stdin}
	go func() {
		defer close(s.ended)
		s.out, s.failed = program.Run(ctx, command)
		_ = stdin.Close() // so that who types to it is told
	}()
	run.session = s
	b.runs = append(b.runs, run)
	return nil
}

// stop ends a command that goes on.
func (s *interactive) stop() {
	_ = s.stdin.Close() // a second time does no harm
	s.end()
	<-s.ended
}

// commandOutputLimit is how much of each output of a command is kept, in bytes.
const commandOutputLimit = program.DefaultOutputLimit

// interactivePatience is how long a command may go on once its input has ended, as Aruba has it.
const interactivePatience = 3 * time.Second

// settle ends the commands that go on, so that what they did can be judged. It fails when one of them never began.
func (b *bench) settle(ctx context.Context, w *World) error {
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
			return programFailure(ctx, quote(run.command), nil, s.failed)
		}
		run.take(w, s.out)
	}
	return nil
}

func typeLine(ctx context.Context, w *World, a Args) error {
	b := State[bench](w)
	if len(b.runs) == 0 || b.runs[len(b.runs)-1].session == nil {
		return scenarioFault("no command waits for what is typed: write \"I run `bc` interactively\" before this step")
	}
	run := b.runs[len(b.runs)-1]
	deadline, _ := ctx.Deadline() // none is the zero time, which means none here too
	_ = run.session.stdin.SetWriteDeadline(deadline)
	line := strings.TrimSuffix(unescape(a.Text(0)), "\n") + "\n"
	if _, err := run.session.stdin.WriteString(line); err != nil {
		return Fail(result.ReasonUnexpected, result.BlameTarget, "type to %s: it takes no more input: %w", quote(run.command), err)
	}
	return nil
}

func changeDir(_ context.Context, w *World, a Args) error {
	b, err := benchOf(w)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.cwd, a.Text(0))
	if inside, err := filepath.Rel(b.dir, dir); strings.HasPrefix(b.cwd, b.dir) && (err != nil || !filepath.IsLocal(inside)) {
		return scenarioFault("cd to %q: that leads out of the scenario's own directory: write `the working directory is \"/…\"`", a.Text(0))
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return scenarioFault("cd to %q: the scenario has made no such directory; one of this machine is named with `the working directory is \"/…\"`", a.Text(0))
	}
	b.cwd = dir
	return nil
}

func setDir(_ context.Context, w *World, a Args) error {
	b, err := benchOf(w)
	if err != nil {
		return err
	}
	if filepath.IsAbs(a.Text(0)) {
		info, err := os.Stat(a.Text(0))
		if err == nil && !info.IsDir() {
			err = errors.New("it is no directory")
		}
		if err != nil {
			return Fail(result.ReasonConfig, result.BlameScenario, "work in %q: %w", a.Text(0), err)
		}
		b.cwd = filepath.Clean(a.Text(0))
		return nil
	}
	if !filepath.IsLocal(a.Text(0)) {
		return scenarioFault("work in %q: that leads out of the scenario's own directory", a.Text(0))
	}
	if err := b.root.MkdirAll(a.Text(0), 0o700); err != nil {
		return scenarioFault("work in %q: %w", a.Text(0), err)
	}
	b.cwd = filepath.Join(b.dir, a.Text(0))
	return nil
}

// runAnywhere runs a command where the scenario is logged in, and else here.
func runAnywhere(mustSucceed bool) func(context.Context, *World, Args) error {
	local := runLocal(unescape, mustSucceed)
	return func(ctx context.Context, w *World, a Args) error {
		if err := noHostBehind("I run", a.Text(0)); err != nil {
			return err
		}
		session := State[sshSessions](w).last
		if session == nil {
			return local(ctx, w, a)
		}
		return session.run(ctx, w, a.Text(0), mustSucceed)
	}
}
