package cmd

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/evidence"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// pretty writes runs for people: each step appears when it starts and gets its time when it ends. Apart from colours, the
// output is the same on a terminal and in a file.
type pretty struct {
	out     io.Writer
	colour  bool
	phases  bool   // show the phases of every step, not only of failing ones
	feature string // the current heading
	plan    *agent.Plan
	line    int // of the current step of the scenario; 0 between steps
	width   int
	told    []int // steps of the scenario that have been written
	tally   tally

	evidence *evidence.Store // store for the evidence of failures; nil keeps none
}

// tally has the totals of one invocation.
type tally struct {
	scenarios, steps map[result.Status]int
	took             time.Duration
	worst            result.State
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	grey   = "90"
	bold   = "1"
)

func (p *pretty) paint(colour, text string) string {
	if !p.colour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// begin writes the headings of one scenario.
func (p *pretty) begin(plan *agent.Plan) {
	s := plan.Scenario
	if heading := s.Path + s.Feature; heading != p.feature {
		if p.feature != "" {
			fmt.Fprintln(p.out)
		}
		fmt.Fprintf(p.out, "%s  %s\n", p.paint(bold, "Feature: "+s.Feature), p.paint(grey, s.Path))
		p.feature = heading
	}
	name := s.Name
	if s.Example != "" {
		name += "  " + p.paint(grey, "("+s.Example+")")
	}
	fmt.Fprintf(p.out, "\n  %s  %s\n", p.paint(bold, "Scenario: "+name), p.paint(grey, fmt.Sprintf("line %d", s.Line)))
	p.plan, p.width, p.told = plan, 0, nil
	for i, step := range s.Steps {
		p.width = max(p.width, utf8.RuneCountInString(step.Keyword+plan.StepText(i))+1)
		if bound := plan.Steps()[i]; bound != nil {
			p.width = max(p.width, innerWidth(bound))
		}
	}
	p.width = min(p.width, 90)
}

// innerWidth returns the width of the widest nested step, with its indentation.
func innerWidth(b *steps.Bound) int {
	width := 0
	for _, inner := range b.Inner {
		width = max(width, len(indent)+utf8.RuneCountInString(inner.Step.Keyword+inner.Step.Text)+1, len(indent)+innerWidth(inner))
	}
	return width
}

const indent = "  "

// StepStarting implements agent.Observer.
func (p *pretty) StepStarting(index int) {
	p.line = p.plan.Scenario.Steps[index].Line
	p.starting(0, p.plan.Scenario.Steps[index].Keyword, p.plan.StepText(index), p.plan.Steps()[index])
}

// InnerStarting implements agent.Observer.
func (p *pretty) InnerStarting(depth int, b *steps.Bound) {
	p.starting(depth, b.Step.Keyword, b.Step.Text, b)
}

// starting writes a step. The time of a step with nested steps comes after them.
func (p *pretty) starting(depth int, keyword, text string, b *steps.Bound) {
	line := p.stepText(depth, keyword, text)
	if b != nil && len(b.Inner) > 0 {
		line = strings.TrimRight(line, " ") + "\n"
	}
	fmt.Fprint(p.out, line)
}

func (p *pretty) stepText(depth int, keyword, text string) string {
	line := strings.Repeat(indent, depth) + keyword + " " + printable(text)
	return "    " + line + strings.Repeat(" ", max(0, p.width-utf8.RuneCountInString(line)))
}

// StepEnded implements agent.Observer.
func (p *pretty) StepEnded(index int, s result.StepResult) {
	p.told = append(p.told, index)
	p.InnerEnded(0, s)
	p.line = 0
}

// InnerEnded implements agent.Observer.
func (p *pretty) InnerEnded(depth int, s result.StepResult) {
	switch inner := len(s.Steps) > 0; {
	case inner && s.Ran:
		for _, rest := range s.Steps {
			if rest.Status == result.Skipped {
				p.skipped(depth+1, rest)
			}
		}
		fmt.Fprint(p.out, p.stepText(depth+1, "=", "total"))
	case !s.Ran:
		fmt.Fprint(p.out, p.stepText(depth, s.Keyword, s.Text))
	}
	p.verdict(depth, s)
}

func (p *pretty) skipped(depth int, s result.StepResult) {
	fmt.Fprintf(p.out, "%s  %10s  %s\n", p.paint(grey, p.stepText(depth, s.Keyword, s.Text)), "", p.paint(grey, "- skipped"))
}

func (p *pretty) verdict(depth int, s result.StepResult) {
	mark, colour := "✓", green
	switch s.Status {
	case result.Passed:
		if depth > 0 {
			break // budgets are for the scenario's own steps
		}
		switch p.plan.Budget.Judge(s.Duration) {
		case result.Warning:
			mark, colour = "! over @warn:"+p.plan.Budget.Warn.String(), yellow
		case result.Critical:
			mark, colour = "! over @crit:"+p.plan.Budget.Crit.String(), red
		}
	case result.Failed:
		mark, colour = "✗", red
	default:
		mark, colour = "? "+string(s.Status), yellow
	}
	took := strings.Repeat(" ", 10)
	if s.Ran {
		took = fmt.Sprintf("%10s", milliseconds(s.Duration))
	}
	fmt.Fprintf(p.out, "  %s  %s\n", took, p.paint(colour, mark))
	margin := "      " + strings.Repeat(indent, depth)
	_, _, told := s.Inner()
	if s.Error != "" && !told {
		fmt.Fprintf(p.out, "%s%s\n", margin, p.paint(red, printable(s.Error)))
		place := fmt.Sprintf("%s:%d", p.plan.Scenario.Path, cmp.Or(p.line, s.Line))
		if depth > 0 {
			place = fmt.Sprintf("%s:%d, for %s", s.File, s.Line, place)
		}
		fmt.Fprintf(p.out, "%s%s\n", margin, p.paint(grey, fmt.Sprintf("reason %s, blame %s, %s", s.Reason, s.Blame, place)))
	}
	if s.Note != "" {
		fmt.Fprintf(p.out, "%s%s\n", margin, p.paint(grey, printable(s.Note)))
	}
	if len(s.Steps) > 0 {
		return // the nested steps have shown theirs
	}
	if len(s.Phases) > 0 && (p.phases || s.Status == result.Failed) {
		fmt.Fprintf(p.out, "%s%s\n", margin, p.paint(grey, p.phaseLine(s.Phases)))
	}
	if p.phases {
		for _, m := range s.Measurements {
			fmt.Fprintf(p.out, "%s%s\n", margin, p.paint(grey, measurement(m)))
		}
	}
}

// measurement formats a measurement like its metric: "mail_hop_seconds{hop="queue"} 41.2".
func measurement(m result.Measurement) string {
	labels := make([]string, len(m.Labels))
	for i, l := range m.Labels {
		labels[i] = l.Name + "=" + strconv.Quote(l.Value)
	}
	name := m.Name
	if len(labels) > 0 {
		name += "{" + strings.Join(labels, ",") + "}"
	}
	return printable(name) + " " + strconv.FormatFloat(m.Value, 'f', -1, 64)
}

// phaseLine returns phases in order: "dns 0.2 ms, connect 0.1 ms, mail 0.3 ms". It includes the server's answers only
// if the phases of every step are shown: the error of a failing step has the important part.
func (p *pretty) phaseLine(phases []result.Phase) string {
	parts := make([]string, len(phases))
	for i, ph := range phases {
		parts[i] = ph.Name + " " + milliseconds(ph.Duration)
		if ph.Note != "" && p.phases {
			parts[i] += " (" + printable(ph.Note) + ")"
		}
	}
	return strings.Join(parts, ", ")
}

// end writes what belongs to no step, and counts the run.
func (p *pretty) end(r *result.Result) {
	if p.tally.scenarios == nil {
		p.tally.scenarios, p.tally.steps = make(map[result.Status]int), make(map[result.Status]int)
	}
	p.tally.scenarios[r.Status]++
	p.tally.took += r.Duration
	p.tally.worst = p.tally.worst.Worse(r.State())
	for _, line := range savedEvidence(p.evidence, r) {
		fmt.Fprintf(p.out, "      %s\n", p.paint(grey, line))
	}
	for i, s := range r.Steps {
		p.tally.steps[s.Status]++
		switch {
		case slices.Contains(p.told, i):
		case s.Status == result.Skipped:
			p.skipped(0, s)
		case !s.Ran && s.Status != result.Failed:
			p.StepEnded(i, s)
		}
	}
	if _, named := r.Failing(); !named && r.Error != "" && r.Status != result.Skipped {
		fmt.Fprintf(p.out, "    %s\n", p.paint(red, printable(r.Error)))
	}
	if r.Cleanup != "" {
		fmt.Fprintf(p.out, "    %s\n", p.paint(yellow, "left behind: "+printable(r.Cleanup)))
	}
}

// savedEvidence saves the evidence of a run and returns the paths, or why it could not be saved.
func savedEvidence(store *evidence.Store, r *result.Result) (lines []string) {
	if store == nil {
		return nil
	}
	paths, err := store.Save(r)
	for _, path := range paths {
		lines = append(lines, "evidence: "+printable(path))
	}
	if err != nil {
		lines = append(lines, printable(err.Error()))
	}
	return lines
}

// summary writes the last line: "2 scenarios: 1 passed, 1 failed. 7 steps: 5 passed, 1 failed, 1 skipped. 1.234 s in steps".
func (p *pretty) summary() {
	fmt.Fprintf(p.out, "\n%s. %s. %s in steps\n", p.count("scenario", p.tally.scenarios), p.count("step", p.tally.steps), milliseconds(p.tally.took))
}

func (p *pretty) count(noun string, counts map[result.Status]int) string {
	total := 0
	var parts []string
	for _, status := range result.Statuses {
		n := counts[status]
		if total += n; n == 0 {
			continue
		}
		colour := yellow
		switch status {
		case result.Passed:
			colour = green
		case result.Failed:
			colour = red
		case result.Skipped:
			colour = grey
		}
		parts = append(parts, p.paint(colour, fmt.Sprintf("%d %s", n, status)))
	}
	return counted(total, noun) + ": " + strings.Join(parts, ", ")
}

// milliseconds formats a duration for comparison: "0.213 ms", "12.3 ms", "1.234 s".
func milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 1:
		return fmt.Sprintf("%.3f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
}

// printable replaces control characters, so that text from a server cannot move the cursor or break the layout.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError:
			return '?'
		}
		return r
	}, text)
}
