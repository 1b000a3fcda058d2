package certificate

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// fileLimit is the size limit of a file with certificates, in bytes: some files hold a whole store.
const fileLimit = 4 << 20

// File holds the certificates and keys of a file, in its order.
type File struct {
	Path         string
	Certificates []*x509.Certificate
	Keys         []crypto.PublicKey // the public halves of its private keys
}

// ReadFile reads a file in PEM (RFC 7468), or with one certificate in DER. An unreadable certificate or key is an
// error, because a comparison with only a part of the file would mislead.
func ReadFile(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // reading a pipe may block
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	if err != nil {
		return nil, err
	}
	if len(content) > fileLimit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, fileLimit)
	}
	file, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	file.Path = path
	return file, nil
}

func parse(content []byte) (*File, error) {
	file := &File{}
	if c, err := x509.ParseCertificate(content); err == nil {
		file.Certificates = []*x509.Certificate{c}
		return file, nil
	}
	begun, whole := beginnings(content), 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		whole++
		switch {
		case block.Type == "CERTIFICATE", block.Type == "X509 CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("its certificate %d cannot be read: %w", len(file.Certificates)+1, err)
			}
			file.Certificates = append(file.Certificates, c)
		case block.Type == "TRUSTED CERTIFICATE":
			return nil, errors.New(`it has a block "TRUSTED CERTIFICATE", which only OpenSSL reads: convert it with "openssl x509"`)
		case strings.HasSuffix(block.Type, "ENCRYPTED PRIVATE KEY"), block.Headers["DEK-Info"] != "":
			return nil, errors.New("its private key is encrypted")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key, err := publicHalf(block)
			if err != nil {
				return nil, fmt.Errorf("its private key cannot be read: %w", err)
			}
			file.Keys = append(file.Keys, key)
		}
	}
	if whole < begun {
		return nil, errors.New("it is truncated or damaged: a block has no end")
	}
	if len(file.Certificates) == 0 && len(file.Keys) == 0 {
		return nil, errors.New("it has neither a certificate nor a key in PEM")
	}
	return file, nil
}

// beginnings counts the lines that begin a block, because pem.Decode skips blocks that it cannot read.
func beginnings(content []byte) (n int) {
	for line := range bytes.Lines(content) {
		if bytes.HasPrefix(bytes.TrimLeft(line, "\ufeff \t"), []byte("-----BEGIN ")) {
			n++
		}
	}
	return n
}

func publicHalf(block *pem.Block) (crypto.PublicKey, error) {
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	private, ok := key.(interface{ Public() crypto.PublicKey })
	if !ok {
		return nil, fmt.Errorf("a key of type %T", key)
	}
	return private.Public(), nil
}

// Difference returns how the served certificates differ from the file, as a predicate about the file, or "". The served
// certificate must be in the file. If its issuers' certificates follow it in the file, up to that of another server,
// they must equal the served ones.
func (f *File) Difference(served []*x509.Certificate) string {
	at := -1
	for i, c := range f.Certificates {
		if c.Equal(served[0]) {
			at = i
			break
		}
	}
	if at < 0 {
		if len(f.Certificates) == 0 {
			return "has no certificate"
		}
		own := f.Certificates[0]
		remedy := "reload the server"
		if own.NotBefore.Before(served[0].NotBefore) {
			remedy = "the file is older: check that it is the server's file"
		}
		return fmt.Sprintf("has another: in the file %s, served %s: %s", identify(own), identify(served[0]), remedy)
	}
	issuers := f.Certificates[at+1:]
	for i, c := range issuers {
		if !c.IsCA {
			issuers = issuers[:i]
			break
		}
	}
	if len(issuers) == 0 {
		return ""
	}
	same := len(issuers) == len(served)-1
	for i := 0; same && i < len(issuers); i++ {
		same = issuers[i].Equal(served[i+1])
	}
	if same {
		return ""
	}
	return fmt.Sprintf("has the same certificate but other issuers after it: in the file %s, served %s: reload the server", names(issuers), names(served[1:]))
}

func identify(c *x509.Certificate) string {
	return fmt.Sprintf("%s until %s (SHA-256 %.23s…)", Name(c), Day(c.NotAfter), Fingerprint(c))
}

func names(certificates []*x509.Certificate) string {
	if len(certificates) == 0 {
		return "none"
	}
	all := make([]string, len(certificates))
	for i, c := range certificates {
		all[i] = Name(c)
	}
	return strings.Join(all, ", ")
}

// HasKeyOf reports whether one of the file's private keys belongs to the certificate.
func (f *File) HasKeyOf(c *x509.Certificate) bool {
	for _, key := range f.Keys {
		if equal(key, c.PublicKey) {
			return true
		}
	}
	return false
}
