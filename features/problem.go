package features

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Rule is the kind of a mistake, by the name that machines know it by: it does not change when messages do.
type Rule string

// The rules that Load knows.
const (
	RuleFile    Rule = "file"    // what was named is no file with features that can be read
	RuleSyntax  Rule = "syntax"  // a line that cannot stand where it is
	RuleKeyword Rule = "keyword" // a keyword that is written wrong, so that its line counts as something else
	RuleNothing Rule = "nothing" // what would run nothing
	RuleOutline Rule = "outline" // examples that are missing or empty
	RuleSlip    Rule = "slip"    // a placeholder or column that another one must have been meant by
	RuleUnused  Rule = "unused"  // a column without a placeholder, or a placeholder without a column
	RuleTag     Rule = "tag"     // a tag that cannot be read, or that means nothing where it seems to
	RuleName    Rule = "name"    // a name that is missing or there twice
)

// Problem is one mistake with its place.
type Problem struct {
	Path    string // the file; empty when the mistake is in no file, as in a tag expression
	Line    int    // from 1; 0 when the mistake is the whole file's
	Column  int    // in characters (Unicode code points) of the line, from 1; 0 together with Line
	Message string // one sentence: what was found, and what would be right
	Rule    Rule
}

// Error gives "file:line:column: message", without the parts of the place that there are not.
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

// Error is what Load returns: all mistakes of all files, file by file in the order of loading and by line within each.
type Error struct {
	Problems []Problem // never empty
}

// Error gives one line a problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the problems one by one.
func (e *Error) Unwrap() []error {
	all := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		all[i] = p
	}
	return all
}

// inOrder sorts one file's problems by place and drops repetitions: a tag that a hundred scenarios inherit is wrong once.
func inOrder(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	return slices.Compact(problems)
}

// userinfo is the password part of a URL (RFC 3986 section 3.2.1) inside a text.
var userinfo = regexp.MustCompile(`(://[^\s/@:"]*:)[^\s/@"]+@`)

// HidePassword keeps a password that an author wrote into a URL out of labels, pages and messages.
func HidePassword(text string) string { return userinfo.ReplaceAllString(text, "${1}[hidden]@") }
