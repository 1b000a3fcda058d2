package httpwire

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// issued returns the certificates of a server for a name, its authority, and a pool with that alone.
func issued(t *testing.T, name string) (served tls.Certificate, sent []*x509.Certificate, roots *x509.CertPool) {
	t.Helper()
	root, err := stepstest.NewCA("root")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := root.Intermediate("intermediate", time.Now().Add(12*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if served, err = ca.Issue(name); err != nil {
		t.Fatal(err)
	}
	if roots, err = root.Roots(); err != nil {
		t.Fatal(err)
	}
	for _, raw := range served.Certificate {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, c)
	}
	return served, sent, roots
}

// TestVerifiedOnce holds that a chain is known only for the same bytes, name and roots, and as long as all of it is valid.
func TestVerifiedOnce(t *testing.T) {
	_, sent, roots := issued(t, "www.example.org")
	_, others, otherRoots := issued(t, "www.example.org")
	now := time.Now()
	v := &verifications{known: map[chain]validity{}}
	if err := v.verify(sent, "www.example.org", roots, now); err != nil {
		t.Fatal(err)
	}
	forged := *sent[0]
	forged.Raw, forged.Signature = bytes.Clone(forged.Raw), bytes.Clone(forged.Signature)
	forged.Raw[len(forged.Raw)-1] ^= 1
	forged.Signature[len(forged.Signature)-1] ^= 1
	for _, c := range []struct {
		what  string
		sent  []*x509.Certificate
		name  string
		roots *x509.CertPool
		at    time.Time
	}{
		{"another name", sent, "www.example.com", roots, now},
		{"other roots", sent, "www.example.org", otherRoots, now},
		{"the roots of the machine", sent, "www.example.org", nil, now},
		{"the certificate of another authority of the same name", others, "www.example.org", roots, now},
		{"without the intermediate", sent[:1], "www.example.org", roots, now},
		{"a forged signature", append([]*x509.Certificate{&forged}, sent[1:]...), "www.example.org", roots, now},
		{"after the end of the intermediate", sent, "www.example.org", roots, now.Add(13 * time.Hour)},
		{"after the end", sent, "www.example.org", roots, now.Add(25 * time.Hour)},
		{"before the beginning", sent, "www.example.org", roots, now.Add(-2 * time.Hour)},
	} {
		for range 2 { // a refusal is not remembered as something else
			if err := v.verify(c.sent, c.name, c.roots, c.at); err == nil {
				t.Errorf("%s: verified", c.what)
			}
		}
	}
	if len(v.known) != 1 {
		t.Errorf("%d chains are known, want 1", len(v.known))
	}
	first := testing.AllocsPerRun(10, func() { clear(v.known); _ = v.verify(sent, "www.example.org", roots, now) })
	again := testing.AllocsPerRun(10, func() {
		if err := v.verify(sent, "www.example.org", roots, now); err != nil {
			t.Error(err)
		}
	})
	if again > first/4 {
		t.Errorf("a known chain costs %v allocations, an unknown one %v", again, first)
	}
}

// TestVerifiedAsInCryptoTLS compares handshakes with those of a configuration that crypto/tls verifies.
func TestVerifiedAsInCryptoTLS(t *testing.T) {
	served, _, roots := issued(t, "www.example.org")
	_, _, otherRoots := issued(t, "www.example.org")
	v := &verifications{known: map[chain]validity{}}
	for _, c := range []struct {
		name  string
		roots *x509.CertPool
	}{{"www.example.org", roots}, {"www.example.org", roots}, {"www.example.com", roots}, {"www.example.org", otherRoots}, {"www.example.org", nil}, {"", roots}} {
		var said [2]string
		for i := range said {
			config := &tls.Config{ServerName: c.name, RootCAs: c.roots, MinVersion: tls.VersionTLS12}
			if i == 1 {
				v.useFor(config)
			}
			err := handshake(t, served, config)
			if err != nil {
				said[i] = err.Error()
			}
			unverified := (*tls.CertificateVerificationError)(nil)
			if err != nil && c.name != "" && (!errors.As(err, &unverified) || len(unverified.UnverifiedCertificates) != 2) {
				t.Errorf("%q: %v has no certificates", c.name, err)
			}
		}
		if said[0] != said[1] {
			t.Errorf("%q: %q, crypto/tls says %q", c.name, said[1], said[0])
		}
	}
}

// handshake does a handshake with a server that has a certificate, and returns the error of the client.
func handshake(t *testing.T, served tls.Certificate, config *tls.Config) error {
	t.Helper()
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{served}, MinVersion: tls.VersionTLS12})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.HandshakeContext(t.Context())
		_, _ = server.Read(make([]byte, 1)) // the client's alert
	}()
	client := tls.Client(near, config)
	err := client.HandshakeContext(t.Context())
	_ = near.Close()
	<-ended
	return err
}
