package steps

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// judgeLimit bounds the look-ups of one judgement, so that a DNS server that is silent is named while the scenario has
// time left to say so.
const judgeLimit = 10 * time.Second

// authority asks the target's DNS server for records that say what is authentic. It remembers when that failed, because
// then nothing is known, and a missing record must not be taken for it.
type authority struct {
	resolver *net.Resolver
	server   string // that of resolver; empty for the machine's own

	mu      sync.Mutex
	trouble error // the first look-up that got no answer
}

func (w *World) authority() *authority {
	return &authority{resolver: w.resolver(), server: w.target.Resolver}
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

// exists says whether there is a domain of that name, or one beneath it (RFC 8020).
func (a *authority) exists(ctx context.Context, name string) (bool, error) {
	_, err := (&dnsclient.Client{Resolver: a.server}).TXT(ctx, name)
	var none *dnsclient.Error
	switch {
	case errors.As(err, &none) && none.Kind == dnsclient.NoName:
		return false, nil
	case dnsclient.IsAbsent(err):
		return true, nil
	}
	return err == nil, err
}
