// Package maildns reads and judges what DNS says about a mail domain and its hosts: SPF (RFC 7208), DKIM keys (RFC 6376,
// RFC 8301, RFC 8463), DMARC (RFC 9989), MTA-STS (RFC 8461), TLS reporting (RFC 8460), BIMI, DANE (RFC 6698, RFC 7672), the
// names of addresses, and DNS blocklists (RFC 5782).
//
// It asks through a Lookup, so the same linters work on any resolver and in a test on a zone. What it
// finds is in Findings: faults make a record useless or dangerous for some receiver, advice does not. An error is returned
// only where DNS gave no answer, because then nothing is known, and a missing record must not be taken for it.
//
// The package fetches nothing over HTTP and opens no connection: policies, images and certificates are handed to it.
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

// Answer is what DNS has of one type at one name, aliases followed.
type Answer struct {
	Records   []dns.RR // of the type that was asked for; empty when the name or the type does not exist
	Missing   bool     // the name does not exist, and none beneath it (RFC 8020)
	Authentic bool     // DNSSEC proved it, also when it is empty
}

// Through asks with a client and leaves DNSSEC alone.
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

// Validated asks with a client and has it check the signatures from the anchors down. An answer whose signatures are wrong is
// an error; one from a zone that is not signed is not Authentic.
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

// Lookup asks for the records of one type (dns.TypeTXT) at a name. The error says that there
// was no answer; that there is no such record is an empty Answer.
type Lookup func(ctx context.Context, name string, kind uint16) (Answer, error)

// Findings are what a linter has to say.
type Findings struct {
	Faults []string // each is enough for a receiver to ignore the record, or to be harmed by it
	Advice []string // what works and should be changed
}

func (f *Findings) fault(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(f.Faults, text) {
		f.Faults = append(f.Faults, text)
	}
}

func (f *Findings) advise(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(f.Advice, text) {
		f.Advice = append(f.Advice, text)
	}
}

// Valid says whether nothing is wrong.
func (f *Findings) Valid() bool { return len(f.Faults) == 0 }

// texts gives the TXT records of a name, the strings of each put together (RFC 7208 section 3.3).
func (l Lookup) texts(ctx context.Context, name string) ([]string, error) {
	answer, err := l(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, rr := range answer.Records {
		if txt, is := rr.(*dns.TXT); is {
			all = append(all, dnsclient.Text(txt))
		}
	}
	return all, nil
}

// addresses gives the IPv4 and IPv6 addresses of a host.
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

// Canonical is a host name in lower case without the dot at its end.
func Canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// organisation is the domain that a registry gave away, by the public suffix list (RFC 7489 section 3.2): where a domain
// that has no DMARC record best adds one. What receivers take for the organisational domain is DMARCWalk.Organisation.
func organisation(name string) string {
	if domain, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return domain
	}
	return name
}

// quote shows text from DNS in one short line.
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
