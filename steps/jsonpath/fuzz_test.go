package jsonpath

import (
	"errors"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// FuzzQuery reads documents of any server. An error is an *Error on one line that blames the document, and no query selects
// more values than the document can have.
func FuzzDocument(f *testing.F) {
	for _, document := range []string{`{"a": {"b": [1, "two", null]}, "ok": true}`, `[[[[1]]]]`, `{"a": 1e400}`, `{"a":1}{`, "", `"`, "[1,\n2,,]", `{"a":{"a":{"a":{}}}}`, "\xff"} {
		f.Add([]byte(document))
	}
	queries := []string{"$", "$..*", "$.a.b[*]", "$..a", "$.list[?@.free > 1]", "$[-1:]"}
	f.Fuzz(func(t *testing.T, document []byte) {
		for _, query := range queries {
			values, err := Select(t.Context(), nil, document, query, "the answer")
			if err != nil {
				var known *Error
				if errors.As(err, new(*limit.Error)) {
					continue
				}
				if !errors.As(err, &known) || known.Reason() != result.ReasonProtocol && known.Reason() != result.ReasonNotFound {
					t.Fatalf("%s: %v", query, err)
				}
				if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") || len(err.Error()) > 2000 {
					t.Errorf("%s: not one short line: %q", query, err)
				}
				continue
			}
			if len(values) > len(document) {
				t.Errorf("%s selects %d values of %d bytes", query, len(values), len(document))
			}
			for _, v := range values {
				if strings.ContainsAny(Show(v.Value), "\n\r\x00\x1b") {
					t.Errorf("%s: not one line: %q", query, Show(v.Value))
				}
				v.Equals("1")
			}
			_, _, _ = Worst(values, "the answer", func(a, b float64) bool { return a > b })
		}
	})
}
