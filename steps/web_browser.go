package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/browser"
)

// browserSession visits websites with a real browser. The tab is opened before the first step and closed with the World.
type browserSession struct {
	mu     sync.Mutex   // guards tab, root and closed: the World may be closed while an abandoned step still works
	tab    *browser.Tab // the one that the scenario looks at
	root   *browser.Tab // the one that was opened first; what its pages open belongs to it
	closed bool

	failed  error       // why there is no tab
	began   time.Time   // the step at work
	told    int         // dialogs that were reported
	proxied bool        // the address that a tab tells may be a proxy's
	basic   []basicAuth // names and passwords that addresses came with
	aside   []exchange  // requests beside the tab
	answer  *page       // what the last of them was answered with, nil once the tab shows the current page again
}

// open opens the scenario's tab. What goes wrong is kept for the first step that needs it.
func (s *browserSession) open(ctx context.Context, w *World) {
	if s.tab != nil || s.failed != nil {
		return
	}
	chromium, settings := SettingsOf[*browser.Browser](w.target), SettingsOf[Web](w.target)
	if chromium == nil {
		s.failed = Fail(result.ReasonBrowser, result.BlameMonitor, "the scenario is tagged @browser, and this program runs without one")
		return
	}
	s.proxied = chromium.Proxied()
	tab, err := chromium.Open(ctx)
	if err != nil {
		s.failed = browserFailure(ctx, err, "open a tab")
		return
	}
	if login := settings.ProxyLogin; login != nil && chromium.Through(settings.Proxy) {
		if err := login.hand(ctx, w, tab); err != nil {
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

// ready gives the tab, or why there is none.
func (s *browserSession) ready() (*browser.Tab, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	if s.tab == nil {
		return nil, Fail(result.ReasonBrowser, result.BlameMonitor, "the scenario's tab was not opened")
	}
	for s.tab.Shut() && s.tab.Opener() != nil {
		s.look(s.tab.Opener())
	}
	return s.tab, nil
}

// browserFailure words what the browser could not do. A fault of the browser is the monitor's and never the website's.
func browserFailure(ctx context.Context, err error, act string) error {
	var broken *browser.Broken
	switch {
	case errors.As(err, new(*Failure)):
		return err
	case errors.Is(err, browser.ErrShut): // the window that opened it is looked at next
		return Fail(result.ReasonUnexpected, result.BlameWeb, "%s: %w", act, err)
	case errors.As(err, &broken) && !errors.Is(context.Cause(ctx), ErrStopped):
		return Fail(result.ReasonBrowser, result.BlameMonitor, "%s: %w", act, err)
	default:
		return FailNet(ctx, err, result.BlameWeb, act)
	}
}

// sound gives the failure of a step, or in its place that of the browser when that no longer works: what a page did not
// show then says nothing about the website.
func (s *browserSession) sound(ctx context.Context, err error) error {
	var failure *Failure
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

func (s *browserSession) load(ctx context.Context, w *World, v visit) error {
	tab, err := s.ready()
	if err != nil {
		return err
	}
	if err := noBrowserLogin(w, &v); err != nil {
		return err
	}
	if v.way != (httpWay{}) {
		return scenarioFault("%s: a browser chooses address and version itself: leave @browser out of this scenario", &v)
	}
	referrer := ""
	if v.referrer != nil {
		referrer = v.referrer.String()
	}
	if v.url.User != nil {
		s.basic = append(s.basic, basicAuth{host: v.url.Hostname(), https: v.url.Scheme == "https", user: v.url.User})
	}
	s.answer = nil
	before := tab.Navigation()
	if err := tab.Go(ctx, v.url.String(), referrer); err != nil {
		return s.unfinished(ctx, tab, err, v.String())
	}
	return s.arrived(w, tab, before, v.String(), v.anyStatus)
}

// unfinished says what kept a page from loading until the end.
func (s *browserSession) unfinished(ctx context.Context, tab *browser.Tab, err error, act string) error {
	n := tab.Navigation()
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), ErrStopped) || n == nil {
		return browserFailure(ctx, err, act)
	}
	if !n.Committed {
		return Fail(result.ReasonTimeout, result.BlameWeb, "%s: no page came before the deadline", act)
	}
	var open []string
	requests, _ := tab.Requests()
	waits := "a script keeps the page busy, or the browser needs longer for what it shows"
	for _, r := range requests {
		switch {
		case r.Done || r.Failed != "" || r.Redirect:
		case n.Response() != nil && r.URL == n.Response().URL: // a busy script keeps its own page from being read to the end
			waits = "a script keeps the page busy, or the server does not end it"
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
	return Fail(result.ReasonTimeout, result.BlameWeb, "%s: the page did not finish loading before the deadline: %s", act, waits)
}

func cutURL(address string) string {
	if u, err := url.Parse(address); err == nil {
		address = shownURL(u)
	}
	const most = 120
	if len(address) > most {
		return address[:most] + "…"
	}
	return address
}

// arrived judges the page that the tab shows after a navigation.
func (s *browserSession) arrived(w *World, tab *browser.Tab, before *browser.Navigation, act string, anyStatus bool) error {
	n := tab.Navigation()
	if n == nil || before != nil && n.Begun.Equal(before.Begun) {
		return nil // a place on the page that is there already
	}
	reportNavigation(w, tab, n)
	answer := n.Response()
	switch {
	case tab.ProxyRefused() && (n.Failed != "" || answer != nil && answer.Status == http.StatusProxyAuthRequired):
		return Fail(result.ReasonAuth, result.BlameNetwork, "%s: the proxy %s refuses the login (web.proxy_login in stepwatch.yml)", act, browserProxy)
	case n.Failed != "":
		return netError(n.Failed, act)
	case n.Download:
		return Fail(result.ReasonUnexpected, result.BlameWeb, "%s: it gives a file to save, not a page", act)
	case answer != nil && answer.Status == http.StatusProxyAuthRequired && s.proxied:
		return Fail(result.ReasonAuth, result.BlameScenario, "%s: the proxy %s wants a login (407 %s): %s", act, browserProxy, answer.StatusText, noProxyLogin)
	case answer == nil || anyStatus || answer.Status < 400:
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

func statusFault(answer *browser.Request) error {
	return Fail(result.ReasonHTTPStatus, result.BlameWeb, "%s %s: status %d %s, wanted 2xx or 3xx (`I try to go to \"%s\"` accepts any status)",
		answer.Method, cutURL(answer.URL), answer.Status, answer.StatusText, cutURL(answer.URL))
}

// browserProxy names where a browser's proxy is set.
const browserProxy = "(browser.proxy or web.proxy in stepwatch.yml)"

func netError(name, act string) error {
	reason, blame, detail := netFault(name)
	return Fail(reason, blame, "%s: %s", act, detail)
}

// netFault says what the browser's name for a network error means, and whose fault it is.
func netFault(name string) (reason result.Reason, blame result.Blame, detail string) {
	code, _, _ := strings.Cut(strings.TrimPrefix(name, "net::ERR_"), " ")
	reason, blame, detail = result.ReasonProtocol, result.BlameWeb, name
	switch code {
	case "NAME_NOT_RESOLVED", "NAME_RESOLUTION_FAILED", "DNS_TIMED_OUT":
		reason, blame, detail = result.ReasonDNS, result.BlameDNS, "the name does not resolve"
	case "CONNECTION_REFUSED":
		reason, detail = result.ReasonConnect, "connection refused: nothing listens on that port"
	case "ADDRESS_UNREACHABLE", "INTERNET_DISCONNECTED", "NETWORK_CHANGED":
		reason, blame, detail = result.ReasonConnect, result.BlameNetwork, "the network does not lead there"
	case "CONNECTION_TIMED_OUT", "TIMED_OUT":
		reason, detail = result.ReasonTimeout, "no answer before the deadline"
	case "CONNECTION_RESET", "CONNECTION_CLOSED", "EMPTY_RESPONSE", "CONNECTION_ABORTED", "SOCKET_NOT_CONNECTED", "INCOMPLETE_CHUNKED_ENCODING", "CONTENT_LENGTH_MISMATCH":
		reason, detail = result.ReasonDisconnected, "the server closed the connection"
	case "TOO_MANY_REDIRECTS":
		reason, detail = result.ReasonRedirect, "redirect loop, or more redirects than a browser follows"
	case "CERT_DATE_INVALID":
		reason, detail = result.ReasonCertExpired, "the certificate is not valid now"
	case "CERT_COMMON_NAME_INVALID":
		reason, detail = result.ReasonCertHost, "the certificate is for another name"
	case "CERT_AUTHORITY_INVALID":
		reason, detail = result.ReasonCertAuthority, "no trusted root signed the certificate; add a private CA's root under tls.ca in stepwatch.yml"
	case "SSL_PROTOCOL_ERROR", "SSL_VERSION_OR_CIPHER_MISMATCH", "CERT_INVALID", "CERT_WEAK_SIGNATURE_ALGORITHM", "CERT_WEAK_KEY", "CERT_REVOKED":
		reason = result.ReasonTLS
	case "BAD_SSL_CLIENT_AUTH_CERT", "SSL_CLIENT_AUTH_CERT_NEEDED":
		reason, detail = result.ReasonAuth, "the server asks for a client certificate, which no browser can be given: leave @browser out of this scenario, and add the certificate under tls.clients in stepwatch.yml"
	case "PROXY_CONNECTION_FAILED":
		reason, blame, detail = result.ReasonConnect, result.BlameNetwork, "the proxy "+browserProxy+" cannot be reached"
	case "TUNNEL_CONNECTION_FAILED":
		reason, blame, detail = result.ReasonConnect, result.BlameNetwork, "the proxy "+browserProxy+" does not connect to the server, and the browser does not say why: the same step without @browser does"
	case "PROXY_AUTH_REQUESTED", "PROXY_AUTH_UNSUPPORTED", "PROXY_AUTH_REQUESTED_WITH_NO_CONNECTION", "INVALID_AUTH_CREDENTIALS":
		reason, blame, detail = result.ReasonAuth, result.BlameScenario, "the proxy "+browserProxy+" wants a login: "+noProxyLogin
	case "UNSAFE_PORT", "INVALID_URL", "DISALLOWED_URL_SCHEME", "UNKNOWN_URL_SCHEME":
		reason, blame, detail = result.ReasonScenario, result.BlameScenario, "a browser does not go there"
	case "ABORTED", "FAILED", "NETWORK_IO_SUSPENDED", "INSUFFICIENT_RESOURCES", "OUT_OF_MEMORY", "NETWORK_ACCESS_DENIED":
		reason, blame, detail = result.ReasonBrowser, result.BlameMonitor, "the browser gave up by itself"
	}
	if detail != name {
		detail += " (" + name + ")"
	}
	return reason, blame, detail
}

// now gives the page as it is: its address and answer at once, its tree and its text when they are asked for.
func (s *browserSession) now(ctx context.Context) (*page, error) {
	tab, err := s.ready()
	if err != nil {
		return nil, err
	}
	if s.answer != nil {
		return s.answer, nil
	}
	n := tab.Navigation()
	if n == nil {
		return nil, nil
	}
	address, err := url.Parse(tab.URL())
	if err != nil {
		return nil, Fail(result.ReasonProtocol, result.BlameWeb, "read the page's address: %w", err)
	}
	took, _ := n.Took()
	p := &page{url: address, took: took, live: &livePage{ctx: ctx, tab: tab}, reply: &reply{Response: &http.Response{Header: http.Header{}, Request: &http.Request{Header: http.Header{}}}}}
	if r := n.Response(); r != nil {
		p.StatusCode, p.Status, p.Proto, p.onWire = r.Status, fmt.Sprintf("%d %s", r.Status, r.StatusText), protocolName(r.Protocol), r.Body()
		p.Header, p.Request.Header, p.Request.Method = r.ResponseHeader, r.Header, r.Method
		p.live.request = r
		p.webArrival, p.remote, p.proxied = arrivalOf(n), r.Remote, s.proxied
		if p.Header == nil {
			p.Header = http.Header{}
		}
		if r.Status == 0 {
			p.Status = "not answered yet"
		}
	}
	return p, nil
}

// protocolName writes the browser's "h2" as the status line of HTTP would.
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

func (s *browserSession) await(ctx context.Context, _ *World) bool {
	return s.answer == nil && ctx.Err() == nil && (s.tab.Changed(ctx) == nil || s.tab.Shut()) && ctx.Err() == nil
}

func (s *browserSession) complete(ctx context.Context) error {
	tab, err := s.ready()
	if err != nil {
		return err
	}
	waiting, cancel := patience(ctx, frameTime)
	defer cancel()
	if err := tab.Complete(waiting); err != nil {
		return browserFailure(ctx, err, "load the page's frames")
	}
	return nil
}

// livePage reads a page from the tab that shows it, for as long as one step looks at it.
type livePage struct {
	ctx      context.Context
	tab      *browser.Tab
	request  *browser.Request
	elements map[*html.Node]browser.Element
	frames   map[*html.Node]browser.Frame
}

func (l *livePage) tree() (*html.Node, error) {
	shot, err := l.tab.Snapshot(l.ctx)
	if err != nil {
		return nil, browserFailure(l.ctx, err, "read the page")
	}
	l.elements, l.frames = shot.Elements, shot.Frames
	return shot.Root, nil
}

func (l *livePage) visibleText() ([]byte, error) {
	text, err := l.tab.Text(l.ctx)
	if err != nil {
		return nil, browserFailure(l.ctx, err, "read the page")
	}
	return []byte(normalText(text)), nil
}

// source is the document as it is now, or what was sent when that is no HTML.
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

// drawn is the text of a region as the browser draws it, which a style sheet may have written in other letters. Over HTTP
// there is none.
func (p *page) drawn(r *region) ([]byte, error) {
	if p.live == nil {
		return nil, nil
	}
	var all []byte
	for _, n := range r.nodes {
		element, found := p.live.elements[n]
		if !found || isHidden(n) {
			continue
		}
		text, err := p.live.tab.TextOf(p.live.ctx, element)
		if err != nil {
			return nil, browserFailure(p.live.ctx, err, "read the page")
		}
		all = append(append(all, normalText(text)...), ' ')
	}
	return all, nil
}

// transformed finds a text that a style sheet writes in other letters than the document has it, as in a heading in
// capitals: what an author sees in the source counts as well as what a visitor sees. It gives the place in what is seen, or -1.
func (p *page) transformed(visible []byte, text string) int {
	at := bytes.Index(bytes.ToLower(visible), bytes.ToLower([]byte(text)))
	if at < 0 || at+len(text) > len(visible) {
		return -1
	}
	doc, err := p.tree()
	if err != nil || !bytes.Contains(visibleText(doc), []byte(text)) {
		return -1
	}
	return at
}

// element gives the browser's own name of a node of the tree that now gave.
func (s *search) element(n *html.Node) browser.Element { return s.page.live.elements[n] }

// acted words the end of an action: what the page does not allow now it may allow later.
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

func (s *browserSession) follow(ctx context.Context, w *World, f *search, link *html.Node) error {
	return s.click(ctx, w, f, link)
}

func (s *browserSession) press(ctx context.Context, w *World, f *search, button *html.Node) error {
	return s.click(ctx, w, f, button)
}

// click presses the mouse on an element and waits for the page that this leads to, if it leads to one.
func (s *browserSession) click(ctx context.Context, w *World, f *search, n *html.Node) error {
	return s.navigating(ctx, w, f, func() error { return s.tab.Click(ctx, f.element(n)) })
}

func (s *browserSession) submit(ctx context.Context, w *World, f *search, form *html.Node) error {
	return s.navigating(ctx, w, f, func() error { return s.tab.Submit(ctx, f.element(form)) })
}

func (s *browserSession) navigating(ctx context.Context, w *World, f *search, act func() error) error {
	tab := s.tab
	before := tab.Navigation()
	start := time.Now()
	if err := act(); err != nil && !errors.Is(err, browser.ErrShut) {
		return acted(ctx, f, err)
	}
	done := time.Now()
	navigated, err := tab.Settle(ctx, before)
	if n := tab.Navigation(); navigated && n != nil && n.Begun.After(start) && n.Begun.Before(done) {
		done = n.Begun // what comes then are the phases of the page
	}
	w.Phase("find", start.Sub(s.began), "")
	w.Phase("click", done.Sub(start), "")
	if tab.Shut() {
		return nil // the next step looks at the window that opened this one
	}
	if err != nil {
		return s.unfinished(ctx, tab, err, f.act)
	}
	window, err := tab.Opened(ctx)
	if window != nil {
		s.look(window)
		before, navigated = nil, true
	}
	if err != nil {
		return s.unfinished(ctx, s.tab, err, f.act)
	}
	if !navigated {
		return judgeFrames(s.tab.FramesSince(before), f.act)
	}
	return settled(s.arrived(w, s.tab, before, f.act, false))
}

// settled keeps a fault of the page that an action led to from being taken for one that may pass: the action is done.
func settled(err error) error {
	if err == nil || !mayPass(err) {
		return err
	}
	return Fail(result.ReasonProtocol, result.BlameWeb, "%w", errors.Unwrap(err))
}

func (s *browserSession) fill(ctx context.Context, f *search, field *html.Node, value string) error {
	return acted(ctx, f, s.tab.Fill(ctx, f.element(field), value))
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
		return f.failure(result.ReasonProtocol, result.BlameWeb, "the page does not keep it so")
	}
	return acted(ctx, f, err)
}

func (s *browserSession) attach(ctx context.Context, f *search, field *html.Node, path string) error {
	return acted(ctx, f, s.tab.Attach(ctx, f.element(field), path))
}

func (s *browserSession) back(ctx context.Context, w *World) error {
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
		return scenarioFault("go back: there is no page before this one")
	}
	return s.arrived(w, tab, before, "go back", false)
}

func (s *browserSession) reload(ctx context.Context, w *World) error {
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
