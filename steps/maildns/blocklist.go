package maildns

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Standing is what a blocklist says about an address.
type Standing int

// The standings. Only the first two say something about the address.
const (
	NotListed Standing = iota
	Listed
	Refusing // the list refuses our queries: too many queries, a public resolver, no subscription
	Broken   // the list does not work as RFC 5782 requires
	Unable   // the list works, but has no addresses of this family
)

// Listing is the answer of one list about one address.
type Listing struct {
	Standing Standing
	Codes    []string // as answered: 127.0.0.2
	Text     string   // the list's reason, or what is wrong with the list; may be empty
}

// refusals are the codes with which lists refuse a query (Spamhaus, and lists with the same convention).
var refusals = map[string]string{
	"127.255.255.252": "the name of the list is misspelt",
	"127.255.255.254": "it does not accept queries from public resolvers",
	"127.255.255.255": "too many queries were sent to it",
}

// CheckBlocklist queries a DNS blocklist for an address, and for the two test addresses that show whether the list
// works. A list that no longer works lists nothing or everything (RFC 5782 section 5).
func CheckBlocklist(ctx context.Context, lookup Lookup, list string, address netip.Addr) (Listing, error) {
	present, absent := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.1")
	if address.Is6() {
		present, absent = netip.MustParseAddr("::ffff:7f00:2"), netip.MustParseAddr("::ffff:7f00:1")
	}
	found, err := askBlocklist(ctx, lookup, list, address)
	if err != nil || found.Standing == Refusing || found.Standing == Broken {
		return found, err
	}
	test, err := askBlocklist(ctx, lookup, list, present)
	switch {
	case err != nil:
		return test, err
	case test.Standing == NotListed && address.Is6():
		return withoutIPv6(ctx, lookup, list)
	case test.Standing == NotListed:
		return nothingListed, nil
	case test.Standing != Listed:
		return test, nil
	}
	test, err = askBlocklist(ctx, lookup, list, absent)
	switch {
	case err != nil:
		return test, err
	case test.Standing == Listed:
		return Listing{Standing: Broken, Text: "it lists the test address that no list may contain (" + absent.String() + "), so it lists everything"}, nil
	case test.Standing != NotListed:
		return test, nil
	}
	return found, nil
}

// nothingListed is the Listing of a list that no longer works.
var nothingListed = Listing{Standing: Broken, Text: "it does not list the test address 127.0.0.2, so it lists nothing"}

// withoutIPv6 distinguishes a list without IPv6 addresses from an empty list.
func withoutIPv6(ctx context.Context, lookup Lookup, list string) (Listing, error) {
	test, err := askBlocklist(ctx, lookup, list, netip.MustParseAddr("127.0.0.2"))
	switch {
	case err != nil || test.Standing == Refusing || test.Standing == Broken:
		return test, err
	case test.Standing == Listed:
		return Listing{Standing: Unable, Text: "it does not list the test address ::FFFF:7F00:2, so it has no IPv6 addresses"}, nil
	default:
		return nothingListed, nil
	}
}

func askBlocklist(ctx context.Context, lookup Lookup, list string, address netip.Addr) (Listing, error) {
	name := blocklistName(address) + "." + list
	answer, err := lookup(ctx, name, dns.TypeA)
	if err != nil {
		return Listing{}, err
	}
	l := Listing{}
	for _, code := range addressesOf(answer.Records) {
		text := code.String()
		l.Codes = append(l.Codes, text)
		switch octets := code.As4(); {
		case octets[0] != 127:
			// An expired domain may resolve every name to the address of its reseller.
			return Listing{Standing: Broken, Codes: l.Codes, Text: "it answers " + text + ", which is not an answer of a blocklist (want 127.0.0.0/8): its domain may have a new owner"}, nil
		case octets[1] == 255 && octets[2] == 255:
			why, known := refusals[text]
			if !known {
				why = "it refuses to answer"
			}
			return Listing{Standing: Refusing, Codes: l.Codes, Text: why}, nil
		case text == "127.0.0.1":
			return Listing{Standing: Refusing, Codes: l.Codes, Text: "it refuses to answer, possibly because of a public resolver or too many queries"}, nil
		}
		l.Standing = Listed
	}
	if l.Standing != Listed {
		return l, nil
	}
	// The reason is in a TXT record at the same name. It is optional.
	if texts, err := lookup.texts(ctx, name); err == nil {
		l.Text = strings.Join(texts, "; ")
	}
	return l, nil
}

// blocklistName returns the address as lists write it (RFC 5782 sections 2.1 and 2.4): its bytes or nibbles in reverse.
func blocklistName(address netip.Addr) string {
	var parts []string
	if address.Is4() {
		octets := address.As4()
		for i := len(octets) - 1; i >= 0; i-- {
			parts = append(parts, fmt.Sprint(octets[i]))
		}
		return strings.Join(parts, ".")
	}
	bytes := address.As16()
	for i := len(bytes) - 1; i >= 0; i-- {
		parts = append(parts, fmt.Sprintf("%x.%x", bytes[i]&15, bytes[i]>>4))
	}
	return strings.Join(parts, ".")
}
