//go:build linux

package stack

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// policyAddress is where the MX hosts ask whether to take a recipient.
const policyAddress = "127.0.2.1:10023"

// StartRoute starts three instances of Postfix: mail for the domain Far goes from Relay to the MX hosts that DNS names, and
// from there to Store, over TLS, and only the last gives it to Dovecot. Each adds a Received header, and the MX hosts what
// OpenDKIM thinks of the signatures.
func (s *Stack) StartRoute(ctx context.Context) error {
	var far []Account
	for _, a := range s.Config.Accounts {
		if a.Name == Dave {
			far = append(far, a)
		}
	}
	for _, r := range []struct {
		role   string
		server **Postfix
		hosts  []host
	}{
		{"relay", &s.Relay, s.find(Relay)},
		{"mx", &s.MX, s.find(MX1, MX2)},
		{"store", &s.Store, s.find(Store)},
	} {
		config := s.path("etc/" + r.role)
		err := errors.Join(os.MkdirAll(config, 0o755), os.MkdirAll(s.path("route/"+r.role+"/queue/pid"), 0o755),
			os.MkdirAll(s.path("route/"+r.role+"/data"), 0o755), makeOwnQueue(s.path("route/"+r.role+"/queue")))
		if err != nil {
			return err
		}
		uid, gid, err := lookup("postfix")
		if err == nil {
			err = os.Chown(s.path("route/"+r.role+"/data"), uid, gid)
		}
		if err != nil {
			return err
		}
		data := struct {
			Dir, Role, Domain, New, Far, Store, Policy string
			Accounts                                   []Account
			Hosts                                      []host
		}{s.Dir, r.role, Domain, New, Far, Store, policyAddress, far, r.hosts}
		for _, name := range []string{"main.cf", "master.cf"} {
			if err := s.render("etc/route/"+name, config+"/"+name, data); err != nil {
				return err
			}
		}
		if err := age(config); err != nil {
			return err
		}
		*r.server = s.postfix(r.role, config)
		for _, h := range r.hosts {
			(*r.server).ready = append((*r.server).ready, listening("tcp", net.JoinHostPort(h.IP, "25")))
		}
	}
	var err error
	if s.greylist, err = startGreylist(ctx, policyAddress); err != nil {
		return err
	}
	s.Verifier = s.server("verifier", "/usr/sbin/opendkim", "-f", "-x", s.path("etc/verifier.conf"))
	s.Verifier.ready = append(s.Verifier.ready, listening("unix", s.path("opendkim/verifier")))
	return together([]*Server{s.Verifier, s.Relay.Server, s.MX.Server, s.Store.Server}, func(server *Server) error { return server.Start(ctx) })
}

func (s *Stack) find(names ...string) []host {
	var found []host
	for _, name := range names {
		for _, h := range s.hosts {
			if h.Name == name {
				found = append(found, h)
			}
		}
	}
	return found
}

// Greylist makes the MX hosts of the route refuse each recipient for now, until delay has gone by since that sender's first
// try. With 0 they stop that. It waits for StartRoute.
func (s *Stack) Greylist(delay time.Duration) { s.greylist.set(delay) }
