package steps

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/quoted"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/suggest"
)

// The texts of sentences that operators define: their placeholders and the values that these take.

// slot is a placeholder of a sentence. A step that uses the sentence has a value in its place.
type slot struct {
	name     string
	kind     *Kind
	fallback string // value if the step omits it
	optional bool
}

// With these placeholders a step of a definition takes the doc string or table of the step that uses the sentence, in a doc
// string or as the first cell of a row.
const (
	docPlaceholder   = "doc string"
	tablePlaceholder = "table"
)

var (
	slotName    = regex.Lazy(`^[\p{L}_](?:[\p{L}\p{N}_ -]*[\p{L}\p{N}_])?$`)
	slotWritten = regex.Lazy(`^([\p{L}_](?:[\p{L}\p{N}_ -]*[\p{L}\p{N}_])?)(?::(\w+))?(?:=(.*))?$`)
)

// readSentence reads the text of a definition: its placeholders and the pattern that steps match. The error is one line.
// compat returns the pattern for a project of cucumber-nagios.
func readSentence(text string, compat bool) (pattern string, slots []slot, err error) {
	var b strings.Builder
	b.WriteByte('^')
	literal := text // as the steps that match it are read
	if !compat {
		literal = quoted.Read(text, nil, false).Marked
	}
	optionalFrom := -1 // number of slots at the open bracket
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`<[]\`, text[i+1]) >= 0:
			b.WriteString(regexp.QuoteMeta(text[i+1 : i+2]))
			i += 2
		case c == '[':
			if optionalFrom >= 0 {
				return "", nil, fmt.Errorf(`a bracket is nested in brackets: write \[ for a bracket of the sentence itself`)
			}
			optionalFrom = len(slots)
			b.WriteString("(?:")
			i++
		case c == ']':
			if optionalFrom < 0 {
				return "", nil, fmt.Errorf(`a closing bracket has no opening bracket: write \] for a bracket of the sentence itself`)
			}
			for _, s := range slots[optionalFrom:] {
				if !s.optional {
					return "", nil, fmt.Errorf("<%s> is in brackets, so it is optional and needs a default: <%s=…>", s.name, s.name)
				}
			}
			optionalFrom = -1
			b.WriteString(")?")
			i++
		case c == '<':
			end := strings.IndexByte(text[i:], '>')
			if end < 0 || !slotWritten.MatchString(text[i+1:i+end]) {
				if end > 0 && slotName.MatchString(text[i+1:i+2]) {
					return "", nil, fmt.Errorf(`%q is not a placeholder: write <name>, <name:type> or <name:type=default>, and \< for the sign itself`, text[i:i+end+1])
				}
				b.WriteString("<")
				i++
				continue
			}
			end += i
			var before, after byte
			if i > 0 {
				before = literal[i-1]
			}
			if end+1 < len(text) {
				after = literal[end+1]
			}
			if before != after || before != '"' && before != '\'' {
				before = 0
			}
			s, group, err := readSlot(text[i+1:end], before, compat)
			if err != nil {
				return "", nil, err
			}
			if slices.ContainsFunc(slots, func(other slot) bool { return other.name == s.name }) {
				return "", nil, fmt.Errorf("<%s> occurs twice", s.name)
			}
			if s.optional && optionalFrom < 0 {
				return "", nil, fmt.Errorf(`<%s> has a default but is not optional: put brackets around the optional part, as in [ on the page "<page=/login>"]`, s.name)
			}
			slots = append(slots, s)
			b.WriteString(group)
			i = end + 1
		default:
			b.WriteString(regexp.QuoteMeta(literal[i : i+1]))
			i++
		}
	}
	if optionalFrom >= 0 {
		return "", nil, fmt.Errorf(`a bracket is not closed: write \[ for a bracket of the sentence itself`)
	}
	b.WriteByte('$')
	return b.String(), slots, nil
}

// readSlot parses the text in angle brackets. quote is the quote on both sides of them, or zero.
func readSlot(written string, quote byte, compat bool) (s slot, group string, err error) {
	m := slotWritten.FindStringSubmatch(written)
	s = slot{name: m[1], fallback: m[3], optional: strings.Contains(written, "=")}
	typed := cmp.Or(m[2], plainKind)
	s.kind = kinds[typed]
	switch {
	case s.name == docPlaceholder || s.name == tablePlaceholder:
		return s, "", fmt.Errorf("<%s> means the doc string or table below the step that uses the sentence: write it only in the steps of the definition", s.name)
	case s.kind == nil || s.kind.Sample == "":
		return s, "", fmt.Errorf("<%s>: unknown type %q%s", written, typed, orNearest(typed, placeholderTypes()))
	case quote == 0 && s.kind.quoted():
		return s, "", fmt.Errorf(`<%s> takes a value in quotes: write "<%s>", or give it a type without quotes, as in <%s:int> or <%s:word>`, written, written, s.name, s.name)
	}
	switch group = s.kind.group(compat); {
	case quote == 0:
		group = s.kind.pattern(compat)
	case quote == '\'' && !compat: // a text in single quotes may contain double quotes
		group = strings.ReplaceAll(group, `"]`, `']`)
	}
	if s.optional && !s.kind.matches(s.fallback) {
		return s, "", fmt.Errorf("<%s>: the default %q is not a {%s}", written, s.fallback, typed)
	}
	return s, group, nil
}

// orNearest suggests the most similar name, or lists all names.
func orNearest(name string, names []string) string {
	best, slips := "", len(name)
	for _, n := range names {
		if d := suggest.Distance([]rune(strings.ToLower(name)), []rune(strings.ToLower(n))); d < slips {
			best, slips = n, d
		}
	}
	if best != "" && slips <= max(2, len(best)/3) {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	if len(names) == 0 {
		return ""
	}
	return ": choose one of " + strings.Join(names, ", ")
}

// fragment is a part of a text: words, or a slot for a value.
type fragment struct {
	text string
	slot int // in the order of the sentence; none, theDoc
}

const (
	none   = -1
	theDoc = -2 // the doc string of the step that uses the sentence
)

// fragments is a text with placeholders.
type fragments []fragment

// readFragments splits a text of a definition at the placeholders in slots. beneath means that the text is a doc string or
// a cell, which may contain other angle brackets.
func readFragments(text string, slots []slot, beneath bool) (fragments, error) {
	var all fragments
	words := func(text string) {
		if last := len(all) - 1; last >= 0 && all[last].slot == none {
			all[last].text += text
		} else if text != "" {
			all = append(all, fragment{text, none})
		}
	}
	for {
		i := strings.IndexByte(text, '<')
		if i < 0 {
			words(text)
			return all, nil
		}
		if i > 0 && text[i-1] == '\\' {
			words(text[:i-1] + "<")
			text = text[i+1:]
			continue
		}
		words(text[:i])
		text = text[i:]
		end := strings.IndexByte(text, '>')
		if next := strings.IndexByte(text[1:], '<'); end < 0 || next >= 0 && next+1 < end {
			words("<")
			text = text[1:]
			continue
		}
		written := text[1:end]
		at := slices.IndexFunc(slots, func(s slot) bool { return s.name == written })
		switch {
		case at >= 0:
			all = append(all, fragment{slot: at})
		case written == docPlaceholder && beneath:
			all = append(all, fragment{slot: theDoc})
		default:
			if err := noPlaceholder(written, slots, beneath); err != nil {
				return nil, err
			}
			words(text[:end+1])
		}
		text = text[end+1:]
	}
}

// noPlaceholder returns the error for angle brackets that contain no placeholder of the sentence, or nil if they are allowed.
func noPlaceholder(written string, slots []slot, beneath bool) error {
	name, _, typed := strings.Cut(written, ":")
	if !typed {
		name, _, typed = strings.Cut(written, "=")
	}
	names := make([]string, len(slots))
	for i, s := range slots {
		if names[i] = s.name; typed && s.name == name {
			return fmt.Errorf("<%s>: the type and the default belong in the sentence: write <%s> here", written, name)
		}
	}
	near := orNearest(written, names)
	if strings.HasPrefix(near, ": choose") {
		near = "; it has <" + strings.Join(names, ">, <") + ">"
	}
	switch {
	case (written == docPlaceholder || written == tablePlaceholder) && !beneath:
		return fmt.Errorf("<%s> belongs below a step: in a doc string, or as the first cell of a row", written)
	case strings.HasPrefix(near, ": did"):
		return fmt.Errorf("<%s> is not a placeholder of the sentence%s", written, near)
	case beneath || !slotName.MatchString(written):
		return nil
	case len(names) == 0:
		near = ", which has none"
	}
	return fmt.Errorf(`<%s> is not a placeholder of the sentence%s. Write \< for the sign itself`, written, near)
}

// filled inserts values into a text. It stops once the text is longer than limit bytes.
func (f fragments) filled(values []string, doc *features.DocString, limit int) string {
	if len(f) == 1 && f[0].slot == none {
		return f[0].text
	}
	var b strings.Builder
	for _, part := range f {
		switch {
		case b.Len() > limit:
			return b.String()
		case part.slot == none:
			b.WriteString(part.text)
		case part.slot == theDoc:
			if doc != nil {
				b.WriteString(doc.Content)
			}
		default:
			b.WriteString(values[part.slot])
		}
	}
	return b.String()
}

// places returns where filled inserts values into a text: from, to.
func (f fragments) places(values []string) (all [][2]int) {
	at := 0
	for _, part := range f {
		if part.slot >= 0 {
			all = append(all, [2]int{at, at + len(values[part.slot])})
			at += len(values[part.slot])
			continue
		}
		at += len(part.text)
	}
	return all
}

// uses reports whether the text contains the value of a slot.
func (f fragments) uses(slot int) bool {
	return slices.ContainsFunc(f, func(part fragment) bool { return part.slot == slot })
}

// open reports whether the text contains any value.
func (f fragments) open() bool {
	return slices.ContainsFunc(f, func(part fragment) bool { return part.slot != none })
}

// sampled returns the text with a sample in each slot, and the start of each fragment in it. The last number is the end.
func (f fragments) sampled(slots []slot) (text string, begins []int) {
	var b strings.Builder
	for _, part := range f {
		begins = append(begins, b.Len())
		if part.slot >= 0 {
			b.WriteString(slots[part.slot].kind.Sample)
		} else {
			b.WriteString(part.text)
		}
	}
	return b.String(), append(begins, b.Len())
}
