package maildns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/miekg/dns"
)

// suite is a section of the test suite of RFC 7208 by the authors of SPF (testdata/spf).
type suite struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, Mailfrom string
		Result               any // one, or several that are allowed
	}
	Zonedata map[string][]any
}

// several reads a list, or a single value as a list of one.
func several(value any) []string {
	list, is := value.([]any)
	if !is {
		return []string{fmt.Sprint(value)}
	}
	var all []string
	for _, v := range list {
		all = append(all, fmt.Sprint(v))
	}
	return all
}

var errTimeout = errors.New("timeout")

// suiteZone answers from the data of a section. A name marked as a timeout is an error, unless it has a record of the
// requested type.
func suiteZone(t *testing.T, data map[string][]any) Lookup {
	t.Helper()
	zones := map[string]map[string][]dns.RR{}
	silent := map[string]bool{}
	for domain, records := range data {
		name := Canonical(domain)
		zones[name] = map[string][]dns.RR{}
		texts, old := []dns.RR(nil), []dns.RR(nil)
		for _, record := range records {
			fields, is := record.(map[string]any)
			if !is {
				silent[name] = true // "TIMEOUT"
				continue
			}
			for kind, value := range fields {
				header := dns.RR_Header{Name: dns.Fqdn(name), Class: dns.ClassINET, Rrtype: dns.StringToType[kind]}
				switch kind {
				case "TIMEOUT", "SERVFAIL", "CNAMELOOP":
					silent[name] = true
				case "A":
					zones[name][kind] = append(zones[name][kind], &dns.A{Hdr: header, A: netip.MustParseAddr(fmt.Sprint(value)).AsSlice()})
				case "AAAA":
					zones[name][kind] = append(zones[name][kind], &dns.AAAA{Hdr: header, AAAA: netip.MustParseAddr(fmt.Sprint(value)).AsSlice()})
				case "MX":
					zones[name][kind] = append(zones[name][kind], &dns.MX{Hdr: header, Mx: dns.Fqdn(several(value)[1])})
				case "PTR":
					zones[name][kind] = append(zones[name][kind], &dns.PTR{Hdr: header, Ptr: dns.Fqdn(fmt.Sprint(value))})
				case "CNAME":
					zones[name][kind] = append(zones[name][kind], &dns.CNAME{Hdr: header, Target: dns.Fqdn(fmt.Sprint(value))})
				case "TXT", "SPF": // SPF had a type of its own, which RFC 7208 gave up
					header.Rrtype = dns.TypeTXT
					text := &dns.TXT{Hdr: header, Txt: several(value)}
					if kind == "TXT" && text.Txt[0] != "NONE" {
						texts = append(texts, text)
					} else if kind == "TXT" {
						texts = []dns.RR{}
					} else {
						old = append(old, text)
					}
				default:
					t.Fatalf("%s has a record of the type %s", domain, kind)
				}
			}
		}
		if texts == nil {
			texts = old
		}
		zones[name]["TXT"] = texts
	}
	var lookup Lookup
	lookup = func(ctx context.Context, name string, kind uint16) (Answer, error) {
		name = Canonical(name)
		records := zones[name][dns.TypeToString[kind]]
		if alias := zones[name]["CNAME"]; len(alias) > 0 {
			return lookup(ctx, alias[0].(*dns.CNAME).Target, kind)
		}
		if len(records) == 0 && silent[name] {
			return Answer{}, errTimeout
		}
		return Answer{Records: records}, nil
	}
	return lookup
}

func TestSPFSuite(t *testing.T) {
	text, err := os.ReadFile("testdata/spf/rfc7208-tests.yml")
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for section := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var s suite
		if err := yaml.Unmarshal(section, &s); err != nil {
			t.Fatal(err)
		}
		lookup := suiteZone(t, s.Zonedata)
		for name, test := range s.Tests {
			t.Run(strings.ReplaceAll(s.Description, " ", "_")+"/"+name, func(t *testing.T) {
				verdict, err := EvaluateSPF(t.Context(), lookup, Sender{Address: netip.MustParseAddr(test.Host), HELO: test.Helo, From: test.Mailfrom})
				if !slices.Contains(several(test.Result), string(verdict.Result)) {
					t.Errorf("got %+v, %v, want %v", verdict, err, test.Result)
				}
				if (err != nil) != (verdict.Result == SPFTempError) {
					t.Errorf("got %s with the error %v", verdict.Result, err)
				}
				if verdict.Lookups > spfLookups {
					t.Errorf("%d look-ups", verdict.Lookups)
				}
			})
			done++
		}
	}
	if done < 200 {
		t.Errorf("the suite has %d tests, want more than 200", done)
	}
}
