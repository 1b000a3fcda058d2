package certificate_test

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/certificate"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// A chain above ChainLimit and a key above KeyLimit are errors, and those at the limits are not.
func TestLimits(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{certificate.CheckChain(make([]*x509.Certificate, 20)), ""},
		{certificate.CheckChain(make([]*x509.Certificate, 21)), "what the server sends as its chain has 21 certificates, the limit is 20"},
		{certificate.CheckKey(&x509.Certificate{PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8191)}}), ""},
		{certificate.CheckKey(&x509.Certificate{PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8192)}}), "the RSA key of a downloaded certificate has 8193 bits, the limit is 8192"},
	} {
		switch {
		case test.err == nil && test.want != "", test.err != nil && test.err.Error() != test.want:
			t.Errorf("got %v, want %s", test.err, test.want)
		case test.err != nil && !errors.As(test.err, new(*limit.Error)):
			t.Errorf("%T", test.err)
		}
	}
}

// Certificates that all could be the issuer by their name are not all tried for each other one.
func TestManyIssuers(t *testing.T) {
	chain, _, root := issued(t, "mail.test")
	served := chain[:1:1]
	for range 600 { // the names of the chain, and other keys
		other := must(stepstest.NewCA("Middle"))(t)
		served = append(served, other.Certificate())
	}
	served = append(served, chain[1:]...)
	j := &certificate.Judge{Now: time.Now(), Roots: must(root.Roots())(t)}
	begin := time.Now()
	for range 20 {
		_ = j.Validity(served, time.Hour)
		_ = certificate.Strength(served)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Error(took)
	}
}
