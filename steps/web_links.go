package steps

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/crawl"
)

// The sentences about broken links. Pages are read by the scenario's engine, so that in a browser the links are those of
// the rendered page; what they lead to is asked for over HTTP in either, with the visitor's cookies.

const (
	linksMeasures = "Time until every link was looked at; phases of the first page alone. Measurements links_checked, links_broken and links_pages (those that were read)."
	linksTable    = " A table beneath, one setting a row, may say `ignore` (a regular expression of addresses to leave alone, such as /logout) and `other hosts` (yes asks for links to other hosts too, each for its status alone"
	linksWhat     = "a status of 400 or more, no answer within 10s, a place on a page that is not there, an image, script, style sheet or frame that is missing, and http content on an https page. "
)

func init() {
	registerWeb(
		Definition{Area: "web", Sentence: "no link on this page is broken",
			Does:     "Asks for all that the current page refers to. Broken is " + linksWhat + "Fails when the page has no link at all." + linksTable + ").",
			Measures: linksMeasures, Table: Optional, Example: "Then no link on this page is broken", Func: noLinkBroken},
		Definition{Area: "web", Sentence: "no link of {url} is broken",
			Does: "Reads a website from that page on and asks for all that its pages refer to. Broken is " + linksWhat +
				"Only pages on the same host are read, up to 2 links away and 100 in all; when that left pages out, the step's note says so. Fails when the time is over before every link was looked at: `@timeout` gives it more." +
				linksTable + "), `depth` (how many links away pages are read) and `pages` (how many are read at most).",
			Measures: linksMeasures, Table: Optional, Example: "Then no link of \"https://www.example.org/\" is broken\n  | depth  | 3       |\n  | pages  | 200     |\n  | ignore | /logout |", Func: noLinkOfSiteBroken},
	)
}

const (
	linkTime     = 10 * time.Second // for one address
	linkPageTime = 20 * time.Second // for reading a page
	linksAtOnce  = 4                // fewer than a browser's six connections a host
	linksKept    = 10000
	linksShown   = 10 // broken ones in the message; the evidence has them all
	linksListed  = 1000
	maxPages     = 10000
	maxDepth     = 100
)

func noLinkBroken(ctx context.Context, w *World, a Args) error {
	bounds, err := linkBounds(a, false)
	if err != nil {
		return err
	}
	return checkLinks(ctx, w, bounds)
}

func noLinkOfSiteBroken(ctx context.Context, w *World, a Args) error {
	bounds, err := linkBounds(a, true)
	if err != nil {
		return err
	}
	u, err := resolve(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	if err := engineOf(w).load(ctx, w, visit{method: http.MethodGet, url: u}); err != nil {
		return err
	}
	return checkLinks(ctx, w, bounds, u.Hostname())
}

// linkBounds reads the table beneath a sentence about links.
func linkBounds(a Args, site bool) (crawl.Bounds, error) {
	b := crawl.Bounds{Pages: 1, Links: linksKept, Asking: linksAtOnce, Read: linksAtOnce}
	settings := "ignore and other hosts"
	if site {
		b.Depth, b.Pages, settings = 2, 100, "depth, pages, ignore and other hosts"
	}
	for _, row := range a.Table {
		if len(row) != 2 {
			return b, scenarioFault("a row of the table has %d cells; write a setting and its value, as in | ignore | /logout |", len(row))
		}
		var err error
		switch setting, value := row[0], row[1]; {
		case setting == "depth" && site:
			b.Depth, err = linkBound(setting, value, 0, maxDepth)
		case setting == "pages" && site:
			b.Pages, err = linkBound(setting, value, 1, maxPages)
		case setting == "ignore":
			if b.Ignore, err = regexp.Compile(value); err != nil || value == "" {
				err = scenarioFault("ignore: %q is no regular expression that can be used (RE2 syntax)", value)
			}
		case setting == "other hosts" && (value == "yes" || value == "no"):
			b.Others = value == "yes"
		case setting == "other hosts":
			err = scenarioFault("other hosts: %q is neither yes nor no", value)
		default:
			err = scenarioFault("the table has a setting %q; its settings are %s", setting, settings)
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

func linkBound(setting, value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, scenarioFault("%s: %q is no number from %d to %d", setting, value, least, most)
	}
	return n, nil
}

// checkLinks crawls from the current page on. own names hosts that are the website's besides the page's.
func checkLinks(ctx context.Context, w *World, bounds crawl.Bounds, own ...string) error {
	site := &linkSite{w: w.aside(), page: make(chan *httpSession, bounds.Read), ask: make(chan *httpSession, bounds.Asking)}
	defer site.close()
	var first *crawl.Page
	var at *url.URL
	err := eventually(ctx, w, func(_ webEngine, p *page) error {
		doc, err := p.tree()
		if err != nil {
			return err
		}
		first, at = crawl.NewPage(p.url, p.base(), doc), p.url
		if len(first.Links) == 0 {
			return Fail(result.ReasonNotFound, result.BlameWeb, "look at the links of %s: there is none", p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := site.open(ctx, w, bounds, at); err != nil {
		return err
	}
	if w.inBrowser {
		bounds.Read = 1 // a scenario has one tab
	}
	r := crawl.Run(ctx, site, first, append(own, at.Hostname()), bounds)
	if w.inBrowser && r.Pages > 1 && ctx.Err() == nil {
		if err := engineOf(w).load(ctx, w.aside(), visit{method: http.MethodGet, url: at, anyStatus: true}); err != nil {
			return err
		}
	}
	return judgeLinks(ctx, w, at, bounds, r)
}

// judgeLinks reports what a crawl found, and fails for what is broken and for what there was no time for.
func judgeLinks(ctx context.Context, w *World, from *url.URL, bounds crawl.Bounds, r *crawl.Report) error {
	for _, b := range r.Broken {
		var failure *Failure
		if errors.As(b.Err, &failure) && failure.Blame == result.BlameMonitor {
			return b.Err // it says nothing of the website
		}
	}
	w.Measure("links_checked", "Addresses that the pages refer to and that were looked at, and places on pages.", float64(r.Checked))
	w.Measure("links_broken", "Those of them that are broken.", float64(len(r.Broken)))
	w.Measure("links_pages", "Pages that were read for their links.", float64(r.Pages))
	act := "look at the links of " + shownURL(from)
	switch left := leftOut(bounds, r); {
	case errors.Is(context.Cause(ctx), ErrStopped):
		return FailNet(ctx, ctx.Err(), result.BlameWeb, act)
	case ctx.Err() != nil || r.Unasked > 0:
		broken := "none of those is broken"
		if len(r.Broken) > 0 {
			broken = fmt.Sprintf("%d of those are broken: %s", len(r.Broken), brokenLinks(w, r))
		}
		return Fail(result.ReasonTimeout, result.BlameWeb, "%s: the time was over after %d of at least %d links on %d pages, and %s; @timeout gives more time, a table with depth, pages and ignore asks for less",
			act, r.Checked, r.Checked+r.Unasked, r.Pages, broken)
	case len(r.Broken) > 0:
		reason, blame := linkFault(r.Broken[0].Err)
		for _, b := range r.Broken[1:] {
			if other, at := linkFault(b.Err); other != reason || at != blame {
				reason, blame = result.ReasonUnexpected, result.BlameWeb
				break
			}
		}
		return Fail(reason, blame, "%s: %d of %d are broken: %s%s", act, len(r.Broken), r.Checked, brokenLinks(w, r), left)
	default:
		w.Note(fmt.Sprintf("%d links on %d pages%s", r.Checked, r.Pages, left))
		return nil
	}
}

// leftOut says what a crawl did not look at.
func leftOut(bounds crawl.Bounds, r *crawl.Report) string {
	var parts []string
	say := func(n int, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, append([]any{n}, args...)...))
		}
	}
	if bounds.Depth > 0 || bounds.Pages > 1 {
		say(r.Unread, "pages not read: %d (depth %d, pages %d)", bounds.Depth, bounds.Pages)
	}
	say(r.Over, "links not asked for: %d (beyond %d)", bounds.Links)
	say(r.Others, "not asked for on other hosts: %d")
	say(r.Refused, "other hosts that do not answer a monitor: %d links")
	say(r.Ignored, "ignored: %d")
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, "; ")
}

// brokenLinks names the first broken links, and keeps all of them as evidence.
func brokenLinks(w *World, r *crawl.Report) string {
	var lines, all []string
	for i, b := range r.Broken {
		line := brokenLink(b)
		if i < linksShown {
			lines = append(lines, line)
		}
		if i < linksListed {
			all = append(all, line)
		}
	}
	if more := len(r.Broken) - linksListed; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	if more := len(r.Broken) - linksShown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	w.Attach("broken links", "text/plain; charset=utf-8", []byte(strings.Join(all, "\n")+"\n"))
	return strings.Join(lines, "; ")
}

func brokenLink(b crawl.Broken) string {
	why := b.Err.Error()
	if net := (*netFailure)(nil); errors.As(b.Err, &net) {
		why = net.detail
	}
	article := "a "
	if strings.ContainsRune("aeiou", rune(b.Kind[0])) {
		article = "an "
	}
	where := strings.Join(b.Pages, ", ")
	if b.More > 0 {
		where += fmt.Sprintf(" and %d pages more", b.More)
	}
	return fmt.Sprintf("%q (%s), %s on %s", b.Address, why, article+string(b.Kind), where)
}

func linkFault(err error) (result.Reason, result.Blame) {
	var failure *Failure
	switch {
	case errors.As(err, &failure):
		return failure.Reason, failure.Blame
	case errors.As(err, new(*crawl.StatusError)):
		return result.ReasonHTTPStatus, result.BlameWeb
	case errors.Is(err, crawl.ErrPlace):
		return result.ReasonNotFound, result.BlameWeb
	default:
		return result.ReasonUnexpected, result.BlameWeb
	}
}

// linkSite is a website as a crawl gets at it.
type linkSite struct {
	w       *World
	browser *browserSession   // reads the pages, when there is one
	page    chan *httpSession // otherwise these do, each in turn
	ask     chan *httpSession // ask for what pages refer to
}

// open makes the sessions: they share cookies and credentials with the scenario's own, and have connections of their own.
func (s *linkSite) open(ctx context.Context, w *World, bounds crawl.Bounds, at *url.URL) error {
	visitor := State[httpSession](w)
	if w.inBrowser {
		s.browser = State[browserSession](w)
		var err error
		if visitor, err = s.browser.visitor(ctx, w, at); err != nil {
			return err
		}
	}
	for range bounds.Read {
		s.page <- visitor.fork()
	}
	for range bounds.Asking {
		s.ask <- visitor.fork()
	}
	return nil
}

func (s *linkSite) close() {
	for _, sessions := range []chan *httpSession{s.page, s.ask} {
		for len(sessions) > 0 {
			_ = (<-sessions).Close() // it has nothing but connections to close
		}
	}
}

// Ask is a part of crawl.Site.
func (s *linkSite) Ask(ctx context.Context, method string, address *url.URL) (*crawl.Answer, error) {
	session := <-s.ask
	defer func() { s.ask <- session }()
	ctx, cancel := context.WithTimeout(ctx, linkTime)
	defer cancel()
	err := session.load(ctx, s.w, visit{method: method, url: address, anyStatus: true})
	p := session.page
	session.page, session.visits = nil, nil
	switch {
	case err == nil, p != nil && errors.Is(p.broken, errBodyTooLarge): // it is there, however large
		return &crawl.Answer{URL: p.url, Status: p.StatusCode, HTML: p.isHTML()}, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, Fail(result.ReasonTimeout, result.BlameWeb, "no answer within %s", linkTime)
	}
	return nil, err
}

// Read is a part of crawl.Site.
func (s *linkSite) Read(ctx context.Context, address *url.URL) (*crawl.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, linkPageTime)
	defer cancel()
	p, err := s.read(ctx, address)
	var doc *html.Node
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, Fail(result.ReasonTimeout, result.BlameWeb, "no page within %s", linkPageTime)
	case err != nil:
		return nil, err
	case !p.accepted():
		return nil, &crawl.StatusError{Status: p.StatusCode}
	case !p.isHTML():
		doc = &html.Node{Type: html.DocumentNode}
	default:
		if doc, err = p.tree(); err != nil {
			return nil, err
		}
	}
	return crawl.NewPage(p.url, p.base(), doc), nil
}

func (s *linkSite) read(ctx context.Context, address *url.URL) (*page, error) {
	v := visit{method: http.MethodGet, url: address, anyStatus: true}
	if s.browser != nil {
		if err := s.browser.load(ctx, s.w, v); err != nil {
			return nil, err
		}
		return s.browser.now(ctx)
	}
	session := <-s.page
	defer func() { s.page <- session }()
	err := session.load(ctx, s.w, v)
	p := session.page
	session.page, session.visits = nil, nil
	return p, err
}

// fork gives a session for single documents, with the same cookies and credentials, and with connections of its own.
func (s *httpSession) fork() *httpSession {
	if s.jar == nil {
		s.jar, _ = cookiejar.New(nil) // fails for no options
	}
	return &httpSession{bare: true, jar: s.jar, basic: slices.Clone(s.basic), logins: s.logins.clone(), headers: slices.Clone(s.headers)}
}

// visitor gives a session over HTTP that has the cookies which the tab would send to the page, and its logins.
func (s *browserSession) visitor(ctx context.Context, w *World, at *url.URL) (*httpSession, error) {
	cookies, err := s.tab.Cookies(ctx, at.String())
	if err != nil {
		return nil, browserFailure(ctx, err, "read the tab's cookies")
	}
	own := State[httpSession](w)
	visitor := &httpSession{basic: slices.Clone(s.basic), logins: own.logins.clone(), headers: slices.Clone(own.headers)}
	visitor.jar, _ = cookiejar.New(nil) // fails for no options
	for _, c := range cookies {
		visitor.jar.SetCookies(at, []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/", Secure: c.Secure}}) //nolint:gosec // nobody is given this cookie
	}
	return visitor, nil
}

// beside gives a visitor for what a tab cannot be asked for, and what ends it. Its requests are kept among the tab's, and
// the cookies that it was given are the tab's from its end on.
func (s *browserSession) beside(ctx context.Context, w *World, at *url.URL) (visitor *httpSession, end func(), err error) {
	if _, err := s.ready(); err != nil {
		return nil, nil, err
	}
	if visitor, err = s.visitor(ctx, w, at); err != nil {
		return nil, nil, err
	}
	var given []browser.Cookie
	visitor.given = func(from *url.URL, cookies []*http.Cookie) {
		for _, c := range cookies {
			given = append(given, tabCookie(from, c))
		}
	}
	return visitor, func() {
		if len(given) > 0 {
			_ = s.tab.SetCookies(ctx, given) // of a browser that fails here the next step tells
		}
		s.aside = append(s.aside, visitor.exchanges...)
		_ = visitor.Close() // it has nothing but connections to close
	}, nil
}
