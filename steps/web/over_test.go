package web_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

// TestVisitOver visits servers over the given IP family or HTTP version.
func TestVisitOver(t *testing.T) {
	names, err := nameserver.Start("127.0.0.1:0", "$TTL 60\ntest. SOA ns.test. x.test. 1 1 1 1 1\nboth.test. A 127.0.0.1\nboth.test. AAAA ::1\nfour.test. A 127.0.0.1\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	ca, err := stepstest.NewCA("Web CA")
	if err != nil {
		t.Fatal(err)
	}
	served, err := ca.Issue("both.test", "four.test")
	if err != nil {
		t.Fatal(err)
	}
	serve := func(listener net.Listener, protocols ...string) string {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/moved" {
				http.Redirect(w, r, "/", http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "text/html")
			if r.URL.Path == "/framed" {
				_, _ = io.WriteString(w, `<iframe src="/"></iframe><iframe src="https://four.test:`+r.URL.RawQuery+`/"></iframe>`)
				return
			}
			_, _ = io.WriteString(w, r.Proto+" at "+r.Host+" by "+r.RemoteAddr+" as "+r.RequestURI+" <a href=/on>On</a>")
		}))
		if listener != nil {
			_ = server.Listener.Close()
			server.Listener = listener
		}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.EnableHTTP2 = len(protocols) > 0 && protocols[0] == "h2"
		server.TLS = &tls.Config{Certificates: []tls.Certificate{served}, MinVersion: tls.VersionTLS12, NextProtos: protocols}
		server.StartTLS()
		t.Cleanup(server.Close)
		_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
		return port
	}
	port := serve(nil, "h2", "http/1.1")
	six, err := net.Listen("tcp", "[::1]:"+port)
	if err != nil {
		t.Skip("no IPv6 on this machine:", err)
	}
	serve(six, "h2", "http/1.1")
	old := serve(nil, "http/1.1")
	s := &site{target: &steps.Target{Roots: ca.Roots, Resolver: names.Address(), ConnectTo: map[string]string{"led.test:443": "127.0.0.1:" + port}}}
	both, four := "https://both.test:"+port, "https://four.test:"+port
	for _, c := range []sentenceCase{
		{"IPv4", "I go to " + both + "/ over IPv4\nthe page should come from \"127.0.0.1\"", ""},
		{"IPv6", "I go to " + both + "/ over IPv6\nthe page should come from \"::1\"", ""},
		{"redirected", "I go to " + both + "/moved over IPv6\nI should be on " + both + "/\nthe page should come from \"::1\"", ""},
		{"reloaded", "I go to " + both + "/ over IPv4\nI reload the page\nthe page should come from \"127.0.0.1\"", ""},
		{"and back", "I go to " + both + "/ over IPv4\nI go to " + both + "/moved\nI go back\nthe page should come from \"127.0.0.1\"", ""},
		{"a connection of its own", "I go to " + both + "/ over IPv4\nI go to " + both + "/ over IPv6\nthe page should come from \"::1\"", ""},
		{"no such address", "I go to " + four + "/ over IPv6", `dns dns: connect to four.test:` + port + `: "four.test" does not resolve: it has no IPv6 address`},
		{"another address", "I go to http://127.0.0.1/ over IPv6", `scenario scenario: connect to 127.0.0.1:80: "127.0.0.1" is not an IPv6 address`},
		{"led elsewhere", "I go to https://led.test/ over IPv6", `scenario scenario: connect to led.test:443 (at 127.0.0.1:` + port + `): "127.0.0.1" is not an IPv6 address`},
		{"HTTP/1.1", "I go to " + both + "/ over HTTP/1.1\nthe response should use HTTP/1.1\nI should see \"HTTP/1.1\"", ""},
		{"HTTP/2", "I go to " + both + "/ over HTTP/2\nthe response should use HTTP/2\nI should see \"HTTP/2.0\"", ""},
		{"then as it likes", "I go to " + both + "/ over HTTP/1.1\nI follow \"On\"\nthe response should use HTTP/2", ""},
		{"frames over HTTP/1.1", "I go to " + both + "/framed?" + port + " over HTTP/1.1\nI should see \"HTTP/1.1 at both.test\"\nI should see \"HTTP/2.0 at four.test\"", ""},
		{"frames over IPv6", "I go to " + both + "/framed?" + port + " over IPv6\nI should see \"by [::1]\"\nI should see \"by 127.0.0.1\"\nI should not see \"both.test:" + port + " by 127\"", ""},
		{"a target as it is over HTTP/1.1", "I go to " + both + "//x|[]?a|b{}% over HTTP/1.1\nI should see \"as //x%7C[]?a|b{}% On\"", ""},
		{"a target as it is over HTTP/2", "I go to " + both + "//x|[]?a|b{}% over HTTP/2\nI should see \"as //x%7C[]?a|b{}% On\"", ""},
		{"an empty query over HTTP/2", "I go to " + both + "/x? over HTTP/2\nI should see \"as /x? On\"", ""},
		{"no HTTP/2", "I go to https://four.test:" + old + "/ over HTTP/2", "protocol web: TLS handshake with four.test: the server does not speak HTTP/2"},
		{"HTTP/2 without TLS", "I go to http://four.test/ over HTTP/2", "scenario scenario: GET http://four.test/: HTTP/2 is spoken over https alone"},
	} {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	if _, err := browser.Find(); err == nil {
		s.target.Set(fixture.StartedBrowser(t, browser.Options{}))
		for _, way := range []string{"IPv6", "HTTP/1.1"} {
			fixture.Expect(t, s.run(t, "I go to "+both+"/ over "+way), "scenario scenario: GET "+both+"/: a browser chooses the address and version itself: remove @browser from this scenario")
		}
	}
}
