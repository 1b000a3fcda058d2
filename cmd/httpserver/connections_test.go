package httpserver

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// bounded starts a server with a limit of connections.
func bounded(t *testing.T, limit int, handler http.Handler) (address string, l *boundedListener) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := New(inner, Options{Handler: handler, Connections: limit, Log: slog.New(slog.DiscardHandler)})
	go func() { _ = server.Serve() }()
	t.Cleanup(func() { _ = server.Close() })
	return inner.Addr().String(), server.listener
}

// TestSlowClientsKeepNobodyOut opens many more connections than the limit, each of which sends a part of a request, and
// asks for a page meanwhile.
func TestSlowClientsKeepNobodyOut(t *testing.T) {
	const limit = 8
	address, l := bounded(t, limit, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range 10 * limit {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nX-A: b") // the server may have closed it
		if i%limit != 0 {
			continue
		}
		response, err := client.Get("http://" + address)
		if err != nil {
			t.Fatalf("after %d slow clients: %v", i+1, err)
		}
		_ = response.Body.Close()
		l.mu.Lock()
		open := len(l.open)
		l.mu.Unlock()
		if open > limit {
			t.Errorf("%d connections are open, the limit is %d", open, limit)
		}
	}
}

// TestSlowHeaderEnds checks that a connection ends when its header does not arrive in time.
func TestSlowHeaderEnds(t *testing.T) {
	t.Parallel()
	address, _ := bounded(t, 8, http.NotFoundHandler())
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	go func() {
		for range 100 {
			if _, err := io.WriteString(conn, "X"); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	_ = conn.SetReadDeadline(begin.Add(2 * headerTime))
	_, _ = io.Copy(io.Discard, conn) // an answer of 408, or none
	if took := time.Since(begin); took > headerTime+2*time.Second {
		t.Errorf("it was open for %s, want %s", took, headerTime)
	}
}

func TestServerBounds(t *testing.T) {
	var read atomic.Int64
	address, _ := bounded(t, 8, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		read.Store(n)
	}))
	status := func(request string) string {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		go func() { _, _ = io.WriteString(conn, request) }()
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
	// Go allows 4 KiB for the request line in addition.
	if got := status("GET / HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("a", headerMax+5000) + "\r\n\r\n"); !strings.Contains(got, "431") {
		t.Errorf("a header above the limit: %s", got)
	}
	if got := status("GET / HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("a", headerMax-100) + "\r\n\r\n"); !strings.Contains(got, "200") {
		t.Errorf("a header below the limit: %s", got)
	}
	status(fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", bodyMax+1, strings.Repeat("a", bodyMax+1)))
	if got := read.Load(); got != bodyMax {
		t.Errorf("%d bytes of the body were read, the limit is %d", got, bodyMax)
	}
}

// TestPagesAtOnce asks for a page more often at once than it is written.
func TestPagesAtOnce(t *testing.T) {
	t.Parallel()
	var inside, most atomic.Int64
	end := make(chan struct{})
	address, _ := bounded(t, 32, new(Pages).Bound(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		most.Store(max(most.Load(), inside.Add(1)))
		<-end
		inside.Add(-1)
		_, _ = io.WriteString(w, "ok")
	})))
	codes := make(chan int, 2*pagesAtOnce)
	for i := range 2 * pagesAtOnce {
		go func() {
			response, err := http.Get(fmt.Sprintf("http://%s/?n=%d", address, i)) // equal requests would share a page
			if err != nil {
				codes <- 0
				return
			}
			_ = response.Body.Close()
			codes <- response.StatusCode
		}()
	}
	counts := make(map[int]int)
	for range pagesAtOnce {
		counts[<-codes]++
	}
	close(end)
	for range pagesAtOnce {
		counts[<-codes]++
	}
	if most.Load() != pagesAtOnce || counts[200] != pagesAtOnce || counts[503] != pagesAtOnce {
		t.Errorf("%d at once, answers %v, the limit is %d", most.Load(), counts, pagesAtOnce)
	}
}

// scarce is a listener without a descriptor for the first connections.
type scarce struct {
	net.Listener
	failures atomic.Int64
}

func (s *scarce) Accept() (net.Conn, error) {
	if s.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

func TestAcceptWithoutDescriptors(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	short := &scarce{Listener: inner}
	short.failures.Store(5)
	var log syncBuffer
	server := New(short, Options{Handler: http.NotFoundHandler(), Connections: 8, Log: slog.New(slog.NewTextHandler(&log, nil))})
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	response, err := (&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if got := strings.Count(log.String(), "accepts no connection"); got != 1 {
		t.Errorf("it was logged %d times: %s", got, log.String())
	}
	if err := server.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	<-served
}

func TestConnections(t *testing.T) {
	for descriptors, want := range map[uint64]int{0: ConnectionsMax, 2: 1, 100: 25, 1024: 256, 8192: ConnectionsMax, 1 << 40: ConnectionsMax} {
		if got := Connections(descriptors); got != want {
			t.Errorf("%d descriptors: %d connections, want %d", descriptors, got, want)
		}
	}
}

// syncBuffer is a buffer that a server in the background writes while a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestChunkedBodiesEndConnections holds that a request with two lengths, which a proxy may divide otherwise than this server does,
// is the last one of its connection (RFC 9112, section 6.1). net/http does not tell it from others with a chunked body.
func TestChunkedBodiesEndConnections(t *testing.T) {
	address, _ := bounded(t, 8, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	for _, lengths := range []string{"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked"} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(conn, "POST /first HTTP/1.1\r\nHost: 127.0.0.1\r\n"+lengths+"\r\n\r\n0\r\n\r\nGET /second HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		answers, err := io.ReadAll(conn)
		if err != nil || bytes.Count(answers, []byte("HTTP/1.1 ")) != 1 || !bytes.Contains(answers, []byte("Connection: close")) || !bytes.HasSuffix(answers, []byte("/first")) {
			t.Errorf("%s: %v\n%s", lengths, err, answers)
		}
	}
}

// TestFloodsOfOneConnection holds that a connection which sends without pause is read slowly, and that one which sends the largest
// request is not.
func TestFloodsOfOneConnection(t *testing.T) {
	var asked atomic.Int64
	address, _ := bounded(t, 8, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		asked.Add(1 + n)
	}))
	began := time.Now()
	response, err := http.Post("http://"+address, "text/plain", bytes.NewReader(make([]byte, bodyMax)))
	if err != nil || asked.Load() != 1+bodyMax || time.Since(began) > 3*time.Second {
		t.Fatalf("%v, %d bytes after %s", err, asked.Load(), time.Since(began))
	}
	_ = response.Body.Close()
	asked.Store(0)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	const request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
	began = time.Now()
	_ = conn.SetWriteDeadline(began.Add(2 * time.Second))
	for {
		if _, err := io.WriteString(conn, strings.Repeat(request, 100)); err != nil {
			break
		}
	}
	most := (readBurst + int64(time.Since(began).Seconds()+1)*readRate + 64<<10) / int64(len(request))
	if n := asked.Load(); n < readBurst/2/int64(len(request)) || n > most {
		t.Errorf("%d requests were answered, want at most %d", n, most)
	}
}
