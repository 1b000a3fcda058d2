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
	answer     *Request  // the request of its document, or nil
	failed     string    // why it has no document, in the browser's words, or empty
	loads      int       // how many loads began
	loading    bool      // a load is in progress
	expected   time.Time // when the page requested a load that has not begun yet; zero when none
	named      bool      // its element was searched for
	apart      bool      // another process of the browser shows it
}

// Frame describes the document of a frame.
type Frame struct {
	URL    string
	Loaded bool     // the document has loaded, whatever it is
	Answer *Request // a copy of the request of the document, or nil
	Failed string   // why there is none, in the browser's words ("net::ERR_CONNECTION_REFUSED"), or empty
	Apart  bool     // another process of the browser shows it, which we do not read
}

func (f *frame) shown() Frame {
	s := Frame{URL: f.url, Loaded: !f.loading && !f.apart && f.failed == "", Failed: f.failed, Apart: f.apart}
	if f.answer != nil {
		answer := *f.answer
		s.Answer = &answer
	}
	return s
}

// frameOf returns a frame by its id, or nil; t.mu is held.
func (t *Tab) frameOf(id cdp.FrameID) *frame {
	for _, f := range t.frames {
		if f.id == id {
			return f
		}
	}
	return nil
}

// framed handles the browser's events about a frame other than the main one, and reports whether ev was one; t.mu is
// held.
func (t *Tab) framed(ev any) bool {
	of := func(id cdp.FrameID) *frame {
		if f := t.frameOf(id); f != nil {
			return f
		}
		return &frame{} // a removed frame does not matter
	}
	switch ev := ev.(type) {
	case *page.EventFrameAttached:
		if f := t.frameOf(ev.FrameID); f != nil { // it has returned from another process
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
			f.url, f.failed = ev.Frame.UnreachableURL, "it was not requested, for example because the Content-Security-Policy of the page forbids it"
			if f.answer != nil && f.answer.Failed != "" {
				f.failed = f.answer.Failed
			}
		}
	default:
		return false
	}
	return true
}

// dropFrame removes a frame and those inside it; t.mu is held.
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

// Framed reports whether the page has frames.
func (t *Tab) Framed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.frames) > 0
}

// nameFrames tells the script in a document which elements contain which frames, unless it already knows.
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
		f.named = f.named || f.parent == id // also a frame without an element visible to us
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

// frameName is the attribute of a snapshot that names the frame in an element. noRoom is its value when the frame has
// no size.
const (
	frameName = "stepwatch-frame"
	noRoom    = "none"
)

// takeName returns the frame that an element of a snapshot contains, and removes the attribute.
func takeName(n *html.Node) cdp.FrameID {
	for i, a := range n.Attr {
		if a.Key == frameName {
			n.Attr = slices.Delete(n.Attr, i, i+1)
			return cdp.FrameID(a.Val)
		}
	}
	return ""
}

// snapshotOf reads one document into a node, with those of its frames.
func (t *Tab) snapshotOf(ctx context.Context, id cdp.FrameID, s *Snapshot, into *html.Node, glance bool) error {
	if err := t.nameFrames(ctx, id); err != nil {
		return err
	}
	tokens, err := t.tokens(ctx, id, glance)
	if err != nil {
		return err
	}
	var frames []*html.Node
	err = build(into, tokens, func(n *html.Node, number int) {
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
			err := t.snapshotOf(ctx, child, s, n, glance)
			if err != nil && !errors.Is(err, errReplaced) {
				return err
			}
			state.Loaded = state.Loaded && err == nil
		}
		s.Frames[n] = state
	}
	return nil
}

// textOf returns the visible text of one document and those in its frames.
func (t *Tab) textOf(ctx context.Context, id cdp.FrameID) (string, error) {
	if err := t.nameFrames(ctx, id); err != nil {
		return "", err
	}
	var seen struct {
		Text   string        `json:"text"`
		Frames []cdp.FrameID `json:"frames"`
		Length int64         `json:"length"`
	}
	if err := t.evaluate(ctx, id, &seen, "text", -1, textLimit.Most); err != nil {
		return "", err
	}
	if err := textLimit.Check(seen.Length); err != nil {
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
		if err != nil && !errors.Is(err, errReplaced) { // a frame may be removed at any time
			return "", err
		}
		text += inner
	}
	return text, nil
}

// Complete makes the browser load frames and images that it would load only after scrolling to them. It returns when the
// frames are loaded, and without an error when ctx ends before that.
func (t *Tab) Complete(ctx context.Context) error {
	begun := 0
	for _, id := range t.frameIDs() {
		var more int
		if err := t.evaluate(ctx, id, &more, "eager", true); err != nil && !errors.Is(err, errReplaced) {
			return err
		}
		begun += more
	}
	if begun == 0 {
		return nil
	}
	err := t.wait(ctx, func() bool { return !slices.ContainsFunc(t.frames, func(f *frame) bool { return f.loading }) })
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the snapshot reports frames that are still missing
	}
	return err
}

// settleFrames waits until the frames that existed before an action have loaded what it led to.
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

// FramesSince returns the frames that existed at the time of before, a result of Navigation, and whose documents were
// loaded since.
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
