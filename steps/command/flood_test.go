package command_test

import (
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestFloods runs programs that print more than stepwatch reads, and keeps more outputs than a run may hold.
func TestFloods(t *testing.T) {
	fixture.LeavesNothing(t)
	const printed = `: an output has more than 67108864 bytes, the limit`
	fixture.PeakBelow(t, 16<<20, func() {
		fixture.JudgedAs(t, &steps.Target{}, map[string]string{
			"When I run `yes`": `too_large target: run yes` + printed,
			"When I run `yes` interactively\nThen the exit status should be 0": `too_large target: run yes` + printed,
		})
	})
	small := new(steps.Target).Set(steps.Limits{Memory: 3 << 20})
	const mega = "When I run `sh -c 'head -c 1000000 /dev/zero | tr \"\\0\" x'`\n"
	fixture.JudgedAs(t, small, map[string]string{
		mega + mega + mega + "Then the exit status should be 0": "passed",
		mega + mega + mega + mega:                               `too_large target: what the run has read has 4000000 bytes, the limit is 3145728; limits.memory in stepwatch.yml raises it`,
	})
}
