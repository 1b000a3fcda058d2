package steps

import (
	"iter"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
)

// A page is the documents of its frames as well. They stand in one tree, each inside the element of its frame, so that all
// that is looked for is found in them; ids, forms and disabled fieldsets end at their edges.

func isFrame(n *html.Node) bool { return n.DataAtom == atom.Iframe || n.DataAtom == atom.Frame }

// holdsDocument says whether a document was put into a frame. The parser takes all that is written in one for text.
func holdsDocument(n *html.Node) bool {
	return isFrame(n) && n.FirstChild != nil && n.FirstChild.Type == html.ElementNode
}

// documents gives the root of a document and those of the documents in its frames: the elements that hold them.
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

// own gives what belongs to one document, and not to a document in one of its frames.
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

// elementsByID gives the elements of one document by their ids; of several with one id the first counts.
func elementsByID(document *html.Node) map[string]*html.Node {
	ids := map[string]*html.Node{}
	for n := range own(document) {
		if id, _ := attribute(n, "id"); id != "" && ids[id] == nil {
			ids[id] = n
		}
	}
	return ids
}

// documentOf gives the root of the document that a node belongs to.
func documentOf(n *html.Node) *html.Node {
	for n.Parent != nil {
		if n = n.Parent; holdsDocument(n) {
			break
		}
	}
	return n
}

// lostFrame is a frame whose document is not there to be looked at.
type lostFrame struct {
	name   string // its address, or what else tells it from others
	why    string
	reason result.Reason
	blame  result.Blame
}

func (l *lostFrame) String() string { return l.name + " could not be loaded: " + l.why }

// missing gives the first frame of the page, or of a part of it, that is shown and whose document is not there; or nil.
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

// knowFrames has a browser say which frames of its page are not there.
func (p *page) knowFrames() error {
	if p.live == nil || !p.isHTML() || !p.live.tab.Framed() {
		return nil
	}
	_, err := p.tree()
	return err
}

// without says of something that a page lacks that one of its frames is not there, which may be why.
func (p *page) without() string {
	if err := p.knowFrames(); err != nil {
		return ""
	}
	if l := p.missing(); l != nil {
		return "; its frame " + l.String()
	}
	return ""
}

// excused blames the monitor, or the scenario, for what was not found when it may be in a frame that it cannot look into.
func (p *page) excused(err error) error {
	if err == nil || !mayPass(err) {
		return err
	}
	if l := p.missing(); l != nil && l.blame != result.BlameWeb && strings.Contains(err.Error(), l.why) {
		return Fail(l.reason, l.blame, "%w", err)
	}
	return err
}

// whole fails when a frame of the page, or of a part of it, is not there to be looked at: nobody knows what that would show.
func (p *page) whole(act string, within ...*html.Node) error {
	if err := p.knowFrames(); err != nil {
		return err
	}
	if l := p.missing(within...); l != nil {
		return Fail(l.reason, l.blame, "%s on %s: nothing was found, but its frame %s", act, p, l)
	}
	return nil
}
