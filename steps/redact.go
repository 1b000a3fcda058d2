package steps

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// disguises returns, for each character of a secret, a pattern for every form that it may have in a page, a URL or a log:
// percent-encoded, as an HTML character reference, escaped as in JSON. plain is true if the secret has only one form. The
// patterns mean the same in Go and JavaScript.
func disguises(secret string) (signs []string, plain bool) {
	names := map[rune]string{'&': "amp", '<': "lt", '>': "gt", '"': "quot", '\'': "apos"}
	plain = true
	for _, r := range secret {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			signs = append(signs, string(r))
			continue
		}
		plain = false
		var pattern strings.Builder
		pattern.WriteString(`(?:`)
		for _, b := range []byte(string(r)) {
			pattern.WriteString(`%(?:25)?` + anyCase(fmt.Sprintf("%02x", b)))
		}
		fmt.Fprintf(&pattern, `|&#0*%d;|&#[xX]0*%s;|\\+[uU]%s`, r, anyCase(fmt.Sprintf("%x", r)), anyCase(fmt.Sprintf("%04x", r)))
		if name := names[r]; name != "" {
			pattern.WriteString("|&" + name + ";")
		}
		switch r {
		case ' ', '\u00a0':
			pattern.WriteString("|\\+|[\\s\u00a0]+|&nbsp;")
		case '"', '\\', '/', '\'': // a message may escape again what a page has escaped
			pattern.WriteString(`|\\+` + regexp.QuoteMeta(string(r)))
		case '\n':
			pattern.WriteString(`|\\+n`)
		case '\t':
			pattern.WriteString(`|\\+t`)
		}
		signs = append(signs, pattern.String()+"|"+regexp.QuoteMeta(string(r))+")")
	}
	return signs, plain
}

// anyCase returns a pattern for hexadecimal digits in either case.
func anyCase(digits string) string {
	var pattern strings.Builder
	for _, d := range digits {
		if d >= 'a' {
			pattern.WriteString("[" + string(d) + strings.ToUpper(string(d)) + "]")
		} else {
			pattern.WriteRune(d)
		}
	}
	return pattern.String()
}

// mask matches the forms and parts of a secret. A nil field matches nothing.
type mask struct {
	whole func() *regexp.Regexp // the secret in another form
	parts func() *regexp.Regexp // the secret with HTML tags between its characters
	begin func() *regexp.Regexp // its beginning before cutMark
	end   func() *regexp.Regexp // its end after cutMark
}

// cutMark marks where a text was truncated. Next to it, a part of a secret is recognised from leastCut characters on, up to
// mostCut.
const (
	cutMark  = "…"
	leastCut = 3
	mostCut  = 120
)

// maskOf returns the mask of a secret. Its patterns are compiled on first use.
func maskOf(secret string) *mask {
	m := &mask{}
	if !utf8.ValidString(secret) {
		return m
	}
	signs, plain := disguises(secret)
	if !plain {
		m.whole = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(strings.Join(signs, "")) })
	}
	if len(signs) <= leastCut {
		return m
	}
	m.parts = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(strings.Join(signs, `(?:<[^<>]*>)*`))
	})
	begun, ended := "", "" // forms of a character that was itself truncated
	if !plain {
		begun, ended = `(?:[\\%&][#\w\\]{0,8})?`, `(?:[#\w\\]{1,8};?)??`
	}
	m.begin = sync.OnceValue(func() *regexp.Regexp {
		first, rest := signs[:min(len(signs), mostCut)], ""
		for _, sign := range slices.Backward(first[leastCut:]) {
			rest = "(?:" + sign + rest + ")?"
		}
		return regexp.MustCompile(strings.Join(first[:leastCut], "") + rest + begun + cutMark)
	})
	m.end = sync.OnceValue(func() *regexp.Regexp {
		last, rest := signs[max(0, len(signs)-mostCut):], ""
		for _, sign := range last[:len(last)-leastCut] {
			rest = "(?:" + rest + sign + ")?"
		}
		return regexp.MustCompile(cutMark + ended + rest + strings.Join(last[len(last)-leastCut:], ""))
	})
	return m
}

// scrub replaces every secret in every form. The caller holds w.mu.
func (w *World) scrub(body []byte) []byte {
	if len(body) == 0 || len(w.redacted) == 0 {
		return body
	}
	for _, secret := range w.redacted {
		body = bytes.ReplaceAll(body, []byte(secret), []byte(Hidden))
	}
	cut := bytes.Contains(body, []byte(cutMark))
	if w.masks == nil {
		w.masks = map[string]*mask{}
	}
	for _, secret := range w.redacted {
		m := w.masks[secret]
		if m == nil {
			m = maskOf(secret)
			w.masks[secret] = m
		}
		if m.whole != nil {
			body = m.whole().ReplaceAll(body, []byte(Hidden))
		}
		if m.parts != nil && bytes.Contains(body, []byte("</")) {
			body = m.parts().ReplaceAll(body, []byte(Hidden))
		}
		if cut && m.begin != nil {
			body = m.begin().ReplaceAll(body, []byte(Hidden+cutMark))
			body = m.end().ReplaceAll(body, []byte(cutMark+Hidden))
		}
	}
	return body
}

// SecretPatterns returns JavaScript regular expressions for every form of the secrets, in a text without white space.
func (w *World) SecretPatterns() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	patterns := make([]string, 0, len(w.redacted))
	for _, secret := range w.redacted {
		var pattern strings.Builder
		signs, _ := disguises(secret)
		for i, r := range []rune(secret) {
			pattern.WriteString(signs[i])
			if unicode.IsSpace(r) {
				pattern.WriteByte('?')
			}
		}
		patterns = append(patterns, pattern.String())
	}
	return patterns
}

// HidePasswords replaces the values of the password fields in the source of a page.
func HidePasswords(source []byte) []byte {
	if !bytes.Contains(bytes.ToLower(source), []byte("<input")) {
		return source
	}
	var out bytes.Buffer
	z := html.NewTokenizer(bytes.NewReader(source))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			out.Write(z.Raw())
			return out.Bytes()
		}
		raw := z.Raw()
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			out.Write(raw)
			continue
		}
		raw = bytes.Clone(raw) // Token uses the same bytes
		token := z.Token()
		private, value := false, -1
		for i, a := range token.Attr {
			switch {
			case a.Key == "value":
				value = i
			case a.Key == "type" && strings.EqualFold(strings.TrimSpace(a.Val), "password"), a.Key == "autocomplete" && privateField(a.Val):
				private = true
			}
		}
		if token.Data != "input" || !private || value < 0 || token.Attr[value].Val == "" {
			out.Write(raw)
			continue
		}
		token.Attr[value].Val = Hidden
		out.WriteString(token.String())
	}
}

// privateField reports whether the autocomplete attribute marks a private field.
func privateField(autocomplete string) bool {
	for _, word := range strings.Fields(strings.ToLower(autocomplete)) {
		if strings.HasPrefix(word, "cc-") || word == "one-time-code" || word == "current-password" || word == "new-password" {
			return true
		}
	}
	return false
}
