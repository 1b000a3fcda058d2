package steps

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/lifeline"
)

func init() {
	const (
		does = "Submits a test message over SMTP through the sender's server. Port 465 is TLS from the first byte; 587 and any other " +
			"port require STARTTLS. All of these require AUTH (RFC 6409, RFC 8314). Port 25 uses STARTTLS when the server offers it, and AUTH when the server " +
			"offers it inside TLS and the sender has a password. A password is never sent before TLS. " + messageDoes + envelopeDoes + " A local part that is not ASCII needs SMTPUTF8 " +
			"(RFC 6531), and then the server must offer it. A domain that is not ASCII is sent as A-labels. Fails on the first unexpected answer, with that answer. Afterwards the message is " +
			"removed from the recipient's mailbox, if that account has an IMAP server and a password."
		measures = "From the name lookup to the end of the dialogue. Phases: dns, connect, banner, ehlo, starttls, tls, ehlo_tls, auth, mail, rcpt, " +
			"data, body (the message until the server accepts it, with its queue id) and quit, each with the server's answer. " +
			"Measures tls_certificate_not_after_timestamp_seconds."
	)
	Register(
		Definition{
			Area: "mail", Sentence: `I send a message from {account} to {account} via {port}`,
			Does:      does + " The mechanism is the first one that the server offers of PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1 and CRAM-MD5; for an account with a token, of OAUTHBEARER and XOAUTH2.",
			Measures:  measures,
			Table:     Optional,
			DocString: Optional,
			Example:   `When I send a message from "alice" to "bob" via 587`,
			Func:      sendMessage,
		},
		Definition{
			Area: "mail", Sentence: `I send a message from {account} to {account} via {port} with AUTH {word}`,
			Does: does + " The mechanism is one of " + saslNames + ". The step fails when the server does not offer it. " +
				"XOAUTH2 and OAUTHBEARER use the account's access token, which a command can fetch (token: {command: …}).",
			Measures:  measures,
			Table:     Optional,
			DocString: Optional,
			Example:   `When I send a message from "alice" to "bob" via 465 with AUTH LOGIN`,
			Func:      sendMessage,
		},
		Definition{
			Area: "mail", Sentence: `it is accepted`,
			Does:    "Fails unless the server accepted the last sent message.",
			Example: `Then it is accepted`,
			Func:    isAccepted,
		},
		Definition{
			Area: "mail", Sentence: `it is accepted within {duration}`,
			Does: "Fails unless the server accepted the last sent message within this time, from the start of the step that sent it to the " +
				"server's answer to the message.",
			Measures: "Nothing. This step judges the duration of the step that sent the message.",
			Example:  `Then it is accepted within 5s`,
			Func:     isAccepted,
		},
	)
}

const (
	portSMTP  = 25
	portSMTPS = 465
)

// quitWait is the time limit for the answer to QUIT. The message is accepted or lost before that, so a server that does
// not answer costs this time and nothing else.
const quitWait = time.Second

func isAccepted(_ context.Context, w *World, a Args) error {
	if t := State[attempts](w).last; t != nil && t.refusal != nil {
		return t.err
	} else if t != nil && t.submission == nil {
		return nil // a login
	}
	s := State[mail](w).last(nil)
	if s == nil {
		return scenarioFault("nothing was sent before this step: begin with \"I send a message from …\"")
	}
	if s.accepted.IsZero() {
		return Fail(result.ReasonRefused, result.BlameSubmission, "%s did not accept the message: %s", s.server, s.reply)
	}
	if len(a.Captured) == 0 {
		return nil
	}
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	if s.took > limit {
		return Fail(result.ReasonSlow, result.BlameSubmission, "%s accepted the message after %s, wanted within %s: the phases of the step that sent it show what took so long",
			s.server, seconds(s.took), limit)
	}
	return nil
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) + "s" }

// sendMessage runs "I send a message".
func sendMessage(ctx context.Context, w *World, a Args) error {
	start := time.Now()
	from, err := w.target.Account(a.Text(0))
	if err != nil {
		return err
	}
	to, err := w.target.Account(a.Text(1))
	if err != nil {
		return err
	}
	port, err := a.Port(2)
	if err != nil {
		return err
	}
	mechanism := ""
	if len(a.Captured) > 3 {
		mechanism = strings.ToUpper(a.Text(3))
		if _, known := saslMechanisms[mechanism]; !known {
			return scenarioFault("AUTH %s is unknown: write %s", a.Text(3), saslNames)
		}
	}
	c, err := newSMTPClient(w, from, port, mechanism)
	if err != nil {
		return err
	}
	if err := c.credentials(ctx); err != nil {
		return err
	}
	return c.send(ctx, from, to, a, start, "smtp transcript")
}

// send composes the step's message and submits it. From then on the run knows the message and removes it from the
// recipient's mailbox. After a failure the dialogue is kept under the name transcript.
func (c *smtpClient) send(ctx context.Context, from, to *Account, a Args, start time.Time, transcript string) error {
	m := State[mail](c.w)
	s := &submission{number: len(m.sent) + 1, from: from, to: to, server: c.server}
	message, err := c.compose(s, a)
	if err != nil {
		return err
	}
	State[attempts](c.w).last = nil
	m.sent = append(m.sent, s)
	if to.IMAP != "" && to.Password != "" {
		m.mailbox(c.w, to, 0) // so that the message is removed
	}
	if err := c.submit(ctx, s, message, start); err != nil {
		c.log.attach(c.w, transcript)
		return err
	}
	return nil
}

// newSMTPClient returns a client for the account's server, with the requirements of its port.
func newSMTPClient(w *World, account *Account, port int, mechanism string) (*smtpClient, error) {
	host, err := account.Require("smtp", account.SMTP)
	if err != nil {
		return nil, err
	}
	c := &smtpClient{w: w, blame: result.BlameSubmission, account: account, host: host,
		server: net.JoinHostPort(host, strconv.Itoa(port)), mechanism: mechanism}
	switch port {
	case portSMTPS:
		c.implicitTLS, c.mustTLS, c.mustAuth = true, true, true
	case portSMTP:
		c.mustTLS, c.mustAuth = mechanism != "", mechanism != ""
	default:
		c.mustTLS, c.mustAuth = true, true
	}
	return c, nil
}

// credentials fetches the name and password of the account if the connection can use them.
func (c *smtpClient) credentials(ctx context.Context) (err error) {
	if c.mustAuth || c.account.Password != "" {
		c.username, c.password, err = c.account.login(ctx, c.w)
	}
	return err
}

// smtpClient is one connection to a server that accepts mail (RFC 5321).
//
// It is our own client, on net/textproto, because that of go-smtp lacks what a monitor needs. The latter says
// "localhost" before STARTTLS, hides the handshake inside the next EHLO, has no context, writes the message without a
// deadline, keeps only the text of the last reply, and sends "*" after a refused AUTH, which Postfix logs as a non-SMTP
// command. Here each verb is a phase with its reply, and ctx ends every wait, including the transfer of the message.
type smtpClient struct {
	w            *World
	account      *Account
	host, server string // as configured: "mail.example.org", "mail.example.org:587"

	blame       result.Blame // the leg of the server
	route       route
	lmtp        bool
	implicitTLS bool
	mustTLS     bool
	mustAuth    bool
	anyTLS      bool   // an invalid certificate is reported and is not a failure
	tellTLS     bool   // the protection of the message is reported
	mechanism   string // asked for by the step, or empty
	username    string // empty when there is no login
	password    Secret

	tcp        net.Conn // the connection to close, so that a TLS alert to a stalled peer cannot block us
	conn       net.Conn // tcp, or TLS above it
	r          *bufio.Reader
	text       *textproto.Writer
	secure     bool
	version    string            // of TLS
	flaw       string            // of a certificate that may be invalid
	protection string            // how the message is protected, once known
	greets     string            // the server's name in its greeting
	called     string            // and in its answer to EHLO
	offers     map[string]string // EHLO keywords, in upper case, with their parameters
	wishes     envelopeWishes
	padding    int  // bytes added to the message
	inData     bool // between DATA and the final dot anything that we write is part of the message
	broken     bool // the connection is unusable
	log        transcript
}

// submit sends one message.
func (c *smtpClient) submit(ctx context.Context, s *submission, message []byte, start time.Time) error {
	return c.talk(ctx, func() error {
		if err := c.upgrade(ctx); err != nil {
			return err
		}
		c.reportTLS()
		if err := c.authenticate(ctx); err != nil {
			return err
		}
		mailFrom, rcptTo, err := c.envelope(s, len(message)+c.padding)
		if err != nil {
			return err
		}
		shown, _, _ := strings.Cut(mailFrom, " ENVID=") // ENVID differs from run to run
		if _, err := c.step(ctx, "mail", mailFrom, shown, 2); err != nil {
			return err
		}
		if _, err := c.step(ctx, "rcpt", rcptTo, rcptTo, 2); err != nil {
			return err
		}
		if _, err := c.step(ctx, "data", "DATA", "DATA", 3); err != nil {
			return err
		}
		if err := c.body(ctx, s, message); err != nil {
			return err
		}
		s.accepted = time.Now()
		s.took = s.accepted.Sub(start)
		s.stored = c.lmtp
		return nil
	})
}

// talk connects, sends EHLO and calls do. It sends QUIT and closes the connection whatever the result.
func (c *smtpClient) talk(ctx context.Context, do func() error) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	c.tcp = conn
	line := lifeline.Bind(ctx, conn)
	defer func() {
		line.Release() // saying goodbye has a deadline of its own
		if c.conn != nil {
			c.quit(ctx)
		}
		_ = conn.Close() // the message is accepted or lost by now
	}()
	c.use(quickAck(conn))

	if c.implicitTLS {
		if err := c.startTLS(ctx); err != nil {
			return err
		}
	}
	reply, err := c.step(ctx, "banner", "", "the greeting", 2)
	if err != nil {
		return err
	}
	c.greets = firstWord(reply)
	if err := c.ehlo(ctx, "ehlo"); err != nil {
		return err
	}
	return do()
}

// use makes conn the connection for the dialogue.
func (c *smtpClient) use(conn net.Conn) {
	c.conn = conn
	c.r = bufio.NewReaderSize(conn, replyLineLimit)
	c.text = textproto.NewWriter(bufio.NewWriter(conn))
}

// step sends one command and requires an answer of the class want: 2 or 3. It is a phase with the answer as its note.
// shown is the command's name in reports and transcripts. An empty command only reads.
func (c *smtpClient) step(ctx context.Context, phase, command, shown string, want int) (Reply, error) {
	var reply Reply
	err := c.w.Timed(phase, func() (string, error) {
		var err error
		reply, err = c.exchange(command, shown)
		return oneLine(reply.String(), 300), err
	})
	return reply, c.judge(ctx, reply, err, shown, want)
}

func (c *smtpClient) exchange(command, shown string) (Reply, error) {
	if command != "" {
		if strings.ContainsAny(command, "\r\n\x00") {
			return Reply{}, scenarioFault("%q contains a line break: nothing was sent", shown)
		}
		c.log.client(shown)
		if err := c.text.PrintfLine("%s", command); err != nil {
			c.broken = true
			return Reply{}, err
		}
	}
	return c.reply()
}

func (c *smtpClient) reply() (Reply, error) {
	reply, err := readReply(c.r)
	c.broken = err != nil && !errors.Is(err, errReply) && !errors.Is(err, os.ErrDeadlineExceeded)
	for i, line := range reply.Lines {
		separator := "-"
		if i == len(reply.Lines)-1 && err == nil {
			separator = " "
		}
		c.log.server(strconv.Itoa(reply.Code) + separator + line)
	}
	return reply, err
}

// ReplyError is an SMTP server's refusal.
type ReplyError struct {
	Command string // the command that it answered
	Reply   Reply
}

// Verb returns the refused part of the dialogue: "MAIL", "RCPT", "DATA", "AUTH", "STARTTLS", "EHLO", or "message" or
// "greeting" for a part without a command.
func (e *ReplyError) Verb() string {
	verb, _, _ := strings.Cut(strings.TrimPrefix(e.Command, "the "), " ")
	return verb
}

// Error returns the command and the answer.
func (e *ReplyError) Error() string { return e.Command + ": " + oneLine(e.Reply.String(), 500) }

// judge turns the answer to a command into the Failure for the operator, or nil when the answer has the class want.
func (c *smtpClient) judge(ctx context.Context, reply Reply, err error, shown string, want int) error {
	switch {
	case errors.Is(err, errReply):
		return Fail(result.ReasonProtocol, c.blame, "%s at %s: %w: is an SMTP server on that port?", shown, c.server, err)
	case err != nil:
		return FailNet(ctx, err, c.blame, shown+" at "+c.server)
	case reply.Code/100 == want:
		return nil
	}
	refusal := &ReplyError{Command: shown, Reply: reply}
	switch reply.Code / 100 {
	case 4:
		return Fail(result.ReasonDeferred, c.blame,
			"%s deferred %w (temporary: the same message may pass later; greylisting, a limit, or a service behind that server is down)", c.server, refusal)
	case 5:
		return Fail(result.ReasonRefused, c.blame, "%s refused %w%s", c.server, refusal, hint(reply))
	default:
		return Fail(result.ReasonProtocol, c.blame, "%s answered %w, wanted %dxx", c.server, refusal, want)
	}
}

// hint returns the meaning of a common refusal, or an empty string.
func hint(r Reply) string { return statusHint(r.Enhanced()) }

// statusHint returns the meaning of a common enhanced status code (RFC 3463, RFC 7372), or an empty string.
func statusHint(status string) string {
	meaning := map[string]string{
		"5.1.1":  "it has no such mailbox",
		"5.1.8":  "it does not accept the sender's domain",
		"5.2.1":  "the mailbox is disabled",
		"5.2.2":  "the mailbox is full",
		"5.3.4":  "the message is larger than it allows",
		"5.7.0":  "its policy forbids it, or requires AUTH first",
		"5.7.1":  "its policy forbids it: relaying, the sender, or a content filter",
		"5.7.26": "the sender's domain does not pass SPF, DKIM or DMARC there",
	}[status]
	if meaning == "" {
		return ""
	}
	return " (" + meaning + ")"
}

func (c *smtpClient) ehlo(ctx context.Context, phase string) error {
	verb := "EHLO"
	if c.lmtp {
		verb = "LHLO" // RFC 2033 section 4.1
	}
	reply, err := c.step(ctx, phase, verb+" "+ehloName(c.tcp.LocalAddr()), verb, 2)
	if err != nil {
		return err
	}
	c.called = firstWord(reply)
	c.offers = make(map[string]string, len(reply.Lines))
	for _, line := range reply.Lines[1:] {
		keyword, parameters, _ := strings.Cut(line, " ")
		// "AUTH=PLAIN" is an old form that some servers list besides the correct one
		c.offers[strings.ToUpper(keyword)] = strings.ToUpper(parameters)
	}
	return nil
}

// firstWord returns the server's name from its greeting or its answer to EHLO (RFC 5321 section 4.2).
func firstWord(r Reply) string {
	if len(r.Lines) == 0 {
		return ""
	}
	word, _, _ := strings.Cut(r.Lines[0], " ")
	return word
}

// ehloName returns our name for EHLO: the machine's name if it is fully qualified, and otherwise the address literal
// that RFC 5321 section 4.1.4 requires from a client without such a name.
func ehloName(local net.Addr) string {
	if name, err := os.Hostname(); err == nil && len(name) < 254 && strings.Contains(strings.Trim(name, "."), ".") &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
		return name
	}
	if tcp, ok := local.(*net.TCPAddr); ok {
		if ip := tcp.IP.To4(); ip != nil {
			return "[" + ip.String() + "]"
		}
		return "[IPv6:" + tcp.IP.String() + "]"
	}
	return "[127.0.0.1]"
}

// authenticate runs AUTH (RFC 4954), only inside TLS.
func (c *smtpClient) authenticate(ctx context.Context) error {
	offered, any := c.offers["AUTH"]
	mechanisms := strings.Fields(offered)
	candidates := saslDefaults
	if c.account.Token {
		candidates = saslTokens
	}
	wanted := strings.Join(candidates, " or ")
	if c.mechanism != "" {
		candidates, wanted = []string{c.mechanism}, c.mechanism
	}
	mechanism := ""
	if i := slices.IndexFunc(candidates, func(name string) bool { return slices.Contains(mechanisms, name) }); i >= 0 {
		mechanism = candidates[i]
	}
	switch {
	case !c.secure || c.username == "" || mechanism == "" && !c.mustAuth:
		return nil
	case !any:
		return Fail(result.ReasonAuth, c.blame, "%s does not offer AUTH: no login is possible", c.server)
	case mechanism == "":
		return Fail(result.ReasonAuth, c.blame, "%s does not offer AUTH %s: it offers %s", c.server, wanted, strings.Join(mechanisms, ", "))
	}
	client, err := saslMechanisms[mechanism](c.username, c.password, c.server)
	if err != nil {
		return err
	}
	var reply Reply
	shown := "AUTH " + mechanism
	err = c.w.Timed("auth", func() (string, error) {
		var err error
		reply, err = c.exchangeAuth(shown, client)
		return oneLine(reply.String(), 300), err
	})
	if err == nil && reply.Code/100 == 5 {
		why, doubt := "", c.account.doubt(false)
		if client.refusal != nil {
			doubt = c.account.doubt(true) + tokenEnded(c.password)
			if detail := client.refusal(); detail != "" {
				why = " (" + detail + ")"
			}
		}
		return Fail(result.ReasonAuth, c.blame, "%s refused %w%s: %s",
			c.server, &ReplyError{Command: shown + " as " + strconv.Quote(c.username), Reply: reply}, why, doubt)
	}
	if errors.Is(err, errSASL) {
		return Fail(result.ReasonAuth, c.blame, "%s at %s: %w", shown, c.server, err)
	}
	return c.judge(ctx, reply, err, shown, 2)
}

// Limits of a login: the longest command with an initial response (RFC 4954 section 4 lets a longer response follow the
// command), and the number of challenges from a server.
const (
	authCommandLimit = 512
	authChallenges   = 10
)

// exchangeAuth lets client and server talk until the server's final answer. The transcript does not contain the
// client's part.
func (c *smtpClient) exchangeAuth(command string, client *saslClient) (Reply, error) {
	shown, pending := command, client.initial
	if client.initial != nil {
		c.w.Redact(string(client.initial))
		if encoded := base64.StdEncoding.EncodeToString(client.initial); len(command)+len(encoded)+len(" \r\n") <= authCommandLimit {
			command, shown, pending = command+" "+encoded, shown+" "+hidden, nil
		}
	}
	reply, err := c.exchange(command, shown)
	for range authChallenges {
		if err != nil || reply.Code != 334 {
			break
		}
		answer := pending
		if pending == nil {
			// Servers send invalid base64 where nobody reads it; a mechanism that reads it gets an empty challenge.
			challenge, _ := base64.StdEncoding.DecodeString(strings.Join(reply.Lines, ""))
			if answer, err = client.next(challenge); err != nil {
				cancelled, cancelErr := c.exchange("*", "*")
				return cancelled, errors.Join(err, cancelErr)
			}
		}
		pending = nil
		reply, err = c.exchangeAnswer(answer)
	}
	switch {
	case err != nil:
		return reply, err
	case reply.Code == 334:
		c.broken = true // the server would take our next command for an answer
		return reply, fmt.Errorf("%w: the server sent more than %d challenges", errSASL, authChallenges)
	case reply.Code/100 == 2 && client.finish != nil:
		return reply, client.finish()
	}
	return reply, nil
}

// exchangeAnswer sends an answer to a challenge. An empty answer is an empty line, for which exchange would send
// nothing.
func (c *smtpClient) exchangeAnswer(answer []byte) (Reply, error) {
	if len(answer) > 0 {
		return c.exchange(base64.StdEncoding.EncodeToString(answer), hidden)
	}
	c.log.client("")
	if err := c.text.PrintfLine(""); err != nil {
		c.broken = true
		return Reply{}, err
	}
	return c.reply()
}

// envelope returns the MAIL and RCPT commands, with SIZE (RFC 1870) if the server offers it and SMTPUTF8 (RFC 6531) if
// the message needs it.
func (c *smtpClient) envelope(s *submission, size int) (mailFrom, rcptTo string, err error) {
	from, err := s.from.mailAddress()
	if err != nil {
		return "", "", err
	}
	to, err := s.to.mailAddress()
	if err != nil {
		return "", "", err
	}
	mailFrom = "MAIL FROM:<" + from + ">"
	if _, offered := c.offers["SIZE"]; offered {
		mailFrom += " SIZE=" + strconv.Itoa(size)
	}
	if needing := s.international(from, to); needing != "" {
		if _, offered := c.offers["SMTPUTF8"]; !offered {
			return "", "", Fail(result.ReasonRefused, c.blame, "%s does not offer SMTPUTF8, which %s needs: nothing was sent", c.server, needing)
		}
		mailFrom += " SMTPUTF8"
	}
	mailWishes, rcptWishes, err := c.wishParameters(s)
	return mailFrom + mailWishes, "RCPT TO:<" + to + ">" + rcptWishes, err
}

// international returns the part of a message between these addresses that is not US-ASCII, or an empty string. Apart
// from the addresses we only write US-ASCII.
func (s *submission) international(from, to string) string {
	for _, address := range []string{from, to} {
		if !isASCII(address) {
			return "the address " + address
		}
	}
	if !isASCII(string(s.message)) {
		return "an address in the message's header"
	}
	return ""
}

// paddingLine is the line that makes a message longer.
var paddingLine = []byte(strings.Repeat("padding.", 9) + "\r\n")

// body sends the message, with dots stuffed (RFC 5321 section 4.5.2), and reads the answer with which the server
// accepts it.
func (c *smtpClient) body(ctx context.Context, s *submission, message []byte) error {
	c.inData = true
	c.log.client(fmt.Sprintf("[message of %d bytes]", len(message)+c.padding))
	err := c.w.Timed("body", func() (string, error) {
		dots := c.text.DotWriter()
		_, err := dots.Write(message)
		for left := c.padding; left > 0 && err == nil; left -= len(paddingLine) {
			_, err = dots.Write(paddingLine[max(0, len(paddingLine)-left):])
		}
		err = errors.Join(err, dots.Close())
		s.sent = err == nil
		reply, readErr := c.reply()
		if readErr != nil {
			return "", errors.Join(err, readErr)
		}
		// A server that gives up during the message may answer before it closes the connection, and the answer says
		// more.
		s.reply, c.inData = reply, err != nil
		note := oneLine(reply.String(), 300)
		if id := reply.QueueID(); id != "" {
			note += "; queue id " + id
		}
		return note, nil
	})
	switch {
	case err != nil && s.sent:
		return FailNet(ctx, err, c.blame, "no answer to the message from "+c.server+", which may have taken it")
	case err != nil:
		return FailNet(ctx, err, c.blame, "writing the message in DATA to "+c.server)
	}
	s.sent = s.reply.Code/100 == 2 // a refusal leaves nothing in the mailbox
	return c.judge(ctx, s.reply, nil, "the message", 2)
}

// quit sends QUIT, also after a failure, so that the server's log does not fill with lost connections. When ctx is done
// it does not wait for the answer. It ignores its own errors.
func (c *smtpClient) quit(ctx context.Context) {
	if c.inData || c.broken {
		return
	}
	wait := quitWait
	if ctx.Err() != nil {
		wait = 50 * time.Millisecond
	}
	_ = c.conn.SetDeadline(time.Now().Add(wait))
	if ctx.Err() != nil {
		c.log.client("QUIT")
		_ = c.text.PrintfLine("QUIT")
		return
	}
	_ = c.w.Timed("quit", func() (string, error) {
		reply, err := c.exchange("QUIT", "QUIT")
		if err != nil {
			return "no answer", err
		}
		return oneLine(reply.String(), 300), nil
	})
}
