package stepstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// CA is a certificate authority that exists for one test or one demo. Its key never leaves the process.
type CA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewCA creates a root called name. It is valid for a day, from one hour ago.
func NewCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create the key of CA %q: %w", name, err)
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign CA %q: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back CA %q: %w", name, err)
	}
	return &CA{certificate: certificate, key: key}, nil
}

// Roots returns a pool with only this root. It has the signature of Target.Roots.
func (ca *CA) Roots() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	return pool, nil
}

// PEM returns the root as a "CERTIFICATE" block (RFC 7468), for programs that read their roots from a file.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.certificate.Raw})
}

// Issue signs a server certificate for names (host names or IP addresses), valid for a day from one hour ago.
func (ca *CA) Issue(names ...string) (tls.Certificate, error) {
	now := time.Now()
	return ca.IssueValid(now.Add(-time.Hour), now.Add(24*time.Hour), names...)
}

// IssueExpired signs a server certificate for names that expired an hour ago.
func (ca *CA) IssueExpired(names ...string) (tls.Certificate, error) {
	now := time.Now()
	return ca.IssueValid(now.Add(-48*time.Hour), now.Add(-time.Hour), names...)
}

// IssueValid signs a server certificate for names with this validity.
func (ca *CA) IssueValid(notBefore, notAfter time.Time, names ...string) (tls.Certificate, error) {
	return ca.IssueAltered(nil, func(template *x509.Certificate) { template.NotBefore, template.NotAfter = notBefore, notAfter }, names...)
}

// IssueAltered signs a server certificate for names after alter has changed its template. A nil key means a new one.
func (ca *CA) IssueAltered(key crypto.Signer, alter func(template *x509.Certificate), names ...string) (tls.Certificate, error) {
	if len(names) == 0 {
		return tls.Certificate{}, fmt.Errorf("issue a certificate: no name given")
	}
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return tls.Certificate{}, fmt.Errorf("create the key of %q: %w", names[0], err)
		}
	}
	serial, err := serialNumber()
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	alter(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign the certificate of %q: %w", names[0], err)
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.certificate.Raw}, PrivateKey: key}, nil
}

// Intermediate creates an authority below this one, valid from an hour ago until the given time. Certificates that it
// issues come with its certificate, but without the root's.
func (ca *CA) Intermediate(name string, notAfter time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create the key of CA %q: %w", name, err)
	}
	signed, err := ca.IssueAltered(key, func(template *x509.Certificate) {
		template.DNSNames, template.ExtKeyUsage, template.NotAfter = nil, nil, notAfter
		template.KeyUsage, template.IsCA, template.BasicConstraintsValid = x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature, true, true
	}, name)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(signed.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read back CA %q: %w", name, err)
	}
	return &CA{certificate: certificate, key: key}, nil
}

// Certificate returns the authority's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.certificate }

// Key returns the authority's key, to sign OCSP responses and the like.
func (ca *CA) Key() crypto.Signer { return ca.key }

func serialNumber() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("create a serial number: %w", err)
	}
	return n, nil
}
