package mail

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/message"
)

// mailbox is an account's INBOX, open over IMAP (RFC 9051, RFC 3501). Only one goroutine at a time uses it.
type mailbox struct {
	w       *steps.World
	mail    *Session
	account *steps.Account
	host    string
	port    int
	log     transcript

	err      error        // why it could not be opened
	opening  steps.Report // phases of the opening, kept for the step that reads
	tcp      net.Conn
	client   *imapclient.Client
	uidPlus  bool
	looking  bool // read only: not even \Recent may change
	readOnly bool // the server opened the INBOX read only, although it was not asked to

	fresh    bool                     // open since before anything was sent, so sent messages are at first or after it
	validity uint32                   // UIDVALIDITY of the INBOX: UIDs keep their meaning while it stays the same
	first    imapclient.UID           // the first message after the opening
	next     imapclient.UID           // where the next look begins
	news     bool                     // the next look fetches, whatever the server announces
	unread   int                      // consecutive answers without the headers that were asked for
	selected string                   // the selected folder
	own      []imapclient.Namespace   // where the account's folders are; nil until it is known
	found    map[int][]imapclient.UID // by the message's number; several when it arrived several times
	counted  map[imapclient.UID]bool  // the messages in found
	foreign  map[imapclient.UID]bool  // new messages that are not this scenario's
	stale    []imapclient.UID         // new messages of the scenario's earlier runs
	staying  map[string]int           // number of messages by folder that can only be flagged
	unmoved  error                    // why messages cannot be moved away on a server with MOVE
	strayed  bool                     // the message was seen in another folder
	sweepErr error                    // why messages of earlier runs could not be removed
	reports  []imapclient.UID         // bounces of this run's messages, to be removed
	bounces  bool                     // a step waits for bounces here
}

// String returns the name of the mailbox in messages.
func (m *mailbox) String() string { return m.account.Name + "'s INBOX at " + m.server() }

func (m *mailbox) server() string { return net.JoinHostPort(m.host, strconv.Itoa(m.port)) }

// folder returns the name of one of its folders in messages.
func (m *mailbox) folder(name string) string {
	if strings.EqualFold(name, inbox) {
		return m.String()
	}
	return fmt.Sprintf("%s's folder %q at %s", m.account.Name, name, m.server())
}

// inbox is the name of the folder for incoming mail on every server, in any case (RFC 9051 section 5.1).
const inbox = "INBOX"

// apartBox returns a mailbox of an account that belongs to one step: the cleanup does not know it.
func apartBox(w *steps.World, account *steps.Account) *mailbox {
	return &mailbox{w: w, mail: steps.State[Session](w), account: account, host: account.IMAP, port: address.PortIMAPS}
}

// open connects, logs in and selects the INBOX.
func (m *mailbox) open(ctx context.Context) (err error) {
	host, err := m.account.Require("imap", m.host)
	if err != nil {
		return err
	}
	if err := imapService.mistaken(m.server(), m.port); err != nil {
		return err
	}
	username, password, err := login(ctx, m.account, m.w)
	if err != nil {
		return err
	}
	tcp, err := m.w.Dial(ctx, m.server(), result.BlameAccess)
	if err != nil {
		return err
	}
	m.tcp = tcp
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	m.found, m.counted = make(map[int][]imapclient.UID), make(map[imapclient.UID]bool)
	m.foreign = make(map[imapclient.UID]bool)
	m.own, m.news, m.unread = nil, false, 0
	loggedIn, err := m.greet(ctx, host)
	if err != nil {
		return err
	}
	if err := m.login(ctx, username, password, loggedIn); err != nil {
		return err
	}
	return m.selectInbox(ctx)
}

func (m *mailbox) selectInbox(ctx context.Context) error {
	var contents imapclient.Contents
	err := m.w.Timed("select", func() (string, error) {
		var err error
		if contents, err = m.client.Select(ctx, inbox, m.looking); err != nil {
			return "", m.failure(ctx, err)
		}
		return fmt.Sprintf("%d messages, UIDNEXT %d, UIDVALIDITY %d", contents.Messages, contents.UIDNext, contents.UIDValidity), nil
	})
	if err != nil {
		return err
	}
	m.selected = inbox
	m.validity, m.readOnly = contents.UIDValidity, contents.ReadOnly && !m.looking
	m.next = contents.UIDNext
	if m.next == 0 { // IMAP4rev1 permits a server to omit UIDNEXT
		m.next = 1
		if contents.Messages > 0 {
			last, err := m.client.Fetch(ctx, "*")
			if err != nil {
				return m.failure(ctx, err)
			}
			for _, found := range last {
				m.next = max(m.next, found.UID+1)
			}
		}
	}
	m.first = m.next
	return nil
}

// recognise is the item of FETCH for the headers by which stepwatch recognises its own mail.
var recognise = imapclient.HeaderFields(headerRun, headerOrigin, headerMessage)

// look asks the server for news and fetches the new messages.
func (m *mailbox) look(ctx context.Context) error {
	if !m.announced() {
		if err := m.failure(ctx, m.client.Noop(ctx)); err != nil {
			return err
		}
		if !m.announced() {
			return nil
		}
	}
	return m.fetchNew(ctx)
}

func (m *mailbox) announced() bool {
	news := m.client.News() || m.news
	m.news = false
	return news
}

// announce makes the next look fetch new messages.
func (m *mailbox) announce() { m.news = true }

// fetchNew fetches the messages from next on. It never searches the mailbox: SEARCH takes seconds in a large one, this
// takes half a millisecond.
func (m *mailbox) fetchNew(ctx context.Context) error {
	return m.fetch(ctx, imapclient.From(m.next))
}

// unreadLimit is how often a server may report new messages without the headers that were asked for.
const unreadLimit = 5

// fetch reads our own headers of these messages and records the new ones.
func (m *mailbox) fetch(ctx context.Context, set imapclient.UIDSet) error {
	messages, err := m.client.Fetch(ctx, set, recognise)
	if err != nil {
		return m.failure(ctx, err)
	}
	next := m.next
	var unread imapclient.UID // the first one without a header in the answer
	for _, message := range messages {
		uid := message.UID
		if uid < m.next { // n:* always includes the last message (RFC 9051 section 9, seq-range)
			continue
		}
		next = max(next, uid+1)
		if !message.HasBody { // another client changed a flag, and the server has not answered yet
			if unread == 0 || uid < unread {
				unread = uid
			}
			continue
		}
		number, stale := m.ours(message.Body)
		switch {
		case stale:
			m.stale = append(m.stale, uid)
		case number == 0:
			m.foreign[uid] = true
		case !m.counted[uid]:
			m.counted[uid] = true
			m.found[number] = append(m.found[number], uid)
		}
	}
	if unread == 0 {
		m.unread = 0
	} else {
		next = unread
		m.announce()
		if m.unread++; m.unread > unreadLimit {
			return m.lacks(unread, "the header fields")
		}
	}
	m.next = next
	return nil
}

// lacks returns the Failure for a message that the server reports without something that it was asked for.
func (m *mailbox) lacks(uid imapclient.UID, what string) error {
	return steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s reports the message with UID %d in %s without %s that it was asked for (RFC 9051 section 6.4.5)",
		m.server(), uid, m.folder(m.selected), what)
}

// dates calls do with the time at which the server received each of the messages of the selected folder.
func (m *mailbox) dates(ctx context.Context, uids []imapclient.UID, do func(imapclient.UID, time.Time)) error {
	for _, set := range imapclient.SetsOf(uids) {
		if err := m.datesIn(ctx, set, do); err != nil {
			return err
		}
	}
	return nil
}

// datesIn is dates for a set.
func (m *mailbox) datesIn(ctx context.Context, set imapclient.UIDSet, do func(imapclient.UID, time.Time)) error {
	messages, err := m.client.Fetch(ctx, set, "INTERNALDATE")
	if err != nil {
		return m.failure(ctx, err)
	}
	for _, message := range messages {
		if message.InternalDate.IsZero() {
			return m.lacks(message.UID, "the date")
		}
		do(message.UID, message.InternalDate)
	}
	return nil
}

// fetchMessage reads a whole message without setting \Seen.
func (m *mailbox) fetchMessage(ctx context.Context, uid imapclient.UID) (raw []byte, err error) {
	messages, err := m.client.Fetch(ctx, imapclient.Set(uid), imapclient.WholeMessage)
	if err != nil {
		return nil, m.failure(ctx, err)
	}
	for _, message := range messages {
		if message.UID == uid && message.Body != nil {
			return message.Body, nil
		}
	}
	return nil, steps.Fail(result.ReasonUnexpected, result.BlameAccess, "read the message from %s: it is gone; somebody else removed it", m)
}

// ours returns the number of the message with these headers, or 0 when this run did not send it. stale is true when an
// earlier run of the same scenario sent it.
func (m *mailbox) ours(raw []byte) (number int, stale bool) {
	header, _ := message.Read(raw)
	if len(header) == 0 {
		return 0, false
	}
	if header.Line(headerRun) != m.w.Run() {
		return 0, header.Line(headerOrigin) == m.w.Origin()
	}
	return ownNumber(header.Line(headerMessage)), false
}

// ownNumber returns the number of a message that has the run's token.
func ownNumber(value string) int {
	number, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || number < 1 {
		return 1 // something in transit dropped the number, but the token is ours
	}
	return number
}

// alive reports whether the connection can be used.
func (m *mailbox) alive() bool { return m.client != nil && m.client.Usable() }

// logout says goodbye. The connection is closed in any case.
func (m *mailbox) logout(ctx context.Context) {
	if !m.alive() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookGrace)
	defer cancel()
	_ = m.client.Logout(ctx)
}

// close ends the connection at once.
func (m *mailbox) close() {
	if m.tcp != nil {
		_ = m.tcp.Close() // the run is judged, and a failed close also closes the connection
	}
	if m.client != nil {
		m.client.Close()
	}
	m.tcp, m.client = nil, nil
}
