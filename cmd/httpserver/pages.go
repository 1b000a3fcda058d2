package httpserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Pages bounds what large pages cost. A page is written to memory first, a few at once, and sent afterwards. So a client that
// reads slowly holds memory and not one of the few places. Equal requests that wait share one page, whose writing begins after
// they came, so it is never older than they are. When too much memory is held, the page that has been sent for the longest time
// is cut.
type Pages struct {
	mu   sync.Mutex
	sent []*written // the oldest first
	held int        // bytes of them
}

// written is a page in memory, and the clients that it is being sent to.
type written struct {
	memoryWriter
	done     chan struct{} // closed when it is written
	busy     bool          // it was not written: there was no place
	panicked string        // the handler's, which net/http logs
	to       map[*http.ResponseController]bool
}

// queue has the pages that are being written for one kind of requests.
type queue struct {
	mu      sync.Mutex
	waiting map[string]*written // by what is asked for; their writing has not begun
	slots   chan struct{}
	began   time.Time    // when the last one began to be written
	sending atomic.Int32 // clients that a page is being sent to
}

// Bound returns a handler that writes a page pagesAtOnce times at once. Who waits longer than pageWait for that gets 503. Only
// what a GET request asks for is shared.
func (p *Pages) Bound(page http.Handler) http.Handler {
	q := &queue{waiting: make(map[string]*written), slots: make(chan struct{}, pagesAtOnce)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // whoever sends slowly waits for himself, and not in one of the places
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
		}
		out := q.page(page, r)
		select {
		case <-out.done:
		case <-r.Context().Done():
			return
		}
		if out.panicked != "" {
			panic(out.panicked)
		}
		if out.busy {
			w.Header().Set("Retry-After", "10")
			http.Error(w, fmt.Sprintf("%d requests for this page are being answered, the limit: ask again later", pagesAtOnce), http.StatusServiceUnavailable)
			return
		}
		q.sending.Add(1)
		defer q.sending.Add(-1)
		p.send(w, out)
	})
}

// page returns what a request asks for, which is being written, or waits for that.
func (q *queue) page(page http.Handler, r *http.Request) *written {
	key := ""
	if r.Method == http.MethodGet && r.ContentLength == 0 {
		key = asked(r)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if out := q.waiting[key]; key != "" && out != nil {
		return out
	}
	out := &written{memoryWriter: memoryWriter{header: make(http.Header), status: http.StatusOK}, done: make(chan struct{}), to: make(map[*http.ResponseController]bool)}
	if key != "" {
		q.waiting[key] = out
		r = r.WithContext(context.WithoutCancel(r.Context())) // others may wait for it when this client has left
	}
	go q.write(page, out, key, r)
	return out
}

// asked returns what decides about an answer: the address and the header, without what says who asks.
func asked(r *http.Request) string {
	var b strings.Builder
	b.WriteString(r.URL.RequestURI())
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if name != "Authorization" && name != "User-Agent" {
			fmt.Fprintf(&b, "\n%s: %q", name, r.Header[name])
		}
	}
	return b.String()
}

// write writes a page when there is a place.
func (q *queue) write(page http.Handler, out *written, key string, r *http.Request) {
	defer close(out.done)
	q.gather(r.Context())
	timer := time.NewTimer(pageWait)
	defer timer.Stop()
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
	case <-r.Context().Done():
		out.busy = true
	case <-timer.C:
		out.busy = true
	}
	q.mu.Lock()
	delete(q.waiting, key) // whoever comes now wants a later page
	q.began = time.Now()
	q.mu.Unlock()
	if out.busy {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			out.panicked = fmt.Sprintf("%v\n%s", r, debug.Stack())
		}
	}()
	page.ServeHTTP(&out.memoryWriter, r)
}

// gather waits for a moment while pages are being sent to many clients, so that those who come together share one. Otherwise
// slow readers hold so many pages that some are cut, come back with a new connection, and make more.
func (q *queue) gather(ctx context.Context) {
	q.mu.Lock()
	wait := time.Until(q.began.Add(pageGather))
	q.mu.Unlock()
	if wait <= 0 || q.sending.Load() <= pagesAtOnce {
		return
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

// failing is the end of a body: an error if it did not arrive whole.
type failing struct{ err error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// send sends a page that is written.
func (p *Pages) send(w http.ResponseWriter, page *written) {
	to := http.NewResponseController(w)
	p.mu.Lock()
	if len(page.to) == 0 {
		for size := page.body.Len(); p.held+size > pagesHeld && len(p.sent) > 0; {
			oldest := p.sent[0]
			// Under the lock none of them has returned from its handler, after which a deadline must not be set.
			for slow := range oldest.to {
				_ = slow.SetWriteDeadline(time.Now().Add(-time.Second)) // its Write ends with an error, and so does its connection
			}
			p.forget(oldest)
		}
		p.sent = append(p.sent, page)
		p.held += page.body.Len()
	}
	page.to[to] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if delete(page.to, to); len(page.to) == 0 {
			p.forget(page)
		}
	}()
	maps.Copy(w.Header(), page.header)
	w.WriteHeader(page.status)
	_, _ = w.Write(page.body.Bytes()) // the client may have left
	_ = to.Flush()
}

// forget takes a page that is sent, or that was cut, out of the account. The lock is held.
func (p *Pages) forget(page *written) {
	if i := slices.Index(p.sent, page); i >= 0 {
		p.sent = slices.Delete(p.sent, i, i+1)
		p.held -= page.body.Len()
	}
}

// memoryWriter keeps an answer in memory.
type memoryWriter struct {
	header http.Header
	status int
	headed bool
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *memoryWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *memoryWriter) WriteHeader(status int) {
	if !w.headed {
		w.status, w.headed = status, true
	}
}

// Write implements http.ResponseWriter.
func (w *memoryWriter) Write(b []byte) (int, error) {
	w.headed = true
	return w.body.Write(b)
}
