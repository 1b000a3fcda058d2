package verdict

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

// worldWith is a World in which account has received message.
func worldWith(target *steps.Target, account *steps.Account, message string) *steps.World {
	w := steps.NewWorld(target, nil, "run", "test")
	steps.State[mail.Session](w).Receive(w, &mail.Arrival{Account: account, Where: "bob's INBOX at imap.mail.test:993", Folder: "INBOX", At: time.Now(),
		Read: func(context.Context) ([]byte, error) { return []byte(message), nil }})
	return w
}

// The keys are created once: an RSA key takes a tenth of a second.
var (
	signingKey, _      = rsa.GenerateKey(rand.Reader, 2048)
	edPublic, edKey, _ = ed25519.GenerateKey(rand.Reader)
)

func keyRecord(t *testing.T) string {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(signingKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	return `"` + text[:200] + `" "` + text[200:] + `"`
}

// zoneServer serves the zones of these tests.
func zoneServer(t *testing.T) (*nameserver.Server, *steps.Target) {
	t.Helper()
	zone := "$TTL 60\n"
	for _, name := range []string{"org", "example", "example.org", "strict.example", "relaxed.example", "bare.example", "twice.example", "broken.example", "loop.example"} {
		zone += name + ". SOA ns." + name + ". admin." + name + ". 1 60 60 60 60\n"
	}
	zone += `example.org. TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:partner.example.org -all"
partner.example.org. TXT "v=spf1 a:out.example.org ~all"
out.example.org. A 198.51.100.1
_dmarc.example.org. TXT "v=DMARC1; p=quarantine; sp=reject; rua=mailto:d@example.org"
s1._domainkey.example.org. TXT ` + keyRecord(t) + `
ed._domainkey.example.org. TXT "v=DKIM1; k=ed25519; p=` + base64.StdEncoding.EncodeToString(edPublic) + `"
revoked._domainkey.example.org. TXT "v=DKIM1; p="
long._domainkey.example.org. TXT "v=DKIM1; p="` + strings.Repeat(` "`+strings.Repeat("A", 200)+`"`, 8) + `
other._domainkey.example.org. TXT "v=DKIM1; k=ed25519; p=!!"
_dmarc.strict.example. TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
s1._domainkey.strict.example. TXT ` + keyRecord(t) + `
s1._domainkey.mail.strict.example. TXT ` + keyRecord(t) + `
_dmarc.twice.example. TXT "v=DMARC1; p=reject"
_dmarc.twice.example. TXT "v=DMARC1; p=none"
_dmarc.broken.example. TXT "v=DMARC1; p=whatever"
broken.example. TXT "v=spf1 ip4:nonsense -all"
`
	server, err := nameserver.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, &steps.Target{Resolver: server.Address()}
}

// letterFrom returns a message from an author, without trace fields.
func letterFrom(author string) string {
	return "From: Alice <" + author + ">\r\nTo: bob@mail.test\r\nSubject: Hello\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\nHello Bob\r\n"
}

func sign(t *testing.T, message, domain, selector string, key crypto.Signer, alter ...func(*dkim.SignOptions)) string {
	t.Helper()
	options := &dkim.SignOptions{Domain: domain, Selector: selector, Signer: key, HeaderCanonicalization: "relaxed", BodyCanonicalization: "simple",
		HeaderKeys: []string{"From", "To", "Subject", "Date"}}
	for _, a := range alter {
		a(options)
	}
	var signed bytes.Buffer
	if err := dkim.Sign(&signed, strings.NewReader(message), options); err != nil {
		t.Fatal(err)
	}
	return signed.String()
}

// received puts trace fields on top of a message.
func received(ip, sender, message string) string {
	return "Return-Path: <" + sender + ">\r\n" +
		"Received: from mx.mail.test ([127.0.0.1]) by imap.mail.test with LMTP id a; Sat, 21 Nov 2026 12:00:02 +0000\r\n" +
		"Received: from out.example.org (out.example.org [" + ip + "])\r\n\tby mx.mail.test (Postfix) with ESMTPS id b\r\n\tfor <bob@mail.test>; Sat, 21 Nov 2026 12:00:01 +0000\r\n" +
		"Received: from pc (unknown [203.0.113.9]) by out.example.org (Postfix) with ESMTPSA id c; Sat, 21 Nov 2026 12:00:00 +0000\r\n" + message
}

func TestMailAuthentication(t *testing.T) {
	_, target := zoneServer(t)
	good := sign(t, letterFrom("alice@example.org"), "example.org", "s1", signingKey)
	const permitted, foreign = "192.0.2.7", "203.0.113.5"
	for name, c := range map[string]struct {
		message, step, want string
		gauges              string // dkim spf dmarc; "-" for absent
	}{
		"all pass":                         {received(permitted, "alice@example.org", good), "it passes SPF, DKIM and DMARC", "", "1 1 1"},
		"IPv6":                             {received("IPv6:2001:db8::7", "alice@example.org", good), "it passes SPF", "", "- 1 -"},
		"SPF by include and a":             {received("198.51.100.1", "alice@example.org", good), "it passes SPF", "", "- 1 -"},
		"an empty sender":                  {received(permitted, "", good), "it passes SPF", "SPF: none: out.example.org has no SPF record, so nothing allows 192.0.2.7 to send for it (unexpected, blame dns)", "- 0 -"},
		"ed25519":                          {sign(t, letterFrom("alice@example.org"), "example.org", "ed", edKey), "it passes DKIM", "", "1 - -"},
		"two signatures, one dead":         {sign(t, good, "example.org", "revoked", signingKey), "it passes DKIM", "", "1 - -"},
		"signed by":                        {good, `it is signed by "example.org"`, "", "1 - -"},
		"signed with":                      {good, `it is signed by "Example.org" with the selector "s1"`, "", "1 - -"},
		"signed with another":              {good, `it is signed by "example.org" with the selector "s2"`, "DKIM: want a signature of example.org (selector s2), got the signature of example.org (selector s1): valid (unexpected, blame submission)", "1 - -"},
		"signed by another":                {good, `it is signed by "example.net"`, "DKIM: want a signature of example.net, got the signature of example.org (selector s1): valid (unexpected, blame submission)", "1 - -"},
		"signed by a dead one":             {sign(t, good, "example.org", "revoked", signingKey), `it is signed by "example.org" with the selector "revoked"`, "DKIM: the signature of example.org (selector revoked) is not valid: its key at revoked._domainkey.example.org is revoked (p= is empty), and the sender's server still signs with it (unexpected, blame submission)", "1 - -"},
		"unsigned":                         {letterFrom("alice@example.org"), "it passes DKIM", "DKIM: the message is not signed: the sender's server sent it without a DKIM-Signature (unexpected, blame submission)", "0 - -"},
		"body altered":                     {strings.Replace(good, "Hello Bob", "Hello Eve", 1), "it passes DKIM", "DKIM: no valid signature: the signature of example.org (selector s1): the body was altered after it was signed (the body hash differs) (unexpected, blame transfer)", "0 - -"},
		"subject altered":                  {strings.Replace(good, "Subject: Hello", "Subject: [List] Hello", 1), "it passes DKIM", "DKIM: no valid signature: the signature of example.org (selector s1): the signed header fields were altered, or the key at s1._domainkey.example.org is not the signer's (unexpected, blame target)", "0 - -"},
		"no key in DNS":                    {sign(t, letterFrom("alice@example.org"), "example.org", "gone", signingKey), "it passes DKIM", "DKIM: no valid signature: the signature of example.org (selector gone): DNS has no key at gone._domainkey.example.org (dns, blame dns)", "0 - -"},
		"key revoked":                      {sign(t, letterFrom("alice@example.org"), "example.org", "revoked", signingKey), "it passes DKIM", "DKIM: no valid signature: the signature of example.org (selector revoked): its key at revoked._domainkey.example.org is revoked (p= is empty), and the sender's server still signs with it (unexpected, blame submission)", "0 - -"},
		"unusable key":                     {sign(t, letterFrom("alice@example.org"), "example.org", "other", signingKey), "it passes DKIM", "DKIM: no valid signature: the signature of example.org (selector other): the record at other._domainkey.example.org cannot be used: key syntax error: illegal base64 data at input byte 0 (unexpected, blame dns)", "0 - -"},
		"signature expired":                {sign(t, letterFrom("alice@example.org"), "example.org", "s1", signingKey, func(o *dkim.SignOptions) { o.Expiration = time.Unix(1e9, 0) }), "it passes DKIM", "DKIM: no valid signature: the signature of example.org (selector s1): signature has expired (unexpected, blame submission)", "0 - -"},
		"SPF fails":                        {received(foreign, "alice@example.org", good), "it passes SPF", "SPF: fail: the SPF record of example.org does not allow 203.0.113.5, which handed the message to mx.mail.test (matched all) (unexpected, blame transfer)", "- 0 -"},
		"SPF none":                         {received(foreign, "alice@bare.example", good), "it passes SPF", "SPF: none: bare.example has no SPF record, so nothing allows 203.0.113.5 to send for it (unexpected, blame dns)", "- 0 -"},
		"SPF permerror":                    {received(foreign, "alice@broken.example", good), "it passes SPF", "SPF: permerror: the SPF record of broken.example cannot be used: invalid ipX value (unexpected, blame dns)", "- 0 -"},
		"SPF of a login":                   {"Received: from pc (pc [192.0.2.7]) by mx.mail.test with ESMTPSA id a; x\r\n" + good, "it passes SPF", "SPF: the message was submitted to mx.mail.test with a login (ESMTPSA), not by another server, so SPF does not apply (scenario, blame scenario)", "- - -"},
		"SPF of an unknown sender":         {strings.TrimPrefix(received(permitted, "alice@example.org", good), "Return-Path: <alice@example.org>\r\n"), "it passes SPF", "SPF: the message has no Return-Path, and this run did not send it, so the sender in the envelope is unknown (scenario, blame scenario)", "- - -"},
		"SPF of nothing":                   {good, "it passes SPF", "SPF: no Received field says which server the message came from (scenario, blame scenario)", "- - -"},
		"DMARC by SPF alone":               {received(permitted, "alice@example.org", letterFrom("alice@example.org")), "it passes DMARC", "", "- - 1"},
		"DMARC by DKIM alone":              {good, "it passes DMARC", "", "- - 1"},
		"DMARC relaxed":                    {sign(t, letterFrom("alice@news.example.org"), "example.org", "s1", signingKey), "it passes DMARC", "", "- - 1"},
		"DMARC of no one":                  {letterFrom("alice@example.org"), "it passes DMARC", "DMARC: neither DKIM nor SPF passes for example.org: it is not signed; SPF: none (no Received field says which server the message came from); the policy of example.org for such mail is quarantine (unexpected, blame submission)", "- - 0"},
		"DMARC subdomain":                  {letterFrom("alice@news.example.org"), "it passes DMARC", "DMARC: neither DKIM nor SPF passes for news.example.org: it is not signed; SPF: none (no Received field says which server the message came from); the policy of example.org for such mail is reject (unexpected, blame submission)", "- - 0"},
		"DMARC strict":                     {sign(t, letterFrom("alice@strict.example"), "strict.example", "s1", signingKey), "it passes DMARC", "", "- - 1"},
		"DMARC strict, beneath":            {sign(t, letterFrom("alice@strict.example"), "mail.strict.example", "s1", signingKey), "it passes DMARC", "DMARC: nothing that passes is aligned with strict.example of From: DKIM passes for mail.strict.example (adkim=s, aspf=s); the policy of strict.example for such mail is reject (unexpected, blame submission)", "- - 0"},
		"DMARC misaligned":                 {received(permitted, "alice@example.org", sign(t, letterFrom("alice@strict.example"), "example.org", "s1", signingKey)), "it passes SPF, DKIM and DMARC", "DMARC: nothing that passes is aligned with strict.example of From: DKIM passes for example.org, SPF passes for example.org (adkim=s, aspf=s); the policy of strict.example for such mail is reject (unexpected, blame submission)", "1 1 0"},
		"DMARC none":                       {letterFrom("alice@mail.bare.example"), "it passes DMARC", "DMARC: there is no record at _dmarc.mail.bare.example or above it: add one at _dmarc.bare.example (unexpected, blame dns)", "- - 0"},
		"DMARC twice":                      {letterFrom("alice@twice.example"), "it passes DMARC", "DMARC: _dmarc.twice.example has 2 records, so none counts (RFC 9989 section 4.10): remove all but one (unexpected, blame dns)", "- - 0"},
		"DMARC broken":                     {letterFrom("alice@broken.example"), "it passes DMARC", `DMARC: the record at _dmarc.broken.example has the policy p="whatever", want none, quarantine or reject: receivers ignore it (unexpected, blame dns)`, "- - 0"},
		"a long domain":                    {letterFrom("alice@" + strings.Repeat("ä", int(domainLimit.Most))), "it passes DMARC", "DMARC: the domain of From has 2048 bytes, the limit is 1024 (too_large, blame submission)", "- - 0"},
		"a long sender":                    {received(permitted, strings.Repeat("a", 600)+"@example.org", good), "it passes SPF", "check SPF of the message in bob's INBOX at imap.mail.test:993: the sender in the message has 612 bytes, the limit is 512 (too_large, blame delivery)", "- - -"},
		"two authors":                      {letterFrom("alice@example.org>, <eve@example.net"), "it passes DMARC", `DMARC: From is "Alice <alice@example.org>, <eve@example.net>", want one address (protocol, blame submission)`, "- - 0"},
		"a header without end":             {"Subject: x\r\n", "it passes DKIM", "verify the signatures of the message in bob's INBOX at imap.mail.test:993: failed to read header: EOF (protocol, blame delivery)", "- - -"},
		"many signed fields (signedLimit)": {strings.Replace(good, "h=From:", "h=From:"+strings.Repeat("X:", int(signedLimit.Most)), 1), "it passes DKIM", "verify the signatures of the message in bob's INBOX at imap.mail.test:993: a signature has 504 signed fields, the limit is 500 (too_large, blame submission)", "- - -"},
		"a long key (keyLimit)":            {sign(t, letterFrom("alice@example.org"), "example.org", "Long", signingKey), "it passes DKIM", "DKIM: no valid signature: the signature of example.org (selector Long): the record at Long._domainkey.example.org cannot be used: the RSA key in DNS has 9200 bits, the limit is 8192 (too_large, blame dns)", "0 - -"},
		"too long a header":                {strings.Repeat("X: y\r\n", 5000) + good, "it passes DKIM", "read the message in bob's INBOX at imap.mail.test:993: the header of the message has more than 5000 lines, the limit (too_large, blame delivery)", "- - -"},
		"no author":                        {"Subject: x\r\n\r\n", "it passes DMARC", "DMARC: the message has 0 From fields, want 1 (protocol, blame submission)", "- - 0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := worldWith(target, &steps.Account{Name: "bob", IMAP: "imap.mail.test"}, c.message)
			fixture.WantFailure(t, fixture.Perform(t, w, c.step), c.want)
			got := map[string]string{}
			for _, m := range w.TakeReport().Measurements {
				got[m.Name] = fmt.Sprint(m.Value)
			}
			var gauges []string
			for _, name := range []string{"mail_dkim_pass", "mail_spf_pass", "mail_dmarc_pass"} {
				if value, found := got[name]; found {
					gauges = append(gauges, value)
				} else {
					gauges = append(gauges, "-")
				}
			}
			if all := strings.Join(gauges, " "); all != c.gauges {
				t.Errorf("measured %s, want %s", all, c.gauges)
			}
		})
	}
}

// TestMailAuthenticationWithoutDNS checks that a DNS failure blames DNS and measures nothing.
func TestMailAuthenticationWithoutDNS(t *testing.T) {
	server, target := zoneServer(t)
	message := received("192.0.2.7", "alice@example.org", sign(t, letterFrom("alice@example.org"), "example.org", "s1", signingKey))
	server.Refuse(dns.RcodeServerFailure)
	for step, want := range map[string]string{
		"it passes DKIM":                `look up the key of a DKIM signature: "s1._domainkey.example.org" does not resolve: server misbehaving (dns, blame dns)`,
		"it passes SPF":                 `look up the SPF record of example.org: "example.org" does not resolve: server misbehaving (dns, blame dns)`,
		"it passes DMARC":               `look up the key of a DKIM signature: "s1._domainkey.example.org" does not resolve: server misbehaving (dns, blame dns)`,
		"it passes SPF, DKIM and DMARC": `look up the key of a DKIM signature: "s1._domainkey.example.org" does not resolve: server misbehaving (dns, blame dns)`,
		`it is signed by "example.org"`: `look up the key of a DKIM signature: "s1._domainkey.example.org" does not resolve: server misbehaving (dns, blame dns)`,
	} {
		w := worldWith(target, &steps.Account{Name: "bob", IMAP: "imap.mail.test"}, message)
		fixture.WantFailure(t, fixture.Perform(t, w, step), want)
		if m := w.TakeReport().Measurements; len(m) > 0 {
			t.Errorf("%s: measured %v", step, m)
		}
	}
}

// TestHandovers reads the handover from the Received fields of common servers.
func TestHandovers(t *testing.T) {
	for name, c := range map[string]struct{ value, want string }{
		"Postfix":   {"from out.example.org (out.example.org [192.0.2.7])\r\n\t(using TLSv1.3 with cipher X (256/256 bits))\r\n\tby mx.mail.test (Postfix) with ESMTPS id 4jW\r\n\tfor <bob@mail.test>; Sat", "192.0.2.7 out.example.org mx.mail.test ESMTPS"},
		"IPv6":      {"from a.example.org (unknown [IPv6:2001:db8::1]) by MX.mail.test. with ESMTP id 1; Sat", "2001:db8::1 a.example.org MX.mail.test ESMTP"},
		"Exim":      {"from [192.0.2.7] (helo=out.example.org) by mx.mail.test with esmtpsa (TLS1.3) tls X (Exim 4.96) id 1 for b@x; Sat", "192.0.2.7 out.example.org mx.mail.test ESMTPSA"},
		"Exim, PTR": {"from rev.example.org ([192.0.2.7] helo=out.example.org) by mx.mail.test with esmtp (Exim) id 1; Sat", "192.0.2.7 out.example.org mx.mail.test ESMTP"},
		"Gmail":     {"from out.example.org (out.example.org. [192.0.2.7]) by mx.google.com with ESMTPS id a-1 for <b@gmail.com> (version=TLS1_3 cipher=X bits=256/256); Sat", "192.0.2.7 out.example.org mx.google.com ESMTPS"},
		"Exchange":  {"from out.example.org (192.0.2.7) by DB5.mail.protection.outlook.com (10.1.2.3) with Microsoft SMTP Server (version=TLS1_3, cipher=X) id 15.20; Sat", "192.0.2.7 out.example.org DB5.mail.protection.outlook.com Microsoft SMTP Server"},
		"sendmail":  {"from out.example.org (rev.example.org [192.0.2.7] (may be forged)) by mx.mail.test (8.17) with ESMTP id x; Sat", "192.0.2.7 out.example.org mx.mail.test ESMTP"},
		"qmail":     {"from unknown (HELO out.example.org) (192.0.2.7) by mx.mail.test with SMTP; Sat", "192.0.2.7 out.example.org mx.mail.test SMTP"},
		"no IP":     {"from localhost by mx.mail.test with LMTP id 1; Sat", "invalid IP localhost mx.mail.test LMTP"},
		"no from":   {"by mx.mail.test (Postfix, from userid 0) id 1; Sat", ""},
	} {
		got := ""
		for _, h := range mail.Handovers(message.Header{{Name: "received", Value: strings.ReplaceAll(c.value, "\r\n", "")}}) {
			got = fmt.Sprint(h.Address, " ", h.Helo, " ", h.By, " ", h.Protocol)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestHeaderFields(t *testing.T) {
	message := "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus\r\n Wien\r\nX-A: 1\r\nX-A: two words\r\n\r\nX-B: no field\r\n"
	for step, want := range map[string]string{
		`its header "subject" is "Grüße aus Wien"`: "",
		`its header "X-A" is "two words"`:          "",
		`its header "X-A" contains "words"`:        "",
		`it has no header "X-B"`:                   "",
		`its header "X-A" is "two"`:                `expect the header "X-A" to be "two", got "1", "two words" (unexpected, blame target)`,
		`its header "X-A" contains "three"`:        `expect the header "X-A" to contain "three", got "1", "two words" (unexpected, blame target)`,
		`its header "X-B" is "x"`:                  `expect the header "X-B" to be "x": the message in bob's INBOX at imap.mail.test:993 does not have it (unexpected, blame target)`,
		`it has no header "X-A"`:                   `expect no header "X-A", got "1" (unexpected, blame target)`,
	} {
		fixture.WantFailure(t, fixture.Perform(t, worldWith(&steps.Target{}, &steps.Account{}, message), step), want)
	}
	fixture.WantFailure(t, fixture.Perform(t, steps.NewWorld(&steps.Target{}, nil, "run", "test"), `it passes DKIM`),
		`no message was received before this step: begin with "… receives it over IMAP within …" (scenario, blame scenario)`)
}
