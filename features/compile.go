package features

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	gherkin "github.com/cucumber/gherkin/go/v42"
	messages "github.com/cucumber/messages/go/v34"
)

// document is one parsed and compiled file.
type document struct {
	ast     *messages.Feature
	feature *Feature
	units   []unit
	defined []unit // those tagged @step, without a scenario
	lines   []int  // the selecting lines; nil selects everything
	asked   []int  // all lines that were given
	broken  bool   // the file has problems, so it is only for checks
}

// unit is one compiled scenario with its source in the file.
type unit struct {
	scenario *Scenario
	sentence *Sentence // of a definition, which has no scenario
	pickle   *messages.Pickle
	rule     *messages.Rule     // or nil
	written  *messages.Scenario // the scenario or outline as written
	examples *messages.Examples // nil outside outlines
	row      *messages.TableRow // nil outside outlines
}

// maxCompiled limits the compiled text of one file, in bytes: rows times steps times cells can exceed the size of the file
// by far.
const maxCompiled = 64 << 20

// read parses and compiles one file. If it has problems, the document is broken, or nil if the file is unreadable.
func read(path string, content []byte, shared texts) (d *document, problems, warnings []Problem) {
	c := compiler{path: path, texts: shared}
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // the byte order mark that some editors write
	if p, bad := unreadable(content); bad {
		p.Path = path
		return nil, []Problem{p}, nil
	}
	text := string(content)
	if isMarkdown(path) {
		var mistakes []Problem
		if text, mistakes, c.warnings = fromMarkdown(path, text); text == "" && len(mistakes) > 0 {
			return nil, mistakes, c.warnings
		}
		c.problems = mistakes
		if line, many := manyTagLines([]byte(text)); many {
			return nil, append(mistakes, tooManyTagLines(path, line)), c.warnings
		}
	}
	ast, languages, err := parse(text)
	if err != nil {
		for _, p := range explain(text, err) {
			p.Path = path
			problems = append(problems, p)
		}
		d, more, warnings := c.salvage(ast, text)
		return d, append(problems, more...), warnings
	}
	if ast.Feature == nil {
		return nil, []Problem{{Path: path, Message: `the file contains no feature: it must begin with "Feature:"`, Rule: RuleSyntax}}, nil
	}
	c.text = text
	for _, line := range languages {
		c.warn(RuleKeyword, &messages.Location{Line: int64(line)}, "the language is a comment here: it must come before the feature and its tags")
	}
	d = c.compile(ast)
	d.broken = len(c.problems) > 0
	return d, c.problems, c.warnings
}

// salvage compiles what the parser understood of a file with errors, to report all its mistakes at once. It drops problems
// that may only result from the missing lines.
func (c *compiler) salvage(ast *messages.GherkinDocument, text string) (d *document, problems, warnings []Problem) {
	if ast == nil || ast.Feature == nil {
		return nil, nil, nil
	}
	// The state of the parser after errors is not specified.
	defer func() {
		if recover() != nil {
			d, problems, warnings = nil, nil, nil
		}
	}()
	c.text, c.salvaging = text, true
	d = c.compile(ast)
	d.broken = true
	own := func(p Problem) bool { return p.Rule == RuleSyntax || p.Rule == RuleNothing || p.Rule == RuleOutline }
	return d, slices.DeleteFunc(c.problems, own), slices.DeleteFunc(c.warnings, own)
}

// parse is the Gherkin parser with the correction of builder. Its error has one line for each mistake. languages has the
// lines that name a language without effect.
func parse(text string) (ast *messages.GherkinDocument, languages []int, err error) {
	// The parser has panicked on input before (a line beyond 64 KiB), and an agent must survive any file.
	defer func() {
		if fault := recover(); fault != nil {
			ast, languages, err = nil, nil, fmt.Errorf("(1:1): %v", fault)
		}
	}()
	b := builder{gherkin.NewAstBuilder(new(messages.Incrementing).NewId)}
	m := newMatcher()
	err = gherkin.NewParser(b).Parse(gherkin.NewScanner(strings.NewReader(text)), m)
	return b.GetGherkinDocument(), m.languages, err
}

// pickles compiles a parsed file as godog does.
func pickles(ast *messages.GherkinDocument, path string) []*messages.Pickle {
	return gherkin.Pickles(*ast, path, new(messages.Incrementing).NewId)
}

// compiler turns one parsed file into features and scenarios.
type compiler struct {
	path     string
	text     string
	lines    []string // of text, once they are needed
	ast      *messages.Feature
	problems []Problem
	warnings []Problem
	compiled int // bytes so far, of maxCompiled

	salvaging bool // the parser dropped lines

	texts     texts
	inherited []*messages.Tag // by the last scenario
	tags      []Tag           // the same

	refused map[*messages.Scenario][]Problem // the mistakes of single scenarios
}

func (c *compiler) problem(rule Rule, at *messages.Location, format string, args ...any) {
	c.problems = append(c.problems, Problem{c.path, int(at.Line), max(1, int(at.Column)), fmt.Sprintf(format, args...), rule})
}

// refuse records a mistake of one scenario. One that belongs to no scenario (nil) is a mistake of the file.
func (c *compiler) refuse(s *messages.Scenario, rule Rule, at *messages.Location, format string, args ...any) {
	if s == nil {
		c.problem(rule, at, format, args...)
		return
	}
	if c.refused == nil {
		c.refused = make(map[*messages.Scenario][]Problem)
	}
	p := Problem{c.path, int(at.Line), max(1, int(at.Column)), fmt.Sprintf(format, args...), rule}
	if !slices.Contains(c.refused[s], p) {
		c.refused[s] = append(c.refused[s], p)
	}
}

func (c *compiler) warn(rule Rule, at *messages.Location, format string, args ...any) {
	c.warnings = append(c.warnings, Problem{c.path, int(at.Line), max(1, int(at.Column)), fmt.Sprintf(format, args...), rule})
}

// firstSlip describes the first line that was probably meant as a keyword, for a feature without scenarios, or is empty.
func (c *compiler) firstSlip() string {
	for _, w := range c.warnings {
		if w.Rule == RuleKeyword {
			return fmt.Sprintf(": line %d: %s", w.Line, strings.TrimPrefix(w.Message, likeDescription))
		}
	}
	return ""
}

// compile builds the feature and its scenarios. It reports problems in them; scenarios may then be missing.
func (c *compiler) compile(ast *messages.GherkinDocument) *document {
	f := ast.Feature
	c.ast = f
	d := &document{ast: f, feature: &Feature{
		Path: c.path, Name: f.Name, Description: outdent(f.Description), Language: f.Language, Line: int(f.Location.Line), Tags: c.texts.tags(f.Tags),
	}}
	c.checkTags(f.Tags, nil)
	c.checkDescription(f.Location, f.Description, inHeader)

	var units []unit
	var steps [][]*messages.Step
	add := func(s *messages.Scenario, rule *messages.Rule, background []*messages.Step) {
		if defines(f, rule, s) {
			c.checkSentence(s)
			s.Examples = nil // already reported as a mistake
			c.measure(s.Steps, nil, nil)
			units, steps = append(units, unit{rule: rule, written: s, sentence: &Sentence{}}), append(steps, slices.Concat(background, s.Steps))
			return
		}
		c.checkScenario(s)
		all := slices.Concat(background, s.Steps)
		if len(s.Steps) == 0 {
			all = nil // a pickle has the steps of its background only before its own
		}
		if len(s.Examples) == 0 {
			c.measure(all, nil, nil)
			units, steps = append(units, unit{rule: rule, written: s}), append(steps, all)
			return
		}
		for _, e := range s.Examples {
			if e.TableHeader == nil {
				continue
			}
			for _, row := range e.TableBody {
				c.measure(all, e.TableHeader, row)
				units, steps = append(units, unit{rule: rule, written: s, examples: e, row: row}), append(steps, all)
			}
		}
	}
	var background []*messages.Step
	for _, child := range f.Children {
		switch {
		case child.Background != nil:
			background = child.Background.Steps
			c.checkBackground(child.Background)
		case child.Scenario != nil:
			add(child.Scenario, nil, background)
		case child.Rule != nil:
			r := child.Rule
			c.checkTags(r.Tags, nil)
			c.checkDescription(r.Location, r.Description, inHeader)
			inherited := background
			scenarios, from := 0, len(units)
			for _, child := range r.Children {
				switch {
				case child.Background != nil:
					inherited = slices.Concat(background, child.Background.Steps)
					c.checkBackground(child.Background)
				case child.Scenario != nil:
					scenarios++
					add(child.Scenario, r, inherited)
				}
			}
			if scenarios == 0 {
				c.warn(RuleNothing, r.Location, "rule %q contains no scenario, so nothing of it would run", r.Name)
			}
			for _, child := range r.Children {
				c.checkPrepares(child.Background, units[from:])
			}
		}
	}
	for _, child := range f.Children {
		c.checkPrepares(child.Background, units)
	}
	if len(f.Children) == 0 || len(units) == 0 && len(c.problems) == 0 {
		c.problem(RuleNothing, f.Location, "feature %q contains no scenario, so nothing of it would run%s", f.Name, c.firstSlip())
	}
	if c.compiled > maxCompiled {
		c.problem(RuleSyntax, f.Location, "feature %q compiles to more than 64 MiB of steps: split it or use fewer rows", f.Name)
	}
	if c.compiled > maxCompiled {
		return d
	}

	for s, mistakes := range c.refused { // an outline without rows compiles to no scenario that could have them
		if !slices.ContainsFunc(units, func(u unit) bool { return u.written == s }) {
			c.warnings = append(c.warnings, mistakes...)
		}
	}
	all := pickles(ast, c.path)
	if len(all) != len(units) {
		c.problem(RuleSyntax, f.Location, "feature %q compiles to %d scenarios instead of %d", f.Name, len(all), len(units))
		return d
	}
	for i, pickle := range all {
		u := units[i]
		u.pickle = pickle
		if u.sentence != nil && (len(u.written.Steps) == 0 || strings.TrimSpace(u.written.Name) == "") {
			continue // already reported as a problem
		}
		if len(pickle.Steps) != len(steps[i]) {
			c.problem(RuleSyntax, u.written.Location, "scenario %q compiles to %d steps instead of %d", u.written.Name, len(pickle.Steps), len(steps[i]))
			continue
		}
		if u.sentence != nil {
			u.sentence = c.sentence(u, steps[i])
			d.defined = append(d.defined, u)
			continue
		}
		u.scenario = c.scenario(u, steps[i])
		d.units = append(d.units, u)
	}
	return d
}

// scenario builds a Scenario from its pickle and its written steps, which correspond one to one.
func (c *compiler) scenario(u unit, steps []*messages.Step) *Scenario {
	s := &Scenario{Path: c.path, Line: int(u.written.Location.Line), Feature: c.ast.Name,
		Name: c.texts.share(u.pickle.Name), Title: c.texts.share(u.written.Name)}
	s.Label = s.Title
	inherited := slices.Clone(c.ast.Tags)
	if u.rule != nil {
		s.Rule = c.texts.share(u.rule.Name)
		inherited = append(inherited, u.rule.Tags...)
	}
	inherited = append(inherited, u.written.Tags...)
	if u.row != nil {
		s.Line = int(u.row.Location.Line)
		s.Example = example(u.examples.TableHeader, u.row)
		inherited = append(inherited, u.examples.Tags...)
	}
	if !slices.Equal(inherited, c.inherited) {
		c.inherited, c.tags = inherited, c.texts.tags(inherited)
	}
	s.Tags = c.tags
	s.Policy = c.policy(u.written, inherited)
	s.Mistakes = inOrder(slices.Clone(c.refused[u.written]))

	s.Steps = c.steps(steps, u.pickle.Steps)
	if u.row != nil {
		for i, written := range steps {
			s.Steps[i].Values = values(written.Text, s.Steps[i].Text, u.examples.TableHeader, u.row)
		}
	}
	return s
}

// steps builds steps from those of a pickle and from the written ones.
func (c *compiler) steps(steps []*messages.Step, pickle []*messages.PickleStep) []Step {
	all := make([]Step, len(steps))
	labels := unique{}
	for i, written := range steps {
		compiled := pickle[i]
		step := Step{
			Keyword: strings.TrimSpace(written.Keyword),
			Text:    c.texts.share(compiled.Text),
			Label:   c.texts.share(labels.number(written.Text)),
			Path:    c.path,
			Type:    string(compiled.Type),
			Line:    int(written.Location.Line),
			Column:  int(written.Location.Column),
		}
		if a := compiled.Argument; a != nil && a.DocString != nil {
			step.DocString = &DocString{MediaType: c.texts.share(strings.TrimSpace(a.DocString.MediaType)), Content: c.texts.share(a.DocString.Content)}
			if step.DocString.MediaType != a.DocString.MediaType {
				step.DocString.written = a.DocString.MediaType
			}
			step.tableFirst = a.DataTable != nil && a.DataTable.ArgumentIndex < a.DocString.ArgumentIndex
		}
		if a := compiled.Argument; a != nil && a.DataTable != nil {
			step.Table = make([][]string, len(a.DataTable.Rows))
			for r, row := range a.DataTable.Rows {
				step.Table[r] = make([]string, len(row.Cells))
				for k, cell := range row.Cells {
					step.Table[r][k] = c.texts.share(cell.Value)
				}
			}
		}
		all[i] = step
	}
	return all
}

// values returns the parts of a step's text that a row filled in: from, to. It fills in the row like the compiler of pickles,
// column by column. A result other than text would be a fault; then it returns none, and the whole text counts as written.
func values(written, text string, header, row *messages.TableRow) (all [][2]int) {
	if !strings.Contains(written, "<") {
		return nil
	}
	// The filled parts are marked byte by byte, because a later column may fill in a part of an earlier cell.
	filled, marks := written, make([]bool, len(written))
	var empty []int // places of cells without text
	for i, column := range header.Cells {
		placeholder, cell := "<"+column.Value+">", row.Cells[i].Value
		var b strings.Builder
		var next []bool
		from := 0
		for {
			at := strings.Index(filled[from:], placeholder)
			if at < 0 {
				break
			}
			at += from
			b.WriteString(filled[from:at] + cell)
			next = append(next, marks[from:at]...)
			if cell == "" {
				empty = append(empty, len(next))
			}
			for range len(cell) {
				next = append(next, true)
			}
			from = at + len(placeholder)
		}
		b.WriteString(filled[from:])
		filled, marks = b.String(), append(next, marks[from:]...)
	}
	if filled != text {
		return nil
	}
	for i := 0; i < len(marks); i++ {
		if !marks[i] {
			continue
		}
		from := i
		for i < len(marks) && marks[i] {
			i++
		}
		all = append(all, [2]int{from, i})
	}
	if len(empty) == 1 && len(all) == 0 { // more would have to follow the later columns
		all = [][2]int{{empty[0], empty[0]}}
	}
	return all
}

// example writes an outline row as "column=cell, column=cell".
func example(header, row *messages.TableRow) string {
	cells := make([]string, len(row.Cells))
	for i, cell := range row.Cells {
		cells[i] = header.Cells[i].Value + "=" + cell.Value
	}
	return strings.Join(cells, ", ")
}

// tags converts the parser's tags.
func (t texts) tags(written []*messages.Tag) []Tag {
	all := make([]Tag, len(written))
	for i, tag := range written {
		name, value := cutTag(t.share(tag.Name))
		all[i] = Tag{Name: name, Value: value, Line: int(tag.Location.Line)}
	}
	return all
}

// cutTag splits "@name:value". A tag that ends with its colon is only a name, so that String returns it unchanged.
func cutTag(tag string) (name, value string) {
	tag = strings.TrimPrefix(tag, "@")
	if name, value, found := strings.Cut(tag, ":"); found && value != "" {
		return name, value
	}
	return tag, ""
}

// outdent removes the indentation of a description, which belongs to the layout of the file.
func outdent(description string) string {
	lines := strings.Split(description, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// measure adds up the text that one scenario compiles to, like the compiler of pickles: column by column, so a cell may
// insert placeholders of later columns and double the text with each of them.
func (c *compiler) measure(steps []*messages.Step, header, row *messages.TableRow) {
	add := func(text string) {
		if c.compiled > maxCompiled {
			return
		}
		if row != nil && strings.Contains(text, "<") {
			for i, column := range header.Cells {
				placeholder, cell := "<"+column.Value+">", row.Cells[i].Value
				if n := strings.Count(text, placeholder); n > 0 {
					if len(text)+n*len(cell) > maxCompiled {
						c.compiled = maxCompiled + 1
						return
					}
					text = strings.ReplaceAll(text, placeholder, cell)
				}
			}
		}
		c.compiled += len(text) + 100 // with the overhead of a step or cell
	}
	for _, s := range steps {
		if c.compiled > maxCompiled {
			return
		}
		add(s.Text)
		if s.DocString != nil {
			add(s.DocString.Content)
			add(s.DocString.MediaType)
		}
		if s.DataTable != nil {
			for _, r := range s.DataTable.Rows {
				for _, cell := range r.Cells {
					add(cell.Value)
				}
			}
		}
	}
}

// checkScenario finds scenarios that would run nothing, or something else than intended.
func (c *compiler) checkScenario(s *messages.Scenario) {
	c.checkTags(s.Tags, s)
	c.checkDescription(s.Location, s.Description, aboveSteps)
	if examples := gherkin.DialectsBuiltin().GetDialect(c.ast.Language).ExamplesKeywords()[0]; len(s.Steps) == 0 &&
		strings.HasPrefix(strings.TrimSpace(s.Description), "|") {
		c.refuse(s, RuleKeyword, s.Location, "%q begins a scenario and takes no table: did you mean %q?", s.Keyword+":", examples+":")
		return
	}
	if len(s.Steps) == 0 {
		begin := ""
		if s.Description != "" {
			begin = ": a step begins with " + stepKeywords(gherkin.DialectsBuiltin().GetDialect(c.ast.Language))
		} else if isMarkdown(c.path) {
			begin = `: a step is an item of a list, such as "* Given …"`
		}
		c.refuse(s, RuleNothing, s.Location, "scenario %q has no steps, so it would run nothing%s", s.Name, begin)
		return
	}
	dialect := gherkin.DialectsBuiltin().GetDialect(c.ast.Language)
	if len(s.Examples) == 0 && slices.Contains(dialect.ScenarioOutlineKeywords(), s.Keyword) {
		// As in Cucumber, it is a scenario.
		if slices.ContainsFunc(s.Steps, func(step *messages.Step) bool { return len(placeholders(step.Text+beneath(step))) > 0 }) {
			c.warn(RuleOutline, s.Location, "%s %q has no %s:, so nothing fills in its placeholders", s.Keyword, s.Name, dialect.ExamplesKeywords()[0])
		}
	}
	for _, e := range s.Examples {
		c.checkTags(e.Tags, s)
		c.checkDescription(e.Location, e.Description, aboveTable)
		switch {
		case e.TableHeader == nil:
			c.warn(RuleOutline, e.Location, "%s: has no table, so nothing of it would run: write a row of column names and a row for each run", e.Keyword)
		case len(e.TableBody) == 0:
			c.warn(RuleOutline, e.Location, "%s: has no row below its column names, so nothing of it would run", e.Keyword)
		default:
			c.checkColumns(s, e)
		}
	}
}

// maxUnknown is for how many placeholders of an outline without a column the nearest one is looked for: each is compared with
// all columns.
const maxUnknown = 100

// checkColumns warns of duplicate and unused columns, and of placeholders that no column fills in.
func (c *compiler) checkColumns(s *messages.Scenario, e *messages.Examples) {
	columns, known := make([]string, len(e.TableHeader.Cells)), map[string]bool{}
	for i, cell := range e.TableHeader.Cells {
		if known[cell.Value] {
			c.warn(RuleSlip, cell.Location, "the column %q occurs twice: the first one counts", cell.Value)
		}
		columns[i], known[cell.Value] = cell.Value, true
	}
	used := map[string]bool{}
	for _, name := range placeholders(s.Name) {
		used[name] = true
	}
	unknown := 0
	for _, step := range s.Steps {
		for _, name := range placeholders(step.Text) {
			used[name] = true
			if known[name] || strings.ContainsAny(name, `/="`) { // the latter is part of a page
				continue
			}
			if unknown++; unknown > maxUnknown {
				continue // the first ones are enough to see what is wrong
			}
			if column, slips := nearest(name, columns); slips <= len(column)/3 {
				used[column] = true // intended, so this is one mistake and not two
				c.warn(RuleSlip, step.Location, "<%s> is not filled in: did you mean <%s>?", name, column)
			} else {
				c.warn(RuleUnused, step.Location, "<%s> is not filled in: add a column %q to the %s: at line %d", name, name, e.Keyword, e.Location.Line)
			}
		}
		for _, name := range placeholders(beneath(step)) {
			used[name] = true
		}
	}
	for _, row := range e.TableBody {
		for _, cell := range row.Cells { // these may contain placeholders of later columns
			for _, name := range placeholders(cell.Value) {
				used[name] = true
			}
		}
	}
	for i, cell := range e.TableHeader.Cells {
		if c.salvaging && strings.Contains(c.text, "<"+cell.Value+">") {
			continue // a dropped line may use it
		}
		if !used[cell.Value] && !slices.Contains(columns[:i], cell.Value) {
			c.warn(RuleUnused, cell.Location, "nothing uses the column %q: write <%s> where its values belong, or remove it", cell.Value, cell.Value)
		}
	}
}

// beneath returns all text of the doc string or table of a step.
func beneath(step *messages.Step) string {
	var b strings.Builder
	if step.DocString != nil {
		b.WriteString(step.DocString.MediaType + "\n" + step.DocString.Content)
	}
	if step.DataTable != nil {
		for _, row := range step.DataTable.Rows {
			for _, cell := range row.Cells {
				b.WriteString(cell.Value + "\n")
			}
		}
	}
	return b.String()
}

// placeholders lists the names in angle brackets.
func placeholders(text string) []string {
	var names []string
	for {
		_, rest, found := strings.Cut(text, "<")
		if !found {
			return names
		}
		if name, _, found := strings.Cut(rest, ">"); found && !strings.Contains(name, "<") {
			names = append(names, name)
		}
		text = rest
	}
}

func (c *compiler) checkBackground(b *messages.Background) {
	c.checkDescription(b.Location, b.Description, aboveSteps)
	if len(b.Steps) == 0 {
		c.warn(RuleNothing, b.Location, "%s: has no steps", b.Keyword)
	}
}

// checkPrepares warns of a background whose feature or rule only defines sentences. b may be nil.
func (c *compiler) checkPrepares(b *messages.Background, units []unit) {
	if b != nil && len(units) > 0 && !slices.ContainsFunc(units, func(u unit) bool { return u.sentence == nil }) {
		c.warn(RuleNothing, b.Location, "no scenario uses this %s:, and it does not apply to sentences (@step): write its steps into them, or remove it", b.Keyword)
	}
}
