package query

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/meter"
)

// The limits of what a server sends. Both libraries allocate what a message announces, and the one of MySQL as many columns as
// it announces; both read messages that mean nothing without end.
var (
	loginLimit   = limit.Define(limit.Limit{Subject: "database", What: "a message of the login", Unit: "bytes", Most: 16 << 10})
	scramLimit   = limit.Define(limit.Limit{Subject: "database", What: "the login by SCRAM", Unit: "iterations", Most: 600_000})
	reportsLimit = limit.Define(limit.Limit{Subject: "database", What: "a session", Unit: "reported parameters", Most: 1000})
	columnsLimit = limit.Define(limit.Limit{Subject: "database", What: "a row of the result", Unit: "columns", Most: 4096})
	rowLimit     = limit.Define(limit.Limit{Subject: "database", What: "a row of the result", Unit: "bytes", Most: 16 << 20})
	answerLimit  = limit.Define(limit.Limit{Subject: "database", What: "what the server sends", Unit: "bytes", Most: 32 << 20})
)

// largeMessage is from which size on a message counts in the memory of the run, in bytes.
const largeMessage = 64 << 10

// wire is what both protocols have in common: one connection, limited in what it may send.
type wire struct {
	*meter.Conn
	memory   *limit.Memory
	held     int64 // bytes of the largest message, which stay with the library
	reports  int64 // of parameters, which the library keeps
	loggedIn bool
}

// dial opens the connection, once: a second attempt of a library would have the same result.
func (w *wire) dial(ctx context.Context, s *Server, network, address string) (net.Conn, error) {
	if w.Conn != nil {
		return nil, w.fault(io.ErrUnexpectedEOF)
	}
	conn, err := s.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.Conn = meter.New(conn, answerLimit)
	return w, nil
}

// fault returns why the connection was closed, or err.
func (w *wire) fault(err error) error {
	if w.Conn != nil && w.Err() != nil {
		return w.Err()
	}
	return err
}

// announced checks the size of a message before anyone allocates it.
func (w *wire) announced(size int64) error {
	most := loginLimit
	if w.loggedIn {
		most = rowLimit
	}
	err := most.Check(size)
	if err != nil && w.loggedIn {
		err = fmt.Errorf("%w: select less data", err)
	}
	if more := size - w.held; err == nil && size > largeMessage && more > 0 {
		w.held = size
		err = w.memory.Take(more)
	}
	if err != nil {
		return w.Fail(err)
	}
	return nil
}

// end closes the connection, whatever a library still does with it, and ends the account of the messages.
func (w *wire) end() {
	if w.Conn != nil {
		_ = w.Close() // it may be closed already
	}
	w.memory.Free(w.held)
}

// postgresMessages returns a reader of the messages of PostgreSQL (section 55.7 of its manual): a type and a length, which
// counts itself.
func (w *wire) postgresMessages(r io.Reader) io.Reader {
	return &meter.Messages{R: bufio.NewReaderSize(r, int(loginLimit.Most)), Header: 5, Peek: int(loginLimit.Most),
		Size: func(head []byte) (int64, error) {
			switch head[0] {
			case 'Z': // ready for a query
				w.loggedIn = true
			case 'S':
				w.reports++
				if err := reportsLimit.Check(w.reports); err != nil {
					return 0, w.Fail(err)
				}
			}
			const inLogin, longest = "RSKENvZ", 1 << 30
			size := int64(int32(binary.BigEndian.Uint32(head[1:]))) - 4 //nolint:gosec // the sign is meant
			if size < 0 || size > longest || !w.loggedIn && !strings.Contains(inLogin, string(head[:1])) {
				return 0, w.Fail(fmt.Errorf("%w: a message begins with %q", ErrProtocol, head))
			}
			return size, w.announced(size)
		},
		Begin: func(head, begin []byte) error {
			const saslContinue = "\x00\x00\x00\x0b"
			if said, found := bytes.CutPrefix(begin, []byte(saslContinue)); found && head[0] == 'R' {
				if err := scramLimit.Check(iterations(string(said))); err != nil {
					return w.Fail(err)
				}
			}
			return nil
		}}
}

// iterations returns the attribute i of a challenge of SCRAM (RFC 5802 section 5.1), or 0.
func iterations(challenge string) int64 {
	for attribute := range strings.SplitSeq(challenge, ",") {
		if text, found := strings.CutPrefix(attribute, "i="); found {
			n, _ := strconv.ParseInt(text, 10, 64) // the library says what is wrong with another text
			return n
		}
	}
	return 0
}

// mysqlWire is the connection of a driver of MySQL. It checks packets before the driver sees them, so it has to be above TLS:
// it does the client's part of TLS itself, and the driver believes that there is none.
type mysqlWire struct {
	wire
	ctx    context.Context //nolint:containedctx // of the one query that it is for
	config *tls.Config     // nil means no TLS

	link      net.Conn // the connection, or TLS on it
	in        *meter.Messages
	greeting  []byte // its begin; nil before it was read
	secure    bool   // the driver's own part of the login begins
	added     byte   // packets of the login that the driver does not know of
	answering bool   // the next packet is the first one of an answer
	plugin    string // of the login
	password  string
	second    *mysqlWire // to kill the statement; nil if there is none
}

const (
	mysqlHeader   = 4               // length and number of a packet
	largestPacket = 1<<24 - 1       // a packet of this size is continued in the next one
	clientSSL     = uint32(1) << 11 // the capability of TLS
	sha256Plugin  = "sha256_password"
)

// another returns a wire for a second connection of the same query.
func (c *mysqlWire) another(ctx context.Context) *mysqlWire {
	c.second = &mysqlWire{wire: wire{memory: c.memory}, ctx: ctx, config: c.config, password: c.password}
	return c.second
}

// end ends the connection, and the second one if there is one.
func (c *mysqlWire) end() {
	c.wire.end()
	if c.second != nil {
		c.second.end()
	}
}

// start makes the connection ready for the driver.
func (c *mysqlWire) start() {
	c.link = c.Conn
	c.in = &meter.Messages{R: bufio.NewReader(c.link), Header: mysqlHeader, Size: c.size, Begin: c.begin, Peek: 512}
}

// Read implements net.Conn.
func (c *mysqlWire) Read(p []byte) (int, error) { return c.in.Read(p) }

// size checks the header of a packet.
func (c *mysqlWire) size(head []byte) (int64, error) {
	size := int64(head[0]) | int64(head[1])<<8 | int64(head[2])<<16
	switch {
	case size == largestPacket && c.loggedIn:
		return 0, c.Fail(fmt.Errorf("%w: select less data", rowLimit.Exceeded()))
	case !c.loggedIn && (c.greeting == nil && head[3] != 0 || head[3] < c.added || head[3] > 100):
		return 0, c.Fail(fmt.Errorf("%w: packet %d of the login has an impossible number", ErrProtocol, head[3]))
	}
	head[3] -= c.added
	return size, c.announced(size)
}

// begin checks what a packet begins with.
func (c *mysqlWire) begin(_, begin []byte) error {
	switch {
	case len(begin) == 0:
	case c.greeting == nil:
		if err := checkGreeting(begin); err != nil {
			return c.Fail(err)
		}
		c.greeting = bytes.Clone(begin)
		// The driver would ask for a key to encrypt the password with. If it does not know the plugin, it offers another one,
		// and the server names this one again.
		if at := bytes.LastIndex(begin, []byte(sha256Plugin)); at >= 0 && c.config != nil {
			begin[at] = 'S'
		}
	case !c.loggedIn && begin[0] == 0xfe: // the login goes on with another plugin
		plugin, _, _ := bytes.Cut(begin[1:], []byte{0})
		c.plugin = string(plugin)
	case c.answering:
		c.answering = false
		return c.columns(begin)
	}
	return nil
}

// checkGreeting checks that a server's first packet (protocol 10: Protocol::HandshakeV10) is whole. The library trusts its
// length: it panics otherwise, and leaves a goroutine behind.
func checkGreeting(body []byte) error {
	cut := fmt.Errorf("%w of MySQL: its greeting of %d bytes is cut off", ErrProtocol, len(body))
	if len(body) > 0 && body[0] == 0xff { // a refusal
		if len(body) < 3 {
			return cut
		}
		return nil
	}
	// The version ends with a zero. Then come a thread (4 bytes), half a challenge (8), a zero, capabilities (2), and in every
	// server of this century: a character set (1), a status (2), capabilities (2), a length (1), ten bytes, the other half (13).
	const first, second = 4 + 8 + 1 + 2, 1 + 2 + 2 + 1 + 10 + 13
	end := bytes.IndexByte(body, 0)
	if rest := len(body) - end - 1; end < 0 || rest < first || rest > first && rest < first+second {
		return cut
	}
	return nil
}

// columns checks the number of columns at the begin of an answer, a number of the protocol (length-encoded integer). An
// answer may also begin with 0 for success, 0xff for an error and 0xfb for a request of a file.
func (c *mysqlWire) columns(begin []byte) error {
	width := map[byte]int{0xfc: 2, 0xfd: 3, 0xfe: 8}[begin[0]]
	if begin[0] == 0xff || begin[0] == 0xfb || width == 0 {
		return nil
	}
	if len(begin) < 1+width {
		return c.Fail(fmt.Errorf("%w: the number of columns is cut off", ErrProtocol))
	}
	var text [8]byte
	copy(text[:], begin[1:1+width])
	n := binary.LittleEndian.Uint64(text[:])
	if err := columnsLimit.Check(int64(min(n, 1<<62))); err != nil { //nolint:gosec // bounded
		return c.Fail(err)
	}
	return nil
}

// Write implements net.Conn. The driver writes each packet at once.
func (c *mysqlWire) Write(p []byte) (int, error) {
	switch {
	case len(p) < mysqlHeader:
	case !c.secure:
		c.secure = true
		if c.config != nil {
			return len(p), c.request(p)
		}
	case p[3] == 0: // the first packet of a command
		c.loggedIn, c.answering, c.added = true, true, 0
	case c.added > 0:
		taken := len(p)
		// Over TLS, the password itself is the answer.
		if len(p) == mysqlHeader+1 && p[mysqlHeader] == 1 && c.plugin == sha256Plugin {
			n := len(c.password) + 1
			p = append([]byte{byte(n), byte(n >> 8), byte(n >> 16), p[3]}, c.password+"\x00"...) //nolint:gosec // the bytes of a number
		}
		p = bytes.Clone(p)
		p[3] += c.added
		if _, err := c.link.Write(p); err != nil {
			return 0, err
		}
		return taken, nil
	}
	return c.link.Write(p)
}

// request begins TLS and then sends the driver's response to the greeting. The request is the begin of that response.
func (c *mysqlWire) request(response []byte) error {
	const begin = mysqlHeader + 32
	response = bytes.Clone(response)
	if len(response) < begin {
		return c.Fail(errors.New("the driver's response is too short"))
	}
	if !offersTLS(c.greeting) {
		return c.Fail(ErrNoTLS)
	}
	if c.in.R.Buffered() > 0 {
		return c.Fail(fmt.Errorf("%w: the server sends more than a greeting before TLS", ErrProtocol))
	}
	capabilities := binary.LittleEndian.Uint32(response[mysqlHeader:]) | clientSSL
	binary.LittleEndian.PutUint32(response[mysqlHeader:], capabilities)
	request := bytes.Clone(response[:begin])
	request[0], request[1], request[2] = begin-mysqlHeader, 0, 0
	if _, err := c.link.Write(request); err != nil {
		return err
	}
	secured := tls.Client(c.link, c.config)
	if err := secured.HandshakeContext(c.ctx); err != nil {
		return c.Fail(err)
	}
	c.link, c.added = secured, 1
	c.in.R.Reset(secured)
	response[3] += c.added
	_, err := secured.Write(response)
	return err
}

// offersTLS reports whether the greeting of a server offers TLS: after a version and a text that ends in NUL follow four
// bytes, eight and a NUL, and then the capabilities.
func offersTLS(greeting []byte) bool {
	if len(greeting) == 0 {
		return false
	}
	end := bytes.IndexByte(greeting[1:], 0)
	at := 1 + end + 1 + 4 + 8 + 1
	return end >= 0 && len(greeting) >= at+2 && uint32(binary.LittleEndian.Uint16(greeting[at:]))&clientSSL != 0
}

// Close implements net.Conn. It does not wait for a server that does not read.
func (c *mysqlWire) Close() error { return c.Conn.Close() }
