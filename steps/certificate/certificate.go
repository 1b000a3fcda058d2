// Package certificate checks the certificates that a TLS server sent, as a client would. It distinguishes the faults:
// expired, not yet valid, soon to expire, for another host, self-signed, of an unknown authority, without its
// intermediate, weak. It makes no connections, except to the URL where a certificate says that its issuer's can be
// downloaded (RFC 5280 section 4.2.2.1), if Judge.Fetch is set.
//
// It ignores revocation lists, because servers do not send them. It checks a stapled OCSP response (RFC 6960).
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

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Kind is a kind of fault of a certificate.
type Kind string

// The kinds, the most important first. Names and dates mean nothing without a trusted authority, and the expiry of
// another host's certificate does not matter. Browsers have the same order.
const (
	SelfSigned          Kind = "self-signed"
	UnknownAuthority    Kind = "unknown authority"
	WrongHost           Kind = "wrong host"
	Expired             Kind = "expired"
	NotYetValid         Kind = "not yet valid"
	MissingIntermediate Kind = "missing intermediate"
	Invalid             Kind = "invalid" // not for servers, or it violates its issuer's constraints
	Weak                Kind = "weak"
	Soon                Kind = "soon to expire"
)

// Fault is one fault of a certificate. Text is a predicate about the certificate: "ended on …".
type Fault struct {
	Kind Kind
	Text string
}

// Error returns Text.
func (f *Fault) Error() string { return f.Text }

// Judge holds what certificates are checked against.
type Judge struct {
	Now   time.Time
	Roots *x509.CertPool // nil means those of the machine

	// Fetch downloads an issuer's certificate from the URL in a served certificate. It is called only to distinguish a
	// missing intermediate from an unknown authority. With nil nothing is downloaded.
	Fetch func(ctx context.Context, url string) (*x509.Certificate, error)
}

// Chains returns the chains from the first served certificate to a trusted root, each including both, like
// tls.ConnectionState.VerifiedChains. It ignores the host's name.
func (j *Judge) Chains(served []*x509.Certificate) [][]*x509.Certificate {
	served = limited(served)
	chains, _ := j.verify(served[0], served[1:], j.Now) // Trust reports why there are none
	return chains
}

func (j *Judge) verify(c *x509.Certificate, intermediates []*x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	pool := x509.NewCertPool()
	for _, intermediate := range intermediates {
		pool.AddCert(intermediate)
	}
	return c.Verify(x509.VerifyOptions{Roots: j.Roots, Intermediates: pool, CurrentTime: at})
}

// within returns now, or the nearest time within the certificate's validity.
func (j *Judge) within(c *x509.Certificate) time.Time {
	switch {
	case j.Now.After(c.NotAfter):
		return c.NotAfter
	case j.Now.Before(c.NotBefore):
		return c.NotBefore
	}
	return j.Now
}

// Earliest returns the time when the first of the certificates expires, as in blackbox_exporter's
// probe_ssl_earliest_cert_expiry.
func Earliest(certificates []*x509.Certificate) time.Time {
	var earliest time.Time
	for _, c := range certificates {
		if earliest.IsZero() || c.NotAfter.Before(earliest) {
			earliest = c.NotAfter
		}
	}
	return earliest
}

// LastChain returns the time when the last of the chains expires, as in blackbox_exporter's
// probe_ssl_last_chain_expiry_timestamp_seconds. A chain expires with the first of its certificates. ok is false when
// there is no chain.
func LastChain(chains [][]*x509.Certificate) (end time.Time, ok bool) {
	for _, chain := range chains {
		if e := Earliest(chain); !ok || e.After(end) {
			end, ok = e, true
		}
	}
	return end, ok
}

// Limits of what a server may send. To find the chain among n certificates may take n² verifications, each of them up to 10 ms with
// the longest RSA key. crypto/tls limits the keys of a handshake to the same length.
var (
	ChainLimit = limit.Define(limit.Limit{Subject: "TLS", What: "what the server sends as its chain", Unit: "certificates", Most: 20})
	KeyLimit   = limit.Define(limit.Limit{Subject: "TLS", What: "the RSA key of a downloaded certificate", Unit: "bits", Most: 8192})
)

// CheckChain returns a limit.Error if a server sends too many certificates. This package does not look at those above ChainLimit.
func CheckChain(served []*x509.Certificate) error { return ChainLimit.Check(int64(len(served))) }

func limited(served []*x509.Certificate) []*x509.Certificate {
	return served[:min(len(served), int(ChainLimit.Most))]
}

// CheckKey returns a limit.Error if the RSA key of a certificate is too long.
func CheckKey(c *x509.Certificate) error {
	if key, is := c.PublicKey.(*rsa.PublicKey); is {
		return KeyLimit.Check(int64(key.N.BitLen()))
	}
	return nil
}

// path returns the chain from the first served certificate upwards, as far as the served certificates go.
func path(served []*x509.Certificate) []*x509.Certificate {
	served = limited(served)
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

// signedBy reports whether issuer's key made c's signature. For old algorithms, which x509 no longer supports, it is
// always true.
func signedBy(c, issuer *x509.Certificate) bool {
	err := issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	insecure := x509.InsecureAlgorithmError(0)
	return err == nil || errors.As(err, &insecure) || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}

func selfSigned(c *x509.Certificate) bool {
	return string(c.RawSubject) == string(c.RawIssuer) && signedBy(c, c)
}

// Faults returns the faults that make clients reject the served certificates for a host, now or within left.
func (j *Judge) Faults(ctx context.Context, served []*x509.Certificate, host string, left time.Duration) []*Fault {
	faults := Append(j.Validity(served, left), Host(served, host))
	if trust := j.Trust(ctx, served); trust != nil && !slices.ContainsFunc(faults, func(f *Fault) bool { return f.Kind == trust.Kind }) {
		faults = Append(faults, trust)
	}
	return faults
}

// Append appends those faults that are not nil and not there yet.
func Append(faults []*Fault, more ...*Fault) []*Fault {
	for _, f := range more {
		if f != nil && !slices.ContainsFunc(faults, func(known *Fault) bool { return known.Text == f.Text }) {
			faults = append(faults, f)
		}
	}
	return faults
}

// Validity returns a fault for each certificate that is expired, not yet valid, or expires within left. Of several
// chains to a root, the one that lasts longest counts, including its root: an old cross-signature that a server still
// sends does no harm. Without a chain, the served certificates count.
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
			faults = append(faults, &Fault{NotYetValid, fmt.Sprintf("%sis not valid before %s: a clock is wrong, or it was installed too early", what, Day(c.NotBefore))})
		case c.NotAfter.Sub(j.Now) < left:
			faults = append(faults, &Fault{Soon, fmt.Sprintf("%sends on %s, in %s, wanted %s: renew it", what, Day(c.NotAfter), Days(c.NotAfter.Sub(j.Now)), Days(left))})
		}
	}
	return faults
}

// Host returns a fault if the served certificate is not for a host name or an IP address, and otherwise nil.
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
		return &Fault{WrongHost, fmt.Sprintf("has no subjectAltName, only the common name %q, which clients ignore: wanted %s", printable(leaf.Subject.CommonName), host)}
	case len(names) > most:
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return &Fault{WrongHost, fmt.Sprintf("is for %s, wanted %s", printable(strings.Join(names, ", ")), host)}
}

// aiaLevels is the number of missing intermediates to download, one above the other.
const aiaLevels = 3

// Trust returns a fault if a client with the same roots would not trust the served certificates, and otherwise nil.
// Validity checks the dates of the first one, and Host its names.
func (j *Judge) Trust(ctx context.Context, served []*x509.Certificate) *Fault {
	served = limited(served)
	at := j.within(served[0])
	_, err := j.verify(served[0], served[1:], at)
	if err == nil {
		return nil
	}
	way := path(served)
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) {
		switch {
		case invalid.Reason == x509.NotAuthorizedToSign:
			return &Fault{UnknownAuthority, "is signed by a certificate that may not sign: " + Name(invalid.Cert)}
		case invalid.Reason != x509.Expired:
			return &Fault{Invalid, "is not usable for a server: " + printable(strings.TrimPrefix(err.Error(), "x509: "))}
		case slices.ContainsFunc(way, func(c *x509.Certificate) bool { // apart from the dates it is trusted
			_, err := j.verify(c, served, j.within(c))
			return err == nil
		}):
			return &Fault{Expired, fmt.Sprintf("has an issuer, %s, whose own is valid only from %s to %s", Name(invalid.Cert), Day(invalid.Cert.NotBefore), Day(invalid.Cert.NotAfter))}
		}
	}
	top := way[len(way)-1]
	switch {
	case selfSigned(top) && len(way) == 1:
		return &Fault{SelfSigned, "is signed by itself, not by an authority: get one from an authority, or add it under tls.ca in stepwatch.yml"}
	case selfSigned(top):
		return &Fault{UnknownAuthority, "leads to the root " + Name(top) + ", which is not trusted here: add a private CA's root under tls.ca in stepwatch.yml"}
	}
	issuer := printable(top.Issuer.String())
	found, fetchErr := j.fetchIssuers(ctx, top)
	if len(found) > 0 {
		if _, err := j.verify(served[0], append(slices.Clone(served), found...), at); err == nil {
			return &Fault{MissingIntermediate, "comes without an intermediate: the server does not send the certificate of its issuer " + issuer +
				": append it to the server's certificate file"}
		}
	}
	text := "is signed by " + issuer + ", which is not trusted here and whose certificate the server does not send: add a private CA's root under tls.ca in stepwatch.yml, " +
		"and an intermediate to the server's certificate file"
	if fetchErr != nil {
		text += " (" + fetchErr.Error() + ")"
	}
	return &Fault{UnknownAuthority, text}
}

// fetchIssuers downloads the certificates above top, as far as they contain URLs.
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

// The smallest keys, in bits: CA/Browser Forum Baseline Requirements sections 6.1.5 and 7.1.3.2.
const (
	leastRSA   = 2048
	leastECDSA = 256
)

// Strength returns a fault for each weak key and signature. It ignores the signature of a self-signed certificate,
// which proves nothing.
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
			faults = append(faults, &Fault{Weak, what + " a weak key: DSA, which clients reject"})
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

// Name returns the quoted common name of a certificate, printable, or its whole subject if it has none.
func Name(c *x509.Certificate) string {
	name := c.Subject.CommonName
	if name == "" {
		name = c.Subject.String()
	}
	return `"` + printable(name) + `"`
}

// Fingerprint returns the SHA-256 of a certificate in the format of "openssl x509 -fingerprint -sha256".
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// Day formats a time as a date with hours and minutes, in UTC.
func Day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Days formats a duration in days, or in hours when it is less than two days.
func Days(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 2*day {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d/day))
}

// printable makes text from outside printable, on one line and short.
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

// equal reports whether two public keys are the same.
func equal(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}
