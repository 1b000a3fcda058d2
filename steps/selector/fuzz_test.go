package selector_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/antchfx/htmlquery"
	"github.com/antchfx/xpath"
	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/selector"
)

// FuzzSelect evaluates selectors and paths on pages of any server. It ends by its deadline, an error is one of the package,
// and what is selected is in the document.
func FuzzSelect(f *testing.F) {
	for _, s := range [][2]string{{"<p class=a>x<p>y", "p.a"}, {"<table><tr><td>1</table>", "//td[position()=1]/text()"}, {"<a href=x>", "//@href"}, {"<ul><li><li>", "ul > li:nth-child(2n+1)"}, {"<p>", "count(//p) + 1"},
		{"<div><div><div>", "div:not(:has(div))"}, {"<a b='c'>", "a[b~=c i]"}, {"x", "("}, {"x", "//*[last()]"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, source, selected string) {
		if len(selected) > 200 || len(source) > 10_000 {
			return // selectors are the operator's
		}
		doc, err := html.Parse(strings.NewReader(source))
		if err != nil {
			return
		}
		nodes := 0
		for range doc.Descendants() {
			nodes++
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		known := func(err error) {
			if err != nil && !errors.As(err, new(*selector.PathError)) && !errors.As(err, new(*selector.SlowError)) && !errors.As(err, new(*limit.Error)) {
				t.Errorf("%q: %v", selected, err)
			}
		}
		found, err := selector.CSS(ctx, doc, selected)
		known(err)
		if len(found) > nodes {
			t.Errorf("%q selects %d of %d nodes", selected, len(found), nodes)
		}
		_, err = selector.XPath(ctx, htmlquery.CreateXPathNavigator(doc), selected, func(xpath.NodeNavigator) error { return nil })
		known(err)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%q took %s", selected, took)
		}
	})
}
