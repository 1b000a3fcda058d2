package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/cookie"
	"github.com/stepwatch/stepwatch/steps/crawl"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// The sentences about broken links. The scenario's engine reads the pages, so in a browser the links are those of the
// rendered page. The targets are always requested over HTTP, with the visitor's cookies.

const (
	linksMeasures = "Time to check every link; phases of the first page only. Measurements links_checked, links_broken and links_pages (the pages that were read)."
	linksTable    = " An optional table below, one setting per row, can contain `ignore` (a regular expression of addresses to skip, such as /logout) and `other hosts` (yes: also request links to other hosts, each for its status only"
	linksWhat     = "a status of 400 or more, no response within 10s, a missing fragment of a page, a missing image, script, style sheet or frame, and http content on an https page. "
)

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "no link on this page is broken",
			Does:     "Requests everything that the current page refers to. Broken means " + linksWhat + "Fails when the page has no links." + linksTable + ").",
			Measures: linksMeasures, Table: steps.Optional, Example: "Then no link on this page is broken", Func: noLinkBroken},
		steps.Definition{Area: "web", Sentence: "no link of {url} is broken",
			Does: "Reads a website, starting at this page, and requests everything that its pages refer to. Broken means " + linksWhat +
				"Reads only pages on the same host, up to 2 links away and 100 in all; the step's note reports pages that were skipped. Fails when time runs out before every link was checked: `@timeout` allows more." +
				linksTable + "), `depth` (how many links away pages may be) and `pages` (how many are read at most).",
			Measures: linksMeasures, Table: steps.Optional, Example: "Then no link of \"https://www.example.org/\" is broken\n  | depth  | 3       |\n  | pages  | 200     |\n  | ignore | /logout |", Func: noLinkOfSiteBroken},
	)
}

const (
	linkTime     = 10 * time.Second // for one address
	linkPageTime = 20 * time.Second // for reading a page
	linksAtOnce  = 4                // fewer than the six connections of a browser to a host
	linksKept    = 10000
	linksShown   = 10 // in the message; the evidence has all of them
	linksListed  = 1000
	maxPages     = 10000
	maxDepth     = 100
)

func noLinkBroken(ctx context.Context, w *steps.World, a steps.Args) error {
	bounds, err := linkBounds(a, false)
	if err != nil {
		return err
	}
	return checkLinks(ctx, w, bounds)
}

func noLinkOfSiteBroken(ctx context.Context, w *steps.World, a steps.Args) error {
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

// linkBounds reads the table below a sentence about links.
func linkBounds(a steps.Args, site bool) (crawl.Bounds, error) {
	b := crawl.Bounds{Pages: 1, Links: linksKept, Asking: linksAtOnce, Read: linksAtOnce}
	settings := "ignore and other hosts"
	if site {
		b.Depth, b.Pages, settings = 2, 100, "depth, pages, ignore and other hosts"
	}
	for _, row := range a.Table {
		if len(row) != 2 {
			return b, steps.FailScenario("a row of the table has %d cells; write a setting and its value, as in | ignore | /logout |", len(row))
		}
		var err error
		switch setting, value := row[0], row[1]; {
		case setting == "depth" && site:
			b.Depth, err = linkBound(setting, value, 0, maxDepth)
		case setting == "pages" && site:
			b.Pages, err = linkBound(setting, value, 1, maxPages)
		case setting == "ignore":
			if b.Ignore, err = regex.Compile(value, 0); err != nil || value == "" {
				err = steps.FailScenario("ignore: %q is not a valid regular expression (RE2 syntax)", value)
			}
		case setting == "other hosts" && (value == "yes" || value == "no"):
			b.Others = value == "yes"
		case setting == "other hosts":
			err = steps.FailScenario("other hosts: %q is neither yes nor no", value)
		default:
			err = steps.FailScenario("the table has a setting %q; its settings are %s", setting, settings)
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
		return 0, steps.FailScenario("%s: %q is not a number from %d to %d", setting, value, least, most)
	}
	return n, nil
}

// checkLinks crawls a website from the current page. own names further hosts of the website.
func checkLinks(ctx context.Context, w *steps.World, bounds crawl.Bounds, own ...string) error {
	site := &linkSite{w: w.Aside(), page: make(chan *httpSession, bounds.Read), ask: make(chan *httpSession, bounds.Asking)}
	defer site.close()
	var first *crawl.Page
	var at *address.URL
	err := watching(ctx, w, waitInBrowser(w), true, func(_ webEngine, p *page) error {
		doc, err := p.tree()
		if err != nil {
			return err
		}
		first, at = crawl.NewPage(p.url, p.base(), doc, p.coding()), p.url
		if len(first.Links) == 0 {
			return steps.Fail(result.ReasonNotFound, result.BlameWeb, "check the links of %s: there are none", p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := site.open(ctx, w, bounds, at); err != nil {
		return err
	}
	if w.InBrowser {
		bounds.Read = 1 // a scenario has one tab
	}
	r := crawl.Run(ctx, site, first, append(own, at.Hostname()), bounds)
	if w.InBrowser && r.Pages > 1 && ctx.Err() == nil {
		if err := engineOf(w).load(ctx, w.Aside(), visit{method: http.MethodGet, url: at, anyStatus: true}); err != nil {
			return err
		}
	}
	return judgeLinks(ctx, w, at, bounds, r)
}

// judgeLinks reports the result of a crawl. It fails for broken links and for those there was no time for.
func judgeLinks(ctx context.Context, w *steps.World, from *address.URL, bounds crawl.Bounds, r *crawl.Report) error {
	for _, b := range r.Broken {
		var failure *steps.Failure
		if errors.As(b.Err, &failure) && failure.Blame == result.BlameMonitor {
			return b.Err // not a fault of the website
		}
	}
	w.Measure("links_checked", "Links that were checked: addresses that the pages refer to, and fragments of pages.", float64(r.Checked))
	w.Measure("links_broken", "Links that are broken.", float64(len(r.Broken)))
	w.Measure("links_pages", "Pages that were searched for links.", float64(r.Pages))
	act := "check the links of " + from.String()
	switch left := leftOut(bounds, r); {
	case errors.Is(context.Cause(ctx), steps.ErrStopped):
		return steps.FailNet(ctx, ctx.Err(), result.BlameWeb, act)
	case ctx.Err() != nil || r.Unasked > 0:
		broken := "none of them is broken"
		if len(r.Broken) > 0 {
			broken = fmt.Sprintf("%d of them are broken: %s", len(r.Broken), brokenLinks(w, r))
		}
		return steps.Fail(result.ReasonTimeout, result.BlameWeb, "%s: time ran out after %d of at least %d links on %d pages, and %s; allow more time with @timeout, or reduce the work in a table with depth, pages and ignore",
			act, r.Checked, r.Checked+r.Unasked, r.Pages, broken)
	case len(r.Broken) > 0:
		reason, blame := linkFault(r.Broken[0].Err)
		for _, b := range r.Broken[1:] {
			if other, at := linkFault(b.Err); other != reason || at != blame {
				reason, blame = result.ReasonUnexpected, result.BlameWeb
				break
			}
		}
		return steps.Fail(reason, blame, "%s: %d of %d are broken: %s%s", act, len(r.Broken), r.Checked, brokenLinks(w, r), left)
	default:
		w.Note(fmt.Sprintf("%d links on %d pages%s", r.Checked, r.Pages, left))
		return nil
	}
}

// leftOut describes what a crawl skipped.
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
	say(r.Over, "links not requested: %d (limit %d)", bounds.Links)
	say(r.Others, "not requested on other hosts: %d")
	say(r.Refused, "links to other hosts that reject a monitor: %d")
	say(r.Ignored, "ignored: %d")
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, "; ")
}

// brokenLinks lists the first broken links, and keeps all of them as evidence.
func brokenLinks(w *steps.World, r *crawl.Report) string {
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
	if net := (*steps.NetFailure)(nil); errors.As(b.Err, &net) {
		why = net.Detail
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
	var failure *steps.Failure
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

// linkSite gives a crawl access to a website.
type linkSite struct {
	w       *steps.World
	browser *browserSession   // reads the pages, when there is one
	page    chan *httpSession // otherwise these read the pages in turn
	ask     chan *httpSession // request what pages refer to
}

// open creates the sessions. They share cookies and credentials with the scenario's session, but have their own
// connections.
func (s *linkSite) open(ctx context.Context, w *steps.World, bounds crawl.Bounds, at *address.URL) error {
	visitor := steps.State[httpSession](w)
	if w.InBrowser {
		s.browser = steps.State[browserSession](w)
		var err error
		if visitor, err = s.browser.visitor(ctx, w); err != nil {
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
			_ = (<-sessions).Close() // only closes connections
		}
	}
}

// Ask implements crawl.Site.
func (s *linkSite) Ask(ctx context.Context, method string, of *address.URL) (*crawl.Answer, error) {
	session := <-s.ask
	defer func() { s.ask <- session }()
	ctx, cancel := context.WithTimeout(ctx, linkTime)
	defer cancel()
	err := session.load(ctx, s.w, visit{method: method, url: of, anyStatus: true})
	p := session.page
	session.show(nil)
	session.visits = nil
	switch {
	case err == nil, p != nil && errors.As(p.Broken, new(*limit.Error)): // it exists, whatever its size
		return &crawl.Answer{URL: p.url, Status: p.StatusCode, HTML: p.isHTML()}, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, steps.Fail(result.ReasonTimeout, result.BlameWeb, "no response within %s", linkTime)
	}
	return nil, err
}

// Read implements crawl.Site.
func (s *linkSite) Read(ctx context.Context, of *address.URL) (*crawl.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, linkPageTime)
	defer cancel()
	p, err := s.read(ctx, of)
	defer p.release()
	var doc *html.Node
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, steps.Fail(result.ReasonTimeout, result.BlameWeb, "no page within %s", linkPageTime)
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
	return crawl.NewPage(p.url, p.base(), doc, p.coding()), nil
}

func (s *linkSite) read(ctx context.Context, of *address.URL) (*page, error) {
	v := visit{method: http.MethodGet, url: of, anyStatus: true}
	if s.browser != nil {
		if err := s.browser.load(ctx, s.w, v); err != nil {
			return nil, err
		}
		return s.browser.now(ctx, s.w)
	}
	session := <-s.page
	defer func() { s.page <- session }()
	err := session.load(ctx, s.w, v)
	p := session.page
	session.page, session.visits = nil, nil // the caller releases the page
	return p, err
}

// fork returns a session for single documents, with the same cookies and credentials but its own connections.
func (s *httpSession) fork() *httpSession {
	if s.jar == nil {
		s.jar = new(cookie.Jar)
	}
	return &httpSession{bare: true, jar: s.jar, basic: slices.Clone(s.basic), logins: s.logins.clone(), headers: slices.Clone(s.headers)}
}

// visitor returns an HTTP session with the logins and cookies of the tab.
func (s *browserSession) visitor(ctx context.Context, w *steps.World) (*httpSession, error) {
	jar, err := tabJar(ctx, s.tab)
	if err != nil {
		return nil, browserFailure(ctx, err, "read the tab's cookies")
	}
	own := steps.State[httpSession](w)
	return &httpSession{jar: jar, basic: slices.Clone(s.basic), logins: own.logins.clone(), headers: slices.Clone(own.headers)}, nil
}

// beside returns an HTTP session for requests outside the tab, and a function that ends it. Its requests are recorded
// with those of the tab, and end copies its new cookies to the tab.
func (s *browserSession) beside(ctx context.Context, w *steps.World) (visitor *httpSession, end func(), err error) {
	if _, err := s.ready(); err != nil {
		return nil, nil, err
	}
	if visitor, err = s.visitor(ctx, w); err != nil {
		return nil, nil, err
	}
	var given []browser.Cookie
	visitor.given = func(from *address.URL, c cookie.Cookie) { given = append(given, tabCookie(from, c)) }
	return visitor, func() {
		for _, c := range given {
			if err := s.tab.SetCookie(ctx, c); err != nil {
				w.Note(fmt.Sprintf("the browser does not take over the cookie %.80q: %.200v", c.Name, err))
			}
		}
		s.aside = append(s.aside, visitor.exchanges...)
		s.refused = append(s.refused, visitor.refused...)
		_ = visitor.Close() // only closes connections
	}, nil
}
