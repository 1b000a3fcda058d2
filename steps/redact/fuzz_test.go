package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/steps/redact"
	"github.com/stepwatch/stepwatch/steps/stepstest/disguise"
)

// mixed writes each character in another form, and puts between them what servers put there.
func mixed(random *rand.Rand, secret string) string {
	var out strings.Builder
	for _, r := range secret {
		text := string(r)
		switch random.IntN(9) {
		case 0:
			text = fmt.Sprintf("&#%d;", r)
		case 1:
			text = fmt.Sprintf("&#x%x;", r)
		case 2:
			text = html.EscapeString(text)
		case 3:
			text = ""
			for _, c := range []byte(string(r)) {
				text += fmt.Sprintf("%%%02x", c)
			}
		case 4:
			if r < 0x10000 {
				text = fmt.Sprintf(`\u%04x`, r)
			}
		case 5:
			text = ""
			for _, c := range []byte(string(r)) {
				text += fmt.Sprintf("=%02X", c)
			}
		case 6:
			text = html.EscapeString(html.EscapeString(text))
		case 7:
			text = url.QueryEscape(url.PathEscape(text))
		}
		out.WriteString(text)
		switch random.IntN(12) {
		case 0:
			out.WriteString("<wbr>")
		case 1:
			out.WriteString("=\r\n")
		case 2:
			out.WriteString("\r\n250-")
		case 3:
			out.WriteString("<!-- > -->")
		case 4:
			out.WriteString("\u200b")
		}
	}
	return out.String()
}

// FuzzMixed holds that a secret in any mix of forms is not left, and that nothing around it is lost.
func FuzzMixed(f *testing.F) {
	for _, secret := range strong {
		f.Add(secret, uint64(1), "before ", " after")
	}
	f.Fuzz(func(t *testing.T, secret string, seed uint64, before, after string) {
		letters := strings.Map(func(r rune) rune {
			if r <= ' ' || r == utf8.RuneError || strings.ContainsRune(`\"+%&<>=`, r) || r == 0x7f || r > 0x2fff {
				return -1
			}
			return r
		}, secret)
		if utf8.RuneCountInString(letters) < 8 || !utf8.ValidString(secret) || strings.ContainsAny(secret, "\r\n\x00") || len(secret) > 200 || strings.Contains(redact.Hidden, strings.ToLower(letters)) {
			t.Skip()
		}
		r := redact.New([]string{secret})
		random := rand.New(rand.NewPCG(seed, 1))
		form := mixed(random, secret)
		switch random.IntN(6) {
		case 0:
			form = base64.StdEncoding.EncodeToString([]byte("xyz"[:random.IntN(4)] + secret + "xyz"[:random.IntN(4)]))
		case 1:
			form = hex.EncodeToString([]byte(secret))
		}
		got := r.String("(" + form + ")")
		if !strings.Contains(got, redact.Hidden) {
			t.Errorf("%q: left in %q", secret, form)
		}
		if how := disguise.Find(got, secret); how != "" {
			t.Errorf("%q: %q holds it (%s), of %q", secret, got, how, form)
		}
		if !strings.HasPrefix(got, "(") || !strings.HasSuffix(got, ")") {
			t.Errorf("%q: more is hidden than the form: %q of %q", secret, got, form)
		}
		// In any other text nothing is lost but what is hidden.
		text := before + form + after
		if rest := strings.SplitN(r.String(text), redact.Hidden, 2); !strings.HasPrefix(text, rest[0]) {
			t.Errorf("%q does not begin with %q", text, rest[0])
		}
	})
}

// FuzzText reads any text with secrets that have a meaning in many forms.
func FuzzText(f *testing.F) {
	for _, secret := range strong {
		for _, form := range disguise.Forms(secret) {
			f.Add([]byte(form.Text))
		}
	}
	r := redact.New(append([]string{"1", "ab", "mail"}, strong...))
	f.Fuzz(func(t *testing.T, text []byte) {
		original := bytes.Clone(text)
		got := r.Bytes(text)
		if !bytes.Equal(text, original) {
			t.Fatal("the text was changed in place")
		}
		at := 0 // what is left stands in the text, in its order
		for _, part := range bytes.Split(got, []byte(redact.Hidden)) {
			i := bytes.Index(text[at:], part)
			if i < 0 {
				t.Fatalf("%q is not in %q", part, text)
			}
			at += i + len(part)
		}
		for size := range min(len(text), 40) {
			head := r.Head(text, size)
			if bytes.Contains(head, []byte("hunter2!")) {
				t.Fatalf("%q: the first %d bytes hold a secret", text, size)
			}
		}
	})
}
