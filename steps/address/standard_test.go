package address_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/address"
)

// standardCase is one case of the data of the standard.
type standardCase struct {
	Input   string
	Base    *string
	Href    string
	Failure bool
}

// TestStandard reads the addresses of the standard's own test data (see testdata/README.md).
func TestStandard(t *testing.T) {
	content, err := os.ReadFile("testdata/urltestdata.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []json.RawMessage
	if err := json.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, raw := range all {
		var c standardCase
		if json.Unmarshal(raw, &c) != nil {
			continue // a comment
		}
		read++
		got, err := parse(c.Base, c.Input)
		switch {
		case c.Failure && err == nil:
			t.Errorf("%q: got %s, want an error", c.Input, got.Href())
		case !c.Failure && err != nil:
			t.Errorf("%q: %v, want %s", c.Input, err, c.Href)
		case !c.Failure && got.Href() != asSent(c.Href):
			t.Errorf("%q: got %s, want %s", c.Input, got.Href(), asSent(c.Href))
		}
	}
	if read < 800 {
		t.Errorf("%d cases were read, want at least 800", read)
	}
}

func parse(base *string, text string) (*address.URL, error) {
	if base == nil {
		return address.Parse(text)
	}
	b, err := address.Parse(*base)
	if err != nil {
		return nil, err
	}
	return b.Join(text, nil)
}

// asSent encodes the two characters that Chromium encodes in the paths of the web beyond the standard of this data.
func asSent(href string) string {
	scheme, rest, _ := strings.Cut(href, "://")
	start := strings.IndexByte(rest, '/')
	if scheme != "http" && scheme != "https" || start < 0 {
		return href
	}
	end := len(rest)
	if at := strings.IndexAny(rest, "?#"); at >= 0 {
		end = at
	}
	if end < start {
		return href
	}
	return scheme + "://" + rest[:start] + strings.NewReplacer("^", "%5E", "|", "%7C").Replace(rest[start:end]) + rest[end:]
}
