package dnsclient

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// denials are the signed records of an answer that prove absence: NSEC (RFC 4034 section 4) or NSEC3 (RFC 5155).
type denials struct {
	zone  string
	plain []*dns.NSEC
	hash  []*dns.NSEC3
}

func (d *denials) empty() bool { return len(d.plain)+len(d.hash) == 0 }

// add adds a set with a valid signature.
func (d *denials) add(s *set, sealed seal) error {
	if d.zone != "" && d.zone != sealed.zone {
		return bogus("the proofs of absence are from two zones, %q and %q", d.zone, sealed.zone)
	}
	d.zone = sealed.zone
	for _, rr := range s.records {
		switch rr := rr.(type) {
		case *dns.NSEC:
			if sealed.labels < labels(rr.Hdr.Name) {
				return bogus("the NSEC of %q was expanded from a wildcard, which proves nothing", rr.Hdr.Name)
			}
			d.plain = append(d.plain, rr)
		case *dns.NSEC3:
			if rr.Iterations > maxIterations {
				return unsigned("the zone %q hashes its names %d times, more than the limit of %d (RFC 9276)", sealed.zone, rr.Iterations, maxIterations)
			}
			d.hash = append(d.hash, rr)
		}
	}
	if len(d.plain)+len(d.hash) > maxDenials {
		return bogus("the answer has more than %d proofs of absence", maxDenials)
	}
	return nil
}

// expanded checks that the wildcard with this many labels may answer for name: no closer name exists (RFC 4035 section
// 5.3.4).
func (d *denials) expanded(name string, wildcardLabels int) error {
	if d.covered(name, lastLabels(name, wildcardLabels+1)) {
		return nil
	}
	return bogus("%q is answered from a wildcard, but nothing proves that the name itself does not exist", name)
}

// covered reports whether the records prove that a name does not exist. nearest is the name to check in hashes: one
// label longer than the longest existing name above it.
func (d *denials) covered(name, nearest string) bool {
	return slices.ContainsFunc(d.plain, func(rr *dns.NSEC) bool { return covers(rr, name) }) ||
		slices.ContainsFunc(d.hash, func(rr *dns.NSEC3) bool { return rr.Cover(nearest) && !optOut(rr) })
}

func optOut(rr *dns.NSEC3) bool { return rr.Flags&1 != 0 }

// deny checks that name does not exist, or has no record of this type.
func (d *denials) deny(name string, kind uint16, noName bool) error {
	name = dns.CanonicalName(name)
	proven := false
	switch {
	case !dns.IsSubDomain(d.zone, name):
	case len(d.hash) > 0 && noName:
		proven = d.hashedNoName(name)
	case len(d.hash) > 0:
		proven = d.hashedNoData(name, kind)
	case noName:
		proven = d.plainNoName(name)
	default:
		proven = d.plainNoData(name, kind)
	}
	switch {
	case proven:
		return nil
	case slices.ContainsFunc(d.hash, optOut):
		return unsigned("the zone %q omits unsigned names from its proofs (opt-out), so %q is not proven to be absent", d.zone, name)
	default:
		return bogus("the signed records of %q do not prove that %q has no %s", d.zone, name, TypeName(kind))
	}
}

func (d *denials) plainNoName(name string) bool {
	for _, rr := range d.plain {
		if !covers(rr, name) || dns.IsSubDomain(name, dns.CanonicalName(rr.NextDomain)) {
			continue
		}
		wildcard := "*." + encloser(rr, name)
		return slices.ContainsFunc(d.plain, func(rr *dns.NSEC) bool { return covers(rr, wildcard) })
	}
	return false
}

func (d *denials) plainNoData(name string, kind uint16) bool {
	for _, rr := range d.plain {
		switch owner, next := dns.CanonicalName(rr.Hdr.Name), dns.CanonicalName(rr.NextDomain); {
		case owner == name:
			return lacks(rr.TypeBitMap, kind)
		case covers(rr, name) && dns.IsSubDomain(name, next):
			return true // it only exists because a name below it exists
		case covers(rr, name):
			wildcard := "*." + encloser(rr, name)
			return slices.ContainsFunc(d.plain, func(rr *dns.NSEC) bool {
				return dns.CanonicalName(rr.Hdr.Name) == wildcard && lacks(rr.TypeBitMap, kind)
			})
		}
	}
	return false
}

// closest returns the longest existing name at or above name that a record proves, and the name one label longer.
func (d *denials) closest(name string) (exists, nearest string) {
	for candidate, longer := name, ""; dns.IsSubDomain(d.zone, candidate); candidate, longer = parentOf(candidate), candidate {
		for _, rr := range d.hash {
			// The record of a delegation or a DNAME says nothing about the names below it.
			if rr.Match(candidate) && (longer == "" || !beneathIsElsewhere(rr.TypeBitMap)) {
				return candidate, longer
			}
		}
		if candidate == "." {
			break
		}
	}
	return "", ""
}

func (d *denials) hashedNoName(name string) bool {
	exists, nearest := d.closest(name)
	if exists == "" || nearest == "" {
		return false
	}
	return d.covered("", nearest) && d.covered("", "*."+exists)
}

func (d *denials) hashedNoData(name string, kind uint16) bool {
	exists, nearest := d.closest(name)
	at := exists
	switch {
	case exists == "":
		return false
	case nearest != "":
		if !d.covered("", nearest) {
			return false
		}
		at = "*." + exists
	}
	return slices.ContainsFunc(d.hash, func(rr *dns.NSEC3) bool { return rr.Match(at) && lacks(rr.TypeBitMap, kind) })
}

// lacks reports whether a name with these types does not have kind, and the record is from the right side of a
// delegation.
func lacks(types []uint16, kind uint16) bool {
	if slices.Contains(types, kind) || slices.Contains(types, dns.TypeCNAME) {
		return false
	}
	delegation := slices.Contains(types, dns.TypeNS) && !slices.Contains(types, dns.TypeSOA)
	if kind == dns.TypeDS {
		return !slices.Contains(types, dns.TypeSOA)
	}
	return !delegation
}

func beneathIsElsewhere(types []uint16) bool {
	return slices.Contains(types, dns.TypeDNAME) || slices.Contains(types, dns.TypeNS) && !slices.Contains(types, dns.TypeSOA)
}

// covers reports whether name is between the record's owner and the next name in the order of the zone.
func covers(rr *dns.NSEC, name string) bool {
	owner, next, name := dns.CanonicalName(rr.Hdr.Name), dns.CanonicalName(rr.NextDomain), dns.CanonicalName(name)
	if dns.IsSubDomain(owner, name) && name != owner && beneathIsElsewhere(rr.TypeBitMap) {
		return false
	}
	if order(owner, name) >= 0 {
		return false
	}
	return order(name, next) < 0 || order(owner, next) >= 0 // the last record points to the first
}

// encloser returns the longest name above name that the record proves to exist.
func encloser(rr *dns.NSEC, name string) string {
	n := max(dns.CompareDomainName(rr.Hdr.Name, name), dns.CompareDomainName(rr.NextDomain, name))
	return lastLabels(name, n)
}

// lastLabels returns the last n labels of name.
func lastLabels(name string, n int) string {
	for dns.CountLabel(name) > n {
		name = parentOf(name)
	}
	return name
}

// order compares names in the canonical order of a zone: label by label from the last, as bytes (RFC 4034 section 6.1).
func order(a, b string) int {
	first, second := dns.SplitDomainName(a), dns.SplitDomainName(b)
	for i := 1; i <= min(len(first), len(second)); i++ {
		if c := strings.Compare(plainLabel(first[len(first)-i]), plainLabel(second[len(second)-i])); c != 0 {
			return c
		}
	}
	return len(first) - len(second)
}

func plainLabel(label string) string {
	var b strings.Builder
	unescape(&b, label)
	return strings.ToLower(b.String())
}
