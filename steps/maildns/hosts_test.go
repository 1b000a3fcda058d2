package maildns

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// issued is a certificate with its key.
type issued struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue creates a certificate for name that expires in left, signed by a root, or a root certificate.
func issue(t *testing.T, by *issued, name string, left time.Duration) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(left),
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	if by == nil {
		by = &issued{template, key}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{certificate, key}
}

func TestTLSA(t *testing.T) {
	root := issue(t, nil, "Test root", time.Hour)
	roots := x509.NewCertPool()
	roots.AddCert(root.certificate)
	chainOf := func(name string, left time.Duration) []*x509.Certificate {
		return []*x509.Certificate{issue(t, root, name, left).certificate, root.certificate}
	}
	good, other, expired := chainOf("mx.example.org", time.Hour), chainOf("other.test", time.Hour), chainOf("mx.example.org", -time.Minute)
	key := func(c *x509.Certificate) string {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		return hex.EncodeToString(sum[:])
	}
	certificate512 := sha512.Sum512(good[0].Raw)
	const absent = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	leaf, authority := key(good[0]), key(good[1])
	no := func(record, why string) string {
		return fmt.Sprintf("no TLSA record allows the certificate of mx.example.org: %s e3b0c44298fc1c14…: %s; a record for its key is 3 1 1 %s", record, why, leaf)
	}
	for _, test := range []struct {
		name    string
		records []string
		host    string // mx.example.org when empty
		chain   []*x509.Certificate
		web     bool
		want    []string
	}{
		{name: "3 1 1", records: []string{"3 1 1 " + leaf}},
		{name: "3 0 2", records: []string{"3 0 2 " + hex.EncodeToString(certificate512[:])}},
		{name: "3 1 0", records: []string{"3 1 0 " + hex.EncodeToString(good[0].RawSubjectPublicKeyInfo)}},
		{name: "2 1 1", records: []string{"2 1 1 " + authority}},
		{name: "2 0 0 of a root that is not shown", records: []string{"2 0 0 " + hex.EncodeToString(good[1].Raw)}, chain: good[:1]},
		{name: "2 1 1 of a root that is not shown", records: []string{"2 1 1 " + authority}, chain: good[:1],
			want: []string{"no TLSA record allows the certificate of mx.example.org: 2 1 1 " + authority[:16] + "…: the server does not present the authority that it names; a record for its key is 3 1 1 " + leaf}},
		{name: "0 and 1 for the web", records: []string{"0 1 1 " + authority}, web: true},
		{name: "1 for the web", records: []string{"1 1 1 " + leaf}, web: true},
		{name: "0 and 1 for mail", records: []string{"0 1 1 " + authority, "1 1 1 " + leaf}, want: []string{
			"0 1 1 " + authority[:16] + "…: mail servers do not use the usages 0 and 1 (RFC 7672 section 3.1.3): use 3 or 2", "1 1 1 " + leaf[:16] + "…: mail servers do not use the usages 0 and 1 (RFC 7672 section 3.1.3): use 3 or 2"}},
		{name: "3 whatever name and dates", records: []string{"3 1 1 " + key(expired[0]), "3 1 1 " + leaf}, chain: expired, want: []string{"advice: 3 1 1 " + leaf[:16] + "…: it is for another certificate or key"}},
		{name: "2 needs the dates", records: []string{"2 1 1 " + authority}, chain: expired, want: []string{"…"}},
		{name: "2 needs the name", records: []string{"2 1 1 " + authority}, chain: other, want: []string{
			"no TLSA record allows the certificate of mx.example.org: 2 1 1 " + authority[:16] + "…: certificate is valid for other.test, not mx.example.org; a record for its key is 3 1 1 " + key(other[0])}},
		{name: "another key", records: []string{"3 1 1 " + absent}, want: []string{no("3 1 1", "it is for another certificate or key")}},
		{name: "another authority", records: []string{"2 1 1 " + absent}, want: []string{no("2 1 1", "the server does not present the authority that it names")}},
		{name: "another authority for the web", records: []string{"0 1 1 " + absent}, web: true, want: []string{no("0 1 1", "it names none of the authorities above the certificate")}},
		{name: "the next key is already published", records: []string{"3 1 1 " + leaf, "3 1 1 " + absent}, want: []string{"advice: 3 1 1 e3b0c44298fc1c14…: it is for another certificate or key"}},
		{name: "mistakes", records: []string{"4 1 1 " + leaf, "3 2 1 " + leaf, "3 1 3 " + leaf, "3 1 2 " + leaf}, want: []string{
			"4 1 1 " + leaf[:16] + "…: there is no such usage: use 3 or 2", "3 2 1 " + leaf[:16] + "…: there is no such selector: use 1 (the key) or 0 (the certificate)",
			"3 1 3 " + leaf[:16] + "…: there is no such matching type: use 1 (SHA-256)", "3 1 2 " + leaf[:16] + "…: its data has 32 bytes, but this hash has 64"}},
		{name: "unsigned", host: "mx.unsigned.test", records: []string{"3 1 1 " + leaf}, want: []string{"_25._tcp.mx.unsigned.test is not proven by DNSSEC, so senders ignore it: sign the zone, and add a DS record for its key in the parent zone"}},
		{name: "none", want: []string{"there is no TLSA record at _25._tcp.mx.example.org"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.host == "" {
				test.host = "mx.example.org"
			}
			if test.chain == nil {
				test.chain = good
			}
			var records strings.Builder
			for _, record := range test.records {
				fmt.Fprintf(&records, "_25._tcp.%s. TLSA %s\n", test.host, record)
			}
			tlsa, err := CheckTLSA(context.Background(), zone(t, records.String()), test.host, 25, !test.web)
			if err != nil {
				t.Fatal(err)
			}
			tlsa.Verify(test.chain, roots, time.Now())
			if len(test.want) == 1 && test.want[0] == "…" {
				if tlsa.Valid() || !strings.Contains(tlsa.Faults[0], "expired") {
					t.Errorf("got %q, want that it is expired", tlsa.Faults)
				}
				return
			}
			wantFindings(t, tlsa.Findings, test.want...)
		})
	}
	if _, err := CheckTLSA(context.Background(), zone(t, ""), "servfail.test", 25, true); !errors.Is(err, errNoAnswer) {
		t.Errorf("got %v, want that there was no answer", err)
	}
}

func TestNames(t *testing.T) {
	lookup := zone(t, `
mail.example.org. A 192.0.2.25
mail.example.org. AAAA 2001:db8::25
25.2.0.192.in-addr.arpa. PTR Mail.example.org.
5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mail.example.org.
nameless.example.org. A 192.0.2.26
alias.example.org. A 192.0.2.25
pool.example.org. A 192.0.2.27
27.2.0.192.in-addr.arpa. PTR dyn-27.provider.test.
many.example.org. A 192.0.2.28
28.2.0.192.in-addr.arpa. PTR many.example.org.
28.2.0.192.in-addr.arpa. PTR www.example.org.
half.example.org. A 192.0.2.29
half.example.org. AAAA 2001:db8::29
29.2.0.192.in-addr.arpa. PTR half.example.org.
`)
	for host, want := range map[string][]string{
		"mail.example.org":     nil,
		"MAIL.example.org.":    nil,
		"gone.example.org":     {"gone.example.org has no address"},
		"nameless.example.org": {"192.0.2.26 has no name: ask the provider of the address for a PTR record with nameless.example.org"},
		"alias.example.org":    {"192.0.2.25 has the name mail.example.org, want alias.example.org (that name resolves to the address, so only the names differ)"},
		"pool.example.org":     {"192.0.2.27 has the name dyn-27.provider.test, want pool.example.org (and that name does not resolve to the address)"},
		"many.example.org":     {"advice: 192.0.2.28 has 2 names, and some receivers check only one: many.example.org, www.example.org"},
		"half.example.org":     {"2001:db8::29 has no name: ask the provider of the address for a PTR record with half.example.org"},
	} {
		n, err := CheckNames(context.Background(), lookup, host)
		if err != nil {
			t.Fatal(err)
		}
		wantFindings(t, n.Findings, want...)
	}
	if _, err := CheckNames(context.Background(), lookup, "servfail.test"); !errors.Is(err, errNoAnswer) {
		t.Errorf("got %v, want that there was no answer", err)
	}
}

func TestBlocklist(t *testing.T) {
	lookup := zone(t, `
2.0.0.127.good.test. A 127.0.0.2
2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.good.test. A 127.0.0.2
66.2.0.192.good.test. A 127.0.0.4
66.2.0.192.good.test. A 127.0.0.10
66.2.0.192.good.test. TXT "https://good.test/192.0.2.66"
6.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.good.test. A 127.0.0.2
2.0.0.127.four.test. A 127.0.0.2
25.2.0.192.public.test. A 127.255.255.254
2.0.0.127.shy.test. A 127.255.255.255
25.2.0.192.blocked.test. A 127.0.0.1
25.2.0.192.sold.test. A 203.0.113.5
25.2.0.192.all.test. A 127.0.0.2
2.0.0.127.all.test. A 127.0.0.2
1.0.0.127.all.test. A 127.0.0.2
`)
	v4, v6 := netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("2001:db8::25")
	for _, test := range []struct {
		list     string
		address  netip.Addr
		standing Standing
		text     string
	}{
		{"good.test", v4, NotListed, ""},
		{"good.test", v6, NotListed, ""},
		{"good.test", netip.MustParseAddr("192.0.2.66"), Listed, "https://good.test/192.0.2.66"},
		{"good.test", netip.MustParseAddr("2001:db8::66"), Listed, ""},
		{"four.test", v4, NotListed, ""},
		{"four.test", v6, Unable, "it does not list the test address ::FFFF:7F00:2, so it has no IPv6 addresses"},
		{"dead.test", v6, Broken, "it does not list the test address 127.0.0.2, so it lists nothing"},
		{"dead.test", v4, Broken, "it does not list the test address 127.0.0.2, so it lists nothing"},
		{"public.test", v4, Refusing, "it does not accept queries from public resolvers"},
		{"shy.test", v4, Refusing, "too many queries were sent to it"},
		{"blocked.test", v4, Refusing, "it refuses to answer, possibly because of a public resolver or too many queries"},
		{"sold.test", v4, Broken, "it answers 203.0.113.5, which is not an answer of a blocklist (want 127.0.0.0/8): its domain may have a new owner"},
		{"all.test", v4, Broken, "it lists the test address that no list may contain (127.0.0.1), so it lists everything"},
	} {
		l, err := CheckBlocklist(context.Background(), lookup, test.list, test.address)
		if err != nil {
			t.Fatal(err)
		}
		if l.Standing != test.standing || l.Text != test.text {
			t.Errorf("%s of %s: got %d %q, want %d %q", test.address, test.list, l.Standing, l.Text, test.standing, test.text)
		}
	}
	l, _ := CheckBlocklist(context.Background(), lookup, "good.test", netip.MustParseAddr("192.0.2.66"))
	if strings.Join(l.Codes, " ") != "127.0.0.4 127.0.0.10" {
		t.Errorf("codes %q", l.Codes)
	}
	if _, err := CheckBlocklist(context.Background(), lookup, "servfail.test", v4); !errors.Is(err, errNoAnswer) {
		t.Errorf("got %v, want that there was no answer", err)
	}
}
