package steps

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/certificate"
	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// Dial opens a TCP connection to "host:port" and reports the phases "dns" (only if it looked up a name) and "connect". It
// uses the target's resolver and ConnectTo. It tries several addresses in the resolver's order, each with an equal share of
// the remaining time. The error is that of the first. blame is the leg that the connection belongs to. The caller binds the
// connection to its context (package lifeline) and closes it; the run closes it at the latest when it ends or is abandoned.
func (w *World) Dial(ctx context.Context, address string, blame result.Blame) (net.Conn, error) {
	return w.DialRoute(ctx, address, blame, Route{})
}

// Route restricts how a connection is made. The zero value allows everything.
type Route struct {
	Family         string // "ip4" or "ip6"; empty means both
	LoopbackSource net.IP // source address of connections to 127.0.0.0/8; nil leaves it to the system
	For            string // the "host:port" that the connection is for, if it goes to a proxy
}

func (r Route) dialer(to netip.Addr) *net.Dialer {
	if r.LoopbackSource != nil && to.Is4() && to.IsLoopback() {
		return &net.Dialer{KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: r.LoopbackSource}}
	}
	return &Dialer
}

// LookUp returns the addresses of host in the resolver's order.
func (r Route) LookUp(ctx context.Context, resolver *net.Resolver, host string) ([]string, error) {
	if r.Family == "" {
		return resolver.LookupHost(ctx, host)
	}
	ips, err := resolver.LookupNetIP(ctx, r.Family, host)
	if missing := (*net.DNSError)(nil); errors.As(err, &missing) && missing.IsNotFound {
		missing.Err = "it has no IPv" + r.Family[len("ip"):] + " address"
	}
	if unfit := (*net.AddrError)(nil); errors.As(err, &unfit) { // from the hosts file
		err = &net.DNSError{Name: host, Err: "it has no IPv" + r.Family[len("ip"):] + " address", IsNotFound: true}
	}
	addresses := make([]string, len(ips))
	for i, ip := range ips {
		addresses[i] = ip.Unmap().String()
	}
	return addresses, err
}

// DialRoute is Dial along a route.
func (w *World) DialRoute(ctx context.Context, address string, blame result.Blame, r Route) (net.Conn, error) {
	w.connections.Reach(cmp.Or(r.For, address))
	to := address
	if other, found := w.target.ConnectTo[address]; found {
		to = other
	}
	act := func() string {
		if to != address {
			return "connect to " + address + " (at " + to + ")"
		}
		return "connect to " + address
	}
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		return nil, FailScenario("%q is not a host and port: %w", to, err)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if plain := ip.Unmap(); r.Family == "ip4" && !plain.Is4() || r.Family == "ip6" && !plain.Is6() {
			return nil, FailScenario("%s: %q is not an IPv%s address", act(), host, r.Family[len("ip"):])
		}
		w.SendsTo([]string{host})
		start := time.Now()
		conn, err := r.dialer(ip).DialContext(lifeline.Undated(ctx), "tcp", to)
		w.Phase("connect", time.Since(start), "")
		if err != nil {
			return nil, FailNet(ctx, err, blame, act())
		}
		w.connections.Hold(conn)
		return conn, nil
	}
	start := time.Now()
	addresses, err := r.LookUp(ctx, w.Resolver(), host)
	w.Phase("dns", time.Since(start), "")
	if err != nil {
		return nil, FailNet(ctx, err, blame, act())
	}
	w.SendsTo(addresses)
	start = time.Now()
	defer func() { w.Phase("connect", time.Since(start), "") }()
	var first error
	for i, a := range addresses {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok && i < len(addresses)-1 {
			attempt, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(addresses)-i))
		}
		ip, _ := netip.ParseAddr(a) // what is none has no route of its own
		conn, err := r.dialer(ip).DialContext(attempt, "tcp", net.JoinHostPort(a, port))
		cancel()
		if err == nil {
			w.connections.Hold(conn)
			return conn, nil
		}
		first = errors.Join(first, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, FailNet(ctx, first, blame, act())
}

// Dialer disables TCP keep-alive: no connection outlives the deadline of its scenario, and it costs four system calls.
var Dialer = net.Dialer{KeepAlive: -1}

// Resolver returns a resolver that asks the target's DNS server, in pure Go so that ctx ends a lookup at once. It is for
// connections, which go where other programs on this machine go: /etc/hosts and the machine's order of addresses apply.
// Steps about DNS itself use package lookup.
func (w *World) Resolver() *net.Resolver {
	if w.target.Resolver == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, w.target.Resolver)
	}}
}

// TLSConfig returns a configuration that verifies serverName against the target's roots. No setting disables this. Only
// mail from server to server accepts any certificate (package mail).
func (w *World) TLSConfig(serverName string) (*tls.Config, error) {
	config := &tls.Config{ServerName: serverName, MinVersion: tls.VersionTLS12}
	if w.target.Roots != nil {
		roots, err := w.target.Roots()
		if err != nil {
			return nil, Fail(result.ReasonConfig, result.BlameScenario, "read the roots under tls.ca in stepwatch.yml: %w", err)
		}
		config.RootCAs = roots
	}
	return config, nil
}

// Handshake does a TLS handshake as the client of serverName and reports the phase "tls" and the end of the certificate. On
// failure it closes conn.
func (w *World) Handshake(ctx context.Context, conn net.Conn, serverName string, blame result.Blame) (*tls.Conn, error) {
	config, err := w.TLSConfig(serverName)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	client := tls.Client(conn, config)
	err = w.Timed("tls", func() (string, error) { return "", client.HandshakeContext(ctx) })
	if err != nil {
		_ = conn.Close() // the handshake's error says what is wrong
		return nil, FailHandshake(ctx, err, blame, config)
	}
	w.MeasureCertificate(serverName, client.ConnectionState())
	return client, nil
}

// MeasureCertificate measures when host's own certificate ends.
func (w *World) MeasureCertificate(host string, state tls.ConnectionState) {
	if len(state.PeerCertificates) > 0 {
		w.MeasureExpiry(host, state.PeerCertificates[0].NotAfter)
	}
}

// MeasureExpiry measures when host's own certificate ends. The host is a label: a step may reach several, and whoever must
// renew a certificate asks for its name first.
func (w *World) MeasureExpiry(host string, at time.Time) {
	w.Measure("tls_certificate_not_after_timestamp_seconds", "Unix time of the end of the server's own certificate.",
		float64(at.Unix()), result.Label{Name: "host", Value: host})
}

// Pause waits for d. It returns the error of ctx when that ends first.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Families maps the names of address families in sentences to networks.
var Families = map[string]string{"IPv4": "ip4", "IPv6": "ip6"}

// ServerAddress splits "mail.example.org:587" into host and port. For "alice:587" it returns the server of account
// alice, and for "mx1:25" the address of host mx1.
func (w *World) ServerAddress(text string) (host string, port int, err error) {
	host, number, splitErr := net.SplitHostPort(text)
	port, err = strconv.Atoi(number)
	if splitErr != nil || err != nil || host == "" || port < 1 || port > 65535 {
		return "", 0, FailScenario("%q is not a host and port: write it as \"mail.example.org:25\"", text)
	}
	if account, found := w.target.Accounts[host]; found {
		host, err = account.Require("smtp", account.SMTP)
		return host, port, err
	}
	return w.target.AddressOf(host), port, nil
}

// FailHandshake returns a Failure for the error of a handshake with config. crypto/tls reports only the first fault of
// a certificate; FailHandshake reports all of them.
func FailHandshake(ctx context.Context, err error, blame result.Blame, config *tls.Config) error {
	act := "TLS handshake with " + config.ServerName
	unverified := (*tls.CertificateVerificationError)(nil)
	if !errors.As(err, &unverified) {
		return FailNet(ctx, err, blame, act)
	}
	judge := &certificate.Judge{Now: time.Now(), Roots: config.RootCAs} // without downloads of other certificates
	faults := judge.Faults(ctx, unverified.UnverifiedCertificates, config.ServerName, 0)
	if len(faults) < 2 {
		return FailNet(ctx, err, blame, act)
	}
	reason, told := certificate.Describe(faults)
	return &Failure{Reason: reason, Blame: blame, Err: &NetFailure{act: act, Detail: "its certificate " + told, err: err}}
}
