package imapclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Client is a connection to a server. It is not safe for concurrent use.
type Client struct {
	conn   net.Conn
	reader reader
	log    func(fromServer bool, line string) // never nil
	out    []byte
	tags   int
	broken bool
	verb   string // of the last command

	capabilities []string // in upper case; nil when they are not known
	told         bool     // the capabilities were announced since the login began
	utf8         bool     // names of folders are in UTF-8
	raw          map[string]string
	exists       uint32 // messages in the selected folder
	news         bool   // messages were announced since the last call of News
	bye          *Status
	alert        string
	stray        string // the first line of the answer that is not a response
	strays       int
}

// New returns a client for a connection on which nothing was read yet. log, if it is not nil, gets each line of the dialogue;
// passwords and tokens are hidden, and literals longer than a header are left out.
func New(conn net.Conn, log func(fromServer bool, line string)) *Client {
	if log == nil {
		log = func(bool, string) {}
	}
	c := &Client{log: log}
	c.SetMessageLimit(0)
	c.Use(conn)
	return c
}

// Use continues on another connection: on TLS above the one before, after StartTLS. What the server announced in clear is
// forgotten (RFC 9051 section 6.2.1).
func (c *Client) Use(conn net.Conn) {
	c.conn = conn
	c.reader.in = bufio.NewReaderSize(conn, 4<<10)
	c.capabilities = nil
}

// Usable reports whether further commands make sense.
func (c *Client) Usable() bool { return !c.broken }

// Command returns the verb of the last command, for messages: "SELECT", "UID FETCH".
func (c *Client) Command() string { return c.verb }

// Alert returns the last text that the server wants people to see (RFC 9051 section 7.1), or "".
func (c *Client) Alert() string { return c.alert }

// News reports whether the server announced messages in the selected folder since the last call.
func (c *Client) News() bool {
	news := c.news
	c.news = false
	return news
}

// hidden replaces what must not be in a transcript.
const hidden = "[hidden]"

// exchange sends a command and passes each response that is neither for the client itself nor the end to take, which may be
// nil. shown is the command for transcripts. Its error is a Refusal when the server answers with NO or BAD.
func (c *Client) exchange(ctx context.Context, command, shown string, take func(*response) error) (Status, error) {
	return c.converse(ctx, []part{{text: command}}, shown, take, nil)
}

// part is a part of a command.
type part struct {
	text    string
	literal bool
}

// converse is exchange for a command with literals, and with answers to the server's challenges.
func (c *Client) converse(ctx context.Context, command []part, shown string, take func(*response) error, answer func(challenge []byte) (string, error)) (Status, error) {
	verb := verbOf(shown)
	c.verb = verb
	if c.broken {
		return Status{}, net.ErrClosed
	}
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commandTime)
		defer cancel()
	}
	line := lifeline.Bind(ctx, c.conn)
	status, unread, err := c.talk(verb, command, shown, take, answer)
	if whole := line.Release(); !whole || err != nil {
		c.broken = true
	}
	switch {
	case err != nil:
		return status, line.Cause(c.explained(err))
	case status.Kind != OK:
		return status, &Refusal{Command: verb, Status: status}
	default:
		return status, unread
	}
}

// isLimit reports whether an error says that the answer is too large: for the protocol, or for the memory of the run.
func isLimit(err error) bool {
	if err == nil {
		return false
	}
	var exceeded *limit.Error
	var shared *limit.PoolError
	return errors.As(err, &exceeded) || errors.As(err, &shared)
}

// verbOf returns the verb of a command: "SELECT", "UID FETCH".
func verbOf(command string) string {
	verb, rest, _ := strings.Cut(command, " ")
	if verb == "UID" {
		rest, _, _ = strings.Cut(rest, " ")
		verb += " " + rest
	}
	return verb
}

// explained returns what is behind the end of the connection: the server's BYE, or a line that is not IMAP.
func (c *Client) explained(err error) error {
	var wrong *ProtocolError
	switch {
	case isLimit(err), errors.As(err, &wrong):
		return err
	case c.bye != nil:
		return &ByeError{*c.bye}
	case c.stray != "":
		return errors.Join(&ProtocolError{What: "a line is not a response", Rule: "RFC 9051 section 2.2.2", Line: wording.OneLine(c.stray, quoteLimit)}, err)
	}
	return err
}

// talk sends a command and reads the answer to its end. unread is the first error of take, after which the connection is still
// in step. err ends the connection.
func (c *Client) talk(verb string, command []part, shown string, take func(*response) error, answer func([]byte) (string, error)) (status Status, unread, err error) {
	c.reader.begin()
	c.stray, c.strays = "", 0
	c.tags++
	tag := "s" + strconv.Itoa(c.tags)
	c.log(false, shown)
	c.out = append(append(c.out[:0], tag...), ' ')
	pending := command
	if err := c.write(&pending); err != nil {
		return Status{}, nil, err
	}
	for challenges := 0; ; {
		r, err := c.reader.next()
		if err != nil {
			return Status{}, nil, err
		}
		c.record(r)
		first, rest := cutWord(r.text)
		switch {
		case len(first) == 1 && first[0] == '*':
			c.untagged(rest)
			if take == nil || unread != nil {
				continue
			}
			unread = take(r)
			if isLimit(unread) {
				return Status{}, nil, unread
			}
		case len(first) == 1 && first[0] == '+':
			challenges++
			switch {
			case challenges > int(ChallengeLimit.Most):
				return Status{}, nil, ChallengeLimit.Exceeded()
			case len(pending) > 0:
				if err := c.write(&pending); err != nil {
					return Status{}, nil, err
				}
			case answer != nil:
				if err := c.reply(rest, answer); err != nil {
					return Status{}, nil, err
				}
			default:
				return Status{}, nil, r.broken("the server asks for more of the command "+verb, "RFC 9051 section 7.6")
			}
		case len(first) == len(tag) && strings.EqualFold(string(first), tag):
			status, ok := parseStatus(rest)
			if !ok {
				return Status{}, nil, r.broken("the answer to "+verb+" is neither OK, NO nor BAD", "RFC 9051 section 7.1")
			}
			c.heed(status)
			return status, unread, nil
		case len(bytes.TrimSpace(r.text)) == 0:
		case isStatus(rest):
			// To a command that nobody sent, or that an earlier client of a proxy sent.
		default:
			if c.strays++; c.strays > StrayLimit {
				return Status{}, nil, r.broken("lines are not responses", "RFC 9051 section 2.2.2")
			}
			if c.stray == "" {
				c.stray = r.line(0)
			}
		}
	}
}

// cutWord splits a response after its first word.
func cutWord(text []byte) (word, rest []byte) {
	text = bytes.TrimLeft(text, " \t")
	i := bytes.IndexAny(text, " \t")
	if i < 0 {
		return text, nil
	}
	return text[:i], bytes.TrimLeft(text[i:], " \t")
}

// record writes a response to the transcript.
func (c *Client) record(r *response) {
	const headers = 1 << 10
	for line := range strings.SplitSeq(strings.TrimRight(r.line(headers), "\r\n"), "\n") {
		c.log(true, strings.TrimSuffix(line, "\r"))
	}
}

// write sends the parts of a command up to the first one for which the server must ask, and leaves the others in pending.
func (c *Client) write(pending *[]part) error {
	parts := *pending
	for len(parts) > 0 {
		p := parts[0]
		parts = parts[1:]
		c.out = append(c.out, p.text...)
		if len(parts) == 0 || !parts[0].literal {
			continue
		}
		size := len(parts[0].text)
		wait := !c.Has("LITERAL+") && (!c.Has("LITERAL-") && !c.Has("IMAP4REV2") || size > 4096) // RFC 7888
		c.out = fmt.Appendf(c.out, "{%d", size)
		if !wait {
			c.out = append(c.out, '+')
		}
		c.out = append(c.out, "}\r\n"...)
		if wait {
			break
		}
	}
	if len(parts) == 0 {
		c.out = append(c.out, "\r\n"...)
	}
	*pending = parts
	_, err := c.conn.Write(c.out)
	clear(c.out) // it may hold a password
	c.out = c.out[:0]
	return err
}

// reply answers a challenge.
func (c *Client) reply(challenge []byte, answer func([]byte) (string, error)) error {
	said, err := answer(challenge)
	if err != nil {
		c.log(false, "*")
		_, writeErr := io.WriteString(c.conn, "*\r\n") // RFC 9051 section 6.2.2: cancels the login
		return errors.Join(err, writeErr)
	}
	c.log(false, hidden)
	_, err = io.WriteString(c.conn, said+"\r\n")
	return err
}

// untagged heeds what an untagged response says about the connection and the selected folder.
func (c *Client) untagged(rest []byte) {
	word, after := cutWord(rest)
	switch {
	case len(word) > 0 && word[0] >= '0' && word[0] <= '9':
		kind, _ := cutWord(after)
		n, err := strconv.ParseUint(string(word), 10, 32)
		switch {
		case err != nil:
		case equal(kind, "EXISTS"):
			c.exists, c.news = uint32(n), true
		case equal(kind, "EXPUNGE") && c.exists > 0:
			c.exists--
		}
	case equal(word, "CAPABILITY"):
		c.setCapabilities(string(after))
	case isStatus(rest):
		status, _ := parseStatus(rest)
		c.heed(status)
		if status.Kind == BYE {
			c.bye = &status
		}
	}
}

// equal compares a word of the server, ignoring case.
func equal(word []byte, keyword string) bool {
	return len(word) == len(keyword) && strings.EqualFold(string(word), keyword)
}

// heed keeps what a status says besides its outcome.
func (c *Client) heed(s Status) {
	switch s.Code {
	case Alert:
		c.alert = s.Text
	case WebAlert:
		c.alert = strings.TrimSpace(s.Text + " " + s.Args)
	case "CAPABILITY":
		c.setCapabilities(s.Args)
	}
}

func (c *Client) setCapabilities(text string) {
	names := strings.Fields(strings.ToUpper(text))
	c.capabilities = append(make([]string, 0, len(names)), names[:min(len(names), listLimit)]...)
	c.told = true
}

// Has reports whether the server announced a capability, such as "UIDPLUS" or "AUTH=PLAIN". Case is ignored.
func (c *Client) Has(capability string) bool {
	return slices.ContainsFunc(c.capabilities, func(known string) bool { return strings.EqualFold(known, capability) })
}

// HasAny reports whether the server announced a capability that begins with a prefix, such as "QUOTA".
func (c *Client) HasAny(prefix string) bool {
	return slices.ContainsFunc(c.capabilities, func(known string) bool {
		return len(known) >= len(prefix) && strings.EqualFold(known[:len(prefix)], prefix)
	})
}

// Greeting reads the server's first line, which is OK or PREAUTH: the latter means that the client is logged in.
func (c *Client) Greeting(ctx context.Context) (line string, s Status, err error) {
	bound := lifeline.Bind(ctx, c.conn)
	defer func() {
		if whole := bound.Release(); !whole || err != nil {
			c.broken = true
		}
		err = bound.Cause(err)
	}()
	c.reader.begin()
	for {
		r, err := c.reader.next()
		if err != nil {
			return "", Status{}, err
		}
		line = r.line(0)
		c.log(true, line)
		if strings.TrimSpace(line) == "" {
			continue
		}
		first, rest := cutWord(r.text)
		s, ok := parseStatus(rest)
		if string(first) != "*" || !ok || s.Kind == NO || s.Kind == BAD {
			return line, s, r.broken("the greeting is neither OK, PREAUTH nor BYE", "RFC 9051 section 7.1")
		}
		c.heed(s)
		if s.Kind == BYE {
			return line, s, &ByeError{s}
		}
		return line, s, nil
	}
}

// StartTLS asks the server to start TLS (RFC 9051 section 6.2.1). After it the caller does the handshake and calls Use. clear is
// the number of bytes that came after the answer: they would be taken for the server's words inside TLS (CVE-2011-0411).
func (c *Client) StartTLS(ctx context.Context) (s Status, clear int, err error) {
	s, err = c.exchange(ctx, "STARTTLS", "STARTTLS", nil)
	return s, c.reader.in.Buffered(), err
}

// Capability learns what the server can do, unless it has said so already.
func (c *Client) Capability(ctx context.Context) error {
	if c.capabilities != nil {
		return nil
	}
	_, err := c.exchange(ctx, "CAPABILITY", "CAPABILITY", nil)
	return err
}

// Login logs in with a name and a password (RFC 9051 section 6.2.3). Afterwards the capabilities may have changed: see Capability.
func (c *Client) Login(ctx context.Context, username, password string) error {
	var command []part
	text := "LOGIN "
	for i, value := range []string{username, password} {
		if i > 0 {
			text += " "
		}
		if quoted, ok := quote(value); ok {
			text += quoted
			continue
		}
		command = append(command, part{text: text}, part{text: value, literal: true})
		text = ""
	}
	if text != "" {
		command = append(command, part{text: text})
	}
	return c.logIn(ctx, command, "LOGIN "+strconv.Quote(username)+" "+hidden, nil)
}

// Authenticate logs in by a SASL mechanism (RFC 9051 section 6.2.2). initial is the initial response, nil when the server speaks
// first. next answers a challenge; its error cancels the login and is returned.
func (c *Client) Authenticate(ctx context.Context, mechanism string, initial []byte, next func(challenge []byte) ([]byte, error)) error {
	command := "AUTHENTICATE " + mechanism
	shown := command
	pending := initial != nil
	if pending && c.Has("SASL-IR") { // RFC 4959
		encoded := base64.StdEncoding.EncodeToString(initial)
		if encoded == "" {
			encoded = "="
		}
		command, shown, pending = command+" "+encoded, shown+" "+hidden, false
	}
	answer := func(challenge []byte) (string, error) {
		if pending {
			pending = false
			return base64.StdEncoding.EncodeToString(initial), nil
		}
		// Servers send invalid base64 where nobody reads it; a mechanism that reads it gets an empty challenge.
		decoded, _ := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(challenge)))
		answer, err := next(decoded)
		return base64.StdEncoding.EncodeToString(answer), err
	}
	return c.logIn(ctx, []part{{text: command}}, shown, answer)
}

// logIn sends the command of a login. The capabilities of before hold no longer: unless the answer has new ones, Capability asks
// (RFC 9051 section 6.2.3).
func (c *Client) logIn(ctx context.Context, command []part, shown string, answer func([]byte) (string, error)) error {
	c.told = false
	_, err := c.converse(ctx, command, shown, nil, answer)
	if err == nil && !c.told {
		c.capabilities = nil
	}
	return err
}

// EnableUTF8 enables UTF-8 if the server serves nobody else (UTF8=ONLY, RFC 6855 section 6).
func (c *Client) EnableUTF8(ctx context.Context) error {
	if !c.Has("UTF8=ONLY") {
		return nil
	}
	_, err := c.exchange(ctx, "ENABLE UTF8=ACCEPT", "ENABLE UTF8=ACCEPT", nil)
	c.utf8 = c.utf8 || err == nil
	return err
}

// Noop asks the server for news (RFC 9051 section 6.1.2).
func (c *Client) Noop(ctx context.Context) error {
	_, err := c.exchange(ctx, "NOOP", "NOOP", nil)
	return err
}

// Logout says goodbye. The connection is unusable afterwards.
func (c *Client) Logout(ctx context.Context) error {
	_, err := c.exchange(ctx, "LOGOUT", "LOGOUT", nil)
	c.broken = true
	return err
}
