package httpserver

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Pages bounds what large pages cost. A page is written to memory first, a few at once, and sent afterwards. So a client that
// reads slowly holds memory and not one of the few places. When too much memory is held, the page that has been sent for
// the longest time is cut.
type Pages struct {
	mu   sync.Mutex
	sent []*sending // the oldest first
	held int        // bytes of them
}

// sending is a page on its way.
type sending struct {
	size int
	to   *http.ResponseController
}

// Bound returns a handler that writes a page pagesAtOnce times at once. Who waits longer than pageWait for that gets 503.
func (p *Pages) Bound(page http.Handler) http.Handler {
	slots := make(chan struct{}, pagesAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // whoever sends slowly waits for himself, and not in one of the places
			body, err := io.ReadAll(r.Body)
			r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
		}
		timer := time.NewTimer(pageWait)
		defer timer.Stop()
		select {
		case slots <- struct{}{}:
		case <-r.Context().Done():
			return
		case <-timer.C:
			w.Header().Set("Retry-After", "10")
			http.Error(w, fmt.Sprintf("%d requests for this page are being answered, the limit: ask again later", pagesAtOnce), http.StatusServiceUnavailable)
			return
		}
		written := &memoryWriter{header: w.Header(), status: http.StatusOK}
		func() {
			defer func() { <-slots }()
			page.ServeHTTP(written, r)
		}()
		p.send(w, written)
	})
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
func (p *Pages) send(w http.ResponseWriter, page *memoryWriter) {
	s := &sending{size: page.body.Len(), to: http.NewResponseController(w)}
	p.mu.Lock()
	var cut []*sending
	for p.held+s.size > pagesHeld && len(p.sent) > 0 {
		cut = append(cut, p.sent[0])
		p.remove(p.sent[0])
	}
	p.sent = append(p.sent, s)
	p.held += s.size
	// Under the lock none of them has returned from its handler, which a deadline must not be set after.
	for _, c := range cut {
		_ = c.to.SetWriteDeadline(time.Now().Add(-time.Second)) // its Write ends with an error, and so does its connection
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.remove(s)
	}()
	w.WriteHeader(page.status)
	_, _ = w.Write(page.body.Bytes()) // the client may have left
	_ = s.to.Flush()
}

// remove forgets a page that is sent, or that was cut. The lock is held.
func (p *Pages) remove(s *sending) {
	if i := slices.Index(p.sent, s); i >= 0 {
		p.sent = slices.Delete(p.sent, i, i+1)
		p.held -= s.size
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
