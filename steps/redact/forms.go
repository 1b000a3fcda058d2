package redact

import (
	"bytes"
	sixtyfour "encoding/base64"
	"encoding/binary"
	hexadecimal "encoding/hex"
	"fmt"
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Sizes of the parts that a long secret is divided into, in bytes: as it is, before base64, before hexadecimal. Each form
// of a part fits into the memory of a thread.
const (
	plainPart  = 48
	base64Part = 42
	hexPart    = 30
)

// mostEncoded is how many bytes at the beginning of a secret are recognised in base64 and hexadecimal, and the size up to
// which a secret is recognised in other encodings and spellings. No password is as long, and few keys are.
const mostEncoded = 4 << 10

// addSecret adds every form of a secret.
func (b *builder) addSecret(secret string) {
	b.addForms([]byte(secret))
	if !strings.ContainsAny(strings.Trim(secret, "\r\n"), "\r\n") {
		return
	}
	for line := range strings.FieldsFuncSeq(secret, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if line = strings.TrimSpace(line); len(line) >= 8 && !strings.HasPrefix(line, "-----") {
			b.addParts([]byte(line), ruleOf([]byte(line)))
		}
	}
}

func (b *builder) addForms(secret []byte) {
	rule := ruleOf(secret)
	for _, form := range spellings(secret, rule) {
		b.addPlain(form, rule)
	}
	if rule == alone {
		b.add(pattern{kind: base64, rule: alone, text: []byte(sixtyfour.StdEncoding.EncodeToString(secret))})
		return
	}
	for _, form := range encodable(secret[:min(len(secret), mostEncoded)], rule) {
		for part := range parts(len(form), base64Part) {
			b.addBase64(form[part.start:part.end])
		}
		for part := range parts(len(form), hexPart) {
			b.add(pattern{kind: hex, rule: loose, text: []byte(hexadecimal.EncodeToString(form[part.start:part.end]))})
		}
	}
}

// add adds a pattern once.
func (b *builder) add(p pattern) {
	if len(p.text) == 0 {
		return
	}
	text, gaps := p.text, p.gaps
	if p.rule == loose && p.kind != base64 { // the automaton takes them for the same
		text, gaps = lowered(p.text), 0
	}
	key := fmt.Sprintf("%d %d %x %s\x00%s", p.kind, p.rule, gaps, p.lead, text)
	if !b.seen[key] {
		b.seen[key] = true
		b.patterns = append(b.patterns, p)
	}
}

// lowered returns text with its ASCII letters in lower case.
func lowered(text []byte) []byte {
	out := make([]byte, len(text))
	for i, c := range text {
		out[i] = lower(c)
	}
	return out
}

// ruleOf decides how much a text may differ from the secret.
func ruleOf(secret []byte) rule {
	text, _ := canonical(secret)
	count, kinds := utf8.RuneCount(text), 0
	for i, of := range []func(rune) bool{unicode.IsLower, unicode.IsUpper, unicode.IsDigit, nil} {
		if of == nil {
			of = func(r rune) bool { return !unicode.IsLower(r) && !unicode.IsUpper(r) && !unicode.IsDigit(r) }
		}
		if bytes.ContainsFunc(text, of) {
			kinds |= 1 << i
		}
	}
	switch {
	case count < 4:
		return alone
	case count >= 8, count >= 6 && bits.OnesCount(uint(kinds)) >= 2:
		return loose
	}
	return exact
}

// spellings returns the bytes that a text may have for the secret: its encodings, and if the rule allows, other cases of
// what is not ASCII. The automaton itself takes upper and lower case of ASCII for the same.
func spellings(secret []byte, r rule) [][]byte {
	forms := [][]byte{secret}
	if len(secret) > mostEncoded {
		return forms
	}
	if isASCII(secret) {
		if r == loose { // UTF-16, with "?" for what is not text
			forms = append(forms, bytes.Join(bytes.Split(secret, nil), []byte("?")))
		}
		return forms
	}
	if !utf8.Valid(secret) {
		replaced := bytes.ToValidUTF8(secret, []byte("\uFFFD"))
		if text, _ := canonical(bytes.ToValidUTF8(secret, nil)); len(text) >= 4 {
			each := make([]byte, 0, 3*len(secret)) // a decoder may replace each byte, or a run of them
			for _, c := range string(secret) {
				each = utf8.AppendRune(each, c)
			}
			forms = append(forms, replaced, each, bytes.ReplaceAll(replaced, []byte("\uFFFD"), []byte("?")), bytes.ReplaceAll(each, []byte("\uFFFD"), []byte("?")))
		}
		return append(forms, fromLatin1(secret))
	}
	cased := []string{string(secret)}
	if r == loose {
		cased = append(cased, strings.ToLower(cased[0]), strings.ToUpper(cased[0]), strings.ReplaceAll(cased[0], "ß", "ss"))
		first, size := utf8.DecodeRune(secret)
		cased = append(cased, string(unicode.ToUpper(first))+strings.ToLower(cased[0][size:]))
	}
	for _, form := range cased {
		forms = append(forms, []byte(form), fromLatin1([]byte(form)))
		if latin1, ok := toLatin1(form); ok {
			forms = append(forms, latin1)
			for _, with := range []string{"?", "\uFFFD", ""} { // where only UTF-8 is kept
				if r == loose {
					forms = append(forms, withoutHigh(latin1, with))
				}
			}
		} else {
			forms = append(forms, toUTF16(form, false), toUTF16(form, true))
		}
	}
	return forms
}

// withoutHigh replaces each byte that is not ASCII. It returns nil if too little of the secret is left to be recognised.
func withoutHigh(text []byte, with string) []byte {
	out, left := make([]byte, 0, len(text)), 0
	for _, c := range text {
		if c < utf8.RuneSelf {
			out, left = append(out, c), left+1
		} else {
			out = append(out, with...)
		}
	}
	if left < 6 {
		return nil
	}
	return out
}

// encodable returns the bytes of which base64 or hexadecimal digits may stand for the secret.
func encodable(secret []byte, r rule) [][]byte {
	forms := [][]byte{secret}
	if !utf8.Valid(secret) {
		return append(forms, fromLatin1(secret))
	}
	text := string(secret)
	if latin1, ok := toLatin1(text); ok && len(latin1) != len(text) {
		forms = append(forms, latin1)
	}
	if r == loose {
		first, size := utf8.DecodeRune(secret)
		forms = append(forms, bytes.ToLower(secret), bytes.ToUpper(secret), []byte(string(unicode.ToUpper(first))+strings.ToLower(text[size:])))
	}
	return append(forms, toUTF16(text, false), toUTF16(text, true))
}

func isASCII(text []byte) bool {
	return !bytes.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// fromLatin1 returns UTF-8 of bytes that are taken for ISO 8859-1.
func fromLatin1(text []byte) []byte {
	out := make([]byte, 0, 2*len(text))
	for _, c := range text {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}

func toLatin1(text string) (out []byte, ok bool) {
	for _, r := range text {
		if r > 0xff {
			return nil, false
		}
		out = append(out, byte(r)) //nolint:gosec // see above
	}
	return out, true
}

func toUTF16(text string, bigEndian bool) []byte {
	order := binary.AppendByteOrder(binary.LittleEndian)
	if bigEndian {
		order = binary.BigEndian
	}
	out := make([]byte, 0, 2*len(text))
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return out
}

// parts divides a text into parts of at most size bytes. The last part has full size too.
func parts(length, size int) func(yield func(span) bool) {
	return func(yield func(span) bool) {
		for at := 0; at < length; at += size {
			start := at
			if at > 0 && at+size > length {
				start = length - size
			}
			if !yield(span{start, min(length, start+size)}) {
				return
			}
		}
	}
}

// canonical returns a text without what is dropped, and where its gaps are.
func canonical(form []byte) (text []byte, gaps []bool) {
	gap := false
	for i := 0; i < len(form); {
		if size, blank := dropped(form, i); size > 0 {
			gap = gap || blank
			i += size
			continue
		}
		text, gaps, gap = append(text, form[i]), append(gaps, gap), false
		i++
	}
	return text, gaps
}

// mask returns gaps as bits. The first character has none: what precedes it is no part of the secret.
func mask(gaps []bool) (bits uint64) {
	for i, gap := range gaps {
		if gap && i > 0 {
			bits |= 1 << i
		}
	}
	return bits
}

// dropped returns the size of the character at text[i] if it is a blank, which is a gap, or a control or invisible
// character, and otherwise 0.
func dropped(text []byte, i int) (size int, gap bool) {
	switch c := text[i]; {
	case c == 0: // of UTF-16
		return 1, false
	case c <= ' ' || c == 0x7f:
		return 1, true
	case c < utf8.RuneSelf:
		return 0, false
	}
	r, size := utf8.DecodeRune(text[i:min(len(text), i+utf8.UTFMax)])
	switch {
	case r == 0xad, r >= 0x200b && r <= 0x200f, r == 0x2060, r == 0xfeff:
		return size, false
	case r == 0xa0, r >= 0x2000 && r <= 0x200a, r == 0x2028, r == 0x2029, r == 0x202f, r == 0x3000:
		return size, true
	}
	return 0, false
}

// mayDrop reports whether dropped drops a character, which is not ASCII, that begins with these two bytes.
func mayDrop(first, second byte) bool {
	switch first {
	case 0xc2:
		return second == 0xa0 || second == 0xad
	case 0xe2:
		return second == 0x80 || second == 0x81
	case 0xe3:
		return second == 0x80
	case 0xef:
		return second == 0xbb
	}
	return false
}

// addParts adds a text in parts.
func (b *builder) addParts(form []byte, r rule) {
	text, gaps := canonical(form)
	for part := range parts(len(text), plainPart) {
		b.add(pattern{kind: plain, rule: r, text: text[part.start:part.end], gaps: mask(gaps[part.start:part.end])})
	}
}

// addPlain adds a spelling of a secret, and what may be left of it after a cut mark.
func (b *builder) addPlain(form []byte, r rule) {
	b.addParts(form, r)
	text, gaps := canonical(form)
	if r == alone {
		return
	}
	from := max(0, len(text)-plainPart)
	for i := from; i < len(text); i++ {
		if text[i]&0xc0 == 0x80 {
			continue
		}
		rest := text[i:]
		p := pattern{kind: ended, rule: r, text: rest, gaps: mask(gaps[i:])}
		if utf8.RuneCount(rest) < 6 {
			p.rule = exact
		}
		if utf8.RuneCount(rest) >= leastCut && i > 0 {
			b.add(p)
		}
		if before, _ := utf8.DecodeLastRune(text[:i]); i > 0 && !alphanumeric(before) {
			p.kind, p.lead = broken, strings.Join(escapes(before), " ")
			b.add(p)
		}
	}
}

func alphanumeric(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// escapes returns the escaped forms of a character, in lower case.
func escapes(r rune) []string {
	forms := []string{fmt.Sprintf(`\u%04x`, r), fmt.Sprintf("&#%d;", r), fmt.Sprintf("&#x%x;", r)}
	encoded := ""
	for _, c := range []byte(string(r)) {
		encoded += fmt.Sprintf("%%%02x", c)
	}
	forms = append(forms, encoded, strings.ReplaceAll(encoded, "%", "%25"), strings.ReplaceAll(encoded, "%", "="), strings.ReplaceAll(encoded, "%", `\x`))
	switch r {
	case '&':
		forms = append(forms, "&amp;")
	case '<':
		forms = append(forms, "&lt;")
	case '>':
		forms = append(forms, "&gt;")
	case '"':
		forms = append(forms, "&quot;", `\"`)
	case '\'':
		forms = append(forms, "&apos;", `\'`)
	case '\\':
		forms = append(forms, `\\`)
	}
	return forms
}

// addBase64 adds the characters that all base64 of texts with these bytes has, for each alignment and alphabet.
func (b *builder) addBase64(secret []byte) {
	for lead := range 3 {
		padded := append(make([]byte, lead, lead+len(secret)), secret...)
		encoded := sixtyfour.RawStdEncoding.EncodeToString(padded)
		text := encoded[(8*lead+5)/6 : 8*len(padded)/6] // without characters that have bits of others
		if len(text) < 4 {
			continue
		}
		for _, alphabet := range []string{text, strings.NewReplacer("+", "-", "/", "_").Replace(text)} {
			b.add(pattern{kind: base64, rule: exact, text: []byte(alphabet)})
		}
	}
}
