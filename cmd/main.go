// Package cmd is the command line: flags, wiring and exit codes, one file a verb. What the verbs do is in the packages
// steps, agent and exporters.
package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/collector"
	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/cmd/supervisor"
	"github.com/stepwatch/stepwatch/steps"
)

// Exit codes of every verb except check, which uses those of Nagios.
const (
	exitPassed = 0
	exitFailed = 1 // something failed
	exitNotRun = 3 // nothing ran: wrong usage, an unreadable file, no scenario selected
)

// terminal has the outputs of a verb and the team's own steps. Tests use buffers.
type terminal struct {
	out    io.Writer
	err    io.Writer
	colour bool            // out is a terminal that shows colours
	glue   []cucumber.Glue // registers own steps

	busy   atomic.Pointer[func() string] // returns the work in progress, or ""
	hangup atomic.Pointer[func()]        // what SIGHUP does instead of ending the program; nil for most verbs
}

// working says which run is in progress, for a second signal.
func (t *terminal) working(plan *agent.Plan) {
	busy := func() string { return fmt.Sprintf("the run of %q", plan.Identity.String()) }
	t.busy.Store(&busy)
}

// verb is a subcommand. Its file registers it.
type verb struct {
	name    string
	args    string // as in help
	summary string
	place   int // position in help, the lowest first
	run     func(ctx context.Context, t *terminal, args []string) int
}

var registered []verb

// registerVerb adds a verb. It is called from init. A duplicate name or place panics, because it is a mistake in the
// program.
func registerVerb(v verb) {
	if i := slices.IndexFunc(registered, func(other verb) bool { return other.name == v.name || other.place == v.place }); i >= 0 || v.name == "" {
		panic(fmt.Sprintf("cmd: the name or the place in help of the verb %q is empty or already used", v.name))
	}
	registered = append(registered, v)
}

// verbs lists the verbs in the order of help.
func verbs() []verb {
	return slices.SortedFunc(slices.Values(registered), func(a, b verb) int { return a.place - b.place })
}

// Main is the whole program: it runs the verb of the command line and exits. Each own is a function that registers step
// definitions and hooks as in any godog suite (func(*godog.ScenarioContext)). A team's main calls Main with these functions
// and is then a stepwatch with the team's own steps in addition to the built-in ones. What they print to os.Stdout goes to
// standard error, because programs read the output of the verbs.
func Main(own ...cucumber.Glue) {
	if len(own) > 0 {
		supervisor.Again() // nobody knows what they do
	}
	if supervisor.Alone() {
		debug.SetTraceback("crash")
		supervisor.Guard()
	}
	if f := supervisor.CrashOutput(); f != nil {
		_ = debug.SetCrashOutput(f, debug.CrashOptions{}) // without it, the supervisor says less
	}
	collector.Pace(collector.Once)
	log.SetOutput(libraryLog{os.Stderr})
	setMemoryLimit()
	t := &terminal{err: os.Stderr, colour: isTerminal(os.Stdout), glue: own}
	written, unwritten := context.WithCancelCause(context.Background())
	ctx, stop := stopOnSignal(written, t)
	out := &output{to: os.Stdout, failed: func(err error) {
		unwritten(fmt.Errorf("write to standard output: %w: %w", reason(err), steps.ErrStopped))
	}}
	t.out = out
	if len(own) > 0 {
		os.Stdout = os.Stderr
	}
	code := supervisor.Work(func() int { return out.verdict(t, dispatch(ctx, t, os.Args[1:])) })
	stop()
	supervisor.Ended()
	os.Exit(code)
}

// libraryLog is where libraries log. It drops the line that net/http writes for each frame of HTTP/2 that it does not know: a
// server may send a million of them.
type libraryLog struct{ to io.Writer }

// Write implements io.Writer.
func (l libraryLog) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("unhandled response frame type")) {
		return len(line), nil
	}
	return l.to.Write(line)
}

// sameSignal is how close together two signals count as one: timeout(1), a terminal and a service manager signal a process
// and then its group.
const sameSignal = 250 * time.Millisecond

// stopOnSignal cancels the context on SIGINT, SIGTERM and SIGHUP (unless the verb has another use for that), so that runs in progress end and clean up. A second signal
// ends the process at once, after it has said what is left. Signals that the parent process wants ignored, as nohup does, are
// ignored. SIGPIPE is an error of the write that caused it.
func stopOnSignal(parent context.Context, t *terminal) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals, hangups, pipes := make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE) // nobody reads it: writes to a closed pipe return EPIPE
	for s, to := range map[os.Signal]chan os.Signal{os.Interrupt: signals, syscall.SIGTERM: signals, syscall.SIGHUP: hangups} {
		if !signal.Ignored(s) {
			signal.Notify(to, s)
		}
	}
	go func() {
		var first time.Time
		for {
			var s os.Signal
			var ok bool
			select {
			case s, ok = <-signals:
			case s, ok = <-hangups:
				if do := t.hangup.Load(); ok && do != nil {
					(*do)()
					continue
				}
			}
			if !ok {
				return
			}
			if first.IsZero() {
				first = time.Now()
				cancel(steps.ErrStopped)
				continue
			}
			if time.Since(first) < sameSignal {
				continue
			}
			said := "stepwatch: ended at once by a second signal"
			if busy := t.busy.Load(); busy != nil && (*busy)() != "" {
				said += "; not cleaned up: " + (*busy)() + "; the next run of a scenario removes its test mail"
			}
			fmt.Fprintln(t.err, said)
			supervisor.Ended()
			if number, is := s.(syscall.Signal); is {
				os.Exit(128 + int(number)) // as in a shell
			}
			os.Exit(exitNotRun)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(hangups)
		signal.Stop(pipes)
		close(signals)
		cancel(nil)
	}
}

// output is standard output. It remembers the first error, so that lost output is never a success.
type output struct {
	to     io.Writer
	failed func(error) // called once

	mu  sync.Mutex
	err error
}

// Write writes p, or returns the error of an earlier write.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(p)
	if o.err = err; err != nil {
		o.failed(err)
	}
	return n, err
}

// verdict returns the exit code of a verb, or exitNotRun if some of its output is lost. It then says so.
func (o *output) verdict(t *terminal, code int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		return code
	}
	fmt.Fprintf(t.err, "stepwatch: write to standard output: %v: some of the output is lost\n", reason(o.err))
	return exitNotRun
}

// reason returns the error without the path of the file, which is always /dev/stdout.
func reason(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func dispatch(ctx context.Context, t *terminal, args []string) int {
	if len(args) == 0 {
		usage(t.err)
		return exitNotRun
	}
	switch args[0] {
	case "help", "-h", "--help":
		usage(t.out)
		return exitPassed
	case "--version":
		args = []string{"version"}
	}
	for _, v := range verbs() {
		if v.name == args[0] {
			return v.run(ctx, t, args[1:])
		}
	}
	fmt.Fprintf(t.err, "stepwatch: unknown verb %q\n\n", args[0])
	usage(t.err)
	return exitNotRun
}

func usage(w io.Writer) {
	fmt.Fprint(w, "stepwatch runs Gherkin scenarios against live mail and web systems and times every step.\n\n")
	for _, v := range verbs() {
		fmt.Fprintf(w, "  stepwatch %-21s %s\n", strings.TrimSpace(v.name+" "+v.args), v.summary)
	}
	fmt.Fprint(w, "\n\"stepwatch VERB --help\" lists the flags of a verb. Start with \"stepwatch demo\".\n")
}

// flagSet returns the flags of a verb, to be read by parse.
func flagSet(verb string) *pflag.FlagSet {
	f := pflag.NewFlagSet("stepwatch "+verb, pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {} // parse prints it
	return f
}

// parse reads the flags of a verb. If done is true, the verb returns code and does nothing else.
func parse(t *terminal, f *pflag.FlagSet, arguments string, args []string, misuse int) (code int, done bool) {
	err := f.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(t.out, "Usage: %s [flags] %s\n\n%s\n", f.Name(), arguments, strings.TrimRight(f.FlagUsages(), "\n"))
		return exitPassed, true
	}
	if err != nil {
		fmt.Fprintf(t.err, "%s: %v\n", f.Name(), err)
		return misuse, true
	}
	return 0, false
}
