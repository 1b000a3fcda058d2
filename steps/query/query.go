// Package query runs one query on a PostgreSQL or MySQL (MariaDB) database, in a read-only transaction. The server ends
// the query when its time is over.
package query

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
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
	ErrProtocol  = errors.New("the answer does not follow the protocol")
)

// Breach is an answer that can be read and contradicts itself or the query. It wraps ErrProtocol.
type Breach struct{ Said string }

func breach(format string, args ...any) error { return &Breach{fmt.Sprintf(format, args...)} }

// Error returns what is wrong with the answer.
func (b *Breach) Error() string { return ErrProtocol.Error() + ": " + b.Said }

// Unwrap returns ErrProtocol.
func (b *Breach) Unwrap() error { return ErrProtocol }

// selects matches statements whose answers have columns, in both dialects of SQL.
var selects = regex.Lazy(`(?i)^[\s(]*(?:SELECT|WITH|VALUES|TABLE|SHOW|DESCRIBE|EXPLAIN)\b`)

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

	// Dial opens connections. Run closes them when its context ends.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Memory is the account of what the server sent; nil allows everything.
	Memory *limit.Memory
}

// cancelTime is how long a request to cancel a statement may take, after the end of its context. Both servers have a time
// limit for the statement anyway (timeLeft). The request is for a context that ends earlier, and for a server that does not
// keep the limit.
const cancelTime = 500 * time.Millisecond

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

// RowLimit and sizeLimit limit the rows of an answer that are read, and their bytes. There may be more: see Answer.More.
const (
	RowLimit  = 10_000
	sizeLimit = 8 << 20
)

// valueSize is how many bytes a value takes on the wire in addition to its text.
const valueSize = 4

// Answer is the result of a query. Times are in UTC.
type Answer struct {
	Columns []string
	First   []Value // the first row; nil when there is none
	Rows    int     // number of rows
	More    bool    // the rows exceed RowLimit or sizeLimit

	size int // of the rows, in bytes
}

// Size returns how many bytes an answer takes.
func (a *Answer) Size() (bytes int64) {
	for _, value := range a.First {
		bytes += int64(len(value.Text))
	}
	for _, name := range a.Columns {
		bytes += int64(len(name))
	}
	return bytes
}

// Run runs one query. The remaining time of ctx also limits the statement on the server. An error is a *Refusal, a
// *limit.Error, an error of the network or of TLS, or the context's. Memory counts the answer, until its owner frees its Size.
func (s *Server) Run(ctx context.Context, statement string) (*Answer, error) {
	bound, release := s.boundTo(ctx)
	defer release()
	run := bound.runPostgres
	if s.MySQL {
		run = bound.runMySQL
	}
	answer, err := safely(ctx, statement, run)
	if ctx.Err() != nil && (errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)) {
		err = context.Cause(ctx) // we closed it
	}
	if err == nil {
		err = s.Memory.Take(answer.Size())
	}
	if err == nil && len(answer.Columns) == 0 {
		if selects.MatchString(statement) {
			return nil, breach("its result has no columns")
		}
		return nil, ErrNothing
	}
	return answer, err
}

// safely calls run. The libraries read some messages without a look at their length, which ends in a panic.
func safely(ctx context.Context, statement string, run func(context.Context, string) (*Answer, error)) (answer *Answer, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			answer, err = nil, fmt.Errorf("%w: %v", ErrProtocol, fault)
		}
	}()
	return run(ctx, statement)
}

// boundTo returns a Server whose connections are closed when ctx ends: the libraries wait without a context for the answers to
// some commands, such as ROLLBACK. A connection after that is a request to cancel the statement, at the address of the first.
func (s *Server) boundTo(ctx context.Context) (bound *Server, release func()) {
	copied := *s
	var mu sync.Mutex
	var lines []*lifeline.Line
	var opened []net.Conn
	copied.Dial = func(dialing context.Context, network, address string) (net.Conn, error) {
		if ctx.Err() != nil {
			return cancelling(dialing, network, address)
		}
		conn, err := s.Dial(dialing, network, address)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			lines, opened = append(lines, lifeline.BindClosing(ctx, conn)), append(opened, conn)
		}
		return conn, err
	}
	return &copied, func() {
		mu.Lock()
		defer mu.Unlock()
		for i, line := range lines {
			line.Release()
			_ = opened[i].Close() // it may be closed already; the libraries close some in the background
		}
	}
}

// cancelling opens a connection for a request to cancel a statement, which lasts for cancelTime.
func cancelling(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, cancelTime)
	defer stop()
	conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(cancelTime))
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

// number checks a value of a column whose type is a number.
func number(column string, value []byte) error {
	if _, err := strconv.ParseFloat(string(value), 64); err != nil && value != nil && !errors.Is(err, strconv.ErrRange) {
		return breach("its column %s is a number, and has the value %s", wording.Quote(column), wording.Quote(string(value)))
	}
	return nil
}

// add adds a row and reports whether there may be another.
func add[V ~[]byte](a *Answer, row []V) (more bool) {
	size := 0
	for _, value := range row {
		size += len(value) + valueSize
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
