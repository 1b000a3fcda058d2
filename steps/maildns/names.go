package maildns

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// Names are the addresses of a host and their names (PTR).
type Names struct {
	Host      string
	Addresses []netip.Addr // IPv4 first
	Findings
}

// CheckNames checks that every address of a host has the host's name and no other, which mail servers require of each
// other.
func CheckNames(ctx context.Context, lookup Lookup, host string) (*Names, error) {
	n := &Names{Host: Canonical(host)}
	v4, v6, err := lookup.addresses(ctx, n.Host)
	if err != nil {
		return n, err
	}
	n.Addresses = append(v4, v6...)
	if len(n.Addresses) == 0 {
		n.fault("%s has no address", n.Host)
	}
	for _, address := range n.Addresses {
		if err := n.check(ctx, lookup, address); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (n *Names) check(ctx context.Context, lookup Lookup, address netip.Addr) error {
	answer, err := lookup(ctx, dnsclient.ReverseName(address), dns.TypePTR)
	if err != nil {
		return err
	}
	var names []string
	for _, rr := range answer.Records {
		if ptr, is := rr.(*dns.PTR); is {
			names = append(names, Canonical(ptr.Ptr))
		}
	}
	switch {
	case len(names) == 0:
		n.fault("%s has no name: ask the provider of the address for a PTR record with %s", address, n.Host)
		return nil
	case slices.Contains(names, n.Host):
		if len(names) > 1 {
			n.advise("%s has %s, and some receivers check only one: %s", address, plural(len(names), "name", "names"), strings.Join(names, ", "))
		}
		return nil
	}
	for _, name := range names {
		v4, v6, err := lookup.addresses(ctx, name)
		if err != nil {
			return err
		}
		if slices.Contains(append(v4, v6...), address) {
			n.fault("%s has the name %s, want %s (that name resolves to the address, so only the names differ)", address, name, n.Host)
			return nil
		}
	}
	n.fault("%s has the name %s, want %s (and that name does not resolve to the address)", address, strings.Join(names, ", "), n.Host)
	return nil
}
