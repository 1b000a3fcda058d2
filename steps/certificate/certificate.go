// Package certificate judges the certificates that a TLS server sends as a client would, and tells each fault apart:
// expired, not yet valid, soon to end, for another host, self-signed, of an unknown authority, without its intermediate,
// weak. It judges what was served already; it connects to nobody but, when told how, to where a certificate says that its
// issuer's can be had (RFC 5280 section 4.2.2.1).
//
// It knows of no revocation lists: they are not what a server sends. A stapled OCSP response (RFC 6960) is judged.
package certificate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Kind says what is wrong with a certificate.
type Kind string

// The kinds, the most telling first. An authority answers for names and dates, which mean nothing without one; and the end
// of another host's certificate is not what has to be mended. Browsers have the same order.
const (
	SelfSigned          Kind = "self-signed"
	UnknownAuthority    Kind = "unknown authority"
	WrongHost           Kind = "wrong host"
	Expired             Kind = "expired"
	NotYetValid         Kind = "not yet valid"
	MissingIntermediate Kind = "missing intermediate"
	Invalid             Kind = "invalid" // not made for servers, or against its issuer's constraints
	Weak                Kind = "weak"
	Soon                Kind = "soon to expire"
)

// Fault is one thing that is wrong. Text is half a sentence about the certificate: "ended on …".
type Fault struct {
	Kind Kind
	Text string
}

// Error gives Text.
func (f *Fault) Error() string { return f.Text }

// Judge says by what certificates are judged.
type Judge struct {
	Now   time.Time
	Roots *x509.CertPool // nil means the machine's own

	// Fetch reads the certificate at a URL that a served certificate gives for its issuer's. It is asked only to tell a
	// missing intermediate from an unknown authority. Nil fetches nothing.
	Fetch func(ctx context.Context, url string) (*x509.Certificate, error)
}

// Chains gives the ways from the first served certificate to a trusted root, each with both ends, as
// tls.ConnectionState.VerifiedChains has them. The host's name is not looked at.
func (j *Judge) Chains(served []*x509.Certificate) [][]*x509.Certificate {
	chains, _ := j.verify(served[0], served[1:], j.Now) // why there are none is for Trust to say
	return chains
}

func (j *Judge) verify(c *x509.Certificate, intermediates []*x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	pool := x509.NewCertPool()
	for _, intermediate := range intermediates {
		pool.AddCert(intermediate)
	}
	return c.Verify(x509.VerifyOptions{Roots: j.Roots, Intermediates: pool, CurrentTime: at})
}

// within is now, or the time in a certificate's validity that is nearest to it.
func (j *Judge) within(c *x509.Certificate) time.Time {
	switch {
	case j.Now.After(c.NotAfter):
		return c.NotAfter
	case j.Now.Before(c.NotBefore):
		return c.NotBefore
	}
	return j.Now
}

// Earliest is when the first of the certificates ends: blackbox_exporter's probe_ssl_earliest_cert_expiry.
func Earliest(certificates []*x509.Certificate) time.Time {
	var earliest time.Time
	for _, c := range certificates {
		if earliest.IsZero() || c.NotAfter.Before(earliest) {
			earliest = c.NotAfter
		}
	}
	return earliest
}

// LastChain is when the last of the chains ends, each of which ends with the first of its certificates: blackbox_exporter's
// probe_ssl_last_chain_expiry_timestamp_seconds. It is false when there is no chain.
func LastChain(chains [][]*x509.Certificate) (end time.Time, ok bool) {
	for _, chain := range chains {
		if e := Earliest(chain); !ok || e.After(end) {
			end, ok = e, true
		}
	}
	return end, ok
}

// path is the way from the first served certificate upwards, as far as what was served goes.
func path(served []*x509.Certificate) []*x509.Certificate {
	way := served[:1:1]
	for len(way) < len(served) && !selfSigned(way[len(way)-1]) {
		top := way[len(way)-1]
		at := slices.IndexFunc(served, func(c *x509.Certificate) bool {
			return !slices.Contains(way, c) && string(c.RawSubject) == string(top.RawIssuer) && signedBy(top, c)
		})
		if at < 0 {
			break
		}
		way = append(way, served[at])
	}
	return way
}

// signedBy says whether issuer's key made c's signature. Old algorithms, which x509 does not compute any more, count by the
// names alone.
func signedBy(c, issuer *x509.Certificate) bool {
	err := issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	insecure := x509.InsecureAlgorithmError(0)
	return err == nil || errors.As(err, &insecure) || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}

func selfSigned(c *x509.Certificate) bool {
	return string(c.RawSubject) == string(c.RawIssuer) && signedBy(c, c)
}

// Validity finds certificates that are outside their time, or end within left. When chains lead to a root, the one that
// lasts longest counts, roots included: an old cross-signature that a server still sends harms nobody. Without one, what is
// served counts.
func (j *Judge) Validity(served []*x509.Certificate, left time.Duration) []*Fault {
	considered := path(served)
	if chains := j.Chains(served); len(chains) > 0 {
		considered = slices.MaxFunc(chains, func(a, b []*x509.Certificate) int { return Earliest(a).Compare(Earliest(b)) })
	}
	var faults []*Fault
	for i, c := range considered {
		what := ""
		if i > 0 {
			what = "has an issuer, " + Name(c) + ", whose own "
		}
		switch {
		case j.Now.After(c.NotAfter):
			faults = append(faults, &Fault{Expired, fmt.Sprintf("%sended on %s, %s ago", what, Day(c.NotAfter), Days(j.Now.Sub(c.NotAfter)))})
		case j.Now.Before(c.NotBefore):
			faults = append(faults, &Fault{NotYetValid, fmt.Sprintf("%sis not valid before %s: its clock or ours is wrong, or it came too early", what, Day(c.NotBefore))})
		case c.NotAfter.Sub(j.Now) < left:
			faults = append(faults, &Fault{Soon, fmt.Sprintf("%sends on %s, in %s, wanted %s: renew it", what, Day(c.NotAfter), Days(c.NotAfter.Sub(j.Now)), Days(left))})
		}
	}
	return faults
}

// Host says whether the served certificate is for a name or an address, or nil.
func Host(served []*x509.Certificate, host string) *Fault {
	leaf := served[0]
	if leaf.VerifyHostname(host) == nil {
		return nil
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	const most = 10
	switch {
	case len(names) == 0:
		return &Fault{WrongHost, fmt.Sprintf("has no subjectAltName, only the common name %q, which clients do not look at: wanted %s", printable(leaf.Subject.CommonName), host)}
	case len(names) > most:
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return &Fault{WrongHost, fmt.Sprintf("is for %s, wanted %s", printable(strings.Join(names, ", ")), host)}
}

// aiaLevels is how many missing intermediates are looked for, one above the other.
const aiaLevels = 3

// Trust says why no client that has the roots would trust the served certificates, or nil. That the first of them is
// outside its time is for Validity to say, and whether it is for the host for Host.
func (j *Judge) Trust(ctx context.Context, served []*x509.Certificate) *Fault {
	at := j.within(served[0])
	_, err := j.verify(served[0], served[1:], at)
	if err == nil {
		return nil
	}
	way := path(served)
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) {
		switch {
		case invalid.Reason == x509.NotAuthorizedToSign:
			return &Fault{UnknownAuthority, "is signed by one that may not sign: " + Name(invalid.Cert)}
		case invalid.Reason != x509.Expired:
			return &Fault{Invalid, "is not fit for a server: " + printable(strings.TrimPrefix(err.Error(), "x509: "))}
		case slices.ContainsFunc(way, func(c *x509.Certificate) bool { // but for the time there is an authority
			_, err := j.verify(c, served, j.within(c))
			return err == nil
		}):
			return &Fault{Expired, fmt.Sprintf("has an issuer, %s, whose own is valid from %s to %s only", Name(invalid.Cert), Day(invalid.Cert.NotBefore), Day(invalid.Cert.NotAfter))}
		}
	}
	top := way[len(way)-1]
	switch {
	case selfSigned(top) && len(way) == 1:
		return &Fault{SelfSigned, "is signed by itself and by no authority: get one from an authority, or add it under tls.ca in stepwatch.yml"}
	case selfSigned(top):
		return &Fault{UnknownAuthority, "leads to the root " + Name(top) + ", which nobody here trusts: add a private CA's root under tls.ca in stepwatch.yml"}
	}
	issuer := printable(top.Issuer.String())
	found, fetchErr := j.fetchIssuers(ctx, top)
	if len(found) > 0 {
		if _, err := j.verify(served[0], append(slices.Clone(served), found...), at); err == nil {
			return &Fault{MissingIntermediate, "comes without an intermediate: the server sends no certificate of its issuer " + issuer +
				": append that to the server's certificate file"}
		}
	}
	text := "is signed by " + issuer + ", whom nobody here trusts and whose certificate the server does not send: add a private CA's root under tls.ca in stepwatch.yml, " +
		"and an intermediate to the server's certificate file"
	if fetchErr != nil {
		text += " (" + fetchErr.Error() + ")"
	}
	return &Fault{UnknownAuthority, text}
}

// fetchIssuers reads the certificates above top, as far as they say where they can be had.
func (j *Judge) fetchIssuers(ctx context.Context, top *x509.Certificate) (found []*x509.Certificate, err error) {
	for range aiaLevels {
		if j.Fetch == nil || len(top.IssuingCertificateURL) == 0 || selfSigned(top) {
			return found, nil
		}
		at := top.IssuingCertificateURL[0]
		issuer, err := j.Fetch(ctx, at)
		if err != nil {
			return found, fmt.Errorf("the issuer's certificate should be at %s: %w", printable(at), err)
		}
		if !signedBy(top, issuer) {
			return found, fmt.Errorf("the certificate at %s is not the issuer's", printable(at))
		}
		found, top = append(found, issuer), issuer
	}
	return found, nil
}

// What is too weak: CA/Browser Forum Baseline Requirements sections 6.1.5 and 7.1.3.2.
const (
	leastRSA   = 2048
	leastECDSA = 256
)

// Strength finds weak keys and signatures. The signature of a self-signed certificate proves nothing and is not looked at.
func Strength(served []*x509.Certificate) []*Fault {
	var faults []*Fault
	for i, c := range path(served) {
		what := "has"
		if i > 0 {
			what = "has an issuer, " + Name(c) + ", with"
		}
		bits, least, kind := 0, 0, ""
		switch key := c.PublicKey.(type) {
		case *rsa.PublicKey:
			bits, least, kind = key.N.BitLen(), leastRSA, "RSA"
		case *ecdsa.PublicKey:
			bits, least, kind = key.Curve.Params().BitSize, leastECDSA, "ECDSA"
		}
		if bits < least {
			faults = append(faults, &Fault{Weak, fmt.Sprintf("%s a weak key: %s of %d bits, wanted at least %d", what, kind, bits, least)})
		}
		if c.PublicKeyAlgorithm == x509.DSA {
			faults = append(faults, &Fault{Weak, what + " a weak key: DSA, which clients do not take"})
		}
		switch c.SignatureAlgorithm {
		case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
			if !selfSigned(c) {
				faults = append(faults, &Fault{Weak, fmt.Sprintf("%s a weak signature: %s", what, c.SignatureAlgorithm)})
			}
		}
	}
	return faults
}

// Name is what a certificate is called, printable: its common name, or all that its subject has.
func Name(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" {
		name = c.Subject.String()
	}
	return `"` + printable(name) + `"`
}

// Fingerprint is the SHA-256 of a certificate as "openssl x509 -fingerprint -sha256" writes it.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// Day writes a time as people compare it with a calendar.
func Day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Days writes a duration in days, or in hours when it is less than two of them.
func Days(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 2*day {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d/day))
}

// printable is text from outside fit for one line of a report.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
	const most = 200
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// equal says whether two public keys are the same.
func equal(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}
