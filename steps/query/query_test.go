package query

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
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

// TestGreeting checks which greetings of a MySQL server the library gets to read.
func TestGreeting(t *testing.T) {
	whole := "\x0a10.11.14\x00" + strings.Repeat("x", 15+29) + "mysql_native_password\x00"
	packet := func(body string) string { return string([]byte{byte(len(body)), byte(len(body) >> 8), 0, 0}) + body }
	for name, c := range map[string]struct {
		sent string
		want error
	}{
		"whole":         {packet(whole), nil},
		"an old server": {packet("\x0a4.0\x00" + strings.Repeat("x", 15)), nil},
		"a refusal":     {packet("\xff\x15\x04no"), nil},
		"one cut off":   {packet(whole[:40]), ErrProtocol},
		"no end":        {packet(strings.Repeat("x", 90)), ErrProtocol},
		"too large":     {"\x01\x10\x00\x00" + strings.Repeat("x", 4097), ErrProtocol},
		"less":          {packet(whole)[:30], io.ErrUnexpectedEOF},
		"nothing":       {"", io.EOF},
	} {
		conn, err := readGreeting(&said{from: bytes.NewReader([]byte(c.sent))})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if err == nil {
			if again, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(again), c.sent) {
				t.Errorf("%s: %q, %v", name, again, err)
			}
		}
	}
}
