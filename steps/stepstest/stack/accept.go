//go:build linux

package stack

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// acceptor is a server inside the calling process.
type acceptor struct {
	listener net.Listener
	end      context.CancelFunc
	all      sync.WaitGroup
}

// accept has serve called with every connection to address until close, even when ctx ends before. Then, and when serve
// returns, the connection is closed.
func accept(ctx context.Context, address string, serve func(context.Context, net.Conn)) (*acceptor, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	a := &acceptor{listener: listener, end: end}
	a.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			a.all.Go(func() {
				defer conn.Close()
				defer lifeline.BindClosing(ctx, conn).Release()
				serve(ctx, conn)
			})
		}
	})
	return a, nil
}

func (a *acceptor) close() error {
	err := a.listener.Close()
	a.end()
	a.all.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
