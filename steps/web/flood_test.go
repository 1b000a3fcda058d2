package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestMemoryOfPages visits pages of 300 KB in runs that may hold 1 MB: only the page that is shown counts, with its frames.
func TestMemoryOfPages(t *testing.T) {
	filling := "<p>" + strings.Repeat("x", 300_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			w.Header().Set("Location", "/page")
			w.WriteHeader(http.StatusFound)
		case "/header":
			for i := range 900 {
				w.Header().Set(fmt.Sprintf("X-Filler-%d", i), filling[3:1000])
			}
		case "/file":
			w.Header().Set("Content-Type", "application/octet-stream")
		case "/frames":
			for i := range 4 {
				_, _ = fmt.Fprintf(w, "<iframe src='/frame%d'></iframe>", i)
			}
		}
		_, _ = w.Write([]byte(filling))
	}))
	defer server.Close()
	target := new(steps.Target).Set(steps.Limits{Memory: 1 << 20}).Set(httpwire.Web{BodyLimit: 2 << 20})
	visit := func(path string) string { return "When I try to go to \"" + server.URL + path + "\"\n" }
	const full = `what the run has read has \d+ bytes, the limit is 1048576; limits.memory in stepwatch.yml raises it`
	fixture.JudgedAs(t, target, map[string]string{
		strings.Repeat(visit("/page")+visit("/redirect"), 5):           "passed",
		strings.Repeat("When I download \""+server.URL+"/file\"\n", 5): "passed",
		visit("/header") + visit("/header"):                            `too_large web: GET http://\S+/header: ` + full,
		visit("/frames") + "Then I should see \"no such text\"":        `\w+ web: .*` + full + `.*`,
	})
}

// TestLongRedirect follows a redirect to an address that is longer than locationLimit.
func TestLongRedirect(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/"+long)
		w.WriteHeader(http.StatusFound)
	}))
	defer server.Close()
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{
		`When I go to "` + server.URL + `/"`: `too_large web: GET http://\S+/: the address of a redirect has 65537 bytes, the limit is 65536`,
	})
}
