// Package regex has regular expressions that are compiled on first use. stepwatch knows hundreds, and most programs that
// start need few of them: a plugin that checks a page must not wait until those about mail are compiled.
package regex

import (
	"regexp"
	"sync"
)

// Regexp is a regular expression of the program. Its methods are those of regexp.Regexp, and the first call compiles it.
type Regexp struct {
	expression string
	once       sync.Once
	compiled   *regexp.Regexp
}

// Lazy returns a regular expression that is compiled on first use. It is for package variables: an expression that does not
// compile panics then, and a test compiles all of them (TestEveryExpressionCompiles). The compiler evaluates the call, so
// such a variable costs nothing when the program starts.
func Lazy(expression string) *Regexp { return &Regexp{expression: expression} }

// Compiled returns the compiled expression.
func (r *Regexp) Compiled() *regexp.Regexp {
	r.once.Do(func() { r.compiled = regexp.MustCompile(r.expression) })
	return r.compiled
}

// Match is that of regexp.Regexp.
func (r *Regexp) Match(b []byte) bool { return r.Compiled().Match(b) }

// MatchString is that of regexp.Regexp.
func (r *Regexp) MatchString(s string) bool { return r.Compiled().MatchString(s) }

// FindString is that of regexp.Regexp.
func (r *Regexp) FindString(s string) string { return r.Compiled().FindString(s) }

// FindStringIndex is that of regexp.Regexp.
func (r *Regexp) FindStringIndex(s string) []int { return r.Compiled().FindStringIndex(s) }

// FindStringSubmatch is that of regexp.Regexp.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.Compiled().FindStringSubmatch(s) }

// FindStringSubmatchIndex is that of regexp.Regexp.
func (r *Regexp) FindStringSubmatchIndex(s string) []int {
	return r.Compiled().FindStringSubmatchIndex(s)
}

// FindSubmatch is that of regexp.Regexp.
func (r *Regexp) FindSubmatch(b []byte) [][]byte { return r.Compiled().FindSubmatch(b) }

// FindAllString is that of regexp.Regexp.
func (r *Regexp) FindAllString(s string, n int) []string { return r.Compiled().FindAllString(s, n) }

// FindAllStringIndex is that of regexp.Regexp.
func (r *Regexp) FindAllStringIndex(s string, n int) [][]int {
	return r.Compiled().FindAllStringIndex(s, n)
}

// FindAllStringSubmatchIndex is that of regexp.Regexp.
func (r *Regexp) FindAllStringSubmatchIndex(s string, n int) [][]int {
	return r.Compiled().FindAllStringSubmatchIndex(s, n)
}

// ReplaceAllString is that of regexp.Regexp.
func (r *Regexp) ReplaceAllString(s, template string) string {
	return r.Compiled().ReplaceAllString(s, template)
}

// ReplaceAllStringFunc is that of regexp.Regexp.
func (r *Regexp) ReplaceAllStringFunc(s string, replace func(string) string) string {
	return r.Compiled().ReplaceAllStringFunc(s, replace)
}
