//go:build linux

package stack

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"time"
)

// authority is a certificate authority that lives for one stack.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newAuthority makes a root, or an intermediate below the authority above.
func newAuthority(name string, above *authority) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().AddDate(0, -2, 0),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if above == nil {
		above = &authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above.certificate, key.Public(), above.key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{certificate, key}, nil
}

func newSerial() (*big.Int, error) { return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64)) }

// pem is the authority's certificate, for those who trust it.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// issue gives key and certificate, in that order and in one file as Postfix wants it, for names until the given end.
func (a *authority) issue(end time.Time, names ...string) ([]byte, error) {
	return a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: end.AddDate(0, -2, 0), NotAfter: end})
}

// sign gives key and certificate by a template, as issue does. Nil has the certificate sign itself.
func (a *authority) sign(template *x509.Certificate) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if a == nil {
		a = &authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	private, err := privatePEM(key)
	if err != nil {
		return nil, err
	}
	return append(private, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), nil
}

func privatePEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// newSigningKey gives an RSA key for DKIM (RFC 8301 §3.2: at least 2048 bits) and the strings of its TXT record, each
// short enough for one character-string of DNS.
func newSigningKey() (private []byte, record []string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	if private, err = privatePEM(key); err != nil {
		return nil, nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	rest := []byte("v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public))
	for len(rest) > 0 {
		n := min(len(rest), 250)
		record = append(record, string(bytes.Clone(rest[:n])))
		rest = rest[n:]
	}
	return private, record, nil
}

// Token is an access token (RFC 6750) with which an account logs in until the given end: a JWT (RFC 7519) that Dovecot
// verifies by itself.
func (s *Stack) Token(a *Account, end time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{"sub": a.Address, "email": a.Address, "iat": time.Now().Add(-time.Hour).Unix(), "exp": end.Unix()})
	if err != nil {
		return "", err
	}
	encoding := base64.RawURLEncoding
	signed := encoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encoding.EncodeToString(claims)
	mac := hmac.New(sha256.New, []byte(s.tokenKey))
	mac.Write([]byte(signed))
	return signed + "." + encoding.EncodeToString(mac.Sum(nil)), nil
}

// writeTokenKey makes the key of the tokens, where Dovecot looks for it.
func (s *Stack) writeTokenKey() error {
	const dir = "etc/tokens/default/HS256"
	s.tokenKey = newPassword()
	return errors.Join(os.MkdirAll(s.path(dir), 0o755),
		os.WriteFile(s.path(dir+"/default"), []byte(base64.StdEncoding.EncodeToString([]byte(s.tokenKey))), 0o644))
}

// newPassword gives letters and digits that nobody can guess.
func newPassword() string { return rand.Text() }
