package web_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// These tests check that a page is judged as a visitor sees it.

// redirecting redirects /to?ADDRESS there, with the status of code.
func redirecting(mux *http.ServeMux) {
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
	})
}

// noted returns the note of the last step that has one.
func noted(t *testing.T, s *site, text string) string {
	t.Helper()
	o := s.run(t, text)
	if o.Err() != nil {
		t.Fatal(o.Err())
	}
	note := ""
	for _, step := range o.Steps {
		if step.Report.Note != "" {
			note = step.Report.Note
		}
	}
	return note
}

func TestRedirectToAnotherProgramIsNamed(t *testing.T) {
	s := newPages(t, map[string]string{
		"/links": `<a href="/to?shopapp://callback?code=1">App</a> <a href="/to?mailto:a@b.test">Write</a>
<form action="/to?intent:pay" method=post><button>Pay</button></form>`,
	}, redirecting)
	elsewhere := func(method, address string) string {
		return "redirect web: " + method + " http://www.example.test/to?" + address + ": it redirects with 302 to " + address +
			", which another program opens and not a browser, so there is no page (`I try to go to` accepts that)"
	}
	s.runBoth(t, []sentenceCase{
		{"an app", at("/to?shopapp://callback") + `I should see "x"`, elsewhere("GET", "shopapp://callback")},
		{"an app, from a link", at("/links") + `I follow "App"`, elsewhere("GET", "shopapp://callback?code=1")},
		{"mail, from a link", at("/links") + `I click "Write"`, elsewhere("GET", "mailto:a@b.test")},
		{"an app, from a form", at("/links") + `I press "Pay"`, elsewhere("POST", "intent:pay")},
		{"accepted", `I try to go to "http://www.example.test/to?shopapp://callback"` + "\nthe response status should be 302\nthe \"Location\" header should be \"shopapp://callback\"\nI should not see \"x\"\nI go to \"http://www.example.test/links\"\nI should see the link \"App\"", ""},
		{"the page before", at("/links") + `I try to go to "http://www.example.test/to?shopapp://callback"` + "\nI follow \"App\"",
			`not_found web: follow "App" on http://www.example.test/to?shopapp://callback (302 Found, stopped at a redirect to shopapp://callback): the page has no link at all`},
	}, map[string]string{
		"the page before": `scenario scenario: follow "App": http://www.example.test/to?shopapp://callback (302 Found, stopped at a redirect to shopapp://callback) is the response to a request outside the browser, which shows another page: write ` + "`I go to` before this step",
	})
}

func TestClickThatOpensAnotherProgramSaysSo(t *testing.T) {
	s := newPages(t, map[string]string{
		"/links":  `<h1>Links</h1><a href="mailto:a@b.test">Mail</a> <a href="intent:pay">Pay</a> <button type=button onclick="location = 'shopapp://cart'">Cart</button>`,
		"/itself": `<h1>Itself</h1><script>location = "shopapp://cb"</script>`,
	})
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	for text, want := range map[string]string{
		at("/links") + "I click \"Mail\"\nI should see \"Links\"":         "mailto:a@b.test",
		at("/links") + "I follow \"Pay\"\nI should see \"Links\"":         "intent:pay",
		at("/links") + "I click \"Cart\"\nI should see \"Links\"":         "shopapp://cart",
		at("/itself") + "I should see \"Itself\"\nI should be on /itself": "shopapp://cb",
	} {
		start := time.Now()
		if note := noted(t, s, text); note != "the page stays: "+want+" is for another program" {
			t.Errorf("%q: note %q", text, note)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q took %s", text, took)
		}
	}
}

func TestRedirectToAnotherSiteIsFollowed(t *testing.T) {
	headers := make(chan http.Header, 10)
	s := newPages(t, map[string]string{
		"/form": `<form action="/to?http://other.test/echo" method=post><input name=a value=1><button>Send</button></form>`, "/other": "<h1>Other</h1>",
	}, redirecting, func(mux *http.ServeMux) {
		mux.HandleFunc("/secured", func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "other.test" {
				headers <- r.Header
				w.Header().Set("WWW-Authenticate", `Digest realm="x", nonce="n", qop="auth", algorithm=SHA-256`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Location", "http://other.test/secured")
			w.WriteHeader(http.StatusFound)
		})
		mux.HandleFunc("/hop", func(w http.ResponseWriter, r *http.Request) {
			host := map[string]string{"www.example.test": "other.test", "other.test": "www.example.test"}[r.Host]
			w.Header().Set("Location", "http://"+host+"/hop?x"+r.URL.RawQuery)
			w.WriteHeader(http.StatusFound)
			_, _ = io.WriteString(w, "moved")
		})
	})
	s.runBoth(t, []sentenceCase{
		{"followed", at("/to?http://other.test/other") + "I should see \"Other\"\nI should be on http://other.test/other\nthe request should succeed", ""},
		{"a form", at("/form") + "I press \"Send\"\nI should see \"GET /echo\"\nI should be on http://other.test/echo", ""},
		{"nobody there", at("/to?http://closed.test/x"), "connect web: connect to closed.test:80 (at 127.0.0.1:1): connection refused: nothing listens on that port (after the redirect from http://www.example.test/to?http://closed.test/x with 302 to http://closed.test/x)"},
		{"within bounds", at("/hop"), "redirect web: more than 10 redirects: " + hopping(12)},
	}, map[string]string{
		"nobody there":  "connect web: GET http://www.example.test/to?http://closed.test/x: connection refused: nothing listens on that port (net::ERR_CONNECTION_REFUSED)",
		"within bounds": "redirect web: GET http://www.example.test/hop: redirect loop, or more redirects than a browser follows (net::ERR_TOO_MANY_REDIRECTS)",
	})
	for _, inBrowser := range []bool{false, true} {
		if chromium := steps.SettingsOf[*browser.Browser](s.target); !inBrowser {
			s.target.Set((*browser.Browser)(nil))
			defer s.target.Set(chromium)
		} else if _, err := browser.Find(); err != nil {
			continue
		}
		o := s.run(t, at("/to?http://no-such-host.invalid/"))
		if err := o.Err(); err == nil || !strings.HasPrefix(fixture.Verdict(o), "dns dns: ") || !strings.Contains(err.Error(), "does not resolve") {
			t.Errorf("in a browser %v: got %v", inBrowser, err)
		}
		o = s.run(t, "I am HTTP digest authenticated with the following credentials:\n| username | password |\n| alice | x |\n"+
			"I go to http://alice:pass@www.example.test/secured")
		if o.Err() == nil {
			t.Error("a page that is not there was accepted")
		}
		for len(headers) > 0 {
			if h := <-headers; h.Get("Authorization") != "" {
				t.Errorf("in a browser %v: credentials went to another site: %q", inBrowser, h.Get("Authorization"))
			}
		}
	}
}

// hopping is a chain of redirects between two sites.
func hopping(n int) string {
	chain := make([]string, n)
	for i := range chain {
		chain[i] = "GET http://" + []string{"www.example.test", "other.test"}[i%2] + "/hop"
		if i > 0 {
			chain[i] += "?" + strings.Repeat("x", i)
		}
	}
	return strings.Join(chain, " → ")
}

// TestRedirectsInCucumberNagios checks that an old project stops at another site, as it always did.
func TestRedirectsInCucumberNagios(t *testing.T) {
	s := newPages(t, map[string]string{"/other": "<h1>Other</h1>"}, redirecting)
	setWeb(s.target, func(web *httpwire.Web) { web.CucumberNagios = true })
	fixture.Expect(t, s.run(t, at("/to?http://other.test/other")+"the response status should be 302\nI should be on http://www.example.test/to"), "")
	fixture.Expect(t, s.run(t, at("/to?http://closed.test/other")+"the request should succeed"), "")
}
