//go:build linux

package stack_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// realDNS starts the DNS servers, once for all tests, and gives a stepwatch.yml that asks the resolver.
func realDNS(t *testing.T) (config string) {
	t.Helper()
	s := need(t)
	for _, name := range []string{"knot", "unbound", "bind9-dnsutils"} {
		needPackage(t, name)
	}
	logs(t, "knot-primary", "knot-secondary", "unbound")
	if s.DNS == nil {
		if err := s.StartDNS(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return write(t, "stepwatch.yml", fmt.Sprintf("resolver: 127.0.7.3:53\ndnssec: {anchors: [%s]}\ntls: {ca: [%s]}\nhosts:\n  resolver1: {address: 127.0.7.3}\n  resolver2: {address: 127.0.7.3}\n",
		s.DNS.Anchors, s.Config.CA))
}

func TestDNS(t *testing.T) {
	config := realDNS(t)
	for _, zone := range []string{stack.Documented, stack.Hashed} {
		signed := []string{"the answer is signed", "its signature is valid for 3 days", "the server says that the answer is signed"}
		for name, steps := range map[string][]string{
			"A":              {`I look up the A of "` + zone + `"`, `the answer is "192.0.2.80"`},
			"AAAA":           {`I look up the AAAA of "mail.` + zone + `"`, `the answer is "2001:db8::25"`},
			"wildcard":       {`I look up the A of "any.thing.` + zone + `"`, `the answer is "192.0.2.80"`},
			"MX":             {`I look up the MX of "` + zone + `"`, `the answer is "10 mail.` + zone + `"`},
			"TXT":            {`I look up the TXT of "` + zone + `"`, `the answer is "v=spf1 mx ~all"`},
			"TLSA":           {`I look up the TLSA of "_25._tcp.mail.` + zone + `"`, `the answer has 1 record`},
			"no data":        {`I look up the MX of "mail.` + zone + `"`, `the answer has 0 records`},
			"wildcard bare":  {`I look up the MX of "anything.` + zone + `"`, `the answer has 0 records`},
			"empty":          {`I look up the A of "empty.` + zone + `"`, `the answer has 0 records`},
			"absent":         {`I look up the A of "x.mail.` + zone + `"`, `the name does not exist`},
			"large":          {`I look up the TXT of "large.` + zone + `"`, `the answer has 10 records`},
			"over TCP":       {`I look up the TXT of "large.` + zone + `" over TCP and IPv4`, `the answer has 10 records`},
			"over TLS":       {`I look up the MX of "` + zone + `" at "` + stack.Resolver + `" over TLS`, `the answer has 1 record`},
			"over HTTPS":     {`I look up the MX of "` + zone + `" at "` + stack.Resolver + `" over HTTPS`, `the answer has 1 record`},
			"keys":           {`I look up the DNSKEY of "` + zone + `"`},
			"SOA by address": {`I look up the SOA of "` + zone + `" at "resolver1"`, `the answer has 1 record`},
		} {
			t.Run(zone+"/"+name, func(t *testing.T) { passes(t, config, append(steps, signed...)...) })
		}
	}
	t.Run("name server", func(t *testing.T) {
		passes(t, config, `I look up the MX of "example.org" at "ns1.example.org" without recursion`, `the answer is authoritative`, `the TTL is at least 1 hour`, `the TTL is at most 1 hour`, `the answer is signed`)
		passes(t, config, `I look up the TXT of "large.example.org" at "ns2.example.org" over UDP without recursion`, `the answer is truncated`)
	})
	t.Run("shipped", func(t *testing.T) {
		if code, out := execute(t, stepwatch, "run", "--config", config, "../../../features/dns/zone.feature", "../../../features/dns/agreement.feature",
			"../../../features/dns/dnssec.feature"); code != 0 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
}

func TestDNSFaults(t *testing.T) {
	config, s := realDNS(t), servers
	mx, serial, same := `I look up the MX of "example.org"`, `all name servers of "example.org" have the same serial`, `all name servers of "example.org" give the same answer`
	check(t, config, `I look up the MX of "example.test"`+"\nthe answer is signed", outcome{"the answer is signed", "dns", "dns"}) // nobody has the zone above
	check(t, config, mx+" over TLS", outcome{mx + " over TLS", "certificate_host", "dns"})
	over := `I look up the MX of "example.org" at "127.0.7.3" over TLS`
	check(t, config, over, outcome{over, "certificate_host", "dns"})
	check(t, config, mx+"\nits signature is valid for 5 days", outcome{"its signature is valid for 5 days", "unexpected", "dns"})

	t.Run("secondary down", func(t *testing.T) {
		down(t, s.DNS.Secondary)
		if line := check(t, config, serial, outcome{serial, "connect", "dns"}); !strings.Contains(line, "ns2.example.org (127.0.7.2): ask 127.0.7.2:53 for the SOA of \"example.org\": connection refused") {
			t.Error(line)
		}
	})
	t.Run("secondary behind", func(t *testing.T) {
		if err := s.DNS.Secondary.Stop(); err != nil {
			t.Fatal(err)
		}
		zone, err := os.ReadFile(s.DNS.ZoneFile)
		if err != nil {
			t.Fatal(err)
		}
		defer publish(t, strings.Replace(string(zone), "2026010101", "2026010301", 1), "10 mail.example.org.")
		publish(t, strings.NewReplacer("2026010101", "2026010201", "MX    10 mail", "MX    10 moved").Replace(string(zone)), "10 moved.example.org.")
		if err := s.DNS.Secondary.Start(t.Context()); err != nil { // it missed the notice, and asks by itself in an hour
			t.Fatal(err)
		}
		passes(t, config, mx, `the answer is "10 moved.example.org"`)
		check(t, config, mx+"\n"+same, outcome{same, "unexpected", "dns"})
		if line := check(t, config, serial, outcome{serial, "unexpected", "dns"}); !strings.Contains(line, "ns1.example.org (127.0.7.1) says serial 20260102") || !strings.Contains(line, "ns2.example.org (127.0.7.2) says serial 20260101") {
			t.Error(line)
		}
		if code, out := execute(t, "/usr/sbin/knotc", "-c", filepath.Join(s.Dir, "dns/secondary.conf"), "zone-refresh", "example.org"); code != 0 {
			t.Fatal(out)
		}
		eventually(t, waitLimit, "the secondary has the new zone", func() bool { return strings.Contains(dig(t, "@127.0.7.2", "MX", "example.org"), "moved") })
		passes(t, config, mx, same, serial)
	})
}

// publish gives the primary another zone, and returns when it answers from it.
func publish(t *testing.T, zone, mx string) {
	t.Helper()
	if err := os.WriteFile(servers.DNS.ZoneFile, []byte(zone), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := servers.DNS.Primary.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, waitLimit, "the primary has the new zone", func() bool { return strings.TrimSpace(dig(t, "@127.0.7.1", "MX", "example.org")) == mx })
}

// dig asks with BIND's tool and gives what it prints of the answer.
func dig(t *testing.T, args ...string) string {
	t.Helper()
	_, out := execute(t, "/usr/bin/dig", append([]string{"+short", "+tries=1", "+time=2"}, args...)...)
	return out
}

// TestDNSEqualsDig compares records, TTLs and serial numbers with what dig says of the same servers.
func TestDNSEqualsDig(t *testing.T) {
	config := realDNS(t)
	eventually(t, waitLimit, "the secondary has the primary's zone", func() bool { // the resolver asks either
		return dig(t, "@127.0.7.2", "SOA", "example.org") == dig(t, "@127.0.7.1", "SOA", "example.org")
	})
	for _, kind := range []string{"A", "AAAA", "MX", "NS", "CAA"} {
		got := strings.Split(strings.TrimSpace(dig(t, "@127.0.7.1", kind, "example.org")), "\n")
		passes(t, config, fmt.Sprintf(`I look up the %s of "example.org" at "127.0.7.1" without recursion`, kind), "the answer is:\n      | "+strings.Join(got, " |\n      | ")+" |")
	}
	got := passes(t, config, `I look up the MX of "example.org" at "127.0.7.1" without recursion`, `the answer is signed`)
	var first time.Time // end of a signature of the answer, or of the keys that made it; the resolver gives both, and keeps neither
	for _, kind := range []string{"MX", "DNSKEY"} {
		_, out := execute(t, "/usr/bin/dig", "@127.0.7.3", "+dnssec", "+noall", "+answer", kind, "example.org")
		signatures := regexp.MustCompile(`RRSIG\t`+kind+` 13 2 3600 (\d{14}) `).FindAllStringSubmatch(out, -1)
		if len(signatures) == 0 {
			t.Fatalf("dig shows no signature of the %s records:\n%s", kind, out)
		}
		for _, m := range signatures {
			ends, err := time.Parse("20060102150405", m[1])
			if err != nil {
				t.Fatal(err)
			}
			if first.IsZero() || ends.Before(first) {
				first = ends
			}
		}
	}
	if !strings.Contains(got, "until "+first.Format("2006-01-02 15:04")) || !strings.Contains(got, fmt.Sprintf("dns_signature_expiry_timestamp_seconds %d\n", first.Unix())) {
		t.Errorf("by dig the first signature ends %s (%d), and stepwatch says:\n%s", first, first.Unix(), got)
	}
}
