package nameserver

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Fault returns the messages to send instead of an answer: any number, or none. reply is the correct answer; the fault
// may change it. udp is false for a stream, where each message is sent after its length.
type Fault func(query, reply *dns.Msg, udp bool) [][]byte

// Misbehave makes fault produce every answer from now on; nil ends that.
func (s *Server) Misbehave(fault Fault) { s.fault.Store(&fault) }

// wire returns a message in wire format. A test's message always fits.
func wire(m *dns.Msg) [][]byte {
	packet, err := m.Pack()
	if err != nil {
		panic("nameserver: " + err.Error())
	}
	return [][]byte{packet}
}

// Silent sends nothing.
func Silent(_, _ *dns.Msg, _ bool) [][]byte { return nil }

// Garbage sends bytes that are not a DNS message.
func Garbage(_, _ *dns.Msg, _ bool) [][]byte {
	return [][]byte{[]byte("\x00\x01garbage that only looks long enough")}
}

// WrongID answers with another id than the question's, as a forger who has to guess it.
func WrongID(_, reply *dns.Msg, _ bool) [][]byte {
	reply.Id++
	return wire(reply)
}

// ForgedFirst sends a wrong id and then the right answer.
func ForgedFirst(query, reply *dns.Msg, udp bool) [][]byte {
	return append(WrongID(query, reply.Copy(), udp), wire(reply)...)
}

// OtherQuestion answers another question.
func OtherQuestion(_, reply *dns.Msg, _ bool) [][]byte {
	reply.Question[0].Name = "other.test."
	return wire(reply)
}

// Truncating truncates all records over UDP and answers correctly over TCP.
func Truncating(_, reply *dns.Msg, udp bool) [][]byte {
	if udp {
		reply.Truncated = true
		reply.Answer, reply.Ns = nil, nil
	}
	return wire(reply)
}

// Lame refers to the root's name servers, as a server that is not configured for the zone.
func Lame(_, reply *dns.Msg, _ bool) [][]byte {
	reply.Rcode, reply.Authoritative, reply.Answer = dns.RcodeSuccess, false, nil
	reply.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "a.root.test."}}
	return wire(reply)
}

// Instead replaces a name's TXT records by texts of at most 255 bytes each. Without texts, the name has no TXT record.
func Instead(name string, texts ...string) Fault {
	return func(query, reply *dns.Msg, _ bool) [][]byte {
		if len(query.Question) == 1 && query.Question[0].Qtype == dns.TypeTXT && strings.EqualFold(query.Question[0].Name, dns.Fqdn(name)) {
			reply.Rcode, reply.Answer = dns.RcodeSuccess, nil
			for _, text := range texts {
				reply.Answer = append(reply.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: query.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text}})
			}
		}
		return wire(reply)
	}
}

// Slow answers correctly after d.
func Slow(d time.Duration) Fault {
	return func(_, reply *dns.Msg, _ bool) [][]byte {
		time.Sleep(d)
		return wire(reply)
	}
}

// Losing does not answer the first n packets over UDP.
func Losing(n int32) Fault {
	var seen atomic.Int32
	return func(_, reply *dns.Msg, udp bool) [][]byte {
		if udp && seen.Add(1) <= n {
			return nil
		}
		return wire(reply)
	}
}
