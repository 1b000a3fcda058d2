package steps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/theory/jsonpath"

	"github.com/stepwatch/stepwatch/agent/result"
)

// jsonValue is a value of a JSON document and its position.
type jsonValue struct {
	path  string // normalised, "$['queue'][0]" (RFC 9535 section 2.7)
	value any    // nil, bool, string, json.Number, []any or map[string]any
}

// selectJSON returns the values of a document that a JSONPath query (RFC 9535) selects. It fails when there are none.
// what names the document in errors, blame is who is responsible for it.
func selectJSON(document []byte, query, what string, blame result.Blame) ([]jsonValue, error) {
	values, root, err := queryJSON(document, query, what, blame)
	if err == nil && len(values) == 0 {
		err = Fail(result.ReasonNotFound, blame, "%s has nothing at %s; %s", what, query, outline(root))
	}
	return values, err
}

// queryJSON returns the values that a query selects, possibly none, and the whole document.
func queryJSON(document []byte, query, what string, blame result.Blame) (values []jsonValue, root any, err error) {
	path, err := jsonpath.Parse(query)
	if err != nil {
		return nil, nil, scenarioFault("%q is not a JSONPath: %w", query, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if err := decoder.Decode(&root); err != nil {
		return nil, nil, Fail(result.ReasonProtocol, blame, "%s is not JSON: %w: it begins with %.80q", what, err, document)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, nil, Fail(result.ReasonProtocol, blame, "%s is not JSON: there is more data after the value", what)
	}
	for _, node := range path.SelectLocated(root) {
		values = append(values, jsonValue{node.Path.String(), node.Node})
	}
	return values, root, nil
}

// outline describes the top level of a document, as a hint for a wrong path.
func outline(root any) string {
	const most = 10
	switch root := root.(type) {
	case map[string]any:
		if len(root) == 0 {
			return "it is an empty object"
		}
		names := slices.Sorted(maps.Keys(root))
		more := ""
		if len(names) > most {
			names, more = names[:most], ", …"
		}
		return "it has " + shownLine(strings.Join(names, ", ")) + more
	case []any:
		return fmt.Sprintf("it is an array of %d", len(root))
	default:
		return "it is one value: " + shownJSON(root)
	}
}

// shownJSON formats a value as JSON, on one line and shortened.
func shownJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%T", value)
	}
	return shownLine(string(text))
}

// number returns a value as a number. A string is not a number, even when it contains digits: a silent conversion would
// hide a change in the data.
func (v jsonValue) number(what string, blame result.Blame) (float64, error) {
	if n, is := v.value.(json.Number); is {
		if f, err := n.Float64(); err == nil {
			return f, nil
		}
	}
	return 0, Fail(result.ReasonUnexpected, blame, "%s has %s at %s, which is not a number", what, shownJSON(v.value), v.path)
}

// worstNumber returns the number that is worst by worse, and its position.
func worstNumber(values []jsonValue, what string, worse func(a, b float64) bool) (worst float64, at string, err error) {
	for i, v := range values {
		n, err := v.number(what, result.BlameWeb)
		if err != nil {
			return 0, "", err
		}
		if i == 0 || worse(n, worst) {
			worst, at = n, v.path
		}
	}
	return worst, at, nil
}

// equals reports whether a value is the one that text means: a string by its content, anything else as JSON.
func (v jsonValue) equals(text string) bool {
	switch value := v.value.(type) {
	case string:
		return value == text
	case json.Number:
		wanted, err := json.Number(text).Float64()
		got, gotErr := value.Float64()
		return err == nil && gotErr == nil && wanted == got
	default:
		return shownJSON(value) == text
	}
}
