// Package nameserver is an authoritative DNS server for one test zone, over UDP and TCP on loopback.
//
// It answers from the zone (RFC 1034 §4.3.2, including wildcards and aliases), with NXDOMAIN or an empty answer with
// the SOA for the rest of the zone, and with REFUSED for everything else, so that a test never queries the Internet. It
// does not sign and does not support zone transfers.
package nameserver

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Server answers until it is closed.
type Server struct {
	records map[string][]dns.RR // by lower-case owner name; a name that only has names below it is present and empty
	zones   map[string]dns.RR   // the SOA by zone name
	refusal atomic.Int32        // the rcode of every answer; zero answers from the zone
	fault   atomic.Pointer[Fault]
	address string
	servers [2]*dns.Server
	done    [2]chan error
}

// Start serves zone, in the format of RFC 1035 §5, on address ("127.0.0.1:53"; port 0 selects a free one). The text may
// contain several zones, for example one for names and one for addresses; each begins with its SOA.
func Start(address, zone string) (*Server, error) {
	s := &Server{}
	if err := s.parse(zone); err != nil {
		return nil, err
	}
	packets, streams, err := listen(address)
	if err != nil {
		return nil, fmt.Errorf("serve DNS on %s: %w", address, err)
	}
	s.address = packets.LocalAddr().String()
	s.servers = [2]*dns.Server{
		{PacketConn: packets, Handler: s},
		{Listener: streams, Handler: s, ReadTimeout: 5 * time.Second, IdleTimeout: func() time.Duration { return 5 * time.Second }},
	}
	for i, server := range s.servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		s.done[i] = make(chan error, 1)
		go func() { s.done[i] <- server.ActivateAndServe() }()
		<-started
	}
	return s, nil
}

// listen opens the same port for UDP and TCP. With port 0, the UDP port may be in use by TCP; then listen tries another
// one.
func listen(address string) (net.PacketConn, net.Listener, error) {
	for attempt := 1; ; attempt++ {
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, nil, err
		}
		streams, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams, nil
		}
		err = errors.Join(err, packets.Close())
		if _, port, _ := net.SplitHostPort(address); port != "0" || attempt == 10 {
			return nil, nil, err
		}
	}
}

// Address returns the "host:port" of the server.
func (s *Server) Address() string { return s.address }

// Refuse answers every question with rcode (dns.RcodeServerFailure, dns.RcodeNameError) until a call with
// dns.RcodeSuccess.
func (s *Server) Refuse(rcode int) { s.refusal.Store(int32(rcode)) }

// Close stops the server and waits for it.
func (s *Server) Close() error {
	var errs []error
	for i, server := range s.servers {
		errs = append(errs, server.Shutdown(), <-s.done[i])
	}
	return errors.Join(errs...)
}

func (s *Server) parse(zone string) error {
	s.records, s.zones = map[string][]dns.RR{}, map[string]dns.RR{}
	parser := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := strings.ToLower(rr.Header().Name)
		if rr.Header().Rrtype == dns.TypeSOA {
			s.zones[name] = rr
		}
		apex := s.zoneOf(name)
		if apex == "" {
			return fmt.Errorf("read zone: %q is before the SOA of its zone", rr.Header().Name)
		}
		s.records[name] = append(s.records[name], rr)
		for name != apex {
			name = parent(name)
			if _, found := s.records[name]; !found {
				s.records[name] = nil
			}
		}
	}
	if err := parser.Err(); err != nil {
		return fmt.Errorf("read zone: %w", err)
	}
	if len(s.zones) == 0 {
		return errors.New("read zone: it has no SOA")
	}
	return nil
}

func parent(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[next:]
}

// zoneOf returns the name of the zone of name, or an empty string.
func (s *Server) zoneOf(name string) string {
	for ; name != "."; name = parent(name) {
		if _, found := s.zones[name]; found {
			return name
		}
	}
	return ""
}

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(query)
	reply.Authoritative = true
	reply.RecursionAvailable = query.RecursionDesired // stub resolvers complain about a server without it
	size := dns.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
		reply.SetEdns0(opt.UDPSize(), false)
	}
	switch refusal := int(s.refusal.Load()); {
	case len(query.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	case refusal != dns.RcodeSuccess:
		reply.Rcode = refusal
	default:
		s.answer(reply, query.Question[0])
	}
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	if udp {
		reply.Truncate(size)
	}
	if fault := s.fault.Load(); fault != nil && *fault != nil {
		for _, packet := range (*fault)(query, reply, udp) {
			_, _ = w.Write(packet)
		}
		return
	}
	_ = w.WriteMsg(reply) // a client that is gone needs no answer
}

func (s *Server) answer(reply *dns.Msg, question dns.Question) {
	apex := s.zoneOf(strings.ToLower(question.Name))
	if apex == "" {
		reply.Rcode = dns.RcodeRefused
		return
	}
	owner := question.Name
	const aliases = 8 // more than any zone needs, and ends a loop
	for range aliases {
		records, found := s.lookup(strings.ToLower(owner))
		if !found {
			reply.Rcode = dns.RcodeNameError
			break
		}
		alias := ""
		for _, rr := range records {
			kind := rr.Header().Rrtype
			if kind != question.Qtype && kind != dns.TypeCNAME && question.Qtype != dns.TypeANY {
				continue
			}
			rr = dns.Copy(rr)
			rr.Header().Name = owner
			reply.Answer = append(reply.Answer, rr)
			if c, is := rr.(*dns.CNAME); is && question.Qtype != dns.TypeCNAME {
				alias = c.Target
			}
		}
		if alias == "" || s.zoneOf(strings.ToLower(alias)) == "" {
			break
		}
		owner = alias
	}
	if len(reply.Answer) == 0 {
		reply.Ns = append(reply.Ns, s.zones[apex])
	}
}

// lookup returns the records of name, or those of the closest wildcard (RFC 4592).
func (s *Server) lookup(name string) ([]dns.RR, bool) {
	if records, found := s.records[name]; found {
		return records, true
	}
	for closest := parent(name); s.zoneOf(closest) != ""; closest = parent(closest) {
		if records, found := s.records["*."+closest]; found {
			return records, true
		}
		if _, found := s.records[closest]; found {
			break
		}
	}
	return nil, false
}
