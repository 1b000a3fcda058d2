package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// mailbox is an account's INBOX, open over IMAP (RFC 9051, RFC 3501).
//
// The client is that of go-imap. It has no context and no time limit for an answer, and it drops unsolicited responses.
// So the connection is dialled here, an imapConn listens on it, and each command goes through do. When the context ends
// do closes the connection, and all waits of the library return. Only one command is in flight at a time.
type mailbox struct {
	w       *steps.World
	mail    *Session
	account *steps.Account
	host    string
	port    int
	log     transcript

	err     error        // why it could not be opened
	opening steps.Report // phases of the opening, kept for the step that reads
	tcp     net.Conn
	conn    *imapConn
	client  *imapclient.Client
	uidPlus bool
	looking bool // read only: not even \Recent may change
	special bool // LIST reports the use of each folder (RFC 6154)

	fresh    bool               // open since before anything was sent, so sent messages are at next or after it
	validity uint32             // UIDVALIDITY of the INBOX: UIDs keep their meaning while it stays the same
	next     imap.UID           // where the next look begins
	arrived  chan struct{}      // holds one value when the server announced messages that are not fetched yet
	found    map[int][]imap.UID // by the message's number; several when it arrived several times
	foreign  map[imap.UID]bool  // new messages that are not this scenario's
	stale    []imap.UID         // new messages of the scenario's earlier runs
	strayed  bool               // the message was seen in the spam folder
	sweepErr error              // why messages of earlier runs could not be removed
	reports  []imap.UID         // bounces of this run's messages, to be removed
	bounces  bool               // a step waits for bounces here
}

// String returns the name of the mailbox in messages.
func (m *mailbox) String() string { return m.account.Name + "'s INBOX at " + m.server() }

func (m *mailbox) server() string { return net.JoinHostPort(m.host, strconv.Itoa(m.port)) }

// open connects, logs in and selects the INBOX.
func (m *mailbox) open(ctx context.Context) (err error) {
	host, err := m.account.Require("imap", m.host)
	if err != nil {
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
	if err := m.greet(ctx, host); err != nil {
		return err
	}
	m.arrived = make(chan struct{}, 1)
	m.found = make(map[int][]imap.UID)
	m.foreign = make(map[imap.UID]bool)
	arrived := m.arrived
	m.client = imapclient.New(m.conn, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		// This runs in the library's reader, which a blocking send would stop for good.
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				select {
				case arrived <- struct{}{}:
				default:
				}
			}
		},
	}})
	if err := m.login(ctx, username, password); err != nil {
		return err
	}
	return m.selectInbox(ctx)
}

// greet does everything before the login: TLS, the server's greeting, STARTTLS. It does not use the library, which
// hides the time of the handshake, drops the greeting's text, and continues to read where STARTTLS must not. Afterwards
// the greeting is replayed to the library, without the capabilities that were announced before TLS (RFC 3501 section
// 6.2.1).
func (m *mailbox) greet(ctx context.Context, host string) error {
	defer lifeline.BindClosing(ctx, m.tcp).Release()
	conn := steps.QuickAck(m.tcp)
	implicit := m.port == steps.PortIMAPS
	if implicit {
		secure, err := m.w.Handshake(ctx, conn, host, result.BlameAccess)
		if err != nil {
			return err
		}
		conn = secure
	}
	m.conn = newIMAPConn(conn, &m.log)
	var greeting string
	err := m.w.Timed("greeting", func() (string, error) {
		var err error
		greeting, err = m.conn.readLine()
		return wording.OneLine(greeting, 200), err
	})
	if err != nil {
		return steps.FailNet(ctx, err, result.BlameAccess, "wait for the greeting of "+m.server())
	}
	switch kind, text, _ := strings.Cut(strings.TrimPrefix(greeting, "* "), " "); {
	case !strings.HasPrefix(greeting, "* "):
		return steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s greets with %q: is an IMAP server on that port?", m.server(), wording.OneLine(greeting, 80))
	case strings.EqualFold(kind, "BYE"):
		return steps.Fail(result.ReasonDisconnected, result.BlameAccess, "%s rejected the connection: BYE %s", m.server(), wording.OneLine(text, 300))
	case !strings.EqualFold(kind, "OK"):
		return steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s greets with %q, wanted OK", m.server(), wording.OneLine(greeting, 80))
	}
	if implicit {
		m.conn.replay = greeting + "\r\n"
		return nil
	}
	if err := m.w.Timed("starttls", func() (string, error) { return m.startTLS(ctx) }); err != nil {
		return err
	}
	secure, err := m.w.Handshake(ctx, conn, host, result.BlameAccess)
	if err != nil {
		return err
	}
	m.conn = newIMAPConn(secure, &m.log)
	m.conn.replay = "* OK TLS\r\n"
	return nil
}

func (m *mailbox) startTLS(ctx context.Context) (answer string, err error) {
	m.log.client("STARTTLS")
	if _, err := m.conn.Write([]byte("S STARTTLS\r\n")); err != nil {
		return "", steps.FailNet(ctx, err, result.BlameAccess, "STARTTLS at "+m.server())
	}
	for range 10 { // untagged answers may come first
		line, err := m.conn.readLine()
		if err != nil {
			return "", steps.FailNet(ctx, err, result.BlameAccess, "STARTTLS at "+m.server())
		}
		tagged, ok := strings.CutPrefix(line, "S ")
		if !ok {
			continue
		}
		answer = wording.OneLine(tagged, 300)
		switch kind, _, _ := strings.Cut(answer, " "); {
		case !strings.EqualFold(kind, "OK"):
			return answer, steps.Fail(result.ReasonTLS, result.BlameAccess, "%s refuses STARTTLS: %s: nothing was sent, because a password must not be sent unencrypted", m.server(), answer)
		case m.conn.r.Buffered() > 0:
			// It would be taken for the server's answer inside TLS (CVE-2011-0411).
			return answer, steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s sent %d unencrypted bytes after its answer to STARTTLS", m.server(), m.conn.r.Buffered())
		}
		return answer, nil
	}
	return "", steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s does not answer STARTTLS but continues to send", m.server())
}

func (m *mailbox) login(ctx context.Context, username string, password steps.Secret) error {
	var caps imap.CapSet
	err := m.do(ctx, "CAPABILITY", func() error {
		if err := m.client.WaitGreeting(); err != nil {
			return err
		}
		if caps = m.client.Caps(); caps == nil {
			return errors.New("the server did not report its capabilities")
		}
		return nil
	})
	if err != nil {
		return err
	}
	plain := caps.Has(imap.Cap("AUTH=PLAIN"))
	if !m.account.Token && caps.Has(imap.CapLoginDisabled) && !plain {
		return steps.Fail(result.ReasonAuth, result.BlameAccess, "%s allows no login with a password (LOGINDISABLED, no AUTH=PLAIN), although the connection has TLS", m.server())
	}
	logIn := func() (string, error) {
		err := m.do(ctx, "LOGIN "+strconv.Quote(username)+" "+steps.Hidden, func() error {
			if caps.Has(imap.CapLoginDisabled) {
				return m.client.Authenticate(sasl.NewPlainClient("", username, password.Reveal()))
			}
			return m.client.Login(username, password.Reveal()).Wait()
		})
		if err != nil {
			return wording.OneLine(err.Error(), 200), err
		}
		return "OK", nil
	}
	if m.account.Token {
		err = m.loginToken(ctx, caps, username, password)
	} else {
		err = m.w.Timed("login", logIn)
	}
	if err != nil {
		return err
	}
	return m.do(ctx, "CAPABILITY", func() error {
		caps := m.client.Caps() // asks again unless the server reported them with the login
		if caps == nil {
			return errors.New("the server did not report its capabilities")
		}
		m.uidPlus = caps.Has(imap.CapUIDPlus)
		m.special = caps.Has(imap.CapSpecialUse)
		return nil
	})
}

func (m *mailbox) selectInbox(ctx context.Context) error {
	var data *imap.SelectData
	err := m.w.Timed("select", func() (string, error) {
		verb := "SELECT"
		if m.looking {
			verb = "EXAMINE"
		}
		err := m.do(ctx, verb+" INBOX", func() (err error) {
			data, err = m.client.Select("INBOX", &imap.SelectOptions{ReadOnly: m.looking}).Wait()
			return err
		})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d messages, UIDNEXT %d, UIDVALIDITY %d", data.NumMessages, data.UIDNext, data.UIDValidity), nil
	})
	if err != nil {
		return err
	}
	m.validity = data.UIDValidity
	m.next = data.UIDNext
	if m.next == 0 { // IMAP4rev1 permits a server to omit UIDNEXT
		m.next = 1
		if data.NumMessages > 0 {
			return m.do(ctx, "FETCH * (UID)", func() error {
				last, err := m.client.Fetch(imap.SeqSetNum(0), &imap.FetchOptions{UID: true}).Collect()
				if err == nil && len(last) > 0 {
					m.next = last[len(last)-1].UID + 1
				}
				return err
			})
		}
	}
	return nil
}

// do runs one command. When ctx ends first it closes the connection, because only that makes the library return.
func (m *mailbox) do(ctx context.Context, command string, run func() error) error {
	m.log.client(command)
	verb, rest, _ := strings.Cut(command, " ")
	if verb == "UID" {
		rest, _, _ = strings.Cut(rest, " ")
		verb += " " + rest
	}
	if ctx.Err() != nil {
		return m.failure(ctx, verb, ctx.Err())
	}
	m.conn.budget.Store(imapAnswerLimit)
	defer lifeline.BindClosing(ctx, m.tcp).Release()
	if err := run(); err != nil {
		return m.failure(ctx, verb, err)
	}
	return nil
}

// failure returns the error of a command, with the server's own words where there are any.
func (m *mailbox) failure(ctx context.Context, verb string, err error) error {
	bye, alert, readErr := m.conn.said()
	if alert != "" {
		alert = fmt.Sprintf(" (the server alerts: %s)", wording.OneLine(alert, 300))
	}
	var status *imap.Error
	switch {
	case errors.As(err, &status):
		text := wording.OneLine(status.Text, 300)
		if status.Code != "" {
			text = "[" + string(status.Code) + "] " + text
		}
		switch {
		case status.Code == imap.ResponseCodeUnavailable, status.Code == imap.ResponseCodeInUse, status.Code == imap.ResponseCodeLimit:
			return steps.Fail(result.ReasonDeferred, result.BlameAccess, "%s cannot do %s now: %s %s%s: check the services that it depends on", m.server(), verb, status.Type, text, alert)
		case verb == "LOGIN", verb == "AUTHENTICATE":
			return steps.Fail(result.ReasonAuth, result.BlameAccess, "%s refused the login of %q: %s %s%s: %s",
				m.server(), m.account.Username, status.Type, text, alert, doubtful(m.account, m.account.Token))
		default:
			return steps.Fail(result.ReasonRefused, result.BlameAccess, "%s refused %s: %s %s%s", m.server(), verb, status.Type, text, alert)
		}
	case bye != "":
		return steps.Fail(result.ReasonDisconnected, result.BlameAccess, "%s ended the connection in %s: BYE %s%s", m.server(), verb, wording.OneLine(bye, 300), alert)
	case errors.Is(readErr, errAnswerLimit):
		return steps.Fail(result.ReasonTooLarge, result.BlameAccess, "%s in %s: %w", verb, m, readErr)
	case readErr != nil: // the library's errors do not wrap it
		err = readErr
	}
	return steps.FailNet(ctx, err, result.BlameAccess, verb+" at "+m.server()+alert)
}

var recognise = &imap.FetchItemBodySection{
	Specifier:    imap.PartSpecifierHeader,
	HeaderFields: []string{headerRun, headerOrigin, headerMessage},
	Peek:         true,
}

// look asks the server for news and fetches the new messages.
func (m *mailbox) look(ctx context.Context) error {
	if !m.announced() {
		if err := m.do(ctx, "NOOP", func() error { return m.client.Noop().Wait() }); err != nil {
			return err
		}
		if !m.announced() {
			return nil
		}
	}
	return m.fetchNew(ctx)
}

func (m *mailbox) announced() bool {
	select {
	case <-m.arrived:
		return true
	default:
		return false
	}
}

// announce makes the next look fetch new messages.
func (m *mailbox) announce() {
	select {
	case m.arrived <- struct{}{}:
	default:
	}
}

// fetchNew fetches the messages from next on. It never searches the mailbox: SEARCH takes seconds in a large one, this
// takes half a millisecond.
func (m *mailbox) fetchNew(ctx context.Context) error {
	return m.fetch(ctx, imap.UIDSet{imap.UIDRange{Start: m.next, Stop: 0}})
}

// fetch reads our own headers of these messages and records the new ones.
func (m *mailbox) fetch(ctx context.Context, set imap.UIDSet) error {
	var messages []*imapclient.FetchMessageBuffer
	err := m.do(ctx, fmt.Sprintf("UID FETCH %s (BODY.PEEK[HEADER.FIELDS (%s)])", set, strings.Join(recognise.HeaderFields, " ")), func() (err error) {
		messages, err = m.client.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{recognise}}).Collect()
		return err
	})
	if err != nil {
		return err
	}
	next := m.next
	var unread imap.UID // the first one without a header in the answer
	for _, message := range messages {
		uid := message.UID
		if uid < m.next { // n:* always includes the last message (RFC 9051 section 9, seq-range)
			continue
		}
		next = max(next, uid+1)
		if len(message.BodySection) == 0 {
			// Another client changed a flag, and the library took that response for the answer.
			if unread == 0 || uid < unread {
				unread = uid
			}
			continue
		}
		number, stale := m.own(message.BodySection[0].Bytes)
		switch {
		case stale:
			m.stale = append(m.stale, uid)
		case number == 0:
			m.foreign[uid] = true
		case !slices.Contains(m.found[number], uid):
			m.found[number] = append(m.found[number], uid)
		}
	}
	if unread != 0 {
		next = unread
		m.announce()
	}
	m.next = next
	return nil
}

// fetchMessage reads a whole message without setting \Seen.
func (m *mailbox) fetchMessage(ctx context.Context, uid imap.UID) (raw []byte, err error) {
	whole := &imap.FetchItemBodySection{Peek: true}
	err = m.do(ctx, fmt.Sprintf("UID FETCH %d (BODY.PEEK[])", uid), func() error {
		messages, err := m.client.Fetch(imap.UIDSetNum(uid), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{whole}}).Collect()
		for _, message := range messages {
			if message.UID == uid && len(message.BodySection) > 0 {
				raw = message.BodySection[0].Bytes
			}
		}
		return err
	})
	if err == nil && raw == nil {
		return nil, steps.Fail(result.ReasonUnexpected, result.BlameAccess, "read the message from %s: it is gone; somebody else removed it", m)
	}
	return raw, err
}

// own returns the number of the message with these headers, or 0 when this run did not send it. stale is true when an
// earlier run of the same scenario sent it.
func (m *mailbox) own(raw []byte) (number int, stale bool) {
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

// sweep removes messages of earlier runs of this scenario, which crashed or ended before the mail came. Two days are
// enough for a scenario that runs at least daily, and keep the search quick in a large mailbox. The cleanup removes
// messages that come during this run and those in the spam folder.
func (m *mailbox) sweep(ctx context.Context) error {
	uids, err := m.search(ctx, headerOrigin, m.w.Origin())
	if err != nil {
		return err
	}
	if err := m.measureLate(ctx, uids); err != nil {
		return err
	}
	return m.remove(ctx, uids)
}

func (m *mailbox) search(ctx context.Context, field, value string) (uids []imap.UID, err error) {
	criteria := &imap.SearchCriteria{
		Since:  time.Now().AddDate(0, 0, -2),
		Header: []imap.SearchCriteriaHeaderField{{Key: field, Value: value}},
	}
	command := "UID SEARCH SINCE " + criteria.Since.Format("2-Jan-2006") + " HEADER " + field + " " + value + m.spareDeleted(criteria)
	err = m.do(ctx, command, func() error {
		data, err := m.client.UIDSearch(criteria, nil).Wait()
		if err == nil {
			uids = data.AllUIDs()
		}
		return err
	})
	return uids, err
}

// spareDeleted excludes messages with the flag \Deleted from a search on servers where we can only set that flag. On
// other servers a run ended between the flag and EXPUNGE. It returns the search key.
func (m *mailbox) spareDeleted(criteria *imap.SearchCriteria) (key string) {
	if m.uidPlus {
		return ""
	}
	criteria.NotFlag = append(criteria.NotFlag, imap.FlagDeleted)
	return " UNDELETED"
}

var errNoUIDPlus = errors.New("flagged as deleted only: the server lacks UIDPLUS (RFC 4315), and EXPUNGE would also remove what others have deleted")

// remove deletes these messages and no others.
func (m *mailbox) remove(ctx context.Context, uids []imap.UID) error {
	if len(uids) == 0 {
		return nil
	}
	set := imap.UIDSetNum(uids...)
	err := m.do(ctx, "UID STORE "+set.String()+` +FLAGS.SILENT (\Deleted)`, func() error {
		return m.client.Store(set, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close()
	})
	if err != nil {
		return err
	}
	if !m.uidPlus {
		return errNoUIDPlus
	}
	return m.do(ctx, "UID EXPUNGE "+set.String(), func() error { return m.client.UIDExpunge(set).Close() })
}

// lastLook is how long after its acceptance the cleanup still looks for a message that no step waited for.
const lastLook = 2 * time.Second

// reopenLimit limits the time to open a mailbox in the cleanup, because a dead server must not delay the next run.
const reopenLimit = 3 * time.Second

// cleanup removes the messages that the run sent, all duplicates, and messages of earlier runs that came since the
// sweep. It reopens a broken connection once.
func (m *mailbox) cleanup(ctx context.Context) error {
	defer m.close()
	sent := m.mail.sentTo(m.account)
	main := m.mail.mailbox(m.w, m.account, 0) // it also covers the account's other mailboxes, which are the same
	first := m == main
	err := m.sweepErr
	if m.host != main.host && m.client != nil && m.alive() {
		err = errors.Join(err, m.removeFound(ctx)) // another host may show another mailbox
	}
	if first && (len(sent) > 0 || m.client != nil && m.alive()) {
		err = errors.Join(err, m.removeSent(ctx, sent))
	}
	if first {
		err = errors.Join(err, m.mail.sweepSenders(ctx, m.w))
	}
	if len(m.reports) > 0 && m.client != nil && m.alive() {
		err = errors.Join(err, m.remove(ctx, m.reports))
	}
	if m.bounces && m.client != nil && m.alive() {
		err = errors.Join(err, m.sweepReports(ctx))
	}
	if m.client != nil && m.alive() {
		polite, cancel := context.WithTimeout(ctx, lookGrace)
		defer cancel()
		_ = m.do(polite, "LOGOUT", func() error { return m.client.Logout().Wait() }) // the connection is closed in any case
	}
	return err
}

// removeFound removes the messages that were seen here, and marks them as removed.
func (m *mailbox) removeFound(ctx context.Context) error {
	for _, s := range m.mail.sentTo(m.account) {
		if uids := m.found[s.Number]; len(uids) > 0 {
			if err := m.remove(ctx, uids); err != nil {
				return err
			}
			s.removed = true
		}
	}
	return nil
}

func (m *mailbox) alive() bool {
	select {
	case <-m.client.Closed():
		return false
	default:
		// The library records a SELECT only after it has reported it, so an open connection may still look unselected.
		state := m.client.State()
		return state == imap.ConnStateSelected || state == imap.ConnStateAuthenticated
	}
}

func (m *mailbox) removeSent(ctx context.Context, sent []*Submission) error {
	if failure := (*steps.Failure)(nil); errors.As(m.err, &failure) && failure.Reason == result.ReasonAuth {
		// A second wrong login would slow down the account's next good one, or lock it.
		return fmt.Errorf("%s stays in %s, which cannot be opened: a later run removes it", describe(sent), m)
	}
	var missing []*Submission
	var err error
	for attempt := 0; ; attempt++ {
		if m.client == nil || !m.alive() {
			m.close()
			m.fresh = false
			reopen, cancel := context.WithTimeout(ctx, reopenLimit)
			err = m.open(reopen)
			cancel()
			if err != nil {
				return fmt.Errorf("%s may stay in %s until a later run removes it: %w", describe(sent), m, err)
			}
			attempt++
		}
		if missing, err = m.removeOnce(ctx, sent); err == nil || m.alive() || attempt > 0 {
			break
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s may stay in %s until a later run removes it: %w", describe(sent), m, err)
	case len(missing) > 0:
		return fmt.Errorf("%s had not arrived in %s when the run ended: a later run removes it", describe(missing), m)
	}
	return nil
}

// removeOnce looks for the sent messages, removes those that it finds, and returns the others.
func (m *mailbox) removeOnce(ctx context.Context, sent []*Submission) (missing []*Submission, err error) {
	for {
		var lost error
		if m.fresh {
			lost = m.look(ctx)
		} else {
			lost = m.lookAnywhere(ctx)
		}
		if lost != nil {
			return nil, lost
		}
		missing = missing[:0]
		wait := time.Duration(0)
		for _, s := range sent {
			if _, found := m.found[s.Number]; !found {
				missing = append(missing, s)
				if !s.Accepted.IsZero() && !m.strayed {
					wait = max(wait, lastLook-time.Since(s.Accepted))
				}
			}
		}
		if len(missing) == 0 || wait <= 0 {
			break
		}
		if err := steps.Pause(ctx, min(wait, 50*time.Millisecond)); err != nil {
			break
		}
	}
	uids := m.stale
	for _, copies := range m.found {
		uids = append(uids, copies...)
	}
	if err := m.remove(ctx, uids); err != nil {
		return missing, err
	}
	m.stale = nil
	filed, err := m.clearFolders(ctx, len(missing) > 0)
	if filed >= len(missing) {
		missing = nil
	}
	return missing, err
}

// lookAnywhere looks for the scenario's messages in a mailbox that was opened after they were sent, so that UIDs do not
// help.
func (m *mailbox) lookAnywhere(ctx context.Context) error {
	clear(m.found)
	m.stale = nil
	uids, err := m.search(ctx, headerOrigin, m.w.Origin())
	if err != nil || len(uids) == 0 {
		return err
	}
	m.next = slices.Min(uids)
	return m.fetch(ctx, imap.UIDSetNum(uids...))
}

func describe(sent []*Submission) string {
	if len(sent) == 0 {
		return "mail of earlier runs"
	}
	names := make([]string, len(sent))
	for i, s := range sent {
		names[i] = "message " + strconv.Itoa(s.Number)
		if id := s.Reply.QueueID(); id != "" {
			names[i] += " (" + id + ")"
		}
	}
	return strings.Join(names, ", ")
}

// close ends the connection at once.
func (m *mailbox) close() {
	if m.tcp != nil {
		_ = m.tcp.Close() // the run is judged, and a failed close also closes the connection
	}
	if m.client != nil {
		_ = m.client.Close() // waits for the library's reader
	}
	m.tcp, m.client = nil, nil
}
