package web_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// clientFile writes a client certificate issued by ca with its key, and returns its path.
func clientFile(t *testing.T, ca *stepstest.CA, name string, begin, end time.Time) string {
	t.Helper()
	issued, err := ca.IssueAltered(nil, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage, c.NotBefore, c.NotAfter = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, begin, end
	}, name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(issued.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	content := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	path := filepath.Join(t.TempDir(), name+".pem")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestClientCertificate(t *testing.T) {
	s := newSite(t)
	authority := func(name string) *stepstest.CA {
		ca, err := stepstest.NewCA(name)
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	ca, staff, other := authority("Web CA"), authority("Staff CA"), authority("Other CA")
	clients, err := staff.Roots()
	if err != nil {
		t.Fatal(err)
	}
	served, err := ca.Issue("staff.example.test")
	if err != nil {
		t.Fatal(err)
	}
	serve := func(name string, version uint16, change func(*tls.Config)) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			if len(r.TLS.PeerCertificates) == 0 { // as nginx responds
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, "<h1>400 Bad Request</h1>No required SSL certificate was sent")
				return
			}
			_, _ = io.WriteString(w, "Hello "+r.TLS.PeerCertificates[0].Subject.CommonName)
		}))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.EnableHTTP2 = version == tls.VersionTLS13
		server.TLS = &tls.Config{Certificates: []tls.Certificate{served}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12, MaxVersion: version}
		if change != nil {
			change(server.TLS)
		}
		server.StartTLS()
		t.Cleanup(server.Close)
		s.target.ConnectTo[name] = server.Listener.Addr().String()
	}
	serve("staff.example.test:443", tls.VersionTLS13, nil)
	serve("staff.example.test:1443", tls.VersionTLS12, nil)
	serve("staff.example.test:2443", tls.VersionTLS13, func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven })
	serve("staff.example.test:3443", tls.VersionTLS13, func(c *tls.Config) {
		c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return errors.New("revoked") }
	})
	s.target.Roots = ca.Roots
	now := time.Now()
	good := clientFile(t, staff, "alice", now.Add(-time.Hour), now.Add(time.Hour))
	const (
		home = "https://staff.example.test"
		what = `it got the client certificate "alice" \(.*alice.pem\)`
	)
	for _, c := range []struct{ name, file, text, want string }{
		{"TLS 1.3", good, "I go to " + home + "/\nI should see \"Hello alice\"\nthe response should use HTTP/2", ""},
		{"TLS 1.2", good, "I go to " + home + ":1443/\nI should see \"Hello alice\"", ""},
		{"download", good, "I download " + home + "/", `unexpected web: GET https://staff.example.test/: got a page instead of the file: HTML`},
		{"none", "", "I go to " + home + "/", `auth web: GET https://staff.example.test/: the server refused the TLS connection \(certificate required\): it asks for a client certificate, and tls.clients in stepwatch.yml has none for staff.example.test`},
		{"none, TLS 1.2", "", "I go to " + home + ":1443/", `auth web: TLS handshake with staff.example.test: the server refused the TLS connection \(handshake failure\): it asks for a client certificate, and tls.clients in stepwatch.yml has none for staff.example.test`},
		{"none, told by a page", "", "I go to " + home + ":2443/", `auth web: GET https://staff.example.test:2443/: status 400 Bad Request: it asks for a client certificate, and tls.clients in stepwatch.yml has none for staff.example.test`},
		{"expired", clientFile(t, staff, "alice", now.Add(-48*time.Hour), now.Add(-time.Hour)), "I go to " + home + "/",
			`auth scenario: GET https://staff.example.test/: the server refused the TLS connection \(expired certificate\): ` + what + `, which expired on 20.* UTC`},
		{"expired, TLS 1.2", clientFile(t, staff, "alice", now.Add(-48*time.Hour), now.Add(-time.Hour)), "I go to " + home + ":1443/",
			`auth scenario: TLS handshake with staff.example.test: the server refused the TLS connection \(expired certificate\): ` + what + `, which expired on 20.* UTC`},
		{"not yet valid", clientFile(t, staff, "alice", now.Add(time.Hour), now.Add(2*time.Hour)), "I go to " + home + "/",
			`auth scenario: GET https://staff.example.test/: the server refused the TLS connection \(expired certificate\): ` + what + `, which is not valid before 20.* UTC`},
		{"of another authority", clientFile(t, other, "alice", now.Add(-time.Hour), now.Add(time.Hour)), "I go to " + home + "/",
			`auth scenario: GET https://staff.example.test/: the server refused the TLS connection \(unknown certificate authority\): ` + what + `, whose issuer "Other CA" is not one of the authorities that it names`},
		{"refused", good, "I go to " + home + ":3443/", `auth web: GET https://staff.example.test:3443/: the server refused the TLS connection \(bad certificate\): ` + what + `, issued by "Staff CA" and valid until 20.* UTC`},
		{"gone", filepath.Join(t.TempDir(), "x.pem"), "I go to " + home + "/", `config scenario: read the client certificate for "staff.example.test" \(tls.clients in stepwatch.yml\): open .*x.pem: no such file or directory`},
		{"for another host", good, "I go to https://www.example.test/", `connect web: .*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.target.Set(httpwire.ClientCertificates(nil))
			if c.file != "" {
				s.target.Set(httpwire.ClientCertificates{{Hosts: []string{"www.example.test"}, Certificate: "/nowhere"}, {Hosts: []string{"*.example.test"}, Certificate: c.file}})
			}
			s.target.ConnectTo["www.example.test:443"] = "127.0.0.1:1"
			if got := fixture.Verdict(s.run(t, c.text)); !regexp.MustCompile("^(?:"+c.want+")$").MatchString(got) && (c.want != "" || got != "<nil>") {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	if _, err := browser.Find(); err != nil {
		t.Skip("not run in a browser:", err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo, Roots: [][]byte{ca.PEM()}}))
	fixture.Expect(t, s.run(t, "I go to "+home+"/"), "browser monitor: GET https://staff.example.test/: tls.clients in stepwatch.yml has a client certificate for staff.example.test, which @browser does not support: remove @browser from this scenario")
	fixture.Expect(t, s.run(t, "I send GET to "+home+"/\nI should see \"Hello alice\""), "")
	s.target.Set(httpwire.ClientCertificates(nil))
	// The browser may detect either of the two first.
	want := regexp.MustCompile(`^(auth web: GET https://staff.example.test:1443/: the server asks for a client certificate, which @browser does not support: remove @browser from this scenario, ` +
		`and add the certificate under tls.clients in stepwatch.yml \(net::ERR_BAD_SSL_CLIENT_AUTH_CERT\)|disconnected web: GET https://staff.example.test:1443/: the server closed the connection \(.*\))$`)
	if got := fixture.Verdict(s.run(t, "I go to "+home+":1443/")); !want.MatchString(got) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
