package httpserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// profilesOf returns the handler of a server with or without profiles.
func profilesOf(on bool) http.Handler {
	return New(nil, Options{Handler: http.NotFoundHandler(), Connections: 1, Profiles: on, Log: slog.New(slog.DiscardHandler)}).http.Handler
}

// stalled returns a connection whose client has asked for a page and reads nothing.
func stalled(t *testing.T, address string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestSlowReaders lets more clients than there are connections ask for a large page and read nothing. Others get the page, and
// the memory of the pages is bounded.
func TestSlowReaders(t *testing.T) {
	const connections = 16
	page := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	pages := new(Pages)
	address, l := bounded(t, connections, pages.Bound(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })))
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range 2 * connections {
		stalled(t, address)
		if i%8 != 7 {
			continue
		}
		response, err := client.Get("http://" + address)
		if err != nil {
			t.Fatalf("after %d slow readers: %v", i+1, err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || !bytes.Equal(got, page) {
			t.Errorf("after %d slow readers: %d bytes, %v", i+1, len(got), err)
		}
		pages.mu.Lock()
		if pages.held > pagesHeld {
			t.Errorf("%d bytes of pages are held, the limit is %d", pages.held, pagesHeld)
		}
		pages.mu.Unlock()
		l.mu.Lock()
		if len(l.open) > connections {
			t.Errorf("%d connections are open, the limit is %d", len(l.open), connections)
		}
		l.mu.Unlock()
	}
}

// TestClientWithFewConnections holds that a client keeps its idle connection beside another one that opens many.
func TestClientWithFewConnections(t *testing.T) {
	address, l := bounded(t, 8, pages)
	first, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for range 40 {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 8, 8, 8)}}
		conn, err := dialer.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Skip("this machine has no address 127.8.8.8: ", err)
		}
		defer conn.Close()
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) { // until all are accepted
		l.mu.Lock()
		full := len(l.open) == 8 && l.open[7].from == "127.8.8.8"
		l.mu.Unlock()
		if full || time.Now().After(deadline) {
			break
		}
	}
	_, _ = io.WriteString(first, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	_ = first.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := bufio.NewReader(first).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("the only connection of the first client: %q %v", line, err)
	}
}

// TestShutdown holds that an answer that is being written ends, that connections without a request are not waited for, and
// that what takes too long is cut.
func TestShutdown(t *testing.T) {
	begun, finish := make(chan bool, 2), make(chan bool)
	s, url := serve(t, "", Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- true
		select {
		case <-finish:
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	})})
	for range 3 {
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HT")
	}
	answer := make(chan string, 1)
	go func() {
		status, body := ask(t, http.DefaultClient, "GET", url, "", "")
		answer <- fmt.Sprint(status, body)
	}()
	<-begun
	ended := make(chan time.Duration, 1)
	go func() {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		ended <- time.Since(begin)
	}()
	time.Sleep(50 * time.Millisecond)
	finish <- true
	if got := <-answer; got != "200done" {
		t.Errorf("the answer in progress: %s", got)
	}
	if took := <-ended; took > 3*time.Second {
		t.Errorf("the shutdown took %s", took)
	}

	s, url = serve(t, "", Options{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { begun <- true; <-r.Context().Done() })})
	go func() { _, body := ask(t, http.DefaultClient, "GET", url, "", ""); answer <- body }()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	select {
	case <-answer:
	case <-time.After(5 * time.Second):
		t.Error("a request that does not end was not cut")
	}
}

// TestStreams holds that a connection of HTTP/2 has a bounded number of requests at once.
func TestStreams(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "ours")
	cert, key := ca.issue("stepwatch.example", time.Now().Add(time.Hour))
	write(t, filepath.Join(dir, "cert.pem"), string(cert))
	write(t, filepath.Join(dir, "key.pem"), string(key))
	write(t, filepath.Join(dir, "web.yml"), "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n")
	var inside atomic.Int64
	finish := make(chan bool)
	server, _ := serve(t, filepath.Join(dir, "web.yml"), Options{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		inside.Add(1)
		<-finish
	})})
	defer close(finish)
	conn, err := tls.Dial("tcp", server.Address(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	const more = 3
	for refused := 0; refused < more; {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("after %d refused streams: %v", refused, err)
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if f.IsAck() {
				continue
			}
			if most, _ := f.Value(http2.SettingMaxConcurrentStreams); most != streamsMax {
				t.Errorf("the server allows %d streams, want %d", most, streamsMax)
			}
			_ = framer.WriteSettingsAck()
			for i := range uint32(streamsMax + more) {
				header.Reset()
				for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/"}} {
					_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
				}
				if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: header.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
					t.Fatal(err)
				}
			}
		case *http2.RSTStreamFrame:
			if f.ErrCode != http2.ErrCodeRefusedStream && f.ErrCode != http2.ErrCodeProtocol || f.StreamID <= 2*streamsMax {
				t.Errorf("stream %d was refused with %s", f.StreamID, f.ErrCode)
			}
			refused++
		}
	}
	if got := inside.Load(); got > streamsMax {
		t.Errorf("%d requests at once on a connection, the limit is %d", got, streamsMax)
	}
}

// TestHandshakeEnds holds that a client that does not go on with its handshake is cut, and makes a few lines of the log.
func TestHandshakeEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t, "ours")
	cert, key := ca.issue("stepwatch.example", time.Now().Add(time.Hour))
	write(t, filepath.Join(dir, "cert.pem"), string(cert))
	write(t, filepath.Join(dir, "key.pem"), string(key))
	write(t, filepath.Join(dir, "web.yml"), "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n")
	var log syncBuffer
	s, _ := serve(t, filepath.Join(dir, "web.yml"), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 50 {
		bad, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(bad, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		_, _ = io.Copy(io.Discard, bad)
		_ = bad.Close()
	}
	begin := time.Now()
	_, _ = io.WriteString(conn, "\x16\x03\x01")
	_ = conn.SetReadDeadline(begin.Add(3 * headerTime))
	_, _ = io.Copy(io.Discard, conn)
	if took := time.Since(begin); took > headerTime+3*time.Second {
		t.Errorf("it was open for %s, want %s", took, headerTime)
	}
	if lines := strings.Count(log.String(), "\n"); lines == 0 || lines > linesPerMinute {
		t.Errorf("%d lines of the log:\n%s", lines, log.String())
	}
}

// BenchmarkHandshake tells what a connection with TLS costs both sides together, over a pipe.
func BenchmarkHandshake(b *testing.B) {
	ca := newAuthority(b, "ours")
	cert, key := ca.issue("stepwatch.example", time.Now().Add(time.Hour))
	dir := b.TempDir()
	write(b, filepath.Join(dir, "cert.pem"), string(cert))
	write(b, filepath.Join(dir, "key.pem"), string(key))
	write(b, filepath.Join(dir, "web.yml"), "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n")
	web, err := OpenWebConfig(filepath.Join(dir, "web.yml"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	config := web.serverTLS()
	for b.Loop() {
		near, far := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- tls.Server(far, config).Handshake() }()
		client := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
		if err := client.Handshake(); err != nil {
			b.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, near) }() // the session tickets
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		_, _ = near.Close(), far.Close()
	}
}
