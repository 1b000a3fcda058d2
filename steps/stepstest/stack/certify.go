//go:build linux

package stack

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Flaw is what is wrong with a certificate.
type Flaw string

// The flaws of Certify.
const (
	Flawless       Flaw = "flawless"
	EndsSoon       Flaw = "ends soon" // in three days
	Ended          Flaw = "ended"     // three days ago
	OtherHost      Flaw = "for another host"
	SelfSigned     Flaw = "signed by itself"
	NoIntermediate Flaw = "without its intermediate" // which is to be had where the certificate says, at Mail
)

// certifyChanging makes an intermediate authority, and what the host Changing begins with.
func (s *Stack) certifyChanging(root *authority) error {
	var err error
	if s.issuer, err = newAuthority("stepwatch test intermediate", root); err != nil {
		return err
	}
	chain, err := s.Certify(Flawless)
	if err != nil {
		return err
	}
	staple, err := s.Staple(chain, ocsp.Response{Status: ocsp.Good, ThisUpdate: time.Now(), NextUpdate: time.Now().AddDate(0, 0, 1)})
	if err != nil {
		return err
	}
	host := s.find(Changing)[0]
	return errors.Join(os.WriteFile(host.Chain, chain, 0o600), os.WriteFile(host.Staple, staple, 0o644),
		os.WriteFile(s.path("issuers/intermediate.crt"), s.issuer.certificate.Raw, 0o644))
}

// Certify gives a new key and certificate for Changing, with the intermediate behind it, as one file.
func (s *Stack) Certify(flaw Flaw) ([]byte, error) {
	now := time.Now()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: Changing}, DNSNames: []string{Changing}, NotBefore: now.AddDate(0, 0, -60), NotAfter: now.AddDate(0, 1, 0),
		IssuingCertificateURL: []string{"http://" + Mail + "/issuers/intermediate.crt"}, OCSPServer: []string{"http://ocsp." + Domain}}
	const hour = time.Hour // so that the days are whole ones during a test
	issuer, behind := s.issuer, s.issuer.pem()
	switch flaw {
	case EndsSoon:
		template.NotAfter = now.AddDate(0, 0, 3).Add(hour)
	case Ended:
		template.NotAfter = now.AddDate(0, 0, -3).Add(-hour)
	case OtherHost:
		template.DNSNames = []string{"other." + Domain}
	case SelfSigned:
		issuer, behind = nil, nil
		template.IssuingCertificateURL = nil
	case NoIntermediate:
		behind = nil
	}
	chain, err := issuer.sign(template)
	return append(chain, behind...), err
}

// Staple gives the OCSP response of the intermediate authority about the first certificate of a chain. r says what is in
// it, but for the serial number.
func (s *Stack) Staple(chain []byte, r ocsp.Response) ([]byte, error) {
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		r.SerialNumber = c.SerialNumber
		return ocsp.CreateResponse(s.issuer.certificate, s.issuer.certificate, r, s.issuer.key)
	}
	return nil, fmt.Errorf("no certificate in %d bytes", len(chain))
}

// Stapled is the file with the OCSP response that nginx sends for Changing.
func (s *Stack) Stapled() string { return s.find(Changing)[0].Staple }
