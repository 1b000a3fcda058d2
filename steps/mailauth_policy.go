package steps

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// policyRecord is a DMARC policy record (RFC 9989 section 4.7).
type policyRecord struct {
	domain string // that it was found for
	tags   map[string]string
}

// policyWalk looks for policy records in a domain and above it, the DNS Tree Walk of RFC 9989 section 4.10. It asks for
// each once.
type policyWalk struct {
	dns     *authority
	records map[string]*policyRecord // by domain; nil for one that has none
	doubled []string                 // domains with more than one, of which none counts
}

// longestWalk is how many labels the names have, after the first, that are asked for.
const longestWalk = 7

// at gives the domain's own record, or nil. The error says that DNS did not answer.
func (p *policyWalk) at(ctx context.Context, domain string) (*policyRecord, error) {
	if r, known := p.records[domain]; known {
		return r, nil
	}
	texts, _ := p.dns.LookupTXT(ctx, "_dmarc."+domain)
	if err := p.dns.failed(ctx, "look up the DMARC record _dmarc."+domain); err != nil {
		return nil, err
	}
	texts = slices.DeleteFunc(texts, func(text string) bool {
		version, _, _ := strings.Cut(text, ";")
		return strings.Join(strings.Fields(version), "") != "v=DMARC1"
	})
	if p.records == nil {
		p.records = map[string]*policyRecord{}
	}
	switch len(texts) {
	case 0:
		p.records[domain] = nil
	case 1:
		p.records[domain] = &policyRecord{domain, tagsOf(texts[0])}
	default:
		p.records[domain] = nil
		p.doubled = append(p.doubled, fmt.Sprintf("_dmarc.%s has %d records, so none counts", domain, len(texts)))
	}
	return p.records[domain], nil
}

// from lists the records of a domain and of those above it, the longest name first, until one says that this is where to
// stop.
func (p *policyWalk) from(ctx context.Context, domain string) ([]*policyRecord, error) {
	var found []*policyRecord
	for name := domain; name != ""; {
		r, err := p.at(ctx, name)
		if err != nil {
			return nil, err
		}
		if r != nil {
			found = append(found, r)
			if psd := strings.ToLower(r.tags["psd"]); psd == "y" || psd == "n" {
				break
			}
		}
		labels := strings.Split(name, ".")
		name = strings.Join(labels[max(1, len(labels)-longestWalk):], ".")
	}
	return found, nil
}

// organisation is the domain's organisational domain (RFC 9989 section 4.10.2): two domains with the same one are aligned.
func (p *policyWalk) organisation(ctx context.Context, domain string) (string, error) {
	found, err := p.from(ctx, domain)
	if err != nil || len(found) == 0 {
		return domain, err
	}
	last := found[len(found)-1]
	if strings.EqualFold(last.tags["psd"], "y") && last.domain != domain {
		beneath := strings.Split(strings.TrimSuffix(domain, "."+last.domain), ".")
		return beneath[len(beneath)-1] + "." + last.domain, nil
	}
	return last.domain, nil
}

// aligned says whether a domain speaks for the author's.
func (p *policyWalk) aligned(ctx context.Context, domain, author string, strict bool) (bool, error) {
	if domain == author || strict {
		return domain == author, nil
	}
	one, err := p.organisation(ctx, domain)
	if err != nil {
		return false, err
	}
	other, err := p.organisation(ctx, author)
	return one == other, err
}

// appliedPolicy is the record that holds for an author's domain, and what it comes to.
type appliedPolicy struct {
	*policyRecord
	wish    string // none, quarantine or reject
	remarks []string
}

// policy finds the policy that holds for an author's domain: its own, that of its organisational domain, or that of the
// public suffix (RFC 9989 section 4.10.1).
func (p *policyWalk) policy(ctx context.Context, author string) (*appliedPolicy, error) {
	record, err := p.at(ctx, author)
	if err != nil {
		return nil, err
	}
	if record == nil {
		if record, err = p.above(ctx, author); err != nil {
			return nil, err
		}
	}
	if record == nil && len(p.doubled) > 0 {
		return nil, Fail(result.ReasonUnexpected, result.BlameDNS, "DMARC: %s (RFC 9989 section 4.10): leave one", strings.Join(p.doubled, ", "))
	}
	if record == nil {
		return nil, Fail(result.ReasonUnexpected, result.BlameDNS, "DMARC: there is no record at _dmarc.%s, nor for a domain above it: add one at _dmarc.%s", author, organisation(author))
	}
	tag := "p"
	if author != record.domain {
		if tag, err = p.subdomainTag(ctx, record, author); err != nil {
			return nil, err
		}
	}
	a := &appliedPolicy{policyRecord: record, wish: strings.ToLower(record.tags[tag]), remarks: slices.Clone(p.doubled)}
	if bad := record.invalid(); bad != "" {
		if !record.reported() { // then receivers act as if there were no record
			return nil, Fail(result.ReasonUnexpected, result.BlameDNS, "DMARC: the record at _dmarc.%s has the policy %s, wanted none, quarantine or reject: no receiver uses it", record.domain, bad)
		}
		a.wish = "none"
		a.remarks = append(a.remarks, bad+" is no policy, so none is taken")
	}
	if strings.EqualFold(record.tags["t"], "y") && a.wish != "none" {
		a.remarks = append(a.remarks, "test mode t=y, so receivers do "+map[string]string{"reject": "quarantine", "quarantine": "none"}[a.wish])
	}
	// RFC 9989 has no pct, and who still reads it takes the policy for so many of a hundred messages.
	if pct := record.tags["pct"]; pct != "" && pct != "100" {
		a.remarks = append(a.remarks, "pct="+quote(pct)+" of RFC 7489, which receivers by RFC 9989 ignore")
	}
	return a, nil
}

// above gives the record that holds for a domain that has none of its own.
func (p *policyWalk) above(ctx context.Context, author string) (*policyRecord, error) {
	found, err := p.from(ctx, author)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	home, err := p.organisation(ctx, author)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(found, func(r *policyRecord) bool { return r.domain == home }); i >= 0 {
		return found[i], nil
	}
	return found[len(found)-1], nil // the public suffix's
}

// subdomainTag is the tag that has the policy for a domain beneath the record's.
func (p *policyWalk) subdomainTag(ctx context.Context, record *policyRecord, author string) (string, error) {
	if record.tags["np"] != "" {
		exists, err := p.dns.exists(ctx, author)
		if err != nil {
			return "", FailNet(ctx, err, result.BlameDNS, "find out whether "+author+" exists")
		}
		if !exists {
			return "np", nil
		}
	}
	if record.tags["sp"] != "" {
		return "sp", nil
	}
	return "p", nil
}

// invalid words the first of the record's policies that is none; empty when all are good.
func (r *policyRecord) invalid() string {
	for _, tag := range []string{"p", "sp", "np"} {
		value, there := r.tags[tag]
		switch strings.ToLower(value) {
		case "none", "quarantine", "reject":
			continue
		}
		if there || tag == "p" {
			return tag + "=" + quote(value)
		}
	}
	return ""
}

// reported says whether the record has an address for reports, by which a receiver keeps to it although its policy cannot
// be used.
func (r *policyRecord) reported() bool {
	for address := range strings.SplitSeq(r.tags["rua"], ",") {
		if u, err := url.Parse(strings.TrimSpace(address)); err == nil && u.Scheme != "" {
			return true
		}
	}
	return false
}

// strict says whether the record asks for the same domain in this mode, adkim or aspf.
func (r *policyRecord) strict(mode string) bool { return strings.EqualFold(r.tags[mode], "s") }

func (r *policyRecord) mode(mode string) string {
	if r.strict(mode) {
		return "s"
	}
	return "r"
}

// String gives the policy for a note: "policy reject of example.org".
func (a *appliedPolicy) String() string {
	return strings.Join(append([]string{"policy " + a.wish + " of " + a.domain}, a.remarks...), ", ")
}

// wishes gives the policy for a failure: "example.org wishes reject for such mail".
func (a *appliedPolicy) wishes() string {
	return strings.Join(append([]string{a.domain + " wishes " + a.wish + " for such mail"}, a.remarks...), ", ")
}
