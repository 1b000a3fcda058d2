// Package network holds the sentences about ports, TLS and ping.
package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/starttls"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.RegisterArea(steps.Area{Name: "network", Title: "Network", Place: 80})
	steps.RegisterKind(steps.Kind{Name: "ports", Means: "ports and ranges of ports: 22, 25, 8000-8080",
		Pattern: `\d+(?:-\d+)?(?:, ?\d+(?:-\d+)?)*`, Sample: "25",
		Check: func(a steps.Args, i int, _ steps.Known) error { _, err := parsePorts(a.Text(i)); return err }})
	const measures = "Phases: dns (if a name is looked up), connect."
	for _, state := range []struct{ name, does string }{
		{"open", "Fails unless a TCP connection to the port succeeds. The connection is closed at once."},
		{"closed", "Fails when a TCP connection to the port succeeds, on any address of the host. Both refused (nothing listens, or a firewall rejects) and filtered (no answer within 3s, or a router reports " +
			"that the host is unreachable) pass, and the note says which. A host that is down looks filtered, so also check that another port is open."},
		{"refused", "Fails unless the host refuses the connection to the port, on each of its addresses. A firewall that rejects looks the same; one that drops does not."},
		{"filtered", "Fails unless the port does not answer within 3s, or a router reports that the host is unreachable, on each address of the host. A host that is down looks the same, so also " +
			"check that another port is open."},
	} {
		for _, over := range []string{"", " over {family}"} {
			does, example := state.does, ""
			if over != "" {
				does, example = does+" Only addresses of this family count. It fails when the host has none.", " over IPv6"
			}
			steps.Register(steps.Definition{
				Area: "network", Sentence: `port {port} of {server} is ` + state.name + over, Does: does, Measures: measures,
				Example: `Then port 25 of "mail.example.org" is ` + state.name + example,
				Func:    func(ctx context.Context, w *steps.World, a steps.Args) error { return portIs(ctx, w, a, state.name) },
			})
		}
	}
	const scanDoes = " It connects to each port on each address of the host, at most 64 at once. A port without an answer for 1.5s counts as filtered. Fails when another port answers, " +
		"when a port of the first list does not answer on any address, and when the time is over before all ports were tried."
	steps.Register(
		steps.Definition{
			Area: "network", Sentence: `port {port} of {server} greets with {text}`,
			Does: "Fails unless the server speaks first and its first line begins with the text. An ellipsis at the end of the text is ignored. On the ports 465, 563, 990, 993 and 995 verified TLS comes " +
				"first. The server has 20s to greet, and at most 4 KiB are read.",
			Measures: "Phases: dns (if a name is looked up), connect, tls, banner.",
			Example:  `Then port 25 of "mail.example.org" greets with "220 …"`,
			Func:     portGreets,
		},
		steps.Definition{
			Area: "network", Sentence: `the ports of {server} are`,
			Does:     "Checks that each port in the table below is open, closed, refused or filtered, and, in a third column, how it greets. It tries all ports at once, and reports all that fail.",
			Measures: "Phase ports.",
			Table:    steps.Required,
			Example:  "Then the ports of \"mail.example.org\" are\n  | 25  | open   | 220 |\n  | 443 | open   |     |\n  | 111 | closed |     |",
			Func:     portsAre,
		},
		steps.Definition{
			Area: "network", Sentence: `only ports {ports} of {server} answer`,
			Does:     "Tries the ports 1 to 1024, and those of the list." + scanDoes,
			Measures: "Phases: dns (if a name is looked up), scan. Measures tcp_ports_open and tcp_ports_tried.",
			Example:  `Then only ports 22, 25, 443 of "mail.example.org" answer`,
			Func:     func(ctx context.Context, w *steps.World, a steps.Args) error { return onlyPorts(ctx, w, a, wellKnown) },
		},
		steps.Definition{
			Area: "network", Sentence: `only ports {ports} of {server} answer among {ports}`,
			Does:     "Tries the ports of the second list, such as 20-25, 3306, and those of the first list." + scanDoes,
			Measures: "Phases: dns (if a name is looked up), scan. Measures tcp_ports_open and tcp_ports_tried.",
			Example:  `Then only ports 22, 25, 443 of "mail.example.org" answer among 1-1024, 3306, 5432`,
			Func:     func(ctx context.Context, w *steps.World, a steps.Args) error { return onlyPorts(ctx, w, a, a.Text(2)) },
		},
	)
}

// Times after which a silent port counts as filtered. A lost SYN is repeated after one second, and after three.
const (
	silentAfter     = 3 * time.Second
	silentAfterScan = 1500 * time.Millisecond
	openWait        = 20 * time.Second // for a port that should be open
	bannerWait      = 20 * time.Second
)

// knock is the answer of a port.
type knock struct {
	state  string // "open", "refused" or "filtered"
	detail string // for an operator; empty when open
}

// knocking classifies the result of connecting. It returns an error if the result says nothing about the port, or if
// there was no answer and the wait was cut short.
func knocking(ctx context.Context, err error, after time.Duration, cut bool) (knock, error) {
	var timeout net.Error
	switch {
	case err == nil:
		return knock{state: "open"}, nil
	case ctx.Err() != nil:
		return knock{}, err
	case errors.Is(err, syscall.ECONNREFUSED):
		return knock{"refused", "refused: nothing listens, or a firewall rejects it"}, nil
	case errors.Is(err, syscall.EHOSTUNREACH):
		return knock{"filtered", "a router or firewall reports that it is unreachable"}, nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		if cut {
			return knock{}, context.DeadlineExceeded
		}
		return knock{"filtered", fmt.Sprintf("no answer within %s: filtered, or the host is down", after)}, nil
	}
	return knock{}, err
}

// knockAt connects to one address and closes the connection.
func knockAt(ctx context.Context, address string, wait time.Duration) (knock, error) {
	// A connection attempt ends at the deadline by itself, maybe before ctx does.
	deadline, limited := ctx.Deadline()
	cut := limited && time.Until(deadline) < wait
	attempt, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := steps.Dialer.DialContext(attempt, "tcp", address)
	if err == nil {
		_ = conn.Close() // only the connection itself matters
	}
	answer, err := knocking(ctx, err, wait, cut)
	if to, parseErr := netip.ParseAddrPort(address); parseErr == nil && answer.state == "filtered" {
		if own := lack.Way(to.Addr()); own != nil {
			return knock{}, own // a port is not filtered because this machine cannot reach it
		}
	}
	return answer, err
}

// places returns the addresses of a port of a host: those of its name, or the one in ConnectTo.
func places(ctx context.Context, w *steps.World, host, family string) (func(port int) []string, error) {
	addresses := []string{host}
	if ip, err := netip.ParseAddr(host); err == nil {
		if family == "ip4" && !ip.Is4() || family == "ip6" && !ip.Is6() {
			return nil, steps.FailScenario("%q is not an IPv%s address", host, family[len("ip"):])
		}
	} else if !connectsElsewhere(w, host) {
		start := time.Now()
		addresses, err = steps.Route{Family: family}.LookUp(ctx, w.Resolver(), host)
		w.Phase("dns", time.Since(start), "")
		if err != nil {
			return nil, steps.FailNet(ctx, err, result.BlameDNS, "connect to "+host)
		}
	}
	return func(port int) []string {
		number := strconv.Itoa(port)
		if other, found := w.Target().ConnectTo[net.JoinHostPort(host, number)]; found {
			return []string{other}
		}
		places := make([]string, len(addresses))
		for i, a := range addresses {
			places[i] = net.JoinHostPort(a, number)
		}
		return places
	}, nil
}

// connectsElsewhere reports whether ConnectTo redirects a port of the host, so that its name need not resolve.
func connectsElsewhere(w *steps.World, host string) bool {
	for from := range w.Target().ConnectTo {
		if name, _, err := net.SplitHostPort(from); err == nil && name == host {
			return true
		}
	}
	return false
}

// knockAll tries all places of a port at once and returns their answers.
func knockAll(ctx context.Context, places []string, wait time.Duration) ([]knock, error) {
	knocks, errs := make([]knock, len(places)), make([]error, len(places))
	var all sync.WaitGroup
	for i, place := range places {
		all.Go(func() { knocks[i], errs[i] = knockAt(ctx, place, wait) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return knocks, nil
}

// judgeKnocks returns how the answers differ from the wanted state, or "". A port is open if one address is open. It is
// in another state only if all addresses are.
func judgeKnocks(places []string, knocks []knock, wanted string) string {
	for i, k := range knocks {
		switch {
		case wanted == "open" && k.state == "open":
			return ""
		case wanted != "open" && k.state == "open":
			return fmt.Sprintf("is open, wanted %s (it answers at %s)", wanted, places[i])
		case wanted == "refused" && k.state != "refused", wanted == "filtered" && k.state != "filtered":
			return fmt.Sprintf("is %s, wanted %s (%s at %s)", k.state, wanted, k.detail, places[i])
		}
	}
	if wanted != "open" {
		return ""
	}
	return fmt.Sprintf("is not open: %s (%s)", knocks[0].detail, strings.Join(places, ", "))
}

// portIs implements "port … of … is open" and the similar sentences.
func portIs(ctx context.Context, w *steps.World, a steps.Args, wanted string) error {
	port, err := a.Port(0)
	if err != nil {
		return err
	}
	host, family := w.Target().AddressOf(a.Text(1)), ""
	if len(a.Captured) > 2 {
		family = steps.Families[a.Text(2)]
	}
	at, err := places(ctx, w, host, family)
	if err != nil {
		return err
	}
	places, wait := at(port), silentAfter
	if wanted == "open" {
		wait = openWait
	}
	var knocks []knock
	err = w.Timed("connect", func() (string, error) {
		var err error
		knocks, err = knockAll(ctx, places, wait)
		return "", err
	})
	server := net.JoinHostPort(host, strconv.Itoa(port))
	if err != nil {
		return steps.FailNet(ctx, err, result.BlameNetwork, "connect to "+server)
	}
	if difference := judgeKnocks(places, knocks, wanted); difference != "" {
		return failPort(port, wanted, knocks, fmt.Sprintf("port %d of %s %s", port, host, difference))
	}
	if wanted == "closed" {
		w.Note(knocks[0].detail)
	}
	return nil
}

// failPort returns the Failure for a port in another state than wanted.
func failPort(port int, wanted string, knocks []knock, message string) error {
	spoken, _ := starttls.OnPort(port)
	reason, blame := result.ReasonUnexpected, blameOf(port, spoken)
	if wanted == "open" {
		reason = result.ReasonConnect
		if !slices.ContainsFunc(knocks, func(k knock) bool { return k.state == "refused" }) {
			reason, blame = result.ReasonTimeout, result.BlameNetwork
		}
	}
	return steps.Fail(reason, blame, "%s", message)
}

// tlsFirst are the ports of servers that greet inside TLS.
var tlsFirst = []int{465, 563, 990, 993, 995}

// portGreets implements "port … of … greets with …".
func portGreets(ctx context.Context, w *steps.World, a steps.Args) error {
	port, err := a.Port(0)
	if err != nil {
		return err
	}
	return greets(ctx, w, w.Target().AddressOf(a.Text(1)), port, a.Text(2))
}

func greets(ctx context.Context, w *steps.World, host string, port int, wanted string) error {
	wanted = strings.TrimSpace(strings.TrimSuffix(strings.TrimSuffix(wanted, "…"), "..."))
	if wanted == "" {
		return steps.FailScenario("the greeting of port %d is empty: write it as \"220 …\"", port)
	}
	spoken, _ := starttls.OnPort(port)
	server, blame := net.JoinHostPort(host, strconv.Itoa(port)), blameOf(port, spoken)
	conn, err := w.DialRoute(ctx, server, blame, steps.Route{})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // only the greeting matters
	line := lifeline.Bind(ctx, conn)
	defer line.Release()
	if slices.Contains(tlsFirst, port) {
		client, err := w.Handshake(ctx, conn, host, blame)
		if err != nil {
			return err
		}
		conn = client
	}
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > bannerWait {
		_ = line.SetReadDeadline(time.Now().Add(bannerWait)) // fails on a closed connection only
	}
	var banner string
	err = w.Timed("banner", func() (string, error) {
		var err error
		banner, err = readBanner(conn, wanted)
		return banner, err
	})
	switch {
	case err == nil && strings.HasPrefix(banner, wanted):
		return nil
	case err == nil || errors.Is(err, io.EOF) && banner != "":
		return steps.Fail(result.ReasonUnexpected, blame, "port %d of %s greets with %q, wanted %q", port, host, wording.OneLine(banner, 200), wanted)
	case errors.Is(err, io.EOF):
		return steps.Fail(result.ReasonDisconnected, blame, "port %d of %s is open but closes the connection without a greeting, wanted %q", port, host, wanted)
	case ctx.Err() == nil && errors.Is(err, os.ErrDeadlineExceeded):
		return steps.Fail(result.ReasonTimeout, blame, "port %d of %s is open but sends nothing within %s, wanted %q", port, host, bannerWait, wanted)
	}
	return steps.FailNet(ctx, err, blame, "read the greeting of "+server)
}

// bannerLimit is the number of bytes of a greeting that are read.
const bannerLimit = 4 << 10

// readBanner reads the first line, or, without a line break, as much as wanted has: some servers greet with packets.
func readBanner(conn io.Reader, wanted string) (string, error) {
	r := bufio.NewReaderSize(io.LimitReader(conn, bannerLimit), bannerLimit)
	var line []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return wording.OneLine(string(line), bannerLimit), err
		}
		if b == '\n' {
			return wording.OneLine(strings.TrimRight(string(line), "\r"), bannerLimit), nil
		}
		line = append(line, b)
		if len(line) >= len(wanted) && r.Buffered() == 0 && strings.HasPrefix(string(line), wanted) {
			return wording.OneLine(string(line), bannerLimit), nil
		}
	}
}

// portsAre implements "the ports of … are".
func portsAre(ctx context.Context, w *steps.World, a steps.Args) error {
	type row struct {
		port            int
		state, greeting string
		knocks          []knock
		places          []string
		err             error
	}
	var rows []*row
	for i, cells := range a.Table {
		if i == 0 && strings.EqualFold(cells[0], "port") {
			continue
		}
		if len(cells) < 2 {
			return steps.FailScenario("row %d of the table needs a port and a state, such as | 25 | open |", i+1)
		}
		port, err := steps.ParsePort(cells[0])
		if err != nil {
			return err
		}
		r := &row{port: port, state: cells[1]}
		if !slices.Contains([]string{"open", "closed", "refused", "filtered"}, r.state) {
			return steps.FailScenario("port %d: %q is not a state: write open, closed, refused or filtered", port, r.state)
		}
		if len(cells) > 2 {
			r.greeting = cells[2]
		}
		if r.greeting != "" && r.state != "open" {
			return steps.FailScenario("port %d: a %s port has no greeting", port, r.state)
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return steps.FailScenario("no ports: write them in a table below, such as | 25 | open | 220 |")
	}
	host := w.Target().AddressOf(a.Text(0))
	at, err := places(ctx, w, host, "")
	if err != nil {
		return err
	}
	start := time.Now()
	var all sync.WaitGroup
	limit := make(chan struct{}, scanAtOnce)
	for _, r := range rows {
		all.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			r.places = at(r.port)
			wait := silentAfter
			if r.state == "open" {
				wait = openWait
			}
			r.knocks, r.err = knockAll(ctx, r.places, wait)
		})
	}
	all.Wait()
	w.Phase("ports", time.Since(start), "")
	var first error
	var told []string
	add := func(err error) {
		if first == nil {
			first = err
		}
		told = append(told, err.Error())
	}
	for _, r := range rows {
		if r.err != nil {
			return steps.FailNet(ctx, r.err, result.BlameNetwork, "connect to "+net.JoinHostPort(host, strconv.Itoa(r.port)))
		}
		if difference := judgeKnocks(r.places, r.knocks, r.state); difference != "" {
			add(failPort(r.port, r.state, r.knocks, fmt.Sprintf("port %d of %s %s", r.port, host, difference)))
		} else if r.greeting != "" {
			if err := w.Under(fmt.Sprintf("port%d_", r.port), host, func() error { return greets(ctx, w, host, r.port, r.greeting) }); err != nil {
				add(err)
			}
		}
	}
	if failure := (*steps.Failure)(nil); errors.As(first, &failure) && failure.Blame != result.BlameMonitor {
		return steps.Fail(failure.Reason, failure.Blame, "%s", strings.Join(told, "; "))
	}
	return first
}

const (
	wellKnown  = "1-1024"
	scanAtOnce = 64
	scanLimit  = 10_000 // ports of one scan
)

// parsePorts reads a list of ports and ranges, "22, 25, 8000-8080". It returns the ports in order, each once.
func parsePorts(list string) ([]int, error) {
	seen := make(map[int]bool)
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := steps.ParsePort(from)
		if err != nil {
			return nil, err
		}
		last := first
		if isRange {
			if last, err = steps.ParsePort(to); err != nil {
				return nil, err
			}
		}
		if last < first {
			return nil, steps.FailScenario("%d-%d is not a range of ports: write the smaller port first", first, last)
		}
		for p := first; p <= last; p++ {
			seen[p] = true
		}
	}
	ports := make([]int, 0, len(seen))
	for p := range seen {
		ports = append(ports, p)
	}
	slices.Sort(ports)
	return ports, nil
}

// onlyPorts implements "only ports … of … answer".
func onlyPorts(ctx context.Context, w *steps.World, a steps.Args, among string) error {
	wanted, err := parsePorts(a.Text(0))
	if err != nil {
		return err
	}
	tried, err := parsePorts(among + "," + a.Text(0))
	if err != nil {
		return err
	}
	if len(tried) > scanLimit {
		return steps.FailScenario("%d ports are too many for one step: at most %d", len(tried), scanLimit)
	}
	host := w.Target().AddressOf(a.Text(1))
	at, err := places(ctx, w, host, "")
	if err != nil {
		return err
	}
	start := time.Now()
	open, details, done, err := scan(ctx, tried, at)
	w.Phase("scan", time.Since(start), "")
	w.Measure("tcp_ports_tried", "Number of ports that were tried.", float64(done))
	if err != nil || done < len(tried) {
		if err == nil {
			err = context.DeadlineExceeded
		}
		return steps.FailNet(ctx, err, result.BlameNetwork, fmt.Sprintf("try %d ports of %s (%d were tried: name fewer, or give the scenario more time with @timeout)", len(tried), host, done))
	}
	w.Measure("tcp_ports_open", "Number of tried ports that answer.", float64(len(open)))
	var told []string
	for _, p := range open {
		if !slices.Contains(wanted, p) {
			told = append(told, fmt.Sprintf("port %d answers", p))
		}
	}
	if len(told) > 0 {
		const most = 10
		if len(told) > most {
			told = append(told[:most], fmt.Sprintf("%d more answer", len(told)-most))
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameNetwork, "%s of %s, wanted only %s: stop what listens there, or block it in the firewall", strings.Join(told, ", "), host, a.Text(0))
	}
	for _, p := range wanted {
		if !slices.Contains(open, p) {
			return steps.Fail(result.ReasonConnect, result.BlameTarget, "port %d of %s does not answer (%s), wanted %s", p, host, details[p], a.Text(0))
		}
	}
	w.Note(fmt.Sprintf("%d of %d ports answer", len(open), len(tried)))
	return nil
}

// scan connects to ports. It returns the open ones, the answers of the others, and the number of ports tried in time.
func scan(ctx context.Context, ports []int, at func(port int) []string) (open []int, details map[int]string, done int, err error) {
	details = make(map[int]string)
	var (
		mu   sync.Mutex
		all  sync.WaitGroup
		next = make(chan int)
	)
	for range min(scanAtOnce, len(ports)) {
		all.Go(func() {
			for port := range next {
				knocks, knockErr := knockAll(ctx, at(port), silentAfterScan)
				mu.Lock()
				switch {
				case knockErr != nil && (ctx.Err() != nil || errors.Is(knockErr, context.DeadlineExceeded)): // not tried in time
				case knockErr != nil:
					err = errors.Join(err, knockErr)
				case slices.ContainsFunc(knocks, func(k knock) bool { return k.state == "open" }):
					open = append(open, port)
					done++
				default:
					details[port] = knocks[0].detail
					done++
				}
				mu.Unlock()
			}
		})
	}
	for _, port := range ports {
		mu.Lock()
		stop := err != nil || ctx.Err() != nil
		mu.Unlock()
		if stop {
			break
		}
		next <- port
	}
	close(next)
	all.Wait()
	slices.Sort(open)
	return open, details, done, err
}
