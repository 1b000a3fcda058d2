// Package dnsclient asks DNS servers, and says exactly what they answered and why there is no answer (RFC 1035).
//
// It asks over UDP, TCP, TLS (RFC 7858) and HTTPS (RFC 8484), at the configured resolver or at any named server, with
// recursion or without. Nothing is kept between questions: each has a connection of its own, so that what is timed is what
// a client without a cache waits for. Validate checks signatures from a trust anchor down (RFC 4035); it believes no
// resolver's word. A lost packet is asked for again, and the Answer says so.
package dnsclient

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// Client knows where to ask. The zero value asks the machine's own resolver. It is not changed by asking, so any number of
// goroutines may use it.
type Client struct {
	Resolver  string                              // "host:port" that questions without a Server go to; empty means those of /etc/resolv.conf
	Roots     func() (*x509.CertPool, error)      // whom to trust over TLS and HTTPS; nil means the machine's own
	ConnectTo map[string]string                   // sends what is for a "host:port" to another one; names in certificates stay
	Limit     time.Duration                       // of one question with all repetitions; zero means 10 s
	Trace     func(phase string, d time.Duration) // is told of the phases dns, connect, tls and exchange as they end, failed ones too; may be nil
}

const (
	defaultLimit = 10 * time.Second
	machineFile  = "/etc/resolv.conf"
)

// Transport is the way that a question takes.
type Transport string

// The transports. Auto is what resolvers do: UDP, and TCP when the answer does not fit (RFC 7766 section 5).
const (
	Auto  Transport = ""
	UDP   Transport = "UDP"
	TCP   Transport = "TCP"
	TLS   Transport = "TLS"
	HTTPS Transport = "HTTPS"
)

func (t Transport) port() string {
	switch t {
	case TLS:
		return "853"
	case HTTPS:
		return "443"
	default:
		return "53"
	}
}

// Family narrows down by which addresses a server is reached.
type Family string

// The families. AnyFamily takes what there is, in the resolver's order.
const (
	AnyFamily Family = ""
	IPv4      Family = "ip4"
	IPv6      Family = "ip6"
)

// Question is what to ask, whom and how.
type Question struct {
	Name      string // absolute, with or without the final dot; international names in either form
	Type      uint16 // dns.TypeMX
	Server    string // host or address, with or without a port, or the URL of a server over HTTPS; empty means the resolver
	Transport Transport
	Family    Family

	DNSSEC      bool // asks for signatures too (the DO bit)
	Unchecked   bool // asks a validating resolver to hand out what it found wrong as well (the CD bit)
	NoRecursion bool // asks for what the server itself knows (the RD bit is off)
}

// String names what is asked: the MX of "example.org".
func (q Question) String() string {
	return fmt.Sprintf("the %s of %q", TypeName(q.Type), strings.TrimSuffix(q.Name, "."))
}

// Answer is what a server said.
type Answer struct {
	Question Question

	Rcode              int // dns.RcodeSuccess
	Authoritative      bool
	Authenticated      bool     // the AD bit: the resolver says that it validated the answer
	RecursionAvailable bool     // the RA bit
	Truncated          bool     // some of it did not fit; never so when it was asked for again over TCP
	Records            []dns.RR // of the answer section
	Authority          []dns.RR
	Additional         []dns.RR // without the OPT pseudo record
	Extra              string   // what the server says of a failure in its own words (RFC 8914), or empty

	Server     string        // the address that answered, "192.0.2.53:53"
	Transport  Transport     // what it came over: never Auto
	Duration   time.Duration // from the first question to the answer, connecting and TLS left out
	Size       int           // of the message in bytes
	Sent       int           // how often the question was sent over UDP until it was answered; 1 when nothing was lost
	Unanswered []error       // the servers or addresses that were asked before this one and gave no answer
}

// Kind says why a question has no answer to work with.
type Kind string

// The kinds.
const (
	NoName    Kind = "no_name"   // NXDOMAIN: the name does not exist
	NoData    Kind = "no_data"   // the name exists and has no record of that type
	ServFail  Kind = "servfail"  // SERVFAIL: the server could not find out
	Refused   Kind = "refused"   // REFUSED: the server does not answer us
	OtherCode Kind = "rcode"     // any other response code
	Truncated Kind = "truncated" // the answer did not come whole
	Timeout   Kind = "timeout"   // nothing came in time
	Protocol  Kind = "protocol"  // what came is no answer to the question
	Network   Kind = "network"   // no connection, or no TLS
	Asked     Kind = "asked"     // the question itself is wrong: no such name, server or setting
)

// Error says why a question has no answer to work with. Beneath it is the error of the network, if there is one.
type Error struct {
	Kind     Kind
	Question Question
	Server   string // "host:port" or a URL, as asked
	Detail   string // one line for an operator, without the question
	Err      error  // may be nil
}

// Error gives the act, the object and the detail on one line.
func (e *Error) Error() string { return e.Act() + ": " + e.detail() }

func (e *Error) detail() string {
	if e.Detail == "" && e.Err != nil {
		return e.Err.Error()
	}
	return e.Detail
}

// Act says what was being done: ask 192.0.2.53:53 for the MX of "example.org".
func (e *Error) Act() string {
	if e.Server == "" {
		return "ask for " + e.Question.String()
	}
	return fmt.Sprintf("ask %s for %s", e.Server, e.Question)
}

// Unwrap gives the error of the network, TLS or the deadline.
func (e *Error) Unwrap() error { return e.Err }

// IsAbsent says whether err means that there is no such record for certain: the name or the type does not exist. It is
// false for everything that leaves that open (SERVFAIL, a timeout), which must never be taken for absence.
func IsAbsent(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && (e.Kind == NoName || e.Kind == NoData)
}

// TypeName is what a type is called: "MX", "TYPE65400".
func TypeName(kind uint16) string {
	if name, known := dns.TypeToString[kind]; known {
		return name
	}
	return "TYPE" + strconv.Itoa(int(kind))
}

// ParseType reads the name of a type, in either case; "TYPE65400" (RFC 3597) too. Types that only a question has (ANY,
// AXFR) and pseudo records are none.
func ParseType(name string) (uint16, bool) {
	name = strings.ToUpper(name)
	if kind, known := dns.StringToType[name]; known {
		switch kind {
		case dns.TypeNone, dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeReserved:
			return 0, false
		}
		return kind, true
	}
	number, found := strings.CutPrefix(name, "TYPE")
	n, err := strconv.ParseUint(number, 10, 16)
	return uint16(n), found && err == nil && n != 0
}

// RcodeName is what a response code is called: "NXDOMAIN".
func RcodeName(rcode int) string {
	if name, known := dns.RcodeToString[rcode]; known {
		return name
	}
	return "RCODE" + strconv.Itoa(rcode)
}

// Fqdn gives a name in the form of the wire: absolute, and an international one in ASCII (RFC 5891).
func Fqdn(name string) (string, error) {
	absolute := dns.Fqdn(name)
	for i := range len(name) {
		if name[i] < 0x80 {
			continue
		}
		ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
		if err != nil {
			return "", fmt.Errorf("%q is no domain name: %w", name, err)
		}
		absolute = dns.Fqdn(ascii)
		break
	}
	if _, ok := dns.IsDomainName(absolute); !ok || name == "" {
		return "", fmt.Errorf("%q is no domain name", name)
	}
	return absolute, nil
}

// Ask asks one question and gives what the server answered, whatever that is; see Find. The error is an *Error: there is
// no answer at all.
func (c *Client) Ask(ctx context.Context, q Question) (*Answer, error) {
	limit := c.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	name, err := Fqdn(q.Name)
	if err != nil {
		return nil, &Error{Kind: Asked, Question: q, Detail: err.Error()}
	}
	query := new(dns.Msg)
	query.SetQuestion(name, q.Type)
	query.RecursionDesired = !q.NoRecursion
	query.CheckingDisabled = q.Unchecked
	query.AuthenticatedData = true // else a resolver does not say whether it validated (RFC 6840 section 5.7)
	query.SetEdns0(udpSize, q.DNSSEC)
	servers, err := c.servers(q)
	if err != nil {
		return nil, &Error{Kind: Asked, Question: q, Server: q.Server, Detail: err.Error()}
	}
	var failed []error
	for i, server := range servers {
		attempt, cancel := share(ctx, len(servers)-i)
		answer, err := c.askServer(attempt, q, query, server)
		cancel()
		if err == nil {
			answer.Unanswered = append(failed, answer.Unanswered...)
			return answer, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed[0]
}

// Find is Ask for those who need records: an answer without any of the type that was asked for is an *Error too, and so
// is one that is not whole.
func (c *Client) Find(ctx context.Context, q Question) (*Answer, error) {
	answer, err := c.Ask(ctx, q)
	if err != nil {
		return nil, err
	}
	return answer, answer.Trouble()
}

// Trouble is nil when the answer holds records of the type that was asked for, and otherwise an *Error.
func (a *Answer) Trouble() error {
	e := &Error{Question: a.Question, Server: a.Server}
	switch {
	case a.Truncated:
		e.Kind, e.Detail = Truncated, fmt.Sprintf("the answer is truncated: it does not fit into %d bytes over UDP; ask over TCP", udpSize)
	case a.Rcode == dns.RcodeNameError:
		e.Kind, e.Detail = NoName, "NXDOMAIN: the name does not exist"
	case a.Rcode == dns.RcodeServerFailure:
		e.Kind, e.Detail = ServFail, "SERVFAIL: the server could not find out"
	case a.Rcode == dns.RcodeRefused:
		e.Kind, e.Detail = Refused, "REFUSED: the server does not answer this machine, or not for this name"
	case a.Rcode != dns.RcodeSuccess:
		e.Kind, e.Detail = OtherCode, "the server answered "+RcodeName(a.Rcode)
	case len(a.Found()) > 0:
		return nil
	case a.Referral() != "":
		e.Kind, e.Detail = NoData, fmt.Sprintf("no answer but a referral to the name servers of %s: this server is not one of them", a.Referral())
	default:
		e.Kind, e.Detail = NoData, fmt.Sprintf("the name exists and has no %s record", TypeName(a.Question.Type))
		if alias := a.alias(); !strings.EqualFold(alias, a.name()) {
			e.Detail = fmt.Sprintf("the name is an alias of %s, and the answer has no %s record of that", strings.TrimSuffix(alias, "."), TypeName(a.Question.Type))
		}
	}
	if a.Extra != "" {
		e.Detail += " (" + a.Extra + ")"
	}
	return e
}

// Referral is the zone whose name servers the answer names instead of an answer, or empty.
func (a *Answer) Referral() string {
	if a.Rcode != dns.RcodeSuccess || a.Authoritative || len(a.Records) > 0 {
		return ""
	}
	zone := ""
	for _, rr := range a.Authority {
		switch rr.Header().Rrtype {
		case dns.TypeSOA:
			return ""
		case dns.TypeNS:
			zone = rr.Header().Name
		}
	}
	return zone
}

func (a *Answer) name() string {
	name, _ := Fqdn(a.Question.Name) // Ask took it already
	return name
}

// alias follows the CNAME records of the answer from the name that was asked for to the last one.
func (a *Answer) alias() string {
	name := a.name()
	for range len(a.Records) { // so that a loop ends
		next := ""
		for _, rr := range a.Records {
			if alias, is := rr.(*dns.CNAME); is && strings.EqualFold(alias.Hdr.Name, name) {
				next = alias.Target
			}
		}
		if next == "" || a.Question.Type == dns.TypeCNAME {
			break
		}
		name = next
	}
	return name
}

// Found gives the records that answer the question: of the type that was asked for, and of the name or what it is an
// alias of.
func (a *Answer) Found() []dns.RR {
	name := a.alias()
	var found []dns.RR
	for _, rr := range a.Records {
		if h := rr.Header(); h.Rrtype == a.Question.Type && h.Class == dns.ClassINET && strings.EqualFold(h.Name, name) {
			found = append(found, rr)
		}
	}
	return found
}

// share is ctx with its share of the time that is left, when n have to do with it.
func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && n > 1 {
		return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
	}
	return ctx, func() {}
}

// endpoint is a server as it was asked for.
type endpoint struct {
	host, port string
	url        string // over HTTPS
}

func (e endpoint) String() string {
	if e.url != "" {
		return e.url
	}
	return net.JoinHostPort(e.host, e.port)
}

// servers gives the servers that a question goes to, in order: one, but with several in /etc/resolv.conf.
func (c *Client) servers(q Question) ([]endpoint, error) {
	name := q.Server
	if name == "" {
		name = c.Resolver
		if host, port, err := net.SplitHostPort(name); err == nil && port == Auto.port() {
			name = net.JoinHostPort(host, q.Transport.port()) // the same server answers over TLS elsewhere
		}
	}
	if name != "" {
		server, err := parseServer(name, q.Transport)
		return []endpoint{server}, err
	}
	machine, err := dns.ClientConfigFromFile(machineFile)
	if err != nil {
		return nil, fmt.Errorf("read %s to learn which resolver to ask: %w; set resolver in stepwatch.yml", machineFile, err)
	}
	if len(machine.Servers) == 0 {
		return nil, fmt.Errorf("%s names no resolver: set resolver in stepwatch.yml", machineFile)
	}
	const most = 3 // as the C library has it (resolv.conf(5))
	servers := make([]endpoint, 0, most)
	for _, address := range machine.Servers[:min(most, len(machine.Servers))] {
		server, err := parseServer(net.JoinHostPort(address, q.Transport.port()), q.Transport)
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// parseServer reads a host or address, with or without a port. Over HTTPS it may be a URL, and its path is /dns-query
// unless it has one.
func parseServer(name string, transport Transport) (endpoint, error) {
	if transport == HTTPS {
		return parseURL(name)
	}
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		host, port = strings.Trim(name, "[]"), transport.port()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if _, isName := dns.IsDomainName(host); host == "" || strings.ContainsAny(host, " /@?#") || !isName || err != nil || n == 0 {
		if _, err := netip.ParseAddr(host); err != nil || n == 0 {
			return endpoint{}, fmt.Errorf("%q is no name server: write a host or an address, with :port when it is not %s", name, transport.port())
		}
	}
	return endpoint{host: host, port: port}, nil
}

func parseURL(name string) (endpoint, error) {
	text := name
	if !strings.Contains(text, "://") {
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is6() {
			text = "[" + text + "]"
		}
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return endpoint{}, fmt.Errorf("%q is no name server over HTTPS: write a host or a URL as https://dns.example.org/dns-query", name)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/dns-query"
	}
	port := u.Port()
	if port == "" {
		port = HTTPS.port()
	}
	return endpoint{host: u.Hostname(), port: port, url: u.String()}, nil
}
