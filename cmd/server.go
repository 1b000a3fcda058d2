package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/steps/lack"
)

// The bounds of the agent's HTTP server. Whoever reaches its port can use no more than this, so that the runs keep
// their file descriptors and their memory. docs/limits.md lists them.
const (
	connectionsMax  = 64               // open at once; at most a quarter of the process's descriptors
	pagesAtOnce     = 4                // pages of one exporter that are written at once
	pageWait        = 5 * time.Second  // for one of them to end
	headerMax       = 16 << 10         // bytes of the header of a request
	bodyMax         = 64 << 10         // bytes of the body of a request
	headerTime      = 5 * time.Second  // to send the header
	requestTime     = 10 * time.Second // to send the whole request
	responseTime    = 30 * time.Second // to take the response
	idleTime        = 2 * time.Minute  // between two requests: above the usual scrape intervals
	acceptPauseMax  = time.Second      // between two attempts to accept a connection without a free descriptor
	descriptorShare = 4                // the server uses one of so many descriptors at most
)

// httpConnections returns how many connections the server keeps open if the process may have so many descriptors; 0 is
// no limit.
func httpConnections(descriptors uint64) int {
	if descriptors == 0 {
		return connectionsMax
	}
	return int(max(1, min(connectionsMax, descriptors/descriptorShare))) //nolint:gosec // at most connectionsMax
}

// newServer returns a server for the pages of handler, and the listener to give to it.
func newServer(l net.Listener, handler http.Handler, connections int, log *slog.Logger) (*http.Server, net.Listener) {
	b := &boundedListener{Listener: l, limit: connections, log: log}
	server := &http.Server{
		Handler: b.serving(http.MaxBytesHandler(handler, bodyMax)), MaxHeaderBytes: headerMax,
		ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: responseTime, IdleTimeout: idleTime,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return server, b
}

// boundedListener accepts connections up to a limit. Beyond it, it closes the oldest one that waits for the rest of a
// request, so that clients that send nothing keep nobody out. If all of them are being served, it closes the new one.
type boundedListener struct {
	net.Listener
	limit int
	log   *slog.Logger

	mu     sync.Mutex
	open   []*boundedConn // the oldest first
	warned time.Time
}

type boundedConn struct {
	net.Conn
	l       *boundedListener
	serving atomic.Bool
}

type connKey struct{}

// Accept implements net.Listener. While this process has no descriptor for a connection, it waits.
func (b *boundedListener) Accept() (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; {
		c, err := b.Listener.Accept()
		if own := lack.Of(err); own != nil {
			b.warn("the HTTP server accepts no connection", "because", own.Error())
			time.Sleep(pause)
			pause = min(2*pause, acceptPauseMax)
			continue
		}
		if err != nil {
			return nil, err
		}
		if bounded := b.admit(c); bounded != nil {
			return bounded, nil
		}
	}
}

// admit adds a connection, or closes it and returns nil.
func (b *boundedListener) admit(c net.Conn) net.Conn {
	added := &boundedConn{Conn: c, l: b}
	b.mu.Lock()
	var surplus net.Conn
	if len(b.open) >= b.limit {
		i := slices.IndexFunc(b.open, func(c *boundedConn) bool { return !c.serving.Load() })
		if i < 0 {
			b.mu.Unlock()
			_ = c.Close() // nothing was read
			b.warn(fmt.Sprintf("the HTTP server closes connections: %d are open, all with a request", b.limit))
			return nil
		}
		surplus = b.open[i].Conn
		b.open = slices.Delete(b.open, i, i+1)
	}
	b.open = append(b.open, added)
	b.mu.Unlock()
	if surplus != nil {
		_ = surplus.Close() // its client has sent no request
		b.warn(fmt.Sprintf("the HTTP server closes connections: %d are open, the limit, and the oldest one has no request", b.limit))
	}
	return added
}

// warn logs what happens, at most once a minute.
func (b *boundedListener) warn(text string, args ...any) {
	b.mu.Lock()
	quiet := time.Since(b.warned) < time.Minute
	if !quiet {
		b.warned = time.Now()
	}
	b.mu.Unlock()
	if !quiet {
		b.log.Warn(text, args...)
	}
}

// Close closes the connection and makes room for another.
func (c *boundedConn) Close() error {
	c.l.mu.Lock()
	if i := slices.Index(c.l.open, c); i >= 0 {
		c.l.open = slices.Delete(c.l.open, i, i+1)
	}
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// serving marks the connections whose request is being answered.
func (b *boundedListener) serving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, bounded := r.Context().Value(connKey{}).(*boundedConn); bounded {
			c.serving.Store(true)
			defer c.serving.Store(false)
		}
		next.ServeHTTP(w, r)
	})
}

// atMost serves a page pagesAtOnce times at once. Who waits longer than pageWait for that gets 503.
func atMost(page http.Handler) http.Handler {
	slots := make(chan struct{}, pagesAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(pageWait)
		defer timer.Stop()
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			page.ServeHTTP(w, r)
		case <-r.Context().Done():
		case <-timer.C:
			w.Header().Set("Retry-After", "10")
			http.Error(w, fmt.Sprintf("%d requests for this page are being answered, the limit: ask again later", pagesAtOnce), http.StatusServiceUnavailable)
		}
	})
}
