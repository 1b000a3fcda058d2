package query

import (
	"bytes"
	"context"
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

	"github.com/stepwatch/stepwatch/steps/wording"
)

// runMySQL speaks the protocol of MySQL and MariaDB. When ctx ends, it kills the statement on a second connection. It uses the
// driver without package sql, which runs a part of it in goroutines of its own: a packet on which the driver panics there would
// end the process.
func (s *Server) runMySQL(ctx context.Context, statement string) (*Answer, error) {
	w := &mysqlWire{wire: wire{memory: s.Memory}, ctx: ctx, config: s.TLS, password: s.Password}
	defer w.end()
	answer, err := s.askMySQL(ctx, w, statement)
	if err != nil {
		return nil, w.fault(err)
	}
	return answer, nil
}

// mysqlConn is what the connections of the driver can do.
type mysqlConn interface {
	driver.Conn
	driver.ExecerContext
	driver.QueryerContext
}

func (s *Server) askMySQL(ctx context.Context, w *mysqlWire, statement string) (*Answer, error) {
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
		if ctx.Err() == nil { // a second attempt would have the same result
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
	conn, err := connectMySQL(ctx, connector)
	if err != nil {
		return nil, mysqlError(err)
	}
	defer conn.Close() //nolint:errcheck // the result is known already; it ends the transaction, and does not read the rest of the rows
	about, err := firstRow(ctx, conn, "SELECT VERSION(), CONNECTION_ID()")
	if err != nil {
		return nil, mysqlError(err)
	}
	if len(about) != 2 {
		return nil, fmt.Errorf("%w of MySQL: %d columns instead of 2", ErrProtocol, len(about))
	}
	left := timeLeft(ctx)
	limit := fmt.Sprintf("SET SESSION max_execution_time = %d", max(left.Milliseconds(), 1))
	if strings.Contains(string(about[0]), "MariaDB") {
		limit = fmt.Sprintf("SET SESSION max_statement_time = %.3f", max(left, time.Millisecond).Seconds())
	}
	// A read-only transaction is not enough: for a statement such as DROP TABLE, MariaDB ends it and runs the
	// statement.
	for _, set := range []string{limit, "SET SESSION time_zone = '+00:00'", "SET SESSION TRANSACTION READ ONLY", "START TRANSACTION READ ONLY"} {
		if err := command(ctx, conn, set); err != nil {
			return nil, mysqlError(err)
		}
	}
	rows, err := conn.QueryContext(ctx, statement, nil)
	if err != nil {
		if ctx.Err() != nil {
			kill(ctx, connector, string(about[1]))
		}
		return nil, mysqlError(err)
	}
	answer := &Answer{Columns: rows.Columns()}
	for row := make([]driver.Value, len(answer.Columns)); ; {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return answer, nil
		} else if err != nil {
			return nil, mysqlError(err)
		}
		values := texts(row)
		for i, value := range values {
			if named, is := rows.(driver.RowsColumnTypeDatabaseTypeName); is && named.ColumnTypeDatabaseTypeName(i) == "DECIMAL" {
				if err := number(answer.Columns[i], value); err != nil {
					return nil, err
				}
			}
		}
		if !add(answer, values) {
			return answer, nil
		}
	}
}

func connectMySQL(ctx context.Context, connector driver.Connector) (mysqlConn, error) {
	opened, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, ok := opened.(mysqlConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's %T cannot query", opened), opened.Close())
	}
	return conn, nil
}

// command runs a statement without a result. One that has a result is that of an earlier statement: the server repeats itself,
// and what it answers to the query would be none, too.
func command(ctx context.Context, conn mysqlConn, statement string) error {
	rows, err := conn.QueryContext(ctx, statement, nil)
	if err != nil {
		return err
	}
	if len(rows.Columns()) > 0 {
		return breach("its answer to %s is a result", statement) // the connection is closed with the rest unread
	}
	return rows.Close()
}

// firstRow runs a query of one row.
func firstRow(ctx context.Context, conn mysqlConn, query string) ([][]byte, error) {
	rows, err := conn.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	row := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(row); err != nil {
		return nil, err
	}
	values := texts(row)
	for i := range values {
		values[i] = bytes.Clone(values[i]) // it is the driver's
	}
	return values, rows.Close()
}

// texts returns the values of a row as the server wrote them, nil for NULL. The driver converts numbers.
func texts(row []driver.Value) [][]byte {
	values := make([][]byte, len(row))
	for i, value := range row {
		switch v := value.(type) {
		case nil:
		case []byte:
			if values[i] = v; v == nil {
				values[i] = []byte{}
			}
		case string:
			values[i] = []byte(v)
		case int64:
			values[i] = strconv.AppendInt(nil, v, 10)
		case uint64:
			values[i] = strconv.AppendUint(nil, v, 10)
		case float32:
			values[i] = strconv.AppendFloat(nil, float64(v), 'g', -1, 32)
		case float64:
			values[i] = strconv.AppendFloat(nil, v, 'g', -1, 64)
		default:
			values[i] = fmt.Append(nil, v)
		}
	}
	return values
}

// kill ends the statement of a connection, if that still runs. It does so although ctx has ended.
func kill(ctx context.Context, connector driver.Connector, id string) {
	if _, err := strconv.ParseUint(id, 10, 64); err != nil {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer stop()
	conn, err := connectMySQL(ctx, connector)
	if err != nil {
		return // the server's own limit ends it
	}
	defer conn.Close() //nolint:errcheck // it is only for this
	_, _ = conn.ExecContext(ctx, "KILL QUERY "+id, nil)
}

// mysqlError classifies an error of MySQL by its number (MySQL and MariaDB error reference).
func mysqlError(err error) error {
	var said *mysql.MySQLError
	var unread *strconv.NumError // the driver converts numbers
	switch {
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn):
		return fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	case errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul), errors.Is(err, mysql.ErrBusyBuffer), errors.Is(err, io.EOF):
		return fmt.Errorf("%w of MySQL: %w", ErrProtocol, err)
	case errors.As(err, &unread):
		return breach("a column is a number, and has the value %s", wording.Quote(unread.Num))
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
