package amqp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The limits of what a broker sends. That of a frame is RabbitMQ's own.
var (
	frameLimit   = limit.Define(limit.Limit{Subject: "AMQP", What: "a frame of the broker", Unit: "bytes", Most: 128 << 10})
	framesLimit  = limit.Define(limit.Limit{Subject: "AMQP", What: "what the broker sends before an answer", Unit: "frames", Most: 1000})
	sessionLimit = limit.Define(limit.Limit{Subject: "AMQP", What: "what the broker sends in one session", Unit: "bytes", Most: 256 << 10})
)

// method is the number of a class and of a method in it (sections 1.4 to 1.7 of the specification's reference).
type method uint32

const (
	connectionStart     method = 10<<16 | 10
	connectionStartOK   method = 10<<16 | 11
	connectionTune      method = 10<<16 | 30
	connectionTuneOK    method = 10<<16 | 31
	connectionOpen      method = 10<<16 | 40
	connectionOpenOK    method = 10<<16 | 41
	connectionClose     method = 10<<16 | 50
	connectionCloseOK   method = 10<<16 | 51
	connectionBlocked   method = 10<<16 | 60 // RabbitMQ's own
	connectionUnblocked method = 10<<16 | 61
	channelOpen         method = 20<<16 | 10
	channelOpenOK       method = 20<<16 | 11
	channelClose        method = 20<<16 | 40
	channelCloseOK      method = 20<<16 | 41
	queueDeclare        method = 50<<16 | 10
	queueDeclareOK      method = 50<<16 | 11
)

// String returns the numbers, "50.11".
func (m method) String() string { return fmt.Sprintf("%d.%d", m>>16, m&0xffff) }

// A frame is its type, channel, size, content and end (section 2.3.5 of the specification).
const (
	frameMethod    = 1
	frameHeartbeat = 8
	frameEnd       = 0xce
)

// connection reads and writes frames. The arguments of the last method that was read are consumed by short and number.
type connection struct {
	conn  net.Conn
	in    *bufio.Reader
	heard bool  // a frame was read
	left  int64 // bytes that the broker may still send

	arguments []byte
	cut       bool // an argument was missing
}

func newConnection(conn net.Conn) *connection {
	return &connection{conn: conn, in: bufio.NewReaderSize(conn, 4<<10), left: sessionLimit.Most}
}

// closedError is how a broker closes the channel or the connection.
type closedError struct {
	code uint32
	text string
}

func (e *closedError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.code) }

// call sends a method and waits for its answer.
func (c *connection) call(channel uint16, m method, arguments []byte, answer method) error {
	if err := c.send(channel, m, arguments); err != nil {
		return err
	}
	return c.await(channel, answer)
}

func (c *connection) send(channel uint16, m method, arguments []byte) error {
	frame := binary.BigEndian.AppendUint16([]byte{frameMethod}, channel)
	frame = binary.BigEndian.AppendUint32(frame, uint32(4+len(arguments))) //nolint:gosec // names and passwords are short
	frame = append(binary.BigEndian.AppendUint32(frame, uint32(m)), arguments...)
	_, err := c.conn.Write(append(frame, frameEnd))
	return err
}

// await reads up to the method m on a channel. It returns a closedError if the broker closes instead.
func (c *connection) await(channel uint16, m method) error {
	for range framesLimit.Most {
		kind, on, content, err := c.read()
		if err != nil {
			return err
		}
		if kind == frameHeartbeat {
			continue
		}
		if kind != frameMethod || len(content) < 4 {
			return fmt.Errorf("%w: it sends a frame of type %d without being asked for it", ErrProtocol, kind)
		}
		got := method(binary.BigEndian.Uint32(content))
		c.arguments, c.cut = content[4:], false
		switch {
		case got == m && on == channel:
			return nil
		case got == connectionBlocked, got == connectionUnblocked:
		case got == connectionClose, got == channelClose:
			closed := &closedError{code: c.number(2), text: wording.OneLine(c.short(), 200)}
			answer := connectionCloseOK
			if got == channelClose {
				answer = channelCloseOK
			}
			_ = c.send(on, answer, nil) // only polite
			return closed
		default:
			return fmt.Errorf("%w: it sends the method %s on channel %d where %s on channel %d is due", ErrProtocol, got, on, m, channel)
		}
	}
	return framesLimit.Exceeded()
}

// read reads a frame.
func (c *connection) read() (kind byte, channel uint16, content []byte, err error) {
	if !c.heard {
		// The first bytes tell a broker from a server of another protocol, which may send fewer than a frame has.
		first, err := c.in.Peek(1)
		if err != nil {
			return 0, 0, nil, err
		}
		if first[0] != frameMethod {
			begun, _ := c.in.Peek(min(20, c.in.Buffered()))
			switch {
			case strings.HasPrefix(string(begun), "AMQP"):
				return 0, 0, nil, fmt.Errorf("%w: it wants another version: it answers %q", ErrProtocol, begun)
			case strings.HasPrefix(string(begun), "\x15\x03"):
				return 0, 0, nil, fmt.Errorf("%w: it answers with TLS", ErrProtocol)
			}
			return 0, 0, nil, fmt.Errorf("%w: its answer begins with %q", ErrProtocol, begun)
		}
		c.heard = true
	}
	var head [7]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, 0, nil, err
	}
	kind, size := head[0], binary.BigEndian.Uint32(head[3:])
	if kind == 0 || kind > 3 && kind != frameHeartbeat {
		return 0, 0, nil, fmt.Errorf("%w: a frame begins with %q, which is not its type (section 2.3.5 of the specification)", ErrProtocol, head[:])
	}
	if err := frameLimit.Check(int64(size)); err != nil {
		return 0, 0, nil, err
	}
	if c.left -= int64(size); c.left < 0 {
		return 0, 0, nil, sessionLimit.Exceeded()
	}
	content = make([]byte, size+1)
	if _, err := io.ReadFull(c.in, content); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, nil, err
	}
	if content[size] != frameEnd {
		return 0, 0, nil, fmt.Errorf("%w: a frame of %d bytes ends with 0x%02x instead of 0xce (section 2.3.5 of the specification)", ErrProtocol, size, content[size])
	}
	return kind, binary.BigEndian.Uint16(head[1:]), content[:size], nil
}

// number consumes an argument of size bytes, at most 4.
func (c *connection) number(size int) (n uint32) {
	if len(c.arguments) < size {
		c.cut = true
		return 0
	}
	for _, b := range c.arguments[:size] {
		n = n<<8 | uint32(b)
	}
	c.arguments = c.arguments[size:]
	return n
}

// short consumes an argument that is a short string.
func (c *connection) short() string {
	size := int(c.number(1))
	if len(c.arguments) < size {
		c.cut = true
		size = len(c.arguments)
	}
	text := string(c.arguments[:size])
	c.arguments = c.arguments[size:]
	return text
}

// appendShort appends a short string, which has at most 255 bytes.
func appendShort(to []byte, text string) []byte {
	text = text[:min(len(text), 255)]
	return append(append(to, byte(len(text))), text...) //nolint:gosec // see above
}

// appendLong appends a long string, or a table.
func appendLong(to []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(to, uint32(len(text))), text...) //nolint:gosec // names and passwords are short
}

// appendField appends a text to a table.
func appendField(to []byte, name, text string) []byte {
	return appendLong(append(appendShort(to, name), 'S'), text)
}

// closeArguments are those of connection.close: 200, no text, and no method that caused it.
func closeArguments() []byte { return append(appendShort([]byte{0, 200}, "bye"), 0, 0, 0, 0) }
