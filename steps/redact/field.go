package redact

import (
	"bytes"
	"strings"

	"golang.org/x/net/html"
)

// PasswordFields replaces the values of the password fields in the source of a page.
func PasswordFields(source []byte) []byte {
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
