package httpwire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// headCases are heads without their empty line, how they are read, and what is odd about them. What Chromium shows and what
// it refuses is compared in room web.
var headCases = []struct{ name, text, want, odd string }{
	{"as it should be", "HTTP/1.1 200 OK\r\nA: b\r\nC: d", "HTTP/1.1 200 OK|A: b|C: d", ""},
	{"no phrase", "HTTP/1.1 200\r\nA: b", "HTTP/1.1 200 |A: b", ""},
	{"line feeds alone", "HTTP/1.1 200 OK\nA: b", "HTTP/1.1 200 OK|A: b", ""},
	{"HTTP/1.0", "HTTP/1.0 200 OK", "HTTP/1.0 200 OK", ""},
	{"lower case", "http/1.1 200 OK", "HTTP/1.1 200 OK", ""},
	{"no version", "HTTP 200 OK", "HTTP/1.0 200 OK", ""},
	{"blanks and tabs", "HTTP/1.1 \t200  \tOK", "HTTP/1.1 200 OK", ""},
	{"no code", "HTTP/1.1 OK", "HTTP/1.1 200 OK", `the status line "HTTP/1.1 OK" has no status code (RFC 9112 section 4), which browsers take for 200`},
	{"code and phrase in one", "HTTP/1.1 404Gone", "HTTP/1.1 404 Gone", ""},
	{"empty lines before it", "\r\n\r\nHTTP/1.1 200 OK", "HTTP/1.1 200 OK", ""},
	{"a folded field", "HTTP/1.1 200 OK\r\nA: b\r\n  c\r\n\td", "HTTP/1.1 200 OK|A: b c d", ""},
	{"a fold of nothing", "HTTP/1.1 200 OK\r\n x\r\nA: b", "HTTP/1.1 200 OK|A: b", `the header begins with a continuation line (RFC 9112 section 5.2): " x"`},
	{"no colon", "HTTP/1.1 200 OK\r\nwhatever\r\nA: b", "HTTP/1.1 200 OK|A: b", `a line of the header is not a field (RFC 9112 section 5): "whatever"`},
	{"a name that is none", "HTTP/1.1 200 OK\r\nA(b): c\r\n: d", "HTTP/1.1 200 OK", `a line of the header is not a field (RFC 9112 section 5): "A(b): c"; a line of the header is not a field (RFC 9112 section 5): ": d"`},
	{"a blank after the name", "HTTP/1.1 200 OK\r\na : b", "HTTP/1.1 200 OK|A: b", "the name of the field a is followed by a blank (RFC 9112 section 5.1)"},
	{"control characters", "HTTP/1.1 200 OK\r\nA: b\x01c\rd\x7f", "HTTP/1.1 200 OK|A: b\x01c d\x7f", ""},
	{"bytes of Latin-1", "HTTP/1.1 200 \xdc\r\nA: \xfc", "HTTP/1.1 200 \xdc|A: \xfc", ""},
	{"one length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5, 5", "HTTP/1.1 200 OK|Content-Length: 5", ""},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6", `the response is malformed: it has two lengths, "5" and "6" (Content-Length, RFC 9112 section 6.3)`, ""},
	{"a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: +5", "HTTP/1.1 200 OK", `the Content-Length "+5" is not a length (RFC 9110 section 8.6), so the body ends with the connection`},
	{"two lengths of chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked", "HTTP/1.1 200 OK|in chunks", ""},
	{"chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: Chunked", "HTTP/1.1 200 OK|in chunks", `the Transfer-Encoding is "chunked, Chunked" (RFC 9112 section 6.1)`},
	{"another transfer coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5", "HTTP/1.1 200 OK|Content-Length: 5", `the Transfer-Encoding is "identity" (RFC 9112 section 6.1)`},
	{"one location twice", "HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /a", "HTTP/1.1 302 Found|Location: /a|Location: /a", ""},
	{"two locations", "HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b", `the response is malformed: it has two values of Location, "/a" and "/b" (RFC 9110 section 10.2.2)`, ""},
	{"two dispositions", "HTTP/1.1 200 OK\r\nContent-Disposition: inline\r\nContent-Disposition: attachment", `the response is malformed: it has two values of Content-Disposition, "inline" and "attachment" (RFC 6266 section 4; a file name with a comma must be in quotes)`, ""},
	{"a disposition with commas in quotes", "HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=\"a,b\"", "HTTP/1.1 200 OK|Content-Disposition: attachment; filename=\"a,b\"", ""},
	{"a NUL", "HTTP/1.1 200 OK\r\nA: b\x00c", `the response is malformed: its header contains a NUL (RFC 9110 section 5.5): "A: b\x00c\r\n"`, ""},
	{"another protocol", "SSH-2.0-OpenSSH_9.2", `the response is malformed: it does not begin with HTTP/ (RFC 9112 section 4): "SSH-2.0-OpenSSH_9.2"`, ""},
	{"four digits", "HTTP/1.1 2000 OK", `the response is malformed: its status code is "2000", not three digits (RFC 9112 section 4): "HTTP/1.1 2000 OK"`, ""},
}

func TestReadHead(t *testing.T) {
	for _, c := range headCases {
		h, err := readHead(bufio.NewReader(strings.NewReader(c.text + "\r\n\r\nbody")))
		if err != nil {
			if err.Error() != c.want {
				t.Errorf("%s: %v, wanted %s", c.name, err, c.want)
			}
			continue
		}
		got := []string{h.version + " " + h.status}
		for _, f := range h.fields {
			got = append(got, f.name+": "+f.value)
		}
		if h.chunked {
			got = append(got, "in chunks")
		}
		if strings.Join(got, "|") != c.want || strings.Join(h.odd, "; ") != c.odd {
			t.Errorf("%s: %q, odd %q, wanted %q and %q", c.name, got, h.odd, c.want, c.odd)
		}
	}
}

// TestNotEnded keeps the error of a connection that ends within the head.
func TestNotEnded(t *testing.T) {
	for _, text := range []string{"", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nA: b\r\n", "\r\n\r\n"} {
		if _, err := readHead(bufio.NewReader(strings.NewReader(text))); err == nil || err.Error() != "EOF" {
			t.Errorf("%q: %v, wanted EOF", text, err)
		}
	}
}

// asNetHTTP returns how net/http reads a head, from a form that it accepts: with blanks for control characters, and without
// chunks.
func asNetHTTP(t *testing.T, h *head, method string) *http.Response {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(h.version + " " + h.status + "\r\n")
	for _, f := range h.fields {
		b.WriteString(f.name + ": " + printable(f.value) + "\r\n")
	}
	b.WriteString("\r\nbody")
	response, err := http.ReadResponse(bufio.NewReader(&b), &http.Request{Method: method}) //nolint:bodyclose // the caller does
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", b.Bytes(), err)
	}
	return response
}

// agree compares a response with that of net/http.
func agree(t *testing.T, h *head, method string) {
	t.Helper()
	reference := asNetHTTP(t, h, method)
	defer reference.Body.Close()
	got := h.response(&http.Request{Method: method}, bufio.NewReader(strings.NewReader("body")))
	defer got.Body.Close()
	closes := httpguts.HeaderValuesContainsToken(got.Header["Connection"], "close")
	if closes { // net/http hides the field
		delete(got.Header, "Connection")
	}
	for name, values := range got.Header {
		for i := range values {
			values[i] = strings.Trim(printable(values[i]), " \t") // as net/http had to see it
		}
		if !slices.Equal(values, reference.Header[name]) {
			t.Errorf("%s: field %s is %q, for net/http %q", method, name, values, reference.Header[name])
		}
	}
	if len(got.Header) != len(reference.Header) {
		t.Errorf("%s: fields %v, for net/http %v", method, got.Header, reference.Header)
	}
	outline := func(r *http.Response) string {
		return fmt.Sprint(r.Proto, r.ProtoMajor, r.ProtoMinor, " ", r.Status, r.StatusCode, " ", r.ContentLength, r.Close, r.Body == http.NoBody)
	}
	if h.chunked { // which net/http was not told
		reference.Close = closes || reference.Body == http.NoBody && reference.Close
	}
	if outline(got) != outline(reference) {
		t.Errorf("%s of %q: %s, for net/http %s", method, h.status, outline(got), outline(reference))
	}
	if h.chunked {
		return
	}
	body, err := io.ReadAll(got.Body)
	wanted, wantedErr := io.ReadAll(reference.Body)
	if !bytes.Equal(body, wanted) || !errors.Is(err, wantedErr) {
		t.Errorf("%s: body %q %v, for net/http %q %v", method, body, err, wanted, wantedErr)
	}
}

// TestResponseIsThatOfNetHTTP compares where the body ends, and what else follows from a head.
func TestResponseIsThatOfNetHTTP(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4", "HTTP/1.1 101 Switching Protocols",
		"HTTP/1.1 103 Early Hints\r\nContent-Length: 4", "HTTP/1.1 200 OK\r\nContent-Length: 4", "HTTP/1.1 200 OK\r\nContent-Length: 3",
		"HTTP/1.1 200 OK\r\nContent-Length: 5", "HTTP/1.1 200 OK\r\nContent-Length: 0", "HTTP/1.1 200 OK\r\nContent-Length: +4", "HTTP/1.1 200 OK\r\nContent-Length: 04",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 4",
		"HTTP/1.0 200 OK\r\nContent-Length: 4", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\nConnection: close",
		"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nTransfer-Encoding: chunked", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
		"HTTP/1.1 200 OK\r\nPragma: no-cache", "HTTP/1.1 200 OK\r\nPragma: no-cache\r\nCache-Control: max-age=1",
		"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nServer: x\r\nSet-Cookie: c=d\r\nSet-Cookie: e=f",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			h, err := readHead(bufio.NewReader(strings.NewReader(text + "\r\n\r\n")))
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			agree(t, h, method)
		}
	}
}

// FuzzReadHead checks that net/http makes the same response of what readHead returns, whatever the server sends.
func FuzzReadHead(f *testing.F) {
	for _, c := range headCases {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := readHead(bufio.NewReaderSize(bytes.NewReader(append(text, "\r\n\r\n"...)), 16))
		if err == nil {
			agree(t, h, http.MethodGet)
		}
	})
}
