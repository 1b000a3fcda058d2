package web

import (
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
		return steps.Fail(l.reason, l.blame, "%w", err)
	}
	return err
}

// whole fails when a frame of the page, or of a part of it, is not available, since its content is unknown.
func (p *page) whole(act string, within ...*html.Node) error {
	if err := p.knowFrames(); err != nil {
		return err
	}
	if l := p.missing(within...); l != nil {
		return steps.Fail(l.reason, l.blame, "%s on %s: nothing was found, but its frame %s", act, p, l)
	}
	return nil
}
