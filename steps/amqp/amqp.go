// Package amqp asks a broker that speaks AMQP 0-9-1, such as RabbitMQ, for the length of a queue and its number of
// consumers. It declares the queue passively (section 1.7.2.1 of the specification's reference), which changes nothing.
//
// It is a client of its own, because libraries wait for ever when a broker answers twice or out of order, and no context ends
// that. Everything that a broker sends is limited (frame.go).
package amqp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// Reasons why a broker did not answer. Other errors come from the network.
var (
	ErrLogin    = errors.New("the login was refused")
	ErrVhost    = errors.New("there is no such virtual host, or the user may not use it")
	ErrNoQueue  = errors.New("there is no such queue")
	ErrDenied   = errors.New("the user may not look at the queue")
	ErrLocked   = errors.New("the queue is exclusive to another connection")
	ErrProtocol = errors.New("it does not speak AMQP 0-9-1")
)

// Login holds the credentials and the virtual host.
type Login struct {
	User, Password string
	Vhost          string // "/" is RabbitMQ's default
}

// Queue is a broker's report about a queue.
type Queue struct {
	Messages  int // ready ones, without those that a consumer has not acknowledged yet
	Consumers int
}

// closing is the time limit for closing the connection.
const closing = 100 * time.Millisecond

// The reply codes that say what is wrong (section 1.2 of the specification's reference).
const (
	accessRefused  = 403
	notFound       = 404
	resourceLocked = 405
	notAllowed     = 530
)

// Look asks for one queue over conn and closes conn. It returns a *limit.Error if the broker sends too much.
func Look(ctx context.Context, conn net.Conn, login Login, name string) (Queue, error) {
	defer func() { _ = conn.Close() }() // the result is known already
	line := lifeline.Bind(ctx, conn)
	defer line.Release()
	c := newConnection(conn)
	q, err := c.look(login, name)
	switch {
	case errors.Is(err, ErrProtocol), errors.As(err, new(*limit.Error)):
		return Queue{}, err // the time may be over meanwhile, but that is not why
	case err != nil:
		return Queue{}, line.Cause(err)
	}
	// A polite end, for which nobody has to wait.
	if line.SetReadDeadline(time.Now().Add(closing)) == nil {
		_ = c.call(0, connectionClose, closeArguments(), connectionCloseOK) // the answer has arrived before
	}
	return q, nil
}

func (c *connection) look(login Login, name string) (Queue, error) {
	if err := c.open(login); err != nil {
		return Queue{}, err
	}
	if err := c.call(1, channelOpen, []byte{0}, channelOpenOK); err != nil {
		return Queue{}, sorted(err)
	}
	declare := appendShort([]byte{0, 0}, name)
	declare = append(append(declare, 1), 0, 0, 0, 0) // passive, and no arguments
	if err := c.call(1, queueDeclare, declare, queueDeclareOK); err != nil {
		return Queue{}, sorted(err)
	}
	_ = c.short() // the name
	q := Queue{Messages: int(c.number(4)), Consumers: int(c.number(4))}
	if c.cut {
		return Queue{}, fmt.Errorf("%w: its answer to queue.declare is cut off", ErrProtocol)
	}
	return q, nil
}

// open greets the broker, logs in and enters the virtual host (section 2.2.4 of the specification).
func (c *connection) open(login Login) error {
	if _, err := io.WriteString(c.conn, "AMQP\x00\x00\x09\x01"); err != nil {
		return err
	}
	if err := c.await(0, connectionStart); err != nil {
		return sorted(err)
	}
	properties := appendField(appendField(nil, "product", "stepwatch"), "connection_name", "stepwatch")
	// With this the broker says why it refuses a login, instead of closing the connection.
	properties = append(append(appendShort(properties, "capabilities"), 'F'), appendLong(nil, string(append(appendShort(nil, "authentication_failure_close"), 't', 1)))...)
	start := appendShort(appendLong(nil, string(properties)), "PLAIN")
	start = appendShort(appendLong(start, "\x00"+login.User+"\x00"+login.Password), "en_US")
	err := c.call(0, connectionStartOK, start, connectionTune)
	var refused *closedError
	switch {
	case errors.As(err, &refused) && refused.code == accessRefused:
		return fmt.Errorf("%w: %w", ErrLogin, refused)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it closed the connection, which is how brokers refuse one (section 2.2.4 of the specification)", ErrLogin)
	case err != nil:
		return sorted(err)
	}
	channels, frame := c.number(2), c.number(4)
	if c.cut {
		return fmt.Errorf("%w: its answer to the login is cut off", ErrProtocol)
	}
	if frame == 0 || int64(frame) > frameLimit.Most {
		frame = uint32(frameLimit.Most) //nolint:gosec // 128 KB
	}
	tune := binary.BigEndian.AppendUint16(nil, uint16(channels))    //nolint:gosec // read from two bytes
	tune = append(binary.BigEndian.AppendUint32(tune, frame), 0, 0) // no heartbeats
	if err := c.send(0, connectionTuneOK, tune); err != nil {
		return err
	}
	if err := c.call(0, connectionOpen, append(appendShort(nil, login.Vhost), 0, 0), connectionOpenOK); err != nil {
		if errors.As(err, &refused) && refused.code == accessRefused {
			return fmt.Errorf("%w: %w", ErrLogin, refused)
		}
		return sorted(err)
	}
	return nil
}

// sorted classifies the reply code with which a broker closes.
func sorted(err error) error {
	var closed *closedError
	if !errors.As(err, &closed) {
		return err
	}
	kind := ErrProtocol
	switch closed.code {
	case notFound:
		kind = ErrNoQueue
	case accessRefused:
		kind = ErrDenied
	case resourceLocked:
		kind = ErrLocked
	case notAllowed:
		kind = ErrVhost
	}
	return fmt.Errorf("%w: %w", kind, closed)
}
