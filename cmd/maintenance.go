package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/features"
)

// openSilences opens the silences in the state directory, for an agent, and adds the maintenance windows of the configuration.
// If that is not possible, or not mine, they are only in memory, and the log says so. Whoever calls it closes the Book after the
// agent.
func openSilences(ctx context.Context, set *set, mine bool, log *slog.Logger) (*silence.Book, error) {
	const lost = "silences are in memory only: they end when the agent restarts"
	var store silence.Store
	if mine {
		opened, err := silence.NewStore(ctx, set.target().StateDir, log)
		switch {
		case err == nil:
			store = opened
		case unsafeState(err) != nil:
			return nil, unsafeState(err)
		default:
			log.Error(lost, "error", err)
		}
	} else {
		log.Warn(lost)
	}
	book, err := silence.Open(ctx, store, log)
	if err != nil {
		log.Error("some silences could not be read: their alerts are told", "error", err)
	}
	book.SetWindows(set.config.Maintenance)
	return book, nil
}

// ruleMaintenance is for maintenance windows that are probably not as they are meant.
const ruleMaintenance features.Rule = "maintenance"

// subject returns a scenario as silences see it.
func subject(plan *agent.Plan) silence.Subject {
	s := silence.Subject{Identity: plan.Identity}
	for _, tag := range plan.Scenario.Tags {
		s.Tags = append(s.Tags, tag.String())
	}
	return s
}

// maintenance lists what is odd about the maintenance windows.
func (s *set) maintenance(now time.Time) (all []finding) {
	if len(s.config.Maintenance) == 0 {
		return nil
	}
	var subjects []silence.Subject
	for _, plan := range slices.Concat(s.plans, s.broken) {
		subjects = append(subjects, subject(plan))
	}
	_, ahead := now.Local().Zone()
	for _, w := range s.config.Maintenance {
		add := func(format string, args ...any) {
			all = append(all, finding{features.Problem{Path: s.config.Path, Line: w.Line, Column: 1, Rule: ruleMaintenance,
				Message: fmt.Sprintf("the maintenance window %q ", w.Name) + fmt.Sprintf(format, args...)}, note})
		}
		if !s.partial && len(s.problems) == 0 && !slices.ContainsFunc(subjects, w.Selects) {
			add("selects none of the scenarios read: compare its scenarios with their names, features and tags")
		}
		if _, _, ok := w.Next(now); !ok {
			add("is over and does not occur again: remove it")
		} else if w.AssumesUTC() && ahead != 0 {
			add("is in UTC, and the clock of this machine is not: set location if that is not meant, or to UTC if it is")
		}
	}
	return all
}
