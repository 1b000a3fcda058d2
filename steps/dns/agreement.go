package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/lookup"
)

func init() {
	const (
		each     = "It asks each name server of the zone (NS) without recursion, at each of its addresses. Each must answer authoritatively: one that does not is lame. "
		measures = "Phases: name_servers (to find them), ask (all at once). Measures dns_name_servers_asked (addresses), dns_name_servers_failing and, for a SOA, dns_soa_serial (the highest)."
	)
	for _, only := range []string{"", " over IPv4", " over IPv6"} {
		limited := ""
		if only != "" {
			limited = " It asks only addresses of this family; there must be at least one."
		}
		f := family(strings.TrimPrefix(only, " over "))
		steps.Register(
			steps.Definition{
				Area: "dns", Sentence: `all name servers of {name} give the same answer` + only, Example: `Then all name servers of "example.org" give the same answer` + only,
				Does:     "Repeats the lookup of the last step. " + each + "Fails when a server returns a different answer or none. TTLs do not count." + limited,
				Measures: measures,
				Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
					last, err := lastAnswer(w)
					if err != nil {
						return err
					}
					q := last.Question
					if zone, err := dnsclient.Fqdn(a.Text(0)); err != nil || !dns.IsSubDomain(zone, dns.Fqdn(q.Name)) {
						return steps.FailScenario("%s is not in the zone %q: look up a name of the zone before this step", q, a.Text(0))
					}
					return zoneAgrees(ctx, w, a.Text(0), q, f, wholeAnswer)
				},
			},
			steps.Definition{
				Area: "dns", Sentence: `all name servers of {name} have the same serial` + only, Example: `Then all name servers of "example.org" have the same serial` + only,
				Does:     "Looks up the SOA of the zone. " + each + "Fails when their serial numbers differ: a secondary no longer receives the zone, or a change is in progress." + limited,
				Measures: measures,
				Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
					return zoneAgrees(ctx, w, a.Text(0), dnsclient.Question{Name: a.Text(0), Type: dns.TypeSOA}, f, serialAlone)
				},
			},
		)
	}
	steps.Register(steps.Definition{
		Area: "dns", Sentence: `{server} and {server} agree`, Example: `Then "192.0.2.53" and "198.51.100.53" agree`,
		Does:     "Repeats the lookup of the last step at two servers, resolvers or name servers. Fails when their answers differ, or one does not answer. TTLs do not count.",
		Measures: "Phases: ask (both at once).",
		Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
			last, err := lastAnswer(w)
			if err != nil {
				return err
			}
			q := last.Question
			q.Server, q.Transport = "", dnsclient.Auto
			return agree(ctx, w, q, []nameServer{{a.Text(0), w.Target().AddressOf(a.Text(0))}, {a.Text(1), w.Target().AddressOf(a.Text(1))}}, wholeAnswer)
		},
	})
}

// serversLimit limits the questions that a zone can cause: it is more than any zone has.
var serversLimit = limit.Define(limit.Limit{Subject: "DNS", What: "a zone", Unit: "addresses of name servers", Most: 32})

// nameServer is one address to ask.
type nameServer struct {
	name string // for people: ns1.example.org (192.0.2.53)
	at   string // host or address, with or without a port
}

// zoneAgrees asks all name servers of a zone.
func zoneAgrees(ctx context.Context, w *steps.World, zone string, q dnsclient.Question, f dnsclient.Family, v view) error {
	var (
		servers []nameServer
		lost    []string // the name servers without an address
	)
	err := w.Timed("name_servers", func() (string, error) {
		var err error
		servers, lost, err = nameServers(ctx, w, zone, f)
		return "", err
	})
	if err != nil {
		return failDNS(ctx, err)
	}
	if len(lost) > 0 {
		return steps.Fail(result.ReasonDNS, result.BlameDNS, "the name servers of %q do not all have an address: %s", zone, strings.Join(lost, "; "))
	}
	if len(servers) == 0 {
		return steps.Fail(result.ReasonDNS, result.BlameDNS, "no name server of %q has an %s address", zone, strings.Replace(string(f), "ip", "IPv", 1))
	}
	q.Server, q.Transport, q.Family, q.NoRecursion = "", dnsclient.Auto, dnsclient.AnyFamily, true
	return agree(ctx, w, q, servers, v)
}

// nameServers returns the addresses of a zone's name servers, from the resolver. lost lists those without any address.
func nameServers(ctx context.Context, w *steps.World, zone string, f dnsclient.Family) (servers []nameServer, lost []string, err error) {
	client := lookup.Client(w)
	answer, err := client.Find(ctx, dnsclient.Question{Name: zone, Type: dns.TypeNS})
	if err != nil {
		return nil, nil, err
	}
	for _, rr := range answer.Found() {
		ns, is := rr.(*dns.NS)
		if !is {
			continue
		}
		if err := serversLimit.Check(int64(len(servers) + len(lost))); err != nil {
			break
		}
		name := strings.TrimSuffix(ns.Ns, ".")
		addresses, err := client.Addresses(ctx, ns.Ns, dnsclient.AnyFamily)
		switch {
		case dnsclient.IsAbsent(err):
			lost = append(lost, err.Error())
			continue
		case err != nil:
			return nil, nil, err
		}
		for _, ip := range addresses {
			if f == dnsclient.IPv4 && !ip.Is4() || f == dnsclient.IPv6 && ip.Is4() {
				continue
			}
			servers = append(servers, nameServer{fmt.Sprintf("%s (%s)", name, ip), net.JoinHostPort(ip.String(), "53")})
		}
	}
	if err := serversLimit.Check(int64(len(servers) + len(lost))); err != nil {
		return nil, nil, steps.FailFor(result.BlameDNS, fmt.Errorf("ask the name servers of %q: %w", zone, serversLimit.Exceeded()))
	}
	slices.SortFunc(servers, func(a, b nameServer) int { return strings.Compare(a.name, b.name) })
	return servers, lost, nil
}

// view selects the parts of an answer that are compared.
type view struct {
	tell func(*dnsclient.Answer) string // for people
	key  func(*dnsclient.Answer) string // equal for equal answers
}

var (
	wholeAnswer = view{said, wholeAnswerKey}
	serialAlone = view{serial, serial}
)

// agree asks all servers at once. It fails unless all of them answer and the answers are the same.
func agree(ctx context.Context, w *steps.World, q dnsclient.Question, servers []nameServer, v view) error {
	answers := make([]*dnsclient.Answer, len(servers))
	errs := make([]error, len(servers))
	_ = w.Timed("ask", func() (string, error) {
		client := lookup.Client(w)
		var all sync.WaitGroup
		for i, server := range servers {
			all.Go(func() {
				q := q
				q.Server = server.at
				answers[i], errs[i] = client.Ask(ctx, q)
			})
		}
		all.Wait()
		return "", nil
	})
	var (
		first   error
		trouble []string
		views   = map[string]string{} // from the key of an answer to its text
		order   []string
		told    []string
		highest uint32
		hasSOA  bool
		lost    int
		own     error // of a server that this machine cannot ask
	)
	fail := func(server string, err error) {
		trouble = append(trouble, server+": "+err.Error())
		switch {
		case lack.Of(err) != nil || lack.NoWay(lack.Addresses(err)) != nil:
			own = cmp.Or(own, err)
		case first == nil:
			first = err
		}
	}
	for i, server := range servers {
		if errs[i] != nil {
			fail(server.name, failDNS(ctx, errs[i]))
			continue
		}
		answer := answers[i]
		lost += answer.Sent - 1
		if err := serves(q, answer); err != nil {
			fail(server.name, err)
			continue
		}
		for _, rr := range answer.Found() {
			if soa, is := rr.(*dns.SOA); is {
				highest, hasSOA = max(highest, soa.Serial), true
			}
		}
		key := v.key(answer)
		if _, seen := views[key]; !seen {
			views[key] = v.tell(answer)
			order = append(order, key)
		}
		told = append(told, server.name+" says "+v.tell(answer))
	}
	w.Measure("dns_name_servers_asked", "Addresses of name servers that were asked.", float64(len(servers)))
	w.Measure("dns_name_servers_failing", "Addresses of name servers without an answer, or without an authoritative one.", float64(len(trouble)))
	w.Measure("dns_questions_repeated", "How often the question was sent again because no answer came within a second or more.", float64(lost))
	if hasSOA {
		w.Measure("dns_soa_serial", "The serial number of the zone.", float64(highest))
	}
	var transcripts []byte
	for _, answer := range answers {
		if answer != nil {
			transcripts = append(append(transcripts, answerText(answer)...), '\n')
		}
	}
	if len(order) > 1 {
		w.Attach("dns answers", "text/plain", transcripts)
		return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "the servers differ on %s: %s", q, strings.Join(append(told, trouble...), "; "))
	}
	if len(trouble) > 0 {
		w.Attach("dns answers", "text/plain", transcripts)
		decisive, failure := cmp.Or(first, own), (*steps.Failure)(nil)
		if !errors.As(decisive, &failure) {
			return decisive
		}
		err := steps.Fail(failure.Reason, failure.Blame, "%d of %d servers: %s", len(trouble), len(servers), strings.Join(trouble, "; "))
		return lack.With(err, decisive)
	}
	note := fmt.Sprintf("%d servers say %s", len(servers), views[order[0]])
	if lost > 0 {
		note += fmt.Sprintf("; %d questions were repeated", lost)
	}
	w.Note(note)
	return nil
}

// serves returns an error if an answer cannot be compared: the server could not answer, or it is not a name server of
// the zone. The absence of a name or record is an answer.
func serves(q dnsclient.Question, answer *dnsclient.Answer) error {
	err := answer.Trouble()
	switch {
	case err != nil && (!dnsclient.IsAbsent(err) || answer.Referral() != ""):
		return failAnswer(err)
	case q.NoRecursion && !answer.Authoritative:
		return unexpected(answer, "is not authoritative: the server has it from another server, or is not set up for the zone")
	default:
		return nil
	}
}

func serial(answer *dnsclient.Answer) string {
	for _, rr := range answer.Found() {
		if soa, is := rr.(*dns.SOA); is {
			return fmt.Sprintf("serial %d", soa.Serial)
		}
	}
	return said(answer)
}

// wholeAnswerKey returns a key that is equal for answers with the same records, in any order and with any TTL.
func wholeAnswerKey(answer *dnsclient.Answer) string {
	found := answer.Found()
	lines := make([]string, 0, len(found))
	for _, rr := range found {
		rr = dns.Copy(rr)
		rr.Header().Ttl, rr.Header().Name = 0, "."
		line := rr.String()
		switch rr.(type) {
		case *dns.NS, *dns.CNAME, *dns.MX, *dns.PTR, *dns.SOA, *dns.SRV:
			line = strings.ToLower(line) // case does not matter in names
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return dnsclient.RcodeName(answer.Rcode) + "\n" + strings.Join(lines, "\n")
}
