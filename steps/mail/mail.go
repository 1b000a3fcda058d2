// Package mail holds the sentences about sending mail and receiving it: SMTP, LMTP, IMAP, POP3, Maildirs, bounces and the way of
// a message through its hops.
package mail

import (
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/content"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.RegisterArea(steps.Area{Name: "mail", Title: "Mail", Place: 10})
	steps.Register(
		steps.Definition{
			Area:     "mail",
			Sentence: `the account {account}`,
			Does:     "Fails unless stepwatch.yml has the account with an address, and its password is available.",
			Example:  `Given the account "alice"`,
			Func:     haveAccounts,
		},
		steps.Definition{
			Area:     "mail",
			Sentence: `the accounts {account} and {account}`,
			Does:     "Fails unless stepwatch.yml has both accounts with an address each, and their passwords are available.",
			Example:  `Given the accounts "alice" and "bob"`,
			Func:     haveAccounts,
		},
	)
}

func haveAccounts(ctx context.Context, w *steps.World, a steps.Args) error {
	for _, name := range a.Captured {
		account, err := w.Target().Account(name)
		if err != nil {
			return err
		}
		if _, err := Address(account); err != nil {
			return err
		}
		if _, err := secret(ctx, account, w); err != nil {
			return err
		}
	}
	return nil
}

// waitOf reads the parameters of a step that waits for mail: the account, the port if the sentence has one between the
// two others, and for how long.
func waitOf(w *steps.World, a steps.Args, otherwise int) (account *steps.Account, port int, within time.Duration, err error) {
	if account, err = w.Target().Account(a.Text(0)); err != nil {
		return nil, 0, 0, err
	}
	port = otherwise
	if len(a.Captured) == 3 {
		if port, err = a.Port(1); err != nil {
			return nil, 0, 0, err
		}
	}
	within, err = a.Duration(len(a.Captured) - 1)
	return account, port, within, err
}

// Address returns the account's address in a form that is safe in an SMTP command: nothing in it can end the line
// or the path early. If only its domain is not US-ASCII, the domain becomes A-labels (RFC 5890), which every server
// accepts. A local part has no such form and needs SMTPUTF8 (RFC 6531).
func Address(a *steps.Account) (string, error) {
	address, err := a.Require("address", a.Address)
	if err != nil {
		return "", err
	}
	local, domain, ok := wording.CutLast(address, "@")
	bad := strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' || r == 0xfffd })
	if ok && !isASCII(domain) && isASCII(local) {
		var err error
		domain, err = idna.Lookup.ToASCII(domain)
		bad = bad || err != nil
		address = local + "@" + domain
	}
	if !ok || local == "" || domain == "" || bad {
		return "", steps.Fail(result.ReasonConfig, result.BlameScenario,
			"account %q: %q is not a mail address: set accounts.%s.address in stepwatch.yml to one like alice@example.org", a.Name, a.Address, a.Name)
	}
	return address, nil
}

func secret(ctx context.Context, a *steps.Account, w *steps.World) (steps.Secret, error) {
	name, err := a.Require("password", a.Password)
	if err != nil {
		return steps.Secret{}, err
	}
	return w.Secret(ctx, name)
}

// login returns the name and password with which the account logs in.
func login(ctx context.Context, a *steps.Account, w *steps.World) (username string, password steps.Secret, err error) {
	if username, err = a.Require("username", a.Username); err != nil {
		return "", steps.Secret{}, err
	}
	password, err = secret(ctx, a, w)
	return username, password, err
}

// Session holds the messages that a scenario sent and received, and its mailboxes.
type Session struct {
	Sent        []*Submission
	boxes       []*mailbox
	Arrivals    []*Arrival
	attachments []content.Attachment // of every message that is sent from now on
}

// Submission is a sent message.
type Submission struct {
	Number   int // 1 for the first of the run
	from, To *steps.Account
	Server   string        // the server that the message was sent to: "mail.example.org:587"
	sent     bool          // the whole message was sent, so the server may have it whatever it answered
	Accepted time.Time     // when the server accepted it; zero if it did not
	Took     time.Duration // from the start of the step until the acceptance
	Message  []byte        // as it was written
	padded   bool          // and made longer afterwards
	Reply    Reply         // the server's answer to the message
	stored   bool          // acceptance means delivery, as in LMTP (RFC 2033 section 4.2)
	secure   bool          // over TLS
	lag      time.Duration // how long it may have been in the mailbox before it was seen there
	notify   string        // the reports that the envelope asks for (NOTIFY of RFC 3461); empty when it does not say
	returned bool          // a bounce says that it was not delivered
	removed  bool          // a recipient has removed it by another way than the INBOX
}

// Last returns the last sent message, or if to is not nil the last one sent to that account.
func (m *Session) Last(to *steps.Account) *Submission {
	for i := len(m.Sent) - 1; i >= 0; i-- {
		if to == nil || m.Sent[i].To == to {
			return m.Sent[i]
		}
	}
	return nil
}

// sentTo lists the messages that may be in the account's mailbox.
func (m *Session) sentTo(to *steps.Account) []*Submission {
	var sent []*Submission
	for _, s := range m.Sent {
		if s.To == to && s.sent && !s.returned && !s.removed {
			sent = append(sent, s)
		}
	}
	return sent
}

// removeAfter has the run remove a message that is about to be sent. Where no account reads the recipient's mailbox over IMAP,
// that is a bounce of it.
func (m *Session) removeAfter(w *steps.World, s *Submission) {
	if s.To.IMAP != "" && s.To.Password != "" {
		m.mailbox(w, s.To, 0)
		return
	}
	w.Cleanup("remove the bounce of the message to "+s.To.Address, func(ctx context.Context) error {
		if !s.sent || s.stored || slices.ContainsFunc(m.Arrivals, func(a *Arrival) bool { return a.sent == s }) {
			return nil // it went nowhere, or it is there
		}
		return m.sweepReturned(ctx, w, s)
	})
}

// reads reports whether the account has a mailbox over IMAP, which then cleans up the sent messages.
func (m *Session) reads(account *steps.Account) bool {
	return slices.ContainsFunc(m.boxes, func(box *mailbox) bool { return box.account == account })
}

// mailbox returns the account's mailbox as read via port, or any existing one if port is 0. A new mailbox is not opened
// yet, and is cleaned up with the World.
func (m *Session) mailbox(w *steps.World, account *steps.Account, port int) *mailbox {
	for _, box := range m.boxes {
		if box.account == account && port == 0 {
			return box
		}
	}
	if port == 0 {
		port = address.PortIMAPS
	}
	return m.mailboxAt(w, account, account.IMAP, port)
}

// mailboxAt returns the account's mailbox as read via port at a host, which need not be the account's own.
func (m *Session) mailboxAt(w *steps.World, account *steps.Account, host string, port int) *mailbox {
	for _, box := range m.boxes {
		if box.account == account && box.host == host && box.port == port {
			return box
		}
	}
	box := &mailbox{w: w, mail: m, account: account, host: host, port: port}
	m.boxes = append(m.boxes, box)
	w.Cleanup("remove the test mail of "+account.Name, box.cleanup)
	return box
}

// Close closes the mailboxes that a cleanup left open.
func (m *Session) Close() error {
	for _, box := range m.boxes {
		box.close()
	}
	return nil
}

// The headers by which stepwatch recognises its own mail.
const (
	headerRun     = "X-Stepwatch-Run"     // the run that sent it
	headerOrigin  = "X-Stepwatch-Origin"  // the scenario, the same in all of its runs
	headerMessage = "X-Stepwatch-Message" // which of the run's messages, from 1
)
