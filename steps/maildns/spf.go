package maildns

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// The limits of RFC 7208 section 4.6.4: more, and receivers answer permerror, which is as if there were no record.
const (
	SPFLookups = 10 // terms that ask DNS, those of included records too
	SPFVoids   = 2  // of them, those that find nothing
	spfMXHosts = 10 // of one mx term
)

// spfEffort ends the reading of a record that includes without end.
const spfEffort = 100

// SPF is what the SPF record of a domain means to a receiver.
type SPF struct {
	Domain  string
	Record  string // empty when there is not exactly one
	Lookups int    // DNS look-ups that a sender whom nothing permits costs a receiver, all included records counted
	Voids   int    // of them, those that find nothing, for senders of the address family in which more do
	All     string // what such a sender gets: "fail", "softfail", "neutral", "pass"
	Findings
}

// CheckSPF reads the record of domain and everything that it includes or redirects to.
//
// Void look-ups are counted for IPv4 and IPv6 apart, because a receiver asks for the sender's kind of address only. A family
// in which the record permits nobody is left out: mail over it has no record to lose.
func CheckSPF(ctx context.Context, lookup Lookup, domain string) (*SPF, error) {
	s := &SPF{Domain: domain}
	r := &spfReader{ctx: ctx, lookup: lookup, spf: s, answers: map[spfQuestion]Answer{}}
	record, void, err := r.record(domain)
	if err != nil || record == "" {
		if void {
			s.fault("%s has no TXT record: add one that begins with \"v=spf1\"", domain)
		}
		return s, err
	}
	s.Record = record
	all, err := r.read(domain, record, []string{domain}, true)
	if err != nil {
		return s, err
	}
	s.All = all
	family := 0
	if r.permits[1] && (!r.permits[0] || r.voids[1] > r.voids[0]) {
		family = 1
	}
	s.Voids = r.voids[family]
	if s.Lookups > SPFLookups {
		s.fault("it needs %d DNS look-ups, and receivers stop after %d with permerror (RFC 7208 section 4.6.4): replace includes that are not needed, or some a and mx by ip4 and ip6",
			s.Lookups, SPFLookups)
	}
	if s.Voids > SPFVoids {
		s.fault("%d of its look-ups find nothing, and receivers stop after %d with permerror (RFC 7208 section 4.6.4): remove %s",
			s.Voids, SPFVoids, strings.Join(r.empty[family], ", "))
	} else {
		for _, term := range r.empty[0] {
			if slices.Contains(r.empty[1], term) {
				s.advise("%s finds nothing", term)
			}
		}
	}
	return s, nil
}

type spfQuestion struct {
	name string
	kind uint16
}

// spfReader follows one record.
type spfReader struct {
	ctx     context.Context
	lookup  Lookup
	spf     *SPF
	answers map[spfQuestion]Answer // an include that is there twice is counted twice and asked for once
	voids   [2]int                 // for senders over IPv4, over IPv6
	permits [2]bool                // whether any sender of the family is
	empty   [2][]string            // the terms that find nothing, likewise
}

func (r *spfReader) ask(name string, kind uint16) (Answer, error) {
	question := spfQuestion{Canonical(name), kind}
	if known, found := r.answers[question]; found {
		return known, nil
	}
	answer, err := r.lookup(r.ctx, question.name, kind)
	if err == nil {
		r.answers[question] = answer
	}
	return answer, err
}

// record gives the SPF record of a domain. Where there is not exactly one that is a fault; void says that there is no TXT
// record at all.
func (r *spfReader) record(domain string) (record string, void bool, err error) {
	texts, err := Lookup(func(_ context.Context, name string, kind uint16) (Answer, error) { return r.ask(name, kind) }).texts(r.ctx, domain)
	if err != nil {
		return "", false, err
	}
	var records []string
	near := ""
	for _, text := range texts {
		first, _, _ := strings.Cut(text, " ")
		switch {
		case strings.EqualFold(first, "v=spf1"):
			records = append(records, text)
		case strings.Contains(strings.ToLower(text), "v=spf1"), strings.HasPrefix(strings.ToLower(text), "spf1"):
			near = text
		}
	}
	switch {
	case len(records) == 1:
		return records[0], false, nil
	case len(records) > 1:
		r.spf.fault("%s has %d SPF records, so none counts (RFC 7208 section 4.5): put them into one", domain, len(records))
	case near != "":
		r.spf.fault(`%s has no record that begins with exactly "v=spf1 ": it has %s`, domain, quote(near))
	case len(texts) > 0:
		r.spf.fault(`%s has no SPF record: add a TXT record that begins with "v=spf1"`, domain)
	}
	return "", len(texts) == 0, nil
}

// read judges one record and all behind it, and gives what becomes of a sender whom nothing permits. path are the domains
// that led here, this one last. passing says that a sender whom this record permits is permitted altogether.
func (r *spfReader) read(domain, record string, path []string, passing bool) (all string, err error) {
	var problems Findings
	terms := parseSPF(record, &problems)
	where := ""
	if len(path) > 1 {
		where = strings.Join(path[1:], " > ") + ": "
	}
	for _, text := range problems.Faults {
		r.spf.fault("%s%s", where, text)
	}
	for _, text := range problems.Advice {
		r.spf.advise("%s%s", where, text)
	}
	redirect := ""
	for _, t := range terms {
		if r.spf.Lookups > spfEffort {
			return "", nil
		}
		permits := passing && t.qualifier == '+'
		switch t.name {
		case "all":
			if t.qualifier == '+' && passing {
				r.spf.fault("%s%s permits the whole world to send for %s: end it with -all or ~all", where, t.text, r.spf.Domain)
			}
			return spfResults[t.qualifier], nil // what stands behind is never read
		case "redirect":
			redirect = t.domain
		case "exp":
		case "ip4":
			r.permits[0] = r.permits[0] || permits
		case "ip6":
			r.permits[1] = r.permits[1] || permits
		default:
			if err := r.term(domain, where, t, path, permits); err != nil {
				return "", err
			}
		}
	}
	if redirect == "" {
		if len(path) == 1 {
			r.spf.advise("it does not say what becomes of other senders: end it with -all or ~all")
		}
		return "neutral", nil
	}
	return r.follow("redirect="+redirect, where, redirect, path, passing)
}

var spfResults = map[byte]string{'+': "pass", '-': "fail", '~': "softfail", '?': "neutral"}

// term counts one term that asks DNS.
func (r *spfReader) term(domain, where string, t spfTerm, path []string, permits bool) error {
	target := t.domain
	if target == "" {
		target = domain
	}
	if t.name == "include" {
		_, err := r.follow(t.text, where, target, path, permits)
		return err
	}
	r.spf.Lookups++
	if t.name == "ptr" {
		r.spf.advise("%s%s is slow and must not be used any more (RFC 7208 section 5.5)", where, t.text)
	}
	if strings.Contains(target, "%") || t.name == "ptr" { // differs from sender to sender
		r.permits[0], r.permits[1] = r.permits[0] || permits, r.permits[1] || permits
		return nil
	}
	switch t.name {
	case "exists":
		answer, err := r.ask(target, dns.TypeA)
		if err != nil {
			return err
		}
		r.found(where+t.text, len(answer.Records) > 0, len(answer.Records) > 0, permits)
	case "a":
		v4, v6, err := r.hostHas(target)
		if err != nil {
			return err
		}
		r.found(where+t.text, v4, v6, permits)
	case "mx":
		answer, err := r.ask(target, dns.TypeMX)
		if err != nil {
			return err
		}
		if len(answer.Records) > spfMXHosts {
			r.spf.fault("%s%s: %s has %d MX hosts, and receivers stop after %d with permerror (RFC 7208 section 4.6.4)", where, t.text, target, len(answer.Records), spfMXHosts)
			return nil
		}
		if len(answer.Records) == 0 {
			r.found(where+t.text, false, false, permits)
		}
		for _, rr := range answer.Records {
			mx, is := rr.(*dns.MX)
			if !is || mx.Mx == "." {
				continue
			}
			v4, v6, err := r.hostHas(mx.Mx)
			if err != nil {
				return err
			}
			r.permits[0], r.permits[1] = r.permits[0] || permits && v4, r.permits[1] || permits && v6
		}
	}
	return nil
}

func (r *spfReader) hostHas(host string) (v4, v6 bool, err error) {
	a, err := r.ask(host, dns.TypeA)
	if err != nil {
		return false, false, err
	}
	aaaa, err := r.ask(host, dns.TypeAAAA)
	return len(a.Records) > 0, len(aaaa.Records) > 0, err
}

// found takes down what a look-up found for senders of each family.
func (r *spfReader) found(term string, v4, v6, permits bool) {
	for family, has := range []bool{v4, v6} {
		if has {
			r.permits[family] = r.permits[family] || permits
		}
	}
	switch {
	case !v4 && !v6:
		r.nothing(term, 0, 1)
	case !v4:
		r.nothing(term+" for IPv4", 0)
	case !v6:
		r.nothing(term+" for IPv6", 1)
	}
}

// nothing takes down that a term finds nothing for senders of some families.
func (r *spfReader) nothing(term string, families ...int) {
	for _, family := range families {
		r.voids[family]++
		if !slices.Contains(r.empty[family], term) {
			r.empty[family] = append(r.empty[family], term)
		}
	}
}

// follow goes into another domain's record.
func (r *spfReader) follow(term, where, target string, path []string, passing bool) (all string, err error) {
	r.spf.Lookups++
	target = Canonical(target)
	if strings.Contains(target, "%") {
		r.permits[0], r.permits[1] = r.permits[0] || passing, r.permits[1] || passing
		return "neutral", nil
	}
	if slices.Contains(path, target) {
		r.spf.fault("it includes itself without end: %s > %s", strings.Join(path, " > "), target)
		return "", nil
	}
	record, void, err := r.record(target)
	if err != nil {
		return "", err
	}
	if void {
		r.nothing(where+term, 0, 1)
		r.spf.fault("%s%s: %s has no SPF record, which is a permerror to receivers (RFC 7208 section 5.2): remove it", where, term, target)
	}
	if record == "" {
		return "", nil
	}
	return r.read(target, record, append(slices.Clone(path), target), passing)
}

// spfTerm is one mechanism or modifier of a record.
type spfTerm struct {
	text      string // as written
	qualifier byte   // of a mechanism: + - ~ ?
	name      string // in lower case
	domain    string // with macros unexpanded, or empty
	prefix    netip.Prefix
}

// parseSPF reads the terms of a record that begins with "v=spf1" (RFC 7208 section 12). What it does not understand is a
// fault and left out.
func parseSPF(record string, f *Findings) []spfTerm {
	if strings.ContainsFunc(record, func(c rune) bool { return c < ' ' || c > '~' }) {
		f.fault("it has characters other than printable ASCII")
	}
	var (
		terms     []spfTerm
		hasAll    bool
		modifiers = map[string]bool{}
	)
	for i, text := range strings.Split(record, " ") {
		if i == 0 || text == "" {
			continue
		}
		t, problem := parseSPFTerm(text)
		switch {
		case problem != "":
			f.fault("%s: %s", oneWord(text), problem)
			continue
		case t.qualifier == 0:
			if t.name != "redirect" && t.name != "exp" {
				f.advise("nobody reads %s", oneWord(text))
				continue
			}
			if modifiers[t.name] {
				f.fault("%s= is there twice", t.name)
				continue
			}
			modifiers[t.name] = true
		case hasAll:
			f.advise("%s stands behind all and is never read", oneWord(text))
		}
		hasAll = hasAll || t.name == "all"
		if (t.name == "ip4" || t.name == "ip6") && t.qualifier == '+' {
			if least := map[string]int{"ip4": 8, "ip6": 16}[t.name]; t.prefix.Bits() < least {
				f.fault("%s permits a large part of the Internet to send", t.text)
			}
		}
		terms = append(terms, t)
	}
	if hasAll && modifiers["redirect"] {
		f.advise("redirect= is ignored because there is an all")
	}
	return terms
}

// parseSPFTerm reads one term. The problem says what is wrong with it.
func parseSPFTerm(text string) (t spfTerm, problem string) {
	t.text = text
	rest := text
	split := strings.IndexAny(rest, ":/=")
	if split >= 0 && rest[split] == '=' {
		t.name = strings.ToLower(rest[:split])
		switch t.name {
		case "redirect", "exp":
			t.domain = rest[split+1:]
			return t, domainSpec(t.domain)
		case "all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists":
			return t, "nobody reads it: write it with a colon, " + t.name + ":" + oneWord(rest[split+1:])
		}
		if !spfName(t.name) {
			return t, "that is no term"
		}
		return t, macroString(rest[split+1:], true)
	}
	t.qualifier = '+'
	if strings.ContainsRune("+-~?", rune(rest[0])) {
		t.qualifier, rest = rest[0], rest[1:]
	}
	name, value := rest, ""
	if split := strings.IndexAny(rest, ":/"); split >= 0 {
		name, value = rest[:split], rest[split:]
	}
	t.name = strings.ToLower(name)
	switch t.name {
	case "all":
		if value != "" {
			return t, "all takes nothing behind it"
		}
		return t, ""
	case "include", "exists":
		domain, found := strings.CutPrefix(value, ":")
		if !found {
			return t, "it needs a domain: " + t.name + ":example.org"
		}
		t.domain = domain
		return t, domainSpec(domain)
	case "ptr":
		if value == "" {
			return t, ""
		}
		t.domain = strings.TrimPrefix(value, ":")
		if !strings.HasPrefix(value, ":") {
			return t, "that is no domain"
		}
		return t, domainSpec(t.domain)
	case "a", "mx":
		domain, problem := cutPrefixLengths(value)
		if problem != "" {
			return t, problem
		}
		if domain == "" {
			return t, ""
		}
		t.domain = domain[1:]
		return t, domainSpec(t.domain)
	case "ip4", "ip6":
		address, found := strings.CutPrefix(value, ":")
		if !found || address == "" {
			return t, "it needs an address"
		}
		return t, t.network(address)
	case "ip", "ipv4", "ipv6":
		return t, "that is no mechanism: write ip4: or ip6:"
	default:
		return t, "that is no mechanism"
	}
}

// network reads the address of ip4 and ip6.
func (t *spfTerm) network(text string) string {
	address, length, hasLength := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil || ip.Zone() != "":
		return "that is no IP address"
	case t.name == "ip4" && !ip.Is4():
		return "that is no IPv4 address: write ip6:"
	case t.name == "ip6" && ip.Is4():
		return "that is no IPv6 address: write ip4:"
	}
	bits := ip.BitLen()
	if hasLength {
		n, ok := prefixLength(length, bits)
		if !ok {
			return "wanted a prefix length from 0 to " + strconv.Itoa(bits)
		}
		bits = n
	}
	t.prefix = netip.PrefixFrom(ip, bits)
	return ""
}

func prefixLength(text string, most int) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= most && strconv.Itoa(n) == text
}

// cutPrefixLengths takes "/24", "//64" and "/24//64" from the end of what follows a or mx. A macro may hold a slash.
func cutPrefixLengths(value string) (domain, problem string) {
	last := strings.LastIndexByte(value, '}')
	tail := value[last+1:]
	slash := strings.IndexByte(tail, '/')
	if slash < 0 {
		domain = value
	} else {
		domain = value[:last+1+slash]
		v4, v6, dual := strings.Cut(tail[slash:], "//")
		if v4 != "" {
			if _, ok := prefixLength(v4[1:], 32); !ok {
				return "", "wanted a prefix length from 0 to 32 behind /"
			}
		}
		if dual {
			if _, ok := prefixLength(v6, 128); !ok {
				return "", "wanted a prefix length from 0 to 128 behind //"
			}
		}
	}
	if domain == ":" {
		return "", "it has a colon and no domain"
	}
	return domain, ""
}

func spfName(name string) bool {
	for i, c := range name {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return name != ""
}

// domainSpec says what is wrong with a domain that may have macros (RFC 7208 section 7.1).
func domainSpec(domain string) string {
	if problem := macroString(domain, false); problem != "" {
		return problem
	}
	if strings.HasSuffix(domain, "}") {
		return ""
	}
	plain := strings.TrimSuffix(domain, ".")
	labels := strings.Split(plain, ".")
	top := labels[len(labels)-1]
	switch {
	case plain == "":
		return "it has no domain"
	case len(plain) > 253 && !strings.Contains(plain, "%"):
		return "the domain is longer than 253 characters"
	case len(labels) < 2:
		return "the domain has no dot"
	case strings.Trim(top, "0123456789") == "":
		return "the domain ends in a number: an address is written with ip4: or ip6:"
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 && !strings.Contains(label, "%") {
			return "the domain has an empty or too long part"
		}
	}
	if strings.Trim(strings.ToLower(top), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || top[0] == '-' || top[len(top)-1] == '-' {
		return "the domain does not end in a top-level domain"
	}
	return ""
}

// macroString says what is wrong with the macros in a text (RFC 7208 section 7.1).
func macroString(text string, explanation bool) string {
	letters := "slodiphv"
	if explanation {
		letters += "crt"
	}
	for {
		at := strings.IndexByte(text, '%')
		if at < 0 {
			return ""
		}
		text = text[at+1:]
		if text == "" {
			return "a % stands alone"
		}
		if strings.IndexByte("%_-", text[0]) >= 0 {
			text = text[1:]
			continue
		}
		body, rest, closed := strings.Cut(text, "}")
		if text[0] != '{' || !closed || len(body) < 2 {
			return "a macro is written %{i}"
		}
		if !strings.ContainsRune(letters, rune(body[1]|0x20)) {
			return "%" + oneWord(body) + "} is no macro"
		}
		transform := strings.TrimLeft(body[2:], "0123456789")
		if len(body[2:]) != len(transform) && strings.Trim(body[2:len(body)-len(transform)], "0") == "" {
			return "%" + body + "} keeps no part of the name"
		}
		if transform != "" && transform[0]|0x20 == 'r' {
			transform = transform[1:]
		}
		if strings.Trim(transform, ".-+,/_=") != "" {
			return "%" + oneWord(body) + "} is no macro"
		}
		text = rest
	}
}
