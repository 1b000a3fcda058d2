package cmd

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/vault"
	"github.com/stepwatch/stepwatch/cmd/supervisor"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/program"
)

func init() {
	registerVerb(verb{name: "check", args: "PATH[:LINE]…", summary: "run scenarios once, or ask a running agent, as a Nagios plugin", place: 30, run: checkVerb})
}

// checkVerb is a Nagios plugin. It always prints one status line with perfdata and exits with 0 to 3. An error before a
// scenario runs is UNKNOWN and is on the status line, because Nagios shows nothing else.
func checkVerb(ctx context.Context, t *terminal, args []string) int {
	const arguments = "PATH[:LINE]…"
	f := flagSet("check")
	load := loadFlags(t, f)
	timeout := f.Duration("timeout", hostTimeout, "answer UNKNOWN after this duration; keep it below the service_check_timeout of Nagios")
	limit := f.Int("output-limit", exporters.NagiosOutputLimit, "bytes of the output, for what carries it to Nagios (NRPE before version 4: 1024, passive results: 7680)")
	keep := f.String("evidence", "", "directory for the evidence of failures; its paths follow the status line (default: keep none)")
	load.runFlags(f, true)
	ask := agentCheckFlags(f)
	load.compatFlag(f, "behave like cucumber-nagios: its status line, values and counts, its meaning of I should see, and its reading of quotes (see docs/migration.md)")
	var said strings.Builder
	if code, done := parse(&terminal{out: t.out, err: io.MultiWriter(t.err, &said)}, f, arguments, args, int(result.Unknown)); done {
		if said.Len() > 0 {
			fmt.Fprintf(t.out, "STEPWATCH UNKNOWN - %s\n", printable(strings.TrimSpace(said.String())))
		}
		return code
	}
	if *limit < exporters.NagiosOutputLeast {
		fmt.Fprintf(t.out, "STEPWATCH UNKNOWN - --output-limit %d: the status line alone needs %d bytes\n", *limit, exporters.NagiosOutputLeast)
		return int(result.Unknown)
	}
	supervisor.Limit(max(*timeout, time.Millisecond))
	if ask.wanted(f) {
		if refused := ask.misuse(f); refused != "" {
			fmt.Fprintf(t.out, "STEPWATCH UNKNOWN - %s\n", refused)
			return int(result.Unknown)
		}
		if supervisor.Alone() {
			program.Forbid()
		}
		return ask.check(ctx, t, load, f.Args(), *timeout, *limit)
	}
	name := "STEPWATCH"
	compat := *load.compat
	if compat {
		name = "CUCUMBER"
	}
	began := time.Now()
	set, err := load.plans(f.Args())
	if err != nil {
		fmt.Fprintf(t.out, "%s UNKNOWN - %s\n", name, printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
		return int(result.Unknown)
	}
	defer set.close()
	switch {
	case !supervisor.Alone():
	case set.startsNothing():
		program.Forbid()
	default:
		supervisor.Again()
	}
	// A run that is stopped gets time to end and to clean up, which is part of the duration.
	parting := min(*timeout/5, 5*time.Second)
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout-parting, errTimeout)
	defer cancel()
	runner := set.runner()
	runner.Grace, runner.CleanupTimeout = max(parting/5, time.Millisecond), max(3*parting/5, time.Millisecond) // of a run that is stopped
	results := make([]*result.Result, 0, len(set.plans))
	for _, plan := range set.plans {
		t.working(plan)
		results = append(results, runner.Run(ctx, plan, agent.Occasion{Begin: compat}))
	}
	var code int
	if compat {
		code = exporters.CucumberNagios(t.out, results, time.Since(began))
	} else {
		code = exporters.Nagios(t.out, results, exporters.NagiosOptions{One: asksForOne(f.Args(), set.identities()), Limit: *limit})
	}
	store := evidenceIn(*keep)
	for _, r := range results {
		for _, line := range savedEvidence(store, r) {
			fmt.Fprintln(t.out, line)
		}
	}
	return code
}

// quietAreas are the chapters of the catalogue whose sentences start no program, unless in a browser. Package program refuses
// to start one for them.
var quietAreas = []string{"amqp", "api", "database", "dns", "exporter", "tls", "web"}

// identities returns the names of the scenarios.
func (s *set) identities() []result.Identity {
	all := make([]result.Identity, len(s.plans))
	for i, plan := range s.plans {
		all[i] = plan.Identity
	}
	return all
}

// startsNothing reports whether no plan starts a program: then nothing can be left that a supervisor would have to end.
func (s *set) startsNothing() bool {
	secrets, known := s.config.Secrets.(*vault.Vault)
	return known && !secrets.RunsPrograms() && !s.usesBrowser() && !slices.ContainsFunc(s.plans, func(p *agent.Plan) bool {
		return slices.ContainsFunc(p.Steps(), mayStartProgram)
	})
}

func mayStartProgram(b *steps.Bound) bool {
	if b == nil {
		return false // a step with a mistake does not run
	}
	if len(b.Inner) > 0 {
		return b.NeedsBrowser() != nil || slices.ContainsFunc(b.Inner, mayStartProgram)
	}
	return !slices.Contains(quietAreas, b.Definition.Area)
}

// asksForOne reports whether the arguments ask for one scenario: by its line, or by that of a row of its examples. A file
// with one scenario asks for all that it has, today and tomorrow, and so does a name (--name), which another scenario may get.
func asksForOne(args []string, scenarios []result.Identity) bool {
	if len(args) != 1 || len(scenarios) != 1 {
		return false
	}
	colon := strings.LastIndex(args[0], ":")
	line, err := strconv.Atoi(args[0][colon+1:])
	if colon < 0 || err != nil {
		return false
	}
	id := scenarios[0]
	return line == id.Line || id.Example == "" && line > id.Line
}
