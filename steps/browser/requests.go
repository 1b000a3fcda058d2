package browser

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
)

// Request is one request of a page and its answer.
type Request struct {
	URL      string
	Method   string
	Kind     string // "Document", "Script", "Image", …
	Header   http.Header
	Started  time.Time
	Redirect bool // the answer sent the browser on

	Status         int // 0 when there was no answer
	StatusText     string
	ResponseHeader http.Header
	MediaType      string // that the browser takes the body for: "text/html"
	Protocol       string // "http/1.1", "h2"
	Remote         string // "192.0.2.1:443"
	Reused         bool   // over a connection that was open already
	Cached         bool   // answered by the browser's own cache
	Bytes          int64  // as transferred, header included
	Head           int64  // of these, the header's
	Done           bool   // all of the body came
	Failed         string // "net::ERR_…", or empty
	Canceled       bool   // the page or the browser did not want it any more

	TLS *TLS

	// The phases of the exchange. One that did not happen is negative.
	DNS, Connect, Handshake, Processing time.Duration

	id                   network.RequestID
	began, header, ended float64 // by the browser's monotonic clock, in seconds
}

// TLS is what the browser says of a connection's security.
type TLS struct {
	Version string // "TLS 1.3"
	Cipher  string
	Issuer  string
	Names   []string
	Expires time.Time
}

// Transfer is how long the body took, and negative while it is not known.
func (r *Request) Transfer() time.Duration {
	if r.ended == 0 || r.header == 0 || r.ended < r.header {
		return -1
	}
	return seconds(r.ended - r.header)
}

// Took is how long the request took from its beginning to its end, and negative while it is not known.
func (r *Request) Took() time.Duration {
	if r.ended == 0 || r.began == 0 {
		return -1
	}
	return seconds(r.ended - r.began)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// requested notes a request; t.mu is held.
func (t *Tab) requested(ev *network.EventRequestWillBeSent) {
	before := t.byID[ev.RequestID]
	r := &Request{URL: ev.Request.URL + ev.Request.URLFragment, Method: ev.Request.Method, Kind: string(ev.Type), Header: header(ev.Request.Headers),
		Started: time.Now(), id: ev.RequestID, began: ev.Timestamp.Float64()}
	r.DNS, r.Connect, r.Handshake, r.Processing = -1, -1, -1, -1
	if before != nil && ev.RedirectResponse != nil {
		before.received(ev.RedirectResponse)
		before.Redirect, before.Done, before.ended = true, true, ev.Timestamp.Float64()
		before.Bytes = int64(ev.RedirectResponse.EncodedDataLength)
	}
	t.byID[ev.RequestID] = r
	if len(t.requests) < maxRequests {
		t.requests = append(t.requests, r)
	} else {
		t.dropped++
	}
	t.active = time.Now()
	defer func() { t.of(ev.LoaderID).requested(r) }() // once the navigation is there
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
	if n := t.current; n != nil && n.loader == ev.LoaderID {
		n.Chain = append(n.Chain, r)
		return
	}
	t.unwelcome = false
	t.current = &Navigation{Chain: []*Request{r}, Begun: time.Now(), loader: ev.LoaderID}
}

func (r *Request) received(a *network.Response) {
	r.Status, r.StatusText = int(a.Status), a.StatusText
	if r.StatusText == "" {
		r.StatusText = http.StatusText(r.Status)
	}
	r.ResponseHeader, r.MediaType = header(a.Headers), a.MimeType
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
			r.Connect -= r.Handshake // the browser counts the handshake as connecting
		}
		r.Processing = phase(g.SendEnd, g.ReceiveHeadersEnd)
		r.header = g.RequestTime + g.ReceiveHeadersEnd/1000
	}
}

// Body is how many bytes of the body came, as transferred.
func (r *Request) Body() int64 { return max(0, r.Bytes-r.Head) }

// showsNothing says whether the answer leaves the page as it is, as it should.
func (r *Request) showsNothing() bool {
	return r.Status == http.StatusNoContent || r.Status == http.StatusResetContent || r.Status == http.StatusNotModified
}

// attached says whether the server wants the answer to be saved (RFC 6266).
func (r *Request) attached() bool {
	return strings.HasPrefix(strings.ToLower(r.ResponseHeader.Get("Content-Disposition")), "attachment")
}

// isFile says whether the answer is of a type that the browser saves and does not show. One whose type was not told is not: of
// a page that the browser gave up early there is only the status.
func (r *Request) isFile() bool {
	mediaType := r.MediaType
	if mediaType == "" {
		mediaType, _, _ = mime.ParseMediaType(r.ResponseHeader.Get("Content-Type")) // what cannot be read is not told
	}
	return mediaType != "" && !shown.MatchString(mediaType)
}

// shown are the types that every Chromium shows, without sound and film.
var shown = regexp.MustCompile(`^(?:text/(?:html|plain|xml|css|javascript)|application/(?:json|xml|javascript)|image/.+|.+\+(?:xml|json))$`)

// failed notes that a request came to nothing; t.mu is held.
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
		n.Loaded = true // the page stays, as it should
	case !strings.HasPrefix(r.URL, "http"):
		n.Loaded = true // another program's address, such as mailto:
	case r.attached(), ev.Canceled && r.isFile():
		n.Download = true
	default: // a page is given up when the process that was to show it has died
		n.Failed = r.Failed
	}
	n.Ended = time.Now()
}

// header makes the browser's map a header. Fields of one name come joined by line feeds.
func header(of network.Headers) http.Header {
	h := make(http.Header, len(of))
	for name, value := range of {
		for line := range strings.SplitSeq(fmt.Sprint(value), "\n") {
			h.Add(name, line)
		}
	}
	return h
}

// Requests gives copies of the requests since the tab was opened, in order, and how many were too many to keep.
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
