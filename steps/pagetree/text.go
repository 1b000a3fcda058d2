// Package pagetree answers what a visitor sees of an HTML tree: visible text, labels, form controls, tables, regions and
// the documents of frames. It knows no run and loads nothing.
package pagetree

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/steps/wording"
)

// IsHidden reports whether an element or one around it is hidden.
func IsHidden(n *html.Node) bool {
	veil := boxVisibility(n)
	if veil == Gone {
		return true
	}
	outside := Around(n.Parent)
	return outside == Gone || cmp.Or(veil, outside) == Veiled
}

// Around returns the visibility that an element and those around it give to their content.
func Around(n *html.Node) Visibility {
	veil := inherited
	for ; n != nil; n = n.Parent {
		if n.Type != html.ElementNode {
			continue
		}
		v := nodeVisibility(n)
		switch {
		case v == Gone:
			return Gone
		case HoldsDocument(n): // the visibility of a frame applies to the whole document in it
			if outside := Around(n.Parent); outside == Gone || cmp.Or(v, outside) == Veiled {
				return Gone
			}
			return veil
		case veil == inherited:
			veil = v
		}
	}
	return veil
}

// FirstChild returns the first child of n that is an element of this kind, or nil.
func FirstChild(n *html.Node, a atom.Atom) *html.Node {
	for c := range n.ChildNodes() {
		if c.DataAtom == a {
			return c
		}
	}
	return nil
}

// AttributeText returns an attribute with its spaces as a visitor sees them, or nothing.
func AttributeText(n *html.Node, key string) string {
	value, _ := Attribute(n, key)
	return Normal(value)
}

// Visible text is the innerText of the body as far as the HTML determines it, without style sheets, scripts and shadow
// trees. White space, no-break spaces included, is collapsed and invisible characters are removed, so that a text
// compares as a visitor reads it. The boundary of a block counts as a space. Not visible are scripts, styles,
// templates, titles, the values of controls, fallback content, elements with the hidden attribute or an inline
// display:none or visibility:hidden, a closed dialog, a closed details except its summary, and what is out of sight.

// TextWriter collects visible text. VisibleText and QuickText both write to one.
type TextWriter struct {
	Out       []byte
	Generated bool // also write the text that style sheets show, as a browser knows it
	space     bool // a space is due before the next visible character
	later     *bool
}

// changesLater is the function of that name, which reads the document once.
func (t *TextWriter) changesLater(n *html.Node) bool {
	if t.later == nil {
		later := changesLater(n)
		t.later = &later
	}
	return *t.later
}

// generated writes the text of a style sheet at one side of the content of an element.
func (t *TextWriter) generated(n *html.Node, side string) {
	if t.Generated && n.Type == html.ElementNode {
		text, _ := Attribute(n, side)
		writeText(t, text)
	}
}

// gap marks white space or the boundary of a block.
func (t *TextWriter) gap() { t.space = len(t.Out) > 0 }

func writeText[T string | []byte](t *TextWriter, text T) {
	out, space := t.Out, t.space // in registers for this loop
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			i++
			if c == ' ' || c >= '\t' && c <= '\r' {
				space = len(out) > 0
				continue
			}
			if space {
				out, space = append(out, ' '), false
			}
			out = append(out, c)
			continue
		}
		r, size := utf8.DecodeRuneInString(string(text[i:min(len(text), i+utf8.UTFMax)]))
		switch {
		case unicode.IsSpace(r):
			space = len(out) > 0
		case r == '\u200b', r == '\u00ad', r == '\u2060', r == '\ufeff', r == '\u061c', r == '\u200e', r == '\u200f',
			'\u202a' <= r && r <= '\u202e', '\u2066' <= r && r <= '\u2069': // the last ones only direct the text
		default:
			if space {
				out, space = append(out, ' '), false
			}
			out = append(out, text[i:i+size]...)
		}
		i += size
	}
	t.Out, t.space = out, space
}

// Normal collapses white space and removes invisible characters, as for the text of a page.
func Normal(s string) string {
	if isNormal(s) {
		return s
	}
	var t TextWriter
	writeText(&t, s)
	return string(t.Out)
}

// isNormal reports whether s is of ASCII and has only single spaces, between words.
func isNormal(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || c >= '\t' && c <= '\r' || c == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' ') {
			return false
		}
	}
	return true
}

// Trait is a property of an element for text and for QuickText.
type Trait uint16

// The traits that other packages ask for; Unseen is one.
const (
	block     Trait = 1 << iota // its boundaries separate words
	Unseen                      // its content is never shown
	void                        // it has no content and no end tag
	raw                         // the tokenizer reads its content as text
	headOnly                    // belongs into head, but is harmless elsewhere
	plain                       // QuickText accepts it in body
	closesP                     // its start tag ends an open p
	oneAtOnce                   // its start tag affects an open one
	heading                     // its start tag ends a heading directly around it
	placed                      // only certain parents accept it; QuickText has their list
	choosy                      // it accepts only certain children, those in Parents
)

// Traits says what a browser does with an element, for those that differ from a span.
var Traits = map[atom.Atom]Trait{
	atom.Html: block, atom.Head: block | Unseen, atom.Body: block,
	atom.Title: Unseen | raw | headOnly, atom.Style: Unseen | raw | headOnly, atom.Script: Unseen | raw | headOnly,
	atom.Noscript: Unseen | raw | headOnly, atom.Meta: Unseen | void | headOnly, atom.Link: Unseen | void | headOnly,
	atom.Base: Unseen | void | headOnly, atom.Template: Unseen, atom.Noembed: Unseen | raw, atom.Noframes: Unseen | raw,
	atom.Datalist: Unseen, atom.Rp: Unseen, atom.Basefont: Unseen | void, atom.Bgsound: Unseen | void,

	atom.Iframe: Unseen | raw | plain, atom.Textarea: Unseen | raw | plain, atom.Canvas: Unseen | plain, atom.Video: Unseen | plain,
	atom.Audio: Unseen | plain, atom.Object: Unseen, atom.Progress: Unseen | plain, atom.Meter: Unseen | plain,

	atom.Img: void | plain, atom.Input: void | plain, atom.Embed: void | plain, atom.Area: Unseen | void | plain, atom.Wbr: void | plain,
	atom.Br: void | plain | block, atom.Hr: void | plain | block | closesP, atom.Source: Unseen | void | plain,
	atom.Track: Unseen | void | plain, atom.Param: Unseen | void | plain,

	atom.Address: block | plain | closesP, atom.Article: block | plain | closesP, atom.Aside: block | plain | closesP,
	atom.Blockquote: block | plain | closesP, atom.Center: block | plain | closesP, atom.Dir: block | plain | closesP,
	atom.Div: block | plain | closesP, atom.Dl: block | plain | closesP, atom.Fieldset: block | plain | closesP,
	atom.Figcaption: block | plain | closesP, atom.Figure: block | plain | closesP, atom.Footer: block | plain | closesP,
	atom.Header: block | plain | closesP, atom.Hgroup: block | plain | closesP, atom.Main: block | plain | closesP,
	atom.Menu: block | plain | closesP, atom.Nav: block | plain | closesP, atom.Ol: block | plain | closesP,
	atom.P: block | plain | closesP, atom.Section: block | plain | closesP, atom.Ul: block | plain | closesP,
	atom.Pre: block | plain | closesP, atom.Listing: block | closesP, atom.Search: block | closesP, atom.Summary: block | closesP,
	atom.Details: block | closesP, atom.Dialog: block | closesP, atom.Xmp: block | raw | closesP, atom.Plaintext: block | raw | closesP,
	atom.H1: block | plain | closesP | heading, atom.H2: block | plain | closesP | heading, atom.H3: block | plain | closesP | heading,
	atom.H4: block | plain | closesP | heading, atom.H5: block | plain | closesP | heading, atom.H6: block | plain | closesP | heading,
	atom.Form: block | plain | closesP | oneAtOnce, atom.Legend: block | plain, atom.Frameset: block,
	atom.Li: block | plain | closesP, atom.Dd: block | plain | closesP, atom.Dt: block | plain | closesP,

	atom.Table: block | plain | closesP | choosy, atom.Caption: block | plain | placed, atom.Colgroup: block | plain | placed | choosy,
	atom.Col: block | void | plain | placed, atom.Thead: block | plain | placed | choosy, atom.Tbody: block | plain | placed | choosy,
	atom.Tfoot: block | plain | placed | choosy, atom.Tr: block | plain | placed | choosy, atom.Td: block | plain | placed, atom.Th: block | plain | placed,
	atom.Select: block | plain | oneAtOnce | choosy, atom.Optgroup: block | plain | placed | choosy, atom.Option: block | plain | placed | choosy,

	atom.A: plain | oneAtOnce, atom.Button: plain | oneAtOnce, atom.Abbr: plain, atom.Acronym: plain, atom.B: plain, atom.Bdi: plain,
	atom.Bdo: plain, atom.Big: plain, atom.Cite: plain, atom.Code: plain, atom.Data: plain, atom.Del: plain, atom.Dfn: plain,
	atom.Em: plain, atom.Font: plain, atom.I: plain, atom.Ins: plain, atom.Kbd: plain, atom.Label: plain, atom.Map: plain,
	atom.Mark: plain, atom.Output: plain, atom.Picture: plain, atom.Q: plain, atom.S: plain, atom.Samp: plain, atom.Small: plain,
	atom.Span: plain, atom.Strike: plain, atom.Strong: plain, atom.Sub: plain, atom.Sup: plain, atom.Time: plain, atom.Tt: plain,
	atom.U: plain, atom.Var: plain,
}

// svgUnseen are SVG elements whose content is not drawn in place.
var svgUnseen = map[string]bool{"title": true, "desc": true, "metadata": true, "defs": true, "symbol": true, "style": true,
	"script": true, "clipPath": true, "mask": true, "marker": true, "pattern": true}

// Visibility is how an element's own attributes determine whether it is visible.
type Visibility int

// Veiled content may hold visible content, what is Gone holds none.
const (
	inherited Visibility = iota // not set
	Gone                        // it has no box: hidden, display:none
	Veiled                      // visibility:hidden, which a descendant may override
	unveiled                    // visibility:visible
)

// styleVisibility reads display and visibility from the declarations of a style attribute. The last declaration counts,
// or the last one that is !important.
func styleVisibility(style string) Visibility {
	var display, seen string
	var displayImportant, seenImportant bool
	for declaration := range strings.SplitSeq(style, ";") {
		property, value, _ := strings.Cut(declaration, ":")
		value = strings.ToLower(strings.TrimSpace(value))
		value, important := strings.CutSuffix(value, "!important")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(property)) {
		case "display":
			if important || !displayImportant {
				display, displayImportant = value, important
			}
		case "visibility":
			if important || !seenImportant {
				seen, seenImportant = value, important
			}
		}
	}
	switch {
	case display == "none":
		return Gone
	case seen == "hidden", seen == "collapse":
		return Veiled
	case seen == "visible":
		return unveiled
	}
	return inherited
}

// nodeVisibility returns the visibility of an element's content, from the element and its attributes.
func nodeVisibility(n *html.Node) Visibility {
	if n.Namespace == "svg" && svgUnseen[n.Data] || n.Namespace == "" && Traits[n.DataAtom]&Unseen != 0 && !holdsTree(n) {
		return Gone
	}
	return boxVisibility(n)
}

// holdsTree reports whether an element shows another tree instead of its own content: a shadow tree (HTML §4.12.3), or
// the document of a frame.
func holdsTree(n *html.Node) bool {
	if n.DataAtom == atom.Template {
		mode, _ := Attribute(n, "shadowrootmode")
		return strings.EqualFold(mode, "open") || strings.EqualFold(mode, "closed")
	}
	return HoldsDocument(n)
}

// boxVisibility returns the visibility of the element itself: a textarea is visible, though its content is not text of
// the page.
func boxVisibility(n *html.Node) Visibility {
	if n.Namespace == "" && n.DataAtom == atom.Dialog {
		if _, open := Attribute(n, "open"); !open {
			return Gone
		}
	}
	if p := n.Parent; p != nil && p.DataAtom == atom.Details && p.Namespace == "" && !isSummary(n) {
		if _, open := Attribute(p, "open"); !open {
			return Gone
		}
	}
	v, styled := inherited, false
	for i := range n.Attr {
		switch n.Attr[i].Key {
		case "hidden", "popover":
			return Gone
		case "style":
			if !styled {
				v, styled = styleVisibility(styleOf(n, i)), true
			}
		}
	}
	return v
}

// isSummary reports whether an element is the first summary in its details element, which is visible even when that is
// closed. It looks back: from the last of many that ends at the one before.
func isSummary(n *html.Node) bool {
	if n.DataAtom != atom.Summary {
		return false
	}
	for c := n.PrevSibling; c != nil; c = c.PrevSibling {
		if c.DataAtom == atom.Summary {
			return false
		}
	}
	return true
}

// Attribute returns the first attribute called key, the one that counts.
func Attribute(n *html.Node, key string) (string, bool) {
	for i := range n.Attr {
		if n.Attr[i].Key == key && n.Attr[i].Namespace == "" {
			return n.Attr[i].Val, true
		}
	}
	return "", false
}

// VisibleText returns the visible text of a parsed document.
func VisibleText(root *html.Node) []byte {
	var t TextWriter
	WalkText(&t, root, false, nil)
	return t.Out
}

// GeneratedText returns the visible text of a snapshot of a browser with what style sheets add to it.
func GeneratedText(root *html.Node) []byte {
	t := TextWriter{Generated: true}
	WalkText(&t, root, false, nil)
	return t.Out
}

// WalkText writes the visible text below n. veil reports whether visibility:hidden is inherited; skip, if not nil,
// selects further elements to omit.
func WalkText(t *TextWriter, n *html.Node, veil bool, skip func(*html.Node) bool) {
	if n.Type == html.TextNode {
		if !veil && !(n.Parent != nil && (closedDetails(n.Parent) || sightOf(n.Parent) == textUnseen)) {
			writeText(t, n.Data)
		}
		return
	}
	edge := false
	if n.Type == html.ElementNode {
		if skip != nil && skip(n) {
			return
		}
		switch nodeVisibility(n) {
		case Gone:
			return
		case Veiled:
			veil = true
		case unveiled:
			veil = false
		}
		if veil && HoldsDocument(n) {
			return // nothing inside can override it
		}
		if sight := sightOf(n); sight == outOfSight || sight == transparent && !t.changesLater(n) {
			return
		}
		edge = isBlock(n)
	}
	if edge {
		t.gap()
	}
	if !veil {
		t.generated(n, textBefore)
	}
	for c := range n.ChildNodes() {
		WalkText(t, c, veil, skip)
	}
	if !veil {
		t.generated(n, textAfter)
	}
	if edge {
		t.gap()
	}
}

// isBlock reports whether the boundaries of an element separate words.
func isBlock(n *html.Node) bool {
	if n.Type != html.ElementNode {
		return false
	}
	_, styled := Attribute(n, blockMark)
	return styled || n.Namespace == "" && Traits[n.DataAtom]&block != 0
}

func closedDetails(n *html.Node) bool {
	if n.DataAtom != atom.Details || n.Namespace != "" {
		return false
	}
	_, open := Attribute(n, "open")
	return !open
}

// Parents lists the elements that QuickText accepts directly in elements whose content the parser would otherwise
// rearrange. With a nil list, it accepts only text.
var Parents = map[atom.Atom][]atom.Atom{
	atom.Table:    {atom.Caption, atom.Colgroup, atom.Thead, atom.Tbody, atom.Tfoot, atom.Tr},
	atom.Thead:    {atom.Tr},
	atom.Tbody:    {atom.Tr},
	atom.Tfoot:    {atom.Tr},
	atom.Tr:       {atom.Td, atom.Th},
	atom.Colgroup: {atom.Col},
	atom.Select:   {atom.Optgroup, atom.Option},
	atom.Optgroup: {atom.Option},
	atom.Option:   nil,
}

// QuickText returns the same text as VisibleText of the parsed source without building a tree, at a tenth of the cost.
// It works as long as the source is clean: tags without odd characters, each end tag closing the last open element,
// none that the parser would move, close or drop. Otherwise, and for rare constructs, it returns false.
func QuickText(source []byte) ([]byte, bool) {
	if bytes.IndexByte(source, 0) >= 0 {
		return nil, false
	}
	q := quickReader{rest: source}
	q.text.Out = make([]byte, 0, len(source)/3)
	for len(q.rest) > 0 {
		if !q.next() {
			return nil, false
		}
	}
	return q.text.Out, true
}

const quickDepth = 64

// quickReader is the state of QuickText: the open elements.
type quickReader struct {
	rest   []byte
	text   TextWriter
	stack  [quickDepth]atom.Atom
	traits [quickDepth]Trait // of the elements on the stack
	depth  int
	hidden int // depth of the outermost hidden element, 0 for none

	html, head, body, content, over bool // seen so far: these tags, anything else, the end of body
}

// next reads a text, a comment or a tag.
func (q *quickReader) next() bool {
	if q.rest[0] != '<' {
		end := bytes.IndexByte(q.rest, '<')
		if end < 0 {
			end = len(q.rest)
		}
		text := q.rest[:end]
		q.rest = q.rest[end:]
		return q.readText(text)
	}
	if len(q.rest) < 2 {
		return false
	}
	switch c := q.rest[1]; {
	case c == '!':
		return q.declaration()
	case c == '/':
		return q.endTag()
	default:
		return q.startTag()
	}
}

// declaration skips a comment or a doctype. It rejects comments that HTML ends in unusual ways (HTML §13.2.5.43 and
// following).
func (q *quickReader) declaration() bool {
	const doctype = "<!doctype"
	if body, is := bytes.CutPrefix(q.rest, []byte("<!--")); is {
		end := bytes.Index(body, []byte("-->"))
		if end < 0 || body[0] == '>' || body[0] == '-' || bytes.Contains(body[:end], []byte("--!")) {
			return false
		}
		q.rest = body[end+len("-->"):]
		return true
	}
	end := bytes.IndexByte(q.rest, '>')
	if end < len(doctype) || !bytes.EqualFold(q.rest[:len(doctype)], []byte(doctype)) {
		return false
	}
	q.rest = q.rest[end+1:]
	return true
}

// tagName reads a name of letters and digits. It returns 0 for other names, such as those of custom elements.
func (q *quickReader) tagName() (atom.Atom, Trait) {
	var lower [12]byte
	key := uint64(0)
	n := 0
	for ; n < len(q.rest) && n < len(lower); n++ {
		c := q.rest[n]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		default:
			q.rest = q.rest[n:]
			if n <= shortName {
				if known := shortNames.slot(key); known.key == key {
					return known.atom, known.trait
				}
			}
			a := atom.Lookup(lower[:n])
			return a, Traits[a]
		}
		lower[n], key = c, key<<8|uint64(c)
	}
	return 0, 0
}

// nameTable has the traits of elements with short names, by the letters of those.
type nameTable [1 << 9]named

type named struct {
	key   uint64 // the letters; 0 in a free slot
	atom  atom.Atom
	trait Trait
}

// shortName is the length of the longest name in a nameTable.
const shortName = 8

// shortNames has the traits of Traits. It spares QuickText two maps for each tag, a fifth of its time (BenchmarkQuickText).
var shortNames = func() (t nameTable) {
	for a, trait := range Traits {
		name, key := a.String(), uint64(0)
		if len(name) > shortName {
			continue
		}
		for i := range len(name) {
			key = key<<8 | uint64(name[i])
		}
		*t.slot(key) = named{key, a, trait}
	}
	return t
}()

// slot returns the slot of a name, or the free one where it would be. The table is never full.
func (t *nameTable) slot(key uint64) *named {
	for i := key * 0x9e3779b97f4a7c15 >> (64 - 9); ; i = (i + 1) % uint64(len(t)) {
		if t[i].key == key || t[i].key == 0 {
			return &t[i]
		}
	}
}

func (q *quickReader) skipSpace() {
	for len(q.rest) > 0 && wording.IsSpace(q.rest[0]) {
		q.rest = q.rest[1:]
	}
}

func (q *quickReader) endTag() bool {
	q.rest = q.rest[2:]
	a, _ := q.tagName()
	q.skipSpace()
	if a == 0 || len(q.rest) == 0 || q.rest[0] != '>' {
		return false
	}
	q.rest = q.rest[1:]
	return q.end(a)
}

func (q *quickReader) startTag() bool {
	q.rest = q.rest[1:]
	a, t := q.tagName()
	if a == 0 || q.over || !q.mayStand(a, t) {
		return false
	}
	hide := t&Unseen != 0
	styled := false
	for {
		before := len(q.rest)
		q.skipSpace()
		if len(q.rest) == 0 {
			return false
		}
		if q.rest[0] == '>' {
			q.rest = q.rest[1:]
			break
		}
		if q.rest[0] == '/' {
			if len(q.rest) < 2 || q.rest[1] != '>' || t&void == 0 {
				return false
			}
			q.rest = q.rest[2:]
			break
		}
		if len(q.rest) == before {
			return false
		}
		key, value, ok := q.attribute()
		if !ok {
			return false
		}
		switch {
		case bytes.EqualFold(key, []byte("hidden")), bytes.EqualFold(key, []byte("popover")):
			hide = true
		case !styled && bytes.EqualFold(key, []byte("style")):
			styled = true // the first one counts
			if bytes.IndexByte(value, '&') >= 0 {
				return false
			}
			switch text := string(value); styleVisibility(text) {
			case Gone:
				hide = true
			case Veiled, unveiled:
				return false
			default:
				if styleSight(text) != inSight {
					return false
				}
			}
		}
	}
	if !q.start(a, t, hide) {
		return false
	}
	return t&raw == 0 || q.skipRaw(a)
}

// attribute reads one attribute with unambiguous syntax.
func (q *quickReader) attribute() (key, value []byte, ok bool) {
	n := 0
	for ; n < len(q.rest); n++ {
		if c := q.rest[n]; wording.IsSpace(c) || c == '=' || c == '>' || c == '/' {
			break
		} else if c == '"' || c == '\'' || c == '<' {
			return nil, nil, false
		}
	}
	if n == 0 || n == len(q.rest) {
		return nil, nil, false
	}
	key, q.rest = q.rest[:n], q.rest[n:]
	if q.rest[0] != '=' {
		// A "=" may still follow after white space.
		for i := 0; i < len(q.rest); i++ {
			if !wording.IsSpace(q.rest[i]) {
				return key, nil, q.rest[i] != '='
			}
		}
		return nil, nil, false
	}
	if len(q.rest) < 2 {
		return nil, nil, false
	}
	if quote := q.rest[1]; quote == '"' || quote == '\'' {
		end := bytes.IndexByte(q.rest[2:], quote)
		if end < 0 {
			return nil, nil, false
		}
		value, q.rest = q.rest[2:2+end], q.rest[3+end:]
		return key, value, true
	}
	n = 1
	for ; n < len(q.rest); n++ {
		if c := q.rest[n]; wording.IsSpace(c) || c == '>' {
			break
		} else if c == '"' || c == '\'' || c == '<' || c == '=' || c == '`' || c == '&' || c == '/' && n+1 < len(q.rest) && q.rest[n+1] == '>' {
			return nil, nil, false
		}
	}
	if n == 1 || n == len(q.rest) {
		return nil, nil, false
	}
	value, q.rest = q.rest[1:n], q.rest[n:]
	return key, value, true
}

// skipRaw skips the content of an element that is raw text and not visible.
func (q *quickReader) skipRaw(a atom.Atom) bool {
	name := []byte(a.String())
	for at := 0; ; {
		i := bytes.Index(q.rest[at:], []byte("</"))
		if i < 0 {
			// Without an end tag, the rest of the document is its content.
			if a == atom.Script && bytes.Contains(q.rest, []byte("<!--")) {
				return false
			}
			q.rest = nil
			return true
		}
		at += i
		behind := at + 2 + len(name)
		if behind < len(q.rest) && bytes.EqualFold(q.rest[at+2:behind], name) && (wording.IsSpace(q.rest[behind]) || q.rest[behind] == '>' || q.rest[behind] == '/') {
			if a == atom.Script && bytes.Contains(q.rest[:at], []byte("<!--")) {
				return false
			}
			q.rest = q.rest[at:]
			return true
		}
		at += 2
	}
}

func (q *quickReader) top() atom.Atom {
	if q.depth == 0 {
		return 0
	}
	return q.stack[q.depth-1]
}

// choosy reports whether the innermost open element accepts only certain children.
func (q *quickReader) choosy() bool { return q.depth > 0 && q.traits[q.depth-1]&choosy != 0 }

func (q *quickReader) readText(text []byte) bool {
	if blank(text) {
		if q.hidden == 0 {
			q.text.gap()
		}
		return true
	}
	if q.over {
		return false
	}
	top := q.top()
	if q.choosy() && Parents[top] != nil || top == atom.Head {
		return false
	}
	q.content = q.content || q.depth == 0 || q.traits[q.depth-1]&headOnly == 0
	switch {
	case q.hidden > 0:
	case bytes.IndexByte(text, '&') >= 0:
		writeText(&q.text, html.UnescapeString(string(text)))
	default:
		writeText(&q.text, text)
	}
	return true
}

// blank reports whether text is white space to the HTML parser, which accepts only these characters.
func blank(text []byte) bool {
	for _, c := range text {
		if !wording.IsSpace(c) {
			return false
		}
	}
	return true
}

// start opens an element, or skips one without content.
func (q *quickReader) start(a atom.Atom, t Trait, hide bool) bool {
	if q.hidden == 0 && t&block != 0 && !hide {
		q.text.gap()
	}
	if t&void != 0 {
		return true
	}
	if q.depth == quickDepth {
		return false
	}
	q.stack[q.depth], q.traits[q.depth] = a, t
	q.depth++
	if q.hidden == 0 && hide {
		q.hidden = q.depth
	}
	return true
}

// mayStand reports whether the parser would put the element exactly where its tag is.
func (q *quickReader) mayStand(a atom.Atom, t Trait) bool {
	top := q.top()
	outside := q.depth == 0 || q.depth == 1 && top == atom.Html // neither in head nor in body
	switch {
	case a == atom.Html:
		fresh := q.depth == 0 && !q.html && !q.head && !q.body && !q.content
		q.html = true
		return fresh
	case a == atom.Head:
		fresh := outside && !q.head && !q.body && !q.content
		q.head = true
		return fresh
	case a == atom.Body:
		fresh := outside && !q.body && !q.content
		q.body = true
		return fresh
	case t&headOnly != 0:
		if outside {
			q.head = true // the parser opens one for it
			return true
		}
		return !q.choosy()
	case t&plain == 0, top == atom.Head:
		return false
	}
	q.content = true
	if q.choosy() {
		return slices.Contains(Parents[top], a)
	}
	if t&placed != 0 {
		return false
	}
	if t&heading != 0 && q.depth > 0 && q.traits[q.depth-1]&heading != 0 {
		return false
	}
	if t&(closesP|oneAtOnce) == 0 {
		return true
	}
	for _, open := range q.stack[:q.depth] {
		if open == atom.P && t&closesP != 0 || open == a && t&oneAtOnce != 0 {
			return false
		}
	}
	if a == atom.Li || a == atom.Dd || a == atom.Dt {
		return q.itemMayStand(a)
	}
	return true
}

// itemMayStand checks, as the parser does, for an open item that a new one would end.
func (q *quickReader) itemMayStand(a atom.Atom) bool {
	for i := q.depth - 1; i >= 0; i-- {
		switch open := q.stack[i]; {
		case open == atom.Li && a == atom.Li, (open == atom.Dd || open == atom.Dt) && a != atom.Li:
			return false
		case open == atom.Ul, open == atom.Ol, open == atom.Menu, open == atom.Dl:
			return true
		}
	}
	return true
}

func (q *quickReader) end(a atom.Atom) bool {
	if q.depth == 0 || q.top() != a {
		return false
	}
	q.depth--
	t := q.traits[q.depth]
	q.over = q.over || a == atom.Body || a == atom.Html
	if q.hidden > 0 {
		if q.hidden > q.depth {
			q.hidden = 0
		}
		return true
	}
	if t&block != 0 {
		q.text.gap()
	}
	return true
}
