package maildns

import (
	"net/netip"
	"strconv"
	"strings"
)

// spfTerm is one mechanism or modifier of a record.
type spfTerm struct {
	text      string // as written
	qualifier byte   // of a mechanism: + - ~ ?
	name      string // in lower case
	domain    string // with unexpanded macros, or empty
	prefix    netip.Prefix
	bits      [2]int // of a and mx: the prefix lengths for IPv4 and IPv6
}

// spfProblem says why a term is invalid.
type spfProblem struct{ kind, text string }

// The kinds of problems, for a verdict. The text has the details.
const (
	spfUnknownTerm = "unknown field"
	spfBadAddress  = "invalid ipX value"
	spfBadPrefix   = "invalid mask"
	spfBadMacro    = "invalid macro"
	spfBadDomain   = "invalid domain"
	spfNotASCII    = "invalid character"
)

// parseSPF parses the terms of a record that begins with "v=spf1" (RFC 7208 section 12). An invalid term is a fault and
// left out. A record with an invalid term is a permerror, whatever terms precede it (RFC 7208 section 4.6): broken is
// the kind of the first problem.
func parseSPF(record string, f *Findings) (terms []spfTerm, broken string) {
	breaks := func(kind string) {
		if broken == "" {
			broken = kind
		}
	}
	if strings.ContainsFunc(record, func(c rune) bool { return c < ' ' || c > '~' }) {
		breaks(spfNotASCII)
		f.fault("it has characters other than printable ASCII")
	}
	var (
		hasAll    bool
		modifiers = map[string]bool{}
	)
	for i, text := range strings.Split(record, " ") {
		if i == 0 || text == "" {
			continue
		}
		if name, value, is := strings.Cut(text, "="); is && spfMechanisms[strings.ToLower(name)] { // receivers read it as an unknown modifier
			f.fault("%s: receivers ignore it: write it with a colon, %s:%s", oneWord(text), strings.ToLower(name), oneWord(value))
			continue
		}
		t, problem := parseSPFTerm(text)
		switch {
		case problem.text != "":
			breaks(problem.kind)
			f.fault("%s: %s", oneWord(text), problem.text)
			continue
		case t.qualifier == 0:
			if t.name != "redirect" && t.name != "exp" {
				f.advise("receivers ignore %s", oneWord(text))
				continue
			}
			if modifiers[t.name] {
				breaks(spfBadDomain)
				f.fault("%s= occurs twice", t.name)
				continue
			}
			modifiers[t.name] = true
		case hasAll:
			f.advise("%s is after all and is never evaluated", oneWord(text))
		}
		hasAll = hasAll || t.name == "all"
		if (t.name == "ip4" || t.name == "ip6") && t.qualifier == '+' {
			if least := map[string]int{"ip4": 8, "ip6": 16}[t.name]; t.prefix.Bits() < least {
				f.fault("%s permits a large part of the Internet to send", t.text)
			}
		}
		terms = append(terms, t)
	}
	if hasAll && modifiers["redirect"] {
		f.advise("redirect= is ignored because there is an all")
	}
	return terms, broken
}

var spfMechanisms = map[string]bool{"all": true, "include": true, "a": true, "mx": true, "ptr": true, "ip4": true, "ip6": true, "exists": true}

// parseSPFTerm parses one term. The problem says what is wrong with it.
func parseSPFTerm(text string) (t spfTerm, problem spfProblem) {
	t.text = text
	rest := text
	split := strings.IndexAny(rest, ":/=")
	if split >= 0 && rest[split] == '=' {
		t.name = strings.ToLower(rest[:split])
		switch t.name {
		case "redirect", "exp":
			t.domain = rest[split+1:]
			return t, domainSpec(t.domain)
		}
		if !spfName(t.name) {
			return t, spfProblem{spfUnknownTerm, "not a valid term"}
		}
		return t, macroString(rest[split+1:], true)
	}
	t.qualifier = '+'
	if strings.ContainsRune("+-~?", rune(rest[0])) {
		t.qualifier, rest = rest[0], rest[1:]
	}
	name, value := rest, ""
	if split := strings.IndexAny(rest, ":/"); split >= 0 {
		name, value = rest[:split], rest[split:]
	}
	t.name = strings.ToLower(name)
	switch t.name {
	case "all":
		if value != "" {
			return t, spfProblem{spfUnknownTerm, "all takes no value"}
		}
		return t, problem
	case "include", "exists":
		domain, found := strings.CutPrefix(value, ":")
		if !found {
			return t, spfProblem{spfUnknownTerm, "it needs a domain: " + t.name + ":example.org"}
		}
		t.domain = domain
		return t, domainSpec(domain)
	case "ptr":
		if value == "" {
			return t, problem
		}
		t.domain = strings.TrimPrefix(value, ":")
		if !strings.HasPrefix(value, ":") {
			return t, spfProblem{spfUnknownTerm, "not a domain"}
		}
		return t, domainSpec(t.domain)
	case "a", "mx":
		domain, problem := t.cutPrefixLengths(value)
		if problem.text != "" || domain == "" {
			return t, problem
		}
		t.domain = domain[1:]
		return t, domainSpec(t.domain)
	case "ip4", "ip6":
		address, found := strings.CutPrefix(value, ":")
		if !found || address == "" {
			return t, spfProblem{spfBadAddress, "it needs an address"}
		}
		return t, t.network(address)
	case "ip", "ipv4", "ipv6":
		return t, spfProblem{spfUnknownTerm, "not a mechanism: write ip4: or ip6:"}
	default:
		return t, spfProblem{spfUnknownTerm, "not a mechanism"}
	}
}

// network parses the address of ip4 and ip6.
func (t *spfTerm) network(text string) spfProblem {
	address, length, hasLength := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil || ip.Zone() != "":
		return spfProblem{spfBadAddress, "not an IP address"}
	case t.name == "ip4" && !ip.Is4():
		return spfProblem{spfBadAddress, "not an IPv4 address: write ip6:"}
	case t.name == "ip6" && ip.Is4():
		return spfProblem{spfBadAddress, "not an IPv6 address: write ip4:"}
	}
	bits := ip.BitLen()
	if hasLength {
		n, ok := prefixLength(length, bits)
		if !ok {
			return spfProblem{spfBadPrefix, "want a prefix length from 0 to " + strconv.Itoa(bits)}
		}
		bits = n
	}
	t.prefix = netip.PrefixFrom(ip, bits)
	return spfProblem{}
}

func prefixLength(text string, most int) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= most && strconv.Itoa(n) == text
}

// cutPrefixLengths cuts "/24", "//64" or "/24//64" from the end of the value of a or mx. A domain may contain slashes
// too, in a macro and before its last dot.
func (t *spfTerm) cutPrefixLengths(value string) (domain string, problem spfProblem) {
	t.bits = [2]int{32, 128}
	end := strings.LastIndexAny(value, "}.") + 1
	slash := strings.IndexByte(value[end:], '/')
	if slash < 0 {
		domain = value
	} else {
		domain = value[:end+slash]
		v4, v6, dual := strings.Cut(value[end+slash:], "//")
		var ok bool
		if v4 != "" {
			if t.bits[0], ok = prefixLength(v4[1:], 32); !ok {
				return "", spfProblem{spfBadPrefix, "want a prefix length from 0 to 32 after /"}
			}
		}
		if dual {
			if t.bits[1], ok = prefixLength(v6, 128); !ok {
				return "", spfProblem{spfBadPrefix, "want a prefix length from 0 to 128 after //"}
			}
		}
	}
	if domain == ":" {
		return "", spfProblem{spfBadDomain, "it has a colon but no domain"}
	}
	return domain, spfProblem{}
}

func spfName(name string) bool {
	for i, c := range name {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return name != ""
}

// domainSpec returns what is wrong with a domain that may have macros (RFC 7208 section 7.1).
func domainSpec(domain string) spfProblem {
	if problem := macroString(domain, false); problem.text != "" {
		return problem
	}
	if strings.HasSuffix(domain, "}") {
		return spfProblem{}
	}
	plain := strings.TrimSuffix(domain, ".")
	labels := strings.Split(plain, ".")
	top := labels[len(labels)-1]
	switch {
	case plain == "":
		return spfProblem{spfBadDomain, "it has no domain"}
	case len(plain) > 253 && !strings.Contains(plain, "%"):
		return spfProblem{spfBadDomain, "the domain is longer than 253 characters"}
	case len(labels) < 2:
		return spfProblem{spfBadDomain, "the domain has no dot"}
	case strings.Trim(top, "0123456789") == "":
		return spfProblem{spfBadDomain, "the domain ends in a number: write an address with ip4: or ip6:"}
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 && !strings.Contains(label, "%") {
			return spfProblem{spfBadDomain, "the domain has an empty or too long label"}
		}
	}
	if strings.Trim(strings.ToLower(top), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || top[0] == '-' || top[len(top)-1] == '-' {
		return spfProblem{spfBadDomain, "the domain does not end in a top-level domain"}
	}
	return spfProblem{}
}

// macroString returns what is wrong with the macros in a text (RFC 7208 section 7.1).
func macroString(text string, explanation bool) spfProblem {
	letters := "slodiphv"
	if explanation {
		letters += "crt"
	}
	for {
		at := strings.IndexByte(text, '%')
		if at < 0 {
			return spfProblem{}
		}
		text = text[at+1:]
		if text == "" {
			return spfProblem{spfBadMacro, "a % without a macro"}
		}
		if strings.IndexByte("%_-", text[0]) >= 0 {
			text = text[1:]
			continue
		}
		body, rest, closed := strings.Cut(text, "}")
		if text[0] != '{' || !closed || len(body) < 2 {
			return spfProblem{spfBadMacro, "write a macro as %{i}"}
		}
		if !strings.ContainsRune(letters, rune(body[1]|0x20)) {
			return spfProblem{spfBadMacro, "%" + oneWord(body) + "} is not a macro"}
		}
		transform := strings.TrimLeft(body[2:], "0123456789")
		if len(body[2:]) != len(transform) && strings.Trim(body[2:len(body)-len(transform)], "0") == "" {
			return spfProblem{spfBadMacro, "%" + body + "} keeps no part of the name"}
		}
		if transform != "" && transform[0]|0x20 == 'r' {
			transform = transform[1:]
		}
		if strings.Trim(transform, ".-+,/_=") != "" {
			return spfProblem{spfBadMacro, "%" + oneWord(body) + "} is not a macro"}
		}
		text = rest
	}
}
