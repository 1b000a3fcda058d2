package query

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// runMySQL speaks the protocol of MySQL and MariaDB.
//
// What it opens is not closed if the library panics: that would wait for ever for a lock of package sql, which a panic does not
// release. The connection itself ends in any case, with connections.
func (s *Server) runMySQL(ctx context.Context, statement string) (*Answer, error) {
	var opened []func() error
	answer, err := s.askMySQL(ctx, statement, func(end func() error) { opened = append(opened, end) })
	for _, end := range slices.Backward(opened) {
		_ = end() // the result is known already
	}
	return answer, err
}

// askMySQL runs the statement. It passes to later what closes what it opens.
func (s *Server) askMySQL(ctx context.Context, statement string, later func(func() error)) (*Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	later(func() error { cancel(); return nil })
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = s.User, s.Password, s.Database
	config.Net, config.Addr = s.network(), s.Address
	config.TLS = s.TLS
	config.AllowAllFiles, config.MultiStatements, config.ParseTime = false, false, false
	config.Logger = log.New(io.Discard, "", 0) // its errors contain the same
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := s.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return readGreeting(conn)
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	defer db.Close() //nolint:errcheck // it waits for nothing, and the result is known already
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, mysqlError(err)
	}
	later(conn.Close)
	var version string
	if err := conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return nil, mysqlError(err)
	}
	left := timeLeft(ctx)
	limit := fmt.Sprintf("SET SESSION max_execution_time = %d", max(left.Milliseconds(), 1))
	if strings.Contains(version, "MariaDB") {
		limit = fmt.Sprintf("SET SESSION max_statement_time = %.3f", max(left, time.Millisecond).Seconds())
	}
	// A read-only transaction is not enough: for a statement such as DROP TABLE, MariaDB ends it and runs the
	// statement.
	for _, set := range []string{limit, "SET SESSION time_zone = '+00:00'", "SET SESSION TRANSACTION READ ONLY"} {
		if _, err := conn.ExecContext(ctx, set); err != nil {
			return nil, mysqlError(err)
		}
	}
	transaction, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, mysqlError(err)
	}
	later(transaction.Rollback) // it changed nothing
	rows, err := transaction.QueryContext(ctx, statement)
	if err != nil {
		return nil, mysqlError(err)
	}
	later(rows.Close)
	answer := &Answer{}
	if answer.Columns, err = rows.Columns(); err != nil {
		return nil, mysqlError(err)
	}
	raw := make([]sql.RawBytes, len(answer.Columns))
	into := make([]any, len(raw))
	for i := range raw {
		into[i] = &raw[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, mysqlError(err)
		}
		if !add(answer, raw) {
			cancel() // closes the connection; rows.Close would read all other rows
			return answer, nil
		}
	}
	if err := rows.Err(); err != nil {
		return nil, mysqlError(err)
	}
	return answer, nil
}

// mysqlError classifies an error of MySQL by its number (MySQL and MariaDB error reference).
func mysqlError(err error) error {
	var said *mysql.MySQLError
	switch {
	case errors.Is(err, mysql.ErrNoTLS):
		return ErrNoTLS
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn):
		return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	case errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul), errors.Is(err, mysql.ErrBusyBuffer), errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w of MySQL: %w", ErrProtocol, err)
	case !errors.As(err, &said):
		return err
	}
	kind := ErrOther
	switch said.Number {
	case 1045, 1698, 1130, 1524:
		kind = ErrLogin
	case 1049:
		kind = ErrDatabase
	case 1044, 1142, 1143, 1227:
		kind = ErrDenied
	case 1146, 1054, 1305:
		kind = ErrMissing
	case 1064, 1065, 1052, 1222:
		kind = ErrStatement
	case 1792:
		kind = ErrWrites
	case 1040, 1203:
		kind = ErrBusy
	case 1053:
		kind = ErrStarting
	case 1969, 3024, 1317:
		kind = ErrTimeout
	}
	return &Refusal{Code: strconv.Itoa(int(said.Number)), Message: said.Message, kind: kind}
}

// greeted is a connection whose first packet was read already.
type greeted struct {
	net.Conn
	unread []byte
}

func (g *greeted) Read(p []byte) (int, error) {
	if len(g.unread) == 0 {
		return g.Conn.Read(p)
	}
	n := copy(p, g.unread)
	g.unread = g.unread[n:]
	return n, nil
}

// greetingLimit limits the bytes of a greeting; that of MySQL has about 80.
const greetingLimit = 4 << 10

// readGreeting reads a server's first packet (protocol 10: Protocol::HandshakeV10) and checks that it is whole. The library
// trusts its length: it panics otherwise, and leaves a goroutine behind.
func readGreeting(conn net.Conn) (net.Conn, error) {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	size := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if size > greetingLimit {
		return nil, fmt.Errorf("%w of MySQL: its greeting has %d bytes, the limit is %d", ErrProtocol, size, greetingLimit)
	}
	packet := make([]byte, 4+size)
	copy(packet, head[:])
	if _, err := io.ReadFull(conn, packet[4:]); err != nil {
		return nil, err
	}
	if body := packet[4:]; len(body) == 0 || body[0] != 0xff { // that is a refusal
		// The version ends with a zero. Then come a thread (4 bytes), half a challenge (8), a zero, capabilities (2), and in every
		// server of this century: a character set (1), a status (2), capabilities (2), a length (1), ten bytes, the other half (13).
		const first, second = 4 + 8 + 1 + 2, 1 + 2 + 2 + 1 + 10 + 13
		end := bytes.IndexByte(body, 0)
		rest := len(body) - end - 1
		if end < 0 || rest < first || rest > first && rest < first+second {
			return nil, fmt.Errorf("%w of MySQL: its greeting of %d bytes is cut off", ErrProtocol, size)
		}
	} else if size < 3 {
		return nil, fmt.Errorf("%w of MySQL: its greeting of %d bytes is cut off", ErrProtocol, size)
	}
	return &greeted{conn, packet}, nil
}
