package stepstest

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"
)

// TimeServer is an NTP server (RFC 5905) on loopback whose answers a test may change.
type TimeServer struct {
	Asked atomic.Int32 // how often it was asked

	conn   net.PacketConn
	change func(n int, r *TimeReply) bool
}

// TimeReply is an answer before it is sent.
type TimeReply struct {
	Leap, Stratum, Mode       byte
	Poll, Precision           int8 // exponents of 2, in seconds
	RefID                     string
	RootDelay, RootDispersion time.Duration
	Reference, Received, Sent time.Time
	Origin                    uint64 // repeats the number in the question
	Length                    int    // bytes that are sent, at most 48
}

// NewTimeServer starts a server whose clock is right. change alters its n-th answer, from 1, or returns false for none; it may
// be nil.
func NewTimeServer(change func(n int, r *TimeReply) bool) (*TimeServer, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &TimeServer{conn: conn, change: change}
	go s.serve()
	return s, nil
}

// Address returns the "host:port" of the server.
func (s *TimeServer) Address() string { return s.conn.LocalAddr().String() }

// Close stops the server.
func (s *TimeServer) Close() error { return s.conn.Close() }

func (s *TimeServer) serve() {
	question := make([]byte, 100)
	for {
		n, from, err := s.conn.ReadFrom(question)
		if err != nil {
			return
		}
		now := time.Now()
		r := &TimeReply{Stratum: 2, Mode: 4, Poll: 6, Precision: -20, RefID: "\x01\x02\x03\x04", RootDelay: 2 * time.Millisecond, RootDispersion: time.Millisecond,
			Reference: now.Add(-time.Minute), Received: now, Sent: now, Length: 48}
		if n >= r.Length {
			r.Origin = binary.BigEndian.Uint64(question[40:])
		}
		if count := s.Asked.Add(1); s.change == nil || s.change(int(count), r) {
			_, _ = s.conn.WriteTo(r.Packet(), from) // a lost packet is one more fault
		}
	}
}

// Shift makes the server's clock wrong by so much.
func (r *TimeReply) Shift(by time.Duration) {
	r.Reference, r.Received, r.Sent = r.Reference.Add(by), r.Received.Add(by), r.Sent.Add(by)
}

// Packet returns the bytes of the answer.
func (r *TimeReply) Packet() []byte {
	p := make([]byte, 48)
	p[0], p[1], p[2], p[3] = r.Leap<<6|4<<3|r.Mode, r.Stratum, byte(r.Poll), byte(r.Precision)
	binary.BigEndian.PutUint32(p[4:], shortStamp(r.RootDelay))
	binary.BigEndian.PutUint32(p[8:], shortStamp(r.RootDispersion))
	copy(p[12:16], r.RefID)
	binary.BigEndian.PutUint64(p[16:], timeStamp(r.Reference))
	binary.BigEndian.PutUint64(p[24:], r.Origin)
	binary.BigEndian.PutUint64(p[32:], timeStamp(r.Received))
	binary.BigEndian.PutUint64(p[40:], timeStamp(r.Sent))
	return p[:r.Length]
}

// timeStamp returns a time as it is in a packet: seconds since 1900, which begin again with 0 in 2036, and fractions of 2^-32 s.
func timeStamp(t time.Time) uint64 {
	seconds := t.Unix() - time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	return uint64(seconds)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

func shortStamp(d time.Duration) uint32 { return uint32(uint64(d) << 16 / uint64(time.Second)) }
