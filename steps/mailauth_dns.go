package steps

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// judgeLimit bounds the look-ups of one judgement, so that a DNS server that is silent is named while the scenario has
// time left to say so.
const judgeLimit = 10 * time.Second

// authority asks the target's DNS server for records that say what is authentic. It remembers when that failed, because
// then nothing is known, and a missing record must not be taken for it.
type authority struct {
	resolver *net.Resolver

	mu      sync.Mutex
	trouble error // the first look-up that got no answer
}

// keep gives err as one that its caller takes for temporary, unless the name has no such record.
func (a *authority) keep(err error) error {
	var dns *net.DNSError
	if err == nil || errors.As(err, &dns) && dns.IsNotFound {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trouble == nil {
		a.trouble = err
	}
	if dns == nil {
		return &net.DNSError{Err: err.Error(), IsTemporary: true, UnwrapErr: err}
	}
	temporary := *dns
	temporary.IsTemporary = true
	return &temporary
}

// failed is the Failure for a judgement that DNS did not allow, or nil.
func (a *authority) failed(ctx context.Context, act string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.trouble == nil {
		return nil
	}
	return FailNet(ctx, a.trouble, result.BlameDNS, act)
}

func (a *authority) LookupTXT(ctx context.Context, name string) ([]string, error) {
	records, err := a.resolver.LookupTXT(ctx, name)
	return records, a.keep(err)
}

func (a *authority) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, err := a.resolver.LookupMX(ctx, name)
	return records, a.keep(err)
}

func (a *authority) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	addresses, err := a.resolver.LookupIPAddr(ctx, host)
	return addresses, a.keep(err)
}

func (a *authority) LookupAddr(ctx context.Context, address string) ([]string, error) {
	names, err := a.resolver.LookupAddr(ctx, address)
	return names, a.keep(err)
}

// exists says whether there is a domain of that name, or one beneath it (RFC 8020). Go does not tell a name that is not
// there from one that has no record of the kind that was asked for, so the answer's code is read as it comes in.
func (a *authority) exists(ctx context.Context, name string) (bool, error) {
	var code atomic.Int32
	dial := a.resolver.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	listening := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if udp, ok := conn.(*net.UDPConn); ok {
			return overheardUDP{udp, &code}, err // the resolver has another framing for it
		}
		return overheard{conn, &code}, err
	}}
	var missing *net.DNSError
	_, err := listening.LookupTXT(ctx, name+".") // the dot keeps the machine's own domains from being tried
	switch {
	case errors.As(err, &missing) && missing.IsNotFound:
		const nxdomain = 3 // RFC 1035 section 4.1.1
		return code.Load() != nxdomain, nil
	default:
		return err == nil, err
	}
}

// overheard notes the code of each DNS answer that is read.
type overheard struct {
	net.Conn
	code *atomic.Int32
}

func (o overheard) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	noteCode(o.code, b[:n])
	return n, err
}

type overheardUDP struct {
	*net.UDPConn
	code *atomic.Int32
}

func (o overheardUDP) Read(b []byte) (int, error) {
	n, err := o.UDPConn.Read(b)
	noteCode(o.code, b[:n])
	return n, err
}

// noteCode keeps the code in the header of an answer, which is of 12 bytes. Over TCP two bytes of length are read apart.
func noteCode(code *atomic.Int32, answer []byte) {
	if len(answer) >= 12 {
		code.Store(int32(answer[3] & 0x0f))
	}
}
