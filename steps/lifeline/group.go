package lifeline

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Group holds the connections of a run, so that none outlives it: a read that ignores its context ends when the connection
// is closed under it. The zero value is ready. A nil Group holds nothing. Its methods may be called by any goroutine.
type Group struct {
	mu      sync.Mutex
	ended   bool
	open    []io.Closer
	prune   int // how many to hold before those that are closed are dropped
	reached []string

	answered time.Time
	refused  bool
}

// addressesMax is how many addresses are remembered. A crawl may reach any number of them.
const addressesMax = 8

// Reach notes an address that the run connects to, "host:port".
func (g *Group) Reach(address string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.reached) < addressesMax && !slices.Contains(g.reached, address) {
		g.reached = append(g.reached, address)
	}
}

// Reached returns the addresses of Reach in the order of their first use, at most eight of them.
func (g *Group) Reached() []string {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clip(g.reached) // which only grows
}

// Answered returns when a host last accepted a connection, or proved in another way that it answers; zero if none did. refused
// says that it did so by refusing or closing a connection, see Refuse. Hosts on loopback addresses do not count.
func (g *Group) Answered() (at time.Time, refused bool) {
	if g == nil {
		return time.Time{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answered, g.refused
}

// Refuse notes the error that ended a run, if a host answered with it: it refused or closed the connection.
func (g *Group) Refuse(err error) {
	if g == nil || !answers(err) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered, g.refused = time.Now(), true
}

// answers reports whether only a host that answers can have caused an error.
func answers(err error) bool {
	for _, answer := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// isRemote reports whether a connection leads to an address that is not a loopback address.
func isRemote(conn io.Closer) bool {
	socket, ok := conn.(net.Conn)
	if !ok {
		return false
	}
	to, ok := socket.RemoteAddr().(*net.TCPAddr)
	return ok && !to.IP.IsLoopback()
}

// Hold holds a connection until Cut or End closes it. After End it is closed at once.
func (g *Group) Hold(conn io.Closer) {
	if g == nil {
		return
	}
	remote := isRemote(conn)
	g.mu.Lock()
	defer g.mu.Unlock()
	if remote {
		g.answered = time.Now()
	}
	if g.ended {
		_ = conn.Close() // whoever uses it sees that
		return
	}
	if len(g.open) >= max(g.prune, 32) {
		g.open = slices.DeleteFunc(g.open, isClosed)
		g.prune = 2 * len(g.open) // so that looking through them costs little for each
	}
	g.open = append(g.open, conn)
}

// isClosed reports whether a connection of the operating system is closed.
func isClosed(conn io.Closer) bool {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}

// Cut closes every connection. Others may follow.
func (g *Group) Cut() { g.close(false) }

// End closes every connection, and those that follow.
func (g *Group) End() { g.close(true) }

func (g *Group) close(end bool) {
	if g == nil {
		return
	}
	g.mu.Lock()
	open := g.open
	g.open, g.ended = nil, g.ended || end
	g.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // most are closed already
	}
}
