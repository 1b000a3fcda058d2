package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// limitedSite serves pages by their paths, to runs with some limits.
func limitedSite(t *testing.T, limits steps.Limits, pages map[string]string) *site {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if strings.HasSuffix(r.URL.Path, ".json") {
			w.Header().Set("Content-Type", "application/json")
		}
		if strings.HasSuffix(r.URL.Path, ".xml") {
			w.Header().Set("Content-Type", "application/xml")
		}
		_, _ = io.WriteString(w, pages[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	return &site{target: (&steps.Target{ConnectTo: map[string]string{"www.example.test:80": address}}).Set(limits)}
}

// What a page holds beyond a limit is a fault of the site, and says which limit, value and setting.
func TestPageLimits(t *testing.T) {
	deep := strings.Repeat("<div>", 513)
	s := limitedSite(t, steps.Limits{Nodes: 1000, Memory: 4 << 20, All: limit.NewPool(1 << 30)}, map[string]string{
		"/many":      strings.Repeat("<p>x", 600),
		"/fitting":   strings.Repeat("<p>x", 400) + "<h1>End</h1>",
		"/deep":      deep + "<a href=x>On</a>",
		"/frame":     `<p>Around</p><iframe srcdoc="` + deep + `"></iframe>`,
		"/table":     "<table id=t><tr><td colspan=1000 rowspan=1000>x" + strings.Repeat("<tr>", 500) + "</table>",
		"/long":      "<h1>Long</h1><p>" + strings.Repeat("some words of a text ", 4<<20/20) + "</p>",
		"/attribute": "<img" + strings.Repeat(" a", 3) + ">",
	})
	at := func(path string) string { return `I go to "http://www.example.test` + path + "\"\n" }
	for _, c := range []sentenceCase{
		{"fitting", at("/fitting") + `I should see the heading "End"`, ""},
		{"many nodes", at("/many") + `I should see the heading "End"`, "too_large web: read the HTML of http://www.example.test/many (200 OK): the page has more than 1000 nodes (elements, texts and comments), the limit; limits.page_nodes in stepwatch.yml raises it"},
		{"deep", at("/deep") + `I follow "On"`, "too_large web: read the HTML of http://www.example.test/deep (200 OK): the page has more than 512 levels of nested elements, the limit"},
		{"a deep frame", at("/frame") + "I should see \"Around\"", ""},
		{"absent from a deep frame", at("/frame") + "I should not see \"Fault\"", "too_large web: not see \"Fault\" on http://www.example.test/frame (200 OK): nothing was found, but its frame in <iframe> could not be loaded: read the HTML of http://www.example.test/frame (200 OK): the page has more than 512 levels of nested elements, the limit"},
		{"spans", at("/table") + `the table "t" should have 500 rows`, `too_large web: expect the table "t" to have 500 rows: a table of the page has more than 500000 cells, repeated by their spans, the limit`},
		{"one page after the other", at("/fitting") + strings.Repeat(at("/fitting")+"I should see the heading \"End\"\n", 30), ""},
	} {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	// The number depends on what else the run holds.
	err := s.run(t, at("/long")+`I should see the heading "Long"`).Err()
	if err == nil || !strings.Contains(err.Error(), "bytes, the limit is 4194304; limits.memory in stepwatch.yml raises it") {
		t.Error(err)
	}
}
