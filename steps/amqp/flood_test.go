package amqp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestFlood asks brokers that send without end in place of one of their answers: heartbeats, deliveries that nobody asked
// for, and a text that belongs to a method and is longer than its frame.
func TestFlood(t *testing.T) {
	heartbeat := []byte{8, 0, 0, 0, 0, 0, 0, 0xce}
	start := append([]byte{1, 0, 0, 0, 0, 15, 0xa0, 0, 10, 0, 10, 0, 9, 0, 0, 0, 0}, 0x7f, 0xff, 0xff, 0xff)
	text := bytes.Repeat([]byte("x"), 64<<10)
	for _, flood := range []struct {
		name         string
		begin, again []byte
	}{
		{"heartbeats", nil, bytes.Repeat(heartbeat, 1000)},
		{"deliveries", nil, append(append([]byte{3, 0, 1, 0, 0, 4, 0}, text[:1024]...), 0xce)},
		{"a text", start, text},
	} {
		for _, at := range []string{"connection.start", "connection.tune", "connection.open-ok", "channel.open-ok", "queue.declare-ok"} {
			t.Run(flood.name+" for "+at, func(t *testing.T) {
				server, err := stepstest.NewAMQPServer(map[string]stepstest.AMQPQueue{"outgoing": {}}, func(answer string, conn net.Conn) bool {
					if answer != at {
						return false
					}
					_, _ = conn.Write(flood.begin)
					_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
					if sent := fixture.Flood(conn, flood.again); sent > 16<<20 {
						t.Errorf("the client read on until %d bytes were sent", sent)
					}
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				fixture.PeakBelow(t, 8<<20, func() {
					conn, err := net.Dial("tcp", server.Address)
					if err != nil {
						t.Fatal(err)
					}
					_, err = Look(ctx, conn, Login{User: "guest", Password: "guest", Vhost: "/"}, "outgoing")
					over := (*limit.Error)(nil)
					switch {
					case at == "connection.start" && flood.begin == nil, flood.name != "heartbeats":
						if !errors.Is(err, ErrProtocol) {
							t.Errorf("%v, want %v", err, ErrProtocol)
						}
					case !errors.As(err, &over) || over.Limit != framesLimit:
						t.Errorf("%v, want framesLimit", err)
					}
				})
			})
		}
	}
}

// TestLimits holds the limits of frames that a broker may send by the protocol.
func TestLimits(t *testing.T) {
	frame := func(size uint32) []byte {
		head := append([]byte{frameMethod, 0, 0}, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
		return append(append(head, make([]byte, size)...), frameEnd)
	}
	blocked := frame(100 << 10) // told often, and longer than any broker tells it
	copy(blocked[7:], []byte{0, 10, 0, 60})
	for _, c := range []struct {
		sent []byte
		want limit.Limit
	}{
		{frame(uint32(frameLimit.Most) + 1), frameLimit},
		{bytes.Repeat(blocked, 3), sessionLimit},
	} {
		conn := &said{from: bytes.NewReader(c.sent)}
		_, err := Look(t.Context(), conn, Login{User: "guest", Password: "guest", Vhost: "/"}, "outgoing")
		if over := (*limit.Error)(nil); !errors.As(err, &over) || over.Limit != c.want {
			t.Errorf("%v, want the limit of %s", err, c.want.What)
		}
	}
}
