package lack

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func dial(network, to string, code syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)), Err: os.NewSyscallError("connect", code)}
}

func TestOf(t *testing.T) {
	const target = "192.0.2.7:25"
	refused := dial("tcp", target, syscall.ECONNREFUSED)
	for name, c := range map[string]struct {
		err  error
		want Kind
	}{
		"nothing":                         {nil, ""},
		"refused":                         {refused, ""},
		"reset":                           {dial("tcp", target, syscall.ECONNRESET), ""},
		"no route, which may be a router": {dial("tcp", target, syscall.ENETUNREACH), ""},
		"no descriptor":                   {fmt.Errorf("connect: %w", dial("tcp", target, syscall.EMFILE)), Descriptors},
		"no descriptor on the machine":    {dial("tcp", target, syscall.ENFILE), Descriptors},
		"no descriptor, second address":   {errors.Join(refused, dial("tcp", target, syscall.EMFILE)), Descriptors},
		"no descriptor for the roots":     {x509.SystemRootsError{Err: &fs.PathError{Op: "open", Path: "/etc/ssl", Err: syscall.EMFILE}}, Descriptors},
		"no port":                         {dial("tcp", target, syscall.EADDRNOTAVAIL), Ports},
		"own source port taken":           {dial("tcp", target, syscall.EADDRINUSE), Ports},
		"no port for a datagram":          {dial("udp", target, syscall.EAGAIN), Ports},
		"full queue of a local server":    {&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EAGAIN)}, ""},
		"port of a listener taken":        {&net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}, ""},
		"no memory":                       {dial("tcp", target, syscall.ENOBUFS), Memory},
		"full disk":                       {&fs.PathError{Op: "write", Path: "/var/lib/x", Err: syscall.ENOSPC}, Disk},
		"quota":                           {&fs.PathError{Op: "write", Path: "/var/lib/x", Err: syscall.EDQUOT}, Disk},
		"read-only":                       {&fs.PathError{Op: "mkdir", Path: "/var/lib/x", Err: syscall.EROFS}, Disk},
		"a file of the target is absent":  {&fs.PathError{Op: "open", Path: "/var/lib/x", Err: syscall.ENOENT}, ""},
		"no process":                      {&fs.PathError{Op: "fork/exec", Path: "/bin/true", Err: syscall.EAGAIN}, Processes},
		"firewall":                        {&net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("sendto", syscall.EPERM)}, Firewall},
		"socket file of the target":       {&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}, ""},
		"interface down":                  {dial("tcp", target, syscall.ENETDOWN), Route},
		"resolver, no descriptor":         {&net.DNSError{Err: "dial udp 192.0.2.1:53: socket: too many open files", Name: "a.test"}, Descriptors},
		"resolver, no port":               {&net.DNSError{Err: "dial udp 192.0.2.1:53: connect: resource temporarily unavailable", Name: "a.test"}, Ports},
		"resolver, no such host":          {&net.DNSError{Err: "no such host", Name: "a.test", IsNotFound: true}, ""},
		"resolver, a forged text":         {&net.DNSError{Err: "server misbehaving", Name: "too many open files"}, ""},
	} {
		own := Of(c.err)
		switch {
		case own == nil && c.want != "":
			t.Errorf("%s: none, want %s", name, c.want)
		case own != nil && own.Kind != c.want:
			t.Errorf("%s: got %s, want %q", name, own, c.want)
		case own != nil && (own.Said == "" || own.Remedy == "" || own.Unwrap() == nil && c.err != nil):
			t.Errorf("%s: incomplete: %+v", name, own)
		case own != nil && Of(fmt.Errorf("and then: %w", own)) != own:
			t.Errorf("%s: it is not found in an error around it", name)
		}
	}
}

func TestAddresses(t *testing.T) {
	err := fmt.Errorf("connect: %w", errors.Join(dial("tcp", "[2001:db8::1]:25", syscall.ENETUNREACH), dial("tcp", "192.0.2.7:25", syscall.ETIMEDOUT)))
	if got := fmt.Sprint(Addresses(err)); got != "[2001:db8::1 192.0.2.7]" {
		t.Errorf("got %s", got)
	}
}

// TestInBrowser covers the names of Chromium's errors that blame no website.
func TestInBrowser(t *testing.T) {
	for name, want := range map[string]Kind{"net::ERR_INSUFFICIENT_RESOURCES": Descriptors, "net::ERR_INTERNET_DISCONNECTED": Route, "net::ERR_NETWORK_CHANGED": Route,
		"net::ERR_ADDRESS_IN_USE": Ports, "net::ERR_FILE_NO_SPACE": Disk, "net::ERR_OUT_OF_MEMORY": Memory, "net::ERR_NETWORK_ACCESS_DENIED (blocked)": Firewall,
		"net::ERR_CONNECTION_REFUSED": "", "net::ERR_NAME_NOT_RESOLVED": "", "": ""} {
		got := Kind("")
		if own := InBrowser(name); own != nil {
			got = own.Kind
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestGateway(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("the table below is that of a little-endian machine")
	}
	const routes = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0102000A	0003	0	0	0	00000000	0	0	0
eth0	0002000A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	000200C0	FE02000A	0003	0	0	0	00FFFFFF	0	0	0
eth1	00000000	0103000A	0003	0	0	100	00000000	0	0	0
garbage
`
	const neighbours = `IP address       HW type     Flags       HW address            Mask     Device
10.0.2.1         0x1         0x2         52:55:0a:00:02:02     *        eth0
10.0.2.254       0x1         0x0         00:00:00:00:00:00     *        eth0
10.0.3.1         0x1         0x0         00:00:00:00:00:00     *        eth2
`
	for to, want := range map[string]string{"198.51.100.1": "10.0.2.1 false", "10.0.2.9": "invalid IP false", "192.0.2.7": "10.0.2.254 true"} {
		gateway := gatewayIn(routes, netip.MustParseAddr(to), "eth0")
		if got := fmt.Sprint(gateway, gateway.IsValid() && unanswered(neighbours, gateway, "eth0")); got != want {
			t.Errorf("%s: got %s, want %s", to, got, want)
		}
	}
	if got := gatewayIn(routes, netip.MustParseAddr("192.0.2.7"), "eth1"); got.String() != "10.0.3.1" || unanswered(neighbours, got, "eth1") {
		t.Errorf("over eth1: %s", got)
	}
}

// TestWay has only addresses that every machine reaches.
func TestWay(t *testing.T) {
	for _, to := range []string{"127.0.0.1", "::1", "127.9.9.9"} {
		if own := Way(netip.MustParseAddr(to)); own != nil {
			t.Errorf("%s: %v", to, own)
		}
	}
}

// TestNameServers asks name servers that work, fail, and are absent.
func TestNameServers(t *testing.T) {
	var rcode atomic.Int64
	packets, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Skipf("needs port 53: %v", err)
	}
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, int(rcode.Load())))
	})}
	go func() { _ = server.ActivateAndServe() }()
	defer func() { _ = server.Shutdown() }()
	old := resolverFile
	defer func() { resolverFile = old }()
	resolverFile = filepath.Join(t.TempDir(), "resolv.conf")
	for _, c := range []struct {
		rcode         int
		file          string
		want, without string
	}{
		{dns.RcodeSuccess, "nameserver 127.0.0.1\n", "", ""},
		{dns.RcodeNameError, "nameserver 127.0.0.1\n", "", ""}, // it answers
		{dns.RcodeSuccess, "nameserver 127.0.0.2\nnameserver 127.0.0.1\n", "", ""},
		{dns.RcodeSuccess, "", "", ""}, // without a file, the local one is asked
		{dns.RcodeServerFailure, "", "does not work (" + resolverFile + " is missing or names none): 127.0.0.1 answers SERVFAIL for the root zone too", ""},
		{dns.RcodeServerFailure, "nameserver 127.0.0.1\nnameserver 127.0.0.2\n", "does not work: 127.0.0.1 answers SERVFAIL for the root zone too, 127.0.0.2 does not answer (connection refused)", "missing"},
	} {
		rcode.Store(int64(c.rcode))
		_ = os.Remove(resolverFile)
		if c.file != "" {
			if err := os.WriteFile(resolverFile, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		own := askNameServers(t.Context(), 2*time.Second)
		switch {
		case own == nil && c.want != "":
			t.Errorf("%q: nothing is lacking, want %s", c.file, c.want)
		case own != nil && (c.want == "" || !strings.Contains(own.Error(), c.want)):
			t.Errorf("%q: got %s, want %q", c.file, own, c.want)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if own := NameServers(canceled, time.Second); own != nil {
		t.Errorf("questions that were cut short prove something: %v", own)
	}
}

// TestLimitsOfChildren checks what the package relies on: Go raises the limit of open files of this process to one
// below the hard one, and starts other programs with the original one.
func TestLimitsOfChildren(t *testing.T) {
	if name := os.Getenv("LACK_TEST_LIMITS"); name != "" {
		out, err := exec.Command("sh", "-c", "ulimit -n").Output()
		fmt.Printf("own %d, of a program %s %v\n", Read().OpenFiles, strings.TrimSpace(string(out)), err)
		return
	}
	if _, err := exec.LookPath("prlimit"); err != nil {
		t.Skip("needs prlimit")
	}
	cmd := exec.Command("prlimit", "--nofile=64:512", os.Args[0], "-test.run=^TestLimitsOfChildren$")
	cmd.Env = append(os.Environ(), "LACK_TEST_LIMITS=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "own 511, of a program 64 <nil>") {
		t.Errorf("%v: %s", err, out)
	}
}
