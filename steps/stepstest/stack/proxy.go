//go:build linux

package stack

import (
	"context"
	"net"
	"os"
)

// StartProxy starts an IMAP and POP3 proxy on the host Proxy, which hands every login on to Store over verified TLS.
func (s *Stack) StartProxy(ctx context.Context) error {
	if err := os.MkdirAll(s.path("proxy/state"), 0o755); err != nil {
		return err
	}
	proxy := s.find(Proxy)[0]
	data := struct {
		Dir          string
		Proxy, Store host
	}{s.Dir, proxy, s.find(Store)[0]}
	if err := s.render("etc/proxy.conf", s.path("etc/proxy.conf"), data); err != nil {
		return err
	}
	s.Proxy = s.server("proxy", "/usr/sbin/dovecot", "-F", "-c", s.path("etc/proxy.conf"))
	for _, port := range []string{"143", "993", "110", "995"} {
		s.Proxy.ready = append(s.Proxy.ready, listening("tcp", net.JoinHostPort(proxy.IP, port)))
	}
	return s.Proxy.Start(ctx)
}
