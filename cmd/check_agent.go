package cmd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent/apiclient"
	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/features"
)

// asking has the options of "check --agent": the plugin asks a running agent for its last results and runs nothing.
type asking struct {
	url     string // of the agent
	options *apiclient.Options
	hard    bool
	self    bool
}

func agentCheckFlags(f *pflag.FlagSet) *asking {
	a := new(asking)
	f.StringVar(&a.url, "agent", "", "ask the agent at this URL for its last results and run nothing")
	f.BoolVar(&a.hard, "hard", false, "with --agent: report only hard states; a soft failure is OK until @retries are used up")
	f.BoolVar(&a.self, "self", false, "with --agent: check the agent itself, and not what it watches")
	a.options = askFlags(f)
	return a
}

// askTimeout is how long an agent may take to answer. It has the answer in memory.
const askTimeout = 10 * time.Second

// settled is how much later than its interval and its deadline a scenario's last run may have begun: its clean-up may take
// this long, and the result takes its way.
const settled = 15 * time.Second

// check asks the agent, writes the output of the plugin and returns its exit code.
func (a *asking) check(ctx context.Context, t *terminal, load *loader, paths []string, timeout time.Duration, limit int) int {
	unknown := func(err error) int {
		fmt.Fprintf(t.out, "STEPWATCH UNKNOWN - %s\n", printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
		return int(result.Unknown)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a.options.URL, a.options.Timeout = a.url, min(timeout, askTimeout)
	client, err := apiclient.New(*a.options)
	if err != nil {
		return unknown(err)
	}
	defer client.Close()
	if a.self {
		return a.checkSelf(ctx, t, client)
	}
	wanted, err := a.selection(load, paths)
	if err != nil {
		return unknown(err)
	}
	var answer latest.Answer
	if err := client.Get(ctx, "/api/results", wanted.query, &answer); err != nil {
		return unknown(err)
	}
	results, judge := wanted.results(client.URL(), &answer, a.hard)
	if len(results) == 0 {
		return unknown(fmt.Errorf("the agent at %s has loaded no scenario: name features after \"stepwatch agent\", or set features in its stepwatch.yml", client.URL()))
	}
	return exporters.Nagios(t.out, results, exporters.NagiosOptions{One: asksForOne(paths, wanted.identities()), Limit: limit, Judge: judge})
}

// wanted is what the agent is asked for.
type wanted struct {
	query     url.Values
	scenarios []*features.Scenario // of paths; nil without
	unread    []features.Problem   // of paths
}

// idsMax is how many ids a query may have. With more, everything is asked for.
const idsMax = 20

// selection returns what to ask for. Without paths the agent selects by name and tags. With paths, the features are read here, and
// their scenarios are asked for by their names: the agent may have been started in another directory.
func (a *asking) selection(load *loader, paths []string) (*wanted, error) {
	w := &wanted{query: make(url.Values)}
	if len(paths) == 0 {
		if *load.tags != "" {
			w.query.Set("tags", *load.tags)
		}
		w.query["name"] = *load.names
		return w, nil
	}
	loaded, err := features.Load(paths, features.Options{Tags: *load.tags})
	var problems *features.Error
	if errors.As(err, &problems) {
		w.unread = problems.Problems
	} else if err != nil {
		return nil, err
	}
	if err := selectNamed(loaded, *load.names, w.unread); err != nil {
		return nil, err
	}
	manual := withoutManual(loaded)
	w.scenarios = loaded.Scenarios()
	for _, f := range loaded.Broken {
		w.scenarios = append(w.scenarios, f.Scenarios...)
	}
	switch {
	case len(w.scenarios) == 0 && len(w.unread) > 0:
		return nil, err
	case len(w.scenarios) == 0 && manual > 0:
		return nil, fmt.Errorf("%s tagged @manual is all there is, which the agent does not run: run it with \"stepwatch check\"", counted(manual, "scenario"))
	case len(w.scenarios) == 0:
		return nil, fmt.Errorf("%s only defines sentences (@step): name a feature that uses them", strings.Join(paths, ", "))
	}
	if len(w.scenarios) <= idsMax {
		for _, s := range w.scenarios {
			w.query.Add("id", identity(s).ID())
		}
	}
	return w, nil
}

// identity returns the name of the results of a scenario.
func identity(s *features.Scenario) result.Identity {
	return result.Identity{Feature: s.Feature, Scenario: s.Label, Example: s.Example, File: s.Path, Line: s.Line}
}

func (w *wanted) identities() []result.Identity {
	all := make([]result.Identity, len(w.scenarios))
	for i, s := range w.scenarios {
		all[i] = identity(s)
	}
	return all
}

// results returns the results of what was wanted and what they mean now. What the agent does not know is UNKNOWN, each of it.
func (w *wanted) results(agent string, answer *latest.Answer, hard bool) (results []*result.Result, judge func(*result.Result) exporters.Judgement) {
	meaning := make(map[*result.Result]exporters.Judgement)
	add := func(r *result.Result, j exporters.Judgement) {
		results = append(results, r)
		meaning[r] = j
	}
	missing := func(id result.Identity, format string, args ...any) {
		add(&result.Result{Identity: id, Status: result.Skipped, Reason: result.ReasonNotRun, Blame: result.BlameMonitor},
			exporters.Judgement{State: result.Unknown, Summary: fmt.Sprintf(format, args...), NoNumbers: true})
	}
	if w.scenarios == nil {
		for i := range answer.Scenarios {
			add(judged(&answer.Scenarios[i], answer.Now, hard))
		}
	}
	known := make(map[string]*latest.Scenario, len(answer.Scenarios))
	for i := range answer.Scenarios {
		known[answer.Scenarios[i].ID] = &answer.Scenarios[i]
	}
	for _, s := range w.scenarios {
		id := identity(s)
		if is := known[id.ID()]; is != nil {
			add(judged(is, answer.Now, hard))
			continue
		}
		if s.Policy.Manual {
			missing(id, "the agent does not run it, because it is tagged @manual: run it with \"stepwatch check\"")
			continue
		}
		missing(id, "the agent at %s has no %q on a schedule: is %s among its features, with the same names? Reload the agent after a change", agent, id.String(), s.Path)
	}
	for _, p := range w.unread {
		missing(result.Identity{Feature: p.Path, Scenario: wholeFile, File: p.Path, Line: max(1, p.Line)}, "the file has a mistake: %s", p.Error())
	}
	return results, func(r *result.Result) exporters.Judgement { return meaning[r] }
}

// judged returns the last result of a scenario and what it means at a time.
func judged(s *latest.Scenario, now time.Time, hard bool) (*result.Result, exporters.Judgement) {
	r := &result.Result{Identity: s.Identity, Status: result.Skipped, Reason: s.LastReason, Blame: s.Blame}
	j := exporters.Judgement{State: s.LastState, Summary: s.LastSummary, NoNumbers: true}
	deadline := time.Duration(s.Interval) // at most, if it has not run since the agent started
	var remarks []string
	if s.Result != nil {
		r = s.Result.Of(s.Identity)
		j = exporters.Judgement{State: r.State(), NoNumbers: r.Stale}
		deadline = r.Timeout
	} else if s.Ran() {
		remarks = append(remarks, "from before the agent's restart")
	}
	age, allowed := now.Sub(s.LastRun), max(time.Duration(s.Interval), time.Duration(s.Backoff))+deadline+settled
	switch {
	case !s.Ran() && s.Interval == 0:
		r, j = without(r), exporters.Judgement{State: result.Unknown, NoNumbers: true,
			Summary: "the agent never runs it: it is tagged @manual or has no interval; run it with \"stepwatch check\""}
		hard = false
	case !s.Ran() && !r.Stale:
		j = exporters.Judgement{State: result.Unknown, Summary: "it has not run yet", NoNumbers: true}
		if !s.Next.IsZero() {
			j.Summary += fmt.Sprintf(": its first run is due in %s", ago(s.Next.Sub(now)))
		}
		r, hard = without(r), false
	case r.Stale: // it says so itself
	case age > allowed:
		summary := either(j.Summary, r.Summary())
		r, j = without(r), exporters.Judgement{State: result.Unknown, NoNumbers: true,
			Summary: fmt.Sprintf("the last run began %s ago, although it is due every %s: the agent hangs, or has no place for it; the last result was %s: %s",
				ago(age), max(time.Duration(s.Interval), time.Duration(s.Backoff)), s.LastState, summary)}
		hard = false
	default:
		remarks = append(remarks, fmt.Sprintf("%s ago", ago(age)))
	}
	attempt := fmt.Sprintf("attempt %d of %d", s.Attempt, s.Retries+1)
	switch {
	case !s.Hard && hard && j.State != result.OK:
		remarks = append(remarks, "soft "+j.State.String()+", "+attempt)
		j.State = result.OK
	case !s.Hard && j.State != result.OK && s.Ran():
		remarks = append(remarks, "soft, "+attempt)
	case hard && s.State != j.State:
		remarks = append(remarks, fmt.Sprintf("the alert is still %s, the last run was %s", s.State, j.State))
		j.State = s.State
	}
	if s.Flapping {
		remarks = append(remarks, fmt.Sprintf("flapping, %.0f %% of the last states differ", s.Change))
	}
	if s.Explained != "" {
		remarks = append(remarks, "explained by "+s.Explained)
	}
	if s.Withheld != "" {
		remarks = append(remarks, "not told: "+s.Withheld)
	}
	if by := s.Acknowledged; by != nil {
		remarks = append(remarks, strings.TrimSuffix("acknowledged by "+by.Author+": "+by.Comment, ": "))
	}
	j.Remark = strings.Join(remarks, "; ")
	return r, j
}

// without returns a result of nothing: what the last run found says nothing about now.
func without(r *result.Result) *result.Result {
	return &result.Result{Identity: r.Identity, Status: result.Skipped, Reason: result.ReasonNotRun, Blame: result.BlameMonitor}
}

// ago rounds a duration for a message.
func ago(d time.Duration) time.Duration { return max(0, d).Round(time.Second) }

// either returns the first of two texts that is not empty.
func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// agentFlagSet returns which of the flags about an agent is set, or "".
func agentFlagSet(f *pflag.FlagSet) string {
	for _, name := range []string{"agent", "hard", "self", "user", "password-file", "netrc", "ca", "cert", "key"} {
		if f.Changed(name) {
			return name
		}
	}
	return ""
}

// wanted reports whether an agent is to be asked.
func (a *asking) wanted(f *pflag.FlagSet) bool { return agentFlagSet(f) != "" }

// misuse says which flags do not fit together, or "".
func (a *asking) misuse(f *pflag.FlagSet) string {
	if a.url == "" {
		return fmt.Sprintf("--%s is about a running agent: name it with --agent URL, such as %s", agentFlagSet(f), apiclient.DefaultURL)
	}
	for _, name := range []string{"compat", "evidence", "base", "strict"} {
		if f.Changed(name) {
			return "--" + name + " has no effect with --agent, which runs nothing: leave it out"
		}
	}
	if a.self && (f.NArg() > 0 || f.Changed("name") || f.Changed("tags") || a.hard) {
		return "--self checks the agent and no scenario: leave out files, --name, --tags and --hard"
	}
	return ""
}
