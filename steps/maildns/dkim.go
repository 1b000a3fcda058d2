package maildns

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The lengths of RSA keys in bits (RFC 8301 section 3.2): receivers accept no signature below the first, and signers
// should use at least the second.
const (
	dkimLeastBits = 1024
	dkimGoodBits  = 2048
)

// DKIMKey is the public key that verifies signatures of a domain and selector (RFC 6376 section 3.6).
type DKIMKey struct {
	Name   string // its name in DNS: mail._domainkey.example.org
	Record string // empty unless there is exactly one
	Kind   string // "rsa" or "ed25519"
	Bits   int    // of the modulus; 256 for Ed25519; zero if there is no key
	Public crypto.PublicKey
	Findings
}

// CheckDKIM reads and lints the key of a selector.
func CheckDKIM(ctx context.Context, lookup Lookup, selector, domain string) (*DKIMKey, error) {
	k := &DKIMKey{Name: selector + "._domainkey." + domain}
	texts, err := lookup.texts(ctx, k.Name)
	if err != nil {
		return k, err
	}
	switch len(texts) {
	case 0:
		k.fault("there is no TXT record at %s: publish the key of your signer for the selector %s", k.Name, selector)
		return k, nil
	case 1:
		k.Record = texts[0]
	default:
		k.fault("%s has %d TXT records, and receivers may use any of them (RFC 6376 section 3.6.2.2): remove all but one", k.Name, len(texts))
		return k, nil
	}
	k.parse()
	return k, nil
}

func (k *DKIMKey) parse() {
	tags := parseTags(k.Record, &k.Findings)
	if len(tags) == 0 || !tags.has("p") {
		k.fault("%s is not a DKIM key, because it has no p=: %s", k.Name, quote(k.Record))
		return
	}
	tags.unknown(&k.Findings, "v", "k", "p", "h", "s", "t", "n", "g")
	if tags.has("v") && (tags[0].name != "v" || tags.value("v") != "DKIM1") {
		k.fault("want v=DKIM1 at its beginning, or no v= at all")
	}
	if tags.has("h") && !hasItem(tags.value("h"), "sha256") {
		k.fault("h=%s: it does not allow SHA-256, and receivers accept nothing else (RFC 8301 section 3.1)", oneWord(tags.value("h")))
	}
	if tags.has("s") && !hasItem(tags.value("s"), "email") && !hasItem(tags.value("s"), "*") {
		k.fault("s=%s: it is not for mail", oneWord(tags.value("s")))
	}
	if hasItem(tags.value("t"), "y") {
		k.fault("t=y: the domain only tests DKIM, and receivers may treat its mail as unsigned: remove the flag")
	}
	k.Kind = "rsa"
	if tags.has("k") {
		k.Kind = strings.ToLower(tags.value("k"))
	}
	encoded := strings.Join(strings.Fields(tags.value("p")), "")
	if encoded == "" {
		k.fault("the key is revoked: p= is empty")
		return
	}
	der, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		k.fault("p= is not base64 (%d characters): is a part of the key missing or duplicated?", len(encoded))
		return
	}
	switch k.Kind {
	case "rsa":
		k.rsa(der)
	case "ed25519":
		if len(der) != ed25519.PublicKeySize {
			k.fault("p= has %d bytes, but an Ed25519 key has 32, without ASN.1 around it (RFC 8463 section 4)", len(der))
			return
		}
		k.Public, k.Bits = ed25519.PublicKey(der), 8*ed25519.PublicKeySize
		k.advise("many receivers cannot verify Ed25519: sign with an RSA key too")
	default:
		k.fault("k=%s: receivers do not support this type of key: want rsa or ed25519", oneWord(tags.value("k")))
	}
}

func (k *DKIMKey) rsa(der []byte) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		if public, err = x509.ParsePKCS1PublicKey(der); err == nil {
			k.advise("the key is a bare RSAPublicKey, which some receivers do not accept (RFC 6376 erratum 3017)")
		}
	}
	key, is := public.(*rsa.PublicKey)
	switch {
	case err != nil:
		k.fault("p= is base64 of %d bytes that are not an RSA key: is a part of it missing?", len(der))
		return
	case !is:
		k.fault("p= is not an RSA key, but k= says rsa")
		return
	}
	k.Public, k.Bits = key, key.N.BitLen()
	switch {
	case k.Bits < dkimLeastBits:
		k.fault("the key has %d bits, and receivers accept no signature with fewer than %d (RFC 8301 section 3.2): create one with %d", k.Bits, dkimLeastBits, dkimGoodBits)
	case k.Bits < dkimGoodBits:
		k.advise("the key has %d bits: create one with %d (RFC 8301 section 3.2)", k.Bits, dkimGoodBits)
	}
}

// hasItem reports whether a colon-separated list has an item.
func hasItem(list, item string) bool {
	return slices.ContainsFunc(strings.Split(list, ":"), func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), item) })
}

// Same reports whether another public key equals this one.
func (k *DKIMKey) Same(other crypto.PublicKey) bool {
	switch mine := k.Public.(type) {
	case *rsa.PublicKey:
		return mine.Equal(other)
	case ed25519.PublicKey:
		return mine.Equal(other)
	}
	return false
}

// ReadPublicKey returns the public key of a PEM file, which contains a private key (PKCS #1 or #8) or a public key.
// Errors never contain parts of the file.
func ReadPublicKey(file []byte) (crypto.PublicKey, error) {
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("it has no key in PEM (RFC 7468)")
		}
		var key any
		var err error
		switch block.Type {
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "PUBLIC KEY":
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("its %s cannot be read", strings.ToLower(block.Type))
		}
		switch key := key.(type) {
		case *rsa.PrivateKey:
			return key.Public(), nil
		case ed25519.PrivateKey:
			return key.Public(), nil
		case *rsa.PublicKey, ed25519.PublicKey:
			return key, nil
		}
		return nil, fmt.Errorf("DKIM does not support its type of key (%T)", key)
	}
}
