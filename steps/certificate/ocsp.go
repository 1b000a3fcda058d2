package certificate

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Faults of a stapled OCSP response.
var (
	ErrNoStaple = errors.New("the server staples no OCSP response")
	ErrRevoked  = errors.New("the certificate is revoked")
	ErrStale    = errors.New("the stapled OCSP response is out of date")
)

// Staple checks the OCSP response that a server sent with its certificates (RFC 6960, RFC 6066 section 8). It returns
// the time until which a good response is valid. The error may wrap one of those above.
func (j *Judge) Staple(response []byte, served []*x509.Certificate) (until time.Time, err error) {
	if len(response) == 0 {
		return time.Time{}, ErrNoStaple
	}
	chain := path(served)
	if chains := j.Chains(served); len(chains) > 0 {
		chain = chains[0]
	}
	if len(chain) < 2 {
		return time.Time{}, errors.New("the stapled OCSP response cannot be verified, because the issuer's certificate is unknown")
	}
	r, err := ocsp.ParseResponseForCert(response, chain[0], chain[1])
	if err != nil {
		return time.Time{}, fmt.Errorf("the stapled OCSP response cannot be used: %s", printable(err.Error()))
	}
	const clocks = 5 * time.Minute // allowed difference of two clocks
	switch {
	case r.Status == ocsp.Revoked:
		return time.Time{}, fmt.Errorf("%w since %s: its authority says so in the stapled OCSP response", ErrRevoked, Day(r.RevokedAt))
	case r.Status != ocsp.Good:
		return time.Time{}, errors.New("the stapled OCSP response says that the authority does not know the certificate")
	case r.ThisUpdate.After(j.Now.Add(clocks)):
		return time.Time{}, fmt.Errorf("%w: its time %s is in the future", ErrStale, Day(r.ThisUpdate))
	case !r.NextUpdate.IsZero() && r.NextUpdate.Before(j.Now.Add(-clocks)):
		return time.Time{}, fmt.Errorf("%w: it was valid until %s, %s ago: the server cannot reach %q, or does not renew it", ErrStale, Day(r.NextUpdate), Days(j.Now.Sub(r.NextUpdate)), chain[0].OCSPServer)
	}
	return r.NextUpdate, nil
}
