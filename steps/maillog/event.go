// Package maillog reads the logs of mail servers: Postfix, Dovecot, Exim and OpenDKIM, in files with their rotated
// siblings or in systemd's journal, and counts what it read.
//
// A Parser turns lines into Events. A Log catches up: each call resumes where the last one stopped, in any process,
// across rotation by renaming and by copying. It adds to counts per minute, which are kept in a file for two days. The
// position and the counts are in one file that is replaced as a whole, so that no line is counted twice or left out,
// whenever a process ends.
//
// It does not read compressed files other than gzip, and ignores the structured data of RFC 5424.
package maillog

import "time"

// Kind is what an Event reports.
type Kind string

// The kinds. An understood line of no other kind has KindOther.
const (
	KindSent         Kind = "sent"          // one recipient: the next server or the mailbox accepted the message
	KindDeferred     Kind = "deferred"      // one recipient: not now, the server will try again
	KindBounced      Kind = "bounced"       // one recipient: never; the sender is notified
	KindExpired      Kind = "expired"       // a message that was tried for too long
	KindRejected     Kind = "rejected"      // a command or message of a client was refused
	KindLoginRefused Kind = "login_refused" // wrong name or password
	KindLogin        Kind = "login"         // to a mailbox
	KindSubmitted    Kind = "submitted"     // a message accepted from a client that logged in
	KindReceived     Kind = "received"      // a message accepted from another client
	KindTLS          Kind = "tls"           // the connection is encrypted from here on
	KindNoTLS        Kind = "no_tls"        // the attempt to encrypt a connection failed
	KindConnected    Kind = "connected"     // a client connected
	KindDisconnected Kind = "disconnected"  // a client disconnected
	KindSigned       Kind = "signed"        // DKIM
	KindVerified     Kind = "verified"      // DKIM
	KindBadSignature Kind = "bad_signature" // DKIM
	KindOther        Kind = "other"
)

// Event is the content of one line. A value that is not in the line is zero.
type Event struct {
	Time      time.Time
	Program   string // "postfix/submission/smtpd", "dovecot", "exim", "opendkim"
	PID       string
	Kind      Kind
	Count     int // number of occurrences; 1 for everything except refused logins
	QueueID   string
	Code      int    // of the SMTP reply
	Status    string // enhanced status code (RFC 3463)
	Relay     string // where a recipient's message was sent, "mx.example.org[192.0.2.1]:25"
	Recipient string
	Client    string // IP address
	Local     string // IP address that the client connected to
	User      string // who logged in, or tried
	NextID    string // the next server's id of the message
	Reply     string // the other side's answer
	MessageID string
	Mails     int             // number of messages that a disconnected client had begun
	TLS       bool            // the connection was encrypted, as far as this line shows
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
