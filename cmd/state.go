package cmd

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/stepwatch/stepwatch/steps/mailqueue"
	"github.com/stepwatch/stepwatch/steps/statedir"
)

// checkState returns an error if others may change what is in the state directory. One that does not exist yet is created
// when it is needed.
func checkState(set *set) error {
	d, err := statedir.Open(set.target().StateDir)
	if err == nil {
		return d.Close()
	}
	return unsafeState(err)
}

// unsafeState returns an error only if the directory is unsafe. If it cannot be used for another reason, what needs it says so.
func unsafeState(err error) error {
	var unsafe *statedir.UnsafeError
	if !errors.As(err, &unsafe) {
		return nil
	}
	return fmt.Errorf("the state directory is not safe: %w; or set state in stepwatch.yml to another directory", err)
}

// agentEnds is how long an agent usually takes to end: its runs have five seconds. When the supervisor of an agent is killed and
// the next agent starts at once, the last one still writes its states.
const agentEnds = 10 * time.Second

// claimState takes the state directory for an agent, and removes what killed processes did not finish writing there. It logs
// if another agent has it. It returns an error only if others may change what is in the directory. mine is false if the
// directory cannot be used, or another agent writes there.
func claimState(set *set, log *slog.Logger) (claimed io.Closer, mine bool, err error) {
	path := set.target().StateDir
	d, err := statedir.Open(path)
	if err != nil {
		if err := unsafeState(err); err != nil {
			return nil, false, err
		}
		log.Warn("the state directory cannot be used, so nothing survives a restart: set state in stepwatch.yml to a directory that stepwatch may write", "state", path, "error", err)
		return io.NopCloser(nil), false, nil
	}
	defer func() { _ = d.Close() }() // the claim is a file of its own
	d.RemoveStale()
	if _, err := d.Root().Lstat(mailqueue.GrowthDir); err == nil {
		if growth, err := d.Sub(mailqueue.GrowthDir); err == nil {
			growth.RemoveStale()
			_ = growth.Close()
		}
	}
	claim, other, err := d.ClaimWithin(agentEnds, func(other int) {
		log.Info("the state directory belongs to another agent, which may be about to end: waiting for it", "state", path, "pid", other, "at_most", agentEnds)
	})
	switch {
	case err != nil:
		if err := unsafeState(err); err != nil {
			return nil, false, err
		}
		log.Warn("the state directory cannot be locked, so a second agent in it would not be noticed", "state", path, "error", err)
		return io.NopCloser(nil), true, nil
	case claim == nil:
		log.Warn("another agent uses the same state directory: they share positions in logs, and each limits the evidence; set state in stepwatch.yml if that is not intended",
			"state", path, "pid", other)
		return io.NopCloser(nil), false, nil
	}
	return claim, true, nil
}
