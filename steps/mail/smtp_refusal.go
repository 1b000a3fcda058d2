package mail

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		tries = " The step passes whatever the server answers; the next step judges the answer: \"it is refused …\". It fails when " +
			"there is no answer to judge: no connection, no TLS where the port requires it, an invalid certificate. " +
			"An accepted message is removed if its recipient is an account with an IMAP server and a password. If not, the server may return it to the sender: such a bounce is removed when it comes " +
			"within two seconds, or by the next run that tries the same."
		measures = "The same as \"I send a message\", until the refusal."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `I try to send a message from {account} to {account} via {port}`,
			Does:      "Submits a test message like \"I send a message\", where a refusal is wanted or possible." + tries,
			Measures:  measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I try to send a message from "alice" to "bob" via 587`,
			Func:      trySubmission(func(*attempt, *steps.Args) error { return nil }),
		},
		steps.Definition{
			Area: "mail", Sentence: `I try to send a message from {account} to {account} via {port} without logging in`,
			Does:      "Submits a test message without AUTH. A submission server must refuse it (530 in RFC 4954)." + tries,
			Measures:  measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I try to send a message from "alice" to "bob" via 587 without logging in`,
			Func: trySubmission(func(t *attempt, _ *steps.Args) error {
				t.anonymous = true
				return nil
			}),
		},
		steps.Definition{
			Area: "mail", Sentence: `I try to send a message from {account} to the address {text} via {port}`,
			Does:      "Submits a test message to an address that need not belong to an account, for example one that must not exist." + tries,
			Measures:  measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I try to send a message from "alice" to the address "nobody-7c1@example.org" via 587`,
			Func:      trySubmission(func(*attempt, *steps.Args) error { return nil }),
		},
		steps.Definition{
			Area: "mail", Sentence: `I try to send a message from {account} to an unknown mailbox in the domain of {account} via {port}`,
			Does: "Submits a test message to an address in that account's domain that does not exist. A server that accepts it must send a bounce later, " +
				"often to a forged sender." + tries,
			Measures:  measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I try to send a message from "alice" to an unknown mailbox in the domain of "bob" via 587`,
			Func: trySubmission(func(t *attempt, _ *steps.Args) error {
				t.unknown = true
				return nil
			}),
		},
		steps.Definition{
			Area: "mail", Sentence: `I try to send a message from {account} as {text} to {account} via {port}`,
			Does: "Logs in as the account and uses another address as the sender, in the envelope and in From. A server that ties senders to logins refuses such a forged sender. " +
				"The name of another account means its address. Postfix refuses it at RCPT unless smtpd_delay_reject is off." + tries,
			Measures:  measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I try to send a message from "alice" as "bob@example.org" to "bob" via 587`,
			Func: trySubmission(func(t *attempt, a *steps.Args) error {
				t.sender = a.Captured[1]
				a.Captured = slices.Delete(slices.Clone(a.Captured), 1, 2)
				return nil
			}),
		},
		steps.Definition{
			Area: "mail", Sentence: `I try to send a message of {size} from {account} to {account} via {port}`,
			Does: "Submits a test message of this size (KB, MB and GB are powers of 1024). If the server offers SIZE (RFC 1870), MAIL contains the size, " +
				"so the server refuses a message that is too large before it is sent." + tries,
			Measures:  measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I try to send a message of 60 MB from "alice" to "bob" via 587`,
			Func: trySubmission(func(t *attempt, a *steps.Args) error {
				size, err := steps.ParseSize(a.Captured[0], 1)
				a.Captured = a.Captured[1:]
				t.size = int(size)
				return err
			}),
		},
		steps.Definition{
			Area: "mail", Sentence: `I try to send from {text} to {text} via {text}`,
			Does: "Sends a test message to this host and port as a stranger: without a login, between two addresses that need not belong to " +
				"accounts (write the address of an account, too)." + anyTLSDoes + " This is the test for an open relay. An open relay " +
				"delivers the message, so use your own recipient, or one in a domain that cannot exist such as example.invalid." + tries,
			Measures:  measures + anyTLSMeasures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I try to send from "x@elsewhere.test" to "y@elsewhere.test" via "mx.example.org:25"`,
			Func:      tryRelay,
		},
		steps.Definition{
			Area: "mail", Sentence: `I try to log in as {account} with a wrong password via {port}`,
			Does: "Logs in over SMTP with a wrong password, always the same one, inside TLS. After that many servers delay all clients from the same address: " +
				"Dovecot 2.3 answers wrong passwords, each on a connection of its own, after 2, 6, 10 and 17 seconds, and then a right one after 15 (after a single wrong one 4). " +
				"Only a login with the right password ends the delay. So such a login follows when the scenario is over, outside every step's time. Until then other clients from the same address are also delayed. To a " +
				"server on loopback the wrong login comes from 127.0.0.2, and delays nobody. Run it seldom (@every:1h), and exempt this machine's address from services that " +
				"ban addresses for wrong passwords, such as fail2ban. The step passes whatever the server answers; the next step judges it: " +
				"\"it is refused at AUTH\".",
			Measures: measures,
			Example:  `When I try to log in as "alice" with a wrong password via 587`,
			Func:     tryLogin,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is refused`,
			Does: "Fails unless the server refused the last attempt, permanently (5xx) or in the way in which Postfix refuses to relay by default (454 4.7.1). " +
				"Another temporary refusal (4xx) fails the step: the same attempt may pass later.",
			Example: `Then it is refused`,
			Func:    isRefused,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is refused with {status}`,
			Does:    "Fails unless the server refused the last attempt with this code: 550, or an enhanced status code such as 5.7.1 (RFC 3463).",
			Example: `Then it is refused with 550`,
			Func:    func(ctx context.Context, w *steps.World, a steps.Args) error { return judgeRefusal(w, "", a.Text(0)) },
		},
		steps.Definition{
			Area: "mail", Sentence: `it is refused at {word}`,
			Does:    "Fails unless the server refused the last attempt, in the sense of \"it is refused\", at this point of the dialogue: " + atVerbs + ".",
			Example: `Then it is refused at RCPT`,
			Func:    func(ctx context.Context, w *steps.World, a steps.Args) error { return judgeRefusal(w, a.Text(0), "") },
		},
		steps.Definition{
			Area: "mail", Sentence: `it is refused at {word} with {status}`,
			Does:    "Fails unless the server refused the last attempt at this point of the dialogue (" + atVerbs + ") and with this code, such as 550 or 5.7.1.",
			Example: `Then it is refused at RCPT with 5.1.1`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				return judgeRefusal(w, a.Text(0), a.Text(1))
			},
		},
		steps.Definition{
			Area: "mail", Sentence: `relaying is refused`,
			Does: "Fails unless the server refused the last attempt because it does not relay mail for strangers: its answer mentions relaying, says that the server takes no mail " +
				"for that domain, or requires a login (530, RFC 4954). An answer to RCPT that says so only by its code (551, or x.1.2 of RFC 3463) passes, with a note. A refusal for another reason, such as an unknown " +
				"sender or domain, and one for a time (4xx), is UNKNOWN: an open relay also refuses that. So is a refusal at MAIL or before, when the server does not know the recipient yet. For a server with other words write \"it is refused with …\".",
			Example: `Then relaying is refused`,
			Func:    isRelayingRefused,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is not refused`,
			Does:    "Fails when the server refused the last message or attempt.",
			Example: `Then it is not refused`,
			Func:    isAccepted,
		},
		steps.Definition{
			Area: "mail", Sentence: `STARTTLS is offered at {text}`,
			Does:     "Fails unless the SMTP server at this host and port (or account and port, such as alice:587) offers STARTTLS. Nothing is sent.",
			Measures: "Phases: dns, connect, banner, ehlo and quit.",
			Example:  `Then STARTTLS is offered at "mx.example.org:25"`,
			Func:     offers(false, "STARTTLS", true),
		},
		steps.Definition{
			Area: "mail", Sentence: `AUTH is not offered before TLS at {text}`,
			Does:     "Fails when the SMTP server at this host and port (or account and port, such as alice:587) offers AUTH before TLS: a mail program might send its password where everybody can read it.",
			Measures: "Phases: dns, connect, banner, ehlo and quit.",
			Example:  `Then AUTH is not offered before TLS at "mail.example.org:587"`,
			Func:     offers(false, "AUTH", false),
		},
		steps.Definition{
			Area: "mail", Sentence: `AUTH is offered after TLS at {text}`,
			Does:     "Fails unless the SMTP server at this host and port (or account and port, such as alice:587) offers AUTH inside TLS (port 465 from the start, others after STARTTLS). Port 25 may have any certificate.",
			Measures: "Phases: dns, connect, banner, ehlo, starttls, tls, ehlo_tls and quit.",
			Example:  `Then AUTH is offered after TLS at "mail.example.org:587"`,
			Func:     offers(true, "AUTH", true),
		},
		steps.Definition{
			Area: "mail", Sentence: `AUTH is not offered after TLS at {text}`,
			Does:     "Fails when the SMTP server at this host and port (or account and port, such as alice:587) offers AUTH inside TLS, which a host that accepts mail for a domain does not need. Port 25 may have any certificate.",
			Measures: "Phases: dns, connect, banner, ehlo, starttls, tls, ehlo_tls and quit.",
			Example:  `Then AUTH is not offered after TLS at "mx.example.org:25"`,
			Func:     offers(true, "AUTH", false),
		},
	)
}

// verbs are the points of a dialogue at which a server can refuse.
var verbs = []string{"greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "message"}

const atVerbs = "greeting, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA or message (the answer to its end)"

// attempts holds the scenario's last attempt. It is nil after a step that sends a message.
type attempts struct{ last *attempt }

// attempt is a message or a login whose refusal does not fail the step.
type attempt struct {
	submission *Submission // nil for a login
	what       string      // "the message from <alice@example.org> to <bob@example.org>"
	server     string
	sender     string // an address or account instead of the sender's own, or empty
	unknown    bool   // to a mailbox in the recipient's domain that does not exist
	size       int    // of the message, or zero for its normal size
	anonymous  bool   // no login
	stranger   bool   // between addresses that belong to no account
	greeting   Reply  // of the server
	reply      Reply  // of an acceptance
	refusal    *replyError
	err        error // the refusal as the Failure that other steps return
}

// settle keeps a refusal for the step that judges it. It returns any other error as the step's own.
func (t *attempt) settle(c *SMTPClient, err error) error {
	if refusal := (*replyError)(nil); errors.As(err, &refusal) {
		t.refusal, t.err = refusal, err
		err = nil
	}
	steps.State[attempts](c.World).last = t
	if err != nil {
		c.Log.Attach(c.World, "smtp transcript")
	}
	return err
}

// trySubmission returns the function of a sentence that tries to submit. adjust handles the additional parameters of
// the sentence, and leaves the sender, the recipient and the port.
func trySubmission(adjust func(*attempt, *steps.Args) error) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		start := time.Now()
		t := &attempt{}
		if err := adjust(t, &a); err != nil {
			return err
		}
		from, err := w.Target().Account(a.Text(0))
		if err != nil {
			return err
		}
		to, err := correspondent(w, a.Text(1))
		if err != nil {
			return err
		}
		port, err := a.Port(2)
		if err != nil {
			return err
		}
		c, err := newSMTPClient(w, from, port, "")
		if err != nil {
			return err
		}
		if t.anonymous {
			c.mustAuth = false
		} else if err := c.credentials(ctx); err != nil {
			return err
		}
		if t.sender != "" {
			if from, err = correspondent(w, t.sender); err != nil {
				return err
			}
		}
		if t.unknown {
			known, err := Address(to)
			if err != nil {
				return err
			}
			_, domain, _ := wording.CutLast(known, "@")
			address := "no-such-mailbox-" + w.Origin()[:12] + "@" + domain
			to = &steps.Account{Name: address, Address: address}
		}
		return c.try(ctx, t, from, to, a, start)
	}
}

// try submits a message between these accounts, and keeps the result in t.
func (c *SMTPClient) try(ctx context.Context, t *attempt, from, to *steps.Account, a steps.Args, start time.Time) error {
	m := steps.State[Session](c.World)
	s := &Submission{Number: len(m.Sent) + 1, from: from, To: to, Server: c.Server}
	message, err := c.compose(s, a)
	if err != nil {
		return err
	}
	if t.size > 0 && t.size < len(message) {
		return steps.FailScenario("a message of %d bytes is not possible: its headers and text alone have %d", t.size, len(message))
	}
	c.padding = max(0, t.size-len(message))
	s.padded = c.padding > 0
	t.submission, t.server, t.what = s, c.Server, "the message from <"+from.Address+"> to <"+to.Address+">"
	// A sent message without an answer may have been accepted, so the run has to look for it.
	m.Sent = append(m.Sent, s)
	err = c.submit(ctx, s, message, start)
	t.greeting, t.reply = c.greeting, s.Reply
	switch {
	case s.sent && to.IMAP != "" && to.Password != "":
		m.mailbox(c.World, to, 0) // so that the message is removed
	case s.sent && !t.stranger:
		c.World.Cleanup("remove the bounce of the message to "+to.Address, func(ctx context.Context) error { return m.sweepReturned(ctx, c.World, s) })
	case !s.sent:
		m.Sent = slices.DeleteFunc(m.Sent, func(other *Submission) bool { return other == s })
	}
	return t.settle(c, err)
}

// correspondent returns the account of this name or address, or one with only an address if there is none.
func correspondent(w *steps.World, name string) (*steps.Account, error) {
	if !strings.Contains(name, "@") {
		return w.Target().Account(name)
	}
	for _, account := range w.Target().Accounts {
		if strings.EqualFold(account.Address, name) {
			return account, nil
		}
	}
	if account, found := w.Target().Accounts[name]; found {
		return account, nil
	}
	address, err := plainAddress(name)
	return &steps.Account{Name: address, Address: address}, err
}

// plainAddress returns an address from a sentence in a form that is safe in an SMTP command.
func plainAddress(text string) (string, error) {
	if _, err := Address((&steps.Account{Address: text})); err != nil {
		return "", steps.FailScenario("%q is not a mail address: write one like x@example.org", text)
	}
	return text, nil
}

// tryRelay runs "I try to send from … to … via …".
func tryRelay(ctx context.Context, w *steps.World, a steps.Args) error {
	start := time.Now()
	from, err := correspondent(w, a.Text(0))
	if err != nil {
		return err
	}
	to, err := correspondent(w, a.Text(1))
	if err != nil {
		return err
	}
	host, port, err := w.ServerAddress(a.Text(2))
	if err != nil {
		return err
	}
	c := &SMTPClient{World: w, Blame: result.BlameSubmission, account: from, Host: host, Server: net.JoinHostPort(host, strconv.Itoa(port)),
		ImplicitTLS: port == address.PortSMTPS, AnyTLS: true, tellTLS: true}
	if err := smtpService.mistaken(c.Server, port); err != nil {
		return err
	}
	t := &attempt{anonymous: true, stranger: true}
	for _, account := range w.Target().Accounts {
		if account == to {
			t.stranger = false
		}
	}
	return c.try(ctx, t, from, to, a, start)
}

// wrongPassword is always the same. Dovecot counts a password that it refused before only once, so the delay for other
// clients does not grow from run to run.
const wrongPassword = "stepwatch: a wrong password" //nolint:gosec // it opens nothing

// wrongLoginSource is the source address of a wrong login to loopback. Servers count wrong passwords by the client's
// address.
var wrongLoginSource = net.IPv4(127, 0, 0, 2)

// tryLogin runs "I try to log in … with a wrong password".
func tryLogin(ctx context.Context, w *steps.World, a steps.Args) error {
	account, err := w.Target().Account(a.Text(0))
	if err != nil {
		return err
	}
	port, err := a.Port(1)
	if err != nil {
		return err
	}
	client := func() (*SMTPClient, error) {
		c, err := newSMTPClient(w, account, port, "")
		if err != nil {
			return nil, err
		}
		c.MustTLS, c.mustAuth, c.route.LoopbackSource = true, true, wrongLoginSource
		return c, c.credentials(ctx)
	}
	wrong, err := client()
	if err != nil {
		return err
	}
	right, err := client()
	if err != nil {
		return err
	}
	if wrong.password.Reveal() == wrongPassword {
		return steps.FailScenario("account %q has the password that stepwatch uses as a wrong one: choose another", account.Name)
	}
	wrong.password = steps.NewSecret(wrongPassword)
	t := &attempt{what: "the login as " + strconv.Quote(wrong.username) + " with a wrong password", server: wrong.Server, reply: Reply{Code: 235}}
	err = wrong.logIn(ctx)
	w.Cleanup("log in as "+account.Name+" with the right password, so that "+wrong.Server+" delays nobody", right.logIn)
	return t.settle(wrong, err)
}

// logIn logs in and does nothing else.
func (c *SMTPClient) logIn(ctx context.Context) error {
	return c.Talk(ctx, func() error {
		if err := c.Upgrade(ctx); err != nil {
			return err
		}
		return c.authenticate(ctx)
	})
}

func isRefused(_ context.Context, w *steps.World, _ steps.Args) error { return judgeRefusal(w, "", "") }

// judgeRefusal fails unless the last attempt was refused at verb with status. An empty verb or status matches any.
func judgeRefusal(w *steps.World, verb, status string) error {
	if verb != "" {
		i := slices.IndexFunc(verbs, func(known string) bool { return strings.EqualFold(known, verb) })
		if i < 0 {
			return steps.FailScenario("no server refuses at %q: write %s", verb, atVerbs)
		}
		verb = verbs[i]
	}
	t := steps.State[attempts](w).last
	if t == nil {
		return steps.FailScenario("nothing was tried before this step: begin with \"I try to send …\" or \"I try to log in …\"")
	}
	wanted := "it refused"
	if verb != "" {
		wanted += " at " + verb
	}
	if status != "" {
		wanted += " with " + status
	}
	if t.refusal == nil {
		return steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "%s accepted %s (%s), wanted %s%s", t.server, t.what, t.reply, wanted, t.meaning(w.Target()))
	}
	got := t.refusal
	matches := status == "" || status == strconv.Itoa(got.Reply.Code) || status == got.Reply.enhanced()
	switch {
	case verb != "" && verb != got.verb(), !matches:
		return steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "%s refused %s at %s with %s, wanted %s", t.server, t.what, got.verb(),
			wording.OneLine(got.Reply.String(), 300), wanted)
	case status == "" && got.Reply.Code/100 == 4 && !got.Reply.wantsLogin() && (got.Reply.Code != 454 || got.Reply.enhanced() != "4.7.1"):
		return steps.Fail(result.ReasonDeferred, result.BlameSubmission,
			"%s deferred %s at %s with %s, wanted %s permanently: if that answer is correct, write \"it is refused with %d\"", t.server, t.what, got.verb(),
			wording.OneLine(got.Reply.String(), 300), wanted, got.Reply.Code)
	}
	return nil
}

// relayVerdict is how far a refusal says that a server does not relay.
type relayVerdict int

const (
	relayUnclear relayVerdict = iota // an open relay may answer the same
	relayByCode                      // the code says that the recipient's domain is not the server's, its words do not
	relayDenied                      // its words say so, or it wants a login
)

// What servers say of a recipient whose domain is not their own. Codes like 550 and 5.7.1 do not show it: a sender on a
// blocklist gets them too.
var (
	relayDenial = regex.Lazy(`(?i)relay|rcpthosts`)
	// foreignDomain matches the refusal to take mail for a domain.
	foreignDomain = regex.Lazy(`(?i)(?:\bnot|\bnever|n['’]t|\bno longer|\bunable to|\bcannot)\s(?:\S+\s){0,3}?(?:accept\w*|handl\w*|host\w*|serv\w+|receiv\w*|tak(?:e|ing))\s(?:\S+\s){0,3}?(?:for|to)\b|` +
		`\bdomain (?:is )?(?:not|un)[ -]?(?:local|hosted|served|handled|ours|accepted|known here)|\bnot (?:an? |one of )?(?:local|our|my|gateway)\b|\bnon-?local\b|\bnot (?:allowed|permitted|authori[sz]ed) to send to|` +
		`\bdo(?:es)?(?: not|n['’]t) (?:host|serve|handle)\b`)
	// notNow matches refusals for a time or for a reason that is not the domain.
	notNow = regex.Lazy(`(?i)\b(?:for|to) (?:now|the moment|this time|\w+ reasons?|policy)\b|try again|full|quota|too (?:large|big|many)`)
	// lookedUp matches refusals for a domain that DNS does not have, or that cannot be reached: an open relay gives them too.
	lookedUp = regex.Lazy(`(?i)not found|does ?n[o'’]t exist|nonexistent|\bdns\b|resolv|look-?up|\bmx\b|unrout|unreachable|invalid (?:domain|host)|no such (?:domain|host)`)
	// aboutSender matches refusals of the sender or the client.
	aboutSender = regex.Lazy(`(?i)black-?list|block-?list|\bdns[bw]l\b|\brbl\b|spam|reputation|\bspf\b|\bdmarc\b|\bhelo\b|\bptr\b|reverse|sender|client host|your (?:ip|host|server)`)
)

// deniesRelay judges a refusal of a stranger's mail to a foreign domain by its words, its code and the point of the
// dialogue. Only a refusal at RCPT, or later, is about the recipient: a refusal at MAIL comes before the server knows it.
func (e *replyError) deniesRelay() relayVerdict {
	words := strings.Join(e.Reply.Lines, " ")
	_, detail, _ := strings.Cut(e.Reply.enhanced(), ".")
	switch {
	case relayDenial.MatchString(words), e.Reply.wantsLogin():
		return relayDenied
	case e.verb() != "RCPT" && e.verb() != "DATA" && e.verb() != "message", lookedUp.MatchString(words), aboutSender.MatchString(words), notNow.MatchString(words):
		return relayUnclear
	case foreignDomain.MatchString(words):
		return relayDenied
	case detail == "1.2", e.Reply.Code == 551: // RFC 3463: bad destination system; RFC 5321: the user is not local
		return relayByCode
	}
	return relayUnclear
}

// noRule reports whether OpenSMTPD refused a recipient because none of its rules takes the mail, which it also says of an
// unknown mailbox. It looks nothing up before that, so in a domain of no account the words mean that it does not relay.
func (t *attempt) noRule(target *steps.Target) bool {
	if t.submission == nil || t.refusal.verb() != "RCPT" || t.refusal.Reply.Code != 550 ||
		!strings.Contains(t.greeting.String(), "OpenSMTPD") || !strings.HasPrefix(strings.Join(t.refusal.Reply.Lines, " "), "Invalid recipient") {
		return false
	}
	_, domain, _ := wording.CutLast(t.submission.To.Address, "@")
	for _, account := range target.Accounts {
		if _, own, _ := wording.CutLast(account.Address, "@"); strings.EqualFold(own, domain) {
			return false
		}
	}
	return true
}

// isRelayingRefused runs "relaying is refused".
func isRelayingRefused(_ context.Context, w *steps.World, _ steps.Args) error {
	t := steps.State[attempts](w).last
	if t == nil || t.refusal == nil {
		return judgeRefusal(w, "", "")
	}
	answer := wording.OneLine(t.refusal.Reply.String(), 300)
	verdict := t.refusal.deniesRelay()
	temporary := t.refusal.Reply.Code/100 == 4
	switch early := slices.Index(verbs, t.refusal.verb()) < slices.Index(verbs, "RCPT"); {
	case verdict == relayDenied:
		return judgeRefusal(w, "", "") // which may be temporary
	case verdict == relayByCode && !temporary:
		w.Note("by its code alone: " + t.server + " refused the recipient with " + answer + ", which does not mention relaying")
	case t.noRule(w.Target()):
		w.Note(t.server + " refused the recipient with " + answer + ": so OpenSMTPD refuses mail that none of its rules takes")
	case early:
		remedy := "run it from an address that the server talks to"
		if t.refusal.verb() == "MAIL" {
			remedy = "use a sender that it does not refuse, in a domain that exists"
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameScenario, "whether %s relays is unknown: it refused %s at %s with %s, before it knew the recipient: %s",
			t.server, t.what, t.refusal.verb(), answer, remedy)
	case temporary:
		return steps.Fail(result.ReasonDeferred, result.BlameScenario, "whether %s relays is unknown: it deferred %s at %s with %s, which does not mention relaying, and an open relay may answer the same: "+
			"it may say more later, or to a sender and a recipient in domains that exist", t.server, t.what, t.refusal.verb(), answer)
	default:
		return steps.Fail(result.ReasonUnexpected, result.BlameScenario, "%s refused %s at %s with %s, which does not mention relaying, and an open relay may answer the same: "+
			"use a sender and a recipient that the server does not refuse for another reason, or write \"it is refused with …\" if it denies relaying like this",
			t.server, t.what, t.refusal.verb(), answer)
	}
	return nil
}

// meaning returns what an unexpected acceptance means.
func (t *attempt) meaning(target *steps.Target) string {
	switch {
	case t.submission == nil:
		return ": anybody can log in there"
	case t.stranger:
		return ": it accepts mail from strangers to an address of no account, so unless that is in its own domain it is an open relay, " +
			"and the message is on its way and cannot be removed"
	case t.sender != "":
		return ": anybody with a login there can send in another's name"
	case t.anonymous && t.submission.from.Address == t.submission.To.Address:
		return ": anybody can send mail in the recipient's own name"
	case t.anonymous:
		return ": it accepts mail without a login"
	case t.submission.To.IMAP == "": // an unknown mailbox, for example
		return t.submission.bounceMayCome(target)
	default:
		return ""
	}
}

// offers returns the function of a sentence that looks for a keyword in the answer to EHLO.
func offers(inTLS bool, keyword string, wanted bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		host, port, err := w.ServerAddress(a.Text(0))
		if err != nil {
			return err
		}
		c := &SMTPClient{World: w, Blame: result.BlameSubmission, Host: host, Server: net.JoinHostPort(host, strconv.Itoa(port)),
			ImplicitTLS: port == address.PortSMTPS, MustTLS: inTLS, AnyTLS: port == address.PortSMTP}
		if err := smtpService.mistaken(c.Server, port); err != nil {
			return err
		}
		if c.ImplicitTLS && !inTLS {
			return steps.FailScenario("port %d is TLS from its first byte: there is nothing before TLS at %s", port, c.Server)
		}
		err = c.Talk(ctx, func() error {
			if inTLS {
				return c.Upgrade(ctx)
			}
			return nil
		})
		if err != nil {
			c.Log.Attach(w, "smtp transcript")
			return err
		}
		when, reason := "before TLS", result.ReasonAuth
		if inTLS {
			when = "inside TLS"
		}
		if keyword == "STARTTLS" {
			reason = result.ReasonTLS
		}
		parameters, offered := c.offers[keyword]
		switch {
		case offered == wanted:
			return nil
		case wanted:
			return steps.Fail(reason, result.BlameSubmission, "%s does not offer %s %s", c.Server, keyword, when)
		default:
			return steps.Fail(reason, result.BlameSubmission, "%s offers %s %s (%s): it must not be offered there", c.Server, keyword, when, parameters)
		}
	}
}
