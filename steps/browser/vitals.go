package browser

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
)

// Vitals are the browser's measurements of the current document, since its navigation began. A time is negative when it
// has not happened yet.
type Vitals struct {
	Ready time.Duration // the DOMContentLoaded event
	Load  time.Duration // the load event

	FirstPaint   time.Duration // of any content (W3C Paint Timing)
	LargestPaint time.Duration // the largest so far (W3C Largest Contentful Paint); final at the first click or key
	Largest      string        // its tag; empty when it was removed

	Shift   float64 // of the layout so far (W3C Layout Instability), the largest burst as defined by Web Vitals
	Shifted string  // the tag of the element that shifted most, or empty
}

// Vitals reads them. It waits for a page that has painted nothing, up to wait.
func (t *Tab) Vitals(ctx context.Context, wait time.Duration) (*Vitals, error) {
	var read struct {
		Ready        *float64 `json:"ready"`
		Load         *float64 `json:"load"`
		FirstPaint   *float64 `json:"firstPaint"`
		LargestPaint *float64 `json:"largestPaint"`
		Largest      string   `json:"largest"`
		Shift        float64  `json:"shift"`
		Shifted      string   `json:"shifted"`
	}
	for {
		err := t.evaluate(ctx, t.main, &read, "vitals", wait.Milliseconds())
		if err == nil {
			break
		}
		if !errors.Is(err, errReplaced) {
			return nil, err
		}
		if err := t.rest(ctx); err != nil {
			return nil, err
		}
	}
	at := func(milliseconds *float64) time.Duration {
		if milliseconds == nil {
			return -1
		}
		return time.Duration(*milliseconds * float64(time.Millisecond))
	}
	return &Vitals{Ready: at(read.Ready), Load: at(read.Load), FirstPaint: at(read.FirstPaint), LargestPaint: at(read.LargestPaint),
		Largest: read.Largest, Shift: read.Shift, Shifted: read.Shifted}, nil
}

// activity is what a page did since its navigation began; the tab's lock guards it.
type activity struct {
	requests []*Request
	dropped  int
	errors   []Message
	unkept   int
}

func (a *activity) requested(r *Request) {
	if a == nil || !r.network() {
		return
	}
	if len(a.requests) == maxRequests {
		a.dropped++
		return
	}
	a.requests = append(a.requests, r)
}

func (a *activity) logged(m Message) {
	if len(a.errors) == maxErrors {
		a.unkept++
		return
	}
	a.errors = append(a.errors, m)
}

// maxErrors is how many errors of one page are kept, whatever else it logs.
const maxErrors = 100

// network reports whether a request is sent to a server, and not to the page itself.
func (r *Request) network() bool {
	scheme, _, _ := strings.Cut(r.URL, ":")
	return scheme == "http" || scheme == "https" || scheme == "ws" || scheme == "wss"
}

// open reports whether a response has not ended yet. Responses that stay open by design do not count.
func (r *Request) open() bool {
	switch r.Kind {
	case "EventSource", "Media", "Ping", "CSPViolationReport", "WebSocket":
		return false
	case "Script":
		if r.byWorker {
			return false // the browser reports the response of a shared worker's script to nobody
		}
	}
	return !r.Done && r.Failed == "" && !r.Redirect
}

// of returns the activity that a request or a message with this loader belongs to: that of a navigation, and for frames
// that of the current document. t.mu is held.
func (t *Tab) of(loader cdp.LoaderID) *activity {
	switch {
	case t.current != nil && (t.current.loader == loader || t.shown == nil):
		return &t.current.activity
	case t.shown != nil:
		return &t.shown.activity
	}
	return nil
}

// Activity is what the current page did since its navigation began.
type Activity struct {
	Requests []Request // over the network, in order, including redirects; the first 2000
	Dropped  int       // requests beyond those
	Errors   []Message // in its console, and uncaught exceptions; the first 100
	Unkept   int       // errors beyond those
	Unheard  int       // workers, and frames in another process, whose requests and errors are unknown
}

// Activity returns a copy of the activity, nil before the first page.
func (t *Tab) Activity() *Activity {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shown == nil {
		return nil
	}
	from := &t.shown.activity
	a := &Activity{Requests: make([]Request, 0, len(from.requests)), Dropped: from.dropped, Errors: append([]Message(nil), from.errors...), Unkept: from.unkept, Unheard: t.unheard}
	for _, r := range from.requests {
		if !r.Cached {
			a.Requests = append(a.Requests, *r)
		}
	}
	return a
}

// Finish waits until the current navigation has ended.
func (t *Tab) Finish(ctx context.Context) error {
	return t.wait(ctx, func() bool { return t.current == nil || t.current.done() })
}

// isError reports whether the message is an error for the page's author: one that the console shows as such, or an
// exception.
func (m Message) isError() bool {
	return m.Level == "error" || m.Level == "exception" || m.Level == "assert"
}
