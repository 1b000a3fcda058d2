package steps

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"
)

func TestHidePasswords(t *testing.T) {
	for source, want := range map[string]string{
		`<p>no field</p>`: `<p>no field</p>`,
		`<INPUT name=a value=1><br/><input type=text value="x">`:                                  `<INPUT name=a value=1><br/><input type=text value="x">`,
		`a<input value='s3' type=" PASSWORD ">b`:                                                  `a<input value="[hidden]" type=" PASSWORD ">b`,
		`<input autocomplete="shipping cc-number" value=41>`:                                      `<input autocomplete="shipping cc-number" value="[hidden]">`,
		`<input type=password value="">`:                                                          `<input type=password value="">`,
		`<!-- <input type=password value=s3> --><script>"<input type=password value=4>"</script>`: `<!-- <input type=password value=s3> --><script>"<input type=password value=4>"</script>`,
	} {
		if got := string(HidePasswords([]byte(source))); got != want {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	}
}

func FuzzHidePasswords(f *testing.F) {
	f.Add([]byte(`<p>x</p><input type=password value=s3><textarea><input`))
	f.Fuzz(func(t *testing.T, source []byte) {
		out := HidePasswords(source)
		z := html.NewTokenizer(bytes.NewReader(out))
		for z.Next() != html.ErrorToken {
			token := z.Token()
			private, value := false, ""
			for _, a := range token.Attr {
				switch a.Key {
				case "type":
					private = private || a.Val == "password"
				case "value":
					value = a.Val
				}
			}
			if token.Data == "input" && (token.Type == html.StartTagToken || token.Type == html.SelfClosingTagToken) && private && value != "" && value != Hidden {
				t.Errorf("%q: %q still holds %q", source, out, value)
			}
		}
	})
}

func FuzzDisguised(f *testing.F) {
	f.Add(`s3 <"é&/same~*`)
	f.Fuzz(func(t *testing.T, secret string) {
		w := NewWorld(&Target{}, nil, "run", "scenario")
		w.Redact(secret)
		if escaped := html.EscapeString(secret); len(secret) > 3 && utf8.ValidString(secret) && bytes.Contains([]byte(w.Redacted("x "+escaped+" y")), []byte(escaped)) && escaped != Hidden {
			t.Errorf("%q is left of %q", escaped, secret)
		}
	})
}

func TestRedactedWhereCut(t *testing.T) {
	w := NewWorld(&Target{}, nil, "run", "scenario")
	w.Redact(`s3same "o`)
	for text, want := range map[string]string{
		`it begins "Dear s3sam…"`:                `it begins "Dear [hidden]…"`,
		`it shows "…me "o is"`:                   `it shows "…[hidden] is"`,
		`s3s……e "o`:                              `[hidden]……[hidden]`,
		`s3…, as others`:                         `s3…, as others`,
		`{"a": "s3same \\\"o", 's3same+'`:        `{"a": "[hidden]", 's3same+'`,
		`["s3same \\…`:                           `["[hidden]…`,
		`?pw=s3same%2…`:                          `?pw=[hidden]…`,
		`s3sa\u0…`:                               `[hidden]…`,
		`…022o, …e &quot;o`:                      `…[hidden], …[hidden]`,
		`<p>s3<b class="x">same</b> &quot;o</p>`: `<p>[hidden]</p>`,
		`s3same%20%22o`:                          `[hidden]`,
	} {
		if got := w.Redacted(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
