// Package maildns reads and lints the DNS records of a mail domain and its hosts: SPF (RFC 7208), DKIM keys (RFC 6376,
// RFC 8301, RFC 8463), DMARC (RFC 9989), MTA-STS (RFC 8461), TLS reporting (RFC 8460), BIMI, DANE (RFC 6698, RFC 7672),
// the names of addresses, and DNS blocklists (RFC 5782).
//
// It queries DNS through a Lookup, so the same linters work with any resolver and in a test with a zone. The results
// are Findings: a fault makes a record useless or dangerous for some receiver, advice does not. The functions return an
// error only if DNS did not answer, because that must not be confused with a missing record.
//
// The package does not use HTTP and opens no connection: the caller passes policies, images and certificates.
package maildns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// Answer is the records of one type at one name, with aliases followed.
type Answer struct {
	Records   []dns.RR // of the requested type; empty if the name or the type does not exist
	Missing   bool     // the name does not exist, and no name below it (RFC 8020)
	Authentic bool     // proven by DNSSEC, also if it is empty
}

// Through returns a Lookup that uses a client, without DNSSEC.
func Through(client *dnsclient.Client) Lookup {
	return func(ctx context.Context, name string, kind uint16) (Answer, error) {
		answer, err := client.Find(ctx, dnsclient.Question{Name: name, Type: kind})
		switch {
		case dnsclient.IsAbsent(err):
			return Answer{Missing: answer.Rcode == dns.RcodeNameError}, nil
		case err != nil:
			return Answer{}, err
		}
		return Answer{Records: answer.Found()}, nil
	}
}

// Validated returns a Lookup that uses a client and validates signatures from the anchors down. Invalid signatures are
// an error. An answer from an unsigned zone is not Authentic.
func Validated(client *dnsclient.Client, anchors dnsclient.Anchors) Lookup {
	plain := Through(client)
	return func(ctx context.Context, name string, kind uint16) (Answer, error) {
		proof, err := client.Validate(ctx, dnsclient.Question{Name: name, Type: kind}, anchors)
		if e := (*dnsclient.Error)(nil); errors.As(err, &e) && e.Kind == dnsclient.Unsigned {
			return plain(ctx, name, kind)
		}
		if err != nil {
			return Answer{}, err
		}
		return Answer{Records: proof.Answer.Found(), Missing: proof.Answer.Rcode == dns.RcodeNameError, Authentic: true}, nil
	}
}

// Lookup returns the records of one type (dns.TypeTXT) at a name. It returns an error if there was no answer, and an
// empty Answer if there is no such record.
type Lookup func(ctx context.Context, name string, kind uint16) (Answer, error)

// Findings are the results of a linter.
type Findings struct {
	Faults []string // each makes a receiver ignore the record, or harms the receiver
	Advice []string // what works but should be changed
}

func (f *Findings) fault(format string, args ...any) {
	f.Faults = added(f.Faults, fmt.Sprintf(format, args...))
}

func (f *Findings) advise(format string, args ...any) {
	f.Advice = added(f.Advice, fmt.Sprintf(format, args...))
}

// added adds a finding that is not there yet, or at the limit that there are more.
func added(findings []string, text string) []string {
	switch {
	case len(findings) > findingsLimit || slices.Contains(findings, text):
		return findings
	case len(findings) == findingsLimit:
		text = "there is more, which is not shown"
	}
	return append(findings, text)
}

// Valid reports whether there are no faults.
func (f *Findings) Valid() bool { return len(f.Faults) == 0 }

// texts returns the TXT records of a name, with the strings of each joined (RFC 7208 section 3.3).
func (l Lookup) texts(ctx context.Context, name string) ([]string, error) {
	answer, err := l(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, rr := range answer.Records {
		if txt, is := rr.(*dns.TXT); is {
			text := dnsclient.Text(txt)
			if err := textLimit.Check(int64(len(text))); err != nil {
				return nil, err
			}
			all = append(all, text)
		}
	}
	return all, nil
}

// addresses returns the IPv4 and IPv6 addresses of a host.
func (l Lookup) addresses(ctx context.Context, host string) (v4, v6 []netip.Addr, err error) {
	a, err := l(ctx, host, dns.TypeA)
	if err != nil {
		return nil, nil, err
	}
	aaaa, err := l(ctx, host, dns.TypeAAAA)
	if err != nil {
		return nil, nil, err
	}
	return addressesOf(a.Records), addressesOf(aaaa.Records), nil
}

func addressesOf(records []dns.RR) []netip.Addr {
	var all []netip.Addr
	for _, rr := range records {
		var ip []byte
		switch record := rr.(type) {
		case *dns.A:
			ip = record.A.To4()
		case *dns.AAAA:
			ip = record.AAAA.To16()
		}
		if address, ok := netip.AddrFromSlice(ip); ok {
			all = append(all, address)
		}
	}
	return all
}

// Canonical returns a host name in lower case without the final dot.
func Canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// organisation returns the registered domain by the public suffix list (RFC 7489 section 3.2), which is the best place
// to add a missing DMARC record. DMARCWalk.organisation returns the organisational domain that receivers use.
func organisation(name string) string {
	if domain, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return domain
	}
	return name
}

// quote returns text from DNS quoted on one short line.
func quote(text string) string {
	const most = 120
	if len(text) > most {
		return strconv.Quote(text[:most]) + "…"
	}
	return strconv.Quote(text)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
