package mail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// pop3Client is one session with a POP3 server (RFC 1939). The server removes deleted messages at QUIT. Its methods
// return Failures.
type pop3Client struct {
	ctx  context.Context // of the session: one call of pop3Mailbox.session
	box  *pop3Mailbox
	conn net.Conn
	r    *bufio.Reader
	// The limits with what the target's settings say.
	messages, session limit.Limit

	sent int64 // bytes of the server in this session
	held int64 // bytes counted in the memory of the run until the end of the session
}

// Limits of what a server may send.
var (
	pop3LineLimit    = limit.Define(limit.Limit{Subject: "POP3", What: "a line of the answer", Unit: "bytes", Most: 64 << 10})
	pop3MessageLimit = limit.Define(limit.Limit{Subject: "POP3", What: "a message", Unit: "bytes", Most: 8 << 20, Setting: "limits.message"})
	pop3SessionLimit = limit.Define(limit.Limit{Subject: "POP3", What: "the server's part of one session", Unit: "bytes", Most: 16 << 20, Setting: "limits.message"})
)

// uidSize is the memory of an entry in the list of messages, in bytes besides its unique id.
const uidSize = 100

// free counts bytes off that are no longer held.
func (c *pop3Client) free(n int64) {
	c.held -= n
	c.box.w.Memory().Free(n)
}

// newPOP3Client returns the client of a session within the limits of the target.
func newPOP3Client(ctx context.Context, box *pop3Mailbox) *pop3Client {
	c := &pop3Client{ctx: ctx, box: box, messages: pop3MessageLimit.With(steps.SettingsOf[steps.Limits](box.w.Target()).Message)}
	c.session = pop3SessionLimit.With(max(pop3SessionLimit.Most, 2*c.messages.Most))
	return c
}

// keep counts bytes that are held until the end of the session.
func (c *pop3Client) keep(n int64) error {
	c.held += n
	return c.box.w.Memory().Take(n)
}

// session connects, logs in, calls do and sends QUIT.
func (p *pop3Mailbox) session(ctx context.Context, do func(*pop3Client) error) error {
	return p.sessionUnless(ctx, nil, do)
}

// sessionUnless is session, but it does not log in if before returns true.
func (p *pop3Mailbox) sessionUnless(ctx context.Context, before func(*pop3Client) (bool, error), do func(*pop3Client) error) (err error) {
	host, err := p.account.Require("pop3", p.host)
	if err != nil {
		return err
	}
	if err := pop3Service.mistaken(p.server(), p.port); err != nil {
		return err
	}
	username, password, err := login(ctx, p.account, p.w)
	if err != nil {
		return err
	}
	if p.account.Token {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "account %q has an access token, but POP3 needs a password: set accounts.%s.password in stepwatch.yml instead",
			p.account.Name, p.account.Name)
	}
	if strings.ContainsAny(username+password.Reveal(), "\r\n\x00") {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "the user name or password of account %q contains a line break", p.account.Name)
	}
	tcp, err := p.w.Dial(ctx, p.server(), result.BlameAccess)
	if err != nil {
		return err
	}
	line := lifeline.Bind(ctx, tcp)
	defer func() {
		line.Release()
		_ = tcp.Close() // the server has confirmed everything by then
	}()
	c := newPOP3Client(ctx, p)
	defer func() { c.free(c.held) }()
	c.use(steps.QuickAck(tcp))
	if err := c.begin(host); err != nil {
		return err
	}
	if before != nil {
		if stop, err := before(c); err != nil {
			return err
		} else if stop {
			_, err = c.command("QUIT", "QUIT")
			return err
		}
	}
	err = p.w.Timed("login", func() (string, error) {
		if _, err := c.command("USER "+username, "USER "+username); err != nil {
			return "", err
		}
		return c.command("PASS "+password.Reveal(), "PASS "+steps.Hidden)
	})
	if err != nil {
		if errors.Is(err, errTooSoon) {
			_, _ = c.command("QUIT", "QUIT") // the refusal counts
		}
		return err
	}
	pop3Logins.note(p.loginKey(), time.Now().UnixNano())
	if err := do(c); err != nil {
		return err
	}
	_, err = c.command("QUIT", "QUIT")
	return err
}

func (c *pop3Client) use(conn net.Conn) {
	c.conn, c.r = conn, bufio.NewReaderSize(conn, int(pop3LineLimit.Most))
}

// begin does the steps before the login: TLS, the greeting, STLS.
func (c *pop3Client) begin(host string) error {
	secure := func() error {
		conn, err := c.box.w.Handshake(c.ctx, c.conn, host, result.BlameAccess)
		if err == nil {
			c.use(conn)
		}
		return err
	}
	implicit := c.box.port == address.PortPOP3S
	if implicit {
		if err := secure(); err != nil {
			return err
		}
	}
	err := c.box.w.Timed("greeting", func() (string, error) { return c.status(greetingShown) })
	if err != nil || implicit {
		return err
	}
	err = c.box.w.Timed("stls", func() (string, error) { return c.command("STLS", "STLS") })
	switch failure := (*steps.Failure)(nil); {
	case errors.As(err, &failure) && failure.Reason == result.ReasonRefused:
		return steps.Fail(result.ReasonTLS, result.BlameAccess, "%w: nothing was sent, because a password must not be sent in clear text", err)
	case err != nil:
		return err
	case c.r.Buffered() > 0: // else it would be read as if it came over TLS
		return steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s sent %d bytes in clear text after its answer to STLS", c.box.server(), c.r.Buffered())
	}
	return secure()
}

// command sends a command and reads the status line. shown is its text in reports.
func (c *pop3Client) command(command, shown string) (text string, err error) {
	c.box.log.client(shown)
	if _, err := io.WriteString(c.conn, command+"\r\n"); err != nil {
		return "", c.failure(shown, err)
	}
	return c.status(shown)
}

// status reads a status line and returns the text after +OK.
func (c *pop3Client) status(shown string) (text string, err error) {
	line, err := c.line()
	if err != nil {
		return "", c.failure(shown, err)
	}
	c.box.log.server(string(line))
	kind, text, _ := strings.Cut(string(line), " ")
	text = wording.OneLine(text, 300)
	switch {
	case kind == "+OK":
		return text, nil
	case kind != "-ERR":
		if other := pop3Service.greeted(c.box.server(), c.box.port, string(line)); other != nil && shown == greetingShown {
			return "", other
		}
		return "", steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s answers %s with %q: is that port a POP3 server's?", c.box.server(), shown, wording.OneLine(string(line), 80))
	}
	code, _, _ := strings.Cut(strings.TrimPrefix(text, "["), "]")
	code = strings.ToUpper(code)
	switch verb, _, _ := strings.Cut(shown, " "); {
	case strings.HasPrefix(text, "[") && code == "LOGIN-DELAY", (verb == "PASS" || verb == "USER") && tooSoon.MatchString(text): // RFC 2449 section 8.1.1
		return "", steps.Fail(result.ReasonDeferred, result.BlameAccess, "%s: %w: -ERR %s", c.box.server(), errTooSoon, text)
	case strings.HasPrefix(text, "[") && (code == "IN-USE" || code == "SYS/TEMP"): // RFC 2449, RFC 3206
		return "", steps.Fail(result.ReasonDeferred, result.BlameAccess, "%s cannot do %s now: -ERR %s", c.box.server(), verb, text)
	case verb == "PASS" || verb == "USER":
		return "", steps.Fail(result.ReasonAuth, result.BlameAccess, "%s refused the login of %q: -ERR %s: is the password of account %q still right?",
			c.box.server(), c.box.account.Username, text, c.box.account.Name)
	default:
		return "", steps.Fail(result.ReasonRefused, result.BlameAccess, "%s refused %s: -ERR %s", c.box.server(), shown, text)
	}
}

func (c *pop3Client) failure(shown string, err error) error {
	if err == nil {
		return nil
	}
	return steps.FailNet(c.ctx, err, result.BlameAccess, shown+" at "+c.box.server())
}

// line returns the next line without its line break. It is valid until the next call.
func (c *pop3Client) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	switch c.sent += int64(len(line)); {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, pop3LineLimit.Exceeded()
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case c.sent > c.session.Most:
		return nil, c.session.Exceeded()
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// lines sends a command and calls take with each line of its multi-line answer (RFC 1939 section 3), without its line break.
func (c *pop3Client) lines(command string, take func(line []byte) error) error {
	if _, err := c.command(command, command); err != nil {
		return err
	}
	for {
		line, err := c.line()
		if err != nil {
			return c.failure(command, err)
		}
		if len(line) == 1 && line[0] == '.' {
			return nil
		}
		if err := take(bytes.TrimPrefix(line, []byte("."))); err != nil { // a leading dot is doubled
			return c.failure(command, err)
		}
	}
}

// multi sends a command and returns its multi-line answer. Its lines end in CRLF.
func (c *pop3Client) multi(command string) ([]byte, error) {
	var body []byte
	counted := 0 // bytes of the buffer, which grows faster than what is in it
	err := c.lines(command, func(line []byte) error {
		body = append(append(body, line...), "\r\n"...)
		if err := c.messages.Check(int64(len(body))); err != nil {
			return c.messages.Exceeded()
		}
		n := cap(body) - counted
		counted = cap(body)
		return c.keep(int64(n))
	})
	return body, err
}

// pop3Message is a message of a session.
type pop3Message struct {
	number int
	id     string // the same in every session
}

// list returns the messages in the server's order, the oldest first.
func (c *pop3Client) list() ([]pop3Message, error) {
	var list []pop3Message
	err := c.lines("UIDL", func(line []byte) error {
		m, err := parseUID(string(line))
		if err != nil {
			return steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s answers UIDL with an invalid line: %w", c.box.server(), err)
		}
		list = append(list, m)
		return c.keep(uidSize + int64(len(m.id)))
	})
	return list, err
}

// parseUID parses a line of the answer to UIDL (RFC 1939 section 7): a number and a unique id.
func parseUID(line string) (pop3Message, error) {
	number, id, found := strings.Cut(strings.TrimSpace(line), " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || !found || strings.TrimSpace(id) == "" {
		return pop3Message{}, fmt.Errorf("got %q, want a number and an id", wording.OneLine(line, 80))
	}
	return pop3Message{n, strings.TrimSpace(id)}, nil
}

// header returns a message's header.
func (c *pop3Client) header(number int) (message.Header, error) {
	before := c.held
	defer func() { c.free(c.held - before) }()
	body, err := c.multi(fmt.Sprintf("TOP %d 0", number))
	if err != nil {
		return nil, err
	}
	header, _ := message.Read(body)
	return header, nil
}

func (c *pop3Client) message(number int) ([]byte, error) {
	return c.multi(fmt.Sprintf("RETR %d", number))
}

func (c *pop3Client) remove(number int) error {
	command := fmt.Sprintf("DELE %d", number)
	_, err := c.command(command, command)
	return err
}

// errTooSoon is the refusal of a login so soon after the last one, which is no fault: a server may demand a pause.
var errTooSoon = errors.New("the server allows no login so soon after the last one")

// tooSoon matches that refusal where it has no code.
var tooSoon = regex.Lazy(`(?i)login.delay|minimum (?:time|interval|delay) between|(?:logins?|checks?|sessions?|connections?) must be (?:at least|further)|logins? too (?:frequent|often|soon)|too frequent|must wait \w+ (?:more )?(?:seconds|minutes) (?:before|between)`)

// pop3Logins holds the time of this process's last login to each mailbox, in nanoseconds.
var pop3Logins sweptMarks

// pop3Pauses holds, in nanoseconds, the pause between two logins after which a server that announces none accepted the
// second one.
var pop3Pauses sweptMarks

// loginKey names the mailbox to which a server's LOGIN-DELAY applies.
func (p *pop3Mailbox) loginKey() string {
	return strings.ToLower(p.account.Username + "\x00" + p.host + "\x00" + p.w.Target().ConnectTo[p.server()])
}

// loginDelay returns the minimum time between two logins (RFC 2449 section 6.6), or 0 if the server does not know CAPA.
func (c *pop3Client) loginDelay() (time.Duration, error) {
	body, err := c.multi("CAPA")
	if failure := (*steps.Failure)(nil); errors.As(err, &failure) && failure.Reason == result.ReasonRefused {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) > 1 && words[0] == "LOGIN-DELAY" {
			if n, err := strconv.Atoi(words[1]); err == nil && n > 0 {
				return time.Duration(min(n, 3600)) * time.Second, nil
			}
		}
	}
	return 0, nil
}
