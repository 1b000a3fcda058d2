package steps

import (
	"iter"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
)

// A page includes the documents of its frames. They are in one tree, each inside the element of its frame, so that a
// search also finds elements in them. Ids, forms and disabled fieldsets do not cross the boundaries of documents.

func isFrame(n *html.Node) bool { return n.DataAtom == atom.Iframe || n.DataAtom == atom.Frame }

// holdsDocument reports whether a document was put into a frame. The parser treats everything written inside a frame
// element as text.
func holdsDocument(n *html.Node) bool {
	return isFrame(n) && n.FirstChild != nil && n.FirstChild.Type == html.ElementNode
}

// documents returns the root of a document and the elements that contain the documents of its frames.
func documents(doc *html.Node) iter.Seq[*html.Node] {
	return func(yield func(*html.Node) bool) {
		if !yield(doc) {
			return
		}
		for n := range doc.Descendants() {
			if holdsDocument(n) && !yield(n) {
				return
			}
		}
	}
}

// own returns the nodes of one document, without those of documents in its frames.
func own(document *html.Node) iter.Seq[*html.Node] {
	return func(yield func(*html.Node) bool) {
		var visit func(*html.Node) bool
		visit = func(n *html.Node) bool {
			for c := range n.ChildNodes() {
				if !yield(c) || !holdsDocument(c) && !visit(c) {
					return false
				}
			}
			return true
		}
		visit(document)
	}
}

// elementsByID returns the elements of one document by their ids; the first one with an id counts.
func elementsByID(document *html.Node) map[string]*html.Node {
	ids := map[string]*html.Node{}
	for n := range own(document) {
		if id, _ := attribute(n, "id"); id != "" && ids[id] == nil {
			ids[id] = n
		}
	}
	return ids
}

// documentOf returns the root of the document that a node belongs to.
func documentOf(n *html.Node) *html.Node {
	for n.Parent != nil {
		if n = n.Parent; holdsDocument(n) {
			break
		}
	}
	return n
}

// lostFrame is a frame whose document is not available.
type lostFrame struct {
	name   string // its address, or another description
	why    string
	reason result.Reason
	blame  result.Blame
}

func (l *lostFrame) String() string { return l.name + " could not be loaded: " + l.why }

// missing returns the first visible frame of the page, or of a part of it, whose document is not available, or nil.
func (p *page) missing(within ...*html.Node) *lostFrame {
	if len(p.lost) == 0 {
		return nil
	}
	for n := range p.doc.Descendants() {
		l := p.lost[n]
		if l == nil || isHidden(n) {
			continue
		}
		if len(within) == 0 {
			return l
		}
		for _, outer := range within {
			if holds(outer, n) {
				return l
			}
		}
	}
	return nil
}

// knowFrames asks the browser which frames of its page are not available.
func (p *page) knowFrames() error {
	if p.live == nil || !p.isHTML() || !p.live.tab.Framed() {
		return nil
	}
	_, err := p.tree()
	return err
}

// without returns a note about a frame that is not available, a possible reason why something was not found.
func (p *page) without() string {
	if err := p.knowFrames(); err != nil {
		return ""
	}
	if l := p.missing(); l != nil {
		return "; its frame " + l.String()
	}
	return ""
}

// excused blames the monitor or the scenario when something was not found but may be in a frame that cannot be read.
func (p *page) excused(err error) error {
	if err == nil || !mayPass(err) {
		return err
	}
	if l := p.missing(); l != nil && l.blame != result.BlameWeb && strings.Contains(err.Error(), l.why) {
		return Fail(l.reason, l.blame, "%w", err)
	}
	return err
}

// whole fails when a frame of the page, or of a part of it, is not available, since its content is unknown.
func (p *page) whole(act string, within ...*html.Node) error {
	if err := p.knowFrames(); err != nil {
		return err
	}
	if l := p.missing(within...); l != nil {
		return Fail(l.reason, l.blame, "%s on %s: nothing was found, but its frame %s", act, p, l)
	}
	return nil
}
