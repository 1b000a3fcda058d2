package web_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// testProxy is a proxy that reaches the hosts that it knows, and refuses on demand.
type testProxy struct {
	hosts map[string]string // "host:port" to its address

	mu     sync.Mutex
	answer int               // status for all requests, 0 for none
	extra  map[string]string // of that response's header
	login  string            // "name:password" that it requires, or empty
	seen   []string
}

func (p *testProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.RequestURI)
	answer, extra := p.answer, p.extra
	if want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.login)); p.login != "" && r.Header.Get("Proxy-Authorization") != want {
		answer = http.StatusProxyAuthRequired
	}
	r.Header.Del("Proxy-Authorization")
	p.mu.Unlock()
	if answer != 0 {
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		for name, value := range extra {
			w.Header().Set(name, value)
		}
		w.WriteHeader(answer)
		return
	}
	host := r.URL.Host
	if r.Method != http.MethodConnect {
		host = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	to, err := net.Dial("tcp", p.hosts[host])
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer to.Close()
	if r.Method != http.MethodConnect {
		r.RequestURI = ""
		answer, err := (&http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return to, nil }}).RoundTrip(r)
		if err == nil {
			defer answer.Body.Close()
			maps.Copy(w.Header(), answer.Header)
			w.WriteHeader(answer.StatusCode)
			_, _ = io.Copy(w, answer.Body)
		}
		return
	}
	w.WriteHeader(http.StatusOK)
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(to, buffered)
		_ = to.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(from, to)
	_ = from.Close()
	<-done
}

func TestProxy(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	web, err := stepstest.NewWebsite(stepstest.WebsiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Close() })
	proxy := &testProxy{hosts: map[string]string{"www.demo.test:80": web.HTTPAddr, "www.demo.test:443": web.HTTPSAddr}}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	// The environment does not matter.
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	t.Setenv("no_proxy", "")
	at, err := address.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	closed := address.Reported("http://127.0.0.1:1/")
	const (
		ours    = "(web.proxy in stepwatch.yml)"
		theirs  = "(browser.proxy or web.proxy in stepwatch.yml)"
		secure  = "I go to https://www.demo.test/contact\n"
		plain   = "I go to http://www.demo.test/contact\n"
		content = `I should see "Contact us"`
	)
	tunnel := func(host string) string {
		return fmt.Sprintf("CONNECT %s:443 through the proxy %s %s", host, at.Host, ours)
	}
	browsers := map[*address.URL]*browser.Browser{}
	for _, proxy := range []*address.URL{at, closed} {
		if _, err := browser.Find(); err == nil {
			browsers[proxy] = fixture.StartedBrowser(t, browser.Options{Proxy: proxy.Origin(), MapHosts: map[string]string{"direct.demo.test:80": web.HTTPAddr}, Roots: [][]byte{web.CA.PEM()}})
		}
	}
	for _, c := range []struct {
		name    string
		proxy   *address.URL
		answer  int
		extra   map[string]string
		text    string
		want    string
		browser string // "-": the same
	}{
		{"https", at, 0, nil, secure + content, "", "-"},
		{"http", at, 0, nil, plain + content, "", "-"},
		{"whose address", at, 0, nil, secure + `the page should come over IPv4`, "config scenario: the server address of https://www.demo.test/contact (200 OK) is unknown: it was loaded through a proxy", ""},
		{"the site's own fault", at, 0, nil, "I go to http://www.demo.test/nothing", "http_status web: GET http://www.demo.test/nothing: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"http://www.demo.test/nothing\"` accepts any status)", ""},
		{"site not reached", at, 0, nil, "I go to https://gone.demo.test/", "connect web: " + tunnel("gone.demo.test") + ": it cannot reach the server: 502 Bad Gateway",
			"connect network: GET https://gone.demo.test/: the proxy " + theirs + " does not connect to the server, and the browser does not report why: run the step without @browser to see the reason (net::ERR_TUNNEL_CONNECTION_FAILED)"},
		{"login, https", at, 407, nil, secure, "auth scenario: " + tunnel("www.demo.test") + ": it requires a login (407 Proxy Authentication Required): set web.proxy_login in stepwatch.yml, or let the proxy accept this machine without one",
			"connect network: GET https://www.demo.test/contact: the proxy " + theirs + " does not connect to the server, and the browser does not report why: run the step without @browser to see the reason (net::ERR_TUNNEL_CONNECTION_FAILED)"},
		{"login, http", at, 407, nil, plain, "auth scenario: GET http://www.demo.test/contact through the proxy " + ours + ": it requires a login (407 Proxy Authentication Required): set web.proxy_login in stepwatch.yml, or let the proxy accept this machine without one",
			"auth scenario: GET http://www.demo.test/contact: the proxy " + theirs + " requires a login (407 Proxy Authentication Required): set web.proxy_login in stepwatch.yml, or let the proxy accept this machine without one"},
		{"refusal, https", at, 403, nil, secure, "refused network: " + tunnel("www.demo.test") + ": it refused: 403 Forbidden", ""},
		{"refusal, http", at, 403, map[string]string{"X-Squid-Error": "ERR_ACCESS_DENIED 0"}, plain, "refused network: GET http://www.demo.test/contact through the proxy " + ours + ": it refused: 403 Forbidden", ""},
		{"site not reached, http", at, 504, map[string]string{"Proxy-Status": "p; error=connection_timeout"}, plain, "connect web: GET http://www.demo.test/contact through the proxy " + ours + ": it cannot reach the server: 504 Gateway Timeout", ""},
		{"no proxy there", closed, 0, nil, secure, "connect network: connect to 127.0.0.1:1: connection refused: nothing listens on that port: this is the proxy " + ours,
			"connect network: GET https://www.demo.test/contact: the proxy " + theirs + " cannot be reached (net::ERR_PROXY_CONNECTION_FAILED)"},
		{"family", at, 0, nil, "I go to https://www.demo.test/ over IPv4", "scenario scenario: connect to www.demo.test:443: it is reached through a proxy " + ours + ", which chooses the address itself", ""},
		{"what connect_to leads elsewhere", closed, 0, nil, "I go to http://direct.demo.test/contact\n" + content, "", "-"},
		{"this machine", closed, 0, nil, "I go to http://" + web.HTTPAddr + "/contact\n" + content, "", ""},
	} {
		proxy.mu.Lock()
		proxy.answer, proxy.extra = c.answer, c.extra
		proxy.mu.Unlock()
		target := (&steps.Target{Roots: web.CA.Roots, ConnectTo: map[string]string{"direct.demo.test:80": web.HTTPAddr}}).Set(httpwire.Web{Proxy: c.proxy})
		run := func() *stepstest.Outcome {
			o, err := stepstest.Scenario{Target: target, Browser: steps.SettingsOf[*browser.Browser](target) != nil}.Run(t.Context(), c.text)
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, run(), c.want) })
		if c.browser == "" {
			continue
		}
		t.Run("browser/"+c.name, func(t *testing.T) {
			if _, err := browser.Find(); err != nil {
				t.Skip(err)
			}
			target.Set(browsers[c.proxy])
			if c.browser == "-" {
				c.browser = c.want
			}
			fixture.Expect(t, run(), c.browser)
		})
	}
}

// TestProxyLogin visits a site that requires a login, through a proxy that requires another.
func TestProxyLogin(t *testing.T) {
	s := newSite(t)
	plain := s.target.ConnectTo["www.example.test:80"]
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "Behind TLS [%s]", r.Header.Get("Proxy-Authorization"))
	}))
	t.Cleanup(secure.Close)
	proxy := &testProxy{login: "monitor:s3same & co", hosts: map[string]string{"www.example.test:80": plain, "example.com:443": secure.Listener.Addr().String()}}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	at, err := address.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ca := &pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	var b *browser.Browser
	if _, err := browser.Find(); err == nil {
		b = fixture.StartedBrowser(t, browser.Options{Proxy: server.URL, Roots: [][]byte{pem.EncodeToMemory(ca)}})
	}
	const (
		refuses = ": it refused the login (web.proxy_login in stepwatch.yml): 407 Proxy Authentication Required"
		refused = ": the proxy (browser.proxy or web.proxy in stepwatch.yml) refused the login (web.proxy_login in stepwatch.yml)"
	)
	for _, c := range []struct{ name, secret, text, want, browser string }{
		{"http", "members", "I go to http://www.example.test/\nI should see \"Welcome\"\nI follow \"x\"", `not_found web: follow "x" on http://www.example.test/ (200 OK): the page has no link at all`, "-"},
		{"https", "members", "I go to https://example.com/\nI should see \"Behind TLS []\"", "", "-"},
		{"both logins", "members", "I authenticate to \"http://www.example.test/\" as \"alice\" with the secret \"site\"\nI go to http://www.example.test/basic\nI should see \"header Basic\"", "", "-"},
		{"http, wrong", "site", "I go to http://www.example.test/", "auth network: GET http://www.example.test/ through the proxy (web.proxy in stepwatch.yml)" + refuses, "auth network: GET http://www.example.test/" + refused},
		{"https, wrong", "site", "I go to https://example.com/", "auth network: CONNECT example.com:443 through the proxy " + at.Host + " (web.proxy in stepwatch.yml)" + refuses, "auth network: GET https://example.com/" + refused},
		{"no such secret", "x", "I go to https://example.com/", `config scenario: no secret "x": add it under secrets in stepwatch.yml`, "-"},
	} {
		target := (&steps.Target{Roots: func() (*x509.CertPool, error) { return pool, nil }}).Set(httpwire.Web{Proxy: at, Patience: 50 * time.Millisecond, ProxyLogin: &httpwire.ProxyLogin{Username: "monitor", Password: c.secret}})
		run := func() *stepstest.Outcome {
			o, err := stepstest.Scenario{Target: target, Browser: steps.SettingsOf[*browser.Browser](target) != nil, Secrets: stepstest.Secrets{"members": "s3same & co", "site": "pa:ss w"}}.Run(t.Context(), c.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range o.Steps {
				kept := step.Told + fmt.Sprint(step.Report.Phases)
				for _, e := range step.Report.Evidence {
					kept += string(e.Body)
				}
				for _, secret := range []string{"s3same", base64.StdEncoding.EncodeToString([]byte("monitor:s3same & co")), base64.StdEncoding.EncodeToString([]byte("monitor:pa:ss w"))} {
					if strings.Contains(kept, secret) {
						t.Errorf("%q is kept: %s", secret, kept)
					}
				}
			}
			return o
		}
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, run(), c.want) })
		t.Run("browser/"+c.name, func(t *testing.T) {
			if _, err := browser.Find(); err != nil {
				t.Skip(err)
			}
			target.Set(b)
			if c.browser == "-" {
				c.browser = c.want
			}
			fixture.Expect(t, run(), c.browser)
		})
	}
}
