package starttls

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// script is a server with fixed answers. It keeps the client's commands.
type script struct {
	io.Reader
	bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// oneByOne returns one byte at a time, so that nothing is read ahead. Data after the agreement stays unread, as when it
// comes in a later packet.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return o.r.Read(p[:1])
}

// mysqlHello returns a server's first packet with these capabilities.
func mysqlHello(capabilities uint16) string {
	packet := "\x0a10.11.6-MariaDB\x00" + strings.Repeat("i", 4) + strings.Repeat("c", 8) + "\x00"
	packet = string(binary.LittleEndian.AppendUint16([]byte(packet), capabilities)) + strings.Repeat("\x00", 20)
	return string([]byte{byte(len(packet)), 0, 0, 0}) + packet
}

const (
	xmppOpen  = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='chat.example.org' version='1.0'>`
	xmppOffer = `<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>`
	xmppGo    = `<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`
)

var dialogueCases = []struct {
	name     string
	protocol Protocol
	server   string
	said     string // by the client; compared when not empty
	greeting string
	want     string // the error; empty for none
}{
	{"SMTP", SMTP, "220-hello\r\n220 mail ESMTP\r\n250-mail\r\n250-SIZE 1\r\n250 STARTTLS\r\n220 go\r\n", "EHLO me.test\r\nSTARTTLS\r\n", "220 hello mail ESMTP", ""},
	{"LMTP", LMTP, "220 store LMTP\r\n250-store\r\n250 starttls\r\n220 2.0.0 OK\r\n", "LHLO me.test\r\nSTARTTLS\r\n", "220 store LMTP", ""},
	{"SMTP without it", SMTP, "220 x\r\n250-x\r\n250 SIZE 1\r\n", "", "220 x", "it does not offer TLS over SMTP"},
	{"SMTP with STARTTLS as another word", SMTP, "220 x\r\n250-STARTTLS is the name of this host\r\n250 SIZE\r\n", "", "220 x", "it does not offer TLS over SMTP"},
	{"SMTP that refuses the connection", SMTP, "554 5.7.1 go away\r\n", "", "", "it refuses TLS over SMTP: 554 5.7.1 go away"},
	{"SMTP that offers and then refuses", SMTP, "220 x\r\n250-x\r\n250 STARTTLS\r\n454 4.7.0 TLS not available\r\n", "", "220 x", "it refuses TLS over SMTP: 454 4.7.0 TLS not available"},
	{"SMTP without codes", SMTP, "hello\r\n", "", "", `the answer violates the protocol: "hello" does not begin with a code`},
	{"SMTP with two codes", SMTP, "220-a\r\n250 b\r\n", "", "", "the answer violates the protocol: the codes 220 and 250 in one answer"},
	{"SMTP that ends", SMTP, "220 x\r\n25", "", "220 x", "unexpected EOF"},
	{"SMTP with an endless line", SMTP, strings.Repeat("2", 1<<16), "", "", "a line before TLS has more than 4096 bytes, the limit"},
	{"SMTP with an endless greeting", SMTP, strings.Repeat("220-x\r\n", 1<<12), "", "", "an answer before TLS has more than 200 lines, the limit"},
	{"SMTP with an injection", SMTP, "220 x\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n250 evil\r\n", "", "220 x", "the answer violates the protocol: 10 bytes arrived in cleartext after the agreement to start TLS"},
	{"IMAP", IMAP, "* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n* noise\r\ns1 OK begin\r\n", "s1 STARTTLS\r\n", "* OK [CAPABILITY IMAP4rev1 STARTTLS] ready", ""},
	{"IMAP that refuses", IMAP, "* OK x\r\ns1 BAD TLS support isn't enabled.\r\n", "", "* OK x", "it refuses TLS over IMAP: BAD TLS support isn't enabled."},
	{"IMAP that says goodbye", IMAP, "* BYE too many connections\r\n", "", "* BYE too many connections", "it refuses TLS over IMAP: too many connections"},
	{"IMAP that says goodbye later", IMAP, "* OK x\r\n* BYE shutting down\r\n", "", "* OK x", "it refuses TLS over IMAP: BYE shutting down"},
	{"IMAP logged in", IMAP, "* PREAUTH x\r\n", "", "* PREAUTH x", "it refuses TLS over IMAP: it greets with PREAUTH, so TLS can never start"},
	{"IMAP that is SMTP", IMAP, "220 x\r\n", "", "220 x", `the answer violates the protocol: "220 x" is not a greeting`},
	{"IMAP with another tag", IMAP, "* OK x\r\nz9 OK\r\n", "", "* OK x", `the answer violates the protocol: "z9 OK" is not an answer`},
	{"IMAP that never answers", IMAP, "* OK x\r\n" + strings.Repeat("* x\r\n", 1<<12), "", "* OK x", "an answer before TLS has more than 200 lines, the limit"},
	{"IMAP with an injection", IMAP, "* OK x\r\ns1 OK\r\n* CAPABILITY\r\n", "", "* OK x", "the answer violates the protocol: 14 bytes arrived in cleartext after the agreement to start TLS"},
	{"POP3", POP3, "+OK Dovecot ready.\r\n+OK Begin TLS\r\n", "STLS\r\n", "+OK Dovecot ready.", ""},
	{"POP3 that refuses", POP3, "+OK\r\n-ERR no\r\n", "", "+OK", "it refuses TLS over POP3: -ERR no"},
	{"not POP3", POP3, "* OK\r\n", "", "", `the answer violates the protocol: "* OK" is not an answer`},
	{"POP3 with an injection", POP3, "+OK\r\n+OK\r\n+OK\r\n", "", "+OK", "the answer violates the protocol: 5 bytes arrived in cleartext after the agreement to start TLS"},
	{"Sieve", Sieve, "\"IMPLEMENTATION\" \"Dovecot Pigeonhole\"\r\n\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\nOK \"ready.\"\r\nOK \"Begin.\"\r\n", "STARTTLS\r\n", "Dovecot Pigeonhole", ""},
	{"Sieve without it", Sieve, "\"SIEVE\" \"fileinto\"\r\nOK\r\n", "", "", "it does not offer TLS over Sieve"},
	{"Sieve that refuses with a literal", Sieve, "\"STARTTLS\"\r\nOK\r\nNO {7+}\r\nnot now\r\n", "", "", "it refuses TLS over Sieve: NO not now"},
	{"Sieve with a huge literal", Sieve, "NO {99999999}\r\n", "", "", "a line before TLS has 99999999 bytes, the limit is 4096"},
	{"not Sieve", Sieve, "220 x\r\n", "", "", `the answer violates the protocol: "220 x" is not an answer`},
	{"Sieve with an injection", Sieve, "\"STARTTLS\"\r\nOK\r\nOK\r\nOK\r\n", "", "", "the answer violates the protocol: 4 bytes arrived in cleartext after the agreement to start TLS"},
	{"FTP", FTP, "220-Welcome\r\n to this server\r\n220 ready\r\n234 Proceed\r\n", "AUTH TLS\r\n", "220 Welcome this server ready", ""},
	{"FTP that refuses", FTP, "220 x\r\n530 Please login\r\n", "", "220 x", "it refuses TLS over FTP: 530 Please login"},
	{"FTP with an injection", FTP, "220 x\r\n234 go\r\n230 in\r\n", "", "220 x", "the answer violates the protocol: 8 bytes arrived in cleartext after the agreement to start TLS"},
	{"LDAP", LDAP, "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", "", ""},
	{"LDAP as Active Directory writes it", LDAP, "\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00", "", "", ""},
	{"LDAP that refuses", LDAP, "\x30\x0f\x02\x01\x01\x78\x0a\x0a\x01\x02\x04\x00\x04\x03bad", "", "", "it refuses TLS over LDAP: result code 2 bad"},
	{"LDAP with a huge element", LDAP, "\x30\x84\x7f\xff\xff\xff", "", "", "a packet before TLS has 2147483647 bytes, the limit is 4096"},
	{"LDAP with an odd length", LDAP, "\x30\x80", "", "", "the answer violates the protocol: a length of 0 bytes"},
	{"not LDAP", LDAP, "220 hello, this is a mail server, and a long greeting\r\n", "", "", "the answer violates the protocol: 0x32 does not begin an LDAP message"},
	{"LDAP with another answer", LDAP, "\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00", "", "", "the answer violates the protocol: 0x65 instead of the extended response of the LDAP message"},
	{"LDAP that ends", LDAP, "\x30\x0c\x02", "", "", "unexpected EOF"},
	{"LDAP that ends inside", LDAP, "\x30\x05\x02\x01\x01\x78\x00", "", "", "the answer violates the protocol: no result code in the LDAP message"},
	{"LDAP with an injection", LDAP, "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00\x30", "", "", "the answer violates the protocol: 1 bytes arrived in cleartext after the agreement to start TLS"},
	{"XMPP", XMPP, xmppOpen + xmppOffer + xmppGo, "", "chat.example.org", ""},
	{"XMPP between servers", XMPPServer, strings.Replace(xmppOpen, "jabber:client", "jabber:server", 1) + xmppOffer + xmppGo, "", "chat.example.org", ""},
	{"XMPP without it", XMPP, xmppOpen + "<stream:features/>", "", "chat.example.org", "it does not offer TLS over XMPP"},
	{"XMPP for another host", XMPP, xmppOpen + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", "", "chat.example.org", "it refuses TLS over XMPP: host-unknown"},
	{"XMPP that fails", XMPP, xmppOpen + xmppOffer + "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "", "chat.example.org", "it refuses TLS over XMPP: failure"},
	{"not XMPP", XMPP, "HTTP/1.1 400 <no>\r\n</x>", "", "", "the answer violates the protocol: it is not XML: line 2: element <no> closed by </x>"},
	{"XMPP without an end", XMPP, xmppOpen + strings.Repeat("<a/>", 1<<15), "", "chat.example.org", "the stream before TLS has more than 65536 bytes, the limit"},
	{"XMPP with an injection", XMPP, xmppOpen + xmppOffer + xmppGo + "<evil/>", "", "chat.example.org", "the answer violates the protocol: 7 bytes arrived in cleartext after the agreement to start TLS"},
	{"PostgreSQL", PostgreSQL, "S", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "", ""},
	{"PostgreSQL without it", PostgreSQL, "N", "", "", "it does not offer TLS over PostgreSQL"},
	{"PostgreSQL with an error", PostgreSQL, "E\x00\x00", "", "", "it refuses TLS over PostgreSQL: it answers with an error: see its log"},
	{"not PostgreSQL", PostgreSQL, "2", "", "", "the answer violates the protocol: '2' is not an answer to SSLRequest"},
	{"PostgreSQL with an injection", PostgreSQL, "SR", "", "", "the answer violates the protocol: 1 bytes arrived in cleartext after the agreement to start TLS"},
	{"MySQL", MySQL, mysqlHello(0xffff), "", "10.11.6-MariaDB", ""},
	{"MySQL without it", MySQL, mysqlHello(0xf7ff), "", "10.11.6-MariaDB", "it does not offer TLS over MySQL"},
	{"MySQL that ends in its packet", MySQL, "\x0c\x00\x00\x00\xff\x6a\x04not you", "", "", "unexpected EOF"},
	{"MySQL with an error", MySQL, "\x0a\x00\x00\x00\xff\x6a\x04not you", "", "", "it refuses TLS over MySQL: error 1130 not you"},
	{"not MySQL", MySQL, "220 hello, this is a mail server", "", "", "a packet before TLS has 3158578 bytes, the limit is 4096"},
	{"MySQL of another version", MySQL, "\x01\x00\x00\x00\x09", "", "", "the answer violates the protocol: the first packet is not of MySQL's protocol 10"},
	{"MySQL that ends early", MySQL, "\x03\x00\x00\x00\x0a5\x00", "", "", "the answer violates the protocol: the first packet ends early"},
	{"MySQL with an injection", MySQL, mysqlHello(0xffff) + "x", "", "10.11.6-MariaDB", "the answer violates the protocol: 1 bytes arrived in cleartext after the agreement to start TLS"},
	{"an unknown protocol", "Gopher", "", "", "", `no dialogue for protocol "Gopher"`},
}

func TestBegin(t *testing.T) {
	for _, c := range dialogueCases {
		t.Run(c.name, func(t *testing.T) {
			s := &script{Reader: strings.NewReader(c.server)}
			greeting, err := Begin(s, c.protocol, "chat.example.org", "me.test")
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want || greeting != c.greeting {
				t.Errorf("got  %q with greeting %q\nwant %q with greeting %q", got, greeting, c.want, c.greeting)
			}
			if c.said != "" && s.String() != c.said {
				t.Errorf("said %q, want %q", s.String(), c.said)
			}
		})
	}
}

// TestNothingIsReadAhead checks that the first byte of TLS is still unread after a dialogue.
func TestNothingIsReadAhead(t *testing.T) {
	for _, c := range dialogueCases {
		if c.want != "" {
			continue
		}
		rest := strings.NewReader(c.server + "\x16")
		if _, err := Begin(&script{Reader: oneByOne{rest}}, c.protocol, "chat.example.org", "me.test"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if rest.Len() != 1 {
			t.Errorf("%s: %d bytes are left, want 1", c.name, rest.Len())
		}
	}
}

func TestXMPPNamesTheHost(t *testing.T) {
	s := &script{Reader: strings.NewReader("")}
	_, err := Begin(s, XMPP, "a'><evil b='", "")
	if !errors.Is(err, io.EOF) || strings.Contains(s.String(), "<evil") {
		t.Errorf("got %v, said %q", err, s.String())
	}
}

func TestNamed(t *testing.T) {
	for _, name := range Names() {
		if p, known := Named(strings.ToLower(name)); !known || string(p) != name {
			t.Errorf("%s: got %s, %t", name, p, known)
		}
	}
	if _, known := Named("Gopher"); known {
		t.Error("Gopher is known")
	}
	if p, known := OnPort(143); !known || p != IMAP {
		t.Errorf("port 143: got %s, %t", p, known)
	}
	if _, known := OnPort(993); known {
		t.Error("port 993 has a dialogue before TLS")
	}
}

// The dialogue cases have an answer for each limit.
func TestLimitsAreMet(t *testing.T) {
	for _, l := range []limit.Limit{lineLimit, linesLimit, packetLimit, xmlLimit} {
		met := false
		for _, c := range dialogueCases {
			met = met || strings.HasPrefix(c.want, l.What+" has ")
		}
		if !met {
			t.Errorf("no case exceeds the limit of %s", l.What)
		}
	}
}

// FuzzBegin checks that every dialogue ends and keeps to its limits, whatever the server sends.
func FuzzBegin(f *testing.F) {
	names := Names()
	for _, c := range dialogueCases {
		for i, name := range names {
			if name == string(c.protocol) {
				f.Add(byte(i), c.server)
			}
		}
	}
	f.Fuzz(func(t *testing.T, protocol byte, server string) {
		s := &script{Reader: strings.NewReader(server)}
		greeting, err := Begin(s, Protocol(names[int(protocol)%len(names)]), "host.test", "me.test")
		if refused := (*Refusal)(nil); err != nil && !errors.As(err, &refused) && !errors.Is(err, ErrProtocol) && !errors.As(err, new(*limit.Error)) &&
			!errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("unknown error %v", err)
		}
		if strings.ContainsAny(greeting, "\r\n\x00") {
			t.Errorf("the greeting %q is not printable", greeting)
		}
	})
}
