package features

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	gherkin "github.com/cucumber/gherkin/go/v42"
)

// Markdown with Gherkin (https://github.com/cucumber/gherkin/blob/main/MARKDOWN_WITH_GHERKIN.md) is Markdown in which headings,
// list items, indented tables, fenced blocks and tags in backquotes are a feature, and everything else is prose. The Go parser
// does not support it. So each line of such a file becomes one line of Gherkin with its words in the same columns. Everything
// else, including mistakes and selections, works as for any other file.
//
// If the description is silent or the other parsers lose text, this follows the rendering of GitHub:
//   - fenced blocks before the first step of a scenario are prose, with all their content;
//   - a row of dashes is a delimiter only directly below the first row of a table;
//   - a list item needs a blank after its bullet or number, and tags begin their line;
//   - front matter and lines that begin with a comment of HTML are nothing, and a heading may end with more "#".
//
// The keywords are English: the description has no way to name a language in a file.

// isMarkdown reports whether a file of this name contains Markdown with Gherkin.
func isMarkdown(name string) bool { return strings.HasSuffix(name, ".feature.md") }

// markdownForms are what lines look like in Markdown.
type markdownForms struct{ heading, closing, item, row, delimiter, tag, fence *regexp.Regexp }

// markdownForm returns the forms, which the first such file compiles.
var markdownForm = sync.OnceValue(func() *markdownForms {
	return &markdownForms{
		heading:   regexp.MustCompile(`^[ ]{0,3}#{1,6}[ \t]+`),
		closing:   regexp.MustCompile(`[ \t]+#+[ \t]*$`),
		item:      regexp.MustCompile(`^[ \t]*(?:[*+-]|[0-9]{1,9}[.)])[ \t]+`),
		row:       regexp.MustCompile(`^[ \t]{2,5}\|`),
		delimiter: regexp.MustCompile(`^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$`),
		tag:       regexp.MustCompile("`(@[^`]*)`"),
		fence:     regexp.MustCompile("^[ \t]*(`{3,}|~{3,})([^`]*)$"),
	}
})

// markdown turns Markdown into Gherkin.
type markdown struct {
	path     string
	dialect  *gherkin.Dialect
	named    bool // the line of the feature has been read
	steps    bool // items may be steps here: below a scenario or background
	step     bool // a step above takes doc strings and tables
	examples bool // examples above take a table
	rows     int  // number of table rows directly above
	directly bool // only blank lines since what takes a table
	out      []string
	problems []Problem
	warnings []Problem
}

// fromMarkdown returns the Gherkin of a Markdown file, line for line.
func fromMarkdown(path, text string) (feature string, problems, warnings []Problem) {
	m := markdown{path: path, dialect: gherkin.DialectsBuiltin().GetDialect(gherkin.DefaultDialect)}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSuffix(lines[i], "\r")
		if what, mark, end := skipped(lines, i); what != "" {
			if end == len(lines) {
				m.problem(RuleSyntax, i+1, 1, "the %s is never closed: close it with %s", what, mark)
				return "", m.problems, m.warnings
			}
			m.out = append(m.out, make([]string, end+1-i)...)
			m.rows, m.directly = 0, false
			i = end
			continue
		}
		fence := markdownForm().fence.FindStringSubmatchIndex(line)
		if fence == nil {
			m.out = append(m.out, m.line(line, i+1))
			continue
		}
		end := i + 1
		for end < len(lines) && !closes(lines[end], line[fence[2]:fence[3]]) {
			end++
		}
		switch mark := line[fence[2]:fence[3]]; {
		case !m.step || mark[0] == '~':
			m.out = append(m.out, make([]string, min(end+1, len(lines))-i)...)
		case end == len(lines):
			m.problem(RuleSyntax, len(lines), 1, "the file ends inside the doc string that line %d opens: close it with %s", i+1, mark)
			return "", m.problems, m.warnings
		default:
			m.docString(i+1, line[:fence[2]], strings.TrimSpace(line[fence[4]:fence[5]]), lines[i+1:end])
		}
		m.rows, m.directly = 0, false
		i = end
	}
	return strings.Join(m.out, "\n"), m.problems, m.warnings
}

// skipped returns what begins at a line and is neither Gherkin nor prose, with what closes it and the line at which it ends,
// or len(lines) if it is not closed: front matter at the top of the file, of YAML or TOML, and comments of HTML.
func skipped(lines []string, at int) (what, mark string, end int) {
	first := strings.TrimRight(lines[at], " \t\r")
	if at == 0 && (first == "---" || first == "+++") {
		for end = 1; end < len(lines); end++ {
			if line := strings.TrimRight(lines[end], " \t\r"); line == first || first == "---" && line == "..." {
				break
			}
		}
		return "front matter", first, end
	}
	rest, begins := strings.CutPrefix(strings.TrimLeft(first, " \t"), "<!--")
	if !begins {
		return "", "", at
	}
	for end = at; end < len(lines) && !strings.Contains(rest, "-->"); {
		if end++; end < len(lines) {
			rest = lines[end]
		}
	}
	return "comment", "-->", end
}

// closes reports whether a line closes a fenced block.
func closes(line, mark string) bool {
	line = strings.TrimSpace(line)
	return len(line) >= len(mark) && strings.Trim(line, mark[:1]) == ""
}

func (m *markdown) problem(rule Rule, line, column int, format string, args ...any) {
	m.problems = append(m.problems, Problem{m.path, line, column, fmt.Sprintf(format, args...), rule})
}

func (m *markdown) warn(rule Rule, line, column int, format string, args ...any) {
	m.warnings = append(m.warnings, Problem{m.path, line, column, fmt.Sprintf(format, args...), rule})
}

// line converts one line outside fenced blocks. Prose becomes an empty line.
func (m *markdown) line(line string, number int) string {
	text := strings.TrimSpace(line)
	rows := m.rows
	m.rows = 0
	if text == "" {
		return ""
	}
	directly := m.directly
	m.directly = false
	if tags := m.tags(line); tags != "" {
		m.steps, m.step, m.examples = false, false, false
		return tags
	}
	if !m.named {
		m.named = true
		return m.first(line)
	}
	heading, item := markdownForm().heading.FindString(line), markdownForm().item.FindString(line)
	switch {
	case heading != "":
		return m.heading(line, len(heading), number)
	case item != "" && m.steps:
		return m.item(line, len(item), number)
	case !m.step && !m.examples:
	case markdownForm().row.MatchString(line):
		if m.rows = rows + 1; rows != 1 || !markdownForm().delimiter.MatchString(line) {
			return line
		}
	case strings.HasPrefix(text, "|") && directly:
		m.warn(RuleKeyword, number, column(line), "the table counts as prose: indent it by two to five blanks")
	}
	return ""
}

// tags returns the tags at the beginning of a line, each in its columns. The rest is prose.
func (m *markdown) tags(line string) string {
	if !strings.HasPrefix(strings.TrimLeft(line, " \t"), "`@") {
		return ""
	}
	var b strings.Builder
	for _, at := range markdownForm().tag.FindAllStringSubmatchIndex(line, -1) {
		pad(&b, line[:at[2]])
		b.WriteString(line[at[2]:at[3]])
	}
	return b.String()
}

// pad adds blanks up to the column at which before ends.
func pad(b *strings.Builder, before string) {
	for n := utf8.RuneCountInString(before) - utf8.RuneCountInString(b.String()); n > 0; n-- {
		b.WriteByte(' ')
	}
}

// in returns text at the column at which before ends.
func in(before, text string) string {
	var b strings.Builder
	pad(&b, before)
	b.WriteString(text)
	return b.String()
}

// column returns the column of a line's first letter.
func column(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) + 1 }

// first converts the first line that is not blank. It names the feature, with or without the keyword.
func (m *markdown) first(line string) string {
	text := line[len(markdownForm().heading.FindString(line)):]
	if text != line {
		line = line[:len(line)-len(text)] + unclosed(text)
		text = unclosed(text)
	}
	for _, k := range titles(m.dialect) {
		if strings.HasPrefix(text, k+":") && text != line { // of another part than the feature: the parser reports it
			return in(line[:len(line)-len(text)], text)
		}
	}
	return m.dialect.FeatureKeywords()[0] + ": " + strings.TrimSpace(text)
}

// unclosed returns the text of a heading without the "#" that may close it.
func unclosed(text string) string {
	return strings.TrimRight(markdownForm().closing.ReplaceAllString(text, ""), " \t")
}

// heading converts a line that begins with "#".
func (m *markdown) heading(line string, length, number int) string {
	text := unclosed(line[length:])
	keyword, found := titleOf(text, titles(m.dialect))
	d := m.dialect
	is := func(keywords ...[]string) bool {
		for _, k := range keywords {
			for _, name := range k {
				if name == keyword {
					return true
				}
			}
		}
		return false
	}
	m.steps, m.step, m.examples = false, false, false
	switch {
	case !found:
		if s, slipped := titleSlip(text, d); slipped {
			m.warn(RuleKeyword, number, utf8.RuneCountInString(line[:length])+1, "the heading counts as prose: %s", s.message)
		}
		return ""
	case is(d.ExamplesKeywords()):
		m.examples, m.directly = true, true
	default:
		m.steps = is(d.BackgroundKeywords(), d.ScenarioKeywords(), d.ScenarioOutlineKeywords())
	}
	return in(line[:length], text)
}

// item converts an item of a list below a scenario or background.
func (m *markdown) item(line string, length, number int) string {
	text := line[length:]
	for _, k := range m.dialect.StepKeywords() {
		if k != "* " && strings.HasPrefix(text, k) {
			m.step, m.directly = true, true
			return in(line[:length], text)
		}
	}
	if s, slipped := stepSlip(text, m.dialect); slipped {
		m.warn(RuleKeyword, number, utf8.RuneCountInString(line[:length])+1, "the item counts as prose: %s", s.message)
	}
	return ""
}

// docString converts a fenced block below a step.
func (m *markdown) docString(number int, indent, mediaType string, content []string) {
	all := strings.Join(content, "\n")
	fence, escaped := gherkin.DocstringSeparator, `\"\"\"`
	if strings.Contains(all, escaped) { // would lose its backslashes
		if fence, escaped = gherkin.DocstringAlternativeSeparator, "\\`\\`\\`"; strings.Contains(all, escaped) {
			m.problem(RuleSyntax, number, utf8.RuneCountInString(indent)+1, "a doc string cannot contain both %s and %s", `\"\"\"`, escaped)
		}
	}
	m.out = append(m.out, indent+fence+mediaType)
	for _, line := range content {
		m.out = append(m.out, strings.ReplaceAll(line, fence, escaped))
	}
	m.out = append(m.out, indent+fence)
}
