package browser

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// frame is one of the page's frames, other than the main one.
type frame struct {
	id, parent cdp.FrameID
	url        string
	loader     cdp.LoaderID
	answer     *Request  // that its document came with, or nil
	failed     string    // why it came to none, in the browser's words, or empty
	loads      int       // how many began
	loading    bool      // one goes on
	expected   time.Time // when the page asked for one that has not begun yet; zero when none
	named      bool      // its element has been looked for
	apart      bool      // another process of the browser shows it
}

// Frame is what became of the document of a frame.
type Frame struct {
	URL    string
	Loaded bool     // it is there, whatever it is
	Answer *Request // a copy of the request that the document came with, or nil
	Failed string   // why there is none, in the browser's words ("net::ERR_CONNECTION_REFUSED"), or empty
	Apart  bool     // another process of the browser shows it, into which we do not look
}

func (f *frame) shown() Frame {
	s := Frame{URL: f.url, Loaded: !f.loading && !f.apart && f.failed == "", Failed: f.failed, Apart: f.apart}
	if f.answer != nil {
		answer := *f.answer
		s.Answer = &answer
	}
	return s
}

// frameOf gives a frame by its id, or nil; t.mu is held.
func (t *Tab) frameOf(id cdp.FrameID) *frame {
	for _, f := range t.frames {
		if f.id == id {
			return f
		}
	}
	return nil
}

// framed takes notice of what the browser says of a frame that is not the main one, and says whether it was that; t.mu is
// held.
func (t *Tab) framed(ev any) bool {
	of := func(id cdp.FrameID) *frame {
		if f := t.frameOf(id); f != nil {
			return f
		}
		return &frame{} // of one that is gone nobody wants to know
	}
	switch ev := ev.(type) {
	case *page.EventFrameAttached:
		if f := t.frameOf(ev.FrameID); f != nil { // it is back from another process
			f.apart = false
			break
		}
		t.frames = append(t.frames, &frame{id: ev.FrameID, parent: ev.ParentFrameID})
	case *page.EventFrameDetached:
		if ev.Reason == page.FrameDetachedReasonSwap {
			f := of(ev.FrameID)
			f.apart, f.loading, f.expected = true, false, time.Time{}
			break
		}
		t.dropFrame(ev.FrameID)
	case *page.EventFrameRequestedNavigation:
		if ev.Disposition == page.ClientNavigationDispositionCurrentTab {
			of(ev.FrameID).expected = time.Now()
		}
	case *page.EventFrameStartedLoading:
		f := of(ev.FrameID)
		f.loads, f.loading, f.expected = f.loads+1, true, time.Time{}
	case *page.EventFrameStoppedLoading:
		f := of(ev.FrameID)
		f.loading, f.expected = false, time.Time{}
	case *page.EventFrameNavigated:
		f := of(ev.Frame.ID)
		f.url, f.failed = ev.Frame.URL+ev.Frame.URLFragment, ""
		if f.loader != ev.Frame.LoaderID {
			f.answer = nil // no request was made for it
		}
		if ev.Frame.UnreachableURL != "" {
			f.url, f.failed = ev.Frame.UnreachableURL, "it was not asked for, as when the Content-Security-Policy of the page forbids it"
			if f.answer != nil && f.answer.Failed != "" {
				f.failed = f.answer.Failed
			}
		}
	default:
		return false
	}
	return true
}

// dropFrame forgets a frame and those in it; t.mu is held.
func (t *Tab) dropFrame(id cdp.FrameID) {
	t.frames = slices.DeleteFunc(t.frames, func(f *frame) bool { return f.id == id })
	for i := 0; i < len(t.frames); {
		if t.frames[i].parent == id {
			t.dropFrame(t.frames[i].id)
			i = 0
			continue
		}
		i++
	}
}

// Framed says whether the page has frames.
func (t *Tab) Framed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.frames) > 0
}

// nameFrames tells the script in a document which of its elements hold which frames, as far as it does not know.
func (t *Tab) nameFrames(ctx context.Context, id cdp.FrameID) error {
	t.mu.Lock()
	unknown := false
	for _, f := range t.frames {
		unknown = unknown || f.parent == id && !f.named
	}
	t.mu.Unlock()
	if !unknown {
		return nil
	}
	var names []cdp.FrameID
	if err := t.evaluate(ctx, id, &names, "frames"); err != nil {
		return err
	}
	for i, name := range names {
		t.mu.Lock()
		known := name != "" && t.frameOf(name) != nil
		t.mu.Unlock()
		if known {
			continue
		}
		if err := t.nameFrame(ctx, id, i); err != nil && !errors.As(err, new(*Refused)) {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.frames {
		f.named = f.named || f.parent == id // also what has no element that we see
	}
	return nil
}

func (t *Tab) nameFrame(ctx context.Context, id cdp.FrameID, number int) error {
	object, err := t.handle(ctx, id, fmt.Sprintf("stepwatch.frameAt(%d)", number))
	if err != nil {
		return err
	}
	defer t.forget(ctx, object)
	node, err := command(ctx, t, dom.DescribeNode, dom.DescribeNodeParams{ObjectID: object})
	if err != nil || node.Node.FrameID == "" {
		return err
	}
	_, err = command(ctx, t, runtime.CallFunctionOn, runtime.CallFunctionOnParams{
		ObjectID:            object,
		FunctionDeclaration: "function(name) { stepwatch.named(this, name); }",
		Arguments:           []*runtime.CallArgument{{Value: []byte(`"` + string(node.Node.FrameID) + `"`)}},
	})
	return err
}

// frameName is the attribute by which a snapshot says which frame an element holds, noRoom its value when that takes no room.
const (
	frameName = "stepwatch-frame"
	noRoom    = "none"
)

// takeName gives the frame that an element of a snapshot holds, and takes the mark away.
func takeName(n *html.Node) cdp.FrameID {
	for i, a := range n.Attr {
		if a.Key == frameName {
			n.Attr = slices.Delete(n.Attr, i, i+1)
			return cdp.FrameID(a.Val)
		}
	}
	return ""
}

// snapshotOf reads one document into a node, and those of its frames.
func (t *Tab) snapshotOf(ctx context.Context, id cdp.FrameID, s *Snapshot, into *html.Node) error {
	if err := t.nameFrames(ctx, id); err != nil {
		return err
	}
	var tokens []string
	if err := t.evaluate(ctx, id, &tokens, "snapshot"); err != nil {
		return err
	}
	var frames []*html.Node
	err := build(into, tokens, func(n *html.Node, number int) {
		s.Elements[n] = Element{id, number}
		if n.DataAtom == atom.Iframe || n.DataAtom == atom.Frame {
			frames = append(frames, n)
		}
	})
	if err != nil {
		return &Broken{"read the page", err}
	}
	for _, n := range frames {
		child := takeName(n)
		if child == noRoom {
			continue
		}
		t.mu.Lock()
		f := t.frameOf(child)
		state := Frame{}
		if f != nil {
			state = f.shown()
		}
		t.mu.Unlock()
		if f != nil {
			err := t.snapshotOf(ctx, child, s, n)
			if err != nil && !errors.Is(err, errReplaced) {
				return err
			}
			state.Loaded = state.Loaded && err == nil
		}
		s.Frames[n] = state
	}
	return nil
}

// textOf gives what a reader sees of one document and those in its frames.
func (t *Tab) textOf(ctx context.Context, id cdp.FrameID) (string, error) {
	if err := t.nameFrames(ctx, id); err != nil {
		return "", err
	}
	var seen struct {
		Text   string        `json:"text"`
		Frames []cdp.FrameID `json:"frames"`
	}
	if err := t.evaluate(ctx, id, &seen, "text", -1); err != nil {
		return "", err
	}
	text := seen.Text + "\n"
	for _, child := range seen.Frames {
		t.mu.Lock()
		known := t.frameOf(child) != nil
		t.mu.Unlock()
		if !known {
			continue
		}
		inner, err := t.textOf(ctx, child)
		if err != nil && !errors.Is(err, errReplaced) { // a frame may go at any time
			return "", err
		}
		text += inner
	}
	return text, nil
}

// Complete has frames be loaded that the browser leaves until a visitor scrolls to them. It returns once they are there, and
// without an error when ctx is over before.
func (t *Tab) Complete(ctx context.Context) error {
	if !t.Framed() {
		return nil
	}
	begun := 0
	for _, id := range t.frameIDs() {
		var more int
		if err := t.evaluate(ctx, id, &more, "eager"); err != nil && !errors.Is(err, errReplaced) {
			return err
		}
		begun += more
	}
	if begun == 0 {
		return nil
	}
	err := t.wait(ctx, func() bool { return !slices.ContainsFunc(t.frames, func(f *frame) bool { return f.loading }) })
	if ctx.Err() != nil {
		return nil //nolint:nilerr // what is not there by then is told by the snapshot
	}
	return err
}

// settleFrames waits until the frames that were there before an action have loaded what it led them to.
func (t *Tab) settleFrames(ctx context.Context, before *Navigation) error {
	if before == nil || len(before.frames) == 0 {
		return nil
	}
	each := func(rest func(f *frame, loads int) bool) func() bool {
		return func() bool {
			return !slices.ContainsFunc(t.frames, func(f *frame) bool {
				loads, was := before.frames[f.id]
				return was && !rest(f, loads)
			})
		}
	}
	soon, cancel := context.WithTimeout(ctx, beginLimit)
	defer cancel()
	if err := t.wait(soon, each(func(f *frame, _ int) bool { return f.expected.IsZero() })); err != nil && soon.Err() == nil {
		return err
	}
	return t.wait(ctx, each(func(f *frame, loads int) bool { return f.loads == loads || !f.loading }))
}

// FramesSince gives the frames of the page whose documents were loaded since before, which Navigation gave, among those that
// there were then.
func (t *Tab) FramesSince(before *Navigation) []Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	var frames []Frame
	for _, f := range t.frames {
		if loads, was := before.frames[f.id]; was && f.loads > loads {
			frames = append(frames, f.shown())
		}
	}
	return frames
}
