package sentence

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/stepwatch/stepwatch/steps/regex"
)

// Pattern is a pattern for the text of a step. It is compiled on first use.
type Pattern struct {
	Text    string
	Opening string // prefix of every text that it matches

	sentence  string
	groups    int
	compile   sync.Once
	compiled  *regexp.Regexp
	begin     sync.Once
	beginning *regexp.Regexp
}

// NewPattern returns a pattern of a sentence with so many parameters.
func NewPattern(sentence, text string, parameters int) *Pattern {
	return &Pattern{Text: text, Opening: opening(text), sentence: sentence, groups: parameters}
}

// Compiled returns the compiled pattern. It panics if the pattern is malformed or has another number of groups than the
// sentence has parameters.
func (p *Pattern) Compiled() *regexp.Regexp {
	p.compile.Do(func() {
		re, err := regexp.Compile(p.Text)
		if err != nil {
			panic(fmt.Sprintf("steps: sentence %q: %v", p.sentence, err))
		}
		if re.NumSubexp() != p.groups {
			panic(fmt.Sprintf("steps: sentence %q has %d parameters, its pattern %s %d groups", p.sentence, p.groups, p.Text, re.NumSubexp()))
		}
		p.compiled = re
	})
	return p.compiled
}

// Beginning returns what matches the beginning of a text, up to the end of a word. It is for messages.
func (p *Pattern) Beginning() *regexp.Regexp {
	p.begin.Do(func() {
		re, err := regexp.Compile(strings.TrimSuffix(p.Text, "$") + `(?:\s|$)`)
		if err != nil || p.Text == strings.TrimSuffix(p.Text, "$") {
			re = never.Compiled()
		}
		p.beginning = re
	})
	return p.beginning
}

// never matches no text.
var never = regex.Lazy(`[^\s\S]`)

// opening returns the literal prefix of a pattern that is anchored at the start. It may return a shorter prefix.
func opening(pattern string) string {
	rest, anchored := strings.CutPrefix(pattern, "^")
	if !anchored || strings.Contains(pattern, "|") {
		return ""
	}
	end := strings.IndexAny(rest, `\.+*?()[]{}^$`)
	if end < 0 {
		return rest
	}
	literal := rest[:end]
	if strings.ContainsRune("*?{", rune(rest[end])) { // the last letter is optional
		return withoutLast(literal)
	}
	return literal
}
