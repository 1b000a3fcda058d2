// Package framing determines whether a browser shows a page in a frame: from the policy of the page
// (Content-Security-Policy level 3 §6.4.2, frame-ancestors; RFC 7034, X-Frame-Options) and of the page around it
// (§6.1.5, frame-src).
//
// It reads header fields. It does not support policies in a meta element or paths in a policy's sources.
package framing

import (
	"net/http"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/steps/address"
)

// Refused returns the header field that forbids to show the response from an address in a frame within these pages, the
// innermost first. It returns "" when the frame is allowed.
func Refused(header http.Header, shown *address.URL, pages []*address.URL) string {
	governed := false
	for _, policy := range policies(header) {
		sources, found := policy["frame-ancestors"]
		if !found {
			continue
		}
		governed = true
		for _, page := range pages {
			if !allowed(sources, shown, page) {
				return "Content-Security-Policy: frame-ancestors " + strings.Join(sources, " ")
			}
		}
	}
	if governed {
		return "" // X-Frame-Options is then ignored (CSP §6.4.2.2)
	}
	for _, value := range header.Values("X-Frame-Options") {
		for option := range strings.SplitSeq(value, ",") {
			option = strings.TrimSpace(option)
			other := func(page *address.URL) bool { return page.Origin() != shown.Origin() }
			if strings.EqualFold(option, "DENY") || strings.EqualFold(option, "SAMEORIGIN") && slices.ContainsFunc(pages, other) {
				return "X-Frame-Options: " + option
			}
		}
	}
	return ""
}

// Forbidden returns the header field that forbids a page with this header and address to contain a frame with the other
// address. It returns "" when the frame is allowed.
func Forbidden(header http.Header, page, frame *address.URL) string {
	for _, policy := range policies(header) {
		for _, directive := range []string{"frame-src", "child-src", "default-src"} {
			sources, found := policy[directive]
			if !found {
				continue
			}
			if !allowed(sources, page, frame) {
				return "Content-Security-Policy: " + directive + " " + strings.Join(sources, " ")
			}
			break
		}
	}
	return ""
}

// policies parses the Content-Security-Policy fields: the sources of each directive by its name. The first directive of
// a name counts (CSP §2.2.1).
func policies(header http.Header) []map[string][]string {
	var all []map[string][]string
	for _, value := range header.Values("Content-Security-Policy") {
		for text := range strings.SplitSeq(value, ",") {
			policy := map[string][]string{}
			for directive := range strings.SplitSeq(text, ";") {
				words := strings.Fields(directive)
				if len(words) == 0 {
					continue
				}
				name := strings.ToLower(words[0])
				if _, again := policy[name]; !again {
					policy[name] = words[1:]
				}
			}
			all = append(all, policy)
		}
	}
	return all
}

// allowed reports whether one of the sources matches an address. self is the meaning of 'self'.
func allowed(sources []string, self, to *address.URL) bool {
	return slices.ContainsFunc(sources, func(source string) bool { return fits(strings.ToLower(source), self, to) })
}

// fits compares an address with one source of a policy (CSP §6.7.2.8).
func fits(source string, self, to *address.URL) bool {
	switch source {
	case "'self'":
		return self.Origin() == to.Origin() ||
			self.Hostname() == to.Hostname() && self.Port() == "" && to.Port() == "" && upgrades(self.Scheme, to.Scheme)
	case "*":
		return to.IsWeb()
	}
	if scheme, only := strings.CutSuffix(source, ":"); only {
		return upgrades(scheme, to.Scheme)
	}
	scheme, rest, found := strings.Cut(source, "://")
	if !found {
		scheme, rest = self.Scheme, source
	}
	if !upgrades(scheme, to.Scheme) {
		return false
	}
	rest, _, _ = strings.Cut(rest, "/")
	named := address.Reported(scheme + "://" + strings.Replace(rest, ":*", "", 1))
	if named.Hostname() == "" {
		return false
	}
	host := to.Hostname()
	if suffix, wild := strings.CutPrefix(named.Hostname(), "*"); wild {
		if !strings.HasSuffix(host, suffix) || len(host) == len(suffix) {
			return false
		}
	} else if host != named.Hostname() {
		return false
	}
	return strings.HasSuffix(rest, ":*") || port(named.Port(), scheme) == port(to.Port(), scheme) ||
		named.Port() == "" && port(to.Port(), to.Scheme) == port("", to.Scheme)
}

// upgrades reports whether a scheme is the wanted one or its secure form.
func upgrades(wanted, scheme string) bool {
	return wanted == scheme || wanted == "http" && scheme == "https"
}

func port(explicit, scheme string) string {
	switch {
	case explicit != "":
		return explicit
	case scheme == "https":
		return "443"
	}
	return "80"
}
