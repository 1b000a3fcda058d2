package steps

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/features"
)

// The texts of sentences that operators define themselves: where their placeholders stand, and what they can hold.

// slot is a placeholder of a sentence, where a step that uses it has a value.
type slot struct {
	name     string
	kind     *Kind
	fallback string // what it is where the step leaves it out
	optional bool
}

// A step of a definition takes what lies beneath the step that uses the sentence by these placeholders, in a doc string and
// as the first cell of a row.
const (
	docPlaceholder   = "doc string"
	tablePlaceholder = "table"
)

var (
	slotName    = regexp.MustCompile(`^[\p{L}_](?:[\p{L}\p{N}_ -]*[\p{L}\p{N}_])?$`)
	slotWritten = regexp.MustCompile(`^([\p{L}_](?:[\p{L}\p{N}_ -]*[\p{L}\p{N}_])?)(?::(\w+))?(?:=(.*))?$`)
)

// readSentence reads the text of a definition: its placeholders and the pattern that steps match. The error is one line.
func readSentence(text string) (pattern string, slots []slot, err error) {
	var b strings.Builder
	b.WriteByte('^')
	optionalFrom := -1 // the slots' number at the open bracket
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`<[]\`, text[i+1]) >= 0:
			b.WriteString(regexp.QuoteMeta(text[i+1 : i+2]))
			i += 2
		case c == '[':
			if optionalFrom >= 0 {
				return "", nil, fmt.Errorf(`a bracket stands within brackets: write \[ where the sentence itself has one`)
			}
			optionalFrom = len(slots)
			b.WriteString("(?:")
			i++
		case c == ']':
			if optionalFrom < 0 {
				return "", nil, fmt.Errorf(`a bracket is closed that was not opened: write \] where the sentence itself has one`)
			}
			for _, s := range slots[optionalFrom:] {
				if !s.optional {
					return "", nil, fmt.Errorf("<%s> may be left out, since it stands in brackets, and needs a default: <%s=…>", s.name, s.name)
				}
			}
			optionalFrom = -1
			b.WriteString(")?")
			i++
		case c == '<':
			end := strings.IndexByte(text[i:], '>')
			if end < 0 || !slotWritten.MatchString(text[i+1:i+end]) {
				if end > 0 && slotName.MatchString(text[i+1:i+2]) {
					return "", nil, fmt.Errorf(`%q is no placeholder: write <name>, <name:type> or <name:type=default>, and \< where the sentence itself has the sign`, text[i:i+end+1])
				}
				b.WriteString("<")
				i++
				continue
			}
			end += i
			var before, after byte
			if i > 0 {
				before = text[i-1]
			}
			if end+1 < len(text) {
				after = text[end+1]
			}
			s, group, err := readSlot(text[i+1:end], (before == '"' || before == '\'') && before == after)
			if err != nil {
				return "", nil, err
			}
			if slices.ContainsFunc(slots, func(other slot) bool { return other.name == s.name }) {
				return "", nil, fmt.Errorf("<%s> stands there twice", s.name)
			}
			if s.optional && optionalFrom < 0 {
				return "", nil, fmt.Errorf(`<%s> has a default and can never be left out: put brackets around what may be, as in [ on the page "<page=/login>"]`, s.name)
			}
			slots = append(slots, s)
			b.WriteString(group)
			i = end + 1
		default:
			b.WriteString(regexp.QuoteMeta(text[i : i+1]))
			i++
		}
	}
	if optionalFrom >= 0 {
		return "", nil, fmt.Errorf(`a bracket is not closed: write \[ where the sentence itself has one`)
	}
	b.WriteByte('$')
	return b.String(), slots, nil
}

// readSlot reads what stands in angle brackets; quoted says that there are quotes around them.
func readSlot(written string, quoted bool) (s slot, group string, err error) {
	m := slotWritten.FindStringSubmatch(written)
	s = slot{name: m[1], fallback: m[3], optional: strings.Contains(written, "=")}
	typed := cmp.Or(m[2], plainKind)
	s.kind = kinds[typed]
	switch {
	case s.name == docPlaceholder || s.name == tablePlaceholder:
		return s, "", fmt.Errorf("<%s> is what lies beneath the step that uses the sentence: it stands in the steps of the definition only", s.name)
	case s.kind == nil || s.kind.Sample == "":
		return s, "", fmt.Errorf("<%s>: there is no type %q%s", written, typed, orNearest(typed, placeholderTypes()))
	case !quoted && s.kind.quoted():
		return s, "", fmt.Errorf(`<%s> takes a value in quotes: write "<%s>", or give it a type that has none, as in <%s:int> or <%s:word>`, written, written, s.name, s.name)
	}
	group = s.kind.pattern()
	if quoted {
		group = s.kind.group()
	}
	if s.optional && !s.kind.matches(s.fallback) {
		return s, "", fmt.Errorf("<%s>: the default %q is no {%s}", written, s.fallback, typed)
	}
	return s, group, nil
}

// orNearest says which of several names was most likely meant, or names them all.
func orNearest(name string, names []string) string {
	best, slips := "", len(name)
	for _, n := range names {
		if d := levenshtein([]rune(strings.ToLower(name)), []rune(strings.ToLower(n))); d < slips {
			best, slips = n, d
		}
	}
	if best != "" && slips <= max(2, len(best)/3) {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	if len(names) == 0 {
		return ""
	}
	return ": there is " + strings.Join(names, ", ")
}

// fragment is a piece of a text: words, or the slot whose value stands there.
type fragment struct {
	text string
	slot int // in the order of the sentence; none, theDoc
}

const (
	none   = -1
	theDoc = -2 // the doc string beneath the step that uses the sentence
)

// fragments is a text with placeholders.
type fragments []fragment

// readFragments parts a text of a definition at the placeholders that slots has; beneath says that it is a doc string or a
// cell, which may hold angle brackets of its own.
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

// noPlaceholder says what is wrong with angle brackets that hold no placeholder of the sentence, or nothing where they may.
func noPlaceholder(written string, slots []slot, beneath bool) error {
	name, _, typed := strings.Cut(written, ":")
	if !typed {
		name, _, typed = strings.Cut(written, "=")
	}
	names := make([]string, len(slots))
	for i, s := range slots {
		if names[i] = s.name; typed && s.name == name {
			return fmt.Errorf("<%s>: type and default stand in the sentence only, here it is <%s>", written, name)
		}
	}
	near := orNearest(written, names)
	if strings.HasPrefix(near, ": there") {
		near = "; it has <" + strings.Join(names, ">, <") + ">"
	}
	switch {
	case (written == docPlaceholder || written == tablePlaceholder) && !beneath:
		return fmt.Errorf("<%s> stands beneath a step: in a doc string, or as the first cell of a row", written)
	case strings.HasPrefix(near, ": did"):
		return fmt.Errorf("<%s> is no placeholder of the sentence%s", written, near)
	case beneath || !slotName.MatchString(written):
		return nil
	case len(names) == 0:
		near = ", which has none"
	}
	return fmt.Errorf(`<%s> is no placeholder of the sentence%s. Write \< where the text itself has the sign`, written, near)
}

// filled puts values into a text. It stops once that is longer than limit bytes.
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

// uses reports whether a slot's value stands in the text.
func (f fragments) uses(slot int) bool {
	return slices.ContainsFunc(f, func(part fragment) bool { return part.slot == slot })
}

// open reports whether any value stands in the text.
func (f fragments) open() bool {
	return slices.ContainsFunc(f, func(part fragment) bool { return part.slot != none })
}

// sampled is the text with a sample in each slot, and where in it each fragment begins; the last number is its end.
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
