package lifeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestGroup(t *testing.T) {
	closed := func(conn net.Conn) bool {
		return errors.Is(conn.SetDeadline(time.Time{}), net.ErrClosed)
	}
	var g Group
	first, _ := pair(t)
	g.Hold(first)
	g.Cut()
	if !closed(first) {
		t.Error("Cut did not close a connection")
	}
	second, _ := pair(t)
	if g.Hold(second); closed(second) {
		t.Error("a connection after Cut is closed")
	}
	g.End()
	third, _ := pair(t)
	if g.Hold(third); !closed(second) || !closed(third) {
		t.Errorf("after End, a connection from before is closed: %t, a new one: %t", closed(second), closed(third))
	}
	for i := range 20 {
		g.Reach("a:1")
		g.Reach(fmt.Sprintf("b:%d", i))
	}
	if got, want := g.Reached(), []string{"a:1", "b:0", "b:1", "b:2", "b:3", "b:4", "b:5", "b:6"}; !slices.Equal(got, want) {
		t.Errorf("addresses: got %q, want %q", got, want)
	}
	none := (*Group)(nil)
	none.Reach("a:1")
	none.Hold(first)
	none.Cut()
	none.End()
	if none.Reached() != nil {
		t.Error("nothing holds addresses")
	}
}

// TestGroupAnswers holds which connections and errors are an answer of another host.
func TestGroupAnswers(t *testing.T) {
	var g Group
	local, _ := pair(t)
	g.Hold(local)
	for _, err := range []error{nil, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, context.DeadlineExceeded} {
		g.Refuse(err)
	}
	if at, refused := g.Answered(); !at.IsZero() || refused {
		t.Errorf("a connection on loopback and timeouts: answered at %s, refused %t", at, refused)
	}
	g.Hold(remote{local})
	if at, refused := g.Answered(); at.IsZero() || refused {
		t.Errorf("an accepted connection: answered at %s, refused %t", at, refused)
	}
	for _, err := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, io.EOF, io.ErrUnexpectedEOF} {
		var g Group
		g.Refuse(fmt.Errorf("read: %w", err))
		if at, refused := g.Answered(); at.IsZero() || !refused {
			t.Errorf("%v: answered at %s, refused %t", err, at, refused)
		}
	}
	(*Group)(nil).Refuse(io.EOF)
	if at, refused := (*Group)(nil).Answered(); !at.IsZero() || refused {
		t.Error("nothing answers")
	}
}

// remote is a connection to another machine.
type remote struct{ net.Conn }

func (remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }

// TestGroupForgets holds that a run which opens very many connections one after another does not keep them all.
func TestGroupForgets(t *testing.T) {
	var g Group
	stays, _ := pair(t)
	g.Hold(stays)
	for range 500 {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		g.Hold(conn)
		_ = conn.Close()
	}
	if len(g.open) > 70 || g.open[0] != stays {
		t.Errorf("%d connections are held, of which one is open", len(g.open))
	}
	g.End()
}
