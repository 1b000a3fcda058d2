package query

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
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

// TestBreaches queries servers whose answers can be read and contradict themselves.
func TestBreaches(t *testing.T) {
	column := func(name string, kind uint16, format byte) []byte {
		return append([]byte(name), 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(kind>>8), byte(kind), 0, 8, 0xff, 0xff, 0xff, 0xff, 0, format)
	}
	postgres := func(columns []byte, rows ...[]byte) []byte {
		return slices.Concat(pg('1'), pg('2'), pg('T', []byte{0, 1}, columns), bytes.Join(rows, nil), pg('C', []byte("SELECT 1\x00")), pg('Z', []byte("T")))
	}
	row := func(texts ...string) []byte {
		var values []byte
		for _, text := range texts {
			values = append(append(values, 0, 0, 0, byte(len(text))), text...)
		}
		return pg('D', []byte{0, byte(len(texts))}, values)
	}
	mysql := func(kind byte, value string) []byte {
		return slices.Concat(my(1, []byte{1}), my(2, []byte("\x03def\x00\x00\x00\x01n\x00\x0c\x3f\x00\xff\x00\x00\x00"), []byte{kind, 0, 0, 0, 0, 0}), my(3, []byte{0xfe, 0, 0, 2, 0}),
			my(4, []byte{byte(len(value))}, []byte(value)), my(5, []byte{0xfe, 0, 0, 2, 0}))
	}
	about := slices.Concat(my(1, []byte{2}), my(2, []byte("\x03def\x00\x00\x00\x01v\x00\x0c\x3f\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00")), my(3, []byte("\x03def\x00\x00\x00\x01i\x00\x0c\x3f\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00")),
		my(4, []byte{0xfe, 0, 0, 2, 0}), my(5, []byte("\x018\x015")), my(6, []byte{0xfe, 0, 0, 2, 0}))
	accepts := my(1, []byte{0, 0, 0, 2, 0, 0, 0})
	for _, c := range []struct {
		name   string
		my     bool
		answer []byte
		want   string // of the Breach; empty if the answer is good
	}{
		{"a number", false, postgres(column("count", 20, 0), row("4")), ""},
		{"infinite", false, postgres(column("ratio", 701, 0), row("Infinity")), ""},
		{"a text", false, postgres(column("name", 25, 0), row("-")), ""},
		{"not a number", false, postgres(column("count", 20, 0), row("-")), `its column "count" is a number, and has the value "-"`},
		{"empty", false, postgres(column("count", 20, 0), row("")), `its column "count" is a number, and has the value ""`},
		{"two values", false, postgres(column("count", 20, 0), row("4", "5")), "a row has 2 values, and the result 1 columns"},
		{"two rows", false, postgres(column("count", 20, 0), row("4"), row("4")), "its result has 2 rows, and its end says 1"},
		{"binary", false, postgres(column("count", 20, 1), row("4")), `its column "count" is not text, which was asked for`},
		{"a number of MySQL", true, mysql(8, "4"), ""},
		{"a text of MySQL", true, mysql(0xfd, "-"), ""},
		{"not a number of MySQL", true, mysql(8, "-"), `a column is a number, and has the value "-"`},
		{"not a decimal of MySQL", true, mysql(0xf6, ""), `its column "n" is a number, and has the value ""`},
		{"what it said before, of MySQL", true, nil, "its answer to SET SESSION time_zone = '+00:00' is a result"},
	} {
		login := [][]byte{pgAccepts, slices.Concat(pg('C', []byte("BEGIN\x00")), pg('Z', []byte("T"))), c.answer}
		if c.my {
			login = [][]byte{myGreets, myAccepts, about, accepts, accepts, accepts, accepts, c.answer}
			if c.answer == nil {
				login = [][]byte{myGreets, myAccepts, about, accepts, about}
			}
		}
		address := fixture.Connections(t, func(conn net.Conn) {
			if !c.my {
				heard(conn)
			}
			for _, say := range login {
				_, _ = conn.Write(say)
				heard(conn)
			}
		})
		server := &Server{MySQL: c.my, Address: address, Database: "d", User: "u", Password: "p", Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := server.Run(ctx, "SELECT count(*) FROM jobs")
		cancel()
		var wrong *Breach
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.As(err, &wrong) || wrong.Said != c.want || !errors.Is(err, ErrProtocol)):
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}
