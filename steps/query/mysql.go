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
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// runMySQL speaks the protocol of MySQL and MariaDB.
func (s *Server) runMySQL(ctx context.Context, statement string) (*Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = s.User, s.Password, s.Database
	config.Net, config.Addr = s.network(), s.Address
	config.TLS = s.TLS
	config.AllowAllFiles, config.MultiStatements, config.ParseTime = false, false, false
	config.Logger = log.New(io.Discard, "", 0) // its errors contain the same
	// The library reads the rest of an answer before it closes, however long the server takes: no context ends that. It may
	// dial more than once.
	var lines []*lifeline.Line
	defer func() {
		for _, line := range lines {
			line.Release()
		}
	}()
	config.DialFunc = func(dialling context.Context, network, address string) (net.Conn, error) {
		conn, err := s.Dial(dialling, network, address)
		if err == nil {
			lines = append(lines, lifeline.BindClosing(ctx, conn))
		}
		return conn, err
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	defer db.Close() //nolint:errcheck // the result is known already
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, mysqlError(err)
	}
	defer conn.Close() //nolint:errcheck // as above
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
	defer transaction.Rollback() //nolint:errcheck // it changed nothing
	rows, err := transaction.QueryContext(ctx, statement)
	if err != nil {
		return nil, mysqlError(err)
	}
	defer rows.Close() //nolint:errcheck // the result is known already
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
