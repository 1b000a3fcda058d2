package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

const anyTLSDoes = " Uses STARTTLS when the server offers it, with any certificate, as mail servers do among themselves (RFC 3207, RFC 7435). An invalid certificate is reported and measured " +
	"but is not a failure, unless the table has REQUIRETLS. A failed handshake fails the step."

const anyTLSMeasures = " Measures smtp_tls (1 if TLS was used, otherwise 0) and, with TLS, smtp_tls_verified (1 if the certificate is valid, otherwise 0; phase tls says why)."

// startTLS does the handshake. The certificate must be valid unless the connection accepts any.
func (c *SMTPClient) startTLS(ctx context.Context) error {
	handshake := c.World.Handshake
	if c.AnyTLS && !c.wishes.requireTLS { // RFC 8689 section 4.2.1 requires a valid one
		handshake = c.handshakeAny
	}
	c.flaw = ""
	conn, err := handshake(ctx, c.Conn, c.Host, c.Blame)
	if err != nil {
		c.Conn = nil // closed, so QUIT is impossible
		return err
	}
	c.secure = true
	c.version = tls.VersionName(conn.ConnectionState().Version)
	c.use(conn)
	return nil
}

// handshakeAny is World.Handshake for a client that accepts any certificate, because the alternative is to send without
// TLS. What is wrong with the certificate is kept as the connection's flaw.
func (c *SMTPClient) handshakeAny(ctx context.Context, conn net.Conn, serverName string, blame result.Blame) (*tls.Conn, error) {
	config, err := c.World.TLSConfig(serverName)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	config.InsecureSkipVerify = true //nolint:gosec // the alternative is clear text, and nothing secret is sent
	client := tls.Client(conn, config)
	err = c.World.Timed("tls", func() (string, error) {
		if err := client.HandshakeContext(ctx); err != nil {
			return "", err
		}
		if err := verify(client.ConnectionState(), config); err != nil {
			worded := &steps.NetFailure{Detail: err.Error()}
			errors.As(steps.FailHandshake(ctx, err, blame, config), &worded)
			c.flaw = "certificate not verified: " + worded.Detail
		}
		return c.flaw, nil
	})
	if err != nil {
		_ = conn.Close() // the handshake's error says what is wrong
		return nil, steps.FailNet(ctx, err, blame, "TLS handshake with "+serverName)
	}
	c.World.MeasureCertificate(serverName, client.ConnectionState())
	return client, nil
}

// verify checks afterwards what a handshake with config checks unless config disables it.
func verify(state tls.ConnectionState, config *tls.Config) error {
	options := x509.VerifyOptions{Roots: config.RootCAs, DNSName: config.ServerName, Intermediates: x509.NewCertPool()}
	for _, certificate := range state.PeerCertificates[1:] { // a TLS server sends at least one
		options.Intermediates.AddCert(certificate)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// reportTLS reports the protection of a message that need not be protected.
func (c *SMTPClient) reportTLS() {
	if !c.tellTLS || c.Host == "" {
		return
	}
	used, verified := 0.0, 0.0
	c.protection = "unencrypted"
	if c.secure {
		used, c.protection = 1, c.version+", "+c.flaw
		if c.flaw == "" {
			verified, c.protection = 1, c.version+", certificate verified"
		}
		c.World.Measure("smtp_tls_verified", "1 if the server's certificate is valid for its name, otherwise 0.", verified)
	}
	c.World.Measure("smtp_tls", "1 if the message was sent to the server inside TLS, otherwise 0.", used)
}

// Upgrade does STARTTLS (RFC 3207) if the port requires it or the server offers it.
func (c *SMTPClient) Upgrade(ctx context.Context) error {
	if c.secure || c.Host == "" { // a socket of this machine has no name for a certificate
		return nil
	}
	if _, offered := c.offers["STARTTLS"]; !offered {
		if !c.MustTLS {
			return nil
		}
		return steps.Fail(result.ReasonTLS, c.Blame, "%s does not offer STARTTLS: nothing was sent, because %s must not be sent unencrypted", c.Server, c.precious())
	}
	reply, err := c.step(ctx, "starttls", "STARTTLS", "STARTTLS", 2)
	if refusal := (*replyError)(nil); errors.As(err, &refusal) {
		return steps.Fail(result.ReasonTLS, c.Blame, "%s offers STARTTLS and then refuses %w: look at that server's TLS settings", c.Server, refusal)
	}
	if err != nil {
		return err
	}
	if n := c.r.Buffered(); n > 0 {
		// Unencrypted bytes after the answer would be taken for the server's words inside TLS (CVE-2011-0411).
		return steps.Fail(result.ReasonProtocol, c.Blame, "%s sent %d unencrypted bytes after its answer to STARTTLS (%s)", c.Server, n, reply)
	}
	if err := c.startTLS(ctx); err != nil {
		return err
	}
	return c.ehlo(ctx, "ehlo_tls")
}

// precious returns what the TLS of the port protects.
func (c *SMTPClient) precious() string {
	if c.mustAuth {
		return "a password"
	}
	return "the message"
}
