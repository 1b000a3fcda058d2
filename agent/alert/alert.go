// Package alert turns results into soft and hard states. A Source is a rule: it receives every result and reports
// changes. Exporters send alerts; this package does not.
package alert

import (
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// State is the certainty of an alert, in Nagios' terms.
type State string

// The three states. A soft alert may be a temporary problem; only a hard one should wake somebody.
const (
	Resolved State = "resolved"
	Soft     State = "soft"
	Hard     State = "hard"
)

// Alert is the state of one rule for one scenario.
type Alert struct {
	Rule     string // the source's name
	Identity result.Identity
	State    State
	Severity result.State // state of the run
	Since    time.Time    // start of the first run that was not OK
	Summary  string       // one line
}

// Firing reports whether the alert is hard.
func (a Alert) Firing() bool { return a.State == Hard }

// Source is a rule.
type Source interface {
	// Observe processes one result and returns the alerts whose state it changed. Calls for one scenario come in order;
	// calls for different scenarios may come from different goroutines.
	Observe(*result.Result) []Alert
}
