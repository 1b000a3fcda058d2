// Package apiclient asks a running agent over its HTTP API: where it is, how to log in, and what went wrong in words. It
// knows no resource of the API: callers name paths and give values to decode JSON into.
//
// A password comes from a file, never from an argument or an address. Redirects are not followed, because a login would go
// to another server with them.
package apiclient

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// DefaultURL is the address of an agent on this machine whose configuration does not set listen.
const DefaultURL = "http://127.0.0.1:9469"

// Options say which agent is asked, and how.
type Options struct {
	URL          string        // "https://monitor.example.org:9469", also with a path before /api; default: DefaultURL
	User         string        // for the login (RFC 7617); needs PasswordFile
	PasswordFile string        // its content without one trailing line break
	Netrc        string        // instead of both: a file in the format of netrc, with a line for the host
	CA           string        // a file of certificate authorities in PEM, trusted instead of those of the machine
	Certificate  string        // a file with the client certificate in PEM, for an agent that asks for one
	Key          string        // its key; default: in the same file
	Timeout      time.Duration // of one request and its answer; default: ten seconds
	Limit        int64         // bytes of an answer; default: 64 MB
}

// Client asks one agent. Its methods may be called from any goroutine.
type Client struct {
	base           *url.URL
	user, password string
	http           *http.Client
	limit          int64
}

// The defaults of Options.
const (
	defaultTimeout = 10 * time.Second
	defaultLimit   = 64 << 20
)

// New checks the options and reads the files that they name. It does not connect.
func New(o Options) (*Client, error) {
	if o.URL == "" {
		o.URL = DefaultURL
	}
	base, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	c := &Client{base: base, user: o.User, limit: o.Limit, http: &http.Client{Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if c.limit <= 0 {
		c.limit = defaultLimit
	}
	if c.http.Timeout <= 0 {
		c.http.Timeout = defaultTimeout
	}
	if err := c.login(o); err != nil {
		return nil, err
	}
	if c.user != "" && base.Scheme == "http" && !loopback(base.Hostname()) {
		return nil, fmt.Errorf("the password of %q would go to %s in clear text: use https:// with the agent's --web.config.file, or a tunnel to its loopback address", c.user, base)
	}
	settings, err := o.tls()
	if err != nil {
		return nil, err
	}
	c.http.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: settings, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{}).DialContext, TLSHandshakeTimeout: c.http.Timeout, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: 30 * time.Second}
	return c, nil
}

// URL returns the address of the agent.
func (c *Client) URL() string { return c.base.String() }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func parseURL(text string) (*url.URL, error) {
	const remedy = "write it as http://127.0.0.1:9469 or https://monitor.example.org:9469"
	u, err := url.Parse(text)
	switch {
	case err != nil && strings.Contains(text, "@"), err == nil && u.User != nil:
		return nil, errors.New("the address of the agent contains a login, which every user of this machine can see: leave it out, and use --user and --password-file")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("%q is not the address of an agent: %s", text, remedy)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the address of the agent, %q, ends with a query or fragment: leave out what follows the path", text)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// login reads the user and the password.
func (c *Client) login(o Options) error {
	switch {
	case o.Netrc != "" && (o.User != "" || o.PasswordFile != ""):
		return errors.New("--netrc and --user are two logins: use one of them")
	case o.Netrc != "":
		return c.netrc(o.Netrc)
	case o.User != "" && o.PasswordFile == "":
		return fmt.Errorf("--user %s has no password: name a file with it (--password-file)", o.User)
	case o.User == "" && o.PasswordFile != "":
		return errors.New("--password-file needs --user")
	case o.User == "":
		return nil
	case strings.Contains(o.User, ":"):
		return fmt.Errorf("--user %q: the name of a login has no colon (RFC 7617, section 2)", o.User)
	}
	text, err := readFile(o.PasswordFile, "the password")
	if err != nil {
		return err
	}
	c.password = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if c.password == "" {
		return fmt.Errorf("%s has no password: it is empty", o.PasswordFile)
	}
	return nil
}

// netrc takes the login of the agent's host from a file. What it does not need there it skips.
func (c *Client) netrc(path string) error {
	text, err := readFile(path, "the login")
	if err != nil {
		return err
	}
	words := bufio.NewScanner(bytes.NewReader(text))
	words.Split(bufio.ScanWords)
	words.Buffer(nil, fileMost)
	found, here := false, false
	next := func() string { words.Scan(); return words.Text() }
	for words.Scan() && !(found && here && c.user != "" && c.password != "") {
		switch words.Text() {
		case "machine":
			here = !found && next() == c.base.Hostname()
			found = found || here
		case "default":
			here, found = !found, true
		case "login":
			if name := next(); here {
				c.user = name
			}
		case "password":
			if password := next(); here {
				c.password = password
			}
		case "account", "macdef":
			next()
		}
	}
	switch {
	case !found:
		return fmt.Errorf("%s has no login for %s: add \"machine %s login NAME password PASSWORD\"", path, c.base.Hostname(), c.base.Hostname())
	case c.user == "" || c.password == "":
		return fmt.Errorf("%s has no login and password for %s: write \"machine %s login NAME password PASSWORD\"", path, c.base.Hostname(), c.base.Hostname())
	}
	return nil
}

// fileMost is how many bytes of a file of a login or of certificates are read.
const fileMost = 1 << 20

func readFile(path, what string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, fileMost+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", what, err)
	case len(text) > fileMost:
		return nil, fmt.Errorf("read %s: %s has more than 1 MB: is it the right file?", what, path)
	}
	return text, nil
}

// tls returns the settings of TLS, nil for the defaults.
func (o *Options) tls() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		pem, err := readFile(o.CA, "the certificate authorities")
		if err != nil {
			return nil, err
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in PEM", o.CA)
		}
	}
	if o.Certificate == "" {
		if o.Key != "" {
			return nil, errors.New("--key needs --cert")
		}
		return settings, nil
	}
	key := o.Key
	if key == "" {
		key = o.Certificate
	}
	pair, err := tls.LoadX509KeyPair(o.Certificate, key)
	if err != nil {
		return nil, fmt.Errorf("read the client certificate %s with the key %s: %w", o.Certificate, key, err)
	}
	settings.Certificates = []tls.Certificate{pair}
	return settings, nil
}

// Get asks for a path such as "/api/scenarios" and decodes the answer into a value.
func (c *Client) Get(ctx context.Context, path string, query url.Values, into any) error {
	return c.Do(ctx, http.MethodGet, path, query, nil, into)
}

// Post sends a value and decodes the answer into another one, unless that is nil.
func (c *Client) Post(ctx context.Context, path string, body, into any) error {
	return c.Do(ctx, http.MethodPost, path, nil, body, into)
}

// Do sends a request and decodes the answer. The path is below the agent's address. Its parts are escaped
// (url.PathEscape). A body that is nil is not sent, and an answer is not decoded into nil. Every error is an *Error.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body, into any) error {
	fail := &Error{Method: method, Path: path, URL: c.base.String(), User: c.user, loopback: loopback(c.base.Hostname())}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			fail.Err = fmt.Errorf("write the request: %w", err)
			return fail
		}
		content = bytes.NewReader(text)
	}
	address := c.base.String() + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		fail.Err = err
		return fail
	}
	request.Header.Set("Accept", "application/json, application/problem+json")
	request.Header.Set("User-Agent", "stepwatch")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.user != "" {
		request.SetBasicAuth(c.user, c.password)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // the address is in the message already
		}
		fail.Err, fail.timeout = err, c.http.Timeout
		return fail
	}
	defer func() { _ = response.Body.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(response.Body, c.limit+1))
	switch {
	case err != nil:
		fail.Err, fail.timeout = fmt.Errorf("read the answer: %w", err), c.http.Timeout
		return fail
	case int64(len(text)) > c.limit:
		fail.Err = fmt.Errorf("the answer has more than %d bytes", c.limit)
		return fail
	}
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")) // an invalid one is unlike any known one
	if response.StatusCode/100 != 2 {
		fail.Status = response.StatusCode
		fail.problem(media, text)
		return fail
	}
	if into == nil || response.StatusCode == http.StatusNoContent {
		return nil
	}
	if media != "application/json" {
		fail.Err = fmt.Errorf("the answer is %s and not JSON", orNothing(media))
		return fail
	}
	if err := json.Unmarshal(text, into); err != nil {
		fail.Err = fmt.Errorf("read the answer: %w", err)
		return fail
	}
	return nil
}

func orNothing(media string) string {
	if media == "" {
		return "of no stated type"
	}
	return media
}

// loopback reports whether a host is this machine, as far as its name says.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// Error says what was asked of which agent, what came of it, and what to do.
type Error struct {
	Method string
	Path   string
	URL    string // of the agent
	User   string // who was logged in; empty without a login
	Status int    // of HTTP; 0 if there was no answer
	Detail string // what the agent said, in one line; empty if it said nothing that can be read
	Err    error  // why there was no answer, or why it cannot be used; nil if the agent refused

	timeout  time.Duration
	loopback bool
}

// problem takes what the agent said (RFC 9457, section 3.1).
func (e *Error) problem(media string, text []byte) {
	var said struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if media == "application/problem+json" && json.Unmarshal(text, &said) == nil {
		e.Detail = said.Detail
		if e.Detail == "" {
			e.Detail = said.Title
		}
	} else if media == "text/plain" {
		e.Detail, _, _ = strings.Cut(string(text), "\n")
	}
	e.Detail = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, e.Detail), "?")
	if r := []rune(e.Detail); len(r) > detailMost {
		e.Detail = string(r[:detailMost]) + "…"
	}
}

// detailMost is how many characters of what a server says are shown.
const detailMost = 1000

// Error returns the act, what came of it, and a remedy.
func (e *Error) Error() string {
	said := ""
	if e.Detail != "" {
		said = ": " + e.Detail
	}
	switch {
	case e.Err != nil:
		return e.unanswered()
	case e.Status == http.StatusUnauthorized && e.User == "":
		return fmt.Sprintf("the agent at %s wants a login: use --user NAME --password-file FILE, or --netrc FILE", e.URL)
	case e.Status == http.StatusUnauthorized:
		return fmt.Sprintf("the agent at %s refuses the login of %q%s: compare the name and the password with basic_auth_users in its web configuration file", e.URL, e.User, said)
	case e.Status == http.StatusForbidden && e.User == "" && !e.loopback:
		return fmt.Sprintf("the agent at %s refuses %s %s (403)%s: use a login (--user NAME --password-file FILE), or ask it on its own machine at its loopback address", e.URL, e.Method, e.Path, said)
	case e.Status/100 == 3:
		return fmt.Sprintf("%s answers %s %s with a redirect (%d), which is not followed: name the agent's own address with --agent", e.URL, e.Method, e.Path, e.Status)
	case e.Detail == "" && e.Status == http.StatusNotFound:
		return fmt.Sprintf("%s has no %s (404): either no stepwatch agent listens there, or one of another version", e.URL, e.Path)
	case e.Detail == "" && e.Status == http.StatusBadRequest && strings.HasPrefix(e.URL, "http:"):
		return fmt.Sprintf("%s answers %s %s with status 400: if the agent speaks TLS, write https://", e.URL, e.Method, e.Path)
	case e.Detail == "":
		return fmt.Sprintf("%s answers %s %s with status %d (%s)", e.URL, e.Method, e.Path, e.Status, http.StatusText(e.Status))
	default:
		return fmt.Sprintf("%s (the answer %d of %s)", e.Detail, e.Status, e.URL)
	}
}

// unanswered words why there is no answer that can be used.
func (e *Error) unanswered() string {
	act := fmt.Sprintf("ask the agent at %s (%s %s)", e.URL, e.Method, e.Path)
	var (
		unknown *net.DNSError
		chain   x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		netErr  net.Error
		syntax  *json.SyntaxError
	)
	switch {
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return act + ": nothing listens there: start the agent, or name its address (listen in stepwatch.yml) with --agent URL"
	case errors.As(e.Err, &unknown) && unknown.IsNotFound:
		return act + ": the name does not exist in DNS: compare it with the agent's machine"
	case errors.As(e.Err, &chain):
		return act + ": no known authority has signed its certificate: name the file of the authority with --ca FILE"
	case errors.As(e.Err, &name):
		return act + ": its certificate is for another name: ask it by a name that the certificate has"
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired:
		return act + ": its certificate is not valid now: renew it, or set the clock of this machine"
	case strings.Contains(e.Err.Error(), "server gave HTTP response to HTTPS client"):
		return act + ": it speaks no TLS: write http://, or set --web.config.file of the agent"
	case errors.As(e.Err, &netErr) && netErr.Timeout(), errors.Is(e.Err, context.DeadlineExceeded):
		return fmt.Sprintf("%s: no answer within %s: the agent hangs, or a firewall drops the connection", act, e.timeout)
	case errors.As(e.Err, &syntax):
		return act + ": the answer is no JSON: is a stepwatch agent there?"
	}
	return fmt.Sprintf("%s: %v", act, e.Err)
}

// Unwrap returns why there was no answer.
func (e *Error) Unwrap() error { return e.Err }
