//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

const (
	// Domain is the zone of the stack.
	Domain = "example.test"

	// Documented is the domain of the shipped features (RFC 2606). The website answers to it too, so that they run unchanged.
	Documented = "example.org"

	// MailUID owns the mailboxes; it needs no entry in the machine's passwd.
	MailUID = 5000

	selector = "mail" // of DKIM
	address  = "127.0.0.1:53"
)

// Stack is a set of running servers.
type Stack struct {
	Dir        string // configuration, keys, queues, mailboxes, and the logs under log/
	Config     Config // fits the stack; a test alters a Clone
	Postfix    *Postfix
	Dovecot    *Server
	OpenDKIM   *Server
	Nginx      *Server
	NameServer *nameserver.Server
	Relay      *Postfix // nil until StartRoute, as MX and Store are
	MX         *Postfix
	Store      *Postfix
	Verifier   *Server // OpenDKIM before MX; nil until StartRoute
	Proxy      *Server // nil until StartProxy
	Exim       *Server // nil until StartExim
	DNS        *DNS    // nil until StartDNS
	Prometheus *Server // nil until StartPrometheus
	Nagios     *Server // nil until StartNagios
	Fail2ban   *Server // nil until StartFail2ban
	Sites      *Sites  // nil until StartSites

	hosts       []host
	mailserving sync.Mutex    // guards mailservers, which tests start at the same time
	mailservers []*Mailserver // that were started
	faulty      []*acceptor
	greylist    *greylist  // nil until StartRoute
	tokenKey    string     // signs what Token gives
	issuer      *authority // signs what Certify gives
}

// Start generates everything under dir, which should be empty, and starts the servers. dir is a short path, because
// sockets are in it. When a server does not come up the others are stopped again.
func Start(ctx context.Context, dir string) (*Stack, error) {
	if !Inside() {
		return nil, errors.New("start the stack: not in namespaces of its own; call Enter first")
	}
	s, err := generate(dir)
	if err != nil {
		return nil, fmt.Errorf("generate the stack: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	zone, err := os.ReadFile(s.path("etc/zone"))
	if err != nil {
		return err
	}
	if s.NameServer, err = nameserver.Start(address, string(zone)); err != nil {
		return err
	}
	if err := s.startFaultyHosts(ctx); err != nil {
		return err
	}
	return together(s.servers(), func(server *Server) error { return server.Start(ctx) })
}

func (s *Stack) servers() []*Server {
	var servers []*Server
	for _, postfix := range []*Postfix{s.Postfix, s.Relay, s.MX, s.Store} {
		if postfix != nil {
			servers = append(servers, postfix.Server)
		}
	}
	for _, server := range []*Server{s.Fail2ban, s.Nagios, s.Prometheus, s.Proxy, s.Verifier, s.Exim, s.Dovecot, s.OpenDKIM, s.Nginx} {
		if server != nil {
			servers = append(servers, server)
		}
	}
	if s.Sites != nil {
		servers = append(servers, s.Sites.Nginx, s.Sites.Apache, s.Sites.Varnish)
	}
	if s.DNS != nil {
		for _, server := range []*Server{s.DNS.Primary, s.DNS.Secondary, s.DNS.Resolver} {
			if server != nil {
				servers = append(servers, server)
			}
		}
	}
	return servers
}

// Close stops every server. It leaves Dir, whose logs say what went on.
func (s *Stack) Close() error {
	err := together(s.servers(), (*Server).Stop)
	s.mailserving.Lock()
	mailservers := slices.Clone(s.mailservers) // Stop takes each out
	s.mailserving.Unlock()
	for _, m := range mailservers {
		err = errors.Join(err, m.Stop())
	}
	for _, a := range s.faulty {
		err = errors.Join(err, a.close())
	}
	s.faulty = nil
	if s.Sites != nil && s.Sites.App != nil {
		err = errors.Join(err, s.Sites.App.close())
		s.Sites = nil
	}
	if s.greylist != nil {
		err = errors.Join(err, s.greylist.close())
		s.greylist = nil
	}
	if s.NameServer != nil {
		err = errors.Join(err, s.NameServer.Close())
		s.NameServer = nil
	}
	return err
}

// together does the same to all servers at once.
func together(servers []*Server, do func(*Server) error) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() { errs[i] = do(server) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *Stack) path(name string) string { return filepath.Join(s.Dir, name) }
