package httpwire

import (
	"crypto/fips140"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"
)

// A schedule meets the same certificates again and again. Whether an authority has signed one is a fact about its bytes, and
// to establish it costs a tenth of a visit over TLS: 100 µs of CPU. So it is established once for the bytes that a server
// sends, for each name and each set of roots, and holds as long as every certificate of the chain is valid. What differs
// from run to run, the signature of the handshake, is verified by crypto/tls in each of them.

// verifications remembers chains that were verified.
type verifications struct {
	mu    sync.Mutex
	known map[chain]validity
}

// chain is what a verification depends on, except for the time.
type chain struct {
	roots weak.Pointer[x509.CertPool] // nil for those of the machine
	name  string                      // of the server
	sent  [sha256.Size]byte           // its certificates
}

// validity is the time in which every certificate of a chain is valid.
type validity struct{ begin, end time.Time }

// mostVerified bounds what is remembered. One scenario meets a few chains, an agent thousands.
const mostVerified = 10_000

// verified are the chains that this process has verified.
var verified = verifications{known: map[chain]validity{}}

// useFor lets a configuration of a client verify the server's certificates here instead of in crypto/tls, by the same rules. It
// leaves the configuration as it is where more than the bytes and the time decide: where the system verifies (macOS, Windows),
// and in FIPS mode.
func (v *verifications) useFor(config *tls.Config) {
	if config.ServerName == "" || fips140.Enabled() || slices.Contains([]string{"darwin", "ios", "windows"}, runtime.GOOS) {
		return
	}
	config.InsecureSkipVerify = true //nolint:gosec // VerifyConnection verifies
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := v.verify(state.PeerCertificates, config.ServerName, config.RootCAs, time.Now()); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		return nil
	}
}

// verify verifies the certificates that a server sent, its own first.
func (v *verifications) verify(sent []*x509.Certificate, name string, roots *x509.CertPool, now time.Time) error {
	key := chain{weak.Make(roots), name, sumOf(sent)}
	v.mu.Lock()
	valid, known := v.known[key]
	v.mu.Unlock()
	if known && !now.Before(valid.begin) && !now.After(valid.end) {
		return nil
	}
	options := x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now, Intermediates: x509.NewCertPool()}
	for _, c := range sent[1:] {
		options.Intermediates.AddCert(c)
	}
	chains, err := sent[0].Verify(options)
	if err != nil {
		return err
	}
	valid = validity{begin: chains[0][0].NotBefore, end: chains[0][0].NotAfter}
	for _, c := range chains[0] {
		if c.NotBefore.After(valid.begin) {
			valid.begin = c.NotBefore
		}
		if c.NotAfter.Before(valid.end) {
			valid.end = c.NotAfter
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= mostVerified {
		clear(v.known)
	}
	v.known[key] = valid
	return nil
}

// sumOf returns the checksum of certificates.
func sumOf(all []*x509.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range all {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(c.Raw)))
		h.Write(size[:])
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}
