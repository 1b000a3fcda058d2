package form

import (
	"bytes"
	"cmp"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/steps/pagetree"
)

// Owners returns the form of each control of a document (HTML §4.10.18.3). All are computed at once, since a page may have a
// hundred thousand controls.
//
// A control belongs to the form that was open when it was parsed (§13.2.4.4, the form element pointer), even if it is not inside it
// in the tree: between a table and its rows, or where tags are closed in the wrong order. The tree does not tell this, so the
// source of the document is read for it. Without a source, nil, the tree must do.
func Owners(document *html.Node, source []byte) map[*html.Node]*html.Node {
	o := owners{of: map[*html.Node]*html.Node{}, ids: pagetree.ElementsByID(document)}
	o.assign(document, nil, nil)
	o.parsed(document, source)
	return o.of
}

type owners struct {
	of  map[*html.Node]*html.Node
	ids map[string]*html.Node
}

func isControl(n *html.Node) bool {
	return pagetree.ButtonType(n) != "" || pagetree.KindOf(n) != "" || pagetree.IsHiddenInput(n)
}

// assign records the owner of each control below n by the tree. form is the form around n. loose is a form written between a table
// and its rows: the parser leaves it there empty.
func (o *owners) assign(n, form, loose *html.Node) {
	for c := range n.ChildNodes() {
		if c.Type != html.ElementNode || pagetree.HoldsDocument(c) {
			continue
		}
		switch c.DataAtom {
		case atom.Template:
			// What is in a template is no part of the document; a shadow tree has forms of its own.
			if _, shadow := pagetree.Attribute(c, "shadowrootmode"); shadow {
				o.assign(c, nil, nil)
			}
			continue
		case atom.Form:
			if c.FirstChild == nil && pagetree.Parents[n.DataAtom] != nil {
				loose = c
			}
			o.assign(c, c, loose)
			continue
		}
		if isControl(c) {
			owner := cmp.Or(form, loose)
			if id, found := pagetree.Attribute(c, "form"); found {
				if owner = o.ids[id]; owner != nil && owner.DataAtom != atom.Form {
					owner = nil
				}
			}
			o.of[c] = owner
		}
		o.assign(c, form, loose)
	}
}

// writtenControl identifies a control in the source and in the tree by what no step changes.
type writtenControl struct{ tag, kind, name, id string }

// parsed corrects the owners by the order of tags in the source.
func (o *owners) parsed(document *html.Node, source []byte) {
	if len(source) == 0 {
		return
	}
	open := map[writtenControl][]int{} // the number of the form that was open at each such control, -1 for none
	forms, current, templates := 0, -1, 0
	z := html.NewTokenizer(bytes.NewReader(source))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		if kind != html.StartTagToken && kind != html.EndTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		name, attributes := z.TagName()
		tag := atom.Lookup(name)
		switch {
		case tag == atom.Template && kind == html.EndTagToken:
			templates = max(0, templates-1)
		case tag == atom.Template:
			templates++
		case templates > 0:
		case tag == atom.Form && kind == html.EndTagToken:
			current = -1
		case tag == atom.Form && current < 0:
			current = forms
			forms++
		case kind == html.EndTagToken:
		case tag == atom.Input, tag == atom.Button, tag == atom.Select, tag == atom.Textarea:
			c := writtenControl{tag: tag.String()}
			for attributes {
				var key, value []byte
				key, value, attributes = z.TagAttr()
				c.take(string(key), string(value))
			}
			open[c] = append(open[c], current)
		}
	}
	var all, controls []*html.Node
	for n := range pagetree.Nodes(document) {
		switch {
		case n.DataAtom == atom.Form && n.Namespace == "" && !inShadow(n):
			all = append(all, n)
		case isControl(n) && !inShadow(n):
			controls = append(controls, n)
		}
	}
	if len(all) != forms {
		return // the source is not that of the tree
	}
	for _, n := range controls {
		c := writtenControl{tag: n.Data}
		for _, a := range n.Attr {
			c.take(a.Key, a.Val)
		}
		at := open[c]
		if len(at) == 0 {
			continue
		}
		open[c] = at[1:]
		if _, elsewhere := pagetree.Attribute(n, "form"); elsewhere {
			continue
		}
		if o.of[n] = nil; at[0] >= 0 {
			o.of[n] = all[at[0]]
		}
	}
}

// take keeps what identifies a control; the first attribute of a name counts.
func (c *writtenControl) take(key, value string) {
	switch key {
	case "type":
		c.kind = cmp.Or(c.kind, value)
	case "name":
		c.name = cmp.Or(c.name, value)
	case "id":
		c.id = cmp.Or(c.id, value)
	}
}

// inShadow reports whether an element is in a shadow tree, whose controls belong to forms in it.
func inShadow(n *html.Node) bool {
	for n = n.Parent; n != nil && !pagetree.HoldsDocument(n); n = n.Parent {
		if n.DataAtom == atom.Template {
			return true
		}
	}
	return false
}
