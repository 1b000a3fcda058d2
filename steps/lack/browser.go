package lack

import (
	"fmt"
	"strings"
)

// InBrowser returns what the machine of the browser lacks according to Chromium's name of a network error
// ("net::ERR_INSUFFICIENT_RESOURCES"), or nil. The names are those of net/base/net_error_list.h.
func InBrowser(name string) *Error {
	code, _, _ := strings.Cut(strings.TrimPrefix(name, "net::ERR_"), " ")
	own := func(kind Kind, said, remedy string) *Error {
		return &Error{Kind: kind, Said: fmt.Sprintf("%s (net::ERR_%s)", said, code), Remedy: remedy}
	}
	switch code {
	case "INSUFFICIENT_RESOURCES":
		return own(Descriptors, "the browser has no free file descriptor, or no memory", fmt.Sprintf("raise LimitNOFILE= of the unit (ulimit -n), now %s, or give the machine more memory", numberOr(openFiles(), "unknown")))
	case "OUT_OF_MEMORY":
		return own(Memory, "the browser has no memory", "give the machine more memory, or run less on it")
	case "FILE_NO_SPACE":
		return own(Disk, "the disk of the browser's machine is full", "make space in the state directory of stepwatch")
	case "ADDRESS_IN_USE", "ADDRESS_INVALID":
		return own(Ports, "the browser's machine has no free local port or address for the connection", fmt.Sprintf("widen net.ipv4.ip_local_port_range, now %s", setting("net/ipv4/ip_local_port_range")))
	case "INTERNET_DISCONNECTED":
		return own(Route, "the browser's machine is offline", "check its interfaces (ip address, ip route)")
	case "NETWORK_CHANGED":
		return own(Route, "an address or a route of the browser's machine changed during the request", "check why (ip monitor)")
	case "NETWORK_IO_SUSPENDED":
		return own(Clock, "the browser's machine was suspended", "keep it from being suspended")
	case "NETWORK_ACCESS_DENIED":
		return own(Firewall, "the own rules of the browser's machine forbid sending there", "allow it in the firewall of this machine")
	case "ADDRESS_UNREACHABLE":
		return Offline() // otherwise a router may have said so
	}
	return nil
}
