package browser

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"

	"github.com/stepwatch/stepwatch/steps/parameter"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// Request is one request of a page and its response.
type Request struct {
	URL      string
	Method   string
	Kind     string // "Document", "Script", "Image", …
	Header   http.Header
	Started  time.Time
	Redirect bool // the response redirected the browser

	Status         int // 0 when there was no response
	StatusText     string
	ResponseHeader http.Header
	SetCookies     []string // the Set-Cookie fields, which are in ResponseHeader too
	MediaType      string   // that the browser assumes for the body: "text/html"
	Protocol       string   // "http/1.1", "h2"
	Remote         string   // "192.0.2.1:443"
	Reused         bool     // over an existing connection
	Cached         bool     // from the browser's own cache
	Bytes          int64    // as transferred, including the header
	Head           int64    // bytes of the header
	Done           bool     // the whole body was received
	Failed         string   // "net::ERR_…", or empty
	Canceled       bool     // the page or the browser no longer needed it

	TLS *TLS

	// The phases of the exchange. A phase that did not happen is negative.
	DNS, Connect, Handshake, Processing time.Duration

	byWorker             bool // a worker made it, or it is the script of one
	id                   network.RequestID
	before               *Request // that redirected to this one
	told                 bool     // the fields that only the browser's network process sees are known
	began, header, ended float64  // by the browser's monotonic clock, in seconds
}

// TLS is what the browser reports about a connection's security.
type TLS struct {
	Version string // "TLS 1.3"
	Cipher  string
	Issuer  string
	Names   []string
	Expires time.Time
}

// Transfer returns how long the body took, negative while unknown.
func (r *Request) Transfer() time.Duration {
	if r.ended == 0 || r.header == 0 || r.ended < r.header {
		return -1
	}
	return seconds(r.ended - r.header)
}

// Took returns how long the request took in all, negative while unknown.
func (r *Request) Took() time.Duration {
	if r.ended == 0 || r.began == 0 {
		return -1
	}
	return seconds(r.ended - r.began)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// requested records a request; t.mu is held.
func (t *Tab) requested(ev *network.EventRequestWillBeSent) {
	before := t.byID[ev.RequestID]
	r := t.newRequest(ev.RequestID, shortened(ev.Request.URL+ev.Request.URLFragment), ev.Request.Method, string(ev.Type))
	r.Header, r.began = header(ev.Request.Headers), ev.Timestamp.Float64()
	r.byWorker = ev.LoaderID == ""
	if before != nil && ev.RedirectResponse != nil {
		before.received(ev.RedirectResponse)
		before.Redirect, before.Done, before.ended = true, true, ev.Timestamp.Float64()
		before.Bytes = int64(ev.RedirectResponse.EncodedDataLength)
		before.told = before.told || !ev.RedirectHasExtraInfo
		r.before = before
	}
	defer t.record(r, ev.LoaderID) // after the navigation was recorded
	if ev.Type != network.ResourceTypeDocument {
		return
	}
	if ev.FrameID != t.main {
		if f := t.frameOf(ev.FrameID); f != nil {
			f.answer, f.loader = r, ev.LoaderID
		}
		return
	}
	t.expected = time.Time{}
	redirected := t.current != nil && t.current.loader == ev.LoaderID
	switch n := t.current; {
	case redirected && Elsewhere(r.URL):
		n.Elsewhere, n.Loaded, n.Ended = r.URL, true, time.Now()
		return
	case redirected:
		n.Chain = append(n.Chain, r)
		return
	case Elsewhere(r.URL):
		t.keep(r.URL)
		t.handed = append(t.handed, r.URL) // the page stays
		return
	}
	t.unwelcome = false
	t.current = &Navigation{Chain: []*Request{r}, Begun: time.Now(), loader: ev.LoaderID}
}

func (t *Tab) newRequest(id network.RequestID, address, method, kind string) *Request {
	return &Request{URL: address, Method: method, Kind: kind, Started: time.Now(), id: id, DNS: -1, Connect: -1, Handshake: -1, Processing: -1}
}

// record keeps a request, also with the page that it belongs to; t.mu is held.
func (t *Tab) record(r *Request, loader cdp.LoaderID) {
	t.byID[r.id] = r
	t.keep(r.URL)
	t.keepHeader(r.Header)
	if len(t.requests) < maxRequests {
		t.requests = append(t.requests, r)
	} else {
		t.dropped++
	}
	t.active = time.Now()
	t.of(loader).requested(r)
}

func (r *Request) received(a *network.Response) {
	r.Status, r.StatusText = int(a.Status), a.StatusText
	if r.StatusText == "" {
		r.StatusText = http.StatusText(r.Status)
	}
	r.ResponseHeader, r.MediaType = header(a.Headers), a.MimeType
	if r.SetCookies != nil {
		r.ResponseHeader["Set-Cookie"] = r.SetCookies
	}
	r.Protocol, r.Reused = a.Protocol, a.ConnectionReused
	r.Bytes = int64(a.EncodedDataLength) // so far
	r.Head = r.Bytes
	r.Cached = r.Cached || a.FromDiskCache || a.FromPrefetchCache || a.FromServiceWorker
	if a.RemoteIPAddress != "" {
		r.Remote = net.JoinHostPort(strings.Trim(a.RemoteIPAddress, "[]"), strconv.FormatInt(a.RemotePort, 10))
	}
	if s := a.SecurityDetails; s != nil {
		r.TLS = &TLS{Version: s.Protocol, Cipher: s.Cipher, Issuer: s.Issuer, Names: append([]string{s.SubjectName}, s.SanList...),
			Expires: time.Unix(int64(s.ValidTo.Float64()), 0)}
	}
	if g := a.Timing; g != nil {
		phase := func(from, to float64) time.Duration {
			if from < 0 || to < from {
				return -1
			}
			return time.Duration((to - from) * float64(time.Millisecond))
		}
		r.DNS = phase(g.DNSStart, g.DNSEnd)
		r.Handshake = phase(g.SslStart, g.SslEnd)
		if r.Connect = phase(g.ConnectStart, g.ConnectEnd); r.Connect >= 0 && r.Handshake >= 0 {
			r.Connect -= r.Handshake // the browser counts the handshake as part of connecting
		}
		r.Processing = phase(g.SendEnd, g.ReceiveHeadersEnd)
		r.header = g.RequestTime + g.ReceiveHeadersEnd/1000
	}
}

// receivedFields records the fields of a response as they were received, with those that the page does not see. It reports
// whether nothing else is known of the response yet.
func (r *Request) receivedFields(ev *network.EventResponseReceivedExtraInfo) (first bool) {
	for r.before != nil && !r.before.told {
		r = r.before // the event of a redirect may come after the next request
	}
	r.told = true
	fields := header(ev.Headers)
	r.SetCookies = fields["Set-Cookie"]
	if r.Status == 0 { // for a response that shows nothing, this is all we get
		r.Status, r.StatusText, r.ResponseHeader = int(ev.StatusCode), http.StatusText(int(ev.StatusCode)), fields
		return true
	}
	if r.SetCookies != nil {
		h := make(http.Header, len(r.ResponseHeader)+1) // copies of the request share the header
		maps.Copy(h, r.ResponseHeader)
		h["Set-Cookie"], r.ResponseHeader = r.SetCookies, h
	}
	return false
}

// Body returns how many bytes of the body were received, as transferred.
func (r *Request) Body() int64 { return max(0, r.Bytes-r.Head) }

// Elsewhere reports whether a browser passes an address to another program, as it does with "mailto:a@example.org".
func Elsewhere(address string) bool {
	scheme, _, _ := strings.Cut(address, ":")
	switch strings.ToLower(scheme) {
	case "http", "https", "about", "blob", "data", "file", "filesystem", "javascript", "view-source", "chrome", "chrome-error", "chrome-extension", "devtools":
		return false
	}
	return true
}

// showsNothing reports whether the response intentionally leaves the page unchanged.
func (r *Request) showsNothing() bool {
	return r.Status == http.StatusNoContent || r.Status == http.StatusResetContent || r.Status == http.StatusNotModified
}

// attached reports whether the server asks to save the response (RFC 6266).
func (r *Request) attached() bool {
	attachment, _ := parameter.Disposition(r.ResponseHeader.Get("Content-Disposition"))
	return attachment
}

// isFile reports whether the response has a type that the browser saves instead of showing it. It is false for an
// unknown type: of a page that the browser aborted early, only the status is known.
func (r *Request) isFile() bool {
	mediaType := r.MediaType
	if mediaType == "" {
		mediaType, _ = parameter.MediaType(r.ResponseHeader.Values("Content-Type")) // an invalid type counts as unknown
	}
	return mediaType != "" && !shown.MatchString(mediaType)
}

// shown are the types that every Chromium shows, without audio and video.
var shown = regex.Lazy(`^(?:text/(?:html|plain|xml|css|javascript)|application/(?:json|xml|javascript)|image/.+|.+\+(?:xml|json))$`)

// failed records that a request failed; t.mu is held.
func (t *Tab) failed(ev *network.EventLoadingFailed) {
	r := t.byID[ev.RequestID]
	if r == nil {
		return
	}
	r.Failed, r.Canceled, r.ended = ev.ErrorText, ev.Canceled, ev.Timestamp.Float64()
	t.active = time.Now()
	if ev.BlockedReason != "" {
		r.Failed += " (blocked: " + string(ev.BlockedReason) + ")"
	}
	if ev.CorsErrorStatus != nil {
		r.Failed += " (cross-origin: " + string(ev.CorsErrorStatus.CorsError) + ")"
	}
	n := t.current
	if n == nil || n.Response() != r {
		return
	}
	switch {
	case r.showsNothing():
		n.Loaded = true // the page stays, as intended
	case r.attached(), ev.Canceled && r.isFile():
		n.Download = true
	default: // a page is aborted when the process that was to show it has died
		n.Failed = r.Failed
	}
	n.Ended = time.Now()
}

// header converts the browser's map to a header. Fields of the same name are joined by line feeds.
func header(of network.Headers) http.Header {
	h := make(http.Header, len(of))
	for name, value := range of {
		for line := range strings.SplitSeq(fmt.Sprint(value), "\n") {
			h.Add(name, line)
		}
	}
	return h
}

// Requests returns copies of the requests since the tab was opened, in order, and how many were not kept.
func (t *Tab) Requests() (requests []Request, dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	requests = make([]Request, len(t.requests))
	for i, r := range t.requests {
		requests[i] = *r
	}
	return requests, t.dropped
}

func consoleMessage(ev *runtime.EventConsoleAPICalled) Message {
	m := Message{Level: string(ev.Type)}
	var words []string
	for _, arg := range ev.Args {
		switch {
		case arg.Description != "":
			words = append(words, arg.Description)
		case len(arg.Value) > 0:
			words = append(words, strings.Trim(string(arg.Value), `"`))
		default:
			words = append(words, string(arg.Type))
		}
	}
	m.Text = cut(strings.Join(words, " "))
	if ev.StackTrace != nil && len(ev.StackTrace.CallFrames) > 0 {
		m.URL = ev.StackTrace.CallFrames[0].URL
	}
	return m
}

func exceptionMessage(ev *runtime.EventExceptionThrown) Message {
	d := ev.ExceptionDetails
	m := Message{Level: "exception", Text: d.Text, URL: d.URL}
	if d.Exception != nil && d.Exception.Description != "" {
		m.Text += " " + d.Exception.Description
	}
	m.Text = cut(m.Text)
	return m
}

func cut(text string) string {
	const most = 2000
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
