package dnsclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var zone = `
$TTL 300
example.test.          SOA   ns.example.test. hostmaster.example.test. 1 60 60 60 60
example.test.          NS    ns.example.test.
example.test.          A     127.0.0.1
example.test.          AAAA  ::1
example.test.          MX    20 second.example.test.
example.test.          MX    10 mail.example.test.
example.test.          TXT   "v=spf1 " "mx \"quoted\" \\ \200 -all"
mail.example.test.     A     127.0.0.2
www.example.test.      CNAME example.test.
hanging.example.test.  CNAME elsewhere.test.
null.example.test.     MX    0 .
large.example.test.    TXT   ` + strings.Repeat(`"0123456789012345678901234567890123456789" `, 40) + `
0.0.127.in-addr.arpa.  SOA   ns.example.test. hostmaster.example.test. 1 60 60 60 60
2.0.0.127.in-addr.arpa. PTR  mail.example.test.
`

func serve(t *testing.T) (*nameserver.Server, *dnsclient.Client) {
	t.Helper()
	server, err := nameserver.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, &dnsclient.Client{Resolver: server.Address()}
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestAsk(t *testing.T) {
	server, client := serve(t)
	for _, transport := range []dnsclient.Transport{dnsclient.Auto, dnsclient.UDP, dnsclient.TCP} {
		var phases []string
		client.Trace = func(phase string, _ time.Duration) { phases = append(phases, phase) }
		answer, err := client.Ask(within(t, 5*time.Second), dnsclient.Question{Name: "www.example.test", Type: dns.TypeA, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		want, wantPhases := dnsclient.UDP, "exchange"
		if transport == dnsclient.TCP {
			want, wantPhases = dnsclient.TCP, "connect exchange"
		}
		if found := answer.Found(); len(found) != 1 || found[0].(*dns.A).A.String() != "127.0.0.1" || len(answer.Records) != 2 {
			t.Errorf("%s: got %v", transport, answer.Records)
		}
		if answer.Transport != want || answer.Server != server.Address() || !answer.Authoritative || answer.Sent != 1 || answer.Size < 40 || answer.Duration <= 0 || answer.Unanswered != nil {
			t.Errorf("%s: got %+v", transport, answer)
		}
		if got := strings.Join(phases, " "); got != wantPhases {
			t.Errorf("%s: phases %s, want %s", transport, got, wantPhases)
		}
	}
}

func TestLookups(t *testing.T) {
	_, client := serve(t)
	ctx := within(t, 5*time.Second)
	texts, err := client.TXT(ctx, "example.test.")
	if want := "v=spf1 mx \"quoted\" \\ \xc8 -all"; err != nil || len(texts) != 1 || texts[0] != want {
		t.Errorf("TXT: got %q, %v", texts, err)
	}
	hosts, err := client.MX(ctx, "EXAMPLE.test")
	if err != nil || fmt.Sprint(hosts) != "[{10 mail.example.test} {20 second.example.test}]" {
		t.Errorf("MX: got %v, %v", hosts, err)
	}
	if hosts, err = client.MX(ctx, "null.example.test"); err != nil || fmt.Sprint(hosts) != "[{0 }]" {
		t.Errorf("null MX: got %v, %v", hosts, err)
	}
	for family, want := range map[dnsclient.Family]string{dnsclient.AnyFamily: "[127.0.0.1 ::1]", dnsclient.IPv4: "[127.0.0.1]", dnsclient.IPv6: "[::1]"} {
		if addresses, err := client.Addresses(ctx, "www.example.test", family); err != nil || fmt.Sprint(addresses) != want {
			t.Errorf("addresses of %q: got %v, %v", family, addresses, err)
		}
	}
	if names, err := client.PTR(ctx, netip.MustParseAddr("::ffff:127.0.0.2")); err != nil || fmt.Sprint(names) != "[mail.example.test]" {
		t.Errorf("PTR: got %v, %v", names, err)
	}
	large, err := client.TXT(ctx, "large.example.test")
	if err != nil || len(large) != 1 || len(large[0]) != 1600 {
		t.Errorf("a large TXT: got %d of them, %v", len(large), err)
	}
}

func TestTroubles(t *testing.T) {
	server, client := serve(t)
	at := server.Address()
	ask := func(name string, kind uint16) dnsclient.Question { return dnsclient.Question{Name: name, Type: kind} }
	over := func(transport dnsclient.Transport) dnsclient.Question {
		return dnsclient.Question{Name: "example.test", Type: dns.TypeMX, Transport: transport}
	}
	rcode := func(code int) nameserver.Fault {
		return func(_, reply *dns.Msg, _ bool) [][]byte {
			reply.Rcode = code
			reply.SetEdns0(1232, false)
			reply.IsEdns0().Option = append(reply.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus, ExtraText: "no\nSEP"})
			packet, _ := reply.Pack()
			return [][]byte{packet}
		}
	}
	for name, c := range map[string]struct {
		fault    nameserver.Fault
		question dnsclient.Question
		kind     dnsclient.Kind
		want     string
	}{
		"NXDOMAIN":   {nil, ask("absent.example.test", dns.TypeA), dnsclient.NoName, `ask ` + at + ` for the A of "absent.example.test": NXDOMAIN: the name does not exist`},
		"no data":    {nil, ask("mail.example.test", dns.TypeMX), dnsclient.NoData, `ask ` + at + ` for the MX of "mail.example.test": the name exists but has no MX record`},
		"alias":      {nil, ask("hanging.example.test", dns.TypeA), dnsclient.NoData, `ask ` + at + ` for the A of "hanging.example.test": the name is an alias of elsewhere.test, but the answer has no A record for it`},
		"refused":    {nil, ask("elsewhere.test", dns.TypeA), dnsclient.Refused, `ask ` + at + ` for the A of "elsewhere.test": REFUSED: the server does not answer this machine, or not for this name`},
		"SERVFAIL":   {rcode(dns.RcodeServerFailure), over(""), dnsclient.ServFail, `ask ` + at + ` for the MX of "example.test": SERVFAIL: the server could not find out (DNSSEC Bogus: "no\nSEP")`},
		"NOTIMP":     {rcode(dns.RcodeNotImplemented), over(""), dnsclient.OtherCode, `ask ` + at + ` for the MX of "example.test": the server answered NOTIMP (DNSSEC Bogus: "no\nSEP")`},
		"lame":       {nameserver.Lame, over(""), dnsclient.NoData, `ask ` + at + ` for the MX of "example.test": a referral to the name servers of . instead of an answer: this server is not one of them`},
		"truncated":  {nameserver.Truncating, over(dnsclient.UDP), dnsclient.Truncated, `ask ` + at + ` for the MX of "example.test": the answer is truncated: it does not fit into 1232 bytes over UDP; ask over TCP`},
		"silent":     {nameserver.Silent, over(""), dnsclient.Timeout, `ask ` + at + ` for the MX of "example.test": no answer in time, sent once over UDP`},
		"wrong id":   {nameserver.WrongID, over(""), dnsclient.Protocol, ""},
		"garbage":    {nameserver.Garbage, over(""), dnsclient.Protocol, ""},
		"other":      {nameserver.OtherQuestion, over(""), dnsclient.Protocol, `ask ` + at + ` for the MX of "example.test": no answer in time, sent once over UDP; ignored replies: 1: the reply answers another question: other.test. MX`},
		"TCP silent": {nameserver.Silent, over(dnsclient.TCP), dnsclient.Timeout, `ask ` + at + ` for the MX of "example.test": no answer in time`},
		"TCP other":  {nameserver.OtherQuestion, over(dnsclient.TCP), dnsclient.Protocol, `ask ` + at + ` for the MX of "example.test": the reply answers another question: other.test. MX`},
		"no name":    {nil, ask("a..b", dns.TypeA), dnsclient.Asked, `ask for the A of "a..b": "a..b" is not a domain name`},
		"no server":  {nil, dnsclient.Question{Name: "example.test", Type: dns.TypeA, Server: "a b"}, dnsclient.Asked, `ask a b for the A of "example.test": "a b" is not a name server: write a host or an address, with :port unless it is 53`},
		"no IPv6":    {nil, dnsclient.Question{Name: "example.test", Type: dns.TypeA, Server: "127.0.0.1", Family: dnsclient.IPv6}, dnsclient.Asked, `ask 127.0.0.1:53 for the A of "example.test": 127.0.0.1 is not an IPv6 address`},
		"no host":    {nil, dnsclient.Question{Name: "example.test", Type: dns.TypeA, Server: "absent.example.test"}, dnsclient.Network, ""},
		"closed":     {nil, dnsclient.Question{Name: "example.test", Type: dns.TypeA, Server: "127.0.0.1:1"}, dnsclient.Network, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server.Misbehave(c.fault)
			_, err := client.Find(within(t, 300*time.Millisecond), c.question)
			e := (*dnsclient.Error)(nil)
			if !errors.As(err, &e) || e.Kind != c.kind || c.want != "" && err.Error() != c.want {
				t.Errorf("got  %v\nwant %s %s", err, c.kind, c.want)
			}
			if absent := c.kind == dnsclient.NoName || c.kind == dnsclient.NoData; dnsclient.IsAbsent(err) != absent {
				t.Errorf("absent is %t", !absent)
			}
		})
	}
}

// TestLoss checks that a lost packet is repeated, and that the answer says so.
func TestLoss(t *testing.T) {
	server, client := serve(t)
	server.Misbehave(nameserver.Losing(1))
	answer, err := client.Find(within(t, 5*time.Second), dnsclient.Question{Name: "example.test", Type: dns.TypeA})
	if err != nil || answer.Sent != 2 || answer.Duration < time.Second {
		t.Errorf("got %+v, %v", answer, err)
	}
}

func TestForgedAnswerIsPassedOver(t *testing.T) {
	server, client := serve(t)
	server.Misbehave(nameserver.ForgedFirst)
	answer, err := client.Find(within(t, 5*time.Second), dnsclient.Question{Name: "example.test", Type: dns.TypeA})
	if err != nil || answer.Sent != 1 {
		t.Errorf("got %+v, %v", answer, err)
	}
}

func TestTruncatedIsAskedForOverTCP(t *testing.T) {
	server, client := serve(t)
	server.Misbehave(nameserver.Truncating)
	answer, err := client.Find(within(t, 5*time.Second), dnsclient.Question{Name: "example.test", Type: dns.TypeA})
	if err != nil || answer.Transport != dnsclient.TCP || answer.Truncated {
		t.Errorf("got %+v, %v", answer, err)
	}
	server.Misbehave(func(query, reply *dns.Msg, udp bool) [][]byte {
		if udp {
			return nameserver.Truncating(query, reply, udp)
		}
		return nil
	})
	_, err = client.Find(within(t, 300*time.Millisecond), dnsclient.Question{Name: "example.test", Type: dns.TypeA})
	if want := "the answer over UDP is truncated (41 bytes), and there is no answer over TCP: no answer in time"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want … %s", err, want)
	}
}

// TestCancel checks that cancelling ends a question immediately.
func TestCancel(t *testing.T) {
	server, client := serve(t)
	server.Misbehave(nameserver.Silent)
	for _, transport := range []dnsclient.Transport{dnsclient.UDP, dnsclient.TCP} {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(20*time.Millisecond, cancel)
		start := time.Now()
		if _, err := client.Ask(ctx, dnsclient.Question{Name: "example.test", Type: dns.TypeA, Transport: transport}); err == nil || time.Since(start) > 500*time.Millisecond {
			t.Errorf("%s: got %v after %v", transport, err, time.Since(start))
		}
	}
}

func TestParseType(t *testing.T) {
	for name, want := range map[string]uint16{"MX": 15, "https": 65, "TYPE65400": 65400, "ANY": 0, "TYPE0": 0, "TYPE": 0, "nonsense": 0, "AXFR": 0} {
		if got, ok := dnsclient.ParseType(name); got != want || ok != (want != 0) {
			t.Errorf("%s: got %d, %t", name, got, ok)
		}
	}
}

func TestFqdn(t *testing.T) {
	for name, want := range map[string]string{"example.org": "example.org.", "bücher.example.": "xn--bcher-kva.example.", "_dmarc.example.org": "_dmarc.example.org.", "": "", "a..b": "", ".": "."} {
		if got, err := dnsclient.Fqdn(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", name, got, err)
		}
	}
}
