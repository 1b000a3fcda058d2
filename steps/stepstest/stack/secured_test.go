//go:build linux

package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// told runs steps in this process and gives the error of the one that failed, with reason and blame, or "". What is
// another one in each run is left out.
func told(t *testing.T, to *steps.Target, text ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	outcome, err := stepstest.Run(ctx, nil, strings.Join(text, "\n"), to)
	if err != nil {
		return "cannot run: " + err.Error()
	}
	switch failure := (*steps.Failure)(nil); {
	case outcome.Err() == nil:
		return ""
	case errors.As(outcome.Err(), &failure):
		line := fmt.Sprintf("%v (%s, blame %s)", failure, failure.Reason, failure.Blame)
		line = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`).ReplaceAllString(line, "DATE")
		return regexp.MustCompile(`SHA-256 [0-9A-F:]+`).ReplaceAllString(line, "SHA-256 X")
	}
	return outcome.Err().Error() + " (no failure)"
}

// becomes waits until steps have this outcome: servers reload a moment after they were told to.
func becomes(t *testing.T, to *steps.Target, want string, text ...string) {
	t.Helper()
	var got string
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-pause.C {
		if got = told(t, to, text...); got == want {
			return
		}
	}
	t.Errorf("%s:\ngot  %s\nwant %s", strings.Join(text, "\n"), got, want)
}

// legs are those of the ports of stack.Secured, where they are not the target itself.
var legs = map[string]string{"25": "transfer", "465": "submission", "587": "submission", "143": "access", "993": "access", "110": "access", "995": "access",
	"4190": "access", "24": "delivery", "443": "web"}

func legOf(port string) string {
	if leg, found := legs[port]; found {
		return leg
	}
	return "target"
}

// TestCertificateFaultsOfEachProtocol leads each server from one fault to the next. Between them the new certificate is on
// disk and the old one is served.
func TestCertificateFaultsOfEachProtocol(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot", "nginx")
	all, err := s.Secured()
	if err != nil {
		t.Fatal(err)
	}
	to, _ := target(t, s, stack.Mail)
	for _, server := range all {
		t.Run(server.Name, func(t *testing.T) {
			t.Parallel()
			if server.Package != "" {
				needPackage(t, server.Package)
				logs(t, server.Name)
			}
			t.Cleanup(func() {
				if err := server.Stop(); err != nil {
					t.Error(err)
				}
			})
			begin := time.Now()
			if err := server.Start(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			t.Logf("up after %s", time.Since(begin).Round(time.Millisecond))
			faults(t, s, server, to)
			t.Logf("done after %s", time.Since(begin).Round(time.Millisecond))
		})
	}
}

func faults(t *testing.T, s *stack.Stack, server *stack.Secured, to *steps.Target) {
	var (
		equals  = `the certificate served equals the file "` + server.Chain + `"`
		belongs = `the key in the file "` + server.Chain + `" belongs to the certificate served`
	)
	for _, port := range server.Ports { // a process that serves the first certificate is there
		becomes(t, to, "", `the certificate of "`+stack.Changing+":"+port+`" is in order for 7 days`)
	}
	for _, c := range []struct {
		flaw         stack.Flaw
		want, reason string
	}{
		{stack.EndsSoon, "ends on DATE, in 3 days, wanted 7 days: renew it (soon to expire)", "certificate_soon"},
		{stack.Ended, "ended on DATE, 3 days ago (expired)", "certificate_expired"},
		{stack.OtherHost, "is for other.example.test, wanted changing.example.test (wrong host)", "certificate_host"},
		{stack.SelfSigned, "is signed by itself, not by an authority: get one from an authority, or add it under tls.ca in stepwatch.yml (self-signed)", "certificate_authority"},
		{stack.NoIntermediate, "comes without an intermediate: the server does not send the certificate of its issuer CN=stepwatch test intermediate: append it to the server's certificate file (missing intermediate)", "certificate_chain"},
		{stack.Flawless, "", ""},
	} {
		chain, err := s.Certify(c.flaw)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Replace(chain); err != nil {
			t.Fatal(err)
		}
		for _, port := range server.Ports {
			host, leg := net.JoinHostPort(stack.Changing, port), legOf(port)
			connect := `I connect to "` + host + `"`
			stale := fmt.Sprintf("the certificate of %s differs from the file: %s has another: in the file %q until DATE (SHA-256 X…), served %[3]q until DATE (SHA-256 X…): "+
				"reload the server (unexpected, blame %s)", host, server.Chain, stack.Changing, leg)
			another := fmt.Sprintf("the key in %s does not belong to the certificate that %s serves (SHA-256 X): reload the server, or check which of the two is older (unexpected, blame %s)",
				server.Chain, host, leg)
			if got := told(t, to, connect, equals); got != stale {
				t.Errorf("%s, replaced:\ngot  %s\nwant %s", c.flaw, got, stale)
			}
			if got := told(t, to, connect, belongs); got != another {
				t.Errorf("%s, replaced:\ngot  %s\nwant %s", c.flaw, got, another)
			}
		}
		if err := server.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, port := range server.Ports {
			host := net.JoinHostPort(stack.Changing, port)
			becomes(t, to, "", `I connect to "`+host+`"`, equals, belongs)
			want := c.want
			if want != "" {
				want = fmt.Sprintf("the certificate of %s %s (%s, blame %s)", host, want, c.reason, legOf(port))
			}
			becomes(t, to, want, `the certificate of "`+host+`" is in order for 7 days`)
		}
	}
}

// TestStapledByNginx gives nginx what its authority would say.
func TestStapledByNginx(t *testing.T) {
	s := need(t)
	logs(t, "nginx")
	all, err := s.Secured()
	if err != nil {
		t.Fatal(err)
	}
	web := all[0]
	chain, err := os.ReadFile(web.Chain)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Certify(stack.Flawless)
	if err != nil {
		t.Fatal(err)
	}
	to, _ := target(t, s, stack.Mail)
	now := time.Now()
	for _, c := range []struct {
		name  string
		chain []byte
		says  ocsp.Response
		want  string
	}{
		{"revoked", chain, ocsp.Response{Status: ocsp.Revoked, RevokedAt: now.Add(-time.Hour), RevocationReason: ocsp.KeyCompromise, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)},
			"changing.example.test:443: the certificate is revoked since DATE: its authority says so in the stapled OCSP response (certificate_revoked, blame web)"},
		{"expired", chain, ocsp.Response{Status: ocsp.Good, ThisUpdate: now.AddDate(0, 0, -9), NextUpdate: now.AddDate(0, 0, -2).Add(-time.Hour)},
			`changing.example.test:443: the stapled OCSP response is out of date: it was valid until DATE, 2 days ago: the server cannot reach ["http://ocsp.example.test"], or does not renew it (unexpected, blame web)`},
		{"unknown", chain, ocsp.Response{Status: ocsp.Unknown, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)},
			"changing.example.test:443: the stapled OCSP response says that the authority does not know the certificate (unexpected, blame web)"},
		{"of another certificate", other, ocsp.Response{Status: ocsp.Good, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)},
			"changing.example.test:443: the stapled OCSP response cannot be used: no response matching the supplied certificate (unexpected, blame web)"},
		{"good", chain, ocsp.Response{Status: ocsp.Good, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			response, err := s.Staple(c.chain, c.says)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Stapled(), response, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := web.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			becomes(t, to, c.want, `I connect to "`+stack.Changing+`:443"`, "an OCSP response is stapled")
		})
	}
}
