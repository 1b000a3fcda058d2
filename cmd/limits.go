package cmd

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/cmd/httpserver"
	"github.com/stepwatch/stepwatch/steps/lack"
)

// What an agent needs. A run seldom has more than a connection, a question to DNS and a file open at the same time.
const (
	descriptorsOwn    = 32 // of the process itself
	descriptorsOfRun  = 4
	processesOwn      = 64   // threads of the process itself, and a program or two
	browserProcesses  = 200  // processes and threads of Chromium
	portsKeptFor      = 60   // seconds that a closed connection keeps its local port (TIME_WAIT)
	connectionsPerRun = 2    // of a usual scenario
	memoryShare       = 0.9  // of the control group's memory that the heap may have
	noPortsWarning    = 4096 // local ports from which on none are computed: connections to several targets share them
)

// setMemoryLimit makes the garbage collector keep the process below the memory of its control group, unless $GOMEMLIMIT
// says something else. Otherwise the kernel ends it without a word.
func setMemoryLimit() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit := lack.MemoryLimit(); limit > 0 {
		debug.SetMemoryLimit(int64(float64(limit) * memoryShare))
	}
}

// limitWarnings compares the limits of this process with what the agent needs. Each warning names the line of the
// systemd unit that raises a limit. Nothing is reduced: a run that meets the limit is UNKNOWN and says so.
func limitWarnings(l lack.Limits, plans []*agent.Plan, workers int, browser bool) (warnings []string) {
	atOnce := min(workers, len(plans))
	descriptors := uint64(descriptorsOwn + httpserver.ConnectionsMax + atOnce*descriptorsOfRun) //nolint:gosec // a few thousand
	if browser {
		descriptors = max(descriptors, lack.BrowserDescriptors)
	}
	if l.OpenFiles > 0 && l.OpenFiles < descriptors {
		warnings = append(warnings, fmt.Sprintf("the limit of open files is %d, and %d runs at once with the HTTP server may need %d: set LimitNOFILE=%d in the unit",
			l.OpenFiles, atOnce, descriptors, max(4096, descriptors)))
	}
	processes := uint64(processesOwn + atOnce) //nolint:gosec // as above
	if browser {
		processes += browserProcesses
	}
	if l.Processes > 0 && l.Processes < processes && os.Getuid() != 0 { // it does not apply to root
		warnings = append(warnings, fmt.Sprintf("the limit of processes and threads of this user is %d, and stepwatch with its programs may need %d: set LimitNPROC=%d in the unit", l.Processes, processes, max(1024, processes)))
	}
	if l.Tasks > 0 && l.Tasks < processes {
		warnings = append(warnings, fmt.Sprintf("the limit of processes and threads of this control group is %d, and stepwatch with its programs may need %d: set TasksMax=%d in the unit", l.Tasks, processes, max(1024, processes)))
	}
	perSecond := 0.0
	for _, p := range plans {
		if p.Interval > 0 {
			perSecond += 1 / p.Interval.Seconds()
		}
	}
	if ports := int(perSecond * connectionsPerRun * portsKeptFor); l.LocalPorts > 0 && l.LocalPorts < noPortsWarning && ports > l.LocalPorts {
		warnings = append(warnings, fmt.Sprintf("this machine has %d local ports (net.ipv4.ip_local_port_range is %s), and %.0f runs a second may keep %d: widen the range", l.LocalPorts, l.LocalPortSpan, perSecond, ports))
	}
	return warnings
}

// loadOnce loads what Go loads on first use and keeps even if that fails, as long as there are descriptors: the
// certificates of the authorities, and the configuration of the resolver.
func loadOnce(ctx context.Context, log *slog.Logger) {
	if _, err := x509.SystemCertPool(); err != nil {
		log.Warn("the certificates of public authorities cannot be read", "error", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, _ = net.DefaultResolver.LookupHost(ctx, "localhost") // only that /etc/hosts and /etc/resolv.conf are read
}
