package browser

import (
	"context"
	_ "embed" // page.js
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/css"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/inspector"
	chromelog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/stepwatch/stepwatch/steps/limit"
)

//go:embed page.js
var pageScript string

// world is the name of the isolated world of pageScript.
const world = "stepwatch"

// userAgent is the end of a tab's user agent, so that the owner of a site can distinguish the monitor's visits from others.
const userAgent = "stepwatch (+https://github.com/stepwatch/stepwatch)"

// Tab is one page in its own context. It is for one goroutine at a time. Every method stops when its context ends, and
// returns a *Broken when the browser or the tab died. Close must be called.
type Tab struct {
	process *process
	session *chromedp.Target
	life    context.Context // ends with the tab, its cause is the reason
	end     context.CancelCauseFunc
	cancel  context.CancelFunc // closes the tab in the browser
	main    cdp.FrameID
	opener  *Tab        // the tab whose page opened this window, or nil
	shut    atomic.Bool // the page closed this window
	once    sync.Once

	browserContext cdp.BrowserContextID

	mostNodes int64 // of a snapshot, or 0 for the default

	pierced  time.Time     // when we last searched for closed shadow trees
	piercing time.Duration // how long that took

	mu       sync.Mutex
	memory   *limit.Memory          // of the run, for what is kept
	kept     int64                  // bytes of it
	events   int64                  // since the tab was opened
	news     chan struct{}          // closed and replaced when anything below changes
	worlds   map[cdp.FrameID]string // the execution contexts of our script, by their unique ids
	contexts map[string]runtime.ExecutionContextID
	frames   []*frame    // all but the main one, in order of creation
	moves    int         // how many loads of frames and navigations within a document began
	touched  cdp.FrameID // the frame of the last action
	url      string
	current  *Navigation // the newest navigation of the main frame, or nil
	shown    *Navigation // the one whose document is shown, or nil
	active   time.Time   // when a request last began or ended
	expected time.Time   // when the page requested a navigation of the main frame that has not begun yet; zero when none
	requests []*Request
	byID     map[network.RequestID]*Request
	dropped  int // requests that were not kept
	console  []Message
	dialogs  []*Dialog // of this tab and its windows; empty in a window
	asking   *Dialog   // the open one
	replies  []Reply   // to the next dialogs
	windows  []*Tab    // opened by the page, the newest last
	opening  int       // windows that it requested and that are not open yet
	wanted   string    // the address of the last window requested
	followed int       // how many windows Opened has returned
	workers  []*worker
	unheard  int      // workers and frames that we do not listen to
	handed   []string // addresses that the page passed to another program, such as mailto:
	saving   *saving  // the awaited download, or nil
	logins   []Login

	atProxy   *Login // the login for the proxy, or nil
	unwelcome bool   // the proxy rejected it
	headers   []sentHeader
	asked     map[fetch.RequestID]bool // requests for which the server got a login
	given     map[string]bool          // the addresses of those requests
	entered   map[fetch.RequestID]bool // requests for which the proxy got a login
}

// open creates the tab within limit: a browser context, a page in it, and our script in every document of it.
func (p *process) open(ctx context.Context, limit time.Duration) (*Tab, error) { //nolint:contextcheck // the tab outlives the step that opens it
	// A tab is bound to the context of its first command, and opening one hangs for ever when the browser is half dead.
	tabCtx, cancel := chromedp.NewContext(p.ctx, chromedp.WithNewBrowserContext())
	t := newTab(tabCtx, cancel, p) //nolint:contextcheck // as above
	opened := make(chan error, 1)
	go func() { opened <- t.attach(tabCtx) }()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	var err error
	select {
	case err = <-opened:
	case <-timeout.C:
		err = fmt.Errorf("the browser did not respond within %s", limit)
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-p.ctx.Done():
		err = p.why()
	}
	if err != nil {
		t.end(err)
		go cancel() // it waits for a response that may never come
		return nil, &Broken{"open a tab", err}
	}
	go p.guard(t.life) //nolint:contextcheck // it watches as long as the tab lives
	return t, nil
}

func newTab(ctx context.Context, cancel context.CancelFunc, p *process) *Tab {
	life, end := context.WithCancelCause(ctx)
	return &Tab{process: p, life: life, end: end, cancel: cancel, news: make(chan struct{}),
		worlds: map[cdp.FrameID]string{}, contexts: map[string]runtime.ExecutionContextID{}, byID: map[network.RequestID]*Request{}}
}

func (t *Tab) attach(ctx context.Context) error {
	if err := chromedp.Do(ctx); err != nil {
		return err
	}
	c := chromedp.FromContext(ctx)
	t.session, t.main, t.browserContext = c.Target, cdp.FrameID(c.Target.TargetID), c.BrowserContextID
	if err := chromedp.Listen(ctx, t.event); err != nil {
		return err
	}
	if err := chromedp.ListenBrowser(ctx, t.outside); err != nil {
		return err
	}
	agent, err := t.process.userAgent(ctx)
	if err != nil {
		return err
	}
	isWindow := t.opener != nil // it already has a document without our script
	// The order of these does not matter.
	return together(
		// chromedp enables these three: they report every change of the document, and every tab of all others; see
		// outside.
		sending(ctx, t.session, css.Disable, cdp.Empty{}),
		sending(ctx, t.session, dom.Disable, cdp.Empty{}),
		sending(ctx, t.session, target.SetDiscoverTargets, target.SetDiscoverTargetsParams{}),
		sending(ctx, t.session, target.SetAutoAttach, nesting),
		sending(ctx, t.session, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent}),
		sending(ctx, t.session, page.AddScriptToEvaluateOnNewDocument,
			page.AddScriptToEvaluateOnNewDocumentParams{Source: pageScript, WorldName: world, RunImmediately: &isWindow}),
	)
}

// together sends commands concurrently and returns the first error.
func together(commands ...func() error) error {
	errs := make(chan error, len(commands))
	for _, send := range commands {
		go func() { errs <- send() }()
	}
	var first error
	for range commands {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// sending is a command for together whose result is ignored.
func sending[P, R any](ctx context.Context, s cdp.Session, c cdp.Command[P, R], params P) func() error {
	return func() error {
		_, err := cdp.Call(ctx, s, c, params)
		return err
	}
}

// closeLimit is how long closing a tab may take before the browser is asked whether it still works.
const closeLimit = 2 * time.Second

// Close closes the tab and removes its context with everything in it.
func (t *Tab) Close() error {
	t.once.Do(func() {
		t.mu.Lock()
		windows := t.windows
		t.mu.Unlock()
		for _, w := range windows {
			_ = w.Close() // never an error
		}
		t.end(errors.New("the tab is closed"))
		t.mu.Lock()
		t.memory.Free(t.kept)
		t.memory, t.kept = nil, 0
		t.mu.Unlock()
		done := make(chan struct{})
		go func() {
			t.cancel()
			close(done)
		}()
		slow := time.NewTimer(closeLimit)
		defer slow.Stop()
		select {
		case <-done:
		case <-slow.C:
			_ = t.process.check(t.life, func() bool { return false }) // this ends a hung browser, and so the wait
			<-done
		}
		if t.opener != nil {
			return // the browser counts it with its opener
		}
		t.process.watchMemory()
		t.process.owner.release(t.process)
	})
	return nil
}

// Navigation is one load of a document into the tab, redirects included.
type Navigation struct {
	Chain  []*Request // the requests for the document, redirects first
	Failed string     // why it did not lead to a page, in the browser's words ("net::ERR_CONNECTION_REFUSED"), or empty

	Begun     time.Time // by our clock
	Committed bool      // the document has replaced the previous one
	Ready     bool      // DOMContentLoaded
	Loaded    bool      // the load event: with everything that the document refers to
	Ended     time.Time // when it was loaded or failed
	Download  bool      // the response is a file, not a page
	Elsewhere string    // the address of another program that the last response redirects to ("shopapp://callback"), or empty; the page stays

	restless bool                // Rest waited for it in vain
	lasting  map[string]bool     // the places of the requests that were open then
	frames   map[cdp.FrameID]int // how often each frame of the page had begun to load when Navigation was called
	loader   cdp.LoaderID
	loaded   float64 // the load event by the browser's monotonic clock, in seconds
	activity activity
}

// Took returns how long the navigation took until it was loaded or failed, and false while it is in progress.
func (n *Navigation) Took() (time.Duration, bool) {
	if n.Ended.IsZero() {
		return time.Since(n.Begun), false
	}
	return n.Ended.Sub(n.Begun), true
}

// Rest returns how long the page took from the end of its document to the load event, negative when unknown.
func (n *Navigation) Rest() time.Duration {
	r := n.Response()
	if r == nil || r.ended == 0 || n.loaded == 0 {
		return -1
	}
	return max(0, seconds(n.loaded-r.ended))
}

// Response returns the request of the document, or nil.
func (n *Navigation) Response() *Request {
	if n == nil || len(n.Chain) == 0 {
		return nil
	}
	return n.Chain[len(n.Chain)-1]
}

func (n *Navigation) done() bool { return n.Loaded || n.Failed != "" || n.Download }

// Message is one line of the page's console, or an uncaught exception.
type Message struct {
	Level string // "log", "info", "warning", "error", "exception"
	Text  string
	URL   string // of the script, or of the resource that failed to load
}

// Dialog is a dialog that the page opened, such as an alert. It was answered at once, since it blocks everything else.
type Dialog struct {
	Kind     string // "alert", "confirm", "prompt", "beforeunload"
	Message  string
	Expected bool // AnswerNext had set the answer
	Accepted bool
	Took     time.Duration // until it was closed, 0 while it is open

	opened time.Time
}

// Reply is an answer to a dialog.
type Reply struct {
	Accept bool
	Text   string // for a prompt; its default text is used when this is empty
}

// limits of what is kept of one tab.
const (
	maxRequests = 2000
	maxMessages = 500
)

// changedLocked notifies all waiters; t.mu must be held.
func (t *Tab) changedLocked() {
	close(t.news)
	t.news = make(chan struct{})
}

// outside handles the browser's events about all its tabs. It must not block.
func (t *Tab) outside(ev any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.life.Err() != nil {
		return
	}
	switch ev := ev.(type) {
	case *target.EventTargetCreated:
		if cdp.FrameID(ev.TargetInfo.OpenerID) == t.main && ev.TargetInfo.Type == "page" {
			go t.adopt(ev.TargetInfo.TargetID)
		}
		if ev.TargetInfo.Type == "shared_worker" && ev.TargetInfo.BrowserContextID == t.browserContext {
			t.unheard++
		}
	case *target.EventTargetDestroyed:
		t.shutLocked(ev.TargetID)
		t.changedLocked()
	}
	if t.saving != nil {
		t.downloading(ev)
	}
}

// event handles the browser's events about this tab. It is called in their order and must not block.
func (t *Tab) event(ev any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counted() && t.happened(ev) {
		t.changedLocked()
	}
}

// happened handles an event about this tab, or about the requests and the log of one of its workers; t.mu is held. It
// reports whether something changed.
func (t *Tab) happened(ev any) bool {
	switch ev := ev.(type) {
	case *target.EventAttachedToTarget:
		t.attached(nil, ev)
	case *target.EventReceivedMessageFromTarget:
		return t.told(ev)
	case *inspector.EventTargetCrashed:
		t.end(errors.New("the page crashed"))
	case *inspector.EventDetached:
		t.end(fmt.Errorf("the browser detached from the page: %s", ev.Reason))
	case *runtime.EventExecutionContextCreated:
		if ev.Context.Name != world {
			return false
		}
		var data struct{ FrameID cdp.FrameID }
		if json.Unmarshal(ev.Context.AuxData, &data) == nil && data.FrameID != "" {
			t.worlds[data.FrameID], t.contexts[ev.Context.UniqueID] = ev.Context.UniqueID, ev.Context.ID
		}
	case *runtime.EventExecutionContextDestroyed:
		for id, c := range t.worlds {
			if c == ev.ExecutionContextUniqueID {
				delete(t.worlds, id)
			}
		}
		delete(t.contexts, ev.ExecutionContextUniqueID)
	case *runtime.EventExecutionContextsCleared:
		clear(t.worlds)
		clear(t.contexts)
	case *page.EventFrameAttached, *page.EventFrameDetached:
		t.framed(ev)
	case *page.EventFrameStartedLoading:
		t.moves++
		t.framed(ev)
	case *page.EventFrameRequestedNavigation:
		if ev.FrameID != t.main {
			t.framed(ev)
		} else if ev.Disposition == page.ClientNavigationDispositionCurrentTab {
			t.expected = time.Now()
		}
	case *page.EventFrameStoppedLoading:
		if ev.FrameID != t.main {
			t.framed(ev)
			break
		}
		t.expected = time.Time{}
		if n := t.current; len(t.handed) > 0 && n != nil && n.Committed && !n.done() {
			n.Loaded, n.Ended = true, time.Now() // a page that opens another program while it loads gets no load event
		}
	case *page.EventFrameNavigated:
		if ev.Frame.ID != t.main {
			t.framed(ev)
			break
		}
		t.expected = time.Time{}
		t.frames = nil
		t.url = ev.Frame.URL + ev.Frame.URLFragment
		n := t.current
		if n == nil || n.loader != ev.Frame.LoaderID {
			n = &Navigation{Begun: time.Now(), loader: ev.Frame.LoaderID} // about:blank and the like: no request was made
			t.current = n
		}
		n.Committed, t.shown = true, n
		if ev.Frame.UnreachableURL != "" {
			t.url = ev.Frame.UnreachableURL
			if n.Failed == "" {
				n.Failed = "the page cannot be reached"
			}
			n.Ended = time.Now()
		}
	case *page.EventNavigatedWithinDocument:
		t.moves++
		if ev.FrameID == t.main {
			t.url, t.expected = ev.URL, time.Time{}
		}
	case *page.EventLifecycleEvent:
		n := t.current
		if ev.FrameID != t.main || n == nil || n.loader != ev.LoaderID {
			return false
		}
		switch ev.Name {
		case "DOMContentLoaded":
			n.Ready = true
		case "load":
			n.Ready, n.Loaded, n.Ended, n.loaded = true, true, time.Now(), ev.Timestamp.Float64()
		default:
			return false
		}
	case *page.EventJavascriptDialogOpening:
		go t.answer(ev, t.asks(ev))
	case *page.EventJavascriptDialogClosed:
		t.answered()
	case *page.EventWindowOpen:
		t.opening++
		t.wanted = ev.URL
	case *network.EventRequestWillBeSent:
		t.requested(ev)
	case *network.EventResponseReceived:
		if r := t.byID[ev.RequestID]; r != nil {
			r.received(ev.Response)
			t.keepHeader(r.ResponseHeader)
		}
	case *network.EventResponseReceivedExtraInfo:
		if r := t.byID[ev.RequestID]; r != nil && r.receivedFields(ev) {
			if n := t.current; n.Response() == r && n.Failed == aborted && r.showsNothing() {
				n.Failed, n.Loaded = "", true // its end was reported before
			}
			break
		}
		return false
	case *network.EventLoadingFinished:
		if r := t.byID[ev.RequestID]; r != nil {
			r.Bytes, r.ended, r.Done = int64(ev.EncodedDataLength), ev.Timestamp.Float64(), true
		}
		t.active = time.Now()
	case *network.EventDataReceived:
		if r := t.byID[ev.RequestID]; r != nil {
			r.Bytes += ev.EncodedDataLength
		}
		return false
	case *network.EventRequestServedFromCache:
		if r := t.byID[ev.RequestID]; r != nil {
			r.Cached = true
		}
		return false
	case *network.EventLoadingFailed:
		t.failed(ev)
	case *fetch.EventRequestPaused:
		t.paused(ev)
		return false
	case *fetch.EventAuthRequired:
		t.challenged(ev)
		return false
	case *runtime.EventConsoleAPICalled:
		t.message(consoleMessage(ev))
	case *runtime.EventExceptionThrown:
		t.message(exceptionMessage(ev))
	case *chromelog.EventEntryAdded:
		// The requests already report what failed of them, and the events above report the messages of scripts.
		if e := ev.Entry; e.Source == chromelog.EntrySourceNetwork && e.NetworkRequestID != "" || e.Level != chromelog.EntryLevelError && e.Level != chromelog.EntryLevelWarning {
			return false
		}
		if e := ev.Entry; e.Source == chromelog.EntrySourceNetwork && e.URL == "" {
			t.scriptless(cut(e.Text))
		}
		t.message(Message{Level: string(ev.Entry.Level), Text: cut(ev.Entry.Text), URL: ev.Entry.URL})
	default:
		return t.socket(ev)
	}
	return true
}

func (t *Tab) message(m Message) {
	if len(t.console) < maxMessages {
		t.keep(m.Text, m.URL)
		t.console = append(t.console, m)
	}
	if t.shown != nil && m.isError() {
		t.shown.activity.logged(m)
	}
}

// bind returns a context that also ends when the tab dies, with the tab's cause.
func (t *Tab) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	bound, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.life, func() { cancel(t.death()) })
	return bound, func() {
		stop()
		cancel(nil)
	}
}

// death returns why the tab died.
func (t *Tab) death() error {
	if t.whetherShut() {
		return ErrShut
	}
	cause := context.Cause(t.life)
	if !errors.As(cause, new(*limit.Error)) && (t.process.gone() || errors.Is(cause, context.Canceled)) {
		cause = t.process.why()
	}
	return broken(cause)
}

// command sends one command.
func command[P, R any](ctx context.Context, t *Tab, c cdp.Command[P, R], params P) (R, error) {
	bound, done := t.bind(ctx)
	defer done()
	out, err := cdp.Call(bound, t.session, c, params)
	return out, t.explain(ctx, err)
}

// Check returns a *Broken when the browser no longer works: a page that was too slow, or does not show what it should,
// may be the browser's fault. It takes half a second at most, also when ctx is done.
func (t *Tab) Check(ctx context.Context) error {
	if t.life.Err() != nil {
		return t.death()
	}
	before := t.counts()
	err := t.process.check(ctx, func() bool { return t.counts() > before+floodOfEvents })
	if t.life.Err() != nil {
		return t.death()
	}
	return err
}

// floodOfEvents is how many events within answerLimit show that a browser works.
const floodOfEvents = 500

// counts returns how many events the tab has reported.
func (t *Tab) counts() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.events
}

// explain distinguishes the end of the tab and of the step from an error of the browser.
func (t *Tab) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case t.life.Err() != nil:
		return t.death()
	case strings.Contains(err.Error(), "lost the connection to the browser"): // just before this ends the tab
		t.end(t.process.why())
		return t.death()
	case errors.Is(err, chromedp.ErrTargetDetached) && t.whetherShut():
		return ErrShut
	case strings.Contains(err.Error(), "Cannot find context"), strings.Contains(err.Error(), "context was destroyed"),
		strings.Contains(err.Error(), "navigated or closed"), strings.Contains(err.Error(), "uniqueContextId not found"):
		return errReplaced
	}
	return &Broken{"use the browser", err}
}

// errReplaced reports that the document was replaced during a request about it.
var errReplaced = errors.New("another document replaced this one")

// wait returns when until is true. It calls until after each event about the tab.
func (t *Tab) wait(ctx context.Context, until func() bool) error {
	for {
		t.mu.Lock()
		news, met := t.news, until()
		t.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.life.Done():
			return t.death()
		}
	}
}

// URL returns the address of the page as the browser shows it.
func (t *Tab) URL() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.url
}

// Navigation returns a copy of the newest navigation, or nil before the first one.
func (t *Tab) Navigation() *Navigation {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil {
		return nil
	}
	n := *t.current
	n.activity = activity{} // it is still changing
	n.frames = make(map[cdp.FrameID]int, len(t.frames))
	for _, f := range t.frames {
		n.frames[f.id] = f.loads
	}
	n.Chain = make([]*Request, len(t.current.Chain))
	for i, r := range t.current.Chain {
		shown := *r
		n.Chain[i] = &shown
	}
	return &n
}

// Handed returns the addresses that pages passed to other programs since the tab was opened, such as
// "mailto:a@example.org". The page stays then.
func (t *Tab) Handed() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.handed)
}

// Console returns the messages and uncaught exceptions of the page's scripts, the first 500.
func (t *Tab) Console() []Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.console)
}

// aborted is the browser's error for an aborted load.
const aborted = "net::ERR_ABORTED"

// statusLimit is how long after the end of a response without content the browser may report its status.
const statusLimit = 200 * time.Millisecond

// Go loads an address and waits until it is loaded with everything that it refers to. Navigation reports whether this
// led to a page. An error means that the browser could not try, or that ctx ended.
func (t *Tab) Go(ctx context.Context, url, referrer string) error {
	got, err := command(ctx, t, page.Navigate, page.NavigateParams{URL: url, Referrer: referrer})
	if err != nil {
		return err
	}
	if got.ErrorText == aborted && !got.IsDownload {
		// The response had nothing to show; the events report whether this is intended, as with status 204.
		return t.ended(ctx, func() bool { return t.current != nil && t.current.done() })
	}
	if got.ErrorText != "" || got.IsDownload {
		t.mu.Lock()
		if n := t.current; n == nil || n.loader != got.LoaderID && got.LoaderID != "" {
			t.current, t.url = &Navigation{Begun: time.Now(), loader: got.LoaderID}, url
		}
		n := t.current
		n.Download, n.Ended = got.IsDownload, time.Now()
		if n.Failed = ""; !got.IsDownload {
			n.Failed = got.ErrorText
		}
		t.mu.Unlock()
		if got.IsDownload || got.LoaderID == "" {
			return nil
		}
		// The browser shows its own error page; before it is loaded, the next navigation could be confused with it.
		soon, cancel := context.WithTimeout(ctx, beginLimit)
		defer cancel()
		if err := t.wait(soon, func() bool { return n.Committed || t.current != n }); err != nil && soon.Err() == nil {
			return err
		}
		return ctx.Err()
	}
	if got.LoaderID == "" {
		return nil // a fragment of the same page
	}
	return t.wait(ctx, func() bool {
		return t.current != nil && (t.current.loader != got.LoaderID || t.current.done() && (t.current.Committed || t.current.Download))
	})
}

// ended waits until done, and then for the status of an aborted navigation, while it may still be reported.
func (t *Tab) ended(ctx context.Context, done func() bool) error {
	if err := t.wait(ctx, done); err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	err := t.wait(soon, func() bool {
		r := t.current.Response()
		return r == nil || r.Status != 0 || t.current.Failed != aborted
	})
	if err != nil && soon.Err() == nil {
		return err
	}
	return nil
}

// Reload loads the page again.
func (t *Tab) Reload(ctx context.Context) error {
	before := t.loader()
	if _, err := command(ctx, t, page.Reload, page.ReloadParams{}); err != nil {
		return err
	}
	return t.wait(ctx, func() bool { return t.current != nil && t.current.loader != before && t.current.done() })
}

// Back goes back to the previous page. It returns false when there is none.
func (t *Tab) Back(ctx context.Context) (bool, error) {
	history, err := command(ctx, t, page.GetNavigationHistory, cdp.Empty{})
	if err != nil {
		return false, err
	}
	at := int(history.CurrentIndex) - 1
	if at < 0 || at >= len(history.Entries) || history.Entries[at].URL == "about:blank" {
		return false, nil
	}
	before := t.Navigation()
	t.mu.Lock()
	moves := t.moves
	t.mu.Unlock()
	if _, err := command(ctx, t, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: history.Entries[at].ID}); err != nil {
		return false, err
	}
	wanted := history.Entries[at].URL
	if wanted == t.URL() { // a frame of the page goes back, or a script gave two entries the same address
		soon, cancel := context.WithTimeout(ctx, beginLimit)
		defer cancel()
		if err := t.wait(soon, func() bool { return t.moves > moves }); err != nil && soon.Err() == nil {
			return true, err
		}
		if err := t.settleFrames(ctx, before); err != nil {
			return true, err
		}
	}
	// A page cached by the browser returns without a request.
	return true, t.wait(ctx, func() bool { return t.url == wanted && (t.current == nil || t.current.done()) })
}

func (t *Tab) loader() cdp.LoaderID {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil {
		return ""
	}
	return t.current.loader
}

// beginLimit is how long a navigation that the page requested may take to begin. An address that another program opens
// ("mailto:") never does.
const beginLimit = time.Second

// Settle waits until the result of the last action is complete: a navigation, if one began, of the page or of one of
// its frames. It reports whether the page was navigated.
func (t *Tab) Settle(ctx context.Context, before *Navigation) (navigated bool, err error) {
	// The reaction of the page's script to an event is known after a later timer of the page has run.
	for _, id := range slices.Compact([]cdp.FrameID{t.touched, t.main}) {
		limited, cancel := ctx, context.CancelFunc(func() {})
		if id != t.main { // a frame without scripts may never respond
			limited, cancel = context.WithTimeout(ctx, beginLimit)
		}
		err := t.evaluate(limited, id, nil, "flushed")
		cancel()
		if err != nil && !errors.Is(err, errReplaced) && (limited.Err() == nil || ctx.Err() != nil) {
			return false, err
		}
	}
	t.mu.Lock()
	expecting := !t.expected.IsZero()
	t.mu.Unlock()
	if expecting {
		soon, cancel := context.WithTimeout(ctx, beginLimit)
		err := t.wait(soon, func() bool { return t.expected.IsZero() })
		cancel()
		if err != nil && soon.Err() == nil {
			return false, err
		}
	}
	if err = t.ended(ctx, func() bool { return t.current == nil || t.current.done() }); err == nil {
		err = t.settleFrames(ctx, before)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expected = time.Time{}
	return t.current != nil && (before == nil || t.current.loader != before.loader), err
}
