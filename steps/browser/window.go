package browser

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// A page may open windows, with a link with a target or a script. Each becomes a Tab that belongs to its opener. The
// browser does not wait until we watch a new window, so some events of its first page may be lost.

// windowLimit is how long a window may take to open after the page requested it.
const windowLimit = 5 * time.Second

// ErrShut is the cause when a page closed its own window. That is not a fault of the browser.
var ErrShut = errors.New("the page closed its window")

// adopt creates a Tab for a window that this tab's page opened.
func (t *Tab) adopt(id target.ID) {
	ctx, cancel := chromedp.NewContext(t.life, chromedp.WithTargetID(id))
	w := newTab(ctx, cancel, t.process)
	w.opener = t
	t.mu.Lock()
	w.memory = t.memory
	w.logins, w.headers, w.atProxy = slices.Clone(t.logins), slices.Clone(t.headers), t.atProxy
	intercepts := t.asked != nil
	t.mu.Unlock()
	timer := time.AfterFunc(windowLimit, cancel) // as for every tab, attaching may hang
	err := w.attach(ctx)
	if err == nil && intercepts {
		err = w.intercept(ctx)
	}
	if err == nil {
		err = w.meet(ctx)
	}
	timer.Stop()
	if err != nil {
		cancel()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opening = max(0, t.opening-1)
	if err == nil {
		t.windows = append(t.windows, w)
	}
	t.changedLocked()
}

// meet finds out which page a window shows that may have loaded before we listened.
func (t *Tab) meet(ctx context.Context) error {
	tree, err := cdp.Call(ctx, t.session, page.GetFrameTree, cdp.Empty{})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := tree.FrameTree.Frame
	if t.current != nil || f.URL == "" || f.URL == "about:blank" {
		return nil
	}
	t.url = f.URL + f.URLFragment
	t.current = &Navigation{Begun: time.Now(), Committed: true, loader: f.LoaderID}
	t.shown = t.current
	if f.UnreachableURL != "" {
		t.url, t.current.Failed, t.current.Ended = f.UnreachableURL, "the page cannot be reached", time.Now()
	}
	return nil
}

// Opened returns the newest window that the page opened since the last call, or nil, when its first page is loaded.
func (t *Tab) Opened(ctx context.Context) (*Tab, error) {
	soon, cancel := context.WithTimeout(ctx, windowLimit)
	defer cancel()
	if err := t.wait(soon, func() bool { return t.opening == 0 }); err != nil && soon.Err() == nil {
		return nil, err
	}
	t.mu.Lock()
	t.opening = 0
	var w *Tab
	if len(t.windows) > t.followed {
		w, t.followed = t.windows[len(t.windows)-1], len(t.windows)
	}
	blank := t.wanted == "" || t.wanted == "about:blank"
	t.mu.Unlock()
	if w == nil || w.Shut() {
		return nil, nil
	}
	err := w.first(ctx, blank)
	if w.Shut() {
		return nil, nil
	}
	return w, err
}

// first waits for the first page of a window. Its opener writes into a blank one.
func (t *Tab) first(ctx context.Context, blank bool) error {
	if blank { // content written by its opener may never be reported as complete
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.current == nil {
			t.current, t.url = &Navigation{Begun: time.Now()}, "about:blank"
		}
		n := t.current
		n.Committed, n.Ready, n.Loaded, n.Ended = true, true, true, time.Now()
		t.shown = n
		return nil
	}
	if err := t.wait(ctx, func() bool { return t.current != nil && (t.current.Committed || t.current.done()) }); err != nil {
		return err
	}
	t.mu.Lock()
	done := t.current.done()
	t.mu.Unlock()
	if done && t.Navigation().Response() != nil {
		return nil
	}
	var told struct {
		Status int `json:"status"`
	}
	for {
		err := t.evaluate(ctx, t.main, &told, "loaded")
		if err == nil {
			break
		}
		if !errors.Is(err, errReplaced) {
			return err
		}
		if err := t.rest(ctx); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.current
	if !n.done() {
		n.Ready, n.Loaded, n.Ended = true, true, time.Now()
	}
	if len(n.Chain) == 0 && told.Status > 0 {
		r := &Request{URL: t.url, Method: "GET", Kind: "Document", Status: told.Status, StatusText: http.StatusText(told.Status), Done: true, Started: n.Begun,
			DNS: -1, Connect: -1, Handshake: -1, Processing: -1}
		n.Chain = []*Request{r}
	}
	return nil
}

// shutLimit is how long the browser may take to report a window as closed after it detached from it.
const shutLimit = time.Second

// whetherShut waits a moment for the event that the page closed its window, after we lost it.
func (t *Tab) whetherShut() bool {
	if t.opener == nil || t.process.gone() {
		return false
	}
	limit := time.NewTimer(shutLimit)
	defer limit.Stop()
	for {
		t.opener.mu.Lock()
		news := t.opener.news
		t.opener.mu.Unlock()
		if t.Shut() {
			return true
		}
		select {
		case <-news:
		case <-limit.C:
			return false
		case <-t.opener.life.Done():
			return false
		}
	}
}

// root returns the tab from which the first of the windows was opened: this one unless it is a window.
func (t *Tab) root() *Tab {
	for t.opener != nil {
		t = t.opener
	}
	return t
}

// Opener returns the tab whose page opened this one, or nil.
func (t *Tab) Opener() *Tab { return t.opener }

// Shut reports whether the page closed this window itself.
func (t *Tab) Shut() bool { return t.shut.Load() }

// shutLocked handles the end of a window of this tab; t.mu is held.
func (t *Tab) shutLocked(id target.ID) {
	for _, w := range t.windows {
		if target.ID(w.main) == id {
			w.shut.Store(true)
			w.end(ErrShut)
		}
	}
}
