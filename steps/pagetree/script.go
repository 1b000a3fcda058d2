package pagetree

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// HasScript reports whether a document has a script that a browser runs (HTML §4.12.1): also one that only loads
// others, but not a block of data.
func HasScript(root *html.Node) bool {
	for n := range root.Descendants() {
		if n.DataAtom != atom.Script {
			continue
		}
		kind, typed := Attribute(n, "type")
		kind, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(kind)), ";")
		if !typed || kind == "" || kind == "module" || strings.HasSuffix(kind, "javascript") || strings.HasSuffix(kind, "ecmascript") {
			if src, _ := Attribute(n, "src"); src != "" || n.FirstChild != nil && strings.TrimSpace(n.FirstChild.Data) != "" {
				return true
			}
		}
	}
	return false
}

// IsDrawn reports whether a document shows an element whose content is a drawing or a document of another kind.
func IsDrawn(root *html.Node) bool {
	for n := range root.Descendants() {
		switch n.DataAtom {
		case atom.Canvas, atom.Embed, atom.Object:
			if !IsHidden(n) {
				return true
			}
		}
	}
	return false
}

// HasCanvas reports whether a document shows a canvas, on which a script may draw text.
func HasCanvas(root *html.Node) bool {
	for n := range root.Descendants() {
		if n.DataAtom == atom.Canvas && n.Namespace == "" && !IsHidden(n) {
			return true
		}
	}
	return false
}
