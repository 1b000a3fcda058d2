package cmd

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
)

// nameFlag adds the flag that selects scenarios by name: result.Identity.Named says which a name means.
func nameFlag(f *pflag.FlagSet) *[]string {
	return f.StringArray("name", nil, `only scenarios of this name: "Scenario", "Feature: Scenario", or either with a row, "Scenario (port=25)"; may be repeated`)
}

// identities returns the names of a scenario: that of its results, and as its author wrote it and its feature, if they had to
// be told from others.
func identities(f *features.Feature, s *features.Scenario) []result.Identity {
	all := []result.Identity{{Feature: s.Feature, Scenario: s.Label, Example: s.Example}}
	for _, feature := range []string{s.Feature, f.Name} {
		for _, name := range []string{s.Label, s.Title, s.Name} {
			id := result.Identity{Feature: feature, Scenario: name, Example: s.Example}
			if name != "" && !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	return all
}

// selectNamed leaves only the scenarios with one of these names in what was loaded. It is an error if a name selects none;
// problems are those of files that are so not, or not wholly, read.
func selectNamed(loaded *features.Set, names []string, problems []features.Problem) error {
	if len(names) == 0 {
		return nil
	}
	found := make([]bool, len(names))
	var among []result.Identity
	narrow := func(all []*features.Feature) (rest []*features.Feature) {
		for _, f := range all {
			before := len(f.Scenarios)
			f.Scenarios = slices.DeleteFunc(f.Scenarios, func(s *features.Scenario) bool {
				ids := identities(f, s)
				among = append(among, ids[0])
				wanted := false
				for i, name := range names {
					if slices.ContainsFunc(ids, func(id result.Identity) bool { return id.Named(name) }) {
						wanted, found[i], s.Asked = true, true, true
					}
				}
				return !wanted
			})
			loaded.Partial = loaded.Partial || len(f.Scenarios) < before
			if len(f.Scenarios) > 0 {
				rest = append(rest, f)
			}
		}
		return rest
	}
	loaded.Features, loaded.Broken = narrow(loaded.Features), narrow(loaded.Broken)
	var errs []error
	for i, name := range names {
		if !found[i] {
			errs = append(errs, latest.NobodyNamed(name, among))
		}
	}
	if len(errs) > 0 && len(problems) > 0 {
		errs = append(errs, fmt.Errorf("%s, so a scenario of that name may be in what could not be read: %w", counted(len(problems), "mistake"), problems[0]))
	}
	return errors.Join(errs...)
}

// withoutManual leaves the scenarios tagged @manual out unless the arguments name them, and returns how many it left out.
func withoutManual(loaded *features.Set) (left int) {
	for _, f := range slices.Concat(loaded.Features, loaded.Broken) {
		before := len(f.Scenarios)
		f.Scenarios = slices.DeleteFunc(f.Scenarios, func(s *features.Scenario) bool { return s.Policy.Manual && !s.Asked })
		left += before - len(f.Scenarios)
	}
	// A broken file stays, without scenarios too: what is not readable of it may not be manual.
	loaded.Features = slices.DeleteFunc(loaded.Features, func(f *features.Feature) bool { return len(f.Scenarios) == 0 })
	loaded.Partial = loaded.Partial || left > 0
	return left
}
