package mail

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
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/starttls"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does = "Submits a test message over SMTP through the sender's server. Port 465 is TLS from the first byte; 587 and any other " +
			"port require STARTTLS. All of these require AUTH (RFC 6409, RFC 8314). Port 25 uses STARTTLS when the server offers it, and AUTH when the server " +
			"offers it inside TLS and the sender has a password. A password is never sent before TLS. " + messageDoes + envelopeDoes + " A local part that is not ASCII needs SMTPUTF8 " +
			"(RFC 6531), and then the server must offer it. A domain that is not ASCII is sent as A-labels. Fails on the first unexpected answer, with that answer. Afterwards the message is " +
			"removed from the recipient's mailbox, if that account has an IMAP server and a password. Otherwise a bounce of it that comes within two seconds is removed from the sender's mailbox, if an account reads that over IMAP."
		measures = "From the name lookup to the end of the dialogue. Phases: dns, connect, banner, ehlo, starttls, tls, ehlo_tls, auth, mail, rcpt, " +
			"data, body (the message until the server accepts it, with its queue id) and quit, each with the server's answer. " +
			"Measures tls_certificate_not_after_timestamp_seconds (label host)."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `I send a message from {account} to {account} via {port}`,
			Does:      does + " The mechanism is the first one that the server offers of PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1 and CRAM-MD5; for an account with a token, of OAUTHBEARER and XOAUTH2.",
			Measures:  measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I send a message from "alice" to "bob" via 587`,
			Func:      sendMessage,
		},
		steps.Definition{
			Area: "mail", Sentence: `I send a message from {account} to {account} via {port} with AUTH {word}`,
			Does: does + " The mechanism is one of " + saslNames + ". The step fails when the server does not offer it. " +
				"XOAUTH2 and OAUTHBEARER use the account's access token, which a command can fetch (token: {command: …}).",
			Measures:  measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I send a message from "alice" to "bob" via 465 with AUTH LOGIN`,
			Func:      sendMessage,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is accepted`,
			Does:    "Fails unless the server accepted the last sent message.",
			Example: `Then it is accepted`,
			Func:    isAccepted,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is accepted within {duration}`,
			Does: "Fails unless the server accepted the last sent message within this time, from the start of the step that sent it to the " +
				"server's answer to the message.",
			Measures: "Nothing. This step judges the duration of the step that sent the message.",
			Example:  `Then it is accepted within 5s`,
			Func:     isAccepted,
		},
	)
}

// quitWait is the time limit for the answer to QUIT. The message is accepted or lost before that, so a server that does
// not answer costs this time and nothing else.
const quitWait = time.Second

func isAccepted(_ context.Context, w *steps.World, a steps.Args) error {
	if t := steps.State[attempts](w).last; t != nil && t.refusal != nil {
		return t.err
	} else if t != nil && t.submission == nil {
		return nil // a login
	}
	s := steps.State[Session](w).Last(nil)
	if s == nil {
		return steps.FailScenario("nothing was sent before this step: begin with \"I send a message from …\"")
	}
	if s.Accepted.IsZero() {
		return steps.Fail(result.ReasonRefused, result.BlameSubmission, "%s did not accept the message: %s", s.Server, s.Reply)
	}
	if len(a.Captured) == 0 {
		return nil
	}
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	if s.Took > limit {
		return steps.Fail(result.ReasonSlow, result.BlameSubmission, "%s accepted the message after %s, wanted within %s: the phases of the step that sent it show what took so long",
			s.Server, wording.Seconds(s.Took), limit)
	}
	return nil
}

// sendMessage runs "I send a message".
func sendMessage(ctx context.Context, w *steps.World, a steps.Args) error {
	start := time.Now()
	from, err := w.Target().Account(a.Text(0))
	if err != nil {
		return err
	}
	to, err := w.Target().Account(a.Text(1))
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
			return steps.FailScenario("AUTH %s is unknown: write %s", a.Text(3), saslNames)
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
func (c *SMTPClient) send(ctx context.Context, from, to *steps.Account, a steps.Args, start time.Time, transcript string) error {
	m := steps.State[Session](c.World)
	s := &Submission{Number: len(m.Sent) + 1, from: from, To: to, Server: c.Server}
	message, err := c.compose(s, a)
	if err != nil {
		return err
	}
	steps.State[attempts](c.World).last = nil
	m.Sent = append(m.Sent, s)
	m.removeAfter(c.World, s)
	if err := c.submit(ctx, s, message, start); err != nil {
		c.Log.Attach(c.World, transcript)
		return err
	}
	return nil
}

// newSMTPClient returns a client for the account's server, with the requirements of its port.
func newSMTPClient(w *steps.World, account *steps.Account, port int, mechanism string) (*SMTPClient, error) {
	host, err := account.Require("smtp", account.SMTP)
	if err != nil {
		return nil, err
	}
	c := &SMTPClient{World: w, Blame: result.BlameSubmission, account: account, Host: host,
		Server: net.JoinHostPort(host, strconv.Itoa(port)), mechanism: mechanism}
	if err := smtpService.mistaken(c.Server, port); err != nil {
		return nil, err
	}
	switch port {
	case address.PortSMTPS:
		c.ImplicitTLS, c.MustTLS, c.mustAuth = true, true, true
	case address.PortSMTP:
		c.MustTLS, c.mustAuth = mechanism != "", mechanism != ""
	default:
		c.MustTLS, c.mustAuth = true, true
	}
	return c, nil
}

// credentials fetches the name and password of the account if the connection can use them.
func (c *SMTPClient) credentials(ctx context.Context) (err error) {
	if c.mustAuth || c.account.Password != "" {
		c.username, c.password, err = login(ctx, c.account, c.World)
	}
	return err
}

// SMTPClient is one connection to a server that accepts mail (RFC 5321).
//
// It is our own client, on net/textproto, because that of go-smtp lacks what a monitor needs. The latter says
// "localhost" before STARTTLS, hides the handshake inside the next EHLO, has no context, writes the message without a
// deadline, keeps only the text of the last reply, and sends "*" after a refused AUTH, which Postfix logs as a non-SMTP
// command. Here each verb is a phase with its reply, and ctx ends every wait, including the transfer of the message.
type SMTPClient struct {
	World        *steps.World
	account      *steps.Account
	Host, Server string // as configured: "mail.example.org", "mail.example.org:587"

	Blame       result.Blame // the leg of the server
	route       steps.Route
	lmtp        bool
	ImplicitTLS bool
	MustTLS     bool
	mustAuth    bool
	AnyTLS      bool   // an invalid certificate is reported and is not a failure
	tellTLS     bool   // the protection of the message is reported
	mechanism   string // asked for by the step, or empty
	username    string // empty when there is no login
	password    steps.Secret

	Socket     net.Conn // the connection to close, so that a TLS alert to a stalled peer cannot block us
	Conn       net.Conn // tcp, or TLS above it
	r          *bufio.Reader
	text       *textproto.Writer
	secure     bool
	version    string // of TLS
	flaw       string // of a certificate that may be invalid
	protection string // how the message is protected, once known
	greeting   Reply
	Greets     string            // the server's name in its greeting
	Called     string            // and in its answer to EHLO
	offers     map[string]string // EHLO keywords, in upper case, with their parameters
	wishes     envelopeWishes
	padding    int  // bytes added to the message
	inData     bool // between DATA and the final dot anything that we write is part of the message
	broken     bool // the connection is unusable
	Log        transcript
}

// submit sends one message.
func (c *SMTPClient) submit(ctx context.Context, s *Submission, message []byte, start time.Time) error {
	return c.Talk(ctx, func() error {
		if err := c.Upgrade(ctx); err != nil {
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
		s.Accepted = time.Now()
		s.Took = s.Accepted.Sub(start)
		s.stored, s.secure = c.lmtp, c.secure
		return nil
	})
}

// Talk connects, sends EHLO and calls do. It sends QUIT and closes the connection whatever the result.
func (c *SMTPClient) Talk(ctx context.Context, do func() error) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	c.Socket = conn
	line := lifeline.Bind(ctx, conn)
	defer func() {
		line.Release() // saying goodbye has a deadline of its own
		if c.Conn != nil {
			c.quit(ctx)
		}
		_ = conn.Close() // the message is accepted or lost by now
	}()
	c.use(steps.QuickAck(conn))

	if c.ImplicitTLS {
		if err := c.startTLS(ctx); err != nil {
			return err
		}
	}
	reply, err := c.step(ctx, "banner", "", greetingShown, 2)
	if err != nil {
		return err
	}
	c.greeting, c.Greets = reply, firstWord(reply)
	if err := c.ehlo(ctx, "ehlo"); err != nil {
		return err
	}
	return do()
}

// greetingShown names the greeting, which answers no command.
const greetingShown = "the greeting"

// port returns the port of Server, or 0 for a socket.
func (c *SMTPClient) port() int {
	_, port, _ := net.SplitHostPort(c.Server)
	n, _ := strconv.Atoi(port)
	return n
}

// use makes conn the connection for the dialogue.
func (c *SMTPClient) use(conn net.Conn) {
	c.Conn = conn
	c.r = bufio.NewReaderSize(conn, int(replyLineLimit.Most))
	c.text = textproto.NewWriter(bufio.NewWriter(conn))
}

// step sends one command and requires an answer of the class want: 2 or 3. It is a phase with the answer as its note.
// shown is the command's name in reports and transcripts. An empty command only reads.
func (c *SMTPClient) step(ctx context.Context, phase, command, shown string, want int) (Reply, error) {
	var reply Reply
	err := c.World.Timed(phase, func() (string, error) {
		var err error
		reply, err = c.exchange(command, shown)
		return wording.OneLine(reply.String(), 300), err
	})
	return reply, c.judge(ctx, reply, err, shown, want)
}

func (c *SMTPClient) exchange(command, shown string) (Reply, error) {
	if command != "" {
		if strings.ContainsAny(command, "\r\n\x00") {
			return Reply{}, steps.FailScenario("%q contains a line break: nothing was sent", shown)
		}
		c.Log.client(shown)
		if err := c.text.PrintfLine("%s", command); err != nil {
			c.broken = true
			return Reply{}, err
		}
	}
	return c.reply()
}

func (c *SMTPClient) reply() (Reply, error) {
	reply, err := readReply(c.r)
	c.broken = err != nil && !errors.Is(err, errReply) && !errors.Is(err, os.ErrDeadlineExceeded)
	for i, line := range reply.Lines {
		separator := "-"
		if i == len(reply.Lines)-1 && err == nil {
			separator = " "
		}
		c.Log.server(strconv.Itoa(reply.Code) + separator + line)
	}
	return reply, err
}

// replyError is an SMTP server's refusal.
type replyError struct {
	Command string // the command that it answered
	Reply   Reply
}

// verb returns the refused part of the dialogue: "MAIL", "RCPT", "DATA", "AUTH", "STARTTLS", "EHLO", or "message" or
// "greeting" for a part without a command.
func (e *replyError) verb() string {
	verb, _, _ := strings.Cut(strings.TrimPrefix(e.Command, "the "), " ")
	return verb
}

// Error returns the command and the answer.
func (e *replyError) Error() string { return e.Command + ": " + wording.OneLine(e.Reply.String(), 500) }

// judge turns the answer to a command into the Failure for the operator, or nil when the answer has the class want.
func (c *SMTPClient) judge(ctx context.Context, reply Reply, err error, shown string, want int) error {
	if odd := oddLine(""); shown == greetingShown && !c.lmtp && errors.As(err, &odd) {
		if other := smtpService.greeted(c.Server, c.port(), string(odd)); other != nil {
			return other
		}
	}
	switch {
	case shown == greetingShown && errors.As(err, new(*limit.Error)):
		return steps.Fail(result.ReasonTooLarge, c.Blame, "%s at %s: %w: is an SMTP server on that port?", shown, c.Server, err)
	case errors.Is(err, errReply):
		return steps.Fail(result.ReasonProtocol, c.Blame, "%s at %s: %w: is an SMTP server on that port?", shown, c.Server, err)
	case err != nil:
		return steps.FailNet(ctx, err, c.Blame, shown+" at "+c.Server)
	case reply.Code/100 == want:
		return nil
	}
	refusal := &replyError{Command: shown, Reply: reply}
	switch wantsLogin := reply.wantsLogin(); {
	case wantsLogin && c.lmtp:
		return steps.Fail(result.ReasonAuth, c.Blame, "%s refused %w (it wants a login, and stepwatch delivers over LMTP without one: deliver from a network or through a socket that the server trusts)", c.Server, refusal)
	case wantsLogin && c.username == "":
		return steps.Fail(result.ReasonAuth, c.Blame, "%s refused %w (it wants a login)", c.Server, refusal)
	}
	switch reply.Code / 100 {
	case 4:
		return steps.Fail(result.ReasonDeferred, c.Blame,
			"%s deferred %w (temporary: the same message may pass later; greylisting, a limit, or a service behind that server is down)", c.Server, refusal)
	case 5:
		return steps.Fail(result.ReasonRefused, c.Blame, "%s refused %w%s", c.Server, refusal, hint(reply))
	default:
		return steps.Fail(result.ReasonProtocol, c.Blame, "%s answered %w, wanted %dxx", c.Server, refusal, want)
	}
}

// hint returns the meaning of a common refusal, or an empty string.
func hint(r Reply) string { return message.StatusHint(r.enhanced()) }

func (c *SMTPClient) ehlo(ctx context.Context, phase string) error {
	verb := "EHLO"
	if c.lmtp {
		verb = "LHLO" // RFC 2033 section 4.1
	}
	reply, err := c.step(ctx, phase, verb+" "+starttls.ClientName(c.Socket.LocalAddr()), verb, 2)
	if err != nil {
		return err
	}
	c.Called = firstWord(reply)
	c.offers = offersIn(reply)
	return nil
}

// offersIn returns the keywords in an answer to EHLO, in upper case, with their parameters. AUTH without a mechanism
// offers nothing (RFC 4954 section 3 requires one). "AUTH=PLAIN" is an old form that some servers list besides the
// correct one, and that old mail programs read: its mechanisms are offered too.
func offersIn(reply Reply) map[string]string {
	offers := make(map[string]string, len(reply.Lines))
	var mechanisms []string
	seen := make(map[string]bool)
	for _, line := range reply.Lines[min(1, len(reply.Lines)):] {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 {
			continue
		}
		if first, old := strings.CutPrefix(words[0], "AUTH="); old || words[0] == "AUTH" {
			if old {
				words[0] = first
			} else {
				words = words[1:]
			}
			for _, mechanism := range words {
				if mechanism != "" && !seen[mechanism] {
					seen[mechanism] = true
					mechanisms = append(mechanisms, mechanism)
				}
			}
			continue
		}
		offers[words[0]] = strings.Join(words[1:], " ")
	}
	if len(mechanisms) > 0 {
		offers["AUTH"] = strings.Join(mechanisms, " ")
	}
	return offers
}

// firstWord returns the server's name from its greeting or its answer to EHLO (RFC 5321 section 4.2).
func firstWord(r Reply) string {
	if len(r.Lines) == 0 {
		return ""
	}
	word, _, _ := strings.Cut(r.Lines[0], " ")
	return word
}

// authenticate runs AUTH (RFC 4954), only inside TLS.
func (c *SMTPClient) authenticate(ctx context.Context) error {
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
		return steps.Fail(result.ReasonAuth, c.Blame, "%s does not offer AUTH: no login is possible", c.Server)
	case mechanism == "":
		return steps.Fail(result.ReasonAuth, c.Blame, "%s does not offer AUTH %s: it offers %s", c.Server, wanted, strings.Join(mechanisms, ", "))
	}
	client, err := saslMechanisms[mechanism](c.username, c.password, c.Server)
	if err != nil {
		return err
	}
	var reply Reply
	began := time.Now()
	shown := "AUTH " + mechanism
	err = c.World.Timed("auth", func() (string, error) {
		var err error
		reply, err = c.exchangeAuth(shown, client)
		return wording.OneLine(reply.String(), 300), err
	})
	if err == nil && reply.Code/100 == 5 {
		why, doubt := "", doubtful(c.account, false)
		if client.refusal != nil {
			doubt = doubtful(c.account, true) + tokenEnded(c.password)
			if detail := client.refusal(); detail != "" {
				why = " (" + detail + ")"
			}
		} else if reply.Code == 535 {
			if fault := mailhost.AuthFault(ctx, c.World, c.Server, began); fault != "" {
				doubt = "nobody judged the password: " + fault
			} else if strings.Contains(reply.String(), postfixRefusal) {
				doubt += " Or is the account lookup down? Postfix answers so too when Dovecot cannot judge a password: Dovecot's log shows it"
			}
		}
		return steps.Fail(result.ReasonAuth, c.Blame, "%s refused %w%s: %s",
			c.Server, &replyError{Command: shown + " as " + strconv.Quote(c.username), Reply: reply}, why, doubt)
	}
	if errors.Is(err, errSASL) {
		return steps.Fail(result.ReasonAuth, c.Blame, "%s at %s: %w", shown, c.Server, err)
	}
	return c.judge(ctx, reply, err, shown, 2)
}

// postfixRefusal is in Postfix's answer to any login that its SASL service did not accept, for whatever reason.
const postfixRefusal = "Error: authentication failed"

// authCommandLimit is the length of the longest command with an initial response. RFC 4954 section 4 lets a longer response
// follow the command.
const authCommandLimit = 512

// authChallengesLimit limits the challenges of a server.
var authChallengesLimit = limit.Define(limit.Limit{Subject: "SMTP", What: "the login", Unit: "challenges", Most: 10})

// exchangeAuth lets client and server talk until the server's final answer. The transcript does not contain the
// client's part.
func (c *SMTPClient) exchangeAuth(command string, client *saslClient) (Reply, error) {
	shown, pending := command, client.initial
	if client.initial != nil {
		c.World.Redact(string(client.initial))
		if encoded := base64.StdEncoding.EncodeToString(client.initial); len(command)+len(encoded)+len(" \r\n") <= authCommandLimit {
			command, shown, pending = command+" "+encoded, shown+" "+steps.Hidden, nil
		}
	}
	reply, err := c.exchange(command, shown)
	for range authChallengesLimit.Most {
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
		return reply, authChallengesLimit.Exceeded()
	case reply.Code/100 == 2 && client.finish != nil:
		return reply, client.finish()
	}
	return reply, nil
}

// exchangeAnswer sends an answer to a challenge. An empty answer is an empty line, for which exchange would send
// nothing.
func (c *SMTPClient) exchangeAnswer(answer []byte) (Reply, error) {
	if len(answer) > 0 {
		return c.exchange(base64.StdEncoding.EncodeToString(answer), steps.Hidden)
	}
	c.Log.client("")
	if err := c.text.PrintfLine(""); err != nil {
		c.broken = true
		return Reply{}, err
	}
	return c.reply()
}

// envelope returns the MAIL and RCPT commands, with SIZE (RFC 1870) if the server offers it and SMTPUTF8 (RFC 6531) if
// the message needs it.
func (c *SMTPClient) envelope(s *Submission, size int) (mailFrom, rcptTo string, err error) {
	from, err := Address(s.from)
	if err != nil {
		return "", "", err
	}
	to, err := Address(s.To)
	if err != nil {
		return "", "", err
	}
	mailFrom = "MAIL FROM:<" + from + ">"
	if _, offered := c.offers["SIZE"]; offered {
		mailFrom += " SIZE=" + strconv.Itoa(size)
	}
	if needing := s.international(from, to); needing != "" {
		if _, offered := c.offers["SMTPUTF8"]; !offered {
			return "", "", steps.Fail(result.ReasonRefused, c.Blame, "%s does not offer SMTPUTF8, which %s needs: nothing was sent", c.Server, needing)
		}
		mailFrom += " SMTPUTF8"
	}
	mailWishes, rcptWishes, err := c.wishParameters(s)
	return mailFrom + mailWishes, "RCPT TO:<" + to + ">" + rcptWishes, err
}

// international returns the part of a message between these addresses that is not US-ASCII, or an empty string. Apart
// from the addresses we only write US-ASCII.
func (s *Submission) international(from, to string) string {
	for _, address := range []string{from, to} {
		if !isASCII(address) {
			return "the address " + address
		}
	}
	if !isASCII(string(s.Message)) {
		return "an address in the message's header"
	}
	return ""
}

// paddingLine is the line that makes a message longer.
var paddingLine = []byte(strings.Repeat("padding.", 9) + "\r\n")

// body sends the message, with dots stuffed (RFC 5321 section 4.5.2), and reads the answer with which the server
// accepts it.
func (c *SMTPClient) body(ctx context.Context, s *Submission, message []byte) error {
	c.inData = true
	c.Log.client(fmt.Sprintf("[message of %d bytes]", len(message)+c.padding))
	err := c.World.Timed("body", func() (string, error) {
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
		s.Reply, c.inData = reply, err != nil
		note := wording.OneLine(reply.String(), 300)
		if id := reply.QueueID(); id != "" {
			note += "; queue id " + id
		}
		return note, nil
	})
	switch {
	case err != nil && s.sent:
		return steps.FailNet(ctx, err, c.Blame, "no answer to the message from "+c.Server+", which may have taken it")
	case err != nil:
		return steps.FailNet(ctx, err, c.Blame, "writing the message in DATA to "+c.Server)
	}
	s.sent = s.Reply.Code/100 == 2 // a refusal leaves nothing in the mailbox
	return c.judge(ctx, s.Reply, nil, "the message", 2)
}

// quit sends QUIT, also after a failure, so that the server's log does not fill with lost connections. When ctx is done
// it does not wait for the answer. It ignores its own errors.
func (c *SMTPClient) quit(ctx context.Context) {
	if c.inData || c.broken {
		return
	}
	wait := quitWait
	if ctx.Err() != nil {
		wait = 50 * time.Millisecond
	}
	_ = c.Conn.SetDeadline(time.Now().Add(wait))
	if ctx.Err() != nil {
		c.Log.client("QUIT")
		_ = c.text.PrintfLine("QUIT")
		return
	}
	_ = c.World.Timed("quit", func() (string, error) {
		reply, err := c.exchange("QUIT", "QUIT")
		if err != nil {
			return "no answer", err
		}
		return wording.OneLine(reply.String(), 300), nil
	})
}
