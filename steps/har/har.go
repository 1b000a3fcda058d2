// Package har encodes requests as an HTTP Archive (HAR 1.2), which the developer tools of every browser can open. It
// omits bodies, cookies and posted data, which must not be logged.
package har

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"
)

// Entry is one request and its response.
type Entry struct {
	Started    time.Time
	Method     string
	URL        string
	Protocol   string // "HTTP/1.1"
	Header     http.Header
	Status     int // 0 when there was no response
	StatusText string
	Answer     http.Header
	MediaType  string
	Bytes      int64  // of the response as transferred; negative when unknown
	Remote     string // "192.0.2.1:443", or empty
	Failed     string // why there is no complete response, or empty

	// The phases of the exchange. A phase that did not happen is negative.
	DNS, Connect, TLS, Wait, Receive time.Duration
}

type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type entry struct {
	Started  time.Time `json:"startedDateTime"`
	Time     float64   `json:"time"`
	Request  request   `json:"request"`
	Response response  `json:"response"`
	Cache    struct{}  `json:"cache"`
	Timings  timings   `json:"timings"`
	Server   string    `json:"serverIPAddress,omitempty"`
	Comment  string    `json:"comment,omitempty"`
}

type request struct {
	Method      string   `json:"method"`
	URL         string   `json:"url"`
	Version     string   `json:"httpVersion"`
	Cookies     []string `json:"cookies"`
	Headers     []pair   `json:"headers"`
	QueryString []pair   `json:"queryString"`
	HeadersSize int      `json:"headersSize"`
	BodySize    int      `json:"bodySize"`
}

type response struct {
	Status      int      `json:"status"`
	StatusText  string   `json:"statusText"`
	Version     string   `json:"httpVersion"`
	Cookies     []string `json:"cookies"`
	Headers     []pair   `json:"headers"`
	Content     content  `json:"content"`
	RedirectURL string   `json:"redirectURL"`
	HeadersSize int      `json:"headersSize"`
	BodySize    int64    `json:"bodySize"`
	Error       string   `json:"_error,omitempty"` // as in Chromium's developer tools
}

type content struct {
	Size     int64  `json:"size"`
	MimeType string `json:"mimeType"`
}

type timings struct {
	Blocked float64 `json:"blocked"`
	DNS     float64 `json:"dns"`
	Connect float64 `json:"connect"`
	SSL     float64 `json:"ssl"`
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
}

// Encode encodes the entries. It passes each text through show. When the result would exceed limit bytes, the first
// entries are omitted, and a comment contains their number.
func Encode(entries []Entry, limit int, show func(string) string) ([]byte, error) {
	const room = 300 // for everything but the entries
	var kept [][]byte
	size := room
	for i := range slices.Backward(entries) {
		encoded, err := encode(entries[i].archived(show))
		if err != nil {
			return nil, err
		}
		if size += len(encoded) + 2; size > limit {
			break
		}
		kept = append(kept, encoded)
	}
	slices.Reverse(kept)
	var out bytes.Buffer
	out.WriteString(`{"log":{"version":"1.2","creator":{"name":"stepwatch","version":"1"},`)
	if left := len(entries) - len(kept); left > 0 {
		fmt.Fprintf(&out, `"comment":"%d earlier requests are omitted",`, left)
	}
	out.WriteString("\"entries\":[\n")
	out.Write(bytes.Join(kept, []byte(",\n")))
	out.WriteString("\n]}}\n")
	return out.Bytes(), nil
}

func encode(e entry) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, fmt.Errorf("write the requests: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

func (e *Entry) archived(show func(string) string) entry {
	a := entry{Started: e.Started,
		Request: request{Method: e.Method, URL: show(e.URL), Version: e.Protocol, Cookies: []string{}, Headers: pairs(e.Header, show),
			QueryString: []pair{}, HeadersSize: -1, BodySize: -1},
		Response: response{Status: e.Status, StatusText: show(e.StatusText), Version: e.Protocol, Cookies: []string{}, Headers: pairs(e.Answer, show),
			Content: content{max(e.Bytes, 0), show(e.MediaType)}, RedirectURL: show(e.Answer.Get("Location")), HeadersSize: -1, BodySize: e.Bytes, Error: show(e.Failed)},
		Timings: timings{Blocked: -1, DNS: milliseconds(e.DNS), Connect: milliseconds(e.Connect), SSL: milliseconds(e.TLS), Wait: milliseconds(max(e.Wait, 0)), Receive: milliseconds(max(e.Receive, 0))},
	}
	if e.TLS >= 0 && e.Connect >= 0 {
		a.Timings.Connect += a.Timings.SSL // HAR counts it as part of it
	}
	for _, d := range []time.Duration{e.DNS, e.Connect, e.TLS, e.Wait, e.Receive} {
		a.Time += milliseconds(max(d, 0))
	}
	if host, _, err := net.SplitHostPort(e.Remote); err == nil {
		a.Server = host
	}
	return a
}

func pairs(h http.Header, show func(string) string) []pair {
	all := []pair{}
	for name, values := range h {
		for _, value := range values {
			all = append(all, pair{show(name), show(value)})
		}
	}
	slices.SortFunc(all, func(a, b pair) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value)) })
	return all
}

// milliseconds returns -1 for a phase that did not happen, as HAR requires.
func milliseconds(d time.Duration) float64 {
	if d < 0 {
		return -1
	}
	return float64(d.Microseconds()) / 1000
}
