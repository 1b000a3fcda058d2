package wording

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"testing"

	"golang.org/x/net/html/charset"
)

func TestSyntax(t *testing.T) {
	for document, want := range map[string]string{
		"":                "it is empty",
		`{"a": `:          "it ends too early",
		"{\n \"a\": tru}": `line 2, column 10 breaks its syntax: "}"`,
		`<oops>`:          `line 1, column 1 breaks its syntax: "<oops>"`,
		"{\"a\":\n1}x":    "",
		`[1,]`:            `line 1, column 4 breaks its syntax: "]"`,
		"\"a\x00b\"":      `line 1, column 3 breaks its syntax: "\x00b\""`,
	} {
		var value any
		err := json.NewDecoder(bytes.NewReader([]byte(document))).Decode(&value)
		if err == nil {
			if want != "" {
				t.Errorf("%q is JSON", document)
			}
			continue
		}
		if got := Syntax([]byte(document), err); got != want {
			t.Errorf("%q: got %q, want %q (%v)", document, got, want, err)
		}
	}
	var into struct{ A int }
	if got := Syntax([]byte(`{"a": "x"}`), json.Unmarshal([]byte(`{"a": "x"}`), &into)); got != `its member "A" is a string` {
		t.Error(got)
	}
	if got := Syntax([]byte(`[]`), json.Unmarshal([]byte(`[]`), &into)); got != "it is an array" {
		t.Error(got)
	}
	if got := Syntax([]byte(`{"a"`), json.Unmarshal([]byte(`{"a"`), &into)); got != "it ends too early" {
		t.Error(got)
	}
	for document, want := range map[string]string{
		"<a><b></a>": "line 1: element <b> closed by </a>",
		"<?xml version='1.0' encoding='UTF-127'?><a/>": `its encoding "UTF-127" is not known`,
		"<a>\n<b":            "it ends too early, in line 2",
		"<a>\n<b><![CDATA[x": "it ends too early, in line 2, in a CDATA section",
	} {
		decoder := xml.NewDecoder(bytes.NewReader([]byte(document)))
		decoder.CharsetReader = charset.NewReaderLabel
		for {
			_, err := decoder.Token()
			if err == nil {
				continue
			}
			if got := Syntax([]byte(document), err); got != want || errors.Is(err, io.EOF) {
				t.Errorf("%q: got %q, want %q", document, got, want)
			}
			break
		}
	}
	encoded := []byte("<?xml version='1.0' encoding='UTF-127'?><a/>")
	if got := Syntax(encoded, xml.Unmarshal(encoded, &into)); got != `its encoding "UTF-127" is not known` {
		t.Error(got)
	}
	if got := Syntax(nil, errors.New("something else")); got != "something else" {
		t.Error(got)
	}
}
