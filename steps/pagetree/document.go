package pagetree

import (
	"iter"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// A page includes the documents of its frames. They are in one tree, each inside the element of its frame, so that a
// search also finds elements in them. Ids, forms and disabled fieldsets do not cross the boundaries of documents.

// IsFrame reports whether n shows another document.
func IsFrame(n *html.Node) bool { return n.DataAtom == atom.Iframe || n.DataAtom == atom.Frame }

// HoldsDocument reports whether a document was put into a frame. The parser treats everything written inside a frame
// element as text.
func HoldsDocument(n *html.Node) bool {
	return IsFrame(n) && n.FirstChild != nil && n.FirstChild.Type == html.ElementNode
}

// Documents returns the root of a document and the elements that contain the documents of its frames.
func Documents(doc *html.Node) iter.Seq[*html.Node] {
	return func(yield func(*html.Node) bool) {
		if !yield(doc) {
			return
		}
		for n := range doc.Descendants() {
			if HoldsDocument(n) && !yield(n) {
				return
			}
		}
	}
}

// Nodes returns the nodes of one document, without those of documents in its frames and those in templates, which are no part of
// it (HTML §4.12.3).
func Nodes(document *html.Node) iter.Seq[*html.Node] {
	return func(yield func(*html.Node) bool) {
		var visit func(*html.Node) bool
		visit = func(n *html.Node) bool {
			for c := range n.ChildNodes() {
				if !yield(c) || !HoldsDocument(c) && !isInert(c) && !visit(c) {
					return false
				}
			}
			return true
		}
		visit(document)
	}
}

// isInert reports whether what an element contains is no part of its document: a template that is not a shadow tree.
func isInert(n *html.Node) bool {
	return n.DataAtom == atom.Template && n.Namespace == "" && !holdsTree(n)
}

// ElementsByID returns the elements of one document by their ids; the first one with an id counts.
func ElementsByID(document *html.Node) map[string]*html.Node {
	ids := map[string]*html.Node{}
	for n := range Nodes(document) {
		if id, _ := Attribute(n, "id"); id != "" && ids[id] == nil {
			ids[id] = n
		}
	}
	return ids
}

// Document returns the root of the document that a node belongs to.
func Document(n *html.Node) *html.Node {
	for n.Parent != nil {
		if n = n.Parent; HoldsDocument(n) {
			break
		}
	}
	return n
}
