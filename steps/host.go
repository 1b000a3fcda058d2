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

// Host is a machine with its name in features and its address. PartOf returns the settings of each subject. If a sentence
// needs settings that the host lacks, its error names them.
type Host struct {
	Name    string // the name in features
	Address string // host name or IP address; the name if the configuration has none

	parts store
}

// Host returns the host with this name. The error lists the configured names.
func (t *Target) Host(name string) (*Host, error) {
	if h, found := t.Hosts[name]; found {
		return h, nil
	}
	known := "none is configured"
	if len(t.Hosts) > 0 {
		known = "it has " + strings.Join(slices.Sorted(maps.Keys(t.Hosts)), ", ")
	}
	return nil, Fail(result.ReasonConfig, result.BlameScenario, "no host %q in stepwatch.yml (%s): add it under hosts", name, known)
}

// Missing returns the failure of a sentence that needs a setting that the host lacks.
func (h *Host) Missing(setting string) error {
	return Fail(result.ReasonConfig, result.BlameScenario, "host %q has no %s: set hosts.%s.%s in stepwatch.yml", h.Name, setting, h.Name, setting)
}

// AddressOf returns the address to connect to for a name in a sentence: that of the host with this name, or the name itself.
func (t *Target) AddressOf(name string) string {
	if h, found := t.Hosts[name]; found {
		return h.Address
	}
	return name
}
