package query

import (
	"context"
	"errors"
	"net"
	"testing"
)

// panicking is a connection on which reading panics, as the libraries do when they read some packets.
type panicking struct{ said }

func (*panicking) Read([]byte) (int, error) { panic("slice bounds out of range") }

// TestPanicIsTheServersFault checks that a packet on which a library panics is a broken answer.
func TestPanicIsTheServersFault(t *testing.T) {
	for _, my := range []bool{false, true} {
		s := Server{MySQL: my, Address: "127.0.0.1:1", Database: "d", User: "u"}
		s.Dial = func(context.Context, string, string) (net.Conn, error) { return new(panicking), nil }
		if _, err := s.Run(t.Context(), "SELECT 1"); !errors.Is(err, ErrProtocol) {
			t.Errorf("MySQL %t: got %v, want %v", my, err, ErrProtocol)
		}
	}
}
