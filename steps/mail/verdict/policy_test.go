package verdict

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

// TestPolicyWithoutDNS checks that a failing DNS server is reported, and that a failure is not taken for a missing
// name.
func TestPolicyWithoutDNS(t *testing.T) {
	server, err := nameserver.Start("127.0.0.1:0", `$TTL 60
test. SOA ns.test. admin.test. 1 60 60 60 60
_dmarc.plain.test. TXT "v=DMARC1; p=quarantine; sp=reject; np=none"
_dmarc.part.plain.test. TXT "v=DMARC1; p=none"
`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	w := steps.NewWorld(&steps.Target{Resolver: server.Address()}, nil, "run", "test")
	for name, want := range map[string]bool{"plain.test": true, "part.plain.test": true, "gone.plain.test": false} {
		if got, err := lookup.Records(w)(t.Context(), name, dns.TypeTXT); got.Missing == want || err != nil {
			t.Errorf("%s exists: %v, %v, want %v", name, !got.Missing, err, want)
		}
	}
	for domain, want := range map[string]string{"part.plain.test": "p", "gone.plain.test": "np"} {
		if p, err := maildns.NewDMARCWalk(lookup.Records(w)).Policy(t.Context(), domain); err != nil || p.Tag != want {
			t.Errorf("%s: got %+v, %v, want %s=", domain, p, err, want)
		}
	}
	server.Refuse(dns.RcodeServerFailure)
	if _, err := lookup.Records(w)(t.Context(), "gone.plain.test", dns.TypeTXT); err == nil {
		t.Error("got no error from a failing server for a missing name")
	}
	_, err = judgePolicy(t.Context(), maildns.NewDMARCWalk(lookup.Records(w)), "plain.test", nil, senderCheck{})
	fixture.WantFailure(t, err, `look up the DMARC record _dmarc.plain.test: "_dmarc.plain.test" does not resolve: server misbehaving (dns, blame dns)`)
}
