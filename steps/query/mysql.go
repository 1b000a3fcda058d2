package query

import (
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

// runMySQL speaks the protocol of MySQL and MariaDB. When ctx ends, it kills the statement on a second connection.
func (s *Server) runMySQL(ctx context.Context, statement string) (*Answer, error) {
	run := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// What is opened is not closed if the library panics: that would wait for ever for a lock of package sql, which a panic
	// does not release. The connections end in any case.
	var opened []func() error
	w := &mysqlWire{wire: wire{memory: s.Memory}, ctx: ctx, config: s.TLS, password: s.Password}
	defer w.end()
	answer, err := s.askMySQL(ctx, cancel, run, w, statement, func(end func() error) { opened = append(opened, end) })
	for _, end := range slices.Backward(opened) {
		_ = end() // the result is known already
	}
	if err != nil {
		return nil, w.fault(err)
	}
	return answer, nil
}

// askMySQL calls cancel, the end of ctx, when it has read enough. When stopped ends, it opens another connection to kill the
// statement. It passes to later what closes what it opens.
func (s *Server) askMySQL(ctx context.Context, cancel func(), stopped context.Context, w *mysqlWire, statement string, later func(func() error)) (*Answer, error) {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = s.User, s.Password, s.Database
	config.Net, config.Addr = s.network(), s.Address
	if s.TLS != nil {
		config.Net = "unix" // a network on which the driver may send the password as it is; see mysqlWire
	}
	config.AllowAllFiles, config.MultiStatements, config.ParseTime = false, false, false
	config.Logger = log.New(io.Discard, "", 0) // its errors contain the same
	config.DialFunc = func(dialling context.Context, _, address string) (net.Conn, error) {
		if w.Conn == nil {
			_, err := w.dial(dialling, s, s.network(), address)
			if err != nil {
				return nil, err
			}
			w.start()
			return w, nil
		}
		if stopped.Err() == nil { // a second attempt would have the same result
			return nil, w.fault(io.ErrUnexpectedEOF)
		}
		if s.network() == "tcp" {
			address = w.RemoteAddr().String() // the server that answers
		}
		killer := w.another(dialling)
		if _, err := killer.dial(dialling, s, s.network(), address); err != nil {
			return nil, err
		}
		killer.start()
		return killer, nil
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	later(db.Close)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, mysqlError(err)
	}
	later(conn.Close)
	var version, id string
	if err := conn.QueryRowContext(ctx, "SELECT VERSION(), CONNECTION_ID()").Scan(&version, &id); err != nil {
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
		if stopped.Err() != nil {
			kill(db, id)
		}
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

// kill ends the statement of a connection, if that still runs.
func kill(db *sql.DB, id string) {
	if _, err := strconv.ParseUint(id, 10, 64); err != nil {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), cancelTime)
	defer stop()
	_, _ = db.ExecContext(ctx, "KILL QUERY "+id) // the server's own limit ends it otherwise
}

// mysqlError classifies an error of MySQL by its number (MySQL and MariaDB error reference).
func mysqlError(err error) error {
	var said *mysql.MySQLError
	switch {
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
