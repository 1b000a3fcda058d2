// Package target reads the targets of probes, decides which of them the configuration allows, and puts one into a scenario.
//
// A target comes from whoever can reach the agent's port. So it names a host and nothing else, and only what the configuration
// lists may be asked: everything else would let others send requests with stepwatch into networks that only it can reach.
package target

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/features"
)

// Placeholder is the host in the steps of a scenario that a target replaces. No such host exists (RFC 2606, section 2), so a run
// without a target fails and asks nobody.
const Placeholder = "target.invalid"

// Target is a host, with a port and the scheme of a website if they were named.
type Target struct {
	Scheme string // "http", "https" or empty
	Host   string // in lower case, an IPv6 address without brackets
	Port   string // or empty
}

const form = "write it as www.example.org, mx1.example.org:25 or https://www.example.org"

// Parse reads a target.
func Parse(text string) (Target, error) { return parse(text, false) }

// parse reads a target, or a pattern of targets.
func parse(text string, pattern bool) (Target, error) {
	refuse := func(why string) (Target, error) {
		return Target{}, fmt.Errorf("the target %q %s: %s", shorten(text), why, form)
	}
	var t Target
	rest := text
	if scheme, after, found := strings.Cut(text, "://"); found {
		t.Scheme, rest = strings.ToLower(scheme), strings.TrimSuffix(after, "/")
		if t.Scheme != "http" && t.Scheme != "https" {
			return refuse("has a scheme that is not http or https")
		}
	}
	if strings.ContainsAny(rest, "/?#@\\ ") {
		return refuse("has more than a host and a port")
	}
	host, port := rest, ""
	switch colon := strings.LastIndexByte(rest, ':'); {
	case strings.HasPrefix(rest, "["):
		end := strings.IndexByte(rest, ']')
		if end < 0 || rest[end+1:] != "" && rest[end+1] != ':' {
			return refuse("has a bracket that does not close an IPv6 address")
		}
		if host = rest[1:end]; rest[end+1:] != "" {
			port = rest[end+2:]
		}
	case colon >= 0 && strings.Count(rest, ":") == 1:
		host, port = rest[:colon], rest[colon+1:]
	}
	if n, err := strconv.ParseUint(port, 10, 16); rest != host && !strings.HasSuffix(rest, "]") && (err != nil || n == 0 || port[0] == '+') {
		return refuse("has a port that is not a number from 1 to 65535")
	}
	t.Host, t.Port = strings.ToLower(host), port
	if strings.Contains(host, ":") {
		address, err := netip.ParseAddr(host)
		if err != nil || address.Zone() != "" {
			return refuse("has no IPv6 address between its colons")
		}
		t.Host = address.String()
		return t, nil
	}
	if !isHost(t.Host, pattern) {
		return refuse("has no host name")
	}
	return t, nil
}

// isHost reports whether text is a host name or an IPv4 address, or with asterisks a pattern of them.
func isHost(text string, pattern bool) bool {
	if text == "" || len(text) > 253 {
		return false
	}
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '*' && pattern) {
				return false
			}
		}
	}
	return true
}

// String returns the target in one form.
func (t Target) String() string {
	text := t.hostPort(t.Port)
	if t.Scheme != "" {
		text = t.Scheme + "://" + text
	}
	return text
}

// hostPort returns the host with a port, if that is not empty.
func (t Target) hostPort(port string) string {
	host := t.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return host
}

// List has the targets that are allowed.
type List []Target

// ParseList reads the targets of a configuration. In a host an asterisk stands for one or more characters but dots:
// "*.example.org", "mx*.example.org", "10.0.0.*".
func ParseList(texts []string) (List, error) {
	var l List
	for _, text := range texts {
		t, err := parse(text, true)
		if err != nil {
			return nil, err
		}
		labels := strings.Split(t.Host, ".")
		if last := labels[len(labels)-1]; strings.Contains(last, "*") && !numbers(labels[:len(labels)-1]) {
			return nil, fmt.Errorf("the target %q would allow hosts of every domain: name the domain, as in \"*.example.org\"", text)
		}
		if len(labels) > 1 && len(labels) < 3 && strings.Contains(labels[0], "*") {
			return nil, fmt.Errorf("the target %q would allow every host of a top-level domain: name the domain, as in \"*.example.org\"", text)
		}
		l = append(l, t)
	}
	return l, nil
}

// numbers reports whether labels are the first three of an IPv4 address.
func numbers(labels []string) bool {
	for _, label := range labels {
		if _, err := strconv.ParseUint(label, 10, 8); err != nil {
			return false
		}
	}
	return len(labels) == 3
}

// Allows reports whether a target is one of the list: with the same port and scheme, or both without.
func (l List) Allows(t Target) bool {
	for _, one := range l {
		if one.Scheme == t.Scheme && one.Port == t.Port && fits(one.Host, t.Host) {
			return true
		}
	}
	return false
}

// fits reports whether a host fits a pattern, label by label.
func fits(pattern, host string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == host
	}
	patterns, labels := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(patterns) != len(labels) {
		return false
	}
	for i := range labels {
		if !fitsLabel(patterns[i], labels[i]) {
			return false
		}
	}
	return true
}

// fitsLabel reports whether a label fits a pattern, in which each asterisk stands for at least one character.
func fitsLabel(pattern, label string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == label
	}
	label, found := strings.CutPrefix(label, parts[0])
	if !found {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		if label == "" {
			return false
		}
		i := strings.Index(label[1:], part)
		if i < 0 {
			return false
		}
		label = label[1+i+len(part):]
	}
	last := parts[len(parts)-1]
	return len(label) > len(last) && strings.HasSuffix(label, last)
}

// Into returns a copy of a scenario with the target in it: as the host of @base, and instead of the placeholder in its steps,
// with their tables and texts. What the target does not name stays: the port and the scheme of @base. It is an error if there is
// no place for the target, or none for its port or scheme, because it would then be asked something else than is meant.
func (t Target) Into(s *features.Scenario) (*features.Scenario, error) {
	with := *s
	var placed, port, scheme bool
	if base, err := url.Parse(s.Policy.Base); err == nil && s.Policy.Base != "" {
		base.Host = t.hostPort(either(t.Port, base.Port()))
		if placed, port = true, true; t.Scheme != "" {
			base.Scheme, scheme = t.Scheme, true
			if t.Port == "" {
				base.Host = t.hostPort("")
			}
		}
		with.Policy.Base = base.String()
	}
	in := func(text string) string {
		text, found, withPort := t.replace(text)
		placed, port = placed || found, port || withPort
		return text
	}
	with.Steps = make([]features.Step, len(s.Steps))
	for i, step := range s.Steps {
		before := step.Text
		if step.Text = in(before); step.Text != before {
			step.Values = nil // their places have moved
		}
		if d := step.DocString; d != nil {
			copied := *d
			copied.Content = in(d.Content)
			step.DocString = &copied
		}
		if step.Table != nil {
			table := make([][]string, len(step.Table))
			for row, cells := range step.Table {
				for _, cell := range cells {
					table[row] = append(table[row], in(cell))
				}
			}
			step.Table = table
		}
		with.Steps[i] = step
	}
	switch {
	case !placed:
		return nil, fmt.Errorf("the scenario has no place for a target: tag it @base:https://www.example.org, whose host the target replaces, or use the host %s in its steps", Placeholder)
	case t.Port != "" && !port:
		return nil, errors.New("the scenario has no place for the port of the target: leave the port out, it is in the steps")
	case t.Scheme != "" && !scheme:
		return nil, errors.New("the scenario has no @base, and so no place for the scheme of the target: leave out " + t.Scheme + "://")
	}
	return &with, nil
}

// replace puts the target into a text. Its port is used where an address has none.
func (t Target) replace(text string) (replaced string, found, port bool) {
	var b strings.Builder
	for {
		i := indexHost(text)
		if i < 0 {
			b.WriteString(text)
			return b.String(), found, port
		}
		before, after := text[:i], text[i+len(Placeholder):]
		b.WriteString(before)
		address := strings.HasSuffix(before, "//") || strings.HasSuffix(before, "@")
		own := len(after) > 1 && after[0] == ':' && '0' <= after[1] && after[1] <= '9'
		switch {
		case address && !own:
			b.WriteString(t.hostPort(t.Port))
			port = port || t.Port != ""
		case address || own:
			b.WriteString(t.hostPort(""))
		default:
			b.WriteString(t.Host)
		}
		found, text = true, after
	}
}

// indexHost returns where the placeholder is in a text as a whole host name, or -1.
func indexHost(text string) int {
	lower := asciiLower(text)
	for from := 0; ; {
		i := strings.Index(lower[from:], Placeholder)
		if i < 0 {
			return -1
		}
		i += from
		end := i + len(Placeholder)
		if (i == 0 || !inName(lower[i-1])) && (end == len(lower) || !inName(lower[end]) || lower[end] == '.' && (end+1 == len(lower) || !inName(lower[end+1]))) {
			return i
		}
		from = i + 1
	}
}

func inName(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_'
}

// asciiLower returns text of the same length with small letters.
func asciiLower(text string) string {
	lower := []byte(text)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// shorten returns the beginning of what somebody sent.
func shorten(text string) string {
	if len(text) > 100 {
		return text[:100] + "…"
	}
	return text
}
