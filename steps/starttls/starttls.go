// Package starttls contains the dialogues that switch a cleartext connection to TLS, up to the handshake, for each
// protocol. It sends no user name, no password and no message.
//
// The data of a server is untrusted: lines, replies and packets have size limits. Any cleartext data after the server's
// agreement is an error, because a client would treat it as if it came inside TLS (CVE-2011-0411 and similar). The
// dialogues have no deadline of their own; set one on the connection.
package starttls

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Protocol is the usual name of a protocol with a command for TLS.
type Protocol string

// The protocols.
const (
	SMTP       Protocol = "SMTP"       // RFC 3207
	LMTP       Protocol = "LMTP"       // RFC 2033 section 4.1, RFC 3207
	IMAP       Protocol = "IMAP"       // RFC 9051 section 6.2.1
	POP3       Protocol = "POP3"       // RFC 2595 section 4
	Sieve      Protocol = "Sieve"      // RFC 5804 section 2.2
	FTP        Protocol = "FTP"        // RFC 4217 section 4
	LDAP       Protocol = "LDAP"       // RFC 4511 section 4.14
	XMPP       Protocol = "XMPP"       // RFC 6120 section 5, as a client
	XMPPServer Protocol = "XMPPServer" // the same, as another server
	PostgreSQL Protocol = "PostgreSQL" // protocol 3.0, SSLRequest
	MySQL      Protocol = "MySQL"      // protocol 10, SSLRequest
)

var dialogues = map[Protocol]func(*dialogue) error{
	SMTP:       func(d *dialogue) error { return d.smtp("EHLO") },
	LMTP:       func(d *dialogue) error { return d.smtp("LHLO") },
	IMAP:       (*dialogue).imap,
	POP3:       (*dialogue).pop3,
	Sieve:      (*dialogue).sieve,
	FTP:        (*dialogue).ftp,
	LDAP:       (*dialogue).ldap,
	XMPP:       func(d *dialogue) error { return d.xmpp("jabber:client") },
	XMPPServer: func(d *dialogue) error { return d.xmpp("jabber:server") },
	PostgreSQL: (*dialogue).postgres,
	MySQL:      (*dialogue).mysql,
}

// Named returns the protocol with a name, ignoring case.
func Named(name string) (p Protocol, known bool) {
	for p := range dialogues {
		if strings.EqualFold(string(p), name) {
			return p, true
		}
	}
	return "", false
}

// Names returns the names that Named knows.
func Names() []string {
	var names []string
	for p := range dialogues {
		names = append(names, string(p))
	}
	slices.Sort(names)
	return names
}

// OnPort returns the protocol that usually runs in cleartext on a port. known is false for ports where TLS starts at
// once, and for ports without a usual protocol.
func OnPort(port int) (p Protocol, known bool) {
	p, known = map[int]Protocol{21: FTP, 24: LMTP, 25: SMTP, 110: POP3, 143: IMAP, 389: LDAP, 587: SMTP, 2525: SMTP, 3306: MySQL,
		4190: Sieve, 5222: XMPP, 5269: XMPPServer, 5432: PostgreSQL}[port]
	return p, known
}

// Refusal is the error of a server that does not offer TLS or refuses it.
type Refusal struct {
	Protocol Protocol
	Answer   string // the server's answer; empty when it does not offer TLS
}

// Error returns the reason, with the server's answer.
func (r *Refusal) Error() string {
	if r.Answer == "" {
		return fmt.Sprintf("it does not offer TLS over %s", r.Protocol)
	}
	return fmt.Sprintf("it refuses TLS over %s: %s", r.Protocol, r.Answer)
}

// ErrProtocol is wrapped by every error about an answer that violates the protocol.
var ErrProtocol = errors.New("the answer violates the protocol")

// Begin speaks p on conn until the server agrees to start TLS. It returns the server's greeting, printable and on one
// line. host is the server's name, which XMPP needs, and own is our name in SMTP. The error is a *Refusal, wraps
// ErrProtocol, or comes from conn.
func Begin(conn io.ReadWriter, p Protocol, host, own string) (greeting string, err error) {
	talk, known := dialogues[p]
	if !known {
		return "", fmt.Errorf("no dialogue for protocol %q", p)
	}
	d := &dialogue{protocol: p, w: conn, r: bufio.NewReaderSize(conn, int(lineLimit.Most)), host: host, own: own}
	if err := talk(d); err != nil {
		return d.greeting, err
	}
	if n := d.r.Buffered(); n > 0 {
		return d.greeting, fmt.Errorf("%w: %d bytes arrived in cleartext after the agreement to start TLS", ErrProtocol, n)
	}
	return d.greeting, nil
}

// Limits of a server's data before TLS.
var (
	lineLimit   = limit.Define(limit.Limit{Subject: "STARTTLS", What: "a line before TLS", Unit: "bytes", Most: 4096})
	linesLimit  = limit.Define(limit.Limit{Subject: "STARTTLS", What: "an answer before TLS", Unit: "lines", Most: 200})
	packetLimit = limit.Define(limit.Limit{Subject: "STARTTLS", What: "a packet before TLS", Unit: "bytes", Most: 4096}) // LDAP, MySQL
	xmlLimit    = limit.Define(limit.Limit{Subject: "STARTTLS", What: "the stream before TLS", Unit: "bytes", Most: 64 << 10})
)

type dialogue struct {
	protocol  Protocol
	w         io.Writer
	r         *bufio.Reader
	host, own string
	greeting  string
}

func (d *dialogue) say(line string) error {
	_, err := io.WriteString(d.w, line+"\r\n")
	return err
}

// broken returns an error about an answer. The caller makes quoted parts printable.
func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

func (d *dialogue) refusal(answer string) error {
	return &Refusal{Protocol: d.protocol, Answer: printable(answer)}
}

// line reads one line without its end.
func (d *dialogue) line() (string, error) {
	raw, err := d.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", lineLimit.Exceeded()
	case errors.Is(err, io.EOF) && len(raw) > 0:
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// printable makes a text printable, on one line and short.
func printable(text string) string {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, text))
	const most = 200
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
