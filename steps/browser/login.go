package browser

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"

	"github.com/stepwatch/stepwatch/steps/address"
)

// Login is how a tab logs in when a server asks with status 401 (RFC 9110 section 11).
type Login struct {
	Origin     string // the origin that may get it, "https://www.example.org", as address.URL has it; empty: all
	Username   string
	Password   string
	DigestOnly bool   // only with digest authentication, which does not send the password
	Token      string // sent with each request to the origin ("Authorization: Bearer") instead of name and password
}

// String returns the origin of the login without its credentials.
func (l Login) String() string { return "[a login at " + l.Origin + "]" }

// GoString hides the credentials from %#v.
func (l Login) GoString() string { return l.String() }

// Login makes the tab log in from now on. The newest login for an origin counts.
func (t *Tab) Login(ctx context.Context, l Login) error {
	t.mu.Lock()
	t.logins = append(t.logins, l)
	t.mu.Unlock()
	return t.intercept(ctx)
}

// ProxyLogin makes the tab log in to its proxy when that asks (RFC 9110 section 11.7).
func (t *Tab) ProxyLogin(ctx context.Context, username, password string) error {
	t.mu.Lock()
	t.atProxy = &Login{Username: username, Password: password}
	t.mu.Unlock()
	return t.intercept(ctx)
}

// ProxyRefused reports whether the proxy has rejected the login since the newest navigation began.
func (t *Tab) ProxyRefused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unwelcome
}

// LoggedIn reports whether the browser asked for the login at this address and got it. It does not for challenges that it
// cannot read.
func (t *Tab) LoggedIn(address string) bool {
	address, _, _ = strings.Cut(address, "#")
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.given[address]
}

// sentHeader is a header field to send with requests to an origin.
type sentHeader struct{ origin, name, value string }

// SetHeader sends a header field with each request to an origin from now on. origin has the form of address.URL.Origin;
// empty means all.
func (t *Tab) SetHeader(ctx context.Context, origin, name, value string) error {
	t.mu.Lock()
	t.headers = append(t.headers, sentHeader{origin, name, value})
	t.mu.Unlock()
	return t.intercept(ctx)
}

// intercept makes the browser pass requests to us before it sends them.
func (t *Tab) intercept(ctx context.Context) error {
	t.mu.Lock()
	before := t.asked != nil
	if !before {
		t.asked, t.entered, t.given = map[fetch.RequestID]bool{}, map[fetch.RequestID]bool{}, map[string]bool{}
	}
	t.mu.Unlock()
	if before {
		return nil
	}
	// The browser stops at each request and waits for us, which takes a millisecond: only a tab that logs in does so.
	handle := true
	_, err := command(ctx, t, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &handle})
	return err
}

// loginFor returns the newest login for an address; t.mu is held.
func (t *Tab) loginFor(of string) (Login, bool) {
	u, err := address.Parse(of)
	if err != nil {
		return Login{}, false
	}
	for i := len(t.logins) - 1; i >= 0; i-- {
		if l := t.logins[i]; l.Origin == "" || l.Origin == u.Origin() {
			return l, true
		}
	}
	return Login{}, false
}

// paused continues a request, with the token and the header fields for its server; t.mu is held.
func (t *Tab) paused(ev *fetch.EventRequestPaused) {
	params := fetch.ContinueRequestParams{RequestID: ev.RequestID}
	own := http.Header{}
	if l, found := t.loginFor(ev.Request.URL); found && l.Token != "" {
		own.Set("Authorization", "Bearer "+l.Token)
	}
	to := address.Reported(ev.Request.URL)
	for _, h := range t.headers {
		if h.origin == "" || h.origin == to.Origin() {
			own.Set(h.name, h.value)
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
		// A request that is gone needs no reply; a browser that is gone ends the tab.
		_, _ = cdp.Call(t.life, t.session, fetch.ContinueRequest, params)
	}()
}

// challenged responds to a server that asks for a login, once for each request; t.mu is held.
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
		t.given[ev.Request.URL] = true
		answer.Response, answer.Username, answer.Password = fetch.AuthChallengeResponseResponseProvideCredentials, l.Username, l.Password
	}
	go func() {
		_, _ = cdp.Call(t.life, t.session, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: ev.RequestID, AuthChallengeResponse: answer})
	}()
}
