package features

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	gherkin "github.com/cucumber/gherkin/go/v42"
)

// unreadable finds content that the parser must not get: it would take binary data for prose, and it panics on a long line.
func unreadable(content []byte) (Problem, bool) {
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) {
		return Problem{Line: 1, Column: 1, Message: "the file is UTF-16: save it as UTF-8", Rule: RuleFile}, true
	}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		if len(line) > maxLine {
			return Problem{Line: number, Column: 1, Message: fmt.Sprintf("the line is longer than %d bytes: split it", maxLine), Rule: RuleFile}, true
		}
		if i := bytes.IndexByte(line, 0); i >= 0 {
			return Problem{Line: number, Column: utf8.RuneCount(line[:i]) + 1, Message: "the file contains a zero byte: it is not a text file or is UTF-16; save it as UTF-8", Rule: RuleFile}, true
		}
		if !utf8.Valid(line) {
			i := 0
			for i < len(line) {
				r, size := utf8.DecodeRune(line[i:])
				if r == utf8.RuneError && size == 1 {
					break
				}
				i += size
			}
			return Problem{Line: number, Column: utf8.RuneCount(line[:i]) + 1, Message: fmt.Sprintf("the byte 0x%02x is not valid UTF-8: save the file as UTF-8", line[i]), Rule: RuleFile}, true
		}
	}
	if line, many := manyTagLines(content); many {
		return tooManyTagLines("", line), true
	}
	if line, long := longDocString(content); long {
		return Problem{Line: line, Column: 1, Message: fmt.Sprintf("the doc string has more than %d lines: shorten it or put the text into a file", maxDocLines), Rule: RuleSyntax}, true
	}
	return Problem{}, false
}

// maxDocLines limits the lines of a doc string. The parser copies all lines before each of them.
const maxDocLines = 2000

// longDocString returns the line where a doc string begins that has too many.
func longDocString(content []byte) (line int, long bool) {
	if bytes.Count(content, []byte("\n")) < maxDocLines {
		return 0, false
	}
	begin, fence := 0, ""
	for text := range bytes.Lines(content) {
		line++
		before := fence
		if fence = fenceAfter(fence, string(bytes.TrimLeft(text, " \t"))); before == "" {
			begin = line
		}
		if fence != "" && line-begin > maxDocLines {
			return begin, true
		}
	}
	return 0, false
}

func tooManyTagLines(path string, line int) Problem {
	return Problem{path, line, 1, fmt.Sprintf("more than %d consecutive lines of tags: write several tags on one line", maxTagLines), RuleTag}
}

// maxTagLines limits consecutive lines of tags. For each of them the parser looks ahead to the end and compiles two regular
// expressions for each line on the way.
const maxTagLines = 100

// manyTagLines finds more consecutive lines of tags than the parser can handle quickly. It ignores doc strings.
func manyTagLines(content []byte) (line int, many bool) {
	if bytes.Count(content, []byte("\n")) < maxTagLines {
		return 0, false
	}
	count, fence := 0, ""
	for text := range bytes.Lines(content) {
		line++
		text := string(bytes.TrimLeft(text, " \t"))
		fence = fenceAfter(fence, text)
		switch {
		case fence != "":
			count = 0
		case strings.HasPrefix(text, "@"):
			if count++; count > maxTagLines {
				return line, true
			}
		case text != "" && text[0] != '#' && strings.TrimSpace(text) != "":
			count = 0
		}
	}
	return 0, false
}

// fenceAfter returns the fence of the doc string that is open after a line, or "".
func fenceAfter(fence, line string) string {
	switch {
	case fence != "" && strings.HasPrefix(line, fence):
		return ""
	case fence != "":
		return fence
	case strings.HasPrefix(line, gherkin.DocstringSeparator):
		return gherkin.DocstringSeparator
	case strings.HasPrefix(line, gherkin.DocstringAlternativeSeparator):
		return gherkin.DocstringAlternativeSeparator
	}
	return ""
}

// fault is one error of the parser.
type fault struct {
	line, column int
	text         string
	expected     []string // allowed kinds of line, by the parser's names; nil for an error of another kind
	end          bool     // the file ends here
}

// faults parses the parser's error, which is only text: "(line:column): message", one on each line.
func faults(err error) []fault {
	var all []fault
	for text := range strings.SplitSeq(err.Error(), "\n") {
		place, message, found := strings.Cut(text, "): ")
		line, column, colon := strings.Cut(strings.TrimPrefix(place, "("), ":")
		l, lineErr := strconv.Atoi(line)
		c, columnErr := strconv.Atoi(column)
		if !found || !colon || lineErr != nil || columnErr != nil {
			if text != "Parser errors:" {
				all = append(all, fault{line: 1, column: 1, text: text})
			}
			continue
		}
		f := fault{line: l, column: max(1, c), text: message}
		rest := message
		rest, f.end = strings.CutPrefix(rest, "unexpected end of file, ")
		if rest, found := strings.CutPrefix(rest, "expected: "); found {
			if !f.end {
				rest, _, _ = strings.Cut(rest, ", got '")
			}
			f.expected = strings.Split(rest, ", ")
		}
		all = append(all, f)
	}
	return all
}

// expects reports whether the parser expected one of the kinds of line.
func (f fault) expects(kinds ...string) bool {
	for _, k := range kinds {
		if slices.Contains(f.expected, k) {
			return true
		}
	}
	return false
}

// afterTags reports whether the fault follows tags that belong to nothing.
func (f fault) afterTags() bool {
	return f.expects("#TagLine") && !f.expects("#StepLine", "#EOF", "#Other", "#FeatureLine")
}

const unknownLanguage = "Language not supported: "

func (f fault) language() bool { return strings.HasPrefix(f.text, unknownLanguage) }

// explain converts the parser's error to problems that name the mistake and the fix. It drops consequences of earlier
// mistakes. The caller sets the paths.
func explain(text string, err error) []Problem {
	e := explainer{lines: strings.Split(text, "\n"), dialect: gherkin.DialectsBuiltin().GetDialect("en")}
	for i, line := range e.lines {
		e.lines[i] = strings.TrimSuffix(line, "\r")
	}
	var problems []Problem
	var last fault
	fence := "" // of a misplaced doc string, all of whose lines are unexpected
	sure := true
	slipped := 0 // line of a scenario with a misspelled keyword
	for _, f := range faults(err) {
		e.language(f.line)
		line := e.line(f.line)
		inside := fence != ""
		if f.expected != nil {
			fence = fenceAfter(fence, line)
		}
		if inside && !f.end {
			last = f
			continue
		}
		message, specific := e.message(f, line)
		switch {
		case f.expects("#FeatureLine") && (last.expects("#FeatureLine") || last.language()): // nothing else is valid until it comes
		case slipped > 0 && e.beginsStep(line) && !e.begins(slipped, f.line): // it is a step of that scenario
		case f.afterTags() && last.afterTags() && slices.Equal(f.expected, last.expected): // as above
		case f.line == last.line+1 && !f.end && !specific && !sure: // a paragraph
		case f.line == last.line+1 && len(problems) > 0 && message == problems[len(problems)-1].Message: // a table
		default:
			problems = append(problems, Problem{Line: f.line, Column: f.column, Message: message, Rule: RuleSyntax})
		}
		if _, found := titleSlip(line, e.dialect); found {
			slipped = f.line
		}
		sure = specific
		last = f
	}
	return problems
}

// beginsStep reports whether a line looks like a step.
func (e *explainer) beginsStep(line string) bool {
	_, _, _, _, _, step := e.kinds(line)
	return step != ""
}

// begins reports whether there is a keyword with a colon between two lines.
func (e *explainer) begins(from, to int) bool {
	for n := from + 1; n < to; n++ {
		if _, found := titleOf(e.line(n), titles(e.dialect)); found {
			return true
		}
	}
	return false
}

type explainer struct {
	lines   []string
	dialect *gherkin.Dialect
}

// line returns a line, from 1, without its indentation.
func (e *explainer) line(number int) string {
	if number < 1 || number > len(e.lines) {
		return ""
	}
	return strings.TrimLeft(e.lines[number-1], " \t")
}

// language sets the dialect of the lines up to number.
func (e *explainer) language(number int) {
	for _, line := range e.lines[:min(number, len(e.lines))] {
		if code, found := languageOf(line); found {
			if d := gherkin.DialectsBuiltin().GetDialect(code); d != nil {
				e.dialect = d
			}
		} else if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return
		}
	}
}

// languageOf reads "# language: de".
func languageOf(line string) (code string, found bool) {
	line, found = strings.CutPrefix(strings.TrimSpace(line), "#")
	if !found {
		return "", false
	}
	line, found = strings.CutPrefix(strings.TrimSpace(line), "language")
	if !found {
		return "", false
	}
	line, found = strings.CutPrefix(strings.TrimSpace(line), ":")
	code = strings.TrimSpace(line)
	return code, found && code != "" && !strings.ContainsAny(code, " \t")
}

// titleOf returns the keyword with a colon at the beginning of a line.
func titleOf(line string, keywords []string) (keyword string, found bool) {
	for _, k := range keywords {
		if strings.HasPrefix(line, k+":") {
			return k, true
		}
	}
	return "", false
}

// message explains one fault at a line. specific means that the intention is known.
func (e *explainer) message(f fault, line string) (message string, specific bool) {
	if f.expected == nil {
		return e.otherFault(f, line), true
	}
	if f.end {
		return e.endFault(f), true
	}
	d := e.dialect
	feature, scenario := d.FeatureKeywords()[0], d.ScenarioKeywords()[0]
	if strings.HasPrefix(d.Language, "en") {
		scenario = "Scenario" // the first of the language is "Example"
	}
	isFeature, isScenario, isRule, isBackground, isExamples, isStep := e.kinds(line)
	switch {
	case f.expects("#FeatureLine"):
		return e.beforeFeature(line, feature, isScenario+isRule+isBackground+isExamples)
	case strings.HasPrefix(line, `"""`) || strings.HasPrefix(line, "```"):
		return "a doc string must be directly below a step or its table, and a step takes only one doc string", true
	case strings.HasPrefix(line, "|"):
		return fmt.Sprintf("a table must be directly below a step, its doc string or %s:, and a step takes only one table", d.ExamplesKeywords()[0]), true
	case isFeature != "":
		return fmt.Sprintf("a file contains only one feature, and this is a second %q: move it to another file", isFeature+":"), true
	case isBackground != "" && f.afterTags():
		return fmt.Sprintf("%q takes no tags: write them above the feature or rule", isBackground+":"), true
	case isBackground != "":
		return fmt.Sprintf("%q must occur only once, before the first scenario of its feature or rule", isBackground+":"), true
	case isExamples != "":
		return fmt.Sprintf("%q must be below the steps of a scenario", isExamples+":"), true
	case isRule != "" || isScenario != "":
		return fmt.Sprintf("%q is not allowed here", isRule+isScenario+":"), true
	case isStep != "" && f.afterTags():
		return "a step takes no tags: write them above its scenario", true
	case isStep != "":
		return fmt.Sprintf("a step is not allowed here: steps come before the %s: of their scenario", d.ExamplesKeywords()[0]), true
	case strings.HasPrefix(line, "@"):
		return "tags are not allowed here: they come before a feature, rule, scenario or examples", true
	}
	if s, found := titleSlip(line, d); found {
		return s.message, true
	}
	if s, found := stepSlip(line, d); found {
		return s.message, true
	}
	if word, other := e.foreign(line); other != nil {
		return fmt.Sprintf(`%q is a keyword in %s: begin the file with "# language: %s" or write the keyword in %s`, word, other.Name, other.Language, d.Name), true
	}
	quoted := shorten(HidePassword(strings.TrimRight(line, " \t")))
	switch {
	case f.afterTags():
		return fmt.Sprintf("%q follows tags: a scenario, rule or examples must follow them", quoted), false
	case f.expects("#StepLine"):
		return fmt.Sprintf("%q is not a step: a step begins with %s, and a description comes before the first step", quoted, stepKeywords(e.dialect)), false
	default:
		return fmt.Sprintf("%q is not allowed here: only %s, or tags before it, may follow", quoted, strconv.Quote(scenario+":")), false
	}
}

// kinds returns the keyword at the beginning of a line. At most one result is not empty.
func (e *explainer) kinds(line string) (feature, scenario, rule, background, examples, step string) {
	d := e.dialect
	feature, _ = titleOf(line, d.FeatureKeywords())
	scenario, _ = titleOf(line, slices.Concat(d.ScenarioKeywords(), d.ScenarioOutlineKeywords()))
	rule, _ = titleOf(line, d.RuleKeywords())
	background, _ = titleOf(line, d.BackgroundKeywords())
	examples, _ = titleOf(line, d.ExamplesKeywords())
	if feature+scenario+rule+background+examples == "" {
		for _, k := range d.StepKeywords() {
			if strings.HasPrefix(line, k) {
				step = k
				break
			}
		}
	}
	return
}

// beforeFeature explains a line before the feature. title is the keyword with a colon in this line, or empty.
func (e *explainer) beforeFeature(line, feature, title string) (string, bool) {
	if title != "" {
		return fmt.Sprintf("%q comes before the feature: the file must begin with %q", title+":", feature+":"), true
	}
	if s, found := titleSlip(line, e.dialect); found {
		return s.message, true
	}
	if word, other := e.foreign(line); other != nil {
		return fmt.Sprintf(`%q is a keyword in %s: begin the file with "# language: %s"`, word, other.Name, other.Language), true
	}
	return fmt.Sprintf("%q comes before the feature: the file must begin with %q, only tags and comments may come before it",
		shorten(HidePassword(strings.TrimRight(line, " \t"))), feature+":"), true
}

// foreign finds the other language whose keyword with a colon begins the line.
func (e *explainer) foreign(line string) (keyword string, other *gherkin.Dialect) {
	if !strings.Contains(line, ":") {
		return "", nil
	}
	if _, own := titleOf(line, titles(e.dialect)); own {
		return "", nil
	}
	for _, d := range dialects() {
		if k, found := titleOf(line, titles(d)); found {
			return k + ":", d
		}
	}
	return "", nil
}

// stepKeywords lists the keywords of steps.
func stepKeywords(d *gherkin.Dialect) string {
	var names []string
	for _, kind := range []string{"given", "when", "then", "and", "but"} {
		for _, k := range d.Keywords[kind] {
			if k = strings.TrimSpace(k); k != "*" {
				names = append(names, k)
				break
			}
		}
	}
	return strings.Join(names, ", ") + " or *"
}

// endFault explains that the file ends too early.
func (e *explainer) endFault(f fault) string {
	switch {
	case f.expects("#Other") && f.expects("#DocStringSeparator") && len(f.expected) == 2:
		fence, opened := "", 0
		for i := range e.lines {
			before := fence
			if fence = fenceAfter(fence, e.line(i+1)); before == "" && fence != "" {
				opened = i + 1
			}
		}
		return fmt.Sprintf("the file ends inside the doc string that line %d opens: close it with %s", opened, e.line(opened)[:3])
	case f.expects("#FeatureLine"):
		return fmt.Sprintf("the file ends before its feature: write %q", e.dialect.FeatureKeywords()[0]+":")
	case f.expects("#TagLine"):
		return "the file ends after tags: write the scenario, rule or examples that they belong to, or remove them"
	default:
		return "the file ends too early"
	}
}

// otherFault explains faults other than an unexpected line.
func (e *explainer) otherFault(f fault, line string) string {
	if code, found := strings.CutPrefix(f.text, unknownLanguage); found {
		all := dialects()
		codes := make([]string, len(all))
		for i, d := range all {
			codes[i] = d.Language
			if strings.EqualFold(d.Name, code) || strings.EqualFold(d.Native, code) {
				return fmt.Sprintf(`%q is not a language code: write "# language: %s"`, code, d.Language)
			}
		}
		candidates := []string{strings.ReplaceAll(code, "_", "-")}
		if short, region, _ := strings.Cut(candidates[0], "-"); len(region) == 2 {
			candidates = append(candidates, short)
		}
		for _, candidate := range candidates {
			if near, slips := nearest(candidate, codes); slips == 0 {
				return fmt.Sprintf(`%q is not a language of Gherkin: did you mean "# language: %s"?`, code, near)
			}
		}
		return fmt.Sprintf(`%q is not a language of Gherkin: write a code such as "en", "de" or "fr"`, code)
	}
	switch f.text {
	case "A tag may not contain whitespace":
		return e.tagFault(f, line)
	case "inconsistent cell count within the table":
		return e.cellFault(f)
	}
	return "the file cannot be parsed: " + f.text
}

// tagFault explains blanks in tags.
func (e *explainer) tagFault(f fault, line string) string {
	for tag := range strings.SplitSeq(line, "@") {
		tag, _, _ = strings.Cut(tag, " #")
		if fields := strings.Fields(tag); len(fields) > 1 {
			if strings.HasSuffix(fields[0], ":") {
				return fmt.Sprintf("the tag %q contains a blank: write %q", "@"+strings.TrimSpace(tag), "@"+strings.Join(fields, ""))
			}
			return fmt.Sprintf("%q is not a tag: each tag begins with @ and contains no blanks", fields[1])
		}
	}
	return "a tag contains a blank: each tag begins with @ and contains no blanks"
}

// cellFault explains a row whose number of cells differs from the first row of its table.
func (e *explainer) cellFault(f fault) string {
	head := f.line
	for n := f.line - 1; n > 0; n-- {
		line := e.line(n)
		if strings.HasPrefix(line, "|") {
			head = n
		} else if line != "" && line[0] != '#' {
			break
		}
	}
	line := strings.TrimRight(e.line(f.line), " \t")
	message := fmt.Sprintf("the row has %s, but the first row of its table, at line %d, has %d", counted(cells(line)), head, cells(e.line(head)))
	if !strings.HasSuffix(line, "|") || strings.HasSuffix(line, `\|`) {
		message += ": the last cell must end with |"
	}
	return message
}

func counted(cells int) string {
	if cells == 1 {
		return "1 cell"
	}
	return fmt.Sprintf("%d cells", cells)
}

// cells counts the cells of a row like the parser: each ends with a bar without a backslash before it.
func cells(row string) int {
	n, escaped := -1, false
	for _, r := range row {
		if r == '|' && !escaped {
			n++
		}
		escaped = r == '\\' && !escaped
	}
	return max(n, 0)
}
