package dnsclient

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Limits of an answer, besides the 65,535 bytes of a message over TCP. A name of 255 bytes may be compressed to two (RFC 1035
// section 4.1.4) and takes a kilobyte in memory with its escapes, so the number of names is what counts. A record has at most
// two, except for HIP (RFC 8005 section 5.5), in which 30,000 names fit into a message.
var (
	recordsLimit = limit.Define(limit.Limit{Subject: "DNS", What: "an answer", Unit: "records", Most: 1000})
	hipLimit     = limit.Define(limit.Limit{Subject: "DNS", What: "a HIP record", Unit: "bytes", Most: 4096})
	bodyLimit    = limit.Define(limit.Limit{Subject: "DNS", What: "an answer over HTTPS", Unit: "bytes", Most: dns.MaxMsgSize})
	wrongLimit   = limit.Define(limit.Limit{Subject: "DNS", What: "what a server sends over UDP for one question", Unit: "wrong replies", Most: 100})
)

// headerSize is the length of the header of a message (RFC 1035 section 4.1.1).
const headerSize = 12

// checkPacket checks a packet against the limits before it is parsed. A packet that is not a message passes.
func checkPacket(packet []byte) error {
	if len(packet) < headerSize {
		return nil
	}
	count := func(at int) int { return int(binary.BigEndian.Uint16(packet[at:])) }
	records := count(6) + count(8) + count(10)
	if err := recordsLimit.Check(int64(records)); err != nil {
		return err
	}
	at := headerSize
	for range count(4) {
		at = skipName(packet, at) + 4
	}
	const fixed = 10 // type, class, TTL, length
	for range records {
		if at = skipName(packet, at); at+fixed > len(packet) {
			return nil
		}
		kind, length := uint16(count(at)), count(at+8) //nolint:gosec // two bytes
		if at += fixed + length; kind == dns.TypeHIP {
			if err := hipLimit.Check(int64(length)); err != nil {
				return err
			}
		}
	}
	return nil
}

// skipName returns the index after a name, which is beyond the packet if the name is.
func skipName(packet []byte, at int) int {
	for at < len(packet) {
		switch n := int(packet[at]); {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			return at + 2
		default:
			at += 1 + n
		}
	}
	return len(packet)
}

// undecoded returns the Error for a reply that was not decoded.
func undecoded(err error) *Error {
	if errors.As(err, new(*limit.Error)) {
		return &Error{Kind: TooLarge, Err: err, Detail: err.Error()}
	}
	return &Error{Kind: Protocol, Detail: err.Error()}
}

// isReply checks the header of a packet before the rest is parsed. Anybody can send packets, and these checks cost nothing.
func isReply(packet []byte, query *dns.Msg) error {
	if len(packet) < headerSize {
		return nil // the parser says what is missing
	}
	id, bits := binary.BigEndian.Uint16(packet), binary.BigEndian.Uint16(packet[2:])
	opcode := int(bits>>11) & 0xf
	switch {
	case id != query.Id:
		return fmt.Errorf("the reply has the id %d, want %d as in the question", id, query.Id)
	case bits>>15 == 0:
		return errors.New("the reply is a question, not an answer")
	case opcode != query.Opcode:
		return fmt.Errorf("the reply has the opcode %d, want %d as in the question", opcode, query.Opcode)
	}
	return nil
}
