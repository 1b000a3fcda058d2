package stepstest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// AMQPQueue is a queue of an AMQPServer.
type AMQPQueue struct{ Messages, Consumers uint32 }

// AMQPAnswers are the answers of an AMQPServer to a client that asks for a queue, in their order, as method names of
// AMQP 0-9-1.
var AMQPAnswers = []string{"connection.start", "connection.tune", "connection.open-ok", "channel.open-ok", "queue.declare-ok", "connection.close-ok"}

// AMQPServer is a broker on loopback. It speaks the part of AMQP 0-9-1 that a client needs to ask for the length of a
// queue, and accepts every login.
type AMQPServer struct {
	Address string // "host:port"

	acceptor
	queues  map[string]AMQPQueue
	instead func(answer string, conn net.Conn) bool
}

// NewAMQPServer starts a broker with these queues. If instead is not nil, it is called before each of the AMQPAnswers;
// if it returns true, the server sends no answer.
func NewAMQPServer(queues map[string]AMQPQueue, instead func(answer string, conn net.Conn) bool) (*AMQPServer, error) {
	if instead == nil {
		instead = func(string, net.Conn) bool { return false }
	}
	s := &AMQPServer{queues: queues, instead: instead}
	if err := s.listen(func(conn net.Conn) { _ = s.serve(conn) }); err != nil { // the client may leave at any time
		return nil, err
	}
	s.Address = s.address()
	return s, nil
}

// The methods by class and number (AMQP 0-9-1, section 1.4 to 1.7 of the reference).
const (
	connectionStart   = 10<<16 | 10
	connectionStartOK = 10<<16 | 11
	connectionTune    = 10<<16 | 30
	connectionOpen    = 10<<16 | 40
	connectionOpenOK  = 10<<16 | 41
	connectionClose   = 10<<16 | 50
	connectionCloseOK = 10<<16 | 51
	channelOpen       = 20<<16 | 10
	channelOpenOK     = 20<<16 | 11
	channelClose      = 20<<16 | 40
	queueDeclare      = 50<<16 | 10
	queueDeclareOK    = 50<<16 | 11
)

func (s *AMQPServer) serve(conn net.Conn) error {
	if _, err := io.ReadFull(conn, make([]byte, len("AMQP")+4)); err != nil {
		return err
	}
	answer := func(name string, channel uint16, method uint32, arguments []byte) error {
		if s.instead(name, conn) {
			return nil
		}
		return writeMethod(conn, channel, method, arguments)
	}
	start := binary.BigEndian.AppendUint32([]byte{0, 9}, 0) // the version, and no properties
	start = appendLong(appendLong(start, "PLAIN"), "en_US")
	if err := answer("connection.start", 0, connectionStart, start); err != nil {
		return err
	}
	for {
		channel, method, arguments, err := readMethod(conn)
		if err != nil {
			return err
		}
		switch method {
		case connectionStartOK:
			err = answer("connection.tune", 0, connectionTune, []byte{0, 100, 0, 2, 0, 0, 0, 60}) // channels, bytes of a frame, heartbeat
		case connectionOpen:
			err = answer("connection.open-ok", 0, connectionOpenOK, []byte{0})
		case channelOpen:
			err = answer("channel.open-ok", channel, channelOpenOK, make([]byte, 4))
		case queueDeclare:
			err = s.declare(channel, arguments, conn, answer)
		case connectionClose:
			return answer("connection.close-ok", 0, connectionCloseOK, nil)
		}
		if err != nil {
			return err
		}
	}
}

// declare answers the declaration of a queue: after two reserved bytes comes its name.
func (s *AMQPServer) declare(channel uint16, arguments []byte, conn net.Conn, answer func(string, uint16, uint32, []byte) error) error {
	if len(arguments) < 3 || len(arguments) < 3+int(arguments[2]) {
		return errors.New("queue.declare without a name")
	}
	name := string(arguments[3 : 3+int(arguments[2])])
	q, found := s.queues[name]
	if !found {
		refusal := appendShort([]byte{404 >> 8, 404 & 0xff}, "NOT_FOUND - no queue '"+name+"'")
		return writeMethod(conn, channel, channelClose, append(refusal, 0, 50, 0, 10)) // for which method
	}
	said := binary.BigEndian.AppendUint32(appendShort(nil, name), q.Messages)
	return answer("queue.declare-ok", channel, queueDeclareOK, binary.BigEndian.AppendUint32(said, q.Consumers))
}

func appendShort(to []byte, text string) []byte {
	return append(append(to, byte(len(text))), text...) //nolint:gosec // the server's own texts are short
}

func appendLong(to []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(to, uint32(len(text))), text...) //nolint:gosec // as above
}

// A frame is its type, channel, length, content and end; that of a method begins with its class and number.
const (
	methodFrame = 1
	frameEnd    = 0xce
	largeFrame  = 1 << 17
)

func writeMethod(conn net.Conn, channel uint16, method uint32, arguments []byte) error {
	frame := binary.BigEndian.AppendUint16([]byte{methodFrame}, channel)
	frame = binary.BigEndian.AppendUint32(frame, uint32(4+len(arguments))) //nolint:gosec // as above
	frame = append(binary.BigEndian.AppendUint32(frame, method), arguments...)
	_, err := conn.Write(append(frame, frameEnd))
	return err
}

// readMethod reads until the next method.
func readMethod(conn net.Conn) (channel uint16, method uint32, arguments []byte, err error) {
	for {
		var head [7]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return 0, 0, nil, err
		}
		size := binary.BigEndian.Uint32(head[3:])
		if size > largeFrame {
			return 0, 0, nil, errors.New("the frame is too large")
		}
		content := make([]byte, size+1)
		if _, err := io.ReadFull(conn, content); err != nil {
			return 0, 0, nil, err
		}
		if head[0] == methodFrame && size >= 4 {
			return binary.BigEndian.Uint16(head[1:]), binary.BigEndian.Uint32(content), content[4:size], nil
		}
	}
}
