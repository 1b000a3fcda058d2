package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/agent/history"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	registerVerb(verb{name: "history", args: "[PATH[:LINE]…]", summary: "show what happened, from the history that the agent keeps", place: 45, run: historyVerb})
}

// historyOptions has the options of "history".
type historyOptions struct {
	config, since, until, at string
	names, paths             []string
	failed, runs, json       bool
	limit                    int
}

func historyVerb(ctx context.Context, t *terminal, args []string) int {
	const arguments = "[PATH[:LINE]…]"
	f := flagSet("history")
	var o historyOptions
	f.StringVarP(&o.config, "config", "c", "", "the configuration (default: stepwatch.yml, if it exists); it says where the state directory is")
	f.StringArrayVar(&o.names, "name", nil, `only scenarios of this name: "Scenario", "Feature: Scenario", or either with a row, "Scenario (port=25)"; may be repeated`)
	f.StringVar(&o.at, "at", "", `what was failing then, and ten minutes before and after: "03:12", "2026-11-30 03:12"`)
	f.StringVar(&o.since, "since", "24h", `the beginning: a time as for --at, a day ("2026-11-30"), or a duration before now ("90m", "7d")`)
	f.StringVar(&o.until, "until", "", "the end, as for --since (default: now)")
	f.BoolVar(&o.failed, "failed", false, "only failures, and the scenarios that had any")
	f.BoolVar(&o.runs, "runs", false, "list single runs, the newest last")
	f.IntVar(&o.limit, "limit", 200, "with --runs: at most so many, the newest ones")
	f.BoolVar(&o.json, "json", false, "write JSON")
	if code, done := parse(t, f, arguments, args, exitNotRun); done {
		return code
	}
	o.paths = f.Args()
	if o.at != "" && (f.Changed("since") || f.Changed("until")) {
		return notRun(t, errors.New("--at shows the time around a moment: leave out --since and --until"))
	}
	if err := o.show(ctx, t, time.Now()); err != nil {
		return notRun(t, err)
	}
	return exitPassed
}

// around is how much before and after a moment --at shows.
const around = 10 * time.Minute

// show reads the history and writes what was asked for.
func (o *historyOptions) show(ctx context.Context, t *terminal, now time.Time) error {
	c, err := config.Load(o.config)
	if err != nil {
		return err
	}
	var moment, since, until time.Time
	if o.at != "" {
		if moment, err = pastTime("--at", o.at, now); err != nil {
			return err
		}
		since, until = moment.Add(-around), moment.Add(around)
	} else {
		if since, err = pastTime("--since", o.since, now); err != nil {
			return err
		}
		if until = now; o.until != "" {
			if until, err = pastTime("--until", o.until, now); err != nil {
				return err
			}
		}
	}
	if !since.Before(until) {
		return fmt.Errorf("--since %s is not before --until: %s is not before %s", o.since, since.Format(time.DateTime), until.Format(time.DateTime))
	}
	reader, err := history.OpenReader(ctx, c.Target.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return noHistory(c)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("read the history: %w: run this as the user of the agent", err)
	}
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	defer func() { _ = reader.CloseReader() }() // only read
	scenarios, err := reader.Scenarios(ctx)
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	selected, err := o.selected(scenarios)
	if err != nil {
		return err
	}
	var ids []string // none for all
	if len(o.names)+len(o.paths) > 0 {
		for _, s := range selected {
			ids = append(ids, s.ID)
		}
	}
	p := &historyPage{out: t.out, colour: t.colour, failed: o.failed, scenarios: selected, moment: moment, now: now}
	if o.runs {
		runs, more, err := reader.Runs(ctx, history.Query{Scenarios: ids, Since: since, Until: until, Failed: o.failed, Limit: o.limit})
		if err != nil {
			return fmt.Errorf("read the history: %w", err)
		}
		if o.json {
			return writeJSON(t.out, struct {
				Runs []history.Run `json:"runs"`
				More bool          `json:"more"`
			}{append([]history.Run{}, runs...), more})
		}
		p.runs(runs, more, since, until)
		return nil
	}
	account, err := reader.Account(ctx, since, until, ids)
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	if o.json {
		return writeJSON(t.out, account)
	}
	p.account(&account)
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// noHistory says where a history was looked for.
func noHistory(c *config.Config) error {
	path := filepath.Join(c.Target.StateDir, history.FileName)
	if c.History == nil {
		return fmt.Errorf("there is no history at %s, and history: off in %s keeps none: remove that, and start \"stepwatch agent\"", path, c.Path)
	}
	where := "--config names another configuration"
	if c.Path != "" {
		where = fmt.Sprintf("state in %s, or the environment, says where it is", c.Path)
	}
	return fmt.Errorf("there is no history at %s: \"stepwatch agent\" writes it while it runs; %s", path, where)
}

// selected returns the scenarios that the paths and names select: all if there are none.
func (o *historyOptions) selected(all []history.Scenario) ([]history.Scenario, error) {
	kept := all
	for _, part := range []struct {
		wanted []string
		is     func(history.Scenario, string) bool
		what   string
	}{
		{o.paths, func(s history.Scenario, path string) bool { return writtenAt(s.Identity, path) }, "no scenario of the history is in %s: "},
		{o.names, func(s history.Scenario, name string) bool { return s.Named(name) }, "no scenario of the history is called %q: "},
	} {
		if len(part.wanted) == 0 {
			continue
		}
		var some []history.Scenario
		for _, wanted := range part.wanted {
			found := false
			for _, s := range kept {
				if part.is(s, wanted) {
					some, found = append(some, s), true
				}
			}
			if !found {
				return nil, fmt.Errorf(part.what+"%s", wanted, knownScenarios(all))
			}
		}
		kept = some
	}
	slices.SortFunc(kept, func(a, b history.Scenario) int {
		return cmp.Or(cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Example, b.Example))
	})
	return slices.CompactFunc(kept, func(a, b history.Scenario) bool { return a.ID == b.ID }), nil
}

// knownScenarios lists a few scenarios with their places.
func knownScenarios(all []history.Scenario) string {
	if len(all) == 0 {
		return "it has none yet"
	}
	const few = 3
	var list []string
	for _, s := range all[:min(few, len(all))] {
		list = append(list, fmt.Sprintf("%q (%s:%d)", s.Scenario, s.File, s.Line))
	}
	if more := len(all) - few; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return "it has " + strings.Join(list, ", ")
}

// writtenAt reports whether a scenario is in a file or directory, or at FILE:LINE. The agent may have been started elsewhere, so
// a path may also be the end of the scenario's, or the other way round.
func writtenAt(id result.Identity, path string) bool {
	if at := strings.LastIndexByte(path, ':'); at > 0 {
		if line, err := strconv.Atoi(path[at+1:]); err == nil {
			return line == id.Line && writtenAt(id, path[:at])
		}
	}
	file, path := filepath.ToSlash(filepath.Clean(id.File)), filepath.ToSlash(filepath.Clean(path))
	if path == "." {
		return true
	}
	return file == path || strings.HasSuffix(file, "/"+path) || strings.HasSuffix(path, "/"+file) ||
		strings.HasPrefix(file, path+"/") || strings.Contains(file, "/"+path+"/")
}

// pastTime reads a time before now: a time of today or yesterday, a date with or without a time, or a duration before now.
func pastTime(flag, text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "now" {
		return now, nil
	}
	if d, err := steps.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			then := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, now.Location())
			if then.After(now) {
				then = time.Date(now.Year(), now.Month(), now.Day()-1, at.Hour(), at.Minute(), at.Second(), 0, now.Location())
			}
			return then, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q is not a time: write it as 03:12 (the last time it was that late), \"2026-11-30 03:12\", 2026-11-30, or 90m and 7d before now", flag, text)
}

// historyPage writes the history for people.
type historyPage struct {
	out       io.Writer
	colour    bool
	failed    bool
	scenarios []history.Scenario
	moment    time.Time // of --at; zero without
	now       time.Time
}

func (p *historyPage) paint(colour, text string) string {
	return (&pretty{colour: p.colour}).paint(colour, text)
}

func (p *historyPage) state(s result.State) string {
	return p.paint(map[result.State]string{result.OK: green, result.Warning: yellow, result.Critical: red, result.Unknown: yellow}[s], fmt.Sprintf("%-8s", s))
}

// full writes a time with its day and zone.
func full(at time.Time) string { return at.Local().Format("Mon 2 Jan 2006 15:04:05 MST") }

// clock writes the time of day.
func clock(at time.Time) string { return at.Local().Format("15:04:05") }

// moments are the lines of an account in the order of time.
type moments struct {
	at    time.Time
	lines []string
}

// account writes what happened.
func (p *historyPage) account(a *history.Account) {
	var sum history.Counts
	for _, c := range a.Counts {
		sum.OK, sum.Warning, sum.Critical, sum.Unknown = sum.OK+c.OK, sum.Warning+c.Warning, sum.Critical+c.Critical, sum.Unknown+c.Unknown
	}
	fmt.Fprintf(p.out, "%s to %s\n", p.paint(bold, full(a.Since)), p.paint(bold, full(a.Until)))
	within := ""
	if c := a.Counted; a.Since.Sub(c.Since) > time.Second || c.Until.Sub(a.Until) > time.Second {
		within = fmt.Sprintf(" (runs from %s to %s)", full(c.Since), full(c.Until))
	}
	fmt.Fprintf(p.out, "%s, %s, %d not OK%s\n", counted(len(p.scenarios), "scenario"), counted(int(sum.Runs()), "run"), sum.Runs()-sum.OK, p.paint(grey, within)) //nolint:gosec // a count
	if !p.moment.IsZero() {
		p.atMoment(a, sum)
	}
	var all []moments
	for i := range a.Spells {
		s := &a.Spells[i]
		all = append(all, moments{s.Began, p.spell(s)})
	}
	if !p.failed {
		for i := range a.Events {
			all = append(all, moments{a.Events[i].At, p.event(&a.Events[i])})
		}
	}
	all = append(all, p.gaps(a)...)
	slices.SortStableFunc(all, func(a, b moments) int { return a.at.Compare(b.at) })
	day := ""
	for _, m := range all {
		if heading := m.at.Local().Format("Mon 2 Jan 2006"); heading != day {
			fmt.Fprintf(p.out, "\n%s\n", p.paint(bold, heading))
			day = heading
		}
		for _, line := range m.lines {
			fmt.Fprintln(p.out, "  "+line)
		}
	}
	if a.More {
		fmt.Fprintf(p.out, "\nThere are more: choose a shorter time, or one scenario with --name.\n")
	}
	p.table(a)
}

// atMoment says what was failing at the moment of --at.
func (p *historyPage) atMoment(a *history.Account, sum history.Counts) {
	failing := 0
	for i := range a.Spells {
		if p.during(&a.Spells[i]) {
			failing++
		}
	}
	at := full(p.moment)
	switch {
	case failing > 0:
		fmt.Fprintf(p.out, "\n%s\n", p.paint(red, fmt.Sprintf("At %s, %s failing (marked with >).", at, was(failing, len(p.scenarios)))))
	case sum.Runs() == 0:
		fmt.Fprintf(p.out, "\n%s\n", p.paint(yellow, fmt.Sprintf("Nothing is known about %s: no run of then is in the history.", at)))
	case !agentRan(a.Sessions, p.moment):
		fmt.Fprintf(p.out, "\n%s\n", p.paint(yellow, fmt.Sprintf("Nothing is known about %s: no agent ran then.", at)))
	default:
		fmt.Fprintf(p.out, "\n%s\n", p.paint(green, fmt.Sprintf("At %s, nothing was failing.", at)))
	}
}

func was(n, of int) string {
	if n == 1 {
		return fmt.Sprintf("1 of %s was", counted(of, "scenario"))
	}
	return fmt.Sprintf("%d of %s were", n, counted(of, "scenario"))
}

// during reports whether a time of failure contains the moment of --at.
func (p *historyPage) during(s *history.Spell) bool {
	return !s.Began.After(p.moment) && (s.Lasts() || s.Ended.After(p.moment))
}

// spell writes a time of failure.
func (p *historyPage) spell(s *history.Spell) []string {
	mark := " "
	if !p.moment.IsZero() && p.during(s) {
		mark = ">"
	}
	var lasted string
	switch {
	case s.Lasts() && p.now.Sub(s.Last) > 10*time.Minute:
		lasted = "last seen " + full(s.Last)
	case s.Lasts():
		lasted = "still so after " + wording.Span(p.now.Sub(s.Began))
	default:
		lasted = fmt.Sprintf("until %s, %s", clock(s.Ended), wording.Span(s.Ended.Sub(s.Began)))
		if s.Ended.Local().YearDay() != s.Began.Local().YearDay() {
			lasted = fmt.Sprintf("until %s, %s", full(s.Ended), wording.Span(s.Ended.Sub(s.Began)))
		}
	}
	if !s.Stale {
		lasted += ", " + counted(int(s.Runs), "run") //nolint:gosec // a count
	}
	why := string(s.Reason)
	if s.Blame != "" && string(s.Blame) != why {
		why += ", " + string(s.Blame)
	}
	lines := []string{fmt.Sprintf("%s %s %s %s  %s", mark, clock(s.Began), p.state(s.State), p.paint(bold, printable(s.Identity.String())), p.paint(grey, lasted))}
	text := printable(s.Summary)
	if why != "" {
		text += p.paint(grey, "  ("+why+")")
	}
	return append(lines, strings.Repeat(" ", 20)+text)
}

// event writes an alert, a deployment or a note.
func (p *historyPage) event(e *history.Event) []string {
	head := "  " + clock(e.At) + " "
	about := ""
	if e.Identity.Scenario != "" {
		about = " " + printable(e.Identity.String())
	}
	author := ""
	if e.Author != "" {
		author = p.paint(grey, "  by "+printable(e.Author))
	}
	switch e.Kind {
	case history.KindAlert:
		line := head + fmt.Sprintf("%-8s alert %s:%s", "", e.State, about)
		if about == "" {
			line += " " + printable(e.Title)
		} else if e.Rule != "" && e.Rule != state.RuleFailures { // such as flapping
			line += " (" + printable(e.Rule) + ")"
		}
		return []string{p.paint(grey, line)}
	case history.KindDeployment:
		line := head + "deployed " + p.paint(bold, printable(e.Title)) + author
		if e.Link != "" {
			line += p.paint(grey, "  "+printable(e.Link))
		}
		if e.Text != "" {
			return []string{line, strings.Repeat(" ", 20) + printable(e.Text)}
		}
		return []string{line}
	default:
		return []string{head + "note     " + printable(e.Title) + author + p.paint(grey, about)}
	}
}

// gaps writes the times in which no agent wrote.
func (p *historyPage) gaps(a *history.Account) (all []moments) {
	const least = sessionGap
	last := a.Since
	for _, s := range a.Sessions {
		if s.Began.Sub(last) > least {
			all = append(all, moments{last, []string{p.paint(yellow, fmt.Sprintf("  %s no agent ran until %s: nothing is known", clock(last), clock(s.Began)))}})
		}
		if s.Lost > 0 {
			all = append(all, moments{s.Ended, []string{p.paint(yellow, fmt.Sprintf("  %s up to here, %s of that agent could not be written", clock(s.Ended), counted(int(s.Lost), "run")))}}) //nolint:gosec // a count
		}
		if s.Ended.After(last) {
			last = s.Ended
		}
	}
	until := a.Until
	if until.After(p.now) {
		until = p.now
	}
	if until.Sub(last) > least {
		all = append(all, moments{last, []string{p.paint(yellow, fmt.Sprintf("  %s no agent ran until %s: nothing is known", clock(last), full(until)))}})
	}
	return all
}

// sessionGap is how far apart two sessions may be that count as one: a session is updated once a minute.
const sessionGap = 2 * time.Minute

// agentRan reports whether an agent ran at a moment.
func agentRan(sessions []history.Session, moment time.Time) bool {
	return slices.ContainsFunc(sessions, func(s history.Session) bool {
		return !moment.Before(s.Began) && moment.Before(s.Ended.Add(sessionGap))
	})
}

// table writes how each scenario did.
func (p *historyPage) table(a *history.Account) {
	width, shown := 0, 0
	for _, s := range p.scenarios {
		if c := a.Counts[s.ID]; !p.failed || c.Runs() > c.OK {
			width = max(width, len([]rune(s.String())))
			shown++
		}
	}
	width = min(width, 70)
	if shown == 0 || !p.moment.IsZero() {
		return
	}
	fmt.Fprintf(p.out, "\n  %s %9s %10s %8s\n", p.paint(bold, fmt.Sprintf("%-*s", width, "Scenario")), "uptime", "runs", "not OK")
	for _, s := range p.scenarios {
		c := a.Counts[s.ID]
		if p.failed && c.Runs() == c.OK {
			continue
		}
		up := "unknown"
		if share, known := c.Uptime(); known {
			up = percent(share)
		}
		line := fmt.Sprintf("  %-*s %9s %10d %8d", width, printable(s.String()), up, c.Runs(), c.Runs()-c.OK)
		if c.Runs() > c.OK {
			line = p.paint(red, line)
		}
		fmt.Fprintln(p.out, line)
	}
}

// percent writes a share so that only all is 100 %.
func percent(share float64) string {
	if share >= 1 {
		return "100 %"
	}
	return strconv.FormatFloat(min(share*100, 99.99), 'f', 2, 64) + " %"
}

// runs writes single runs.
func (p *historyPage) runs(runs []history.Run, more bool, since, until time.Time) {
	fmt.Fprintf(p.out, "%s to %s\n", p.paint(bold, full(since)), p.paint(bold, full(until)))
	if len(runs) == 0 {
		fmt.Fprintf(p.out, "no runs of %s are kept of this time; history.runs in stepwatch.yml says how long single runs are kept\n", counted(len(p.scenarios), "scenario"))
		return
	}
	if more {
		fmt.Fprintf(p.out, "the newest %s; there are more: --limit shows them\n", counted(len(runs), "run"))
	}
	day := ""
	for _, r := range slices.Backward(runs) {
		if heading := r.Started.Local().Format("Mon 2 Jan 2006"); heading != day {
			fmt.Fprintf(p.out, "\n%s\n", p.paint(bold, heading))
			day = heading
		}
		took := wording.Delay(time.Duration(r.Duration * float64(time.Second)))
		if r.Stale {
			took = "no run"
		}
		line := fmt.Sprintf("  %s %s %8s  %s", clock(r.Started), p.state(r.State), took, printable(r.Identity.String()))
		if r.Summary != "" {
			line += p.paint(grey, "  "+printable(r.Summary))
		}
		fmt.Fprintln(p.out, line)
	}
}
