package web

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/form"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/parameter"
	"github.com/stepwatch/stepwatch/steps/redact"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// page is the current page of a scenario: the last response, and what was derived from it so far. Decoding, text and
// tree are computed when a step needs them.
type page struct {
	*httpwire.Reply
	url     *address.URL  // after redirects, with the fragment
	stopped *address.URL  // the target of a redirect that was not followed, or nil
	way     httpwire.Way  // how it was requested
	took    time.Duration // from the request to the end of the body, redirects and frames included
	webArrival

	declares contentType       // once read
	source   []byte            // the body in UTF-8, once decoded
	encoding encoding.Encoding // the encoding of the page, nil for UTF-8
	decoded  bool
	visible  []byte // its visible text, once read
	read     bool
	doc      *html.Node // its tree, once parsed; filling in a form changes it
	docErr   error
	changed  bool                      // the tree differs from the source
	files    map[*html.Node]string     // paths that were attached to file inputs
	typed    map[*html.Node]string     // the first values of text fields that were filled in
	owners   map[*html.Node]*html.Node // the form of each control, once needed
	live     *livePage                 // the tab that shows the page; nil over HTTP

	reading reading // until when and from which account it is read
	held    int64   // bytes taken from that account

	frames map[*html.Node]*page      // the documents in the page's frames, over HTTP, by their elements; doc of each is that element
	lost   map[*html.Node]*lostFrame // the frames without a readable document
	around *page                     // the page that contains this one's frame, or nil
	srcdoc bool                      // the document is in the srcdoc attribute of that element
}

// measure reports what is known about the page without reading its content.
func (p *page) measure(w *steps.World, redirects int) {
	w.Measure("http_status_code", "Status code of the last response.", float64(p.StatusCode))
	measureRedirects(w, redirects)
	w.Measure("http_content_length_bytes", "Length of the page's body as transferred.", float64(p.OnWire))
}

// accepted reports whether the status means success for a visitor.
func (p *page) accepted() bool { return p.StatusCode >= 200 && p.StatusCode < 400 }

// status returns code and phrase; the registered phrase when the server sent none, as in HTTP/2.
func (p *page) status() string {
	if phrase := http.StatusText(p.StatusCode); phrase != "" && strings.TrimSpace(p.Status) == fmt.Sprint(p.StatusCode) {
		return fmt.Sprintf("%d %s", p.StatusCode, phrase)
	}
	return p.Status
}

// String describes the page: address, status, and the redirect that it stopped at, if any.
func (p *page) String() string {
	if p.stopped != nil {
		return fmt.Sprintf("%s (%s, stopped at a redirect to %s)", p.url, p.status(), p.stopped)
	}
	return fmt.Sprintf("%s (%s)", p.url, p.status())
}

// attach keeps the page as evidence.
func (p *page) attach(w *steps.World) {
	var header bytes.Buffer
	fmt.Fprintf(&header, "%s %s\n%s %s\n", p.Request.Method, p.url, p.Proto, p.Status)
	for _, name := range slices.Sorted(maps.Keys(p.Header)) {
		for _, value := range p.Header[name] {
			if secretHeader(name) {
				value = steps.Hidden
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
			source = redact.PasswordFields(source)
		}
		w.Attach("page", kind, source)
	}
}

// secretHeader reports whether a header's value may contain credentials.
func secretHeader(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Cookie", "Set-Cookie", "Authorization", "Authentication-Info", "Proxy-Authorization":
		return true
	}
	return false
}

// mediaType returns the media type of the page. Of one that declares none, it is what a browser takes it for (the MIME
// Sniffing standard, section 7.1), and HTML when it is empty.
func (p *page) mediaType() string {
	if kind := p.contentType().kind; kind != "" {
		return kind
	}
	switch {
	case p.live != nil && p.live.request != nil && p.live.request.MediaType != "":
		return p.live.request.MediaType
	case p.live == nil && len(p.Content) > 0:
		kind, _, _ := strings.Cut(http.DetectContentType(p.Content), ";")
		return kind
	}
	return "text/html"
}

// contentType is what the Content-Type of a page says.
type contentType struct {
	read    bool
	kind    string // in lower case, "" when there is none
	charset string
}

// contentType reads the Content-Type once.
func (p *page) contentType() *contentType {
	if !p.declares.read {
		kind, charset := parameter.ContentType(p.Header["Content-Type"])
		p.declares = contentType{read: true, kind: kind, charset: strings.Trim(charset, "'")}
	}
	return &p.declares
}

// mediaType returns the media type of a header, without parameters and in lower case; empty when there is none.
func mediaType(h http.Header) string {
	kind, _ := parameter.MediaType(h.Values("Content-Type"))
	return kind
}

func (p *page) isHTML() bool {
	kind := p.mediaType()
	return kind == "text/html" || kind == "application/xhtml+xml"
}

func (p *page) isText() bool {
	kind := p.mediaType()
	return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "xml") || strings.HasSuffix(kind, "javascript")
}

// isPicture reports whether the page has no text to search.
func (p *page) isPicture() bool {
	kind, _, _ := strings.Cut(p.mediaType(), "/")
	return kind == "image" || kind == "video" || kind == "audio"
}

// shownType returns a media type for a message. The two names of one have at most 127 characters each (RFC 6838 section 4.2), but
// servers say what they like.
func shownType(kind string) string { return wording.OneLine(kind, 2*127+1) }

func (p *page) notLookedInto() string {
	return "it is " + shownType(p.mediaType()) + ", whose text cannot be read"
}

// text returns the page's source in UTF-8.
func (p *page) text() []byte {
	if p.decoded {
		return p.source
	}
	p.decoded, p.source = true, p.Content
	if p.live != nil {
		p.source = p.live.source(p.isHTML())
		return p.source
	}
	label := p.charset()
	if !p.isText() || plainASCII(p.Content) && !strings.Contains(strings.ToLower(label), "utf-16") {
		return p.source
	}
	if !p.isHTML() && label == "" {
		return p.source // the default for HTML (windows-1252) would be wrong for JSON, which is UTF-8 (RFC 8259 §8.1)
	}
	detected := p.declared()
	if detected == nil {
		p.source = bytes.TrimPrefix(p.Content, []byte("\ufeff"))
		return p.source
	}
	if decoded, err := detected.NewDecoder().Bytes(p.Content); err == nil {
		p.source, p.encoding = decoded, detected
		_ = p.hold(int64(len(decoded))) // what is read of it next fails if that is too much
	}
	return p.source
}

// plainASCII reports whether every encoding of a page, except UTF-16, decodes b in the same way. It excludes escape
// characters because ISO-2022-JP switches with them.
func plainASCII(b []byte) bool {
	if bytes.IndexByte(b, 0x1b) >= 0 {
		return false
	}
	for ; len(b) >= 8; b = b[8:] { // eight at once
		if binary.NativeEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// visibleText returns the text that a visitor sees; all of the source when the page is not HTML.
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
		p.visible, p.read = []byte(pagetree.Normal(string(p.text()))), true
		return p.visible, p.hold(int64(cap(p.visible)))
	}
	var text []byte
	quick := false
	if !p.changed {
		text, quick = pagetree.QuickText(p.text())
	}
	if !quick {
		doc, err := p.tree()
		if err != nil {
			return nil, err
		}
		text = pagetree.VisibleText(doc)
	}
	p.visible, p.read = text, true
	return text, p.hold(int64(cap(text)))
}

// shows looks for a text that a visitor may see. It returns the text of the page that contains it and the position there,
// or -1. In a browser the page has several texts: as it is drawn, for example in capitals; as it is written, with the
// shadow trees of its elements; and with what style sheets add. A text in one of them is visible.
func (p *page) shows(name []byte) (text []byte, at int, err error) {
	if text, err = p.visibleText(); err != nil {
		return nil, -1, err
	}
	at = bytes.Index(text, name)
	if p.live == nil || !p.isHTML() {
		return text, at, nil
	}
	drawn := at >= 0
	if drawn {
		if hides, err := p.live.hides(string(name)); err != nil || !hides {
			return text, at, err
		}
	}
	doc, err := p.tree()
	if err != nil {
		return nil, -1, err
	}
	written := pagetree.VisibleText(doc)
	if drawn { // unless this is out of sight; the page may draw it in capitals
		if containsFold(written, name) {
			return text, at, nil
		}
		text = written
	}
	if at = bytes.Index(written, name); at < 0 && p.live.generated {
		if all := pagetree.GeneratedText(doc); bytes.Contains(all, name) {
			return all, bytes.Index(all, name), nil
		}
	}
	if at >= 0 || len(text) == 0 || containsFold(text, name) && !containsFold(written, name) {
		text = written
	}
	return text, at, nil
}

// containsFold reports whether a text contains a name, ignoring case.
func containsFold(text, name []byte) bool {
	return bytes.Contains(bytes.ToLower(text), bytes.ToLower(name))
}

// forgetText discards the visible text after an action changed the tree.
func (p *page) forgetText() { p.visible, p.read, p.changed = nil, false, true }

// tree parses the page. Scripting counts as enabled, so noscript is not text.
func (p *page) tree() (*html.Node, error) {
	if p.doc != nil || p.docErr != nil {
		return p.doc, p.docErr
	}
	if !p.isHTML() {
		p.docErr = steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s is not HTML but %s", p, shownType(p.mediaType()))
		return nil, p.docErr
	}
	if p.live != nil {
		p.live.tab.LimitNodes(p.reading.nodes)
		if p.doc, p.docErr = p.live.tree(); p.docErr == nil {
			p.docErr = p.holdTree(p.doc)
		}
		p.lost = lostFrames(p.live.frames)
		return p.doc, p.docErr
	}
	doc, size, err := pagetree.Parse(p.reading.ctx, p.text(), p.reading.nodes)
	if err == nil {
		err = p.hold(size)
	}
	if err != nil {
		if err = p.reading.failure(err, fmt.Sprintf("read the HTML of %s", p)); p.reading.ctx.Err() == nil {
			p.docErr = err
		}
		return nil, err
	}
	p.doc = doc
	return doc, nil
}

// reading says what it may cost to read a page: until when, how many nodes, and whose memory it is.
type reading struct {
	ctx    context.Context // of the current step
	memory *limit.Memory   // of the run
	nodes  int64           // 0 for the default
}

// readingIn returns how a page is read in a step.
func readingIn(ctx context.Context, w *steps.World) reading {
	return reading{ctx, w.Memory(), steps.SettingsOf[steps.Limits](w.Target()).Nodes}
}

// failure returns the failure of reading a page.
func (r reading) failure(err error, act string) error {
	switch {
	case errors.As(err, new(*limit.Error)), errors.As(err, new(*limit.PoolError)):
		return steps.FailFor(result.BlameWeb, fmt.Errorf("%s: %w", act, err))
	case r.ctx.Err() != nil && !errors.Is(context.Cause(r.ctx), steps.ErrStopped):
		return steps.Fail(result.ReasonTimeout, result.BlameWeb, "%s: the deadline passed before all of it was read", act)
	}
	return steps.FailNet(r.ctx, err, result.BlameWeb, act)
}

// hold takes memory for what was made of the page.
func (p *page) hold(bytes int64) error {
	p.held += bytes
	return p.reading.memory.Take(bytes)
}

// holdTree takes memory for the snapshot of a browser.
func (p *page) holdTree(doc *html.Node) error {
	if err := p.hold(pagetree.Memory(doc)); err != nil {
		return p.reading.failure(err, fmt.Sprintf("read %s", p))
	}
	return nil
}

// release returns the memory of a page that is no longer the current one: of its body, of what was made of it, and of the
// pages in its frames.
func (p *page) release() {
	if p == nil {
		return
	}
	for _, f := range p.frames {
		f.release()
	}
	p.Reply.Release() //nolint:staticcheck // p.Release and p.release would be mistaken for each other
	p.reading.memory.Free(p.held)
	p.held = 0
}

// base returns the address that relative addresses on the page refer to: the page's own unless a base element sets another
// (HTML §4.2.3).
func (p *page) base() *address.URL {
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
	for n := range pagetree.Nodes(doc) {
		if n.DataAtom != atom.Base || n.Namespace != "" {
			continue
		}
		if href, found := pagetree.Attribute(n, "href"); found {
			if base, err := fallback.Join(href, nil); err == nil && base.Scheme != "data" && base.Scheme != "javascript" {
				return base
			}
			return fallback
		}
	}
	return fallback
}

// coding returns the encoding in which the page sends queries and forms, nil for UTF-8.
func (p *page) coding() encoding.Encoding {
	if !p.isHTML() {
		return nil
	}
	if p.live != nil {
		name, err := p.live.tab.Encoding(p.live.ctx)
		if err != nil {
			return nil // the page is gone, and what it sent
		}
		coding, _ := htmlindex.Get(name)
		return form.Output(coding)
	}
	p.text()
	if p.encoding == nil && p.mediaType() == "text/html" && plainASCII(p.Content) {
		p.encoding = p.declared() // the text is the same in every encoding, and what the page sends is not
	}
	return form.Output(p.encoding)
}

// charset returns the name of the encoding in the Content-Type, empty without one.
func (p *page) charset() string {
	return p.contentType().charset
}

// declared returns the encoding that the page declares or seems to have, nil for UTF-8.
func (p *page) declared() encoding.Encoding {
	_, name, _ := charset.DetermineEncoding(p.Content, mime.FormatMediaType("text/html", map[string]string{"charset": p.charset()}))
	coding, err := htmlindex.Get(name) // that of package charset hides its name
	if err != nil || name == "utf-8" {
		return nil
	}
	return coding
}
