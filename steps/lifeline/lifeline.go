// Package lifeline binds a connection to a context: when the context ends, whoever waits on the connection stops waiting.
//
// Go's connections know deadlines and no contexts. A Line is what lies between, for as long as one exchange takes. It is
// released when that is done, and from then on it neither touches the connection nor leaves a goroutine.
package lifeline

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// past is a deadline that is over, whatever the clock says.
var past = time.Unix(1, 0)

// Deadliner is the part of a net.Conn and a net.PacketConn that waiting depends on.
type Deadliner interface {
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
}

var _ Deadliner = net.Conn(nil)

// Line binds one connection to one context. Its methods may be called by any goroutine.
type Line struct {
	ctx  context.Context //nolint:containedctx // a Line is what joins it to a connection
	conn Deadliner       // nil when the connection is closed at the end

	stop    func() bool
	ended   chan struct{} // closed once the end of ctx was dealt with
	release sync.Once

	mu  sync.Mutex
	cut bool // the context ended while the connection was bound
}

// Bind has every wait on conn end when ctx does. The connection stays open, but its deadline is over: see Release.
func Bind(ctx context.Context, conn Deadliner) *Line {
	return bind(ctx, conn, func() { _ = conn.SetDeadline(past) }) // fails on a closed connection alone, on which nobody waits
}

// BindClosing closes conn when ctx ends. It is for libraries that do not stop for a deadline. The close must not block.
func BindClosing(ctx context.Context, conn io.Closer) *Line {
	return bind(ctx, nil, func() { _ = conn.Close() }) // whoever uses it learns of it
}

func bind(ctx context.Context, conn Deadliner, end func()) *Line {
	l := &Line{ctx: ctx, conn: conn, ended: make(chan struct{})}
	l.stop = context.AfterFunc(ctx, func() {
		defer close(l.ended)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cut = true
		end()
	})
	return l
}

// Release takes the connection from the context and says whether it is as it was: the context did not end before. When
// Release has returned the Line does nothing more to the connection. Releasing twice is harmless.
func (l *Line) Release() (whole bool) {
	l.release.Do(func() {
		if !l.stop() {
			<-l.ended
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.cut
}

// SetReadDeadline moves the deadline of reading, as for a wait that is shorter than the context's. It leaves a connection
// alone whose context has ended, so that no wait begins again after the end.
func (l *Line) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.conn == nil {
		return nil
	}
	return l.conn.SetReadDeadline(t)
}

// Cause returns why the context ended in the place of an error that came of that: its text is the cause's, and errors.Is
// finds both. While the context goes on, err is returned as it is.
func (l *Line) Cause(err error) error {
	if err == nil || l.ctx.Err() == nil {
		return err
	}
	return &endedError{cause: context.Cause(l.ctx), err: err}
}

// endedError is an error of a connection whose context has ended.
type endedError struct{ cause, err error }

func (e *endedError) Error() string   { return e.cause.Error() }
func (e *endedError) Unwrap() []error { return []error{e.cause, e.err} }
