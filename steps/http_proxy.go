package steps

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// A proxy between us and the web (RFC 9110 section 7.6): for https a tunnel through it (CONNECT, section 9.3.6), for http
// requests that name the whole address. What fails on the way to it, and what it refuses by itself, is not the website's fault.

const theProxy = "(web.proxy in stepwatch.yml)"

// proxyFor gives the proxy that requests for u go through, or nil. What connect_to leads elsewhere is reached without it,
// and so is this machine, as in every browser.
func (t *Target) proxyFor(u *url.URL) *url.URL {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if _, led := t.ConnectTo[hostPort(u)]; t.Proxy == nil || led || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return t.Proxy
}

// dialProxy opens a connection to the proxy, and for https a tunnel through it to the server of u.
func dialProxy(ctx context.Context, w *World, proxy, u *url.URL) (net.Conn, error) {
	conn, err := w.Dial(ctx, hostPort(proxy), result.BlameNetwork)
	if err != nil {
		var failure *Failure
		if errors.As(err, &failure) {
			err = Fail(failure.Reason, failure.Blame, "%w: that is the proxy %s", err, theProxy)
		}
		return nil, err
	}
	if u.Scheme != "https" {
		return conn, nil
	}
	if err := w.Timed("proxy", func() (string, error) { return tunnel(ctx, conn, proxy, u) }); err != nil {
		_ = conn.Close() // what is wrong is known
		return nil, err
	}
	return conn, nil
}

// tunnel asks the proxy for a connection to the server of u, and gives the status line's code and phrase.
func tunnel(ctx context.Context, conn net.Conn, proxy, u *url.URL) (string, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	to := hostPort(u)
	act := fmt.Sprintf("CONNECT %s through the proxy %s %s", to, hostPort(proxy), theProxy)
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: http.Header{"User-Agent": userAgent}}
	err := request.Write(conn)
	var response *http.Response
	if err == nil {
		// The server says nothing before we do, so nothing of it is lost in the reader.
		guard := &headerGuard{r: conn, left: headerLimit}
		if response, err = http.ReadResponse(bufio.NewReader(guard), request); err != nil && guard.err != nil { //nolint:bodyclose // the connection is the body
			err = guard.err
		}
	}
	if err != nil {
		return "", FailNet(ctx, err, result.BlameNetwork, act)
	}
	return response.Status, judgeProxy(response, act)
}

// judgeProxy says what an answer that the proxy gave by itself means.
func judgeProxy(r *http.Response, act string) error {
	switch status := r.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusProxyAuthRequired:
		return Fail(result.ReasonAuth, result.BlameScenario, "%s: it wants a login (%s), and stepwatch has none for a proxy: let it take this machine without one", act, r.Status)
	case status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout:
		return Fail(result.ReasonConnect, result.BlameWeb, "%s: it does not reach the server: %s", act, r.Status)
	default:
		return Fail(result.ReasonRefused, result.BlameNetwork, "%s: it refuses: %s", act, r.Status)
	}
}

// proxyRefusal is the failure of a page that a proxy answered in the place of its server, or nil. Of a request without a
// tunnel only the proxy's own words can tell: 407, the Proxy-Status of RFC 9209, or Squid's field.
func (p *page) proxyRefusal(act string) error {
	own := strings.Contains(p.Header.Get("Proxy-Status"), "error=") || p.Header.Get("X-Squid-Error") != ""
	if !p.proxied || p.url.Scheme == "https" || p.StatusCode != http.StatusProxyAuthRequired && !own {
		return nil
	}
	return judgeProxy(p.Response, act+" through the proxy "+theProxy)
}
