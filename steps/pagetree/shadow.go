package pagetree

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// A page is one tree as it is displayed (the flat tree, CSS Scoping §3): the shadow tree of an element is inside it,
// and in place of each slot is what was assigned to it. An element that a slot shows remembers where it was written,
// because selectors are about that.

// The attributes of a snapshot of a browser that are about more than one element, and which Flatten sets as well.
const (
	hostMark    = "stepwatch-host"    // of an element with a shadow tree: its number
	slottedMark = "stepwatch-slotted" // of an element that a slot shows: the number of the host that it is written in
)

// The attributes of a snapshot of a browser for the text that a style sheet shows before and after the content of an
// element (CSS Generated Content).
const (
	textBefore = "stepwatch-before"
	textAfter  = "stepwatch-after"
)

// blockMark is the attribute of a snapshot of a browser for an element that a style sheet makes a block.
const blockMark = "stepwatch-block"

// IsGenerated reports whether style sheets show text of their own in a document.
func IsGenerated(root *html.Node) bool {
	for n := range root.Descendants() {
		for i := range n.Attr {
			if n.Attr[i].Key == textBefore || n.Attr[i].Key == textAfter {
				return true
			}
		}
	}
	return false
}

// declaresShadows is a cheap test whether a source may declare shadow trees.
func declaresShadows(source []byte) bool {
	return bytes.Contains(bytes.ToLower(source), []byte("shadowrootmode"))
}

// Flatten puts the content of slots into the shadow trees that a source declares (HTML §4.12.3), as a browser displays
// them. What no slot shows is hidden.
func Flatten(source []byte, root *html.Node) {
	if !declaresShadows(source) {
		return
	}
	var hosts []*html.Node
	for n := range root.Descendants() {
		if n.DataAtom == atom.Template && holdsTree(n) && n.Parent != nil && shadowOf(n.Parent) == n {
			hosts = append(hosts, n.Parent)
		}
	}
	for i, host := range hosts {
		flatten(host, strconv.Itoa(i+1))
	}
}

// shadowOf returns the template that declares the shadow tree of an element, or nil.
func shadowOf(host *html.Node) *html.Node {
	for c := range host.ChildNodes() {
		if c.DataAtom == atom.Template && holdsTree(c) {
			return c
		}
	}
	return nil
}

func flatten(host *html.Node, number string) {
	tree := shadowOf(host)
	if tree == nil {
		return // it was the fallback content of a slot that shows something else
	}
	slots := map[string]*html.Node{}
	var find func(n *html.Node)
	find = func(n *html.Node) {
		for c := range n.ChildNodes() {
			if c.Data == "slot" && c.Type == html.ElementNode {
				if name, _ := Attribute(c, "name"); slots[name] == nil {
					slots[name] = c
				}
			}
			if c.DataAtom != atom.Template { // of another host
				find(c)
			}
		}
	}
	find(tree)
	assigned := map[*html.Node][]*html.Node{}
	var shown []*html.Node // in the order of the children
	for c := range host.ChildNodes() {
		name := ""
		switch {
		case c == tree:
			continue
		case c.Type == html.ElementNode:
			name, _ = Attribute(c, "slot")
		case c.Type != html.TextNode:
			continue
		}
		slot := slots[name]
		if slot == nil {
			if c.Type == html.ElementNode {
				SetAttribute(c, "hidden", "")
			} else {
				c.Data = ""
			}
			continue
		}
		assigned[slot] = append(assigned[slot], c)
		shown = append(shown, c)
	}
	SetAttribute(host, hostMark, number)
	for _, c := range shown {
		host.RemoveChild(c)
		if c.Type == html.ElementNode {
			SetAttribute(c, slottedMark, number)
		}
	}
	for slot, nodes := range assigned {
		for slot.FirstChild != nil { // its fallback content
			slot.RemoveChild(slot.FirstChild)
		}
		for _, c := range nodes {
			slot.AppendChild(c)
		}
	}
}

// Written returns a copy of a document with each slotted element inside the element that it is written in, and the
// nodes of the document by their copies. It returns the document itself and nil if no slot shows anything.
func Written(root *html.Node) (*html.Node, map[*html.Node]*html.Node) {
	slotted := false
	for n := range root.Descendants() {
		if _, slotted = Attribute(n, slottedMark); slotted {
			break
		}
	}
	if !slotted {
		return root, nil
	}
	originals, hosts := map[*html.Node]*html.Node{}, map[string]*html.Node{}
	var moved []*html.Node
	var copyOf func(n *html.Node) *html.Node
	copyOf = func(n *html.Node) *html.Node {
		c := &html.Node{Type: n.Type, DataAtom: n.DataAtom, Data: n.Data, Namespace: n.Namespace}
		originals[c] = n
		for _, a := range n.Attr {
			switch a.Key {
			case hostMark:
				hosts[a.Val] = c
			case slottedMark:
				moved = append(moved, c)
			}
			if !strings.HasPrefix(a.Key, "stepwatch-") || a.Key == slottedMark {
				c.Attr = append(c.Attr, a)
			}
		}
		for child := range n.ChildNodes() {
			c.AppendChild(copyOf(child))
		}
		return c
	}
	document := copyOf(root)
	for _, c := range moved {
		number, _ := Attribute(c, slottedMark)
		RemoveAttribute(c, slottedMark)
		if host := hosts[number]; host != nil && !Holds(c, host) {
			c.Parent.RemoveChild(c)
			host.AppendChild(c)
		}
	}
	return document, originals
}
