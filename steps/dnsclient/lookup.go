package dnsclient

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// These methods query the configured resolver. The error is an *Error, also if there is no such record: IsAbsent
// distinguishes that from a failed query.

// TXT returns the TXT records of a name, with the strings of each joined as SPF and DKIM require (RFC 7208 section
// 3.3).
func (c *Client) TXT(ctx context.Context, name string) ([]string, error) {
	answer, err := c.Find(ctx, Question{Name: name, Type: dns.TypeTXT})
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, rr := range answer.Found() {
		texts = append(texts, Text(rr.(*dns.TXT)))
	}
	return texts, nil
}

// MX is one mail exchanger.
type MX struct {
	Preference uint16
	Host       string // without the final dot; empty for the null MX of RFC 7505
}

// MX returns the mail exchangers of a domain, the most preferred first.
func (c *Client) MX(ctx context.Context, domain string) ([]MX, error) {
	answer, err := c.Find(ctx, Question{Name: domain, Type: dns.TypeMX})
	if err != nil {
		return nil, err
	}
	var hosts []MX
	for _, rr := range answer.Found() {
		mx := rr.(*dns.MX)
		hosts = append(hosts, MX{mx.Preference, strings.TrimSuffix(mx.Mx, ".")})
	}
	slices.SortStableFunc(hosts, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	return hosts, nil
}

// Addresses returns the addresses of a host, IPv4 first. family limits them to one family. It only queries DNS, never
// /etc/hosts. It is an error if the host has no address at all.
func (c *Client) Addresses(ctx context.Context, host string, family Family) ([]netip.Addr, error) {
	var (
		addresses []netip.Addr
		absent    error
	)
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if kind == dns.TypeA && family == IPv6 || kind == dns.TypeAAAA && family == IPv4 {
			continue
		}
		answer, err := c.Find(ctx, Question{Name: host, Type: kind})
		switch {
		case IsAbsent(err):
			absent = err
			continue
		case err != nil:
			return nil, err
		}
		for _, rr := range answer.Found() {
			if ip, ok := address(rr); ok {
				addresses = append(addresses, ip)
			}
		}
	}
	if len(addresses) == 0 {
		return nil, absent
	}
	return addresses, nil
}

// PTR returns the names of an address in reverse DNS, without the final dot.
func (c *Client) PTR(ctx context.Context, ip netip.Addr) ([]string, error) {
	answer, err := c.Find(ctx, Question{Name: ReverseName(ip), Type: dns.TypePTR})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, rr := range answer.Found() {
		names = append(names, strings.TrimSuffix(rr.(*dns.PTR).Ptr, "."))
	}
	return names, nil
}

// ReverseName returns the name with the PTR records of an address: "1.2.0.192.in-addr.arpa." (RFC 1035 section 3.5).
func ReverseName(ip netip.Addr) string {
	name, _ := dns.ReverseAddr(ip.Unmap().WithZone("").String()) // never fails for an address without a zone
	return name
}

// Text returns the content of a TXT record: its strings joined and without zone file escapes.
func Text(rr *dns.TXT) string {
	var text strings.Builder
	for _, s := range rr.Txt {
		unescape(&text, s)
	}
	return text.String()
}

// unescape reverts the escapes of the message parser: \" and \\ and \DDD (RFC 1035 section 5.1).
func unescape(to *strings.Builder, s string) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			to.WriteByte(s[i])
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			to.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			to.WriteByte(s[i])
		}
	}
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func address(rr dns.RR) (netip.Addr, bool) {
	var ip netip.Addr
	ok := false
	switch rr := rr.(type) {
	case *dns.A:
		ip, ok = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		ip, ok = netip.AddrFromSlice(rr.AAAA)
	}
	if !ok {
		return ip, false
	}
	if rr.Header().Rrtype == dns.TypeA {
		ip = ip.Unmap()
	}
	return ip, true
}
