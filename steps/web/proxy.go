package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

// refusedCertificate returns the failure of a page that was refused for lack of a valid client certificate, or nil.
// Servers such as nginx finish the handshake and respond with status 400 and a page that says so.
func (p *page) refusedCertificate(act string) error {
	l := p.Login
	if l == nil || !l.Asked {
		return nil
	}
	told, ours := l.Told()
	switch p.StatusCode {
	case http.StatusBadRequest:
		if !strings.Contains(strings.ToLower(string(p.Content)), "certificate") && !ours {
			return nil
		}
	case http.StatusUnauthorized, http.StatusForbidden, 495, 496: // the last two are specific to nginx
		if !ours && l.Shown != nil {
			return nil
		}
	default:
		return nil
	}
	return steps.Fail(result.ReasonAuth, l.Blame(ours), "%s: status %s: %s", act, p.status(), told)
}

// noBrowserLogin rejects a visit with a browser to a host with a client certificate, because a browser cannot be given
// one from outside: headless-shell supports none, and Chromium asks the user or the policy of the machine.
func noBrowserLogin(w *steps.World, v *visit) error {
	if v.url.Scheme != "https" || steps.SettingsOf[httpwire.ClientCertificates](w.Target()).For(v.url.Hostname()) == nil {
		return nil
	}
	return steps.Fail(result.ReasonBrowser, result.BlameMonitor, "%s: tls.clients in stepwatch.yml has a client certificate for %s, which @browser does not support: remove @browser from this scenario", v, v.url.Hostname())
}

// handLogin passes the login to a browser's tab.
func handLogin(ctx context.Context, l *httpwire.ProxyLogin, w *steps.World, tab *browser.Tab) error {
	secret, err := w.Secret(ctx, l.Password)
	if err != nil {
		return err
	}
	w.Redact(l.Username + ":" + secret.Reveal())
	if err := tab.ProxyLogin(ctx, l.Username, secret.Reveal()); err != nil {
		return browserFailure(ctx, err, "prepare the login at the proxy")
	}
	return nil
}

// proxyRefusal returns the failure of a page that a proxy sent instead of its server, or nil. Without a tunnel, only
// the proxy's own marks distinguish it: status 407, the Proxy-Status of RFC 9209, or Squid's field.
func (p *page) proxyRefusal(act string) error {
	own := strings.Contains(p.Header.Get("Proxy-Status"), "error=") || p.Header.Get("X-Squid-Error") != ""
	if !p.Proxied || p.url.Scheme == "https" || p.StatusCode != http.StatusProxyAuthRequired && !own {
		return nil
	}
	return httpwire.JudgeProxy(p.Response, act+" through the proxy "+httpwire.ProxySetting, p.Request.Header.Get("Proxy-Authorization") != "")
}
