package stepstest

import (
	"net"
	"sync"
)

// acceptor is the part of a server that accepts connections, and closes them with the server.
type acceptor struct {
	listener net.Listener
	mu       sync.Mutex
	conns    map[net.Conn]bool
	closed   bool
	work     sync.WaitGroup
}

// listen accepts connections on a free port of loopback. It passes each to serve and closes it when serve returns.
func (a *acceptor) listen(serve func(net.Conn)) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a.listener, a.conns = listener, make(map[net.Conn]bool)
	a.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if !a.add(conn) {
				_ = conn.Close() // the server is closed
				continue
			}
			a.work.Go(func() {
				serve(conn)
				_ = conn.Close() // the client may have closed it
				a.mu.Lock()
				delete(a.conns, conn)
				a.mu.Unlock()
			})
		}
	})
	return nil
}

func (a *acceptor) add(conn net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.conns[conn] = true
	}
	return !a.closed
}

func (a *acceptor) address() string { return a.listener.Addr().String() }

// Close ends the server and all its connections.
func (a *acceptor) Close() error {
	err := a.listener.Close()
	a.mu.Lock()
	a.closed = true
	for conn := range a.conns {
		_ = conn.Close() // the client may have closed it
	}
	a.mu.Unlock()
	a.work.Wait()
	return err
}
