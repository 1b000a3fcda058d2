package dnsclient

import (
	"testing"

	"github.com/miekg/dns"
)

// FuzzAnswer decodes arbitrary replies. Each is an answer to the question or an error, and evaluating it ends.
func FuzzAnswer(f *testing.F) {
	query := new(dns.Msg)
	query.SetQuestion("example.test.", dns.TypeTXT)
	query.Id = 1
	reply := new(dns.Msg)
	reply.SetReply(query)
	reply.SetEdns0(udpSize, true)
	reply.IsEdns0().Option = append(reply.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: 6, ExtraText: "text"})
	for _, text := range []string{`example.test. 60 CNAME example.test.`, `example.test. 60 TXT "a\200b" "c"`} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		reply.Answer = append(reply.Answer, rr)
	}
	packet, err := reply.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packet)
	f.Add([]byte{0, 1, 0x80, 0})
	f.Fuzz(func(t *testing.T, packet []byte) {
		reply, err := decode(packet, query)
		if err != nil {
			return
		}
		if reply.Id != query.Id || !reply.Response {
			t.Fatalf("taken for an answer: %v", reply)
		}
		answer := &Answer{Question: Question{Name: "example.test", Type: dns.TypeTXT}, Rcode: reply.Rcode, Records: reply.Answer, Authority: reply.Ns}
		_ = answer.Trouble()
		_ = extendedError(reply)
		for _, rr := range answer.Found() {
			if txt, is := rr.(*dns.TXT); is {
				_ = Text(txt)
			}
			_, _ = address(rr)
		}
	})
}

// FuzzDenial checks arbitrary proofs of absence: checking ends, and a name is never proven to
// lack a type that it has.
func FuzzDenial(f *testing.F) {
	f.Add("example.test.", "z.example.test.", "a.example.test.", uint16(1), uint16(2))
	f.Add("*.example.test.", `\000.example.test.`, "b.a.example.test.", uint16(5), uint16(1))
	f.Fuzz(func(t *testing.T, owner, next, name string, has, kind uint16) {
		for _, s := range []string{owner, next, name} {
			if _, ok := dns.IsDomainName(s); !ok {
				return
			}
		}
		owner, next, name = dns.CanonicalName(owner), dns.CanonicalName(next), dns.CanonicalName(name)
		d := &denials{zone: ".", plain: []*dns.NSEC{{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeNSEC}, NextDomain: next, TypeBitMap: []uint16{has}}}}
		err := d.deny(name, kind, false)
		if err == nil && owner == name && has == kind {
			t.Fatalf("%q has type %d, and is said not to", name, kind)
		}
		if err := d.deny(name, kind, true); err == nil && (owner == name || next == name) {
			t.Fatalf("%q exists, and is said not to", name)
		}
		_ = d.expanded(name, 1)
		hashed := &denials{zone: ".", hash: []*dns.NSEC3{{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeNSEC3}, Hash: dns.SHA1, NextDomain: next, TypeBitMap: []uint16{has}}}}
		_ = hashed.deny(name, kind, true)
		_ = hashed.deny(name, kind, false)
	})
}
