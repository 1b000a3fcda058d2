package crawl

import (
	"fmt"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/text/encoding"

	"github.com/stepwatch/stepwatch/steps/address"
)

// Page is the part of a page that a crawl needs.
type Page struct {
	URL   *address.URL // after redirects
	Links []Link       // in document order

	places map[string]bool // fragments that exist on the page
	base   *address.URL
	coded  encoding.Encoding
}

// Link is one reference of a page.
type Link struct {
	URL      *address.URL // without the fragment; nil when it is not an address
	Fragment string       // decoded; empty when there is none, or one for a script
	Kind     Kind
	Shown    string // as in the page, for messages
	Fault    error  // a fault that does not depend on its target: ErrAddress, ErrMixed
}

// Kind is the purpose of a reference, as a word for use with "a" or "an".
type Kind string

// The kinds. A visitor follows links; a frame is also a page; the targets of the others are parts of the page.
const (
	KindLink   Kind = "link"
	KindFrame  Kind = "frame"
	KindImage  Kind = "image"
	KindScript Kind = "script"
	KindStyle  Kind = "style sheet"
	KindIcon   Kind = "icon"
	KindMedia  Kind = "media file"
	KindOther  Kind = "resource"
	KindForm   Kind = "form"
)

// page reports whether a reference of this kind may lead to a page.
func (k Kind) page() bool { return k == KindLink || k == KindFrame }

// NewPage extracts what a crawl needs from a document. base is the base URL of relative addresses, coded the document's encoding,
// nil for UTF-8.
//
// The addresses of forms are checked but never requested, since that would submit the form. Alternatives (srcset) and
// references in style sheets and scripts are ignored.
func NewPage(at, base *address.URL, doc *html.Node, coded encoding.Encoding) *Page {
	p := &Page{URL: at.WithoutFragment(), places: map[string]bool{}, base: base, coded: coded}
	p.read(doc)
	return p
}

func (p *Page) read(n *html.Node) {
	if n.Type == html.ElementNode {
		p.element(n)
		if n.DataAtom == atom.Iframe || n.DataAtom == atom.Frame || n.DataAtom == atom.Template {
			return // the document of a frame is a separate page with its own address
		}
	}
	for c := range n.ChildNodes() {
		p.read(c)
	}
}

func (p *Page) element(n *html.Node) {
	attributes := make(map[string]string, len(n.Attr))
	for _, a := range n.Attr {
		if a.Namespace == "" {
			attributes[a.Key] = a.Val
		}
	}
	if id := attributes["id"]; id != "" {
		p.places[id] = true
	}
	take := func(kind Kind, attribute string) {
		if value, found := attributes[attribute]; found {
			p.add(kind, value)
		}
	}
	switch n.DataAtom {
	case atom.A, atom.Area:
		if name := attributes["name"]; name != "" {
			p.places[name] = true
		}
		take(KindLink, "href")
	case atom.Iframe, atom.Frame:
		take(KindFrame, "src")
	case atom.Img:
		take(KindImage, "src")
	case atom.Input:
		if strings.EqualFold(attributes["type"], "image") {
			take(KindImage, "src")
		}
	case atom.Script:
		take(KindScript, "src")
	case atom.Link:
		if kind := kindOfRel(attributes["rel"]); kind != "" {
			take(kind, "href")
		}
	case atom.Video:
		take(KindMedia, "src")
		take(KindImage, "poster")
	case atom.Audio, atom.Source, atom.Track, atom.Embed:
		take(KindMedia, "src")
	case atom.Object:
		take(KindOther, "data")
	case atom.Form:
		take(KindForm, "action")
	}
}

// kindOfRel returns the kind of a link element, or "" for those that browsers do not load.
func kindOfRel(rel string) Kind {
	for word := range strings.FieldsSeq(strings.ToLower(rel)) {
		switch word {
		case "stylesheet":
			return KindStyle
		case "icon", "apple-touch-icon", "mask-icon":
			return KindIcon
		case "manifest", "preload", "modulepreload":
			return KindOther
		}
	}
	return ""
}

// add records a reference. It ignores those that do not use http or https.
func (p *Page) add(kind Kind, written string) {
	written = strings.TrimSpace(written)
	if written == "" && kind != KindLink && kind != KindForm {
		return // browsers load nothing for an empty src
	}
	to, err := p.base.Join(written, p.coded)
	switch {
	case err != nil && address.SchemeOf(written) != "" && !strings.HasPrefix(address.SchemeOf(written), "http"):
		return
	case err != nil:
		p.Links = append(p.Links, Link{Kind: kind, Shown: shortened(written), Fault: fmt.Errorf("%w: %w", ErrAddress, err)})
		return
	case !to.IsWeb():
		return
	}
	link := Link{Kind: kind, URL: to.WithoutFragment(), Fragment: place(strings.ToValidUTF8(address.Decode(strings.TrimPrefix(to.Fragment, "#")), "\ufffd"))}
	link.Shown = link.URL.String()
	switch {
	case p.URL.Scheme == "https" && to.Scheme == "http" && kind != KindLink:
		link.Fault = ErrMixed
	case kind == KindForm:
		return
	}
	p.Links = append(p.Links, link)
}

// shortened returns what is not an address for a message.
func shortened(written string) string {
	const most = 100
	written = strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, written)
	if len(written) > most {
		written = strings.ToValidUTF8(written[:most], "") + "…"
	}
	return address.Shown(written)
}

// place returns the place on a page that a fragment names. The start of a page always exists (HTML §7.4.6.4), and
// fragments for scripts ("#/route", "#!route") or text searches (":~:text=") name no place.
func place(fragment string) string {
	fragment, _, _ = strings.Cut(fragment, ":~:")
	if strings.EqualFold(fragment, "top") || strings.HasPrefix(fragment, "/") || strings.HasPrefix(fragment, "!") {
		return ""
	}
	return fragment
}
