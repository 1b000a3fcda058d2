// Package lookup asks DNS for a run as the target is configured, and words what a look-up without an answer means.
package lookup

import (
	"context"
	"errors"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/maildns"
)

// Client returns a client with the target's configuration.
func Client(w *steps.World) *dnsclient.Client {
	return &dnsclient.Client{Resolver: w.Target().Resolver, Roots: w.Target().Roots, ConnectTo: w.Target().ConnectTo}
}

// Limit bounds the look-ups of one judgement, so that a silent DNS server is reported before the scenario's time
// is over.
const Limit = 10 * time.Second

// Records returns a Lookup at the target's DNS server.
func Records(w *steps.World) maildns.Lookup { return maildns.Through(Client(w)) }

// Fail returns the Failure for an error of DNS, or nil. act says what was looked up, unless err does.
func Fail(ctx context.Context, err error, act string) error {
	if err == nil {
		return nil
	}
	if step := (*maildns.LookupError)(nil); errors.As(err, &step) {
		act, err = step.Act, step.Err
	}
	return steps.FailNet(ctx, dnsclient.NetError(err), result.BlameDNS, act)
}
