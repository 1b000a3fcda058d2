package maildns

import (
	"context"
	"slices"
	"strings"
)

// SPF is what the SPF record of a domain means to a receiver.
type SPF struct {
	Domain  string
	Record  string // empty when there is not exactly one
	Lookups int    // DNS look-ups that a sender whom nothing permits costs a receiver, all included records counted
	Voids   int    // of them, those that find nothing, for senders of the address family in which more do
	All     string // what such a sender gets: "fail", "softfail", "neutral", "pass"
	Findings
}

// CheckSPF reads the record of domain and everything that it includes or redirects to: it is EvaluateSPF for a sender whom
// nothing permits, past the limits at which receivers stop.
//
// Void look-ups are counted for IPv4 and IPv6 apart, because a receiver asks for the sender's kind of address only. A family
// in which the record permits nobody is left out: mail over it has no record to lose.
func CheckSPF(ctx context.Context, lookup Lookup, domain string) (*SPF, error) {
	s := &SPF{Domain: domain}
	e := &spfEvaluation{ctx: ctx, lookup: lookup, lint: s, families: []int{0, 1}, answers: map[spfQuestion]Answer{}}
	outcome, err := e.check(domain, []string{domain}, true)
	s.Lookups = e.lookups
	if err != nil || s.Record == "" {
		return s, err
	}
	s.All = string(outcome.result)
	family := 0
	if e.permits[1] && (!e.permits[0] || e.voids[1] > e.voids[0]) {
		family = 1
	}
	s.Voids = e.voids[family]
	if s.Lookups > SPFLookups {
		s.fault("it needs %d DNS look-ups, and receivers stop after %d with permerror (RFC 7208 section 4.6.4): replace includes that are not needed, or some a and mx by ip4 and ip6",
			s.Lookups, SPFLookups)
	}
	if s.Voids > SPFVoids {
		s.fault("%d of its look-ups find nothing, and receivers stop after %d with permerror (RFC 7208 section 4.6.4): remove %s",
			s.Voids, SPFVoids, strings.Join(e.empty[family], ", "))
	} else {
		for _, term := range e.empty[0] {
			if slices.Contains(e.empty[1], term) {
				s.advise("%s finds nothing", term)
			}
		}
	}
	return s, nil
}

// What an evaluation remarks upon. Where there is a sender nobody reads it.

// remark takes over what is wrong with the terms of a record.
func (s *SPF) remark(where string, found Findings) {
	for _, text := range found.Faults {
		s.fault("%s%s", where, text)
	}
	for _, text := range found.Advice {
		s.advise("%s%s", where, text)
	}
}

// lacksRecord says that a domain has no SPF record. Of one that others include and that has no text at all leadsNowhere
// says it.
func (s *SPF) lacksRecord(domain string, path []string, found spfRecords) {
	near := ""
	for _, text := range found.texts {
		if lower := strings.ToLower(text); strings.Contains(lower, "v=spf1") || strings.HasPrefix(lower, "spf1") {
			near = text
		}
	}
	switch {
	case near != "":
		s.fault(`%s has no record that begins with exactly "v=spf1 ": it has %s`, domain, quote(near))
	case len(found.texts) > 0:
		s.fault(`%s has no SPF record: add a TXT record that begins with "v=spf1"`, domain)
	case len(path) == 1:
		s.fault("%s has no TXT record: add one that begins with \"v=spf1\"", domain)
	}
}

func (s *SPF) hasSeveral(domain string, n int) {
	s.fault("%s has %d SPF records, so none counts (RFC 7208 section 4.5): put them into one", domain, n)
}

func (s *SPF) endsWith(where string, all spfTerm, permits bool) {
	if permits {
		s.fault("%s%s permits the whole world to send for %s: end it with -all or ~all", where, all.text, s.Domain)
	}
}

func (s *SPF) hasNoEnd(path []string) {
	if len(path) == 1 {
		s.advise("it does not say what becomes of other senders: end it with -all or ~all")
	}
}

func (s *SPF) usesPTR(where string, t spfTerm) {
	s.advise("%s%s is slow and must not be used any more (RFC 7208 section 5.5)", where, t.text)
}

func (s *SPF) hasManyMX(where, target string, t spfTerm, n int) {
	s.fault("%s%s: %s has %d MX hosts, and receivers stop after %d with permerror (RFC 7208 section 4.6.4)", where, t.text, target, n, spfHosts)
}

func (s *SPF) loops(path []string, target string) {
	s.fault("it includes itself without end: %s > %s", strings.Join(path, " > "), target)
}

func (s *SPF) leadsNowhere(where, term, target string) {
	s.fault("%s%s: %s has no SPF record, which is a permerror to receivers (RFC 7208 section 5.2): remove it", where, term, target)
}
