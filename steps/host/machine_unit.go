package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/daily"
	"github.com/stepwatch/stepwatch/steps/systemd"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences about systemd's units, and about jobs that run at a time of the day.

func init() {
	const (
		asks  = " It asks systemd with systemctl, which needs no rights. On a machine without systemd the result is UNKNOWN."
		timer = "Fails unless systemd's timer started its unit %s, and that unit has not failed since. A unit that still runs counts as run." + asks
		daily = " Until the second time, today's run counts if there was one, and otherwise yesterday's. The second time may be on the next day (between 22:00 and 06:30)."
	)
	steps.Register(
		steps.Definition{
			Area: "host", Sentence: `the unit {text} is active`,
			Does:     "Fails unless systemd's unit is active. A unit that systemd restarts again and again is not active." + asks,
			Measures: "Measurement systemd_unit_active (1 or 0).",
			Example:  `Then the unit "postfix.service" is active`,
			Func:     judgeUnit(unitIsActive),
		},
		steps.Definition{
			Area: "host", Sentence: `the unit {text} has not failed`,
			Does:    "Fails when the last run of systemd's unit failed, or the unit does not exist. It passes when the unit is inactive, such as a job that has ended." + asks,
			Example: `Then the unit "backup.service" has not failed`,
			Func:    judgeUnit(unitHasNotFailed),
		},
		steps.Definition{
			Area: "host", Sentence: `no unit has failed`,
			Does:     "Fails when any of systemd's units has failed, and names these units." + asks,
			Measures: "Measurement systemd_units_failed.",
			Example:  `Then no unit has failed`,
			Func:     noUnitHasFailed,
		},
		steps.Definition{
			Area: "host", Sentence: `the timer {text} ran in the last {duration}`,
			Does:     fmt.Sprintf(timer, "in that time"),
			Measures: "Measurement systemd_timer_age_seconds: seconds since the timer started the unit.",
			Example:  `Then the timer "certbot.timer" ran in the last 13 hours`,
			Func:     timerRanLately,
		},
		steps.Definition{
			Area: "host", Sentence: `the timer {text} ran between {clock} and {clock}`,
			Does:     fmt.Sprintf(timer, "between these times of the day, in this machine's time zone") + daily,
			Measures: "Measurements systemd_timer_age_seconds and job_late_seconds.",
			Example:  `Then the timer "backup.timer" ran between 02:00 and 03:00`,
			Func:     timerRanDaily,
		},
		steps.Definition{
			Area: "host", Sentence: `the timer {text} ran between {clock} and {clock} in {zone}`,
			Does:     fmt.Sprintf(timer, "between these times of the day, in a time zone of the tz database") + daily,
			Measures: "Measurements systemd_timer_age_seconds and job_late_seconds.",
			Example:  `Then the timer "backup.timer" ran between 02:00 and 03:00 in Europe/Berlin`,
			Func:     timerRanDaily,
		},
		steps.Definition{
			Area: "file", Sentence: `the file was written between {clock} and {clock}`,
			Does: "Fails unless the file, or another that matches the pattern, was last changed between these times of the day, in this machine's time zone. " +
				"A file that a cron job writes shows that it ran." + daily,
			Measures: "Measurement job_late_seconds: how late it was, or how long it is overdue; 0 when it was in time.",
			Example:  `Then the file was written between 02:00 and 06:30`,
			Func:     judgeFile(fileWasWritten),
		},
		steps.Definition{
			Area: "file", Sentence: `the file was written between {clock} and {clock} in {zone}`,
			Does:     "The same, in a time zone of the tz database, with its daylight saving time.",
			Measures: "Measurement job_late_seconds.",
			Example:  `Then the file was written between 02:00 and 06:30 in Europe/Berlin`,
			Func:     judgeFile(fileWasWritten),
		},
	)
}

// unitOf returns the state of a unit, and fails if there is none of that name.
func unitOf(ctx context.Context, name string) (*systemd.Unit, error) {
	u, err := systemd.Show(ctx, name)
	if err != nil {
		return nil, systemdFailure(ctx, fmt.Sprintf("ask systemd for the unit %q", name), err)
	}
	if !u.Exists() {
		return nil, steps.Fail(result.ReasonNotFound, result.BlameTarget, "systemd has no unit %q: check its name, and whether its package is installed", u.Name)
	}
	return u, nil
}

func systemdFailure(ctx context.Context, act string, err error) error {
	switch {
	case errors.Is(err, systemd.ErrName):
		return steps.FailScenario("%s: %w", act, err)
	case ctx.Err() != nil:
		return steps.FailNet(ctx, err, result.BlameMonitor, act)
	}
	return steps.Fail(result.ReasonConfig, result.BlameMonitor, "%s: %w", act, err)
}

func judgeUnit(judge func(*steps.World, *systemd.Unit) error) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		u, err := unitOf(ctx, a.Text(0))
		if err != nil {
			return err
		}
		return judge(w, u)
	}
}

// described returns the state of a unit, such as "failed (exit-code) since 03:12 UTC on 21 Nov".
func described(u *systemd.Unit) string {
	text := u.Active
	if detail := u.Sub; detail != "" && detail != u.Active {
		text += " (" + detail + ")"
	} else if u.Result != "" && u.Result != "success" {
		text += " (" + u.Result + ")"
	}
	if !u.Since.IsZero() {
		text += " since " + u.Since.Local().Format("15:04 MST on 2 Jan")
	}
	return text
}

func unitIsActive(w *steps.World, u *systemd.Unit) error {
	active := u.Active == "active" || u.Active == "reloading"
	value := 0.0
	if active {
		value = 1
	}
	w.Measure("systemd_unit_active", "1 when the unit is active, 0 when it is not.", value)
	if !active {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the unit %q is %s, wanted active: \"systemctl status %s\" shows why", u.Name, described(u), u.Name)
	}
	w.Note(described(u))
	return nil
}

func unitHasNotFailed(w *steps.World, u *systemd.Unit) error {
	if u.Active == "failed" || u.Result != "" && u.Result != "success" {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the unit %q has failed (%s), it is %s: \"journalctl -u %s\" shows why", u.Name, u.Result, described(u), u.Name)
	}
	w.Note(described(u))
	return nil
}

func noUnitHasFailed(ctx context.Context, w *steps.World, _ steps.Args) error {
	failed, err := systemd.Failed(ctx)
	if err != nil {
		return systemdFailure(ctx, "ask systemd for the units that have failed", err)
	}
	w.Measure("systemd_units_failed", "Number of failed units.", float64(len(failed)))
	if len(failed) > 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%d units have failed: %s", len(failed), wording.Excerpt(strings.Join(failed, ", ")))
	}
	return nil
}

// lastRun returns the time when a timer last started its unit, or zero if it never did. It fails if the unit has
// failed.
func lastRun(ctx context.Context, w *steps.World, name string) (time.Time, error) {
	if !strings.Contains(name, ".") {
		name += ".timer"
	}
	timer, err := unitOf(ctx, name)
	if err != nil {
		return time.Time{}, err
	}
	if timer.Starts == "" {
		return time.Time{}, steps.FailScenario("the unit %q is not a timer: \"systemctl list-timers\" lists them", timer.Name)
	}
	if timer.Active != "active" {
		return time.Time{}, steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the timer %q is %s, wanted active: \"systemctl enable --now %s\" starts it", timer.Name, described(timer), timer.Name)
	}
	if ahead := time.Until(timer.LastTrigger); ahead > steps.ClockTolerance {
		return time.Time{}, steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the timer %q ran %s from now: the clock of this machine is or was wrong", timer.Name, wording.Span(ahead))
	}
	if !timer.LastTrigger.IsZero() {
		w.Measure("systemd_timer_age_seconds", "Seconds since the timer last started its unit.", time.Since(timer.LastTrigger).Seconds())
	}
	started, err := unitOf(ctx, timer.Starts)
	if err != nil {
		return time.Time{}, err
	}
	return timer.LastTrigger, unitHasNotFailed(w, started)
}

func timerRanLately(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(1)
	if err != nil {
		return err
	}
	at, err := lastRun(ctx, w, a.Text(0))
	switch {
	case err != nil:
		return err
	case at.IsZero():
		return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "the timer %q has not run since the machine was started, wanted in the last %s", a.Text(0), a.Text(1))
	case time.Since(at) > limit:
		return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "the timer %q ran %s ago, wanted in the last %s", a.Text(0), wording.Span(time.Since(at)), a.Text(1))
	}
	w.Note(fmt.Sprintf("it ran %s ago", wording.Span(time.Since(at))))
	return nil
}

func timerRanDaily(ctx context.Context, w *steps.World, a steps.Args) error {
	window, err := steps.ParseWindow(a.Captured[1:])
	if err != nil {
		return err
	}
	at, err := lastRun(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	var runs []time.Time
	if !at.IsZero() {
		runs = append(runs, at)
	}
	return judgeDaily(w, window, runs, fmt.Sprintf("the timer %q", a.Text(0)), "ran")
}

func fileWasWritten(_ context.Context, w *steps.World, l *looked, a steps.Args) error {
	window, err := steps.ParseWindow(a.Captured)
	if err != nil {
		return err
	}
	if err := l.notFromFuture(); err != nil {
		return err
	}
	written := make([]time.Time, len(l.files))
	for i, f := range l.files {
		written[i] = f.Modified
	}
	return judgeDaily(w, window, written, l.file().Path, "was written")
}

// judgeDaily checks a job that runs once a day. runs are the times of its runs, the newest first.
func judgeDaily(w *steps.World, window daily.Window, runs []time.Time, what, ran string) error {
	v := window.Judge(time.Now(), runs)
	show := func(t time.Time) string { return t.In(window.Zone).Format("15:04:05 MST on 2 Jan") }
	w.Measure("job_late_seconds", "How late the job ran, or how long it is overdue; 0 when it ran in time.", v.Late.Seconds())
	due := fmt.Sprintf("between %s and %s", show(v.Span.From), show(v.Span.By))
	switch v.State {
	case daily.InTime:
		w.Note(fmt.Sprintf("it %s at %s; the next is due by %s", ran, show(v.At), show(v.Next)))
		return nil
	case daily.WasLate:
		w.Note(fmt.Sprintf("it %s at %s, %s too late; the next is due by %s", ran, show(v.At), wording.Span(v.Late), show(v.Next)))
		return nil
	case daily.Late:
		return steps.Fail(result.ReasonSlow, result.BlameTarget, "%s %s at %s, %s too late: it was due %s", what, ran, show(v.At), wording.Span(v.Late), due)
	default:
		last := "has never run"
		if len(runs) > 0 {
			last = ran + " last at " + show(runs[0])
		}
		return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "%s %s, wanted %s: it is overdue by %s", what, last, due, wording.Span(v.Late))
	}
}
