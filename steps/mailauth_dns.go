package steps

import (
	"context"
	"errors"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/maildns"
)

// judgeLimit bounds the look-ups of one judgement, so that a silent DNS server is reported before the scenario's time
// is over.
const judgeLimit = 10 * time.Second

// records returns a Lookup at the target's DNS server.
func (w *World) records() maildns.Lookup { return maildns.Through(w.dnsClient()) }

// failLookup returns the Failure for an error of DNS, or nil. act says what was looked up, unless err does.
func failLookup(ctx context.Context, err error, act string) error {
	if err == nil {
		return nil
	}
	if step := (*maildns.LookupError)(nil); errors.As(err, &step) {
		act, err = step.Act, step.Err
	}
	return FailNet(ctx, dnsclient.NetError(err), result.BlameDNS, act)
}
