package dnsclient

import (
	"testing"

	"github.com/miekg/dns"
)

// FuzzAnswer reads what a server may send. Whatever it is, it is an answer to the question or an error, and reading on in
// it ends.
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
