// Package alert turns results into soft and hard states. A Source is a rule: it receives every result and reports
// changes. Exporters send alerts; this package does not.
//
// Each rule is one file that holds all there is to it: its name, its registration and its code.
package alert

import (
	"crypto/sha256"
	"encoding/hex"
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

// Alert is the state of one rule for one scenario, or for stepwatch itself. Every change is told as an Alert of its own: the
// changes of one alert have the same ID, and each has its own Number.
type Alert struct {
	ID       string          `json:"id"`                 // of the rule, the scenario and Since; the same after a restart
	Number   uint64          `json:"number"`             // of this change, rising over all alerts and restarts; what is told again has the same
	Rule     string          `json:"rule"`               // the source's name
	Identity result.Identity `json:"identity,omitzero"`  // the zero value for an alert about stepwatch itself
	Lack     *result.Lack    `json:"lack,omitempty"`     // what the machine of stepwatch lacks, if that is what the alert is about; nil otherwise
	State    State           `json:"state"`              // soft, hard or resolved
	Severity result.State    `json:"severity"`           // state of the run
	Since    time.Time       `json:"since"`              // start of the first run that was not OK
	Summary  string          `json:"summary"`            // one line
	Flapping bool            `json:"flapping,omitempty"` // the scenario changes its state too often; see agent/state
	Withheld string          `json:"withheld,omitempty"` // why it is not told now, such as "silence …"; empty in what sinks get

	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"` // nil if nobody has
}

// Acknowledgement says who takes care of an alert. It ends with the alert, or when that becomes worse.
type Acknowledgement struct {
	Author  string    `json:"author"`
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at"`
}

// NewID returns the id of the alert of a rule for a scenario since a time: 16 hexadecimal digits.
func NewID(rule, about string, since time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", rule, about, since.UnixNano()))
	return hex.EncodeToString(sum[:8])
}

// Firing reports whether the alert is hard.
func (a Alert) Firing() bool { return a.State == Hard }

// Source is a rule.
type Source interface {
	// Observe processes one result and returns the alerts whose state it changed. Calls for one scenario come in order;
	// calls for different scenarios may come from different goroutines.
	Observe(*result.Result) []Alert
}

// Rememberer is a Source that goes on with its open alerts after a restart. The alerts of other rules end with the program, and
// are raised anew.
type Rememberer interface {
	Source

	// Rule returns the name that the source's alerts have.
	Rule() string

	// Remember takes an alert that was open before the restart. lacking returns the scenarios whose last run lacked something
	// of a kind.
	Remember(open Alert, lacking func(kind string) []result.Identity)
}

// Forgetter is a Source that keeps something about each scenario. The agent calls Forget when a reload has removed a scenario,
// after its last result. Forget returns the alerts that this resolves: nobody watches any more what they were about.
type Forgetter interface {
	Source
	Forget(id result.Identity, at time.Time) []Alert
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
