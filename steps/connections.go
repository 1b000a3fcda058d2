package steps

import (
	"io"
	"slices"
	"sync"
	"syscall"
)

// connections holds what a run has opened to the outside, so that nothing of it outlives the run: a read that ignores its
// deadline ends when the connection is closed under it. All Worlds of a run share it.
type connections struct {
	mu      sync.Mutex
	cut     bool // the run is over: what is opened now is closed at once
	open    []io.Closer
	prune   int // how many to hold before the closed ones are dropped
	reached []string
}

// addressesMax is how many addresses of a run are remembered. A crawl may reach any number of them.
const addressesMax = 8

// reach notes an address that the run connects to, "host:port".
func (c *connections) reach(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reached) < addressesMax && !slices.Contains(c.reached, address) {
		c.reached = append(c.reached, address)
	}
}

// keep holds a connection until it is closed.
func (c *connections) keep(conn io.Closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		_ = conn.Close() // whoever uses it sees that
		return
	}
	if len(c.open) >= max(c.prune, 32) {
		c.open = slices.DeleteFunc(c.open, isClosed)
		c.prune = 2 * len(c.open) // so that looking through them costs little for each
	}
	c.open = append(c.open, conn)
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

// end closes every connection. If forever, those that follow are closed at once.
func (c *connections) end(forever bool) {
	c.mu.Lock()
	open := c.open
	c.open, c.cut = nil, c.cut || forever
	c.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // most are closed already
	}
}

// Keep makes the run close conn when it is over or abandoned. Dial does that for its connections. It is for those that are
// opened in another way, and not bound to a context (package lifeline).
func (w *World) Keep(conn io.Closer) {
	if w.connections != nil {
		w.connections.keep(conn)
	}
}

// CutOff closes every connection of the run under the step that uses it. The runner calls it when a step ignores its
// deadline. The clean-up may still open others.
func (w *World) CutOff() {
	if w.connections != nil {
		w.connections.end(false)
	}
}

// Reached returns the addresses that the run has connected to or tried to, as "host:port" in the order of their first use,
// at most eight of them. Names are those of the scenario, whatever ConnectTo says.
func (w *World) Reached() []string {
	if w.connections == nil {
		return nil
	}
	w.connections.mu.Lock()
	defer w.connections.mu.Unlock()
	return slices.Clone(w.connections.reached)
}

// reach notes that the run connects to an address.
func (w *World) reach(address string) {
	if w.connections != nil {
		w.connections.reach(address)
	}
}
