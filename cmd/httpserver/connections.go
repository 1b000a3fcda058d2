package httpserver

import (
	"context"
	"crypto/tls"
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

// Connections returns how many connections the server keeps open if the process may have so many descriptors; 0 is no
// limit.
func Connections(descriptors uint64) int {
	if descriptors == 0 {
		return ConnectionsMax
	}
	return int(max(1, min(ConnectionsMax, descriptors/descriptorShare))) //nolint:gosec // at most ConnectionsMax
}

// boundedListener accepts connections up to a limit. A new one is always accepted: whoever scrapes the page comes with a
// new connection, while slow clients hold old ones. The one that has to go for it is closed.
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
	from    string       // the address of the client, without its port
	serving atomic.Int32 // the requests that are being answered; several with HTTP/2

	allowed float64   // bytes that it may read at once; only one goroutine reads
	counted time.Time // when that was so
}

// Read implements net.Conn. Whoever sends without pause gets slower, because what a request, a frame or a password costs the
// processor is paid by the runs: a connection of HTTP/2 can otherwise ask and withdraw a hundred thousand times a second.
func (c *boundedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	now := time.Now()
	c.allowed = min(readBurst, c.allowed+now.Sub(c.counted).Seconds()*readRate) - float64(n)
	c.counted = now
	if c.allowed < 0 {
		time.Sleep(min(readPauseMax, time.Duration(-c.allowed/readRate*float64(time.Second))))
	}
	return n, err
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
		return b.admit(c), nil
	}
}

// admit adds a connection. If there are too many, it closes another one.
func (b *boundedListener) admit(c net.Conn) net.Conn {
	added := &boundedConn{Conn: c, l: b, from: host(c.RemoteAddr().String()), allowed: readBurst, counted: time.Now()}
	b.mu.Lock()
	var surplus *boundedConn
	if len(b.open) >= b.limit {
		i := b.surplus()
		surplus = b.open[i]
		b.open = slices.Delete(b.open, i, i+1)
	}
	b.open = append(b.open, added)
	b.mu.Unlock()
	if surplus != nil {
		_ = surplus.Conn.Close() // its client hears nothing else: the answer may be half sent
		b.warn(fmt.Sprintf("the HTTP server closes connections: %d are open, the limit", b.limit), "from", surplus.from)
	}
	return added
}

// surplus returns which connection has to go: of the client with the most of them, the oldest one that waits for a request,
// or else the oldest one. So neither clients that send nothing nor those that read nothing keep anybody out.
func (b *boundedListener) surplus() int {
	count := make(map[string]int, len(b.open))
	most := 0
	for _, c := range b.open {
		count[c.from]++
		most = max(most, count[c.from])
	}
	oldest := -1
	for i, c := range b.open {
		switch {
		case count[c.from] < most:
		case c.serving.Load() == 0:
			return i
		case oldest < 0:
			oldest = i
		}
	}
	return oldest
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

// closeWaiting closes the connections whose request has not arrived, for which a shutdown would otherwise wait.
func (b *boundedListener) closeWaiting() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.open {
		if c.serving.Load() == 0 {
			_ = c.Conn.Close() // its request is not there yet
		}
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

// connContext keeps the connection with the requests that come over it.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if over, is := c.(*tls.Conn); is {
		c = over.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// serving marks the connections whose request is being answered, and refuses requests when there are too many of them.
func serving(next http.Handler) http.Handler {
	var answered atomic.Int32
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer answered.Add(-1)
		if answered.Add(1) > requestsMax {
			w.Header().Set("Retry-After", "10")
			refuse(w, r, http.StatusServiceUnavailable, fmt.Sprintf("%d requests are being answered, the limit: ask again later", requestsMax))
			return
		}
		if len(r.TransferEncoding) > 0 { // it may also have had a Content-Length, which net/http drops (RFC 9112, section 6.1)
			w.Header().Set("Connection", "close")
		}
		if c, bounded := r.Context().Value(connKey{}).(*boundedConn); bounded {
			c.serving.Add(1)
			defer c.serving.Add(-1)
		}
		next.ServeHTTP(w, r)
	})
}

// host returns an address without its port.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}
