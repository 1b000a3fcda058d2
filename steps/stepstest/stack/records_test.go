//go:build linux

package stack_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// The shipped feature passes against Postfix, nginx and a signed zone that says of them what is so, and fails once one of them
// is changed and the others are not.
func TestMailRecords(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "nginx")
	policy := filepath.Join(s.Dir, "etc/html/.well-known/mta-sts.txt")
	if err := os.MkdirAll(filepath.Dir(policy), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(policy)) })
	publish := func(mx string) {
		t.Helper()
		if err := os.WriteFile(policy, []byte("version: STSv1\nmode: enforce\nmx: "+mx+"\nmax_age: 604800\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	publish(stack.Mail)

	zone, err := os.ReadFile(filepath.Join(s.Dir, "etc/zone"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := nameserver.NewSigner(stack.Domain + ".")
	if err != nil {
		t.Fatal(err)
	}
	key := signer.Key(stack.Domain + ".").String()
	names, err := nameserver.Start("127.0.0.53:53", string(zone)+key+`
_mta-sts.example.test. TXT "v=STSv1; id=1"
mta-sts.example.test. A 127.0.0.1
_smtp._tls.example.test. TXT "v=TLSRPTv1; rua=mailto:postmaster@example.test"
_25._tcp.mail.example.test. TLSA 3 1 1 `+servedKey(t)+blocklists("zen.spamhaus.org", "bl.spamcop.net", "b.barracudacentral.org"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	names.Misbehave(signer.Fault)
	anchors := write(t, "anchors", key+"\n")
	config := altered(t, func(*stack.Config) {})
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	own := strings.Replace(string(text), "resolver: 127.0.0.1:53", "resolver: 127.0.0.53:53\ndnssec: {anchors: ["+anchors+"]}", 1)
	if err := os.WriteFile(config, []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}

	feature := "../../../features/dns/mail-records.feature"
	passes := func(when string) {
		t.Helper()
		if code, out := execute(t, stepwatch, "run", "--config", config, feature); code != 0 {
			t.Errorf("%s: exit code %d:\n%s", when, code, out)
		}
	}
	fails := func(want string, exit ...int) {
		t.Helper()
		exit = append(exit, 1)
		if code, out := execute(t, stepwatch, "run", "--config", config, feature); code != exit[0] || !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			t.Errorf("exit code %d, want %d with %q:\n%s", code, exit[0], want, out)
		}
	}
	passes("as it should be")

	publish("mx." + stack.Domain)
	fails("the MX host mail.example.test is not among its mx (mx.example.test)")
	publish(stack.Mail)

	names.Misbehave(func(query, reply *dns.Msg, udp bool) [][]byte {
		for _, rr := range reply.Answer {
			if record, is := rr.(*dns.TLSA); is {
				record.Certificate = strings.Repeat("0", 64)
			}
		}
		return signer.Fault(query, reply, udp)
	})
	fails("no TLSA record allows the certificate of mail.example.test")

	names.Misbehave(func(query, reply *dns.Msg, udp bool) [][]byte {
		for _, rr := range reply.Answer {
			if record, is := rr.(*dns.PTR); is {
				record.Ptr = "dyn-1.provider.test."
			}
		}
		return signer.Fault(query, reply, udp)
	})
	fails("127.0.0.1 has the name dyn-1.provider.test, want mail.example.test")
	names.Misbehave(signer.Fault)

	configured(s.Postfix, "smtpd_banner=localhost ESMTP").while(t, func() { fails(`greets as "localhost"`) })
	passes("mended")

	feature = "../../../features/dns/reputation.feature"
	passes("on no list")
	names.Misbehave(func(query, reply *dns.Msg, udp bool) [][]byte {
		if name := query.Question[0].Name; strings.HasSuffix(name, ".zen.spamhaus.org.") {
			rr, err := dns.NewRR(name + " A 127.255.255.254")
			if err != nil {
				t.Error(err)
			}
			reply.Rcode, reply.Answer = dns.RcodeSuccess, []dns.RR{rr}
		}
		return signer.Fault(query, reply, udp)
	})
	fails("1 of 3 blocklists do not answer this machine's resolver: zen.spamhaus.org: it does not accept queries from public resolvers", 3) // which proves nothing
	names.Misbehave(signer.Fault)
	passes("answered again")
}

// blocklists are the zones of lists that work and have nobody.
func blocklists(lists ...string) string {
	var zones strings.Builder
	for _, list := range lists {
		zones.WriteString("\n" + list + ". SOA ns." + list + ". admin." + list + ". 1 60 60 60 60\n2.0.0.127." + list + ". A 127.0.0.2\n")
	}
	return zones.String()
}

// servedKey is the digest of the key in Postfix' certificate.
func servedKey(t *testing.T) string {
	t.Helper()
	conn, err := tls.Dial("tcp", "127.0.0.1:465", &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only inspected
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
