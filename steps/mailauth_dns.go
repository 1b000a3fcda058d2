package steps

import (
	"context"
	"errors"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/maildns"
)

// judgeLimit bounds the look-ups of one judgement, so that a DNS server that is silent is named while the scenario has
// time left to say so.
const judgeLimit = 10 * time.Second

// records asks the target's DNS server for records.
func (w *World) records() maildns.Lookup { return maildns.Through(w.dnsClient()) }

// failLookup is the Failure for a judgement that DNS did not allow, or nil. act says what was looked up, unless err does.
func failLookup(ctx context.Context, err error, act string) error {
	if err == nil {
		return nil
	}
	if step := (*maildns.LookupError)(nil); errors.As(err, &step) {
		act, err = step.Act, step.Err
	}
	return FailNet(ctx, dnsclient.NetError(err), result.BlameDNS, act)
}
