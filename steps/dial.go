package steps

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// Dial opens a TCP connection to "host:port" and reports the phases "dns" (only if it looked up a name) and "connect". It
// uses the target's resolver and ConnectTo. It tries several addresses in the resolver's order, each with an equal share of
// the remaining time. The error is that of the first. blame is the leg that the connection belongs to. The caller must
// close the connection when ctx ends.
func (w *World) Dial(ctx context.Context, address string, blame result.Blame) (net.Conn, error) {
	return w.dial(ctx, address, blame, route{})
}

// route restricts how a connection is made. The zero value allows everything.
type route struct {
	family         string // "ip4" or "ip6"; empty means both
	loopbackSource net.IP // source address of connections to 127.0.0.0/8; nil leaves it to the system
}

func (r route) dialer(to string) *net.Dialer {
	if ip, err := netip.ParseAddr(to); r.loopbackSource != nil && err == nil && ip.Is4() && ip.IsLoopback() {
		return &net.Dialer{KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: r.loopbackSource}}
	}
	return &dialer
}

// lookUp returns the addresses of host in the resolver's order.
func (r route) lookUp(ctx context.Context, resolver *net.Resolver, host string) ([]string, error) {
	if r.family == "" {
		return resolver.LookupHost(ctx, host)
	}
	ips, err := resolver.LookupNetIP(ctx, r.family, host)
	if missing := (*net.DNSError)(nil); errors.As(err, &missing) && missing.IsNotFound {
		missing.Err = "it has no IPv" + r.family[len("ip"):] + " address"
	}
	if unfit := (*net.AddrError)(nil); errors.As(err, &unfit) { // from the hosts file
		err = &net.DNSError{Name: host, Err: "it has no IPv" + r.family[len("ip"):] + " address", IsNotFound: true}
	}
	addresses := make([]string, len(ips))
	for i, ip := range ips {
		addresses[i] = ip.Unmap().String()
	}
	return addresses, err
}

func (w *World) dial(ctx context.Context, address string, blame result.Blame, r route) (net.Conn, error) {
	act := "connect to " + address
	if other, found := w.target.ConnectTo[address]; found {
		act += " (at " + other + ")"
		address = other
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, scenarioFault("%q is not a host and port: %w", address, err)
	}
	addresses := []string{host}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); r.family == "ip4" && !ip.Is4() || r.family == "ip6" && !ip.Is6() {
			return nil, scenarioFault("%s: %q is not an IPv%s address", act, host, r.family[len("ip"):])
		}
	} else {
		start := time.Now()
		addresses, err = r.lookUp(ctx, w.resolver(), host)
		w.Phase("dns", time.Since(start), "")
		if err != nil {
			return nil, FailNet(ctx, err, blame, act)
		}
	}
	start := time.Now()
	defer func() { w.Phase("connect", time.Since(start), "") }()
	var first error
	for i, a := range addresses {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok && i < len(addresses)-1 {
			attempt, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(addresses)-i))
		}
		conn, err := r.dialer(a).DialContext(attempt, "tcp", net.JoinHostPort(a, port))
		cancel()
		if err == nil {
			return conn, nil
		}
		first = errors.Join(first, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, FailNet(ctx, first, blame, act)
}

// dialer disables TCP keep-alive: no connection outlives the deadline of its scenario, and it costs four system calls.
var dialer = net.Dialer{KeepAlive: -1}

// resolver returns a resolver that asks the target's DNS server, in pure Go so that ctx ends a lookup at once. It is for
// connections, which go where other programs on this machine go: /etc/hosts and the machine's order of addresses apply.
// Steps about DNS itself use dnsClient.
func (w *World) resolver() *net.Resolver {
	if w.target.Resolver == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, w.target.Resolver)
	}}
}

// TLSConfig returns a configuration that verifies serverName against the target's roots. No setting disables this. Only
// mail from server to server accepts any certificate (see smtpClient.handshakeAny).
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
		return nil, failHandshake(ctx, err, blame, config)
	}
	w.measureCertificate(client.ConnectionState())
	return client, nil
}

func (w *World) measureCertificate(state tls.ConnectionState) {
	if len(state.PeerCertificates) == 0 {
		return
	}
	w.Measure("tls_certificate_not_after_timestamp_seconds", "Unix time of the end of the server's own certificate.",
		float64(state.PeerCertificates[0].NotAfter.Unix()))
}
