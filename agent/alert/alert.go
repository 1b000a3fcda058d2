// Package alert turns results into soft and hard states. A Source is a rule: it sees every result and says what changed.
// Sending an alert somewhere is an exporter's business, not this package's.
//
// Each rule is one file that holds all there is to it: its name, its registration and its code.
package alert

import (
	"fmt"
	"maps"
	"slices"
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

// Registry holds rules by name. The zero value is empty and ready. Registering while another goroutine uses the registry
// is not allowed: it happens in init functions and at the start of tests.
type Registry struct {
	rules map[string]func() Source
}

// Builtin holds the rules of this package. Each file's init adds its own.
var Builtin = new(Registry)

// Register adds a rule, by the name that its alerts have. fresh returns a source without an open alert at each call. A
// name that is empty or taken panics, because it is a mistake in the program.
func (r *Registry) Register(name string, fresh func() Source) {
	if name == "" {
		panic("alert: a rule without a name")
	}
	if _, taken := r.rules[name]; taken {
		panic(fmt.Sprintf("alert: the rule %q is registered twice", name))
	}
	if r.rules == nil {
		r.rules = make(map[string]func() Source)
	}
	r.rules[name] = fresh
}

// Sources returns a new source of every rule, in the order of their names.
func (r *Registry) Sources() []Source {
	sources := make([]Source, 0, len(r.rules))
	for _, name := range slices.Sorted(maps.Keys(r.rules)) {
		sources = append(sources, r.rules[name]())
	}
	return sources
}
