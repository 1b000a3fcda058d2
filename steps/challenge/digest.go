package challenge

import (
	"crypto/md5" //nolint:gosec // RFC 7616 section 3.2 requires it
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// Digest answers a challenge of digest authentication. It is not for several goroutines.
type Digest struct {
	realm, nonce, opaque string
	algorithm            string // as written, empty when it is missing
	hash                 func() hash.Hash
	session              bool   // the algorithm ends in -sess
	qop                  string // "auth", "auth-int", or empty as before RFC 2617
	userhash             bool
	stale                bool

	count  int
	cnonce string
}

var algorithms = map[string]func() hash.Hash{"MD5": md5.New, "SHA-256": sha256.New, "SHA-512": sha512.New, "SHA-512-256": sha512.New512_256}

// NewDigest returns the answer to the first challenge of digest authentication that can be answered: a server names the
// one that it prefers first (RFC 7616 section 3.7). Without any, the error says what is missing.
func NewDigest(challenges []Challenge) (*Digest, error) {
	err := errors.New("there is no challenge for digest authentication")
	for _, c := range challenges {
		if c.Is("Digest") {
			var d *Digest
			if d, err = c.digest(); err == nil {
				return d, nil
			}
		}
	}
	return nil, err
}

func (c *Challenge) digest() (*Digest, error) {
	p := c.Parameters
	d := &Digest{realm: p["realm"], nonce: p["nonce"], opaque: p["opaque"], algorithm: p["algorithm"],
		userhash: strings.EqualFold(p["userhash"], "true"), stale: strings.EqualFold(p["stale"], "true")}
	if _, given := p["nonce"]; !given {
		return nil, errors.New("the digest challenge has no nonce (RFC 7616 section 3.3)")
	}
	name := strings.ToUpper(d.algorithm)
	if name == "" {
		name = "MD5"
	}
	name, d.session = strings.CutSuffix(name, "-SESS")
	if d.hash = algorithms[name]; d.hash == nil {
		return nil, fmt.Errorf("the digest challenge requires the algorithm %q, which is not supported", d.algorithm)
	}
	offered := strings.FieldsFunc(strings.ToLower(p["qop"]), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	for _, qop := range offered {
		if qop == "auth" || qop == "auth-int" && d.qop == "" {
			d.qop = qop
		}
	}
	if len(offered) > 0 && d.qop == "" {
		return nil, fmt.Errorf("the digest challenge requires the qop %q, which is not supported (RFC 7616 section 3.3 has auth and auth-int)", p["qop"])
	}
	return d, nil
}

// Stale reports whether the server asks again only because the nonce of the request was too old: the password is right.
func (d *Digest) Stale() bool { return d.stale }

// Authorize returns the value of the Authorization field for a request with this method, target and body.
func (d *Digest) Authorize(method, target string, body []byte, username, password string) string {
	if d.cnonce == "" || !d.session {
		d.cnonce = rand.Text()
	}
	return d.authorize(method, target, body, username, password)
}

// authorize is Authorize with the cnonce that is set.
func (d *Digest) authorize(method, target string, body []byte, username, password string) string {
	d.count++
	secret := d.sum(username, d.realm, password)
	if d.session {
		secret = d.sum(secret, d.nonce, d.cnonce)
	}
	what := []string{method, target}
	if d.qop == "auth-int" {
		what = append(what, d.sum(string(body)))
	}
	count := fmt.Sprintf("%08x", d.count)
	var response string
	if d.qop == "" {
		response = d.sum(secret, d.nonce, d.sum(what...))
	} else {
		response = d.sum(secret, d.nonce, count, d.cnonce, d.qop, d.sum(what...))
	}
	if d.userhash {
		username = d.sum(username, d.realm)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Digest username=%s, realm=%s, nonce=%s, uri=%s", quote(username), quote(d.realm), quote(d.nonce), quote(target))
	if d.algorithm != "" {
		b.WriteString(", algorithm=" + d.algorithm)
	}
	fmt.Fprintf(&b, `, response="%s"`, response)
	if d.opaque != "" {
		b.WriteString(", opaque=" + quote(d.opaque))
	}
	if d.qop != "" {
		fmt.Fprintf(&b, `, qop=%s, nc=%s`, d.qop, count)
	}
	if d.qop != "" || d.session {
		fmt.Fprintf(&b, `, cnonce="%s"`, d.cnonce)
	}
	if d.userhash {
		b.WriteString(", userhash=true")
	}
	return b.String()
}

// sum returns the hash of texts with colons between them.
func (d *Digest) sum(parts ...string) string {
	h := d.hash()
	_, _ = h.Write([]byte(strings.Join(parts, ":"))) // a hash never fails
	return hex.EncodeToString(h.Sum(nil))
}

// quote returns a quoted string (RFC 9110 section 5.6.4).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
