package query

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// said is a connection on which a server has said everything already.
type said struct {
	net.Conn
	from *bytes.Reader
	sent atomic.Int64 // the libraries close a connection in the background
}

func (s *said) Read(p []byte) (int, error)       { return s.from.Read(p) }
func (s *said) Write(p []byte) (int, error)      { s.sent.Add(int64(len(p))); return len(p), nil }
func (s *said) Close() error                     { return nil }
func (s *said) SetDeadline(time.Time) error      { return nil }
func (s *said) SetReadDeadline(time.Time) error  { return nil }
func (s *said) SetWriteDeadline(time.Time) error { return nil }
func (s *said) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *said) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

func fuzz(f *testing.F, server Server) {
	f.Fuzz(func(t *testing.T, answers []byte) {
		asked := server
		var conns []*said
		asked.Dial = func(context.Context, string, string) (net.Conn, error) {
			conn := &said{from: bytes.NewReader(answers)}
			conns = append(conns, conn)
			return conn, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		answer, err := asked.Run(ctx, "SELECT 1")
		if ctx.Err() != nil {
			t.Fatal("it did not end")
		}
		if err == nil && (len(answer.Columns) == 0 || answer.Rows > RowLimit || answer.Rows > 0 && len(answer.First) == 0) {
			t.Errorf("got %+v", answer)
		}
		for _, conn := range conns {
			if conn.sent.Load() > 10_000 {
				t.Errorf("%d bytes sent", conn.sent.Load())
			}
		}
	})
}

// FuzzPostgres reads whatever a PostgreSQL server says.
func FuzzPostgres(f *testing.F) {
	greeting := "R\x00\x00\x00\x08\x00\x00\x00\x00S\x00\x00\x00\x19client_encoding\x00UTF8\x00K\x00\x00\x00\x0c\x00\x00\x04\xd2\x124VxZ\x00\x00\x00\x05I"
	begun := strings.Repeat("C\x00\x00\x00\x08SET\x00", 4) + "Z\x00\x00\x00\x05T"
	rows := "1\x00\x00\x00\x042\x00\x00\x00\x04T\x00\x00\x00\x1e\x00\x01count\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x14\x00\x08\xff\xff\xff\xff\x00\x00D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x014C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05T"
	f.Add([]byte(greeting + begun + rows))
	f.Add([]byte(greeting + "E\x00\x00\x00\x1eSFATAL\x00C57P03\x00Mstarting\x00\x00"))
	f.Add([]byte("R\x00\x00\x00\x0c\x00\x00\x00\x05abcd"))
	f.Add([]byte("R\x00\x00\x00\x17\x00\x00\x00\nSCRAM-SHA-256\x00\x00"))
	fuzz(f, Server{Address: "127.0.0.1:5432", Database: "d", User: "u", Password: "p"})
}

// FuzzMySQL reads whatever a MySQL server says.
func FuzzMySQL(f *testing.F) {
	greeting := "\x4c\x00\x00\x00\x0a10.11.14\x00\x05\x00\x00\x00abcdefgh\x00\x0f\xa2\x2d\x02\x00\x08\x00\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00mysql_native_password\x00"
	ok := func(sequence string) string { return "\x07\x00\x00" + sequence + "\x00\x00\x00\x02\x00\x00\x00" }
	table := "\x01\x00\x00\x01\x01\x17\x00\x00\x02\x03def\x00\x00\x00\x01v\x00\x0c\x2d\x00\x15\x00\x00\x00\xfd\x00\x00\x00\x00\x00\x05\x00\x00\x03\xfe\x00\x00\x02\x00\x02\x00\x00\x04\x018\x05\x00\x00\x05\xfe\x00\x00\x02\x00"
	f.Add([]byte(greeting + ok("\x02") + table + strings.Repeat(ok("\x01"), 4) + table + ok("\x01")))
	f.Add([]byte(greeting + "\x09\x00\x00\x02\xff\x15\x04#28000x"))
	f.Add([]byte(greeting + ok("\x02") + "\x03\x00\x00\x01\xfb/x"))
	f.Add([]byte(greeting + "\x01\x00\x00\x02\xfe"))
	fuzz(f, Server{MySQL: true, Address: "127.0.0.1:3306", Database: "d", User: "u", Password: "p"})
}
