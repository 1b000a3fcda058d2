// Package httpserver serves the agent's pages and its API to whoever reaches the port: the few who may, and everybody else.
//
// It bounds what anybody can use (connections, time, memory, checks of passwords), so that the runs keep their descriptors
// and their processor. It reads the web configuration file of the Prometheus exporters (TLS, client certificates, logins),
// and it decides who may change anything. What the pages say is not its business.
//
// The format of that file, the certificates and the versions of TLS are those of github.com/prometheus/exporter-toolkit. Its
// server is not used, because it takes the file as it is at each request: a file that is being written, and so is empty, is
// one without a login. It also lets a flood of wrong passwords compute without pause.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"
)

// The bounds of the agent's HTTP server. Whoever reaches its port can use no more than this, so that the runs keep
// their file descriptors and their memory. docs/limits.md lists them.
const (
	ConnectionsMax  = 1024                   // open at once; at most a quarter of the process's descriptors
	requestsMax     = 1024                   // being answered at once; a connection of HTTP/2 has several
	pagesAtOnce     = 4                      // pages of one exporter that are written at once
	pagesHeld       = 16 << 20               // bytes of the pages that are being sent
	pageGather      = 100 * time.Millisecond // between two pages, while they are sent to more clients than that
	pageWait        = 5 * time.Second        // for one of them to end
	headerMax       = 16 << 10               // bytes of the header of a request
	bodyMax         = 64 << 10               // bytes of the body of a request
	readBurst       = 96 << 10               // bytes that a connection may send at once: a header, a body, and the TLS handshake
	readRate        = 8 << 10                // bytes a second that it may send after that
	readPauseMax    = time.Second            // for which a connection that sent more is not read
	headerTime      = 5 * time.Second        // to send the header, and for the TLS handshake
	requestTime     = 10 * time.Second       // to send the whole request
	responseTime    = 30 * time.Second       // to take the response
	idleTime        = 2 * time.Minute        // between two requests: above the usual scrape intervals
	acceptPauseMax  = time.Second            // between two attempts to accept a connection without a free descriptor
	descriptorShare = 4                      // the server uses one of so many descriptors at most
	streamsMax      = 16                     // requests at once on a connection of HTTP/2
	streamsBuffer   = 256 << 10              // bytes of bodies that such a connection may send ahead; the protocol's least is 64 KiB
	flowBuffer      = 64 << 10               // same, for one request
)

// Options says what a server serves.
type Options struct {
	Handler http.Handler // the pages and the API; whoever changes anything needs a login or is a local person

	// OwnSecret has handlers that check a secret of their own, by the prefix of their paths ("/ping/"): no login is asked for
	// there. Such requests never reach Handler.
	OwnSecret map[string]http.Handler

	Web         *WebConfig // nil: neither TLS nor a login
	ListenHost  string     // the host of the address to listen on, as configured: a name that local persons may use
	Connections int        // how many may be open at once (Connections)
	Profiles    bool       // serve /debug/pprof/ to whoever may change something
	Log         *slog.Logger
}

// Server is the HTTP server on one port.
type Server struct {
	http     *http.Server
	listener *boundedListener
	web      *WebConfig
}

// New returns a server for a port that is open.
func New(l net.Listener, o Options) *Server {
	b := &boundedListener{Listener: l, limit: o.Connections, log: o.Log}
	local := &localPersons{listenHost: o.ListenHost, login: o.Web.hasLogin}
	pages := o.Handler
	if o.Profiles {
		pages = profiles(pages, local)
	}
	inner := o.Web.protect(local.guard(pages))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for prefix, own := range o.OwnSecret {
			if strings.HasPrefix(r.URL.Path, prefix) {
				o.Web.limited(own).ServeHTTP(w, r)
				return
			}
		}
		inner.ServeHTTP(w, r)
	})
	s := &Server{listener: b, web: o.Web, http: &http.Server{
		Handler: serving(http.MaxBytesHandler(handler, bodyMax)), MaxHeaderBytes: headerMax,
		ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: responseTime, IdleTimeout: idleTime,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: streamsMax, MaxReceiveBufferPerConnection: streamsBuffer, MaxReceiveBufferPerStream: flowBuffer, WriteByteTimeout: requestTime},
		ConnContext: connContext,
		ErrorLog:    slog.NewLogLogger(&quietHandler{Handler: o.Log.Handler()}, slog.LevelWarn),
	}}
	if o.Web.TLS() {
		s.http.TLSConfig = o.Web.serverTLS()
		if !o.Web.http2() {
			s.http.TLSNextProto = make(map[string]func(*http.Server, *tls.Conn, http.Handler))
		}
	}
	return s
}

// Serve answers requests until the server is closed. It returns nil then.
func (s *Server) Serve() error {
	var err error
	if s.web.TLS() {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Address returns the host and port that the server listens on.
func (s *Server) Address() string { return s.listener.Addr().String() }

// URL returns the address of a page, for people.
func (s *Server) URL(path string) string {
	if s.web.TLS() {
		return "https://" + s.Address() + path
	}
	return "http://" + s.Address() + path
}

// Shutdown closes the port, lets the requests that are being answered end until ctx ends, and cuts those that are left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.listener.closeWaiting()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// Close closes the port and cuts every connection.
func (s *Server) Close() error { return s.http.Close() }

// profiles adds the pages of net/http/pprof, for whoever may change something: they tell what the program holds in memory,
// and use its processor.
func profiles(next http.Handler, local *localPersons) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	may := func(page http.HandlerFunc) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refused := local.refusal(r, "see the profiles of this program"); refused != "" {
				refuse(w, r, http.StatusForbidden, refused)
				return
			}
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a profile takes as long as was asked for
			page(w, r)
		})
	}
	mux.Handle("GET /debug/pprof/", may(pprof.Index))
	mux.Handle("GET /debug/pprof/cmdline", may(pprof.Cmdline))
	mux.Handle("GET /debug/pprof/profile", may(pprof.Profile))
	mux.Handle("GET /debug/pprof/symbol", may(pprof.Symbol))
	mux.Handle("GET /debug/pprof/trace", may(pprof.Trace))
	return mux
}
