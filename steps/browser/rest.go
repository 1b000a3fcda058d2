package browser

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Rest is how a page came to rest.
type Rest struct {
	Since  time.Time // when its last request or change ended
	Never  bool      // it did not come to rest in time
	Open   []string  // then: the addresses of the requests that are still open
	Alters bool      // then: its document keeps changing
}

// Quiet waits until the page is loaded and no request is open, and none has begun or ended for this long. It returns
// when the last one did.
func (t *Tab) Quiet(ctx context.Context, long time.Duration) (since time.Time, err error) {
	for {
		t.mu.Lock()
		news, busy, active := t.news, t.busy(false), t.active
		t.mu.Unlock()
		rest := long - time.Since(active)
		if !busy && rest <= 0 {
			return active, nil
		}
		if err := t.pause(ctx, news, busy, rest); err != nil {
			return time.Time{}, err
		}
	}
}

// busy reports whether the page loads, or waits for the response to a request; t.mu is held. A patient look ignores the
// requests that stayed open for as long as Rest waited before.
func (t *Tab) busy(patient bool) bool {
	if t.current != nil && !t.current.done() {
		return true
	}
	waits := func(r *Request) bool { return r.open() && !(patient && t.shown.lasting[r.place()]) }
	return t.shown != nil && slices.ContainsFunc(t.shown.activity.requests, waits)
}

// pause waits for news of the tab, or, unless it is busy, for as long as given.
func (t *Tab) pause(ctx context.Context, news <-chan struct{}, busy bool, long time.Duration) error {
	var late <-chan time.Time
	if !busy {
		timer := time.NewTimer(long)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-news:
		return nil
	case <-late:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.life.Done():
		return t.death()
	}
}

// Rest waits until the page has come to rest: it is loaded, no request is open, and for this long none has begun or
// ended and the documents of the page have not changed. Responses that stay open by design, such as those of an
// EventSource, do not count. When ctx ends before that, the page never rests: later calls wait only for requests that
// it makes after that, until another page is loaded. An error means that the browser could not tell.
func (t *Tab) Rest(ctx context.Context, long time.Duration) (Rest, error) {
	begun := time.Now()
	for {
		t.mu.Lock()
		news, busy, active, restless := t.news, t.busy(true), t.active, t.shown != nil && t.shown.restless
		t.mu.Unlock()
		quiet := time.Since(active)
		if restless && !busy && (quiet >= long/5 || time.Since(begun) >= long) {
			return t.unrest(begun, 0), nil
		}
		if !busy && quiet >= long {
			still, err := t.still(ctx)
			if err != nil && ctx.Err() == nil && !errors.Is(err, errReplaced) {
				return Rest{}, err
			}
			if quiet = min(quiet, still); err == nil && quiet >= long {
				return Rest{Since: time.Now().Add(-quiet)}, nil
			}
		}
		if err := t.pause(ctx, news, busy, max(long-quiet, time.Millisecond)); err != nil {
			if ctx.Err() == nil {
				return Rest{}, err
			}
			return t.unrest(time.Now(), long), nil
		}
	}
}

// unrest describes why the page does not rest. Unless open is 0, it remembers the requests that have been open for so
// long.
func (t *Tab) unrest(since time.Time, open time.Duration) Rest {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Rest{Since: since, Never: true}
	if t.shown == nil {
		return r
	}
	t.shown.restless = true
	if t.shown.lasting == nil {
		t.shown.lasting = map[string]bool{}
	}
	for _, request := range t.shown.activity.requests {
		if open > 0 && request.open() && time.Since(request.Started) >= open {
			t.shown.lasting[request.place()] = true
		}
		if request.open() && t.shown.lasting[request.place()] {
			r.Open = append(r.Open, request.URL)
		}
	}
	r.Alters = len(r.Open) == 0
	return r
}

// place returns the address of a request without its query, which differs each time that a page asks again.
func (r *Request) place() string {
	place, _, _ := strings.Cut(r.URL, "?")
	return r.Method + " " + place
}

// still returns how long no document of the page has changed.
func (t *Tab) still(ctx context.Context) (time.Duration, error) {
	least := time.Duration(-1)
	for _, id := range t.frameIDs() {
		var milliseconds float64
		if err := t.evaluate(ctx, id, &milliseconds, "still"); err != nil {
			if id != t.main && errors.Is(err, errReplaced) {
				continue // the frame is gone
			}
			return 0, err
		}
		if d := time.Duration(milliseconds * float64(time.Millisecond)); least < 0 || d < least {
			least = d
		}
	}
	return least, nil
}
