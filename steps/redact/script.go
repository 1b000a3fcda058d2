package redact

import (
	sixtyfour "encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Patterns returns JavaScript regular expressions for the secrets, in a text without white space. They recognise escaped
// characters, as a page may show the source of another, base64 and hexadecimal digits; a browser has already read
// references and left out the tags. They may match more than Bytes hides: what they match is painted over.
func (r *Redactor) Patterns() []string {
	if r == nil {
		return nil
	}
	patterns, encoded := make([]string, 0, len(r.secrets)+1), make([]string, 0, 7*len(r.secrets))
	for _, secret := range r.secrets {
		patterns = append(patterns, signs(secret))
		var b builder
		b.reset()
		if ruleOf([]byte(secret)) == alone {
			b.add(pattern{kind: base64, text: []byte(sixtyfour.StdEncoding.EncodeToString([]byte(secret)))})
		} else {
			b.addBase64([]byte(secret[:min(len(secret), base64Part)]))
			encoded = append(encoded, hexSigns(secret[:min(len(secret), hexPart)]))
		}
		for _, p := range b.patterns {
			encoded = append(encoded, regexp.QuoteMeta(string(p.text)))
		}
	}
	return append(patterns, strings.Join(encoded, "|"))
}

// hexSigns returns the pattern of the bytes in hexadecimal digits.
func hexSigns(secret string) string {
	var pattern strings.Builder
	for i, c := range []byte(secret) {
		if i > 0 {
			pattern.WriteString("(?:[:,-]|,?0[xX])?")
		}
		pattern.WriteString(anyCase(fmt.Sprintf("%02x", c)))
	}
	return pattern.String()
}

// signs returns the pattern of a secret with the forms of each character.
func signs(secret string) string {
	text := secret
	if !utf8.ValidString(text) {
		text = string(fromLatin1([]byte(text)))
	}
	loosely := ruleOf([]byte(secret)) == loose
	var pattern strings.Builder
	for _, r := range text {
		pattern.WriteString(sign(r, loosely))
		if unicode.IsSpace(r) {
			pattern.WriteByte('?')
		}
	}
	return pattern.String()
}

// sign returns the pattern of a character: in either case if loosely, percent-encoded, as a reference, escaped as in JSON.
func sign(r rune, loosely bool) string {
	if r >= '0' && r <= '9' {
		return string(r)
	}
	if loosely && unicode.ToLower(r) != unicode.ToUpper(r) && r < utf8.RuneSelf {
		return anyCase(strings.ToLower(string(r)))
	}
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
		return string(r)
	}
	names := map[rune]string{'&': "amp", '<': "lt", '>': "gt", '"': "quot", '\'': "apos"}
	var pattern strings.Builder
	pattern.WriteString(`(?:`)
	for _, b := range []byte(string(r)) {
		pattern.WriteString(`%(?:25)*` + anyCase(fmt.Sprintf("%02x", b)))
	}
	fmt.Fprintf(&pattern, `|&(?:amp;)*#0*%d;|&(?:amp;)*#[xX]0*%s;|\\+[uU]%s`, r, anyCase(fmt.Sprintf("%x", r)), anyCase(fmt.Sprintf("%04x", r)))
	if name := names[r]; name != "" {
		pattern.WriteString("|&(?:amp;)*" + name + ";")
	}
	switch r {
	case ' ', '\u00a0':
		pattern.WriteString("|\\+|%(?:25)*2[bB]|[\\s\u00a0]+|&nbsp;")
	case '"', '\\', '/', '\'': // a message may escape again what a page has escaped
		pattern.WriteString(`|\\+` + regexp.QuoteMeta(string(r)))
	case '\n':
		pattern.WriteString(`|\\+n`)
	case '\t':
		pattern.WriteString(`|\\+t`)
	}
	if loosely {
		for _, other := range []rune{unicode.ToLower(r), unicode.ToUpper(r)} {
			if other != r {
				pattern.WriteString("|" + regexp.QuoteMeta(string(other)))
			}
		}
	}
	return pattern.String() + "|" + regexp.QuoteMeta(string(r)) + ")"
}

// anyCase returns a pattern for lower-case text in either case.
func anyCase(text string) string {
	var pattern strings.Builder
	for _, r := range text {
		if r >= 'a' && r <= 'z' {
			pattern.WriteString("[" + string(r) + strings.ToUpper(string(r)) + "]")
		} else {
			pattern.WriteRune(r)
		}
	}
	return pattern.String()
}
