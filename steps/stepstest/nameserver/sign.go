package nameserver

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Signer signs the answers of the zones that it has a key for (RFC 4035), and proves absence with one NSEC record that
// spans the whole zone. Pass its method Fault to Misbehave. Alter and Spoil can break signatures. The zones' DNSKEY and
// DS records must be in the zone text of the Server.
type Signer struct {
	Begins, Ends time.Time             // of every signature
	Alter        func(*dns.RRSIG) bool // changes a signature before signing; true leaves it out; may be nil
	Spoil        func(*dns.RRSIG)      // changes a signature after signing; may be nil

	keys    map[string]*dns.DNSKEY
	secrets map[string]crypto.Signer
}

// NewSigner creates a key for each zone ("example.test."). Its signatures begin an hour ago and expire in three days.
func NewSigner(zones ...string) (*Signer, error) {
	now := time.Now()
	s := &Signer{Begins: now.Add(-time.Hour), Ends: now.Add(72 * time.Hour), keys: map[string]*dns.DNSKEY{}, secrets: map[string]crypto.Signer{}}
	for _, zone := range zones {
		key := &dns.DNSKEY{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 60}, Flags: dns.ZONE | dns.SEP, Protocol: 3,
			Algorithm: dns.ECDSAP256SHA256}
		secret, err := key.Generate(256)
		if err != nil {
			return nil, fmt.Errorf("create the key of %q: %w", zone, err)
		}
		signer, is := secret.(crypto.Signer)
		if !is {
			return nil, errors.New("create a key: it cannot sign")
		}
		s.keys[zone], s.secrets[zone] = key, signer
	}
	return s, nil
}

// Key returns the key of a zone, for its DNSKEY record and, with ToDS, for the parent zone.
func (s *Signer) Key(zone string) *dns.DNSKEY { return s.keys[zone] }

// Fault adds signatures and proofs to a reply.
func (s *Signer) Fault(query, reply *dns.Msg, _ bool) [][]byte {
	asked := strings.ToLower(query.Question[0].Name)
	if len(reply.Answer) == 0 && len(reply.Ns) > 0 && s.keys[reply.Ns[0].Header().Name] != nil {
		apex := reply.Ns[0].Header().Name
		if reply.Rcode == dns.RcodeSuccess && asked != apex {
			reply.Ns = append(reply.Ns, nsec(asked, apex, dns.TypeRRSIG, dns.TypeNSEC))
		} else {
			reply.Ns = append(reply.Ns, nsec(apex, apex, dns.TypeA, dns.TypeSOA, dns.TypeRRSIG, dns.TypeNSEC))
		}
	}
	if len(reply.Answer) > 0 && isWild(reply.Answer[0].Header().Name) {
		if zone := s.zone(asked, 0); zone != "" {
			reply.Ns = append(reply.Ns, nsec("*."+parent(asked), zone, dns.TypeA))
		}
	}
	for _, section := range []*[]dns.RR{&reply.Answer, &reply.Ns} {
		type key struct {
			name string
			kind uint16
		}
		var order []key
		sets := map[key][]dns.RR{}
		for _, rr := range *section {
			k := key{rr.Header().Name, rr.Header().Rrtype}
			if !slices.Contains(order, k) {
				order = append(order, k)
			}
			sets[k] = append(sets[k], rr)
		}
		for _, k := range order {
			if sig := s.Sign(sets[k]); sig != nil {
				*section = append(*section, sig)
			}
		}
	}
	return wire(reply)
}

// isWild reports whether records of that name come from the wildcard above it: by convention those of "….wild.…".
func isWild(name string) bool {
	return strings.HasPrefix(parent(strings.ToLower(name)), "wild.") && !strings.HasPrefix(name, "*.")
}

func nsec(owner, next string, types ...uint16) dns.RR {
	return &dns.NSEC{Hdr: dns.RR_Header{Name: owner, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 60}, NextDomain: next, TypeBitMap: types}
}

// zone returns the zone with a key that a record belongs to, or an empty string.
func (s *Signer) zone(name string, kind uint16) string {
	name = strings.ToLower(name)
	if kind == dns.TypeDS {
		name = parent(name)
	}
	for ; name != "." && !strings.HasPrefix(name, "plain."); name = parent(name) { // such a zone is not signed
		if s.keys[name] != nil {
			return name
		}
	}
	return ""
}

// Sign returns the signature of a record set, or nil if its zone has no key or Alter leaves it out.
func (s *Signer) Sign(set []dns.RR) dns.RR {
	head := set[0].Header()
	zone := s.zone(head.Name, head.Rrtype)
	if zone == "" {
		return nil
	}
	sig := &dns.RRSIG{Hdr: dns.RR_Header{Name: head.Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: 60}, SignerName: zone, KeyTag: s.keys[zone].KeyTag(),
		Algorithm: s.keys[zone].Algorithm, Inception: uint32(s.Begins.Unix()), Expiration: uint32(s.Ends.Unix()), TypeCovered: head.Rrtype}
	if s.Alter != nil && s.Alter(sig) {
		return nil
	}
	signed := set
	if isWild(head.Name) {
		signed = nil
		for _, rr := range set {
			rr = dns.Copy(rr)
			rr.Header().Name = "*." + parent(strings.ToLower(head.Name))
			signed = append(signed, rr)
		}
	}
	if err := sig.Sign(s.secrets[zone], signed); err != nil {
		panic("nameserver: " + err.Error())
	}
	sig.Hdr.Name = head.Name
	if s.Spoil != nil {
		s.Spoil(sig)
	}
	return sig
}
