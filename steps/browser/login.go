package browser

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
)

// Login is how a tab logs in where a server asks for it by status 401 (RFC 9110 section 11).
type Login struct {
	Origin     string // that may have it, "https://www.example.org:443"; empty: every one
	Username   string
	Password   string
	DigestOnly bool   // only by digest, which does not send the password
	Token      string // sent with each request to the origin ("Authorization: Bearer"), instead of name and password
}

// String says where the login is for, and hides what it holds.
func (l Login) String() string { return "[a login at " + l.Origin + "]" }

// GoString hides what the login holds from %#v.
func (l Login) GoString() string { return l.String() }

// Login makes the tab log in from now on. The newest for an origin counts.
func (t *Tab) Login(ctx context.Context, l Login) error {
	t.mu.Lock()
	t.logins = append(t.logins, l)
	t.mu.Unlock()
	return t.intercept(ctx)
}

// ProxyLogin makes the tab log in at the proxy that its pages come through, when that asks for it (RFC 9110 section 11.7).
func (t *Tab) ProxyLogin(ctx context.Context, username, password string) error {
	t.mu.Lock()
	t.atProxy = &Login{Username: username, Password: password}
	t.mu.Unlock()
	return t.intercept(ctx)
}

// ProxyRefused says whether the proxy has not taken the login since the newest navigation began.
func (t *Tab) ProxyRefused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unwelcome
}

// sentHeader is a header field that requests to an origin are sent with.
type sentHeader struct{ origin, name, value string }

// SetHeader has each request to an origin (as Origin writes it; empty: every one) sent with a header field from now on.
func (t *Tab) SetHeader(ctx context.Context, origin, name, value string) error {
	t.mu.Lock()
	t.headers = append(t.headers, sentHeader{origin, name, value})
	t.mu.Unlock()
	return t.intercept(ctx)
}

// intercept has requests come by us before they go out.
func (t *Tab) intercept(ctx context.Context) error {
	t.mu.Lock()
	before := t.asked != nil
	if !before {
		t.asked, t.entered = map[fetch.RequestID]bool{}, map[fetch.RequestID]bool{}
	}
	t.mu.Unlock()
	if before {
		return nil
	}
	// The browser stops at each request and waits for us, which costs a millisecond: only a tab that logs in has that.
	handle := true
	_, err := command(ctx, t, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &handle})
	return err
}

// loginFor gives the newest login for an address; t.mu is held.
func (t *Tab) loginFor(address string) (Login, bool) {
	u, err := url.Parse(address)
	if err != nil {
		return Login{}, false
	}
	for i := len(t.logins) - 1; i >= 0; i-- {
		if l := t.logins[i]; l.Origin == "" || l.Origin == Origin(u) {
			return l, true
		}
	}
	return Login{}, false
}

// Origin writes the origin of an address (RFC 6454) with its port: "https://www.example.org:443".
func Origin(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	case u.Scheme == "http":
		port = "80"
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// paused lets a request go on, with the token and the header fields that its server may have; t.mu is held.
func (t *Tab) paused(ev *fetch.EventRequestPaused) {
	params := fetch.ContinueRequestParams{RequestID: ev.RequestID}
	own := http.Header{}
	if l, found := t.loginFor(ev.Request.URL); found && l.Token != "" {
		own.Set("Authorization", "Bearer "+l.Token)
	}
	if u, err := url.Parse(ev.Request.URL); err == nil {
		for _, h := range t.headers {
			if h.origin == "" || h.origin == Origin(u) {
				own.Set(h.name, h.value)
			}
		}
	}
	if len(own) > 0 {
		all := header(ev.Request.Headers)
		maps.Copy(all, own)
		for name, values := range all {
			params.Headers = append(params.Headers, &fetch.HeaderEntry{Name: name, Value: strings.Join(values, ", ")})
		}
	}
	go func() {
		// A request that is gone needs no answer; a browser that is gone ends the tab.
		_, _ = cdp.Call(t.life, t.session, fetch.ContinueRequest, params)
	}()
}

// challenged answers a server that asks for a login, once for each request; t.mu is held.
func (t *Tab) challenged(ev *fetch.EventAuthRequired) {
	answer := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
	l, found := t.loginFor(ev.AuthChallenge.Origin)
	switch {
	case ev.AuthChallenge.Source == fetch.AuthChallengeSourceProxy && t.atProxy == nil:
		answer.Response = fetch.AuthChallengeResponseResponseDefault
	case ev.AuthChallenge.Source == fetch.AuthChallengeSourceProxy:
		if t.unwelcome = t.entered[ev.RequestID]; !t.unwelcome {
			t.entered[ev.RequestID] = true
			answer.Response, answer.Username, answer.Password = fetch.AuthChallengeResponseResponseProvideCredentials, t.atProxy.Username, t.atProxy.Password
		}
	case found && l.Token == "" && !t.asked[ev.RequestID] && (!l.DigestOnly || strings.EqualFold(ev.AuthChallenge.Scheme, "digest")):
		t.asked[ev.RequestID] = true
		answer.Response, answer.Username, answer.Password = fetch.AuthChallengeResponseResponseProvideCredentials, l.Username, l.Password
	}
	go func() {
		_, _ = cdp.Call(t.life, t.session, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: ev.RequestID, AuthChallengeResponse: answer})
	}()
}
