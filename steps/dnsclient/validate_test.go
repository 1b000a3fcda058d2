package dnsclient_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

const signedZone = `
$TTL 300
test.                  SOA   ns.test. hostmaster.test. 1 60 60 60 60
example.test.          SOA   ns.example.test. hostmaster.example.test. 1 60 60 60 60
example.test.          A     192.0.2.1
www.example.test.      CNAME example.test.
*.wild.example.test.   A     192.0.2.2
plain.test.            SOA   ns.plain.test. hostmaster.plain.test. 1 60 60 60 60
plain.test.            A     192.0.2.3
`

func serveSigned(t *testing.T) (*nameserver.Signer, *nameserver.Server, *dnsclient.Client, dnsclient.Anchors) {
	t.Helper()
	s, err := nameserver.NewSigner("test.", "example.test.")
	if err != nil {
		t.Fatal(err)
	}
	zone := signedZone + s.Key("test.").String() + "\n" + s.Key("example.test.").String() + "\n" + s.Key("example.test.").ToDS(dns.SHA256).String() + "\n"
	server, err := nameserver.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	server.Misbehave(s.Fault)
	anchors, err := dnsclient.ParseAnchors(s.Key("test.").ToDS(dns.SHA384).String())
	if err != nil {
		t.Fatal(err)
	}
	return s, server, &dnsclient.Client{Resolver: server.Address()}, anchors
}

func TestValidate(t *testing.T) {
	s, _, client, anchors := serveSigned(t)
	for _, q := range []dnsclient.Question{
		{Name: "example.test", Type: dns.TypeA},
		{Name: "EXAMPLE.test", Type: dns.TypeA, Transport: dnsclient.TCP},
		{Name: "www.example.test", Type: dns.TypeA},
		{Name: "a.wild.example.test", Type: dns.TypeA},
		{Name: "example.test", Type: dns.TypeDNSKEY},
		{Name: "example.test", Type: dns.TypeMX},
		{Name: "absent.example.test", Type: dns.TypeA},
	} {
		proof, err := client.Validate(within(t, 5*time.Second), q, anchors)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		if got := strings.Join(proof.Zones, " "); got != "example.test. test." || proof.Expires.Unix() != s.Ends.Unix() {
			t.Errorf("%s: zones %s, until %s", q, got, proof.Expires)
		}
	}
	if proof, err := client.Validate(within(t, 5*time.Second), dnsclient.Question{Name: "example.test", Type: dns.TypeDS}, anchors); err != nil || len(proof.Zones) != 1 {
		t.Errorf("DS: %+v, %v", proof, err)
	}
}

func TestValidateRefuses(t *testing.T) {
	s, server, client, anchors := serveSigned(t)
	other, err := nameserver.NewSigner("test.", "example.test.")
	if err != nil {
		t.Fatal(err)
	}
	only := func(kind uint16, do func(*dns.RRSIG)) func(*dns.RRSIG) {
		return func(sig *dns.RRSIG) {
			if sig.TypeCovered == kind {
				do(sig)
			}
		}
	}
	altered := func(kind uint16, do func(*dns.RRSIG)) func(*dns.RRSIG) bool {
		return func(sig *dns.RRSIG) bool { only(kind, do)(sig); return false }
	}
	without := func(kind uint16) func(*dns.RRSIG) bool {
		return func(sig *dns.RRSIG) bool { return sig.TypeCovered == kind }
	}
	ended := time.Now().Add(-90 * time.Minute).UTC()
	for name, c := range map[string]struct {
		question string
		kind     uint16
		alter    func(*dns.RRSIG) bool
		spoil    func(*dns.RRSIG)
		fault    nameserver.Fault
		anchors  dnsclient.Anchors
		is       dnsclient.Kind
		want     string
	}{
		"ended": {alter: altered(dns.TypeA, func(sig *dns.RRSIG) { sig.Expiration, sig.Inception = uint32(ended.Unix()), uint32(ended.Unix())-60 }), is: dnsclient.Bogus,
			want: `the signature of the A of "example.test" expired at ` + ended.Format("2006-01-02 15:04 MST")},
		"not yet": {alter: altered(dns.TypeA, func(sig *dns.RRSIG) { sig.Inception = uint32(time.Now().Unix()) + 3600 }), is: dnsclient.Bogus,
			want: `the signature of the A of "example.test" is not valid before `},
		"wrong":            {spoil: only(dns.TypeA, func(sig *dns.RRSIG) { sig.OrigTtl++ }), is: dnsclient.Bogus, want: `the signature of the A of "example.test" by key `},
		"key unknown":      {alter: altered(dns.TypeA, func(sig *dns.RRSIG) { sig.KeyTag++ }), is: dnsclient.Bogus, want: `no key of the zone made the signature of the A of "example.test": it names key `},
		"by a stranger":    {spoil: only(dns.TypeA, func(sig *dns.RRSIG) { sig.SignerName = "ample.test." }), is: dnsclient.Bogus, want: `the signature of the A of "example.test" is by "ample.test.", which has no authority for it`},
		"no signature":     {alter: without(dns.TypeA), is: dnsclient.Bogus, want: `the A of "example.test" has no signature, but its zone "example.test." is signed`},
		"keys not signed":  {alter: without(dns.TypeDNSKEY), is: dnsclient.Bogus, want: `the keys of "test." have no signature`},
		"DS not signed":    {alter: without(dns.TypeDS), is: dnsclient.Bogus, want: `the DS of "example.test" has no signature, but its zone "test." is signed`},
		"absence unsigned": {question: "absent.example.test", alter: without(dns.TypeNSEC), is: dnsclient.Bogus, want: `the NSEC of "example.test" has no signature`},
		"absence not proven": {question: "absent.example.test", fault: func(query, reply *dns.Msg, udp bool) [][]byte {
			if reply.Rcode == dns.RcodeNameError {
				reply.Rcode = dns.RcodeSuccess
				reply.Ns = append(reply.Ns, &dns.NSEC{Hdr: dns.RR_Header{Name: "x.example.test.", Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 60}, NextDomain: "z.example.test.", TypeBitMap: []uint16{dns.TypeA}})
				for _, rr := range reply.Ns[:2] {
					reply.Ns = append(reply.Ns, s.Sign([]dns.RR{rr}))
				}
				packet, _ := reply.Pack()
				return [][]byte{packet}
			}
			return s.Fault(query, reply, udp)
		}, is: dnsclient.Bogus, want: `the signed records of "example.test." do not prove that "absent.example.test." has no A`},
		"stripped": {question: "absent.example.test", fault: func(query, reply *dns.Msg, udp bool) [][]byte {
			if reply.Rcode == dns.RcodeNameError {
				packet, _ := reply.Pack()
				return [][]byte{packet}
			}
			return s.Fault(query, reply, udp)
		}, is: dnsclient.Bogus, want: `nothing proves that the record is absent: the zone "example.test." is signed, but the answer has no NSEC or NSEC3 record`},
		"not signed zone": {question: "plain.test", is: dnsclient.Unsigned, want: `the parent zone has no DS record for "plain.test.", so its signatures cannot be checked`},
		"other anchor":    {anchors: dnsclient.Anchors{other.Key("test.").ToDS(dns.SHA256)}, is: dnsclient.Bogus, want: `no key of the zone "test." matches its trust anchor`},
		"root anchors":    {anchors: dnsclient.RootAnchors(), is: dnsclient.Unsigned, want: `the parent zone has no DS record for "test.", so its signatures cannot be checked`},
		"DS of another key": {fault: func(query, reply *dns.Msg, udp bool) [][]byte {
			for i, rr := range reply.Answer {
				if rr.Header().Rrtype == dns.TypeDS {
					reply.Answer[i] = other.Key("example.test.").ToDS(dns.SHA256)
				}
			}
			return s.Fault(query, reply, udp)
		}, is: dnsclient.Bogus, want: `no key of the zone "example.test." matches its DS record in "test."`},
		"SERVFAIL": {fault: func(_, reply *dns.Msg, _ bool) [][]byte {
			reply.Rcode = dns.RcodeServerFailure
			packet, _ := reply.Pack()
			return [][]byte{packet}
		}, is: dnsclient.ServFail},
		"keys fail": {fault: func(query, reply *dns.Msg, udp bool) [][]byte {
			if query.Question[0].Qtype == dns.TypeDNSKEY {
				reply.Rcode, reply.Answer = dns.RcodeServerFailure, nil
			}
			return s.Fault(query, reply, udp)
		}, is: dnsclient.ServFail},
	} {
		t.Run(name, func(t *testing.T) {
			changed := *s
			changed.Alter, changed.Spoil = c.alter, c.spoil
			server.Misbehave(changed.Fault)
			if c.fault != nil {
				server.Misbehave(c.fault)
			}
			q := dnsclient.Question{Name: "example.test", Type: dns.TypeA}
			if c.question != "" {
				q.Name = c.question
			}
			use := anchors
			if c.anchors != nil {
				use = c.anchors
			}
			_, err := client.Validate(within(t, 5*time.Second), q, use)
			e := (*dnsclient.Error)(nil)
			if !errors.As(err, &e) || e.Kind != c.is || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s … %s", err, c.is, c.want)
			}
		})
	}
}

// TestRootAnchors compares the built-in anchors with those of Debian.
func TestRootAnchors(t *testing.T) {
	shipped, err := os.ReadFile("/usr/share/dns/root.ds")
	if err != nil {
		t.Skip("Debian's package dns-root-data is not installed")
	}
	anchors, err := dnsclient.ParseAnchors(string(shipped))
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range anchors {
		found := false
		for _, ours := range dnsclient.RootAnchors() {
			found = found || dns.IsDuplicate(ours, rr)
		}
		if !found {
			t.Errorf("%s is not a built-in anchor", rr)
		}
	}
}

func TestParseAnchors(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "it has no trust anchor: write DS or DNSKEY records as in a zone file",
		"; a comment\n":          "it has no trust anchor: write DS or DNSKEY records as in a zone file",
		". A 192.0.2.1":          "a trust anchor is a DS or DNSKEY record, not a A",
		". DS x":                 "read trust anchors: ",
		"$INCLUDE /etc/passwd\n": "read trust anchors: ",
	} {
		if _, err := dnsclient.ParseAnchors(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
