package steps

import (
	"fmt"
	"strings"

	"github.com/andybalholm/cascadia"
	"github.com/antchfx/htmlquery"
	"github.com/antchfx/xpath"
	"golang.org/x/net/html"
)

// selectElements gives the elements of a document that a CSS selector (Selectors Level 3) selects, in their order; or an
// XPath (1.0), when the text begins as no selector does: with a slash or a parenthesis. The error says what is wrong with it.
func selectElements(doc *html.Node, text string) (selected []*html.Node, err error) {
	if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "(") {
		selector, err := cascadia.ParseGroup(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no CSS selector that can be used: %w", text, err)
		}
		return cascadia.QueryAll(doc, selector), nil
	}
	defer func() {
		if fault := recover(); fault != nil { // the library gives up this way over some expressions
			selected, err = nil, fmt.Errorf("%q is no XPath that can be used: %v", text, fault)
		}
	}()
	expression, err := xpath.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no XPath that can be used: %w", text, err)
	}
	nodes, isNodes := expression.Evaluate(htmlquery.CreateXPathNavigator(doc)).(*xpath.NodeIterator)
	if !isNodes {
		return nil, fmt.Errorf("%q is an XPath that selects no elements", text)
	}
	for nodes.MoveNext() {
		at, isHTML := nodes.Current().(*htmlquery.NodeNavigator)
		if !isHTML || at.NodeType() != xpath.ElementNode {
			return nil, fmt.Errorf("%q selects more than elements: leave out what is behind the last one, such as /text() or /@href", text)
		}
		selected = append(selected, at.Current())
	}
	return selected, nil
}
