package web

import (
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/pagetree"
)

// What a browser reports about the frames of a page.

// lostFrames returns the frames of a snapshot whose documents a visitor does not see as intended.
func lostFrames(frames map[*html.Node]browser.Frame) map[*html.Node]*lostFrame {
	lost := make(map[*html.Node]*lostFrame, len(frames))
	for n, f := range frames {
		l := &lostFrame{name: cutURL(f.URL), reason: result.ReasonUnexpected, blame: result.BlameWeb}
		switch src, _ := pagetree.Attribute(n, "src"); {
		case f.Answer != nil:
			l.name = cutURL(f.Answer.URL)
		case f.URL == "" || f.URL == "about:blank":
			l.name = cutURL(src)
		}
		switch {
		case f.Apart:
			l.reason, l.blame = result.ReasonBrowser, result.BlameMonitor
			l.why = "another process of the browser shows it (browser.remote: start this browser with --disable-site-isolation-trials --disable-features=IsolateOrigins,site-per-process)"
		case f.Failed != "":
			l.reason, l.blame, l.why = frameFault(f.Failed)
		case f.Answer != nil && f.Answer.Status >= 400:
			l.reason, l.why = result.ReasonHTTPStatus, fmt.Sprintf("status %d %s", f.Answer.Status, f.Answer.StatusText)
		case f.Loaded:
			if l.why = opaque(f.Answer); l.why == "" {
				continue
			}
		default:
			l.why = "it is still loading"
		}
		lost[n] = l
	}
	return lost
}

// opaque returns why the document of a frame cannot be read, or "" when it can.
func opaque(answer *browser.Request) string {
	if answer == nil {
		return ""
	}
	p := &page{Reply: &httpwire.Reply{Response: &http.Response{Header: answer.ResponseHeader}}}
	if p.isHTML() || p.isText() || p.isPicture() {
		return ""
	}
	return p.notLookedInto()
}

// frameFault returns what the browser's name of an error means when it kept a frame from being shown.
func frameFault(name string) (result.Reason, result.Blame, string) {
	if code := strings.TrimPrefix(name, "net::ERR_"); strings.HasPrefix(code, "BLOCKED_BY_") {
		return result.ReasonUnexpected, result.BlameWeb, "the browser does not show it in this frame (" + name + ")"
	}
	return netFault(name)
}

// judgeFrames judges the documents that an action loaded into the frames of a page, as for a whole page.
func judgeFrames(frames []browser.Frame, act string) error {
	for _, f := range frames {
		switch {
		case f.Failed != "":
			reason, blame, why := frameFault(f.Failed)
			return settled(steps.Fail(reason, blame, "%s: the frame %s: %s", act, cutURL(f.URL), why))
		case f.Answer != nil && f.Answer.Status >= 400:
			return statusFault(f.Answer)
		}
	}
	return nil
}
