package steps_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// TestFailNetOutsideValidity holds that a certificate which is not valid yet is told from one that has ended, also on the day
// itself.
func TestFailNetOutsideValidity(t *testing.T) {
	const layout = "2006-01-02 15:04 UTC"
	now := time.Now().UTC()
	for want, validity := range map[string][2]time.Time{
		"the certificate of \"a.test\" is not valid before " + now.Add(2*time.Minute).Format(layout): {now.Add(2 * time.Minute), now.AddDate(1, 0, 0)},
		"the certificate of \"a.test\" is valid from " + now.AddDate(-1, 0, 0).Format("2006-01-02") + " to " + now.Add(-2*time.Minute).Format(layout) + " only": {
			now.AddDate(-1, 0, 0), now.Add(-2 * time.Minute)},
	} {
		invalid := x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{
			Subject: pkix.Name{CommonName: "a.test"}, NotBefore: validity[0], NotAfter: validity[1]}}
		err := steps.FailNet(t.Context(), invalid, result.BlameWeb, "TLS handshake with a.test")
		var failure *steps.Failure
		if !errors.As(err, &failure) || failure.Reason != result.ReasonCertExpired || err.Error() != "TLS handshake with a.test: "+want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
