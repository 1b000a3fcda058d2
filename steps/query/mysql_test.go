package query

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// stalling is a MySQL server that does not answer a command with a certain beginning.
type stalling struct {
	listener net.Listener
	at       string

	mu       sync.Mutex
	commands []string // that came, of all connections
}

func newStalling(t *testing.T, at string) *stalling {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stalling{listener: listener, at: at}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	return s
}

// serve speaks the protocol as far as the test needs it (MySQL internals manual, "Client/Server Protocol").
func (s *stalling) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	sequence := byte(0)
	write := func(payloads ...string) {
		for _, p := range payloads {
			head := binary.LittleEndian.AppendUint32(nil, uint32(len(p)))
			head[3] = sequence
			sequence++
			_, _ = conn.Write(append(head, p...)) // the test sees a missing answer
		}
	}
	read := func() (string, error) {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return "", err
		}
		sequence = head[3] + 1
		head[3] = 0
		payload := make([]byte, binary.LittleEndian.Uint32(head[:]))
		_, err := io.ReadFull(in, payload)
		return string(payload), err
	}
	const (
		ok    = "\x00\x00\x00\x02\x00\x00\x00"
		eof   = "\xfe\x00\x00\x02\x00"
		wrong = "\xff\x28\x04#42000there is an error in it"
	)
	column := "\x03def\x00\x00\x00\x01v\x00\x0c\x21\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
	// Version 10, a connection id, a salt in two parts, the abilities that a client of MySQL 4.1 needs.
	write("\x0a8.0.0\x00\x07\x00\x00\x00abcdefgh\x00\x08\x82\x21\x02\x00\x08\x00\x15" + strings.Repeat("\x00", 10) + "ijklmnopqrst\x00mysql_native_password\x00")
	if _, err := read(); err != nil {
		return
	}
	write(ok)
	for {
		command, err := read()
		if err != nil || len(command) == 0 || command[0] != 3 {
			return // QUIT
		}
		command = command[1:]
		s.mu.Lock()
		s.commands = append(s.commands, command)
		s.mu.Unlock()
		switch {
		case strings.HasPrefix(command, s.at):
			_, _ = io.Copy(io.Discard, in)
			return
		case strings.HasPrefix(command, "SELECT VERSION()"):
			write("\x02", column, column, eof, "\x058.0.0\x017", eof)
		case strings.HasPrefix(command, "SELECT"):
			write(wrong)
		default:
			write(ok)
		}
	}
}

// TestEveryCommandEndsWithItsContext holds that a server which stops answering, whatever it was asked, costs no more time than
// the context has, and that a statement in progress is killed.
func TestEveryCommandEndsWithItsContext(t *testing.T) {
	for _, at := range []string{"SELECT VERSION", "SET SESSION time_zone", "START TRANSACTION", "SELECT 1", "ROLLBACK"} {
		t.Run(at, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			server := newStalling(t, at)
			ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer stop()
			s := &Server{MySQL: true, Address: server.listener.Addr().String(), User: "reader", Dial: (&net.Dialer{}).DialContext}
			begun := time.Now()
			_, err := s.Run(ctx, "SELECT 1")
			if took := time.Since(begun); took > 300*time.Millisecond+cancelTime+time.Second {
				t.Errorf("it took %s", took)
			}
			if at == "ROLLBACK" {
				if refusal := (*Refusal)(nil); !errors.As(err, &refusal) {
					t.Errorf("got %v, want the refusal of the statement", err)
				}
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the end of the context", err)
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if killed := slices.Contains(server.commands, "KILL QUERY 7"); killed != (at == "SELECT 1") {
				t.Errorf("killed: %t; commands: %q", killed, server.commands)
			}
		})
	}
}
