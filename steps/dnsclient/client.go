// Package dnsclient queries DNS servers, and reports exactly what they answered or why there is no answer (RFC 1035).
//
// It supports UDP, TCP, TLS (RFC 7858) and HTTPS (RFC 8484), the configured resolver or any named server, with or
// without recursion. It keeps no state between questions: each has its own connection, so that the timing is that of a
// client without a cache. Validate checks signatures from a trust anchor down (RFC 4035) and does not trust a
// resolver's AD bit. A lost packet is repeated, and the Answer says so.
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

	"github.com/stepwatch/stepwatch/steps/wording"
)

// Client is the configuration of queries. The zero value queries the machine's resolver. Queries do not change a
// Client, so any number of goroutines may use it.
type Client struct {
	Resolver  string                              // "host:port" for questions without a Server; empty means the resolvers in /etc/resolv.conf
	Roots     func() (*x509.CertPool, error)      // trusted roots for TLS and HTTPS; nil means the machine's
	ConnectTo map[string]string                   // maps a "host:port" to the one to connect to; names in certificates stay
	Limit     time.Duration                       // for one question with all repetitions; zero means 10 s
	Trace     func(phase string, d time.Duration) // is called at the end of each phase (dns, connect, tls, exchange), also if it failed; may be nil
}

const (
	defaultLimit = 10 * time.Second
	machineFile  = "/etc/resolv.conf"
)

// Transport is the transport protocol of a question.
type Transport string

// The transports. Auto works like a resolver: UDP, and TCP if the answer does not fit (RFC 7766 section 5).
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

// Family limits the addresses of a server to one address family.
type Family string

// The families. AnyFamily uses all addresses in the resolver's order.
const (
	AnyFamily Family = ""
	IPv4      Family = "ip4"
	IPv6      Family = "ip6"
)

// Question is a query: what to ask, which server, and how.
type Question struct {
	Name      string // absolute, with or without the final dot; international names in either form
	Type      uint16 // dns.TypeMX
	Server    string // host or address, with or without a port, or the URL of a server over HTTPS; empty means the resolver
	Transport Transport
	Family    Family

	DNSSEC      bool // requests signatures too (the DO bit)
	Unchecked   bool // requests answers that the resolver cannot validate too (the CD bit)
	NoRecursion bool // requests only the server's own data (the RD bit is off)
}

// String returns the subject of the question: the MX of "example.org".
func (q Question) String() string {
	return fmt.Sprintf("the %s of %q", TypeName(q.Type), strings.TrimSuffix(q.Name, "."))
}

// Answer is a server's answer.
type Answer struct {
	Question Question

	Rcode              int // dns.RcodeSuccess
	Authoritative      bool
	Authenticated      bool     // the AD bit: the resolver says that it validated the answer
	RecursionAvailable bool     // the RA bit
	Truncated          bool     // the answer did not fit; never true after a repetition over TCP
	Records            []dns.RR // of the answer section
	Authority          []dns.RR
	Additional         []dns.RR // without the OPT pseudo record
	Extra              string   // the server's explanation of a failure (RFC 8914), or empty

	Server     string        // the address that answered, "192.0.2.53:53"
	Transport  Transport     // the transport used: never Auto
	Duration   time.Duration // from the first packet to the answer, without connect and TLS
	Size       int           // of the message in bytes
	Sent       int           // how often the question was sent over UDP until the answer; 1 if nothing was lost
	Unanswered []error       // errors of servers or addresses that were tried before and did not answer
}

// Kind says why a question has no usable answer.
type Kind string

// The kinds.
const (
	NoName    Kind = "no_name"   // NXDOMAIN: the name does not exist
	NoData    Kind = "no_data"   // the name exists but has no record of this type
	ServFail  Kind = "servfail"  // SERVFAIL: the server could not find out
	Refused   Kind = "refused"   // REFUSED: the server does not answer us
	OtherCode Kind = "rcode"     // any other response code
	Truncated Kind = "truncated" // the answer is not complete
	Timeout   Kind = "timeout"   // no answer in time
	Protocol  Kind = "protocol"  // the reply is not an answer to the question
	TooLarge  Kind = "too_large" // the answer exceeds a limit
	Network   Kind = "network"   // no connection, or no TLS
	Asked     Kind = "asked"     // the question is invalid: its name, server or setting
)

// Error says why a question has no usable answer. It wraps the network error, if there is one.
type Error struct {
	Kind     Kind
	Question Question
	Server   string // "host:port" or a URL, as asked
	Detail   string // one line for an operator, without the question
	Err      error  // may be nil
}

// Error returns the act, the object and the detail on one line.
func (e *Error) Error() string { return e.Act() + ": " + e.detail() }

func (e *Error) detail() string {
	if e.Detail == "" && e.Err != nil {
		return e.Err.Error()
	}
	return e.Detail
}

// Act returns what was attempted: ask 192.0.2.53:53 for the MX of "example.org".
func (e *Error) Act() string {
	if e.Server == "" {
		return "ask for " + e.Question.String()
	}
	return fmt.Sprintf("ask %s for %s", e.Server, e.Question)
}

// Unwrap returns the error of the network, TLS or the deadline.
func (e *Error) Unwrap() error { return e.Err }

// IsAbsent reports whether err means that the record certainly does not exist: the name or the type is absent. It
// returns false for errors that leave this open (SERVFAIL, a timeout), which must never be treated as absence.
func IsAbsent(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && (e.Kind == NoName || e.Kind == NoData)
}

// TypeName returns the name of a type: "MX", "TYPE65400".
func TypeName(kind uint16) string {
	if name, known := dns.TypeToString[kind]; known {
		return name
	}
	return "TYPE" + strconv.Itoa(int(kind))
}

// ParseType parses the name of a type, in either case, also "TYPE65400" (RFC 3597). It rejects types of questions (ANY,
// AXFR) and pseudo records.
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

// RcodeName returns the name of a response code: "NXDOMAIN".
func RcodeName(rcode int) string {
	if name, known := dns.RcodeToString[rcode]; known {
		return name
	}
	return "RCODE" + strconv.Itoa(rcode)
}

// longestName is the length above which a name cannot be one, in bytes: 253 characters of up to four bytes. The conversion to
// ASCII takes quadratic time.
const longestName = 4 * 253

// Fqdn returns a name in wire form: absolute, and international names in ASCII (RFC 5891).
func Fqdn(name string) (string, error) {
	if len(name) > longestName {
		return "", fmt.Errorf("%q… is not a domain name: it has %d bytes", name[:40], len(name))
	}
	absolute := dns.Fqdn(name)
	for i := range len(name) {
		if name[i] < 0x80 {
			continue
		}
		ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
		if err != nil {
			return "", fmt.Errorf("%q is not a domain name: %s", name, wording.Library(err.Error()))
		}
		absolute = dns.Fqdn(ascii)
		break
	}
	if _, ok := dns.IsDomainName(absolute); !ok || name == "" {
		return "", fmt.Errorf("%q is not a domain name", name)
	}
	return absolute, nil
}

// Ask sends one question and returns the server's answer, whatever it is; see Find. The error is an *Error and means
// that there is no answer at all.
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
	query.AuthenticatedData = true // requests the AD bit in the answer (RFC 6840 section 5.7)
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

// Find is Ask for callers that need records: it also returns an *Error if the answer has no record of the requested
// type, or is not complete.
func (c *Client) Find(ctx context.Context, q Question) (*Answer, error) {
	answer, err := c.Ask(ctx, q)
	if err != nil {
		return nil, err
	}
	return answer, answer.Trouble()
}

// Trouble returns nil if the answer has records of the requested type, and an *Error otherwise.
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
		e.Kind, e.Detail = NoData, fmt.Sprintf("a referral to the name servers of %s instead of an answer: this server is not one of them", a.Referral())
	default:
		e.Kind, e.Detail = NoData, fmt.Sprintf("the name exists but has no %s record", TypeName(a.Question.Type))
		if alias := a.alias(); !strings.EqualFold(alias, a.name()) {
			e.Detail = fmt.Sprintf("the name is an alias of %s, but the answer has no %s record for it", strings.TrimSuffix(alias, "."), TypeName(a.Question.Type))
		}
	}
	if a.Extra != "" {
		e.Detail += " (" + a.Extra + ")"
	}
	return e
}

// Referral returns the zone of a referral to other name servers, or an empty string.
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
	name, _ := Fqdn(a.Question.Name) // Ask has already accepted it
	return name
}

// alias follows the CNAME records of the answer from the requested name to the last one.
func (a *Answer) alias() string {
	name := a.name()
	if a.Question.Type == dns.TypeCNAME {
		return name
	}
	var targets map[string]string // of each alias
	for _, rr := range a.Records {
		if alias, is := rr.(*dns.CNAME); is {
			if targets == nil {
				targets = make(map[string]string)
			}
			targets[strings.ToLower(alias.Hdr.Name)] = alias.Target
		}
	}
	for range targets { // so that a loop ends
		next, found := targets[strings.ToLower(name)]
		if !found {
			break
		}
		name = next
	}
	return name
}

// Found returns the records that answer the question: of the requested type, and of the name or its alias target.
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

// share returns ctx with an n-th of the remaining time.
func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok && n > 1 {
		return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
	}
	return ctx, func() {}
}

// endpoint is a server as configured.
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

// servers returns the servers for a question, in order: one, or all in /etc/resolv.conf.
func (c *Client) servers(q Question) ([]endpoint, error) {
	name := q.Server
	if name == "" {
		name = c.Resolver
		if host, port, err := net.SplitHostPort(name); err == nil && port == Auto.port() {
			name = net.JoinHostPort(host, q.Transport.port()) // TLS has another port on the same server
		}
	}
	if name != "" {
		server, err := parseServer(name, q.Transport)
		return []endpoint{server}, err
	}
	machine, err := dns.ClientConfigFromFile(machineFile)
	if err != nil {
		return nil, fmt.Errorf("read %s to find the resolver: %w; set resolver in stepwatch.yml", machineFile, err)
	}
	if len(machine.Servers) == 0 {
		return nil, fmt.Errorf("%s has no resolver: set resolver in stepwatch.yml", machineFile)
	}
	const most = 3 // as in the C library (resolv.conf(5))
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

// parseServer parses a host or address, with or without a port. Over HTTPS it may be a URL, with the default path
// /dns-query.
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
			return endpoint{}, fmt.Errorf("%q is not a name server: write a host or an address, with :port unless it is %s", name, transport.port())
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
		return endpoint{}, fmt.Errorf("%q is not a name server over HTTPS: write a host or a URL such as https://dns.example.org/dns-query", name)
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
