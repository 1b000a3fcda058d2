package maildns

import (
	"context"
	"slices"
	"strings"
)

// SPF is the meaning of a domain's SPF record for a receiver.
type SPF struct {
	Domain  string
	Record  string // empty unless there is exactly one
	Lookups int    // DNS look-ups of a receiver for a sender that no term permits, including all included records
	Voids   int    // look-ups that find nothing, for senders of the address family with more of them
	All     string // the result of such a sender: "fail", "softfail", "neutral", "pass"
	Findings
}

// CheckSPF lints the record of domain and all records that it includes or redirects to. It works like EvaluateSPF for a
// sender that no term permits, but continues beyond the limits of receivers.
//
// Void look-ups are counted separately for IPv4 and IPv6, because a receiver only looks up addresses of the sender's
// family. A family in which the record permits nobody is left out, because a permerror changes nothing for it.
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
	if s.Lookups > spfLookups {
		s.fault("it needs %d DNS look-ups, but receivers stop after %d with permerror (RFC 7208 section 4.6.4): remove includes that are not needed, or replace some a and mx by ip4 and ip6",
			s.Lookups, spfLookups)
	}
	if s.Voids > spfVoids {
		s.fault("%d of its look-ups find nothing, but receivers stop after %d with permerror (RFC 7208 section 4.6.4): remove %s",
			s.Voids, spfVoids, strings.Join(e.empty[family], ", "))
	} else {
		for _, term := range e.empty[0] {
			if slices.Contains(e.empty[1], term) {
				s.advise("%s finds nothing", term)
			}
		}
	}
	return s, nil
}

// The remarks of an evaluation. They are unused if there is a sender.

// remark adds the findings about the terms of a record.
func (s *SPF) remark(where string, found Findings) {
	for _, text := range found.Faults {
		s.fault("%s%s", where, text)
	}
	for _, text := range found.Advice {
		s.advise("%s%s", where, text)
	}
}

// lacksRecord adds that a domain has no SPF record. For an included domain without any TXT record, leadsNowhere does
// so.
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
	s.fault("%s has %d SPF records, so none counts (RFC 7208 section 4.5): merge them into one", domain, n)
}

func (s *SPF) endsWith(where string, all spfTerm, permits bool) {
	if permits {
		s.fault("%s%s permits everybody to send for %s: end it with -all or ~all", where, all.text, s.Domain)
	}
}

func (s *SPF) hasNoEnd(path []string) {
	if len(path) == 1 {
		s.advise("it does not set the result of other senders: end it with -all or ~all")
	}
}

func (s *SPF) usesPTR(where string, t spfTerm) {
	s.advise("%s%s is slow and must not be used any more (RFC 7208 section 5.5)", where, t.text)
}

func (s *SPF) hasManyMX(where, target string, t spfTerm, n int) {
	s.fault("%s%s: %s has %d MX hosts, but receivers stop after %d with permerror (RFC 7208 section 4.6.4)", where, t.text, target, n, spfHosts)
}

func (s *SPF) loops(path []string, target string) {
	s.fault("it includes itself in a loop: %s > %s", strings.Join(path, " > "), target)
}

func (s *SPF) leadsNowhere(where, term, target string) {
	s.fault("%s%s: %s has no SPF record, which is a permerror for receivers (RFC 7208 section 5.2): remove it", where, term, target)
}
