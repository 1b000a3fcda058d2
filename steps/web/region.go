package web

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func (s *search) headings(doc *html.Node) []candidate {
	var headings []candidate
	name := pagetree.Normal(s.name)
	for n := range s.nodes(doc) {
		if n.Type != html.ElementNode || pagetree.HeadingLevel(n) == 0 {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: pagetree.IsHidden(n)}
		c.fitTexts(name, pagetree.Label(n), pagetree.AttributeText(n, "aria-label"), s.generated(n))
		headings = append(headings, c)
	}
	return headings
}

// images returns the images, by their texts or file names. An image that a browser could not load counts as hidden.
func (s *search) images(doc *html.Node) []candidate {
	var images []candidate
	name := pagetree.Normal(s.name)
	for n := range s.nodes(doc) {
		kind, _ := pagetree.Attribute(n, "type")
		role, _ := pagetree.Attribute(n, "role")
		if n.DataAtom != atom.Img && role != "img" && (n.DataAtom != atom.Input || !strings.EqualFold(kind, "image")) {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: pagetree.IsHidden(n)}
		src, _ := pagetree.Attribute(n, "src")
		src, _, _ = strings.Cut(src, "?")
		file := ""
		if !strings.HasPrefix(src, "data:") && src != "" {
			file = path.Base(src)
		}
		c.fitTexts(name, pagetree.AttributeText(n, "alt"), pagetree.AttributeText(n, "aria-label"), pagetree.AttributeText(n, "title"), file)
		_, c.broken = pagetree.Attribute(n, pagetree.BrokenImage)
		images = append(images, c)
	}
	return images
}

// seen checks that one of the candidates is visible, or that none is when wanted is false.
func (s *search) seen(candidates []candidate, wanted bool) error {
	if pagetree.Normal(s.name) == "" {
		return steps.FailScenario("%s: the text is empty", s.act)
	}
	var found, hidden, broken *candidate
	for i := range candidates {
		c := &candidates[i]
		switch {
		case c.rank < 0:
		case c.broken:
			broken = c
		case (c.hidden || pagetree.IsUnseen(c.node)) && !s.lax:
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
	case broken != nil && pagetree.IsLoading(broken.node):
		why = "the " + s.kind + " " + broken.shown + " is not shown yet: its file has not loaded"
	case broken != nil:
		why = "the " + s.kind + " " + broken.shown + " cannot be shown: its file did not load, or is not an image"
	case hidden != nil:
		why = "the " + s.kind + " " + hidden.shown + " is hidden"
	default:
		why = s.instead(candidates)
	}
	return s.failure(result.ReasonUnexpected, result.BlameWeb, "%s", why)
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
	name := pagetree.Normal(s.name)
	if name == "" {
		return nil, steps.FailScenario("%s: the region's name is empty", s.act)
	}
	var candidates []candidate
	captions := map[*html.Node]string{}
	ids := map[*html.Node]map[string]*html.Node{} // of each document, on demand
	for n := range s.nodes(doc) {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.DataAtom {
		case atom.Legend, atom.Caption, atom.Summary, atom.Figcaption:
			if _, has := captions[n.Parent]; !has {
				captions[n.Parent] = pagetree.Label(n)
			}
		}
	}
	for n := range s.nodes(doc) {
		if n.Type != html.ElementNode {
			continue
		}
		c := candidate{node: n, rank: -1}
		if id, _ := pagetree.Attribute(n, "id"); id == s.name {
			c.fits(rankID, id)
			c.shown = wording.Quote(id)
		}
		role := pagetree.LandmarkOf(n)
		for _, word := range pagetree.Landmarks[role] {
			c.shown = wording.Quote(pagetree.Landmarks[role][0])
			if strings.EqualFold(word, name) {
				c.fits(rankName, "")
			}
		}
		texts := []string{captions[n]}
		if pagetree.KindOf(n) == "" && pagetree.ButtonType(n) == "" && n.DataAtom != atom.A {
			texts = append(texts, pagetree.AttributeText(n, "aria-label"))
			by, _ := pagetree.Attribute(n, "aria-labelledby")
			document := n
			if by != "" {
				if document = pagetree.Document(n); ids[document] == nil {
					ids[document] = pagetree.ElementsByID(document)
				}
			}
			for _, id := range strings.Fields(by) {
				if named := ids[document][id]; named != nil && len(texts) < 8 {
					texts = append(texts, pagetree.Label(named))
				}
			}
		}
		for _, text := range texts {
			if text != "" {
				c.shown = wording.Quote(text)
				c.fitField(text, name)
			}
		}
		if c.shown != "" {
			c.hidden = pagetree.IsHidden(n)
			candidates = append(candidates, c)
		}
	}
	labelled := candidates
	for n := range s.nodes(doc) {
		if n.Type != html.ElementNode || pagetree.HeadingLevel(n) == 0 {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: pagetree.IsHidden(n)}
		text := pagetree.Label(n)
		if text == "" {
			continue
		}
		c.shown = wording.Quote(text)
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
		if all := pagetree.Outermost(selected); len(all) > 0 {
			return &region{all, wording.Quote(s.name)}, nil
		}
	}
	n, err := s.choose(candidates, "")
	if err != nil {
		return nil, err
	}
	if pagetree.HeadingLevel(n) > 0 {
		return &region{pagetree.Below(n), wording.Quote(pagetree.Label(n))}, nil
	}
	return &region{[]*html.Node{n}, wording.Quote(name)}, nil
}

// text returns the visible text of the region; generated also what style sheets add to it.
func (r *region) text(generated bool) []byte {
	t := pagetree.TextWriter{Generated: generated}
	for _, n := range r.nodes {
		if outside := pagetree.Around(n.Parent); outside != pagetree.Gone {
			pagetree.WalkText(&t, n, outside == pagetree.Veiled, nil)
		}
	}
	return t.Out
}

// elements returns the visible elements that a CSS selector or an XPath selects, and the number of hidden ones.
func (s *search) elements(doc *html.Node) (shown []*html.Node, hidden int, err error) {
	selected, err := selectElements(s.ctx, doc, s.name)
	if slow := tooSlow(s.ctx, err, s.act); slow != nil {
		return nil, 0, slow
	}
	if err != nil {
		return nil, 0, steps.FailScenario("%s: %w", s.act, err)
	}
	for _, n := range selected {
		if pagetree.IsHidden(n) && !s.lax {
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
	name := pagetree.Normal(s.name)
	for n := range s.nodes(doc) {
		if n.Type != html.ElementNode || pagetree.ButtonType(n) != "" || pagetree.IsLink(n) || !pagetree.ClickRole(n) {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: pagetree.IsHidden(n)}
		disabled, _ := pagetree.Attribute(n, "aria-disabled")
		c.disabled = disabled == "true"
		c.fitTexts(name, pagetree.Label(n), pagetree.AttributeText(n, "aria-label"), pagetree.AttributeText(n, "title"), s.generated(n))
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

// plain returns the innermost elements whose whole text is the name.
func (s *search) plain(doc *html.Node, name string) []candidate {
	var found []candidate
	if name == "" {
		return nil
	}
	for n := range s.nodes(doc) {
		if n.Type != html.ElementNode || n.FirstChild == nil || pagetree.Traits[n.DataAtom]&pagetree.Unseen != 0 || pagetree.IsHidden(n) {
			continue
		}
		text := pagetree.Label(n)
		if !strings.EqualFold(text, name) {
			continue
		}
		c := candidate{node: n, rank: -1, shown: fmt.Sprintf("<%s> %s", n.Data, wording.Quote(text))}
		c.fitText(text, name)
		if last := len(found) - 1; last >= 0 && pagetree.Holds(found[last].node, n) {
			found[last] = c
			continue
		}
		found = append(found, c)
	}
	return found
}
