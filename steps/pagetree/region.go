package pagetree

import (
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// The parts of a page that a visitor only looks at: headings, images and regions.

// HeadingLevel returns 1 to 6 for a heading, and 0 for other elements.
func HeadingLevel(n *html.Node) int {
	switch n.DataAtom {
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		return int(n.Data[1] - '0')
	}
	if role, _ := Attribute(n, "role"); role != "heading" {
		return 0
	}
	level, _ := Attribute(n, "aria-level")
	if len(level) == 1 && level[0] >= '1' && level[0] <= '6' {
		return int(level[0] - '0')
	}
	return 2 // WAI-ARIA 1.2, heading
}

// BrokenImage is the attribute that the snapshot of a browser sets on an image that failed to load, or has not
// loaded yet.
const BrokenImage = "stepwatch-broken"

// IsLoading reports whether the snapshot of a browser says that an image has not loaded yet.
func IsLoading(image *html.Node) bool {
	state, _ := Attribute(image, BrokenImage)
	return state == "loading"
}

// Landmarks are the roles of landmark regions (WAI-ARIA 1.2 §5.3.4), with their common names.
var Landmarks = map[string][]string{
	"banner": {"header", "banner"}, "contentinfo": {"footer", "contentinfo"}, "main": {"main"}, "navigation": {"navigation", "nav"},
	"complementary": {"aside", "complementary", "sidebar"}, "search": {"search"}, "dialog": {"dialog"}, "alert": {"alert"}, "status": {"status"},
}

// LandmarkOf returns the landmark role of an element, or "" (HTML Accessibility API Mappings §3.5).
func LandmarkOf(n *html.Node) string {
	if role, _ := Attribute(n, "role"); role != "" {
		if role == "alertdialog" {
			role = "dialog"
		}
		if Landmarks[role] == nil {
			return ""
		}
		return role
	}
	switch n.DataAtom {
	case atom.Main:
		return "main"
	case atom.Nav:
		return "navigation"
	case atom.Aside:
		return "complementary"
	case atom.Search:
		return "search"
	case atom.Dialog:
		return "dialog"
	case atom.Header, atom.Footer:
		for p := n.Parent; p != nil && !HoldsDocument(p); p = p.Parent {
			switch p.DataAtom {
			case atom.Article, atom.Aside, atom.Main, atom.Nav, atom.Section:
				return ""
			}
		}
		if n.DataAtom == atom.Header {
			return "banner"
		}
		return "contentinfo"
	}
	return ""
}

// Holds reports whether n is outer or inside it.
func Holds(outer, n *html.Node) bool {
	for ; n != nil; n = n.Parent {
		if n == outer {
			return true
		}
	}
	return false
}

// Below returns a heading and its content: everything up to the next heading of the same or a higher level, or to the
// end of the section.
func Below(heading *html.Node) []*html.Node {
	level := HeadingLevel(heading)
	var stop func(*html.Node) bool
	stop = func(n *html.Node) bool {
		if l := HeadingLevel(n); l > 0 && l <= level {
			return true
		}
		if HoldsDocument(n) {
			return false // its headings form a separate outline
		}
		for c := range n.ChildNodes() {
			if c.Type == html.ElementNode && stop(c) {
				return true
			}
		}
		return false
	}
	nodes := []*html.Node{heading}
	// add adds the following siblings of n and reports whether the region continued to their end.
	var add func(n *html.Node) bool
	add = func(n *html.Node) bool {
		for ; n != nil; n = n.NextSibling {
			if !stop(n) {
				nodes = append(nodes, n)
				continue
			}
			if HeadingLevel(n) == 0 {
				add(n.FirstChild)
			}
			return false
		}
		return true
	}
	for n := heading; add(n.NextSibling); {
		n = n.Parent
		if n == nil || n.Parent == nil {
			break
		}
		switch n.DataAtom {
		case atom.Section, atom.Article, atom.Aside, atom.Nav, atom.Main, atom.Dialog, atom.Body, atom.Html, atom.Fieldset, atom.Td, atom.Th, atom.Details:
			return nodes
		}
	}
	return nodes
}

// Outermost returns the visible nodes that are not inside an earlier one.
func Outermost(nodes []*html.Node) []*html.Node {
	var all []*html.Node
	taken := map[*html.Node]bool{}
	for _, n := range nodes {
		outer := n
		for outer != nil && !taken[outer] {
			outer = outer.Parent
		}
		if outer == nil && !IsHidden(n) {
			all, taken[n] = append(all, n), true
		}
	}
	return all
}
