package web_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// rawServer answers each request with bytes as a test wrote them, and keeps what it was sent. net/http would mend both.
type rawServer struct {
	mu       sync.Mutex
	answers  map[string]string     // by "host/path", or "/path" for every host
	received map[string][][]string // the lines of the requests, by "host/path"

	plain, secure string // the addresses where it listens
	roots         *stepstest.CA
}

// newRawServer starts a server for plain HTTP and for HTTPS as these hosts.
func newRawServer(t *testing.T, hosts ...string) *rawServer {
	t.Helper()
	s := &rawServer{answers: map[string]string{}, received: map[string][][]string{}}
	ca, err := stepstest.NewCA("raw")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue(append(hosts, "raw.test")...)
	if err != nil {
		t.Fatal(err)
	}
	s.roots = ca
	for _, listen := range []struct {
		at     *string
		secure bool
	}{{&s.plain, false}, {&s.secure, true}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*listen.at = listener.Addr().String()
		if listen.secure {
			listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
		}
		var open sync.WaitGroup
		t.Cleanup(func() { _ = listener.Close(); open.Wait() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				open.Go(func() { s.serve(conn) })
			}
		}()
	}
	return s
}

// serve answers one request.
func (s *rawServer) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	r := textproto.NewReader(bufio.NewReader(conn))
	var lines []string
	host := ""
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		if line == "" {
			break
		}
		if value, is := strings.CutPrefix(line, "Host: "); is {
			host, _, _ = strings.Cut(value, ":")
		}
		lines = append(lines, line)
	}
	words := strings.Fields(lines[0])
	if len(words) < 2 {
		return
	}
	s.mu.Lock()
	s.received[host+words[1]] = append(s.received[host+words[1]], lines)
	answer, known := s.answers[host+words[1]]
	if !known {
		if answer, known = s.answers[words[1]]; !known {
			answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		}
	}
	s.mu.Unlock()
	_, _ = conn.Write([]byte(answer))
}

// sent returns the values of a field in the requests for "host/path", one for each request.
func (s *rawServer) sent(at, name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var values []string
	for _, lines := range s.received[at] {
		var of []string
		for _, line := range lines[1:] {
			if field, value, _ := strings.Cut(line, ": "); strings.EqualFold(field, name) {
				of = append(of, value)
			}
		}
		values = append(values, strings.Join(of, " | "))
	}
	return values
}

// forget forgets the requests so far.
func (s *rawServer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = map[string][][]string{}
}

// site returns a site that leads these hosts to the server.
func (s *rawServer) site(hosts ...string) *site {
	to := map[string]string{}
	for _, host := range hosts {
		to[host+":80"], to[host+":443"] = s.plain, s.secure
	}
	return &site{conns: map[string]bool{}, target: (&steps.Target{Roots: s.roots.Roots, ConnectTo: to}).Set(httpwire.Web{BodyLimit: 1 << 20})}
}

// raw returns a response with these lines in its header.
func raw(body string, header ...string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", strings.Join(header, "\r\n"), len(body), body)
}
