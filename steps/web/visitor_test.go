package web_test

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
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

func TestWhatWorkersAndSocketsDoCounts(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	script := func(path, text string) func(*http.ServeMux) {
		return func(mux *http.ServeMux) {
			mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/javascript")
				_, _ = io.WriteString(w, text)
			})
		}
	}
	s := newPages(t, map[string]string{
		"/refused": `<h1>Chat</h1><script>new WebSocket("ws://closed.test/chat")</script>`,
		"/502":     `<h1>Chat</h1><script>new WebSocket("ws://www.example.test/bad")</script>`,
		"/open":    `<h1>Chat</h1><script>new WebSocket("ws://www.example.test/chat")</script>`,
		"/worker":  `<h1>Work</h1><script>new Worker("/worker.js")</script>`,
		"/nested":  `<h1>Work</h1><script>new Worker("/nested.js")</script>`,
		"/nowhere": `<h1>Work</h1><script>new Worker("/nowhere.js").onerror = e => e.preventDefault()</script>`,
		"/logs":    `<h1>Work</h1><script>new Worker("/logs.js")</script>`,
		"/dies":    `<h1>Work</h1><script>new Worker("/dies.js")</script>`,
		"/sound":   `<h1>Work</h1><script>const w = new Worker("/sound.js"); w.onmessage = e => document.querySelector("h1").textContent = e.data</script>`,
		"/shared":  `<h1>Work</h1><script>new SharedWorker("/worker.js")</script>`,
		"/events":  `<h1>Events</h1><script>new EventSource("/missing").onerror = e => e.target.close()</script>`,
		"/beacon":  `<h1>Beacon</h1><script>navigator.sendBeacon("/missing", "x")</script>`,
		"/framed":  `<h1>Framed</h1><iframe src="/worker"></iframe>`,
	}, script("/worker.js", `fetch("/missing")`), script("/nested.js", `new Worker("/worker.js")`), script("/logs.js", `console.error("no stock")`),
		script("/dies.js", `setTimeout(() => { throw new Error("late") }, 20)`), script("/sound.js", `fetch("/echo").then(r => postMessage("done " + r.status))`),
		func(mux *http.ServeMux) {
			mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
			mux.HandleFunc("/chat", func(w http.ResponseWriter, r *http.Request) { openSocket(w, r) })
		})
	s.patience = 3 * time.Second
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo, Tabs: 2}))
	setWeb(s.target, func(web *httpwire.Web) { web.Patience = s.patience })
	const failing, logging = "\nno request fails", "\nnothing is logged as an error"
	fails := func(path string, failed, all int, what string) string {
		return "unexpected web: expect no request of http://www.example.test" + path + " (200 OK) to fail: " +
			strconv.Itoa(failed) + " of " + strconv.Itoa(all) + " failed: " + what
	}
	logs := func(path, what string) string {
		return "unexpected web: expect http://www.example.test" + path + " (200 OK) to log no errors, got 1: " + what
	}
	const missing = "GET http://www.example.test/missing: 404 Not Found"
	for _, c := range []sentenceCase{
		{"socket refused", at("/refused") + failing, fails("/refused", 1, 2, "GET ws://closed.test/chat: Error in connection establishment: net::ERR_CONNECTION_REFUSED")},
		{"socket refused, logged", at("/refused") + logging, logs("/refused", `"WebSocket connection to 'ws://closed.test/chat' failed: Error in connection establishment: net::ERR_CONNECTION_REFUSED"`)},
		{"socket answered 502", at("/502") + failing, fails("/502", 1, 2, "GET ws://www.example.test/bad: Error during WebSocket handshake: Unexpected response code: 502")},
		{"socket answered 502, logged", at("/502") + logging, logs("/502", `"WebSocket connection to 'ws://www.example.test/bad' failed: Error during WebSocket handshake: Unexpected response code: 502"`)},
		{"socket open", at("/open") + failing + logging, ""},
		{"worker", at("/worker") + failing, fails("/worker", 1, 3, missing)},
		{"worker of a worker", at("/nested") + failing, fails("/nested", 1, 4, missing)},
		{"worker of a frame", at("/framed") + failing, fails("/framed", 1, 4, missing)},
		{"worker without a script", at("/nowhere") + failing, fails("/nowhere", 1, 2, "GET http://www.example.test/nowhere.js: 404 Not Found")},
		{"worker logs", at("/logs") + logging, logs("/logs", `"no stock"`)},
		{"worker dies", at("/dies") + logging, logs("/dies", `"Uncaught Error: late"`)},
		{"worker works", at("/sound") + "I should see \"done 200\"" + failing + logging, ""},
		{"shared worker", at("/shared") + failing, "browser monitor: expect no request of http://www.example.test/shared (200 OK) to fail: none was seen, but 1 parts of the page cannot be watched: shared workers, frames in another process of the browser, or workers beyond 100"},
		{"event source", at("/events") + failing, fails("/events", 1, 2, missing)},
		{"beacon", at("/beacon") + failing, fails("/beacon", 1, 2, "POST http://www.example.test/missing: 404 Not Found")},
	} {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
}

// openSocket accepts a WebSocket (RFC 6455 §4.2.2) and holds it open until the client leaves.
func openSocket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 wants it
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	_, _ = io.Copy(io.Discard, buffer)
}

// TestServiceWorkerCounts visits a page on a secure origin, as service workers need one.
func TestServiceWorkerCounts(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	pages := map[string]string{"/none": `<h1>None</h1><script>navigator.serviceWorker.register("/no.js").catch(() => {})</script>`,
		"/caches": `<h1>Caches</h1><script>navigator.serviceWorker.register("/caches.js").catch(() => {})</script>`}
	mux := http.NewServeMux()
	for path, page := range pages {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page)
		})
	}
	mux.HandleFunc("/caches.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, `addEventListener("install", e => e.waitUntil(fetch("/missing"))); console.error("from the service worker")`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s := &site{target: (&steps.Target{}).Set(httpwire.Web{Patience: 3 * time.Second})}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{}))
	visit := func(path string) string { return "I go to " + server.URL + path + "\n" }
	for _, c := range []sentenceCase{
		{"no script, logged", visit("/none") + "nothing is logged as an error", "unexpected web: expect " + server.URL + `/none (200 OK) to log no errors, got 1: "A bad HTTP response code (404) was received when fetching the script."`},
		{"what it logs", visit("/caches") + "nothing is logged as an error", "unexpected web: expect " + server.URL + `/caches (200 OK) to log no errors, got 1: "from the service worker"`},
	} {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	// The browser does not always report the request for the script of a service worker, nor its status.
	for path, missing := range map[string]string{"/none": "/no.js: ", "/caches": "/missing: 404 Not Found"} {
		got := fixture.Verdict(s.run(t, visit(path)+"no request fails"))
		if !strings.Contains(got, " (200 OK) to fail: 1 of ") || !strings.Contains(got, " failed: GET "+server.URL+missing) {
			t.Errorf("%s: got %s", path, got)
		}
	}
}

// pageComponents has web components with slots, as libraries of them are used.
const pageComponents = `<!doctype html><html><head><title>Parts</title><style>
.ext::after { content: " (opens outside)" } .new::before { content: "New: " } .none::before { content: "Phantom"; display: none }
.icon::before { content: "\\e900" } .lazy { content-visibility: auto; contain-intrinsic-size: 500px } .far { margin-top: 4000px }
</style></head><body>
<x-button id="b">Open dialog</x-button> <x-link to="/echo?shop">Our shop</x-link> <x-title>Season sale</x-title>
<x-check>Gift wrap</x-check> <x-field>Town</x-field> <x-price>5</x-price>
<x-card><h3 slot="head">Card head</h3><p>Card body</p><p slot="nowhere">Never shown</p></x-card>
<x-card><p>Second body</p></x-card> <x-outer>Handed on</x-outer>
<x-closed>Order now</x-closed> <div id="plain"></div> <x-hidden>Veiled part</x-hidden>
<x-list><li>One</li><li>Two</li></x-list>
<a class="ext" href="/echo?ext">Partner</a> <p class="new">Green tea</p> <p class="none">Seen</p> <a class="icon" href="/echo?cart">Cart</a>
<svg width=90 height=20><text x=0 y=15>Drawn text</text><title>Tooltip</title></svg>
<a href="/echo?svg"><svg width=90 height=20><text x=0 y=15>Drawn link</text></svg></a>
<div class="far lazy"><p>Far below</p><button>Far button</button></div>
<script>
function part(name, html, mode) {
  customElements.define(name, class extends HTMLElement {
    constructor() { super(); this.attachShadow({ mode: mode || "open" }).innerHTML = html }
  })
}
part("x-button", "<style>button { color: red }</style><button onclick=\"document.title = 'clicked'\"><slot></slot></button>")
customElements.define("x-link", class extends HTMLElement { constructor() { super(); this.attachShadow({ mode: "open" }).innerHTML = "<a href='" + this.getAttribute("to") + "'><slot></slot></a>" } })
part("x-title", "<h2><slot></slot></h2>")
part("x-check", "<label><input type=checkbox name=gift> <slot></slot></label>")
part("x-field", "<label><slot></slot> <input name=town></label>")
part("x-price", "<span>EUR <slot></slot>.00</span>")
part("x-card", "<section><slot name=head><h3>Default head</h3></slot><slot>Default body</slot></section>")
part("x-inner", "<b>[<slot></slot>]</b>")
part("x-outer", "<x-inner><slot></slot></x-inner>")
part("x-closed", "<button onclick=\"document.title = 'ordered'\"><slot></slot></button><p>Closed secret</p>", "closed")
part("x-hidden", "<div style='display:none'><slot></slot></div>")
part("x-list", "<ul><slot></slot></ul>")
document.getElementById("plain").attachShadow({ mode: "closed" }).innerHTML = "<h2>Plain closed</h2><x-inner>deep</x-inner>"
</script></body></html>`

func TestWhatAWebComponentShowsIsSeen(t *testing.T) {
	s := newPages(t, map[string]string{"/parts": pageComponents})
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	const on = " on http://www.example.test/parts (200 OK): "
	parts := at("/parts")
	seen := func(kind, text string) []sentenceCase {
		return []sentenceCase{
			{kind + " " + text, parts + "I should see the " + kind + ` "` + text + `"`, ""},
			{kind + " " + text + ", not", parts + "I should not see the " + kind + ` "` + text + `"`, `unexpected web: not see the ` + kind + ` "` + text + `"` + on + `the page shows the ` + kind + ` "` + text + `"`},
		}
	}
	cases := slices.Concat(seen("button", "Open dialog"), seen("link", "Our shop"), seen("heading", "Season sale"), seen("heading", "Card head"), seen("heading", "Default head"),
		seen("button", "Order now"), seen("heading", "Plain closed"), seen("button", "Far button"), seen("link", "Drawn link"), []sentenceCase{
			{"texts", parts + `I should see "Open dialog"
				I should see "EUR 5.00"
				I should see "Card head Card body"
				I should see "Default head Second body"
				I should see "[Handed on]"
				I should see "Closed secret"
				I should see "[deep]"
				I should see "Far below"
				I should see "Drawn text"
				I should not see "Default body"
				I should not see "Never shown"
				I should not see "Veiled part"
				I should not see "color"
				I should not see "Tooltip"`, ""},
			{"closed, not", parts + `I should not see "Closed secret"`, `unexpected web: not see "Closed secret"` + on + `the page shows it: "…anded on] Order now Closed secret Plain closed [deep]…"`},
			{"generated", parts + `I should see "New: Green tea"
				I should see "Green tea"
				I should see the link "Partner (opens outside)"
				I should not see "Phantom"
				I follow "Partner"
				I should be on /echo?ext`, ""},
			{"generated, not", parts + `I should not see "opens outside"`, `unexpected web: not see "opens outside"` + on + `the page shows it: "…p] One Two Partner (opens outside) New: Green tea See…"`},
			{"an icon before a name", parts + "I follow \"Cart\"\nI should be on /echo?cart", ""},
			{"press", parts + "I press \"Open dialog\"\nthe title should be \"clicked\"", ""},
			{"click", parts + "I click \"Open dialog\"\nthe title should be \"clicked\"", ""},
			{"press what is closed", parts + "I press \"Order now\"\nthe title should be \"ordered\"", ""},
			{"follow", parts + "I follow \"Our shop\"\nI should be on /echo?shop", ""},
			{"check", parts + "the field \"Gift wrap\" should not be checked\nI check \"Gift wrap\"\nthe field \"Gift wrap\" should be checked", ""},
			{"fill in", parts + "I fill in \"Town\" with \"Rome\"\nthe field \"Town\" should be \"Rome\"", ""},
			{"elements as written", parts + "there should be 2 elements \"x-list > li\"\nthere should be 1 element \"x-card > h3\"\nthere should be 2 elements \"//x-list/li\"\nthere should be 0 elements \"x-card > [slot=nowhere]\"", ""},
			{"region", parts + "within \"Season sale\" I should not see \"Open\"\nwithin \"x-card\" I should see \"Second body\"\nwithin \"b\" I should see \"Open dialog\"", ""},
			{"hidden", parts + "I should see \"Veiled part\"", `unexpected web: see "Veiled part"` + on + "only the page's source contains it, it is not visible"},
		})
	s.patience = 300 * time.Millisecond
	s.runInBrowser(t, cases, nil, browser.Options{Tabs: 2})
}

// TestDeclaredShadowTreesOverHTTP checks that a page which declares its shadow trees shows the same without a browser.
func TestDeclaredShadowTreesOverHTTP(t *testing.T) {
	s := newPages(t, map[string]string{"/declared": `<!doctype html><title>Declared</title><x-button><template shadowrootmode="open"><button form=f><slot>Fallback</slot></button></template>Open dialog</x-button>
<x-card><template shadowrootmode="closed"><section><slot name="head"><h3>Default head</h3></slot> in <slot></slot></section></template><p>Body</p><h3 slot="head">Head</h3><p slot="none">Never</p></x-card>
<x-card><template shadowrootmode="open"><h2><slot>Nothing given</slot></h2></template></x-card>`})
	declared := at("/declared")
	s.runBoth(t, []sentenceCase{
		{"all", declared + `I should see "Open dialog Head in Body Nothing given"
			I should see the button "Open dialog"
			I should see the heading "Nothing given"
			I should not see "Fallback"
			I should not see "Default head"
			I should not see "Never"
			I should not see the heading "Default head"
			there should be 1 element "x-card > p"`, ""},
		{"a button", declared + `I should not see the button "Open dialog"`, `unexpected web: not see the button "Open dialog" on http://www.example.test/declared (200 OK): the page shows the button "Open dialog"`},
	}, nil)
}

const pageLimits = `<form action="/echo"><label>Code <input name="code" maxlength="5"></label><label>PIN <input type="password" name="pin" maxlength="4"></label>
<label>Note <textarea name="note" maxlength="6"></textarea></label><label>Smile <input name="smile" maxlength="3"></label>
<label>Number <input type="number" name="number"></label><label>Day <input type="date" name="day"></label><label>At <input type="time" name="at"></label>
<label>Colour <input type="color" name="colour"></label><label>Mail <input type="email" name="mail" maxlength="40"></label><label>Free <input name="free"></label>
<label>Odd <input name="odd" maxlength="-1"></label><label>Wide <input type="number" name="wide" maxlength="2"></label>
<label>Cut <input name="cut" oninput="this.value = this.value.slice(0, 3)"></label><label>Digits <input name="digits" oninput="this.value = this.value.replace(/\D/g, '')"></label>
<label>Card <input name="card" oninput="this.value = this.value.replace(/(\d{4})(?=\d)/g, '$1 ')"></label><label>Caps <input name="caps" onchange="this.value = this.value.toUpperCase()"></label>
<label>City <input name="city" oninput="if (this.value === 'Ber') this.value = 'Berlin'"></label><label>Clear <input name="clear" onchange="this.value = ''"></label><button>Send</button></form>`

func TestAFieldThatDoesNotTakeTheWholeTextFails(t *testing.T) {
	s := newPages(t, map[string]string{"/limits": pageLimits})
	limits := at("/limits")
	took := func(name, what string) string {
		return `protocol web: fill in "` + name + `" on http://www.example.test/limits (200 OK): the field took ` + what
	}
	refused := func(name string) string {
		return `not_found web: fill in "` + name + `" on http://www.example.test/limits (200 OK): the field does not accept the text`
	}
	s.runBoth(t, []sentenceCase{
		{"maxlength", limits + `I fill in "Code" with "12345678"`, took("Code", `5 characters (maxlength="5") of the 8 in the text`)},
		{"within maxlength", limits + "I fill in \"Code\" with \"12345\"\nthe field \"Code\" should be \"12345\"", ""},
		{"password", limits + `I fill in "PIN" with "123456"`, took("PIN", `4 characters (maxlength="4"), which is not the whole text`)},
		{"secret", limits + `I fill in "Code" with the secret "members"`, took("Code", `5 characters (maxlength="5"), which is not the whole text`)},
		{"textarea", limits + `I fill in "Note" with "longer than that"`, took("Note", `6 characters (maxlength="6") of the 16 in the text`)},
		{"code units", limits + `I fill in "Smile" with "a😀b"`, took("Smile", `3 characters (maxlength="3") of the 4 in the text`)},
		{"no maxlength", limits + "I fill in \"Odd\" with \"12345678\"\nI fill in \"Wide\" with \"12345\"\nI fill in \"Free\" with \"anything at all\"", ""},
		{"number", limits + "I fill in \"Number\" with \"-1.50\"\nI fill in \"Day\" with \"2026-11-30\"\nI fill in \"At\" with \"10:30:00\"\nI fill in \"Colour\" with \"#FF0000\"\nI fill in \"Mail\" with \"a@b.test\"", ""},
		{"letters in a number", limits + `I fill in "Number" with "abc"`, refused("Number")},
		{"another date", limits + `I fill in "Day" with "30.11.2026"`, refused("Day")},
		{"empty", limits + "I fill in \"Number\" with \"\"\nI fill in \"Day\" with \"\"\nI fill in \"Code\" with \"\"", ""},
	}, nil)
	s.runInBrowser(t, []sentenceCase{
		{"cut by a script", limits + `I fill in "Cut" with "12345"`, took("Cut", `3 characters of the 5 in the text`)},
		{"dropped by a script", limits + `I fill in "Digits" with "a1b2"`, took("Digits", `"12" instead of the text`)},
		{"cleared by a script", limits + `I fill in "Clear" with "x"`, refused("Clear")},
	}, nil, browser.Options{})
	if steps.SettingsOf[*browser.Browser](s.target) == nil {
		return
	}
	for text, want := range map[string]string{
		`I fill in "Card" with "1234567812345678"`:   `the page changed the text in the field to "1234 5678 1234 5678"`,
		`I fill in "Caps" with "ann"`:                `the page changed the text in the field to "ANN"`,
		`I fill in "Caps" with the secret "members"`: `the page changed the text in the field`,
		`I fill in "City" with "Ber"`:                `the page changed the text in the field to "Berlin"`,
		`I fill in "Free" with "Ann"`:                "",
	} {
		if note := noted(t, s, limits+text); note != want {
			t.Errorf("%s: note %q, want %q", text, note, want)
		}
	}
}

// after is a script that shows a text after some milliseconds, by a request or by a timer.
func after(path string, milliseconds int, text string) string {
	return fmt.Sprintf(`<h1>App</h1><p id=out></p><script>setTimeout(() => fetch(%q).then(r => r.text()).then(t => { document.getElementById("out").textContent = t + %q }), %d)</script>`,
		path, text, milliseconds)
}

func TestANegativeIsJudgedWhenThePageHasComeToRest(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	hold := func(path, body string, d time.Duration) func(*http.ServeMux) {
		return func(mux *http.ServeMux) {
			mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
				timer := time.NewTimer(d)
				defer timer.Stop()
				select {
				case <-timer.C:
				case <-r.Context().Done():
				}
				_, _ = io.WriteString(w, body)
			})
		}
	}
	s := newPages(t, map[string]string{
		"/late":   after("/data", 0, "Error"),
		"/timer":  after("/quick", 300, "Error"),
		"/static": `<h1>Static</h1>`,
		"/chain":  `<p id=out></p><script>fetch("/quick").then(() => setTimeout(() => fetch("/quick").then(() => setTimeout(() => { document.getElementById("out").innerHTML = "<button>Error</button><a href=/x>Error</a><h2>Error</h2><i class=e></i><table><caption>T</caption><tr><th>H<tr><td>1</table>" }, 300)), 300))</script>`,
		"/field":  `<label><input type=checkbox name=on>News</label><label>Name <input name=name></label><script>fetch("/data").then(() => { document.querySelector("[name=on]").checked = true; document.querySelector("[name=name]").value = "Error" })</script>`,
		"/passes": `<p id=out>Loading</p><script>fetch("/data").then(() => { document.getElementById("out").textContent = "Ready" })</script>`,
		"/poll":   `<h1>Poll</h1><script>setInterval(() => fetch("/quick"), 200)</script>`,
		"/long":   `<h1>Long poll</h1><script>const ask = () => fetch("/hang?" + Date.now()).then(ask); ask()</script>`,
		"/ticks":  `<h1>Clock</h1><p id=out></p><script>let n = 0; setInterval(() => { document.getElementById("out").textContent = n++ }, 50)</script>`,
		"/events": `<h1>Events</h1><script>new EventSource("/stream")</script>`,
		"/tells":  `<h1>Tells</h1><script>fetch("/data").then(() => alert("Error"))</script>`,
		"/shadow": `<x-late></x-late><script>const tree = document.querySelector("x-late").attachShadow({mode: "open"}); let n = 0; const i = setInterval(() => { tree.innerHTML = ++n < 9 ? "<p>" + n + "</p>" : "<p>Error</p>"; if (n > 8) clearInterval(i) }, 100)</script>`,
		"/frame":  `<h1>Around</h1><iframe src="/late"></iframe>`,
	}, hold("/data", "Server ", 700*time.Millisecond), hold("/quick", "Server ", 0), hold("/hang", "", time.Minute), func(mux *http.ServeMux) {
		mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
	})
	s.limit = 20 * time.Second
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	setWeb(s.target, func(web *httpwire.Web) { web.Patience = 3 * time.Second })
	fails := func(name, path, sentence, why string) {
		t.Run(name, func(t *testing.T) {
			got := fixture.Verdict(s.run(t, at(path)+sentence))
			if !strings.HasPrefix(got, "unexpected web: ") || !strings.Contains(got, why) {
				t.Errorf("got %s", got)
			}
		})
	}
	fails("text", "/late", `I should not see "Error"`, "the page shows it")
	fails("text after a timer", "/timer", `I should not see "Error"`, "the page shows it")
	fails("text in a frame", "/frame", `I should not see "Error"`, "the page shows it")
	fails("text in a shadow tree", "/shadow", `I should not see "Error"`, "the page shows it")
	fails("text in a region", "/late", `within "body" I should not see "Error"`, "the region shows it")
	fails("button", "/chain", `I should not see the button "Error"`, "the page shows the button")
	fails("link", "/chain", `I should not see the link "Error"`, "the page shows the link")
	fails("heading", "/chain", `I should not see the heading "Error"`, "the page shows the heading")
	fails("elements", "/chain", `there should be 0 elements ".e"`, "got 1")
	fails("checkbox", "/field", `the field "News" should not be checked`, "it is checked")
	fails("field", "/field", `the field "Name" should be empty`, "it contains")
	fails("field's text", "/field", `the field "Name" should not contain "Error"`, "it contains")
	fails("dialog", "/tells", `there was no dialog`, "the alert said")
	for _, c := range []struct {
		path, sentence, note string
		most                 time.Duration // of the last step
	}{
		{"/static", `I should not see "Error"`, "", 200 * time.Millisecond},
		{"/passes", "I should not see \"Loading\"\nI should see \"Ready\"", "", time.Second},
		{"/events", `I should not see "Error"`, "", 200 * time.Millisecond},
		{"/poll", "I should not see \"Error\"\nI should not see \"Fault\"", "judged as it was: the page does not come to rest: its document keeps changing, or it keeps making requests", 500 * time.Millisecond},
		{"/ticks", "I should not see \"Error\"\nI should not see \"Fault\"", "judged as it was: the page does not come to rest: its document keeps changing, or it keeps making requests", 500 * time.Millisecond},
		{"/long", "I should not see \"Error\"\nI should not see \"Fault\"", "judged as it was: the page does not come to rest: it waits for http://www.example.test/hang?", 500 * time.Millisecond},
	} {
		start := time.Now()
		o := s.run(t, at(c.path)+c.sentence)
		took := time.Since(start)
		last := o.Steps[len(o.Steps)-1]
		note := last.Report.Note
		if o.Err() != nil || c.note == "" && note != "" || !strings.HasPrefix(note, c.note) {
			t.Errorf("%s: %v, note %q", c.path, o.Err(), note)
		}
		if last.Duration > c.most {
			t.Errorf("%s: the last step took %s, of which stepwatch's own waiting must not be a part", c.path, last.Duration)
		}
		if took > 7*time.Second {
			t.Errorf("%s took %s: a page that does not rest is waited for once", c.path, took)
		}
	}
	o := s.run(t, "I am benchmarking\n"+at("/static")+"I should not see \"Error\"\nthe elapsed time should be less than 1 minute")
	for _, m := range o.Steps[len(o.Steps)-1].Report.Measurements {
		if m.Name == "http_elapsed_seconds" && m.Value > (o.Steps[1].Duration+o.Steps[2].Duration+300*time.Millisecond).Seconds() {
			t.Errorf("the elapsed time is %vs and the steps took %s and %s", m.Value, o.Steps[1].Duration, o.Steps[2].Duration)
		}
	}
}

func TestALazyImageIsNotShownBeforeItHasLoaded(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	const picture = `<svg xmlns="http://www.w3.org/2000/svg" width="5" height="5"/>`
	s := newPages(t, map[string]string{
		"/broken":  `<h1>Shop</h1><div style="height: 9000px"></div><img loading=lazy alt="Tea pot" src="/missing.png">`,
		"/fine":    `<h1>Shop</h1><div style="height: 9000px"></div><img loading=lazy alt="Tea pot" src="/pot.svg">`,
		"/hangs":   `<h1>Shop</h1><script>onload = () => setTimeout(() => { const i = document.createElement("img"); i.alt = "Tea pot"; i.src = "/hang.png"; document.body.append(i) }, 50)</script>`,
		"/pot.svg": picture,
	}, func(mux *http.ServeMux) {
		mux.HandleFunc("/hang.png", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	})
	s.patience = 2 * time.Second
	s.runInBrowser(t, []sentenceCase{
		{"broken", at("/broken") + `I should see the image "Tea pot"`, `unexpected web: see the image "Tea pot" on http://www.example.test/broken (200 OK): the image "Tea pot" cannot be shown: its file did not load, or is not an image`},
		{"broken, not seen", at("/broken") + `I should not see the image "Tea pot"`, ""},
		{"broken, requested", at("/broken") + `no request fails`, `unexpected web: expect no request of http://www.example.test/broken (200 OK) to fail: 1 of 2 failed: GET http://www.example.test/missing.png: 404 Not Found`},
		{"fine", at("/fine") + "I should see the image \"Tea pot\"\nno request fails", ""},
		{"fine, seen", at("/fine") + `I should not see the image "Tea pot"`, `unexpected web: not see the image "Tea pot" on http://www.example.test/fine (200 OK): the page shows the image "Tea pot"`},
		{"hangs", at("/hangs") + `I should see the image "Tea pot"`, `unexpected web: see the image "Tea pot" on http://www.example.test/hangs (200 OK): the image "Tea pot" is not shown yet: its file has not loaded`},
	}, nil, browser.Options{Tabs: 2})
}

// TestAPageMadeByScriptsNeedsABrowser checks that an empty page is not judged over HTTP alone when its scripts make it.
func TestAPageMadeByScriptsNeedsABrowser(t *testing.T) {
	const hint = "it has no text of its own, only scripts that make it; that needs a browser: tag the scenario @browser"
	s := newPages(t, map[string]string{
		"/app": `<!doctype html><html><head><title>App</title><script defer src="/app.js"></script></head><body><noscript>You need to enable JavaScript to run this app.</noscript>
<div id="root"></div></body></html>`,
		"/inline":   `<!doctype html><title>App</title><div id="app"></div><script type="module">document.getElementById("app").innerHTML = "<a href=/echo>Go</a>"</script>`,
		"/app.js":   ``,
		"/rendered": `<!doctype html><title>Shop</title><h1>Shop</h1><script src="/app.js"></script>`,
		"/data":     `<!doctype html><title>Empty</title><script type="application/ld+json">{"name": "x"}</script>`,
		"/canvas":   `<!doctype html><title>Game</title><canvas width=100 height=50></canvas><script>document.querySelector("canvas").getContext("2d").fillText("Error", 5, 20)</script>`,
	})
	onApp := " on http://www.example.test/app (200 OK): "
	for _, c := range []sentenceCase{
		{"text", at("/app") + `I should see "Go"`, `unexpected web: see "Go"` + onApp + "the page shows no text at all; " + hint},
		{"link", at("/app") + `I follow "Go"`, `not_found web: follow "Go"` + onApp + "the page has no link at all; " + hint},
		{"button", at("/app") + `I press "Go"`, `not_found web: press "Go"` + onApp + "the page has no button at all; " + hint},
		{"field", at("/app") + `I fill in "Name" with "x"`, `not_found web: fill in "Name"` + onApp + "the page has no text field at all; " + hint},
		{"elements", at("/app") + `there should be 1 element "h1"`, `unexpected web: expect 1 elements "h1"` + onApp + "got 0; " + hint},
		{"a link that is seen", at("/app") + `I should see the link "Go"`, `unexpected web: see the link "Go"` + onApp + "the page has no link at all; " + hint},
		{"no text", at("/app") + `I should not see "Error"`, `scenario scenario: not see "Error"` + onApp + "nothing was found on the page, but " + hint},
		{"no link", at("/app") + `I should not see the link "Go"`, `scenario scenario: not see the link "Go"` + onApp + "nothing was found on the page, but " + hint},
		{"no elements", at("/app") + `there should be 0 elements "h1"`, `scenario scenario: expect 0 elements "h1"` + onApp + "nothing was found on the page, but " + hint},
		{"inline", at("/inline") + `I should not see "Error"`, `scenario scenario: not see "Error" on http://www.example.test/inline (200 OK): nothing was found on the page, but ` + hint},
		{"title", at("/app") + `the title should be "App"`, ""},
		{"rendered", at("/rendered") + "I should not see \"Error\"\nI should not see the link \"x\"\nthere should be 0 elements \"i\"", ""},
		{"only data", at("/data") + `I should not see "Error"`, ""},
		{"source", at("/app") + `the response status should be 200`, ""},
	} {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	s.runInBrowser(t, []sentenceCase{
		{"inline", at("/inline") + "I should not see \"Error\"\nI should see the link \"Go\"", ""},
		{"canvas", at("/canvas") + `I should not see "Error"`, `browser monitor: not see "Error" on http://www.example.test/canvas (200 OK): nothing was found on the page, but it has no text, only a drawing (<canvas>, <embed> or <object>), which cannot be read`},
	}, nil, browser.Options{})
}

// TestTextIsReadAsItIsDisplayed has what a style sheet, a script or the characters of a text do to it.
func TestTextIsReadAsItIsDisplayed(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	shown := map[string]string{
		"inert": `<div inert><p>%s</p></div>`, "contents": `<div style="display:contents"><p>%s</p></div>`, "open details": `<details open><summary>s</summary>%s</details>`,
		"modal dialog": `<dialog id=d>%s</dialog><script>d.showModal()</script>`, "popover": `<div popover id=d>%s</div><script>d.showPopover()</script>`,
		"srcdoc": `<iframe srcdoc="<p>%s</p>"></iframe>`, "object": `<object data="/inner" type="text/html" width=100 height=100></object>`,
		"embed": `<embed src="/inner" type="text/html" width=100 height=100>`, "not for readers": `<p aria-hidden=true>%s</p>`, "split": `<p><b>No st</b><i>oc</i>k</p>`,
		"capitals": `<p style="text-transform:uppercase">%s</p>`, "soft hyphen": `<p>No st&shy;ock</p>`, "direction": `<p>&#x202d;No&#x200e; stock&#x202c;</p>`,
		"option": `<select><option>%s</select>`, "another medium": `<style>@media print{p{display:none}}</style><p>%s</p>`, "marker": `<style>li::marker{content:"%s "}</style><li>a</li>`,
		"attribute": `<style>p::before{content:attr(data-x)}</style><p data-x="%s">a</p>`, "alternative": `<style>p::after{content:"%s" / "read aloud"}</style><p>a</p>`,
		"nested rule": `<style>div{p&::before,& p::before{content:"%s"}}</style><div><p>a</p></div>`, "frame in a shadow tree": `<div id=h></div><script>h.attachShadow({mode:"open"}).innerHTML="<iframe src=/inner></iframe>"</script>`,
		"inline blocks": `<div style="display:inline">No st</div><div style="display:inline">ock</div>`, "slot without a host": `<slot>%s</slot>`,
	}
	hidden := map[string]string{
		"closed details": `<details><summary>s</summary>%s</details>`, "closed dialog": `<dialog>%s</dialog>`, "popover": `<div popover>%s</div>`, "template": `<template>%s</template>`,
		"collapse": `<p style="visibility:collapse">%s</p>`, "value": `<input value="%s">`, "hint": `<input placeholder="%s">`, "this medium": `<style>@media screen{p{display:none}}</style><p>%s</p>`,
		"content of an element": `<style>p{content:"%s"}</style><p>a</p>`, "hidden before": `<style>p::before{content:"%s";visibility:hidden}</style><p>a</p>`,
		"two lines": `<span style="display:block">No st</span><span style="display:block">ock</span>`, "two items": `<div style="display:flex"><span>No st</span><span>ock</span></div>`,
		"icon": `<style>p::before{content:"\e900"}</style><p>a</p>`, "no script": `<noscript>%s</noscript>`, "another element": `<style>i::before{content:"%s"}</style><p>a</p>`,
	}
	pages := map[string]string{"/inner": "<p>No stock</p>"}
	var cases []sentenceCase
	for wanted, bodies := range map[string]map[string]string{"see": shown, "not see": hidden} {
		for name, body := range bodies {
			path := "/" + strings.ReplaceAll(wanted+" "+name, " ", "-")
			pages[path] = "<!doctype html><h1>Shop</h1>" + strings.ReplaceAll(body, "%s", "No stock")
			sentence := "I should " + wanted + ` "No stock"`
			cases = append(cases, sentenceCase{wanted + " " + name, at(path) + sentence, ""})
			if wanted == "see" {
				cases = append(cases, sentenceCase{name + ", not seen", at(path) + `I should not see "No stock"`, "unexpected web: not see"})
			}
		}
	}
	s := newPages(t, pages)
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	setWeb(s.target, func(web *httpwire.Web) { web.Patience = 300 * time.Millisecond })
	for _, c := range cases {
		o := s.run(t, c.text)
		if got := fixture.Verdict(o); o.Err() == nil && c.want != "" || o.Err() != nil && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: got %s", c.name, got)
		}
	}
}

// TestSitesUnderOnePublicSuffix sends a request that redirects to a name with the same last two labels.
func TestSitesUnderOnePublicSuffix(t *testing.T) {
	s := newPages(t, nil, redirecting)
	for _, host := range []string{"www.one.co.uk:80", "shop.one.co.uk:80", "two.co.uk:80"} {
		s.target.ConnectTo[host] = s.target.ConnectTo["www.example.test:80"]
	}
	s.runBoth(t, []sentenceCase{
		{"another site", "I send POST to http://www.one.co.uk/to?http://two.co.uk/echo\nthe response status should be 302", ""},
		{"the same site", "I send POST to http://www.one.co.uk/to?http://shop.one.co.uk/echo\nthe response status should be 200", ""},
	}, nil)
}
