package steps

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/maildns"
)

func init() {
	Register(
		Definition{
			Area: "dns", Sentence: `the address of {name} and its name match both ways`,
			Does: "Looks up every address of a host, IPv4 and IPv6, and the names that each has in reverse DNS (PTR). Fails unless each has the host's own name, as mail servers demand of those that send to " +
				"them. The host is a name, or a host or account in stepwatch.yml (the server that takes its mail).",
			Measures: "All look-ups (phase records). Measures dns_addresses{family}: those of the host, for ip4 and ip6.",
			Example:  `Then the address of "mail.example.org" and its name match both ways`,
			Func:     namesMatch,
		},
		Definition{
			Area: "dns", Sentence: `the greeting of {server} names a host at its address`,
			Does: "Connects to an SMTP server and reads the name that it gives itself in its greeting and in its answer to EHLO. Fails unless it is a full host name that resolves to the address " +
				"that was connected to, and the same in both (where the answer to EHLO gives one). The server is a host, or a host or account in stepwatch.yml, and a port.",
			Measures: "Phases: dns, connect, banner, ehlo, quit, and records.",
			Example:  `Then the greeting of "mail.example.org:25" names a host at its address`,
			Func:     greetingNames,
		},
		Definition{
			Area: "dns", Sentence: `{name} is on no blocklist of`, Pattern: `^"([^"]+)" is on no blocklist of:?$`,
			Does: "Asks the DNS blocklists of the table, one a row, about every address of a host (or one address). Fails when one has it. Each list is also asked about its test addresses (RFC 5782 " +
				"section 5), so a list that is gone, that lists everything, or that refuses to answer (as the large ones do to public resolvers) proves nothing and is named, and is never taken for clean. " +
				"Lists without IPv6 addresses are asked about IPv4 only. Many lists want a resolver of your own: set resolver in stepwatch.yml. The host is a name, or a host or account in stepwatch.yml.",
			Measures: "All look-ups (phase records). Measures dnsbl_listed{list} of each list that answered: the number of addresses that it has.",
			Table:    Required,
			Example:  "Then \"mail.example.org\" is on no blocklist of\n  | bl.example.net |\n  | dnsbl.example.org |",
			Func:     onNoBlocklist,
		},
	)
}

func namesMatch(ctx context.Context, w *World, a Args) error {
	host, err := w.hostOf(a.Text(0))
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return scenarioFault("%q is an address: write the host's name, which its address has to have", host)
	}
	var n *maildns.Names
	if err := w.askRecords(ctx, func(ctx context.Context, lookup maildns.Lookup) (err error) {
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
	w.Measure("dns_addresses", "Addresses of the host.", float64(four), result.Label{Name: "family", Value: "ip4"})
	w.Measure("dns_addresses", "Addresses of the host.", float64(len(n.Addresses)-four), result.Label{Name: "family", Value: "ip6"})
	return finding{"reverse DNS of " + quote(host), strings.Join(words, ", "), n.Findings}.judge(w)
}

func greetingNames(ctx context.Context, w *World, a Args) error {
	host, port, err := w.serverAddress(a.Text(0))
	if err != nil {
		return err
	}
	c := &smtpClient{w: w, blame: result.BlameTransfer, host: host, server: net.JoinHostPort(host, strconv.Itoa(port)), implicitTLS: port == portSMTPS, anyTLS: true}
	var peer netip.Addr
	if err := c.talk(ctx, func() error {
		if remote, is := c.tcp.RemoteAddr().(*net.TCPAddr); is {
			peer = remote.AddrPort().Addr().Unmap()
		}
		return nil
	}); err != nil {
		c.log.attach(w, "smtp transcript")
		return err
	}
	w.Note("greets as " + quote(c.greets) + ", answers EHLO as " + quote(c.called))
	if strings.Contains(c.called, ".") && !strings.EqualFold(c.greets, c.called) {
		return Fail(result.ReasonUnexpected, result.BlameTransfer, "%s greets as %s and answers EHLO as %s, wanted one name", c.server, quote(c.greets), quote(c.called))
	}
	if _, err := dnsclient.Fqdn(c.greets); err != nil || !strings.Contains(strings.Trim(c.greets, "."), ".") {
		return Fail(result.ReasonUnexpected, result.BlameTransfer, "%s greets as %s, wanted a full host name: set it in the server (myhostname, primary_hostname)", c.server, quote(c.greets))
	}
	var addresses []netip.Addr
	err = w.askRecords(ctx, func(ctx context.Context, _ maildns.Lookup) (err error) {
		addresses, err = w.dnsClient().Addresses(ctx, c.greets, dnsclient.AnyFamily)
		return err
	})
	switch {
	case dnsclient.IsAbsent(err):
		return Fail(result.ReasonUnexpected, result.BlameTransfer, "%s greets as %s, which has no address: give that name the address %s, or the server its right name", c.server, quote(c.greets), peer)
	case err != nil:
		return err
	case !slices.Contains(addresses, peer):
		return Fail(result.ReasonUnexpected, result.BlameTransfer, "%s greets as %s, which has the address %s, wanted %s", c.server, quote(c.greets), addresses[0], peer)
	}
	return nil
}

// mostBlocklists is how many lists one step may ask.
const mostBlocklists = 64

func onNoBlocklist(ctx context.Context, w *World, a Args) error {
	lists := make([]string, 0, len(a.Table))
	for _, row := range a.Table {
		list := strings.TrimSuffix(strings.ToLower(row[0]), ".")
		if _, err := dnsclient.Fqdn(list); err != nil || len(row) != 1 || !strings.Contains(list, ".") || slices.Contains(lists, list) {
			return scenarioFault("%q is no row of blocklists: write the domain of one list in each, such as | bl.example.org |", strings.Join(row, " | "))
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 || len(lists) > mostBlocklists {
		return scenarioFault("%d blocklists in the table, wanted 1 to %d, one a row", len(lists), mostBlocklists)
	}
	ctx, cancel := context.WithTimeout(ctx, judgeLimit)
	defer cancel()
	found := make([]listed, len(lists))
	err := w.Timed("records", func() (string, error) {
		addresses, err := w.senderAddresses(ctx, a.Text(0))
		if err != nil {
			return "", err
		}
		lookup := w.records()
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
	var have, silent []string
	monitor := true // whether this machine's resolver is what all silent lists refuse
	for i, f := range found {
		switch {
		case len(f.addresses) > 0:
			have = append(have, fmt.Sprintf("%s has %s", lists[i], strings.Join(f.addresses, ", ")))
		case f.trouble != "":
			silent = append(silent, lists[i]+": "+f.trouble)
			monitor = monitor && f.refused
			continue
		}
		w.Measure("dnsbl_listed", "How many of the host's addresses the blocklist has.", float64(len(f.addresses)), result.Label{Name: "list", Value: lists[i]})
	}
	if len(silent) > 0 {
		w.Note(oneLine("proves nothing: "+strings.Join(silent, "; "), 500))
	}
	switch {
	case len(have) > 0:
		return Fail(result.ReasonUnexpected, result.BlameTarget, "%s is on %d of %d blocklists: %s; find out what it sent, then ask the list to remove it", a.Text(0), len(have), len(lists), strings.Join(have, "; "))
	case len(silent) > 0 && monitor:
		return Fail(result.ReasonRefused, result.BlameMonitor, "%d of %d blocklists do not answer this machine's resolver: %s; set a resolver of your own under resolver in stepwatch.yml, or leave the list out",
			len(silent), len(lists), strings.Join(silent, "; "))
	case len(silent) > 0:
		return Fail(result.ReasonScenario, result.BlameScenario, "%d of %d blocklists prove nothing: %s; leave out what does not work", len(silent), len(lists), strings.Join(silent, "; "))
	}
	return nil
}

// listed is what one list says of all addresses of a host.
type listed struct {
	addresses []string // that it has, with why
	trouble   string   // why it proves nothing, or empty
	refused   bool     // the trouble is that it refuses to answer
}

func askList(ctx context.Context, lookup maildns.Lookup, list string, addresses []netip.Addr) listed {
	var l listed
	able := false
	unable := ""
	for _, address := range addresses {
		answer, err := maildns.CheckBlocklist(ctx, lookup, list, address)
		switch {
		case err != nil:
			l.trouble = err.Error()
		case answer.Standing == maildns.Listed:
			why := ""
			if answer.Text != "" {
				why = ": " + oneLine(answer.Text, 200)
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
