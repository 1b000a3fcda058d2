package web_test

import (
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// newAnswerSite serves mux as http://www.answer.test and, with HTTP/2, https://www.answer.test.
func newAnswerSite(t *testing.T, mux *http.ServeMux) (s *site, root []byte) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the servers are closed
	ca, err := stepstest.NewCA("answers")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue("www.answer.test")
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(mux)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(mux)
	secure.EnableHTTP2 = true
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	return &site{conns: map[string]bool{}, target: (&steps.Target{Roots: ca.Roots, ConnectTo: map[string]string{
		"www.answer.test:80": plain.Listener.Addr().String(), "www.answer.test:443": secure.Listener.Addr().String(),
	}}).Set(httpwire.Web{BodyLimit: 1 << 20})}, ca.PEM()
}

func answering(kind, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		_, _ = io.WriteString(w, body)
	}
}

func feedOf(at time.Time) string {
	return `<?xml version="1.0"?><rss version="2.0"><channel><title>News</title><item><title>Newest</title><pubDate>` + at.Format(time.RFC1123Z) + `</pubDate></item><item/></channel></rss>`
}

func TestAnswerSentences(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", answering("text/html", "<p>Home</p>"))
	mux.HandleFunc("/old", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/older", http.StatusFound) })
	mux.HandleFunc("/older", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://www.answer.test/?a=1", http.StatusMovedPermanently)
	})
	mux.HandleFunc("/cookies", func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range []string{"session=s3cr3tc00kie; HttpOnly; SameSite=Lax; Secure", "month=1; Max-Age=2592000", "ever=1; Max-Age=99999999999", "cross=1; SameSite=None", "deep=1; Path=/other"} {
			w.Header().Add("Set-Cookie", c)
		}
		w.Header().Set("Content-Type", "text/html")
	})
	mux.HandleFunc("/suffix", answering("text/html", "x", "Set-Cookie", "s=1; Domain=.test"))
	mux.HandleFunc("/quoted", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{`user={"id":7,"role":"member"}; Path=/`, "items[0]=x y; Path=/", "none=1; SameSite=None"}
		http.Redirect(w, r, "/", http.StatusFound)
	})
	mux.HandleFunc("/forget", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "month=; Max-Age=0")
		http.Redirect(w, r, "/", http.StatusFound)
	})
	mux.HandleFunc("/json", answering("application/json", `{"status": "ok", "ready": true, "queue": {"length": 12}, "workers": [{"free": 3}, {"free": 0}], "none": []}`))
	mux.HandleFunc("/nojson", answering("application/json", `<oops>`))
	mux.HandleFunc("/xml", answering("application/xml", `<?xml version="1.0" encoding="iso-8859-1"?><status><service name="db" load="2.5"> up </service><service name="web" load="7">d`+"\xf6"+`wn</service></status>`))
	mux.HandleFunc("/noxml", answering("text/xml", `<a><b></a>`))
	mux.HandleFunc("/feed", answering("application/rss+xml", feedOf(time.Now().Add(-time.Hour))))
	mux.HandleFunc("/stale", answering("application/xml", feedOf(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))))
	mux.HandleFunc("/future", answering("application/xml", feedOf(time.Date(2125, 1, 2, 3, 4, 5, 0, time.UTC))))
	mux.HandleFunc("/atom", answering("application/atom+xml", `<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>Undated</title></entry></feed>`))
	mux.HandleFunc("/sitemap.xml", answering("application/xml", `<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>https://www.answer.test/</loc></url><url><loc>https://www.answer.test/a</loc></url></urlset>`))
	mux.HandleFunc("/index.xml", answering("application/xml", `<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><sitemap><loc>https://www.answer.test/sitemap.xml</loc></sitemap></sitemapindex>`))
	mux.HandleFunc("/hit", answering("text/html", "x", "X-Cache", "HIT from edge1", "Age", "90", "Cache-Control", "public, max-age=600, s-maxage=3600"))
	mux.HandleFunc("/miss", answering("text/html", "x", "X-Cache", "MISS", "Cache-Control", "private, max-age=60"))
	mux.HandleFunc("/never", answering("text/html", "x", "Cache-Control", "no-store"))
	mux.HandleFunc("/badage", answering("text/html", "x", "Age", "old"))
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/html")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "unpacked")
		_ = z.Close()
	})
	mux.HandleFunc("/safe", answering("text/html", "x", "Strict-Transport-Security", "max-age=31536000; includeSubDomains", "Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'",
		"X-Content-Type-Options", "nosniff", "Referrer-Policy", "no-referrer"))
	mux.HandleFunc("/hsts", answering("text/html", "x", "Strict-Transport-Security", "max-age=forever"))
	s, root := newAnswerSite(t, mux)

	at := func(path string) string { return `I go to "http://www.answer.test` + path + `"` + "\n" }
	tls := func(path string) string { return `I go to "https://www.answer.test` + path + `"` + "\n" }
	const redirects = "it was redirected from http://www.answer.test/old with 302 to http://www.answer.test/older, from http://www.answer.test/older with 301 to https://www.answer.test/?a=1"
	cases := []sentenceCase{
		{"redirected from", at("/old") + "I should have been redirected from \"http://www.answer.test/old\" with 302\nI should have been redirected from /older with 301", ""},
		{"redirected with another status", at("/old") + `I should have been redirected from "http://www.answer.test/old" with 301`, `redirect web: expect a redirect from http://www.answer.test/old with 301 on the way to https://www.answer.test/?a=1 (200 OK): ` + redirects},
		{"redirected from nowhere", at("/") + `I should have been redirected from "/old" with 301`, `redirect web: expect a redirect from /old with 301 on the way to http://www.answer.test/ (200 OK): there was no redirect`},
		{"redirected from no address", at("/") + `I should have been redirected from "old" with 301`, `scenario scenario: "old" is neither a path nor a whole address: write it as "http://www.example.org/"`},
		{"not redirected", at("/") + `I should not have been redirected`, ""},
		{"not redirected, but was", at("/old") + `I should not have been redirected`, `redirect web: expect no redirect on the way to https://www.answer.test/?a=1 (200 OK): ` + redirects},
		{"redirects", at("/old") + "the redirects should be:\n| status | location |\n| 302 | /older |\n| 301 | https://www.answer.test/?a=1 |", ""},
		{"redirects, none", at("/") + "the redirects should be:\n| status | location |", ""},
		{"redirects, fewer", at("/old") + "the redirects should be:\n| status | location |\n| 302 | /older |", `redirect web: expect 1 redirects on the way to https://www.answer.test/?a=1 (200 OK), got 2: ` + redirects},
		{"redirects, more", at("/") + "the redirects should be:\n| status | location |\n| 302 | /older |", `redirect web: expect 1 redirects on the way to http://www.answer.test/ (200 OK), got 0: there was no redirect`},
		{"redirects, another", at("/old") + "the redirects should be:\n| status | location |\n| 302 | /older |\n| 301 | https://www.answer.test/ |", `redirect web: expect redirect 2 on the way to https://www.answer.test/?a=1 (200 OK) to lead to https://www.answer.test/ with 301: ` + redirects},
		{"redirects without a table", at("/") + "the redirects should be:", `scenario scenario: the step needs a table with the columns status and location`},
		{"redirects with a word", at("/old") + "the redirects should be:\n| status | location |\n| found | /older |", `scenario scenario: "found" is not a status: write it as 301`},

		{"version 1.1", at("/") + "the response should use HTTP/1.1", ""},
		{"version 2", tls("/") + "the response should use HTTP/2", ""},
		{"another version", tls("/") + "the response should use HTTP/1.1", "unexpected web: expect https://www.answer.test/ (200 OK) over HTTP/1.1, got HTTP/2.0"},
		{"address", at("/") + "the page should come from \"127.0.0.1\"\nthe page should come from \"127.0.0.0/8\"\nthe page should come over IPv4", ""},
		{"another address", at("/") + `the page should come from "192.0.2.1"`, "unexpected web: expect http://www.answer.test/ (200 OK) to come from 192.0.2.1, got 127.0.0.1"},
		{"no address", at("/") + `the page should come from "here"`, `scenario scenario: "here" is neither an address nor a network: write it as "192.0.2.1" or "2001:db8::/32"`},
		{"another family", at("/") + `the page should come over IPv6`, "unexpected web: expect http://www.answer.test/ (200 OK) to come over IPv6, got 127.0.0.1"},
		{"compressed", at("/gzip") + "the page should be compressed", ""},
		{"not compressed", at("/") + "the page should be compressed", "unexpected web: expect http://www.answer.test/ (200 OK) to be compressed: it has no Content-Encoding"},
		{"HSTS", tls("/safe") + "the host should insist on HTTPS for at least 180 days", ""},
		{"HSTS, short", tls("/safe") + "the host should insist on HTTPS for at least 400 days", "unexpected web: expect https://www.answer.test/safe (200 OK) to insist on HTTPS for at least 400 days, got max-age 31536000 (8760h0m0s)"},
		{"HSTS, none", tls("/") + "the host should insist on HTTPS for at least 1 day", `unexpected web: expect the header "Strict-Transport-Security" of https://www.answer.test/ (200 OK): the response does not have it`},
		{"HSTS, nonsense", tls("/hsts") + "the host should insist on HTTPS for at least 1 day", `unexpected web: expect https://www.answer.test/hsts (200 OK) to insist on HTTPS: browsers ignore the header "Strict-Transport-Security", "max-age=forever": its max-age is "forever", which is not a number of seconds (RFC 6797 section 6.1.1)`},
		{"HSTS, plain", at("/safe") + "the host should insist on HTTPS for at least 1 day", `unexpected web: expect http://www.answer.test/safe (200 OK) to insist on HTTPS: it was loaded over plain HTTP, where browsers ignore the header`},
		{"security headers", tls("/safe") + "the page should have the security headers", ""},
		{"no security headers", tls("/") + "the page should have the security headers", "unexpected web: expect the security headers of https://www.answer.test/ (200 OK): it lacks Content-Security-Policy, X-Content-Type-Options: nosniff, Referrer-Policy, X-Frame-Options (or frame-ancestors in the Content-Security-Policy), Strict-Transport-Security"},

		{"cookies", tls("/cookies") + `the cookie "session" should be set
			the cookie "session" should be Secure
			the cookie "session" should be HttpOnly
			the cookie "session" should be SameSite=Lax
			the cookie "session" should end with the session
			the cookie "month" should last at least 30 days
			the cookie "month" should last at most 30 days
			the cookie "ever" should last at least 400 days
			the cookie "deep" should not be set
			the cookie "cross" should not be set`, ""},
		{"no cookie", tls("/cookies") + `the cookie "seen" should be set`, `not_found web: expect the cookie "seen" on https://www.answer.test/cookies (200 OK): there is "ever", "month", "session"`},
		{"no cookies at all", tls("/") + `the cookie "seen" should be Secure`, `not_found web: expect the cookie "seen" on https://www.answer.test/ (200 OK): there is none`},
		{"a secure cookie over plain HTTP", at("/cookies") + `the cookie "session" should be set`, `not_found web: expect the cookie "session" on http://www.answer.test/cookies (200 OK): there is "ever", "month"; http://www.answer.test/cookies set one, and browsers refuse it: it is Secure and came over plain HTTP (RFC 6265bis section 5.7)`},
		{"a cookie for a public suffix", at("/suffix") + `the cookie "s" should be set`, `not_found web: expect the cookie "s" on http://www.answer.test/suffix (200 OK): there is none; http://www.answer.test/suffix set one, and browsers refuse it: its Domain ".test" is a public suffix, below which anybody may register a name (RFC 6265 section 5.3 step 5, publicsuffix.org)`},
		{"a cookie for another path", tls("/cookies") + `the cookie "deep" should be set`, `not_found web: expect the cookie "deep" on https://www.answer.test/cookies (200 OK): there is "ever", "month", "session"; the cookie "deep" is kept, but not for this page: it is for the path /other`},
		{"a cookie with quotes, from a redirect", at("/quoted") + "the cookie \"user\" should be set\nthe cookie \"items[0]\" should be set", ""},
		{"a cookie from a redirect that is refused", at("/quoted") + "the cookie \"none\" should be set", `not_found web: expect the cookie "none" on http://www.answer.test/ (200 OK): there is "items[0]", "user"; http://www.answer.test/quoted set one, and browsers refuse it: it is SameSite=None without Secure (RFC 6265bis section 5.7)`},
		{"a cookie too many", tls("/cookies") + `the cookie "session" should not be set`, `unexpected web: expect no cookie "session" on https://www.answer.test/cookies (200 OK): it is set`},
		{"a cookie that was taken back", tls("/cookies") + tls("/forget") + `the cookie "month" should not be set`, ""},
		{"a cookie that is not secure", tls("/cookies") + `the cookie "month" should be Secure`, `unexpected web: expect the cookie "month" on https://www.answer.test/cookies (200 OK) to be Secure: it is not`},
		{"a cookie for scripts", tls("/cookies") + `the cookie "month" should be HttpOnly`, `unexpected web: expect the cookie "month" on https://www.answer.test/cookies (200 OK) to be HttpOnly: it is not`},
		{"a laxer cookie", tls("/cookies") + `the cookie "session" should be SameSite=Strict`, `unexpected web: expect the cookie "session" on https://www.answer.test/cookies (200 OK) to be SameSite=Strict: it is SameSite=Lax`},
		{"a cookie without SameSite", tls("/cookies") + `the cookie "month" should be SameSite=Lax`, `unexpected web: expect the cookie "month" on https://www.answer.test/cookies (200 OK) to be SameSite=Lax: it is without SameSite`},
		{"a short cookie", tls("/cookies") + `the cookie "month" should last at least 31 days`, `unexpected web: expect the cookie "month" on https://www.answer.test/cookies (200 OK) to last at least 31 days, got 720h0m0s`},
		{"a long cookie", tls("/cookies") + `the cookie "month" should last at most 1 day`, `unexpected web: expect the cookie "month" on https://www.answer.test/cookies (200 OK) to last at most 1 day, got 720h0m0s`},
		{"a cookie that outlasts the session", tls("/cookies") + `the cookie "month" should end with the session`, `unexpected web: expect the cookie "month" on https://www.answer.test/cookies (200 OK) to end with the session: it lasts 720h0m0s`},
		{"no cookie of the session", tls("/cookies") + `the cookie "seen" should end with the session`, `not_found web: expect the cookie "seen" on https://www.answer.test/cookies (200 OK): there is "ever", "month", "session"`},
		{"a cookie without an end", tls("/cookies") + `the cookie "session" should last at most 1 day`, `unexpected web: expect the cookie "session" on https://www.answer.test/cookies (200 OK) to last at most 1 day: it has no expiry and lasts as long as the visitor's session`},

		{"JSON", at("/json") + `the JSON at "$.status" should be "ok"
			the JSON at "$.ready" should be "true"
			the JSON at "$.queue.length" should be "12"
			the JSON at "$.queue.length" should be below 13
			the JSON at "$.queue.length" should be above 11.5
			the JSON should have 2 values at "$.workers[*]"
			the JSON should have 0 values at "$.none[*]"
			the JSON should have at least 2 values at "$.workers[*].free"`, ""},
		{"JSON, another value", at("/json") + `the JSON at "$.status" should be "down"`, `unexpected web: http://www.answer.test/json (200 OK) has "ok" at $['status'], wanted "down"`},
		{"JSON, nothing there", at("/json") + `the JSON at "$.state" should be "ok"`, `not_found web: http://www.answer.test/json (200 OK) has nothing at $.state; it has none, queue, ready, status, workers`},
		{"JSON, no path", at("/json") + `the JSON at "status" should be "ok"`, "scenario scenario: \"status\" is not a JSONPath: jsonpath: unexpected identifier at position 1"},
		{"JSON, too much", at("/json") + `the JSON at "$.queue.length" should be below 12`, `unexpected web: http://www.answer.test/json (200 OK) has 12 at $['queue']['length'], wanted it below 12`},
		{"JSON, too little", at("/json") + `the JSON at "$.workers[*].free" should be above 0`, `unexpected web: http://www.answer.test/json (200 OK) has 0 at $['workers'][1]['free'], wanted it above 0`},
		{"JSON, no number", at("/json") + `the JSON at "$.status" should be above 0`, `unexpected web: http://www.answer.test/json (200 OK) has "ok" at $['status'], which is not a number`},
		{"JSON, another count", at("/json") + `the JSON should have 3 values at "$.workers[*]"`, `unexpected web: http://www.answer.test/json (200 OK) has 2 values at $.workers[*], wanted 3`},
		{"JSON, too few", at("/json") + `the JSON should have at least 3 values at "$.workers[*]"`, `unexpected web: http://www.answer.test/json (200 OK) has 2 values at $.workers[*], wanted at least 3`},
		{"no JSON", at("/nojson") + `the JSON at "$.status" should be "ok"`, `protocol web: http://www.answer.test/nojson (200 OK) is not JSON: line 1, column 1 breaks its syntax: "<oops>": it begins with "<oops>"`},
		{"JSON before going", `the JSON at "$.status" should be "ok"`, "scenario scenario: there is no page yet: write `I go to \"https://www.example.org/\"` before this step"},

		{"XML", at("/xml") + `the XML at "/status/service[@name='db']" should be "up"
			the XML at "//service[2]" should be "döwn"
			the XML at "//service/@load" should be below 8
			the XML at "//service/@load" should be above 2
			the XML should have 2 nodes at "//service"
			the XML should have 0 nodes at "//error"
			the XML should have at least 1 nodes at "//service"`, ""},
		{"XML, another value", at("/xml") + `the XML at "//service" should be "up"`, `unexpected web: http://www.answer.test/xml (200 OK) has "döwn" at //service, wanted "up"`},
		{"XML, nothing there", at("/xml") + `the XML at "//state" should be "up"`, `not_found web: http://www.answer.test/xml (200 OK) has nothing at //state; its root is status`},
		{"XML, no path", at("/xml") + `the XML at "//service[" should be "up"`, `scenario scenario: "//service[" is not a valid XPath: expression must evaluate to a node-set`},
		{"XML, too much", at("/xml") + `the XML at "//service/@load" should be below 7`, `unexpected web: http://www.answer.test/xml (200 OK) has 7 at //service/@load, wanted it below 7`},
		{"XML, too little", at("/xml") + `the XML at "//service/@load" should be above 2.5`, `unexpected web: http://www.answer.test/xml (200 OK) has 2.5 at //service/@load, wanted it above 2.5`},
		{"XML, no number", at("/xml") + `the XML at "//service" should be above 1`, `unexpected web: http://www.answer.test/xml (200 OK) has "up" at //service, which is not a number`},
		{"XML, another count", at("/xml") + `the XML should have 0 nodes at "//service"`, `unexpected web: http://www.answer.test/xml (200 OK) has 2 nodes at //service, wanted 0`},
		{"XML, too few", at("/xml") + `the XML should have at least 3 nodes at "//service"`, `unexpected web: http://www.answer.test/xml (200 OK) has 2 nodes at //service, wanted at least 3`},
		{"no XML", at("/noxml") + `the XML should have 0 nodes at "//error"`, `protocol web: http://www.answer.test/noxml (200 OK) is not XML: line 1: element <b> closed by </a>: it begins with "<a><b></a>"`},
		{"feed", at("/feed") + "the feed should have at least 2 items\nthe feed should have an item younger than 1 day", ""},
		{"feed, short", at("/feed") + "the feed should have at least 3 items", "unexpected web: the feed http://www.answer.test/feed (200 OK) has 2 items, wanted at least 3"},
		{"feed, stale", at("/stale") + "the feed should have an item younger than 1 day", `unexpected web: the newest item of the feed http://www.answer.test/stale (200 OK), "Newest", is dated 2025-01-02T03:04:05Z, wanted one younger than 1 day`},
		{"feed from the future", at("/future") + "the feed should have an item younger than 1 day", `unexpected web: the newest item of the feed http://www.answer.test/future (200 OK), "Newest", is dated 2125-01-02T03:04:05Z, in the future`},
		{"feed without dates", at("/atom") + "the feed should have an item younger than 1 day", `unexpected web: the feed http://www.answer.test/atom (200 OK) has 1 items, but none with a date`},
		{"no feed", at("/xml") + "the feed should have at least 1 items", `unexpected web: http://www.answer.test/xml (200 OK) is not a feed: its root is "status", wanted rss, RDF or feed`},
		{"sitemap", at("/sitemap.xml") + "the sitemap should list at least 2 pages\nthe sitemap should list \"https://www.answer.test/a\"", ""},
		{"sitemap, short", at("/sitemap.xml") + "the sitemap should list at least 3 pages", "unexpected web: the sitemap http://www.answer.test/sitemap.xml (200 OK) lists 2 pages, wanted at least 3"},
		{"sitemap without it", at("/sitemap.xml") + `the sitemap should list "https://www.answer.test/b"`, `not_found web: the sitemap http://www.answer.test/sitemap.xml (200 OK) does not list "https://www.answer.test/b" among its 2 pages`},
		{"sitemap index", at("/index.xml") + "the sitemap should list at least 1 pages", `unexpected web: http://www.answer.test/index.xml (200 OK) is an index of sitemaps: go to a sitemap that it lists, such as "https://www.answer.test/sitemap.xml"`},
		{"no sitemap", at("/xml") + "the sitemap should list at least 1 pages", `unexpected web: http://www.answer.test/xml (200 OK) is not a sitemap: its root is "status", wanted urlset`},

		{"cache", at("/hit") + "the page should come from a cache\nthe page should be cacheable for at least 1 hour\nthe page should be at most 90s old", ""},
		{"no cache", at("/") + "the page should come from a cache", "unexpected web: expect http://www.answer.test/ (200 OK) to come from a cache: no header reports one (Cache-Status, X-Cache, X-Varnish, Age)"},
		{"cache missed", at("/miss") + "the page should come from a cache", `unexpected web: expect http://www.answer.test/miss (200 OK) to come from a cache: its header says "X-Cache: MISS"`},
		{"not from a cache", at("/miss") + "the page should not come from a cache\nthe page should not be cached for others", ""},
		{"from a cache after all", at("/hit") + "the page should not come from a cache", `unexpected web: expect http://www.answer.test/hit (200 OK) not to come from a cache: its header says "X-Cache: HIT from edge1"`},
		{"not cached", at("/never") + "the page should not be cached\nthe page should not be cached for others", ""},
		{"cached after all", at("/miss") + "the page should not be cached", `unexpected web: expect http://www.answer.test/miss (200 OK) not to be cached (no-store): its Cache-Control is "private, max-age=60"`},
		{"cached for others", at("/hit") + "the page should not be cached for others", `unexpected web: expect http://www.answer.test/hit (200 OK) not to be cached for others (private or no-store): its Cache-Control is "public, max-age=600, s-maxage=3600"`},
		{"cacheable, short", at("/hit") + "the page should be cacheable for at least 2 hours", `unexpected web: expect http://www.answer.test/hit (200 OK) to be cacheable for at least 2 hours, got 1h0m0s`},
		{"cacheable, private", at("/miss") + "the page should be cacheable for at least 10s", `unexpected web: expect http://www.answer.test/miss (200 OK) to be cacheable for at least 10s: private forbids it; its Cache-Control is "private, max-age=60"`},
		{"cacheable, unsaid", at("/") + "the page should be cacheable for at least 10s", `unexpected web: expect http://www.answer.test/ (200 OK) to be cacheable for at least 10s: neither Cache-Control nor Expires sets a lifetime; it has no Cache-Control`},
		{"old", at("/hit") + "the page should be at most 1 minute old", `unexpected web: expect http://www.answer.test/hit (200 OK) to be at most 1 minute old, got Age 1m30s`},
		{"old in words", at("/badage") + "the page should be at most 1 minute old", `protocol web: http://www.answer.test/badage (200 OK) has the Age "old", which is not a number of seconds`},
	}
	s.runOnBoth(t, cases, nil, browser.Options{Roots: [][]byte{root}})
}

// TestAnswerMeasures checks the numbers that the sentences report, also when they fail.
func TestAnswerMeasures(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", answering("application/json", `{"n": [3, 5]}`, "Age", "7", "Cache-Control", "max-age=60", "Set-Cookie", "c=s3cr3tc00kie; Max-Age=60"))
	s, _ := newAnswerSite(t, mux)
	for step, want := range map[string]string{
		`the JSON at "$.n[*]" should be below 4`:          "web_json_value 5",
		`the JSON should have 7 values at "$.n[*]"`:       "web_json_values 2",
		`the page should come from a cache`:               "http_age_seconds 7",
		`the page should be cacheable for at least 1 day`: "http_cache_lifetime_seconds 60",
		`the cookie "c" should last at least 1 day`:       "http_cookie_lifetime_seconds 60",
		`the page should be at most 1s old`:               "http_age_seconds 7",
	} {
		o := s.run(t, "I go to http://www.answer.test/\n"+step)
		var got []string
		for _, m := range o.Steps[len(o.Steps)-1].Report.Measurements {
			got = append(got, fmt.Sprintf("%s %v", m.Name, m.Value))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: measured %q, want %s", step, got, want)
		}
		for _, e := range o.Steps[len(o.Steps)-1].Report.Evidence {
			if strings.Contains(string(e.Body), "s3cr3tc00kie") {
				t.Errorf("%s: %s holds a cookie's value", step, e.Name)
			}
		}
	}
}
