package dns

import (
	"fmt"
	"os"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

func init() { steps.RegisterSettings("dnssec", func() steps.Block { return new(dnssecSettings) }) }

// dnssecSettings is the section dnssec of stepwatch.yml. SettingsOf returns the dnsclient.Anchors; nil means the
// root's.
type dnssecSettings struct {
	Anchors []string `yaml:"anchors" doc:"files of DS or DNSKEY records at which validation starts; default: those of the root"`
}

// Files returns the files that Validate reads.
func (s *dnssecSettings) Files() []string { return s.Anchors }

// Validate implements Block. The anchors in the files replace the root's.
func (s *dnssecSettings) Validate(env *steps.Env) {
	var all dnsclient.Anchors
	for i, name := range s.Anchors {
		path := env.File(name)
		text, err := os.ReadFile(path)
		var read dnsclient.Anchors
		if err == nil {
			if read, err = dnsclient.ParseAnchors(string(text)); err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
		if err != nil {
			env.Refuse(fmt.Sprintf("anchors[%d]", i), "%v", err)
			continue
		}
		all = append(all, read...)
	}
	env.Target.Set(all)
}
