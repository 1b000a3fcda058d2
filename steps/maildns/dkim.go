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

// The lengths of RSA keys in bits (RFC 8301 section 3.2): receivers take no signature with less than the first, and signers
// should not use less than the second.
const (
	DKIMLeastBits = 1024
	DKIMGoodBits  = 2048
)

// DKIMKey is the public key that signatures of a domain and selector are verified with (RFC 6376 section 3.6).
type DKIMKey struct {
	Name   string // where it is: mail._domainkey.example.org
	Record string // empty when there is not exactly one
	Kind   string // "rsa" or "ed25519"
	Bits   int    // of the modulus; 256 for Ed25519; zero when there is no key
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
		k.fault("there is no TXT record at %s: publish the key that your signer made for the selector %s", k.Name, selector)
		return k, nil
	case 1:
		k.Record = texts[0]
	default:
		k.fault("%s has %d TXT records, and which of them a receiver takes is chance (RFC 6376 section 3.6.2.2): remove all but one", k.Name, len(texts))
		return k, nil
	}
	k.parse()
	return k, nil
}

func (k *DKIMKey) parse() {
	tags := parseTags(k.Record, &k.Findings)
	if len(tags) == 0 || !tags.has("p") {
		k.fault("%s is no DKIM key, as it has no p=: %s", k.Name, quote(k.Record))
		return
	}
	tags.unknown(&k.Findings, "v", "k", "p", "h", "s", "t", "n", "g")
	if tags.has("v") && (tags[0].name != "v" || tags.value("v") != "DKIM1") {
		k.fault("wanted v=DKIM1 at its beginning, or no v= at all")
	}
	if tags.has("h") && !hasItem(tags.value("h"), "sha256") {
		k.fault("h=%s: it allows no SHA-256, and receivers take nothing else (RFC 8301 section 3.1)", oneWord(tags.value("h")))
	}
	if tags.has("s") && !hasItem(tags.value("s"), "email") && !hasItem(tags.value("s"), "*") {
		k.fault("s=%s: it is not for mail", oneWord(tags.value("s")))
	}
	if hasItem(tags.value("t"), "y") {
		k.fault("t=y: the domain only tests DKIM, and receivers may take its mail as unsigned: remove the flag")
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
		k.fault("p= is not base64 (%d characters): is a part of the key missing or there twice?", len(encoded))
		return
	}
	switch k.Kind {
	case "rsa":
		k.rsa(der)
	case "ed25519":
		if len(der) != ed25519.PublicKeySize {
			k.fault("p= has %d bytes, and an Ed25519 key has 32, without any ASN.1 around it (RFC 8463 section 4)", len(der))
			return
		}
		k.Public, k.Bits = ed25519.PublicKey(der), 8*ed25519.PublicKeySize
		k.advise("many receivers cannot verify Ed25519: sign with an RSA key too")
	default:
		k.fault("k=%s: no receiver knows that kind of key: wanted rsa or ed25519", oneWord(tags.value("k")))
	}
}

func (k *DKIMKey) rsa(der []byte) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		if public, err = x509.ParsePKCS1PublicKey(der); err == nil {
			k.advise("the key is a bare RSAPublicKey, which some receivers do not take (RFC 6376 erratum 3017)")
		}
	}
	key, is := public.(*rsa.PublicKey)
	switch {
	case err != nil:
		k.fault("p= is base64 of %d bytes that are no RSA key: is a part of it missing?", len(der))
		return
	case !is:
		k.fault("p= is no RSA key, and k= says rsa")
		return
	}
	k.Public, k.Bits = key, key.N.BitLen()
	switch {
	case k.Bits < DKIMLeastBits:
		k.fault("the key has %d bits, and receivers take no signature with less than %d (RFC 8301 section 3.2): make one of %d", k.Bits, DKIMLeastBits, DKIMGoodBits)
	case k.Bits < DKIMGoodBits:
		k.advise("the key has %d bits: make one of %d (RFC 8301 section 3.2)", k.Bits, DKIMGoodBits)
	}
}

// hasItem says whether a list between colons has an item.
func hasItem(list, item string) bool {
	return slices.ContainsFunc(strings.Split(list, ":"), func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), item) })
}

// Same says whether another public key is this one.
func (k *DKIMKey) Same(other crypto.PublicKey) bool {
	switch mine := k.Public.(type) {
	case *rsa.PublicKey:
		return mine.Equal(other)
	case ed25519.PublicKey:
		return mine.Equal(other)
	}
	return false
}

// ReadPublicKey gives the public key of what is in a PEM file: a private key (PKCS #1 or #8) or a public one. No error holds
// any of the file.
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
		return nil, fmt.Errorf("its key is of a kind that DKIM does not have (%T)", key)
	}
}
