package web_test

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/icholy/digest"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const pageForms = `<html><head><title>Forms</title></head><body>
<form id="order" action="/echo" method="post">
<label for="name">Your name *</label><input id="name" name="name" value="old">
<label>Remarks: <textarea name="remarks">none</textarea></label>
<input name="fixed" readonly value="r" aria-label="Fixed">
<input name="off" disabled value="d" aria-label="Off">
<input type="hidden" name="token" value="t1">
<input type="checkbox" name="gift" id="gift"><label for="gift">Gift wrap</label>
<label><input type="checkbox" name="news" value="weekly" checked> Newsletter</label>
<label><input type="radio" name="speed" value="slow" checked> Standard</label>
<label><input type="radio" name="speed" value="fast"> Express</label>
<label>Country <select name="country"><option value="de">Germany<option value="fr">France<option disabled>Atlantis</select></label>
<label>Colours <select name="colours" multiple><option>Red<option selected>Green<option>Blue</select></label>
<input type="password" name="pin" placeholder="PIN">
<button name="do" value="buy">Buy</button> <button name="do" value="keep">Keep it</button>
<button type="button">Menu</button><button type="reset">Clear</button><button disabled>Never</button>
<button formaction="/echo?other" formmethod="get" name="do" value="look">Look up</button>
</form>
<input form="order" name="outside" value="o"><button form="order" name="do" value="far">Far away</button>
<form name="upload" action="/echo" method="post" enctype="multipart/form-data"><label>Photo <input type="file" name="photo"></label>
<input type="image" name="map" alt="Send photo"></form>
<form class="find" action="/echo?gone=1"><input name="q" title="Words"><input type="submit"></form>
<button>Lonely</button><button hidden>Secret</button>
</body></html>`

const pageLinks = `<title>Links</title><p><a href="/echo">Contact us today</a> <a href="/echo?short">Contact</a> <a href="/echo?about" id="about">About</a>
<a href="/echo?pic"><img src="x" alt="Our shop"></a> <a href="/echo?t" title="Press room">News</a> <a href="javascript:go()">Menu</a>
<a href="mailto:a@b.test">Mail</a> <a href="#below">Below</a> <a href="/echo?1">More</a> <a href="/echo?2">More</a> <a href="/echo?3">Same</a> <a href="/echo?3">Same</a>
<a href="/echo?h" hidden>Back door</a> <a href="/missing">Broken</a> <a href="/echo?i"><i class="icon-cart"></i></a> <a name="x">Anchor</a> <button>Order</button></p>`

// site is a website for all the sentences. It is called www.example.test.
type site struct {
	target  *steps.Target
	secrets stepstest.Secrets // nil: one called members

	patience time.Duration // in a browser; 0: 50 ms
	limit    time.Duration // of a scenario; 0: 10 s
	mu       sync.Mutex
	conns    map[string]bool // remote addresses seen
}

func newSite(t *testing.T) *site {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the servers are closed
	s := &site{conns: map[string]bool{}}
	mux := http.NewServeMux()
	html := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, body)
		})
	}
	html("/{$}", `<!doctype html><html><body><h1>Welcome</h1><p>B50F&nbsp;BE3B 409A costs $5 or more</p><p hidden>Under cover</p>
<p class="notice big">Saved</p><p class="warning" hidden>Careful</p><!-- build 42 --></body></html>`)
	html("/empty", ``)
	html("/forms", pageForms)
	html("/links", pageLinks)
	html("/based", `<base href="/deep/er/"><a href="echo">Relative</a>`)
	html("/tables", `<table><form action="/echo"><tr><td><input name="a" value="1"><input type="submit" value="Go"></td></tr></form></table>`)
	mux.HandleFunc("/deep/er/echo", echo)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/latin1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
		_, _ = io.WriteString(w, "<p>Gr\xfc\xdfe</p><form action=/echo method=post><input name=word><button>Send</button></form>")
	})
	mux.HandleFunc("/meta", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<meta charset=windows-1252><p>5 \x80</p>")
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "text/plain")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "unpacked")
		_ = z.Close()
	})
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		chunk := make([]byte, 1<<20)
		for range 8 {
			if _, err := z.Write(chunk); err != nil {
				return
			}
		}
		_ = z.Close()
	})
	mux.HandleFunc("/badzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "this is not gzip at all")
	})
	mux.HandleFunc("/brotli", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		_, _ = io.WriteString(w, "x")
	})
	mux.HandleFunc("/json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"grüße": "<ok>"}`)
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.PathValue("code"), &code)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<p>status page</p>")
	})
	mux.HandleFunc("/redirect/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.PathValue("code"), &code)
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<p>moved</p>")
	})
	mux.HandleFunc("/hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		http.Redirect(w, r, fmt.Sprintf("/hop/%d", n+1), http.StatusFound)
	})
	mux.HandleFunc("/loop/{at}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/loop/"+map[string]string{"a": "b", "b": "c", "c": "b"}[r.PathValue("at")], http.StatusFound)
	})
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("seen"); err != nil {
			http.SetCookie(w, &http.Cookie{Name: "seen", Value: "s3cr3tc00kie", Path: "/"})
			http.Redirect(w, r, "/cookie", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, "cookie came back")
	})
	mux.HandleFunc("/setcookie", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "s3cr3tc00kie", Path: "/"})
		_, _ = io.WriteString(w, "<p>baked</p>")
	})
	mux.HandleFunc("/basic", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "alice" || password != "pa:ss w" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = fmt.Fprintf(w, "<p>header %s</p>", r.Header.Get("Authorization"))
	})
	mux.HandleFunc("/digest", func(w http.ResponseWriter, r *http.Request) { serveDigest(w, r) })
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) })
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "nginx/1.22")
		w.Header().Add("Vary", "Accept")
		w.Header().Add("Vary", "Cookie")
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(30 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/close", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "<a href=/echo>On</a>")
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "only this")
	})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.conns[r.RemoteAddr] = true
		s.mu.Unlock()
		mux.ServeHTTP(w, r)
	})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	s.target = (&steps.Target{ConnectTo: map[string]string{
		"www.example.test:80": address, "example.test:80": address, "www.other.test:80": address, "xn--bcher-kva.test:80": address,
	}}).Set(httpwire.Web{BodyLimit: 1 << 20})
	return s
}

// setWeb changes how websites are visited.
func setWeb(target *steps.Target, change func(*httpwire.Web)) {
	web := steps.SettingsOf[httpwire.Web](target)
	change(&web)
	target.Set(web)
}

// echo responds with the request, in order.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	kind := r.Header.Get("Content-Type")
	if boundary, found := strings.CutPrefix(kind, "multipart/form-data; boundary="); found {
		kind = "multipart/form-data"
		body = []byte(strings.ReplaceAll(strings.ReplaceAll(string(body), boundary, "BOUNDARY"), "\r\n", "|"))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, "%s %s [%s] %s (referer %s) (origin %s)", r.Method, r.RequestURI, kind, body, r.Referer(), r.Header.Get("Origin"))
}

// serveDigest verifies digest credentials with the library's own parser and computes the response separately.
func serveDigest(w http.ResponseWriter, r *http.Request) {
	challenge := &digest.Challenge{Realm: "vault", Nonce: "n0nce", Opaque: "op", Algorithm: "SHA-256", QOP: []string{"auth"}}
	given, err := digest.ParseCredentials(r.Header.Get("Authorization"))
	if err == nil {
		want, err := digest.Digest(challenge, digest.Options{Method: r.Method, URI: r.RequestURI, Count: given.Nc, Cnonce: given.Cnonce, Username: "alice", Password: "open sesame"})
		if err == nil && want.Response == given.Response && given.Username == "alice" {
			_, _ = fmt.Fprintf(w, "welcome, request %d", given.Nc)
			return
		}
	}
	w.Header().Set("WWW-Authenticate", challenge.String())
	w.WriteHeader(http.StatusUnauthorized)
}

// run runs a scenario and fails the test when the scenario is invalid.
func (s *site) run(t *testing.T, text string) *stepstest.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(s.limit, 10*time.Second))
	defer cancel()
	secrets := s.secrets
	if secrets == nil {
		secrets = stepstest.Secrets{"members": "s3same"}
	}
	outcome, err := stepstest.Scenario{Target: s.target, Secrets: secrets, Browser: steps.SettingsOf[*browser.Browser](s.target) != nil}.Run(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	if outcome.Close != nil {
		t.Errorf("close the World: %v", outcome.Close)
	}
	return outcome
}

const home = `I go to "http://www.example.test/"` + "\n"

func TestWebSentences(t *testing.T) {
	s := newSite(t)
	s.target.ConnectTo["closed.example.test:80"] = "127.0.0.1:1"
	photo := filepath.Join(t.TempDir(), "a photo.txt")
	if err := os.WriteFile(photo, []byte("pixels"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(path string) string { return `I go to "http://www.example.test` + path + `"` + "\n" }
	cases := []sentenceCase{
		{"go to", home, ""},
		{"go to, unquoted", `I go to http://www.example.test/`, ""},
		{"visit", `I visit "http://www.example.test/"`, ""},
		{"visit 404", `I visit "http://www.example.test/status/404"`, "http_status web: GET http://www.example.test/status/404: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/status/404\"` accepts any status)"},
		{"try where nobody answers", `I try to go to "http://closed.example.test/"`, "connect web: connect to closed.example.test:80 (at 127.0.0.1:1): connection refused: nothing listens on that port"},
		{"headers from where nobody answers", `I fetch headers from "http://closed.example.test/"`, "connect web: connect to closed.example.test:80 (at 127.0.0.1:1): connection refused: nothing listens on that port"},
		{"path", home + `I go to "/links"` + "\n" + `I should be on "http://www.example.test/links"`, ""},
		{"path without a host", `I go to "/links"`, `scenario scenario: "/links" is not a whole address, and there is no current page yet: write it as "https://www.example.org/", or set web.base in stepwatch.yml`},
		{"no host at all", `I go to "http://"`, `scenario scenario: "http://" is not an address: it has no host`},
		{"another scheme", `I go to "ftp://www.example.test/"`, `scenario scenario: "ftp://www.example.test/": only http and https can be loaded, not "ftp"`},
		{"no URL", `I go to "http://alice:secret@a%zz/"`, `scenario scenario: "http://a%zz/" is not an address: its host contains "%", which no host may contain`},
		{"other letters", `I go to "http://bücher.test/"`, ""},
		{"404", at("/status/404"), "http_status web: GET http://www.example.test/status/404: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/status/404\"` accepts any status)"},
		{"500", at("/status/500"), "http_status web: GET http://www.example.test/status/500: status 500 Internal Server Error, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/status/500\"` accepts any status)"},
		{"try", `I try to go to "http://www.example.test/status/503"` + "\nthe request should fail\nthe response status should be 503\nI should see \"status page\"", ""},
		{"304", at("/status/304"), ""},

		{"see", home + `I should see "B50F BE3B 409A costs $5"`, ""},
		{"see no-break spaces", home + "I should see \"B50F\u00a0BE3B\u00a0409A\"", ""},
		{"see what is not there", home + `I should see "Nothing"`, `unexpected web: see "Nothing" on http://www.example.test/ (200 OK): the page does not show it; it begins with "Welcome B50F BE3B 409A costs $5 or more Saved"`},
		{"see other letters", home + `I should see "welcome"`, `unexpected web: see "welcome" on http://www.example.test/ (200 OK): the page shows it in different case: "Welcome"`},
		{"see what is hidden", home + `I should see "Under cover"`, `unexpected web: see "Under cover" on http://www.example.test/ (200 OK): only the page's source contains it, it is not visible`},
		{"see a comment", home + `I should see "build 42"`, `unexpected web: see "build 42" on http://www.example.test/ (200 OK): only the page's source contains it, it is not visible`},
		{"see nothing", at("/empty") + `I should see "x"`, `unexpected web: see "x" on http://www.example.test/empty (200 OK): the page shows no text at all`},
		{"see an empty text", home + `I should see " "`, `scenario scenario: see " ": the text is empty`},
		{"see before going", `I should see "x"`, "scenario scenario: there is no page yet: write `I go to \"https://www.example.org/\"` before this step"},
		{"not see", home + `I should not see "Under cover"`, ""},
		{"not see what is there", home + `I should not see "costs"`, `unexpected web: not see "costs" on http://www.example.test/ (200 OK): the page shows it: "…come B50F BE3B 409A costs $5 or more Saved…"`},
		{"message", home + `I should see a notice message`, ""},
		{"hidden message", home + `I should see a warning message`, `unexpected web: see a message of class "warning" on http://www.example.test/ (200 OK): the element of this class is hidden`},
		{"no message", home + `I should see an error message`, `unexpected web: see a message of class "error" on http://www.example.test/ (200 OK): the page has no element of this class`},

		{"latin1", at("/latin1") + "I should see \"Grüße\"\nI fill in \"word\" with \"Fuß → €\"\nI press \"Send\"\nI should see \"word=Fu%DF+%26%238594%3B+%80\"", ""},
		{"charset in meta", at("/meta") + `I should see "5 €"`, ""},
		{"gzip", at("/gzip") + `I should see "unpacked"`, ""},
		{"gzip bomb", at("/bomb"), "too_large web: GET http://www.example.test/bomb: the page has more than 1048576 bytes, the limit; web.body_limit in stepwatch.yml raises it"},
		{"broken gzip", at("/badzip"), "protocol web: GET http://www.example.test/badzip: the body cannot be decompressed: its Content-Encoding is not how the data is compressed, so browsers show nothing"},
		{"other compression", at("/brotli"), `protocol web: GET http://www.example.test/brotli: the body cannot be decompressed: its Content-Encoding is "br", but gzip was requested`},
		{"json", at("/json") + `I should see '{"grüße": "<ok>"}'`, ""},
		{"json has no links", at("/json") + `I follow "x"`, `unexpected web: http://www.example.test/json (200 OK) is not HTML but application/json`},
		{"cut short", at("/short"), "disconnected web: GET http://www.example.test/short: read the page (9 of 100 bytes): the server closed the connection"},

		{"succeed", home + "the request should succeed", ""},
		{"succeed, in other words", home + "the second HTTP request should succeed", ""},
		{"succeed after all", `I try to go to "http://www.example.test/status/404"` + "\nthe request should succeed", "http_status web: expect the request to succeed: wanted 2xx or 3xx, got http://www.example.test/status/404 (404 Not Found)"},
		{"fail", home + "the login request should fail", "http_status web: expect the request to fail: wanted 4xx or 5xx, got http://www.example.test/ (200 OK)"},
		{"status", home + "the response status should be 204", "http_status web: expect status 204, got http://www.example.test/ (200 OK)"},
		{"be on path", at("/links?a=1#f") + "I should be on /links\nI should be on /links?a=1\nI should be on /links#f", ""},
		{"be on another path", at("/links?a=1") + "I should be on /links?a=2", "unexpected web: expect to be on http://www.example.test/links?a=2, got http://www.example.test/links?a=1 (200 OK)"},
		{"be on another host", home + "I should be on https://www.example.test", "unexpected web: expect to be on https://www.example.test/, got http://www.example.test/ (200 OK)"},
		{"be on a word", home + "I should be on home", `scenario scenario: "home" is neither a path nor a whole address: write it as "/members" or "https://www.example.org/members"`},
		{"load within", home + "the page should load within 5s", ""},
		{"elapsed", "I am benchmarking\n" + home + "the elapsed time should be less than 10 seconds\nthe elapsed time should be less than 1 minute\nthe elapsed time should be less than 5 second", ""},
		{"no clock", home + "the elapsed time should be less than 1 second", "scenario scenario: no clock is running: write `I am benchmarking` before this step"},

		{"headers", `I fetch headers from "http://www.example.test/headers"
			the "server" header should be "nginx/1.22"
			the response should contain the "Vary" header
			the "Vary" header should be "Accept, Cookie"
			the "Server" header should contain "^nginx/\d"
			the "Server" header should not contain "Apache"
			the "X-None" header should not contain "x"`, ""},
		{"header is", at("/headers") + `the "Server" header should be "Apache"`, `unexpected web: expect the header "Server" of http://www.example.test/headers (200 OK) to be "Apache", got "nginx/1.22"`},
		{"header exists", at("/headers") + `the response should contain the "X-Frame-Options" header`, `unexpected web: expect the header "X-Frame-Options" of http://www.example.test/headers (200 OK): the response does not have it`},
		{"header contains", at("/headers") + `the "Server" header should contain "apache|iis"`, `unexpected web: expect the header "Server" of http://www.example.test/headers (200 OK) to match "apache|iis", got "nginx/1.22"`},
		{"header without", at("/headers") + `the "Server" header should not contain "\d"`, `unexpected web: expect the header "Server" of http://www.example.test/headers (200 OK) not to match "\\d", got "nginx/1.22"`},
		{"header pattern", at("/headers") + `the "Server" header should contain "("`, "scenario scenario: \"(\" is not a valid regular expression (RE2 syntax): error parsing regexp: missing closing ): `(?sm)(`"},

		{"follow", at("/links") + "I follow \"Contact\"\nI should see \"GET /echo?short [] (referer http://www.example.test/links) (origin )\"", ""},
		{"follow a part", at("/links") + "I follow \"contact us\"\nI should be on /echo", ""},
		{"follow by id", at("/links") + "I follow \"about\"\nI should be on /echo?about", ""},
		{"follow an image", at("/links") + "I follow \"Our shop\"\nI should be on /echo?pic", ""},
		{"follow by title", at("/links") + "I follow \"press room\"\nI should be on /echo?t", ""},
		{"follow by markup", at("/links") + "I follow \"icon-cart\"\nI should be on /echo?i", ""},
		{"follow one of two alike", at("/links") + "I follow \"Same\"\nI should be on /echo?3", ""},
		{"follow one of two", at("/links") + `I follow "More"`, `not_found web: follow "More" on http://www.example.test/links (200 OK): the name is ambiguous: 2 links match: "More", "More"`},
		{"follow a script", at("/links") + `I follow "Menu"`, `scenario scenario: follow "Menu" on http://www.example.test/links (200 OK): the link runs a script; that needs a browser: tag the scenario @browser`},
		{"follow a mail address", at("/links") + `I follow "Mail"`, `scenario scenario: follow "Mail" on http://www.example.test/links (200 OK): the link is a mailto: address, which leads to no page`},
		{"follow to a place", at("/links") + "I follow \"Below\"\nI should be on /links#below", ""},
		{"follow a hidden link", at("/links") + `I follow "Back door"`, `not_found web: follow "Back door" on http://www.example.test/links (200 OK): the link "Back door" is hidden`},
		{"follow a button", at("/links") + `I follow "Order"`, `not_found web: follow "Order" on http://www.example.test/links (200 OK): there is no such link; the page has "Contact us today", "Contact", "About", "Our shop", "News", "Menu", "Mail", "Below", "More", "Same", 2 more; there is a button "Order": press it`},
		{"follow to 404", at("/links") + `I follow "Broken"`, "http_status web: GET http://www.example.test/missing: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/missing\"` accepts any status)"},
		{"follow where no link is", home + `I follow "x"`, `not_found web: follow "x" on http://www.example.test/ (200 OK): the page has no link at all`},
		{"follow with a base", at("/based") + "I follow \"Relative\"\nI should be on /deep/er/echo", ""},
		{"follow after close", at("/close") + "I follow \"On\"\nI should be on /echo", ""},

		{"form as it is", at("/forms") + "I press \"Buy\"\nI should see \"POST /echo [application/x-www-form-urlencoded] name=old&remarks=none&fixed=r&token=t1&news=weekly&speed=slow&country=de&colours=Green&pin=&do=buy&outside=o (referer http://www.example.test/forms) (origin http://www.example.test)\"", ""},
		{"form filled in", at("/forms") + `I fill in "Your name" with "Ann & Bob"
			I fill in "remarks" with "fine"
			I check "Gift wrap"
			I uncheck "Newsletter"
			I choose "Express"
			I select "France" from "Country"
			I select "Blue" from "colours"
			I fill in "PIN" with "12345"
			I press "do it not"`, `not_found web: press "do it not" on http://www.example.test/forms (200 OK): there is no such button; the page has "Buy", "Keep it", "Menu", "Clear", "Look up", "Far away", "Send photo", "Submit", "Lonely"`},
		{"form filled in and sent", at("/forms") + `I fill in "Your name" with "Ann & Bob"
			I fill in "remarks" with "fine"
			I check "Gift wrap"
			I uncheck "Newsletter"
			I choose "Express"
			I select "France" from "Country"
			I select "Blue" from "colours"
			I fill in "PIN" with "12345"
			I press "Keep"
			I should see "name=Ann+%26+Bob&remarks=fine&fixed=r&token=t1&gift=on&speed=fast&country=fr&colours=Green&colours=Blue&pin=12345&do=keep&outside=o ("`, ""},
		{"secret", at("/forms") + "I fill in \"PIN\" with the secret \"members\"\nI press \"Buy\"\nI should see \"pin=s3same\"", ""},
		{"unknown secret", at("/forms") + `I fill in "PIN" with the secret "x"`, `config scenario: no secret "x": add it under secrets in stepwatch.yml`},
		{"button of another form", at("/forms") + "I press \"Look up\"\nI should be on /echo?name=old&remarks=none&fixed=r&token=t1&news=weekly&speed=slow&country=de&colours=Green&pin=&do=look&outside=o", ""},
		{"button outside", at("/forms") + "I press \"Far away\"\nI should see \"outside=o&do=far\"", ""},
		{"submit by id", at("/forms") + "I submit the form named \"order\"\nI should see \"pin=&outside=o\"", ""},
		{"submit by selector", at("/forms") + "I fill in \"Words\" with \"a b\"\nI submit the form named \"form.find\"\nI should be on /echo?q=a+b", ""},
		{"submit what is not there", at("/forms") + `I submit the form named "x"`, `not_found web: submit the form named "x" on http://www.example.test/forms (200 OK): there is no such form; the page has "order", "upload", one for "/echo?gone=1"`},
		{"submit without a name", at("/forms") + "I fill in \"q\" with \"1\"\nI press \"Submit\"\nI should be on /echo?q=1", ""},
		{"form between table and rows", at("/tables") + "I press \"Go\"\nI should be on /echo?a=1", ""},
		{"upload", at("/forms") + "I attach the file at \"" + photo + "\" to \"Photo\"\nI press \"Send photo\"\n" +
			`I should see 'POST /echo [multipart/form-data] --BOUNDARY|Content-Disposition: form-data; name="photo"; filename="a photo.txt"|Content-Type: text/plain'` + "\n" + `I should see '||pixels|--BOUNDARY|Content-Disposition: form-data; name="map.x"||'`, ""},
		{"upload of nothing", at("/forms") + "I submit the form named \"upload\"\n" + `I should see 'filename=""|Content-Type: application/octet-stream||'`, ""},
		{"upload of no file", at("/forms") + `I attach the file at "/no/such/file" to "Photo"`, `config scenario: attach to "Photo" on http://www.example.test/forms (200 OK): stat /no/such/file: no such file or directory`},
		{"press a script's button", at("/forms") + `I press "Menu"`, `scenario scenario: press "Menu" on http://www.example.test/forms (200 OK): a button of type=button does not submit a form; that needs a browser: tag the scenario @browser`},
		{"press a button without a form", at("/forms") + `I press "Lonely"`, `scenario scenario: press "Lonely" on http://www.example.test/forms (200 OK): the button belongs to no form; that needs a browser: tag the scenario @browser`},
		{"press a disabled button", at("/forms") + `I press "Never"`, `not_found web: press "Never" on http://www.example.test/forms (200 OK): the button "Never" is disabled`},
		{"press a hidden button", at("/forms") + `I press "Secret"`, `not_found web: press "Secret" on http://www.example.test/forms (200 OK): the button "Secret" is hidden`},
		{"press a link", at("/links") + `I press "about"`, `not_found web: press "about" on http://www.example.test/links (200 OK): there is no such button; the page has "Order"; there is a link "About": follow it`},
		{"fill in what is not there", at("/forms") + `I fill in "Street" with "x"`, `not_found web: fill in "Street" on http://www.example.test/forms (200 OK): there is no such text field; the page has "Your name *", "Remarks:", "Fixed", "PIN", "outside", "Words"`},
		{"fill in a disabled field", at("/forms") + `I fill in "off" with "x"`, `not_found web: fill in "off" on http://www.example.test/forms (200 OK): the text field "Off" is disabled`},
		{"fill in a read-only field", at("/forms") + `I fill in "Fixed" with "x"`, `not_found web: fill in "Fixed" on http://www.example.test/forms (200 OK): the field is read-only`},
		{"fill in a checkbox", at("/forms") + `I fill in "Gift wrap" with "x"`, `not_found web: fill in "Gift wrap" on http://www.example.test/forms (200 OK): there is no such text field; the page has "Your name *", "Remarks:", "Fixed", "PIN", "outside", "Words"; "Gift wrap" is a checkbox`},
		{"select what is not there", at("/forms") + `I select "Spain" from "Country"`, `not_found web: select "Spain" from "Country" on http://www.example.test/forms (200 OK): the field has no such option; it has "Germany", "France", "Atlantis"`},
		{"select a disabled option", at("/forms") + `I select "Atlantis" from "Country"`, `not_found web: select "Atlantis" from "Country" on http://www.example.test/forms (200 OK): the option is disabled`},
		{"choose one of two", at("/forms") + `I choose "speed"`, `not_found web: choose "speed" on http://www.example.test/forms (200 OK): the name is ambiguous: 2 radio buttons match: "Standard" (value "slow"), "Express" (value "fast")`},
		{"check what is not there", at("/forms") + `I check "Nothing"`, `not_found web: check "Nothing" on http://www.example.test/forms (200 OK): there is no such checkbox; the page has "Gift wrap", "Newsletter"`},
		{"uncheck what is not there", at("/forms") + `I uncheck "Nothing"`, `not_found web: uncheck "Nothing" on http://www.example.test/forms (200 OK): there is no such checkbox; the page has "Gift wrap", "Newsletter"`},

		{"301", at("/redirect/301?to=/echo") + "I should see \"GET /echo\"", ""},
		{"302 elsewhere", at("/redirect/302?to=http://www.other.test/echo") + "I should see \"GET\"\nI should be on http://www.other.test/echo", ""},
		{"302 within the site", at("/redirect/302?to=http://example.test/echo") + "I should be on http://example.test/echo", ""},
		{"redirect keeps the fragment", at("/redirect/302?to=/echo#here") + "I should be on /echo#here", ""},
		{"redirect without an address", at("/redirect/302?to=") + "the response status should be 302", ""},
		{"redirect to nowhere", at("/redirect/302?to=http://%25zz/"), `redirect web: GET http://www.example.test/redirect/302?to=http://%25zz/: the redirect has no valid target: Location is "http://%zz/": its host contains "%", which no host may contain`},
		{"redirect loop", at("/loop/a"), "redirect web: redirect loop: GET http://www.example.test/loop/b → GET http://www.example.test/loop/c → GET http://www.example.test/loop/b"},
		{"long chain", at("/hop/1"), "redirect web: more than 10 redirects: " + hops(12)},
		{"cookie and back", at("/cookie") + `I should see "cookie came back"`, ""},

		{"basic", `I go to "http://alice:pa%3Ass%20w@www.example.test/basic"` + "\nI go to \"/basic\"\nI should be on /basic", ""},
		{"basic, wrong", `I go to "http://alice:wr0ng@www.example.test/basic"`, "auth web: GET http://www.example.test/basic: the credentials were refused with 401 Unauthorized"},
		{"basic, none", at("/basic"), "http_status web: GET http://www.example.test/basic: status 401 Unauthorized, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/basic\"` accepts any status)"},
		{"digest", "I am HTTP digest authenticated with the following credentials:\n| username | password |\n| alice | open sesame |\n" + at("/digest") + at("/digest") + `I should see "welcome, request 2"`, ""},
		{"digest, wrong", "I am HTTP digest authenticated with the following credentials:\n| username | secret |\n| alice | members |\n" + at("/digest"), "auth web: GET http://www.example.test/digest: the credentials were refused with 401 Unauthorized"},
		{"digest against basic", "I am HTTP digest authenticated with the following credentials:\n| username | password |\n| alice | x |\n" + at("/basic"), `auth web: GET http://www.example.test/basic: the server does not offer digest authentication: it responds with 401 and WWW-Authenticate "Basic realm=\"x\""`},
		{"digest without a table", "I am HTTP digest authenticated with the following credentials:", "scenario scenario: the step needs a table of two rows: | username | secret |, and the values below"},
		{"digest with another table", "I am HTTP digest authenticated with the following credentials:\n| user |\n| x |", `scenario scenario: the table has a column "user"; its columns are username and secret (or password)`},
		{"digest without a name", "I am HTTP digest authenticated with the following credentials:\n| password |\n| x |", `scenario scenario: the table needs the columns username and secret (or password), with a username`},
	}
	s.runBoth(t, cases, inBrowser)
}

// runBoth runs every case over HTTP alone and then in a browser, where inBrowser has another error for some.
func (s *site) runBoth(t *testing.T, cases []sentenceCase, inBrowser map[string]string) {
	t.Helper()
	s.runOnBoth(t, cases, inBrowser, browser.Options{})
}

// runOnBoth is runBoth with a browser of these options.
func (s *site) runOnBoth(t *testing.T, cases []sentenceCase, inBrowser map[string]string, options browser.Options) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	s.runInBrowser(t, cases, inBrowser, options)
}

// runInBrowser runs every case in one browser, several at the same time.
func (s *site) runInBrowser(t *testing.T, cases []sentenceCase, inBrowser map[string]string, options browser.Options) {
	t.Helper()
	for name, want := range inBrowser {
		if !slices.ContainsFunc(cases, func(c sentenceCase) bool { return c.name == name }) {
			t.Errorf("no case is called %q: %q cannot be the result in a browser", name, want)
		}
	}
	if _, err := browser.Find(); err != nil {
		t.Skip("not run in a browser:", err)
	}
	options.MapHosts = s.target.ConnectTo
	s.target.Set(fixture.StartedBrowser(t, options))
	setWeb(s.target, func(web *httpwire.Web) { web.Patience = cmp.Or(s.patience, 50*time.Millisecond) })
	t.Run("browser", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				if want, differs := inBrowser[c.name]; differs {
					c.want = want
				}
				fixture.Expect(t, s.run(t, c.text), c.want)
			})
		}
	})
}

// sentenceCase is a scenario and its expected error, the same over HTTP alone and in a browser.
type sentenceCase struct{ name, text, want string }

// inBrowser lists the cases with a different result in a browser, because scripts run in it, it stops elsewhere, or its
// words for a network fault differ.
var inBrowser = map[string]string{
	"try where nobody answers":          "connect web: GET http://closed.example.test/: connection refused: nothing listens on that port (net::ERR_CONNECTION_REFUSED)",
	"headers from where nobody answers": "connect web: GET http://closed.example.test/: connection refused: nothing listens on that port (net::ERR_CONNECTION_REFUSED)",
	"gzip bomb":                         "unexpected web: GET http://www.example.test/bomb: the response is a file to download, not a page",
	"broken gzip":                       "protocol web: GET http://www.example.test/badzip: the body cannot be decompressed: its Content-Encoding is not how the data is compressed (net::ERR_CONTENT_DECODING_FAILED)",
	"other compression":                 "protocol web: GET http://www.example.test/brotli: the body cannot be decompressed: its Content-Encoding is not how the data is compressed (net::ERR_CONTENT_DECODING_FAILED)",
	"cut short":                         "disconnected web: GET http://www.example.test/short: the server closed the connection (net::ERR_CONTENT_LENGTH_MISMATCH)",
	"follow by markup":                  `not_found web: follow "icon-cart" on http://www.example.test/links (200 OK): it has no size on the page`,
	"follow a script":                   "",
	"follow a mail address":             "",
	"press a script's button":           "",
	"press a button without a form":     "",
	"redirect to nowhere":               "protocol web: GET http://www.example.test/redirect/302?to=http://%25zz/: net::ERR_INVALID_REDIRECT",
	"redirect loop":                     "redirect web: GET http://www.example.test/loop/a: redirect loop, or more redirects than a browser follows (net::ERR_TOO_MANY_REDIRECTS)",
	"long chain":                        "redirect web: GET http://www.example.test/hop/1: redirect loop, or more redirects than a browser follows (net::ERR_TOO_MANY_REDIRECTS)",
}

func hops(n int) string {
	var chain []string
	for i := range n {
		chain = append(chain, fmt.Sprintf("GET http://www.example.test/hop/%d", i+1))
	}
	return strings.Join(chain, " → ")
}

func TestRedirectMethods(t *testing.T) {
	s := newSite(t)
	form := func(code int) string {
		return fmt.Sprintf("<form method=post action='/redirect/%d?to=/echo'><input name=a value=1><button>Send</button></form>", code)
	}
	for code, want := range map[int]string{
		301: "GET /echo [] (", 302: "GET /echo [] (", 303: "GET /echo [] (",
		307: "POST /echo [application/x-www-form-urlencoded] a=1 (", 308: "POST /echo [application/x-www-form-urlencoded] a=1 (",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, form(code))
		}))
		defer server.Close()
		s.target.ConnectTo["form.example.test:80"] = server.Listener.Addr().String()
		// The form is on a host of the same site; its redirect and the response are on www.
		page := strings.ReplaceAll(form(code), "'/redirect", "'http://www.example.test/redirect")
		server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page)
		})
		o := s.run(t, "I go to http://form.example.test/\nI press \"Send\"\nI should see \""+want+"\"")
		fixture.Expect(t, o, "")
	}
}

func TestCucumberNagios(t *testing.T) {
	s := newSite(t)
	setWeb(s.target, func(web *httpwire.Web) { web.CucumberNagios = true })
	for _, c := range []struct{ text, want string }{
		{home + `I should see "W.lcome.*costs"`, ""},
		{home + `I should see "build \d+"`, ""},
		{home + `I should see "^<p hidden"`, `unexpected web: see "^<p hidden" on http://www.example.test/ (200 OK): the regular expression does not match the page's source`},
		{home + `I should not see "BE3B.409A"`, `unexpected web: not see "BE3B.409A" on http://www.example.test/ (200 OK): the regular expression matches the page's source`},
		{home + `I should see "(?<=x)y"`, "scenario scenario: \"(?<=x)y\" is not a valid regular expression (RE2 syntax): error parsing regexp: invalid named capture: `(?<=x)y`"},
		{home + `I should see a warning message`, ""},
		{"I go to http://www.example.test/links\nI follow \"More\"\nI should be on /echo?1", ""},
		{"I go to http://www.example.test/links\nI follow \"Back door\"\nI should be on /echo?h", ""},
	} {
		t.Run(c.text, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
}

// TestWebConnections checks that a scenario reuses its connection and that no two runs share one.
func TestWebConnections(t *testing.T) {
	s := newSite(t)
	for range 3 {
		fixture.Expect(t, s.run(t, home+"I go to /links\nI follow \"Contact\"\nI should be on /echo?short"), "")
	}
	if len(s.conns) != 3 {
		t.Errorf("3 runs used %d connections, want 3", len(s.conns))
	}
}

func TestWebReport(t *testing.T) {
	s := newSite(t)
	o := s.run(t, `I go to "http://www.example.test/redirect/302?to=/slow"`)
	fixture.Expect(t, o, "")
	var phases []string
	processing := time.Duration(0)
	for _, p := range o.Steps[0].Report.Phases {
		phases = append(phases, strings.TrimSpace(p.Name+" "+p.Note))
		if p.Name == "processing" {
			processing += p.Duration
		}
	}
	if got, want := strings.Join(phases, ", "), "connect, processing 302 Found, transfer, processing 200 OK, transfer"; got != want {
		t.Errorf("phases %s, want %s", got, want)
	}
	if took := o.Steps[0].Duration; processing < 30*time.Millisecond || processing > took {
		t.Errorf("processing took %s of %s, the server waits 30ms", processing, took)
	}
	var values []string
	for _, m := range o.Steps[0].Report.Measurements {
		values = append(values, fmt.Sprintf("%s %v", m.Name, m.Value))
	}
	if got, want := strings.Join(values, ", "), "http_status_code 200, http_redirects 1, http_content_length_bytes 0"; got != want {
		t.Errorf("measurements %s, want %s", got, want)
	}
	if len(o.Steps[0].Report.Evidence) != 0 {
		t.Error("a step that passed has evidence")
	}
	for _, c := range []struct{ text, want string }{
		{"I go to http://www.example.test/slow\nthe page should load within 20ms", `^load http://www\.example\.test/slow \(200 OK\) within 20ms: took \d+ms$`},
		{"I am benchmarking\nI go to http://www.example.test/slow\nthe elapsed time should be less than 20 ms", "^expect less than 20 ms since `I am benchmarking`, got \\d+ms$"},
	} {
		o := s.run(t, c.text)
		failure := (*steps.Failure)(nil)
		if !errors.As(o.Err(), &failure) || failure.Reason != result.ReasonSlow || failure.Blame != result.BlameWeb ||
			!regexp.MustCompile(c.want).MatchString(failure.Error()) {
			t.Errorf("got %v, want %s", o.Err(), c.want)
		}
	}
}

// TestWebSecrets searches all evidence for secrets.
func TestWebSecrets(t *testing.T) {
	s := newSite(t)
	for _, text := range []string{
		`I go to "http://alice:pa%3Ass%20w@www.example.test/basic"` + "\nI should see \"nothing\"",
		`I go to "http://alice:pa%3Ass%20w@www.example.test/setcookie"` + "\nthe \"Set-Cookie\" header should be \"x\"",
		`I go to "http://alice:pa%3Ass%20w@www.example.test/status/500"`,
		`I go to "http://alice:pa%3Ass%20w@closed.example.test/"`,
		`I go to "http://alice:pa%3Ass%20w@www.example.test:x/"`,
		"I go to http://www.example.test/forms\nI fill in \"PIN\" with the secret \"members\"\nI press \"Buy\"\nI should see \"nothing\"",
		"I go to http://www.example.test/forms\nI fill in \"PIN\" with \"s3same\"\nI press \"Buy\"\nI should see \"nothing\"",
	} {
		s.target.ConnectTo["closed.example.test:80"] = "127.0.0.1:1"
		o := s.run(t, text)
		if o.Err() == nil {
			t.Errorf("%s: passed", text)
		}
		kept := o.Err().Error()
		for _, step := range o.Steps {
			kept += fmt.Sprint(step.Report.Phases, step.Report.Measurements)
			for _, e := range step.Report.Evidence {
				kept += string(e.Body)
			}
		}
		for _, secret := range []string{"pa:ss w", "pa%3Ass", "YWxpY2U6cGE6c3Mgdw==", "s3cr3tc00kie", "s3same"} {
			// The error repeats the visible text, which the runner redacts.
			if strings.Contains(kept, secret) && !strings.Contains(o.Err().Error(), secret) {
				t.Errorf("%s: keeps %q: %s", text, secret, kept)
			}
		}
	}
}
