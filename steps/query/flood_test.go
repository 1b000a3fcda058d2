package query

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// A panic of the MySQL driver during the login leaves the goroutine that waits for the end of its context.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/go-sql-driver/mysql.(*mysqlConn).startWatcher.func1"))
}

// pg returns a message of PostgreSQL.
func pg(kind byte, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(all)+4)), all...) //nolint:gosec // short
}

// my returns a packet of MySQL.
func my(number byte, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	return append([]byte{byte(len(all)), byte(len(all) >> 8), byte(len(all) >> 16), number}, all...)
}

var (
	pgAccepts = append(pg('R', make([]byte, 4)), pg('Z', []byte("I"))...)
	pgNotice  = pg('N', []byte("SNOTICE\x00C00000\x00M"), bytes.Repeat([]byte("x"), 4000), []byte("\x00\x00"))
	pgNamed   = func() (all []byte) { // parameters that are all different, short ones
		for i := range 100_000 {
			all = append(all, pg('S', fmt.Appendf(nil, "p%d", i), []byte("\x00v\x00"))...)
		}
		return all
	}()
	pgRows = append(pg('T', []byte{0, 1}, []byte("c\x00"), make([]byte, 18)), bytes.Repeat(pg('D', []byte{0, 1, 0, 0, 3, 0xe8}, make([]byte, 1000)), 1000)...)

	myGreets  = my(0, []byte("\x0a11.8.3-MariaDB\x00\x01\x00\x00\x00"), bytes.Repeat([]byte("s"), 8), []byte{0, 0x00, 0x82, 45, 2, 0, 8, 0, 21}, make([]byte, 10), bytes.Repeat([]byte("s"), 12), []byte("\x00mysql_native_password\x00"))
	myAccepts = my(2, []byte{0, 0, 0, 2, 0, 0, 0})
	myColumn  = my(2, []byte("\x03def\x00\x00\x00\x01c\x00\x0c\x3f\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00"))
	myRows    = func() (all []byte) {
		for i := range 256 {
			all = append(all, my(byte(i+4), []byte{0xfc, 0xe8, 0x03}, make([]byte, 1000))...)
		}
		return all
	}()
)

// heard reads once from a client.
func heard(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) }

// TestFloods queries servers that send without end in one of the parts of the dialogue, or announce more than they may.
func TestFloods(t *testing.T) {
	for _, c := range []struct {
		name  string
		my    bool
		login [][]byte // after what the client says first, and so on
		begin []byte
		again []byte
		want  limit.Limit
	}{
		{"PostgreSQL announces much in the login", false, nil, []byte{'R', 0, 0, 0x40, 5}, []byte("x"), loginLimit},
		{"PostgreSQL says more and more in the login", false, nil, nil, pgNotice, answerLimit},
		{"PostgreSQL has more and more parameters", false, nil, nil, pgNamed, reportsLimit},
		{"PostgreSQL wants much work", false, [][]byte{pg('R', []byte{0, 0, 0, 10}, []byte("SCRAM-SHA-256\x00\x00"))},
			pg('R', []byte{0, 0, 0, 11}, []byte("r=x,s=c2FsdA==,i=600001")), nil, scramLimit},
		{"PostgreSQL announces much in the answer", false, [][]byte{pgAccepts}, []byte{'D', 1, 0, 0, 5}, make([]byte, 4096), rowLimit},
		{"PostgreSQL says more and more", false, [][]byte{pgAccepts}, nil, pgNotice, answerLimit},
		{"PostgreSQL answers with rows to BEGIN", false, [][]byte{pgAccepts}, nil, pgRows, answerLimit},
		{"PostgreSQL has many columns", false, [][]byte{pgAccepts, append(pg('C', []byte("BEGIN\x00")), pg('Z', []byte("T"))...)},
			slices.Concat(pg('1'), pg('2'), pg('T', []byte{0x10, 1}, bytes.Repeat(append([]byte("c\x00"), make([]byte, 18)...), 4097))), nil, columnsLimit},
		{"MySQL announces much in the login", true, nil, []byte{1, 0x40, 0, 0}, []byte("x"), loginLimit},
		{"MySQL has many columns", true, [][]byte{myGreets, myAccepts}, my(1, []byte{0xfc, 1, 0x10}), nil, columnsLimit},
		{"MySQL has many columns, in eight bytes", true, [][]byte{myGreets, myAccepts}, my(1, []byte{0xfe, 1, 0x10, 0, 0, 0, 0, 0, 0}), nil, columnsLimit},
		{"MySQL sends rows without end", true, [][]byte{myGreets, myAccepts}, slices.Concat(my(1, []byte{1}), myColumn, my(3, []byte{0xfe, 0, 0, 2, 0})), myRows, answerLimit},
		{"MySQL sends a row without end", true, [][]byte{myGreets, myAccepts}, append(slices.Concat(my(1, []byte{1}), myColumn, my(3, []byte{0xfe, 0, 0, 2, 0})), 0xff, 0xff, 0xff, 4), make([]byte, 4096), rowLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := fixture.Flooding(t, answerLimit.Most, func(conn net.Conn) (sent int64) {
				if !c.my {
					heard(conn)
				}
				for _, said := range c.login {
					_, _ = conn.Write(said)
					heard(conn)
				}
				_, _ = conn.Write(c.begin)
				if c.again != nil {
					return fixture.Flood(conn, c.again)
				}
				_, _ = io.Copy(io.Discard, conn) // until the client closes
				return 0
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			memory := limit.NewMemory(0, nil)
			server := &Server{MySQL: c.my, Address: address, Database: "d", User: "u", Password: "p", Memory: memory,
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, address)
				}}
			fixture.PeakBelow(t, 24<<20, func() {
				_, err := server.Run(ctx, "SELECT 1")
				if over := (*limit.Error)(nil); !errors.As(err, &over) || over.Limit != c.want || ctx.Err() != nil {
					t.Errorf("%v, want the limit of %s of %s", err, c.want.Unit, c.want.What)
				}
			})
			if memory.Used() != 0 {
				t.Errorf("%d bytes are still counted", memory.Used())
			}
		})
	}
}

// TestMemory reads a row into an account that is too small for it.
func TestMemory(t *testing.T) {
	address := fixture.Flooding(t, answerLimit.Most, func(conn net.Conn) int64 {
		heard(conn)
		_, _ = conn.Write(pgAccepts)
		heard(conn)
		_, _ = conn.Write([]byte{'D', 0, 0x20, 0, 4}) // 2 MB
		return fixture.Flood(conn, make([]byte, 4096))
	})
	server := &Server{Address: address, Database: "d", User: "u", Memory: limit.NewMemory(1<<20, nil),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
	_, err := server.Run(t.Context(), "SELECT 1")
	if err == nil || err.Error() != "what the run has read has 2097152 bytes, the limit is 1048576; limits.memory in stepwatch.yml raises it" {
		t.Error(err)
	}
}

// TestDeadline queries servers that say a byte now and then, or flood, at the end of the time: the connection is closed at once,
// and nothing reads on.
func TestDeadline(t *testing.T) {
	for _, c := range []struct {
		name  string
		my    bool
		login [][]byte
		slow  []byte
	}{
		{"PostgreSQL in the login", false, nil, pgNotice},
		{"PostgreSQL in the answer", false, [][]byte{pgAccepts}, pgRows},
		{"PostgreSQL in the answer, as a row", false, [][]byte{pgAccepts}, append([]byte{'D', 0, 0xff, 0, 4}, make([]byte, 4096)...)},
		{"MySQL in the login", true, nil, myGreets},
		{"MySQL in the answer", true, [][]byte{myGreets, myAccepts}, slices.Concat(my(1, []byte{1}), myColumn, my(3, []byte{0xfe, 0, 0, 2, 0}), myRows)},
	} {
		t.Run(c.name, func(t *testing.T) {
			closed := make(chan time.Time, 1)
			address := fixture.Connections(t, func(conn net.Conn) {
				if !c.my {
					heard(conn)
				}
				for _, said := range c.login {
					_, _ = conn.Write(said)
					heard(conn)
				}
				for i := 0; ; i++ {
					if _, err := conn.Write(c.slow[i%len(c.slow) : i%len(c.slow)+1]); err != nil {
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
				closed <- time.Now()
			})
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			server := &Server{MySQL: c.my, Address: address, Database: "d", User: "u", Password: "p",
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, address)
				}}
			start := time.Now()
			_, err := server.Run(ctx, "SELECT 1")
			if took := time.Since(start); err == nil || ctx.Err() == nil || took > 2*time.Second {
				t.Errorf("%v after %s", err, took)
			}
			if took := (<-closed).Sub(start); took > 2*time.Second {
				t.Errorf("the connection was open for %s", took)
			}
		})
	}
}
