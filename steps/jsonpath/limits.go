package jsonpath

import (
	"strings"

	"github.com/theory/jsonpath/spec"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// The limits of a document and of what a query selects in it.
var (
	valuesLimit = limit.Define(limit.Limit{Subject: "JSON", What: "the document", Unit: "values", Most: 1_000_000})
	depthLimit  = limit.Define(limit.Limit{Subject: "JSON", What: "the document", Unit: "levels of nested arrays and objects", Most: 1000})
	foundLimit  = limit.Define(limit.Limit{Subject: "JSON", What: "what the JSONPath selects", Unit: "values", Most: 200_000})

	// A query within a filter is evaluated for each value, at once: nothing ends it in the middle. A filter within that is
	// evaluated for each pair of values.
	nestedLimit = limit.Define(limit.Limit{Subject: "JSON", What: "a document for a JSONPath with a filter or a second .. within a filter",
		Unit: "values", Most: 1000})
)

// The memory of a document, as measured; without the texts, which are as long as the source at most.
const (
	valueBytes  = 48  // with the room that an array has for more
	objectBytes = 350 // with the room that it has for more
)

// size is the size of a document before it is read.
type size struct{ values, objects, depth int64 }

// measure counts in a document. Of one that is not JSON the numbers mean nothing.
func measure(document []byte) size {
	n := size{values: 1}
	depth := int64(0)
	for i := 0; i < len(document); i++ {
		switch document[i] {
		case '"':
			for i++; i < len(document) && document[i] != '"'; i++ {
				if document[i] == '\\' {
					i++
				}
			}
		case ',':
			n.values++
		case '{', '[':
			if document[i] == '{' {
				n.objects++
			}
			n.values++
			depth++
			n.depth = max(n.depth, depth)
		case '}', ']':
			depth--
		}
	}
	return n
}

// bytes returns the memory that a document takes when it is read.
func (n size) bytes(document []byte) int64 {
	return int64(len(document)) + n.values*valueBytes + n.objects*objectBytes
}

// check returns an error for a document that is too large, or too large for this query.
func (n size) check(query *spec.PathQuery) error {
	if err := depthLimit.Check(n.depth); err != nil {
		return err
	}
	if err := valuesLimit.Check(n.values); err != nil {
		return err
	}
	for _, segment := range query.Segments() {
		for _, selector := range segment.Selectors() {
			if filter, is := selector.(*spec.FilterSelector); is && nested(filter.String()) {
				return nestedLimit.Check(n.values)
			}
		}
	}
	return nil
}

// nested reports whether a filter contains another one, or a query with several descendant segments.
func nested(filter string) bool {
	filter = strings.TrimPrefix(filter, "?")
	for { // without the texts in it
		open := strings.IndexAny(filter, "\"'")
		if open < 0 {
			break
		}
		end := open + 1
		for end < len(filter) && filter[end] != filter[open] {
			if filter[end] == '\\' {
				end++
			}
			end++
		}
		filter = filter[:open] + filter[min(end+1, len(filter)):]
	}
	return strings.Contains(filter, "?") || strings.Count(filter, "..") > 1
}
