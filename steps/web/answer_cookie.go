package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

// webCookie is a cookie that a visitor of the current page has. It holds no value, so that none can leak.
type webCookie struct {
	name             string
	secure, httpOnly bool
	sameSite         string    // "Strict", "Lax", "None", or empty when the site does not set it
	expires          time.Time // zero when it ends with the session
}

// longestCookie is the longest that browsers keep a cookie, whatever its lifetime (RFC 6265bis section 5.5).
const longestCookie = 400 * steps.Day

// keepCookies remembers the attributes of a response's cookies.
func (s *httpSession) keepCookies(cookies []*http.Cookie) {
	if s.baked == nil {
		s.baked = map[string]webCookie{}
	}
	for _, c := range cookies {
		s.baked[c.Name] = webCookie{name: c.Name, secure: c.Secure, httpOnly: c.HttpOnly, sameSite: sameSiteName(c), expires: expiry(c)}
	}
}

// sameSiteName returns the SameSite attribute of a cookie, empty when it has none.
func sameSiteName(c *http.Cookie) string {
	switch c.SameSite {
	case http.SameSiteLaxMode:
		return "Lax"
	case http.SameSiteStrictMode:
		return "Strict"
	case http.SameSiteNoneMode:
		return "None"
	}
	return ""
}

// expiry returns when a browser deletes a cookie, zero for the end of the session.
func expiry(c *http.Cookie) time.Time {
	last := time.Now().Add(longestCookie)
	switch {
	case c.MaxAge < 0:
		return time.Unix(1, 0)
	case c.MaxAge > 0:
		return time.Now().Add(min(time.Duration(min(c.MaxAge, 1<<31))*time.Second, longestCookie))
	case c.Expires.After(last):
		return last
	}
	return c.Expires
}

// tabCookie converts a cookie of a response from this address to one for a tab.
func tabCookie(from *address.URL, c *http.Cookie) browser.Cookie {
	return browser.Cookie{Name: c.Name, Value: c.Value, Secure: c.Secure, HTTPOnly: c.HttpOnly, SameSite: sameSiteName(c), Expires: expiry(c),
		From: from.String(), Domain: c.Domain, Path: c.Path}
}

func (s *httpSession) cookiesOf(_ context.Context, p *page) ([]webCookie, error) {
	if s.jar == nil {
		return nil, nil
	}
	var held []webCookie
	for _, c := range s.jar.Cookies(p.url.Net()) {
		held = append(held, s.baked[c.Name])
	}
	return held, nil
}

// setCookies stores the cookies of a response. It rejects what browsers reject: a SameSite=None cookie that is not
// Secure, and a Secure one over plain HTTP.
func (s *httpSession) setCookies(answer *httpwire.Reply, from *visit) {
	cookies := slices.DeleteFunc(answer.Cookies(), func(c *http.Cookie) bool {
		return c.SameSite == http.SameSiteNoneMode && !c.Secure || c.Secure && from.url.Scheme != "https"
	})
	if s.jar == nil {
		s.jar, _ = cookiejar.New(nil) // never fails without options
	}
	s.jar.SetCookies(from.url.Net(), cookies)
	s.keepCookies(cookies)
	s.cookies++
	if s.given != nil {
		s.given(from.url, cookies)
	}
}

func (s *browserSession) cookiesOf(ctx context.Context, p *page) ([]webCookie, error) {
	tab, err := s.ready()
	if err != nil {
		return nil, err
	}
	cookies, err := tab.Cookies(ctx, p.url.String())
	if err != nil {
		return nil, browserFailure(ctx, err, "read the cookies")
	}
	held := make([]webCookie, len(cookies))
	for i, c := range cookies {
		held[i] = webCookie{name: c.Name, secure: c.Secure, httpOnly: c.HTTPOnly, sameSite: c.SameSite, expires: c.Expires}
	}
	return held, nil
}

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "the cookie {text} should be set",
			Does:    "Fails unless a visitor of the current page has a cookie of this name, set by this page or an earlier one.",
			Example: `Then the cookie "session" should be set`, Func: cookieSet(true)},
		steps.Definition{Area: "web", Sentence: "the cookie {text} should not be set",
			Does:    "Fails when a visitor of the current page has a cookie of this name.",
			Example: `Then the cookie "session" should not be set`, Func: cookieSet(false)},
		steps.Definition{Area: "web", Sentence: "the cookie {text} should be {word}", Pattern: `^the cookie "(.*)" should be (Secure|HttpOnly|SameSite=(?:Strict|Lax|None))$`,
			Does:    "Fails unless the cookie exists and has this attribute: Secure, HttpOnly, SameSite=Strict, SameSite=Lax or SameSite=None.",
			Example: `Then the cookie "session" should be HttpOnly`, Func: cookieShouldBe},
		steps.Definition{Area: "web", Sentence: "the cookie {text} should last at least {duration}",
			Does:     "Fails unless the cookie exists and lasts at least this long. As in a browser, a longer lifetime than 400 days counts as 400 days.",
			Measures: "Measurement http_cookie_lifetime_seconds.",
			Example:  `Then the cookie "session" should last at least 30 days`, Func: cookieLasts("at least", func(got, wanted time.Duration) bool { return got >= wanted })},
		steps.Definition{Area: "web", Sentence: "the cookie {text} should last at most {duration}",
			Does:     "Fails unless the cookie exists and expires within this time. A cookie without expiry fails.",
			Measures: "Measurement http_cookie_lifetime_seconds.",
			Example:  `Then the cookie "session" should last at most 12 hours`, Func: cookieLasts("at most", func(got, wanted time.Duration) bool { return got <= wanted })},
		steps.Definition{Area: "web", Sentence: "the cookie {text} should end with the session",
			Does:    "Fails unless the cookie exists and has no expiry.",
			Example: `Then the cookie "session" should end with the session`, Func: cookieEnds},
	)
}

// findCookie returns a cookie of the visitor of the current page.
func findCookie(ctx context.Context, w *steps.World, name string) (found *webCookie, p *page, others string, err error) {
	if p, err = currentPage(ctx, w); err != nil {
		return nil, nil, "", err
	}
	cookies, err := engineOf(w).cookiesOf(ctx, p)
	if err != nil {
		return nil, nil, "", err
	}
	names := []string{}
	for i, c := range cookies {
		if c.name == name {
			found = &cookies[i]
		}
		names = append(names, fmt.Sprintf("%q", c.name))
	}
	slices.Sort(names)
	others = "there is none"
	if len(names) > 0 {
		others = "there is " + strings.Join(names[:min(len(names), 10)], ", ")
	}
	return found, p, others, nil
}

func cookieSet(wanted bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		found, p, others, err := findCookie(ctx, w, a.Text(0))
		switch {
		case err != nil || wanted == (found != nil):
			return err
		case wanted:
			return noCookie(a.Text(0), p, others)
		default:
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect no cookie %q on %s: it is set", a.Text(0), p)
		}
	}
}

func noCookie(name string, p *page, others string) error {
	return steps.Fail(result.ReasonNotFound, result.BlameWeb, "expect the cookie %q on %s: %s", name, p, others)
}

func cookieShouldBe(ctx context.Context, w *steps.World, a steps.Args) error {
	c, p, others, err := findCookie(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	if c == nil {
		return noCookie(a.Text(0), p, others)
	}
	got := "not"
	switch wanted := a.Text(1); {
	case wanted == "Secure" && c.secure, wanted == "HttpOnly" && c.httpOnly, c.sameSite != "" && wanted == "SameSite="+c.sameSite:
		return nil
	case strings.HasPrefix(wanted, "SameSite=") && c.sameSite != "":
		got = "SameSite=" + c.sameSite
	case strings.HasPrefix(wanted, "SameSite="):
		got = "without SameSite"
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the cookie %q on %s to be %s: it is %s", a.Text(0), p, a.Text(1), got)
}

func cookieLasts(word string, fits func(got, wanted time.Duration) bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		wanted, err := a.Duration(1)
		if err != nil {
			return err
		}
		c, p, others, err := findCookie(ctx, w, a.Text(0))
		switch {
		case err != nil:
			return err
		case c == nil:
			return noCookie(a.Text(0), p, others)
		case c.expires.IsZero():
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the cookie %q on %s to last %s %s: it has no expiry and lasts as long as the visitor's session", a.Text(0), p, word, a.Text(1))
		}
		got := lifetime(c, p)
		w.Measure("http_cookie_lifetime_seconds", "How long the cookie lasts.", got.Seconds())
		if fits(got, wanted) {
			return nil
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the cookie %q on %s to last %s %s, got %s", a.Text(0), p, word, a.Text(1), got)
	}
}

// lifetime returns how long a cookie lasts. A cookie that was just set for a day lasts a little less than a day.
func lifetime(c *webCookie, p *page) time.Duration {
	if since := time.Since(p.begun); !p.begun.IsZero() && since < time.Minute {
		return c.expires.Sub(p.begun).Round(time.Second)
	}
	return time.Until(c.expires).Round(time.Second)
}

func cookieEnds(ctx context.Context, w *steps.World, a steps.Args) error {
	c, p, others, err := findCookie(ctx, w, a.Text(0))
	switch {
	case err != nil || c != nil && c.expires.IsZero():
		return err
	case c == nil:
		return noCookie(a.Text(0), p, others)
	default:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the cookie %q on %s to end with the session: it lasts %s", a.Text(0), p, lifetime(c, p))
	}
}
