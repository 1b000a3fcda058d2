package web

import (
	"errors"
	"strings"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/pagetree"
)

// lostFrame is a frame whose document is not available.
type lostFrame struct {
	name   string // its address, or another description
	why    string
	reason result.Reason
	blame  result.Blame
}

func (l *lostFrame) String() string { return l.name + " could not be loaded: " + l.why }

// unreadable records that the document of the frame is there and cannot be read.
func (l *lostFrame) unreadable(err error) {
	l.why = err.Error()
	if failure := (*steps.Failure)(nil); errors.As(err, &failure) {
		l.reason, l.blame = failure.Reason, failure.Blame
	}
}

// missing returns the first visible frame of the page, or of a part of it, whose document is not available, or nil.
func (p *page) missing(within ...*html.Node) *lostFrame {
	if len(p.lost) == 0 {
		return nil
	}
	for n := range p.doc.Descendants() {
		l := p.lost[n]
		if l == nil || pagetree.IsHidden(n) {
			continue
		}
		if len(within) == 0 {
			return l
		}
		for _, outer := range within {
			if pagetree.Holds(outer, n) {
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

// unread says why nothing can be read on a page that shows something all the same, or is empty: over HTTP alone a page whose
// scripts make all of it, and in a browser one that draws all of it.
func (p *page) unread() string {
	if !p.isHTML() {
		return ""
	}
	if text, err := p.visibleText(); err != nil || len(text) > 0 {
		return ""
	}
	doc, err := p.tree()
	if err != nil || len(pagetree.VisibleText(doc)) > 0 {
		return ""
	}
	switch {
	case p.live == nil && pagetree.HasScript(doc):
		return "it has no text of its own, only scripts that make it; " + needsBrowser
	case p.live != nil && pagetree.IsDrawn(doc):
		return "it has no text, only a drawing (<canvas>, <embed> or <object>), which cannot be read"
	}
	return ""
}

// without returns a note about a frame that is not available, or about a page that cannot be read, a possible reason why something was not found.
func (p *page) without() string {
	if err := p.knowFrames(); err != nil {
		return ""
	}
	if l := p.missing(); l != nil {
		return "; its frame " + l.String()
	}
	if unread := p.unread(); unread != "" {
		return "; " + unread
	}
	return ""
}

// excused blames the monitor or the scenario when something was not found but may be in a frame that cannot be read.
func (p *page) excused(err error) error {
	if err == nil || !mayPass(err) {
		return err
	}
	if l := p.missing(); l != nil && l.blame != result.BlameWeb && strings.Contains(err.Error(), l.why) {
		return steps.Fail(l.reason, l.blame, "%w", err)
	}
	return err
}

// whole fails when a frame of the page, or of a part of it, is not available, or nothing of the page can be read, since that
// content is unknown.
func (p *page) whole(act string, within ...*html.Node) error {
	if err := p.knowFrames(); err != nil {
		return err
	}
	if l := p.missing(within...); l != nil {
		return steps.Fail(l.reason, l.blame, "%s on %s: nothing was found, but its frame %s", act, p, l)
	}
	if unread := p.unread(); unread != "" {
		reason, blame := result.ReasonBrowser, result.BlameMonitor
		if p.live == nil {
			reason, blame = result.ReasonScenario, result.BlameScenario
		}
		return steps.Fail(reason, blame, "%s on %s: nothing was found on the page, but %s", act, p, unread)
	}
	return nil
}
