package steps

import (
	"context"
	"fmt"
	netmail "net/mail"
	"strings"

	"blitiri.com.ar/go/spf"
	"golang.org/x/net/idna"

	"github.com/stepwatch/stepwatch/agent/result"
)

// policy is a domain's DMARC record (RFC 7489 section 6.3).
type policy struct {
	domain                string // where it was found
	wish                  string // what it wishes for mail that fails: none, quarantine, reject
	strictDKIM, strictSPF bool
}

// authorDomain is the domain of the message's author (RFC 7489 section 6.6.1), in ASCII.
func authorDomain(l *letter) (string, error) {
	from := named(l.fields, "From")
	if len(from) != 1 {
		return "", Fail(result.ReasonProtocol, result.BlameSubmission, "DMARC: the message has %d From fields, wanted 1", len(from))
	}
	authors, err := netmail.ParseAddressList(from[0])
	if err != nil || len(authors) != 1 {
		return "", Fail(result.ReasonProtocol, result.BlameSubmission, "DMARC: From is %s, wanted one address", quote(from[0]))
	}
	_, domain, _ := cutLast(authors[0].Address, "@")
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", Fail(result.ReasonProtocol, result.BlameSubmission, "DMARC: the domain %s of From: %w", quote(domain), err)
	}
	return strings.ToLower(ascii), nil
}

// findPolicy looks at the author's domain and then at its organisational domain (RFC 7489 section 6.6.3).
func findPolicy(ctx context.Context, dns *authority, domain string) (*policy, error) {
	for i, at := range []string{domain, organisation(domain)} {
		if i > 0 && at == domain {
			break
		}
		texts, _ := dns.LookupTXT(ctx, "_dmarc."+at)
		if err := dns.failed(ctx, "look up the DMARC record _dmarc."+at); err != nil {
			return nil, err
		}
		var records []string
		for _, text := range texts {
			if version, _, _ := strings.Cut(text, ";"); strings.ReplaceAll(version, " ", "") == "v=DMARC1" {
				records = append(records, text)
			}
		}
		if len(records) > 1 {
			return nil, Fail(result.ReasonUnexpected, result.BlameDNS, "DMARC: _dmarc.%s has %d records, so none counts (RFC 7489 section 6.6.3)", at, len(records))
		}
		if len(records) == 0 {
			continue
		}
		tags := tagsOf(records[0])
		p := &policy{domain: at, wish: strings.ToLower(tags["p"]), strictDKIM: strings.EqualFold(tags["adkim"], "s"), strictSPF: strings.EqualFold(tags["aspf"], "s")}
		if i > 0 && tags["sp"] != "" {
			p.wish = strings.ToLower(tags["sp"])
		}
		switch p.wish {
		case "none", "quarantine", "reject":
			return p, nil
		}
		return nil, Fail(result.ReasonUnexpected, result.BlameDNS, "DMARC: the record at _dmarc.%s has the policy %s, wanted none, quarantine or reject", at, quote(p.wish))
	}
	return nil, Fail(result.ReasonUnexpected, result.BlameDNS, "DMARC: neither %s nor its organisational domain %s has a record: add one at _dmarc.%s",
		domain, organisation(domain), organisation(domain))
}

// aligned says whether a domain speaks for the author's (RFC 7489 section 3.1).
func aligned(domain, author string, strict bool) bool {
	if strict {
		return domain == author
	}
	return organisation(domain) == organisation(author)
}

// checkDMARC is nil when a valid signature or SPF speaks for the author's domain.
func checkDMARC(ctx context.Context, w *World, l *letter, signatures []signature, sender senderCheck) error {
	ctx, cancel := context.WithTimeout(ctx, judgeLimit)
	defer cancel()
	author, err := authorDomain(l)
	if err != nil {
		return err
	}
	return w.Timed("dmarc", func() (string, error) {
		p, err := findPolicy(ctx, &authority{resolver: w.resolver()}, author)
		if err != nil {
			return "", err
		}
		var others []string // what passed and does not speak for the author
		for _, s := range signatures {
			if s.problem != "" {
				continue
			}
			if aligned(s.domain, author, p.strictDKIM) {
				return fmt.Sprintf("pass: %s is signed by %s, policy %s of %s", author, s.domain, p.wish, p.domain), nil
			}
			others = append(others, "DKIM speaks for "+s.domain)
		}
		if sender.result == spf.Pass {
			if aligned(sender.domain, author, p.strictSPF) {
				return fmt.Sprintf("pass: SPF of %s, policy %s of %s", sender.domain, p.wish, p.domain), nil
			}
			others = append(others, "SPF speaks for "+sender.domain)
		}
		note := fmt.Sprintf("fail: policy %s of %s", p.wish, p.domain)
		if len(others) > 0 {
			return note, Fail(result.ReasonUnexpected, result.BlameSubmission, "DMARC: nothing that passes is aligned with %s of From: %s (adkim=%s, aspf=%s); %s wishes %s for such mail",
				author, strings.Join(others, ", "), mode(p.strictDKIM), mode(p.strictSPF), p.domain, p.wish)
		}
		blame := result.BlameSubmission
		if len(signatures) > 0 {
			blame = signatures[0].blame
		}
		why := "it is not signed"
		if len(signatures) > 0 {
			why = describeSignatures(signatures)
		}
		how := string(sender.result)
		if sender.detail != "" {
			how += " (" + sender.detail + ")"
		}
		return note, Fail(result.ReasonUnexpected, blame, "DMARC: neither DKIM nor SPF passes for %s: %s; SPF: %s; %s wishes %s for such mail", author, why, how, p.domain, p.wish)
	})
}

func mode(strict bool) string {
	if strict {
		return "s"
	}
	return "r"
}
