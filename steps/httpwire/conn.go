// Package httpwire does one HTTP exchange for a run: connection, TLS and proxy, the answer read within bounds, and the phases
// of each reported. What a visit is made of, cookies and redirects among it, is the business of room web.
package httpwire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/meter"
	"github.com/stepwatch/stepwatch/steps/timeserver"
)

// Conn is one connection to a web server. For HTTP/1.1 it uses the readers and writers of net/http on the step's
// own goroutine. This exposes the two moments that separate the phases, request written and first byte of the response,
// without a trace and two more goroutines per connection. HTTP/2 is left to net/http.
type Conn struct {
	Key  Key // what it serves
	Conn net.Conn
	wire *meter.Conn // below TLS
	in   headerGuard
	r    bufio.Reader
	h2   *http.ClientConn // nil for HTTP/1.1
	used bool             // at least one response was received
	idle time.Time        // since when it is idle

	Login   *certificateLogin // nil without TLS
	version string            // required HTTP version, or empty
	Proxied bool              // the other end is a proxy
	entry   string            // value of Proxy-Authorization to send with each request, or empty
}

const (
	// A server may close an idle connection at any moment, and a request that changes something must not be sent twice
	// (RFC 9110 §9.2.2). So such a request uses only a connection that was idle for a short time.
	idleForUnsafe = time.Second
	idleForSafe   = 4 * time.Second // Apache closes them after 5 s

	// inlineBody is the largest request body that is written before the response is read. It fits into the socket's
	// buffers, so a write does not block on a server that responds without reading it.
	inlineBody = 16 << 10
)

// ErrStale reports that the server closed an idle connection before it responded to the request.
var ErrStale = errors.New("the idle connection was closed")

// headerGuard limits how many bytes are read before the header is complete, which the reader of net/http does not.
type headerGuard struct {
	r    io.Reader
	left int64 // negative: no limit
	err  error
}

func (g *headerGuard) Read(p []byte) (int, error) {
	if g.left == 0 {
		g.err = headerLimit.Exceeded()
		return 0, g.err
	}
	if g.left > 0 && int64(len(p)) > g.left {
		p = p[:g.left]
	}
	n, err := g.r.Read(p)
	if g.left > 0 {
		g.left -= int64(n)
	}
	g.err = err
	return n, err
}

// Way restricts how a server is accessed. The zero value has no restrictions.
type Way struct {
	Family  string // as in a route
	Version string // of HTTP, "1.1" or "2"
	direct  bool   // not through the proxy
}

// Key distinguishes connections: those with equal keys serve the same requests.
type Key struct{ scheme, host, family, version string }

// KeyFor returns the key of the connections for u of this kind.
func (way Way) KeyFor(u *address.URL) Key { return Key{u.Scheme, u.Host, way.Family, way.Version} }

// Dial opens a connection for u and reports the phases dns, connect, proxy and tls.
func Dial(ctx context.Context, w *steps.World, u *address.URL, way Way) (*Conn, error) {
	if way.Version == "2" && u.Scheme != "https" {
		return nil, steps.FailScenario("GET %s: HTTP/2 is spoken over https alone", u)
	}
	to := u.HostPort()
	proxy := proxyFor(w.Target(), u)
	var conn net.Conn
	var entry string
	var err error
	switch {
	case way.direct || proxy == nil:
		conn, err = w.DialRoute(ctx, to, result.BlameWeb, steps.Route{Family: way.Family})
	case way.Family != "":
		return nil, steps.FailScenario("connect to %s: it is reached through a proxy %s, which chooses the address itself", to, ProxySetting)
	default:
		if entry, err = steps.SettingsOf[Web](w.Target()).ProxyLogin.login(ctx, w); err == nil {
			conn, err = dialProxy(ctx, w, proxy, u, entry)
		}
	}
	if err != nil {
		return nil, err
	}
	wire := meter.New(conn, transferLimit)
	c := &Conn{Key: way.KeyFor(u), Conn: wire, wire: wire, version: way.Version, Proxied: proxy != nil && !way.direct}
	if u.Scheme != "https" {
		c.entry = entry
	} else if err := c.handshake(ctx, w, u.Hostname(), to); err != nil {
		_ = conn.Close() // the handshake's error says what is wrong
		return nil, err
	}
	c.in.r = c.Conn
	c.r.Reset(&c.in)
	return c, nil
}

// offered are the protocols to offer (RFC 7301) for each required version of HTTP.
var offered = map[string][]string{"": {"h2", "http/1.1"}, "1.1": {"http/1.1"}, "2": {"h2"}}

// handshake puts TLS on the connection and, when the server chose HTTP/2, that on top. World.Handshake would not offer it.
func (c *Conn) handshake(ctx context.Context, w *steps.World, host, to string) error {
	config, err := w.TLSConfig(host)
	if err != nil {
		return err
	}
	verified.useFor(config)
	config.NextProtos = offered[c.version]
	c.Login = &certificateLogin{host: host, own: steps.SettingsOf[ClientCertificates](w.Target()).For(host)}
	config.GetClientCertificate = c.Login.answer
	client := tls.Client(&lingering{Conn: c.wire, login: c.Login}, config)
	if err := w.Timed("tls", func() (string, error) { return "", client.HandshakeContext(ctx) }); err != nil {
		if isAlert(err) && c.version != "" && strings.Contains(err.Error(), "no application protocol") {
			return steps.Fail(result.ReasonProtocol, result.BlameWeb, "TLS handshake with %s: the server does not speak HTTP/%s", host, c.version)
		}
		return steps.FailHandshake(ctx, c.Login.explain(ctx, err, "TLS handshake with "+host), result.BlameWeb, config)
	}
	c.Conn = client
	if shown := c.Login.Shown; shown != nil {
		w.Measure("tls_client_certificate_not_after_timestamp_seconds", "When the certificate that we logged in with ends, in Unix time.", float64(shown.NotAfter.Unix()))
	}
	state := client.ConnectionState()
	w.MeasureCertificate(host, state)
	switch {
	case c.version == "2" && state.NegotiatedProtocol != "h2":
		return steps.Fail(result.ReasonProtocol, result.BlameWeb, "TLS handshake with %s: the server does not speak HTTP/2", host)
	case state.NegotiatedProtocol != "h2":
		return nil
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: headerLimit.Most,
		DialTLSContext:         func(context.Context, string, string) (net.Conn, error) { return client, nil },
	}
	if c.h2, err = transport.NewClientConn(ctx, "https", to); err != nil {
		return steps.FailNet(ctx, err, result.BlameWeb, "begin HTTP/2 with "+to)
	}
	return nil
}

// Close closes the connection.
func (c *Conn) Close() {
	if c.h2 != nil {
		_ = c.h2.Close() // an error would only say that it is closed already
	}
	_ = c.Conn.Close()
}

// Fits reports whether the connection may be used for a request.
func (c *Conn) Fits(method string) bool {
	if c.h2 != nil {
		return c.h2.Err() == nil && c.h2.Available() > 0
	}
	idle := time.Since(c.idle)
	return c.r.Buffered() == 0 && (idle < idleForUnsafe || SafeMethod(method) && idle < idleForSafe)
}

// SafeMethod reports whether a request changes nothing on the server and may be sent again (RFC 9110 section 9.2.1).
func SafeMethod(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// Reply is the response to one request, with its body read and decompressed.
type Reply struct {
	*http.Response
	Content []byte
	OnWire  int64    // bytes of the body as transferred
	Broken  error    // why the body is incomplete, or nil
	Reuse   bool     // the connection can take another request
	Remote  string   // "address:port" of the server, as a browser reports it
	From    net.Addr // of the server, over HTTP alone
	Login   *certificateLogin
	Proxied bool     // the remote address is a proxy's, not the server's
	Odd     []string // what violates a standard and was read as browsers read it, in words

	memory  *limit.Memory
	counted int64 // bytes of Content in it
}

// Intake sets what happens to response bodies. Sizes are counted after decompression.
type Intake struct {
	Limit limit.Limit // what to keep in memory, or to write to save

	// save, if not nil, returns the writer for a body that is not kept in memory. A nil writer keeps it.
	Save func(*http.Response) io.Writer
}

// Exchange sends a request, reads the response, and reports the phases processing (request written to first byte of the
// response) and transfer (first byte to end of the body).
func (c *Conn) Exchange(ctx context.Context, w *steps.World, request *http.Request, in Intake) (*Reply, error) {
	if c.h2 != nil {
		return c.exchangeHTTP2(ctx, w, request, in)
	}
	line := lifeline.Bind(ctx, c.Conn)
	defer line.Release()
	c.wire.Allow(in.transferred())
	c.in.left = headerLimit.Most
	if c.entry != "" {
		request.Header.Set("Proxy-Authorization", c.entry)
	}

	var sent sending
	var late chan sending
	unread := false // part of the request body may not have been sent
	if request.ContentLength <= inlineBody {
		// The kernel buffers all of it, so the following wait is for the server. Reading the clock after the write
		// would lose the time that a busy machine takes to return to this goroutine.
		start := time.Now()
		sent = c.send(request)
		sent.at = start
	} else {
		// A server may reject a large body before it has read it; only a concurrent reader sees that response.
		late = make(chan sending, 1)
		go func() { late <- c.send(request) }()
	}
	_, err := c.r.Peek(1)
	first := time.Now()
	if late != nil {
		select {
		case sent = <-late:
		default:
			sent, unread = sending{at: first}, true
			defer func() {
				_ = c.Conn.SetDeadline(time.Unix(1, 0))
				<-late
			}()
		}
	}
	if err != nil {
		w.Phase("processing", first.Sub(sent.at), "")
		if c.used && ctx.Err() == nil && c.r.Buffered() == 0 {
			return nil, ErrStale
		}
		if sent.err != nil {
			err = sent.err
		}
		return nil, err
	}
	response, odd, err := c.readHeader(request) //nolint:bodyclose // reply.read closes it
	if err != nil {
		w.Phase("processing", first.Sub(sent.at), "")
		return nil, err
	}
	w.Phase("processing", first.Sub(sent.at), response.Status)
	noteDate(w, response, first)
	c.in.left = -1
	answer := &Reply{Response: response, Odd: odd, memory: w.Memory()}
	answer.read(in)
	w.Phase("transfer", time.Since(first), "")
	answer.Reuse = answer.Broken == nil && sent.err == nil && !unread && !response.Close
	c.used, c.idle = true, time.Now()
	if !line.Release() {
		answer.Reuse = false // the deadline is over
	}
	return answer, nil
}

// noteDate remembers the Date of a response, for a failure that a wrong clock may explain. It is not read before that.
func noteDate(w *steps.World, response *http.Response, at time.Time) {
	if date := response.Header["Date"]; len(date) == 1 && response.Header["Via"] == nil && response.Header["Age"] == nil { // not of a cache
		*steps.State[timeserver.Seen](w) = timeserver.Seen{Host: response.Request.Host, Date: date[0], At: at}
	}
}

// sending is when a request was written and the error of writing it.
type sending struct {
	at  time.Time
	err error
}

func (c *Conn) send(request *http.Request) sending {
	head, err := c.head(make([]byte, 0, 512), request)
	switch {
	case err != nil:
	case request.Body == nil:
		_, err = c.Conn.Write(head)
	default:
		out := bufio.NewWriter(c.Conn)
		_, _ = out.Write(head) // a Writer keeps the first error
		if _, err = io.Copy(out, request.Body); err == nil {
			err = out.Flush()
		}
	}
	return sending{time.Now(), err}
}

// Request returns a request without a body. Its RequestURI is the target that is sent, byte for byte: net/http would derive
// another form from the URL.
func Request(method string, to *address.URL, header http.Header) *http.Request {
	return &http.Request{Method: method, URL: to.Net(), Host: to.Host, RequestURI: to.Target(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header}
}

// head appends the head of a request in the form of HTTP/1.1 (RFC 9112 §3), with its fields in the order of their names.
func (c *Conn) head(to []byte, request *http.Request) ([]byte, error) {
	target := request.RequestURI
	if c.Proxied && request.URL.Scheme != "https" {
		target = request.URL.Scheme + "://" + request.Host + target
	}
	if strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("the address contains characters that cannot be sent")
	}
	to = append(append(append(append(to, request.Method...), ' '), target...), " HTTP/1.1\r\nHost: "...)
	to = append(append(to, request.Host...), "\r\n"...)
	if request.Body != nil || request.Method == http.MethodPost || request.Method == http.MethodPut || request.Method == http.MethodPatch {
		to = append(strconv.AppendInt(append(to, "Content-Length: "...), request.ContentLength, 10), "\r\n"...)
	}
	var room [16]string
	names := room[:0]
	for name := range request.Header {
		if httpguts.ValidHeaderFieldName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range request.Header[name] {
			if strings.ContainsAny(value, "\r\n") {
				value = strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
			}
			to = append(append(append(append(to, name...), ": "...), strings.Trim(value, " \t")...), "\r\n"...)
		}
	}
	return append(to, "\r\n"...), nil
}

// readHeader reads up to the header of the final response; interim ones (RFC 9110 §15.2) do not describe the page. It also
// returns what was odd in that header.
func (c *Conn) readHeader(request *http.Request) (*http.Response, []string, error) {
	for interim := int64(0); ; interim++ {
		if err := interimLimit.Check(interim); err != nil {
			return nil, nil, err
		}
		h, err := readHead(&c.r)
		if err != nil {
			if c.in.err != nil && !errors.Is(err, ErrMalformed) {
				err = c.in.err
			}
			return nil, nil, err
		}
		response := h.response(request, &c.r)
		switch {
		case response.StatusCode < 100:
			return nil, nil, malformed("its status code is below 100 (RFC 9110 section 15): %.80q", response.Status)
		case response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols:
			return response, h.odd, nil
		}
	}
}

// exchangeHTTP2 is exchange over HTTP/2.
func (c *Conn) exchangeHTTP2(ctx context.Context, w *steps.World, request *http.Request, in Intake) (*Reply, error) {
	c.wire.Allow(in.transferred())
	start := time.Now()
	var wrote, first atomic.Int64 // since start; net/http calls the trace from its own goroutines
	request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { wrote.Store(int64(time.Since(start))) },
		GotFirstResponseByte: func() { first.Store(int64(time.Since(start))) },
	}))
	// net/http derives the path from the URL, except from an opaque one.
	to := *request.URL
	path, query, found := strings.Cut(request.RequestURI, "?")
	to.Opaque, to.RawQuery, to.ForceQuery = "//"+request.Host+path, query, found
	request.URL, request.RequestURI = &to, "" // WithContext has copied the request
	response, err := c.h2.RoundTrip(request)  //nolint:bodyclose // reply.read closes it
	if err != nil {
		w.Phase("processing", time.Since(start)-time.Duration(wrote.Load()), "")
		switch over := c.wire.Err(); {
		case over != nil:
			return nil, over
		case strings.Contains(err.Error(), "header list "): // "… too large", "… larger than advertised limit"
			return nil, headerLimit.Exceeded()
		case c.used && ctx.Err() == nil && c.h2.Err() != nil:
			return nil, ErrStale
		}
		return nil, err
	}
	if err := contradiction(func(name string) []string { return response.Header[name] }); err != nil {
		_ = response.Body.Close() // what it contains does not matter
		return nil, err
	}
	began := time.Duration(first.Load())
	w.Phase("processing", max(0, began-time.Duration(wrote.Load())), response.Status)
	noteDate(w, response, start.Add(began))
	answer := &Reply{Response: response, memory: w.Memory()}
	answer.read(in)
	if over := c.wire.Err(); over != nil && answer.Broken != nil {
		answer.Broken = over
	}
	w.Phase("transfer", time.Since(start)-began, "")
	answer.Reuse = answer.Broken == nil
	c.used = true
	c.Login.passed.Store(true)
	return answer, nil
}

// ErrEncoding reports a body that cannot be decompressed.
var ErrEncoding = errors.New("the body cannot be decompressed")

// read reads the body, decompressed, up to the intake's limit. The bytes received stay in Content even after an error.
func (r *Reply) read(in Intake) {
	defer r.Body.Close()
	if r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}
	wire := &countingReader{r: r.Body}
	plain := io.Reader(wire)
	size := r.ContentLength
	codings, err := r.codings()
	if err != nil {
		r.Broken = err
		return
	}
	if len(codings) > 0 {
		wire.most = in.packed()
	}
	var frame *bufio.Reader // of the outermost coding
	for i, coding := range slices.Backward(codings) {
		packed := bufio.NewReader(plain)
		if i == len(codings)-1 {
			frame = packed
			if _, err := packed.Peek(1); errors.Is(err, io.EOF) && wire.n == 0 {
				return // an empty body is not compressed, as in the response to HEAD
			}
		}
		if plain, err = unpack(coding, packed); err != nil {
			r.OnWire, r.Broken = wire.n, r.encodingError(err, wire)
			return
		}
		if i > 0 {
			plain = &countingReader{r: plain, most: in.packed()} // a little data may become much that is compressed again
		}
		size *= 4
	}
	if in.Save != nil {
		if to := in.Save(r.Response); to != nil {
			n, err := io.Copy(to, io.LimitReader(plain, in.Limit.Most+1))
			if r.OnWire = wire.n; n > in.Limit.Most {
				err = in.Limit.Exceeded()
			}
			r.Broken = r.encodingError(err, wire)
			r.trailing(frame, wire)
			return
		}
	}
	err = r.keep(plain, in, size)
	r.OnWire = wire.n
	if !errors.Is(err, io.EOF) {
		r.Broken = r.encodingError(err, wire)
	}
	r.trailing(frame, wire)
}

// keep reads a body into memory. size is what is expected. The error is never nil.
func (r *Reply) keep(plain io.Reader, in Intake, size int64) (err error) {
	most := in.Limit.Most
	// One byte more than the body, so that the last Read finds the end without growing the buffer.
	r.Content = make([]byte, 0, min(max(size, 2047), most, 1<<20)+1)
	err = r.count()
	for err == nil {
		if len(r.Content) == cap(r.Content) {
			r.Content = append(r.Content, 0)[:len(r.Content)]
			if err = r.count(); err != nil {
				break
			}
		}
		var n int
		n, err = plain.Read(r.Content[len(r.Content):cap(r.Content)])
		if r.Content = r.Content[:len(r.Content)+n]; int64(len(r.Content)) > most {
			r.Content, err = r.Content[:most], in.Limit.Exceeded()
		}
	}
	return err
}

// count adds what Content takes to the run's memory.
func (r *Reply) count() error {
	more := int64(cap(r.Content)) - r.counted
	r.counted += more
	return r.memory.Take(more)
}

// Release takes the body out of the run's memory, when nobody holds it any longer.
func (r *Reply) Release() {
	if r == nil {
		return
	}
	r.memory.Free(r.counted)
	r.counted = 0
}

// countingReader counts the bytes of a body as transferred.
type countingReader struct {
	r    io.Reader
	n    int64
	done bool        // all of it was read
	most limit.Limit // of bytes; zero means none
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.most.Most > 0 && c.n > c.most.Most {
		return 0, c.most.Exceeded()
	}
	c.done = c.done || errors.Is(err, io.EOF)
	return n, err
}
