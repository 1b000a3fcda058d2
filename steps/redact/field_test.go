package redact

import (
	"bytes"
	"testing"

	"golang.org/x/net/html"
)

func TestPasswordFields(t *testing.T) {
	for source, want := range map[string]string{
		`<p>no field</p>`: `<p>no field</p>`,
		`<INPUT name=a value=1><br/><input type=text value="x">`:                                  `<INPUT name=a value=1><br/><input type=text value="x">`,
		`a<input value='s3' type=" PASSWORD ">b`:                                                  `a<input value="[hidden]" type=" PASSWORD ">b`,
		`<input autocomplete="shipping cc-number" value=41>`:                                      `<input autocomplete="shipping cc-number" value="[hidden]">`,
		`<input type=password value="">`:                                                          `<input type=password value="">`,
		`<!-- <input type=password value=s3> --><script>"<input type=password value=4>"</script>`: `<!-- <input type=password value=s3> --><script>"<input type=password value=4>"</script>`,
	} {
		if got := string(PasswordFields([]byte(source))); got != want {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	}
}

func FuzzPasswordFields(f *testing.F) {
	f.Add([]byte(`<p>x</p><input type=password value=s3><textarea><input`))
	f.Fuzz(func(t *testing.T, source []byte) {
		out := PasswordFields(source)
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
