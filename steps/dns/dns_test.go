package dns_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

const dnsZone = `
$TTL 300
example.test.           SOA   ns1.example.test. hostmaster.example.test. 7 60 60 60 60
example.test.           NS    ns1.example.test.
example.test.           NS    ns2.example.test.
ns1.example.test.       A     192.0.2.53
ns2.example.test.       A     198.51.100.53
example.test.           A     192.0.2.80
example.test.           AAAA  2001:db8::80
*.example.test.         A     192.0.2.80
example.test.      600  MX    20 mx2.example.test.
example.test.           MX    10 mail.example.test.
example.test.           TXT   "v=spf1 mx" " -all"
example.test.           TXT   "say \"hello\""
example.test.           CAA   0 issue "ca.example.test"
mail.example.test.      AAAA  2001:db8::25
_25._tcp.mail.example.test. TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
odd.example.test.       TYPE65400 \# 4 0a000001
homeless.test.          SOA   ns1.example.test. hostmaster.example.test. 1 60 60 60 60
homeless.test.          NS    ns.homeless.test.
ns.homeless.test.       TXT   "no address"
2.0.192.in-addr.arpa.   SOA   ns1.example.test. hostmaster.example.test. 1 60 60 60 60
25.2.0.192.in-addr.arpa. PTR  mail.example.test.
`

// dnsbed is a zone with two name servers. The first one is also the resolver and serves the zone over TLS and HTTPS.
type dnsbed struct {
	first, second *nameserver.Server
	target        *steps.Target
}

func newDNSbed(t *testing.T) *dnsbed {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	bed := &dnsbed{}
	for _, server := range []**nameserver.Server{&bed.first, &bed.second} {
		s, err := nameserver.Start("127.0.0.1:0", dnsZone)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		*server = s
	}
	ca, err := stepstest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue("dns.example.test")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	overTLS := &dns.Server{Listener: listener, Handler: bed.first}
	done := make(chan error, 1)
	started := make(chan struct{})
	overTLS.NotifyStartedFunc = func() { close(started) }
	go func() { done <- overTLS.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = overTLS.Shutdown(); <-done })
	overHTTPS := httptest.NewUnstartedServer(http.HandlerFunc(bed.overHTTPS))
	overHTTPS.TLS = config.Clone()
	overHTTPS.EnableHTTP2 = true
	overHTTPS.StartTLS()
	t.Cleanup(overHTTPS.Close)
	bed.target = &steps.Target{Resolver: bed.first.Address(), Roots: ca.Roots, ConnectTo: map[string]string{
		"192.0.2.53:53": bed.first.Address(), "198.51.100.53:53": bed.second.Address(), "closed.example.test:53": "127.0.0.1:1",
		"dns.example.test:853": listener.Addr().String(), "other.example.test:853": listener.Addr().String(),
		"dns.example.test:443": overHTTPS.Listener.Addr().String(),
	}}
	return bed
}

func (b *dnsbed) overHTTPS(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, dns.MaxMsgSize))
	query := new(dns.Msg)
	if err != nil || r.URL.Path != "/dns-query" || r.ProtoMajor != 2 || query.Unpack(body) != nil {
		http.Error(w, "no", http.StatusTeapot)
		return
	}
	w.Header().Set("Content-Type", "application/dns-message")
	b.first.ServeDNS(&httpsWriter{to: w}, query)
}

type httpsWriter struct {
	dns.ResponseWriter
	to io.Writer
}

func (w *httpsWriter) RemoteAddr() net.Addr { return &net.TCPAddr{} }

func (w *httpsWriter) Write(b []byte) (int, error) {
	return w.to.Write(b)
}

func (w *httpsWriter) WriteMsg(m *dns.Msg) error {
	packet, err := m.Pack()
	if err == nil {
		_, err = w.to.Write(packet)
	}
	return err
}

func (b *dnsbed) run(t *testing.T, limit time.Duration, text string) *stepstest.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	outcome, err := stepstest.Scenario{Target: b.target}.Run(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func TestDNSPasses(t *testing.T) {
	bed := newDNSbed(t)
	for name, text := range map[string]string{
		"A":              `I look up the A of "example.test"` + "\n" + `the answer is "192.0.2.80"`,
		"AAAA":           `I look up the AAAA of "example.test."` + "\n" + `the answer is "2001:DB8:0::80"`,
		"wildcard":       `I look up the A of "anything.example.test"` + "\n" + `the answer is "192.0.2.80"`,
		"CAA":            `I look up the CAA of "example.test"` + "\n" + `the answer is "0 issue \"ca.example.test\""`,
		"TLSA":           `I look up the TLSA of "_25._tcp.mail.example.test"` + "\n" + `the answer is "3 1 1 0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"`,
		"unknown type":   `I look up the TYPE65400 of "odd.example.test"` + "\n" + `the answer is "\# 4 0A000001"`,
		"PTR":            `I look up the PTR of "192.0.2.25"` + "\n" + `the answer is "mail.example.test"`,
		"TXT":            `I look up the TXT of "example.test"` + "\n" + `the answer contains "v=spf1 mx -all"` + "\n" + `the answer contains 'say "hello"'` + "\n" + `a record of the answer begins with "v=spf1 "`,
		"table":          `I look up the MX of "example.test"` + "\n" + "the answer is:\n| 10 | mail.example.test |\n| 20 | MX2.example.test. |",
		"table within":   `I look up the MX of "example.test"` + "\n" + "the answer contains:\n| 10 mail.example.test |",
		"without":        `I look up the MX of "example.test"` + "\n" + `the answer does not contain "10 mx2.example.test"`,
		"without any":    `I look up the MX of "mail.example.test"` + "\n" + `the answer does not contain "10 mx2.example.test"`,
		"count":          `I look up the MX of "example.test"` + "\n" + `the answer has 2 records`,
		"count one":      `I look up the A of "example.test"` + "\n" + `the answer has 1 record`,
		"count none":     `I look up the A of "mail.example.test"` + "\n" + `the answer has 0 records` + "\n" + `the response code is NOERROR`,
		"absent":         `I look up the A of "absent.homeless.test"` + "\n" + `the name does not exist` + "\n" + `the response code is NXDOMAIN`,
		"TTL":            `I look up the MX of "example.test"` + "\n" + `the TTL is at least 5 minutes` + "\n" + `the TTL is at most 10 minutes` + "\n" + `the TTL is at most 1 day`,
		"name server":    `I look up the SOA of "example.test" at "ns2.example.test" without recursion` + "\n" + `the answer is authoritative`,
		"address":        `I look up the A of "example.test" at "` + bed.second.Address() + `"` + "\n" + `the answer took at most 5s`,
		"UDP":            `I look up the A of "example.test" at "192.0.2.53" over UDP` + "\n" + `the answer is "192.0.2.80"`,
		"TCP":            `I look up the A of "example.test" over TCP and IPv4` + "\n" + `the answer is "192.0.2.80"`,
		"TLS":            `I look up the A of "example.test" at "dns.example.test" over TLS` + "\n" + `the answer is "192.0.2.80"`,
		"HTTPS":          `I look up the A of "example.test" at "dns.example.test" over HTTPS` + "\n" + `the answer is "192.0.2.80"`,
		"HTTPS URL":      `I look up the A of "example.test" at "https://dns.example.test/dns-query" over HTTPS` + "\n" + `the answer is "192.0.2.80"`,
		"IPv4":           `I look up the A of "example.test" at "ns1.example.test" over IPv4 without recursion` + "\n" + `the answer is "192.0.2.80"`,
		"same answer":    `I look up the MX of "example.test"` + "\n" + `all name servers of "example.test" give the same answer`,
		"same serial":    `all name servers of "example.test" have the same serial` + "\n" + `all name servers of "example.test" have the same serial over IPv4`,
		"agree":          `I look up the MX of "example.test"` + "\n" + `"192.0.2.53" and "198.51.100.53" agree`,
		"lookup":         `I lookup "example.test"` + "\n" + `the name should resolve to "192.0.2.80"` + "\n" + `the name should resolve to "2001:db8::80"`,
		"reverse lookup": `I reverse lookup "192.0.2.25"` + "\n" + `the IP should resolve to "MAIL.example.test"`,
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "IPv4") || name == "name server" {
				// The name server's address does not exist here, so connect_to maps its name.
				bed.target.ConnectTo["ns1.example.test:53"], bed.target.ConnectTo["ns2.example.test:53"] = bed.first.Address(), bed.second.Address()
			}
			fixture.Passed(t, bed.run(t, 5*time.Second, text))
		})
	}
}

func TestDNSFails(t *testing.T) {
	bed := newDNSbed(t)
	at := strings.ReplaceAll(bed.first.Address(), ".", `\.`)
	const mx = `I look up the MX of "example.test"` + "\n"
	for _, test := range []struct {
		name, text   string
		fault, other nameserver.Fault
		want         string
	}{
		{name: "another record", text: mx + `the answer is "10 mail.example.test"`,
			want: `unexpected dns: the MX of "example\.test" at ` + at + ` is "20 mx2\.example\.test\.", "10 mail\.example\.test\.", want "10 mail\.example\.test"`},
		{name: "another table", text: mx + "the answer is:\n| 10 | mail.example.test |\n| 30 | mx2.example.test |",
			want: `unexpected dns: the MX of "example\.test" at ` + at + ` is "20 mx2\.example\.test\.", "10 mail\.example\.test\.", want "10 mail\.example\.test", "30 mx2\.example\.test"`},
		{name: "twice is not once", text: mx + "the answer is:\n| 10 mail.example.test |\n| 10 mail.example.test |",
			want: `unexpected dns: the MX of "example\.test" at ` + at + ` is .*, want "10 mail\.example\.test", "10 mail\.example\.test"`},
		{name: "no table", text: mx + "the answer is:", want: `scenario scenario: the step needs a table below it, with one record in each row`},
		{name: "missing", text: mx + "the answer contains:\n| 10 mail.example.test |\n| 5 x.example.test |",
			want: `unexpected dns: the MX of "example\.test" at ` + at + ` is .*, without "5 x\.example\.test"`},
		{name: "there", text: mx + `the answer does not contain "10 mail.example.test"`,
			want: `unexpected dns: the MX of "example\.test" at ` + at + ` is .*, want it without "10 mail\.example\.test"`},
		{name: "begins", text: mx + `a record of the answer begins with "v=spf1"`,
			want: `unexpected dns: the MX of "example\.test" at ` + at + ` is .*, want one that begins with "v=spf1"`},
		{name: "count", text: mx + `the answer has 3 records`, want: `unexpected dns: the MX of "example\.test" at ` + at + ` has 2 records, want 3: .*`},
		{name: "no record is written so", text: mx + `the answer is "mail.example.test"`, want: `scenario scenario: "mail\.example\.test" is not a record of type MX: write it as in a zone file`},
		{name: "no type", text: `I look up the AB of "example.test"`, want: `scenario scenario: AB is not a record type: write one as A, AAAA, MX or TXT`},
		{name: "no answer before", text: `the answer is authoritative`, want: `scenario scenario: nothing has been looked up: write a step I look up the … of "…" before this one`},
		{name: "no such name", text: `I look up the A of "absent.homeless.test"` + "\n" + `the answer is "192.0.2.80"`,
			want: `dns dns: ask ` + at + ` for the A of "absent\.homeless\.test": NXDOMAIN: the name does not exist`},
		{name: "no such record", text: `I look up the A of "mail.example.test"` + "\n" + `the TTL is at least 1s`,
			want: `dns dns: ask ` + at + ` for the A of "mail\.example\.test": the name exists but has no A record`},
		{name: "none of no name", text: `I look up the A of "absent.homeless.test"` + "\n" + `the answer has 0 records`, want: `dns dns: .*NXDOMAIN.*`},
		{name: "it exists", text: mx + `the name does not exist`, want: `unexpected dns: the MX of "example\.test" at ` + at + ` is NOERROR: "20 mx2\.example\.test\.", .*; want NXDOMAIN`},
		{name: "it exists without", text: `I look up the A of "mail.example.test"` + "\n" + `the name does not exist`,
			want: `unexpected dns: the A of "mail\.example\.test" at ` + at + ` is NOERROR: the name exists but has no A record; want NXDOMAIN`},
		{name: "code", text: mx + `the response code is REFUSED`, want: `unexpected dns: the MX of "example\.test" at ` + at + ` is NOERROR: .*; want REFUSED`},
		{name: "no code", text: mx + `the response code is FINE`, want: `scenario scenario: there is no response code FINE: the usual ones are .*`},
		{name: "TTL too low", text: mx + `the TTL is at least 6 minutes`, want: `unexpected dns: the MX of "example\.test" at ` + at + ` has a TTL of 5m0s, want at least 6m0s`},
		{name: "TTL too high", text: mx + `the TTL is at most 5 minutes`, want: `unexpected dns: the MX of "example\.test" at ` + at + ` has a TTL of 10m0s, want at most 5m0s`},
		{name: "whole", text: mx + `the answer is truncated`, want: `unexpected dns: the MX of "example\.test" at ` + at + ` is complete \(\d+ bytes\), want it truncated`},

		{name: "SERVFAIL", fault: rcode(dns.RcodeServerFailure), text: mx + `the answer has 2 records`, want: `dns dns: ask ` + at + ` for the MX of "example\.test": SERVFAIL: the server could not find out`},
		{name: "SERVFAIL is no absence", fault: rcode(dns.RcodeServerFailure), text: mx + `the answer does not contain "10 x.example.test"`, want: `dns dns: .*SERVFAIL: the server could not find out`},
		{name: "SERVFAIL is not zero", fault: rcode(dns.RcodeServerFailure), text: mx + `the answer has 0 records`, want: `dns dns: .*SERVFAIL: the server could not find out`},
		{name: "REFUSED", fault: rcode(dns.RcodeRefused), text: mx + `the answer has 2 records`, want: `dns dns: .* for the MX of "example\.test": REFUSED: the server does not answer this machine, or not for this name`},
		{name: "silent", fault: nameserver.Silent, text: mx, want: `timeout dns: ask ` + at + ` for the MX of "example\.test": no answer in time, sent once over UDP`},
		{name: "slow", fault: nameserver.Slow(60 * time.Millisecond), text: mx + `the answer took at most 50 ms`, want: `slow dns: the MX of "example\.test" at ` + at + ` took \d+ms, want at most 50ms`},
		{name: "wrong id", fault: nameserver.WrongID, text: mx,
			want: `protocol dns: ask ` + at + ` for the MX of "example\.test": no answer in time, sent once over UDP; ignored replies: 1: the reply has the id \d+, want \d+ as in the question`},
		{name: "garbage", fault: nameserver.Garbage, text: mx, want: `protocol dns: ask ` + at + ` for .*; ignored replies: 1: the reply \(37 bytes\) is not a DNS message \(RFC 1035 section 4\)`},
		{name: "garbage over TCP", fault: nameserver.Garbage, text: `I look up the MX of "example.test" over TCP`, want: `protocol dns: ask ` + at + ` for .*: the reply \(37 bytes\) is not a DNS message \(RFC 1035 section 4\)`},
		{name: "truncated over UDP", fault: nameserver.Truncating, text: `I look up the MX of "example.test" over UDP` + "\n" + `the answer does not contain "10 x.example.test"`,
			want: `protocol dns: ask ` + at + ` for the MX of "example\.test": the answer is truncated: it does not fit into 1232 bytes over UDP; ask over TCP`},
		{name: "lame", fault: nameserver.Lame, text: mx + `the answer is "10 mail.example.test"`,
			want: `dns dns: ask ` + at + ` for the MX of "example\.test": a referral to the name servers of \. instead of an answer: this server is not one of them`},
		{name: "lame is not zero", fault: nameserver.Lame, text: mx + `the answer has 0 records`, want: `dns dns: .* a referral to .* instead of an answer.*`},
		{name: "from a cache", fault: cached, text: mx + `the answer is authoritative`,
			want: `unexpected dns: the MX of "example\.test" at ` + at + ` is not authoritative: the server has it from another server, or is not set up for the zone`},

		{name: "closed", text: `I look up the A of "example.test" at "closed.example.test"`, want: `connect dns: ask closed\.example\.test:53 \(at 127\.0\.0\.1:1\) for the A of "example\.test": connection refused: nothing listens on that port`},
		{name: "no such server", text: `I look up the A of "example.test" at "absent.homeless.test"`, want: `dns dns: ask absent\.homeless\.test:53 for the A of "example\.test": "absent\.homeless\.test" does not resolve: .*`},
		{name: "no IPv6", text: `I look up the A of "example.test" at "ns1.example.test" over IPv6`, want: `dns dns: ask ns1\.example\.test:53 for the A of "example\.test": "ns1\.example\.test" does not resolve: it has no IPv6 address`},
		{name: "other certificate", text: `I look up the A of "example.test" at "other.example.test" over TLS`, want: `certificate_host dns: ask other\.example\.test:853 .*`},
		{name: "HTTPS elsewhere", text: `I look up the A of "example.test" at "https://dns.example.test/elsewhere" over HTTPS`,
			want: `protocol dns: ask https://dns\.example\.test/elsewhere .*: the server answered HTTP 418 with the media type "text/plain; charset=utf-8", want 200 with "application/dns-message"`},
		{name: "no server", text: `I look up the A of "example.test" at "http://x"`, want: `scenario scenario: ask http://x for the A of "example\.test": "http://x" is not a name server: write a host or an address, with :port unless it is 53`},

		{name: "the second differs", other: without10, text: mx + `all name servers of "example.test" give the same answer`,
			want: `unexpected dns: the servers differ on the MX of "example\.test": ns1\.example\.test \(192\.0\.2\.53\) says "20 mx2\.example\.test\.", "10 mail\.example\.test\."; ns2\.example\.test \(198\.51\.100\.53\) says "20 mx2\.example\.test\."`},
		{name: "the second has another serial", other: nextSerial, text: `all name servers of "example.test" have the same serial`,
			want: `unexpected dns: the servers differ on the SOA of "example\.test": ns1\.example\.test \(192\.0\.2\.53\) says serial 7; ns2\.example\.test \(198\.51\.100\.53\) says serial 8`},
		{name: "the second is lame", other: nameserver.Lame, text: `all name servers of "example.test" have the same serial`,
			want: `dns dns: 1 of 2 servers: ns2\.example\.test \(198\.51\.100\.53\): .*: a referral to the name servers of \. instead of an answer: this server is not one of them`},
		{name: "the second is a cache", other: cached, text: `all name servers of "example.test" have the same serial`,
			want: `unexpected dns: 1 of 2 servers: ns2\.example\.test .*is not authoritative: the server has it from another server, or is not set up for the zone`},
		{name: "the second is silent", other: nameserver.Silent, text: `all name servers of "example.test" have the same serial`, want: `timeout dns: 1 of 2 servers: ns2\.example\.test \(198\.51\.100\.53\): .* no answer in time, .*`},
		{name: "the second cannot find out", other: rcode(dns.RcodeServerFailure), text: mx + `all name servers of "example.test" give the same answer`, want: `dns dns: 1 of 2 servers: ns2\.example\.test .*SERVFAIL.*`},
		{name: "no name server has IPv6", text: `all name servers of "example.test" have the same serial over IPv6`, want: `dns dns: no name server of "example\.test" has an IPv6 address`},
		{name: "a name server has no address", text: `all name servers of "homeless.test" have the same serial`,
			want: `dns dns: the name servers of "homeless\.test" do not all have an address: ask .* "ns\.homeless\.test": the name exists but has no AAAA record`},
		{name: "no zone", text: `all name servers of "absent.homeless.test" have the same serial`, want: `dns dns: ask .* for the NS of "absent\.homeless\.test": NXDOMAIN: the name does not exist`},
		{name: "another zone", text: mx + `all name servers of "homeless.test" give the same answer`, want: `scenario scenario: the MX of "example\.test" is not in the zone "homeless\.test": look up a name of the zone before this step`},
		{name: "disagree", other: without10, text: mx + `"192.0.2.53" and "198.51.100.53" agree`, want: `unexpected dns: the servers differ on the MX of "example\.test": 192\.0\.2\.53 says .*; 198\.51\.100\.53 says "20 mx2\.example\.test\."`},
		{name: "neither answers", fault: nil, other: nameserver.Silent, text: mx + `"198.51.100.53" and "closed.example.test" agree`, want: `timeout dns: 2 of 2 servers: 198\.51\.100\.53: .*; closed\.example\.test: .*connection refused.*`},

		{name: "lookup of nothing", text: `I lookup "absent.homeless.test"`, want: `dns dns: .*NXDOMAIN: the name does not exist`},
		{name: "lookup of another", text: `I lookup "example.test"` + "\n" + `the name should resolve to "192.0.2.1"`, want: `unexpected dns: it resolves to 192\.0\.2\.80, 2001:db8::80, want 192\.0\.2\.1`},
		{name: "reverse lookup of nothing", text: `I reverse lookup "192.0.2.99"`, want: `dns dns: .* for the PTR of "99\.2\.0\.192\.in-addr\.arpa": NXDOMAIN: the name does not exist`},
		{name: "reverse lookup of another", text: `I reverse lookup "192.0.2.25"` + "\n" + `the IP should resolve to "www.example.test"`, want: `unexpected dns: it resolves to mail\.example\.test, want www\.example\.test`},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed.first.Misbehave(test.fault)
			bed.second.Misbehave(test.other)
			limit := 10 * time.Second
			if strings.Contains(test.want, "in time") || strings.HasPrefix(test.want, "timeout") || strings.Contains(test.want, "ignored replies") {
				limit = 400 * time.Millisecond
			}
			fixture.FailedAs(t, bed.run(t, limit, test.text), test.want)
		})
	}
}

func rcode(code int) nameserver.Fault {
	return func(_, reply *dns.Msg, _ bool) [][]byte {
		reply.Rcode, reply.Answer = code, nil
		return packed(reply)
	}
}

func packed(m *dns.Msg) [][]byte {
	packet, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return [][]byte{packet}
}

// cached answers as a server that is not a name server of the zone and has a cached answer.
func cached(_, reply *dns.Msg, _ bool) [][]byte {
	reply.Authoritative = false
	return packed(reply)
}

func without10(_, reply *dns.Msg, _ bool) [][]byte {
	reply.Answer = reply.Answer[:1]
	return packed(reply)
}

func nextSerial(_, reply *dns.Msg, _ bool) [][]byte {
	reply.Answer[0].(*dns.SOA).Serial++
	return packed(reply)
}

// The answer is reported whatever the next step decides, and so is any trouble before it.
func TestDNSReports(t *testing.T) {
	bed := newDNSbed(t)
	measured := func(o *stepstest.Outcome, name string) float64 {
		for _, m := range o.Steps[0].Report.Measurements {
			if m.Name == name {
				return m.Value
			}
		}
		return -1
	}
	outcome := bed.run(t, 5*time.Second, `I look up the MX of "example.test"`+"\n"+`the answer has 3 records`)
	if got := outcome.Steps[0].Report; got.Note != `"20 mx2.example.test.", "10 mail.example.test."` || len(got.Phases) != 1 || got.Phases[0].Name != "exchange" {
		t.Errorf("got %+v", got)
	}
	for name, want := range map[string]float64{"dns_answer_records": 2, "dns_answer_ttl_seconds": 300, "dns_questions_repeated": 0, "dns_servers_unanswered": 0} {
		if got := measured(outcome, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if evidence := outcome.Steps[1].Report.Evidence; len(evidence) != 0 && !strings.Contains(string(evidence[0].Body), "mx2.example.test.") {
		t.Errorf("got %s", evidence[0].Body)
	}
	bed.first.Misbehave(nameserver.Losing(1))
	outcome = bed.run(t, 5*time.Second, `I look up the SOA of "example.test"`)
	fixture.Passed(t, outcome)
	if note := outcome.Steps[0].Report.Note; !strings.HasSuffix(note, "; sent 2 times over UDP: a packet was lost or the answer was late") || measured(outcome, "dns_questions_repeated") != 1 || measured(outcome, "dns_soa_serial") != 7 {
		t.Errorf("got %s, %+v", note, outcome.Steps[0].Report.Measurements)
	}
	bed.first.Misbehave(nil)
	outcome = bed.run(t, 5*time.Second, `I look up the A of "absent.homeless.test"`)
	fixture.Passed(t, outcome)
	if got := measured(outcome, "dns_answer_ttl_seconds"); got != -1 || measured(outcome, "dns_answer_records") != 0 {
		t.Errorf("an answer without records has a TTL of %v", got)
	}
	outcome = bed.run(t, 5*time.Second, `I look up the A of "example.test" at "dns.example.test" over TLS`)
	fixture.Passed(t, outcome)
	names := ""
	for _, phase := range outcome.Steps[0].Report.Phases {
		names += phase.Name + " "
	}
	if names != "connect tls exchange " {
		t.Errorf("phases over TLS: %s", names)
	}
}

func TestDNSSignatures(t *testing.T) {
	signer, err := nameserver.NewSigner("example.test.")
	if err != nil {
		t.Fatal(err)
	}
	server, err := nameserver.Start("127.0.0.1:0", dnsZone+signer.Key("example.test.").String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	bed := &dnsbed{target: (&steps.Target{Resolver: server.Address()}).Set(dnsclient.Anchors{signer.Key("example.test.")})}
	at := strings.ReplaceAll(server.Address(), ".", `\.`)
	const mx = `I look up the MX of "example.test"` + "\n"
	server.Misbehave(signer.Fault)
	fixture.Passed(t, bed.run(t, 5*time.Second, mx+"the answer is signed\nits signature is valid for 71 hours\nits signature is valid for 2 days"))
	fixture.Passed(t, bed.run(t, 5*time.Second, `I look up the AAAA of "ns1.example.test"`+"\nthe answer has 0 records\nthe answer is signed"))

	outcome := bed.run(t, 5*time.Second, mx+"its signature is valid for 4 days")
	fixture.FailedAs(t, outcome, `unexpected dns: the MX of "example\.test" at `+at+` is signed until \d{4}-\d\d-\d\d \d\d:\d\d UTC, for (72h0m0s|71h59m0s), want for 96h0m0s`)
	if m := outcome.Steps[1].Report.Measurements; len(m) != 1 || m[0].Name != "dns_signature_expiry_timestamp_seconds" || m[0].Value != float64(signer.Ends.Unix()) {
		t.Errorf("measured %+v", m)
	}
	fixture.FailedAs(t, bed.run(t, 5*time.Second, mx+"the server says that the answer is signed"),
		`unexpected dns: the MX of "example\.test" at `+at+` has no AD bit: the zone is not signed, or the server does not validate`)
	fixture.FailedAs(t, bed.run(t, 5*time.Second, `I look up the SOA of "homeless.test"`+"\nthe answer is signed"),
		`unexpected dns: the SOA of "homeless\.test" at `+at+` is not validly signed: the parent zone has no DS record for "homeless\.test\.", so its signatures cannot be checked`)

	ended := *signer
	ended.Begins, ended.Ends = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
	server.Misbehave(ended.Fault)
	outcome = bed.run(t, 5*time.Second, mx+"its signature is valid for 1 day")
	fixture.FailedAs(t, outcome, `unexpected dns: the MX of "example\.test" at `+at+` is not validly signed: the signature of the DNSKEY of "example\.test" expired at `+ended.Ends.UTC().Format("2006-01-02 15:04")+` UTC`)

	server.Misbehave(func(query, reply *dns.Msg, udp bool) [][]byte {
		if query.CheckingDisabled {
			return signer.Fault(query, reply, udp)
		}
		reply.Answer[0].(*dns.MX).Mx = "evil.test."
		return packed(reply)
	})
	fixture.FailedAs(t, bed.run(t, 5*time.Second, mx+"the answer is signed"), `unexpected dns: the MX of "example\.test" at `+at+` was "20 evil\.test\.", .*, but the signed answer is "20 mx2\.example\.test\.", .*`)
	server.Misbehave(func(query, reply *dns.Msg, udp bool) [][]byte {
		reply.AuthenticatedData = true
		return signer.Fault(query, reply, udp)
	})
	fixture.Passed(t, bed.run(t, 5*time.Second, mx+"the server says that the answer is signed"))
}
