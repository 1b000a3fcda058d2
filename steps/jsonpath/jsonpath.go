// Package jsonpath selects and shows values of a JSON document. It knows no run: its errors say their reason, and who asked
// knows whose fault they are.
package jsonpath

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/theory/jsonpath"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Value is a value of a JSON document and its position.
type Value struct {
	Value any // nil, bool, string, json.Number, []any or map[string]any
	at    *place
}

// Error says why a document has no answer to a query.
type Error struct {
	reason result.Reason
	err    error
}

// Error returns the text.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the error below.
func (e *Error) Unwrap() error { return e.err }

// Reason is the kind of fault; a query that is not a JSONPath is a mistake of the scenario.
func (e *Error) Reason() result.Reason { return e.reason }

func fail(reason result.Reason, format string, args ...any) error {
	return &Error{reason, fmt.Errorf(format, args...)}
}

// Select returns the values of a document that a JSONPath query (RFC 9535) selects. It fails when there are none.
// what names the document in errors. Every error says its reason, except the cause of ctx's end.
func Select(ctx context.Context, memory *limit.Memory, document []byte, query, what string) ([]Value, error) {
	values, root, err := Query(ctx, memory, document, query, what)
	if err == nil && len(values) == 0 {
		err = fail(result.ReasonNotFound, "%s has nothing at %s; %s", what, query, outline(root))
	}
	return values, err
}

// Query returns the values that a query selects, possibly none, and the whole document. memory is the account of the run
// while the document is read; its caller only looks at the values.
func Query(ctx context.Context, memory *limit.Memory, document []byte, query, what string) (values []Value, root any, err error) {
	path, err := jsonpath.Parse(query)
	if err != nil {
		return nil, nil, fail(result.ReasonScenario, "%q is not a JSONPath: %w", query, err)
	}
	n := measure(document)
	if err := n.check(path.Query()); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	taken := n.bytes(document)
	defer memory.Free(taken)
	if err := memory.Take(taken); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	decoder := json.NewDecoder(lifeline.Reader(ctx, document))
	decoder.UseNumber()
	if err := decoder.Decode(&root); err != nil {
		if ctx.Err() != nil {
			return nil, nil, over(ctx, query, what)
		}
		return nil, nil, fail(result.ReasonProtocol, "%s is not JSON: %s: it begins with %.80q", what, wording.Syntax(document, err), document)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, nil, fail(result.ReasonProtocol, "%s is not JSON: there is more data after the value", what)
	}
	e := evaluation{ctx: ctx, root: root}
	switch values = e.query(path.Query()); {
	case ctx.Err() != nil:
		return nil, nil, over(ctx, query, what)
	case e.err != nil:
		return nil, nil, fmt.Errorf("%s: %w", what, e.err)
	}
	return values, root, nil
}

// over returns the error of a query that did not finish before its context ended.
func over(ctx context.Context, query, what string) error {
	if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return fail(result.ReasonTimeout, "%s: the deadline passed before %q was evaluated", what, query)
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
		return "it has " + wording.Excerpt(strings.Join(names, ", ")) + more
	case []any:
		return fmt.Sprintf("it is an array of %d", len(root))
	default:
		return "it is one value: " + Show(root)
	}
}

// Show formats a value as JSON, on one line and shortened.
func Show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%T", value)
	}
	return wording.Excerpt(string(text))
}

// number returns a value as a number. A string is not a number, even when it contains digits: a silent conversion would
// hide a change in the data.
func (v Value) number(what string) (float64, error) {
	if n, is := v.Value.(json.Number); is {
		if f, err := n.Float64(); err == nil {
			return f, nil
		}
	}
	return 0, fail(result.ReasonUnexpected, "%s has %s at %s, which is not a number", what, Show(v.Value), v.Path())
}

// Worst returns the number that is worst by worse, and its position.
func Worst(values []Value, what string, worse func(a, b float64) bool) (worst float64, at string, err error) {
	for i, v := range values {
		n, err := v.number(what)
		if err != nil {
			return 0, "", err
		}
		if i == 0 || worse(n, worst) {
			worst, at = n, v.Path()
		}
	}
	return worst, at, nil
}

// Equals reports whether a value is the one that text means: a string by its content, anything else as JSON.
func (v Value) Equals(text string) bool {
	switch value := v.Value.(type) {
	case string:
		return value == text
	case json.Number:
		wanted, err := json.Number(text).Float64()
		got, gotErr := value.Float64()
		return err == nil && gotErr == nil && wanted == got
	default:
		return Show(value) == text
	}
}
