// Package job holds the sentences about jobs that report to the agent: cron jobs, backups, batches.
package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/daily"
	"github.com/stepwatch/stepwatch/steps/jobreport"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.RegisterArea(steps.Area{Name: "job", Title: "Jobs that report", Place: 105})
	steps.RegisterSettings("jobs", func() steps.Block { return new(settings) })
	steps.RegisterKind(steps.Kind{Name: "job", Means: "a name under jobs in stepwatch.yml", Pattern: `[^"]+`, Quote: `"`,
		Rule: steps.RuleUnknown,
		Check: func(a steps.Args, i int, known steps.Known) error {
			return checkJob(known.Target, a.Text(i))
		}})
	const (
		reports = " The job is one under jobs in stepwatch.yml. It reports to the agent: `curl -fsS http://127.0.0.1:9469/ping/NAME/SECRET` (docs/jobs.md)."
		unknown = " It is UNKNOWN while nothing can be known: while stepwatch has not waited that long yet, and when no agent took reports at the time."
		window  = " Until the second time, today's report counts if there was one, and otherwise yesterday's. The second time may be on the next day (between 22:00 and 06:30)."
		late    = "Measurements job_success_age_seconds and job_late_seconds: how late it was, or how long it is overdue; 0 when it was in time."
	)
	steps.Register(
		steps.Definition{
			Area: "job", Sentence: `the job {job} reported success in the last {duration}`,
			Does: "Fails unless the job has reported success in that time. A job that has never reported fails once stepwatch has waited that long. " +
				"The message has the outcome of its last run, and the evidence the end of its log." + unknown + reports,
			Measures: "Measurement job_success_age_seconds: seconds since it reported success.",
			Example:  `Then the job "backup" reported success in the last 26 hours`,
			Func:     succeededLately,
		},
		steps.Definition{
			Area: "job", Sentence: `the job {job} reported success between {clock} and {clock}`,
			Does:     "Fails unless the job reported success between these times of the day, in this machine's time zone." + window + unknown,
			Measures: late,
			Example:  `Then the job "backup" reported success between 02:00 and 06:30`,
			Func:     succeededDaily,
		},
		steps.Definition{
			Area: "job", Sentence: `the job {job} reported success between {clock} and {clock} in {zone}`,
			Does:     "The same, in a time zone of the tz database, with its daylight saving time.",
			Measures: late,
			Example:  `Then the job "backup" reported success between 02:00 and 06:30 in Europe/Berlin`,
			Func:     succeededDaily,
		},
		steps.Definition{
			Area: "job", Sentence: `the last run of the job {job} succeeded`,
			Does:    "Fails when the job reported a failure, or an exit status above 0, and no success after that. It is UNKNOWN if the job has never reported an end.",
			Example: `Then the last run of the job "backup" succeeded`,
			Func:    lastSucceeded,
		},
		steps.Definition{
			Area: "job", Sentence: `the job {job} took at most {duration}`,
			Does: "Fails when the last run of the job took longer, or when one in progress already does. " +
				"The job must report its starts (/start). A job whose runs overlap must send an id with both reports (?rid=$$).",
			Measures: "Measurement job_duration_seconds: of the last run that has ended.",
			Example:  `Then the job "backup" took at most 2 hours`,
			Func:     tookAtMost,
		},
		steps.Definition{
			Area: "job", Sentence: `the job {job} is not running for longer than {duration}`,
			Does:    "Fails when a run of the job began that long ago and has not reported its end. It is UNKNOWN if the job has never reported a start (/start).",
			Example: `Then the job "backup" is not running for longer than 4 hours`,
			Func:    notRunningLonger,
		},
	)
}

// settings is the part of stepwatch.yml about jobs.
type settings map[string]*jobSettings

type jobSettings struct {
	Secret   *steps.SecretSource `yaml:"secret" doc:"what its reports must contain, at least 16 characters"`
	PostOnly bool                `yaml:"post_only" doc:"a GET is no report; default: false"`
}

// Validate implements Block.
func (all *settings) Validate(env *steps.Env) {
	found := make(jobreport.Jobs, len(*all))
	for name, s := range *all {
		if s == nil {
			s = &jobSettings{}
		}
		if err := jobreport.CheckName(name); err != nil {
			env.Refuse("", "%v", err)
			continue
		}
		if s.Secret == nil {
			env.Refuse(name+".secret", "is missing: name its file, env, credential or command")
		}
		found[name] = jobreport.Job{Secret: env.Secret(name+".secret", s.Secret), PostOnly: s.PostOnly}
	}
	env.Target.Set(found)
}

// checkJob returns an error if stepwatch.yml has no such job.
func checkJob(t *steps.Target, name string) error {
	all := steps.SettingsOf[jobreport.Jobs](t)
	if _, found := all[name]; found {
		return nil
	}
	known := "it has none"
	if len(all) > 0 {
		known = "it has " + strings.Join(slices.Sorted(maps.Keys(all)), ", ")
	}
	return steps.Fail(result.ReasonConfig, result.BlameScenario, "no job %q in stepwatch.yml (%s): add it under jobs", name, known)
}

// judged is what a sentence judges.
type judged struct {
	*jobreport.Record
	w        *steps.World
	now      time.Time
	presence *jobreport.Presence
}

// look reads what is known of a job.
func look(w *steps.World, name string) (*judged, error) {
	target := w.Target()
	if err := checkJob(target, name); err != nil {
		return nil, err
	}
	j := &judged{w: w, now: time.Now()}
	act := fmt.Sprintf("read the reports of the job %q", name)
	fail := func(err error) error { return steps.Fail(result.ReasonConfig, result.BlameMonitor, "%s: %w", act, err) }
	var err error
	j.Record, j.presence, err = jobreport.Read(target.StateDir, name, j.now)
	broken := (*jobreport.DamagedError)(nil)
	switch {
	case err == nil:
	case errors.Is(err, jobreport.ErrNone):
		return nil, steps.Fail(result.ReasonConfig, result.BlameMonitor, "no agent waits for reports of the job %q: start `stepwatch agent` with this stepwatch.yml, or let both use the same state directory (here %s)",
			name, target.StateDir)
	case errors.Is(err, fs.ErrPermission):
		return nil, steps.FailDenied(act, err)
	case errors.As(err, &broken):
		return nil, fail(fmt.Errorf("%w: the agent sets it aside when it is started again", broken))
	default:
		return nil, fail(err)
	}
	for _, at := range []time.Time{j.Since, ended(j.Success), ended(j.Failure)} {
		if ahead := at.Sub(j.now); ahead > steps.ClockTolerance {
			return nil, &steps.Failure{Reason: result.ReasonLack, Blame: result.BlameMonitor, Err: fmt.Errorf("%s: %w", act, &lack.Error{Kind: lack.Clock,
				Said:   fmt.Sprintf("the last report came %s from now, so the clock of this machine is wrong or was wrong then", wording.Span(ahead)),
				Remedy: "check the synchronisation of its time (chronyc tracking, timedatectl); if it is right now, the next report mends this"})}
		}
	}
	if j.Success != nil {
		w.Measure("job_success_age_seconds", "Seconds since the job reported success.", max(0, j.ago(j.Success.At).Seconds()))
	}
	return j, nil
}

// ended returns when a run ended, or zero.
func ended(r *jobreport.Report) time.Time {
	if r == nil {
		return time.Time{}
	}
	return r.At
}

func (j *judged) ago(t time.Time) time.Duration { return j.now.Sub(t) }

// shown writes a moment for people, in the machine's time zone.
func shown(t time.Time) string { return t.Local().Format("15:04:05 MST on 2 Jan") }

// last describes the last run, if it adds anything to a message about a missing success, and attaches its log.
func (j *judged) last() string {
	text := ""
	if f := j.Failure; f != nil && j.Last() == f {
		text = fmt.Sprintf("; its last run ended %s ago with %s%s", wording.Span(j.ago(f.At)), f.Outcome(), j.logged(f))
	}
	if n := len(j.Running); n > 0 {
		text += fmt.Sprintf("; a run has been in progress since %s", shown(j.Running[n-1].At))
	}
	if j.SetAside != "" {
		text += fmt.Sprintf("; what was known before %s is in %s, which is damaged", shown(j.Since), j.SetAside)
	}
	return text
}

// logged attaches the log of a run, and returns its last line for the message.
func (j *judged) logged(r *jobreport.Report) string {
	if r.Log == "" {
		return ""
	}
	name := fmt.Sprintf("log of the job %q at %s", j.Job, shown(r.At))
	if r.Cut {
		name += " (its end)"
	}
	j.w.Attach(name, "text/plain; charset=utf-8", []byte(r.Log))
	_, line, found := wording.CutLast(r.Log, "\n")
	if !found {
		line = r.Log
	}
	return fmt.Sprintf(", its log ends %q", wording.Excerpt(line))
}

// notHeard returns a failure if a report in this time may have been lost because no agent listened. A failure that was
// reported after that is known, whatever was lost before it.
func (j *judged) notHeard(from, to time.Time) error {
	if f := j.Failure; f != nil && f == j.Last() && f.At.After(from) {
		from = f.At
	}
	gap, missed := j.presence.Missed(from, to)
	if !missed {
		return nil
	}
	until := fmt.Sprintf("to %s", shown(gap.To))
	remedy := "report by hand if the job has run (docs/jobs.md)"
	if gap.To.Equal(j.now) {
		until, remedy = "until now", "start `stepwatch agent`"
	}
	return steps.Fail(result.ReasonNotReceived, result.BlameMonitor, "no report of the job %q is known, but no agent took reports from %s %s, so one may be lost: %s", j.Job, shown(gap.From), until, remedy)
}

// silent reports whether the job has reported no end since stepwatch waits for it.
func (j *judged) silent() bool { return j.Last() == nil || j.Last().At.Before(j.Since) }

// waiting returns the failure of a job of which nothing can be known yet.
func (j *judged) waiting(due string) error {
	said := "yet: stepwatch has waited since " + shown(j.Since)
	if j.Last() != nil { // before it was taken out of the configuration
		said = "since it was added to stepwatch.yml again, at " + shown(j.Since)
	}
	return steps.Fail(result.ReasonNotReceived, result.BlameMonitor, "the job %q has not reported %s, %s%s", j.Job, said, due, j.last())
}

func succeededLately(_ context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(1)
	if err != nil {
		return err
	}
	j, err := look(w, a.Text(0))
	if err != nil {
		return err
	}
	begin := j.now.Add(-limit)
	if j.Success != nil && !j.Success.At.Before(begin) {
		note := fmt.Sprintf("it reported success %s ago", wording.Span(max(0, j.ago(j.Success.At))))
		if j.Last() == j.Failure {
			note += fmt.Sprintf(", but its last run ended with %s %s ago", j.Failure.Outcome(), wording.Span(j.ago(j.Failure.At)))
		}
		w.Note(note)
		return nil
	}
	if j.Since.After(begin) && j.silent() {
		return j.waiting(fmt.Sprintf("and success is due by %s", shown(j.Since.Add(limit))))
	}
	if err := j.notHeard(begin, j.now); err != nil {
		return err
	}
	if j.Success == nil {
		return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "the job %q has never reported success: stepwatch has waited since %s (%s), wanted one in the last %s%s",
			j.Job, shown(j.Since), wording.Span(j.ago(j.Since)), a.Text(1), cmp.Or(j.last(), ": does it run, and does it reach the agent?"))
	}
	return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "the job %q reported success %s ago (%s), wanted in the last %s%s", j.Job, wording.Span(j.ago(j.Success.At)), shown(j.Success.At), a.Text(1), j.last())
}

func succeededDaily(_ context.Context, w *steps.World, a steps.Args) error {
	window, err := steps.ParseWindow(a.Captured[1:])
	if err != nil {
		return err
	}
	j, err := look(w, a.Text(0))
	if err != nil {
		return err
	}
	arrivals := slices.DeleteFunc(j.Moments(), func(at time.Time) bool { return at.After(j.now) })
	v := window.Judge(j.now, arrivals)
	in := func(t time.Time) string { return t.In(window.Zone).Format("15:04:05 MST on 2 Jan") }
	due := fmt.Sprintf("between %s and %s", in(v.Span.From), in(v.Span.By))
	if v.State == daily.Late || v.State == daily.Missing {
		// A record that began within the window cannot say that nothing came before it.
		if j.Since.After(v.Span.From) {
			return steps.Fail(result.ReasonNotReceived, result.BlameMonitor, "it is not known whether the job %q reported success %s: stepwatch has waited since %s, after that window began; the first one to be judged ends at %s%s",
				j.Job, due, in(j.Since), in(v.Next), j.last())
		}
		if err := j.notHeard(v.Span.From, v.Span.By); err != nil {
			return err
		}
	}
	w.Measure("job_late_seconds", "How late the job ran, or how long it is overdue; 0 when it ran in time.", v.Late.Seconds())
	switch v.State {
	case daily.InTime:
		w.Note(fmt.Sprintf("it reported success at %s; the next is due by %s", in(v.At), in(v.Next)))
		return nil
	case daily.WasLate:
		w.Note(fmt.Sprintf("it reported success at %s, %s too late; the next is due by %s", in(v.At), wording.Span(v.Late), in(v.Next)))
		return nil
	case daily.Late:
		return steps.Fail(result.ReasonSlow, result.BlameTarget, "the job %q reported success at %s, %s too late: it was due %s", j.Job, in(v.At), wording.Span(v.Late), due)
	}
	said := fmt.Sprintf("has never reported success (stepwatch has waited since %s)", in(j.Since))
	if j.Success != nil {
		said = "reported success last at " + in(j.Success.At)
	}
	return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "the job %q %s, wanted %s: it is overdue by %s%s", j.Job, said, due, wording.Span(v.Late), j.last())
}

func lastSucceeded(_ context.Context, w *steps.World, a steps.Args) error {
	j, err := look(w, a.Text(0))
	if err != nil {
		return err
	}
	last := j.Last()
	if last == nil {
		return j.waiting("and a step with \"reported success in the last …\" fails if nothing comes")
	}
	if last.Status >= 0 {
		w.Measure("job_exit_status", "Exit status of the last run of the job that has ended.", float64(last.Status))
	}
	if last.Status != 0 {
		before := "it has never reported success"
		if j.Success != nil {
			before = fmt.Sprintf("it reported success last %s ago", wording.Span(j.ago(j.Success.At)))
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the last run of the job %q ended %s ago (%s) with %s%s; %s", j.Job, wording.Span(j.ago(last.At)), shown(last.At), last.Outcome(), j.logged(last), before)
	}
	w.Note(fmt.Sprintf("it ended %s ago", wording.Span(max(0, j.ago(last.At)))))
	return nil
}

// overrun fails if a run in progress began too long ago.
func (j *judged) overrun(limit time.Duration, wanted string) error {
	for _, s := range j.Running { // the oldest first
		if took := j.ago(s.At); took > limit {
			id := ""
			if s.Run != "" {
				id = fmt.Sprintf(" (id %q)", wording.Excerpt(s.Run))
			}
			return steps.Fail(result.ReasonSlow, result.BlameTarget, "a run of the job %q%s has been in progress for %s, since %s, wanted at most %s: it hangs, or was ended before it could report",
				j.Job, id, wording.Span(took), shown(s.At), wanted)
		}
	}
	return nil
}

func tookAtMost(_ context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(1)
	if err != nil {
		return err
	}
	j, err := look(w, a.Text(0))
	if err != nil {
		return err
	}
	last := j.Last()
	var took time.Duration
	known := false
	if last != nil {
		took, known = last.Duration()
	}
	if known {
		w.Measure("job_duration_seconds", "Seconds that the last run of the job took that has ended.", took.Seconds())
	}
	switch err := j.overrun(limit, a.Text(1)); {
	case err != nil:
		return err
	case last == nil && len(j.Running) > 0:
		return steps.Fail(result.ReasonNotReceived, result.BlameMonitor, "the first run of the job %q has been in progress for %s: no run has ended yet", j.Job, wording.Span(j.ago(j.Running[0].At)))
	case last == nil:
		return j.waiting("so it is not known how long it takes")
	case last.Began > 0 && !known:
		return steps.Fail(result.ReasonNotReceived, result.BlameMonitor, "it is not known how long the last run of the job %q took: the clock of this machine was put back meanwhile; its next run will be judged", j.Job)
	case !known:
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "it is not known how long the last run of the job %q took: it did not report its start: send /start when it begins, and the same rid with both reports", j.Job)
	case took > limit:
		return steps.Fail(result.ReasonSlow, result.BlameTarget, "the last run of the job %q took %s, wanted at most %s: it ended %s ago with %s", j.Job, wording.Span(took), a.Text(1), wording.Span(j.ago(last.At)), last.Outcome())
	}
	w.Note(fmt.Sprintf("it took %s, and ended %s ago with %s", wording.Span(took), wording.Span(max(0, j.ago(last.At))), last.Outcome()))
	return nil
}

func notRunningLonger(_ context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(1)
	if err != nil {
		return err
	}
	j, err := look(w, a.Text(0))
	if err != nil {
		return err
	}
	if j.Starts == 0 {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "the job %q has never reported a start since %s: send /start when it begins, or leave this step out", j.Job, shown(j.Since))
	}
	if err := j.overrun(limit, a.Text(1)); err != nil {
		return err
	}
	switch n := len(j.Running); n {
	case 0:
		w.Note("it is not running")
	default:
		w.Note(fmt.Sprintf("it has been running for %s", wording.Span(max(0, j.ago(j.Running[0].At)))))
	}
	return nil
}
