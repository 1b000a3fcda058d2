package crawl

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/idna"
)

// Page is the part of a page that a crawl needs.
type Page struct {
	URL   *url.URL // after redirects
	Links []Link   // in document order

	places map[string]bool // fragments that exist on the page
}

// Link is one reference of a page.
type Link struct {
	URL      *url.URL // without the fragment; nil when it is not a URL
	Fragment string   // decoded; empty when there is none, or one for a script
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

// longestAddress is the maximum length of a URL (RFC 9110 §4.1 recommends at least 8000 octets).
const longestAddress = 16 << 10

// NewPage extracts what a crawl needs from a document. base is the base URL of relative addresses.
//
// The addresses of forms are checked but never requested, since that would submit the form. Alternatives (srcset) and
// references in style sheets and scripts are ignored.
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
			return // the document of a frame is a separate page with its own address
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
func (p *Page) add(kind Kind, written string, base *url.URL) {
	// As in browsers (WHATWG URL §4.1), white space around an address and line breaks in it are ignored.
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
	if host, err := idna.Lookup.ToASCII(u.Hostname()); err == nil && host != u.Hostname() { // RFC 5891, as required by DNS and TLS
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

// place returns the place on a page that a fragment names. The start of a page always exists (HTML §7.4.6.4), and
// fragments for scripts ("#/route", "#!route") or text searches (":~:text=") name no place.
// script reads ("#/route", "#!route") or a browser searches (":~:text=") names none.
func place(fragment string) string {
	fragment, _, _ = strings.Cut(fragment, ":~:")
	if strings.EqualFold(fragment, "top") || strings.HasPrefix(fragment, "/") || strings.HasPrefix(fragment, "!") {
		return ""
	}
	return fragment
}
