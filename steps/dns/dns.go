// Package dns holds the sentences about DNS: answers, agreement of servers, DNSSEC, DANE, the records of mail and reputation.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/lookup"
)

const lookUpMeasures = "Phases: dns (only if the server's own name was looked up), connect, tls, exchange. Measures dns_answer_records, dns_answer_ttl_seconds (the lowest), " +
	"dns_answer_bytes, dns_questions_repeated, dns_servers_unanswered and, for an SOA record, dns_soa_serial."

func init() {
	steps.RegisterArea(steps.Area{Name: "dns", Title: "DNS", Place: 70})
	steps.RegisterKind(steps.Kind{Name: "record", Means: "a type of DNS record: MX, TXT, TYPE65400", Pattern: `[A-Z][A-Z0-9]*`,
		Sample: "MX",
		Check:  func(a steps.Args, i int, _ steps.Known) error { _, err := recordType(a.Text(i)); return err }})
	steps.RegisterKind(steps.Kind{Name: "way", Means: "how to query a DNS server: UDP, TCP, TLS, HTTPS, IPv4 or IPv6, or two as in TCP and IPv6",
		Pattern: `(?:UDP|TCP|TLS|HTTPS)(?: and IPv[46])?|IPv[46]`, Sample: "UDP"})
	const (
		does = "Queries the configured resolver (resolver in stepwatch.yml, by default the machine's) for the records of one type of a name. For a PTR record, the name may be an address. " +
			"Uses UDP, and TCP if the answer does not fit. Fails if no answer arrives; the next step checks the answer. " +
			"If a packet is lost, the step repeats the query after one second and reports that."
		at   = " The resolver is not used. The default port is 53, 853 for TLS and 443 for HTTPS."
		over = " `over` is one of UDP (an answer that does not fit stays truncated), TCP, TLS, HTTPS, IPv4 and IPv6, or two as in `over TCP and IPv6`. The server's certificate must be valid; tls.ca in stepwatch.yml adds a private CA."
		only = " The server must answer from its own data, as when a resolver queries the name servers of a zone."
	)
	for _, d := range []steps.Definition{
		{Sentence: `I look up the {record} of {name}`, Does: does, Example: `When I look up the MX of "example.org"`},
		{Sentence: `I look up the {record} of {name} over {way}`, Does: "Queries the configured resolver over a given transport or address family." + over, Example: `When I look up the A of "example.org" over TCP and IPv6`},
		{Sentence: `I look up the {record} of {name} at {server}`, Does: "Queries a given server." + at, Example: `When I look up the A of "example.org" at "192.0.2.53"`},
		{Sentence: `I look up the {record} of {name} at {server} over {way}`, Does: "Queries a given server over a given transport or address family." + at + over, Example: `When I look up the A of "example.org" at "dns.example.org" over TLS`},
		{Sentence: `I look up the {record} of {name} at {server} without recursion`, Does: "Queries a name server." + at + only, Example: `When I look up the SOA of "example.org" at "ns1.example.org" without recursion`},
		{Sentence: `I look up the {record} of {name} at {server} over {way} without recursion`, Does: "Queries a name server over a given transport or address family." + at + over + only, Example: `When I look up the SOA of "example.org" at "ns1.example.org" over IPv6 without recursion`},
	} {
		d.Area, d.Measures = "dns", lookUpMeasures
		atServer, overWay, noRecursion := strings.Contains(d.Sentence, "{server}"), strings.Contains(d.Sentence, "{way}"), strings.HasSuffix(d.Sentence, "without recursion")
		d.Func = func(ctx context.Context, w *steps.World, a steps.Args) error {
			q, err := question(a.Text(0), a.Text(1))
			if err != nil {
				return err
			}
			q.NoRecursion = noRecursion
			if atServer {
				q.Server = w.Target().AddressOf(a.Text(2))
			}
			if overWay {
				q.Transport, q.Family = wayOf(a.Text(len(a.Captured) - 1))
			}
			return lookUp(ctx, w, q)
		}
		steps.Register(d)
	}
	steps.Register(
		steps.Definition{
			Area: "dns", Sentence: `I lookup {name}`, Example: `When I lookup "www.example.org"`,
			Does:     "Looks up the IPv4 and IPv6 addresses of a host. Fails if it has none.",
			Measures: "The duration includes both look-ups.",
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				addresses, err := lookup.Client(w).Addresses(ctx, a.Text(0), dnsclient.AnyFamily)
				s := steps.State[dnsState](w)
				*s = dnsState{}
				if err != nil {
					return failDNS(ctx, err)
				}
				for _, ip := range addresses {
					s.resolved = append(s.resolved, ip.String())
				}
				w.Note(strings.Join(s.resolved, ", "))
				return nil
			},
		},
		steps.Definition{
			Area: "dns", Sentence: `I reverse lookup {name}`, Example: `When I reverse lookup "192.0.2.25"`,
			Does: "Looks up the names of an address in reverse DNS. Fails if it has none.",
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
				ip, err := netip.ParseAddr(a.Text(0))
				if err != nil {
					return steps.FailScenario("%q is not an address", a.Text(0))
				}
				names, err := lookup.Client(w).PTR(ctx, ip)
				s := steps.State[dnsState](w)
				*s = dnsState{}
				if err != nil {
					return failDNS(ctx, err)
				}
				s.resolved = names
				w.Note(strings.Join(names, ", "))
				return nil
			},
		},
		steps.Definition{
			Area: "dns", Sentence: `the name should resolve to {text}`, Example: `Then the name should resolve to "192.0.2.80"`,
			Does: "Fails unless the address is among those that were looked up.",
			Func: func(_ context.Context, w *steps.World, a steps.Args) error {
				ip, err := netip.ParseAddr(a.Text(0))
				if err != nil {
					return steps.FailScenario("%q is not an address", a.Text(0))
				}
				return resolvesTo(w, ip.Unmap().String(), `I lookup "…"`)
			},
		},
		steps.Definition{
			Area: "dns", Sentence: `the IP should resolve to {text}`, Example: `Then the IP should resolve to "mail.example.org"`,
			Does: "Fails unless the name is among those that were looked up for the address. Case is ignored.",
			Func: func(_ context.Context, w *steps.World, a steps.Args) error {
				return resolvesTo(w, strings.TrimSuffix(a.Text(0), "."), `I reverse lookup "…"`)
			},
		},
	)
}

// dnsState is the result of the last look-up.
type dnsState struct {
	answer *dnsclient.Answer
	proof  *dnsclient.Proof // of the answer, once requested

	resolved []string // by "I lookup" and "I reverse lookup"
}

func resolvesTo(w *steps.World, wanted, before string) error {
	got := steps.State[dnsState](w).resolved
	if len(got) == 0 {
		return steps.FailScenario("nothing was looked up: write a step %s before this one", before)
	}
	if slices.ContainsFunc(got, func(s string) bool { return strings.EqualFold(s, wanted) }) {
		return nil
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "it resolves to %s, want %s", strings.Join(got, ", "), wanted)
}

// timedQuestion sends one query and reports its phases. If a phase occurs twice, for example with a second server, it
// is reported once with the total time.
func timedQuestion(ctx context.Context, w *steps.World, q dnsclient.Question) (*dnsclient.Answer, error) {
	var phases []result.Phase
	client := lookup.Client(w)
	client.Trace = func(name string, d time.Duration) {
		i := slices.IndexFunc(phases, func(p result.Phase) bool { return p.Name == name })
		if i < 0 {
			phases = append(phases, result.Phase{Name: name, Duration: d})
			return
		}
		phases[i].Duration += d
	}
	answer, err := client.Ask(ctx, q)
	for _, p := range phases {
		w.Phase(p.Name, p.Duration, "")
	}
	return answer, err
}

func recordType(name string) (uint16, error) {
	kind, known := dnsclient.ParseType(name)
	if !known {
		return 0, steps.FailScenario("%s is not a record type: write one as A, AAAA, MX or TXT", name)
	}
	return kind, nil
}

func question(kind, name string) (dnsclient.Question, error) {
	q := dnsclient.Question{Name: name}
	var err error
	if q.Type, err = recordType(kind); err != nil {
		return q, err
	}
	if ip, err := netip.ParseAddr(name); err == nil && q.Type == dns.TypePTR {
		q.Name = dnsclient.ReverseName(ip)
	}
	return q, nil
}

// wayOf parses "TCP", "IPv6" and "TCP and IPv6".
func wayOf(text string) (dnsclient.Transport, dnsclient.Family) {
	first, second, _ := strings.Cut(text, " and ")
	if strings.HasPrefix(first, "IPv") {
		return dnsclient.Auto, family(first)
	}
	return dnsclient.Transport(first), family(second)
}

func family(text string) dnsclient.Family {
	switch text {
	case "IPv4":
		return dnsclient.IPv4
	case "IPv6":
		return dnsclient.IPv6
	default:
		return dnsclient.AnyFamily
	}
}

// failDNS returns the Failure for an error of dnsclient.
func failDNS(ctx context.Context, err error) error {
	e := (*dnsclient.Error)(nil)
	if !errors.As(err, &e) {
		return steps.FailNet(ctx, err, result.BlameDNS, "ask for records")
	}
	if errors.Is(context.Cause(ctx), steps.ErrStopped) {
		return steps.FailNet(ctx, e, result.BlameDNS, e.Act())
	}
	switch e.Kind {
	case dnsclient.Asked:
		return steps.FailScenario("%w", e)
	case dnsclient.Network:
		if e.Detail == "" {
			return steps.FailNet(ctx, unsaid{e}, result.BlameDNS, e.Act())
		}
		return steps.Fail(result.ReasonConnect, result.BlameDNS, "%w", e)
	case dnsclient.Timeout:
		return steps.Fail(result.ReasonTimeout, result.BlameDNS, "%w", e)
	case dnsclient.TooLarge:
		return steps.Fail(result.ReasonTooLarge, result.BlameDNS, "%w", e)
	case dnsclient.Protocol:
		return steps.Fail(result.ReasonProtocol, result.BlameDNS, "%w", e)
	default:
		return failAnswer(e)
	}
}

// unsaid is an error of dnsclient whose text leaves out what was asked, which the act says.
type unsaid struct{ whole *dnsclient.Error }

// Error returns the error of the network.
func (u unsaid) Error() string { return u.whole.Err.Error() }

// Unwrap returns the whole error.
func (u unsaid) Unwrap() error { return u.whole }

// failAnswer returns the Failure for an error of Answer.Trouble.
func failAnswer(err error) error {
	if e := (*dnsclient.Error)(nil); errors.As(err, &e) && e.Kind == dnsclient.Truncated {
		return steps.Fail(result.ReasonProtocol, result.BlameDNS, "%w", err)
	}
	return steps.Fail(result.ReasonDNS, result.BlameDNS, "%w", err)
}

// lookUp sends a query, keeps the answer for the steps that judge it, and reports it.
func lookUp(ctx context.Context, w *steps.World, q dnsclient.Question) error {
	s := steps.State[dnsState](w)
	*s = dnsState{}
	answer, err := timedQuestion(ctx, w, q)
	if err != nil {
		return failDNS(ctx, err)
	}
	s.answer = answer
	found := answer.Found()
	w.Measure("dns_answer_records", "Records of the requested type in the answer.", float64(len(found)))
	w.Measure("dns_answer_bytes", "Size of the answer in bytes.", float64(answer.Size))
	w.Measure("dns_questions_repeated", "How often the query was repeated because no answer arrived within a second or more.", float64(answer.Sent-1))
	w.Measure("dns_servers_unanswered", "Servers and addresses that did not answer before another one did.", float64(len(answer.Unanswered)))
	if lowest, _, ok := ttls(found); ok {
		w.Measure("dns_answer_ttl_seconds", "Lowest time to live in the answer.", lowest.Seconds())
	}
	for _, rr := range found {
		if soa, is := rr.(*dns.SOA); is {
			w.Measure("dns_soa_serial", "Serial number of the zone.", float64(soa.Serial))
		}
	}
	w.Note(toldAnswer(answer))
	return nil
}

// toldAnswer describes an answer on one line: its content, and any trouble before it arrived.
func toldAnswer(a *dnsclient.Answer) string {
	said := said(a)
	if a.Question.Server != "" || a.Transport != dnsclient.UDP {
		said += fmt.Sprintf(" (%s over %s)", a.Server, a.Transport)
	}
	if a.Sent > 1 {
		said += fmt.Sprintf("; sent %d times over UDP: a packet was lost or the answer was late", a.Sent)
	}
	for _, err := range a.Unanswered {
		said += "; failed before: " + err.Error()
	}
	return said
}

// said describes the content of an answer: its records, or why there are none.
func said(a *dnsclient.Answer) string {
	e := (*dnsclient.Error)(nil)
	if err := a.Trouble(); errors.As(err, &e) {
		return e.Detail
	}
	return recordList(a.Found())
}

// recordList lists the data of records in quotes. Records beyond the limit are counted.
func recordList(records []dns.RR) string {
	const most, longest = 8, 300
	var words []string
	for _, rr := range records[:min(most, len(records))] {
		text := recordData(rr)
		if len(text) > longest {
			text = text[:longest] + "…"
		}
		words = append(words, `"`+text+`"`)
	}
	if len(records) > most {
		words = append(words, fmt.Sprintf("and %d more", len(records)-most))
	}
	return strings.Join(words, ", ")
}

// recordData returns a record's data as in a zone file; a TXT record is joined and without quotes.
func recordData(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.TXT:
		return strings.Join(rr.Txt, "")
	case *dns.RFC3597:
		return fmt.Sprintf(`\# %d %s`, len(rr.Rdata)/2, rr.Rdata)
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// ttls returns the lowest and the highest time to live.
func ttls(records []dns.RR) (lowest, highest time.Duration, ok bool) {
	for i, rr := range records {
		ttl := time.Duration(rr.Header().Ttl) * time.Second
		if i == 0 {
			lowest, highest = ttl, ttl
		}
		lowest, highest = min(lowest, ttl), max(highest, ttl)
	}
	return lowest, highest, len(records) > 0
}
