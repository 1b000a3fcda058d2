package host

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/procfs"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences about the load, the memory and the processes of the machine that stepwatch itself runs on.

func init() {
	const (
		named = " The name is that of the program or script, as ps and pgrep show it, or the first word of the title that a program gives itself (\"puma: cluster worker 0\"). A name with a slash is the path that started the process. Zombies do not count. " +
			"If the processes of other users are hidden (hidepid), the result is UNKNOWN."
		processes = "Measurement host_processes."
	)
	steps.Register(
		steps.Definition{
			Area: "host", Sentence: `the load is below {number} per core`,
			Does:     "Fails when, on average over 5 minutes, this number of processes or more for each core ran or wanted to run (load average).",
			Measures: "Measurements host_load{minutes} (1, 5, 15) and host_cores.",
			Example:  `Then the load is below 2 per core`,
			Func:     loadIsBelow,
		},
		steps.Definition{
			Area: "host", Sentence: `more than {number}% of the memory is available`,
			Does:     "Fails when that share of the memory or less is available to programs without swapping (MemAvailable). Caches that can be dropped count as available.",
			Measures: "Measurements host_memory_available_bytes and host_memory_available_ratio (0 to 1).",
			Example:  `Then more than 10% of the memory is available`,
			Func:     memoryIsAvailable,
		},
		steps.Definition{
			Area: "host", Sentence: `less than {number}% of the swap is used`,
			Does:     "Fails when that share of the swap or more is used. A machine without swap passes.",
			Measures: "Measurement host_swap_used_ratio (0 to 1), if there is swap.",
			Example:  `Then less than 50% of the swap is used`,
			Func:     swapIsFree,
		},
		steps.Definition{
			Area: "host", Sentence: `the machine has been up for at least {duration}`,
			Does:     "Fails when the machine was started more recently: it was rebooted, or it crashed.",
			Measures: "Measurement host_uptime_seconds.",
			Example:  `Then the machine has been up for at least 15 minutes`,
			Func:     machineIsUp,
		},
		steps.Definition{
			Area: "host", Sentence: `the process {text} runs`,
			Does: "Fails when there is no process of this name." + named, Measures: processes,
			Example: `Then the process "opendkim" runs`,
			Func:    judgeProcesses(1, "", false),
		},
		steps.Definition{
			Area: "host", Sentence: `the process {text} runs as {text}`,
			Does: "Fails when there is no process of this name, or none that runs as this user." + named, Measures: processes,
			Example: `Then the process "opendkim" runs as "opendkim"`,
			Func:    judgeProcesses(1, "", true),
		},
		steps.Definition{
			Area: "host", Sentence: `at least {int} processes {text} run`,
			Does: "Fails when there are fewer processes of this name." + named, Measures: processes,
			Example: `Then at least 4 processes "nginx" run`,
			Func:    judgeProcesses(0, "least", false),
		},
		steps.Definition{
			Area: "host", Sentence: `at most {int} processes {text} run`,
			Does: "Fails when there are more processes of this name: they start and do not end. 0 means that none may run." + named, Measures: processes,
			Example: `Then at most 200 processes "imap" run`,
			Func:    judgeProcesses(0, "most", false),
		},
	)
}

// hostUnread reports that the machine's state could not be read, which proves nothing about it.
func hostUnread(what string, err error) error {
	return steps.Fail(result.ReasonConfig, result.BlameMonitor, "read %s: %w", what, err)
}

func loadIsBelow(_ context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Number(0)
	if err != nil || limit <= 0 {
		return steps.FailScenario("a load of %s is not a limit: give one above 0", a.Text(0))
	}
	load, err := procfs.ReadLoad(procfs.Root)
	if err != nil {
		return hostUnread("the load", err)
	}
	for _, average := range []struct {
		minutes string
		value   float64
	}{{"1", load.One}, {"5", load.Five}, {"15", load.Fifteen}} {
		w.Measure("host_load", "Average number of processes that ran or wanted to run, over this many minutes.", average.value, result.Label{Name: "minutes", Value: average.minutes})
	}
	w.Measure("host_cores", "Cores that the machine has.", float64(load.Cores))
	each := load.Five / float64(load.Cores)
	said := fmt.Sprintf("%.2f per core (load average %.2f %.2f %.2f on %d cores)", each, load.One, load.Five, load.Fifteen, load.Cores)
	if each >= limit {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the load of 5 minutes is %s, wanted below %s per core", said, a.Text(0))
	}
	w.Note(said)
	return nil
}

func memoryIsAvailable(_ context.Context, w *steps.World, a steps.Args) error {
	limit, err := steps.ParsePercentage(a.Text(0))
	if err != nil {
		return err
	}
	m, err := procfs.ReadMemory(procfs.Root)
	if err != nil {
		return hostUnread("the memory", err)
	}
	ratio := float64(m.Available) / float64(m.Total)
	w.Measure("host_memory_available_bytes", "Memory that is available to programs without swapping.", float64(m.Available))
	w.Measure("host_memory_available_ratio", "Share of the memory that is available to programs without swapping, from 0 to 1.", ratio)
	said := fmt.Sprintf("%.1f%% of the memory is available (%s of %s)", 100*ratio, shownSize(int64(m.Available)), shownSize(int64(m.Total))) //nolint:gosec // below 1<<60
	if 100*ratio <= limit {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s, wanted more than %s%%", said, a.Text(0))
	}
	w.Note(said)
	return nil
}

func swapIsFree(_ context.Context, w *steps.World, a steps.Args) error {
	limit, err := steps.ParsePercentage(a.Text(0))
	if err != nil {
		return err
	}
	m, err := procfs.ReadMemory(procfs.Root)
	if err != nil {
		return hostUnread("the swap", err)
	}
	if m.SwapTotal == 0 {
		w.Note("the machine has no swap")
		return nil
	}
	used := m.SwapTotal - m.SwapFree
	ratio := float64(used) / float64(m.SwapTotal)
	w.Measure("host_swap_used_ratio", "Used share of the swap, from 0 to 1.", ratio)
	said := fmt.Sprintf("%.1f%% of the swap is used (%s of %s)", 100*ratio, shownSize(int64(used)), shownSize(int64(m.SwapTotal))) //nolint:gosec // below 1<<60
	if 100*ratio >= limit {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s, wanted less than %s%%", said, a.Text(0))
	}
	w.Note(said)
	return nil
}

func machineIsUp(_ context.Context, w *steps.World, a steps.Args) error {
	least, err := a.Duration(0)
	if err != nil {
		return err
	}
	up, err := procfs.ReadUptime(procfs.Root)
	if err != nil {
		return hostUnread("the uptime of the machine", err)
	}
	w.Measure("host_uptime_seconds", "Seconds since the machine was started.", up.Seconds())
	if up < least {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the machine has been up for %s, wanted at least %s: it was rebooted at %s", wording.Span(up), a.Text(0),
			time.Now().Add(-up).Format("15:04 MST on 2 Jan"))
	}
	w.Note("up for " + wording.Span(up))
	return nil
}

// judgeProcesses returns the function of a sentence about the processes with a name. bound is "least" or "most" if the
// sentence has a number before the name, and otherwise empty: then at least least processes must run.
func judgeProcesses(least int, bound string, ofUser bool) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		name, number := a.Text(0), least
		if bound != "" {
			var err error
			if number, err = a.Int(0); err != nil {
				return err
			}
			name = a.Text(1)
		}
		if name == "" {
			return steps.FailScenario("no process is named")
		}
		found, err := procfs.ReadProcesses(procfs.Root, name)
		if err != nil {
			return hostUnread(fmt.Sprintf("the processes %q", name), err)
		}
		w.Measure("host_processes", "Processes with this name.", float64(len(found)))
		switch {
		case len(found) == 0 && (bound == "" || bound == "least" && number > 0):
			return steps.Fail(result.ReasonNotFound, result.BlameTarget, "no process %q runs", name)
		case bound == "least" && len(found) < number, bound == "most" && len(found) > number:
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%d processes %q run, wanted at %s %d", len(found), name, bound, number)
		case ofUser:
			return judgeUser(found, name, a.Text(1))
		}
		w.Note(fmt.Sprintf("%d run", len(found)))
		return nil
	}
}

// judgeUser fails unless one of the processes runs as the user wanted.
func judgeUser(found []procfs.Process, name, wanted string) error {
	u, err := user.Lookup(wanted)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		return steps.FailScenario("the machine has no user %q", wanted)
	}
	if err != nil {
		return hostUnread("the machine's users", err)
	}
	for _, p := range found {
		if strconv.FormatUint(uint64(p.UID), 10) == u.Uid {
			return nil
		}
	}
	owner := strconv.FormatUint(uint64(found[0].UID), 10)
	if o, err := user.LookupId(owner); err == nil {
		owner = o.Username
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the process %q (PID %d) runs as %q, wanted %q", name, found[0].PID, owner, wanted)
}
