// Package cmd is the command line: flags, wiring and exit codes, one file a verb. What the verbs do is in the packages
// steps, agent and exporters.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/steps"
)

// Exit codes of every verb but check, whose codes are Nagios' own.
const (
	exitPassed = 0
	exitFailed = 1 // something failed
	exitNotRun = 3 // nothing ran, or it could not run: wrong usage, an unreadable file, no scenario selected
)

// terminal is where a verb writes, and what of the language is not built in. Tests give it buffers.
type terminal struct {
	out    io.Writer
	err    io.Writer
	colour bool            // out is a terminal that shows colours
	glue   []cucumber.Glue // registers own steps
}

// verb is what the first argument asks for. Its file registers it.
type verb struct {
	name    string
	args    string // as help shows them
	summary string
	place   int // in help, the lowest first
	run     func(ctx context.Context, t *terminal, args []string) int
}

var registered []verb

// registerVerb adds a verb. It is called from init. A name or a place that is taken panics, because it is a mistake in the
// program.
func registerVerb(v verb) {
	if i := slices.IndexFunc(registered, func(other verb) bool { return other.name == v.name || other.place == v.place }); i >= 0 || v.name == "" {
		panic(fmt.Sprintf("cmd: the verb %q has no name of its own or no place of its own in help", v.name))
	}
	registered = append(registered, v)
}

// verbs lists the verbs in the order of help.
func verbs() []verb {
	return slices.SortedFunc(slices.Values(registered), func(a, b verb) int { return a.place - b.place })
}

// Main is the whole program: it does what the process' arguments say and exits. Each own is a function that registers step
// definitions and hooks as in any suite of godog's (func(*godog.ScenarioContext)): a team's main that calls Main with them is a
// stepwatch with the team's own steps beside those that it has. What they print to os.Stdout goes to standard error, because
// the verbs' output is read by programs.
func Main(own ...cucumber.Glue) {
	if os.Getpid() == 1 {
		os.Exit(asInit())
	}
	setHeapFloor()
	ctx, stop := stopOnSignal(context.Background())
	t := &terminal{out: os.Stdout, err: os.Stderr, colour: isTerminal(os.Stdout), glue: own}
	if len(own) > 0 {
		os.Stdout = os.Stderr
	}
	code := dispatch(ctx, t, os.Args[1:])
	stop()
	os.Exit(code)
}

// stopOnSignal ends the context on SIGINT and SIGTERM; a second signal ends the process at once, as the shell's user expects.
func stopOnSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		if _, ok := <-signals; ok {
			signal.Stop(signals)
			cancel(steps.ErrStopped)
		}
	}()
	return ctx, func() { signal.Stop(signals); close(signals); cancel(nil) }
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
	fmt.Fprintf(t.err, "stepwatch: no verb %q\n\n", args[0])
	usage(t.err)
	return exitNotRun
}

func usage(w io.Writer) {
	fmt.Fprint(w, "stepwatch runs Gherkin scenarios against live mail and web systems and times every step.\n\n")
	for _, v := range verbs() {
		fmt.Fprintf(w, "  stepwatch %-21s %s\n", strings.TrimSpace(v.name+" "+v.args), v.summary)
	}
	fmt.Fprint(w, "\n\"stepwatch VERB --help\" lists a verb's flags. Start with \"stepwatch demo\".\n")
}

// flagSet makes the flags of a verb, for parse to read.
func flagSet(verb string) *pflag.FlagSet {
	f := pflag.NewFlagSet("stepwatch "+verb, pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {} // parse prints it, to the right place
	return f
}

// parse reads a verb's flags. done is true when the verb has nothing left to do, with the exit code to give.
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
