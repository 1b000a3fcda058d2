package dns_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

const recordsZone = `
$TTL 300
example.test.                 SOA  ns1.example.test. hostmaster.example.test. 7 60 60 60 60
example.test.                 MX   10 mail.example.test.
example.test.                 TXT  "v=spf1 mx ip4:192.0.2.0/24 -all"
_dmarc.example.test.          TXT  "v=DMARC1; p=reject; sp=none; rua=mailto:d@example.test"
ed._domainkey.example.test.   TXT  "v=DKIM1; k=ed25519; p=KEY"
revoked._domainkey.example.test. TXT "v=DKIM1; p="
_smtp._tls.example.test.      TXT  "v=TLSRPTv1; rua=mailto:tls@example.test"
_mta-sts.example.test.        TXT  "v=STSv1; id=1"
default._bimi.example.test.   TXT  "v=BIMI1; l=https://mta-sts.example.test/logo.svg; a="
default._bimi.biglogo.example.test. TXT "v=BIMI1; l=https://mta-sts.example.test/big.svg; a="
default._bimi.bigmark.example.test. TXT "v=BIMI1; l=https://mta-sts.example.test/logo.svg; a=https://mta-sts.example.test/big.pem"
mail.example.test.            A    127.0.0.1
_25._tcp.mail.example.test.   TLSA 3 1 1 SERVED
mta-sts.example.test.         A    127.0.0.1
half.example.test.            A    192.0.2.1
half.example.test.            A    198.51.100.1
nameless.example.test.        A    192.0.2.9
elsewhere.example.test.       A    192.0.2.80
open.example.test.            TXT  "v=spf1 +all"
open.example.test.            MX   10 mail.example.test.
open.example.test.            MX   20 other.example.test.
_mta-sts.open.example.test.   TXT  "v=STSv1; id=1"
mta-sts.open.example.test.    A    127.0.0.1
default._bimi.open.example.test. TXT "v=BIMI1; l=https://mta-sts.example.test/logo.html; a=https://mta-sts.example.test/logo.svg"
two.example.test.             TXT  "v=spf1 -all"
two.example.test.             TXT  "v=spf1 ~all"
part.example.test.            TXT  "v=spf1 ~all"
_dmarc.part.example.test.     TXT  "v=DMARC1; p=reject; pct=50; rua=mailto:d@example.test"
_dmarc.tested.example.test.   TXT  "v=DMARC1; p=reject; t=y; rua=mailto:d@example.test"
_dmarc.bad.example.test.      TXT  "v=DMARC1; p=maybe; rua=mailto:d@example.test"
unsigned.test.                SOA  ns1.example.test. hostmaster.example.test. 7 60 60 60 60
unsigned.test.                MX   10 mail.example.test.
2.0.0.127.bl.example.test.    A    127.0.0.2
2.0.0.127.shy.example.test.   A    127.255.255.254
9.2.0.192.shy.example.test.   A    127.255.255.254
80.2.0.192.bl.example.test.   A    127.0.0.4
80.2.0.192.bl.example.test.   TXT  "it sends spam"
1.0.0.127.in-addr.arpa.       SOA  ns1.example.test. hostmaster.example.test. 1 60 60 60 60
1.0.0.127.in-addr.arpa.       PTR  mail.example.test.
2.0.192.in-addr.arpa.         SOA  ns1.example.test. hostmaster.example.test. 1 60 60 60 60
`

const logo = `<svg xmlns="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny-ps"><title>Example</title></svg>`

// recordbed is a mail domain: its zone, a mail server, and a web server for its policy and logo.
type recordbed struct {
	names  *nameserver.Server
	signer *nameserver.Signer
	mail   *stepstest.MailServer
	target *steps.Target
	key    ed25519.PrivateKey

	mu    sync.Mutex
	files map[string][2]string // by path: media type and content
}

func (b *recordbed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	file, found := b.files[r.Host+r.URL.Path]
	b.mu.Unlock()
	switch {
	case !found:
		http.NotFound(w, r)
	case file[0] == "redirect":
		http.Redirect(w, r, file[1], http.StatusFound)
	default:
		w.Header().Set("Content-Type", file[0])
		_, _ = w.Write([]byte(file[1]))
	}
}

func (b *recordbed) put(path, kind, content string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.files[path] = [2]string{kind, content}
}

const policyPath = "mta-sts.example.test/.well-known/mta-sts.txt"

func newRecordbed(t *testing.T) *recordbed {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	ca, err := stepstest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	bed := &recordbed{files: map[string][2]string{}}
	if bed.mail, err = stepstest.NewMailServer(stepstest.MailOptions{Domain: "example.test", CA: ca, Users: map[string]string{"alice": "x"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bed.mail.Close() })
	bed.key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	many := "\nmany.test. SOA ns1.example.test. hostmaster.example.test. 1 60 60 60 60\n"
	for i := range 40 {
		many += fmt.Sprintf("ns%d.many.test. A 192.0.2.%d\nmany.test. NS ns%[1]d.many.test.\n", i, i+1)
	}
	zone := strings.NewReplacer("KEY", base64.StdEncoding.EncodeToString(bed.key.Public().(ed25519.PublicKey)), "SERVED", bed.served(t)).Replace(recordsZone + many)
	if bed.signer, err = nameserver.NewSigner("example.test."); err != nil {
		t.Fatal(err)
	}
	if bed.names, err = nameserver.Start("127.0.0.1:0", zone+bed.signer.Key("example.test.").String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bed.names.Close() })
	bed.names.Misbehave(bed.signer.Fault)
	certificate, err := ca.Issue("mta-sts.example.test", "mta-sts.open.example.test")
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(bed)
	web.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	web.StartTLS()
	t.Cleanup(web.Close)
	bed.put(policyPath, "text/plain", "version: STSv1\nmode: enforce\nmx: mail.example.test\nmax_age: 604800\n")
	bed.put("mta-sts.open.example.test/.well-known/mta-sts.txt", "text/plain", "version: STSv1\nmode: testing\nmx: mail.example.test\nmax_age: 604800\n")
	bed.put("mta-sts.example.test/logo.svg", "image/svg+xml", logo)
	bed.put("mta-sts.example.test/logo.html", "text/html", "<html></html>")
	bed.target = &steps.Target{Resolver: bed.names.Address(), Roots: ca.Roots, ConnectTo: map[string]string{"mta-sts.example.test:443": web.Listener.Addr().String(),
		"mta-sts.open.example.test:443": web.Listener.Addr().String()},
		Accounts: map[string]*steps.Account{"alice": {Name: "alice", Address: "alice@example.test", SMTP: "mail.example.test"}},
		Hosts:    map[string]*steps.Host{"mx": {Name: "mx", Address: "mail.example.test"}}}
	bed.target.Set(dnsclient.Anchors{bed.signer.Key("example.test.")})
	for from, to := range bed.mail.ConnectTo() {
		bed.target.ConnectTo[from] = to
	}
	return bed
}

// served returns the digest of the key in the mail server's certificate.
func (b *recordbed) served(t *testing.T) string {
	t.Helper()
	conn, err := tls.Dial("tcp", b.mail.ConnectTo()["mail.example.test:465"], &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only inspected
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

func (b *recordbed) run(t *testing.T, text string) *stepstest.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	outcome, err := stepstest.Scenario{Target: b.target}.Run(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// keyFile writes a private key and returns its path.
func keyFile(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mail.private")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecordsPass(t *testing.T) {
	bed := newRecordbed(t)
	for _, text := range []string{
		`the SPF record of "example.test" is valid`,
		`the SPF record of "alice" is valid`,
		`the SPF record of "example.test" ends with "-all"`,
		`the SPF record of "part.example.test" ends with "~all"`,
		`the SPF record of "example.test" permits "192.0.2.7"`,
		`the SPF record of "example.test" permits "mx"`,
		`the SPF record of "example.test" does not permit "198.51.100.7"`,
		`the DMARC record of "example.test" is valid`,
		`the DMARC record of "alice" has the policy "reject"`,
		`the DMARC record of "www.example.test" has the policy "none"`,
		`the DKIM key "ed" of "example.test" is valid`,
		`the DKIM key "ed" of "example.test" matches the file "` + keyFile(t, bed.key) + `"`,
		`the TLS-RPT record of "example.test" is valid`,
		`the MTA-STS policy of "example.test" is valid`,
		`the MTA-STS policy of "example.test" has the mode "enforce"`,
		`the BIMI record of "example.test" is valid`,
		`the TLSA records of "mail.example.test:25" match its certificate`,
		`the TLSA records of "mx:25" match its certificate`,
		`DANE protects every MX of "example.test"`,
		`the address of "mx" and its name match both ways`,
		`the greeting of "mx:25" names a host at its address`,
		`"mx" is on no blocklist of` + "\n| bl.example.test |",
		`"192.0.2.9" is on no blocklist of` + "\n| BL.example.test. |",
	} {
		t.Run(text, func(t *testing.T) {
			if err := bed.run(t, text).Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRecordsFail(t *testing.T) {
	bed := newRecordbed(t)
	other := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), 1))
	noKey := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(noKey, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ text, want string }{
		{`the SPF record of "two.example.test" is valid`, `unexpected dns: the SPF record of "two.example.test" is not valid: two.example.test has 2 SPF records, so none counts \(RFC 7208 section 4.5\): merge them into one`},
		{`the SPF record of "open.example.test" is valid`, `unexpected dns: the SPF record of "open.example.test" is not valid: \+all permits everybody to send for open.example.test: end it with -all or ~all`},
		{`the SPF record of "none.example.test" is valid`, `unexpected dns: .* none.example.test has no TXT record: add one that begins with "v=spf1"`},
		{`the SPF record of "part.example.test" ends with "-all"`, `unexpected dns: the SPF record of "part.example.test" gives other senders softfail, want fail \(-all\): it is v=spf1 ~all`},
		{`the SPF record of "example.test" ends with "+all"`, `scenario scenario: "\+all" cannot be the end of an SPF record: write -all, ~all or \?all`},
		{`the SPF record of "bob" is valid`, `scenario scenario: "bob" is neither a domain nor an account in stepwatch.yml`},
		{`the SPF record of "example.test" permits "198.51.100.7"`, `unexpected dns: the SPF record of "example.test" does not permit 198.51.100.7: fail .*`},
		{`the SPF record of "example.test" permits "half.example.test"`, `unexpected dns: the SPF record of "example.test" does not permit 198.51.100.1: fail .*`},
		{`the SPF record of "example.test" does not permit "192.0.2.7"`, `unexpected dns: the SPF record of "example.test" permits 192.0.2.7 .*, want it not permitted`},
		{`the SPF record of "two.example.test" does not permit "192.0.2.7"`, `unexpected dns: the SPF record of "two.example.test" cannot be evaluated for 192.0.2.7: permerror .*`},
		{`the SPF record of "example.test" permits "gone.example.test"`, `dns dns: .*NXDOMAIN.*`},
		{`the DMARC record of "bad.example.test" is valid`, `unexpected dns: the DMARC record of "bad.example.test" is not valid: p=maybe: want none, quarantine, reject`},
		{`the DMARC record of "example.test" has the policy "none"`, `unexpected dns: the DMARC policy for "example.test" is "reject" \(p= at _dmarc.example.test\), want "none"`},
		{`the DMARC record of "www.example.test" has the policy "reject"`, `unexpected dns: the DMARC policy for "www.example.test" is "none" \(sp= at _dmarc.example.test\), want "reject"`},
		{`the DMARC record of "part.example.test" has the policy "reject"`, `unexpected dns: .* for only 50 % of the mail, want all of it: remove pct=`},
		{`the DMARC record of "tested.example.test" has the policy "reject"`, `unexpected dns: .* t=y makes receivers apply it one level weaker: remove t=y`},
		{`the DMARC record of "example.test" has the policy "strict"`, `scenario scenario: "strict" is not a DMARC policy: write none, quarantine or reject`},
		{`the DKIM key "revoked" of "example.test" is valid`, `unexpected dns: the DKIM key "revoked" of "example.test" is not valid: the key is revoked: p= is empty`},
		{`the DKIM key "mail" of "example.test" is valid`, `unexpected dns: .*there is no TXT record at mail._domainkey.example.test: .*`},
		{`the DKIM key "ed" of "example.test" matches the file "` + keyFile(t, other) + `"`, `unexpected dns: the key at ed._domainkey.example.test does not match the key in ".*": receivers reject mail signed with it; .*`},
		{`the DKIM key "ed" of "example.test" matches the file "` + noKey + `"`, `config scenario: read the DKIM key file ".*": it has no key in PEM \(RFC 7468\)`},
		{`the DKIM key "ed" of "example.test" matches the file "/nonexistent"`, `config scenario: the file "/nonexistent" does not exist: .*`},
		{`the TLS-RPT record of "open.example.test" is valid`, `unexpected dns: .*there is no record at _smtp._tls.open.example.test: .*`},
		{`the MTA-STS policy of "two.example.test" is valid`, `unexpected dns: .*there is no record at _mta-sts.two.example.test: .*`},
		{`the MTA-STS policy of "open.example.test" is valid`, `unexpected dns: .* the MX host other.example.test is not among its mx \(mail.example.test\): senders that honour the policy do not deliver to it`},
		{`the MTA-STS policy of "example.test" has the mode "testing"`, `unexpected web: the MTA-STS policy of "example.test" has the mode "enforce", wanted "testing"`},
		{`the MTA-STS policy of "example.test" has the mode "strict"`, `scenario scenario: "strict" is not a mode of MTA-STS: write enforce, testing or none`},
		{`the BIMI record of "open.example.test" is valid`, `unexpected dns: .* the DMARC policy is "none" for 100 % of the mail: .*; the server sends the logo as "text/html", wanted image/svg\+xml; the logo: its root element is <html>, want <svg>; the mark certificate: it is not in PEM`},
		{`the BIMI record of "two.example.test" is valid`, `unexpected dns: .*there is no record at default._bimi.two.example.test: .*`},
		{`the TLSA records of "mail.example.test:587" match its certificate`, `unexpected dns: DANE of mail.example.test:587 is not valid: there is no TLSA record at _587._tcp.mail.example.test`},
		{`the TLSA records of "mail.example.test" match its certificate`, `scenario scenario: "mail.example.test" is not a host and port: .*`},
		{`DANE protects every MX of "open.example.test"`, `unexpected dns: DANE of other.example.test:25 is not valid: there is no TLSA record at _25._tcp.other.example.test`},
		{`DANE protects every MX of "unsigned.test"`, `unexpected dns: the MX records of "unsigned.test" are not proven by DNSSEC, .*`},
		{`the address of "nameless.example.test" and its name match both ways`, `unexpected dns: reverse DNS of "nameless.example.test" is not valid: 192.0.2.9 has no name: ask the provider of the address for a PTR record with nameless.example.test`},
		{`the address of "192.0.2.9" and its name match both ways`, `scenario scenario: "192.0.2.9" is an address: write the host's name`},
		{`"elsewhere.example.test" is on no blocklist of` + "\n| bl.example.test |", `unexpected target: elsewhere.example.test is on 1 of 1 blocklists: bl.example.test has 192.0.2.80 \(127.0.0.4: it sends spam\); find out what it sent, then ask the list to remove it`},
		{`"192.0.2.9" is on no blocklist of` + "\n| bl.example.test |\n| shy.example.test |", `refused monitor: 1 of 2 blocklists do not answer this machine's resolver: shy.example.test: it does not accept queries from public resolvers; set your own resolver under resolver in stepwatch.yml, or remove the list`},
		{`"192.0.2.9" is on no blocklist of` + "\n| dead.example.test |\n| bl.example.test |", `scenario scenario: 1 of 2 blocklists prove nothing: dead.example.test: it does not list the test address 127.0.0.2, so it lists nothing; remove those that do not work`},
		{`"192.0.2.9" is on no blocklist of` + "\n| list |", `scenario scenario: "list" is not a blocklist: .*`},
		{`"192.0.2.9" is on no blocklist of`, `scenario scenario: 0 blocklists in the table, wanted 1 to 64, one in each row`},
	} {
		t.Run(test.text, func(t *testing.T) { fixture.FailedAs(t, bed.run(t, test.text), test.want) })
	}
}

// Files beyond a limit (STSPolicyLimit, logoLimit, evidenceLimit), and a zone with more name servers than serversLimit.
func TestRecordLimits(t *testing.T) {
	bed := newRecordbed(t)
	bed.put("mta-sts.open.example.test/.well-known/mta-sts.txt", "text/plain", strings.Repeat("x", 64<<10+1))
	bed.put("mta-sts.example.test/big.svg", "image/svg+xml", strings.Repeat("x", 64<<10+1))
	bed.put("mta-sts.example.test/big.pem", "application/pem-certificate-chain", strings.Repeat("x", 1<<20+1))
	for _, test := range []struct{ text, want string }{
		{`the MTA-STS policy of "open.example.test" is valid`, `too_large web: GET https://mta-sts.open.example.test/.well-known/mta-sts.txt: the policy has 65537 bytes, the limit is 65536`},
		{`the BIMI record of "biglogo.example.test" is valid`, `too_large web: GET https://mta-sts.example.test/big.svg: the logo has 65537 bytes, the limit is 65536`},
		{`the BIMI record of "bigmark.example.test" is valid`, `too_large web: GET https://mta-sts.example.test/big.pem: the mark certificate has 1048577 bytes, the limit is 1048576`},
		{`all name servers of "many.test" give the same answer`, `too_large dns: ask the name servers of "many.test": a zone has more than 32 addresses of name servers, the limit`},
	} {
		text := test.text
		if strings.HasPrefix(text, "all name") {
			text = "I look up the SOA of \"many.test\"\n" + text
		}
		t.Run(test.text, func(t *testing.T) { fixture.FailedAs(t, bed.run(t, text), test.want) })
	}
}

// Servers are broken and repaired, and each step reports that.
func TestRecordsBrokenAndMended(t *testing.T) {
	bed := newRecordbed(t)
	good := bed.files[policyPath]
	pass := func(text string) {
		t.Helper()
		if err := bed.run(t, text).Err(); err != nil {
			t.Error(err)
		}
	}
	const sts = `the MTA-STS policy of "example.test" is valid`
	for _, broken := range []struct{ kind, content, want string }{
		{"redirect", "/elsewhere", `redirect web: GET https://mta-sts.example.test/.well-known/mta-sts.txt: it redirects to "/elsewhere", wanted no redirect`},
		{"text/html", good[1], `unexpected dns: .* is not valid: the server sends the file as "text/html", wanted text/plain`},
		{"text/plain", strings.Repeat("\n", 65<<10), `too_large web: .*`},
		{"text/plain", "<html>", `unexpected dns: .* is not valid: line 1 is "<html>": want "key: value"; it has no version; .*`},
	} {
		bed.put(policyPath, broken.kind, broken.content)
		fixture.FailedAs(t, bed.run(t, sts), broken.want)
	}
	delete(bed.files, policyPath)
	fixture.FailedAs(t, bed.run(t, sts), `http_status web: GET .*: got 404 Not Found, wanted 200`)
	bed.files[policyPath] = good
	pass(sts)
	roots := bed.target.Roots
	bed.target.Roots = func() (*x509.CertPool, error) { return x509.NewCertPool(), nil }
	fixture.FailedAs(t, bed.run(t, sts), `certificate_authority web: .*`)
	// A record for the key is enough, whatever the issuer and names of the certificate.
	pass(`the TLSA records of "mail.example.test:25" match its certificate`)
	bed.target.Roots = roots

	const dane, greeting = `DANE protects every MX of "example.test"`, `the greeting of "mail.example.test:25" names a host at its address`
	if err := bed.mail.Break(stepstest.FaultCertUnknownCA); err != nil {
		t.Fatal(err)
	}
	fixture.FailedAs(t, bed.run(t, dane), `unexpected dns: DANE of mail.example.test:25 is not valid: no TLSA record allows the certificate of mail.example.test: 3 1 1 .*: it is for another certificate or key; a record for its key is 3 1 1 .*`)
	if err := bed.mail.Break(); err != nil { // which gives it a new certificate
		t.Fatal(err)
	}
	renewed := bed.served(t)
	bed.names.Misbehave(func(query, reply *dns.Msg, udp bool) [][]byte {
		for _, rr := range reply.Answer {
			if tlsa, is := rr.(*dns.TLSA); is {
				tlsa.Certificate = renewed
			}
		}
		return bed.signer.Fault(query, reply, udp)
	})
	pass(dane)
	bed.names.Misbehave(nil)
	fixture.FailedAs(t, bed.run(t, dane), `dns dns: ask .* for the MX of "example.test": .*`) // the signatures are missing, which is worse than an unsigned zone
	bed.names.Misbehave(rcode(dns.RcodeServerFailure))
	for _, text := range []string{`the SPF record of "example.test" is valid`, `the SPF record of "example.test" permits "192.0.2.7"`, `the DMARC record of "example.test" is valid`, `the DKIM key "ed" of "example.test" is valid`,
		`the TLS-RPT record of "example.test" is valid`, sts, `the BIMI record of "example.test" is valid`, dane, `the address of "mx" and its name match both ways`, `"mail.example.test" is on no blocklist of` + "\n| bl.example.test |"} {
		fixture.FailedAs(t, bed.run(t, text), `dns dns: .*`)
	}
	fixture.FailedAs(t, bed.run(t, `"192.0.2.9" is on no blocklist of`+"\n| bl.example.test |"), `scenario scenario: 1 of 1 blocklists prove nothing: bl.example.test: .*SERVFAIL.*`)
	bed.names.Misbehave(func(query, reply *dns.Msg, _ bool) [][]byte {
		if len(reply.Answer) > 0 && query.Question[0].Qtype == dns.TypeA {
			reply.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 33)
		}
		return packed(reply)
	})
	fixture.FailedAs(t, bed.run(t, greeting), `unexpected transfer: mail.example.test:25 greets as "mail.example.test", which has the address 192.0.2.33, wanted 127.0.0.1`)
	bed.names.Misbehave(bed.signer.Fault)
	pass(greeting)
}

func TestRecordsMeasure(t *testing.T) {
	bed := newRecordbed(t)
	for text, want := range map[string]map[string]float64{
		`the SPF record of "example.test" is valid`:                                          {"spf_dns_lookups": 1, "spf_void_lookups": 0, "spf_all fail": 1},
		`the SPF record of "open.example.test" is valid`:                                     {"spf_dns_lookups": 0, "spf_void_lookups": 0, "spf_all pass": 1},
		`the SPF record of "two.example.test" is valid`:                                      {},
		`the DMARC record of "part.example.test" is valid`:                                   {"dmarc_policy reject": 1, "dmarc_percent": 50},
		`the DMARC record of "bad.example.test" is valid`:                                    {},
		`the DKIM key "ed" of "example.test" is valid`:                                       {"dkim_key_bits": 256},
		`the DKIM key "revoked" of "example.test" is valid`:                                  {},
		`the address of "nameless.example.test" and its name match both ways`:                {"dns_addresses ip4": 1, "dns_addresses ip6": 0},
		`"192.0.2.80" is on no blocklist of` + "\n| bl.example.test |":                       {"dnsbl_listed bl.example.test": 1},
		`"192.0.2.9" is on no blocklist of` + "\n| bl.example.test |\n| dead.example.test |": {"dnsbl_listed bl.example.test": 0},
	} {
		got := map[string]float64{}
		for _, m := range bed.run(t, text).Steps[0].Report.Measurements {
			name := m.Name
			for _, label := range m.Labels {
				name += " " + label.Value
			}
			got[name] = m.Value
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
		for name, value := range want {
			if v, found := got[name]; !found || v != value {
				t.Errorf("%s: got %v, want %v", text, got, want)
			}
		}
	}
	for text, want := range map[string]float64{`the MTA-STS policy of "example.test" is valid`: 604800, `DANE protects every MX of "example.test"`: 1} {
		name := "mta_sts_max_age_seconds"
		if strings.HasPrefix(text, "DANE") {
			name = "dane_tlsa_records"
		}
		got := -1.0
		for _, m := range bed.run(t, text).Steps[0].Report.Measurements {
			if m.Name == name {
				got = m.Value
			}
		}
		if got != want {
			t.Errorf("%s: %s is %v, want %v", text, name, got, want)
		}
	}
}
