package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/framing"
)

// The frames of a page, over HTTP alone: the step that loads a page loads their documents too, as a browser does, since a
// visitor takes them for parts of the page. A frame that is not shown is left out; many of those only count visitors.

// bounds of the frames of one page. Its body limit is also that of all its frames together.
const (
	mostFrames = 20 // nested ones included
	frameDepth = 4
	frameTime  = 10 * time.Second // for all of them
)

// at gives the document that a node of the page belongs to, as a page.
func (p *page) at(n *html.Node) *page {
	if f := p.frames[documentOf(n)]; f != nil {
		return f
	}
	return p
}

// pagesAround gives the addresses of the pages that this one is a frame of, the innermost first.
func (p *page) pagesAround() []*url.URL {
	var pages []*url.URL
	for p = p.around; p != nil; p = p.around {
		pages = append(pages, p.url)
	}
	return pages
}

// namesFrames says at little cost whether a source may have frames.
func namesFrames(source []byte) bool {
	for {
		at := bytes.IndexByte(source, '<')
		if at < 0 {
			return false
		}
		source = source[at+1:]
		if hasPrefixFold(string(source[:min(len(source), len("iframe"))]), "iframe") || hasPrefixFold(string(source[:min(len(source), len("frame"))]), "frame") {
			return true
		}
	}
}

// loadFrames puts the documents of the current page's frames into the page. What cannot be loaded is no fault of the step:
// it is told, and no later step takes it for seen.
func (s *httpSession) loadFrames(ctx context.Context, w *World) {
	if !s.page.isHTML() || s.bare || SettingsOf[Web](w.target).CucumberNagios || !namesFrames(s.page.text()) {
		return
	}
	if _, err := s.page.tree(); err != nil {
		return // the step that needs the tree says so
	}
	s.embed(ctx, w, s.page)
	s.page.took = time.Since(s.page.begun)
}

// embed loads the frames of a document of the current page and reports on them.
func (s *httpSession) embed(ctx context.Context, w *World, p *page) {
	if s.page.frames == nil {
		s.page.frames, s.page.lost = map[*html.Node]*page{}, map[*html.Node]*lostFrame{}
	}
	loading, cancel := patience(ctx, frameTime)
	defer cancel()
	// The phases are those of the page's own document; a browser's are too.
	e := &embedding{s: s, top: s.page, w: w.apart(), left: bodyLimit(w)}
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
	w.Measure("http_frames", "Frames of the page, nested ones included, that are shown.", float64(e.met))
	w.Measure("http_frames_failed", "Those of them that could not be loaded.", float64(len(e.lost)))
	if len(e.lost) > 0 {
		w.Note("the frame " + theFirst(e.lost, 3))
	}
}

// embedding is one loading of frames.
type embedding struct {
	s     *httpSession
	top   *page
	w     *World
	left  int64 // bytes that may still be read
	depth int
	met   int
	lost  []string
}

// into loads the frames of one document, and theirs.
func (e *embedding) into(ctx context.Context, p *page) {
	var frames []*html.Node
	for n := range own(p.doc) {
		if isFrame(n) && e.top.frames[n] == nil && e.top.lost[n] == nil && frameShown(n) {
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

// frameShown says whether a frame has a place on the page, as far as the HTML tells.
func frameShown(n *html.Node) bool {
	width, _ := attribute(n, "width")
	height, _ := attribute(n, "height")
	return width != "0" && height != "0" && !isHidden(n)
}

// load loads the document of one frame of p, or notes why it cannot be. It gives the document, unless there is none.
func (e *embedding) load(ctx context.Context, p *page, n *html.Node) *page {
	v, source, err := frameSource(p, n)
	lost := &lostFrame{name: "in <" + n.Data + ">", reason: result.ReasonUnexpected, blame: result.BlameWeb}
	if v != nil {
		lost.name = shownURL(v.url)
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
		lost.why, lost.reason, lost.blame = fmt.Sprintf("the page has more than the %d frames that are loaded at most; %s", mostFrames, needsBrowser), result.ReasonScenario, result.BlameScenario
	case e.depth > frameDepth:
		lost.why, lost.reason, lost.blame = fmt.Sprintf("it is more than %d frames deep in the page; %s", frameDepth, needsBrowser), result.ReasonScenario, result.BlameScenario
	case source != nil:
		f = writtenPage(p, source)
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

// fetch loads a document by its address. It says in lost why the document is not what a visitor should get.
func (e *embedding) fetch(ctx context.Context, p *page, v *visit, lost *lostFrame) *page {
	if p.url.Scheme == "https" && v.url.Scheme == "http" {
		lost.why = "a browser loads nothing over http for a page over https"
		return nil
	}
	if field := framing.Forbidden(p.Header, p.url, v.url); field != "" {
		lost.why = "a browser does not show it there, because the page has " + field
		return nil
	}
	limited, settings := *e.w.target, SettingsOf[Web](e.w.target)
	settings.BodyLimit = max(1, e.left)
	e.w.retarget(limited.Set(settings))
	f, err := e.s.arrive(ctx, e.w, v)
	e.w.TakeReport()
	if f != nil {
		e.left -= int64(len(f.body))
	}
	if f != nil && errors.Is(f.broken, errBodyTooLarge) {
		lost.why, lost.reason = "with it the frames are larger than what is read at most; web.body_limit in stepwatch.yml raises that", result.ReasonTooLarge
		return nil
	}
	return embeddable(p, f, err, lost)
}

// embeddable gives the document that a frame of p was answered with, when there is one that a browser would show. It says in
// lost why it is not what a visitor should get.
func embeddable(p, f *page, err error, lost *lostFrame) *page {
	if failure := (*Failure)(nil); errors.As(err, &failure) {
		lost.why, lost.reason, lost.blame = failure.Error(), failure.Reason, failure.Blame
		if net := (*netFailure)(nil); errors.As(err, &net) {
			lost.why = net.detail
		}
	} else if err != nil {
		lost.why = err.Error()
	}
	if err != nil || f == nil {
		return nil
	}
	f.around = p
	if field := framing.Refused(f.Header, f.url, f.pagesAround()); field != "" {
		lost.why = "a browser does not show it there, because it has " + field
		return nil
	}
	if !f.accepted() {
		lost.why, lost.reason = "status "+f.status(), result.ReasonHTTPStatus
	}
	switch {
	case f.isHTML():
		if _, err := f.tree(); err != nil {
			lost.why = err.Error()
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

// frameSource says what a frame of p shows: the page of a visit, what is written in srcdoc, or, with neither, nothing.
func frameSource(p *page, n *html.Node) (v *visit, source []byte, err error) {
	if written, found := attribute(n, "srcdoc"); found && n.DataAtom == atom.Iframe {
		return nil, []byte(written), nil
	}
	src, _ := attribute(n, "src")
	if src = strings.TrimSpace(src); src == "" {
		return nil, nil, nil
	}
	to, err := p.base().Parse(src)
	if err != nil {
		return nil, nil, fmt.Errorf("its src %q is no URL", src)
	}
	switch strings.ToLower(to.Scheme) {
	case "about", "javascript":
		return nil, nil, nil
	case "http", "https":
	default:
		return nil, nil, fmt.Errorf("its src is a %s: address, which is not looked into", to.Scheme)
	}
	if err := mendHost(to); err != nil {
		return nil, nil, fmt.Errorf("its src %q: %w", src, err)
	}
	within := 0
	for around := p; around != nil; around = around.around {
		if !around.srcdoc && shownURL(withoutFragment(new(*around.url))) == shownURL(withoutFragment(new(*to))) {
			within++
		}
	}
	if within > 1 {
		return nil, nil, nil // browsers end it there when a page is a frame of itself
	}
	return &visit{method: http.MethodGet, url: to, referrer: p.url, anySite: true, way: p.wayTo(to)}, nil, nil
}

// wayTo says how a frame of p is asked for: as the page around all of them was, as far as it comes from the same server.
func (p *page) wayTo(u *url.URL) httpWay {
	for p.around != nil {
		p = p.around
	}
	way := p.way
	switch {
	case !strings.EqualFold(u.Hostname(), p.url.Hostname()):
		return httpWay{}
	case hostPort(u) != hostPort(p.url):
		way.version = ""
	}
	return way
}

// writtenPage is the document that is written in an attribute of a frame of p. It has the address and the policy of p.
func writtenPage(p *page, source []byte) *page {
	header := p.Header.Clone()
	header.Set("Content-Type", "text/html; charset=utf-8")
	f := &page{url: p.url, around: p, srcdoc: true, reply: &reply{body: source,
		Response: &http.Response{StatusCode: http.StatusOK, Header: header, Request: p.Request}}}
	_, _ = f.tree() // it is read from memory
	return f
}

// plainDocument is what a browser makes of a file that is no HTML.
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

// navigate loads what a link or a form of the document from leads to: into the frame that target names, or else in the
// place of the whole page, which is also where the scenario goes on when a browser would open a window.
func (s *httpSession) navigate(ctx context.Context, w *World, from *page, target string, v visit) error {
	n := s.page.frameNamed(from, target)
	if n == nil {
		return s.load(ctx, w, v)
	}
	before := s.page.frames[n]
	err := s.loadInto(ctx, w, n, v)
	s.visits = append(s.visits, visit{frame: n, before: before})
	return err
}

// frameNamed gives the element of the frame that a target of the document from means (HTML §7.3.2.2), or nil for the page.
func (p *page) frameNamed(from *page, target string) *html.Node {
	if target == "" {
		for n := range own(from.doc) {
			if value, found := attribute(n, "target"); found && n.DataAtom == atom.Base {
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
		if name, _ := attribute(n, "name"); isFrame(n) && name == target {
			return n
		}
	}
	return nil
}

// loadInto loads a page into a frame, and its frames, and judges it as load does a whole page.
func (s *httpSession) loadInto(ctx context.Context, w *World, n *html.Node, v visit) error {
	around := s.page.at(n)
	if s.page.frames == nil {
		s.page.frames, s.page.lost = map[*html.Node]*page{}, map[*html.Node]*lostFrame{}
	}
	lost := &lostFrame{name: shownURL(v.url), reason: result.ReasonUnexpected, blame: result.BlameWeb}
	v.anySite = true
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
		return Fail(lost.reason, lost.blame, "load the frame %s on %s: %s", lost.name, s.page, lost.why)
	default:
		return s.judgeStatus(f, &v)
	}
}

// returnInto shows the document again that a frame had before the last visit in it.
func (s *httpSession) returnInto(ctx context.Context, w *World, last visit) error {
	s.page.clear(last.frame)
	switch before := last.before; {
	case before == nil:
		return nil // it was blank
	case before.srcdoc:
		f := writtenPage(before.around, before.source)
		s.page.put(last.frame, f)
		s.embed(ctx, w, f)
		return nil
	default:
		return s.loadInto(ctx, w, last.frame, visit{method: http.MethodGet, url: before.url})
	}
}

// sandboxed says whether a document may not do something that sandbox of a frame around it would have to allow.
func sandboxed(n *html.Node, allowance string) bool {
	for n = documentOf(n); n.Parent != nil; n = documentOf(n) {
		allowed, found := attribute(n, "sandbox")
		if found && !slices.Contains(strings.Fields(strings.ToLower(allowed)), allowance) {
			return true
		}
	}
	return false
}
