// Package alert turns results into soft and hard states. A Source is a rule: it receives every result and reports
// changes. Exporters send alerts; this package does not.
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

// State is the certainty of an alert, in Nagios' terms.
type State string

// The three states. A soft alert may be a temporary problem; only a hard one should wake somebody.
const (
	Resolved State = "resolved"
	Soft     State = "soft"
	Hard     State = "hard"
)

// Alert is the state of one rule for one scenario, or for stepwatch itself.
type Alert struct {
	Rule     string          // the source's name
	Identity result.Identity // the zero value for an alert about stepwatch itself
	Lack     *result.Lack    // what the machine of stepwatch lacks, if that is what the alert is about; nil otherwise
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

// Forgetter is a Source that keeps something about each scenario. The agent calls Forget when a reload has removed a scenario,
// after its last result. Forget returns the alerts that this resolves: nobody watches any more what they were about.
type Forgetter interface {
	Source
	Forget(id result.Identity, at time.Time) []Alert
}

// removed is the summary of an alert that ends because nobody watches its scenario any more.
const removed = "removed: the scenario is no longer among those that stepwatch runs, so nothing is known about it any more"

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
