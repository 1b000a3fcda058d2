package network

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/certificate"
	"github.com/stepwatch/stepwatch/steps/hello"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/starttls"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.RegisterArea(steps.Area{Name: "tls", Title: "Certificates and TLS", Place: 40})
	const (
		connectDoes = "Connects to a host (its name, or one under hosts in stepwatch.yml) and port, does a TLS handshake and closes the connection, without a login. On the ports 25 and 587 (SMTP), 143 (IMAP), 110 (POP3), " +
			"4190 (Sieve), 24 (LMTP), 389 (LDAP), 21 (FTP), 5222 and 5269 (XMPP), 5432 (PostgreSQL) and 3306 (MySQL) that protocol's STARTTLS comes first; " +
			"on others TLS starts at once. It does not fail because of a bad certificate: the next steps check the certificate."
		starttlsDoes    = " \"with STARTTLS on\" names the protocol, for a port that is not its usual one: SMTP, LMTP, IMAP, POP3, Sieve, LDAP, FTP, XMPP, XMPPServer, PostgreSQL or MySQL."
		asDoes          = " \"as\" sets the name to ask the server for (SNI), which its certificate must be for."
		connectMeasures = "Phases: dns (when a name is looked up), connect, starttls, tls. Measures probe_ssl_earliest_cert_expiry and probe_ssl_last_chain_expiry_timestamp_seconds as " +
			"blackbox_exporter does (the earliest expiry of the served certificates; the expiry of the trusted chain that lasts longest, absent when there is none), " +
			"tls_certificate_not_after_timestamp_seconds (of the server's own certificate; label host) and probe_tls_version_info."
	)
	for _, way := range []struct{ sentence, does, example string }{
		{"", "", ""},
		{" with STARTTLS on {word}", starttlsDoes, " with STARTTLS on SMTP"},
	} {
		for _, as := range []struct{ sentence, does, example string }{{"", "", ""}, {" as {server}", asDoes, ` as "www.example.org"`}} {
			for _, family := range []struct{ sentence, does, example string }{{"", "", ""}, {" over {family}", "", " over IPv6"}} {
				options := way.sentence + as.sentence + family.sentence
				definition := steps.Definition{Area: "tls", Sentence: `I connect to {server}` + options, Does: connectDoes + way.does + as.does, Measures: connectMeasures,
					Example: `When I connect to "mail.example.org:2465"` + way.example + as.example + family.example,
					Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
						_, err := connectTLS(ctx, w, a, options)
						return err
					}}
				if options == "" {
					definition.Example = `When I connect to "mail.example.org:465"`
				} else {
					definition.Does = "Like \"I connect to\"." + way.does + as.does
					if definition.Does == "Like \"I connect to\"." {
						definition.Does = "Like \"I connect to\", over IPv4 or IPv6."
					}
					definition.Measures = "The same."
				}
				steps.Register(definition)
			}
		}
		steps.Register(steps.Definition{
			Area: "tls", Sentence: `the certificate of {server}` + way.sentence + ` is in order for {duration}`,
			Does: "Connects like \"I connect to\". Fails unless the certificate is for the host, trusted (by the machine's roots and those under tls.ca in stepwatch.yml) with all its " +
				"intermediates, strong, and valid now and for that long, and unless the connection uses TLS 1.2 or newer. It reports every fault." + way.does,
			Measures: connectMeasures,
			Example:  `Then the certificate of "mail.example.org:993"` + way.example + ` is in order for 7 days`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				s, err := connectTLS(ctx, w, a, way.sentence)
				if err != nil {
					return err
				}
				left, err := a.Duration(len(a.Captured) - 1)
				if err != nil {
					return err
				}
				return s.inOrder(ctx, left)
			},
		})
	}
	steps.Register(
		steps.Definition{
			Area: "tls", Sentence: `its certificate is in order for {duration}`,
			Does:    "Checks the certificate of the connection like \"the certificate of … is in order\".",
			Example: `Then its certificate is in order for 7 days`,
			Func: ofConnection(func(ctx context.Context, _ *steps.World, s *secured, a steps.Args) error {
				left, err := a.Duration(0)
				if err != nil {
					return err
				}
				return s.inOrder(ctx, left)
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `its certificate is valid for {duration}`,
			Does: "Fails when the certificate of the connection, or one of its issuers', is expired, not yet valid, or expires within that time. Of several chains to a trusted root, the one that " +
				"lasts longest counts; without any, the served certificates count.",
			Example: `Then its certificate is valid for 7 days`,
			Func: ofConnection(func(_ context.Context, _ *steps.World, s *secured, a steps.Args) error {
				left, err := a.Duration(0)
				if err != nil {
					return err
				}
				return s.fail(s.judge.Validity(s.served, left))
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `its certificate is for {text}`,
			Does:    "Fails unless the certificate of the connection is for this host name or IP address in its subjectAltName. A wildcard matches one label.",
			Example: `Then its certificate is for "mail.example.org"`,
			Func: ofConnection(func(_ context.Context, _ *steps.World, s *secured, a steps.Args) error {
				return s.fail(certificate.Append(nil, certificate.Host(s.served, a.Text(0))))
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `its certificate is trusted`,
			Does: "Fails unless the certificate of the connection has a chain to a root of the machine or under tls.ca in stepwatch.yml. It distinguishes a self-signed certificate, an unknown authority and a missing " +
				"intermediate. For the last, it downloads the issuer's certificate from the URL in the certificate, over plain HTTP.",
			Measures: "Phase issuer, if that is downloaded.",
			Example:  `Then its certificate is trusted`,
			Func: ofConnection(func(ctx context.Context, _ *steps.World, s *secured, _ steps.Args) error {
				return s.fail(certificate.Append(nil, s.judge.Trust(ctx, s.served)))
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `its keys and signatures are strong`,
			Does:    "Fails when a certificate of the connection has an RSA key below 2048 bits, an elliptic curve below 256 bits or a DSA key, or is signed with MD5 or SHA-1.",
			Example: `Then its keys and signatures are strong`,
			Func: ofConnection(func(_ context.Context, _ *steps.World, s *secured, _ steps.Args) error {
				return s.fail(certificate.Strength(s.served))
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `the connection uses TLS {number} or newer`,
			Does:    "Fails when the connection has an older version of TLS. The message names the cipher.",
			Example: `Then the connection uses TLS 1.2 or newer`,
			Func: ofConnection(func(_ context.Context, _ *steps.World, s *secured, a steps.Args) error {
				version, known := tlsVersions["TLS "+a.Text(0)]
				if !known {
					return steps.FailScenario("there is no TLS %s: write 1.0, 1.1, 1.2 or 1.3", a.Text(0))
				}
				return s.usesVersion(version)
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `TLS {number} is refused`,
			Does: "Connects to the same server again and offers only this version (1.0, 1.1 or 1.2), with every cipher that servers of its time have. Fails when the server accepts it, or " +
				"cannot be reached.",
			Measures: "The phases of \"I connect to\", with offer instead of tls.",
			Example:  `Then TLS 1.0 is refused`,
			Func: ofConnection(func(ctx context.Context, w *steps.World, s *secured, a steps.Args) error {
				return s.refuses(ctx, w, "TLS "+a.Text(0))
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `SSL 3.0 is refused`,
			Does: "Like \"TLS 1.0 is refused\".", Measures: "The same.", Example: `Then SSL 3.0 is refused`,
			Func: ofConnection(func(ctx context.Context, w *steps.World, s *secured, _ steps.Args) error {
				return s.refuses(ctx, w, "SSL 3.0")
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `an OCSP response is stapled`,
			Does:     "Fails unless the server sent with its certificate a valid OCSP response (RFC 6960) that it is good. It distinguishes revoked, out of date, unknown and absent.",
			Measures: "Measures tls_ocsp_next_update_timestamp_seconds.",
			Example:  `Then an OCSP response is stapled`,
			Func:     ofConnection(func(_ context.Context, w *steps.World, s *secured, _ steps.Args) error { return s.stapled(w) }),
		},
		steps.Definition{
			Area: "tls", Sentence: `the certificate served equals the file {text}`,
			Does: "Fails unless the certificate of the connection is in this file of the machine that stepwatch runs on, with the issuers that follow it in the file. This finds a certificate that was renewed on " +
				"disk but not loaded. A private key in the file must belong to one of its certificates.",
			Example: `Then the certificate served equals the file "/etc/ssl/mail.example.org.pem"`,
			Func: ofConnection(func(_ context.Context, _ *steps.World, s *secured, a steps.Args) error {
				return s.equalsFile(a.Path(0))
			}),
		},
		steps.Definition{
			Area: "tls", Sentence: `the key in the file {text} belongs to the certificate served`,
			Does:    "Fails unless a private key in this file of the machine that stepwatch runs on belongs to the certificate of the connection. The key is only compared and sent nowhere.",
			Example: `Then the key in the file "/etc/ssl/private/mail.example.org.key" belongs to the certificate served`,
			Func:    ofConnection(func(_ context.Context, _ *steps.World, s *secured, a steps.Args) error { return s.hasKey(a.Path(0)) }),
		},
	)
}

// secured is the state of a TLS connection after its handshake, with the parameters to open another one like it.
type secured struct {
	server string // "mail.example.org:465"
	host   string // the name that the server was asked for
	before starttls.Protocol
	route  steps.Route
	blame  result.Blame

	served  []*x509.Certificate
	judge   *certificate.Judge
	version uint16
	cipher  uint16
	staple  []byte
}

// connection holds the connection that the next steps check.
type connection struct{ last *secured }

// ofConnection calls do with the connection of a previous step.
func ofConnection(do func(context.Context, *steps.World, *secured, steps.Args) error) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		s := steps.State[connection](w).last
		if s == nil {
			return steps.FailScenario(`no TLS connection has been made: write "I connect to …" before this step`)
		}
		return do(ctx, w, s, a)
	}
}

// connectTLS implements "I connect to …". options are the parts of its sentence after the server.
func connectTLS(ctx context.Context, w *steps.World, a steps.Args, options string) (*secured, error) {
	steps.State[connection](w).last = nil
	s, err := newSecured(w, a, options)
	if err != nil {
		return nil, err
	}
	conn, err := s.open(ctx, w)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // everything needed was read
	defer lifeline.Bind(ctx, conn).Release()
	if err := s.handshake(ctx, w, conn); err != nil {
		return nil, err
	}
	steps.State[connection](w).last = s
	return s, nil
}

func newSecured(w *steps.World, a steps.Args, options string) (*secured, error) {
	host, port, err := w.ServerAddress(a.Text(0))
	if err != nil {
		return nil, err
	}
	host = w.Target().AddressOf(host)
	s := &secured{server: net.JoinHostPort(host, strconv.Itoa(port)), host: host}
	s.before, _ = starttls.OnPort(port)
	next := 1
	if strings.Contains(options, "{word}") {
		name := a.Text(next)
		var known bool
		if s.before, known = starttls.Named(name); !known {
			return nil, steps.FailScenario("unknown STARTTLS protocol %s: write %s", name, strings.Join(starttls.Names(), ", "))
		}
		next++
	}
	if strings.Contains(options, "as {server}") {
		s.host = w.Target().AddressOf(a.Text(next))
		next++
	}
	if strings.Contains(options, "{family}") {
		s.route.Family = steps.Families[a.Text(next)]
	}
	s.blame = blameOf(port, s.before)
	return s, nil
}

// blameOf returns the blame for a server on a port.
func blameOf(port int, spoken starttls.Protocol) result.Blame {
	switch {
	case port == address.PortSMTP:
		return result.BlameTransfer
	case port == address.PortSMTPS, spoken == starttls.SMTP:
		return result.BlameSubmission
	case spoken == starttls.LMTP:
		return result.BlameDelivery
	case port == address.PortIMAPS, port == address.PortPOP3S, spoken == starttls.IMAP, spoken == starttls.POP3, spoken == starttls.Sieve:
		return result.BlameAccess
	case port == 80, port == 443:
		return result.BlameWeb
	}
	return result.BlameTarget
}

// open connects and speaks the protocol up to the start of TLS.
func (s *secured) open(ctx context.Context, w *steps.World) (net.Conn, error) {
	conn, err := w.DialRoute(ctx, s.server, s.blame, s.route)
	if err != nil || s.before == "" {
		return conn, err
	}
	defer lifeline.Bind(ctx, conn).Release()
	err = w.Timed("starttls", func() (string, error) {
		return starttls.Begin(conn, s.before, s.host, starttls.ClientName(conn.LocalAddr()))
	})
	refused := (*starttls.Refusal)(nil)
	switch {
	case err == nil:
		return conn, nil
	case errors.As(err, &refused):
		err = steps.Fail(result.ReasonTLS, s.blame, "%s: %w: check the server's TLS settings", s.server, err)
	case errors.Is(err, starttls.ErrProtocol), errors.As(err, new(*limit.Error)):
		reason := result.ReasonProtocol
		if !errors.Is(err, starttls.ErrProtocol) {
			reason = result.ReasonTooLarge
		}
		err = steps.Fail(reason, s.blame, "start TLS over %s with %s: %w: check that it speaks this protocol on that port", s.before, s.server, err)
	default:
		err = steps.FailNet(ctx, err, s.blame, fmt.Sprintf("start TLS over %s with %s", s.before, s.server))
	}
	return nil, errors.Join(err, conn.Close())
}

// handshake does the handshake, keeps its result and measures it. It accepts any certificate, because steps check it
// later and nothing secret is sent. It also offers old versions and ciphers, so that steps can check old servers.
func (s *secured) handshake(ctx context.Context, w *steps.World, conn net.Conn) error {
	config, err := w.TLSConfig(s.host)
	if err != nil {
		return err
	}
	config.InsecureSkipVerify = true //nolint:gosec // see above
	config.MinVersion = tls.VersionTLS10
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		config.CipherSuites = append(config.CipherSuites, suite.ID)
	}
	client := tls.Client(conn, config)
	err = w.Timed("tls", func() (string, error) { return "", client.HandshakeContext(ctx) })
	if record := (tls.RecordHeaderError{}); errors.As(err, &record) {
		return steps.Fail(result.ReasonTLS, s.blame, "TLS handshake with %s: it answers with something else (%s): if this port starts in cleartext, write \"with STARTTLS on …\"",
			s.server, wording.Quote(wording.OneLine(string(record.RecordHeader[:]), 5)))
	}
	if err != nil {
		return steps.FailNet(ctx, err, s.blame, "TLS handshake with "+s.server)
	}
	if words, polite := farewells[s.before]; polite {
		_, _ = io.WriteString(client, words+"\r\n") // only to avoid a line in the server's log
	}
	state := client.ConnectionState()
	_ = client.Close() // everything needed was read
	if err := certificate.CheckChain(state.PeerCertificates); err != nil {
		return steps.FailFor(s.blame, fmt.Errorf("TLS handshake with %s: %w", s.server, err))
	}
	s.served, s.version, s.cipher, s.staple = state.PeerCertificates, state.Version, state.CipherSuite, state.OCSPResponse
	s.judge = &certificate.Judge{Now: time.Now(), Roots: config.RootCAs, Fetch: func(ctx context.Context, at string) (*x509.Certificate, error) { return fetchIssuer(ctx, w, at) }}
	s.measure(w, state)
	return nil
}

// farewells are the commands that end a session.
var farewells = map[starttls.Protocol]string{starttls.SMTP: "QUIT", starttls.LMTP: "QUIT", starttls.POP3: "QUIT", starttls.FTP: "QUIT",
	starttls.IMAP: "s2 LOGOUT", starttls.Sieve: "LOGOUT", starttls.XMPP: "</stream:stream>", starttls.XMPPServer: "</stream:stream>"}

func (s *secured) measure(w *steps.World, state tls.ConnectionState) {
	w.MeasureCertificate(s.host, state)
	w.Measure("probe_ssl_earliest_cert_expiry", "Earliest expiry of the certificates that the server sends, in Unix time, as in blackbox_exporter.",
		float64(certificate.Earliest(s.served).Unix()))
	if end, ok := certificate.LastChain(s.judge.Chains(s.served)); ok {
		w.Measure("probe_ssl_last_chain_expiry_timestamp_seconds", "Expiry of the trusted chain that lasts longest, in Unix time, as in blackbox_exporter.", float64(end.Unix()))
	}
	w.Measure("probe_tls_version_info", "The version of TLS, as in blackbox_exporter.", 1, result.Label{Name: "version", Value: tls.VersionName(s.version)})
	leaf := s.served[0]
	w.Note(fmt.Sprintf("%s with %s; certificate %s by %q until %s, SHA-256 %s", tls.VersionName(s.version), tls.CipherSuiteName(s.cipher),
		certificate.Name(leaf), wording.OneLine(leaf.Issuer.String(), 100), certificate.Day(leaf.NotAfter), certificate.Fingerprint(leaf)))
}

// inOrder checks everything at once.
func (s *secured) inOrder(ctx context.Context, left time.Duration) error {
	faults := s.judge.Faults(ctx, s.served, s.host, left)
	faults = certificate.Append(faults, certificate.Strength(s.served)...)
	if err := s.fail(faults); err != nil {
		return err
	}
	return s.usesVersion(tls.VersionTLS12)
}

// fail returns a Failure with the faults, or nil if there are none.
func (s *secured) fail(faults []*certificate.Fault) error {
	if len(faults) == 0 {
		return nil
	}
	reason, told := certificate.Describe(faults)
	return steps.Fail(reason, s.blame, "the certificate of %s %s", s.server, told)
}

// tlsVersions maps names to versions.
var tlsVersions = map[string]uint16{"SSL 3.0": hello.SSL30, "TLS 1.0": tls.VersionTLS10, "TLS 1.1": tls.VersionTLS11, "TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

func (s *secured) usesVersion(oldest uint16) error {
	if s.version < oldest {
		return steps.Fail(result.ReasonTLS, s.blame, "%s uses %s with %s, wanted %s or newer: allow it in the server's settings", s.server, tls.VersionName(s.version),
			tls.CipherSuiteName(s.cipher), tls.VersionName(oldest))
	}
	return nil
}

// refuses fails if the server accepts an old version.
func (s *secured) refuses(ctx context.Context, w *steps.World, name string) error {
	version, known := tlsVersions[name]
	if !known || version > hello.TLS12 {
		return steps.FailScenario("%s cannot be the only version offered: write TLS 1.0, 1.1 or 1.2, or SSL 3.0", name)
	}
	conn, err := s.open(ctx, w)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // everything needed was read
	defer lifeline.Bind(ctx, conn).Release()
	var answer hello.Answer
	err = w.Timed("offer", func() (string, error) {
		var err error
		answer, err = hello.Offer(conn, version, s.host)
		return "", err
	})
	switch {
	case errors.Is(err, hello.ErrProtocol):
		return steps.Fail(result.ReasonProtocol, s.blame, "offer %s to %s: %w", name, s.server, err)
	case ctx.Err() == nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)):
		w.Note("it closes the connection when " + name + " is offered")
		return nil
	case err != nil:
		return steps.FailNet(ctx, err, s.blame, "offer "+name+" to "+s.server)
	case answer.Version == 0:
		w.Note(fmt.Sprintf("it refuses %s with %v", name, tls.AlertError(answer.Alert)))
		return nil
	case answer.Version > version:
		return steps.Fail(result.ReasonProtocol, s.blame, "%s answers with %s although %s is the newest version offered", s.server, tls.VersionName(answer.Version), name)
	}
	return steps.Fail(result.ReasonUnexpected, s.blame, "%s accepts %s: disable it in the server's settings", s.server, tls.VersionName(answer.Version))
}

func (s *secured) stapled(w *steps.World) error {
	until, err := s.judge.Staple(s.staple, s.served)
	switch {
	case err == nil:
		if until.IsZero() {
			w.Note("good, without an end")
			return nil
		}
		w.Measure("tls_ocsp_next_update_timestamp_seconds", "Time until which the stapled OCSP response is valid, in Unix time.", float64(until.Unix()))
		w.Note("good until " + certificate.Day(until))
		return nil
	case errors.Is(err, certificate.ErrRevoked):
		return steps.Fail(result.ReasonCertRevoked, s.blame, "%s: %w", s.server, err)
	}
	return steps.Fail(result.ReasonUnexpected, s.blame, "%s: %w", s.server, err)
}

// readCertificates reads a file. An unreadable file is not the server's fault.
func (s *secured) readCertificates(path string) (*certificate.File, error) {
	file, err := certificate.ReadFile(path)
	switch {
	case errors.Is(err, syscall.EACCES):
		return nil, steps.Fail(result.ReasonConfig, result.BlameMonitor, "compare with the certificate of %s: %w: let stepwatch's user read it (setfacl -m u:stepwatch:r) and enter its directories", s.server, err)
	case err != nil:
		return nil, steps.Fail(result.ReasonConfig, result.BlameMonitor, "compare with the certificate of %s: %w: use the file of the server's configuration, on the server's machine", s.server, err)
	}
	return file, nil
}

func (s *secured) equalsFile(path string) error {
	file, err := s.readCertificates(path)
	if err != nil {
		return err
	}
	if difference := file.Difference(s.served); difference != "" {
		return steps.Fail(result.ReasonUnexpected, s.blame, "the certificate of %s differs from the file: %s %s", s.server, path, difference)
	}
	if len(file.Keys) > 0 && !file.HasKeyOf(s.served[0]) {
		return steps.Fail(result.ReasonUnexpected, s.blame, "%s serves the certificate of %s, but the private key in the file belongs to another: the next reload will fail", s.server, path)
	}
	return nil
}

func (s *secured) hasKey(path string) error {
	file, err := s.readCertificates(path)
	switch {
	case err != nil:
		return err
	case len(file.Keys) == 0:
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "%s has no private key: use the key file of the server's configuration", path)
	case !file.HasKeyOf(s.served[0]):
		return steps.Fail(result.ReasonUnexpected, s.blame, "the key in %s does not belong to the certificate that %s serves (SHA-256 %s): reload the server, or check which of the two is older",
			path, s.server, certificate.Fingerprint(s.served[0]))
	}
	return nil
}

// issuerLimit limits the download of an issuer's certificate, which issuerWait limits in time.
var issuerLimit = limit.Define(limit.Limit{Subject: "TLS", What: "a downloaded certificate", Unit: "bytes", Most: 64 << 10})

const issuerWait = 5 * time.Second

// fetchIssuer downloads an issuer's certificate from the URL in the certificate that it signed. The URL is untrusted,
// so fetchIssuer makes only one request in plain HTTP to port 80, without redirects, and quotes nothing but the status.
func fetchIssuer(ctx context.Context, w *steps.World, at string) (*x509.Certificate, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.Port() != "" || u.User != nil {
		return nil, errors.New("only plain http on port 80 is allowed")
	}
	ctx, cancel := context.WithTimeout(ctx, issuerWait)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: issuerLimit.Most,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if other, found := w.Target().ConnectTo[address]; found {
				address = other
			}
			return (&net.Dialer{KeepAlive: -1, Resolver: w.Resolver()}).DialContext(ctx, network, address)
		}}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var found *x509.Certificate
	err = w.Timed("issuer", func() (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return response.Status, fmt.Errorf("the answer is %s", wording.OneLine(response.Status, 80))
		}
		body, err := io.ReadAll(io.LimitReader(response.Body, issuerLimit.Most+1))
		if err != nil {
			return response.Status, err
		}
		if int64(len(body)) > issuerLimit.Most {
			return response.Status, issuerLimit.Exceeded()
		}
		if block, _ := pem.Decode(body); block != nil {
			body = block.Bytes
		}
		if found, err = x509.ParseCertificate(body); err != nil {
			return response.Status, errors.New("the answer is not a certificate")
		}
		if err := certificate.CheckKey(found); err != nil {
			found = nil
			return response.Status, err
		}
		return response.Status, nil
	})
	return found, err
}
