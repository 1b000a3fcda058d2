package web_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const pageFrames = `<!doctype html><html><body><h1>Outside</h1>
<form action="/echo"><label for="name">Outer name</label><input id="name" name="outer"><iframe name="in" src="/inner" height="260"></iframe></form>
<fieldset disabled><iframe srcdoc="<p>Written inside</p><a href='echo?written'>Written link</a>"></iframe></fieldset>
<iframe src="http://other.test/far"></iframe> <p><a href="/next" target="in">Turn over</a></p>
<iframe hidden src="/missing"></iframe><iframe width="0" height="0" src="/missing"></iframe><iframe src="about:blank"></iframe>
<form action="/next" target="in"><button>Turn</button></form><label><input type="radio" name="size">Big</label></body></html>`

const pageInner = `<!doctype html><html><head><title>Inner title</title><base href="/deep/"></head><body><h2>Inside</h2><p>Text inside</p>
<a href="next">Next</a> <a href="/echo?top" target="_top">Up</a> <a href="/echo?parent" target="_parent">Above</a> <a href="#here">Far</a> <a href="/gone">Gone</a>
<form action="/echo"><label for="name">Inner name</label><input id="name" name="inner"><button>Send</button></form>
<label><input type="radio" name="size" value="s">Small</label>
<table id="prices"><tr><th>Article</tr><tr><td>Tea</td></tr></table></body></html>`

// pageOf returns a page with these frames.
func pageOf(frames ...string) string {
	var b strings.Builder
	b.WriteString(`<!doctype html><html><body><main><p>Outside</p></main><footer>Foot`)
	for _, src := range frames {
		fmt.Fprintf(&b, `<iframe src="%s"></iframe>`, src)
	}
	return b.String() + `</footer></body></html>`
}

// framing serves pages that restrict who may frame them.
func framing(mux *http.ServeMux) {
	for path, field := range map[string][2]string{
		"/denied": {"X-Frame-Options", "DENY"}, "/same": {"X-Frame-Options", "SAMEORIGIN"}, "/policy": {"Content-Security-Policy", "frame-ancestors 'none'"},
		"/strict": {"Content-Security-Policy", "frame-src 'self'"},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set(field[0], field[1])
			_, _ = io.WriteString(w, `<p>Guarded</p>`)
			if path == "/strict" {
				_, _ = io.WriteString(w, `<iframe src="http://other.test/far"></iframe>`)
			}
		})
	}
	mux.HandleFunc("/paper", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/pdf")
		_, _ = io.WriteString(w, "%PDF")
	})
	mux.HandleFunc("/plain", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "<b>Plain</b>")
	})
	mux.HandleFunc("/sent", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "frame=1" {
			http.SetCookie(w, &http.Cookie{Name: "frame", Value: "1", Path: "/"})
			http.Redirect(w, r, "/sent", http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<p>Cookie came back from "+r.Referer()+"</p>")
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://other.test/far", http.StatusFound)
	})
	mux.HandleFunc("/hung", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

func TestWebFrames(t *testing.T) {
	s := newPages(t, map[string]string{
		"/frames": pageFrames, "/inner": pageInner, "/deep/next": `<p>Next page</p>`, "/next": `<p>Turned over</p>`,
		"/far":      `<p>From afar</p><a href="/next">Onward</a> <a href="#here">Here</a><form action="/echo" method="post"><label>Word <input name="word"></label><button>Tell</button></form>`,
		"/lost":     pageOf("/missing"),
		"/refused":  pageOf("http://closed.test/"),
		"/denying":  pageOf("/denied"),
		"/guarded":  pageOf("/same", "/sent", "/plain", "/away"),
		"/guarded2": pageOf("http://other.test/same"),
		"/policies": pageOf("/policy"),
		"/papers":   pageOf("/paper"),
		"/nested":   pageOf("/middle"), "/middle": pageOf("/inner"), "/self": pageOf("/self", "/next"),
		"/deep1": pageOf("/deep2"), "/deep2": pageOf("/deep3"), "/deep3": pageOf("/deep4"), "/deep4": pageOf("/deep5"), "/deep5": pageOf("/deep6"), "/deep6": `<p>Deepest</p>`,
		"/many":     pageOf(slicesOf("/next?", 21)...),
		"/set":      `<!doctype html><html><head><title>Set</title></head><frameset cols="50%,50%"><frame src="/menu" name="menu"><frame src="/next" name="content"></frameset></html>`,
		"/menu":     `<base target="content"><a href="/inner">Open</a> <a href="/gone">Wrong</a>`,
		"/sandbox":  `<iframe sandbox src="/far"></iframe>`,
		"/fold":     `<details><summary>More</summary><iframe src="/inner"></iframe></details>`,
		"/veil":     `<iframe style="visibility:hidden" srcdoc="<p style='visibility:visible'>Veiled</p>"></iframe><p>Bare</p>`,
		"/below":    `<div style="height:90000px">Above</div><iframe loading="lazy" src="/inner"></iframe>`,
		"/going":    `<iframe src="/next"></iframe><div id="kept"><iframe src="/inner"></iframe></div><script>onload = () => document.querySelector("iframe").remove()</script>`,
		"/untitled": pageOf("/inner"),
	}, framing)
	const onFrames = " on http://www.example.test/frames (200 OK): "
	frames, inner := at("/frames"), "I should see \"Text inside\"\n"
	unknown := func(act, path, why string) string {
		return act + " on http://www.example.test" + path + " (200 OK): nothing was found, but its frame " + why
	}
	refused := "http://closed.test/ could not be loaded: connection refused: nothing listens on that port"
	blocked := " could not be loaded: the browser does not show it in this frame (net::ERR_BLOCKED_BY_RESPONSE (blocked: other))"
	missing := "http://www.example.test/missing could not be loaded: status 404 Not Found"
	s.runBoth(t, []sentenceCase{
		{"text", frames + inner + "I should see \"Written inside\"\nI should see \"From afar\"\nI should see \"Outside\"\nI should not see \"Nothing\"", ""},
		{"text that should not be", frames + `I should not see "From afar"`, `unexpected web: not see "From afar"` + onFrames + `the page shows it: "…inside Written link From afar Onward Here Word Te…"`},
		{"things", frames + "I should see the heading \"Inside\"\nI should see the link \"Onward\"\nI should see the button \"Send\"\nI should not see the link \"Nowhere\"\nthere should be 2 elements \"h1, h2\"\n" +
			"the table \"prices\" should have exactly the rows:\n| Article |\n| Tea |\nwithin \"Inside\" I should see \"Text inside\"\nwithin \"Outside\" I should see \"From afar\"", ""},
		{"no link", frames + `I should not see the link "Onward"`, `unexpected web: not see the link "Onward"` + onFrames + `the page shows the link "Onward"`},
		{"title", at("/untitled") + `the title should be "Inner title"`, `unexpected web: expect the title to be "Inner title" on http://www.example.test/untitled (200 OK): the page has no title`},
		{"follow", frames + "I follow \"Next\"\nI should see \"Next page\"\nI should be on /frames\nI should see \"Outside\"\nI should not see \"Text inside\"", ""},
		{"follow to the top", frames + "I follow \"Up\"\nI should be on /echo?top\nI should not see \"Outside\"", ""},
		{"follow to the parent", frames + "I follow \"Above\"\nI should be on /echo?parent", ""},
		{"follow to a place", frames + "I follow \"Here\"\nI should be on /frames\n" + inner, ""},
		{"follow to a place beneath the base", frames + "I follow \"Far\"", "http_status web: GET http://www.example.test/deep/#here: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/deep/#here\"` accepts any status)"},
		{"follow in what is written", frames + "I follow \"Written link\"\nI should see \"GET /echo?written\"\nI should be on /frames", ""},
		{"follow in another site", frames + "I follow \"Onward\"\nI should see \"Turned over\"\nI should be on /frames\nI should not see \"From afar\"", ""},
		{"follow into a frame", frames + "I follow \"Turn over\"\nI should see \"Turned over\"\nI should be on /frames\nI should not see \"Text inside\"", ""},
		{"press into a frame", frames + "I press \"Turn\"\nI should see \"Turned over\"\nI should be on /frames", ""},
		{"follow to nowhere", frames + `I follow "Gone"`, "http_status web: GET http://www.example.test/gone: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/gone\"` accepts any status)"},
		{"form", frames + "I fill in \"Outer name\" with \"Bob\"\nI fill in \"Inner name\" with \"Ann\"\nI press \"Send\"\n" +
			"I should see \"GET /echo?inner=Ann [] (referer http://www.example.test/inner)\"\nI should be on /frames\nthe field \"Outer name\" should be \"Bob\"", ""},
		{"form in another site", frames + "I fill in \"Word\" with \"tea\"\nI press \"Tell\"\nI should see \"POST /echo [application/x-www-form-urlencoded] word=tea (referer http://other.test/far) (origin http://other.test)\"", ""},
		{"radio buttons", frames + "I choose \"Big\"\nI choose \"Small\"\nthe field \"Big\" should be checked\nthe field \"Small\" should be checked", ""},
		{"back", frames + "I follow \"Next\"\nI go back\n" + inner + "I should not see \"Next page\"\nI should be on /frames", ""},
		{"back twice", at("/next") + frames + "I follow \"Next\"\nI go back\nI go back\nI should be on /next", ""},
		{"reload", frames + "I follow \"Turn over\"\nI reload the page\nI should see \"Outside\"\nI should be on /frames", ""},
		{"frameset", at("/set") + "I should see \"Turned over\"\nI follow \"Open\"\n" + inner + "I should not see \"Turned over\"\nI should see the link \"Open\"\nI should be on /set\nthe title should be \"Set\"", ""},
		{"frameset to nowhere", at("/set") + `I follow "Wrong"`, "http_status web: GET http://www.example.test/gone: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"http://www.example.test/gone\"` accepts any status)"},
		{"cookies, redirects and plain text", at("/guarded") + "I should see \"Guarded\"\nI should see \"Cookie came back from http://www.example.test/guarded\"\nI should see \"<b>Plain</b>\"\nI should see \"From afar\"\nI should not see \"Nothing\"", ""},
		{"nested", at("/nested") + inner + "I follow \"Above\"\nI should see \"GET /echo?parent\"\nI should be on /nested\nI should see \"Outside\"", ""},
		{"within itself", at("/self") + "I should see \"Turned over\"\nI should not see \"Nothing\"", ""},
		{"unfolded", at("/fold") + "I should not see \"Text inside\"\nI click \"More\"\n" + inner + "I follow \"Next\"\nI should see \"Next page\"", ""},
		{"far below", at("/below") + "I should not see \"Nothing\"\n" + inner, ""},
		{"after another went", at("/going") + "I follow \"Next\"\nwithin \"kept\" I should see \"Next page\"", ""},
		{"veiled", at("/veil") + "I should not see \"Veiled\"\nI should see \"Bare\"", ""},

		{"missing", at("/lost") + `I should not see "Nothing"`, "http_status web: " + unknown(`not see "Nothing"`, "/lost", missing)},
		{"missing, see", at("/lost") + "I should see \"404 page not found\"\nwithin \"main\" I should not see \"Nothing\"\nthere should be at least 1 elements \"p\"", ""},
		{"missing, text that should not be", at("/lost") + `I should not see "404"`, `unexpected web: not see "404" on http://www.example.test/lost (200 OK): the page shows it: "…Outside Foot 404 page not found…"`},
		{"missing, within", at("/lost") + `within "footer" I should not see "Nothing"`, "http_status web: " + unknown(`not see "Nothing" within "footer"`, "/lost", missing)},
		{"missing, no link", at("/lost") + `I should not see the link "Nothing"`, "http_status web: " + unknown(`not see the link "Nothing"`, "/lost", missing)},
		{"missing, number", at("/lost") + `there should be 2 elements "p, main"`, "http_status web: " + unknown(`expect 2 elements "p, main"`, "/lost", missing)},
		{"refused", at("/refused") + `I should not see "Nothing"`, "connect web: " + unknown(`not see "Nothing"`, "/refused", refused)},
		{"refused, see", at("/refused") + `I should see "Nothing"`, `unexpected web: see "Nothing" on http://www.example.test/refused (200 OK): the page does not show it; it begins with "Outside Foot"; its frame ` + refused},
		{"refused, follow", at("/refused") + `I follow "Nothing"`, `not_found web: follow "Nothing" on http://www.example.test/refused (200 OK): the page has no link at all; its frame ` + refused},
		{"denied", at("/denying") + `I should not see "Guarded"`, "unexpected web: " + unknown(`not see "Guarded"`, "/denying", "http://www.example.test/denied could not be loaded: a browser does not show it in this frame, because it has X-Frame-Options: DENY")},
		{"same origin alone", at("/guarded2") + `I should see "Guarded"`, `unexpected web: see "Guarded" on http://www.example.test/guarded2 (200 OK): the page does not show it; it begins with "Outside Foot"; its frame http://other.test/same could not be loaded: a browser does not show it in this frame, because it has X-Frame-Options: SAMEORIGIN`},
		{"no ancestors", at("/policies") + `I should not see "Guarded"`, "unexpected web: " + unknown(`not see "Guarded"`, "/policies", "http://www.example.test/policy could not be loaded: a browser does not show it in this frame, because it has Content-Security-Policy: frame-ancestors 'none'")},
		{"own frames alone", at("/strict") + `I should not see "From afar"`, "unexpected web: " + unknown(`not see "From afar"`, "/strict", "http://other.test/far could not be loaded: a browser does not show it in this frame, because the page has Content-Security-Policy: frame-src 'self'")},
		{"paper", at("/papers") + `I should not see "Nothing"`, "unexpected web: " + unknown(`not see "Nothing"`, "/papers", "http://www.example.test/paper could not be loaded: it is application/pdf, whose text cannot be read")},
		{"too many", at("/many") + `I should not see "Nothing"`, "scenario scenario: " + unknown(`not see "Nothing"`, "/many", "http://www.example.test/next?20 could not be loaded: the page has more than the limit of 20 frames; that needs a browser: tag the scenario @browser")},
		{"too many, see", at("/many") + `I should see "Nothing"`, `scenario scenario: see "Nothing" on http://www.example.test/many (200 OK): the page does not show it; it begins with "Outside Foot Turned over Turned over Turned over Turned over…"; its frame http://www.example.test/next?20 could not be loaded: the page has more than the limit of 20 frames; that needs a browser: tag the scenario @browser`},
		{"too deep", at("/deep1") + "I should see \"Foot\"\nI should not see \"Deepest\"", "scenario scenario: " + unknown(`not see "Deepest"`, "/deep1", "http://www.example.test/deep6 could not be loaded: it is more than 4 frames deep in the page; that needs a browser: tag the scenario @browser")},
		{"sandbox", at("/sandbox") + "I fill in \"Word\" with \"tea\"\nI press \"Tell\"\nI should see \"POST\"", `unexpected web: press "Tell" on http://www.example.test/sandbox (200 OK): the form is in a frame whose sandbox does not allow forms`},
	}, map[string]string{
		"refused":           "connect web: " + unknown(`not see "Nothing"`, "/refused", refused+" (net::ERR_CONNECTION_REFUSED)"),
		"refused, see":      `unexpected web: see "Nothing" on http://www.example.test/refused (200 OK): the page does not show it; it begins with "Outside Foot"; its frame ` + refused + " (net::ERR_CONNECTION_REFUSED)",
		"refused, follow":   `not_found web: follow "Nothing" on http://www.example.test/refused (200 OK): the page has no link at all; its frame ` + refused + " (net::ERR_CONNECTION_REFUSED)",
		"denied":            "unexpected web: " + unknown(`not see "Guarded"`, "/denying", "http://www.example.test/denied"+blocked),
		"same origin alone": `unexpected web: see "Guarded" on http://www.example.test/guarded2 (200 OK): the page does not show it; it begins with "Outside Foot"; its frame http://other.test/same` + blocked,
		"no ancestors":      "unexpected web: " + unknown(`not see "Guarded"`, "/policies", "http://www.example.test/policy"+blocked),
		"own frames alone":  "protocol web: " + unknown(`not see "From afar"`, "/strict", "http://other.test/far could not be loaded: it was not requested, for example because the Content-Security-Policy of the page forbids it"),
		"too many":          "",
		"too many, see":     `unexpected web: see "Nothing" on http://www.example.test/many (200 OK): the page does not show it; it begins with "Outside Foot Turned over Turned over Turned over Turned over…"`,
		"too deep":          `unexpected web: not see "Deepest" on http://www.example.test/deep1 (200 OK): the page shows it: "…e Foot Outside Foot Deepest…"`,
		"sandbox":           `unexpected web: see "POST" on http://www.example.test/sandbox (200 OK): the page does not show it; it begins with "From afar Onward Here Word Tell"`,
	})
}

// slicesOf returns count names: name with a number, from 0.
func slicesOf(name string, count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprint(name, i)
	}
	return names
}

// TestWebFramesReport checks that the step that loads a page includes the time of its frames and reports their state.
func TestWebFramesReport(t *testing.T) {
	s := newPages(t, map[string]string{"/page": pageOf("/slow", "/missing"), "/bare": pageOf()}, func(mux *http.ServeMux) {
		mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(30 * time.Millisecond):
			case <-r.Context().Done():
			}
		})
	})
	o := s.run(t, at("/page")+"the page should load within 20ms")
	if got := fmt.Sprint(o.Err()); !strings.HasPrefix(got, "load http://www.example.test/page (200 OK) within 20ms: took ") {
		t.Errorf("got %s", got)
	}
	report := o.Steps[0].Report
	var phases, values []string
	var took time.Duration
	for _, p := range report.Phases {
		phases = append(phases, p.Name)
		took = p.Duration
	}
	for _, m := range report.Measurements {
		values = append(values, fmt.Sprintf("%s %v", m.Name, m.Value))
	}
	if got, want := strings.Join(phases, ", "), "connect, processing, transfer, frames"; got != want || took < 30*time.Millisecond || o.Steps[0].Duration < took {
		t.Errorf("phases %s, the last %s, want %s with 30ms at least", got, took, want)
	}
	if got, want := strings.Join(values[2:], ", "), "http_frames 2, http_frames_failed 1"; got != want {
		t.Errorf("measurements %s, want %s", got, want)
	}
	if got, want := report.Note, "the frame http://www.example.test/missing could not be loaded: status 404 Not Found"; got != want {
		t.Errorf("note %q, want %q", got, want)
	}
	if report := s.run(t, at("/bare")).Steps[0].Report; len(report.Phases) != 3 || len(report.Measurements) != 2 {
		t.Errorf("a page without frames reports %v", report)
	}
}
