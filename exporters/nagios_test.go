package exporters_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/exporters/exporterstest"
)

// nagios returns the output for Nagios, after the exit code.
func nagios(results ...*result.Result) string {
	var b strings.Builder
	code := exporters.Nagios(&b, results, exporters.NagiosOptions{})
	return fmt.Sprintf("exit %d\n%s", code, b.String())
}

func TestNagiosGolden(t *testing.T) {
	slow := exporterstest.Passing()
	slow.Budget = result.Budget{Warn: 50 * time.Millisecond, Crit: time.Second}
	undefined := exporterstest.Passing()
	undefined.Identity.Scenario, undefined.Identity.Example = "It's | \"new\"\nand=odd", ""
	undefined.Status, undefined.Reason, undefined.Blame, undefined.Error = result.Undefined, result.ReasonScenario, result.BlameScenario, "no step definition"
	undefined.Duration = 0
	for i := range undefined.Steps {
		s := &undefined.Steps[i]
		s.Status, s.Ran, s.Duration, s.Phases = result.Skipped, false, 0, nil
	}
	undefined.Steps[0].Status = result.Undefined
	told := exporterstest.Typical()
	for i := range told.Steps {
		told.Steps[i].Note = "submission 0.010s → queue 41.2s | inbox\n0.1s"
	}
	dirty := exporterstest.Passing()
	dirty.Cleanup = `message "x7" is still in the mailbox of "bob"`
	for _, c := range []struct {
		name    string
		results []*result.Result
	}{
		{"none", nil},
		{"passed", []*result.Result{exporterstest.Passing()}},
		{"failed", []*result.Result{exporterstest.Typical()}},
		{"with notes", []*result.Result{told}},
		{"slow", []*result.Result{slow}},
		{"undefined", []*result.Result{undefined}},
		{"not cleaned up", []*result.Result{dirty}},
		{"several passed", []*result.Result{exporterstest.Passing(), dirty}},
		{"several", []*result.Result{exporterstest.Passing(), slow, undefined, exporterstest.Typical()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			golden(t, "nagios-"+strings.ReplaceAll(c.name, " ", "-")+".txt", nagios(c.results...))
		})
	}
}

// The worst of several results decides, in the order of the Monitoring Plugins: only OK is better than UNKNOWN.
func TestNagiosWorst(t *testing.T) {
	ok := exporterstest.Passing()
	warning := exporterstest.Passing()
	warning.Budget.Warn = time.Millisecond
	critical := exporterstest.Typical()
	unknown := run(result.Undefined, skipped("a"))
	for _, c := range []struct {
		results []*result.Result
		want    int
	}{
		{nil, 3},
		{[]*result.Result{ok}, 0},
		{[]*result.Result{ok, ok}, 0},
		{[]*result.Result{ok, unknown}, 3},
		{[]*result.Result{unknown, ok}, 3},
		{[]*result.Result{unknown, warning, ok}, 1},
		{[]*result.Result{warning, critical, unknown}, 2},
		{[]*result.Result{run(result.Passed)}, 3},
	} {
		if got := exporters.Nagios(io.Discard, c.results, exporters.NagiosOptions{}); got != c.want {
			t.Errorf("%d results: want exit %d, got %d", len(c.results), c.want, got)
		}
	}
}

func TestNagiosInnerSteps(t *testing.T) {
	step := func(keyword, text, label string, status result.Status, d time.Duration, inner ...result.StepResult) result.StepResult {
		return result.StepResult{Keyword: keyword, Text: text, Label: label, File: "steps/own.feature", Line: 7, Status: status, Ran: d > 0, Duration: d, Steps: inner}
	}
	outer := step("When", `I log in as "al"`, `I log in as "al"`, result.Failed, 3*time.Second,
		step("When", "I open the page", "I open the page", result.Passed, time.Second),
		step("And", "I send the form", "I send the form", result.Failed, 2*time.Second,
			step("And", `I fill in "User" with "al"`, `I fill in "User" with "<user>"`, result.Failed, 2*time.Second),
			step("And", `I press "it's"`, `I press "it's"`, result.Skipped, 0)))
	outer.Line, outer.Error, outer.Reason, outer.Blame = 5, "at `I send the form` (steps/own.feature:7): no such field", result.ReasonNotFound, result.BlameWeb
	outer.Steps[0].Note = "by IPv6"
	got := nagios(&result.Result{Identity: result.Identity{Feature: "Shop", Scenario: "Log in", File: "shop.feature", Line: 4}, Status: result.Failed,
		Reason: outer.Reason, Blame: outer.Blame, Error: outer.Error, Duration: 3 * time.Second, Steps: []result.StepResult{outer}})
	golden(t, "nagios-inner.txt", got)
}

// brokenPipe is a writer whose reader has left.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestNagiosUnwritableIsUnknown(t *testing.T) {
	if got := exporters.Nagios(brokenPipe{}, []*result.Result{exporterstest.Passing()}, exporters.NagiosOptions{}); got != 3 {
		t.Errorf("want exit 3, got %d", got)
	}
}

// A failure that is too long for a status line is cut, but reason and blame still follow it.
func TestNagiosKeepsTheCause(t *testing.T) {
	long := exporterstest.Typical()
	for i := range long.Steps {
		if long.Steps[i].Status == result.Failed {
			long.Steps[i].Error = strings.Repeat("it is long ", 100)
		}
	}
	long.Error = strings.Repeat("it is long ", 100)
	for _, results := range [][]*result.Result{{long}, {long, exporterstest.Passing()}} {
		line, _, _ := strings.Cut(nagios(results...), " | ")
		if want := "... (" + string(long.Reason) + ", blame " + string(long.Blame) + ")"; !strings.Contains(line, want) {
			t.Errorf("want %q in %s", want, line)
		}
	}
}

// The end of a long failure says what to do, so it stays and the middle goes.
func TestNagiosKeepsWhatToDo(t *testing.T) {
	long := exporterstest.Typical()
	long.Error = strings.Repeat("it is long; ", 100) + "the log says: 451: ask the operator of mx1.example.test"
	for i := range long.Steps {
		if long.Steps[i].Status == result.Failed {
			long.Steps[i].Error = long.Error
		}
	}
	line, _, _ := strings.Cut(nagios(long), " | ")
	if want := "...: ask the operator of mx1.example.test (" + string(long.Reason); !strings.Contains(line, want) || len(line) > 600 {
		t.Errorf("want %q in %s", want, line)
	}
}

// TestNagiosLabelsAreStable holds that a label says which step it is of, whatever else is asked for at the same time: the
// graphs of a step end where its label changes.
func TestNagiosLabelsAreStable(t *testing.T) {
	labels := func(o exporters.NagiosOptions, results ...*result.Result) []string {
		var b strings.Builder
		exporters.Nagios(&b, results, o)
		_, data, _ := strings.Cut(b.String(), " | ")
		values, err := parsePerfdata(strings.SplitN(data, "\n", 2)[0])
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, v := range values[5:] {
			all = append(all, v.label)
		}
		return all
	}
	long := exporterstest.Passing()
	long.Identity.Feature = strings.Repeat("a long name ", 20)
	for _, one := range []*result.Result{exporterstest.Typical(), long} {
		other := exporterstest.Passing()
		alone, beside := labels(exporters.NagiosOptions{}, one), labels(exporters.NagiosOptions{}, other, one)
		if !slices.Equal(alone, beside[len(beside)-len(alone):]) || len(beside) <= len(alone) {
			t.Errorf("alone %q, beside another %q", alone, beside)
		}
		for _, label := range alone {
			if len(label) > 160 || strings.HasSuffix(label, ")") {
				t.Errorf("label %q", label)
			}
		}
	}
	if got := labels(exporters.NagiosOptions{One: true}, exporterstest.Typical()); got[1] != `"bob" receives it over IMAP within 60s` {
		t.Errorf("of one scenario: %q", got)
	}
}

// TestNagiosOutputLimit holds that the output keeps to the limit of whoever carries it, and that the default is generous.
func TestNagiosOutputLimit(t *testing.T) {
	var many []*result.Result
	for i := range 2000 {
		r := exporterstest.Passing()
		r.Identity.Scenario = fmt.Sprintf("Scenario %d", i)
		many = append(many, r)
	}
	for _, limit := range []int{0, 1, 1024, 4096, 30000} {
		var b strings.Builder
		exporters.Nagios(&b, many, exporters.NagiosOptions{Limit: limit})
		most := limit
		if limit == 0 {
			most = exporters.NagiosOutputLimit
		}
		if most = max(most, exporters.NagiosOutputLeast); b.Len() > most || b.Len() < most/2 {
			t.Errorf("limit %d: %d bytes", limit, b.Len())
		}
		if !strings.Contains(b.String(), "performance values left out)") {
			t.Errorf("limit %d: it does not say what is left out", limit)
		}
	}
}

func TestNagiosOddResults(t *testing.T) {
	odd := exporterstest.Odd()
	all := make([]*result.Result, 0, len(odd))
	for _, name := range slices.Sorted(maps.Keys(odd)) {
		t.Run(name, func(t *testing.T) { checkPlugin(t, []*result.Result{odd[name]}) })
		all = append(all, odd[name])
	}
	t.Run("all together", func(t *testing.T) { checkPlugin(t, all) })
}

// FuzzNagios uses any text where a feature's author or a server can put text.
func FuzzNagios(f *testing.F) {
	f.Add("I should see 'x'", "a=b|c", "500 no\nway", "example", uint8(1))
	f.Add("", "", "", "", uint8(0))
	f.Add("''", "=|'\n", "\xff", "time", uint8(3))
	f.Fuzz(func(t *testing.T, a, b, c, d string, n uint8) {
		var all []*result.Result
		for i := range int(n%4) + 1 {
			one, two := did(a, result.Passed, time.Duration(i)), did(b, result.Failed, time.Second)
			two.Error, two.Reason = c, result.Reason(d)
			r := run(result.Failed, one, two, skipped(c), did(a, result.Passed, time.Second))
			r.Identity = result.Identity{Feature: a, Scenario: b, Example: d, File: c}
			r.Error, r.Cleanup, r.Budget.Warn = c, d, time.Duration(n)*time.Millisecond
			all = append(all, r)
		}
		checkPlugin(t, all)
	})
}

// checkPlugin parses the output of Nagios like Nagios Core 4, and compares it with the results.
func checkPlugin(t *testing.T, results []*result.Result) {
	t.Helper()
	var b strings.Builder
	code := exporters.Nagios(&b, results, exporters.NagiosOptions{One: len(results) == 1, Limit: 7680})
	out := b.String()
	if code < 0 || code > 3 {
		t.Errorf("want an exit code from 0 to 3, got %d", code)
	}
	if len(out) > 7680 {
		t.Errorf("want at most 7680 bytes, got %d", len(out))
	}
	if !utf8.ValidString(out) {
		t.Errorf("want valid UTF-8, got %q", out)
	}
	for _, c := range out {
		if c < ' ' && c != '\n' || c == 0x7f {
			t.Errorf("want no control characters, got %q in %q", c, out)
		}
	}
	first, long, _ := strings.Cut(out, "\n")
	if strings.Contains(long, "|") {
		t.Errorf("want no bar in the long output, got %q", long)
	}
	status, data, found := strings.Cut(first, " | ")
	if want := "STEPWATCH " + result.State(code).String() + " - "; !found || !strings.HasPrefix(status, want) || len(status) == len(want) {
		t.Errorf("want a status line that begins with %q and continues, got %q", want, first)
	}
	values, err := parsePerfdata(data)
	if err != nil {
		t.Fatalf("%v in %q", err, data)
	}
	var labels []string
	for _, v := range values {
		if slices.Contains(labels, v.label) {
			t.Errorf("label %q is twice in %q", v.label, data)
		}
		labels = append(labels, v.label)
	}
	if want := []string{"passed", "failed", "nosteps", "total", "time"}; len(labels) < 5 || !slices.Equal(labels[:5], want) {
		t.Fatalf("want the fields %q first, got %q", want, labels)
	}
	ran := 0
	for _, r := range results {
		for _, s := range r.Steps {
			if !s.Ran {
				continue
			}
			if ran++; ran > len(values)-5 {
				continue
			}
			v := values[4+ran]
			if math.Abs(v.value-s.Duration.Seconds()) > 1e-6 || v.unit != "s" || v.min != "0" {
				t.Errorf("step %q of %s: got %+v", s.Label, s.Duration, v)
			}
		}
	}
	if left := ran - (len(values) - 5); left != 0 && !strings.Contains(status, fmt.Sprintf("(%d performance values left out)", left)) {
		t.Errorf("%d of %d steps are not in the performance data, but the status line does not say so: %q", left, ran, status)
	}
}

// perfValue is one field of performance data.
type perfValue struct {
	label                string
	value                float64
	unit                 string
	warn, crit, min, max string
}

// parsePerfdata reads performance data by the grammar of the Nagios Plugin Development Guidelines: a list of
// 'label'=value[UOM];[warn];[crit];[min];[max], separated by blanks. Quotes around a label are optional unless it
// contains blanks or quotes, and a quote in it is doubled.
func parsePerfdata(data string) ([]perfValue, error) {
	var values []perfValue
	for data = strings.TrimLeft(data, " "); data != ""; data = strings.TrimLeft(data, " ") {
		var v perfValue
		if strings.HasPrefix(data, "'") {
			data = data[1:]
			for {
				end := strings.IndexByte(data, '\'')
				if end < 0 {
					return nil, errors.New("a quoted label without its end")
				}
				v.label += data[:end]
				data = data[end+1:]
				if !strings.HasPrefix(data, "'") {
					break
				}
				v.label += "'"
				data = data[1:]
			}
			if !strings.HasPrefix(data, "=") {
				return nil, fmt.Errorf("no = after the label %q", v.label)
			}
			data = data[1:]
		} else {
			var found bool
			if v.label, data, found = strings.Cut(data, "="); !found || strings.ContainsAny(v.label, " '") {
				return nil, fmt.Errorf("not a label: %q", v.label)
			}
		}
		if v.label == "" || strings.ContainsAny(v.label, "=|\n") || strings.TrimSpace(v.label) != v.label {
			return nil, fmt.Errorf("not a label: %q", v.label)
		}
		var field string
		field, data, _ = strings.Cut(data, " ")
		parts := strings.Split(field, ";")
		if len(parts) > 5 {
			return nil, fmt.Errorf("more than five parts: %q", field)
		}
		digits := strings.TrimRight(parts[0], "sB%cu")
		v.unit = parts[0][len(digits):]
		var err error
		if v.value, err = strconv.ParseFloat(digits, 64); err != nil || strings.Trim(digits, "-0123456789.") != "" {
			return nil, fmt.Errorf("not a value: %q", parts[0])
		}
		for i, to := range []*string{&v.warn, &v.crit, &v.min, &v.max} {
			if i+1 < len(parts) {
				*to = parts[i+1]
				if strings.Trim(*to, "-0123456789.") != "" {
					return nil, fmt.Errorf("not a number: %q", *to)
				}
			}
		}
		values = append(values, v)
	}
	return values, nil
}

// BenchmarkNagios measures the output of a plugin that runs one scenario.
func BenchmarkNagios(b *testing.B) {
	results := []*result.Result{exporterstest.Typical()}
	b.ReportAllocs()
	for b.Loop() {
		exporters.Nagios(io.Discard, results, exporters.NagiosOptions{})
	}
}
