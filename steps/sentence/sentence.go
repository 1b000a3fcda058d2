// Package sentence reads the texts of sentences and of the patterns that stand for them: `I follow {text}`, with the kinds of
// the parameters in braces.
package sentence

import (
	"strings"
)

// Cut returns the text before the first name in braces, the name, and the text after it.
func Cut(text string) (before, name, after string, found bool) {
	for at := 0; ; at++ {
		open := strings.IndexByte(text[at:], '{')
		if open < 0 {
			return text, "", "", false
		}
		at += open
		end := at + 1
		for end < len(text) && IsWord(text[end]) {
			end++
		}
		if end > at+1 && end < len(text) && text[end] == '}' {
			return text[:at], text[at+1 : end], text[end+1:], true
		}
	}
}

// IsWord reports whether a character is one of \w in a regular expression.
func IsWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// Outline returns a sentence with empty braces in the place of its parameters.
func Outline(sentence string) string {
	var b strings.Builder
	for {
		before, _, rest, more := Cut(sentence)
		b.WriteString(before)
		if !more {
			return b.String()
		}
		b.WriteString("{}")
		sentence = rest
	}
}
