package dns

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

func init() {
	const asWritten = " Write records as in a zone file, with absolute names (the final dot is optional), and a TXT as one text without quotes."
	judge := func(sentence, does, example string, do func(a *dnsclient.Answer, args steps.Args) error) {
		steps.Register(steps.Definition{Area: "dns", Sentence: sentence, Does: does, Example: example, Func: func(_ context.Context, w *steps.World, args steps.Args) error {
			answer, err := lastAnswer(w)
			if err != nil {
				return err
			}
			err = do(answer, args)
			if err != nil {
				w.Attach("dns answer", "text/plain", answerText(answer))
			}
			return err
		}})
	}
	judge(`the answer is {text}`, "Fails unless the answer is exactly this record."+asWritten, `Then the answer is "10 mail.example.org"`,
		func(a *dnsclient.Answer, args steps.Args) error { return onlyRecords(a, []string{args.Text(0)}) })
	judge(`the answer is:`, "Fails unless the answer has exactly the records of the table, in any order. Each row is one record."+asWritten,
		"Then the answer is:\n| 10 | mail.example.org |\n| 20 | mx2.example.org |",
		func(a *dnsclient.Answer, args steps.Args) error {
			wanted, err := rows(args)
			if err != nil {
				return err
			}
			return onlyRecords(a, wanted)
		})
	judge(`the answer contains {text}`, "Fails unless the answer contains this record."+asWritten, `Then the answer contains "20 mx2.example.org"`,
		func(a *dnsclient.Answer, args steps.Args) error { return containsAll(a, []string{args.Text(0)}) })
	judge(`the answer contains:`, "Fails unless the answer contains every record of the table."+asWritten, "Then the answer contains:\n| v=spf1 mx -all |",
		func(a *dnsclient.Answer, args steps.Args) error {
			wanted, err := rows(args)
			if err != nil {
				return err
			}
			return containsAll(a, wanted)
		})
	judge(`the answer does not contain {text}`, "Fails when the answer contains this record. It also fails when the answer is truncated or an error, because that proves nothing."+asWritten,
		`Then the answer does not contain "192.0.2.99"`, without)
	judge(`a record of the answer begins with {text}`, "Fails unless a record of the answer begins with this text. Use it for a TXT whose end varies.", `Then a record of the answer begins with "v=spf1 "`, begins)
	steps.Register(steps.Definition{Area: "dns", Sentence: `the answer has {int} records`, Pattern: `^the answer has (\d+) records?$`, Example: "Then the answer has 2 records",
		Does: "Fails unless the answer has this number of records of the type that was asked for. `has 1 record` works too; 0 is for a name that exists without such a record.",
		Func: func(_ context.Context, w *steps.World, args steps.Args) error {
			wanted, err := args.Int(0)
			if err != nil {
				return err
			}
			return hasRecords(w, wanted)
		}})
	judge(`the answer is authoritative`, "Fails unless the server is authoritative for the zone (the AA bit).", `Then the answer is authoritative`,
		func(a *dnsclient.Answer, _ steps.Args) error {
			if a.Authoritative {
				return nil
			}
			return unexpected(a, "is not authoritative: the server has it from another server, or is not set up for the zone")
		})
	judge(`the answer is truncated`, "Fails when the whole answer fits into 1232 bytes over UDP. Only an answer to a lookup with `over UDP` can be truncated.", `Then the answer is truncated`,
		func(a *dnsclient.Answer, _ steps.Args) error {
			if a.Truncated {
				return nil
			}
			return unexpected(a, "is complete (%d bytes), want it truncated", a.Size)
		})
	judge(`the name does not exist`, "Fails unless the server answers NXDOMAIN.", `Then the name does not exist`,
		func(a *dnsclient.Answer, _ steps.Args) error {
			if a.Rcode == dns.RcodeNameError {
				return nil
			}
			return unexpected(a, "is %s: %s; want NXDOMAIN", dnsclient.RcodeName(a.Rcode), said(a))
		})
	judge(`the response code is {word}`, "Fails unless the server answered with this response code. The usual ones are NOERROR, NXDOMAIN, SERVFAIL and REFUSED.", `Then the response code is REFUSED`,
		func(a *dnsclient.Answer, args steps.Args) error {
			wanted, known := dns.StringToRcode[strings.ToUpper(args.Text(0))]
			if !known {
				return steps.FailScenario("there is no response code %s: the usual ones are NOERROR, NXDOMAIN, SERVFAIL and REFUSED", args.Text(0))
			}
			if a.Rcode == wanted {
				return nil
			}
			return unexpected(a, "is %s: %s; want %s", dnsclient.RcodeName(a.Rcode), said(a), dnsclient.RcodeName(wanted))
		})
	judge(`the TTL is at least {duration}`, "Fails when a record of the answer may be cached for a shorter time only. A resolver counts the TTL down, so ask a name server of the zone.", `Then the TTL is at least 5 minutes`,
		func(a *dnsclient.Answer, args steps.Args) error {
			return judgeTTL(a, args, "at least", func(lowest, _, bound time.Duration) (time.Duration, bool) { return lowest, lowest >= bound })
		})
	judge(`the TTL is at most {duration}`, "Fails when a record of the answer may be cached for longer. Use it before a move, so that the change takes effect soon.", `Then the TTL is at most 5 minutes`,
		func(a *dnsclient.Answer, args steps.Args) error {
			return judgeTTL(a, args, "at most", func(_, highest, bound time.Duration) (time.Duration, bool) { return highest, highest <= bound })
		})
	judge(`the answer took at most {duration}`, "Fails when the answer came later, counted from the first question, without connecting, TLS and the lookup of the server's name.", `Then the answer took at most 100 ms`,
		func(a *dnsclient.Answer, args steps.Args) error {
			limit, err := args.Duration(0)
			if err != nil {
				return err
			}
			if a.Duration <= limit {
				return nil
			}
			repeated := ""
			if a.Sent > 1 {
				repeated = fmt.Sprintf("; it was requested %d times over UDP", a.Sent)
			}
			return steps.Fail(result.ReasonSlow, result.BlameDNS, "%s took %s, want at most %s%s", object(a), a.Duration.Round(time.Millisecond), limit, repeated)
		})
}

// lastAnswer returns the answer to the last lookup.
func lastAnswer(w *steps.World) (*dnsclient.Answer, error) {
	if a := steps.State[dnsState](w).answer; a != nil {
		return a, nil
	}
	return nil, steps.FailScenario(`nothing has been looked up: write a step I look up the … of "…" before this one`)
}

// object returns the subject of messages about an answer: the MX of "example.org" at 192.0.2.53:53.
func object(a *dnsclient.Answer) string { return fmt.Sprintf("%s at %s", a.Question, a.Server) }

func unexpected(a *dnsclient.Answer, format string, args ...any) error {
	return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "%s %s", object(a), fmt.Sprintf(format, args...))
}

// foundRecords returns the records that answer the question, or an error if there are none.
func foundRecords(a *dnsclient.Answer) ([]dns.RR, error) {
	if err := a.Trouble(); err != nil {
		return nil, failAnswer(err)
	}
	return a.Found(), nil
}

// rows returns each row of the table as one record.
func rows(args steps.Args) ([]string, error) {
	if len(args.Table) == 0 {
		return nil, steps.FailScenario("the step needs a table below it, with one record in each row")
	}
	wanted := make([]string, len(args.Table))
	for i, row := range args.Table {
		wanted[i] = strings.TrimSpace(strings.Join(row, " "))
	}
	return wanted, nil
}

// reader returns a function that reports whether a record equals the written one. It fails if the text is not a record
// of the type.
func reader(a *dnsclient.Answer, written string) (func(dns.RR) bool, error) {
	kind := dnsclient.TypeName(a.Question.Type)
	if a.Question.Type == dns.TypeTXT {
		return func(rr dns.RR) bool { txt, is := rr.(*dns.TXT); return is && dnsclient.Text(txt) == written }, nil
	}
	parsed, err := dns.NewRR(". 0 IN " + kind + " " + written)
	if err != nil || parsed == nil || strings.ContainsAny(written, "\r\n") {
		return nil, steps.FailScenario("%q is not a record of type %s: write it as in a zone file", written, kind)
	}
	return func(rr dns.RR) bool {
		parsed.Header().Name, parsed.Header().Ttl = rr.Header().Name, rr.Header().Ttl
		return dns.IsDuplicate(rr, parsed) || sameWire(rr, parsed)
	}, nil
}

// sameWire reports whether two records have the same wire format, regardless of the case of hexadecimal digits.
func sameWire(a, b dns.RR) bool {
	wire := func(rr dns.RR) []byte {
		packet := make([]byte, dns.Len(rr)+1)
		n, err := dns.PackRR(rr, packet, 0, nil, false)
		if err != nil {
			return nil
		}
		return packet[:n]
	}
	first := wire(a)
	return first != nil && bytes.Equal(first, wire(b))
}

func onlyRecords(a *dnsclient.Answer, wanted []string) error {
	found, missing, err := compare(a, wanted)
	if err != nil {
		return err
	}
	if len(missing) == 0 && len(found) == len(wanted) {
		return nil
	}
	return unexpected(a, "is %s, want %s", recordList(found), quoteAll(wanted))
}

func containsAll(a *dnsclient.Answer, wanted []string) error {
	found, missing, err := compare(a, wanted)
	if err != nil || len(missing) == 0 {
		return err
	}
	return unexpected(a, "is %s, without %s", recordList(found), quoteAll(missing))
}

// compare returns the records of the answer, and the wanted records that are missing. A record that is wanted twice
// must be there twice.
func compare(a *dnsclient.Answer, wanted []string) (found []dns.RR, missing []string, err error) {
	same := make([]func(dns.RR) bool, len(wanted))
	for i, text := range wanted {
		if same[i], err = reader(a, text); err != nil {
			return nil, nil, err
		}
	}
	if found, err = foundRecords(a); err != nil {
		return nil, nil, err
	}
	left := slices.Clone(found)
	for i, text := range wanted {
		at := slices.IndexFunc(left, same[i])
		if at < 0 {
			missing = append(missing, text)
			continue
		}
		left = slices.Delete(left, at, at+1)
	}
	return found, missing, nil
}

func quoteAll(texts []string) string {
	quotes := make([]string, len(texts))
	for i, text := range texts {
		quotes[i] = `"` + text + `"`
	}
	return strings.Join(quotes, ", ")
}

func without(a *dnsclient.Answer, args steps.Args) error {
	same, err := reader(a, args.Text(0))
	if err != nil {
		return err
	}
	if err := a.Trouble(); err != nil {
		if dnsclient.IsAbsent(err) {
			return nil
		}
		return failAnswer(err)
	}
	found := a.Found()
	if !slices.ContainsFunc(found, same) {
		return nil
	}
	return unexpected(a, "is %s, want it without %s", recordList(found), quoteAll(args.Captured))
}

func begins(a *dnsclient.Answer, args steps.Args) error {
	found, err := foundRecords(a)
	if err != nil {
		return err
	}
	for _, rr := range found {
		text := recordData(rr)
		if txt, is := rr.(*dns.TXT); is {
			text = dnsclient.Text(txt)
		}
		if strings.HasPrefix(text, args.Text(0)) {
			return nil
		}
	}
	return unexpected(a, "is %s, want one that begins with %s", recordList(found), quoteAll(args.Captured))
}

func hasRecords(w *steps.World, wanted int) error {
	a, err := lastAnswer(w)
	if err != nil {
		return err
	}
	if err := a.Trouble(); err != nil {
		if wanted == 0 && a.Rcode == dns.RcodeSuccess && dnsclient.IsAbsent(err) && a.Referral() == "" {
			return nil
		}
		return failAnswer(err)
	}
	if found := a.Found(); len(found) != wanted {
		w.Attach("dns answer", "text/plain", answerText(a))
		return unexpected(a, "has %d records, want %d: %s", len(found), wanted, recordList(found))
	}
	return nil
}

func judgeTTL(a *dnsclient.Answer, args steps.Args, words string, good func(lowest, highest, bound time.Duration) (time.Duration, bool)) error {
	bound, err := args.Duration(0)
	if err != nil {
		return err
	}
	found, err := foundRecords(a)
	if err != nil {
		return err
	}
	lowest, highest, _ := ttls(found)
	got, ok := good(lowest, highest, bound)
	if ok {
		return nil
	}
	return unexpected(a, "has a TTL of %s, want %s %s", got, words, bound)
}

// answerText returns the whole answer, as evidence.
func answerText(a *dnsclient.Answer) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s over %s: %s, %d bytes in %s\n", a.Question, a.Server, a.Transport, dnsclient.RcodeName(a.Rcode), a.Size, a.Duration)
	fmt.Fprintf(&b, "authoritative %t, validated by the server %t, truncated %t, sent %d times\n", a.Authoritative, a.Authenticated, a.Truncated, a.Sent)
	if a.Extra != "" {
		fmt.Fprintf(&b, "the server says: %s\n", a.Extra)
	}
	for _, section := range []struct {
		name    string
		records []dns.RR
	}{{"answer", a.Records}, {"authority", a.Authority}, {"additional", a.Additional}} {
		fmt.Fprintf(&b, "\n%s:\n", section.name)
		for _, rr := range section.records {
			fmt.Fprintln(&b, rr)
		}
	}
	return []byte(b.String())
}
