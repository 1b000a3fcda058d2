package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
)

// TestPathStops orders certificates that all have the name of the issuer. Only the last one issued the first.
func TestPathStops(t *testing.T) {
	issue := func(name, by string, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
		der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: pkix.Name{CommonName: by}}, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made, key
	}
	issuer, key := issue("One name", "One name", nil)
	own, _ := issue("mail.test", "One name", key)
	served := []*x509.Certificate{own}
	for range ChainLimit.Most {
		other, _ := issue("One name", "One name", nil)
		served = append(served, other)
	}
	for others, want := range map[int]int{int(ChainLimit.Most) - 2: 2, int(ChainLimit.Most) - 1: 1} {
		all := append(served[:1+others:1+others], issuer)
		if got := len(path(all)); got != want {
			t.Errorf("with %d others: %d certificates, want %d", others, got, want)
		}
	}
}
