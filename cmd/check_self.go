package cmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/agent/api"
	"github.com/stepwatch/stepwatch/agent/apiclient"
	"github.com/stepwatch/stepwatch/agent/result"
)

// The thresholds of "check --self", as shares of the due runs of the last quarter of an hour or of the loaded scenarios.
// docs/nagios.md lists them.
const (
	selfLate   = 0.10 // WARNING: more runs than this began late
	selfMissed = 0.05 // CRITICAL: more runs than this never began; one is WARNING
	selfStale  = 0.10 // CRITICAL: more scenarios than this have no result in time; one is WARNING
)

// trouble is something that somebody should look after.
type trouble struct {
	state result.State
	text  string
}

// checkSelf is "check --agent URL --self": a service for the monitor's own trouble. An agent that does not answer is CRITICAL,
// unlike in the other checks: this one is about the agent. What cannot be asked, as with a wrong login, is UNKNOWN.
func (a *asking) checkSelf(ctx context.Context, t *terminal, client *apiclient.Client) int {
	var of api.Agent
	if err := client.Get(ctx, "/api/agent", nil, &of); err != nil {
		state := result.Unknown
		if dead(err) {
			state = result.Critical
		}
		fmt.Fprintf(t.out, "STEPWATCH %s - %s\n", state, printable(err.Error()))
		return int(state)
	}
	troubles := selfTroubles(&of)
	slices.SortStableFunc(troubles, func(a, b trouble) int { return rank(b.state) - rank(a.state) })
	state, texts := result.OK, make([]string, len(troubles))
	for i, one := range troubles {
		state, texts[i] = state.Worse(one.state), bar(one.text)
	}
	line := strings.Join(texts, "; ")
	if len(texts) == 0 {
		line = "the agent " + bar(quotedName(of.Name)) + "keeps its schedule: " + selfSummary(&of)
	}
	if len(line) > selfLineMax {
		line = strings.ToValidUTF8(line[:selfLineMax], "") + fmt.Sprintf("… (%s)", counted(len(texts), "trouble"))
	}
	fmt.Fprintf(t.out, "STEPWATCH %s - %s | %s\n", state, line, strings.Join(selfData(&of), " "))
	for i, one := range troubles {
		fmt.Fprintf(t.out, "%s: %s\n", one.state, texts[i])
	}
	return int(state)
}

// selfLineMax is how many bytes of troubles the status line has.
const selfLineMax = 500

// rank orders states as result.State.Worse does.
func rank(s result.State) int {
	return map[result.State]int{result.OK: 0, result.Unknown: 1, result.Warning: 2, result.Critical: 3}[s]
}

// bar makes text fit for the output of a plugin, in which "|" begins performance data.
func bar(text string) string { return strings.ReplaceAll(printable(text), "|", "¦") }

func quotedName(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%q ", name)
}

// dead reports whether an error means that no agent answers, and not that it cannot be asked like this.
func dead(err error) bool {
	var e *apiclient.Error
	var network net.Error
	if !errors.As(err, &e) || e.Err == nil {
		return false
	}
	return errors.Is(e.Err, syscall.ECONNREFUSED) || errors.Is(e.Err, syscall.ECONNRESET) || errors.Is(e.Err, context.DeadlineExceeded) ||
		errors.As(e.Err, &network) && network.Timeout()
}

// selfTroubles judges how an agent does.
func selfTroubles(of *api.Agent) (all []trouble) {
	add := func(state result.State, format string, args ...any) {
		all = append(all, trouble{state, fmt.Sprintf(format, args...)})
	}
	scenarios := 0
	for _, n := range of.Scenarios {
		scenarios += n
	}
	if r := of.Recent; r == nil {
		add(result.Unknown, "the agent does not say how it keeps its schedule now: is it of another version?")
	} else {
		window := time.Duration(r.Window)
		if r.Missed > 0 {
			add(worseAbove(r.Missed, selfMissed, r.Due), "%d of about %d due runs never began in the last %s: raise workers or parallel in stepwatch.yml, or run them less often", r.Missed, r.Due, window)
		}
		if float64(r.Late) > selfLate*float64(max(r.Due, lateLeast)) {
			add(result.Warning, "%d of about %d due runs began more than %s late in the last %s: the machine has too little time for them", r.Late, r.Due, result.LateAfter, window)
		}
		for _, sink := range slices.Sorted(maps.Keys(r.Dropped)) {
			add(result.Warning, "%d results did not reach %q in the last %s: it is too slow", r.Dropped[sink], sink, window)
		}
	}
	if of.Stale > 0 {
		add(worseAbove(uint64(of.Stale), selfStale, uint64(scenarios)), "%s of %d without a result in time", counted(of.Stale, "scenario"), scenarios)
	}
	if of.Abandoned > 0 {
		add(result.Warning, "%s with a step that ignored its deadline and has not returned: restart the agent to run them again", counted(of.Abandoned, "scenario"))
	}
	for _, path := range slices.Sorted(maps.Keys(of.Mistakes)) {
		add(result.Warning, "%s in %s: its scenarios are UNKNOWN; \"stepwatch lint\" lists them", counted(of.Mistakes[path], "mistake"), path)
	}
	if r := of.Reload; r != nil && !r.Success {
		why := "the log says why"
		if len(r.Mistakes) > 0 {
			why = strings.Join(r.Mistakes, ", ")
		}
		add(result.Warning, "the reload at %s failed and the last good set runs: %s", r.At.Format(time.RFC3339), why)
	}
	storage := func(what string, state result.State, s *api.Storage) {
		if s == nil {
			return
		}
		if s.Error != "" {
			add(state, "%s cannot be written: %s", what, s.Error)
		}
		if s.SetAside != "" {
			add(result.Warning, "%s was damaged and begun anew; the old file is %s", what, s.SetAside)
		}
	}
	storage("the file of the states", result.Critical, of.States) // alerts may be lost at a restart
	storage("the history", result.Warning, of.History)
	for _, text := range of.Troubles {
		add(result.Warning, "%s", text)
	}
	if scenarios == 0 && len(of.Mistakes) == 0 {
		add(result.Warning, "the agent has no scenario on a schedule, so it watches nothing")
	}
	return all
}

// lateLeast is of how many due runs at least a share is taken: one late run of three proves nothing.
const lateLeast = 50

// worseAbove returns CRITICAL if a count is more than a share of all, and WARNING otherwise.
func worseAbove(count uint64, share float64, all uint64) result.State {
	if float64(count) > share*float64(all) {
		return result.Critical
	}
	return result.Warning
}

// selfSummary says that all is well, so of.Recent is known.
func selfSummary(of *api.Agent) string {
	scenarios := 0
	for _, n := range of.Scenarios {
		scenarios += n
	}
	return fmt.Sprintf("%s, about %s due in the last %s, none missed, %d late", counted(scenarios, "scenario"), counted(int(of.Recent.Due), "run"), time.Duration(of.Recent.Window), of.Recent.Late) //nolint:gosec // a count
}

// selfData returns the performance data.
func selfData(of *api.Agent) []string {
	var data []string
	if r := of.Recent; r != nil {
		dropped := uint64(0)
		for _, n := range r.Dropped {
			dropped += n
		}
		data = append(data, fmt.Sprintf("due=%d;;;0;", r.Due), fmt.Sprintf("late=%d;%.0f;;0;", r.Late, selfLate*float64(max(r.Due, lateLeast))),
			fmt.Sprintf("missed=%d;0;%.0f;0;", r.Missed, selfMissed*float64(r.Due)), fmt.Sprintf("dropped=%d;0;;0;", dropped))
	}
	mistakes := 0
	for _, n := range of.Mistakes {
		mistakes += n
	}
	return append(data, fmt.Sprintf("stale=%d;0;;0;", of.Stale), fmt.Sprintf("abandoned=%d;0;;0;", of.Abandoned), fmt.Sprintf("mistakes=%d;0;;0;", mistakes),
		fmt.Sprintf("waiting=%d;;;0;", of.Waiting), fmt.Sprintf("running=%d;;;0;%d", of.Running, of.Workers))
}
