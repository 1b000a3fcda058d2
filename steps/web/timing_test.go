package web_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// newTimedSite returns a slow and faulty website called www.example.test, with www.other.test as third party.
func newTimedSite(t *testing.T) *site {
	t.Helper()
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	mux := http.NewServeMux()
	html := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, body)
		})
	}
	slow := func(path, kind, body string, d time.Duration) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
			}
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		})
	}
	html("/{$}", `<link rel=stylesheet href=/style.css><h1>Welcome</h1><a href=/slow>Slow</a>`)
	slow("/slow", "text/html", `<link rel=stylesheet href=/style.css><h1>Late</h1>`, 250*time.Millisecond)
	slow("/style.css", "text/css", "h1 { font-size: 40px }", 100*time.Millisecond)
	slow("/other.js", "text/javascript", "", 600*time.Millisecond)
	html("/third", `<h1>Shop</h1><script async src=http://www.other.test/other.js></script><script src=http://static.example.test/style.css></script>`)
	html("/blank", ``)
	html("/shifting", `<p>Above</p><div id=below style='height:400px;background:#ccc'>Below</div><script>setTimeout(() => document.querySelector("p").style.marginBottom = "200px", 100)</script>`)
	html("/failing", `<h1>Shop</h1><img src=/missing.png><img src=http://closed.example.test/x.png><script>
		const stop = new AbortController(); fetch("/other.js", {signal: stop.signal}).catch(() => {}); stop.abort()</script>`)
	html("/logging", `<h1>Shop</h1><script>console.error("no price for", {id: 7}); console.warn("careful"); setTimeout(() => { undefined.price }, 20)</script>`)
	html("/noisy", `<h1>Shop</h1><script>for (let i = 0; i < 600; i++) console.log(i); console.error("at last")</script>`)
	mux.HandleFunc("/policy", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "script-src 'none'")
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<h1>Strict</h1><script>1</script>")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	s := &site{target: (&steps.Target{ConnectTo: map[string]string{"www.example.test:80": address,
		"static.example.test:80": address, "www.other.test:80": address, "closed.example.test:80": "127.0.0.1:1"}}).Set(httpwire.Web{Patience: 300 * time.Millisecond})}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	return s
}

func TestWebTimingSentences(t *testing.T) {
	s := newTimedSite(t)
	at := func(path string) string { return `I go to "http://www.example.test` + path + `"` + "\n" }
	for _, c := range []sentenceCase{
		{"load", at("/slow") + "the page should load within 5s", ""},
		{"load slowly", at("/slow") + "the page should load within 300ms", `slow web: load http://www.example.test/slow (200 OK) within 300ms: took N`},
		{"first paint", at("/slow") + "the first paint should come within 5s", ""},
		{"late first paint", at("/slow") + "the first paint should come within 300ms", `slow web: first paint of http://www.example.test/slow (200 OK) within 300ms: it took N`},
		{"no first paint", at("/blank") + "the first paint should come within 100ms", `slow web: first paint of http://www.example.test/blank (200 OK) within 100ms: no text or image was painted so far, N after the start`},
		{"largest paint", at("/slow") + "the largest paint should come within 5s", ""},
		{"late largest paint", at("/slow") + "the largest paint should come within 300ms", `slow web: largest paint of http://www.example.test/slow (200 OK) within 300ms: it took N, <h1>`},
		{"still layout", at("/") + "the layout should shift by less than 0.001", ""},
		{"shifting layout", at("/shifting") + "the layout should shift by less than 0.01", `unexpected web: expect the layout of http://www.example.test/shifting (200 OK) to shift by less than 0.01, got N, mostly <div id="below">`},
		{"sound requests", at("/") + "no request fails", ""},
		{"failing requests", at("/failing") + "no request fails", `unexpected web: expect no request of http://www.example.test/failing (200 OK) to fail: 2 of 4 failed: GET http://www.example.test/missing.png: 404 Not Found, GET http://closed.example.test/x.png: net::ERR_CONNECTION_REFUSED`},
		{"failing requests of the page before", at("/failing") + at("/") + "no request fails", ""},
		{"nothing logged", at("/failing") + "nothing is logged as an error", ""},
		{"errors logged", at("/logging") + "nothing is logged as an error", `unexpected web: expect http://www.example.test/logging (200 OK) to log no errors, got 2: "no price for Object", "Uncaught TypeError: Cannot read properties of undefined (reading 'price')"`},
		{"an error after much", at("/noisy") + "nothing is logged as an error", `unexpected web: expect http://www.example.test/noisy (200 OK) to log no errors, got 1: "at last"`},
		{"what a policy refuses", at("/policy") + "nothing is logged as an error", `unexpected web: expect http://www.example.test/policy (200 OK) to log no errors, got 1: "Executing inline script violates the following Content Security Policy directive"`},
		{"few requests", at("/") + "the page should make at most 2 requests", ""},
		{"many requests", at("/third") + "the page should make at most 2 requests", `unexpected web: expect http://www.example.test/third (200 OK) to make at most 2 requests, got 3 (2 script, 1 document)`},
		{"light", at("/") + "the page should weigh at most 2 KB", ""},
		{"heavy", at("/") + "the page should weigh at most 200 B", `unexpected web: expect http://www.example.test/ (200 OK) to weigh at most 200 B, got N bytes, N of them http://www.example.test/`},
		{"quick third party", at("/third") + "no third party should take longer than 5s", ""},
		{"no third party", at("/") + "no third party should take longer than 1 ms", ""},
		{"slow third party", at("/third") + "no third party should take longer than 500ms", `slow web: expect no third party of http://www.example.test/third (200 OK) to take longer than 500ms: www.other.test N (http://www.other.test/other.js)`},
		{"before going", "no request fails", "scenario scenario: there is no page yet: write `I go to \"https://www.example.org/\"` before this step"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := s.run(t, c.text)
			want := "^" + strings.ReplaceAll(regexp.QuoteMeta(c.want), "N", `(\d+(\.\d+)?(ms|s)?|N)`) + "$"
			got := ""
			if failure := (*steps.Failure)(nil); errors.As(o.Err(), &failure) {
				got = fmt.Sprintf("%s %s: %s", failure.Reason, failure.Blame, failure)
			} else if o.Err() != nil {
				t.Fatal(o.Err())
			}
			if c.name == "what a policy refuses" {
				got, _, _ = strings.Cut(got, " '") // the browser adds its own text
				want = strings.TrimSuffix(want, `"$`)
			}
			if !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	s.target.Set((*browser.Browser)(nil))
	for sentence, want := range map[string]string{
		"the first paint should come within 1s":          "the first paint",
		"the largest paint should come within 1s":        "the largest paint",
		"the layout should shift by less than 0.1":       "the layout's shift",
		"no request fails":                               "the requests",
		"nothing is logged as an error":                  "the console",
		"the page should make at most 5 requests":        "the requests",
		"the page should weigh at most 1 MB":             "the weight",
		"no third party should take longer than 2 hours": "the third parties",
	} {
		fixture.Expect(t, s.run(t, at("/")+sentence), "scenario scenario: "+want+" of http://www.example.test/ (200 OK): that needs a browser: tag the scenario @browser")
	}
}

// TestWebTimings compares the timings that a step reports with the delays of the server.
func TestWebTimings(t *testing.T) {
	s := newTimedSite(t)
	o := s.run(t, "I go to http://www.example.test/\nI follow \"Slow\"\nI go to http://www.example.test/third\nno third party should take longer than 5s")
	fixture.Expect(t, o, "")
	phases := func(step int) (names []string, took map[string]time.Duration) {
		took = map[string]time.Duration{}
		for _, p := range o.Steps[step].Report.Phases {
			names, took[p.Name] = append(names, p.Name), p.Duration
		}
		return names, took
	}
	names, took := phases(0)
	if got, want := strings.Join(names, " "), "dns connect processing transfer load"; got != want {
		t.Errorf("phases %s, want %s", got, want)
	}
	if took["load"] < 90*time.Millisecond || took["load"] > 400*time.Millisecond {
		t.Errorf("load took %s, the style sheet 100ms", took["load"])
	}
	names, took = phases(1)
	if got, want := strings.Join(names, " "), "find click processing transfer load"; got != want {
		t.Errorf("phases %s, want %s", got, want)
	}
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	if whole := o.Steps[1].Duration; took["processing"] < 230*time.Millisecond || sum > whole+20*time.Millisecond || sum < whole-200*time.Millisecond {
		t.Errorf("phases %v of %s, the server takes 250ms", took, whole)
	}
	values := func(step int) map[string]float64 {
		m := map[string]float64{}
		for _, v := range o.Steps[step].Report.Measurements {
			m[v.Name] = v.Value
		}
		return m
	}
	first, slow, third := values(0), values(1), values(2)
	for _, name := range []string{"web_dom_content_loaded_seconds", "web_load_seconds", "web_first_contentful_paint_seconds", "web_largest_contentful_paint_seconds",
		"web_layout_shift", "web_requests", "web_transfer_bytes", "web_failed_requests", "web_console_errors", "http_status_code"} {
		if _, found := first[name]; !found {
			t.Errorf("no measurement %s", name)
		}
	}
	if slow["web_first_contentful_paint_seconds"] < 0.25 || slow["web_first_contentful_paint_seconds"] > 1 || first["web_load_seconds"] < 0.1 || first["web_load_seconds"] > 0.5 {
		t.Errorf("first page %v, slow page %v", first, slow)
	}
	if first["web_requests"] != 2 || slow["web_requests"] != 1 && slow["web_requests"] != 2 || first["web_failed_requests"] != 0 {
		t.Errorf("requests %v and %v", first["web_requests"], slow["web_requests"])
	}
	if _, found := first["web_third_party_seconds"]; found {
		t.Error("a page without third parties has a measurement of them")
	}
	if got := values(3)["web_third_party_seconds"]; got < 0.6 || got > 1 {
		t.Errorf("the third party took %v s, its server 600ms (%v)", got, third)
	}
	if note := o.Steps[2].Report.Note; !regexp.MustCompile(`^slow third parties: www\.other\.test \d+ms$`).MatchString(note) {
		t.Errorf("note %q", note)
	}
	if slices.Contains(names, "tls") {
		t.Error("there is no TLS")
	}
}

// TestLengthOfPage checks that a page has the same length in a browser as over HTTP alone.
func TestLengthOfPage(t *testing.T) {
	const body = "<!doctype html><title>x</title><p>Forty-two bytes and a few more"
	s := newPages(t, map[string]string{"/{$}": body})
	length := func() float64 {
		o := s.run(t, "I go to http://www.example.test/")
		fixture.Expect(t, o, "")
		for _, m := range o.Steps[0].Report.Measurements {
			if m.Name == "http_content_length_bytes" {
				return m.Value
			}
		}
		return -1
	}
	if got := length(); got != float64(len(body)) {
		t.Errorf("over HTTP: got %v, want %d", got, len(body))
	}
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	if got := length(); got != float64(len(body)) {
		t.Errorf("in a browser: got %v, want %d", got, len(body))
	}
}
