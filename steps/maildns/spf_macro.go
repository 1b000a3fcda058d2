package maildns

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// spfMacros are the values of the macros in a record (RFC 7208 section 7.2).
type spfMacros struct {
	sender Sender
	domain string        // the domain of the record
	name   func() string // the sender's validated name, for which %{p} needs look-ups
}

// expand replaces macros by their values. macroString must have accepted text. A name that is too long loses its first
// labels (RFC 7208 section 7.3).
func (m spfMacros) expand(text string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "%")
		out.WriteString(before)
		if !found {
			break
		}
		switch after[0] {
		case '%':
			out.WriteByte('%')
		case '_':
			out.WriteByte(' ')
		case '-':
			out.WriteString("%20")
		default:
			body, rest, _ := strings.Cut(after[1:], "}")
			out.WriteString(m.value(body))
			text = rest
			continue
		}
		text = after[1:]
	}
	name := out.String()
	for len(strings.TrimSuffix(name, ".")) > 253 {
		_, rest, found := strings.Cut(name, ".")
		if !found {
			break
		}
		name = rest
	}
	return name
}

// value returns the value of one macro. body is the macro without its braces: a letter and transformers.
func (m spfMacros) value(body string) string {
	local, domain := m.sender.mailbox()
	value := ""
	switch body[0] | 0x20 {
	case 's':
		value = local + "@" + domain
	case 'l':
		value = local
	case 'o':
		value = domain
	case 'd':
		value = m.domain
	case 'i':
		value = macroAddress(m.sender.Address)
	case 'p':
		value = m.name()
	case 'v':
		value = "ip6"
		if m.sender.Address.Is4() {
			value = "in-addr"
		}
	case 'h':
		value = m.sender.HELO
	}
	delimiters := strings.TrimLeft(body[1:], "0123456789")
	digits := body[1 : len(body)-len(delimiters)]
	reversed := delimiters != "" && delimiters[0]|0x20 == 'r'
	if reversed {
		delimiters = delimiters[1:]
	}
	if digits != "" || reversed || delimiters != "" {
		if delimiters == "" {
			delimiters = "."
		}
		parts := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(delimiters, r) })
		if reversed {
			slices.Reverse(parts)
		}
		if most, err := strconv.Atoi(digits); err == nil && most < len(parts) { // digits that are not a number exceed any count
			parts = parts[len(parts)-most:]
		}
		value = strings.Join(parts, ".")
	}
	if body[0] >= 'A' && body[0] <= 'Z' {
		value = strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
	}
	return value
}

// macroAddress returns an address for the macro i: for IPv6, all nibbles separated by dots.
func macroAddress(address netip.Addr) string {
	if address.Is4() {
		return address.String()
	}
	var parts []string
	for _, b := range address.As16() {
		parts = append(parts, fmt.Sprintf("%x.%x", b>>4, b&15))
	}
	return strings.Join(parts, ".")
}
