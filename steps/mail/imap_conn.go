package mail

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stepwatch/stepwatch/steps/wording"
)

// imapConn is a connection to an IMAP server that also records what the client library drops: the text of BYE and of
// alerts, and the error that ended reading. It limits the size of the answer to one command.
type imapConn struct {
	net.Conn
	r      *bufio.Reader // of Conn
	replay string        // what Read returns first
	log    *transcript
	budget atomic.Int64 // remaining bytes that may be read

	mu      sync.Mutex
	line    []byte // the incomplete line
	bye     string
	alert   string
	readErr error
}

// imapAnswerLimit limits the answer to one command in bytes. The largest answer is one header field of each message
// that arrived since the mailbox was opened.
const imapAnswerLimit = 8 << 20

// imapLineLimit is how many bytes of a line are kept.
const imapLineLimit = 2 << 10

var errAnswerLimit = fmt.Errorf("the answer to one command is larger than %d bytes", imapAnswerLimit)

func newIMAPConn(conn net.Conn, log *transcript) *imapConn {
	c := &imapConn{Conn: conn, r: bufio.NewReader(conn), log: log}
	c.budget.Store(imapAnswerLimit)
	return c
}

// Read implements net.Conn.
func (c *imapConn) Read(b []byte) (int, error) {
	if c.replay != "" {
		n := copy(b, c.replay)
		c.replay = c.replay[n:]
		return n, nil
	}
	n, err := c.r.Read(b)
	if c.budget.Add(-int64(n)) < 0 {
		err = errAnswerLimit
	}
	c.listen(b[:n])
	if err != nil {
		c.mu.Lock()
		if c.readErr == nil {
			c.readErr = err
		}
		c.mu.Unlock()
	}
	return n, err
}

// listen records the server's lines. It reads literals as lines too: they only contain header fields, and no header
// line begins like an untagged response.
func (c *imapConn) listen(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range b {
		if ch != '\n' {
			if len(c.line) < imapLineLimit {
				c.line = append(c.line, ch)
			}
			continue
		}
		line := wording.OneLine(strings.TrimSuffix(string(c.line), "\r"), imapLineLimit)
		c.line = c.line[:0]
		c.log.server(line)
		c.note(line)
	}
}

func (c *imapConn) note(line string) {
	rest, untagged := strings.CutPrefix(line, "* ")
	if !untagged {
		return
	}
	kind, text, _ := strings.Cut(rest, " ")
	switch strings.ToUpper(kind) {
	case "BYE":
		c.bye = text
	case "NO", "OK", "BAD":
		if len(text) >= 7 && strings.EqualFold(text[:7], "[ALERT]") { // RFC 9051 section 7.1: must be shown to the user
			c.alert = strings.TrimSpace(text[7:])
		}
	}
}

// said returns what the server announced outside any command.
func (c *imapConn) said() (bye, alert string, readErr error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bye, c.alert, c.readErr
}

// readLine reads a line before the client library takes over.
func (c *imapConn) readLine() (string, error) {
	raw, err := c.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errors.New("a line is longer than 4096 bytes")
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(raw) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	c.listen(raw)
	return strings.TrimRight(string(raw), "\r\n"), nil
}
