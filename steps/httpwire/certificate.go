package httpwire

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/meter"
)

// Client certificates from stepwatch.yml, for web servers that ask for one (RFC 8446 section 4.3.2).

func init() { steps.RegisterSettings("tls.clients", func() steps.Block { return new(clientSettings) }) }

// clientSettings is that part of stepwatch.yml.
type clientSettings []oneClientSettings

type oneClientSettings struct {
	Hosts       []string `yaml:"hosts" doc:"that may see it: www.example.org, or *.example.org for all names with one label more"`
	Certificate string   `yaml:"certificate" doc:"path of its PEM file, followed by its intermediates"`
	Key         string   `yaml:"key" doc:"path of its key's; default: in the certificate's file"`
}

// Validate implements Block. It reads the files, to see that they can be used.
func (s *clientSettings) Validate(env *steps.Env) {
	var known ClientCertificates
	for i, client := range *s {
		setting := fmt.Sprintf("[%d]", i)
		if len(client.Hosts) == 0 || client.Certificate == "" {
			env.Refuse(setting, "needs hosts and certificate")
			continue
		}
		for _, host := range client.Hosts {
			if name := strings.TrimPrefix(host, "*."); name == "" || strings.ContainsAny(name, "*/: ") {
				env.Refuse(setting+".hosts", "%q is not a host name: write it as www.example.org or *.example.org", host)
			}
		}
		c := &ClientCertificate{Hosts: client.Hosts, Certificate: env.File(client.Certificate), Key: env.File(client.Key)}
		if _, err := c.load(); err != nil {
			env.Refuse(setting+".certificate", "%v", err)
		}
		known = append(known, c)
	}
	env.Target.Set(known)
}

// ClientCertificate is a certificate to log in with when a TLS server asks for one.
type ClientCertificate struct {
	Hosts       []string // that may get it; "*.example.org" matches all names with one more label
	Certificate string   // path of its PEM file, followed by intermediates
	Key         string   // path of its key; empty: the key is in the same file
}

// load reads the files in their current state.
func (c *ClientCertificate) load() (tls.Certificate, error) {
	loaded, err := tls.LoadX509KeyPair(c.Certificate, cmp.Or(c.Key, c.Certificate))
	if err == nil && loaded.Leaf == nil {
		loaded.Leaf, err = x509.ParseCertificate(loaded.Certificate[0])
	}
	return loaded, err
}

// ClientCertificates are shown to web servers that ask for one. The first for a host counts.
type ClientCertificates []*ClientCertificate

// For returns the certificate for a host, or nil.
func (all ClientCertificates) For(host string) *ClientCertificate {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	for _, c := range all {
		for _, pattern := range c.Hosts {
			if pattern = strings.ToLower(pattern); pattern == host || parent != "" && pattern == "*."+parent {
				return c
			}
		}
	}
	return nil
}

// certificateLogin is how a connection responds to a server that asks for a client certificate, and the result.
type certificateLogin struct {
	host  string
	own   *ClientCertificate // nil when there is none for the host
	Asked bool
	Shown *x509.Certificate
	unfit bool // it was not issued by an authority that the server names
	err   error

	passed atomic.Bool // a response was received
}

func (l *certificateLogin) answer(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	l.Asked = true
	if l.own == nil {
		return &tls.Certificate{}, nil
	}
	loaded, err := l.own.load()
	if err != nil {
		l.err = steps.Fail(result.ReasonConfig, result.BlameScenario, "read the client certificate for %q (tls.clients in stepwatch.yml): %w", l.host, err)
		return nil, l.err
	}
	l.Shown, l.unfit = loaded.Leaf, asked.SupportsCertificate(&loaded) != nil
	return &loaded, nil
}

// Told describes the login, and reports whether our certificate is at fault.
func (l *certificateLogin) Told() (what string, ours bool) {
	if l.Shown == nil {
		return fmt.Sprintf("it asks for a client certificate, and tls.clients in stepwatch.yml has none for %s", l.host), false
	}
	const date = "2006-01-02 15:04 MST"
	what = fmt.Sprintf("it got the client certificate %q (%s)", l.Shown.Subject.CommonName, l.own.Certificate)
	switch now := time.Now(); {
	case now.After(l.Shown.NotAfter):
		return fmt.Sprintf("%s, which expired on %s", what, l.Shown.NotAfter.UTC().Format(date)), true
	case now.Before(l.Shown.NotBefore):
		return fmt.Sprintf("%s, which is not valid before %s", what, l.Shown.NotBefore.UTC().Format(date)), true
	case l.unfit:
		return fmt.Sprintf("%s, whose issuer %q is not one of the authorities that it names", what, l.Shown.Issuer.CommonName), true
	}
	return fmt.Sprintf("%s, issued by %q and valid until %s", what, l.Shown.Issuer.CommonName, l.Shown.NotAfter.UTC().Format(date)), false
}

// Blame says whose fault a refused certificate is.
func (l *certificateLogin) Blame(ours bool) result.Blame {
	if ours {
		return result.BlameScenario
	}
	return result.BlameWeb
}

// explain returns the failure of an exchange that ended because of the login, or err unchanged. With TLS 1.3 the server
// verifies a client certificate only after the client has finished the handshake.
func (l *certificateLogin) explain(ctx context.Context, err error, act string) error {
	if l == nil || !l.Asked || err == nil || ctx.Err() != nil {
		return err
	}
	if l.err != nil {
		return l.err
	}
	var remote *net.OpError
	refused := errors.As(err, &remote) && isAlert(err) // RFC 8446 section 6
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	told, ours := l.Told()
	switch {
	case refused:
		return steps.Fail(result.ReasonAuth, l.Blame(ours), "%s: the server refused the TLS connection (%s): %s", act, strings.TrimPrefix(remote.Err.Error(), "tls: "), told)
	case ended && (ours || l.Shown == nil):
		return steps.Fail(result.ReasonAuth, l.Blame(ours), "%s: the server closed the connection: %s", act, told)
	}
	return err
}

// alertWait is how long to wait for the alert that a server sends before it closes a connection, after the close was
// detected.
const alertWait = 200 * time.Millisecond

// Refusal returns the error of an exchange. A server that rejects the client certificate sends an alert and closes the
// connection, and a write may detect the close first.
func (c *Conn) Refusal(ctx context.Context, err error, act string) error {
	if c.Login == nil || !c.Login.Asked || c.used {
		return err
	}
	if secure, ok := c.Conn.(*tls.Conn); ok && !isAlert(err) && ctx.Err() == nil {
		if alert := lastWord(secure); isAlert(alert) {
			err = alert
		}
	}
	return c.Login.explain(ctx, err, act)
}

func isAlert(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
}

// lastWord returns the error that ends reading.
func lastWord(conn *tls.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(alertWait)) // Read also reports a closed connection
	_, err := io.Copy(io.Discard, io.LimitReader(conn, 1<<16))
	return err
}

// lingering is the connection below TLS for HTTP/2, which net/http closes as soon as a write fails. It keeps the data
// that the server sent before, for lastWord.
type lingering struct {
	*meter.Conn
	login *certificateLogin

	acknowledged atomic.Int64 // short frames that were written

	mu   sync.Mutex // of readers
	left []byte     // data received before the connection was closed
	shut bool
}

func (l *lingering) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shut {
		return l.Conn.Read(b)
	}
	n := copy(b, l.left)
	if l.left = l.left[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// shortWrite is the size of a write that says nothing of our own, in bytes: the acknowledgement of SETTINGS or PING, or a
// WINDOW_UPDATE, in a record of TLS.
const shortWrite = 64

// Write counts what the server makes us say: net/http acknowledges every SETTINGS and PING at once, which costs more than
// reading it.
func (l *lingering) Write(p []byte) (int, error) {
	if len(p) < shortWrite {
		if n := l.acknowledged.Add(1) - l.Received()/1000; n > answersLimit.Most {
			return 0, l.Fail(answersLimit.Exceeded())
		}
	}
	return l.Conn.Write(p)
}

// Close closes the connection.
func (l *lingering) Close() error {
	if l.login.Asked && !l.login.passed.Load() {
		_ = l.SetReadDeadline(time.Now().Add(alertWait)) // this also ends the wait of a reader
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.shut {
			l.left, _ = io.ReadAll(io.LimitReader(l.Conn, 1<<16))
			l.shut = true
		}
	}
	return l.Conn.Close()
}
