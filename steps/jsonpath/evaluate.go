package jsonpath

import (
	"context"
	"maps"
	"slices"

	"github.com/theory/jsonpath/spec"
)

// The library reads queries. Its evaluation knows neither a deadline nor a limit, and writes the path of each value that
// it visits, so queries are evaluated here: segment by segment, as RFC 9535 section 2.5 says.

// place is where a value is.
type place struct {
	within *place // nil for the root
	part   spec.NormalSelector
}

// Path returns the normalised path, "$['queue'][0]" (RFC 9535 section 2.7).
func (v Value) Path() string {
	path := spec.NormalizedPath{}
	for at := v.at; at != nil; at = at.within {
		path = append(path, at.part)
	}
	slices.Reverse(path)
	return path.String()
}

// evaluation is one evaluation of a query. err is the limit that it met.
type evaluation struct {
	ctx   context.Context
	root  any
	moves int
	err   error
}

// lookEvery is after how many visited values the context is checked.
const lookEvery = 1024

// over counts a visited value, and reports whether the evaluation has to stop.
func (e *evaluation) over() bool {
	if e.moves++; e.moves%lookEvery == 0 && e.err == nil {
		e.err = e.ctx.Err()
	}
	return e.err != nil
}

// query returns the values that a query selects from the root.
func (e *evaluation) query(q *spec.PathQuery) []Value {
	current := []Value{{Value: e.root}}
	for _, segment := range q.Segments() {
		var next []Value
		for _, v := range current {
			if segment.IsDescendant() {
				next = e.descend(v, segment, next)
			} else {
				next = e.children(v, segment, next)
			}
			if e.err != nil {
				return nil
			}
		}
		current = next
	}
	return current
}

// descend adds what a segment selects from a value and from everything in it.
func (e *evaluation) descend(v Value, segment *spec.Segment, found []Value) []Value {
	found = e.children(v, segment, found)
	e.each(v, func(child Value) {
		found = e.descend(child, segment, found)
	})
	return found
}

// children adds what the selectors of a segment select from a value.
func (e *evaluation) children(v Value, segment *spec.Segment, found []Value) []Value {
	take := func(child Value) {
		if found = append(found, child); e.err == nil {
			e.err = foundLimit.Check(int64(len(found)))
		}
	}
	for _, selector := range segment.Selectors() {
		if e.over() {
			return nil
		}
		array, _ := v.Value.([]any)
		element := func(i int) Value { return Value{array[i], &place{v.at, spec.Index(i)}} }
		switch selector := selector.(type) {
		case spec.Name:
			if object, is := v.Value.(map[string]any); is {
				if member, has := object[string(selector)]; has {
					take(Value{member, &place{v.at, selector}})
				}
			}
		case spec.Index:
			i := int(selector)
			if i < 0 {
				i += len(array)
			}
			if i >= 0 && i < len(array) {
				take(element(i))
			}
		case spec.WildcardSelector:
			e.each(v, take)
		case spec.SliceSelector:
			lower, upper := selector.Bounds(len(array))
			switch step := selector.Step(); {
			case step > 0:
				for i := lower; i < upper && !e.over(); i += step {
					take(element(i))
				}
			case step < 0:
				for i := upper; i > lower && !e.over(); i += step {
					take(element(i))
				}
			}
		case *spec.FilterSelector:
			e.each(v, func(child Value) {
				if selector.Eval(child.Value, e.root) {
					take(child)
				}
			})
		}
	}
	return found
}

// each calls do for the elements of an array, or the members of an object in the order of their names.
func (e *evaluation) each(v Value, do func(Value)) {
	switch value := v.Value.(type) {
	case []any:
		for i, element := range value {
			if e.over() {
				return
			}
			do(Value{element, &place{v.at, spec.Index(i)}})
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if e.over() {
				return
			}
			do(Value{value[name], &place{v.at, spec.Name(name)}})
		}
	}
}
