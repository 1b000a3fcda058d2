package steps

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
	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

const lookUpMeasures = "Phases: dns (only when the server's own name was looked up), connect, tls, exchange. Measures dns_answer_records, dns_answer_ttl_seconds (the lowest), " +
	"dns_answer_bytes, dns_questions_repeated, dns_servers_unanswered and, of a SOA, dns_soa_serial."

func init() {
	RegisterKind(Kind{Name: "record", Means: "a type of DNS record: MX, TXT, TYPE65400", Pattern: `[A-Z][A-Z0-9]*`,
		Sample: "MX",
		Check:  func(a Args, i int, _ Known) error { _, err := recordType(a.Text(i)); return err }})
	RegisterKind(Kind{Name: "way", Means: "how a DNS server is asked: UDP, TCP, TLS, HTTPS, IPv4 or IPv6, or two as in TCP and IPv6",
		Pattern: `(?:UDP|TCP|TLS|HTTPS)(?: and IPv[46])?|IPv[46]`, Sample: "UDP"})
	const (
		does = "Asks the configured resolver (resolver in stepwatch.yml, else the machine's own) for the records of one type, of any name; for a PTR the name may be an address. " +
			"Asks over UDP, and over TCP when the answer does not fit. Fails when no answer comes at all: whether the answer is right the next step says. " +
			"A packet that was lost is asked for again after a second, and the step says so."
		at   = " The server is asked whatever the resolver says; its port is 53, 853 over TLS and 443 over HTTPS unless it is given."
		over = " `over` is one of UDP (an answer that does not fit stays truncated), TCP, TLS, HTTPS, IPv4 and IPv6, or two as in `over TCP and IPv6`. The server's certificate must be right; tls.ca in stepwatch.yml names a private CA."
		only = " The server is asked for what it knows itself, as resolvers ask the name servers of a zone."
	)
	for _, d := range []Definition{
		{Sentence: `I look up the {record} of {name}`, Does: does, Example: `When I look up the MX of "example.org"`},
		{Sentence: `I look up the {record} of {name} over {way}`, Does: "Asks the configured resolver in a certain way." + over, Example: `When I look up the A of "example.org" over TCP and IPv6`},
		{Sentence: `I look up the {record} of {name} at {server}`, Does: "Asks a certain server." + at, Example: `When I look up the A of "example.org" at "192.0.2.53"`},
		{Sentence: `I look up the {record} of {name} at {server} over {way}`, Does: "Asks a certain server in a certain way." + at + over, Example: `When I look up the A of "example.org" at "dns.example.org" over TLS`},
		{Sentence: `I look up the {record} of {name} at {server} without recursion`, Does: "Asks a name server." + at + only, Example: `When I look up the SOA of "example.org" at "ns1.example.org" without recursion`},
		{Sentence: `I look up the {record} of {name} at {server} over {way} without recursion`, Does: "Asks a name server in a certain way." + at + over + only, Example: `When I look up the SOA of "example.org" at "ns1.example.org" over IPv6 without recursion`},
	} {
		d.Area, d.Measures = "dns", lookUpMeasures
		atServer, overWay, noRecursion := strings.Contains(d.Sentence, "{server}"), strings.Contains(d.Sentence, "{way}"), strings.HasSuffix(d.Sentence, "without recursion")
		d.Func = func(ctx context.Context, w *World, a Args) error {
			q, err := question(a.Text(0), a.Text(1))
			if err != nil {
				return err
			}
			q.NoRecursion = noRecursion
			if atServer {
				q.Server = w.target.AddressOf(a.Text(2))
			}
			if overWay {
				q.Transport, q.Family = wayOf(a.Text(len(a.Captured) - 1))
			}
			return lookUp(ctx, w, q)
		}
		Register(d)
	}
	Register(
		Definition{
			Area: "dns", Sentence: `I lookup {name}`, Example: `When I lookup "www.example.org"`,
			Does:     "Looks up the addresses of a host, IPv4 and IPv6. Fails when it has none.",
			Measures: "The duration is that of both look-ups.",
			Func: func(ctx context.Context, w *World, a Args) error {
				addresses, err := w.dnsClient().Addresses(ctx, a.Text(0), dnsclient.AnyFamily)
				s := State[dnsState](w)
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
		Definition{
			Area: "dns", Sentence: `I reverse lookup {name}`, Example: `When I reverse lookup "192.0.2.25"`,
			Does: "Looks up the names that an address has in reverse DNS. Fails when it has none.",
			Func: func(ctx context.Context, w *World, a Args) error {
				ip, err := netip.ParseAddr(a.Text(0))
				if err != nil {
					return scenarioFault("%q is no address", a.Text(0))
				}
				names, err := w.dnsClient().PTR(ctx, ip)
				s := State[dnsState](w)
				*s = dnsState{}
				if err != nil {
					return failDNS(ctx, err)
				}
				s.resolved = names
				w.Note(strings.Join(names, ", "))
				return nil
			},
		},
		Definition{
			Area: "dns", Sentence: `the name should resolve to {text}`, Example: `Then the name should resolve to "192.0.2.80"`,
			Does: "Fails when the address is not among those that were looked up.",
			Func: func(_ context.Context, w *World, a Args) error {
				ip, err := netip.ParseAddr(a.Text(0))
				if err != nil {
					return scenarioFault("%q is no address", a.Text(0))
				}
				return resolvesTo(w, ip.Unmap().String(), `I lookup "…"`)
			},
		},
		Definition{
			Area: "dns", Sentence: `the IP should resolve to {text}`, Example: `Then the IP should resolve to "mail.example.org"`,
			Does: "Fails when the name is not among those that were looked up for the address. Case does not count.",
			Func: func(_ context.Context, w *World, a Args) error {
				return resolvesTo(w, strings.TrimSuffix(a.Text(0), "."), `I reverse lookup "…"`)
			},
		},
	)
}

// dnsState is what was looked up last.
type dnsState struct {
	answer *dnsclient.Answer
	proof  *dnsclient.Proof // of the answer, once it was asked for

	resolved []string // by "I lookup" and "I reverse lookup"
}

func resolvesTo(w *World, wanted, before string) error {
	got := State[dnsState](w).resolved
	if len(got) == 0 {
		return scenarioFault("nothing was looked up: write a step %s before this one", before)
	}
	if slices.ContainsFunc(got, func(s string) bool { return strings.EqualFold(s, wanted) }) {
		return nil
	}
	return Fail(result.ReasonUnexpected, result.BlameDNS, "it resolves to %s, want %s", strings.Join(got, ", "), wanted)
}

// dnsClient asks as the target's configuration says.
func (w *World) dnsClient() *dnsclient.Client {
	return &dnsclient.Client{Resolver: w.target.Resolver, Roots: w.target.Roots, ConnectTo: w.target.ConnectTo}
}

// timedQuestion asks one question and reports its phases. One that was gone through twice, as when a second server is
// asked, is reported once with the time of both.
func (w *World) timedQuestion(ctx context.Context, q dnsclient.Question) (*dnsclient.Answer, error) {
	var phases []result.Phase
	client := w.dnsClient()
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
		return 0, scenarioFault("no type of record is called %s: write one as A, AAAA, MX or TXT", name)
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

// wayOf reads "TCP", "IPv6" and "TCP and IPv6".
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

// failDNS makes a Failure of an error of dnsclient.
func failDNS(ctx context.Context, err error) error {
	e := (*dnsclient.Error)(nil)
	if !errors.As(err, &e) {
		return FailNet(ctx, err, result.BlameDNS, "ask for records")
	}
	if errors.Is(context.Cause(ctx), ErrStopped) {
		return FailNet(ctx, e, result.BlameDNS, e.Act())
	}
	switch e.Kind {
	case dnsclient.Asked:
		return scenarioFault("%w", e)
	case dnsclient.Network:
		if e.Detail == "" {
			return FailNet(ctx, e.Err, result.BlameDNS, e.Act())
		}
		return Fail(result.ReasonConnect, result.BlameDNS, "%w", e)
	case dnsclient.Timeout:
		return Fail(result.ReasonTimeout, result.BlameDNS, "%w", e)
	case dnsclient.Protocol:
		return Fail(result.ReasonProtocol, result.BlameDNS, "%w", e)
	default:
		return failAnswer(e)
	}
}

// failAnswer makes a Failure of what Answer.Trouble says.
func failAnswer(err error) error {
	if e := (*dnsclient.Error)(nil); errors.As(err, &e) && e.Kind == dnsclient.Truncated {
		return Fail(result.ReasonProtocol, result.BlameDNS, "%w", err)
	}
	return Fail(result.ReasonDNS, result.BlameDNS, "%w", err)
}

// lookUp asks, keeps the answer for the steps that judge it, and reports what it is.
func lookUp(ctx context.Context, w *World, q dnsclient.Question) error {
	s := State[dnsState](w)
	*s = dnsState{}
	answer, err := w.timedQuestion(ctx, q)
	if err != nil {
		return failDNS(ctx, err)
	}
	s.answer = answer
	found := answer.Found()
	w.Measure("dns_answer_records", "Records of the wanted type in the answer.", float64(len(found)))
	w.Measure("dns_answer_bytes", "Size of the answer.", float64(answer.Size))
	w.Measure("dns_questions_repeated", "How often the question was sent again because no answer came within a second or more.", float64(answer.Sent-1))
	w.Measure("dns_servers_unanswered", "Servers and addresses that were asked before the one that answered and gave no answer.", float64(len(answer.Unanswered)))
	if lowest, _, ok := ttls(found); ok {
		w.Measure("dns_answer_ttl_seconds", "The lowest time to live in the answer.", lowest.Seconds())
	}
	for _, rr := range found {
		if soa, is := rr.(*dns.SOA); is {
			w.Measure("dns_soa_serial", "The serial number of the zone.", float64(soa.Serial))
		}
	}
	w.Note(toldAnswer(answer))
	return nil
}

// toldAnswer is one line about an answer: what it says, and all that was not as it should be on the way to it.
func toldAnswer(a *dnsclient.Answer) string {
	said := said(a)
	if a.Question.Server != "" || a.Transport != dnsclient.UDP {
		said += fmt.Sprintf(" (%s over %s)", a.Server, a.Transport)
	}
	if a.Sent > 1 {
		said += fmt.Sprintf("; asked %d times over UDP: a packet was lost or the answer late", a.Sent)
	}
	for _, err := range a.Unanswered {
		said += "; before: " + err.Error()
	}
	return said
}

// said is what an answer says: its records, or why there are none.
func said(a *dnsclient.Answer) string {
	e := (*dnsclient.Error)(nil)
	if err := a.Trouble(); errors.As(err, &e) {
		return e.Detail
	}
	return recordList(a.Found())
}

// recordList words records for an operator: their data, in quotes. What is too much is counted.
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

// recordData is what a record says, as a zone file has it; a TXT in one piece and without quotes.
func recordData(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.TXT:
		return strings.Join(rr.Txt, "")
	case *dns.RFC3597:
		return fmt.Sprintf(`\# %d %s`, len(rr.Rdata)/2, rr.Rdata)
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// ttls gives the lowest and the highest time to live.
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
