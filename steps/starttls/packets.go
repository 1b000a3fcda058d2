package starttls

import (
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/stepwatch/stepwatch/steps/wording"
)

// ldap sends the extended operation StartTLS (RFC 4511 section 4.14.1) and reads the answer.
func (d *dialogue) ldap() error {
	const request = "\x30\x1d" + "\x02\x01\x01" + "\x77\x18" + "\x80\x16" + "1.3.6.1.4.1.1466.20037" // message, id 1, [APPLICATION 23], [0]
	if _, err := io.WriteString(d.w, request); err != nil {
		return err
	}
	tag, content, err := readElement(d.r)
	if err != nil {
		return err
	}
	code, text, err := extendedResponse(tag, content)
	if err != nil {
		return err
	}
	if code != 0 {
		return d.refusal(fmt.Sprintf("result code %d %s", code, text))
	}
	return nil
}

// readElement reads one element of BER (X.690). Active Directory writes lengths longer than necessary, which
// encoding/asn1 rejects.
func readElement(r io.Reader) (tag byte, content []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := int(head[1])
	if length&0x80 != 0 {
		var long [4]byte
		n := length & 0x7f
		if n < 1 || n > len(long) {
			return 0, nil, broken("a length of %d bytes", n)
		}
		if _, err := io.ReadFull(r, long[len(long)-n:]); err != nil {
			return 0, nil, truncated(err)
		}
		announced := int64(binary.BigEndian.Uint32(long[:]))
		if err := packetLimit.Check(announced); err != nil {
			return 0, nil, err
		}
		length = int(announced)
	}
	content = make([]byte, length)
	if _, err := io.ReadFull(r, content); err != nil {
		return 0, nil, truncated(err)
	}
	return head[0], content, nil
}

// truncated turns the end of the input inside an element into io.ErrUnexpectedEOF.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// extendedResponse returns the result code and the text of an LDAP message with an extended response.
func extendedResponse(tag byte, message []byte) (code byte, text string, err error) {
	next := func(wanted byte, what string) []byte {
		if err != nil {
			return nil
		}
		r := strings.NewReader(string(message))
		got, content, elementErr := readElement(r)
		switch {
		case elementErr != nil:
			err = broken("no %s in the LDAP message", what)
		case got != wanted:
			err = broken("%#02x instead of the %s of the LDAP message", got, what)
		}
		message = message[len(message)-r.Len():]
		return content
	}
	if tag != 0x30 {
		return 0, "", broken("%#02x does not begin an LDAP message", tag)
	}
	next(0x02, "id")
	message = next(0x78, "extended response")
	result := next(0x0a, "result code")
	next(0x04, "matched name")
	diagnostic := next(0x04, "diagnostic message")
	if err == nil && len(result) != 1 {
		err = broken("a result code of %d bytes", len(result))
	}
	if err != nil {
		return 0, "", err
	}
	return result[0], string(diagnostic), nil
}

// postgres asks for TLS as PostgreSQL's clients do (protocol 3.0, SSLRequest): the answer is one byte.
func (d *dialogue) postgres() error {
	request := binary.BigEndian.AppendUint32(nil, 8)
	request = binary.BigEndian.AppendUint32(request, 1234<<16|5679)
	if _, err := d.w.Write(request); err != nil {
		return err
	}
	answer, err := d.r.ReadByte()
	switch {
	case err != nil:
		return err
	case answer == 'S':
		return nil
	case answer == 'N':
		return d.refusal("")
	case answer == 'E':
		return d.refusal("it answers with an error: see its log")
	}
	return broken("%q is not an answer to SSLRequest", answer)
}

// mysql reads the server's first packet (protocol 10) and asks for TLS; the server does not answer.
func (d *dialogue) mysql() error {
	packet, sequence, err := d.mysqlPacket()
	if err != nil {
		return err
	}
	version, offered, err := mysqlGreeting(packet)
	if err != nil {
		if refused := (*Refusal)(nil); errors.As(err, &refused) {
			return d.refusal(refused.Answer)
		}
		return err
	}
	d.greeting = printable(version)
	if !offered {
		return d.refusal("")
	}
	request := []byte{32, 0, 0, sequence + 1}
	request = binary.LittleEndian.AppendUint32(request, mysqlProtocol41|mysqlSSL|mysqlSecureConnection)
	request = binary.LittleEndian.AppendUint32(request, 1<<24) // the longest packet that we would accept
	request = append(request, 45)                              // utf8mb4_general_ci
	request = append(request, make([]byte, 23)...)
	_, err = d.w.Write(request)
	return err
}

// Capabilities of MySQL's protocol.
const (
	mysqlProtocol41       = 0x00000200
	mysqlSSL              = 0x00000800
	mysqlSecureConnection = 0x00008000
)

func (d *dialogue) mysqlPacket() (packet []byte, sequence byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(d.r, head[:]); err != nil {
		return nil, 0, err
	}
	length := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if err := packetLimit.Check(int64(length)); err != nil {
		return nil, 0, err
	}
	packet = make([]byte, length)
	if _, err := io.ReadFull(d.r, packet); err != nil {
		return nil, 0, truncated(err)
	}
	return packet, head[3], nil
}

// mysqlGreeting returns the server's version and whether it offers TLS.
func mysqlGreeting(packet []byte) (version string, tls bool, err error) {
	switch {
	case len(packet) > 3 && packet[0] == 0xff:
		return "", false, &Refusal{Answer: fmt.Sprintf("error %d %s", binary.LittleEndian.Uint16(packet[1:]), packet[3:])}
	case len(packet) < 1 || packet[0] != 10:
		return "", false, broken("the first packet is not of MySQL's protocol 10")
	}
	version, rest, found := strings.Cut(string(packet[1:]), "\x00")
	const before = 4 + 8 + 1 // thread id, first part of the challenge, filler
	if !found || len(rest) < before+2 {
		return "", false, broken("the first packet ends early")
	}
	return version, binary.LittleEndian.Uint16([]byte(rest[before:]))&mysqlSSL != 0, nil
}

// xmpp opens a stream (RFC 6120 section 4.2) and asks for TLS in it.
func (d *dialogue) xmpp(namespace string) error {
	const (
		streams = "http://etherx.jabber.org/streams"
		tls     = "urn:ietf:params:xml:ns:xmpp-tls"
	)
	if err := d.say(`<?xml version='1.0'?><stream:stream to='` + escape(d.host) + `' version='1.0' xmlns='` + namespace + `' xmlns:stream='` + streams + `'>`); err != nil {
		return err
	}
	limited := &limitedBytes{r: d.r, left: int(xmlLimit.Most)}
	tokens := xml.NewDecoder(limited)
	var inError bool
	offered := false
	for {
		token, err := tokens.Token()
		if err != nil {
			return limited.judge(err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch name := t.Name; {
			case name == xml.Name{Space: streams, Local: "stream"}:
				for _, a := range t.Attr {
					if a.Name.Local == "from" {
						d.greeting = printable(a.Value)
					}
				}
			case name == xml.Name{Space: streams, Local: "error"}:
				inError = true
			case inError:
				return d.refusal(name.Local)
			case name == xml.Name{Space: tls, Local: "starttls"}:
				offered = true
			case name == xml.Name{Space: tls, Local: "proceed"}:
				if err := tokens.Skip(); err != nil { // to the end of the element
					return limited.judge(err)
				}
				return nil
			case name == xml.Name{Space: tls, Local: "failure"}:
				return d.refusal("failure")
			}
		case xml.EndElement:
			switch {
			case t.Name != xml.Name{Space: streams, Local: "features"}:
			case !offered:
				return d.refusal("")
			default:
				if _, err := io.WriteString(d.w, `<starttls xmlns='`+tls+`'/>`); err != nil {
					return err
				}
			}
		}
	}
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a strings.Builder never fails
	return b.String()
}

// limitedBytes feeds a decoder byte by byte, so that the decoder never reads ahead.
type limitedBytes struct {
	r    io.ByteReader
	left int
	err  error // of the connection
}

var errTooLong = errors.New("too long")

func (l *limitedBytes) ReadByte() (byte, error) {
	if l.left == 0 {
		return 0, errTooLong
	}
	l.left--
	var b byte
	b, l.err = l.r.ReadByte()
	return b, l.err
}

// Read is never called: a decoder uses ReadByte if there is one.
func (l *limitedBytes) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := l.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

// judge returns the connection's error if there is one, and otherwise an error about the XML.
func (l *limitedBytes) judge(err error) error {
	switch {
	case l.err != nil:
		return l.err
	case errors.Is(err, errTooLong):
		return xmlLimit.Exceeded()
	}
	return broken("it is not XML: %s", printable(wording.Syntax(nil, err)))
}
