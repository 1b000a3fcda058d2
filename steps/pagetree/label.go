package pagetree

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// labelLimit is the maximum length of a label in bytes: a longer text is not a name, and a page may let thousands of
// elements share one.
const labelLimit = 4096

// Label returns the visible text of an element, including the texts of its images.
func Label(n *html.Node) string {
	var t TextWriter
	writeLabel(&t, n, n)
	return string(t.Out)
}

// GeneratedLabel returns the label of an element of a snapshot of a browser with what style sheets add to it.
func GeneratedLabel(n *html.Node) string {
	t := TextWriter{Generated: true}
	writeLabel(&t, n, n)
	return string(t.Out)
}

func writeLabel(t *TextWriter, root, n *html.Node) {
	if n.Type == html.TextNode {
		writeText(t, n.Data)
		return
	}
	if n.Type == html.ElementNode && n != root {
		if nodeVisibility(n) == Gone {
			return
		}
		switch n.DataAtom {
		case atom.Img:
			alt, _ := Attribute(n, "alt")
			writeText(t, alt)
		case atom.Select, atom.Textarea, atom.Button:
			return // a label may contain the control that it names
		}
	}
	edge := isBlock(n)
	if edge {
		t.gap()
	}
	t.generated(n, textBefore)
	for c := range n.ChildNodes() {
		if len(t.Out) > labelLimit {
			break
		}
		writeLabel(t, root, c)
	}
	t.generated(n, textAfter)
	if edge {
		t.gap()
	}
}

// Labels returns the labels of each control: around it, for its id, or by aria-labelledby.
func Labels(doc *html.Node) map[*html.Node][]string {
	texts := map[*html.Node][]string{}
	for document := range Documents(doc) {
		labelControls(document, texts)
	}
	return texts
}

// labelControls records the labels of the controls of one document.
func labelControls(document *html.Node, texts map[*html.Node][]string) {
	byID := ElementsByID(document)
	var labelled, labels []*html.Node
	for n := range Nodes(document) {
		if n.Type != html.ElementNode {
			continue
		}
		if n.DataAtom == atom.Label {
			labels = append(labels, n)
		}
		if KindOf(n) != "" {
			if by, _ := Attribute(n, "aria-labelledby"); by != "" {
				labelled = append(labelled, n)
			}
		}
	}
	for _, l := range labels {
		control := (*html.Node)(nil)
		if id, found := Attribute(l, "for"); found {
			control = byID[id]
		} else {
			for n := range l.Descendants() {
				if KindOf(n) != "" {
					control = n
					break
				}
			}
		}
		if control != nil {
			texts[control] = append(texts[control], Label(l))
		}
	}
	referred := map[string]string{} // the texts of elements named by aria-labelledby
	for _, n := range labelled {
		ids, _ := Attribute(n, "aria-labelledby")
		var words []string
		for i, id := range strings.Fields(ids) {
			if i == 8 {
				break // no real page has more, and each may be a long text
			}
			if _, known := referred[id]; !known && byID[id] != nil {
				text := Label(byID[id])
				referred[id] = text[:min(len(text), labelLimit/16)] // many labels may refer to the same text
			}
			words = append(words, referred[id])
		}
		texts[n] = append(texts[n], Normal(strings.Join(words, " ")))
	}
}
