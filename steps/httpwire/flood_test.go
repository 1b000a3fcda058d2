package httpwire_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// The limit of a page in these tests, and what may come on the wire for one.
const (
	page     = 1 << 20
	transfer = 2*page + 4<<20
)

// fetch gets the page of a server, and fails the test unless the failure is want.
func fetch(t *testing.T, target *steps.Target, at string, reason result.Reason, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	u, err := address.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	w := steps.NewWorld(target.Set(httpwire.Web{BodyLimit: page}), nil, "run", "origin")
	fixture.PeakBelow(t, 24<<20, func() { _, err = httpwire.Fetch(ctx, w, u, http.Header{}) })
	failure := (*steps.Failure)(nil)
	if !errors.As(err, &failure) || failure.Reason != reason || failure.Blame != result.BlameWeb || err.Error() != "GET "+at+": "+want {
		t.Errorf("%v, want %s", err, want)
	}
	if used := w.Memory().Used(); used != 0 {
		t.Errorf("%d bytes are still counted", used)
	}
	_ = w.Close(ctx)
}

// compressed returns text, compressed with gzip so often.
func compressed(text []byte, often int) []byte {
	for range often {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, flate.BestCompression)
		_, _ = z.Write(text)
		_ = z.Close()
		text = b.Bytes()
	}
	return text
}

// TestFloods asks servers that send without end in each part of a response. The limits of the package that they meet are
// bodyLimit, transferLimit, packedLimit, headerLimit, fieldsLimit, interimLimit, chunkLimit and trailerLimit.
func TestFloods(t *testing.T) {
	fixture.LeavesNothing(t)
	const ok = "HTTP/1.1 200 OK\r\n"
	kilo := strings.Repeat("x", 1000)
	// An empty block that is not the last one (RFC 1951 section 3.2.4).
	emptyBlocks := bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 1000)
	for _, c := range []struct{ name, begin, again, want string }{
		{"a body", ok + "\r\n", kilo, "the page has more than 1048576 bytes, the limit; web.body_limit in stepwatch.yml raises it"},
		{"a body in chunks", ok + "Transfer-Encoding: chunked\r\n\r\n", "3e8\r\n" + kilo + "\r\n", "the page has more than 1048576 bytes, the limit; web.body_limit in stepwatch.yml raises it"},
		{"chunks of nothing much", ok + "Transfer-Encoding: chunked\r\n\r\n", "1;" + kilo + "\r\nx\r\n", "the response as transferred has more than 6291456 bytes, the limit; web.body_limit in stepwatch.yml raises it"},
		{"a line of chunks", ok + "Transfer-Encoding: chunked\r\n\r\n0", kilo, "a line of the chunks has more than 16384 bytes, the limit"},
		{"trailers", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n", "the trailer has more than 1000 lines, the limit"},
		{"a header", ok, "A: " + kilo + "\r\n", "the header of the response has more than 1048576 bytes, the limit"},
		{"fields", ok, "A: b\r\n", "the header of the response has 10001 lines, the limit is 10000"},
		{"a field", ok + "A: ", kilo, "the header of the response has more than 1048576 bytes, the limit"},
		{"interim responses", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "the response has 101 interim responses, the limit is 100"},
		{"compressed nothing", ok + "Content-Encoding: deflate\r\n\r\n", string(emptyBlocks), "the compressed body has more than 2097152 bytes, the limit; web.body_limit in stepwatch.yml raises it"},
		{"twice compressed nothing", ok + "Content-Encoding: deflate, gzip\r\n\r\n" + string(compressed(bytes.Repeat(emptyBlocks, 4000), 1)), "", "the compressed body has more than 2097152 bytes, the limit; web.body_limit in stepwatch.yml raises it"},
		{"much in little", ok + "Content-Encoding: gzip, gzip\r\n\r\n" + string(compressed(make([]byte, 16<<20), 2)), "", "the page has more than 1048576 bytes, the limit; web.body_limit in stepwatch.yml raises it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := fixture.Flooding(t, transfer, func(conn net.Conn) int64 {
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, c.begin)
				if c.again == "" {
					return 0
				}
				return fixture.Flood(conn, bytes.Repeat([]byte(c.again), 64<<10/len(c.again)+1))
			})
			fetch(t, &steps.Target{}, "http://"+at+"/", result.ReasonTooLarge, c.want)
		})
	}
}

// frame returns a frame of HTTP/2 (RFC 9113 section 4.1).
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(head, stream), payload...)
}

// fields returns fields in HPACK.
func fields(pairs ...string) []byte {
	var b bytes.Buffer
	encoder := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}

// TestFloodsOverHTTP2 does the same over HTTP/2, with frames that mean nothing too. It also meets answersLimit.
func TestFloodsOverHTTP2(t *testing.T) {
	log.SetOutput(io.Discard) // net/http writes a line for each unknown frame
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	ca := fixture.Must(stepstest.NewCA("test"))(t)
	const data, headers, settings, ping, continuation, window = 0, 1, 4, 6, 9, 8
	kilo := make([]byte, 1000)
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("name-%d", i), strings.Repeat("v", 1000))
	}
	const body = "the page has more than 1048576 bytes, the limit; web.body_limit in stepwatch.yml raises it"
	const wire = "the response as transferred has more than 6291456 bytes, the limit; web.body_limit in stepwatch.yml raises it"
	const answers = "the connection has more than 10000 frames that demand an answer, the limit"
	status := frame(headers, 4, 1, fields(":status", "200"))
	for _, c := range []struct {
		name         string
		begin, again []byte
		want         string
	}{
		{"a body", status, frame(data, 0, 1, kilo), body},
		{"empty frames", status, frame(data, 0, 1, nil), wire},
		{"pings", nil, frame(ping, 0, 0, make([]byte, 8)), answers},
		{"settings", nil, frame(settings, 0, 0, nil), answers},
		{"unknown frames", nil, frame(0xaa, 0, 0, kilo), wire},
		{"windows", nil, frame(window, 0, 0, []byte{0, 0, 0, 1}), wire},
		{"fields", nil, frame(headers, 4, 1, fields(append([]string{":status", "103"}, many[:20]...)...)), "the header of the response has more than 1048576 bytes, the limit"},
		{"a header", frame(headers, 0, 1, fields(":status", "200")), frame(continuation, 0, 1, fields(many[:20]...)), "the server breaks the rules of HTTP/2 (PROTOCOL_ERROR, RFC 9113 section 7)"}, // net/http sees it itself
	} {
		t.Run(c.name, func(t *testing.T) {
			at := fixture.Flooding(t, transfer, func(conn net.Conn) int64 {
				secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{fixture.Must(ca.Issue("www.example.test"))(t)}, NextProtos: []string{"h2"}})
				_, _ = secure.Read(make([]byte, 4096))
				_, _ = secure.Write(frame(settings, 0, 0, nil))
				_, _ = secure.Read(make([]byte, 4096))
				go func() { _, _ = io.Copy(io.Discard, secure) }()
				_, _ = secure.Write(c.begin)
				return fixture.Flood(secure, bytes.Repeat(c.again, 64<<10/len(c.again)+1))
			})
			target := &steps.Target{ConnectTo: map[string]string{"www.example.test:443": at}, Roots: ca.Roots}
			reason := result.ReasonTooLarge
			if strings.HasPrefix(c.want, "the server breaks the rules") {
				reason = result.ReasonProtocol
			}
			fetch(t, target, "https://www.example.test/", reason, c.want)
		})
	}
}
