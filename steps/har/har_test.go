package har_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/har"
)

func TestEncode(t *testing.T) {
	e := har.Entry{Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Method: "GET", URL: "https://www.example.org/?q=s3cret", Protocol: "HTTP/1.1",
		Header: http.Header{"Accept": {"*/*"}}, Status: 302, StatusText: "Found", Answer: http.Header{"Location": {"/s3cret"}, "B": {"2", "1"}}, MediaType: "text/html",
		Bytes: 120, Remote: "[::1]:443", DNS: -1, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond, Wait: 1500 * time.Microsecond, Receive: time.Millisecond}
	encoded, err := har.Encode([]har.Entry{e}, 1<<20, func(text string) string { return strings.ReplaceAll(text, "s3cret", "[hidden]") })
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"log":{"version":"1.2","creator":{"name":"stepwatch","version":"1"},"entries":[
{"startedDateTime":"2026-01-02T03:04:05Z","time":7.5,"request":{"method":"GET","url":"https://www.example.org/?q=[hidden]","httpVersion":"HTTP/1.1","cookies":[],"headers":[{"name":"Accept","value":"*/*"}],"queryString":[],"headersSize":-1,"bodySize":-1},"response":{"status":302,"statusText":"Found","httpVersion":"HTTP/1.1","cookies":[],"headers":[{"name":"B","value":"1"},{"name":"B","value":"2"},{"name":"Location","value":"/[hidden]"}],"content":{"size":120,"mimeType":"text/html"},"redirectURL":"/[hidden]","headersSize":-1,"bodySize":120},"cache":{},"timings":{"blocked":-1,"dns":-1,"connect":5,"ssl":3,"send":0,"wait":1.5,"receive":1},"serverIPAddress":"::1"}
]}}
`
	if string(encoded) != want {
		t.Errorf("got  %s\nwant %s", encoded, want)
	}
}

// TestEncodeLimit checks that an archive that is too large omits its first requests and stays valid.
func TestEncodeLimit(t *testing.T) {
	var entries []har.Entry
	for i := range 500 {
		entries = append(entries, har.Entry{Method: "GET", URL: fmt.Sprintf("http://www.example.org/%d", i)})
	}
	for _, limit := range []int{100, 1000, 10_000, 1 << 20} {
		encoded, err := har.Encode(entries, limit, strings.Clone)
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			Log struct {
				Comment string
				Entries []struct{ Request struct{ URL string } }
			}
		}
		if err := json.Unmarshal(encoded, &read); err != nil {
			t.Fatalf("limit %d: %v", limit, err)
		}
		kept := len(read.Log.Entries)
		if len(encoded) > max(limit, 300) || kept > 0 && read.Log.Entries[kept-1].Request.URL != "http://www.example.org/499" {
			t.Errorf("limit %d: %d bytes, the last is %v", limit, len(encoded), read.Log.Entries[kept-1])
		}
		if want := fmt.Sprintf("%d earlier requests are omitted", 500-kept); kept < 500 && read.Log.Comment != want {
			t.Errorf("limit %d: comment %q, want %q", limit, read.Log.Comment, want)
		}
	}
}

// FuzzEncode archives what servers send: the result is JSON within the limit, and has passed through show.
func FuzzEncode(f *testing.F) {
	f.Add("https://www.example.org/?q=s3cret", "text/html", "s3cret", "\xff\x00", 3)
	f.Fuzz(func(t *testing.T, url, kind, value, failed string, n int) {
		entries := make([]har.Entry, min(max(n, 0), 20))
		for i := range entries {
			entries[i] = har.Entry{Method: "GET", URL: url, MediaType: kind, Status: i, Answer: http.Header{"A": {value}, value: {kind}}, Failed: failed, DNS: -1}
		}
		const limit = 4000
		encoded, err := har.Encode(entries, limit, func(text string) string { return strings.ReplaceAll(text, "s3cret", "") })
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(encoded) || len(encoded) > limit || strings.Contains(string(encoded), "s3cret") {
			t.Errorf("%d bytes: %s", len(encoded), encoded)
		}
	})
}
