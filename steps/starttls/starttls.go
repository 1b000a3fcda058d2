// Package starttls has the dialogues by which a connection in clear becomes one where TLS begins: what is said before the
// handshake, for each protocol, and nothing beyond. No name, no password and no message goes out.
//
// A server's words are untrusted: lines, replies and packets are capped, and whatever a server sends in clear behind its
// agreement is an error, because a client would take it for the server's own words inside TLS (CVE-2011-0411 and its
// kin). The deadline is the connection's own; set one.
package starttls

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Protocol is a protocol with a command for TLS, as people write it.
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

// Named finds the protocol of that name, whatever its case.
func Named(name string) (p Protocol, known bool) {
	for p := range dialogues {
		if strings.EqualFold(string(p), name) {
			return p, true
		}
	}
	return "", false
}

// Names lists the names that Named knows.
func Names() []string {
	var names []string
	for p := range dialogues {
		names = append(names, string(p))
	}
	slices.Sort(names)
	return names
}

// OnPort gives the protocol that is spoken in clear on a port by custom. It is false for ports where TLS begins at once,
// and for those without a custom.
func OnPort(port int) (p Protocol, known bool) {
	p, known = map[int]Protocol{21: FTP, 24: LMTP, 25: SMTP, 110: POP3, 143: IMAP, 389: LDAP, 587: SMTP, 2525: SMTP, 3306: MySQL,
		4190: Sieve, 5222: XMPP, 5269: XMPPServer, 5432: PostgreSQL}[port]
	return p, known
}

// Refusal says that the server will not begin TLS here: it does not offer it, or says no.
type Refusal struct {
	Protocol Protocol
	Answer   string // the server's own words; empty when it does not offer TLS
}

// Error gives the server's words.
func (r *Refusal) Error() string {
	if r.Answer == "" {
		return fmt.Sprintf("it does not offer TLS over %s", r.Protocol)
	}
	return fmt.Sprintf("it refuses TLS over %s: %s", r.Protocol, r.Answer)
}

// ErrProtocol is beneath every error about an answer that is none of the protocol.
var ErrProtocol = errors.New("the answer breaks the protocol")

// Begin speaks p on conn until the server has agreed that TLS begins, and returns its greeting, printable and on one
// line. host is the server's name, which XMPP has to say, and own is how SMTP introduces us. The error is a *Refusal,
// wraps ErrProtocol, or is conn's own.
func Begin(conn io.ReadWriter, p Protocol, host, own string) (greeting string, err error) {
	talk, known := dialogues[p]
	if !known {
		return "", fmt.Errorf("no dialogue for protocol %q", p)
	}
	d := &dialogue{protocol: p, w: conn, r: bufio.NewReaderSize(conn, lineLimit), host: host, own: own}
	if err := talk(d); err != nil {
		return d.greeting, err
	}
	if n := d.r.Buffered(); n > 0 {
		return d.greeting, fmt.Errorf("%w: %d bytes came in clear behind the agreement to begin TLS", ErrProtocol, n)
	}
	return d.greeting, nil
}

// What a server may say.
const (
	lineLimit  = 4096     // bytes of a line
	linesLimit = 200      // lines of an answer
	xmlLimit   = 64 << 10 // bytes of a stream before TLS
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

// broken is an error about an answer; what it quotes is made printable.
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
		return "", broken("a line is longer than %d bytes", lineLimit)
	case errors.Is(err, io.EOF) && len(raw) > 0:
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// printable is text fit for one line of a report.
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
