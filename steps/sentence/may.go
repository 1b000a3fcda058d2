package sentence

import (
	"strings"
	"unicode/utf8"
)

// May reports whether a text may mean a sentence or, between slashes, match a pattern. It decides by the words that stand in
// it, compiles nothing and allocates nothing: a plugin that runs one step must not compile hundreds of sentences to learn that
// they are other ones.
func May(written, text string) bool {
	if pattern, is := strings.CutPrefix(written, "/"); is {
		return MayMatch(strings.TrimSuffix(pattern, "/"), text)
	}
	return may(written, text)
}

// may reports whether a text may mean a sentence: it begins with what is before the first parameter, and has what is between
// the parameters in this order.
func may(sentence, text string) bool {
	opening := 0
	for opening < len(sentence) && sentence[opening] != '{' { // it ends at the first letter of most sentences
		if opening == len(text) || text[opening] != sentence[opening] {
			return false
		}
		opening++
	}
	text = text[opening:]
	for rest := strings.TrimPrefix(sentence[opening:], "{"); rest != ""; {
		_, rest, _ = strings.Cut(rest, "}")
		var between string
		between, rest, _ = strings.Cut(rest, "{")
		at := strings.Index(text, between)
		if at < 0 {
			return false
		}
		text = text[at+len(between):]
	}
	return true
}

// MayMatch reports whether a regular expression (RE2 syntax) may match a text: the text has the literal parts that are outside
// of groups, in this order, and begins with what follows an initial ^. A name in braces stands for a group. The answer is yes
// where that cannot be told without compiling, for alternatives at the top, and for flags.
func MayMatch(pattern, text string) bool {
	rest, anchored := strings.CutPrefix(pattern, "^")
	for first := true; rest != ""; first = false {
		var part string
		part, rest = next(rest)
		if part == "" {
			continue
		}
		at := strings.Index(text, part)
		if at < 0 || anchored && first && at > 0 {
			return !plain(pattern)
		}
		text = text[at+len(part):]
	}
	return true
}

// next returns the literal part that an expression begins with, which may be empty, and what is after it and after the
// operator that follows it.
func next(expression string) (part, rest string) {
	end := strings.IndexAny(expression, `\.+*?()[]{}|^$`)
	if end < 0 {
		return expression, ""
	}
	part, rest = expression[:end], expression[end:]
	switch rest[0] {
	case '*', '?':
		return withoutLast(part), rest[1:]
	case '{':
		if len(rest) > 1 && (rest[1] >= '0' && rest[1] <= '9' || rest[1] == ',') {
			part = withoutLast(part)
		}
		_, rest, _ = strings.Cut(rest, "}")
		return part, rest
	case '(':
		return part, group(rest)
	case '[':
		return part, class(rest)
	case '\\':
		return part, rest[min(2, len(rest)):]
	}
	return part, rest[1:]
}

// withoutLast returns a literal part without its last character, which may be missing in a text.
func withoutLast(part string) string {
	_, size := utf8.DecodeLastRuneInString(part)
	return part[:len(part)-size]
}

// group returns what is after the group that an expression begins with.
func group(expression string) string {
	for depth := 0; expression != ""; {
		switch expression[0] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return expression[1:]
			}
		case '[':
			expression = class(expression)
			continue
		case '\\':
			expression = expression[min(1, len(expression)-1):]
		}
		expression = expression[1:]
	}
	return ""
}

// class returns what is after the character class that an expression begins with.
func class(expression string) string {
	rest := strings.TrimPrefix(expression[1:], "^")
	rest = strings.TrimPrefix(rest, "]") // a bracket in the first place is a character
	for rest != "" {
		switch {
		case rest[0] == ']':
			return rest[1:]
		case rest[0] == '\\' && len(rest) > 1:
			rest = rest[2:]
		case strings.HasPrefix(rest, "[:"):
			_, after, closed := strings.Cut(rest, ":]")
			if !closed {
				after = rest[1:]
			}
			rest = after
		default:
			rest = rest[1:]
		}
	}
	return ""
}

// plain reports whether the literal parts of an expression outside of groups are in every text that it matches: it has no
// alternatives outside of groups, no flags, and no escapes that are longer than a character.
func plain(expression string) bool {
	for i := strings.Index(expression, "(?"); i >= 0; {
		if !strings.HasPrefix(expression[i:], "(?:") && !strings.HasPrefix(expression[i:], "(?P<") {
			return false
		}
		more := strings.Index(expression[i+2:], "(?")
		if more < 0 {
			break
		}
		i += 2 + more
	}
	for rest := expression; rest != ""; {
		switch {
		case rest[0] == '|':
			return false
		case rest[0] == '(':
			rest = group(rest)
		case rest[0] == '[':
			rest = class(rest)
		case rest[0] != '\\' || len(rest) < 2:
			rest = rest[1:]
		case strings.IndexByte("QEpPx01234567", rest[1]) >= 0:
			return false
		default:
			rest = rest[2:]
		}
	}
	return true
}
