package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/timeserver"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The sentence about the clock of the machine that stepwatch itself runs on, and the setting of the server that tells whether
// a failure is the fault of that clock.

func init() {
	steps.RegisterSettings("clock", func() steps.Block { return new(clockSettings) })
	steps.Register(
		steps.Definition{
			Area: "host", Sentence: `the clock of this machine is within {duration} of {server}`,
			Does: "Asks an NTP server (a host of stepwatch.yml, HOST or HOST:PORT; by default port 123) for the time, and fails unless the clock of the machine that stepwatch runs on differs by this much at most. " +
				"It asks up to four times, until the answer is certain enough; the one with the least delay counts. If the difference from the limit is smaller than the uncertainty of the answer, the result is UNKNOWN. " +
				"A server that is not synchronised itself is a failure.",
			Measures: "Phases dns and time (the packets to the server and back). Measurements clock_offset_seconds (positive when this machine is ahead of the server, negative when it is behind), clock_uncertainty_seconds and ntp_stratum.",
			Example:  `Then the clock of this machine is within 1s of "pool.ntp.org"`,
			Func:     clockIsWithin,
		},
	)
}

// clockSettings is the part of stepwatch.yml about the clock.
type clockSettings struct {
	Server string `yaml:"server" doc:"an NTP server, which is asked after a failure that a wrong clock may explain; default: none"`
}

// Validate implements Block.
func (s *clockSettings) Validate(env *steps.Env) {
	if s.Server == "" {
		return
	}
	if err := timeserver.CheckAddress(s.Server); err != nil {
		env.Refuse("server", "%v", err)
	}
	env.Target.Set(timeserver.Reference(s.Server))
}

func clockIsWithin(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	name := a.Text(1)
	server := w.Target().AddressOf(name)
	if err := timeserver.CheckAddress(server); err != nil {
		return steps.FailScenario("%w", err)
	}
	client := timeserver.Client{ConnectTo: w.Target().ConnectTo, Limit: limit, Reached: w.SendsTo,
		LookUp: func(ctx context.Context, host string) ([]string, error) {
			start := time.Now()
			defer func() { w.Phase("dns", time.Since(start), "") }()
			return steps.Route{}.LookUp(ctx, w.Resolver(), host)
		}}
	w.Connections().Reach(timeserver.WithPort(server))
	answer, err := client.Ask(ctx, server)
	if err != nil {
		return clockFailure(ctx, err, fmt.Sprintf("ask %q for the time", name))
	}
	w.Idle(answer.Paused)
	w.Phase("time", answer.Delay, "")
	w.Measure("clock_offset_seconds", "Seconds by which the clock of this machine is ahead of the server's; negative when it is behind.", answer.Ahead.Seconds())
	w.Measure("clock_uncertainty_seconds", "Seconds by which clock_offset_seconds may be wrong, according to the server.", answer.Uncertainty.Seconds())
	w.Measure("ntp_stratum", "Stratum of the NTP server: 1 has a reference clock.", float64(answer.Stratum))
	described := fmt.Sprintf("%s the clock of %q (stratum %d), within ±%s", describeOffset(answer.Ahead), name, answer.Stratum, finely(answer.Uncertainty))
	switch answer.Judge(limit) {
	case timeserver.Within:
		w.Note("it is " + described)
		return nil
	case timeserver.Beyond:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the clock of this machine is %s, wanted within %s: %s", described, a.Text(0), clockAdvice())
	}
	least := (answer.Ahead.Abs() + answer.Uncertainty).Round(time.Millisecond) + time.Millisecond
	return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "it is not known whether the clock of this machine is within %s of %q: it is %s, so the answer decides nothing: allow %s, or ask a server that is nearer",
		a.Text(0), name, described, least)
}

// describeOffset describes by how much a clock is wrong: "20m 3s ahead of".
func describeOffset(ahead time.Duration) string {
	by := finely(ahead.Abs())
	if ahead.Abs() >= time.Minute {
		by = wording.Span(ahead.Abs().Round(time.Second))
	}
	if ahead < 0 {
		return by + " behind"
	}
	return by + " ahead of"
}

// finely writes a short duration with about three digits, "14µs", "1.25s".
func finely(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	}
	return wording.Delay(d)
}

// clockAdvice says what is known of this machine's clock otherwise, and what to do.
func clockAdvice() string {
	advice := "check the synchronisation of its time (chronyc tracking, timedatectl)"
	kernel := timeserver.ReadKernel()
	if kernel.Synchronised {
		return kernel.String() + ", so the server may be the one that is wrong: ask another one, and " + advice
	}
	if kernel.Known {
		return kernel.String() + ": " + advice
	}
	return advice
}

// clockFailure returns the failure of a server that does not tell the time.
func clockFailure(ctx context.Context, err error, act string) error {
	asked := (*timeserver.Error)(nil)
	if !errors.As(err, &asked) || ctx.Err() != nil {
		return steps.FailNet(ctx, err, result.BlameTarget, act)
	}
	name := (net.Error)(nil)
	switch {
	case asked.Kind == timeserver.Refused:
		return steps.Fail(result.ReasonRefused, result.BlameTarget, "%s (at %s): %w", act, asked.Server, err)
	case asked.Kind == timeserver.Unsynchronised:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s (at %s): %w: check what synchronises it (chronyc -h HOST tracking, ntpq -p)", act, asked.Server, err)
	case asked.Kind == timeserver.Invalid:
		return steps.Fail(result.ReasonProtocol, result.BlameTarget, "%s (at %s): %w", act, asked.Server, err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &name) && name.Timeout():
		return steps.Fail(result.ReasonTimeout, result.BlameTarget, "%s (at %s): no answer: does it run an NTP server, and does a firewall let UDP through to it and back?", act, asked.Server)
	}
	return steps.FailNet(ctx, err, result.BlameTarget, act+" (at "+asked.Server+")")
}
