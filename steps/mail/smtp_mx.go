package mail

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
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does = "Looks up the MX hosts of the recipient's domain (the domain itself when it has none, RFC 5321 section 5.1). Sends each of them, the most preferred first, " +
			"its own test message on port 25, without a login. So the step also tests a second MX that is only used when the first is down. " +
			"Fails when one of them does not accept its message, and reports the others' answers. The MX hosts judge whether this machine's address may send for the sender's domain: SPF, " +
			"blocklists and reverse DNS count."
		measures = "Phases: mx_lookup, then for each host those of a message on port 25: mx1_connect, mx1_rcpt, mx2_connect and so on, in order of preference. " +
			"\"it is accepted within\" judges the last host. Measures tls_certificate_not_after_timestamp_seconds, the earliest of all hosts, which the label host names." +
			anyTLSMeasures + " With several hosts, each is 1 only when it is 1 for all of them."
	)
	const directly = `I send a message from {account} directly to the MX of {account}`
	const family = " is used. A host without such an address is skipped, and at least one host must have one."
	for _, way := range []struct {
		end, does string
		mxWay
	}{
		{"", anyTLSDoes, mxWay{}},
		{" over IPv4", anyTLSDoes + " Only IPv4" + family, mxWay{family: "ip4"}},
		{" over IPv6", anyTLSDoes + " Only IPv6" + family, mxWay{family: "ip6"}},
		{" with verified TLS", " The host must offer STARTTLS with a certificate that is valid for its name, as MTA-STS requires (RFC 8461).", mxWay{verified: true}},
	} {
		steps.Register(steps.Definition{
			Area: "mail", Sentence: directly + way.end, Does: does + way.does, Measures: measures,
			Table:     steps.Optional,
			DocString: steps.Optional,
			Example:   `When I send a message from "alice" directly to the MX of "bob"` + way.end,
			Func:      func(ctx context.Context, w *steps.World, a steps.Args) error { return sendToMX(ctx, w, a, way.mxWay) },
		})
	}
}

// mxWay restricts how MX hosts are reached.
type mxWay struct {
	family   string // the same as that of a route
	verified bool   // in TLS, with a valid certificate
}

// sendToMX runs "I send a message … directly to the MX of …".
func sendToMX(ctx context.Context, w *steps.World, a steps.Args, way mxWay) error {
	from, err := w.Target().Account(a.Text(0))
	if err != nil {
		return err
	}
	to, err := w.Target().Account(a.Text(1))
	if err != nil {
		return err
	}
	address, err := Address(to)
	if err != nil {
		return err
	}
	_, domain, _ := wording.CutLast(address, "@")
	hosts, err := Exchangers(ctx, w, domain)
	if err != nil {
		return err
	}
	steps.State[attempts](w).last = nil
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
		err := w.Under("mx"+strconv.Itoa(i+1)+"_", name, func() error {
			protection, err := sendToHost(attempt, w, from, to, mx.Host, way, a)
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
			told = append(told, name+" accepted it")
		case way.family != "" && errors.As(err, &notFound) && notFound.IsNotFound:
			absent = err
		case first == nil:
			first = fmt.Errorf("%s: %w", name, err)
		default:
			told = append(told, name+": "+err.Error())
		}
		if scenario := (*steps.Failure)(nil); errors.As(err, &scenario) && scenario.Blame == result.BlameScenario {
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
	failure := (*steps.Failure)(nil)
	if !errors.As(first, &failure) {
		return first
	}
	if len(told) > 0 {
		first = fmt.Errorf("%w; %s", first, strings.Join(told, "; "))
	}
	return &steps.Failure{Reason: failure.Reason, Blame: failure.Blame, Err: first}
}

// sendToHost sends a message to one MX host. protection describes the protection of the connection. It is empty if the
// dialogue ended before that.
func sendToHost(ctx context.Context, w *steps.World, from, to *steps.Account, host string, way mxWay, a steps.Args) (protection string, err error) {
	start := time.Now()
	m := steps.State[Session](w)
	c := &SMTPClient{World: w, Blame: result.BlameTransfer, account: from, Host: host, Server: net.JoinHostPort(host, strconv.Itoa(address.PortSMTP)),
		route: steps.Route{Family: way.family}, MustTLS: way.verified, AnyTLS: !way.verified, tellTLS: true}
	s := &Submission{Number: len(m.Sent) + 1, from: from, To: to, Server: c.Server}
	message, err := c.compose(s, a)
	if err != nil {
		return "", err
	}
	m.Sent = append(m.Sent, s)
	m.removeAfter(w, s)
	if err = c.submit(ctx, s, message, start); err != nil {
		c.Log.Attach(w, "smtp transcript of "+host)
		if !s.sent { // so that the last message is one that may arrive
			m.Sent = slices.DeleteFunc(m.Sent, func(other *Submission) bool { return other == s })
		}
	}
	return c.protection, err
}

// exchangersLimit limits the connections that a domain can cause.
var exchangersLimit = limit.Define(limit.Limit{Subject: "DNS", What: "the MX of a domain", Unit: "hosts", Most: 50})

// Exchangers returns the hosts that accept mail for a domain, the most preferred first (RFC 5321 section 5.1).
func Exchangers(ctx context.Context, w *steps.World, domain string) ([]*net.MX, error) {
	name, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return nil, steps.FailScenario("%q is not a domain: %s", domain, wording.Library(err.Error()))
	}
	var hosts []*net.MX
	err = w.Timed("mx_lookup", func() (string, error) {
		found, err := lookup.Client(w).MX(ctx, name)
		note := make([]string, len(found))
		for i, mx := range found {
			hosts = append(hosts, &net.MX{Host: mx.Host, Pref: mx.Preference})
			note[i] = fmt.Sprintf("%d %s", mx.Preference, mx.Host)
		}
		return strings.Join(note, ", "), dnsclient.NetError(err)
	})
	if err := exchangersLimit.Check(int64(len(hosts))); err != nil {
		return nil, steps.FailFor(result.BlameDNS, fmt.Errorf("look up the MX of %s: %w", domain, err))
	}
	missing := (*net.DNSError)(nil)
	switch {
	case len(hosts) == 1 && hosts[0].Host == "":
		return nil, steps.Fail(result.ReasonDNS, result.BlameDNS, "%s accepts no mail: its only MX is the null MX of RFC 7505", domain)
	case len(hosts) > 0:
		return hosts, nil
	case err == nil, errors.As(err, &missing) && missing.IsNotFound:
		return []*net.MX{{Host: name}}, nil // the implicit MX
	default:
		return nil, steps.FailNet(ctx, err, result.BlameDNS, "look up the MX of "+domain)
	}
}
