package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/cookie"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// httpSession visits websites over HTTP alone. It holds the state that the web steps of one scenario share:
// connections, cookies, credentials and the current page. All of it is created on demand, since most runs load one page
// and read its text.
type httpSession struct {
	mu     sync.Mutex // guards conns and closed: the World may be closed while an abandoned step still runs
	conns  []*httpwire.Conn
	closed bool

	page    *page   // the current page, nil before the first
	visits  []visit // visits so far, for going back
	bare    bool    // load documents only, without their frames
	jar     *cookie.Jar
	cookies int             // how many responses set cookies
	refused []refusedCookie // what browsers do not store
	basic   []basicAuth
	logins  webLogins       // also of a browser
	headers []requestHeader // also of a browser

	exchanges []exchange // the last ones, for the evidence of a failure

	given func(from *address.URL, c cookie.Cookie) // called for new cookies, unless nil
}

// Close closes the connections of the scenario.
func (s *httpSession) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns, s.closed = nil, true
	return nil
}

// ClosesAtOnce reports whether no connection has TLS, which says goodbye and may wait for that.
func (s *httpSession) ClosesAtOnce() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.conns, func(c *httpwire.Conn) bool { return c.Login != nil })
}

// visit is one request for a page, by a step or a redirect.
type visit struct {
	method      string
	url         *address.URL
	body        []byte
	contentType string
	referrer    *address.URL // the page that led here, or nil
	elsewhere   bool         // a redirect to another origin led here
	anyStatus   bool
	sent        bool // by a sentence that names the method
	anySite     bool // also follow redirects to other sites where a visit stops there
	strange     bool // a redirect led here from another site

	way  httpwire.Way
	save func(*http.Response) io.Writer // as in intake: for a file, which is not a page

	around []*address.URL // the pages around the frame that this is for

	frame  *html.Node // the frame of the previous page to load into, or nil
	before *page      // the content of that frame
}

func (v *visit) String() string { return v.method + " " + v.url.String() }

// intake returns how much of the response to the visit is read.
func (v *visit) intake(w *steps.World) httpwire.Intake {
	if v.save != nil {
		return httpwire.Intake{Limit: httpwire.DownloadLimit(w), Save: v.save}
	}
	return httpwire.Intake{Limit: httpwire.BodyLimit(w)}
}

// origin says where the request comes from, which decides about its SameSite cookies.
func (v *visit) origin() cookie.Request {
	return cookie.Request{From: v.referrer, Unsafe: !httpwire.SafeMethod(v.method), Around: v.around}
}

// locationLimit limits an address, which messages and the report of a run repeat. Browsers allow 2 MB, servers read 8 KB.
var locationLimit = limit.Define(limit.Limit{Subject: "HTTP", What: "the address of a redirect", Unit: "bytes", Most: 64 << 10})

// maxRedirects is how many redirects in a row are followed. Browsers follow 20, but no real site needs five.
const maxRedirects = 10

// load makes the result of a visit the current page, with its frames.
func (s *httpSession) load(ctx context.Context, w *steps.World, v visit) error {
	s.show(nil)
	s.visits = append(s.visits, v)
	p, err := s.arrive(ctx, w, &v)
	if s.show(p); err == nil && !v.anyStatus {
		err = s.judgeStatus(p, &v)
	}
	if err == nil {
		err = s.leadOn(ctx, w, &v)
	}
	if err == nil {
		s.loadFrames(ctx, w)
	}
	return err
}

// show makes p the current page, nil for none. The page before is no longer part of the run's memory.
func (s *httpSession) show(p *page) {
	s.page.release()
	s.page = p
}

// arrive fetches the page of v and follows redirects, whatever the status is. v becomes the last visit. The page is nil
// when there was no response, and not nil when the error is about the page itself. It reports the phases dns, connect,
// tls, processing and transfer once for every request, so a page after a redirect has two sets. Connections of an
// earlier page are reused, without the phases of connecting.
func (s *httpSession) arrive(ctx context.Context, w *steps.World, v *visit) (*page, error) {
	if user := v.url.User(); user != nil {
		s.basic = append(s.basic, basicAuth{host: v.url.Hostname(), https: v.url.Scheme == "https", user: user})
	}
	start := time.Now()
	var chain []string       // of redirects, on demand
	var cookiesAt []int      // s.cookies before each request in chain
	var stopped *address.URL // the redirect that was not followed
	var redirects []redirected
	for {
		cookies := s.cookies
		answer, err := s.request(ctx, w, v)
		if err != nil {
			if v.strange { // whose fault it is, and why this server was asked at all
				err = redirectedTo(err, redirects)
			}
			return nil, err
		}
		next, err := redirect(v, answer)
		if err == nil && next != nil && answer.Broken == nil {
			redirects = append(redirects, redirected{from: v.url, status: answer.StatusCode, to: next.url})
			if old := steps.SettingsOf[httpwire.Web](w.Target()).CucumberNagios; browser.Elsewhere(next.url.String()) {
				if stopped = next.url; !v.anyStatus {
					err = leadsElsewhere(v.String(), answer.StatusCode, next.url.String())
				}
			} else if !v.anySite && (old && !sameLabels(v.url.Hostname(), next.url.Hostname()) || v.sent && !sameSite(v.url.Hostname(), next.url.Hostname())) {
				stopped = next.url // as cucumber-nagios did; and what a step sends by its method is for the server that it names
			} else if err = tooManyRedirects(append(chain, v.String()), next, append(cookiesAt, cookies), s.cookies); err == nil {
				chain, cookiesAt = append(chain, v.String()), append(cookiesAt, cookies)
				next.strange = v.strange || !sameSite(v.url.Hostname(), next.url.Hostname())
				*v = *next
				answer.Release()
				continue
			}
		}
		p := &page{url: v.url, Reply: answer, stopped: stopped, way: v.way, took: time.Since(start),
			webArrival: webArrival{begun: start, redirects: redirects}, reading: readingIn(ctx, w)}
		p.measure(w, len(chain))
		if len(answer.Odd) > 0 {
			w.Note(wording.Excerpt(strings.Join(answer.Odd, "; ")))
		}
		if err == nil && answer.Broken != nil {
			err = s.brokenBody(ctx, w, v, answer)
		}
		return p, err
	}
}

func (s *httpSession) judgeStatus(p *page, v *visit) error {
	if p.accepted() {
		return nil
	}
	if err := cmp.Or(p.proxyRefusal(v.String()), p.refusedCertificate(v.String())); err != nil {
		return err
	}
	switch {
	case p.StatusCode == http.StatusUnauthorized && p.Request.Header.Get("Authorization") != "":
		return steps.Fail(result.ReasonAuth, result.BlameWeb, "%s: the credentials were refused with %s", v, p.status())
	case v.sent:
		return steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "%s: status %s, wanted 2xx or 3xx (`I try to send …` accepts any status)", v, p.status())
	default:
		return steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "%s: status %s, wanted 2xx or 3xx (`I try to go to \"%s\"` accepts any status)",
			v, p.status(), v.url)
	}
}

func (s *httpSession) brokenBody(ctx context.Context, w *steps.World, v *visit, answer *httpwire.Reply) error {
	err, what := answer.Broken, "page"
	if v.save != nil {
		what = "file"
	}
	switch {
	case errors.As(err, new(*limit.Error)):
		return steps.FailNet(ctx, err, result.BlameWeb, v.String())
	case errors.Is(err, httpwire.ErrEncoding):
		return steps.Fail(result.ReasonProtocol, result.BlameWeb, "%s: %w", v, err)
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), steps.ErrStopped):
		return steps.Fail(result.ReasonTimeout, result.BlameWeb, "%s: the %s was not complete before the deadline, got %d bytes", v, what, max(int64(len(answer.Content)), answer.OnWire))
	case answer.ContentLength > 0:
		return steps.FailNet(ctx, err, result.BlameWeb, fmt.Sprintf("%s: read the %s (%d of %d bytes)", v, what, answer.OnWire, answer.ContentLength))
	default:
		return steps.FailNet(ctx, err, result.BlameWeb, fmt.Sprintf("%s: read the %s (%d bytes)", v, what, answer.OnWire))
	}
}

// request sends one request, and sends it again when an idle connection turns out to be closed or the server asks for
// credentials.
func (s *httpSession) request(ctx context.Context, w *steps.World, v *visit) (*httpwire.Reply, error) {
	for challenged := 0; ; {
		answer, err := s.recorded(ctx, w, v, s.newRequest(v))
		if err != nil {
			return nil, steps.FailNet(ctx, err, result.BlameWeb, v.String())
		}
		if fields := answer.Header["Set-Cookie"]; fields != nil {
			s.setCookies(fields, v)
		}
		if answer.StatusCode == http.StatusUnauthorized && challenged < 2 && !s.named(v.url) {
			if login := s.logins.at(v.url); login != nil && !(v.strange && login.Origin == "") {
				again, err := login.answer(v.url, answer.Header, challenged > 0)
				if err != nil {
					return nil, steps.Fail(result.ReasonAuth, result.BlameWeb, "%s: %w", v, err)
				}
				if challenged++; again {
					answer.Release()
					continue
				}
			}
		}
		return answer, nil
	}
}

// roundTrip sends a request over a suitable open connection, or over a new one.
func (s *httpSession) roundTrip(ctx context.Context, w *steps.World, v *visit, request *http.Request) (*httpwire.Reply, error) {
	in := v.intake(w)
	if c := s.take(v.way.KeyFor(v.url), request.Method); c != nil {
		answer, err := s.use(ctx, w, c, v, request, in)
		if !errors.Is(err, httpwire.ErrStale) {
			return answer, err
		}
		if !httpwire.SafeMethod(request.Method) {
			return nil, fmt.Errorf("%w in mid-request: %w", httpwire.ErrStale, io.EOF)
		}
	}
	c, err := httpwire.Dial(ctx, w, v.url, v.way)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		c.Close()
		return nil, net.ErrClosed
	}
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	return s.use(ctx, w, c, v, request, in)
}

// use does one exchange and closes the connection unless it can be reused.
func (s *httpSession) use(ctx context.Context, w *steps.World, c *httpwire.Conn, v *visit, request *http.Request, in httpwire.Intake) (*httpwire.Reply, error) {
	answer, err := c.Exchange(ctx, w, request, in)
	if err == nil {
		answer.Proxied = c.Proxied
		answer.From, answer.Login = c.Conn.RemoteAddr(), c.Login
	} else if !errors.Is(err, httpwire.ErrStale) {
		err = c.Refusal(ctx, err, v.String())
	}
	if err != nil || !answer.Reuse {
		s.mu.Lock()
		s.conns = slices.DeleteFunc(s.conns, func(other *httpwire.Conn) bool { return other == c })
		s.mu.Unlock()
		c.Close()
	}
	return answer, err
}

// take returns an open connection, and closes those for the same server that can no longer be used.
func (s *httpSession) take(key httpwire.Key, method string) *httpwire.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.conns); i++ {
		c := s.conns[i]
		if c.Key != key {
			continue
		}
		if c.Fits(method) {
			return c
		}
		c.Close()
		s.conns = slices.Delete(s.conns, i, i+1)
		i--
	}
	return nil
}

func (s *httpSession) newRequest(v *visit) *http.Request {
	request := httpwire.Request(v.method, v.url, make(http.Header, 4))
	request.Header["User-Agent"] = httpwire.UserAgent
	request.Header["Accept"] = httpwire.Accept
	request.Header["Accept-Encoding"] = httpwire.GzipOnly
	if v.save != nil { // so that a file's length can be compared with its Content-Length
		request.Header["Accept-Encoding"] = httpwire.Identity
	}
	if v.body != nil {
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(v.body)), nil }
		request.Body, _ = request.GetBody()
		request.ContentLength = int64(len(v.body))
		request.Header.Set("Content-Type", v.contentType)
	}
	if v.referrer != nil {
		setReferrer(request, v)
	}
	if s.jar != nil {
		if cookies := s.jar.For(v.url, v.origin(), time.Now()); len(cookies) > 0 {
			request.Header["Cookie"] = []string{cookie.Field(cookies)}
		}
	}
	user := v.url.User()
	for _, b := range s.basic {
		if v.url.User() == nil && b.covers(v.url) {
			user = b.user
		}
	}
	if user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	} else if login := s.logins.at(v.url); login != nil && !(v.strange && login.Origin == "") {
		login.authorize(request, v.url, v.body)
	}
	for _, h := range s.headers {
		if h.covers(v.url) {
			request.Header.Set(h.name, h.value)
		}
	}
	return request
}

// longestReferrer is the most that browsers send of the address of a page (Referrer Policy §8.3).
const longestReferrer = 4096

// referrerFor returns what a request for an address says about the page that led to it, by the default of browsers
// (strict-origin-when-cross-origin, Referrer Policy §3.7): nil for nothing.
func referrerFor(to, from *address.URL) *address.URL {
	page := from.WithoutUser().WithoutFragment()
	switch {
	case to.Origin() == from.Origin() && len(page.Href()) <= longestReferrer:
		return page
	case from.Scheme == "https" && to.Scheme != "https":
		return nil
	}
	return address.Reported(from.Origin() + "/")
}

// setReferrer sets Referer and Origin as browsers do, since applications check them against forged requests.
func setReferrer(request *http.Request, v *visit) {
	from := referrerFor(v.url, v.referrer)
	if from != nil {
		request.Header.Set("Referer", from.Href())
	}
	switch {
	case request.Method != http.MethodPost:
	case from == nil, v.elsewhere:
		request.Header.Set("Origin", "null")
	default:
		request.Header.Set("Origin", v.referrer.Origin())
	}
}

// redirect returns the visit that a response redirects to, or nil.
func redirect(v *visit, answer *httpwire.Reply) (*visit, error) {
	switch answer.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	location := answer.Header.Get("Location")
	if location == "" {
		return nil, nil
	}
	if err := locationLimit.Check(int64(len(location))); err != nil {
		return nil, steps.Fail(result.ReasonTooLarge, result.BlameWeb, "%s: %w", v, err)
	}
	to, err := v.url.Redirect(location)
	if err == nil && !browser.Elsewhere(to.String()) {
		err = loadable(to)
	}
	if err != nil {
		return nil, steps.Fail(result.ReasonRedirect, result.BlameWeb, "%s: the redirect has no valid target: Location is %.200q: %w", v, address.Shown(location), err)
	}
	next := *v
	next.url, next.elsewhere = to, v.elsewhere || to.Origin() != v.url.Origin()
	if v.referrer != nil {
		next.referrer = cmp.Or(referrerFor(v.url, v.referrer), v.referrer)
	}
	// RFC 9110 §15.4: 303 requires GET; for 301 and 302 browsers turn POST into GET; 307 and 308 keep the method.
	if answer.StatusCode == http.StatusSeeOther && v.method != http.MethodHead ||
		answer.StatusCode <= http.StatusFound && v.method == http.MethodPost {
		next.method, next.body, next.contentType = http.MethodGet, nil, ""
	}
	return &next, nil
}

// redirectedTo adds the redirect to err, which names only the server that a redirect from another site led to.
func redirectedTo(err error, redirects []redirected) error {
	var failure *steps.Failure
	if len(redirects) == 0 || !errors.As(err, &failure) {
		return err
	}
	return steps.Fail(failure.Reason, failure.Blame, "%w (after the redirect from %s)", err, redirects[len(redirects)-1])
}

// tooManyRedirects fails for a redirect loop and for a chain that is too long. A page may redirect to itself once to
// set a cookie, so a repeated page is a loop only when no cookie was set meanwhile.
func tooManyRedirects(chain []string, next *visit, cookies []int, now int) error {
	to := next.String()
	for i, earlier := range chain {
		if earlier == to && cookies[i] == now {
			return steps.Fail(result.ReasonRedirect, result.BlameWeb, "redirect loop: %s", strings.Join(append(chain[i:], to), " → "))
		}
	}
	if len(chain) <= maxRedirects {
		return nil
	}
	return steps.Fail(result.ReasonRedirect, result.BlameWeb, "more than %d redirects: %s", maxRedirects, strings.Join(append(chain, to), " → "))
}

// sameSite reports whether hosts a and b are of one site: the same name directly below a public suffix.
func sameSite(a, b string) bool { return cookie.SiteOf(a) == cookie.SiteOf(b) }

// sameLabels reports whether the last two labels of hosts a and b are the same, which is what cucumber-nagios took for one
// site. Addresses and names of one label are compared as a whole.
func sameLabels(a, b string) bool {
	return strings.EqualFold(a, b) || lastLabels(a) != "" && strings.EqualFold(lastLabels(a), lastLabels(b))
}

func lastLabels(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	host = strings.TrimSuffix(host, ".")
	last := strings.LastIndexByte(host, '.')
	if last < 0 {
		return ""
	}
	return host[strings.LastIndexByte(host[:last], '.')+1:]
}

// baseOf returns the address that relative addresses of steps resolve against, or nil if that is the current page.
func baseOf(w *steps.World) (*address.URL, error) {
	base := cmp.Or(w.Base, steps.SettingsOf[httpwire.Web](w.Target()).Base)
	if base == "" {
		return nil, nil
	}
	u, err := address.Parse(base)
	if err != nil {
		return nil, steps.FailScenario("the base %q is not an address: %w", address.Shown(base), err)
	}
	return u, nil
}

// against reads an address from a step: whole, or relative to base, which may be nil.
func against(base *address.URL, text string) (*address.URL, error) {
	if base == nil || address.SchemeOf(text) != "" {
		return address.Parse(text)
	}
	return base.Join(text, nil)
}

// resolve reads an address from a step: absolute, or relative to the base of the scenario or else to the current page.
func resolve(ctx context.Context, w *steps.World, text string) (*address.URL, error) {
	base, err := baseOf(w)
	if err != nil {
		return nil, err
	}
	if base == nil && address.SchemeOf(text) == "" {
		p, err := engineOf(w).now(ctx, w)
		if err != nil {
			return nil, err
		}
		if p == nil {
			return nil, steps.FailScenario("%q is not a whole address, and there is no current page yet: write it as \"https://www.example.org/\", or set web.base in stepwatch.yml", address.Shown(text))
		}
		base = p.base()
	}
	u, err := against(base, text)
	if err != nil {
		return nil, steps.FailScenario("%q is not an address: %w", address.Shown(text), err)
	}
	if user := u.User(); user != nil {
		if password, set := user.Password(); set {
			w.Redact(password)
			w.Redact(user.Username() + ":" + password)
		}
	}
	if err := loadable(u); err != nil {
		return nil, steps.FailScenario("%q: %w", u, err)
	}
	return u, nil
}

// loadable returns why an address leads to no page, or nil.
func loadable(u *address.URL) error {
	if !u.IsWeb() {
		return fmt.Errorf("only http and https can be loaded, not %.40q", u.Scheme)
	}
	return nil
}

// basicAuth is a name and password from a URL, which browsers then use for the whole host.
type basicAuth struct {
	host  string
	https bool
	user  *url.Userinfo
}

// covers reports whether the credentials apply to u. They also apply from http to https, as sites redirect, but never
// back.
func (b *basicAuth) covers(u *address.URL) bool {
	return strings.EqualFold(b.host, u.Hostname()) && (u.Scheme == "https" || !b.https)
}

// named reports whether an address contained a name and password.
func (s *httpSession) named(u *address.URL) bool {
	return u.User() != nil || slices.ContainsFunc(s.basic, func(b basicAuth) bool { return b.covers(u) })
}
