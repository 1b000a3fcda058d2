package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/pagetree"
)

// browserSession visits websites with a real browser. Its tab opens before the first step and closes with the World.
type browserSession struct {
	mu     sync.Mutex   // guards tab, root and closed: the World may be closed while an abandoned step still runs
	tab    *browser.Tab // the one that the scenario acts on
	root   *browser.Tab // the one that was opened first; it owns the windows that its pages open
	closed bool

	failed   error           // why there is no tab
	began    time.Time       // start of the current step
	thorough bool            // the current step may find that something is absent
	told     int             // number of dialogs already reported
	proxied  bool            // the remote address that the tab reports may be a proxy's
	basic    []basicAuth     // names and passwords from addresses
	aside    []exchange      // requests outside the tab
	refused  []refusedCookie // of those requests
	shown    *page           // the last look at the tab's page
	answer   *page           // the response to the last of them, nil when the tab shows the current page again
}

// open opens the scenario's tab. An error is kept for the first step that needs the tab.
func (s *browserSession) open(ctx context.Context, w *steps.World) {
	if s.tab != nil || s.failed != nil {
		return
	}
	chromium, settings := steps.SettingsOf[*browser.Browser](w.Target()), steps.SettingsOf[httpwire.Web](w.Target())
	if chromium == nil {
		s.failed = steps.Fail(result.ReasonBrowser, result.BlameMonitor, "the scenario is tagged @browser, but this program runs without a browser")
		return
	}
	s.proxied = chromium.Proxied()
	tab, err := chromium.Open(ctx)
	if err != nil {
		s.failed = browserFailure(ctx, err, "open a tab")
		return
	}
	tab.Account(w.Memory())
	if login := settings.ProxyLogin; login != nil && chromium.Through(settings.Proxy) {
		if err := handLogin(ctx, login, w, tab); err != nil {
			_ = tab.Close()
			s.failed = err
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = tab.Close()
		return
	}
	s.tab, s.root = tab, tab
}

// Close closes the tab.
func (s *browserSession) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// ready returns the tab, or why there is none.
func (s *browserSession) ready() (*browser.Tab, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	if s.tab == nil {
		return nil, steps.Fail(result.ReasonBrowser, result.BlameMonitor, "the scenario's tab was not opened")
	}
	for s.tab.Shut() && s.tab.Opener() != nil {
		s.look(s.tab.Opener())
	}
	return s.tab, nil
}

// browserFailure returns the failure for an error of the browser. Such an error is the monitor's fault, never the
// website's.
func browserFailure(ctx context.Context, err error, act string) error {
	var broken *browser.Broken
	switch {
	case errors.As(err, new(*steps.Failure)):
		return err
	case errors.Is(err, browser.ErrShut): // the scenario continues in the window that opened this one
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s: %w", act, err)
	case errors.As(err, &broken) && !errors.Is(context.Cause(ctx), steps.ErrStopped):
		return steps.Fail(result.ReasonBrowser, result.BlameMonitor, "%s: %w", act, err)
	default:
		return steps.FailNet(ctx, err, result.BlameWeb, act)
	}
}

// sound returns the failure of a step, or the failure of the browser if that no longer works: then a missing element
// says nothing about the website.
func (s *browserSession) sound(ctx context.Context, err error) error {
	var failure *steps.Failure
	if s.tab == nil || !errors.As(err, &failure) || failure.Blame == result.BlameMonitor || failure.Blame == result.BlameScenario {
		return err
	}
	if _, err := s.ready(); err != nil {
		return err
	}
	if broken := s.tab.Check(ctx); broken != nil {
		return browserFailure(ctx, broken, err.Error())
	}
	return err
}

func (s *browserSession) load(ctx context.Context, w *steps.World, v visit) error {
	tab, err := s.ready()
	if err != nil {
		return err
	}
	if err := noBrowserLogin(w, &v); err != nil {
		return err
	}
	if v.way != (httpwire.Way{}) {
		return steps.FailScenario("%s: a browser chooses the address and version itself: remove @browser from this scenario", &v)
	}
	referrer := ""
	if v.referrer != nil {
		referrer = v.referrer.String()
	}
	if user := v.url.User(); user != nil {
		s.basic = append(s.basic, basicAuth{host: v.url.Hostname(), https: v.url.Scheme == "https", user: user})
	}
	s.answer = nil
	before, handed := tab.Navigation(), len(tab.Handed())
	if err := tab.Go(ctx, v.url.Href(), referrer); err != nil {
		err = s.unfinished(ctx, tab, err, v.String())
		s.sentTo(ctx, w, &v, err)
		return err
	}
	tellHanded(w, tab, handed)
	err = s.arrived(w, tab, before, v.String(), v.anyStatus)
	s.sentTo(ctx, w, &v, err)
	return err
}

// sentTo records where the browser connected to in vain: it does not say that, and the route of this machine may be missing.
func (s *browserSession) sentTo(ctx context.Context, w *steps.World, v *visit, err error) {
	failure := (*steps.Failure)(nil)
	if s.proxied || !errors.As(err, &failure) || failure.Reason != result.ReasonConnect && failure.Reason != result.ReasonTimeout {
		return
	}
	at := v.url.HostPort()
	if other, found := w.Target().ConnectTo[at]; found {
		at = other
	}
	host, _, _ := net.SplitHostPort(at) // of a valid address, or the checked configuration
	addresses := []string{host}
	if _, err := netip.ParseAddr(host); err != nil {
		w.Untimed(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
			defer cancel()
			addresses, _ = w.Resolver().LookupHost(ctx, host) // without an address nothing is looked at
		})
	}
	w.SendsTo(addresses)
}

// unfinished returns the failure for a page that did not finish loading, with what it waited for.
func (s *browserSession) unfinished(ctx context.Context, tab *browser.Tab, err error, act string) error {
	n := tab.Navigation()
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), steps.ErrStopped) || n == nil {
		return browserFailure(ctx, err, act)
	}
	if !n.Committed {
		return steps.Fail(result.ReasonTimeout, result.BlameWeb, "%s: no page was received before the deadline", act)
	}
	var open []string
	requests, _ := tab.Requests()
	waits := "a script keeps the page busy, or the browser needs longer to render it"
	for _, r := range requests {
		switch {
		case r.Done || r.Failed != "" || r.Redirect:
		case n.Response() != nil && r.URL == n.Response().URL: // a busy script keeps its own page from being read completely
			waits = "a script keeps the page busy, or the server does not finish sending it"
		default:
			open = append(open, cutURL(r.URL))
		}
	}
	if len(open) > 0 {
		waits = fmt.Sprintf("it still waits for %s", strings.Join(open[:min(len(open), 3)], ", "))
		if len(open) > 3 {
			waits += fmt.Sprintf(" and %d more", len(open)-3)
		}
	}
	return steps.Fail(result.ReasonTimeout, result.BlameWeb, "%s: the page did not finish loading before the deadline: %s", act, waits)
}

func cutURL(href string) string {
	const most = 120
	shown := address.Shown(href)
	if len(shown) > most {
		return shown[:most] + "…"
	}
	return shown
}

// arrived judges the page that the tab shows after a navigation.
func (s *browserSession) arrived(w *steps.World, tab *browser.Tab, before *browser.Navigation, act string, anyStatus bool) error {
	n := tab.Navigation()
	if n == nil || before != nil && n.Begun.Equal(before.Begun) {
		return nil // a fragment of the same page
	}
	reportNavigation(w, tab, n)
	answer := n.Response()
	switch {
	case n.Elsewhere != "" && answer != nil && anyStatus:
		return nil
	case n.Elsewhere != "" && answer != nil:
		return leadsElsewhere(answer.Method+" "+cutURL(answer.URL), answer.Status, n.Elsewhere)
	case tab.ProxyRefused() && (n.Failed != "" || answer != nil && answer.Status == http.StatusProxyAuthRequired):
		return steps.Fail(result.ReasonAuth, result.BlameNetwork, "%s: the proxy %s refused the login (web.proxy_login in stepwatch.yml)", act, browserProxy)
	case n.Failed != "":
		return netError(n.Failed, act)
	case n.Download:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s: the response is a file to download, not a page", act)
	case answer != nil && answer.Status == http.StatusProxyAuthRequired && s.proxied:
		return steps.Fail(result.ReasonAuth, result.BlameScenario, "%s: the proxy %s requires a login (407 %s): %s", act, browserProxy, answer.StatusText, httpwire.ProxyLoginHint)
	case answer == nil || anyStatus || answer.Status < 400:
		if answer != nil {
			if odd := httpwire.OddCoding(answer.ResponseHeader); odd != "" {
				w.Note(odd)
			}
		}
		return nil
	default:
		if answer.Status == http.StatusUnauthorized {
			if err := s.refusedLogin(w, answer); err != nil {
				return err
			}
		}
		return statusFault(answer)
	}
}

// leadsElsewhere returns the failure for a redirect to the address of another program.
func leadsElsewhere(act string, status int, to string) error {
	return steps.Fail(result.ReasonRedirect, result.BlameWeb, "%s: it redirects with %d to %s, which another program opens and not a browser, so there is no page (`I try to go to` accepts that)",
		act, status, cutURL(to))
}

// tellHanded notes the addresses that the page passed to other programs during the step. before is the number of earlier
// ones.
func tellHanded(w *steps.World, tab *browser.Tab, before int) {
	if all := tab.Handed(); len(all) > before {
		w.Note("the page stays: " + cutURL(all[before]) + " is for another program")
	}
}

func statusFault(answer *browser.Request) error {
	return steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "%s %s: status %d %s, wanted 2xx or 3xx (`I try to go to \"%s\"` accepts any status)",
		answer.Method, cutURL(answer.URL), answer.Status, answer.StatusText, cutURL(answer.URL))
}

// browserProxy names the settings of a browser's proxy.
const browserProxy = "(browser.proxy or web.proxy in stepwatch.yml)"

func netError(name, act string) error {
	if own := lack.InBrowser(name); own != nil {
		return steps.Fail(result.ReasonLack, result.BlameMonitor, "%s: %w", act, own)
	}
	reason, blame, detail := netFault(name)
	return steps.Fail(reason, blame, "%s: %s", act, detail)
}

// netFault returns what the browser's name of a network error means, and who is to blame.
func netFault(name string) (reason result.Reason, blame result.Blame, detail string) {
	if own := lack.InBrowser(name); own != nil {
		return result.ReasonBrowser, result.BlameMonitor, own.Error()
	}
	code, _, _ := strings.Cut(strings.TrimPrefix(name, "net::ERR_"), " ")
	reason, blame, detail = result.ReasonProtocol, result.BlameWeb, name
	switch code {
	case "NAME_NOT_RESOLVED", "NAME_RESOLUTION_FAILED", "DNS_TIMED_OUT":
		reason, blame, detail = result.ReasonDNS, result.BlameDNS, "the name does not resolve"
	case "CONNECTION_REFUSED":
		reason, detail = result.ReasonConnect, "connection refused: nothing listens on that port"
	case "ADDRESS_UNREACHABLE":
		reason, blame, detail = result.ReasonConnect, result.BlameNetwork, "there is no route to the server"
	case "CONNECTION_TIMED_OUT", "TIMED_OUT":
		reason, detail = result.ReasonTimeout, "no answer before the deadline"
	case "CONNECTION_RESET", "CONNECTION_CLOSED", "EMPTY_RESPONSE", "CONNECTION_ABORTED", "SOCKET_NOT_CONNECTED", "INCOMPLETE_CHUNKED_ENCODING", "CONTENT_LENGTH_MISMATCH":
		reason, detail = result.ReasonDisconnected, "the server closed the connection"
	case "TOO_MANY_REDIRECTS":
		reason, detail = result.ReasonRedirect, "redirect loop, or more redirects than a browser follows"
	case "CERT_DATE_INVALID":
		reason, detail = result.ReasonCertExpired, "the certificate has expired or is not yet valid"
	case "CERT_COMMON_NAME_INVALID":
		reason, detail = result.ReasonCertHost, "the certificate is for another name"
	case "CERT_AUTHORITY_INVALID":
		reason, detail = result.ReasonCertAuthority, "the certificate is not signed by a trusted root; add the root of a private CA under tls.ca in stepwatch.yml"
	case "SSL_PROTOCOL_ERROR", "SSL_VERSION_OR_CIPHER_MISMATCH", "CERT_INVALID", "CERT_WEAK_SIGNATURE_ALGORITHM", "CERT_WEAK_KEY", "CERT_REVOKED":
		reason = result.ReasonTLS
	case "BAD_SSL_CLIENT_AUTH_CERT", "SSL_CLIENT_AUTH_CERT_NEEDED":
		reason, detail = result.ReasonAuth, "the server asks for a client certificate, which @browser does not support: remove @browser from this scenario, and add the certificate under tls.clients in stepwatch.yml"
	case "PROXY_CONNECTION_FAILED":
		reason, blame, detail = result.ReasonConnect, result.BlameNetwork, "the proxy "+browserProxy+" cannot be reached"
	case "TUNNEL_CONNECTION_FAILED":
		reason, blame, detail = result.ReasonConnect, result.BlameNetwork, "the proxy "+browserProxy+" does not connect to the server, and the browser does not report why: run the step without @browser to see the reason"
	case "PROXY_AUTH_REQUESTED", "PROXY_AUTH_UNSUPPORTED", "PROXY_AUTH_REQUESTED_WITH_NO_CONNECTION", "INVALID_AUTH_CREDENTIALS":
		reason, blame, detail = result.ReasonAuth, result.BlameScenario, "the proxy "+browserProxy+" requires a login: "+httpwire.ProxyLoginHint
	case "INVALID_HTTP_RESPONSE":
		detail = "the response is malformed: it does not begin with HTTP/ (RFC 9112 section 4), or its header contains a NUL (RFC 9110 section 5.5)"
	case "RESPONSE_HEADERS_MULTIPLE_CONTENT_LENGTH":
		detail = "the response is malformed: it has two lengths (Content-Length, RFC 9112 section 6.3)"
	case "RESPONSE_HEADERS_MULTIPLE_LOCATION":
		detail = "the response is malformed: it has two values of Location (RFC 9110 section 10.2.2)"
	case "RESPONSE_HEADERS_MULTIPLE_CONTENT_DISPOSITION":
		detail = "the response is malformed: it has two values of Content-Disposition (RFC 6266 section 4; a file name with a comma must be in quotes)"
	case "CONTENT_DECODING_FAILED", "CONTENT_DECODING_INIT_FAILED":
		detail = "the body cannot be decompressed: its Content-Encoding is not how the data is compressed"
	case "UNSAFE_PORT", "INVALID_URL", "DISALLOWED_URL_SCHEME", "UNKNOWN_URL_SCHEME":
		reason, blame, detail = result.ReasonScenario, result.BlameScenario, "a browser does not open such an address"
	case "ABORTED", "FAILED":
		reason, blame, detail = result.ReasonBrowser, result.BlameMonitor, "the browser aborted the request by itself"
	}
	if detail != name {
		detail += " (" + name + ")"
	}
	return reason, blame, detail
}

// now returns the page as it is. Its address and response are read at once, its tree and its text on demand.
func (s *browserSession) now(ctx context.Context, w *steps.World) (*page, error) {
	tab, err := s.ready()
	if err != nil {
		return nil, err
	}
	if s.answer != nil {
		s.answer.reading = readingIn(ctx, w)
		return s.answer, nil
	}
	s.shown.release()
	s.shown = nil
	n := tab.Navigation()
	if n == nil {
		return nil, nil
	}
	if n.Elsewhere != "" && n.Response() != nil {
		return elsewherePage(n), nil
	}
	took, _ := n.Took()
	p := &page{url: address.Reported(tab.URL()), took: took, reading: readingIn(ctx, w), live: &livePage{ctx: ctx, tab: tab, thorough: s.thorough}, Reply: &httpwire.Reply{Response: &http.Response{Header: http.Header{}, Request: &http.Request{Header: http.Header{}}}}}
	if r := n.Response(); r != nil {
		p.StatusCode, p.Status, p.Proto, p.OnWire = r.Status, fmt.Sprintf("%d %s", r.Status, r.StatusText), protocolName(r.Protocol), r.Body()
		p.Header, p.Request.Header, p.Request.Method = r.ResponseHeader, r.Header, r.Method
		p.live.request = r
		p.webArrival, p.Remote, p.Proxied = arrivalOf(n), r.Remote, s.proxied
		if p.Header == nil {
			p.Header = http.Header{}
		}
		if r.Status == 0 {
			p.Status = "no response yet"
		}
	}
	s.shown = p
	return p, nil
}

// elsewherePage returns the page of a navigation that a redirect passed to another program: the redirect itself. The tab
// still shows the page before.
func elsewherePage(n *browser.Navigation) *page {
	r := n.Response()
	from, to := address.Reported(r.URL), address.Reported(n.Elsewhere)
	took, _ := n.Took()
	arrival := arrivalOf(n)
	arrival.redirects = append(arrival.redirects, redirected{from, r.Status, to})
	return &page{url: from, stopped: to, took: took, webArrival: arrival, read: true, decoded: true,
		Reply: &httpwire.Reply{Remote: r.Remote, Response: &http.Response{StatusCode: r.Status, Status: fmt.Sprintf("%d %s", r.Status, r.StatusText),
			Proto: protocolName(r.Protocol), Header: r.ResponseHeader, Request: &http.Request{Method: r.Method, Header: r.Header}}}}
}

// protocolName converts the browser's "h2" to the form of an HTTP status line.
func protocolName(name string) string {
	switch name {
	case "h2":
		return "HTTP/2.0"
	case "h3":
		return "HTTP/3.0"
	default:
		return strings.ToUpper(name)
	}
}

func (s *browserSession) await(ctx context.Context, _ *steps.World) bool {
	return s.answer == nil && ctx.Err() == nil && (s.tab.Changed(ctx) == nil || s.tab.Shut()) && ctx.Err() == nil
}

func (s *browserSession) complete(ctx context.Context) error {
	tab, err := s.ready()
	if err != nil || !s.shows(tab) {
		return err
	}
	waiting, cancel := patience(ctx, frameTime)
	defer cancel()
	if err := tab.Complete(waiting); err != nil {
		return browserFailure(ctx, err, "load the page's frames")
	}
	return nil
}

// shows reports whether the tab shows the current page.
func (s *browserSession) shows(tab *browser.Tab) bool {
	n := tab.Navigation()
	return s.answer == nil && n != nil && (n.Elsewhere == "" || n.Response() == nil)
}

func (s *browserSession) settle(ctx context.Context, w *steps.World) error {
	tab, err := s.ready()
	if err != nil || !s.shows(tab) || ctx.Err() != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	start := time.Now()
	rest, err := tab.Rest(waiting, restTime)
	if err != nil || errors.Is(context.Cause(ctx), steps.ErrStopped) {
		return browserFailure(ctx, cmp.Or(err, context.Cause(ctx)), "wait for the page to come to rest")
	}
	if took := time.Since(start); rest.Never {
		why := "its document keeps changing, or it keeps making requests"
		if len(rest.Open) > 0 {
			why = "it waits for " + cutURL(rest.Open[0])
		}
		w.Note("judged as it was: the page does not come to rest: " + why)
		w.Idle(took)
	} else {
		w.Idle(min(took, time.Since(rest.Since)))
	}
	return nil
}

// livePage reads a page from the tab that shows it, during one step.
type livePage struct {
	ctx      context.Context
	tab      *browser.Tab
	request  *browser.Request
	thorough bool // it must show everything, because the step may find that something is absent
	elements map[*html.Node]browser.Element
	frames   map[*html.Node]browser.Frame

	generated bool // style sheets show text of their own
}

func (l *livePage) tree() (*html.Node, error) {
	look := l.tab.Glance
	if l.thorough {
		look = l.tab.Snapshot
	}
	shot, err := look(l.ctx)
	if err != nil {
		return nil, browserFailure(l.ctx, err, "read the page")
	}
	l.elements, l.frames, l.generated = shot.Elements, shot.Frames, pagetree.IsGenerated(shot.Root)
	return shot.Root, nil
}

func (l *livePage) visibleText() ([]byte, error) {
	text, err := l.tab.Text(l.ctx)
	if err != nil {
		return nil, browserFailure(l.ctx, err, "read the page")
	}
	return []byte(pagetree.Normal(text)), nil
}

// hides reports whether a text of the page may be out of sight.
func (l *livePage) hides(text string) (bool, error) {
	word, _, _ := strings.Cut(strings.ToLower(text), " ")
	hides, err := l.tab.Hides(l.ctx, word)
	if err != nil {
		return false, browserFailure(l.ctx, err, "read the page")
	}
	return hides, nil
}

// source returns the current document, or the response body when it is not HTML.
func (l *livePage) source(isHTML bool) []byte {
	if !isHTML && l.request != nil {
		if body, err := l.tab.Body(l.ctx, l.request); err == nil {
			return body
		}
	}
	source, err := l.tab.Source(l.ctx)
	if err != nil {
		return nil
	}
	return []byte(source)
}

// drawn returns the text of a region as the browser renders it; a style sheet may have changed its case. Over HTTP it
// returns nil.
func (p *page) drawn(r *region) ([]byte, error) {
	if p.live == nil {
		return nil, nil
	}
	var all []byte
	for _, n := range r.nodes {
		element, found := p.live.elements[n]
		if !found || pagetree.IsHidden(n) {
			continue
		}
		text, err := p.live.tab.TextOf(p.live.ctx, element)
		if err != nil {
			return nil, browserFailure(p.live.ctx, err, "read the page")
		}
		all = append(append(all, pagetree.Normal(text)...), ' ')
	}
	return all, nil
}

// element returns the browser's identifier of a node of the tree that now returned.
func (s *search) element(n *html.Node) browser.Element { return s.page.live.elements[n] }

// acted returns the failure of an action. What the page does not allow now, it may allow later.
func acted(ctx context.Context, f *search, err error) error {
	var refused *browser.Refused
	if errors.As(err, &refused) {
		return f.failure(result.ReasonNotFound, result.BlameWeb, "%s", refused.Why)
	}
	if err != nil {
		return browserFailure(ctx, err, f.act)
	}
	return nil
}

func (s *browserSession) follow(ctx context.Context, w *steps.World, f *search, link *html.Node) error {
	return s.click(ctx, w, f, link)
}

func (s *browserSession) press(ctx context.Context, w *steps.World, f *search, button *html.Node) error {
	return s.click(ctx, w, f, button)
}

// click presses the mouse on an element and waits for the page that this leads to, if any.
func (s *browserSession) click(ctx context.Context, w *steps.World, f *search, n *html.Node) error {
	return s.navigating(ctx, w, f, n, func() error { return s.tab.Click(ctx, f.element(n)) })
}

func (s *browserSession) submit(ctx context.Context, w *steps.World, f *search, form *html.Node) error {
	return s.navigating(ctx, w, f, form, func() error { return s.tab.Submit(ctx, f.element(form)) })
}

// navigating does an action on n and waits for the page that it leads to, if any.
func (s *browserSession) navigating(ctx context.Context, w *steps.World, f *search, n *html.Node, act func() error) error {
	tab := s.tab
	before, handed := tab.Navigation(), len(tab.Handed())
	start := time.Now()
	if err := act(); err != nil && !errors.Is(err, browser.ErrShut) {
		return acted(ctx, f, err)
	}
	done := time.Now()
	navigated, err := tab.Settle(ctx, before)
	if n := tab.Navigation(); navigated && n != nil && n.Begun.After(start) && n.Begun.Before(done) {
		done = n.Begun // the phases of the page follow
	}
	w.Phase("find", start.Sub(s.began), "")
	w.Phase("click", done.Sub(start), "")
	if tab.Shut() {
		return nil // the next step uses the window that opened this one
	}
	if err != nil {
		return s.unfinished(ctx, tab, err, f.act)
	}
	tellHanded(w, tab, handed)
	window, err := tab.Opened(ctx)
	if window != nil {
		s.look(window)
		before, navigated = nil, true
	}
	if err != nil {
		return s.unfinished(ctx, s.tab, err, f.act)
	}
	if !navigated {
		return cmp.Or(judgeFrames(s.tab.FramesSince(before), f.act), f.refused(ctx, s.tab, n))
	}
	return settled(s.arrived(w, s.tab, before, f.act, false))
}

// settled marks a fault of the page that an action led to as final: the action is done, and waiting does not help.
func settled(err error) error {
	if err == nil || !mayPass(err) {
		return err
	}
	return steps.Fail(result.ReasonProtocol, result.BlameWeb, "%w", errors.Unwrap(err))
}

func (s *browserSession) fill(ctx context.Context, f *search, field *html.Node, value string) (string, error) {
	taken, err := s.tab.Fill(ctx, f.element(field), value)
	return taken, acted(ctx, f, err)
}

func (s *browserSession) selectOption(ctx context.Context, f *search, option *html.Node) error {
	return acted(ctx, f, s.tab.SelectOption(ctx, f.element(option)))
}

func (s *browserSession) check(ctx context.Context, f *search, box *html.Node, on bool) error {
	e := f.element(box)
	checked, err := s.tab.Checked(ctx, e)
	if err != nil || checked == on {
		return acted(ctx, f, err)
	}
	if err := s.tab.Click(ctx, e); err != nil {
		return acted(ctx, f, err)
	}
	if checked, err = s.tab.Checked(ctx, e); err == nil && checked != on {
		return f.failure(result.ReasonProtocol, result.BlameWeb, "the page does not keep this state")
	}
	return acted(ctx, f, err)
}

func (s *browserSession) attach(ctx context.Context, f *search, field *html.Node, path string) error {
	return acted(ctx, f, s.tab.Attach(ctx, f.element(field), path))
}

func (s *browserSession) back(ctx context.Context, w *steps.World) error {
	tab, err := s.ready()
	if err != nil {
		return err
	}
	s.answer = nil
	before := tab.Navigation()
	there, err := tab.Back(ctx)
	if err != nil {
		return s.unfinished(ctx, tab, err, "go back")
	}
	if !there {
		return steps.FailScenario("go back: there is no previous page")
	}
	return s.arrived(w, tab, before, "go back", false)
}

func (s *browserSession) reload(ctx context.Context, w *steps.World) error {
	tab, err := s.ready()
	if err != nil {
		return err
	}
	s.answer = nil
	before := tab.Navigation()
	if before == nil {
		return noPage()
	}
	if err := tab.Reload(ctx); err != nil {
		return s.unfinished(ctx, tab, err, "reload")
	}
	return s.arrived(w, tab, before, "reload", false)
}
