package maildns

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// DMARCWalk finds the DMARC records of a domain and the domains above it: the DNS Tree Walk of RFC 9989 section 4.10.
// One walk serves all domains of one message and looks up each record once.
type DMARCWalk struct {
	lookup  Lookup
	places  map[string]*dmarcPlace // by domain
	doubled []string               // domains with more than one record, so none counts
}

// NewDMARCWalk returns a walk that uses lookup.
func NewDMARCWalk(lookup Lookup) *DMARCWalk {
	return &DMARCWalk{lookup: lookup, places: map[string]*dmarcPlace{}}
}

// dmarcPlace is the content of _dmarc of one domain.
type dmarcPlace struct {
	domain string
	texts  []string // all TXT records, also others than DMARC
	record string   // the DMARC record; empty if there is none, or more than one
	tags   tagList
}

// LookupError says which look-up of a walk failed.
type LookupError struct {
	Act string // "look up the DMARC record _dmarc.example.org"
	Err error
}

// Error returns the act and its error.
func (e *LookupError) Error() string { return e.Act + ": " + e.Err.Error() }

// Unwrap returns the error of the Lookup.
func (e *LookupError) Unwrap() error { return e.Err }

// dmarcLabels is the maximum number of labels of the names in a walk, after the first name. It limits a walk to eight
// queries.
const dmarcLabels = 7

// at returns the content of _dmarc of a domain.
func (w *DMARCWalk) at(ctx context.Context, domain string) (*dmarcPlace, error) {
	if place, known := w.places[domain]; known {
		return place, nil
	}
	texts, err := w.lookup.texts(ctx, "_dmarc."+domain)
	if err != nil {
		return nil, &LookupError{Act: "look up the DMARC record _dmarc." + domain, Err: err}
	}
	place := &dmarcPlace{domain: domain, texts: texts}
	switch records := dmarcRecords(texts); len(records) {
	case 0:
	case 1:
		place.record, place.tags = records[0], parseTags(records[0], &Findings{})
	default:
		w.doubled = append(w.doubled, domain)
	}
	w.places[domain] = place
	return place, nil
}

// dmarcRecords returns the texts that are DMARC records: they begin with v=DMARC1.
func dmarcRecords(texts []string) []string {
	var records []string
	for _, text := range texts {
		if versionIs(text, "DMARC1") {
			records = append(records, text)
		}
	}
	return records
}

// psd returns the record's psd tag, which says where the walk stops: y, n, or u if it is undecided.
func (p *dmarcPlace) psd() string {
	if psd := strings.ToLower(p.tags.value("psd")); psd == "y" || psd == "n" {
		return psd
	}
	return "u"
}

// from returns the records of a domain and the domains above it, the longest name first, until one stops the walk.
func (w *DMARCWalk) from(ctx context.Context, domain string) ([]*dmarcPlace, error) {
	var found []*dmarcPlace
	for name := domain; name != ""; {
		place, err := w.at(ctx, name)
		if err != nil && len(found) > 0 && found[len(found)-1].domain == organisation(domain) && len(name) < len(organisation(domain)) {
			// The record of a public suffix (psd=y) makes the registered domain below it the organisational domain,
			// which it already is. So a resolver that does not answer for the suffix, as inside a company, changes
			// nothing.
			break
		}
		if err != nil {
			return nil, err
		}
		if place.record != "" {
			found = append(found, place)
			if place.psd() != "u" {
				break
			}
		}
		labels := strings.Split(name, ".")
		name = strings.Join(labels[max(1, len(labels)-dmarcLabels):], ".")
	}
	return found, nil
}

// organisation returns the domain's organisational domain (RFC 9989 section 4.10.2).
func (w *DMARCWalk) organisation(ctx context.Context, domain string) (string, error) {
	found, err := w.from(ctx, domain)
	if err != nil || len(found) == 0 {
		return domain, err
	}
	// A walk stops at psd=n and psd=y, so the last record decides, or is the one with the fewest labels.
	last := found[len(found)-1]
	if last.psd() == "y" && last.domain != domain {
		beneath := strings.Split(strings.TrimSuffix(domain, "."+last.domain), ".")
		return beneath[len(beneath)-1] + "." + last.domain, nil
	}
	return last.domain, nil
}

// Aligned reports whether a domain authenticated by DKIM or SPF is aligned with the author's: it is the same domain,
// or, unless strict, it has the same organisational domain.
func (w *DMARCWalk) Aligned(ctx context.Context, domain, author string, strict bool) (bool, error) {
	if domain == author || strict {
		return domain == author, nil
	}
	one, err := w.organisation(ctx, domain)
	if err != nil {
		return false, err
	}
	other, err := w.organisation(ctx, author)
	return one == other, err
}

// DMARCPolicy is the policy that applies to an author's domain.
type DMARCPolicy struct {
	Domain  string // the domain of the record; empty if no record counts
	Tag     string // the tag with the policy: p, or sp or np for a domain below Domain
	Wish    string // none, quarantine or reject; empty if there is a problem
	Remarks []string
	Problem string // why receivers apply no policy, or empty

	place *dmarcPlace
}

// Policy returns the policy that applies to an author's domain: its own, or that of its organisational domain or of the
// public suffix (RFC 9989 section 4.10.1).
func (w *DMARCWalk) Policy(ctx context.Context, author string) (*DMARCPolicy, error) {
	place, err := w.applied(ctx, author)
	if err != nil {
		return nil, err
	}
	doubled := make([]string, len(w.doubled))
	for i, domain := range w.doubled {
		doubled[i] = fmt.Sprintf("_dmarc.%s has %d records, so none counts", domain, len(dmarcRecords(w.places[domain].texts)))
	}
	if place == nil && len(doubled) > 0 {
		return &DMARCPolicy{Problem: strings.Join(doubled, ", ") + " (RFC 9989 section 4.10): remove all but one"}, nil
	}
	if place == nil {
		return &DMARCPolicy{Problem: fmt.Sprintf("there is no record at _dmarc.%s or above it: add one at _dmarc.%s", author, organisation(author))}, nil
	}
	p := &DMARCPolicy{Domain: place.domain, Tag: "p", Remarks: doubled, place: place}
	if author != place.domain {
		if p.Tag, err = w.subdomainTag(ctx, place, author); err != nil {
			return nil, err
		}
	}
	p.judge()
	return p, nil
}

// applied returns the record that applies to an author's domain, or nil.
func (w *DMARCWalk) applied(ctx context.Context, author string) (*dmarcPlace, error) {
	own, err := w.at(ctx, author)
	if err != nil || own.record != "" {
		return own, err
	}
	found, err := w.from(ctx, author)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	home, err := w.organisation(ctx, author)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(found, func(p *dmarcPlace) bool { return p.domain == home }); i >= 0 {
		return found[i], nil
	}
	return found[len(found)-1], nil // the public suffix's
}

// subdomainTag returns the tag with the policy for a domain below the record's.
func (w *DMARCWalk) subdomainTag(ctx context.Context, place *dmarcPlace, author string) (string, error) {
	if place.tags.value("np") != "" {
		answer, err := w.lookup(ctx, author, dns.TypeTXT)
		if err != nil {
			return "", &LookupError{Act: "find out whether " + author + " exists", Err: err}
		}
		if answer.Missing {
			return "np", nil
		}
	}
	if place.tags.value("sp") != "" {
		return "sp", nil
	}
	return "p", nil
}

// judge sets the policy of the record and the remarks about it.
func (p *DMARCPolicy) judge() {
	tags := p.place.tags
	p.Wish = strings.ToLower(tags.value(p.Tag))
	if bad := invalidPolicy(tags); bad != "" {
		if !reported(tags) { // then receivers ignore the record
			p.Wish = ""
			p.Problem = fmt.Sprintf("the record at _dmarc.%s has the policy %s, want none, quarantine or reject: receivers ignore it", p.Domain, bad)
			return
		}
		p.Wish = "none"
		p.Remarks = append(p.Remarks, bad+" is not a policy, so receivers apply none")
	}
	if strings.EqualFold(tags.value("t"), "y") && p.Wish != "none" {
		p.Remarks = append(p.Remarks, "test mode t=y, so receivers apply "+map[string]string{"reject": "quarantine", "quarantine": "none"}[p.Wish])
	}
	// RFC 9989 has no pct. Older receivers apply the policy to this percentage of messages.
	if pct := tags.value("pct"); pct != "" && pct != "100" {
		p.Remarks = append(p.Remarks, "pct="+quote(pct)+" of RFC 7489, which receivers with RFC 9989 ignore")
	}
}

// invalidPolicy returns the first invalid policy tag of a record, or an empty string.
func invalidPolicy(tags tagList) string {
	for _, tag := range []string{"p", "sp", "np"} {
		if slices.Contains(dmarcPolicies, strings.ToLower(tags.value(tag))) {
			continue
		}
		if tags.has(tag) || tag == "p" {
			return tag + "=" + quote(tags.value(tag))
		}
	}
	return ""
}

// reported reports whether a record has an address for reports. If so, receivers use the record although its policy is
// invalid (RFC 9989 section 4.10.1).
func reported(tags tagList) bool {
	for address := range strings.SplitSeq(tags.value("rua"), ",") {
		if u, err := url.Parse(strings.TrimSpace(address)); err == nil && u.Scheme != "" {
			return true
		}
	}
	return false
}

// Strict reports whether the alignment mode adkim or aspf is strict: only the same domain is aligned.
func (p *DMARCPolicy) Strict(mode string) bool {
	return strings.EqualFold(p.place.tags.value(mode), "s")
}

// Mode returns the alignment mode as in a record: "s" or "r".
func (p *DMARCPolicy) Mode(mode string) string {
	if p.Strict(mode) {
		return "s"
	}
	return "r"
}

// String returns the policy for a note: "policy reject of example.org".
func (p *DMARCPolicy) String() string {
	return strings.Join(append([]string{"policy " + p.Wish + " of " + p.Domain}, p.Remarks...), ", ")
}

// Wishes returns the policy for a failure: "the policy of example.org for such mail is reject".
func (p *DMARCPolicy) Wishes() string {
	return strings.Join(append([]string{"the policy of " + p.Domain + " for such mail is " + p.Wish}, p.Remarks...), ", ")
}
