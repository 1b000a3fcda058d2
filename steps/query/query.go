// Package query asks a PostgreSQL or MySQL database (MariaDB too) one question, in a transaction that may only read, and ends it
// on the server when its time is up.
package query

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Why a database did not answer. A Refusal wraps one of them.
var (
	ErrLogin     = errors.New("the login was refused")
	ErrDatabase  = errors.New("there is no such database")
	ErrDenied    = errors.New("the user may not do that")
	ErrMissing   = errors.New("what the query asks for is not there")
	ErrStatement = errors.New("the query is wrong")
	ErrWrites    = errors.New("the query would change something, and it may only read")
	ErrBusy      = errors.New("the server takes no more connections")
	ErrStarting  = errors.New("the server is starting up or shutting down")
	ErrTimeout   = errors.New("the query took too long and was ended")
	ErrOther     = errors.New("the server refused it")
	ErrNoTLS     = errors.New("the server offers no TLS")
	ErrNothing   = errors.New("the query asks for nothing") // it is COMMIT, or a comment
	ErrTooLarge  = fmt.Errorf("it gives a row of more than %d MB", largestRow>>20)
)

// Refusal is what a server said instead of an answer.
type Refusal struct {
	Code    string // SQLSTATE of PostgreSQL ("42P01"), number of MySQL ("1146")
	Message string
	kind    error
}

// Error gives the reason, the server's words and its code.
func (r *Refusal) Error() string { return fmt.Sprintf("%v: %s (%s)", r.kind, r.Message, r.Code) }

// Unwrap gives the reason.
func (r *Refusal) Unwrap() error { return r.kind }

// Server says where a database is and how it is opened.
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

// network is what Address is on.
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

// RowLimit and SizeLimit are how many rows and bytes of them are read of an answer.
const (
	RowLimit  = 10_000
	SizeLimit = 8 << 20
)

// largestRow is what a row of PostgreSQL may have: one message, which is read at once. MySQL's own limit is max_allowed_packet.
const largestRow = 2 * SizeLimit

// Answer is what a query gave. Times are in UTC.
type Answer struct {
	Columns []string
	First   []Value // the first row; nil when there is none
	Rows    int     // how many there are
	More    bool    // there are more than RowLimit, or more than fits into SizeLimit

	size int // of the rows, in bytes
}

// Run asks one question. The time that ctx has left is the statement's on the server too. Errors are a *Refusal, one of the
// network or of TLS, or the context's.
func (s *Server) Run(ctx context.Context, statement string) (*Answer, error) {
	run := s.runPostgres
	if s.MySQL {
		run = s.runMySQL
	}
	answer, err := run(ctx, statement)
	if err == nil && len(answer.Columns) == 0 {
		return nil, ErrNothing
	}
	return answer, err
}

// timeLeft is what the server gets for the statement: a little less than ctx has, so that it is the server that says so.
func timeLeft(ctx context.Context) time.Duration {
	deadline, limited := ctx.Deadline()
	if !limited {
		return time.Minute
	}
	left := time.Until(deadline)
	return max(left-min(left/10, 500*time.Millisecond), time.Millisecond)
}

// add takes in a row, and says whether there may be another.
func add[V ~[]byte](a *Answer, row []V) (more bool) {
	size := 0
	for _, value := range row {
		size += len(value)
	}
	if a.Rows == RowLimit || a.size+size > SizeLimit && a.Rows > 0 {
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
