package stepstest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// WebFault is a fault of a Website.
type WebFault string

// The faults. Each holds for every request until SetBroken(Healthy).
const (
	Healthy         WebFault = ""
	Status500       WebFault = "status 500"
	RedirectLoop    WebFault = "redirect loop"
	EndlessBody     WebFault = "endless body"     // the page never ends, and arrives in small parts
	Silent          WebFault = "silent"           // the request is read and never answered
	ConnectionReset WebFault = "connection reset" // the connection is reset after the request was read
)

// WebsiteOptions configures a Website. The zero value is a site called www.demo.test with a new CA.
type WebsiteOptions struct {
	Name string        // host name; empty means "www.demo.test"
	CA   *CA           // signs the certificate; nil means a new one
	Cert *CertOptions  // nil means a valid certificate for the name
	Wait time.Duration // before each answer

	// The member who can log in; empty means "demo" and "open sesame".
	Username, Password string
}

// CertOptions describes a certificate that a visitor must not accept.
type CertOptions struct {
	Name    string // another name than the site's
	Expired bool
}

// Website is a small site on loopback, without faults until SetBroken: a home page, a contact page, and a login form
// with a members' page. Over plain HTTP the path /secure redirects to HTTPS; all other pages are on both.
type Website struct {
	HTTPAddr  string // "127.0.0.1:port", for Target.ConnectTo
	HTTPSAddr string
	CA        *CA

	options  WebsiteOptions
	servers  []*http.Server
	served   sync.WaitGroup
	requests atomic.Int64
	closing  chan struct{}

	mu       sync.Mutex
	fault    WebFault
	delay    time.Duration
	sessions map[string]bool
}

// NewWebsite starts a site on free ports of 127.0.0.1. Close ends it.
func NewWebsite(options WebsiteOptions) (*Website, error) {
	if options.Name == "" {
		options.Name = "www.demo.test"
	}
	if options.Username == "" {
		options.Username, options.Password = "demo", "open sesame"
	}
	if options.CA == nil {
		ca, err := NewCA("Demo Root CA")
		if err != nil {
			return nil, err
		}
		options.CA = ca
	}
	certificate, err := options.certificate()
	if err != nil {
		return nil, err
	}
	s := &Website{CA: options.CA, options: options, delay: options.Wait, sessions: map[string]bool{}, closing: make(chan struct{})}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the website: %w", err)
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the website: %w", err), plain.Close())
	}
	s.HTTPAddr, s.HTTPSAddr = plain.Addr().String(), secure.Addr().String()
	s.serve(plain, nil)
	s.serve(secure, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	return s, nil
}

func (o *WebsiteOptions) certificate() (tls.Certificate, error) {
	name := o.Name
	if o.Cert != nil && o.Cert.Name != "" {
		name = o.Cert.Name
	}
	if o.Cert != nil && o.Cert.Expired {
		return o.CA.IssueExpired(name)
	}
	return o.CA.Issue(name)
}

func (s *Website) serve(listener net.Listener, secure *tls.Config) {
	server := &http.Server{
		Handler:           s.handler(secure != nil),
		TLSConfig:         secure,
		ReadHeaderTimeout: 10 * time.Second,
		// Visitors who distrust the certificate are expected.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s.servers = append(s.servers, server)
	s.served.Go(func() {
		if secure != nil {
			_ = server.ServeTLS(listener, "", "") // ends with ErrServerClosed
			return
		}
		_ = server.Serve(listener)
	})
}

// ConnectTo maps the site's name and standard ports to its listeners, for Target.ConnectTo.
func (s *Website) ConnectTo() map[string]string {
	return map[string]string{s.options.Name + ":80": s.HTTPAddr, s.options.Name + ":443": s.HTTPSAddr}
}

// SetBroken sets the fault of the site from the next request on. Healthy removes it.
func (s *Website) SetBroken(fault WebFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// SetDelay makes the site wait before each answer.
func (s *Website) SetDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Requests returns the number of requests so far.
func (s *Website) Requests() int { return int(s.requests.Load()) }

// Close ends the site and all connections to it.
func (s *Website) Close() error {
	close(s.closing)
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	s.served.Wait()
	return errors.Join(errs...)
}

func (s *Website) handler(secure bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusOK, homePage()) })
	mux.HandleFunc("GET /contact", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusOK, contactPage()) })
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusOK, loginPage(false)) })
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) { s.logIn(w, r, secure) })
	mux.HandleFunc("GET /members", s.members)
	mux.HandleFunc("GET /secure", func(w http.ResponseWriter, r *http.Request) {
		if !secure {
			http.Redirect(w, r, "https://"+s.options.Name+"/secure", http.StatusMovedPermanently)
			return
		}
		show(w, http.StatusOK, securePage())
	})
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = io.WriteString(w, style) // the visitor may have left
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusNotFound, notFoundPage()) })
	return s.misbehave(mux)
}

// misbehave counts the request, waits, and applies the fault.
func (s *Website) misbehave(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.mu.Lock()
		fault, delay := s.fault, s.delay
		s.mu.Unlock()
		if delay > 0 && !s.wait(r.Context(), delay) {
			return
		}
		switch fault {
		case Status500:
			show(w, http.StatusInternalServerError, brokenPage())
		case RedirectLoop:
			to := "/there"
			if r.URL.Path == to {
				to = "/back"
			}
			http.Redirect(w, r, to, http.StatusFound)
		case EndlessBody:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			for s.wait(r.Context(), 10*time.Millisecond) {
				if _, err := io.WriteString(w, "<p>There is more to come.</p>\n"); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush() // the next write fails if this did
			}
		case Silent:
			s.wait(r.Context(), time.Hour)
		case ConnectionReset:
			reset(w)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// wait waits for d. It returns false when the visitor leaves or the site closes before.
func (s *Website) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.closing:
	}
	return false
}

// reset ends the connection so that the visitor gets an error. Over HTTP/2, where requests share a connection, it
// resets the stream.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	inner := conn
	if secure, ok := conn.(*tls.Conn); ok {
		inner = secure.NetConn()
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // otherwise the connection is closed normally
	}
	_ = inner.Close()
}

const cookieName = "session"

func (s *Website) logIn(w http.ResponseWriter, r *http.Request, secure bool) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if r.PostFormValue("username") != s.options.Username || r.PostFormValue("password") != s.options.Password {
		show(w, http.StatusOK, loginPage(true))
		return
	}
	session := rand.Text()
	s.mu.Lock()
	s.sessions[session] = true
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: session, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/members", http.StatusSeeOther)
}

func (s *Website) members(w http.ResponseWriter, r *http.Request) {
	known := slices.ContainsFunc(r.CookiesNamed(cookieName), func(c *http.Cookie) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.sessions[c.Value]
	})
	if !known {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	show(w, http.StatusOK, membersPage(s.options.Username))
}

func show(w http.ResponseWriter, status int, page string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, page) // the visitor may have left
}

const style = `:root { color-scheme: light dark; --ink: #1d2733; --paper: #fbfaf7; --line: #d9d4c7; --mark: #0b6e62; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e3da; --paper: #171a1e; --line: #353a41; --mark: #6cc9bb; } }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 17px/1.6 system-ui, sans-serif; }
header, main, footer { max-width: 42rem; margin: 0 auto; padding: 1.25rem 1.5rem; }
header { display: flex; gap: 1.5rem; align-items: baseline; border-bottom: 1px solid var(--line); }
header strong { margin-right: auto; }
a { color: var(--mark); }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 1.5rem 0 1rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); font-size: .85rem; opacity: .8; }
label { display: block; margin: 1rem 0 .25rem; }
input { width: 100%; max-width: 20rem; padding: .5rem .6rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 6px; }
button { margin-top: 1.25rem; padding: .55rem 1.4rem; font: inherit; color: var(--paper); background: var(--mark); border: 0; border-radius: 6px; cursor: pointer; }
code { padding: .1rem .35rem; border: 1px solid var(--line); border-radius: 4px; }
.error { padding: .6rem .9rem; border-left: 4px solid #c0392b; }
`

// page puts content, which is HTML, into the frame of all pages.
func page(title, content string) string {
	return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>` + title + `</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<header><strong>Demo&nbsp;Ltd.</strong><nav><a href="/">Home</a> <a href="/contact">Contact</a> <a href="/login">Log in</a></nav></header>
<main>
` + content + `
</main>
<footer>A small website that stepwatch brings along to be watched.</footer>
</body>
</html>
`
}

func homePage() string {
	return page("Demo Ltd.", `<h1>Welcome to Demo Ltd.</h1>
<p>We make very small websites. This one has a home page, a way to reach us and a corner for members.</p>
<p>Write to us: everything that you need is under <a href="/contact">How to reach us</a>.</p>`)
}

// contactPage contains a fingerprint with no-break spaces, which monitors may fail to match.
func contactPage() string {
	return page("Contact", `<h1>Contact us</h1>
<p>Mail reaches us at <code>hello@demo.test</code>.</p>
<p>Our key has the fingerprint <code>B50F&nbsp;BE3B&nbsp;409A</code>.</p>`)
}

func loginPage(failed bool) string {
	note := ""
	if failed {
		note = `<p class="error" role="alert">Wrong name or password.</p>
`
	}
	return page("Log in", `<h1>Log in</h1>
`+note+`<form action="/login" method="post">
<label for="username">User name</label><input id="username" name="username" autocomplete="username" required>
<label for="password">Password</label><input id="password" name="password" type="password" autocomplete="current-password" required>
<button name="action" value="login">Log in</button>
</form>`)
}

func membersPage(name string) string {
	return page("Members", `<h1>Hello `+html.EscapeString(name)+`</h1>
<p>You are logged in. This page is for members only.</p>`)
}

func securePage() string {
	return page("Secure", `<h1>A secure connection</h1>
<p>This page came over TLS, with a certificate of the site's own authority.</p>`)
}

func notFoundPage() string {
	return page("Not found", `<h1>Not found</h1>
<p>There is no such page here.</p>`)
}

func brokenPage() string {
	return page("Out of order", `<h1>Internal server error</h1>
<p class="error">Something broke, as it was told to.</p>`)
}
