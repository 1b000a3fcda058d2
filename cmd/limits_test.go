package cmd

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/steps/lack"
)

func TestLimitWarnings(t *testing.T) {
	plans := make([]*agent.Plan, 300)
	for i := range plans {
		plans[i] = new(agent.Plan)
		plans[i].Interval = time.Second
	}
	enough := lack.Limits{OpenFiles: 1 << 20, Processes: 1 << 20, Tasks: 4915, LocalPorts: 28232, LocalPortSpan: "32768 60999"}
	if got := limitWarnings(enough, plans, 256, true); len(got) > 0 {
		t.Errorf("with enough of everything: %q", got)
	}
	if got := limitWarnings(lack.Limits{}, plans, 256, true); len(got) > 0 {
		t.Errorf("with unknown limits: %q", got)
	}
	low := lack.Limits{OpenFiles: 1024, Tasks: 100, LocalPorts: 1000, LocalPortSpan: "50000 50999"}
	got := strings.Join(limitWarnings(low, plans, 256, false), "\n")
	want := `the limit of open files is 1024, and 256 runs at once with the HTTP server may need 1120: set LimitNOFILE=4096 in the unit
the limit of processes and threads of this control group is 100, and stepwatch with its programs may need 320: set TasksMax=1024 in the unit
this machine has 1000 local ports (net.ipv4.ip_local_port_range is 50000 50999), and 300 runs a second may keep 36000: widen the range`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
