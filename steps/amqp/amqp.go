// Package amqp asks a broker that speaks AMQP 0-9-1, such as RabbitMQ, for the length of a queue and its number of
// consumers. It declares the queue passively (section 1.7.2.1 of the specification's reference), which changes nothing.
package amqp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/meter"
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

// sessionLimit limits what a broker sends to a client that looks at one queue. RabbitMQ sends less than 1 KB. The library
// keeps what belongs to a method of any size, and reads heartbeats without end.
var sessionLimit = limit.Define(limit.Limit{Subject: "AMQP", What: "the answer of the broker", Unit: "bytes", Most: 256 << 10})

// closing is the time limit for closing the connection.
const closing = 100 * time.Millisecond

// Look asks for one queue over conn and closes conn. It returns a *limit.Error if the broker sends too much.
func Look(ctx context.Context, conn net.Conn, login Login, name string) (Queue, error) {
	metered := meter.New(conn, sessionLimit)
	queue, err := look(ctx, metered, login, name)
	if over := metered.Err(); over != nil && err != nil {
		err = over
	}
	return queue, err
}

func look(ctx context.Context, conn net.Conn, login Login, name string) (Queue, error) {
	defer lifeline.BindClosing(ctx, conn).Release() // the library takes no context
	heard := &heardConn{Conn: conn}
	connection, err := amqp091.Open(heard, amqp091.Config{
		SASL:       []amqp091.Authentication{&amqp091.PlainAuth{Username: login.User, Password: login.Password}},
		Vhost:      login.Vhost,
		Properties: amqp091.Table{"connection_name": "stepwatch", "product": "stepwatch"},
		Locale:     "en_US",
	})
	if err != nil {
		_ = conn.Close() // the error says what went wrong
		// A broker that refuses a login closes the connection silently. The library reports every error at that point
		// as a refused login.
		switch silent := !heard.something.Load(); {
		case ctx.Err() != nil:
		case errors.Is(err, amqp091.ErrVhost) && silent:
			return Queue{}, fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
		case (errors.Is(err, amqp091.ErrVhost) || errors.Is(err, amqp091.ErrCredentials)) && !silent:
			return Queue{}, fmt.Errorf("%w: it stops in the middle of the login", ErrProtocol)
		}
		return Queue{}, sorted(ctx, err, true)
	}
	defer func() { _ = connection.CloseDeadline(time.Now().Add(closing)) }() // the result is known already
	channel, err := connection.Channel()
	if err != nil {
		return Queue{}, sorted(ctx, err, false)
	}
	q, err := channel.QueueDeclarePassive(name, false, false, false, false, nil)
	if err != nil {
		return Queue{}, sorted(ctx, err, false)
	}
	return Queue{Messages: q.Messages, Consumers: q.Consumers}, nil
}

// heardConn records whether the broker has sent something since the last write.
type heardConn struct {
	net.Conn
	something atomic.Bool
}

func (h *heardConn) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.something.Store(true)
	}
	return n, err
}

func (h *heardConn) Write(p []byte) (int, error) {
	h.something.Store(false)
	return h.Conn.Write(p)
}

// sorted classifies a broker's error by its reply code (section 1.2 of the specification's reference). opening is true
// during the login.
func sorted(ctx context.Context, err error, opening bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var said *amqp091.Error
	if !errors.As(err, &said) {
		return err
	}
	var kind error
	switch {
	case opening && said.Code == amqp091.AccessRefused, errors.Is(err, amqp091.ErrSASL):
		kind = ErrLogin
	case said.Code == amqp091.NotFound:
		kind = ErrNoQueue
	case said.Code == amqp091.AccessRefused:
		kind = ErrDenied
	case said.Code == amqp091.ResourceLocked:
		kind = ErrLocked
	case said.Code == amqp091.NotAllowed:
		kind = ErrVhost
	case errors.Is(err, amqp091.ErrClosed), strings.Contains(said.Reason, "EOF"), strings.Contains(said.Reason, "reset"):
		return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	default:
		kind = ErrProtocol
	}
	return fmt.Errorf("%w: %s (%d)", kind, said.Reason, said.Code)
}
