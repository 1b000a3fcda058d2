package exporters

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/stepwatch/stepwatch/agent/result"
)

// family holds the properties that all series of one name share.
type family struct {
	name, help string
	kind       dto.MetricType
	bounds     []float64 // of a histogram: the upper bounds of its classic buckets in seconds; empty means only native ones
}

// namespace is the prefix of every metric's name.
const namespace = "stepwatch_"

// innerLabel is the label of a step below another one.
const innerLabel = "inner_step"

// families are the metrics of scenarios and of the agent.
type families struct {
	stepDuration, innerDuration, phaseDuration *family

	stepLast, innerLast, phaseLast                                   *family
	success, state, lastRun, failing, info, backoff                  *family
	attempts, deadline                                               *family
	runs, failures, flakes, late, missed, alertFiring                *family
	dropped, inProgress, waiting, workers, abandoned, mistakes, lack *family
	reloaded, loaded                                                 *family

	historyBytes, historyWrite, historyDropped, historyErrors, historyFailing, historyDamaged *family
	soft, flapping, withheld                                                                  *family

	all []*family // in alphabetical order
}

func newFamilies(buckets []time.Duration) families {
	var f families
	classic := make([]float64, len(buckets))
	for i, b := range buckets {
		classic[i] = b.Seconds()
	}
	add := func(kind dto.MetricType, name, help string) *family {
		one := &family{name: namespace + name, help: help, kind: kind}
		f.all = append(f.all, one)
		return one
	}
	gauge := func(name, help string) *family { return add(dto.MetricType_GAUGE, name, help) }
	counter := func(name, help string) *family { return add(dto.MetricType_COUNTER, name, help) }
	histogram := func(name string, bounds []float64, help string) *family {
		h := add(dto.MetricType_HISTOGRAM, name, help)
		h.bounds = bounds
		return h
	}
	f.stepDuration = histogram("step_duration_seconds", classic, "Duration of steps that ran, by status. Hooks, waiting for a worker and preparation are not included. Native histograms need protobuf; classic buckets need the setting buckets.")
	f.stepLast = gauge("step_last_duration_seconds", "Duration of the step in the scenario's last run; absent if it did not run. The label order is the step's place in the scenario.")
	f.innerDuration = histogram("inner_step_duration_seconds", nil, "Duration of steps inside a sentence composed of others, by status; native histograms need protobuf. The outer step has the sum.")
	f.innerLast = gauge("inner_step_last_duration_seconds", "Duration of a step inside a sentence composed of others, in the scenario's last run; absent if it did not run.")
	f.phaseDuration = histogram("step_phase_duration_seconds", nil, "Duration of a part of a step, such as connect or tls; native histograms need protobuf.")
	f.phaseLast = gauge("step_phase_last_duration_seconds", "Duration of a part of the step in the scenario's last run; absent if it did not happen.")
	f.success = gauge("scenario_success", "Whether every step of the last run passed (1) or not (0), or a due run is too late (0). A step over its budget still counts as passed: see stepwatch_scenario_state.")
	f.state = gauge("scenario_state", "State after the last run: 0 OK, 1 WARNING (over the @warn budget), 2 CRITICAL (failed, or over the @crit budget), 3 UNKNOWN (nothing was proved, or a due run could not start or end within its interval and deadline).")
	f.failing = gauge("scenario_failing", "1 while the last run did not pass, with the step that did not pass and the reason as labels, or while a due run is too late (reason not_run, without a step); absent otherwise.")
	f.alertFiring = gauge("alert_firing", "Whether a rule's alert is hard and was told (1) or not (0); absent for rules that never raised one. @retries sets how many failures in a row make it hard.")
	f.runs = counter("scenario_runs_total", "Number of runs, by status: passed and failed from the start, another status from its first run.")
	f.failures = counter("scenario_failures_total", "Number of runs that did not pass, by the first step that did not, the reason and the blame; absent for what never happened.")
	f.lastRun = gauge("scenario_last_run_timestamp_seconds", "Start time of the last run, in Unix time; absent before the first.")
	f.backoff = gauge("scenario_backoff_seconds", "Time between the runs of a scenario whose target repeatedly did not answer in time; absent while its schedule holds.")
	f.attempts = gauge("scenario_attempts", "Number of attempts up to the last run, which are the runs since the last one that was OK, with this one; absent while it is one.")
	f.deadline = gauge("scenario_deadline_ratio", fmt.Sprintf("Time of the last run as a share of its deadline (@timeout): at 1 it is stopped; absent for scenarios of which no run needed more than %v of it.", deadlineShown))
	f.flakes = counter("scenario_flakes_total", "Runs that were OK after failures that @retries hides, because they are too few for an alert; absent for scenarios without any.")
	f.info = gauge("scenario_info", "Always 1; the labels describe a loaded scenario.")
	f.late = counter("runs_late_total", fmt.Sprintf("Runs that began more than %s after they were due; absent for scenarios without any.", result.LateAfter))
	f.missed = counter("runs_missed_total", "Due runs that never started, because the previous one was still in progress or waited for a place; absent for scenarios without any. Runs put off by stepwatch_scenario_backoff_seconds do not count.")
	f.dropped = counter("results_dropped_total", "Results that did not reach an exporter because its queue was full and a later result of the scenario replaced them. The last result of each scenario is never dropped.")
	f.waiting = gauge("runs_waiting", "Number of due runs that wait for a place.")
	f.inProgress = gauge("runs_in_progress", "Number of runs in progress.")
	f.workers = gauge("workers", "Maximum number of simultaneous runs.")
	f.soft = gauge("scenario_soft", "1 while a scenario is not OK and may only have a temporary problem: it has attempts left. Absent otherwise.")
	f.flapping = gauge("scenario_flapping", "1 while the state of a scenario changes too often, so that its changes are not told. Absent otherwise.")
	f.withheld = gauge("scenario_alert_withheld", "1 while an alert of a scenario is not told; the label says why: silence, maintenance, needs, uplink, flapping. Absent otherwise.")
	f.mistakes = gauge("load_mistakes", "Mistakes in a loaded file. Its scenarios with mistakes, or all if the file cannot be read, are UNKNOWN; the rest runs. Absent for files without mistakes.")
	f.reloaded = gauge("config_last_reload_successful", "Whether the files in use are those that were read last (1), or the last reload was refused because of mistakes (0).")
	f.loaded = gauge("config_last_reload_success_timestamp_seconds", "When the files in use were loaded, in Unix time.")
	f.lack = gauge("monitor_lack", "Whether the machine of stepwatch lacks something (1) or no longer (0), by what it is; absent for what it never lacked. The scenarios that meet it are UNKNOWN and raise no alert of their own.")
	f.abandoned = gauge("abandoned_steps", "Scenarios with a step or a clean-up that ignored its deadline and has not returned yet. They are UNKNOWN until it returns; no other scenario is affected.")
	f.historyBytes = gauge("history_bytes", "Size of the file of the history, with its write-ahead log. Absent without a history, as are the other metrics of it.")
	f.historyWrite = gauge("history_last_write_timestamp_seconds", "When runs were last written to the history, in Unix time; absent before the first.")
	f.historyDropped = counter("history_dropped_total", "Runs and events that are not in the history because they could not be written.")
	f.historyErrors = counter("history_errors_total", "Failed attempts to write the history. Runs wait in memory for the next one.")
	f.historyFailing = gauge("history_failing", "Whether the history cannot be written now (1), as on a full disk, or can (0). The log says why.")
	f.historyDamaged = gauge("history_damaged", "1 since the file of the history was damaged: it was set aside, and a new one was begun; the log says where it is. Absent otherwise, and after a restart.")
	slices.SortFunc(f.all, func(a, b *family) int { return strings.Compare(a.name, b.name) })
	return f
}

// names returns the names that a measurement cannot have: all of ours, with the suffixes of histograms.
func (f *families) names() map[string]bool {
	reserved := make(map[string]bool)
	own := []string{namespace + "run_delay_seconds", namespace + "build_info", namespace + "measurement_faults_total"}
	for _, one := range f.all {
		own = append(own, one.name)
	}
	for _, name := range own {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count", "_created", "_total"} {
			reserved[name+suffix] = true
		}
		reserved[strings.TrimSuffix(name, "_total")] = true // the name of a counter's family in OpenMetrics
	}
	return reserved
}

// The possible faults of a measurement.
const (
	faultName     = "name"
	faultReserved = "reserved"
	faultCount    = "count"
	faultHelp     = "help"
	faultLabel    = "label"
)

// measuredNamesMax limits the names of measurements, which may come from a program that a step runs.
const measuredNamesMax = 2000

// measuredNames decides the name and HELP of a measurement. The first HELP is kept, because the exposition format has
// only one for each name.
type measuredNames struct {
	reserved map[string]bool
	faults   *prometheus.CounterVec
	log      *slog.Logger

	mu     sync.RWMutex
	byName map[string]*family
	logged map[string]bool // name and fault
}

// family returns the family of a measurement, or nil if it cannot be exported.
func (n *measuredNames) family(m result.Measurement) *family {
	if !validLabels(m.Labels) {
		n.fault(m, faultLabel)
		return nil
	}
	m.Help = cmp.Or(strings.ToValidUTF8(m.Help, "\uFFFD"), "A value that a step read.") // promtool requires a HELP for every metric
	n.mu.RLock()
	known := n.byName[m.Name]
	n.mu.RUnlock()
	if known == nil {
		known = n.add(m)
	}
	if known != nil && known.help != m.Help {
		n.fault(m, faultHelp)
	}
	return known
}

// add adds a new name. If the name is invalid, it counts the fault and returns nil.
func (n *measuredNames) add(m result.Measurement) *family {
	switch {
	case !validMetricName(m.Name):
		n.fault(m, faultName)
		return nil
	case n.reserved[namespace+m.Name]:
		n.fault(m, faultReserved)
		return nil
	}
	n.mu.Lock()
	if known := n.byName[m.Name]; known != nil {
		n.mu.Unlock()
		return known
	}
	if len(n.byName) >= measuredNamesMax {
		n.mu.Unlock()
		n.fault(m, faultCount)
		return nil
	}
	defer n.mu.Unlock()
	if n.byName == nil {
		n.byName = make(map[string]*family)
	}
	known := &family{name: namespace + m.Name, help: m.Help, kind: dto.MetricType_GAUGE}
	n.byName[m.Name] = known
	return known
}

// all returns the families of all measurements, in no order.
func (n *measuredNames) all() []*family {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.Collect(maps.Values(n.byName))
}

// fault counts every fault, and logs each name once, for at most measuredNamesMax names.
func (n *measuredNames) fault(m result.Measurement, fault string) {
	n.faults.WithLabelValues(fault).Inc()
	key := fault + " " + m.Name
	n.mu.Lock()
	tell := !n.logged[key] && len(n.logged) < measuredNamesMax
	if tell {
		if n.logged == nil {
			n.logged = make(map[string]bool)
		}
		n.logged[key] = true
	}
	n.mu.Unlock()
	if tell {
		n.log.Warn("measurement cannot be exported unchanged", "measurement", m.Name, "fault", fault, "help", m.Help)
	}
}

// validMetricName reports whether every version of Prometheus accepts a name. Colons are reserved for recording rules.
func validMetricName(name string) bool {
	if name == "" || len(name) > 200 {
		return false
	}
	for _, c := range []byte(name) {
		if !(c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			return false
		}
	}
	return true
}

// validLabels reports whether a measurement's labels can be added to those of its step.
func validLabels(labels []result.Label) bool {
	for i, l := range labels {
		switch {
		case !validMetricName(l.Name), '0' <= l.Name[0] && l.Name[0] <= '9', strings.HasPrefix(l.Name, "__"),
			slices.Contains([]string{"feature", "scenario", "example", "step", "le", "quantile"}, l.Name),
			slices.ContainsFunc(labels[:i], func(before result.Label) bool { return before.Name == l.Name }):
			return false
		}
	}
	return true
}

// labels returns labels, given as alternating names and values, as they stand on the page after those of the scenario:
// `,step="I wait",status="passed"`. An empty value means no label, as in Prometheus.
func labels(nameValue ...string) string {
	var b []byte
	for pair := range slices.Chunk(nameValue, 2) {
		b = appendLabel(b, pair[0], pair[1])
	}
	return string(b)
}

// appendLabel adds a label to others, unless its value is empty.
func appendLabel(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ',')
	b = append(b, name...)
	b = append(b, `="`...)
	b = appendEscaped(b, label(value), true)
	return append(b, '"')
}

// appendEscaped adds text as the value of a label, or as a HELP text, which keeps its quotation marks unless it is one of
// OpenMetrics.
func appendEscaped(b []byte, text string, quotes bool) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\\' || c == '"' && quotes:
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return b
}

// labelMax limits a label's value in bytes. A step's text is repeated on every line about it.
const labelMax = 256

// label returns text as a label's value: valid UTF-8 and not too long. A changed text gets a hash of the original as a
// suffix, so that different texts stay different.
func label(text string) string {
	if len(text) <= labelMax && utf8.ValidString(text) {
		return text
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(text)) // a hash never fails
	mark := fmt.Sprintf("... #%08x", hash.Sum32())
	clean := strings.ToValidUTF8(text, "\uFFFD")
	if len(clean) > labelMax-len(mark) {
		cut := labelMax - len(mark)
		for cut > 0 && !utf8.RuneStart(clean[cut]) {
			cut--
		}
		clean = clean[:cut]
	}
	return clean + mark
}

// boolean returns 1 for true and 0 for false.
func boolean(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
