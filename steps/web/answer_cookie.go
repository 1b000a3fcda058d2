package web

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/cookie"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// webCookie is a cookie that a visitor of the current page has. It holds no value, so that none can leak.
type webCookie struct {
	name             string
	secure, httpOnly bool
	sameSite         string    // "Strict", "Lax", "None", or empty when the site does not set it
	expires          time.Time // zero when it ends with the session
}

// refusedCookie is a cookie that browsers do not store.
type refusedCookie struct {
	from *address.URL
	*cookie.Refused
}

// mostRefused is how many cookies that browsers do not store are remembered.
const mostRefused = 100

// tabCookie converts a cookie of a response from this address to one for a tab.
func tabCookie(from *address.URL, c cookie.Cookie) browser.Cookie {
	to := browser.Cookie{Name: c.Name, Value: c.Value, Secure: c.Secure, HTTPOnly: c.HTTPOnly, SameSite: c.SameSite, Expires: c.Expires, From: from.String(), Path: c.Path}
	if !c.HostOnly {
		to.Domain = c.Domain
	}
	return to
}

func (s *httpSession) cookiesOf(_ context.Context, p *page) ([]webCookie, error) {
	if s.jar == nil {
		return nil, nil
	}
	var held []webCookie
	for _, c := range s.jar.For(p.url, cookie.Request{}, time.Now()) {
		held = append(held, webCookie{name: c.Name, secure: c.Secure, httpOnly: c.HTTPOnly, sameSite: c.SameSite, expires: c.Expires})
	}
	return held, nil
}

// withoutCookie says why a visitor of the page does not have a cookie that was set, or "".
func (s *httpSession) withoutCookie(_ context.Context, p *page, name string) string {
	return whyWithout(s.jar, s.refused, p, name)
}

// whyWithout says why a visitor of the page does not have a cookie of this name: it is kept for elsewhere, or was refused.
func whyWithout(jar *cookie.Jar, refused []refusedCookie, p *page, name string) string {
	if jar != nil {
		for _, c := range jar.All(time.Now()) {
			if why := c.Withheld(p.url); c.Name == name && why != "" {
				return fmt.Sprintf("; the cookie %q is kept, but not for this page: %s", name, why)
			}
		}
	}
	for _, r := range slices.Backward(refused) {
		if r.Name == name {
			return fmt.Sprintf("; %s set one, and browsers refuse it: %s", r.from, r.Why)
		}
	}
	return ""
}

// setCookies stores the cookies of a response, and remembers which of them browsers refuse.
func (s *httpSession) setCookies(fields []string, v *visit) {
	if s.jar == nil {
		s.jar = new(cookie.Jar)
	}
	now := time.Now()
	for _, field := range fields {
		c, err := s.jar.Set(v.url, v.origin(), field, now)
		var refused *cookie.Refused
		switch {
		case errors.As(err, &refused):
			if len(s.refused) < mostRefused {
				s.refused = append(s.refused, refusedCookie{v.url, refused})
			}
		case s.given != nil:
			s.given(v.url, c)
		}
	}
	s.cookies++
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

// withoutCookie judges the Set-Cookie fields of the tab's responses by the same rules as the session over HTTP, because the
// browser's own words name no rule.
func (s *browserSession) withoutCookie(ctx context.Context, p *page, name string) string {
	tab, err := s.ready()
	if err != nil {
		return ""
	}
	jar, err := tabJar(ctx, tab)
	if err != nil {
		return "" // the browser is asked again by the next step, which reports it
	}
	refused := slices.Clone(s.refused)
	requests, _ := tab.Requests()
	for _, r := range requests {
		from := address.Reported(r.URL)
		for _, field := range r.SetCookies {
			var why *cookie.Refused
			if _, err := new(cookie.Jar).Set(from, cookie.Request{}, field, time.Now()); errors.As(err, &why) {
				refused = append(refused, refusedCookie{from, why})
			}
		}
	}
	return whyWithout(jar, refused, p, name)
}

// tabJar returns the cookies of a tab's context.
func tabJar(ctx context.Context, tab *browser.Tab) (*cookie.Jar, error) {
	cookies, err := tab.AllCookies(ctx)
	if err != nil {
		return nil, err
	}
	jar, now := new(cookie.Jar), time.Now()
	for _, c := range cookies {
		jar.Put(cookie.Cookie{Name: c.Name, Value: c.Value, Domain: strings.TrimPrefix(c.Domain, "."), HostOnly: !strings.HasPrefix(c.Domain, "."), Path: c.Path,
			Secure: c.Secure, HTTPOnly: c.HTTPOnly, SameSite: c.SameSite, Expires: c.Expires}, now)
	}
	return jar, nil
}

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "the cookie {text} should be set",
			Does:    "Fails unless a visitor of the current page has a cookie of this name, set by this page or an earlier one.",
			Example: `Then the cookie "session" should be set`, Func: cookieSet(true)},
		steps.Definition{Area: "web", Sentence: "the cookie {text} should not be set",
			Does:    "Fails when a visitor of the current page has a cookie of this name.",
			Example: `Then the cookie "session" should not be set`, Func: cookieSet(false)},
		steps.Definition{Area: "web", Sentence: "the cookie {text} should be {word}", Pattern: `^the cookie {text} should be (Secure|HttpOnly|SameSite=(?:Strict|Lax|None))$`,
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
		names = append(names, wording.Quote(c.name))
	}
	slices.Sort(names)
	others = "there is none"
	if len(names) > 0 {
		others = "there is " + strings.Join(names[:min(len(names), 10)], ", ")
	}
	if found == nil {
		others += engineOf(w).withoutCookie(ctx, p, name)
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
