package maildns

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// The limits of RFC 7208 section 4.6.4. Beyond them receivers return permerror, as if there were no record.
const (
	spfLookups = 10 // terms that query DNS, including those of included records
	spfVoids   = 2  // look-ups that find nothing
	spfHosts   = 10 // MX hosts of one mx term, and names of an address
)

// spfEffort ends the evaluation of endless includes if no receiver's limit applies.
const spfEffort = 100

// SPFResult is the SPF result for a sender (RFC 7208 section 2.6).
type SPFResult string

// The results, as written in header fields.
const (
	SPFNone      SPFResult = "none"
	SPFNeutral   SPFResult = "neutral"
	SPFPass      SPFResult = "pass"
	SPFFail      SPFResult = "fail"
	SPFSoftFail  SPFResult = "softfail"
	SPFTempError SPFResult = "temperror"
	SPFPermError SPFResult = "permerror"
)

var spfResults = map[byte]SPFResult{'+': SPFPass, '-': SPFFail, '~': SPFSoftFail, '?': SPFNeutral}

// Sender is the client that hands over a message.
type Sender struct {
	Address netip.Addr
	HELO    string
	From    string // MAIL FROM, or empty
}

// mailbox returns the identity that SPF checks (RFC 7208 sections 2.4 and 4.3).
func (s Sender) mailbox() (local, domain string) {
	at := strings.LastIndexByte(s.From, '@')
	local, domain = s.From[:max(at, 0)], s.From[at+1:]
	if at < 0 {
		local = s.From
	}
	if at < 0 || domain == "" {
		domain = s.HELO
	}
	if local == "" {
		local = "postmaster"
	}
	return local, domain
}

// Check returns a limit.Error if a name of the sender is too long: each macro of a record repeats it.
func (s Sender) Check() error { return senderLimit.Check(int64(max(len(s.From), len(s.HELO)))) }

// SPFVerdict is the outcome of SPF for one sender.
type SPFVerdict struct {
	Result  SPFResult
	Detail  string // the matching term ("matched mx"), or what is wrong
	Lookups int    // needed look-ups, including failed ones
	Voids   int    // look-ups that found nothing
}

// EvaluateSPF evaluates the record of a sender's domain as a receiver does: check_host() of RFC 7208 section 4. If a
// look-up gets no answer, it returns the error and the result temperror. The explanation (exp=) is checked for mistakes
// but not looked up.
func EvaluateSPF(ctx context.Context, lookup Lookup, sender Sender) (SPFVerdict, error) {
	if err := sender.Check(); err != nil {
		return SPFVerdict{Result: SPFTempError, Detail: err.Error()}, err
	}
	sender.Address = sender.Address.Unmap()
	sender.HELO = strings.TrimSuffix(sender.HELO, ".")
	e := &spfEvaluation{ctx: ctx, lookup: lookup, sender: &sender, lint: &SPF{}, families: []int{familyOf(sender.Address)}, answers: map[spfQuestion]Answer{}}
	_, domain := sender.mailbox()
	if labels := strings.Split(strings.TrimSuffix(domain, "."), "."); len(labels) < 2 || !askable(domain) {
		return SPFVerdict{Result: SPFNone, Detail: spfNoRecord}, nil
	}
	outcome, err := e.check(domain, []string{domain}, true)
	if err != nil {
		outcome = spfOutcome{result: SPFTempError, detail: err.Error()}
	}
	return SPFVerdict{Result: outcome.result, Detail: outcome.detail, Lookups: e.lookups, Voids: e.voids[e.families[0]]}, err
}

// spfEvaluation evaluates one record for a sender. Without a sender, it lints the record: it evaluates every term,
// ignores the limits, and adds remarks.
type spfEvaluation struct {
	ctx      context.Context
	lookup   Lookup
	sender   *Sender
	lint     *SPF  // receives the remarks
	families []int // address families to look up: 0 is IPv4, 1 is IPv6

	answers map[spfQuestion]Answer // a repeated include is counted twice but looked up once
	lookups int
	voids   [2]int      // for senders with IPv4 and with IPv6
	empty   [2][]string // the terms that find nothing, by family too
	permits [2]bool     // whether any sender of the family is permitted
	names   []string    // validated names of the sender's address
	named   bool        // whether names were looked up
}

type spfQuestion struct {
	name string
	kind uint16
}

// spfOutcome is the outcome of one record for a sender. The zero value means unknown.
type spfOutcome struct {
	result SPFResult
	detail string
}

// The details of outcomes.
const (
	spfNoRecord = "no DNS record found"
	spfSeveral  = "multiple matching DNS records"
	spfTooMany  = "lookup limit reached"
	spfTooEmpty = "void lookup limit reached"
	spfManyMX   = "too many MX records"
	spfNoMatch  = "nothing matched"
)

// familyOf returns the family of an address: 0 for IPv4, 1 for IPv6.
func familyOf(address netip.Addr) int {
	if address.Is4() {
		return 0
	}
	return 1
}

// askable reports whether a name is valid for a DNS query. A sender can use any text as a name. An invalid one counts
// as a name that does not exist.
func askable(name string) bool {
	_, err := dnsclient.Fqdn(name)
	return err == nil
}

func (e *spfEvaluation) ask(name string, kind uint16) (Answer, error) {
	question := spfQuestion{Canonical(name), kind}
	if known, found := e.answers[question]; found {
		return known, nil
	}
	if !askable(question.name) {
		return Answer{Missing: true}, nil
	}
	answer, err := e.lookup(e.ctx, question.name, kind)
	if err == nil {
		e.answers[question] = answer
	}
	return answer, err
}

// spfRecords are the SPF records of a domain.
type spfRecords struct {
	texts   []string // all TXT records
	records []string
}

func (e *spfEvaluation) records(domain string) (r spfRecords, err error) {
	r.texts, err = Lookup(func(_ context.Context, name string, kind uint16) (Answer, error) { return e.ask(name, kind) }).texts(e.ctx, domain)
	for _, text := range r.texts {
		if version, _, _ := strings.Cut(text, " "); strings.EqualFold(version, "v=spf1") {
			r.records = append(r.records, text)
		}
	}
	return r, err
}

// check is check_host() for one domain. path is the chain of domains to this one, this one last. passing says that a
// sender permitted by this record passes SPF.
func (e *spfEvaluation) check(domain string, path []string, passing bool) (spfOutcome, error) {
	found, err := e.records(domain)
	if err != nil {
		return spfOutcome{}, err
	}
	switch len(found.records) {
	case 0:
		e.lint.lacksRecord(domain, path, found)
		return spfOutcome{SPFNone, spfNoRecord}, nil
	case 1:
	default:
		e.lint.hasSeveral(domain, len(found.records))
		return spfOutcome{SPFPermError, spfSeveral}, nil
	}
	if len(path) == 1 {
		e.lint.Record = found.records[0]
	}
	return e.evaluate(domain, found.records[0], path, passing)
}

// evaluate evaluates the terms of one record.
func (e *spfEvaluation) evaluate(domain, record string, path []string, passing bool) (spfOutcome, error) {
	var remarks Findings
	terms, broken := parseSPF(record, &remarks)
	where := placeOf(path)
	e.lint.remark(where, remarks)
	if broken != "" && e.sender != nil {
		return spfOutcome{SPFPermError, broken}, nil
	}
	redirect := ""
	for _, t := range terms {
		if e.lookups > spfEffort {
			return spfOutcome{}, nil
		}
		permits := passing && t.qualifier == '+'
		var (
			matched string
			ends    *spfOutcome
			err     error
		)
		switch t.name {
		case "all":
			e.lint.endsWith(where, t, permits)
			return spfOutcome{spfResults[t.qualifier], "matched all"}, nil // terms after it are never evaluated
		case "redirect":
			redirect = t.domain
			continue
		case "exp":
			continue
		case "ip4", "ip6":
			family := familyOf(t.prefix.Addr())
			e.permits[family] = e.permits[family] || permits
			if e.sender != nil && t.prefix.Contains(e.sender.Address) {
				matched = "matched ip"
			}
		default:
			matched, ends, err = e.term(domain, where, t, path, permits)
		}
		switch {
		case err != nil:
			return spfOutcome{}, err
		case ends != nil:
			return *ends, nil
		case matched != "":
			return spfOutcome{spfResults[t.qualifier], matched}, nil
		}
	}
	if redirect == "" {
		e.lint.hasNoEnd(path)
		return spfOutcome{SPFNeutral, spfNoMatch}, nil
	}
	if ends := e.count(); ends != nil {
		return *ends, nil
	}
	outcome, err := e.follow("redirect="+redirect, where, domain, redirect, path, passing)
	if outcome.result == SPFNone {
		outcome.result = SPFPermError
	}
	return outcome, err
}

// placeOf returns the prefix of remarks about an included record.
func placeOf(path []string) string {
	if len(path) == 1 {
		return ""
	}
	return strings.Join(path[1:], " > ") + ": "
}

// count counts a term that queries DNS. It ends the evaluation if the limit is reached.
func (e *spfEvaluation) count() *spfOutcome {
	if e.sender != nil && e.lookups >= spfLookups {
		return &spfOutcome{SPFPermError, spfTooMany}
	}
	e.lookups++
	return nil
}

// term evaluates one term that queries DNS. matched says how the sender matches it. ends is not nil if the term ends
// the evaluation.
func (e *spfEvaluation) term(domain, where string, t spfTerm, path []string, permits bool) (matched string, ends *spfOutcome, err error) {
	if ends = e.count(); ends != nil {
		return "", ends, nil
	}
	if t.name == "include" {
		return e.include(domain, where, t, path, permits)
	}
	if t.name == "ptr" {
		e.lint.usesPTR(where, t)
	}
	target := domain
	if t.domain != "" {
		target = t.domain
	}
	if e.sender == nil && (strings.Contains(target, "%") || t.name == "ptr") { // depends on the sender
		e.permits[0], e.permits[1] = e.permits[0] || permits, e.permits[1] || permits
		return "", nil, nil
	}
	if t.domain != "" {
		target = e.expand(target, domain)
	}
	switch t.name {
	case "exists":
		answer, err := e.ask(target, dns.TypeA)
		if err != nil {
			return "", nil, err
		}
		there := len(answer.Records) > 0
		ends = e.found(where+t.text, [2]bool{there, there}, permits)
		if there {
			matched = "matched exists"
		}
	case "a":
		hosts, err := e.addresses(target)
		if err != nil {
			return "", nil, err
		}
		ends = e.found(where+t.text, [2]bool{len(hosts[0]) > 0, len(hosts[1]) > 0}, permits)
		if e.among(hosts, t.bits) {
			matched = "matched a"
		}
	case "mx":
		matched, ends, err = e.mx(where, target, t, permits)
	case "ptr":
		matched, ends = e.ptr(where+t.text, target)
	}
	return matched, ends, err
}

func (e *spfEvaluation) mx(where, target string, t spfTerm, permits bool) (matched string, ends *spfOutcome, err error) {
	answer, err := e.ask(target, dns.TypeMX)
	if err != nil {
		return "", nil, err
	}
	if len(answer.Records) > spfHosts {
		e.lint.hasManyMX(where, target, t, len(answer.Records))
		return "", &spfOutcome{SPFPermError, spfManyMX}, nil
	}
	if len(answer.Records) == 0 {
		return "", e.found(where+t.text, [2]bool{}, permits), nil
	}
	for _, rr := range answer.Records {
		mx, is := rr.(*dns.MX)
		if !is || mx.Mx == "." {
			continue
		}
		hosts, err := e.addresses(mx.Mx)
		if err != nil {
			return "", nil, err
		}
		for family := range hosts {
			e.permits[family] = e.permits[family] || permits && len(hosts[family]) > 0
		}
		if e.among(hosts, t.bits) {
			return "matched mx", nil, nil
		}
	}
	return "", nil, nil
}

// ptr checks whether the sender's address has a name in a domain (RFC 7208 section 5.5). The owner of the address sets
// that name, so a failed look-up of it is not an error of the domain.
func (e *spfEvaluation) ptr(term, target string) (matched string, ends *spfOutcome) {
	names, void := e.provenNames()
	if void {
		ends = e.found(term, [2]bool{}, false)
	}
	for _, name := range names {
		if within(name, target) {
			return "matched ptr", ends
		}
	}
	return "", ends
}

// provenNames returns the names of the sender's address that resolve to it, at most ten. void says that the address has
// no name.
func (e *spfEvaluation) provenNames() (names []string, void bool) {
	if e.named {
		return e.names, false
	}
	e.named = true
	answer, err := e.ask(dnsclient.ReverseName(e.sender.Address), dns.TypePTR)
	if err != nil {
		return nil, false
	}
	for _, rr := range answer.Records[:min(spfHosts, len(answer.Records))] {
		ptr, is := rr.(*dns.PTR)
		if !is {
			continue
		}
		if hosts, err := e.addresses(ptr.Ptr); err == nil && e.among(hosts, [2]int{32, 128}) {
			e.names = append(e.names, Canonical(ptr.Ptr))
		}
	}
	return e.names, len(answer.Records) == 0
}

// within reports whether name is domain or below it.
func within(name, domain string) bool {
	name, domain = Canonical(name), Canonical(domain)
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// expand expands the macros in a domain.
func (e *spfEvaluation) expand(text, domain string) string {
	if e.sender == nil {
		return text
	}
	return spfMacros{sender: *e.sender, domain: domain, name: func() string {
		names, _ := e.provenNames()
		for _, fits := range []func(string) bool{
			func(name string) bool { return name == Canonical(domain) },
			func(name string) bool { return within(name, domain) },
			func(string) bool { return true },
		} {
			if i := slices.IndexFunc(names, fits); i >= 0 {
				return names[i]
			}
		}
		return "unknown"
	}}.expand(text)
}

// addresses looks up a host's addresses of the families in e.families.
func (e *spfEvaluation) addresses(host string) (found [2][]netip.Addr, err error) {
	for _, family := range e.families {
		answer, err := e.ask(host, [2]uint16{dns.TypeA, dns.TypeAAAA}[family])
		if err != nil {
			return found, err
		}
		found[family] = addressesOf(answer.Records)
	}
	return found, nil
}

// among reports whether the sender is in one of the networks around these addresses.
func (e *spfEvaluation) among(hosts [2][]netip.Addr, bits [2]int) bool {
	if e.sender == nil {
		return false
	}
	family := familyOf(e.sender.Address)
	return slices.ContainsFunc(hosts[family], func(host netip.Addr) bool {
		return netip.PrefixFrom(host, bits[family]).Contains(e.sender.Address)
	})
}

// found records whether a look-up found something for senders of each family. It ends the evaluation if too many
// look-ups found nothing.
func (e *spfEvaluation) found(term string, there [2]bool, permits bool) *spfOutcome {
	for family, name := range []string{"IPv4", "IPv6"} {
		if there[family] {
			e.permits[family] = e.permits[family] || permits
			continue
		}
		if !slices.Contains(e.families, family) {
			continue
		}
		e.voids[family]++
		if there != [2]bool{} {
			name = term + " for " + name
		} else {
			name = term
		}
		if !slices.Contains(e.empty[family], name) {
			e.empty[family] = append(e.empty[family], name)
		}
	}
	if e.sender != nil && e.voids[e.families[0]] > spfVoids {
		return &spfOutcome{SPFPermError, spfTooEmpty}
	}
	return nil
}

// include evaluates the record of another domain and applies its outcome (RFC 7208 section 5.2).
func (e *spfEvaluation) include(domain, where string, t spfTerm, path []string, permits bool) (matched string, ends *spfOutcome, err error) {
	outcome, err := e.follow(t.text, where, domain, t.domain, path, permits)
	if err != nil || e.sender == nil {
		return "", nil, err
	}
	switch outcome.result {
	case SPFPass:
		return outcome.detail, nil, nil
	case SPFNone, SPFPermError:
		return "", &spfOutcome{SPFPermError, outcome.detail}, nil
	}
	return "", nil, nil
}

// follow evaluates another domain's record.
func (e *spfEvaluation) follow(term, where, domain, target string, path []string, passing bool) (spfOutcome, error) {
	target = Canonical(e.expand(target, domain))
	if e.sender == nil {
		if strings.Contains(target, "%") {
			e.permits[0], e.permits[1] = e.permits[0] || passing, e.permits[1] || passing
			return spfOutcome{result: SPFNeutral}, nil
		}
		if slices.Contains(path, target) {
			e.lint.loops(path, target)
			return spfOutcome{}, nil
		}
	}
	outcome, err := e.check(target, append(slices.Clone(path), target), passing)
	if e.sender == nil && outcome.result == SPFNone && e.hasNoText(target) {
		e.found(where+term, [2]bool{}, false)
		e.lint.leadsNowhere(where, term, target)
	}
	if e.sender == nil && (outcome.result == SPFNone || outcome.result == SPFPermError) {
		outcome = spfOutcome{}
	}
	return outcome, err
}

func (e *spfEvaluation) hasNoText(domain string) bool {
	answer, known := e.answers[spfQuestion{Canonical(domain), dns.TypeTXT}]
	return !known || len(answer.Records) == 0
}
