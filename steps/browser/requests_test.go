package browser

import (
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/network"
)

// TestGivenUp checks that only a response that the browser does not show counts as a file. When the process that was to
// show a page dies, the browser also aborts the page, perhaps after reporting only status and header; that is not the
// website's fault.
func TestGivenUp(t *testing.T) {
	for _, c := range []struct {
		mediaType, contentType, disposition string
		canceled, download                  bool
	}{
		{"application/octet-stream", "", "", true, true},
		{"text/csv", "text/csv", "", true, true},
		{"text/html", "text/html", "attachment; filename=page.html", true, true},
		{"text/html", "text/html", "inline", true, false},
		{"text/html", "", "", true, false},
		{"application/xhtml+xml", "", "", true, false},
		{"application/json", "application/json", "", true, false},
		{"image/png", "image/png", "", true, false},
		{"application/octet-stream", "", "", false, false},
		{"", "text/html; charset=utf-8", "", true, false},
		{"", "application/zip", "", true, true},
		{"", "", "", true, false},
	} {
		r := &Request{URL: "http://www.example.test/", id: "1"}
		tab := &Tab{byID: map[network.RequestID]*Request{"1": r}, current: &Navigation{Chain: []*Request{r}}, news: make(chan struct{})}
		headers := network.Headers{"Content-Disposition": c.disposition, "Content-Type": c.contentType}
		tab.event(&network.EventResponseReceivedExtraInfo{RequestID: "1", StatusCode: http.StatusOK, Headers: headers})
		if c.mediaType != "" {
			tab.event(&network.EventResponseReceived{RequestID: "1", Response: &network.Response{Status: http.StatusOK, MimeType: c.mediaType, Headers: headers}})
		}
		tab.event(&network.EventLoadingFailed{RequestID: "1", Timestamp: 1, ErrorText: "net::ERR_ABORTED", Canceled: c.canceled})
		if n := tab.current; n.Download != c.download || (n.Failed == "") != c.download {
			t.Errorf("%+v: download %t, failed %q", c, n.Download, n.Failed)
		}
	}
}
