package maildns

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

var errNoAnswer = errors.New("SERVFAIL")

// zone is a Lookup over records in zone file format. Names under "servfail.test" get no answer. DNSSEC proves all names
// except those under "unsigned.test".
func zone(t testing.TB, text string) Lookup {
	t.Helper()
	records := map[string][]dns.RR{}
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "")
	parser.SetDefaultTTL(60)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		name := Canonical(rr.Header().Name)
		records[name] = append(records[name], rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, name string, kind uint16) (Answer, error) {
		if !askable(name) { // as Through
			return Answer{}, &dnsclient.Error{Kind: dnsclient.Asked, Question: dnsclient.Question{Name: name, Type: kind}, Detail: "it is not a domain name"}
		}
		if strings.HasSuffix(Canonical(name), "servfail.test") {
			return Answer{}, errNoAnswer
		}
		answer := Answer{Authentic: !strings.HasSuffix(Canonical(name), "unsigned.test")}
		answer.Missing = true
		for there := range records {
			if there == Canonical(name) || strings.HasSuffix(there, "."+Canonical(name)) {
				answer.Missing = false
			}
		}
		for _, rr := range records[Canonical(name)] {
			if rr.Header().Rrtype == kind {
				answer.Records = append(answer.Records, rr)
			}
		}
		return answer, nil
	}
}

// wantFindings compares findings with lines: advice begins with "advice: ".
func wantFindings(t *testing.T, got Findings, want ...string) {
	t.Helper()
	lines := append([]string{}, got.Faults...)
	for _, text := range got.Advice {
		lines = append(lines, "advice: "+text)
	}
	if g, w := strings.Join(lines, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

// withText is a Lookup with an additional TXT record at every name.
func withText(lookup Lookup, text string) Lookup {
	return func(ctx context.Context, name string, kind uint16) (Answer, error) {
		answer, err := lookup(ctx, name, kind)
		if kind == dns.TypeTXT {
			answer.Records = append(answer.Records, &dns.TXT{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: kind, Class: dns.ClassINET}, Txt: []string{text}})
		}
		return answer, err
	}
}
