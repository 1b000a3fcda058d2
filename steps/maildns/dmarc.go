package maildns

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// DMARC is what a receiver does with mail of a domain that fails both SPF and DKIM (RFC 9989).
type DMARC struct {
	Domain  string
	At      string   // the domain of the record that counts; empty if there is none
	Record  string   // empty unless there is exactly one
	Policy  string   // the policy for mail from Domain: none, quarantine or reject; empty if it is invalid
	From    string   // the tag with the policy: "p"; for a domain below At "sp", or "np" if the domain does not exist
	Percent int      // of failing mail to which the policy applies (pct); the default is 100
	Testing bool     // t=y: receivers apply the policy one level weaker
	Reports []string // destinations of aggregate reports (rua)
	Findings
}

// CheckDMARC finds the record that applies to domain as receivers do (DMARCWalk), lints it, and checks that
// destinations of reports outside the domain accept them (RFC 7489 section 7.1). Receivers with RFC 7489 only look at
// domain and its registered domain. A record elsewhere is therefore advice.
func CheckDMARC(ctx context.Context, lookup Lookup, domain string) (*DMARC, error) {
	d := &DMARC{Domain: domain, Percent: 100}
	walk := NewDMARCWalk(lookup)
	policy, err := walk.Policy(ctx, domain)
	if err != nil {
		return d, err
	}
	for _, doubled := range walk.doubled {
		only(walk.places[doubled].texts, "_dmarc."+doubled, "DMARC1", &d.Findings)
	}
	own, registered := walk.places[domain], organisation(domain)
	switch {
	case slices.Contains(walk.doubled, domain):
		return d, nil
	case policy.Domain == "" && len(walk.doubled) > 0:
		return d, nil
	case policy.Domain == "" && domain == registered:
		only(own.texts, "_dmarc."+domain, "DMARC1", &d.Findings)
		return d, nil
	case policy.Domain == "":
		d.fault(`neither %s nor %s has a DMARC record: add one at _dmarc.%s that begins with "v=DMARC1; p="`, domain, registered, registered)
		return d, nil
	case policy.Domain != domain && policy.Domain != registered:
		d.advise("many receivers only look for the record at %s and %s (RFC 7489 section 6.6.3) and do not find that of %s", domain, registered, policy.Domain)
	}
	d.At, d.Record, d.From = policy.Domain, policy.place.record, policy.Tag
	destinations := d.parse()
	if err := reportLimit.Check(int64(len(destinations))); err != nil { // each is a look-up
		return d, err
	}
	for _, to := range destinations {
		if err := d.authorised(ctx, lookup, to); err != nil {
			return d, err
		}
	}
	return d, nil
}

var dmarcPolicies = []string{"none", "quarantine", "reject"}

// parse lints the record and returns the domains that receive reports.
func (d *DMARC) parse() []string {
	tags := parseTags(d.Record, &d.Findings)
	tags.unknown(&d.Findings, "v", "p", "sp", "np", "rua", "ruf", "adkim", "aspf", "pct", "fo", "rf", "ri", "psd", "t")
	oneOf := func(name string, values ...string) string {
		value := strings.ToLower(tags.value(name))
		if tags.has(name) && !slices.Contains(values, value) {
			d.fault("%s=%s: want %s", name, oneWord(tags.value(name)), strings.Join(values, ", "))
			return ""
		}
		return value
	}
	policies := map[string]string{}
	for _, name := range []string{"p", "sp", "np"} {
		policies[name] = oneOf(name, dmarcPolicies...)
	}
	oneOf("adkim", "r", "s")
	oneOf("aspf", "r", "s")
	oneOf("psd", "y", "n", "u")
	d.Testing = oneOf("t", "y", "n") == "y"
	if !tags.has("p") {
		d.fault("it has no p=: add p=none, p=quarantine or p=reject")
	} else if len(tags) < 2 || tags[1].name != "p" {
		d.advise("p= is not directly after v=DMARC1, as RFC 7489 section 6.3 requires")
	}
	d.Policy = policies[d.From]
	if tags.has("pct") {
		n, err := strconv.Atoi(tags.value("pct"))
		if err != nil || n < 0 || n > 100 {
			d.fault("pct=%s: want a number from 0 to 100", oneWord(tags.value("pct")))
		} else if d.Percent = n; n < 100 {
			d.advise("pct=%d: the policy only applies to that part of failing mail", n)
		}
	}
	if tags.has("ri") {
		if _, err := strconv.ParseUint(tags.value("ri"), 10, 32); err != nil {
			d.fault("ri=%s: want seconds", oneWord(tags.value("ri")))
		}
	}
	for option := range strings.SplitSeq(tags.value("fo"), ":") {
		if tags.has("fo") && !slices.Contains([]string{"0", "1", "d", "s"}, strings.TrimSpace(option)) {
			d.fault("fo=%s: want 0, 1, d or s, separated by colons", oneWord(tags.value("fo")))
			break
		}
	}
	if tags.has("fo") && !tags.has("ruf") {
		d.advise("fo= has no effect without ruf=")
	}
	if d.Testing {
		d.advise("t=y: receivers apply the policy one level weaker")
	}
	if !tags.has("rua") {
		d.advise("without rua= you get no reports about senders that use your domain")
	}
	destinations, reports := d.destinations("rua", tags), []string(nil)
	for uri := range strings.SplitSeq(tags.value("rua"), ",") {
		if uri = strings.TrimSpace(uri); uri != "" {
			reports = append(reports, uri)
		}
	}
	d.Reports = reports
	return append(destinations, d.destinations("ruf", tags)...)
}

// destinations lints a list of URIs (RFC 7489 section 6.2) and returns the domains of the mail addresses in it.
func (d *DMARC) destinations(name string, tags tagList) []string {
	if !tags.has(name) {
		return nil
	}
	var domains []string
	for uri := range strings.SplitSeq(tags.value(name), ",") {
		uri = strings.TrimSpace(uri)
		address, size, limited := strings.Cut(uri, "!")
		if limited && !reportSize(size) {
			d.fault("%s=%s: want a size such as 10m after the exclamation mark", name, oneWord(uri))
		}
		switch domain, ok := mailtoDomain(address); {
		case ok && strings.ContainsFunc(domain, func(r rune) bool { return r > unicode.MaxASCII }):
			d.fault("%s=%s: a URI has ASCII only (RFC 3986 section 2): write the domain as DNS has it, with xn--", name, oneWord(uri))
		case ok && !askable(domain):
			d.fault("%s=%s: its domain is not a domain name (RFC 1035 section 2.3.4)", name, oneWord(uri))
		case ok:
			domains = append(domains, domain)
		case strings.Contains(address, ":") && !strings.HasPrefix(strings.ToLower(address), "mailto:"):
			d.advise("%s=%s: receivers only send reports by mail", name, oneWord(uri))
		case strings.Contains(address, "@"):
			d.fault("%s=%s: want mailto: before a mail address", name, oneWord(uri))
		default:
			d.fault("%s=%s: not a mail address", name, oneWord(uri))
		}
	}
	return domains
}

// mailtoDomain returns the domain of "mailto:x@example.org".
func mailtoDomain(uri string) (string, bool) {
	const scheme = "mailto:"
	if len(uri) < len(scheme) || !strings.EqualFold(uri[:len(scheme)], scheme) {
		return "", false
	}
	address, _, _ := strings.Cut(uri[len(scheme):], "?")
	at := strings.LastIndexByte(address, '@')
	if at < 1 || strings.ContainsAny(address, " \t<>\"") {
		return "", false
	}
	domain := Canonical(address[at+1:])
	return domain, strings.Contains(domain, ".") && !strings.HasPrefix(domain, ".") && !strings.Contains(domain, "..")
}

func reportSize(text string) bool {
	number := strings.TrimRight(strings.ToLower(text), "kmgt")
	_, err := strconv.ParseUint(number, 10, 64)
	return err == nil && len(text)-len(number) <= 1
}

// authorised checks that a domain accepts reports about another one (RFC 7489 section 7.1). Domains with the same
// registered domain need no record: receivers with RFC 7489 and the public suffix list send reports too.
func (d *DMARC) authorised(ctx context.Context, lookup Lookup, to string) error {
	if organisation(to) == organisation(d.At) {
		return nil
	}
	name := d.At + "._report._dmarc." + to
	if !askable(name) {
		d.fault(`receivers do not send reports to %s, because with %s._report._dmarc before it, where they look for its consent, it is too long for DNS (RFC 7489 section 7.1)`, quote(to), d.At)
		return nil
	}
	texts, err := lookup.texts(ctx, name)
	if err != nil {
		return err
	}
	if len(dmarcRecords(texts)) == 0 {
		d.fault(`receivers do not send reports to %s, because it does not say that it accepts reports about %s: it needs a TXT record "v=DMARC1" at %s (RFC 7489 section 7.1)`, to, d.At, name)
	}
	return nil
}
