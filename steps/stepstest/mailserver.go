package stepstest

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// MailOptions configures a MailServer. Domain and Users are required.
type MailOptions struct {
	Domain string            // of the addresses: "demo.test"
	Host   string            // the server's own name, for the certificate; empty means "mail." and the domain
	Users  map[string]string // passwords by address, or by the part before the "@"
	CA     *CA               // signs the certificate; nil means a new one

	WithoutUIDPlus bool          // the IMAP server has no UID EXPUNGE (RFC 4315)
	WithMove       bool          // it has MOVE (RFC 6851)
	Prefix         string        // of the folders other than the INBOX (NAMESPACE, RFC 2342), such as "INBOX/"
	DSN            bool          // the SMTP server offers DSN (RFC 3461), and ignores what it is asked for
	LoginDelay     time.Duration // POP3 announces LOGIN-DELAY, in whole seconds (RFC 2449 section 6.6)
	EnforceDelay   bool          // and refuses an earlier login
	HideDelay      bool          // and does not announce it
	IDsFromNewest  bool          // POP3 numbers its unique ids from the newest message, so that new mail gets an id of older mail
}

// MailServer accepts mail over SMTP (ports 25, 587 with STARTTLS, 465 with TLS) and serves it over IMAP (143 with
// STARTTLS, 993 with TLS) and POP3 (110 with STLS, 995 with TLS). It runs in this process, in memory, on free loopback
// ports. Break gives it faults.
type MailServer struct {
	options   MailOptions
	ca        *CA
	connectTo map[string]string
	smtp      *smtp.Server
	imap      *imapserver.Server
	boxes     map[string]*imapmemserver.User // by address
	passwords map[string]string              // by address
	open      string                         // address of the listener that accepts mail without AUTH, like port 25
	listeners []net.Listener
	serving   sync.WaitGroup

	certificate atomic.Pointer[tls.Certificate]
	delay       atomic.Int64 // time.Duration

	mu         sync.Mutex
	faults     []Fault
	mended     chan struct{}   // closed when the faults change
	greylisted map[string]bool // by sender and recipient
	byeDue     bool
	closed     bool
	deliveries []Delivery
	logins     []string
	timers     []*time.Timer
	pop3       map[net.Conn]bool // connections of the POP3 server
	pop3Logins []POP3Login
}

// Delivery is one message to one recipient, from the server's view.
type Delivery struct {
	QueueID  string // as in the answer to the message
	From, To string // of the envelope
	Accepted time.Time
	Stored   time.Time // zero until it is in the mailbox
	Message  []byte
}

// Fault is a fault of a MailServer.
type Fault string

// The faults. Those of certificates apply to handshakes from then on.
const (
	FaultDropMail        Fault = "drop mail"               // accepted and never delivered
	FaultJunk            Fault = "junk"                    // delivered into the folder Junk
	FaultFile            Fault = "file"                    // delivered into the folder Lists, which is then created
	FaultRejects         Fault = "rejects"                 // a copy is in the folder Rejects, which is then created; the message is refused
	FaultDuplicate       Fault = "duplicate"               // each message is delivered twice
	FaultBounce          Fault = "bounce"                  // accepted, then returned to the sender with a report (RFC 3464)
	FaultGreylist        Fault = "greylist"                // 450 to the first attempt of a sender and recipient, then accepted
	FaultDropInData      Fault = "drop in DATA"            // the connection ends in the middle of the message
	FaultDropAfterDot    Fault = "drop after the dot"      // the connection ends instead of an answer to the message; it is delivered
	FaultSMTPSilent      Fault = "SMTP silent"             // no answer after the greeting
	FaultRejectRecipient Fault = "reject recipient"        // 550 to every RCPT
	FaultRejectMessage   Fault = "reject message"          // 554 to every message
	FaultAuthRefused     Fault = "AUTH refused"            // no password is right, over SMTP and IMAP
	FaultAnyPassword     Fault = "any password"            // every password is right over SMTP
	FaultOpenRelay       Fault = "open relay"              // accepts mail for everybody from everybody, and sends it nowhere
	FaultFooter          Fault = "footer"                  // adds a line at the end of each text
	FaultRename          Fault = "rename attachments"      // each attachment gets another name
	FaultForgedSender    Fault = "forged sender"           // a logged-in user may use any sender
	FaultCertWrongHost   Fault = "certificate: wrong host" // for another name
	FaultCertExpired     Fault = "certificate: expired"    // expired an hour ago
	FaultCertUnknownCA   Fault = "certificate: unknown CA" // signed by an untrusted CA
	FaultIMAPBye         Fault = "IMAP BYE"                // BYE to the first command after a message was accepted, once
	FaultIMAPSilent      Fault = "IMAP silent"             // no answer to LOGIN and NOOP
	FaultIMAPTurnAway    Fault = "IMAP turns away"         // BYE as the greeting
	FaultIMAPTellsNoNews Fault = "IMAP tells no news"      // NOOP announces nothing; a new connection shows what came
)

// NewMailServer starts a server. Close stops it.
func NewMailServer(options MailOptions) (*MailServer, error) {
	if options.Domain == "" || len(options.Users) == 0 {
		return nil, errors.New("start the mail server: it needs a domain and users")
	}
	if options.Host == "" {
		options.Host = "mail." + options.Domain
	}
	s := &MailServer{options: options, ca: options.CA, connectTo: make(map[string]string), boxes: make(map[string]*imapmemserver.User),
		passwords: make(map[string]string), mended: make(chan struct{}), pop3: make(map[net.Conn]bool)}
	if s.ca == nil {
		var err error
		if s.ca, err = NewCA("stepwatch demo CA"); err != nil {
			return nil, err
		}
	}
	if err := s.useCertificate(""); err != nil {
		return nil, err
	}
	mem := imapmemserver.New()
	for name, password := range options.Users {
		address := s.address(name)
		user := imapmemserver.NewUser(address, password)
		for _, folder := range []string{"INBOX", options.Prefix + "Junk"} {
			if err := user.Create(folder, nil); err != nil {
				return nil, fmt.Errorf("create %s of %s: %w", folder, address, err)
			}
		}
		s.boxes[address], s.passwords[address] = user, password
		mem.AddUser(user)
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return s.certificate.Load(), nil
	}}
	s.smtp = smtp.NewServer(smtp.BackendFunc(s.newSMTPSession))
	s.smtp.Domain = options.Host
	s.smtp.TLSConfig = tlsConfig
	s.smtp.MaxMessageBytes = 10 << 20
	s.smtp.EnableSMTPUTF8 = true
	s.smtp.EnableDSN = options.DSN
	s.smtp.ReadTimeout, s.smtp.WriteTimeout = 5*time.Minute, time.Minute
	s.smtp.ErrorLog = log.New(io.Discard, "", 0)
	caps := imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapUIDPlus: {}}
	if options.WithoutUIDPlus {
		delete(caps, imap.CapUIDPlus)
	}
	if options.WithMove {
		caps[imap.CapMove] = struct{}{}
	}
	if options.Prefix != "" {
		caps[imap.CapNamespace] = struct{}{}
	}
	s.imap = imapserver.New(&imapserver.Options{
		NewSession: func(conn *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			if s.broken(FaultIMAPTurnAway) {
				return nil, nil, &imap.Error{Type: imap.StatusResponseTypeBye, Text: "Too many connections, try later"}
			}
			return &imapSession{mem.NewSession().(imapserver.SessionIMAP4rev2), s, conn}, nil, nil
		},
		Caps:      caps,
		Logger:    log.New(io.Discard, "", 0),
		TLSConfig: tlsConfig,
	})
	for _, port := range []string{"25", "587", "465", "143", "993", "110", "995"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for port %s: %w", port, err), s.Close())
		}
		s.connectTo[net.JoinHostPort(options.Host, port)] = listener.Addr().String()
		if port == "25" {
			s.open = listener.Addr().String()
		}
		if port == "465" || port == "993" || port == "995" {
			listener = tls.NewListener(listener, tlsConfig)
		}
		s.listeners = append(s.listeners, listener)
		serve := s.smtp.Serve
		if port == "143" || port == "993" {
			serve = s.imap.Serve
		}
		if port == "110" || port == "995" {
			serve = func(l net.Listener) error { return s.servePOP3(l, tlsConfig) }
		}
		s.serving.Go(func() {
			_ = serve(listener) // ends when the listener is closed
		})
	}
	return s, nil
}

// address returns a name as an address. It adds the server's domain unless the name has one.
func (s *MailServer) address(name string) string {
	if !strings.Contains(name, "@") {
		name += "@" + s.options.Domain
	}
	return strings.ToLower(name)
}

// Host returns the server's name, as in its certificate.
func (s *MailServer) Host() string { return s.options.Host }

// CA returns the authority that signed the server's certificate.
func (s *MailServer) CA() *CA { return s.ca }

// ConnectTo returns the addresses of the server's ports, for Target.ConnectTo: "mail.demo.test:587" is at
// "127.0.0.1:41234".
func (s *MailServer) ConnectTo() map[string]string { return s.connectTo }

// SetDelay delays the delivery of messages accepted from now on by d.
func (s *MailServer) SetDelay(d time.Duration) { s.delay.Store(int64(d)) }

// Break sets the faults of the server. They replace the previous ones; Break() removes all.
func (s *MailServer) Break(faults ...Fault) error {
	s.mu.Lock()
	s.faults = faults
	s.greylisted = make(map[string]bool)
	s.byeDue = slices.Contains(faults, FaultIMAPBye)
	close(s.mended)
	s.mended = make(chan struct{})
	s.mu.Unlock()
	for _, fault := range faults {
		switch fault {
		case FaultCertWrongHost, FaultCertExpired, FaultCertUnknownCA:
			return s.useCertificate(fault)
		}
	}
	return s.useCertificate("")
}

func (s *MailServer) useCertificate(fault Fault) error {
	var certificate tls.Certificate
	var err error
	switch fault {
	case FaultCertWrongHost:
		certificate, err = s.ca.Issue("other." + s.options.Domain)
	case FaultCertExpired:
		certificate, err = s.ca.IssueExpired(s.options.Host)
	case FaultCertUnknownCA:
		var stranger *CA
		if stranger, err = NewCA("unknown CA"); err == nil {
			certificate, err = stranger.Issue(s.options.Host)
		}
	default:
		certificate, err = s.ca.Issue(s.options.Host)
	}
	if err != nil {
		return err
	}
	s.certificate.Store(&certificate)
	return nil
}

func (s *MailServer) broken(fault Fault) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.faults, fault)
}

// hang waits until the faults change or the server is closed, if the server has this fault.
func (s *MailServer) hang(fault Fault) {
	s.mu.Lock()
	mended, broken := s.mended, slices.Contains(s.faults, fault) && !s.closed
	s.mu.Unlock()
	if broken {
		<-mended
	}
}

// Deliveries returns the accepted messages, in order.
func (s *MailServer) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}

func (s *MailServer) noteLogin(from net.Addr, address string, refused bool) {
	host, _, _ := net.SplitHostPort(from.String())
	verdict := "accepted"
	if refused {
		verdict = "refused"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins = append(s.logins, host+" "+address+" "+verdict)
}

// POP3Login is an attempt to log in over POP3 with the right password.
type POP3Login struct {
	User    string
	At      time.Time
	Refused bool // too soon after the last one
}

// POP3Logins returns the attempts to log in over POP3, in order.
func (s *MailServer) POP3Logins() []POP3Login {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pop3Logins)
}

// permitPOP3 reports whether a user may log in over POP3 now.
func (s *MailServer) permitPOP3(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, last := time.Now(), time.Time{}
	for _, l := range s.pop3Logins {
		if l.User == user && !l.Refused {
			last = l.At
		}
	}
	refused := s.options.EnforceDelay && now.Sub(last) < s.options.LoginDelay
	s.pop3Logins = append(s.pop3Logins, POP3Login{user, now, refused})
	return !refused
}

// Logins returns the login attempts over SMTP, in order: "127.0.0.1 alice@demo.test refused".
func (s *MailServer) Logins() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.logins)
}

// Mailbox returns the number of messages in the folders of a user, or -1 when there is no such user.
func (s *MailServer) Mailbox(user string) int {
	box := s.boxes[s.address(user)]
	if box == nil {
		return -1
	}
	n := 0
	for _, folder := range []string{"INBOX", s.options.Prefix + "Junk", s.options.Prefix + "Lists", s.options.Prefix + "Rejects"} {
		status, err := box.Status(folder, &imap.StatusOptions{NumMessages: true})
		if err != nil {
			continue // not created yet
		}
		n += int(*status.NumMessages)
	}
	return n
}

// Deliver puts a message into a user's INBOX without SMTP, with this time of arrival.
func (s *MailServer) Deliver(user string, message []byte, at time.Time) error {
	box := s.boxes[s.address(user)]
	if box == nil {
		return fmt.Errorf("deliver to %q: no such user", user)
	}
	_, err := box.Append("INBOX", literal{bytes.NewReader(message)}, &imap.AppendOptions{Time: at})
	return err
}

// File puts a message into another folder of a user's mailbox, like a filter. It creates the folder if there is none.
func (s *MailServer) File(user, folder string, message []byte) error {
	box := s.boxes[s.address(user)]
	if box == nil {
		return fmt.Errorf("file for %q: no such user", user)
	}
	_ = box.Create(folder, nil) // the error means that it exists already
	_, err := box.Append(folder, literal{bytes.NewReader(message)}, &imap.AppendOptions{Time: time.Now()})
	return err
}

type literal struct{ *bytes.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

// accept accepts a message and delivers it after the delay. It returns the queue id.
func (s *MailServer) accept(from string, recipients []string, message []byte) string {
	id := make([]byte, 5)
	_, _ = rand.Read(id) // crypto/rand does not fail
	queueID := strings.ToUpper(hex.EncodeToString(id))
	delay := time.Duration(s.delay.Load())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, to := range recipients {
		i := len(s.deliveries)
		s.deliveries = append(s.deliveries, Delivery{QueueID: queueID, From: from, To: to, Accepted: time.Now(), Message: message})
		switch {
		case slices.Contains(s.faults, FaultDropMail):
			continue
		case delay <= 0:
			s.storeLocked(i)
		default:
			s.timers = append(s.timers, time.AfterFunc(delay, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				if !s.closed {
					s.storeLocked(i)
				}
			}))
		}
	}
	return queueID
}

// storeLocked puts delivery i into its mailbox. The lock is held.
func (s *MailServer) storeLocked(i int) {
	d := &s.deliveries[i]
	if slices.Contains(s.faults, FaultBounce) {
		if sender := s.boxes[d.From]; sender != nil {
			_, _ = sender.Append("INBOX", literal{bytes.NewReader(s.bounce(d))}, &imap.AppendOptions{Time: time.Now()}) // as below
		}
		return
	}
	copies, folder := 1, "INBOX"
	if slices.Contains(s.faults, FaultJunk) {
		folder = s.options.Prefix + "Junk"
	}
	if slices.Contains(s.faults, FaultFile) {
		folder = s.options.Prefix + "Lists"
		_ = s.boxes[d.To].Create(folder, nil) // the error means that it exists already
	}
	if slices.Contains(s.faults, FaultRejects) {
		folder = s.options.Prefix + "Rejects"
		_ = s.boxes[d.To].Create(folder, nil) // the error means that it exists already
	}
	if slices.Contains(s.faults, FaultDuplicate) {
		copies = 2
	}
	if s.boxes[d.To] == nil { // an open relay's
		return
	}
	for range copies {
		// A recipient without a mailbox was refused at RCPT.
		_, _ = s.boxes[d.To].Append(folder, literal{bytes.NewReader(d.Message)}, &imap.AppendOptions{Time: time.Now()})
	}
	d.Stored = time.Now()
}

// bounce returns the report that d could not be delivered.
func (s *MailServer) bounce(d *Delivery) []byte {
	header, _, _ := bytes.Cut(d.Message, []byte("\r\n\r\n"))
	report := fmt.Sprintf(`Return-Path: <>
From: MAILER-DAEMON@%[1]s
To: %[2]s
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="%[4]s"

--%[4]s
Content-Type: text/plain; charset=us-ascii

This is the mail system at host %[1]s. Your message could not be delivered.

<%[3]s>: the mailbox is full
--%[4]s
Content-Type: message/delivery-status

Reporting-MTA: dns; %[1]s
X-Postfix-Queue-ID: %[4]s

Final-Recipient: rfc822; %[3]s
Action: failed
Status: 5.2.2
Remote-MTA: dns; store.%[1]s
Diagnostic-Code: smtp; 552 5.2.2 <%[3]s> Quota exceeded (mailbox for user is full)

--%[4]s
Content-Type: text/rfc822-headers

`, s.options.Host, d.From, d.To, d.QueueID)
	report += strings.ReplaceAll(string(header), "\r\n", "\n") + "\n--" + d.QueueID + "--\n"
	return []byte(strings.ReplaceAll(report, "\n", "\r\n"))
}

// Close stops the server and ends all its connections.
func (s *MailServer) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, timer := range s.timers {
		timer.Stop()
	}
	for conn := range s.pop3 {
		_ = conn.Close() // its client has left, or must notice
	}
	close(s.mended)
	s.mended = make(chan struct{})
	s.mu.Unlock()
	_ = s.smtp.Close() // the error means that a listener was closed before
	_ = s.imap.Close()
	for _, listener := range s.listeners {
		_ = listener.Close() // one that no server used yet
	}
	s.serving.Wait()
	return nil
}

// smtpSession is one client of the SMTP server.
type smtpSession struct {
	server     *MailServer
	conn       *smtp.Conn
	login      string // the address that logged in, or empty
	from       string
	recipients []string
}

func (s *MailServer) newSMTPSession(conn *smtp.Conn) (smtp.Session, error) {
	s.hang(FaultSMTPSilent)
	return &smtpSession{server: s, conn: conn}, nil
}

func (c *smtpSession) AuthMechanisms() []string { return saslMechanisms }

func (c *smtpSession) Auth(mechanism string) (sasl.Server, error) {
	check := func(username, password string) error {
		address := c.server.address(username)
		right, known := c.server.passwords[address]
		wrong := !known || right != password && !c.server.broken(FaultAnyPassword)
		refused := wrong || c.server.broken(FaultAuthRefused)
		c.server.noteLogin(c.conn.Conn().RemoteAddr(), address, refused)
		if refused {
			return smtp.ErrAuthFailed
		}
		c.login = address
		return nil
	}
	password := func(username string) (string, bool) {
		right, known := c.server.passwords[c.server.address(username)]
		return right, known
	}
	switch mechanism {
	case "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", sasl.OAuthBearer:
		return newSASLServer(mechanism, password, check)
	case sasl.Plain:
		return sasl.NewPlainServer(func(_, username, password string) error { return check(username, password) }), nil
	case sasl.Login:
		return &loginServer{check: check}, nil
	default:
		return nil, smtp.ErrAuthUnknownMechanism
	}
}

// loginServer is the server side of the LOGIN mechanism (draft-murchison-sasl-login-00), which go-sasl lacks.
type loginServer struct {
	check    func(username, password string) error
	asked    int
	username string
}

// Next implements sasl.Server.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if l.asked == 0 && response != nil { // the name came with the command
		l.asked = 1
	}
	l.asked++
	switch l.asked {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.username = string(response)
		return []byte("Password:"), false, nil
	case 3:
		return nil, true, l.check(l.username, string(response))
	default:
		return nil, false, sasl.ErrUnexpectedClientResponse
	}
}

func (c *smtpSession) Mail(from string, _ *smtp.MailOptions) error {
	if c.login != "" && c.login != strings.ToLower(from) && !c.server.broken(FaultForgedSender) {
		return &smtp.SMTPError{Code: 553, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "<" + from + ">: sender address rejected: not owned by " + c.login}
	}
	if c.login == "" && c.conn.Conn().LocalAddr().String() != c.server.open && !c.server.broken(FaultOpenRelay) {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	c.from = from
	return nil
}

func (c *smtpSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s := c.server
	address := strings.ToLower(to)
	_, known := s.boxes[address]
	known = known || s.broken(FaultOpenRelay)
	switch {
	case s.broken(FaultRejectRecipient), !known && strings.HasSuffix(address, "@"+s.options.Domain):
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "<" + to + ">: user unknown"}
	case !known:
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "<" + to + ">: relay access denied"}
	}
	if s.broken(FaultGreylist) {
		s.mu.Lock()
		key := c.from + " " + address
		seen := s.greylisted[key]
		s.greylisted[key] = true
		s.mu.Unlock()
		if !seen {
			return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "<" + to + ">: greylisted"}
		}
	}
	c.recipients = append(c.recipients, address)
	return nil
}

func (c *smtpSession) Data(r io.Reader) error {
	s := c.server
	if s.broken(FaultDropInData) {
		return c.conn.Conn().Close()
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.broken(FaultRejectMessage) {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "message looks like spam"}
	}
	if s.broken(FaultFooter) {
		body = append(body, "-- \r\nChecked by a gateway\r\n"...)
	}
	if s.broken(FaultRename) {
		body = bytes.ReplaceAll(body, []byte("; filename="), []byte("; filename=removed-"))
	}
	protocol := "ESMTP" // RFC 3848
	if _, secure := c.conn.TLSConnectionState(); secure {
		protocol += "S"
	}
	if c.login != "" {
		protocol += "A"
	}
	message := append(fmt.Appendf(nil, "Return-Path: <%s>\r\nReceived: from %s by %s with %s; %s\r\n", c.from, c.conn.Hostname(), s.options.Host,
		protocol, time.Now().Format(time.RFC1123Z)), body...)
	id := s.accept(c.from, c.recipients, message)
	if s.broken(FaultDropAfterDot) {
		return c.conn.Conn().Close()
	}
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: queued as " + id}
}

func (c *smtpSession) Reset()        { c.from, c.recipients = "", nil }
func (c *smtpSession) Logout() error { return nil }

// imapSession is one client of the IMAP server.
type imapSession struct {
	imapserver.SessionIMAP4rev2
	server *MailServer
	conn   *imapserver.Conn
}

// Login accepts the address or the part before the "@".
func (c *imapSession) Login(username, password string) error {
	c.server.hang(FaultIMAPSilent)
	if c.server.broken(FaultAuthRefused) {
		return imapserver.ErrAuthFailed
	}
	return c.SessionIMAP4rev2.Login(c.server.address(username), password)
}

// AuthenticateMechanisms implements imapserver.SessionSASL.
func (c *imapSession) AuthenticateMechanisms() []string {
	return []string{sasl.Plain, "XOAUTH2", sasl.OAuthBearer}
}

// Authenticate uses a user's password as the access token.
func (c *imapSession) Authenticate(mechanism string) (sasl.Server, error) {
	var server sasl.Server
	switch mechanism {
	case sasl.Plain:
		server = sasl.NewPlainServer(func(_, username, password string) error { return c.Login(username, password) })
	case "XOAUTH2", sasl.OAuthBearer:
		server = tokenServer(c.Login)
	default:
		return nil, imapserver.ErrAuthFailed
	}
	return saslServer(func(response []byte) (challenge []byte, done bool, err error) {
		if challenge, done, err = server.Next(response); err != nil {
			err = imapserver.ErrAuthFailed
		}
		return challenge, done, err
	}), nil
}

// Poll is called after each command.
func (c *imapSession) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	c.server.hang(FaultIMAPSilent)
	c.server.mu.Lock()
	bye := c.server.byeDue && len(c.server.deliveries) > 0
	if bye {
		c.server.byeDue = false
	}
	c.server.mu.Unlock()
	if bye {
		_ = c.conn.Bye("Server shutting down.") // the connection is gone either way
		return net.ErrClosed
	}
	if c.server.broken(FaultIMAPTellsNoNews) {
		return nil
	}
	return c.SessionIMAP4rev2.Poll(w, allowExpunge)
}

// Namespace implements imapserver.SessionNamespace.
func (c *imapSession) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Prefix: c.server.options.Prefix, Delim: '/'}}}, nil
}

// idlePoll is the interval at which an idle connection checks for changes.
const idlePoll = 10 * time.Millisecond

// Idle polls, because imapmemserver's own Idle does not announce messages that came between the last command and IDLE.
func (c *imapSession) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	ticker := time.NewTicker(idlePoll)
	defer ticker.Stop()
	for {
		if err := c.SessionIMAP4rev2.Poll(w, true); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-stop:
			return nil
		}
	}
}
