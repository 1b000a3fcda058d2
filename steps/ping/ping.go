// Package ping sends ICMP echo requests (RFC 792, RFC 4443) and waits for the replies.
//
// An ICMP socket needs no privilege if the kernel's net.ipv4.ping_group_range allows it, and root may open a raw one.
// If neither is possible, the package runs the machine's ping program, which has the privilege itself.
package ping

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/program"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// ErrSilent means that no answer came in time.
var ErrSilent = errors.New("no answer")

// pause is the time to wait for an answer before the request is repeated: ICMP packets get lost.
const pause = time.Second

// Echo sends a request to an address once a second until an answer comes, and returns its round-trip time. It returns
// ErrSilent if none comes before patience or ctx is over. Any other error means that nothing is known about the host.
func Echo(ctx context.Context, to netip.Addr, patience time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	to = to.Unmap()
	conn, raw, err := listen(to)
	if errors.Is(err, os.ErrPermission) {
		return byProgram(ctx, to)
	}
	if err != nil {
		return 0, fmt.Errorf("open a socket for ICMP: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing is buffered
	line := lifeline.Bind(ctx, conn)
	defer line.Release()
	return echo(ctx, conn, line, to, raw)
}

// listen opens an unprivileged socket, or otherwise a raw one.
func listen(to netip.Addr) (conn *icmp.PacketConn, raw bool, err error) {
	unprivileged, privileged, any4or6 := "udp4", "ip4:icmp", "0.0.0.0"
	if to.Is6() {
		unprivileged, privileged, any4or6 = "udp6", "ip6:ipv6-icmp", "::"
	}
	if conn, err = icmp.ListenPacket(unprivileged, any4or6); err == nil {
		return conn, false, nil
	}
	conn, err = icmp.ListenPacket(privileged, any4or6)
	return conn, true, err
}

func echo(ctx context.Context, conn *icmp.PacketConn, line *lifeline.Line, to netip.Addr, raw bool) (time.Duration, error) {
	var kind icmp.Type = ipv4.ICMPTypeEcho
	if to.Is6() {
		kind = ipv6.ICMPTypeEchoRequest
	}
	var peer net.Addr = &net.UDPAddr{IP: to.AsSlice(), Zone: to.Zone()}
	if raw {
		peer = &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}
	}
	token := []byte(rand.Text()) // distinguishes our answers from those of others on a raw socket
	buffer := make([]byte, 1500)
	var sent []time.Time
	for ctx.Err() == nil {
		message := icmp.Message{Type: kind, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: len(sent), Data: token}}
		packet, err := message.Marshal(nil)
		if err != nil {
			return 0, fmt.Errorf("write an ICMP message: %w", err)
		}
		sent = append(sent, time.Now())
		if _, err := conn.WriteTo(packet, peer); err != nil {
			return 0, fmt.Errorf("send an echo request to %s: %w", to, err)
		}
		until := time.Now().Add(pause)
		for {
			_ = line.SetReadDeadline(until) // fails only on a closed socket, which reading reports
			if ctx.Err() != nil {
				return 0, ErrSilent
			}
			n, from, err := conn.ReadFrom(buffer)
			arrived := time.Now()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return 0, fmt.Errorf("wait for an echo reply of %s: %w", to, err)
			}
			if seq, ours := replyTo(buffer[:n], to.Is6(), token); ours && addrOf(from) == to.WithZone("") && seq < len(sent) {
				return arrived.Sub(sent[seq]), nil
			}
		}
	}
	return 0, ErrSilent
}

// replyTo returns the number of our request that a packet answers, if any.
func replyTo(packet []byte, is6 bool, token []byte) (seq int, ours bool) {
	protocol := 1
	if is6 {
		protocol = 58
	}
	message, err := icmp.ParseMessage(protocol, packet)
	if err != nil || message.Type != ipv4.ICMPTypeEchoReply && message.Type != ipv6.ICMPTypeEchoReply {
		return 0, false
	}
	body, ok := message.Body.(*icmp.Echo)
	if !ok || !bytes.Equal(body.Data, token) {
		return 0, false
	}
	return body.Seq, true
}

func addrOf(a net.Addr) netip.Addr {
	var ip net.IP
	switch a := a.(type) {
	case *net.UDPAddr:
		ip = a.IP
	case *net.IPAddr:
		ip = a.IP
	}
	addr, _ := netip.AddrFromSlice(ip) // the invalid one equals no other
	return addr.Unmap()
}

// roundTrip matches the time of an answer in the output of ping of iputils, inetutils and the BSDs.
var roundTrip = regex.Lazy(`time[=<]([\d.]+) ?ms`)

// byProgram runs the machine's ping. It ends with one answer or with ctx.
func byProgram(ctx context.Context, to netip.Addr) (time.Duration, error) {
	out, err := program.Run(ctx, program.Command{Path: "ping", Args: []string{"-n", "-c", "1", to.String()}})
	if out == nil {
		return 0, fmt.Errorf("no permission to open a socket for ICMP (net.ipv4.ping_group_range), and: %w", err)
	}
	if ctx.Err() != nil {
		return 0, ErrSilent
	}
	if err != nil {
		return 0, err
	}
	return readProgram(out.ExitCode, string(out.Stdout), string(out.Stderr))
}

// readProgram parses the output of ping. It returns ErrSilent when ping sent requests and got no answer.
func readProgram(exitCode int, stdout, stderr string) (time.Duration, error) {
	if m := roundTrip.FindStringSubmatch(stdout); m != nil && exitCode == 0 {
		ms, err := strconv.ParseFloat(m[1], 64)
		if err == nil {
			return time.Duration(ms * float64(time.Millisecond)), nil
		}
	}
	if exitCode == 1 {
		return 0, ErrSilent
	}
	return 0, fmt.Errorf("ping returned exit code %d: %.200q", exitCode, stderr)
}
