// Package hello offers a TLS server one old version of the protocol and reports the answer.
//
// crypto/tls cannot do that: it has no SSL 3.0 and few of the old ciphers, so a server that refuses a cipher would look
// like one that refuses the version. This package sends the first message of a handshake (RFC 5246 section 7.4.1.2)
// with every cipher of old servers, and reads the answer. It exchanges no key.
package hello

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// The versions that can be offered, in their wire format.
const (
	SSL30 uint16 = 0x0300
	TLS10 uint16 = 0x0301
	TLS11 uint16 = 0x0302
	TLS12 uint16 = 0x0303
)

// Answer is a server's answer to an offer.
type Answer struct {
	Version uint16 // the version that the server chose; zero when it refuses
	Alert   uint8  // the alert (RFC 8446 section 6.2) of a refusal; meaningful when Version is zero
}

// ErrProtocol is wrapped by errors about an answer that is not TLS.
var ErrProtocol = errors.New("the answer is not TLS")

// Offer offers only this version and reads the answer. It sends serverName as SNI unless the name is empty, an address,
// or the version has no SNI. The deadline is that of conn. When a server closes the connection without an alert, the
// error is that of conn.
func Offer(conn io.ReadWriter, version uint16, serverName string) (Answer, error) {
	if _, err := conn.Write(clientHello(version, serverName)); err != nil {
		return Answer{}, err
	}
	return readAnswer(conn)
}

// ciphers are those of servers before TLS 1.3, with the numbers of IANA's registry: ECDHE, DHE and RSA with AES, 3DES,
// CAMELLIA, SEED, IDEA, RC4, DES and export. So no server refuses because a cipher is missing. The last one signals
// RFC 5746.
var ciphers = []uint16{
	0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc023, 0xc027, 0xc024, 0xc028, 0x009e, 0x009f, 0x0067, 0x006b, 0x009c, 0x009d, 0x003c, 0x003d,
	0xc009, 0xc013, 0xc00a, 0xc014, 0xc008, 0xc012, 0xc007, 0xc011, 0x0033, 0x0039, 0x0032, 0x0038, 0x0016, 0x0013, 0x0045, 0x0088, 0x0044, 0x0087,
	0x009a, 0x0099, 0x002f, 0x0035, 0x0041, 0x0084, 0x0096, 0x000a, 0x0007, 0x0005, 0x0004, 0x0015, 0x0012, 0x0009, 0x0014, 0x0011, 0x0008, 0x0006, 0x0003, 0x00ff,
}

// clientHello returns the first message of a client that supports only this version.
func clientHello(version uint16, serverName string) []byte {
	body := binary.BigEndian.AppendUint16(nil, version)
	body = append(body, []byte("stepwatch asks for an old version")[:32]...) // the random; no key is derived from it
	body = append(body, 0)                                                   // no session to resume
	body = appendLength(body, 2*len(ciphers))
	for _, c := range ciphers {
		body = binary.BigEndian.AppendUint16(body, c)
	}
	body = append(body, 1, 0) // no compression
	if version > SSL30 {
		var extensions []byte
		extension := func(number uint16, content []byte) {
			extensions = binary.BigEndian.AppendUint16(extensions, number)
			extensions = appendLength(extensions, len(content))
			extensions = append(extensions, content...)
		}
		if _, err := netip.ParseAddr(serverName); err != nil && serverName != "" && len(serverName) < 256 {
			name := appendLength(nil, 3+len(serverName))
			name = append(name, 0)
			name = appendLength(name, len(serverName))
			extension(0, append(name, serverName...)) // RFC 6066 section 3
		}
		extension(10, []byte{0, 8, 0, 29, 0, 23, 0, 24, 0, 25}) // X25519 and the curves of NIST (RFC 8422 section 5.1.1)
		extension(11, []byte{1, 0})                             // points uncompressed
		if version >= TLS12 {
			extension(13, []byte{0, 18, 4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 4, 1, 5, 1, 6, 1, 2, 1}) // signatures (RFC 5246 section 7.4.1.4.1)
		}
		body = appendLength(body, len(extensions))
		body = append(body, extensions...)
	}
	message := append(appendLength([]byte{handshakeClientHello, 0}, len(body)), body...)
	record := append([]byte{recordHandshake}, byte(SSL30>>8), byte(min(version, TLS10)&0xff)) // the version that old servers expect here
	record = appendLength(record, len(message))
	return append(record, message...)
}

// appendLength appends a length as two bytes. Nothing in an offer is longer than a few hundred bytes.
func appendLength(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint16(b, uint16(n)) //nolint:gosec // see above
}

// Types of records and messages (RFC 8446 sections 5.1 and 4).
const (
	recordAlert          = 21
	recordHandshake      = 22
	handshakeClientHello = 1
	handshakeServerHello = 2
	levelWarning         = 1 // of an alert
	closeNotify          = 0 // the alert that ends the connection, whatever its level
)

// warningsLimit is the number of warnings that may come before the answer. Servers warn about an unknown name.
const warningsLimit = 4

// readAnswer reads the answer, and no more than needed.
func readAnswer(r io.Reader) (Answer, error) {
	for range warningsLimit {
		answer, final, err := readRecord(r)
		if final || err != nil {
			return answer, err
		}
	}
	return Answer{}, fmt.Errorf("%w: %d warnings and no answer", ErrProtocol, warningsLimit)
}

// readRecord reads the needed part of a record. A warning is not final.
func readRecord(r io.Reader) (answer Answer, final bool, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Answer{}, false, err
	}
	kind, length := head[0], int(binary.BigEndian.Uint16(head[3:]))
	if head[1] != 3 || kind != recordAlert && kind != recordHandshake {
		return Answer{}, false, fmt.Errorf("%w: it begins with %q", ErrProtocol, head[:])
	}
	var body [6]byte
	needed := body[:]
	if kind == recordAlert {
		needed = body[:2]
	}
	if length < len(needed) {
		return Answer{}, false, fmt.Errorf("%w: a record of %d bytes", ErrProtocol, length)
	}
	if _, err := io.ReadFull(r, needed); err != nil {
		return Answer{}, false, err
	}
	switch {
	case kind == recordAlert:
		return Answer{Alert: body[1]}, body[0] != levelWarning || body[1] == closeNotify, nil
	case body[0] != handshakeServerHello:
		return Answer{}, false, fmt.Errorf("%w: message %d instead of the server's hello", ErrProtocol, body[0])
	}
	version := binary.BigEndian.Uint16(body[4:])
	if version < SSL30 || version > TLS12 {
		return Answer{}, false, fmt.Errorf("%w: version %#04x", ErrProtocol, version)
	}
	return Answer{Version: version}, true, nil
}
