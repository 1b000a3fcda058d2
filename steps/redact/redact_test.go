package redact

import "testing"

func TestWhereCut(t *testing.T) {
	r := New([]string{`s3same "o`})
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
		if got := r.String(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}
