package cmd

import (
	"log/slog"

	"github.com/stepwatch/stepwatch/agent/jobs"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/jobreport"
)

// takeReports returns what the jobs of the configuration report to. It must be closed, and told of the jobs of a new
// configuration (Inbox.Set).
func takeReports(set *set, log *slog.Logger) *jobs.Inbox {
	inbox := jobs.New(set.target().StateDir, log)
	inbox.Set(steps.SettingsOf[jobreport.Jobs](set.target()), set.config.Secrets)
	return inbox
}
