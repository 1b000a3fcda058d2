package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/stepwatch/stepwatch/agent/apiclient"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/steps"
)

func init() {
	registerVerb(verb{name: "silence", args: "[list|end]", summary: "tell a running agent not to tell some alerts for a time", place: 42, run: silenceVerb})
}

// remote has the flags of the verbs that change something in a running agent.
type remote struct {
	options *apiclient.Options
	author  string
	json    bool
}

func remoteFlags(f *pflag.FlagSet) *remote {
	c := &remote{options: askFlags(f)}
	f.StringVar(&c.options.URL, "agent", apiclient.DefaultURL, "the URL of the agent")
	f.StringVar(&c.author, "author", loginName(), "who you are")
	f.BoolVar(&c.json, "json", false, "write the agent's answer as JSON")
	return c
}

// loginName returns the name of the user who runs this process, or "".
func loginName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}

// write writes what an agent answered as JSON.
func (c *remote) write(t *terminal, answer any) int {
	text, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		return notRun(t, fmt.Errorf("write the answer: %w", err))
	}
	fmt.Fprintf(t.out, "%s\n", text)
	return exitPassed
}

// silenceVerb makes, lists and ends silences of a running agent.
func silenceVerb(ctx context.Context, t *terminal, args []string) int {
	f := flagSet("silence")
	var r silence.Request
	f.StringVar(&r.Reason, "reason", "", "why the alerts are not wanted")
	length := f.String("for", "", "how long: 30m, 2h, 3d")
	until := f.String("until", "", `or until when: 18:00, "2026-12-24 18:00" or 2026-12-24T18:00:00+01:00`)
	start := f.String("start", "", "when it begins, as for --until (default: now)")
	f.BoolVar(&r.Long, "long", false, "more than seven days is meant")
	m := &r.Matchers
	f.BoolVar(&m.All, "all", false, "every scenario")
	for _, flag := range []struct {
		into        *silence.Values
		name, usage string
	}{
		{&m.Name, "name", `scenarios of this name: "Scenario" or "Feature: Scenario"; * stands for any characters; may be repeated, as the following ones`},
		{&m.Feature, "feature", "scenarios of the feature with this name"},
		{&m.Owner, "owner", "scenarios of this owner (@owner)"},
		{&m.Severity, "severity", "scenarios of this severity (@severity)"},
		{&m.Location, "location", "scenarios of this location (@location)"},
		{&m.File, "file", "scenarios in this feature file, or in files that end so: mail/*.feature"},
	} {
		f.StringArrayVar((*[]string)(flag.into), flag.name, nil, flag.usage)
	}
	f.StringVarP(&m.Tags, "tags", "t", "", `scenarios with these tags: "@mail and not @slow"`)
	ended := f.Bool("ended", false, "list: also those that have ended")
	c := remoteFlags(f)
	if code, done := parse(t, f, "[list|end ID…]", args, exitNotRun); done {
		return code
	}
	action, ids := f.Arg(0), f.Args()
	if len(ids) > 0 {
		ids = ids[1:]
	}
	if err := misplaced(f, action, ids); err != nil {
		return notRun(t, err)
	}
	if action == "" {
		if err := readTimes(&r, *length, *until, *start, time.Now()); err != nil {
			return notRun(t, err)
		}
		if r.Reason == "" {
			return notRun(t, errors.New(`say why, for those who wonder about the silence: --reason "the relay is being replaced"`))
		}
	}
	agent, err := apiclient.New(*c.options)
	if err != nil {
		return notRun(t, err)
	}
	defer agent.Close()
	switch action {
	case "list":
		return c.list(ctx, t, agent, *ended)
	case "end":
		return c.end(ctx, t, agent, ids)
	}
	r.Author = c.author
	return c.silence(ctx, t, agent, r)
}

// misplaced returns the mistake in the arguments of the verb, or nil.
func misplaced(f *pflag.FlagSet, action string, ids []string) error {
	allowed := map[string][]string{
		"list": {"ended"},
		"end":  {"author"},
		"":     {"author", "reason", "for", "until", "start", "long", "all", "name", "feature", "owner", "severity", "location", "file", "tags"},
	}
	own, known := allowed[action]
	switch {
	case !known:
		return fmt.Errorf(`%q is neither "list" nor "end": to silence a scenario, write --name %q --for 2h --reason "…"`, action, action)
	case action == "list" && len(ids) > 0:
		return fmt.Errorf("list takes no arguments, got %q", ids)
	case action == "end" && len(ids) == 0:
		return errors.New(`end needs the id of a silence: list them with "stepwatch silence list"`)
	}
	var wrong error
	f.Visit(func(flag *pflag.Flag) {
		ofAnother := slices.Contains(allowed["list"], flag.Name) || slices.Contains(allowed["end"], flag.Name) || slices.Contains(allowed[""], flag.Name)
		if ofAnother && !slices.Contains(own, flag.Name) && wrong == nil {
			wrong = fmt.Errorf("--%s has no meaning for %q: leave it out", flag.Name, strings.TrimSpace("stepwatch silence "+action))
		}
	})
	return wrong
}

// readTimes fills in the times of a request.
func readTimes(r *silence.Request, length, until, start string, now time.Time) error {
	switch {
	case length == "" && until == "":
		return errors.New("say for how long (--for 2h) or until when (--until 18:00)")
	case length != "" && until != "":
		return errors.New("--for and --until both say when the silence ends: use one of them")
	case length != "":
		d, err := steps.ParseDuration(length)
		if err != nil || d <= 0 {
			return fmt.Errorf("--for %q is not a duration above zero: write it as 30m, 2h or 3d", length)
		}
		r.Duration = d.Seconds()
	}
	for _, given := range []struct {
		flag, text string
		into       *time.Time
	}{{"until", until, &r.End}, {"start", start, &r.Start}} {
		if given.text == "" {
			continue
		}
		at, err := readTime(given.text, now)
		if err != nil {
			return fmt.Errorf("--%s %w", given.flag, err)
		}
		*given.into = at
	}
	return nil
}

// readTime reads a time by the clock of this machine. A time of day is the next one.
func readTime(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if t, err := time.Parse("15:04", text); err == nil {
		year, month, day := now.Date()
		at := time.Date(year, month, day, t.Hour(), t.Minute(), 0, 0, now.Location())
		if !at.After(now) {
			at = time.Date(year, month, day+1, t.Hour(), t.Minute(), 0, 0, now.Location())
		}
		return at, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf(`%q is not a time: write it as 18:00, "2026-12-24 18:00" or 2026-12-24T18:00:00+01:00`, text)
}

// localTime returns a time for people, by the clock of this machine.
func localTime(t time.Time) string { return t.Local().Format("Mon 2006-01-02 15:04 MST") }

// silence makes a silence.
func (c *remote) silence(ctx context.Context, t *terminal, agent *apiclient.Client, r silence.Request) int {
	var added silence.Added
	if err := agent.Post(ctx, "/api/silences", r, &added); err != nil {
		return notRun(t, err)
	}
	if c.json {
		return c.write(t, added)
	}
	tellWarnings(t, added.Warnings)
	begin := ""
	if added.State == silence.Pending {
		begin = " from " + localTime(added.Start)
	}
	fmt.Fprintf(t.out, "silence %s: no alerts of %s%s until %s\n", printable(added.ID), counted(added.Scenarios, "scenario"), begin, localTime(added.End))
	return exitPassed
}

// tellWarnings writes what the person may not have meant.
func tellWarnings(t *terminal, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintln(t.err, "stepwatch: warning:", printable(w))
	}
}

// list lists silences.
func (c *remote) list(ctx context.Context, t *terminal, agent *apiclient.Client, ended bool) int {
	query := url.Values{"state": {string(silence.Active), string(silence.Pending)}}
	if ended {
		query.Del("state")
	}
	all, err := allOf[silence.Listed](ctx, agent, "/api/silences", "silences", query)
	if err != nil {
		return notRun(t, err)
	}
	if c.json {
		return c.write(t, map[string]any{"silences": all})
	}
	if len(all) == 0 {
		fmt.Fprintf(t.out, "%s has no silences%s\n", agent.URL(), map[bool]string{false: " that are active or pending; --ended lists the others"}[ended])
		return exitPassed
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATE\tTIME\tAUTHOR\tSCENARIOS\tREASON")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(s.ID), printable(string(s.State)), timesOf(s), printable(madeBy(s)), printable(s.Matchers.String()), printable(s.Reason))
	}
	if err := w.Flush(); err != nil {
		return notRun(t, err)
	}
	return exitPassed
}

// madeBy returns who made a silence; the login too, if it has another name.
func madeBy(s silence.Listed) string {
	if s.Login != "" && s.Login != s.Author {
		return s.Author + " (login " + s.Login + ")"
	}
	return s.Author
}

// timesOf returns the times of a silence for people.
func timesOf(s silence.Listed) string {
	switch {
	case s.State == silence.Pending:
		return "from " + localTime(s.Start) + " until " + localTime(s.End)
	case s.EndedBy != "":
		return "ended " + localTime(s.EndedAt) + " by " + printable(s.EndedBy)
	case s.State == silence.Ended:
		return "ended " + localTime(s.End)
	default:
		return "until " + localTime(s.End)
	}
}

// allOf reads a list of the API, page after page. name is the field with the elements.
func allOf[T any](ctx context.Context, agent *apiclient.Client, path, name string, query url.Values) ([]T, error) {
	all := []T{}
	query = url.Values(http.Header(query).Clone())
	for {
		var page map[string]json.RawMessage
		if err := agent.Get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		var some []T
		next := ""
		err := json.Unmarshal(page[name], &some)
		if err == nil && page["next"] != nil {
			err = json.Unmarshal(page["next"], &next)
		}
		if err != nil {
			return nil, fmt.Errorf("read the answer of %s to GET %s: %w", agent.URL(), path, err)
		}
		all = append(all, some...)
		if next == "" || len(some) == 0 {
			return all, nil
		}
		if query == nil {
			query = make(url.Values)
		}
		query.Set("cursor", next)
	}
}

// end ends silences before their time.
func (c *remote) end(ctx context.Context, t *terminal, agent *apiclient.Client, ids []string) int {
	var all []silence.Added
	code := exitPassed
	for _, id := range ids {
		var ended silence.Added
		err := agent.Do(ctx, http.MethodDelete, "/api/silences/"+url.PathEscape(id), url.Values{"author": {c.author}}, nil, &ended)
		if err != nil {
			code = notRun(t, fmt.Errorf("end the silence %s: %w", id, err))
			continue
		}
		all = append(all, ended)
		if !c.json {
			tellWarnings(t, ended.Warnings)
			fmt.Fprintf(t.out, "silence %s of %s has ended: %s\n", printable(ended.ID), printable(ended.Author), printable(ended.Reason))
		}
	}
	if c.json && len(all) > 0 {
		if failed := c.write(t, map[string]any{"silences": all}); failed != exitPassed {
			return failed
		}
	}
	return code
}
