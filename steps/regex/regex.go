// Package regex has regular expressions that are compiled on first use. stepwatch knows hundreds, and most programs that
// start need few of them: a plugin that checks a page must not wait until those about mail are compiled.
package regex

import (
	"regexp"
	"sync"
)

var known []func() *regexp.Regexp

// Lazy returns a regular expression that is compiled on first use. It is for package variables; an expression that does not
// compile panics then.
func Lazy(expression string) func() *regexp.Regexp {
	compiled := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
	known = append(known, compiled) // packages are initialised one after the other
	return compiled
}

// CompileAll compiles all expressions of the program, for a test that each of them compiles.
func CompileAll() (count int) {
	for _, compiled := range known {
		compiled()
	}
	return len(known)
}
