package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/framing"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The frames of a page, over HTTP alone. The step that loads a page also loads their documents, like a browser, because
// a visitor sees them as parts of the page. Hidden frames are skipped; many of them only count visitors.

// The limits for the frames of one page. The body limit of the page also applies to all its frames together.
const (
	mostFrames = 20 // including nested ones
	frameDepth = 4
	frameTime  = 10 * time.Second // for all of them
)

// at returns the document that a node of the page belongs to, as a page.
func (p *page) at(n *html.Node) *page {
	if f := p.frames[pagetree.Document(n)]; f != nil {
		return f
	}
	return p
}

// pagesAround returns the addresses of the pages that contain this one as a frame, the innermost first.
func (p *page) pagesAround() []*address.URL {
	var pages []*address.URL
	for p = p.around; p != nil; p = p.around {
		pages = append(pages, p.url)
	}
	return pages
}

// namesFrames is a cheap test whether a source may contain frames.
func namesFrames(source []byte) bool {
	for {
		at := bytes.IndexByte(source, '<')
		if at < 0 {
			return false
		}
		source = source[at+1:]
		name := source
		if len(name) > 0 && name[0]|0x20 == 'i' {
			name = name[1:]
		}
		if len(name) >= len("frame") && name[0]|0x20 == 'f' && bytes.EqualFold(name[:len("frame")], []byte("frame")) {
			return true
		}
	}
}

// loadFrames puts the documents of the current page's frames into the page. A frame that cannot be loaded does not fail
// the step. It is reported, and later steps know that its content is unknown.
func (s *httpSession) loadFrames(ctx context.Context, w *steps.World) {
	if !s.page.isHTML() || s.bare || steps.SettingsOf[httpwire.Web](w.Target()).CucumberNagios || !namesFrames(s.page.text()) {
		return
	}
	if _, err := s.page.tree(); err != nil {
		return // the step that needs the tree reports the error
	}
	s.embed(ctx, w, s.page)
	s.page.took = time.Since(s.page.begun)
}

// embed loads the frames of a document of the current page and reports them.
func (s *httpSession) embed(ctx context.Context, w *steps.World, p *page) {
	if s.page.frames == nil {
		s.page.frames, s.page.lost = map[*html.Node]*page{}, map[*html.Node]*lostFrame{}
	}
	loading, cancel := patience(ctx, frameTime)
	defer cancel()
	// The phases are only those of the page's own document, as in a browser.
	e := &embedding{s: s, top: s.page, w: w.Apart(), left: httpwire.BodyLimit(w).Most}
	start := time.Now()
	for around := p.around; around != nil; around = around.around {
		e.depth++
	}
	e.into(loading, p)
	if e.met == 0 {
		return
	}
	s.page.owners = nil
	s.page.forgetText()
	w.Phase("frames", time.Since(start), "")
	w.Measure("http_frames", "Visible frames of the page, including nested ones.", float64(e.met))
	w.Measure("http_frames_failed", "Visible frames of the page that could not be loaded.", float64(len(e.lost)))
	if len(e.lost) > 0 {
		w.Note("the frame " + theFirst(e.lost, 3))
	}
}

// embedding is the loading of the frames of a page.
type embedding struct {
	s     *httpSession
	top   *page
	w     *steps.World
	left  int64 // bytes that may still be read
	depth int
	met   int
	lost  []string
}

// into loads the frames of one document, and their frames.
func (e *embedding) into(ctx context.Context, p *page) {
	var frames []*html.Node
	for n := range pagetree.Nodes(p.doc) {
		if pagetree.IsFrame(n) && e.top.frames[n] == nil && e.top.lost[n] == nil && frameShown(n) {
			frames = append(frames, n)
		}
	}
	e.depth++
	for _, n := range frames {
		if f := e.load(ctx, p, n); f != nil {
			e.into(ctx, f)
		}
	}
	e.depth--
}

// frameShown reports whether a frame is visible on the page, as far as the HTML determines it.
func frameShown(n *html.Node) bool {
	width, _ := pagetree.Attribute(n, "width")
	height, _ := pagetree.Attribute(n, "height")
	return width != "0" && height != "0" && !pagetree.IsHidden(n)
}

// load loads the document of one frame of p, or records why it cannot. It returns the document, or nil.
func (e *embedding) load(ctx context.Context, p *page, n *html.Node) *page {
	v, source, err := frameSource(p, n)
	lost := &lostFrame{name: "in <" + n.Data + ">", reason: result.ReasonUnexpected, blame: result.BlameWeb}
	if v != nil {
		lost.name = v.url.String()
	}
	e.met++
	var f *page
	switch {
	case err != nil:
		lost.why = err.Error()
	case v == nil && source == nil:
		e.met--
		return nil // blank
	case e.met > mostFrames:
		lost.why, lost.reason, lost.blame = fmt.Sprintf("the page has more than the limit of %d frames; %s", mostFrames, needsBrowser), result.ReasonScenario, result.BlameScenario
	case e.depth > frameDepth:
		lost.why, lost.reason, lost.blame = fmt.Sprintf("it is more than %d frames deep in the page; %s", frameDepth, needsBrowser), result.ReasonScenario, result.BlameScenario
	case source != nil:
		if f, err = writtenPage(p, source); err != nil {
			lost.unreadable(err)
		}
	default:
		f = e.fetch(ctx, p, v, lost)
	}
	if f != nil {
		e.top.put(n, f)
	}
	if lost.why != "" {
		e.top.lost[n] = lost
		e.lost = append(e.lost, lost.String())
	}
	return f
}

// fetch loads a document by its address. It records in lost why a visitor does not see the document as intended.
func (e *embedding) fetch(ctx context.Context, p *page, v *visit, lost *lostFrame) *page {
	if p.url.Scheme == "https" && v.url.Scheme == "http" {
		lost.why = "a browser does not load an http frame on an https page"
		return nil
	}
	if field := framing.Forbidden(p.Header, p.url, v.url); field != "" {
		lost.why = "a browser does not show it in this frame, because the page has " + field
		return nil
	}
	limited, settings := *e.w.Target(), steps.SettingsOf[httpwire.Web](e.w.Target())
	settings.BodyLimit = max(1, e.left)
	e.w.Retarget(limited.Set(settings))
	f, err := e.s.arrive(ctx, e.w, v)
	e.w.TakeReport()
	if f != nil {
		e.left -= int64(len(f.Content))
	}
	over := (*limit.Error)(nil)
	if f != nil && errors.As(f.Broken, &over) {
		lost.why, lost.reason = over.Error(), result.ReasonTooLarge
		if over.Limit.Setting == httpwire.BodyLimit(e.w).Setting {
			lost.why = "it makes the frames larger than the limit; raise web.body_limit in stepwatch.yml"
		}
		f.release()
		return nil
	}
	shown := embeddable(p, f, err, lost)
	if shown == nil {
		f.release()
	}
	return shown
}

// embeddable returns the document in the response for a frame of p, if a browser would show it. It records in lost why
// a visitor does not see it as intended.
func embeddable(p, f *page, err error, lost *lostFrame) *page {
	if failure := (*steps.Failure)(nil); errors.As(err, &failure) {
		lost.why, lost.reason, lost.blame = failure.Error(), failure.Reason, failure.Blame
		if net := (*steps.NetFailure)(nil); errors.As(err, &net) {
			lost.why = net.Detail
		}
	} else if err != nil {
		lost.why = err.Error()
	}
	if err != nil || f == nil {
		return nil
	}
	f.around = p
	if field := framing.Refused(f.Header, f.url, f.pagesAround()); field != "" {
		lost.why = "a browser does not show it in this frame, because it has " + field
		return nil
	}
	if !f.accepted() {
		lost.why, lost.reason = "status "+f.status(), result.ReasonHTTPStatus
	}
	switch {
	case f.isHTML():
		if _, err := f.tree(); err != nil {
			lost.unreadable(err)
			return nil
		}
	case f.isText():
		f.doc = plainDocument(string(f.text()))
	case f.isPicture():
		f.doc = plainDocument("")
	default:
		lost.why = f.notLookedInto()
		return nil
	}
	return f
}

// frameSource returns what a frame of p shows: the page of a visit, the text of srcdoc, or nothing.
func frameSource(p *page, n *html.Node) (v *visit, source []byte, err error) {
	if written, found := pagetree.Attribute(n, "srcdoc"); found && n.DataAtom == atom.Iframe {
		return nil, []byte(written), nil
	}
	src, _ := pagetree.Attribute(n, "src")
	if src = strings.TrimSpace(src); src == "" {
		return nil, nil, nil
	}
	to, err := p.base().Join(src, p.coding())
	if err != nil {
		return nil, nil, fmt.Errorf("its src %s is not an address: %w", wording.Quote(address.Shown(src)), err)
	}
	switch to.Scheme {
	case "about", "javascript":
		return nil, nil, nil
	case "http", "https":
	default:
		return nil, nil, fmt.Errorf("its src is a %s: address, which cannot be read", to.Scheme)
	}
	within := 0
	for around := p; around != nil; around = around.around {
		if !around.srcdoc && around.url.WithoutFragment().String() == to.WithoutFragment().String() {
			within++
		}
	}
	if within > 1 {
		return nil, nil, nil // browsers stop when a page contains itself as a frame
	}
	return &visit{method: http.MethodGet, url: to, referrer: p.url, around: append(p.pagesAround(), p.url), anySite: true, way: p.wayTo(to)}, nil, nil
}

// wayTo returns how to request a frame of p: like the outermost page, for a frame from the same server.
func (p *page) wayTo(u *address.URL) httpwire.Way {
	for p.around != nil {
		p = p.around
	}
	way := p.way
	switch {
	case u.Hostname() != p.url.Hostname():
		return httpwire.Way{}
	case u.HostPort() != p.url.HostPort():
		way.Version = ""
	}
	return way
}

// writtenPage returns the document in an attribute of a frame of p. It has the address and the policy of p.
func writtenPage(p *page, source []byte) (*page, error) {
	header := p.Header.Clone()
	header.Set("Content-Type", "text/html; charset=utf-8")
	f := &page{url: p.url, around: p, srcdoc: true, reading: p.reading, Reply: &httpwire.Reply{Content: source,
		Response: &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Header: header, Request: p.Request}}}
	if _, err := f.tree(); err != nil {
		return nil, err
	}
	return f, nil
}

// plainDocument returns the document that a browser creates for a file that is not HTML.
func plainDocument(text string) *html.Node {
	doc := &html.Node{Type: html.DocumentNode}
	n := doc
	for _, a := range []atom.Atom{atom.Html, atom.Body, atom.Pre} {
		child := &html.Node{Type: html.ElementNode, DataAtom: a, Data: a.String()}
		n.AppendChild(child)
		n = child
	}
	n.AppendChild(&html.Node{Type: html.TextNode, Data: text})
	return doc
}

// put puts a document into the element of its frame.
func (p *page) put(n *html.Node, f *page) {
	p.clear(n)
	if root := firstElement(f.doc); root != nil {
		root.Parent.RemoveChild(root)
		n.AppendChild(root)
	}
	f.doc = n
	p.frames[n] = f
}

// clear empties a frame.
func (p *page) clear(n *html.Node) {
	for inner := range n.Descendants() {
		delete(p.frames, inner)
		delete(p.lost, inner)
	}
	delete(p.frames, n)
	delete(p.lost, n)
	for n.FirstChild != nil {
		n.RemoveChild(n.FirstChild)
	}
	p.owners = nil
	p.forgetText()
}

func firstElement(doc *html.Node) *html.Node {
	for c := range doc.ChildNodes() {
		if c.Type == html.ElementNode {
			return c
		}
	}
	return nil
}

// navigate loads the target of a link or a form in the document from: into the frame that target names, or in place of
// the whole page. The latter also applies where a browser would open a window.
func (s *httpSession) navigate(ctx context.Context, w *steps.World, from *page, target string, v visit) error {
	n := s.page.frameNamed(from, target)
	if n == nil {
		return s.load(ctx, w, v)
	}
	before := s.page.frames[n]
	err := s.loadInto(ctx, w, n, v)
	s.visits = append(s.visits, visit{frame: n, before: before})
	return err
}

// frameNamed returns the element of the frame that a target of the document from means (HTML §7.3.2.2), or nil for the
// page.
func (p *page) frameNamed(from *page, target string) *html.Node {
	if target == "" {
		for n := range pagetree.Nodes(from.doc) {
			if value, found := pagetree.Attribute(n, "target"); found && n.DataAtom == atom.Base {
				target = value
				break
			}
		}
	}
	element := func(f *page) *html.Node {
		if f == nil || f.around == nil {
			return nil
		}
		return f.doc
	}
	switch strings.ToLower(target) {
	case "", "_self":
		return element(from)
	case "_parent":
		return element(from.around)
	case "_top", "_blank":
		return nil
	}
	for n := range p.doc.Descendants() {
		if name, _ := pagetree.Attribute(n, "name"); pagetree.IsFrame(n) && name == target {
			return n
		}
	}
	return nil
}

// loadInto loads a page into a frame, with its frames, and judges it as load judges a whole page.
func (s *httpSession) loadInto(ctx context.Context, w *steps.World, n *html.Node, v visit) error {
	around := s.page.at(n)
	if s.page.frames == nil {
		s.page.frames, s.page.lost = map[*html.Node]*page{}, map[*html.Node]*lostFrame{}
	}
	lost := &lostFrame{name: v.url.String(), reason: result.ReasonUnexpected, blame: result.BlameWeb}
	v.anySite, v.around = true, append(around.pagesAround(), around.url)
	f, err := s.arrive(ctx, w, &v)
	s.page.clear(n)
	if f = embeddable(around, f, err, lost); f != nil {
		s.page.put(n, f)
		s.embed(ctx, w, f)
	}
	if lost.why != "" {
		s.page.lost[n] = lost
	}
	switch {
	case err != nil:
		return err
	case lost.why != "" && (f == nil || f.accepted()):
		return steps.Fail(lost.reason, lost.blame, "load the frame %s on %s: %s", lost.name, s.page, lost.why)
	default:
		return s.judgeStatus(f, &v)
	}
}

// returnInto shows the document that a frame contained before the last visit in it.
func (s *httpSession) returnInto(ctx context.Context, w *steps.World, last visit) error {
	s.page.clear(last.frame)
	switch before := last.before; {
	case before == nil:
		return nil // it was blank
	case before.srcdoc:
		f, err := writtenPage(before.around, before.source)
		if err != nil {
			return err
		}
		s.page.put(last.frame, f)
		s.embed(ctx, w, f)
		return nil
	default:
		return s.loadInto(ctx, w, last.frame, visit{method: http.MethodGet, url: before.url})
	}
}

// sandboxed reports whether the sandbox of a frame around a document does not allow something.
func sandboxed(n *html.Node, allowance string) bool {
	for n = pagetree.Document(n); n.Parent != nil; n = pagetree.Document(n) {
		allowed, found := pagetree.Attribute(n, "sandbox")
		if found && !slices.Contains(strings.Fields(strings.ToLower(allowed)), allowance) {
			return true
		}
	}
	return false
}
