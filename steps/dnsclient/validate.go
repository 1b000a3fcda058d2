package dnsclient

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Anchors are the keys at which validation starts: DS or DNSKEY records, each at the top of a tree of zones.
type Anchors []dns.RR

// rootAnchors are the anchors of the root from 2017 and 2024 (https://data.iana.org/root-anchors/root-anchors.xml).
const rootAnchors = `
. DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
`

// RootAnchors returns the trust anchors of the root.
func RootAnchors() Anchors {
	anchors, err := ParseAnchors(rootAnchors)
	if err != nil {
		panic(err) // a test parses them
	}
	return anchors
}

// ParseAnchors parses DS and DNSKEY records in zone file format, the format of unbound's trust-anchor-file. There must
// be at least one.
func ParseAnchors(text string) (Anchors, error) {
	var anchors Anchors
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "")
	parser.SetDefaultTTL(0)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		switch rr.(type) {
		case *dns.DS, *dns.DNSKEY:
			anchors = append(anchors, rr)
		default:
			return nil, fmt.Errorf("a trust anchor is a DS or DNSKEY record, not a %s", TypeName(rr.Header().Rrtype))
		}
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("read trust anchors: %w", err)
	}
	if len(anchors) == 0 {
		return nil, errors.New("it has no trust anchor: write DS or DNSKEY records as in a zone file")
	}
	return anchors, nil
}

// Kinds of an Error of Validate.
const (
	Unsigned Kind = "unsigned" // no chain of keys leads from a trust anchor to the zone, or the record has no signature
	Bogus    Kind = "bogus"    // there is a signature, but it is wrong or expired
)

// Proof says that an answer is authentic.
type Proof struct {
	Answer  *Answer
	Expires time.Time // when the first signature of the answer or of its keys expires
	Zones   []string  // the zones in the chain of trust, from the answer's zone up to the trust anchor's
}

// Validate sends a question, requests signatures and checks them from the trust anchors down (RFC 4035 section 5). It
// also checks proofs of absence (RFC 4035 section 5.4, RFC 5155 section 8). It queries the configured resolver for the
// records of the chain and trusts none without a signature. The error is an *Error; its own kinds are Unsigned and
// Bogus.
func (c *Client) Validate(ctx context.Context, q Question, anchors Anchors) (*Proof, error) {
	q.DNSSEC, q.Unchecked = true, true
	answer, err := c.Ask(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := answer.Trouble(); err != nil && (!IsAbsent(err) || answer.Referral() != "") {
		return nil, err
	}
	v := &validator{client: c, anchors: anchors, now: time.Now(), zones: map[string]*zoneKeys{}, pending: map[string]bool{}, verifications: maxVerifications}
	proof := &Proof{Answer: answer}
	if err := v.answer(ctx, proof); err != nil {
		e := (*Error)(nil)
		if !errors.As(err, &e) {
			return nil, &Error{Kind: Bogus, Question: q, Server: answer.Server, Err: err}
		}
		if e.Server == "" {
			e.Question, e.Server = q, answer.Server
		}
		return nil, e
	}
	return proof, nil
}

func unsigned(format string, args ...any) error {
	return &Error{Kind: Unsigned, Detail: fmt.Sprintf(format, args...)}
}

func bogus(format string, args ...any) error {
	return &Error{Kind: Bogus, Detail: fmt.Sprintf(format, args...)}
}

// Limits on the work that a zone can cause: with keys of the same tag, each signature needs as many verifications as
// there are keys (CVE-2023-50387), and hashed denial needs iterations (CVE-2023-50868, RFC 9276 section 3.2).
const (
	maxVerifications = 64
	maxIterations    = 150
	maxDenials       = 16
)

type validator struct {
	client        *Client
	anchors       Anchors
	now           time.Time
	zones         map[string]*zoneKeys
	pending       map[string]bool // zones whose chain is in progress
	verifications int             // how many remain
}

// zoneKeys is the keys of a zone that may sign its records.
type zoneKeys struct {
	keys    []*dns.DNSKEY
	expires time.Time // of the signature over the keys
	parent  string    // the zone with its DS record, or empty for a trust anchor
}

// set is all records of one name and type with their signatures (RFC 2181 section 5).
type set struct {
	records    []dns.RR
	signatures []*dns.RRSIG
}

// sets groups records. Unsigned records are a set without signatures.
func sets(records []dns.RR) []*set {
	type key struct {
		name string
		kind uint16
	}
	var all []*set
	by := map[key]*set{}
	get := func(name string, kind uint16) *set {
		k := key{dns.CanonicalName(name), kind}
		if by[k] == nil {
			by[k] = &set{}
			all = append(all, by[k])
		}
		return by[k]
	}
	for _, rr := range records {
		if sig, is := rr.(*dns.RRSIG); is {
			s := get(sig.Hdr.Name, sig.TypeCovered)
			s.signatures = append(s.signatures, sig)
			continue
		}
		s := get(rr.Header().Name, rr.Header().Rrtype)
		s.records = append(s.records, rr)
	}
	whole := all[:0]
	for _, s := range all {
		if len(s.records) > 0 {
			whole = append(whole, s)
		}
	}
	return whole
}

func (s *set) String() string {
	h := s.records[0].Header()
	return fmt.Sprintf("the %s of %q", TypeName(h.Rrtype), strings.TrimSuffix(h.Name, "."))
}

// seal is a valid signature.
type seal struct {
	zone    string // that signed
	labels  int    // of the signed name; fewer than in the record's name if expanded from a wildcard
	expires time.Time
}

// answer validates an answer and fills in its proof.
func (v *validator) answer(ctx context.Context, p *Proof) error {
	a := p.Answer
	keep := func(s seal) {
		for _, at := range []time.Time{s.expires, v.zones[s.zone].expires} {
			if p.Expires.IsZero() || at.Before(p.Expires) {
				p.Expires = at
			}
		}
	}
	denials := &denials{}
	needed := len(a.Found()) == 0
	var wildcards []func() error
	signer := ""
	for _, s := range sets(a.Records) {
		if synthesized(s, a.Records) {
			continue
		}
		sealed, err := v.set(ctx, s)
		if err != nil {
			return err
		}
		keep(sealed)
		signer = sealed.zone
		if name := s.records[0].Header().Name; sealed.labels < labels(name) {
			needed = true
			wildcards = append(wildcards, func() error { return denials.expanded(name, sealed.labels) })
		}
	}
	if needed {
		for _, s := range sets(a.Authority) {
			kind := s.records[0].Header().Rrtype
			if kind != dns.TypeNSEC && kind != dns.TypeNSEC3 {
				continue
			}
			sealed, err := v.set(ctx, s)
			if err != nil {
				return err
			}
			keep(sealed)
			signer = sealed.zone
			if err := denials.add(s, sealed); err != nil {
				return err
			}
		}
	}
	for _, check := range wildcards {
		if err := check(); err != nil {
			return err
		}
	}
	if len(a.Found()) == 0 {
		if denials.empty() {
			// An unsigned zone has no denials, so the chain of keys decides whether they are required.
			zone, err := v.enclosing(ctx, a)
			if err != nil {
				return err
			}
			return bogus("nothing proves that the record is absent: the zone %q is signed, but the answer has no NSEC or NSEC3 record", zone)
		}
		if err := denials.deny(a.alias(), a.Question.Type, a.Rcode == dns.RcodeNameError); err != nil {
			return err
		}
	}
	for zone := signer; zone != ""; zone = v.zones[zone].parent {
		p.Zones = append(p.Zones, zone)
	}
	return nil
}

// synthesized reports whether a set is an alias derived from a DNAME of the same answer. Only the DNAME is signed (RFC
// 6672 section 5.3.1).
func synthesized(s *set, records []dns.RR) bool {
	alias, is := s.records[0].(*dns.CNAME)
	if !is || len(s.signatures) > 0 || len(s.records) > 1 {
		return false
	}
	for _, rr := range records {
		tree, is := rr.(*dns.DNAME)
		if !is || !dns.IsSubDomain(tree.Hdr.Name, alias.Hdr.Name) || dns.CountLabel(tree.Hdr.Name) == dns.CountLabel(alias.Hdr.Name) {
			continue
		}
		prefix := dns.CanonicalName(alias.Hdr.Name)
		prefix = strings.TrimSuffix(prefix, dns.CanonicalName(tree.Hdr.Name))
		if prefix+dns.CanonicalName(tree.Target) == dns.CanonicalName(alias.Target) {
			return true
		}
	}
	return false
}

// enclosing returns the zone of an answer without denials. It returns an error if no chain of keys leads to the zone.
func (v *validator) enclosing(ctx context.Context, a *Answer) (string, error) {
	for _, rr := range a.Authority {
		if soa, is := rr.(*dns.SOA); is {
			zone := dns.CanonicalName(soa.Hdr.Name)
			_, err := v.zone(ctx, zone)
			return zone, err
		}
	}
	return "", unsigned("the answer has no record, no signature and no SOA")
}

// labels counts the labels of a name without the asterisk of a wildcard (RFC 4034 section 3.1.3).
func labels(name string) int {
	n := dns.CountLabel(name)
	if strings.HasPrefix(name, "*.") {
		n--
	}
	return n
}

// set returns the valid signature of a record set that expires last, or an error if there is none.
func (v *validator) set(ctx context.Context, s *set) (seal, error) {
	var best seal
	var first error
	head := s.records[0].Header()
	for _, sig := range s.signatures {
		sealed, err := v.signature(ctx, s, sig)
		if err != nil {
			e := (*Error)(nil)
			if first == nil || errors.As(err, &e) && e.Kind != Bogus && e.Kind != Unsigned {
				first = err
			}
			continue
		}
		if sealed.expires.After(best.expires) {
			best = sealed
		}
	}
	switch {
	case !best.expires.IsZero():
		return best, nil
	case first != nil:
		return best, first
	default:
		return best, v.whyUnsigned(ctx, head, s)
	}
}

// whyUnsigned returns whether a set without a signature is from an unsigned zone, or lacks its signature.
func (v *validator) whyUnsigned(ctx context.Context, head *dns.RR_Header, s *set) error {
	zone := dns.CanonicalName(head.Name)
	if head.Rrtype == dns.TypeDS {
		zone = parentOf(zone) // the DS record is in the parent zone
	}
	for ; ; zone = parentOf(zone) {
		answer, err := v.ask(ctx, zone, dns.TypeSOA)
		if err == nil && len(answer.Found()) > 0 && answer.alias() == answer.name() {
			if _, err := v.zone(ctx, zone); err != nil {
				return err
			}
			return bogus("%s has no signature, but its zone %q is signed", s, zone)
		}
		if err != nil && !IsAbsent(err) {
			return err
		}
		if zone == "." {
			return unsigned("%s has no signature", s)
		}
	}
}

// signature checks one signature of a set.
func (v *validator) signature(ctx context.Context, s *set, sig *dns.RRSIG) (seal, error) {
	owner := dns.CanonicalName(s.records[0].Header().Name)
	signer := dns.CanonicalName(sig.SignerName)
	if !dns.IsSubDomain(signer, owner) || sig.TypeCovered == dns.TypeDS && signer == owner || int(sig.Labels) > labels(owner) {
		return seal{}, bogus("the signature of %s is by %q, which has no authority for it", s, signer)
	}
	keys, err := v.zone(ctx, signer)
	if err != nil {
		return seal{}, err
	}
	expires, err := v.verify(s, sig, keys.keys)
	return seal{zone: signer, labels: int(sig.Labels), expires: expires}, err
}

// verify checks a signature with the key that it names, and returns its expiry.
func (v *validator) verify(s *set, sig *dns.RRSIG, keys []*dns.DNSKEY) (time.Time, error) {
	begins, ends := moment(sig.Inception, v.now), moment(sig.Expiration, v.now)
	const layout = "2006-01-02 15:04 MST"
	switch {
	case v.now.After(ends):
		return ends, bogus("the signature of %s expired at %s", s, ends.Format(layout))
	case v.now.Before(begins):
		return ends, bogus("the signature of %s is not valid before %s: check the clock of the signer and of this machine", s, begins.Format(layout))
	}
	err := bogus("no key of the zone made the signature of %s: it names key %d with algorithm %s", s, sig.KeyTag, algorithm(sig.Algorithm))
	for _, key := range keys {
		if key.KeyTag() != sig.KeyTag || key.Algorithm != sig.Algorithm {
			continue
		}
		if v.verifications--; v.verifications < 0 {
			return ends, bogus("its signatures need more than %d verifications, as in an attack", maxVerifications)
		}
		if !wellFormed(key) {
			err = bogus("key %d of %q, algorithm %s, cannot be used", sig.KeyTag, key.Hdr.Name, algorithm(key.Algorithm))
			continue
		}
		failed := sig.Verify(key, s.records)
		if failed == nil {
			return ends, nil
		}
		err = bogus("the signature of %s by key %d of %q is wrong: %v", s, sig.KeyTag, key.Hdr.Name, failed)
	}
	return ends, err
}

// wellFormed reports whether a key has the length of its algorithm, which the library requires.
func wellFormed(key *dns.DNSKEY) bool {
	decoded, err := base64.StdEncoding.DecodeString(key.PublicKey)
	if err != nil {
		return false
	}
	switch key.Algorithm {
	case dns.ECDSAP256SHA256:
		return len(decoded) == 64
	case dns.ECDSAP384SHA384:
		return len(decoded) == 96
	case dns.ED25519:
		return len(decoded) == 32
	case dns.RSASHA1, dns.RSASHA1NSEC3SHA1, dns.RSASHA256, dns.RSASHA512:
		return len(decoded) > 65
	default:
		return false
	}
}

func algorithm(number uint8) string {
	return cmp.Or(dns.AlgorithmToString[number], fmt.Sprintf("number %d", number))
}

// moment returns the time of a 32-bit stamp in a signature: the one closest to now (RFC 4034 section 3.1.5).
func moment(stamp uint32, now time.Time) time.Time {
	base := now.Unix()
	return time.Unix(base+int64(int32(stamp-uint32(base))), 0).UTC() //nolint:gosec // the arithmetic of RFC 1982 wraps around
}

// zone returns the keys of a zone, after it has validated them by a chain from a trust anchor.
func (v *validator) zone(ctx context.Context, name string) (*zoneKeys, error) {
	if known := v.zones[name]; known != nil {
		return known, nil
	}
	if v.pending[name] {
		return nil, bogus("the chain of trust of the keys of %q is a loop", name)
	}
	v.pending[name] = true
	defer delete(v.pending, name)
	vouched, parent, err := v.delegation(ctx, name)
	if err != nil {
		return nil, err
	}
	answer, err := v.ask(ctx, name, dns.TypeDNSKEY)
	switch {
	case IsAbsent(err):
		return nil, bogus("the zone %q has no DNSKEY record, but its parent zone has a DS record for it", name)
	case err != nil:
		return nil, err
	}
	var keys *set
	for _, s := range sets(answer.Records) {
		if h := s.records[0].Header(); h.Rrtype == dns.TypeDNSKEY && dns.CanonicalName(h.Name) == name {
			keys = s
		}
	}
	if keys == nil {
		return nil, bogus("the zone %q has no DNSKEY record", name)
	}
	var all, entry []*dns.DNSKEY
	for _, rr := range keys.records {
		key, is := rr.(*dns.DNSKEY)
		if !is || key.Flags&dns.ZONE == 0 || key.Flags&dns.REVOKE != 0 {
			continue
		}
		all = append(all, key)
		if isVouchedFor(key, vouched) {
			entry = append(entry, key)
		}
	}
	if len(entry) == 0 {
		return nil, bogus("no key of the zone %q matches its %s", name, whose(parent))
	}
	err = bogus("the keys of %q have no signature", name)
	known := &zoneKeys{keys: all, parent: parent}
	for _, sig := range keys.signatures {
		if dns.CanonicalName(sig.SignerName) != name {
			continue
		}
		ends, failed := v.verify(keys, sig, entry)
		if failed != nil {
			err = failed
			continue
		}
		if ends.After(known.expires) {
			known.expires = ends
		}
	}
	if known.expires.IsZero() {
		return nil, err
	}
	v.zones[name] = known
	return known, nil
}

func whose(parent string) string {
	if parent == "" {
		return "trust anchor"
	}
	return fmt.Sprintf("DS record in %q", parent)
}

// delegation returns the DS or DNSKEY records that identify the keys of a zone: trust anchors, or the signed DS records
// of the parent zone.
func (v *validator) delegation(ctx context.Context, name string) (vouched []dns.RR, parent string, err error) {
	for _, rr := range v.anchors {
		if dns.CanonicalName(rr.Header().Name) == name {
			vouched = append(vouched, rr)
		}
	}
	if len(vouched) > 0 {
		return vouched, "", nil
	}
	if name == "." {
		return nil, "", unsigned("there is no trust anchor above the zone: set dnssec.anchors in stepwatch.yml")
	}
	answer, err := v.ask(ctx, name, dns.TypeDS)
	switch {
	case IsAbsent(err):
		return nil, "", unsigned("the parent zone has no DS record for %q, so its signatures cannot be checked", name)
	case err != nil:
		return nil, "", err
	}
	for _, s := range sets(answer.Records) {
		if h := s.records[0].Header(); h.Rrtype != dns.TypeDS || dns.CanonicalName(h.Name) != name {
			continue
		}
		sealed, err := v.set(ctx, s)
		if err != nil {
			return nil, "", err
		}
		return s.records, sealed.zone, nil
	}
	return nil, "", unsigned("the parent zone has no DS record for %q, so its signatures cannot be checked", name)
}

func isVouchedFor(key *dns.DNSKEY, vouched []dns.RR) bool {
	for _, rr := range vouched {
		switch rr := rr.(type) {
		case *dns.DNSKEY:
			if rr.Algorithm == key.Algorithm && rr.PublicKey == key.PublicKey {
				return true
			}
		case *dns.DS:
			if rr.KeyTag != key.KeyTag() || rr.Algorithm != key.Algorithm {
				continue
			}
			if ds := key.ToDS(rr.DigestType); ds != nil && strings.EqualFold(ds.Digest, rr.Digest) {
				return true
			}
		}
	}
	return false
}

// ask queries the resolver for records of the chain, with signatures, also if the resolver cannot validate them.
func (v *validator) ask(ctx context.Context, name string, kind uint16) (*Answer, error) {
	return v.client.Find(ctx, Question{Name: name, Type: kind, DNSSEC: true, Unchecked: true})
}

func parentOf(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[next:]
}
