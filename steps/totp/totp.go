// Package totp computes the one-time codes of authenticator apps (RFC 6238 over RFC 4226).
//
// A key is what a site provides at enrolment: base32 text, as shown below the QR code, or the "otpauth://totp/…"
// address in it, which also sets the number of digits, the period and the hash.
package totp

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238 section 1.2; its strength rests on HMAC
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Key computes codes.
type Key struct {
	secret []byte
	hash   func() hash.Hash
	digits int
	period time.Duration
}

// Parse parses a key. Its errors never contain the key.
func Parse(text string) (*Key, error) {
	k := &Key{hash: sha1.New, digits: 6, period: 30 * time.Second}
	text = strings.TrimSpace(text)
	if strings.HasPrefix(strings.ToLower(text), "otpauth:") {
		var err error
		if text, err = k.parameters(text); err != nil {
			return nil, err
		}
	}
	plain := strings.ToUpper(strings.NewReplacer(" ", "", "-", "", "=", "").Replace(text))
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(plain)
	switch {
	case err != nil:
		return nil, errors.New("its key is not base32 (letters and the digits 2 to 7)")
	case len(secret) < 10:
		return nil, fmt.Errorf("its key has %d bits, wanted at least 80", 8*len(secret))
	}
	k.secret = secret
	return k, nil
}

// Base32 returns the key as sites show it.
func (k *Key) Base32() string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(k.secret)
}

// parameters parses an otpauth address and returns its secret.
func (k *Key) parameters(address string) (secret string, err error) {
	u, err := url.Parse(address)
	if err != nil || !strings.EqualFold(u.Host, "totp") {
		return "", errors.New("it is not an otpauth://totp/ address")
	}
	q := u.Query()
	switch strings.ToUpper(q.Get("algorithm")) {
	case "", "SHA1":
	case "SHA256":
		k.hash = sha256.New
	case "SHA512":
		k.hash = sha512.New
	default:
		return "", errors.New("its algorithm is not SHA1, SHA256 or SHA512")
	}
	if digits := q.Get("digits"); digits != "" {
		if k.digits, err = strconv.Atoi(digits); err != nil || k.digits < 6 || k.digits > 8 {
			return "", errors.New("its digits are not 6, 7 or 8")
		}
	}
	if period := q.Get("period"); period != "" {
		seconds, err := strconv.Atoi(period)
		if err != nil || seconds < 1 || seconds > 3600 {
			return "", errors.New("its period is not a number of seconds up to 3600")
		}
		k.period = time.Duration(seconds) * time.Second
	}
	return q.Get("secret"), nil
}

// Period returns how often the code changes.
func (k *Key) Period() time.Duration { return k.period }

// Code returns the code at a time and how long it remains current.
func (k *Key) Code(at time.Time) (code string, left time.Duration) {
	period := int64(k.period / time.Second)
	step := at.Unix() / period
	mac := hmac.New(k.hash, k.secret)
	_ = binary.Write(mac, binary.BigEndian, step) // writing to a hash never fails
	sum := mac.Sum(nil)
	from := sum[len(sum)-1] & 0x0f // dynamic truncation, RFC 4226 section 5.3
	number := uint64(binary.BigEndian.Uint32(sum[from:]) & 0x7fffffff)
	modulus := uint64(1)
	for range k.digits {
		modulus *= 10
	}
	return fmt.Sprintf("%0*d", k.digits, number%modulus), time.Unix((step+1)*period, 0).Sub(at)
}
