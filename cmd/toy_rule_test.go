package cmd

import (
	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// An alert rule as somebody adds one, for TestAdding: every result of the feature called Harbour is worth an alert.

func init() { alert.Builtin.Register("harbour", func() alert.Source { return harbour{} }) }

type harbour struct{}

// Observe implements alert.Source.
func (harbour) Observe(r *result.Result) []alert.Alert {
	if r.Identity.Feature != "Harbour" {
		return nil
	}
	return []alert.Alert{{Rule: "harbour", Identity: r.Identity, State: alert.Hard, Severity: r.State(), Since: r.Started, Summary: r.Summary()}}
}
