package maildns

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// Standing is what a blocklist says of an address.
type Standing int

// The standings. Only the first two say anything of the address.
const (
	NotListed Standing = iota
	Listed
	Refusing // the list does not answer us: too many questions, a public resolver, no subscription
	Broken   // the list does not work as RFC 5782 wants it
	Unable   // the list works, but has no addresses of that family
)

// Listing is the answer of one list about one address.
type Listing struct {
	Standing Standing
	Codes    []string // as answered: 127.0.0.2
	Text     string   // what the list says about it, or what is wrong with the list; may be empty
}

// refusals are the answers by which lists say that they do not answer (Spamhaus and those that follow it).
var refusals = map[string]string{
	"127.255.255.252": "the name of the list is misspelt",
	"127.255.255.254": "it takes no questions from public resolvers",
	"127.255.255.255": "it was asked too often",
}

// CheckBlocklist asks a DNS blocklist about an address, and about the two test addresses that tell a working list from one
// that is gone: such a list lists nothing, or everything (RFC 5782 section 5).
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
		return Listing{Standing: Broken, Text: "it lists the test address that no list may have (" + absent.String() + "), so it lists everything"}, nil
	case test.Standing != NotListed:
		return test, nil
	}
	return found, nil
}

// nothingListed is what a list that is gone looks like.
var nothingListed = Listing{Standing: Broken, Text: "it does not list the test address 127.0.0.2, so it lists nothing"}

// withoutIPv6 tells a list that has no IPv6 addresses from one that has none at all.
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
			// A domain that was given up answers every name with the address of whoever sells it.
			return Listing{Standing: Broken, Codes: l.Codes, Text: "it answers " + text + ", which is no answer of a blocklist (wanted 127.0.0.0/8): its domain may have changed hands"}, nil
		case octets[1] == 255 && octets[2] == 255:
			why, known := refusals[text]
			if !known {
				why = "it refuses to answer"
			}
			return Listing{Standing: Refusing, Codes: l.Codes, Text: why}, nil
		case text == "127.0.0.1":
			return Listing{Standing: Refusing, Codes: l.Codes, Text: "it refuses to answer, as to a public resolver or after too many questions"}, nil
		}
		l.Standing = Listed
	}
	if l.Standing != Listed {
		return l, nil
	}
	// Why is written beside it. That it cannot be had changes nothing.
	if texts, err := lookup.texts(ctx, name); err == nil {
		l.Text = strings.Join(texts, "; ")
	}
	return l, nil
}

// blocklistName is the address as lists have it (RFC 5782 sections 2.1 and 2.4): its bytes or half bytes backwards.
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
