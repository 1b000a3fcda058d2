package cmd

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
)

// TestExecutorsAgreeOnTheDemo runs the demo's features against its servers through godog and directly, sound and broken.
func TestExecutorsAgreeOnTheDemo(t *testing.T) {
	for _, broken := range []string{"", "mail", "web"} {
		t.Run(broken, func(t *testing.T) {
			d, err := startDemo(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			if broken != "" {
				if err := breakages[broken].do(d.mail, d.web); err != nil {
					t.Fatal(err)
				}
			}
			agree(t, d.set)
		})
	}
}

// TestExecutorsAgreeOnTheShippedFeatures does so with every shipped feature, without the accounts and hosts that it names.
// The tests with the real servers run these features where they pass.
func TestExecutorsAgreeOnTheShippedFeatures(t *testing.T) {
	entries, err := fs.Glob(features.Shipped, "*")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range entries {
		if info, err := fs.Stat(features.Shipped, e); err == nil && info.IsDir() {
			paths = append(paths, e)
		}
	}
	loaded, err := features.Load(paths, features.Options{FS: features.Shipped})
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Target.Resolver = "127.0.0.1:1" // nothing leaves this machine
	s, err := newSet(c, loaded, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if len(s.plans) < 50 {
		t.Errorf("%d plans in %v", len(s.plans), paths)
	}
	agree(t, s)
}

// agree runs each plan both ways and compares what is no time and no id.
func agree(t *testing.T, s *set) {
	t.Helper()
	for _, plan := range s.plans {
		if plan.Scenario.Policy.Browser {
			continue // what a browser shows is no different, and it takes seconds to start
		}
		through := essence(s.runner().Run(t.Context(), plan, agent.Occasion{}))
		directly := essence(s.agentRunner().Run(t.Context(), plan, agent.Occasion{}))
		if through != directly {
			t.Errorf("%s through godog:\n%s\ndirectly:\n%s", plan.Identity, through, directly)
		}
	}
}

// essence returns the statuses, reasons, blame, phases, names of measurements and evidence of a result. Texts have ids and
// times of the run in them.
func essence(r *result.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s\n", r.State(), r.Status, r.Reason, r.Blame)
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%s %q ran=%t %s %s", s.Status, s.Text, s.Ran, s.Reason, s.Blame)
		for _, p := range s.Phases {
			fmt.Fprintf(&b, " phase:%s", p.Name)
		}
		for _, m := range s.Measurements {
			fmt.Fprintf(&b, " measured:%s", m.Name)
		}
		for _, e := range s.Evidence {
			fmt.Fprintf(&b, " evidence:%s", e.Name)
		}
		b.WriteString("\n")
	}
	return b.String()
}
