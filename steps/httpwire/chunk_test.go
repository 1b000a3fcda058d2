package httpwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stepwatch/stepwatch/steps/limit"
)

var chunkCases = []struct{ name, body, want, fault string }{
	{"as they should be", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nnext", "hello world", ""},
	{"line feeds alone", "5\nhello\n0\n\nnext", "hello", ""},
	{"extensions", "5;a=b\r\nhello\r\n0 ;c\r\n\r\nnext", "hello", ""},
	{"blanks and zeros", "0005 \t\r\nhello\r\n00\r\n\r\nnext", "hello", ""},
	{"trailers", "5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\nnext", "hello", ""},
	{"none", "0\r\n\r\nnext", "", ""},
	{"a size in words", "five\r\nhello", "", `the response is malformed: the size of a chunk is "five" (RFC 9112 section 7.1)`},
	{"a size with a sign", "+5\r\nhello", "", `the response is malformed: the size of a chunk is "+5" (RFC 9112 section 7.1)`},
	{"no size", "\r\nhello", "", `the response is malformed: the size of a chunk is "" (RFC 9112 section 7.1)`},
	{"a size beyond all", "fffffffffffffffffffff\r\nhello", "", `the response is malformed: the size of a chunk is "fffffffffffffffffffff" (RFC 9112 section 7.1)`},
	{"more than the size", "4\r\nhello\r\n0\r\n\r\n", "hell", `the response is malformed: a chunk is longer than its size says (RFC 9112 section 7.1): "o"`},
	{"cut off in a chunk", "5\r\nhel", "hel", "unexpected EOF"},
	{"cut off after a chunk", "5\r\nhello\r\n", "hello", "unexpected EOF"},
	{"cut off before the last line", "5\r\nhello\r\n0\r\n", "hello", "unexpected EOF"},
	{"a line without end", strings.Repeat("0", 20<<10), "", "a line of the chunks has more than 16384 bytes, the limit"},
	{"trailers without end", "0\r\n" + strings.Repeat("a: b\r\n", 1001), "", "the trailer has more than 1000 lines, the limit"},
}

func TestChunks(t *testing.T) {
	for _, c := range chunkCases {
		for _, from := range []io.Reader{strings.NewReader(c.body), iotest.OneByteReader(strings.NewReader(c.body))} {
			r := bufio.NewReaderSize(from, 64)
			got, err := io.ReadAll(&chunks{r: r})
			fault := ""
			if err != nil {
				fault = err.Error()
			}
			if string(got) != c.want || fault != c.fault {
				t.Errorf("%s: %q, %s, wanted %q, %s", c.name, got, fault, c.want, c.fault)
			}
			if rest, _ := io.ReadAll(r); err == nil && string(rest) != "next" {
				t.Errorf("%s: %q is left for the next response", c.name, rest)
			}
		}
	}
}

func FuzzChunks(f *testing.F) {
	for _, c := range chunkCases {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := io.ReadAll(&chunks{r: bufio.NewReader(bytes.NewReader(body))})
		if len(got) > len(body) {
			t.Errorf("%d bytes from %d", len(got), len(body))
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, new(*limit.Error)) {
			t.Errorf("%q: %v", body, err)
		}
	})
}
