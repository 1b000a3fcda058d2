// Package wording writes what people read in messages: names in quotes, lines from outside, numbers and durations.
// It knows no run and no protocol.
package wording

import (
	"strings"
	"unicode"
)

// Quote quotes a name for a message, on one line, and shortens long ones.
func Quote(name string) string {
	const most = 60
	return `"` + OneLine(name, most) + `"`
}

// IsSpace reports whether c is white space of HTML and of header fields.
func IsSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r' }

// CutLast is strings.Cut at the last sep.
func CutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// OneLine makes text from a server fit for one line of a report: no control characters, valid UTF-8, at most limit
// runes.
func OneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar:
			return '?'
		default:
			return r
		}
	}, text)
	for i := range text {
		if limit == 0 {
			return text[:i] + "…"
		}
		limit--
	}
	return text
}

// Cut shortens a status line for a message: some plugins print very long lines.
func Cut(line string) string {
	const most = 500
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}

// FirstLine returns the first line of text, cut as Cut does.
func FirstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return Cut(strings.ToValidUTF8(strings.TrimSpace(line), ""))
}

// Excerpt returns text from outside on one line of limited length.
func Excerpt(text string) string {
	const most = 200
	text = OneLine(strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "), len(text))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
