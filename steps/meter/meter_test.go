package meter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stepwatch/stepwatch/steps/limit"
)

var few = limit.Limit{Subject: "test", What: "the answer", Unit: "bytes", Most: 10}

// sending returns a metered connection to a server that sends text and then waits.
func sending(t *testing.T, text string) *Conn {
	t.Helper()
	server, client := net.Pipe()
	t.Cleanup(func() { _ = server.Close() })
	go func() { _, _ = io.WriteString(server, text) }() // fails when the client closes
	return New(client, few)
}

func TestConnAllowsWhatItMay(t *testing.T) {
	c := sending(t, "0123456789abcdefghij")
	got := make([]byte, 10)
	for range 2 {
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		c.Allow(few)
	}
	if err := c.Err(); err != nil || c.Received() != 20 {
		t.Error(err, c.Received())
	}
	_ = c.Close()
	if _, err := c.Read(got); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestConnStopsAtTheFirstByteTooMany(t *testing.T) {
	c := sending(t, "0123456789a")
	text, err := io.ReadAll(c)
	var over *limit.Error
	if !errors.As(err, &over) || err.Error() != "the answer has more than 10 bytes, the limit" || len(text) > 10 {
		t.Errorf("%q, %v", text, err)
	}
	c.Allow(few)
	if _, again := c.Read(make([]byte, 1)); again != c.Err() || again != err { //nolint:errorlint // the very same
		t.Error(again)
	}
	if _, wrote := c.Write([]byte("x")); wrote != err { //nolint:errorlint // as above
		t.Error(wrote)
	}
}

// framed reads messages whose first byte is their length, which may be 4, and that may not begin with "!".
func framed(r io.Reader) *Messages {
	return &Messages{R: bufio.NewReader(r), Header: 1, Peek: 1,
		Size: func(head []byte) (int64, error) {
			size := int64(head[0] - '0')
			return size, limit.Limit{What: "a message", Unit: "bytes", Most: 4}.Check(size)
		},
		Begin: func(_, begin []byte) error {
			if string(begin) == "!" {
				return errors.New("it is loud")
			}
			return nil
		}}
}

func TestMessages(t *testing.T) {
	for text, want := range map[string]string{
		"3abc04abcd1x": "3abc04abcd1x <nil>",
		"3abc5abcde":   "3abc a message has 5 bytes, the limit is 4",
		"1a2!b":        "1a it is loud",
		"":             " <nil>",
		"3ab":          "3ab <nil>",
		"3":            " <nil>",
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(text), "by byte": iotest.OneByteReader(strings.NewReader(text))} {
			got, err := io.ReadAll(framed(r))
			if said := fmt.Sprintf("%s %v", got, err); said != want {
				t.Errorf("%q %s: %s, want %s", text, name, said, want)
			}
		}
	}
}

// FuzzMessages reads messages of any bytes, in reads of any size: what passes is what was sent, up to the first header that is
// refused.
func FuzzMessages(f *testing.F) {
	f.Add([]byte("\x03abc\x00\x05hello"), uint8(1))
	f.Add([]byte("\x03ab"), uint8(4))
	f.Add([]byte("\xffabc"), uint8(2))
	f.Fuzz(func(t *testing.T, sent []byte, chunk uint8) {
		const longest = 100
		refused := errors.New("refused")
		m := &Messages{R: bufio.NewReaderSize(bytes.NewReader(sent), 16), Header: 1, Peek: 8,
			Size: func(head []byte) (int64, error) {
				if head[0] > longest {
					return 0, refused
				}
				return int64(head[0]), nil
			},
			Begin: func(head, begin []byte) error {
				if len(begin) != min(int(head[0]), 8) {
					t.Errorf("%d bytes of a message of %d", len(begin), head[0])
				}
				return nil
			}}
		got, err := io.ReadAll(iotest.OneByteReader(m))
		if chunk > 1 {
			got, err = nil, nil
			m = &Messages{R: bufio.NewReaderSize(bytes.NewReader(sent), 16), Header: 1, Size: m.Size}
			for part := make([]byte, chunk); err == nil; {
				var n int
				n, err = m.Read(part)
				got = append(got, part[:n]...)
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
		}
		if !bytes.HasPrefix(sent, got) {
			t.Errorf("%q of %q", got, sent)
		}
		if errors.Is(err, refused) && sent[len(got)] <= longest {
			t.Errorf("a message of %d bytes was refused", sent[len(got)])
		}
	})
}
