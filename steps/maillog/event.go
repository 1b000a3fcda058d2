// Package maillog reads the logs of mail servers: Postfix, Dovecot, Exim and OpenDKIM, in files with their rotated siblings
// or in systemd's journal, and keeps count of what it read.
//
// A Parser turns lines into Events. A Log catches up: each call goes on where the last one stopped, whichever process made
// it, through rotation by renaming and by copying, and adds to counts per minute that are kept in a file for two days.
// Position and counts are one file that is replaced as a whole, so that no line is counted twice or left out, whenever a
// process ends.
//
// It leaves out what is compressed by anything but gzip, and the structured data of RFC 5424.
package maillog

import "time"

// Kind says what an Event tells.
type Kind string

// The kinds. A line that is understood and tells none of them has KindOther.
const (
	KindSent         Kind = "sent"          // one recipient: the next server, or the mailbox, took the message
	KindDeferred     Kind = "deferred"      // one recipient: not now, it is tried again
	KindBounced      Kind = "bounced"       // one recipient: never; the sender is told
	KindExpired      Kind = "expired"       // a message that was tried for too long
	KindRejected     Kind = "rejected"      // a command or message of a client was refused
	KindLoginRefused Kind = "login_refused" // wrong name or password
	KindLogin        Kind = "login"         // to a mailbox
	KindSubmitted    Kind = "submitted"     // a message taken from a client that logged in
	KindReceived     Kind = "received"      // a message taken from another client
	KindTLS          Kind = "tls"           // a connection is encrypted from here on
	KindNoTLS        Kind = "no_tls"        // the attempt to encrypt a connection failed
	KindConnected    Kind = "connected"     // a client came
	KindDisconnected Kind = "disconnected"  // a client went
	KindSigned       Kind = "signed"        // DKIM
	KindVerified     Kind = "verified"      // DKIM
	KindBadSignature Kind = "bad_signature" // DKIM
	KindOther        Kind = "other"
)

// Event is what one line tells. What the line does not say is the zero value.
type Event struct {
	Time      time.Time
	Program   string // "postfix/submission/smtpd", "dovecot", "exim", "opendkim"
	PID       string
	Kind      Kind
	Count     int // how often at once; for all but refused logins it is 1
	QueueID   string
	Code      int    // of the SMTP reply
	Status    string // enhanced status code (RFC 3463)
	Relay     string // where a recipient's message went, "mx.example.org[192.0.2.1]:25"
	Recipient string
	Client    string // IP address
	Local     string // IP address that the client came to
	User      string // who logged in, or tried
	NextID    string // the next server's name for the message
	Reply     string // what the other side said
	MessageID string
	Mails     int             // messages that a client which went had begun
	TLS       bool            // the connection was encrypted, as far as this line knows
	Delays    []time.Duration // Postfix: before the queue, in it, connecting, handing over
}

// Class says how well a line is understood.
type Class int

// The classes.
const (
	ClassUnknown Class = iota // no log line that we know
	ClassForeign              // a log line of another program
	ClassMail                 // of a mail server
)
