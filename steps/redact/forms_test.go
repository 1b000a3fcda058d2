package redact_test

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/redact"
	"github.com/stepwatch/stepwatch/steps/stepstest/disguise"
)

// strong are secrets with everything in them that has a meaning in some form.
var strong = []string{
	"hunter2!", "correcthorsebattery", `s3same "o&<p>`, `Pä"s <w>&o/r=d+7 %x~\n'`, "ÉcoleSecrète1", "пароль-Ключ", "日本語のパスワード", "🔑key🔒lock", "a+b=c&d=e", `DOMAIN\nancy7`, "12345678", "x'y''z;--1",
	"Bearer eyJhbGciOi.x-y_z", "first line of it\r\nsecond line of it\n", strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 5),
}

func TestForms(t *testing.T) {
	for _, secret := range strong {
		r := redact.New([]string{"another secret", secret, "andathird1"})
		for _, form := range disguise.Forms(secret) {
			for _, around := range [][2]string{{"", ""}, {"<p>It is ", " & more</p>"}, {`{"a": "`, `", "b": 1}`}, {"x=", "&y=z"}, {"error at 42: ", ". Try again"}} {
				text := around[0] + form.Text + around[1]
				got := r.String(text)
				if !strings.Contains(got, redact.Hidden) {
					t.Errorf("%q, %s: left as it is in %q", secret, form.Name, text)
					break
				}
				if how := disguise.Find(got, secret); how != "" {
					t.Errorf("%q, %s: %q still holds it (%s), of %q", secret, form.Name, got, how, text)
					break
				}
				if !strings.HasPrefix(got, around[0]) || !strings.HasSuffix(got, around[1]) {
					t.Logf("%q, %s: more is hidden than the form: %q of %q", secret, form.Name, got, text)
				}
			}
		}
	}
}

// TestPatterns holds that a picture of a page hides what its text may show of a secret. The patterns mean the same in Go.
func TestPatterns(t *testing.T) {
	for _, secret := range []string{"hunter2!", `s3same "o&<p>`, `Pä"s <w>&r7`, "PIN7", "42", "p\xe4ss"} {
		patterns := redact.New([]string{"another secret", secret}).Patterns()
		forms := []disguise.Form{{Name: "as it is", Text: strings.ToValidUTF8(secret, "ä")}, {Name: "base64", Text: base64.StdEncoding.EncodeToString([]byte(secret))}}
		if len(secret) >= 8 {
			for _, form := range disguise.Forms(secret) {
				switch form.Name {
				case "upper case", "lower case", "form encoding", "percent-encoding", "percent-encoding twice", "base64 after one byte", "base64 after two bytes", "base64, URL-safe", "base64 in lines", "SASL PLAIN", "XOAUTH2", "hexadecimal",
					"hexadecimal, upper case", "hexadecimal with blanks", "hexadecimal with colons", "hexadecimal as in C", "JSON", "JSON twice", "lines", "blanks between all characters", "references for five characters", "references for five characters, twice":
					forms = append(forms, form)
				}
			}
		}
		for _, form := range forms {
			shown := strings.Join(strings.Fields("shown: "+form.Text+" and more"), "")
			if !slices.ContainsFunc(patterns, func(pattern string) bool { return regexp.MustCompile(pattern).MatchString(shown) }) {
				t.Errorf("%q, %s: no pattern matches %q", secret, form.Name, shown)
			}
		}
		for _, pattern := range patterns {
			if regexp.MustCompile(pattern).MatchString("Thequickbrownfox50%offjumpsoverthelazydogeyJhbGciOiJub25lIn0") {
				t.Errorf("%q: %q matches another text", secret, pattern)
			}
		}
	}
}
