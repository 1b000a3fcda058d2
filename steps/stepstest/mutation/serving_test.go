package mutation_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/mutation"
)

// servers are those of one sequence of dialogues. Several sequences run at the same time.
type servers struct {
	dir       string
	tls       *tls.Config
	addresses map[string]string // where they listen, by "host:port" as the client calls it
	current   atomic.Pointer[dialogue]
	closing   []func()
	conns     sync.Map // connections on which a server still reads
	work      sync.WaitGroup
}

func newServers(dir string, certificate tls.Certificate) *servers {
	s := &servers{dir: dir, addresses: make(map[string]string), tls: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}}
	for _, p := range parts {
		if p.serve != nil {
			p.serve(s, p.name)
		}
	}
	return s
}

// begin makes a dialogue the current one. It alters what the servers of a part send as the seed decides.
func (s *servers) begin(name string, seed uint64, wire bool) error {
	d := newDialogue(name, seed, wire)
	s.current.Store(d)
	if p := partNamed(name); p.before != nil {
		return p.before(s, d)
	}
	return nil
}

// end ends the current dialogue, and waits until the client has closed all connections. open are those that it has not.
func (s *servers) end() (d *dialogue, open []string) {
	d = s.current.Load()
	d.End()
	deadline := time.Now().Add(5 * time.Second * slower)
	for wait := 100 * time.Microsecond; time.Now().Before(deadline); wait = min(2*wait, 10*time.Millisecond) {
		if open = d.leftOpen(); len(open) == 0 {
			break
		}
		time.Sleep(wait)
	}
	return d, open
}

func (s *servers) close() {
	for _, close := range s.closing {
		close()
	}
	s.conns.Range(func(conn, _ any) bool { // a client has left it open, which was said
		mutation.Reset(conn.(net.Conn))
		return true
	})
	s.work.Wait()
}

// must returns the value of something that cannot fail on this machine.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// dialogue is one run and what its servers did.
type dialogue struct {
	*mutation.Mutation
	part string // the protocol that is altered; the servers of others behave
	wire bool   // below TLS instead of above it

	mu     sync.Mutex
	values map[string]string
	open   map[net.Conn]string // connections on which a server still reads
	faults []string            // what a server did not expect
}

func newDialogue(part string, seed uint64, wire bool) *dialogue {
	limits := mutation.Limits{Turns: max(1, partNamed(part).turns)}
	if wire {
		limits.Turns += 3 // of the handshake
	}
	return &dialogue{Mutation: mutation.New(seed, limits), part: part, wire: wire, values: make(map[string]string), open: make(map[net.Conn]string)}
}

// Value implements mutation.Values.
func (d *dialogue) Value(name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.values[name]
}

// SetValue implements mutation.Values.
func (d *dialogue) SetValue(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.values[name] = value
	if name == "message" {
		header, _, _ := strings.Cut(value, "\r\n\r\n")
		var fields strings.Builder
		for _, line := range strings.SplitAfter(header+"\r\n", "\r\n") {
			if strings.HasPrefix(line, "X-Stepwatch-") {
				fields.WriteString(line)
			}
		}
		d.values["fields"] = fields.String() + "\r\n"
		stored := stamps() + value
		if d.part == "mailbox" {
			stored = string(d.Alter([]byte(stored)))
		}
		d.values["stored"] = stored
		d.values["top"] = stamps() + header + "\r\n\r\n"
		d.values["news"] = "1"
	}
}

// stamps returns what the servers of the recording add to a message.
func stamps() string {
	now := time.Now().Format(time.RFC1123Z)
	return "Return-Path: <alice@demo.test>\r\nDelivered-To: bob@demo.test\r\nReceived: from mail.demo.test\r\n\tby store.demo.test with LMTPS\r\n\t" +
		"id WB8bLGxVDWsvAAAAg+zDdQ\r\n\t(envelope-from <alice@demo.test>)\r\n\tfor <bob@demo.test>; " + now + "\r\n" +
		"Received: from [127.0.0.1] (localhost [127.0.0.1])\r\n\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256 (128/128 bits)\r\n\t" +
		" key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256)\r\n\t(No client certificate requested)\r\n\t" +
		"by mail.demo.test (Postfix) with ESMTPSA id 4jdLSr54gbz44\r\n\tfor <bob@demo.test>; " + now + " (UTC)\r\n"
}

// complain records what a server did not expect. In a dialogue without changes that is a mistake of the recording.
func (d *dialogue) complain(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

func (d *dialogue) faultsSoFar() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.faults)
}

func (d *dialogue) leftOpen() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range d.open {
		all = append(all, name)
	}
	return all
}

// serveConn serves one connection of a part, until the client has closed it.
func (d *dialogue) serveConn(part string, raw net.Conn, serve func(*dialogue, net.Conn) error) {
	conn := raw
	if d.part == part && d.wire {
		conn = d.Conn(raw)
	}
	if err := serve(d, conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		d.complain("%s: %v", part, err)
	}
	_, _ = io.Copy(io.Discard, raw) // until the client closes it, or something has
	mutation.Reset(raw)
	d.mu.Lock()
	delete(d.open, raw)
	d.mu.Unlock()
}

// layer returns a connection whose writes are altered if the dialogue alters this part above TLS.
func (d *dialogue) layer(part string, conn net.Conn) net.Conn {
	if d.part == part && !d.wire {
		return d.Conn(conn)
	}
	return conn
}

// listen accepts connections of a part of the current dialogue, at host:port as the client calls it.
func (s *servers) listen(at, part string, serve func(*dialogue, net.Conn) error) (address string) {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	s.accept(listener, part, serve)
	s.addresses[at] = listener.Addr().String()
	return listener.Addr().String()
}

func (s *servers) accept(listener net.Listener, part string, serve func(*dialogue, net.Conn) error) {
	s.closing = append(s.closing, func() { _ = listener.Close() })
	s.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d := s.current.Load()
			if d == nil {
				_ = conn.Close()
				continue
			}
			d.mu.Lock()
			d.open[conn] = part
			d.mu.Unlock()
			s.conns.Store(conn, nil)
			s.work.Go(func() {
				d.serveConn(part, conn, serve)
				s.conns.Delete(conn)
			})
		}
	})
}

// secured begins TLS before a dialogue.
func (s *servers) secured(part string, serve func(*dialogue, net.Conn) error) func(*dialogue, net.Conn) error {
	return func(d *dialogue, conn net.Conn) error {
		return serve(d, d.layer(part, tls.Server(conn, s.tls)))
	}
}

// clear is secured without TLS.
func clear(part string, serve func(*dialogue, net.Conn) error) func(*dialogue, net.Conn) error {
	return func(d *dialogue, conn net.Conn) error { return serve(d, d.layer(part, conn)) }
}

// script serves a recorded dialogue, in which TLS may begin.
func (s *servers) script(part string, script *mutation.Script) func(*dialogue, net.Conn) error {
	return func(d *dialogue, conn net.Conn) error {
		raw := conn
		_, err := script.Serve(d.layer(part, conn), d, func(net.Conn) net.Conn { return d.layer(part, tls.Server(raw, s.tls)) })
		return err
	}
}

// scriptInTLS serves a recorded dialogue that is in TLS already.
func (s *servers) scriptInTLS(part string, script *mutation.Script) func(*dialogue, net.Conn) error {
	return s.secured(part, func(d *dialogue, conn net.Conn) error {
		_, err := script.Serve(conn, d, nil)
		return err
	})
}

var quiet = log.New(io.Discard, "", 0)

// once is a listener for one connection that exists already.
type once struct {
	conn net.Conn
	got  bool
	over chan struct{}
	done sync.Once
}

func (o *once) Accept() (net.Conn, error) {
	if o.got {
		<-o.over
		return nil, net.ErrClosed
	}
	o.got = true
	return &closed{o.conn, o}, nil
}
func (o *once) Close() error   { o.done.Do(func() { close(o.over) }); return nil }
func (o *once) Addr() net.Addr { return o.conn.LocalAddr() }

type closed struct {
	net.Conn
	listener *once
}

func (c *closed) Close() error { _ = c.listener.Close(); return c.Conn.Close() }

// web serves HTTP/1.1 on a connection.
func web(handler func(*dialogue) http.Handler) func(*dialogue, net.Conn) error {
	return func(d *dialogue, conn net.Conn) error {
		serveOne(conn, &http.Server{Handler: handler(d), ErrorLog: quiet, ReadHeaderTimeout: 10 * time.Second})
		return nil
	}
}

// serveOne serves a connection until it is closed.
func serveOne(conn net.Conn, server *http.Server) {
	_ = server.Serve(&once{conn: conn, over: make(chan struct{})})
}
