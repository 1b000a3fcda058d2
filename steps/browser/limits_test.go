package browser_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// A page that exceeds a limit (nodesLimit, levelsLimit, textLimit) is not read in part: what is left out would look absent.
func TestPageLimits(t *testing.T) {
	const deep = `<script>let at = document.body; for (let i = 0; i < %d; i++) at = at.appendChild(document.createElement("div")); at.textContent = "end"</script>`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!DOCTYPE html><title>x</title><body>", map[string]string{
			"/few": strings.Repeat("<p>x</p>", 400), "/many": strings.Repeat("<p>x</p>", 600), "/texts": strings.Repeat("x<!-- -->", 1100),
			"/deep": fmt.Sprintf(deep, 1000), "/lessdeep": fmt.Sprintf(deep, 900) + `<script>at.attachShadow({mode: "closed"}).textContent = "closed"</script>`, "/long": `<script>document.body.append("x".repeat(11 << 20))</script>`,
		}[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	b := started(t, browser.Options{})
	tab := opened(within(t, time.Minute), t, b)
	tab.LimitNodes(1000)
	snapshot := func(ctx context.Context) error {
		_, err := tab.Snapshot(ctx)
		return err
	}
	text := func(ctx context.Context) error {
		_, err := tab.Text(ctx)
		return err
	}
	for _, c := range []struct {
		path string
		read func(context.Context) error
		want string
	}{
		{"/few", snapshot, ""},
		{"/many", snapshot, "the page has more than 1000 nodes (elements and texts), the limit; limits.page_nodes in stepwatch.yml raises it"},
		{"/texts", snapshot, "the page has more than 1000 nodes (elements and texts), the limit; limits.page_nodes in stepwatch.yml raises it"},
		{"/lessdeep", snapshot, ""},
		{"/deep", snapshot, "the page has more than 1000 levels of nested elements, the limit"},
		{"/few", text, ""},
		{"/long", text, "the visible text of the page has 11534336 characters, the limit is 10485760"},
	} {
		ctx := within(t, time.Minute)
		if strings.HasSuffix(c.path, "deep") {
			tab.LimitNodes(0)
		}
		if err := tab.Go(ctx, server.URL+c.path, ""); err != nil {
			t.Fatal(c.path, err)
		}
		err := c.read(ctx)
		exceeded := (*limit.Error)(nil)
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &exceeded) || err.Error() != c.want) {
			t.Errorf("%s: %v, want %s", c.path, err, c.want)
		}
	}
}
