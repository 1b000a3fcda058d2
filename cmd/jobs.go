package cmd

import (
	"log/slog"
	"net/http"

	"github.com/stepwatch/stepwatch/agent/jobs"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/jobreport"
)

// takeReports registers the address to which the jobs of the configuration report. The inbox must be closed, and told of the
// jobs of a new configuration (Inbox.Set).
func takeReports(mux *http.ServeMux, set *set, log *slog.Logger) *jobs.Inbox {
	inbox := jobs.New(set.target().StateDir, log)
	inbox.Set(steps.SettingsOf[jobreport.Jobs](set.target()), set.config.Secrets)
	mux.Handle(jobs.Prefix, inbox)
	return inbox
}
