// Package maillog reads the logs of mail servers, in files with their rotated siblings or in systemd's journal, and
// counts what it read. It knows Postfix, Dovecot, Exim, OpenSMTPD, sendmail, Courier, Cyrus and OpenDKIM;
// docs/maillog.md lists which wordings of which versions.
//
// A Parser turns lines into Events. A Log catches up: each call resumes where the last one stopped, in any process,
// across rotation by renaming and by copying. It adds to counts per minute, which are kept in a file for two days. The
// position and the counts are in one file that is replaced as a whole, so that no line is counted twice or left out,
// whenever a process ends.
//
// A line of a known daemon in a wording that is not known is counted too, with the Subjects that it may be about, so
// that nobody takes zero for an answer when a line could not be read.
//
// It does not read compressed files other than gzip, and ignores the structured data of RFC 5424.
package maillog

import "time"

// Kind is what an Event reports.
type Kind string

// The kinds. An understood line of no other kind has KindOther.
const (
	KindSent            Kind = "sent"             // one recipient: the next server or the mailbox accepted the message
	KindDeferred        Kind = "deferred"         // one recipient: not now, the server will try again
	KindBounced         Kind = "bounced"          // one recipient: never; the sender is notified
	KindExpired         Kind = "expired"          // a message that was tried for too long
	KindHandedOver      Kind = "handed_over"      // one recipient: a filter on this machine has it, or another entry of the same queue
	KindSkipped         Kind = "skipped"          // one recipient: the time to try again has not come, nothing was tried
	KindDiscarded       Kind = "discarded"        // one recipient: thrown away, as configured
	KindRejected        Kind = "rejected"         // a command or message of a client was refused
	KindLoginRefused    Kind = "login_refused"    // wrong name or password
	KindLoginUnjudged   Kind = "login_unjudged"   // the authentication service or its account lookup failed
	KindLoginIncomplete Kind = "login_incomplete" // refused before a password was judged: without TLS, an unknown mechanism, given up
	KindAuthDown        Kind = "auth_down"        // a server reports that its authentication service or account lookup fails
	KindLogin           Kind = "login"            // to a mailbox
	KindSession         Kind = "session"          // a session of a mailbox's user ended
	KindSubmitted       Kind = "submitted"        // a message accepted from a client that logged in
	KindReceived        Kind = "received"         // a message accepted from another client
	KindTLS             Kind = "tls"              // the connection is encrypted from here on
	KindNoTLS           Kind = "no_tls"           // the attempt to encrypt a connection failed
	KindConnected       Kind = "connected"        // a client connected
	KindDisconnected    Kind = "disconnected"     // a client disconnected
	KindSigned          Kind = "signed"           // DKIM
	KindVerified        Kind = "verified"         // DKIM
	KindBadSignature    Kind = "bad_signature"    // DKIM
	KindUnknown         Kind = "unknown"          // a known daemon, in a wording that is not known
	KindOther           Kind = "other"
)

// Event is the content of one line. A value that is not in the line is zero.
type Event struct {
	Time      time.Time
	Program   string // "postfix/submission/smtpd", "dovecot", "exim", "opendkim"
	Daemon    string // what people call it, "postfix/smtpd", "dovecot/imap-login"
	PID       string
	Kind      Kind
	May       Subject // what a line of KindUnknown may be about
	Count     int     // number of occurrences; 1 except for refused logins and folded lines
	Session   string  // id of the connection, where lines of one connection share it: OpenSMTPD
	QueueID   string
	Code      int    // of the SMTP reply
	Status    string // enhanced status code (RFC 3463)
	Relay     string // where a recipient's message was sent, "mx.example.org[192.0.2.1]:25"
	Recipient string
	Here      string // the service of this machine, "127.0.0.1[127.0.0.1]:10024", to which an attempt to deliver failed
	Client    string // IP address
	Local     string // IP address that the client connected to
	User      string // who logged in, or tried
	NextID    string // the next server's id of the message
	Reply     string // the other side's answer
	Service   string // the authentication service or lookup that failed
	MessageID string
	Mails     int             // number of messages that a disconnected client had begun
	TLS       bool            // the connection was encrypted, as far as this line shows
	Mailbox   bool            // a delivery to a mailbox of this machine, as far as this line shows
	Delays    []time.Duration // Postfix: before the queue, in the queue, connecting, handing over
}

// Class is how well a line is understood.
type Class int

// The classes.
const (
	ClassUnknown Class = iota // not a known log line
	ClassForeign              // a log line of another program
	ClassMail                 // a line of a mail server
)
