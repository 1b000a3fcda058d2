package nameserver_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var zone = `
$TTL 60
example.test.           SOA   ns.example.test. hostmaster.example.test. 1 60 60 60 60
example.test.           A     127.0.0.1
example.test.           MX    10 mail.example.test.
mail.example.test.      A     127.0.0.2
www.example.test.       CNAME example.test.
loop.example.test.      CNAME loop.example.test.
*.wild.example.test.    A     127.0.0.3
deep.down.example.test. A     127.0.0.4
large.example.test.     TXT   ` + strings.Repeat(`"0123456789012345678901234567890123456789" `, 20) + `
127.in-addr.arpa.       SOA   ns.example.test. hostmaster.example.test. 1 60 60 60 60
2.0.0.127.in-addr.arpa. PTR   mail.example.test.
`

func ask(t *testing.T, network, address, name string, kind uint16) *dns.Msg {
	t.Helper()
	query := new(dns.Msg)
	query.SetQuestion(name, kind)
	reply, _, err := (&dns.Client{Net: network}).Exchange(query, address)
	if err != nil {
		t.Fatalf("ask for %s: %v", name, err)
	}
	return reply
}

func TestAnswers(t *testing.T) {
	server, err := nameserver.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, c := range []struct {
		name  string
		kind  uint16
		rcode int
		want  string // the answers' data, parted by "; "
	}{
		{"example.test.", dns.TypeA, dns.RcodeSuccess, "127.0.0.1"},
		{"EXAMPLE.test.", dns.TypeMX, dns.RcodeSuccess, "10 mail.example.test."},
		{"www.example.test.", dns.TypeA, dns.RcodeSuccess, "example.test.; 127.0.0.1"},
		{"www.example.test.", dns.TypeCNAME, dns.RcodeSuccess, "example.test."},
		{"a.wild.example.test.", dns.TypeA, dns.RcodeSuccess, "127.0.0.3"},
		{"a.b.wild.example.test.", dns.TypeA, dns.RcodeSuccess, "127.0.0.3"},
		{"2.0.0.127.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "mail.example.test."},
		{"mail.example.test.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"down.example.test.", dns.TypeA, dns.RcodeSuccess, ""},
		{"absent.example.test.", dns.TypeA, dns.RcodeNameError, ""},
		{"example.com.", dns.TypeA, dns.RcodeRefused, ""},
		{"test.", dns.TypeA, dns.RcodeRefused, ""},
		{".", dns.TypeNS, dns.RcodeRefused, ""},
	} {
		reply := ask(t, "udp", server.Address(), c.name, c.kind)
		var data []string
		for _, rr := range reply.Answer {
			data = append(data, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
		if got := strings.Join(data, "; "); reply.Rcode != c.rcode || got != c.want {
			t.Errorf("%s %s: got %s %q, want %s %q", c.name, dns.TypeToString[c.kind],
				dns.RcodeToString[reply.Rcode], got, dns.RcodeToString[c.rcode], c.want)
		}
		if negative := c.want == "" && c.rcode != dns.RcodeRefused; negative != (len(reply.Ns) == 1) {
			t.Errorf("%s: %d records in the authority section", c.name, len(reply.Ns))
		}
	}
}

func TestAliasLoopEnds(t *testing.T) {
	server, err := nameserver.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if reply := ask(t, "tcp", server.Address(), "loop.example.test.", dns.TypeA); len(reply.Answer) == 0 {
		t.Error("no alias in the answer")
	}
}

func TestTruncation(t *testing.T) {
	server, err := nameserver.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if !ask(t, "udp", server.Address(), "large.example.test.", dns.TypeTXT).Truncated {
		t.Error("a TXT record of 800 bytes is not truncated over UDP without EDNS")
	}
	if reply := ask(t, "tcp", server.Address(), "large.example.test.", dns.TypeTXT); reply.Truncated || len(reply.Answer) != 1 {
		t.Error("a TXT record of 800 bytes is truncated over TCP")
	}
}

func TestRefuse(t *testing.T) {
	server, err := nameserver.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.Refuse(dns.RcodeServerFailure)
	if got := ask(t, "udp", server.Address(), "example.test.", dns.TypeA).Rcode; got != dns.RcodeServerFailure {
		t.Errorf("got %s, want SERVFAIL", dns.RcodeToString[got])
	}
	server.Refuse(dns.RcodeSuccess)
	if got := ask(t, "udp", server.Address(), "example.test.", dns.TypeA).Rcode; got != dns.RcodeSuccess {
		t.Errorf("got %s, want NOERROR", dns.RcodeToString[got])
	}
}

func TestBadZones(t *testing.T) {
	for zone, want := range map[string]string{
		"":                          "read zone: it has no SOA",
		"example.test. 60 A 10.0.0": `read zone: dns: bad A A: "10.0.0" at line: 1:25`,
		"a.test. 60 A 127.0.0.1":    `read zone: "a.test." is before the SOA of its zone`,
	} {
		if _, err := nameserver.Start("127.0.0.1:0", zone); err == nil || err.Error() != want {
			t.Errorf("zone %q: got %v, want %s", zone, err, want)
		}
	}
}
