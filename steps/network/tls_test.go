package network_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// accepting serves every connection with serve on a free port of loopback until the test ends.
func accepting(t *testing.T, network string, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", network)
	if err != nil {
		t.Skip(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

// tlsServer serves TLS at once.
func tlsServer(t *testing.T, config *tls.Config) (address string) {
	return accepting(t, "127.0.0.1:0", func(conn net.Conn) {
		server := tls.Server(conn, config)
		if server.Handshake() == nil {
			_, _ = io.Copy(io.Discard, server)
		}
	})
}

// told runs a scenario. It returns the error of its last step, with reason and blame, and the outcome.
func told(t *testing.T, target *steps.Target, text string) (string, *stepstest.Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o, err := stepstest.Run(ctx, nil, text, target)
	if err != nil {
		t.Fatal(err)
	}
	if o.Err() == nil {
		return "", o
	}
	var failure *steps.Failure
	if !errors.As(o.Err(), &failure) {
		return o.Err().Error() + " (no failure)", o
	}
	return fmt.Sprintf("%v (%s, blame %s)", failure, failure.Reason, failure.Blame), o
}

// dates are replaced before texts are compared.
var dates = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`)

// issuerLimit is that of a downloaded certificate.
const issuerLimit = 64 << 10

func TestCertificateFaultsAreToldApart(t *testing.T) {
	root := fixture.Must(stepstest.NewCA("Root"))(t)
	stranger := fixture.Must(stepstest.NewCA("Stranger"))(t)
	middle := fixture.Must(root.Intermediate("Middle", time.Now().Add(24*time.Hour)))(t)
	ended := fixture.Must(root.Intermediate("Ended", time.Now().Add(-time.Minute)))(t)
	weakKey := fixture.Must(rsa.GenerateKey(rand.Reader, 1024))(t)
	issuers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/middle.crt":
			_, _ = w.Write(middle.Certificate().Raw)
		case "/stranger.crt":
			_, _ = w.Write(stranger.Certificate().Raw)
		case "/big.crt":
			_, _ = w.Write(make([]byte, issuerLimit+1))
		default:
			http.NotFound(w, r)
		}
	}))
	defer issuers.Close()
	many := fixture.Must(root.IssueAltered(nil, func(*x509.Certificate) {}, "mail.test"))(t)
	for len(many.Certificate) < 21 {
		many.Certificate = append(many.Certificate, root.Certificate().Raw)
	}
	now := time.Now()
	issue := func(ca *stepstest.CA, key crypto.Signer, alter func(*x509.Certificate), names ...string) tls.Certificate {
		if alter == nil {
			alter = func(*x509.Certificate) {}
		}
		return fixture.Must(ca.IssueAltered(key, alter, names...))(t)
	}
	alone := func(c tls.Certificate) tls.Certificate {
		c.Certificate = c.Certificate[:1]
		return c
	}
	aia := func(path string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.IssuingCertificateURL = []string{"http://aia.test/" + path} }
	}
	selfSigned := func() tls.Certificate {
		own := fixture.Must(stepstest.NewCA("mail.test"))(t)
		c := tls.Certificate{Certificate: [][]byte{own.Certificate().Raw}, PrivateKey: own.Key()}
		return c
	}()
	for name, c := range map[string]struct {
		certificate tls.Certificate
		steps       string
		want        string
	}{
		"good":             {issue(root, nil, nil, "mail.test"), `its certificate is in order for 0s`, ""},
		"good with middle": {issue(middle, nil, nil, "mail.test"), "its certificate is trusted\nits certificate is for \"mail.test\"\nits keys and signatures are strong\nits certificate is valid for 0s\nits certificate is in order for 0s", ""},
		"wildcard":         {issue(root, nil, nil, "*.test"), `its certificate is in order for 0s`, ""},
		"soon": {issue(root, nil, nil, "mail.test"), `its certificate is valid for 7 days`,
			"the certificate of SERVER ends on DATE, in 23 hours, wanted 7 days: renew it (soon to expire); it has an issuer, \"Root\", whose own ends on DATE, in 23 hours, wanted 7 days: renew it (soon to expire) (certificate_soon, blame target)"},
		"expired": {issue(root, nil, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-99*time.Hour), now.Add(-49*time.Hour) }, "mail.test"), `its certificate is in order for 0s`,
			"the certificate of SERVER ended on DATE, 2 days ago (expired) (certificate_expired, blame target)"},
		"issuer expired": {issue(ended, nil, nil, "mail.test"), `its certificate is trusted`,
			`the certificate of SERVER has an issuer, "Ended", whose own is valid only from DATE to DATE (expired) (certificate_expired, blame target)`},
		"not yet valid": {issue(root, nil, func(c *x509.Certificate) { c.NotBefore = now.Add(3 * time.Hour) }, "mail.test"), `its certificate is valid for 0s`,
			"the certificate of SERVER is not valid before DATE: a clock is wrong, or it was installed too early (not yet valid) (certificate_expired, blame target)"},
		"wrong host": {issue(root, nil, nil, "www.test", "127.0.0.9"), `its certificate is for "mail.test"`,
			"the certificate of SERVER is for www.test, 127.0.0.9, wanted mail.test (wrong host) (certificate_host, blame target)"},
		"common name alone": {issue(root, nil, func(c *x509.Certificate) { c.DNSNames = nil }, "mail.test"), `its certificate is for "mail.test"`,
			`the certificate of SERVER has no subjectAltName, only the common name "mail.test", which clients ignore: wanted mail.test (wrong host) (certificate_host, blame target)`},
		"self-signed": {selfSigned, `its certificate is trusted`,
			"the certificate of SERVER is signed by itself, not by an authority: get one from an authority, or add it under tls.ca in stepwatch.yml (self-signed) (certificate_authority, blame target)"},
		"unknown authority": {issue(stranger, nil, nil, "mail.test"), `its certificate is trusted`,
			`the certificate of SERVER leads to the root "Stranger", which is not trusted here: add a private CA's root under tls.ca in stepwatch.yml (unknown authority) (certificate_authority, blame target)`},
		"missing intermediate": {alone(issue(middle, nil, aia("middle.crt"), "mail.test")), `its certificate is trusted`,
			"the certificate of SERVER comes without an intermediate: the server does not send the certificate of its issuer CN=Middle: append it to the server's certificate file (missing intermediate) (certificate_chain, blame target)"},
		"unknown authority, looked up": {alone(issue(stranger, nil, aia("stranger.crt"), "mail.test")), `its certificate is trusted`,
			"the certificate of SERVER is signed by CN=Stranger, which is not trusted here and whose certificate the server does not send: add a private CA's root under tls.ca in stepwatch.yml, and an intermediate to the server's certificate file (unknown authority) (certificate_authority, blame target)"},
		"issuer that cannot be downloaded": {alone(issue(middle, nil, aia("none"), "mail.test")), `its certificate is trusted`,
			"the certificate of SERVER is signed by CN=Middle, which is not trusted here and whose certificate the server does not send: add a private CA's root under tls.ca in stepwatch.yml, and an intermediate to the server's certificate file (the issuer's certificate should be at http://aia.test/none: the answer is 404 Not Found) (unknown authority) (certificate_authority, blame target)"},
		"issuer that is too large": {alone(issue(middle, nil, aia("big.crt"), "mail.test")), `its certificate is trusted`,
			"the certificate of SERVER is signed by CN=Middle, which is not trusted here and whose certificate the server does not send: add a private CA's root under tls.ca in stepwatch.yml, and an intermediate to the server's certificate file (the issuer's certificate should be at http://aia.test/big.crt: a downloaded certificate has more than 65536 bytes, the limit) (unknown authority) (certificate_authority, blame target)"},
		"many certificates": {many, `its certificate is trusted`, "TLS handshake with SERVER: what the server sends as its chain has 21 certificates, the limit is 20 (too_large, blame target)"},
		"not for servers": {issue(root, nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "mail.test"), `its certificate is trusted`,
			"the certificate of SERVER is not usable for a server: certificate specifies an incompatible key usage (invalid) (tls, blame target)"},
		"weak key": {issue(root, weakKey, nil, "mail.test"), `its keys and signatures are strong`,
			"the certificate of SERVER has a weak key: RSA of 1024 bits, wanted at least 2048 (weak) (certificate_weak, blame target)"},
		"weak signature": {issue(root, nil, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }, "mail.test"), `its keys and signatures are strong`,
			"the certificate of SERVER has a weak signature: ECDSA-SHA1 (weak) (certificate_weak, blame target)"},
		"all at once": {issue(stranger, weakKey, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-99*time.Hour), now.Add(-25*time.Hour) }, "www.test"), `its certificate is in order for 7 days`,
			`the certificate of SERVER leads to the root "Stranger", which is not trusted here: add a private CA's root under tls.ca in stepwatch.yml (unknown authority); ` +
				`it is for www.test, wanted mail.test (wrong host); it ended on DATE, 25 hours ago (expired); it has a weak key: RSA of 1024 bits, wanted at least 2048 (weak); ` +
				`it has an issuer, "Stranger", whose own ends on DATE, in 23 hours, wanted 7 days: renew it (soon to expire) (certificate_authority, blame target)`},
		"wrong host and expired": {issue(root, nil, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-99*time.Hour), now.Add(-49*time.Hour) }, "www.test"), `its certificate is in order for 0s`,
			"the certificate of SERVER is for www.test, wanted mail.test (wrong host); it ended on DATE, 2 days ago (expired) (certificate_host, blame target)"},
		"expired without its intermediate": {alone(issue(middle, nil, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = now.Add(-99*time.Hour), now.Add(-time.Minute)
			aia("middle.crt")(c)
		}, "mail.test")), `its certificate is in order for 0s`,
			"the certificate of SERVER ended on DATE, 0 hours ago (expired); it comes without an intermediate: the server does not send the certificate of its issuer CN=Middle: append it to the server's certificate file " +
				"(missing intermediate) (certificate_expired, blame target)"},
		"self-signed for another host": {selfSigned, `its certificate is in order for 0s`,
			`the certificate of SERVER is signed by itself, not by an authority: get one from an authority, or add it under tls.ca in stepwatch.yml (self-signed); ` +
				`it has no subjectAltName, only the common name "mail.test", which clients ignore: wanted mail.test (wrong host) (certificate_authority, blame target)`},
	} {
		t.Run(name, func(t *testing.T) {
			server := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{c.certificate}})
			target := &steps.Target{Roots: root.Roots, ConnectTo: map[string]string{"mail.test:9465": server, "aia.test:80": issuers.Listener.Addr().String()}}
			got, o := told(t, target, "I connect to \"mail.test:9465\"\n"+c.steps)
			got = dates.ReplaceAllString(strings.ReplaceAll(got, "mail.test:9465", "SERVER"), "DATE")
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if got, _ := told(t, target, `the certificate of "mail.test:9465" is in order for 0s`); c.want != "" && name != "soon" && got == "" {
				t.Error("the sentence that checks everything found no fault")
			}
			if name == "many certificates" {
				return // nothing was measured
			}
			for _, m := range o.Steps[0].Report.Measurements {
				if m.Name == "probe_ssl_last_chain_expiry_timestamp_seconds" && m.Value < 1 {
					t.Errorf("%s is %f", m.Name, m.Value)
				}
			}
		})
	}
}

// begun serves TLS after an IMAP dialogue.
func begun(config *tls.Config, answer string) func(net.Conn) {
	return func(conn net.Conn) {
		buffer := make([]byte, 64)
		_, _ = io.WriteString(conn, "* OK ready\r\n")
		if n, err := conn.Read(buffer); err != nil || string(buffer[:n]) != "s1 STARTTLS\r\n" {
			return
		}
		_, _ = io.WriteString(conn, answer)
		server := tls.Server(conn, config)
		if server.Handshake() == nil {
			_, _ = io.Copy(io.Discard, server)
		}
	}
}

func TestConnectWithSTARTTLS(t *testing.T) {
	root := fixture.Must(stepstest.NewCA("Root"))(t)
	config := &tls.Config{Certificates: []tls.Certificate{fixture.Must(root.Issue("mail.test"))(t)}}
	for name, c := range map[string]struct {
		serve func(net.Conn)
		steps string
		want  string
	}{
		"by port":    {begun(config, "s1 OK\r\n"), "I connect to \"mail.test:143\"\nits certificate is in order for 0s", ""},
		"named":      {begun(config, "s1 OK\r\n"), "I connect to \"mail.test:9143\" with STARTTLS on imap\nits certificate is in order for 0s", ""},
		"all in one": {begun(config, "s1 OK\r\n"), `the certificate of "mail.test:9143" with STARTTLS on IMAP is in order for 0s`, ""},
		"another name": {begun(config, "s1 OK\r\n"), "I connect to \"mail.test:143\" as \"other.test\"\nits certificate is in order for 0s",
			"the certificate of mail.test:143 is for mail.test, wanted other.test (wrong host) (certificate_host, blame access)"},
		"unknown protocol": {nil, `I connect to "mail.test:143" with STARTTLS on Gopher`,
			"unknown STARTTLS protocol Gopher: write FTP, IMAP, LDAP, LMTP, MySQL, POP3, PostgreSQL, SMTP, Sieve, XMPP, XMPPServer (scenario, blame scenario)"},
		"no port": {nil, `I connect to "mail.test"`, `"mail.test" is not a host and port: write it as "mail.example.org:25" (scenario, blame scenario)`},
		"refused": {begun(config, "s1 BAD no\r\n"), `I connect to "mail.test:143"`,
			"mail.test:143: it refuses TLS over IMAP: BAD no: check the server's TLS settings (tls, blame access)"},
		"injection": {begun(config, "s1 OK\r\n* CAPABILITY EVIL\r\n"), `I connect to "mail.test:143"`,
			"start TLS over IMAP with mail.test:143: the answer violates the protocol: 19 bytes arrived in cleartext after the agreement to start TLS: check that it speaks this protocol on that port (protocol, blame access)"},
		"injection in a later packet": {begunLater(), `I connect to "mail.test:143"`,
			`TLS handshake with mail.test:143: it answers with something else ("* CAP"): if this port starts in cleartext, write "with STARTTLS on …" (tls, blame access)`},
		"garbage": {func(conn net.Conn) { _, _ = io.WriteString(conn, "\x00\x01\x02\r\n") }, `I connect to "mail.test:143"`,
			`start TLS over IMAP with mail.test:143: the answer violates the protocol: "" is not a greeting: check that it speaks this protocol on that port (protocol, blame access)`},
		"hang up": {func(net.Conn) {}, `I connect to "mail.test:143"`, "start TLS over IMAP with mail.test:143: the server closed the connection (disconnected, blame access)"},
		"endless banner": {func(conn net.Conn) {
			for _, err := conn.Write([]byte("* OK")); err == nil; {
				_, err = conn.Write(make([]byte, 1000))
			}
		}, `I connect to "mail.test:143"`, "start TLS over IMAP with mail.test:143: a line before TLS has more than 4096 bytes, the limit: check that it speaks this protocol on that port (too_large, blame access)"},
		"a port in clear": {func(conn net.Conn) {
			_, _ = io.WriteString(conn, "220 mail ESMTP\r\n")
			_, _ = io.Copy(io.Discard, conn)
		}, `I connect to "mail.test:993"`,
			`TLS handshake with mail.test:993: it answers with something else ("220 m"): if this port starts in cleartext, write "with STARTTLS on …" (tls, blame access)`},
	} {
		t.Run(name, func(t *testing.T) {
			target := &steps.Target{Roots: root.Roots, ConnectTo: map[string]string{}}
			if c.serve != nil {
				server := accepting(t, "127.0.0.1:0", c.serve)
				for _, port := range []string{"143", "993", "9143"} {
					target.ConnectTo["mail.test:"+port] = server
				}
			}
			got, o := told(t, target, c.steps)
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if c.want == "" {
				var phases []string
				for _, p := range o.Steps[0].Report.Phases {
					phases = append(phases, p.Name)
				}
				if got := strings.Join(phases, " "); got != "connect starttls tls" {
					t.Errorf("phases %s", got)
				}
			}
		})
	}
}

// begunLater sends cleartext after it has agreed to TLS and the client has started the handshake.
func begunLater() func(net.Conn) {
	return func(conn net.Conn) {
		buffer := make([]byte, 2048)
		_, _ = io.WriteString(conn, "* OK ready\r\n")
		_, _ = conn.Read(buffer)
		_, _ = io.WriteString(conn, "s1 OK\r\n")
		_, _ = conn.Read(buffer)
		_, _ = io.WriteString(conn, "* CAPABILITY EVIL\r\n")
	}
}

// TestSilentServerEndsWithTheDeadline connects to a server that sends nothing, before TLS and inside it.
func TestSilentServerEndsWithTheDeadline(t *testing.T) {
	silent := accepting(t, "127.0.0.1:0", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	target := &steps.Target{ConnectTo: map[string]string{"mail.test:143": silent, "mail.test:993": silent}}
	for _, port := range []string{"143", "993"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		o, err := stepstest.Run(ctx, nil, `I connect to "mail.test:`+port+`"`, target)
		cancel()
		if err != nil || o.Err() == nil || !strings.HasSuffix(o.Err().Error(), "no answer before the deadline") {
			t.Errorf("port %s: got %v, %v", port, err, o.Err())
		}
	}
}

func TestTLSVersions(t *testing.T) {
	root := fixture.Must(stepstest.NewCA("Root"))(t)
	certificates := []tls.Certificate{fixture.Must(root.Issue("mail.test"))(t)}
	old := tlsServer(t, &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}) //nolint:gosec // the subject
	good := tlsServer(t, &tls.Config{Certificates: certificates})
	hangsUp := accepting(t, "127.0.0.1:0", func(conn net.Conn) {
		server := tls.Server(conn, &tls.Config{Certificates: certificates, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			if h.SupportedVersions[0] < tls.VersionTLS12 {
				conn.Close()
			}
			return nil, nil
		}})
		_ = server.Handshake()
	})
	target := &steps.Target{Roots: root.Roots, ConnectTo: map[string]string{"mail.test:1": old, "mail.test:2": good, "mail.test:3": hangsUp}}
	for text, want := range map[string]string{
		"I connect to \"mail.test:2\"\nthe connection uses TLS 1.2 or newer":                       "",
		"I connect to \"mail.test:2\"\nTLS 1.0 is refused\nTLS 1.1 is refused\nSSL 3.0 is refused": "",
		"I connect to \"mail.test:3\"\nTLS 1.0 is refused":                                         "",
		"I connect to \"mail.test:1\"\nthe connection uses TLS 1.2 or newer":                       "mail.test:1 uses TLS 1.1 with TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, wanted TLS 1.2 or newer: allow it in the server's settings (tls, blame target)",
		"the certificate of \"mail.test:1\" is in order for 0s":                                    "mail.test:1 uses TLS 1.1 with TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, wanted TLS 1.2 or newer: allow it in the server's settings (tls, blame target)",
		"I connect to \"mail.test:1\"\nTLS 1.0 is refused":                                         "mail.test:1 accepts TLS 1.0: disable it in the server's settings (unexpected, blame target)",
		"I connect to \"mail.test:2\"\nTLS 1.2 is refused":                                         "mail.test:2 accepts TLS 1.2: disable it in the server's settings (unexpected, blame target)",
		"I connect to \"mail.test:2\"\nTLS 1.3 is refused":                                         "TLS 1.3 cannot be the only version offered: write TLS 1.0, 1.1 or 1.2, or SSL 3.0 (scenario, blame scenario)",
		"I connect to \"mail.test:2\"\nthe connection uses TLS 9 or newer":                         "there is no TLS 9: write 1.0, 1.1, 1.2 or 1.3 (scenario, blame scenario)",
		"TLS 1.0 is refused": `no TLS connection has been made: write "I connect to …" before this step (scenario, blame scenario)`,
	} {
		if got, _ := told(t, target, text); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func TestOCSPStapling(t *testing.T) {
	root := fixture.Must(stepstest.NewCA("Root"))(t)
	stranger := fixture.Must(stepstest.NewCA("Stranger"))(t)
	served := fixture.Must(root.Issue("mail.test"))(t)
	leaf := fixture.Must(x509.ParseCertificate(served.Certificate[0]))(t)
	now := time.Now()
	staple := func(signer *stepstest.CA, r ocsp.Response) []byte {
		r.SerialNumber = leaf.SerialNumber
		return fixture.Must(ocsp.CreateResponse(signer.Certificate(), signer.Certificate(), r, signer.Key()))(t)
	}
	for name, c := range map[string]struct {
		staple []byte
		want   string
	}{
		"good":    {staple(root, ocsp.Response{Status: ocsp.Good, ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}), ""},
		"none":    {nil, "mail.test:1: the server staples no OCSP response (unexpected, blame target)"},
		"revoked": {staple(root, ocsp.Response{Status: ocsp.Revoked, RevokedAt: now.Add(-time.Hour), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}), "mail.test:1: the certificate is revoked since DATE: its authority says so in the stapled OCSP response (certificate_revoked, blame target)"},
		"stale":   {staple(root, ocsp.Response{Status: ocsp.Good, ThisUpdate: now.Add(-9 * time.Hour), NextUpdate: now.Add(-3 * time.Hour)}), `mail.test:1: the stapled OCSP response is out of date: it was valid until DATE, 3 hours ago: the server cannot reach [], or does not renew it (unexpected, blame target)`},
		"early":   {staple(root, ocsp.Response{Status: ocsp.Good, ThisUpdate: now.Add(9 * time.Hour), NextUpdate: now.Add(13 * time.Hour)}), `mail.test:1: the stapled OCSP response is out of date: its time DATE is in the future (unexpected, blame target)`},
		"unknown": {staple(root, ocsp.Response{Status: ocsp.Unknown, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}), "mail.test:1: the stapled OCSP response says that the authority does not know the certificate (unexpected, blame target)"},
		"forged":  {staple(stranger, ocsp.Response{Status: ocsp.Good, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}), "mail.test:1: the stapled OCSP response cannot be used: bad OCSP signature: x509: ECDSA verification failure (unexpected, blame target)"},
		"garbage": {[]byte("OCSP"), "mail.test:1: the stapled OCSP response cannot be used: asn1: structure error: tags don't match (16 vs {class:1 tag:15 length:67 isCompound:false}) {optional:false explicit:false application:false private:false defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:fal… (unexpected, blame target)"},
	} {
		t.Run(name, func(t *testing.T) {
			certificate := served
			certificate.OCSPStaple = c.staple
			target := &steps.Target{Roots: root.Roots, ConnectTo: map[string]string{"mail.test:1": tlsServer(t, &tls.Config{Certificates: []tls.Certificate{certificate}})}}
			got, _ := told(t, target, "I connect to \"mail.test:1\"\nan OCSP response is stapled")
			if got = dates.ReplaceAllString(got, "DATE"); got != c.want && !(name == "garbage" && strings.HasPrefix(got, "mail.test:1: the stapled OCSP response cannot be used: asn1: ")) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestServedEqualsFile(t *testing.T) {
	root := fixture.Must(stepstest.NewCA("Root"))(t)
	middle := fixture.Must(root.Intermediate("Middle", time.Now().Add(24*time.Hour)))(t)
	served, renewed := fixture.Must(middle.Issue("mail.test"))(t), fixture.Must(middle.Issue("mail.test"))(t)
	old := fixture.Must(middle.IssueValid(time.Now().Add(-48*time.Hour), time.Now().Add(time.Hour), "mail.test"))(t)
	dir := t.TempDir()
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	key := func(c tls.Certificate) string {
		return block("PRIVATE KEY", fixture.Must(x509.MarshalPKCS8PrivateKey(c.PrivateKey))(t))
	}
	ecKey := block("EC PRIVATE KEY", fixture.Must(x509.MarshalECPrivateKey(served.PrivateKey.(*ecdsa.PrivateKey)))(t))
	leaf := func(c tls.Certificate) string { return block("CERTIFICATE", c.Certificate[0]) }
	middlePEM, rootPEM := block("CERTIFICATE", middle.Certificate().Raw), string(root.PEM())
	target := &steps.Target{Roots: root.Roots, ConnectTo: map[string]string{"mail.test:1": tlsServer(t, &tls.Config{Certificates: []tls.Certificate{served}})}}
	const equals, belongs = `the certificate served equals the file "FILE"`, `the key in the file "FILE" belongs to the certificate served`
	for name, c := range map[string]struct{ content, step, want string }{
		"the same":                {leaf(served) + middlePEM, equals, ""},
		"its own alone":           {leaf(served), equals, ""},
		"with its key":            {key(served) + leaf(served) + middlePEM, equals, ""},
		"beside another":          {leaf(old) + middlePEM + leaf(served) + middlePEM, equals, ""},
		"in DER":                  {string(served.Certificate[0]), equals, ""},
		"renewed":                 {leaf(renewed) + middlePEM, equals, `the certificate of mail.test:1 differs from the file: FILE has another: in the file "mail.test" until DATE (SHA-256 X), served "mail.test" until DATE (SHA-256 X): reload the server (unexpected, blame target)`},
		"older":                   {leaf(old), equals, `the certificate of mail.test:1 differs from the file: FILE has another: in the file "mail.test" until DATE (SHA-256 X), served "mail.test" until DATE (SHA-256 X): the file is older: check that it is the server's file (unexpected, blame target)`},
		"other issuers":           {leaf(served) + middlePEM + rootPEM, equals, `the certificate of mail.test:1 differs from the file: FILE has the same certificate but other issuers after it: in the file "Middle", "Root", served "Middle": reload the server (unexpected, blame target)`},
		"the key of another":      {leaf(served) + middlePEM + key(renewed), equals, `mail.test:1 serves the certificate of FILE, but the private key in the file belongs to another: the next reload will fail (unexpected, blame target)`},
		"only a key":              {key(served), equals, "the certificate of mail.test:1 differs from the file: FILE has no certificate (unexpected, blame target)"},
		"cut off":                 {leaf(served) + middlePEM[:100], equals, "compare with the certificate of mail.test:1: FILE: it is truncated or damaged: a block has no end: use the file of the server's configuration, on the server's machine (config, blame monitor)"},
		"empty":                   {"", equals, "compare with the certificate of mail.test:1: FILE: it has neither a certificate nor a key in PEM: use the file of the server's configuration, on the server's machine (config, blame monitor)"},
		"broken certificate":      {block("CERTIFICATE", []byte("x")), equals, "compare with the certificate of mail.test:1: FILE: its certificate 1 cannot be read: x509: malformed certificate: use the file of the server's configuration, on the server's machine (config, blame monitor)"},
		"its key":                 {key(served), belongs, ""},
		"its key of another kind": {ecKey, belongs, ""},
		"another's key":           {key(renewed), belongs, "the key in FILE does not belong to the certificate that mail.test:1 serves (SHA-256 FULL): reload the server, or check which of the two is older (unexpected, blame target)"},
		"no key":                  {leaf(served), belongs, "FILE has no private key: use the key file of the server's configuration (config, blame scenario)"},
		"an encrypted key":        {block("ENCRYPTED PRIVATE KEY", []byte("x")), belongs, "compare with the certificate of mail.test:1: FILE: its private key is encrypted: use the file of the server's configuration, on the server's machine (config, blame monitor)"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, _ := told(t, target, "I connect to \"mail.test:1\"\n"+strings.ReplaceAll(c.step, "FILE", file))
			got = dates.ReplaceAllString(strings.ReplaceAll(got, file, "FILE"), "DATE")
			got = regexp.MustCompile(`SHA-256 [0-9A-F:]{23}…`).ReplaceAllString(got, "SHA-256 X")
			if got = regexp.MustCompile(`SHA-256 [0-9A-F:]{95}`).ReplaceAllString(got, "SHA-256 FULL"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		got, _ := told(t, target, "I connect to \"mail.test:1\"\n"+strings.ReplaceAll(equals, "FILE", dir+"/none"))
		if !strings.HasSuffix(got, "no such file or directory: use the file of the server's configuration, on the server's machine (config, blame monitor)") {
			t.Error(got)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		got, _ := told(t, target, "I connect to \"mail.test:1\"\n"+strings.ReplaceAll(equals, "FILE", dir))
		if !strings.Contains(got, dir+" is not a regular file") {
			t.Error(got)
		}
	})
}
