package web

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// A link, button or field is found by the name that a visitor sees. Candidates are ranked by how well the name matches;
// the best rank wins, and within it the shortest text, as in Webrat. Several remaining candidates are ambiguous, unless
// the choice makes no difference. A project marked as cucumber-nagios compatible uses the first one in the document, as
// cucumber-nagios did, and also considers hidden elements.

// candidate is an element that may be the one that a step names.
type candidate struct {
	node     *html.Node
	shown    string // its name in messages
	rank     int    // how well the name matches, 0 is best; below 0: not at all
	length   int    // of the matching text
	same     string // candidates with the same non-empty value count as one
	hidden   bool
	disabled bool
	broken   bool // an image that could not be loaded
}

// fits records a text of the candidate that the name matches. The best one counts, and of equal ones the shortest.
func (c *candidate) fits(rank int, text string) {
	if c.rank < 0 || rank < c.rank || rank == c.rank && len(text) < c.length {
		c.rank, c.length = rank, len(text)
	}
}

// search is a search on a page: for what kind of element and which name.
type search struct {
	ctx  context.Context // of the step
	page *page
	act  string // `follow "Contact"`
	kind string // "link"
	name string
	lax  bool // cucumber-nagios compatible

	judged bool // the element is only judged and not used, so it may be disabled
	byText bool // only the visible text counts, not the id
}

// nodes returns the nodes of a page until the step's context ends. Whoever judges what was found looks at the context.
func (s *search) nodes(doc *html.Node) iter.Seq[*html.Node] {
	return func(yield func(*html.Node) bool) {
		const lookEvery = 256 // nodes: one of them takes up to a tenth of a millisecond
		count := 0
		for n := range doc.Descendants() {
			if count++; count%lookEvery == 0 && s.ctx.Err() != nil || !yield(n) {
				return
			}
		}
	}
}

func (s *search) failure(reason result.Reason, blame result.Blame, format string, args ...any) error {
	return steps.Fail(reason, blame, "%s on %s: %s", s.act, s.page, fmt.Sprintf(format, args...))
}

// choose returns the best of the candidates. instead is a hint for the case that none matches, or empty.
func (s *search) choose(candidates []candidate, instead string) (*html.Node, error) {
	var best, hiddenBest, disabledBest []candidate
	for _, c := range candidates {
		switch {
		case c.rank < 0:
		case c.disabled:
			disabledBest = append(disabledBest, c)
		case c.hidden && !s.lax:
			hiddenBest = append(hiddenBest, c)
		case len(best) == 0 || c.rank < best[0].rank || c.rank == best[0].rank && c.length < best[0].length:
			best = append(best[:0], c)
		case c.rank == best[0].rank && c.length == best[0].length:
			best = append(best, c)
		}
	}
	switch {
	case len(best) > 1 && !s.lax && slices.ContainsFunc(best, func(c candidate) bool { return c.same == "" || c.same != best[0].same }):
		return nil, s.failure(result.ReasonNotFound, result.BlameWeb, "the name is ambiguous: %d %ss match: %s", len(best), s.kind, list(best))
	case len(best) > 0:
		return best[0].node, nil
	case len(disabledBest) > 0:
		return nil, s.failure(result.ReasonNotFound, result.BlameWeb, "the %s %s is disabled", s.kind, disabledBest[0].shown)
	case len(hiddenBest) > 0:
		return nil, s.failure(result.ReasonNotFound, result.BlameWeb, "the %s %s is hidden", s.kind, hiddenBest[0].shown)
	}
	text := s.instead(candidates)
	if instead != "" {
		text += "; " + instead
	}
	return nil, s.failure(result.ReasonNotFound, result.BlameWeb, "%s", text)
}

// instead describes the candidates when none matches the name.
func (s *search) instead(candidates []candidate) string {
	there := slices.DeleteFunc(slices.Clone(candidates), func(c candidate) bool { return c.hidden || c.disabled || c.shown == "" })
	if len(there) == 0 {
		return "the page has no " + s.kind + " at all" + s.page.without()
	}
	return fmt.Sprintf("there is no such %s; the page has %s%s", s.kind, list(there), s.page.without())
}

// list lists at most ten candidates, each name once.
func list(candidates []candidate) string {
	const most = 10
	var names []string
	seen := map[string]bool{}
	more := 0
	for _, c := range candidates {
		switch {
		case seen[c.shown] && len(candidates) > most:
		case len(names) == most:
			more++
		default:
			names = append(names, c.shown)
		}
		seen[c.shown] = true
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// The ranks of a text. Callers use ranks between and after these.
const (
	rankID   = iota
	rankName // of a field, exactly
	rankExact
	rankFold
	rankPrefix
	rankPart
	rankMarkup
)

// fitText ranks a text of the candidate: an exact match, a match ignoring case, the beginning, a part. A trailing "*"
// or ":" is decoration of a label.
func (c *candidate) fitText(text, name string) {
	switch bare := strings.TrimRight(text, " *:"); {
	case text == "":
	case text == name, bare == name:
		c.fits(rankExact, text)
	case strings.EqualFold(text, name), strings.EqualFold(bare, name):
		c.fits(rankFold, text)
	case hasPrefixFold(text, name):
		c.fits(rankPrefix, text)
	case strings.Contains(strings.ToLower(text), strings.ToLower(name)):
		c.fits(rankPart, text)
	}
}

func hasPrefixFold(text, prefix string) bool {
	return strings.HasPrefix(strings.ToLower(text), strings.ToLower(prefix))
}

// findLink finds a link by text, image text, aria-label, title or id.
func (s *search) findLink(doc *html.Node) (*html.Node, error) {
	s.kind = "link"
	links := s.links(doc)
	s.fitMarkup(links)
	instead := ""
	if button := s.other((*search).buttons, doc); button != "" {
		instead = "there is a button " + button + ": press it"
	}
	return s.choose(links, instead)
}

func (s *search) links(doc *html.Node) []candidate {
	var links []candidate
	name := pagetree.Normal(s.name)
	for n := range s.nodes(doc) {
		if n.DataAtom != atom.A && n.DataAtom != atom.Area {
			continue
		}
		href, found := pagetree.Attribute(n, "href")
		if !found {
			continue
		}
		c := candidate{node: n, rank: -1, same: href, hidden: n.DataAtom == atom.A && pagetree.IsHidden(n)}
		c.fitTexts(name, pagetree.Label(n), pagetree.AttributeText(n, "aria-label"), pagetree.AttributeText(n, "title"), pagetree.AttributeText(n, "alt"), s.generated(n))
		s.fitID(&c)
		if c.shown == "" && !c.hidden {
			c.shown = "a link to " + wording.Quote(href)
		}
		links = append(links, c)
	}
	return links
}

// fitTexts ranks the texts that name the candidate. The first of them is its name in messages.
func (c *candidate) fitTexts(name string, texts ...string) {
	for _, text := range texts {
		if c.shown == "" && text != "" {
			c.shown = wording.Quote(text)
		}
		c.fitText(text, name)
	}
}

// generated returns the label of an element with the text that style sheets add to it, or empty if they add none to the
// page. It is one more name: a mark before each link is not part of what it is called.
func (s *search) generated(n *html.Node) string {
	if s.page.live == nil || !s.page.live.generated {
		return ""
	}
	return pagetree.GeneratedLabel(n)
}

// fitMarkup is the last resort: it matches a part of the markup inside the candidate, which old features could name.
func (s *search) fitMarkup(candidates []candidate) {
	for i := range candidates {
		if candidates[i].rank >= 0 {
			return
		}
	}
	wanted := []byte(strings.ToLower(s.name))
	for i := range candidates {
		var markup bytes.Buffer
		for c := range candidates[i].node.ChildNodes() {
			_ = html.Render(&markup, c) // a Buffer never fails
		}
		if len(wanted) > 0 && bytes.Contains(bytes.ToLower(markup.Bytes()), wanted) {
			candidates[i].fits(rankMarkup, pagetree.Label(candidates[i].node))
		}
	}
}

func (s *search) fitID(c *candidate) {
	if id, _ := pagetree.Attribute(c.node, "id"); id != "" && id == s.name && !s.byText {
		c.fits(rankID, id)
	}
}

// other returns the name of an element of another kind with exactly this name.
func (s *search) other(candidates func(*search, *html.Node) []candidate, doc *html.Node) string {
	for _, c := range candidates(s, doc) {
		if c.rank >= 0 && c.rank <= rankFold && !c.hidden {
			return c.shown
		}
	}
	return ""
}

// findButton finds a button by id, text, value, image text, aria-label, title or name.
func (s *search) findButton(doc *html.Node) (*html.Node, error) {
	s.kind = "button"
	buttons := s.buttons(doc)
	s.fitMarkup(buttons)
	instead := ""
	for n := range s.nodes(doc) {
		if _, found := pagetree.Attribute(n, "href"); found && n.DataAtom == atom.A && strings.EqualFold(pagetree.Label(n), pagetree.Normal(s.name)) {
			instead = "there is a link " + wording.Quote(pagetree.Label(n)) + ": follow it"
			break
		}
	}
	return s.choose(buttons, instead)
}

func (s *search) buttons(doc *html.Node) []candidate {
	var buttons []candidate
	name := pagetree.Normal(s.name)
	for n := range s.nodes(doc) {
		kind := pagetree.ButtonType(n)
		if kind == "" {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: pagetree.IsHidden(n), disabled: pagetree.IsDisabled(n) && !s.judged}
		texts := []string{pagetree.Label(n), pagetree.AttributeText(n, "value"), pagetree.AttributeText(n, "alt"), pagetree.AttributeText(n, "aria-label"),
			pagetree.AttributeText(n, "title"), s.generated(n), ""}
		if !s.byText {
			texts[6] = pagetree.AttributeText(n, "name")
		}
		if n.DataAtom == atom.Input && texts[1] == "" {
			texts[1] = map[string]string{"submit": "Submit", "reset": "Reset"}[kind] // the labels that browsers use
		}
		c.fitTexts(name, texts...)
		s.fitID(&c)
		if c.shown == "" {
			c.shown = "one without a name"
		}
		field, _ := pagetree.Attribute(n, "name")
		value, _ := pagetree.Attribute(n, "value")
		c.same = fmt.Sprintf("%p %s %q %q", s.page.at(n).formOf(n), kind, field, value)
		buttons = append(buttons, c)
	}
	return buttons
}

// findField finds a control by id, name, label, aria-label, placeholder or title. A label matches when it begins with
// the name followed by a word boundary. An empty kind means any kind.
func (s *search) findField(doc *html.Node, kind pagetree.FieldKind) (*html.Node, error) {
	s.kind = cmp.Or(string(kind), "field")
	name := pagetree.Normal(s.name)
	labels := pagetree.Labels(doc)
	var fields []candidate
	instead := ""
	for n := range s.nodes(doc) {
		is := pagetree.KindOf(n)
		if is == "" {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: pagetree.IsHidden(n), disabled: pagetree.IsDisabled(n) && !s.judged}
		texts := append(labels[n], pagetree.AttributeText(n, "aria-label"), pagetree.AttributeText(n, "placeholder"), pagetree.AttributeText(n, "title"))
		for _, text := range texts {
			if c.shown == "" && text != "" {
				c.shown = wording.Quote(text)
			}
			c.fitField(text, name)
		}
		if id, _ := pagetree.Attribute(n, "id"); id != "" && id == s.name {
			c.fits(rankID, id)
		}
		own, _ := pagetree.Attribute(n, "name")
		if own != "" && own == s.name {
			c.fits(rankName, own)
		}
		if c.shown == "" && own != "" {
			c.shown = wording.Quote(own)
		}
		if value, _ := pagetree.Attribute(n, "value"); is == pagetree.KindRadio && value != "" {
			if value == s.name {
				c.fits(rankPart, value)
			}
			c.shown += " (value " + wording.Quote(value) + ")"
		}
		if is == kind || kind == "" {
			fields = append(fields, c)
		} else if c.rank >= 0 && c.rank <= rankFold && instead == "" {
			instead = fmt.Sprintf("%s is a %s", c.shown, is)
		}
	}
	return s.choose(fields, instead)
}

func (c *candidate) fitField(text, name string) {
	d := candidate{rank: -1}
	d.fitText(text, name)
	switch {
	case d.rank < 0, d.rank > rankPrefix:
	case d.rank < rankPrefix:
		c.fits(d.rank, text)
	default:
		rest, _ := utf8.DecodeRuneInString(text[min(len(text), len(name)):])
		if name != "" && !unicode.IsLetter(rest) && !unicode.IsDigit(rest) {
			c.fits(rankPrefix, text)
		}
	}
}
