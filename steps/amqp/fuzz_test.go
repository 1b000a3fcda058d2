package amqp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stepwatch/stepwatch/steps/limit"
	"time"
)

// said is a connection on which a broker has said everything already.
type said struct {
	net.Conn
	from *bytes.Reader
	sent int
}

func (s *said) Read(p []byte) (int, error)       { return s.from.Read(p) }
func (s *said) Write(p []byte) (int, error)      { s.sent += len(p); return len(p), nil }
func (s *said) Close() error                     { return nil }
func (s *said) SetDeadline(time.Time) error      { return nil }
func (s *said) SetReadDeadline(time.Time) error  { return nil }
func (s *said) SetWriteDeadline(time.Time) error { return nil }

// FuzzLook reads whatever a broker says. It ends, an error is one of the package or the end of the connection, and what is
// sent does not depend on how much is received.
func FuzzLook(f *testing.F) {
	good := "\x01\x00\x00\x00\x00\x00\x1c\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US\xce" +
		"\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1e\x07\xff\x00\x02\x00\x00\x00\x3c\xce" + "\x01\x00\x00\x00\x00\x00\x05\x00\x0a\x00\x29\x00\xce" +
		"\x01\x00\x01\x00\x00\x00\x08\x00\x14\x00\x0b\x00\x00\x00\x00\xce" + "\x01\x00\x01\x00\x00\x00\x0e\x00\x32\x00\x0b\x01q\x00\x00\x00\x05\x00\x00\x00\x02\xce"
	f.Add([]byte(good))
	f.Add([]byte(good[:60]))
	f.Add([]byte("AMQP\x00\x01\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x0f\x00\x0a\x00\x32\x01\x93\x04NONE\x00\x00\x00\x00\xce"))
	f.Add([]byte("\x08\x00\x00\x00\x00\x00\x00\xce"))
	f.Fuzz(func(t *testing.T, broker []byte) {
		conn := &said{from: bytes.NewReader(broker)}
		q, err := Look(t.Context(), conn, Login{User: "u", Password: "p", Vhost: "/"}, "q")
		known := []error{ErrLogin, ErrVhost, ErrNoQueue, ErrDenied, ErrLocked, ErrProtocol, io.EOF, io.ErrUnexpectedEOF}
		if over := (*limit.Error)(nil); errors.As(err, &over) {
			return
		}
		if err != nil {
			for _, k := range known {
				if errors.Is(err, k) {
					return
				}
			}
			t.Fatalf("an unknown error: %v", err)
		}
		if conn.sent > 1000 || q.Messages < 0 || q.Consumers < 0 {
			t.Errorf("%+v, %d bytes sent", q, conn.sent)
		}
	})
}
