package features

import (
	"slices"
	"strings"

	gherkin "github.com/cucumber/gherkin/go/v26"
)

// matcher says what kind of line a line is. It brings three corrections of later versions of the parser to the one that
// godog uses, which is possible because godog gets its scenarios from Scenario.Source only:
//   - descriptions may hold comments;
//   - names and steps end with their last letter, tabs behind it are none of them;
//   - of two step keywords that a line begins with the longer one counts, as "Étant donné qu'" beside "Étant donné ".
type matcher struct {
	gherkin.Matcher
	dialect     *gherkin.Dialect
	description bool  // the lines behind title are a description, as far as they are nothing else
	title       int   // number of the last line with a keyword and colon
	languages   []int // numbers of the comments that look like the language and come too late to be it
}

func newMatcher() *matcher {
	return &matcher{
		Matcher: gherkin.NewMatcher(gherkin.DialectsBuiltin()),
		dialect: gherkin.DialectsBuiltin().GetDialect(gherkin.DefaultDialect),
	}
}

// comments reports whether a line is a comment within a description. The parser looks ahead and comes back, so what it
// has matched last may stand behind the line.
func (m *matcher) comments(line *gherkin.Line) bool {
	return m.description && line.LineNumber > m.title && line.StartsWith(gherkin.CommentPrefix)
}

func (m *matcher) MatchComment(line *gherkin.Line) (bool, *gherkin.Token, error) {
	if m.comments(line) {
		return false, nil, nil // the description would end; MatchOther takes the line
	}
	m.noteLanguage(line)
	return m.Matcher.MatchComment(line)
}

// noteLanguage keeps comments such as "# language: de", which the parser asks for as comments only where they are too late.
func (m *matcher) noteLanguage(line *gherkin.Line) {
	if _, found := languageOf(line.TrimmedLineText); found && !slices.Contains(m.languages, line.LineNumber) {
		m.languages = append(m.languages, line.LineNumber)
	}
}

func (m *matcher) MatchOther(line *gherkin.Line) (bool, *gherkin.Token, error) {
	ok, token, err := m.Matcher.MatchOther(line)
	if ok && m.comments(line) {
		m.noteLanguage(line)
		token.Text = ""
	}
	return ok, token, err
}

func (m *matcher) begins(ok bool, token *gherkin.Token, err error) (bool, *gherkin.Token, error) {
	if ok {
		m.description, m.title = true, token.Location.Line
		token.Text = strings.TrimSpace(token.Text)
	}
	return ok, token, err
}

func (m *matcher) ends(ok bool, token *gherkin.Token, err error) (bool, *gherkin.Token, error) {
	if ok {
		m.description = false
	}
	return ok, token, err
}

func (m *matcher) MatchFeatureLine(line *gherkin.Line) (bool, *gherkin.Token, error) {
	return m.begins(m.Matcher.MatchFeatureLine(line))
}

func (m *matcher) MatchRuleLine(line *gherkin.Line) (bool, *gherkin.Token, error) {
	return m.begins(m.Matcher.MatchRuleLine(line))
}

func (m *matcher) MatchBackgroundLine(line *gherkin.Line) (bool, *gherkin.Token, error) {
	return m.begins(m.Matcher.MatchBackgroundLine(line))
}

func (m *matcher) MatchScenarioLine(line *gherkin.Line) (bool, *gherkin.Token, error) {
	return m.begins(m.Matcher.MatchScenarioLine(line))
}

func (m *matcher) MatchExamplesLine(line *gherkin.Line) (bool, *gherkin.Token, error) {
	return m.begins(m.Matcher.MatchExamplesLine(line))
}

func (m *matcher) MatchTagLine(line *gherkin.Line) (bool, *gherkin.Token, error) {
	return m.ends(m.Matcher.MatchTagLine(line))
}

func (m *matcher) MatchTableRow(line *gherkin.Line) (bool, *gherkin.Token, error) {
	return m.ends(m.Matcher.MatchTableRow(line))
}

func (m *matcher) MatchDocStringSeparator(line *gherkin.Line) (bool, *gherkin.Token, error) {
	return m.ends(m.Matcher.MatchDocStringSeparator(line))
}

func (m *matcher) MatchLanguage(line *gherkin.Line) (bool, *gherkin.Token, error) {
	ok, token, err := m.Matcher.MatchLanguage(line)
	if ok && err == nil {
		m.dialect = gherkin.DialectsBuiltin().GetDialect(token.Text)
	}
	return ok, token, err
}

func (m *matcher) MatchStepLine(line *gherkin.Line) (bool, *gherkin.Token, error) {
	ok, token, err := m.ends(m.Matcher.MatchStepLine(line))
	if !ok {
		return ok, token, err
	}
	for _, keyword := range m.dialect.StepKeywords() {
		if len(keyword) > len(token.Keyword) && line.StartsWith(keyword) {
			token.Keyword = keyword
			token.KeywordType = m.dialect.StepKeywordType(keyword)
			token.Text = line.TrimmedLineText[len(keyword):]
		}
	}
	token.Text = strings.TrimSpace(token.Text)
	return ok, token, err
}
