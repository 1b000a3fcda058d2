package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestQuotesAreBounded looks at pages whose fields are far longer than those of any page, each below the limit of a header. A
// message quotes their beginning.
func TestQuotesAreBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := map[string]string{"/host": "http://" + long[:9000] + "%/", "/scheme": long[:9000] + ":x"}[r.URL.Path]; to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "application/"+long)
		w.Header().Set("Cache-Control", "max-age="+long)
		w.Header().Set("Content-Disposition", "attachment; filename="+long)
		_, _ = io.WriteString(w, "text")
	}))
	t.Cleanup(site.Close)
	for _, path := range []string{"/host", "/scheme"} {
		if got, _ := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, `I go to "`+site.URL+path+`"`); len(got) > 1000 || !strings.HasPrefix(got, "redirect web") {
			t.Errorf("%s: %d bytes: %.300s", path, len(got), got)
		}
	}
	for _, check := range []string{
		`I follow "x"`, `the page should be cacheable for at least 1 hour`, "\n" + `I download "` + site.URL + `/"` + "\n" + `the download should be named "x"`,
		"\n" + `I download "` + site.URL + `/"` + "\n" + `the download should be of type "text/html"`,
	} {
		text := `I go to "` + site.URL + `/"` + "\n" + check
		if after, other := strings.CutPrefix(check, "\n"); other {
			text = after
		}
		if got, _ := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, text); len(got) > 1000 || !strings.Contains(got, "xxx…") {
			t.Errorf("%s: %d bytes: %.300s", check, len(got), got)
		}
	}
}
