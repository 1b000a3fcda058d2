package query

import (
	"context"
	"errors"
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
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"whole":         {whole, nil},
		"an old server": {"\x0a4.0\x00" + strings.Repeat("x", 15), nil},
		"a refusal":     {"\xff\x15\x04no", nil},
		"half of one":   {"\xff\x15", ErrProtocol},
		"one cut off":   {whole[:40], ErrProtocol},
		"no end":        {strings.Repeat("x", 90), ErrProtocol},
	} {
		if err := checkGreeting([]byte(c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestSelects tells statements without an answer, which are the scenario's mistake, from servers that say nothing.
func TestSelects(t *testing.T) {
	for statement, want := range map[string]bool{"SELECT 1": true, " (select 1)": true, "with a as (select 1) select * from a": true, "SHOW TABLES": true,
		"COMMIT": false, "-- nothing": false, "": false, "selection": false} {
		if got := selects.MatchString(statement); got != want {
			t.Errorf("%q: got %t", statement, got)
		}
	}
}
