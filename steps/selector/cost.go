package selector

import (
	"strings"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// The library matches one element at a time, and knows no deadline while it does. How often it looks at other elements
// depends on the shape of the page: "a b c d" tries each way to choose three of the ancestors, "a ~ b ~ c" of the
// siblings, and :has() and :contains() look at everything in the element.

// stepsLimit keeps the time for one element below a tenth of a second. A page of the usual shape needs a thousandth of it.
var stepsLimit = limit.Define(limit.Limit{Subject: "web page", What: "matching one element with the CSS selector", Unit: "steps", Most: 20_000_000})

// check returns an error if a selector may look at other elements too often in the tree below a node.
func check(text string, beneath *html.Node) error {
	groups := costsOf(text)
	cheap := true
	for _, g := range groups {
		cheap = cheap && g == costs{g.ancestors, 0, 0} && g.ancestors < 3
	}
	if cheap {
		return nil
	}
	tree := shapeOf(beneath)
	for _, g := range groups {
		n := product(ways(tree.depth, g.ancestors), ways(tree.siblings, g.siblings))
		for range g.contents {
			n = product(n, tree.nodes)
		}
		if err := stepsLimit.Check(n); err != nil {
			return err
		}
	}
	return nil
}

// costs is how many other elements a selector looks for among the ancestors and the siblings, and how deep lookups in the
// content of elements are nested.
type costs struct{ ancestors, siblings, contents int }

// costsOf reads the costs of each selector of a group. It may take parts for more expensive than they are.
func costsOf(text string) (groups []costs) {
	current := costs{}
	var open []bool // the parentheses: whether their content is looked for in everything in an element
	looks := false  // the next one is of that kind
	var before byte // the last character that is not a space
	gap := false    // spaces after it
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\':
			i++
		case c == '"' || c == '\'':
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '[':
			if end := strings.IndexByte(text[i:], ']'); end > 0 {
				i += end
			}
		case c == ' ' || c >= '\t' && c <= '\r':
			gap = true
			continue
		}
		if gap && before != 0 && !strings.ContainsRune("(,>+~", rune(before)) && !strings.ContainsRune("),>+~", rune(c)) {
			current.ancestors++
		}
		switch {
		case c == '(':
			open, looks = append(open, looks), false
			within := 0
			for _, of := range open {
				if of {
					within++
				}
			}
			current.contents = max(current.contents, within)
		case c == ')':
			open = open[:max(0, len(open)-1)]
		case c == '~':
			current.siblings++
		case c == ',' && len(open) == 0:
			groups, current, c = append(groups, current), costs{}, 0
		case c == ':' && (strings.HasPrefix(text[i:], ":has") || strings.HasPrefix(text[i:], ":contains") || strings.HasPrefix(text[i:], ":matches")):
			looks = true
		}
		before, gap = c, false
	}
	return append(groups, current)
}

// shape is the shape of a tree: the number of its nodes, its depth, and the most children of a node.
type shape struct{ nodes, depth, siblings int64 }

func shapeOf(root *html.Node) (s shape) {
	depth := int64(0)
	for n := root; n != nil; {
		if n.FirstChild != nil {
			children := int64(0)
			for range n.ChildNodes() {
				children++
			}
			s.nodes += children
			s.siblings = max(s.siblings, children)
			depth++
			s.depth = max(s.depth, depth)
			n = n.FirstChild
			continue
		}
		for n != root && n.NextSibling == nil {
			n = n.Parent
			depth--
		}
		if n == root {
			break
		}
		n = n.NextSibling
	}
	return s
}

// ways returns in how many ways k of n can be chosen.
func ways(n int64, k int) int64 {
	all := int64(1)
	for i := range int64(k) {
		if i >= n {
			break
		}
		all = product(all, n-i) / (i + 1)
	}
	return max(all, 1)
}

// product returns a*b, or a very large number.
func product(a, b int64) int64 {
	const most = 1 << 40
	if b > 0 && a > most/b {
		return most
	}
	return a * b
}
