// Package cmd is the command line: flags, wiring and exit codes, one file a verb. What the verbs do is in the packages
// steps, agent and exporters.
package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
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

type verb struct {
	name    string
	args    string
	summary string
	run     func(ctx context.Context, t *terminal, args []string) int
}

// verbs is a function because help is one of its own entries.
func verbs() []verb {
	return []verb{
		{"demo", "", "a mail server, a website and an agent that watches both, in one process", demoVerb},
		{"run", "PATH[:LINE]…", "run scenarios once and watch each step as it happens", runVerb},
		{"check", "PATH[:LINE]…", "run scenarios once as a Nagios plugin", checkVerb},
		{"agent", "[PATH…]", "run scenarios on their schedules and export the results", agentVerb},
		{"steps", "[WORD]", "list the sentences that scenarios are made of", stepsVerb},
		{"lint", "PATH…", "find mistakes in feature files without running them", lintVerb},
		{"version", "", "print the version", versionVerb},
	}
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
		return versionVerb(ctx, t, nil)
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

func versionVerb(_ context.Context, t *terminal, _ []string) int {
	fmt.Fprintln(t.out, "stepwatch", version())
	return exitPassed
}

// version is what Go's build information knows of stepwatch in this binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	version := info.Main.Version
	if info.Main.Path != module {
		for _, d := range info.Deps {
			if d.Path == module {
				if d.Replace != nil {
					d = d.Replace // whose version is empty for a directory
				}
				version = fmt.Sprintf("%s with own steps of %s %s", cmp.Or(d.Version, "(devel)"), info.Main.Path, cmp.Or(version, "(devel)"))
			}
		}
	}
	return cmp.Or(version, "(devel)")
}

const module = "github.com/stepwatch/stepwatch"
