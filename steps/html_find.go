package steps

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
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

func (s *search) failure(reason result.Reason, blame result.Blame, format string, args ...any) error {
	return Fail(reason, blame, "%s on %s: %s", s.act, s.page, fmt.Sprintf(format, args...))
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

// quote quotes a name for a message and shortens long ones.
func quote(name string) string {
	const most = 60
	if utf8.RuneCountInString(name) > most {
		name = string([]rune(name)[:most]) + "…"
	}
	return `"` + name + `"`
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

// labelLimit is the maximum length of a label in bytes: a longer text is not a name, and a page may let thousands of
// elements share one.
const labelLimit = 4096

// labelOf returns the visible text of an element, including the texts of its images.
func labelOf(n *html.Node) string {
	var t textWriter
	writeLabel(&t, n, n)
	return string(t.out)
}

func writeLabel(t *textWriter, root, n *html.Node) {
	if n.Type == html.TextNode {
		writeText(t, n.Data)
		return
	}
	if n.Type == html.ElementNode && n != root {
		if nodeVisibility(n) == gone {
			return
		}
		switch n.DataAtom {
		case atom.Img:
			alt, _ := attribute(n, "alt")
			writeText(t, alt)
		case atom.Select, atom.Textarea, atom.Button:
			return // a label may contain the control that it names
		}
	}
	edge := n.Type == html.ElementNode && traits[n.DataAtom]&block != 0
	if edge {
		t.gap()
	}
	for c := range n.ChildNodes() {
		if len(t.out) > labelLimit {
			break
		}
		writeLabel(t, root, c)
	}
	if edge {
		t.gap()
	}
}

// isHidden reports whether an element or one around it is hidden.
func isHidden(n *html.Node) bool {
	veil := boxVisibility(n)
	if veil == gone {
		return true
	}
	outside := around(n.Parent)
	return outside == gone || cmp.Or(veil, outside) == veiled
}

// around returns the visibility that an element and those around it give to their content.
func around(n *html.Node) visibility {
	veil := inherited
	for ; n != nil; n = n.Parent {
		if n.Type != html.ElementNode {
			continue
		}
		v := nodeVisibility(n)
		switch {
		case v == gone:
			return gone
		case holdsDocument(n): // the visibility of a frame applies to the whole document in it
			if outside := around(n.Parent); outside == gone || cmp.Or(v, outside) == veiled {
				return gone
			}
			return veil
		case veil == inherited:
			veil = v
		}
	}
	return veil
}

// isDisabled reports whether a control is disabled itself or through a fieldset of its document (HTML §4.10.18.5). The
// first legend of the fieldset is exempt.
func isDisabled(n *html.Node) bool {
	if _, disabled := attribute(n, "disabled"); disabled {
		return true
	}
	for child, p := n, n.Parent; p != nil && !holdsDocument(p); child, p = p, p.Parent {
		if p.DataAtom != atom.Fieldset {
			continue
		}
		if _, disabled := attribute(p, "disabled"); !disabled {
			continue
		}
		if child.DataAtom == atom.Legend && child == firstChild(p, atom.Legend) {
			continue
		}
		return true
	}
	return false
}

func firstChild(n *html.Node, a atom.Atom) *html.Node {
	for c := range n.ChildNodes() {
		if c.DataAtom == a {
			return c
		}
	}
	return nil
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
	name := normalText(s.name)
	for n := range doc.Descendants() {
		if n.DataAtom != atom.A && n.DataAtom != atom.Area {
			continue
		}
		href, found := attribute(n, "href")
		if !found {
			continue
		}
		c := candidate{node: n, rank: -1, same: href, hidden: n.DataAtom == atom.A && isHidden(n)}
		c.fitTexts(name, labelOf(n), attributeText(n, "aria-label"), attributeText(n, "title"), attributeText(n, "alt"))
		s.fitID(&c)
		if c.shown == "" && !c.hidden {
			c.shown = "a link to " + quote(href)
		}
		links = append(links, c)
	}
	return links
}

// fitTexts ranks the texts that name the candidate. The first of them is its name in messages.
func (c *candidate) fitTexts(name string, texts ...string) {
	for _, text := range texts {
		if c.shown == "" && text != "" {
			c.shown = quote(text)
		}
		c.fitText(text, name)
	}
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
			candidates[i].fits(rankMarkup, labelOf(candidates[i].node))
		}
	}
}

func (s *search) fitID(c *candidate) {
	if id, _ := attribute(c.node, "id"); id != "" && id == s.name && !s.byText {
		c.fits(rankID, id)
	}
}

func attributeText(n *html.Node, key string) string {
	value, _ := attribute(n, key)
	return normalText(value)
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
	for n := range doc.Descendants() {
		if _, found := attribute(n, "href"); found && n.DataAtom == atom.A && strings.EqualFold(labelOf(n), normalText(s.name)) {
			instead = "there is a link " + quote(labelOf(n)) + ": follow it"
			break
		}
	}
	return s.choose(buttons, instead)
}

func (s *search) buttons(doc *html.Node) []candidate {
	var buttons []candidate
	name := normalText(s.name)
	for n := range doc.Descendants() {
		kind := buttonType(n)
		if kind == "" {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: isHidden(n), disabled: isDisabled(n) && !s.judged}
		texts := []string{labelOf(n), attributeText(n, "value"), attributeText(n, "alt"), attributeText(n, "aria-label"),
			attributeText(n, "title"), ""}
		if !s.byText {
			texts[5] = attributeText(n, "name")
		}
		if n.DataAtom == atom.Input && texts[1] == "" {
			texts[1] = map[string]string{"submit": "Submit", "reset": "Reset"}[kind] // the labels that browsers use
		}
		c.fitTexts(name, texts...)
		s.fitID(&c)
		if c.shown == "" {
			c.shown = "one without a name"
		}
		field, _ := attribute(n, "name")
		value, _ := attribute(n, "value")
		c.same = fmt.Sprintf("%p %s %q %q", s.page.formOf(n), kind, field, value)
		buttons = append(buttons, c)
	}
	return buttons
}

// buttonType returns submit, image, reset or button, or "" for other elements.
func buttonType(n *html.Node) string {
	kind, _ := attribute(n, "type")
	kind = strings.ToLower(kind)
	switch n.DataAtom {
	case atom.Button:
		if kind == "reset" || kind == "button" {
			return kind
		}
		return "submit"
	case atom.Input:
		if kind == "submit" || kind == "image" || kind == "reset" || kind == "button" {
			return kind
		}
	}
	return ""
}

// fieldKind is a kind of control, which determines the possible actions.
type fieldKind string

const (
	kindText     fieldKind = "text field"
	kindSelect   fieldKind = "select field"
	kindCheckbox fieldKind = "checkbox"
	kindRadio    fieldKind = "radio button"
	kindFile     fieldKind = "file field"
)

// kindOf returns the kind of a control, or "" for an element that accepts no input.
func kindOf(n *html.Node) fieldKind {
	switch n.DataAtom {
	case atom.Textarea:
		return kindText
	case atom.Select:
		return kindSelect
	case atom.Input:
		switch kind, _ := attribute(n, "type"); strings.ToLower(kind) {
		case "hidden", "submit", "image", "reset", "button":
			return ""
		case "checkbox":
			return kindCheckbox
		case "radio":
			return kindRadio
		case "file":
			return kindFile
		default:
			return kindText
		}
	}
	return ""
}

// findField finds a control by id, name, label, aria-label, placeholder or title. A label matches when it begins with
// the name followed by a word boundary. An empty kind means any kind.
func (s *search) findField(doc *html.Node, kind fieldKind) (*html.Node, error) {
	s.kind = cmp.Or(string(kind), "field")
	name := normalText(s.name)
	labels := labelsOf(doc)
	var fields []candidate
	instead := ""
	for n := range doc.Descendants() {
		is := kindOf(n)
		if is == "" {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: isHidden(n), disabled: isDisabled(n) && !s.judged}
		texts := append(labels[n], attributeText(n, "aria-label"), attributeText(n, "placeholder"), attributeText(n, "title"))
		for _, text := range texts {
			if c.shown == "" && text != "" {
				c.shown = quote(text)
			}
			c.fitField(text, name)
		}
		if id, _ := attribute(n, "id"); id != "" && id == s.name {
			c.fits(rankID, id)
		}
		own, _ := attribute(n, "name")
		if own != "" && own == s.name {
			c.fits(rankName, own)
		}
		if c.shown == "" && own != "" {
			c.shown = quote(own)
		}
		if value, _ := attribute(n, "value"); is == kindRadio && value != "" {
			if value == s.name {
				c.fits(rankPart, value)
			}
			c.shown += " (value " + quote(value) + ")"
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

// labelsOf returns the labels of each control: around it, for its id, or by aria-labelledby.
func labelsOf(doc *html.Node) map[*html.Node][]string {
	texts := map[*html.Node][]string{}
	for document := range documents(doc) {
		labelControls(document, texts)
	}
	return texts
}

// labelControls records the labels of the controls of one document.
func labelControls(document *html.Node, texts map[*html.Node][]string) {
	byID := elementsByID(document)
	var labelled, labels []*html.Node
	for n := range own(document) {
		if n.Type != html.ElementNode {
			continue
		}
		if n.DataAtom == atom.Label {
			labels = append(labels, n)
		}
		if kindOf(n) != "" {
			if by, _ := attribute(n, "aria-labelledby"); by != "" {
				labelled = append(labelled, n)
			}
		}
	}
	for _, l := range labels {
		control := (*html.Node)(nil)
		if id, found := attribute(l, "for"); found {
			control = byID[id]
		} else {
			for n := range l.Descendants() {
				if kindOf(n) != "" {
					control = n
					break
				}
			}
		}
		if control != nil {
			texts[control] = append(texts[control], labelOf(l))
		}
	}
	referred := map[string]string{} // the texts of elements named by aria-labelledby
	for _, n := range labelled {
		ids, _ := attribute(n, "aria-labelledby")
		var words []string
		for i, id := range strings.Fields(ids) {
			if i == 8 {
				break // no real page has more, and each may be a long text
			}
			if _, known := referred[id]; !known && byID[id] != nil {
				text := labelOf(byID[id])
				referred[id] = text[:min(len(text), labelLimit/16)] // many labels may refer to the same text
			}
			words = append(words, referred[id])
		}
		texts[n] = append(texts[n], normalText(strings.Join(words, " ")))
	}
}
