package features

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	gherkin "github.com/cucumber/gherkin/go/v42"
	messages "github.com/cucumber/messages/go/v34"
)

// maxLine is the longest line for godog's scanner, with room for a keyword before it: the scanner panics beyond 64 KiB.
const maxLine = 60000

// Source renders the scenario as a Gherkin document with only this scenario, which compiles to exactly this pickle. It is
// minimal, because godog parses it at each run: tags are on the feature (each tag line compiles a regular expression, and one
// before a scenario is read twice), keywords are English ones of the same type.
func (s *Scenario) Source() []byte {
	r := renderer{}
	return r.render(s)
}

// checkSource returns why the source of the scenario does not compile to its pickle, or nil.
func (s *Scenario) checkSource(p *messages.Pickle) error {
	content := s.Source()
	for line := range bytes.Lines(content) {
		if len(line) > maxLine {
			return fmt.Errorf("scenario %q has a line of more than %d bytes after its placeholders are filled in", shorten(p.Name), maxLine)
		}
	}
	if err := verify(content, p); err != nil {
		return fmt.Errorf("scenario %q cannot be run as it is written: %w", shorten(p.Name), err)
	}
	return nil
}

// verify compiles the source and compares the result with the original pickle.
func verify(content []byte, p *messages.Pickle) error {
	ast, err := gherkin.ParseGherkinDocument(bytes.NewReader(content), new(messages.Incrementing).NewId) // without corrections, like godog
	if err != nil {
		return err
	}
	all := pickles(ast, p.Uri)
	if len(all) != 1 {
		return fmt.Errorf("it becomes %d scenarios", len(all))
	}
	q := all[0]
	if q.Name != p.Name {
		return fmt.Errorf("its name becomes %q", q.Name)
	}
	if len(q.Tags) != len(p.Tags) {
		return errors.New("its tags change")
	}
	for i, t := range p.Tags {
		if q.Tags[i].Name != t.Name {
			return fmt.Errorf("its tag %q becomes %q", t.Name, q.Tags[i].Name)
		}
	}
	if len(q.Steps) != len(p.Steps) {
		return fmt.Errorf("its %d steps become %d", len(p.Steps), len(q.Steps))
	}
	for i, step := range p.Steps {
		if q.Steps[i].Text != step.Text || q.Steps[i].Type != step.Type || !reflect.DeepEqual(q.Steps[i].Argument, step.Argument) {
			return fmt.Errorf("its step %q becomes another", step.Text)
		}
	}
	return nil
}

// renderer writes one scenario. Text that Gherkin cannot express in place (a line break in the text of a step, blanks around a
// name) becomes a placeholder, and the scenario becomes an outline with one row: a cell can contain it.
type renderer struct {
	b    bytes.Buffer
	mark string   // suffix of the placeholders, so that no text of the pickle contains one by chance
	used []string // cells in use, as written
}

// The values of placeholders, as written in a row.
const (
	lineBreak = `\n`
	nothing   = ``
	backslash = `\\`
)

func (r *renderer) render(s *Scenario) []byte {
	r.mark = unusedMark(s)
	for i, t := range s.Tags {
		if i > 0 {
			r.b.WriteByte(' ')
		}
		r.b.WriteString(t.String())
	}
	if len(s.Tags) > 0 {
		r.b.WriteByte('\n')
	}
	r.line("Feature: ", s.Feature)
	r.line("Scenario: ", r.oneLine(s.Name))
	for _, step := range s.Steps {
		r.line(keywordOf(step.Type), r.oneLine(step.Text))
		if step.DocString != nil && !step.tableFirst {
			r.docString(step.DocString)
		}
		if step.Table != nil {
			r.table(step.Table)
		}
		if step.DocString != nil && step.tableFirst {
			r.docString(step.DocString)
		}
	}
	if len(r.used) > 0 {
		r.b.WriteString("Examples:\n|")
		for _, cell := range r.used {
			r.b.WriteString(r.name(cell))
			r.b.WriteByte('|')
		}
		r.b.WriteString("\n|")
		for _, cell := range r.used {
			r.b.WriteString(cell)
			r.b.WriteByte('|')
		}
		r.b.WriteByte('\n')
	}
	return r.b.Bytes()
}

// keywordOf returns an English keyword of a step's type.
func keywordOf(stepType string) string {
	switch messages.PickleStepType(stepType) {
	case messages.PickleStepType_CONTEXT:
		return "Given "
	case messages.PickleStepType_ACTION:
		return "When "
	case messages.PickleStepType_OUTCOME:
		return "Then "
	default:
		return "* "
	}
}

// line writes a line. It doubles a carriage return at the end, because the scanner removes one.
func (r *renderer) line(keyword, text string) {
	r.b.WriteString(keyword)
	r.b.WriteString(text)
	if strings.HasSuffix(text, "\r") {
		r.b.WriteByte('\r')
	}
	r.b.WriteByte('\n')
}

// placeholder returns the placeholder of a cell.
func (r *renderer) placeholder(cell string) string {
	known := false
	for _, u := range r.used {
		known = known || u == cell
	}
	if !known {
		r.used = append(r.used, cell)
	}
	return "<" + r.name(cell) + ">"
}

func (r *renderer) name(cell string) string {
	switch cell {
	case lineBreak:
		return "break" + r.mark
	case backslash:
		return "backslash" + r.mark
	default:
		return "nothing" + r.mark
	}
}

// oneLine returns a name or the text of a step with line breaks replaced and blanks at the ends protected.
func (r *renderer) oneLine(text string) string {
	if strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, "\n", r.placeholder(lineBreak))
	}
	return r.held(text, func(c rune) bool { return c == ' ' || c == '\t' })
}

// held protects characters at the ends from trimming.
func (r *renderer) held(text string, trimmed func(rune) bool) string {
	if strings.TrimLeftFunc(text, trimmed) != text {
		text = r.placeholder(nothing) + text
	}
	if strings.TrimRightFunc(text, trimmed) != text {
		text += r.placeholder(nothing)
	}
	return text
}

var cellEscapes = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\n", `\n`)

// cell returns a cell of a table.
func (r *renderer) cell(value string) string {
	return cellEscapes.Replace(r.held(value, func(c rune) bool { return c != '\n' && unicode.IsSpace(c) }))
}

func (r *renderer) table(rows [][]string) {
	for _, row := range rows {
		r.b.WriteByte('|')
		for _, cell := range row {
			r.b.WriteString(r.cell(cell))
			r.b.WriteByte('|')
		}
		r.b.WriteByte('\n')
	}
}

// docString writes a doc string without indentation, so that its lines are not changed.
func (r *renderer) docString(d *DocString) {
	const fence = `"""`
	const escaped = `\"\"\"`
	mediaType := cmp.Or(d.written, d.MediaType)
	if strings.Contains(mediaType, "\n") {
		mediaType = strings.ReplaceAll(mediaType, "\n", r.placeholder(lineBreak))
	}
	r.line(fence, mediaType)
	if d.Content != "" {
		content := d.Content
		if strings.Contains(content, escaped) { // would lose its backslashes
			content = strings.ReplaceAll(content, escaped, r.placeholder(backslash)+escaped[1:])
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(content, fence, escaped), "\n") {
			r.line("", line)
		}
	}
	r.line(fence, "")
}

// unusedMark returns a suffix that occurs in no text of the scenario.
func unusedMark(s *Scenario) string {
	mark := ""
	for n := 1; holds(s, mark+">"); n++ {
		mark = strconv.Itoa(n)
	}
	return mark
}

// holds reports whether a text of the scenario contains the given one.
func holds(s *Scenario, text string) bool {
	if strings.Contains(s.Name, text) {
		return true
	}
	for _, step := range s.Steps {
		if strings.Contains(step.Text, text) {
			return true
		}
		if d := step.DocString; d != nil && (strings.Contains(cmp.Or(d.written, d.MediaType), text) || strings.Contains(d.Content, text)) {
			return true
		}
		for _, row := range step.Table {
			if slices.ContainsFunc(row, func(cell string) bool { return strings.Contains(cell, text) }) {
				return true
			}
		}
	}
	return false
}

// shorten truncates a text for a message.
func shorten(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return text
}
