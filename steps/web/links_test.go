package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// linkedSite returns a website called www.example.test, with links to check.
func linkedSite(t *testing.T) *site {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	pages := map[string]string{
		"/sound":   `<a href=/sound/2>2</a><a href="#x" id=x>x</a><img src=/pixel alt="">`,
		"/sound/2": `<a href=/sound>back</a><a href=http://www.other.test/gone>away</a>`,
		"/far":     `<a href=/far/1>1</a>`,
		"/far/1":   `<a href=/far/2>2</a>`,
		"/far/2":   `<a href=/far/3>3</a>`,
		"/far/3":   `<a href=/gone>gone</a>`,
		"/bad":     `<a href=/gone>gone</a><a href=/bad/2>2</a><img src=/noimage alt=x><a href="#nowhere">n</a>`,
		"/bad/2":   `<a href=/gone>gone</a>`,
		"/many": strings.Repeat("<p>", 3) + func() (links string) {
			for i := range 12 {
				links += fmt.Sprintf("<a href=/gone/%d>%d</a>", i, i)
			}
			return links
		}(),
		"/none":   `<p>Nothing</p>`,
		"/parts":  `<link rel=stylesheet href=/gone.css><script src=/gone.js></script><script>document.title = "</p>"</script><p>x</p>`,
		"/script": `<p id=p></p><script>setTimeout(() => { document.getElementById("p").innerHTML = "<a href=/gone>gone</a>" }, 20)</script>`,
		"/slow":   `<a href=/hang>slow</a><a href=/gone>gone</a>`,
		"/dead":   `<a href=http://closed.example.test/>x</a>`,
		"/out":    `<a href=/members>m</a>`,
	}
	mux := http.NewServeMux()
	for path, body := range pages {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, body)
		})
	}
	mux.HandleFunc("/pixel", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "image/gif")
		_, _ = io.WriteString(w, strings.Repeat("GIF", 1<<16))
	})
	mux.HandleFunc("/login", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "open", Path: "/", HttpOnly: true})
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<a href=/members>m</a>")
	})
	mux.HandleFunc("/members", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("session"); err != nil {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, "<p>members</p>")
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	address := server.Listener.Addr().String()
	return &site{target: (&steps.Target{ConnectTo: map[string]string{
		"www.example.test:80": address, "www.other.test:80": address, "closed.example.test:80": closed.Listener.Addr().String(),
	}}).Set(httpwire.Web{Patience: 50 * time.Millisecond})}
}

func TestLinks(t *testing.T) {
	s := linkedSite(t)
	of := func(path string, table ...string) string {
		return strings.Join(append([]string{`no link of "http://www.example.test` + path + `" is broken`}, table...), "\n")
	}
	at := func(path string) string {
		return `I go to "http://www.example.test` + path + `"` + "\nno link on this page is broken"
	}
	const on = "http://www.example.test"
	cases := []sentenceCase{
		{"sound", of("/sound"), ""},
		{"sound page", at("/sound"), ""},
		{"then on the page", of("/sound") + "\nI should be on /sound\nI follow \"2\"\nI should be on /sound/2", ""},
		{"broken", of("/bad"), `unexpected web: check the links of ` + on + `/bad: 3 of 5 are broken: "` + on + `/gone" (404 Not Found), a link on ` + on + `/bad, ` + on + `/bad/2; "` + on +
			`/noimage" (404 Not Found), an image on ` + on + `/bad; "` + on + `/bad#nowhere" (the page has no such fragment), a link on ` + on + `/bad`},
		{"broken page", at("/bad/2"), `http_status web: check the links of ` + on + `/bad/2: 1 of 1 are broken: "` + on + `/gone" (404 Not Found), a link on ` + on + `/bad/2`},
		{"ignored", of("/bad", "| ignore | gone$ |", "| depth | 1 |") + "\nI should see \"2\"", `unexpected web: check the links of ` + on + `/bad: 2 of 4 are broken: "` + on + `/noimage" (404 Not Found), an image on ` + on + `/bad; "` + on + `/bad#nowhere" (the page has no such fragment), a link on ` + on + `/bad; ignored: 2`},
		{"many", at("/many"), `http_status web: check the links of ` + on + `/many: 12 of 12 are broken: ` + func() (list string) {
			for i := range 10 {
				list += fmt.Sprintf(`"%s/gone/%d" (404 Not Found), a link on %s/many; `, on, i, on)
			}
			return list + "and 2 more"
		}()},
		{"too far", of("/far"), ""},
		{"far enough", of("/far", "| depth | 3 |"), `http_status web: check the links of ` + on + `/far: 1 of 4 are broken: "` + on + `/gone" (404 Not Found), a link on ` + on + `/far/3`},
		{"other hosts", of("/sound", "| other hosts | yes |"), `http_status web: check the links of ` + on + `/sound: 1 of 5 are broken: "http://www.other.test/gone" (404 Not Found), a link on ` + on + `/sound/2`},
		{"no connection", of("/dead", "| other hosts | yes |"), `connect web: check the links of ` + on + `/dead: 1 of 1 are broken: "http://closed.example.test/" (connection refused: nothing listens on that port), a link on ` + on + `/dead`},
		{"parts", at("/parts"), `http_status web: check the links of ` + on + `/parts: 2 of 2 are broken: "` + on + `/gone.css" (404 Not Found), a style sheet on ` + on + `/parts; "` + on + `/gone.js" (404 Not Found), a script on ` + on + `/parts`},
		{"none", at("/none"), `not_found web: check the links of ` + on + `/none (200 OK): there are none`},
		{"only with a script", at("/script"), `not_found web: check the links of ` + on + `/script (200 OK): there are none`},
		{"first page broken", of("/gone"), "http_status web: GET " + on + "/gone: status 404 Not Found, wanted 2xx or 3xx (`I try to go to \"" + on + "/gone\"` accepts any status)"},
		{"logged in", of("/login"), ""},
		{"not logged in", of("/out"), `http_status web: check the links of ` + on + `/out: 1 of 1 are broken: "` + on + `/members" (403 Forbidden), a link on ` + on + `/out`},
	}
	mistakes := []sentenceCase{
		{"no page", "no link on this page is broken", "scenario scenario: there is no page yet: write `I go to \"https://www.example.org/\"` before this step"},
		{"unknown setting", of("/sound", "| speed | 1 |"), `scenario scenario: the table has a setting "speed"; its settings are depth, pages, ignore and other hosts`},
		{"depth of a page", at("/sound") + "\n| depth | 1 |", `scenario scenario: the table has a setting "depth"; its settings are ignore and other hosts`},
		{"no number", of("/sound", "| depth | deep |"), `scenario scenario: depth: "deep" is not a number from 0 to 100`},
		{"no pages", of("/sound", "| pages | 0 |"), `scenario scenario: pages: "0" is not a number from 1 to 10000`},
		{"no pattern", of("/sound", "| ignore | ( |"), `scenario scenario: ignore: "(" is not a valid regular expression (RE2 syntax)`},
		{"neither yes nor no", of("/sound", "| other hosts | 1 |"), `scenario scenario: other hosts: "1" is neither yes nor no`},
		{"three cells", of("/sound", "| depth | 1 | 2 |"), `scenario scenario: a row of the table has 3 cells; write a setting and its value, as in | ignore | /logout |`},
	}
	for _, c := range append(mistakes, cases...) {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	s.patience = 500 * time.Millisecond
	s.runInBrowser(t, cases, map[string]string{
		"only with a script": `http_status web: check the links of ` + on + `/script: 1 of 1 are broken: "` + on + `/gone" (404 Not Found), a link on ` + on + `/script`,
	}, browser.Options{})
}

// TestLinksReport checks the measurements, notes and evidence of the sentences about links.
func TestLinksReport(t *testing.T) {
	s := linkedSite(t)
	for _, c := range []struct{ text, values, note, evidence string }{
		{`no link of "http://www.example.test/sound" is broken`, "links_checked 4, links_broken 0, links_pages 2", "4 links on 2 pages; not requested on other hosts: 1", ""},
		{"no link of \"http://www.example.test/far\" is broken\n| pages | 2 |", "links_checked 2, links_broken 0, links_pages 2", "2 links on 2 pages; pages not read: 1 (depth 2, pages 2)", ""},
		{`no link of "http://www.example.test/bad/2" is broken`, "links_checked 1, links_broken 1, links_pages 1", "", "\"http://www.example.test/gone\" (404 Not Found), a link on http://www.example.test/bad/2\n"},
	} {
		o := s.run(t, c.text)
		report := o.Steps[0].Report
		var values []string
		for _, m := range report.Measurements {
			if strings.HasPrefix(m.Name, "links_") {
				values = append(values, fmt.Sprintf("%s %v", m.Name, m.Value))
			}
		}
		if got := strings.Join(values, ", "); got != c.values {
			t.Errorf("%s: got %s, want %s", c.text, got, c.values)
		}
		if report.Note != c.note {
			t.Errorf("%s: note %q, want %q", c.text, report.Note, c.note)
		}
		evidence := ""
		for _, e := range report.Evidence {
			if e.Name == "broken links" {
				evidence = string(e.Body)
			}
		}
		if evidence != c.evidence {
			t.Errorf("%s: evidence %q, want %q", c.text, evidence, c.evidence)
		}
	}
}

// TestLinksWithoutTime checks that a step fails when it has no time for all links.
func TestLinksWithoutTime(t *testing.T) {
	s := linkedSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	o, _ := stepstest.Run(ctx, nil, `no link of "http://www.example.test/slow" is broken`, s.target)
	fixture.Expect(t, o, `timeout web: check the links of http://www.example.test/slow: time ran out after 1 of at least 2 links on 1 pages, and 1 of them are broken: "http://www.example.test/gone" (404 Not Found), a link on http://www.example.test/slow; `+
		`allow more time with @timeout, or reduce the work in a table with depth, pages and ignore`)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	stopped, stop := context.WithCancelCause(t.Context())
	stop(steps.ErrStopped)
	o, _ = stepstest.Run(stopped, nil, `no link of "http://www.example.test/slow" is broken`, s.target)
	if failure := (*steps.Failure)(nil); !errors.As(o.Err(), &failure) || failure.Reason != result.ReasonCanceled {
		t.Errorf("told to stop: %v", o.Err())
	}
}
