package browser

import (
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/network"
)

// TestGivenUp holds that only what the browser does not show is taken for a file. When the process that was to show a page
// dies the browser gives the page up too, and that is not the website's doing.
func TestGivenUp(t *testing.T) {
	for _, c := range []struct {
		mediaType, disposition string
		canceled, download     bool
	}{
		{"application/octet-stream", "", true, true},
		{"text/html", "attachment; filename=page.html", true, true},
		{"text/html", "inline", true, false},
		{"text/html", "", true, false},
		{"application/xhtml+xml", "", true, false},
		{"application/octet-stream", "", false, false},
	} {
		r := &Request{URL: "http://www.example.test/", Status: http.StatusOK, MediaType: c.mediaType, ResponseHeader: http.Header{}, id: "1"}
		r.ResponseHeader.Set("Content-Disposition", c.disposition)
		tab := &Tab{byID: map[network.RequestID]*Request{"1": r}, current: &Navigation{Chain: []*Request{r}}}
		tab.failed(&network.EventLoadingFailed{RequestID: "1", Timestamp: 1, ErrorText: "net::ERR_ABORTED", Canceled: c.canceled})
		if n := tab.current; n.Download != c.download || (n.Failed == "") != c.download {
			t.Errorf("%+v: download %t, failed %q", c, n.Download, n.Failed)
		}
	}
}
