package steps

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The parts of a page that a visitor only looks at: headings, images and regions.

// headingLevel returns 1 to 6 for a heading, and 0 for other elements.
func headingLevel(n *html.Node) int {
	switch n.DataAtom {
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		return int(n.Data[1] - '0')
	}
	if role, _ := attribute(n, "role"); role != "heading" {
		return 0
	}
	level, _ := attribute(n, "aria-level")
	if len(level) == 1 && level[0] >= '1' && level[0] <= '6' {
		return int(level[0] - '0')
	}
	return 2 // WAI-ARIA 1.2, heading
}

func (s *search) headings(doc *html.Node) []candidate {
	var headings []candidate
	name := normalText(s.name)
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || headingLevel(n) == 0 {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: isHidden(n)}
		c.fitTexts(name, labelOf(n), attributeText(n, "aria-label"))
		headings = append(headings, c)
	}
	return headings
}

// images returns the images, by their texts or file names. An image that a browser could not load counts as hidden.
func (s *search) images(doc *html.Node) []candidate {
	var images []candidate
	name := normalText(s.name)
	for n := range doc.Descendants() {
		kind, _ := attribute(n, "type")
		role, _ := attribute(n, "role")
		if n.DataAtom != atom.Img && role != "img" && (n.DataAtom != atom.Input || !strings.EqualFold(kind, "image")) {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: isHidden(n)}
		src, _ := attribute(n, "src")
		src, _, _ = strings.Cut(src, "?")
		file := ""
		if !strings.HasPrefix(src, "data:") && src != "" {
			file = path.Base(src)
		}
		c.fitTexts(name, attributeText(n, "alt"), attributeText(n, "aria-label"), attributeText(n, "title"), file)
		_, c.broken = attribute(n, brokenImage)
		images = append(images, c)
	}
	return images
}

// brokenImage is the attribute that the snapshot of a browser sets on an image that failed to load.
const brokenImage = "stepwatch-broken"

// seen checks that one of the candidates is visible, or that none is when wanted is false.
func (s *search) seen(candidates []candidate, wanted bool) error {
	if normalText(s.name) == "" {
		return scenarioFault("%s: the text is empty", s.act)
	}
	var found, hidden, broken *candidate
	for i := range candidates {
		c := &candidates[i]
		switch {
		case c.rank < 0:
		case c.broken:
			broken = c
		case c.hidden && !s.lax:
			hidden = c
		case found == nil:
			found = c
		}
	}
	var why string
	switch {
	case (found != nil) == wanted:
		return nil
	case !wanted:
		why = "the page shows the " + s.kind + " " + found.shown
	case broken != nil:
		why = "the " + s.kind + " " + broken.shown + " cannot be shown: its file did not load, or is not an image"
	case hidden != nil:
		why = "the " + s.kind + " " + hidden.shown + " is hidden"
	default:
		why = s.instead(candidates)
	}
	return s.failure(result.ReasonUnexpected, result.BlameWeb, "%s", why)
}

// landmarks are the roles of landmark regions (WAI-ARIA 1.2 §5.3.4), with their common names.
var landmarks = map[string][]string{
	"banner": {"header", "banner"}, "contentinfo": {"footer", "contentinfo"}, "main": {"main"}, "navigation": {"navigation", "nav"},
	"complementary": {"aside", "complementary", "sidebar"}, "search": {"search"}, "dialog": {"dialog"}, "alert": {"alert"}, "status": {"status"},
}

// landmarkOf returns the landmark role of an element, or "" (HTML Accessibility API Mappings §3.5).
func landmarkOf(n *html.Node) string {
	if role, _ := attribute(n, "role"); role != "" {
		if role == "alertdialog" {
			role = "dialog"
		}
		if landmarks[role] == nil {
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
		for p := n.Parent; p != nil && !holdsDocument(p); p = p.Parent {
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

// region is a part of a page: its elements, in document order.
type region struct {
	nodes []*html.Node
	shown string // its name in messages
}

// findRegion finds a part of the page by its id, landmark, label, legend, caption or summary, by the heading above it,
// or otherwise by a CSS selector or an XPath. The region is then everything that this selects.
func (s *search) findRegion(doc *html.Node) (*region, error) {
	s.kind = "region"
	name := normalText(s.name)
	if name == "" {
		return nil, scenarioFault("%s: the region's name is empty", s.act)
	}
	var candidates []candidate
	captions := map[*html.Node]string{}
	ids := map[*html.Node]map[string]*html.Node{} // of each document, on demand
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.DataAtom {
		case atom.Legend, atom.Caption, atom.Summary, atom.Figcaption:
			if _, has := captions[n.Parent]; !has {
				captions[n.Parent] = labelOf(n)
			}
		}
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		c := candidate{node: n, rank: -1}
		if id, _ := attribute(n, "id"); id == s.name {
			c.fits(rankID, id)
			c.shown = quote(id)
		}
		role := landmarkOf(n)
		for _, word := range landmarks[role] {
			c.shown = quote(landmarks[role][0])
			if strings.EqualFold(word, name) {
				c.fits(rankName, "")
			}
		}
		texts := []string{captions[n]}
		if kindOf(n) == "" && buttonType(n) == "" && n.DataAtom != atom.A {
			texts = append(texts, attributeText(n, "aria-label"))
			by, _ := attribute(n, "aria-labelledby")
			document := n
			if by != "" {
				if document = documentOf(n); ids[document] == nil {
					ids[document] = elementsByID(document)
				}
			}
			for _, id := range strings.Fields(by) {
				if named := ids[document][id]; named != nil && len(texts) < 8 {
					texts = append(texts, labelOf(named))
				}
			}
		}
		for _, text := range texts {
			if text != "" {
				c.shown = quote(text)
				c.fitField(text, name)
			}
		}
		if c.shown != "" {
			c.hidden = isHidden(n)
			candidates = append(candidates, c)
		}
	}
	labelled := candidates
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || headingLevel(n) == 0 {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: isHidden(n)}
		text := labelOf(n)
		if text == "" {
			continue
		}
		c.shown = quote(text)
		c.fitField(text, name)
		// A section labelled by its heading is the same region, with better bounds.
		if c.rank < 0 || !slices.ContainsFunc(labelled, func(o candidate) bool { return o.rank >= 0 && o.rank <= c.rank && !o.hidden }) {
			candidates = append(candidates, c)
		}
	}
	if !slices.ContainsFunc(candidates, func(c candidate) bool { return c.rank >= 0 && !c.hidden }) {
		selected, err := selectElements(s.ctx, doc, s.name)
		if slow := tooSlow(s.ctx, err, s.act); slow != nil {
			return nil, slow
		}
		if all := outermost(selected); len(all) > 0 {
			return &region{all, quote(s.name)}, nil
		}
	}
	n, err := s.choose(candidates, "")
	if err != nil {
		return nil, err
	}
	if headingLevel(n) > 0 {
		return &region{below(n), quote(labelOf(n))}, nil
	}
	return &region{[]*html.Node{n}, quote(name)}, nil
}

// holds reports whether n is outer or inside it.
func holds(outer, n *html.Node) bool {
	for ; n != nil; n = n.Parent {
		if n == outer {
			return true
		}
	}
	return false
}

// below returns a heading and its content: everything up to the next heading of the same or a higher level, or to the
// end of the section.
func below(heading *html.Node) []*html.Node {
	level := headingLevel(heading)
	var stop func(*html.Node) bool
	stop = func(n *html.Node) bool {
		if l := headingLevel(n); l > 0 && l <= level {
			return true
		}
		if holdsDocument(n) {
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
			if headingLevel(n) == 0 {
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

// text returns the visible text of the region.
func (r *region) text() []byte {
	var t textWriter
	for _, n := range r.nodes {
		if outside := around(n.Parent); outside != gone {
			walkText(&t, n, outside == veiled, nil)
		}
	}
	return t.out
}

// outermost returns the visible nodes that are not inside an earlier one.
func outermost(nodes []*html.Node) []*html.Node {
	var all []*html.Node
	taken := map[*html.Node]bool{}
	for _, n := range nodes {
		outer := n
		for outer != nil && !taken[outer] {
			outer = outer.Parent
		}
		if outer == nil && !isHidden(n) {
			all, taken[n] = append(all, n), true
		}
	}
	return all
}

// elements returns the visible elements that a CSS selector or an XPath selects, and the number of hidden ones.
func (s *search) elements(doc *html.Node) (shown []*html.Node, hidden int, err error) {
	selected, err := selectElements(s.ctx, doc, s.name)
	if slow := tooSlow(s.ctx, err, s.act); slow != nil {
		return nil, 0, slow
	}
	if err != nil {
		return nil, 0, scenarioFault("%s: %w", s.act, err)
	}
	for _, n := range selected {
		if isHidden(n) && !s.lax {
			hidden++
			continue
		}
		shown = append(shown, n)
	}
	return shown, hidden, nil
}

// findClickable finds the element to click: a link, a button or an element with such a role; or else, since a script
// may handle clicks on any element, the innermost element with exactly this text.
func (s *search) findClickable(doc *html.Node) (*html.Node, error) {
	s.kind = "link or button"
	usual := append(s.links(doc), s.buttons(doc)...)
	name := normalText(s.name)
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || buttonType(n) != "" || isLink(n) || !clickRole(n) {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: isHidden(n)}
		disabled, _ := attribute(n, "aria-disabled")
		c.disabled = disabled == "true"
		c.fitTexts(name, labelOf(n), attributeText(n, "aria-label"), attributeText(n, "title"))
		s.fitID(&c)
		usual = append(usual, c)
	}
	best := func(most int) bool {
		return slices.ContainsFunc(usual, func(c candidate) bool { return c.rank >= 0 && c.rank <= most && !c.hidden })
	}
	if !best(rankFold) {
		any := s.plain(doc, name)
		if len(any) > 0 {
			s.kind = "element"
			return s.choose(any, "")
		}
		if !best(rankPart) {
			s.fitMarkup(usual)
		}
	}
	return s.choose(usual, "")
}

func isLink(n *html.Node) bool {
	_, found := attribute(n, "href")
	return found && (n.DataAtom == atom.A || n.DataAtom == atom.Area)
}

// clickRole reports whether an element has a role that can be clicked.
func clickRole(n *html.Node) bool {
	switch role, _ := attribute(n, "role"); role {
	case "button", "link", "tab", "menuitem", "menuitemcheckbox", "menuitemradio", "option", "switch", "checkbox", "radio", "treeitem":
		return true
	}
	return n.DataAtom == atom.Summary && n.Parent != nil && n.Parent.DataAtom == atom.Details && summaryOf(n.Parent) == n
}

// plain returns the innermost elements whose whole text is the name.
func (s *search) plain(doc *html.Node, name string) []candidate {
	var found []candidate
	if name == "" {
		return nil
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.FirstChild == nil || traits[n.DataAtom]&unseen != 0 || isHidden(n) {
			continue
		}
		text := labelOf(n)
		if !strings.EqualFold(text, name) {
			continue
		}
		c := candidate{node: n, rank: -1, shown: fmt.Sprintf("<%s> %s", n.Data, quote(text))}
		c.fitText(text, name)
		if last := len(found) - 1; last >= 0 && holds(found[last].node, n) {
			found[last] = c
			continue
		}
		found = append(found, c)
	}
	return found
}
