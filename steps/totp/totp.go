// Package totp makes the one-time codes that authenticator apps show (RFC 6238 over RFC 4226).
//
// A key is what a site gives at enrolment: base32 text, as written below the picture, or the picture's own
// "otpauth://totp/…" address, which also says how many digits, how often and by which hash.
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

// Key makes codes.
type Key struct {
	secret []byte
	hash   func() hash.Hash
	digits int
	period time.Duration
}

// Parse reads a key. Its errors never hold the key.
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
		return nil, errors.New("its key is no base32 (letters and the digits 2 to 7)")
	case len(secret) < 10:
		return nil, fmt.Errorf("its key has %d bits, and 80 are the least that sites give", 8*len(secret))
	}
	k.secret = secret
	return k, nil
}

// parameters reads an otpauth address and gives its secret.
func (k *Key) parameters(address string) (secret string, err error) {
	u, err := url.Parse(address)
	if err != nil || !strings.EqualFold(u.Host, "totp") {
		return "", errors.New("it is no otpauth://totp/ address")
	}
	q := u.Query()
	switch strings.ToUpper(q.Get("algorithm")) {
	case "", "SHA1":
	case "SHA256":
		k.hash = sha256.New
	case "SHA512":
		k.hash = sha512.New
	default:
		return "", errors.New("its algorithm is none of SHA1, SHA256 and SHA512")
	}
	if digits := q.Get("digits"); digits != "" {
		if k.digits, err = strconv.Atoi(digits); err != nil || k.digits < 6 || k.digits > 8 {
			return "", errors.New("its digits are none of 6, 7 and 8")
		}
	}
	if period := q.Get("period"); period != "" {
		seconds, err := strconv.Atoi(period)
		if err != nil || seconds < 1 || seconds > 3600 {
			return "", errors.New("its period is no number of seconds up to 3600")
		}
		k.period = time.Duration(seconds) * time.Second
	}
	return q.Get("secret"), nil
}

// Period is how often the code changes.
func (k *Key) Period() time.Duration { return k.period }

// Code gives the code of a moment and how long it is the one to use.
func (k *Key) Code(at time.Time) (code string, left time.Duration) {
	period := int64(k.period / time.Second)
	step := at.Unix() / period
	mac := hmac.New(k.hash, k.secret)
	_ = binary.Write(mac, binary.BigEndian, step) // a hash takes everything
	sum := mac.Sum(nil)
	from := sum[len(sum)-1] & 0x0f // dynamic truncation, RFC 4226 section 5.3
	number := uint64(binary.BigEndian.Uint32(sum[from:]) & 0x7fffffff)
	modulus := uint64(1)
	for range k.digits {
		modulus *= 10
	}
	return fmt.Sprintf("%0*d", k.digits, number%modulus), time.Unix((step+1)*period, 0).Sub(at)
}
