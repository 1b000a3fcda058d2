//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Secured is one server, or several with the same files, at the host Changing. A test may give it another certificate.
type Secured struct {
	Name    string
	Package string // what it needs to be installed; empty when Start of the stack starts it
	Ports   []string
	Chain   string // its file with key and certificates

	servers  []*Server
	uid, gid int                         // who owns Chain
	prepare  func(context.Context) error // nil when there is nothing to prepare
	reload   func(context.Context) error
}

// Secured describes the servers that begin TLS: those of Start, and others that each protocol with a STARTTLS of its own
// has. The others run only between Start and Stop.
func (s *Stack) Secured() ([]*Secured, error) {
	mail := []*Server{s.Postfix.Server, s.Dovecot, s.Nginx}
	all := []*Secured{{Name: "postfix, dovecot and nginx", Ports: []string{"25", "465", "587", "143", "993", "110", "995", "443"},
		Chain: s.find(Changing)[0].Chain, servers: mail, reload: hangUp(mail...)}}
	for _, define := range []func() (*Secured, error){s.slapd, s.vsftpd, s.prosody, s.postgres, s.mariadb, s.sieve} {
		secured, err := define()
		if err != nil {
			return nil, err
		}
		all = append(all, secured)
	}
	return all, nil
}

// Start starts what does not run yet, with a flawless certificate.
func (c *Secured) Start(ctx context.Context, s *Stack) error {
	if c.Package == "" {
		return nil
	}
	chain, err := s.Certify(Flawless)
	if err != nil {
		return err
	}
	if err := c.Replace(chain); err != nil {
		return err
	}
	if c.prepare != nil {
		if err := c.prepare(ctx); err != nil {
			return err
		}
	}
	return together(c.servers, func(server *Server) error { return server.Start(ctx) })
}

// Stop stops what Start started.
func (c *Secured) Stop() error {
	if c.Package == "" {
		return nil
	}
	return together(c.servers, (*Server).Stop)
}

// Replace writes another key and certificates into Chain, and has nobody read them.
func (c *Secured) Replace(chain []byte) error {
	renewed := c.Chain + ".new" // a server must not find half of it
	return errors.Join(os.WriteFile(renewed, chain, 0o600), os.Chown(renewed, c.uid, c.gid), os.Rename(renewed, c.Chain))
}

// Reload has the servers read Chain as their operators would. Most do it a moment later.
func (c *Secured) Reload(ctx context.Context) error { return c.reload(ctx) }

// hangUp reloads servers by a SIGHUP.
func hangUp(servers ...*Server) func(context.Context) error {
	return func(context.Context) error {
		return together(servers, func(server *Server) error { return server.Signal(syscall.SIGHUP) })
	}
}

// settings is what the configuration of a server in etc/secured is rendered with.
type settings struct{ Dir, Chain, Host, IP string }

// secured makes the directory of a server, with data in it for a user, and renders its configuration when it has one.
func (s *Stack) secured(name, user, config string, ports ...string) (*Secured, settings, error) {
	at := settings{Dir: s.path("secured/" + name), Host: Changing, IP: s.find(Changing)[0].IP}
	at.Chain = at.Dir + "/chain.pem"
	c := &Secured{Name: name, Package: name, Ports: ports, Chain: at.Chain}
	if err := os.MkdirAll(at.Dir+"/data", 0o755); err != nil {
		return nil, at, err
	}
	if config != "" {
		if err := s.render("etc/secured/"+config, at.Dir+"/"+config, at); err != nil {
			return nil, at, err
		}
	}
	uid, gid, err := lookup(user)
	if err != nil {
		return c, at, nil //nolint:nilerr // its package is not installed, which Package says
	}
	c.uid, c.gid = uid, gid
	return c, at, os.Chown(at.Dir+"/data", uid, gid)
}

// serve adds the program of a server.
func (c *Secured) serve(s *Stack, ip string, argv ...string) *Server {
	server := s.server(c.Name, argv...)
	for _, port := range c.Ports {
		server.ready = append(server.ready, listening("tcp", ip+":"+port))
	}
	c.servers = append(c.servers, server)
	c.reload = hangUp(server)
	return server
}

// restart reloads a server that reads its files when it starts and never again.
func restart(server *Server) func(context.Context) error {
	return func(ctx context.Context) error { return errors.Join(server.Stop(), server.Start(ctx)) }
}

// slapd is OpenLDAP. Only its database of settings (slapd-config(5)) can give it another certificate while it runs, and this
// one has a file.
func (s *Stack) slapd() (*Secured, error) {
	c, at, err := s.secured("slapd", "root", "slapd.conf", "389", "636")
	if err != nil {
		return nil, err
	}
	c.reload = restart(c.serve(s, at.IP, slapdProgram, "-d", "0", "-f", at.Dir+"/slapd.conf", "-h", fmt.Sprintf("ldap://%s:389 ldaps://%[1]s:636", at.IP)))
	return c, nil
}

func (s *Stack) vsftpd() (*Secured, error) {
	c, at, err := s.secured("vsftpd", "root", "vsftpd.conf", "21")
	if err != nil {
		return nil, err
	}
	c.reload = restart(c.serve(s, at.IP, vsftpdProgram, at.Dir+"/vsftpd.conf")) // a SIGHUP makes it read its settings, and no certificate
	return c, nil
}

func (s *Stack) prosody() (*Secured, error) {
	c, at, err := s.secured("prosody", "prosody", "prosody.cfg.lua", "5222", "5269")
	if err != nil {
		return nil, err
	}
	c.serve(s, at.IP, prosodyProgram, "-F", "--config", at.Dir+"/prosody.cfg.lua").as = &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.gid)}
	return c, nil
}

// postgres is PostgreSQL, of the newest version installed.
func (s *Stack) postgres() (*Secured, error) {
	c, at, err := s.secured("postgresql", "postgres", "", "5432")
	if err != nil {
		return nil, err
	}
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return nil, err
	}
	if len(programs) == 0 {
		return c, nil
	}
	bin, data := programs[len(programs)-1], at.Dir+"/data"
	as := &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.gid)}
	c.prepare = func(ctx context.Context) error {
		_, err := outputAs(ctx, as, bin+"/initdb", "-D", data, "-A", "trust", "-N", "--locale=C")
		return err
	}
	c.serve(s, at.IP, bin+"/postgres", "-D", data, "-p", "5432", "-k", data, "-h", at.IP, "-c", "fsync=off", "-c", "ssl=on",
		"-c", "ssl_cert_file="+at.Chain, "-c", "ssl_key_file="+at.Chain).as = as
	return c, nil
}

func (s *Stack) mariadb() (*Secured, error) {
	c, at, err := s.secured("mariadb-server", "mysql", "", "3306")
	if err != nil {
		return nil, err
	}
	data, socket := at.Dir+"/data", at.Dir+"/data/socket"
	c.prepare = func(ctx context.Context) error {
		_, err := output(ctx, "/usr/bin/mariadb-install-db", "--no-defaults", "--user=mysql", "--datadir="+data, "--tmpdir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
		return err
	}
	c.serve(s, at.IP, mariadbProgram, "--no-defaults", "--user=mysql", "--datadir="+data, "--tmpdir="+data, "--socket="+socket, "--pid-file="+data+"/pid",
		"--bind-address="+at.IP, "--port=3306", "--ssl-cert="+at.Chain, "--ssl-key="+at.Chain)
	c.reload = func(ctx context.Context) error {
		_, err := output(ctx, "/usr/bin/mariadb", "--no-defaults", "--socket="+socket, "--user=root", "--execute=FLUSH SSL")
		return err
	}
	return c, nil
}

// sieve is a Dovecot of its own for ManageSieve and LMTP over TCP.
func (s *Stack) sieve() (*Secured, error) {
	c, at, err := s.secured("dovecot-managesieved", "root", "dovecot.conf", "4190", "24")
	if err != nil {
		return nil, err
	}
	c.serve(s, at.IP, "/usr/sbin/dovecot", "-F", "-c", at.Dir+"/dovecot.conf")
	return c, os.MkdirAll(at.Dir+"/dovecot/state", 0o755)
}
