package maildns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// What a domain publishes beyond a limit is an error before it causes work.
func TestLimits(t *testing.T) {
	long := &dns.TXT{Hdr: dns.RR_Header{Name: "long.test.", Rrtype: dns.TypeTXT}, Txt: []string{"v=spf1 " + strings.Repeat("ip4:192.0.2.1 ", 1200)}}
	tlsa := func(n int64) (records []dns.RR) {
		for range n {
			records = append(records, &dns.TLSA{Hdr: dns.RR_Header{Rrtype: dns.TypeTLSA}, Usage: 3, Selector: 1, MatchingType: 1, Certificate: strings.Repeat("ab", 32)})
		}
		return records
	}
	reports := func(n int64) dns.RR {
		return &dns.TXT{Hdr: dns.RR_Header{Rrtype: dns.TypeTXT}, Txt: []string{"v=DMARC1; p=none; rua=" + strings.TrimSuffix(strings.Repeat("mailto:a@x.test,", int(n)), ",")}}
	}
	lookup := func(_ context.Context, name string, kind uint16) (Answer, error) {
		switch {
		case name == "long.test" && kind == dns.TypeTXT:
			return Answer{Records: []dns.RR{long}}, nil
		case name == "_25._tcp.many.test":
			return Answer{Records: tlsa(tlsaLimit.Most + 1), Authentic: true}, nil
		case name == "_25._tcp.few.test":
			return Answer{Records: tlsa(tlsaLimit.Most), Authentic: true}, nil
		case name == "_dmarc.many.test":
			return Answer{Records: []dns.RR{reports(reportLimit.Most + 1)}}, nil
		case name == "_dmarc.few.test":
			return Answer{Records: []dns.RR{reports(reportLimit.Most)}}, nil
		}
		return Answer{Missing: true}, nil
	}
	ctx := t.Context()
	for name, test := range map[string]struct {
		do   func() error
		want string
	}{
		"SPF (textLimit)": {func() error { _, err := CheckSPF(ctx, lookup, "long.test"); return err }, "a TXT record has 16807 bytes, the limit is 16384"},
		"a sender (senderLimit)": {func() error {
			_, err := EvaluateSPF(ctx, lookup, Sender{Address: netip.MustParseAddr("192.0.2.1"), From: strings.Repeat("a", 600) + "@x.test"})
			return err
		}, "the sender in the message has 607 bytes, the limit is 512"},
		"TLSA":          {func() error { _, err := CheckTLSA(ctx, lookup, "many.test", 25, true); return err }, "a port has 33 TLSA records, the limit is 32"},
		"fewer TLSA":    {func() error { _, err := CheckTLSA(ctx, lookup, "few.test", 25, true); return err }, ""},
		"reports":       {func() error { _, err := CheckDMARC(ctx, lookup, "many.test"); return err }, "the record has 51 addresses for reports, the limit is 50"},
		"fewer reports": {func() error { _, err := CheckDMARC(ctx, lookup, "few.test"); return err }, ""},
		"a policy": {func() error {
			return errors.New(ParseSTSPolicy([]byte("version: STSv1\nmx: " + strings.Repeat("x", int(STSPolicyLimit.Most)))).Faults[0])
		}, "the policy has more than 65536 bytes, the limit"},
	} {
		got := ""
		if err := test.do(); err != nil {
			got = err.Error()
			if !errors.As(err, new(*limit.Error)) && name != "a policy" {
				t.Errorf("%s: %T", name, err)
			}
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// A record with thousands of faults, each included a hundred times, is read in time.
func TestManyFindings(t *testing.T) {
	var record strings.Builder
	record.WriteString("v=spf1 include:b.test")
	for i := range 2300 {
		fmt.Fprintf(&record, " x%d=", i)
	}
	texts := []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Rrtype: dns.TypeTXT}, Txt: []string{record.String()}}}
	n := 0
	begin := time.Now()
	s, err := CheckSPF(t.Context(), func(_ context.Context, _ string, kind uint16) (Answer, error) {
		n++
		if kind != dns.TypeTXT {
			return Answer{}, nil
		}
		texts[0].(*dns.TXT).Txt[0] = strings.Replace(record.String(), "b.test", fmt.Sprintf("b%d.test", n), 1)
		return Answer{Records: texts}, nil
	}, "a.test")
	if err != nil || len(s.Advice) != findingsLimit+1 || s.Advice[findingsLimit] != "there is more, which is not shown" || n < 50 {
		t.Error(err, len(s.Advice), n)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Error(took)
	}
}
