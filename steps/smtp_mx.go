package steps

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

func init() {
	const (
		does = "Looks up the MX hosts of the recipient's domain (the domain itself when it has none, RFC 5321 section 5.1) and hands each of them, the most preferred first, " +
			"a test message of its own on port 25, without a login. So a second MX that nobody uses until the first is down is tried too. " +
			"Fails when one of them does not take its message, and says what the others did. The MX hosts judge this machine's address as a sender of the sender's domain: SPF, " +
			"blocklists and reverse DNS count."
		measures = "Phases: mx_lookup, then of each host those of a message on port 25, as mx1_connect, mx1_rcpt, mx2_connect and so on in order of preference. " +
			"\"it is accepted within\" judges the last host. Measures tls_certificate_not_after_timestamp_seconds, the earliest of all." +
			anyTLSMeasures + " Of several hosts it is 1 when it is of all of them."
	)
	const directly = `I send a message from {account} directly to the MX of {account}`
	const family = " is used; a host without such an address is left out, and one at least must have it."
	for _, way := range []struct {
		end, does string
		mxWay
	}{
		{"", anyTLSDoes, mxWay{}},
		{" over IPv4", anyTLSDoes + " Only IPv4" + family, mxWay{family: "ip4"}},
		{" over IPv6", anyTLSDoes + " Only IPv6" + family, mxWay{family: "ip6"}},
		{" with verified TLS", " STARTTLS must be offered, with a certificate that is right for the host's name, as MTA-STS has it (RFC 8461).", mxWay{verified: true}},
	} {
		Register(Definition{
			Area: "mail", Sentence: directly + way.end, Does: does + way.does, Measures: measures,
			Table:     Optional,
			DocString: Optional,
			Example:   `When I send a message from "alice" directly to the MX of "bob"` + way.end,
			Func:      func(ctx context.Context, w *World, a Args) error { return sendToMX(ctx, w, a, way.mxWay) },
		})
	}
}

// mxWay narrows down how MX hosts are to be reached.
type mxWay struct {
	family   string // as that of a route
	verified bool   // in TLS, with a certificate that is right
}

// sendToMX is what "I send a message … directly to the MX of …" means.
func sendToMX(ctx context.Context, w *World, a Args, way mxWay) error {
	from, err := w.target.Account(a.Text(0))
	if err != nil {
		return err
	}
	to, err := w.target.Account(a.Text(1))
	if err != nil {
		return err
	}
	address, err := to.mailAddress()
	if err != nil {
		return err
	}
	_, domain, _ := cutLast(address, "@")
	hosts, err := w.mailExchangers(ctx, domain)
	if err != nil {
		return err
	}
	State[attempts](w).last = nil
	var (
		first, absent error
		told, seen    []string
		taken         int
	)
	for i, mx := range hosts {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			attempt, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(hosts)-i))
		}
		name := fmt.Sprintf("%s (MX %d of %d, preference %d)", mx.Host, i+1, len(hosts), mx.Pref)
		err := w.underPrefix("mx"+strconv.Itoa(i+1)+"_", name, func() error {
			protection, err := w.sendToHost(attempt, from, to, mx.Host, way, a)
			if protection != "" {
				seen = append(seen, mx.Host+": "+protection)
			}
			return err
		})
		cancel()
		notFound := (*net.DNSError)(nil)
		switch {
		case err == nil:
			taken++
			told = append(told, name+" took it")
		case way.family != "" && errors.As(err, &notFound) && notFound.IsNotFound:
			absent = err
		case first == nil:
			first = fmt.Errorf("%s: %w", name, err)
		default:
			told = append(told, name+": "+err.Error())
		}
		if scenario := (*Failure)(nil); errors.As(err, &scenario) && scenario.Blame == result.BlameScenario {
			return err
		}
	}
	if len(seen) > 0 {
		w.Note(strings.Join(seen, "; "))
	}
	switch {
	case first == nil && taken > 0:
		return nil
	case first == nil:
		return absent
	}
	failure := (*Failure)(nil)
	if !errors.As(first, &failure) {
		return first
	}
	if len(told) > 0 {
		first = fmt.Errorf("%w; %s", first, strings.Join(told, "; "))
	}
	return &Failure{Reason: failure.Reason, Blame: failure.Blame, err: first}
}

// sendToHost hands a message to one MX host. protection says how the connection was protected, and is empty when it did
// not come to that.
func (w *World) sendToHost(ctx context.Context, from, to *Account, host string, way mxWay, a Args) (protection string, err error) {
	start := time.Now()
	m := State[mail](w)
	c := &smtpClient{w: w, blame: result.BlameTransfer, account: from, host: host, server: net.JoinHostPort(host, strconv.Itoa(portSMTP)),
		route: route{family: way.family}, mustTLS: way.verified, anyTLS: !way.verified, tellTLS: true}
	s := &submission{number: len(m.sent) + 1, from: from, to: to, server: c.server}
	message, err := c.compose(s, a)
	if err != nil {
		return "", err
	}
	m.sent = append(m.sent, s)
	if to.IMAP != "" && to.Password != "" {
		m.mailbox(w, to, 0) // takes care of the removal
	}
	if err = c.submit(ctx, s, message, start); err != nil {
		c.log.attach(w, "smtp transcript of "+host)
		if !s.sent { // so that the last message is one that may arrive
			m.sent = slices.DeleteFunc(m.sent, func(other *submission) bool { return other == s })
		}
	}
	return c.protection, err
}

// mailExchangers gives the hosts that take mail for a domain, the most preferred first (RFC 5321 section 5.1).
func (w *World) mailExchangers(ctx context.Context, domain string) ([]*net.MX, error) {
	name, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return nil, scenarioFault("%q is no domain: %w", domain, err)
	}
	var hosts []*net.MX
	err = w.Timed("mx_lookup", func() (string, error) {
		found, err := w.dnsClient().MX(ctx, name)
		note := make([]string, len(found))
		for i, mx := range found {
			hosts = append(hosts, &net.MX{Host: mx.Host, Pref: mx.Preference})
			note[i] = fmt.Sprintf("%d %s", mx.Preference, mx.Host)
		}
		return strings.Join(note, ", "), dnsclient.NetError(err)
	})
	missing := (*net.DNSError)(nil)
	switch {
	case len(hosts) == 1 && hosts[0].Host == "":
		return nil, Fail(result.ReasonDNS, result.BlameDNS, "%s takes no mail: its only MX is the null MX of RFC 7505", domain)
	case len(hosts) > 0:
		return hosts, nil
	case err == nil, errors.As(err, &missing) && missing.IsNotFound:
		return []*net.MX{{Host: name}}, nil // the implicit MX
	default:
		return nil, FailNet(ctx, err, result.BlameDNS, "look up the MX of "+domain)
	}
}

// underPrefix calls do and puts prefix before the names of the phases that it reports. The one that connects is noted to
// be about name. What is measured more than once is kept once, the smallest.
func (w *World) underPrefix(prefix, name string, do func() error) error {
	w.mu.Lock()
	begin := len(w.report.Phases)
	w.mu.Unlock()
	err := do()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := begin; i < len(w.report.Phases); i++ {
		phase := &w.report.Phases[i]
		if phase.Name == "connect" && phase.Note == "" {
			phase.Note = name
		}
		phase.Name = prefix + phase.Name
	}
	kept := w.report.Measurements[:0]
	for _, measured := range w.report.Measurements {
		i := slices.IndexFunc(kept, func(k result.Measurement) bool { return k.Name == measured.Name })
		if i < 0 {
			kept = append(kept, measured)
			continue
		}
		kept[i].Value = min(kept[i].Value, measured.Value)
	}
	w.report.Measurements = kept
	return err
}
