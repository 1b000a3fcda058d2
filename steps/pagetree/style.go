package pagetree

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// The style of an element is read again for each element in it, and it may be as long as the page. What matters of a long
// one is kept beside it.

const (
	longStyle     = 1024              // bytes that are read again
	condensedMark = "stepwatch-style" // the attribute for the condensed style
	longestValue  = 100               // of the properties in read, as far as they mean anything
)

// read are the properties that styleVisibility and styleSight read.
var read = []string{"display", "visibility", "opacity", "clip", "clip-path", "font-size", "left", "text-indent", "position"}

// styleOf returns the style in the attribute i of an element, or what matters of a long one.
func styleOf(n *html.Node, i int) string {
	if len(n.Attr[i].Val) > longStyle {
		if condensed, found := Attribute(n, condensedMark); found {
			return condensed
		}
	}
	return n.Attr[i].Val
}

// condense keeps beside a long style the declarations that count: of each property that is read the last, and the last
// that is !important, in their order.
func condense(n *html.Node) {
	style, _ := Attribute(n, "style")
	if len(style) <= longStyle {
		return
	}
	type declaration struct {
		at   int
		text string
	}
	last := map[string]declaration{}
	at := 0
	for text := range strings.SplitSeq(style, ";") {
		at++
		property, value, _ := strings.Cut(text, ":")
		property = strings.ToLower(strings.TrimSpace(property))
		if !slices.Contains(read, property) {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) > longestValue {
			value = "" // it means nothing, but it replaces the one before
		}
		key := property
		if strings.HasSuffix(strings.ToLower(value), "!important") {
			key += "!"
		}
		last[key] = declaration{at, property + ":" + value}
	}
	kept := make([]declaration, 0, len(last))
	for _, d := range last {
		kept = append(kept, d)
	}
	slices.SortFunc(kept, func(a, b declaration) int { return a.at - b.at })
	var condensed strings.Builder
	for _, d := range kept {
		condensed.WriteString(d.text + ";")
	}
	n.Attr = append(n.Attr, html.Attribute{Key: condensedMark, Val: condensed.String()})
}
