package web

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The sentences about how a page arrived: its redirects, its connection, and what its header says about encoding and
// security. They judge the result of an earlier step and load nothing.

// webArrival describes how a page arrived. It is part of page.
type webArrival struct {
	begun     time.Time
	redirects []redirected // includes a last one that was not followed
}

// redirected is one redirect response.
type redirected struct {
	from   *url.URL
	status int
	to     *url.URL
}

func (r redirected) String() string {
	return fmt.Sprintf("%s with %d to %s", wording.URL(r.from), r.status, wording.URL(r.to))
}

// arrivalOf returns the arrival of a page from the browser's record of its navigation.
func arrivalOf(n *browser.Navigation) webArrival {
	a := webArrival{begun: n.Begun}
	for i, r := range n.Chain {
		if i == len(n.Chain)-1 {
			break
		}
		from, err := url.Parse(r.URL)
		to, toErr := url.Parse(n.Chain[i+1].URL)
		if err == nil && toErr == nil {
			a.redirects = append(a.redirects, redirected{from, r.Status, to})
		}
	}
	return a
}

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I should have been redirected from {url} with {int}",
			Does:    "Fails unless one of the redirects to the page came from this address (a whole address, or a path) with this status.",
			Example: `Then I should have been redirected from "http://www.example.org/" with 301`, Func: redirectedFrom},
		steps.Definition{Area: "web", Sentence: "I should not have been redirected",
			Does:    "Fails when a redirect led to the page.",
			Example: `Then I should not have been redirected`, Func: notRedirected},
		steps.Definition{Area: "web", Sentence: "the redirects should be:",
			Does: "Fails unless exactly these redirects led to the page, in this order. The table has the columns `status` and `location`, " +
				"the target of the redirect: a whole address, or a path on the host that responded. A redirect that is not followed counts as well.",
			Example: "Then the redirects should be:\n  | status | location |\n  | 301 | https://www.example.org/ |\n  | 302 | /en/ |", Func: redirectsShouldBe},

		steps.Definition{Area: "web", Sentence: "the response should use HTTP/{number}", Pattern: `^the response should use HTTP/(1\.0|1\.1|2|3)$`,
			Does:    "Fails unless the page was loaded over this version of HTTP.",
			Example: `Then the response should use HTTP/2`, Func: versionShouldBe},
		steps.Definition{Area: "web", Sentence: "the page should come from {text}",
			Does:    "Fails unless the server's IP address is this one, or in this network (\"192.0.2.0/24\"). Fails behind a proxy, where the address is unknown.",
			Example: `Then the page should come from "192.0.2.1"`, Func: comeFrom},
		steps.Definition{Area: "web", Sentence: "the page should come over {family}",
			Does:    "Fails unless the server's IP address is of this family. When a host has both, the machine chooses one; `I go to … over` chooses one.",
			Example: `Then the page should come over IPv6`, Func: comeOver},
		steps.Definition{Area: "web", Sentence: "the page should be compressed",
			Does:    "Fails unless the page's body was sent compressed (Content-Encoding).",
			Example: `Then the page should be compressed`, Func: compressed},

		steps.Definition{Area: "web", Sentence: "the host should insist on HTTPS for at least {duration}",
			Does:     "Fails unless the page was loaded over HTTPS and has a Strict-Transport-Security header (RFC 6797) with at least this max-age.",
			Measures: "Measurement http_strict_transport_security_seconds.",
			Example:  `Then the host should insist on HTTPS for at least 180 days`, Func: strictTransport},
		steps.Definition{Area: "web", Sentence: "the page should have the security headers",
			Does: "Fails unless the page has Content-Security-Policy, X-Content-Type-Options with nosniff, Referrer-Policy, a rule on who may frame it (frame-ancestors in the policy, " +
				"or X-Frame-Options) and, over HTTPS, Strict-Transport-Security. The error lists the missing headers.",
			Example: `Then the page should have the security headers`, Func: securityHeaders},
	)
}

func redirectedFrom(ctx context.Context, w *steps.World, a steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	status, err := a.Int(1)
	if err != nil {
		return err
	}
	wanted, err := url.Parse(a.Text(0))
	if err != nil || wanted.Host == "" && !strings.HasPrefix(wanted.Path, "/") {
		return steps.FailScenario("%q is neither a path nor a whole address: write it as \"http://www.example.org/\"", a.Text(0))
	}
	for _, r := range p.redirects {
		if sameAddress(r.from, wanted) && r.status == status {
			return nil
		}
	}
	return steps.Fail(result.ReasonRedirect, result.BlameWeb, "expect a redirect from %s with %d on the way to %s: %s", a.Text(0), status, p, theRedirects(p))
}

// sameAddress compares an address with one from a step, which may be a path on the same host.
func sameAddress(got, wanted *url.URL) bool {
	whole := *got.ResolveReference(wanted)
	if mendHost(&whole) != nil {
		return false
	}
	return httpwire.KeyOf(got) == httpwire.KeyOf(&whole) && got.EscapedPath() == whole.EscapedPath() && got.RawQuery == whole.RawQuery
}

// theRedirects describes the redirects that led to p.
func theRedirects(p *page) string {
	if len(p.redirects) == 0 {
		return "there was no redirect"
	}
	words := make([]string, len(p.redirects))
	for i, r := range p.redirects {
		words[i] = r.String()
	}
	return "it was redirected from " + strings.Join(words, ", from ")
}

func notRedirected(ctx context.Context, w *steps.World, _ steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil || len(p.redirects) == 0 {
		return err
	}
	return steps.Fail(result.ReasonRedirect, result.BlameWeb, "expect no redirect on the way to %s: %s", p, theRedirects(p))
}

func redirectsShouldBe(ctx context.Context, w *steps.World, a steps.Args) error {
	if len(a.Table) == 0 || !slices.Equal(a.Table[0], []string{"status", "location"}) {
		return steps.FailScenario("the step needs a table with the columns status and location")
	}
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	wanted := a.Table[1:]
	for i, row := range wanted {
		if len(row) != 2 {
			return steps.FailScenario("row %d of the table has %d cells, wanted status and location", i+1, len(row))
		}
		status, err := strconv.Atoi(row[0])
		if err != nil {
			return steps.FailScenario("%q is not a status: write it as 301", row[0])
		}
		location, err := url.Parse(row[1])
		if err != nil {
			return steps.FailScenario("%q is not an address", row[1])
		}
		if i >= len(p.redirects) {
			return steps.Fail(result.ReasonRedirect, result.BlameWeb, "expect %d redirects on the way to %s, got %d: %s", len(wanted), p, len(p.redirects), theRedirects(p))
		}
		if r := p.redirects[i]; r.status != status || !sameAddress(r.to, r.from.ResolveReference(location)) {
			return steps.Fail(result.ReasonRedirect, result.BlameWeb, "expect redirect %d on the way to %s to lead to %s with %d: %s", i+1, p, row[1], status, theRedirects(p))
		}
	}
	if len(p.redirects) > len(wanted) {
		return steps.Fail(result.ReasonRedirect, result.BlameWeb, "expect %d redirects on the way to %s, got %d: %s", len(wanted), p, len(p.redirects), theRedirects(p))
	}
	return nil
}

func versionShouldBe(ctx context.Context, w *steps.World, a steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	if got := strings.TrimSuffix(strings.TrimPrefix(p.Proto, "HTTP/"), ".0"); got != strings.TrimSuffix(a.Text(0), ".0") {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s over HTTP/%s, got %s", p, a.Text(0), p.Proto)
	}
	return nil
}

// remoteOf returns the IP address of the server that responded.
func remoteOf(p *page) (netip.Addr, error) {
	if p.Proxied {
		return netip.Addr{}, steps.Fail(result.ReasonConfig, result.BlameScenario, "the server address of %s is unknown: it was loaded through a proxy", p)
	}
	host, _, err := net.SplitHostPort(p.Remote)
	if err == nil {
		var address netip.Addr
		if address, err = netip.ParseAddr(host); err == nil {
			return address.Unmap(), nil
		}
	}
	return netip.Addr{}, steps.Fail(result.ReasonConfig, result.BlameScenario, "the server address of %s is unknown", p)
}

func comeFrom(ctx context.Context, w *steps.World, a steps.Args) error {
	var wanted netip.Prefix
	if address, err := netip.ParseAddr(a.Text(0)); err == nil {
		wanted = netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen())
	} else if wanted, err = netip.ParsePrefix(a.Text(0)); err != nil {
		return steps.FailScenario("%q is neither an address nor a network: write it as \"192.0.2.1\" or \"2001:db8::/32\"", a.Text(0))
	}
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	got, err := remoteOf(p)
	if err != nil || wanted.Contains(got) {
		return err
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to come from %s, got %s", p, a.Text(0), got)
}

func comeOver(ctx context.Context, w *steps.World, a steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	got, err := remoteOf(p)
	if err != nil || got.Is4() == (a.Text(0) == "IPv4") {
		return err
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to come over %s, got %s", p, a.Text(0), got)
}

func compressed(ctx context.Context, w *steps.World, _ steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	encoding, found := headerOf(p, "Content-Encoding")
	if !found || encoding == "" || strings.EqualFold(encoding, "identity") {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be compressed: it has no Content-Encoding", p)
	}
	return nil
}

// directives reads a header field of comma- or semicolon-separated directives: names in lower case, values unquoted.
func directives(field, separator string) map[string]string {
	of := map[string]string{}
	for directive := range strings.SplitSeq(field, separator) {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := of[name]; name != "" && !twice {
			of[name] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return of
}

// deltaSeconds reads delta-seconds (RFC 9111 section 1.2.2).
func deltaSeconds(text string) (time.Duration, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return time.Duration(n) * time.Second, err == nil
}

func strictTransport(ctx context.Context, w *steps.World, a steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	wanted, err := a.Duration(0)
	if err != nil {
		return err
	}
	const name = "Strict-Transport-Security"
	field, found := headerOf(p, name)
	switch {
	case p.url.Scheme != "https":
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to insist on HTTPS: it was loaded over plain HTTP, where browsers ignore the header", p)
	case !found:
		return noHeader(p, name)
	}
	got, valid := deltaSeconds(directives(field, ";")["max-age"])
	if !valid {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the header %q of %s to have a max-age in seconds, got %s", name, p, wording.Quote(field))
	}
	w.Measure("http_strict_transport_security_seconds", "How long browsers insist on HTTPS (max-age of Strict-Transport-Security).", got.Seconds())
	if got < wanted {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to insist on HTTPS for at least %s, got max-age %.0f (%s)", p, a.Text(0), got.Seconds(), got)
	}
	return nil
}

func securityHeaders(ctx context.Context, w *steps.World, _ steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	has := func(name string) bool { return p.Header[textproto.CanonicalMIMEHeaderKey(name)] != nil }
	policy, _ := headerOf(p, "Content-Security-Policy")
	options, _ := headerOf(p, "X-Content-Type-Options")
	var missing []string
	for _, wanted := range []struct {
		what  string
		there bool
	}{
		{"Content-Security-Policy", policy != ""},
		{"X-Content-Type-Options: nosniff", strings.EqualFold(options, "nosniff")},
		{"Referrer-Policy", has("Referrer-Policy")},
		{"X-Frame-Options (or frame-ancestors in the Content-Security-Policy)", has("X-Frame-Options") || strings.Contains(policy, "frame-ancestors")},
		{"Strict-Transport-Security", p.url.Scheme != "https" || has("Strict-Transport-Security")},
	} {
		if !wanted.there {
			missing = append(missing, wanted.what)
		}
	}
	if len(missing) > 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the security headers of %s: it lacks %s", p, strings.Join(missing, ", "))
	}
	return nil
}
