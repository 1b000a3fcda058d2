//go:build linux

package stack

import (
	"context"
	"errors"
	"net"
	"os"
)

// EximDir is where .ci/install unpacks Exim, whose packages would drive Postfix out.
const EximDir = "/var/cache/stepwatch/exim4"

const (
	eximProgram = EximDir + "/usr/sbin/exim4"
	eximUser    = "Debian-exim" // Debian's Exim wants that name; only the namespaces have it
	eximUID     = 5001
)

// EximUsable says why there is no Exim, or nil.
func EximUsable() error {
	if _, err := os.Stat(eximProgram); err != nil {
		return errors.New("no Exim in " + EximDir + ": run .ci/install")
	}
	return nil
}

// StartExim starts an Exim on port 25 of the host Exim. It takes mail for the account Erin, and from 127.0.0.1 for
// everybody: that goes to port 587 of a smarthost, over verified TLS and with the login of an account by AUTH LOGIN. An
// Exim that runs is stopped first, and its queue and logs are forgotten.
func (s *Stack) StartExim(ctx context.Context, smarthost string, login Account) error {
	if s.Exim != nil {
		if err := s.Exim.Stop(); err != nil {
			return err
		}
	}
	exim := s.find(Exim)[0]
	data := struct {
		Dir, Program, User, Smarthost string
		Exim                          host
		Login                         Account
	}{s.Dir, eximProgram, Erin, smarthost, exim, login}
	chain, err := os.ReadFile(exim.Chain)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(s.path("exim")), os.MkdirAll(s.path("exim"), 0o750),
		os.WriteFile(s.path("exim/chain.pem"), chain, 0o600), s.render("etc/exim.conf", s.path("etc/exim.conf"), data)); err != nil {
		return err
	}
	for _, name := range []string{"exim", "exim/chain.pem"} {
		if err := os.Chown(s.path(name), eximUID, eximUID); err != nil {
			return err
		}
	}
	for _, name := range []string{"exim.mainlog", "exim.rejectlog", "exim.paniclog"} {
		log, err := os.OpenFile(s.path("log/"+name), os.O_CREATE|os.O_TRUNC, 0o640)
		if err != nil {
			return err
		}
		if err := errors.Join(log.Chown(eximUID, eximUID), log.Close()); err != nil {
			return err
		}
	}
	s.Exim = s.server("exim", eximProgram, "-bdf", "-q1s", "-C", s.path("etc/exim.conf"))
	s.Exim.ready = append(s.Exim.ready, listening("tcp", net.JoinHostPort(exim.IP, "25")))
	return s.Exim.Start(ctx)
}
