package maildns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const policyZone = `
_dmarc.plain.test. TXT "v=DMARC1; p=quarantine; sp=reject; np=none"
here.plain.test. A 192.0.2.1
beneath.part.plain.test. A 192.0.2.1
_dmarc.part.plain.test. TXT "v=DMARC1; p=none"
_dmarc.own.plain.test. TXT "v=DMARC1; p=reject; psd=n"
_dmarc.suffix.test. TXT "v=DMARC1; p=none; sp=quarantine; psd=y"
_dmarc.shop.suffix.test. TXT "v=DMARC1; p=reject"
_dmarc.unsure.suffix.test. TXT "v=DMARC1; p=reject; psd=u"
_dmarc.capital.suffix.test. TXT "v=DMARC1; p=reject; psd=N"
_dmarc.7.6.5.4.3.2.deep.test. TXT "v=DMARC1; p=reject; psd=n"
_dmarc.5.4.3.2.deep.test. TXT "v=DMARC1; p=reject; psd=n"
_dmarc.trial.test. TXT "v=DMARC1;p=reject;t=y"
_dmarc.soft.test. TXT "v=DMARC1; p=quarantine; T=Y; t=y; pct=20"
_dmarc.open.test. TXT "v=DMARC1; p=none; t=y; pct=100"
_dmarc.nonp.test. TXT "v=DMARC1; p=reject"
_dmarc.odd.test. TXT "v=DMARC1; p=bounce; rua=mailto:d@odd.test"
_dmarc.lost.test. TXT "v=DMARC1; p=bounce; rua=d"
_dmarc.bad.test. TXT "v=DMARC1; p=reject; sp=bounce"
_dmarc.late.test. TXT "p=reject; v=DMARC1"
_dmarc.new.test. TXT "v=DMARC2; p=reject"
_dmarc.other.test. TXT "v=DMARC1 ; p=reject"
_dmarc.other.test. TXT "site-verification=1"
_dmarc.two.plain.test. TXT "v=DMARC1; p=none"
_dmarc.two.plain.test. TXT "v=DMARC1; p=reject"
_dmarc.twice.test. TXT "v=DMARC1; p=none; psd=n"
_dmarc.twice.test. TXT "v=DMARC1; p=reject; psd=n"
_dmarc.junk.test. TXT "v=DMARC1; hello; =; p=reject; p=none; psd=maybe"
_dmarc.a.junk.test. TXT "v=DMARC1"
`

// TestPolicy checks the policy of an author's domain (RFC 9989 section 4.10.1).
func TestPolicy(t *testing.T) {
	lookup := zone(t, policyZone)
	for author, want := range map[string]string{
		"plain.test":              "policy quarantine of plain.test",
		"here.plain.test":         "policy reject of plain.test",     // sp=, because it exists
		"gone.plain.test":         "policy none of plain.test",       // np=, because it does not
		"a.b.gone.plain.test":     "policy none of plain.test",       // nor does what is above it
		"part.plain.test":         "policy none of part.plain.test",  // its own
		"beneath.part.plain.test": "policy reject of plain.test",     // the organisation's, not that of a domain in between
		"own.plain.test":          "policy reject of own.plain.test", // which is an organisation
		"x.own.plain.test":        "policy reject of own.plain.test",
		"suffix.test":             "policy none of suffix.test",
		"bank.suffix.test":        "policy quarantine of suffix.test",
		"www.bank.suffix.test":    "policy quarantine of suffix.test",
		"shop.suffix.test":        "policy reject of shop.suffix.test",
		"www.shop.suffix.test":    "policy reject of shop.suffix.test",
		"unsure.suffix.test":      "policy reject of unsure.suffix.test",
		"trial.test":              "policy reject of trial.test, test mode t=y, so receivers apply quarantine",
		"soft.test":               `policy quarantine of soft.test, test mode t=y, so receivers apply none, pct="20" of RFC 7489, which receivers with RFC 9989 ignore`,
		"open.test":               "policy none of open.test",
		"x.nonp.test":             "policy reject of nonp.test",
		"odd.test":                `policy none of odd.test, p="bounce" is not a policy, so receivers apply none`,
		"other.test":              "policy reject of other.test",
		"two.plain.test":          "policy reject of plain.test, _dmarc.two.plain.test has 2 records, so none counts",
		"junk.test":               "policy reject of junk.test", // invalid tags are left out, and the first of two tags counts
		"x.junk.test":             "policy reject of junk.test",
		"a.junk.test":             `the record at _dmarc.a.junk.test has the policy p="", want none, quarantine or reject: receivers ignore it`,
		"lost.test":               `the record at _dmarc.lost.test has the policy p="bounce", want none, quarantine or reject: receivers ignore it`,
		"bad.test":                `the record at _dmarc.bad.test has the policy sp="bounce", want none, quarantine or reject: receivers ignore it`,
		"late.test":               "there is no record at _dmarc.late.test or above it: add one at _dmarc.late.test",
		"new.test":                "there is no record at _dmarc.new.test or above it: add one at _dmarc.new.test",
		"bare.test":               "there is no record at _dmarc.bare.test or above it: add one at _dmarc.bare.test",
		"x.twice.test":            "_dmarc.twice.test has 2 records, so none counts (RFC 9989 section 4.10): remove all but one",
	} {
		p, err := NewDMARCWalk(lookup).Policy(t.Context(), author)
		if err != nil {
			t.Fatal(err)
		}
		got := p.Problem
		if got == "" {
			got = p.String()
		}
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", author, got, want)
		}
	}
}

// TestOrganisation checks each rule for the organisational domain (RFC 9989 section 4.10.2).
func TestOrganisation(t *testing.T) {
	lookup := zone(t, policyZone)
	for domain, want := range map[string]string{
		"plain.test":              "plain.test",
		"a.b.c.plain.test":        "plain.test",
		"beneath.part.plain.test": "plain.test",          // the record with the fewest labels
		"two.plain.test":          "plain.test",          // several at one name are none
		"own.plain.test":          "own.plain.test",      // psd=n
		"x.own.plain.test":        "own.plain.test",      // psd=n, above
		"x.capital.suffix.test":   "capital.suffix.test", // in either case
		"suffix.test":             "suffix.test",         // psd=y, where the walk starts
		"bank.suffix.test":        "bank.suffix.test",    // psd=y, one label above
		"a.b.bank.suffix.test":    "bank.suffix.test",    // psd=y, further above
		"a.shop.suffix.test":      "shop.suffix.test",    // psd=y above a record that leaves it open
		"a.unsure.suffix.test":    "unsure.suffix.test",  // so does psd=u
		"x.a.junk.test":           "junk.test",           // psd=maybe is undecided, and a record without a policy is a record
		"x.twice.test":            "x.twice.test",        // psd=n of two records does not count
		"x.late.test":             "x.late.test",         // an invalid record does not count
		"x.bare.test":             "x.bare.test",         // nothing
	} {
		if got, err := NewDMARCWalk(lookup).organisation(t.Context(), domain); got != want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", domain, got, err, want)
		}
	}
}

// TestAlignment checks which domains are aligned (RFC 9989 section 4.10.2).
func TestAlignment(t *testing.T) {
	lookup := zone(t, policyZone)
	for _, c := range []struct {
		one, other string
		aligned    bool
	}{
		{"plain.test", "plain.test", true},
		{"bare.test", "bare.test", true},
		{"mail.plain.test", "plain.test", true},
		{"mail.plain.test", "news.plain.test", true},
		{"part.plain.test", "plain.test", true}, // a record of its own makes no organisation
		{"own.plain.test", "plain.test", false}, // psd=n does
		{"mail.own.plain.test", "own.plain.test", true},
		{"bank.suffix.test", "shop.suffix.test", false},
		{"www.bank.suffix.test", "bank.suffix.test", true},
		{"suffix.test", "shop.suffix.test", false},
		{"mail.bare.test", "bare.test", false}, // without a record nothing joins them
		{"plain.test", "soft.test", false},
	} {
		walk := NewDMARCWalk(lookup)
		relaxed, err := walk.Aligned(t.Context(), c.one, c.other, false)
		if err != nil || relaxed != c.aligned {
			t.Errorf("%s and %s: got %v, %v, want %v", c.one, c.other, relaxed, err, c.aligned)
		}
		if strict, err := walk.Aligned(t.Context(), c.one, c.other, true); err != nil || strict != (c.one == c.other) {
			t.Errorf("%s and %s strictly: got %v, %v", c.one, c.other, strict, err)
		}
	}
}

// TestPolicyWalkIsShort checks that a long name needs at most eight queries (RFC 9989 section 4.10).
func TestPolicyWalkIsShort(t *testing.T) {
	lookup := zone(t, policyZone)
	home, err := NewDMARCWalk(lookup).organisation(t.Context(), "13.12.11.10.9.8.7.6.5.4.3.2.deep.test")
	if want := "5.4.3.2.deep.test"; err != nil || home != want {
		t.Errorf("got %s, %v, want %s", home, err, want)
	}
	for domain, want := range map[string]string{
		"a.b.c.d.e.f.g.h.i.j.mail.example.com": "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com mail.example.com example.com com", // RFC 9989's own
		"a.b.c.d.e.f.example.com":              "a.b.c.d.e.f.example.com b.c.d.e.f.example.com c.d.e.f.example.com d.e.f.example.com e.f.example.com f.example.com example.com com",
		"a.b.c.d.e.f.g.example.com":            "a.b.c.d.e.f.g.example.com c.d.e.f.g.example.com d.e.f.g.example.com e.f.g.example.com f.g.example.com g.example.com example.com com",
		"example.com":                          "example.com com",
		"com":                                  "com",
		"a." + strings.Repeat("b.", 60) + "x":  "a." + strings.Repeat("b.", 60) + "x b.b.b.b.b.b.x b.b.b.b.b.x b.b.b.b.x b.b.b.x b.b.x b.x x",
		"x.own.plain.test":                     "x.own.plain.test own.plain.test",
	} {
		var asked []string
		walk := NewDMARCWalk(func(ctx context.Context, name string, kind uint16) (Answer, error) {
			asked = append(asked, strings.TrimPrefix(name, "_dmarc."))
			return lookup(ctx, name, kind)
		})
		// The policy and the alignment of a message take one walk.
		if _, err := walk.Policy(t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		if _, err := walk.organisation(t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(asked, " "); got != want || len(asked) > 8 {
			t.Errorf("%s:\nasked %s\nwant  %s", domain, got, want)
		}
	}
}

// TestLintAndVerdictAgree checks that both users of the walk find the same record and policy.
func TestLintAndVerdictAgree(t *testing.T) {
	lookup := zone(t, policyZone)
	for _, domain := range []string{"plain.test", "here.plain.test", "gone.plain.test", "beneath.part.plain.test", "x.own.plain.test", "bank.suffix.test", "www.shop.suffix.test",
		"13.12.11.10.9.8.7.6.5.4.3.2.deep.test", "x.nonp.test", "trial.test"} {
		policy, err := NewDMARCWalk(lookup).Policy(t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		d, err := CheckDMARC(t.Context(), lookup, domain)
		if err != nil || d.At != policy.Domain || d.From != policy.Tag || d.Policy != policy.Wish {
			t.Errorf("%s: linted at %q, %s=%s, %v; the verdict is by %q, %s=%s", domain, d.At, d.From, d.Policy, err, policy.Domain, policy.Tag, policy.Wish)
		}
	}
}

// TestSuffixWithoutAnswer checks that a registered domain with a record is the organisational domain even if DNS does
// not answer for the suffix above it.
func TestSuffixWithoutAnswer(t *testing.T) {
	all := zone(t, policyZone)
	lookup := func(ctx context.Context, name string, kind uint16) (Answer, error) {
		if name == "_dmarc.test" {
			return Answer{}, errNoAnswer
		}
		return all(ctx, name, kind)
	}
	if got, err := NewDMARCWalk(lookup).organisation(t.Context(), "a.plain.test"); got != "plain.test" || err != nil {
		t.Errorf("got %s, %v, want plain.test", got, err)
	}
	for _, domain := range []string{"x.bare.test", "bare.test"} {
		if got, err := NewDMARCWalk(lookup).organisation(t.Context(), domain); !errors.Is(err, errNoAnswer) {
			t.Errorf("%s: got %s, %v, want that there was no answer", domain, got, err)
		}
	}
}

// TestPolicyWithoutDNS checks that a failed look-up is not taken for a missing record or a missing name.
func TestPolicyWithoutDNS(t *testing.T) {
	for domain, want := range map[string]string{
		"mail.servfail.test": "look up the DMARC record _dmarc.mail.servfail.test: SERVFAIL",
		"gone.plain.test":    "find out whether gone.plain.test exists: SERVFAIL",
	} {
		all := zone(t, policyZone)
		lookup := func(ctx context.Context, name string, kind uint16) (Answer, error) {
			if name == "gone.plain.test" {
				return Answer{}, errNoAnswer
			}
			return all(ctx, name, kind)
		}
		_, err := NewDMARCWalk(lookup).Policy(t.Context(), domain)
		if !errors.Is(err, errNoAnswer) || fmt.Sprint(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if _, err := NewDMARCWalk(lookup).Aligned(t.Context(), "mail.servfail.test", "plain.test", false); !errors.Is(err, errNoAnswer) {
			t.Errorf("got %v, want that there was no answer", err)
		}
	}
}

func FuzzPolicyRecord(f *testing.F) {
	for line := range strings.Lines(policyZone) {
		if _, text, found := strings.Cut(line, "TXT "); found {
			f.Add(strings.Trim(text, "\"\n"), "mail.plain.test")
		}
	}
	f.Fuzz(func(t *testing.T, text, domain string) {
		walk := NewDMARCWalk(func(_ context.Context, name string, kind uint16) (Answer, error) {
			if kind != dns.TypeTXT || !strings.HasPrefix(name, "_dmarc.") {
				return Answer{}, nil
			}
			return Answer{Records: []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT}, Txt: []string{text}}}}, nil
		})
		p, err := walk.Policy(t.Context(), domain)
		if err != nil || len(walk.places) > 8 {
			t.Fatal(err, len(walk.places))
		}
		if p.Problem == "" && !slices.Contains(dmarcPolicies, p.Wish) {
			t.Errorf("%q has the policy %q", text, p.Wish)
		}
		if p.Problem == "" {
			_, _, _, _ = p.String(), p.Wishes(), p.Mode("adkim"), p.Strict("aspf")
		}
	})
}
