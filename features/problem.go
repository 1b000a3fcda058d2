package features

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Rule is the kind of a mistake, as a stable name for programs.
type Rule string

// The rules that Load knows.
const (
	RuleFile    Rule = "file"    // the path is not a readable feature file
	RuleSyntax  Rule = "syntax"  // a line that is not allowed at its place
	RuleKeyword Rule = "keyword" // a misspelled keyword, so its line has another meaning
	RuleNothing Rule = "nothing" // what would run nothing
	RuleOutline Rule = "outline" // missing or empty examples
	RuleSlip    Rule = "slip"    // a misspelled placeholder or column
	RuleUnused  Rule = "unused"  // a column without a placeholder, or a placeholder without a column
	RuleTag     Rule = "tag"     // an invalid tag, or one without effect
	RuleName    Rule = "name"    // a missing or duplicate name
)

// Problem is one mistake with its place.
type Problem struct {
	Path    string // the file; empty if the mistake is in no file, such as in a tag expression
	Line    int    // from 1; 0 if the mistake concerns the whole file
	Column  int    // in characters (Unicode code points) of the line, from 1; 0 together with Line
	Message string // one sentence: the mistake and how to fix it
	Rule    Rule
}

// Error returns "file:line:column: message", without the missing parts of the place.
func (p Problem) Error() string {
	switch {
	case p.Path == "":
		return p.Message
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.Path, p.Message)
	default:
		return fmt.Sprintf("%s:%d:%d: %s", p.Path, p.Line, p.Column, p.Message)
	}
}

// Error is the error of Load: all mistakes of all files, in the order of loading and by line within each file.
type Error struct {
	Problems []Problem // never empty
}

// Error returns one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems.
func (e *Error) Unwrap() []error {
	all := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		all[i] = p
	}
	return all
}

// inOrder sorts the problems of one file by place and drops duplicates: a tag that a hundred scenarios inherit is one mistake.
func inOrder(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	return slices.Compact(problems)
}

// userinfo matches the password in a URL (RFC 3986 section 3.2.1) in a text.
var userinfo = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(://[^\s/@:"]*:)[^\s/@"]+@`) })

// HidePassword replaces the passwords in URLs, for labels, pages and messages.
func HidePassword(text string) string {
	if !strings.Contains(text, "://") || !strings.Contains(text, "@") {
		return text // nearly every text: the expression is not even compiled
	}
	return userinfo().ReplaceAllString(text, "${1}[hidden]@")
}
