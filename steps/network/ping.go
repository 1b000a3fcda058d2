package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/ping"
)

// Sentences of cucumber-nagios' ping_steps.

func init() {
	steps.Register(
		steps.Definition{Area: "network", Sentence: "I ping {server}",
			Does: "Sends ICMP echo requests to each address of a host, one a second, until one answers or 5 seconds are over. Fails when it " +
				"cannot send any: the name does not resolve, or this machine has no route to any of its addresses. The next step checks whether the host answered.",
			Measures: "Time until the answer, or 5 seconds. Phase dns. Measurement ping_round_trip_seconds, if the host answered.",
			Example:  `When I ping "www.example.org"`, Func: pingHost},
		steps.Definition{Area: "network", Sentence: "it should respond",
			Does:    "Fails when no address of the host answered `I ping`.",
			Example: `Then it should respond`, Func: shouldRespond(true)},
		steps.Definition{Area: "network", Sentence: "it should not respond",
			Does:    "Fails when an address of the host answered `I ping`.",
			Example: `Then it should not respond`, Func: shouldRespond(false)},
	)
}

// pingPatience is how long a step waits for an answer: four requests may get lost.
const pingPatience = 5 * time.Second

// pinged is the result of the last ping.
type pinged struct {
	host      string // empty until a host is pinged
	addresses []string
	by        string // the address that answered, or empty
	took      time.Duration
}

func pingHost(ctx context.Context, w *steps.World, a steps.Args) error {
	last := steps.State[pinged](w)
	*last = pinged{}
	addresses, err := resolve(ctx, w, w.Target().AddressOf(a.Text(0)), "ping "+a.Text(0))
	if err != nil {
		return err
	}
	type answer struct {
		from netip.Addr
		took time.Duration
		err  error
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(addresses))
	for _, to := range addresses {
		go func() {
			took, err := ping.Echo(asking, to, pingPatience)
			answers <- answer{to, took, err}
		}()
	}
	asked := *last
	var failed []error
	for range addresses {
		switch got := <-answers; {
		case got.err == nil && asked.by == "":
			asked.by, asked.took = got.from.String(), got.took
			cancel() // one is enough
		case got.err != nil && !errors.Is(got.err, ping.ErrSilent):
			failed = append(failed, got.err)
		}
	}
	if ctx.Err() != nil {
		return steps.FailNet(ctx, ctx.Err(), result.BlameTarget, "ping "+a.Text(0))
	}
	if asked.by == "" && len(failed) == len(addresses) {
		return steps.Fail(result.ReasonConnect, result.BlameNetwork, "ping %q: %w", a.Text(0), errors.Join(failed...))
	}
	if own := lack.NoWay(addresses); asked.by == "" && own != nil { // silence says nothing about the host then
		return steps.FailNet(ctx, own, result.BlameNetwork, "ping "+a.Text(0))
	}
	asked.host = a.Text(0)
	for _, to := range addresses {
		asked.addresses = append(asked.addresses, to.String())
	}
	*last = asked
	if asked.by == "" {
		w.Note("no answer")
		return nil
	}
	w.Measure("ping_round_trip_seconds", "Round-trip time of an ICMP echo request.", asked.took.Seconds())
	w.Note(fmt.Sprintf("%s answered after %s", asked.by, asked.took.Round(time.Microsecond)))
	return nil
}

// resolve returns the addresses of a host, which may be an address itself, and reports the phase dns.
func resolve(ctx context.Context, w *steps.World, host, act string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{ip}, nil
	}
	start := time.Now()
	names, err := steps.Route{}.LookUp(ctx, w.Resolver(), host)
	w.Phase("dns", time.Since(start), "")
	if err != nil {
		return nil, steps.FailNet(ctx, err, result.BlameTarget, act)
	}
	var addresses []netip.Addr
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil && !slices.Contains(addresses, ip) {
			addresses = append(addresses, ip)
		}
	}
	if len(addresses) == 0 {
		return nil, steps.Fail(result.ReasonDNS, result.BlameDNS, "%s: %q has no address", act, host)
	}
	return addresses, nil
}

func shouldRespond(wanted bool) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, _ steps.Args) error {
		last := steps.State[pinged](w)
		switch {
		case last.host == "":
			return steps.FailScenario("no host has been pinged: write `I ping \"www.example.org\"` before this step")
		case wanted && last.by == "":
			return steps.Fail(result.ReasonTimeout, result.BlameTarget, "expect %q to respond to ping: no answer from %s within %s", last.host, strings.Join(last.addresses, ", "), pingPatience)
		case !wanted && last.by != "":
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect %q not to respond to ping: %s answered after %s", last.host, last.by, last.took.Round(time.Microsecond))
		}
		return nil
	}
}
