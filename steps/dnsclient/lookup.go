package dnsclient

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Each of these asks the configured resolver. The error is an *Error, also when there is no such record: IsAbsent tells
// that apart from an answer that could not be had.

// TXT gives the TXT records of a name, the strings of each joined as SPF and DKIM want it (RFC 7208 section 3.3).
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

// MX gives the mail exchangers of a domain, the most preferred first.
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

// Addresses gives the addresses of a host, IPv4 first. family leaves one kind out. It asks DNS alone, never /etc/hosts.
// A kind that the host does not have is no error, unless it has none at all.
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

// PTR gives the names that an address has in reverse DNS, without the final dot.
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

// ReverseName is the name that holds the PTR records of an address: "1.2.0.192.in-addr.arpa." (RFC 1035 section 3.5).
func ReverseName(ip netip.Addr) string {
	name, _ := dns.ReverseAddr(ip.Unmap().WithZone("").String()) // an address without a zone always has one
	return name
}

// Text is the content of a TXT record: its strings joined, with what a zone file would escape written plainly.
func Text(rr *dns.TXT) string {
	var text strings.Builder
	for _, s := range rr.Txt {
		unescape(&text, s)
	}
	return text.String()
}

// unescape takes back what the parser of messages escapes: \" and \\ and \DDD (RFC 1035 section 5.1).
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
