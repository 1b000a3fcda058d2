package maildns

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestDMARC(t *testing.T) {
	for _, test := range []struct {
		name, zone, domain, at, policy, from string
		findings                             []string
	}{
		{name: "usual", zone: `_dmarc.example.org. TXT "v=DMARC1; p=reject; rua=mailto:d@example.org; adkim=s; aspf=s"`, at: "example.org", policy: "reject", from: "p"},
		{name: "spaces and capitals", zone: `_dmarc.example.org. TXT "v = DMARC1 ;p= Quarantine;RUA=x ; rua=mailto:d@sub.example.org!10m ;"`, at: "example.org", policy: "quarantine", from: "p",
			findings: []string{"advice: receivers ignore the tag RUA=: is it misspelt?"}},
		{name: "no reports", zone: `_dmarc.example.org. TXT "v=DMARC1; p=none"`, at: "example.org", policy: "none", from: "p", findings: []string{"advice: without rua= you get no reports about senders that use your domain"}},
		{name: "subdomain", domain: "a.b.example.org", zone: `_dmarc.example.org. TXT "v=DMARC1; p=reject; sp=none; rua=mailto:d@example.org"`, at: "example.org", policy: "none", from: "sp"},
		{name: "subdomain of its own", domain: "b.example.org", zone: "_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n_dmarc.b.example.org. TXT \"v=DMARC1; p=reject; sp=none; rua=mailto:d@example.org\"", at: "b.example.org", policy: "reject", from: "p"},
		{name: "between", domain: "a.b.example.org", zone: `_dmarc.b.example.org. TXT "v=DMARC1; p=reject; rua=mailto:d@example.org"`, at: "b.example.org", policy: "reject", from: "p",
			findings: []string{"advice: many receivers only look for the record at a.b.example.org and example.org (RFC 7489 section 6.6.3) and do not find that of b.example.org"}},
		{name: "the walk ends at psd=n", domain: "a.b.example.org", zone: "_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n_dmarc.b.example.org. TXT \"v=DMARC1; p=reject; psd=n; rua=mailto:d@example.org\"", at: "b.example.org", policy: "reject", from: "p",
			findings: []string{"advice: many receivers only look for the record at a.b.example.org and example.org (RFC 7489 section 6.6.3) and do not find that of b.example.org"}},
		{name: "others take the reports", zone: "_dmarc.example.org. TXT \"v=DMARC1; p=none; rua=mailto:d@reports.test\"\nexample.org._report._dmarc.reports.test. TXT \"v=DMARC1;\"", at: "example.org", policy: "none", from: "p"},
		{name: "others do not", zone: `_dmarc.example.org. TXT "v=DMARC1; p=none; rua=mailto:d@reports.test"`, at: "example.org", policy: "none", from: "p",
			findings: []string{`receivers do not send reports to reports.test, because it does not say that it accepts reports about example.org: it needs a TXT record "v=DMARC1" at example.org._report._dmarc.reports.test (RFC 7489 section 7.1)`}},
		{name: "others with letters", zone: `_dmarc.example.org. TXT "v=DMARC1; p=none; rua=mailto:d@bücher.test"`, at: "example.org", policy: "none", from: "p",
			findings: []string{`rua=mailto:d@bücher.test: a URI has ASCII only (RFC 3986 section 2): write the domain as DNS has it, with xn--`}},
		{name: "others without a name", zone: `_dmarc.example.org. TXT "v=DMARC1; p=none; rua=mailto:d@` + strings.Repeat("x", 64) + `.test"`, at: "example.org", policy: "none", from: "p",
			findings: []string{`rua=mailto:d@` + strings.Repeat("x", 64) + `.test: its domain is not a domain name (RFC 1035 section 2.3.4)`}},
		{name: "others with a long name", zone: `_dmarc.example.org. TXT "v=DMARC1; p=none; rua=mailto:d@` + strings.Repeat("x.", 117) + `test"`, at: "example.org", policy: "none", from: "p",
			findings: []string{`receivers do not send reports to "` + strings.Repeat("x.", 60) + `"…, because with example.org._report._dmarc before it, where they look for its consent, it is too long for DNS (RFC 7489 section 7.1)`}},
		{name: "none", findings: []string{`there is no record at _dmarc.example.org: add a TXT record that begins with "v=DMARC1;"`}},
		{name: "none above", domain: "a.example.org", findings: []string{`neither a.example.org nor example.org has a DMARC record: add one at _dmarc.example.org that begins with "v=DMARC1; p="`}},
		{name: "two", zone: "_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n_dmarc.example.org. TXT \"v=DMARC1; p=reject\"", findings: []string{"_dmarc.example.org has 2 records, so none counts: remove all but one"}},
		{name: "small letters", zone: `_dmarc.example.org. TXT "v=dmarc1; p=none"`, findings: []string{`_dmarc.example.org has no record that begins with exactly "v=DMARC1;": it has "v=dmarc1; p=none"`}},
		{name: "backslashes", zone: `_dmarc.example.org. TXT "v=DMARC1\\; p=none"`, findings: []string{`_dmarc.example.org has no record that begins with exactly "v=DMARC1;": it has "v=DMARC1\\; p=none"`}},
		{name: "no policy", zone: `_dmarc.example.org. TXT "v=DMARC1; rua=mailto:d@example.org"`, at: "example.org", from: "p", findings: []string{"it has no p=: add p=none, p=quarantine or p=reject"}},
		{name: "mistakes", zone: `_dmarc.example.org. TXT "v=DMARC1; sp=no; p=rejected; rua=d@example.org, mailto:x, http://example.org/; pct=200; pct=1; adkim=strict; fo=2; ri=day; junk; ruf=mailto:a@example.org!10x"`, at: "example.org", from: "p", findings: []string{
			"the tag pct= occurs twice", `"junk" is not a tag: want name=value`, "p=rejected: want none, quarantine, reject", "sp=no: want none, quarantine, reject", "adkim=strict: want r, s",
			"pct=200: want a number from 0 to 100", "ri=day: want seconds", "fo=2: want 0, 1, d or s, separated by colons", "rua=d@example.org: want mailto: before a mail address",
			"rua=mailto:x: not a mail address", "ruf=mailto:a@example.org!10x: want a size such as 10m after the exclamation mark",
			"advice: p= is not directly after v=DMARC1, as RFC 7489 section 6.3 requires", "advice: rua=http://example.org/: receivers only send reports by mail"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.domain == "" {
				test.domain = "example.org"
			}
			d, err := CheckDMARC(context.Background(), zone(t, test.zone+"\n"), test.domain)
			if err != nil {
				t.Fatal(err)
			}
			if d.At != test.at || d.Policy != test.policy || d.From != test.from {
				t.Errorf("at %q, policy %q from %q; want %q, %q from %q", d.At, d.Policy, d.From, test.at, test.policy, test.from)
			}
			wantFindings(t, d.Findings, test.findings...)
		})
	}
	d, err := CheckDMARC(context.Background(), zone(t, `_dmarc.example.org. TXT "v=DMARC1; p=reject; pct=20; t=y; rua=mailto:d@example.org"`+"\n"), "example.org")
	if err != nil || d.Percent != 20 || !d.Testing || len(d.Reports) != 1 {
		t.Errorf("%+v %v", d, err)
	}
	for _, text := range []string{"", `_dmarc.example.org. TXT "v=DMARC1; p=reject; rua=mailto:d@servfail.test"` + "\n"} {
		domain := "example.org"
		if text == "" {
			domain = "servfail.test"
		}
		if _, err := CheckDMARC(context.Background(), zone(t, text), domain); !errors.Is(err, errNoAnswer) {
			t.Errorf("%s: got %v, want that there was no answer", domain, err)
		}
	}
}

// rsaRecord returns p= of a key with this many bits. It never signs, so its modulus need not be a product of primes.
func rsaRecord(bits uint) string {
	modulus := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
	der, _ := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: modulus, E: 65537})
	return base64.StdEncoding.EncodeToString(der)
}

// txt splits a text into the strings of a TXT record.
func txt(text string) string {
	parts := ""
	for len(text) > 200 {
		parts, text = parts+`"`+text[:200]+`" `, text[200:]
	}
	return "TXT " + parts + `"` + text + `"` + "\n"
}

func TestDKIM(t *testing.T) {
	seed := make([]byte, ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	ed := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	for _, test := range []struct {
		name     string
		records  []string
		bits     int
		findings []string
	}{
		{name: "usual", records: []string{"v=DKIM1; k=rsa; p=" + rsaRecord(2048)}, bits: 2048},
		{name: "least", records: []string{"p=" + rsaRecord(2048)}, bits: 2048},
		{name: "with all tags", records: []string{"v=DKIM1; h=sha1:sha256; k=rsa; n=notes; s=email; t=s; p=" + rsaRecord(4096) + ";"}, bits: 4096},
		{name: "white space", records: []string{"v=DKIM1; p=" + rsaRecord(2048)[:50] + " " + rsaRecord(2048)[50:]}, bits: 2048},
		{name: "1024", records: []string{"v=DKIM1; p=" + rsaRecord(1024)}, bits: 1024, findings: []string{"advice: the key has 1024 bits: create one with 2048 (RFC 8301 section 3.2)"}},
		{name: "768", records: []string{"v=DKIM1; p=" + rsaRecord(768)}, bits: 768, findings: []string{"the key has 768 bits, and receivers accept no signature with fewer than 1024 (RFC 8301 section 3.2): create one with 2048"}},
		{name: "Ed25519", records: []string{"v=DKIM1; k=ed25519; p=" + ed}, bits: 256, findings: []string{"advice: many receivers cannot verify Ed25519: sign with an RSA key too"}},
		{name: "Ed25519 in ASN.1", records: []string{"v=DKIM1; k=ed25519; p=" + rsaRecord(1024)}, findings: []string{"p= has 162 bytes, but an Ed25519 key has 32, without ASN.1 around it (RFC 8463 section 4)"}},
		{name: "test flag", records: []string{"v=DKIM1; t=y:s; p=" + rsaRecord(2048)}, bits: 2048, findings: []string{"t=y: the domain only tests DKIM, and receivers may treat its mail as unsigned: remove the flag"}},
		{name: "revoked", records: []string{"v=DKIM1; p="}, findings: []string{"the key is revoked: p= is empty"}},
		{name: "SHA-1 alone", records: []string{"v=DKIM1; h=sha1; p=" + rsaRecord(2048)}, bits: 2048, findings: []string{"h=sha1: it does not allow SHA-256, and receivers accept nothing else (RFC 8301 section 3.1)"}},
		{name: "for something else", records: []string{"v=DKIM1; s=chat; p=" + rsaRecord(2048)}, bits: 2048, findings: []string{"s=chat: it is not for mail"}},
		{name: "cut off", records: []string{"v=DKIM1; p=" + rsaRecord(2048)[:255]}, findings: []string{"p= is not base64 (255 characters): is a part of the key missing or duplicated?"}},
		{name: "cut off at base64", records: []string{"v=DKIM1; p=" + rsaRecord(2048)[:256]}, findings: []string{"p= is base64 of 192 bytes that are not an RSA key: is a part of it missing?"}},
		{name: "backslash", records: []string{`v=DKIM1\\; p=` + rsaRecord(2048)}, bits: 2048, findings: []string{"it has backslashes before its semicolons: enter it without them, because the DNS server or its web form adds them if needed", "want v=DKIM1 at its beginning, or no v= at all"}},
		{name: "a wildcard's text", records: []string{"v=spf1 -all"}, findings: []string{`mail._domainkey.example.org is not a DKIM key, because it has no p=: "v=spf1 -all"`}},
		{name: "other kind", records: []string{"v=DKIM1; k=dsa; p=AAAA"}, findings: []string{"k=dsa: receivers do not support this type of key: want rsa or ed25519"}},
		{name: "two", records: []string{"v=DKIM1; p=", "v=DKIM1; p="}, findings: []string{"mail._domainkey.example.org has 2 TXT records, and receivers may use any of them (RFC 6376 section 3.6.2.2): remove all but one"}},
		{name: "none", findings: []string{"there is no TXT record at mail._domainkey.example.org: publish the key of your signer for the selector mail"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var records strings.Builder
			for _, record := range test.records {
				records.WriteString("mail._domainkey.example.org. " + txt(record))
			}
			k, err := CheckDKIM(context.Background(), zone(t, records.String()), "mail", "example.org")
			if err != nil {
				t.Fatal(err)
			}
			if k.Bits != test.bits {
				t.Errorf("%d bits, want %d", k.Bits, test.bits)
			}
			wantFindings(t, k.Findings, test.findings...)
		})
	}
	if _, err := CheckDKIM(context.Background(), zone(t, ""), "mail", "servfail.test"); !errors.Is(err, errNoAnswer) {
		t.Errorf("got %v, want that there was no answer", err)
	}

	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	public, err := ReadPublicKey(append([]byte("mail.private\n"), file...))
	if err != nil || !(&DKIMKey{Public: key.Public()}).Same(public) {
		t.Errorf("its own file: %v", err)
	}
	seed[0]++
	if other := ed25519.NewKeyFromSeed(seed); (&DKIMKey{Public: other.Public()}).Same(public) || (&DKIMKey{}).Same(public) {
		t.Error("Same reports true for another key")
	}
	for text, want := range map[string]string{
		"": "it has no key in PEM (RFC 7468)",
		strings.ReplaceAll(string(file), "PRIVATE", "PUBLIC"): "its public key cannot be read",
	} {
		if _, err := ReadPublicKey([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestSTSRecord(t *testing.T) {
	for record, want := range map[string]string{
		`"v=STSv1; id=20160831085700Z;"`: "",
		`"v=STSv1;id=1"`:                 "",
		`"v=STSv1; id=2016-08-31"`:       "id=2016-08-31: want 1 to 32 letters and digits, with a new value whenever the policy changes",
		`"v=STSv1"`:                      "id=: want 1 to 32 letters and digits, with a new value whenever the policy changes",
		`"v=STSv2; id=1"`:                `there is no record at _mta-sts.example.org: add a TXT record that begins with "v=STSv1;"`,
		"\"v=STSv1; id=1\"\n_mta-sts.example.org. TXT \"v=STSv1; id=2\"": "_mta-sts.example.org has 2 records, so none counts: remove all but one",
	} {
		s, err := CheckSTSRecord(context.Background(), zone(t, "_mta-sts.example.org. TXT "+record+"\n"), "example.org")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.Faults, "\n"); got != want {
			t.Errorf("%s: got %s, want %s", record, got, want)
		}
	}
}

func TestSTSPolicy(t *testing.T) {
	for _, test := range []struct {
		name, body, mode string
		age              time.Duration
		findings         []string
	}{
		{name: "usual", body: "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmx: *.provider.test\r\nmax_age: 604800\r\n", mode: "enforce", age: 7 * 24 * time.Hour},
		{name: "LF and no end", body: "version: STSv1\nmode: testing\nmx: mail.example.org\nmx:a.provider.test\nmax_age: 604800", mode: "testing", age: 7 * 24 * time.Hour},
		{name: "none", body: "version: STSv1\nmode: none\nmax_age: 86400\n", mode: "none", age: 24 * time.Hour},
		{name: "an MX is missing", body: "version: STSv1\nmode: enforce\nmx: mail.example.org\nmx: *.a.provider.test\nmx: *.b.test\nmax_age: 604800\n", mode: "enforce", age: 7 * 24 * time.Hour, findings: []string{
			"the MX host a.provider.test is not among its mx (mail.example.org, *.a.provider.test, *.b.test): senders that honour the policy do not deliver to it",
			"advice: mx: *.a.provider.test matches no MX host", "advice: mx: *.b.test matches no MX host"}},
		{name: "short", body: "version: STSv1\nmode: testing\nmx: *.example.org\nmx: *.provider.test\nmax_age: 300\n", mode: "testing", age: 5 * time.Minute,
			findings: []string{"advice: max_age is 5m0s: senders forget the policy within a day, and an attacker only has to wait (RFC 8461 section 10.2 recommends weeks)"}},
		{name: "a web page", body: "<!DOCTYPE html>\n<html>", findings: []string{`line 1 is "<!DOCTYPE html>": want "key: value"`, `line 2 is "<html>": want "key: value"`, "it has no version", "it has no mode", "it has no max_age", "it has no mx: add one line for each MX host"}},
		{name: "mistakes", body: "mode: enforced\nversion: STSv2\nmx: mail.*.org\nmx: *.provider.test.\nmx: *.example.org\nmx: a.provider.test\nmax_age: 31557601\nmax_age: 1\nx: y\n", findings: []string{
			`it does not begin with "version: STSv1"`, `mode is "enforced", want enforce, testing or none`, "version occurs twice", `mx is "mail.*.org": want a host name, with or without *. before it`,
			`mx is "*.provider.test.": want a host name, with or without *. before it`, `max_age is "31557601", want at most 31557600 seconds`, "max_age occurs twice", "advice: senders ignore x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := ParseSTSPolicy([]byte(test.body))
			p.CompareMX([]string{"mail.example.org", "A.provider.test."})
			if p.Mode != test.mode || p.MaxAge != test.age {
				t.Errorf("mode %q, max_age %s; want %q, %s", p.Mode, p.MaxAge, test.mode, test.age)
			}
			wantFindings(t, p.Findings, test.findings...)
		})
	}
}

func TestTLSRPT(t *testing.T) {
	for record, want := range map[string]string{
		`"v=TLSRPTv1; rua=mailto:tls@example.org"`:                         "",
		`"v=TLSRPTv1;rua=https://reports.test/tls,mailto:tls@example.org"`: "",
		`"v=TLSRPTv1; rua=tls@example.org"`:                                "rua=tls@example.org: want mailto: with an address, or an https: address",
		`"v=TLSRPTv1; rua=http://reports.test/"`:                           "rua=http://reports.test/: want mailto: with an address, or an https: address",
		`"v=TLSRPTv1"`:                                                     "rua=: want mailto: with an address, or an https: address",
		`"v=TLSRPT1; rua=mailto:tls@example.org"`:                          `there is no record at _smtp._tls.example.org: add a TXT record that begins with "v=TLSRPTv1;"`,
	} {
		r, err := CheckTLSRPT(context.Background(), zone(t, "_smtp._tls.example.org. TXT "+record+"\n"), "example.org")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.Faults, "\n"); got != want {
			t.Errorf("%s: got %s, want %s", record, got, want)
		}
	}
}

func TestBIMI(t *testing.T) {
	for record, want := range map[string]string{
		`"v=BIMI1; l=https://example.org/logo.svg; a=https://example.org/vmc.pem"`: "",
		`"v=BIMI1; l=; a=;"`:                           "",
		`"v=BIMI1; l=http://example.org/logo.svg; a="`: "l=http://example.org/logo.svg: want an https address",
		`"v=BIMI1"`: "it has no l=: add the https address of the logo",
	} {
		b, err := CheckBIMI(context.Background(), zone(t, "default._bimi.example.org. TXT "+record+"\n"), "example.org")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(b.Faults, "\n"); got != want {
			t.Errorf("%s: got %s, want %s", record, got, want)
		}
	}
	const svg = `<svg xmlns="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny-ps" viewBox="0 0 1 1">`
	for image, want := range map[string]string{
		`<?xml version="1.0"?>` + svg + `<title>Example</title><rect width="1" height="1"/></svg>`: "",
		svg + `<rect/></svg>`: "it has no <title>, which the profile requires",
		svg + `<title>x</title><script>alert(1)</script><use href="https://x.test/#a"/></svg>`: "it has a <script>, which the profile forbids\n<use> refers to something outside the file, which the profile forbids",
		`<svg xmlns="http://www.w3.org/2000/svg" version="1.1"><title>x</title></svg>`:         `want version="1.2" and baseProfile="tiny-ps", got version="1.1" and baseProfile=""`,
		`<html><body></body></html>`: "its root element is <html>, want <svg>",
		"\x89PNG":                    `it is not XML: line 1: invalid UTF-8`,
		"":                           "it is empty",
		svg + `<title>x</title>`:     `it is not XML: it ends too early, in line 1`,
		svg + "<title>x</title>" + strings.Repeat(" ", BIMILogoLimit) + "</svg>": "it has 32884 bytes, but providers accept at most 32768",
	} {
		f := CheckBIMILogo([]byte(image))
		if got := strings.Join(f.Faults, "\n"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func FuzzRecords(f *testing.F) {
	for _, record := range []string{"v=DMARC1; p=none; rua=mailto:a@b.c!1m", "v=DKIM1; k=rsa; p=" + rsaRecord(512), "version: STSv1\nmode: none\nmax_age: 1\nmx: *.a.b", `<svg version="1.2">`, "v=STSv1; id=;;=", `v\;`} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record string) {
		d := &DMARC{Domain: "example.org", At: "example.org", Record: record}
		d.parse()
		k := &DKIMKey{Record: record}
		k.parse()
		if k.Valid() && k.Public == nil {
			t.Error("an unusable key is valid")
		}
		p := ParseSTSPolicy([]byte(record))
		p.CompareMX([]string{"mail.example.org"})
		if p.Valid() && p.Mode != "none" && !p.allows("mail.example.org") {
			t.Error("a policy that forbids the MX is valid")
		}
		CheckBIMILogo([]byte(record))
	})
}

// FuzzTexts checks domains whose TXT records say anything, and the files with public keys.
func FuzzTexts(f *testing.F) {
	for _, record := range []string{"v=TLSRPTv1; rua=mailto:t@example.org", "v=STSv1; id=20260101", "v=BIMI1; l=https://example.org/logo.svg; a=", "v=spf1 include:example.org -all", "v=DMARC1; p=none", "v=DKIM1; p=",
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record string) {
		var texts []string
		for rest := record; rest != ""; {
			n := min(255, len(rest))
			texts, rest = append(texts, rest[:n]), rest[n:]
		}
		asked := 0
		lookup := func(_ context.Context, name string, kind uint16) (Answer, error) {
			if asked++; asked > 500 {
				t.Fatal("it asks without end")
			}
			if !askable(name) {
				t.Errorf("it asks for %q", name)
			}
			if kind != dns.TypeTXT {
				return Answer{Missing: true}, nil
			}
			return Answer{Records: []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: texts}}}, nil
		}
		ctx := t.Context()
		_, _ = CheckTLSRPT(ctx, lookup, "example.org")
		_, _ = CheckSTSRecord(ctx, lookup, "example.org")
		_, _ = CheckBIMI(ctx, lookup, "example.org")
		_, _ = CheckSPF(ctx, lookup, "example.org")
		_, _ = CheckDMARC(ctx, lookup, "example.org")
		if key, err := CheckDKIM(ctx, lookup, "mail", "example.org"); err == nil && key.Valid() && key.Public == nil {
			t.Error("an unusable key is valid")
		}
		if key, err := ReadPublicKey([]byte(record)); (key == nil) == (err == nil) {
			t.Errorf("got a key: %t, and %v", key != nil, err)
		}
	})
}
