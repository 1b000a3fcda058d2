// Package lack tells what the machine that stepwatch runs on lacks (a file descriptor, a local port, a route, its
// resolver) from a fault of what stepwatch watches. An error of the network or the system names only its errno, and the
// same errno may be either: then the package looks at this machine.
//
// What it does not see: a firewall of this machine that drops a connection or answers it with a reset looks like a
// silent or a closed port of the target. The Go runtime ends the process when it can start no thread or gets no memory,
// so no step fails because of that.
package lack

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Kind is what the machine lacks: one of a short closed list, for labels.
type Kind string

// The kinds.
const (
	Descriptors Kind = "descriptors" // of this process, or of the whole machine
	Ports       Kind = "ports"       // local ports for connections
	Memory      Kind = "memory"      // of the kernel, or of this process's control group
	Disk        Kind = "disk"        // space, quota, or the right to write at all
	Processes   Kind = "processes"   // of this user, or of this process's control group
	Route       Kind = "route"       // a way out of this machine: interface, address, route, gateway
	Firewall    Kind = "firewall"    // the right to send, by this machine's own rules
	Resolver    Kind = "resolver"    // the name servers of this machine
	Clock       Kind = "clock"       // the right time
	Roots       Kind = "roots"       // the certificates of public authorities
)

// Error says what this machine lacks and what to do about it.
type Error struct {
	Kind   Kind
	Said   string // what is missing, "this process has no free file descriptor (its limit is 1024)"
	Remedy string // what to do, "raise LimitNOFILE= of the unit, now 1024"
	Err    error  // the error that showed it; may be nil
}

// Error returns what is missing and what to do.
func (e *Error) Error() string { return e.Said + ": " + e.Remedy }

// Unwrap returns the error that showed it.
func (e *Error) Unwrap() error { return e.Err }

// Of returns what this machine certainly lacks according to an error, or nil. Where one of several joined attempts
// failed because of that, nothing is known about what it would have found, so that one decides.
func Of(err error) *Error {
	if known := (*Error)(nil); errors.As(err, &known) {
		return known
	}
	if all := (*limit.PoolError)(nil); errors.As(err, &all) {
		return &Error{Memory, fmt.Sprintf("all runs together hold %d bytes of what they read, their limit is %d", all.Used, all.Limit),
			"run fewer scenarios at once, or raise limits.total_memory in stepwatch.yml", err}
	}
	var found *Error
	walk(err, place{}, func(at place, code syscall.Errno) bool {
		found = at.lack(code, err)
		return found == nil
	})
	return found
}

// With returns err, and keeps cause in its chain: for a verdict that rests on what could not be done because of cause,
// and that says so in its own words. It returns err itself if either is nil.
func With(err, cause error) error {
	if err == nil || cause == nil {
		return err
	}
	return &withCause{err, cause}
}

type withCause struct {
	error
	cause error
}

// Unwrap returns both.
func (w *withCause) Unwrap() []error { return []error{w.error, w.cause} }

// Addresses returns the remote addresses that the operations of the network in an error are about.
func Addresses(err error) []netip.Addr {
	var all []netip.Addr
	walk(err, place{seen: func(op *net.OpError) {
		if a, known := addressOf(op.Addr); known {
			all = append(all, a)
		}
	}}, func(place, syscall.Errno) bool { return true })
	return all
}

// addressOf returns the IP address of an address of the network.
func addressOf(a net.Addr) (netip.Addr, bool) {
	var ip net.IP
	switch a := a.(type) {
	case *net.TCPAddr:
		ip = a.IP
	case *net.UDPAddr:
		ip = a.IP
	case *net.IPAddr:
		ip = a.IP
	}
	address, known := netip.AddrFromSlice(ip)
	return address.Unmap(), known
}

// place is where an errno was met: the operations around it.
type place struct {
	op   *net.OpError
	path *fs.PathError
	seen func(*net.OpError)
}

// walk visits every errno in a tree of errors until visit returns false. Go's resolver keeps only the text of the error
// below it, so the errno of a *net.DNSError is found by its text.
func walk(err error, at place, visit func(place, syscall.Errno) bool) bool {
	switch e := err.(type) { //nolint:errorlint // this is the walk through the tree
	case nil:
		return true
	case syscall.Errno:
		return visit(at, e)
	case *net.OpError:
		at.op = e
		if at.seen != nil {
			at.seen(e)
		}
	case *fs.PathError:
		at.path = e
	case *net.DNSError:
		if e.UnwrapErr == nil {
			for _, code := range inText {
				if strings.HasSuffix(e.Err, code.Error()) {
					return visit(place{op: dialed(e.Err)}, code)
				}
			}
		}
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return walk(e.Unwrap(), at, visit)
	case interface{ Unwrap() []error }:
		for _, below := range e.Unwrap() {
			if !walk(below, at, visit) {
				return false
			}
		}
	}
	return true
}

// inText are the codes that are looked for in the text of a failed look-up.
var inText = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EADDRNOTAVAIL, syscall.EAGAIN, syscall.EPERM}

// dialed returns the operation in the text of an error of Go's resolver, "dial udp 192.0.2.1:53: connect: …".
func dialed(text string) *net.OpError {
	op := &net.OpError{Op: "dial"}
	words := strings.Fields(text)
	if len(words) < 3 || words[0] != "dial" {
		return op
	}
	op.Net = words[1]
	if to, err := netip.ParseAddrPort(strings.TrimSuffix(words[2], ":")); err == nil {
		op.Addr = net.UDPAddrFromAddrPort(to)
	}
	return op
}

// lack returns what an errno at this place means, or nil if it may be somebody else's fault.
func (at place) lack(code syscall.Errno, err error) *Error {
	network, leaves := "", false // leaves: the operation sends something to another machine
	if at.op != nil {
		network = at.op.Net
		leaves = network != "" && !strings.HasPrefix(network, "unix") && (at.op.Op == "dial" || at.op.Op == "write")
	}
	switch {
	case code == syscall.EMFILE:
		limit := numberOr(openFiles(), "unknown")
		return &Error{Descriptors, fmt.Sprintf("this process has no free file descriptor (its limit is %s)", limit),
			fmt.Sprintf("raise LimitNOFILE= of the unit (ulimit -n), now %s", limit), err}
	case code == syscall.ENFILE:
		return &Error{Descriptors, "this machine has no free file descriptor", "raise fs.file-max, now " + setting("fs/file-max"), err}
	case code == syscall.EADDRNOTAVAIL && leaves && !needsRoute(at.op),
		code == syscall.EADDRINUSE && leaves,
		code == syscall.EAGAIN && leaves && at.op.Op == "dial" && strings.HasPrefix(network, "udp"): // udp(7) has no free port
		return &Error{Ports, "this machine has no free local port for the connection",
			fmt.Sprintf("widen net.ipv4.ip_local_port_range, now %s, or run the scenarios of this target less often", setting("net/ipv4/ip_local_port_range")), err}
	case code == syscall.ENOMEM, code == syscall.ENOBUFS:
		return memory(err)
	case code == syscall.ENOSPC:
		return &Error{Disk, "the disk of this machine is full" + at.where(), "make space there", err}
	case code == syscall.EDQUOT:
		return &Error{Disk, "the disk quota of this user is used up" + at.where(), "raise the quota, or make space there", err}
	case code == syscall.EROFS:
		return &Error{Disk, "the file system of this machine is read-only" + at.where(), "mount it for writing, or name another directory under state or evidence in stepwatch.yml", err}
	case code == syscall.EAGAIN && at.path != nil && strings.HasPrefix(at.path.Op, "fork"):
		return processes(err)
	case (code == syscall.EPERM || code == syscall.EACCES) && leaves:
		return &Error{Firewall, "this machine's own rules forbid sending there" + toward(at.op), "allow it in the firewall of this machine, and in IPAddressDeny= and RestrictAddressFamilies= of the unit", err}
	case code == syscall.ENETDOWN:
		return &Error{Route, "the network interface of this machine is down" + toward(at.op), "bring it up (ip link)", err}
	case code == syscall.EAFNOSUPPORT && leaves:
		return &Error{Route, "this machine does not support addresses of this family" + toward(at.op), "enable IPv6, and allow it in RestrictAddressFamilies= of the unit", err}
	}
	return nil
}

// where names the file that could not be written.
func (at place) where() string {
	if at.path == nil {
		return ""
	}
	return fmt.Sprintf(" at %q", at.path.Path)
}

// toward names the remote address of an operation.
func toward(op *net.OpError) string {
	if op == nil || op.Addr == nil {
		return ""
	}
	return " (" + op.Addr.String() + ")"
}

// needsRoute reports whether EADDRNOTAVAIL means that this machine has no address of the family: connecting to an IPv6
// address without IPv6 fails with it.
func needsRoute(op *net.OpError) bool {
	to, known := addressOf(op.Addr)
	return known && to.Is6() && routeTo(to).missing != nil
}
