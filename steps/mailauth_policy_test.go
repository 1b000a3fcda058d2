package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

const policyZone = `$TTL 60
test. SOA ns.test. admin.test. 1 60 60 60 60
_dmarc.plain.test. TXT "v=DMARC1; p=quarantine; sp=reject; np=none"
here.plain.test. A 192.0.2.1
beneath.part.plain.test. A 192.0.2.1
_dmarc.part.plain.test. TXT "v=DMARC1; p=none"
_dmarc.own.plain.test. TXT "v=DMARC1; p=reject; psd=n"
_dmarc.suffix.test. TXT "v=DMARC1; p=none; sp=quarantine; psd=y"
_dmarc.shop.suffix.test. TXT "v=DMARC1; p=reject"
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
`

func policyServer(t *testing.T) (*nameserver.Server, *World) {
	t.Helper()
	server, err := nameserver.Start("127.0.0.1:0", policyZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, NewWorld(&Target{Resolver: server.Address()}, nil, "run", "test")
}

// The policy of an author's domain, as RFC 9989 section 4.10.1 finds it.
func TestPolicy(t *testing.T) {
	_, w := policyServer(t)
	for author, want := range map[string]string{
		"plain.test":              "policy quarantine of plain.test",
		"here.plain.test":         "policy reject of plain.test",     // sp=, because it exists
		"gone.plain.test":         "policy none of plain.test",       // np=, because it does not
		"a.b.gone.plain.test":     "policy none of plain.test",       // nor does what is above it
		"part.plain.test":         "policy none of part.plain.test",  // its own
		"beneath.part.plain.test": "policy reject of plain.test",     // the organisation's, not the one in between
		"own.plain.test":          "policy reject of own.plain.test", // which is an organisation
		"x.own.plain.test":        "policy reject of own.plain.test",
		"suffix.test":             "policy none of suffix.test",
		"bank.suffix.test":        "policy quarantine of suffix.test",
		"www.bank.suffix.test":    "policy quarantine of suffix.test",
		"shop.suffix.test":        "policy reject of shop.suffix.test",
		"www.shop.suffix.test":    "policy reject of shop.suffix.test",
		"trial.test":              "policy reject of trial.test, test mode t=y, so receivers do quarantine",
		"soft.test":               `policy quarantine of soft.test, test mode t=y, so receivers do none, pct="20" of RFC 7489, which receivers by RFC 9989 ignore`,
		"open.test":               "policy none of open.test",
		"x.nonp.test":             "policy reject of nonp.test",
		"odd.test":                `policy none of odd.test, p="bounce" is no policy, so none is taken`,
		"other.test":              "policy reject of other.test",
		"two.plain.test":          "policy reject of plain.test, _dmarc.two.plain.test has 2 records, so none counts",
		"lost.test":               `DMARC: the record at _dmarc.lost.test has the policy p="bounce", wanted none, quarantine or reject: no receiver uses it`,
		"bad.test":                `DMARC: the record at _dmarc.bad.test has the policy sp="bounce", wanted none, quarantine or reject: no receiver uses it`,
		"late.test":               "DMARC: there is no record at _dmarc.late.test, nor for a domain above it: add one at _dmarc.late.test",
		"new.test":                "DMARC: there is no record at _dmarc.new.test, nor for a domain above it: add one at _dmarc.new.test",
		"bare.test":               "DMARC: there is no record at _dmarc.bare.test, nor for a domain above it: add one at _dmarc.bare.test",
	} {
		walk := &policyWalk{dns: w.authority()}
		p, err := walk.policy(t.Context(), author)
		got := fmt.Sprint(err)
		if err == nil {
			got = p.String()
		}
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", author, got, want)
		}
	}
}

// Which domains speak for which, as RFC 9989 section 4.10.2 finds their organisations.
func TestAlignment(t *testing.T) {
	_, w := policyServer(t)
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
		walk := &policyWalk{dns: w.authority()}
		relaxed, err := walk.aligned(t.Context(), c.one, c.other, false)
		if err != nil || relaxed != c.aligned {
			t.Errorf("%s and %s: got %v, %v, want %v", c.one, c.other, relaxed, err, c.aligned)
		}
		if strict, err := walk.aligned(t.Context(), c.one, c.other, true); err != nil || strict != (c.one == c.other) {
			t.Errorf("%s and %s strictly: got %v, %v", c.one, c.other, strict, err)
		}
	}
}

// A long name costs eight questions, whatever the sender made of it (RFC 9989 section 4.10).
func TestPolicyWalkIsShort(t *testing.T) {
	_, w := policyServer(t)
	walk := &policyWalk{dns: w.authority()}
	home, err := walk.organisation(t.Context(), "13.12.11.10.9.8.7.6.5.4.3.2.deep.test")
	if want := "5.4.3.2.deep.test"; err != nil || home != want {
		t.Errorf("got %s, %v, want %s", home, err, want)
	}
	walk = &policyWalk{dns: w.authority()}
	if _, err := walk.organisation(t.Context(), "a."+strings.Repeat("b.", 60)+"none.test"); err != nil || len(walk.records) != 8 {
		t.Errorf("asked for %d names, %v, want 8", len(walk.records), err)
	}
}

func TestPolicyWithoutDNS(t *testing.T) {
	server, w := policyServer(t)
	a := w.authority()
	for name, want := range map[string]bool{"plain.test": true, "part.plain.test": true, "gone.plain.test": false} {
		if got, err := a.exists(t.Context(), name); got != want || err != nil {
			t.Errorf("%s exists: %v, %v, want %v", name, got, err, want)
		}
	}
	server.Refuse(dns.RcodeServerFailure)
	if _, err := a.exists(t.Context(), "gone.plain.test"); err == nil {
		t.Error("a server that fails knows that a name does not exist")
	}
	_, err := (&policyWalk{dns: a}).policy(context.Background(), "plain.test")
	wantFailure(t, err, `look up the DMARC record _dmarc.plain.test: "_dmarc.plain.test" does not resolve: server misbehaving (dns, blame dns)`)
}

func FuzzPolicyRecord(f *testing.F) {
	for line := range strings.Lines(policyZone) {
		if _, text, found := strings.Cut(line, "TXT "); found {
			f.Add(strings.Trim(text, "\"\n"), "mail.plain.test")
		}
	}
	f.Fuzz(func(t *testing.T, text, domain string) {
		r := &policyRecord{"plain.test", tagsOf(text)}
		walk := &policyWalk{records: map[string]*policyRecord{}}
		for name := domain; ; { // every name that can be asked for has this record, so that DNS is not
			walk.records[name] = r
			labels := strings.Split(name, ".")
			if len(labels) == 1 {
				break
			}
			name = strings.Join(labels[max(1, len(labels)-longestWalk):], ".")
		}
		if _, err := walk.from(t.Context(), domain); err != nil {
			t.Error(err)
		}
		if bad := r.invalid(); bad == "" && !slices.Contains([]string{"none", "quarantine", "reject"}, strings.ToLower(r.tags["p"])) {
			t.Errorf("%q has no policy", text)
		}
		r.reported()
	})
}
