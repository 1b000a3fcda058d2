// Package alert turns results into soft and hard states. A Source is a rule: it sees every result and says what changed.
// Sending an alert somewhere is an exporter's business, not this package's.
package alert

import (
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// State is how sure an alert is, in Nagios' words.
type State string

// The three states. A soft alert may still turn out to be a hiccup; only a hard one is worth waking somebody.
const (
	Resolved State = "resolved"
	Soft     State = "soft"
	Hard     State = "hard"
)

// Alert is one rule's word on one scenario.
type Alert struct {
	Rule     string // the source's name
	Identity result.Identity
	State    State
	Severity result.State // what the run amounted to
	Since    time.Time    // start of the first run that was not OK
	Summary  string       // one line
}

// Firing says whether somebody should look at it.
func (a Alert) Firing() bool { return a.State == Hard }

// Source is a rule.
type Source interface {
	// Observe takes one result and returns the alerts whose state it changed. Calls for one scenario come in order;
	// calls for different scenarios may come from different goroutines.
	Observe(*result.Result) []Alert
}
