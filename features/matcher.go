package features

import (
	"slices"
	"strings"

	gherkin "github.com/cucumber/gherkin/go/v42"
)

// matcher says what kind of line a line is. It is the parser's own and notes what the compiler warns of.
type matcher struct {
	gherkin.Matcher
	languages []int // numbers of the comments that look like the language and come too late to be it
}

func newMatcher() *matcher {
	return &matcher{Matcher: gherkin.NewMatcher(gherkin.DialectsBuiltin())}
}

// MatchComment notes comments such as "# language: de", which the parser asks for as comments only where they are too late.
func (m *matcher) MatchComment(line *gherkin.Line) (bool, *gherkin.Token, error) {
	if _, found := languageOf(line.TrimmedLineText); found && !slices.Contains(m.languages, line.LineNumber) {
		m.languages = append(m.languages, line.LineNumber)
	}
	return m.Matcher.MatchComment(line)
}

// builder builds the syntax tree. Names and steps end with their last letter: the parser takes blanks and tabs off the end,
// and a no-break space, which nobody sees, would keep a step from matching. Scenario.Source is rendered from the result.
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
