package dns

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.Register(
		steps.Definition{
			Area: "dns", Sentence: `the address of {name} and its name match both ways`,
			Does: "Looks up every address of a host, IPv4 and IPv6, and the names of each in reverse DNS (PTR). Fails unless each address has the host's name there, as mail servers require of senders. " +
				"The host is a name, or a host or account in stepwatch.yml (the server that receives its mail).",
			Measures: "All lookups (phase records). Measures dns_addresses{family}: number of addresses of the host, for ip4 and ip6.",
			Example:  `Then the address of "mail.example.org" and its name match both ways`,
			Func:     namesMatch,
		},
		steps.Definition{
			Area: "dns", Sentence: `the greeting of {server} names a host at its address`,
			Does: "Connects to an SMTP server and reads its name in its greeting and in its answer to EHLO. Fails unless the name is a full host name that resolves to the address " +
				"of the connection, and is the same in both (if the answer to EHLO has one). The server is a host, or a host or account in stepwatch.yml, and a port.",
			Measures: "Phases: dns, connect, banner, ehlo, quit, and records.",
			Example:  `Then the greeting of "mail.example.org:25" names a host at its address`,
			Func:     greetingNames,
		},
		steps.Definition{
			Area: "dns", Sentence: `{name} is on no blocklist of`, Pattern: `^"([^"]+)" is on no blocklist of:?$`,
			Does: "Asks the DNS blocklists of the table, one in each row, about every address of a host (or about one address). Fails when a list has one of them. It also asks each list about its test addresses (RFC 5782 " +
				"section 5). A list that no longer exists, lists everything, or refuses to answer (as large ones do for public resolvers) proves nothing: the message names it, and the step does not pass. " +
				"Lists without IPv6 addresses are asked about IPv4 only. Many lists require your own resolver: set resolver in stepwatch.yml. The host is a name, or a host or account in stepwatch.yml.",
			Measures: "All lookups (phase records). Measures dnsbl_listed{list} for each list that answered: the number of the host's addresses on it.",
			Table:    steps.Required,
			Example:  "Then \"mail.example.org\" is on no blocklist of\n  | bl.example.net |\n  | dnsbl.example.org |",
			Func:     onNoBlocklist,
		},
	)
}

func namesMatch(ctx context.Context, w *steps.World, a steps.Args) error {
	host, err := hostOf(w, a.Text(0))
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return steps.FailScenario("%q is an address: write the host's name", host)
	}
	var n *maildns.Names
	if err := askRecords(ctx, w, func(ctx context.Context, lookup maildns.Lookup) (err error) {
		n, err = maildns.CheckNames(ctx, lookup, host)
		return err
	}); err != nil {
		return err
	}
	var words []string
	four := 0
	for _, address := range n.Addresses {
		words = append(words, address.String())
		if address.Is4() {
			four++
		}
	}
	w.Measure("dns_addresses", "Number of addresses of the host.", float64(four), result.Label{Name: "family", Value: "ip4"})
	w.Measure("dns_addresses", "Number of addresses of the host.", float64(len(n.Addresses)-four), result.Label{Name: "family", Value: "ip6"})
	return finding{"reverse DNS of " + wording.Quote(host), strings.Join(words, ", "), n.Findings}.judge(w)
}

func greetingNames(ctx context.Context, w *steps.World, a steps.Args) error {
	host, port, err := w.ServerAddress(a.Text(0))
	if err != nil {
		return err
	}
	c := &mail.SMTPClient{World: w, Blame: result.BlameTransfer, Host: host, Server: net.JoinHostPort(host, strconv.Itoa(port)), ImplicitTLS: port == address.PortSMTPS, AnyTLS: true}
	var peer netip.Addr
	if err := c.Talk(ctx, func() error {
		if remote, is := c.Socket.RemoteAddr().(*net.TCPAddr); is {
			peer = remote.AddrPort().Addr().Unmap()
		}
		return nil
	}); err != nil {
		c.Log.Attach(w, "smtp transcript")
		return err
	}
	w.Note("greets as " + wording.Quote(c.Greets) + ", answers EHLO as " + wording.Quote(c.Called))
	if strings.Contains(c.Called, ".") && !strings.EqualFold(c.Greets, c.Called) {
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "%s greets as %s and answers EHLO as %s, wanted the same name", c.Server, wording.Quote(c.Greets), wording.Quote(c.Called))
	}
	if _, err := dnsclient.Fqdn(c.Greets); err != nil || !strings.Contains(strings.Trim(c.Greets, "."), ".") {
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "%s greets as %s, wanted a full host name: set it in the server (myhostname, primary_hostname)", c.Server, wording.Quote(c.Greets))
	}
	var addresses []netip.Addr
	err = askRecords(ctx, w, func(ctx context.Context, _ maildns.Lookup) (err error) {
		addresses, err = lookup.Client(w).Addresses(ctx, c.Greets, dnsclient.AnyFamily)
		return err
	})
	switch {
	case dnsclient.IsAbsent(err):
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "%s greets as %s, which has no address: give that name the address %s, or the server its correct name", c.Server, wording.Quote(c.Greets), peer)
	case err != nil:
		return err
	case !slices.Contains(addresses, peer):
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "%s greets as %s, which has the address %s, wanted %s", c.Server, wording.Quote(c.Greets), addresses[0], peer)
	}
	return nil
}

// mostBlocklists is the number of lists that one step may ask.
const mostBlocklists = 64

func onNoBlocklist(ctx context.Context, w *steps.World, a steps.Args) error {
	lists := make([]string, 0, len(a.Table))
	for _, row := range a.Table {
		list := strings.TrimSuffix(strings.ToLower(row[0]), ".")
		if _, err := dnsclient.Fqdn(list); err != nil || len(row) != 1 || !strings.Contains(list, ".") || slices.Contains(lists, list) {
			return steps.FailScenario("%q is not a blocklist: write the domain of one list in each row, such as | bl.example.org |", strings.Join(row, " | "))
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 || len(lists) > mostBlocklists {
		return steps.FailScenario("%d blocklists in the table, wanted 1 to %d, one in each row", len(lists), mostBlocklists)
	}
	ctx, cancel := context.WithTimeout(ctx, lookup.Limit)
	defer cancel()
	found := make([]listed, len(lists))
	err := w.Timed("records", func() (string, error) {
		addresses, err := senderAddresses(ctx, w, a.Text(0))
		if err != nil {
			return "", err
		}
		lookup := lookup.Records(w)
		var asking sync.WaitGroup
		for i, list := range lists {
			asking.Go(func() { found[i] = askList(ctx, lookup, list, addresses) })
		}
		asking.Wait()
		return "", nil
	})
	if err != nil {
		return err
	}
	var (
		have, silent []string
		unasked      error // why a list could not be asked
	)
	monitor := true // whether all silent lists refuse this machine's resolver
	for i, f := range found {
		switch {
		case len(f.addresses) > 0:
			have = append(have, fmt.Sprintf("%s has %s", lists[i], strings.Join(f.addresses, ", ")))
		case f.trouble != "":
			silent = append(silent, lists[i]+": "+f.trouble)
			unasked = cmp.Or(unasked, f.err)
			monitor = monitor && f.refused
			continue
		}
		w.Measure("dnsbl_listed", "Number of the host's addresses that are on the blocklist.", float64(len(f.addresses)), result.Label{Name: "list", Value: lists[i]})
	}
	if len(silent) > 0 {
		w.Note(wording.OneLine("proves nothing: "+strings.Join(silent, "; "), 500))
	}
	switch {
	case len(have) > 0:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s is on %d of %d blocklists: %s; find out what it sent, then ask the list to remove it", a.Text(0), len(have), len(lists), strings.Join(have, "; "))
	case len(silent) > 0 && monitor:
		return steps.Fail(result.ReasonRefused, result.BlameMonitor, "%d of %d blocklists do not answer this machine's resolver: %s; set your own resolver under resolver in stepwatch.yml, or remove the list",
			len(silent), len(lists), strings.Join(silent, "; "))
	case len(silent) > 0:
		err := steps.Fail(result.ReasonScenario, result.BlameScenario, "%d of %d blocklists prove nothing: %s; remove those that do not work", len(silent), len(lists), strings.Join(silent, "; "))
		return lack.With(err, unasked)
	}
	return nil
}

// listed is the result of one list for all addresses of a host.
type listed struct {
	addresses []string // the addresses on the list, each with the reason
	trouble   string   // why the list proves nothing, or empty
	refused   bool     // whether the list refuses to answer
	err       error    // why the list could not be asked, or nil
}

func askList(ctx context.Context, lookup maildns.Lookup, list string, addresses []netip.Addr) listed {
	var l listed
	able := false
	unable := ""
	for _, address := range addresses {
		answer, err := maildns.CheckBlocklist(ctx, lookup, list, address)
		switch {
		case err != nil:
			l.trouble, l.err = err.Error(), err
		case answer.Standing == maildns.Listed:
			why := ""
			if answer.Text != "" {
				why = ": " + wording.OneLine(answer.Text, 200)
			}
			l.addresses = append(l.addresses, fmt.Sprintf("%s (%s%s)", address, strings.Join(answer.Codes, " "), why))
		case answer.Standing == maildns.Unable:
			unable = answer.Text
		case answer.Standing != maildns.NotListed:
			l.trouble, l.refused = answer.Text, answer.Standing == maildns.Refusing
		default:
			able = true
		}
	}
	if l.trouble == "" && !able && len(l.addresses) == 0 {
		l.trouble = unable
	}
	return l
}
