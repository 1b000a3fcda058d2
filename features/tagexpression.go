package features

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	tagexpressions "github.com/cucumber/tag-expressions/go/v6"
)

// parseTagExpression returns a filter for tags, or nil for an empty expression.
func parseTagExpression(expression string) (filter func([]Tag) bool, err error) {
	if strings.TrimSpace(expression) == "" {
		return nil, nil
	}
	matches, err := TagExpression(expression)
	if err != nil {
		return nil, err
	}
	return func(tags []Tag) bool {
		names := make([]string, len(tags))
		for i, t := range tags {
			names[i] = t.String()
		}
		return matches(names)
	}, nil
}

// TagExpression returns a filter for tags as they are written ("@mail", "@every:1m"). The language is Cucumber's: tags with
// "and", "or", "not" and parentheses. A tag is compared as a whole, so "@every:1m" selects only that value. An error says in
// plain words what is wrong; an empty expression is one.
func TagExpression(expression string) (matches func(tags []string) bool, err error) {
	if strings.TrimSpace(expression) == "" {
		return nil, errors.New("the tag expression is empty")
	}
	for _, word := range tagWords(expression) {
		if word[0] != '@' && word != "and" && word != "or" && word != "not" {
			return nil, fmt.Errorf(`tag expression %q: %q is neither a tag (@name) nor "and", "or" or "not"`, expression, word)
		}
	}
	// The parser panics on an empty stack if the expression ends too early.
	defer func() {
		if recover() != nil {
			matches, err = nil, fmt.Errorf("tag expression %q: it ends where a tag is expected", expression)
		}
	}()
	parsed, err := tagexpressions.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("tag expression %q: %w", expression, tagExpressionFault(err))
	}
	return parsed.Evaluate, nil
}

// tagExpressionFault translates the parser's error to plain words.
func tagExpressionFault(err error) error {
	_, fault, _ := strings.Cut(err.Error(), "because of syntax error: ")
	switch fault {
	case "Unmatched ).":
		return errors.New(`a ")" has no "(" before it`)
	case "Unmatched (.":
		return errors.New(`a "(" is never closed`)
	case "Expected operand.":
		return errors.New("a tag is missing where one is expected")
	case "Expected operator.":
		return errors.New(`"and" or "or" is missing between two tags`)
	}
	if strings.HasPrefix(fault, "Illegal escape") {
		return errors.New(`a backslash is only allowed before a blank, a parenthesis or another backslash`)
	}
	return err
}

// tagWords splits an expression at blanks and parentheses without a backslash before them.
func tagWords(expression string) []string {
	var words []string
	var word strings.Builder
	escaped := false
	for _, r := range expression + " " {
		switch {
		case !escaped && (unicode.IsSpace(r) || r == '(' || r == ')'):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(r)
		}
		escaped = r == '\\' && !escaped
	}
	return words
}
