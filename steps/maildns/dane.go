package maildns

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// The usages of a TLSA record (RFC 7218): what it says about the server's certificate.
const (
	pkixTA = 0 // signed by this authority, and valid to a public root
	pkixEE = 1 // this certificate, and valid to a public root
	daneTA = 2 // signed by this authority
	daneEE = 3 // this certificate or key, with any name and dates
)

// TLSA is the records that say which certificates a server may present (RFC 6698), and whether DNSSEC proves them.
type TLSA struct {
	Name      string // _25._tcp.mx.example.org
	Host      string
	Records   []*dns.TLSA
	Authentic bool
	Findings
}

// CheckTLSA reads and lints the records of a port. smtp says that mail servers connect to it: they ignore the usages
// with a public root (RFC 7672 section 3.1.3).
func CheckTLSA(ctx context.Context, lookup Lookup, host string, port int, smtp bool) (*TLSA, error) {
	host = Canonical(host)
	t := &TLSA{Name: "_" + strconv.Itoa(port) + "._tcp." + host, Host: host}
	answer, err := lookup(ctx, t.Name, dns.TypeTLSA)
	if err != nil {
		return t, err
	}
	t.Authentic = answer.Authentic
	if err := tlsaLimit.Check(int64(len(answer.Records))); err != nil { // each may need the whole chain to be verified
		return t, err
	}
	if len(answer.Records) == 0 {
		t.fault("there is no TLSA record at %s", t.Name)
		return t, nil
	}
	if !t.Authentic {
		t.fault("%s is not proven by DNSSEC, so senders ignore it: sign the zone, and add a DS record for its key in the parent zone", t.Name)
	}
	for _, rr := range answer.Records {
		record, is := rr.(*dns.TLSA)
		if !is {
			continue
		}
		if problem := tlsaProblem(record, smtp); problem != "" {
			t.fault("%s: %s", tlsaText(record), problem)
			continue
		}
		t.Records = append(t.Records, record)
	}
	return t, nil
}

// tlsaText returns a record as in a zone file, shortened.
func tlsaText(r *dns.TLSA) string {
	data := r.Certificate
	if len(data) > 16 {
		data = data[:16] + "…"
	}
	return fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.MatchingType, data)
}

// tlsaProblem says why a record is unusable, or returns an empty string.
func tlsaProblem(r *dns.TLSA, smtp bool) string {
	data, err := hex.DecodeString(r.Certificate)
	size, known := map[uint8]int{1: sha256.Size, 2: sha512.Size}[r.MatchingType]
	switch {
	case r.Usage > daneEE:
		return "there is no such usage: use 3 or 2"
	case smtp && (r.Usage == pkixTA || r.Usage == pkixEE):
		return "mail servers do not use the usages 0 and 1 (RFC 7672 section 3.1.3): use 3 or 2"
	case r.Selector > 1:
		return "there is no such selector: use 1 (the key) or 0 (the certificate)"
	case r.MatchingType > 2:
		return "there is no such matching type: use 1 (SHA-256)"
	case err != nil:
		return "its data is not hexadecimal"
	case known && len(data) != size:
		return fmt.Sprintf("its data has %d bytes, but this hash has %d", len(data), size)
	case len(data) == 0:
		return "it has no data"
	}
	return ""
}

// Verify checks the chain that the server presented, its own certificate first, and adds findings. It is a fault if no
// record allows the chain. If one does, the others are advice, because a record for the next certificate must be
// published before the certificate is used (RFC 7671 section 8.1). roots are for the usages 0 and 1; nil means the
// machine's.
func (t *TLSA) Verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) {
	if len(t.Records) == 0 {
		return // reported before
	}
	if len(chain) == 0 {
		t.fault("%s presented no certificate", t.Host)
		return
	}
	var problems []string
	allowed := false
	for _, r := range t.Records {
		if problem := t.allows(r, chain, roots, now); problem != "" {
			problems = append(problems, fmt.Sprintf("%s: %s", tlsaText(r), problem))
		} else {
			allowed = true
		}
	}
	if allowed {
		for _, problem := range problems {
			t.advise("%s", problem)
		}
		return
	}
	key := sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
	t.fault("no TLSA record allows the certificate of %s: %s; a record for its key is 3 1 1 %s", t.Host, strings.Join(problems, "; "), hex.EncodeToString(key[:]))
}

// allows says why a record does not allow a chain, or returns an empty string.
func (t *TLSA) allows(r *dns.TLSA, chain []*x509.Certificate, roots *x509.CertPool, now time.Time) string {
	switch r.Usage {
	case daneEE: // name and dates are ignored (RFC 7671 section 5.1)
		if !tlsaFits(r, chain[0]) {
			return "it is for another certificate or key"
		}
		return ""
	case pkixEE:
		if !tlsaFits(r, chain[0]) {
			return "it is for another certificate or key"
		}
		_, err := t.path(chain, roots, now)
		return problemOf(err)
	case pkixTA:
		paths, err := t.path(chain, roots, now)
		for _, path := range paths {
			for _, certificate := range path[1:] {
				if tlsaFits(r, certificate) {
					return ""
				}
			}
		}
		if err == nil {
			return "it names none of the authorities above the certificate"
		}
		return problemOf(err)
	default:
		return t.anchored(r, chain, now)
	}
}

// anchored checks a chain against the authority named in the record (RFC 7671 section 5.2). The server must present the
// authority's certificate, unless the record contains it.
func (t *TLSA) anchored(r *dns.TLSA, chain []*x509.Certificate, now time.Time) string {
	candidates := chain
	if r.Selector == 0 && r.MatchingType == 0 {
		if der, err := hex.DecodeString(r.Certificate); err == nil {
			if authority, err := x509.ParseCertificate(der); err == nil {
				candidates = append(candidates[:len(candidates):len(candidates)], authority)
			}
		}
	}
	problem := "the server does not present the authority that it names"
	for _, authority := range candidates {
		if !tlsaFits(r, authority) {
			continue
		}
		anchor := x509.NewCertPool()
		anchor.AddCert(authority)
		if _, err := t.path(chain, anchor, now); err != nil {
			problem = problemOf(err)
			continue
		}
		return ""
	}
	return problem
}

func (t *TLSA) path(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) ([][]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	return chain[0].Verify(x509.VerifyOptions{DNSName: t.Host, Roots: roots, Intermediates: between, CurrentTime: now})
}

func problemOf(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

// tlsaFits reports whether a record matches a certificate.
func tlsaFits(r *dns.TLSA, certificate *x509.Certificate) bool {
	data := certificate.Raw
	if r.Selector == 1 {
		data = certificate.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	want, err := hex.DecodeString(r.Certificate)
	return err == nil && bytes.Equal(want, data)
}
