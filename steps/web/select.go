package web

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/antchfx/htmlquery"
	"github.com/antchfx/xpath"
	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/selector"
)

// selectElements returns the elements of a document that a CSS selector (Selectors Level 3) or an XPath (1.0) selects,
// in document order. They are about the document as it is written: slotted content is inside its host. A text is an XPath when it begins with a slash or a parenthesis, which no selector does. The error
// describes what is wrong with it.
func selectElements(ctx context.Context, doc *html.Node, text string) ([]*html.Node, error) {
	written, originals := pagetree.Written(doc)
	selected, err := selectWritten(ctx, written, text)
	if originals != nil {
		for i, n := range selected {
			selected[i] = originals[n]
		}
	}
	return selected, err
}

func selectWritten(ctx context.Context, doc *html.Node, text string) ([]*html.Node, error) {
	if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "(") {
		return selector.CSS(ctx, doc, text)
	}
	var selected []*html.Node
	others := false
	value, err := selector.XPath(ctx, htmlquery.CreateXPathNavigator(doc), text, func(at xpath.NodeNavigator) error {
		if n, isHTML := at.(*htmlquery.NodeNavigator); isHTML && n.NodeType() == xpath.ElementNode {
			selected = append(selected, n.Current())
		} else {
			others = true
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case value != nil:
		return nil, fmt.Errorf("%q is an XPath that selects no elements", text)
	case others:
		return nil, fmt.Errorf("%q does not select only elements: remove the part after the last element, such as /text() or /@href", text)
	}
	return selected, nil
}

// tooSlow returns the failure of a step whose selector or XPath did not finish in time or would take too long, or nil for
// another error.
func tooSlow(ctx context.Context, err error, act string) error {
	switch {
	case errors.As(err, new(*limit.Error)):
		return steps.FailFor(result.BlameWeb, fmt.Errorf("%s: %w", act, err))
	case !errors.As(err, new(*selector.SlowError)):
		return nil
	case errors.Is(err, steps.ErrStopped):
		return steps.FailNet(ctx, err, result.BlameWeb, act)
	}
	return steps.Fail(result.ReasonTimeout, result.BlameScenario, "%s: %w", act, err)
}
