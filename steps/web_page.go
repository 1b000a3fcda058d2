package steps

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"

	"github.com/stepwatch/stepwatch/agent/result"
)

// page is the current page of a scenario: the last answer, and what was made of it so far. Decoding, text and tree wait
// until a step asks for them.
type page struct {
	*reply
	url     *url.URL      // after redirects, with the fragment
	stopped *url.URL      // where a redirect points that was not followed, or nil
	way     httpWay       // that it was asked for
	took    time.Duration // from the request to the body's end, redirects and frames included
	webArrival

	source   []byte            // the body in UTF-8, once decoded
	encoding encoding.Encoding // the page's own, nil for UTF-8
	decoded  bool
	visible  []byte // its visible text, once read
	read     bool
	doc      *html.Node // its tree, once parsed; filling in a form changes it
	docErr   error
	changed  bool                      // the tree shows something else than the source
	files    map[*html.Node]string     // paths that were attached to file inputs
	owners   map[*html.Node]*html.Node // the form of each control, once one was asked for
	live     *livePage                 // the tab that shows the page; nil over HTTP

	frames map[*html.Node]*page      // the documents in the page's frames, over HTTP, by the elements that hold them; doc of each is that element
	lost   map[*html.Node]*lostFrame // the frames whose documents are not there
	around *page                     // the page with the element of this one's frame, or nil
	srcdoc bool                      // the document is written in that element
}

// measure reports what is known of the page without looking into it.
func (p *page) measure(w *World, redirects int) {
	w.Measure("http_status_code", "Status code of the last answer.", float64(p.StatusCode))
	w.Measure("http_redirects", "Redirects that were followed to the page.", float64(redirects))
	w.Measure("http_content_length_bytes", "Length of the page's body as transferred.", float64(p.onWire))
}

// accepted says whether a visitor would take the status for a page that works.
func (p *page) accepted() bool { return p.StatusCode >= 200 && p.StatusCode < 400 }

// status is code and phrase, the phrase the registered one when the server sent none, as in HTTP/2.
func (p *page) status() string {
	if phrase := http.StatusText(p.StatusCode); phrase != "" && strings.TrimSpace(p.Status) == fmt.Sprint(p.StatusCode) {
		return fmt.Sprintf("%d %s", p.StatusCode, phrase)
	}
	return p.Status
}

// String says which page it is: address, status, and whether a redirect ended there.
func (p *page) String() string {
	if p.stopped != nil {
		return fmt.Sprintf("%s (%s, stopped at a redirect to %s)", shownURL(p.url), p.status(), shownURL(p.stopped))
	}
	return fmt.Sprintf("%s (%s)", shownURL(p.url), p.status())
}

// attach keeps the page as evidence.
func (p *page) attach(w *World) {
	var header bytes.Buffer
	fmt.Fprintf(&header, "%s %s\n%s %s\n", p.Request.Method, shownURL(p.url), p.Proto, p.Status)
	for _, name := range slices.Sorted(maps.Keys(p.Header)) {
		for _, value := range p.Header[name] {
			if secretHeader(name) {
				value = hidden
			}
			fmt.Fprintf(&header, "%s: %s\n", name, value)
		}
	}
	w.Attach("response header", "text/plain; charset=utf-8", header.Bytes())
	if source := p.text(); len(source) > 0 {
		kind, _, _ := strings.Cut(p.mediaType(), ";")
		if p.isText() {
			kind += "; charset=utf-8"
		}
		if p.isHTML() {
			source = hidePasswords(source)
		}
		w.Attach("page", kind, source)
	}
}

// secretHeader says whether a header's value may log its reader in.
func secretHeader(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Cookie", "Set-Cookie", "Authorization", "Authentication-Info", "Proxy-Authorization":
		return true
	}
	return false
}

// mediaType is the type alone, in lower case; a page that says none is taken for HTML.
func (p *page) mediaType() string { return cmp.Or(mediaType(p.Header), "text/html") }

// mediaType is the type of what a header is of, without parameters and in lower case; empty when it says none.
func mediaType(h http.Header) string {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

func (p *page) isHTML() bool {
	kind := p.mediaType()
	return kind == "text/html" || kind == "application/xhtml+xml"
}

func (p *page) isText() bool {
	kind := p.mediaType()
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "xml") || strings.HasSuffix(kind, "javascript")
}

// isPicture says whether the page has no text that could be looked for.
func (p *page) isPicture() bool {
	kind, _, _ := strings.Cut(p.mediaType(), "/")
	return kind == "image" || kind == "video" || kind == "audio"
}

func (p *page) notLookedInto() string { return "it is " + p.mediaType() + ", which is not looked into" }

// text gives the page's source in UTF-8.
func (p *page) text() []byte {
	if p.decoded {
		return p.source
	}
	p.decoded, p.source = true, p.body
	if p.live != nil {
		p.source = p.live.source(p.isHTML())
		return p.source
	}
	contentType := p.Header.Get("Content-Type")
	if !p.isText() || plainASCII(p.body) && !strings.Contains(strings.ToLower(contentType), "utf-16") {
		return p.source
	}
	if _, params, err := mime.ParseMediaType(contentType); err == nil && !p.isHTML() && params["charset"] == "" {
		return p.source // the guess for HTML (windows-1252) would be wrong for JSON, which is UTF-8 (RFC 8259 §8.1)
	}
	detected, name, _ := charset.DetermineEncoding(p.body, contentType)
	if name == "utf-8" {
		p.source = bytes.TrimPrefix(p.body, []byte("\ufeff"))
		return p.source
	}
	if decoded, err := detected.NewDecoder().Bytes(p.body); err == nil {
		p.source, p.encoding = decoded, detected
	}
	return p.source
}

// plainASCII says whether every encoding that a page can have, but UTF-16, reads the bytes alike. ISO-2022-JP, which
// switches by escape characters, is why those are excluded.
func plainASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 || c == 0x1b {
			return false
		}
	}
	return true
}

// visibleText is what a reader sees; of a page that is no HTML it is all there is.
func (p *page) visibleText() ([]byte, error) {
	if p.read {
		return p.visible, nil
	}
	if p.live != nil && p.isHTML() {
		text, err := p.live.visibleText()
		p.visible, p.read = text, err == nil
		return text, err
	}
	if !p.isHTML() {
		p.visible, p.read = []byte(normalText(string(p.text()))), true
		return p.visible, nil
	}
	var text []byte
	quick := false
	if !p.changed {
		text, quick = quickText(p.text())
	}
	if !quick {
		doc, err := p.tree()
		if err != nil {
			return nil, err
		}
		text = visibleText(doc)
	}
	p.visible, p.read = text, true
	return text, nil
}

// forgetText has the visible text be read again, from the tree, which an action changed.
func (p *page) forgetText() { p.visible, p.read, p.changed = nil, false, true }

// tree parses the page. Scripting counts as enabled, so that noscript is no text.
func (p *page) tree() (*html.Node, error) {
	if p.doc != nil || p.docErr != nil {
		return p.doc, p.docErr
	}
	if !p.isHTML() {
		p.docErr = Fail(result.ReasonUnexpected, result.BlameWeb, "%s is no HTML but %s", p, p.mediaType())
		return nil, p.docErr
	}
	if p.live != nil {
		p.doc, p.docErr = p.live.tree()
		p.lost = lostFrames(p.live.frames)
		return p.doc, p.docErr
	}
	doc, err := html.ParseWithOptions(bytes.NewReader(p.text()), html.ParseOptionEnableScripting(true))
	if err != nil {
		p.docErr = Fail(result.ReasonProtocol, result.BlameWeb, "read the HTML of %s: %w", p, err)
		return nil, p.docErr
	}
	p.doc = doc
	return doc, nil
}

// base is the URL that relative ones on the page refer to: its own unless a base element says otherwise.
func (p *page) base() *url.URL {
	fallback := p.url
	if p.srcdoc {
		fallback = p.around.base() // HTML §2.4.3
	}
	if !p.isHTML() || !bytes.Contains(p.text(), []byte("<base")) && !bytes.Contains(p.text(), []byte("<BASE")) {
		return fallback
	}
	doc, err := p.tree()
	if err != nil {
		return fallback
	}
	for n := range own(doc) {
		if n.DataAtom != atom.Base {
			continue
		}
		if href, found := attribute(n, "href"); found {
			if base, err := fallback.Parse(strings.TrimSpace(href)); err == nil {
				return base
			}
			return fallback
		}
	}
	return fallback
}
