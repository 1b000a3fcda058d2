package steps

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// httpConn is one connection to a web server. For HTTP/1.1 it uses the readers and writers of net/http on the step's
// own goroutine. This exposes the two moments that separate the phases, request written and first byte of the response,
// without a trace and two more goroutines per connection. HTTP/2 is left to net/http.
type httpConn struct {
	key  string // scheme and address that it serves
	conn net.Conn
	in   headerGuard
	r    *bufio.Reader
	h2   *http.ClientConn // nil for HTTP/1.1
	used bool             // at least one response was received
	idle time.Time        // since when it is idle

	login   *certificateLogin // nil without TLS
	version string            // required HTTP version, or empty
	proxied bool              // the other end is a proxy
	entry   string            // value of Proxy-Authorization to send with each request, or empty
}

const (
	headerLimit = 1 << 20 // bytes of status line and header fields; browsers accept 256 KiB

	// A server may close an idle connection at any moment, and a request that changes something must not be sent twice
	// (RFC 9110 §9.2.2). So such a request uses only a connection that was idle for a short time.
	idleForUnsafe = time.Second
	idleForSafe   = 4 * time.Second // Apache closes them after 5 s

	// inlineBody is the largest request body that is written before the response is read. It fits into the socket's
	// buffers, so a write does not block on a server that responds without reading it.
	inlineBody = 16 << 10
)

var (
	errHeaderTooLarge = errors.New("the header is larger than 1 MiB")
	// errStale reports that the server closed an idle connection before it responded to the request.
	errStale = errors.New("the idle connection was closed")
)

// headerGuard limits how many bytes are read before the header is complete, which the reader of net/http does not.
type headerGuard struct {
	r    io.Reader
	left int // negative: no limit
	err  error
}

func (g *headerGuard) Read(p []byte) (int, error) {
	if g.left == 0 {
		g.err = errHeaderTooLarge
		return 0, g.err
	}
	if g.left > 0 && len(p) > g.left {
		p = p[:g.left]
	}
	n, err := g.r.Read(p)
	if g.left > 0 {
		g.left -= n
	}
	g.err = err
	return n, err
}

// connKey returns the key under which a connection for u can be reused.
func connKey(u *url.URL) string { return u.Scheme + "://" + hostPort(u) }

// hostPort returns "host:port" with the default port of the scheme when the URL has none.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// httpWay restricts how a server is accessed. The zero value has no restrictions.
type httpWay struct {
	family  string // as in a route
	version string // of HTTP, "1.1" or "2"
	direct  bool   // not through the proxy
}

// keyFor returns the key of the connections for u of this kind.
func (way httpWay) keyFor(u *url.URL) string {
	return strings.TrimRight(fmt.Sprintf("%s %s %s", connKey(u), way.family, way.version), " ")
}

// dialHTTP opens a connection for u and reports the phases dns, connect, proxy and tls.
func dialHTTP(ctx context.Context, w *World, u *url.URL, way httpWay) (*httpConn, error) {
	if way.version == "2" && u.Scheme != "https" {
		return nil, scenarioFault("GET %s: HTTP/2 is spoken over https alone", shownURL(u))
	}
	address := hostPort(u)
	proxy := proxyFor(w.target, u)
	var conn net.Conn
	var entry string
	var err error
	switch {
	case way.direct || proxy == nil:
		conn, err = w.dial(ctx, address, result.BlameWeb, route{family: way.family})
	case way.family != "":
		return nil, scenarioFault("connect to %s: it is reached through a proxy %s, which chooses the address itself", address, theProxy)
	default:
		if entry, err = SettingsOf[Web](w.target).ProxyLogin.login(ctx, w); err == nil {
			conn, err = dialProxy(ctx, w, proxy, u, entry)
		}
	}
	if err != nil {
		return nil, err
	}
	c := &httpConn{key: way.keyFor(u), conn: conn, version: way.version, proxied: proxy != nil && !way.direct}
	if u.Scheme != "https" {
		c.entry = entry
	} else if err := c.handshake(ctx, w, u.Hostname(), address); err != nil {
		_ = conn.Close() // the handshake's error says what is wrong
		return nil, err
	}
	c.in.r = c.conn
	c.r = bufio.NewReader(&c.in)
	return c, nil
}

// handshake puts TLS on the connection and, when the server chose HTTP/2, that on top. World.Handshake would not offer it.
func (c *httpConn) handshake(ctx context.Context, w *World, host, address string) error {
	config, err := w.TLSConfig(host)
	if err != nil {
		return err
	}
	config.NextProtos = map[string][]string{"": {"h2", "http/1.1"}, "1.1": {"http/1.1"}, "2": {"h2"}}[c.version]
	c.login = &certificateLogin{host: host, own: SettingsOf[ClientCertificates](w.target).For(host)}
	config.GetClientCertificate = c.login.answer
	client := tls.Client(&lingering{Conn: c.conn, login: c.login}, config)
	if err := w.Timed("tls", func() (string, error) { return "", client.HandshakeContext(ctx) }); err != nil {
		if isAlert(err) && c.version != "" && strings.Contains(err.Error(), "no application protocol") {
			return Fail(result.ReasonProtocol, result.BlameWeb, "TLS handshake with %s: the server does not speak HTTP/%s", host, c.version)
		}
		return failHandshake(ctx, c.login.explain(ctx, err, "TLS handshake with "+host), result.BlameWeb, config)
	}
	c.conn = client
	if shown := c.login.shown; shown != nil {
		w.Measure("tls_client_certificate_not_after_timestamp_seconds", "When the certificate that we logged in with ends, in Unix time.", float64(shown.NotAfter.Unix()))
	}
	state := client.ConnectionState()
	w.measureCertificate(state)
	switch {
	case c.version == "2" && state.NegotiatedProtocol != "h2":
		return Fail(result.ReasonProtocol, result.BlameWeb, "TLS handshake with %s: the server does not speak HTTP/2", host)
	case state.NegotiatedProtocol != "h2":
		return nil
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: headerLimit,
		DialTLSContext:         func(context.Context, string, string) (net.Conn, error) { return client, nil },
	}
	if c.h2, err = transport.NewClientConn(ctx, "https", address); err != nil {
		return FailNet(ctx, err, result.BlameWeb, "begin HTTP/2 with "+address)
	}
	return nil
}

func (c *httpConn) close() {
	if c.h2 != nil {
		_ = c.h2.Close() // an error would only say that it is closed already
	}
	_ = c.conn.Close()
}

// fits reports whether the connection may be used for a request.
func (c *httpConn) fits(method string) bool {
	if c.h2 != nil {
		return c.h2.Err() == nil && c.h2.Available() > 0
	}
	idle := time.Since(c.idle)
	return c.r.Buffered() == 0 && (idle < idleForUnsafe || safeMethod(method) && idle < idleForSafe)
}

func safeMethod(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// reply is the response to one request, with its body read and decompressed.
type reply struct {
	*http.Response
	body    []byte
	onWire  int64  // bytes of the body as transferred
	broken  error  // why the body is incomplete, or nil
	reuse   bool   // the connection can take another request
	remote  string // "address:port" of the server
	login   *certificateLogin
	proxied bool // the remote address is a proxy's, not the server's
}

// intake sets what happens to response bodies. Sizes are counted after decompression.
type intake struct {
	limit int64 // bytes to keep in memory, or to write to save

	// save, if not nil, returns the writer for a body that is not kept in memory. A nil writer keeps it.
	save func(*http.Response) io.Writer
}

// exchange sends a request, reads the response, and reports the phases processing (request written to first byte of the
// response) and transfer (first byte to end of the body).
func (c *httpConn) exchange(ctx context.Context, w *World, request *http.Request, in intake) (*reply, error) {
	if c.h2 != nil {
		return c.exchangeHTTP2(ctx, w, request, in)
	}
	line := lifeline.Bind(ctx, c.conn)
	defer line.Release()
	c.in.left = headerLimit
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
				_ = c.conn.SetDeadline(time.Unix(1, 0))
				<-late
			}()
		}
	}
	if err != nil {
		w.Phase("processing", first.Sub(sent.at), "")
		if c.used && ctx.Err() == nil && c.r.Buffered() == 0 {
			return nil, errStale
		}
		if sent.err != nil {
			err = sent.err
		}
		return nil, err
	}
	response, err := c.readHeader(request) //nolint:bodyclose // reply.read closes it
	if err != nil {
		w.Phase("processing", first.Sub(sent.at), "")
		return nil, err
	}
	w.Phase("processing", first.Sub(sent.at), response.Status)
	c.in.left = -1
	answer := &reply{Response: response}
	answer.read(in)
	w.Phase("transfer", time.Since(first), "")
	answer.reuse = answer.broken == nil && sent.err == nil && !unread && !response.Close
	c.used, c.idle = true, time.Now()
	if !line.Release() {
		answer.reuse = false // the deadline is over
	}
	return answer, nil
}

// sending is when a request was written and the error of writing it.
type sending struct {
	at  time.Time
	err error
}

func (c *httpConn) send(request *http.Request) sending {
	out := bufio.NewWriterSize(c.conn, 1024)
	write := request.Write
	if c.proxied && request.URL.Scheme != "https" {
		write = request.WriteProxy
	}
	err := write(out)
	if err == nil {
		err = out.Flush()
	}
	return sending{time.Now(), err}
}

// readHeader reads up to the header of the final response; interim ones (RFC 9110 §15.2) do not describe the page.
func (c *httpConn) readHeader(request *http.Request) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(c.r, request)
		switch {
		case err != nil && c.in.err != nil:
			return nil, c.in.err // net/http reports a truncated header as malformed
		case err != nil:
			return nil, err
		case response.StatusCode < 100:
			return nil, fmt.Errorf("malformed HTTP status %q", response.Status)
		case response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols:
			return response, nil
		}
	}
}

// exchangeHTTP2 is exchange over HTTP/2.
func (c *httpConn) exchangeHTTP2(ctx context.Context, w *World, request *http.Request, in intake) (*reply, error) {
	start := time.Now()
	var wrote, first atomic.Int64 // since start; net/http calls the trace from its own goroutines
	request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { wrote.Store(int64(time.Since(start))) },
		GotFirstResponseByte: func() { first.Store(int64(time.Since(start))) },
	}))
	response, err := c.h2.RoundTrip(request) //nolint:bodyclose // reply.read closes it
	if err != nil {
		w.Phase("processing", time.Since(start)-time.Duration(wrote.Load()), "")
		if c.used && ctx.Err() == nil && c.h2.Err() != nil {
			return nil, errStale
		}
		return nil, err
	}
	began := time.Duration(first.Load())
	w.Phase("processing", max(0, began-time.Duration(wrote.Load())), response.Status)
	answer := &reply{Response: response}
	answer.read(in)
	w.Phase("transfer", time.Since(start)-began, "")
	answer.reuse = answer.broken == nil
	c.used = true
	c.login.passed.Store(true)
	return answer, nil
}

// The possible faults of a body. Network errors are wrapped with them.
var (
	errBodyTooLarge = errors.New("the body is larger than the cap")
	errEncoding     = errors.New("the body cannot be decompressed")
)

// read reads the body, decompressed, up to the intake's limit. The bytes received stay in body even after an error.
func (r *reply) read(in intake) {
	limit := in.limit
	defer r.Body.Close()
	if r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}
	wire := &countingReader{r: r.Body}
	plain := io.Reader(wire)
	size := r.ContentLength
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		unzip, err := gzip.NewReader(wire)
		if errors.Is(err, io.EOF) && wire.n == 0 {
			return // an empty body is not compressed, as in the response to HEAD
		}
		if err != nil {
			r.onWire, r.broken = wire.n, encodingError(err)
			return
		}
		plain, size = unzip, 4*size
	default:
		r.broken = fmt.Errorf("%w: its Content-Encoding is %q, but gzip was requested", errEncoding, encoding)
		return
	}
	if in.save != nil {
		if to := in.save(r.Response); to != nil {
			n, err := io.Copy(to, io.LimitReader(plain, limit+1))
			if r.onWire = wire.n; n > limit {
				err = errBodyTooLarge
			}
			r.broken = encodingError(err)
			return
		}
	}
	// One byte more than the body, so that the last Read finds the end without growing the buffer.
	r.body = make([]byte, 0, min(max(size, 2047), limit, 1<<20)+1)
	var err error
	for err == nil {
		if int64(len(r.body)) > limit {
			r.body, err = r.body[:limit], errBodyTooLarge
			break
		}
		if len(r.body) == cap(r.body) {
			r.body = append(r.body, 0)[:len(r.body)]
		}
		var n int
		n, err = plain.Read(r.body[len(r.body):cap(r.body)])
		r.body = r.body[:len(r.body)+n]
	}
	r.onWire = wire.n
	if int64(len(r.body)) > limit {
		r.body, err = r.body[:limit], errBodyTooLarge
	}
	if !errors.Is(err, io.EOF) {
		r.broken = encodingError(err)
	}
}

// encodingError distinguishes invalid gzip data, which the application sent, from an error of the network.
func encodingError(err error) error {
	var corrupt flate.CorruptInputError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt) {
		return fmt.Errorf("%w: %w", errEncoding, err)
	}
	return err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
