package httpwire

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/challenge"
	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// A proxy between stepwatch and the web (RFC 9110 section 7.6). For https it provides a tunnel (CONNECT, section
// 9.3.6), for http it gets requests with the whole address. Errors on the way to it, and its own refusals, are not the
// website's fault.

// ProxySetting says in a message where the proxy comes from.
const ProxySetting = "(web.proxy in stepwatch.yml)"

// proxyFor returns the proxy for requests to u, or nil. Addresses redirected by connect_to are reached without it, and
// so is the local machine, as in every browser.
func proxyFor(t *steps.Target, u *address.URL) *address.URL {
	proxy := steps.SettingsOf[Web](t).Proxy
	if _, led := t.ConnectTo[u.HostPort()]; proxy == nil || led || u.IsLocal() {
		return nil
	}
	return proxy
}

// login returns the name and password for the proxy as a value of Proxy-Authorization, or "".
func (l *ProxyLogin) login(ctx context.Context, w *steps.World) (string, error) {
	if l == nil {
		return "", nil
	}
	secret, err := w.Secret(ctx, l.Password)
	if err != nil {
		return "", err
	}
	pair := l.Username + ":" + secret.Reveal()
	w.Redact(pair)
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)), nil
}

// dialProxy opens a connection to the proxy, and for https a tunnel through it to the server of u. login is empty, or
// the credentials for the proxy.
func dialProxy(ctx context.Context, w *steps.World, proxy, u *address.URL, login string) (net.Conn, error) {
	conn, err := w.DialRoute(ctx, proxy.HostPort(), result.BlameNetwork, steps.Route{For: u.HostPort()})
	if err != nil {
		var failure *steps.Failure
		if errors.As(err, &failure) {
			err = steps.Fail(failure.Reason, failure.Blame, "%w: this is the proxy %s", err, ProxySetting)
		}
		return nil, err
	}
	if u.Scheme != "https" {
		return conn, nil
	}
	if err := w.Timed("proxy", func() (string, error) { return tunnel(ctx, conn, proxy, u, login) }); err != nil {
		_ = conn.Close() // the cause is already known
		return nil, err
	}
	return conn, nil
}

// tunnel asks the proxy for a connection to the server of u, and returns code and phrase of the status line.
func tunnel(ctx context.Context, conn net.Conn, proxy, u *address.URL, login string) (string, error) {
	defer lifeline.Bind(ctx, conn).Release()
	to := u.HostPort()
	act := fmt.Sprintf("CONNECT %s through the proxy %s %s", to, proxy.HostPort(), ProxySetting)
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: http.Header{"User-Agent": UserAgent}}
	if login != "" {
		request.Header.Set("Proxy-Authorization", login)
	}
	err := request.Write(conn)
	var response *http.Response
	if err == nil {
		// The server sends nothing before we do, so the reader buffers none of its data.
		guard := &headerGuard{r: conn, left: headerLimit.Most}
		if response, err = http.ReadResponse(bufio.NewReader(guard), request); err != nil && guard.err != nil { //nolint:bodyclose // the connection is the body
			err = guard.err
		}
	}
	if err != nil {
		return "", steps.FailNet(ctx, err, result.BlameNetwork, act)
	}
	return response.Status, JudgeProxy(response, act, login != "")
}

// ProxyLoginHint says what to do when a proxy requires a login and none is configured.
const ProxyLoginHint = "set web.proxy_login in stepwatch.yml, or let the proxy accept this machine without one"

// JudgeProxy returns the failure for a response by the proxy itself. login reports whether credentials were sent.
func JudgeProxy(r *http.Response, act string, login bool) error {
	asked := r.Header.Values("Proxy-Authenticate")
	switch status := r.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusProxyAuthRequired && login && len(asked) > 0 && !challenge.Offers(challenge.Read(asked), "Basic"):
		return steps.Fail(result.ReasonAuth, result.BlameScenario, "%s: it does not offer basic authentication, the only one that is supported for a proxy: %s and Proxy-Authenticate %.200q", act, r.Status, strings.Join(asked, ", "))
	case status == http.StatusProxyAuthRequired && login:
		return steps.Fail(result.ReasonAuth, result.BlameNetwork, "%s: it refused the login (web.proxy_login in stepwatch.yml): %s", act, r.Status)
	case status == http.StatusProxyAuthRequired:
		return steps.Fail(result.ReasonAuth, result.BlameScenario, "%s: it requires a login (%s): %s", act, r.Status, ProxyLoginHint)
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return steps.Fail(result.ReasonConnect, result.BlameWeb, "%s: it cannot reach the server: %s", act, r.Status)
	default:
		return steps.Fail(result.ReasonRefused, result.BlameNetwork, "%s: it refused: %s", act, r.Status)
	}
}
