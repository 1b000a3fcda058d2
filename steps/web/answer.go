package web

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/parameter"
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
	from   *address.URL
	status int
	to     *address.URL
}

func (r redirected) String() string {
	return fmt.Sprintf("%s with %d to %s", r.from, r.status, r.to)
}

// arrivalOf returns the arrival of a page from the browser's record of its navigation.
func arrivalOf(n *browser.Navigation) webArrival {
	a := webArrival{begun: n.Begun}
	for i, r := range n.Chain {
		if i == len(n.Chain)-1 {
			break
		}
		a.redirects = append(a.redirects, redirected{address.Reported(r.URL), r.Status, address.Reported(n.Chain[i+1].URL)})
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
	if !isPathOrWhole(a.Text(0)) {
		return steps.FailScenario("%q is neither a path nor a whole address: write it as \"http://www.example.org/\"", address.Shown(a.Text(0)))
	}
	for _, r := range p.redirects {
		if wanted, err := r.from.Join(a.Text(0), nil); err != nil {
			return steps.FailScenario("%q is not an address: %w", address.Shown(a.Text(0)), err)
		} else if sameAddress(r.from, wanted) && r.status == status {
			return nil
		}
	}
	return steps.Fail(result.ReasonRedirect, result.BlameWeb, "expect a redirect from %s with %d on the way to %s: %s", address.Shown(a.Text(0)), status, p, theRedirects(p))
}

// sameAddress compares two addresses, but for their fragments.
func sameAddress(a, b *address.URL) bool {
	return a.WithoutFragment().String() == b.WithoutFragment().String()
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
		if i >= len(p.redirects) {
			return steps.Fail(result.ReasonRedirect, result.BlameWeb, "expect %d redirects on the way to %s, got %d: %s", len(wanted), p, len(p.redirects), theRedirects(p))
		}
		r := p.redirects[i]
		location, err := r.from.Join(row[1], nil)
		if err != nil {
			return steps.FailScenario("%q is not an address: %w", address.Shown(row[1]), err)
		}
		if r.status != status || !sameAddress(r.to, location) {
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
	remote := p.Remote
	if p.From != nil {
		remote = p.From.String()
	}
	host, _, err := net.SplitHostPort(remote)
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
	if httpwire.Compressed(p.Header) {
		return nil
	}
	if encoding, found := headerOf(p, "Content-Encoding"); found {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be compressed: its Content-Encoding is %s", p, wording.Quote(encoding))
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to be compressed: it has no Content-Encoding", p)
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
	fields := p.Header.Values(name)
	switch {
	case p.url.Scheme != "https":
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to insist on HTTPS: it was loaded over plain HTTP, where browsers ignore the header", p)
	case len(fields) == 0:
		return noHeader(p, name)
	}
	got, err := parameter.StrictTransport(fields)
	if err != nil {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to insist on HTTPS: browsers ignore the header %q, %s: %w", p, name, wording.Quote(fields[0]), err)
	}
	w.Measure("http_strict_transport_security_seconds", "How long browsers insist on HTTPS (max-age of Strict-Transport-Security).", got.Seconds())
	if got < wanted {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to insist on HTTPS for at least %s, got max-age %.0f (%s)", p, a.Text(0), got.Seconds(), got)
	}
	return nil
}

// begins reports whether the first member of a header field is one of these words, the only ones that browsers know.
func begins(h http.Header, name string, known ...string) bool {
	members := parameter.List(strings.Join(h.Values(name), ","))
	return len(members) > 0 && slices.Contains(known, strings.ToLower(members[0]))
}

// hasDirective reports whether a Content-Security-Policy has a directive of this name.
func hasDirective(policy, name string) bool {
	for directive := range strings.SplitSeq(policy, ";") {
		if words := strings.Fields(directive); len(words) > 0 && strings.EqualFold(words[0], name) {
			return true
		}
	}
	return false
}

func securityHeaders(ctx context.Context, w *steps.World, _ steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	policies := parameter.List(strings.Join(p.Header.Values("Content-Security-Policy"), ","))
	_, insists := parameter.StrictTransport(p.Header.Values("Strict-Transport-Security"))
	var missing []string
	for _, wanted := range []struct {
		what  string
		there bool
	}{
		{"Content-Security-Policy", len(policies) > 0},
		{"X-Content-Type-Options: nosniff", begins(p.Header, "X-Content-Type-Options", "nosniff")},
		{"Referrer-Policy", strings.Trim(strings.Join(p.Header.Values("Referrer-Policy"), ""), " ,") != ""},
		{"X-Frame-Options (or frame-ancestors in the Content-Security-Policy)",
			begins(p.Header, "X-Frame-Options", "deny", "sameorigin") || slices.ContainsFunc(policies, func(policy string) bool { return hasDirective(policy, "frame-ancestors") })},
		{"Strict-Transport-Security", p.url.Scheme != "https" || insists == nil},
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
