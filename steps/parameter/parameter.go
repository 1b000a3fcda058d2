// Package parameter reads the header fields of mail and HTTP that have parameters: Content-Type and
// Content-Disposition.
//
// For mail it follows RFC 2045 section 5.1, RFC 2183 and RFC 2231; for HTTP the MIME Sniffing standard, RFC 6266 and,
// where they leave a choice, Chromium. It reads what programs write against these standards, since mime.ParseMediaType
// drops all parameters for one blank or bracket in a file name.
package parameter

import (
	"io"
	"mime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/net/http/httpguts"

	"github.com/stepwatch/stepwatch/steps/address"
)

// pair is a parameter as written, its value unquoted.
type pair struct {
	name, value string // the name in lower case
	quoted      bool
}

// split returns what stands before the first semicolon, and the parameters after it. Semicolons in quotes do not count.
func split(value string) (first string, pairs []pair) {
	for i, part := range parts(value, ';') {
		if i == 0 {
			first = trim(part)
			continue
		}
		if name, text, found := strings.Cut(part, "="); found {
			p := pair{name: strings.ToLower(trim(name)), value: trim(text)}
			p.value, p.quoted = unquote(p.value)
			pairs = append(pairs, p)
		}
	}
	return first, pairs
}

// parts splits a value at a separator outside quoted strings. A quote begins a string only where a value may begin.
func parts(value string, separator byte) []string {
	var all []string
	begin, quoted, fresh := 0, false, true
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case quoted:
			quoted = c != '"'
		case c == separator:
			all = append(all, value[begin:i])
			begin, fresh = i+1, true
		case c == '"' && fresh:
			quoted, fresh = true, false
		case c == '=':
			fresh = true
		case c != ' ' && c != '\t':
			fresh = false
		}
	}
	return append(all, value[begin:])
}

// unquote returns the text of a quoted string, also of one without an end.
func unquote(value string) (text string, quoted bool) {
	if !strings.HasPrefix(value, `"`) {
		return value, false
	}
	var b strings.Builder
	for i := 1; i < len(value) && value[i] != '"'; i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String(), true
}

// List returns the members of a field that is a list: what stands between commas outside quoted strings.
func List(value string) []string {
	all := parts(value, ',')
	for i, member := range all {
		all[i] = trim(member)
	}
	return slices.DeleteFunc(all, func(member string) bool { return member == "" })
}

func trim(s string) string { return strings.Trim(s, " \t\r\n") }

func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !httpguts.IsTokenRune(r) })
}

// Mail returns the type of a Content-Type or Content-Disposition field of a mail in lower case, or the encoding of a
// Content-Transfer-Encoding field, and the parameters by their names in lower case, with continuations and charsets
// undone (RFC 2231). The first parameter of a name counts.
func Mail(value string) (kind string, parameters map[string]string) {
	first, pairs := split(value)
	kind, _, _ = strings.Cut(strings.ToLower(withoutComment(first)), " ")
	parameters = map[string]string{}
	extended := map[string][]pair{} // the parts of parameters with asterisks, their names as they follow the asterisk
	for _, p := range pairs {
		name, rest, starred := strings.Cut(p.name, "*")
		if starred {
			extended[name] = append(extended[name], pair{rest, p.value, p.quoted})
			continue
		}
		if !p.quoted {
			p.value = withoutComment(p.value)
		}
		if _, twice := parameters[name]; !twice {
			parameters[name] = legible(p.value)
		}
	}
	for name, parts := range extended {
		if text, valid := joined(parts); valid {
			parameters[name] = text
		}
	}
	return kind, parameters
}

// withoutComment removes a comment after a blank. A bracket within a word is part of it: "report(1).pdf".
func withoutComment(value string) string {
	if cut := strings.IndexByte(value, '('); cut == 0 || cut > 0 && (value[cut-1] == ' ' || value[cut-1] == '\t') {
		return trim(value[:cut])
	}
	return value
}

// joined returns the value of a parameter from its parts (RFC 2231 sections 3 and 4).
func joined(parts []pair) (string, bool) {
	encoding := ""
	if slices.ContainsFunc(parts, func(p pair) bool { return p.name == "" }) { // name*=charset'language'text
		for _, p := range parts {
			if p.name == "" {
				var text string
				var valid bool
				if encoding, text, valid = labelled(p.value); valid {
					return decoded(encoding, address.Decode(text))
				}
			}
		}
		return "", false
	}
	byNumber := map[int]pair{}
	for _, p := range parts {
		digits, escaped := strings.CutSuffix(p.name, "*")
		if n, err := strconv.Atoi(digits); err == nil {
			if _, twice := byNumber[n]; !twice {
				byNumber[n] = pair{value: p.value, quoted: !escaped} // quoted: it has no escapes
			}
		}
	}
	var b strings.Builder
	for n := range len(byNumber) {
		p, found := byNumber[n]
		if !found {
			break
		}
		if n == 0 && !p.quoted {
			if label, text, valid := labelled(p.value); valid {
				encoding, p.value = label, text
			}
		}
		if !p.quoted {
			p.value = address.Decode(p.value)
		}
		b.WriteString(p.value)
	}
	if len(byNumber) == 0 {
		return "", false
	}
	return decoded(encoding, b.String())
}

// labelled splits charset'language'text.
func labelled(value string) (encoding, text string, valid bool) {
	encoding, rest, found := strings.Cut(value, "'")
	_, text, second := strings.Cut(rest, "'")
	return encoding, text, found && second
}

// decoded converts a text in a charset, or in UTF-8 when none is named, to UTF-8. valid is false when it is not one.
func decoded(label, text string) (converted string, valid bool) {
	switch strings.ToLower(label) {
	case "", "utf-8", "utf8", "us-ascii":
		return text, utf8.ValidString(text)
	}
	encoding, _ := charset.Lookup(label)
	if encoding == nil {
		return "", false
	}
	b, err := io.ReadAll(encoding.NewDecoder().Reader(strings.NewReader(text)))
	return string(b), err == nil
}

// legible returns a value that is not UTF-8 as the Latin-1 that it then is.
func legible(value string) string {
	if utf8.ValidString(value) {
		return value
	}
	converted, _ := decoded("windows-1252", value)
	return converted
}

// MediaType returns the media type of a response in lower case and its parameters, from the values of its Content-Type
// fields: the last one that is valid, as browsers have it. kind is "" when there is none.
func MediaType(values []string) (kind string, parameters map[string]string) {
	for _, field := range values {
		for _, value := range List(field) {
			first, pairs := split(value)
			essence, _, _ := strings.Cut(strings.ToLower(first), " ")
			top, sub, found := strings.Cut(essence, "/")
			if !found || !isToken(top) || !isToken(sub) || essence == "*/*" {
				continue
			}
			if essence != kind || len(pairs) > 0 {
				kind, parameters = essence, map[string]string{}
			}
			for _, p := range pairs {
				if _, twice := parameters[p.name]; !twice {
					parameters[p.name] = p.value
				}
			}
		}
	}
	return kind, parameters
}

// ContentType is MediaType for the charset alone, "" without one.
func ContentType(values []string) (kind, charset string) {
	if len(values) == 1 {
		if kind, charset, plain := plainType(values[0]); plain {
			return kind, charset
		}
	}
	kind, parameters := MediaType(values)
	return kind, parameters["charset"]
}

// plainType reads the form that nearly every response has: "text/html; charset=utf-8", in lower case, or without a parameter.
func plainType(value string) (kind, charset string, plain bool) {
	kind, rest, more := strings.Cut(value, ";")
	top, sub, _ := strings.Cut(kind, "/")
	if !plainToken(top) || !plainToken(sub) || kind == "*/*" {
		return "", "", false
	}
	if more {
		if charset, plain = strings.CutPrefix(strings.TrimLeft(rest, " "), "charset="); !plain || !plainToken(strings.ToLower(charset)) {
			return "", "", false
		}
	}
	return kind, charset, true
}

// plainToken reports whether s is a token without capital letters.
func plainToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' || !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	return s != ""
}

// words decodes the encoded words of RFC 2047.
var words = mime.WordDecoder{CharsetReader: func(label string, in io.Reader) (io.Reader, error) { return charset.NewReaderLabel(label, in) }}
