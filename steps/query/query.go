// Package query runs one query on a PostgreSQL or MySQL (MariaDB) database, in a read-only transaction. The server ends
// the query when its time is over.
package query

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// Reasons why a database did not answer. A Refusal wraps one of them.
var (
	ErrLogin     = errors.New("the login was refused")
	ErrDatabase  = errors.New("there is no such database")
	ErrDenied    = errors.New("the user has no right to do that")
	ErrMissing   = errors.New("the table, column or function of the query does not exist")
	ErrStatement = errors.New("the query is wrong")
	ErrWrites    = errors.New("the query would change something, but it may only read")
	ErrBusy      = errors.New("the server accepts no more connections")
	ErrStarting  = errors.New("the server is starting up or shutting down")
	ErrTimeout   = errors.New("the query took too long and was ended")
	ErrOther     = errors.New("the server refused it")
	ErrNoTLS     = errors.New("the server offers no TLS")
	ErrNothing   = errors.New("the query returns nothing") // it is COMMIT, or a comment
	ErrProtocol  = errors.New("the answer breaks the protocol")
	ErrTooLarge  = fmt.Errorf("it returns a row of more than %d MB", largestRow>>20)
)

// Refusal is a server's error.
type Refusal struct {
	Code    string // SQLSTATE of PostgreSQL ("42P01"), number of MySQL ("1146")
	Message string
	kind    error
}

// Error returns the reason, the server's message and its code.
func (r *Refusal) Error() string { return fmt.Sprintf("%v: %s (%s)", r.kind, r.Message, r.Code) }

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.kind }

// Server describes a database and how to connect to it.
type Server struct {
	MySQL    bool   // else PostgreSQL
	Address  string // "host:port", or the path of a socket
	Database string
	User     string
	Password string
	TLS      *tls.Config // nil connects without

	// Dial opens connections.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// network returns the network of Address: "unix" or "tcp".
func (s *Server) network() string {
	if strings.HasPrefix(s.Address, "/") {
		return "unix"
	}
	return "tcp"
}

// Value is one value as text, or NULL.
type Value struct {
	Text string
	Null bool
}

// RowLimit and sizeLimit limit the rows of an answer that are read, and their bytes.
const (
	RowLimit  = 10_000
	sizeLimit = 8 << 20
)

// largestRow limits a row of PostgreSQL, in bytes: it is one message, which is read at once. MySQL has its own limit,
// max_allowed_packet.
const largestRow = 2 * sizeLimit

// Answer is the result of a query. Times are in UTC.
type Answer struct {
	Columns []string
	First   []Value // the first row; nil when there is none
	Rows    int     // number of rows
	More    bool    // the rows exceed RowLimit or sizeLimit

	size int // of the rows, in bytes
}

// Run runs one query. The remaining time of ctx also limits the statement on the server. An error is a *Refusal, an
// error of the network or of TLS, or the context's.
func (s *Server) Run(ctx context.Context, statement string) (answer *Answer, err error) {
	// The libraries trust the sizes in a packet: one that is too short makes them panic.
	defer func() {
		if v := recover(); v != nil {
			answer, err = nil, fmt.Errorf("%w: a packet is cut off or says a wrong size (%v)", ErrProtocol, v)
		}
	}()
	connections := &connections{ctx: ctx, dial: s.Dial}
	defer connections.close()
	bound := *s
	bound.Dial = connections.open
	run := bound.runPostgres
	if s.MySQL {
		run = bound.runMySQL
	}
	answer, err = run(ctx, statement)
	if err == nil && len(answer.Columns) == 0 {
		return nil, ErrNothing
	}
	return answer, err
}

// timeLeft returns the server's time limit for the statement: slightly less than that of ctx, so that the server
// reports the timeout.
func timeLeft(ctx context.Context) time.Duration {
	deadline, limited := ctx.Deadline()
	if !limited {
		return time.Minute
	}
	left := time.Until(deadline)
	return max(left-min(left/10, 500*time.Millisecond), time.Millisecond)
}

// add adds a row and reports whether there may be another.
func add[V ~[]byte](a *Answer, row []V) (more bool) {
	size := 0
	for _, value := range row {
		size += len(value)
	}
	if a.Rows == RowLimit || a.size+size > sizeLimit && a.Rows > 0 {
		a.More = true
		return false
	}
	if a.Rows == 0 {
		a.First = make([]Value, len(row))
		for i, value := range row {
			a.First[i] = Value{string(value), value == nil}
		}
	}
	a.Rows++
	a.size += size
	return true
}

// connections are those of one query. They end with it and with its context: the libraries read the rest of an answer before
// they close a connection, close one in the background, and open another one to cancel a statement.
type connections struct {
	ctx  context.Context //nolint:containedctx // of the query
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	all  []net.Conn
	ends []*lifeline.Line
	over bool
}

func (c *connections) open(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		_ = conn.Close() // nobody will read from it
		return nil, net.ErrClosed
	}
	c.all, c.ends = append(c.all, conn), append(c.ends, lifeline.BindClosing(c.ctx, conn))
	return conn, nil
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for i, conn := range c.all {
		c.ends[i].Release()
		_ = conn.Close() // it may be closed already
	}
}
