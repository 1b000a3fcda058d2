package exporters

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/agent/result"
)

// NagiosOptions are the choices of whoever runs the plugin.
type NagiosOptions struct {
	// One says that one scenario was asked for, such as that of a line. Labels are the texts of its steps then; otherwise
	// they are "feature/scenario/step". The question decides, never the number of results: a label must not change because
	// somebody adds a scenario, since graphs and their history belong to it.
	One bool

	// Limit is the size of the output in bytes; zero means NagiosOutputLimit.
	Limit int

	// Judge says what a result means now, for results that are not of this moment; nil means what the results say themselves.
	Judge func(*result.Result) Judgement
}

// Judgement is what a result means at the time of the output.
type Judgement struct {
	State   result.State
	Summary string // instead of that of the result; empty for that
	Remark  string // follows the summary in brackets; empty for none

	// NoNumbers says that no run belongs to this result, or none that is known, so that it has no performance data, and sums with
	// it would be wrong.
	NoNumbers bool
}

// judge returns what a result means.
func (o *NagiosOptions) judge(r *result.Result) Judgement {
	if o.Judge == nil {
		return Judgement{State: r.State()}
	}
	return o.Judge(r)
}

// NagiosOutputLimit is the default size of the output in bytes. Nagios Core 4.4.6 stores 34 KB of performance data whole.
// What carries results elsewhere may take less: the command file for passive results 8 KB, NRPE 3 and older 1 KB.
const NagiosOutputLimit = 64 << 10

// NagiosOutputLeast is the least Limit: what the status line and the five fields of cucumber-nagios may take.
const NagiosOutputLeast = 1 << 10

// The limits of parts of the output, in bytes.
const (
	nagiosStatusMax = 512
	nagiosLineMax   = 1024
	nagiosLabelMax  = 160
)

// Nagios writes results as the output of one plugin run and returns the plugin's exit code, 0 to 3 for OK, WARNING,
// CRITICAL and UNKNOWN (Nagios Plugin Development Guidelines, "Plugin Return Codes").
//
// The first line is the status line with the step that did not pass and the reason, then "|" and all performance data.
// The lines after it are the long output, one for each step. The performance data begins with the five fields of
// cucumber-nagios: passed, failed and nosteps (undefined or ambiguous) count steps, total is their sum, time is that of
// all steps. One field for each step that ran follows: the label names the step (see NagiosOptions.One), the thresholds
// are the budget.
//
// The code is that of the worst result, in the order of the Monitoring Plugins: CRITICAL, WARNING, UNKNOWN, OK. No
// result is UNKNOWN, and so is output that cannot be written, because Nagios would otherwise show OK.
func Nagios(w io.Writer, results []*result.Result, o NagiosOptions) (exitCode int) {
	state := o.worst(results)
	limit := max(NagiosOutputLeast, cmp.Or(o.Limit, NagiosOutputLimit))
	data, dataLeft := o.perfdata(results, limit-2*nagiosStatusMax)
	status := o.statusLine(state, results)
	if state == result.OK && slices.ContainsFunc(results, func(r *result.Result) bool { return r.Cleanup != "" }) {
		status += " (not everything was cleaned up)" // the long output says what; many lists show this line only
	}
	if dataLeft > 0 {
		status += fmt.Sprintf(" (%d performance values left out)", dataLeft)
	}
	text := status
	if len(data) > 0 {
		text += " | " + strings.Join(data, " ")
	}
	text += "\n"
	text += o.longOutput(results, limit-len(text))
	if _, err := io.WriteString(w, text); err != nil {
		return int(result.Unknown)
	}
	return int(state)
}

// worst returns the worst state of results.
func (o *NagiosOptions) worst(results []*result.Result) result.State {
	if len(results) == 0 {
		return result.Unknown
	}
	state := result.OK
	for _, r := range results {
		state = state.Worse(o.judge(r).State)
	}
	return state
}

// statusLine returns the text before the performance data: what an operator reads on a phone at night.
func (o *NagiosOptions) statusLine(state result.State, results []*result.Result) string {
	line := "STEPWATCH " + state.String() + " - "
	switch {
	case len(results) == 0:
		return line + "no scenario ran"
	case len(results) == 1:
		return line + o.about("", results[0])
	case state == result.OK:
		steps, took := 0, time.Duration(0)
		for _, r := range results {
			steps += len(r.Steps)
			took += r.Duration
		}
		return line + fmt.Sprintf("%d scenarios, %d steps passed in %ss", len(results), steps, seconds(took, 3))
	}
	var first *result.Result
	others := make(map[result.State]int)
	for _, r := range results {
		if is := o.judge(r).State; first == nil && is == state {
			first = r
		} else {
			others[is]++
		}
	}
	if l := first.Lack; l != nil && state == result.Unknown {
		return line + o.lacking(l, results)
	}
	return line + o.about(scenarioName(first.Identity)+": ", first) + " (other scenarios: " + counts(others) + ")"
}

// lacking returns the status line of scenarios that the same lack of the machine of stepwatch keeps from proving anything.
func (o *NagiosOptions) lacking(l *result.Lack, results []*result.Result) string {
	met, others := 0, make(map[result.State]int)
	for _, r := range results {
		if r.Lack != nil && r.Lack.Kind == l.Kind {
			met++
		} else {
			others[o.judge(r).State]++
		}
	}
	rest := ""
	if met < len(results) {
		rest = "; other scenarios: " + counts(others)
	}
	end := fmt.Sprintf(" (lack of %s, blame monitor; %d of %d scenarios meet it%s)", plain(l.Kind), met, len(results), rest)
	return shortenMiddle(plain(l.Said+": "+l.Remedy), nagiosStatusMax-len(end)) + end
}

// counts lists how many results have each state.
func counts(others map[result.State]int) string {
	var rest []string
	for _, s := range []result.State{result.Critical, result.Warning, result.Unknown, result.OK} {
		if others[s] > 0 {
			rest = append(rest, fmt.Sprintf("%d %s", others[s], s))
		}
	}
	return strings.Join(rest, ", ")
}

// about returns the summary of a result, followed by reason and blame, which are never cut off. Of a summary that is too
// long the middle is left out, because its end says what to do.
func (o *NagiosOptions) about(before string, r *result.Result) string {
	judged := o.judge(r)
	summary := either(judged.Summary, r.Summary())
	if summary == "" {
		summary = string(r.Status)
	}
	whose := shorten(plain(cause(r.Reason, r.Blame)), nagiosStatusMax/4)
	if whose != "" {
		whose = " " + whose
	}
	if judged.Remark != "" {
		whose += " [" + shorten(plain(judged.Remark), nagiosStatusMax/2) + "]"
	}
	return shortenMiddle(plain(before+summary), nagiosStatusMax-len(whose)) + whose
}

// cause returns reason and blame in parentheses, or "" if there is neither.
func cause(reason result.Reason, blame result.Blame) string {
	switch {
	case reason == "" && blame == "":
		return ""
	case blame == "":
		return " (" + string(reason) + ")"
	case reason == "":
		return " (blame " + string(blame) + ")"
	default:
		return " (" + string(reason) + ", blame " + string(blame) + ")"
	}
}

// scenarioName returns the name of a scenario within its feature.
func scenarioName(id result.Identity) string {
	if id.Example == "" {
		return id.Scenario
	}
	return id.Scenario + " (" + id.Example + ")"
}

// perfdata returns the fields of the performance data, and the number of those left out because they need more than room
// bytes.
func (o *NagiosOptions) perfdata(results []*result.Result, room int) (fields []string, left int) {
	var passed, failed, nosteps int
	var took time.Duration
	for _, r := range results {
		took += r.Duration
		for _, s := range r.Steps {
			switch s.Status {
			case result.Passed:
				passed++
			case result.Failed:
				failed++
			case result.Undefined, result.Ambiguous:
				nosteps++
			}
		}
	}
	if !slices.ContainsFunc(results, func(r *result.Result) bool { return o.judge(r).NoNumbers }) {
		fields = []string{
			"passed=" + strconv.Itoa(passed),
			"failed=" + strconv.Itoa(failed),
			"nosteps=" + strconv.Itoa(nosteps),
			"total=" + strconv.Itoa(passed+failed+nosteps),
			"time=" + seconds(took, 6) + "s",
		}
	}
	// The five names are taken: a step called "time" gets a number as a suffix, like any other second use.
	used := map[string]bool{"passed": true, "failed": true, "nosteps": true, "total": true, "time": true}
	for _, r := range results {
		thresholds := threshold(r.Budget.Warn) + ";" + threshold(r.Budget.Crit)
		for _, s := range r.Steps {
			// The label is also taken if the step did not run, so that the second step of a name keeps its number.
			label := s.Label
			if !o.One {
				label = r.Identity.Feature + "/" + scenarioName(r.Identity) + "/" + label
			}
			label = unused(perfLabel(label), used)
			if !s.Ran {
				continue
			}
			field := "'" + strings.ReplaceAll(label, "'", "''") + "'=" + seconds(s.Duration, 6) + "s;" + thresholds + ";0;"
			if room -= len(field) + 1; room < 0 {
				left++
				continue
			}
			fields = append(fields, field)
			for _, inner := range innerSteps(label, s.Steps) {
				label := unused(perfLabel(inner.label), used)
				if !inner.step.Ran {
					continue
				}
				field := "'" + strings.ReplaceAll(label, "'", "''") + "'=" + seconds(inner.step.Duration, 6) + "s;;;0;"
				if room -= len(field) + 1; room < 0 {
					left++
					continue
				}
				fields = append(fields, field)
			}
		}
	}
	return fields, left
}

// innerStep is a step below another one.
type innerStep struct {
	label string // including those of the steps above it
	depth int
	step  result.StepResult
}

// innerSteps returns the inner steps of a sentence composed of others, each before those below it.
func innerSteps(above string, steps []result.StepResult) (all []innerStep) {
	for _, s := range steps {
		label := above + result.Beneath + s.Label
		all = append(all, innerStep{label, 1, s})
		for _, beneath := range innerSteps(label, s.Steps) {
			beneath.depth++
			all = append(all, beneath)
		}
	}
	return all
}

// perfLabel returns text as a label. The guidelines forbid "=" in labels, "|" starts new performance data, and a line
// break ends it. UTF-8 is kept: Nagios Core 4 passes the bytes on unchanged.
func perfLabel(text string) string {
	text = strings.ReplaceAll(plain(text), "=", ":")
	if text == "" {
		text = "step"
	}
	if len(text) <= nagiosLabelMax {
		return strings.TrimSpace(text)
	}
	// The end tells labels apart, and so does a digest of what is left out: a number would depend on the other labels.
	sum := sha256.Sum256([]byte(text))
	digest := " " + hex.EncodeToString(sum[:3])
	return strings.TrimSpace(shortenMiddle(text, nagiosLabelMax-len(digest))) + digest
}

// unused returns label, with the lowest free number as a suffix if it is in use, and marks it as used.
func unused(label string, used map[string]bool) string {
	free := label
	for n := 2; used[free]; n++ {
		free = label + " (" + strconv.Itoa(n) + ")"
	}
	used[free] = true
	return free
}

// threshold returns a limit in seconds as the guidelines' range "0 to limit", or "" for none.
func threshold(limit time.Duration) string {
	if limit <= 0 {
		return ""
	}
	return strconv.FormatFloat(limit.Seconds(), 'f', -1, 64)
}

// longOutput returns the text that Nagios shows on a service's own page: a line for each step. It contains no "|",
// which would start performance data, and has at most room bytes.
func (o *NagiosOptions) longOutput(results []*result.Result, room int) string {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, shorten(plain(fmt.Sprintf(format, args...)), nagiosLineMax)+"\n")
	}
	for _, r := range results {
		judged := o.judge(r)
		remark := judged.Remark
		if remark != "" {
			remark = " [" + remark + "]"
		}
		add("%s %s: %s in %s:%d%s", judged.State, r.Identity.Feature, scenarioName(r.Identity), r.Identity.File, r.Identity.Line, remark)
		explained := false
		for _, s := range r.Steps {
			took := "-"
			if s.Ran {
				took = seconds(s.Duration, 3) + "s"
				switch r.Budget.Judge(s.Duration) {
				case result.Warning:
					took += " over " + threshold(r.Budget.Warn) + "s"
				case result.Critical:
					took += " over " + threshold(r.Budget.Crit) + "s"
				}
			}
			if s.Status == result.Passed || s.Status == result.Skipped && s.Error == "" {
				note := ""
				if s.Note != "" {
					note = ": " + s.Note
				}
				add("%s %s %s %s%s", s.Status, took, s.Keyword, s.Text, note)
				addInner(add, s.Steps)
				continue
			}
			message, reason, blame := s.Error, s.Reason, s.Blame
			if !explained {
				message, reason, blame = either(message, r.Error), either(reason, r.Reason), either(blame, r.Blame)
				explained = true
			}
			if message != "" {
				message = ": " + message
			}
			if s.Note != "" {
				message += "; " + s.Note
			}
			add("%s %s %s %s in %s:%d%s%s", s.Status, took, s.Keyword, s.Text, r.Identity.File, s.Line, message, cause(reason, blame))
			addInner(add, s.Steps)
		}
		if len(r.Steps) == 0 && judged.Summary != "" {
			add("%s", judged.Summary)
			explained = true
		}
		if !explained && r.Status != result.Passed && r.Error != "" {
			add("%s: %s%s", r.Status, r.Error, cause(r.Reason, r.Blame))
		}
		if r.Cleanup != "" {
			add("not cleaned up: %s", r.Cleanup)
		}
	}
	total := 0
	for _, line := range lines {
		total += len(line)
	}
	if total <= room {
		return strings.Join(lines, "")
	}
	return fit(lines, room)
}

// innerMark precedes the line of a step below another one, once for each level.
const innerMark = "· "

// addInner adds a line for each inner step of a sentence composed of others. The line of the step above has the error.
func addInner(add func(string, ...any), steps []result.StepResult) {
	for _, inner := range innerSteps("", steps) {
		s, mark := inner.step, strings.Repeat(innerMark, inner.depth)
		took := "-"
		if s.Ran {
			took = seconds(s.Duration, 3) + "s"
		}
		note := ""
		if s.Note != "" {
			note = ": " + s.Note
		}
		if s.Status == result.Passed || s.Status == result.Skipped {
			add("%s%s %s %s %s%s", mark, s.Status, took, s.Keyword, s.Text, note)
		} else {
			add("%s%s %s %s %s in %s:%d%s", mark, s.Status, took, s.Keyword, s.Text, s.File, s.Line, note)
		}
	}
}

// fit removes lines to fit into room: first those about steps that passed. It keeps the order and adds the number of
// removed lines.
func fit(lines []string, room int) string {
	const note = "(%d more lines left out)\n"
	room -= len(note) + 8
	keep := make([]bool, len(lines))
	for _, wanted := range []bool{true, false} {
		for i, line := range lines {
			status := strings.TrimLeft(line, innerMark)
			bad := !strings.HasPrefix(status, string(result.Passed)) && !strings.HasPrefix(status, string(result.Skipped))
			if bad == wanted && len(line) <= room {
				keep[i] = true
				room -= len(line)
			}
		}
	}
	var b strings.Builder
	left := 0
	for i, line := range lines {
		if keep[i] {
			b.WriteString(line)
		} else {
			left++
		}
	}
	fmt.Fprintf(&b, note, left)
	return b.String()
}

// either returns the first of two texts that is not empty.
func either[T ~string](a, b T) T {
	if a != "" {
		return a
	}
	return b
}

// plain returns text as one line of plugin output: valid UTF-8, without control characters, with single blanks as white
// space, and with a broken bar instead of "|", which starts performance data in Nagios.
func plain(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	blank := false
	for _, c := range text {
		switch {
		case unicode.IsSpace(c) || unicode.IsControl(c) || c == '\u2028' || c == '\u2029':
			blank = true
			continue
		case c == '|':
			c = '¦'
		}
		if blank && b.Len() > 0 {
			b.WriteByte(' ')
		}
		blank = false
		b.WriteRune(c)
	}
	return b.String()
}

// shorten cuts text to at most limit bytes, between characters, and marks the cut with "...".
func shorten(text string, limit int) string {
	const mark = "..."
	if len(text) <= limit {
		return text
	}
	cut := limit - len(mark)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + mark
}

// shortenMiddle cuts text to at most limit bytes as shorten does, but keeps its last clause if that is short.
func shortenMiddle(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	last := max(strings.LastIndex(text, ": "), strings.LastIndex(text, "; "))
	if last < 0 || len(text)-last > limit/3 {
		return shorten(text, limit)
	}
	return shorten(text[:last], limit-(len(text)-last)) + text[last:]
}

// seconds formats a duration in seconds with a fixed number of decimals.
func seconds(d time.Duration, decimals int) string {
	return strconv.FormatFloat(d.Seconds(), 'f', decimals, 64)
}
