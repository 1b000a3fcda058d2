package pagetree

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// A field may take less than what a visitor types: HTML §4.10.5 limits its length and sanitises its value.

// textType returns the type of an input that takes text, in lower case, or "textarea".
func textType(field *html.Node) string {
	if field.DataAtom == atom.Textarea {
		return "textarea"
	}
	kind, _ := Attribute(field, "type")
	switch kind = strings.ToLower(strings.TrimSpace(kind)); kind {
	case "search", "url", "tel", "email", "password", "number", "range", "date", "month", "week", "time", "datetime-local", "color":
		return kind
	}
	return "text"
}

// Length returns the length of a text as HTML counts it, in UTF-16 code units (HTML §4.10.19.3).
func Length(text string) int { return len(utf16.Encode([]rune(text))) }

// timeLayouts are the forms of the values of the types for dates and times (HTML §2.3.5).
var timeLayouts = map[string][]string{
	"date": {"2006-01-02"}, "month": {"2006-01"}, "time": {"15:04", "15:04:05", "15:04:05.000"},
	"datetime-local": {"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04:05.000", "2006-01-02 15:04", "2006-01-02 15:04:05"},
}

var (
	number = regex.Lazy(`^-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?$`) // HTML §2.3.4.3
	week   = regex.Lazy(`^\d{4,}-W(?:0[1-9]|[1-4]\d|5[0-3])$`)
	colour = regex.Lazy(`^#[0-9a-fA-F]{6}$`)
)

// Taken returns what of a typed text a field takes, as far as the HTML determines it. It is empty for a text that a
// field of this type does not accept.
func Taken(field *html.Node, text string) string {
	kind := textType(field)
	if kind != "textarea" {
		text = strings.NewReplacer("\r", "", "\n", "").Replace(text)
	}
	fits := true
	switch kind {
	case "number", "range":
		fits = number.MatchString(text)
	case "week":
		fits = week.MatchString(text)
	case "color":
		fits = colour.MatchString(text)
	case "date", "month", "time", "datetime-local":
		fits = false
		for _, layout := range timeLayouts[kind] {
			_, err := time.Parse(layout, text)
			fits = fits || err == nil
		}
	case "email":
		text = encodedDomains(strings.TrimSpace(text))
	case "url":
		text = strings.TrimSpace(text)
	}
	switch kind {
	case "textarea", "text", "search", "tel", "email", "url", "password":
		limit, _ := Attribute(field, "maxlength")
		if most, err := strconv.Atoi(strings.TrimSpace(limit)); err == nil && most >= 0 {
			return cutTo(text, most)
		}
	}
	if !fits {
		return ""
	}
	return text
}

// encodedDomains returns mail addresses, with commas between them, with the domains that browsers send: names of letters
// beyond ASCII are encoded (HTML §4.10.5.1.5).
func encodedDomains(addresses string) string {
	parts := strings.Split(addresses, ",")
	for i, part := range parts {
		local, domain, found := strings.Cut(part, "@")
		if !found || !strings.ContainsFunc(domain, func(r rune) bool { return r > unicode.MaxASCII }) {
			continue
		}
		if u, err := address.Parse("http://" + domain + "/"); err == nil && u.Path == "/" && u.Query == "" && u.Port() == "" {
			parts[i] = local + "@" + u.Hostname()
		}
	}
	return strings.Join(parts, ",")
}

// cutTo returns the first code units of a text, without half a character at the end.
func cutTo(text string, most int) string {
	n := 0
	for i, r := range strings.ReplaceAll(text, "\r\n", "\n") {
		if n += utf16.RuneLen(r); n > most {
			return strings.ReplaceAll(text, "\r\n", "\n")[:i]
		}
	}
	return text
}

// Took is how much of a text a field took.
type Took int

// TookOtherwise is all of it, written in another way.
const (
	TookAll Took = iota
	TookOtherwise
	TookPart
)

// Compare compares a typed text with the value that the field has after it.
func Compare(field *html.Node, text, value string) Took {
	kind := textType(field)
	breaks := strings.NewReplacer("\r", "", "\n", "")
	if kind == "textarea" {
		breaks = strings.NewReplacer("\r\n", "\n", "\r", "\n")
	}
	text, value = breaks.Replace(text), breaks.Replace(value)
	switch kind {
	case "email":
		if text, value = strings.TrimSpace(text), strings.TrimSpace(value); text != value && encodedDomains(text) == value {
			return TookAll // as a visitor sees it
		}
	case "url":
		text, value = strings.TrimSpace(text), strings.TrimSpace(value)
	case "color":
		text = strings.ToLower(text)
	case "time", "datetime-local": // seconds of zero are left out
		rest, cut := strings.CutPrefix(strings.Replace(text, " ", "T", 1), value)
		if cut && strings.Trim(rest, ":.0") == "" {
			return TookAll
		}
	case "number", "range":
		wanted, err := strconv.ParseFloat(text, 64)
		got, gotErr := strconv.ParseFloat(value, 64)
		if err == nil && gotErr == nil && wanted == got {
			return TookAll
		}
	}
	rest, cut := strings.CutPrefix(text, value)
	switch {
	case text == value:
		return TookAll
	case kind == "password", cut && strings.TrimSpace(rest) != "", bare(text) == "":
		return TookPart
	case bare(text) == bare(value), text != "" && strings.HasPrefix(bare(value), bare(text)):
		return TookOtherwise
	}
	return TookPart
}

// bare returns the letters and digits of a text, in lower case.
func bare(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}
