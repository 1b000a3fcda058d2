package web_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// cookieCases are Set-Cookie fields and what both engines send back. The site of a case is www.cN.raw.test; {site} is cN.raw.test.
var cookieCases = []struct {
	set  []string
	want string // the Cookie field, "" for none
	more cookiePlace
}{
	{set: []string{`user={"id":7,"role":"member"}; Path=/`}, want: `user={"id":7,"role":"member"}`},
	{set: []string{`a="quoted"`}, want: `a="quoted"`},
	{set: []string{`a=b"c`}, want: `a=b"c`},
	{set: []string{`a=M\"x\"`}, want: `a=M\"x\"`},
	{set: []string{"a=Müller"}, want: "a=Müller"},
	{set: []string{"a=M\xfcller"}, want: "a=M\xfcller"},
	{set: []string{"nämé=1"}, want: "nämé=1"},
	{set: []string{`a=back\slash`}, want: `a=back\slash`},
	{set: []string{"a=1,2, 3"}, want: "a=1,2, 3"},
	{set: []string{"a=one two  three"}, want: "a=one two  three"},
	{set: []string{"items[0]=x"}, want: "items[0]=x"},
	{set: []string{"two words=x"}, want: "two words=x"},
	{set: []string{"a(b)<c>@d?e{f}/=x"}, want: "a(b)<c>@d?e{f}/=x"},
	{set: []string{"a=b=c==d"}, want: "a=b=c==d"},
	{set: []string{"  a  =  b  "}, want: "a=b"},
	{set: []string{"a=\tb\t"}, want: "a=b"},
	{set: []string{"a=b\tc"}},
	{set: []string{"a\tb=c"}},
	{set: []string{"a=b; Path=/\tc"}},
	{set: []string{"a=b; odd=x\ty"}},
	{set: []string{"a=b; \todd\t=\tx\t"}, want: "a=b"},
	{set: []string{"a=b; o\td=x"}},
	{set: []string{"a="}, want: "a="},
	{set: []string{"nameless"}, want: "nameless"},
	{set: []string{"=nameless"}, want: "nameless"},
	{set: []string{"=a=b"}},
	{set: []string{"=="}},
	{set: []string{"="}},
	{set: []string{"; Path=/"}},
	{set: []string{"a=b", "c=d"}, want: "a=b; c=d"},
	{set: []string{"a=1", "b=2", "a=3"}, want: "b=2; a=3"},
	{set: []string{"a=1", "b=2", "a=1"}, want: "a=1; b=2"},
	{set: []string{"a=1", "b=2", "a=1; Max-Age=0"}, want: "b=2"},
	{set: []string{"a=1", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
	{set: []string{"a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
	{set: []string{"a=1; Expires=Thu, 26-Nov-99 07:00:00 GMT"}},
	{set: []string{"a=1; Expires=Thu, 26-Nov-68 07:00:00 GMT"}, want: "a=1"},
	{set: []string{"a=1; Expires=never"}, want: "a=1"},
	{set: []string{"a=1; Expires=0"}, want: "a=1"},
	{set: []string{"a=1; Expires="}, want: "a=1"},
	{set: []string{"a=1; Expires=Wed Nov 25 07:00:00 2026 EST"}},
	{set: []string{"a=1; expires = 1 jan 1971 00:00:00"}},
	{set: []string{"a=1; Max-Age=0"}},
	{set: []string{"a=1; Max-Age=-1"}},
	{set: []string{"a=1; Max-Age=60"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=+60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
	{set: []string{"a=1; Max-Age=1.5; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
	{set: []string{"a=1; Max-Age=60x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
	{set: []string{`a=1; Max-Age="60"; Expires=Thu, 01 Jan 1970 00:00:00 GMT`}},
	{set: []string{"a=1; Max-Age=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
	{set: []string{"a=1; Max-Age; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}},
	{set: []string{"a=1; Max-Age=-; Expires=Thu, 01 Jan 2037 00:00:00 GMT"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=+0"}},
	{set: []string{"a=1; Max-Age=0.5"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=0; Max-Age=x"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=0; Max-Age="}, want: "a=1"},
	{set: []string{"a=1; Path=/other; Path=/" + strings.Repeat("x", 1024)}, want: ""},
	{set: []string{"a=1; SameSite=None; SameSite=odd"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=0; Expires=Thu, 01 Jan 2037 00:00:00 GMT"}},
	{set: []string{`a=1; Max-Age="0"`}, want: "a=1"},
	{set: []string{"a=1; Max-Age=99999999999999999999999"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=-99999999999999999999999"}},
	{set: []string{"a=1; Max-Age=0x10; Max-Age=1.5"}, want: "a=1"},
	{set: []string{"a=1; Max-Age=0; Max-Age=60"}, want: "a=1"},
	{set: []string{"a=1; Path=/other"}},
	{set: []string{"a=1; Path=/dir"}, want: "a=1"},
	{set: []string{"a=1; Path=/dir/"}, want: "a=1"},
	{set: []string{"a=1; Path=/di"}},
	{set: []string{"a=1; Path=/dir/get"}, want: "a=1"},
	{set: []string{"a=1; Path=/DIR"}},
	{set: []string{"a=1; Path=dir"}, want: "a=1"},
	{set: []string{"a=1; Path="}, want: "a=1"},
	{set: []string{"a=1; Path=/other; Path="}, want: "a=1"},
	{set: []string{"a=1; Path=/other; Path=/dir"}, want: "a=1"},
	{set: []string{`a=1; Path="/dir"`}, want: "a=1"},
	{set: []string{"short=1; Path=/", "long=2; Path=/dir", "short2=3; Path=/"}, want: "long=2; short=1; short2=3"},
	{set: []string{"a=1; Path=/", "a=2; Path=/dir"}, want: "a=2; a=1"},
	{set: []string{"a=1; Domain={site}"}, want: "a=1"},
	{set: []string{"a=1; Domain=.{site}"}, want: "a=1"},
	{set: []string{"a=1; Domain=..{site}"}},
	{set: []string{"a=1; Domain=WWW.{site}"}, want: "a=1"},
	{set: []string{"a=1; Domain={site}."}},
	{set: []string{"a=1; Domain=other.test"}},
	{set: []string{"a=1; Domain=api.{site}"}},
	{set: []string{"a=1; Domain=below.www.{site}"}},
	{set: []string{"a=1; Domain="}, want: "a=1"},
	{set: []string{"a=1; Domain"}, want: "a=1"},
	{set: []string{"a=1; Domain=other.test; Domain="}, want: "a=1"},
	{set: []string{"a=1; Domain=test"}},
	{set: []string{"a=1; Domain=.test"}},
	{set: []string{"s=1; Domain=.co.uk"}, more: cookiePlace{host: "www.shop.co.uk"}},
	{set: []string{"s=1; Domain=shop2.co.uk"}, want: "s=1", more: cookiePlace{host: "www.shop2.co.uk"}},
	{set: []string{"s=1; Domain=github.io"}, more: cookiePlace{host: "one.github.io"}},
	{set: []string{"s=1; Domain=github.io"}, want: "s=1", more: cookiePlace{host: "github.io"}},
	{set: []string{"a=1; Domain=w.{site}"}},
	{set: []string{"a=1; Secure"}, want: "a=1"},
	{set: []string{"a=1; Secure"}, more: cookiePlace{plain: true}},
	{set: []string{"a=1; secure=false"}, want: "a=1"},
	{set: []string{"a=1; HttpOnly; SameSite=Strict"}, want: "a=1"},
	{set: []string{"a=1; SameSite=None"}},
	{set: []string{"a=1; SameSite=None; Secure"}, want: "a=1"},
	{set: []string{"a=1; SameSite=Odd"}, want: "a=1"},
	{set: []string{"a=1; SameSite=None; SameSite=Lax"}, want: "a=1"},
	{set: []string{"a=1; SameSite=None; SameSite"}, want: "a=1"},
	{set: []string{"__Secure-a=1"}},
	{set: []string{"__Secure-a=1; Secure"}, want: "__Secure-a=1"},
	{set: []string{"__sEcUrE-a=1"}},
	{set: []string{"__Host-a=1; Secure; Path=/"}, want: "__Host-a=1"},
	{set: []string{"__Host-a=1; Secure"}},
	{set: []string{"__Host-a=1; Path=/"}},
	{set: []string{"__Host-a=1; Secure; Path=/; Domain={site}"}},
	{set: []string{"__Host-a=1; Secure; Path=/; Domain=www.{site}"}},
	{set: []string{"__Host-a=1; Secure; Path=/; Domain="}, want: "__Host-a=1"},
	{set: []string{"__Host-a=1; Secure; Path=/dir"}},
	{set: []string{"=__Secure-a=1"}},
	{set: []string{"__Host-a"}},
	{set: []string{"__Http-a=1; Secure"}},
	{set: []string{"__Http-a=1; Secure; HttpOnly"}, want: "__Http-a=1"},
	{set: []string{"__Host-Http-a=1; Secure; Path=/"}},
	{set: []string{"__Host-Http-a=1; Secure; Path=/; HttpOnly"}, want: "__Host-Http-a=1"},
	{set: []string{"a=" + strings.Repeat("x", 4095)}, want: "a=" + strings.Repeat("x", 4095)},
	{set: []string{"a=" + strings.Repeat("x", 4096)}},
	{set: []string{strings.Repeat("n", 4096) + "="}, want: strings.Repeat("n", 4096) + "="},
	{set: []string{"a=1; Path=/" + strings.Repeat("x", 1023)}},
	{set: []string{"a=1; Path=/" + strings.Repeat("x", 1024)}, want: "a=1"},
	{set: []string{"a=b\x01c"}},
	{set: []string{"a=b\x7fc"}},
	{set: []string{"a\x1b=b"}},
	{set: []string{"a=b; Path=/\x01"}},
	{set: []string{"a=b; odd=\x01"}},
	{set: []string{"a=1; Unknown=\"x; y\"; Max-Age=60"}, want: "a=1"},
	{set: []string{`a="x; y"`}, want: `a="x`},
	{set: []string{"a=1;;; ;Path=/"}, want: "a=1"},
	{set: []string{"a=1 ; Path = /dir"}, want: "a=1"},
	{set: []string{"a=1; Partitioned; Secure; Path=/"}, want: "a=1"},
	{set: []string{"a=1; Partitioned"}},
	{set: []string{"a=1; Priority=High; Version=1; Comment=x"}, want: "a=1"},
	{set: []string{"a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=bad"}, want: "a=1"},
	{set: []string{"a=1; Secure", "a=2"}, want: "a=2"},
	{set: []string{"a=1; Secure"}, want: "a=1", more: cookiePlace{plain: true, host: "localhost"}},
	{set: []string{"a=1; Secure"}, want: "a=1", more: cookiePlace{plain: true, host: "www.localhost"}},
	{set: []string{"__Secure-a=1; Secure"}, want: "__Secure-a=1", more: cookiePlace{plain: true, host: "prefix.localhost"}},
	{set: []string{"__Host-a=1; Secure; Path=/"}, want: "__Host-a=1", more: cookiePlace{plain: true, host: "prefix2.localhost"}},
	{set: []string{"a=1; Secure"}, want: "a=1", more: cookiePlace{plain: true, host: "127.0.0.1"}},
	{set: []string{"a=1; Domain=127.0.0.2"}, want: "a=1", more: cookiePlace{plain: true, host: "127.0.0.2"}},
	{set: []string{"a=1; Domain=.127.0.0.3"}, want: "a=1", more: cookiePlace{plain: true, host: "127.0.0.3"}},
	{set: []string{"a=1; Domain=0.0.4"}, more: cookiePlace{plain: true, host: "127.0.0.4"}},
	{set: []string{"a=1; Domain=intern"}, want: "a=1", more: cookiePlace{plain: true, host: "intern"}},
	{set: []string{"a=1; Domain=.xn--bcher-kva.test"}, want: "a=1", more: cookiePlace{host: "www.xn--bcher-kva.test"}},
	{set: []string{"a=1; Domain=.bücher2.test"}, want: "a=1", more: cookiePlace{host: "www.xn--bcher2-3ya.test"}},
	{set: []string{"a=1; Domain=.b\xfccher3.test"}, more: cookiePlace{host: "www.xn--bcher3-4ya.test"}},
	{set: []string{"a=1; Domain=.bücher4.test"}, more: cookiePlace{host: "www.bucher4.test"}},
}

// cookiePlace is where a cookie is set, unless over HTTPS at www.cN.raw.test.
type cookiePlace struct {
	host  string
	plain bool
}

// TestCookiesOfBothEngines sends Set-Cookie fields byte for byte, and compares the Cookie fields that come back.
func TestCookiesOfBothEngines(t *testing.T) {
	type place struct{ url, at string }
	places := make([]place, len(cookieCases))
	var hosts []string
	for i, c := range cookieCases {
		host, scheme := c.more.host, "https"
		if host == "" {
			host = fmt.Sprintf("www.c%d.raw.test", i)
		}
		if c.more.plain {
			scheme = "http"
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
		places[i] = place{scheme + "://" + host, host}
	}
	server := newRawServer(t, hosts...)
	s := server.site(hosts...)
	for i, c := range cookieCases {
		lines := []string{"Content-Type: text/html"}
		for _, field := range c.set {
			lines = append(lines, "Set-Cookie: "+strings.ReplaceAll(field, "{site}", fmt.Sprintf("c%d.raw.test", i)))
		}
		server.answers[places[i].at+fmt.Sprintf("/dir/set%d", i)] = strings.Replace(raw("", append(lines, "Location: /dir/get")...), "200 OK", "302 Found", 1)
	}
	visit := func(t *testing.T, engine string) {
		server.forget()
		for begin := 0; begin < len(cookieCases); begin += 20 {
			var text strings.Builder
			end := min(begin+20, len(cookieCases))
			for i := begin; i < end; i++ {
				fmt.Fprintf(&text, "I go to \"%s/dir/set%d\"\n", places[i].url, i)
			}
			s.run(t, text.String())
		}
		for i, c := range cookieCases {
			got := server.sent(places[i].at+"/dir/get", "Cookie")
			if len(got) == 0 || got[len(got)-1] != c.want {
				t.Errorf("%s: after %.200q the Cookie field is %.200q, wanted %.200q", engine, c.set, got, c.want)
			}
		}
	}
	visit(t, "over HTTP")
	if _, err := browser.Find(); err != nil {
		t.Skip("not run in a browser:", err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo, Roots: [][]byte{server.roots.PEM()}}))
	setWeb(s.target, func(web *httpwire.Web) { web.Patience = 1 })
	visit(t, "in a browser")
}
