// Package quoted reads the texts in quotes of a step.
package quoted

import (
	"slices"
	"strings"
)

// How the texts in quotes of a step are read.
//
// A text in quotes ends at its closing quote. It is between double quotes, or between single quotes that begin and end a
// word. A quote that belongs to the text has a backslash before it, or the text is in the other quotes:
//
//	I should see "say \"hello\""
//	I should see 'say "hello"'
//
// A backslash before anything but a quote is a backslash: texts contain regular expressions and paths. Of several
// backslashes before a quote, two are one backslash, as in the command lines of Windows: "C:\\" ends with a backslash.
//
// A quote from a cell of an outline, or from the value of a placeholder, belongs to the text that the placeholder is in. So
// no value turns a step into another step.

// Reading is the text of a step as patterns see it. The quotes that belong to a text and the backslashes before quotes are
// replaced with marks, so that every quote left begins or ends a text. A mark has as many bytes as what it stands for, so
// places in one are places in the other.
type Reading struct {
	Written string
	Marked  string
	Single  bool // texts in single quotes count: their quotes are double quotes in marked
	Compat  bool // as cucumber-nagios reads it: marked is written
}

// The marks. A byte is a mark only if it differs from the byte that was written, so a text may contain these bytes.
const (
	quoteMark      = 0x01 // and the byte after it: a double quote with a backslash
	backslashMark  = 0x02 // and the byte after it: two backslashes before a quote
	apostropheMark = 0x03 // and the byte after it: a single quote with a backslash
	bareQuote      = 0x04 // a double quote
	bareBackslash  = 0x05
	bareApostrophe = 0x06
	second         = 0x07 // the second byte of a mark
)

// Read reads a text. values has the parts of it that come from cells or placeholders, in order: from, to.
func Read(text string, values [][2]int, single bool) Reading {
	r := Reading{Written: text, Marked: text, Single: single}
	if !strings.ContainsAny(text, `\'`) && (len(values) == 0 || !strings.Contains(text, `"`)) {
		return r
	}
	marked := []byte(text)
	inside := byte(0) // the quote that opened the text, or a backtick
	value := 0        // the first of values that does not end before i
	filled := false   // it began inside a text; one outside is read as if it were written there
	for i := 0; i < len(text); i++ {
		for value < len(values) && values[value][1] <= i {
			value++
		}
		if value < len(values) && values[value][0] == i {
			filled = inside != 0 && inside != '`'
		}
		if filled && value < len(values) && values[value][0] <= i {
			switch text[i] {
			case '"':
				marked[i] = bareQuote
			case '\'':
				marked[i] = bareApostrophe
			case '\\':
				marked[i] = bareBackslash
			}
			continue
		}
		switch c := text[i]; {
		case inside == '`':
			if c == '`' {
				inside = 0
			}
		case c == '\\':
			i = escapes(text, marked, i, inside, values)
		case inside == 0 && c == '`' && strings.IndexByte(text[i+1:], '`') >= 0:
			inside = '`'
		case inside == 0 && c == '"', inside == 0 && c == '\'' && single && opens(text, i, values):
			inside, marked[i] = c, '"'
		case inside == '\'' && c == '"':
			marked[i] = bareQuote
		case inside != 0 && c == inside:
			inside, marked[i] = 0, '"'
		}
	}
	r.Marked = string(marked)
	return r
}

// escapes marks the backslashes at i, and the quote after them if it belongs to a text. It returns the place of the last
// byte that it read.
func escapes(text string, marked []byte, i int, inside byte, values [][2]int) int {
	end := i
	begins := func() bool { return slices.ContainsFunc(values, func(v [2]int) bool { return v[0] == end }) }
	for end < len(text) && text[end] == '\\' && (end == i || !begins()) {
		end++
	}
	if end == len(text) || begins() || text[end] != '"' && (text[end] != '\'' || inside != '\'') || inside == '\'' && text[end] == '"' {
		return end - 1 // not before a quote that could end the text
	}
	for ; i+1 < end; i += 2 {
		marked[i], marked[i+1] = backslashMark, second
	}
	if i == end {
		return end - 1 // the quote ends the text, or begins one
	}
	if marked[i] = quoteMark; text[end] == '\'' {
		marked[i] = apostropheMark
	}
	marked[end] = second
	return end
}

// opens reports whether the single quote at i begins a word and another one ends a word: an apostrophe does not.
func opens(text string, i int, values [][2]int) bool {
	if i > 0 && text[i-1] != ' ' {
		return false
	}
	for j := i + 1; j < len(text); j++ {
		if v := slices.IndexFunc(values, func(v [2]int) bool { return v[0] <= j && j < v[1] }); v >= 0 {
			j = values[v][1] - 1
			continue
		}
		switch text[j] {
		case '\\':
			j++
		case '\'':
			return j+1 == len(text) || strings.IndexByte(" .,:;!?", text[j+1]) >= 0
		}
	}
	return false
}

// Quoted reports whether there are quotes around a part of the text.
func (r Reading) Quoted(from, to int) bool {
	return !r.Compat && from > 0 && to < len(r.Marked) && r.Marked[from-1] == '"' && r.Marked[to] == '"'
}

// Value returns the value that a part of the text in quotes has, or the part as written if it is not in quotes.
func (r Reading) Value(from, to int) string {
	if from < 0 {
		return ""
	}
	if !r.Quoted(from, to) {
		return r.Written[from:to]
	}
	return r.Text(from, to)
}

// Text returns a part of a text in quotes without its marks.
func (r Reading) Text(from, to int) string {
	if r.Marked[from:to] == r.Written[from:to] {
		return r.Written[from:to]
	}
	var b strings.Builder
	for i := from; i < to; i++ {
		mark := r.Marked[i]
		if mark == r.Written[i] {
			b.WriteByte(mark)
			continue
		}
		switch mark {
		case quoteMark:
			b.WriteByte('"')
			i++
		case apostropheMark:
			b.WriteByte('\'')
			i++
		case backslashMark:
			b.WriteByte('\\')
			i++
		default:
			b.WriteByte(r.Written[i])
		}
	}
	return b.String()
}

// Balanced reports whether a value has a quote on both sides or on neither, and does not begin with one.
func (r Reading) Balanced(from, to int) bool {
	before, after := from > 0 && r.Marked[from-1] == '"', to < len(r.Marked) && r.Marked[to] == '"'
	return before == after && (before || from == to || r.Marked[from] != '\'')
}
