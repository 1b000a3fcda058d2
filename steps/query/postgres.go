package query

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// runPostgres speaks PostgreSQL's protocol. It uses pgconn, the lower layer of pgx, which is a quarter of its size. When ctx
// ends, pgconn asks the server on a second connection to cancel the statement (section 55.2.8 of PostgreSQL's manual).
func (s *Server) runPostgres(ctx context.Context, statement string) (*Answer, error) {
	w := &wire{memory: s.Memory}
	defer w.end()
	answer, err := s.askPostgres(ctx, w, statement)
	if err != nil {
		return nil, w.fault(err)
	}
	return answer, nil
}

func (s *Server) askPostgres(ctx context.Context, w *wire, statement string) (*Answer, error) {
	config, err := s.postgresConfig(w)
	if err != nil {
		return nil, err
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	// pgconn would go on in the background after the end of ctx, for 15 seconds: it asks the server to cancel the statement,
	// which the server does itself, and reads what is left.
	if w.Conn != nil {
		defer lifeline.BindClosing(ctx, w).Release()
	}
	if err != nil {
		return nil, postgresError(err)
	}
	defer func() { _ = conn.Close(ctx) }() // the result is known already
	// Set by statements, because PgBouncer refuses parameters of the connection.
	begin := fmt.Sprintf("BEGIN READ ONLY; SET LOCAL statement_timeout = %d; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'", max(timeLeft(ctx).Milliseconds(), 1))
	if err := conn.Exec(ctx, begin).Close(); err != nil {
		return nil, postgresError(err)
	}
	// The extended protocol accepts only one statement, so none can end the transaction and continue.
	reader := conn.ExecParams(ctx, statement, nil, nil, nil, nil)
	answer := &Answer{}
	if err := columnsLimit.Check(int64(len(reader.FieldDescriptions()))); err != nil {
		return nil, w.Fail(err)
	}
	for _, field := range reader.FieldDescriptions() {
		answer.Columns = append(answer.Columns, field.Name)
	}
	for reader.NextRow() {
		if err := checkRow(reader.FieldDescriptions(), reader.Values()); err != nil {
			return nil, err
		}
		if !add(answer, reader.Values()) {
			return answer, nil // the connection is closed with the rest unread
		}
	}
	tag, err := reader.Close()
	if err != nil {
		return nil, postgresError(err)
	}
	if strings.HasPrefix(tag.String(), "SELECT ") && tag.RowsAffected() != int64(answer.Rows) { // some servers say no number
		return nil, breach("its result has %d rows, and its end says %d", answer.Rows, tag.RowsAffected())
	}
	return answer, nil
}

// postgresNumbers are the types that are numbers (pg_type.dat of PostgreSQL): int8, int2, int4, oid, float4, float8, numeric.
var postgresNumbers = []uint32{20, 21, 23, 26, 700, 701, 1700}

// checkRow checks that a row has what its description says.
func checkRow(columns []pgconn.FieldDescription, row [][]byte) error {
	if len(row) != len(columns) {
		return breach("a row has %d values, and the result %d columns", len(row), len(columns))
	}
	for i, column := range columns {
		if column.Format != 0 {
			return breach("its column %s is not text, which was asked for", wording.Quote(column.Name))
		}
		if slices.Contains(postgresNumbers, column.DataTypeOID) {
			if err := number(column.Name, row[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// postgresConfig returns a configuration that ignores the environment, including PGPASSWORD and ~/.pgpass.
func (s *Server) postgresConfig(w *wire) (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig("host=localhost port=5432 user=stepwatch database=stepwatch sslmode=disable passfile=/dev/null target_session_attrs=any")
	if err != nil {
		return nil, fmt.Errorf("a PG… variable of the environment prevents it: %w", err)
	}
	config.Fallbacks, config.ValidateConnect, config.AfterConnect, config.OAuthTokenProvider = nil, nil, nil, nil
	config.RuntimeParams = map[string]string{"application_name": "stepwatch"}
	config.User, config.Password, config.Database, config.TLSConfig = s.User, s.Password, s.Database, s.TLS
	config.ConnectTimeout = 0 // ctx limits it
	config.BuildFrontend = func(r io.Reader, to io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(w.postgresMessages(r), to)
	}
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	if s.network() == "unix" {
		config.Host, config.Port = s.Address, 5432
		socket := s.Address
		if !strings.HasPrefix(filepath.Base(socket), ".s.PGSQL.") { // the directory of the socket
			socket = filepath.Join(socket, ".s.PGSQL.5432")
		}
		config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx, s, "unix", socket) }
		return config, nil
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	config.Host, config.Port = host, uint16(number)
	connected := false
	config.DialFunc = func(ctx context.Context, _, address string) (net.Conn, error) {
		if connected {
			return s.Dial(ctx, "tcp", address) // to cancel the statement, at the same server
		}
		conn, err := w.dial(ctx, s, "tcp", s.Address)
		connected = err == nil
		return conn, err
	}
	return config, nil
}

// postgresError classifies an error of PostgreSQL by its SQLSTATE (appendix A of its manual).
func postgresError(err error) error {
	var said *pgconn.PgError
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unverified):
		return unverified
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return ErrNoTLS
	case !errors.As(err, &said):
		var connect *pgconn.ConnectError
		if errors.As(err, &connect) { // its text contains the user and the address
			err = connect.Unwrap()
		}
		if brokenMessage.MatchString(err.Error()) {
			return fmt.Errorf("%w of PostgreSQL: %w", ErrProtocol, err)
		}
		return err
	}
	kind := ErrOther
	switch code := said.Code; {
	case strings.HasPrefix(code, "28"):
		kind = ErrLogin
	case code == "3D000":
		kind = ErrDatabase
	case code == "42501":
		kind = ErrDenied
	case code == "42P01", code == "42703", code == "42883", code == "3F000":
		kind = ErrMissing
	case strings.HasPrefix(code, "42"), strings.HasPrefix(code, "22"):
		kind = ErrStatement
	case code == "25006":
		kind = ErrWrites
	case strings.HasPrefix(code, "53"):
		kind = ErrBusy
	case code == "57014":
		kind = ErrTimeout
	case strings.HasPrefix(code, "57P"):
		kind = ErrStarting
	}
	return &Refusal{Code: said.Code, Message: said.Message, kind: kind}
}

// brokenMessage matches what the library says of a message that it cannot read or did not expect. It has no types for that.
var brokenMessage = regex.Lazy(`body (?:must have length|is invalid)|invalid (?:message )?length|unknown (?:message|authentication) type|unexpected message|message too short|` +
	`bad (?:auth type|authentication message)|received ReadyForQuery`)
