package mail_test

import (
	"crypto/tls"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

const mxZone = `
$TTL 60
demo.test. SOA ns.demo.test. hostmaster.demo.test. 1 60 60 60 60
demo.test. MX 20 mx2.demo.test.
demo.test. MX 10 mail.demo.test.
bare.demo.test. A 127.0.0.1
null.demo.test. MX 0 .
four.demo.test. A 127.0.0.1
`

// A domain with more MX than exchangersLimit causes no connection.
func TestManyMX(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	zone := "$TTL 60\ndemo.test. SOA ns.demo.test. hostmaster.demo.test. 1 60 60 60 60\n"
	for i := range 51 {
		zone += fmt.Sprintf("demo.test. MX %d mx%[1]d.demo.test.\n", i)
	}
	names, err := nameserver.Start("127.0.0.1:0", zone)
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	bed.Target.Resolver = names.Address()
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, `When I send a message from "alice" directly to the MX of "bob"`),
		`too_large dns: look up the MX of demo.test: the MX of a domain has 51 hosts, the limit is 50`)
}

// mxbed is a mailbed whose domain has two MX hosts. Both are the same server, and only the first has the name in its
// certificate.
func mxbed(t *testing.T) *fixture.Mailbed {
	t.Helper()
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	names, err := nameserver.Start("127.0.0.1:0", mxZone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := names.Close(); err != nil {
			t.Error(err)
		}
	})
	bed.Target.Resolver = names.Address()
	return bed
}

// Dialogues of a second MX.
const (
	withTLS = `
		S: 220 mx2.demo.test ESMTP
		C: EHLO
		S: 250-mx2.demo.test
		S: 250 STARTTLS
		C: STARTTLS
		S: 220 go
		TLS
		C: EHLO
		S: 250 mx2.demo.test
		C: MAIL FROM:<alice@demo.test>
		S: 250 ok
		C: RCPT TO:<bob@demo.test>
		S: 250 ok
		C: DATA
		S: 354 go
		C*
		S: 250 2.0.0 Ok: queued as ABCDEF
		C: QUIT
		S: 221 bye`
	withoutTLS = `
		S: 220 mx2.demo.test ESMTP
		C: EHLO
		S: 250 mx2.demo.test
		C: MAIL FROM:<alice@demo.test>
		S: 250 ok
		C: RCPT TO:<bob@demo.test>
		S: 250 ok
		C: DATA
		S: 354 go
		C*
		S: 250 2.0.0 Ok: queued as ABCDEF
		C: QUIT
		S: 221 bye`
)

const directly = `When I send a message from "alice" directly to the MX of "bob"`

func TestMXTakesMail(t *testing.T) {
	bed := mxbed(t)
	bed.Target.ConnectTo["mx2.demo.test:25"] = serveScript(t, issued(t, bed, "mx2.demo.test"), withTLS)
	bed.Target.Accounts["bob"].Password = "" // the second server has no mailbox
	outcome := bed.Run(t, 10*time.Second, directly+"\nThen it is accepted within 5s")
	fixture.Passed(t, outcome)
	var got []string
	measured := 0
	for _, phase := range outcome.Steps[0].Report.Phases {
		got = append(got, phase.Name)
		if phase.Name == "mx_lookup" && phase.Note != "10 mail.demo.test, 20 mx2.demo.test" || phase.Name == "mx2_connect" && phase.Note != "mx2.demo.test (MX 2 of 2, preference 20)" {
			t.Errorf("%s is noted %q", phase.Name, phase.Note)
		}
	}
	for _, m := range outcome.Steps[0].Report.Measurements {
		if m.Name == "tls_certificate_not_after_timestamp_seconds" {
			measured++
		}
	}
	const each = "N_connect N_banner N_ehlo N_starttls N_tls N_ehlo_tls N_mail N_rcpt N_data N_body N_quit"
	want := "mx_lookup " + strings.ReplaceAll(each, "N_", "mx1_") + " " + strings.ReplaceAll(each, "N_", "mx2_")
	if strings.Join(got, " ") != want || measured != 1 {
		t.Errorf("got  %s, %d certificates\nwant %s, 1 certificate", strings.Join(got, " "), measured, want)
	}
}

// Mail servers deliver to any host with the name, so a certificate for another name, or none, does not delay mail.
func TestMXTakesMailInAnyTLS(t *testing.T) {
	const clear, wrong, right = "unencrypted", `TLS 1\.3, certificate not verified: x509: certificate is valid for mail\.demo\.test, not mx2\.demo\.test`, `TLS 1\.3, certificate verified`
	for _, test := range []struct {
		name, text, second, note string
		measured                 map[string]float64
	}{
		{"another name", directly, "", wrong, map[string]float64{"smtp_tls": 1, "smtp_tls_verified": 0}},
		{"over IPv4", directly + " over IPv4", "", wrong, map[string]float64{"smtp_tls": 1, "smtp_tls_verified": 0}},
		{"no TLS", directly, withoutTLS, clear, map[string]float64{"smtp_tls": 0, "smtp_tls_verified": 1}},
		{"verified", directly + " with verified TLS", withTLS, right, map[string]float64{"smtp_tls": 1, "smtp_tls_verified": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := mxbed(t)
			bed.Target.Accounts["bob"].Password = ""
			bed.Target.ConnectTo["mx2.demo.test:25"] = bed.Target.ConnectTo["mail.demo.test:25"]
			if test.second != "" {
				bed.Target.ConnectTo["mx2.demo.test:25"] = serveScript(t, issued(t, bed, "mx2.demo.test"), test.second)
			}
			outcome := bed.Run(t, 10*time.Second, test.text)
			fixture.Passed(t, outcome)
			report := outcome.Steps[0].Report
			if want := `^mail\.demo\.test: ` + right + `; mx2\.demo\.test: ` + test.note + `$`; !regexp.MustCompile(want).MatchString(report.Note) {
				t.Errorf("note is %s\nwant %s", report.Note, want)
			}
			got := map[string]float64{}
			for _, m := range report.Measurements {
				if strings.HasPrefix(m.Name, "smtp_tls") {
					got[m.Name] = m.Value
				}
			}
			if !maps.Equal(got, test.measured) {
				t.Errorf("measured %v, want %v", got, test.measured)
			}
			noted := slices.ContainsFunc(report.Phases, func(p result.Phase) bool {
				return p.Name == "mx2_tls" && strings.HasPrefix(p.Note, "certificate not verified: x509: ")
			})
			if noted != (test.note == wrong) {
				t.Errorf("phases are %v", report.Phases)
			}
		})
	}
}

func TestStrangerTakesAnyCertificate(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	if err := bed.Break(stepstest.FaultCertWrongHost); err != nil {
		t.Fatal(err)
	}
	fixture.Passed(t, bed.Run(t, 5*time.Second, `When I try to send from "x@elsewhere.test" to "y@elsewhere.test" via "mail.demo.test:25"
		Then it is refused at RCPT
		And AUTH is offered after TLS at "mail.demo.test:25"`))
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, `Then AUTH is offered after TLS at "mail.demo.test:587"`), `certificate_host submission: TLS handshake with mail\.demo\.test: .*`)
}

func TestMXFails(t *testing.T) {
	bed := mxbed(t)
	server := bed.Target.ConnectTo["mail.demo.test:25"]
	_, port, _ := strings.Cut(server, ":")
	for _, test := range []struct{ name, text, domain, second, want string }{
		{name: "the second is down", text: directly, domain: "demo.test", second: "127.0.0.1:1",
			want: `connect transfer: mx2\.demo\.test \(MX 2 of 2, preference 20\): connect to mx2\.demo\.test:25 \(at 127\.0\.0\.1:1\): connection refused: nothing listens on that port; ` +
				`mail\.demo\.test \(MX 1 of 2, preference 10\) accepted it`},
		{name: "the second has another name", text: directly + ` with verified TLS`, domain: "demo.test", second: server,
			want: `certificate_host transfer: mx2\.demo\.test \(MX 2 of 2, preference 20\): TLS handshake with mx2\.demo\.test: x509: certificate is valid for mail\.demo\.test, ` +
				`not mx2\.demo\.test; mail\.demo\.test \(MX 1 of 2, preference 10\) accepted it`},
		{name: "the second has no TLS", text: directly + ` with verified TLS`, domain: "demo.test", second: serveScript(t, tls.Certificate{}, "S: 220 mx2.demo.test\nC: EHLO\nS: 250 mx2.demo.test\nC: QUIT\nS: 221 bye"),
			want: `tls transfer: mx2\.demo\.test \(MX 2 of 2, preference 20\): mx2\.demo\.test:25 does not offer STARTTLS: nothing was sent, because the message must not be sent unencrypted; .*`},
		{name: "REQUIRETLS of another name", text: directly + "\n| REQUIRETLS | yes |", domain: "demo.test", second: server,
			want: `refused transfer: mail\.demo\.test .*: mail\.demo\.test:25 does not offer REQUIRETLS inside TLS: nothing was sent; mx2\.demo\.test .*: ` +
				`TLS handshake with mx2\.demo\.test: x509: certificate is valid for mail\.demo\.test, not mx2\.demo\.test`},
		{name: "null MX", text: directly, domain: "null.demo.test", want: `dns dns: null\.demo\.test accepts no mail: its only MX is the null MX of RFC 7505`},
		{name: "no such domain", text: directly, domain: "absent.demo.test", want: `dns dns: absent\.demo\.test \(MX 1 of 1, preference 0\): connect to absent\.demo\.test:25: "absent\.demo\.test" does not resolve: .*`},
		{name: "implicit MX with another certificate", text: directly + ` with verified TLS`, domain: "bare.demo.test",
			want: `certificate_host transfer: bare\.demo\.test \(MX 1 of 1, preference 0\): TLS handshake with bare\.demo\.test: .*`},
		{name: "no IPv6", text: directly + ` over IPv6`, domain: "demo.test", second: "four.demo.test:" + port,
			want: `dns dns: connect to mx2\.demo\.test:25 .*: "four\.demo\.test" does not resolve: it has no IPv6 address`},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed.Target.Accounts["bob"].Address = "bob@" + test.domain
			bed.Target.ConnectTo["mx2.demo.test:25"] = test.second
			bed.Target.ConnectTo["bare.demo.test:25"] = "four.demo.test:" + port
			bed.Target.ConnectTo["mail.demo.test:25"] = server
			if test.domain == "demo.test" && strings.HasPrefix(test.second, "four.") {
				bed.Target.ConnectTo["mail.demo.test:25"] = test.second
			}
			outcome := bed.Run(t, 10*time.Second, test.text)
			fixture.FailedAs(t, outcome, test.want)
			if n := bed.Mailbox("alice") + bed.Mailbox("bob"); n != 0 {
				t.Errorf("%d messages left behind", n)
			}
		})
	}
}

// issued returns a certificate for host that the bed's accounts trust.
func issued(t *testing.T, bed *fixture.Mailbed, host string) tls.Certificate {
	t.Helper()
	certificate, err := bed.CA().Issue(host)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
