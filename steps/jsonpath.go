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

// jsonValue is a value of a JSON document and where it stands there.
type jsonValue struct {
	path  string // normalised, "$['queue'][0]" (RFC 9535 section 2.7)
	value any    // nil, bool, string, json.Number, []any or map[string]any
}

// selectJSON gives the values of a document that a JSONPath query (RFC 9535) selects, of which there is one at least. what
// names the document in errors, blame whose it is.
func selectJSON(document []byte, query, what string, blame result.Blame) ([]jsonValue, error) {
	values, root, err := queryJSON(document, query, what, blame)
	if err == nil && len(values) == 0 {
		err = Fail(result.ReasonNotFound, blame, "%s has nothing at %s; %s", what, query, outline(root))
	}
	return values, err
}

// queryJSON gives the values that a query selects, which may be none, and the whole document.
func queryJSON(document []byte, query, what string, blame result.Blame) (values []jsonValue, root any, err error) {
	path, err := jsonpath.Parse(query)
	if err != nil {
		return nil, nil, scenarioFault("%q is no JSONPath: %w", query, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if err := decoder.Decode(&root); err != nil {
		return nil, nil, Fail(result.ReasonProtocol, blame, "%s is no JSON: %w: it begins %.80q", what, err, document)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, nil, Fail(result.ReasonProtocol, blame, "%s is no JSON: more stands behind it", what)
	}
	for _, node := range path.SelectLocated(root) {
		values = append(values, jsonValue{node.Path.String(), node.Node})
	}
	return values, root, nil
}

// outline says what a document has at its top, for who looked in the wrong place.
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
		return fmt.Sprintf("it is a list of %d", len(root))
	default:
		return "it is one value: " + shownJSON(root)
	}
}

// shownJSON is a value as JSON, on one line and not too long.
func shownJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%T", value)
	}
	return shownLine(string(text))
}

// number gives a value as a number. Text is none, also when it holds digits: a check that converts in silence hides that
// the other side changed.
func (v jsonValue) number(what string, blame result.Blame) (float64, error) {
	if n, is := v.value.(json.Number); is {
		if f, err := n.Float64(); err == nil {
			return f, nil
		}
	}
	return 0, Fail(result.ReasonUnexpected, blame, "%s has %s at %s, which is no number", what, shownJSON(v.value), v.path)
}

// worstNumber gives the number that is worst by worse, and where it stands.
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

// equals says whether a value is the one that text means: a string by its content, anything else as JSON has it.
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
