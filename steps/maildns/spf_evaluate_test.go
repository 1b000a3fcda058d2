package maildns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

const senderZone = `
mail.example.org. A 192.0.2.25
mail.example.org. AAAA 2001:db8::25
mx.test. MX 10 mail.example.org.
25.2.0.192.in-addr.arpa. PTR mail.example.org.
26.2.0.192.in-addr.arpa. PTR mail.example.org.
27.2.0.192.in-addr.arpa. PTR x.servfail.test.
empty.test. TXT "v=spf1"
usual.test. TXT "v=spf1 a:mail.example.org/28 mx:mx.test include:other.test -all"
other.test. TXT "v=spf1 ip4:198.51.100.0/24 ~all"
voids2.test. TXT "v=spf1 a:gone.test mx:gone.test ip4:192.0.2.25 -all"
voids3.test. TXT "v=spf1 a:gone.test mx:gone.test exists:gone.test ip4:192.0.2.25 -all"
half.test. TXT "v=spf1 a:four.test a:four.test a:four.test ip6:2001:db8::/32 ip4:192.0.2.0/24 -all"
four.test. A 203.0.113.4
late.test. TXT "v=spf1 ip4:192.0.2.0/24 ip4:nonsense -all"
loop.test. TXT "v=spf1 include:loop.test -all"
back.test. TXT "v=spf1 redirect=back.test"
lost.test. TXT "v=spf1 redirect=gone.test"
within.test. TXT "v=spf1 include:gone.test ip4:192.0.2.25 -all"
two.test. TXT "v=spf1 -all"
two.test. TXT "v=spf1 +all"
ptr.test. TXT "v=spf1 ptr:example.org -all"
down.test. TXT "v=spf1 a:x.servfail.test ip4:192.0.2.25 -all"
early.test. TXT "v=spf1 ip4:192.0.2.25 a:x.servfail.test -all"
macro.test. TXT "v=spf1 exists:%{ir}.%{v}.%{l1r-}.%{d2}.list.test -all"
25.2.0.192.in-addr.bob.macro.test.list.test. A 127.0.0.2
`

func senderLookup(t *testing.T) Lookup {
	zone10, zone11 := "", ""
	for n, record := range map[int]*string{10: &zone10, 11: &zone11} {
		*record = fmt.Sprintf("ten%d.test. TXT \"v=spf1%s ip4:192.0.2.25 -all\"\n", n, strings.Repeat(" a:four.test", n))
	}
	many := ""
	for i := range 11 {
		many += fmt.Sprintf("many.test. MX 10 mx%d.many.test.\n", i)
	}
	return zone(t, senderZone+zone10+zone11+many+"many.test. TXT \"v=spf1 mx -all\"\n")
}

// TestSender checks results and their number of look-ups (RFC 7208 sections 4.6.4 and 5).
func TestSender(t *testing.T) {
	lookup := senderLookup(t)
	for _, test := range []struct{ address, from, want string }{
		{"192.0.2.25", "alice@usual.test", "pass: matched a, 1 look-ups, 0 void"},
		{"192.0.2.30", "alice@usual.test", "pass: matched a, 1 look-ups, 0 void"}, // by its network
		{"2001:db8::25", "alice@usual.test", "pass: matched a, 1 look-ups, 0 void"},
		{"::ffff:192.0.2.25", "alice@usual.test", "pass: matched a, 1 look-ups, 0 void"},
		{"198.51.100.9", "alice@usual.test", "pass: matched ip, 3 look-ups, 0 void"},
		{"203.0.113.9", "alice@usual.test", "fail: matched all, 3 look-ups, 0 void"},
		{"203.0.113.9", "alice@empty.test", "neutral: nothing matched, 0 look-ups, 0 void"},
		{"203.0.113.9", "alice@none.test", "none: no DNS record found, 0 look-ups, 0 void"},
		{"203.0.113.9", "alice@two.test", "permerror: multiple matching DNS records, 0 look-ups, 0 void"},
		{"203.0.113.9", "alice@localhost", "none: no DNS record found, 0 look-ups, 0 void"},
		{"203.0.113.9", "alice@a..test", "none: no DNS record found, 0 look-ups, 0 void"},
		{"203.0.113.9", "alice", "none: no DNS record found, 0 look-ups, 0 void"}, // then HELO counts
		{"192.0.2.25", "", "none: no DNS record found, 0 look-ups, 0 void"},
		{"192.0.2.25", "alice@voids2.test", "pass: matched ip, 2 look-ups, 2 void"},
		{"192.0.2.25", "alice@voids3.test", "permerror: void lookup limit reached, 3 look-ups, 3 void"},
		{"192.0.2.25", "alice@half.test", "pass: matched ip, 3 look-ups, 0 void"},
		{"2001:db8::25", "alice@half.test", "permerror: void lookup limit reached, 3 look-ups, 3 void"}, // the same record over IPv6
		{"192.0.2.25", "alice@ten10.test", "pass: matched ip, 10 look-ups, 0 void"},
		{"192.0.2.25", "alice@ten11.test", "permerror: lookup limit reached, 10 look-ups, 0 void"},
		{"192.0.2.25", "alice@late.test", "permerror: invalid ipX value, 0 look-ups, 0 void"}, // a mistake anywhere, and though the sender matches before it
		{"192.0.2.25", "alice@loop.test", "permerror: lookup limit reached, 10 look-ups, 0 void"},
		{"192.0.2.25", "alice@back.test", "permerror: lookup limit reached, 10 look-ups, 0 void"},
		{"192.0.2.25", "alice@lost.test", "permerror: no DNS record found, 1 look-ups, 0 void"},
		{"192.0.2.25", "alice@within.test", "permerror: no DNS record found, 1 look-ups, 0 void"},
		{"192.0.2.25", "alice@many.test", "permerror: too many MX records, 1 look-ups, 0 void"},
		{"192.0.2.25", "alice@ptr.test", "pass: matched ptr, 1 look-ups, 0 void"},
		{"192.0.2.26", "alice@ptr.test", "fail: matched all, 1 look-ups, 0 void"}, // the name does not lead back
		{"192.0.2.27", "alice@ptr.test", "fail: matched all, 1 look-ups, 0 void"}, // nor can it be looked up
		{"192.0.2.28", "alice@ptr.test", "fail: matched all, 1 look-ups, 1 void"},
		{"192.0.2.25", "alice@down.test", "temperror: SERVFAIL, 1 look-ups, 0 void"}, // the one that failed is counted
		{"192.0.2.25", "alice@early.test", "pass: matched ip, 0 look-ups, 0 void"},
		{"192.0.2.25", "alice@x.servfail.test", "temperror: SERVFAIL, 0 look-ups, 0 void"},
		{"192.0.2.25", "alice-bob@macro.test", "fail: matched all, 1 look-ups, 1 void"},
		{"192.0.2.25", "bob-alice@macro.test", "pass: matched exists, 1 look-ups, 0 void"},
	} {
		verdict, err := EvaluateSPF(t.Context(), lookup, Sender{Address: netip.MustParseAddr(test.address), HELO: "helo.test", From: test.from})
		if got := fmt.Sprintf("%s: %s, %d look-ups, %d void", verdict.Result, verdict.Detail, verdict.Lookups, verdict.Voids); got != test.want {
			t.Errorf("%s from %s:\ngot  %s\nwant %s", test.from, test.address, got, test.want)
		}
		if (verdict.Result == SPFTempError) != errors.Is(err, errNoAnswer) {
			t.Errorf("%s: %s with the error %v", test.from, verdict.Result, err)
		}
	}
}

// TestLintCountsAsVerdictDoes checks that the linter counts the same look-ups as an evaluation for a sender that no
// term permits.
func TestLintCountsAsVerdictDoes(t *testing.T) {
	lookup := senderLookup(t)
	for _, domain := range []string{"usual.test", "empty.test", "voids2.test", "half.test", "ten10.test", "other.test", "ptr.test"} {
		s, err := CheckSPF(t.Context(), lookup, domain)
		if err != nil {
			t.Fatal(err)
		}
		verdict, err := EvaluateSPF(t.Context(), lookup, Sender{Address: netip.MustParseAddr("203.0.113.200"), HELO: "helo.test", From: "alice@" + domain})
		if err != nil || s.Lookups != verdict.Lookups || s.All != string(verdict.Result) {
			t.Errorf("%s: linted as %s after %d look-ups, evaluated as %s after %d, %v", domain, s.All, s.Lookups, verdict.Result, verdict.Lookups, err)
		}
	}
}

func TestMacros(t *testing.T) {
	sender := Sender{Address: netip.MustParseAddr("192.0.2.3"), HELO: "mx.example.org", From: "strong-bad@email.example.com"}
	six := sender
	six.Address = netip.MustParseAddr("2001:db8::cb01")
	for text, want := range map[string]string{ // RFC 7208 section 7.4
		"%{s}":                               "strong-bad@email.example.com",
		"%{o}":                               "email.example.com",
		"%{d}":                               "email.example.com",
		"%{d4}":                              "email.example.com",
		"%{d3}":                              "email.example.com",
		"%{d2}":                              "example.com",
		"%{d1}":                              "com",
		"%{dr}":                              "com.example.email",
		"%{d2r}":                             "example.email",
		"%{l}":                               "strong-bad",
		"%{l-}":                              "strong.bad",
		"%{lr}":                              "strong-bad",
		"%{lr-}":                             "bad.strong",
		"%{l1r-}":                            "strong",
		"%{ir}.%{v}._spf.%{d2}":              "3.2.0.192.in-addr._spf.example.com",
		"%{lr-}.lp._spf.%{d2}":               "bad.strong.lp._spf.example.com",
		"%{lr-}.lp.%{ir}.%{v}._spf.%{d2}":    "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
		"%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}":   "3.2.0.192.in-addr.strong.lp._spf.example.com",
		"%{d2}.trusted-domains.example.net":  "example.com.trusted-domains.example.net",
		"%{S}%%%_%-":                         "strong-bad%40email.example.com% %20",
		"%{h}.%{p}.%{d99999999999999999999}": "mx.example.org.host.email.example.com",
	} {
		m := spfMacros{sender: sender, domain: "email.example.com", name: func() string { return "host" }}
		if problem := macroString(text, false); problem.text != "" {
			t.Errorf("%s: %s", text, problem.text)
		} else if got := m.expand(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	m := spfMacros{sender: six, domain: "email.example.com"}
	if got, want := m.expand("%{ir}.%{v}._spf.%{d2}"), "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := m.expand(strings.Repeat("a.", 150) + "test"); len(got) > 253 || !strings.HasSuffix(got, "a.test") {
		t.Errorf("a long name is cut to %q", got)
	}
}

func FuzzEvaluateSPF(f *testing.F) {
	for _, record := range []string{"-all", "a:%{d2}/24//64 mx/24 ip4:192.0.2.0/24 include:a.test redirect=a.test exp=%{d}", "exists:%{l1r+-}.%{Ir}.test ptr", "include:%{h}", "a:%{p}.x"} {
		f.Add(record, "bob+x@a.test", "h.test")
	}
	f.Fuzz(func(t *testing.T, record, from, helo string) {
		asked := 0
		answers := zone(t, "a.test. A 192.0.2.1\na.test. MX 1 a.test.\n1.2.0.192.in-addr.arpa. PTR a.test.\n")
		lookup := func(ctx context.Context, name string, kind uint16) (Answer, error) {
			asked++
			return withText(answers, "v=spf1 "+record)(ctx, name, kind)
		}
		for _, address := range []string{"192.0.2.1", "2001:db8::1"} {
			verdict, err := EvaluateSPF(t.Context(), lookup, Sender{Address: netip.MustParseAddr(address), HELO: helo, From: from})
			if err != nil || verdict.Lookups > spfLookups || verdict.Voids > spfVoids+1 || asked > 400 {
				t.Errorf("%q: %+v, %v, %d questions", record, verdict, err, asked)
			}
		}
	})
}
