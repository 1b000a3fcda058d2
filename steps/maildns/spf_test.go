package maildns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestSPF(t *testing.T) {
	const hosts = `
mail.example.org. A 192.0.2.25
mail.example.org. AAAA 2001:db8::25
four.example.org. A 192.0.2.4
six.example.org. AAAA 2001:db8::6
example.org. MX 10 mail.example.org.
example.org. A 192.0.2.80
_spf.provider.test. TXT "v=spf1 include:_a.provider.test include:_b.provider.test ~all"
_a.provider.test. TXT "v=spf1 ip4:198.51.100.0/24 -all"
_b.provider.test. TXT "v=spf1 ip6:2001:db8:b::/48 -all"
_open.provider.test. TXT "v=spf1 +all"
text.provider.test. TXT "hello"
twice.provider.test. TXT "v=spf1 -all"
twice.provider.test. TXT "v=spf1 ~all"
back.provider.test. TXT "v=spf1 include:example.org -all"
bad.provider.test. TXT "v=spf1 ipv4:192.0.2.1 -all"
`
	for _, test := range []struct {
		name, record   string
		lookups, voids int
		all            string
		findings       []string
	}{
		{name: "usual", record: `"v=spf1 mx a ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"`, lookups: 2, voids: 1, all: "fail"},
		{name: "includes of includes", record: `"v=spf1 include:_spf.provider.test ~all"`, lookups: 3, all: "softfail"},
		{name: "redirect", record: `"v=spf1 redirect=_spf.provider.test"`, lookups: 3, all: "softfail"},
		{name: "parted strings", record: `"v=spf1 ip4:192.0.2" ".0/24 -all"`, all: "fail"},
		{name: "upper case", record: `"V=SPF1 MX -ALL"`, lookups: 1, all: "fail"},
		{name: "no mail", record: `"v=spf1 -all"`, all: "fail"},
		{name: "macros", record: `"v=spf1 exists:%{i}._spf.%{d2} include:%{h}.example.org a:%{ir}.%{v}._spf.%{d2}/24//64 -all"`, lookups: 3, all: "fail"},
		{name: "void for IPv4 alone, which is not permitted", record: `"v=spf1 a:six.example.org a:six.example.org a:six.example.org -all"`, lookups: 3, all: "fail"},
		{name: "void for IPv6 alone, which is not permitted", record: `"v=spf1 a:four.example.org a:four.example.org a:four.example.org -all"`, lookups: 3, all: "fail"},
		{name: "void for IPv6, which is permitted", record: `"v=spf1 ip6:2001:db8::/32 a:four.example.org a:four.example.org a:four.example.org -all"`, lookups: 3, voids: 3, all: "fail",
			findings: []string{"3 of its look-ups find nothing, but receivers stop after 2 with permerror (RFC 7208 section 4.6.4): remove a:four.example.org for IPv6"}},
		{name: "two voids", record: `"v=spf1 a:gone.example.org mx:gone.example.org ip4:192.0.2.1 -all"`, lookups: 2, voids: 2, all: "fail",
			findings: []string{"advice: a:gone.example.org finds nothing", "advice: mx:gone.example.org finds nothing"}},
		{name: "three voids", record: `"v=spf1 a:gone.example.org mx:gone.example.org exists:gone.example.org ip4:192.0.2.1 -all"`, lookups: 3, voids: 3, all: "fail",
			findings: []string{"3 of its look-ups find nothing, but receivers stop after 2 with permerror (RFC 7208 section 4.6.4): remove a:gone.example.org, mx:gone.example.org, exists:gone.example.org"}},
		{name: "ten look-ups", record: `"v=spf1` + strings.Repeat(" a:mail.example.org", 10) + ` -all"`, lookups: 10, all: "fail"},
		{name: "eleven look-ups", record: `"v=spf1` + strings.Repeat(" a:mail.example.org", 8) + ` include:_spf.provider.test -all"`, lookups: 11, all: "fail",
			findings: []string{"it needs 11 DNS look-ups, but receivers stop after 10 with permerror (RFC 7208 section 4.6.4): remove includes that are not needed, or replace some a and mx by ip4 and ip6"}},
		{name: "terms after all cost nothing", record: `"v=spf1 -all a:mail.example.org"`, all: "fail", findings: []string{"advice: a:mail.example.org is after all and is never evaluated"}},
		{name: "the world", record: `"v=spf1 mx +all"`, lookups: 1, all: "pass", findings: []string{"+all permits everybody to send for example.org: end it with -all or ~all"}},
		{name: "the world unsigned", record: `"v=spf1 mx all"`, lookups: 1, all: "pass", findings: []string{"all permits everybody to send for example.org: end it with -all or ~all"}},
		{name: "the world by include", record: `"v=spf1 include:_open.provider.test -all"`, lookups: 1, all: "fail",
			findings: []string{"_open.provider.test: +all permits everybody to send for example.org: end it with -all or ~all"}},
		{name: "half the world", record: `"v=spf1 ip4:0.0.0.0/1 ip6:2000::/3 -all"`, all: "fail",
			findings: []string{"ip4:0.0.0.0/1 permits a large part of the Internet to send", "ip6:2000::/3 permits a large part of the Internet to send"}},
		{name: "no end", record: `"v=spf1 mx"`, lookups: 1, all: "neutral", findings: []string{"advice: it does not set the result of other senders: end it with -all or ~all"}},
		{name: "include of nothing", record: `"v=spf1 include:gone.example.org -all"`, lookups: 1, voids: 1, all: "fail",
			findings: []string{"include:gone.example.org: gone.example.org has no SPF record, which is a permerror for receivers (RFC 7208 section 5.2): remove it", "advice: include:gone.example.org finds nothing"}},
		{name: "include of other text", record: `"v=spf1 include:text.provider.test -all"`, lookups: 1, all: "fail",
			findings: []string{`text.provider.test has no SPF record: add a TXT record that begins with "v=spf1"`}},
		{name: "include of two", record: `"v=spf1 include:twice.provider.test -all"`, lookups: 1, all: "fail",
			findings: []string{"twice.provider.test has 2 SPF records, so none counts (RFC 7208 section 4.5): merge them into one"}},
		{name: "loop", record: `"v=spf1 include:back.provider.test -all"`, lookups: 2, all: "fail",
			findings: []string{"it includes itself in a loop: example.org > back.provider.test > example.org"}},
		{name: "mistake in an include", record: `"v=spf1 include:bad.provider.test -all"`, lookups: 1, all: "fail",
			findings: []string{"bad.provider.test: ipv4:192.0.2.1: not a mechanism: write ip4: or ip6:"}},
		{name: "ptr", record: `"v=spf1 ptr -all"`, lookups: 1, all: "fail", findings: []string{"advice: ptr is slow and must not be used any more (RFC 7208 section 5.5)"}},
		{name: "mistakes", record: `"v=spf1 ip4:192.0.2.256 ip4:2001:db8::1 ip6:192.0.2.1 ip4:192.0.2.0/33 include=x.test include: a: ip:1.2.3.4 mx/24/64 a:localhost a:192.0.2.1 v=spf1 foo %{x} exists:%{z} a:x..test -all"`, all: "fail",
			findings: []string{
				"ip4:192.0.2.256: not an IP address",
				"ip4:2001:db8::1: not an IPv4 address: write ip6:",
				"ip6:192.0.2.1: not an IPv6 address: write ip4:",
				"ip4:192.0.2.0/33: want a prefix length from 0 to 32",
				"include=x.test: receivers ignore it: write it with a colon, include:x.test",
				"include:: it has no domain",
				"a:: it has a colon but no domain",
				"ip:1.2.3.4: not a mechanism: write ip4: or ip6:",
				"mx/24/64: want a prefix length from 0 to 32 after /",
				"a:localhost: the domain has no dot",
				"a:192.0.2.1: the domain ends in a number: write an address with ip4: or ip6:",
				"foo: not a mechanism",
				"%{x}: not a mechanism",
				"exists:%{z}: %{z} is not a macro",
				"a:x..test: the domain has an empty or too long label",
				"advice: receivers ignore v=spf1",
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := CheckSPF(context.Background(), zone(t, hosts+"example.org. TXT "+test.record+"\nexample.org. TXT \"google-site-verification=abc\"\n"), "example.org")
			if err != nil {
				t.Fatal(err)
			}
			if s.Lookups != test.lookups || s.Voids != test.voids || s.All != test.all {
				t.Errorf("%d look-ups, %d voids, all %q; want %d, %d, %q", s.Lookups, s.Voids, s.All, test.lookups, test.voids, test.all)
			}
			wantFindings(t, s.Findings, test.findings...)
		})
	}
}

func TestSPFRecordsOfADomain(t *testing.T) {
	lookup := zone(t, `
two.test. TXT "v=spf1 -all"
two.test. TXT "v=spf1 mx -all"
other.test. TXT "spf2.0/pra -all"
near.test. TXT "v=spf1:mx -all"
tabs.test. TXT "v=spf1\009mx -all"
broken.test. TXT "v=spf1 include:x.servfail.test -all"
`)
	for domain, want := range map[string]string{
		"two.test":   "two.test has 2 SPF records, so none counts (RFC 7208 section 4.5): merge them into one",
		"other.test": `other.test has no SPF record: add a TXT record that begins with "v=spf1"`,
		"near.test":  `near.test has no record that begins with exactly "v=spf1 ": it has "v=spf1:mx -all"`,
		"tabs.test":  `tabs.test has no record that begins with exactly "v=spf1 ": it has "v=spf1\tmx -all"`,
		"none.test":  `none.test has no TXT record: add one that begins with "v=spf1"`,
	} {
		s, err := CheckSPF(context.Background(), lookup, domain)
		if err != nil {
			t.Fatal(err)
		}
		wantFindings(t, s.Findings, want)
	}
	for _, domain := range []string{"servfail.test", "broken.test"} {
		if _, err := CheckSPF(context.Background(), lookup, domain); !errors.Is(err, errNoAnswer) {
			t.Errorf("%s: got %v, want that there was no answer", domain, err)
		}
	}
}

// TestSPFTree checks that endless includes, each of a new domain, are not followed endlessly.
func TestSPFTree(t *testing.T) {
	var records strings.Builder
	for i := range 300 {
		fmt.Fprintf(&records, "d%d.test. TXT \"v=spf1 include:d%d.test include:d%d.test -all\"\n", i, i+1, i+1)
	}
	asked := 0
	all := zone(t, records.String())
	s, err := CheckSPF(context.Background(), func(ctx context.Context, name string, kind uint16) (Answer, error) {
		asked++
		return all(ctx, name, kind)
	}, "d0.test")
	if err != nil || s.Lookups <= spfLookups || s.Valid() || asked > 2*spfEffort {
		t.Errorf("error %v, %d look-ups, %d questions, valid %t", err, s.Lookups, asked, s.Valid())
	}
}

func FuzzSPF(f *testing.F) {
	for _, record := range []string{"v=spf1 -all", "v=spf1 a:%{d2}/24//64 mx/24 ip4:192.0.2.0/24 include:example.org redirect=x.test exp=%{c}", "v=spf1 a:}/", "v=spf1 %"} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record string) {
		var found Findings
		terms, broken := parseSPF("v=spf1 "+record, &found)
		if broken != "" && found.Valid() {
			t.Errorf("%q is %s, and nothing is wrong with it", record, broken)
		}
		for _, term := range terms {
			if term.text == "" || term.qualifier != 0 && spfResults[term.qualifier] == "" {
				t.Errorf("term %+v", term)
			}
		}
	})
}
