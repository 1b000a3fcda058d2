// Package selector evaluates XPath (1.0) on a document tree, and CSS selectors on an HTML one. It stops at its
// deadline: a short path may compare each node with each other one, which takes hours in a document of a few megabytes.
package selector

import (
	"context"
	"fmt"

	"github.com/andybalholm/cascadia"
	"github.com/antchfx/xpath"
	"golang.org/x/net/html"
)

// PathError reports an invalid or unsupported XPath or selector.
type PathError struct {
	Kind string // "XPath" or "CSS selector"
	Path string
	Why  string
}

func (e *PathError) Error() string {
	return fmt.Sprintf("%q is not a valid %s: %s", e.Path, e.Kind, e.Why)
}

// SlowError reports that the deadline passed before the evaluation was complete.
type SlowError struct {
	Path string
	err  error
}

func (e *SlowError) Error() string {
	return fmt.Sprintf("the deadline passed before %q was evaluated: it visits each element too often, remove parts that count others (last(), position(), preceding::)", e.Path)
}

// Unwrap returns the cause of the context's end.
func (e *SlowError) Unwrap() error { return e.err }

// XPath evaluates a path (XPath 1.0) from the current node of at, and calls take with each selected node, in document
// order, until it returns an error. For an expression that selects no nodes it returns the value: a float64, a string or a
// bool. The error is a *PathError, a *SlowError or that of take.
func XPath(ctx context.Context, at xpath.NodeNavigator, path string, take func(xpath.NodeNavigator) error) (value any, err error) {
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case over:
			value, err = nil, &SlowError{path, context.Cause(ctx)}
		default: // the library panics for some expressions
			value, err = nil, &PathError{"XPath", path, fmt.Sprint(fault)}
		}
	}()
	expression, err := xpath.Compile(path)
	if err != nil {
		return nil, &PathError{"XPath", path, err.Error()}
	}
	value = expression.Evaluate(&walker{at, &clock{ctx: ctx}})
	nodes, several := value.(*xpath.NodeIterator)
	if !several {
		return value, nil
	}
	for nodes.MoveNext() {
		if err := take(nodes.Current().(*walker).NodeNavigator); err != nil { //nolint:forcetypeassert // the library has no other
			return nil, err
		}
	}
	return nil, nil
}

// CSS returns the elements below a node that a selector (Selectors Level 3) selects, in document order. The error is a
// *PathError, a *SlowError or a *limit.Error.
func CSS(ctx context.Context, beneath *html.Node, text string) ([]*html.Node, error) {
	group, err := cascadia.ParseGroup(text)
	if err != nil {
		return nil, &PathError{"CSS selector", text, err.Error()}
	}
	if err := check(text, beneath); err != nil {
		return nil, err
	}
	var selected []*html.Node
	for n := range beneath.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if ctx.Err() != nil {
			return nil, &SlowError{text, context.Cause(ctx)}
		}
		if group.Match(n) {
			selected = append(selected, n)
		}
	}
	return selected, nil
}

// over ends an evaluation from within.
type over struct{}

// clock checks the deadline now and then, for all walkers of one evaluation.
type clock struct {
	ctx   context.Context
	moves int
}

// lookEvery is after how many moves the deadline is checked. A move takes tens of nanoseconds.
const lookEvery = 4096

func (c *clock) tick(moves int) {
	if c.moves += moves; c.moves < lookEvery {
		return
	}
	c.moves = 0
	if c.ctx.Err() != nil {
		panic(over{})
	}
}

// walker moves in a document for the library, which does not support deadlines.
type walker struct {
	xpath.NodeNavigator
	clock *clock
}

func (w *walker) Copy() xpath.NodeNavigator {
	w.clock.tick(1)
	return &walker{w.NodeNavigator.Copy(), w.clock}
}

func (w *walker) Value() string {
	text := w.NodeNavigator.Value()
	w.clock.tick(1 + len(text)/64)
	return text
}

func (w *walker) MoveToParent() bool {
	w.clock.tick(1)
	return w.NodeNavigator.MoveToParent()
}

func (w *walker) MoveToNextAttribute() bool {
	w.clock.tick(1)
	return w.NodeNavigator.MoveToNextAttribute()
}

func (w *walker) MoveToChild() bool {
	w.clock.tick(1)
	return w.NodeNavigator.MoveToChild()
}

func (w *walker) MoveToFirst() bool {
	w.clock.tick(1)
	return w.NodeNavigator.MoveToFirst()
}

func (w *walker) MoveToNext() bool {
	w.clock.tick(1)
	return w.NodeNavigator.MoveToNext()
}

func (w *walker) MoveToPrevious() bool {
	w.clock.tick(1)
	return w.NodeNavigator.MoveToPrevious()
}

func (w *walker) MoveTo(to xpath.NodeNavigator) bool {
	w.clock.tick(1)
	other, same := to.(*walker)
	return same && w.NodeNavigator.MoveTo(other.NodeNavigator)
}
