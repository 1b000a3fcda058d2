package web_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// The two engines send the same. A wireCase is a page and what a visitor does on it; sameOnWire does it over HTTP alone and in a
// browser and compares the requests that a server saw, byte for byte. To add a subject, write a table of cases in its own test
// and name the header fields that matter.

// wireCase is a visit of http://www.example.test/start.
type wireCase struct {
	name   string
	header string            // of the page, one field a line; "" for HTML in UTF-8
	page   string            // its body, in bytes
	others map[string]string // responses to other targets, as wireAnswer writes them
	do     string            // the steps on it
	want   string            // the requests after that for the page: line and body, separated by blank lines
}

// wireAnswer returns the bytes of a response.
func wireAnswer(status int, header, body string) string {
	if header != "" {
		header = strings.ReplaceAll(strings.TrimSuffix(header, "\n"), "\n", "\r\n") + "\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\n\r\n%s", status, http.StatusText(status), header, len(body), body)
}

// moved is a redirect to this address.
func moved(location string) string { return wireAnswer(http.StatusFound, "Location: "+location, "") }

// sameOnWire runs the cases on both engines. fields are the header fields to compare besides Host and Content-Type.
func sameOnWire(t *testing.T, cases []wireCase, fields ...string) {
	t.Helper()
	fixture.LeavesNothing(t)
	server := newWireServer(t, append(fields, "Host", "Content-Type"))
	s := &site{target: (&steps.Target{ConnectTo: map[string]string{"www.example.test:80": server.address, "example.test:80": server.address}}).Set(httpwire.Web{})}
	run := func(t *testing.T, c *wireCase) string {
		server.begin(c)
		fixture.Expect(t, s.run(t, "I go to http://www.example.test/start\n"+c.do), "")
		return server.seen()
	}
	over := make([]string, len(cases))
	for i := range cases {
		t.Run(cases[i].name, func(t *testing.T) {
			over[i] = run(t, &cases[i])
			if got := linesAndBodies(over[i]); got != cases[i].want {
				t.Errorf("sent over HTTP:\n%s\nwant\n%s", got, cases[i].want)
			}
		})
	}
	if _, err := browser.Find(); err != nil {
		t.Skip("not compared with a browser:", err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	t.Run("browser", func(t *testing.T) {
		for i := range cases {
			t.Run(cases[i].name, func(t *testing.T) {
				got := run(t, &cases[i])
				if sent := linesAndBodies(got); sent != cases[i].want {
					t.Errorf("the browser sent:\n%s\nwant\n%s", sent, cases[i].want)
				}
				if got != over[i] {
					t.Errorf("the browser sent:\n%s\nover HTTP alone was sent:\n%s", got, over[i])
				}
			})
		}
	})
}

// linesAndBodies leaves out the header fields of requests.
func linesAndBodies(requests string) string {
	var kept []string
	for request := range strings.SplitSeq(requests, "\n\n") {
		header, body, found := strings.Cut(request, "\n|")
		line, _, _ := strings.Cut(header, "\n")
		if found {
			line += "\n" + body
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "\n\n")
}

// wireServer serves the pages of one case at a time and keeps the requests as they came.
type wireServer struct {
	address string
	fields  []string
	conns   sync.WaitGroup

	mu       sync.Mutex
	current  *wireCase
	requests []string
	open     map[net.Conn]bool
}

func newWireServer(t *testing.T, fields []string) *wireServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(fields)
	s := &wireServer{address: listener.Addr().String(), fields: slices.Compact(fields), open: map[net.Conn]bool{}}
	s.conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[conn] = true
			s.mu.Unlock()
			s.conns.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.mu.Lock()
		for conn := range s.open {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.conns.Wait()
	})
	return s
}

func (s *wireServer) begin(c *wireCase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.requests = c, nil
}

func (s *wireServer) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.requests, "\n\n")
}

func (s *wireServer) serve(conn net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
		_ = conn.Close()
	}()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		header, err := textproto.NewReader(in).ReadMIMEHeader()
		if err != nil {
			return
		}
		length, _ := strconv.Atoi(header.Get("Content-Length"))
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, s.answer(strings.TrimRight(line, "\r\n"), header, body)); err != nil {
			return
		}
	}
}

// answer keeps a request and returns the response to it.
func (s *wireServer) answer(line string, header textproto.MIMEHeader, body []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.current
	target := strings.TrimSuffix(line[strings.IndexByte(line, ' ')+1:], " HTTP/1.1")
	switch {
	case target == "/favicon.ico":
		return wireAnswer(http.StatusNotFound, "", "")
	case target == "/start" && len(s.requests) == 0:
		s.requests = append(s.requests, "")
		kind := c.header
		if kind == "" {
			kind = "Content-Type: text/html; charset=utf-8"
		}
		return wireAnswer(http.StatusOK, kind, c.page)
	case len(s.requests) == 1 && s.requests[0] == "":
		s.requests = s.requests[:0]
	}
	kept := line
	boundary := ""
	for _, name := range s.fields {
		value := strings.Join(header[textproto.CanonicalMIMEHeaderKey(name)], ", ")
		if value == "" {
			continue
		}
		if kind, chosen, found := strings.Cut(value, "; boundary="); found {
			value, boundary = kind+"; boundary=B", chosen
		}
		kept += "\n" + name + ": " + value
	}
	if len(body) > 0 {
		if boundary != "" {
			body = bytes.ReplaceAll(body, []byte(boundary), []byte("B"))
		}
		quoted := strconv.QuoteToASCII(string(body))
		kept += "\n|" + strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	}
	s.requests = append(s.requests, kept)
	if other, found := c.others[target]; found {
		return other
	}
	return wireAnswer(http.StatusOK, "Content-Type: text/html; charset=utf-8", "<title>Reached</title><p>Reached</p>")
}
