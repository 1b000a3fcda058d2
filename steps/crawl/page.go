package crawl

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/idna"
)

// Page is what a crawl keeps of a page that was read.
type Page struct {
	URL   *url.URL // after redirects
	Links []Link   // in the order of the document

	places map[string]bool // what a fragment can name
}

// Link is one reference of a page.
type Link struct {
	URL      *url.URL // without the fragment; nil when it is none
	Fragment string   // decoded; empty when it names no place, or one that a script makes
	Kind     Kind
	Shown    string // as the page writes it, for a person
	Fault    error  // what is wrong with it whatever it leads to: ErrAddress, ErrMixed
}

// Kind is what a page has a reference for, in a word that takes "a" or "an".
type Kind string

// The kinds. A visitor goes to links; a frame is a page too; what the rest refer to is part of the page.
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

// page says whether there may be a page behind a reference of this kind.
func (k Kind) page() bool { return k == KindLink || k == KindFrame }

// A text or URL in a document that is longer than this is nobody's address (RFC 9110 §4.1 asks for 8000 octets).
const longestAddress = 16 << 10

// NewPage takes what a crawl needs out of a document. base is what relative addresses refer to.
//
// The forms' addresses are looked at and never asked for, since that would send them. Alternatives (srcset) and what style
// sheets and scripts refer to are not looked at.
func NewPage(address, base *url.URL, doc *html.Node) *Page {
	p := &Page{URL: withoutFragment(address), places: map[string]bool{}}
	p.read(doc, base)
	return p
}

func withoutFragment(u *url.URL) *url.URL {
	bare := *u
	bare.Fragment, bare.RawFragment = "", ""
	return &bare
}

func (p *Page) read(n *html.Node, base *url.URL) {
	if n.Type == html.ElementNode {
		p.element(n, base)
		if n.DataAtom == atom.Iframe || n.DataAtom == atom.Frame || n.DataAtom == atom.Template {
			return // a frame's document is a page of its own, with an address of its own
		}
	}
	for c := range n.ChildNodes() {
		p.read(c, base)
	}
}

func (p *Page) element(n *html.Node, base *url.URL) {
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
			p.add(kind, value, base)
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

// kindOfRel gives the kind of a link element, and nothing for those that no visitor's program loads.
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

// add notes a reference. One that is not for the web is none.
func (p *Page) add(kind Kind, written string, base *url.URL) {
	// As browsers do (WHATWG URL §4.1): white space around an address and line breaks in it do not count.
	address := strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, strings.Trim(written, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f "))
	if scheme, _, found := strings.Cut(address, ":"); found && isScheme(scheme) {
		if s := strings.ToLower(scheme); s != "http" && s != "https" {
			return
		}
	}
	if address == "" && kind != KindLink && kind != KindForm {
		return // browsers load nothing for an empty src
	}
	link := Link{Kind: kind, Shown: address}
	if len(address) > longestAddress {
		link.Shown, link.Fault = address[:100]+"…", ErrAddress
		p.Links = append(p.Links, link)
		return
	}
	u, err := base.Parse(strings.ReplaceAll(address, `\`, "/"))
	if err != nil || u.Hostname() == "" {
		link.Fault = ErrAddress
		p.Links = append(p.Links, link)
		return
	}
	if u.Path == "" {
		u.Path = "/"
	}
	u.Host = strings.ToLower(u.Host)
	if host, err := idna.Lookup.ToASCII(u.Hostname()); err == nil && host != u.Hostname() { // RFC 5891, as DNS and TLS want it
		u.Host = strings.Replace(u.Host, u.Hostname(), host, 1)
	}
	link.Fragment = place(u.Fragment)
	link.URL = withoutFragment(u)
	link.Shown = link.URL.Redacted()
	switch {
	case p.URL.Scheme == "https" && u.Scheme == "http" && kind != KindLink:
		link.Fault = ErrMixed
	case kind == KindForm:
		return
	}
	p.Links = append(p.Links, link)
}

func isScheme(s string) bool {
	for i, r := range strings.ToLower(s) {
		if (r < 'a' || r > 'z') && (i == 0 || (r < '0' || r > '9') && r != '+' && r != '-' && r != '.') {
			return false
		}
	}
	return s != ""
}

// place gives the place on a page that a fragment names. The page's beginning is always there (HTML §7.4.6.4), and what a
// script reads ("#/route", "#!route") or a browser searches (":~:text=") names none.
func place(fragment string) string {
	fragment, _, _ = strings.Cut(fragment, ":~:")
	if strings.EqualFold(fragment, "top") || strings.HasPrefix(fragment, "/") || strings.HasPrefix(fragment, "!") {
		return ""
	}
	return fragment
}
