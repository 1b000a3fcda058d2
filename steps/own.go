package steps

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/overlap"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/sentence"
)

// Sentences that operators make of other sentences, in scenarios tagged @step.

// composed is the definition of such a sentence.
type composed struct {
	sentence *features.Sentence
	compat   bool   // in a project of cucumber-nagios
	slots    []slot // in the order of the pattern's groups
	steps    []ownStep
	doc      bool  // it passes on the doc string of the step that uses it
	table    bool  // the same for the table
	size     int   // number of steps, including those of the sentences that it uses
	err      error // the first mistake in it or in a sentence that it uses: it cannot be used
}

// ownStep is a step of such a sentence. Its definition is fixed when it is read. Later values only fill the parameters and
// do not change the definition.
type ownStep struct {
	written    features.Step
	text       fragments
	definition *Definition
	captured   []fragments // captured by the pattern of the definition, one for each group
	doc        fragments
	table      [][]fragments
}

// The limits of one sentence. A sentence that uses another twice doubles its size at every level.
const (
	ownSteps = 1000    // total steps
	ownText  = 1 << 20 // bytes of text, doc strings and tables for one step that uses it
)

// OwnError is the error of a step that matches a sentence whose definition has a mistake.
type OwnError struct {
	Sentence string
	Err      error // a features.Problem, with the place of the mistake
}

// Error returns a message with the sentence and the mistake.
func (e *OwnError) Error() string {
	return fmt.Sprintf("the sentence %q cannot be used: %v", e.Sentence, e.Err)
}

// Unwrap returns the mistake.
func (e *OwnError) Unwrap() error { return e.Err }

// mistake is a features.Problem that keeps its cause.
type mistake struct {
	features.Problem
	cause error
}

func (m *mistake) Unwrap() error { return m.cause }

// Define returns a library with additional sentences, and the mistakes in them. The library also has a sentence with a
// mistake if its text is readable: steps that match it get an *OwnError.
func (l *Library) Define(sentences []*features.Sentence) (*Library, []features.Problem) {
	if len(sentences) == 0 {
		return l, nil
	}
	d := definer{library: &Library{definitions: slices.Clone(l.definitions), compat: l.compat, near: new(suggester)}}
	for _, s := range sentences {
		d.read(s)
	}
	for _, def := range d.defined {
		d.bindSteps(def)
	}
	for _, def := range d.defined {
		d.measure(def)
	}
	return d.library, d.problems
}

// definer adds sentences to a library.
type definer struct {
	library  *Library
	defined  []*Definition
	programs map[string]overlap.Program // by their patterns
	measured map[*Definition]bool
	path     []*Definition // from the measured sentence to the current one
	problems []features.Problem
}

// fail records a mistake in a definition.
func (d *definer) fail(o *composed, line, column int, cause error) {
	p := features.Problem{Path: o.sentence.Path, Line: line, Column: column, Message: features.HidePassword(cause.Error()), Rule: RuleOf(cause)}
	d.problems = append(d.problems, p)
	if o.err == nil {
		o.err = &mistake{p, cause}
	}
}

// read reads a sentence: its text, and the placeholders in its steps.
func (d *definer) read(s *features.Sentence) {
	o := &composed{sentence: s, compat: d.library.compat}
	expression, slots, err := readSentence(s.Text, false)
	if err != nil {
		d.fail(o, s.Line, s.Column, fmt.Errorf("the sentence %q: %w", s.Text, err))
		return
	}
	o.slots = slots
	def := &Definition{Area: cmp.Or(s.Feature, "own sentences"), Sentence: s.Text, File: s.Path, Line: s.Line, own: o, derived: new(derived)}
	if _, err := regexp.Compile(expression); err != nil {
		d.fail(o, s.Line, s.Column, fmt.Errorf("the sentence %q: %w", s.Text, err))
		return
	}
	for _, slot := range slots {
		def.derived.params = append(def.derived.params, slot.kind)
	}
	def.derived.patterns = []*sentence.Pattern{def.newPattern(expression)}
	if d.library.compat {
		// First without quotes in texts, so that optional parts are found.
		open, _, _ := readSentence(s.Text, true)
		both := []*sentence.Pattern{def.derived.patterns[0], def.newPattern(open)}
		def.derived.compat = func() []*sentence.Pattern { return both }
	}
	used := make([]bool, len(slots))
	valid := true
	for _, written := range s.Steps {
		step, err := readOwnStep(written, o)
		if err != nil {
			d.fail(o, written.Line, written.Column, err)
			valid = false
			continue
		}
		for i := range slots {
			used[i] = used[i] || step.uses(i)
		}
		o.steps = append(o.steps, step)
	}
	for i, slot := range slots {
		if valid && !used[i] {
			d.fail(o, s.Line, s.Column, fmt.Errorf("no step of %q uses <%s>, so any value would do: use it or remove it from the sentence", s.Text, slot.name))
		}
	}
	def.Does, def.Example = o.does(), o.example()
	if o.doc {
		def.DocString = Required
	}
	if o.table {
		def.Table = Required
	}
	d.collide(def)
	d.library.definitions = append(d.library.definitions, def)
	d.defined = append(d.defined, def)
}

// readOwnStep finds the placeholders in a step of a definition.
func readOwnStep(written features.Step, o *composed) (step ownStep, err error) {
	step = ownStep{written: written}
	if step.text, err = readFragments(written.Text, o.slots, false); err != nil {
		return step, err
	}
	if written.DocString != nil {
		if step.doc, err = readFragments(written.DocString.Content, o.slots, true); err != nil {
			return step, err
		}
		o.doc = o.doc || step.doc.uses(theDoc)
	}
	for _, row := range written.Table {
		var cells []fragments
		passes, err := passesTable(row)
		if err != nil {
			return step, err
		}
		if passes {
			o.table = true
			step.table = append(step.table, nil)
			continue
		}
		for _, cell := range row {
			f, err := readFragments(cell, o.slots, true)
			if err != nil {
				return step, err
			}
			o.doc = o.doc || f.uses(theDoc)
			cells = append(cells, f)
		}
		step.table = append(step.table, cells)
	}
	return step, nil
}

// passesTable reports whether a row stands for the table of the step that uses the sentence.
func passesTable(row []string) (bool, error) {
	const mark = "<" + tablePlaceholder + ">"
	if len(row) == 0 || row[0] != mark {
		return false, nil
	}
	if i := slices.IndexFunc(row[1:], func(cell string) bool { return cell != "" }); i >= 0 {
		return false, fmt.Errorf("%q is in the row of %s, which stands for whole rows: leave the other cells empty", row[i+1], mark)
	}
	return true, nil
}

// width returns the number of cells that passed rows must have, the same as the rows in the definition, or 0 if it has none.
func (s *ownStep) width() int {
	if !slices.ContainsFunc(s.table, func(row []fragments) bool { return row == nil }) {
		return 0
	}
	for _, row := range s.table {
		if row != nil {
			return len(row)
		}
	}
	return 0
}

func (s *ownStep) uses(slot int) bool {
	if s.text.uses(slot) || s.doc.uses(slot) {
		return true
	}
	return slices.ContainsFunc(s.table, func(row []fragments) bool {
		return slices.ContainsFunc(row, func(cell fragments) bool { return cell.uses(slot) })
	})
}

// collide finds the definitions that can match the same text.
func (d *definer) collide(def *Definition) {
	s := def.own.sentence
	p := def.derived.patterns[0]
	program, err := overlap.Compile(p.Text)
	if err != nil {
		d.fail(def.own, s.Line, s.Column, fmt.Errorf("the sentence %q: %w", s.Text, err))
		return
	}
	for _, other := range d.library.definitions {
		text, both := d.rival(p, program, other)
		switch {
		case !both:
		case other.File == "":
			d.fail(def.own, s.Line, s.Column, fmt.Errorf("the sentence %q and the built-in %q can mean the same step, such as %q: choose other words", s.Text, other.Sentence, text))
		case other.derive().patterns[0].Text == p.Text:
			d.fail(def.own, s.Line, s.Column, fmt.Errorf("the sentence %q is already defined at %s", s.Text, other.place()))
		default:
			d.fail(def.own, s.Line, s.Column, fmt.Errorf("the sentence %q and %q (%s) can mean the same step, such as %q: choose other words", s.Text, other.Sentence, other.place(), text))
		}
	}
}

// rival returns a text that both a pattern and a definition match.
func (d *definer) rival(p *sentence.Pattern, program overlap.Program, other *Definition) (text string, both bool) {
	for _, q := range other.derive().patterns {
		if !strings.HasPrefix(p.Opening, q.Opening) && !strings.HasPrefix(q.Opening, p.Opening) {
			continue
		}
		rival, ready := d.programs[q.Text]
		if !ready {
			var err error
			if rival, err = overlap.Compile(q.Text); err != nil {
				continue // overlap does not support this pattern; a step that matches both is still ambiguous
			}
			if d.programs == nil {
				d.programs = make(map[string]overlap.Program)
			}
			d.programs[q.Text] = rival
		}
		if text, both := overlap.Find(program, rival); both {
			return text, true
		}
	}
	return "", false
}

// place returns the place where a sentence that is not built in is defined.
func (d *Definition) place() string { return fmt.Sprintf("%s:%d", d.File, d.Line) }

// bindSteps binds the steps of a definition to sentences.
func (d *definer) bindSteps(def *Definition) {
	o := def.own
	for i := range o.steps {
		step := &o.steps[i]
		if err := d.bindStep(o, step); err != nil {
			d.fail(o, step.written.Line, step.written.Column, err)
		}
	}
}

func (d *definer) bindStep(o *composed, step *ownStep) error {
	text, begins := step.text.sampled(o.slots)
	found := d.library.matches(text, nil, step.written.Type)
	switch len(found) {
	case 0:
		undefined := d.library.undefined(step.written)
		if hint := d.otherType(o, step); hint != "" {
			return fmt.Errorf("%w (%s)", undefined, hint)
		}
		return undefined
	case 1:
	default:
		return ambiguous(step.written.Text, found)
	}
	step.definition = found[0].definition
	if err := step.definition.takes(step.written.Table != nil, step.written.DocString != nil); err != nil {
		return err
	}
	if inner := step.definition.own; inner != nil {
		if inner.doc && step.written.DocString == nil {
			return fmt.Errorf("%q needs a doc string below it", step.written.Text)
		}
		if inner.table && step.written.Table == nil {
			return fmt.Errorf("%q needs a table below it", step.written.Text)
		}
	}
	caught := make([]bool, len(step.text))
	for g, group := range found[0].groups {
		if group[0] < 0 {
			step.captured = append(step.captured, fragments{{found[0].captured[g], none}})
			continue
		}
		value := fragments{}
		for i, part := range step.text {
			from, to := max(begins[i], group[0]), min(begins[i+1], group[1])
			switch {
			case from >= to:
			case part.slot == none:
				words := part.text[from-begins[i] : to-begins[i]]
				if !found[0].definition.raw && found[0].reading.Quoted(group[0], group[1]) {
					words = found[0].reading.Text(from, to)
				}
				value = append(value, fragment{words, none})
			case from > begins[i] || to < begins[i+1]:
				return fmt.Errorf("<%s> extends beyond its parameter of %q", o.slots[part.slot].name, step.definition.Sentence)
			default:
				value, caught[i] = append(value, part), true
			}
		}
		step.captured = append(step.captured, value)
	}
	for i, part := range step.text {
		if part.slot >= 0 && !caught[i] {
			return fmt.Errorf("%q has no parameter at <%s>, so its value would be lost", step.definition.Sentence, o.slots[part.slot].name)
		}
	}
	return nil
}

// otherType returns a hint if the step would match a sentence with another type of a placeholder.
func (d *definer) otherType(o *composed, step *ownStep) string {
	for i, slot := range o.slots {
		if !step.text.uses(i) {
			continue
		}
		for _, kind := range proposedKinds() {
			slots := slices.Clone(o.slots)
			slots[i].kind = kind
			text, _ := step.text.sampled(slots)
			if found := d.library.matches(text, nil, step.written.Type); len(found) == 1 && kind != slot.kind {
				return fmt.Sprintf("<%s> is a {%s} here: with the type <%s:%s> it would be %q", slot.name, slot.kind.Name, slot.name, kind.Name, found[0].definition.Sentence)
			}
		}
	}
	return ""
}

// measure counts the steps of a sentence and finds cycles.
func (d *definer) measure(def *Definition) {
	o := def.own
	if d.measured[def] {
		return
	}
	if i := slices.Index(d.path, def); i >= 0 {
		d.cycle(append(slices.Clone(d.path[i:]), def))
		return
	}
	d.path = append(d.path, def)
	defer func() { d.path = d.path[:len(d.path)-1] }()
	for _, step := range o.steps {
		switch {
		case step.definition == nil || step.definition.own == nil:
			o.size++
		default:
			d.measure(step.definition)
			inner := step.definition.own
			o.size += inner.size
			if o.err == nil {
				o.err = inner.err
			}
		}
	}
	if o.size > ownSteps {
		o.size = ownSteps + 1
		if o.err == nil {
			d.fail(o, o.sentence.Line, o.sentence.Column, fmt.Errorf("the sentence %q expands to more than %d steps", o.sentence.Text, ownSteps))
		}
	}
	if d.measured == nil {
		d.measured = make(map[*Definition]bool)
	}
	d.measured[def] = true
}

// cycle reports a cycle of sentences once.
func (d *definer) cycle(ring []*Definition) {
	if slices.ContainsFunc(ring, func(def *Definition) bool { return errors.Is(def.own.err, errCycle) }) {
		return
	}
	names := make([]string, len(ring))
	for i, def := range ring {
		names[i] = fmt.Sprintf("%q (%s)", def.Sentence, def.place())
	}
	s := ring[0].own.sentence
	cause := &cycleError{fmt.Sprintf("the sentence contains itself: %s", strings.Join(names, " → "))}
	d.fail(ring[0].own, s.Line, s.Column, cause)
	for _, def := range ring[1:] {
		if def.own.err == nil {
			def.own.err = ring[0].own.err
		}
	}
}

var errCycle = errors.New("a cycle")

// cycleError is the mistake of a sentence that contains itself.
type cycleError struct{ text string }

func (e *cycleError) Error() string { return e.text }

func (e *cycleError) Is(target error) bool { return target == errCycle }

// does returns the text of the catalogue: the author's description of the scenario, and the steps.
func (o *composed) does() string {
	texts := make([]string, len(o.sentence.Steps))
	for i, step := range o.sentence.Steps {
		texts[i] = "`" + features.HidePassword(step.Text) + "`"
		if strings.Contains(step.Text, "`") {
			texts[i] = "`` " + features.HidePassword(step.Text) + " ``"
		}
	}
	does := "Steps: " + strings.Join(texts, "; ") + "."
	d := strings.Join(strings.Fields(o.sentence.Description), " ")
	switch {
	case d == "":
		return does
	case !strings.ContainsAny(d[len(d)-1:], ".!?"):
		d += "."
	}
	return d + " " + does
}

// example returns a step as an author writes it.
func (o *composed) example() string {
	text := o.sentence.Text
	for _, s := range o.slots {
		value := s.fallback
		if !s.optional {
			if value = s.kind.Sample; s.kind.Quote != "" {
				value = s.name
			}
		}
		from := strings.Index(text, "<"+s.name)
		to := from + strings.IndexByte(text[from:], '>')
		text = text[:from] + value + text[to+1:]
	}
	text = "When " + strings.NewReplacer(`\[`, "[", `\]`, "]", `\<`, "<", `\\`, `\`, "[", "", "]", "").Replace(text)
	if o.doc {
		text += "\n  \"\"\"\n  …\n  \"\"\""
	}
	if o.table {
		text += "\n  | … |"
	}
	return text
}

// expand binds the nested steps of a step with an operator's sentence. left is the number of bytes that they may take.
func (b *Bound) expand(left *int) error {
	o := b.Definition.own
	if o == nil {
		return nil
	}
	if o.err != nil {
		return &OwnError{Sentence: o.sentence.Text, Err: o.err}
	}
	switch {
	case o.doc && b.Args.DocString == nil:
		return fmt.Errorf("%q needs a doc string below it, because %s passes it on", b.Definition.Sentence, b.Definition.place())
	case o.table && b.Args.Table == nil:
		return fmt.Errorf("%q needs a table below it, because %s passes it on", b.Definition.Sentence, b.Definition.place())
	case !o.doc && b.Args.DocString != nil:
		return fmt.Errorf("%q takes no doc string: no step of %s passes it on, as <%s>", b.Definition.Sentence, b.Definition.place(), docPlaceholder)
	case !o.table && b.Args.Table != nil:
		return fmt.Errorf("%q takes no table: no step of %s passes it on, as <%s>", b.Definition.Sentence, b.Definition.place(), tablePlaceholder)
	}
	dir := filepath.Dir(o.sentence.Path)
	values := slices.Clone(b.Args.Captured)
	for i, s := range o.slots {
		if s.kind.File {
			values[i] = relative(dir, b.Args.Path(i))
		}
	}
	for i := range o.steps {
		written := o.steps[i].written
		if width := o.steps[i].width(); width > 0 && slices.ContainsFunc(b.Args.Table, func(row []string) bool { return len(row) != width }) {
			return fmt.Errorf("%q needs a table of %d columns below it, like the table that its rows go into (%s:%d)", b.Definition.Sentence, width, written.Path, written.Line)
		}
		inner := o.steps[i].bound(values, b.Args, left)
		if *left < 0 {
			return fmt.Errorf("%q expands to more than %d bytes of steps", b.Definition.Sentence, ownText)
		}
		inner.Args.Dir = dir
		if !inner.Definition.accepts(inner.Step.Text, inner.Step.Values, o.compat) {
			return fmt.Errorf("%s does not match %q with them", b.unfit(inner), inner.Definition.Sentence)
		}
		if err := inner.Definition.refuses(inner.Args); err != nil {
			return fmt.Errorf("%s: %w", b.unfit(inner), err)
		}
		if err := inner.expand(left); err != nil {
			return err
		}
		b.Inner = append(b.Inner, inner)
	}
	return nil
}

// unfit returns the beginning of the error for a nested step that does not match with the values.
func (b *Bound) unfit(inner *Bound) string {
	return fmt.Sprintf("the values of %q do not fit: %q (%s:%d)", features.HidePassword(b.Step.Text), features.HidePassword(inner.Step.Text), inner.Step.Path, inner.Step.Line)
}

// varying matches the parts of a step that would be placeholders in a sentence.
var varying = regex.Lazy(`"(?:\\"|[^"])*"|<[^<>]*>|https?://\S+|\b\d+(?:\.\d+)? ?(?:ms|s|m|h|d|milliseconds?|seconds?|minutes?|hours?|days?)\b|\b\d+(?:\.\d+)?\b`)

// Snippet returns the draft of a definition for the step.
func (e *UndefinedError) Snippet() string {
	used := make(map[string]int)
	var b strings.Builder
	last := 0
	plain := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `<`, `\<`)
	for _, at := range varying.FindAllStringIndex(e.Step.Text, -1) {
		value := e.Step.Text[at[0]:at[1]]
		b.WriteString(plain.Replace(e.Step.Text[last:at[0]]))
		last = at[1]
		kind, format := "number", "<%s:number>"
		switch {
		case value[0] == '"':
			kind, format = "text", `"<%s>"`
		case value[0] == '<':
			kind, format = "word", "<%s:word>"
		case value[0] == 'h':
			kind, format = "address", "<%s:url>"
		case strings.Trim(value, "0123456789") == "":
			kind, format = "number", "<%s:int>"
		case strings.Trim(value, "0123456789.") != "":
			kind, format = "duration", "<%s:duration>"
		}
		if used[kind]++; used[kind] > 1 {
			kind = fmt.Sprintf("%s %d", kind, used[kind])
		}
		fmt.Fprintf(&b, format, kind)
	}
	b.WriteString(plain.Replace(e.Step.Text[last:]))
	text := "  @step\n  Scenario: " + b.String() + "\n    * …\n"
	if e.Step.DocString != nil {
		text += "      \"\"\"\n      <" + docPlaceholder + ">\n      \"\"\"\n"
	}
	if e.Step.Table != nil {
		text += "      | <" + tablePlaceholder + "> |\n"
	}
	return text
}

// bound fills in a step of a definition. It subtracts its size from left.
func (s *ownStep) bound(values []string, outer Args, left *int) *Bound {
	fill := func(f fragments) string {
		if *left < 0 {
			return ""
		}
		text := f.filled(values, outer.DocString, *left)
		*left -= len(text)
		return text
	}
	step := s.written
	b := &Bound{Definition: s.definition, Step: &step}
	b.Step.Text, b.Step.Values = fill(s.text), s.text.places(values)
	for _, f := range s.captured {
		b.Args.Captured = append(b.Args.Captured, fill(f))
		b.passed = append(b.passed, f.open())
	}
	if d := s.written.DocString; d != nil {
		b.Args.DocString = &features.DocString{MediaType: d.MediaType, Content: fill(s.doc)}
		if d.MediaType == "" && outer.DocString != nil && s.doc.uses(theDoc) {
			b.Args.DocString.MediaType = outer.DocString.MediaType
		}
	}
	for _, row := range s.table {
		if row == nil {
			for _, r := range outer.Table {
				for _, cell := range r {
					*left -= len(cell)
				}
			}
			b.Args.Table = append(b.Args.Table, outer.Table...)
			continue
		}
		cells := make([]string, len(row))
		for i, f := range row {
			cells[i] = fill(f)
		}
		b.Args.Table = append(b.Args.Table, cells)
	}
	b.Step.DocString, b.Step.Table = b.Args.DocString, b.Args.Table
	return b
}

// relative returns a path relative to dir, if possible.
func relative(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil {
		return rel
	}
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}
