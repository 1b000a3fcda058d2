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

	"github.com/stepwatch/stepwatch/steps/selector"
)

// TestDeadline evaluates expressions that would take hours.
func TestDeadline(t *testing.T) {
	doc, err := html.Parse(strings.NewReader(strings.Repeat("<p>1", 200_000)))
	if err != nil {
		t.Fatal(err)
	}
	within := func(path string, choose func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := choose(ctx); !errors.As(err, new(*selector.SlowError)) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v", path, err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: took %s", path, took)
		}
	}
	for _, path := range []string{"//p[last()]", "count(//p[count(preceding::p) > 5])", "//p[count(following::*) = 3]", "//p[position() = last()]/preceding::p[last()]"} {
		within(path, func(ctx context.Context) error {
			_, err := selector.XPath(ctx, htmlquery.CreateXPathNavigator(doc), path, func(xpath.NodeNavigator) error { return nil })
			return err
		})
	}
	within("CSS", func(ctx context.Context) error {
		_, err := selector.CSS(ctx, doc, "p:nth-last-child(2n)")
		return err
	})
	n := 0
	if _, err := selector.XPath(t.Context(), htmlquery.CreateXPathNavigator(doc), "//p[. = '1']", func(xpath.NodeNavigator) error { n++; return nil }); err != nil || n != 200_000 {
		t.Errorf("got %d, %v", n, err)
	}
}
