package steps

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// disguised matches a secret in every form that a page, an address or a log may give it: its signs percent-encoded, as
// character references of HTML, or escaped as in JSON. It is nil for a secret that has but one form.
func disguised(secret string) *regexp.Regexp {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if strings.IndexFunc(secret, func(r rune) bool { return !plain(r) }) < 0 || !utf8.ValidString(secret) {
		return nil
	}
	names := map[rune]string{'&': "amp", '<': "lt", '>': "gt", '"': "quot", '\'': "apos"}
	var pattern strings.Builder
	for _, r := range secret {
		if plain(r) {
			pattern.WriteRune(r)
			continue
		}
		fmt.Fprintf(&pattern, `(?:%s|(?i:`, regexp.QuoteMeta(string(r)))
		for _, b := range []byte(string(r)) {
			fmt.Fprintf(&pattern, `%%(?:25)?%02x`, b)
		}
		fmt.Fprintf(&pattern, `|&#0*%d;|&#x0*%x;|\\+u%04x)`, r, r, r)
		if name := names[r]; name != "" {
			pattern.WriteString("|&" + name + ";")
		}
		switch r {
		case ' ', '\u00a0':
			pattern.WriteString(`|\+|[\s\x{a0}]+|&nbsp;`)
		case '"', '\\', '/', '\'': // a message quotes once more what a page has escaped
			pattern.WriteString(`|\\+` + regexp.QuoteMeta(string(r)))
		case '\n':
			pattern.WriteString(`|\\+n`)
		case '\t':
			pattern.WriteString(`|\\+t`)
		}
		pattern.WriteByte(')')
	}
	return regexp.MustCompile(pattern.String())
}

// scrub takes every secret out of what is kept for long, in every form. w.mu is held.
func (w *World) scrub(body []byte) []byte {
	if len(body) == 0 || len(w.redacted) == 0 {
		return body
	}
	for _, secret := range w.redacted {
		body = bytes.ReplaceAll(body, []byte(secret), []byte(hidden))
	}
	if w.disguises == nil {
		w.disguises = map[string]*regexp.Regexp{}
	}
	for _, secret := range w.redacted {
		body = maskCut(body, secret)
		re, known := w.disguises[secret]
		if !known {
			re = disguised(secret)
			w.disguises[secret] = re
		}
		if re != nil {
			body = re.ReplaceAll(body, []byte(hidden))
		}
	}
	return body
}

// leastCut is how many bytes of a secret's beginning or end are told from other text.
const leastCut = 3

// maskCut takes the beginning or end of a secret out that stands where a text was cut short.
func maskCut(body []byte, secret string) []byte {
	const cut = "…"
	for at := 0; ; {
		i := bytes.Index(body[at:], []byte(cut))
		if i < 0 {
			return body
		}
		from := at + i
		at = from + len(cut)
		for n := min(len(secret), from); n >= leastCut; n-- {
			if bytes.HasSuffix(body[:from], []byte(secret[:n])) {
				body = slices.Concat(body[:from-n], []byte(hidden), body[from:])
				at += len(hidden) - n
				break
			}
		}
		for n := min(len(secret), len(body)-at); n >= leastCut; n-- {
			if bytes.HasPrefix(body[at:], []byte(secret[len(secret)-n:])) {
				body = slices.Concat(body[:at], []byte(hidden), body[at+n:])
				break
			}
		}
	}
}

// hidePasswords takes what a page's source fills its password fields with out of it.
func hidePasswords(source []byte) []byte {
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
		token.Attr[value].Val = hidden
		out.WriteString(token.String())
	}
}

// privateField says whether what a field is for by its autocomplete attribute is nobody else's business.
func privateField(autocomplete string) bool {
	for _, word := range strings.Fields(strings.ToLower(autocomplete)) {
		if strings.HasPrefix(word, "cc-") || word == "one-time-code" || word == "current-password" || word == "new-password" {
			return true
		}
	}
	return false
}

// evidenceURL writes an address as evidence may hold it.
func evidenceURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	return shownURL(u)
}
