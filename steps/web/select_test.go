package web

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// FuzzSelectElements checks that no selector and no XPath panics, hangs or selects anything but elements.
func FuzzSelectElements(f *testing.F) {
	doc, err := html.Parse(strings.NewReader(`<title>x</title><ul class=a><li id=b>one<li>two <b>three</b></ul><!-- c --><p title="d">four`))
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"ul > li", "//li[2]/b", "(//li)[last()]", "//@id", "//text()", "/html/body/*[position() mod 2 = 1]", "//p[contains(@title, 'd')]/preceding::*",
		"//*[count(.//*) > 1 and not(@class='a')]", "(1 div 0)", "//comment()", "//li[string-length(normalize-space()) = 3]", "//a | //b", "/..", "//*[substring(., 1, 99999999)]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			return
		}
		start := time.Now()
		selected, err := selectElements(t.Context(), doc, text)
		for _, n := range selected {
			if n.Type != html.ElementNode || err != nil {
				t.Errorf("%q selects %+v, %v", text, n, err)
			}
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%q takes %s", text, took)
		}
	})
}
