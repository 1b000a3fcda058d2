package cmd

import (
	"fmt"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/features"
)

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
