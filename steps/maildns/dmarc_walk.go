package maildns

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// DMARCWalk finds what DNS says of DMARC at a domain and above it: the DNS Tree Walk of RFC 9989 section 4.10. One walk
// serves all domains of one message, and asks for each record once.
type DMARCWalk struct {
	lookup  Lookup
	places  map[string]*dmarcPlace // by domain
	doubled []string               // domains with more than one record, of which none counts
}

// NewDMARCWalk returns a walk that asks through lookup.
func NewDMARCWalk(lookup Lookup) *DMARCWalk {
	return &DMARCWalk{lookup: lookup, places: map[string]*dmarcPlace{}}
}

// dmarcPlace is what stands at _dmarc of one domain.
type dmarcPlace struct {
	domain string
	texts  []string // all TXT records, those of other things too
	record string   // the one that is a DMARC record; empty when there is none, or more than one
	tags   tagList
}

// LookupError says which look-up of a walk got no answer.
type LookupError struct {
	Act string // "look up the DMARC record _dmarc.example.org"
	Err error
}

// Error returns the act and what became of it.
func (e *LookupError) Error() string { return e.Act + ": " + e.Err.Error() }

// Unwrap returns the error of the Lookup.
func (e *LookupError) Unwrap() error { return e.Err }

// dmarcLabels is how many labels the names have, after the first, that a walk asks for. It makes a walk of eight questions
// at most.
const dmarcLabels = 7

// at returns what stands at _dmarc of a domain.
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

// dmarcRecords returns the texts that are DMARC records: those that begin with the tag v and the value DMARC1.
func dmarcRecords(texts []string) []string {
	var records []string
	for _, text := range texts {
		if versionIs(text, "DMARC1") {
			records = append(records, text)
		}
	}
	return records
}

// psd is the record's word on where the walk stops: y, n, or u for one that leaves it open.
func (p *dmarcPlace) psd() string {
	if psd := strings.ToLower(p.tags.value("psd")); psd == "y" || psd == "n" {
		return psd
	}
	return "u"
}

// from lists the records of a domain and of those above it, the longest name first, until one says that the walk stops.
func (w *DMARCWalk) from(ctx context.Context, domain string) ([]*dmarcPlace, error) {
	var found []*dmarcPlace
	for name := domain; name != ""; {
		place, err := w.at(ctx, name)
		if err != nil && len(found) > 0 && found[len(found)-1].domain == organisation(domain) && len(name) < len(organisation(domain)) {
			// A public suffix that has a record of its own (psd=y) makes the registered domain beneath it the organisational
			// one, which it is already. So a resolver that does not answer for the suffix, as inside a company, changes nothing.
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

// Organisation returns the domain's organisational domain (RFC 9989 section 4.10.2).
func (w *DMARCWalk) Organisation(ctx context.Context, domain string) (string, error) {
	found, err := w.from(ctx, domain)
	if err != nil || len(found) == 0 {
		return domain, err
	}
	// A walk stops at psd=n and psd=y, so the last record is the one that decides, or the one with the fewest labels.
	last := found[len(found)-1]
	if last.psd() == "y" && last.domain != domain {
		beneath := strings.Split(strings.TrimSuffix(domain, "."+last.domain), ".")
		return beneath[len(beneath)-1] + "." + last.domain, nil
	}
	return last.domain, nil
}

// Aligned says whether a domain that DKIM or SPF speaks for speaks for the author's: it is the same, or, unless strict, it
// has the same organisational domain.
func (w *DMARCWalk) Aligned(ctx context.Context, domain, author string, strict bool) (bool, error) {
	if domain == author || strict {
		return domain == author, nil
	}
	one, err := w.Organisation(ctx, domain)
	if err != nil {
		return false, err
	}
	other, err := w.Organisation(ctx, author)
	return one == other, err
}

// DMARCPolicy is the policy that holds for an author's domain.
type DMARCPolicy struct {
	Domain  string // whose record it is; empty when no record counts
	Tag     string // that has the policy: p, or for a domain beneath Domain sp or np
	Wish    string // none, quarantine or reject; empty when there is a problem
	Remarks []string
	Problem string // why receivers apply none, or empty

	place *dmarcPlace
}

// Policy finds the policy that holds for an author's domain: its own, that of its organisational domain, or that of the
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
		return &DMARCPolicy{Problem: strings.Join(doubled, ", ") + " (RFC 9989 section 4.10): leave one"}, nil
	}
	if place == nil {
		return &DMARCPolicy{Problem: fmt.Sprintf("there is no record at _dmarc.%s, nor for a domain above it: add one at _dmarc.%s", author, organisation(author))}, nil
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

// applied returns the record that holds for an author's domain, or nil.
func (w *DMARCWalk) applied(ctx context.Context, author string) (*dmarcPlace, error) {
	own, err := w.at(ctx, author)
	if err != nil || own.record != "" {
		return own, err
	}
	found, err := w.from(ctx, author)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	home, err := w.Organisation(ctx, author)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(found, func(p *dmarcPlace) bool { return p.domain == home }); i >= 0 {
		return found[i], nil
	}
	return found[len(found)-1], nil // the public suffix's
}

// subdomainTag is the tag that has the policy for a domain beneath the record's.
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

// judge reads what the record wishes, and what becomes of that.
func (p *DMARCPolicy) judge() {
	tags := p.place.tags
	p.Wish = strings.ToLower(tags.value(p.Tag))
	if bad := invalidPolicy(tags); bad != "" {
		if !reported(tags) { // then receivers act as if there were no record
			p.Wish = ""
			p.Problem = fmt.Sprintf("the record at _dmarc.%s has the policy %s, wanted none, quarantine or reject: no receiver uses it", p.Domain, bad)
			return
		}
		p.Wish = "none"
		p.Remarks = append(p.Remarks, bad+" is no policy, so none is taken")
	}
	if strings.EqualFold(tags.value("t"), "y") && p.Wish != "none" {
		p.Remarks = append(p.Remarks, "test mode t=y, so receivers do "+map[string]string{"reject": "quarantine", "quarantine": "none"}[p.Wish])
	}
	// RFC 9989 has no pct, and who still reads it takes the policy for so many of a hundred messages.
	if pct := tags.value("pct"); pct != "" && pct != "100" {
		p.Remarks = append(p.Remarks, "pct="+quote(pct)+" of RFC 7489, which receivers by RFC 9989 ignore")
	}
}

// invalidPolicy words the first of a record's policies that is none; it is empty when all are good.
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

// reported says whether a record has an address for reports, by which a receiver keeps to it although its policy cannot be
// used (RFC 9989 section 4.10.1).
func reported(tags tagList) bool {
	for address := range strings.SplitSeq(tags.value("rua"), ",") {
		if u, err := url.Parse(strings.TrimSpace(address)); err == nil && u.Scheme != "" {
			return true
		}
	}
	return false
}

// Strict says whether the record asks for the same domain in this mode, adkim or aspf.
func (p *DMARCPolicy) Strict(mode string) bool {
	return strings.EqualFold(p.place.tags.value(mode), "s")
}

// Mode returns the mode as a record has it: "s" or "r".
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

// Wishes returns the policy for a failure: "example.org wishes reject for such mail".
func (p *DMARCPolicy) Wishes() string {
	return strings.Join(append([]string{p.Domain + " wishes " + p.Wish + " for such mail"}, p.Remarks...), ", ")
}
