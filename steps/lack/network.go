package lack

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// Way returns what this machine lacks to reach an address now, or nil: a route, an interface with a link, or a gateway
// that answers. It sends nothing. An address of this machine, such as 127.0.0.1, is always reached.
func Way(to netip.Addr) *Error {
	way := routeTo(to)
	switch {
	case way.missing != nil:
		return &Error{Route, fmt.Sprintf("this machine has no route to %s", to), "check its interfaces and its default route (ip address, ip route)", way.missing}
	case way.out == nil:
		return nil
	case way.out.Flags&net.FlagRunning == 0:
		return &Error{Route, fmt.Sprintf("the interface %s of this machine, which leads to %s, has no link", way.out.Name, to), "check its cable or its virtual network (ip link)", nil}
	}
	if gateway, silent := silentGateway(to, way.out.Name); silent {
		return &Error{Route, fmt.Sprintf("the gateway %s of this machine, which leads to %s, does not answer on %s", gateway, to, way.out.Name), "check the gateway and the network of this machine (ip neigh)", nil}
	}
	return nil
}

// NoWay returns what this machine lacks to reach the first of some addresses, or nil if it reaches one of them: what it
// found there shows whose fault a failure is.
func NoWay(to []netip.Addr) *Error {
	var first *Error
	for _, address := range to {
		own := Way(address)
		if own == nil {
			return nil
		}
		if first == nil {
			first = own
		}
	}
	return first
}

// way is how the kernel sends packets to an address.
type way struct {
	out     *net.Interface // nil for an address of this machine, or if it is not known
	missing error          // why there is no route
}

// routeTo asks the kernel for its route by connecting a datagram socket, which sends nothing (udp(7)). Any other error
// than that of a missing route says nothing about the route.
func routeTo(to netip.Addr) way {
	to = to.Unmap()
	if to.IsLoopback() || to.IsUnspecified() {
		return way{}
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9))) // 9 is discard; nothing is sent
	if err != nil {
		for _, code := range []syscall.Errno{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN} {
			if errors.Is(err, code) {
				return way{missing: err}
			}
		}
		if to.Is6() && errors.Is(err, syscall.EADDRNOTAVAIL) { // IPv6 is disabled
			return way{missing: err}
		}
		return way{}
	}
	from, known := addressOf(conn.LocalAddr())
	_ = conn.Close() // nothing was sent
	if !known || from == to {
		return way{}
	}
	return way{out: interfaceOf(from)}
}

// interfaceOf returns the interface that has an address, or nil.
func interfaceOf(address netip.Addr) *net.Interface {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			continue // an address of an interface such as eth0 may be on lo too
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if its, is := a.(*net.IPNet); is && its.IP.Equal(address.AsSlice()) {
				return &i
			}
		}
	}
	return nil
}

// Offline returns the lack of a machine without any working interface but the loopback, or nil.
func Offline() *Error {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		return nil //nolint:nilerr // what could not be listed is not known to be lacking
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 || i.Flags&net.FlagRunning == 0 {
			continue
		}
		if addresses, err := i.Addrs(); err != nil || len(addresses) > 0 {
			return nil //nolint:nilerr // as above
		}
	}
	return &Error{Route, "this machine is offline: no interface but the loopback has a link and an address", "check its interfaces (ip address)", nil}
}

// silentGateway returns the gateway of the route to an IPv4 address, and whether it has not answered the kernel's
// question for its hardware address (arp(7)). It reads the main routing table.
func silentGateway(to netip.Addr, out string) (gateway netip.Addr, silent bool) {
	if !to.Is4() {
		return netip.Addr{}, false
	}
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return netip.Addr{}, false
	}
	gateway = gatewayIn(string(routes), to, out)
	if !gateway.IsValid() {
		return gateway, false
	}
	neighbours, err := os.ReadFile("/proc/net/arp")
	return gateway, err == nil && unanswered(string(neighbours), gateway, out)
}

// gatewayIn returns the gateway of the most specific route to an address over an interface, in the format of
// /proc/net/route. It is invalid if that route has none.
func gatewayIn(table string, to netip.Addr, out string) (gateway netip.Addr) {
	longest := -1
	for line := range strings.Lines(table) {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask …, with addresses in the byte order of the machine
		columns := strings.Fields(line)
		if len(columns) < 8 || columns[0] != out {
			continue
		}
		destination, ok1 := hexAddress(columns[1])
		via, ok2 := hexAddress(columns[2])
		mask, ok3 := hexAddress(columns[7])
		if !ok1 || !ok2 || !ok3 {
			continue
		}
		bits, _ := net.IPMask(mask.AsSlice()).Size()
		prefix, err := destination.Prefix(bits)
		if err != nil || bits <= longest || !prefix.Contains(to) {
			continue
		}
		longest, gateway = bits, netip.Addr{}
		if !via.IsUnspecified() {
			gateway = via
		}
	}
	return gateway
}

func hexAddress(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return netip.Addr{}, false
	}
	var host [4]byte
	binary.NativeEndian.PutUint32(host[:], binary.BigEndian.Uint32(raw))
	return netip.AddrFrom4(host), true
}

// unanswered reports whether the kernel asked for the hardware address of a neighbour in vain, in the format of
// /proc/net/arp: its flags are 0.
func unanswered(table string, neighbour netip.Addr, out string) bool {
	for line := range strings.Lines(table) {
		columns := strings.Fields(line) // IP address, HW type, Flags, HW address, Mask, Device
		if len(columns) < 6 || columns[0] != neighbour.String() || columns[len(columns)-1] != out {
			continue
		}
		flags, err := strconv.ParseUint(strings.TrimPrefix(columns[2], "0x"), 16, 32)
		return err == nil && flags == 0
	}
	return false
}

// resolverFile names the name servers of this machine (resolv.conf(5)). It is a variable for tests.
var resolverFile = "/etc/resolv.conf"

// NameServers returns what this machine lacks to resolve any name, or nil. It asks every name server of
// /etc/resolv.conf for the servers of the root zone, which every resolver can know. The resolver is lacking if no
// server answers within patience, or if all that answer fail at this question too. The finding is kept for a second,
// because many scenarios fail at once.
func NameServers(ctx context.Context, patience time.Duration) *Error {
	finding.Lock()
	defer finding.Unlock()
	if time.Since(finding.at) > time.Second && ctx.Err() == nil {
		finding.lack = askNameServers(ctx, patience)
		finding.at = time.Now()
	}
	if ctx.Err() != nil {
		return nil
	}
	return finding.lack
}

var finding struct {
	sync.Mutex
	at   time.Time
	lack *Error
}

func askNameServers(ctx context.Context, patience time.Duration) *Error {
	servers, err := nameServers()
	if err != nil {
		return Of(err) // for want of a descriptor, for example
	}
	named := ""
	if len(servers) == 0 {
		servers = []string{"127.0.0.1"} // as Go and the C library do (resolv.conf(5))
		named = fmt.Sprintf(" (%s is missing or names none)", resolverFile)
	}
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() {
			client := dnsclient.Client{Resolver: net.JoinHostPort(server, "53")}
			answer, err := client.Ask(ctx, dnsclient.Question{Name: ".", Type: dns.TypeNS})
			if err == nil && (answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused) {
				err = fmt.Errorf("answers %s for the root zone too", dnsclient.RcodeName(answer.Rcode))
			}
			errs[i] = err
		})
	}
	all.Wait()
	for _, err := range errs {
		if err == nil {
			return nil
		}
	}
	if asked.Err() != nil {
		return nil // the questions were cut short
	}
	unreached := make([]*Error, 0, len(servers))
	for i, err := range errs {
		if known := Of(err); known != nil {
			return known
		}
		if to, err := netip.ParseAddr(servers[i]); err == nil {
			if known := Way(to); known != nil {
				unreached = append(unreached, known)
			}
		}
	}
	if len(unreached) == len(servers) {
		return unreached[0]
	}
	if offline := Offline(); offline != nil {
		return offline
	}
	told := make([]string, len(servers))
	for i, err := range errs {
		told[i] = servers[i] + " " + silence(err)
	}
	return &Error{Resolver, fmt.Sprintf("the resolver of this machine does not work%s: %s", named, strings.Join(told, ", ")),
		"check the name servers in " + resolverFile + ", or set resolver in stepwatch.yml", errors.Join(errs...)}
}

// silence describes how a name server did not answer the question for the root zone.
func silence(err error) string {
	asked, code := (*dnsclient.Error)(nil), syscall.Errno(0)
	switch {
	case errors.As(err, &asked) && asked.Kind == dnsclient.Timeout:
		return "does not answer"
	case errors.As(err, &code):
		return "does not answer (" + code.Error() + ")"
	case asked != nil:
		return "sends no proper answer (" + asked.Detail + ")"
	}
	return err.Error()
}

// nameServers returns the name servers in resolverFile, as many as the C library uses. A missing file has none.
func nameServers() ([]string, error) {
	file, err := os.Open(resolverFile)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	const most = 3
	var servers []string
	for lines := bufio.NewScanner(file); lines.Scan() && len(servers) < most; {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "nameserver" {
			servers = append(servers, words[1])
		}
	}
	return servers, nil
}
