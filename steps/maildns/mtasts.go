package maildns

import (
	"bufio"
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stsLongest is the maximum of max_age (RFC 8461 section 3.2): one year.
const stsLongest = 31557600 * time.Second

// STSRecord is the TXT record that announces a policy (RFC 8461 section 3.1).
type STSRecord struct {
	Name string // _mta-sts.example.org
	ID   string // changes whenever the policy does
	Findings
}

// CheckSTSRecord reads and lints the record of a domain.
func CheckSTSRecord(ctx context.Context, lookup Lookup, domain string) (*STSRecord, error) {
	s := &STSRecord{Name: "_mta-sts." + domain}
	texts, err := lookup.texts(ctx, s.Name)
	if err != nil {
		return s, err
	}
	record := only(texts, s.Name, "STSv1", &s.Findings)
	if record == "" {
		return s, nil
	}
	tags := parseTags(record, &s.Findings)
	s.ID = tags.value("id")
	if len(s.ID) < 1 || len(s.ID) > 32 || !alphanumeric(s.ID) {
		s.fault("id=%s: want 1 to 32 letters and digits, with a new value whenever the policy changes", oneWord(s.ID))
	}
	return s, nil
}

func alphanumeric(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}

// STSPolicy is what senders must require of a domain's MX hosts (RFC 8461 section 3.2).
type STSPolicy struct {
	Mode   string // enforce, testing or none; empty if it is invalid
	MaxAge time.Duration
	MX     []string // names and patterns, in lower case
	Findings
}

// ParseSTSPolicy parses and lints a policy file.
func ParseSTSPolicy(body []byte) *STSPolicy {
	p := &STSPolicy{}
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, int(STSPolicyLimit.Most)+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if line == "" {
			continue
		}
		key, value, found := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case !found || key == "" || strings.ContainsAny(key, " \t<"):
			p.fault("line %d is %s: want \"key: value\"", n, quote(line))
			continue
		case key == "mx":
			p.pattern(value)
			continue
		case seen[key]:
			p.fault("%s occurs twice", oneWord(key))
			continue
		}
		if !seen["version"] && key != "version" {
			p.fault(`it does not begin with "version: STSv1"`)
			seen["version"] = true
		}
		seen[key] = true
		p.field(key, value)
	}
	if lines.Err() != nil {
		p.fault("%v", STSPolicyLimit.Exceeded())
	}
	for _, key := range []string{"version", "mode", "max_age"} {
		if !seen[key] {
			p.fault("it has no %s", key)
		}
	}
	if len(p.MX) == 0 && p.Mode != "none" {
		p.fault("it has no mx: add one line for each MX host")
	}
	return p
}

func (p *STSPolicy) field(key, value string) {
	switch key {
	case "version":
		if value != "STSv1" {
			p.fault("version is %s, want STSv1", quote(value))
		}
	case "mode":
		if !slices.Contains([]string{"enforce", "testing", "none"}, value) {
			p.fault("mode is %s, want enforce, testing or none", quote(value))
			return
		}
		p.Mode = value
	case "max_age":
		seconds, err := strconv.ParseUint(value, 10, 32)
		if err != nil || time.Duration(seconds)*time.Second > stsLongest || len(value) > 10 {
			p.fault("max_age is %s, want at most 31557600 seconds", quote(value))
			return
		}
		p.MaxAge = time.Duration(seconds) * time.Second
		if p.MaxAge < 24*time.Hour {
			p.advise("max_age is %s: senders forget the policy within a day, and an attacker only has to wait (RFC 8461 section 10.2 recommends weeks)", p.MaxAge)
		}
	default:
		p.advise("senders ignore %s", oneWord(key))
	}
}

// pattern reads the name of an MX host. Its leftmost label may be an asterisk.
func (p *STSPolicy) pattern(value string) {
	host := strings.TrimPrefix(value, "*.")
	if host == "" || !strings.Contains(host, ".") || strings.HasSuffix(host, ".") || strings.Contains(host, "..") || strings.HasPrefix(host, ".") ||
		!alphanumeric(strings.NewReplacer(".", "", "-", "", "_", "").Replace(host)) {
		p.fault("mx is %s: want a host name, with or without *. before it", quote(value))
		return
	}
	p.MX = append(p.MX, strings.ToLower(value))
}

// allows reports whether the policy allows senders to use an MX host (RFC 8461 section 4.1). An asterisk matches
// exactly one label.
func (p *STSPolicy) allows(host string) bool {
	host = Canonical(host)
	return slices.ContainsFunc(p.MX, func(pattern string) bool { return stsMatches(pattern, host) })
}

func stsMatches(pattern, host string) bool {
	if above, wild := strings.CutPrefix(pattern, "*."); wild {
		label, rest, _ := strings.Cut(host, ".")
		return label != "" && rest == above
	}
	return pattern == host
}

// CompareMX lints the policy against the MX hosts in DNS.
func (p *STSPolicy) CompareMX(hosts []string) {
	if len(p.MX) == 0 {
		return // reported before
	}
	for _, host := range hosts {
		if p.Mode != "none" && !p.allows(host) {
			p.fault("the MX host %s is not among its mx (%s): senders that honour the policy do not deliver to it", Canonical(host), strings.Join(p.MX, ", "))
		}
	}
	for _, pattern := range p.MX {
		if !slices.ContainsFunc(hosts, func(host string) bool { return stsMatches(pattern, Canonical(host)) }) {
			p.advise("mx: %s matches no MX host", pattern)
		}
	}
}

// TLSRPT says where senders report about TLS to a domain (RFC 8460 section 3).
type TLSRPT struct {
	Name    string   // _smtp._tls.example.org
	Reports []string // mailto: and https: URIs
	Findings
}

// CheckTLSRPT reads and lints the record of a domain.
func CheckTLSRPT(ctx context.Context, lookup Lookup, domain string) (*TLSRPT, error) {
	t := &TLSRPT{Name: "_smtp._tls." + domain}
	texts, err := lookup.texts(ctx, t.Name)
	if err != nil {
		return t, err
	}
	record := only(texts, t.Name, "TLSRPTv1", &t.Findings)
	if record == "" {
		return t, nil
	}
	tags := parseTags(record, &t.Findings)
	for uri := range strings.SplitSeq(tags.value("rua"), ",") {
		uri = strings.TrimSpace(uri)
		_, mail := mailtoDomain(uri)
		host, web := strings.CutPrefix(strings.ToLower(uri), "https://")
		if !mail && (!web || host == "" || host[0] == '/') {
			t.fault("rua=%s: want mailto: with an address, or an https: address", oneWord(uri))
			continue
		}
		t.Reports = append(t.Reports, uri)
	}
	return t, nil
}
