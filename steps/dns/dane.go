package dns

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/certificate"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
)

func init() {
	const (
		does = "Reads the TLSA records (DANE, RFC 7672) and compares them with the certificate that the server sends after STARTTLS. Fails unless one of them matches it, all of them are usable, and DNSSEC " +
			"proves them. The usages for mail are 3 (this key or certificate) and 2 (an authority that the server sends); 0 and 1 are faults. stepwatch checks the signatures itself, down from the root's key or from " +
			"dnssec.anchors in stepwatch.yml, so it need not trust the resolver."
		measures = "Phases: records, and those of an SMTP connection: dns, connect, banner, ehlo, starttls, tls, ehlo_tls, quit. Measures dane_tlsa_records and tls_certificate_not_after_timestamp_seconds (label host)"
	)
	steps.Register(
		steps.Definition{
			Area: "dns", Sentence: `the TLSA records of {server} match its certificate`,
			Does:     does + " The server is a host, or a host or account in stepwatch.yml, and a port: 465 is TLS from its first byte.",
			Measures: measures + ".",
			Example:  `Then the TLSA records of "mx.example.org:25" match its certificate`,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				host, port, err := w.ServerAddress(a.Text(0))
				if err != nil {
					return err
				}
				return judgeTLSA(ctx, w, host, port)
			},
		},
		steps.Definition{
			Area: "dns", Sentence: `DANE protects every MX of {name}`,
			Does:     does + " It checks port 25 of every MX host. DNSSEC must prove the MX records as well." + ofAccount,
			Measures: measures + ", each once: the lowest number and the earliest time.",
			Example:  `Then DANE protects every MX of "example.org"`,
			Func:     daneOfMX,
		},
	)
}

// validated returns a Lookup that checks the DNSSEC signatures.
func validated(w *steps.World) maildns.Lookup {
	anchors := steps.SettingsOf[dnsclient.Anchors](w.Target())
	if anchors == nil {
		anchors = dnsclient.RootAnchors()
	}
	return maildns.Validated(lookup.Client(w), anchors)
}

// daneOfMX checks all MX hosts and reports each one that is not protected.
func daneOfMX(ctx context.Context, w *steps.World, a steps.Args) error {
	domain, err := domainOf(w, a.Text(0))
	if err != nil {
		return err
	}
	if err := askRecords(ctx, w, func(ctx context.Context, _ maildns.Lookup) error {
		answer, err := validated(w)(ctx, domain, dns.TypeMX)
		if err == nil && !answer.Authentic {
			err = steps.Fail(result.ReasonUnexpected, result.BlameDNS, "the MX records of %q are not proven by DNSSEC, so senders do not use DANE: sign the zone, and add its key (DS) to the parent zone", domain)
		}
		return err
	}); err != nil {
		return err
	}
	hosts, err := mail.Exchangers(ctx, w, domain)
	if err != nil {
		return err
	}
	var first error
	var others []string
	for i, mx := range hosts {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			attempt, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(hosts)-i))
		}
		err := w.Under("mx"+strconv.Itoa(i+1)+"_", mx.Host, func() error { return judgeTLSA(attempt, w, mx.Host, address.PortSMTP) })
		cancel()
		switch {
		case err != nil && first == nil:
			first = err
		case err != nil:
			others = append(others, err.Error())
		}
	}
	failure := (*steps.Failure)(nil)
	if len(others) == 0 || !errors.As(first, &failure) {
		return first
	}
	return &steps.Failure{Reason: failure.Reason, Blame: failure.Blame, Err: fmt.Errorf("%w; %s", first, strings.Join(others, "; "))}
}

// judgeTLSA checks the TLSA records of one port against the certificate that the server sends there.
func judgeTLSA(ctx context.Context, w *steps.World, host string, port int) error {
	var t *maildns.TLSA
	if err := askRecords(ctx, w, func(ctx context.Context, _ maildns.Lookup) (err error) {
		t, err = maildns.CheckTLSA(ctx, validated(w), host, port, true)
		return err
	}); err != nil {
		return err
	}
	server := net.JoinHostPort(host, strconv.Itoa(port))
	v := finding{about: "DANE of " + server}
	if len(t.Records) > 0 {
		w.Measure("dane_tlsa_records", "TLSA records that mail servers can use.", float64(len(t.Records)))
		chain, err := servedChain(ctx, w, host, port)
		if err != nil {
			return err
		}
		config, err := w.TLSConfig(host)
		if err != nil {
			return err
		}
		t.Verify(chain, config.RootCAs, time.Now())
		v.says = fmt.Sprintf("%d TLSA records at %s", len(t.Records), t.Name)
	}
	v.Findings = t.Findings
	return v.judge(w)
}

// servedChain returns the certificates that an SMTP server sends. It checks no name and no date: the records decide.
func servedChain(ctx context.Context, w *steps.World, host string, port int) ([]*x509.Certificate, error) {
	c := &mail.SMTPClient{World: w, Blame: result.BlameTransfer, Host: host, Server: net.JoinHostPort(host, strconv.Itoa(port)),
		ImplicitTLS: port == address.PortSMTPS, MustTLS: true, AnyTLS: true}
	var chain []*x509.Certificate
	err := c.Talk(ctx, func() error {
		if err := c.Upgrade(ctx); err != nil {
			return err
		}
		if conn, is := c.Conn.(*tls.Conn); is {
			chain = conn.ConnectionState().PeerCertificates
		}
		return nil
	})
	if err != nil {
		c.Log.Attach(w, "smtp transcript of "+host)
		return chain, err
	}
	return chain, steps.FailFor(result.BlameTransfer, certificate.CheckChain(chain))
}
