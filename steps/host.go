package steps

import (
	"maps"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

func init() {
	RegisterKind(Kind{Name: "host", Means: "a name under hosts in stepwatch.yml", Pattern: `[^"]+`, Quote: `"`,
		Sample: "name", Rule: RuleUnknown,
		Check: func(a Args, i int, known Known) error { _, err := known.Target.Host(a.Text(i)); return err }})
}

// Host is one machine as features call it, and where it is. How what it keeps can be read PartOf returns: each subject has
// a part of its own, and a sentence that needs one which the host does not have says which setting is missing.
type Host struct {
	Name    string // as features call it
	Address string // host name or IP address; the name when the configuration gives none

	parts store
}

// Host returns the host that a feature calls name. The error lists the names there are.
func (t *Target) Host(name string) (*Host, error) {
	if h, found := t.Hosts[name]; found {
		return h, nil
	}
	known := "it has none"
	if len(t.Hosts) > 0 {
		known = "it has " + strings.Join(slices.Sorted(maps.Keys(t.Hosts)), ", ")
	}
	return nil, Fail(result.ReasonConfig, result.BlameScenario, "no host %q in stepwatch.yml (%s): add it under hosts", name, known)
}

// Missing returns the failure of a sentence that needs a setting which the host does not have.
func (h *Host) Missing(setting string) error {
	return Fail(result.ReasonConfig, result.BlameScenario, "host %q has no %s: set hosts.%s.%s in stepwatch.yml", h.Name, setting, h.Name, setting)
}

// AddressOf gives where to connect for a name in a sentence: the address of the host of that name, or the name itself.
func (t *Target) AddressOf(name string) string {
	if h, found := t.Hosts[name]; found {
		return h.Address
	}
	return name
}
