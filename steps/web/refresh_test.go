package web_test

import (
	"net/http"
	"testing"
	"time"
)

// TestPagesThatLeadOn visits pages with a refresh of their own.
func TestPagesThatLeadOn(t *testing.T) {
	meta := func(content string) string {
		return `<!doctype html><title>First</title><meta http-equiv="Refresh" content="` + content + `"><p>First page</p>`
	}
	s := newPages(t, map[string]string{
		"/at-once": meta("0; url=/next"), "/quoted": meta("0;URL='/next'"), "/bare": meta("0 /next"), "/dot": meta(".5, url = next"), "/long": meta("60; url=/next"),
		"/same": meta("1"), "/wrong": meta("url=/next"), "/word": meta("x0; url=/next"), "/twice": meta("0; url=/at-once"),
		"/noscript": `<noscript><meta http-equiv=refresh content="0; url=/next"></noscript><p>First page</p>`,
		"/script":   `<script>"<meta http-equiv=refresh content='0; url=/next'>"</script><p>First page</p>`,
		"/header":   "<p>First page</p>", "/next": "<p>Second page</p>", "/other": meta("0; url=http://other.test/next"),
	}, func(mux *http.ServeMux) {
		mux.HandleFunc("/by-header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Refresh", "0; url=/next")
			w.Header().Set("Content-Type", "text/html")
		})
	})
	s.patience = 3 * time.Second
	const first, second = `I should see "First page"`, "I should see \"Second page\"\nI should be on /next"
	s.runBoth(t, []sentenceCase{
		{"at once", at("/at-once") + second, ""},
		{"quoted", at("/quoted") + second, ""},
		{"bare", at("/bare") + second, ""},
		{"half a second", at("/dot") + second, ""},
		{"two", at("/twice") + second, ""},
		{"header", at("/by-header") + second, ""},
		{"another site", at("/other") + "I should see \"Second page\"\nI should be on http://other.test/next", ""},
		{"after a minute", at("/long") + first, ""},
		{"itself", at("/same") + first, ""},
		{"not a number", at("/wrong") + first, ""},
		{"a word", at("/word") + first, ""},
		{"without scripts", at("/noscript") + first, ""},
		{"in a script", at("/script") + first, ""},
		{"back", at("/next") + at("/at-once") + "I should see \"Second page\"\nI should not see \"First page\"", ""},
	}, nil)
}

// TestLateRefreshesAreNoted names where a browser goes later.
func TestLateRefreshesAreNoted(t *testing.T) {
	s := newPages(t, map[string]string{"/": `<meta http-equiv=refresh content="5;url=/next"><p>First</p>`})
	o := s.run(t, at("/")+`I should see "First"`)
	if err := o.Err(); err != nil {
		t.Error(err)
	}
	if got := o.Steps[0].Report.Note; got != "a browser leaves this page after 5s for http://www.example.test/next" {
		t.Errorf("the note is %q", got)
	}
}
