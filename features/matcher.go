package features

import (
	"slices"
	"strings"

	gherkin "github.com/cucumber/gherkin/go/v42"
)

// matcher is the parser's own matcher. It also records what the compiler warns of.
type matcher struct {
	gherkin.Matcher
	languages []int // line numbers of language comments that come too late
}

func newMatcher() *matcher {
	return &matcher{Matcher: gherkin.NewMatcher(gherkin.DialectsBuiltin())}
}

// MatchComment records comments such as "# language: de". The parser matches them as comments only if they come too late.
func (m *matcher) MatchComment(line *gherkin.Line) (bool, *gherkin.Token, error) {
	if _, found := languageOf(line.TrimmedLineText); found && !slices.Contains(m.languages, line.LineNumber) {
		m.languages = append(m.languages, line.LineNumber)
	}
	return m.Matcher.MatchComment(line)
}

// builder builds the syntax tree. It trims all white space off names and steps: the parser trims only blanks and tabs, and an
// invisible no-break space would prevent a match. Scenario.Source is rendered from the result.
type builder struct{ gherkin.AstBuilder }

// Build implements gherkin.Builder.
func (b builder) Build(token *gherkin.Token) (bool, error) {
	switch token.Type {
	case gherkin.TokenTypeFeatureLine, gherkin.TokenTypeRuleLine, gherkin.TokenTypeBackgroundLine,
		gherkin.TokenTypeScenarioLine, gherkin.TokenTypeExamplesLine, gherkin.TokenTypeStepLine:
		token.Text = strings.TrimSpace(token.Text)
	}
	return b.AstBuilder.Build(token)
}
